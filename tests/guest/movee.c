/* SPDX-License-Identifier: Apache-2.0 */
/*
 * movee MODE [N] - programs whose output is the same however often they are
 * moved, and wrong if anything of them was lost on the way. They print a line
 * per step, and "bad ..." for what should not be.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEPS 40
#define WORDS (1 << 18)

static void say(const char *what, uint64_t n)
{
	char line[80];
	int len = snprintf(line, sizeof(line), "%s %lu\n", what, (unsigned long)n);

	if (write(1, line, (size_t)len) != len)
		exit(3);
}

static uint64_t now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- compute N: threads that check their memory, their TLS and their vector registers ---- */

static __thread uint64_t tls_mark;
static pthread_barrier_t step_begin, step_end;
static uint64_t thread_sum[16];

static int vector_kept(uint64_t us)
{
	uint64_t in[4] = { 1, 2, 3, 4 }, out[4] = { 0 };

	if (!__builtin_cpu_supports("avx"))
		return 1;
	/* No call and no vector code between: only the kernel could change it. */
	__asm__ volatile("vmovdqu (%0), %%ymm15" : : "r"(in) : "xmm15");
	for (volatile int i = 0; i < (int)(us * 3000); i++)
		;
	__asm__ volatile("vmovdqu %%ymm15, (%0)" : : "r"(out) : "memory");
	return memcmp(in, out, sizeof(in)) == 0;
}

static void *compute_thread(void *arg)
{
	unsigned id = (unsigned)(uintptr_t)arg;
	uint64_t *mem = malloc(WORDS * sizeof(*mem));

	tls_mark = 0x1000 + id;
	for (unsigned i = 0; i < WORDS; i++)
		mem[i] = i * (id + 1);
	for (unsigned step = 0; step < STEPS; step++) {
		uint64_t sum = 0;

		(void)pthread_barrier_wait(&step_begin);
		for (unsigned i = 0; i < WORDS; i++) {
			if (mem[i] != i * (id + 1) + step)
				say("bad memory", i);
			mem[i]++;
			sum += mem[i];
		}
		if (tls_mark != 0x1000 + id)
			say("bad tls", id);
		if (!vector_kept(3000))
			say("bad vector register", id);
		thread_sum[id] = sum;
		(void)pthread_barrier_wait(&step_end);
	}
	free(mem);
	return NULL;
}

static int compute(unsigned threads)
{
	pthread_t t[16];

	(void)pthread_barrier_init(&step_begin, NULL, threads + 1);
	(void)pthread_barrier_init(&step_end, NULL, threads + 1);
	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(&t[i], NULL, compute_thread, (void *)(uintptr_t)i) != 0)
			return 2;
	for (unsigned step = 0; step < STEPS; step++) {
		uint64_t all = 0;

		(void)pthread_barrier_wait(&step_begin);
		(void)pthread_barrier_wait(&step_end);
		for (unsigned i = 0; i < threads; i++)
			all = all * 31 + thread_sum[i];
		say("sum", all);
	}
	for (unsigned i = 0; i < threads; i++)
		(void)pthread_join(t[i], NULL);
	return 0;
}

/* ---- signals: alternate stack, pending ones, interval and posix timers ---- */

static volatile sig_atomic_t ticks, posix_ticks, off_stack;
static char *alt;

static void on_alarm(int sig)
{
	char here;

	if (&here < alt || &here >= alt + 65536)
		off_stack = 1;
	if (sig == SIGALRM)
		ticks++;
	else
		posix_ticks++;
}

static void spin_until(volatile sig_atomic_t *what, int count)
{
	while (*what < count)
		;
}

