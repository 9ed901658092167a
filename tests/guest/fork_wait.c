/* SPDX-License-Identifier: Apache-2.0 */
/* fork_wait.c - waitpid and waitid in their variants. */
#include "tests/guest/guest.h"

static pid_t child_exits(int code)
{
	pid_t pid = fork_child();

	if (pid == 0)
		_exit(code);
	return pid;
}

int main(void)
{
	siginfo_t si;
	int hold[2], status;
	pid_t pid, group;

	must(pipe(hold) == 0);
	pid = fork_child();
	if (pid == 0) {
		char c;

		close(hold[1]);
		_exit(read(hold[0], &c, 1) == 0 ? 5 : 6);
	}
	must(waitpid(pid, &status, WNOHANG) == 0);
	memset(&si, 0, sizeof(si));
	must(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG) == 0 && si.si_pid == 0);
	say("WNOHANG: nobody yet");
	close(hold[1]);
	for (int i = 0; i < 2; i++) {
		must(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT) == 0);
		must(si.si_pid == pid && si.si_signo == SIGCHLD && si.si_code == CLD_EXITED);
		say("WNOWAIT: status %d", si.si_status);
	}
	must(waitpid(pid, &status, 0) == pid);
	say("reaped: %s", status_text(status));
	fails(ECHILD, waitpid(-1, &status, 0));

	group = child_exits(1);
	must(setpgid(group, group) == 0 || errno == EACCES || errno == ESRCH);
	fails(ECHILD, waitpid(0x3ffffff, &status, 0));
	must(waitid(P_PID, (id_t)group, &si, WEXITED) == 0);
	say("status %d", si.si_status);

	pid = fork_child();
	if (pid == 0) {
		must(setpgid(0, 0) == 0);
		raise(SIGSTOP);
		_exit(9);
	}
	must(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	must(kill(pid, SIGCONT) == 0);
	must(waitpid(-pid, &status, 0) == pid);
	say("waitpid(-pgid): %s", status_text(status));

	pid = child_exits(7);
	must(waitid(P_ALL, 0, &si, WEXITED) == 0 && si.si_pid == pid);
	say("P_ALL: status %d", si.si_status);
	pid = child_exits(8);
	must(waitid(P_PGID, (id_t)getpgrp(), &si, WEXITED) == 0 && si.si_pid == pid);
	say("P_PGID: status %d", si.si_status);
	pid = child_exits(255);
	must(waitpid(0, &status, __WALL) == pid);
	say("__WALL: %s", status_text(status));
	fails(EINVAL, waitpid(-1, &status, 0x00800000));
	return 0;
}
