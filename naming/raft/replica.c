/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replica.c - raft_step and what comes of it.
 *
 * Facts of libraft 0.22.1 that this file depends on (its sources, not its header):
 * memory in `update` and events changes hands as noted at each place; the term and
 * vote of an update count even when the step failed; the commit index of a follower
 * may go back (a heartbeat anchored before it), so only forward steps are followed;
 * its assertions are compiled out, so whatever a peer says is checked in message.c.
 */
#include "naming/raft/replica.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mutant.h"
#include "naming/raft/priv.h"

bool replica_leading(const struct naming_replica *r)
{
	return r->started && r->raft.state == RAFT_LEADER;
}

bool replica_in_raft(const struct naming_replica *r)
{
	for (unsigned i = 0; i < r->raft.configuration.n; i++)
		if (r->raft.configuration.servers[i].id == r->cfg.self)
			return true;
	return false;
}

/* A server that was removed while it was down never hears of it from raft. */
bool replica_fed(const struct naming_replica *r)
{
	return !replica_in_raft(r) || (r->raft.state != RAFT_LEADER && r->leader_seen == 0 &&
				       r->now_ms - r->leaderless_ms > FEED_SILENT_MS);
}

/*
 * A stand-by never stands for election, so to raft its leader is for ever whom it heard last; and
 * a leader takes a server out of the configuration without a word to it.
 */
static bool forgotten(const struct naming_replica *r)
{
	if (r->raft.state != RAFT_FOLLOWER || r->now_ms - r->led_ms <= FEED_SILENT_MS)
		return false;
	for (unsigned i = 0; i < r->raft.configuration.n; i++)
		if (r->raft.configuration.servers[i].id == r->cfg.self)
			return r->raft.configuration.servers[i].role != RAFT_VOTER;
	return false;
}

node_id replica_leader(const struct naming_replica *r)
{
	raft_id id = 0;
	const char *address = NULL;

	if (!r->started || !replica_in_raft(r))
		return r->leader_seen;
	if (forgotten(r))
		return NODE_NONE;
	raft_leader((struct raft *)&r->raft, &id, &address);
	return (node_id)id;
}

/* ---- applying ---- */

struct batch_arg {
	struct naming_replica *r;
	uint32_t kinds;
	uint32_t id;
	unsigned changes;
};

static int apply_one(void *arg, uint64_t time_ms, const struct wire_stamped *s)
{
	struct batch_arg *b = arg;
	struct naming_result res;
	struct naming_change c;

	naming_core_apply(b->r->core, time_ms, &s->stamp, &s->cmd, &res, &c);
	if (c.kinds != 0) {
		/* Several rows of one batch: look at all. */
		b->id = b->changes++ == 0 ? c.id : 0;
		b->kinds |= c.kinds;
	}
	if (s->stamp.client == b->r->client)
		replica_client_applied(b->r, &s->stamp, &res);
	return 0;
}

void replica_apply_entry(struct naming_replica *r, uint64_t index, uint64_t term, uint32_t type,
			 const uint8_t *data, size_t len)
{
	struct batch_arg b = { .r = r };

	CHECK_INV(R1, index == r->applied + 1);
	r->applied = index;
	r->applied_term = term;
	/* Bytes that are no batch are an entry without effect, on every node alike. */
	if (type == RAFT_COMMAND && wire_batch_each(data, len, apply_one, &b) != 0)
		r->refused++;
	if (b.kinds != 0)
		r->ops->changed(r->arg, b.kinds, b.id);
}

bool replica_restore(struct naming_replica *r, uint64_t index, uint64_t term, const uint8_t *bytes,
		     size_t len)
{
	if (naming_core_restore(r->core, bytes, len) != 0) {
		r->applied = 0;
		r->applied_term = 0;
		return false;
	}
	r->applied = index;
	r->applied_term = term;
	r->answers_lost = true;
	r->ops->changed(r->arg, NAMING_KINDS_ALL, 0);
	return true;
}

