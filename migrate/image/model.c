/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.c - an image as it comes in, and whether it can be one. What is checked
 * here is what this room relies on; what only the guest itself could get wrong
 * (a pointer into nowhere) is the guest's.
 */
#include "migrate/image/priv.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define MMAP_MIN   0x10000u
#define NUMBER_MAX (64 * 1024)
#define TIMERS_MAX 1024

void image_model_fini(struct image_model *m)
{
	for (unsigned i = 0; i < m->vmas; i++)
		pando__image__vma__free_unpacked(m->vma[i], NULL);
	for (unsigned i = 0; i < m->fds; i++)
		pando__image__fd__free_unpacked(m->fd[i], NULL);
	for (unsigned i = 0; i < m->threads; i++)
		pando__image__thread__free_unpacked(m->thread[i], NULL);
	free(m->vma);
	free(m->fd);
	free(m->thread);
	pando__image__head__free_unpacked(m->head, NULL);
	pando__image__mm__free_unpacked(m->mm, NULL);
	pando__image__limits__free_unpacked(m->limits, NULL);
	pando__image__fs__free_unpacked(m->fs, NULL);
	pando__image__signals__free_unpacked(m->signals, NULL);
	pando__image__timers__free_unpacked(m->timers, NULL);
	*m = (struct image_model){ 0 };
}

static bool good_file(const Pando__Image__FileId *f)
{
	return f && f->path && f->path[0] == '/' && strlen(f->path) < 4096;
}

static bool good_head(const Pando__Image__Head *h)
{
	return h->version == IMAGE_VERSION && h->pid > 0 && h->threads >= 1 &&
	       h->threads <= IMAGE_THREADS_MAX && h->vmas <= IMAGE_VMAS_MAX && h->n_groups <= 64 &&
	       h->n_uid == 4 && h->n_gid == 4;
}

static bool good_mm(const Pando__Image__Mm *m)
{
	return good_file(m->exe) && m->auxv.len <= 4096 && m->vvar % PAGE == 0 &&
	       m->vdso_end % PAGE == 0 && m->vvar >= MMAP_MIN && m->vdso_end > m->vvar &&
	       m->vdso_end <= USER_END;
}

static bool good_vma(const struct image_model *m, const Pando__Image__Vma *v)
{
	uint64_t floor = m->vmas > 0 ? m->vma[m->vmas - 1]->end : MMAP_MIN;

	return v->start % PAGE == 0 && v->end % PAGE == 0 && v->offset % PAGE == 0 &&
	       v->start >= floor && v->start < v->end && v->end <= USER_END &&
	       v->prot <= (PROT_READ | PROT_WRITE | PROT_EXEC) && (v->flags & ~VMA_ALL) == 0 &&
	       v->pages <= (v->end - v->start) / PAGE && (!v->file || good_file(v->file)) &&
	       (v->end <= m->mm->vvar || v->start >= m->mm->vdso_end) &&
	       (!(v->flags & VMA_SHARED) || (v->file && v->pages == 0)) &&
	       (!(v->flags & VMA_WRITES) || (v->flags & VMA_SHARED)) &&
	       (!(v->flags & VMA_SHARED) || !(v->prot & PROT_WRITE) || (v->flags & VMA_WRITES));
}

static bool good_timers(const Pando__Image__Timers *t)
{
	if (t->n_itimer > 3 || t->n_posix > TIMERS_MAX)
		return false;
	for (unsigned i = 0; i < t->n_itimer; i++)
		if (t->itimer[i]->which > 2)
			return false;
	for (unsigned i = 0; i < t->n_posix; i++)
		if (t->posix[i]->id < 0 || (i > 0 && t->posix[i]->id <= t->posix[i - 1]->id))
			return false;
	return true;
}

static bool number_is_new(const struct image_model *m, uint32_t n)
{
	for (unsigned i = 0; i < m->fds; i++)
		for (unsigned k = 0; k < m->fd[i]->n_number; k++)
			if (m->fd[i]->number[k] >> 1 == n)
				return false;
	return true;
}

static bool good_fd(const struct image_model *m, const Pando__Image__Fd *f)
{
	if (f->kind < IMAGE_FD_FILE || f->kind > IMAGE_FD_OTHER || f->n_number == 0 || !f->file ||
	    !f->file->path || m->fds >= IMAGE_FDS_MAX ||
	    (!f->carried && !image_event_kind(f->kind) &&
	     (f->kind != IMAGE_FD_FILE || !good_file(f->file))) ||
	    (f->kind == IMAGE_FD_TIMERFD && !f->carried && !f->timer))
		return false;
	for (unsigned i = 0; i < f->n_watch; i++)
		if (f->watch[i]->fd >= NUMBER_MAX)
			return false;
	for (unsigned i = 0; i < f->n_number; i++) {
		if (f->number[i] >> 1 >= NUMBER_MAX || !number_is_new(m, f->number[i] >> 1))
			return false;
		for (unsigned k = 0; k < i; k++)
			if (f->number[k] >> 1 == f->number[i] >> 1)
				return false;
	}
	return true;
}

