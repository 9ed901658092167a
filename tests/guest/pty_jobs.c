/* SPDX-License-Identifier: Apache-2.0 */
/* pty_jobs.c - job control: foreground, ctrl-C, ctrl-Z, SIGTTIN, SIGTTOU, SIGWINCH, SIGHUP. */
#include "tests/guest/guest.h"

#include <sys/ioctl.h>
#include <termios.h>

static int master, slave;

static void handler(int sig)
{
}

/* Job of the session: a group of its own. */
static pid_t job(void (*body)(void))
{
	int ready[2];
	char c;
	pid_t pid;

	must(pipe2(ready, O_CLOEXEC) == 0);
	pid = fork_child();
	if (pid == 0) {
		must(setpgid(0, 0) == 0);
		on_signal(SIGTTOU, SIG_DFL, 0);
		on_signal(SIGINT, SIG_DFL, 0);
		must(write(ready[1], "r", 1) == 1);
		body();
		_exit(0);
	}
	must(read(ready[0], &c, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void sleeps(void)
{
	alarm(20);
	for (;;)
		pause();
}

/* The whole line: what is left of it would be the next job's. */
static void reads(void)
{
	char line[8];

	must(read(slave, line, sizeof(line)) == 2 && line[0] == 'k');
	_exit(5);
}

static void writes(void)
{
	char line[8];

	must(write(slave, "w", 1) == 1 && read(slave, line, sizeof(line)) == 2);
	_exit(6);
}

static const char *changed(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, WUNTRACED | WCONTINUED) == pid);
	return status_text(status);
}

static void session(void)
{
	struct winsize ws = { .ws_row = 10, .ws_col = 20 };
	struct timespec limit = { 10, 0 };
	struct termios t;
	sigset_t set;
	pid_t pid;

	must(setsid() == getpid());
	must(ioctl(slave, TIOCSCTTY, 0) == 0);
	must(tcgetpgrp(slave) == getpgrp() && tcgetsid(slave) == getpid());
	must(open("/dev/tty", O_RDWR | O_CLOEXEC) >= 0);
	on_signal(SIGTTOU, SIG_IGN, 0);
	on_signal(SIGINT, SIG_IGN, 0);

	pid = job(sleeps);
	must(tcsetpgrp(slave, pid) == 0 && tcgetpgrp(slave) == pid);
	must(write(master, "\032", 1) == 1);
	say("ctrl-Z: %s", changed(pid));
	must(kill(-pid, SIGCONT) == 0);
	say("fg: %s", changed(pid));
	must(write(master, "\003", 1) == 1);
	say("ctrl-C: %s", changed(pid));
	must(tcsetpgrp(slave, getpgrp()) == 0);

	pid = job(reads);
	say("background read: %s", changed(pid));
	must(tcsetpgrp(slave, pid) == 0 && kill(-pid, SIGCONT) == 0);
	say("fg: %s", changed(pid));
	must(write(master, "k\n", 2) == 2);
	say("then: %s", changed(pid));
	must(tcsetpgrp(slave, getpgrp()) == 0);

	must(tcgetattr(slave, &t) == 0);
	t.c_lflag |= TOSTOP;
	must(tcsetattr(slave, TCSANOW, &t) == 0);
	pid = job(writes);
	say("background write: %s", changed(pid));
	must(tcsetpgrp(slave, pid) == 0 && kill(-pid, SIGCONT) == 0);
	say("fg: %s", changed(pid));
	must(write(master, "k\n", 2) == 2);
	say("then: %s", changed(pid));
	must(tcsetpgrp(slave, getpgrp()) == 0);

	block_signal(SIGWINCH);
	on_signal(SIGWINCH, handler, 0);
	must(ioctl(master, TIOCSWINSZ, &ws) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	must(sigtimedwait(&set, NULL, &limit) == SIGWINCH);
	say("SIGWINCH");

	pid = job(sleeps);
	must(tcsetpgrp(slave, pid) == 0);
	_exit(0); /* the session ends: its foreground is hung up */
}

int main(void)
{
	pid_t leader;
	char drain[256];

	master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	must(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	must(slave >= 0);
	leader = fork_child();
	if (leader == 0)
		session();
	close(slave);
	say("session: %s", status_text(reap(leader)));
	/* ends when the last process with the terminal open is gone: the hung up job too */
	while (read(master, drain, sizeof(drain)) > 0)
		;
	say("hung up: %s", strerrorname_np(errno));
	return 0;
}
