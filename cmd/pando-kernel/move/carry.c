/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carry.c - descriptors of a process that moves, beside those that migrate/image carries.
 *
 * A pipe stays where it is; what travels is an end of a relay to it (pipes.c), described as in an
 * exec that is placed (peer.proto). If the process had such an end already, the same relay gets its
 * far end at the new site: what the process has taken, and what it wrote that has not left, is
 * known exactly while it is frozen, so nothing needs to be ordered. At its pipe's home it gets the
 * pipe.
 *
 * A terminal is its owner's (ttys.h). What the process has written to a carrier must have arrived
 * before it may write on another node, and what was typed for it must not stay behind here unread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "cmd/pando-kernel/move/move.h"
#include "cmd/pando-kernel/files/streams.h"
#include "cmd/pando-kernel/tty/ttys.h"

/* ---- what a mover's thread waits for, while the loop goes on ---- */
struct awaited {
	pthread_mutex_t lock;
	pthread_cond_t came;
	bool is_there;
	int result;
};
#define AWAITED_INIT                                                                               \
	{                                                                                          \
		.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER                \
	}

static void on_awaited(void *arg, int result)
{
	struct awaited *x = arg;

	(void)pthread_mutex_lock(&x->lock);
	x->result = result;
	x->is_there = true;
	(void)pthread_cond_signal(&x->came);
	(void)pthread_mutex_unlock(&x->lock);
}

static int await(struct awaited *x)
{
	(void)pthread_mutex_lock(&x->lock);
	while (!x->is_there)
		(void)pthread_cond_wait(&x->came, &x->lock);
	(void)pthread_mutex_unlock(&x->lock);
	return x->result;
}

