/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c - a connection: frames in, effects out, its end. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/trace.h"
#include "rpc/auth.h"
#include "rpc/priv.h"
#include "rpc/wire.h"

#define DIRECT_MIN 4096         /* bytes of a body: sealed from where it lies */
#define FLUSH_MIN  (32u << 10)  /* bytes of a body: not kept until the end of the turn */
#define IN_KEEP    (256u << 10) /* of a frame put together: kept for the next one */

/* ---- life ---- */

int rpc_conn_new(struct rpc *r, rpc_conn_fn cb, void *arg, struct rpc_conn **out)
{
	struct rpc_core_limits lim = { .calls_max = r->lim.calls_max,
				       .streams_max = r->lim.streams_max,
				       .stream_window = r->lim.stream_window,
				       .retry_ns = 2 * NS_PER_MS,
				       .keep_ns = RPC_KEEP_NS };
	struct rpc_conn *c;
	size_t size = rpc_core_size(&lim);

	if (r->conn_count >= r->lim.conns_max)
		return -EBUSY;
	c = calloc(1, ALIGN_UP(sizeof(*c), (size_t)16) + size);
	if (!c)
		return -ENOMEM;
	c->rpc = r;
	c->cb = cb;
	c->arg = arg;
	c->core = rpc_core_init((char *)c + ALIGN_UP(sizeof(*c), (size_t)16), &lim, NULL, r->life,
				rand_next(&r->rnd), c);
	list_init(&c->marks);
	list_init(&c->calls);
	list_init(&c->streams);
	list_add_tail(&r->conns, &c->link);
	r->conn_count++;
	*out = c;
	return 0;
}

static void marks_drop(struct rpc_conn *c)
{
	while (!list_empty(&c->marks)) {
		struct fd_mark *m = list_front(&c->marks, struct fd_mark, link);

		for (unsigned i = 0; i < m->count; i++)
			(void)close(m->fds[i]);
		list_del(&m->link);
		free(m);
	}
}

static void rx_fds_drop(struct rpc_conn *c)
{
	while (c->rx_fd_count > 0)
		(void)close(c->rx_fds[--c->rx_fd_count]);
}

/* The pipe and everything that belongs to this one run of it. */
static void pipe_drop(struct rpc_conn *c)
{
	if (c->pipe)
		c->pipe->ops->free(c->pipe);
	c->pipe = NULL;
	rpc_seal_free(c->seal);
	c->seal = NULL;
	buf_fini(&c->out);
	buf_fini(&c->wire);
	buf_fini(&c->in);
	c->wire_pos = c->out_pos = 0;
	c->paused = false;
	marks_drop(c);
	rx_fds_drop(c);
}

/* Requests end silently; who serves some of ours learns from its call that nobody waits. */
static void finish_core(struct rpc_conn *c)
{
	struct rpc_core_stats s;
	struct rpc_fx fx;

	rpc_core_fini(c->core, loop_now_ns(c->rpc->loop));
	while (rpc_core_next(c->core, &fx)) {
		if (fx.kind == RPC_FX_DONE)
			rpc_forget_done(&fx);
		else if (fx.kind == RPC_FX_RELEASE)
			free(fx.release);
	}
	rpc_core_get_stats(c->core, &s);
	c->rpc->stats.duplicates += s.duplicates;
	c->rpc->stats.refused_busy += s.refused;
}

void rpc_conn_close(struct rpc_conn *c)
{
	if (c->dead)
		return;
	/* What was said before the close is said. */
	if (c->lost == 0)
		rpc_conn_flush(c);
	c->dead = true;
	loop_timer_clear(c->rpc->loop, &c->due);
	rpc_dialer_free(c);
	pipe_drop(c);
	list_del(&c->link);
	list_add_tail(&c->rpc->graves, &c->link);
}

void rpc_conn_destroy(struct rpc_conn *c)
{
	rpc_streams_drop(c);
	finish_core(c);
	rpc_calls_orphan(c);
	if (c->scope)
		rpc_scope_put(c->scope);
	list_del(&c->link);
	c->rpc->conn_count--;
	free(c);
}

/* Lost for good: its owner is told last, and may close it in the callback. */
static void end_for_good(struct rpc_conn *c, int err)
{
	rpc_core_fini(c->core, loop_now_ns(c->rpc->loop));
	rpc_conn_take(c);
	if (c->dead)
		return;
	if (c->cb && (c->known || !c->accepted))
		c->cb(c->arg, c, err);
	c->lost = err;
	rpc_conn_close(c);
}

