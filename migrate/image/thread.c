/* SPDX-License-Identifier: Apache-2.0 */
/* thread.c - what each thread has of its own, and the calls that they were stopped in. */
#include "migrate/image/priv.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"

#define STOP_MS      5000
#define AFFINITY_MAX 1024 /* bytes */
#define LEFT_FOREVER UINT64_MAX

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

/* The kernel's word to itself: go on with what the restart block says. */
#define ERESTART_RESTARTBLOCK 516

/* ---- sleeps that were interrupted ---- */

static bool sleeps(const struct user_regs_struct *r)
{
	return (int64_t)r->rax == -ERESTART_RESTARTBLOCK;
}

static bool can_sleep(uint32_t nr)
{
	return nr == SYS_nanosleep || nr == SYS_clock_nanosleep || nr == SYS_futex ||
	       nr == SYS_poll;
}

#define CODE_LOOK 64 /* bytes before a system call in which its number is loaded */

/*
 * A sleep that was broken off before, and went on by restart_syscall: which call it was the
 * processor does not say any more, but the code before it does (mov $nr, %eax or %rax). 0: no.
 */
static uint32_t call_before(pid_t tid, uint64_t rip)
{
	uint8_t code[CODE_LOOK];
	uint32_t nr;

	if (rip < CODE_LOOK || tracee_read(tid, rip - CODE_LOOK, code, sizeof(code)) < 0 ||
	    code[CODE_LOOK - 2] != 0x0f || code[CODE_LOOK - 1] != 0x05)
		return 0;
	for (int i = CODE_LOOK - 7; i >= 2; i--) {
		bool to_rax = code[i - 2] == 0x48 && code[i - 1] == 0xc7 && code[i] == 0xc0;

		memcpy(&nr, code + i + 1, sizeof(nr));
		if ((code[i] == 0xb8 || to_rax) && can_sleep(nr))
			return nr;
	}
	return 0;
}

/* Address of the timespec that says how long; 0: none. */
static uint64_t sleep_request(const struct user_regs_struct *r)
{
	switch (r->orig_rax) {
	case SYS_nanosleep:
		return r->rdi;
	case SYS_clock_nanosleep:
		return r->rdx;
	case SYS_futex:
		return r->r10;
	default:
		return 0;
	}
}

/* Where the kernel has just left what remains (hrtimer_nanosleep), if the guest wants it. */
static uint64_t sleep_rest(const struct user_regs_struct *r)
{
	switch (r->orig_rax) {
	case SYS_nanosleep:
		return r->rsi;
	case SYS_clock_nanosleep:
		return r->r10;
	default:
		return 0;
	}
}

