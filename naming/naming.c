/* SPDX-License-Identifier: Apache-2.0 */
/*
 * naming.c - a replica on this machine: its files, its clock, its peers.
 *
 * Everything that happens is noted and done at the end of the loop's turn, in one
 * go: messages in, commands in, flush; then answers and changes go to the caller,
 * so that no callback ever runs inside of a call.
 */
#include "naming/naming.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "naming/files.h"
#include "naming/pieces.h"
#include "naming/raft/replica.h"
#include "naming/wire.h"

#define SEGMENT_BYTES   (1u << 20)
#define ROOM_KIB_MIN    3072u /* a segment made ahead, and as much for a snapshot */
#define TURNS_MAX       4u
#define CREATE_RETRY_MS 10000u

struct pending {
	struct list link;
	naming_done_fn done;
	void *arg;
	bool answered;
	int err;
	struct naming_result r;
	bool has_result;
};

struct incoming {
	struct list link;
	node_id from;
	struct buf bytes;
};

struct naming {
	struct loop *loop;
	struct naming_config cfg;
	struct naming_sizes sizes;
	const struct naming_ops *ops;
	void *arg;
	char *dir;
	struct files *files;
	struct naming_replica *r;
	struct wire_ticket ticket;
	void *empty_mem;
	struct naming_core *empty;

	struct loop_hook hook;
	struct loop_timer timer;
	bool dirty;
	struct list pending;  /* proposed */
	struct list answered; /* to be told */
	struct list incoming;
	struct pieces pieces;
	bool creating;

	/* naming_leave() */
	naming_done_fn leave_done;
	void *leave_arg;
	uint64_t leave_deadline_ns;
	bool leave_waits; /* for another node to have our vote */

	uint32_t changed_kinds;
	uint32_t changed_id;
	unsigned changed_count;
	bool status_changed;
	int told_disk_err;
	char error[160];
};

static uint64_t now_ms(void)
{
	return clock_mono_ns() / NS_PER_MS;
}

static uint64_t random_id(void)
{
	uint64_t v = 0;

	while (v == 0)
		if (getrandom(&v, sizeof(v), 0) != (ssize_t)sizeof(v))
			v = 0;
	return v;
}

static void dirty(struct naming *n)
{
	n->dirty = true;
}

/* ---- effects of the replica ---- */

struct sending {
	struct naming *n;
	node_id to;
};

static void send_one(void *arg, const void *msg, size_t len)
{
	const struct sending *s = arg;

	s->n->ops->send(s->n->arg, s->to, msg, len);
}

static void on_send(void *arg, node_id to, const uint8_t *bytes, size_t len)
{
	struct sending s = { arg, to };

	pieces_out(&s.n->pieces, bytes, len, send_one, &s);
}

static void on_write_log(void *arg, uint64_t segment, uint64_t offset, const uint8_t *bytes,
			 size_t len)
{
	struct naming *n = arg;

	files_write_log(n->files, segment, offset, bytes, len);
}

static void on_write_snapshot(void *arg, uint64_t index, const uint8_t *bytes, size_t len)
{
	struct naming *n = arg;

	files_write_snapshot(n->files, index, bytes, len);
}

static void on_remove_segment(void *arg, uint64_t segment)
{
	struct naming *n = arg;

	files_remove_segment(n->files, segment);
}

static void on_remove_snapshot(void *arg, uint64_t index)
{
	struct naming *n = arg;

	files_remove_snapshot(n->files, index);
}

static void on_answer(void *arg, uint64_t token, int err, const struct naming_result *r)
{
	struct naming *n = arg;
	struct pending *p = (struct pending *)(uintptr_t)token;

	p->err = err;
	p->has_result = r != NULL;
	if (r != NULL)
		p->r = *r;
	list_del(&p->link);
	list_add_tail(&n->answered, &p->link);
}

static void on_changed(void *arg, uint32_t kinds, uint32_t id)
{
	struct naming *n = arg;

	n->changed_id = n->changed_count++ == 0 ? id : 0;
	n->changed_kinds |= kinds;
}

static void on_status(void *arg)
{
	struct naming *n = arg;

	n->status_changed = true;
}

