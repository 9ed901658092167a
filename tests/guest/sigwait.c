/* SPDX-License-Identifier: Apache-2.0 */
/* sigwait.c - sigwaitinfo and sigtimedwait. */
#include "tests/guest/guest.h"

int main(void)
{
	struct timespec none = { 0, 0 }, limit = { 10, 0 };
	siginfo_t si;
	sigset_t set, pending;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	must(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	fails(EAGAIN, sigtimedwait(&set, &si, &none));
	raise(SIGUSR2);
	must(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR2));
	must(!sigismember(&pending, SIGUSR1));
	must(sigwaitinfo(&set, &si) == SIGUSR2);
	say("pending signal taken");
	pid = fork_child();
	if (pid == 0) {
		wait_state(getppid(), "S");
		must(kill(getppid(), SIGUSR1) == 0);
		_exit(0);
	}
	must(sigtimedwait(&set, &si, &limit) == SIGUSR1 && si.si_pid == pid);
	say("woken by a child's signal");
	must(reap(pid) == 0);
	return 0;
}
