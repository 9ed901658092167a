/* SPDX-License-Identifier: Apache-2.0 */
/* gate_call.c - what a thread in its gate is made to do: calls, tables of calls, an exec. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/check.h"
#include "base/fault.h"
#include "kernel/host/gate_priv.h"

#define ASLEEP_MS 3 /* by then a call that sleeps does */

/*
 * The code of an area: the stub's table loop once more, for any address.
 * %rbx the cursor, %rbp the calls left.
 */
extern const uint8_t gate_area_code[], gate_area_code_end[];
__asm__(".pushsection .rodata\n"
	"gate_area_code:\n"
	"1:	mov 8(%rbx), %rdi\n"
	"	mov 16(%rbx), %rsi\n"
	"	mov 24(%rbx), %rdx\n"
	"	mov 32(%rbx), %r10\n"
	"	mov 40(%rbx), %r8\n"
	"	mov 48(%rbx), %r9\n"
	"	mov (%rbx), %rax\n"
	"	syscall\n"
	"	mov %rax, 56(%rbx)\n"
	"	add $64, %rbx\n"
	"	dec %ebp\n"
	"	jnz 1b\n"
	"2:	mov $0x5510, %eax\n"
	"	syscall\n"
	"	jmp 2b\n"
	"gate_area_code_end:\n"
	".popsection\n");

_Static_assert(STUB_MAGIC == 0x5510, "written out in the code above");

/* ---- calls ---- */

static void take_born(struct gate *g)
{
	unsigned long tid = 0;

	if (ptrace(PTRACE_GETEVENTMSG, g->t->tid, NULL, &tid) == 0)
		g->born = (pid_t)tid;
}

/* To the next system call stop of kind @op. */
static int run_to(struct gate *g, enum __ptrace_get_syscall_info_op op,
		  struct __ptrace_syscall_info *info)
{
	for (;;) {
		int st = tracee_run(g->t, PTRACE_SYSCALL, CALL_MS);

		if (st < 0)
			return st == -ECHILD ? -ESRCH : st;
		if (STOP_EVENT(st) == PTRACE_EVENT_CLONE) {
			take_born(g);
			continue;
		}
		if (STOP_EVENT(st) != 0)
			continue;
		if (WSTOPSIG(st) != SYSCALL_STOP)
			return -EFAULT; /* a fault in the gate: somebody changed its code */
		if (ptrace(PTRACE_GET_SYSCALL_INFO, g->t->tid, (void *)sizeof(*info), info) < 0)
			return -errno;
		if (info->op == op)
			return 0;
	}
}

static int set_call(struct gate *g, int64_t nr, const uint64_t arg[6])
{
	struct user_regs_struct regs;
	int r = tracee_get_regs(g->t, &regs);

	if (r < 0)
		return r;
	gate_regs_enter(&regs, g->slot->gate);
	regs.rax = (uint64_t)nr;
	regs.rdi = arg[0];
	regs.rsi = arg[1];
	regs.rdx = arg[2];
	regs.r10 = arg[3];
	regs.r8 = arg[4];
	regs.r9 = arg[5];
	return tracee_set_regs(g->t, &regs);
}

static int trace_born(struct gate *g, int64_t nr, bool on)
{
	long options = PTRACE_O_TRACESYSGOOD | (on ? PTRACE_O_TRACECLONE : 0);

	if (nr != SYS_clone3)
		return 0;
	return ptrace(PTRACE_SETOPTIONS, g->t->tid, NULL, (void *)options) < 0 ? -errno : 0;
}

int gate_call(struct gate *g, int64_t *ret, int64_t nr, const uint64_t arg[6])
{
	struct __ptrace_syscall_info info;
	int r = trace_born(g, nr, true);

	g->born = 0;
	if (r == 0)
		r = set_call(g, nr, arg);
	if (r < 0)
		return r;
	FAULT("gate.call.set");
	r = run_to(g, PTRACE_SYSCALL_INFO_ENTRY, &info);
	if (r < 0)
		return r;
	if (info.entry.nr != (uint64_t)nr)
		return -EFAULT;
	FAULT("gate.call.entered");
	r = run_to(g, PTRACE_SYSCALL_INFO_EXIT, &info);
	if (r < 0)
		return r;
	FAULT("gate.call.done");
	*ret = info.exit.rval;
	return trace_born(g, nr, false);
}

int gate_area(struct gate *g, uint64_t at, size_t len)
{
	int64_t ret;
	int r;

	CHECK(gate_area_code_end - gate_area_code <= GATE_AREA_DATA - GATE_BYTES);
	CHECK(g->slot->area == 0);
	g->slot->area_len = len;
	g->slot->area = at;
	FAULT("gate.area.recorded");
	r = GATE_CALL(g, &ret, SYS_mmap, at, len, PROT_READ | PROT_WRITE | PROT_EXEC,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, (uint64_t)-1, 0);
	if (r == 0 && ret != (int64_t)at)
		r = ret < 0 ? (int)ret : -EFAULT;
	if (r < 0) {
		g->slot->area = 0;
		return r;
	}
	FAULT("gate.area.mapped");
	/* A gate of its own comes first: the one in the vdso may go. */
	r = tracee_write(g->t->tid, at, gate_code, sizeof(gate_code));
	if (r < 0)
		return r;
	return tracee_write(g->t->tid, at + GATE_BYTES, gate_area_code,
			    (size_t)(gate_area_code_end - gate_area_code));
}

