/* SPDX-License-Identifier: Apache-2.0 */
/*
 * naming_fuzz.c - bytes that naming reads from peers and disks: messages, batches,
 * tickets, pieces, log segments, snapshots. Random ones, and true ones changed a
 * little. Nothing may crash or break an invariant; a replica that was lied to goes on.
 *
 *	naming_fuzz [FILE...]	the files instead
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/rand.h"
#include "naming/core/log.h"
#include "naming/raft/replica.h"
#include "naming/wire.h"
#include "tests/lib/fuzz.h"

#define SEGMENT (64u << 10)
#define SEEDS   600u

static const struct naming_sizes sizes = { 8, 8, 8, 8, 16, 8, 8, 8, 8 };

/* True bytes to start from: what a lonely replica writes and sends. */
static struct buf corpus[512];
static size_t corpus_count;

static struct buf empty_core; /* a snapshot of empty tables */

static void keep(const uint8_t *bytes, size_t len)
{
	if (corpus_count < ARRAY_LEN(corpus) && len > 0)
		CHECK(buf_add(&corpus[corpus_count++], bytes, len) == 0);
}

/* ---- a replica whose disk is always done ---- */

struct host {
	struct naming_replica *r;
	bool log_done;
	bool snap_done;
};

static void on_send(void *arg, node_id to, const uint8_t *bytes, size_t len)
{
	(void)arg;
	(void)to;
	keep(bytes, len);
}

static void on_write_log(void *arg, uint64_t segment, uint64_t offset, const uint8_t *bytes,
			 size_t len)
{
	struct host *h = arg;

	(void)segment;
	(void)offset;
	keep(bytes, len);
	h->log_done = true;
}

static void on_write_snapshot(void *arg, uint64_t index, const uint8_t *bytes, size_t len)
{
	struct host *h = arg;

	(void)index;
	keep(bytes, len);
	h->snap_done = true;
}

static void on_remove(void *arg, uint64_t number)
{
	(void)arg;
	(void)number;
}

static void on_answer(void *arg, uint64_t token, int err, const struct naming_result *r)
{
	(void)arg;
	(void)token;
	(void)err;
	(void)r;
}

static void on_changed(void *arg, uint32_t kinds, uint32_t id)
{
	(void)arg;
	(void)kinds;
	(void)id;
}

static void on_status(void *arg)
{
	(void)arg;
}

static const struct naming_replica_ops ops = {
	.send = on_send,
	.write_log = on_write_log,
	.write_snapshot = on_write_snapshot,
	.remove_segment = on_remove,
	.remove_snapshot = on_remove,
	.answer = on_answer,
	.changed = on_changed,
	.status = on_status,
};

static int host_new(struct host *h, bool first, const struct naming_disk *disk)
{
	const struct naming_replica_config cfg = {
		.self = 1,
		.first = first,
		.client = 5,
		.log_id = 6,
		.seed = 7,
		.sizes = &sizes,
		.voters_max = 3,
		.election_ms = 100,
		.heartbeat_ms = 10,
		.snapshot_entries = 5,
		.trailing_entries = 2,
		.segment_bytes = SEGMENT,
		.room_kib_min = 1,
	};
	const char *why;
	const node_id seeds[] = { 2, 3 };
	int r;

	memset(h, 0, sizeof(*h));
	r = naming_replica_new(&h->r, &cfg, disk, 1000, &ops, h, &why);
	if (r == 0)
		naming_replica_seeds(h->r, seeds, 2);
	return r;
}

static void host_turn(struct host *h, uint64_t now)
{
	naming_replica_time(h->r, now, now);
	if (h->log_done) {
		h->log_done = false;
		naming_replica_log_done(h->r, 0);
	}
	if (h->snap_done) {
		h->snap_done = false;
		naming_replica_snapshot_done(h->r, 0);
	}
	naming_replica_flush(h->r);
	CHECK(naming_core_recount(naming_replica_core(h->r)) == NULL);
}

static struct naming_cmd command(unsigned kind, struct rand *rng)
{
	struct naming_cmd c = { .kind = (enum naming_cmd_kind)kind };

	memset(c.machine_id, 1, sizeof(c.machine_id));
	memset(c.key, 1, sizeof(c.key));
	memset(c.key2, 1, sizeof(c.key2));
	(void)snprintf(c.name, sizeof(c.name), "a%u", (unsigned)rand_below(rng, 20));
	(void)snprintf(c.addr, sizeof(c.addr), "h:1");
	(void)snprintf(c.text, sizeof(c.text), "grove");
	c.number = (uint32_t)rand_below(rng, 4);
	c.node = c.to = 1;
	c.tenant = 1;
	c.epoch = 1;
	c.ttl_ms = 100000;
	return c;
}