static const struct naming_replica_ops replica_ops = {
	.send = on_send,
	.write_log = on_write_log,
	.write_snapshot = on_write_snapshot,
	.remove_segment = on_remove_segment,
	.remove_snapshot = on_remove_snapshot,
	.answer = on_answer,
	.changed = on_changed,
	.status = on_status,
};

/* ---- the ticket follows the voters, so that a restart finds them ---- */

static void peer_fill(struct wire_peer *p, const struct naming_node *node)
{
	memset(p, 0, sizeof(*p));
	p->id = node->id;
	memcpy(p->addr, node->addr, sizeof(p->addr));
	memcpy(p->key, node->key, sizeof(p->key));
}

/* The voters first, whom a fed node asks; then others, who may be voters when we come back. */
static size_t peers_now(const struct naming *n, struct wire_peer *out)
{
	const struct naming_core *k = naming_tables(n);
	const struct naming_node *node;
	struct naming_replica_info i;
	size_t count = 0;
	size_t voters;

	naming_replica_info(n->r, &i);
	for (unsigned v = 0; v < i.voter_count && count < WIRE_PEERS_MAX; v++) {
		node = naming_node_find(k, i.voters[v]);
		if (node != NULL)
			peer_fill(&out[count++], node);
	}
	voters = count;
	for (uint32_t j = 0; (node = naming_node_at(k, j)) != NULL && count < WIRE_PEERS_MAX; j++) {
		bool in = node->state == NAMING_NODE_LEFT;

		for (size_t v = 0; v < voters; v++)
			in = in || out[v].id == node->id;
		if (!in)
			peer_fill(&out[count++], node);
	}
	return count;
}

static int ticket_save(struct naming *n)
{
	struct buf b = BUF_INIT;
	int r = wire_ticket_pack(&n->ticket, &b);

	if (r == 0)
		r = files_ticket_write(n->files, &b);
	buf_fini(&b);
	return r;
}

static void seeds_tell(struct naming *n)
{
	node_id ids[WIRE_PEERS_MAX];

	for (size_t i = 0; i < n->ticket.peer_count; i++)
		ids[i] = n->ticket.peers[i].id;
	naming_replica_seeds(n->r, ids, n->ticket.peer_count);
}

static void ticket_refresh(struct naming *n)
{
	struct wire_peer peers[WIRE_PEERS_MAX];
	size_t count = peers_now(n, peers);
	int r;

	if (count == 0 || (count == n->ticket.peer_count &&
			   memcmp(peers, n->ticket.peers, count * sizeof(peers[0])) == 0))
		return;
	memcpy(n->ticket.peers, peers, count * sizeof(peers[0]));
	n->ticket.peer_count = count;
	r = ticket_save(n);
	if (r != 0)
		log_warn("naming: cannot note the voters in %s: %s", n->dir, strerror(-r));
	seeds_tell(n);
}

/* ---- the turn ---- */

static void create_maybe(struct naming *n);
static void leave_maybe(struct naming *n);
static void leave_end(struct naming *n, int err, const struct naming_result *r);

static void tell_answers(struct naming *n)
{
	while (!list_empty(&n->answered)) {
		struct pending *p = list_front(&n->answered, struct pending, link);

		list_del(&p->link);
		if (p->done != NULL)
			p->done(p->arg, p->err, p->has_result ? &p->r : NULL);
		free(p);
	}
}

static void tell_disk(struct naming *n)
{
	struct naming_replica_info i;

	naming_replica_info(n->r, &i);
	if (i.disk_err == n->told_disk_err)
		return;
	if (i.disk_err != 0) {
		(void)snprintf(n->error, sizeof(n->error), "cannot write the log in %.80s: %s",
			       n->dir, strerror(-i.disk_err));
		log_error("naming: %s; it is being tried again", n->error);
	} else {
		log_info("naming: the log in %s is written again", n->dir);
		n->error[0] = '\0';
	}
	n->told_disk_err = i.disk_err;
}

static void tell(struct naming *n)
{
	uint32_t kinds = n->changed_kinds;
	uint32_t id = n->changed_id;
	bool status = n->status_changed;

	n->changed_kinds = n->changed_id = n->changed_count = 0;
	n->status_changed = false;
	if (status)
		tell_disk(n);
	if (status || (kinds & naming_kind_bit(NAMING_NODE)))
		ticket_refresh(n);
	if (kinds != 0 && n->ops->changed != NULL)
		n->ops->changed(n->arg, kinds, id);
	tell_answers(n);
	if (status && n->ops->status != NULL)
		n->ops->status(n->arg);
	leave_maybe(n);
}

