/* SPDX-License-Identifier: Apache-2.0 */
/* relay_out.c - a relay where the writers are. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>

#include "base/fault.h"
#include "kernel/ipc/relay_priv.h"

#define GROW_AFTER ((uint64_t)4 * RELAY_WINDOW_MAX) /* bytes taken */
#define GROWN_MAX  16u /* of what a user may have in pipes a sixteenth */

/* Whatever lies in the tomb has left the writers' pipe: count it, then bury it. */
static int out_bury(struct relay_out *o)
{
	struct relay_record *rec = o->rec;
	int r;

	if (rec->state == RELAY_DISCARDING) {
		size_t n = relay_pipe_holds(o->tomb[0]);

		rec->next = rec->offset + n;
		relay_record_state(rec, RELAY_DRAINING);
	}
	FAULT("relay.out.counted");
	r = relay_pipe_drop(o->rs, o->tomb[0], relay_pipe_holds(o->tomb[0]));
	if (r < 0)
		return r;
	FAULT("relay.out.drained");
	if (rec->state == RELAY_DRAINING) {
		rec->offset = rec->next; /* not +=: a successor may do it again */
		relay_record_state(rec, RELAY_IDLE);
	}
	return 0;
}

static int out_discard(struct relay_out *o, uint64_t upto)
{
	while (o->rec->offset < upto) {
		size_t want = (size_t)MIN(upto - o->rec->offset, (uint64_t)RELAY_CHUNK_MAX);
		uint64_t before = o->rec->offset;
		ssize_t n;
		int r;

		relay_record_state(o->rec, RELAY_DISCARDING);
		FAULT("relay.out.discarding");
		do {
			n = splice(o->pipe, NULL, o->tomb[1], NULL, want, SPLICE_F_NONBLOCK);
		} while (n < 0 && errno == EINTR);
		FAULT("relay.out.discarded");
		r = out_bury(o);
		if (r < 0)
			return r;
		if (o->rec->offset == before)
			return n < 0 && errno != EAGAIN ? -errno : -EIO;
	}
	return 0;
}

/*
 * What the pipe holds behind its first @skip bytes, as far as we look: so many bytes now lie in the
 * scratch pipe.
 */
static ssize_t out_tee(struct relay_out *o, size_t skip)
{
	struct relays *rs = o->rs;
	ssize_t n;
	int r;

	if (skip > 0 && relay_pipe_holds(o->pipe) <= skip)
		return 0;
	n = tee(o->pipe, rs->scratch[1], RELAY_WINDOW_MAX, SPLICE_F_NONBLOCK);
	if (n <= 0)
		return n < 0 && errno != EAGAIN ? -errno : 0;
	r = relay_pipe_drop(rs, rs->scratch[0], MIN(skip, (size_t)n));
	return r < 0 ? r : n - (ssize_t)MIN(skip, (size_t)n);
}

ssize_t relay_out_look(struct relay_out *o, const uint8_t **bytes)
{
	ssize_t n = out_tee(o, 0);

	if (n > 0)
		relay_pipe_read(o->rs->scratch[0], o->rs->bytes, (size_t)n);
	*bytes = o->rs->bytes;
	return n;
}

/*
 * The piece, buffer by buffer, into rs->bytes; returns how long it is there. -EIO: a buffer is
 * larger than any that a write makes.
 */
static ssize_t units_read(struct relays *rs, size_t left)
{
	size_t at = 0;

	while (left > 0) {
		ssize_t n = splice(rs->piece[0], NULL, rs->unit[1], NULL, left, SPLICE_F_NONBLOCK);
		uint8_t *p = rs->bytes + at;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || n > PIPE_BUF)
			return n < 0 ? -errno : -EIO;
		p[0] = (uint8_t)n;
		p[1] = (uint8_t)(n >> 8);
		relay_pipe_read(rs->unit[0], p + UNIT_HEAD, (size_t)n);
		at += UNIT_HEAD + (size_t)n;
		left -= (size_t)n;
	}
	return (ssize_t)at;
}

