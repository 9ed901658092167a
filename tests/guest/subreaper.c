/* SPDX-License-Identifier: Apache-2.0 */
/* subreaper.c - a sub-reaper gets its orphaned grandchildren. */
#include "tests/guest/guest.h"

#include <sys/prctl.h>

int main(void)
{
	int fds[2], status, on = 0;
	pid_t middle, grandchild, got, told;

	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	must(prctl(PR_GET_CHILD_SUBREAPER, &on) == 0 && on == 1);
	must(pipe(fds) == 0);
	middle = fork_child();
	if (middle == 0) {
		pid_t me = getpid();

		grandchild = fork_child();
		if (grandchild == 0) {
			while (getppid() == me)
				pause_ms(1);
			told = getppid();
			must(write(fds[1], &told, sizeof(told)) == sizeof(told));
			_exit(9);
		}
		must(write(fds[1], &grandchild, sizeof(grandchild)) == sizeof(grandchild));
		_exit(1);
	}
	say("middle: %s", status_text(reap(middle)));
	must(read(fds[0], &grandchild, sizeof(grandchild)) == sizeof(grandchild));
	must(read(fds[0], &told, sizeof(told)) == sizeof(told));
	say("the grandchild's parent is the sub-reaper: %d", told == getpid());
	got = waitpid(-1, &status, 0);
	say("reaped the grandchild: %d, %s", got == grandchild, status_text(status));
	middle = fork_child();
	if (middle == 0) {
		must(prctl(PR_GET_CHILD_SUBREAPER, &on) == 0);
		_exit(on);
	}
	say("not inherited: %s", status_text(reap(middle)));
	return 0;
}
