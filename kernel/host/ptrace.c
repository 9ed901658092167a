/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/host/ptrace.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"

#define WATCHDOG_SIGNAL (SIGRTMIN + 7)
#define STOP_EVENT(st)  ((unsigned)(st) >> 16)
#define AGAIN_MS        50
#define XSTATE_MAX      65536
#define THREADS_MAX     32768

/* ---- waiting, with an end to it: waitpid() knows no timeout, a timer interrupts it ---- */

static void watchdog_barks(int sig)
{
	(void)sig;
}

static void watchdog_install(void)
{
	struct sigaction sa = { .sa_handler = watchdog_barks };

	(void)sigaction(WATCHDOG_SIGNAL, &sa, NULL);
}

static int watchdog_start(timer_t *timer, unsigned timeout_ms)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = WATCHDOG_SIGNAL };
	/* It repeats: the first may come before waitpid() is entered. */
	struct itimerspec t = { .it_interval = { 0, 1000000 },
				.it_value = { timeout_ms / 1000,
					      (long)(timeout_ms % 1000) * 1000000 } };

	(void)pthread_once(&once, watchdog_install);
	ev._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &ev, timer) < 0)
		return -errno;
	if (timer_settime(*timer, 0, &t, NULL) < 0) {
		int err = -errno;

		(void)timer_delete(*timer);
		return err;
	}
	return 0;
}

static int wait_blocking(pid_t tid, int *status, unsigned timeout_ms)
{
	uint64_t end_ns = clock_mono_ns() + timeout_ms * NS_PER_MS;
	timer_t timer;
	int r = watchdog_start(&timer, timeout_ms);

	if (r < 0)
		return r;
	for (;;) {
		r = waitpid(tid, status, __WALL | __WNOTHREAD);
		if (r >= 0)
			break;
		r = -errno;
		if (r != -EINTR)
			break;
		r = -EBUSY;
		if (clock_mono_ns() >= end_ns)
			break;
	}
	(void)timer_delete(timer);
	return r;
}

/* Returns the tid, -EBUSY, or -ESRCH: it is not ours (any more). */
static int wait_stop(pid_t tid, int *status, unsigned timeout_ms)
{
	int r = waitpid(tid, status, __WALL | __WNOTHREAD | WNOHANG);

	if (r == 0)
		r = wait_blocking(tid, status, timeout_ms);
	else if (r < 0)
		r = -errno;
	if (r == -ECHILD)
		return -ESRCH;
	return r;
}

int tracee_wait(struct tracee *t, unsigned timeout_ms)
{
	int status;
	int r = wait_stop(t->tid, &status, timeout_ms);

	if (r < 0)
		return r;
	t->stop = status;
	return WIFSTOPPED(status) ? status : -ECHILD;
}

int tracee_wait_any(int *status, unsigned timeout_ms)
{
	return wait_stop(-1, status, timeout_ms);
}

static int resume(pid_t tid, int request, int sig)
{
	return ptrace(request, tid, NULL, (void *)(long)sig) < 0 ? -errno : 0;
}

/* A signal between its queue and its handler, not an event, group stop or system call. */
static bool is_signal_stop(int status)
{
	return STOP_EVENT(status) == 0 && WSTOPSIG(status) != (SIGTRAP | 0x80);
}

int tracee_run(struct tracee *t, int request, unsigned timeout_ms)
{
	int status, r;

	for (;;) {
		r = resume(t->tid, request, 0);
		if (r < 0)
			return r;
		t->stop = 0;
		r = wait_stop(t->tid, &status, timeout_ms);
		if (r < 0)
			return r;
		t->stop = status;
		if (!WIFSTOPPED(status))
			return -ECHILD;
		if (!is_signal_stop(status) || WSTOPSIG(status) != SIGSTOP)
			return status;
		t->held_sig = SIGSTOP;
	}
}

/* ---- seizing ---- */

