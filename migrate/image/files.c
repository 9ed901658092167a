/* SPDX-License-Identifier: Apache-2.0 */
/* files.c - open descriptions: files by path and offset, the rest by the caller or by name refused.
 */
#include "migrate/image/priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define FD_NUMBERS_MAX (64 * 1024)

struct open_fd {
	struct image_fd info;
	uint32_t mode;
	bool cloexec;
	bool locked;      /* holds a lock of the file */
	char *fdinfo;     /* of the kinds of events.c: what they hold */
	unsigned same_as; /* index of the description's first, or its own */
	struct file_id id;
};

struct open_fds {
	struct open_fd *fd;
	unsigned count;
};

static void open_fds_fini(struct open_fds *l)
{
	for (unsigned i = 0; i < l->count; i++)
		file_id_fini(&l->fd[i].id);
	for (unsigned i = 0; i < l->count; i++)
		free(l->fd[i].fdinfo);
	free(l->fd);
	*l = (struct open_fds){ NULL, 0 };
}

static bool starts(const char *s, const char *with)
{
	return strncmp(s, with, strlen(with)) == 0;
}

/* The devices that are the same everywhere. (Documentation/admin-guide/devices.txt) */
static bool plain_device(const struct stat *st)
{
	static const uint8_t minors[] = { 3, 5, 7, 8, 9 };

	for (unsigned i = 0; S_ISCHR(st->st_mode) && i < ARRAY_LEN(minors); i++)
		if (st->st_rdev == makedev(1, minors[i]))
			return true;
	return false;
}

static enum image_fd_kind kind_of(const char *path, const struct stat *st)
{
	static const struct {
		const char *name;
		enum image_fd_kind kind;
	} anon[] = { { "anon_inode:[eventpoll]", IMAGE_FD_EPOLL },
		     { "anon_inode:[eventfd]", IMAGE_FD_EVENTFD },
		     { "anon_inode:[timerfd]", IMAGE_FD_TIMERFD },
		     { "anon_inode:[signalfd]", IMAGE_FD_SIGNALFD } };

	for (unsigned i = 0; i < ARRAY_LEN(anon); i++)
		if (strcmp(path, anon[i].name) == 0)
			return anon[i].kind;
	if (S_ISFIFO(st->st_mode))
		return IMAGE_FD_PIPE;
	if (S_ISSOCK(st->st_mode))
		return IMAGE_FD_SOCKET;
	/* Unix98 slaves, /dev/tty, /dev/console and masters */
	if (S_ISCHR(st->st_mode) &&
	    ((major(st->st_rdev) >= 136 && major(st->st_rdev) <= 143) || major(st->st_rdev) == 5))
		return IMAGE_FD_TTY;
	if (starts(path, "/") && !starts(path, "/memfd:") && !strstr(path, " (deleted)") &&
	    (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode) || plain_device(st)))
		return IMAGE_FD_FILE;
	return IMAGE_FD_OTHER;
}

static int read_fdinfo(const struct image_env *env, pid_t pid, struct open_fd *f)
{
	cleanup_buf struct buf b = BUF_INIT;
	char name[32];
	const char *s, *p;
	int r;

	(void)snprintf(name, sizeof(name), "fdinfo/%d", f->info.fd);
	r = tracee_proc_read(env->proc, pid, name, &b);
	s = r == 0 ? buf_str(&b) : NULL;
	if (!s)
		return r < 0 ? r : -ENOMEM;
	p = strstr(s, "pos:");
	f->info.offset = p ? strtoull(p + 4, NULL, 10) : 0;
	p = strstr(s, "flags:");
	f->info.flags = p ? (uint32_t)strtoul(p + 6, NULL, 8) : 0;
	f->cloexec = f->info.flags & O_CLOEXEC;
	f->info.flags &= ~(uint32_t)O_CLOEXEC;
	f->locked = strstr(s, "\nlock:") != NULL;
	if (!image_event_kind(f->info.kind))
		return 0;
	f->fdinfo = strdup(s);
	return f->fdinfo ? 0 : -ENOMEM;
}

/* A message queue has the name of a file in the root directory, and is none of there. */
static bool is_queue(const struct image_env *env, pid_t pid, const char *path,
		     const struct stat *st)
{
	char at[300];
	struct stat named;

	if (!S_ISREG(st->st_mode) || path[0] != '/' || strchr(path + 1, '/') ||
	    strlen(path) > sizeof(at) - 32)
		return false;
	(void)snprintf(at, sizeof(at), "%d/root%s", pid, path);
	return fstatat(env->proc, at, &named, AT_SYMLINK_NOFOLLOW) < 0 ||
	       named.st_dev != st->st_dev || named.st_ino != st->st_ino;
}

