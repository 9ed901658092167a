/* SPDX-License-Identifier: Apache-2.0 */
/* The commit protocol of a move, one party at a time. Whole clusters of them: tests/sim. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "migrate/core/authority.h"
#include "migrate/core/move.h"

enum { SRC = 1, DST = 2, AUTH = 3, PID = 4100, MOVE = 77 };

static struct mig_out out;

static bool has(enum mig_fx_kind kind)
{
	for (uint32_t i = 0; i < out.count; i++) {
		if (out.fx[i].kind == kind)
			return true;
	}
	return false;
}

static const struct mig_fx *sent(enum mig_msg_kind kind)
{
	for (uint32_t i = 0; i < out.count; i++) {
		if (out.fx[i].kind == MIG_FX_SEND && out.fx[i].msg.kind == kind)
			return &out.fx[i];
	}
	return NULL;
}

static struct mig_msg msg(enum mig_msg_kind kind, node_id from)
{
	return (struct mig_msg){
		.kind = kind, .from = from, .pid = PID, .move = MOVE, .epoch = 5, .aterm = 1
	};
}

static struct mig_msg record(epoch_t epoch, node_id site, uint64_t move)
{
	struct mig_msg m = msg(MIG_RECORD, AUTH);

	m.epoch = epoch;
	m.site = site;
	m.move = move;
	m.asked = MOVE;
	return m;
}

static int s_ev(struct mig_source *s, enum mig_ev_kind kind, uint64_t now_ns)
{
	struct mig_ev ev = { .kind = kind, .now_ns = now_ns, .err = -EIO };

	return migrate_source_step(s, &ev, &out);
}

static int s_msg(struct mig_source *s, struct mig_msg m)
{
	struct mig_ev ev = { .kind = MIG_EV_MSG, .now_ns = 1000, .msg = &m };

	return migrate_source_step(s, &ev, &out);
}

static int t_ev(struct mig_target *t, enum mig_ev_kind kind, uint64_t now_ns)
{
	struct mig_ev ev = { .kind = kind, .now_ns = now_ns, .err = -EIO };

	return migrate_target_step(t, &ev, &out);
}

static int t_msg(struct mig_target *t, struct mig_msg m)
{
	struct mig_ev ev = { .kind = MIG_EV_MSG, .now_ns = 1000, .msg = &m };

	return migrate_target_step(t, &ev, &out);
}

static struct mig_source source_in(uint32_t state)
{
	struct mig_source s;

	migrate_source_init(&s, &mig_conf_default, PID, SRC, DST, AUTH, 1, MOVE);
	assert_int_equal(s_ev(&s, MIG_EV_START, 1000), 0);
	assert_non_null(sent(MIG_READ));
	if (state >= MIG_S_PREPARING)
		assert_int_equal(s_msg(&s, record(5, SRC, 0)), 0);
	if (state >= MIG_S_FREEZING)
		assert_int_equal(s_msg(&s, msg(MIG_PREPARED, DST)), 0);
	if (state >= MIG_S_HANDED)
		assert_int_equal(s_ev(&s, MIG_EV_FROZEN, 1000), 0);
	if (state == MIG_S_CLAIMING)
		assert_int_equal(s_ev(&s, MIG_EV_TICK, s.wake_ns), 0);
	if (state >= MIG_S_DRAINING)
		assert_int_equal(s_msg(&s, msg(MIG_RESUMED, DST)), 0);
	if (state >= MIG_S_RELEASING)
		assert_int_equal(s_msg(&s, msg(MIG_DRAINED, DST)), 0);
	if (state >= MIG_S_RELEASED)
		assert_int_equal(s_ev(&s, MIG_EV_RELEASED, 1000), 0);
	assert_int_equal(s.state, state);
	return s;
}

static struct mig_target target_in(uint32_t state)
{
	struct mig_target t;
	struct mig_msg prepare = msg(MIG_PREPARE, SRC);

	assert_int_equal(migrate_target_init(&t, &mig_conf_default, DST, AUTH, 1, &prepare), 0);
	assert_int_equal(t_ev(&t, MIG_EV_START, 1000), 0);
	assert_true(has(MIG_FX_BUILD));
	if (state >= MIG_T_READY)
		assert_int_equal(t_ev(&t, MIG_EV_BUILT, 1000), 0);
	if (state >= MIG_T_CLAIMING)
		assert_int_equal(t_ev(&t, MIG_EV_LOADED, 1000), 0);
	if (state >= MIG_T_PULLING)
		assert_int_equal(t_msg(&t, record(6, DST, MOVE)), 0);
	if (state >= MIG_T_DRAINED)
		assert_int_equal(t_ev(&t, MIG_EV_PULLED, 1000), 0);
	assert_int_equal(t.state, state);
	return t;
}

/* ---- source ---- */

