/* SPDX-License-Identifier: Apache-2.0 */
/* vfork_exec.c - vfork shares memory, suspends the parent until exec or exit. */
#include "tests/guest/guest.h"

static volatile int seen;

int main(int argc, char **argv)
{
	char *again[] = { argv[0], "again", NULL };
	pid_t pid;

	if (argc > 1) {
		say("the new program");
		return 3;
	}
	fflush(stdout);
	pid = vfork();
	if (pid == 0) {
		seen = 1;
		_exit(2);
	}
	must(pid > 0 && seen == 1);
	say("%s", status_text(reap(pid)));
	pid = vfork();
	if (pid == 0) {
		execv("/proc/self/exe", again);
		_exit(127);
	}
	must(pid > 0);
	say("%s", status_text(reap(pid)));
	pid = vfork();
	if (pid == 0) {
		execv("/nowhere", again);
		seen = errno;
		_exit(127);
	}
	must(pid > 0 && seen == ENOENT);
	say("%s", status_text(reap(pid)));
	return 0;
}
