/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc_core_test.c - the channel's state machine under a fake clock and a network that loses,
 * repeats, reorders, reconnects; C1-C4 are checked by the core itself and counted here.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "rpc/core/core.h"

#define KEYS   4000
#define FLIGHT 4096
#define HELD   256

struct end {
	struct rpc_core *core;
	struct rpc_scope *scope;
	void *core_mem, *scope_mem;
	/* as a server */
	struct rpc_in *held[HELD];
	int held_count;
	bool hold;
	uint64_t stream_off;
	struct rpc_str *accepted;
	int opened, ended, end_err;
	uint64_t wrote;
	int writable;
};

struct flying {
	struct rpc_frame f;
	int to;
};

static struct end ends[2];
static struct flying flight[FLIGHT];
static int flying;
static uint64_t now;
static struct rand rnd;
static unsigned lose, repeat, reorder; /* of 100 */
static int executed[KEYS + 1];         /* by key, of this life of the server */
static int done[KEYS + 1], done_err[KEYS + 1];
static uint64_t reply_of[KEYS + 1];
static int oneways, released, completions;
static struct rpc_core_limits lim;
static unsigned keys_max;

static void *handle(uint64_t v)
{
	return (void *)(uintptr_t)v;
}

static void take(int who);

static void fly(int to, const struct rpc_frame *f)
{
	assert_true(flying < FLIGHT);
	flight[flying++] = (struct flying){ .f = *f, .to = to };
}

static void send(int from, const struct rpc_frame *f)
{
	if (rand_chance(&rnd, lose, 100))
		return;
	fly(1 - from, f);
	if (rand_chance(&rnd, repeat, 100))
		fly(1 - from, f);
}

static void reply(int who, struct rpc_in *in, uint64_t body)
{
	struct rpc_core *asker;
	bool kept;

	asker = rpc_in_reply(in, 0, handle(body), 1, now, &kept);
	assert_true(kept == rpc_in_has_key(in) || !kept);
	if (asker)
		take(who);
}

static void deliver(int who, const struct rpc_fx *fx)
{
	struct end *e = &ends[who];
	uint64_t key = fx->frame.key;

	if (key != 0) {
		assert_true(key <= KEYS);
		executed[key]++;
		assert_int_equal(executed[key], 1); /* C1 */
	}
	assert_true(fx->frame.body == handle(fx->frame.method * 10));
	if (e->hold && e->held_count < HELD)
		e->held[e->held_count++] = fx->in;
	else
		reply(who, fx->in, fx->frame.method * 10 + 1);
}

static void stream_effect(int who, const struct rpc_fx *fx)
{
	struct end *e = &ends[who];

	if (fx->kind == RPC_FX_OPENED) {
		e->opened++;
		e->accepted = fx->stream;
		e->stream_off = 0;
		rpc_str_set_cookie(fx->stream, e);
	} else if (fx->kind == RPC_FX_DATA) {
		assert_int_equal(fx->frame.key, e->stream_off); /* C4 */
		assert_true(fx->frame.body == handle(e->stream_off + 1));
		e->stream_off += fx->frame.len;
		if (!e->hold) {
			rpc_str_consumed(ends[who].core, fx->stream, fx->frame.len);
			take(who);
		}
	} else if (fx->kind == RPC_FX_WRITABLE) {
		e->writable++;
	} else {
		e->ended++;
		e->end_err = fx->err;
		e->accepted = NULL;
	}
}

static void effect(int who, const struct rpc_fx *fx)
{
	uint64_t n;

	switch (fx->kind) {
	case RPC_FX_SEND:
		send(who, &fx->frame);
		break;
	case RPC_FX_DELIVER:
		deliver(who, fx);
		break;
	case RPC_FX_ONEWAY:
		oneways++;
		break;
	case RPC_FX_DONE:
		n = (uint64_t)(uintptr_t)fx->cookie;
		done[n]++;
		assert_int_equal(done[n], 1); /* C2 */
		done_err[n] = fx->err;
		reply_of[n] = fx->err == 0 ? (uint64_t)(uintptr_t)fx->frame.body : 0;
		completions++;
		break;
	case RPC_FX_RELEASE:
		released++;
		break;
	default:
		stream_effect(who, fx);
	}
}

