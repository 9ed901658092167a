/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - commands: from this node to the leader, and at the leader into the log.
 *
 * A command is answered when this node applies it, so whoever has the answer reads
 * its effect here. Until then it is sent again and again, to whoever is the leader:
 * the tables execute it once (N7).
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"
#include "naming/raft/priv.h"

/* ---- this node's commands ---- */

int naming_replica_propose(struct naming_replica *r, const struct naming_cmd *cmd,
			   uint64_t deadline_ms, uint64_t token)
{
	struct proposal *p;

	if (MUTANT("naming.barrier.local") && cmd->kind == NAMING_CMD_NOOP) {
		r->ops->answer(r->arg, token, 0, &(struct naming_result){ 0 });
		return 0;
	}
	if (r->proposal_count >= PROPOSALS_MAX)
		return -EBUSY;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	/* Long idle, and the tables may forget us; or our numbers have holes. Better to come as
	 * another one (the next of a full-period generator). */
	if (r->proposal_count == 0 && r->seq > 0 &&
	    (r->given_up || r->now_ms - r->used_ms > NAMING_CLIENT_IDLE_MS / 2)) {
		r->client = r->client * UINT64_C(6364136223846793005) + 1442695040888963407;
		r->client += r->client == 0;
		r->seq = 0;
		r->known = r->given_up = false;
	}
	p->token = token;
	p->st.cmd = *cmd;
	p->st.stamp.client = r->client;
	p->st.stamp.seq = ++r->seq;
	p->deadline_ms = deadline_ms;
	p->send_ms = r->now_ms;
	r->used_ms = r->now_ms;
	list_add_tail(&r->proposals, &p->link);
	r->proposal_count++;
	return 0;
}

static void answer(struct naming_replica *r, struct proposal *p, int err,
		   const struct naming_result *res)
{
	uint64_t token = p->token;

	if (err != 0 || res->err == -EAGAIN || res->err == -ECONNRESET)
		r->given_up = true;
	else
		r->known = true;
	list_del(&p->link);
	r->proposal_count--;
	r->used_ms = r->now_ms;
	free(p);
	r->ops->answer(r->arg, token, err, res);
}

static struct proposal *proposal_find(struct naming_replica *r, uint64_t client, uint64_t seq)
{
	struct proposal *p;

	list_for_each (p, &r->proposals, link)
		if (p->st.stamp.seq == seq)
			return p->st.stamp.client == client ? p : NULL;
	return NULL;
}

void replica_client_applied(struct naming_replica *r, const struct naming_stamp *st,
			    const struct naming_result *res)
{
	struct proposal *p = proposal_find(r, st->client, st->seq);

	if (p != NULL)
		answer(r, p, 0, res);
}

/* The tables jumped over entries: what ours came to stands in them. */
static void answers_find(struct naming_replica *r)
{
	struct proposal *p;
	struct proposal *tmp;
	struct naming_result res;

	r->answers_lost = false;
	list_for_each_safe (p, tmp, &r->proposals, link)
		if (naming_core_result(r->core, p->st.stamp.client, p->st.stamp.seq, &res))
			answer(r, p, 0, &res);
}

void replica_client_hurry(struct naming_replica *r)
{
	struct proposal *p;

	list_for_each (p, &r->proposals, link)
		p->send_ms = r->now_ms;
}

/* Whom to send to: the leader, or for a fed node its source, who knows or says so. */
static node_id target(struct naming_replica *r)
{
	node_id leader = replica_leader(r);

	if (leader != NODE_NONE || !replica_fed(r))
		return leader;
	if (r->hint != NODE_NONE && r->hint != r->cfg.self)
		return r->hint;
	if (r->source_count == 0)
		return NODE_NONE;
	return r->sources[r->source % r->source_count];
}

static void queue_add(struct naming_replica *r, node_id from, const struct naming_stamp *st,
		      const uint8_t *bytes, size_t len);

/* Up to here nothing is asked for any more. A client that the tables do not know yet says 0. */
static uint64_t acked(const struct naming_replica *r)
{
	return r->known ? list_front(&r->proposals, struct proposal, link)->st.stamp.seq - 1 : 0;
}

