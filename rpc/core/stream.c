/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - ordered bytes with credits. Offsets are absolute, as in RFC 9000 section 4. */
#include <errno.h>

#include "base/check.h"
#include "base/mutant.h"
#include "rpc/core/core_priv.h"

static void str_free(struct rpc_str *s)
{
	list_del(&s->link);
	s->state = STR_FREE;
	s->cookie = NULL;
}

static void str_start(struct rpc_core *c, struct rpc_str *s, uint64_t id, void *cookie)
{
	bool mine = s->mine;

	*s = (struct rpc_str){ .state = STR_OPEN,
			       .mine = mine,
			       .id = id,
			       .tx_max = c->hello ? c->peer_window : 0,
			       .rx_max = c->lim.stream_window,
			       .cookie = cookie };
	list_init(&s->link);
	list_add_tail(&c->open, &s->link);
}

static struct rpc_frame *str_send(struct rpc_core *c, enum rpc_frame_kind kind,
				  const struct rpc_str *s)
{
	struct rpc_frame *f = core_send(c, kind, s->id);

	f->flags = s->mine ? RPC_FL_OPENER : 0;
	return f;
}

static void str_dead(struct rpc_core *c, struct rpc_str *s, int err)
{
	s->state = STR_DEAD;
	s->err = err;
	list_del(&s->link);
	list_add_tail(&c->dead, &s->link);
}

/* ---- local actions ---- */

int rpc_core_open(struct rpc_core *c, uint32_t method, void *body, uint32_t len, void *cookie,
		  struct rpc_str **out)
{
	struct rpc_frame *f;

	if (!c->up)
		return -ENOTCONN;
	for (unsigned i = 0; i < c->lim.streams_max; i++) {
		struct rpc_str *s = &c->mine[i];

		if (s->state != STR_FREE)
			continue;
		str_start(c, s, ++c->number << SLOT_BITS | i, cookie);
		f = str_send(c, RPC_FR_OPEN, s);
		f->method = method;
		f->body = body;
		f->len = len;
		*out = s;
		return 0;
	}
	return -EBUSY;
}

void rpc_str_set_cookie(struct rpc_str *s, void *cookie)
{
	s->cookie = cookie;
}

uint64_t rpc_str_credit(const struct rpc_str *s)
{
	uint64_t more = MUTANT("rpc.credit-overdrawn") ? 1000 : 0;

	return s->state == STR_OPEN ? s->tx_max + more - s->tx_off : 0;
}

void rpc_str_want(struct rpc_str *s)
{
	s->want = true;
}

void rpc_str_write(struct rpc_core *c, struct rpc_str *s, void *body, uint32_t len)
{
	struct rpc_frame *f;

	CHECK_INV(C3, len <= rpc_str_credit(s));
	f = str_send(c, RPC_FR_DATA, s);
	f->key = s->tx_off;
	f->body = body;
	f->len = len;
	s->tx_off += len;
	if (s->tx_off == s->tx_max)
		s->want = true;
}

/* Credit goes back a quarter of the window at a time: one frame for many small reads. */
void rpc_str_consumed(struct rpc_core *c, struct rpc_str *s, uint64_t len)
{
	if (s->state != STR_OPEN)
		return;
	s->rx_used += len;
	CHECK(s->rx_used <= s->rx_off);
	if (s->rx_used + c->lim.stream_window - s->rx_max < c->lim.stream_window / 4)
		return;
	s->rx_max = s->rx_used + c->lim.stream_window;
	if (MUTANT("rpc.credit-doubled"))
		s->rx_max += c->lim.stream_window;
	str_send(c, RPC_FR_CREDIT, s)->key = s->rx_max;
}

void rpc_str_close(struct rpc_core *c, struct rpc_str *s, int err)
{
	struct rpc_frame *f;

	CHECK(s->state != STR_FREE);
	if (s->state == STR_OPEN && c->up) {
		f = str_send(c, RPC_FR_CLOSE, s);
		f->err = err;
		f->key = s->tx_off;
	}
	str_free(s);
}

/* ---- the connection ---- */

void core_streams_end(struct rpc_core *c, int err)
{
	while (!list_empty(&c->tell))
		str_dead(c, list_front(&c->tell, struct rpc_str, link), err);
	while (!list_empty(&c->open))
		str_dead(c, list_front(&c->open, struct rpc_str, link), err);
}

/* Streams that were opened before the peer said its window. */
void core_streams_credit(struct rpc_core *c)
{
	struct rpc_str *s, *next;

	list_for_each_safe (s, next, &c->open, link) {
		s->tx_max = MAX(s->tx_max, c->peer_window);
		if (!s->want || rpc_str_credit(s) == 0)
			continue;
		list_del(&s->link);
		list_add_tail(&c->tell, &s->link);
	}
}