/* Inside of another take() only what calls nobody back. */
static void take(int who)
{
	static int depth[2];
	struct rpc_fx fx;

	depth[who]++;
	while (depth[who] == 1 ? rpc_core_next(ends[who].core, &fx)
			       : rpc_core_next_send(ends[who].core, &fx))
		effect(who, &fx);
	depth[who]--;
}

static void up(void)
{
	for (int i = 0; i < 2; i++) {
		rpc_core_up(ends[i].core, now);
		take(i);
	}
}

static void down(void)
{
	flying = 0;
	for (int i = 0; i < 2; i++) {
		rpc_core_down(ends[i].core, now);
		take(i);
	}
}

static void deliver_at(int i)
{
	struct flying x = flight[i];

	memmove(&flight[i], &flight[i + 1], (size_t)(--flying - i) * sizeof(x));
	assert_int_equal(rpc_core_frame(ends[x.to].core, &x.f, now), 0);
	take(x.to);
}

static void deliver_one(void)
{
	deliver_at(rand_chance(&rnd, reorder, 100) ? (int)rand_below(&rnd, (uint64_t)flying) : 0);
}

static void settle(void)
{
	while (flying > 0)
		deliver_one();
}

static void pass(uint64_t ns)
{
	now += ns;
	for (int i = 0; i < 2; i++) {
		rpc_core_tick(ends[i].core, now);
		take(i);
	}
}

static void make_end(int i, uint64_t life, uint64_t seed)
{
	struct end *e = &ends[i];

	free(e->core_mem);
	e->core_mem = calloc(1, rpc_core_size(&lim));
	if (!e->scope) {
		e->scope_mem = calloc(1, rpc_scope_size(keys_max));
		e->scope = rpc_scope_init(e->scope_mem, keys_max, lim.keep_ns);
	}
	e->core = rpc_core_init(e->core_mem, &lim, e->scope, life, seed, e);
}

static int setup(void **state)
{
	memset(ends, 0, sizeof(ends));
	memset(executed, 0, sizeof(executed));
	memset(done, 0, sizeof(done));
	memset(done_err, 0, sizeof(done_err));
	memset(reply_of, 0, sizeof(reply_of));
	flying = oneways = released = completions = 0;
	lose = repeat = reorder = 0;
	now = 1;
	keys_max = 64;
	rand_seed(&rnd, 42);
	lim = (struct rpc_core_limits){ .calls_max = 32,
					.streams_max = 4,
					.stream_window = 1000,
					.retry_ns = NS_PER_MS,
					.keep_ns = 1000 * NS_PER_S };
	make_end(0, 1, 11);
	make_end(1, 2, 22);
	return 0;
}

static int teardown(void **state)
{
	for (int i = 0; i < 2; i++) {
		free(ends[i].core_mem);
		free(ends[i].scope_mem);
	}
	return 0;
}

static int ask(uint64_t n, uint64_t key, uint64_t deadline_ns, uint64_t *id)
{
	struct rpc_ask a = { .method = (uint32_t)n,
			     .key = key,
			     .deadline_ns = deadline_ns,
			     .body = handle(n * 10),
			     .len = 1,
			     .cookie = handle(n) };
	int r = rpc_core_request(ends[0].core, &a, now, id);

	take(0);
	return r;
}

static void a_request_gets_its_reply(void **state)
{
	up();
	assert_int_equal(ask(1, 0, 0, NULL), 0);
	settle();
	assert_int_equal(done[1], 1);
	assert_int_equal(reply_of[1], 11);
}

static void what_is_asked_before_the_connection_waits_for_it(void **state)
{
	assert_int_equal(ask(1, 0, 0, NULL), 0);
	assert_int_equal(ask(2, 2, 0, NULL), 0);
	assert_int_equal(flying, 0);
	up();
	settle();
	assert_int_equal(reply_of[1], 11);
	assert_int_equal(reply_of[2], 21);
}

static void a_full_table_is_busy(void **state)
{
	ends[1].hold = true;
	up();
	for (uint64_t i = 1; i <= 32; i++)
		assert_int_equal(ask(i, 0, 0, NULL), 0);
	assert_int_equal(ask(33, 0, 0, NULL), -EBUSY);
	settle();
	assert_int_equal(ends[1].held_count, 32);
	reply(1, ends[1].held[0], 11);
	settle();
	assert_int_equal(ask(33, 0, 0, NULL), 0);
}