static void configuration_committed(struct naming_replica *r, uint64_t index, const struct entry *e)
{
	struct raft_event ev = { .type = RAFT_CONFIGURATION };
	const struct raft_buffer buf = { e->data, e->len };

	ev.configuration.index = index;
	if (raft_configuration_decode(&buf, &ev.configuration.conf) != 0) {
		r->refused++;
		return;
	}
	/* The step takes the configuration. */
	(void)replica_step(r, &ev);
	r->voters_ms = 0;
	r->ops->status(r->arg);
}

void replica_apply_committed(struct naming_replica *r)
{
	if (r->applying)
		return;
	r->applying = true;
	while (r->raft_done < r->raft.commit_index) {
		uint64_t index = r->raft_done + 1;
		const struct entry *e = replica_entry(r, index);

		/* While a snapshot is being installed there is nothing to follow. */
		if (e == NULL)
			break;
		if (index > r->applied)
			replica_apply_entry(r, index, e->term, e->type, e->data, e->len);
		r->raft_done = index;
		if (e->type == RAFT_CHANGE)
			configuration_committed(r, index, e);
	}
	if (r->raft.commit_index > r->committed_seen)
		r->committed_seen = r->raft.commit_index;
	r->applying = false;
}

/* ---- one step ---- */

static void take_entries(struct naming_replica *r, struct raft_update *u)
{
	uint64_t index = u->entries.index;

	if (index <= replica_last(r)) {
		replica_log_cut(r, index);
		if (index < r->rewritten)
			r->rewritten = index;
	}
	for (unsigned i = 0; i < u->entries.n; i++) {
		const struct raft_entry *e = &u->entries.batch[i];
		struct log_record rec = {
			.type = LOG_ENTRY,
			.term = e->term,
			.index = index + i,
			.kind = (uint32_t)e->type,
			.data = e->buf.base,
			.len = e->buf.len,
		};

		/* Raft counts on both; without them this daemon must start anew from disk. */
		CHECK(replica_log_append(r, index + i, e->term, (uint32_t)e->type, e->buf.base,
					 e->buf.len) == 0);
		CHECK(replica_record(r, &rec) == 0);
	}
	/* All of one batch: ours from a message or a submit, or the library's barrier. */
	raft_free(u->entries.batch[0].batch);
}

static void role_changed(struct naming_replica *r)
{
	node_id leader = replica_leader(r);

	if (r->role_seen == r->raft.state && r->leader_seen == leader)
		return;
	if (r->role_seen == RAFT_LEADER && r->raft.state != RAFT_LEADER)
		replica_queue_drop(r);
	if (r->role_seen != r->raft.state) {
		r->promoting = NODE_NONE;
		r->barrier_sent = false;
		r->taken_count = 0;
		r->told_count = 0;
		r->voters_ms = r->now_ms;
	}
	r->role_seen = r->raft.state;
	if (leader != NODE_NONE && leader != r->leader_seen)
		replica_client_hurry(r);
	if (leader == NODE_NONE && r->leader_seen != NODE_NONE)
		r->leaderless_ms = r->now_ms;
	r->leader_seen = leader;
	r->ops->status(r->arg);
}

static unsigned voters_of(const struct raft_configuration *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->n; i++)
		n += c->servers[i].role == RAFT_VOTER;
	return n;
}

/*
 * The frame that must be durable before a message leaves. An only voter elects itself without a new
 * term: after a crash it may write another entry to the same place in the same term. So what others
 * get of it is on its disk first, and until it is certainly no only voter.
 */
static uint64_t frame_before_sending(const struct naming_replica *r)
{
	if (voters_of(&r->raft.configuration) <= 1 ||
	    voters_of(&r->raft.configuration_committed) <= 1)
		return r->frame_next;
	return replica_meta_frame(r);
}

