/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_keeps.c - what a process keeps when it execs, from node to node and back, where there are
 * some.
 *
 * On a bare host the call behind `on NODE CMD` does not exist and all run here; what they print is
 * the same.
 */
#include "tests/guest/place.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static const char *const nodes[] = { "n2", "n3", "n1", "n2" };

/* Executes this program as the one that looks for the @turn-th time. */
static void go(unsigned turn)
{
	char role[2] = { (char)('0' + turn), 0 };

	place_next(nodes[turn]);
	execl("/proc/self/exe", "exec_keeps", role, NULL);
	_exit(127);
}

static const char *member(const sigset_t *set)
{
	return sigismember(set, SIGUSR1) ? "USR1" : sigismember(set, SIGUSR2) ? "USR2" : "none";
}

static int look(unsigned turn)
{
	struct sigaction hup;
	struct rlimit files;
	sigset_t blocked, pending;
	int sig = 0, reaper = 0;
	char cwd[256];
	mode_t mask = umask(0);

	(void)umask(mask);
	must(sigprocmask(SIG_BLOCK, NULL, &blocked) == 0);
	/* What was pending follows. */
	for (int i = 0; i < 5000 && sigpending(&pending) == 0 && !sigismember(&pending, SIGUSR1);
	     i++)
		pause_ms(2);
	must(sigaction(SIGHUP, NULL, &hup) == 0);
	must(getrlimit(RLIMIT_NOFILE, &files) == 0 && getcwd(cwd, sizeof(cwd)) != NULL);
	must(prctl(PR_GET_PDEATHSIG, &sig) == 0 && prctl(PR_GET_CHILD_SUBREAPER, &reaper) == 0);
	say("%u: umask %03o, nice %d, blocked %s, pending %s, SIGHUP %s", turn, mask,
	    getpriority(PRIO_PROCESS, 0), member(&blocked), member(&pending),
	    hup.sa_handler == SIG_IGN ? "ignored" : "not ignored");
	say("%u: %lu files, in %s, death signal %d, sub-reaper %d", turn,
	    (unsigned long)files.rlim_cur, cwd, sig, reaper);
	if (turn + 1 < COUNT(nodes))
		go(turn + 1);
	return 3;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	sigset_t usr1;
	pid_t pid;

	if (argc == 2)
		return look((unsigned)(argv[1][0] - '0'));
	pid = fork_child();
	if (pid == 0) {
		(void)umask(027);
		must(setpriority(PRIO_PROCESS, 0, 7) == 0);
		sigemptyset(&usr1);
		sigaddset(&usr1, SIGUSR1);
		must(sigprocmask(SIG_BLOCK, &usr1, NULL) == 0 && kill(getpid(), SIGUSR1) == 0);
		on_signal(SIGHUP, SIG_IGN, 0);
		must(getrlimit(RLIMIT_NOFILE, &files) == 0);
		files.rlim_cur = 77;
		must(setrlimit(RLIMIT_NOFILE, &files) == 0 && chdir("/usr/bin") == 0);
		must(prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0 &&
		     prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
		go(0);
	}
	say("%s", status_text(reap(pid)));
	return 0;
}
