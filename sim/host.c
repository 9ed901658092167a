/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

void host_fini(struct host *h)
{
	free(h->tasks);
	memset(h, 0, sizeof(*h));
}

static uint32_t host_at(const struct host *h, gpid pid)
{
	uint32_t lo = 0, hi = h->count;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (h->tasks[mid].pid < pid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct task *host_find(struct host *h, gpid pid)
{
	uint32_t i = host_at(h, pid);

	return i < h->count && h->tasks[i].pid == pid ? &h->tasks[i] : NULL;
}

int host_make(struct host *h, gpid pid, gpid by, enum task_kind kind)
{
	struct task *parent = host_find(h, by);
	struct task t = { .pid = pid, .ppid = by, .kind = kind };
	uint32_t i = host_at(h, pid);

	if (by != 1 && (!parent || parent->kind == TASK_ZOMBIE))
		return -ESRCH;
	for (uint32_t j = 0; j < h->count; j++) {
		if (h->tasks[j].pid == pid || h->tasks[j].pgid == pid || h->tasks[j].sid == pid)
			return -EEXIST;
	}
	if (kind == TASK_STUB && parent && parent->kind == TASK_PROC)
		return -EPERM;
	t.pgid = parent ? parent->pgid : 1;
	t.sid = parent ? parent->sid : 1;
	if (h->count == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 64;
		h->tasks = realloc(h->tasks, h->cap * sizeof(*h->tasks));
		CHECK(h->tasks != NULL);
	}
	memmove(&h->tasks[i + 1], &h->tasks[i], (h->count - i) * sizeof(*h->tasks));
	h->tasks[i] = t;
	h->count++;
	return 0;
}

int host_setsid(struct host *h, gpid pid)
{
	struct task *t = host_find(h, pid);

	if (!t)
		return -ESRCH;
	if (t->pgid == pid)
		return -EPERM;
	t->sid = t->pgid = pid;
	return 0;
}

int host_setpgid(struct host *h, gpid pid, gpid pgid)
{
	struct task *t = host_find(h, pid);

	if (!t)
		return -ESRCH;
	if (t->sid == pid)
		return -EPERM;
	if (pid == pgid || t->pgid == pgid) {
		t->pgid = pgid;
		return 0;
	}
	for (uint32_t i = 0; i < h->count; i++) {
		if (h->tasks[i].pgid == pgid && h->tasks[i].sid == t->sid) {
			t->pgid = pgid;
			return 0;
		}
	}
	return -EPERM;
}

static void host_remove(struct host *h, uint32_t i)
{
	h->count--;
	memmove(&h->tasks[i], &h->tasks[i + 1], (h->count - i) * sizeof(*h->tasks));
}

void host_die(struct host *h, gpid pid, int status)
{
	struct task *t = host_find(h, pid);

	CHECK(t && t->kind != TASK_ZOMBIE);
	t->kind = TASK_ZOMBIE;
	t->status = status;
	t->locks = 0;
	t->missing = NODE_NONE;
	for (uint32_t i = 0; i < h->count; i++) {
		if (h->tasks[i].ppid == pid)
			h->tasks[i].ppid = 1;
	}
	for (uint32_t i = h->count; i-- > 0;) {
		if (h->tasks[i].ppid == 1 && h->tasks[i].kind == TASK_ZOMBIE)
			host_remove(h, i);
	}
}

int host_reap(struct host *h, gpid pid)
{
	uint32_t i = host_at(h, pid);

	if (i >= h->count || h->tasks[i].pid != pid || h->tasks[i].kind != TASK_ZOMBIE)
		return -ECHILD;
	host_remove(h, i);
	return 0;
}
