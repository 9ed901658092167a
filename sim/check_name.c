/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkers of naming. What is promised (naming/naming.h, naming/raft/replica.h):
 *
 *	R1  naming reads are linearisable where promised: a read behind a barrier shows every
 *	    command that was answered, anywhere, before the barrier was asked for, and every value
 *	    that any such read has shown; an answered command has taken effect, with that result. A
 *	    plain read is a moment behind, and never goes back in one life of a daemon
 *
 *	R2  one history: at each index all replicas apply the same entry, and at equal indexes their
 *	    tables are equal
 *
 *	R4  what a message says for its sender - a term, a vote, up to where it has the log - is on
 *	    the sender's disk when the message leaves
 *
 *	N7  a command takes effect once, however often it is sent
 *
 *	G1  (here) a death is announced only when the node executes nothing any more
 *
 * The oracle applies the entries in the order in which any replica applied them first. Truth is
 * what the bytes of the entries say; the replicas are believed nothing but which entries they
 * applied.
 */
#include "sim/cluster.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/check.h"
#include "naming/wire.h"

struct value {
	uint64_t written; /* the number that was written */
	uint64_t index;
};

struct oracle {
	struct naming_core *core;
	void *mem;
	uint64_t applied;
	uint64_t *sums; /* of the entry at each index */
	size_t sums_cap;
	/* every value that the register had, in order */
	struct value *values;
	uint32_t count, cap;
	uint32_t *place; /* of each written number in `values`, + 1; 0: not there */
	uint64_t place_cap;
	uint32_t shown; /* values up to this one were answered, or shown by a read */
};

struct oracle *oracle_new(void)
{
	struct oracle *o = calloc(1, sizeof(*o));

	CHECK(o != NULL);
	o->mem = calloc(1, naming_core_bytes(&sim_naming_sizes));
	CHECK(o->mem != NULL);
	o->core = naming_core_init(o->mem, &sim_naming_sizes);
	return o;
}

void oracle_free(struct oracle *o)
{
	if (!o)
		return;
	free(o->mem);
	free(o->sums);
	free(o->values);
	free(o->place);
	free(o);
}

const struct naming_core *oracle_tables(const struct oracle *o)
{
	return o->core;
}

/* ---- the oracle ---- */

static uint64_t *grow(uint64_t *p, size_t *cap, size_t want)
{
	size_t more = MAX(want, 2 * *cap + 64);

	if (want <= *cap)
		return p;
	p = realloc(p, more * sizeof(*p));
	CHECK(p != NULL);
	memset(p + *cap, 0, (more - *cap) * sizeof(*p));
	*cap = more;
	return p;
}

static uint32_t *place_of(struct oracle *o, uint64_t written)
{
	if (written >= o->place_cap) {
		uint64_t more = MAX(written + 1, 2 * o->place_cap + 64);

		o->place = realloc(o->place, more * sizeof(*o->place));
		CHECK(o->place != NULL);
		memset(o->place + o->place_cap, 0, (more - o->place_cap) * sizeof(*o->place));
		o->place_cap = more;
	}
	return &o->place[written];
}

static void register_set(struct sim *s, uint64_t index, uint64_t written)
{
	struct oracle *o = s->oracle;
	uint32_t *place = written <= s->written ? place_of(o, written) : NULL;

	if (!place || *place != 0) {
		world_violate(&s->w, "N7", "%llu is written twice, or by nobody (entry %llu)",
			      (unsigned long long)written, (unsigned long long)index);
		return;
	}
	if (o->count == o->cap) {
		o->cap = 2 * o->cap + 64;
		o->values = realloc(o->values, o->cap * sizeof(*o->values));
		CHECK(o->values != NULL);
	}
	o->values[o->count++] = (struct value){ written, index };
	*place = o->count;
}

struct applying {
	struct sim *s;
	uint64_t index;
};

