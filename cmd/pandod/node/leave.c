/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leave.c - this node leaves the machine.
 *
 *	joined  --asked, and nothing executes here: NODE_LEAVE--> leaving
 *	leaving --no world, no block of pids, no vote: NODE_LEFT--> left: pandod ends, and its guard
 *
 * Who asks is told how the first try ends. What has begun, which is what the row says, goes on by
 * itself until it is done: over a majority of the voters that is away, and over deaths of pandod.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/pandod/pod.h"

enum { AGAIN_MS = 1000, LOST_MS = 10000 };

struct leave {
	struct pod *pod;
	struct loop_timer round; /* a try begins; never inside what naming tells */
	bool trying;
	bool waits;          /* for the pids of lost worlds to be given up */
	member_done_fn done; /* NULL: nobody waits for the try */
	void *arg;
	char why[160]; /* of the last try; "": none has failed */
};

static const struct naming_node *own_row(const struct pod *p)
{
	return naming_node_find(naming_tables(p->naming), naming_self(p->naming));
}

static bool has_begun(const struct pod *p)
{
	const struct naming_node *n = own_row(p);

	return n != NULL && n->state == NAMING_NODE_LEAVING;
}

bool leave_goes_on(const struct pod *p)
{
	return p->leave->trying || has_begun(p);
}

const char *leave_why(const struct pod *p)
{
	return p->leave->why;
}

/* ---- one try ---- */
static void try_begin(struct loop_timer *t);

static void try_again(struct leave *l, uint64_t in_ms)
{
	CHECK(loop_timer_set(l->pod->loop, &l->round, clock_mono_ns() + in_ms * NS_PER_MS,
			     try_begin) == 0);
}

/* Over for good. No member would tell our data so: who starts the node again reads it there. */
static void gone(struct pod *p)
{
	char path[PATH_MAX + 16];
	int r;

	p->left = true;
	(void)snprintf(path, sizeof(path), "%s/left", p->data);
	r = file_put(path, "");
	if (r < 0)
		log_warn("cannot write %s: %s", path, strerror(-r));
	loop_stop(p->loop);
}

static void try_end(struct leave *l, int err, const char *why)
{
	member_done_fn done = l->done;
	char text[sizeof(l->why) + 64];
	bool on = err != 0 && err != -ECANCELED && has_begun(l->pod);

	l->trying = false;
	l->done = NULL;
	(void)snprintf(l->why, sizeof(l->why), "%s", why);
	(void)snprintf(text, sizeof(text), "%s%s", why,
		       on ? "; it has begun, and goes on by itself" : "");
	if (err == 0)
		gone(l->pod);
	if (on)
		try_again(l, AGAIN_MS);
	if (done != NULL)
		done(l->arg, err, text);
}

static void left(void *arg, int err, const struct naming_result *r)
{
	struct leave *l = arg;

	if (err == 0)
		err = r->err;
	try_end(l, err,
		err == 0            ? ""
		: err == -EBUSY     ? "it keeps the pids of tenants, or owns a volume"
		: err != -ETIMEDOUT ? "the machine's tables refuse it"
		: has_begun(l->pod) ? "no other node can take its vote yet"
				    : "no leader answered");
}

static void released(void *arg, int err, const struct naming_result *r)
{
	(void)arg;
	(void)r;
	/* A block that stays leased makes the leave fail with a reason. */
	if (err != 0 && err != -ECANCELED)
		log_warn("a pid block was not given away: %s", strerror(-err));
}

/*
 * Pids that were leased here are nobody's: there is no world here that has a task of one. Those of
 * a node that has died may live anywhere: another one keeps them. If there is none that could, and
 * they may live, the leave fails.
 */
