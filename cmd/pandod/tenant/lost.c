/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lost.c - worlds that this node has lost: their pando-init has died, and the node lives on.
 *
 * What executed there is dead, as are the records that it kept and the places of who had begun
 * there and lives elsewhere. So its blocks of pids are given up (BLOCK_LOST), as those of a node
 * that has died: nobody's home any more, and kept by an heir whom naming's leader chooses. The next
 * world here starts behind that, with pids of its own. That a world is no more is not remembered:
 * it is that the tables have blocks of it.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/pandod/pod.h"

/* What is asked of naming for one tenant. */
struct giving_up {
	struct pod *pod;
	unsigned left; /* commands without an answer */
	int err;
	member_done_fn done; /* NULL: nobody waits */
	void *arg;
};

static bool is_kept_here(const struct pod *p, const struct naming_block *b)
{
	return b->authority == naming_self(p->naming) && life_epoch(p) != 0 &&
	       b->life == life_epoch(p);
}

bool lost_has(const struct pod *p, tenant_id t)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_block *b;

	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++)
		if (b->tenant == t && is_kept_here(p, b))
			return true;
	return false;
}

static tenant_id any_lost(const struct pod *p)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_block *b;

	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++)
		if (is_kept_here(p, b) && world_find(p, b->tenant) == NULL)
			return b->tenant;
	return TENANT_NONE;
}

bool lost_is_any(const struct pod *p)
{
	return any_lost(p) != TENANT_NONE;
}

static void answered(void *arg, int err, const struct naming_result *r)
{
	struct giving_up *x = arg;

	/* One that has another keeper by now is given up. */
	if (err == 0 && r->err != -ESTALE && r->err != -ENOENT)
		err = r->err;
	x->err = err != 0 ? err : x->err;
	if (--x->left > 0)
		return;
	if (x->err != -ECANCELED)
		x->pod->losing--;
	if (x->err != -ECANCELED && x->done != NULL)
		x->done(x->arg, x->err, "the pids of its last world here are not given up");
	free(x);
}

int lost_give_up(struct pod *p, tenant_id t, member_done_fn done, void *arg)
{
	const struct naming_core *k = naming_tables(p->naming);
	struct giving_up *x = malloc(sizeof(*x));
	const struct naming_block *b;
	int r = 0;

	CHECK(x != NULL);
	/* Held by one more, for the last may be refused at once. */
	*x = (struct giving_up){ .pod = p, .left = 1, .done = done, .arg = arg };
	for (uint32_t i = 0; r == 0 && (b = naming_block_at(k, i)) != NULL; i++) {
		struct naming_cmd cmd = { .kind = NAMING_CMD_BLOCK_LOST,
					  .node = b->authority,
					  .tenant = b->tenant,
					  .number = b->number,
					  .epoch = b->epoch };

		if (b->tenant != t || !is_kept_here(p, b))
			continue;
		r = naming_propose(p->naming, &cmd, clock_mono_ns() + POD_ASK_MS * NS_PER_MS,
				   answered, x);
		x->left += r == 0;
	}
	if (x->left == 1) {
		free(x);
		return r != 0 ? r : -ENOENT;
	}
	x->err = r;
	x->left--;
	p->losing++;
	return 0;
}

void lost_look(struct pod *p)
{
	tenant_id t = p->losing == 0 && life_is_held(p) ? any_lost(p) : TENANT_NONE;

	if (t == TENANT_NONE || world_look_for(p, t) != -ENOENT)
		return;
	log_warn("a world of tenant %u is lost: its pids get another keeper", t);
	if (lost_give_up(p, t, NULL, NULL) < 0)
		log_debug("the pids of tenant %u are given up later", t);
}