static void the_handover_is_noted_before_the_image_leaves(void **state)
{
	source_in(MIG_S_HANDED);
	assert_int_equal(out.fx[0].kind, MIG_FX_NOTE);
	assert_int_equal(out.fx[0].note.phase, MIG_PHASE_HANDED);
	assert_int_equal(out.fx[1].kind, MIG_FX_IMAGE);
}

static void a_silent_target_is_claimed_back_not_thawed(void **state)
{
	struct mig_source s = source_in(MIG_S_HANDED);

	assert_int_equal(s_ev(&s, MIG_EV_TICK, s.wake_ns), 0);
	assert_false(has(MIG_FX_THAW));
	assert_int_equal(sent(MIG_CLAIM)->to, AUTH);
	assert_int_equal(sent(MIG_CLAIM)->msg.epoch, 5);
	assert_int_equal(s_msg(&s, record(6, SRC, MOVE)), 0);
	assert_true(has(MIG_FX_THAW));
	assert_int_equal(s.state, MIG_S_DONE);
}

static void a_lost_claim_serves_pages_and_never_thaws(void **state)
{
	struct mig_source s = source_in(MIG_S_CLAIMING);

	assert_int_equal(s_msg(&s, record(6, DST, MOVE)), 0);
	assert_int_equal(out.count, 0);
	assert_int_equal(s.state, MIG_S_DRAINING);
	assert_int_equal(s_msg(&s, record(6, SRC, MOVE)), -ESTALE);
}

/* The record may name this node again for another reason: it is not *our* claim that won. */
static void a_record_of_another_move_does_not_thaw(void **state)
{
	struct mig_source s = source_in(MIG_S_CLAIMING);

	assert_int_equal(s_msg(&s, record(9, SRC, MOVE + 1)), 0);
	assert_false(has(MIG_FX_THAW));
	assert_true(has(MIG_FX_RELEASE));
}

static void a_late_answer_to_the_first_read_decides_nothing(void **state)
{
	struct mig_source s = source_in(MIG_S_CLAIMING);

	assert_int_equal(s_msg(&s, record(5, SRC, 0)), -ESTALE);
	assert_int_equal(s.state, MIG_S_CLAIMING);
}

/* Seed 124: moved away and back meanwhile, the first answer came after the second question. */
static void an_answer_to_an_earlier_question_is_not_the_epoch(void **state)
{
	struct mig_source s = source_in(MIG_S_ASKING);
	struct mig_msg old = record(3, SRC, 0);

	old.asked = MOVE - 1;
	assert_int_equal(s_msg(&s, old), -ESTALE);
	assert_int_equal(s_msg(&s, record(5, SRC, 0)), 0);
	assert_int_equal(s.epoch, 5);
}

static void before_the_freeze_any_failure_leaves_the_process_alone(void **state)
{
	struct mig_source s = source_in(MIG_S_PREPARING);
	struct mig_msg refused = msg(MIG_PREPARED, DST);

	refused.err = -EXDEV;
	assert_int_equal(s_msg(&s, refused), 0);
	assert_false(has(MIG_FX_THAW));
	assert_int_equal(out.fx[out.count - 1].err, -EXDEV);
	s = source_in(MIG_S_ASKING);
	assert_int_equal(s_msg(&s, record(5, DST, 0)), 0);
	assert_int_equal(out.fx[out.count - 1].err, -ESRCH);
	s = source_in(MIG_S_FREEZING);
	assert_int_equal(s_ev(&s, MIG_EV_FREEZE_FAILED, 2000), 0);
	assert_true(has(MIG_FX_THAW) && has(MIG_FX_UNNOTE) && sent(MIG_ABORT));
}

