/* SPDX-License-Identifier: Apache-2.0 */
/* place_refused.c - an exec that `on` asked for does not run there: who is told why. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cmd/pando-kernel/exec/place.h"
#include "cmd/pando-kernel/move/notes.h"

/* `on` itself is gone soon: its shell is asked about later. */
int place_refused(struct placing *p, int err)
{
	const char *why = p->site_is_why ? p->site_why : p->why ? p->why : strerror(-err);
	const char *node = peers_name(p->w, p->site);
	struct task_info t;

	/* Between two file systems is what execve(2) never is. */
	if (err == -EXDEV)
		err = -EOPNOTSUPP;
	log_info("pid %d cannot run on node %u: %s", p->gpid, p->site, why);
	notes_add(p->w, p->pid, "exec on %s failed with %s: %s", node, strerrorname_np(-err), why);
	if (task_read(&t, p->w->view.procfs, p->pid) == 0)
		notes_add(p->w, t.node_ppid, "child's exec on %s failed with %s: %s", node,
			  strerrorname_np(-err), why);
	return err;
}
