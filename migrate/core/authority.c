/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/core/authority.h"

#include <errno.h>

#include "base/check.h"
#include "base/mutant.h"

/* A pid of a faulty peer may be anything: no CHECK. */
static struct mig_rec *auth_rec(const struct mig_auth *a, gpid pid)
{
	if (pid < a->first || (uint32_t)(pid - a->first) >= a->count)
		return NULL;
	return &a->recs[pid - a->first];
}

const struct mig_rec *migrate_auth_find(const struct mig_auth *a, gpid pid)
{
	return auth_rec(a, pid);
}

/* The epoch after @old, and above whatever an older authority wrote (A1). */
static epoch_t auth_next_epoch(const struct mig_auth *a, epoch_t old)
{
	epoch_t base = MUTANT("migrate.epoch.forgets_term") ? 0 : (epoch_t)a->aterm << 32;

	return MAX(old, base) + 1;
}

static struct mig_auth_fx *auth_fx(struct mig_auth_out *out, enum mig_auth_fx_kind kind)
{
	struct mig_auth_fx *fx;

	CHECK(out->count < MIG_AUTH_FX_MAX);
	fx = &out->fx[out->count++];
	*fx = (struct mig_auth_fx){ .kind = kind };
	return fx;
}

static void auth_write(struct mig_auth *a, gpid pid, node_id site, uint64_t move,
		       struct mig_auth_out *out)
{
	struct mig_rec *rec = auth_rec(a, pid);
	epoch_t old = rec->epoch;

	rec->epoch = auth_next_epoch(a, old);
	rec->site = site;
	rec->move = move;
	CHECK_INV(A1, rec->epoch > old);
	auth_fx(out, MIG_AUTH_FX_REMEMBER)->pid = pid;
}

static void auth_answer(const struct mig_auth *a, const struct mig_msg *m, struct mig_auth_out *out)
{
	const struct mig_rec *rec = auth_rec(a, m->pid);
	struct mig_auth_fx *fx = auth_fx(out, MIG_AUTH_FX_SEND);

	fx->to = m->from;
	fx->msg = (struct mig_msg){ .kind = MIG_RECORD,
				    .from = a->self,
				    .pid = m->pid,
				    .epoch = rec->epoch,
				    .move = rec->move,
				    .site = rec->site,
				    .asked = m->move,
				    .aterm = a->aterm };
}

void migrate_auth_init(struct mig_auth *a, node_id self, gpid first, uint32_t count, uint64_t aterm,
		       struct mig_rec *recs, struct mig_asked *asked, uint32_t asked_max)
{
	*a = (struct mig_auth){ .state = MIG_A_SERVING,
				.first = first,
				.count = count,
				.self = self,
				.aterm = aterm,
				.recs = recs,
				.asked = asked,
				.asked_max = asked_max };
	for (uint32_t i = 0; i < count; i++)
		recs[i] = (struct mig_rec){ 0 };
}

/* A4 */
void migrate_auth_adopt(struct mig_auth *a, uint64_t fenced)
{
	if (fenced <= a->aterm)
		return;
	a->state = MIG_A_RETIRED;
	a->wake_ns = 0;
}

epoch_t migrate_auth_born(struct mig_auth *a, gpid pid, struct mig_auth_out *out)
{
	struct mig_rec *rec = auth_rec(a, pid);

	out->count = 0;
	CHECK(a->state == MIG_A_SERVING && rec && rec->site == NODE_NONE);
	auth_write(a, pid, a->self, 0, out);
	if (MUTANT("migrate.birth.unremembered"))
		out->count = 0;
	return rec->epoch;
}