static void a_target_that_died_after_it_won_takes_the_process_with_it(void **state)
{
	struct mig_source s = source_in(MIG_S_DRAINING);
	struct mig_ev ev = { .kind = MIG_EV_NODE_DEAD, .node = DST };

	assert_int_equal(migrate_source_step(&s, &ev, &out), 0);
	assert_true(has(MIG_FX_RELEASE) && !has(MIG_FX_THAW));
	assert_int_equal(s_ev(&s, MIG_EV_RELEASED, 3000), 0);
	assert_int_equal(s.state, MIG_S_DONE);
}

static void a_record_of_a_fenced_authority_is_not_believed(void **state)
{
	struct mig_source s = source_in(MIG_S_CLAIMING);
	struct mig_ev ev = { .kind = MIG_EV_AUTHORITY, .node = 4, .aterm = 2, .now_ns = 5000 };
	struct mig_msg m;

	assert_int_equal(migrate_source_step(&s, &ev, &out), 0);
	assert_int_equal(sent(MIG_CLAIM)->to, 4);
	assert_int_equal(s_msg(&s, record(6, SRC, MOVE)), -ESTALE);
	m = record(UINT64_C(2) << 32 | 1, SRC, MOVE);
	m.from = 4;
	m.aterm = 2;
	assert_int_equal(s_msg(&s, m), 0);
	assert_true(has(MIG_FX_THAW));
}

/*
 * Seed 422: the authority changed while the target was pulling. The source's guest kernel died, and
 * its successor asked the one that had been fenced, for ever.
 */
static void a_new_authority_is_noted_while_the_target_drains(void **state)
{
	for (uint32_t in = MIG_S_DRAINING; in <= MIG_S_RELEASING; in++) {
		struct mig_source s = source_in(in);
		struct mig_ev ev = { .kind = MIG_EV_AUTHORITY, .node = 4, .aterm = 2 };
		struct mig_note note;

		assert_int_equal(migrate_source_step(&s, &ev, &out), 0);
		assert_int_equal(out.count, 1);
		assert_int_equal(out.fx[0].kind, MIG_FX_NOTE);
		note = out.fx[0].note;
		assert_int_equal(
			migrate_source_adopt(&s, &mig_conf_default, SRC, &note, 9000, &out), 0);
		assert_int_equal(sent(MIG_CLAIM)->to, 4);
		assert_int_equal(s_msg(&s, record(6, DST, MOVE)), -ESTALE);
	}
}

static void signals_of_the_freeze_go_to_the_target_until_it_has_them(void **state)
{
	struct mig_source s = source_in(MIG_S_RELEASING);
	struct mig_ev ev = { .kind = MIG_EV_RELEASED, .now_ns = 1000, .sigs = 1u << 14 };

	assert_int_equal(migrate_source_step(&s, &ev, &out), 0);
	assert_int_equal(out.fx[0].kind, MIG_FX_NOTE);
	assert_int_equal(sent(MIG_RELEASED)->msg.sigs, 1u << 14);
	assert_int_equal(s_ev(&s, MIG_EV_TICK, s.wake_ns), 0);
	assert_int_equal(sent(MIG_RELEASED)->msg.sigs, 1u << 14);
	assert_int_equal(s_msg(&s, msg(MIG_FORGET, DST)), 0);
	assert_true(has(MIG_FX_UNNOTE));
}

static void a_successor_thaws_only_what_cannot_have_left(void **state)
{
	struct mig_note note = { .phase = MIG_PHASE_FREEZING,
				 .pid = PID,
				 .epoch = 5,
				 .move = MOVE,
				 .aterm = 1,
				 .peer = DST,
				 .authority = AUTH };
	struct mig_source s;

	assert_int_equal(migrate_source_adopt(&s, &mig_conf_default, SRC, &note, 1, &out), 0);
	assert_true(has(MIG_FX_THAW));
	note.phase = MIG_PHASE_HANDED;
	assert_int_equal(migrate_source_adopt(&s, &mig_conf_default, SRC, &note, 1, &out), 0);
	assert_false(has(MIG_FX_THAW));
	assert_non_null(sent(MIG_CLAIM));
	note.phase = MIG_PHASE_LOADED;
	assert_int_equal(migrate_source_adopt(&s, &mig_conf_default, SRC, &note, 1, &out), -EINVAL);
}