static int oracle_apply(void *arg, uint64_t time_ms, const struct wire_stamped *st)
{
	const struct applying *a = arg;
	struct sim *s = a->s;
	const struct naming_node *row = naming_node_find(s->oracle->core, st->cmd.node);
	epoch_t epoch = row ? row->epoch : 0;
	struct naming_result r;
	struct naming_change c;

	naming_core_apply(s->oracle->core, time_ms, &st->stamp, &st->cmd, &r, &c);
	if (c.kinds & naming_kind_bit(NAMING_LOAN))
		check_loans(s);
	s->stats.commands++;
	if (r.err != 0 || c.kinds == 0)
		return 0;
	if (st->cmd.kind == NAMING_CMD_TENANT_LIMITS && st->cmd.tenant == s->reg)
		register_set(s, a->index, st->cmd.limits.storage_bytes);
	if (st->cmd.kind == NAMING_CMD_NODE_EPOCH && st->cmd.flags == 1) {
		s->stats.announced++;
		check_announced(s, st->cmd.node, epoch);
	}
	return 0;
}

/* ---- R2 ---- */

static void check_entry(struct sim *s, struct knode *n, uint64_t index)
{
	struct oracle *o = s->oracle;
	struct applying a = { s, index };
	const uint8_t *bytes;
	size_t len;
	uint64_t term = name_entry(n, index, &bytes, &len);
	uint64_t sum;

	if (term == 0)
		return; /* it came by a snapshot, or is dropped already */
	s->w.stats.checks++;
	sum = XXH3_64bits_withSeed(bytes, len, term) | 1;
	o->sums = grow(o->sums, &o->sums_cap, index + 1);
	if (o->sums[index] == sum)
		return;
	if (o->sums[index] != 0) {
		world_violate(&s->w, "R2", "n%u applies another entry %llu than others did", n->id,
			      (unsigned long long)index);
		return;
	}
	o->sums[index] = sum;
	world_hash(&s->w, sum);
	if (index != o->applied + 1) {
		world_violate(&s->w, "R2", "n%u applies entry %llu, nobody has applied %llu", n->id,
			      (unsigned long long)index, (unsigned long long)o->applied + 1);
		return;
	}
	o->applied = index;
	/* Bytes that are no batch are raft's own, on every node alike. */
	if (wire_batch_each(bytes, len, oracle_apply, &a) != 0)
		s->stats.raft_entries++;
}

void check_applied(struct sim *s, struct knode *n)
{
	struct naming_replica_info i = name_info(n);

	if (i.applied < n->name_checked)
		world_violate(&s->w, "R1", "n%u: its tables go back from %llu to %llu", n->id,
			      (unsigned long long)n->name_checked, (unsigned long long)i.applied);
	while (n->name_checked < i.applied && !s->w.violation.name[0])
		check_entry(s, n, ++n->name_checked);
}

static uint64_t tables_sum(const struct naming_core *k)
{
	static uint8_t bytes[1 << 20];
	size_t len = naming_core_snapshot_bytes(k);

	CHECK(len <= sizeof(bytes) && naming_core_snapshot(k, bytes, len) == len);
	return XXH3_64bits(bytes, len);
}

void check_tables(struct sim *s)
{
	const char *why = naming_core_recount(s->oracle->core);
	uint64_t sum = tables_sum(s->oracle->core);

	s->w.stats.checks++;
	if (why)
		world_violate(&s->w, (char[]){ why[0], why[1], 0 }, "%s", why);
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		const struct knode *n = &s->nodes[id];

		if (!n->name || name_info(n).applied != s->oracle->applied)
			continue;
		s->w.stats.checks++;
		if (tables_sum(name_tables(n)) != sum)
			world_violate(&s->w, "R2", "n%u: at entry %llu its tables are others", id,
				      (unsigned long long)s->oracle->applied);
	}
}

uint64_t check_applied_first(const struct sim *s)
{
	return s->oracle->applied;
}

/*
 * The authority of each block is a life of a node that goes on, and it serves, unless no pid of it
 * was ever given: then it is what the node takes next.
 */
