/* SPDX-License-Identifier: Apache-2.0 */
/* ptrace_child.c - tracing a child: stops, registers, memory, syscalls, exit event. */
#include "tests/guest/guest.h"

#include <sys/ptrace.h>
#include <sys/user.h>

static volatile long secret = 111;

int main(void)
{
	struct user_regs_struct regs;
	unsigned long msg;
	int status, calls = 0;
	pid_t pid = fork_child();

	if (pid == 0) {
		must(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
		raise(SIGSTOP);
		syscall(SYS_getppid);
		_exit((int)secret);
	}
	must(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	say("%s", status_text(status));
	must(ptrace(PTRACE_SETOPTIONS, pid, 0,
		    PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL) == 0);
	must(ptrace(PTRACE_PEEKDATA, pid, &secret, 0) == 111);
	must(ptrace(PTRACE_POKEDATA, pid, &secret, 42) == 0);
	for (;;) {
		must(ptrace(PTRACE_SYSCALL, pid, 0, 0) == 0);
		must(waitpid(pid, &status, 0) == pid);
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80))
			break;
		must(ptrace(PTRACE_GETREGS, pid, 0, &regs) == 0);
		calls += regs.orig_rax == SYS_getppid;
	}
	say("getppid seen %d times", calls);
	must(status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8));
	must(ptrace(PTRACE_GETEVENTMSG, pid, 0, &msg) == 0);
	say("exit event: %lu", msg >> 8);
	must(ptrace(PTRACE_CONT, pid, 0, 0) == 0);
	say("%s", status_text(reap(pid)));
	fails(ESRCH, (int)ptrace(PTRACE_CONT, pid, 0, 0));
	fails(ESRCH, (int)ptrace(PTRACE_ATTACH, 0x3ffffff, 0, 0));
	pid = fork_child();
	if (pid == 0)
		for (;;)
			pause();
	must(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 && ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0);
	must(waitpid(pid, &status, 0) == pid);
	say("interrupted: event %d", status >> 16);
	must(ptrace(PTRACE_DETACH, pid, 0, 0) == 0 && kill(pid, SIGTERM) == 0);
	say("%s", status_text(reap(pid)));
	return 0;
}