static bool good_thread(const struct image_model *m, const Pando__Image__Thread *t)
{
	if (m->threads >= m->head->threads || t->tid <= 0 ||
	    (m->threads == 0 && t->tid != m->head->pid) ||
	    t->regs.len != sizeof(struct user_regs_struct) || t->affinity.len > 1024)
		return false;
	for (unsigned i = 0; i < m->threads; i++)
		if (m->thread[i]->tid == t->tid)
			return false;
	return true;
}

/* Adds @item to the array at @list of @n. */
static int append(void *list, unsigned n, void *item)
{
	void **more;

	memcpy(&more, list, sizeof(more));
	if (n % 64 == 0) {
		more = realloc(more, (n + 64) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		memcpy(list, &more, sizeof(more));
	}
	more[n] = item;
	return 0;
}

/* One message of a kind that comes once: read the next record, unpack, keep. */
#define READ_ONE(r, m, TYPE, type, good)                                                           \
	({                                                                                         \
		int err_ = record_read(r);                                                         \
		if (err_ == RECORD_##TYPE) {                                                       \
			(m)->type =                                                                \
				(void *)record_message(r, &pando__image__##type##__descriptor);    \
			err_ = (m)->type && (good) ? 0 : -EBADMSG;                                 \
		} else if (err_ >= 0) {                                                            \
			err_ = -EBADMSG;                                                           \
		}                                                                                  \
		err_;                                                                              \
	})

/* The same for one that comes often; the record has been read already. */
#define TAKE_ONE(r, m, type, count, good)                                                          \
	({                                                                                         \
		void *msg_ = record_message(r, &pando__image__##type##__descriptor);               \
		int err_ =                                                                         \
			msg_ && good(m, msg_) ? append(&(m)->type, (m)->count, msg_) : -EBADMSG;   \
		if (err_ == 0)                                                                     \
			(m)->count++;                                                              \
		else if (msg_)                                                                     \
			protobuf_c_message_free_unpacked(msg_, NULL);                              \
		err_;                                                                              \
	})

static int read_vmas(struct record_reader *r, struct image_model *m)
{
	int err = 0;

	for (unsigned i = 0; err == 0 && i < m->head->vmas; i++) {
		err = record_read(r);
		if (err >= 0)
			err = err == RECORD_VMA ? TAKE_ONE(r, m, vma, vmas, good_vma) : -EBADMSG;
	}
	return err;
}

static int read_once(struct record_reader *r, struct image_model *m)
{
	int err = READ_ONE(r, m, HEAD, head, good_head(m->head));

	if (err == 0)
		err = READ_ONE(r, m, MM, mm, good_mm(m->mm));
	if (err == 0)
		err = read_vmas(r, m);
	if (err == 0)
		err = READ_ONE(r, m, LIMITS, limits, m->limits->n_rlimit == 2 * RLIM_NLIMITS);
	if (err == 0)
		err = READ_ONE(r, m, FS, fs, good_file(m->fs->cwd));
	if (err == 0)
		err = READ_ONE(r, m, SIGNALS, signals,
			       m->signals->actions.len == SIGNALS * KERNEL_SIGACTION);
	if (err == 0)
		err = READ_ONE(r, m, TIMERS, timers, good_timers(m->timers));
	return err;
}

int image_model_read(struct record_reader *r, struct image_model *m, struct buf *why)
{
	int type = 0, err;

	*m = (struct image_model){ 0 };
	err = read_once(r, m);
	while (err == 0) {
		type = record_read(r);
		if (type == RECORD_FD && m->threads == 0)
			err = TAKE_ONE(r, m, fd, fds, good_fd);
		else if (type == RECORD_THREAD)
			err = TAKE_ONE(r, m, thread, threads, good_thread);
		else if (type == RECORD_PAGES || type == RECORD_END)
			break;
		else
			err = type < 0 ? type : -EBADMSG;
	}
	if (err == 0 && m->threads != m->head->threads)
		err = -EBADMSG;
	if (err < 0) {
		image_model_fini(m);
		return why_err(why, err, "read the image");
	}
	return type;
}
