/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - system calls made by a guest's thread on the guest kernel's behalf,
 * so that the tracer may die at any instant and nothing is lost.
 *
 * A gate is eleven bytes of code in the guest:
 *
 *	    syscall
 *	 L: mov $STUB_MAGIC, %eax
 *	    syscall
 *	    jmp L
 *
 * They lie in the unused end of the guest's own vdso (a private copy of that one
 * page), so no call is needed to put them there. A parked thread stands in front
 * of the magic call with all signals masked. Whatever happens to the tracer, the
 * thread can only run into the magic call, which the guests' filter gives to the
 * guest kernel: there a successor finds it, and what it was before in a slot.
 *
 *   G1  a slot is complete before its thread's registers change
 *   G2  a parked thread leaves only by gate_unpark(), an injected exec, or death
 *   G3  no single step and no breakpoint: their SIGTRAP would kill after us
 *
 * So a process of which every thread is parked cannot run on when its tracer
 * dies: a gate is also the lock under which a move is committed.
 *
 * While a thread is parked, calls that the filter routes to the guest kernel
 * are notified as always. Those that are made in its gate (gate_makes_call())
 * are answered with CONTINUE, and the loop's thread holds its magic call until
 * somebody asks for it (struct gate_magic).
 *
 * One thread uses a gate: the one that seized the task (ptrace.h).
 */
#ifndef KERNEL_HOST_GATE_H
#define KERNEL_HOST_GATE_H

#include "kernel/host/ptrace.h"
#include "kernel/stub/stub.h"

/* What a successor has to know. Fixed layout, in a memfd that the store keeps (GATE_KEY). */
struct gate_slot {
	_Atomic int32_t tid; /* the node's; 0: free. Written last when a slot is filled */
	int32_t pid;         /* thread group */
	int32_t ns_tid;
	int32_t reserved;
	_Atomic uint32_t role;
	uint32_t generation; /* of the move; the same in all slots of a process */
	uint64_t gate;       /* address of the gate */
	uint64_t area;       /* mapped for a table, to unmap; 0: none */
	uint64_t area_len;
	uint64_t mask;        /* signal mask to give back */
	uint64_t start_ticks; /* field 22 of its stat: the task is still the one that was parked */
	struct user_regs_struct regs; /* to give back */
};

/* What the parked thread is there for, and so what a successor does with it. */
enum gate_role {
	GATE_CALL = 1, /* a few calls: give back registers and mask */
	GATE_MOVE,     /* frozen for a move; ask the authority: give back, or make it the stub */
	GATE_BUILD,    /* half built at the target, never ran: make it the stub again */
	GATE_READY, /* built, not yet committed; ask the authority: give registers, or the stub */
	GATE_PLACE, /* its exec is under way elsewhere: whoever placed it knows (cmd/pando-kernel)
		     */
};

#define GATE_KEY   "gates" /* of the store */
#define GATE_SLOTS 4096

struct gate_memory {
	_Atomic uint32_t high; /* slots from here on are free */
	struct gate_slot slot[GATE_SLOTS];
};

/*
 * What the thread that receives notifications does for one that moves. With it
 * a table runs at full speed; without it (no filter) each of its calls is made
 * by gate_call. Called in the thread that moves.
 */
struct gate_magic {
	/* Waits until the magic call of @tid is received and held. -ETIMEDOUT, -ESRCH. */
	int (*await)(void *arg, pid_t tid, unsigned timeout_ms);
	/* SECCOMP_IOCTL_NOTIF_ADDFD with SETFD on the held one. */
	int (*addfd)(void *arg, pid_t tid, int fd, int guest_fd, bool cloexec);
	/* Answers the held one with -ENOSYS, or else the next one as soon as it is received. */
	void (*answer)(void *arg, pid_t tid);
	void *arg;
};

struct gate_slots {
	struct gate_memory *mem;        /* the shared memory */
	int fd;                         /* the memfd; keep it in the store */
	const struct gate_magic *magic; /* NULL: there is no filter */
};

/* Maps the slots of @fd, or makes them when @fd is -1. Takes @fd. Errors: -ENOMEM, -EINVAL. */
must_check int gate_slots_open(struct gate_slots *s, int fd);
void gate_slots_close(struct gate_slots *s);

