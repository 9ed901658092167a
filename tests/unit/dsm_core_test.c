/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsm_core_test.c - the page protocol between one home and a few sharers, over a
 * network that loses, repeats and reorders, with deaths of sharers and homes.
 *
 * What a page holds is a number; every write makes it the next one. Checked after
 * every step, from outside of the cores:
 *   one-writer   who may write is the only one who may read
 *   last-write   who may read sees the number last written (the last not lost, after a death)
 *   progress     once the network behaves, everybody who wants the page gets it
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/mutant.h"
#include "base/rand.h"
#include "dsm/core/dir.h"
#include "dsm/core/page.h"

#define SHARERS 4
#define BAG_MAX 512

struct packet {
	bool to_home;
	struct dsm_msg msg;
	int data;
};

static struct {
	struct rand rnd;
	struct dsm_dir dir;
	int home_copy;
	int old_copy; /* what an earlier home still has, and of which round */
	uint64_t old_ver;
	struct dsm_page page[SHARERS];
	int copy[SHARERS], kept[SHARERS];
	bool dead[SHARERS];
	struct packet bag[BAG_MAX];
	int bag_count;
	int written; /* what a reader must see */
	bool calm;
	const char *violated;
	long steps, grants;
} w;

static void post(bool to_home, const struct dsm_msg *m, int data)
{
	int copies = 1;

	if (!w.calm && rand_chance(&w.rnd, 1, 10))
		copies = 0;
	else if (!w.calm && rand_chance(&w.rnd, 1, 8))
		copies = 2;
	while (copies-- > 0 && w.bag_count < BAG_MAX)
		w.bag[w.bag_count++] = (struct packet){ to_home, *m, data };
}

static void carry_out_home(const struct dsm_dir_out *out, int data)
{
	if (out->store)
		w.home_copy = data;
	for (unsigned i = 0; i < out->count; i++) {
		for (dsm_sharer s = 0; s < SHARERS; s++) {
			struct dsm_msg m = out->send[i].msg;

			if (!(out->send[i].to & dsm_bit(s)) || w.dead[s])
				continue;
			m.sharer = s;
			post(false, &m, w.home_copy);
		}
	}
}

static void carry_out_page(dsm_sharer s, const struct dsm_page_out *out, int data)
{
	if (out->keep)
		w.kept[s] = w.copy[s];
	if (out->install)
		w.copy[s] = data;
	if (out->lost)
		w.written = w.copy[s];
	if (out->map_write || out->map_read)
		w.grants++;
	for (unsigned i = 0; i < out->count; i++) {
		struct dsm_msg m = out->send[i];

		m.sharer = s;
		post(true, &m, m.has_data ? w.kept[s] : -1);
	}
}

static void home_event(enum dsm_dir_ev_kind kind, const struct dsm_msg *m, int data)
{
	struct dsm_dir_ev ev = { .kind = kind };
	struct dsm_dir_out out;

	if (m)
		ev.msg = *m;
	if (dsm_dir_step(&w.dir, &ev, &out) == 0)
		carry_out_home(&out, data);
}

static void page_event(dsm_sharer s, enum dsm_page_ev_kind kind, const struct dsm_msg *m, int data)
{
	struct dsm_page_ev ev = { .kind = kind };
	struct dsm_page_out out;

	if (m)
		ev.msg = *m;
	if (dsm_page_step(&w.page[s], &ev, &out) == 0)
		carry_out_page(s, &out, data);
}

static void deliver(int i)
{
	struct packet p = w.bag[i];

	w.bag[i] = w.bag[--w.bag_count];
	if (p.to_home)
		home_event(DSM_DIR_MSG, &p.msg, p.data);
	else if (!w.dead[p.msg.sharer])
		page_event(p.msg.sharer, DSM_PAGE_MSG, &p.msg, p.data);
}

/* Did anybody but the home have what was written last? If not, what the home has is the last. */
static void lose_what_nobody_has(void)
{
	for (dsm_sharer o = 0; o < SHARERS; o++) {
		bool has = w.page[o].hold != DSM_INVALID && w.copy[o] == w.written;

		if (!w.dead[o] && (has || (w.page[o].kept_ver != 0 && w.kept[o] == w.written)))
			return;
	}
	w.written = w.home_copy;
}

