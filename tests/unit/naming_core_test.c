/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/rand.h"
#include "naming/core/core.h"
#include "tests/unit/unit.h"

static const struct naming_sizes small = { 6, 5, 4, 3, 12, 6, 4, 3, 6 };

struct world {
	struct naming_core *k;
	void *mem;
	struct naming_result r;
	struct naming_change c;
	uint64_t now_ms;
};

static struct naming_core *core_new(void **mem)
{
	*mem = calloc(1, naming_core_bytes(&small));
	assert_non_null(*mem);
	return naming_core_init(*mem, &small);
}

static int32_t run(struct world *w, const struct naming_cmd *cmd)
{
	const struct naming_stamp none = { 0 };

	naming_core_apply(w->k, w->now_ms, &none, cmd, &w->r, &w->c);
	assert_null(naming_core_recount(w->k));
	if (w->r.err != 0)
		assert_int_equal(w->c.kinds, 0);
	return w->r.err;
}

static struct naming_cmd cmd_of(enum naming_cmd_kind kind, const char *name)
{
	struct naming_cmd c = { .kind = kind };

	if (name != NULL)
		memcpy(c.name, name, strlen(name));
	return c;
}

static struct naming_cmd node_cmd(enum naming_cmd_kind kind, const char *name)
{
	struct naming_cmd c = cmd_of(kind, name);

	memcpy(c.addr, "10.0.0.1:7000", 14);
	memset(c.key, 7, sizeof(c.key));
	return c;
}

static int32_t create(struct world *w)
{
	struct naming_cmd c = node_cmd(NAMING_CMD_CREATE, "n1");

	memset(c.machine_id, 9, sizeof(c.machine_id));
	memset(c.key, 6, sizeof(c.key));
	memcpy(c.text, "grove", 6);
	return run(w, &c);
}

static int32_t token(struct world *w, uint8_t which, uint32_t uses)
{
	struct naming_cmd c = cmd_of(NAMING_CMD_TOKEN_ADD, NULL);

	memset(c.key, which, sizeof(c.key));
	c.number = uses;
	c.ttl_ms = 1000;
	return run(w, &c);
}

static int32_t join(struct world *w, uint8_t which, const char *name)
{
	struct naming_cmd c = node_cmd(NAMING_CMD_NODE_JOIN, name);

	memset(c.key2, which, sizeof(c.key2));
	return run(w, &c);
}

static int32_t tenant(struct world *w, const char *name)
{
	struct naming_cmd c = cmd_of(NAMING_CMD_TENANT_ADD, name);

	return run(w, &c);
}

static int32_t lease(struct world *w, tenant_id t, node_id n)
{
	struct naming_cmd c = cmd_of(NAMING_CMD_BLOCK_LEASE, NULL);

	c.tenant = t;
	c.node = n;
	return run(w, &c);
}

static int32_t block_op(struct world *w, enum naming_cmd_kind kind, uint32_t number, node_id n,
			epoch_t e, node_id to)
{
	struct naming_cmd c = cmd_of(kind, NULL);

	c.tenant = 1;
	c.number = number;
	c.node = n;
	c.epoch = e;
	c.to = to;
	return run(w, &c);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->k = core_new(&w->mem);
	w->now_ms = 1000;
	*state = w;
	return 0;
}

static int setup_two_nodes(void **state)
{
	struct world *w;

	setup(state);
	w = *state;
	assert_int_equal(create(w), 0);
	assert_int_equal(token(w, 1, 1), 0);
	assert_int_equal(join(w, 1, "n2"), 0);
	assert_int_equal(tenant(w, "alice"), 0);
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	free(w->mem);
	free(w);
	return 0;
}

static void nothing_works_before_the_machine_is_created(void **state)
{
	struct world *w = *state;

	assert_int_equal(tenant(w, "alice"), -EPERM);
	assert_int_equal(create(w), 0);
	assert_int_equal(w->r.id, 1);
	assert_int_equal(create(w), -EPERM);
	assert_string_equal(naming_machine(w->k)->name, "grove");
	assert_int_equal(naming_node_find(w->k, 1)->epoch, 1);
}

