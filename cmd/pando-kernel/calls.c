/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.c - what becomes of each call that the guests' filter hands to us.
 *
 * decide() runs in the receiving thread, at the same time as the loop: it reads only what stays as
 * it is after calls_open(), and postpones to the loop what needs more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/host/mem.h"
#include "kernel/kernel.h"
#include "kernel/stub/stub.h"

static enum notify_verdict decide(void *arg, struct init_slot *s, bool again)
{
	switch (notify_call(s)->nr) {
	case KERNEL_SYS_ON:
		return NOTIFY_LATER;
	case STUB_MAGIC:
		notify_set_errno(s, -ENOSYS);
		return NOTIFY_ANSWER;
	default:
		notify_set_run(s);
		return NOTIFY_ANSWER;
	}
}

static const struct world_node *find_node(const struct world *w, const char *name)
{
	for (size_t i = 0; i < w->node_count; i++)
		if (strcmp(w->nodes[i].name, name) == 0)
			return &w->nodes[i];
	return NULL;
}

/* on NODE: here is always possible. */
static void on_sys_on(struct world *w, struct init_slot *s)
{
	char name[NODE_NAME_MAX];
	const struct world_node *n;
	ssize_t len = mem_read_string((pid_t)notify_call(s)->pid, notify_call(s)->args[0], name,
				      sizeof(name));

	if (len < 0)
		notify_set_errno(s, len == -ENAMETOOLONG ? -ENOENT : -EFAULT);
	else if (strcmp(name, w->node_name) == 0)
		notify_set_value(s, 0);
	else if ((n = find_node(w, name)) == NULL)
		notify_set_errno(s, -ENOENT);
	else
		notify_set_errno(s, n->alive ? -EOPNOTSUPP : -EHOSTDOWN);
	notify_answer(w->notify, s);
}

static void postponed(void *arg, struct init_slot *s)
{
	on_sys_on(arg, s);
}

void calls_listen(struct world *w)
{
	int fd = pid1_get(w->pid1, INIT_KEY_LISTENER), r;

	if (fd == -ENOENT)
		return; /* no guest has started yet: its entry will be told */
	r = fd < 0 ? fd : notify_listen(w->notify, fd);
	if (r != 0) {
		if (fd >= 0)
			(void)close(fd);
		/* Guests would hang: a successor may have better luck. */
		log_error("cannot receive the guests' calls: %s", strerror(-r));
		exit(1);
	}
}

int calls_open(struct world *w)
{
	int fd = pid1_get(w->pid1, INIT_KEY_SLOTS), r;

	if (fd < 0)
		return fd;
	r = notify_new(&w->notify, w->loop, fd, decide, postponed, w);
	if (r != 0) {
		(void)close(fd);
		return r;
	}
	calls_listen(w);
	return 0;
}