static void messages_of_another_move_or_node_change_nothing(void **state)
{
	struct mig_source s = source_in(MIG_S_HANDED);
	struct mig_msg m = msg(MIG_RESUMED, DST);

	m.move++;
	assert_int_equal(s_msg(&s, m), -ESTALE);
	assert_int_equal(s_msg(&s, msg(MIG_RESUMED, 4)), -EPROTO);
	assert_int_equal(s_msg(&s, msg(MIG_FENCE, DST)), -EPROTO);
	assert_int_equal(s.state, MIG_S_HANDED);
}

/* ---- target ---- */

static void a_target_claims_when_loaded_and_runs_when_it_has_won(void **state)
{
	struct mig_target t = target_in(MIG_T_CLAIMING);

	assert_int_equal(out.fx[0].kind, MIG_FX_NOTE);
	assert_false(has(MIG_FX_RESUME));
	assert_int_equal(t_msg(&t, record(6, DST, MOVE)), 0);
	assert_true(has(MIG_FX_RESUME) && sent(MIG_RESUMED));
}

static void a_target_that_lost_drops_what_it_built(void **state)
{
	struct mig_target t = target_in(MIG_T_CLAIMING);

	assert_int_equal(t_msg(&t, record(6, SRC, MOVE)), 0);
	assert_true(has(MIG_FX_DROP) && has(MIG_FX_UNNOTE) && !has(MIG_FX_RESUME));
}

static void an_abort_after_the_claim_is_left_to_the_record(void **state)
{
	struct mig_target t = target_in(MIG_T_CLAIMING);

	assert_int_equal(t_msg(&t, msg(MIG_ABORT, SRC)), -ESTALE);
	t = target_in(MIG_T_READY);
	assert_int_equal(t_msg(&t, msg(MIG_ABORT, SRC)), 0);
	assert_true(has(MIG_FX_DROP));
}

static void a_target_waits_for_an_image_only_so_long(void **state)
{
	struct mig_target t = target_in(MIG_T_READY);

	assert_int_equal(t_ev(&t, MIG_EV_TICK, t.wake_ns - 1), -ESTALE);
	assert_int_equal(t_ev(&t, MIG_EV_TICK, t.wake_ns), 0);
	assert_true(has(MIG_FX_DROP) && sent(MIG_DROPPED));
}

static void pages_that_died_with_the_source_kill_the_process(void **state)
{
	struct mig_target t = target_in(MIG_T_PULLING);
	struct mig_ev ev = { .kind = MIG_EV_NODE_DEAD, .node = SRC };

	assert_int_equal(migrate_target_step(&t, &ev, &out), 0);
	assert_true(has(MIG_FX_KILL));
	t = target_in(MIG_T_DRAINED);
	assert_int_equal(migrate_target_step(&t, &ev, &out), 0);
	assert_false(has(MIG_FX_KILL));
}

static void a_successor_of_the_target_asks_again_or_goes_on(void **state)
{
	struct mig_note note = { .phase = MIG_PHASE_LOADED,
				 .pid = PID,
				 .epoch = 5,
				 .move = MOVE,
				 .aterm = 1,
				 .peer = SRC,
				 .authority = AUTH };
	struct mig_target t;

	assert_int_equal(migrate_target_adopt(&t, &mig_conf_default, DST, &note, 1, &out), 0);
	assert_true(sent(MIG_CLAIM) && !has(MIG_FX_RESUME));
	note.phase = MIG_PHASE_RUNNING;
	assert_int_equal(migrate_target_adopt(&t, &mig_conf_default, DST, &note, 1, &out), 0);
	assert_true(has(MIG_FX_RESUME));
}