static void a_token_lets_in_one_node_and_in_time_only(void **state)
{
	struct world *w = *state;

	create(w);
	assert_int_equal(join(w, 1, "n2"), -EACCES);
	assert_int_equal(token(w, 1, 1), 0);
	assert_int_equal(join(w, 1, "n1"), -EEXIST);
	assert_int_equal(join(w, 1, "n2"), 0);
	assert_int_equal(w->r.id, 2);
	assert_int_equal(join(w, 1, "n3"), -EACCES);
	assert_int_equal(token(w, 2, 2), 0);
	w->now_ms += 1000;
	assert_int_equal(join(w, 2, "n3"), -EACCES);
}

/* Who died with the answer on the way comes back with its key, and needs no second token. */
static void who_was_let_in_and_never_began_is_let_in_again(void **state)
{
	struct world *w = *state;
	struct naming_cmd again = node_cmd(NAMING_CMD_NODE_JOIN, "n2");
	struct naming_cmd stranger = node_cmd(NAMING_CMD_NODE_JOIN, "n2");
	struct naming_cmd life = { .kind = NAMING_CMD_NODE_EPOCH, .node = 2, .epoch = 1 };

	create(w);
	token(w, 1, 1);
	token(w, 2, 1);
	assert_int_equal(join(w, 1, "n2"), 0);
	memset(again.key2, 1, sizeof(again.key2));
	memcpy(again.addr, "10.0.0.2:7000", 14);
	assert_int_equal(run(w, &again), 0);
	assert_int_equal(w->r.id, 2);
	assert_string_equal(naming_node_find(w->k, 2)->addr, "10.0.0.2:7000");

	memset(stranger.key, 8, sizeof(stranger.key));
	memset(stranger.key2, 2, sizeof(stranger.key2));
	assert_int_equal(run(w, &stranger), -EEXIST);
	memset(stranger.key2, 1, sizeof(stranger.key2));
	assert_int_equal(run(w, &stranger), -EACCES);

	/* Announced dead meanwhile it has not begun either; then it begins. */
	life.flags = 1;
	assert_int_equal(run(w, &life), 0);
	assert_int_equal(run(w, &again), 0);
	assert_int_equal(w->r.epoch, 2);
	life.flags = 0;
	life.epoch = 2;
	assert_int_equal(run(w, &life), 0);
	assert_int_equal(run(w, &again), -EACCES);
	memset(again.key2, 2, sizeof(again.key2));
	assert_int_equal(run(w, &again), -EEXIST);
}

/* A leader whose clock is behind must not make an expired token good again. */
static void leader_time_never_runs_backwards(void **state)
{
	struct world *w = *state;

	create(w);
	token(w, 1, 1);
	w->now_ms += 5000;
	assert_int_equal(join(w, 1, "n2"), -EACCES);
	w->now_ms -= 5000;
	assert_int_equal(join(w, 1, "n2"), -EACCES);
}

static void host_ids_are_never_given_twice(void **state)
{
	struct world *w = *state;
	struct naming_cmd rm = cmd_of(NAMING_CMD_TENANT_REMOVE, NULL);
	uint32_t first;

	create(w);
	assert_int_equal(tenant(w, "alice"), 0);
	first = (uint32_t)w->r.value;
	rm.tenant = w->r.id;
	assert_int_equal(run(w, &rm), 0);
	assert_int_equal(tenant(w, "alice"), 0);
	assert_int_equal(w->r.value, first + NAMING_HOST_IDS);
	assert_int_equal(w->r.id, 2);
	assert_int_equal(tenant(w, "alice"), -EEXIST);
	assert_int_equal(tenant(w, "Alice"), -EINVAL);
	assert_int_equal(tenant(w, ""), -EINVAL);
}

