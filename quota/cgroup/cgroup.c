/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup.c - see cgroup.h. Kernel documents: cgroup-v2.rst, cgroup-v1/. */
#include "quota/cgroup/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/clock.h"

#define PERIOD_US   20000 /* short: a capped node must still answer within its time-outs */
#define WEIGHT_V1   1024  /* cpu.shares of weight 100 */
#define WEIGHT_BASE 100

enum controller { CPU = 0, CPUACCT, MEMORY, PIDS, CONTROLLERS };

static const char *const names[CONTROLLERS] = { "cpu", "cpuacct", "memory", "pids" };

struct cgroup_host {
	int v2;                /* root of the unified tree */
	int v1[CONTROLLERS];   /* roots, or -1; the same tree may stand for two */
	bool own[CONTROLLERS]; /* v1[] is not a second descriptor number of another */
	bool v2_has[CONTROLLERS];
};

/* ---- finding the hierarchies ---- */

/* A word of a list that is separated by @sep. */
static bool has_word(const char *list, const char *word, char sep)
{
	size_t n = strlen(word);

	for (const char *p = list; p != NULL && *p != 0; p = strchr(p, sep)) {
		p += *p == sep;
		if (strncmp(p, word, n) == 0 &&
		    (p[n] == 0 || p[n] == sep || p[n] == '\n' || p[n] == ' '))
			return true;
	}
	return false;
}

/* A mount of v1: which of our controllers are in its super options? */
static int take_v1(struct cgroup_host *h, const char *dir, const char *options)
{
	int fd = -1;

	for (int c = 0; c < CONTROLLERS; c++) {
		if (h->v1[c] >= 0 || !has_word(options, names[c], ','))
			continue;
		h->own[c] = fd < 0;
		if (fd < 0)
			fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		h->v1[c] = fd;
	}
	return 0;
}

/* One line of mountinfo: id parent dev root DIR options [tags] - TYPE source SUPER */
static int take_mount(struct cgroup_host *h, char *line)
{
	char *dir = line, *dash = strstr(line, " - "), *type, *super;

	for (int i = 0; i < 4 && dir != NULL; i++) {
		dir = strchr(dir, ' ');
		dir = dir == NULL ? NULL : dir + 1;
	}
	if (dir == NULL || dash == NULL)
		return 0;
	type = dash + 3;
	super = strchr(type, ' ');
	super = super == NULL ? NULL : strchr(super + 1, ' ');
	if (super == NULL || strchr(dir, ' ') == NULL)
		return 0;
	*strchr(dir, ' ') = 0;
	if (strncmp(type, "cgroup2 ", 8) == 0 && h->v2 < 0) {
		h->v2 = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		return h->v2 < 0 ? -errno : 0;
	}
	return strncmp(type, "cgroup ", 7) == 0 ? take_v1(h, dir, super + 1) : 0;
}

/* A v2 tree of our own, mounted nowhere: freeze and kill need no controller. */
static int open_private_v2(void)
{
	cleanup_close int fs = fsopen("cgroup2", FSOPEN_CLOEXEC);
	int r;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	r = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return r < 0 ? -errno : r;
}

static int read_at(int dir, const char *file, char *out, size_t size)
{
	cleanup_close int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	if (n < 0)
		return -errno;
	out[n] = 0;
	return (int)n;
}

static int find_mounts(struct cgroup_host *h, const char *mountinfo)
{
	FILE *f = fopen(mountinfo, "re");
	char *line = NULL;
	size_t size = 0;
	int r = f == NULL ? -errno : 0;

	while (r == 0 && getline(&line, &size, f) > 0)
		r = take_mount(h, line);
	free(line);
	if (f != NULL)
		(void)fclose(f);
	return r;
}

int cgroup_host_new(struct cgroup_host **out, const char *mountinfo)
{
	struct cgroup_host *h = calloc(1, sizeof(*h));
	char list[512] = "";
	int r;

	if (h == NULL)
		return -ENOMEM;
	h->v2 = -1;
	for (int c = 0; c < CONTROLLERS; c++)
		h->v1[c] = -1;
	r = find_mounts(h, mountinfo == NULL ? "/proc/self/mountinfo" : mountinfo);
	if (r == 0 && h->v2 < 0)
		h->v2 = r = open_private_v2();
	if (r < 0) {
		cgroup_host_free(h);
		return r;
	}
	if (read_at(h->v2, "cgroup.controllers", list, sizeof(list)) < 0)
		list[0] = 0;
	for (int c = 0; c < CONTROLLERS; c++) /* usage of cpu is v2's own */
		h->v2_has[c] = h->v1[c] < 0 && c != CPUACCT && has_word(list, names[c], ' ');
	*out = h;
	return 0;
}

