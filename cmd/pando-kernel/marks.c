/* SPDX-License-Identifier: Apache-2.0 */
/*
 * marks.c - who wants its next exec to run where: by `on NODE CMD`, or because this node is busy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/pando-kernel/place.h"
#include "kernel/host/mem.h"

#define BUSY_PERCENT 90 /* of a node's capacity: above, execs look for another */

struct mark {
	struct list link;
	pid_t pid; /* node's, of the thread that asked */
	int pidfd;
	node_id node;
};

bool place_wanted(const struct world *w)
{
	return __atomic_load_n(&w->marks_count, __ATOMIC_ACQUIRE) != 0 ||
	       __atomic_load_n(&w->busy, __ATOMIC_RELAXED);
}

static void mark_free(struct world *w, struct mark *m)
{
	list_del(&m->link);
	(void)close(m->pidfd);
	free(m);
	__atomic_sub_fetch(&w->marks_count, 1, __ATOMIC_RELEASE);
}

static struct mark *mark_find(struct world *w, pid_t pid)
{
	struct mark *m, *tmp;

	list_for_each_safe (m, tmp, &w->marks, link) {
		/* Whoever ended without an exec has left its mark, and maybe its number to another.
		 */
		if (task_pidfd_pid(w->view.procfs, m->pidfd) <= 0)
			mark_free(w, m);
		else if (m->pid == pid)
			return m;
	}
	return NULL;
}

static int mark_add(struct world *w, pid_t pid, node_id node)
{
	struct mark *m = mark_find(w, pid);

	if (!m) {
		m = calloc(1, sizeof(*m));
		if (!m)
			return -ENOMEM;
		m->pidfd = task_pidfd(pid);
		if (m->pidfd < 0) {
			int r = m->pidfd;

			free(m);
			/* EINVAL: a thread that is not its process' first. */
			return r == -EINVAL ? -EOPNOTSUPP : r;
		}
		m->pid = pid;
		list_add_tail(&w->marks, &m->link);
		__atomic_add_fetch(&w->marks_count, 1, __ATOMIC_RELEASE);
	}
	m->node = node;
	return 0;
}

static int choose(struct world *w, pid_t pid, const char *name)
{
	struct mark *m = mark_find(w, pid);

	if (strcmp(name, w->node_name) == 0) {
		if (m)
			mark_free(w, m);
		return 0;
	}
	for (size_t i = 0; i < w->node_count; i++)
		if (strcmp(w->nodes[i].name, name) == 0)
			return w->nodes[i].alive ? mark_add(w, pid, w->nodes[i].id) : -EHOSTDOWN;
	return -ENOENT;
}

void place_on(struct world *w, struct init_slot *s)
{
	char name[NODE_NAME_MAX];
	pid_t pid = (pid_t)notify_call(s)->pid;
	ssize_t len = mem_read_string(pid, notify_call(s)->args[0], name, sizeof(name));
	int r;

	if (len < 0)
		r = len == -ENAMETOOLONG ? -ENOENT : -EFAULT;
	else
		r = notify_valid(w->notify, s) ? choose(w, pid, name) : -ESRCH;
	if (r < 0)
		notify_set_errno(s, r);
	else
		notify_set_value(s, 0);
	notify_answer(w->notify, s);
}

node_id marks_find(struct world *w, pid_t pid)
{
	const struct mark *m = mark_find(w, pid);

	return m ? m->node : NODE_NONE;
}

void marks_drop(struct world *w, pid_t pid)
{
	struct mark *m = mark_find(w, pid);

	if (m)
		mark_free(w, m);
}

/* Small commands stay without anybody being asked, until there is more to do than this node can. */
void place_look(struct world *w)
{
	bool busy = false, room = false;

	for (size_t i = 0; i < w->node_count; i++) {
		const struct world_node *n = &w->nodes[i];
		bool full = (uint64_t)n->load_milli * 100 >= (uint64_t)n->cpu_milli * BUSY_PERCENT;

		if (n->id == w->node)
			busy = full;
		else
			room |= n->alive && n->has_key && !full;
	}
	__atomic_store_n(&w->busy, busy && room && w->has_identity, __ATOMIC_RELAXED);
}
