/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Naming on a simulated node: the daemon's struct naming_replica (naming/raft/replica.h), with the
 * world's time, network and disk around it. naming/naming.c is its counterpart on a real node.
 *
 * A turn is: time, one event, flush. Answers and changes reach the node's pod (registry.c) by
 * events of their own, never from inside the replica.
 */
#include "sim/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "naming/wire.h"
#include "sim/link.h"

#define WALL_MS UINT64_C(1700000000000)

const struct naming_sizes sim_naming_sizes = { .nodes_max = SIM_NODES_MAX,
					       .tenants_max = 4,
					       .keys_max = 2,
					       .tokens_max = SIM_NODES_MAX,
					       .blocks_max = SIM_BLOCKS_MAX,
					       .ports_max = 2,
					       .volumes_max = 2,
					       .clients_max = 256,
					       .loans_max = 4 * SIM_NODES_MAX };

struct ask {
	bool used;
	name_fn fn;
	uint64_t a, b;
};

struct name {
	struct sim *s;
	struct knode *n;
	struct naming_replica *r;
	uint64_t wake_ms; /* a wake is under way for then; 0: none */
	bool tell_tables, tell_status;
	struct ask asks[NAME_ASKS];
};

struct name_answer {
	struct guard guard;
	name_fn fn;
	uint64_t a, b;
	int err;
	struct naming_result r;
};

struct name_msg {
	size_t len;
	uint8_t bytes[];
};

static uint64_t local_ms(const struct sim *s, const struct knode *n)
{
	return world_local(&s->w, n->id) / NS_PER_MS;
}

uint32_t name_role(const struct knode *n)
{
	struct naming_replica_info i;

	naming_replica_info(n->name->r, &i);
	return i.role;
}

static void cover(struct sim *s, const struct knode *n, uint32_t event)
{
	if (s->cov)
		s->cov->name[name_role(n)][event]++;
}

static void cover_message(struct sim *s, const struct knode *n, const uint8_t *bytes, size_t len)
{
	static const uint32_t events[] = { [WIRE_PROPOSE] = COV_NAME_PROPOSE,
					   [WIRE_REFUSE] = COV_NAME_REFUSE,
					   [WIRE_FEED_ASK] = COV_NAME_FEED_ASK,
					   [WIRE_FEED] = COV_NAME_FEED };
	struct wire_msg m;

	if (!s->cov || wire_msg_unpack(bytes, len, &m) != 0)
		return;
	if (m.type == WIRE_RAFT && m.raft.type <= 6)
		cover(s, n, COV_NAME_RAFT + m.raft.type);
	else if (m.type < ARRAY_LEN(events))
		cover(s, n, events[m.type]);
	wire_msg_fini(&m);
}

static void turn_begin(struct sim *s, struct knode *n)
{
	uint64_t now_ms = local_ms(s, n);

	naming_replica_time(n->name->r, now_ms, WALL_MS + now_ms);
}

static void on_wake(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload);

static void wake_at(struct sim *s, struct knode *n, uint64_t due_ms)
{
	uint64_t at_ns;

	due_ms = MAX(due_ms, local_ms(s, n) + 1);
	if (n->name->wake_ms != 0 && n->name->wake_ms <= due_ms)
		return;
	n->name->wake_ms = due_ms;
	at_ns = world_when(&s->w, n->id, due_ms * NS_PER_MS);
	pod_later(s, n, at_ns - s->w.now_ns, on_wake, "raft-due", due_ms, 0);
}

static void on_told(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];

	if (pod_stalled(s, n, on_told, "tables", a, b, payload) || !sim_guard_pod(s, node, payload))
		return;
	if (a)
		registry_tables(s, n);
	if (b && n->name)
		registry_status(s, n);
}

static void turn_end(struct sim *s, struct knode *n)
{
	struct name *nm = n->name;

	naming_replica_room(nm->r, disks_free_bytes(s, n->id));
	naming_replica_flush(nm->r);
	check_applied(s, n);
	if (nm->tell_tables || nm->tell_status)
		pod_later(s, n, NS_PER_US, on_told, "tables", nm->tell_tables, nm->tell_status);
	nm->tell_tables = nm->tell_status = false;
	wake_at(s, n, naming_replica_due_ms(nm->r));
}

