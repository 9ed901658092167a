/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work for the channels: requests with and without a key, deadlines, cancellations, one-way
 * messages, streams that are read slowly or broken off. A request with a key stays in its asker's
 * store until it is answered, so that a successor asks again.
 */
#include "sim/calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define PENDING_MAX 40
#define BURST       30 /* more than a server keeps replies or takes requests for */
#define BURST_OVER  20 /* of these are cancelled at once */
#define CHANCES     100

static void *grow(void *array, uint32_t count, uint32_t *cap, size_t each)
{
	if (count < *cap)
		return array;
	*cap = *cap ? *cap * 2 : 256;
	array = realloc(array, *cap * each);
	CHECK(array != NULL);
	memset((char *)array + count * each, 0, (*cap - count) * each);
	return array;
}

struct calls *calls_new(struct sim *s)
{
	struct calls *c = calloc(1, sizeof(*c));

	(void)s;
	CHECK(c != NULL);
	return c;
}

void calls_free(struct calls *c)
{
	for (uint32_t i = 0; i < c->flow_count; i++) {
		body_put(c->flows[i]->parcel);
		free(c->flows[i]);
	}
	free(c->ops);
	free(c->attempts);
	free(c->flows);
	free(c->log);
	free(c);
}

static uint64_t now_of(struct sim *s, const struct link_end *e)
{
	return world_local(&s->w, e->node);
}

/* ---- asking ---- */

static void on_cancel(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	const struct attempt *t = &s->calls->attempts[a];
	struct link_end *e = link_end_of(s, LINK_KERNELS, node, (node_id)b);

	(void)payload;
	if (t->done || !e->core || e->life != t->life)
		return;
	link_cancel(s, e, t->id);
}

static void *cookie_of(uint32_t attempt)
{
	return (void *)(uintptr_t)(((uint64_t)attempt + 1) << 1); /* even: not a body's number */
}

/* @limit_ns: for the answer; 0: none. */
static bool op_ask(struct sim *s, uint32_t no, uint64_t limit_ns)
{
	struct calls *c = s->calls;
	struct op *o = &c->ops[no];
	struct link_end *e = link_end_of(s, LINK_KERNELS, o->from, o->to);
	struct rpc_ask ask = { .method = LINK_WORK, .key = o->key, .len = 1 };
	struct attempt *t;

	if (!e->core)
		return false;
	c->attempts = grow(c->attempts, c->attempt_count, &c->attempt_cap, sizeof(*t));
	t = &c->attempts[c->attempt_count];
	*t = (struct attempt){
		.op = no, .number = o->attempts + 1, .life = e->life, .asked_ns = s->w.now_ns
	};
	ask.body = body_number((uint64_t)no << 8 | (t->number & 0xff));
	ask.cookie = cookie_of(c->attempt_count);
	if (limit_ns) {
		ask.deadline_ns = now_of(s, e) + limit_ns;
		t->limit_ns = s->w.now_ns + limit_ns;
	}
	if (rpc_core_request(e->core, &ask, now_of(s, e), &t->id) < 0)
		return false;
	o->attempts++;
	if (rand_chance(&s->w.rng[RNG_CALLS], 1, 8))
		world_in(&s->w, rand_below(&s->w.rng[RNG_CALLS], 300 * NS_PER_MS), on_cancel,
			 "cancel", o->from, c->attempt_count, o->to, NULL);
	c->attempt_count++;
	s->stats.asked++;
	link_take(s, e);
	return true;
}

static uint32_t op_new(struct sim *s, node_id from, node_id to, bool keyed)
{
	struct calls *c = s->calls;
	struct op *o;

	c->ops = grow(c->ops, c->op_count, &c->op_cap, sizeof(*o));
	o = &c->ops[c->op_count];
	*o = (struct op){ .from = from, .to = to, .pending = keyed, .asked_ns = s->w.now_ns };
	o->key = keyed ? (uint64_t)1 << 62 | (c->op_count + 1) : 0;
	return c->op_count++;
}

static uint32_t pending_count(const struct sim *s, node_id node)
{
	const struct calls *c = s->calls;
	uint32_t n = 0;

	for (uint32_t i = c->op_count > 512 ? c->op_count - 512 : 0; i < c->op_count; i++)
		n += c->ops[i].pending && c->ops[i].from == node;
	return n;
}

/* The writer thinks better of it; its next stream takes the same place. */
static void flow_abort(struct sim *s, struct link_end *e, struct flow *f)
{
	if (!f || !f->tx)
		return;
	rpc_str_close(e->core, f->tx, -EPIPE);
	f->tx = NULL;
	link_take(s, e);
}

