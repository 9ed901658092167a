/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs on a node share its CPUs: all slow down by the same factor when they want more than
 * there is. So a node has one clock of *service* that runs slower under load, and a program ends
 * when that clock shows its birth plus its lifetime: only the next end of a node is an event.
 */
#include "sim/capacity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sim/cow.h"
#include "sim/world.h"

#define REPORT_NS  NS_PER_S
#define BALANCE_NS (5 * NS_PER_S)
#define TASKS_SEEN 64 /* of a node's programs, for balancing */

struct prog {
	uint64_t end_service_ns; /* on its node's clock */
	uint64_t born_ns;
	uint64_t life_ns;
	uint64_t mem_bytes;
	uint32_t cpu_milli;
	uint32_t node; /* index; UINT32_MAX: free, then end_service_ns is the next free one */
	uint32_t at;   /* in its node's heap */
	bool stays;
};

struct cnode {
	uint64_t service_ns;
	uint64_t at_ns; /* when service_ns was right */
	uint32_t cpu_milli;
	uint32_t demand_milli;
	uint32_t version; /* of the pending end event */
	uint64_t mem_used;
	uint32_t *heap; /* programs by end_service_ns, then number */
	uint32_t count, cap;
	bool dead;
	uint16_t pids; /* given since the last block lease */
};

struct capacity {
	struct world w;
	const struct capacity_conf *conf;
	struct capacity_result *r;
	struct cnode *nodes;
	struct cow_table seen; /* last reports */
	struct prog *progs;
	uint32_t prog_count, prog_cap, prog_free;
	uint64_t live;
	uint64_t last_end_ns;
	uint64_t busy_sum, want_sum, spread_sum, samples;
	uint64_t busy_minute, want_minute;
};

static struct capacity *cap_of(struct world *w)
{
	return w->user;
}

/* ---- a node's clock ---- */

static void node_advance(const struct capacity *c, struct cnode *n)
{
	uint64_t dt = c->w.now_ns - n->at_ns, cpu = n->cpu_milli;

	n->service_ns += n->demand_milli <= cpu ? dt : dt / 1000 * cpu / n->demand_milli * 1000;
	n->at_ns = c->w.now_ns;
}

static bool ends_before(const struct capacity *c, uint32_t a, uint32_t b)
{
	const struct prog *p = &c->progs[a], *q = &c->progs[b];

	return p->end_service_ns != q->end_service_ns ? p->end_service_ns < q->end_service_ns
						      : a < b;
}

static void heap_set(struct capacity *c, struct cnode *n, uint32_t at, uint32_t prog)
{
	n->heap[at] = prog;
	c->progs[prog].at = at;
}

static void heap_up(struct capacity *c, struct cnode *n, uint32_t at, uint32_t prog)
{
	for (; at > 0 && ends_before(c, prog, n->heap[(at - 1) / 2]); at = (at - 1) / 2)
		heap_set(c, n, at, n->heap[(at - 1) / 2]);
	heap_set(c, n, at, prog);
}

static void heap_down(struct capacity *c, struct cnode *n, uint32_t at, uint32_t prog)
{
	uint32_t child;

	while ((child = 2 * at + 1) < n->count) {
		if (child + 1 < n->count && ends_before(c, n->heap[child + 1], n->heap[child]))
			child++;
		if (!ends_before(c, n->heap[child], prog))
			break;
		heap_set(c, n, at, n->heap[child]);
		at = child;
	}
	heap_set(c, n, at, prog);
}

static void on_end(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload);

static void node_arm(struct capacity *c, uint32_t i)
{
	struct cnode *n = &c->nodes[i];
	uint64_t left, cpu = n->cpu_milli, wait;

	n->version++;
	if (n->count == 0)
		return;
	left = c->progs[n->heap[0]].end_service_ns;
	left = left > n->service_ns ? left - n->service_ns : 0;
	/* Rounded up, so that the service clock, rounded down, has got there. */
	wait = n->demand_milli <= cpu
		       ? left
		       : (((left / 1000 + 1) * n->demand_milli + cpu - 1) / cpu + 1) * 1000;
	world_in(&c->w, wait, on_end, "end", i, n->version, 0, NULL);
}

