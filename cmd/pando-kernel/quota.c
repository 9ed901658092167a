/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota.c - what the tenant may use, as its guests feel it before the control group does.
 *
 * A program whose memory runs out should be told ENOMEM by malloc, and not be killed. The host's
 * one means for that is RLIMIT_DATA: what a process has of its own, plus what is left of the
 * tenant's memory on all nodes. It is set when a session starts and put right about once a second,
 * while what is left changes. Several processes that grow at once within that second may together
 * exceed what was left; then the control group is the backstop.
 *
 * The limit counts pages, so its low bits are free to say that it is ours. Whoever sets another
 * one, by `ulimit -d`, keeps it (the hard limit is never lowered); "unlimited" is none.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/kernel.h"
#include "kernel/kernel.pb-c.h"

#define PAGE     UINT64_C(4096)
#define MARK     UINT64_C(0x9a0)     /* below a page */
#define LEAST    (UINT64_C(8) << 20) /* enough for a shell that frees some */
#define REPEAT_S 5

static uint64_t left_of(const struct world_quota *q)
{
	/* Page tables, and what is mapped of files, are charged to the group as well. */
	uint64_t kept = q->memory_left_bytes / 8 + q->memory_bytes / 16;

	return q->memory_left_bytes > kept ? q->memory_left_bytes - kept : 0;
}

uint64_t quota_data_max(const struct world *w, uint64_t own_bytes)
{
	if (w->quota.memory_bytes == 0)
		return 0;
	return (MAX(own_bytes + left_of(&w->quota), LEAST) & ~(PAGE - 1)) | MARK;
}

static bool is_ours(uint64_t limit)
{
	return limit == RLIM_INFINITY || (limit & (PAGE - 1)) == MARK;
}

/* The sixth number of statm: data and stack. */
static uint64_t own_bytes(const struct world *w, pid_t pid)
{
	char text[128], *p = text;
	uint64_t pages = 0;

	if (task_file(w->view.procfs, pid, "statm", text, sizeof(text)) <= 0)
		return 0;
	for (int i = 0; i < 6; i++)
		pages = strtoull(p, &p, 10);
	return pages * PAGE;
}

static void limit_one(const struct world *w, pid_t pid)
{
	struct rlimit l;

	if (prlimit(pid, RLIMIT_DATA, NULL, &l) < 0 || !is_ours(l.rlim_cur))
		return;
	l.rlim_cur = quota_data_max(w, own_bytes(w, pid));
	if (l.rlim_cur == 0 || l.rlim_cur > l.rlim_max)
		l.rlim_cur = l.rlim_max;
	if (prlimit(pid, RLIMIT_DATA, &l, NULL) < 0 && errno != ESRCH)
		log_debug("cannot limit the data of %d: %d", (int)pid, errno);
}

static void limit_all(struct world *w)
{
	struct proc_list all = { 0 };

	if (proc_scan(&all, &w->view) == 0)
		for (size_t i = 0; i < all.n; i++)
			limit_one(w, all.v[i].t.pid);
	proc_list_fini(&all);
}

/* Worth the pass over all processes: what is left is another amount, or some may have come by. */
static bool is_due(const struct world_quota *q, uint64_t now)
{
	uint64_t left = left_of(q), diff = left > q->set_left_bytes ? left - q->set_left_bytes
								    : q->set_left_bytes - left;

	if (q->memory_bytes != q->set_bytes)
		return true;
	return q->memory_bytes != 0 &&
	       (diff > q->memory_bytes / 64 || now - q->set_ns > REPEAT_S * NS_PER_S);
}

static void on_quota(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	struct world_quota *q = &w->quota;
	Kernel__Quota *x = kernel__quota__unpack(NULL, m->len, m->body);
	uint64_t now = clock_mono_ns();

	(void)c;
	answers_reply(call, x ? 0 : -EPROTO, NULL);
	if (!x)
		return;
	q->cpu_milli = x->cpu_milli;
	q->memory_bytes = x->memory_bytes;
	q->memory_used_bytes = x->memory_used_bytes;
	q->memory_left_bytes = x->memory_left_bytes;
	kernel__quota__free_unpacked(x, NULL);
	machine_look(w);
	if (!is_due(q, now))
		return;
	q->set_bytes = q->memory_bytes;
	q->set_left_bytes = left_of(q);
	q->set_ns = now;
	limit_all(w);
}

void quota_moved(struct world *w, uint64_t bytes)
{
	Kernel__Moved m = KERNEL__MOVED__INIT;
	uint8_t body[16];
	struct rpc_msg msg = { .method = KERNEL_MOVED, .body = body };

	m.bytes = bytes;
	msg.len = kernel__moved__pack(&m, body);
	/* pandod may be away: then this one is not counted. */
	if (w->pod != NULL && rpc_send(w->pod, &msg) < 0)
		log_debug("a move was not told");
}

void quota_serve(struct world *w)
{
	rpc_serve(w->pod_rpc, KERNEL_QUOTA, on_quota, w);
}