static int signals(void)
{
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_ONSTACK | SA_RESTART };
	struct itimerval it = { { 0, 4000 }, { 0, 4000 } };
	struct itimerspec its = { { 0, 7000000 }, { 0, 7000000 } };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
	union sigval v = { .sival_int = 42 };
	sigset_t blocked, now;
	siginfo_t si;
	timer_t timer;
	stack_t ss;

	alt = malloc(65536);
	ss = (stack_t){ .ss_sp = alt, .ss_size = 65536 };
	if (sigaltstack(&ss, NULL) < 0 || sigaction(SIGALRM, &sa, NULL) < 0 ||
	    sigaction(SIGUSR2, &sa, NULL) < 0)
		return 2;
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGUSR1);
	(void)sigaddset(&blocked, SIGRTMIN + 2);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	(void)sigqueue(getpid(), SIGRTMIN + 2, v);
	v.sival_int = 43;
	(void)sigqueue(getpid(), SIGRTMIN + 2, v);
	(void)raise(SIGUSR1);
	(void)setitimer(ITIMER_REAL, &it, NULL);
	if (timer_create(CLOCK_MONOTONIC, &ev, &timer) < 0 ||
	    timer_settime(timer, 0, &its, NULL) < 0)
		return 2;
	for (unsigned step = 0; step < STEPS; step++) {
		spin_until(&ticks, ticks + 3);
		if (step % 4 == 0)
			spin_until(&posix_ticks, posix_ticks + 1);
		say("step", step);
	}
	it = (struct itimerval){ { 0, 0 }, { 0, 0 } };
	(void)setitimer(ITIMER_REAL, &it, NULL);
	(void)timer_delete(timer);
	(void)sigprocmask(SIG_BLOCK, NULL, &now);
	say(sigismember(&now, SIGUSR1) ? "mask kept" : "bad mask", 1);
	for (int i = 0; i < 3; i++) {
		if (sigwaitinfo(&blocked, &si) < 0)
			return 2;
		say("pending", (uint64_t)si.si_signo);
		say("value", si.si_signo == SIGUSR1 ? 0 : (uint64_t)si.si_value.sival_int);
		if (si.si_pid != getpid())
			say("bad sender", (uint64_t)si.si_pid);
	}
	say(off_stack ? "bad stack" : "stack kept", 1);
	return 0;
}

/* ---- sleep: what was left of a sleep is slept, and what the move took ---- */

static int sleeping(void)
{
	for (unsigned step = 0; step < 8; step++) {
		struct timespec t = { 0, 150000000 };
		uint64_t us = now_us();
		int r = step % 2 ? poll(NULL, 0, 150) : nanosleep(&t, NULL);

		us = now_us() - us;
		if (r != 0)
			say("bad result", (uint64_t)errno);
		if (us < 149000)
			say("bad: too short", us);
		if (us > 3000000)
			say("bad: too long", us);
		say("slept", step);
	}
	return 0;
}

/* ---- files: offsets, shared and not, append, directory, umask ---- */

static int files(const char *dir)
{
	char path[256], c[2];
	int a, b, d, log;

	if (chdir(dir) < 0)
		return 2;
	(void)snprintf(path, sizeof(path), "movee.%d", getpid());
	(void)umask(027);
	log = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
	for (int i = 0; i < 400; i++)
		if (dprintf(log, "%04d\n", i) != 5)
			return 2;
	a = open(path, O_RDONLY);
	b = dup(a);
	d = open(path, O_RDONLY);
	if (fcntl(d, F_DUPFD, 57) != 57)
		return 2;
	for (unsigned step = 0; step < STEPS; step++) {
		struct timespec t = { 0, 4000000 };

		if (read(a, c, 1) != 1 || read(b, c + 1, 1) != 1)
			say("bad read", (uint64_t)errno);
		say("shared",
		    (uint64_t)lseek(a, 0, SEEK_CUR) * 256 + (uint64_t)c[0] + (uint64_t)c[1]);
		if (read(57, c, 1) != 1)
			say("bad read", (uint64_t)errno);
		say("own", (uint64_t)lseek(d, 0, SEEK_CUR));
		if (dprintf(log, "%04u\n", step) != 5)
			say("bad append", (uint64_t)errno);
		(void)nanosleep(&t, NULL);
	}
	say("cloexec", (uint64_t)fcntl(log, F_GETFD));
	say("append", (uint64_t)lseek(log, 0, SEEK_END));
	say("umask", umask(0));
	return unlink(path) == 0 ? 0 : 2;
}

/* ---- mapped: what is written by a shared mapping is in the file, and the other way about ---- */

