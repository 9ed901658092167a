/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apart.c - parents and children on different nodes, where there are some.
 *
 * Before each exec a child asks for a node, another one each time, by the call behind `on NODE
 * CMD`. On a bare host the call does not exist and all run here; what they print is the same.
 */
#include "tests/guest/place.h"

#include <sys/prctl.h>

static int turn;

/* A child that runs this program again in a role, on the next node. */
static pid_t child(const char *role)
{
	static const char *const nodes[] = { "n2", "n3", "n1" };
	const char *node = nodes[turn++ % 3];
	pid_t pid = fork_child();

	if (pid == 0) {
		place_next(node);
		execl("/proc/self/exe", "apart", role, NULL);
		_exit(127);
	}
	return pid;
}

static pid_t read_pid(int fd)
{
	pid_t pid;

	must(read(fd, &pid, sizeof(pid)) == sizeof(pid));
	return pid;
}

/* ---- roles ---- */
static int role_main(const char *role)
{
	pid_t me = getpid(), pid = 0;

	if (strcmp(role, "exit5") == 0)
		return 5;
	if (strcmp(role, "crash") == 0)
		raise(SIGSEGV);
	if (strcmp(role, "stops") == 0) {
		raise(SIGSTOP);
		return 6;
	}
	if (strcmp(role, "waits") == 0)
		pause();
	if (strcmp(role, "parent_pid") == 0) {
		must(write(20, &(pid_t){ getppid() }, sizeof(pid)) == sizeof(pid));
		return 0;
	}
	if (strcmp(role, "told") == 0) { /* wants SIGUSR1 when its parent dies */
		struct timespec limit = { 20, 0 };
		sigset_t set;

		block_signal(SIGUSR1);
		must(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
		must(write(20, &me, sizeof(me)) == sizeof(me));
		sigemptyset(&set);
		sigaddset(&set, SIGUSR1);
		pid = sigtimedwait(&set, NULL, &limit);
		must(write(20, &pid, sizeof(pid)) == sizeof(pid));
		return 0;
	}
	if (strcmp(role, "middle") == 0) { /* bears one, tells its pid, is killed */
		child("told");
		for (;;)
			pause();
	}
	if (strcmp(role, "dies") == 0) { /* leaves an orphan */
		pid = child("orphan");
		must(write(20, &pid, sizeof(pid)) == sizeof(pid));
		return 0;
	}
	if (strcmp(role, "orphan") == 0) {
		alarm(20);
		pause();
	}
	return 99;
}

/* ---- scenarios ---- */
static void statuses(void)
{
	siginfo_t si = { 0 };
	int status, fd;
	struct pollfd p = { .events = POLLIN };
	pid_t pid = child("exit5");

	must(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT) == 0 && si.si_status == 5);
	must(waitpid(pid, &status, 0) == pid);
	say("WNOWAIT, then %s", status_text(status));
	status = reap(child("crash"));
	say("crash: %s",
	    status_text(WIFSIGNALED(status) ? WTERMSIG(status) : status)); /* a core or none */
	pid = child("waits");
	must(waitpid(pid, &status, WNOHANG) == 0);
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	must(fd >= 0 && syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) == 0);
	p.fd = fd;
	must(poll(&p, 1, 20000) == 1);
	must(waitid(P_PIDFD, (id_t)fd, &si, WEXITED) == 0 && si.si_pid == pid);
	say("P_PIDFD: code %d status %d", si.si_code, si.si_status);
	pid = child("waits");
	must(kill(pid, SIGKILL) == 0);
	say("killed: %s", status_text(reap(pid)));
}

static void stops(void)
{
	int status;
	pid_t pid = child("stops");

	must(waitpid(pid, &status, WUNTRACED) == pid);
	say("%s", status_text(status));
	must(kill(pid, SIGCONT) == 0);
	must(waitpid(pid, &status, WCONTINUED) == pid);
	if (WIFCONTINUED(status)) /* an exit may overtake it */
		must(waitpid(pid, &status, 0) == pid);
	say("then %s", status_text(status));
}

static void no_zombies(void)
{
	int status;

	on_signal(SIGCHLD, SIG_DFL, SA_NOCLDWAIT);
	child("exit5");
	child("crash");
	while (waitpid(-1, &status, 0) == -1 && errno == EINTR)
		;
	fails(ECHILD, waitpid(-1, &status, 0));
	on_signal(SIGCHLD, SIG_DFL, 0);
}

static void relatives(void)
{
	int fds[2], status;
	pid_t pid, grandchild;

	must(pipe(fds) == 0 && dup2(fds[1], 20) == 20);
	close(fds[1]);
	pid = child("parent_pid");
	say("getppid is right: %d", read_pid(fds[0]) == getpid());
	must(reap(pid) == 0);

	pid = child("middle");
	(void)read_pid(fds[0]);
	must(kill(pid, SIGKILL) == 0);
	say("middle: %s", status_text(reap(pid)));
	say("PDEATHSIG came: %d", read_pid(fds[0]) == SIGUSR1);

	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	pid = child("dies");
	grandchild = read_pid(fds[0]);
	say("dies: %s", status_text(reap(pid)));
	must(kill(grandchild, SIGINT) == 0);
	must(waitpid(-1, &status, 0) == grandchild);
	say("the sub-reaper got the orphan: %s", status_text(status));
	must(prctl(PR_SET_CHILD_SUBREAPER, 0) == 0);
}

static void groups(void)
{
	pid_t a = child("waits"), b;

	must(setpgid(a, a) == 0 || errno == EACCES);
	if (getpgid(a) != a) { /* it was faster: groups are set before an exec */
		must(kill(a, SIGKILL) == 0);
		reap(a);
		say("group: killed signal 15");
		say("and signal 15");
		return;
	}
	b = fork_child();
	if (b == 0) {
		must(setpgid(0, a) == 0);
		place_next("n3");
		execl("/proc/self/exe", "apart", "waits", NULL);
		_exit(127);
	}
	while (getpgid(b) != a)
		pause_ms(1);
	must(kill(-a, SIGTERM) == 0);
	say("group: killed %s", status_text(reap(a)));
	say("and %s", status_text(reap(b)));
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return role_main(argv[1]);
	statuses();
	stops();
	no_zombies();
	relatives();
	groups();
	return 0;
}
