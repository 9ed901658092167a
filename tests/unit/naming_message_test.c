/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libraft is handed. A call of raft_step() comes here first: the test looks at the message,
 * and the library gets it unless the test only wants to look.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <raft.h>
#include <string.h>

#include "naming/wire.h"
#include "tests/lib/naming_world.h"
#include "tests/unit/unit.h"

static struct {
	bool looks; /* keeps the message from the library */
	bool got;
	struct raft_message message;
	struct raft_entry entry; /* the first one that came along */
	unsigned vote_results;
	unsigned vote_results_of_others; /* not for a candidate */
} seen;

static int step_really(struct raft *r, struct raft_event *ev, struct raft_update *u)
{
	int (*step)(struct raft *, struct raft_event *, struct raft_update *) =
		(int (*)(struct raft *, struct raft_event *, struct raft_update *))dlsym(
			RTLD_NEXT, "raft_step");

	assert_non_null(step);
	return step(r, ev, u);
}

/* The library's to free, where it is not handed on. */
static void message_drop(struct raft_message *m)
{
	if (m->type == RAFT_APPEND_ENTRIES && m->append_entries.n_entries > 0)
		raft_free(m->append_entries.entries[0].batch);
	if (m->type == RAFT_INSTALL_SNAPSHOT) {
		raft_configuration_close(&m->install_snapshot.conf);
		raft_free(m->install_snapshot.data.base);
	}
}

int raft_step(struct raft *r, struct raft_event *ev, struct raft_update *u)
{
	if (ev->type != RAFT_RECEIVE)
		return step_really(r, ev, u);
	if (ev->receive.message->type == RAFT_REQUEST_VOTE_RESULT) {
		seen.vote_results++;
		seen.vote_results_of_others += r->state != RAFT_CANDIDATE;
	}
	if (!seen.looks)
		return step_really(r, ev, u);
	seen.got = true;
	seen.message = *ev->receive.message;
	if (seen.message.type == RAFT_APPEND_ENTRIES && seen.message.append_entries.n_entries > 0)
		seen.entry = seen.message.append_entries.entries[0];
	message_drop(ev->receive.message);
	return RAFT_INVALID;
}

/* Where the message's parts lie is not what it says. */
static void forget_places(struct raft_message *m, struct raft_entry *e)
{
	m->server_address = NULL;
	e->buf.base = e->batch = NULL;
	if (m->type == RAFT_APPEND_ENTRIES)
		m->append_entries.entries = NULL;
	if (m->type == RAFT_INSTALL_SNAPSHOT) {
		m->install_snapshot.conf.servers = NULL;
		m->install_snapshot.data.base = NULL;
	}
}

static void __attribute__((noinline)) paint_stack(int byte)
{
	volatile char area[32768];

	for (size_t i = 0; i < sizeof(area); i++)
		area[i] = (char)byte;
}

static void receive(struct naming_replica *r, node_id from, const struct wire_msg *m)
{
	struct buf bytes = BUF_INIT;

	assert_int_equal(wire_msg_pack(m, &bytes), 0);
	naming_replica_receive(r, from, bytes.data, bytes.len);
	buf_fini(&bytes);
}

/* What is handed on of @m, when the memory that it is made in held @byte. */
static void look(struct naming_replica *r, const struct wire_msg *m, int byte,
		 struct raft_message *out, struct raft_entry *entry)
{
	memset(&seen, 0, sizeof(seen));
	seen.looks = true;
	mallopt(M_PERTURB, byte);
	paint_stack(byte);
	receive(r, 2, m);
	mallopt(M_PERTURB, 0);
	seen.looks = false;
	assert_true(seen.got);
	*out = seen.message;
	*entry = seen.entry;
	forget_places(out, entry);
}

static void says_the_same_wherever_it_was_made(struct naming_replica *r, const struct wire_msg *m)
{
	struct raft_message a, b;
	struct raft_entry ea, eb;

	look(r, m, 0x5a, &a, &ea);
	look(r, m, 0xa5, &b, &eb);
	assert_int_equal(a.type, m->raft.type);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_memory_equal(&ea, &eb, sizeof(ea));
}

