/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkers of the channels, from end to end: they look at what was asked, done, written and
 * delivered.
 *
 *	C1  work with a key is done at most once in one life of its server, an asking in all lives
 *	C2  an asking ends once, and with what was done for it
 *	C3  no more is written than the reader has read and a window
 *	C4  a stream's bytes arrive once and in order; one that ends well is whole
 */
#include "sim/calls.h"

#include <errno.h>

/* With a way to the peer: its keys may be taken for as long as a reply is kept, then it works. */
#define OPEN_MAX_NS (LINK_KEEP_NS + 20 * NS_PER_S)

void check_executed(struct sim *s, const struct op *o, uint32_t no, uint32_t attempt, uint64_t life)
{
	s->w.stats.checks++;
	if (o->executed > 0 && o->exec_life == life)
		world_violate(&s->w, "C1", "n%u does work %u of n%u twice in one life", o->to, no,
			      o->from);
	if (o->executed > 0 && (o->key == 0 || o->exec_attempt == attempt))
		world_violate(&s->w, "C1", "work %u, asked once by n%u, is done twice by n%u", no,
			      o->from, o->to);
}

void check_answered(struct sim *s, const struct attempt *a, int err, const void *body)
{
	const struct op *o = &s->calls->ops[a->op];
	bool mine = o->executed > 0 && (o->key != 0 || o->exec_attempt == a->number);

	s->w.stats.checks++;
	if (a->done)
		world_violate(&s->w, "C2", "n%u is answered twice about work %u", o->from, a->op);
	if ((err == 0 || err == -EDOM) && (!mine || err != o->err))
		world_violate(&s->w, "C2",
			      "n%u gets %d for work %u, which gave %d in %u executions", o->from,
			      err, a->op, o->err, o->executed);
	if (err == 0 && body_value(body) != ((uint64_t)a->op << 16 | o->executed))
		world_violate(&s->w, "C2", "n%u gets a result of work %u that is not the last",
			      o->from, a->op);
	if (err == -EBUSY && o->executed > 0 && o->exec_attempt == (a->number & 0xff))
		world_violate(&s->w, "C1", "n%u is told that work %u was refused; it was done",
			      o->from, a->op);
}

void check_credit(struct sim *s, const struct flow *f, uint32_t len)
{
	unsigned long long end = f->written + len;

	s->w.stats.checks++;
	if (end - f->consumed > LINK_WINDOW)
		world_violate(&s->w, "C3", "n%u writes up to %llu to n%u, which has read %llu",
			      f->from, end, f->to, (unsigned long long)f->consumed);
}

void check_bytes(struct sim *s, const struct flow *f, const struct rpc_frame *frame)
{
	s->w.stats.checks++;
	if (frame->key != f->delivered || f->delivered + frame->len > f->written ||
	    body_value(frame->body) != ((uint64_t)f->no << 32 | f->delivered))
		world_violate(&s->w, "C4",
			      "n%u reads %u bytes at %llu from n%u, wanted those at %llu", f->to,
			      frame->len, (unsigned long long)frame->key, f->from,
			      (unsigned long long)f->delivered);
}

void check_whole(struct sim *s, const struct flow *f)
{
	s->w.stats.checks++;
	if (!f->finished || f->delivered != f->total)
		world_violate(&s->w, "C4",
			      "a stream of %llu bytes from n%u ends well at n%u after %llu",
			      (unsigned long long)f->total, f->from, f->to,
			      (unsigned long long)f->delivered);
}

static void recount_executions(struct sim *s)
{
	const struct calls *c = s->calls;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < c->op_count; i++)
		sum += c->ops[i].executed;
	for (uint32_t i = 0; i < c->log_count; i++) {
		const struct op *o = &c->ops[c->log[i].op];

		if (o->executed == 1 && o->exec_life != c->log[i].life)
			world_violate(&s->w, "C1", "work %u has been done in two lives",
				      c->log[i].op);
	}
	s->w.stats.checks++;
	if (sum != c->log_count)
		world_violate(&s->w, "C1", "%llu executions are counted, %u were logged",
			      (unsigned long long)sum, c->log_count);
}

/* Since when both ends are on one connection that nothing cuts; now, if they are not. */
static uint64_t joined_ns(struct sim *s, const struct link_end *e)
{
	const struct link_end *peer = link_end_of(s, LINK_KERNELS, e->peer, e->node);
	const struct world *w = &s->w;

	if (e->conn == 0 || peer->conn != e->conn ||
	    !link_carries(s, LINK_KERNELS, e->node, e->peer) || w->cut[e->node][e->peer] ||
	    w->cut[e->peer][e->node])
		return w->now_ns;
	return MAX(MAX(e->up_ns, peer->up_ns),
		   MAX(w->cut_ns[e->node][e->peer], w->cut_ns[e->peer][e->node]));
}

