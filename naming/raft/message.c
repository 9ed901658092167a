/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.c - raft's messages to and from the wire.
 *
 * Debian's libraft has its assertions compiled out: what would break one is refused
 * here. AppendEntries leave the library with an index and a count only; the entries
 * are filled in from our log at once, since later steps may replace them.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "naming/core/bytes.h"
#include "base/mutant.h"
#include "naming/raft/priv.h"

#define CONF_FORMAT 1u

/* The encoding of raft_configuration_encode(), checked without trusting a length. */
bool replica_conf_ok(const uint8_t *bytes, size_t len)
{
	struct bytes_in in = { .at = bytes, .len = len };
	uint64_t ids[CHANGE_SERVERS_MAX];
	uint64_t n;

	if (bytes_get_le(&in, 1) != CONF_FORMAT)
		return false;
	n = bytes_get_le(&in, 8);
	if (in.overrun || n == 0 || n > CHANGE_SERVERS_MAX)
		return false;
	for (uint64_t i = 0; i < n; i++) {
		const uint8_t *end;

		ids[i] = bytes_get_le(&in, 8);
		end = in.len == 0 ? NULL : memchr(in.at, '\0', in.len);
		if (end == NULL || end - in.at > 20 || ids[i] == 0 || ids[i] > UINT32_MAX)
			return false;
		(void)bytes_take(&in, (size_t)(end - in.at) + 1);
		if (bytes_get_le(&in, 1) > RAFT_SPARE || in.overrun)
			return false;
		for (uint64_t j = 0; j < i; j++)
			if (ids[j] == ids[i])
				return false;
	}
	return true;
}

/* ---- out ---- */

void replica_send(struct naming_replica *r, node_id to, const struct wire_msg *m, uint64_t after)
{
	struct outgoing *o = calloc(1, sizeof(*o));

	/* A message may be lost; all of them are repeated somehow. */
	if (o == NULL)
		return;
	if (wire_msg_pack(m, &o->bytes) != 0) {
		buf_fini(&o->bytes);
		free(o);
		return;
	}
	o->to = to;
	o->after = after;
	list_add_tail(&r->outgoing, &o->link);
}

void replica_send_flush(struct naming_replica *r)
{
	struct outgoing *o;
	struct outgoing *tmp;

	list_for_each_safe (o, tmp, &r->outgoing, link) {
		if (o->after > r->frame_done && !MUTANT("naming.vote.undurable"))
			continue;
		list_del(&o->link);
		r->ops->send(r->arg, o->to, o->bytes.data, o->bytes.len);
		buf_fini(&o->bytes);
		free(o);
	}
}

static bool fill_entries(struct naming_replica *r, const struct raft_append_entries *a,
			 struct wire_msg *w)
{
	w->raft.term = a->term;
	w->raft.index = a->prev_log_index;
	w->raft.index_term = a->prev_log_term;
	w->raft.commit = a->leader_commit;
	if (a->n_entries == 0)
		return true;
	w->entries = calloc(a->n_entries, sizeof(*w->entries));
	if (w->entries == NULL)
		return false;
	for (unsigned i = 0; i < a->n_entries; i++) {
		const struct entry *e = replica_entry(r, a->prev_log_index + 1 + i);

		if (e == NULL)
			return false;
		w->entries[i] = (struct wire_entry){ e->term, e->type, e->data, e->len };
		w->entry_count++;
	}
	return true;
}

static bool fill_snapshot(struct naming_replica *r, const struct raft_install_snapshot *s,
			  struct wire_msg *w)
{
	w->raft.term = s->term;
	w->raft.index = s->last_index;
	w->raft.index_term = s->last_term;
	w->raft.conf_index = s->conf_index;
	w->raft.conf = r->snap.conf;
	w->raft.conf_len = r->snap.conf_len;
	w->raft.data = r->snap.data;
	w->raft.data_len = r->snap.data_len;
	return r->snap.index == s->last_index && r->snap.term == s->last_term;
}

/* The library says nothing of the last index where it refuses a snapshot: what it left there is
 * stack. */
static void fill_result(struct naming_replica *r, const struct raft_append_entries_result *a,
			struct wire_raft *w)
{
	w->term = a->term;
	w->rejected = a->rejected;
	w->index = a->last_log_index;
	if (a->rejected != 0 && r->offered)
		w->index = MIN((uint64_t)raft_last_index(&r->raft), (uint64_t)a->rejected - 1);
	w->features = a->features;
	w->capacity = a->capacity;
}