static bool read_span(pid_t tid, uint64_t at, uint64_t *ns)
{
	struct timespec t;

	if (at == 0 || tracee_read(tid, at, &t, sizeof(t)) < 0)
		return false;
	*ns = (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
	return true;
}

/* How long the call was to last. */
static uint64_t sleep_want(pid_t tid, const struct user_regs_struct *r)
{
	uint64_t want;

	if (r->orig_rax == SYS_poll)
		return (int32_t)r->rdx < 0 ? LEFT_FOREVER : (uint32_t)r->rdx * NS_PER_MS;
	return read_span(tid, sleep_request(r), &want) ? want : LEFT_FOREVER;
}

static uint64_t sleep_left(const struct image_env *env, pid_t tid, const struct user_regs_struct *r)
{
	uint64_t want = sleep_want(tid, r), since, slept, rest;

	if (read_span(tid, sleep_rest(r), &rest))
		return rest;
	if (want == LEFT_FOREVER || !env->hooks || !env->hooks->sleep_since ||
	    env->hooks->sleep_since(env->arg, tid, &since) < 0)
		return want;
	slept = clock_mono_ns() - since;
	return want > slept ? want - slept : 0;
}

/*
 * The kernel's note of where a sleep was (its restart block) cannot be carried.
 * So the thread begins the call anew with what is left and is broken off at
 * once: then this kernel has the note, and everything after is its own doing.
 */
static int sleep_again(struct gate *g, struct user_regs_struct *regs, uint64_t left_ns, uint64_t at)
{
	struct timespec t = { (time_t)(left_ns / NS_PER_S), (long)(left_ns % NS_PER_S) };
	uint64_t arg[6] = { regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9 };
	int64_t ret;
	int r = tracee_write(g->t->tid, at, &t, sizeof(t));

	if (r < 0)
		return r;
	switch (regs->orig_rax) {
	case SYS_nanosleep:
		arg[0] = at;
		break;
	case SYS_clock_nanosleep:
		arg[2] = at;
		break;
	case SYS_futex:
		arg[3] = left_ns == LEFT_FOREVER ? 0 : at;
		break;
	case SYS_poll:
		arg[2] = left_ns == LEFT_FOREVER ? (uint64_t)-1 : left_ns / NS_PER_MS + 1;
		break;
	default:
		return -EBADMSG;
	}
	r = gate_call_restartable(g, &ret, (int64_t)regs->orig_rax, arg);
	if (r < 0 || ret == -ERESTART_RESTARTBLOCK)
		return r;
	/* Over already. Or an answer that the guest would not be given: then the call is repeated.
	 */
	regs->rax = (uint64_t)(ret <= -512 && ret > -ERESTART_RESTARTBLOCK ? -514 : ret);
	if (ret > -512)
		regs->orig_rax = UINT64_MAX;
	return 0;
}

/* ---- dump ---- */

struct thread_words {
	uint64_t altstack[3]; /* stack_t: sp, flags, size */
	uint64_t tid_address;
};

static int ask_thread(struct image_frozen *f, struct gate *g, struct thread_words *w,
		      uint64_t *slack_ns)
{
	uint64_t at = f->gates[0].slot->area + PAGE;
	int64_t a = 0, b = 0, c = 0;
	int r = GATE_CALL(g, &a, SYS_sigaltstack, 0, at);

	if (r == 0)
		r = GATE_CALL(g, &b, SYS_prctl, PR_GET_TID_ADDRESS,
			      at + offsetof(struct thread_words, tid_address));
	if (r == 0)
		r = GATE_CALL(g, &c, SYS_prctl, PR_GET_TIMERSLACK);
	if (r < 0)
		return r;
	if (a < 0 || b < 0 || c < 0)
		return -EPROTO;
	*slack_ns = (uint64_t)c;
	return tracee_read(g->t->tid, at, w, sizeof(*w));
}

static int ask_scheduler(const struct image_env *env, Pando__Image__Thread *m, pid_t tid,
			 uint8_t affinity[AFFINITY_MAX])
{
	cleanup_buf struct buf stat = BUF_INIT;
	uint8_t ours[AFFINITY_MAX] = { 0 };
	long n = syscall(SYS_sched_getaffinity, tid, AFFINITY_MAX, affinity);
	int r = n < 0 ? -errno : tracee_proc_read(env->proc, tid, "stat", &stat);

	if (r < 0 || !buf_str(&stat))
		return r < 0 ? r : -ENOMEM;
	m->nice = (int32_t)stat_field((const char *)stat.data, 19);
	m->policy = (uint32_t)stat_field((const char *)stat.data, 41);
	/* One that may run anywhere may do so there too, however many that are. */
	if (syscall(SYS_sched_getaffinity, 0, AFFINITY_MAX, ours) == n &&
	    memcmp(ours, affinity, (size_t)n) == 0)
		n = 0;
	m->affinity = (ProtobufCBinaryData){ (size_t)n, affinity };
	return 0;
}

static int dump_thread(struct record_writer *w, struct image_frozen *f, struct gate *g)
{
	Pando__Image__Thread m = PANDO__IMAGE__THREAD__INIT;
	cleanup_buf struct buf xstate = BUF_INIT;
	cleanup_buf struct buf pending = BUF_INIT;
	cleanup_buf struct buf comm = BUF_INIT;
	struct user_regs_struct regs = g->slot->regs;
	uint8_t affinity[AFFINITY_MAX] = { 0 };
	struct thread_words words = { 0 };
	struct tracee_rseq rseq;
	char *name;
	int r = ask_thread(f, g, &words, &m.slack_ns);

	if (r == 0)
		r = tracee_get_xstate(g->t, &xstate);
	if (r == 0)
		r = tracee_peek_signals(g->t, false, &pending);
	if (r == 0)
		r = tracee_get_rseq(g->t, &rseq);
	if (r == 0)
		r = tracee_get_robust(g->t, &m.robust, &m.robust_len);
	if (r == 0)
		r = tracee_proc_read(f->env.proc, g->t->tid, "comm", &comm);
	if (r == 0)
		r = ask_scheduler(&f->env, &m, g->t->tid, affinity);
	name = r == 0 ? (char *)(uintptr_t)buf_str(&comm) : NULL;
	if (!name)
		return r < 0 ? r : -ENOMEM;
	name[strcspn(name, "\n")] = '\0';
	m.tid = g->t->ns_tid;
	m.regs = (ProtobufCBinaryData){ sizeof(regs), (uint8_t *)&regs };
	m.xstate = (ProtobufCBinaryData){ xstate.len, xstate.data };
	m.mask = g->slot->mask;
	m.rseq = rseq.addr;
	m.rseq_size = rseq.size;
	m.rseq_sig = rseq.sig;
	m.tid_address = words.tid_address;
	m.comm = name;
	m.altstack = words.altstack[0];
	m.altstack_flags = (uint32_t)words.altstack[1];
	m.altstack_size = words.altstack[2];
	m.pending = (ProtobufCBinaryData){ pending.len, pending.data };
	if (sleeps(&regs) && regs.orig_rax == SYS_restart_syscall)
		regs.orig_rax = call_before(g->t->tid, regs.rip);
	if (sleeps(&regs) && !can_sleep((uint32_t)regs.orig_rax))
		return -ENOTSUP;
	if (sleeps(&regs))
		m.left_ns = sleep_left(&f->env, g->t->tid, &regs);
	return record_write_message(w, RECORD_THREAD, &m.base);
}

int image_threads_dump(struct record_writer *w, struct image_frozen *f, struct buf *why)
{
	for (unsigned i = 0; i < f->set.count; i++) {
		int r = dump_thread(w, f, &f->gates[i]);

		if (r == -ENOTSUP)
			why_add(why, "thread %d is in a call that was broken off before",
				f->set.threads[i].ns_tid);
		if (r < 0)
			return r == -ENOTSUP ? r : why_err(why, r, "read a thread");
	}
	return 0;
}

/* ---- build ---- */

static int bear(struct image_built *b, unsigned i)
{
	struct gate *leader = &b->gates[0];
	uint64_t at = leader->slot->area + PAGE;
	struct tracee *t = &b->set.threads[i];
	int32_t tid = b->m.thread[i]->tid;
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
			set_tid, set_tid_size;
		int32_t tid;
	} a = { .flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			 CLONE_SYSVSEM,
		.set_tid = at + offsetof(__typeof__(a), tid),
		.set_tid_size = 1,
		.tid = tid };
	int64_t ret = 0;
	int r = tracee_write(leader->t->tid, at, &a, sizeof(a));

	if (r == 0)
		r = GATE_CALL(leader, &ret, SYS_clone3, at, offsetof(__typeof__(a), tid));
	if (r == 0 && ret != tid)
		r = ret < 0 ? (int)ret : -EPROTO;
	if (r < 0 || leader->born == 0)
		return r < 0 ? r : -EPROTO;
	*t = (struct tracee){ .tid = leader->born, .ns_tid = tid };
	b->set.count = i + 1;
	r = tracee_wait(t, STOP_MS);
	if (r < 0)
		return r;
	FAULT("image.build.born");
	r = gate_park_born(&b->gates[i], b->env.slots, b->env.proc, b->set.pid, t, GATE_BUILD,
			   leader->slot->gate);
	if (r == 0)
		b->parked = i + 1;
	return r;
}

