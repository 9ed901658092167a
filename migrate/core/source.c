/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source of a move.
 *
 *	IDLE -> ASKING -> PREPARING -> FREEZING -> HANDED -> CLAIMING -> DONE (thawed, not moved)
 *	          |           |           |          |          |
 *	          +-----------+-----------+          +----------+-> DRAINING -> RELEASING
 *	                      |                                         -> RELEASED -> DONE (moved)
 *	                      +-> DONE (never left)
 *
 * Up to FREEZING a failure is undone here alone. From HANDED on the record decides (M1). When the
 * authority moves before the freeze the epoch that was read is void: the move ends with -EAGAIN.
 */
#include "migrate/core/move.h"

#include "base/mutant.h"
#include "migrate/core/out.h"
#include "migrate/core/sm.h"

static const struct sm_row source_rows[MIG_S_COUNT] = {
	[MIG_S_IDLE] = { "idle", SM_TO(MIG_S_ASKING) },
	[MIG_S_ASKING] = { "asking", SM_TO(MIG_S_PREPARING) | SM_TO(MIG_S_DONE) },
	[MIG_S_PREPARING] = { "preparing", SM_TO(MIG_S_FREEZING) | SM_TO(MIG_S_DONE) },
	[MIG_S_FREEZING] = { "freezing", SM_TO(MIG_S_HANDED) | SM_TO(MIG_S_DONE) },
	[MIG_S_HANDED] = { "handed",
			   SM_TO(MIG_S_CLAIMING) | SM_TO(MIG_S_DRAINING) | SM_TO(MIG_S_DONE) },
	[MIG_S_CLAIMING] = { "claiming",
			     SM_TO(MIG_S_DRAINING) | SM_TO(MIG_S_RELEASING) | SM_TO(MIG_S_DONE) },
	[MIG_S_DRAINING] = { "draining", SM_TO(MIG_S_RELEASING) },
	[MIG_S_RELEASING] = { "releasing", SM_TO(MIG_S_RELEASED) | SM_TO(MIG_S_DONE) },
	[MIG_S_RELEASED] = { "released", SM_TO(MIG_S_DONE) },
	[MIG_S_DONE] = { "done", 0 },
};

const char *migrate_source_state_name(uint32_t state)
{
	return state < MIG_S_COUNT ? source_rows[state].name : "?";
}

static void source_check(const struct mig_source *s)
{
	CHECK_INV(M1, s->state < MIG_S_COUNT);
	CHECK_INV(M2, s->epoch != 0 || s->state < MIG_S_PREPARING || s->state == MIG_S_DONE);
	CHECK(s->self != s->target && s->move != 0);
}

static void source_send(const struct mig_source *s, struct mig_out *out, enum mig_msg_kind kind,
			node_id to)
{
	struct mig_fx *fx = out_add(out, MIG_FX_SEND);

	fx->to = to;
	fx->msg = (struct mig_msg){ .kind = kind,
				    .from = s->self,
				    .pid = s->pid,
				    .epoch = s->epoch,
				    .move = s->move,
				    .aterm = s->aterm,
				    .sigs = kind == MIG_RELEASED ? s->sigs : 0 };
}

static void source_note(const struct mig_source *s, struct mig_out *out, enum mig_phase phase)
{
	out_add(out, MIG_FX_NOTE)->note = (struct mig_note){ .phase = phase,
							     .pid = s->pid,
							     .epoch = s->epoch,
							     .move = s->move,
							     .aterm = s->aterm,
							     .peer = s->target,
							     .authority = s->authority,
							     .sigs = s->sigs };
}

static void source_end(struct mig_source *s, struct mig_out *out, int err)
{
	sm_move(source_rows, &s->state, MIG_S_DONE);
	s->wake_ns = 0;
	out_done(out, err);
}