static void node_take(struct capacity *c, uint32_t i, uint32_t prog, uint64_t left_ns)
{
	struct cnode *n = &c->nodes[i];
	struct prog *p = &c->progs[prog];

	node_advance(c, n);
	if (n->count == n->cap) {
		n->cap = n->cap ? n->cap * 2 : 8;
		n->heap = realloc(n->heap, n->cap * sizeof(*n->heap));
		CHECK(n->heap != NULL);
	}
	p->node = i;
	p->end_service_ns = n->service_ns + left_ns;
	n->demand_milli += p->cpu_milli;
	n->mem_used += p->mem_bytes;
	heap_up(c, n, n->count++, prog);
	node_arm(c, i);
	if (c->conf->start && i < CAPACITY_WHAT_NODES)
		c->r->node_most[i] = MAX(c->r->node_most[i], n->demand_milli);
}

/* Takes it off its node; what it still has to run. */
static uint64_t node_give(struct capacity *c, uint32_t prog)
{
	struct prog *p = &c->progs[prog];
	struct cnode *n = &c->nodes[p->node];
	uint32_t at = p->at, last = n->heap[n->count - 1];

	node_advance(c, n);
	n->demand_milli -= p->cpu_milli;
	n->mem_used -= p->mem_bytes;
	n->count--;
	if (last != prog) {
		if (at > 0 && ends_before(c, last, n->heap[(at - 1) / 2]))
			heap_up(c, n, at, last);
		else
			heap_down(c, n, at, last);
	}
	return p->end_service_ns > n->service_ns ? p->end_service_ns - n->service_ns : 0;
}

/* ---- programs ---- */

static uint32_t prog_new(struct capacity *c)
{
	uint32_t i = c->prog_free;

	if (i != UINT32_MAX) {
		c->prog_free = (uint32_t)c->progs[i].end_service_ns;
		return i;
	}
	if (c->prog_count == c->prog_cap) {
		c->prog_cap = c->prog_cap ? c->prog_cap * 2 : 4096;
		c->progs = realloc(c->progs, c->prog_cap * sizeof(*c->progs));
		CHECK(c->progs != NULL);
	}
	return c->prog_count++;
}

static void prog_free(struct capacity *c, uint32_t i)
{
	c->progs[i].node = UINT32_MAX;
	c->progs[i].end_service_ns = c->prog_free;
	c->prog_free = i;
	c->live--;
}

static void prog_ended(struct capacity *c, uint32_t i)
{
	const struct prog *p = &c->progs[i];
	uint64_t took = c->w.now_ns - p->born_ns;
	uint64_t eighths = took * 8 / p->life_ns;
	uint64_t bucket = eighths < 8 ? 0 : eighths - 8;

	c->r->ended++;
	c->last_end_ns = c->w.now_ns;
	c->r->slow[MIN(bucket, (uint64_t)CAPACITY_SLOW_BUCKETS - 1)]++;
	if (eighths >= 12 && c->r->minutes < CAPACITY_MINUTES)
		c->r->minute[c->r->minutes].slow++;
	prog_free(c, i);
}

static void on_end(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct capacity *c = cap_of(w);
	struct cnode *n = &c->nodes[node];

	(void)b;
	(void)payload;
	if (n->version != a || n->dead)
		return;
	node_advance(c, n);
	while (n->count > 0 && c->progs[n->heap[0]].end_service_ns <= n->service_ns) {
		uint32_t prog = n->heap[0];

		(void)node_give(c, prog);
		prog_ended(c, prog);
	}
	node_arm(c, node);
}

/* ---- placement ---- */

