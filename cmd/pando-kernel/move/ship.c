/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pando-kernel/move/ship.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/log.h"

#define PIPE_BYTES  (1024 * 1024)
#define PIECE_BYTES 65536

/* @ours does not block, and the other end waits for us. */
static int pipe_new(int fds[2], int ours)
{
	int r;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return -errno;
	/* A larger one saves changes of threads; not to get it is no error. */
	(void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES);
	r = fcntl(fds[ours], F_SETFL, O_NONBLOCK) == 0 ? 0 : -errno;
	if (r == 0)
		return 0;
	(void)close(fds[0]);
	(void)close(fds[1]);
	return r;
}

static void way_end(struct world *w, struct ship_way *way, int err)
{
	if (way->watching)
		loop_fd_del(w->loop, &way->watch);
	way->watching = false;
	if (way->pipe >= 0)
		(void)close(way->pipe);
	way->pipe = -1;
	if (way->stream)
		rpc_stream_close(way->stream, err);
	way->stream = NULL;
}

/* ---- source ---- */
static void out_end(struct ship_out *s, int err)
{
	way_end(s->w, &s->way, err);
	free(s->piece);
	s->piece = NULL;
}

void ship_out_init(struct ship_out *s, struct world *w, void (*failed)(struct ship_out *s, int err))
{
	*s = (struct ship_out){ .w = w, .failed = failed, .way = { .pipe = -1 } };
}

void ship_out_fini(struct ship_out *s)
{
	loop_timer_clear(s->w->loop, &s->failing);
	out_end(s, -ECANCELED);
}

static void on_failing(struct loop_timer *t)
{
	struct ship_out *s = container_of(t, struct ship_out, failing);

	out_end(s, s->err);
	s->failed(s, s->err);
}

/* In this very turn the pipe may have something, and there is no stream for it any more. */
void ship_out_fail(struct ship_out *s, int err)
{
	s->err = err;
	if (s->way.watching)
		loop_fd_del(s->w->loop, &s->way.watch);
	s->way.watching = false;
	if (loop_timer_set(s->w->loop, &s->failing, 0, on_failing) != 0)
		log_error("cannot wait: out of memory");
}

static void pause_reading(struct ship_out *s, bool pause)
{
	if (s->way.watching && loop_fd_mod(s->w->loop, &s->way.watch, pause ? 0 : POLLIN) != 0)
		log_error("cannot watch an image: out of memory");
}

/* False: there is no credit just now. */
static bool send_piece(struct ship_out *s)
{
	while (s->piece_len > 0) {
		ssize_t n = rpc_stream_write(s->way.stream, s->piece + s->piece_at, s->piece_len);

		if (n < 0) {
			ship_out_fail(s, (int)n);
			return false;
		}
		if (n == 0)
			return false;
		s->piece_at += (size_t)n;
		s->piece_len -= (size_t)n;
	}
	return true;
}

/* All of it has been written, read, and sent. */
static void look_at_end(struct ship_out *s)
{
	if (!s->dumped || s->way.watching || s->piece_len > 0 || !s->way.stream || s->err != 0)
		return;
	if (FAULT_ERR("kernel.leave.ending", 0) != 0)
		return; /* as if it had not come to that */
	s->sent = true;
	FAULT("kernel.leave.sent");
	out_end(s, 0);
}

static void on_readable(struct loop_fd *fd, short revents)
{
	struct ship_out *s = container_of(fd, struct ship_out, way.watch);
	ssize_t n;

	if (!send_piece(s)) {
		pause_reading(s, true);
		return;
	}
	n = read(s->way.pipe, s->piece, PIECE_BYTES);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		/* The end: whether it was a good one the mover says. */
		loop_fd_del(s->w->loop, &s->way.watch);
		s->way.watching = false;
		look_at_end(s);
		return;
	}
	s->piece_at = 0;
	s->piece_len = (size_t)n;
	if (!send_piece(s))
		pause_reading(s, true);
}

static void on_writable(void *arg, struct rpc_stream *stream)
{
	struct ship_out *s = arg;

	if (!send_piece(s))
		return;
	pause_reading(s, false);
	look_at_end(s);
}

static void on_out_closed(void *arg, struct rpc_stream *stream, int err)
{
	struct ship_out *s = arg;

	s->way.stream = NULL;
	if (!s->sent)
		ship_out_fail(s, err ? err : -EPIPE);
}