int gate_area_drop(struct gate *g)
{
	int64_t ret;
	int r;

	if (g->slot->area == 0)
		return 0;
	r = GATE_CALL(g, &ret, SYS_munmap, g->slot->area, g->slot->area_len);
	if (r == 0 && ret < 0)
		r = (int)ret;
	FAULT("gate.area.unmapped");
	if (r == 0)
		g->slot->area = 0;
	return r;
}

/* Stops the thread that the loop's thread holds in its magic call. */
static int leave_magic(struct gate *g)
{
	const struct gate_magic *m = g->slots->magic;
	int status;

	if (ptrace(PTRACE_INTERRUPT, g->t->tid, NULL, NULL) < 0)
		return -errno;
	m->answer(m->arg, g->t->tid);
	for (;;) {
		int r = tracee_wait(g->t, CALL_MS);

		if (r < 0)
			return r == -ECHILD ? -ESRCH : r;
		status = r;
		if (STOP_EVENT(status) == PTRACE_EVENT_STOP)
			return 0;
		if (STOP_EVENT(status) == 0 && WSTOPSIG(status) != SIGSTOP)
			return -EFAULT;
		if (STOP_EVENT(status) == 0)
			g->t->held_sig = SIGSTOP;
		if (ptrace(PTRACE_INTERRUPT, g->t->tid, NULL, NULL) < 0 ||
		    ptrace(PTRACE_CONT, g->t->tid, NULL, NULL) < 0)
			return -errno;
	}
}

/* From @rip to the magic call, held by the loop's thread. */
static int run_to_magic(struct gate *g, const struct user_regs_struct *regs)
{
	const struct gate_magic *m = g->slots->magic;
	int r = tracee_set_regs(g->t, regs);

	if (r < 0)
		return r;
	FAULT("gate.table.set");
	if (ptrace(PTRACE_CONT, g->t->tid, NULL, NULL) < 0)
		return -errno;
	FAULT("gate.table.running");
	return m->await(m->arg, g->t->tid, CALL_MS);
}

static int table_by_blob(struct gate *g, struct stub_call *calls, unsigned n, uint64_t at)
{
	struct user_regs_struct regs;
	size_t len = n * sizeof(*calls);
	int r = tracee_get_regs(g->t, &regs);

	if (r == 0)
		r = tracee_write(g->t->tid, at, calls, len);
	if (r < 0)
		return r;
	FAULT("gate.table.written");
	gate_regs_enter(&regs, g->slot->area + GATE_BYTES);
	regs.rbx = at;
	regs.rbp = n;
	r = run_to_magic(g, &regs);
	if (r == 0)
		r = leave_magic(g);
	if (r < 0)
		return r;
	FAULT("gate.table.done");
	return tracee_read(g->t->tid, at, calls, len);
}

int gate_table(struct gate *g, struct stub_call *calls, unsigned n, uint64_t at)
{
	int r = 0;

	CHECK(g->slot->area != 0);
	CHECK(at >= g->slot->area + GATE_AREA_DATA &&
	      at + n * sizeof(*calls) <= g->slot->area + g->slot->area_len);
	if (n > 0 && g->slots->magic)
		return table_by_blob(g, calls, n, at);
	for (unsigned i = 0; r == 0 && i < n; i++)
		r = gate_call(g, &calls[i].ret, calls[i].nr, calls[i].arg);
	return r;
}

int gate_fd_install(struct gate *g, int fd, int guest_fd, bool cloexec)
{
	const struct gate_magic *m = g->slots->magic;
	struct user_regs_struct regs;
	int r, left;

	if (!m)
		return -ENOTSUP;
	r = tracee_get_regs(g->t, &regs);
	if (r < 0)
		return r;
	gate_regs_enter(&regs, g->slot->gate + GATE_LOOP);
	r = run_to_magic(g, &regs);
	if (r < 0)
		return r;
	r = m->addfd(m->arg, g->t->tid, fd, guest_fd, cloexec);
	left = leave_magic(g);
	return r < 0 ? r : left;
}

static int stand_in_gate(struct gate *g)
{
	struct user_regs_struct regs;
	int r = tracee_get_regs(g->t, &regs);

	if (r < 0)
		return r;
	gate_regs_enter(&regs, g->slot->gate + GATE_LOOP);
	return tracee_set_regs(g->t, &regs);
}

