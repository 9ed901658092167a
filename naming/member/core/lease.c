/* SPDX-License-Identifier: Apache-2.0 */
#include "naming/member/core/lease.h"

#include "base/check.h"
#include "base/mutant.h"

const struct lease_conf lease_conf_default = {
	.ask_ns = 700 * NS_PER_MS,
	.freeze_ns = 10 * NS_PER_S,
	.kill_ns = 30 * NS_PER_S,
	.overlap_ns = 5 * NS_PER_S,
	.drift_ppm = 500, /* what Linux slews a clock by at most */
	.announce_ns = NS_PER_S,
};

/* ---- holder ---- */

void lease_init(struct lease_holder *h, const struct lease_conf *conf)
{
	CHECK(conf->freeze_ns < conf->kill_ns && conf->ask_ns < conf->freeze_ns);
	*h = (struct lease_holder){ .conf = conf };
}

void lease_answered(struct lease_holder *h, uint64_t sent_ns, uint64_t now_ns)
{
	uint64_t from_ns = MUTANT("lease.from_answer") ? now_ns : sent_ns;

	/* What was killed stays dead: only a new life may execute. */
	if (lease_look(h, now_ns) == LEASE_OVER || sent_ns > now_ns)
		return;
	h->from_ns = MAX(h->from_ns, from_ns); /* G2 */
}

enum lease_state lease_look(struct lease_holder *h, uint64_t now_ns)
{
	uint64_t age_ns = now_ns - h->from_ns;

	if (h->from_ns == 0)
		return LEASE_NONE;
	if (MUTANT("lease.never_killed"))
		return age_ns >= h->conf->freeze_ns ? LEASE_FREEZE : LEASE_HELD;
	if (age_ns >= h->conf->kill_ns)
		h->over = true;
	if (h->over)
		return LEASE_OVER;
	return age_ns >= h->conf->freeze_ns ? LEASE_FREEZE : LEASE_HELD;
}

uint64_t lease_due_ns(const struct lease_holder *h, uint64_t now_ns)
{
	uint64_t freeze_at_ns = h->from_ns + h->conf->freeze_ns;

	if (h->from_ns == 0 || h->over)
		return UINT64_MAX;
	return now_ns < freeze_at_ns ? freeze_at_ns : h->from_ns + h->conf->kill_ns;
}

/* ---- book ---- */

void lease_book_init(struct lease_book *b, const struct lease_conf *conf, struct lease_row *rows,
		     uint32_t cap)
{
	*b = (struct lease_book){ .conf = conf, .rows = rows, .cap = cap };
}

void lease_book_lead(struct lease_book *b, uint64_t term, uint64_t asked_ns)
{
	b->leads = true;
	b->looked_ns = asked_ns;
	if (b->term != term && !MUTANT("lease.old_book"))
		b->count = 0;
	b->term = term;
}

void lease_book_stop(struct lease_book *b)
{
	b->leads = false;
}

/* A leader that did not run for a while finds out that it was deposed later than others do. */
static bool book_leads(struct lease_book *b, uint64_t now_ns)
{
	if (now_ns - b->looked_ns > b->conf->overlap_ns / 2)
		b->leads = false;
	b->looked_ns = now_ns;
	return b->leads;
}

static struct lease_row *row_find(const struct lease_book *b, node_id node)
{
	for (uint32_t i = 0; i < b->count; i++) {
		if (b->rows[i].node == node)
			return &b->rows[i];
	}
	return NULL;
}

/* False: no row is left for it. */
static bool row_hear(struct lease_book *b, node_id node, epoch_t epoch, uint64_t at_ns)
{
	struct lease_row *row = row_find(b, node);

	if (!row && b->count == b->cap)
		return false;
	if (!row)
		row = &b->rows[b->count++];
	*row = (struct lease_row){ node, epoch, at_ns };
	return true;
}

bool lease_book_ask(struct lease_book *b, node_id node, epoch_t asked, epoch_t epoch, bool down,
		    uint64_t now_ns)
{
	if (!book_leads(b, now_ns))
		return false;
	if (asked != epoch || down)
		return false;
	return row_hear(b, node, asked, now_ns);
}

bool lease_book_over(struct lease_book *b, node_id node, epoch_t epoch, uint64_t now_ns)
{
	const struct lease_row *row = row_find(b, node);
	uint64_t kill_ns = MUTANT("lease.over_early") ? b->conf->freeze_ns : b->conf->kill_ns;
	uint64_t drift_ns = kill_ns / 1000000 * 2 * b->conf->drift_ppm;
	uint64_t wait_ns = kill_ns + drift_ns + b->conf->overlap_ns + b->conf->announce_ns;

	if (!book_leads(b, now_ns)) /* G3 */
		return false;
	if (!row || row->epoch != epoch) {
		(void)row_hear(b, node, epoch, now_ns + b->conf->overlap_ns);
		return MUTANT("lease.new_book_hasty");
	}
	return now_ns > row->heard_ns && now_ns - row->heard_ns > wait_ns;
}
