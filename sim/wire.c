/* SPDX-License-Identifier: Apache-2.0 */
/* Wires: frames in order, late where one is lost or the way is cut; or each for itself. */
#include "sim/link_priv.h"

#include <stdlib.h>

#include "base/check.h"

#define RETRANSMIT_NS (200 * NS_PER_MS)
#define STALL_MAX_NS  (6 * NS_PER_S)

struct link *link_of(struct sim *s, enum link_level level, node_id a, node_id b)
{
	return &s->links->link[level][MIN(a, b)][MAX(a, b)];
}

struct wire *wire_of(struct sim *s, enum link_level level, node_id from, node_id to)
{
	return &link_of(s, level, from, to)->wire[from > to];
}

/* ---- wires ---- */

static struct wire_frame *wire_push(struct wire *w)
{
	if (w->count == w->cap) {
		struct wire_frame *q = calloc(w->cap ? w->cap * 2 : 16, sizeof(*q));

		CHECK(q != NULL);
		for (uint32_t i = 0; i < w->count; i++)
			q[i] = w->q[(w->head + i) % w->cap];
		free(w->q);
		w->q = q;
		w->head = 0;
		w->cap = w->cap ? w->cap * 2 : 16;
	}
	return &w->q[(w->head + w->count++) % w->cap];
}

static struct wire_frame wire_pop(struct wire *w)
{
	struct wire_frame f = w->q[w->head];

	w->head = (w->head + 1) % w->cap;
	w->count--;
	return f;
}

void wire_reset(struct wire *w)
{
	while (w->count > 0)
		body_put(wire_pop(w).f.body);
	w->stalled_ns = 0;
}

uint64_t link_bytes_under_way(struct sim *s, const struct link_end *from, uint64_t stream_id)
{
	const struct wire *w = wire_of(s, from->level, from->node, from->peer);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < w->count; i++) {
		const struct rpc_frame *f = &w->q[(w->head + i) % w->cap].f;

		if (f->kind == RPC_FR_DATA && f->id == stream_id && (f->flags & RPC_FL_OPENER))
			sum += f->len;
	}
	return sum;
}

const struct parcel *link_on_wire(struct sim *s, node_id from, node_id to, uint32_t i)
{
	const struct wire *w = wire_of(s, LINK_KERNELS, from, to);

	for (uint32_t j = 0; j < w->count; j++) {
		const struct rpc_frame *f = &w->q[(w->head + j) % w->cap].f;

		if (f->kind == RPC_FR_ONEWAY && f->method == LINK_PARCEL && i-- == 0)
			return f->body;
	}
	return NULL;
}

bool link_carries(struct sim *s, enum link_level level, node_id a, node_id b)
{
	return !link_of(s, level, a, b)->dead;
}

static size_t frame_bytes(const struct rpc_frame *f)
{
	if (f->body && !body_is_number(f->body))
		return f->kind == RPC_FR_OPEN ? 200 : ((const struct parcel *)f->body)->bytes;
	return 60 + f->len;
}

/* ---- breaking ---- */

static void on_noticed(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	enum link_level level = link_word_level(b);
	struct link_end *e = link_end_of(s, level, node, (node_id)a);
	uint64_t starved_ns = link_starved_ns(s, level, node);

	(void)payload;
	if (!e->core || link_word(level, e->conn) != b)
		return;
	if (starved_ns != 0)
		world_at(w, starved_ns, on_noticed, "broken", node, a, b, NULL);
	else
		link_end_down(s, e);
}

/* Nothing passes any more; each end that lives notices in its own time. */
void link_break(struct sim *s, enum link_level level, node_id a, node_id b, uint64_t notice_ns)
{
	struct link *l = link_of(s, level, a, b);
	struct rand *r = &s->w.rng[RNG_LINK];

	if (l->dead)
		return;
	l->dead = true;
	wire_reset(&l->wire[0]);
	wire_reset(&l->wire[1]);
	world_in(&s->w, notice_ns + rand_below(r, 50 * NS_PER_MS), on_noticed, "broken", a, b,
		 link_word(level, l->conn), NULL);
	world_in(&s->w, notice_ns + rand_below(r, 50 * NS_PER_MS), on_noticed, "broken", b, a,
		 link_word(level, l->conn), NULL);
}

void link_break_all(struct sim *s, node_id node)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		if (id == node)
			continue;
		link_break(s, LINK_KERNELS, node, id, 0);
		link_break(s, LINK_PODS, node, id, 0);
	}
}

