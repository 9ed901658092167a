/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place_here.c - execs that run here without a doubt, however much there is to do.
 *
 * What is ours: the zygote is one by its first exec, and nobody knows it before: a full node would
 * send it away. So would it a stub that begins anew. And a search along PATH, of which each step
 * would go to another node to find nothing; our commands' directory is the first step of all, and
 * in memory, where the host remembers no name that is not there.
 */
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>

#include "cmd/pando-kernel/exec/place.h"
#include "kernel/host/mem.h"
#include "kernel/host/task.h"

#define OURS "/opt/pando/" /* TENANT_STUB and our commands */

bool place_is_of_here(const struct world *w, struct init_slot *s)
{
	const struct notify_call *n = notify_call(s);
	char path[PATH_MAX];

	if (n->nr != SYS_execve ||
	    mem_read_string((pid_t)n->pid, n->args[0], path, sizeof(path)) < 0)
		return false;
	return strncmp(path, OURS, strlen(OURS)) == 0 ||
	       task_lacks(w->view.procfs, (pid_t)n->pid, path);
}
