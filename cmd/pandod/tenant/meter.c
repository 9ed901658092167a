/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meter.c - what tenants have used on this node, second by second, kept in DATA (quota/core/meter).
 *
 *	DATA/usage.0  seconds   DATA/usage.1  minutes   DATA/usage.2  hours
 *
 * each with a predecessor (.old) that goes when the file is full: so no level takes more than twice
 * FILE_MAX, and what is old is known less finely. Seconds are written once a second into the host's
 * cache, without waiting for the disk: a kill -9 loses nothing, a power failure the last moments.
 * A tenant is charged for all that is done for it, its guest kernel's work included.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/pandod/pod.h"
#include "quota/core/meter.h"

enum {
	FILE_MAX = 4 << 20,
	TENANTS_MAX = 1024,
	IDLE_SPAN_S = 10, /* a tenant that only is there gets a record so often */
};

/* What is used and not recorded yet. */
struct gauge {
	struct list link;
	tenant_id tenant;
	bool seen;
	uint64_t cpu_ns, since_ns;
	uint64_t memory_bytes;
	struct meter_rec now;
};

struct meter {
	struct pod *pod;
	struct list gauges;
	struct meter_row rows[TENANTS_MAX];
	struct meter_roll roll;
	int fd[METER_LEVELS];
	off_t size[METER_LEVELS];
	bool failing;
	uint64_t damaged; /* places in the files that hold no record */
};

/* ---- files ---- */

static void path_of(const struct pod *p, unsigned level, bool old, char out[PATH_MAX + 24])
{
	(void)snprintf(out, PATH_MAX + 24, "%s/usage.%u%s", p->data, level, old ? ".old" : "");
}

static int file_open(struct meter *m, unsigned level)
{
	char path[PATH_MAX + 24];
	struct stat st;

	path_of(m->pod, level, false, path);
	m->fd[level] = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (m->fd[level] < 0 || fstat(m->fd[level], &st) < 0)
		return -errno;
	/* A record that was cut goes, so that the next one stands where records stand. */
	m->size[level] = st.st_size / METER_BYTES * METER_BYTES;
	if (m->size[level] != st.st_size && ftruncate(m->fd[level], m->size[level]) < 0)
		return -errno;
	return 0;
}

static int file_turn(struct meter *m, unsigned level)
{
	char path[PATH_MAX + 24], old[PATH_MAX + 24];

	path_of(m->pod, level, false, path);
	path_of(m->pod, level, true, old);
	if (rename(path, old) < 0)
		return -errno;
	(void)close(m->fd[level]);
	return file_open(m, level);
}

static void file_add(struct meter *m, const struct meter_rec *rec)
{
	uint8_t bytes[METER_BYTES];
	ssize_t n = -1;
	int r = 0;

	meter_encode(rec, bytes);
	if (m->size[rec->level] >= FILE_MAX)
		r = file_turn(m, rec->level);
	if (r == 0)
		n = write(m->fd[rec->level], bytes, sizeof(bytes));
	if (n == (ssize_t)sizeof(bytes)) {
		m->size[rec->level] += n;
		m->failing = false;
		return;
	}
	r = r != 0 ? r : n < 0 ? -errno : -ENOSPC;
	if (n > 0 && ftruncate(m->fd[rec->level], m->size[rec->level]) < 0)
		log_debug("half a record stays in the log of use");
	if (!m->failing)
		log_warn("what tenants use is not recorded: %s", strerror(-r));
	m->failing = true;
}

static int file_each(struct meter *m, const char *path,
		     void (*fn)(void *arg, const struct meter_rec *rec), void *arg)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free uint8_t *bytes = malloc(64 * 1024 / METER_BYTES * METER_BYTES);
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (bytes == NULL)
		return -ENOMEM;
	while ((n = read(fd, bytes, 64 * 1024 / METER_BYTES * METER_BYTES)) > 0)
		m->damaged += meter_each(bytes, (size_t)n, fn, arg);
	return n < 0 ? -errno : 0;
}

static int level_each(struct meter *m, unsigned level,
		      void (*fn)(void *arg, const struct meter_rec *rec), void *arg)
{
	char path[PATH_MAX + 24];
	int r;

	path_of(m->pod, level, true, path);
	r = file_each(m, path, fn, arg);
	path_of(m->pod, level, false, path);
	return r < 0 ? r : file_each(m, path, fn, arg);
}

/* ---- recording ---- */

static void whole(void *arg, const struct meter_rec *rec)
{
	file_add(arg, rec);
}

static struct gauge *gauge_get(struct meter *m, tenant_id t)
{
	struct gauge *g;

	list_for_each (g, &m->gauges, link)
		if (g->tenant == t)
			return g;
	g = calloc(1, sizeof(*g));
	if (g == NULL)
		return NULL;
	g->tenant = t;
	list_add_tail(&m->gauges, &g->link);
	return g;
}

static void gauge_look(struct meter *m, struct gauge *g, const struct cgroup_stats *st)
{
	uint64_t now = clock_mono_ns(), ns = g->since_ns ? now - g->since_ns : 0;

	(void)m;
	/* A world that was made anew counts from nothing. */
	g->now.cpu_us +=
		(st->cpu_ns - (st->cpu_ns >= g->cpu_ns && g->since_ns ? g->cpu_ns : 0)) / NS_PER_US;
	g->now.memory_kib_s += st->memory_bytes / 1024 * (ns / NS_PER_MS) / 1000;
	g->cpu_ns = st->cpu_ns;
	g->since_ns = now;
	g->seen = true;
}

