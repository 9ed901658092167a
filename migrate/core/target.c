/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target of a move.
 *
 *	IDLE -> BUILDING -> READY -> CLAIMING -> PULLING -> DRAINED -> DONE (moved)
 *	            |         |         |           +-> DONE (pages lost with the source: killed)
 *	            +---------+---------+-> DONE (dropped; executed nothing)
 *
 * Nothing is noted before LOADED: what is half built dies with the daemon.
 */
#include "migrate/core/move.h"

#include "base/mutant.h"
#include "migrate/core/out.h"
#include "migrate/core/sm.h"

static const struct sm_row target_rows[MIG_T_COUNT] = {
	[MIG_T_IDLE] = { "idle", SM_TO(MIG_T_BUILDING) },
	[MIG_T_BUILDING] = { "building", SM_TO(MIG_T_READY) | SM_TO(MIG_T_DONE) },
	[MIG_T_READY] = { "ready", SM_TO(MIG_T_CLAIMING) | SM_TO(MIG_T_DONE) },
	[MIG_T_CLAIMING] = { "claiming", SM_TO(MIG_T_PULLING) | SM_TO(MIG_T_DONE) },
	[MIG_T_PULLING] = { "pulling", SM_TO(MIG_T_DRAINED) | SM_TO(MIG_T_DONE) },
	[MIG_T_DRAINED] = { "drained", SM_TO(MIG_T_DONE) },
	[MIG_T_DONE] = { "done", 0 },
};

const char *migrate_target_state_name(uint32_t state)
{
	return state < MIG_T_COUNT ? target_rows[state].name : "?";
}

static void target_check(const struct mig_target *t)
{
	CHECK_INV(M2, t->state < MIG_T_COUNT && t->epoch != 0 && t->move != 0);
	CHECK(t->self != t->source);
}

static void target_send(const struct mig_target *t, struct mig_out *out, enum mig_msg_kind kind,
			node_id to, int err)
{
	struct mig_fx *fx = out_add(out, MIG_FX_SEND);

	fx->to = to;
	fx->msg = (struct mig_msg){ .kind = kind,
				    .from = t->self,
				    .pid = t->pid,
				    .epoch = t->epoch,
				    .move = t->move,
				    .aterm = t->aterm,
				    .err = err };
}

static void target_note(const struct mig_target *t, struct mig_out *out, enum mig_phase phase)
{
	out_add(out, MIG_FX_NOTE)->note = (struct mig_note){ .phase = phase,
							     .pid = t->pid,
							     .epoch = t->epoch,
							     .move = t->move,
							     .aterm = t->aterm,
							     .peer = t->source,
							     .authority = t->authority };
}

static void target_end(struct mig_target *t, struct mig_out *out, int err)
{
	sm_move(target_rows, &t->state, MIG_T_DONE);
	t->wake_ns = 0;
	out_done(out, err);
}

static void target_drop(struct mig_target *t, struct mig_out *out, int err)
{
	if (!MUTANT("migrate.drop.forgotten"))
		out_add(out, MIG_FX_DROP);
	if (t->state == MIG_T_CLAIMING)
		out_add(out, MIG_FX_UNNOTE);
	target_send(t, out, MIG_DROPPED, t->source, err);
	target_end(t, out, err);
}

static void target_claim(struct mig_target *t, uint64_t now_ns, struct mig_out *out)
{
	t->wake_ns = out_again(t->conf, &t->again_ns, now_ns);
	target_send(t, out, MIG_CLAIM, t->authority, 0);
}

static void target_won(struct mig_target *t, struct mig_out *out)
{
	sm_move(target_rows, &t->state, MIG_T_PULLING);
	t->wake_ns = 0;
	target_note(t, out, MIG_PHASE_RUNNING);
	out_add(out, MIG_FX_RESUME);
	target_send(t, out, MUTANT("migrate.drained.early") ? MIG_DRAINED : MIG_RESUMED, t->source,
		    0);
}

static void target_drained(struct mig_target *t, uint64_t now_ns, struct mig_out *out)
{
	sm_move(target_rows, &t->state, MIG_T_DRAINED);
	t->again_ns = t->conf->again_ns;
	t->wake_ns = out_again(t->conf, &t->again_ns, now_ns);
	target_send(t, out, MIG_DRAINED, t->source, 0);
}

static int target_on_record(struct mig_target *t, const struct mig_msg *m, struct mig_out *out)
{
	if (m->aterm == t->aterm && m->from != t->authority)
		return -EPROTO;
	if (m->aterm < t->aterm && !MUTANT("migrate.fence.ignored"))
		return -ESTALE;
	if (t->state != MIG_T_CLAIMING || m->epoch <= t->epoch)
		return -ESTALE;
	if (m->site == t->self && m->move == t->move)
		target_won(t, out); /* M2 */
	else
		target_drop(t, out, -ECANCELED);
	return 0;
}

