/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault plan: drawn whole before the run, from a generator of its own, so that a fault can be
 * taken out (--shrink, --faults) without moving the others.
 */
#include "sim/link.h"

static const char *const names[FAULT_KINDS] = { "none",      "kernel",   "host",     "pod",
						"stall",     "cut",      "one-way",  "isolate",
						"loss",      "slow",     "link",     "handover",
						"disk-full", "disk-eio", "disk-slow" };

const char *fault_name(enum fault_kind kind)
{
	return names[kind];
}

static uint64_t fault_length_ns(struct rand *r)
{
	static const uint32_t ms[8] = { 50, 200, 700, 2000, 4000, 8000, 15000, 45000 };

	return (ms[rand_below(r, 8)] + rand_below(r, 500)) * NS_PER_MS;
}

static enum fault_kind fault_draw(struct rand *r)
{
	uint64_t d = rand_below(r, 100);

	static const struct {
		uint64_t below; /* of a hundred */
		enum fault_kind kind;
	} shares[] = {
		{ 35, FAULT_KERNEL },     { 38, FAULT_LINK },       { 43, FAULT_HOST },
		{ 49, FAULT_POD },        { 52, FAULT_STALL },      { 61, FAULT_CUT },
		{ 68, FAULT_ONE_WAY },    { 72, FAULT_ISOLATE },    { 76, FAULT_LOSS },
		{ 81, FAULT_SLOW },       { 95, FAULT_HANDOVER },   { 97, FAULT_DISK_FULL },
		{ 98, FAULT_DISK_FAILS }, { 100, FAULT_DISK_SLOW },
	};
	uint32_t i = 0;

	while (d >= shares[i].below)
		i++;
	return shares[i].kind;
}

void fault_plan(struct sim *s)
{
	struct rand *r = &s->w.rng[RNG_FAULT];
	uint64_t at_ns = 10 * NS_PER_S;

	for (;;) {
		struct fault f = { 0 };

		at_ns += (300 + rand_below(r, 4500)) * NS_PER_MS;
		f.kind = fault_draw(r);
		f.at_ns = at_ns;
		f.node = 1 + (node_id)rand_below(r, s->conf.nodes);
		f.other = 1 + (node_id)rand_below(r, s->conf.nodes);
		f.n = 1 + (uint32_t)rand_below(r, 60);
		f.for_ns = fault_length_ns(r);
		if (at_ns >= s->conf.run_ns || s->fault_count == SIM_FAULTS_MAX)
			return;
		s->faults[s->fault_count++] = f;
	}
}

static void cut(struct sim *s, node_id from, node_id to, int by)
{
	if (from == to)
		return;
	s->w.cut[from][to] = (uint8_t)(s->w.cut[from][to] + by);
	s->w.cut_ns[from][to] = s->w.now_ns;
}

static void fault_change(struct sim *s, const struct fault *f, int by)
{
	switch (f->kind) {
	case FAULT_CUT:
		cut(s, f->other, f->node, by);
		cut(s, f->node, f->other, by);
		return;
	case FAULT_ONE_WAY:
		cut(s, f->node, f->other, by);
		return;
	case FAULT_ISOLATE:
		for (node_id id = 1; id <= s->conf.nodes; id++) {
			cut(s, f->node, id, by);
			cut(s, id, f->node, by);
		}
		return;
	case FAULT_LOSS:
		s->w.loss_ppm = (uint32_t)((int)s->w.loss_ppm + by * 150000);
		return;
	case FAULT_HANDOVER:
		s->w.slow_ppm = (uint32_t)((int)s->w.slow_ppm + by * 400000);
		return;
	case FAULT_SLOW:
		s->w.slow_ppm = (uint32_t)((int)s->w.slow_ppm + by * 100000);
		return;
	case FAULT_DISK_FULL:
	case FAULT_DISK_FAILS:
	case FAULT_DISK_SLOW:
		disks_fault(s, f->node, f->kind, by);
		return;
	default:
		return;
	}
}

static void fault_apply(struct sim *s, const struct fault *f, int by)
{
	fault_change(s, f, by);
	check_reach(s);
}

static void fault_over(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	const struct fault *f = &s->faults[a];

	(void)node;
	(void)b;
	(void)payload;
	world_trace(w, 'e', f->node, fault_name(f->kind), a);
	fault_apply(s, f, -1);
}

static void fault_awake(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	(void)b;
	(void)payload;
	world_trace(w, 'e', node, fault_name(FAULT_STALL), a);
	check_reach(sim_of(w));
}

static void fault_handover(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	(void)node;
	(void)b;
	(void)payload;
	registry_handover(sim_of(w), (uint32_t)a);
}

static void die(struct sim *s, const struct fault *f)
{
	struct knode *n = &s->nodes[f->node];

	bool quick = n->fault >= 0 && n->fault_when != WHEN_WRITING;

	n->fault = -1;
	if (f->kind == FAULT_POD)
		pod_die(s, n);
	else if (n->up)
		pod_crash(s, n, quick ? f->for_ns % (100 * NS_PER_MS) : f->for_ns);
}

