/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waits.c - calls whose answer is put right before the caller goes on; see usage.h.
 *
 *	wait4, waitid that ask for usage, getrusage(RUSAGE_CHILDREN), times
 *
 * A mend seizes the calling thread and stops it behind its call. If that waits, it is begun anew
 * under our eyes, and its end stops the thread; a signal that comes first ends the mend, and the
 * call comes again by itself. A call is mended when it is notified and something is known of the
 * caller's children. One that was begun before anything was known is looked for when an end is
 * told, before the stub hears of it: in the host's own words, for we may not have been there.
 */
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/pando-kernel/kin/usage.h"
#include "kernel/host/mem.h"

#define LET_GO_SIGNAL (SIGRTMIN + 8)
#define LET_GO_NS     (2 * NS_PER_MS)
#define STACK_BYTES   (128 * 1024)
#define MENDS_MAX     256
#define DEPTH_MAX     64
#define RECENT        256
#define RESTARTS      (-512) /* ERESTARTSYS: no program sees it */

struct mend {
	struct list link;
	struct world *w;
	pid_t tgid; /* node's, as is tid */
	pid_t tid;
	gpid gpid; /* of its process */
	int nr;
	uint64_t args[6];
	struct init_slot *slot; /* answered when it is seized; NULL: it waits already */
	bool armed;             /* it will be stopped behind its call, or there is no need */
	bool guessed;           /* it was running: which call, if any, its stop tells */
	bool let_go;            /* by lock, as are the next two */
	bool answered;
	bool over;   /* its thread is about to run on: the next call is another one */
	gpid waited; /* 0: it asks for all */
	struct kept_used used;
	pthread_t thread;
	struct loop_post on_armed;
	struct loop_post on_asked;
	struct loop_post on_done;
};

/* An end that is told when all mends that are under way are armed. */
struct end {
	struct list link;
	gpid pid;
	usage_fn fn;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* mends, and what is said above */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct list mends = LIST_INIT(mends);
static unsigned mends_count;
static struct list ends = LIST_INIT(ends);
static pid_t recent[RECENT]; /* atomic: who has begun such a wait */

/* ---- the calls ---- */
/* Where what it asks for is to be written; 0: it does not ask. */
static uint64_t result_of(int nr, const uint64_t args[6])
{
	return nr == SYS_wait4       ? args[3]
	       : nr == SYS_waitid    ? args[4]
	       : nr == SYS_getrusage ? args[1]
	       : nr == SYS_times     ? args[0]
				     : 0;
}

static bool is_wait(int nr)
{
	return nr == SYS_wait4 || nr == SYS_waitid;
}

/* Whom the wait has found; 0: nobody, or it does not say. */
static gpid waited_of(const struct mend *m, int64_t ret)
{
	siginfo_t si;

	if (m->nr == SYS_wait4)
		return (gpid)ret;
	if (m->args[2] == 0 || mem_read(m->tid, m->args[2], &si, sizeof(si)) != 0)
		return 0;
	return si.si_pid;
}

static int write_times(const struct mend *m)
{
	const uint64_t tick_us = 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
	struct tms t;
	int r = mem_read(m->tid, m->args[0], &t, sizeof(t));

	if (r != 0)
		return r;
	t.tms_cutime += (clock_t)(m->used.user_us / tick_us);
	t.tms_cstime += (clock_t)(m->used.system_us / tick_us);
	return mem_write(m->tid, m->args[0], &t, sizeof(t));
}

static int write_usage(const struct mend *m)
{
	uint64_t at = result_of(m->nr, m->args);
	struct rusage ru;
	int r = mem_read(m->tid, at, &ru, sizeof(ru));

	if (r != 0)
		return r;
	usage_put(&m->used, &ru);
	return mem_write(m->tid, at, &ru, sizeof(ru));
}

/* The call has been made, and its thread stands behind it. */
static void put_right(struct mend *m, int64_t ret)
{
	if (ret < 0 || result_of(m->nr, m->args) == 0)
		return;
	m->waited = is_wait(m->nr) ? waited_of(m, ret) : 0;
	if (is_wait(m->nr) && m->waited == 0)
		return;
	loop_post(m->w->loop, &m->on_asked);
	(void)pthread_mutex_lock(&lock);
	while (!m->answered)
		(void)pthread_cond_wait(&changed, &lock);
	(void)pthread_mutex_unlock(&lock);
	if ((m->nr == SYS_times ? write_times(m) : write_usage(m)) != 0)
		log_debug("thread %d takes no usage", m->tid);
}

/* ---- the thread of a mend ---- */
static void arm(struct mend *m)
{
	if (!m->armed)
		loop_post(m->w->loop, &m->on_armed);
	m->armed = true;
}

static void set_over(struct mend *m)
{
	(void)pthread_mutex_lock(&lock);
	m->over = true;
	(void)pthread_mutex_unlock(&lock);
}

static bool is_let_go(struct mend *m)
{
	bool is;

	(void)pthread_mutex_lock(&lock);
	is = m->let_go;
	(void)pthread_mutex_unlock(&lock);
	return is;
}

/* False: the task is gone. */
static bool wait_stop(struct mend *m, int *status)
{
	for (;;) {
		pid_t r = waitpid(m->tid, status, __WALL | __WNOTHREAD);

		if (r == m->tid)
			return WIFSTOPPED(*status);
		if (r >= 0 || errno != EINTR)
			return false;
		if (is_let_go(m))
			(void)ptrace(PTRACE_INTERRUPT, m->tid, NULL, NULL);
	}
}

static bool in_call(struct mend *m, const struct user_regs_struct *r)
{
	const uint64_t args[6] = { r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9 };
	int nr = (int)r->orig_rax;

	if (m->guessed && is_wait(nr)) {
		m->nr = nr;
		memcpy(m->args, args, sizeof(args));
	}
	return nr == m->nr && result_of(nr, args) != 0 &&
	       result_of(nr, args) == result_of(nr, m->args);
}

/* Its next stop; true: it goes on from this one under our eyes. */
static bool go_on(struct mend *m, int status, bool *entered)
{
	bool at_call = WSTOPSIG(status) == (SIGTRAP | 0x80);
	bool ours = status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) == SIGTRAP;
	struct user_regs_struct r;

