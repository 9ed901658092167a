/* SPDX-License-Identifier: Apache-2.0 */
/* share.c - see share.h. */
#include "quota/core/share.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"

/* ---- how much: parts of the limit ---- */

/* Who has less than this left asks for more; who gives, keeps twice as much. */
static uint64_t margin(uint64_t limit)
{
	return MAX(limit / 32, UINT64_C(1));
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
	return a + b < a ? QUOTA_ANY : a + b;
}

/* ---- the command ---- */

static void send(struct quota_share *s, struct quota_out *out)
{
	out->propose = true;
	out->give_all = s->give_all;
	out->serial = s->serial;
	out->like = s->like;
	out->need = s->need;
	s->resend = false;
}

static void give_all(struct quota_share *s, const struct quota_view *v, struct quota_out *out)
{
	s->claimed = s->ready = false;
	s->held = (struct quota_amounts){ { 0 } };
	if (!v->row) {
		s->state = QUOTA_NONE;
		return;
	}
	s->state = QUOTA_RETURNING;
	s->give_all = true;
	s->serial = v->serial;
	s->like = s->need = s->held;
	send(s, out);
}

/* A new world gets what is there, or half of it when others have some; a found one keeps its row.
 */
static void claim(struct quota_share *s, const struct quota_view *v, struct quota_out *out)
{
	s->state = QUOTA_CLAIMING;
	s->claimed = s->give_all = false;
	s->serial = v->serial;
	for (unsigned r = 0; r < QUOTA_RESOURCES; r++) {
		uint64_t limit = v->limit.v[r], least = v->least.v[r];

		s->need.v[r] = MAX(least, v->row ? MIN(v->need.v[r], limit)
						 : limit / (2 * (v->others + 1)));
		if (limit == QUOTA_ANY)
			s->need.v[r] = QUOTA_ANY;
		if (v->row)
			s->like.v[r] = MAX(MAX(v->lent.v[r], s->held.v[r]), least);
		else if (limit == QUOTA_ANY || v->others == 0)
			s->like.v[r] = MAX(least, v->unlent.v[r]);
		else
			s->like.v[r] = MAX(MAX(least, s->held.v[r]), v->unlent.v[r] / 2);
	}
	send(s, out);
}

/* ---- what is held ---- */

