/* SPDX-License-Identifier: Apache-2.0 */
/* core.c - the channel, and the requests that we send over it. */
#include "rpc/core/core.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"
#include "rpc/core/core_priv.h"

/* ---- storage ---- */

static size_t part(size_t n, size_t each)
{
	return ALIGN_UP(n * each, (size_t)16);
}

size_t rpc_core_size(const struct rpc_core_limits *l)
{
	return part(1, sizeof(struct rpc_core)) + part(l->calls_max, sizeof(struct rpc_out)) +
	       part(l->calls_max, sizeof(struct rpc_in)) +
	       2 * part(l->streams_max, sizeof(struct rpc_str));
}

static void lists_init(struct rpc_core *c)
{
	struct list *all[] = { &c->out_free, &c->waiting, &c->resend, &c->sent, &c->done,
			       &c->in_free,  &c->serving, &c->open,   &c->tell, &c->dead };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		list_init(all[i]);
	for (unsigned i = 0; i < c->lim.calls_max; i++) {
		list_add_tail(&c->out_free, &c->outs[i].link);
		list_add_tail(&c->in_free, &c->ins[i].link);
		list_init(&c->ins[i].chain);
		c->ins[i].home = c;
	}
	for (unsigned i = 0; i < c->lim.streams_max; i++) {
		list_init(&c->mine[i].link);
		list_init(&c->theirs[i].link);
		c->mine[i].mine = true;
	}
}

struct rpc_core *rpc_core_init(void *mem, const struct rpc_core_limits *l, struct rpc_scope *scope,
			       uint64_t life, uint64_t seed, void *user)
{
	struct rpc_core *c = mem;
	char *at = (char *)mem + part(1, sizeof(*c));

	CHECK(l->calls_max > 0 && l->calls_max <= 65536 && l->streams_max <= 65536 && life != 0);
	memset(mem, 0, rpc_core_size(l));
	c->lim = *l;
	c->scope = scope;
	c->life = life;
	c->user = user;
	rand_seed(&c->rnd, seed);
	c->session = rand_next(&c->rnd) | 1;
	c->due_ns = UINT64_MAX;
	c->outs = (struct rpc_out *)at;
	at += part(l->calls_max, sizeof(struct rpc_out));
	c->ins = (struct rpc_in *)at;
	at += part(l->calls_max, sizeof(struct rpc_in));
	c->mine = (struct rpc_str *)at;
	at += part(l->streams_max, sizeof(struct rpc_str));
	c->theirs = (struct rpc_str *)at;
	lists_init(c);
	return c;
}

void rpc_core_set_scope(struct rpc_core *c, struct rpc_scope *scope)
{
	c->scope = scope;
}

void *rpc_core_user(const struct rpc_core *c)
{
	return c->user;
}

bool rpc_core_is_up(const struct rpc_core *c)
{
	return c->up;
}

void rpc_core_get_stats(const struct rpc_core *c, struct rpc_core_stats *out)
{
	*out = c->stats;
}

/* ---- effects ---- */

struct rpc_fx *core_push(struct rpc_core *c, enum rpc_fx_kind kind)
{
	struct rpc_fx *fx;

	CHECK(c->ring_len < RING); /* the caller does not take the effects */
	fx = &c->ring[(c->ring_head + c->ring_len++) % RING];
	*fx = (struct rpc_fx){ .kind = kind };
	return fx;
}

struct rpc_frame *core_send(struct rpc_core *c, enum rpc_frame_kind kind, uint64_t id)
{
	struct rpc_frame *f = &core_push(c, RPC_FX_SEND)->frame;

	f->kind = (uint8_t)kind;
	f->id = id;
	return f;
}

void core_due(struct rpc_core *c, uint64_t at_ns)
{
	if (at_ns != 0 && at_ns < c->due_ns)
		c->due_ns = at_ns;
}

uint64_t rpc_core_due_ns(const struct rpc_core *c)
{
	return c->due_ns;
}

/* ---- backoff ---- */