static void on_wake(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];

	if (pod_stalled(s, n, on_wake, "raft-due", a, b, payload) ||
	    !sim_guard_pod(s, node, payload))
		return;
	if (n->name->wake_ms != a)
		return; /* an earlier one came first */
	n->name->wake_ms = 0;
	cover(s, n, COV_NAME_WAKE);
	turn_begin(s, n);
	turn_end(s, n);
}

/* ---- effects of a replica ---- */

static void on_message(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	const struct name_msg *m = payload;

	if (pod_stalled(s, n, on_message, "naming", a, b, payload))
		return;
	world_hash(w, m->len);
	world_hash_bytes(w, m->bytes, m->len);
	if (n->up && n->name) {
		cover_message(s, n, m->bytes, m->len);
		turn_begin(s, n);
		naming_replica_receive(n->name->r, (node_id)b, m->bytes, m->len);
		turn_end(s, n);
	}
	world_put(payload);
}

static void fx_send(void *arg, node_id to, const uint8_t *bytes, size_t len)
{
	struct name *nm = arg;
	struct name_msg *m;

	CHECK(to != nm->n->id);
	if (to == NODE_NONE || to > nm->s->conf.nodes)
		return;
	check_promised(nm->s, nm->n, to, bytes, len);
	m = world_alloc(sizeof(*m) + len);
	m->len = len;
	memcpy(m->bytes, bytes, len);
	link_pods_send(nm->s, nm->n->id, to, len, on_message, "naming", len, m);
}

static void fx_write_log(void *arg, uint64_t segment, uint64_t offset, const uint8_t *bytes,
			 size_t len)
{
	struct name *nm = arg;

	disks_write_log(nm->s, nm->n, segment, offset, bytes, len);
}

static void fx_write_snapshot(void *arg, uint64_t index, const uint8_t *bytes, size_t len)
{
	struct name *nm = arg;

	disks_write_snapshot(nm->s, nm->n, index, bytes, len);
}

static void fx_remove_segment(void *arg, uint64_t segment)
{
	struct name *nm = arg;

	disks_remove_segment(nm->s, nm->n->id, segment);
}

static void fx_remove_snapshot(void *arg, uint64_t index)
{
	struct name *nm = arg;

	disks_remove_snapshot(nm->s, nm->n->id, index);
}

static void on_answer(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	const struct name_answer *x = payload;

	if (pod_stalled(s, n, on_answer, "answer", a, b, payload))
		return;
	if (n->up && n->name && n->pod_life == x->guard.pod)
		x->fn(s, n, x->a, x->b, x->err, &x->r);
	world_put(payload);
}

static void fx_answer(void *arg, uint64_t token, int err, const struct naming_result *r)
{
	struct name *nm = arg;
	struct ask *k = &nm->asks[token % NAME_ASKS];
	struct name_answer *x = world_alloc(sizeof(*x));

	CHECK(k->used);
	k->used = false;
	*x = (struct name_answer){
		.guard = { .pod = nm->n->pod_life }, .fn = k->fn, .a = k->a, .b = k->b, .err = err
	};
	if (r)
		x->r = *r;
	world_hash(&nm->s->w, (uint64_t)(int64_t)err);
	world_in(&nm->s->w, NS_PER_US, on_answer, "answer", nm->n->id, token, (uint64_t)-err, x);
}

static void fx_changed(void *arg, uint32_t kinds, uint32_t id)
{
	struct name *nm = arg;

	world_hash(&nm->s->w, (uint64_t)kinds << 32 | id);
	nm->tell_tables = true;
}

static void fx_status(void *arg)
{
	struct name *nm = arg;

	nm->tell_status = true;
}

