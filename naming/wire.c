/* SPDX-License-Identifier: Apache-2.0 */
#include "naming/wire.h"

#include <errno.h>
#include <string.h>

#include "naming/naming.pb-c.h"

static int pack(const ProtobufCMessage *m, struct buf *out)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	int r = buf_reserve(out, n);

	if (r != 0)
		return r;
	out->len += protobuf_c_message_pack(m, out->data + out->len);
	return 0;
}

static bool get_bytes(const ProtobufCBinaryData *from, uint8_t *to, size_t n)
{
	if (from->len != 0 && from->len != n)
		return false;
	memset(to, 0, n);
	if (from->len == n)
		memcpy(to, from->data, n);
	return true;
}

static bool get_string(const char *from, char *to, size_t max)
{
	size_t n = from == NULL ? 0 : strlen(from);

	if (n >= max)
		return false;
	memset(to, 0, max);
	if (n > 0)
		memcpy(to, from, n);
	return true;
}

static ProtobufCBinaryData view(const void *p, size_t n)
{
	return (ProtobufCBinaryData){ .len = n, .data = (uint8_t *)p };
}

/* Absent where all zero, as a proto3 default. */
static ProtobufCBinaryData key_view(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != 0)
			return view(p, n);
	return view(NULL, 0);
}

int wire_stamped_pack(const struct wire_stamped *s, struct buf *out)
{
	const struct naming_cmd *c = &s->cmd;
	Naming__Stamped st = NAMING__STAMPED__INIT;
	Naming__Command m = NAMING__COMMAND__INIT;
	Naming__Limits l = NAMING__LIMITS__INIT;

	st.client = s->stamp.client;
	st.seq = s->stamp.seq;
	st.acked = s->stamp.acked;
	st.command = &m;
	m.kind = c->kind;
	m.subkind = c->subkind;
	m.flags = c->flags;
	m.number = c->number;
	m.node = c->node;
	m.to = c->to;
	m.tenant = c->tenant;
	m.pid = c->pid;
	m.epoch = c->epoch;
	m.ttl_ms = c->ttl_ms;
	m.machine_id = key_view(c->machine_id, sizeof(c->machine_id));
	m.key = key_view(c->key, sizeof(c->key));
	m.key2 = key_view(c->key2, sizeof(c->key2));
	m.name = (char *)c->name;
	m.addr = (char *)c->addr;
	m.text = (char *)c->text;
	l.cpu_milli = c->limits.cpu_milli;
	l.procs = c->limits.procs;
	l.memory_bytes = c->limits.memory_bytes;
	l.storage_bytes = c->limits.storage_bytes;
	l.cpu_weight = c->limits.cpu_weight;
	m.limits = &l;
	m.serial = c->serial;
	if (c->kind == NAMING_CMD_LOAN) {
		m.like = (uint64_t *)c->like;
		m.need = (uint64_t *)c->need;
		m.n_like = m.n_need = NAMING_RESOURCES;
	}
	return pack(&st.base, out);
}

static bool get_amounts(const uint64_t *from, size_t n, uint64_t to[NAMING_RESOURCES])
{
	if (n != 0 && n != NAMING_RESOURCES)
		return false;
	if (n != 0)
		memcpy(to, from, n * sizeof(*to));
	return true;
}

static bool get_command(const Naming__Command *m, struct naming_cmd *c)
{
	memset(c, 0, sizeof(*c));
	if (m == NULL)
		return false;
	/* An unknown kind goes to the core, which answers it. */
	c->kind = m->kind < NAMING_CMD_COUNT ? (enum naming_cmd_kind)m->kind : NAMING_CMD_COUNT;
	c->subkind = m->subkind;
	c->flags = m->flags;
	c->number = m->number;
	c->node = m->node;
	c->to = m->to;
	c->tenant = m->tenant;
	c->pid = m->pid;
	c->epoch = m->epoch;
	c->ttl_ms = m->ttl_ms;
	if (m->limits != NULL) {
		c->limits.cpu_milli = m->limits->cpu_milli;
		c->limits.procs = m->limits->procs;
		c->limits.memory_bytes = m->limits->memory_bytes;
		c->limits.storage_bytes = m->limits->storage_bytes;
		c->limits.cpu_weight = m->limits->cpu_weight;
	}
	c->serial = m->serial;
	return get_amounts(m->like, m->n_like, c->like) &&
	       get_amounts(m->need, m->n_need, c->need) &&
	       get_bytes(&m->machine_id, c->machine_id, sizeof(c->machine_id)) &&
	       get_bytes(&m->key, c->key, sizeof(c->key)) &&
	       get_bytes(&m->key2, c->key2, sizeof(c->key2)) &&
	       get_string(m->name, c->name, sizeof(c->name)) &&
	       get_string(m->addr, c->addr, sizeof(c->addr)) &&
	       get_string(m->text, c->text, sizeof(c->text));
}