static int mapped(const char *dir)
{
	volatile unsigned *at;
	char path[256];
	unsigned seen;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/mapped.%d", dir, getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 8192) < 0)
		return 2;
	at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (at == MAP_FAILED)
		return 2;
	for (unsigned step = 0; step < STEPS; step++) {
		struct timespec t = { 0, 4000000 };

		at[1024] = step;
		fd = open(path, O_RDWR);
		if (fd < 0 || pread(fd, &seen, 4, 4096) != 4 || seen != step)
			say("bad file", seen);
		seen = step * 3;
		if (pwrite(fd, &seen, 4, 0) != 4)
			say("bad write", (uint64_t)errno);
		(void)close(fd);
		(void)nanosleep(&t, NULL);
		say("mapped", at[0]);
	}
	return unlink(path) == 0 ? 0 : 2;
}

/* ---- parent: its child stays, it goes and comes back, and waits ---- */

static int parent(void)
{
	int status, go[2];
	char c;
	pid_t child;

	if (pipe(go) < 0)
		return 2;
	child = fork();
	if (child == 0) {
		(void)close(go[1]);
		_exit(read(go[0], &c, 1) == 0 ? 7 : 8);
	}
	(void)close(go[0]);
	(void)fcntl(go[1], F_SETFD, FD_CLOEXEC);
	(void)dup2(go[1], 100);
	(void)close(go[1]);
	say("born", 1);
	for (unsigned step = 0; step < STEPS; step++) {
		struct timespec t = { 0, 4000000 };

		(void)nanosleep(&t, NULL);
		say("step", step);
	}
	(void)close(100);
	if (waitpid(child, &status, 0) != child)
		say("bad wait", (uint64_t)errno);
	say("child", (uint64_t)status);
	return 0;
}

/* ---- attributes: what a process has set of itself, looked at again at each step ---- */

static void look(const char *what, long is, long should)
{
	if (is != should)
		say(what, (uint64_t)is);
}

static int attributes(void)
{
	struct rlimit files_max = { 100, 200 }, now;
	struct sched_param param = { 0 };
	cpu_set_t one, cpus;
	char name[16];
	int sig, reaper;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (nice(5) != 5 || sched_setscheduler(0, SCHED_BATCH, &param) < 0 ||
	    sched_setaffinity(0, sizeof(one), &one) < 0 || prctl(PR_SET_NAME, "attributes") < 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGUSR1) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ||
	    prctl(PR_SET_TIMERSLACK, 12345) < 0 || setrlimit(RLIMIT_NOFILE, &files_max) < 0 ||
	    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) < 0)
		return 2;
	(void)signal(SIGCHLD, SIG_IGN);
	for (unsigned step = 0; step < STEPS; step++) {
		struct timespec t = { 0, 4000000 };

		(void)nanosleep(&t, NULL);
		look("bad nice", getpriority(PRIO_PROCESS, 0), 5);
		look("bad policy", sched_getscheduler(0), SCHED_BATCH);
		(void)sched_getaffinity(0, sizeof(cpus), &cpus);
		look("bad affinity", CPU_EQUAL(&one, &cpus), 1);
		(void)prctl(PR_GET_NAME, name);
		look("bad name", strcmp(name, "attributes"), 0);
		(void)prctl(PR_GET_PDEATHSIG, &sig);
		look("bad pdeathsig", sig, SIGUSR1);
		(void)prctl(PR_GET_CHILD_SUBREAPER, &reaper);
		look("bad subreaper", reaper, 1);
		look("bad slack", prctl(PR_GET_TIMERSLACK), 12345);
		look("bad thp", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
		look("bad dumpable", prctl(PR_GET_DUMPABLE), 1);
		(void)getrlimit(RLIMIT_NOFILE, &now);
		look("bad limit", (long)(now.rlim_cur * 1000 + now.rlim_max), 100200);
		look("bad SIGCHLD", signal(SIGCHLD, SIG_IGN) == SIG_IGN, 1);
		say("step", step);
	}
	return 0;
}

/* ---- refused KIND: what cannot move ---- */

