/* SPDX-License-Identifier: Apache-2.0 */
/*
 * marks.c - who wants its next exec to run where: by `on NODE CMD`, or because this node is busy.
 *
 * A mark is in the store as "mark.PID.NODE" (the node's pid; its pidfd) before the call that made
 * it returns.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
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

static void mark_key(const struct mark *m, char key[INIT_KEY_MAX])
{
	(void)snprintf(key, INIT_KEY_MAX, "mark.%d.%u", m->pid, m->node);
}

static void mark_free(struct world *w, struct mark *m)
{
	char key[INIT_KEY_MAX];

	mark_key(m, key);
	(void)pid1_drop(w->pid1, key);
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

static int mark_new(struct world *w, pid_t pid, int pidfd, node_id node)
{
	struct mark *m = calloc(1, sizeof(*m));

	if (!m) {
		(void)close(pidfd);
		return -ENOMEM;
	}
	*m = (struct mark){ .pid = pid, .pidfd = pidfd, .node = node };
	list_add_tail(&w->marks, &m->link);
	__atomic_add_fetch(&w->marks_count, 1, __ATOMIC_RELEASE);
	return 0;
}

static int mark_add(struct world *w, pid_t pid, node_id node)
{
	struct mark *m = mark_find(w, pid);
	char key[INIT_KEY_MAX];
	int fd, r;

	if (m)
		mark_free(w, m);
	fd = task_pidfd(pid);
	if (fd < 0) /* EINVAL: a thread that is not its process' first. */
		return fd == -EINVAL ? -EOPNOTSUPP : fd;
	mark_key(&(struct mark){ .pid = pid, .node = node }, key);
	(void)pid1_drop(w->pid1, key);
	r = pid1_put(w->pid1, key, fd);
	if (r < 0) {
		(void)close(fd);
		return r;
	}
	return mark_new(w, pid, fd, node);
}

void marks_stay(struct world *w, pid_t pid)
{
	if (mark_add(w, pid, w->node) != 0)
		log_debug("node pid %d is not marked to stay", pid);
}

static int choose(struct world *w, pid_t pid, const char *name)
{
	if (strcmp(name, w->node_name) == 0)
		return mark_add(w, pid, w->node);
	for (size_t i = 0; i < w->node_count; i++)
		if (strcmp(w->nodes[i].name, name) == 0)
			return w->nodes[i].alive ? mark_add(w, pid, w->nodes[i].id) : -EHOSTDOWN;
	return -ENOENT;
}

/* A call that waits until pandod has told which nodes there are. */
struct waiting_on {
	struct list link;
	struct init_slot *slot;
};

static bool wait_for_nodes(struct world *w, struct init_slot *s)
{
	struct waiting_on *x = w->node_count == 0 ? malloc(sizeof(*x)) : NULL;

	if (!x)
		return false;
	x->slot = s;
	list_add_tail(&w->ons, &x->link);
	return true;
}

static void answer_waiting(struct world *w)
{
	while (w->node_count > 0 && !list_empty(&w->ons)) {
		struct waiting_on *x = list_front(&w->ons, struct waiting_on, link);

		list_del(&x->link);
		place_on(w, x->slot);
		free(x);
	}
}

void place_on(struct world *w, struct init_slot *s)
{
	char name[NODE_NAME_MAX];
	pid_t pid = (pid_t)notify_call(s)->pid;
	ssize_t len = mem_read_string(pid, notify_call(s)->args[0], name, sizeof(name));
	int r;

	if (wait_for_nodes(w, s))
		return;
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
	answer_waiting(w);
}

static void adopt(void *arg, const char *key)
{
	struct world *w = arg;
	unsigned node;
	int pid, fd;

	if (sscanf(key, "mark.%d.%u", &pid, &node) != 2)
		return;
	fd = pid1_get(w->pid1, key);
	if (fd >= 0 && task_pidfd_pid(w->view.procfs, fd) == pid && mark_new(w, pid, fd, node) == 0)
		return;
	(void)pid1_drop(w->pid1, key);
	if (fd >= 0)
		(void)close(fd);
}

int marks_open(struct world *w)
{
	list_init(&w->marks);
	list_init(&w->ons);
	return pid1_list(w->pid1, "mark.", adopt, w);
}