static void fill_vote(const struct raft_request_vote *a, struct wire_raft *w)
{
	w->term = a->term;
	w->candidate = a->candidate_id;
	w->index = a->last_log_index;
	w->index_term = a->last_log_term;
	w->disrupt_leader = a->disrupt_leader;
	w->pre_vote = a->pre_vote;
}

/*
 * The library answers a pre-vote by the term that was asked for. Who is refused because ours is
 * later must hear it, or it asks for the same for ever: with the third voter down, one that has the
 * newer log and one that has the later term would never elect anybody.
 */
static void fill_vote_result(const struct naming_replica *r,
			     const struct raft_request_vote_result *a, struct wire_raft *w)
{
	w->term = a->term;
	if (a->pre_vote && !a->vote_granted)
		w->term = MAX((uint64_t)a->term, (uint64_t)r->raft.current_term);
	w->granted = a->vote_granted;
	w->pre_vote = a->pre_vote;
	w->features = a->features;
	w->capacity = a->capacity;
}

void replica_send_raft(struct naming_replica *r, const struct raft_message *m, uint64_t after)
{
	struct wire_msg w = { .type = WIRE_RAFT, .leader = r->leader_seen };
	bool good = true;

	w.raft.type = (uint32_t)m->type;
	switch (m->type) {
	case RAFT_APPEND_ENTRIES:
		good = fill_entries(r, &m->append_entries, &w);
		break;
	case RAFT_APPEND_ENTRIES_RESULT:
		fill_result(r, &m->append_entries_result, &w.raft);
		break;
	case RAFT_REQUEST_VOTE:
		fill_vote(&m->request_vote, &w.raft);
		break;
	case RAFT_REQUEST_VOTE_RESULT:
		fill_vote_result(r, &m->request_vote_result, &w.raft);
		break;
	case RAFT_INSTALL_SNAPSHOT:
		good = fill_snapshot(r, &m->install_snapshot, &w);
		break;
	case RAFT_TIMEOUT_NOW:
		w.raft.term = m->timeout_now.term;
		w.raft.index = m->timeout_now.last_log_index;
		w.raft.index_term = m->timeout_now.last_log_term;
		break;
	}
	if (good)
		replica_send(r, (node_id)m->server_id, &w, after);
	free(w.entries);
}

/* ---- in ---- */

static bool entry_ok(const struct naming_replica *r, const struct wire_entry *e)
{
	if (e->type < RAFT_COMMAND || e->type > RAFT_CHANGE || e->len > r->cfg.segment_bytes / 2)
		return false;
	return e->type != RAFT_CHANGE || replica_conf_ok(e->data, e->len);
}

static bool append_ok(const struct naming_replica *r, const struct wire_msg *m)
{
	uint64_t term = m->raft.index_term;

	if ((m->raft.index == 0) != (term == 0) || term > m->raft.term ||
	    m->raft.index > UINT64_MAX / 2)
		return false;
	/* The library takes entries from index 1 on for new ones when its own are dropped behind
	 * a snapshot: a message that was delayed for long must not get there. */
	if (m->raft.index == 0 && r->log_first > 1)
		return false;
	for (size_t i = 0; i < m->entry_count; i++) {
		const struct wire_entry *e = &m->entries[i];

		/* Terms never fall along a log, and no entry is newer than its leader. */
		if (e->term == 0 || e->term < term || e->term > m->raft.term || !entry_ok(r, e))
			return false;
		/* A log begins with who votes. */
		if (m->raft.index + i == 0 && e->type != RAFT_CHANGE)
			return false;
		term = e->term;
	}
	return true;
}

/* Two leaders of one term cannot be; the library would write over its own state. */
static bool leader_ok(const struct naming_replica *r, const struct wire_msg *m)
{
	return m->raft.term > 0 &&
	       !(r->raft.state == RAFT_LEADER && m->raft.term == r->raft.current_term);
}

/* Would the tables take this snapshot? Asked before raft drops its log for it. */
static bool snapshot_ok(const struct naming_replica *r, const struct wire_msg *m)
{
	void *mem;
	bool good;

	if (m->raft.index == 0 || m->raft.index_term == 0 || m->raft.index > UINT64_MAX / 2 ||
	    m->raft.index_term > m->raft.term || m->raft.conf_index > m->raft.index ||
	    !replica_conf_ok(m->raft.conf, m->raft.conf_len))
		return false;
	mem = calloc(1, naming_core_bytes(&r->sizes));
	if (mem == NULL)
		return false;
	good = naming_core_restore(naming_core_init(mem, &r->sizes), m->raft.data,
				   m->raft.data_len) == 0;
	free(mem);
	return good;
}

