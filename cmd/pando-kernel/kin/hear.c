/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hear.c - how the relatives of who has arrived by an exec end: whoever leased their pids is asked
 * to tell here. Of a child that is known before its parent executes: how one ended that has ended
 * before we could hear of it is known to nobody here, so its parent does not come with it.
 */
#include <errno.h>
#include <stdlib.h>

#include "cmd/pando-kernel/world.h"
#include "kernel/proc/peer.pb-c.h"

struct hearing {
	struct world *w;
	gpid pid;
	struct kin_making *parent; /* whoever arrives waits for the answer; NULL: nobody */
};

static void parent_hears(struct kin_making *k, int err)
{
	if (err == -ESRCH) {
		k->hear_err = -EAGAIN;
		k->why = "a child of it has just ended";
	}
	if (--k->hears == 0)
		k->heard(k, k->hear_err);
}

/* -ESRCH: it had ended before we could hear of it. */
static void on_hears(void *arg, int err)
{
	struct hearing *h = arg;
	struct stub *s = stubs_find(h->w->stubs, h->pid);

	if (s && err == -ESRCH && !h->parent && !s->home && !s->turning && !s->arriving)
		(void)!remote_end_kin(h->w, s, 0);
	else if (s)
		s->heard = err == 0;
	if (h->parent)
		parent_hears(h->parent, err);
	free(h);
}

static void hear_one(struct world *w, gpid pid, node_id from, struct kin_making *parent)
{
	node_id home = home_of(w, pid);
	struct stub *s = stubs_find(w->stubs, pid);
	struct hearing *h;

	if (!s || s->home || s->heard || s->leaving || s->turning)
		return;
	s->heard = home == from;
	h = s->heard || home == NODE_NONE ? NULL : malloc(sizeof(*h));
	if (!h)
		return;
	*h = (struct hearing){ w, pid, parent };
	if (parent)
		parent->hears++;
	site_hold(w, pid, on_hears, h);
}

void kin_hear_one(struct world *w, gpid pid, node_id from)
{
	hear_one(w, pid, from, NULL);
}

void kin_hear(struct kin_making *k, void (*heard)(struct kin_making *k, int err))
{
	k->heard = heard;
	k->hear_err = 0;
	k->hears = 1; /* answers may come at once */
	for (size_t i = 0; i < k->n_kin; i++) {
		const Peer__Task *q = k->kin[i];
		struct stub *s = stubs_find(k->w->stubs, q->pid);

		if (s && q->ended && !s->home && !s->turning)
			(void)!remote_end_kin(k->w, s, q->status);
		else if (s)
			hear_one(k->w, q->pid, k->from, q->ppid == k->pid ? k : NULL);
	}
	parent_hears(k, 0);
}
