/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/host/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/check.h"
#include "base/fault.h"

#define CALL_MS         10000 /* for one injected call; a big munmap takes long */
#define ASLEEP_MS       3     /* by then a call that sleeps does */
#define STOP_EVENT(st)  ((unsigned)(st) >> 16)
#define SYSCALL_STOP    (SIGTRAP | 0x80)
#define GATE_BYTES      16 /* at the end of the vdso; 11 of code */
#define GATE_LOOP       2  /* where the loop starts in it */
#define GATE_CODE_BYTES 11
#define ALL_MASKED      (~UINT64_C(0))

/* What the kernel says to itself in %rax, seen by tracers only. */
#define ERESTARTNOHAND 514

#define X86_FLAG_TRAP      0x100
#define X86_FLAG_DIRECTION 0x400

#define EPOLL_PWAIT2 441

static const uint8_t gate_code[GATE_BYTES] = {
	0x0f,
	0x05, /*    syscall */
	0xb8,
	STUB_MAGIC & 0xff,
	STUB_MAGIC >> 8,
	STUB_MAGIC >> 16,
	0x0, /* L: mov $magic, %eax */
	0x0f,
	0x05, /*    syscall */
	0xeb,
	0xf7, /*    jmp L */
};

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

/* ---- slots ---- */

int gate_slots_open(struct gate_slots *s, int fd)
{
	size_t len = sizeof(struct gate_memory);
	struct stat st;
	void *p;
	int r;

	*s = (struct gate_slots){ .fd = fd };
	if (fd < 0) {
		s->fd = memfd_create("gates", MFD_CLOEXEC);
		if (s->fd < 0 || ftruncate(s->fd, (off_t)len) < 0)
			goto fail;
	} else if (fstat(fd, &st) < 0 || st.st_size != (off_t)len) {
		errno = EINVAL;
		goto fail;
	}
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	if (p == MAP_FAILED)
		goto fail;
	s->mem = p;
	return 0;
fail:
	r = -errno;
	if (s->fd >= 0)
		(void)close(s->fd);
	s->fd = -1;
	return r;
}

void gate_slots_close(struct gate_slots *s)
{
	if (s->mem)
		(void)munmap(s->mem, sizeof(*s->mem));
	if (s->fd >= 0)
		(void)close(s->fd);
	*s = (struct gate_slots){ .fd = -1 };
}

struct gate_slot *gate_slot_find(const struct gate_slots *s, pid_t tid)
{
	uint32_t n = MIN(atomic_load(&s->mem->high), GATE_SLOTS);

	for (uint32_t i = 0; i < n; i++)
		if (atomic_load(&s->mem->slot[i].tid) == tid)
			return &s->mem->slot[i];
	return NULL;
}

/* A slot being filled holds -1: not free, and no task. */
static struct gate_slot *slot_take(struct gate_slots *s)
{
	for (uint32_t i = 0; i < GATE_SLOTS; i++) {
		int32_t free_tid = 0;
		uint32_t high;

		if (!atomic_compare_exchange_strong(&s->mem->slot[i].tid, &free_tid, -1))
			continue;
		high = atomic_load(&s->mem->high);
		while (high <= i && !atomic_compare_exchange_weak(&s->mem->high, &high, i + 1))
			;
		return &s->mem->slot[i];
	}
	return NULL;
}

static void slot_free(struct gate_slots *s, struct gate_slot *slot)
{
	uint32_t high;

	atomic_store(&slot->tid, 0);
	for (;;) {
		high = MIN(atomic_load(&s->mem->high), GATE_SLOTS);
		if (high == 0 || atomic_load(&s->mem->slot[high - 1].tid) != 0)
			return;
		/* Somebody may take that slot right now: he raises it again after his exchange. */
		(void)atomic_compare_exchange_strong(&s->mem->high, &high, high - 1);
		if (atomic_load(&s->mem->slot[high - 1].tid) != 0)
			atomic_store(&s->mem->high, high);
	}
}