/* Writes what has come together, once a second, or less often for who does nothing. */
static void gauge_flush(struct meter *m, struct gauge *g, uint32_t now_s, bool force)
{
	uint32_t start = g->now.start_s;

	if (start == 0 || now_s <= start) {
		g->now.start_s = start == 0 ? now_s : start;
		return;
	}
	if (!force && g->now.cpu_us < 1000 && g->now.moves == 0 && now_s - start < IDLE_SPAN_S)
		return;
	g->now.tenant = g->tenant;
	/* A clock that was set forward does not make a second of an hour. */
	g->now.span_s = (uint16_t)MIN(now_s - start, (uint32_t)IDLE_SPAN_S);
	g->now.start_s = now_s - g->now.span_s;
	file_add(m, &g->now);
	meter_roll_add(&m->roll, &g->now);
	g->now = (struct meter_rec){ .start_s = now_s };
}

void meter_tick(struct pod *p)
{
	struct meter *m = p->meter;
	uint32_t now_s = (uint32_t)(clock_wall_ns() / NS_PER_S);
	struct gauge *g, *next;
	struct world *w;

	list_for_each (w, &p->worlds, link) {
		struct cgroup_stats st;

		g = w->t != NULL ? gauge_get(m, w->id) : NULL;
		if (g != NULL && cgroup_stats(p->cgroups, w->t->cgroup, &st) == 0)
			gauge_look(m, g, &st);
	}
	list_for_each_safe (g, next, &m->gauges, link) {
		bool gone = !g->seen && g->now.moves == 0;

		gauge_flush(m, g, now_s, gone);
		g->seen = false;
		if (!gone || (g->now.cpu_us != 0 && g->now.start_s >= now_s))
			continue;
		list_del(&g->link);
		free(g);
	}
	meter_roll_tick(&m->roll, now_s);
}

void meter_moved(struct pod *p, tenant_id t, uint64_t bytes)
{
	struct gauge *g = p->meter ? gauge_get(p->meter, t) : NULL;

	if (g == NULL)
		return;
	g->now.moves++;
	g->now.bytes += bytes;
}

/* ---- asking ---- */

struct question {
	struct meter *m;
	uint32_t since_s;
	uint32_t oldest_s;
	meter_fn fn;
	void *arg;
};

static void oldest(void *arg, const struct meter_rec *rec)
{
	struct question *q = arg;

	q->oldest_s = MIN(q->oldest_s, rec->start_s);
}

static void answer(void *arg, const struct meter_rec *rec)
{
	struct question *q = arg;
	struct meter_rec part = { .tenant = rec->tenant };

	meter_add_part(&part, rec, q->since_s, UINT32_MAX);
	if (part.cpu_us | part.memory_kib_s | part.moves | part.bytes)
		q->fn(q->arg, &part);
}

/* The finest level that reaches back so far. Nothing was thrown away of a level without .old. */
static unsigned level_for(struct question *q)
{
	char old[PATH_MAX + 24];

	for (unsigned l = METER_SECONDS; l < METER_HOURS; l++) {
		path_of(q->m->pod, l, true, old);
		if (access(old, F_OK) < 0)
			return l;
		q->oldest_s = UINT32_MAX;
		if (file_each(q->m, old, oldest, q) == 0 && q->oldest_s <= q->since_s)
			return l;
	}
	return METER_HOURS;
}

int meter_usage(struct pod *p, uint32_t since_s, meter_fn fn, void *arg)
{
	struct question q = { p->meter, since_s, UINT32_MAX, fn, arg };
	unsigned level = level_for(&q);
	int r = level_each(p->meter, level, answer, &q);

	for (size_t i = 0; i < TENANTS_MAX && level != METER_SECONDS; i++) {
		struct meter_rec rest = { .tenant = p->meter->rows[i].tenant };

		if (rest.tenant == TENANT_NONE)
			continue;
		meter_roll_rest(&p->meter->roll, level, rest.tenant, since_s, &rest);
		fn(arg, &rest);
	}
	return r;
}

/* ---- start and end ---- */

static void recall(void *arg, const struct meter_rec *rec)
{
	meter_roll_recall(arg, rec);
}

static void again(void *arg, const struct meter_rec *rec)
{
	meter_roll_add(arg, rec);
}

int meter_init(struct pod *p)
{
	struct meter *m = calloc(1, sizeof(*m));
	int r = m == NULL ? -ENOMEM : 0;

	if (r < 0)
		return r;
	p->meter = m;
	m->pod = p;
	list_init(&m->gauges);
	meter_roll_init(&m->roll, m->rows, TENANTS_MAX, whole, m);
	for (int l = METER_SECONDS; l < METER_LEVELS; l++)
		m->fd[l] = -1;
	for (int l = METER_SECONDS; r == 0 && l < METER_LEVELS; l++)
		r = file_open(m, (unsigned)l);
	for (int l = METER_HOURS; r == 0 && l >= METER_MINUTES; l--)
		r = level_each(m, (unsigned)l, recall, &m->roll);
	for (int l = METER_MINUTES; r == 0 && l >= METER_SECONDS; l--)
		r = level_each(m, (unsigned)l, again, &m->roll);
	if (m->damaged > 0)
		log_warn("%llu records of use are damaged", (unsigned long long)m->damaged);
	return r;
}

void meter_fini(struct pod *p)
{
	struct gauge *g, *next;

	if (p->meter == NULL)
		return;
	list_for_each_safe (g, next, &p->meter->gauges, link)
		free(g);
	for (int l = METER_SECONDS; l < METER_LEVELS; l++)
		if (p->meter->fd[l] >= 0)
			(void)close(p->meter->fd[l]);
	free(p->meter);
	p->meter = NULL;
}