static void proposal_send(struct naming_replica *r, struct proposal *p, node_id to)
{
	struct wire_msg m = { .type = WIRE_PROPOSE };
	struct buf b = BUF_INIT;

	if (MUTANT("naming.command.anew") && p->sent > 0) {
		p->st.stamp.seq = ++r->seq;
		list_del(&p->link);
		list_add_tail(&r->proposals, &p->link);
	}
	p->send_ms = r->now_ms + 2 * r->cfg.election_ms;
	p->st.stamp.acked = acked(r);
	if (wire_stamped_pack(&p->st, &b) == 0) {
		p->sent++;
		if (to == r->cfg.self) {
			queue_add(r, to, &p->st.stamp, b.data, b.len);
		} else {
			m.stamped = b.data;
			m.stamped_len = b.len;
			replica_send(r, to, &m, 0);
		}
	}
	buf_fini(&b);
}

void replica_client_flush(struct naming_replica *r)
{
	struct proposal *p;
	struct proposal *tmp;
	node_id to = target(r);

	if (r->answers_lost)
		answers_find(r);
	list_for_each_safe (p, tmp, &r->proposals, link)
		if (p->deadline_ms <= r->now_ms)
			answer(r, p, -ETIMEDOUT, NULL);
	if (list_empty(&r->proposals) || to == NODE_NONE)
		return;
	/* The queue moves as its oldest is answered: the tables remember a window only. */
	list_for_each (p, &r->proposals, link) {
		if (p->st.stamp.seq - acked(r) > NAMING_CLIENT_WINDOW)
			break;
		if (p->send_ms <= r->now_ms)
			proposal_send(r, p, to);
	}
}

/*
 * No room: a new leader does not know of everybody's room yet, so it is asked again for
 * a while. Every sending was refused, so the command has no effect and never will.
 */
static void refused(struct naming_replica *r, struct proposal *p, int err)
{
	p->refused++;
	p->send_ms = r->now_ms + r->cfg.heartbeat_ms;
	if (err != -ENOSPC)
		p->refused_ms = 0;
	else if (p->refused_ms == 0)
		p->refused_ms = r->now_ms;
	else if (p->refused == p->sent && r->now_ms - p->refused_ms >= 4 * r->cfg.election_ms)
		answer(r, p, -ENOSPC, NULL);
}

void replica_client_refused(struct naming_replica *r, node_id from, const struct wire_msg *m)
{
	struct proposal *p = proposal_find(r, m->stamp.client, m->stamp.seq);

	if (m->err == -EAGAIN && m->leader != from)
		r->hint = m->leader;
	else if (m->err == -EAGAIN && r->hint == from)
		r->hint = NODE_NONE;
	if (p != NULL)
		refused(r, p, m->err);
}

uint64_t replica_client_due(const struct naming_replica *r)
{
	const struct proposal *p;
	uint64_t due = UINT64_MAX;
	unsigned n = 0;

	list_for_each (p, &r->proposals, link) {
		/* One that could not be sent for want of a leader waits for one to appear. */
		due = MIN(due, p->deadline_ms);
		if (p->send_ms > r->now_ms)
			due = MIN(due, p->send_ms);
		if (++n >= NAMING_CLIENT_WINDOW)
			break;
	}
	return due;
}

void replica_client_fini(struct naming_replica *r)
{
	while (!list_empty(&r->proposals)) {
		struct proposal *p = list_front(&r->proposals, struct proposal, link);

		list_del(&p->link);
		free(p);
	}
	replica_queue_drop(r);
	free(r->queue);
	free(r->queue_from);
	free(r->taken);
}

/* ---- everybody's, at the leader ---- */

void replica_queue_drop(struct naming_replica *r)
{
	while (r->queue_count > 0)
		buf_fini(&r->queue[--r->queue_count]);
}

static void refuse(struct naming_replica *r, node_id from, const struct naming_stamp *st, int err)
{
	struct wire_msg m = { .type = WIRE_REFUSE, .stamp = *st, .err = err };
	struct proposal *p;

	if (from == r->cfg.self) {
		p = proposal_find(r, st->client, st->seq);
		if (p != NULL)
			refused(r, p, err);
		return;
	}
	m.leader = replica_leader(r);
	replica_send(r, from, &m, 0);
}

static struct taken *taken_of(struct naming_replica *r, uint64_t client)
{
	struct taken *t;

