/* SPDX-License-Identifier: Apache-2.0 */
/* orphan.c - an orphan gets another parent; an orphaned stopped group is hung up. */
#include "tests/guest/guest.h"

int main(void)
{
	int fds[2];
	char text[32] = "";
	pid_t middle;
	size_t n = 0;

	must(pipe(fds) == 0);
	middle = fork_child();
	if (middle == 0) {
		pid_t me = getpid(), child = fork_child();

		if (child == 0) {
			while (getppid() == me)
				pause_ms(1);
			must(write(fds[1], "adopted ", 8) == 8);
			_exit(0);
		}
		_exit(0);
	}
	close(fds[1]);
	reap(middle);
	while (n < sizeof(text) - 1 && read(fds[0], text + n, 1) == 1)
		n++;
	say("%s", text);

	/* POSIX: a stopped group that becomes orphaned gets SIGHUP and SIGCONT. */
	must(pipe(fds) == 0);
	middle = fork_child();
	if (middle == 0) {
		pid_t child;

		must(setsid() == getpid());
		child = fork_child();
		if (child == 0) {
			sigset_t set;
			int sig;

			sigemptyset(&set);
			sigaddset(&set, SIGHUP);
			must(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
			must(setpgid(0, 0) == 0);
			raise(SIGSTOP);
			must(sigwait(&set, &sig) == 0 && sig == SIGHUP);
			must(write(fds[1], "hung up", 7) == 7);
			_exit(0);
		}
		must(waitpid(child, NULL, WUNTRACED) == child);
		_exit(0);
	}
	close(fds[1]);
	reap(middle);
	memset(text, 0, sizeof(text));
	must(read(fds[0], text, sizeof(text) - 1) == 7);
	say("%s", text);
	return 0;
}
