/* SPDX-License-Identifier: Apache-2.0 */
/* spawn.c - posix_spawn with file actions, group, mask and default signals. */
#include "tests/guest/guest.h"

#include <spawn.h>

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	char *args[] = { argv[0], "child", NULL }, *env[] = { "A=b", NULL },
	     *sh[] = { "sh", "-c", "exit 6", NULL };
	sigset_t mask;
	char text[64] = "";
	int fds[2];
	ssize_t n;
	pid_t pid;

	if (argc > 1) {
		must(sigprocmask(SIG_SETMASK, NULL, &mask) == 0);
		say("A=%s USR1 blocked %d leader %d", getenv("A"), sigismember(&mask, SIGUSR1),
		    getpgrp() == getpid());
		return 4;
	}
	must(pipe2(fds, O_CLOEXEC) == 0);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, fds[1], 1);
	posix_spawnattr_init(&attr);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	posix_spawnattr_setsigmask(&attr, &mask);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	must(posix_spawn(&pid, "/proc/self/exe", &fa, &attr, args, env) == 0);
	close(fds[1]);
	n = read(fds[0], text, sizeof(text) - 1);
	must(n > 0);
	printf("%s", text);
	say("%s", status_text(reap(pid)));
	must(posix_spawnp(&pid, "sh", NULL, NULL, sh, env) == 0);
	say("%s", status_text(reap(pid)));
	must(posix_spawn(&pid, "/nowhere", NULL, NULL, args, env) == ENOENT);
	say("ENOENT is told");
	return 0;
}