/*
 * When asking @a must be over. What has no way to its peer waits for one, for ever if need be; the
 * run ends with three minutes in which nothing fails, and then all are over (check_calls_end).
 */
static uint64_t over_ns(struct sim *s, const struct attempt *a)
{
	const struct op *o = &s->calls->ops[a->op];

	if (a->limit_ns)
		return a->limit_ns + NS_PER_S;
	return MAX(a->asked_ns, joined_ns(s, link_end_of(s, LINK_KERNELS, o->from, o->to))) +
	       OPEN_MAX_NS;
}

static void recount_attempts(struct sim *s)
{
	for (uint32_t i = 0; i < s->calls->attempt_count; i++) {
		const struct attempt *a = &s->calls->attempts[i];

		if (a->done)
			continue;
		s->w.stats.checks++;
		if (s->w.now_ns > over_ns(s, a))
			world_violate(&s->w, "C2", "n%u was never told what came of work %u",
				      s->calls->ops[a->op].from, a->op);
	}
}

/* What was written and has not arrived is on the wire, where wires are in order. */
static void recount_flow(struct sim *s, const struct flow *f)
{
	const struct link_end *tx = link_end_of(s, LINK_KERNELS, f->from, f->to);
	const struct link_end *rx = link_end_of(s, LINK_KERNELS, f->to, f->from);
	uint64_t wire;

	if (f->tx && f->written - f->consumed > LINK_WINDOW)
		world_violate(&s->w, "C3", "%llu bytes from n%u to n%u are not read yet",
			      (unsigned long long)(f->written - f->consumed), f->from, f->to);
	if (link_raw(s) || !f->tx || !f->rx || tx->conn == 0 || tx->conn != rx->conn)
		return;
	wire = link_bytes_under_way(s, tx, f->stream_id);
	s->w.stats.checks++;
	if (link_carries(s, LINK_KERNELS, f->from, f->to) && f->written - f->delivered != wire)
		world_violate(&s->w, "C4",
			      "%llu bytes were written to n%u and not read, %llu are under way",
			      (unsigned long long)(f->written - f->delivered), f->to,
			      (unsigned long long)wire);
}

static void recount_scope(struct sim *s, const struct link_end *e)
{
	if (!e->core)
		return;
	s->w.stats.checks++;
	if (rpc_scope_used(e->scope) != e->running + e->kept)
		world_violate(&s->w, "C1",
			      "n%u has %u keys of n%u, but %u in execution and %u kept", e->node,
			      rpc_scope_used(e->scope), e->peer, e->running, e->kept);
}

void check_calls_recount(struct sim *s)
{
	recount_executions(s);
	recount_attempts(s);
	for (uint32_t i = 0; i < s->calls->flow_count; i++) {
		if (s->calls->flows[i]->tx || s->calls->flows[i]->rx)
			recount_flow(s, s->calls->flows[i]);
	}
	for (node_id a = 1; a <= s->conf.nodes; a++) {
		for (node_id b = 1; b <= s->conf.nodes; b++)
			recount_scope(s, link_end_of(s, LINK_KERNELS, a, b));
	}
}

void check_calls_end(struct sim *s)
{
	for (uint32_t i = 0; i < s->calls->attempt_count; i++) {
		if (!s->calls->attempts[i].done)
			world_violate(&s->w, "P1", "work %u is still asked for",
				      s->calls->attempts[i].op);
	}
	for (uint32_t i = 0; i < s->calls->flow_count; i++) {
		const struct flow *f = s->calls->flows[i];

		if (f->tx || f->rx)
			world_violate(&s->w, "P1", "a stream from n%u to n%u is still open",
				      f->from, f->to);
	}
	for (node_id a = 1; a <= s->conf.nodes; a++) {
		for (node_id b = 1; b <= s->conf.nodes; b++) {
			const struct link_end *e = link_end_of(s, LINK_KERNELS, a, b);

			s->w.stats.checks++;
			if (e->core && (e->kept > 0 || e->running > 0))
				world_violate(&s->w, "P1", "n%u still keeps %u replies for n%u", a,
					      e->kept + e->running, b);
		}
	}
}