static void conn_lost_now(struct rpc_conn *c)
{
	int err = c->lost;

	trace("rpc: lost", (uintptr_t)c, (uint64_t)-err, 0);
	c->tell_up = false;
	pipe_drop(c);
	rpc_core_down(c->core, loop_now_ns(c->rpc->loop));
	rpc_conn_take(c);
	if (c->dead)
		return;
	/* A token that was refused will be refused again; a node may become a member meanwhile. */
	if (!c->dialer || (err == -EACCES && c->rpc->id->role == RPC_ROLE_JOINER)) {
		end_for_good(c, err);
		return;
	}
	c->lost = 0;
	if (c->cb)
		c->cb(c->arg, c, -EAGAIN);
	if (!c->dead)
		rpc_dialer_again(c);
}

void rpc_conn_lost(struct rpc_conn *c, int err, const char *why)
{
	if (c->dead || c->lost != 0)
		return;
	c->lost = err;
	if (why != c->reason)
		(void)snprintf(c->reason, sizeof(c->reason), "%s", why ? why : strerror(-err));
	if (err == -EPROTO)
		c->rpc->stats.bad_bytes++;
	rpc_conn_dirty(c);
}

void rpc_conn_break(struct rpc_conn *c, const char *why)
{
	rpc_conn_lost(c, -ECONNRESET, why);
}

void rpc_conn_up(struct rpc_conn *c)
{
	c->tell_up = true;
	c->reason[0] = '\0';
	rpc_dialer_up(c);
	rpc_core_up(c->core, loop_now_ns(c->rpc->loop));
	rpc_conn_sends(c);
}

int rpc_conn_local(struct rpc *r, int fd, rpc_conn_fn cb, void *arg, struct rpc_conn **out)
{
	struct rpc_conn *c;
	int err = rpc_conn_new(r, cb, arg, &c);

	if (err < 0)
		return err;
	c->local = true;
	err = rpc_sock_new(&c->pipe, c, fd, true);
	if (err < 0) {
		rpc_conn_close(c);
		return err;
	}
	*out = c;
	rpc_conn_up(c);
	return 0;
}

/* ---- what the owner asks ---- */

int rpc_conn_scope(struct rpc_conn *c)
{
	bool known = !c->local || c->peer.role != RPC_ROLE_LOCAL;
	int err;

	if (c->scope)
		return 0;
	err = rpc_scope_get(c->rpc, known ? &c->peer : NULL, &c->scope);
	if (err == 0)
		rpc_core_set_scope(c->core, c->scope->scope);
	return err;
}

/* Before its first key: the scope is that of the peer. */
void rpc_conn_set_peer(struct rpc_conn *c, const struct rpc_peer *peer)
{
	CHECK(c->local && !c->scope);
	c->peer = *peer;
}

const struct rpc_peer *rpc_conn_peer(const struct rpc_conn *c)
{
	return &c->peer;
}

const char *rpc_conn_reason(const struct rpc_conn *c)
{
	return c->reason;
}

bool rpc_conn_is_up(const struct rpc_conn *c)
{
	return !c->dead && c->lost == 0 && rpc_core_is_up(c->core);
}

void rpc_conn_set_user(struct rpc_conn *c, void *user)
{
	c->user = user;
}

void *rpc_conn_user(const struct rpc_conn *c)
{
	return c->user;
}

size_t rpc_conn_queued(const struct rpc_conn *c)
{
	return c->out.len - c->out_pos + c->wire.len - c->wire_pos;
}

/* ---- out ---- */

static int mark_add(struct rpc_conn *c, const struct rpc_msg *m)
{
	struct fd_mark *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	k->at = c->out.len;
	k->count = m->fd_count;
	memcpy(k->fds, m->fds, m->fd_count * sizeof(m->fds[0]));
	list_add_tail(&c->marks, &k->link);
	return 0;
}

static void close_fds(const struct rpc_msg *m)
{
	for (unsigned i = 0; m && i < m->fd_count; i++)
		(void)close(m->fds[i]);
}