static void deadlines_and_cancels_complete_once_and_tell_the_server(void **state)
{
	uint64_t id;

	ends[1].hold = true;
	up();
	assert_int_equal(ask(1, 0, now + NS_PER_S, NULL), 0);
	assert_int_equal(ask(2, 0, 0, &id), 0);
	settle();
	rpc_core_cancel(ends[0].core, id);
	take(0);
	assert_int_equal(done_err[2], -ECANCELED);
	assert_true(rpc_core_due_ns(ends[0].core) <= now + NS_PER_S);
	pass(NS_PER_S);
	assert_int_equal(done_err[1], -ETIMEDOUT);
	settle();
	assert_true(rpc_in_is_void(ends[1].held[0]));
	assert_true(rpc_in_is_void(ends[1].held[1]));
	reply(1, ends[1].held[0], 11);
	reply(1, ends[1].held[1], 21);
	settle();
	assert_int_equal(completions, 2);
}

static void a_kept_reply_is_forgotten_when_the_caller_has_it(void **state)
{
	up();
	for (uint64_t i = 1; i <= 200; i++) { /* the table has 64 places */
		assert_int_equal(ask(i, i, 0, NULL), 0);
		settle();
		assert_int_equal(reply_of[i], i * 10 + 1);
	}
	assert_int_equal(rpc_scope_used(ends[1].scope), 0);
	assert_int_equal(released, 200);
}

static void a_loss_under_way_is_healed_by_the_next_connection(void **state)
{
	up();
	settle();
	ends[1].hold = true;
	assert_int_equal(ask(1, 1, 0, NULL), 0); /* will be executed, its reply lost */
	assert_int_equal(ask(2, 0, 0, NULL), 0);
	settle();
	assert_int_equal(ask(3, 3, 0, NULL), 0); /* never arrives */
	down();
	assert_int_equal(done_err[2], -ECONNRESET);
	assert_int_equal(done[1] + done[3], 0);
	reply(1, ends[1].held[0], 11);
	up();
	settle();
	assert_int_equal(reply_of[1], 11);
	assert_int_equal(executed[1], 1);
	assert_int_equal(ends[1].held_count, 3);
	reply(1, ends[1].held[2], 31);
	settle();
	assert_int_equal(reply_of[3], 31);
}

static void a_restarted_server_makes_what_was_under_way_unsure(void **state)
{
	up();
	settle();
	ends[1].hold = true;
	assert_int_equal(ask(1, 1, 0, NULL), 0);
	settle();
	down();
	ends[1].scope = NULL;
	free(ends[1].scope_mem);
	make_end(1, 3, 33);
	ends[1].hold = false;
	executed[1] = 0;
	assert_int_equal(ask(2, 2, 0, NULL), 0); /* never sent before: sure */
	up();
	settle();
	assert_int_equal(done_err[1], -ECONNRESET);
	assert_int_equal(executed[1], 0);
	assert_int_equal(reply_of[2], 21);
}

/*
 * `pando sim --seed 1`: sent before the peer's hello had come, executed by a life that nobody got
 * to know, and again by the next one.
 */
static void what_has_a_key_waits_for_the_hello(void **state)
{
	for (int i = 0; i < 2; i++) {
		rpc_core_up(ends[i].core, now);
		take(i);
	}
	assert_int_equal(ask(1, 1, 0, NULL), 0);
	assert_int_equal(ask(2, 0, 0, NULL), 0);
	for (int i = 0; i < flying; i++)
		assert_true(flight[i].f.kind != RPC_FR_REQUEST || flight[i].f.key == 0);
	settle();
	assert_int_equal(reply_of[1], 11);
	assert_int_equal(reply_of[2], 21);
}

/* `pando sim --seed 23`: the refusal was lost with the connection, and the copy was taken for a
 * late one. */
