/* SPDX-License-Identifier: Apache-2.0 */
/* mm.c - the address space: what /proc tells of it, and how it is built in a stub. */
#include "migrate/image/priv.h"

#include <fcntl.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define ARCH_MAP_VDSO_64 0x2003

/* ---- dump ---- */

int64_t stat_field(const char *stat, int n)
{
	const char *p = strrchr(stat, ')'); /* the name may hold anything */

	for (int i = 2; p && i < n; i++)
		p = strchr(p + 1, ' ');
	if (!p)
		return 0;
	/* Addresses are larger than a long; a nice value is negative. */
	return p[1] == '-' ? strtoll(p + 1, NULL, 10) : (int64_t)strtoull(p + 1, NULL, 10);
}

static void find_vdso(const struct image_maps *maps, Pando__Image__Mm *m)
{
	for (unsigned i = 0; i < maps->count; i++) {
		const struct image_map *v = &maps->map[i];

		if (v->kind != MAP_KIND_VVAR && v->kind != MAP_KIND_VDSO)
			continue;
		if (m->vvar == 0)
			m->vvar = v->start;
		if (v->kind == MAP_KIND_VDSO)
			m->vdso_end = v->end;
	}
}

int image_mm_dump(struct record_writer *w, struct image_frozen *f, struct buf *why)
{
	Pando__Image__Mm m = PANDO__IMAGE__MM__INIT;
	cleanup_buf struct buf stat = BUF_INIT;
	cleanup_buf struct buf auxv = BUF_INIT;
	struct file_id exe = { .path = NULL };
	const char *s;
	int r = tracee_proc_read(f->env.proc, f->set.pid, "stat", &stat);

	if (r == 0)
		r = tracee_proc_read(f->env.proc, f->set.pid, "auxv", &auxv);
	if (r == 0)
		r = file_id_read(&f->env, f->set.pid, "exe", &exe);
	s = r == 0 ? buf_str(&stat) : NULL;
	if (!s)
		return r < 0 ? r : -ENOMEM;
	m.start_code = (uint64_t)stat_field(s, 26);
	m.end_code = (uint64_t)stat_field(s, 27);
	m.start_stack = (uint64_t)stat_field(s, 28);
	m.start_data = (uint64_t)stat_field(s, 45);
	m.end_data = (uint64_t)stat_field(s, 46);
	m.start_brk = (uint64_t)stat_field(s, 47);
	m.arg_start = (uint64_t)stat_field(s, 48);
	m.arg_end = (uint64_t)stat_field(s, 49);
	m.env_start = (uint64_t)stat_field(s, 50);
	m.env_end = (uint64_t)stat_field(s, 51);
	m.brk = f->brk;
	m.auxv = (ProtobufCBinaryData){ auxv.len, auxv.data };
	m.exe = &exe.msg;
	find_vdso(&f->maps, &m);
	if (strlen(exe.path) > 10 && strcmp(exe.path + strlen(exe.path) - 10, " (deleted)") == 0) {
		why_add(why, "its program %s", exe.path);
		r = -ENOTSUP;
	}
	if (r == 0)
		r = record_write_message(w, RECORD_MM, &m.base);
	file_id_fini(&exe);
	return r;
}

/* ---- build: the mappings ---- */

/*
 * Nothing of the stub stays but the area; then its vdso may come where the image
 * wants it. Descriptors too: a stub that was a process a moment ago may not have
 * come to closing them.
 */
int image_clear_build(struct image_built *b)
{
	const struct gate_slot *s = b->gates[0].slot;
	int r = gate_rehome_area(&b->gates[0]);

	if (r == 0)
		r = batch_room(b->batch, 4, 0);
	if (r < 0)
		return r;
	BATCH(b->batch, "close descriptors", NULL, SYS_close_range, 0, ~0u, 0);
	BATCH(b->batch, "clear memory", NULL, SYS_munmap, 0, s->area);
	BATCH(b->batch, "clear memory", NULL, SYS_munmap, s->area + s->area_len,
	      USER_END - (s->area + s->area_len));
	BATCH(b->batch, "map the vdso", NULL, SYS_arch_prctl, ARCH_MAP_VDSO_64, b->m.mm->vvar);
	return batch_run(b->batch);
}

/* Adds the opening of @id (lowest descriptor: 0) and notes what it was, for check_file. */
static uint64_t open_file(struct image_built *b, const Pando__Image__FileId *id, int flags)
{
	struct batch *t = b->batch;
	uint64_t path = batch_text(t, id->path);
	uint64_t st = batch_data(t, NULL, sizeof(struct stat));

	BATCH(t, id->path, NULL, SYS_openat, (uint64_t)AT_FDCWD, path,
	      (uint64_t)(flags | O_CLOEXEC));
	BATCH(t, id->path, NULL, SYS_fstat, 0, st);
	return st;
}

static int check_file(struct image_built *b, const Pando__Image__FileId *id, uint64_t st_at,
		      bool writable)
{
	struct stat st;

	memcpy(&st, batch_at(b->batch, st_at), sizeof(st));
	if (file_id_same(id, &st, writable))
		return 0;
	why_add(b->why, "%s is another file here", id->path);
	return -ENOTSUP;
}