static void a_block_has_one_authority_and_its_epoch_grows(void **state)
{
	struct world *w = *state;
	uint32_t n;

	assert_int_equal(lease(w, 1, 1), 0);
	n = (uint32_t)w->r.value;
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_MOVE, n, 1, 1, 9), -ENOENT);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_MOVE, n, 1, 1, 2), 0);
	assert_int_equal(w->r.epoch, 2);
	/* The old authority has lost it, and an answer that came late is refused. */
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_RELEASE, n, 1, 1, 0), -ESTALE);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_MOVE, n, 2, 1, 1), -ESTALE);
	assert_int_equal(naming_block_find(w->k, 1, n)->authority, 2);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_RELEASE, n, 2, 2, 0), 0);
	assert_null(naming_block_find(w->k, 1, n));
	/* Who was fenced with term 2 would believe no lease that begins with 1 again. */
	assert_int_equal(lease(w, 1, 1), 0);
	assert_int_equal(w->r.epoch, 3);
}

static int32_t epoch_op(struct world *w, node_id n, epoch_t e, uint32_t flags)
{
	struct naming_cmd c = cmd_of(NAMING_CMD_NODE_EPOCH, NULL);

	c.node = n;
	c.epoch = e;
	c.flags = flags;
	return run(w, &c);
}

static void a_dead_node_gets_nothing_until_it_comes_back(void **state)
{
	struct world *w = *state;
	struct naming_cmd p = cmd_of(NAMING_CMD_PORT_BIND, NULL);
	uint32_t n;

	assert_int_equal(lease(w, 1, 2), 0);
	n = (uint32_t)w->r.value;
	assert_int_equal(naming_block_find(w->k, 1, n)->life, 1);
	p.tenant = 1;
	p.subkind = NAMING_PORT_TCP;
	p.number = 80;
	p.node = 2;
	assert_int_equal(run(w, &p), 0);
	w->now_ms += 1000;
	assert_int_equal(epoch_op(w, 2, 1, 1), 0);
	assert_int_equal(w->r.epoch, 2);
	assert_int_equal(naming_node_find(w->k, 2)->down, 1);
	assert_int_equal(naming_node_find(w->k, 2)->since_ms, w->now_ms);
	assert_null(naming_port_find(w->k, 1, NAMING_PORT_TCP, 80, ""));
	assert_int_equal(epoch_op(w, 2, 2, 1), -EINVAL);
	assert_int_equal(lease(w, 1, 2), -EINVAL);
	/* Its records died with it: that life is not its present one. */
	assert_int_equal(epoch_op(w, 2, 2, 0), 0);
	assert_int_equal(naming_node_find(w->k, 2)->down, 0);
	assert_int_equal(naming_block_find(w->k, 1, n)->life, 1);
	assert_int_equal(naming_node_find(w->k, 2)->epoch, 3);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_MOVE, n, 2, 1, 2), 0);
	assert_int_equal(naming_block_find(w->k, 1, n)->life, 3);
}

/* Its pids live on elsewhere: whoever keeps the records then gives none out of it. */
static void a_block_remembers_the_life_that_leased_it(void **state)
{
	struct world *w = *state;
	const struct naming_block *b;
	uint32_t n;

	assert_int_equal(lease(w, 1, 2), 0);
	n = (uint32_t)w->r.value;
	b = naming_block_find(w->k, 1, n);
	assert_true(naming_block_kept(w->k, b) && naming_block_homed(w->k, b));
	assert_int_equal(epoch_op(w, 2, 1, 1), 0);
	assert_false(naming_block_kept(w->k, b) || naming_block_homed(w->k, b));
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_MOVE, n, 2, 1, 1), 0);
	assert_int_equal(b->home, 2);
	assert_int_equal(b->born, 1);
	assert_true(naming_block_kept(w->k, b) && !naming_block_homed(w->k, b));
	/* Back in a new life it has nothing of the former one's. */
	assert_int_equal(epoch_op(w, 2, 2, 0), 0);
	assert_false(naming_block_homed(w->k, b));
}

