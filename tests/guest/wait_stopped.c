/* SPDX-License-Identifier: Apache-2.0 */
/* wait_stopped.c - a parent sees stops and continuations of its child, once each. */
#include "tests/guest/guest.h"

int main(void)
{
	static const int stops[] = { SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU };
	int status, go[2];
	char c;
	pid_t pid;

	must(pipe(go) == 0);
	pid = fork_child();
	if (pid == 0) {
		must(setpgid(0, 0) == 0); /* not orphaned: its parent is in another group */
		for (size_t i = 0; i < COUNT(stops); i++)
			must(read(go[0], &c, 1) == 1 && raise(stops[i]) == 0);
		must(read(go[0], &c, 1) == 1);
		_exit(4);
	}
	for (size_t i = 0; i < COUNT(stops); i++) {
		must(write(go[1], "g", 1) == 1); /* one at a time: a stop hides a continuation */
		must(waitpid(pid, &status, WUNTRACED | WCONTINUED) == pid);
		say("%s", status_text(status));
		must(waitpid(pid, &status, WUNTRACED | WCONTINUED | WNOHANG) == 0);
		must(task_state(pid) == 'T');
		must(kill(pid, SIGCONT) == 0);
		must(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
		say("%s", status_text(status));
	}
	must(write(go[1], "g", 1) == 1);
	must(waitpid(pid, &status, 0) == pid);
	say("%s", status_text(status));

	pid = fork_child();
	if (pid == 0) {
		raise(SIGSTOP);
		_exit(0);
	}
	must(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	must(kill(pid, SIGKILL) == 0); /* goes through a stop */
	say("%s", status_text(reap(pid)));
	return 0;
}
