/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bridge.c - the bytes of a connection whose ends are on different nodes.
 *
 * Between two sockets goes one stream with frames: a length of four bytes, then bytes; length 0 is
 * the end of one direction, the other goes on. The first frame from the far end holds the errno of
 * its connect. Credit is given back when bytes have been written to the socket, so a slow reader
 * slows the writer at the other end.
 *
 * A guest kernel that dies resets the connections that go through it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/buf.h"
#include "base/log.h"
#include "cmd/pando-kernel/errand.h"
#include "cmd/pando-kernel/ports/ports.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define CHUNK 16384

struct bridge {
	struct list link;
	struct world *w;
	struct rpc_stream *stream; /* NULL: gone */
	int fd;                    /* -1: not joined yet */
	struct loop_fd watch;
	bool watching;
	bool waits;    /* for bridge_join(); its owner has a pointer to it */
	bool told;     /* the far end's errno is known, or ours is told */
	bool read_end; /* of our socket */
	bool far_end;  /* nothing more comes from there */
	bool shut;
	struct buf to_far; /* frames that the stream has not taken yet */
	struct buf frames; /* from the far end, not cut yet */
	struct buf to_fd;  /* bytes for the socket */
	bridge_fn done;
	void *arg;
};

static struct list bridges = LIST_INIT(bridges);