/* Pages are written before a mapping gets its true protection. */
static uint32_t first_prot(const Pando__Image__Vma *v)
{
	return v->pages > 0 ? v->prot | PROT_READ | PROT_WRITE : v->prot;
}

static void map_one(struct image_built *b, const Pando__Image__Vma *v)
{
	uint64_t flags = MAP_FIXED_NOREPLACE;

	flags |= v->flags & VMA_SHARED ? MAP_SHARED : MAP_PRIVATE;
	flags |= v->file ? 0 : MAP_ANONYMOUS;
	flags |= v->flags & VMA_GROWSDOWN ? MAP_GROWSDOWN : 0;
	flags |= v->flags & VMA_NORESERVE ? MAP_NORESERVE : 0;
	BATCH(b->batch, "map memory", NULL, SYS_mmap, v->start, v->end - v->start, first_prot(v),
	      flags, v->file ? 0 : (uint64_t)-1, v->offset);
}

static void advise(struct image_built *b, const Pando__Image__Vma *v)
{
	static const struct {
		uint32_t flag;
		int advice;
	} how[] = { { VMA_DONTFORK, MADV_DONTFORK },     { VMA_DONTDUMP, MADV_DONTDUMP },
		    { VMA_HUGEPAGE, MADV_HUGEPAGE },     { VMA_NOHUGEPAGE, MADV_NOHUGEPAGE },
		    { VMA_WIPEONFORK, MADV_WIPEONFORK }, { VMA_MERGEABLE, MADV_MERGEABLE } };

	for (unsigned i = 0; i < ARRAY_LEN(how); i++)
		if (v->flags & how[i].flag)
			BATCH(b->batch, "advise on memory", NULL, SYS_madvise, v->start,
			      v->end - v->start, (uint64_t)how[i].advice);
}

/* The mappings of one file that follow each other, and may do the same to it, need one opening. */
static int map_file_run(struct image_built *b, unsigned first, unsigned *next)
{
	const Pando__Image__FileId *id = b->m.vma[first]->file;
	uint32_t writes = b->m.vma[first]->flags & VMA_WRITES;
	unsigned i = first;
	uint64_t st;
	int r = batch_room(b->batch, 64, strlen(id->path) + 512);

	if (r < 0)
		return r;
	st = open_file(b, id, writes ? O_RDWR : O_RDONLY);
	for (; i < b->m.vmas && i - first < 6; i++) {
		const Pando__Image__Vma *v = b->m.vma[i];

		if (!v->file || strcmp(v->file->path, id->path) != 0 ||
		    (v->flags & VMA_WRITES) != writes)
			break;
		map_one(b, v);
		advise(b, v);
	}
	BATCH(b->batch, "close", NULL, SYS_close, 0);
	*next = i;
	r = batch_run(b->batch);
	return r < 0 ? r : check_file(b, id, st, writes != 0);
}

int image_vmas_build(struct image_built *b)
{
	unsigned i = 0;
	int r = 0;

	while (r == 0 && i < b->m.vmas) {
		if (b->m.vma[i]->file) {
			r = map_file_run(b, i, &i);
			continue;
		}
		r = batch_room(b->batch, 8, 0);
		if (r == 0) {
			map_one(b, b->m.vma[i]);
			advise(b, b->m.vma[i]);
			i++;
		}
	}
	return r < 0 ? r : batch_run(b->batch);
}

/* ---- build: what else the kernel keeps of it ---- */

static int final_prots(struct image_built *b)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < b->m.vmas; i++) {
		const Pando__Image__Vma *v = b->m.vma[i];

		if (first_prot(v) == v->prot)
			continue;
		r = batch_room(b->batch, 1, 0);
		if (r == 0)
			BATCH(b->batch, "protect memory", NULL, SYS_mprotect, v->start,
			      v->end - v->start, v->prot);
	}
	return r;
}

int image_mm_build(struct image_built *b)
{
	const Pando__Image__Mm *m = b->m.mm;
	struct prctl_mm_map map = {
		.start_code = m->start_code,
		.end_code = m->end_code,
		.start_data = m->start_data,
		.end_data = m->end_data,
		.start_brk = m->start_brk,
		.brk = m->brk,
		.start_stack = m->start_stack,
		.arg_start = m->arg_start,
		.arg_end = m->arg_end,
		.env_start = m->env_start,
		.env_end = m->env_end,
		.auxv_size = (uint32_t)m->auxv.len,
		.exe_fd = 0,
	};
	uint64_t st;
	int r = final_prots(b);

	if (r == 0)
		r = batch_run(b->batch);
	if (r == 0)
		r = batch_room(b->batch, 8, strlen(m->exe->path) + m->auxv.len + 1024);
	if (r < 0)
		return r;
	st = open_file(b, m->exe, O_RDONLY);
	map.auxv = (void *)(uintptr_t)batch_data(b->batch, m->auxv.data, m->auxv.len);
	BATCH(b->batch, "set the address map (PR_SET_MM_MAP)", NULL, SYS_prctl, PR_SET_MM,
	      PR_SET_MM_MAP, batch_data(b->batch, &map, sizeof(map)), sizeof(map));
	BATCH(b->batch, "close", NULL, SYS_close, 0);
	r = batch_run(b->batch);
	return r < 0 ? r : check_file(b, m->exe, st, false);
}