/* Of the mover's job that is under way. */
static struct buf *why_of(struct carry *c)
{
	return c->asking ? &c->mover->cost.reasons : &c->mover->why;
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

static int pack_fd(const Peer__Fd *f, struct buf *out)
{
	size_t len = peer__fd__get_packed_size(f);
	int r = buf_reserve(out, len);

	if (r == 0)
		out->len += peer__fd__pack(f, out->data + out->len);
	return r;
}

static int pack_end(const struct pipes_end *e, struct buf *out)
{
	Peer__Fd f = PEER__FD__INIT;

	f.kind = e->process_writes ? PEER__FD_KIND__FD_OUTPUT : PEER__FD_KIND__FD_INPUT;
	f.relay = e->id;
	f.owner = e->home;
	f.start = e->start;
	f.data.data = (uint8_t *)(uintptr_t)e->bytes;
	f.data.len = e->len;
	return pack_fd(&f, out);
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
	if (pipes_hold_end(w, fd, e.pid, &e)) {
		(void)close(fd);
		return pack_end(&e, t->cookie);
	}
	e.id = ++w->last_relay;
	r = pipes_home(w, e.id, t->c->target, e.pid, fd, e.process_writes);
	return r < 0 ? r : pack_end(&e, t->cookie);
}

static int take_pipe(struct carry *c, pid_t pid, const struct image_fd *f, struct buf *cookie)
{
	struct taking t = { .c = c, .pid = pid, .f = f, .cookie = cookie };
	gpid other = 0;
	int r;

	if ((f->flags & O_ACCMODE) == O_RDWR)
		return -ENOTSUP;
	r = mover_ask(c->mover, on_look, &t);
	if (r == 0 && t.is_end)
		/* Any descriptor of the same pipe counts. */
		other = pipes_other_user(c->w, (ino_t)f->ino, pid);
	if (other != 0) {
		(void)!buf_addf(why_of(c),
				"descriptor %d is an end of a pipe of another node, which process "
				"%d uses too\n",
				f->fd, other);
		return -EBUSY;
	}
	return r != 0 || c->asking ? r : mover_ask(c->mover, on_take, &t);
}

static int on_tty(void *arg)
{
	struct taking *t = arg;
	Peer__Fd f = PEER__FD__INIT;

	if (!ttys_describe(t->c->w, t->pid, t->f->fd, &f))
		return -ENOTSUP;
	return t->c->asking ? 0 : pack_fd(&f, t->cookie);
}

struct settling {
	struct awaited end;
	const struct taking *t;
};

static int on_settle(void *arg)
{
	struct settling *x = arg;

	ttys_settle(x->t->c->w, x->t->pid, x->t->f->fd, on_awaited, &x->end);
	return 0;
}

static int take_tty(struct carry *c, pid_t pid, const struct image_fd *f, struct buf *cookie)
{
	struct taking t = { .c = c, .pid = pid, .f = f, .cookie = cookie };
	struct settling x = { .t = &t, .end = AWAITED_INIT };
	int r = mover_ask(c->mover, on_tty, &t);

	if (r != 0 || c->asking)
		return r;
	r = mover_ask(c->mover, on_settle, &x);
	if (r == 0)
		r = await(&x.end);
	if (r == -EBUSY)
		(void)!buf_addf(&c->mover->why, "its terminal does not take what it has written\n");
	else if (r == -EAGAIN)
		(void)!buf_addf(&c->mover->why, "it is about to read what was typed\n");
	else if (r != 0)
		(void)!buf_addf(&c->mover->why, "the node of its terminal does not answer\n");
	return r;
}

static bool holds_lock(const struct taking *t)
{
	char name[32], text[4096];

	(void)snprintf(name, sizeof(name), "fdinfo/%d", t->f->fd);
	return task_file(t->c->w->view.procfs, t->pid, name, text, sizeof(text)) < 0 ||
	       strstr(text, "\nlock:");
}

static int pack_stream(struct carry *c, Peer__Fd *f, struct buf *cookie)
{
	int r = 0;

	if (c->asking) {
		streams_given(c->w, f);
		return 0;
	}
	if (f->owner == c->w->node)
		r = buf_add(&c->streams, &f->relay, sizeof(f->relay));
	f->path = (char *)(uintptr_t)protobuf_c_empty_string;
	return r == 0 ? pack_fd(f, cookie) : r;
}

static int lost(struct buf *why, const struct image_fd *f, const char *owner)
{
	(void)!buf_addf(why, "descriptor %d is a file that node %s had opened, and has lost\n",
			f->fd, owner);
	return -EIO;
}

/* Its owner does not have it any more, or is dead. */
static int on_lost(void *arg)
{
	struct taking *t = arg;
	Peer__Fd f = PEER__FD__INIT;

	f.path = (char *)(uintptr_t)t->f->path;
	if (!streams_are_ours(f.path) || streams_give(t->c->w, t->pid, -1, false, &f) != 0 ||
	    f.kind != PEER__FD_KIND__FD_STREAM)
		return -ENOTSUP;
	return lost(why_of(t->c), t->f, peers_name(t->c->w, f.owner));
}

static int take_lost(struct carry *c, pid_t pid, const struct image_fd *f)
{
	struct taking t = { .c = c, .pid = pid, .f = f };

	return mover_ask(c->mover, on_lost, &t);
}

/* By path, by the image, if that will do; else its description stays with its owner (streams.h). */
static int on_file(void *arg)
{
	struct taking *t = arg;
	Peer__Fd f = PEER__FD__INIT;
	int fd = -1, r;

	f.path = (char *)(uintptr_t)t->f->path;
	f.flags = t->f->flags;
	f.offset = t->f->offset;
	if (!streams_are_ours(f.path)) {
		fd = copy_of(t);
		if (fd < 0)
			return fd;
	}
	r = streams_give(t->c->w, t->pid, fd, false, &f);
	if (fd >= 0)
		(void)close(fd);
	if (r != 0)
		return r;
	if (f.kind == PEER__FD_KIND__FD_STREAM && peers_gone(t->c->w, f.owner))
		return lost(why_of(t->c), t->f, peers_name(t->c->w, f.owner));
	return f.kind == PEER__FD_KIND__FD_STREAM ? pack_stream(t->c, &f, t->cookie) : -ENOTSUP;
}

void carry_end(struct carry *c)
{
	Peer__Fd f = PEER__FD__INIT;

	f.kind = PEER__FD_KIND__FD_STREAM;
	f.owner = c->w->node;
	for (size_t at = 0; at < c->streams.len; at += sizeof(f.relay)) {
		memcpy(&f.relay, c->streams.data + at, sizeof(f.relay));
		streams_given(c->w, &f);
	}
	buf_fini(&c->streams);
}

static int take_file(struct carry *c, pid_t pid, const struct image_fd *f, struct buf *cookie)
{
	struct taking t = { .c = c, .pid = pid, .f = f, .cookie = cookie };
	bool appends = (f->flags & O_ACCMODE) == O_WRONLY && (f->flags & O_APPEND);
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%d/fd/%d", pid, f->fd);
	if (fstatat(c->w->view.procfs, path, &st, 0) != 0 || !S_ISREG(st.st_mode) ||
	    (appends && !streams_are_ours(f->path)) || holds_lock(&t))
		return -ENOTSUP;
	return mover_ask(c->mover, on_file, &t);
}

static int take(void *arg, pid_t pid, const struct image_fd *f, struct buf *cookie)
{
	if (f->kind == IMAGE_FD_PIPE)
		return take_pipe(arg, pid, f, cookie);
	if (f->kind == IMAGE_FD_FILE)
		return take_file(arg, pid, f, cookie);
	if (f->kind == IMAGE_FD_TTY)
		return take_tty(arg, pid, f, cookie);
	if (f->kind == IMAGE_FD_LOST)
		return take_lost(arg, pid, f);
	return -ENOTSUP;
}

/* ---- target ---- */
struct making {
	struct carry *c;
	const Peer__Fd *q;
	unsigned flags;
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

static int on_make_tty(void *arg)
{
	const struct making *m = arg;
	Peer__Fd f = *m->q;

	f.flags = m->flags;
	return ttys_take(m->c->w, &f);
}

/* A stream is opened by the zygote. */
struct fetch {
	struct awaited end;
	struct carry *c;
	const Peer__Fd *q;
	unsigned flags;
	char owner[NODE_NAME_MAX];
};

static int on_fetch(void *arg)
{
	struct fetch *x = arg;

	(void)snprintf(x->owner, sizeof(x->owner), "%s", peers_name(x->c->w, x->q->owner));
	streams_fetch(x->c->w, x->q, x->flags, on_awaited, &x->end);
	return 0;
}

static int make_stream(struct carry *c, const struct image_fd *f, const Peer__Fd *q)
{
	struct fetch x = { .c = c, .q = q, .flags = f->flags, .end = AWAITED_INIT };
	int r = mover_ask(c->mover, on_fetch, &x);

	if (r == 0)
		r = await(&x.end);
	return r == -EIO ? lost(&c->mover->why, f, x.owner) : r;
}

static int make_end(struct carry *c, const struct image_fd *f, const Peer__Fd *q)
{
	struct making m = { c, q, f->flags };
	bool is_tty = q->kind == PEER__FD_KIND__FD_TTY;
	int fd = mover_ask(c->mover, is_tty ? on_make_tty : on_make, &m);

	/* New descriptions do not block us; this one is the process'. */
	if (fd >= 0 && fcntl(fd, F_SETFL, (int)f->flags & (O_NONBLOCK | O_APPEND)) != 0)
		log_warn("descriptor %d has lost its flags: %s", f->fd, strerror(errno));
	return fd;
}

static int make(void *arg, const struct image_fd *f, const void *cookie, size_t len)
{
	Peer__Fd *q = peer__fd__unpack(NULL, len, cookie);
	int fd = -EBADMSG;

	if (q && (q->kind == PEER__FD_KIND__FD_INPUT || q->kind == PEER__FD_KIND__FD_OUTPUT ||
		  q->kind == PEER__FD_KIND__FD_TTY))
		fd = make_end(arg, f, q);
	else if (q && q->kind == PEER__FD_KIND__FD_STREAM)
		fd = make_stream(arg, f, q);
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
