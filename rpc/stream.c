/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - streams as the rooms see them, and bulk over them. */
#include <errno.h>

#include "base/check.h"
#include "rpc/priv.h"

#define CHUNK (64u << 10) /* bytes of one data frame: others get their turn in between */

struct bulk {
	const uint8_t *mem; /* NULL: from fd */
	int fd;
	uint64_t offset;
	uint64_t left;
	rpc_bulk_fn done;
	void *arg;
	struct loop_io io;
	struct rpc_stream *stream; /* NULL: closed while a read was under way */
	bool reading;
	size_t have, pos; /* bytes in data, and how many of them are written */
	uint8_t data[2 * CHUNK];
};

struct rpc_stream {
	struct rpc_conn *conn;
	struct rpc_str *str;
	const struct rpc_stream_ops *ops;
	void *arg;
	struct list link;
	bool blocked; /* the connection's queue was full, not the credit */
	struct bulk *bulk;
};

static void bulk_pump(struct rpc_stream *s);
static void bulk_drop(struct rpc_stream *s);

static struct rpc_stream *stream_new(struct rpc_conn *c)
{
	struct rpc_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->conn = c;
	list_add_tail(&c->streams, &s->link);
	return s;
}

static void stream_free(struct rpc_stream *s)
{
	bulk_drop(s);
	list_del(&s->link);
	free(s);
}

void rpc_streams_drop(struct rpc_conn *c)
{
	while (!list_empty(&c->streams))
		stream_free(list_front(&c->streams, struct rpc_stream, link));
}

/* ---- local actions ---- */

int rpc_stream_open(struct rpc_conn *c, const struct rpc_msg *m, const struct rpc_stream_ops *ops,
		    void *arg, struct rpc_stream **out)
{
	struct rpc_stream *s;
	int err = rpc_msg_check(c, m);

	if (err < 0)
		return err;
	if (!rpc_conn_is_up(c))
		return -ENOTCONN;
	s = stream_new(c);
	if (!s)
		return -ENOMEM;
	s->ops = ops;
	s->arg = arg;
	c->tx_msg = m->fd_count > 0 ? m : NULL;
	err = rpc_core_open(c->core, m->method, (void *)m->body, (uint32_t)m->len, s, &s->str);
	if (err < 0) {
		c->tx_msg = NULL;
		stream_free(s);
		return err;
	}
	rpc_conn_sends(c);
	*out = s;
	return 0;
}

void rpc_stream_set_ops(struct rpc_stream *s, const struct rpc_stream_ops *ops, void *arg)
{
	s->ops = ops;
	s->arg = arg;
}

ssize_t rpc_stream_write(struct rpc_stream *s, const void *bytes, size_t len)
{
	struct rpc_conn *c = s->conn;
	size_t done = 0;

	if (!rpc_conn_is_up(c))
		return -ENOTCONN;
	while (done < len) {
		size_t n = MIN(MIN(len - done, (size_t)CHUNK), (size_t)rpc_str_credit(s->str));

		if (rpc_conn_queued(c) > QUEUE_SOFT)
			s->blocked = true;
		if (n == 0 || s->blocked)
			break;
		rpc_str_write(c->core, s->str, (char *)bytes + done, (uint32_t)n);
		rpc_conn_sends(c);
		done += n;
		/* Both ends work at the same time. */
		if (rpc_conn_queued(c) >= 4 * CHUNK)
			rpc_conn_flush(c);
	}
	if (done < len && !s->blocked)
		rpc_str_want(s->str);
	return (ssize_t)done;
}

void rpc_stream_consumed(struct rpc_stream *s, size_t len)
{
	if (len == 0 || s->conn->dead)
		return;
	rpc_str_consumed(s->conn->core, s->str, len);
	rpc_conn_sends(s->conn);
}

void rpc_stream_close(struct rpc_stream *s, int err)
{
	struct rpc_conn *c = s->conn;

	if (!c->dead) {
		rpc_str_close(c->core, s->str, err);
		rpc_conn_sends(c);
	}
	stream_free(s);
}

/* ---- effects ---- */

static void tell_writable(struct rpc_stream *s)
{
	s->blocked = false;
	if (s->bulk)
		bulk_pump(s);
	else if (s->ops && s->ops->writable)
		s->ops->writable(s->arg, s);
}

/* A callback may close any stream: the walk starts again after each. */
void rpc_streams_unblock(struct rpc_conn *c)
{
	struct rpc_stream *s;

again:
	if (c->dead || rpc_conn_queued(c) >= QUEUE_SOFT / 2)
		return;
	list_for_each (s, &c->streams, link) {
		if (s->blocked) {
			tell_writable(s);
			goto again;
		}
	}
}