/* What node @i knows: itself now, others by their last report. */
static unsigned cap_view(struct capacity *c, uint32_t i, struct sched_node *view)
{
	const struct cnode *n = &c->nodes[i];
	uint32_t others = MIN(CAPACITY_SAMPLE - 1u, c->conf->nodes - 1);
	uint32_t step = c->conf->nodes <= CAPACITY_SAMPLE
				? 1
				: 1 + (uint32_t)rand_below(&c->w.rng[RNG_NET],
							   c->conf->nodes / CAPACITY_SAMPLE);

	view[0] = *cow_row(&c->seen, i, i);
	view[0].load_milli = n->demand_milli;
	view[0].placed_milli = 0;
	view[0].mem_free_bytes =
		n->mem_used < view[0].mem_bytes ? view[0].mem_bytes - n->mem_used : 0;
	for (uint32_t k = 1; k <= others; k++)
		view[k] = *cow_row(&c->seen, i,
				   (uint32_t)((i + (uint64_t)k * step) % c->conf->nodes));
	return others + 1;
}

static void cap_place(struct capacity *c, uint32_t home, const struct workload_class *k)
{
	struct rand *r = &c->w.rng[RNG_LOAD];
	struct sched_node view[CAPACITY_SAMPLE];
	struct sched_request rq = { .here = home + 1,
				    .cpu_milli = k->cpu_milli,
				    .mem_bytes = k->mem_bytes };
	struct sched_pick pick = { .node = home + 1 };
	uint32_t i = prog_new(c), to;
	uint64_t life_ns = workload_life_ms(k, r) * NS_PER_MS;

	rq.must_stay = rand_chance(r, k->stay, 100);
	if (sched_place(c->conf->policy, view, cap_view(c, home, view), &rq,
			rand_next(&c->w.rng[RNG_CORE]), &pick) < 0)
		c->r->refused_memory++;
	to = pick.node - 1;
	if (c->nodes[to].dead)
		to = home; /* the report was older than its death: the exec stays */
	c->r->placed_here += to == home;
	c->r->placed_away += to != home;
	if (to != home)
		sched_placed(cow_write(&c->seen, home, to), &rq);
	c->progs[i] = (struct prog){ .born_ns = c->w.now_ns,
				     .life_ns = life_ns,
				     .mem_bytes = k->mem_bytes,
				     .cpu_milli = k->cpu_milli,
				     .stays = rq.must_stay };
	c->r->arrived++;
	c->live++;
	c->r->live_max = MAX(c->r->live_max, c->live);
	if (++c->nodes[home].pids == 4096 * 9 / 10) {
		c->nodes[home].pids = 0;
		c->r->raft_commands++; /* another block of pids */
	}
	node_take(c, to, i, life_ns);
}

/* The rate of now, as the shape has it; rates are per node and hour. */
static uint64_t cap_gap_ns(const struct capacity *c, const struct workload_class *k)
{
	const struct workload *l = c->conf->load;
	uint64_t part =
		l->shape_count ? c->w.now_ns / NS_PER_MS * l->shape_count / c->conf->run_ms : 0;
	uint64_t percent = l->shape_count ? l->shape[MIN(part, l->shape_count - 1u)] : 100;

	return 3600 * NS_PER_S / k->per_hour * 100 / MAX(percent, (uint64_t)1) / c->conf->nodes;
}

static void on_arrive(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct capacity *c = cap_of(w);
	const struct workload_class *k = &c->conf->load->classes[a];
	uint32_t home = (uint32_t)rand_below(&w->rng[RNG_LOAD], c->conf->nodes);

	(void)b;
	(void)payload;
	world_in(w, workload_exp(cap_gap_ns(c, k), &w->rng[RNG_LOAD]) + 1, on_arrive, "arrive",
		 node, a, 0, NULL);
	if (c->nodes[home].dead)
		return; /* nobody is logged in there */
	for (uint32_t i = 0; i < k->burst; i++)
		cap_place(c, home, k);
}