/* Small ones are sealed together, at the end of the turn. */
static int queue_frame(struct rpc_conn *c, const struct iovec parts[RPC_FRAME_PARTS])
{
	int err = buf_reserve(&c->out, parts[0].iov_len + parts[1].iov_len + parts[2].iov_len);

	for (size_t i = 0; err == 0 && i < RPC_FRAME_PARTS; i++)
		err = buf_add(&c->out, parts[i].iov_base, parts[i].iov_len);
	return err;
}

/* Without memory for a frame the connection cannot keep its promises: it is given up. */
static void send_frame(struct rpc_conn *c, const struct rpc_frame *f)
{
	const struct rpc_msg *m = c->tx_msg;
	unsigned fds = m ? m->fd_count : 0;
	size_t tail_len = m ? m->tail_len : 0;
	uint8_t head[RPC_WIRE_HEAD];
	bool direct;
	struct iovec parts[RPC_FRAME_PARTS] = {
		{ head, sizeof(head) },
		{ f->body, f->len - tail_len },
		{ m ? (void *)(uintptr_t)m->tail : NULL, tail_len },
	};

	c->tx_msg = NULL;
	if (c->dead || c->lost != 0 || !c->pipe) {
		close_fds(m);
		return;
	}
	rpc_wire_head(head, f, fds);
	if (fds > 0 && mark_add(c, m) < 0) {
		close_fds(m);
		rpc_conn_lost(c, -ENOMEM, NULL);
		return;
	}
	direct = f->len >= DIRECT_MIN && rpc_seal_can_frame(c);
	if ((direct ? rpc_seal_frame(c, parts, ARRAY_LEN(parts)) : queue_frame(c, parts)) < 0) {
		rpc_conn_lost(c, -ENOMEM, NULL);
		return;
	}
	/* Both ends work at the same time. */
	if (direct && f->len >= FLUSH_MIN)
		rpc_conn_flush(c);
	c->rpc->stats.frames_out++;
	rpc_conn_dirty(c);
}

/* Plain bytes with descriptors, up to the next mark at a time. Returns 1 when all is out. */
static int flush_local(struct rpc_conn *c)
{
	size_t done = 0;
	ssize_t n = 1;

	while (done < c->out.len && n > 0) {
		struct fd_mark *m = list_first(&c->marks, struct fd_mark, link);
		bool here = m && m->at == done;
		struct fd_mark *stop =
			here ? (m->link.next == &c->marks
					? NULL
					: list_item(m->link.next, struct fd_mark, link))
			     : m;
		size_t end = stop ? stop->at : c->out.len;

		n = c->pipe->ops->write(c->pipe, c->out.data + done, end - done,
					here ? m->fds : NULL, here ? m->count : 0);
		if (n <= 0)
			break;
		done += (size_t)n;
		if (here) {
			for (unsigned i = 0; i < m->count; i++)
				(void)close(m->fds[i]);
			list_del(&m->link);
			free(m);
		}
	}
	if (done > 0) {
		struct fd_mark *m;

		buf_consume(&c->out, done);
		list_for_each (m, &c->marks, link)
			m->at -= done;
		c->rpc->stats.bytes_out += done;
	}
	return n < 0 ? (int)n : c->out.len == 0;
}

static int flush_sealed(struct rpc_conn *c)
{
	for (;;) {
		ssize_t n;

		if (c->wire_pos == c->wire.len) {
			c->wire.len = c->wire_pos = 0;
			if (c->out.len == c->out_pos)
				return 1;
			n = rpc_seal_records(c);
			if (n <= 0)
				return (int)n;
		}
		n = c->pipe->ops->write(c->pipe, c->wire.data + c->wire_pos,
					c->wire.len - c->wire_pos, NULL, 0);
		if (n <= 0)
			return (int)n;
		c->wire_pos += (size_t)n;
		c->rpc->stats.bytes_out += (size_t)n;
	}
}

void rpc_conn_flush(struct rpc_conn *c)
{
	int r;

	if (!c->pipe || c->lost != 0)
		return;
	r = c->local ? flush_local(c) : flush_sealed(c);
	if (r < 0)
		rpc_conn_lost(c, r, NULL);
}

/* Who does not read our answers gets no more questions answered. */
static void set_pause(struct rpc_conn *c)
{
	bool pause = rpc_conn_queued(c) > c->rpc->lim.queue_bytes_max;

	if (pause == c->paused || !c->pipe)
		return;
	c->paused = pause;
	c->pipe->ops->pause(c->pipe, pause);
}

