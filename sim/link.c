/* SPDX-License-Identifier: Apache-2.0 */
/* Ends of channels: their lives, their connections, what comes out of their cores. */
#include "sim/link_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define SILENCE_NS (3 * NS_PER_S) /* a dead host is noticed after at least that */

bool link_raw(const struct sim *s)
{
	return s->conf.seed % 2 == 0;
}

void body_get(void *body)
{
	if (body && !body_is_number(body))
		world_get(body);
}

static void parcel_fini(void *p)
{
	world_put(((struct parcel *)p)->payload);
}

void body_put(void *body)
{
	if (body && !body_is_number(body))
		world_put(body);
}

struct link_end *link_end_of(struct sim *s, enum link_level level, node_id node, node_id peer)
{
	return &s->links->end[level][node][peer];
}

uint64_t link_starved_ns(const struct sim *s, enum link_level level, node_id node)
{
	uint64_t until_ns = s->nodes[node].stalled_ns;

	return level == LINK_PODS && until_ns > s->w.now_ns ? until_ns : 0;
}

static void link_dial_soon(struct sim *s, enum link_level level, node_id a, node_id b);

/* ---- what comes out of a core ---- */

static void told_forget(struct link_end *e, uint64_t key)
{
	for (unsigned i = 0; i < LINK_CALLS_MAX; i++) {
		if (e->told[i] == key)
			e->told[i] = 0;
	}
}

static void parcel_deliver(struct sim *s, const struct link_end *e, const struct parcel *p)
{
	p->fn(&s->w, e->node, p->a, e->peer, world_get(p->payload));
}

/* A parcel that is told: whoever is given it answers at once, or it does not concern him. */
static void told_deliver(struct sim *s, const struct link_news *x)
{
	struct links *k = s->links;
	bool kept;

	x->end->running++;
	k->telling = x->end;
	k->telling_in = x->fx.in;
	parcel_deliver(s, x->end, x->fx.frame.body);
	k->telling = NULL;
	if (!k->telling_in || !x->end->core || x->end->life != x->life)
		return;
	x->end->running--;
	x->end->kept++;
	(void)rpc_in_reply(x->fx.in, -ESTALE, body_number(0), 1, world_local(&s->w, x->end->node),
			   &kept);
	link_take(s, x->end);
}

static void parcel_in(struct sim *s, const struct link_news *x)
{
	const struct parcel *p = x->fx.frame.body;

	s->w.stats.checks++;
	if (!link_raw(s) && p->seq <= x->end->parcels_in)
		world_violate(&s->w, "C4", "n%u gets message %llu of n%u again, or too late",
			      x->end->node, (unsigned long long)p->seq, x->end->peer);
	x->end->parcels_in = MAX(x->end->parcels_in, p->seq);
	parcel_deliver(s, x->end, p);
}

static void news_tell(struct sim *s, const struct link_news *x)
{
	uint32_t method = x->fx.frame.method;

	if (x->fx.kind == RPC_FX_ONEWAY && method == LINK_PARCEL) {
		parcel_in(s, x);
	} else if (x->fx.kind == RPC_FX_DELIVER && method == LINK_TOLD) {
		told_deliver(s, x);
	} else if (x->fx.kind == RPC_FX_DONE && body_is_number(x->fx.cookie)) {
		told_forget(x->end, body_value(x->fx.cookie));
		if (x->fx.err == 0)
			parcel_deliver(s, x->end, x->fx.frame.body);
	} else {
		calls_on_news(s, x);
	}
}

static void on_due(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload);

static void link_arm(struct sim *s, struct link_end *e)
{
	uint64_t due_ns = rpc_core_due_ns(e->core), now_ns = world_local(&s->w, e->node);

	if (due_ns == UINT64_MAX || (e->armed_ns != 0 && e->armed_ns <= due_ns))
		return;
	e->armed_ns = MAX(due_ns, now_ns + 1);
	world_at(&s->w, world_when(&s->w, e->node, e->armed_ns), on_due, "channel-due", e->node,
		 e->peer, link_word(e->level, e->life), NULL);
}

/* One effect of @e; a user may do anything in it, also end the daemon. */
static void link_effect(struct sim *s, struct link_end *e, const struct rpc_fx *fx)
{
	struct link_news x = { .end = e, .life = e->life, .fx = *fx };

	switch (fx->kind) {
	case RPC_FX_SEND:
		wire_frame_leaves(s, e, &fx->frame);
		break;
	case RPC_FX_RELEASE:
		e->kept--;
		body_put(fx->release);
		break;
	default:
		news_tell(s, &x);
		if (fx->kind == RPC_FX_DONE)
			body_put(fx->release);
	}
}

