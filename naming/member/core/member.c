/* SPDX-License-Identifier: Apache-2.0 */
#include "naming/member/core/member.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"

#define SLOW_MAX 8

/* ---- the table ---- */

static struct member *find(struct member_table *t, node_id id)
{
	unsigned lo = 0, hi = t->count;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (t->m[mid].news.id == id)
			return &t->m[mid];
		if (t->m[mid].news.id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

const struct member *member_find(const struct member_table *t, node_id id)
{
	return find((struct member_table *)t, id);
}

static unsigned log2_up(unsigned n)
{
	unsigned bits = 0;

	while (n > 0) {
		n >>= 1;
		bits++;
	}
	return bits;
}

/* How often a change is told: enough to reach everybody with near certainty (SWIM, section 4.1). */
static unsigned tell_times(const struct member_table *t)
{
	return 3 * log2_up(t->count) + 1;
}

static void changed(struct member_table *t, struct member *m, struct member_out *out)
{
	m->tell = tell_times(t);
	if (out && out->change_count < MEMBER_CHANGES_MAX)
		out->change[out->change_count++] = m->news.id;
}

int member_add(struct member_table *t, node_id id, epoch_t epoch)
{
	struct member *m = find(t, id);
	unsigned i;

	if (m) {
		if (epoch > m->news.epoch) {
			m->news = (struct member_news){ .id = id,
							.epoch = epoch,
							.state = MEMBER_ALIVE };
			changed(t, m, NULL);
		}
		return 0;
	}
	if (t->count == t->cap)
		return -ENOSPC;
	for (i = t->count; i > 0 && t->m[i - 1].news.id > id; i--)
		t->m[i] = t->m[i - 1];
	t->m[i] = (struct member){ .news = { .id = id, .epoch = epoch, .state = MEMBER_ALIVE } };
	t->count++;
	return 0;
}

void member_remove(struct member_table *t, node_id id)
{
	struct member *m = find(t, id);

	if (!m || id == t->self)
		return;
	if (t->probed == id)
		t->probed = NODE_NONE;
	t->count--;
	memmove(m, m + 1, (size_t)(&t->m[t->count] - m) * sizeof(*m));
}

void member_init(struct member_table *t, const struct member_cfg *cfg, struct member *storage,
		 unsigned cap, node_id self, epoch_t epoch, uint64_t seed, uint64_t now_ns)
{
	CHECK(cap > 0 && cfg->timeout_ns > 0 && cfg->timeout_ns < cfg->period_ns);
	*t = (struct member_table){ .cfg = *cfg, .m = storage, .cap = cap, .self = self };
	rand_seed(&t->rnd, seed ^ self);
	CHECK(member_add(t, self, epoch) == 0);
	/* Nodes that start together do not probe together. */
	t->next_probe_ns = now_ns + rand_below(&t->rnd, cfg->period_ns);
	t->due_ns = t->next_probe_ns;
}

void member_set_load(struct member_table *t, const struct member_load *load)
{
	struct member *self = find(t, t->self);
	uint64_t seq = self->news.load.seq;

	self->news.load = *load;
	self->news.load.seq = seq + 1;
}

/* ---- news ---- */

/* SWIM, section 4.2: which of two statements about a member of one epoch counts. */
static bool overrides(const struct member_news *a, const struct member_news *b)
{
	if (a->epoch != b->epoch)
		return a->epoch > b->epoch;
	if (a->state == MEMBER_FAILED)
		return b->state != MEMBER_FAILED &&
		       (a->incarnation >= b->incarnation || MUTANT("member.old-news-believed"));
	if (a->incarnation != b->incarnation)
		return a->incarnation > b->incarnation || MUTANT("member.older-believed");
	if (MUTANT("member.failed-lives-again") && b->state == MEMBER_FAILED)
		return a->state == MEMBER_ALIVE;
	return a->state == MEMBER_SUSPECT && b->state == MEMBER_ALIVE;
}

static void slower(struct member_table *t)
{
	t->slow = MIN(t->slow + 1, (unsigned)SLOW_MAX);
}

/* Somebody doubts us: say that we live, with an incarnation that overrides it (section 4.2). */
static void refute(struct member_table *t, struct member *self, const struct member_news *n)
{
	if (n->epoch != self->news.epoch || n->state == MEMBER_ALIVE ||
	    n->incarnation < self->news.incarnation)
		return;
	self->news.incarnation = n->incarnation + !MUTANT("member.refuted-as-before");
	self->tell = tell_times(t);
	slower(t);
}

static void hear(struct member_table *t, const struct member_news *n, uint64_t now_ns,
		 struct member_out *out)
{
	struct member *m = find(t, n->id);

	if (!m)
		return; /* not (yet, or no longer) a node of the machine, naming says */
	if (m->news.id == t->self) {
		if (!MUTANT("member.no-refutation"))
			refute(t, m, n);
		return;
	}
	if (n->epoch >= m->news.epoch && n->load.seq > m->news.load.seq) {
		m->news.load = n->load;
		m->load_ns = now_ns;
	}
	if (!overrides(n, &m->news))
		return;
	if (n->state == MEMBER_SUSPECT && m->news.state != MEMBER_SUSPECT)
		m->suspected_ns = now_ns;
	m->news.epoch = n->epoch;
	if (!MUTANT("member.incarnation-unkept"))
		m->news.incarnation = n->incarnation;
	if (m->news.state != n->state) {
		m->news.state = n->state;
		changed(t, m, out);
	} else {
		m->tell = tell_times(t);
	}
}

/* Ours, then what is newest, then loads in turn. A member that we doubt must hear it from us. */
static void add_news(struct member_table *t, struct member_msg *msg, node_id to)
{
	struct member *self = find(t, t->self), *about = find(t, to);

	msg->news[msg->news_count++] = self->news;
	if (self->tell > 0)
		self->tell--;
	if (about && about->news.state != MEMBER_ALIVE)
		msg->news[msg->news_count++] = about->news;
	while (msg->news_count < MEMBER_NEWS_MAX) {
		struct member *best = NULL;

		for (unsigned i = 0; i < t->count; i++) {
			struct member *m = &t->m[i];
			bool in = false;

			for (unsigned k = 0; k < msg->news_count; k++)
				in |= msg->news[k].id == m->news.id;
			if (!in && m->tell > 0 && (!best || m->tell > best->tell))
				best = m;
		}
		if (!best)
			break;
		best->tell--;
		msg->news[msg->news_count++] = best->news;
	}
	for (unsigned i = 0; i < t->count && msg->news_count < MEMBER_NEWS_MAX; i++) {
		const struct member *m = &t->m[t->told++ % t->count];
		bool in = m->news.load.seq == 0;

		for (unsigned k = 0; k < msg->news_count; k++)
			in |= msg->news[k].id == m->news.id;
		if (!in)
			msg->news[msg->news_count++] = m->news;
	}
}

static void send(struct member_table *t, struct member_out *out, node_id to, enum member_kind kind,
		 uint32_t seq, node_id target)
{
	struct member_msg *msg;

	if (out->send_count == MEMBER_SENDS_MAX)
		return; /* as if the network had lost it */
	out->send[out->send_count].to = to;
	msg = &out->send[out->send_count++].msg;
	*msg = (struct member_msg){ .kind = kind, .seq = seq, .target = target };
	add_news(t, msg, to);
}

/* ---- probes ---- */

/*
 * In turn, so that everybody is probed within one round (SWIM, section 4.3); each
 * node's round begins at another place, so that not all probe the same one.
 */
static struct member *next_to_probe(struct member_table *t)
{
	for (unsigned i = 0; i < t->count; i++) {
		struct member *m;

		if (t->turn == 0)
			t->turn = 1 + (unsigned)rand_below(&t->rnd, t->count);
		m = &t->m[t->turn++ % t->count];
		if (m->news.id == t->self)
			continue;
		/* One that failed is tried now and then: so the halves of a healed partition meet.
		 */
		if (m->news.state == MEMBER_FAILED && !rand_chance(&t->rnd, 1, 4))
			continue;
		return m;
	}
	return NULL;
}

static void start_probe(struct member_table *t, uint64_t now_ns, struct member_out *out)
{
	struct member *m = next_to_probe(t);

	t->next_probe_ns = now_ns + t->cfg.period_ns * (1 + t->slow);
	if (!m)
		return;
	t->probed = m->news.id;
	t->probe_seq = ++t->seq;
	t->probe_ns = now_ns;
	t->helpers_asked = false;
	send(t, out, m->news.id, MEMBER_PING, t->probe_seq, NODE_NONE);
}

static void ask_helpers(struct member_table *t, struct member_out *out)
{
	unsigned start = (unsigned)rand_below(&t->rnd, t->count), asked = 0;

	t->helpers_asked = true;
	for (unsigned i = 0; i < t->count && asked < MEMBER_HELPERS; i++) {
		const struct member *m = &t->m[(start + i) % t->count];

		if (m->news.id == t->self || m->news.id == t->probed ||
		    m->news.state != MEMBER_ALIVE)
			continue;
		send(t, out, m->news.id, MEMBER_PING_REQ, t->probe_seq, t->probed);
		asked++;
	}
	/* And once more directly: the first PING may just have been lost. */
	send(t, out, t->probed, MEMBER_PING, t->probe_seq, NODE_NONE);
}

static void probe_failed(struct member_table *t, uint64_t now_ns, struct member_out *out)
{
	struct member *m = find(t, t->probed);

	t->probed = NODE_NONE;
	slower(t);
	if (!m || m->news.state != MEMBER_ALIVE)
		return;
	m->news.state = MUTANT("member.silent-is-failed") ? MEMBER_FAILED : MEMBER_SUSPECT;
	m->suspected_ns = now_ns;
	changed(t, m, out);
}

static uint64_t suspicion_ns(const struct member_table *t)
{
	if (MUTANT("member.no-suspicion"))
		return 0;
	return t->cfg.period_ns * t->cfg.suspicion_periods * log2_up(t->count) * (1 + t->slow);
}

static void fail_suspects(struct member_table *t, uint64_t now_ns, struct member_out *out)
{
	uint64_t limit = suspicion_ns(t);

	for (unsigned i = 0; i < t->count; i++) {
		struct member *m = &t->m[i];

		if (m->news.state != MEMBER_SUSPECT || now_ns - m->suspected_ns < limit)
			continue;
		m->news.state = MEMBER_FAILED;
		changed(t, m, out);
	}
}

static void tick(struct member_table *t, uint64_t now_ns, struct member_out *out)
{
	/* Called much too late: it is we who are slow. What seems unanswered may lie in our queue.
	 */
	if (now_ns > t->due_ns + t->cfg.period_ns / 2 && !MUTANT("member.late-timers-blame")) {
		slower(t);
		if (t->probed != NODE_NONE) {
			t->probe_ns = now_ns;
			t->next_probe_ns = now_ns + t->cfg.period_ns * (1 + t->slow);
		}
		for (unsigned i = 0; i < t->count && !MUTANT("member.late-suspicion-counts"); i++)
			t->m[i].suspected_ns = now_ns;
	}
	if (t->probed != NODE_NONE && !t->helpers_asked &&
	    now_ns - t->probe_ns >= t->cfg.timeout_ns * (1 + t->slow))
		ask_helpers(t, out);
	fail_suspects(t, now_ns, out);
	if (now_ns < t->next_probe_ns)
		return;
	if (t->probed != NODE_NONE)
		probe_failed(t, now_ns, out);
	start_probe(t, now_ns, out);
}

static void on_ack(struct member_table *t, const struct member_msg *msg, node_id from,
		   struct member_out *out)
{
	node_id who = msg->target != NODE_NONE ? msg->target : from;

	if (t->probed == who && msg->seq == t->probe_seq) {
		t->probed = NODE_NONE;
		if (t->slow > 0)
			t->slow--;
		return;
	}
	for (unsigned i = 0; i < ARRAY_LEN(t->relay); i++) {
		struct member_relay *r = &t->relay[i];

		if (r->asked_by == NODE_NONE || r->seq != msg->seq || r->target != from)
			continue;
		send(t, out, r->asked_by, MEMBER_ACK, r->seq_theirs, r->target);
		r->asked_by = NODE_NONE;
	}
}

static int on_msg(struct member_table *t, const struct member_ev *ev, struct member_out *out)
{
	const struct member_msg *msg = ev->msg;
	struct member_relay *r;

	if (!find(t, ev->from) || ev->from == t->self || msg->news_count > MEMBER_NEWS_MAX)
		return -EPROTO;
	for (unsigned i = 0; i < msg->news_count; i++)
		if (msg->news[i].state < MEMBER_ALIVE || msg->news[i].state > MEMBER_FAILED)
			return -EPROTO;
	switch (msg->kind) {
	case MEMBER_PING:
	case MEMBER_ACK:
	case MEMBER_PING_REQ:
		break;
	default:
		return -EPROTO;
	}
	for (unsigned i = 0; i < msg->news_count; i++)
		hear(t, &msg->news[i], ev->now_ns, out);
	if (msg->kind == MEMBER_PING) {
		send(t, out, ev->from, MEMBER_ACK, msg->seq, NODE_NONE);
	} else if (msg->kind == MEMBER_ACK) {
		on_ack(t, msg, ev->from, out);
	} else if (find(t, msg->target) && msg->target != t->self) {
		r = &t->relay[t->relay_next++ % ARRAY_LEN(t->relay)];
		*r = (struct member_relay){ .asked_by = ev->from,
					    .target = msg->target,
					    .seq_theirs = msg->seq,
					    .seq = ++t->seq };
		send(t, out, msg->target, MEMBER_PING, r->seq, NODE_NONE);
	}
	return 0;
}

static uint64_t next_due(const struct member_table *t)
{
	uint64_t due = t->next_probe_ns;

	if (t->probed != NODE_NONE && !t->helpers_asked)
		due = MIN(due, t->probe_ns + t->cfg.timeout_ns * (1 + t->slow));
	return due;
}

int member_step(struct member_table *t, const struct member_ev *ev, struct member_out *out)
{
	int r = 0;

	out->send_count = 0;
	out->change_count = 0;
	switch (ev->kind) {
	case MEMBER_EV_TICK:
		tick(t, ev->now_ns, out);
		break;
	case MEMBER_EV_MSG:
		r = on_msg(t, ev, out);
		break;
	}
	t->due_ns = next_due(t);
	out->due_ns = t->due_ns;
	CHECK_INV(S1, find(t, t->self)->news.state == MEMBER_ALIVE);
	return r;
}