/* Its connections break: what it has sent and not delivered is gone. Its unsent writes are lost. */
static void kill_sharer(dsm_sharer s)
{
	struct dsm_msg m = { .sharer = s };

	w.dead[s] = true;
	for (int i = w.bag_count - 1; i >= 0; i--)
		if (w.bag[i].msg.sharer == s)
			w.bag[i] = w.bag[--w.bag_count];
	home_event(DSM_DIR_GONE, &m, 0);
	dsm_page_init(&w.page[s], w.dir.epoch);
	lose_what_nobody_has();
}

/* A new home: with the last one's copy, or with an earlier one's while all the others' is lost. */
static void move_home(bool with_copy)
{
	struct dsm_dir_out out;
	dsm_set live = 0;

	for (dsm_sharer s = 0; s < SHARERS; s++)
		if (!w.dead[s])
			live |= dsm_bit(s);
	if (!with_copy) {
		for (int i = w.bag_count - 1; i >= 0; i--) /* the home's connections break */
			w.bag[i] = w.bag[--w.bag_count];
		w.home_copy = w.old_copy;
		w.dir.copy_ver = w.old_ver;
		lose_what_nobody_has();
	}
	w.old_copy = w.home_copy;
	w.old_ver = w.dir.copy_ver;
	dsm_dir_recover(&w.dir, w.dir.epoch + 1, live, w.dir.copy_ver, &out);
	carry_out_home(&out, 0);
}

static void check(void)
{
	int writers = 0, readers = 0;

	for (dsm_sharer s = 0; s < SHARERS; s++) {
		if (w.dead[s])
			continue;
		writers += w.page[s].hold == DSM_WRITE;
		readers += w.page[s].hold == DSM_READ;
		if (w.page[s].hold != DSM_INVALID && w.copy[s] != w.written)
			w.violated = "last-write";
	}
	if (writers > 1 || (writers == 1 && readers > 0))
		w.violated = "one-writer";
}

static void one_step(void)
{
	dsm_sharer s = (dsm_sharer)rand_below(&w.rnd, SHARERS);
	uint64_t what = rand_below(&w.rnd, 100);

	w.steps++;
	if (what < 60 && w.bag_count > 0) {
		deliver((int)rand_below(&w.rnd, (uint64_t)w.bag_count));
	} else if (what < 75 && !w.dead[s]) {
		page_event(s,
			   rand_chance(&w.rnd, 1, 2) ? DSM_PAGE_FAULT_READ : DSM_PAGE_FAULT_WRITE,
			   NULL, 0);
	} else if (what < 85 && !w.dead[s] && w.page[s].hold == DSM_WRITE) {
		w.copy[s] = ++w.written;
	} else if (what < 93 && !w.dead[s]) {
		page_event(s, DSM_PAGE_TIMER, NULL, 0);
	} else {
		home_event(DSM_DIR_TIMER, NULL, 0);
	}
	check();
}

static bool anybody_waits(void)
{
	for (dsm_sharer s = 0; s < SHARERS; s++)
		if (!w.dead[s] && w.page[s].outstanding)
			return true;
	return false;
}

/* The network behaves and nobody wants more: all that is wanted must be granted. */
static void settle(void)
{
	w.calm = true;
	for (int round = 0; round < 2000 && (anybody_waits() || w.bag_count > 0); round++) {
		while (w.bag_count > 0) {
			deliver((int)rand_below(&w.rnd, (uint64_t)w.bag_count));
			check();
		}
		for (dsm_sharer s = 0; s < SHARERS; s++)
			if (!w.dead[s])
				page_event(s, DSM_PAGE_TIMER, NULL, 0);
		home_event(DSM_DIR_TIMER, NULL, 0);
		check();
	}
	if (anybody_waits())
		w.violated = "progress";
	w.calm = false;
}

static const char *run_seed(uint64_t seed, bool deaths)
{
	memset(&w, 0, sizeof(w));
	rand_seed(&w.rnd, seed);
	dsm_dir_init(&w.dir, 1);
	for (int s = 0; s < SHARERS; s++)
		dsm_page_init(&w.page[s], 1);
	for (int i = 0; i < 2000 && !w.violated; i++) {
		one_step();
		if (deaths && rand_chance(&w.rnd, 1, 500))
			move_home(rand_chance(&w.rnd, 1, 2));
		if (deaths && rand_chance(&w.rnd, 1, 800))
			kill_sharer((dsm_sharer)rand_below(&w.rnd, SHARERS));
	}
	if (!w.violated)
		settle();
	return w.violated;
}

