/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota.c - what tenants may use here: shares of their limits (quota/core), and the control groups
 * that hold their worlds to them.
 *
 * Every world has a loan in the tables before it starts, without a limit one of "any": so that a
 * limit which is set later finds all that is lent. What is used is looked at ten times a second
 * where there is a limit. Nodes tell each other once a second what a tenant uses, for `quota`, and
 * for what is left of its memory.
 *
 * A loan goes back when nothing of the tenant runs here any more: the group of its guests is empty.
 */
#include "cmd/pandod/tenant/quota.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pandod/pod.pb-c.h"
#include "kernel/kernel.pb-c.h"

enum {
	TICK_MS = 100,
	SLOW_TICKS = 10,     /* without a limit, and for what is told to others */
	PATIENCE_MS = 8000,  /* of a world that waits for its loan */
	COMMAND_MS = 5000,   /* the ledger's answer */
	FAR_OLD_MS = 4000,   /* what a node told is not believed longer */
	USE_MAX = 512,       /* tenants in one message */
	SAY_AGAIN_MS = 4500, /* to a guest kernel what it knows */
};

static void step(struct quota_tenant *q, enum quota_ev_kind kind, int err,
		 const struct quota_amounts *a);
static void tell_kernel(struct quota_tenant *q);

/* ---- finding ---- */

struct quota_tenant *quota_find(const struct pod *p, tenant_id t)
{
	struct quota_tenant *q;

	list_for_each (q, &p->quota->tenants, link)
		if (q->id == t)
			return q;
	return NULL;
}

static struct quota_tenant *tenant_get(struct pod *p, tenant_id t, const char *name)
{
	struct quota_tenant *q = quota_find(p, t);

	if (q != NULL)
		return q;
	q = calloc(1, sizeof(*q));
	CHECK(q != NULL);
	q->pod = p;
	q->id = t;
	(void)snprintf(q->name, sizeof(q->name), "%s", name);
	q->full_event = -1;
	quota_share_init(&q->share);
	list_add_tail(&p->quota->tenants, &q->link);
	return q;
}

void quota_group(const struct quota_tenant *q, const char *part, char out[CGROUP_PATH_MAX])
{
	(void)snprintf(out, CGROUP_PATH_MAX, "%.180s/%s%s", q->pod->group, q->name, part);
}

/* ---- holding a world to its share ---- */

static uint32_t fit(uint64_t v)
{
	return v == QUOTA_ANY ? 0 : (uint32_t)MIN(v, UINT64_C(0x7fffffff));
}

static void limits_of(const struct quota_tenant *q, const struct quota_amounts *a,
		      struct cgroup_limits *out)
{
	*out = (struct cgroup_limits){
		.cpu_milli = fit(a->v[QUOTA_CPU]),
		.pids_max = fit(a->v[QUOTA_PROCS]),
		.memory_max_bytes = a->v[QUOTA_MEMORY] == QUOTA_ANY ? 0 : a->v[QUOTA_MEMORY],
	};
	/* 0 is no limit to a group. */
	out->cpu_milli += a->v[QUOTA_CPU] == 0;
	out->pids_max += a->v[QUOTA_PROCS] == 0;
	out->memory_max_bytes += a->v[QUOTA_MEMORY] == 0;
	(void)q;
}

static uint64_t memory_used(struct pod *p, const char *group, const struct cgroup_stats *st)
{
	uint64_t cached = 0;

	if (cgroup_cached(p->cgroups, group, &cached) < 0)
		cached = 0;
	return st->memory_bytes > cached ? st->memory_bytes - cached : 0;
}

/* What is in use already cannot be taken away: then the old limit stays, and is told. */
static void keep_what_is_used(const struct quota_tenant *q, const char *group,
			      const struct quota_amounts *old, struct quota_amounts *now)
{
	struct cgroup_stats st;

	if (cgroup_stats(q->pod->cgroups, group, &st) < 0) {
		*now = *old;
		return;
	}
	if (st.pids > now->v[QUOTA_PROCS])
		now->v[QUOTA_PROCS] = MAX(now->v[QUOTA_PROCS], old->v[QUOTA_PROCS]);
	if (now->v[QUOTA_MEMORY] < old->v[QUOTA_MEMORY] &&
	    memory_used(q->pod, group, &st) + now->v[QUOTA_MEMORY] / 32 > now->v[QUOTA_MEMORY])
		now->v[QUOTA_MEMORY] = old->v[QUOTA_MEMORY];
}