	if ((!at_call && !ours) || ptrace(PTRACE_GETREGS, m->tid, NULL, &r) != 0 ||
	    !in_call(m, &r) || is_let_go(m))
		return false;
	if (at_call && !*entered) {
		*entered = true;
		return true;
	}
	if ((int64_t)r.rax == RESTARTS)
		return ours && is_wait(m->nr);
	put_right(m, (int64_t)r.rax);
	return false;
}

static void carry_out(struct mend *m)
{
	bool entered = false;
	int status;

	while (wait_stop(m, &status)) {
		int signo = status >> 16 == 0 && WSTOPSIG(status) != (SIGTRAP | 0x80)
				    ? WSTOPSIG(status)
				    : 0;
		bool on = go_on(m, status, &entered);

		arm(m);
		if (!on)
			set_over(m);
		if (ptrace(on ? PTRACE_SYSCALL : PTRACE_DETACH, m->tid, NULL,
			   (void *)(long)signo) != 0 ||
		    !on)
			return;
	}
}

static void *mend_thread(void *arg)
{
	struct mend *m = arg;
	bool seized = ptrace(PTRACE_SEIZE, m->tid, NULL, (void *)(long)PTRACE_O_TRACESYSGOOD) == 0;

	/* Traced by a guest, it keeps what the host says. */
	if (seized && ptrace(PTRACE_INTERRUPT, m->tid, NULL, NULL) != 0)
		log_debug("thread %d has ended", m->tid);
	if (!seized)
		set_over(m);
	if (m->slot) {
		notify_set_run(m->slot);
		notify_answer(m->w->notify, m->slot);
	}
	if (seized)
		carry_out(m);
	arm(m);
	loop_post(m->w->loop, &m->on_done);
	return NULL;
}

/* ---- the loop's side ---- */
static void ends_look(struct world *w)
{
	struct end *e, *tmp;
	struct mend *m;

	list_for_each (m, &mends, link)
		if (m->on_armed.cb)
			return;
	list_for_each_safe (e, tmp, &ends, link) {
		list_del(&e->link);
		e->fn(w, e->pid);
		free(e);
	}
}

