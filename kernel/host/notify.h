/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.h - receives the guests' suspended system calls and answers each exactly once.
 *
 * A call is received *into* a slot of a memfd that pando-init keeps (kernel/tenant/init.h), so it
 * is known before we could die; a successor maps the same slots and finishes what is open:
 *
 *	(free) -> TAKEN -> DONE -> SENT -> (free)
 *	          |        |        the host has the answer
 *	          |        the answer stands in the slot: send it (again)
 *	          received: decide (again)
 *
 * N1  a slot with an id is answered exactly once: a second answer is -ENOENT and changes nothing
 * N2  what a decision does before DONE may be done twice (after our death) and must bear that
 *
 * One thread receives and calls decide() at once, on the CPU of the caller where the host offers
 * that (SYNC_WAKE_UP, Linux 6.6). What cannot be decided without the event loop is postponed to it
 * by NOTIFY_LATER and answered by notify_answer() from the loop's thread.
 */
#ifndef KERNEL_HOST_NOTIFY_H
#define KERNEL_HOST_NOTIFY_H

#include "base/loop.h"
#include "kernel/tenant/init.h"

struct notify;

/* A call, as the host tells it (struct seccomp_notif, without its header's fence). */
struct notify_call {
	uint64_t id;
	uint32_t pid; /* of the calling thread, on the node */
	uint32_t flags;
	int32_t nr;
	uint32_t arch;
	uint64_t ip;
	uint64_t args[6];
};

enum notify_verdict {
	NOTIFY_ANSWER = 1, /* the slot holds the answer: notify_set_*() */
	NOTIFY_LATER,      /* the loop decides: postponed_fn is called in the loop's thread */
};

static inline const struct notify_call *notify_call(const struct init_slot *s)
{
	return (const struct notify_call *)(const void *)s->notif;
}

/* The three answers. */
void notify_set_run(struct init_slot *s); /* the host runs the call as it stands */
void notify_set_value(struct init_slot *s, int64_t value);
void notify_set_errno(struct init_slot *s, int err); /* @err is negative */

/*
 * Called in the receiving thread; must not block. @again: a predecessor may have decided already,
 * s->step and s->note say how far it came.
 */
typedef enum notify_verdict (*notify_decide_fn)(void *arg, struct init_slot *s, bool again);

/* Called in the loop's thread for what was postponed; ends in notify_answer() sooner or later. */
typedef void (*notify_postponed_fn)(void *arg, struct init_slot *s);

struct notify_counts {
	uint64_t received;
	uint64_t answered;
	uint64_t postponed;
	uint64_t adopted; /* left open by a predecessor and finished */
	uint64_t gone;    /* the caller died, or the call was answered by a predecessor */
	uint64_t full;    /* had to wait for a free slot */
};

/*
 * Maps the slots. Takes @slots_fd. Errors: -EINVAL the memfd is too small; -ENOTSUP this host's
 * notifications are larger than a slot; -ENOMEM.
 */
must_check int notify_new(struct notify **out, struct loop *l, int slots_fd,
			  notify_decide_fn decide, notify_postponed_fn postponed, void *arg);

/*
 * Finishes what a predecessor left open, then starts the receiving thread. Takes @listener. The
 * same call replaces a listener whose guests have all died. Errors: -EBUSY the present one is
 * alive; -EAGAIN or -ENOMEM no thread.
 */
must_check int notify_listen(struct notify *n, int listener);

/* True while guests' calls are being received. */
bool notify_listening(const struct notify *n);

/* Gives the slot's answer to the host. Any thread. The slot is free afterwards. */
void notify_answer(struct notify *n, struct init_slot *s);

/* False: the caller is gone (or its pid is another's by now): do nothing more for it. Any thread.
 */
bool notify_valid(const struct notify *n, const struct init_slot *s);

/*
 * Puts a copy of @fd into the caller as number @at, in place of what is open there; then answer the
 * call. Doing it twice changes nothing (N2), which is why there is no "lowest free number" here.
 * Nor is SECCOMP_ADDFD_FLAG_SEND used, which answers in the same step: a supervisor killed inside
 * it leaves the guest with the value 0 and no descriptor (Linux 6.18). Errors: -ENOENT the caller
 * is gone; -EMFILE, -EBADF: @at is above the caller's limit.
 */
must_check int notify_add_fd(struct notify *n, struct init_slot *s, int fd, unsigned at,
			     bool cloexec);

struct notify_counts notify_counts(const struct notify *n);

/* The process exits without this; tests stop the thread by it. The listener's guests must be gone.
 */
void notify_free(struct notify *n);

#endif