static int hold_group(const struct quota_tenant *q, const char *group,
		      const struct quota_amounts *a)
{
	struct cgroup_limits l;
	int r;

	limits_of(q, a, &l);
	r = cgroup_limit(q->pod->cgroups, group, &l);
	if (r == -EOPNOTSUPP && !q->pod->quota->warned) {
		q->pod->quota->warned = true;
		log_warn("this host lacks a controller: not every limit is enforced");
	}
	return r == -EOPNOTSUPP ? 0 : r;
}

static void enforce(struct quota_tenant *q, const struct quota_amounts *want)
{
	struct quota_amounts now = *want;
	char group[CGROUP_PATH_MAX];
	int r = 0;

	if (q->started) {
		quota_group(q, "/guests", group);
		/* Looked at before, since memory that is short is fought for by killing, and after,
		 * since tasks may have been born in between. */
		keep_what_is_used(q, group, &q->hold, &now);
		r = hold_group(q, group, &now);
		if (r == 0) {
			struct quota_amounts then = now;

			keep_what_is_used(q, group, &q->hold, &then);
			if (memcmp(&then, &now, sizeof(now)) != 0)
				r = hold_group(q, group, &then);
			now = then;
		}
	}
	if (r < 0) {
		/* Nobody knows what of it took effect: more is claimed than given back. */
		log_warn("cannot hold %s to its share: %s", q->name, strerror(-r));
		for (unsigned i = 0; i < QUOTA_RESOURCES; i++)
			now.v[i] = MAX(now.v[i], q->hold.v[i]);
	}
	q->hold = now;
	tell_kernel(q);
	FAULT("pod.quota.held");
	step(q, QUOTA_EV_HELD, 0, &now);
}

/* ---- the ledger ---- */

static void answered(void *arg, int err, const struct naming_result *r)
{
	struct quota_tenant *q = arg;

	q->asking = false;
	if (err == -ECANCELED)
		return;
	if (err == 0) {
		q->pod->quota->answers++;
		q->pod->quota->answer_ns += clock_mono_ns() - q->asked_ns;
	}
	step(q, QUOTA_EV_ANSWER, err != 0 ? err : r->err, NULL);
}

static void propose(struct quota_tenant *q, const struct quota_out *o)
{
	struct pod *p = q->pod;
	struct naming_cmd cmd;
	int r;

	quota_command_of(naming_tables(p->naming), q->id, naming_self(p->naming), o, &cmd);
	q->asked_ns = clock_mono_ns();
	r = naming_propose(p->naming, &cmd, q->asked_ns + COMMAND_MS * NS_PER_MS, answered, q);
	q->asking = r == 0;
	q->unsent = r < 0;
	p->quota->asks++;
}

/* ---- what follows from a step ---- */

static void tell_ready(struct loop_timer *t)
{
	struct quota_tenant *q = container_of(t, struct quota_tenant, tell);
	struct world *w = q->world;

	if (w == NULL || q->told)
		return;
	q->told = true;
	loop_timer_clear(q->pod->loop, &q->late);
	world_lent(w, q->err, q->why);
}

static void tell_soon(struct quota_tenant *q, int err, const char *why)
{
	if (q->told || q->world == NULL)
		return;
	q->err = err;
	(void)snprintf(q->why, sizeof(q->why), "%s", why);
	CHECK(loop_timer_set(q->pod->loop, &q->tell, 0, tell_ready) == 0);
}

static void step(struct quota_tenant *q, enum quota_ev_kind kind, int err,
		 const struct quota_amounts *a)
{
	struct pod *p = q->pod;
	struct quota_view v;
	struct quota_ev ev = { .kind = kind, .err = err, .view = &v };
	struct quota_out out;

	quota_view_of(naming_tables(p->naming), q->id, naming_self(p->naming), &v);
	if (a != NULL)
		ev.amounts = *a;
	if (quota_share_step(&q->share, &ev, &out) < 0)
		return;
	if (out.enforce)
		enforce(q, &out.hold);
	if (out.propose)
		propose(q, &out);
	if (q->share.ready)
		tell_soon(q, 0, "");
	else if (q->share.refused == -ENOSPC)
		tell_soon(q, -ENOSPC, "the machine's tables have no room for its loan");
}