/* ---- reports, balancing, death ---- */

static void cap_sample(struct capacity *c)
{
	uint64_t cpu = c->conf->load->cpu_milli, busy = 0, want = 0, alive = 0, mean, off = 0;

	for (uint32_t i = 0; i < c->conf->nodes; i++) {
		const struct cnode *n = &c->nodes[i];

		if (n->dead)
			continue;
		alive++;
		want += n->demand_milli;
		busy += MIN((uint64_t)n->demand_milli, cpu);
	}
	if (alive == 0)
		return;
	mean = want / alive;
	for (uint32_t i = 0; i < c->conf->nodes; i++) {
		uint64_t d = c->nodes[i].demand_milli;

		if (!c->nodes[i].dead)
			off += d > mean ? d - mean : mean - d;
	}
	c->busy_sum += busy * 1000 / (alive * cpu);
	c->want_sum += want * 1000 / (alive * cpu);
	c->spread_sum += off * 1000 / (alive * cpu);
	c->busy_minute += busy * 1000 / (alive * cpu);
	c->want_minute += want * 1000 / (alive * cpu);
	c->samples++;
	/* SWIM: each node pings one other a second, and is answered; loads ride along. */
	c->r->gossip_messages += alive * 2;
}

static void on_report(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct capacity *c = cap_of(w);

	(void)b;
	(void)payload;
	for (uint32_t i = 0; i < c->conf->nodes; i++) {
		const struct cnode *n = &c->nodes[i];
		struct sched_node *s = &c->seen.base[i];

		s->closed = n->dead;
		s->load_milli = n->demand_milli;
		s->placed_milli = 0;
		s->mem_free_bytes = n->mem_used < s->mem_bytes ? s->mem_bytes - n->mem_used : 0;
	}
	cow_publish(&c->seen);
	cap_sample(c);
	if (a % 60 == 59 && c->r->minutes < CAPACITY_MINUTES) {
		struct capacity_minute *m = &c->r->minute[c->r->minutes++];

		m->util = (uint32_t)(c->busy_minute / 60);
		m->wanting = (uint32_t)(c->want_minute / 60);
		m->live = (uint32_t)c->live;
		c->busy_minute = c->want_minute = 0;
	}
	world_in(w, REPORT_NS, on_report, "report", node, a + 1, 0, NULL);
}

static void cap_move(struct capacity *c, uint32_t prog, uint32_t to,
		     const struct sched_costs *costs)
{
	struct prog *p = &c->progs[prog];
	uint32_t from = p->node;
	uint64_t left_ns = node_give(c, prog);
	uint64_t bytes = p->mem_bytes;

	node_arm(c, from);
	c->r->moves++;
	c->r->moved_bytes += bytes;
	c->r->authority_messages += 4; /* READ, CLAIM, and their RECORDs */
	if (c->r->minutes < CAPACITY_MINUTES)
		c->r->minute[c->r->minutes].moves++;
	node_take(c, to, prog, left_ns + costs->freeze_ms * NS_PER_MS);
}

static void cap_balance(struct capacity *c, uint32_t i)
{
	static const struct sched_costs costs = { .freeze_ms = 5,
						  .bytes_per_ms = 500000,
						  .payback = 2,
						  .imbalance_milli = 400,
						  .age_min_ms = 2000 };
	struct sched_task tasks[TASKS_SEEN];
	struct sched_node view[CAPACITY_SAMPLE];
	struct cnode *n = &c->nodes[i];
	struct sched_move move;
	unsigned count = 0;

	for (uint32_t k = 0; k < n->count && count < TASKS_SEEN; k++) {
		const struct prog *p = &c->progs[n->heap[k]];

		tasks[count++] =
			(struct sched_task){ .pid = (gpid)n->heap[k],
					     .cpu_milli = p->cpu_milli,
					     .age_ms = (c->w.now_ns - p->born_ns) / NS_PER_MS,
					     .resident_bytes = p->mem_bytes,
					     .stays = p->stays };
	}
	if (sched_balance(view, cap_view(c, i, view), i + 1, tasks, count, &costs, &move) == 1 &&
	    !c->nodes[move.to - 1].dead)
		cap_move(c, (uint32_t)move.pid, move.to - 1, &costs);
}