static const struct naming_replica_ops ops = {
	.send = fx_send,
	.write_log = fx_write_log,
	.write_snapshot = fx_write_snapshot,
	.remove_segment = fx_remove_segment,
	.remove_snapshot = fx_remove_snapshot,
	.answer = fx_answer,
	.changed = fx_changed,
	.status = fx_status,
};

void name_log_done(struct sim *s, struct knode *n, int err)
{
	cover(s, n, err ? COV_NAME_LOG_FAILED : COV_NAME_LOG_DONE);
	turn_begin(s, n);
	naming_replica_log_done(n->name->r, err);
	turn_end(s, n);
}

void name_snapshot_done(struct sim *s, struct knode *n, int err)
{
	cover(s, n, err ? COV_NAME_SNAPSHOT_FAILED : COV_NAME_SNAPSHOT_DONE);
	turn_begin(s, n);
	naming_replica_snapshot_done(n->name->r, err);
	turn_end(s, n);
}

/* ---- life ---- */

void name_start(struct sim *s, struct knode *n)
{
	struct rand *r = &s->w.rng[RNG_NAME];
	struct naming_file segments[DISK_FILES], snapshots[DISK_FILES];
	struct naming_disk disk;
	const struct naming_replica_config cfg = {
		.self = n->id,
		.first = n->id == 1,
		.client = rand_next(r) | 1,
		.log_id = rand_next(r) | 1,
		.seed = (uint32_t)rand_next(r),
		.sizes = &sim_naming_sizes,
		.voters_max = s->conf.nodes >= 5 && (s->conf.seed & 1) ? 5 : 3,
		.election_ms = 1000,
		.heartbeat_ms = 250,
		.snapshot_entries = 150,
		.trailing_entries = 30,
		.segment_bytes = SIM_SEGMENT_BYTES,
		.room_kib_min = 64,
	};
	struct name *nm = calloc(1, sizeof(*nm));
	node_id seeds[SIM_NODES_MAX];
	const char *why = NULL;
	size_t count = 0;

	CHECK(nm != NULL && !n->name);
	*nm = (struct name){ .s = s, .n = n };
	disks_read(s, n->id, segments, snapshots, &disk);
	if (naming_replica_new(&nm->r, &cfg, &disk, local_ms(s, n), &ops, nm, &why) != 0) {
		world_violate(&s->w, "L1", "n%u: naming does not start: %s", n->id, why);
		free(nm);
		return;
	}
	s->stats.log_starts++;
	n->name = nm;
	n->name_checked = 0;
	for (node_id id = 1; id <= s->members; id++) {
		if (id != n->id)
			seeds[count++] = id;
	}
	naming_replica_seeds(nm->r, seeds, count);
	turn_begin(s, n);
	turn_end(s, n);
}

void name_stop(struct knode *n)
{
	if (!n->name)
		return;
	naming_replica_free(n->name->r);
	free(n->name);
	n->name = NULL;
}

/* ---- for the pod ---- */

bool name_propose(struct sim *s, struct knode *n, const struct naming_cmd *cmd,
		  uint64_t patience_ms, name_fn fn, uint64_t a, uint64_t b)
{
	uint64_t i = 0;
	int r;

	while (i < NAME_ASKS && n->name->asks[i].used)
		i++;
	if (i == NAME_ASKS)
		return false;
	n->name->asks[i] = (struct ask){ true, fn, a, b };
	cover(s, n, COV_NAME_PROPOSED);
	turn_begin(s, n);
	r = naming_replica_propose(n->name->r, cmd, local_ms(s, n) + patience_ms, i);
	if (r != 0)
		n->name->asks[i].used = false;
	turn_end(s, n);
	return r == 0;
}

const struct naming_core *name_tables(const struct knode *n)
{
	return naming_replica_core(n->name->r);
}

struct naming_replica_info name_info(const struct knode *n)
{
	struct naming_replica_info i;

	naming_replica_info(n->name->r, &i);
	return i;
}

uint64_t name_entry(const struct knode *n, uint64_t index, const uint8_t **bytes, size_t *len)
{
	return naming_replica_entry(n->name->r, index, bytes, len);
}