/* All effects in their order. From events only. */
static void link_run(struct sim *s, struct link_end *e)
{
	uint64_t life = e->life;
	struct rpc_fx fx;

	while (e->core && e->life == life && rpc_core_next(e->core, &fx))
		link_effect(s, e, &fx);
	if (e->core && e->life == life)
		link_arm(s, e);
}

void link_take(struct sim *s, struct link_end *e)
{
	struct rpc_fx fx;

	while (rpc_core_next_send(e->core, &fx))
		link_effect(s, e, &fx);
	link_arm(s, e);
}

void link_cancel(struct sim *s, struct link_end *e, uint64_t id)
{
	rpc_core_cancel(e->core, id);
	link_run(s, e);
}

static void on_due(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	enum link_level level = link_word_level(b);
	struct link_end *e = link_end_of(s, level, node, (node_id)a);
	uint64_t now_ns = world_local(w, node), starved_ns = link_starved_ns(s, level, node);

	(void)payload;
	if (!e->core || link_word(level, e->life) != b || e->armed_ns == 0 || e->armed_ns > now_ns)
		return;
	if (starved_ns != 0) {
		world_at(w, starved_ns, on_due, "channel-due", node, a, b, NULL);
		return;
	}
	e->armed_ns = 0;
	rpc_core_tick(e->core, now_ns);
	link_run(s, e);
}

static void frame_hash(struct world *w, const struct rpc_frame *f)
{
	world_hash(w, (uint64_t)f->kind << 40 | (uint64_t)f->flags << 32 | f->method);
	world_hash(w, (uint64_t)(int64_t)f->err);
	world_hash(w, f->ttl_us);
	world_hash(w, f->id);
	world_hash(w, f->key);
	world_hash(w, f->len);
}

void link_frame_arrives(struct sim *s, enum link_level level, node_id from, node_id to,
			const struct rpc_frame *f)
{
	struct link_end *e = link_end_of(s, level, to, from);
	int err;

	if (!e->core || e->conn != link_of(s, level, from, to)->conn)
		return;
	frame_hash(&s->w, f);
	if (s->cov)
		s->cov->rpc[f->kind][rpc_core_at(e->core, f)]++;
	err = rpc_core_frame(e->core, f, world_local(&s->w, to));
	if (err < 0)
		world_violate(&s->w, f->kind == RPC_FR_DATA ? "C3" : "C2",
			      "n%u is told by n%u what no honest peer says: frame %d of %llx", to,
			      from, f->kind, (unsigned long long)f->id);
	link_run(s, e);
}

/* ---- connections ---- */

static void end_lost(struct sim *s, struct link_end *e)
{
	uint64_t life = e->life;

	e->conn = 0;
	rpc_core_down(e->core, world_local(&s->w, e->node));
	link_run(s, e);
	if (e->level == LINK_KERNELS && e->core && e->life == life)
		moves_link_down(s, &s->nodes[e->node], e->peer);
}

void link_end_down(struct sim *s, struct link_end *e)
{
	link_dial_soon(s, e->level, e->node, e->peer);
	end_lost(s, e);
}

static void link_up_end(struct sim *s, struct link_end *e, uint32_t conn)
{
	uint64_t life = e->life;

	if (e->conn != 0) /* it had not noticed yet */
		end_lost(s, e);
	if (!e->core || e->life != life)
		return;
	e->conn = conn;
	e->up_ns = s->w.now_ns;
	rpc_core_up(e->core, world_local(&s->w, e->node));
	link_run(s, e);
}

/* The lower one dials; both ends are up at once, their hellos are on the way. */
static void on_dial(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	enum link_level level = link_word_level(b);
	node_id peer = (node_id)a;
	struct link *l = link_of(s, level, node, peer);
	struct link_end *ours = link_end_of(s, level, node, peer);
	struct link_end *theirs = link_end_of(s, level, peer, node);

	(void)payload;
	l->dialling = false;
	if (ours->core && ours->conn != 0)
		return;
	l->tries = MIN(l->tries + 1, 4u);
	if (!ours->core || !theirs->core || w->cut[node][peer] || w->cut[peer][node] ||
	    link_starved_ns(s, level, node) || link_starved_ns(s, level, peer)) {
		link_dial_soon(s, level, node, peer);
		return;
	}
	l->tries = 0;
	l->dead = false;
	wire_reset(&l->wire[0]);
	wire_reset(&l->wire[1]);
	l->conn++;
	s->stats.connections++;
	link_up_end(s, theirs, l->conn);
	if (ours->core)
		link_up_end(s, ours, l->conn);
}