/* Frozen or about to be, and nobody else can have it: as if nothing had happened. */
static void source_thaw(struct mig_source *s, struct mig_out *out, int err)
{
	out_add(out, MIG_FX_THAW);
	out_add(out, MIG_FX_UNNOTE);
	source_send(s, out, MIG_ABORT, s->target);
	source_end(s, out, err);
}

static void source_ask(struct mig_source *s, uint64_t now_ns, struct mig_out *out)
{
	sm_move(source_rows, &s->state, MIG_S_ASKING);
	s->again_ns = s->conf->again_ns;
	s->give_up_ns = now_ns + s->conf->prepare_ns;
	s->wake_ns = out_again(s->conf, &s->again_ns, now_ns);
	source_send(s, out, MIG_READ, s->authority);
}

static void source_claim(struct mig_source *s, uint64_t now_ns, struct mig_out *out)
{
	if (s->state != MIG_S_CLAIMING) {
		sm_move(source_rows, &s->state, MIG_S_CLAIMING);
		s->again_ns = s->conf->again_ns;
	}
	if (MUTANT("migrate.thaw.unknown")) {
		source_thaw(s, out, -ETIMEDOUT);
		return;
	}
	s->wake_ns = out_again(s->conf, &s->again_ns, now_ns);
	source_send(s, out, MIG_CLAIM, s->authority);
}

static void source_release(struct mig_source *s, struct mig_out *out)
{
	sm_move(source_rows, &s->state, MIG_S_RELEASING);
	s->wake_ns = 0;
	out_add(out, MIG_FX_RELEASE);
}

/* The target executes, or has: this copy is void, and good for its pages only. */
static void source_lost(struct mig_source *s, struct mig_out *out)
{
	s->wake_ns = 0;
	sm_move(source_rows, &s->state, MIG_S_DRAINING);
	if (s->target_dead || MUTANT("migrate.release.early"))
		source_release(s, out);
}

static int source_on_record(struct mig_source *s, const struct mig_msg *m, uint64_t now_ns,
			    struct mig_out *out)
{
	if (m->epoch == 0 || (m->aterm == s->aterm && m->from != s->authority))
		return -EPROTO;
	if (m->aterm < s->aterm && !MUTANT("migrate.fence.ignored"))
		return -ESTALE;
	switch (s->state) {
	case MIG_S_ASKING:
		if (m->asked != s->move && !MUTANT("migrate.answer.stale"))
			return -ESTALE; /* of a time when it was here before */
		if (m->site != s->self) {
			source_end(s, out, -ESRCH);
			return 0;
		}
		s->epoch = m->epoch;
		sm_move(source_rows, &s->state, MIG_S_PREPARING);
		s->again_ns = s->conf->again_ns;
		s->give_up_ns = now_ns + s->conf->prepare_ns;
		s->wake_ns = out_again(s->conf, &s->again_ns, now_ns);
		source_send(s, out, MIG_PREPARE, s->target);
		return 0;
	case MIG_S_HANDED:
	case MIG_S_CLAIMING:
		if (m->epoch <= s->epoch)
			return -ESTALE; /* an answer to the READ, late */
		if (m->site == s->self && m->move == s->move) {
			source_thaw(s, out, -EAGAIN); /* M2: won back */
		} else if (m->site == s->target && m->move == s->move) {
			source_lost(s, out);
		} else {
			/* It went on from the target, or died: nobody wants these pages. */
			if (s->state == MIG_S_HANDED)
				sm_move(source_rows, &s->state, MIG_S_CLAIMING);
			source_release(s, out);
		}
		return 0;
	default:
		return -ESTALE;
	}
}

static int source_on_prepared(struct mig_source *s, const struct mig_msg *m, struct mig_out *out)
{
	if (s->state != MIG_S_PREPARING)
		return -ESTALE;
	if (m->err != 0) {
		source_end(s, out, m->err < 0 ? m->err : -EPROTO);
		return 0;
	}
	s->wake_ns = 0;
	sm_move(source_rows, &s->state, MIG_S_FREEZING);
	source_note(s, out, MIG_PHASE_FREEZING);
	out_add(out, MIG_FX_FREEZE);
	return 0;
}

