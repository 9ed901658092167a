/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.c - steps of a relay, and what a successor makes of each.
 *
 *	out:  IDLE -> DISCARDING -> DRAINING -> IDLE
 *	      DISCARDING  bytes go from the writers' pipe to the tomb; what lies there has gone
 *	      DRAINING    `offset` counts them already; what lies in the tomb is rubbish
 *	in:   IDLE -> STAGING -> STAGED -> IDLE
 *	      STAGING     bytes are written to the stage, in one write: all of them lie there or
 *none STAGED      they are spliced on; what lies in the stage has not gone
 *
 * Facts: tee(2), splice(2), pipe(7). A write of n bytes into an empty pipe of at
 * least n bytes is not interrupted half way unless the task dies in it, and a
 * task that dies in it leaves a prefix: hence `len` is compared, not assumed.
 */
#include "kernel/ipc/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/types.h"

enum relay_state {
	RELAY_IDLE = 0,
	RELAY_DISCARDING,
	RELAY_DRAINING,
	RELAY_STAGING,
	RELAY_STAGED,
};

/*
 * A reader's pipe wakes its writers only when it was full. Taken bytes of one that was not are
 * found by looking, which nobody waits for: the writers' pipe has room then, unless small writes
 * filled its pages badly. So: soon after bytes were delivered, then ever more rarely.
 */
#define LOOK_FIRST_NS (200 * NS_PER_US)
#define LOOK_LAST_NS  (128 * NS_PER_MS)

#define EVENTS_PER_TURN 32

struct relays {
	struct loop *loop;
	int epfd;
	struct loop_fd watch;
	int scratch[2]; /* tee goes here; empty between calls */
	uint8_t *bytes; /* RELAY_CHUNK_MAX */
	struct list outs;
	struct list ins;
};

/* The record is read by a successor: what was stored before must be seen before. */
static void record_state(struct relay_record *rec, enum relay_state state)
{
	atomic_thread_fence(memory_order_seq_cst);
	*(volatile uint32_t *)&rec->state = state;
	atomic_thread_fence(memory_order_seq_cst);
}

static size_t pipe_holds(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) < 0 || n < 0 ? 0 : (size_t)n;
}

/* ---- where the writers are ---- */

/* Reads what @fd holds and forgets it. */
static int drain(struct relays *rs, int fd)
{
	size_t left = pipe_holds(fd);

	while (left > 0) {
		ssize_t n = read(fd, rs->bytes, MIN(left, (size_t)RELAY_CHUNK_MAX));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		left -= (size_t)n;
	}
	return 0;
}

