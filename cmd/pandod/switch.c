/* SPDX-License-Identifier: Apache-2.0 */
/*
 * switch.c - the process that holds the network namespace of a local cluster's bridge. It does
 * nothing: the namespace, its bridge and its ends of the veths live as long as it does.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "cmd/pandod/args.h"

static int hold(const struct args *a, int ready)
{
	sigset_t set;
	int signo, null;

	(void)setsid();
	(void)chdir("/");
	daemon_keeps(ready, -1);
	null = open("/dev/null", O_RDWR);
	if (unshare(CLONE_NEWNET) < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
		return 1;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	if (write(ready, "", 1) != 1)
		return 1;
	(void)close(ready);
	(void)dup2(null, 2);
	(void)sigwait(&set, &signo);
	return 0;
}

int switch_main(const struct args *a)
{
	char path[PATH_MAX], text[16], byte;
	int ready[2];
	pid_t pid;
	int r;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return 1;
	pid = fork();
	if (pid == 0)
		_exit(hold(a, ready[1]));
	(void)close(ready[1]);
	if (pid < 0 || read(ready[0], &byte, 1) != 1) {
		fprintf(stderr,
			"pandod: cannot make the switch's namespace: %s; try: pando doctor\n",
			strerror(errno));
		return 1;
	}
	(void)snprintf(path, sizeof(path), "%s/switch.pid", a->dir);
	(void)snprintf(text, sizeof(text), "%d\n", (int)pid);
	r = file_put(path, text);
	if (r < 0) {
		(void)kill(pid, SIGKILL);
		fprintf(stderr, "pandod: cannot write %s: %s; try: df %s\n", path, strerror(-r),
			a->dir);
		return 1;
	}
	return 0;
}