void gate_forget(struct gate *g)
{
	if (g->slot)
		slot_free(g->slots, g->slot);
	g->slot = NULL;
}

/* ---- where the gate is ---- */

struct range {
	uint64_t start;
	uint64_t end;
};

typedef bool (*maps_fn)(void *arg, const struct range *r, const char *line);

/* Calls @fn for each line of maps until it says true. */
static int maps_each(int proc, pid_t pid, maps_fn fn, void *arg)
{
	cleanup_buf struct buf b = BUF_INIT;
	const char *line;
	int r = tracee_proc_read(proc, pid, "maps", &b);

	if (r < 0)
		return r;
	line = buf_str(&b);
	while (line && *line != '\0') {
		struct range range;
		char *next;

		range.start = strtoull(line, &next, 16);
		if (*next != '-')
			return -EPROTO;
		range.end = strtoull(next + 1, NULL, 16);
		next = strchr(line, '\n');
		if (next)
			*next = '\0';
		if (fn(arg, &range, line))
			return 0;
		line = next ? next + 1 : NULL;
	}
	return -ENOENT;
}

static bool is_vdso(void *arg, const struct range *r, const char *line)
{
	if (!strstr(line, "[vdso]"))
		return false;
	*(struct range *)arg = *r;
	return true;
}

struct hole {
	size_t len;
	uint64_t at;
};

static bool ends_hole(void *arg, const struct range *r, const char *line)
{
	struct hole *h = arg;

	(void)line;
	if (r->end <= h->at)
		return false;
	if (r->start >= h->at + h->len)
		return true;
	h->at = r->end;
	return false;
}

int gate_hole(int proc, pid_t pid, size_t len, uint64_t *at)
{
	struct hole h = { len, STUB_END };
	int r = maps_each(proc, pid, ends_hole, &h);

	if (r < 0)
		return r == -ENOENT ? -ENOMEM : r;
	*at = h.at;
	return 0;
}

/* The end of the vdso's last page is padding; or holds a gate from an earlier time. */
static int gate_place(pid_t pid, uint64_t vdso_end, uint64_t *gate, bool *there)
{
	static const uint8_t zeros[GATE_BYTES];
	uint8_t now[GATE_BYTES];
	int r;

	*gate = vdso_end - GATE_BYTES;
	r = tracee_read(pid, *gate, now, sizeof(now));
	if (r < 0)
		return r;
	*there = memcmp(now, gate_code, sizeof(now)) == 0;
	return *there || memcmp(now, zeros, sizeof(now)) == 0 ? 0 : -ENOEXEC;
}

static int gate_put_code(struct gate *g, uint64_t vdso_end)
{
	bool there;
	uint64_t gate;
	int r = gate_place(g->pid, vdso_end, &gate, &there);

	if (r < 0)
		return r;
	g->slot->gate = gate;
	return there ? 0 : tracee_poke(g->t, gate, gate_code, sizeof(gate_code));
}

/* ---- in and out ---- */

static int start_ticks(int proc, pid_t tid, uint64_t *out)
{
	cleanup_buf struct buf b = BUF_INIT;
	const char *p;
	int r = tracee_proc_read(proc, tid, "stat", &b);

	if (r < 0)
		return r;
	p = buf_str(&b);
	p = p ? strrchr(p, ')') : NULL; /* the name may hold anything */
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return -EPROTO;
	*out = strtoull(p + 1, NULL, 10);
	return 0;
}

static void regs_into_gate(struct user_regs_struct *r, uint64_t rip)
{
	r->rip = rip;
	r->orig_rax = ALL_MASKED; /* no call is being made, so none is restarted */
	r->rax = 0;
	r->eflags &= ~(uint64_t)(X86_FLAG_TRAP | X86_FLAG_DIRECTION);
}

/*
 * Calls that answer a stop with EINTR although no handler ran (signal(7)). With
 * ERESTARTNOHAND the kernel itself decides, when the thread goes on: EINTR if a
 * handler runs, else the call is made again.
 */
