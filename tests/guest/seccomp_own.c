/* SPDX-License-Identifier: Apache-2.0 */
/* seccomp_own.c - a program that filters itself: errno, trap, kill; inherited. */
#include "tests/guest/guest.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

static volatile int trapped;

static void handler(int sig, siginfo_t *si, void *ctx)
{
	trapped = si->si_syscall;
}

static void filter(uint32_t nr, uint32_t action)
{
	struct sock_filter ins[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { COUNT(ins), ins };

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) == 0);
}

int main(void)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		filter(SYS_getppid, SECCOMP_RET_ERRNO | 77);
		must(syscall(SYS_getppid) == -1 && errno == 77);
		say("errno of its own");
		pid = fork_child();
		if (pid == 0)
			_exit(syscall(SYS_getppid) == -1);
		say("inherited: %s", status_text(reap(pid)));
		on_siginfo(SIGSYS, handler, 0);
		filter(SYS_getpgrp, SECCOMP_RET_TRAP);
		syscall(SYS_getpgrp);
		say("trapped %d", trapped == SYS_getpgrp);
		filter(SYS_getsid, SECCOMP_RET_KILL_PROCESS);
		syscall(SYS_getsid, 0);
		_exit(0);
	}
	say("signal %d", WTERMSIG(reap(pid)));
	return 0;
}