struct own_call {
	bool wanted;
	const char *what;
	int64_t nr;
	uint64_t arg[6];
};

static int set_own(struct image_built *b, unsigned i)
{
	const Pando__Image__Thread *m = b->m.thread[i];
	uint64_t at = b->gates[0].slot->area + PAGE;
	struct {
		uint64_t altstack[3];
		char comm[16];
		struct sched_param param;
		uint8_t affinity[AFFINITY_MAX];
	} words = { .altstack = { m->altstack, m->altstack_flags & ~1u /* SS_ONSTACK: it is */,
				  m->altstack_size } };
	const struct own_call calls[] = {
		{ true, "name a thread", SYS_prctl, { PR_SET_NAME, at + sizeof(words.altstack) } },
		{ m->altstack_size != 0, "set a signal stack", SYS_sigaltstack, { at, 0 } },
		{ true, "set the tid address", SYS_set_tid_address, { m->tid_address } },
		{ m->robust != 0,
		  "set the robust list",
		  SYS_set_robust_list,
		  { m->robust, m->robust_len } },
		{ m->rseq != 0,
		  "register rseq",
		  SYS_rseq,
		  { m->rseq, m->rseq_size, 0, m->rseq_sig } },
		{ true, "set timer slack", SYS_prctl, { PR_SET_TIMERSLACK, m->slack_ns } },
		{ m->policy != SCHED_OTHER,
		  "set its scheduling policy",
		  SYS_sched_setscheduler,
		  { 0, m->policy, at + offsetof(__typeof__(words), param) } },
		{ m->nice != 0,
		  "set its nice value",
		  SYS_setpriority,
		  { PRIO_PROCESS, 0, (uint64_t)(int64_t)m->nice } },
		{ m->affinity.len > 0,
		  "run on the processors it asked for",
		  SYS_sched_setaffinity,
		  { 0, m->affinity.len, at + offsetof(__typeof__(words), affinity) } },
	};
	pid_t tid = b->set.threads[i].tid;
	int r;

	(void)snprintf(words.comm, sizeof(words.comm), "%s", m->comm);
	if (m->affinity.len > 0)
		memcpy(words.affinity, m->affinity.data, m->affinity.len);
	r = tracee_write(tid, at, &words, sizeof(words));
	for (unsigned k = 0; r == 0 && k < ARRAY_LEN(calls); k++) {
		int64_t ret = 0;

		if (!calls[k].wanted)
			continue;
		r = gate_call(&b->gates[i], &ret, calls[k].nr, calls[k].arg);
		if (r == 0 && ret < 0)
			return why_err(b->why, (int)ret, calls[k].what);
	}
	return r < 0 ? why_err(b->why, r, "set up a thread") : 0;
}