/* ---- what is used ---- */

static bool is_limited(const struct quota_tenant *q)
{
	const struct naming_tenant *t = naming_tenant_find(naming_tables(q->pod->naming), q->id);

	for (unsigned r = 0; t != NULL && r < QUOTA_RESOURCES; r++)
		if (naming_limit(t, r) != NAMING_ANY)
			return true;
	return false;
}

static void measure(struct quota_tenant *q)
{
	char group[CGROUP_PATH_MAX];
	uint64_t now = clock_mono_ns(), ns = now - q->cpu_at_ns;
	struct cgroup_stats st;

	if (!q->started)
		return;
	quota_group(q, "/guests", group);
	if (cgroup_stats(q->pod->cgroups, group, &st) < 0)
		return;
	q->calm = st.cpu_ns - q->cpu_ns < NS_PER_MS && st.pids == q->use.v[QUOTA_PROCS]
			  ? MIN(q->calm + 1, (unsigned)QUOTA_CALM_MAX)
			  : 0;
	if (q->cpu_at_ns != 0 && ns > 0 && st.cpu_ns >= q->cpu_ns)
		q->use.v[QUOTA_CPU] = (st.cpu_ns - q->cpu_ns) * 1000 / ns;
	q->cpu_ns = st.cpu_ns;
	q->cpu_at_ns = now;
	q->use.v[QUOTA_PROCS] = st.pids;
	q->use.v[QUOTA_MEMORY] = memory_used(q->pod, group, &st);
	quota_reweigh(q);
}

void quota_look(struct quota_tenant *q)
{
	measure(q);
	quota_mind_memory(q);
	step(q, QUOTA_EV_TICK, 0, &q->use);
}

/* ---- between nodes ---- */

void quota_tell_use(struct pod *p)
{
	Pod__Use use = POD__USE__INIT;
	Pod__TenantUse rows[USE_MAX], *list[USE_MAX];
	cleanup_free uint8_t *body = NULL;
	struct rpc_msg m = { .method = POD_USE };
	struct quota_tenant *q;

	list_for_each (q, &p->quota->tenants, link) {
		Pod__TenantUse *row = &rows[use.n_rows];

		if (!q->started || use.n_rows == USE_MAX)
			continue;
		pod__tenant_use__init(row);
		row->tenant = q->id;
		row->cpu_milli = q->use.v[QUOTA_CPU];
		row->procs = q->use.v[QUOTA_PROCS];
		row->memory_bytes = q->use.v[QUOTA_MEMORY];
		list[use.n_rows++] = row;
	}
	use.rows = list;
	body = malloc(pod__use__get_packed_size(&use) + 1);
	if (body == NULL)
		return;
	m.body = body;
	m.len = pod__use__pack(&use, body);
	peers_tell(p, &m);
}

static struct quota_far *far_get(struct quota *qs, node_id node, tenant_id t)
{
	struct quota_far *f;

	list_for_each (f, &qs->far, link)
		if (f->node == node && f->tenant == t)
			return f;
	f = calloc(1, sizeof(*f));
	if (f == NULL)
		return NULL;
	f->node = node;
	f->tenant = t;
	list_add_tail(&qs->far, &f->link);
	return f;
}

void quota_heard(struct pod *p, node_id from, const void *body, size_t len)
{
	Pod__Use *use = pod__use__unpack(NULL, len, body);

	for (size_t i = 0; use != NULL && i < use->n_rows && i < USE_MAX; i++) {
		const Pod__TenantUse *row = use->rows[i];
		struct quota_far *f = NULL;

		if (naming_tenant_find(naming_tables(p->naming), row->tenant) != NULL)
			f = far_get(p->quota, from, row->tenant);
		if (f == NULL)
			continue;
		f->use =
			(struct quota_amounts){ { row->cpu_milli, row->procs, row->memory_bytes } };
		f->heard_ns = clock_mono_ns();
	}
	pod__use__free_unpacked(use, NULL);
}

