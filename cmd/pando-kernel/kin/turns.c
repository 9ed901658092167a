/* SPDX-License-Identifier: Apache-2.0 */
/*
 * turns.c - who arrives here by an exec or a move waits for its relatives' (exec/place_turns.c).
 */
#include "base/log.h"
#include "cmd/pando-kernel/exec/place.h"
#include "cmd/pando-kernel/move/move.h"
#include "kernel/proc/peer.pb-c.h"

#define PATIENCE_NS (10 * NS_PER_S)

static struct list waiting = LIST_INIT(waiting); /* kin_makings */

static gpid parent_of(const struct kin_making *k, gpid pid)
{
	for (size_t i = 0; i < k->n_kin; i++)
		if (k->kin[i]->pid == pid)
			return k->kin[i]->ppid;
	return 0;
}

/* One above it is being moved here: it brings the stub of this one along, or bears none any more.
 */
static bool follows_one(const struct kin_making *k)
{
	gpid pid = parent_of(k, k->pid);

	for (size_t i = 0; pid > 1 && i < k->n_kin; i++) {
		if (come_is_between(k->w, pid, NODE_NONE))
			return true;
		pid = parent_of(k, pid);
	}
	return false;
}

/*
 * One of them is just leaving from here, and what it has become elsewhere is quicker than we: it is
 * a stub in a moment, or runs on. Or one is just coming. Or its own stub begins anew after an exec
 * that failed: a signal for a table would kill it until then. That takes as long as the host is
 * busy.
 */
static bool others_are_busy(const struct kin_making *k)
{
	const struct stub *own = stubs_find(k->w->stubs, k->pid);
	bool busy = (own && own->renewing) || follows_one(k) || leave_is_between(k->w, k->pid);

	for (size_t i = 0; i < k->n_kin && !busy; i++)
		busy = place_is_busy(k->w, k->kin[i]->pid);
	return busy;
}

static void on_turn(struct loop_timer *t)
{
	struct kin_making *k = container_of(t, struct kin_making, again);

	list_del(&k->link);
	k->turn(k);
}

bool turns_await(struct kin_making *k, void (*again)(struct kin_making *k))
{
	uint64_t now_ns = loop_now_ns(k->w->loop);

	if (k->turn_until_ns == 0)
		k->turn_until_ns = now_ns + PATIENCE_NS;
	if (!others_are_busy(k) || now_ns >= k->turn_until_ns ||
	    loop_timer_set(k->w->loop, &k->again, k->turn_until_ns, on_turn) != 0)
		return false;
	k->turn = again;
	list_add_tail(&waiting, &k->link);
	return true;
}

void turns_look(struct world *w)
{
	struct kin_making *k;

	place_turns_look(w);
	/* In the next turn, for who tells us is in the middle of something. */
	list_for_each (k, &waiting, link)
		if (loop_timer_set(w->loop, &k->again, 0, on_turn) != 0)
			log_warn("the arrival of pid %d waits for longer: out of memory", k->pid);
}