static int target_on_source(struct mig_target *t, const struct mig_msg *m, struct mig_out *out)
{
	switch (m->kind) {
	case MIG_PREPARE:
		if (t->state != MIG_T_READY)
			return -ESTALE; /* still building, or long past it */
		target_send(t, out, MIG_PREPARED, t->source, 0);
		return 0;
	case MIG_ABORT:
		if (t->state != MIG_T_BUILDING && t->state != MIG_T_READY)
			return -ESTALE; /* the record decides */
		target_drop(t, out, -ECANCELED);
		return 0;
	case MIG_RELEASED:
		if (t->state != MIG_T_DRAINED)
			return -ESTALE;
		if (m->sigs != 0 && !t->ended && !MUTANT("migrate.signal.unraised"))
			out_add(out, MIG_FX_RAISE)->sigs = m->sigs;
		out_add(out, MIG_FX_UNNOTE);
		target_send(t, out, MIG_FORGET, t->source, 0);
		target_end(t, out, 0);
		return 0;
	default:
		return -EPROTO;
	}
}

static int target_on_msg(struct mig_target *t, const struct mig_ev *ev, struct mig_out *out)
{
	const struct mig_msg *m = ev->msg;

	if (m->pid != t->pid)
		return -EPROTO;
	if (m->kind == MIG_RECORD)
		return target_on_record(t, m, out);
	if (m->move != t->move)
		return -ESTALE;
	if (m->from != t->source)
		return -EPROTO;
	return target_on_source(t, m, out);
}

static int target_on_tick(struct mig_target *t, uint64_t now_ns, struct mig_out *out)
{
	if (t->wake_ns == 0 || now_ns < t->wake_ns)
		return -ESTALE;
	switch (t->state) {
	case MIG_T_BUILDING:
	case MIG_T_READY:
		target_drop(t, out, -ETIMEDOUT);
		return 0;
	case MIG_T_CLAIMING:
		target_claim(t, now_ns, out);
		return 0;
	case MIG_T_DRAINED:
		t->wake_ns = out_again(t->conf, &t->again_ns, now_ns);
		target_send(t, out, MIG_DRAINED, t->source, 0);
		return 0;
	default:
		t->wake_ns = 0;
		return 0;
	}
}

static int target_on_loaded(struct mig_target *t, uint64_t now_ns, struct mig_out *out)
{
	if (t->state != MIG_T_READY)
		return -ESTALE;
	sm_move(target_rows, &t->state, MIG_T_CLAIMING);
	t->again_ns = t->conf->again_ns;
	if (!MUTANT("migrate.load.unnoted"))
		target_note(t, out, MIG_PHASE_LOADED);
	if (MUTANT("migrate.resume.unasked"))
		out_add(out, MIG_FX_RESUME);
	target_claim(t, now_ns, out);
	return 0;
}

static int target_on_node_dead(struct mig_target *t, const struct mig_ev *ev, struct mig_out *out)
{
	if (ev->node != t->source)
		return -ESTALE;
	switch (t->state) {
	case MIG_T_BUILDING:
	case MIG_T_READY:
		target_drop(t, out, -EHOSTDOWN);
		return 0;
	case MIG_T_PULLING:
		out_add(out, MIG_FX_KILL);
		out_add(out, MIG_FX_UNNOTE);
		target_end(t, out, -EHOSTDOWN);
		return 0;
	case MIG_T_DRAINED:
		out_add(out, MIG_FX_UNNOTE);
		target_end(t, out, 0);
		return 0;
	default:
		return 0; /* claiming: the record decides */
	}
}

static int target_on_authority(struct mig_target *t, const struct mig_ev *ev, struct mig_out *out)
{
	if (ev->aterm <= t->aterm)
		return -ESTALE;
	t->aterm = ev->aterm;
	t->authority = ev->node;
	if (t->state == MIG_T_CLAIMING) {
		target_note(t, out, MIG_PHASE_LOADED);
		target_claim(t, ev->now_ns, out);
	}
	return 0;
}

static int target_on_ended(struct mig_target *t, const struct mig_ev *ev, struct mig_out *out)
{
	if (t->state == MIG_T_DRAINED) {
		t->ended = true;
		return 0;
	}
	if (t->state != MIG_T_PULLING)
		return -ESTALE;
	t->ended = true;
	target_drained(t, ev->now_ns, out);
	return 0;
}

/* The claim is lost, or was never to be: whoever executed it has told its end. */
static int target_on_elsewhere(struct mig_target *t, struct mig_out *out)
{
	if (t->state == MIG_T_PULLING || t->state == MIG_T_DRAINED)
		return -ESTALE; /* this is the site */
	target_drop(t, out, -ESRCH);
	return 0;
}

