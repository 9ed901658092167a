/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.c - what becomes of each call that the guests' filter hands to us.
 *
 * decide() runs in the receiving thread, at the same time as the loop: it reads only what stays as
 * it is after calls_open(), and postpones to the loop what needs more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/check.h"
#include "base/log.h"
#include "cmd/pando-kernel/ports/ports.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/kernel.h"
#include "kernel/stub/stub.h"
#include "kernel/sys/sys.h"

#define UFFD_IOC_NEW _IO(0xAA, 0x00) /* linux/userfaultfd.h, which has its fences */
#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif

/* The host does it, or refuses it, as for any process: what it acts on is on this node. */
static enum notify_verdict run(struct world *w, struct init_slot *s)
{
	notify_set_run(s);
	return NOTIFY_ANSWER;
}

static enum notify_verdict later(struct world *w, struct init_slot *s)
{
	return NOTIFY_LATER;
}

/* For what only the guest kernel itself may let a guest do, in a gate. */
static enum notify_verdict refuse(struct world *w, struct init_slot *s)
{
	notify_set_errno(s, -EPERM);
	return NOTIFY_ANSWER;
}

static enum notify_verdict on_prctl(struct world *w, struct init_slot *s)
{
	int what = (int)notify_call(s)->args[0];

	if (what == PR_SET_CHILD_SUBREAPER)
		return NOTIFY_LATER;
	return what == PR_SET_MM ? refuse(w, s) : run(w, s);
}

static enum notify_verdict on_ioctl(struct world *w, struct init_slot *s)
{
	unsigned command = (unsigned)notify_call(s)->args[1];

	if (command == UFFD_IOC_NEW)
		return refuse(w, s);
	return ttys_shared(w) ? NOTIFY_LATER : run(w, s);
}

static enum notify_verdict on_sysinfo(struct world *w, struct init_slot *s)
{
	machine_sysinfo(s);
	return NOTIFY_ANSWER;
}

/* An exec goes to the loop only if its process has said where it wants to be. */
static enum notify_verdict on_exec(struct world *w, struct init_slot *s)
{
	return place_wanted(w) ? NOTIFY_LATER : run(w, s);
}

static enum notify_verdict on_port(struct world *w, struct init_slot *s)
{
	return ports_concern(w, s) ? NOTIFY_LATER : run(w, s);
}

static enum notify_verdict on_group(struct world *w, struct init_slot *s)
{
	return groups_concern(w, s) ? NOTIFY_LATER : run(w, s);
}

static enum notify_verdict on_far(struct world *w, struct init_slot *s)
{
	return far_concerns(w, s) ? NOTIFY_LATER : run(w, s);
}

static enum notify_verdict on_usage(struct world *w, struct init_slot *s)
{
	return usage_concerns(w, s) ? NOTIFY_LATER : run(w, s);
}

typedef enum notify_verdict (*handler)(struct world *w, struct init_slot *s);

static const struct {
	int nr;
	handler fn;
} handlers[] = {
	{ SYS_ioctl, on_ioctl },
	{ SYS_connect, on_port },
	{ SYS_bind, on_port },
	{ SYS_listen, on_port },
	{ SYS_execve, on_exec },
	{ SYS_execveat, on_exec },
	{ SYS_kill, on_group },
	{ SYS_tkill, run },
	{ SYS_tgkill, run },
	{ SYS_rt_sigqueueinfo, run },
	{ SYS_rt_tgsigqueueinfo, run },
	{ SYS_pidfd_send_signal, run },
	{ SYS_pidfd_open, run },
	{ SYS_pidfd_getfd, run },
	{ SYS_sysinfo, on_sysinfo },
	{ SYS_ptrace, run },
	{ SYS_setpgid, on_group },
	{ SYS_setsid, on_group },
	{ SYS_getpgid, on_far },
	{ SYS_getsid, on_far },
	{ SYS_getpriority, on_far },
	{ SYS_wait4, on_usage },
	{ SYS_waitid, on_usage },
	{ SYS_getrusage, on_usage },
	{ SYS_times, on_usage },
	{ SYS_setpriority, run },
	{ SYS_prctl, on_prctl },
	{ SYS_sched_setaffinity, later },
	{ SYS_sched_getaffinity, later },
	{ SYS_prlimit64, run },
	{ SYS_process_vm_readv, run },
	{ SYS_process_vm_writev, run },
	{ SYS_process_madvise, run },
	{ SYS_process_mrelease, run },
	{ SYS_kcmp, run },
	{ KERNEL_SYS_ON, later },
	{ STUB_MAGIC, later },
};