	for (size_t i = 0; i < r->taken_count; i++)
		if (r->taken[i].client == client)
			return &r->taken[i];
	if (r->taken == NULL)
		r->taken = calloc(r->sizes.clients_max, sizeof(*r->taken));
	if (r->taken == NULL)
		return NULL;
	/* More clients than the tables remember: forget all, the tables still execute once. */
	if (r->taken_count == r->sizes.clients_max)
		r->taken_count = 0;
	t = &r->taken[r->taken_count++];
	*t = (struct taken){ .client = client };
	return t;
}

/* True the first time in this leader's term: what is in its log stays there. */
static bool take_first(struct naming_replica *r, const struct naming_stamp *st)
{
	struct taken *t = taken_of(r, st->client);

	if (t == NULL)
		return true;
	if (st->seq > t->highest) {
		uint64_t by = st->seq - t->highest;

		t->mask = by >= 64 ? 0 : t->mask << by;
		t->highest = st->seq;
	} else if (t->highest - st->seq >= 64) {
		return false;
	}
	if ((t->mask >> (t->highest - st->seq) & 1) != 0)
		return false;
	t->mask |= UINT64_C(1) << (t->highest - st->seq);
	return true;
}

static void take_back(struct naming_replica *r, const struct naming_stamp *st)
{
	struct taken *t = taken_of(r, st->client);

	if (t != NULL && t->highest >= st->seq && t->highest - st->seq < 64)
		t->mask &= ~(UINT64_C(1) << (t->highest - st->seq));
}

static bool queue_grow(struct naming_replica *r)
{
	size_t cap = r->queue_cap == 0 ? 64 : 2 * r->queue_cap;
	struct buf *b = realloc(r->queue, cap * sizeof(*b));
	struct queued *q;

	if (b == NULL)
		return false;
	r->queue = b;
	q = realloc(r->queue_from, cap * sizeof(*q));
	if (q == NULL)
		return false;
	r->queue_from = q;
	r->queue_cap = cap;
	return true;
}

static void queue_add(struct naming_replica *r, node_id from, const struct naming_stamp *st,
		      const uint8_t *bytes, size_t len)
{
	struct buf *b;

	if (!replica_leading(r) || raft_transferee(&r->raft) != 0) {
		refuse(r, from, st, -EAGAIN);
		return;
	}
	if (r->pending_bytes > PENDING_BYTES_MAX || len > r->cfg.segment_bytes / 8) {
		refuse(r, from, st, -ENOSPC);
		return;
	}
	if (!take_first(r, st))
		return;
	if (r->queue_count == r->queue_cap && !queue_grow(r)) {
		take_back(r, st);
		return;
	}
	b = &r->queue[r->queue_count];
	*b = (struct buf)BUF_INIT;
	r->queue_from[r->queue_count] = (struct queued){ from, *st };
	if (buf_add(b, bytes, len) == 0)
		r->queue_count++;
	else
		take_back(r, st);
}

void replica_take(struct naming_replica *r, node_id from, const struct wire_msg *m)
{
	queue_add(r, from, &m->stamp, m->stamped, m->stamped_len);
}

static size_t batch_count(const struct naming_replica *r, size_t from)
{
	size_t bytes = 0;
	size_t n = 0;

	while (from + n < r->queue_count && n < WIRE_COMMANDS_MAX &&
	       bytes + r->queue[from + n].len <= r->cfg.segment_bytes / 4)
		bytes += r->queue[from + n++].len;
	return n;
}

void replica_queue_flush(struct naming_replica *r)
{
	struct buf b = BUF_INIT;
	size_t done = 0;

	while (done < r->queue_count && replica_leading(r)) {
		size_t n = batch_count(r, done);
		int rv;

		CHECK(n > 0);
		b.len = 0;
		if (wire_batch_pack(r->wall_ms, r->queue + done, n, &b) != 0)
			break;
		rv = replica_submit(r, RAFT_COMMAND, b.data, b.len);
		if (rv == 0 && MUTANT("naming.answer.uncommitted"))
			for (size_t i = done; i < done + n; i++)
				replica_client_applied(r, &r->queue_from[i].stamp,
						       &(struct naming_result){ 0 });
		if (rv != 0) {
			int err = rv == RAFT_NOSPACE ? -ENOSPC : -EAGAIN;

			for (size_t i = done; i < done + n; i++) {
				take_back(r, &r->queue_from[i].stamp);
				refuse(r, r->queue_from[i].from, &r->queue_from[i].stamp, err);
			}
		}
		done += n;
	}
	buf_fini(&b);
	replica_queue_drop(r);
}