/*
 * What a leader of an older term is answered: only the term counts. The library leaves the indexes
 * as they were on its stack, which a peer may take for nonsense and not step down.
 */
static bool of_an_old_term(const struct naming_replica *r, const struct raft_event *ev)
{
	const struct raft_message *m = ev->type == RAFT_RECEIVE ? ev->receive.message : NULL;

	if (m == NULL)
		return false;
	if (m->type == RAFT_APPEND_ENTRIES)
		return m->append_entries.term < r->raft.current_term;
	return m->type == RAFT_INSTALL_SNAPSHOT && m->install_snapshot.term < r->raft.current_term;
}

int replica_step(struct naming_replica *r, struct raft_event *ev)
{
	bool old = of_an_old_term(r, ev);
	struct raft_update u;
	int rv;

	memset(&u, 0, sizeof(u));
	ev->time = r->now_ms;
	ev->capacity = r->room;
	rv = raft_step(&r->raft, ev, &u);
	if ((u.flags & (RAFT_UPDATE_CURRENT_TERM)) || (u.flags & (RAFT_UPDATE_VOTED_FOR)))
		CHECK(replica_record_meta(r, r->raft.current_term, r->raft.voted_for) == 0);
	if (rv == 0 && (u.flags & (RAFT_UPDATE_ENTRIES)))
		take_entries(r, &u);
	if (rv == 0 && (u.flags & (RAFT_UPDATE_SNAPSHOT)))
		replica_snapshot_install(r, &u.snapshot.metadata, &u.snapshot.chunk);
	/* Messages are in the library's memory, which the next step overwrites. */
	for (unsigned i = 0; i < u.messages.n; i++) {
		struct raft_message *m = &u.messages.batch[i];

		if (old && m->type == RAFT_APPEND_ENTRIES_RESULT) {
			m->append_entries_result.rejected = 0;
			m->append_entries_result.last_log_index = 0;
		}
		replica_send_raft(r, m, frame_before_sending(r));
	}
	replica_apply_committed(r);
	role_changed(r);
	return rv;
}

int replica_submit(struct naming_replica *r, uint32_t type, const uint8_t *data, size_t len)
{
	struct raft_event ev = { .type = RAFT_SUBMIT };
	struct raft_entry e = { .term = r->raft.current_term, .type = type };
	int rv;

	e.buf.base = e.batch = raft_malloc(len);
	if (e.batch == NULL)
		return RAFT_NOMEM;
	e.buf.len = len;
	memcpy(e.buf.base, data, len);
	ev.submit.entries = &e;
	ev.submit.n = 1;
	/* Only here: the no-op of a new leader must not be refused for want of room, or the
	 * library is left half converted. */
	raft_set_capacity_threshold(&r->raft, (unsigned short)MIN(r->cfg.room_kib_min, UINT16_MAX));
	rv = replica_step(r, &ev);
	raft_set_capacity_threshold(&r->raft, 0);
	if (rv != 0)
		raft_free(e.batch);
	return rv;
}

/* ---- starting ---- */

static int start_entries(struct naming_replica *r, struct raft_event *ev)
{
	struct raft_entry *entries = calloc(r->log_count + 1, sizeof(*entries));
	int rv;

	if (entries == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < r->log_count; i++) {
		entries[i].term = r->log[i].term;
		entries[i].type = r->log[i].type;
		entries[i].buf = (struct raft_buffer){ r->log[i].data, r->log[i].len };
	}
	ev->start.start_index = r->log_first;
	ev->start.entries = entries;
	ev->start.n_entries = (unsigned)r->log_count;
	/* Borrowed: only terms and the last configurations are kept. */
	rv = replica_step(r, ev);
	free(entries);
	return rv == 0 ? 0 : -EBADMSG;
}