static void after_flush(struct rpc_conn *c)
{
	if (c->lost != 0)
		return;
	set_pause(c);
	if (rpc_conn_queued(c) < QUEUE_SOFT / 2)
		rpc_streams_unblock(c);
}

void rpc_pipe_writable(struct rpc_conn *c)
{
	if (c->pipe && c->pipe->ops->writable)
		c->pipe->ops->writable(c->pipe);
	rpc_conn_flush(c);
	if (!c->dead)
		after_flush(c);
}

/* ---- in ---- */

static void tell_up(struct rpc_conn *c)
{
	c->tell_up = false;
	c->known = true;
	if (c->cb)
		c->cb(c->arg, c, 0);
}

static int on_frame(struct rpc_conn *c, struct rpc_frame *f, unsigned fds)
{
	int err = 0;

	/* It came right behind the end of the handshake: the owner hears of the connection first.
	 */
	if (c->tell_up)
		tell_up(c);
	if (c->dead || c->lost != 0)
		return 0;
	c->rpc->stats.frames_in++;
	if (fds > c->rx_fd_count)
		return -EPROTO;
	c->frame_fds = fds;
	if (f->kind == RPC_FR_REQUEST && f->key != 0)
		err = rpc_conn_scope(c);
	else if (f->kind == RPC_FR_ACK && !c->scope)
		return 0;
	if (err == 0)
		err = rpc_core_frame(c->core, f, loop_now_ns(c->rpc->loop));
	if (err == 0)
		rpc_conn_take(c);
	if (!c->dead)
		rpc_drop_fds(c);
	return err;
}

/* Frames straight out of @bytes; returns what was used, or -errno. */
static ssize_t frames(struct rpc_conn *c, const uint8_t *bytes, size_t len)
{
	size_t used = 0;

	while (!c->dead && c->lost == 0) {
		struct rpc_frame f;
		unsigned fds;
		ssize_t n = rpc_wire_parse(bytes + used, len - used, &f, &fds);

		if (n == 0)
			break;
		if (n > 0) {
			int err = on_frame(c, &f, fds);

			n = err < 0 ? err : n;
		}
		if (n < 0)
			return n;
		used += (size_t)n;
	}
	return (ssize_t)used;
}

/* Completes the unfinished frame in c->in first, and copies no more than it needs. */
static ssize_t finish_frame(struct rpc_conn *c, const uint8_t *bytes, size_t len)
{
	size_t used = 0;

	while (c->in.len > 0 && used < len) {
		size_t want = rpc_wire_want(c->in.data, c->in.len);
		size_t n = MIN(want - MIN(want, c->in.len), len - used);
		struct buf whole;
		ssize_t r;

		if (n > 0 && buf_add(&c->in, bytes + used, n) < 0)
			return -ENOMEM;
		used += n;
		/* A callback may close us and drop c->in: take it out. */
		whole = c->in;
		c->in = (struct buf)BUF_INIT;
		r = frames(c, whole.data, whole.len);
		if (r < 0 || c->dead || c->lost != 0 || (size_t)r == whole.len) {
			whole.len = 0;
			if (c->dead || c->lost != 0 || whole.cap > (64u << 10))
				buf_fini(&whole);
			c->in = whole;
			return r < 0 ? r : (ssize_t)used;
		}
		CHECK(r == 0);
		c->in = whole;
	}
	return (ssize_t)used;
}

int rpc_conn_plain(struct rpc_conn *c, const uint8_t *bytes, size_t len)
{
	ssize_t n = finish_frame(c, bytes, len);

	if (n < 0)
		return (int)n;
	bytes += n;
	len -= (size_t)n;
	if (len == 0 || c->dead || c->lost != 0)
		return 0;
	n = frames(c, bytes, len);
	if (n < 0)
		return (int)n;
	if (c->dead || c->lost != 0 || (size_t)n == len)
		return 0;
	return buf_add(&c->in, bytes + n, len - (size_t)n);
}

int rpc_conn_frames(struct rpc_conn *c)
{
	/* A callback may close us and drop c->in: take it out. */
	struct buf whole = c->in;
	ssize_t n;

	c->in = (struct buf)BUF_INIT;
	n = frames(c, whole.data, whole.len);
	if (n < 0 || c->dead || c->lost != 0) {
		buf_fini(&whole);
		return n < 0 ? (int)n : 0;
	}
	buf_consume(&whole, (size_t)n);
	if (whole.len == 0 && whole.cap > IN_KEEP)
		buf_fini(&whole);
	c->in = whole;
	return 0;
}