static void get_stamp(const Naming__Stamped *m, struct naming_stamp *s)
{
	s->client = m->client;
	s->seq = m->seq;
	s->acked = m->acked;
}

static int put_varint(struct buf *out, uint64_t v)
{
	uint8_t b[10];
	size_t n = 0;

	do {
		b[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
		v >>= 7;
	} while (v > 0);
	return buf_add(out, b, n);
}

/* Written by hand so that a command is packed once, by the node it comes from. */
int wire_batch_pack(uint64_t time_ms, const struct buf *parts, size_t n, struct buf *out)
{
	int r = put_varint(out, 1 << 3); /* field 1, varint */

	if (r == 0)
		r = put_varint(out, time_ms);
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = put_varint(out, 2 << 3 | 2); /* field 2, length-delimited */
		if (r == 0)
			r = put_varint(out, parts[i].len);
		if (r == 0)
			r = buf_add(out, parts[i].data, parts[i].len);
	}
	return r;
}

int wire_batch_each(const uint8_t *bytes, size_t len,
		    int (*fn)(void *arg, uint64_t time_ms, const struct wire_stamped *s), void *arg)
{
	Naming__Batch *b = naming__batch__unpack(NULL, len, bytes);
	int r = 0;

	if (b == NULL)
		return -EBADMSG;
	for (size_t i = 0; r == 0 && i < b->n_commands; i++) {
		struct wire_stamped s;

		get_stamp(b->commands[i], &s.stamp);
		/* What cannot be read is still one command, and every node answers it alike. */
		if (!get_command(b->commands[i]->command, &s.cmd))
			s.cmd.kind = NAMING_CMD_COUNT;
		r = fn(arg, b->time_ms, &s);
	}
	naming__batch__free_unpacked(b, NULL);
	return r;
}

static void fill_raft(Naming__Raft *m, const struct wire_raft *r)
{
	m->type = r->type;
	m->term = r->term;
	m->index = r->index;
	m->index_term = r->index_term;
	m->commit = r->commit;
	m->rejected = r->rejected;
	m->candidate = r->candidate;
	m->disrupt_leader = r->disrupt_leader;
	m->pre_vote = r->pre_vote;
	m->granted = r->granted;
	m->features = r->features;
	m->capacity = r->capacity;
	m->conf_index = r->conf_index;
	m->conf = view(r->conf, r->conf_len);
	m->data = view(r->data, r->data_len);
}

struct entry_array {
	Naming__Entry *rows;
	Naming__Entry **at;
};

static int entries_fill(struct entry_array *a, const struct wire_msg *m)
{
	if (m->entry_count == 0)
		return 0;
	a->rows = calloc(m->entry_count, sizeof(*a->rows));
	a->at = calloc(m->entry_count, sizeof(*a->at));
	if (a->rows == NULL || a->at == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < m->entry_count; i++) {
		a->at[i] = &a->rows[i];
		naming__entry__init(&a->rows[i]);
		a->rows[i].term = m->entries[i].term;
		a->rows[i].type = m->entries[i].type;
		a->rows[i].data = view(m->entries[i].data, m->entries[i].len);
	}
	return 0;
}

static int pack_raft(const struct wire_msg *m, Naming__Message *out, struct buf *buf)
{
	Naming__Raft raft = NAMING__RAFT__INIT;
	struct entry_array a = { 0 };
	int r = entries_fill(&a, m);

	fill_raft(&raft, &m->raft);
	raft.n_entries = m->entry_count;
	raft.entries = a.at;
	out->body_case = NAMING__MESSAGE__BODY_RAFT;
	out->raft = &raft;
	if (r == 0)
		r = pack(&out->base, buf);
	free(a.rows);
	free(a.at);
	return r;
}

static int pack_feed(const struct wire_msg *m, Naming__Message *out, struct buf *buf)
{
	Naming__Feed feed = NAMING__FEED__INIT;
	struct entry_array a = { 0 };
	int r = entries_fill(&a, m);

	feed.first = m->first;
	feed.n_entries = m->entry_count;
	feed.entries = a.at;
	feed.index = m->index;
	feed.term = m->term;
	feed.snapshot = view(m->snapshot, m->snapshot_len);
	feed.n_voters = m->voter_count;
	feed.voters = (uint32_t *)m->voters;
	out->body_case = NAMING__MESSAGE__BODY_FEED;
	out->feed = &feed;
	if (r == 0)
		r = pack(&out->base, buf);
	free(a.rows);
	free(a.at);
	return r;
}