/* What it had of one tenant has died, and the node has not. */
static void a_lost_block_is_kept_by_nobody_until_it_is_moved(void **state)
{
	struct world *w = *state;
	const struct naming_block *b;
	uint32_t n;

	assert_int_equal(lease(w, 1, 2), 0);
	n = (uint32_t)w->r.value;
	b = naming_block_find(w->k, 1, n);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_LOST, n, 1, 1, 0), -ESTALE);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_LOST, n, 2, 2, 0), -ESTALE);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_LOST, n, 2, 1, 0), 0);
	assert_false(naming_block_kept(w->k, b) || naming_block_homed(w->k, b));
	assert_null(naming_core_recount(w->k));
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_MOVE, n, 2, 1, 1), 0);
	assert_true(naming_block_kept(w->k, b) && !naming_block_homed(w->k, b));
	/* Its heir has never given a pid of it; that the heir loses it too makes no home of it. */
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_LOST, n, 2, 1, 0), -ESTALE);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_LOST, n, 1, 2, 0), 0);
	assert_false(naming_block_kept(w->k, b) || naming_block_homed(w->k, b));
	assert_int_equal(b->home, 2);
}

static void a_lease_asked_for_in_an_earlier_life_is_refused(void **state)
{
	struct world *w = *state;
	struct naming_cmd c = cmd_of(NAMING_CMD_BLOCK_LEASE, NULL);

	c.tenant = 1;
	c.node = 2;
	c.epoch = 1;
	assert_int_equal(epoch_op(w, 2, 1, 0), 0);
	assert_int_equal(run(w, &c), -ESTALE);
	c.epoch = 2;
	assert_int_equal(run(w, &c), 0);
}

static void a_released_block_is_leased_again_last(void **state)
{
	struct world *w = *state;

	assert_int_equal(lease(w, 1, 1), 0);
	assert_int_equal(w->r.value, 1);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_RELEASE, 1, 1, 1, 0), 0);
	for (uint32_t i = 2; i < NAMING_BLOCK_END; i++) {
		assert_int_equal(lease(w, 1, 1), 0);
		assert_int_equal(w->r.value, i);
		if (i % 3 != 0 || i > 30)
			assert_int_equal(block_op(w, NAMING_CMD_BLOCK_RELEASE, i, 1, w->r.epoch, 0),
					 0);
	}
	assert_int_equal(lease(w, 1, 1), 0);
	assert_int_equal(w->r.value, 1);
	assert_int_equal(lease(w, 1, 1), 0);
	assert_int_equal(w->r.value, 2);
	/* 3 is still leased: it is stepped over. And a full table is a result. */
	assert_int_equal(lease(w, 1, 1), -ENOSPC);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_RELEASE, 1, 1,
				  naming_block_find(w->k, 1, 1)->epoch, 0),
			 0);
	assert_int_equal(lease(w, 1, 1), 0);
	assert_int_equal(w->r.value, 4);
}

static int32_t drain(struct world *w, node_id n, uint32_t how)
{
	struct naming_cmd c = cmd_of(NAMING_CMD_NODE_DRAIN, NULL);

	c.node = n;
	c.flags = how;
	return run(w, &c);
}