static int start(struct naming_replica *r)
{
	struct raft_event ev = { .type = RAFT_START };
	struct raft_snapshot_metadata meta = { 0 };
	int rv;

	r->started = true;
	ev.start.term = r->meta_term;
	ev.start.voted_for = r->meta_vote;
	if (r->snap.index != 0) {
		const struct raft_buffer conf = { (void *)r->snap.conf, r->snap.conf_len };

		meta.index = r->snap.index;
		meta.term = r->snap.term;
		meta.configuration_index = r->snap.conf_index;
		rv = raft_configuration_decode(&conf, &meta.configuration);
		if (rv != 0)
			return rv == RAFT_NOMEM ? -ENOMEM : -EBADMSG;
		ev.start.metadata = &meta; /* takes the configuration */
	}
	return start_entries(r, &ev);
}

/* A new machine's log: one voter, us, at index 1 of term 1. Raft starts when it is durable. */
static int first_entry(struct naming_replica *r)
{
	struct raft_configuration conf;
	struct raft_buffer buf;
	struct log_record rec = { .type = LOG_ENTRY, .term = 1, .index = 1, .kind = RAFT_CHANGE };
	int rv;

	raft_configuration_init(&conf);
	rv = raft_configuration_add(&conf, r->cfg.self, r->raft.address, RAFT_VOTER);
	if (rv == 0)
		rv = raft_configuration_encode(&conf, &buf);
	raft_configuration_close(&conf);
	if (rv != 0)
		return -ENOMEM;
	rec.data = buf.base;
	rec.len = buf.len;
	rv = replica_record_meta(r, 1, 0);
	if (rv == 0)
		rv = replica_record(r, &rec);
	if (rv == 0)
		rv = replica_log_append(r, 1, 1, RAFT_CHANGE, buf.base, buf.len);
	raft_free(buf.base);
	return rv;
}

static int raft_setup(struct naming_replica *r)
{
	char name[24];
	char *p = name + sizeof(name);
	node_id id = r->cfg.self;

	/* Raft's address is our id: where that is stands in the tables. */
	*--p = '\0';
	do {
		*--p = (char)('0' + id % 10);
		id /= 10;
	} while (id > 0);
	if (raft_init(&r->raft, NULL, NULL, r->cfg.self, p) != 0)
		return -ENOMEM;
	r->raft.tracer = NULL;
	raft_seed(&r->raft, r->cfg.seed);
	raft_set_election_timeout(&r->raft, r->cfg.election_ms);
	raft_set_heartbeat_timeout(&r->raft, r->cfg.heartbeat_ms);
	raft_set_install_snapshot_timeout(&r->raft, 20 * r->cfg.election_ms);
	raft_set_pre_vote(&r->raft, true);
	raft_set_max_inflight_entries(&r->raft, 512);
	return 0;
}

int naming_replica_new(struct naming_replica **out, const struct naming_replica_config *cfg,
		       const struct naming_disk *disk, uint64_t now_ms,
		       const struct naming_replica_ops *ops, void *arg, const char **why)
{
	struct naming_replica *r = calloc(1, sizeof(*r));
	int rv;

	*why = "out of memory";
	if (r == NULL)
		return -ENOMEM;
	CHECK(cfg->self != NODE_NONE && cfg->client != 0 && cfg->log_id != 0);
	CHECK(cfg->segment_bytes % LOG_BLOCK == 0 && cfg->segment_bytes >= 16 * LOG_BLOCK);
	r->cfg = *cfg;
	r->sizes = *cfg->sizes;
	r->ops = ops;
	r->arg = arg;
	r->now_ms = r->leaderless_ms = r->led_ms = now_ms;
	r->client = cfg->client;
	r->room = UINT16_MAX;
	r->log_first = 1;
	r->rewritten = UINT64_MAX;
	r->role_seen = RAFT_FOLLOWER;
	list_init(&r->frames);
	list_init(&r->outgoing);
	list_init(&r->proposals);
	r->core_mem = calloc(1, naming_core_bytes(&r->sizes));
	rv = r->core_mem == NULL ? -ENOMEM : raft_setup(r);
	if (rv != 0) {
		free(r->core_mem);
		free(r);
		return rv;
	}
	r->core = naming_core_init(r->core_mem, &r->sizes);
	rv = replica_disk_load(r, disk, why);
	if (rv == 0 && r->cfg.first && r->meta_term == 0)
		rv = first_entry(r);
	else if (rv == 0)
		rv = start(r);
	if (rv != 0) {
		naming_replica_free(r);
		return rv;
	}
	*out = r;
	return 0;
}