/* An end here must outlive the frozen original elsewhere: it may not be woken. */
static void an_ended_winner_still_stands_against_the_original(void **state)
{
	struct mig_target t = target_in(MIG_T_PULLING);

	assert_int_equal(migrate_target_stand(&t).stance, MIG_RUNS);
	assert_int_equal(t_ev(&t, MIG_EV_EXIT, 2000), 0);
	assert_non_null(sent(MIG_DRAINED));
	assert_int_equal(migrate_target_stand(&t).stance, MIG_ENDED);
}

static void malformed_prepares_are_refused(void **state)
{
	struct mig_target t;
	struct mig_msg m = msg(MIG_PREPARE, DST);

	assert_int_equal(migrate_target_init(&t, &mig_conf_default, DST, AUTH, 1, &m), -EPROTO);
	m = msg(MIG_PREPARE, SRC);
	m.move = 0;
	assert_int_equal(migrate_target_init(&t, &mig_conf_default, DST, AUTH, 1, &m), -EPROTO);
}

/* Seed 950: its view of the authority was older than the source's, and nobody ever told it more. */
static void a_target_that_does_not_know_the_authority_is_none(void **state)
{
	struct mig_target t;
	struct mig_msg m = msg(MIG_PREPARE, SRC);

	m.aterm = 1;
	assert_int_equal(migrate_target_init(&t, &mig_conf_default, DST, NODE_NONE, 0, &m),
			 -EAGAIN);
	m.aterm = 2;
	assert_int_equal(migrate_target_init(&t, &mig_conf_default, DST, AUTH, 1, &m), -EAGAIN);
	m.aterm = 1;
	assert_int_equal(migrate_target_init(&t, &mig_conf_default, DST, AUTH, 1, &m), 0);
}

/* Seed 1813: the parent arrived while the dead child's copy was still held, and waited for it
 * again. */
static void an_end_elsewhere_ends_whatever_is_held_here(void **state)
{
	for (uint32_t in = MIG_T_BUILDING; in <= MIG_T_CLAIMING; in++) {
		struct mig_target t = target_in(in);

		assert_int_equal(t_ev(&t, MIG_EV_ELSEWHERE, 2000), 0);
		assert_true(has(MIG_FX_DROP) && has(MIG_FX_DONE));
		assert_true(has(MIG_FX_UNNOTE) == (in == MIG_T_CLAIMING));
	}
	for (uint32_t in = MIG_S_HANDED; in <= MIG_S_DRAINING; in++) {
		struct mig_source s = source_in(in);

		assert_int_equal(s_ev(&s, MIG_EV_ELSEWHERE, 2000), 0);
		assert_true(has(MIG_FX_RELEASE) && !has(MIG_FX_THAW));
	}
}

/* Who executes it knows better than a message. */
static void an_end_elsewhere_is_not_believed_where_it_executes(void **state)
{
	struct mig_target t = target_in(MIG_T_PULLING);
	struct mig_source s = source_in(MIG_S_PREPARING);

	assert_int_equal(t_ev(&t, MIG_EV_ELSEWHERE, 2000), -ESTALE);
	assert_int_equal(s_ev(&s, MIG_EV_ELSEWHERE, 2000), -ESTALE);
}

static void strays_get_the_answer_that_ends_them(void **state)
{
	struct mig_msg m = msg(MIG_DRAINED, DST), r;

	assert_true(migrate_stray(&m, &r));
	assert_int_equal(r.kind, MIG_RELEASED);
	m.kind = MIG_RELEASED;
	assert_true(migrate_stray(&m, &r));
	assert_int_equal(r.kind, MIG_FORGET);
	m.kind = MIG_FORGET;
	assert_false(migrate_stray(&m, &r));
}

/* ---- authority ---- */

static struct mig_rec recs[16];
static struct mig_asked asked[4];
static struct mig_auth_out aout;

static struct mig_auth authority(void)
{
	struct mig_auth a;

	migrate_auth_init(&a, AUTH, PID, 16, 1, recs, asked, 4);
	return a;
}

static const struct mig_msg *answer(struct mig_auth *a, struct mig_msg m)
{
	assert_int_equal(migrate_auth_step(a, &m, &aout), 0);
	return aout.count ? &aout.fx[aout.count - 1].msg : NULL;
}

