/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_priv.h - between loop.c and its two backends; nobody else includes it.
 *
 * A `loop_op` is what the kernel knows us by. It outlives the caller's struct
 * when that is removed while the kernel still holds the operation: then `owner`
 * is NULL and the late completion only frees it.
 */
#ifndef BASE_LOOP_PRIV_H
#define BASE_LOOP_PRIV_H

#include <pthread.h>

#include "base/loop.h"

enum op_kind {
	OP_POLL = 1,
	OP_IO,
};

struct loop_op {
	enum op_kind kind;
	struct list link; /* in loop.ops_live */
	void *owner;      /* struct loop_fd or struct loop_io; NULL: orphan */
	bool armed;       /* the kernel holds a poll of ours */
	bool busy;        /* its callback runs: freed after it */
	short armed_events;
	/* I/O only, for the epoll backend's worker */
	struct loop *loop;
	enum loop_io_op io_op;
	int fd;
	void *buf;
	size_t len;
	uint64_t offset;
	int result;
	struct loop_post post;
};

struct loop_backend_ops {
	enum loop_backend id;
	int (*init)(struct loop *l);
	void (*fini)(struct loop *l);
	/* Brings the kernel's view in line with w->events; may be deferred to wait(). */
	int (*fd_arm)(struct loop *l, struct loop_fd *w);
	/* Forgets @op; frees it now or when its completion comes. */
	void (*fd_drop)(struct loop *l, struct loop_op *op, int fd);
	int (*io_start)(struct loop *l, struct loop_op *op);
	/* Sleeps up to @timeout_ns (UINT64_MAX: for ever), then calls loop_dispatch_*. */
	int (*wait)(struct loop *l, uint64_t timeout_ns);
};

extern const struct loop_backend_ops loop_uring_ops;
extern const struct loop_backend_ops loop_epoll_ops;

struct loop {
	const struct loop_backend_ops *ops;
	void *impl; /* the backend's own */
	uint64_t now_ns;
	bool stop;
	struct list ops_live; /* every op not yet freed */

	struct loop_timer **heap; /* heap[1..heap_len], smallest due_ns first */
	size_t heap_len;
	size_t heap_cap;

	struct list hooks;

	int wake_fd; /* eventfd: a post is pending */
	struct loop_fd wake_watch;
	pthread_mutex_t post_lock; /* guards posts */
	struct list posts;
};

struct loop_op *loop_op_new(struct loop *l, enum op_kind kind, void *owner);
void loop_op_free(struct loop_op *op);
void loop_dispatch_fd(struct loop_op *op, short revents);
void loop_dispatch_io(struct loop_op *op, int result);

#endif
