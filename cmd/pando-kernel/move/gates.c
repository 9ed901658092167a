/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gates.c - the guests' threads that stand in a gate (kernel/host/gate.h): their magic calls are
 * held until whoever moves them asks.
 *
 * The list is used by the loop's thread, which receives, and by those of moves, which wait.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "cmd/pando-kernel/world.h"

struct held {
	struct list link;
	pid_t tid;
	struct init_slot *slot; /* NULL: its next magic call is answered at once */
};

static struct gates {
	struct world *w;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct list held;
} gates = { .lock = PTHREAD_MUTEX_INITIALIZER, .held = LIST_INIT(gates.held) };

static struct held *find(pid_t tid)
{
	struct held *h;

	list_for_each (h, &gates.held, link)
		if (h->tid == tid)
			return h;
	return NULL;
}

static void release(struct init_slot *s)
{
	notify_set_errno(s, -ENOSYS);
	notify_answer(gates.w->notify, s);
}

static void forget(struct held *h)
{
	list_del(&h->link);
	free(h);
}

/* Whoever is killed while it is held leaves its slot. */
static void sweep(void)
{
	struct held *h, *tmp;

	list_for_each_safe (h, tmp, &gates.held, link) {
		if (h->slot && !notify_valid(gates.w->notify, h->slot)) {
			release(h->slot);
			forget(h);
		}
	}
}

void gates_hold(struct world *w, struct init_slot *s)
{
	pid_t tid = (pid_t)notify_call(s)->pid;
	struct held *h;

	(void)pthread_mutex_lock(&gates.lock);
	sweep();
	h = find(tid);
	if (h && !h->slot) {
		forget(h);
		h = NULL;
		release(s);
	} else if (h) {
		/* A number that is another's now: the one that had it is gone, and its call too. */
		release(h->slot);
		h->slot = s;
	} else {
		h = calloc(1, sizeof(*h));
		if (h) {
			h->tid = tid;
			h->slot = s;
			list_add_tail(&gates.held, &h->link);
		} else {
			release(s); /* it comes again at once */
		}
	}
	(void)pthread_cond_broadcast(&gates.changed);
	(void)pthread_mutex_unlock(&gates.lock);
}

static int magic_await(void *arg, pid_t tid, unsigned timeout_ms)
{
	uint64_t end_ns = clock_mono_ns() + timeout_ms * NS_PER_MS;
	struct timespec end = { .tv_sec = (time_t)(end_ns / NS_PER_S),
				.tv_nsec = (long)(end_ns % NS_PER_S) };
	struct held *h;
	int r = 0;

	(void)pthread_mutex_lock(&gates.lock);
	while (!((h = find(tid)) && h->slot) && r == 0)
		r = pthread_cond_timedwait(&gates.changed, &gates.lock, &end);
	if (h && h->slot)
		r = notify_valid(gates.w->notify, h->slot) ? 0 : ESRCH;
	(void)pthread_mutex_unlock(&gates.lock);
	return -r;
}

static int magic_addfd(void *arg, pid_t tid, int fd, int guest_fd, bool cloexec)
{
	struct held *h;
	int r = -ESRCH;

	(void)pthread_mutex_lock(&gates.lock);
	h = find(tid);
	if (h && h->slot)
		r = notify_add_fd(gates.w->notify, h->slot, fd, (unsigned)guest_fd, cloexec);
	(void)pthread_mutex_unlock(&gates.lock);
	return r;
}

static void magic_answer(void *arg, pid_t tid)
{
	struct held *h;

	(void)pthread_mutex_lock(&gates.lock);
	h = find(tid);
	if (h && h->slot) {
		release(h->slot);
		forget(h);
	} else if (!h) {
		h = calloc(1, sizeof(*h));
		if (h) {
			h->tid = tid;
			list_add_tail(&gates.held, &h->link);
		}
	}
	(void)pthread_mutex_unlock(&gates.lock);
}

int gates_open(struct world *w)
{
	static const struct gate_magic magic = { .await = magic_await,
						 .addfd = magic_addfd,
						 .answer = magic_answer };
	int fd = pid1_get(w->pid1, GATE_KEY), r;
	pthread_condattr_t attr;

	gates.w = w;
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	r = -pthread_cond_init(&gates.changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	if (r == 0)
		r = gate_slots_open(&w->gates, fd >= 0 ? fd : -1);
	if (r == 0 && fd < 0)
		r = pid1_put(w->pid1, GATE_KEY, w->gates.fd);
	if (r >= 0)
		w->gates.magic = &magic;
	return MIN(r, 0);
}