static void one_writer_or_many_readers_over_a_bad_network(void **state)
{
	long grants = 0;

	for (uint64_t seed = 1; seed <= 300; seed++) {
		const char *v = run_seed(seed, false);

		if (v)
			print_error("seed %lu: %s\n", (unsigned long)seed, v);
		assert_null(v);
		grants += w.grants;
	}
	assert_true(grants > 300 * 50); /* it did something */
}

static void deaths_of_sharers_and_homes_keep_the_promises(void **state)
{
	for (uint64_t seed = 1; seed <= 500; seed++) {
		const char *v = run_seed(seed, true);

		if (v)
			print_error("seed %lu: %s\n", (unsigned long)seed, v);
		assert_null(v);
	}
}

/* A home that comes back with nothing learns everything from its sharers. */
static void a_new_home_finds_the_bytes_at_a_reader(void **state)
{
	struct dsm_dir_out out;

	memset(&w, 0, sizeof(w));
	w.calm = true;
	rand_seed(&w.rnd, 1);
	dsm_dir_init(&w.dir, 1);
	for (int s = 0; s < SHARERS; s++)
		dsm_page_init(&w.page[s], 1);
	page_event(0, DSM_PAGE_FAULT_WRITE, NULL, 0);
	settle();
	w.calm = true;
	assert_int_equal(w.page[0].hold, DSM_WRITE);
	w.copy[0] = w.written = 42;
	page_event(1, DSM_PAGE_FAULT_READ, NULL, 0);
	settle();
	w.calm = true;
	assert_int_equal(w.copy[1], 42);
	w.home_copy = -7;
	dsm_dir_recover(&w.dir, 2, dsm_bit(0) | dsm_bit(1) | dsm_bit(2), 0, &out);
	carry_out_home(&out, 0);
	page_event(2, DSM_PAGE_FAULT_READ, NULL, 0);
	settle();
	assert_int_equal(w.page[2].hold, DSM_READ);
	assert_int_equal(w.copy[2], 42);
}

static void repeated_ack_changes_nothing(void **state)
{
	struct dsm_dir d;
	struct dsm_dir_out out;
	struct dsm_dir_ev ev = { .kind = DSM_DIR_MSG,
				 .msg = { .kind = DSM_ACK, .sharer = 1, .epoch = 1, .ver = 5 } };

	dsm_dir_init(&d, 1);
	assert_int_equal(dsm_dir_step(&d, &ev, &out), -EPROTO); /* of a round that never was */
	assert_int_equal(out.count, 0);
	d.ver = 5;
	assert_int_equal(dsm_dir_step(&d, &ev, &out), 0);
	assert_int_equal(out.send[0].msg.kind, DSM_SETTLED);
	assert_int_equal(d.holders, 0);
}

/* Found by seed 290: the sharer then dropped bytes that nobody else had. */
static void a_late_report_does_not_settle_the_round_being_collected(void **state)
{
	struct dsm_dir d;
	struct dsm_dir_out out;
	struct dsm_dir_ev ev = { .kind = DSM_DIR_MSG,
				 .msg = { .kind = DSM_REQ_WRITE, .sharer = 0, .epoch = 1 } };

	dsm_dir_init(&d, 1);
	assert_int_equal(dsm_dir_step(&d, &ev, &out), 0);
	ev.msg.sharer = 1;
	assert_int_equal(dsm_dir_step(&d, &ev, &out), 0);
	assert_int_equal(out.send[0].msg.kind, DSM_INVAL);
	ev.msg = (struct dsm_msg){
		.kind = DSM_REPORT, .sharer = 0, .epoch = 1, .ver = d.ver, .has_data = true
	};
	assert_int_equal(dsm_dir_step(&d, &ev, &out), 0);
	assert_int_equal(out.count, 0);
}

static int report(struct dsm_dir *d, dsm_sharer from, enum dsm_hold state, uint64_t ver, bool data)
{
	struct dsm_dir_out out;
	struct dsm_dir_ev ev = { .kind = DSM_DIR_MSG,
				 .msg = { .kind = DSM_REPORT,
					  .sharer = from,
					  .epoch = d->epoch,
					  .state = state,
					  .ver = ver,
					  .seen = ver,
					  .has_data = data } };

	return dsm_dir_step(d, &ev, &out);
}