bool core_streams_next(struct rpc_core *c, struct rpc_fx *fx)
{
	struct rpc_str *s = list_first(&c->tell, struct rpc_str, link);

	if (s) {
		list_del(&s->link);
		list_add_tail(&c->open, &s->link);
		s->want = false;
		*fx = (struct rpc_fx){ .kind = RPC_FX_WRITABLE, .stream = s, .cookie = s->cookie };
		return true;
	}
	s = list_first(&c->dead, struct rpc_str, link);
	if (!s)
		return false;
	*fx = (struct rpc_fx){ .kind = RPC_FX_CLOSED, .cookie = s->cookie, .err = s->err };
	str_free(s);
	return true;
}

/* ---- the peer's frames ---- */

static void on_open(struct rpc_core *c, const struct rpc_frame *f)
{
	struct rpc_str *s = SLOT(f->id) < c->lim.streams_max ? &c->theirs[SLOT(f->id)] : NULL;
	struct rpc_frame *r;
	struct rpc_fx *fx;

	if (core_seen(c, f->id) != 1) {
		c->stats.duplicates++;
		return;
	}
	if (!s || s->state == STR_DEAD || (s->state == STR_OPEN && s->id > f->id)) {
		c->stats.refused++;
		r = core_send(c, RPC_FR_CLOSE, f->id);
		r->err = -EBUSY;
		return;
	}
	/* The peer uses the slot again: it has closed the old stream, and that frame was lost. */
	if (s->state == STR_OPEN) {
		fx = core_push(c, RPC_FX_CLOSED);
		fx->cookie = s->cookie;
		fx->err = -ECONNRESET;
		str_free(s);
	}
	str_start(c, s, f->id, NULL);
	fx = core_push(c, RPC_FX_OPENED);
	fx->stream = s;
	fx->frame = *f;
}

/* C4: a gap cannot be healed. Both ends are told. */
static void str_broken(struct rpc_core *c, struct rpc_str *s)
{
	struct rpc_frame *f = str_send(c, RPC_FR_CLOSE, s);

	f->err = -EIO;
	f->key = s->tx_off;
	str_dead(c, s, -EIO);
}

static int on_data(struct rpc_core *c, struct rpc_str *s, const struct rpc_frame *f)
{
	struct rpc_fx *fx;

	if (f->len == 0 || f->key + f->len < f->key || f->key + f->len > s->rx_max)
		return -EPROTO;
	if (f->key + f->len <= s->rx_off && !MUTANT("rpc.repeat-delivered")) {
		c->stats.duplicates++;
		return 0;
	}
	if (f->key != s->rx_off && !(MUTANT("rpc.repeat-delivered") && f->key < s->rx_off) &&
	    !MUTANT("rpc.gap-delivered")) {
		str_broken(c, s);
		return 0;
	}
	s->rx_off += f->len;
	fx = core_push(c, RPC_FX_DATA);
	fx->stream = s;
	fx->cookie = s->cookie;
	fx->frame = *f;
	return 0;
}

static void on_credit(struct rpc_core *c, struct rpc_str *s, const struct rpc_frame *f)
{
	struct rpc_fx *fx;

	s->tx_max = MAX(s->tx_max, f->key);
	if (!s->want || rpc_str_credit(s) == 0)
		return;
	s->want = false;
	fx = core_push(c, RPC_FX_WRITABLE);
	fx->stream = s;
	fx->cookie = s->cookie;
}

int core_stream_frame(struct rpc_core *c, const struct rpc_frame *f)
{
	struct rpc_str *table = f->flags & RPC_FL_OPENER ? c->theirs : c->mine;
	struct rpc_str *s = SLOT(f->id) < c->lim.streams_max ? &table[SLOT(f->id)] : NULL;

	if (f->kind == RPC_FR_OPEN) {
		if (!(f->flags & RPC_FL_OPENER))
			return -EPROTO;
		on_open(c, f);
		return 0;
	}
	if (!s || s->state != STR_OPEN || s->id != f->id)
		return 0; /* closed by us while this was on its way */
	if (f->kind == RPC_FR_DATA)
		return on_data(c, s, f);
	if (f->kind == RPC_FR_CREDIT)
		on_credit(c, s, f);
	else if (f->err == 0 && f->key != s->rx_off && !MUTANT("rpc.end-unchecked"))
		str_dead(c, s, -EIO); /* C4: its end was lost */
	else
		str_dead(c, s, f->err > 0 ? -EPROTO : f->err);
	return 0;
}

enum rpc_at core_stream_at(struct rpc_core *c, const struct rpc_frame *f)
{
	const struct rpc_str *table = f->flags & RPC_FL_OPENER ? c->theirs : c->mine;
	const struct rpc_str *s = SLOT(f->id) < c->lim.streams_max ? &table[SLOT(f->id)] : NULL;

	return s && s->state == STR_OPEN && (s->id == f->id || f->kind == RPC_FR_OPEN)
		       ? RPC_AT_OPEN
		       : RPC_AT_NONE;
}