/* NULL: this task is in no gate. Else it may have left it when a tracer died. Any thread. */
struct gate_slot *gate_slot_find(const struct gate_slots *s, pid_t tid);
/* A call behind which the task goes on at @ip is made in its gate, for us. Any thread. */
bool gate_makes_call(const struct gate_slots *s, pid_t tid, uint64_t ip);
/* It is blocked in a call of its own: it was let out of its gate by a tracer that has died since.
 */
bool gate_is_left(const struct gate_slot *slot, int proc);

struct gate {
	struct tracee *t;
	pid_t pid;
	struct gate_slots *slots;
	struct gate_slot *slot;
	int proc;
	pid_t born; /* task made by the last clone3, stopped and traced; 0: none */
};

/*
 * Parks the stopped @t of process @pid, whose registers and mask the slot keeps.
 * Errors: -ENOSPC no free slot; -ENOEXEC it has no vdso with room for a gate.
 */
must_check int gate_park(struct gate *g, struct gate_slots *slots, int proc, pid_t pid,
			 struct tracee *t, enum gate_role role);

/* Like gate_park, for a thread that clone3 just bore in a gate: its slot's registers are 0. */
must_check int gate_park_born(struct gate *g, struct gate_slots *slots, int proc, pid_t pid,
			      struct tracee *t, enum gate_role role, uint64_t gate);

/*
 * Gives mask and registers of the slot back and frees it. It still stands,
 * traced: tracee_release_all() lets it run.
 */
must_check int gate_unpark(struct gate *g);

/*
 * What a successor does first: takes over a task that it has just seized and
 * whose slot it found. -ENOENT: the task is not in its gate (its tracer died
 * before it was, or after it had left); the slot is freed, let it run.
 */
must_check int gate_recover(struct gate *g, struct gate_slots *slots, int proc,
			    struct gate_slot *slot, struct tracee *t);

/* Frees the slot of a task that is gone. */
void gate_forget(struct gate *g);

/*
 * One call by the parked thread. @ret is its result, or -errno of the call.
 * Returns 0, or -errno when the call could not be made.
 */
must_check int gate_call(struct gate *g, int64_t *ret, int64_t nr, const uint64_t arg[6]);
#define GATE_CALL(g, ret, nr, ...) gate_call((g), (ret), (nr), (const uint64_t[6]){ __VA_ARGS__ })

/*
 * Maps @len bytes (code, then GATE_AREA_DATA: whatever the caller likes) in the
 * guest at the free address @at. gate_hole() finds one.
 */
#define GATE_AREA_DATA 128
must_check int gate_hole(int proc, pid_t pid, size_t len, uint64_t *at);
must_check int gate_area(struct gate *g, uint64_t at, size_t len);
must_check int gate_area_drop(struct gate *g);

/* Makes @n calls in one run (1.4 us each); @at: where in the area they go. Results in @calls. */
must_check int gate_table(struct gate *g, struct stub_call *calls, unsigned n, uint64_t at);

/* Puts our descriptor @fd into the guest as @guest_fd. -ENOTSUP: without a filter. */
must_check int gate_fd_install(struct gate *g, int fd, int guest_fd, bool cloexec);

/*
 * The gate moves, so that the vdso it was in may go: into the area, and later
 * into another vdso of the same process (a restored one).
 */
must_check int gate_rehome_area(struct gate *g);
must_check int gate_rehome(struct gate *g, uint64_t vdso_end);

/*
 * Makes a call that sleeps (nanosleep, poll, futex) and breaks it off, so that
 * the kernel notes how to go on with it. @ret: -516 (ERESTART_RESTARTBLOCK): it
 * did; else the call was over at once. Ends at a stop where registers may say so.
 */
must_check int gate_call_restartable(struct gate *g, int64_t *ret, int64_t nr,
				     const uint64_t arg[6]);

/*
 * The parked leader executes @path (the stub): all other threads of the set end
 * and are forgotten, pid, children and pending signals stay. It stands behind its
 * exec, stopped; its slot is free. Without an area it uses what lies below its stack.
 * Errors: -errno of execve, and then it is parked as before.
 */
must_check int gate_exec(struct gate *g, struct tracee_set *set, const char *path);

#endif