static void on_balance(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct capacity *c = cap_of(w);

	(void)a;
	(void)b;
	(void)payload;
	/* Every node once in BALANCE_NS; a slice of them at a time. */
	for (uint32_t i = node; i < c->conf->nodes; i += 50) {
		if (!c->nodes[i].dead && c->nodes[i].demand_milli > c->nodes[i].cpu_milli)
			cap_balance(c, i);
	}
	world_in(w, BALANCE_NS / 50, on_balance, "balance", (node + 1) % 50, 0, 0, NULL);
}

static void on_death(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct capacity *c = cap_of(w);
	struct cnode *n = &c->nodes[node];

	(void)a;
	(void)b;
	(void)payload;
	if (n->dead)
		return;
	n->dead = true;
	c->r->deaths++;
	c->r->raft_commands += 2; /* its epoch, and its blocks' authority */
	while (n->count > 0) {
		uint32_t prog = n->heap[0];

		(void)node_give(c, prog);
		prog_free(c, prog);
		c->r->killed++;
	}
}

/* ---- what if ---- */

static uint32_t cap_start(struct capacity *c, uint32_t home, uint32_t cpu_milli, uint64_t life_ns)
{
	uint32_t i = prog_new(c);

	c->progs[i] =
		(struct prog){ .born_ns = c->w.now_ns, .life_ns = life_ns, .cpu_milli = cpu_milli };
	c->r->arrived++;
	c->live++;
	c->r->live_max = MAX(c->r->live_max, c->live);
	node_take(c, home, i, life_ns);
	return i;
}

/* What runs on a real node now: programs that go on for longer than we look. */
static void cap_present(struct capacity *c, uint32_t i, const struct sched_node *now)
{
	uint32_t load = now->load_milli;

	c->seen.base[i] = *now;
	c->seen.base[i].id = i + 1;
	c->nodes[i].cpu_milli = MAX(now->cpu_milli, 1u);
	c->nodes[i].dead = now->closed;
	for (; load > 0 && !now->closed; load -= MIN(load, 1000u))
		(void)cap_start(c, i, MIN(load, 1000u), 100 * c->conf->run_ms * NS_PER_MS);
}

static void on_what_if(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct capacity *c = cap_of(w);
	const struct capacity_what *what = &c->conf->what;
	const struct workload_class job = {
		.name = "make", .life = LIFE_FIXED, .a_ms = what->job_ms, .cpu_milli = 1000
	};

	(void)node;
	if (what->kill != NODE_NONE)
		on_death(w, what->kill - 1, a, b, payload);
	for (uint32_t i = 0; i < what->jobs; i++)
		cap_place(c, what->from - 1, &job);
}

/* ---- the whole ---- */

