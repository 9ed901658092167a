/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delay.c - a pipe before a pipe: bytes leave a fixed time later, in order.
 *
 * For emulated clusters and tests: where there is no netem, latency between
 * nodes is made here. Bandwidth is not limited but by what may be under way.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/priv.h"

#define UNDER_WAY_MAX ((size_t)8 << 20)

struct piece {
	struct list link;
	uint64_t due_ns;
	size_t len, pos;
	uint8_t bytes[];
};

struct delay {
	struct rpc_pipe pipe;
	struct rpc_pipe *inner;
	uint64_t delay_ns;
	struct loop_timer timer;
	struct list pieces;
	size_t bytes;
	bool full;
};

static void pump(struct delay *d);

static void on_due(struct loop_timer *t)
{
	struct delay *d = container_of(t, struct delay, timer);
	bool full = d->full;

	pump(d);
	d->full = d->full && d->bytes >= UNDER_WAY_MAX;
	if (full && !d->full)
		rpc_pipe_writable(d->pipe.conn);
}

static void pump(struct delay *d)
{
	struct loop *l = d->pipe.conn->rpc->loop;
	uint64_t now = clock_mono_ns();
	ssize_t n = 1;

	while (!list_empty(&d->pieces) && n > 0) {
		struct piece *p = list_front(&d->pieces, struct piece, link);

		if (p->due_ns > now)
			break;
		n = d->inner->ops->write(d->inner, p->bytes + p->pos, p->len - p->pos, NULL, 0);
		if (n > 0) {
			p->pos += (size_t)n;
			d->bytes -= (size_t)n;
		}
		if (p->pos == p->len) {
			list_del(&p->link);
			free(p);
		}
	}
	/* A full pipe says rpc_pipe_writable(), which comes back to our write. */
	if (n > 0 && !list_empty(&d->pieces) && d->timer.heap_index == 0)
		n = loop_timer_set(l, &d->timer, list_front(&d->pieces, struct piece, link)->due_ns,
				   on_due) < 0
			    ? -ENOMEM
			    : 1;
	if (n < 0)
		rpc_conn_lost(d->pipe.conn, (int)n, NULL);
}

static ssize_t delay_write(struct rpc_pipe *pipe, const void *bytes, size_t len, const int *fds,
			   unsigned fd_count)
{
	struct delay *d = container_of(pipe, struct delay, pipe);
	struct piece *p;

	if (d->bytes >= UNDER_WAY_MAX) {
		d->full = true;
		return 0;
	}
	p = len > 0 ? malloc(sizeof(*p) + len) : NULL;
	if (len > 0 && !p)
		return -ENOMEM;
	if (p) {
		p->due_ns = clock_mono_ns() + d->delay_ns;
		p->len = len;
		p->pos = 0;
		memcpy(p->bytes, bytes, len);
		list_add_tail(&d->pieces, &p->link);
		d->bytes += len;
	}
	pump(d);
	return (ssize_t)len;
}

static void delay_pause(struct rpc_pipe *pipe, bool paused)
{
	struct delay *d = container_of(pipe, struct delay, pipe);

	d->inner->ops->pause(d->inner, paused);
}

static void delay_writable(struct rpc_pipe *pipe)
{
	pump(container_of(pipe, struct delay, pipe));
}

static void delay_free(struct rpc_pipe *pipe)
{
	struct delay *d = container_of(pipe, struct delay, pipe);

	loop_timer_clear(pipe->conn->rpc->loop, &d->timer);
	while (!list_empty(&d->pieces)) {
		struct piece *p = list_front(&d->pieces, struct piece, link);

		list_del(&p->link);
		free(p);
	}
	d->inner->ops->free(d->inner);
	free(d);
}

static const struct rpc_pipe_ops delay_ops = {
	.write = delay_write,
	.pause = delay_pause,
	.writable = delay_writable,
	.free = delay_free,
};

int rpc_delay_wrap(struct rpc_conn *c)
{
	struct delay *d;

	if (c->rpc->delay_ns == 0)
		return 0;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->pipe = (struct rpc_pipe){ .ops = &delay_ops, .conn = c };
	d->inner = c->pipe;
	d->delay_ns = c->rpc->delay_ns;
	list_init(&d->pieces);
	c->pipe = &d->pipe;
	return 0;
}