static int set_add(struct tracee_set *set, pid_t tid)
{
	struct tracee *more;

	if (set->count >= THREADS_MAX)
		return -ENOMEM;
	more = realloc(set->threads, (set->count + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	set->threads = more;
	more[set->count++] = (struct tracee){ .tid = tid };
	return 0;
}

static bool set_has(const struct tracee_set *set, pid_t tid)
{
	for (unsigned i = 0; i < set->count; i++)
		if (set->threads[i].tid == tid)
			return true;
	return false;
}

static int seize(struct tracee_set *set, pid_t tid)
{
	int r;

	if (ptrace(PTRACE_SEIZE, tid, NULL, (void *)(long)PTRACE_O_TRACESYSGOOD) < 0)
		return -errno;
	r = set_add(set, tid);
	if (r < 0)
		return r;
	/* ESRCH: it died since; the wait says so. */
	(void)ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
	return 0;
}

/* Seizes the threads that are new since the last look; returns how many. */
static int seize_new(struct tracee_set *set, int proc)
{
	char path[64];
	struct dirent *e;
	int fresh = 0, r = 0, fd;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%d/task", set->pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	d = fdopendir(fd);
	if (!d) {
		(void)close(fd);
		return -ENOMEM;
	}
	while (r == 0 && (e = readdir(d))) {
		pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);

		if (tid <= 0 || set_has(set, tid))
			continue;
		r = seize(set, tid);
		if (r == -ESRCH && tid != set->pid)
			r = 0; /* a thread that ended meanwhile */
		else
			fresh++;
	}
	(void)closedir(d);
	return r < 0 ? r : fresh;
}

static bool is_group_stop(int status)
{
	return STOP_EVENT(status) == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP;
}

static void set_remove(struct tracee_set *set, unsigned i)
{
	memmove(&set->threads[i], &set->threads[i + 1],
		(set->count - i - 1) * sizeof(*set->threads));
	set->count--;
}

static struct tracee *set_find(struct tracee_set *set, pid_t tid)
{
	for (unsigned i = 0; i < set->count; i++)
		if (set->threads[i].tid == tid)
			return &set->threads[i];
	return NULL;
}

/* Takes one stop of @t. Returns whether it is settled: it stands still for us, or has ended. */
static bool settle(struct tracee *t, int status)
{
	t->stop = status;
	if (!WIFSTOPPED(status) || !is_signal_stop(status))
		return true;
	/* A signal that is being delivered goes its way first; it has used up the interrupt. */
	t->stop = 0;
	(void)ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL);
	(void)resume(t->tid, PTRACE_CONT, WSTOPSIG(status));
	return false;
}

/* An exec that was on its way when we came forgets that it is to stop (seen on 6.18). */
static void interrupt_again(const struct tracee_set *set, unsigned first)
{
	for (unsigned i = first; i < set->count; i++)
		if (set->threads[i].stop == 0)
			(void)ptrace(PTRACE_INTERRUPT, set->threads[i].tid, NULL, NULL);
}

/*
 * Waits for whichever comes first: one may be in the middle of an exec that waits
 * for the others to be reaped, by us.
 */
static int await_from(struct tracee_set *set, unsigned first, unsigned timeout_ms,
		      tracee_nudge_fn nudge, void *arg)
{
	unsigned left = set->count - first, waited_ms = 0;
	int status;

	for (unsigned n = first; nudge && n < set->count; n++)
		nudge(arg, set->threads[n].tid);
	while (left > 0) {
		int tid = wait_stop(-1, &status, AGAIN_MS);
		struct tracee *t;

		if (tid == -EBUSY && (waited_ms += AGAIN_MS) < timeout_ms) {
			interrupt_again(set, first);
			continue;
		}

		if (tid == -ESRCH)
			break; /* nobody is left */
		if (tid < 0)
			return tid;
		t = set_find(set, tid);
		if (t && t->stop == 0 && settle(t, status))
			left--;
		else if (t && !WIFSTOPPED(status))
			t->stop = status;
	}
	for (unsigned i = set->count; i-- > 0;) {
		struct tracee *t = &set->threads[i];

		if (WIFSTOPPED(t->stop)) {
			set->group_stopped |= is_group_stop(t->stop);
			continue;
		}
		if (t->tid == set->pid)
			return -ESRCH;
		set_remove(set, i);
	}
	return 0;
}