uint64_t rpc_backoff_ns(unsigned attempt, uint64_t first_ns, uint64_t max_ns, struct rand *rnd)
{
	uint64_t d = attempt < 32 ? first_ns << attempt : max_ns;

	d = MAX(MIN(d, max_ns), (uint64_t)2);
	return d / 2 + rand_below(rnd, d / 2 + 1);
}

/* ---- our requests ---- */

static uint64_t next_id(struct rpc_core *c, unsigned slot)
{
	return ++c->number << SLOT_BITS | slot;
}

static void out_move(struct rpc_core *c, struct rpc_out *o, enum out_state state, struct list *to)
{
	list_del(&o->link);
	o->state = state;
	list_add_tail(to, &o->link);
}

static void out_done(struct rpc_core *c, struct rpc_out *o, int err, bool tell)
{
	o->err = err;
	o->tell = tell && c->up;
	out_move(c, o, OUT_DONE, &c->done);
}

/* C2: a slot is freed only here, where its one completion is made. */
static void out_finish(struct rpc_core *c, struct rpc_out *o, struct rpc_fx *fx)
{
	CHECK_INV(C2, o->state != OUT_FREE);
	fx->kind = RPC_FX_DONE;
	fx->cookie = o->ask.cookie;
	fx->release = o->ask.body;
	out_move(c, o, OUT_FREE, &c->out_free);
}

static uint32_t ttl_us(uint64_t deadline_ns, uint64_t now_ns)
{
	uint64_t us;

	if (deadline_ns == 0)
		return 0;
	us = deadline_ns > now_ns ? (deadline_ns - now_ns) / NS_PER_US : 0;
	return (uint32_t)MIN(MAX(us, (uint64_t)1), (uint64_t)UINT32_MAX);
}

static void out_fill(struct rpc_core *c, struct rpc_out *o, struct rpc_frame *f)
{
	*f = (struct rpc_frame){ .kind = RPC_FR_REQUEST,
				 .id = o->id,
				 .key = o->ask.key,
				 .method = o->ask.method,
				 .ttl_us = ttl_us(o->ask.deadline_ns, c->now_ns),
				 .body = o->ask.body,
				 .len = o->ask.len };
	if (o->first_sent_ns == 0)
		o->first_sent_ns = MAX(c->now_ns, (uint64_t)1);
	o->retry_ns = 0;
	if (o->ask.key != 0 && c->lim.resend_ns != 0) {
		o->retry_ns = c->now_ns + rpc_backoff_ns(o->attempt++, c->lim.resend_ns,
							 c->lim.resend_ns * 64, &c->rnd);
		core_due(c, o->retry_ns);
	}
	out_move(c, o, OUT_SENT, &c->sent);
}

/*
 * C1: what has a key goes out only when we know whose life it goes to: else we could not tell,
 * after the connection has broken, whether the next life is the one that may have executed it.
 */
static bool out_may_go(const struct rpc_core *c, const struct rpc_out *o)
{
	return c->up && (c->hello || o->ask.key == 0 ||
			 (MUTANT("rpc.sent-to-strangers") && o->first_sent_ns == 0));
}

int rpc_core_request(struct rpc_core *c, const struct rpc_ask *a, uint64_t now_ns, uint64_t *id)
{
	struct rpc_out *o = list_first(&c->out_free, struct rpc_out, link);

	if (!o)
		return -EBUSY;
	c->now_ns = now_ns;
	o->id = next_id(c, (unsigned)(o - c->outs));
	o->handle = o->id;
	o->ask = *a;
	o->first_sent_ns = o->retry_ns = 0;
	o->attempt = 0;
	o->err = 0;
	core_due(c, a->deadline_ns);
	if (id)
		*id = o->id;
	if (out_may_go(c, o))
		out_fill(c, o, &core_push(c, RPC_FX_SEND)->frame);
	else
		out_move(c, o, OUT_WAITING, &c->waiting);
	return 0;
}

static struct rpc_out *out_find(struct rpc_core *c, uint64_t id)
{
	struct rpc_out *o = SLOT(id) < c->lim.calls_max ? &c->outs[SLOT(id)] : NULL;