/* `pando sim --seed 2`: bytes kept since an earlier round came in after the readers' reports. */
static void old_bytes_reported_last_do_not_hide_what_readers_read(void **state)
{
	struct dsm_dir d;
	struct dsm_dir_out out;
	struct dsm_dir_ev ev = { .kind = DSM_DIR_MSG,
				 .msg = { .kind = DSM_REQ_READ, .sharer = 2, .epoch = 2 } };

	dsm_dir_init(&d, 1);
	dsm_dir_recover(&d, 2, dsm_bit(0) | dsm_bit(1), 0, &out);
	assert_int_equal(report(&d, 0, DSM_READ, 31, false), 0);
	assert_int_equal(report(&d, 1, DSM_INVALID, 29, true), 0);
	assert_int_equal(dsm_dir_step(&d, &ev, &out), 0);
	assert_int_equal(out.send[0].msg.kind, DSM_DOWNGRADE);
	assert_int_equal(out.send[0].to, dsm_bit(0));
}

/* An ACK sent again to a new home that has not had its sender's report: nothing of it is safe. */
static void a_recovering_home_settles_nothing_of_who_has_not_reported(void **state)
{
	struct dsm_dir d;
	struct dsm_dir_out out;
	struct dsm_dir_ev ev = {
		.kind = DSM_DIR_MSG,
		.msg = { .kind = DSM_ACK, .sharer = 1, .epoch = 2, .ver = 9, .has_data = true }
	};

	dsm_dir_init(&d, 1);
	dsm_dir_recover(&d, 2, dsm_bit(0) | dsm_bit(1), 3, &out);
	assert_int_equal(report(&d, 0, DSM_INVALID, 12, false), 0);
	assert_int_equal(dsm_dir_step(&d, &ev, &out), 0);
	assert_int_equal(out.count, 0);
	assert_int_equal(report(&d, 1, DSM_INVALID, 9, true), 0);
	assert_int_equal(d.copy_ver, 9);
}

static void nonsense_is_refused_and_changes_nothing(void **state)
{
	struct rand r;

	rand_seed(&r, 3);
	for (int i = 0; i < 20000; i++) {
		struct dsm_dir d;
		struct dsm_page p;
		struct dsm_dir_out dout;
		struct dsm_page_out pout;
		struct dsm_msg m = { .kind = (enum dsm_kind)rand_below(&r, 16),
				     .sharer = (dsm_sharer)rand_below(&r, 256),
				     .state = (enum dsm_hold)rand_below(&r, 5),
				     .epoch = rand_below(&r, 3),
				     .ver = rand_below(&r, 4),
				     .has_data = rand_below(&r, 2),
				     .has_copy = rand_below(&r, 2) };
		struct dsm_dir_ev dev = { .kind = DSM_DIR_MSG, .msg = m };
		struct dsm_page_ev pev = { .kind = DSM_PAGE_MSG, .msg = m };

		dsm_dir_init(&d, 1);
		dsm_page_init(&p, 1);
		if (dsm_dir_step(&d, &dev, &dout) < 0)
			assert_int_equal(dout.count, 0);
		if (dsm_page_step(&p, &pev, &pout) < 0)
			assert_int_equal(pout.count, 0);
	}
}

#ifdef PANDO_MUTANTS
/* Runs in a child: a mutant may also be caught by a CHECK of its own core. */
static bool caught(const char *name)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		(void)!freopen("/dev/null", "w", stderr);
		(void)mutant_select(name);
		for (uint64_t seed = 1; seed <= 200; seed++)
			if (run_seed(seed, seed % 2 == 0))
				_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status != 0;
}

static void every_broken_variant_is_caught(void **state)
{
	for (size_t i = 0; mutant_name(i); i++) {
		const char *name = mutant_name(i);

		if (strncmp(name, "dsm.", 4) != 0)
			continue;
		if (!caught(name))
			fail_msg("mutant %s is not caught within 200 seeds", name);
	}
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_writer_or_many_readers_over_a_bad_network),
		cmocka_unit_test(deaths_of_sharers_and_homes_keep_the_promises),
		cmocka_unit_test(a_new_home_finds_the_bytes_at_a_reader),
		cmocka_unit_test(repeated_ack_changes_nothing),
		cmocka_unit_test(a_late_report_does_not_settle_the_round_being_collected),
		cmocka_unit_test(old_bytes_reported_last_do_not_hide_what_readers_read),
		cmocka_unit_test(a_recovering_home_settles_nothing_of_who_has_not_reported),
		cmocka_unit_test(nonsense_is_refused_and_changes_nothing),
#ifdef PANDO_MUTANTS
		cmocka_unit_test(every_broken_variant_is_caught),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
