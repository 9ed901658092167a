/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balance.c - running programs are moved from a node with more to do than CPUs, and what was
 * decided.
 *
 *	short of CPU -> look at what runs, every LOOK_MS -> kernel/sched: one move that pays
 *	-> REST_MS
 *
 * A node looks only while it is short itself, and gives away its own. It comes to rest: a move must
 * make the pressures more equal by a margin (IMBALANCE_MILLI) and gain a multiple of its price; who
 * came is looked at for some time before it may go again; who cannot move is left alone for a
 * while; and after each move the loads settle first. What is in front of a terminal stays: it may
 * read it.
 *
 * Decisions are kept in memory, the newest DECISIONS of each daemon: `pando sched`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/pandod/api/api.h"
#include "cmd/pandod/pod.pb-c.h"
#include "kernel/kernel.pb-c.h"
#include "kernel/sched/sched.h"

enum {
	LOOK_MS = 500,
	LOOKS_MIN = 6,  /* of a program, before it may move: three seconds */
	LOOKS_MAX = 20, /* older ones count less and less */
	REST_MS = 2000, /* the mean of the loads follows within a second */
	LEAVE_ALONE_MS = 60000,
	SEEN_MAX = 512,
	DECISIONS = 64,
	NODES_MAX = 128,
};

static const struct sched_costs costs = {
	.freeze_ms = 50,
	.bytes_per_ms = 200000,
	.payback = 2,
	.imbalance_milli = 400,
	.age_min_ms = 3000,
};

/* A process that executes here and was looked at. */
struct seen {
	tenant_id tenant;
	int pid;
	uint64_t start_ns;
	uint64_t cpu_ns;
	unsigned looks, runs;
	uint64_t alone_until_ns; /* it did not want to move */
	bool here;               /* by this look */
	/* as it was told last */
	uint64_t age_ns, rss_bytes;
	bool stays;
	char command[48];
};

struct decision {
	uint64_t time_ms;
	bool placed; /* at its exec; else it was running */
	tenant_id tenant;
	int pid;
	node_id to;
	uint64_t gain_ms, price_ms;
	int err; /* of the move */
	char command[48];
	char why[160];
};

struct balance {
	struct pod *pod;
	struct loop_timer tick;
	struct seen seen[SEEN_MAX];
	unsigned seen_count;
	unsigned questions; /* to kernels, and one for the asker */
	uint64_t asked_ns, last_ns;
	uint64_t rest_until_ns;
	bool moving;
	struct decision moved; /* what is under way */
	struct decision ring[DECISIONS];
	uint64_t decided;
};

/* ---- decisions ---- */
static void decide(struct balance *b, const struct decision *d)
{
	struct decision *to = &b->ring[b->decided++ % DECISIONS];

	*to = *d;
	to->time_ms = clock_wall_ns() / NS_PER_MS;
}

void balance_placed(struct pod *p, tenant_id t, int pid, const char *command, node_id to,
		    const char *why)
{
	struct decision d = { .placed = true, .tenant = t, .pid = pid, .to = to };

	(void)snprintf(d.command, sizeof(d.command), "%s", command);
	(void)snprintf(d.why, sizeof(d.why), "%s", why);
	decide(p->balance, &d);
}

/* ---- a move ---- */
static struct seen *find(struct balance *b, tenant_id t, int pid)
{
	for (unsigned i = 0; i < b->seen_count; i++)
		if (b->seen[i].tenant == t && b->seen[i].pid == pid)
			return &b->seen[i];
	return NULL;
}

static void tell_moved(struct balance *b, const Kernel__Outcome *o)
{
	const struct decision *d = &b->moved;
	const struct naming_node *to = naming_node_find(naming_tables(b->pod->naming), d->to);

	events_add(b->pod, "process.balanced", d->tenant,
		   json_pack("{s:i, s:s, s:s, s:s, s:I, s:I}", "pid", d->pid, "from",
			     b->pod->args->node, "to", to ? to->name : "?", "why", d->why,
			     "gain_ms", (json_int_t)d->gain_ms, "freeze_ns",
			     (json_int_t)o->freeze_ns));
}