#define DIRECT 512 /* numbers below are looked up by index */
static handler by_number[DIRECT];

static enum notify_verdict decide(void *arg, struct init_slot *s, bool again)
{
	struct world *w = arg;
	const struct notify_call *c = notify_call(s);
	int nr = c->nr;

	/*
	 * What is done for us in a gate is the host's, whatever the table says of guests. A slot
	 * alone says nothing: of who was on his way out when a predecessor died it is left.
	 */
	if (nr != STUB_MAGIC && gate_makes_call(&w->gates, (pid_t)c->pid, c->ip))
		return run(w, s);
	if (nr >= 0 && nr < DIRECT && by_number[nr])
		return by_number[nr](arg, s);
	if (nr == KERNEL_SYS_ON || nr == STUB_MAGIC)
		return NOTIFY_LATER;
	/* The filter and this program are of one build: it hands over nothing else. */
	notify_set_errno(s, -ENOSYS);
	return NOTIFY_ANSWER;
}

/* Every row of the table that the filter hands to us has its handler. */
static void check_handlers(void)
{
	size_t n;
	const struct sys_row *rows = sys_rows(&n);

	for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
		if (handlers[i].nr < DIRECT)
			by_number[handlers[i].nr] = handlers[i].fn;
	for (size_t i = 0; i < n; i++) {
		bool ours = rows[i].verdict == SYS_KERNEL;

		for (unsigned j = 0; j < rows[i].when_count; j++)
			ours |= sys_whens(&(size_t){ 0 })[rows[i].when_first + j].verdict ==
				SYS_KERNEL;
		CHECK(!ours || rows[i].nr >= DIRECT || by_number[rows[i].nr]);
	}
}

static void postponed(void *arg, struct init_slot *s)
{
	struct world *w = arg;

	switch (notify_call(s)->nr) {
	case SYS_sched_getaffinity:
		machine_getaffinity(w, s);
		break;
	case SYS_sched_setaffinity:
		machine_setaffinity(w, s);
		break;
	case KERNEL_SYS_ON:
		place_on(w, s);
		break;
	case SYS_connect:
	case SYS_bind:
	case SYS_listen:
		ports_call(w, s);
		break;
	case STUB_MAGIC:
		if (gate_slot_find(&w->gates, (pid_t)notify_call(s)->pid))
			gates_hold(w, s);
		else if (!place_magic(w, s))
			stubs_magic(w->stubs, s);
		break;
	case SYS_ioctl:
		ttys_ioctl(w, s);
		break;
	case SYS_getpgid:
	case SYS_getsid:
	case SYS_getpriority:
		far_call(w, s);
		break;
	case SYS_wait4:
	case SYS_waitid:
	case SYS_getrusage:
	case SYS_times:
		usage_call(w, s);
		break;
	case SYS_kill:
	case SYS_setpgid:
	case SYS_setsid:
	case SYS_prctl:
		groups_call(w, s);
		break;
	default:
		place_exec(w, s);
	}
}

void calls_listen(struct world *w)
{
	int fd = pid1_get(w->pid1, INIT_KEY_LISTENER), r;

	if (fd == -ENOENT)
		return; /* no guest has started yet: its entry will be told */
	r = fd < 0 ? fd : notify_listen(w->notify, fd);
	if (r != 0) {
		if (fd >= 0)
			(void)close(fd);
		/* Guests would hang: a successor may have better luck. */
		log_error("cannot receive the guests' calls: %s", strerror(-r));
		exit(1);
	}
}

int calls_open(struct world *w)
{
	int fd = pid1_get(w->pid1, INIT_KEY_SLOTS), r;

	check_handlers();
	machine_look(w);
	if (fd < 0)
		return fd;
	r = notify_new(&w->notify, w->loop, fd, decide, postponed, w);
	if (r != 0) {
		(void)close(fd);
		return r;
	}
	stubs_set_notify(w->stubs, w->notify);
	calls_listen(w);
	return 0;
}
