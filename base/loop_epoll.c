/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_epoll.c - the loop where io_uring is forbidden (a container's filter,
 * kernel.io_uring_disabled). Files go to one worker thread: an fdatasync must
 * not stop the heartbeat of a daemon.
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/loop_priv.h"
#include "base/types.h"

#define EVENTS_PER_TURN 64

struct job {
	struct list link;
	struct loop_op *op;
};

struct epoll_impl {
	int epfd;
	struct list dead; /* jobs naming ops that were dropped while events of this turn may still
			     name them */
	bool in_turn;

	pthread_t worker;
	bool worker_runs;
	pthread_mutex_t lock; /* guards jobs, quit */
	pthread_cond_t more;
	struct list jobs;
	bool quit;
};

static int epoll_init(struct loop *l)
{
	struct epoll_impl *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (e->epfd < 0) {
		int err = errno;

		free(e);
		return -err;
	}
	list_init(&e->dead);
	list_init(&e->jobs);
	CHECK(pthread_mutex_init(&e->lock, NULL) == 0);
	CHECK(pthread_cond_init(&e->more, NULL) == 0);
	l->impl = e;
	return 0;
}

static void free_dead(struct epoll_impl *e)
{
	while (!list_empty(&e->dead)) {
		struct job *j = list_front(&e->dead, struct job, link);

		list_del(&j->link);
		loop_op_free(j->op);
		free(j);
	}
}

static void epoll_fini(struct loop *l)
{
	struct epoll_impl *e = l->impl;

	if (e->worker_runs) {
		CHECK(pthread_mutex_lock(&e->lock) == 0);
		e->quit = true;
		CHECK(pthread_cond_signal(&e->more) == 0);
		CHECK(pthread_mutex_unlock(&e->lock) == 0);
		CHECK(pthread_join(e->worker, NULL) == 0);
	}
	free_dead(e);
	(void)close(e->epfd);
	free(e);
}

/* POLLIN, POLLOUT, POLLERR and POLLHUP have the same values as their EPOLL names. */
static int epoll_fd_arm(struct loop *l, struct loop_fd *w)
{
	struct epoll_impl *e = l->impl;
	struct epoll_event ev = { .events = (uint32_t)w->events, .data.ptr = w->op };
	int how = w->op->armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	/* epoll reports EPOLLHUP even for no events: a paused descriptor is taken out. */
	if (w->events == 0) {
		if (w->op->armed && epoll_ctl(e->epfd, EPOLL_CTL_DEL, w->fd, NULL) < 0)
			return -errno;
		w->op->armed = false;
		return 0;
	}
	if (epoll_ctl(e->epfd, how, w->fd, &ev) < 0)
		return -errno;
	w->op->armed = true;
	return 0;
}

static void epoll_fd_drop(struct loop *l, struct loop_op *op, int fd)
{
	struct epoll_impl *e = l->impl;
	struct job *j;

	if (op->armed)
		(void)epoll_ctl(e->epfd, EPOLL_CTL_DEL, fd,
				NULL); /* the caller may have closed it */
	if (!e->in_turn) {
		loop_op_free(op);
		return;
	}
	j = calloc(1, sizeof(*j));
	CHECK(j != NULL);
	j->op = op;
	list_add_tail(&e->dead, &j->link);
}

static ssize_t do_io(const struct loop_op *op)
{
	struct iovec iov = { .iov_base = op->buf, .iov_len = op->len };
	int flags = op->io_op == LOOP_IO_WRITE_DSYNC ? RWF_DSYNC : 0;

	switch (op->io_op) {
	case LOOP_IO_READ:
		return pread(op->fd, op->buf, op->len, (off_t)op->offset);
	case LOOP_IO_WRITE:
	case LOOP_IO_WRITE_DSYNC:
		return pwritev2(op->fd, &iov, 1, (off_t)op->offset, flags);
	case LOOP_IO_FDATASYNC:
		return fdatasync(op->fd);
	}
	return -1;
}

static void io_done(struct loop_post *p)
{
	struct loop_op *op = container_of(p, struct loop_op, post);

	loop_dispatch_io(op, op->result);
}

static void *worker_main(void *arg)
{
	struct epoll_impl *e = arg;

	CHECK(pthread_mutex_lock(&e->lock) == 0);
	while (!e->quit || !list_empty(&e->jobs)) {
		struct job *j = list_first(&e->jobs, struct job, link);
		ssize_t n;

		if (!j) {
			CHECK(pthread_cond_wait(&e->more, &e->lock) == 0);
			continue;
		}
		list_del(&j->link);
		CHECK(pthread_mutex_unlock(&e->lock) == 0);
		n = do_io(j->op);
		j->op->result = n < 0 ? -errno : (int)n;
		j->op->post.cb = io_done;
		loop_post(j->op->loop, &j->op->post);
		free(j);
		CHECK(pthread_mutex_lock(&e->lock) == 0);
	}
	CHECK(pthread_mutex_unlock(&e->lock) == 0);
	return NULL;
}

static int epoll_io_start(struct loop *l, struct loop_op *op)
{
	struct epoll_impl *e = l->impl;
	struct job *j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	if (!e->worker_runs) {
		int r = pthread_create(&e->worker, NULL, worker_main, e);

		if (r != 0) {
			free(j);
			return -r;
		}
		e->worker_runs = true;
	}
	j->op = op;
	CHECK(pthread_mutex_lock(&e->lock) == 0);
	list_add_tail(&e->jobs, &j->link);
	CHECK(pthread_cond_signal(&e->more) == 0);
	CHECK(pthread_mutex_unlock(&e->lock) == 0);
	return 0;
}

static int epoll_wait_turn(struct loop *l, uint64_t timeout_ns)
{
	struct epoll_impl *e = l->impl;
	struct epoll_event ev[EVENTS_PER_TURN];
	uint64_t ms = timeout_ns / NS_PER_MS + (timeout_ns % NS_PER_MS != 0);
	int n = epoll_wait(e->epfd, ev, EVENTS_PER_TURN,
			   timeout_ns == UINT64_MAX ? -1 : (int)MIN(ms, (uint64_t)INT32_MAX));
	int err = errno;

	l->now_ns = clock_mono_ns();
	if (n < 0)
		return err == EINTR ? 0 : -err;
	e->in_turn = true;
	for (int i = 0; i < n; i++)
		loop_dispatch_fd(ev[i].data.ptr, (short)ev[i].events);
	e->in_turn = false;
	free_dead(e);
	return 0;
}

const struct loop_backend_ops loop_epoll_ops = {
	.id = LOOP_EPOLL,
	.init = epoll_init,
	.fini = epoll_fini,
	.fd_arm = epoll_fd_arm,
	.fd_drop = epoll_fd_drop,
	.io_start = epoll_io_start,
	.wait = epoll_wait_turn,
};
