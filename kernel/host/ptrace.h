/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ptrace.h - stop the threads of a guest process and read what only a tracer sees.
 *
 * Linux ties a tracee to the *thread* that seized it: every call here must come
 * from that thread, and they block (a stop takes 50-200 us). So moves run on a
 * worker thread, never on the loop. When the thread ends, the kernel lets all
 * its tracees go: that is how a tracee that would not stop is given up.
 *
 * Needs no privilege on the host: root of the guest's user namespace is enough.
 * Pids are the tracer's (the node's); ns_tid is the same task as the tenant
 * sees it. @proc is a directory descriptor of a procfs that shows the tracer's
 * pid namespace.
 *
 * Errors, besides those named: -ESRCH the task is gone (a guest may be killed at
 * any instant: expected, never a CHECK); -EPERM it is traced by somebody else or
 * out of our reach.
 */
#ifndef KERNEL_HOST_PTRACE_H
#define KERNEL_HOST_PTRACE_H

#include <signal.h>
#include <sys/types.h>
#include <sys/user.h>

#include "base/buf.h"
#include "base/types.h"

struct tracee {
	pid_t tid;
	pid_t ns_tid; /* as the tenant sees it */
	int stop;     /* status of the last stop (waitpid), 0: running */
	int held_sig; /* a SIGSTOP that came meanwhile and is sent on at detach, or 0 */
};

struct tracee_set {
	pid_t pid;
	pid_t ns_pid;
	struct tracee *threads; /* the leader first */
	unsigned count;
	bool group_stopped; /* was stopped by job control when we came */
};

#define TRACEE_SET_INIT                                                                            \
	{                                                                                          \
		0, 0, NULL, 0, false                                                               \
	}

/*
 * Seizes and stops every thread of @pid, until there is no new one. On error all
 * that were stopped run on. Takes @timeout_ms at most.
 *
 * Errors: -EBUSY a thread did not stop in time (it waits for a vfork child, or
 * the host is stuck): end the calling thread, only that lets go of it; -ENOMEM.
 */
must_check int tracee_seize_all(struct tracee_set *set, int proc, pid_t pid, unsigned timeout_ms);

/*
 * The same, and @nudge is called for each thread once it has been told to stop:
 * one whose held notification keeps it from stopping can be answered there.
 */
typedef void (*tracee_nudge_fn)(void *arg, pid_t tid);
must_check int tracee_seize_nudged(struct tracee_set *set, int proc, pid_t pid, unsigned timeout_ms,
				   tracee_nudge_fn nudge, void *arg);

/* For a single-threaded process that this thread has seized and that is stopped (at its exec). */
must_check int tracee_adopt(struct tracee_set *set, int proc, pid_t pid, int stop);

/* Lets all threads run as they are and empties @set. Threads that died meanwhile are no error. */
void tracee_release_all(struct tracee_set *set);
/* Forgets without letting go: for tasks that exec or exit has taken. */
void tracee_set_fini(struct tracee_set *set);

/*
 * Lets a stopped tracee run to its next stop. @request: PTRACE_CONT or
 * PTRACE_SYSCALL. Signals that cannot be masked are kept in held_sig.
 * Returns the wait status, or -ECHILD: it ended (status in t->stop), or -EBUSY.
 */
must_check int tracee_run(struct tracee *t, int request, unsigned timeout_ms);

/* Waits for the next stop of a running tracee. Returns as tracee_run, and every signal too. */
must_check int tracee_wait(struct tracee *t, unsigned timeout_ms);
/* Waits for any tracee of this thread; returns its tid. */
must_check int tracee_wait_any(int *status, unsigned timeout_ms);

must_check int tracee_get_regs(const struct tracee *t, struct user_regs_struct *r);
must_check int tracee_set_regs(const struct tracee *t, const struct user_regs_struct *r);
/* The whole XSAVE area as the host gives it, into an empty buffer. */
must_check int tracee_get_xstate(const struct tracee *t, struct buf *out);
must_check int tracee_set_xstate(const struct tracee *t, const void *area, size_t len);
must_check int tracee_get_mask(const struct tracee *t, uint64_t *mask);
must_check int tracee_set_mask(const struct tracee *t, uint64_t mask);

struct tracee_rseq {
	uint64_t addr; /* 0: none registered */
	uint32_t size;
	uint32_t sig;
	uint32_t flags;
};
must_check int tracee_get_rseq(const struct tracee *t, struct tracee_rseq *out);
must_check int tracee_get_robust(const struct tracee *t, uint64_t *head, uint64_t *len);

/* Appends the pending siginfo_t, oldest first; nothing is taken off the queue. */
must_check int tracee_peek_signals(const struct tracee *t, bool shared, struct buf *out);

/* Writes into text too (copy on write), by PTRACE_POKEDATA; @len is a multiple of 8. */
must_check int tracee_poke(const struct tracee *t, uint64_t addr, const void *bytes, size_t len);

/* Memory of any process in reach: all @len bytes or an error (-EFAULT). */
must_check int tracee_read(pid_t pid, uint64_t addr, void *bytes, size_t len);
must_check int tracee_write(pid_t pid, uint64_t addr, const void *bytes, size_t len);

/* Reads "/proc/@pid/@name" whole. */
must_check int tracee_proc_read(int proc, pid_t pid, const char *name, struct buf *out);

#endif