/* The last number of "NSpid:" is the pid in the innermost namespace. */
static int read_ns_tid(int proc, pid_t tid, pid_t *out)
{
	cleanup_buf struct buf b = BUF_INIT;
	const char *p, *text;
	char *end;
	int r = tracee_proc_read(proc, tid, "status", &b);

	if (r < 0)
		return r;
	text = buf_str(&b);
	p = text ? strstr(text, "\nNSpid:") : NULL;
	if (!p)
		return -ENOSYS;
	p += strlen("\nNSpid:");
	*out = 0;
	for (;;) {
		long v = strtol(p, &end, 10);

		if (end == p || *p == '\n')
			break;
		*out = (pid_t)v;
		if (*end != '\t')
			break;
		p = end;
	}
	return *out > 0 ? 0 : -ENOSYS;
}

static int read_ns_tids(struct tracee_set *set, int proc)
{
	for (unsigned i = 0; i < set->count; i++) {
		int r = read_ns_tid(proc, set->threads[i].tid, &set->threads[i].ns_tid);

		if (r < 0)
			return r;
	}
	set->ns_pid = set->threads[0].ns_tid;
	return 0;
}

static void leader_first(struct tracee_set *set)
{
	for (unsigned i = 1; i < set->count; i++) {
		struct tracee t = set->threads[i];

		if (t.tid != set->pid)
			continue;
		set->threads[i] = set->threads[0];
		set->threads[0] = t;
	}
}

int tracee_seize_all(struct tracee_set *set, int proc, pid_t pid, unsigned timeout_ms)
{
	return tracee_seize_nudged(set, proc, pid, timeout_ms, NULL, NULL);
}

int tracee_seize_nudged(struct tracee_set *set, int proc, pid_t pid, unsigned timeout_ms,
			tracee_nudge_fn nudge, void *arg)
{
	int fresh, r;

	*set = (struct tracee_set){ .pid = pid };
	do {
		unsigned before = set->count;

		fresh = seize_new(set, proc);
		r = fresh < 0 ? fresh : await_from(set, before, timeout_ms, nudge, arg);
	} while (r == 0 && fresh > 0);
	if (r == 0 && set->count == 0)
		r = -ESRCH;
	if (r == 0) {
		leader_first(set);
		r = read_ns_tids(set, proc);
	}
	if (r < 0)
		tracee_release_all(set);
	return r;
}

int tracee_adopt(struct tracee_set *set, int proc, pid_t pid, int stop)
{
	int r;

	*set = (struct tracee_set){ .pid = pid };
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(long)PTRACE_O_TRACESYSGOOD) < 0)
		return -errno;
	r = set_add(set, pid);
	if (r < 0)
		return r;
	set->threads[0].stop = stop;
	r = read_ns_tids(set, proc);
	if (r < 0)
		tracee_set_fini(set);
	return r;
}

void tracee_set_fini(struct tracee_set *set)
{
	free(set->threads);
	*set = (struct tracee_set)TRACEE_SET_INIT;
}

/* By descriptor: a guest kernel's own filter knows no kill(). */
static void stop_again(pid_t pid)
{
	cleanup_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	/* A process that has ended meanwhile need not be stopped. */
	if (fd >= 0)
		(void)syscall(SYS_pidfd_send_signal, fd, SIGSTOP, NULL, 0);
}

void tracee_release_all(struct tracee_set *set)
{
	int held = 0, status;

	for (unsigned i = 0; i < set->count; i++) {
		struct tracee *t = &set->threads[i];

		held |= t->held_sig;
		if (resume(t->tid, PTRACE_DETACH, 0) < 0)
			(void)waitpid(t->tid, &status, __WALL | WNOHANG);
	}
	if (held != 0)
		stop_again(set->pid);
	tracee_set_fini(set);
}

/* ---- state of a stopped thread ---- */

int tracee_get_regs(const struct tracee *t, struct user_regs_struct *r)
{
	struct iovec v = { r, sizeof(*r) };

	return ptrace(PTRACE_GETREGSET, t->tid, (void *)(long)NT_PRSTATUS, &v) < 0 ? -errno : 0;
}

int tracee_set_regs(const struct tracee *t, const struct user_regs_struct *r)
{
	struct iovec v = { (void *)(uintptr_t)r, sizeof(*r) };

	return ptrace(PTRACE_SETREGSET, t->tid, (void *)(long)NT_PRSTATUS, &v) < 0 ? -errno : 0;
}