static void on_opened(struct rpc_conn *c, const struct rpc_fx *fx)
{
	struct rpc_method *h = rpc_method_find(c->rpc, fx->frame.method);
	enum rpc_role role = c->local ? RPC_ROLE_LOCAL : c->peer.role;
	struct rpc_msg m = { .method = fx->frame.method,
			     .body = fx->frame.body,
			     .len = fx->frame.len };
	struct rpc_stream *s = h && h->stream_fn ? stream_new(c) : NULL;

	if (!s || !(h->roles & RPC_FROM(role))) {
		rpc_str_close(c->core, fx->stream,
			      !h || !h->stream_fn ? -ENOSYS
			      : s                 ? -EACCES
						  : -ENOMEM);
		rpc_conn_sends(c);
		if (s)
			stream_free(s);
		return;
	}
	s->str = fx->stream;
	rpc_str_set_cookie(fx->stream, s);
	rpc_take_fds(c, &m);
	h->stream_fn(h->arg, c, s, &m);
}

void rpc_on_stream(struct rpc_conn *c, const struct rpc_fx *fx)
{
	struct rpc_stream *s = fx->cookie;

	if (fx->kind == RPC_FX_OPENED) {
		on_opened(c, fx);
		return;
	}
	if (!s)
		return;
	if (fx->kind == RPC_FX_WRITABLE) {
		tell_writable(s);
	} else if (fx->kind == RPC_FX_DATA) {
		if (s->ops && s->ops->data)
			s->ops->data(s->arg, s, fx->frame.body, fx->frame.len);
		else
			rpc_stream_consumed(s, fx->frame.len);
	} else if (fx->kind == RPC_FX_CLOSED) {
		if (s->ops && s->ops->closed)
			s->ops->closed(s->arg, s, fx->err);
		stream_free(s);
	}
}

/* ---- bulk ---- */

/* A read under way borrows the buffer: then its completion frees. */
static void bulk_drop(struct rpc_stream *s)
{
	struct bulk *b = s->bulk;

	s->bulk = NULL;
	if (!b)
		return;
	b->stream = NULL;
	if (!b->reading)
		free(b);
}

static void bulk_end(struct rpc_stream *s, int err)
{
	rpc_bulk_fn done = s->bulk->done;
	void *arg = s->bulk->arg;

	bulk_drop(s);
	done(arg, s, err);
}

static void on_read(struct loop_io *io, int result)
{
	struct bulk *b = container_of(io, struct bulk, io);

	b->reading = false;
	if (!b->stream) {
		free(b);
		return;
	}
	if (result <= 0) { /* a file that became shorter is an error too */
		bulk_end(b->stream, result < 0 ? result : -EIO);
		return;
	}
	b->have = (size_t)result;
	b->pos = 0;
	b->offset += (uint64_t)result;
	bulk_pump(b->stream);
}

static void bulk_read(struct bulk *b)
{
	size_t n = MIN(b->left, (uint64_t)sizeof(b->data));
	int err = loop_io_start(b->stream->conn->rpc->loop, &b->io, LOOP_IO_READ, b->fd, b->data, n,
				b->offset, on_read);

	if (err < 0)
		bulk_end(b->stream, err);
	else
		b->reading = true;
}

static void bulk_pump(struct rpc_stream *s)
{
	struct bulk *b = s->bulk;

	while (b->left > 0 && !b->reading) {
		const uint8_t *at = b->mem ? b->mem : b->data + b->pos;
		size_t n = b->mem ? (size_t)b->left : b->have - b->pos;
		ssize_t r;

		if (n == 0) {
			bulk_read(b);
			return;
		}
		r = rpc_stream_write(s, at, n);
		if (r < 0) {
			bulk_end(s, (int)r);
			return;
		}
		b->left -= (uint64_t)r;
		if (b->mem)
			b->mem += r;
		else
			b->pos += (size_t)r;
		if ((size_t)r < n)
			return; /* writable comes */
	}
	if (b->left == 0)
		bulk_end(s, 0);
}

int rpc_bulk_send(struct rpc_stream *s, const void *mem, int fd, uint64_t offset, uint64_t len,
		  rpc_bulk_fn done, void *arg)
{
	struct bulk *b;

	if (s->bulk)
		return -EBUSY;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->mem = mem;
	b->fd = fd;
	b->offset = offset;
	b->left = len;
	b->done = done;
	b->arg = arg;
	b->stream = s;
	s->bulk = b;
	/* From the loop: @done must not come from inside this call. */
	s->blocked = true;
	rpc_conn_dirty(s->conn);
	return 0;
}
