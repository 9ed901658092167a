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
 * are notified as always. The loop answers those of a task for which
 * gate_slot_find() finds a slot with CONTINUE, and the magic call as gate_magic
 * says. The thread that moves and the loop's thread share slots only.
 *
 * One thread uses a gate: the one that seized the task (ptrace.h).
 */
#ifndef KERNEL_HOST_GATE_H
#define KERNEL_HOST_GATE_H

#include "kernel/host/ptrace.h"
#include "kernel/stub/stub.h"

/* What a successor has to know. Fixed layout, in a memfd that the store keeps (INIT_KEY_GATES). */
struct gate_slot {
	_Atomic int32_t tid; /* the node's; 0: free. Written last when a slot is filled */
	int32_t pid;         /* thread group */
	int32_t ns_tid;
	int32_t sent_stop; /* a SIGSTOP to send on, or 0 */
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
};

#define GATE_SLOTS 4096

struct gate_slots {
	struct gate_slot *slot; /* GATE_SLOTS of them */
	int fd;                 /* the memfd; keep it in the store */
};

/* Maps the slots of @fd, or makes them when @fd is -1. Takes @fd. Errors: -ENOMEM, -EINVAL. */
must_check int gate_slots_open(struct gate_slots *s, int fd);
void gate_slots_close(struct gate_slots *s);

/* NULL: this task is in no gate. Any thread. */
struct gate_slot *gate_slot_find(const struct gate_slots *s, pid_t tid);

struct gate {
	struct tracee *t;
	pid_t pid;
	struct gate_slots *slots;
	struct gate_slot *slot;
	uint64_t area; /* mapped by gate_area(), 0: none */
	size_t area_len;
	struct buf regs_after; /* private */
};

/*
 * Parks the stopped @t. @vdso is the range of its vdso (0: looked up in maps).
 * Errors: -ENOSPC no free slot; -ENOEXEC it has no vdso with room for a gate.
 */
must_check int gate_park(struct gate *g, struct gate_slots *slots, int proc, pid_t pid,
			 struct tracee *t, enum gate_role role);

/* Gives registers, mask and a held SIGSTOP back and lets it run; frees the slot. */
must_check int gate_unpark(struct gate *g);

/* The same without a tracer's history: what a successor does. Seizes the task itself. */
must_check int gate_recover(struct gate *g, struct gate_slots *slots, int proc,
			    struct gate_slot *slot, struct tracee *t);

/*
 * One call by the parked thread. @ret is its result, or -errno of the call.
 * Returns 0, or -errno when the call could not be made.
 */
must_check int gate_call(struct gate *g, int64_t *ret, int64_t nr, const uint64_t arg[6]);
#define GATE_CALL(g, ret, nr, ...) gate_call((g), (ret), (nr), (const uint64_t[6]){ __VA_ARGS__ })

/* Maps @len bytes (code, table, scratch) in the guest for gate_table(); 0 @at: anywhere. */
must_check int gate_area(struct gate *g, uint64_t at, size_t len);
/* Bytes of the area behind the code where tables and what they point to go. */
uint64_t gate_area_data(const struct gate *g);
must_check int gate_area_drop(struct gate *g);

/* Makes @n calls in one run (1.4 us each); results are in @calls. @at: where in the area. */
must_check int gate_table(struct gate *g, struct stub_call *calls, unsigned n, uint64_t at);

/*
 * The parked thread executes @path (the stub): all other threads of the set end
 * and are forgotten, pid and children stay. It stands behind its exec, stopped;
 * detach lets it run. Errors: -errno of execve, and then it is parked as before.
 */
must_check int gate_exec(struct gate *g, struct tracee_set *set, const char *path);

#endif