int tracee_get_xstate(const struct tracee *t, struct buf *out)
{
	struct iovec v;
	int r = buf_reserve(out, XSTATE_MAX);

	if (r < 0)
		return r;
	v = (struct iovec){ out->data + out->len, XSTATE_MAX };
	if (ptrace(PTRACE_GETREGSET, t->tid, (void *)(long)NT_X86_XSTATE, &v) < 0)
		return -errno;
	out->len += v.iov_len;
	return 0;
}

int tracee_set_xstate(const struct tracee *t, const void *area, size_t len)
{
	struct iovec v = { (void *)(uintptr_t)area, len };

	return ptrace(PTRACE_SETREGSET, t->tid, (void *)(long)NT_X86_XSTATE, &v) < 0 ? -errno : 0;
}

int tracee_get_mask(const struct tracee *t, uint64_t *mask)
{
	return ptrace(PTRACE_GETSIGMASK, t->tid, (void *)sizeof(*mask), mask) < 0 ? -errno : 0;
}

int tracee_set_mask(const struct tracee *t, uint64_t mask)
{
	return ptrace(PTRACE_SETSIGMASK, t->tid, (void *)sizeof(mask), &mask) < 0 ? -errno : 0;
}

int tracee_get_rseq(const struct tracee *t, struct tracee_rseq *out)
{
	struct __ptrace_rseq_configuration c;

	*out = (struct tracee_rseq){ 0 };
	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, t->tid, (void *)sizeof(c), &c) < 0)
		return -errno;
	out->addr = c.rseq_abi_pointer;
	out->size = c.rseq_abi_size;
	out->sig = c.signature;
	out->flags = c.flags;
	return 0;
}

int tracee_get_robust(const struct tracee *t, uint64_t *head, uint64_t *len)
{
	*head = 0;
	*len = 0;
	return syscall(SYS_get_robust_list, t->tid, head, len) < 0 ? -errno : 0;
}

int tracee_peek_signals(const struct tracee *t, bool shared, struct buf *out)
{
	struct __ptrace_peeksiginfo_args a = { .flags = shared ? 1 : 0, .nr = 32 };
	long n;

	do {
		int r = buf_reserve(out, 32 * sizeof(siginfo_t));

		if (r < 0)
			return r;
		n = ptrace(PTRACE_PEEKSIGINFO, t->tid, &a, out->data + out->len);
		if (n < 0)
			return -errno;
		out->len += (size_t)n * sizeof(siginfo_t);
		a.off += (uint64_t)n;
	} while (n == a.nr);
	return 0;
}

int tracee_poke(const struct tracee *t, uint64_t addr, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	long word;

	for (size_t i = 0; i + sizeof(word) <= len; i += sizeof(word)) {
		memcpy(&word, p + i, sizeof(word));
		if (ptrace(PTRACE_POKEDATA, t->tid, (void *)(uintptr_t)(addr + i), (void *)word) <
		    0)
			return -errno;
	}
	return 0;
}

/* ---- memory and /proc ---- */

int tracee_read(pid_t pid, uint64_t addr, void *bytes, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct iovec to = { (uint8_t *)bytes + done, len - done };
		struct iovec from = { (void *)(uintptr_t)(addr + done), len - done };
		ssize_t n = process_vm_readv(pid, &to, 1, &from, 1, 0);

		if (n <= 0)
			return n < 0 ? -errno : -EFAULT;
		done += (size_t)n;
	}
	return 0;
}

int tracee_write(pid_t pid, uint64_t addr, const void *bytes, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct iovec from = { (uint8_t *)(uintptr_t)bytes + done, len - done };
		struct iovec to = { (void *)(uintptr_t)(addr + done), len - done };
		ssize_t n = process_vm_writev(pid, &from, 1, &to, 1, 0);

		if (n <= 0)
			return n < 0 ? -errno : -EFAULT;
		done += (size_t)n;
	}
	return 0;
}

int tracee_proc_read(int proc, pid_t pid, const char *name, struct buf *out)
{
	cleanup_close int fd = -1;
	char path[96];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%d/%s", pid, name);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	do {
		int r = buf_reserve(out, 4096);

		if (r < 0)
			return r;
		n = read(fd, out->data + out->len, out->cap - out->len);
		if (n < 0)
			return -errno;
		out->len += (size_t)n;
	} while (n > 0);
	return 0;
}