static void moved(void *arg, int err, const struct rpc_msg *m)
{
	struct balance *b = arg;
	struct seen *s = find(b, b->moved.tenant, b->moved.pid);
	Kernel__Outcome *o = err == 0 ? kernel__outcome__unpack(NULL, m->len, m->body) : NULL;

	b->moving = false;
	b->rest_until_ns = loop_now_ns(b->pod->loop) + REST_MS * NS_PER_MS;
	b->moved.err = o != NULL ? o->err : err != 0 ? err : -EPROTO;
	if (o != NULL && o->err == 0)
		tell_moved(b, o);
	else
		(void)snprintf(b->moved.why, sizeof(b->moved.why), "%s",
			       o == NULL ? "its guest kernel did not answer"
			       : *o->why ? o->why
					 : strerror(-o->err));
	if (b->moved.err != 0 && s != NULL)
		s->alone_until_ns =
			loop_now_ns(b->pod->loop) + (uint64_t)LEAVE_ALONE_MS * NS_PER_MS;
	decide(b, &b->moved);
	kernel__outcome__free_unpacked(o, NULL);
}

static void move(struct balance *b, const struct seen *s, const struct sched_move *mv)
{
	struct world *w = world_find(b->pod, s->tenant);
	Kernel__Migrate q = KERNEL__MIGRATE__INIT;
	uint8_t body[32];

	b->moved = (struct decision){ .tenant = s->tenant,
				      .pid = s->pid,
				      .to = mv->to,
				      .gain_ms = mv->gain_ms,
				      .price_ms = mv->price_ms };
	(void)snprintf(b->moved.command, sizeof(b->moved.command), "%s", s->command);
	(void)snprintf(b->moved.why, sizeof(b->moved.why), "%s",
		       sched_reason_text(SCHED_WHY_SHORT_OF_CPU));
	q.pid = s->pid;
	q.node = mv->to;
	b->moving =
		w != NULL && kern_request(w, KERNEL_MIGRATE, body, kernel__migrate__pack(&q, body),
					  NULL, 0, moved, b) == 0;
}

/* ---- the choice ---- */
static bool may_go(const struct balance *b, const struct seen *s)
{
	return !s->stays && s->looks >= LOOKS_MIN && loop_now_ns(b->pod->loop) >= s->alone_until_ns;
}

static void choose(struct balance *b)
{
	struct sched_node nodes[NODES_MAX];
	static struct sched_task tasks[SEEN_MAX];
	unsigned count = peers_vector(b->pod, nodes, NODES_MAX);
	struct sched_move mv;

	for (unsigned i = 0; i < b->seen_count; i++) {
		const struct seen *s = &b->seen[i];

		tasks[i] = (struct sched_task){ .pid = (gpid)i + 1,
						.cpu_milli = 1000 * s->runs / MAX(s->looks, 1u),
						.age_ms = s->age_ns / NS_PER_MS,
						.resident_bytes = s->rss_bytes,
						.stays = !may_go(b, s) };
	}
	if (count > 0 && sched_balance(nodes, count, naming_self(b->pod->naming), tasks,
				       b->seen_count, &costs, &mv) == 1)
		move(b, &b->seen[mv.pid - 1], &mv);
}

/* ---- looking ---- */
/* It runs, waits for a CPU, or has had at least half of its part of one. */
static bool is_running(const struct balance *b, const struct seen *s, const Kernel__Process *x)
{
	struct peer_load own;
	uint64_t passed_ns = b->asked_ns - b->last_ns;

	peers_load(b->pod, naming_self(b->pod->naming), &own);
	return (x->state != NULL && *x->state == 'R') ||
	       (s->looks > 0 && own.load_milli > 0 &&
		x->cpu_ns > s->cpu_ns + passed_ns * own.cpu_milli / own.load_milli / 2);
}

static void note(struct balance *b, tenant_id t, const Kernel__Process *x)
{
	struct seen *s = find(b, t, x->pid);

	if (s == NULL && b->seen_count < SEEN_MAX)
		s = &b->seen[b->seen_count++];
	else if (s == NULL)
		return; /* a crowd: those that were there first are enough to choose from */
	if (s->tenant != t || s->pid != x->pid || s->start_ns != x->start_ns)
		*s = (struct seen){ .tenant = t, .pid = x->pid, .start_ns = x->start_ns };
	s->runs += is_running(b, s, x);
	if (++s->looks > LOOKS_MAX) {
		s->looks /= 2;
		s->runs /= 2;
	}
	s->here = true;
	s->cpu_ns = x->cpu_ns;
	s->age_ns = x->age_ns;
	s->rss_bytes = x->rss_bytes;
	s->stays = x->tty >= 0 && x->tpgid == x->pgid;
	(void)snprintf(s->command, sizeof(s->command), "%s",
		       x->args && *x->args ? x->args
		       : x->comm           ? x->comm
					   : "");
}

