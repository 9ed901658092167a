/* SPDX-License-Identifier: Apache-2.0 */
/* nocldwait.c - SA_NOCLDWAIT and ignored SIGCHLD: no zombies, wait ends with ECHILD. */
#include "tests/guest/guest.h"

static volatile sig_atomic_t signals;

static void count(int sig)
{
	signals++;
}

static void try(const char *what)
{
	int status;
	pid_t pid = fork_child();

	if (pid == 0)
		_exit(1);
	errno = 0;
	while (waitpid(-1, &status, 0) == -1 && errno == EINTR)
		;
	must(errno == ECHILD);
	must(kill(pid, 0) == -1 && errno == ESRCH);
	say("%s: nothing to wait for", what);
}

int main(void)
{
	on_signal(SIGCHLD, SIG_IGN, 0);
	try("ignored");
	on_signal(SIGCHLD, count, SA_NOCLDWAIT);
	try("SA_NOCLDWAIT");
	say("handler still called: %d", signals);
	on_signal(SIGCHLD, count, SA_NOCLDSTOP);
	signals = 0;
	return 0;
}
