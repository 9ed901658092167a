/* SPDX-License-Identifier: Apache-2.0 */
/* relay_in.c - a relay where the reader is. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/check.h"
#include "base/fault.h"
#include "kernel/ipc/relay_priv.h"

/*
 * A reader's pipe wakes its writers only when it was full. Taken bytes of one that was not are
 * found by looking, which nobody waits for: the writers' pipe has room then, unless small writes
 * filled its pages badly. So: soon after bytes were delivered, then ever more rarely.
 */
#define LOOK_FIRST_NS (200 * NS_PER_US)
#define LOOK_LAST_NS  (128 * NS_PER_MS)

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
		size_t left = relay_pipe_holds(i->stage[0]);
		ssize_t n;

		if (left == 0) {
			FAULT("relay.in.pushed");
			i->rec->offset = i->rec->next;
			relay_record_state(i->rec, RELAY_IDLE);
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

static int in_stage(struct relay_in *i, const uint8_t *bytes, const uint16_t *units, size_t count,
		    size_t len);
static int in_stage_queued(struct relay_in *i);
static void queue_clear(struct relay_in *i);

/* As in_push_stage(), and what has come meanwhile. */
static int in_push(struct relay_in *i)
{
	int r = in_push_stage(i);

	while (r == 0 && i->queued > 0) {
		r = in_stage_queued(i);
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
		lies = i->rec->next - relay_pipe_holds(i->stage[0]);
	return i->shared ? lies : lies - MIN(lies, (uint64_t)relay_pipe_holds(i->pipe));
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
	size_t lies = relay_pipe_holds(stage[0]);

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
			relay_record_state(rec, RELAY_STAGED);
		} else {
			int r = relay_pipe_drop(rs, stage[0], lies);

			if (r < 0)
				return r;
			relay_record_state(rec, RELAY_IDLE);
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
	queue_clear(i);
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

/* Not interrupted half way, as the stage has room for it. */
static int stage_write(struct relay_in *i, const uint8_t *bytes, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(i->stage[1], bytes + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

/* How much can be written at once: units that fill their buffers, and the one behind them. */
static size_t unit_run(const uint16_t **units, size_t *count)
{
	size_t n = 0;
	uint16_t unit;

	do {
		unit = *(*units)++;
		n += unit;
		*count -= 1;
	} while (unit == PIPE_BUF && *count > 0);
	return n;
}

/* @count 0: as it is. */
static int in_stage(struct relay_in *i, const uint8_t *bytes, const uint16_t *units, size_t count,
		    size_t len)
{
	int r = 0;

	i->rec->len = (uint32_t)len;
	i->rec->next = i->rec->offset + len;
	relay_record_state(i->rec, RELAY_STAGING);
	FAULT("relay.in.staging");
	while (r == 0 && len > 0) {
		size_t n = count == 0 ? len : unit_run(&units, &count);

		r = stage_write(i, bytes, n);
		bytes += n;
		len -= n;
		FAULT("relay.in.staging.units");
	}
	if (r < 0)
		return r;
	FAULT("relay.in.staged");
	relay_record_state(i->rec, RELAY_STAGED);
	return 0;
}

/* ---- what waits in our memory ---- */
/*
 * @count units more, of @len bytes. Two that fit into one buffer become one: so no more than two
 * lie in PIPE_BUF bytes.
 */
static void queue_units(struct relay_in *i, const uint16_t *units, size_t count)
{
	for (size_t k = 0; k < count; k++) {
		uint16_t *last = i->unit_count > 0 ? &i->units[i->unit_count - 1] : NULL;

		if (last && *last + units[k] <= PIPE_BUF) {
			*last = (uint16_t)(*last + units[k]);
		} else {
			CHECK(i->unit_count < ARRAY_LEN(i->units));
			i->units[i->unit_count++] = units[k];
		}
	}
}

static void queue_clear(struct relay_in *i)
{
	i->queued = i->queue_at = 0;
	i->unit_count = 0;
}

static int queue_add(struct relay_in *i, const uint8_t *bytes, const uint16_t *units, size_t count,
		     size_t len)
{
	if (!i->queue)
		i->queue = malloc(RELAY_WINDOW_MAX);
	if (!i->queue || len > RELAY_WINDOW_MAX - i->queued)
		return -ENOBUFS;
	if (i->queue_at + i->queued + len > RELAY_WINDOW_MAX) {
		memmove(i->queue, i->queue + i->queue_at, i->queued);
		i->queue_at = 0;
	}
	memcpy(i->queue + i->queue_at + i->queued, bytes, len);
	i->queued += len;
	queue_units(i, units, count);
	return 0;
}

/* As much of it as the stage holds: each unit has a buffer of its own there. */
static int in_stage_queued(struct relay_in *i)
{
	const uint8_t *bytes = i->queue + i->queue_at;
	size_t len = 0, count = 0;
	int r;

	while (count < i->unit_count && count < RELAY_UNITS_MAX)
		len += i->units[count++];
	if (i->unit_count == 0)
		len = MIN(i->queued, (size_t)RELAY_CHUNK_MAX);
	r = in_stage(i, bytes, i->units, count, len);
	i->queued -= len;
	i->queue_at = i->queued > 0 ? i->queue_at + len : 0;
	i->unit_count -= count;
	memmove(i->units, i->units + count, i->unit_count * sizeof(i->units[0]));
	return r;
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

/* Of bytes that came as they are: what fills buffers, or is one. */
static size_t units_of_data(uint16_t units[RELAY_UNITS_MAX], size_t len)
{
	size_t n = 0;

	for (; len > 0; len -= MIN(len, (size_t)PIPE_BUF))
		units[n++] = (uint16_t)MIN(len, (size_t)PIPE_BUF);
	return n;
}

/* What lies in the stage is delivered first: what comes meanwhile waits in our memory. */
static int in_take(struct relay_in *i, const uint8_t *bytes, const uint16_t *units, size_t count,
		   size_t len)
{
	int r = 0;

	if (i->rec->state == RELAY_IDLE && i->queued == 0)
		r = in_stage(i, bytes, units, count, len);
	else if (queue_add(i, bytes, units, count, len) < 0)
		in_refuse(i);
	else
		i->refused = false;
	if (r < 0)
		return r;
	i->look_ns = LOOK_FIRST_NS;
	return in_pump(i);
}

static int in_on_data(struct relay_in *i, uint64_t offset, const uint8_t *bytes, size_t len)
{
	uint64_t want = in_want(i), skip = want - offset;
	uint16_t units[RELAY_UNITS_MAX];
	size_t count = 0;

	if (len > RELAY_CHUNK_MAX)
		return -EPROTO;
	if (offset > want) {
		in_refuse(i);
		return in_pump(i);
	}
	if (skip >= len)
		return 0; /* all of it is known */
	if (i->shared)
		count = units_of_data(units, len - (size_t)skip);
	return in_take(i, bytes + skip, units, count, len - (size_t)skip);
}

/* Puts the units one behind the other into rs->bytes; returns how many they are, or -EPROTO. */
static int units_parse(struct relay_in *i, const uint8_t *p, size_t left,
		       uint16_t units[RELAY_UNITS_MAX], size_t *len)
{
	int count = 0;

	*len = 0;
	while (left > 0) {
		size_t n = left < UNIT_HEAD ? 0 : (size_t)(p[0] | p[1] << 8);

		if (n == 0 || n > PIPE_BUF || n > left - UNIT_HEAD || count == RELAY_UNITS_MAX)
			return -EPROTO;
		memcpy(i->rs->bytes + *len, p + UNIT_HEAD, n);
		units[count++] = (uint16_t)n;
		*len += n;
		p += UNIT_HEAD + n;
		left -= UNIT_HEAD + n;
	}
	return count;
}

/* As in_on_data(). A unit of which a part is known ends where that ended. */
static int in_on_units(struct relay_in *i, uint64_t offset, const uint8_t *bytes, size_t size)
{
	uint16_t all[RELAY_UNITS_MAX] = { 0 }, *units = all;
	uint64_t want = in_want(i), skip = want - offset;
	size_t len, left;
	int count = units_parse(i, bytes, size, all, &len);

	if (count < 0 || !i->shared)
		return -EPROTO;
	if (offset > want) {
		in_refuse(i);
		return in_pump(i);
	}
	if (skip >= len)
		return 0;
	for (left = (size_t)skip; count > 1 && left >= *units; count--)
		left -= *units++;
	*units = (uint16_t)(*units - left);
	return in_take(i, i->rs->bytes + skip, units, (size_t)count, len - (size_t)skip);
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
	case RELAY_UNITS:
		return in_on_units(i, offset, bytes, len);
	default:
		return -EPROTO;
	}
}

void relay_in_event(struct relay_in *i, bool err)
{
	if (err && !i->cut)
		in_broken(i);
	else
		(void)in_pump(i);
}