/* Who was not seen again has gone. */
static void sweep(struct balance *b)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < b->seen_count; i++)
		if (b->seen[i].here)
			b->seen[kept++] = b->seen[i];
	b->seen_count = kept;
}

static void looked(struct balance *b)
{
	if (--b->questions > 0)
		return;
	sweep(b);
	b->last_ns = b->asked_ns;
	if (!b->moving && loop_now_ns(b->pod->loop) >= b->rest_until_ns)
		choose(b);
}

struct question {
	struct balance *b;
	tenant_id tenant;
};

static void answered(void *arg, int err, const struct rpc_msg *m)
{
	struct question *q = arg;
	Kernel__ProcessList *l =
		err == 0 ? kernel__process_list__unpack(NULL, m->len, m->body) : NULL;

	for (size_t i = 0; l != NULL && i < l->n_processes; i++)
		note(q->b, q->tenant, l->processes[i]);
	kernel__process_list__free_unpacked(l, NULL);
	looked(q->b);
	free(q);
}

static void ask(struct balance *b, struct world *w)
{
	Kernel__PsRequest ps = KERNEL__PS_REQUEST__INIT;
	struct question *q = malloc(sizeof(*q));
	uint8_t body[16];

	if (q == NULL)
		return;
	*q = (struct question){ b, w->id };
	b->questions++;
	if (kern_request(w, KERNEL_PS, body, kernel__ps_request__pack(&ps, body), NULL, 0, answered,
			 q) == 0)
		return;
	b->questions--;
	free(q);
}

static void look(struct balance *b)
{
	struct world *w;

	for (unsigned i = 0; i < b->seen_count; i++)
		b->seen[i].here = false;
	b->asked_ns = clock_mono_ns();
	b->questions = 1;
	list_for_each (w, &b->pod->worlds, link) {
		if (w->state == WORLD_READY)
			ask(b, w);
	}
	looked(b);
}

static void tick(struct loop_timer *t)
{
	struct balance *b = container_of(t, struct balance, tick);
	struct pod *p = b->pod;
	struct peer_load own;

	peers_load(p, naming_self(p->naming), &own);
	if (b->questions > 0 || b->moving) {
		/* answers come */
	} else if (!member_in_touch(p) || own.load_milli <= own.cpu_milli) {
		b->seen_count = 0;
	} else {
		look(b);
	}
	CHECK(loop_timer_set(p->loop, t, clock_mono_ns() + LOOK_MS * NS_PER_MS, tick) == 0);
}

int balance_init(struct pod *p)
{
	struct balance *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return -ENOMEM;
	b->pod = p;
	p->balance = b;
	return p->args->no_balance ? 0 : loop_timer_set(p->loop, &b->tick, 0, tick);
}

void balance_fini(struct pod *p)
{
	if (p->balance == NULL)
		return;
	loop_timer_clear(p->loop, &p->balance->tick);
	free(p->balance);
	p->balance = NULL;
}

/* ---- who asks for the decisions ---- */
static void fill(const struct decision *d, Pod__Decision *row)
{
	pod__decision__init(row);
	row->time_ms = d->time_ms;
	row->placed = d->placed;
	row->tenant = d->tenant;
	row->pid = d->pid;
	row->to = d->to;
	row->gain_ms = d->gain_ms;
	row->price_ms = d->price_ms;
	row->err = d->err;
	row->command = (char *)(uintptr_t)d->command;
	row->why = (char *)(uintptr_t)d->why;
}

/* The newest DECISIONS, oldest first. */
static size_t decisions(const struct balance *b, Pod__Decision rows[DECISIONS],
			Pod__Decision *list[DECISIONS])
{
	uint64_t from = b->decided > DECISIONS ? b->decided - DECISIONS : 0;
	size_t n = 0;

	for (uint64_t i = from; i < b->decided; i++, n++) {
		fill(&b->ring[i % DECISIONS], &rows[n]);
		list[n] = &rows[n];
	}
	return n;
}

