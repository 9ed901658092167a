/* SPDX-License-Identifier: Apache-2.0 */
/* pages.c - the contents of memory: only what the process has made its own. */
#include "migrate/image/priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"

/* Documentation/admin-guide/mm/pagemap.rst */
#define PM_PRESENT (UINT64_C(1) << 63)
#define PM_SWAPPED (UINT64_C(1) << 62)
#define PM_FILE    (UINT64_C(1) << 61)

#define MAP_CHUNK 4096 /* entries of pagemap read at once */
#define RUN_PAGES 128  /* pages of one record */

struct pagemap {
	int fd;
	uint64_t first; /* page number of entry 0 */
	size_t count;
	uint64_t entry[MAP_CHUNK];
};

static int pagemap_open(const struct image_env *env, pid_t pid, struct pagemap *p)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "%d/pagemap", pid);
	p->fd = openat(env->proc, path, O_RDONLY | O_CLOEXEC);
	p->first = 0;
	p->count = 0;
	return p->fd < 0 ? (errno == ENOENT ? -ESRCH : -errno) : 0;
}

static int pagemap_get(struct pagemap *p, uint64_t page, uint64_t *out)
{
	ssize_t n;

	if (page < p->first || page >= p->first + p->count) {
		n = pread(p->fd, p->entry, sizeof(p->entry), (off_t)(page * 8));
		if (n < 8)
			return n < 0 ? -errno : -EFAULT;
		p->first = page;
		p->count = (size_t)n / 8;
	}
	*out = p->entry[page - p->first];
	return 0;
}

/* A clean page of a file, and what was never touched, is found at the target again. */
static bool carried(const struct image_map *m, uint64_t entry)
{
	if (m->kind == MAP_KIND_VDSO || m->kind == MAP_KIND_VVAR || (m->flags & VMA_SHARED))
		return false;
	if (m->whole)
		return true;
	return (entry & PM_SWAPPED) || ((entry & PM_PRESENT) && !(entry & PM_FILE));
}

typedef int (*run_fn)(void *arg, const struct image_map *m, uint64_t at, uint64_t pages);

static int map_runs(struct pagemap *p, const struct image_map *m, run_fn fn, void *arg)
{
	uint64_t start = 0, run = 0;
	int r = 0;

	for (uint64_t at = m->start; r == 0 && at < m->end; at += PAGE) {
		uint64_t entry = 0;

		r = pagemap_get(p, at / PAGE, &entry);
		if (r < 0)
			return r;
		if (carried(m, entry)) {
			if (run++ == 0)
				start = at;
			if (run < RUN_PAGES)
				continue;
		}
		if (run > 0)
			r = fn(arg, m, start, run);
		run = 0;
	}
	return r == 0 && run > 0 ? fn(arg, m, start, run) : r;
}

static int maps_runs(const struct image_env *env, pid_t pid, const struct image_maps *maps,
		     run_fn fn, void *arg)
{
	struct pagemap *p = malloc(sizeof(*p));
	int r = p ? pagemap_open(env, pid, p) : -ENOMEM;

	for (unsigned i = 0; r == 0 && i < maps->count; i++)
		if (maps->map[i].kind == MAP_KIND_ANON || maps->map[i].kind == MAP_KIND_FILE)
			r = map_runs(p, &maps->map[i], fn, arg);
	if (p && p->fd >= 0)
		(void)close(p->fd);
	free(p);
	return r;
}

static int count_run(void *arg, const struct image_map *m, uint64_t at, uint64_t pages)
{
	(void)at;
	((struct image_map *)(uintptr_t)m)->pages += pages;
	*(uint64_t *)arg += pages;
	return 0;
}

int image_pages_count(const struct image_env *env, pid_t pid, struct image_maps *m, uint64_t *pages)
{
	*pages = 0;
	for (unsigned i = 0; i < m->count; i++)
		m->map[i].pages = 0;
	return maps_runs(env, pid, m, count_run, pages);
}

struct page_dump {
	struct record_writer *w;
	pid_t pid;
	int mem; /* /proc/PID/mem: reads what has no read permission */
	struct {
		uint64_t at;
		uint8_t bytes[RUN_PAGES * PAGE];
	} __attribute__((packed)) * run;
};