static int read_one(const struct image_env *env, pid_t pid, int number, struct open_fd *f)
{
	char link[32], at[64];
	struct stat st = { 0 };
	int r;

	*f = (struct open_fd){ .info.fd = number };
	(void)snprintf(link, sizeof(link), "fd/%d", number);
	(void)snprintf(at, sizeof(at), "%d/%s", pid, link);
	r = file_id_read(env, pid, link, &f->id);
	if (r == 0 && fstatat(env->proc, at, &st, 0) < 0)
		r = -errno;
	f->info.path = f->id.path;
	f->info.kind = IMAGE_FD_LOST;
	if (r < 0)
		return r == -EIO && f->id.path ? read_fdinfo(env, pid, f) : r;
	f->info.dev = st.st_dev;
	f->info.ino = st.st_ino;
	f->info.kind = kind_of(f->id.path, &st);
	if (is_queue(env, pid, f->id.path, &st))
		f->info.kind = IMAGE_FD_OTHER;
	f->mode = st.st_mode;
	return read_fdinfo(env, pid, f);
}

/* Two numbers of one description share offset and flags; only kcmp tells for sure. */
static bool same_description(pid_t pid, const struct open_fd *a, const struct open_fd *b)
{
	long r;

	if (a->info.dev != b->info.dev || a->info.ino != b->info.ino ||
	    a->info.flags != b->info.flags || a->info.offset != b->info.offset)
		return false;
	r = syscall(SYS_kcmp, pid, pid, KCMP_FILE, a->info.fd, b->info.fd);
	return r == 0 || (r < 0 && errno == ENOSYS);
}

static int compare_fds(const void *a, const void *b)
{
	return ((const struct open_fd *)a)->info.fd - ((const struct open_fd *)b)->info.fd;
}