static bool same(const struct quota_amounts *a, const struct quota_amounts *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static void hold(struct quota_share *s, const struct quota_amounts *a, struct quota_out *out)
{
	if (same(a, &s->held))
		return;
	out->enforce = true;
	out->hold = *a;
}

/* S1, S2: what may be held now. */
static void follow(struct quota_share *s, const struct quota_view *v, struct quota_out *out)
{
	struct quota_amounts a = v->lent;

	if (!s->claimed || !v->row)
		return;
	for (unsigned r = 0; s->state == QUOTA_ASKING && r < QUOTA_RESOURCES; r++)
		if (!MUTANT("quota.share.unsure"))
			a.v[r] = MIN(a.v[r], s->like.v[r]);
	hold(s, &a, out);
	for (unsigned r = 0; r < QUOTA_RESOURCES; r++)
		if (v->lent.v[r] < v->least.v[r])
			return;
	s->ready = true;
}

/* ---- what to do next ---- */

struct plan {
	bool lower, ask;
	struct quota_amounts like, need;
};

/*
 * More is lent than the limit: down to this node's part, and if that was not enough, since others
 * use more than theirs, on by halves. What is used cannot be lent away, but for time: who uses it
 * has nothing of it in the next moment.
 */
static void plan_over(const struct quota_share *s, const struct quota_view *v, unsigned r,
		      struct plan *p)
{
	uint64_t part = v->limit.v[r] / (v->others + 1), lent = v->lent.v[r];
	uint64_t use = r == QUOTA_CPU ? 0 : s->use.v[r];
	uint64_t half = use + minus(lent, use) / 2;
	uint64_t to = MAX(MAX(use, lent > part ? part : half), UINT64_C(1));

	if (to < lent) {
		p->lower = true;
		p->like.v[r] = p->need.v[r] = to;
	}
}

/* There will soon be too little: more than is needed, if nobody misses it. */
static void plan_more(const struct quota_share *s, const struct quota_view *v, unsigned r,
		      struct plan *p)
{
	uint64_t limit = v->limit.v[r], lent = v->lent.v[r];
	uint64_t need = MIN(limit, plus(MAX(s->use.v[r], lent / 2), MAX(limit / 8, UINT64_C(2))));

	if (need <= lent)
		need = MIN(limit, plus(lent, margin(limit)));
	if (v->unlent.v[r] == 0 && v->need.v[r] >= need) {
		p->need.v[r] = v->need.v[r];
		return; /* said already: it comes when some comes back */
	}
	p->ask = true;
	p->need.v[r] = need;
	p->like.v[r] = plus(need, minus(v->unlent.v[r], minus(need, lent)) / (v->others + 1));
}

static void plan_resource(const struct quota_share *s, const struct quota_view *v, unsigned r,
			  struct plan *p)
{
	uint64_t limit = v->limit.v[r], lent = v->lent.v[r];
	uint64_t spare = minus(minus(lent, s->use.v[r]), margin(limit));

	if (limit == QUOTA_ANY) {
		if (lent == QUOTA_ANY)
			return;
		p->ask = true;
		p->like.v[r] = p->need.v[r] = QUOTA_ANY;
	} else if ((v->over & 1u << r) != 0) {
		plan_over(s, v, r, p);
	} else if (lent < v->least.v[r]) {
		/* No world begins with less: what was claimed is waited for. */
		p->need.v[r] = MAX(v->need.v[r], v->least.v[r]);
		p->ask = p->ask || v->need.v[r] < v->least.v[r];
	} else if (spare == 0 && lent < limit) {
		plan_more(s, v, r, p);
	} else if (v->need.v[r] > lent) {
		p->ask = true; /* not needed any more */
	} else if (v->waiting.v[r] > 0 && spare > margin(limit) && lent > v->least.v[r]) {
		/* Not all of it, nor of the least, or it would be asked for again at once. */
		p->lower = true;
		p->like.v[r] = MAX(lent - MIN(v->waiting.v[r], MAX(spare / 2, UINT64_C(1))),
				   v->least.v[r]);
		p->need.v[r] = p->like.v[r];
	}
}

static void decide(struct quota_share *s, const struct quota_view *v, struct quota_out *out)
{
	struct plan p = { .like = v->lent, .need = v->lent };

	for (unsigned r = 0; r < QUOTA_RESOURCES; r++)
		plan_resource(s, v, r, &p);
	if (!p.lower && !p.ask)
		return;
	s->like = p.like;
	s->need = p.need;
	s->serial = v->serial;
	s->give_all = false;
	if (p.lower && !MUTANT("quota.share.early")) {
		s->state = QUOTA_LOWERING;
		out->enforce = true;
		for (unsigned r = 0; r < QUOTA_RESOURCES; r++)
			out->hold.v[r] = MIN(v->lent.v[r], p.like.v[r]);
		return;
	}
	s->state = QUOTA_ASKING;
	send(s, out);
}

/* No command is under way any more, and none of ours can take effect. */
static void settle(struct quota_share *s, const struct quota_view *v, struct quota_out *out)
{
	s->resend = s->unsure = false;
	if (!s->open) {
		give_all(s, v, out);
	} else if (!s->claimed || !v->row) {
		claim(s, v, out);
	} else {
		s->state = QUOTA_HOLDING;
		follow(s, v, out);
	}
}

/* ---- events ---- */

static int on_open(struct quota_share *s, const struct quota_ev *ev, struct quota_out *out)
{
	if (s->open)
		return -EPROTO;
	s->open = true;
	s->refused = 0;
	s->held = ev->amounts;
	s->use = (struct quota_amounts){ { 0 } };
	if (s->state != QUOTA_NONE)
		return 0; /* the answer to what is under way comes first */
	claim(s, ev->view, out);
	if (MUTANT("quota.share.unclaimed") && ev->view->row) {
		s->claimed = true;
		follow(s, ev->view, out);
	}
	return 0;
}

static int on_close(struct quota_share *s, const struct quota_ev *ev, struct quota_out *out)
{
	if (!s->open)
		return -EPROTO;
	s->open = s->ready = false;
	s->held = (struct quota_amounts){ { 0 } };
	if (s->state == QUOTA_HOLDING || s->state == QUOTA_LOWERING)
		give_all(s, ev->view, out);
	return 0;
}

static int on_tick(struct quota_share *s, const struct quota_ev *ev, struct quota_out *out)
{
	s->use = ev->amounts;
	if (s->resend)
		send(s, out);
	else if ((s->state == QUOTA_NONE && s->open) ||
		 (s->state == QUOTA_HOLDING && !ev->view->row))
		claim(s, ev->view, out);
	else if (s->state == QUOTA_NONE && ev->view->row)
		give_all(s, ev->view, out); /* an earlier life's, whose world is gone */
	else if (s->state == QUOTA_HOLDING)
		decide(s, ev->view, out);
	return 0;
}

static int on_view(struct quota_share *s, const struct quota_ev *ev, struct quota_out *out)
{
	bool waiting = false;

	if (s->state != QUOTA_HOLDING && s->state != QUOTA_ASKING)
		return 0;
	follow(s, ev->view, out);
	for (unsigned r = 0; r < QUOTA_RESOURCES; r++)
		waiting = waiting || ev->view->waiting.v[r] > 0;
	/* Who waits does not wait for a tick. */
	if (s->state == QUOTA_HOLDING && s->claimed && ev->view->row && waiting && !out->enforce)
		decide(s, ev->view, out);
	return 0;
}

/* The world may not go below what it uses: then that is kept, and the rest given back. */
static int on_held(struct quota_share *s, const struct quota_ev *ev, struct quota_out *out)
{
	bool less = false, more = false;

	s->held = ev->amounts;
	if (s->state != QUOTA_LOWERING)
		return 0;
	for (unsigned r = 0; r < QUOTA_RESOURCES; r++) {
		uint64_t lent = ev->view->lent.v[r];

		if (s->like.v[r] < lent) {
			s->like.v[r] = MIN(MAX(s->like.v[r], s->held.v[r]), lent);
			less = less || s->like.v[r] < lent;
		}
		more = more || s->like.v[r] > lent;
	}
	if (!ev->view->row || (!less && !more)) {
		settle(s, ev->view, out);
		return 0;
	}
	s->serial = ev->view->serial;
	s->state = QUOTA_ASKING;
	send(s, out);
	return 0;
}

static int on_answer(struct quota_share *s, const struct quota_ev *ev, struct quota_out *out)
{
	const struct quota_view *v = ev->view;

	if (s->state != QUOTA_CLAIMING && s->state != QUOTA_ASKING && s->state != QUOTA_RETURNING)
		return -EPROTO;
	switch (ev->err) {
	case 0:
		s->claimed = s->claimed || s->state == QUOTA_CLAIMING;
		s->refused = 0;
		break;
	case -ESTALE:
		/* The row has moved on, by a command of ours that was answered to nobody; or our
		 * copy is behind, and the next answer shows it. */
		s->resend = v->serial == s->serial;
		if (s->resend)
			return 0;
		break;
	case -ENOSPC:
		/* An earlier sending of the same may still find room. */
		s->resend = s->unsure;
		if (s->resend)
			return 0;
		__attribute__((fallthrough));
	case -ENOENT:
	case -EINVAL:
		/* It had no effect. What was not lent is asked for again, with the next tick. */
		s->refused = s->state == QUOTA_CLAIMING ? ev->err : 0;
		if (s->state != QUOTA_ASKING || !v->row) {
			s->state = QUOTA_NONE;
			return 0;
		}
		break;
	default:
		s->resend = s->unsure = true;
		return 0;
	}
	settle(s, v, out);
	return 0;
}

static int (*const handlers[QUOTA_EV_COUNT])(struct quota_share *s, const struct quota_ev *ev,
					     struct quota_out *out) = {
	[QUOTA_EV_OPEN] = on_open, [QUOTA_EV_CLOSE] = on_close, [QUOTA_EV_TICK] = on_tick,
	[QUOTA_EV_VIEW] = on_view, [QUOTA_EV_HELD] = on_held,   [QUOTA_EV_ANSWER] = on_answer,
};

void quota_share_init(struct quota_share *s)
{
	memset(s, 0, sizeof(*s));
}

int quota_share_step(struct quota_share *s, const struct quota_ev *ev, struct quota_out *out)
{
	int r;

	CHECK(ev->kind > 0 && ev->kind < QUOTA_EV_COUNT && ev->view != NULL);
	memset(out, 0, sizeof(*out));
	r = handlers[ev->kind](s, ev, out);
	/* S3 */
	CHECK(!out->propose || s->state == QUOTA_CLAIMING || s->state == QUOTA_ASKING ||
	      s->state == QUOTA_RETURNING);
	return r;
}

const char *quota_state_name(enum quota_state s)
{
	static const char *const names[QUOTA_STATE_COUNT] = { "none",     "claiming", "holding",
							      "lowering", "asking",   "returning" };

	return s < QUOTA_STATE_COUNT ? names[s] : "?";
}

const char *quota_ev_name(enum quota_ev_kind k)
{
	static const char *const names[QUOTA_EV_COUNT] = { "none", "open", "close", "tick",
							   "view", "held", "answer" };

	return k < QUOTA_EV_COUNT ? names[k] : "?";
}