static void on_armed(struct loop_post *post)
{
	struct mend *m = container_of(post, struct mend, on_armed);

	m->on_armed.cb = NULL;
	ends_look(m->w);
}

static void on_asked(struct loop_post *post)
{
	struct mend *m = container_of(post, struct mend, on_asked);

	m->used = m->waited ? usage_of(m->w, m->waited) : usage_of_kids(m->w, m->gpid);
	(void)pthread_mutex_lock(&lock);
	m->answered = true;
	(void)pthread_cond_broadcast(&changed);
	(void)pthread_mutex_unlock(&lock);
}

static void on_done(struct loop_post *post)
{
	struct mend *m = container_of(post, struct mend, on_done);

	(void)pthread_join(m->thread, NULL);
	(void)pthread_mutex_lock(&lock);
	list_del(&m->link);
	mends_count--;
	(void)pthread_cond_broadcast(&changed);
	(void)pthread_mutex_unlock(&lock);
	free(m);
}

static bool is_mended(pid_t tid)
{
	const struct mend *m;
	bool is = false;

	(void)pthread_mutex_lock(&lock);
	list_for_each (m, &mends, link)
		is |= m->tid == tid && !m->over;
	(void)pthread_mutex_unlock(&lock);
	return is;
}

static int start(struct mend *m)
{
	pthread_attr_t a;
	int r = -pthread_attr_init(&a);

	if (r != 0)
		return r;
	(void)pthread_attr_setstacksize(&a, STACK_BYTES);
	r = -pthread_create(&m->thread, &a, mend_thread, m);
	(void)pthread_attr_destroy(&a);
	return r;
}

/* @slot: it is held; answered by the mend if this returns 0. */
static int mend_begin(struct world *w, const struct task_info *t, pid_t tid, int nr,
		      const uint64_t args[6], struct init_slot *slot)
{
	struct mend *m = mends_count < MENDS_MAX ? calloc(1, sizeof(*m)) : NULL;
	int r;

	if (!m)
		return -ENOMEM;
	*m = (struct mend){ .w = w,
			    .tgid = t->pid,
			    .tid = tid,
			    .gpid = t->gpid,
			    .nr = nr,
			    .slot = slot,
			    .guessed = nr == 0,
			    .on_armed.cb = on_armed,
			    .on_asked.cb = on_asked,
			    .on_done.cb = on_done };
	memcpy(m->args, args, sizeof(m->args));
	list_init(&m->on_armed.link);
	list_init(&m->on_asked.link);
	list_init(&m->on_done.link);
	(void)pthread_mutex_lock(&lock);
	list_add_tail(&mends, &m->link);
	mends_count++;
	r = start(m);
	if (r != 0) {
		list_del(&m->link);
		mends_count--;
	}
	(void)pthread_mutex_unlock(&lock);
	if (r != 0)
		free(m);
	return r;
}

/* ---- calls that are notified ---- */
bool usage_concerns(const struct world *w, const struct init_slot *s)
{
	const struct notify_call *n = notify_call(s);

	/* A stub's waits are ours, and ask for what the host counts. Whoever else calls from there
	 * gets no more than that either. */
	if (n->ip >= STUB_BASE && n->ip < STUB_DATA)
		return false;
	if (is_wait(n->nr)) {
		__atomic_store_n(&recent[n->pid % RECENT], (pid_t)n->pid, __ATOMIC_RELAXED);
		__atomic_store_n(&w->kept->usage_waiters, 1, __ATOMIC_SEQ_CST);
	}
	return usage_is_any(w);
}

/* The process of a thread; its pid is the node's. */
static int read_process(const struct world *w, pid_t tid, struct task_info *t)
{
	char text[4096];
	ssize_t n = task_file(w->view.procfs, tid, "status", text, sizeof(text));
	const char *at = n > 0 ? strstr(text, "\nTgid:") : NULL;

	return at ? task_read(t, w->view.procfs, (pid_t)atoi(at + 6)) : -ESRCH;
}

void usage_call(struct world *w, struct init_slot *s)
{
	const struct notify_call *n = notify_call(s);
	struct task_info t;

	if (!is_mended((pid_t)n->pid) && read_process(w, (pid_t)n->pid, &t) == 0 &&
	    notify_valid(w->notify, s) && usage_has_kids(w, t.gpid) && !move_is_busy(w, t.gpid) &&
	    mend_begin(w, &t, (pid_t)n->pid, n->nr, n->args, s) == 0)
		return;
	notify_set_run(s);
	notify_answer(w->notify, s);
}

