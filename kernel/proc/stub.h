/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stub.h - the stubs of this node, and how they are made to do something.
 *
 * A stub (kernel/stub/stub.h) is asked by a signal, comes with its magic call, is given a table of
 * system calls, and comes again with the results. Tables of one stub run one after the other. What
 * a stub is woken by besides (a signal of its guests, a child's end) goes to ops->signal.
 *
 * Who is a stub is told by stubs_add() only: a guest may execute the stub program too, and then its
 * magic calls are answered as if nobody listened.
 *
 * Ownership: a stub belongs to the registry, until it has died and ops->died has returned. One
 * thread, the loop's.
 */
#ifndef KERNEL_PROC_STUB_H
#define KERNEL_PROC_STUB_H

#include <signal.h>

#include "base/loop.h"
#include "kernel/host/notify.h"
#include "kernel/proc/proc.h"
#include "kernel/stub/stub.h"

struct stubs;

struct stub {
	struct list link;
	struct stubs *owner;
	gpid gpid;
	pid_t pid; /* node pid */
	int pidfd;
	bool leaving; /* it has been told to die */
	/* The owner's: */
	node_id peer;    /* where its process executes, or for whose relative it was made */
	epoch_t told_in; /* the life of `peer` that tells how it ends; 0: who keeps its record */
	bool home;       /* its process was at home here */
	gpid parent;   /* the stub that is its native parent and must reap it; 0: nobody of ours */
	bool arriving; /* it is about to become the process: its children are not its to wait for */
	int ended;     /* it has been told to die as its process did: status + 1 */
	uint64_t swallow;                /* signals that its process has already: bit n-1 */
	unsigned held_since, held_until; /* raises.c: what its process may have got, held still */
	bool heard;                      /* whoever leased its pid tells us how it ends */
	bool turning;  /* about to execute a program: gets no table but those that make it so */
	bool renewing; /* begins anew after an exec that failed: turning, too */
	struct list tables;
	struct stub_table *running;
	bool asking;            /* its magic call is being answered */
	struct init_slot *held; /* that call, while what it has told is on its way (ops->signal) */
	struct loop_child child;
};

/* A table under construction, then under way. */
struct stub_table {
	struct list link;
	struct stub_call calls[STUB_CALLS_MAX];
	unsigned n;
	uint8_t scratch[STUB_SCRATCH_LEN];
	size_t used;
	bool full;  /* too many calls or bytes: stub_table_give() refuses it */
	bool turns; /* of what makes the stub its process: one that turns takes no other */
	/* Descriptors that the stub gets before it begins; borrowed. */
	struct {
		int fd;
		unsigned at;
		bool cloexec;
		bool owned; /* closed with the table */
	} fds[64];
	unsigned nfds;
	/* @err 0: all calls were made, results in calls[].ret; -ESRCH: the stub has died. @t is
	 * freed after the call. scratch holds what the stub's scratch bytes are now. */
	void (*done)(void *arg, struct stub *s, int err, struct stub_table *t);
	/* May be NULL. The table lies in the stub, which will make its calls whoever of us dies
	 * from here on. */
	void (*given)(void *arg, struct stub *s);
	bool resumed; /* given by a predecessor */
	void *arg;
};

struct stubs_ops {
	/*
	 * True: that is all. False: the stub waits, and takes no other signal, until stubs_go_on():
	 * if we die, our successor is told of the signal again. @key tells it from others.
	 */
	bool (*signal)(void *arg, struct stub *s, int signo, const siginfo_t *si, uint64_t key);
	void (*died)(void *arg, struct stub *s);
};

must_check int stubs_new(struct stubs **out, struct loop *l, const struct proc_view *view,
			 const struct stubs_ops *ops, void *arg);
/* The notifications come from here; before any stub is added. */
void stubs_set_notify(struct stubs *st, struct notify *n);

/* A task that is one now. Errors: -ESRCH, -ENOMEM, -EMFILE. */
must_check int stubs_add(struct stubs *st, gpid pid, struct stub **out);
/* It is none any more (it has become the process): its pidfd is the caller's. */
int stubs_take(struct stub *s);
struct stub *stubs_find(struct stubs *st, gpid pid);
struct stub *stubs_find_node_pid(struct stubs *st, pid_t pid);
unsigned stubs_count(const struct stubs *st);
/* Calls @cb for each; it may not add or take. */
void stubs_each(struct stubs *st, void (*cb)(void *arg, struct stub *s), void *arg);

/* A magic call. Answers it at once, unless ops->signal says to wait. */
void stubs_magic(struct stubs *st, struct init_slot *slot);
/* What ops->signal was told is done. Nothing if nothing is held. */
void stubs_go_on(struct stub *s);

/* It waits for a signal and has no table; all that was raised in it has been told of. */
bool stub_is_idle(const struct stub *s);

/* NULL: out of memory. */
struct stub_table *stub_table_new(void);
/* Adds a call; up to six arguments. Returns its index. */
unsigned stub_table_add(struct stub_table *t, int64_t nr, const uint64_t arg[6]);
#define STUB_CALL(t, nr, ...) stub_table_add((t), (nr), (const uint64_t[6]){ __VA_ARGS__ })
/* Puts bytes where the stub will see them: their address there. */
uint64_t stub_table_bytes(struct stub_table *t, const void *bytes, size_t len);
/* Our copy of what @addr points to, after the table is done. */
const void *stub_table_at(const struct stub_table *t, uint64_t addr);

/*
 * A table of @n calls, of which the last never returns 0 (an exec), that a predecessor has given:
 * it is given once more where it was not, and its results come to @done. Takes @t.
 */
void stub_table_resume(struct stub *s, struct stub_table *t, unsigned n,
		       void (*done)(void *arg, struct stub *s, int err, struct stub_table *t),
		       void *arg);

/* Takes @t. Errors, then @t is freed and done is not called: -E2BIG, -ESRCH, -EBUSY: it turns. */
must_check int
stub_table_give(struct stub *s, struct stub_table *t,
		void (*done)(void *arg, struct stub *s, int err, struct stub_table *t), void *arg);

#endif