static void make_corpus(struct rand *rng)
{
	const struct naming_disk none = { 0 };
	struct host h;
	uint64_t now = 1000;
	struct wire_ticket t = { .self = 2, .peer_count = 1 };
	struct buf b = BUF_INIT;

	CHECK(host_new(&h, true, &none) == 0);
	for (unsigned i = 0; i < 200; i++) {
		struct naming_cmd c = command(i < 3 ? NAMING_CMD_CREATE : 1 + i % 21, rng);
		struct wire_stamped s = { { 9, i + 1, i / 2 }, c };

		(void)!naming_replica_propose(h.r, &c, now + 1000, i);
		b.len = 0;
		CHECK(wire_stamped_pack(&s, &b) == 0);
		keep(b.data, b.len);
		host_turn(&h, ++now);
	}
	naming_replica_free(h.r);
	t.peers[0].id = 1;
	(void)snprintf(t.peers[0].addr, sizeof(t.peers[0].addr), "h:1");
	b.len = 0;
	CHECK(wire_ticket_pack(&t, &b) == 0);
	keep(b.data, b.len);
	for (uint32_t type = 1; type <= 6; type++) {
		struct wire_entry e[2] = { { 1, 1, b.data, 5 }, { 1, 2, b.data, 8 } };
		struct wire_msg m = { .type = WIRE_RAFT, .entries = e, .entry_count = 2 };

		m.raft = (struct wire_raft){
			.type = type,
			.term = 1,
			.index = 1,
			.index_term = 1,
			.commit = 1,
			.candidate = 2,
			.pre_vote = type % 2,
			.granted = true,
			.features = 1,
			.capacity = 9,
		};
		b.len = 0;
		CHECK(wire_msg_pack(&m, &b) == 0);
		keep(b.data, b.len);
	}
	buf_fini(&b);
}

/* ---- the readers ---- */

static int each(void *arg, uint64_t time_ms, const struct wire_stamped *s)
{
	struct naming_core *k = arg;
	struct naming_result r;
	struct naming_change c;

	naming_core_apply(k, time_ms, &s->stamp, &s->cmd, &r, &c);
	return 0;
}

static int record(void *arg, const struct log_record *rec)
{
	unsigned *n = arg;

	*n += rec->len > 0 ? rec->data[rec->len - 1] : 0;
	return 0;
}

static void read_as_everything(const uint8_t *bytes, size_t len, void *mem)
{
	struct naming_core *k = naming_core_init(mem, &sizes);
	struct wire_msg m;
	struct wire_piece p;
	struct wire_ticket t;
	struct log_snapshot s;
	struct log_pos pos = { 0 };
	unsigned n = 0;

	(void)!wire_batch_each(bytes, len, each, k);
	CHECK(naming_core_recount(k) == NULL);
	(void)!naming_core_restore(k, bytes, len);
	CHECK(naming_core_recount(k) == NULL);
	if (wire_msg_unpack(bytes, len, &m) == 0)
		wire_msg_fini(&m);
	if (wire_piece_unpack(bytes, len, &p) == 0)
		wire_piece_fini(&p);
	(void)!wire_ticket_unpack(bytes, len, &t);
	(void)!log_snapshot_get(bytes, len, &s);
	(void)log_scan(&pos, 1, bytes, len, record, &n);
}

/* The same bytes as a disk to start from. */
static void start_from(const uint8_t *bytes, size_t len)
{
	const struct naming_file f = { 3, bytes, len };
	const struct naming_disk as_log = { &f, 1, NULL, 0 };
	const struct naming_disk as_snap = { NULL, 0, &f, 1 };
	struct host h;

	if (host_new(&h, true, &as_log) == 0) {
		host_turn(&h, 1001);
		naming_replica_free(h.r);
	}
	if (host_new(&h, false, &as_snap) == 0) {
		host_turn(&h, 1001);
		naming_replica_free(h.r);
	}
}

static void mutate(struct buf *b, struct rand *rng)
{
	unsigned n = (unsigned)rand_below(rng, 6);

	for (unsigned i = 0; i < n && b->len > 0; i++) {
		size_t at = rand_below(rng, b->len);

		switch (rand_below(rng, 4)) {
		case 0:
			b->data[at] ^= (uint8_t)(1u << rand_below(rng, 8));
			break;
		case 1:
			b->data[at] = (uint8_t)rand_next(rng);
			break;
		case 2:
			b->len = at;
			break;
		default:
			memmove(b->data + at, b->data, MIN(b->len - at, 8u));
			break;
		}
	}
}

/*
 * A message of random members in a true form: what mutation hardly ever reaches. The
 * sender is a member that lies; terms and indexes stay near the true ones.
 */
