/* SPDX-License-Identifier: Apache-2.0 */
/* session.c - setsid: leader of session and group, no terminal; only once. */
#include "tests/guest/guest.h"

int main(void)
{
	pid_t before = getsid(0), pid;

	must(getsid(getpid()) == before);
	pid = fork_child();
	if (pid == 0) {
		must(setsid() == getpid());
		must(getsid(0) == getpid() && getpgrp() == getpid());
		say("a session of its own");
		fails(EPERM, setsid());
		fails(EPERM, setpgid(0, 0));
		fails(ENXIO, open("/dev/tty", O_RDWR));
		pid = fork_child();
		if (pid == 0) {
			must(getsid(0) == getppid());
			must(setpgid(0, 0) == 0);
			say("a child: same session, own group");
			_exit(0);
		}
		_exit(WEXITSTATUS(reap(pid)));
	}
	must(reap(pid) == 0);
	must(getsid(0) == before);
	fails(ESRCH, getsid(0x3ffffff));
	return 0;
}