static void restart_if_unhandled(struct user_regs_struct *r)
{
	static const uint16_t calls[] = { SYS_read,         SYS_recvfrom,   SYS_recvmsg,
					  SYS_accept,       SYS_accept4,    SYS_semop,
					  SYS_semtimedop,   SYS_epoll_wait, SYS_epoll_pwait,
					  SYS_io_getevents, EPOLL_PWAIT2,   SYS_rt_sigtimedwait };

	if ((int64_t)r->rax != -EINTR)
		return;
	for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
		if (r->orig_rax == calls[i])
			r->rax = (uint64_t)-ERESTARTNOHAND;
}

/*
 * Within a restartable sequence: abort it, as a preemption would. Running in the
 * gate would end the sequence unseen. (struct rseq_cs of linux/rseq.h)
 */
static int abort_rseq(struct gate *g, struct user_regs_struct *regs)
{
	struct {
		uint32_t version, flags;
		uint64_t start, post_commit, abort;
	} cs;
	struct tracee_rseq rseq;
	uint64_t at = 0;
	int r = tracee_get_rseq(g->t, &rseq);

	if (r < 0 || rseq.addr == 0)
		return r;
	/* A guest may register what is not there: the kernel will tell it so. */
	if (tracee_read(g->t->tid, rseq.addr + 8, &at, sizeof(at)) < 0 || at == 0 ||
	    tracee_read(g->t->tid, at, &cs, sizeof(cs)) < 0)
		return 0;
	if (regs->rip - cs.start < cs.post_commit)
		regs->rip = cs.abort;
	return 0;
}

static int slot_fill(struct gate *g, enum gate_role role)
{
	struct gate_slot *s = g->slot;
	int r = tracee_get_regs(g->t, &s->regs);

	if (r == 0)
		r = tracee_get_mask(g->t, &s->mask);
	if (r == 0)
		r = start_ticks(g->proc, g->t->tid, &s->start_ticks);
	if (r < 0)
		return r;
	/* What execve returns is written after its stop. */
	if (STOP_EVENT(g->t->stop) == PTRACE_EVENT_EXEC) {
		s->regs.rax = 0;
		s->regs.orig_rax = ALL_MASKED;
	}
	restart_if_unhandled(&s->regs);
	r = abort_rseq(g, &s->regs);
	if (r < 0)
		return r;
	s->pid = g->pid;
	s->ns_tid = g->t->ns_tid;
	s->area = 0;
	s->area_len = 0;
	atomic_store(&s->role, role);
	return 0;
}

static int gate_start(struct gate *g, struct gate_slots *slots, int proc, pid_t pid,
		      struct tracee *t)
{
	*g = (struct gate){ .t = t, .pid = pid, .slots = slots, .proc = proc };
	g->slot = slot_take(slots);
	return g->slot ? 0 : -ENOSPC;
}

/* What execve returns is still to be written: over the number of a call made now. */
static int finish_exec(struct gate *g)
{
	int r;

	do {
		r = tracee_run(g->t, PTRACE_SYSCALL, CALL_MS);
	} while (r >= 0 && STOP_EVENT(r) != 0);
	if (r < 0)
		return r == -ECHILD ? -ESRCH : r;
	return WSTOPSIG(r) == SYSCALL_STOP ? 0 : -EFAULT;
}

int gate_park(struct gate *g, struct gate_slots *slots, int proc, pid_t pid, struct tracee *t,
	      enum gate_role role)
{
	bool at_exec = STOP_EVENT(t->stop) == PTRACE_EVENT_EXEC;
	struct user_regs_struct regs;
	struct range vdso = { 0, 0 };
	int r = gate_start(g, slots, proc, pid, t);