	return o && o->state != OUT_FREE && o->state != OUT_DONE && o->id == id ? o : NULL;
}

void rpc_core_cancel(struct rpc_core *c, uint64_t id)
{
	struct rpc_out *o = SLOT(id) < c->lim.calls_max ? &c->outs[SLOT(id)] : NULL;

	if (!o || o->handle != id || o->state == OUT_FREE || o->state == OUT_DONE)
		return;
	if (MUTANT("rpc.cancel-silent"))
		out_move(c, o, OUT_FREE, &c->out_free);
	else
		out_done(c, o, -ECANCELED, o->state == OUT_SENT);
}

static void on_reply(struct rpc_core *c, const struct rpc_frame *f)
{
	struct rpc_out *o = out_find(c, f->id);
	uint64_t key;
	struct rpc_fx *fx;

	if (!o || o->first_sent_ns == 0) {
		c->stats.late++;
		return;
	}
	key = o->ask.key;
	fx = core_push(c, RPC_FX_DONE);
	out_finish(c, o, fx);
	fx->err = f->err;
	fx->frame = *f;
	if (key != 0)
		core_send(c, RPC_FR_ACK, 0)->key = key;
}

/* Not executed. "Busy" is asked again later, under a new id: the peer has seen this one. */
static void on_refused(struct rpc_core *c, const struct rpc_frame *f)
{
	struct rpc_out *o = out_find(c, f->id);

	if (!o || o->first_sent_ns == 0) {
		c->stats.late++;
		return;
	}
	if (f->err != -EBUSY || o->ask.key == 0) {
		out_done(c, o, f->err, false);
		return;
	}
	o->id = next_id(c, SLOT(o->id));
	o->first_sent_ns = 0;
	o->retry_ns = c->now_ns +
		      rpc_backoff_ns(o->attempt++, c->lim.retry_ns, c->lim.retry_ns * 64, &c->rnd);
	core_due(c, o->retry_ns);
	out_move(c, o, OUT_WAITING, &c->waiting);
}

/* ---- the connection ---- */

/* What may go out now does. */
static void wake_waiting(struct rpc_core *c)
{
	struct rpc_out *o, *next;

	list_for_each_safe (o, next, &c->waiting, link) {
		uint64_t give_up_ns = o->first_sent_ns + c->lim.keep_ns / 2;

		if (o->first_sent_ns != 0 && c->now_ns >= give_up_ns)
			out_done(c, o, -ECONNRESET, false);
		else if (out_may_go(c, o) && o->retry_ns <= c->now_ns)
			out_move(c, o, OUT_RESEND, &c->resend);
		else if (o->first_sent_ns != 0)
			core_due(c, give_up_ns);
	}
}

/* On a network that loses frames it is repeated, with @flags, until the peer's has come. */
static void send_hello(struct rpc_core *c, uint8_t flags)
{
	struct rpc_frame *f = core_send(c, RPC_FR_HELLO, c->session);

	f->flags = flags;
	f->key = c->life;
	f->method = c->lim.stream_window;
	if (c->lim.resend_ns != 0)
		core_due(c, c->now_ns + c->lim.resend_ns);
}

void rpc_core_up(struct rpc_core *c, uint64_t now_ns)
{
	CHECK(!c->up);
	c->now_ns = now_ns;
	c->up = true;
	c->hello = false;
	send_hello(c, 0);
	wake_waiting(c);
}

void rpc_core_down(struct rpc_core *c, uint64_t now_ns)
{
	struct rpc_out *o, *next;

	c->now_ns = now_ns;
	if (!c->up)
		return;
	c->up = c->hello = false;
	while (!list_empty(&c->resend))
		out_move(c, list_front(&c->resend, struct rpc_out, link), OUT_WAITING, &c->waiting);
	list_for_each_safe (o, next, &c->sent, link) {
		o->retry_ns = 0;
		if (o->ask.key != 0)
			out_move(c, o, OUT_WAITING, &c->waiting);
		else if (!MUTANT("rpc.down-forgets"))
			out_done(c, o, -ECONNRESET, false);
	}
	wake_waiting(c);
	core_serve_down(c);
	core_streams_end(c, -ECONNRESET);
}