static void forget_old(struct quota *qs)
{
	uint64_t now = clock_mono_ns();
	struct quota_far *f, *next;

	list_for_each_safe (f, next, &qs->far, link)
		if (now - f->heard_ns > FAR_OLD_MS * NS_PER_MS) {
			list_del(&f->link);
			free(f);
		}
}

bool quota_use(const struct pod *p, tenant_id t, node_id node, struct quota_amounts *out)
{
	const struct quota_tenant *q = quota_find(p, t);
	const struct quota_far *f;

	memset(out, 0, sizeof(*out));
	if (node == naming_self(p->naming)) {
		if (q == NULL || !q->started)
			return false;
		*out = q->use;
		return true;
	}
	list_for_each (f, &p->quota->far, link)
		if (f->node == node && f->tenant == t) {
			*out = f->use;
			return true;
		}
	return false;
}

/* ---- the guest kernel, which shows it to its guests ---- */

/* Each one wakes a guest kernel: what it knows is told again now and then only, for its new guests.
 */
static void tell_kernel(struct quota_tenant *q)
{
	const struct naming_core *k = naming_tables(q->pod->naming);
	const struct naming_tenant *t = naming_tenant_find(k, q->id);
	Kernel__Quota m = KERNEL__QUOTA__INIT;
	const struct quota_far *f;
	uint8_t body[sizeof(q->said)];
	struct rpc_msg msg = { .method = KERNEL_QUOTA, .body = body };

	if (t == NULL || q->world == NULL || q->world->kernel == NULL)
		return;
	m.cpu_milli = t->limits.cpu_milli;
	m.procs = t->limits.procs;
	m.memory_bytes = t->limits.memory_bytes;
	m.memory_used_bytes = q->use.v[QUOTA_MEMORY];
	m.cpu_used_milli = q->use.v[QUOTA_CPU];
	m.memory_left_bytes = quota_memory_left(q);
	list_for_each (f, &q->pod->quota->far, link) {
		if (f->tenant != q->id)
			continue;
		m.memory_used_bytes += f->use.v[QUOTA_MEMORY];
		m.cpu_used_milli += f->use.v[QUOTA_CPU];
	}
	CHECK(kernel__quota__get_packed_size(&m) <= sizeof(body));
	msg.len = kernel__quota__pack(&m, body);
	if (msg.len == q->said_len && memcmp(body, q->said, msg.len) == 0 &&
	    clock_mono_ns() - q->said_ns < SAY_AGAIN_MS * NS_PER_MS)
		return;
	if (rpc_send(q->world->kernel, &msg) < 0) {
		log_debug("the quota was not told to the kernel of %s", q->name);
		return;
	}
	memcpy(q->said, body, msg.len);
	q->said_len = msg.len;
	q->said_ns = clock_mono_ns();
}

void quota_introduce(struct world *w)
{
	struct quota_tenant *q = quota_find(w->pod, w->id);

	if (q == NULL)
		return;
	q->said_len = 0;
	tell_kernel(q);
}

/* ---- worlds ---- */

static const char *unit(unsigned r)
{
	static const char *const names[QUOTA_RESOURCES] = { "cores are", "processes are",
							    "memory is" };

	return names[r];
}

/* Who holds what it waits for. */
static void why_not(const struct quota_tenant *q, char *out, size_t size)
{
	const struct naming_core *k = naming_tables(q->pod->naming);
	const struct naming_loan *l, *most = NULL;
	const struct naming_node *n;
	struct quota_view v;
	unsigned r = 0;

	quota_view_of(k, q->id, naming_self(q->pod->naming), &v);
	while (r < QUOTA_RESOURCES && v.lent.v[r] >= v.least.v[r])
		r++;
	if (r == QUOTA_RESOURCES || !v.row) {
		(void)snprintf(out, size, "the machine's tables do not answer in time");
		return;
	}
	for (uint32_t i = 0; (l = naming_loan_at(k, i)) != NULL; i++)
		if (l->tenant == q->id && (most == NULL || l->lent[r] > most->lent[r]))
			most = l;
	n = most ? naming_node_find(k, most->node) : NULL;
	(void)snprintf(out, size, "its %s all lent and in use, most of it at %s", unit(r),
		       n ? n->name : "another node");
}