static void a_refusal_that_is_lost_is_said_again(void **state)
{
	up();
	settle();
	ends[1].hold = true;
	keys_max = 1;
	ends[1].scope_mem = (free(ends[1].scope_mem), calloc(1, rpc_scope_size(1)));
	ends[1].scope = rpc_scope_init(ends[1].scope_mem, 1, lim.keep_ns);
	rpc_core_set_scope(ends[1].core, ends[1].scope);
	assert_int_equal(ask(1, 1, 0, NULL), 0);
	settle();
	assert_int_equal(ask(2, 2, 0, NULL), 0);
	deliver_at(0); /* the request; its refusal is under way */
	down();
	up();
	settle();
	reply(1, ends[1].held[0], 11);
	ends[1].hold = false;
	settle();
	assert_int_equal(executed[2], 0);
	for (int i = 0; i < 20 && done[2] == 0; i++) {
		pass(NS_PER_MS);
		settle();
	}
	assert_int_equal(reply_of[2], 21);
	assert_int_equal(executed[2], 1);
}

static void busy_is_asked_again_later(void **state)
{
	ends[1].hold = true;
	up();
	settle();
	for (uint64_t i = 1; i <= 64; i++) { /* fills the scope, replies not acknowledged */
		assert_int_equal(ask(i, i, now + 1, NULL), 0);
		settle();
		pass(2); /* given up by the caller: kept all the same */
		settle();
	}
	for (int i = 0; i < 64; i++)
		reply(1, ends[1].held[i], 1);
	ends[1].hold = false;
	assert_int_equal(ask(100, 100, 0, NULL), 0);
	settle();
	assert_int_equal(executed[100], 0);
	for (int i = 0; i < 20; i++) {
		pass(NS_PER_MS);
		settle();
	}
	assert_int_equal(done[100], 0);
	now += lim.keep_ns / 3;
	for (int i = 0; i < 200 && done[100] == 0; i++) {
		pass(lim.keep_ns / 100);
		settle();
	}
	assert_int_equal(executed[100], 1); /* the old ones were too old then */
	assert_int_equal(reply_of[100], 1001);
}

static void kept_bodies_are_bounded_too(void **state)
{
	up();
	settle();
	rpc_scope_set_bytes_max(ends[1].scope, 2); /* each reply here has one byte */
	lose = 0;
	for (uint64_t i = 1; i <= 3; i++) {
		assert_int_equal(ask(i, i, 0, NULL), 0);
		deliver_at(flying - 1); /* executed; the reply flies, and nobody acknowledges it */
		assert_int_equal(executed[i], i <= 2);
	}
	settle();
	pass(10 * NS_PER_MS);
	settle();
	assert_int_equal(reply_of[3], 31); /* asked again when there was room */
}

static void nobody_asks_again_what_may_be_forgotten(void **state)
{
	up();
	settle();
	ends[1].hold = true;
	assert_int_equal(ask(1, 1, 0, NULL), 0);
	settle();
	down();
	pass(lim.keep_ns / 2 + 1);
	assert_int_equal(done_err[1], -ECONNRESET);
}

static void every_loss_repetition_and_disorder_leaves_each_executed_at_most_once(void **state)
{
	uint64_t next = 1;

	lim.resend_ns = 5 * NS_PER_MS;
	lim.calls_max = 16;
	keys_max = 2 * KEYS; /* lost acknowledgements cost places */
	free(ends[1].scope_mem);
	ends[1].scope = NULL;
	make_end(0, 1, 11);
	make_end(1, 2, 22);
	lose = 10;
	repeat = 10;
	reorder = 30;
	up();
	for (int i = 0; i < 400000 && completions < KEYS; i++) {
		uint64_t what = rand_below(&rnd, 100);

		if (what < 20 && next <= KEYS) {
			if (ask(next, next, 0, NULL) == 0)
				next++;
		} else if (what < 85 && flying > 0) {
			deliver_one();
		} else if (what < 90) {
			ends[1].hold = rand_chance(&rnd, 1, 3);
			if (ends[1].held_count > 0) {
				struct rpc_in *in = ends[1].held[--ends[1].held_count];

				reply(1, in, 7);
			}
		} else if (what < 99) {
			pass(rand_below(&rnd, 5 * NS_PER_MS));
		} else if (rand_chance(&rnd, 1, 10)) {
			down();
			up();
		}
	}
	assert_int_equal(completions, KEYS);
	for (int i = 1; i <= KEYS; i++) {
		assert_int_equal(done[i], 1);
		assert_int_equal(executed[i], 1);
		assert_int_equal(done_err[i], 0);
	}
}