static int keep_fds(struct rpc_conn *c, const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (c->rx_fd_count == FDS_QUEUE_MAX) {
			while (i < n)
				(void)close(fds[i++]);
			return -EPROTO;
		}
		c->rx_fds[c->rx_fd_count++] = fds[i];
	}
	return 0;
}

void rpc_pipe_bytes(struct rpc_conn *c, uint8_t *bytes, size_t len, const int *fds,
		    unsigned fd_count)
{
	int err = keep_fds(c, fds, fd_count);

	c->rpc->stats.bytes_in += len;
	if (err == 0)
		err = c->local ? rpc_conn_plain(c, bytes, len) : rpc_seal_bytes(c, bytes, len);
	if (err < 0 && !c->dead)
		rpc_conn_lost(c, err, err == -EPROTO ? "malformed bytes" : NULL);
}

static void shift_fds(struct rpc_conn *c, unsigned n)
{
	c->rx_fd_count -= n;
	memmove(c->rx_fds, c->rx_fds + n, c->rx_fd_count * sizeof(c->rx_fds[0]));
	c->frame_fds = 0;
}

void rpc_take_fds(struct rpc_conn *c, struct rpc_msg *m)
{
	m->fd_count = c->frame_fds;
	memcpy(m->fds, c->rx_fds, m->fd_count * sizeof(m->fds[0]));
	shift_fds(c, m->fd_count);
}

/* What nobody took. */
void rpc_drop_fds(struct rpc_conn *c)
{
	for (unsigned i = 0; i < c->frame_fds; i++)
		(void)close(c->rx_fds[i]);
	shift_fds(c, c->frame_fds);
}

/* ---- effects ---- */

static void act(struct rpc_conn *c, const struct rpc_fx *fx)
{
	switch (fx->kind) {
	case RPC_FX_SEND:
		send_frame(c, &fx->frame);
		break;
	case RPC_FX_RELEASE:
		free(fx->release);
		break;
	case RPC_FX_DELIVER:
		rpc_on_deliver(c, fx);
		break;
	case RPC_FX_ONEWAY:
		rpc_on_oneway(c, fx);
		break;
	case RPC_FX_DONE:
		rpc_on_done(c, fx);
		break;
	case RPC_FX_NONE:
	case RPC_FX_OPENED:
	case RPC_FX_DATA:
	case RPC_FX_WRITABLE:
	case RPC_FX_CLOSED:
		rpc_on_stream(c, fx);
		break;
	}
}

void rpc_conn_sends(struct rpc_conn *c)
{
	struct rpc_fx fx;

	while (rpc_core_next_send(c->core, &fx))
		act(c, &fx);
	c->tx_msg = NULL;
	rpc_conn_dirty(c);
}

static void on_due(struct loop_timer *t)
{
	struct rpc_conn *c = container_of(t, struct rpc_conn, due);

	rpc_core_tick(c->core, loop_now_ns(c->rpc->loop));
	rpc_conn_take(c);
	if (!c->dead)
		rpc_conn_dirty(c);
}

static void arm_due(struct rpc_conn *c)
{
	uint64_t due = rpc_core_due_ns(c->core);

	if (due == UINT64_MAX || (c->due.heap_index != 0 && c->due.due_ns <= due))
		return;
	if (loop_timer_set(c->rpc->loop, &c->due, due, on_due) < 0)
		rpc_conn_lost(c, -ENOMEM, NULL);
}

void rpc_conn_take(struct rpc_conn *c)
{
	struct rpc_fx fx;

	while (!c->dead && rpc_core_next(c->core, &fx))
		act(c, &fx);
}

void rpc_conn_dirty(struct rpc_conn *c)
{
	if (c->dirty || c->dead)
		return;
	c->dirty = true;
	list_del(&c->link);
	list_add(&c->rpc->conns, &c->link);
}

void rpc_conn_turn_end(struct rpc_conn *c)
{
	if (c->tell_up && c->lost == 0)
		tell_up(c);
	if (!c->dead)
		rpc_conn_take(c);
	if (!c->dead) {
		rpc_conn_flush(c);
		after_flush(c);
	}
	if (!c->dead && c->lost != 0)
		conn_lost_now(c);
	if (!c->dead)
		arm_due(c);
}