static void too_late(struct loop_timer *t)
{
	struct quota_tenant *q = container_of(t, struct quota_tenant, late);
	char why[TENANT_WHY_MAX];

	why_not(q, why, sizeof(why));
	tell_soon(q, -EDQUOT, why);
}

static void begin(struct quota_tenant *q, struct world *w, const struct quota_amounts *held)
{
	q->world = w;
	q->told = q->closing = false;
	q->hold = *held;
	memset(&q->use, 0, sizeof(q->use));
	q->cpu_at_ns = 0;
	q->part = 0;
	q->stops_known = false;
	step(q, QUOTA_EV_OPEN, 0, held);
}

void quota_open(struct world *w)
{
	struct quota_tenant *q = tenant_get(w->pod, w->id, w->name);
	const struct quota_amounts none = { { 0 } };

	q->started = false;
	CHECK(loop_timer_set(w->pod->loop, &q->late, clock_mono_ns() + PATIENCE_MS * NS_PER_MS,
			     too_late) == 0);
	if (q->closing) { /* the tick goes on with it when the old world is gone */
		q->world = w;
		q->told = false;
		return;
	}
	begin(q, w, &none);
}

void quota_adopt(struct world *w)
{
	struct quota_tenant *q = tenant_get(w->pod, w->id, w->name);
	struct quota_amounts held = { { QUOTA_ANY, QUOTA_ANY, QUOTA_ANY } };
	char group[CGROUP_PATH_MAX];
	struct cgroup_limits l;

	quota_group(q, "/guests", group);
	if (cgroup_limits_read(w->pod->cgroups, group, &l) == 0) {
		held.v[QUOTA_CPU] = l.cpu_milli ? l.cpu_milli : QUOTA_ANY;
		held.v[QUOTA_PROCS] = l.pids_max ? l.pids_max : QUOTA_ANY;
		held.v[QUOTA_MEMORY] = l.memory_max_bytes ? l.memory_max_bytes : QUOTA_ANY;
	}
	q->started = true;
	quota_watch_memory(q);
	begin(q, w, &held);
	q->told = true;
}

void quota_limits(const struct world *w, struct cgroup_limits *out)
{
	const struct quota_tenant *q = quota_find(w->pod, w->id);

	CHECK(q != NULL);
	limits_of(q, &q->hold, out);
}

void quota_started(struct world *w)
{
	struct quota_tenant *q = quota_find(w->pod, w->id);

	CHECK(q != NULL);
	q->started = true;
	quota_watch_memory(q);
	quota_weigh(q);
}

/* Nothing of the tenant runs here. A group that is gone is empty. */
static bool is_empty(const struct quota_tenant *q)
{
	char group[CGROUP_PATH_MAX];
	int r;

	quota_group(q, "/guests", group);
	r = cgroup_empty(q->pod->cgroups, group);
	return r == 1 || r == -ENOENT || r == -ENODEV;
}

static void close_if_empty(struct quota_tenant *q)
{
	const struct quota_amounts none = { { 0 } };
	struct world *next = q->world;

	if (!is_empty(q))
		return;
	if (q->started && next == NULL)
		volume_release(q->pod, q->name);
	quota_unwatch_memory(q);
	q->closing = q->started = false;
	memset(&q->hold, 0, sizeof(q->hold));
	memset(&q->use, 0, sizeof(q->use));
	step(q, QUOTA_EV_CLOSE, 0, NULL);
	if (next != NULL)
		begin(q, next, &none);
}

void quota_close(struct world *w)
{
	struct quota_tenant *q = quota_find(w->pod, w->id);

	if (q == NULL || q->world != w)
		return;
	loop_timer_clear(w->pod->loop, &q->late);
	loop_timer_clear(w->pod->loop, &q->tell);
	q->world = NULL;
	q->closing = true;
	close_if_empty(q);
}

/* ---- time ---- */

/* Loans of a life whose world is gone: nobody here knows them but the tables. */
static void find_leftovers(struct pod *p)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_tenant *t;
	const struct naming_loan *l;

	for (uint32_t i = 0; (l = naming_loan_at(k, i)) != NULL; i++) {
		t = l->node == naming_self(p->naming) ? naming_tenant_find(k, l->tenant) : NULL;
		if (t != NULL && quota_find(p, t->id) == NULL)
			(void)tenant_get(p, t->id, t->name);
	}
}