static int source_on_target(struct mig_source *s, const struct mig_msg *m, uint64_t now_ns,
			    struct mig_out *out)
{
	bool unknown = s->state == MIG_S_HANDED || s->state == MIG_S_CLAIMING;

	switch (m->kind) {
	case MIG_PREPARED:
		return source_on_prepared(s, m, out);
	case MIG_DROPPED:
		if (s->state == MIG_S_PREPARING) {
			source_end(s, out, -EAGAIN);
			return 0;
		}
		if (s->state != MIG_S_HANDED)
			return -ESTALE;
		source_claim(s, now_ns, out);
		return 0;
	case MIG_RESUMED:
		if (!unknown)
			return -ESTALE;
		source_lost(s, out);
		return 0;
	case MIG_DRAINED:
		if (unknown)
			source_lost(s, out);
		if (s->state == MIG_S_DRAINING) {
			source_release(s, out);
			return 0;
		}
		if (s->state == MIG_S_RELEASED) {
			source_send(s, out, MIG_RELEASED, s->target);
			return 0;
		}
		return unknown ? 0 : -ESTALE;
	case MIG_FORGET:
		if (s->state != MIG_S_RELEASED)
			return -ESTALE;
		out_add(out, MIG_FX_UNNOTE);
		source_end(s, out, 0);
		return 0;
	default:
		return -EPROTO;
	}
}

static int source_on_msg(struct mig_source *s, const struct mig_ev *ev, struct mig_out *out)
{
	const struct mig_msg *m = ev->msg;

	if (m->pid != s->pid)
		return -EPROTO;
	if (m->kind == MIG_RECORD)
		return source_on_record(s, m, ev->now_ns, out);
	if (m->move != s->move)
		return -ESTALE;
	if (m->from != s->target)
		return -EPROTO;
	return source_on_target(s, m, ev->now_ns, out);
}

static int source_on_tick(struct mig_source *s, uint64_t now_ns, struct mig_out *out)
{
	if (s->wake_ns == 0 || now_ns < s->wake_ns)
		return -ESTALE;
	switch (s->state) {
	case MIG_S_ASKING:
	case MIG_S_PREPARING:
		if (now_ns >= s->give_up_ns) {
			if (s->state == MIG_S_PREPARING)
				source_send(s, out, MIG_ABORT, s->target);
			source_end(s, out, -ETIMEDOUT);
			return 0;
		}
		s->wake_ns = out_again(s->conf, &s->again_ns, now_ns);
		if (s->state == MIG_S_ASKING)
			source_send(s, out, MIG_READ, s->authority);
		else
			source_send(s, out, MIG_PREPARE, s->target);
		return 0;
	case MIG_S_HANDED:
	case MIG_S_CLAIMING:
		source_claim(s, now_ns, out);
		return 0;
	case MIG_S_RELEASED:
		s->wake_ns = out_again(s->conf, &s->again_ns, now_ns);
		source_send(s, out, MIG_RELEASED, s->target);
		return 0;
	default:
		s->wake_ns = 0;
		return 0;
	}
}

static int source_on_frozen(struct mig_source *s, uint64_t now_ns, struct mig_out *out)
{
	if (s->state != MIG_S_FREEZING)
		return -ESTALE;
	sm_move(source_rows, &s->state, MIG_S_HANDED);
	s->wake_ns = now_ns + s->conf->commit_ns;
	if (MUTANT("migrate.handover.unnoted")) {
		out_add(out, MIG_FX_IMAGE);
		return 0;
	}
	source_note(s, out, MIG_PHASE_HANDED);
	out_add(out, MIG_FX_IMAGE);
	return 0;
}