static void on_out_data(void *arg, struct rpc_stream *stream, const void *bytes, size_t len)
{
	rpc_stream_consumed(stream, len); /* they have nothing to say */
}

static const struct rpc_stream_ops out_ops = {
	.data = on_out_data,
	.writable = on_writable,
	.closed = on_out_closed,
};

int ship_out_start(struct ship_out *s, struct rpc_conn *c, const struct rpc_msg *m, int *mover_end)
{
	int fds[2], r = rpc_stream_open(c, m, &out_ops, s, &s->way.stream);

	if (r != 0)
		return r;
	s->piece = malloc(PIECE_BYTES);
	r = s->piece ? pipe_new(fds, 0) : -ENOMEM;
	if (r != 0)
		return r;
	s->way.pipe = fds[0];
	*mover_end = fds[1];
	r = loop_fd_add(s->w->loop, &s->way.watch, s->way.pipe, POLLIN, on_readable);
	s->way.watching = r == 0;
	return r;
}

void ship_out_dumped(struct ship_out *s)
{
	s->dumped = true;
	look_at_end(s);
}

/* ---- target ---- */
void ship_in_init(struct ship_in *s, struct world *w)
{
	*s = (struct ship_in){ .w = w, .way = { .pipe = -1 } };
}

void ship_in_end(struct ship_in *s, int err)
{
	way_end(s->w, &s->way, err);
	buf_fini(&s->queue);
	s->poured = 0;
	s->ended = true;
}

static void on_room(struct loop_fd *fd, short revents);

/* What was poured stays in the queue until it is half of it: no byte is moved twice. */
static size_t left(const struct ship_in *s)
{
	return s->queue.len - s->poured;
}

static void pour(struct ship_in *s)
{
	int r = 0;

	while (left(s) > 0 && r == 0) {
		ssize_t n = write(s->way.pipe, s->queue.data + s->poured, left(s));

		if (n < 0 && errno == EINTR)
			continue;
		r = n < 0 ? -errno : 0;
		if (n < 0)
			break;
		s->poured += (size_t)n;
		if (s->way.stream)
			rpc_stream_consumed(s->way.stream, (size_t)n);
	}
	if (s->poured * 2 >= s->queue.len) {
		buf_consume(&s->queue, s->poured);
		s->poured = 0;
	}
	if (r != 0 && r != -EAGAIN) {
		ship_in_end(s, r); /* the mover has given up, and says why */
		return;
	}
	if (left(s) == 0 && s->ended) {
		ship_in_end(s, 0);
		return;
	}
	if (left(s) > 0 && !s->way.watching) {
		r = loop_fd_add(s->w->loop, &s->way.watch, s->way.pipe, POLLOUT, on_room);
		s->way.watching = r == 0;
	} else if (left(s) == 0 && s->way.watching) {
		loop_fd_del(s->w->loop, &s->way.watch);
		s->way.watching = false;
	}
}

static void on_room(struct loop_fd *fd, short revents)
{
	pour(container_of(fd, struct ship_in, way.watch));
}

static void on_in_data(void *arg, struct rpc_stream *stream, const void *bytes, size_t len)
{
	struct ship_in *s = arg;

	if (buf_add(&s->queue, bytes, len) != 0) {
		ship_in_end(s, -ENOMEM);
		return;
	}
	if (s->way.pipe >= 0)
		pour(s);
}

static void on_in_closed(void *arg, struct rpc_stream *stream, int err)
{
	struct ship_in *s = arg;

	s->way.stream = NULL;
	s->ended = true;
	s->whole = err == 0;
	if (err != 0)
		s->queue.len = s->poured = 0; /* without its end mark it is worth nothing */
	if (s->way.pipe >= 0)
		pour(s);
	if (s->over)
		s->over(s);
}

static const struct rpc_stream_ops in_ops = { .data = on_in_data, .closed = on_in_closed };

void ship_in_take(struct ship_in *s, struct rpc_stream *stream)
{
	s->way.stream = stream;
	rpc_stream_set_ops(stream, &in_ops, s);
}

bool ship_in_is_open(const struct ship_in *s)
{
	return s->way.stream != NULL;
}

int ship_in_start(struct ship_in *s, int *mover_end)
{
	int fds[2], r = pipe_new(fds, 1);

	if (r != 0)
		return r;
	s->way.pipe = fds[1];
	*mover_end = fds[0];
	pour(s);
	return 0;
}