static void the_same_seed_gives_the_same_history(void **state)
{
	uint64_t first[3];

	for (int run = 0; run < 2; run++) {
		struct rpc_core_stats s;

		if (run == 1) {
			assert_int_equal(teardown(state), 0);
			assert_int_equal(setup(state), 0);
		}
		lim.resend_ns = NS_PER_MS;
		make_end(0, 1, 11);
		make_end(1, 2, 22);
		lose = repeat = reorder = 20;
		up();
		for (uint64_t i = 1; i < 500; i++) {
			(void)ask(i, i, 0, NULL);
			pass(rand_below(&rnd, NS_PER_MS));
			while (flying > 3)
				deliver_one();
		}
		rpc_core_get_stats(ends[0].core, &s);
		if (run == 0) {
			first[0] = s.resent;
			first[1] = s.late;
			first[2] = (uint64_t)completions;
			continue;
		}
		assert_int_equal(first[0], s.resent);
		assert_int_equal(first[1], s.late);
		assert_int_equal(first[2], completions);
	}
	assert_true(first[0] > 0);
}

static struct rpc_str *open_stream(void)
{
	struct rpc_str *s;

	assert_int_equal(rpc_core_open(ends[0].core, 9, NULL, 0, &ends[0], &s), 0);
	take(0);
	return s;
}

static void push(struct rpc_str *s, uint32_t len)
{
	rpc_str_write(ends[0].core, s, handle(ends[0].wrote + 1), len);
	ends[0].wrote += len;
	take(0);
}

static void credits_bound_what_is_under_way(void **state)
{
	struct rpc_str *s;

	up();
	s = open_stream();
	assert_int_equal(rpc_str_credit(s), 0); /* the peer has not said its window yet */
	rpc_str_want(s);
	settle();
	assert_int_equal(ends[0].writable, 1);
	assert_int_equal(rpc_str_credit(s), 1000);
	ends[1].hold = true;
	push(s, 600);
	push(s, 400);
	assert_int_equal(rpc_str_credit(s), 0);
	settle();
	assert_int_equal(ends[1].stream_off, 1000);
	rpc_str_consumed(ends[1].core, ends[1].accepted, 100); /* too little to be worth a frame */
	take(1);
	settle();
	assert_int_equal(rpc_str_credit(s), 0);
	rpc_str_consumed(ends[1].core, ends[1].accepted, 500);
	take(1);
	settle();
	assert_int_equal(rpc_str_credit(s), 600);
	assert_int_equal(ends[0].writable, 2);
	rpc_str_close(ends[0].core, s, 0);
	take(0);
	settle();
	assert_int_equal(ends[1].ended, 1);
	assert_int_equal(ends[1].end_err, 0);
}

static void more_than_was_granted_is_a_lie(void **state)
{
	struct rpc_frame f = { .kind = RPC_FR_DATA, .flags = RPC_FL_OPENER, .len = 1001 };
	struct rpc_str *s;

	up();
	settle();
	s = open_stream();
	f.id = flight[0].f.id;
	settle();
	assert_int_equal(rpc_core_frame(ends[1].core, &f, now), -EPROTO);
	f.len = 10;
	f.key = UINT64_MAX - 5; /* wraps */
	assert_int_equal(rpc_core_frame(ends[1].core, &f, now), -EPROTO);
	rpc_str_close(ends[0].core, s, 0);
	take(0);
}

static void a_gap_ends_a_stream_and_never_delivers_wrong_bytes(void **state)
{
	for (int round = 0; round < 300; round++) {
		struct rpc_str *s;

		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
		rand_seed(&rnd, (uint64_t)round);
		up();
		settle();
		s = open_stream();
		settle();
		lose = (unsigned)round % 3 * 5;
		repeat = 10;
		reorder = (unsigned)round % 5 * 5;
		for (int i = 0; i < 40 && ends[0].ended == 0; i++) {
			uint64_t want = rand_below(&rnd, 200) + 1;
			uint32_t n = (uint32_t)MIN(want, rpc_str_credit(s));

			if (n > 0)
				push(s, n);
			while (flying > 2 && ends[0].ended == 0)
				deliver_one();
		}
		settle();
		if (lose == 0 && reorder == 0) {
			assert_int_equal(ends[0].ended, 0);
			assert_int_equal(ends[1].stream_off, ends[0].wrote);
		}
		if (ends[0].ended == 0)
			rpc_str_close(ends[0].core, s, 0);
		take(0);
	}
}