void bridge_drop(struct bridge *b)
{
	struct linger reset = { 1, 0 };

	list_del(&b->link);
	if (b->watching)
		loop_fd_del(b->w->loop, &b->watch);
	if (b->stream)
		rpc_stream_close(b->stream, b->far_end && b->read_end ? 0 : -ECONNRESET);
	if (b->fd >= 0) {
		/* Cut short: the process is to see a reset, not an end. */
		if (!(b->far_end && b->shut))
			(void)!setsockopt(b->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		(void)close(b->fd);
	}
	buf_fini(&b->to_far);
	buf_fini(&b->frames);
	buf_fini(&b->to_fd);
	free(b);
}

/* Of no use any more. Who has it, but no socket for it yet, learns that when he joins it. */
static void bridge_fail(struct bridge *b)
{
	if (!b->waits) {
		bridge_drop(b);
		return;
	}
	if (b->stream)
		rpc_stream_close(b->stream, -ECONNRESET);
	b->stream = NULL;
	b->far_end = b->read_end = false;
}

static int add_frame(struct bridge *b, const void *bytes, uint32_t len)
{
	int r = buf_add(&b->to_far, &len, sizeof(len));

	return r == 0 && len > 0 ? buf_add(&b->to_far, bytes, len) : r;
}

/* False: the stream is full. */
static bool flush_far(struct bridge *b)
{
	while (b->stream && b->to_far.len > 0) {
		ssize_t n = rpc_stream_write(b->stream, b->to_far.data, b->to_far.len);

		if (n <= 0)
			return false;
		buf_consume(&b->to_far, (size_t)n);
	}
	return true;
}

/* Returns false when the socket is broken. */
static bool read_socket(struct bridge *b)
{
	uint8_t bytes[CHUNK];

	while (b->fd >= 0 && !b->read_end && flush_far(b)) {
		ssize_t n = read(b->fd, bytes, sizeof(bytes));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		b->read_end = n == 0;
		if (add_frame(b, bytes, (uint32_t)n) != 0)
			return false;
	}
	(void)flush_far(b);
	return true;
}

static bool write_socket(struct bridge *b)
{
	while (b->fd >= 0 && b->to_fd.len > 0) {
		ssize_t n = send(b->fd, b->to_fd.data, b->to_fd.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		buf_consume(&b->to_fd, (size_t)n);
		if (b->stream)
			rpc_stream_consumed(b->stream, (size_t)n);
	}
	if (b->fd >= 0 && b->far_end && !b->shut && b->to_fd.len == 0) {
		b->shut = true;
		(void)shutdown(b->fd, SHUT_WR);
	}
	return true;
}

static void on_socket(struct loop_fd *fd, short revents);

static int wanted_events(const struct bridge *b)
{
	return (!b->read_end && b->to_far.len == 0 ? POLLIN : 0) | (b->to_fd.len > 0 ? POLLOUT : 0);
}

static void pump(struct bridge *b)
{
	bool ok = b->fd < 0 || (read_socket(b) && write_socket(b));
	short events = (short)wanted_events(b);

	if (!ok || (b->shut && b->read_end && b->to_far.len == 0)) {
		bridge_fail(b);
		return;
	}
	if (b->fd < 0)
		return;
	/* A socket that wants nothing would still be told to hang up, again and again. */
	if (events == 0 && b->watching) {
		loop_fd_del(b->w->loop, &b->watch);
		b->watching = false;
	} else if (events != 0 && b->watching) {
		ok = loop_fd_mod(b->w->loop, &b->watch, events) == 0;
	} else if (events != 0) {
		b->watching = loop_fd_add(b->w->loop, &b->watch, b->fd, events, on_socket) == 0;
		ok = b->watching;
	}
	if (!ok)
		bridge_fail(b);
}

static void on_socket(struct loop_fd *fd, short revents)
{
	pump(container_of(fd, struct bridge, watch));
}

static void tell(struct bridge *b, int err)
{
	bridge_fn done = b->done;

	b->told = true;
	b->done = NULL;
	b->waits = err == 0;
	if (done)
		done(b->arg, err);
}

/* Cuts what has come into frames. -EPROTO: no bridge speaks so. */
static int cut(struct bridge *b, bool *status, int *err)
{
	uint32_t len;

	while (b->frames.len >= sizeof(len)) {
		bool first = !b->told && !*status;

		memcpy(&len, b->frames.data, sizeof(len));
		if (len > CHUNK || b->far_end)
			return -EPROTO;
		if (b->frames.len < sizeof(len) + len)
			break;
		if (first) {
			int32_t value;

			if (len != sizeof(value))
				return -EPROTO;
			memcpy(&value, b->frames.data + sizeof(len), sizeof(value));
			*status = true;
			*err = value > 0 || value < -4095 ? -EPROTO : value;
		} else if (len == 0) {
			b->far_end = true;
		} else if (buf_add(&b->to_fd, b->frames.data + sizeof(len), len) != 0) {
			return -ENOMEM;
		}
		rpc_stream_consumed(b->stream, sizeof(len) + (first ? len : 0));
		buf_consume(&b->frames, sizeof(len) + len);
	}
	return 0;
}

static void on_data(void *arg, struct rpc_stream *s, const void *bytes, size_t len)
{
	struct bridge *b = arg;
	bool status = false;
	int err = 0, r = buf_add(&b->frames, bytes, len);

	if (r == 0)
		r = cut(b, &status, &err);
	if (r != 0 && !b->told) {
		tell(b, r);
		bridge_drop(b);
	} else if (r != 0) {
		bridge_fail(b);
	} else if (status && err != 0) {
		tell(b, err);
		bridge_drop(b);
	} else if (status) {
		tell(b, 0); /* joins it, or drops it */
	} else {
		pump(b);
	}
}

static void on_writable(void *arg, struct rpc_stream *s)
{
	pump(arg);
}

static void on_closed(void *arg, struct rpc_stream *s, int err)
{
	struct bridge *b = arg;

	b->stream = NULL;
	if (!b->told) {
		tell(b, err ? err : -ECONNRESET);
		bridge_drop(b);
		return;
	}
	/* Both directions had ended there; what came last may still be on its way to the socket. */
	b->read_end = b->read_end || (err == 0 && b->far_end);
	b->to_far.len = 0;
	if (err == 0 && b->far_end)
		pump(b);
	else
		bridge_fail(b);
}

static const struct rpc_stream_ops stream_ops = { on_data, on_writable, on_closed };

static struct bridge *bridge_new(struct world *w)
{
	struct bridge *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->w = w;
	b->fd = -1;
	list_add_tail(&bridges, &b->link);
	return b;
}

void bridge_join(struct bridge *b, int fd)
{
	b->fd = fd;
	b->waits = false;
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (b->stream || b->far_end)
		pump(b);
	else
		bridge_drop(b);
}

int bridge_dial(struct world *w, struct rpc_conn *c, const struct port *p, bridge_fn done,
		void *arg, struct bridge **out)
{
	struct bridge *b = bridge_new(w);
	struct rpc_msg m = { .method = PEER_BRIDGE };
	uint8_t *body = NULL;
	int r = b ? port_pack(p, &body, &m.len) : -ENOMEM;

	m.body = body;
	if (r == 0)
		r = rpc_stream_open(c, &m, &stream_ops, b, &b->stream);
	free(body);
	if (r != 0) {
		if (b)
			bridge_drop(b);
		return r;
	}
	b->done = done;
	b->arg = arg;
	*out = b;
	return 0;
}

/* ---- the server's node ---- */
static void on_reached(void *arg, int err, const int fds[2])
{
	struct bridge *b = arg, *x;
	int32_t value = err;
	bool there = false;

	/* The far end may have gone meanwhile, and the bridge with it. */
	list_for_each (x, &bridges, link)
		there |= x == b;
	if (!there) {
		if (fds[0] >= 0)
			(void)close(fds[0]);
		return;
	}
	if (add_frame(b, &value, sizeof(value)) != 0)
		err = -ENOMEM;
	if (err == 0) {
		bridge_join(b, fds[0]);
		return;
	}
	(void)flush_far(b);
	b->far_end = b->read_end = true;
	bridge_drop(b);
}

static void reach(struct bridge *b, const struct port *p)
{
	struct stub_table *t = zygote_table();
	struct sockaddr_storage to;
	socklen_t len = port_sockaddr(p, &to);

	if (t) {
		STUB_CALL(t, SYS_socket, (uint64_t)p->family,
			  SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		STUB_CALL(t, SYS_connect, 0, stub_table_bytes(t, &to, len), len);
	}
	zygote_ask(b->w, t, 1, on_reached, b);
}

static void on_bridge(void *arg, struct rpc_conn *c, struct rpc_stream *s,
		      const struct rpc_msg *open)
{
	struct world *w = arg;
	Peer__Port *q = peer__port__unpack(NULL, open->len, open->body);
	struct port p;
	struct bridge *b = q && port_from(q, &p) == 0 ? bridge_new(w) : NULL;

	if (q)
		peer__port__free_unpacked(q, NULL);
	if (!b) {
		rpc_stream_close(s, -EPROTO);
		return;
	}
	b->stream = s;
	b->told = true;
	rpc_stream_set_ops(s, &stream_ops, b);
	/* Never on to a third node: what is not here is refused here. */
	if (ports_serve(w, &p))
		reach(b, &p);
	else
		on_reached(b, -ECONNREFUSED, (const int[2]){ -1, -1 });
}

int bridge_open(struct world *w)
{
	list_init(&bridges);
	rpc_serve_stream(w->peer_rpc, PEER_BRIDGE, on_bridge, w);
	return 0;
}