void cgroup_host_free(struct cgroup_host *h)
{
	if (h->v2 >= 0)
		(void)close(h->v2);
	for (int c = 0; c < CONTROLLERS; c++) {
		if (h->v1[c] >= 0 && h->own[c])
			(void)close(h->v1[c]);
	}
	free(h);
}

void cgroup_host_offers(const struct cgroup_host *h, struct cgroup_offers *out)
{
	*out = (struct cgroup_offers){
		.cpu = h->v1[CPU] >= 0 || h->v2_has[CPU],
		.memory = h->v1[MEMORY] >= 0 || h->v2_has[MEMORY],
		.pids = h->v1[PIDS] >= 0 || h->v2_has[PIDS],
		.freeze = true,
		.kill = true,
		.v2_controllers = h->v2_has[CPU] || h->v2_has[MEMORY] || h->v2_has[PIDS],
	};
}

int cgroup_cluster_name(const char *dir, char *out, size_t size)
{
	uint32_t hash = 2166136261u; /* FNV-1a */
	const char *base = strrchr(dir, '/');
	int n;

	for (const char *p = dir; *p != 0; p++)
		hash = (hash ^ (uint8_t)*p) * 16777619u;
	n = snprintf(out, size, "pando-%s-%08x", base == NULL ? dir : base + 1, hash);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* ---- files of a group ---- */

/* Distinct trees: @i counts from 0 (the v2 tree) until -1 comes. */
static int tree(const struct cgroup_host *h, int i)
{
	if (i == 0)
		return h->v2;
	for (int c = 0; c < CONTROLLERS; c++) {
		if (h->v1[c] >= 0 && h->own[c] && --i == 0)
			return h->v1[c];
	}
	return -1;
}

static int write_at(int dir, const char *path, const char *file, const char *text)
{
	char name[CGROUP_PATH_MAX + 64];
	cleanup_close int fd = -1;
	int n = snprintf(name, sizeof(name), "%s%s%s", path, *path != 0 ? "/" : "", file);

	if (n < 0 || (size_t)n >= sizeof(name))
		return -ENAMETOOLONG;
	fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int cgroup_open(struct cgroup_host *h, const char *path, const char *controller, const char *file,
		int flags)
{
	char name[CGROUP_PATH_MAX + 64];
	int dir = -1, fd;
	int n = snprintf(name, sizeof(name), "%s%s%s", path, *file != 0 ? "/" : "", file);

	if (n < 0 || (size_t)n >= sizeof(name))
		return -ENAMETOOLONG;
	if (*controller == 0)
		dir = h->v2;
	for (int c = 0; c < CONTROLLERS; c++) {
		if (strcmp(controller, names[c]) == 0)
			dir = h->v2_has[c] ? h->v2 : h->v1[c];
	}
	if (dir < 0)
		return -EOPNOTSUPP;
	fd = openat(dir, name, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The controllers that v2 has here are switched on for the groups below @path. */
static int enable_below(struct cgroup_host *h, const char *path)
{
	for (int c = 0; c < CONTROLLERS; c++) {
		char text[16];
		int r;

		if (!h->v2_has[c])
			continue;
		(void)snprintf(text, sizeof(text), "+%s", names[c]);
		r = write_at(h->v2, path, "cgroup.subtree_control", text);
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_in(struct cgroup_host *h, int root, const char *path)
{
	char part[CGROUP_PATH_MAX];

	for (const char *p = path; p != NULL;) {
		const char *slash = strchr(p, '/');
		size_t n = slash == NULL ? strlen(path) : (size_t)(slash - path);

		/* The parent hands its controllers on before the child is there. */
		memcpy(part, path, n);
		part[p == path ? 0 : (size_t)(p - path) - 1] = 0;
		if (root == h->v2) {
			int r = enable_below(h, part);

			if (r < 0)
				return r;
		}
		memcpy(part, path, n);
		part[n] = 0;
		if (mkdirat(root, part, 0755) < 0 && errno != EEXIST)
			return -errno;
		p = slash == NULL ? NULL : slash + 1;
	}
	return 0;
}

int cgroup_make(struct cgroup_host *h, const char *path)
{
	int r = *path == 0 || strlen(path) >= CGROUP_PATH_MAX ? -ENAMETOOLONG : 0;

	for (int i = 0; r == 0 && tree(h, i) >= 0; i++)
		r = make_in(h, tree(h, i), path);
	return r;
}

/* Directories of a control group are its children; the files go with it. */
static int remove_at(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (d == NULL) {
		(void)close(fd);
		return -ENOMEM;
	}
	while (r == 0 && (e = readdir(d)) != NULL) {
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			r = remove_at(dirfd(d), e->d_name);
	}
	(void)closedir(d);
	if (r == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

int cgroup_remove(struct cgroup_host *h, const char *path)
{
	int r = 0;

	for (int i = 0; tree(h, i) >= 0; i++) {
		int one = remove_at(tree(h, i), path);

		r = r == 0 ? one : r;
	}
	return r;
}

int cgroup_enter(struct cgroup_host *h, const char *path, pid_t pid)
{
	char text[16];
	int r = 0;

	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	for (int i = 0; r == 0 && tree(h, i) >= 0; i++)
		r = write_at(tree(h, i), path, "cgroup.procs", text);
	return r;
}

/* @top: a tree whose root is meant, or -1. */
static int entrances(struct cgroup_host *h, const char *path, int top, int fds[CGROUP_FDS_MAX])
{
	char name[CGROUP_PATH_MAX + 16];
	int n = 0, cpu = -1, fd;

	(void)snprintf(name, sizeof(name), "%s/cgroup.procs", path);
	for (int i = 0; tree(h, i) >= 0; i++) {
		CHECK(n < CGROUP_FDS_MAX);
		fd = openat(tree(h, i), tree(h, i) == top ? "cgroup.procs" : name,
			    O_WRONLY | O_CLOEXEC);
		if (fd >= 0) {
			cpu = tree(h, i) == h->v1[CPU] ? n : cpu;
			fds[n++] = fd;
			continue;
		}
		fd = -errno;
		while (n > 0)
			(void)close(fds[--n]);
		return fd;
	}
	if (cpu >= 0) {
		fd = fds[cpu];
		fds[cpu] = fds[n - 1];
		fds[n - 1] = fd;
	}
	return n;
}

int cgroup_entrances(struct cgroup_host *h, const char *path, int fds[CGROUP_FDS_MAX])
{
	return entrances(h, path, -1, fds);
}

int cgroup_entrances_rt(struct cgroup_host *h, const char *path, int fds[CGROUP_FDS_MAX])
{
	return entrances(h, path, h->v1[CPU], fds);
}

/* ---- limits ---- */

/* Writes where the controller lives; the two versions spell it differently. */
static int set(struct cgroup_host *h, const char *path, enum controller c, const char *v1_file,
	       const char *v1_text, const char *v2_file, const char *v2_text)
{
	if (h->v2_has[c])
		return write_at(h->v2, path, v2_file, v2_text);
	if (h->v1[c] >= 0)
		return write_at(h->v1[c], path, v1_file, v1_text);
	return -EOPNOTSUPP;
}

static int set_cpu(struct cgroup_host *h, const char *path, uint32_t milli)
{
	uint64_t quota_us = (uint64_t)milli * PERIOD_US / 1000;
	char v1[32] = "-1", v2[48];
	int r;

	if (milli > 0 && quota_us < 1000)
		quota_us = 1000; /* the least that the kernel takes */
	if (milli > 0)
		(void)snprintf(v1, sizeof(v1), "%llu", (unsigned long long)quota_us);
	(void)snprintf(v2, sizeof(v2), "%s %d", milli > 0 ? v1 : "max", PERIOD_US);
	if (!h->v2_has[CPU] && h->v1[CPU] >= 0) {
		char period[16];

		(void)snprintf(period, sizeof(period), "%d", PERIOD_US);
		r = write_at(h->v1[CPU], path, "cpu.cfs_period_us", period);
		if (r < 0)
			return r;
	}
	r = set(h, path, CPU, "cpu.cfs_quota_us", v1, "cpu.max", v2);
	/* In v1 no group may have more than the one above it, which then limits it anyway. */
	if (r == -EINVAL && milli > 0 && !h->v2_has[CPU])
		r = set(h, path, CPU, "cpu.cfs_quota_us", "-1", "cpu.max", v2);
	return r;
}

static int set_weight(struct cgroup_host *h, const char *path, uint32_t weight)
{
	char v1[24], v2[24];

	weight = weight == 0 ? WEIGHT_BASE : MIN(weight, 10000);
	(void)snprintf(v1, sizeof(v1), "%u", MAX(weight * WEIGHT_V1 / WEIGHT_BASE, 2));
	(void)snprintf(v2, sizeof(v2), "%u", weight);
	return set(h, path, CPU, "cpu.shares", v1, "cpu.weight", v2);
}

int cgroup_weigh(struct cgroup_host *h, const char *path, uint32_t cpu_weight)
{
	return set_weight(h, path, cpu_weight);
}

/* 0 is no limit: "max" in v2, and in v1 what that file calls it. */
static int set_max(struct cgroup_host *h, const char *path, enum controller c, const char *v1_file,
		   const char *v1_none, const char *v2_file, uint64_t max)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)max);
	return set(h, path, c, v1_file, max == 0 ? v1_none : text, v2_file,
		   max == 0 ? "max" : text);
}

/* What is limited must not go on in swap. Nothing where the host has none to account. */
static int set_memory(struct cgroup_host *h, const char *path, uint64_t max)
{
	int r = set_max(h, path, MEMORY, "memory.limit_in_bytes", "-1", "memory.max", max);

	if (r == 0 && h->v2_has[MEMORY])
		r = write_at(h->v2, path, "memory.swap.max", max == 0 ? "max" : "0");
	return r == -ENOENT && h->v2_has[MEMORY] ? 0 : r;
}

int cgroup_limit(struct cgroup_host *h, const char *path, const struct cgroup_limits *l)
{
	int results[4] = {
		set_cpu(h, path, l->cpu_milli),
		set_weight(h, path, l->cpu_weight),
		set_memory(h, path, l->memory_max_bytes),
		set_max(h, path, PIDS, "pids.max", "max", "pids.max", l->pids_max),
	};
	bool asked[4] = { l->cpu_milli != 0, l->cpu_weight != 0, l->memory_max_bytes != 0,
			  l->pids_max != 0 };
	int r = 0;

	for (int i = 0; i < 4; i++) {
		/* No limit is what a host without the controller gives anyway. */
		if (results[i] == -EOPNOTSUPP && !asked[i])
			continue;
		if (results[i] < 0 && (r == 0 || r == -EOPNOTSUPP))
			r = results[i];
	}
	return r;
}

/* ---- freeze, kill, look ---- */

int cgroup_freeze(struct cgroup_host *h, const char *path, bool frozen)
{
	return write_at(h->v2, path, "cgroup.freeze", frozen ? "1" : "0");
}

int cgroup_kill(struct cgroup_host *h, const char *path)
{
	return write_at(h->v2, path, "cgroup.kill", "1");
}

/* The line "KEY VALUE" of a file's text, or all of it when @key is "". */
static int value_of(const char *text, const char *key, uint64_t *out)
{
	const char *p = text;
	size_t n = strlen(key);

	while (p != NULL && (strncmp(p, key, n) != 0 || (n != 0 && p[n] != ' '))) {
		p = strchr(p, '\n');
		p = p == NULL ? NULL : p + 1;
	}
	if (p == NULL)
		return -ENODATA;
	*out = strtoull(p + n, NULL, 10);
	return 0;
}

static int read_file(int root, const char *path, const char *file, char *text, size_t size)
{
	char name[CGROUP_PATH_MAX + 64];

	(void)snprintf(name, sizeof(name), "%s/%s", path, file);
	return read_at(root, name, text, size);
}

static int read_value(int root, const char *path, const char *file, const char *key, uint64_t *out)
{
	char text[4096] = "";
	int r = read_file(root, path, file, text, sizeof(text));

	return r < 0 ? r : value_of(text, key, out);
}

int cgroup_frozen(struct cgroup_host *h, const char *path)
{
	uint64_t v = 0;
	int r = read_value(h->v2, path, "cgroup.events", "frozen", &v);

	return r < 0 ? r : v != 0;
}

int cgroup_empty(struct cgroup_host *h, const char *path)
{
	uint64_t v = 0;
	int r = read_value(h->v2, path, "cgroup.events", "populated", &v);

	return r < 0 ? r : v == 0;
}

int cgroup_wait_empty(struct cgroup_host *h, const char *path, unsigned timeout_ms)
{
	uint64_t until_ns = clock_mono_ns() + timeout_ms * NS_PER_MS, now_ns;
	struct pollfd p = { .events = POLLPRI };
	cleanup_close int events = -1;
	char text[256];
	ssize_t n;

	if (h->v2 < 0)
		return -EOPNOTSUPP;
	events = cgroup_open(h, path, "", "cgroup.events", O_RDONLY | O_CLOEXEC);
	if (events < 0)
		return events;
	p.fd = events;
	for (;;) {
		/* Reading arms the descriptor; the group's last exit wakes it. */
		n = pread(events, text, sizeof(text) - 1, 0);
		if (n < 0)
			return errno == ENODEV ? -ENOENT : -errno;
		text[n] = '\0';
		if (strstr(text, "populated 1") == NULL)
			return 0;
		now_ns = clock_mono_ns();
		if (now_ns >= until_ns)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)((until_ns - now_ns) / NS_PER_MS) + 1) < 0 && errno != EINTR)
			return -errno;
	}
}

int cgroup_stats(struct cgroup_host *h, const char *path, struct cgroup_stats *out)
{
	uint64_t cpu_us = 0, pids = 0;
	int r;

	*out = (struct cgroup_stats){ 0 };
	if (h->v1[CPUACCT] >= 0) {
		r = read_value(h->v1[CPUACCT], path, "cpuacct.usage", "", &out->cpu_ns);
	} else {
		r = read_value(h->v2, path, "cpu.stat", "usage_usec", &cpu_us);
		out->cpu_ns = cpu_us * NS_PER_US;
	}
	if (r == 0 && h->v2_has[MEMORY])
		r = read_value(h->v2, path, "memory.current", "", &out->memory_bytes);
	else if (r == 0 && h->v1[MEMORY] >= 0)
		r = read_value(h->v1[MEMORY], path, "memory.usage_in_bytes", "",
			       &out->memory_bytes);
	if (r == 0 && (h->v2_has[PIDS] || h->v1[PIDS] >= 0))
		r = read_value(h->v2_has[PIDS] ? h->v2 : h->v1[PIDS], path, "pids.current", "",
			       &pids);
	out->pids = (uint32_t)pids;
	return r;
}

int cgroup_stops(struct cgroup_host *h, const char *path, uint64_t *spans)
{
	int root = h->v2_has[CPU] ? h->v2 : h->v1[CPU];
	int r = root < 0 ? 0 : read_value(root, path, "cpu.stat", "nr_throttled", spans);

	if (root < 0 || r < 0)
		*spans = 0;
	return r;
}

uint64_t cgroup_memory_waits_at(const struct cgroup_host *h, uint64_t memory_max_bytes)
{
	/* A 32nd takes a quarter of a second to cross. Who asks for more ahead of need must do so
	 * before it begins (quota/core/share.c): else nobody raises the limit that is waited at. */
	uint64_t room = MIN(memory_max_bytes / 32, UINT64_C(8) << 20);

	return h->v2_has[MEMORY] ? memory_max_bytes - room : memory_max_bytes;
}

int cgroup_memory_wait(struct cgroup_host *h, const char *path, bool wait,
		       uint64_t memory_max_bytes)
{
	char high[32];

	(void)snprintf(high, sizeof(high), "%llu",
		       (unsigned long long)cgroup_memory_waits_at(h, memory_max_bytes));
	return set(h, path, MEMORY, "memory.oom_control", wait ? "1" : "0", "memory.high",
		   wait && memory_max_bytes != 0 ? high : "max");
}

int cgroup_memory_full(struct cgroup_host *h, const char *path, short *events)
{
	cleanup_close int control = -1;
	char text[32];
	int event, r;

	*events = h->v2_has[MEMORY] ? POLLPRI : POLLIN;
	if (h->v2_has[MEMORY]) {
		event = cgroup_open(h, path, names[MEMORY], "memory.events", O_RDONLY);
		/* What was before is not told. */
		r = event < 0 ? event : cgroup_memory_full_seen(event);
		if (r < 0 && event >= 0)
			(void)close(event);
		return r < 0 ? r : event;
	}
	if (h->v1[MEMORY] < 0)
		return -EOPNOTSUPP;
	control = cgroup_open(h, path, names[MEMORY], "memory.oom_control", O_RDONLY);
	if (control < 0)
		return control;
	event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (event < 0)
		return -errno;
	(void)snprintf(text, sizeof(text), "%d %d", event, control);
	r = write_at(h->v1[MEMORY], path, "cgroup.event_control", text);
	if (r == 0)
		return event;
	(void)close(event);
	return r;
}

int cgroup_memory_full_seen(int fd)
{
	char text[256];

	/* Of an eventfd there is no beginning, and nothing to read when it has not counted. */
	(void)lseek(fd, 0, SEEK_SET);
	return read(fd, text, sizeof(text)) < 0 && errno != EAGAIN ? -errno : 0;
}

int cgroup_cached(struct cgroup_host *h, const char *path, uint64_t *bytes)
{
	bool v2 = h->v2_has[MEMORY];
	int root = v2 ? h->v2 : h->v1[MEMORY], r;
	uint64_t active = 0, inactive = 0;
	char text[8192] = "";

	*bytes = 0;
	if (root < 0)
		return 0;
	/* Once: the host adds up all that it counts for each reading. */
	r = read_file(root, path, "memory.stat", text, sizeof(text));
	if (r >= 0)
		r = value_of(text, v2 ? "active_file" : "total_active_file", &active);
	if (r == 0)
		r = value_of(text, v2 ? "inactive_file" : "total_inactive_file", &inactive);
	*bytes = active + inactive;
	return r;
}

/* "max", -1 and the largest v1 number of pages all mean none: 0. */
static int read_max(struct cgroup_host *h, const char *path, enum controller c, const char *v1_file,
		    const char *v2_file, uint64_t *out)
{
	char name[CGROUP_PATH_MAX + 64], text[64] = "";
	bool v2 = h->v2_has[c];
	int root = v2 ? h->v2 : h->v1[c], r;

	*out = 0;
	if (root < 0)
		return 0;
	(void)snprintf(name, sizeof(name), "%s/%s", path, v2 ? v2_file : v1_file);
	r = read_at(root, name, text, sizeof(text));
	if (r < 0)
		return r;
	*out = text[0] < '0' || text[0] > '9' ? 0 : strtoull(text, NULL, 10);
	if (*out >= INT64_MAX / 4096 * 4096)
		*out = 0;
	return 0;
}

int cgroup_limits_read(struct cgroup_host *h, const char *path, struct cgroup_limits *out)
{
	uint64_t quota_us = 0, pids = 0;
	int r = read_max(h, path, CPU, "cpu.cfs_quota_us", "cpu.max", &quota_us);

	*out = (struct cgroup_limits){ .cpu_milli = (uint32_t)(quota_us * 1000 / PERIOD_US) };
	if (r == 0)
		r = read_max(h, path, MEMORY, "memory.limit_in_bytes", "memory.max",
			     &out->memory_max_bytes);
	if (r == 0)
		r = read_max(h, path, PIDS, "pids.max", "pids.max", &pids);
	out->pids_max = (uint32_t)pids;
	return r;
}

int cgroup_delegate(struct cgroup_host *h, const char *path, uid_t uid, bool make)
{
	static const char *const files[] = { "", "cgroup.procs", "cgroup.threads" };
	char name[CGROUP_PATH_MAX + 64];

	for (size_t i = make ? 0 : 1; i < ARRAY_LEN(files); i++) {
		(void)snprintf(name, sizeof(name), "%s/%s", path, files[i]);
		if (fchownat(h->v2, name, uid, (gid_t)-1, 0) < 0)
			return -errno;
	}
	return 0;
}