static void a_draining_node_keeps_nothing_for_long_until_it_is_opened(void **state)
{
	struct world *w = *state;
	struct naming_cmd leave = cmd_of(NAMING_CMD_NODE_LEAVE, NULL);
	uint32_t n;

	assert_int_equal(drain(w, 9, NAMING_DRAINING), -ENOENT);
	assert_int_equal(drain(w, 2, NAMING_DRAINED), -EINVAL);
	assert_int_equal(drain(w, 2, NAMING_DRAINED + 1), -EINVAL);
	assert_int_equal(drain(w, 2, NAMING_DRAINING), 0);
	assert_int_equal(w->c.kinds, naming_kind_bit(NAMING_NODE));
	assert_int_equal(w->c.id, 2);
	assert_int_equal(drain(w, 2, NAMING_DRAINING), 0);
	assert_int_equal(w->c.kinds, 0);
	/* What runs there may still fork; nobody hands it what he wants to be rid of. */
	assert_int_equal(lease(w, 1, 2), 0);
	n = (uint32_t)w->r.value;
	assert_int_equal(lease(w, 1, 1), 0);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_MOVE, (uint32_t)w->r.value, 1, 1, 2),
			 -EINVAL);
	assert_int_equal(drain(w, 2, NAMING_DRAINED), 0);
	/* A new life of it is as closed. */
	assert_int_equal(epoch_op(w, 2, 1, 0), 0);
	assert_int_equal(naming_node_find(w->k, 2)->drain, NAMING_DRAINED);
	assert_int_equal(drain(w, 2, NAMING_OPEN), 0);
	assert_int_equal(naming_node_find(w->k, 2)->drain, NAMING_OPEN);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_MOVE, n, 2, 1, 1), 0);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_MOVE, n, 1, 2, 2), 0);
	leave.node = 2;
	assert_int_equal(run(w, &leave), 0);
	assert_int_equal(drain(w, 2, NAMING_DRAINING), -EINVAL);
}

static void a_node_leaves_only_without_authorities_unless_it_is_dead(void **state)
{
	struct world *w = *state;
	struct naming_cmd leave = cmd_of(NAMING_CMD_NODE_LEAVE, NULL);
	struct naming_cmd left = cmd_of(NAMING_CMD_NODE_LEFT, NULL);

	leave.node = left.node = 2;
	assert_int_equal(lease(w, 1, 2), 0);
	assert_int_equal(run(w, &left), -EINVAL);
	assert_int_equal(run(w, &leave), 0);
	assert_int_equal(lease(w, 1, 2), -EINVAL);
	assert_int_equal(run(w, &left), -EBUSY);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_MOVE, 1, 2, 1, 1), 0);
	assert_int_equal(run(w, &left), 0);
	/* Its name is free, its id is not. */
	token(w, 1, 1);
	assert_int_equal(join(w, 1, "n2"), 0);
	assert_int_equal(w->r.id, 3);
	left.node = 3;
	left.flags = 1;
	assert_int_equal(lease(w, 1, 3), 0);
	assert_int_equal(run(w, &left), 0);
	assert_int_equal(block_op(w, NAMING_CMD_BLOCK_MOVE, 2, 3, 1, 1), 0);
}

static void rows_of_nodes_that_left_make_room(void **state)
{
	struct world *w = *state;
	struct naming_cmd left = cmd_of(NAMING_CMD_NODE_LEFT, NULL);
	char name[] = "x0";

	create(w);
	left.flags = 1;
	for (unsigned i = 2; i < 40; i++) {
		name[1] = (char)('a' + i % 26);
		assert_int_equal(token(w, 1, 1), 0);
		assert_int_equal(join(w, 1, name), 0);
		assert_int_equal(w->r.id, i);
		left.node = i;
		assert_int_equal(run(w, &left), 0);
	}
}

static void a_repeated_command_takes_effect_once(void **state)
{
	struct world *w = *state;
	struct naming_stamp st = { 77, 1, 0 };
	struct naming_cmd c = cmd_of(NAMING_CMD_BLOCK_LEASE, NULL);
	struct naming_result again;

	c.tenant = c.node = 1;
	naming_core_apply(w->k, w->now_ms, &st, &c, &w->r, &w->c);
	assert_int_equal(w->r.err, 0);
	naming_core_apply(w->k, w->now_ms, &st, &c, &again, &w->c);
	assert_memory_equal(&again, &w->r, sizeof(again));
	assert_int_equal(w->c.kinds, 0);
	st.seq = 2;
	naming_core_apply(w->k, w->now_ms, &st, &c, &again, &w->c);
	assert_int_equal(again.value, w->r.value + 1);
	/* What was acknowledged is forgotten, and cannot come back. */
	st = (struct naming_stamp){ 77, 3, 2 };
	naming_core_apply(w->k, w->now_ms, &st, &c, &again, &w->c);
	st = (struct naming_stamp){ 77, 2, 0 };
	naming_core_apply(w->k, w->now_ms, &st, &c, &again, &w->c);
	assert_int_equal(again.err, -EINVAL);
	st = (struct naming_stamp){ 77, 3 + NAMING_CLIENT_WINDOW, 2 };
	naming_core_apply(w->k, w->now_ms, &st, &c, &again, &w->c);
	assert_int_equal(again.err, -EINVAL);
	assert_null(naming_core_recount(w->k));
}

