/* SPDX-License-Identifier: Apache-2.0 */
/*
 * far.c - looking at, stopping and killing a grandchild, where each generation is on another node.
 *
 * On a bare host the call behind `on NODE CMD` does not exist and all run here; what they print is
 * the same.
 */
#include "tests/guest/place.h"

#include <sys/resource.h>

struct told {
	pid_t pid, pgid, sid;
};

/* Runs this program again in a role, on a node; it tells on descriptor 20. */
static pid_t child(const char *node, const char *role)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		place_next(node);
		execl("/proc/self/exe", "far", role, NULL);
		_exit(127);
	}
	return pid;
}

static void tell(void)
{
	const struct told t = { getpid(), getpgid(0), getsid(0) };

	must(write(20, &t, sizeof(t)) == sizeof(t));
}

static int role_main(const char *role)
{
	if (strcmp(role, "middle") == 0) {
		pid_t pid = child("n3", "grandchild");

		tell();
		return reap(pid) == SIGTERM ? 0 : 1;
	}
	must(setpriority(PRIO_PROCESS, 0, 5) == 0);
	must(setpgid(0, 0) == 0);
	tell();
	for (;;)
		pause();
}

static char state_of(pid_t pid, char want)
{
	char got = 0;

	for (int i = 0; i < 5000 && got != want; i++) {
		got = task_state(pid);
		pause_ms(2);
	}
	return got;
}

int main(int argc, char **argv)
{
	int fds[2];
	struct told t[2];
	pid_t pid, far;

	if (argc > 1)
		return role_main(argv[1]);
	must(pipe(fds) == 0 && dup2(fds[1], 20) == 20);
	close(fds[1]);
	pid = child("n2", "middle");
	for (int i = 0; i < 2; i++)
		must(read(fds[0], &t[i], sizeof(t[i])) == sizeof(t[i]));
	if (t[0].pid != pid)
		t[1] = t[0];
	far = t[1].pid;
	say("group: %d, session: %d", getpgid(far) == t[1].pgid && t[1].pgid == far,
	    getsid(far) == getsid(0));
	say("priority: %d", getpriority(PRIO_PROCESS, (id_t)far));
	say("kill 0: %d", kill(far, 0));
	must(kill(far, SIGSTOP) == 0);
	say("stopped: %c", state_of(far, 'T'));
	must(kill(far, SIGCONT) == 0);
	say("goes on: %c", state_of(far, 'S'));
	must(kill(-far, SIGSTOP) == 0);
	say("its group: %c", state_of(far, 'T'));
	must(kill(-far, SIGCONT) == 0);
	say("goes on: %c", state_of(far, 'S'));
	must(kill(pid, SIGSTOP) == 0);
	{
		int status;

		must(waitpid(pid, &status, WUNTRACED) == pid);
		say("the child: %s, %c", status_text(status), state_of(pid, 'T'));
		must(kill(pid, SIGCONT) == 0);
		must(waitpid(pid, &status, WCONTINUED) == pid);
		say("and %s, %c", status_text(status), state_of(pid, 'S'));
	}
	must(kill(far, SIGTERM) == 0);
	say("killed: %s", status_text(reap(pid)));
	fails(ESRCH, kill(far, 0));
	fails(ESRCH, getpgid(far));
	return 0;
}