void rpc_core_fini(struct rpc_core *c, uint64_t now_ns)
{
	rpc_core_down(c, now_ns);
	while (!list_empty(&c->waiting))
		out_done(c, list_front(&c->waiting, struct rpc_out, link), -ECONNRESET, false);
}

static int on_hello(struct rpc_core *c, const struct rpc_frame *f)
{
	struct rpc_out *o, *next;

	if (f->id == 0 || f->key == 0)
		return -EPROTO;
	if ((f->flags & RPC_FL_AGAIN) && c->lim.resend_ns != 0)
		send_hello(c, 0);
	if (c->hello)
		return f->id == c->peer_session && f->key == c->peer_life ? 0 : -EPROTO;
	if (c->peer_session != f->id) {
		c->seen_high = 0;
		memset(c->seen, 0, sizeof(c->seen));
	}
	/* C1: the life that may have executed them is over, and its kept replies with it. */
	if (c->peer_life != 0 && c->peer_life != f->key && !MUTANT("rpc.life-ignored")) {
		list_for_each_safe (o, next, &c->waiting, link) {
			if (o->first_sent_ns != 0)
				out_done(c, o, -ECONNRESET, false);
		}
	}
	c->hello = true;
	c->peer_session = f->id;
	c->peer_life = f->key;
	c->peer_window = f->method;
	wake_waiting(c);
	core_streams_credit(c);
	return 0;
}

static void tick_one(struct rpc_core *c, struct rpc_out *o)
{
	uint64_t now = c->now_ns;

	if (o->ask.deadline_ns != 0 && o->ask.deadline_ns <= now)
		out_done(c, o, -ETIMEDOUT, o->state == OUT_SENT);
	else if (o->state == OUT_SENT && o->retry_ns != 0 && o->retry_ns <= now)
		out_move(c, o, OUT_WAITING, &c->waiting);
	if (o->state == OUT_DONE)
		return;
	core_due(c, o->ask.deadline_ns);
	if (o->retry_ns > now)
		core_due(c, o->retry_ns);
}

void rpc_core_tick(struct rpc_core *c, uint64_t now_ns)
{
	struct rpc_out *o, *next;

	c->now_ns = now_ns;
	if (now_ns < c->due_ns)
		return;
	c->due_ns = UINT64_MAX;
	list_for_each_safe (o, next, &c->waiting, link)
		tick_one(c, o);
	list_for_each_safe (o, next, &c->sent, link)
		tick_one(c, o);
	if (c->up && !c->hello && c->lim.resend_ns != 0)
		send_hello(c, RPC_FL_AGAIN);
	wake_waiting(c);
}

int rpc_core_oneway(struct rpc_core *c, uint32_t method, void *body, uint32_t len)
{
	struct rpc_frame *f;

	if (!c->up)
		return -ENOTCONN;
	f = core_send(c, RPC_FR_ONEWAY, next_id(c, 0));
	f->method = method;
	f->body = body;
	f->len = len;
	return 0;
}

/* A sliding window of numbers, RFC 6479. */
int core_seen(struct rpc_core *c, uint64_t id)
{
	uint64_t n = NUMBER(id), bit;

	if (n + WINDOW <= c->seen_high)
		return -1;
	if (n > c->seen_high) {
		if (n - c->seen_high >= WINDOW)
			memset(c->seen, 0, sizeof(c->seen));
		else
			for (uint64_t i = c->seen_high + 1; i <= n; i++)
				c->seen[i % WINDOW / 64] &= ~(UINT64_C(1) << i % 64);
		c->seen_high = n;
	}
	bit = UINT64_C(1) << n % 64;
	if (c->seen[n % WINDOW / 64] & bit)
		return 0;
	c->seen[n % WINDOW / 64] |= bit;
	return 1;
}

static void on_oneway(struct rpc_core *c, const struct rpc_frame *f)
{
	if (core_seen(c, f->id) == 1)
		core_push(c, RPC_FX_ONEWAY)->frame = *f;
	else
		c->stats.duplicates++;
}

