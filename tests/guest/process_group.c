/* SPDX-License-Identifier: Apache-2.0 */
/* process_group.c - setpgid and its rules. */
#include "tests/guest/guest.h"

int main(int argc, char **argv)
{
	char *again[] = { argv[0], "again", NULL };
	int ready[2];
	pid_t a, b;

	if (argc > 1) {
		must(write(4, "r", 1) == 1);
		pause();
	}
	must(pipe(ready) == 0);
	a = fork_child();
	if (a == 0) {
		pause();
		_exit(0);
	}
	must(getpgid(a) == getpgrp());
	must(setpgid(a, a) == 0 && getpgid(a) == a);
	b = fork_child();
	if (b == 0) {
		must(dup2(ready[1], 4) == 4);
		execv("/proc/self/exe", again);
		_exit(127);
	}
	must(read(ready[0], again, 1) == 1);
	fails(EACCES, setpgid(b, a));
	fails(ESRCH, setpgid(0x3ffffff, 0));
	fails(EPERM, setpgid(0, 0x3ffffff));
	fails(EINVAL, setpgid(0, -1));
	fails(ESRCH, getpgid(0x3ffffff));
	must(kill(-a, SIGTERM) == 0);
	say("a: %s", status_text(reap(a)));
	must(kill(b, SIGKILL) == 0);
	say("b: %s", status_text(reap(b)));
	fails(ESRCH, kill(-a, 0));
	return 0;
}