static void an_idle_client_makes_room_and_is_told_when_it_comes_back(void **state)
{
	struct world *w = *state;
	struct naming_cmd c = cmd_of(NAMING_CMD_NOOP, NULL);

	for (uint64_t i = 1; i <= 3; i++) {
		struct naming_stamp st = { i, 1, 0 };

		naming_core_apply(w->k, w->now_ms, &st, &c, &w->r, &w->c);
		assert_int_equal(w->r.err, 0);
	}
	naming_core_apply(w->k, w->now_ms, &(struct naming_stamp){ 4, 1, 0 }, &c, &w->r, &w->c);
	assert_int_equal(w->r.err, -EAGAIN);
	w->now_ms += NAMING_CLIENT_IDLE_MS;
	naming_core_apply(w->k, w->now_ms, &(struct naming_stamp){ 4, 1, 0 }, &c, &w->r, &w->c);
	assert_int_equal(w->r.err, 0);
	naming_core_apply(w->k, w->now_ms, &(struct naming_stamp){ 1, 2, 1 }, &c, &w->r, &w->c);
	assert_int_equal(w->r.err, -ECONNRESET);
}

static void ports_and_volumes_and_keys_are_unique(void **state)
{
	struct world *w = *state;
	struct naming_cmd p = cmd_of(NAMING_CMD_PORT_BIND, NULL);
	struct naming_cmd v = cmd_of(NAMING_CMD_VOLUME_ADD, "home");
	struct naming_cmd key = cmd_of(NAMING_CMD_KEY_ADD, NULL);

	p.tenant = 1;
	p.node = 2;
	p.subkind = NAMING_PORT_TCP;
	p.number = 80;
	assert_int_equal(run(w, &p), 0);
	p.node = 1;
	assert_int_equal(run(w, &p), -EEXIST);
	assert_int_equal(w->r.id, 2);
	p.kind = NAMING_CMD_PORT_FREE;
	assert_int_equal(run(w, &p), -ESTALE);
	p.node = 2;
	assert_int_equal(run(w, &p), 0);
	v.subkind = NAMING_VOLUME_DIR;
	memcpy(v.text, "/srv/home", 10);
	assert_int_equal(run(w, &v), 0);
	assert_int_equal(run(w, &v), -EEXIST);
	v.tenant = 1;
	assert_int_equal(run(w, &v), 0);
	key.tenant = 1;
	memset(key.key, 5, sizeof(key.key));
	memcpy(key.text, "ssh-ed25519 AAAA alice", 23);
	assert_int_equal(run(w, &key), 0);
	assert_int_equal(run(w, &key), -EEXIST);
	key.kind = NAMING_CMD_KEY_REMOVE;
	assert_int_equal(run(w, &key), 0);
}

/* All fingerprints but one meet in the same place of the index. */
static void keys_are_found_whatever_was_taken_out(void **state)
{
	struct world *w = *state;
	struct naming_cmd add = cmd_of(NAMING_CMD_KEY_ADD, NULL);

	add.tenant = 1;
	memcpy(add.text, "ssh-ed25519 AAAA alice", 23);
	for (uint8_t i = 0; i < 4; i++) {
		memset(add.key, i == 2 ? 3 : 16, 4);
		add.key[31] = i;
		assert_int_equal(run(w, &add), 0);
	}
	add.key[31] = 4;
	assert_int_equal(run(w, &add), -ENOSPC);
	memset(add.key, 16, 4);
	add.key[31] = 1;
	add.kind = NAMING_CMD_KEY_REMOVE;
	assert_int_equal(run(w, &add), 0);
	assert_null(naming_key_find(w->k, add.key));
	for (uint8_t i = 0; i < 4; i++) {
		memset(add.key, i == 2 ? 3 : 16, 4);
		add.key[31] = i;
		assert_int_equal(naming_key_find(w->k, add.key) != NULL, i != 1);
	}
}

