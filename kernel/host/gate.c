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

#include "base/fault.h"
#include "kernel/host/gate_priv.h"

#define GATE_CODE_BYTES 11
#define ALL_MASKED      (~UINT64_C(0))

/* What the kernel says to itself in %rax, seen by tracers only. */
#define ERESTARTNOHAND 514

#define X86_FLAG_TRAP      0x100
#define X86_FLAG_DIRECTION 0x400

#define EPOLL_PWAIT2 441

const uint8_t gate_code[GATE_BYTES] = {
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

void gate_slot_free(struct gate_slots *s, struct gate_slot *slot)
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
		gate_slot_free(g->slots, g->slot);
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

int gate_put_code(struct gate *g, uint64_t vdso_end)
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

void gate_regs_enter(struct user_regs_struct *r, uint64_t rip)
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
	gate_regs_enter(&regs, g->slot->gate + GATE_LOOP);
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

int gate_to_signal_stop(struct gate *g)
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
	int r = gate_to_signal_stop(g);

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

bool gate_makes_call(const struct gate_slots *s, pid_t tid, uint64_t ip)
{
	const struct gate_slot *slot = gate_slot_find(s, tid);

	return slot && in_gate(slot, ip);
}

/* proc(5), /proc/PID/syscall: its last number, unless the task runs. */
bool gate_is_left(const struct gate_slot *slot, int proc)
{
	cleanup_buf struct buf b = BUF_INIT;
	const char *ip;

	if (tracee_proc_read(proc, slot->tid, "syscall", &b) < 0)
		return false;
	ip = buf_str(&b) ? strrchr(buf_str(&b), ' ') : NULL;
	return ip && !in_gate(slot, strtoull(ip + 1, NULL, 16));
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