/* The target can be reached no more, or is not wanted. */
static int source_on_give_up(struct mig_source *s, uint64_t now_ns, int err, struct mig_out *out)
{
	switch (s->state) {
	case MIG_S_PREPARING:
		source_send(s, out, MIG_ABORT, s->target);
		source_end(s, out, err);
		return 0;
	case MIG_S_ASKING:
		source_end(s, out, err);
		return 0;
	case MIG_S_FREEZING:
		source_thaw(s, out, err);
		return 0;
	case MIG_S_HANDED:
		source_claim(s, now_ns, out);
		return 0;
	default:
		return -ESTALE;
	}
}

static int source_on_node_dead(struct mig_source *s, const struct mig_ev *ev, struct mig_out *out)
{
	if (ev->node != s->target)
		return -ESTALE;
	s->target_dead = true;
	switch (s->state) {
	case MIG_S_DRAINING:
		source_release(s, out);
		return 0;
	case MIG_S_RELEASED:
		out_add(out, MIG_FX_UNNOTE);
		source_end(s, out, -EHOSTDOWN);
		return 0;
	case MIG_S_CLAIMING:
	case MIG_S_RELEASING:
		return 0;
	default:
		return source_on_give_up(s, ev->now_ns, -EHOSTDOWN, out);
	}
}

static int source_on_authority(struct mig_source *s, const struct mig_ev *ev, struct mig_out *out)
{
	if (ev->aterm <= s->aterm)
		return -ESTALE;
	s->aterm = ev->aterm;
	s->authority = ev->node;
	switch (s->state) {
	case MIG_S_PREPARING: /* its epoch is of the old one: ask anew, build anew */
		source_send(s, out, MIG_ABORT, s->target);
		source_end(s, out, -EAGAIN);
		return 0;
	case MIG_S_ASKING:
		source_send(s, out, MIG_READ, s->authority);
		return 0;
	case MIG_S_FREEZING:
		source_note(s, out, MIG_PHASE_FREEZING);
		return 0;
	case MIG_S_HANDED:
	case MIG_S_CLAIMING:
		source_note(s, out, MIG_PHASE_HANDED);
		source_claim(s, ev->now_ns, out);
		return 0;
	case MIG_S_DRAINING: /* a successor asks again who has won, and not the one that was */
	case MIG_S_RELEASING:
		source_note(s, out, MIG_PHASE_HANDED);
		return 0;
	default:
		return 0;
	}
}

static int source_on_released(struct mig_source *s, const struct mig_ev *ev, struct mig_out *out)
{
	if (s->state != MIG_S_RELEASING)
		return -ESTALE;
	if (s->target_dead) {
		out_add(out, MIG_FX_UNNOTE);
		source_end(s, out, -EHOSTDOWN);
		return 0;
	}
	s->sigs = MUTANT("migrate.signal.lost") ? 0 : ev->sigs;
	sm_move(source_rows, &s->state, MIG_S_RELEASED);
	source_note(s, out, MIG_PHASE_RELEASED);
	source_send(s, out, MIG_RELEASED, s->target);
	s->again_ns = s->conf->again_ns;
	s->wake_ns = out_again(s->conf, &s->again_ns, ev->now_ns);
	return 0;
}

/* The target won, and it ended there: nobody wants these pages. */
static int source_on_elsewhere(struct mig_source *s, struct mig_out *out)
{
	switch (s->state) {
	case MIG_S_HANDED:
		sm_move(source_rows, &s->state, MIG_S_CLAIMING);
		source_release(s, out);
		return 0;
	case MIG_S_CLAIMING:
	case MIG_S_DRAINING:
		source_release(s, out);
		return 0;
	default:
		return -ESTALE;
	}
}