/* All entries in one piece of memory, which the library or take_entries() frees. */
static bool make_append(const struct wire_msg *m, struct raft_append_entries *a)
{
	size_t total = 1;
	uint8_t *at;

	a->term = m->raft.term;
	a->prev_log_index = m->raft.index;
	a->prev_log_term = m->raft.index_term;
	a->leader_commit = m->raft.commit;
	a->n_entries = (unsigned)m->entry_count;
	if (m->entry_count == 0)
		return true;
	for (size_t i = 0; i < m->entry_count; i++)
		total += m->entries[i].len;
	a->entries = calloc(m->entry_count, sizeof(*a->entries));
	at = raft_malloc(total);
	if (a->entries == NULL || at == NULL) {
		raft_free(at);
		return false;
	}
	a->entries[0].batch = at;
	for (size_t i = 0; i < m->entry_count; i++) {
		const struct wire_entry *e = &m->entries[i];

		a->entries[i].term = e->term;
		a->entries[i].type = (enum raft_entry_type)e->type;
		a->entries[i].buf = (struct raft_buffer){ at, e->len };
		a->entries[i].batch = a->entries[0].batch;
		if (e->len > 0)
			memcpy(at, e->data, e->len);
		at += e->len;
	}
	return true;
}

static bool make_install(const struct wire_msg *m, struct raft_install_snapshot *s)
{
	const struct raft_buffer conf = { (void *)m->raft.conf, m->raft.conf_len };

	s->term = m->raft.term;
	s->last_index = m->raft.index;
	s->last_term = m->raft.index_term;
	s->conf_index = m->raft.conf_index;
	if (raft_configuration_decode(&conf, &s->conf) != 0)
		return false;
	s->data.len = m->raft.data_len;
	s->data.base = raft_malloc(m->raft.data_len + 1);
	if (s->data.base == NULL) {
		raft_configuration_close(&s->conf);
		return false;
	}
	if (m->raft.data_len > 0)
		memcpy(s->data.base, m->raft.data, m->raft.data_len);
	return true;
}

/*
 * A refusal of what the follower is known to have is a late one. The library takes it for the
 * answer to its present probe if the numbers meet, goes back below what it knows, counts the
 * entries under way there as more than may be, and sends none any more.
 */
static bool refusal_late(const struct naming_replica *r, node_id from, const struct wire_raft *w)
{
	raft_index match;

	return w->rejected != 0 && w->term == r->raft.current_term &&
	       raft_match_index(&r->raft, from, &match) == 0 && w->rejected <= match;
}

static bool make_simple(node_id from, const struct wire_raft *w, struct raft_message *m)
{
	switch (m->type) {
	case RAFT_APPEND_ENTRIES_RESULT:
		m->append_entries_result = (struct raft_append_entries_result){
			.version = 2,
			.term = w->term,
			.rejected = w->rejected,
			.last_log_index = w->index,
			.features = (unsigned short)w->features,
			.capacity = (unsigned short)w->capacity,
		};
		return w->rejected == 0 || w->index < w->rejected;
	case RAFT_REQUEST_VOTE:
		m->request_vote = (struct raft_request_vote){
			.version = 2,
			.term = w->term,
			.candidate_id = w->candidate,
			.last_log_index = w->index,
			.last_log_term = w->index_term,
			.disrupt_leader = w->disrupt_leader,
			.pre_vote = w->pre_vote,
		};
		return w->candidate == from && w->term > 0;
	case RAFT_REQUEST_VOTE_RESULT:
		m->request_vote_result = (struct raft_request_vote_result){
			.version = 2,
			.term = w->term,
			.vote_granted = w->granted,
			.pre_vote = w->pre_vote,
			.features = (unsigned short)w->features,
			.capacity = (unsigned short)w->capacity,
		};
		return true;
	case RAFT_TIMEOUT_NOW:
		m->timeout_now = (struct raft_timeout_now){
			.term = w->term,
			.last_log_index = w->index,
			.last_log_term = w->index_term,
		};
		return true;
	default:
		return false;
	}
}

static bool make_message(struct naming_replica *r, node_id from, const struct wire_msg *w,
			 struct raft_message *m)
{
	m->type = (enum raft_message_type)w->raft.type;
	switch (w->raft.type) {
	case RAFT_APPEND_ENTRIES:
		return leader_ok(r, w) && append_ok(r, w) && make_append(w, &m->append_entries);
	case RAFT_INSTALL_SNAPSHOT:
		return leader_ok(r, w) && snapshot_ok(r, w) &&
		       make_install(w, &m->install_snapshot);
	default:
		return make_simple(from, &w->raft, m);
	}
}