static void receive(struct naming *n)
{
	while (!list_empty(&n->incoming)) {
		struct incoming *in = list_front(&n->incoming, struct incoming, link);

		list_del(&in->link);
		naming_replica_receive(n->r, in->from, in->bytes.data, in->bytes.len);
		buf_fini(&in->bytes);
		free(in);
	}
}

static void turn(struct naming *n)
{
	n->dirty = false;
	naming_replica_time(n->r, now_ms(), clock_wall_ns() / NS_PER_MS);
	receive(n);
	/* A microsecond or two, beside a write of a hundred. */
	naming_replica_room(n->r, files_room(n->files));
	naming_replica_flush(n->r);
	tell(n);
}

static void on_timer(struct loop_timer *t)
{
	dirty(container_of(t, struct naming, timer));
}

static void on_turn_end(struct loop_hook *h)
{
	struct naming *n = container_of(h, struct naming, hook);

	if (n->r == NULL || !n->dirty)
		return;
	for (unsigned i = 0; i < TURNS_MAX && n->dirty; i++)
		turn(n);
	if (loop_timer_set(n->loop, &n->timer,
			   n->dirty ? 0 : naming_replica_due_ms(n->r) * NS_PER_MS, on_timer) != 0)
		CHECK(!"a timer that cannot be armed");
}

static void on_log_done(void *arg, int err)
{
	struct naming *n = arg;

	naming_replica_time(n->r, now_ms(), clock_wall_ns() / NS_PER_MS);
	naming_replica_log_done(n->r, err);
	dirty(n);
}

static void on_snapshot_done(void *arg, int err)
{
	struct naming *n = arg;

	naming_replica_time(n->r, now_ms(), clock_wall_ns() / NS_PER_MS);
	naming_replica_snapshot_done(n->r, err);
	dirty(n);
}

static const struct files_ops file_ops = {
	.log_done = on_log_done,
	.snapshot_done = on_snapshot_done,
};

/* ---- life ---- */

static int start(struct naming *n)
{
	const struct naming_replica_config cfg = {
		.self = n->ticket.self,
		.first = n->ticket.first,
		.client = random_id(),
		.log_id = random_id(),
		.seed = (uint32_t)random_id(),
		.sizes = &n->sizes,
		.voters_max = n->cfg.voters_max,
		.election_ms = n->cfg.election_ms,
		.heartbeat_ms = n->cfg.heartbeat_ms,
		.snapshot_entries = n->cfg.snapshot_entries,
		.trailing_entries = MAX(n->cfg.snapshot_entries / 5, 1u),
		.segment_bytes = SEGMENT_BYTES,
		.room_kib_min = ROOM_KIB_MIN,
	};
	struct naming_disk disk;
	const char *why = "";
	int r = files_load(n->files, &disk);

	if (r == 0)
		r = naming_replica_new(&n->r, &cfg, &disk, now_ms(), &replica_ops, n, &why);
	files_unload(n->files);
	if (r != 0) {
		(void)snprintf(n->error, sizeof(n->error), "cannot start from %.80s: %s%s%s",
			       n->dir, strerror(-r), *why ? ": " : "", why);
		log_error("naming: %s; try: pando leave, then join anew with an empty directory",
			  n->error);
		return r;
	}
	seeds_tell(n);
	create_maybe(n);
	dirty(n);
	return loop_timer_set(n->loop, &n->timer, 0, on_timer);
}

static int load_ticket(struct naming *n)
{
	struct buf b = BUF_INIT;
	int r = files_ticket_read(n->files, &b);

	if (r == 0)
		r = wire_ticket_unpack(b.data, b.len, &n->ticket);
	buf_fini(&b);
	if (r == -ENOENT)
		return 0;
	return r == 0 ? start(n) : r;
}