int image_threads_build(struct image_built *b)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < b->m.threads; i++) {
		if (i > 0)
			r = bear(b, i);
		if (r == -EEXIST)
			why_add(b->why, "thread id %d is taken here", b->m.thread[i]->tid);
		if (r == 0)
			r = set_own(b, i);
	}
	return r;
}

static void note_sleep(struct image_built *b, pid_t tid, const struct user_regs_struct *regs,
		       uint64_t left_ns)
{
	uint64_t want = sleep_want(tid, regs);

	if (b->env.hooks && b->env.hooks->sleep_note && want != LEFT_FOREVER && left_ns <= want)
		b->env.hooks->sleep_note(b->env.arg, tid, clock_mono_ns() - (want - left_ns));
}

/* Registers, pending signals, sleeps: what has to wait until nothing else is called. */
static int ready_one(struct image_built *b, unsigned i)
{
	const Pando__Image__Thread *m = b->m.thread[i];
	uint64_t at = b->gates[0].slot->area + PAGE;
	struct gate *g = &b->gates[i];
	struct user_regs_struct regs;
	int r = image_pending_build(g, &m->pending, b->m.head->pid, m->tid, at);

	if (r == 0 && i == 0)
		r = image_pending_build(g, &b->m.signals->pending, b->m.head->pid, 0, at);
	if (r < 0)
		return why_err(b->why, r, "queue pending signals");
	memcpy(&regs, m->regs.data, sizeof(regs));
	if (sleeps(&regs)) {
		note_sleep(b, g->t->tid, &regs, m->left_ns);
		r = sleep_again(g, &regs, m->left_ns, at);
	}
	if (r == 0)
		r = tracee_set_xstate(g->t, m->xstate.data, m->xstate.len);
	if (r < 0)
		return why_err(b->why, r, "set registers");
	g->slot->regs = regs;
	g->slot->mask = m->mask;
	return 0;
}

int image_threads_ready(struct image_built *b)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < b->m.threads; i++)
		r = ready_one(b, i);
	/* The gates go into the restored vdso, so that the area can be unmapped. */
	for (unsigned i = 0; r == 0 && i < b->m.threads; i++)
		r = gate_rehome(&b->gates[i], b->m.mm->vdso_end);
	if (r == 0)
		r = gate_area_drop(&b->gates[0]);
	for (unsigned i = 0; r == 0 && i < b->m.threads; i++)
		atomic_store(&b->gates[i].slot->role, GATE_READY);
	return r;
}