void naming_replica_free(struct naming_replica *r)
{
	if (r == NULL)
		return;
	raft_close(&r->raft, NULL);
	replica_client_fini(r);
	replica_disk_fini(r);
	replica_log_reset(r, 1);
	while (!list_empty(&r->outgoing)) {
		struct outgoing *o = list_front(&r->outgoing, struct outgoing, link);

		list_del(&o->link);
		buf_fini(&o->bytes);
		free(o);
	}
	free(r->log);
	free(r->listeners);
	free(r->core_mem);
	free(r);
}

/* ---- events ---- */

void naming_replica_time(struct naming_replica *r, uint64_t now_ms, uint64_t wall_ms)
{
	struct raft_event ev = { .type = RAFT_TIMEOUT };

	CHECK(now_ms >= r->now_ms);
	r->now_ms = now_ms;
	r->wall_ms = wall_ms;
	if (r->started && now_ms >= raft_timeout(&r->raft))
		(void)replica_step(r, &ev);
}

/* The frame of first_entry() is durable: raft begins. */
static void begin(struct naming_replica *r)
{
	CHECK(start(r) == 0);
}

/* Tells raft how far the entries that it still has are on disk. */
static void entries_durable(struct naming_replica *r, uint64_t upto)
{
	struct raft_event ev = { .type = RAFT_PERSISTED_ENTRIES };

	if (r->rewritten <= upto)
		upto = r->rewritten - 1;
	if (!r->started || r->raft.snapshot.installing || replica_entry(r, upto) == NULL ||
	    upto <= r->raft.last_stored)
		return;
	ev.persisted_entries.index = upto;
	(void)replica_step(r, &ev);
}

void naming_replica_log_done(struct naming_replica *r, int err)
{
	struct frame *f = r->writing;
	int was = r->disk_err;

	CHECK(f != NULL);
	r->disk_err = err;
	if (err != 0 && !MUTANT("naming.write.failed_is_done")) {
		/* The same bytes to the same place, later: nothing of it was promised. */
		r->retry_ms = r->now_ms + DISK_RETRY_MS;
	} else {
		r->retry_ms = 0;
		r->writing = NULL;
		r->frame_done = f->number;
		r->frames_written++;
		r->pending_bytes -= f->bytes.len;
		if (!r->started)
			begin(r);
		else if (f->last_index != 0)
			entries_durable(r, f->last_index);
		buf_fini(&f->bytes);
		free(f);
	}
	if (was != r->disk_err)
		r->ops->status(r->arg);
}

void naming_replica_room(struct naming_replica *r, uint64_t free_bytes)
{
	r->room = (unsigned short)MIN(free_bytes / 1024, UINT16_MAX);
}

/* R3, and a new leader's tables are complete only when an entry of its term is applied. */
static void barrier_maybe(struct naming_replica *r)
{
	static const uint8_t zero[8];

	if (!replica_leading(r) || r->barrier_sent || raft_transferee(&r->raft) != 0)
		return;
	r->barrier_sent = true;
	if (r->log_count > 0 && r->log[r->log_count - 1].term == r->raft.current_term)
		return;
	if (replica_submit(r, RAFT_BARRIER, zero, sizeof(zero)) != 0)
		r->barrier_sent = false;
}

