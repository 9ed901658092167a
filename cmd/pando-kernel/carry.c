/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carry.c - descriptors of a process that moves, beside those that migrate/image carries.
 *
 * A pipe stays where it is; what travels is an end of a relay to it (pipes.c), described as in an
 * exec that is placed (peer.proto). If the process had such an end already, the same relay gets its
 * far end at the new site: what the process has taken, and what it wrote that has not left, is
 * known exactly while it is frozen, so nothing needs to be ordered. At its pipe's home it gets the
 * pipe.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "cmd/pando-kernel/move.h"

#define SHARED_KCMP 0 /* KCMP_FILE */

/* ---- who else has it ---- */
struct other {
	struct carry *c;
	const struct image_fd *f;
	pid_t pid;           /* who moves */
	bool by_description; /* else: any descriptor of the same object counts */
	gpid found;
};

static bool is_same(const struct other *o, pid_t pid, int fd, const struct stat *st)
{
	if (st->st_dev != o->f->dev || st->st_ino != o->f->ino)
		return false;
	return !o->by_description || syscall(SYS_kcmp, o->pid, pid, SHARED_KCMP, o->f->fd, fd) == 0;
}

static bool has_it(const struct other *o, pid_t pid)
{
	char path[64];
	struct dirent *e;
	bool found = false;
	int dir;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%d/fd", pid);
	dir = openat(o->c->w->view.procfs, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = dir < 0 ? NULL : fdopendir(dir);
	if (!d) {
		if (dir >= 0)
			(void)close(dir);
		return false;
	}
	while (!found && (e = readdir(d)) != NULL) {
		struct stat st;

		if (e->d_name[0] != '.' && fstatat(dir, e->d_name, &st, 0) == 0)
			found = is_same(o, pid, atoi(e->d_name), &st);
	}
	(void)closedir(d);
	return found;
}

static void find_other(struct other *o)
{
	struct proc_list l;

	if (proc_scan(&l, &o->c->w->view) != 0)
		return;
	for (size_t i = 0; i < l.n && o->found == 0; i++)
		if (l.v[i].t.pid != o->pid && has_it(o, l.v[i].t.pid))
			o->found = l.v[i].t.gpid;
	proc_list_fini(&l);
}

static int refuse(struct carry *c, const struct image_fd *f, const char *what, gpid other)
{
	struct buf *why = c->asking ? &c->mover->cost.reasons : &c->mover->why;

	(void)!buf_addf(why, "descriptor %d is %s, which process %d uses too\n", f->fd, what,
			other);
	return -EBUSY;
}

/* ---- source ---- */
struct taking {
	struct carry *c;
	pid_t pid;
	const struct image_fd *f;
	struct buf *cookie;
	bool is_end; /* of a relay from elsewhere */
};

static int copy_of(const struct taking *t)
{
	int pidfd = task_pidfd(t->pid);
	int fd = pidfd < 0 ? pidfd : (int)syscall(SYS_pidfd_getfd, pidfd, t->f->fd, 0);

	if (pidfd >= 0 && fd < 0)
		fd = -errno;
	if (pidfd >= 0)
		(void)close(pidfd);
	return fd;
}

static int pack(const struct pipes_end *e, struct buf *out)
{
	Peer__Fd f = PEER__FD__INIT;
	size_t len;
	int r;

	f.kind = e->process_writes ? PEER__FD_KIND__FD_OUTPUT : PEER__FD_KIND__FD_INPUT;
	f.relay = e->id;
	f.owner = e->home;
	f.start = e->start;
	f.data.data = (uint8_t *)(uintptr_t)e->bytes;
	f.data.len = e->len;
	len = peer__fd__get_packed_size(&f);
	r = buf_reserve(out, len);
	if (r == 0)
		out->len += peer__fd__pack(&f, out->data + out->len);
	return r;
}

static int on_look(void *arg)
{
	struct taking *t = arg;
	struct pipes_end e;
	int fd = copy_of(t);

	if (fd < 0)
		return fd;
	t->is_end = pipes_find_end(t->c->w, fd, &e);
	(void)close(fd);
	return 0;
}

static int on_take(void *arg)
{
	struct taking *t = arg;
	struct world *w = t->c->w;
	struct pipes_end e = { .home = w->node,
			       .pid = t->c->pid,
			       .process_writes = (t->f->flags & O_ACCMODE) == O_WRONLY };
	int fd = copy_of(t), r;

	if (fd < 0)
		return fd;
	if (pipes_find_end(w, fd, &e)) {
		(void)close(fd);
		return pack(&e, t->cookie);
	}
	e.id = ++w->last_relay;
	r = pipes_home(w, e.id, t->c->target, e.pid, fd, e.process_writes);
	return r < 0 ? r : pack(&e, t->cookie);
}

static int take_pipe(struct carry *c, pid_t pid, const struct image_fd *f, struct buf *cookie)
{
	struct taking t = { .c = c, .pid = pid, .f = f, .cookie = cookie };
	struct other o = { .c = c, .f = f, .pid = pid };
	int r;

	if ((f->flags & O_ACCMODE) == O_RDWR)
		return -ENOTSUP;
	r = mover_ask(c->mover, on_look, &t);
	if (r == 0 && t.is_end)
		find_other(&o);
	if (o.found != 0)
		return refuse(c, f, "an end of a pipe of another node", o.found);
	return r != 0 || c->asking ? r : mover_ask(c->mover, on_take, &t);
}

/* By path, by the image; but an offset that others move too is only here. */
static int look_at_file(struct carry *c, pid_t pid, const struct image_fd *f)
{
	bool appends = (f->flags & O_ACCMODE) == O_WRONLY && (f->flags & O_APPEND);
	struct other o = { .c = c, .f = f, .pid = pid, .by_description = true };
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%d/fd/%d", pid, f->fd);
	if (appends || fstatat(c->w->view.procfs, path, &st, 0) != 0 || !S_ISREG(st.st_mode))
		return -ENOTSUP;
	find_other(&o);
	return o.found != 0 ? refuse(c, f, "a file with an offset", o.found) : -ENOTSUP;
}

static int take(void *arg, pid_t pid, const struct image_fd *f, struct buf *cookie)
{
	if (f->kind == IMAGE_FD_PIPE)
		return take_pipe(arg, pid, f, cookie);
	if (f->kind == IMAGE_FD_FILE)
		return look_at_file(arg, pid, f);
	return -ENOTSUP;
}

/* ---- target ---- */
struct making {
	struct carry *c;
	const Peer__Fd *q;
};

static int on_make(void *arg)
{
	const struct making *m = arg;
	struct world *w = m->c->w;
	struct pipes_end e = { .id = m->q->relay,
			       .home = m->q->owner,
			       .pid = m->c->pid,
			       .process_writes = m->q->kind == PEER__FD_KIND__FD_OUTPUT,
			       .start = m->q->start,
			       .bytes = m->q->data.data,
			       .len = m->q->data.len };

	return e.home == w->node ? pipes_object(w, &e) : pipes_end_make(w, &e);
}

static int make(void *arg, const struct image_fd *f, const void *cookie, size_t len)
{
	struct carry *c = arg;
	Peer__Fd *q = peer__fd__unpack(NULL, len, cookie);
	struct making m = { c, q };
	int fd = -EBADMSG, r;

	if (q && (q->kind == PEER__FD_KIND__FD_INPUT || q->kind == PEER__FD_KIND__FD_OUTPUT))
		fd = mover_ask(c->mover, on_make, &m);
	/* New descriptions do not block us; this one is the process'. */
	if (fd >= 0) {
		r = fcntl(fd, F_SETFL, (int)f->flags & (O_NONBLOCK | O_APPEND));
		if (r != 0)
			log_warn("descriptor %d has lost its flags: %s", f->fd, strerror(errno));
	}
	if (q)
		peer__fd__free_unpacked(q, NULL);
	return fd;
}

/* Who is not notified of a sleep does not know when it began: it may be longer than wanted. */
static int sleep_since(void *arg, pid_t tid, uint64_t *since_ns)
{
	return -ENOENT;
}

const struct image_hooks carry_hooks = {
	.fd_take = take,
	.fd_make = make,
	.sleep_since = sleep_since,
};