/* A2: from the present epoch only. A repeated claim finds the record that it made. */
static void auth_on_claim(struct mig_auth *a, const struct mig_msg *m, struct mig_auth_out *out)
{
	struct mig_rec *rec = auth_rec(a, m->pid);
	bool granted = rec->site != NODE_NONE && rec->epoch == m->epoch;

	if (MUTANT("migrate.commit.no_epoch"))
		granted = rec->site != NODE_NONE && rec->move != m->move;
	if (MUTANT("migrate.claim.same_move"))
		granted =
			rec->site != NODE_NONE &&
			(rec->epoch == m->epoch || (rec->move == m->move && rec->site != m->from));
	if (granted && MUTANT("migrate.record.unremembered")) {
		struct mig_auth_out dropped = { 0 };

		auth_write(a, m->pid, m->from, m->move, &dropped);
		auth_answer(a, m, out);
		return;
	}
	if (granted)
		auth_write(a, m->pid, m->from, m->move, out);
	auth_answer(a, m, out);
}

static void auth_on_gone(struct mig_auth *a, const struct mig_msg *m, struct mig_auth_out *out)
{
	struct mig_rec *rec = auth_rec(a, m->pid);

	/* By epoch: a GONE of an earlier life may arrive late. */
	if (rec->site == m->from && rec->epoch == m->epoch)
		auth_write(a, m->pid, NODE_NONE, 0, out);
	auth_answer(a, m, out);
}

static uint32_t auth_rank(enum mig_stance s)
{
	return (uint32_t)s;
}

/*
 * The more certain stance wins; two nodes cannot both be certain (K1). Of two that are not the one
 * who had it later: a source that has not heard that its target won may be asked together with that
 * target, which is moving the process on already (seed 1450).
 */
static void auth_merge(struct mig_auth *a, const struct mig_msg *m, const struct mig_stand *st)
{
	struct mig_rec *rec = auth_rec(a, st->pid);

	if (!rec || st->stance == MIG_FREE || auth_rank(st->stance) < auth_rank(rec->stance))
		return;
	if (st->stance == rec->stance && st->epoch <= rec->stand)
		return;
	rec->stance = st->stance;
	rec->stand = st->epoch;
	rec->site = st->stance == MIG_LOST ? st->peer : m->from;
	rec->move = st->move;
	rec->peer = st->peer;
}

static struct mig_asked *auth_asked(const struct mig_auth *a, node_id node)
{
	for (uint32_t i = 0; i < a->asked_count; i++) {
		if (a->asked[i].node == node)
			return &a->asked[i];
	}
	return NULL;
}

static node_id auth_decide(const struct mig_auth *a, const struct mig_rec *rec)
{
	if (!auth_asked(a, rec->site))
		return NODE_NONE; /* its node died since it answered */
	if (rec->stance == MIG_RUNS || rec->stance == MIG_LOST)
		return rec->site;
	if (rec->stance == MIG_FROZEN && auth_asked(a, rec->peer))
		return rec->site;
	return NODE_NONE;
}

static void auth_rebuilt(struct mig_auth *a, struct mig_auth_out *out)
{
	for (uint32_t i = 0; i < a->asked_count; i++) {
		if (!a->asked[i].answered && !MUTANT("migrate.rebuild.hasty"))
			return;
	}
	for (uint32_t i = 0; i < a->count; i++) {
		struct mig_rec *rec = &a->recs[i];

		rec->site = auth_decide(a, rec);
		if (!MUTANT("migrate.rebuild.same_epoch"))
			rec->epoch = auth_next_epoch(a, rec->epoch);
		rec->stance = MIG_FREE;
		rec->stand = 0;
		rec->peer = NODE_NONE;
	}
	a->state = MIG_A_SERVING;
	a->wake_ns = 0;
	auth_fx(out, MIG_AUTH_FX_REMEMBER_ALL);
}

static int auth_on_stand(struct mig_auth *a, const struct mig_msg *m, struct mig_auth_out *out)
{
	struct mig_asked *asked = auth_asked(a, m->from);

	if (a->state != MIG_A_REBUILDING || m->aterm != a->aterm || m->pid != a->first)
		return -EAGAIN;
	if (!asked)
		return -EPROTO;
	if (asked->answered)
		return 0;
	asked->answered = true;
	for (uint32_t i = 0; i < m->stand_count; i++)
		auth_merge(a, m, &m->stands[i]);
	auth_rebuilt(a, out);
	return 0;
}