/* A leader that cannot write hands over, so that a bad disk stops one node only. */
static void transfer_maybe(struct naming_replica *r)
{
	struct raft_event ev = { .type = RAFT_TRANSFER };

	if (r->disk_err == 0 || !replica_leading(r) || r->now_ms < r->transfer_ms ||
	    raft_transferee(&r->raft) != 0)
		return;
	r->transfer_ms = r->now_ms + 5 * r->cfg.election_ms;
	(void)replica_step(r, &ev);
}

void naming_replica_flush(struct naming_replica *r)
{
	if (r->started) {
		barrier_maybe(r);
		transfer_maybe(r);
		replica_client_flush(r);
		replica_queue_flush(r);
		replica_commits_tell(r);
		replica_voters_flush(r);
		replica_snapshot_maybe(r);
		replica_feed_flush(r);
	}
	replica_disk_flush(r);
	replica_snapshot_flush(r);
	replica_send_flush(r);
}

uint64_t naming_replica_due_ms(const struct naming_replica *r)
{
	uint64_t due = r->now_ms + 1000;

	if (r->started)
		due = MIN(due, (uint64_t)raft_timeout(&r->raft));
	if (r->retry_ms != 0)
		due = MIN(due, r->retry_ms);
	if (r->snap_retry_ms != 0)
		due = MIN(due, r->snap_retry_ms);
	if (replica_leading(r))
		due = MIN(due, r->voters_ms);
	due = MIN(due, replica_client_due(r));
	due = MIN(due, replica_feed_due(r));
	return MAX(due, r->now_ms);
}

void naming_replica_seeds(struct naming_replica *r, const node_id *ids, size_t n)
{
	r->source_count = 0;
	for (size_t i = 0; i < n && r->source_count < CHANGE_SERVERS_MAX; i++)
		if (ids[i] != r->cfg.self)
			r->sources[r->source_count++] = ids[i];
}

/* ---- looking in ---- */

const struct naming_core *naming_replica_core(const struct naming_replica *r)
{
	return r->core;
}

static enum naming_replica_role role_of(const struct naming_replica *r)
{
	if (!r->started || !replica_in_raft(r))
		return NAMING_REPLICA_FED;
	if (replica_fed(r) && r->fed_ms != 0 && r->now_ms - r->fed_ms < FEED_SILENT_MS)
		return NAMING_REPLICA_FED;
	switch (r->raft.state) {
	case RAFT_LEADER:
		return NAMING_REPLICA_LEADER;
	case RAFT_CANDIDATE:
		return NAMING_REPLICA_CANDIDATE;
	default:
		return NAMING_REPLICA_FOLLOWER;
	}
}

void naming_replica_info(const struct naming_replica *r, struct naming_replica_info *i)
{
	memset(i, 0, sizeof(*i));
	i->role = role_of(r);
	i->leader = replica_leader(r);
	i->term = r->raft.current_term;
	i->applied = r->applied;
	i->committed = MAX(r->committed_seen, r->applied);
	i->last_index = replica_last(r);
	i->snapshot_index = r->snap.index;
	i->disk_err = r->disk_err;
	i->refused = r->refused;
	i->frames = r->frames_written;
	if (i->role == NAMING_REPLICA_FED) {
		for (size_t s = 0; s < r->source_count; s++)
			i->voters[i->voter_count++] = r->sources[s];
		return;
	}
	for (unsigned s = 0; s < r->raft.configuration.n && i->voter_count < 16; s++)
		if (r->raft.configuration.servers[s].role == RAFT_VOTER)
			i->voters[i->voter_count++] = (node_id)r->raft.configuration.servers[s].id;
}

uint64_t naming_replica_entry(const struct naming_replica *r, uint64_t index, const uint8_t **bytes,
			      size_t *len)
{
	const struct entry *e = index <= r->raft_done ? replica_entry(r, index) : NULL;

	if (e == NULL)
		return 0;
	*bytes = e->data;
	*len = e->len;
	return e->term;
}