int gate_rehome_area(struct gate *g)
{
	CHECK(g->slot->area != 0);
	g->slot->gate = g->slot->area;
	return stand_in_gate(g);
}

int gate_rehome(struct gate *g, uint64_t vdso_end)
{
	int r = gate_put_code(g, vdso_end);

	return r < 0 ? r : stand_in_gate(g);
}

int gate_call_restartable(struct gate *g, int64_t *ret, int64_t nr, const uint64_t arg[6])
{
	struct __ptrace_syscall_info info;
	int r = set_call(g, nr, arg);

	if (r == 0)
		r = run_to(g, PTRACE_SYSCALL_INFO_ENTRY, &info);
	if (r < 0)
		return r;
	/* An interrupt at once would break off the filter's question, not the sleep. */
	r = tracee_run(g->t, PTRACE_SYSCALL, ASLEEP_MS);
	if (r == -EBUSY) {
		if (ptrace(PTRACE_INTERRUPT, g->t->tid, NULL, NULL) < 0)
			return -errno;
		r = tracee_wait(g->t, CALL_MS);
	}
	if (r < 0)
		return r == -ECHILD ? -ESRCH : r;
	if (WSTOPSIG(r) != SYSCALL_STOP ||
	    ptrace(PTRACE_GET_SYSCALL_INFO, g->t->tid, (void *)sizeof(info), &info) < 0)
		return -EFAULT;
	*ret = info.exit.rval;
	return gate_to_signal_stop(g);
}

/* ---- exec ---- */

#define RED_ZONE 128 /* below the stack pointer, may be in use (System V ABI, 3.2.2) */

/*
 * Path, argument vector and empty environment at the start of the area's data, or below the stack:
 * a vfork child shares its memory with its parent, who would keep an area.
 */
static int write_exec_args(struct gate *g, const char *path, uint64_t arg[6])
{
	struct {
		uint64_t argv[2];
		uint64_t env;
		char path[256];
	} a = { { 0 }, 0, "" };
	uint64_t stack = (g->slot->regs.rsp - RED_ZONE - sizeof(a)) & ~UINT64_C(15);
	uint64_t at = g->slot->area ? g->slot->area + GATE_AREA_DATA : stack;

	if (strlen(path) >= sizeof(a.path))
		return -EINVAL;
	a.argv[0] = at + 3 * sizeof(uint64_t);
	(void)snprintf(a.path, sizeof(a.path), "%s", path);
	arg[0] = a.argv[0];
	arg[1] = at;
	arg[2] = at + 2 * sizeof(uint64_t);
	return tracee_write(g->t->tid, at, &a, sizeof(a));
}

static void forget_others(struct gate *g, struct tracee_set *set)
{
	uint32_t n = MIN(atomic_load(&g->slots->mem->high), GATE_SLOTS);

	for (uint32_t i = n; i-- > 0;) {
		struct gate_slot *s = &g->slots->mem->slot[i];

		if (atomic_load(&s->tid) > 0 && s->pid == g->pid && s != g->slot)
			gate_slot_free(g->slots, s);
	}
	set->count = 1;
}

/* Exec waits until every other thread is dead and, being traced, reaped: by us. */
static int await_exec(struct gate *g, struct __ptrace_syscall_info *info)
{
	for (;;) {
		int status, r;

		if (ptrace(PTRACE_SYSCALL, g->t->tid, NULL, NULL) < 0)
			return -errno;
		do {
			r = tracee_wait_any(&status, CALL_MS);
			if (r < 0)
				return r;
		} while (r != g->t->tid);
		if (!WIFSTOPPED(status))
			return -ESRCH;
		g->t->stop = status;
		if (STOP_EVENT(status) != 0)
			continue;
		if (WSTOPSIG(status) == SYSCALL_STOP)
			break;
		if (WSTOPSIG(status) != SIGSTOP)
			return -EFAULT;
		g->t->held_sig = SIGSTOP;
	}
	return ptrace(PTRACE_GET_SYSCALL_INFO, g->t->tid, (void *)sizeof(*info), info) < 0 ? -errno
											   : 0;
}

int gate_exec(struct gate *g, struct tracee_set *set, const char *path)
{
	struct __ptrace_syscall_info info;
	uint64_t arg[6] = { 0 };
	int r = write_exec_args(g, path, arg);

	CHECK(g->t->tid == g->pid);
	if (r == 0)
		r = set_call(g, SYS_execve, arg);
	if (r < 0)
		return r;
	FAULT("gate.exec.set");
	r = run_to(g, PTRACE_SYSCALL_INFO_ENTRY, &info);
	if (r < 0)
		return r;
	FAULT("gate.exec.entered");
	r = await_exec(g, &info);
	if (r < 0)
		return r;
	if (info.op != PTRACE_SYSCALL_INFO_EXIT)
		return -EFAULT;
	if (info.exit.rval < 0)
		return (int)info.exit.rval;
	FAULT("gate.exec.done");
	forget_others(g, set);
	gate_forget(g);
	return 0;
}
