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
#include "cmd/pando-kernel/exec/place.h"
#include "kernel/host/mem.h"
#include "kernel/sched/sched.h"

#define TRIES_MAX     4
#define PATIENCE_NS   (3 * NS_PER_S) /* with a node that is silent: it may just be restarted */
#define BUSY_PERCENT  90             /* of a node's capacity: above, execs look for another */
#define PROGRAM_MILLI 1000

struct mark {
	struct list link;
	pid_t pid; /* node's, of the thread that asked */
	int pidfd;
	node_id node;
	unsigned tries;
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
	pid1_forget(w->pid1, key);
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
	r = pid1_replace(w->pid1, key, fd);
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

/* -EAGAIN: pandod has not told which nodes there are; -EHOSTDOWN: it is silent; -ESHUTDOWN: it
 * is draining. */
static int choose(struct world *w, pid_t pid, const char *name)
{
	const struct world_node *n = NULL;

	for (size_t i = 0; i < w->node_count && n == NULL; i++)
		if (strcmp(w->nodes[i].name, name) == 0)
			n = &w->nodes[i];
	if (n && n->closed)
		return -ESHUTDOWN;
	if (strcmp(name, w->node_name) == 0)
		return mark_add(w, pid, w->node);
	if (w->node_count == 0)
		return -EAGAIN;
	if (n == NULL)
		return -ENOENT;
	return n->alive ? mark_add(w, pid, n->id) : -EHOSTDOWN;
}

/* A call that waits for the nodes: for a list of them, or that one is seen alive (again). */
struct waiting_on {
	struct list link;
	struct world *w;
	struct init_slot *slot;
	uint64_t until_ns; /* 0: for a list */
	struct loop_timer patience;
};

static void on_patience(struct loop_timer *t);

static int try_on(struct world *w, const struct init_slot *s)
{
	char name[NODE_NAME_MAX];
	pid_t pid = (pid_t)notify_call(s)->pid;
	ssize_t len = mem_read_string(pid, notify_call(s)->args[0], name, sizeof(name));

	if (len < 0)
		return len == -ENAMETOOLONG ? -ENOENT : -EFAULT;
	return notify_valid(w->notify, s) ? choose(w, pid, name) : -ESRCH;
}

static void answer_on(struct world *w, struct init_slot *s, int r)
{
	if (r < 0)
		notify_set_errno(s, r);
	else
		notify_set_value(s, 0);
	notify_answer(w->notify, s);
}

static void waiting_end(struct waiting_on *x, int r)
{
	loop_timer_clear(x->w->loop, &x->patience);
	list_del(&x->link);
	answer_on(x->w, x->slot, r);
	free(x);
}

static void waiting_look(struct waiting_on *x)
{
	int r = try_on(x->w, x->slot);

	if (r == -EHOSTDOWN && x->until_ns == 0) {
		x->until_ns = loop_now_ns(x->w->loop) + PATIENCE_NS;
		if (loop_timer_set(x->w->loop, &x->patience, x->until_ns, on_patience) != 0)
			waiting_end(x, r);
	} else if (r != -EAGAIN && r != -EHOSTDOWN) {
		waiting_end(x, r);
	}
}

static void on_patience(struct loop_timer *t)
{
	struct waiting_on *x = container_of(t, struct waiting_on, patience);

	waiting_end(x, try_on(x->w, x->slot));
}

void place_on(struct world *w, struct init_slot *s)
{
	int r = try_on(w, s);
	struct waiting_on *x = r == -EAGAIN || r == -EHOSTDOWN ? calloc(1, sizeof(*x)) : NULL;

	if (!x) {
		answer_on(w, s, r);
		return;
	}
	x->w = w;
	x->slot = s;
	list_add_tail(&w->ons, &x->link);
	waiting_look(x);
}

node_id marks_find(struct world *w, pid_t pid)
{
	const struct mark *m = mark_find(w, pid);

	return m ? m->node : NODE_NONE;
}

bool marks_try_again(struct world *w, pid_t pid)
{
	struct mark *m = mark_find(w, pid);

	return m && ++m->tries < TRIES_MAX;
}

void marks_drop(struct world *w, pid_t pid)
{
	struct mark *m = mark_find(w, pid);

	if (m)
		mark_free(w, m);
}

static bool is_full(const struct sched_node *n)
{
	return (uint64_t)n->load_milli * 100 >= (uint64_t)n->cpu_milli * BUSY_PERCENT;
}

static struct sched_node load_of(const struct world_node *n)
{
	return (struct sched_node){ .id = n->id,
				    .closed = !n->alive || n->closed || !n->has_key,
				    .cpu_milli = n->cpu_milli,
				    .load_milli = n->load_milli };
}

/* Is it worth a question? pandod knows better what runs just now. From a drained node all go. */
static bool has_room(const struct sched_node *n, const struct sched_node *own)
{
	return !n->closed && (own->closed || !is_full(n) || sched_is_better(n, own, PROGRAM_MILLI));
}

/* Small commands stay without anybody being asked, until there is more to do than this node can. */
void place_look(struct world *w)
{
	struct sched_node own = { .cpu_milli = 0 };
	struct waiting_on *x, *tmp;
	unsigned others = 0;
	bool known = false, room = false;

	for (size_t i = 0; i < w->node_count; i++)
		if (w->nodes[i].id == w->node) {
			own = load_of(&w->nodes[i]);
			own.closed = w->nodes[i].closed;
			known = true;
		}
	for (size_t i = 0; i < w->node_count; i++) {
		const struct sched_node n = load_of(&w->nodes[i]);

		if (n.id == w->node)
			continue;
		others += w->nodes[i].alive && w->nodes[i].has_key;
		room |= known && has_room(&n, &own);
	}
	__atomic_store_n(&w->others, others, __ATOMIC_RELAXED);
	__atomic_store_n(&w->busy, room && w->has_identity && (own.closed || is_full(&own)),
			 __ATOMIC_RELAXED);
	list_for_each_safe (x, tmp, &w->ons, link)
		waiting_look(x);
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