static bool is_idle(const struct quota_tenant *q)
{
	return q->world == NULL && !q->closing && !q->asking && q->share.state == QUOTA_NONE &&
	       naming_loan_find(naming_tables(q->pod->naming), q->id,
				naming_self(q->pod->naming)) == NULL;
}

static void tick_one(struct quota_tenant *q, bool slow)
{
	bool limited = is_limited(q);
	bool look = slow || (limited && ++q->left_out > q->calm);

	if (q->closing) {
		close_if_empty(q);
		return;
	}
	if (q->world == NULL && !is_empty(q))
		return; /* what could not be adopted still runs, and holds what it holds */
	if (look) {
		q->left_out = 0;
		measure(q);
	}
	if (limited && (look || q->full_since_ns != 0))
		quota_mind_memory(q);
	if (q->unsent) {
		q->unsent = false;
		step(q, QUOTA_EV_ANSWER, -ETIMEDOUT, NULL);
	}
	if (look || q->share.state != QUOTA_HOLDING)
		step(q, QUOTA_EV_TICK, 0, &q->use);
	if (slow)
		tell_kernel(q);
}

static void tick(struct loop_timer *t)
{
	struct quota *qs = container_of(t, struct quota, tick);
	struct pod *p = qs->pod;
	bool slow = ++qs->ticks % SLOW_TICKS == 0;
	struct quota_tenant *q, *next;

	if (slow) {
		find_leftovers(p);
		forget_old(qs);
	}
	list_for_each_safe (q, next, &qs->tenants, link) {
		tick_one(q, slow);
		if (!is_idle(q))
			continue;
		quota_unwatch_memory(q);
		list_del(&q->link);
		free(q);
	}
	if (slow) {
		quota_tell_use(p);
		meter_tick(p);
	}
	CHECK(loop_timer_set(p->loop, t, clock_mono_ns() + TICK_MS * NS_PER_MS, tick) == 0);
}

void quota_tables(struct pod *p, uint32_t kinds)
{
	struct quota_tenant *q;
	uint32_t loans = 0;

	if (p->quota == NULL ||
	    (kinds & (naming_kind_bit(NAMING_LOAN) | naming_kind_bit(NAMING_TENANT))) == 0)
		return;
	while (naming_loan_at(naming_tables(p->naming), loans) != NULL)
		loans++;
	/* Another node begins with a tenant: it is to know what the tenant uses here. */
	if (loans > p->quota->loans)
		quota_tell_use(p);
	p->quota->loans = loans;
	list_for_each (q, &p->quota->tenants, link) {
		step(q, QUOTA_EV_VIEW, 0, NULL);
		if ((kinds & naming_kind_bit(NAMING_TENANT)) == 0 || !q->started)
			continue;
		quota_weigh(q);
		tell_kernel(q);
		if (naming_tenant_find(naming_tables(p->naming), q->id) != NULL)
			volume_follow(p, naming_tenant_find(naming_tables(p->naming), q->id));
	}
}

int quota_init(struct pod *p)
{
	p->quota = calloc(1, sizeof(*p->quota));
	if (p->quota == NULL)
		return -ENOMEM;
	p->quota->pod = p;
	list_init(&p->quota->tenants);
	list_init(&p->quota->far);
	return loop_timer_set(p->loop, &p->quota->tick, clock_mono_ns() + TICK_MS * NS_PER_MS,
			      tick);
}

/* After naming, which may still call back. Worlds run on, and are held to what they were. */
void quota_fini(struct pod *p)
{
	struct quota_tenant *q, *next;
	struct quota_far *f, *far;

	if (p->quota == NULL)
		return;
	loop_timer_clear(p->loop, &p->quota->tick);
	list_for_each_safe (q, next, &p->quota->tenants, link) {
		loop_timer_clear(p->loop, &q->late);
		loop_timer_clear(p->loop, &q->tell);
		free(q);
	}
	list_for_each_safe (f, far, &p->quota->far, link)
		free(f);
	free(p->quota);
	p->quota = NULL;
}