static void flags_of_a_tenant_change_alone(void **state)
{
	struct world *w = *state;
	struct naming_cmd c = cmd_of(NAMING_CMD_TENANT_FLAGS, NULL);
	static uint8_t bytes[65536];
	size_t n;

	c.tenant = 1;
	c.number = c.flags = NAMING_TENANT_HANGUP;
	assert_int_equal(run(w, &c), 0);
	n = naming_core_snapshot(w->k, bytes, sizeof(bytes));
	assert_int_equal(naming_core_restore(w->k, bytes, n), 0);
	assert_int_equal(naming_tenant_find(w->k, 1)->flags, NAMING_TENANT_HANGUP);
	c.number = 0;
	c.flags = 0;
	assert_int_equal(run(w, &c), 0);
	assert_int_equal(naming_tenant_find(w->k, 1)->flags, NAMING_TENANT_HANGUP);
	c.number = 2;
	assert_int_equal(run(w, &c), -EINVAL);
	c.number = NAMING_TENANT_HANGUP;
	c.tenant = 9;
	assert_int_equal(run(w, &c), -ENOENT);
}

static void random_cmd(struct rand *rng, unsigned i, struct naming_cmd *c, struct naming_stamp *st)
{
	static const char *const names[] = { "", "a", "bob", "n1", "n2", "x-9", "Bad", "toolong" };

	memset(c, 0, sizeof(*c));
	c->kind = (enum naming_cmd_kind)rand_below(rng, NAMING_CMD_COUNT + 1);
	c->subkind = (uint32_t)rand_below(rng, 5);
	c->flags = (uint32_t)rand_below(rng, 4);
	c->number = (uint32_t)rand_below(rng, 6);
	c->node = (node_id)rand_below(rng, 8);
	c->to = (node_id)rand_below(rng, 8);
	c->tenant = (tenant_id)rand_below(rng, 6);
	c->epoch = rand_below(rng, 4);
	c->ttl_ms = rand_below(rng, 3) == 0 ? UINT64_MAX : rand_below(rng, 5000);
	c->serial = rand_below(rng, 3);
	c->limits.procs = (uint32_t)rand_below(rng, 100);
	for (unsigned r = 0; r < NAMING_RESOURCES; r++) {
		c->like[r] = rand_below(rng, 200);
		c->need[r] = rand_below(rng, 200);
	}
	memset(c->machine_id, (int)rand_below(rng, 2), sizeof(c->machine_id));
	memset(c->key, (int)rand_below(rng, 4), sizeof(c->key));
	memset(c->key2, (int)rand_below(rng, 4), sizeof(c->key2));
	strcpy(c->name, names[rand_below(rng, 8)]);
	strcpy(c->addr, rand_chance(rng, 1, 9) ? "" : "h:1");
	strcpy(c->text, rand_chance(rng, 1, 2) ? "grove" : "/p");
	if (rand_chance(rng, 1, 50))
		memset(c->name, 'a', sizeof(c->name));
	/* Mostly as a client does it: a few unanswered, some repeated; sometimes nonsense. */
	st->client = rand_below(rng, 4);
	st->seq = i / 8 + rand_below(rng, 6);
	st->acked = st->seq > 8 ? st->seq - 1 - rand_below(rng, 8) : 0;
	if (rand_chance(rng, 1, 500))
		st->acked = rand_next(rng);
}

