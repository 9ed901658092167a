/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place_turns.c - an exec that leaves and a move of its caller's parent, one after the other.
 *
 * Both say what the child is to the parent, each to another node, and neither would say what the
 * other makes of it. So who begins later waits: a move until the execs of its children are decided
 * (leave.c), an exec until its parent is here, or has left. At the site of the exec it is the same
 * (kin/turns.c). An exec waits for no longer than a caller may be held, and a move that waits has
 * begun to nobody: neither waits for the other. Whose turn is over calls turns_look().
 */
#include "base/log.h"
#include "cmd/pando-kernel/exec/place.h"

#define PATIENCE_NS (10 * NS_PER_S)

static gpid parent_of(const struct world *w, pid_t pid)
{
	struct task_info t, parent;

	return task_read(&t, w->view.procfs, pid) == 0 &&
			       task_read(&parent, w->view.procfs, t.node_ppid) == 0
		       ? parent.gpid
		       : 0;
}

bool place_of_child(const struct world *w, gpid parent)
{
	const struct placing *p;

	/* One that is not known yet by its pid has not begun, and waits. */
	list_for_each (p, &w->placings, link)
		if (p->gpid != 0 && parent_of(w, p->pid) == parent)
			return true;
	return false;
}

static void on_turn(struct loop_timer *t)
{
	struct placing *p = container_of(t, struct placing, again);

	p->awaits = false;
	p->turn(p);
}

bool place_awaits_parent(struct placing *p, void (*again)(struct placing *p))
{
	uint64_t now_ns = loop_now_ns(p->w->loop);
	gpid parent = move_is_any() ? parent_of(p->w, p->pid) : 0;

	if (p->turn_until_ns == 0)
		p->turn_until_ns = now_ns + PATIENCE_NS;
	if (parent <= 1 || !move_is_between(p->w, parent, p->site) || now_ns >= p->turn_until_ns)
		return false;
	p->turn = again;
	p->awaits = loop_timer_set(p->w->loop, &p->again, p->turn_until_ns, on_turn) == 0;
	return p->awaits;
}

void place_turns_look(struct world *w)
{
	struct placing *p;

	/* In the next turn, for who tells us is in the middle of something. */
	list_for_each (p, &w->placings, link)
		if (p->awaits && loop_timer_set(w->loop, &p->again, 0, on_turn) != 0)
			log_warn("an exec of pid %d waits for longer: out of memory", p->gpid);
}
