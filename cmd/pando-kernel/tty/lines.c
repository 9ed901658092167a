/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lines.c - lines to sessions of other nodes: a socket here, a stream of rpc/ to the guest kernel
 * there. Bytes only; what they mean is between the two ends (cmd/line/line.h). When one of the two
 * breaks, the other is closed, and the client asks again.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "cmd/pando-kernel/tty/terminal.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/kernel.h"

#define HELD_MAX 65536 /* bytes on their way, each way */

struct carried {
	struct world *w;
	node_id node;
	uint8_t *body;
	size_t len;
	void (*done)(void *arg, int err);
	void *arg;
	int fd;
	struct loop_fd watch;
	struct rpc_stream *stream;
	struct buf to_person, to_session;
	bool finished; /* the session's side has said its last word */
	bool broken;
	struct loop_timer work;
};

static void carried_free(struct carried *c)
{
	loop_timer_clear(c->w->loop, &c->work);
	loop_fd_del(c->w->loop, &c->watch);
	if (c->fd >= 0)
		(void)close(c->fd);
	if (c->stream)
		rpc_stream_close(c->stream, c->broken ? -ECONNRESET : 0);
	buf_fini(&c->to_person);
	buf_fini(&c->to_session);
	free(c->body);
	free(c);
}

static void move_bytes(struct carried *c)
{
	ssize_t n;

	if (c->stream && c->to_session.len > 0) {
		n = rpc_stream_write(c->stream, c->to_session.data, c->to_session.len);
		if (n > 0)
			buf_consume(&c->to_session, (size_t)n);
	}
	while (c->to_person.len > 0) {
		n = send(c->fd, c->to_person.data, c->to_person.len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			c->broken = true;
		if (n <= 0)
			break;
		buf_consume(&c->to_person, (size_t)n);
		if (c->stream)
			rpc_stream_consumed(c->stream, (size_t)n);
	}
}

static void work(struct carried *c)
{
	short events;

	if (!c->broken)
		move_bytes(c);
	events = (short)((c->to_session.len < HELD_MAX && !c->finished ? POLLIN : 0) |
			 (c->to_person.len > 0 ? POLLOUT : 0));
	if (c->broken || (c->finished && c->to_person.len == 0) ||
	    loop_fd_mod(c->w->loop, &c->watch, events) != 0)
		carried_free(c);
}

static void work_due(struct loop_timer *t)
{
	work(container_of(t, struct carried, work));
}

static void work_soon(struct carried *c)
{
	if (loop_timer_set(c->w->loop, &c->work, 0, work_due) != 0)
		log_error("no memory to carry a line on");
}

static void on_socket(struct loop_fd *f, short revents)
{
	struct carried *c = container_of(f, struct carried, watch);
	ssize_t n;

	if (revents & (POLLIN | POLLHUP | POLLERR)) {
		if (buf_reserve(&c->to_session, 16384) != 0) {
			c->broken = true;
		} else {
			n = recv(c->fd, c->to_session.data + c->to_session.len,
				 c->to_session.cap - c->to_session.len, MSG_DONTWAIT);
			if (n > 0)
				c->to_session.len += (size_t)n;
			else if (n == 0 || (errno != EAGAIN && errno != EINTR))
				c->broken = true;
		}
	}
	work(c);
}

static void on_data(void *arg, struct rpc_stream *s, const void *bytes, size_t len)
{
	struct carried *c = arg;

	if (buf_add(&c->to_person, bytes, len) != 0)
		c->broken = true;
	work_soon(c);
}

static void on_writable(void *arg, struct rpc_stream *s)
{
	work_soon(arg);
}

static void on_closed(void *arg, struct rpc_stream *s, int err)
{
	struct carried *c = arg;

	c->stream = NULL;
	c->finished = true;
	work_soon(c);
}

static const struct rpc_stream_ops ops = { .data = on_data,
					   .writable = on_writable,
					   .closed = on_closed };

static void on_peer(void *arg, int err, struct rpc_conn *conn)
{
	struct carried *c = arg;
	struct rpc_msg m = { .method = KERNEL_SESSION_ATTACH, .body = c->body, .len = c->len };

	if (err == 0)
		err = rpc_stream_open(conn, &m, &ops, c, &c->stream);
	if (err == 0)
		err = loop_fd_add(c->w->loop, &c->watch, c->fd, POLLIN, on_socket);
	c->done(c->arg, err);
	if (err != 0)
		carried_free(c);
}

void lines_carry(struct world *w, node_id node, int fd, const void *body, size_t len,
		 void (*done)(void *arg, int err), void *arg)
{
	struct carried *c = calloc(1, sizeof(*c));

	if (c)
		c->body = malloc(len + 1);
	if (!c || !c->body) {
		free(c);
		(void)close(fd);
		done(arg, -ENOMEM);
		return;
	}
	memcpy(c->body, body, len);
	c->w = w;
	c->node = node;
	c->len = len;
	c->done = done;
	c->arg = arg;
	c->fd = fd;
	peers_with(w, node, on_peer, c);
}