static void link_dial_soon(struct sim *s, enum link_level level, node_id a, node_id b)
{
	struct link *l = link_of(s, level, a, b);
	node_id node = MIN(a, b), peer = MAX(a, b);

	if (l->dialling || !link_end_of(s, level, node, peer)->core)
		return;
	l->dialling = true;
	world_in(&s->w, (20 + 80 * l->tries + rand_below(&s->w.rng[RNG_LINK], 60)) * NS_PER_MS,
		 on_dial, "dial", node, peer, link_word(level, 0), NULL);
}

/* ---- lives ---- */

static void end_begin(struct sim *s, struct link_end *e)
{
	struct rpc_core_limits lim = { .calls_max = LINK_CALLS_MAX,
				       .streams_max = 6,
				       .stream_window = LINK_WINDOW,
				       .resend_ns = link_raw(s) ? 60 * NS_PER_MS : 0,
				       .retry_ns = 20 * NS_PER_MS,
				       .keep_ns = LINK_KEEP_NS };

	e->core_mem = calloc(1, rpc_core_size(&lim));
	e->scope_mem = calloc(1, rpc_scope_size(LINK_KEYS_MAX));
	CHECK(e->core_mem && e->scope_mem);
	e->life = ++s->links->lives;
	e->scope = rpc_scope_init(e->scope_mem, LINK_KEYS_MAX, LINK_KEEP_NS);
	e->core = rpc_core_init(e->core_mem, &lim, e->scope, e->life,
				rand_next(&s->w.rng[RNG_LINK]), e);
	e->conn = 0;
	e->armed_ns = 0;
	e->running = e->kept = 0;
	e->parcels_in = 0;
	memset(e->told, 0, sizeof(e->told));
}

static void end_over(struct sim *s, struct link_end *e)
{
	struct rpc_fx fx;
	void *body;

	if (!e->core)
		return;
	if (e->level == LINK_KERNELS)
		calls_over(s, e);
	rpc_core_fini(e->core, world_local(&s->w, e->node));
	while (rpc_core_next(e->core, &fx))
		body_put(fx.release);
	while (rpc_scope_expire(e->scope, UINT64_MAX, &body))
		body_put(body);
	free(e->core_mem);
	free(e->scope_mem);
	e->core = NULL;
	e->scope = NULL;
	e->core_mem = e->scope_mem = NULL;
	e->conn = 0;
}

void link_begin(struct sim *s, enum link_level level, struct knode *n)
{
	if (level == LINK_PODS && link_raw(s))
		return;
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		if (id == n->id)
			continue;
		end_begin(s, link_end_of(s, level, n->id, id));
		link_of(s, level, n->id, id)->tries = 0;
		link_dial_soon(s, level, n->id, id);
	}
	if (level == LINK_KERNELS)
		calls_begin(s, n);
}

/* What the dead has sent still arrives, and then the end; of a dead host there comes nothing. */
static void end_hang_up(struct sim *s, const struct link_end *e)
{
	const struct link *l = link_of(s, e->level, e->node, e->peer);

	if (e->conn != l->conn || l->dead)
		return;
	wire_reset(wire_of(s, e->level, e->peer, e->node));
	wire_put(s, e->level, e->node, e->peer, NULL);
}

void link_over(struct sim *s, enum link_level level, struct knode *n, bool with_host)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		struct link_end *e = link_end_of(s, level, n->id, id);

		if (id == n->id || !e->core)
			continue;
		if (with_host || link_raw(s))
			link_break(s, level, n->id, id, with_host ? SILENCE_NS : 0);
		else
			end_hang_up(s, e);
		end_over(s, e);
	}
	if (with_host && level == LINK_KERNELS)
		calls_crash(s, n->id);
}

/* ---- parcels ---- */

static struct parcel *parcel_new(size_t bytes, world_fn fn, const char *name, uint64_t a,
				 void *payload)
{
	struct parcel *p = world_alloc_owner(sizeof(*p), parcel_fini);

	*p = (struct parcel){ fn, name, a, bytes, payload, 0 };
	return p;
}