static int target_on_build(struct mig_target *t, const struct mig_ev *ev, struct mig_out *out)
{
	if (t->state != MIG_T_BUILDING)
		return -ESTALE;
	if (ev->kind == MIG_EV_BUILD_FAILED) {
		out_add(out, MIG_FX_DROP);
		target_send(t, out, MIG_PREPARED, t->source, ev->err);
		target_end(t, out, ev->err);
		return 0;
	}
	sm_move(target_rows, &t->state, MIG_T_READY);
	t->wake_ns = ev->now_ns + t->conf->ready_ns;
	target_send(t, out, MIG_PREPARED, t->source, 0);
	return 0;
}

static int target_dispatch(struct mig_target *t, const struct mig_ev *ev, struct mig_out *out)
{
	switch (ev->kind) {
	case MIG_EV_START:
		CHECK(t->state == MIG_T_IDLE);
		sm_move(target_rows, &t->state, MIG_T_BUILDING);
		out_add(out, MIG_FX_BUILD);
		return 0;
	case MIG_EV_MSG:
		return target_on_msg(t, ev, out);
	case MIG_EV_TICK:
		return target_on_tick(t, ev->now_ns, out);
	case MIG_EV_NODE_DEAD:
		return target_on_node_dead(t, ev, out);
	case MIG_EV_AUTHORITY:
		return target_on_authority(t, ev, out);
	case MIG_EV_CANCEL:
		if (t->state != MIG_T_BUILDING && t->state != MIG_T_READY)
			return -ESTALE;
		target_drop(t, out, ev->err);
		return 0;
	case MIG_EV_BUILT:
	case MIG_EV_BUILD_FAILED:
		return target_on_build(t, ev, out);
	case MIG_EV_LOADED:
		return target_on_loaded(t, ev->now_ns, out);
	case MIG_EV_LOAD_FAILED:
		if (t->state != MIG_T_READY)
			return -ESTALE;
		target_drop(t, out, ev->err);
		return 0;
	case MIG_EV_EXIT:
		return target_on_ended(t, ev, out);
	case MIG_EV_ELSEWHERE:
		return target_on_elsewhere(t, out);
	case MIG_EV_PULLED:
		if (t->state != MIG_T_PULLING)
			return -ESTALE;
		target_drained(t, ev->now_ns, out);
		return 0;
	case MIG_EV_PULL_LOST:
		if (t->state != MIG_T_PULLING)
			return -ESTALE;
		out_add(out, MIG_FX_KILL);
		t->ended = true;
		target_drained(t, ev->now_ns, out);
		return 0;
	default:
		return -EPROTO;
	}
}

int migrate_target_step(struct mig_target *t, const struct mig_ev *ev, struct mig_out *out)
{
	int r;

	target_check(t);
	out->count = 0;
	r = target_dispatch(t, ev, out);
	target_check(t);
	CHECK(r == 0 || out->count == 0);
	return r;
}

int migrate_target_init(struct mig_target *t, const struct mig_conf *conf, node_id self,
			node_id authority, uint64_t aterm, const struct mig_msg *prepare)
{
	if (prepare->epoch == 0 || prepare->move == 0 || prepare->from == self)
		return -EPROTO;
	/* Nobody would tell it of that authority: it would claim from another for ever. */
	if (authority == NODE_NONE || aterm < prepare->aterm)
		return -EAGAIN;
	*t = (struct mig_target){ .conf = conf,
				  .pid = prepare->pid,
				  .self = self,
				  .source = prepare->from,
				  .authority = authority,
				  .epoch = prepare->epoch,
				  .move = prepare->move,
				  .aterm = aterm,
				  .again_ns = conf->again_ns };
	target_check(t);
	return 0;
}

int migrate_target_adopt(struct mig_target *t, const struct mig_conf *conf, node_id self,
			 const struct mig_note *note, uint64_t now_ns, struct mig_out *out)
{
	struct mig_msg prepare = {
		.pid = note->pid, .from = note->peer, .epoch = note->epoch, .move = note->move
	};
	int r;

	out->count = 0;
	if (note->phase != MIG_PHASE_LOADED && note->phase != MIG_PHASE_RUNNING)
		return -EINVAL;
	r = migrate_target_init(t, conf, self, note->authority, note->aterm, &prepare);
	if (r < 0)
		return -EINVAL;
	t->state = MIG_T_CLAIMING;
	if (note->phase == MIG_PHASE_RUNNING)
		target_won(t, out);
	else
		target_claim(t, now_ns, out);
	return 0;
}

struct mig_stand migrate_target_stand(const struct mig_target *t)
{
	struct mig_stand st = {
		.pid = t->pid, .move = t->move, .epoch = t->epoch, .stance = MIG_FREE
	};

	if (t->state == MIG_T_PULLING || t->state == MIG_T_DRAINED)
		st.stance = t->ended ? MIG_ENDED : MIG_RUNS;
	return st;
}
