/* SPDX-License-Identifier: Apache-2.0 */
/* clone3.c - clone3: a child with a pidfd and its own exit signal. */
#include "tests/guest/guest.h"

#include <linux/sched.h>

int main(void)
{
	int pidfd = -1;
	struct clone_args args = { .flags = CLONE_PIDFD,
				   .pidfd = (uint64_t)(uintptr_t)&pidfd,
				   .exit_signal = SIGUSR1 };
	siginfo_t si = { 0 };
	struct timespec limit = { 10, 0 };
	sigset_t set;
	long pid;

	block_signal(SIGUSR1);
	fflush(stdout);
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		_exit(3);
	must(pid > 0 && pidfd >= 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	must(sigtimedwait(&set, &si, &limit) == SIGUSR1 && si.si_pid == pid);
	say("the signal of its choice");
	fails(ECHILD, waitpid((pid_t)pid, NULL, 0));
	must(waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED | __WCLONE) == 0);
	say("status %d", si.si_status);
	args.exit_signal = 1000;
	fails(EINVAL, syscall(SYS_clone3, &args, sizeof(args)));
	fails(EINVAL, syscall(SYS_clone3, &args, 8));
	return 0;
}