static struct mig_msg claim(node_id from, epoch_t epoch, uint64_t move)
{
	struct mig_msg m = msg(MIG_CLAIM, from);

	m.epoch = epoch;
	m.move = move;
	return m;
}

static void the_first_claim_wins_and_may_be_repeated(void **state)
{
	struct mig_auth a = authority();
	epoch_t e = migrate_auth_born(&a, PID, &aout);
	const struct mig_msg *r = answer(&a, claim(DST, e, MOVE));

	assert_int_equal(aout.fx[0].kind, MIG_AUTH_FX_REMEMBER);
	assert_true(r->site == DST && r->epoch == e + 1 && r->move == MOVE);
	r = answer(&a, claim(SRC, e, MOVE));
	assert_true(r->site == DST && r->epoch == e + 1);
	r = answer(&a, claim(DST, e, MOVE));
	assert_true(r->site == DST && r->epoch == e + 1);
	assert_int_equal(aout.count, 1);
}

static void a_claim_from_an_earlier_life_is_refused(void **state)
{
	struct mig_auth a = authority();
	epoch_t e = migrate_auth_born(&a, PID, &aout);
	struct mig_msg gone = msg(MIG_GONE, AUTH);

	gone.epoch = e;
	assert_int_equal(answer(&a, gone)->site, NODE_NONE);
	assert_true(migrate_auth_born(&a, PID, &aout) > e);
	assert_int_equal(answer(&a, claim(DST, e, MOVE))->site, AUTH);
	assert_int_equal(answer(&a, gone)->site, AUTH);
}

static void a_dead_node_takes_its_processes_along(void **state)
{
	struct mig_auth a = authority();
	uint32_t cursor = 0;
	epoch_t e = migrate_auth_born(&a, PID, &aout);

	migrate_auth_born(&a, PID + 1, &aout);
	answer(&a, claim(DST, e, MOVE));
	assert_true(migrate_auth_node_dead(&a, DST, &cursor, &aout));
	assert_int_equal(aout.fx[1].kind, MIG_AUTH_FX_DIED);
	assert_int_equal(aout.fx[1].pid, PID);
	assert_false(migrate_auth_node_dead(&a, DST, &cursor, &aout));
	assert_int_equal(migrate_auth_find(&a, PID + 1)->site, AUTH);
}

static void stand(struct mig_auth *a, node_id from, const struct mig_stand *st, uint32_t n)
{
	struct mig_msg m = { .kind = MIG_STAND,
			     .from = from,
			     .pid = PID,
			     .aterm = 2,
			     .stands = st,
			     .stand_count = n };

	assert_int_equal(migrate_auth_step(a, &m, &aout), 0);
}

static struct mig_auth taken_over(uint32_t n)
{
	static const node_id nodes[] = { SRC, DST, AUTH };
	struct mig_auth a = authority();

	assert_int_equal(migrate_auth_takeover(&a, 2, nodes, n, 1000, 0), 0);
	return a;
}

static void nothing_is_answered_until_everyone_has_stood(void **state)
{
	struct mig_auth a = taken_over(3);
	struct mig_stand runs = { .pid = PID, .stance = MIG_RUNS, .move = MOVE };
	struct mig_msg c = claim(SRC, 5, MOVE);
	uint32_t cursor = 0, fences = 0;

	for (;; fences++) {
		migrate_auth_tick(&a, 0, &cursor, &aout);
		if (aout.count == 0)
			break;
		assert_int_equal(aout.fx[0].msg.kind, MIG_FENCE);
	}
	assert_int_equal(fences, 3);
	stand(&a, SRC, NULL, 0);
	stand(&a, DST, &runs, 1);
	assert_int_equal(migrate_auth_step(&a, &c, &aout), -EAGAIN);
	stand(&a, AUTH, NULL, 0);
	assert_int_equal(answer(&a, c)->site, DST);
	assert_true(migrate_auth_find(&a, PID)->epoch > UINT64_C(2) << 32);
}