static int give_blocks(struct pod *p)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_block *b;
	int r = 0;

	for (uint32_t i = 0; r == 0 && (b = naming_block_at(k, i)) != NULL; i++) {
		bool born_here = b->home == naming_self(p->naming) && naming_block_homed(k, b);
		node_id heir = NODE_NONE;

		if (b->authority != naming_self(p->naming))
			continue;
		if (!born_here)
			heir = life_heir(k, b);
		if (born_here || heir != NODE_NONE || !life_runs_somewhere(k, b->tenant))
			r = life_give_block(p, b, heir, released, NULL);
	}
	return r;
}

static void cleared(void *arg, int err, const char *why)
{
	struct leave *l = arg;
	struct pod *p = l->pod;
	const struct world *w;

	list_for_each (w, &p->worlds, link) {
		if (err != 0 || w->state == WORLD_ENDED)
			continue;
		err = -EBUSY;
		why = "tenants have worlds here, and the node is not drained";
	}
	if (err == 0) {
		err = give_blocks(p);
		why = "the machine's tables cannot be asked";
	}
	/* Commands of one node take effect in their order: the blocks are gone before this. */
	if (err == 0)
		err = naming_leave(p->naming, clock_mono_ns() + POD_ASK_MS * NS_PER_MS, left, l);
	if (err < 0)
		try_end(l, err, why);
}

static void current(void *arg, int err, const struct naming_result *r)
{
	struct leave *l = arg;

	(void)r;
	if (err == 0)
		drain_clear(l->pod, cleared, l);
	else
		try_end(l, err, "no leader answered");
}

/* Another node may have been told that this one is drained, and our tables say so a moment later.
 */
static void try_begin(struct loop_timer *t)
{
	struct leave *l = container_of(t, struct leave, round);
	int r;

	if (l->trying)
		return;
	/* Else they would be taken for those of a world that ends now, in which nobody asked for
	 * more (give_blocks()). The tables tell when they are. */
	if (lost_is_any(l->pod) && !l->waits) {
		l->waits = true;
		try_again(l, LOST_MS);
		return;
	}
	l->waits = false;
	if (lost_is_any(l->pod)) {
		try_end(l, -EBUSY, "the pids of a world that was lost here are still kept");
		return;
	}
	l->trying = true;
	r = naming_barrier(l->pod->naming, clock_mono_ns() + POD_ASK_MS * NS_PER_MS, current, l);
	if (r < 0)
		try_end(l, r, "the machine's tables cannot be asked");
}

/* ---- what begins one ---- */
static bool others_stay(const struct pod *p)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_node *n;

	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++)
		if (n->id != naming_self(p->naming) && n->state == NAMING_NODE_JOINED)
			return true;
	return false;
}

void leave_ask(struct pod *p, member_done_fn done, void *arg)
{
	struct leave *l = p->leave;

	if (own_row(p) == NULL) {
		done(arg, -ENOTCONN, "this node is no member, or has not heard from one yet");
	} else if (l->done != NULL) {
		done(arg, -EALREADY, "it is leaving already");
	} else if (!has_begun(p) && !others_stay(p)) {
		done(arg, -EBUSY, "it is the machine's only node");
	} else {
		l->done = done;
		l->arg = arg;
		try_again(l, 0);
	}
}

void leave_tables(struct pod *p)
{
	const struct naming_node *n = own_row(p);

	if (!p->leave->trying && (p->leave->waits ? !lost_is_any(p) : has_begun(p)))
		try_again(p->leave, 0);
	/* It was told while nobody asked: by the try of an earlier pandod. */
	if (n != NULL && n->state == NAMING_NODE_LEFT && !p->leave->trying)
		gone(p);
}

int leave_init(struct pod *p)
{
	p->leave = calloc(1, sizeof(*p->leave));
	if (p->leave == NULL)
		return -ENOMEM;
	p->leave->pod = p;
	return 0;
}

void leave_fini(struct pod *p)
{
	if (p->leave == NULL)
		return;
	loop_timer_clear(p->loop, &p->leave->round);
	free(p->leave);
	p->leave = NULL;
}
