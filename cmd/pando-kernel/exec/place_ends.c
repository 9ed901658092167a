/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place_ends.c - the pipes of an exec that leaves: each goes by a relay from here.
 *
 * But one that goes on to the node where the pipe is that its output goes to, by a relay that ends
 * here: there it gets that pipe itself. By two relays, there and back, its last words would come
 * after its end, which its parent sees at once. What was written here before it must have arrived
 * by then: its caller, who stands still, waits for that. If nobody reads it, it is two relays after
 * all.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/log.h"
#include "cmd/pando-kernel/exec/place.h"

#define SETTLE_NS (1 * NS_PER_S)
#define AGAIN_NS  (1 * NS_PER_MS)

void place_end_describe(struct placing *p, Peer__Fd *f, int copy)
{
	unsigned acc = f->flags & O_ACCMODE;
	struct pipes_end e;

	f->kind = acc == O_RDONLY   ? PEER__FD_KIND__FD_INPUT
		  : acc == O_WRONLY ? PEER__FD_KIND__FD_OUTPUT
				    : PEER__FD_KIND__FD_NONE;
	if (acc != O_WRONLY || !pipes_find_end(p->w, copy, &e) || e.home != p->site)
		return;
	f->owner = e.home;
	f->relay = e.id;
}

static bool is_there(const struct placing *p, const Peer__Fd *f)
{
	return f->kind == PEER__FD_KIND__FD_OUTPUT && f->owner == p->site;
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
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->run.n_fds; i++) {
		const Peer__Fd *f = p->fds[i];

		if ((f->kind == PEER__FD_KIND__FD_INPUT || f->kind == PEER__FD_KIND__FD_OUTPUT) &&
		    !is_there(p, f))
			r = start(p, i);
	}
	return r;
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

static void look(struct placing *p)
{
	uint64_t now_ns = loop_now_ns(p->w->loop);
	bool late = now_ns >= p->ends_until_ns;
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->run.n_fds; i++) {
		const Peer__Fd *f = p->fds[i];

		if (!is_there(p, f) || pipes_is_out(p->w, f->relay, p->site, p->upto[i]))
			continue;
		if (!late && loop_timer_set(p->w->loop, &p->again, now_ns + AGAIN_NS, on_look) == 0)
			return;
		r = by_two(p, i);
	}
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