static struct wire_msg message(enum raft_message_type type, uint64_t term)
{
	return (struct wire_msg){ .type = WIRE_RAFT, .raft = { .type = type, .term = term } };
}

/* A configuration of one voter, as bytes of the library. */
static void conf_bytes(struct raft_buffer *out)
{
	struct raft_configuration c;

	raft_configuration_init(&c);
	assert_int_equal(raft_configuration_add(&c, 2, "2", RAFT_VOTER), 0);
	assert_int_equal(raft_configuration_encode(&c, out), 0);
	raft_configuration_close(&c);
}

/*
 * Else what a replica does hangs on what its stack and heap held before: equal seeds of the
 * simulated world then had unequal hashes, by the compiler.
 */
static void no_byte_of_a_message_is_left_to_chance(void **state)
{
	struct world *w = world_new(1);
	struct raft_buffer conf;
	struct wire_entry entry = { .term = 1, .type = RAFT_COMMAND, .data = (uint8_t *)"x", 1 };
	struct wire_msg m = message(RAFT_REQUEST_VOTE, 7);
	struct buf tables = BUF_INIT;
	struct naming_replica *r;

	world_grow(w, 3);
	r = w->node[3].r;
	m.raft.candidate = 2;
	says_the_same_wherever_it_was_made(r, &m);
	m = message(RAFT_APPEND_ENTRIES_RESULT, 7);
	says_the_same_wherever_it_was_made(r, &m);
	m = message(RAFT_TIMEOUT_NOW, 7);
	says_the_same_wherever_it_was_made(r, &m);
	m = message(RAFT_APPEND_ENTRIES, 7);
	m.raft.index = m.raft.index_term = 1;
	m.entries = &entry;
	m.entry_count = 1;
	says_the_same_wherever_it_was_made(r, &m);
	m = message(RAFT_INSTALL_SNAPSHOT, 7);
	conf_bytes(&conf);
	m.raft.index = 1000;
	m.raft.index_term = m.raft.conf_index = 1;
	m.raft.conf = conf.base;
	m.raft.conf_len = conf.len;
	assert_int_equal(buf_reserve(&tables, naming_core_snapshot_bytes(naming_replica_core(r))),
			 0);
	m.raft.data = tables.data;
	m.raft.data_len = naming_core_snapshot(naming_replica_core(r), tables.data, tables.cap);
	says_the_same_wherever_it_was_made(r, &m);
	raft_free(conf.base);
	buf_fini(&tables);
	world_free(w);
}

/*
 * A follower keeps its leader's address where a candidate keeps whether it asks for pre-votes. It
 * was taken to a new term by the answer to a pre-vote or not, by a byte of that pointer.
 */
static void only_a_candidate_hears_of_votes(void **state)
{
	struct wire_msg m = message(RAFT_REQUEST_VOTE_RESULT, 1000);
	struct world *w = world_new(2);
	struct naming_replica_info before, after;

	memset(&seen, 0, sizeof(seen));
	world_grow(w, 3);
	m.raft.pre_vote = m.raft.granted = true;
	for (node_id id = 1; id <= 3; id++) {
		naming_replica_info(w->node[id].r, &before);
		receive(w->node[id].r, id % 3 + 1, &m);
		naming_replica_info(w->node[id].r, &after);
		assert_int_equal(after.term, before.term);
	}
	assert_int_equal(seen.vote_results_of_others, 0);
	/* Elections go on as ever. */
	seen.vote_results = 0;
	world_kill(w, world_leader(w));
	world_run(w, 5000);
	assert_true(seen.vote_results > 0);
	assert_int_equal(seen.vote_results_of_others, 0);
	assert_true(world_leader(w) != NODE_NONE);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_byte_of_a_message_is_left_to_chance),
		cmocka_unit_test(only_a_candidate_hears_of_votes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