static void blocks_end(struct sim *s)
{
	const struct naming_core *k = s->oracle->core;
	const struct naming_block *b;

	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++) {
		const struct naming_node *row = naming_node_find(k, b->authority);
		const struct knode *n = &s->nodes[b->authority];
		const struct block *live = n->auth[b->number];

		s->w.stats.checks++;
		if (!row || row->down || row->epoch != b->life)
			world_violate(&s->w, "P1", "block %u is nobody's", b->number);
		else if ((b->epoch > 1 || n->kept[b->number]) &&
			 (!live || live->auth.state != MIG_A_SERVING ||
			  live->auth.aterm != b->epoch))
			world_violate(&s->w, "P1", "n%u does not serve block %u", n->id, b->number);
	}
}

/* ---- R4 ---- */

/* Raft's types of messages, as they are on the wire. */
enum { APPEND_RESULT = 2, VOTE = 3, VOTE_RESULT = 4 };

static bool promised(const struct disk_promise *p, node_id self, node_id to,
		     const struct wire_msg *m)
{
	const struct wire_raft *r = &m->raft;

	if (r->pre_vote)
		return true; /* asks and answers about a term that may never be */
	if (r->term > p->term)
		return false;
	if (r->type == VOTE && r->term == p->term)
		return p->vote == self;
	if (r->type == VOTE_RESULT && r->granted && r->term == p->term)
		return p->vote == to;
	return r->type != APPEND_RESULT || r->rejected != 0 || r->index <= p->last;
}

/* Votes and answers are short: what is long promises nothing of who sends it. */
#define PROMISE_BYTES_MAX 96

void check_promised(struct sim *s, const struct knode *n, node_id to, const uint8_t *bytes,
		    size_t len)
{
	struct disk_promise p;
	struct wire_msg m;

	if (len > PROMISE_BYTES_MAX || !disks_promise(s, n->id, &p) ||
	    wire_msg_unpack(bytes, len, &m) != 0)
		return;
	s->w.stats.checks++;
	if (m.type == WIRE_RAFT && !promised(&p, n->id, to, &m))
		world_violate(&s->w, "R4",
			      "n%u says (type %u, term %llu, index %llu) what its disk forgets: "
			      "term %llu, vote %llu, index %llu",
			      n->id, m.raft.type, (unsigned long long)m.raft.term,
			      (unsigned long long)m.raft.index, (unsigned long long)p.term,
			      (unsigned long long)p.vote, (unsigned long long)p.last);
	wire_msg_fini(&m);
}

void check_name_end(struct sim *s)
{
	blocks_end(s);
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		uint64_t applied = s->nodes[id].name ? name_info(&s->nodes[id]).applied : 0;

		s->w.stats.checks++;
		if (applied < s->settled)
			world_violate(&s->w, "P1", "n%u is left behind at entry %llu of %llu", id,
				      (unsigned long long)applied, (unsigned long long)s->settled);
	}
}

/* ---- R1 ---- */

void check_wrote(struct sim *s, struct knode *n, uint64_t written, const struct naming_result *r)
{
	struct oracle *o = s->oracle;
	uint32_t place = *place_of(o, written);

	s->w.stats.checks++;
	if (r->err != 0)
		return;
	if (place == 0)
		world_violate(&s->w, "R1",
			      "n%u: the writing of %llu is answered and has not happened", n->id,
			      (unsigned long long)written);
	o->shown = MAX(o->shown, place);
}

uint64_t check_read_begins(const struct sim *s)
{
	return s->oracle->shown;
}

void check_read(struct sim *s, struct knode *n, uint64_t begun, uint64_t value)
{
	struct oracle *o = s->oracle;
	uint32_t place = value ? *place_of(o, value) : 0;

	s->w.stats.checks++;
	s->stats.reads++;
	if (value != 0 && place == 0)
		world_violate(&s->w, "R1", "n%u reads %llu, which nobody has written", n->id,
			      (unsigned long long)value);
	else if (place < begun)
		world_violate(&s->w, "R1", "n%u reads %llu; %llu was known before it asked", n->id,
			      (unsigned long long)value,
			      (unsigned long long)o->values[begun - 1].written);
	o->shown = MAX(o->shown, place);
}