	if (r < 0)
		return r;
	r = maps_each(proc, pid, is_vdso, &vdso);
	if (r == -ENOENT)
		r = -ENOEXEC;
	if (r == 0)
		r = slot_fill(g, role);
	if (r == 0)
		r = gate_put_code(g, vdso.end);
	if (r < 0)
		goto fail;
	FAULT("gate.park.code");
	atomic_store(&g->slot->tid, t->tid);
	FAULT("gate.park.slot");
	regs = g->slot->regs;
	regs_into_gate(&regs, g->slot->gate + GATE_LOOP);
	/* Registers first: with the mask alone a guest that runs on would never get a signal. */
	r = tracee_set_regs(t, &regs);
	if (r < 0)
		goto fail;
	FAULT("gate.park.regs");
	r = tracee_set_mask(t, ALL_MASKED);
	if (r < 0)
		goto undo;
	FAULT("gate.park.mask");
	return at_exec ? finish_exec(g) : 0;
undo:
	if (tracee_set_regs(t, &g->slot->regs) < 0)
		r = -ESRCH;
fail:
	gate_forget(g);
	return r;
}

int gate_park_born(struct gate *g, struct gate_slots *slots, int proc, pid_t pid, struct tracee *t,
		   enum gate_role role, uint64_t gate)
{
	int r = gate_start(g, slots, proc, pid, t);

	if (r < 0)
		return r;
	r = slot_fill(g, role);
	if (r < 0) {
		gate_forget(g);
		return r;
	}
	g->slot->gate = gate;
	atomic_store(&g->slot->tid, t->tid);
	return 0;
}

/* To a stop at which the kernel looks at signals and restarts before it goes back. */
static int to_signal_stop(struct gate *g)
{
	int r;

	if (WSTOPSIG(g->t->stop) != SYSCALL_STOP)
		return 0;
	if (ptrace(PTRACE_INTERRUPT, g->t->tid, NULL, NULL) < 0)
		return -errno;
	do {
		r = tracee_run(g->t, PTRACE_CONT, CALL_MS);
	} while (r >= 0 && STOP_EVENT(r) != PTRACE_EVENT_STOP);
	return r < 0 ? r : 0;
}

int gate_unpark(struct gate *g)
{
	int r = to_signal_stop(g);

	if (r < 0)
		return r;
	FAULT("gate.unpark.stopped");
	r = tracee_set_mask(g->t, g->slot->mask);
	if (r < 0)
		return r;
	FAULT("gate.unpark.mask");
	r = tracee_set_regs(g->t, &g->slot->regs);
	if (r < 0)
		return r;
	FAULT("gate.unpark.regs");
	gate_forget(g);
	FAULT("gate.unpark.freed");
	return 0;
}

static bool in_gate(const struct gate_slot *s, uint64_t rip)
{
	return (rip >= s->gate && rip <= s->gate + GATE_CODE_BYTES) ||
	       (s->area != 0 && rip >= s->area && rip < s->area + GATE_AREA_DATA);
}

int gate_recover(struct gate *g, struct gate_slots *slots, int proc, struct gate_slot *slot,
		 struct tracee *t)
{
	struct user_regs_struct regs = { 0 };
	uint64_t ticks = 0;
	int r;

	*g = (struct gate){ .t = t, .pid = slot->pid, .slots = slots, .slot = slot, .proc = proc };
	r = start_ticks(proc, t->tid, &ticks);
	if (r == 0)
		r = tracee_get_regs(t, &regs);
	if (r < 0)
		return r;
	if (ticks != slot->start_ticks || !in_gate(slot, regs.rip)) {
		gate_forget(g);
		return -ENOENT;
	}
	FAULT("gate.recover.found");
	return tracee_set_mask(t, ALL_MASKED);
}

/* ---- calls ---- */

enum { OP_ENTRY = 1, OP_EXIT = 2 };

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
	regs_into_gate(&regs, g->slot->gate);
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
	regs_into_gate(&regs, g->slot->area + GATE_BYTES);
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
	regs_into_gate(&regs, g->slot->gate + GATE_LOOP);
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
	regs_into_gate(&regs, g->slot->gate + GATE_LOOP);
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
	return to_signal_stop(g);
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
			slot_free(g->slots, s);
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
