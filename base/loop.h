/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - the event loop of a daemon: descriptors, timers, exits of processes,
 * posts from other threads, and durable file I/O.
 *
 * On io_uring (liburing); on epoll where io_uring is forbidden. Both behave the
 * same. A loop belongs to one thread; only loop_post() may be called from others.
 * The structs below are the caller's storage: they must stay where they are
 * while they are armed, and may be freed as soon as the matching del/clear
 * returned, also from inside a callback. Callbacks run one at a time.
 *
 * Times are CLOCK_MONOTONIC nanoseconds (clock.h).
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <signal.h>
#include <stdbool.h>

#include "base/attr.h"
#include "base/list.h"

struct loop;
struct loop_op; /* private */

enum loop_backend {
	LOOP_AUTO = 0,
	LOOP_URING,
	LOOP_EPOLL,
};

/* Errors: -ENOMEM; -EMFILE; -ENOSYS or -EPERM when LOOP_URING was asked for and is forbidden. */
must_check int loop_new(struct loop **out, enum loop_backend backend);
void loop_free(struct loop *l);
enum loop_backend loop_backend(const struct loop *l);

/* Runs callbacks until loop_stop(). Returns 0, or -errno of the backend. */
must_check int loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* Waits at most @timeout_ns for something, runs what is due, returns. For tests and foreign loops.
 */
must_check int loop_turn(struct loop *l, uint64_t timeout_ns);

/* Time at the start of this turn, ns. */
uint64_t loop_now_ns(const struct loop *l);

/*
 * Called before the loop waits and once more when a turn's callbacks are done: where a turn's work
 * is batched (one write for many messages, one log record for many commands). Work that was queued
 * outside of callbacks is thus seen too. A hook may delete itself, not others.
 */
struct loop_hook {
	struct list link;
	void (*cb)(struct loop_hook *h);
};
void loop_hook_add(struct loop *l, struct loop_hook *h, void (*cb)(struct loop_hook *h));
void loop_hook_del(struct loop *l, struct loop_hook *h);

/* ---- descriptors, level-triggered ---- */
struct loop_fd {
	void (*cb)(struct loop_fd *w,
		   short revents); /* revents: POLLIN | POLLOUT | POLLHUP | POLLERR */
	int fd;
	short events;
	struct loop_op *op;
};

/* Watches @fd for @events (POLLIN | POLLOUT). The caller keeps the fd open until loop_fd_del(). */
must_check int loop_fd_add(struct loop *l, struct loop_fd *w, int fd, short events,
			   void (*cb)(struct loop_fd *w, short revents));
/* Other events for the same fd; 0 pauses. */
must_check int loop_fd_mod(struct loop *l, struct loop_fd *w, short events);
void loop_fd_del(struct loop *l, struct loop_fd *w);

/* ---- timers ---- */
struct loop_timer {
	void (*cb)(struct loop_timer *t);
	uint64_t due_ns;
	size_t heap_index; /* 0: not armed */
};

/* (Re)arms @t; a time in the past fires in the next turn. All zero is a valid unarmed timer. */
must_check int loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t due_ns,
			      void (*cb)(struct loop_timer *t));
void loop_timer_clear(struct loop *l, struct loop_timer *t);

/* ---- the end of a process ---- */
struct loop_child {
	void (*cb)(struct loop_child *c,
		   const siginfo_t *si); /* si->si_code is 0: not our child, status unknown */
	struct loop *loop;
	int pidfd;
	struct loop_fd watch;
};

/* Reaps when it is our child. Borrows @pidfd, which must stay open until the callback or
 * loop_child_del(). */
must_check int loop_child_add(struct loop *l, struct loop_child *c, int pidfd,
			      void (*cb)(struct loop_child *c, const siginfo_t *si));
void loop_child_del(struct loop *l, struct loop_child *c);

/* ---- posts from any thread ---- */
struct loop_post {
	struct list link;
	void (*cb)(struct loop_post *p);
};

/* Runs p->cb in the loop's thread. The post must not be pending already. Never fails. */
void loop_post(struct loop *l, struct loop_post *p);

/* ---- files ---- */
enum loop_io_op {
	LOOP_IO_READ = 1,
	LOOP_IO_WRITE,
	LOOP_IO_WRITE_DSYNC, /* durable when the callback comes (RWF_DSYNC) */
	LOOP_IO_FDATASYNC,
};

struct loop_io {
	void (*cb)(struct loop_io *io, int result); /* bytes moved (may be short), or -errno */
	struct loop_op *op;
};

/* Starts one operation; @buf and @io belong to the loop until the callback. */
must_check int loop_io_start(struct loop *l, struct loop_io *io, enum loop_io_op op, int fd,
			     void *buf, size_t len, uint64_t offset,
			     void (*cb)(struct loop_io *io, int result));

#endif