int naming_new(struct naming **out, struct loop *l, const struct naming_config *cfg,
	       const struct naming_ops *ops, void *arg)
{
	static const struct naming_sizes none = { 1, 1, 1, 1, 1, 1, 1, 1, 1 };
	struct naming *n = calloc(1, sizeof(*n));
	int r;

	if (n == NULL)
		return -ENOMEM;
	n->loop = l;
	n->cfg = *cfg;
	n->cfg.voters_max = cfg->voters_max == 0 ? 3 : cfg->voters_max;
	n->cfg.election_ms = cfg->election_ms == 0 ? 250 : cfg->election_ms;
	n->cfg.heartbeat_ms = cfg->heartbeat_ms == 0 ? 50 : cfg->heartbeat_ms;
	n->cfg.snapshot_entries = cfg->snapshot_entries == 0 ? 1000 : cfg->snapshot_entries;
	n->sizes = cfg->sizes == NULL ? naming_sizes_default : *cfg->sizes;
	n->ops = ops;
	n->arg = arg;
	list_init(&n->pending);
	list_init(&n->answered);
	list_init(&n->incoming);
	pieces_init(&n->pieces);
	loop_hook_add(l, &n->hook, on_turn_end);
	n->dir = strdup(cfg->dir);
	n->empty_mem = calloc(1, naming_core_bytes(&none));
	r = n->dir == NULL || n->empty_mem == NULL ? -ENOMEM : 0;
	if (r == 0) {
		n->empty = naming_core_init(n->empty_mem, &none);
		r = files_open(&n->files, l, cfg->dir, SEGMENT_BYTES, &file_ops, n);
	}
	if (r == 0)
		r = load_ticket(n);
	if (r != 0) {
		naming_free(n);
		return r;
	}
	*out = n;
	return 0;
}

static void cancel(struct list *head)
{
	while (!list_empty(head)) {
		struct pending *p = list_front(head, struct pending, link);

		list_del(&p->link);
		if (p->done != NULL)
			p->done(p->arg, -ECANCELED, NULL);
		free(p);
	}
}

void naming_free(struct naming *n)
{
	if (n == NULL)
		return;
	loop_hook_del(n->loop, &n->hook);
	loop_timer_clear(n->loop, &n->timer);
	files_close(n->files);
	naming_replica_free(n->r);
	n->r = NULL;
	cancel(&n->answered);
	cancel(&n->pending);
	if (n->leave_done != NULL)
		leave_end(n, -ECANCELED, NULL);
	while (!list_empty(&n->incoming)) {
		struct incoming *in = list_front(&n->incoming, struct incoming, link);

		list_del(&in->link);
		buf_fini(&in->bytes);
		free(in);
	}
	pieces_fini(&n->pieces);
	free(n->empty_mem);
	free(n->dir);
	free(n);
}

const char *naming_error(const struct naming *n)
{
	return n->error;
}

static bool copy_string(char *to, size_t max, const char *from)
{
	size_t len = strlen(from);

	if (len >= max)
		return false;
	memset(to, 0, max);
	memcpy(to, from, len);
	return true;
}

int naming_bootstrap(struct naming *n, const char *machine, const struct naming_self *self)
{
	struct wire_ticket t = { .self = 1, .first = true };
	uint64_t id[2] = { random_id(), random_id() };
	int r;

	if (n->r != NULL)
		return -EEXIST;
	if (!naming_name_ok(machine, sizeof(t.machine_name), false) ||
	    !naming_name_ok(self->name, sizeof(t.name), false) || self->addr[0] == '\0' ||
	    !copy_string(t.machine_name, sizeof(t.machine_name), machine) ||
	    !copy_string(t.name, sizeof(t.name), self->name) ||
	    !copy_string(t.addr, sizeof(t.addr), self->addr))
		return -EINVAL;
	memcpy(t.machine_id, id, sizeof(t.machine_id));
	memcpy(t.key, self->key, sizeof(t.key));
	n->ticket = t;
	r = ticket_save(n);
	return r == 0 ? start(n) : r;
}

int naming_join(struct naming *n, const void *ticket, size_t len)
{
	struct wire_ticket t;
	int r;

	if (n->r != NULL)
		return -EEXIST;
	r = wire_ticket_unpack(ticket, len, &t);
	if (r != 0)
		return r;
	if (t.first || t.peer_count == 0)
		return -EBADMSG;
	n->ticket = t;
	r = ticket_save(n);
	return r == 0 ? start(n) : r;
}

