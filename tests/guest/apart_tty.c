/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apart_tty.c - SIGTTIN and SIGTTOU where the shell is on another node than its jobs.
 *
 * Before its exec a job asks for a node by the call behind `on NODE CMD`. On a bare host the call
 * does not exist and all run here; what they print is the same.
 */
#include "tests/guest/place.h"

#include <sys/ioctl.h>
#include <termios.h>

#define TTY 21 /* the terminal, in a job */

static int master, slave;

/* A job of the session, in a group of its own; it executes when this returns. */
static pid_t job(const char *role, const char *node)
{
	int executes[2];
	char c;
	pid_t pid;

	must(pipe2(executes, O_CLOEXEC) == 0);
	pid = fork_child();
	if (pid == 0) {
		must(setpgid(0, 0) == 0 && dup2(slave, TTY) == TTY);
		on_signal(SIGTTOU, SIG_DFL, 0);
		place_next(node);
		execl("/proc/self/exe", "apart_tty", role, NULL);
		_exit(127);
	}
	close(executes[1]);
	must(read(executes[0], &c, 1) == 0);
	close(executes[0]);
	return pid;
}

static int role_main(const char *role)
{
	char line[8];

	if (strcmp(role, "reads") == 0) {
		must(read(TTY, line, sizeof(line)) == 2 && line[0] == 'k');
		return 5;
	}
	if (strcmp(role, "writes") == 0) { /* the terminal has TOSTOP */
		must(write(TTY, "w", 1) == 1 && read(TTY, line, sizeof(line)) == 2);
		return 6;
	}
	/* Puts itself to the front, from the background. */
	must(tcsetpgrp(TTY, getpgrp()) == 0 && tcgetpgrp(TTY) == getpgrp());
	return 7;
}

static const char *changed(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, WUNTRACED | WCONTINUED) == pid);
	return status_text(status);
}

/* Stopped for want of the terminal, brought to the front, given a line. */
static void run(const char *role, const char *node)
{
	pid_t pid = job(role, node);

	say("%s: %s", role, changed(pid));
	must(tcsetpgrp(slave, pid) == 0 && kill(-pid, SIGCONT) == 0);
	say("fg: %s", changed(pid));
	must(write(master, "k\n", 2) == 2);
	say("then: %s", changed(pid));
	must(tcsetpgrp(slave, getpgrp()) == 0);
	must(tcflush(slave, TCIFLUSH) == 0);
}

static void session(void)
{
	struct termios t;

	must(setsid() == getpid());
	must(ioctl(slave, TIOCSCTTY, 0) == 0);
	on_signal(SIGTTOU, SIG_IGN, 0);
	run("reads", "n2");
	run("reads", "n3");
	must(tcgetattr(slave, &t) == 0);
	t.c_lflag |= TOSTOP;
	must(tcsetattr(slave, TCSANOW, &t) == 0);
	run("writes", "n2");
	run("takes", "n3");
	_exit(0);
}

int main(int argc, char **argv)
{
	pid_t leader;

	if (argc > 1)
		return role_main(argv[1]);
	alarm(50);
	master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	must(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	must(slave >= 0);
	leader = fork_child();
	if (leader == 0)
		session();
	say("session: %s", status_text(reap(leader)));
	return 0;
}
