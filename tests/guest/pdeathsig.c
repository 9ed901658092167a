/* SPDX-License-Identifier: Apache-2.0 */
/* pdeathsig.c - PR_SET_PDEATHSIG comes when the parent is gone, and not after exec of its setting.
 */
#include "tests/guest/guest.h"

#include <sys/prctl.h>

int main(void)
{
	int told[2], sig = 0;
	char text[64] = "";
	ssize_t n;
	pid_t parent;

	must(pipe(told) == 0);
	parent = fork_child();
	if (parent == 0) {
		pid_t child = fork_child();

		if (child == 0) {
			struct timespec limit = { 10, 0 };
			sigset_t set;

			block_signal(SIGUSR2);
			must(prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0);
			must(prctl(PR_GET_PDEATHSIG, &sig) == 0 && sig == SIGUSR2);
			must(write(told[1], "r", 1) == 1);
			sigemptyset(&set);
			sigaddset(&set, SIGUSR2);
			sig = sigtimedwait(&set, NULL, &limit);
			must(write(told[1], sig == SIGUSR2 ? "d" : "-", 1) == 1);
			_exit(0);
		}
		pause();
		_exit(0);
	}
	close(told[1]);
	must(read(told[0], text, 1) == 1);
	must(kill(parent, SIGKILL) == 0);
	say("parent: %s", status_text(reap(parent)));
	n = read(told[0], text, sizeof(text));
	must(n == 1 && text[0] == 'd');
	say("the child was told");
	must(prctl(PR_SET_PDEATHSIG, SIGTERM) == 0);
	parent = fork_child();
	if (parent == 0) {
		must(prctl(PR_GET_PDEATHSIG, &sig) == 0);
		say("inherited by fork: %d", sig);
		_exit(0);
	}
	reap(parent);
	return 0;
}