ssize_t naming_ticket(const struct naming *n, node_id id, void *out, size_t cap)
{
	const struct naming_machine *m = naming_machine(naming_tables(n));
	const struct naming_node *node = naming_node_find(naming_tables(n), id);
	struct wire_ticket t = { .self = id };
	struct buf b = BUF_INIT;
	ssize_t r;

	if (n->r == NULL || node == NULL)
		return -ENOENT;
	memcpy(t.machine_id, m->id, sizeof(t.machine_id));
	memcpy(t.machine_name, m->name, sizeof(t.machine_name));
	memcpy(t.name, node->name, sizeof(t.name));
	memcpy(t.addr, node->addr, sizeof(t.addr));
	memcpy(t.key, node->key, sizeof(t.key));
	t.peer_count = peers_now(n, t.peers);
	r = t.peer_count == 0 ? -ENOENT : wire_ticket_pack(&t, &b);
	if (r == 0)
		r = b.len <= cap ? (ssize_t)b.len : -ENOSPC;
	if (r > 0)
		memcpy(out, b.data, b.len);
	buf_fini(&b);
	return r;
}

node_id naming_self(const struct naming *n)
{
	return n->r == NULL ? NODE_NONE : n->ticket.self;
}

int naming_peer(const struct naming *n, node_id id, char *addr, uint8_t key[NAMING_KEY_BYTES])
{
	const struct naming_node *node = naming_node_find(naming_tables(n), id);

	if (node != NULL) {
		memcpy(addr, node->addr, NAMING_ADDR_MAX);
		memcpy(key, node->key, NAMING_KEY_BYTES);
		return 0;
	}
	for (size_t i = 0; i < n->ticket.peer_count; i++) {
		if (n->ticket.peers[i].id != id)
			continue;
		memcpy(addr, n->ticket.peers[i].addr, NAMING_ADDR_MAX);
		memcpy(key, n->ticket.peers[i].key, NAMING_KEY_BYTES);
		return 0;
	}
	return -ENOENT;
}

/* ---- messages ---- */

static void queue_in(void *arg, node_id from, const uint8_t *bytes, size_t len)
{
	struct naming *n = arg;
	struct incoming *in = calloc(1, sizeof(*in));

	if (in == NULL || buf_add(&in->bytes, bytes, len) != 0) {
		free(in);
		return; /* lost, as by the network */
	}
	in->from = from;
	list_add_tail(&n->incoming, &in->link);
	dirty(n);
}

void naming_input(struct naming *n, node_id from, const void *msg, size_t len)
{
	if (n->r != NULL)
		pieces_in(&n->pieces, from, msg, len, queue_in, n);
}

/* ---- commands ---- */

int naming_propose(struct naming *n, const struct naming_cmd *cmd, uint64_t deadline_ns,
		   naming_done_fn done, void *arg)
{
	uint64_t now = clock_mono_ns();
	struct pending *p;
	int r;

	if (n->r == NULL)
		return -ENOTCONN;
	if (deadline_ns > now + NAMING_DEADLINE_MAX_MS * NS_PER_MS)
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	p->done = done;
	p->arg = arg;
	r = naming_replica_propose(n->r, cmd, deadline_ns / NS_PER_MS + 1, (uintptr_t)p);
	if (r != 0) {
		free(p);
		return r;
	}
	list_add_tail(&n->pending, &p->link);
	dirty(n);
	return 0;
}

int naming_barrier(struct naming *n, uint64_t deadline_ns, naming_done_fn done, void *arg)
{
	const struct naming_cmd noop = { .kind = NAMING_CMD_NOOP };

	return naming_propose(n, &noop, deadline_ns, done, arg);
}

/* ---- leaving ---- */

static void leave_end(struct naming *n, int err, const struct naming_result *r)
{
	naming_done_fn done = n->leave_done;

	n->leave_done = NULL;
	n->leave_waits = false;
	done(n->leave_arg, err, r);
}

static void leave_left(void *arg, int err, const struct naming_result *r)
{
	leave_end(arg, err, r);
}