/* @what: below CHANCES. */
static void ask_something(struct sim *s, struct knode *n, node_id to, uint64_t what)
{
	struct rand *r = &s->w.rng[RNG_CALLS];
	struct link_end *e = link_end_of(s, LINK_KERNELS, n->id, to);
	uint64_t limit_ns = rand_chance(r, 1, 4) ? (100 + rand_below(r, 3000)) * NS_PER_MS : 0;

	if (what < 55) {
		if (pending_count(s, n->id) < PENDING_MAX)
			(void)op_ask(s, op_new(s, n->id, to, true), limit_ns);
	} else if (what < 75) {
		/* Asked once: where frames are lost, only its deadline ends it. */
		limit_ns = link_raw(s) && !limit_ns ? 2 * NS_PER_S : limit_ns;
		(void)op_ask(s, op_new(s, n->id, to, false), limit_ns);
	} else if (what < 85) {
		uint32_t no = op_new(s, n->id, to, false);

		if (rpc_core_oneway(e->core, LINK_NOTE, body_number((uint64_t)no << 8), 1) == 0)
			link_take(s, e);
	} else {
		if (rand_chance(r, 1, 8))
			flow_abort(s, e, calls_flow(s, e, 4 * LINK_WINDOW, NULL));
		(void)calls_flow(s, e, 1 + rand_below(r, 4 * LINK_WINDOW), NULL);
	}
}

/* Much of one kind. What is cancelled keeps the server busy all the same. */
static void ask_burst(struct sim *s, struct knode *n, node_id to)
{
	uint64_t what = rand_below(&s->w.rng[RNG_CALLS], CHANCES);
	struct calls *c = s->calls;

	for (uint32_t i = 0; i < BURST; i++) {
		uint32_t before = c->attempt_count;

		ask_something(s, n, to, what);
		if (i < BURST_OVER && c->attempt_count > before)
			on_cancel(&s->w, n->id, before, to, NULL);
	}
}

static void forget_old(struct sim *s, const struct knode *n)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		struct link_end *e = link_end_of(s, LINK_KERNELS, n->id, id);
		void *body;

		while (e->core && rpc_scope_expire(e->scope, now_of(s, e), &body)) {
			e->kept--;
			body_put(body);
		}
	}
}

static void on_ask(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct rand *r = &w->rng[RNG_CALLS];
	struct knode *n = &s->nodes[node];
	node_id to = 1 + (node_id)rand_below(r, s->conf.nodes);

	(void)a;
	(void)b;
	if (!sim_guard_kernel(s, node, payload))
		return;
	forget_old(s, n);
	if (to != node && !s->quiet && rand_chance(r, 1, 25))
		ask_burst(s, n, to);
	else if (to != node && !s->quiet)
		ask_something(s, n, to, rand_below(r, CHANCES));
	sim_later(s, n, (200 + rand_below(r, 1300)) * NS_PER_MS, on_ask, "ask", 0, 0);
}

/* What its predecessor asked and has no answer to, it asks again. */
void calls_begin(struct sim *s, struct knode *n)
{
	for (uint32_t i = 0; i < s->calls->op_count; i++) {
		struct op *o = &s->calls->ops[i];

		if (!o->pending || o->from != n->id)
			continue;
		if (s->w.now_ns - o->asked_ns >= LINK_KEEP_NS / 2)
			o->pending = false; /* nobody can know any more */
		else
			(void)op_ask(s, i, o->asked_ns + LINK_KEEP_NS / 2 - s->w.now_ns);
	}
	sim_later(s, n, 100 * NS_PER_MS, on_ask, "ask", 0, 0);
}

void calls_note(struct sim *s, struct knode *n, node_id to)
{
	(void)op_new(s, n->id, to, true);
}

void calls_crash(struct sim *s, node_id node)
{
	for (uint32_t i = 0; i < s->calls->op_count; i++) {
		if (s->calls->ops[i].from == node)
			s->calls->ops[i].pending = false;
	}
}

void calls_over(struct sim *s, const struct link_end *e)
{
	struct calls *c = s->calls;

	for (uint32_t i = 0; i < c->attempt_count; i++) {
		if (c->attempts[i].life == e->life)
			c->attempts[i].done = true;
	}
	for (uint32_t i = 0; i < c->flow_count; i++) {
		struct flow *f = c->flows[i];

		if (f->tx_life == e->life)
			f->tx = NULL;
		if (f->rx_life == e->life)
			f->rx = NULL;
	}
}