/* Total: any command in any state gives a result; and a restored core goes on as its original. */
static void random_commands_keep_every_invariant(void **state)
{
	struct world *w = *state;
	void *mem2;
	struct naming_core *k2 = core_new(&mem2);
	struct rand rng;
	uint8_t *bytes = NULL;
	unsigned good = 0;

	rand_seed(&rng, 42);
	for (unsigned i = 0; i < 60000; i++) {
		struct naming_cmd c;
		struct naming_stamp st;
		struct naming_result r2;

		random_cmd(&rng, i, &c, &st);
		w->now_ms += rand_below(&rng, 200);
		if (rand_chance(&rng, 1, 2000))
			w->now_ms += NAMING_CLIENT_IDLE_MS;
		naming_core_apply(w->k, w->now_ms, &st, &c, &w->r, &w->c);
		naming_core_apply(k2, w->now_ms, &st, &c, &r2, &w->c);
		assert_memory_equal(&w->r, &r2, sizeof(r2));
		good += w->r.err == 0;
		if (i % 64 == 0) {
			size_t n = naming_core_snapshot_bytes(w->k);

			assert_null(naming_core_recount(w->k));
			bytes = realloc(bytes, n);
			assert_int_equal(naming_core_snapshot(w->k, bytes, n), n);
			assert_int_equal(naming_core_restore(k2, bytes, n), 0);
			assert_int_equal(naming_core_restore(k2, bytes, n - 1), -EBADMSG);
			assert_int_equal(naming_core_restore(k2, bytes, n), 0);
		}
	}
	assert_true(good > 2000);
	free(bytes);
	free(mem2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_works_before_the_machine_is_created, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_token_lets_in_one_node_and_in_time_only, setup,
						teardown),
		cmocka_unit_test_setup_teardown(who_was_let_in_and_never_began_is_let_in_again,
						setup, teardown),
		cmocka_unit_test_setup_teardown(leader_time_never_runs_backwards, setup, teardown),
		cmocka_unit_test_setup_teardown(host_ids_are_never_given_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(a_block_has_one_authority_and_its_epoch_grows,
						setup_two_nodes, teardown),
		cmocka_unit_test_setup_teardown(a_lost_block_is_kept_by_nobody_until_it_is_moved,
						setup_two_nodes, teardown),
		cmocka_unit_test_setup_teardown(a_block_remembers_the_life_that_leased_it,
						setup_two_nodes, teardown),
		cmocka_unit_test_setup_teardown(a_dead_node_gets_nothing_until_it_comes_back,
						setup_two_nodes, teardown),
		cmocka_unit_test_setup_teardown(a_lease_asked_for_in_an_earlier_life_is_refused,
						setup_two_nodes, teardown),
		cmocka_unit_test_setup_teardown(a_released_block_is_leased_again_last,
						setup_two_nodes, teardown),
		cmocka_unit_test_setup_teardown(
			a_node_leaves_only_without_authorities_unless_it_is_dead, setup_two_nodes,
			teardown),
		cmocka_unit_test_setup_teardown(
			a_draining_node_keeps_nothing_for_long_until_it_is_opened, setup_two_nodes,
			teardown),
		cmocka_unit_test_setup_teardown(rows_of_nodes_that_left_make_room, setup, teardown),
		cmocka_unit_test_setup_teardown(a_repeated_command_takes_effect_once,
						setup_two_nodes, teardown),
		cmocka_unit_test_setup_teardown(
			an_idle_client_makes_room_and_is_told_when_it_comes_back, setup_two_nodes,
			teardown),
		cmocka_unit_test_setup_teardown(keys_are_found_whatever_was_taken_out,
						setup_two_nodes, teardown),
		cmocka_unit_test_setup_teardown(flags_of_a_tenant_change_alone, setup_two_nodes,
						teardown),
		cmocka_unit_test_setup_teardown(ports_and_volumes_and_keys_are_unique,
						setup_two_nodes, teardown),
		cmocka_unit_test_setup_teardown(random_commands_keep_every_invariant, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
