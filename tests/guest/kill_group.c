/* SPDX-License-Identifier: Apache-2.0 */
/* kill_group.c - kill(0), kill(-pgid), kill(-1) and the null signal. */
#include "tests/guest/guest.h"

static volatile sig_atomic_t got;

static void note(int sig)
{
	got++;
}

int main(void)
{
	int ready[2], status;
	char c;
	pid_t leader;

	must(pipe(ready) == 0);
	leader = fork_child();
	if (leader == 0) {
		pid_t child[3];

		must(setpgid(0, 0) == 0);
		on_signal(SIGUSR1, note, 0);
		block_signal(SIGUSR1);
		for (int i = 0; i < 3; i++) {
			child[i] = fork_child();
			if (child[i] == 0) {
				sigset_t none;

				must(write(ready[1], "r", 1) == 1);
				sigemptyset(&none);
				while (got == 0)
					sigsuspend(&none);
				_exit(20 + i);
			}
		}
		for (int i = 0; i < 3; i++)
			must(read(ready[0], &c, 1) == 1);
		must(kill(0, SIGUSR1) == 0);
		for (int i = 0; i < 3; i++)
			say("kill(0): %s", status_text(reap(child[i])));
		_exit(0);
	}
	must(reap(leader) == 0);
	leader = fork_child();
	if (leader == 0) {
		must(setpgid(0, 0) == 0);
		must(write(ready[1], "r", 1) == 1);
		pause();
	}
	must(read(ready[0], &c, 1) == 1);
	must(kill(-leader, 0) == 0);
	must(kill(-leader, SIGINT) == 0);
	must(waitpid(leader, &status, 0) == leader);
	say("kill(-pgid): %s", status_text(status));
	fails(ESRCH, kill(-leader, SIGINT));
	fails(ESRCH, kill(leader, 0));
	fails(EINVAL, kill(getpid(), 65));
	must(kill(getpid(), 0) == 0);
	say("null signal to itself");
	return 0;
}