/* ---- waits that were begun before ---- */
/* proc(5), /proc/PID/syscall: the call that it is blocked in, with its arguments. */
static bool begun_wait(const struct world *w, pid_t tgid, pid_t tid, int *nr, uint64_t args[6])
{
	unsigned long long v[6];
	char name[64], text[512];

	(void)snprintf(name, sizeof(name), "task/%d/syscall", tid);
	if (task_file(w->view.procfs, tgid, name, text, sizeof(text)) <= 0)
		return false;
	/* It was about to, or has been a moment ago: its stop will tell. */
	if (strncmp(text, "running", 7) == 0) {
		*nr = 0;
		return __atomic_load_n(&recent[tid % RECENT], __ATOMIC_RELAXED) == tid;
	}
	if (sscanf(text, "%d %llx %llx %llx %llx %llx %llx", nr, &v[0], &v[1], &v[2], &v[3], &v[4],
		   &v[5]) != 7)
		return false;
	for (size_t i = 0; i < 6; i++)
		args[i] = v[i];
	return is_wait(*nr) && result_of(*nr, args) != 0;
}

static void mend_threads(struct world *w, const struct task_info *t)
{
	char path[32];
	struct dirent *e;
	DIR *d;
	int fd;

	(void)snprintf(path, sizeof(path), "%d/task", t->pid);
	fd = openat(w->view.procfs, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d && fd >= 0)
		(void)close(fd);
	while (d && (e = readdir(d)) != NULL) {
		pid_t tid = (pid_t)atoi(e->d_name);
		uint64_t args[6] = { 0 };
		int nr;

		if (tid > 0 && !is_mended(tid) && begun_wait(w, t->pid, tid, &nr, args) &&
		    mend_begin(w, t, tid, nr, args, NULL) != 0)
			log_debug("the wait of thread %d is not put right", tid);
	}
	if (d)
		(void)closedir(d);
}

void usage_ready(struct world *w, const struct stub *s, usage_fn fn)
{
	bool any = __atomic_load_n(&w->kept->usage_waiters, __ATOMIC_SEQ_CST) != 0;
	struct end *e = any ? calloc(1, sizeof(*e)) : NULL;
	struct task_info t;

	if (!e) {
		fn(w, s->gpid);
		return;
	}
	*e = (struct end){ .pid = s->gpid, .fn = fn };
	list_add_tail(&ends, &e->link);
	if (task_read(&t, w->view.procfs, s->pid) != 0)
		t.node_ppid = 0;
	for (unsigned depth = 0; t.node_ppid > 1 && depth < DEPTH_MAX; depth++) {
		if (task_read(&t, w->view.procfs, t.node_ppid) != 0 || t.uid == 0 ||
		    stubs_find(w->stubs, t.gpid))
			break;
		if (!move_is_busy(w, t.gpid))
			mend_threads(w, &t);
	}
	ends_look(w);
}

/* ---- moves ---- */
static void on_let_go(int signo)
{
	(void)signo;
}

/* One that has not got to its waitpid() yet does not hear the signal: it is sent again. */
void usage_let_go(pid_t pid)
{
	(void)pthread_mutex_lock(&lock);
	for (;;) {
		struct timespec until;
		struct mend *m;
		bool any = false;

		list_for_each (m, &mends, link) {
			if (m->tgid != pid)
				continue;
			any = true;
			m->let_go = true;
			(void)pthread_kill(m->thread, LET_GO_SIGNAL);
		}
		if (!any)
			break;
		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += (long)LET_GO_NS;
		until.tv_sec += until.tv_nsec / (long)NS_PER_S;
		until.tv_nsec %= (long)NS_PER_S;
		(void)pthread_cond_timedwait(&changed, &lock, &until);
	}
	(void)pthread_mutex_unlock(&lock);
}

int usage_open(void)
{
	/* Not restarted: it ends a waitpid(). */
	struct sigaction sa = { .sa_handler = on_let_go };

	return sigaction(LET_GO_SIGNAL, &sa, NULL) == 0 ? 0 : -errno;
}