static void lie(struct rand *rng, struct buf *out)
{
	/* raft_configuration_encode() of the voters 1, 2 and 3, with "1" as addresses. */
	static const uint8_t conf[48] = { 1, 3, 0,   0, 0, 0, 0, 0, 0, /* */
					  1, 0, 0,   0, 0, 0, 0, 0, '1', 0, 1, 2, 0, 0,   0, 0, 0,
					  0, 0, '2', 0, 1, 3, 0, 0, 0,   0, 0, 0, 0, '3', 0, 1 };
	static const uint8_t zero[64];
	struct wire_entry e[4];
	struct wire_msg m = { .type = (enum wire_type)(1 + rand_below(rng, 5)) };

	for (unsigned i = 0; i < 4; i++)
		e[i] = (struct wire_entry){ rand_below(rng, 4), (uint32_t)rand_below(rng, 5), zero,
					    rand_below(rng, 20) };
	for (unsigned i = 0; i < 4; i++)
		if (e[i].type == 3 && rand_chance(rng, 3, 4))
			e[i] = (struct wire_entry){ e[i].term, 3, conf, sizeof(conf) };
	m.leader = (node_id)rand_below(rng, 4);
	m.entries = e;
	m.entry_count = rand_below(rng, 5);
	m.raft.type = (uint32_t)rand_below(rng, 8);
	m.raft.term = rand_below(rng, 5);
	m.raft.index = rand_below(rng, 12);
	m.raft.index_term = rand_below(rng, 4);
	if (m.raft.index == 0 || rand_chance(rng, 1, 3)) {
		/* From the beginning, as a log has to. */
		m.raft.index = m.raft.index_term = 0;
		e[0] = (struct wire_entry){ 1, 3, conf, sizeof(conf) };
	}
	m.raft.commit = rand_below(rng, 12);
	m.raft.conf = conf;
	m.raft.conf_len = sizeof(conf);
	m.raft.conf_index = rand_below(rng, 4);
	m.raft.data = empty_core.data;
	m.raft.data_len = empty_core.len;
	m.snapshot = empty_core.data;
	m.snapshot_len = empty_core.len;
	m.raft.rejected = rand_below(rng, 3);
	m.raft.candidate = 2 + rand_below(rng, 2);
	m.raft.disrupt_leader = rand_chance(rng, 1, 3);
	m.raft.pre_vote = rand_chance(rng, 1, 3);
	m.raft.granted = rand_chance(rng, 1, 2);
	m.raft.features = (uint32_t)rand_below(rng, 2);
	m.raft.capacity = (uint32_t)rand_below(rng, 70000);
	m.first = rand_below(rng, 20);
	m.index = rand_below(rng, 20);
	m.term = rand_below(rng, 4);
	m.voter_count = rand_below(rng, 4);
	for (unsigned i = 0; i < 4; i++)
		m.voters[i] = (uint32_t)rand_below(rng, 5);
	m.stamp = (struct naming_stamp){ rand_below(rng, 3), rand_below(rng, 9), 0 };
	m.stamped = zero;
	out->len = 0;
	CHECK(wire_msg_pack(&m, out) == 0);
}

static void lied_to(struct rand *rng)
{
	const struct naming_disk none = { 0 };
	struct buf b = BUF_INIT;
	struct host h;
	uint64_t now = 1000;

	CHECK(host_new(&h, rand_chance(rng, 1, 2), &none) == 0);
	for (unsigned i = 0; i < 400; i++) {
		struct naming_cmd c = command(i == 2 ? NAMING_CMD_CREATE : 1 + i % 21, rng);

		now += rand_below(rng, 30);
		host_turn(&h, now);
		if (rand_chance(rng, 1, 4))
			(void)!naming_replica_propose(h.r, &c, now + 500, i);
		if (rand_chance(rng, 1, 3)) {
			const struct buf *from = &corpus[rand_below(rng, corpus_count)];

			b.len = 0;
			CHECK(buf_add(&b, from->data, from->len) == 0);
			mutate(&b, rng);
		} else {
			lie(rng, &b);
		}
		naming_replica_receive(h.r, (node_id)(1 + rand_below(rng, 3)), b.data, b.len);
	}
	naming_replica_free(h.r);
	buf_fini(&b);
}

static void run_one(const uint8_t *bytes, size_t len)
{
	void *mem = calloc(1, naming_core_bytes(&sizes));

	CHECK(mem != NULL);
	read_as_everything(bytes, len, mem);
	start_from(bytes, len);
	free(mem);
}

int main(int argc, char **argv)
{
	void *mem = calloc(1, naming_core_bytes(&sizes));
	struct buf b = BUF_INIT;
	struct rand rng;
	int bad = 0;

	rand_seed(&rng, 1);
	for (int i = 1; i < argc; i++)
		bad |= fuzz_file(argv[i], run_one);
	if (argc > 1) {
		free(mem);
		return bad;
	}
	CHECK(buf_reserve(&empty_core, 4096) == 0);
	empty_core.len = naming_core_snapshot(naming_core_init(mem, &sizes), empty_core.data, 4096);
	CHECK(empty_core.len > 0);
	make_corpus(&rng);
	CHECK(corpus_count > 100);
	for (unsigned i = 0; i < 200000; i++) {
		const struct buf *from = &corpus[rand_below(&rng, corpus_count)];

		b.len = 0;
		CHECK(buf_add(&b, from->data, from->len) == 0);
		mutate(&b, &rng);
		read_as_everything(b.data, b.len, mem);
		if (i % 20 == 0)
			start_from(b.data, b.len);
	}
	for (unsigned i = 0; i < SEEDS; i++)
		lied_to(&rng);
	buf_fini(&b);
	buf_fini(&empty_core);
	for (size_t i = 0; i < corpus_count; i++)
		buf_fini(&corpus[i]);
	free(mem);
	return 0;
}