static int auth_on_fence(struct mig_auth *a, const struct mig_msg *m, struct mig_auth_out *out)
{
	if (m->pid != a->first || m->aterm <= a->aterm)
		return -EAGAIN;
	if (MUTANT("migrate.fenced.answers"))
		return 0;
	a->state = MIG_A_RETIRED;
	a->wake_ns = 0;
	auth_fx(out, MIG_AUTH_FX_REMEMBER_ALL);
	return 0;
}

int migrate_auth_step(struct mig_auth *a, const struct mig_msg *m, struct mig_auth_out *out)
{
	out->count = 0;
	if (m->kind == MIG_FENCE)
		return auth_on_fence(a, m, out);
	if (m->kind == MIG_STAND)
		return auth_on_stand(a, m, out);
	if (!auth_rec(a, m->pid))
		return -EPROTO;
	if (a->state != MIG_A_SERVING || m->aterm > a->aterm)
		return -EAGAIN;
	switch (m->kind) {
	case MIG_READ:
		auth_answer(a, m, out);
		return 0;
	case MIG_CLAIM:
		if (m->move == 0 || m->epoch == 0)
			return -EPROTO;
		auth_on_claim(a, m, out);
		return 0;
	case MIG_GONE:
		auth_on_gone(a, m, out);
		return 0;
	default:
		return -EPROTO;
	}
}

int migrate_auth_takeover(struct mig_auth *a, uint64_t aterm, const node_id *nodes, uint32_t n,
			  uint64_t again_ns, uint64_t now_ns)
{
	if (n > a->asked_max)
		return -ENOSPC;
	CHECK(aterm >= a->aterm);
	a->aterm = aterm;
	a->state = MIG_A_REBUILDING;
	a->again_ns = again_ns;
	a->wake_ns = now_ns;
	a->asked_count = n;
	for (uint32_t i = 0; i < n; i++)
		a->asked[i] = (struct mig_asked){ .node = nodes[i] };
	for (uint32_t i = 0; i < a->count; i++) {
		a->recs[i].site = NODE_NONE;
		a->recs[i].move = 0;
		a->recs[i].stance = MIG_FREE;
		a->recs[i].stand = 0;
		a->recs[i].peer = NODE_NONE;
	}
	return 0;
}

void migrate_auth_tick(struct mig_auth *a, uint64_t now_ns, uint32_t *cursor,
		       struct mig_auth_out *out)
{
	struct mig_auth_fx *fx;

	out->count = 0;
	if (a->state != MIG_A_REBUILDING || now_ns < a->wake_ns)
		return;
	while (*cursor < a->asked_count && a->asked[*cursor].answered)
		(*cursor)++;
	if (*cursor == a->asked_count) {
		a->wake_ns = now_ns + a->again_ns;
		return;
	}
	fx = auth_fx(out, MIG_AUTH_FX_SEND);
	fx->to = a->asked[*cursor].node;
	fx->msg = (struct mig_msg){
		.kind = MIG_FENCE, .from = a->self, .pid = a->first, .aterm = a->aterm
	};
	(*cursor)++;
}

static void auth_unask(struct mig_auth *a, node_id node, struct mig_auth_out *out)
{
	struct mig_asked *asked = auth_asked(a, node);

	if (!asked)
		return;
	*asked = a->asked[--a->asked_count];
	auth_rebuilt(a, out);
}

bool migrate_auth_node_dead(struct mig_auth *a, node_id node, uint32_t *cursor,
			    struct mig_auth_out *out)
{
	out->count = 0;
	if (a->state == MIG_A_REBUILDING) {
		auth_unask(a, node, out);
		return false;
	}
	if (a->state != MIG_A_SERVING)
		return false;
	for (; *cursor < a->count; (*cursor)++) {
		gpid pid = a->first + (gpid)*cursor;
		struct mig_auth_fx *fx;

		if (a->recs[*cursor].site != node)
			continue;
		auth_write(a, pid, NODE_NONE, 0, out);
		fx = auth_fx(out, MIG_AUTH_FX_DIED);
		fx->pid = pid;
		fx->to = node;
		(*cursor)++;
		return true;
	}
	return false;
}