/* A Propose around a packed Stamped: field 3 { field 1 { stamped } }. */
static int pack_propose(const struct wire_msg *m, struct buf *out)
{
	struct buf inner = BUF_INIT;
	int r = put_varint(&inner, 1 << 3 | 2);

	if (r == 0)
		r = put_varint(&inner, m->stamped_len);
	if (r == 0)
		r = buf_add(&inner, m->stamped, m->stamped_len);
	if (r == 0)
		r = put_varint(out, 3 << 3 | 2);
	if (r == 0)
		r = put_varint(out, inner.len);
	if (r == 0)
		r = buf_add(out, inner.data, inner.len);
	buf_fini(&inner);
	return r;
}

int wire_msg_pack(const struct wire_msg *m, struct buf *out)
{
	Naming__Message msg = NAMING__MESSAGE__INIT;
	Naming__Refuse refuse = NAMING__REFUSE__INIT;
	Naming__FeedAsk ask = NAMING__FEED_ASK__INIT;

	msg.leader = m->leader;
	switch (m->type) {
	case WIRE_RAFT:
		return pack_raft(m, &msg, out);
	case WIRE_FEED:
		return pack_feed(m, &msg, out);
	case WIRE_PROPOSE:
		return pack_propose(m, out);
	case WIRE_REFUSE:
		refuse.client = m->stamp.client;
		refuse.seq = m->stamp.seq;
		refuse.err = m->err;
		msg.body_case = NAMING__MESSAGE__BODY_REFUSE;
		msg.refuse = &refuse;
		break;
	case WIRE_FEED_ASK:
		ask.next = m->first;
		msg.body_case = NAMING__MESSAGE__BODY_FEED_ASK;
		msg.feed_ask = &ask;
		break;
	}
	return pack(&msg.base, out);
}

static int unpack_entries(struct wire_msg *m, Naming__Entry **rows, size_t n)
{
	if (n > WIRE_ENTRIES_MAX)
		return -EBADMSG;
	if (n == 0)
		return 0;
	m->entries = calloc(n, sizeof(*m->entries));
	if (m->entries == NULL)
		return -ENOMEM;
	m->entry_count = n;
	for (size_t i = 0; i < n; i++)
		m->entries[i] = (struct wire_entry){
			.term = rows[i]->term,
			.type = rows[i]->type,
			.data = rows[i]->data.data,
			.len = rows[i]->data.len,
		};
	return 0;
}

static int unpack_raft(struct wire_msg *m, const Naming__Raft *r)
{
	m->type = WIRE_RAFT;
	m->raft = (struct wire_raft){
		.type = r->type,
		.term = r->term,
		.index = r->index,
		.index_term = r->index_term,
		.commit = r->commit,
		.rejected = r->rejected,
		.candidate = r->candidate,
		.disrupt_leader = r->disrupt_leader,
		.pre_vote = r->pre_vote,
		.granted = r->granted,
		.features = r->features,
		.capacity = r->capacity,
		.conf_index = r->conf_index,
		.conf = r->conf.data,
		.conf_len = r->conf.len,
		.data = r->data.data,
		.data_len = r->data.len,
	};
	return unpack_entries(m, r->entries, r->n_entries);
}

/* The command is checked to be one, and kept packed as it came: the leader's log gets its bytes. */
static int unpack_propose(struct wire_msg *m, const Naming__Propose *p)
{
	struct naming_cmd cmd;
	struct buf b = BUF_INIT;
	int r;

	m->type = WIRE_PROPOSE;
	if (p->stamped == NULL || !get_command(p->stamped->command, &cmd))
		return -EBADMSG;
	get_stamp(p->stamped, &m->stamp);
	if (m->stamp.client == 0 || m->stamp.seq == 0)
		return -EBADMSG;
	r = pack(&p->stamped->base, &b);
	if (r != 0)
		return r;
	m->stamped = b.data;
	m->stamped_len = b.len;
	return 0;
}

static int unpack_feed(struct wire_msg *m, const Naming__Feed *f)
{
	m->type = WIRE_FEED;
	if (f->n_voters > WIRE_VOTERS_MAX)
		return -EBADMSG;
	m->first = f->first;
	m->index = f->index;
	m->term = f->term;
	m->snapshot = f->snapshot.data;
	m->snapshot_len = f->snapshot.len;
	m->voter_count = f->n_voters;
	if (f->n_voters > 0)
		memcpy(m->voters, f->voters, f->n_voters * sizeof(m->voters[0]));
	return unpack_entries(m, f->entries, f->n_entries);
}

