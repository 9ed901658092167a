/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place_ends.c - the pipes of an exec that leaves: each goes by a relay from here.
 *
 * But output that goes into a relay which ends here, for by two relays its last words would come
 * after its end, of which its home hears at once. On the node where that relay's pipe is it gets
 * the pipe itself: what was written here before it must have arrived by then, so its caller, who
 * stands still, waits for that; if nobody reads there it does not go, for what its parent there
 * does next would be read before what it has written. On any other node the same relay gets its far
 * end there, as in a move (pipe_moves.c), if nobody here has it too. If that takes too long, for
 * its owner does not know yet that the end is here, it is two relays after all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "cmd/pando-kernel/exec/place.h"

#define SETTLE_NS   (1 * NS_PER_S)
#define READ_NS     (4 * NS_PER_S) /* more, for `on`: it would be an error */
#define AGAIN_NS    (1 * NS_PER_MS)
#define CARRIED_MAX RELAY_CHUNK_MAX /* of bytes: a Run is one message */

static bool is_there(const struct placing *p, const Peer__Fd *f)
{
	return f->kind == PEER__FD_KIND__FD_OUTPUT && f->owner == p->site;
}

static bool comes_along(const struct placing *p, const Peer__Fd *f)
{
	return f->kind == PEER__FD_KIND__FD_OUTPUT && f->owner != NODE_NONE && f->owner != p->site;
}

/* Two descriptions of one end, or somebody else has it: it stays. */
static bool is_shared(struct placing *p, const Peer__Fd *f, int copy, const struct pipes_end *e)
{
	struct stat st;

	for (size_t i = 0; i < p->run.n_fds; i++) {
		if (p->fds[i] == f || !comes_along(p, p->fds[i]) || p->fds[i]->relay != e->id)
			continue;
		p->fds[i]->owner = NODE_NONE;
		p->fds[i]->relay = ++p->w->last_relay;
		return true;
	}
	return fstat(copy, &st) != 0 || pipes_other_user(p->w, st.st_ino, p->pid) != 0;
}

void place_end_describe(struct placing *p, Peer__Fd *f, int copy)
{
	unsigned acc = f->flags & O_ACCMODE;
	struct pipes_end e;

	f->kind = acc == O_RDONLY   ? PEER__FD_KIND__FD_INPUT
		  : acc == O_WRONLY ? PEER__FD_KIND__FD_OUTPUT
				    : PEER__FD_KIND__FD_NONE;
	if (acc != O_WRONLY || !pipes_find_end(p->w, copy, &e) ||
	    (e.home != p->site && is_shared(p, f, copy, &e)))
		return;
	f->owner = e.home;
	f->relay = e.id;
}

static int start(struct placing *p, size_t i)
{
	int fd = p->sources[i];

	p->sources[i] = -1;
	return pipes_home(p->w, p->fds[i]->relay, p->site, p->gpid, fd,
			  p->fds[i]->kind == PEER__FD_KIND__FD_OUTPUT);
}

int place_ends_start(struct placing *p)
{
	int r = 0, kept;

	/* All at once into the store: one wake-up of pando-init. */
	pid1_together(p->w->pid1);
	for (size_t i = 0; r == 0 && i < p->run.n_fds; i++) {
		const Peer__Fd *f = p->fds[i];

		if ((f->kind == PEER__FD_KIND__FD_INPUT || f->kind == PEER__FD_KIND__FD_OUTPUT) &&
		    !is_there(p, f) && !comes_along(p, f))
			r = start(p, i);
	}
	kept = pid1_settle(p->w->pid1);
	return r != 0 ? r : kept;
}

/* Its relay is not there any more, or nobody takes what is in it. */
static int by_two(struct placing *p, size_t i)
{
	p->fds[i]->owner = NODE_NONE;
	p->fds[i]->relay = ++p->w->last_relay;
	return start(p, i);
}

static void look(struct placing *p);

static void on_look(struct loop_timer *t)
{
	look(container_of(t, struct placing, again));
}

/* It is fit to go: all is where it is looked for, or can be carried. */
static bool is_ready(struct placing *p, size_t i)
{
	const Peer__Fd *f = p->fds[i];
	struct pipes_end e;

	if (is_there(p, f))
		return pipes_is_out(p->w, f->relay, p->site, p->upto[i]);
	return !comes_along(p, f) ||
	       (pipes_are_told(p->w, p->gpid) && pipes_find_end(p->w, p->sources[i], &e) &&
		e.len <= CARRIED_MAX);
}

/* From here on it is neither said nor heard anything of, until it is known who has it. */
static int carry(struct placing *p, size_t i)
{
	Peer__Fd *f = p->fds[i];
	struct pipes_end e;

	if (!pipes_hold_end(p->w, p->sources[i], p->gpid, &e))
		return -EAGAIN;
	f->start = e.start;
	f->data.data = malloc(e.len + 1);
	if (!f->data.data)
		return -ENOMEM;
	memcpy(f->data.data, e.bytes, e.len);
	f->data.len = e.len;
	return 0;
}

/* It has waited for long enough. */
static bool is_late(const struct placing *p, const Peer__Fd *f)
{
	uint64_t more_ns = is_there(p, f) && p->asked_for ? READ_NS : 0;

	return loop_now_ns(p->w->loop) >= p->ends_until_ns + more_ns;
}

static int give_up(struct placing *p, size_t i)
{
	if (!is_there(p, p->fds[i]))
		return by_two(p, i);
	p->why = "nobody there has read what it has written";
	return -EAGAIN;
}

static void look(struct placing *p)
{
	uint64_t again_ns = loop_now_ns(p->w->loop) + AGAIN_NS;
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->run.n_fds; i++) {
		if (is_ready(p, i))
			continue;
		if (!is_late(p, p->fds[i]) &&
		    loop_timer_set(p->w->loop, &p->again, again_ns, on_look) == 0)
			return;
		r = give_up(p, i);
	}
	for (size_t i = 0; r == 0 && i < p->run.n_fds; i++)
		if (comes_along(p, p->fds[i]))
			r = carry(p, i);
	p->ends_ready(p, r);
}

void place_ends_settle(struct placing *p, place_ends_fn ready)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->run.n_fds; i++) {
		const Peer__Fd *f = p->fds[i];

		if (is_there(p, f) && !pipes_mark(p->w, f->relay, p->site, &p->upto[i]))
			r = by_two(p, i);
	}
	if (r != 0) {
		ready(p, r);
		return;
	}
	p->ends_ready = ready;
	p->ends_until_ns = loop_now_ns(p->w->loop) + SETTLE_NS;
	look(p);
}