static bool all_zero(const uint8_t *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

static int write_pages(struct page_dump *d, const uint8_t *bytes, uint64_t at, uint64_t pages)
{
	if (pages == 0)
		return 0;
	d->run->at = at;
	if (bytes != d->run->bytes)
		memmove(d->run->bytes, bytes, pages * PAGE);
	return record_write(d->w, RECORD_PAGES, d->run, sizeof(d->run->at) + pages * PAGE);
}

static int dump_single_pages(struct page_dump *d, const struct image_map *m, uint64_t at,
			     uint64_t pages)
{
	int r = 0;

	for (; r == 0 && pages > 0; pages--, at += PAGE) {
		ssize_t n = pread(d->mem, d->run->bytes, PAGE, (off_t)at);

		if (n == (ssize_t)PAGE)
			r = write_pages(d, d->run->bytes, at, 1);
		else if (!m->whole) /* behind the end of a file there is nothing to carry */
			r = n < 0 ? -errno : -EFAULT;
	}
	return r;
}

static int dump_run(void *arg, const struct image_map *m, uint64_t at, uint64_t pages)
{
	struct page_dump *d = arg;
	uint64_t first = 0;
	int r = tracee_read(d->pid, at, d->run->bytes, pages * PAGE);

	if (r == -EFAULT)
		return dump_single_pages(d, m, at, pages);
	if (r < 0)
		return r;
	if (m->kind == MAP_KIND_ANON) {
		/* Zeros at both ends of a run need not travel. */
		while (pages > 0 && all_zero(d->run->bytes + (pages - 1) * PAGE, PAGE))
			pages--;
		while (first < pages && all_zero(d->run->bytes + first * PAGE, PAGE))
			first++;
	}
	return write_pages(d, d->run->bytes + first * PAGE, at + first * PAGE, pages - first);
}

int image_pages_dump(struct record_writer *w, const struct image_env *env, pid_t pid,
		     const struct image_maps *m)
{
	struct page_dump d = { .w = w, .pid = pid };
	char path[32];
	int r;

	(void)snprintf(path, sizeof(path), "%d/mem", pid);
	d.mem = openat(env->proc, path, O_RDONLY | O_CLOEXEC);
	d.run = malloc(sizeof(*d.run));
	r = d.mem < 0 ? -errno : !d.run ? -ENOMEM : maps_runs(env, pid, m, dump_run, &d);
	if (d.mem >= 0)
		(void)close(d.mem);
	free(d.run);
	return r;
}

/* ---- build ---- */

static bool in_one_vma(const struct image_built *b, uint64_t at, uint64_t len)
{
	unsigned lo = 0, hi = b->m.vmas;

	while (lo < hi) { /* they are sorted: checked when they were read */
		unsigned mid = lo + (hi - lo) / 2;

		if (b->m.vma[mid]->end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < b->m.vmas && at >= b->m.vma[lo]->start && len <= b->m.vma[lo]->end - at &&
	       b->m.vma[lo]->pages > 0;
}

int image_pages_check(const struct image_built *b, const struct record_reader *r)
{
	uint64_t at;
	size_t len = r->buf.len - MIN(r->buf.len, sizeof(at));

	if (len == 0 || len % PAGE != 0)
		return -EBADMSG;
	memcpy(&at, r->buf.data, sizeof(at));
	return at % PAGE == 0 && in_one_vma(b, at, len) ? 0 : -EBADMSG;
}

int image_pages_build(struct image_built *b, struct record_reader *r, int type)
{
	/* The first such record, or the end, has been read already. */
	while (type == RECORD_PAGES) {
		uint64_t at;
		int err = image_pages_check(b, r);

		if (err < 0)
			return err;
		memcpy(&at, r->buf.data, sizeof(at));
		err = tracee_write(b->set.pid, at, r->buf.data + sizeof(at),
				   r->buf.len - sizeof(at));
		if (err < 0)
			return why_err(b->why, err, "write memory");
		type = record_read(r);
	}
	if (type < 0)
		return type;
	return type == RECORD_END && r->buf.len == 0 ? 0 : -EBADMSG;
}