static int unpack_body(struct wire_msg *m, const Naming__Message *msg)
{
	switch (msg->body_case) {
	case NAMING__MESSAGE__BODY_RAFT:
		return unpack_raft(m, msg->raft);
	case NAMING__MESSAGE__BODY_PROPOSE:
		return unpack_propose(m, msg->propose);
	case NAMING__MESSAGE__BODY_FEED:
		return unpack_feed(m, msg->feed);
	case NAMING__MESSAGE__BODY_REFUSE:
		m->type = WIRE_REFUSE;
		m->stamp.client = msg->refuse->client;
		m->stamp.seq = msg->refuse->seq;
		m->err = msg->refuse->err;
		return 0;
	case NAMING__MESSAGE__BODY_FEED_ASK:
		m->type = WIRE_FEED_ASK;
		m->first = msg->feed_ask->next;
		return 0;
	default:
		return -EBADMSG;
	}
}

int wire_msg_unpack(const uint8_t *bytes, size_t len, struct wire_msg *m)
{
	Naming__Message *msg = naming__message__unpack(NULL, len, bytes);
	int r;

	memset(m, 0, sizeof(*m));
	if (msg == NULL)
		return -EBADMSG;
	m->held = msg;
	m->leader = msg->leader;
	r = unpack_body(m, msg);
	if (r != 0)
		wire_msg_fini(m);
	return r;
}

void wire_msg_fini(struct wire_msg *m)
{
	if (m->held != NULL)
		naming__message__free_unpacked(m->held, NULL);
	free(m->entries);
	if (m->type == WIRE_PROPOSE)
		free((void *)m->stamped);
	memset(m, 0, sizeof(*m));
}

int wire_piece_pack(const struct wire_piece *p, struct buf *out)
{
	Naming__Piece m = NAMING__PIECE__INIT;

	m.id = p->id;
	m.offset = p->offset;
	m.total = p->total;
	m.data = view(p->data, p->len);
	return pack(&m.base, out);
}

int wire_piece_unpack(const uint8_t *bytes, size_t len, struct wire_piece *p)
{
	Naming__Piece *m = naming__piece__unpack(NULL, len, bytes);

	if (m == NULL)
		return -EBADMSG;
	*p = (struct wire_piece){ m->id, m->offset, m->total, m->data.data, m->data.len, m };
	return 0;
}

void wire_piece_fini(struct wire_piece *p)
{
	naming__piece__free_unpacked(p->held, NULL);
	p->held = NULL;
}

int wire_ticket_pack(const struct wire_ticket *t, struct buf *out)
{
	Naming__Ticket m = NAMING__TICKET__INIT;
	Naming__Ticket__Peer peers[WIRE_PEERS_MAX];
	Naming__Ticket__Peer *at[WIRE_PEERS_MAX];

	m.machine_id = view(t->machine_id, sizeof(t->machine_id));
	m.machine_name = (char *)t->machine_name;
	m.self = t->self;
	m.first = t->first;
	m.name = (char *)t->name;
	m.addr = (char *)t->addr;
	m.key = view(t->key, sizeof(t->key));
	for (size_t i = 0; i < t->peer_count; i++) {
		naming__ticket__peer__init(&peers[i]);
		peers[i].id = t->peers[i].id;
		peers[i].addr = (char *)t->peers[i].addr;
		peers[i].key = view(t->peers[i].key, sizeof(t->peers[i].key));
		at[i] = &peers[i];
	}
	m.n_peers = t->peer_count;
	m.peers = at;
	return pack(&m.base, out);
}

static bool get_ticket(const Naming__Ticket *m, struct wire_ticket *t)
{
	t->self = m->self;
	t->first = m->first;
	t->peer_count = m->n_peers;
	if (m->self == NODE_NONE || m->n_peers > WIRE_PEERS_MAX ||
	    m->machine_id.len != sizeof(t->machine_id) ||
	    !get_bytes(&m->machine_id, t->machine_id, sizeof(t->machine_id)) ||
	    !get_string(m->machine_name, t->machine_name, sizeof(t->machine_name)) ||
	    !get_string(m->name, t->name, sizeof(t->name)) ||
	    !get_string(m->addr, t->addr, sizeof(t->addr)) ||
	    !get_bytes(&m->key, t->key, sizeof(t->key)))
		return false;
	for (size_t i = 0; i < m->n_peers; i++) {
		t->peers[i].id = m->peers[i]->id;
		if (!get_string(m->peers[i]->addr, t->peers[i].addr, sizeof(t->peers[i].addr)) ||
		    !get_bytes(&m->peers[i]->key, t->peers[i].key, sizeof(t->peers[i].key)))
			return false;
	}
	return true;
}

int wire_ticket_unpack(const uint8_t *bytes, size_t len, struct wire_ticket *t)
{
	Naming__Ticket *m = naming__ticket__unpack(NULL, len, bytes);
	bool good;

	memset(t, 0, sizeof(*t));
	if (m == NULL)
		return -EBADMSG;
	good = get_ticket(m, t);
	naming__ticket__free_unpacked(m, NULL);
	return good ? 0 : -EBADMSG;
}