/* The next piece of what lies in the scratch pipe: *@len is its length in the stream. */
static int piece_send(struct relay_out *o, size_t *len)
{
	struct relays *rs = o->rs;
	enum relay_kind kind = RELAY_DATA;
	ssize_t n, size;

	do {
		n = splice(rs->scratch[0], NULL, rs->piece[1], NULL, RELAY_CHUNK_MAX,
			   SPLICE_F_NONBLOCK);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : -EIO;
	size = n;
	*len = (size_t)n;
	/* So many bytes fill all its buffers; so few are one unit. */
	if (o->units && n > PIPE_BUF && n < RELAY_CHUNK_MAX) {
		kind = RELAY_UNITS;
		size = units_read(rs, (size_t)n);
	} else {
		relay_pipe_read(rs->piece[0], rs->bytes, (size_t)n);
	}
	if (size < 0)
		return (int)size;
	return o->ops->send(o->arg, kind, o->sent, rs->bytes, (size_t)size);
}

/* Our pipes are empty again. */
static void out_forget(struct relays *rs)
{
	const int fds[] = { rs->scratch[0], rs->piece[0], rs->unit[0] };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		(void)!relay_pipe_drop(rs, fds[i], relay_pipe_holds(fds[i]));
}

/* 0: everything that was there is sent. */
static int out_send(struct relay_out *o)
{
	ssize_t left = out_tee(o, (size_t)(o->sent - o->rec->offset));
	int r = left < 0 ? (int)left : 0;

	while (r == 0 && left > 0) {
		size_t n = 0;

		r = piece_send(o, &n);
		left -= (ssize_t)n;
		if (r == 0)
			o->sent += n;
	}
	if (r != 0)
		out_forget(o->rs);
	return r;
}

static bool writers_gone(const struct relay_out *o)
{
	struct pollfd p = { .fd = o->pipe, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

static void out_finish(struct relay_out *o)
{
	if (o->finished)
		return;
	o->finished = true;
	o->ops->done(o->arg);
}

static void out_pump(struct relay_out *o)
{
	bool gone;
	int r;

	if (!o->up || o->finished)
		return;
	gone = writers_gone(o); /* before looking: what they wrote last is then seen */
	r = out_send(o);
	if (r == 0 && gone && !o->eof_sent &&
	    o->sent - o->rec->offset == relay_pipe_holds(o->pipe)) {
		r = o->ops->send(o->arg, RELAY_EOF, o->sent, NULL, 0);
		o->eof_sent = r == 0;
	}
	if (r == -EAGAIN)
		o->up = false;
	if (gone && o->eof_sent && o->taken == o->sent)
		out_finish(o);
}

void relay_out_event(struct relay_out *o)
{
	out_pump(o);
}

/*
 * A reader who takes the bytes as fast as they come shall not wait for each piece to go to and fro:
 * then several are on their way. Only a pipe of the usual size that its writers have filled.
 */
static void out_grow(struct relay_out *o)
{
	struct relays *rs = o->rs;

	if (o->grow_tried || o->taken - o->began < GROW_AFTER || rs->grown >= GROWN_MAX ||
	    relay_pipe_holds(o->pipe) + PIPE_BUF <= RELAY_CHUNK_MAX)
		return;
	o->grow_tried = true;
	/* Refused to who has many pipes: then it goes on as it is. */
	o->grown = fcntl(o->pipe, F_GETPIPE_SZ) == RELAY_CHUNK_MAX &&
		   fcntl(o->pipe, F_SETPIPE_SZ, RELAY_WINDOW_MAX) >= 0;
	rs->grown += o->grown;
}

int relay_out_init(struct relay_out *o, struct relays *rs, struct relay_record *rec, int pipe,
		   const int tomb[2], bool units, const struct relay_ops *ops, void *arg)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = o };
	int r;

	*o = (struct relay_out){ .rs = rs,
				 .rec = rec,
				 .pipe = pipe,
				 .tomb = { tomb[0], tomb[1] },
				 .units = units,
				 .ops = ops,
				 .arg = arg };
	list_init(&o->link);
	if (rec->state > RELAY_DRAINING)
		return -EINVAL;
	if (rec->state != RELAY_IDLE) {
		r = out_bury(o);
		if (r < 0)
			return r;
	}
	o->sent = rec->offset;
	o->have = rec->offset;
	o->taken = rec->offset;
	o->began = rec->offset;
	if (epoll_ctl(rs->epfd, EPOLL_CTL_ADD, pipe, &ev) < 0)
		return -errno;
	list_add_tail(&rs->outs, &o->link);
	return 0;
}

void relay_out_fini(struct relay_out *o)
{
	if (list_empty(&o->link))
		return;
	list_del(&o->link);
	o->rs->grown -= o->grown;
	/* A pipe that outlives us is as it was, if what lies in it allows. */
	if (o->grown)
		(void)!fcntl(o->pipe, F_SETPIPE_SZ, RELAY_CHUNK_MAX);
	(void)epoll_ctl(o->rs->epfd, EPOLL_CTL_DEL, o->pipe, NULL); /* it may be closed already */
}

void relay_out_resume(struct relay_out *o)
{
	if (!o->finished)
		(void)!o->ops->send(o->arg, RELAY_ASK, o->rec->offset, NULL, 0);
}

void relay_out_pause(struct relay_out *o)
{
	o->up = false;
	o->have = o->rec->offset; /* the reader may be somewhere else when it goes on */
}

/* The far side's word counts: it may have taken what we, or our predecessor, never learned of. */
static int out_on_have(struct relay_out *o, uint64_t have)
{
	if (have > o->rec->offset + RELAY_WINDOW_MAX)
		return -EPROTO;
	/* What lies there only grows: said before over another connection, and overtaken. */
	if (have < MAX(o->have, o->rec->offset))
		return 0;
	o->up = true;
	o->eof_sent = false; /* it went with what was lost */
	o->sent = have;
	o->have = have;
	out_pump(o);
	return 0;
}

int relay_out_msg(struct relay_out *o, enum relay_kind kind, uint64_t offset)
{
	int r;

	if (o->finished)
		return 0;
	if (kind == RELAY_BROKEN) {
		out_finish(o);
		return 0;
	}
	if (kind == RELAY_HAVE)
		return out_on_have(o, offset);
	if (kind != RELAY_TAKEN || offset > o->rec->offset + RELAY_WINDOW_MAX)
		return -EPROTO;
	o->taken = MAX(o->taken, offset);
	o->have = MAX(o->have, offset);
	o->sent = MAX(o->sent, offset);
	out_grow(o);
	r = out_discard(o, o->taken);
	if (r < 0)
		return r;
	out_pump(o);
	return 0;
}