static void on_last_break(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	(void)node;
	(void)a;
	(void)b;
	(void)payload;
	for (node_id id = 1; id <= sim_of(w)->conf.nodes; id++)
		link_break_all(sim_of(w), id);
}

void links_quiet(struct sim *s)
{
	if (link_raw(s))
		world_in(&s->w, 90 * NS_PER_S, on_last_break, "last-break", 0, 0, 0, NULL);
}

/* ---- frames ---- */

static void on_pump(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload);

static void pump_at(struct sim *s, enum link_level level, node_id from, node_id to, uint64_t at_ns)
{
	world_at(&s->w, MAX(at_ns, s->w.now_ns), on_pump, "frame", to, from,
		 link_word(level, link_of(s, level, from, to)->conn), NULL);
}

static void on_pump(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	enum link_level level = link_word_level(b);
	node_id from = (node_id)a;
	struct link *l = link_of(s, level, from, node);
	struct wire *x = wire_of(s, level, from, node);
	uint64_t starved_ns = link_starved_ns(s, level, node);
	struct wire_frame f;

	(void)payload;
	if (link_word(level, l->conn) != b || l->dead || x->count == 0)
		return;
	if (w->cut[from][node]) {
		x->stalled_ns = x->stalled_ns ? x->stalled_ns : w->now_ns;
		if (w->now_ns - x->stalled_ns > STALL_MAX_NS)
			link_break(s, level, from, node, 0);
		else
			pump_at(s, level, from, node, w->now_ns + RETRANSMIT_NS);
		return;
	}
	if (starved_ns != 0) { /* its host takes them */
		pump_at(s, level, from, node, starved_ns);
		return;
	}
	x->stalled_ns = 0;
	f = wire_pop(x);
	if (x->count > 0)
		pump_at(s, level, from, node, x->q[x->head].at_ns);
	if (f.fin) {
		on_noticed(w, node, a, b, NULL);
		return;
	}
	link_frame_arrives(s, level, from, node, &f.f);
	body_put(f.f.body);
}

void wire_put(struct sim *s, enum link_level level, node_id from, node_id to,
	      const struct rpc_frame *f)
{
	struct world *w = &s->w;
	struct wire *x = wire_of(s, level, from, to);
	struct wire_frame *q = wire_push(x);
	uint64_t at_ns = w->now_ns + world_delay_ns(w, RNG_LINK, f ? frame_bytes(f) : 40);

	if (rand_chance(&w->rng[RNG_LINK], w->loss_ppm, 1000000))
		at_ns += RETRANSMIT_NS;
	x->last_ns = MAX(x->last_ns, at_ns);
	*q = (struct wire_frame){ .at_ns = x->last_ns, .fin = !f };
	if (f) {
		q->f = *f;
		body_get(f->body);
	}
	if (x->count == 1)
		pump_at(s, level, from, to, q->at_ns);
}

struct stray {
	node_id from;
	uint32_t conn;
	struct rpc_frame f;
};

static void stray_fini(void *p)
{
	body_put(((struct stray *)p)->f.body);
}

/* A frame of the lossy network: alone, and only of the connection that both ends are on. */
static void on_stray(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct stray *x = payload;

	(void)a;
	(void)b;
	if (link_of(s, LINK_KERNELS, x->from, node)->conn == x->conn)
		link_frame_arrives(s, LINK_KERNELS, x->from, node, &x->f);
	world_put(x);
}

static void stray_put(struct sim *s, node_id from, node_id to, const struct rpc_frame *f)
{
	struct world *w = &s->w;
	struct rand *r = &w->rng[RNG_LINK];
	int copies = rand_chance(r, w->repeat_ppm, 1000000) ? 2 : 1;

	if (w->cut[from][to] || rand_chance(r, w->loss_ppm, 1000000))
		return;
	while (copies-- > 0) {
		struct stray *x = world_alloc_owner(sizeof(*x), stray_fini);

		*x = (struct stray){ from, link_of(s, LINK_KERNELS, from, to)->conn, *f };
		body_get(f->body);
		world_in(w, world_delay_ns(w, RNG_LINK, frame_bytes(f)), on_stray, "frame", to,
			 from, 0, x);
	}
}

void wire_frame_leaves(struct sim *s, struct link_end *e, const struct rpc_frame *f)
{
	const struct link *l = link_of(s, e->level, e->node, e->peer);

	s->stats.frames++;
	if (l->dead || e->conn != l->conn)
		return;
	if (link_raw(s))
		stray_put(s, e->node, e->peer, f);
	else
		wire_put(s, e->level, e->node, e->peer, f);
}