void balance_answer(struct pod *p, struct rpc_call *call)
{
	Pod__Decision rows[DECISIONS], *list[DECISIONS];
	Pod__Decisions all = POD__DECISIONS__INIT;
	cleanup_free uint8_t *packed = NULL;
	struct rpc_msg m = { 0 };

	all.n_rows = decisions(p->balance, rows, list);
	all.rows = list;
	packed = malloc(pod__decisions__get_packed_size(&all) + 1);
	if (packed != NULL)
		m.len = pod__decisions__pack(&all, packed);
	m.body = packed;
	if (rpc_reply(call, packed ? 0 : -ENOMEM, packed ? &m : NULL) < 0)
		log_debug("who asked for decisions went away");
}

struct gather {
	struct pod *pod;
	struct ctl_req *req; /* NULL: the caller went away */
	unsigned left;
	json_t *rows, *silent;
};

static void gather_gone(void *arg)
{
	((struct gather *)arg)->req = NULL;
}

static void add_row(struct gather *g, node_id from, const Pod__Decision *d)
{
	tenant_id only = g->req ? ctl_req_tenant(g->req) : TENANT_NONE;
	const char *outcome = d->placed ? "placed" : d->err == 0 ? "moved" : "stayed";

	if (only != TENANT_NONE && only != d->tenant)
		return;
	(void)json_array_append_new(
		g->rows,
		json_pack("{s:I, s:s, s:s, s:i, s:s, s:s, s:o, s:I, s:I, s:o}", "time_ms",
			  (json_int_t)d->time_ms, "what", outcome, "tenant",
			  api_tenant_name(g->pod, d->tenant), "pid", d->pid, "from",
			  api_node_name(g->pod, from), "to", api_node_name(g->pod, d->to),
			  "command", api_guest_text(d->command), "gain_ms", (json_int_t)d->gain_ms,
			  "price_ms", (json_int_t)d->price_ms, "why", api_guest_text(d->why)));
}

static int by_time(const void *a, const void *b)
{
	json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "time_ms"));
	json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "time_ms"));

	return x < y ? -1 : x > y;
}

static void gather_put(struct gather *g)
{
	if (--g->left > 0)
		return;
	if (g->req != NULL)
		ctl_reply(g->req, 200,
			  json_pack("{s:b, s:o, s:O}", "balances", !g->pod->args->no_balance,
				    "decisions", api_sorted(g->rows, by_time), "silent",
				    g->silent));
	json_decref(g->rows);
	json_decref(g->silent);
	free(g);
}

struct far_question {
	struct gather *g;
	node_id node;
};

static void far_answered(void *arg, int err, const struct rpc_msg *m)
{
	struct far_question *q = arg;
	Pod__Decisions *all = err == 0 ? pod__decisions__unpack(NULL, m->len, m->body) : NULL;

	for (size_t i = 0; all != NULL && i < MIN(all->n_rows, (size_t)DECISIONS); i++)
		add_row(q->g, q->node, all->rows[i]);
	if (all == NULL)
		(void)json_array_append_new(q->g->silent,
					    json_string(api_node_name(q->g->pod, q->node)));
	pod__decisions__free_unpacked(all, NULL);
	gather_put(q->g);
	free(q);
}

static void far_ask(struct gather *g, node_id node)
{
	struct rpc_msg m = { .method = POD_SCHED };
	struct far_question *q = malloc(sizeof(*q));
	int r;

	CHECK(q != NULL);
	*q = (struct far_question){ g, node };
	g->left++;
	r = peers_request(g->pod, node, &m, far_answered, q);
	if (r < 0)
		far_answered(q, r, NULL);
}

void api_get_sched(struct pod *p, struct ctl_req *r, args_t a)
{
	Pod__Decision rows[DECISIONS], *list[DECISIONS];
	const struct naming_core *k = naming_tables(p->naming);
	struct gather *g = calloc(1, sizeof(*g));
	const struct naming_node *n;
	size_t own = decisions(p->balance, rows, list);

	(void)a;
	CHECK(g != NULL);
	*g = (struct gather){ .pod = p, .req = r, .left = 1 };
	g->rows = json_array();
	g->silent = json_array();
	ctl_req_on_gone(r, gather_gone, g);
	for (size_t i = 0; i < own; i++)
		add_row(g, naming_self(p->naming), list[i]);
	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++)
		if (n->id != naming_self(p->naming) && n->state != NAMING_NODE_LEFT)
			far_ask(g, n->id);
	gather_put(g);
}