static int refused(const char *kind)
{
	struct flock lock = { .l_type = F_WRLCK };
	char path[] = "/tmp/moveeXXXXXX";
	int ok = 0;

	if (strcmp(kind, "shared") == 0)
		ok = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) !=
		     MAP_FAILED;
	if (strcmp(kind, "both") == 0) {
		int fd = mkstemp(path), end[2];

		ok = fd >= 0 && ftruncate(fd, 4096) == 0 && pipe(end) == 0 &&
		     mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED;
		(void)close(fd);
		if (ok && fork() == 0) {
			char c;

			(void)close(end[1]);
			_exit(read(end[0], &c, 1) == 0 ? 0 : 1);
		}
		(void)close(end[0]);
	}
	if (strcmp(kind, "locked") == 0)
		ok = mlock(path, sizeof(path)) == 0;
	if (strcmp(kind, "privileges") == 0)
		ok = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
	if (strcmp(kind, "inotify") == 0)
		ok = inotify_init1(0) >= 0;
	if (strcmp(kind, "lock") == 0) {
		int fd = mkstemp(path);

		ok = fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0;
	}
	if (strcmp(kind, "deleted") == 0)
		ok = mkstemp(path) >= 0 && unlink(path) == 0;
	say(ok ? "ready" : "bad setup", 1);
	for (char c; read(0, &c, 1) > 0;)
		say("alive", (uint64_t)c);
	(void)unlink(path);
	return 0;
}

/* ---- events: eventfd, signalfd, timerfd, and an epoll instance that waits for them ---- */

static int watch(int ep, int fd, uint64_t data)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = data };

	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static int events(void)
{
	struct itimerspec its = { { 0, 6000000 }, { 0, 6000000 } };
	int ep = epoll_create1(EPOLL_CLOEXEC), tfd = timerfd_create(CLOCK_MONOTONIC, 0);
	int efd = eventfd(STEPS + 3, EFD_SEMAPHORE | EFD_NONBLOCK), sfd;
	struct signalfd_siginfo si;
	int idle[2];
	uint64_t n;
	sigset_t s;

	(void)sigemptyset(&s);
	(void)sigaddset(&s, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &s, NULL);
	sfd = signalfd(-1, &s, SFD_NONBLOCK);
	if (watch(ep, tfd, 0x1111222233334444) < 0 || pipe(idle) < 0 || watch(ep, idle[0], 7) < 0 ||
	    sfd < 0 || timerfd_settime(tfd, 0, &its, NULL) < 0)
		return 2;
	for (unsigned step = 0; step < STEPS; step++) {
		struct epoll_event e;

		if (epoll_wait(ep, &e, 1, -1) != 1)
			say("bad epoll_wait", (uint64_t)errno);
		if (e.data.u64 != 0x1111222233334444)
			say("bad data", e.data.u64);
		if (read(tfd, &n, sizeof(n)) != sizeof(n) || n == 0)
			say("bad timerfd", (uint64_t)errno);
		if (read(efd, &n, sizeof(n)) != sizeof(n) || n != 1)
			say("bad eventfd", n);
		(void)raise(SIGUSR1);
		if (read(sfd, &si, sizeof(si)) != sizeof(si) || si.ssi_signo != SIGUSR1)
			say("bad signalfd", (uint64_t)errno);
		say("step", step);
	}
	for (n = 0; read(efd, &n, sizeof(n)) == sizeof(n);)
		say("left", n);
	say("cloexec", (uint64_t)fcntl(ep, F_GETFD));
	return 0;
}

/* ---- blocked: a read that is waited in while moved ---- */

static int blocked(void)
{
	char c;
	ssize_t n;

	while ((n = read(0, &c, 1)) == 1)
		say("got", (uint64_t)c);
	say(n == 0 ? "end" : "bad read", n < 0 ? (uint64_t)errno : 0);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "compute") == 0)
		return compute(argc > 2 ? (unsigned)atoi(argv[2]) : 1);
	if (strcmp(mode, "signals") == 0)
		return signals();
	if (strcmp(mode, "sleep") == 0)
		return sleeping();
	if (strcmp(mode, "files") == 0)
		return files(argc > 2 ? argv[2] : "/tmp");
	if (strcmp(mode, "mapped") == 0)
		return mapped(argv[2]);
	if (strcmp(mode, "parent") == 0)
		return parent();
	if (strcmp(mode, "events") == 0)
		return events();
	if (strcmp(mode, "attributes") == 0)
		return attributes();
	if (strcmp(mode, "refused") == 0)
		return refused(argc > 2 ? argv[2] : "");
	if (strcmp(mode, "blocked") == 0)
		return blocked();
	return 2;
}