static void on_done(struct sim *s, const struct link_news *x)
{
	struct attempt *t = &s->calls->attempts[((uintptr_t)x->fx.cookie >> 1) - 1];
	struct op *o = &s->calls->ops[t->op];

	check_answered(s, t, x->fx.err, x->fx.frame.body);
	t->done = true;
	/* Whatever came of it: an answer, or nobody can know. */
	o->pending = false;
	s->stats.answered += x->fx.err == 0;
}

/* ---- doing ---- */

struct served {
	struct link_end *end;
	uint64_t life;
	struct rpc_in *in;
	uint32_t op;
	uint32_t execution;
	int err;
};

static void on_served(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct served v = *(struct served *)payload;
	bool kept, keyed;

	(void)node;
	(void)a;
	(void)b;
	world_put(payload);
	if (!v.end->core || v.end->life != v.life)
		return;
	keyed = rpc_in_has_key(v.in);
	(void)rpc_in_reply(v.in, v.err, body_number((uint64_t)v.op << 16 | v.execution), 1,
			   now_of(s, v.end), &kept);
	if (keyed) {
		v.end->running--;
		v.end->kept += kept;
	}
	link_take(s, v.end);
}

static void op_execute(struct sim *s, struct op *o, uint32_t no, uint32_t attempt, uint64_t life)
{
	struct calls *c = s->calls;

	check_executed(s, o, no, attempt, life);
	o->executed++;
	o->exec_life = life;
	o->exec_attempt = attempt;
	c->log = grow(c->log, c->log_count, &c->log_cap, sizeof(*c->log));
	c->log[c->log_count++] = (struct execution){ no, life };
	s->stats.executed++;
}

/* Half at once; a few take longer than anybody waits. */
static uint64_t service_ns(struct rand *r)
{
	if (rand_chance(r, 1, 2))
		return 1000;
	return rand_below(r, rand_chance(r, 1, 5) ? 8 * NS_PER_S : 400 * NS_PER_MS);
}

static void on_work(struct sim *s, const struct link_news *x)
{
	struct rand *r = &s->w.rng[RNG_CALLS];
	uint64_t v = body_value(x->fx.frame.body);
	struct op *o = &s->calls->ops[v >> 8];
	struct served *d = world_alloc(sizeof(*d));

	op_execute(s, o, (uint32_t)(v >> 8), (uint32_t)(v & 0xff), x->life);
	fault_worked(s, &s->nodes[x->end->node], x->end->peer);
	o->err = rand_chance(r, 1, 8) ? -EDOM : 0;
	*d = (struct served){ x->end, x->life, x->fx.in, (uint32_t)(v >> 8), o->executed, o->err };
	x->end->running += rpc_in_has_key(x->fx.in);
	world_in(&s->w, service_ns(r), on_served, "served", x->end->node, v >> 8, 0, d);
}

static void on_note(struct sim *s, const struct link_news *x)
{
	uint64_t no = body_value(x->fx.frame.body) >> 8;

	op_execute(s, &s->calls->ops[no], (uint32_t)no, 1, x->life);
}

/* ---- streams ---- */

static void flow_write(struct sim *s, struct link_end *e, struct flow *f)
{
	struct rand *r = &s->w.rng[RNG_CALLS];

	while (f->tx && f->written < f->total && rpc_str_credit(f->tx) > 0) {
		uint64_t len = MIN(rpc_str_credit(f->tx), f->total - f->written);

		uint64_t some = f->parcel ? len : 1 + rand_below(r, 16384);

		len = MIN(len, some);
		check_credit(s, f, (uint32_t)len);
		rpc_str_write(e->core, f->tx, body_number((uint64_t)f->no << 32 | f->written),
			      (uint32_t)len);
		f->written += len;
		link_take(s, e);
	}
	if (f->tx && f->written == f->total) {
		f->finished = true;
		rpc_str_close(e->core, f->tx, 0);
		f->tx = NULL;
		link_take(s, e);
	} else if (f->tx) {
		rpc_str_want(f->tx);
	}
}

struct flow *calls_flow(struct sim *s, struct link_end *e, uint64_t bytes, struct parcel *p)
{
	struct calls *c = s->calls;
	struct flow *f = calloc(1, sizeof(*f));
	void *open = p ? (void *)p : body_number(c->flow_count);