static void streams_end_with_their_connection(void **state)
{
	up();
	settle();
	(void)open_stream();
	(void)open_stream();
	settle();
	assert_int_equal(ends[1].opened, 2);
	down();
	assert_int_equal(ends[0].ended, 2);
	assert_int_equal(ends[1].ended, 2);
	assert_int_equal(ends[0].end_err, -ECONNRESET);
}

static void frames_that_no_honest_peer_sends_are_refused(void **state)
{
	struct rpc_frame f = { .kind = RPC_FR_REQUEST, .id = 1 << 16 };

	up();
	assert_int_equal(rpc_core_frame(ends[1].core, &f, now), -EPROTO); /* before its hello */
	settle();
	f.id = 5; /* number 0 */
	assert_int_equal(rpc_core_frame(ends[1].core, &f, now), -EPROTO);
	f = (struct rpc_frame){ .kind = RPC_FR_REFUSED, .id = 1 << 16, .err = 7 };
	assert_int_equal(rpc_core_frame(ends[1].core, &f, now), -EPROTO);
	f = (struct rpc_frame){ .kind = RPC_FR_OPEN, .id = 1 << 16 };
	assert_int_equal(rpc_core_frame(ends[1].core, &f, now), -EPROTO);
	f = (struct rpc_frame){ .kind = RPC_FR_HELLO, .id = 99, .key = 98 };
	assert_int_equal(rpc_core_frame(ends[1].core, &f, now), -EPROTO); /* another one */
	f = (struct rpc_frame){ .kind = RPC_FR_REPLY, .id = 77 << 16 };
	assert_int_equal(rpc_core_frame(ends[1].core, &f, now), 0); /* late: no harm */
	take(1);
}

static void backoff_grows_with_jitter_up_to_its_limit(void **state)
{
	for (unsigned i = 0; i < 64; i++) {
		uint64_t d = rpc_backoff_ns(i, 1000, 64000, &rnd);
		uint64_t full = i < 6 ? 1000u << i : 64000;

		assert_true(d >= full / 2 && d <= full);
	}
}

static void the_end_completes_everything(void **state)
{
	ends[1].hold = true;
	up();
	settle();
	assert_int_equal(ask(1, 1, 0, NULL), 0);
	assert_int_equal(ask(2, 0, 0, NULL), 0);
	settle();
	rpc_core_fini(ends[0].core, now);
	take(0);
	assert_int_equal(done_err[1], -ECONNRESET);
	assert_int_equal(done_err[2], -ECONNRESET);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_request_gets_its_reply),
		T(what_is_asked_before_the_connection_waits_for_it),
		T(a_full_table_is_busy),
		T(deadlines_and_cancels_complete_once_and_tell_the_server),
		T(a_kept_reply_is_forgotten_when_the_caller_has_it),
		T(a_loss_under_way_is_healed_by_the_next_connection),
		T(a_restarted_server_makes_what_was_under_way_unsure),
		T(what_has_a_key_waits_for_the_hello),
		T(a_refusal_that_is_lost_is_said_again),
		T(busy_is_asked_again_later),
		T(kept_bodies_are_bounded_too),
		T(nobody_asks_again_what_may_be_forgotten),
		T(every_loss_repetition_and_disorder_leaves_each_executed_at_most_once),
		T(the_same_seed_gives_the_same_history),
		T(credits_bound_what_is_under_way),
		T(more_than_was_granted_is_a_lie),
		T(a_gap_ends_a_stream_and_never_delivers_wrong_bytes),
		T(streams_end_with_their_connection),
		T(frames_that_no_honest_peer_sends_are_refused),
		T(backoff_grows_with_jitter_up_to_its_limit),
		T(the_end_completes_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