static void receive_one(struct naming_replica *r, node_id from, const struct wire_msg *w)
{
	struct raft_message m;
	struct raft_event ev = { .type = RAFT_RECEIVE };
	char address[24];

	/* The library would neither take nor free it. Heartbeats tell it that the leader lives. */
	if (w->raft.type == RAFT_INSTALL_SNAPSHOT && r->raft.snapshot.installing)
		return;
	/*
	 * Of use to candidates only. Others read in_pre_vote all the same, where a follower keeps
	 * its leader's address: whether the answer to a pre-vote then takes them to a new term is
	 * up to where that lies in memory.
	 */
	if (w->raft.type == RAFT_REQUEST_VOTE_RESULT && r->raft.state != RAFT_CANDIDATE)
		return;
	if (w->raft.type == RAFT_APPEND_ENTRIES_RESULT && refusal_late(r, from, &w->raft))
		return;
	memset(&m, 0, sizeof(m));
	if (!make_message(r, from, w, &m)) {
		r->refused++;
		if (m.type == RAFT_APPEND_ENTRIES)
			free(m.append_entries.entries);
		return;
	}
	/* Only compared and copied by the library: where a node is stands in the tables. */
	address[0] = '#';
	address[1] = '\0';
	m.server_id = from;
	m.server_address = address;
	ev.receive.message = &m;
	/* Batches and snapshot data are the library's from here, also when it fails. */
	r->offered = m.type == RAFT_INSTALL_SNAPSHOT;
	if (replica_step(r, &ev) != 0)
		r->refused++;
	r->offered = false;
	if (m.type == RAFT_APPEND_ENTRIES)
		free(m.append_entries.entries);
}

/*
 * The library notes a change of voters among new entries under the index of the first of them, and
 * then never learns that it was committed: snapshots would go on with voters of long ago, and a
 * node that started from one could elect itself alone. So a change always comes first.
 */
static void receive_parts(struct naming_replica *r, node_id from, const struct wire_msg *w)
{
	struct wire_msg part = *w;
	size_t done = 0;

	if (!append_ok(r, w)) {
		r->refused++;
		return;
	}
	while (done < w->entry_count) {
		size_t n = 1;

		while (done + n < w->entry_count && w->entries[done + n].type != RAFT_CHANGE)
			n++;
		part.entries = w->entries + done;
		part.entry_count = n;
		receive_one(r, from, &part);
		done += n;
		part.raft.index = w->raft.index + done;
		part.raft.index_term = w->entries[done - 1].term;
	}
}

/*
 * What is dropped behind our snapshot is committed, so the leader has the same (Ongaro, 3.6.3). The
 * library refuses to follow from there, the leader goes back below what it knows that we have, and
 * from then on sends nothing at all. So such a message begins at the snapshot instead.
 */
static void begin_at_snapshot(const struct naming_replica *r, struct wire_msg *m)
{
	uint64_t skip;

	if (m->raft.index >= r->snap.index || r->raft.snapshot.installing ||
	    replica_entry(r, m->raft.index) != NULL)
		return;
	skip = MIN(r->snap.index - m->raft.index, m->entry_count);
	m->entries += skip;
	m->entry_count -= skip;
	m->raft.index = r->snap.index;
	m->raft.index_term = r->snap.term;
}

static void receive_raft(struct naming_replica *r, node_id from, const struct wire_msg *w)
{
	struct wire_msg m = *w;

	if (m.raft.type == RAFT_APPEND_ENTRIES || m.raft.type == RAFT_INSTALL_SNAPSHOT)
		r->led_ms = r->now_ms;
	if (m.raft.type == RAFT_APPEND_ENTRIES)
		begin_at_snapshot(r, &m);
	if (m.raft.type == RAFT_APPEND_ENTRIES && m.entry_count > 0)
		receive_parts(r, from, &m);
	else
		receive_one(r, from, &m);
}

void naming_replica_receive(struct naming_replica *r, node_id from, const uint8_t *bytes,
			    size_t len)
{
	struct wire_msg m;

	/* A node that is not itself yet, or that talks to itself, has nothing to hear. */
	if (!r->started || from == NODE_NONE || from == r->cfg.self)
		return;
	if (wire_msg_unpack(bytes, len, &m) != 0) {
		r->refused++;
		return;
	}
	switch (m.type) {
	case WIRE_RAFT:
		receive_raft(r, from, &m);
		break;
	case WIRE_PROPOSE:
		replica_take(r, from, &m);
		break;
	case WIRE_REFUSE:
		replica_client_refused(r, from, &m);
		break;
	case WIRE_FEED_ASK:
		replica_feed_ask_in(r, from, &m);
		break;
	case WIRE_FEED:
		replica_feed_in(r, from, &m);
		break;
	}
	wire_msg_fini(&m);
}
