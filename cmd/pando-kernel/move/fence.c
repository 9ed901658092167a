/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fence.c - a new authority asks what executes here (migrate/core/authority.h).
 *
 * The term is kept before anything else is done: from then on no older authority is believed, by
 * us or by a successor (A4). Then the moves of its pids are told whom to ask, and last it is said
 * how we stand to each pid: who is asked again says it again.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/move/move.h"
#include "migrate/core/authority.h"

#define BLOCK_PIDS 4096

struct stands {
	gpid first;
	uint32_t n, max;
	bool failed;
	struct mig_stand *v;
};

uint64_t fence_of(const struct world *w, gpid pid)
{
	return pid > 0 && pid / BLOCK_PIDS < KEPT_BLOCKS
		       ? atomic_load(&w->kept->fences[pid / BLOCK_PIDS])
		       : 0;
}

static bool is_of(const struct stands *s, gpid pid)
{
	return pid >= s->first && pid - s->first < BLOCK_PIDS;
}

static void add(void *arg, const struct mig_stand *st)
{
	struct stands *s = arg;

	if (st->stance == MIG_FREE || !is_of(s, st->pid))
		return;
	if (s->n == s->max) {
		uint32_t max = s->max ? 2 * s->max : 64;
		struct mig_stand *v = realloc(s->v, max * sizeof(*v));

		if (!v) {
			s->failed = true;
			return;
		}
		s->v = v;
		s->max = max;
	}
	s->v[s->n++] = *st;
}

/*
 * What no move has. One that is executing a program elsewhere may execute there already: who has
 * it there says so, and is believed rather than we (FROZEN).
 */
static void add_tasks(struct world *w, struct stands *s)
{
	struct proc_list l;

	if (proc_scan(&l, &w->view) != 0) {
		s->failed = true;
		return;
	}
	for (size_t i = 0; i < l.n; i++) {
		gpid pid = l.v[i].t.gpid;
		bool leaving = place_is_busy(w, pid);
		struct mig_stand st = { .pid = pid,
					.stance = leaving ? MIG_FROZEN : MIG_RUNS,
					.peer = leaving ? w->node : NODE_NONE };

		if (is_of(s, pid) && !stubs_find(w->stubs, pid) && !move_is_busy(w, pid))
			add(s, &st);
	}
	proc_list_fini(&l);
}

void fence_message(struct world *w, const struct mig_msg *m)
{
	struct stands s = { .first = m->pid };
	struct mig_msg stand = { .kind = MIG_STAND, .pid = m->pid, .aterm = m->aterm };

	/* Epochs carry the term in their upper half. */
	if (m->pid % BLOCK_PIDS != 0 || m->pid / BLOCK_PIDS >= KEPT_BLOCKS || m->aterm == 0 ||
	    m->aterm > UINT32_MAX || m->aterm < fence_of(w, m->pid))
		return;
	atomic_store(&w->kept->fences[m->pid / BLOCK_PIDS], m->aterm);
	FAULT("kernel.fence.kept");
	authority_fenced(w, m);
	leaves_fenced(w);
	comes_fenced(w);
	leaves_stand(add, &s);
	comes_stand(add, &s);
	add_tasks(w, &s);
	stand.stands = s.v;
	stand.stand_count = s.n;
	if (s.failed)
		log_warn("cannot say what executes here: out of memory"); /* asked again */
	else
		move_send(w, m->from, &stand);
	free(s.v);
}