static int source_dispatch(struct mig_source *s, const struct mig_ev *ev, struct mig_out *out)
{
	switch (ev->kind) {
	case MIG_EV_START:
		CHECK(s->state == MIG_S_IDLE);
		source_ask(s, ev->now_ns, out);
		return 0;
	case MIG_EV_MSG:
		return source_on_msg(s, ev, out);
	case MIG_EV_TICK:
		return source_on_tick(s, ev->now_ns, out);
	case MIG_EV_NODE_DEAD:
		return source_on_node_dead(s, ev, out);
	case MIG_EV_AUTHORITY:
		return source_on_authority(s, ev, out);
	case MIG_EV_CANCEL:
		return source_on_give_up(s, ev->now_ns, ev->err, out);
	case MIG_EV_EXIT:
		return source_on_give_up(s, ev->now_ns, -ESRCH, out);
	case MIG_EV_ELSEWHERE:
		return source_on_elsewhere(s, out);
	case MIG_EV_FROZEN:
		return source_on_frozen(s, ev->now_ns, out);
	case MIG_EV_FREEZE_FAILED:
		if (s->state != MIG_S_FREEZING)
			return -ESTALE;
		source_thaw(s, out, ev->err);
		return 0;
	case MIG_EV_IMAGE_FAILED:
		if (s->state != MIG_S_HANDED)
			return -ESTALE;
		source_thaw(s, out, ev->err);
		return 0;
	case MIG_EV_RELEASED:
		return source_on_released(s, ev, out);
	default:
		return -EPROTO;
	}
}

int migrate_source_step(struct mig_source *s, const struct mig_ev *ev, struct mig_out *out)
{
	int r;

	source_check(s);
	out->count = 0;
	r = source_dispatch(s, ev, out);
	source_check(s);
	CHECK(r == 0 || out->count == 0);
	return r;
}

void migrate_source_init(struct mig_source *s, const struct mig_conf *conf, gpid pid, node_id self,
			 node_id target, node_id authority, uint64_t aterm, uint64_t move)
{
	*s = (struct mig_source){ .conf = conf,
				  .pid = pid,
				  .self = self,
				  .target = target,
				  .authority = authority,
				  .aterm = aterm,
				  .move = move };
	source_check(s);
}

int migrate_source_adopt(struct mig_source *s, const struct mig_conf *conf, node_id self,
			 const struct mig_note *note, uint64_t now_ns, struct mig_out *out)
{
	out->count = 0;
	if (note->peer == self || note->move == 0 || note->epoch == 0)
		return -EINVAL;
	migrate_source_init(s, conf, note->pid, self, note->peer, note->authority, note->aterm,
			    note->move);
	s->epoch = note->epoch;
	s->sigs = note->sigs;
	s->again_ns = conf->again_ns;
	switch (note->phase) {
	case MIG_PHASE_HANDED:
		if (!MUTANT("migrate.adopt.thaws")) {
			s->state = MIG_S_HANDED;
			source_claim(s, now_ns, out);
			return 0;
		}
		/* fallthrough */
	case MIG_PHASE_FREEZING:
		s->state = MIG_S_FREEZING;
		source_thaw(s, out, -EINTR);
		return 0;
	case MIG_PHASE_RELEASED:
		s->state = MIG_S_RELEASED;
		s->wake_ns = out_again(conf, &s->again_ns, now_ns);
		source_send(s, out, MIG_RELEASED, s->target);
		return 0;
	default:
		return -EINVAL;
	}
}

struct mig_stand migrate_source_stand(const struct mig_source *s)
{
	struct mig_stand st = {
		.pid = s->pid, .move = s->move, .peer = s->target, .epoch = s->epoch
	};

	switch (s->state) {
	case MIG_S_HANDED:
	case MIG_S_CLAIMING:
		st.stance = MIG_FROZEN;
		break;
	case MIG_S_DRAINING:
		st.stance = MUTANT("migrate.lost.untold") ? MIG_FREE : MIG_LOST;
		break;
	case MIG_S_RELEASING: /* the target has drained, so it knows; or it is dead */
	case MIG_S_RELEASED:
	case MIG_S_DONE:
		st.stance = MIG_FREE;
		break;
	default:
		st.stance = MIG_RUNS;
	}
	return st;
}