/* Raft no longer counts on us: now the tables may say so, and others hang up. */
static void leave_maybe(struct naming *n)
{
	const struct naming_cmd cmd = { .kind = NAMING_CMD_NODE_LEFT, .node = n->ticket.self };
	struct naming_replica_info i;
	int r = 0;

	if (!n->leave_waits)
		return;
	naming_replica_info(n->r, &i);
	if (i.role == NAMING_REPLICA_FED) {
		n->leave_waits = false;
		r = naming_propose(n, &cmd, n->leave_deadline_ns, leave_left, n);
	} else if (clock_mono_ns() >= n->leave_deadline_ns) {
		r = -ETIMEDOUT;
	}
	if (r != 0)
		leave_end(n, r, NULL);
}

static void leave_began(void *arg, int err, const struct naming_result *r)
{
	struct naming *n = arg;

	/* -EINVAL: it began in an earlier try. */
	if (err != 0 || (r->err != 0 && r->err != -EINVAL)) {
		leave_end(n, err, r);
		return;
	}
	n->leave_waits = true;
}

int naming_leave(struct naming *n, uint64_t deadline_ns, naming_done_fn done, void *arg)
{
	const struct naming_cmd cmd = { .kind = NAMING_CMD_NODE_LEAVE, .node = n->ticket.self };
	int r;

	if (n->leave_done != NULL)
		return -EALREADY;
	r = naming_propose(n, &cmd, deadline_ns, leave_began, n);
	if (r != 0)
		return r;
	n->leave_done = done;
	n->leave_arg = arg;
	n->leave_deadline_ns = deadline_ns;
	return 0;
}

/* The machine's first command comes from the node that made it, after every start until it
 * stands: the tables refuse a second one. */
static void created(void *arg, int err, const struct naming_result *r)
{
	struct naming *n = arg;

	n->creating = false;
	if (err == -ECANCELED || (err == 0 && (r->err == 0 || r->err == -EPERM)))
		return;
	log_warn("naming: the machine is not created yet: %s", strerror(err != 0 ? -err : -r->err));
	create_maybe(n);
}

static void create_maybe(struct naming *n)
{
	struct naming_cmd cmd = { .kind = NAMING_CMD_CREATE };

	if (!n->ticket.first || n->creating || naming_machine(naming_tables(n))->created_ms != 0)
		return;
	memcpy(cmd.machine_id, n->ticket.machine_id, sizeof(cmd.machine_id));
	memcpy(cmd.text, n->ticket.machine_name, sizeof(n->ticket.machine_name));
	memcpy(cmd.name, n->ticket.name, sizeof(cmd.name));
	memcpy(cmd.addr, n->ticket.addr, sizeof(cmd.addr));
	memcpy(cmd.key, n->ticket.key, sizeof(cmd.key));
	n->creating = naming_propose(n, &cmd, clock_mono_ns() + CREATE_RETRY_MS * NS_PER_MS,
				     created, n) == 0;
}

/* ---- looking in ---- */

const struct naming_core *naming_tables(const struct naming *n)
{
	return n->r == NULL ? n->empty : naming_replica_core(n->r);
}

void naming_status(const struct naming *n, struct naming_status *s)
{
	struct naming_replica_info i;

	memset(s, 0, sizeof(*s));
	if (n->r == NULL)
		return;
	naming_replica_info(n->r, &i);
	s->role = (enum naming_role)i.role;
	s->leader = i.leader;
	s->term = i.term;
	s->applied = i.applied;
	s->committed = i.committed;
	s->voters = MIN(i.voter_count, (unsigned)ARRAY_LEN(s->voter));
	for (unsigned v = 0; v < s->voters; v++)
		s->voter[v] = i.voters[v];
	s->disk_err = i.disk_err;
	s->refused = i.refused;
}

_Static_assert((int)NAMING_ROLE_FED == (int)NAMING_REPLICA_FED &&
		       (int)NAMING_ROLE_FOLLOWER == (int)NAMING_REPLICA_FOLLOWER &&
		       (int)NAMING_ROLE_CANDIDATE == (int)NAMING_REPLICA_CANDIDATE &&
		       (int)NAMING_ROLE_LEADER == (int)NAMING_REPLICA_LEADER,
	       "the replica's roles are the public ones");
