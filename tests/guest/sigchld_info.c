/* SPDX-License-Identifier: Apache-2.0 */
/* sigchld_info.c - what SIGCHLD tells about each change of a child. */
#include "tests/guest/guest.h"

static pid_t child;

static void next(const char *what)
{
	struct timespec limit = { 10, 0 };
	siginfo_t si;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	must(sigtimedwait(&set, &si, &limit) == SIGCHLD);
	must(si.si_pid == child && si.si_uid == getuid());
	say("%s: code %d status %d", what, si.si_code, si.si_status);
}

int main(void)
{
	block_signal(SIGCHLD);
	child = fork_child();
	if (child == 0)
		_exit(300 & 0xff);
	next("exits");
	reap(child);
	child = fork_child();
	if (child == 0)
		for (;;)
			pause();
	must(kill(child, SIGSTOP) == 0);
	next("stops");
	must(kill(child, SIGCONT) == 0);
	next("continues");
	must(kill(child, SIGTERM) == 0);
	next("is killed");
	say("%s", status_text(reap(child)));
	return 0;
}