static void a_frozen_source_gets_it_back_if_its_target_stood_without_it(void **state)
{
	struct mig_auth a = taken_over(3);
	struct mig_stand frozen = { .pid = PID, .stance = MIG_FROZEN, .move = MOVE, .peer = DST };

	stand(&a, SRC, &frozen, 1);
	stand(&a, AUTH, NULL, 0);
	stand(&a, DST, NULL, 0);
	assert_int_equal(migrate_auth_find(&a, PID)->site, SRC);
	assert_int_equal(migrate_auth_find(&a, PID)->move, MOVE);
}

/*
 * Seed 1450: the source had not heard that its target had won, and the target was moving the
 * process on already when the authority changed. The source's copy is the older one.
 */
static void of_two_frozen_sources_the_later_one_keeps_it(void **state)
{
	struct mig_stand first = {
		.pid = PID, .stance = MIG_FROZEN, .move = MOVE, .peer = DST, .epoch = 3
	};
	struct mig_stand second = {
		.pid = PID, .stance = MIG_FROZEN, .move = MOVE + 1, .peer = AUTH, .epoch = 4
	};

	for (unsigned order = 0; order < 2; order++) {
		struct mig_auth a = taken_over(3);

		if (order == 0)
			stand(&a, SRC, &first, 1);
		stand(&a, DST, &second, 1);
		if (order == 1)
			stand(&a, SRC, &first, 1);
		stand(&a, AUTH, NULL, 0);
		assert_int_equal(migrate_auth_find(&a, PID)->site, DST);
		assert_int_equal(migrate_auth_find(&a, PID)->move, MOVE + 1);
	}
}

/* The source has read that its target won; the answer to the target itself was lost. */
static void a_target_that_won_unknowingly_keeps_it_under_a_new_authority(void **state)
{
	struct mig_source s = source_in(MIG_S_DRAINING);
	struct mig_stand lost = migrate_source_stand(&s);
	struct mig_auth a = taken_over(3);

	assert_int_equal(lost.stance, MIG_LOST);
	stand(&a, SRC, &lost, 1);
	stand(&a, AUTH, NULL, 0);
	stand(&a, DST, NULL, 0);
	assert_int_equal(migrate_auth_find(&a, PID)->site, DST);
	assert_int_equal(migrate_auth_find(&a, PID)->move, MOVE);
}

/* It may have executed at the target, which is dead: an older copy must not run. */
static void a_frozen_source_of_a_dead_target_is_dead(void **state)
{
	struct mig_auth a = taken_over(3);
	struct mig_stand frozen = { .pid = PID, .stance = MIG_FROZEN, .move = MOVE, .peer = DST };
	uint32_t cursor = 0;

	stand(&a, SRC, &frozen, 1);
	stand(&a, AUTH, NULL, 0);
	migrate_auth_node_dead(&a, DST, &cursor, &aout);
	assert_int_equal(a.state, MIG_A_SERVING);
	assert_int_equal(migrate_auth_find(&a, PID)->site, NODE_NONE);
}

/*
 * Seed 3, all guest kernels on channels, and seed 655: the target's node died with what it had won,
 * came back and answered the fence as one that knows of nothing; the original was let go a second
 * time.
 */
static void a_frozen_source_of_a_target_that_came_back_empty_is_dead(void **state)
{
	struct mig_auth a = taken_over(3);
	struct mig_stand frozen = {
		.pid = PID, .stance = MIG_FROZEN, .move = MOVE, .peer = DST, .peer_epoch = 4
	};

	migrate_stand_look(&frozen, 0);
	migrate_stand_look(&frozen, 4);
	assert_int_equal(frozen.peer, DST);
	migrate_stand_look(&frozen, 5);
	stand(&a, SRC, &frozen, 1);
	stand(&a, AUTH, NULL, 0);
	stand(&a, DST, NULL, 0);
	assert_int_equal(migrate_auth_find(&a, PID)->site, NODE_NONE);
}

static void a_fenced_authority_answers_no_more(void **state)
{
	struct mig_auth a = authority();
	struct mig_msg fence = { .kind = MIG_FENCE, .from = 9, .pid = PID, .aterm = 2 };
	struct mig_msg read = msg(MIG_READ, SRC);

	assert_int_equal(migrate_auth_step(&a, &fence, &aout), 0);
	assert_int_equal(aout.fx[0].kind, MIG_AUTH_FX_REMEMBER_ALL);
	assert_int_equal(migrate_auth_step(&a, &read, &aout), -EAGAIN);
}

