/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_uring.c - the loop on io_uring.
 *
 * Polls are one-shot and re-armed in the turn after they fired: arming looks at
 * the state at once, which makes them level-triggered, and the re-arming rides
 * on the io_uring_enter() that waits anyway. io_uring(7), io_uring_prep_poll_add(3).
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/loop_priv.h"
#include "base/types.h"

#define RING_ENTRIES 256

/*
 * Completions are prepared when we wait, not by interrupting us (DEFER_TASKRUN, Linux 6.1: a
 * blocking round trip is 0.6 us shorter). That ties the ring to one thread: the first that waits,
 * not the one that makes the loop, so the ring starts disabled.
 */
#define DEFERRED (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED)

static int uring_init(struct loop *l)
{
	struct io_uring *ring = calloc(1, sizeof(*ring));
	int r;

	if (!ring)
		return -ENOMEM;
	r = io_uring_queue_init(RING_ENTRIES, ring, DEFERRED);
	if (r == -EINVAL) /* an older kernel */
		r = io_uring_queue_init(RING_ENTRIES, ring, 0);
	if (r < 0) {
		free(ring);
		return r;
	}
	l->impl = ring;
	return 0;
}

static void enable(struct io_uring *ring)
{
	if (!(ring->flags & IORING_SETUP_R_DISABLED))
		return;
	/* liburing 2.3 declares io_uring_enable_rings() and does not export it */
	CHECK(syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
		      0) == 0);
	ring->flags &= ~IORING_SETUP_R_DISABLED;
}

/* Whatever the kernel still holds completes or is cancelled when the ring goes. */
static void uring_fini(struct loop *l)
{
	io_uring_queue_exit(l->impl);
	free(l->impl);
}

/* A full submission queue is flushed; it can then not be full. */
static struct io_uring_sqe *get_sqe(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe) {
		enable(ring);
		(void)io_uring_submit(ring);
		sqe = io_uring_get_sqe(ring);
	}
	return sqe;
}

static void cancel_poll(struct io_uring *ring, struct loop_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(ring);

	CHECK(sqe != NULL);
	io_uring_prep_poll_remove(sqe, (uint64_t)(uintptr_t)op);
	io_uring_sqe_set_data(sqe, NULL);
}

static int uring_fd_arm(struct loop *l, struct loop_fd *w)
{
	struct loop_op *op = w->op;
	struct io_uring_sqe *sqe;

	if (op->armed) {
		if (op->armed_events == w->events)
			return 0;
		/* The cancelled poll completes with -ECANCELED and is then armed anew. */
		cancel_poll(l->impl, op);
		op->armed_events = w->events;
		return 0;
	}
	if (w->events == 0)
		return 0;
	sqe = get_sqe(l->impl);
	if (!sqe)
		return -EBUSY;
	io_uring_prep_poll_add(sqe, w->fd, (unsigned)w->events);
	io_uring_sqe_set_data(sqe, op);
	op->armed = true;
	op->armed_events = w->events;
	return 0;
}

static void uring_fd_drop(struct loop *l, struct loop_op *op, int fd)
{
	if (op->busy)
		return; /* complete_poll() frees it */
	if (!op->armed) {
		loop_op_free(op);
		return;
	}
	cancel_poll(l->impl, op);
	enable(l->impl);
	/* Before the caller closes the descriptor: a poll holds its file, a close would not end it.
	 */
	(void)io_uring_submit(l->impl);
}

static int uring_io_start(struct loop *l, struct loop_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(l->impl);

	if (!sqe)
		return -EBUSY;
	switch (op->io_op) {
	case LOOP_IO_READ:
		io_uring_prep_read(sqe, op->fd, op->buf, (unsigned)op->len, op->offset);
		break;
	case LOOP_IO_WRITE:
	case LOOP_IO_WRITE_DSYNC:
		io_uring_prep_write(sqe, op->fd, op->buf, (unsigned)op->len, op->offset);
		if (op->io_op == LOOP_IO_WRITE_DSYNC)
			sqe->rw_flags = RWF_DSYNC;
		break;
	case LOOP_IO_FDATASYNC:
		io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
		break;
	}
	io_uring_sqe_set_data(sqe, op);
	return 0;
}

/* The callback may delete the watch and free its struct: only the op tells, so it is kept until
 * then. */
static void complete_poll(struct loop *l, struct loop_op *op, int res)
{
	op->armed = false;
	if (op->owner && res != -ECANCELED && res != -EINTR) {
		op->busy = true;
		loop_dispatch_fd(op, res < 0 ? POLLERR : (short)res);
		op->busy = false;
	}
	if (!op->owner && !op->armed)
		loop_op_free(op);
	else if (op->owner && !op->armed)
		CHECK(uring_fd_arm(l, op->owner) == 0);
	else if (!op->owner)
		cancel_poll(l->impl, op);
}

static void reap(struct loop *l, struct io_uring *ring)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(ring, &cqe) == 0) {
		struct loop_op *op = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(ring, cqe);
		if (!op)
			continue; /* the answer to a cancel */
		if (op->kind == OP_IO)
			loop_dispatch_io(op, res);
		else
			complete_poll(l, op, res);
	}
}

static int uring_wait(struct loop *l, uint64_t timeout_ns)
{
	struct io_uring *ring = l->impl;
	struct __kernel_timespec ts = { .tv_sec = (long long)(timeout_ns / NS_PER_S),
					.tv_nsec = (long long)(timeout_ns % NS_PER_S) };
	struct io_uring_cqe *cqe;
	int r;

	enable(ring);
	r = io_uring_submit_and_wait_timeout(ring, &cqe, 1, timeout_ns == UINT64_MAX ? NULL : &ts,
					     NULL);
	l->now_ns = clock_mono_ns();
	if (r < 0 && r != -ETIME && r != -EINTR && r != -EAGAIN && r != -EBUSY)
		return r;
	reap(l, ring);
	return 0;
}

const struct loop_backend_ops loop_uring_ops = {
	.id = LOOP_URING,
	.init = uring_init,
	.fini = uring_fini,
	.fd_arm = uring_fd_arm,
	.fd_drop = uring_fd_drop,
	.io_start = uring_io_start,
	.wait = uring_wait,
};
