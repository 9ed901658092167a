/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage.c - what children have used that execute on other nodes, where there are some: in wait4,
 * waitid, getrusage and times, however the wait was begun.
 */
#include "tests/guest/place.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/times.h>

#define BURN_MS 150
#define TOUCHED (24 << 20)

static int turn;

static const char *next_node(void)
{
	static const char *const nodes[] = { "n2", "n3", "n1" };

	return nodes[turn++ % 3];
}

static void run(const char *node, const char *role)
{
	place_next(node);
	execl("/proc/self/exe", "usage", role, NULL);
	_exit(127);
}

static pid_t child(const char *role)
{
	const char *node = next_node();
	pid_t pid = fork_child();

	if (pid == 0)
		run(node, role);
	return pid;
}

/* One that stays, whose child goes. */
static pid_t child_of_child(void)
{
	const char *node = next_node();
	pid_t pid = fork_child();

	if (pid == 0) {
		pid_t below = fork_child();

		if (below == 0)
			run(node, "burn");
		_exit(reap(below) == 0 ? 0 : 1);
	}
	return pid;
}

/* ---- what they do ---- */
static void burn(void)
{
	struct timespec t;
	char *p = malloc(TOUCHED);

	must(p != NULL);
	for (size_t i = 0; i < TOUCHED; i += 4096)
		*(volatile char *)(p + i) = 1;
	do {
		for (volatile int i = 0; i < 100000; i++)
			;
		must(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
	} while (t.tv_sec * 1000 + t.tv_nsec / 1000000 < BURN_MS);
	free(p);
}

static int role_main(const char *role)
{
	if (strcmp(role, "burn") == 0)
		burn();
	if (strcmp(role, "late") == 0) { /* its parent waits by then */
		pause_ms(100);
		burn();
	}
	return 0;
}

/* ---- what is seen ---- */
static long cpu_ms(const struct rusage *u)
{
	return (u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000 +
	       (u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1000;
}

/* As much as one has burnt, and not twice that. */
static bool is_one(long ms)
{
	if (ms >= BURN_MS - 20 && ms < 2 * BURN_MS)
		return true;
	printf("%ld ms\n", ms);
	return false;
}

static bool is_whole(const struct rusage *u)
{
	bool is = is_one(cpu_ms(u)) && u->ru_maxrss >= TOUCHED / 1024 &&
		  u->ru_minflt >= TOUCHED / 4096 / 2;

	if (!is)
		printf("%ld KiB, %ld faults\n", u->ru_maxrss, u->ru_minflt);
	return is;
}

static long children_ms(void)
{
	struct rusage u;

	must(getrusage(RUSAGE_CHILDREN, &u) == 0);
	return cpu_ms(&u);
}

static long ticks(void)
{
	struct tms t;

	must(times(&t) != (clock_t)-1);
	return t.tms_cutime + t.tms_cstime;
}

static int waitid_usage(pid_t pid, siginfo_t *si, int options, struct rusage *u)
{
	return (int)syscall(SYS_waitid, P_PID, pid, si, options, u);
}

static void waits(void)
{
	struct rusage u, again;
	siginfo_t si = { 0 };
	int status;
	pid_t pid = child("late");

	must(wait4(pid, &status, 0, &u) == pid && status == 0);
	say("a wait that was begun before: %d", is_whole(&u));

	pid = child("burn");
	while ((status = wait4(pid, NULL, WNOHANG, &u)) == 0)
		pause_ms(2);
	say("one that never blocks: %d %d", status == pid, is_whole(&u));

	pid = child("late");
	must(waitid_usage(pid, &si, WEXITED | WNOWAIT, &u) == 0 && si.si_pid == pid);
	must(waitid_usage(pid, &si, WEXITED, &again) == 0 && si.si_pid == pid);
	say("waitid, and once more: %d %d", is_whole(&u), is_whole(&again));

	pid = child("late");
	must(wait4(-1, &status, 0, &u) == pid && status == 0);
	say("any child: %d", is_whole(&u));

	pid = child("idle");
	must(wait4(pid, &status, 0, &u) == pid && status == 0);
	say("one that does nothing: %d", cpu_ms(&u) < BURN_MS);
}

static void sums(void)
{
	long before = children_ms(), ticks_before = ticks(), now;
	pid_t pid = child("burn"), other = child("burn");

	must(reap(pid) == 0);
	now = children_ms();
	say("children: %d", is_one(now - before));
	must(reap(other) == 0);
	say("both: %d", is_one(children_ms() - now));
	now = ticks() - ticks_before;
	say("times: %d", is_one(now * 1000 / sysconf(_SC_CLK_TCK) / 2));
}

static void generations(void)
{
	long before = children_ms();
	struct rusage u;
	int status;
	pid_t pid = child_of_child();

	must(wait4(pid, &status, 0, &u) == pid && status == 0);
	say("a child's child, in wait4: %d", is_whole(&u));
	say("in getrusage: %d", is_one(children_ms() - before));
	before = children_ms();
	must(reap(child_of_child()) == 0);
	say("with nobody who asked before: %d", is_one(children_ms() - before));
}

static void ignored(void)
{
	long before = children_ms();
	int status;

	on_signal(SIGCHLD, SIG_IGN, 0);
	child("burn");
	must(waitpid(-1, &status, 0) == -1 && errno == ECHILD);
	on_signal(SIGCHLD, SIG_DFL, 0);
	say("of children that are ignored: %ld", (children_ms() - before) / (BURN_MS / 2));
}

static void *wait_in_thread(void *arg)
{
	struct rusage *u = arg;
	int status;

	must(wait4(-1, &status, 0, u) > 0 && status == 0);
	return NULL;
}

static void threads(void)
{
	struct rusage u;
	pthread_t thread;

	must(pthread_create(&thread, NULL, wait_in_thread, &u) == 0 || errno == 0);
	must(pthread_join(thread, NULL) == 0);
	say("a thread waits: %d", is_whole(&u));
}

/* Its usage comes with a wait that a handler has broken off meanwhile. */
static void nothing(int sig)
{
	(void)sig;
}

static void interrupted(void)
{
	struct rusage u;
	int status, n = 0;
	pid_t pid;

	on_signal(SIGALRM, nothing, 0);
	must(setitimer(ITIMER_REAL,
		       &(struct itimerval){ .it_value = { 0, 20000 }, .it_interval = { 0, 20000 } },
		       NULL) == 0);
	pid = child("late");
	while (wait4(pid, &status, 0, &u) != pid) {
		must(errno == EINTR);
		n++;
	}
	must(setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL) == 0);
	on_signal(SIGALRM, SIG_DFL, 0);
	say("broken off: %d, and then: %d", n > 0, is_whole(&u));
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return role_main(argv[1]);
	waits();
	sums();
	generations();
	ignored();
	interrupted();
	child("late");
	threads();
	return 0;
}