int rpc_core_frame(struct rpc_core *c, const struct rpc_frame *f, uint64_t now_ns)
{
	c->now_ns = now_ns;
	if (!c->up)
		return -EPROTO;
	if (f->kind == RPC_FR_HELLO)
		return on_hello(c, f);
	if (!c->hello)
		return c->lim.resend_ns != 0 ? 0 : -EPROTO; /* a network that loses: wait for it */
	if (f->kind != RPC_FR_ACK && NUMBER(f->id) == 0)
		return -EPROTO;
	switch (f->kind) {
	case RPC_FR_REQUEST:
		core_serve_request(c, f, now_ns);
		return 0;
	case RPC_FR_REPLY:
		on_reply(c, f);
		return 0;
	case RPC_FR_REFUSED:
		if (f->err >= 0)
			return -EPROTO;
		on_refused(c, f);
		return 0;
	case RPC_FR_CANCEL:
		core_serve_cancel(c, f->id);
		return 0;
	case RPC_FR_ACK:
		core_serve_ack(c, f->key);
		return 0;
	case RPC_FR_ONEWAY:
		on_oneway(c, f);
		return 0;
	case RPC_FR_OPEN:
	case RPC_FR_DATA:
	case RPC_FR_CREDIT:
	case RPC_FR_CLOSE:
		return core_stream_frame(c, f);
	default:
		return -EPROTO;
	}
}

enum rpc_at rpc_core_at(struct rpc_core *c, const struct rpc_frame *f)
{
	const struct rpc_out *o;

	switch (f->kind) {
	case RPC_FR_HELLO:
		return c->hello ? RPC_AT_OPEN : RPC_AT_NONE;
	case RPC_FR_REPLY:
	case RPC_FR_REFUSED:
		o = out_find(c, f->id);
		return !o ? RPC_AT_NONE : o->state == OUT_SENT ? RPC_AT_SENT : RPC_AT_WAITING;
	case RPC_FR_REQUEST:
	case RPC_FR_CANCEL:
	case RPC_FR_ACK:
		return core_serve_at(c, f);
	case RPC_FR_ONEWAY:
		return RPC_AT_NONE;
	default:
		return core_stream_at(c, f);
	}
}

/* ---- taking the effects ---- */

static bool ring_take(struct rpc_core *c, struct rpc_fx *fx)
{
	if (c->ring_len == 0)
		return false;
	*fx = c->ring[c->ring_head];
	c->ring_head = (c->ring_head + 1) % RING;
	c->ring_len--;
	return true;
}

static bool resend_take(struct rpc_core *c, struct rpc_fx *fx)
{
	struct rpc_out *o = list_first(&c->resend, struct rpc_out, link);

	if (!o)
		return false;
	*fx = (struct rpc_fx){ .kind = RPC_FX_SEND };
	if (o->first_sent_ns != 0)
		c->stats.resent++;
	out_fill(c, o, &fx->frame);
	return true;
}

static bool done_take(struct rpc_core *c, struct rpc_fx *fx)
{
	struct rpc_out *o = list_first(&c->done, struct rpc_out, link);

	if (!o)
		return false;
	*fx = (struct rpc_fx){ .kind = RPC_FX_SEND };
	if (o->tell) {
		o->tell = false;
		fx->frame.kind = RPC_FR_CANCEL;
		fx->frame.id = o->id;
		return true;
	}
	fx->err = o->err;
	out_finish(c, o, fx);
	return true;
}

bool rpc_core_next_send(struct rpc_core *c, struct rpc_fx *fx)
{
	enum rpc_fx_kind kind = c->ring_len > 0 ? c->ring[c->ring_head].kind : RPC_FX_NONE;

	if (kind == RPC_FX_SEND || kind == RPC_FX_RELEASE)
		return ring_take(c, fx);
	return kind == RPC_FX_NONE && resend_take(c, fx);
}

bool rpc_core_next(struct rpc_core *c, struct rpc_fx *fx)
{
	return ring_take(c, fx) || resend_take(c, fx) || done_take(c, fx) ||
	       core_streams_next(c, fx);
}