	CHECK(f != NULL);
	*f = (struct flow){ .no = c->flow_count,
			    .from = e->node,
			    .to = e->peer,
			    .tx_life = e->life,
			    .total = bytes };
	if (p)
		p->seq = c->flow_count;
	if (rpc_core_open(e->core, p ? LINK_IMAGE : LINK_BYTES, open, 1, f, &f->tx) < 0) {
		free(f);
		return NULL;
	}
	f->parcel = world_get(p);
	c->flows = grow(c->flows, c->flow_count, &c->flow_cap, sizeof(*c->flows));
	c->flows[c->flow_count++] = f;
	link_take(s, e);
	flow_write(s, e, f);
	return f;
}

static void on_opened(struct sim *s, const struct link_news *x)
{
	const void *body = x->fx.frame.body;
	uint64_t no = body_is_number(body) ? body_value(body) : ((const struct parcel *)body)->seq;
	struct flow *f = s->calls->flows[no];

	f->rx = x->fx.stream;
	f->rx_life = x->life;
	f->stream_id = x->fx.frame.id;
	rpc_str_set_cookie(f->rx, f);
	s->stats.streams++;
}

static void flow_consume(struct sim *s, struct link_end *e, struct flow *f, uint64_t len)
{
	f->consumed += len;
	rpc_str_consumed(e->core, f->rx, len);
	link_take(s, e);
}

static void on_consume(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct flow *f = s->calls->flows[a];

	(void)node;
	(void)payload;
	if (f->rx)
		flow_consume(s, link_end_of(s, LINK_KERNELS, f->to, f->from), f, b);
}

static void on_data(struct sim *s, const struct link_news *x)
{
	struct rand *r = &s->w.rng[RNG_CALLS];
	struct flow *f = x->fx.cookie;
	uint32_t len = x->fx.frame.len;

	if (!f->rx)
		return; /* broken off here while it was on the way */
	check_bytes(s, f, &x->fx.frame);
	f->delivered += len;
	if (f->parcel || rand_chance(r, 1, 2)) {
		flow_consume(s, x->end, f, len);
	} else if (rand_chance(r, 1, 60)) {
		rpc_str_close(x->end->core, f->rx, -EPIPE);
		f->rx = NULL;
		link_take(s, x->end);
	} else {
		world_in(&s->w, rand_below(r, 300 * NS_PER_MS), on_consume, "read", f->to, f->no,
			 len, NULL);
	}
}

static void on_closed(struct sim *s, const struct link_news *x)
{
	struct flow *f = x->fx.cookie;

	if (!f)
		return; /* closed before we could give it a cookie */
	if (x->end->node == f->from) {
		const struct kmsg *k =
			f->parcel ? pod_carried(f->parcel->fn, f->parcel->payload) : NULL;

		f->tx = NULL;
		if (k && !f->finished)
			moves_image_failed(s, &s->nodes[f->from], k);
		return;
	}
	f->rx = NULL;
	if (x->fx.err != 0)
		return;
	check_whole(s, f);
	if (f->parcel)
		f->parcel->fn(&s->w, f->to, f->parcel->a, f->from, world_get(f->parcel->payload));
}

static uint32_t end_of(const struct rpc_fx *fx)
{
	bool closed = fx->kind == RPC_FX_CLOSED;

	switch (fx->err) {
	case 0:
		return closed ? COV_CLOSED_WHOLE : COV_DONE;
	case -ETIMEDOUT:
		return COV_TIMED_OUT;
	case -ECANCELED:
		return COV_CANCELED;
	case -ECONNRESET:
		return closed ? COV_CLOSED_RESET : COV_RESET;
	case -EBUSY:
		return closed ? COV_CLOSED_BROKEN : COV_BUSY;
	case -EIO:
		return closed ? COV_CLOSED_GAP : COV_FAILED;
	default:
		return closed ? COV_CLOSED_BROKEN : COV_FAILED;
	}
}

void calls_on_news(struct sim *s, const struct link_news *x)
{
	if (s->cov && (x->fx.kind == RPC_FX_DONE || x->fx.kind == RPC_FX_CLOSED))
		s->cov->rpc_end[end_of(&x->fx)]++;
	switch (x->fx.kind) {
	case RPC_FX_DELIVER:
		on_work(s, x);
		break;
	case RPC_FX_ONEWAY:
		on_note(s, x);
		break;
	case RPC_FX_DONE:
		on_done(s, x);
		break;
	case RPC_FX_OPENED:
		on_opened(s, x);
		break;
	case RPC_FX_DATA:
		on_data(s, x);
		break;
	case RPC_FX_WRITABLE:
		flow_write(s, x->end, x->fx.cookie);
		break;
	case RPC_FX_CLOSED:
		on_closed(s, x);
		break;
	default:
		CHECK(!"news that nobody is told");
	}
}