static int cap_init(struct capacity *c)
{
	const struct capacity_conf *f = c->conf;
	uint64_t deaths = (uint64_t)f->nodes * f->die_per_mille * f->run_ms / 3600000 / 1000;

	c->nodes = calloc(f->nodes, sizeof(*c->nodes));
	if (!c->nodes || cow_init(&c->seen, f->nodes) < 0)
		return -ENOMEM;
	c->prog_free = UINT32_MAX;
	c->r->raft_commands = (uint64_t)f->nodes * 2; /* each joined and leased a block */
	for (uint32_t i = 0; i < f->nodes; i++) {
		c->seen.base[i] = (struct sched_node){ .id = i + 1,
						       .cpu_milli = f->load->cpu_milli,
						       .mem_bytes = f->load->mem_bytes,
						       .mem_free_bytes = f->load->mem_bytes };
		c->nodes[i].cpu_milli = f->load->cpu_milli;
		if (f->start)
			cap_present(c, i, &f->start[i]);
	}
	if (f->start)
		world_in(&c->w, NS_PER_S, on_what_if, "what-if", 0, 0, 0, NULL);
	for (uint64_t i = 0; i < deaths; i++)
		world_in(&c->w, rand_below(&c->w.rng[RNG_FAULT], f->run_ms) * NS_PER_MS, on_death,
			 "death", (node_id)rand_below(&c->w.rng[RNG_FAULT], f->nodes), 0, 0, NULL);
	for (uint32_t k = 0; k < f->load->class_count; k++)
		world_in(&c->w, 1, on_arrive, "arrive", 0, k, 0, NULL);
	world_in(&c->w, REPORT_NS, on_report, "report", 0, 0, 0, NULL);
	world_in(&c->w, BALANCE_NS, on_balance, "balance", 0, 0, 0, NULL);
	return 0;
}

static void cap_fini(struct capacity *c)
{
	for (uint32_t i = 0; c->nodes && i < c->conf->nodes; i++)
		free(c->nodes[i].heap);
	free(c->nodes);
	cow_fini(&c->seen);
	free(c->progs);
	world_fini(&c->w);
}

static void cap_sum_up(struct capacity *c)
{
	struct capacity_result *r = c->r;
	uint64_t nodes = c->conf->nodes;

	for (uint32_t i = 0; c->conf->start && i < MIN(c->conf->nodes, CAPACITY_WHAT_NODES); i++)
		r->node_load[i] = c->nodes[i].demand_milli;
	r->last_end_ns = c->last_end_ns;
	r->hash = c->w.hash;
	r->events = c->w.stats.events;
	r->util = c->samples ? c->busy_sum / c->samples : 0;
	r->wanting = c->samples ? c->want_sum / c->samples : 0;
	r->spread = c->samples ? c->spread_sum / c->samples : 0;
	r->bytes_node = sizeof(struct cnode) + cow_bytes_max(&c->seen) / nodes +
			c->prog_cap * sizeof(struct prog) / nodes;
	r->bytes_node_alone = sizeof(struct cnode) + cow_bytes_alone(&c->seen) / nodes +
			      c->prog_cap * sizeof(struct prog) / nodes;
}

int capacity_run(const struct capacity_conf *conf, struct capacity_result *r)
{
	struct capacity *c = calloc(1, sizeof(*c));
	int err;

	memset(r, 0, sizeof(*r));
	if (!c)
		return -ENOMEM;
	world_init(&c->w, conf->seed);
	c->w.user = c;
	c->conf = conf;
	c->r = r;
	err = cap_init(c);
	while (err == 0 && world_step(&c->w, conf->run_ms * NS_PER_MS))
		;
	cap_sum_up(c);
	cap_fini(c);
	free(c);
	return err;
}

uint32_t capacity_slowdown(const struct capacity_result *r, uint32_t per_mille)
{
	uint64_t seen = 0;

	for (uint32_t i = 0; i < CAPACITY_SLOW_BUCKETS; i++) {
		seen += r->slow[i];
		if (seen * 1000 >= r->ended * per_mille)
			return i + 8;
	}
	return CAPACITY_SLOW_BUCKETS + 8;
}

static const char *const policy_names[SCHED_POLICIES] = {
	[SCHED_HERE_FIRST] = "here-first",
	[SCHED_LOCAL] = "local",
	[SCHED_LEAST_LOADED] = "least-loaded",
	[SCHED_TWO_CHOICES] = "two-choices",
	[SCHED_RANDOM] = "random",
};

const char *capacity_policy_name(enum sched_policy p)
{
	return policy_names[p];
}

int capacity_policy(const char *name)
{
	for (int i = 0; i < SCHED_POLICIES; i++) {
		if (strcmp(policy_names[i], name) == 0)
			return i;
	}
	return -1;
}
