/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apart_kids.c - a process with children executes a program on another node, and waits for them.
 *
 * It asks for the node by the call behind `on NODE CMD`. On a bare host the call does not exist and
 * all run here; what they print is the same.
 */
#include "tests/guest/place.h"

static const char *program = "/proc/self/exe";

static void become(const char *node, const char *role, const pid_t *pids, int fd)
{
	char text[4][16];

	for (int i = 0; i < 4; i++)
		snprintf(text[i], sizeof(text[i]), "%d", i < 3 ? (pids ? pids[i] : 0) : fd);
	place_next(node);
	execl(program, "apart_kids", role, text[0], text[1], text[2], text[3], NULL);
	say("%s: %s", role, strerrorname_np(errno));
	_exit(127);
}

/* Waits for a byte, or the end, of a pipe. */
static void await(int fd)
{
	char c;

	must(read(fd, &c, 1) >= 0);
}

/* One child that has ended, one that waits here, one on another node. */
static void bear(const char *node, const char *elsewhere)
{
	siginfo_t si;
	pid_t pids[3];
	int fds[2];

	must(pipe(fds) == 0);
	pids[0] = fork_child();
	if (pids[0] == 0)
		_exit(3);
	must(waitid(P_PID, (id_t)pids[0], &si, WEXITED | WNOWAIT) == 0);
	pids[1] = fork_child();
	if (pids[1] == 0) {
		close(fds[1]);
		await(fds[0]);
		_exit(4);
	}
	pids[2] = fork_child();
	if (pids[2] == 0) {
		close(fds[1]);
		become(elsewhere, "kid", NULL, fds[0]);
	}
	close(fds[0]);
	become(node, "waits", pids, fds[1]);
}

static int waits(char **argv)
{
	pid_t pids[3];
	int status;

	for (int i = 0; i < 3; i++)
		pids[i] = atoi(argv[2 + i]);
	say("ended before: %s", status_text(reap(pids[0])));
	must(waitpid(-1, &status, WNOHANG) == 0);
	must(kill(pids[1], 0) == 0 && kill(pids[2], 0) == 0);
	close(atoi(argv[5]));
	say("born there: %s", status_text(reap(pids[1])));
	say("elsewhere: %s", status_text(reap(pids[2])));
	fails(ECHILD, waitpid(-1, &status, 0));
	return 8;
}

int main(int argc, char **argv)
{
	static const char *const nodes[] = { "n1", "n2", "n3" };

	if (argc > 5 && strcmp(argv[1], "waits") == 0)
		return waits(argv);
	if (argc > 5) {
		await(atoi(argv[5]));
		return 5;
	}
	for (int i = 0; i < 9; i++) {
		pid_t pid = fork_child();

		if (pid == 0)
			bear(nodes[i % 3], nodes[i / 3]);
		say("then: %s", status_text(reap(pid)));
	}
	return 0;
}