static void fault_die(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);

	(void)b;
	(void)payload;
	if (s->nodes[node].fault == (int32_t)a)
		die(s, &s->faults[a]);
}

static void die_within(struct sim *s, struct knode *n, enum fault_when when, enum world_rng rng,
		       uint64_t ns)
{
	if (n->fault >= 0 && n->fault_when == when)
		world_in(&s->w, rand_below(&s->w.rng[rng], ns), fault_die, "dies", n->id,
			 (uint64_t)n->fault, 0, NULL);
}

void fault_writing(struct sim *s, struct knode *n, uint64_t delay_ns)
{
	die_within(s, n, WHEN_WRITING, RNG_DISK, delay_ns);
}

void fault_handed(struct sim *s, struct knode *n)
{
	die_within(s, n, WHEN_HANDED, RNG_HOST, 2 * NS_PER_MS);
}

void fault_worked(struct sim *s, struct knode *n, node_id peer)
{
	if (n->fault_for == peer)
		die_within(s, n, WHEN_WORKED, RNG_HOST, 100 * NS_PER_US);
}

/* A new life of another guest kernel, which knows nothing of this one, has something to ask it. */
static void ask_anew(struct sim *s, struct knode *n, struct knode *other)
{
	n->fault_for = other->id;
	calls_note(s, other, n->id);
	if (other->up && other->kernel_up)
		kernel_die(s, other);
}

/*
 * Half of them in the middle of a write, if there is one soon; half of the other hosts when an
 * image has just left for them, or when they have worked for who has just begun, and these are back
 * at once.
 */
static void die_soon(struct sim *s, const struct fault *f, uint64_t a)
{
	static const enum fault_when when[8] = {
		[2] = WHEN_HANDED, [4] = WHEN_WORKED, [6] = WHEN_HANDED
	};
	struct knode *n = &s->nodes[f->node];
	bool host = f->kind == FAULT_HOST;

	n->fault = -1;
	if (!(f->n & 1) && (!host || when[f->n % 8] == WHEN_WRITING)) {
		die(s, f);
		return;
	}
	n->fault = (int32_t)a;
	n->fault_when = when[f->n % 8];
	if (n->fault_when == WHEN_WORKED)
		ask_anew(s, n, &s->nodes[f->other]);
	world_in(&s->w, 3 * NS_PER_S, fault_die, "dies", f->node, a, 0, NULL);
}

static void fault_hit(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	const struct fault *f = &s->faults[a];
	struct knode *n = &s->nodes[f->node];

	(void)node;
	(void)b;
	(void)payload;
	s->stats.faults++;
	if (f->kind < FAULT_STALL || f->kind == FAULT_LINK || f->kind == FAULT_HANDOVER)
		world_trace(w, 'i', f->node, fault_name(f->kind), a);
	else
		world_trace(w, 'b', f->node, fault_name(f->kind), a);
	switch (f->kind) {
	case FAULT_KERNEL:
		if (n->up && n->kernel_up)
			*(f->n % 4 == 0 ? &n->die_mem : &n->die_in) = f->n;
		return;
	case FAULT_LINK:
		link_break_all(s, f->node);
		return;
	case FAULT_HOST:
	case FAULT_POD:
		die_soon(s, f, a);
		return;
	case FAULT_STALL:
		n->stalled_ns = w->now_ns + f->for_ns % (31 * NS_PER_S);
		s->stats.stalls++;
		check_reach(s);
		world_at(w, n->stalled_ns, fault_awake, "awake", f->node, a, 0, NULL);
		return;
	case FAULT_HANDOVER: /* half of them on a slow network: answers of the old one come late */
		if (f->n & 2) {
			fault_apply(s, f, 1);
			world_in(w, 3 * NS_PER_S, fault_over, "heal", 0, a, 0, NULL);
		}
		world_in(w, 700 * NS_PER_MS, fault_handover, "handover", 0, f->n, 0, NULL);
		return;
	default:
		s->stats.cuts += f->kind < FAULT_DISK_FULL;
		s->stats.disk_faults += f->kind >= FAULT_DISK_FULL;
		fault_apply(s, f, 1);
		world_in(w, f->for_ns, fault_over, "heal", 0, a, 0, NULL);
	}
}

void fault_start(struct sim *s)
{
	for (uint32_t i = 0; i < s->fault_count && s->conf.faults; i++) {
		if (!s->faults[i].off)
			world_at(&s->w, s->faults[i].at_ns, fault_hit, "fault", s->faults[i].node,
				 i, 0, NULL);
	}
}

/* What is still to end ends by itself; nobody dies any more. */
void fault_heal(struct sim *s)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		s->nodes[id].die_in = s->nodes[id].die_mem = 0;
		s->nodes[id].fault = -1;
	}
	links_quiet(s);
}
