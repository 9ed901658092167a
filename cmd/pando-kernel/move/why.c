/* SPDX-License-Identifier: Apache-2.0 */
/* why.c - what forbids a move, and what it would cost (`pando why`). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cmd/pando-kernel/move/move.h"
#include "kernel/proc/proc.h"

/* The process that it traces; 0: none. */
static gpid find_traced(struct world *w, gpid pid)
{
	struct proc_list l;
	const struct proc *me;
	char text[8192];
	gpid found = 0;

	if (proc_scan(&l, &w->view) != 0)
		return 0;
	me = proc_list_find(&l, pid);
	for (size_t i = 0; me && i < l.n && found == 0; i++) {
		const struct task_info *t = &l.v[i].t;
		const char *at = NULL;

		if (t->traced &&
		    task_file(w->view.procfs, t->pid, "status", text, sizeof(text)) > 0)
			at = strstr(text, "\nTracerPid:");
		if (at && atoi(at + 11) == me->t.pid)
			found = t->gpid;
	}
	proc_list_fini(&l);
	return found;
}

void move_forbids(struct world *w, gpid pid, struct buf *reasons)
{
	gpid traced = find_traced(w, pid);

	/* Who tells its end to whom goes by its home, which does not know of it (follow.c). */
	if (site_was_sent_on(w, pid))
		(void)!buf_addf(reasons,
				"an exec has sent it here from a node that what it writes goes by, "
				"or that does not answer\n");
	if (traced != 0)
		(void)!buf_addf(reasons, "it traces process %d\n", traced);
}

struct asking {
	struct mover mover;
	struct carry carry;
	why_fn done;
	void *arg;
};

static void on_asked(struct mover *m, enum mover_job job, int result)
{
	struct asking *q = container_of(m, struct asking, mover);
	const char *reasons;

	if (result == 0)
		move_forbids(m->w, q->carry.pid, &m->cost.reasons);
	reasons = buf_str(&m->cost.reasons);
	q->done(q->arg, result, reasons ? reasons : "", m->cost.bytes, m->cost.freeze_ns);
	mover_end(m);
	free(q);
}

void move_why(struct world *w, gpid pid, why_fn done, void *arg)
{
	struct asking *q = calloc(1, sizeof(*q));
	struct task_info t = { 0 };
	int fd = proc_open(&w->view, pid, &t), r = fd < 0 ? fd : 0;

	if (fd >= 0)
		(void)close(fd);
	if (r == 0 && !q)
		r = -ENOMEM;
	if (r == 0) {
		q->done = done;
		q->arg = arg;
		q->carry = (struct carry){ .w = w, .mover = &q->mover, .pid = pid, .asking = true };
		q->mover = (struct mover){ .w = w,
					   .pid = t.pid,
					   .hooks = &carry_hooks,
					   .hooks_arg = &q->carry,
					   .done = on_asked,
					   .pipe = -1 };
		r = mover_do(&q->mover, MOVER_WHY);
	}
	if (r == 0)
		return;
	free(q);
	done(arg, r, "", 0, 0);
}