void link_send(struct sim *s, enum link_level level, node_id from, node_id to, size_t bytes,
	       world_fn fn, const char *name, uint64_t a, void *payload)
{
	struct link_end *e = link_end_of(s, level, from, to);
	struct parcel *p = parcel_new(bytes, fn, name, a, payload);

	s->w.stats.messages++;
	p->seq = ++e->parcels_out;
	if (!e->core || rpc_core_oneway(e->core, LINK_PARCEL, p, 1) < 0)
		s->w.stats.cut++;
	else
		link_take(s, e);
	world_put(p);
}

void link_pods_send(struct sim *s, node_id from, node_id to, size_t bytes, world_fn fn,
		    const char *name, uint64_t a, void *payload)
{
	if (from == to || link_raw(s))
		world_send(&s->w, from, to, bytes, fn, name, a, payload);
	else
		link_send(s, LINK_PODS, from, to, bytes, fn, name, a, payload);
}

void link_tell(struct sim *s, node_id from, node_id to, uint64_t key, size_t bytes, world_fn fn,
	       const char *name, uint64_t a, void *payload)
{
	struct link_end *e = link_end_of(s, LINK_KERNELS, from, to);
	struct rpc_ask ask = {
		.method = LINK_TOLD, .key = key, .cookie = body_number(key), .len = 1
	};
	unsigned at = LINK_CALLS_MAX;

	s->w.stats.messages++;
	for (unsigned i = 0; i < LINK_CALLS_MAX; i++) {
		if (e->told[i] == key) {
			world_put(payload);
			return;
		}
		if (e->told[i] == 0)
			at = i;
	}
	ask.body = parcel_new(bytes, fn, name, a, payload);
	if (at == LINK_CALLS_MAX || !e->core ||
	    rpc_core_request(e->core, &ask, world_local(&s->w, from), NULL) < 0) {
		body_put(ask.body);
		return;
	}
	e->told[at] = key;
	link_take(s, e);
}

bool link_answer(struct sim *s, node_id from, node_id to, world_fn fn, const char *name, uint64_t a,
		 void *payload)
{
	struct links *k = s->links;
	struct link_end *e = link_end_of(s, LINK_KERNELS, from, to);
	struct rpc_in *in = k->telling_in;
	bool kept;

	if (k->telling != e || !in)
		return false;
	k->telling_in = NULL;
	e->running--;
	e->kept++;
	(void)rpc_in_reply(in, 0, parcel_new(200, fn, name, a, payload), 1,
			   world_local(&s->w, from), &kept);
	link_take(s, e);
	return true;
}

void link_stream(struct sim *s, node_id from, node_id to, size_t bytes, world_fn fn,
		 const char *name, uint64_t a, void *payload)
{
	struct link_end *e = link_end_of(s, LINK_KERNELS, from, to);
	struct parcel *p = parcel_new(bytes, fn, name, a, payload);

	s->w.stats.messages++;
	if (!e->core || !calls_flow(s, e, bytes, p))
		s->w.stats.cut++;
	world_put(p);
}

/* ---- storage ---- */

struct links *links_new(struct sim *s)
{
	struct links *k = calloc(1, sizeof(*k));

	CHECK(k != NULL);
	for (enum link_level l = 0; l < LINK_LEVELS; l++) {
		for (node_id a = 0; a <= SIM_NODES_MAX; a++) {
			for (node_id b = 0; b <= SIM_NODES_MAX; b++) {
				k->end[l][a][b].level = l;
				k->end[l][a][b].node = a;
				k->end[l][a][b].peer = b;
				k->link[l][a][b].dead = true;
			}
		}
	}
	return k;
}

static void link_free(struct sim *s, enum link_level level, node_id a, node_id b)
{
	struct link *l = &s->links->link[level][a][b];

	end_over(s, &s->links->end[level][a][b]);
	for (unsigned i = 0; i < 2; i++) {
		wire_reset(&l->wire[i]);
		free(l->wire[i].q);
	}
}

void links_free(struct sim *s)
{
	for (enum link_level l = 0; l < LINK_LEVELS; l++) {
		for (node_id a = 1; a <= s->conf.nodes; a++) {
			for (node_id b = 1; b <= s->conf.nodes; b++)
				link_free(s, l, a, b);
		}
	}
	free(s->links);
}