/*
 * Seed 1064: the guest kernel died when it had remembered the fence and its authority had not; the
 * successor served again.
 */
static void a_successor_of_a_fenced_authority_answers_no_more(void **state)
{
	struct mig_auth a = authority();
	struct mig_msg read = msg(MIG_READ, SRC);

	migrate_auth_adopt(&a, 1);
	assert_int_equal(migrate_auth_step(&a, &read, &aout), 0);
	migrate_auth_adopt(&a, 2);
	assert_int_equal(migrate_auth_step(&a, &read, &aout), -EAGAIN);
}

static void pids_of_other_blocks_are_a_faulty_peers(void **state)
{
	struct mig_auth a = authority();
	struct mig_msg m = msg(MIG_READ, SRC);

	m.pid = PID + 16;
	assert_int_equal(migrate_auth_step(&a, &m, &aout), -EPROTO);
	m.pid = -1;
	assert_int_equal(migrate_auth_step(&a, &m, &aout), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_handover_is_noted_before_the_image_leaves),
		cmocka_unit_test(a_silent_target_is_claimed_back_not_thawed),
		cmocka_unit_test(a_lost_claim_serves_pages_and_never_thaws),
		cmocka_unit_test(a_record_of_another_move_does_not_thaw),
		cmocka_unit_test(a_late_answer_to_the_first_read_decides_nothing),
		cmocka_unit_test(an_answer_to_an_earlier_question_is_not_the_epoch),
		cmocka_unit_test(before_the_freeze_any_failure_leaves_the_process_alone),
		cmocka_unit_test(a_target_that_died_after_it_won_takes_the_process_with_it),
		cmocka_unit_test(a_record_of_a_fenced_authority_is_not_believed),
		cmocka_unit_test(a_new_authority_is_noted_while_the_target_drains),
		cmocka_unit_test(signals_of_the_freeze_go_to_the_target_until_it_has_them),
		cmocka_unit_test(a_successor_thaws_only_what_cannot_have_left),
		cmocka_unit_test(messages_of_another_move_or_node_change_nothing),
		cmocka_unit_test(a_target_claims_when_loaded_and_runs_when_it_has_won),
		cmocka_unit_test(a_target_that_lost_drops_what_it_built),
		cmocka_unit_test(an_abort_after_the_claim_is_left_to_the_record),
		cmocka_unit_test(a_target_waits_for_an_image_only_so_long),
		cmocka_unit_test(pages_that_died_with_the_source_kill_the_process),
		cmocka_unit_test(a_successor_of_the_target_asks_again_or_goes_on),
		cmocka_unit_test(an_ended_winner_still_stands_against_the_original),
		cmocka_unit_test(malformed_prepares_are_refused),
		cmocka_unit_test(a_target_that_does_not_know_the_authority_is_none),
		cmocka_unit_test(an_end_elsewhere_ends_whatever_is_held_here),
		cmocka_unit_test(an_end_elsewhere_is_not_believed_where_it_executes),
		cmocka_unit_test(strays_get_the_answer_that_ends_them),
		cmocka_unit_test(the_first_claim_wins_and_may_be_repeated),
		cmocka_unit_test(a_claim_from_an_earlier_life_is_refused),
		cmocka_unit_test(a_dead_node_takes_its_processes_along),
		cmocka_unit_test(nothing_is_answered_until_everyone_has_stood),
		cmocka_unit_test(a_frozen_source_gets_it_back_if_its_target_stood_without_it),
		cmocka_unit_test(a_target_that_won_unknowingly_keeps_it_under_a_new_authority),
		cmocka_unit_test(of_two_frozen_sources_the_later_one_keeps_it),
		cmocka_unit_test(a_frozen_source_of_a_dead_target_is_dead),
		cmocka_unit_test(a_frozen_source_of_a_target_that_came_back_empty_is_dead),
		cmocka_unit_test(a_fenced_authority_answers_no_more),
		cmocka_unit_test(a_successor_of_a_fenced_authority_answers_no_more),
		cmocka_unit_test(pids_of_other_blocks_are_a_faulty_peers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
