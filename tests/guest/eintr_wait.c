/* SPDX-License-Identifier: Apache-2.0 */
/* eintr_wait.c - interrupted waits for children, signals and time. */
#include "tests/guest/eintr.h"
#include "tests/guest/place.h"

#include <sys/resource.h>

static int hold(void)
{
	pid_t me = getpid(), pid = fork_child();

	if (pid == 0) {
		dies_with(me);
		for (;;)
			pause();
	}
	return pid;
}

static int call_wait4(int fd)
{
	return wait4(fd, NULL, 0, NULL);
}

static int call_waitid(int fd)
{
	siginfo_t si;

	return waitid(P_ALL, 0, &si, WEXITED);
}

/* Who asks for usage asks the guest kernel. */
static int call_wait4_usage(int fd)
{
	struct rusage ru;

	return wait4(fd, NULL, 0, &ru);
}

static int call_waitid_usage(int fd)
{
	struct rusage ru;
	siginfo_t si;

	return (int)syscall(SYS_waitid, P_ALL, 0, &si, WEXITED, &ru);
}

/* As above, and a child has been elsewhere: then the wait is made for the process, and mended. */
static int hold_after_far(void)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		place_next("n3");
		execl("/bin/true", "true", NULL);
		_exit(127);
	}
	must(reap(pid) == 0);
	return hold();
}

static int call_pause(int fd)
{
	return pause();
}

static int call_nanosleep(int fd)
{
	struct timespec t = { 1000, 0 }, left = { 0, 0 };
	int r = nanosleep(&t, &left);

	must(r == 0 || (left.tv_sec >= 900 && left.tv_sec < 1000));
	return r;
}

static int call_clock_nanosleep(int fd)
{
	struct timespec t;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += 1000;
	r = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	errno = r;
	return r == 0 ? 0 : -1;
}

static int call_sigsuspend(int fd)
{
	sigset_t none;

	sigemptyset(&none);
	return sigsuspend(&none);
}

static int call_sigtimedwait(int fd)
{
	struct timespec t = { 1000, 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	must(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	return sigtimedwait(&set, NULL, &t);
}

int main(void)
{
	static const struct eintr_call calls[] = {
		{ "wait4", call_wait4, hold },
		{ "waitid", call_waitid, hold },
		{ "wait4 with usage", call_wait4_usage, hold },
		{ "waitid with usage", call_waitid_usage, hold },
		{ "wait4 after one elsewhere", call_wait4_usage, hold_after_far },
		{ "waitid after one elsewhere", call_waitid_usage, hold_after_far },
		{ "pause", call_pause, NULL },
		{ "nanosleep", call_nanosleep, NULL },
		{ "clock_nanosleep absolute", call_clock_nanosleep, NULL },
		{ "sigsuspend", call_sigsuspend, NULL },
		{ "sigtimedwait", call_sigtimedwait, NULL },
	};

	eintr_all(calls);
	return 0;
}