/* Whatever lies in the tomb has left the writers' pipe: count it, then bury it. */
static int out_bury(struct relay_out *o)
{
	struct relay_record *rec = o->rec;
	int r;

	if (rec->state == RELAY_DISCARDING) {
		size_t n = pipe_holds(o->tomb[0]);

		rec->next = rec->offset + n;
		record_state(rec, RELAY_DRAINING);
	}
	FAULT("relay.out.counted");
	r = drain(o->rs, o->tomb[0]);
	if (r < 0)
		return r;
	FAULT("relay.out.drained");
	if (rec->state == RELAY_DRAINING) {
		rec->offset = rec->next; /* not +=: a successor may do it again */
		record_state(rec, RELAY_IDLE);
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

		record_state(o->rec, RELAY_DISCARDING);
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
 * What the pipe holds behind its first @skip bytes. Returns the number of bytes now in rs->bytes,
 * of which the first @skip are of no interest.
 */
static ssize_t out_look(struct relay_out *o, size_t skip)
{
	struct relays *rs = o->rs;
	ssize_t n, got = 0;

	if (skip > 0 && pipe_holds(o->pipe) <= skip)
		return (ssize_t)skip;
	n = tee(o->pipe, rs->scratch[1], RELAY_CHUNK_MAX, SPLICE_F_NONBLOCK);
	if (n <= 0)
		return n < 0 && errno != EAGAIN ? -errno : 0;
	while (got < n) {
		ssize_t k = read(rs->scratch[0], rs->bytes + got, (size_t)(n - got));

		if (k < 0 && errno == EINTR)
			continue;
		CHECK(k > 0); /* our own pipe, and it holds n bytes */
		got += k;
	}
	return got;
}

ssize_t relay_out_look(struct relay_out *o, const uint8_t **bytes)
{
	*bytes = o->rs->bytes;
	return out_look(o, 0);
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
	ssize_t n;
	uint64_t end;

	if (!o->up || o->finished)
		return;
	gone = writers_gone(o); /* before looking: what they wrote last is then seen */
	n = out_look(o, (size_t)(o->sent - o->rec->offset));
	if (n < 0)
		return;
	end = o->rec->offset + (uint64_t)n;
	if (end > o->sent) {
		size_t skip = (size_t)(o->sent - o->rec->offset);

		if (o->ops->send(o->arg, RELAY_DATA, o->sent, o->rs->bytes + skip,
				 (size_t)n - skip) < 0) {
			o->up = false;
			return;
		}
		o->sent = end;
	}
	if (gone && !o->eof_sent && o->sent == end) {
		o->eof_sent = o->ops->send(o->arg, RELAY_EOF, end, NULL, 0) == 0;
		o->up = o->eof_sent;
	}
	if (gone && o->eof_sent && o->taken == end)
		out_finish(o);
}

int relay_out_init(struct relay_out *o, struct relays *rs, struct relay_record *rec, int pipe,
		   const int tomb[2], const struct relay_ops *ops, void *arg)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = o };
	int r;

	*o = (struct relay_out){ .rs = rs,
				 .rec = rec,
				 .pipe = pipe,
				 .tomb = { tomb[0], tomb[1] },
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
	if (have > o->rec->offset + RELAY_CHUNK_MAX)
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
	if (kind != RELAY_TAKEN || offset > o->rec->offset + RELAY_CHUNK_MAX)
		return -EPROTO;
	o->taken = MAX(o->taken, offset);
	o->have = MAX(o->have, offset);
	o->sent = MAX(o->sent, offset);
	r = out_discard(o, o->taken);
	if (r < 0)
		return r;
	out_pump(o);
	return 0;
}

/* ---- where the reader is ---- */

static void in_finish(struct relay_in *i)
{
	if (i->finished)
		return;
	i->finished = true;
	loop_timer_clear(i->rs->loop, &i->look);
	i->ops->done(i->arg);
}

/* What the last reader has left unread stays the writers': another may read it. */
static void in_broken(struct relay_in *i)
{
	uint64_t taken = relay_in_taken(i);

	if (i->finished || !i->up)
		return;
	if (taken > i->told && i->ops->send(i->arg, RELAY_TAKEN, taken, NULL, 0) == 0)
		i->told = taken;
	if (i->ops->send(i->arg, RELAY_BROKEN, 0, NULL, 0) == 0)
		in_finish(i);
}

/* Splices on what lies in the stage. 0: all of it lies in the reader's pipe; -EAGAIN: that is full.
 */
static int in_push_stage(struct relay_in *i)
{
	while (i->rec->state == RELAY_STAGED) {
		size_t left = pipe_holds(i->stage[0]);
		ssize_t n;

		if (left == 0) {
			FAULT("relay.in.pushed");
			i->rec->offset = i->rec->next;
			record_state(i->rec, RELAY_IDLE);
			break;
		}
		n = splice(i->stage[0], NULL, i->pipe, NULL, left, SPLICE_F_NONBLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno; /* EAGAIN: full; EPIPE: no reader (SIGPIPE is blocked or
					  ignored) */
		FAULT("relay.in.pushing");
	}
	return 0;
}

static int in_stage(struct relay_in *i, const uint8_t *bytes, size_t len);

/* As in_push_stage(), and what has come meanwhile. */
static int in_push(struct relay_in *i)
{
	int r = in_push_stage(i);

	while (r == 0 && i->queued > 0) {
		r = in_stage(i, i->queue, i->queued);
		i->queued = 0;
		if (r == 0)
			r = in_push_stage(i);
	}
	return r;
}

/* How far the reader has come: what is not in his pipe any more, he has. */
uint64_t relay_in_taken(const struct relay_in *i)
{
	uint64_t lies = i->rec->offset;

	if (i->rec->state == RELAY_STAGED)
		lies = i->rec->next - pipe_holds(i->stage[0]);
	return i->shared ? lies : lies - MIN(lies, (uint64_t)pipe_holds(i->pipe));
}

static void on_look(struct loop_timer *t);

static void in_tell(struct relay_in *i)
{
	uint64_t taken = relay_in_taken(i);
	bool more;

	if (!i->up || i->finished)
		return;
	if (i->rec->state == RELAY_IDLE && i->say_have) {
		if (i->ops->send(i->arg, RELAY_HAVE, i->rec->offset, NULL, 0) < 0) {
			i->up = false;
			return;
		}
		i->say_have = false;
	}
	if (taken > i->told || taken == i->eof_at) {
		if (i->ops->send(i->arg, RELAY_TAKEN, taken, NULL, 0) < 0) {
			i->up = false;
			return;
		}
		i->told = taken;
		i->look_ns = LOOK_FIRST_NS;
	}
	if (taken == i->eof_at) {
		in_finish(i);
		return;
	}
	more = i->rec->state != RELAY_IDLE || taken < i->rec->offset;
	if (!more) {
		loop_timer_clear(i->rs->loop, &i->look);
		return;
	}
	/* Out of memory for a timer: the next message looks. */
	(void)!loop_timer_set(i->rs->loop, &i->look, loop_now_ns(i->rs->loop) + i->look_ns,
			      on_look);
	i->look_ns = MIN(i->look_ns * 2, LOOK_LAST_NS);
}

static bool reader_gone(const struct relay_in *i)
{
	struct pollfd p = { .fd = i->pipe, .events = POLLOUT };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

/* Nobody is told anything any more. */
static void in_pump_rest(struct relay_in *i)
{
	if (in_push(i) != -EAGAIN || reader_gone(i)) {
		in_finish(i);
		return;
	}
	(void)!loop_timer_set(i->rs->loop, &i->look, loop_now_ns(i->rs->loop) + LOOK_LAST_NS,
			      on_look);
}

/* -EPIPE: there is no reader. @i may be freed by then, if it was told. */
static int in_pump(struct relay_in *i)
{
	if (i->finished)
		return 0;
	if (i->cut) {
		in_pump_rest(i);
		return 0;
	}
	if (in_push(i) == -EPIPE || reader_gone(i)) {
		in_broken(i);
		return -EPIPE;
	}
	in_tell(i);
	return 0;
}

static void on_look(struct loop_timer *t)
{
	(void)in_pump(container_of(t, struct relay_in, look));
}

int relay_in_init(struct relay_in *i, struct relays *rs, struct relay_record *rec, int pipe,
		  const int stage[2], bool shared, const struct relay_ops *ops, void *arg)
{
	struct epoll_event ev = { .events = EPOLLOUT | EPOLLET,
				  .data.ptr = (void *)((uintptr_t)i | 1) };
	size_t lies = pipe_holds(stage[0]);

	*i = (struct relay_in){ .rs = rs,
				.rec = rec,
				.pipe = pipe,
				.stage = { stage[0], stage[1] },
				.eof_at = UINT64_MAX,
				.shared = shared,
				.say_have = true,
				.look_ns = LOOK_FIRST_NS,
				.ops = ops,
				.arg = arg };
	list_init(&i->link);
	if (rec->state != RELAY_IDLE && rec->state != RELAY_STAGING && rec->state != RELAY_STAGED)
		return -EINVAL;
	if (rec->state == RELAY_STAGING) {
		/* All or nothing; a prefix (we died in the write) is as good as nothing. */
		if (lies == rec->len && lies > 0) {
			record_state(rec, RELAY_STAGED);
		} else {
			int r = drain(rs, stage[0]);

			if (r < 0)
				return r;
			record_state(rec, RELAY_IDLE);
		}
	}
	if (epoll_ctl(rs->epfd, EPOLL_CTL_ADD, pipe, &ev) < 0)
		return -errno;
	list_add_tail(&rs->ins, &i->link);
	return 0;
}

void relay_in_fini(struct relay_in *i)
{
	if (list_empty(&i->link))
		return;
	loop_timer_clear(i->rs->loop, &i->look);
	list_del(&i->link);
	free(i->queue);
	i->queue = NULL;
	(void)epoll_ctl(i->rs->epfd, EPOLL_CTL_DEL, i->pipe, NULL);
}

void relay_in_resume(struct relay_in *i)
{
	i->up = true;
	i->told = 0; /* say both again: the last ones may be lost */
	i->say_have = true;
	i->refused = false;
	(void)in_pump(i);
}

/* What is in our memory alone is sent again. */
void relay_in_pause(struct relay_in *i)
{
	i->up = false;
	i->queued = 0;
}

void relay_in_cut(struct relay_in *i)
{
	i->cut = true;
	(void)in_pump(i);
}

void relay_in_look(struct relay_in *i)
{
	(void)in_pump(i);
}

static int in_stage(struct relay_in *i, const uint8_t *bytes, size_t len)
{
	size_t done = 0;

	i->rec->len = (uint32_t)len;
	i->rec->next = i->rec->offset + len;
	record_state(i->rec, RELAY_STAGING);
	FAULT("relay.in.staging");
	while (done < len) {
		ssize_t n = write(i->stage[1], bytes + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	FAULT("relay.in.staged");
	record_state(i->rec, RELAY_STAGED);
	return 0;
}

/* The next byte that we do not know. */
static uint64_t in_want(const struct relay_in *i)
{
	return (i->rec->state == RELAY_STAGED ? i->rec->next : i->rec->offset) + i->queued;
}

/* Something before it is missing, or there is no room: it is to come again, from where we say. */
static void in_refuse(struct relay_in *i)
{
	i->say_have |= !i->refused;
	i->refused = true;
}

static int in_queue(struct relay_in *i, const uint8_t *bytes, size_t len)
{
	if (!i->queue)
		i->queue = malloc(RELAY_CHUNK_MAX);
	if (!i->queue || len > RELAY_CHUNK_MAX - i->queued)
		return -ENOBUFS;
	memcpy(i->queue + i->queued, bytes, len);
	i->queued += len;
	return 0;
}

/* What lies in the stage is delivered first: what comes meanwhile waits in our memory. */
static int in_on_data(struct relay_in *i, uint64_t offset, const uint8_t *bytes, size_t len)
{
	uint64_t want = in_want(i), skip = want - offset;
	int r = 0;

	if (len > RELAY_CHUNK_MAX)
		return -EPROTO;
	if (offset > want) {
		in_refuse(i);
		return in_pump(i);
	}
	if (skip >= len)
		return 0; /* all of it is known */
	bytes += skip;
	len -= (size_t)skip;
	if (i->rec->state == RELAY_IDLE)
		r = in_stage(i, bytes, len);
	else if (in_queue(i, bytes, len) < 0)
		in_refuse(i);
	else
		i->refused = false;
	if (r < 0)
		return r;
	i->look_ns = LOOK_FIRST_NS;
	return in_pump(i);
}

static int in_on_eof(struct relay_in *i, uint64_t offset)
{
	uint64_t want = in_want(i);

	if (offset < want)
		return -EPROTO;
	if (offset > want)
		in_refuse(i);
	else
		i->eof_at = offset;
	(void)in_pump(i);
	return 0;
}

int relay_in_msg(struct relay_in *i, enum relay_kind kind, uint64_t offset, const void *bytes,
		 size_t len)
{
	if (i->finished)
		return 0;
	switch (kind) {
	case RELAY_ASK:
		if (i->up)
			relay_in_resume(i);
		return 0;
	case RELAY_EOF:
		return in_on_eof(i, offset);
	case RELAY_DATA:
		return in_on_data(i, offset, bytes, len);
	default:
		return -EPROTO;
	}
}

/* ---- what they share ---- */

static void on_events(struct loop_fd *w, short revents)
{
	struct relays *rs = container_of(w, struct relays, watch);
	struct epoll_event ev[EVENTS_PER_TURN];
	int n = epoll_wait(rs->epfd, ev, EVENTS_PER_TURN, 0);

	for (int k = 0; k < n; k++) {
		uintptr_t p = (uintptr_t)ev[k].data.ptr;
		struct relay_out *o;
		struct relay_in *i;

		/* A callback may have ended a relay that is named later in this list. */
		if (p & 1) {
			list_for_each (i, &rs->ins, link)
				if ((uintptr_t)i == (p & ~(uintptr_t)1)) {
					if ((ev[k].events & EPOLLERR) && !i->cut)
						in_broken(i);
					else
						(void)in_pump(i);
					break;
				}
		} else {
			list_for_each (o, &rs->outs, link)
				if ((uintptr_t)o == p) {
					out_pump(o);
					break;
				}
		}
	}
}

int relays_new(struct relays **out, struct loop *l)
{
	struct relays *rs = calloc(1, sizeof(*rs));
	int r;

	if (!rs)
		return -ENOMEM;
	rs->loop = l;
	rs->scratch[0] = rs->scratch[1] = -1;
	list_init(&rs->outs);
	list_init(&rs->ins);
	rs->bytes = malloc(RELAY_CHUNK_MAX);
	rs->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (!rs->bytes || rs->epfd < 0 || pipe2(rs->scratch, O_CLOEXEC | O_NONBLOCK) < 0) {
		r = rs->bytes ? -errno : -ENOMEM;
		goto fail;
	}
	r = loop_fd_add(l, &rs->watch, rs->epfd, POLLIN, on_events);
	if (r < 0)
		goto fail;
	*out = rs;
	return 0;
fail:
	if (rs->epfd >= 0)
		(void)close(rs->epfd);
	if (rs->scratch[0] >= 0) {
		(void)close(rs->scratch[0]);
		(void)close(rs->scratch[1]);
	}
	free(rs->bytes);
	free(rs);
	return r;
}

void relays_free(struct relays *rs)
{
	if (!rs)
		return;
	CHECK(list_empty(&rs->outs) && list_empty(&rs->ins));
	loop_fd_del(rs->loop, &rs->watch);
	(void)close(rs->epfd);
	(void)close(rs->scratch[0]);
	(void)close(rs->scratch[1]);
	free(rs->bytes);
	free(rs);
}