static int add_number(const struct image_env *env, pid_t pid, struct open_fds *l, int number)
{
	struct open_fd *more;
	int r;

	if (l->count >= IMAGE_FDS_MAX || number >= FD_NUMBERS_MAX)
		return -ENOTSUP;
	more = realloc(l->fd, (l->count + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	l->fd = more;
	r = read_one(env, pid, number, &more[l->count]);
	l->count++;
	return r;
}

static int open_fds_read(const struct image_env *env, pid_t pid, struct open_fds *l)
{
	char path[32];
	struct dirent *e;
	int fd, r = 0;
	DIR *d;

	*l = (struct open_fds){ NULL, 0 };
	(void)snprintf(path, sizeof(path), "%d/fd", pid);
	fd = openat(env->proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		r = -errno;
		if (fd >= 0)
			(void)close(fd);
		return r == -ENOENT ? -ESRCH : r;
	}
	while (r == 0 && (e = readdir(d)))
		if (e->d_name[0] != '.')
			r = add_number(env, pid, l, (int)strtol(e->d_name, NULL, 10));
	(void)closedir(d);
	if (r < 0) {
		open_fds_fini(l);
		return r;
	}
	if (l->count > 0)
		qsort(l->fd, l->count, sizeof(*l->fd), compare_fds);
	for (unsigned i = 0; i < l->count; i++) {
		l->fd[i].same_as = i;
		for (unsigned k = 0; k < i && l->fd[i].same_as == i; k++)
			if (l->fd[k].same_as == k && same_description(pid, &l->fd[k], &l->fd[i]))
				l->fd[i].same_as = k;
	}
	return 0;
}

/* ---- what cannot be carried without the caller ---- */

static bool carried_by_us(const struct open_fd *f, struct buf *why)
{
	static const char *const names[] = {
		[IMAGE_FD_PIPE] = "a pipe",
		[IMAGE_FD_SOCKET] = "a socket",
		[IMAGE_FD_TTY] = "a terminal",
		[IMAGE_FD_EPOLL] = "an epoll instance",
		[IMAGE_FD_EVENTFD] = "an eventfd",
		[IMAGE_FD_TIMERFD] = "a timerfd",
		[IMAGE_FD_SIGNALFD] = "a signalfd",
		[IMAGE_FD_OTHER] = "of a kind that cannot move",
		[IMAGE_FD_LOST] = "a file that does not answer",
	};

	if (image_event_kind(f->info.kind)) {
		Pando__Image__Fd m = PANDO__IMAGE__FD__INIT;
		int r = image_event_dump(f->fdinfo, f->info.fd, &m, why);

		image_event_fini(&m);
		return r == 0;
	}
	if (f->info.kind != IMAGE_FD_FILE)
		why_add(why, "descriptor %d is %s (%s)", f->info.fd, names[f->info.kind],
			f->info.path);
	else if (f->locked)
		why_add(why, "descriptor %d holds a lock of %s", f->info.fd, f->info.path);
	else if (f->info.flags & O_ASYNC)
		why_add(why, "descriptor %d sends signals (O_ASYNC)", f->info.fd);
	else
		return true;
	return false;
}

/* 0: the caller carries it; 1: we do; -errno: nobody, see @why. */
static int who_carries(const struct image_env *env, pid_t pid, const struct open_fd *f,
		       struct buf *cookie, struct buf *why)
{
	size_t said = why->len;
	int r = env->hooks && env->hooks->fd_take
			? env->hooks->fd_take(env->arg, pid, &f->info, cookie)
			: -ENOTSUP;

	if (r >= 0)
		return 0;
	if (r != -ENOTSUP && why->len > said)
		return r;
	if (r != -ENOTSUP) {
		why_add(why, "descriptor %d (%s): %s", f->info.fd, f->info.path, strerror(-r));
		return r;
	}
	return carried_by_us(f, why) ? 1 : -ENOTSUP;
}

int image_fds_check(const struct image_env *env, pid_t pid, struct buf *why)
{
	struct open_fds l;
	int r = open_fds_read(env, pid, &l);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < l.count; i++) {
		cleanup_buf struct buf cookie = BUF_INIT;

		if (l.fd[i].same_as == i && who_carries(env, pid, &l.fd[i], &cookie, why) < 0)
			r = -ENOTSUP;
	}
	open_fds_fini(&l);
	return r;
}

/* ---- dump ---- */

static int dump_one(struct record_writer *w, struct image_frozen *f, const struct open_fds *l,
		    unsigned i, uint32_t *numbers, struct buf *why)
{
	cleanup_buf struct buf cookie = BUF_INIT;
	Pando__Image__Fd m = PANDO__IMAGE__FD__INIT;
	int r, by_us = who_carries(&f->env, f->set.pid, &l->fd[i], &cookie, why);

	if (by_us < 0)
		return by_us;
	m.kind = l->fd[i].info.kind;
	m.flags = l->fd[i].info.flags;
	m.offset = l->fd[i].info.offset;
	m.dev = l->fd[i].info.dev;
	m.file = (Pando__Image__FileId *)(uintptr_t)&l->fd[i].id.msg;
	m.carried = by_us == 0;
	m.cookie = (ProtobufCBinaryData){ cookie.len, cookie.data };
	m.number = numbers;
	for (unsigned k = i; k < l->count; k++)
		if (l->fd[k].same_as == i)
			numbers[m.n_number++] = (uint32_t)l->fd[k].info.fd << 1 | l->fd[k].cloexec;
	r = !m.carried && image_event_kind(m.kind)
		    ? image_event_dump(l->fd[i].fdinfo, l->fd[i].info.fd, &m, why)
		    : 0;
	if (r == 0)
		r = record_write_message(w, RECORD_FD, &m.base);
	image_event_fini(&m);
	return r;
}

int image_fds_dump(struct record_writer *w, struct image_frozen *f, struct buf *why)
{
	struct open_fds l;
	uint32_t *numbers;
	int refused = 0, r = open_fds_read(&f->env, f->set.pid, &l);

	if (r < 0)
		return r;
	numbers = calloc(l.count + 1, sizeof(*numbers));
	if (!numbers)
		r = -ENOMEM;
	for (unsigned i = 0; r == 0 && i < l.count; i++) {
		if (l.fd[i].same_as != i)
			continue;
		r = dump_one(w, f, &l, i, numbers, why);
		/* All that is refused is named, not only the first. */
		if (r == -ENOTSUP) {
			refused = r;
			r = 0;
		}
	}
	free(numbers);
	open_fds_fini(&l);
	return r < 0 ? r : refused;
}

/* ---- build ---- */

static bool taken(const struct image_built *b, unsigned n)
{
	return b->fds_open[n / 64] >> (n % 64) & 1;
}

static void mark(struct image_built *b, unsigned n, bool on)
{
	if (on)
		b->fds_open[n / 64] |= UINT64_C(1) << (n % 64);
	else
		b->fds_open[n / 64] &= ~(UINT64_C(1) << (n % 64));
}

static unsigned lowest_free(const struct image_built *b)
{
	unsigned n = 0;

	while (taken(b, n)) /* at most IMAGE_FDS_MAX are: checked when they were read */
		n++;
	return n;
}

/* From the open number @have to all the numbers of @m. */
static int spread(struct image_built *b, const Pando__Image__Fd *m, unsigned have)
{
	bool wanted = false;

	for (unsigned i = 0; i < m->n_number; i++) {
		unsigned n = m->number[i] >> 1;
		bool cloexec = m->number[i] & 1;
		int r = batch_room(b->batch, 2, 0);

		if (r < 0)
			return r;
		wanted |= n == have;
		if (n == have)
			BATCH(b->batch, "mark a descriptor", NULL, SYS_fcntl, n, F_SETFD,
			      cloexec ? FD_CLOEXEC : 0);
		else
			BATCH(b->batch, "place a descriptor", NULL, SYS_dup3, have, n,
			      cloexec ? O_CLOEXEC : 0);
		mark(b, n, true);
	}
	if (!wanted) {
		BATCH(b->batch, "close", NULL, SYS_close, have);
		mark(b, have, false);
	}
	return batch_run(b->batch);
}

static int build_file(struct image_built *b, const Pando__Image__Fd *m)
{
	unsigned n = lowest_free(b);
	uint64_t path, at;
	uint32_t flags = m->flags & ~(uint32_t)(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC);
	bool writable = (flags & O_ACCMODE) != O_RDONLY && !(flags & O_PATH);
	int64_t got = -1;
	struct stat st;
	int r = batch_room(b->batch, 8, strlen(m->file->path) + 512);

	if (r < 0)
		return r;
	path = batch_text(b->batch, m->file->path);
	at = batch_data(b->batch, NULL, sizeof(st));
	BATCH(b->batch, m->file->path, &got, SYS_openat, (uint64_t)AT_FDCWD, path,
	      flags | O_NOCTTY);
	BATCH(b->batch, m->file->path, NULL, SYS_fstat, n, at);
	if (!S_ISCHR(m->file->mode) && !(flags & O_PATH))
		BATCH(b->batch, "seek", NULL, SYS_lseek, n, m->offset, SEEK_SET);
	r = batch_run(b->batch);
	if (r < 0)
		return r;
	if (got != (int64_t)n)
		return -EPROTO;
	mark(b, n, true);
	memcpy(&st, batch_at(b->batch, at), sizeof(st));
	if (!file_id_same(m->file, &st, writable)) {
		why_add(b->why, "%s is another file here", m->file->path);
		return -ENOTSUP;
	}
	return spread(b, m, n);
}

static int build_carried(struct image_built *b, const Pando__Image__Fd *m)
{
	struct image_fd info = { .fd = (int)(m->number[0] >> 1),
				 .kind = m->kind,
				 .flags = m->flags,
				 .offset = m->offset,
				 .dev = m->dev,
				 .ino = m->file->ino,
				 .path = m->file->path };
	cleanup_close int fd = -1;
	int r;

	if (!b->env.hooks || !b->env.hooks->fd_make) {
		why_add(b->why, "descriptor %d (%s) has nobody to make it here", info.fd,
			info.path);
		return -ENOTSUP;
	}
	fd = b->env.hooks->fd_make(b->env.arg, &info, m->cookie.data, m->cookie.len);
	if (fd < 0)
		return why_err(b->why, fd, "make a descriptor that was carried along");
	r = batch_run(b->batch);
	if (r == 0)
		r = gate_fd_install(&b->gates[0], fd, info.fd, m->number[0] & 1);
	if (r < 0)
		return why_err(b->why, r, "put a descriptor into the process");
	mark(b, (unsigned)info.fd, true);
	return spread(b, m, (unsigned)info.fd);
}

static int build_event(struct image_built *b, const Pando__Image__Fd *m)
{
	unsigned n = lowest_free(b);
	int r = image_event_build(b, m, n);

	mark(b, n, true);
	return r < 0 ? r : spread(b, m, n);
}

int image_fds_build(struct image_built *b)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < b->m.fds; i++) {
		const Pando__Image__Fd *m = b->m.fd[i];

		if (m->carried)
			r = build_carried(b, m);
		else if (image_event_kind(m->kind))
			r = build_event(b, m);
		else
			r = build_file(b, m);
	}
	return r < 0 ? r : image_watches_build(b);
}
