/* SPDX-License-Identifier: Apache-2.0 */
/* rlimits.c - limits: inherited, raised to the hard limit only, obeyed. */
#include "tests/guest/guest.h"

#include <sys/resource.h>

int main(void)
{
	struct rlimit l = { 32, 64 }, now;
	int fds[64], n = 0;
	pid_t pid;

	must(setrlimit(RLIMIT_NOFILE, &l) == 0);
	while (n < 64 && (fds[n] = dup(0)) >= 0)
		n++;
	say("EMFILE %d, last %d", errno == EMFILE, fds[n - 1]);
	for (int i = 0; i < n; i++)
		close(fds[i]);
	l.rlim_cur = l.rlim_max = 128;
	fails(EPERM, setrlimit(RLIMIT_NOFILE, &l));
	pid = fork_child();
	if (pid == 0) {
		must(getrlimit(RLIMIT_NOFILE, &now) == 0);
		_exit((int)now.rlim_cur);
	}
	say("inherited: %s", status_text(reap(pid)));
	l.rlim_cur = l.rlim_max = 100;
	pid = fork_child();
	if (pid == 0) {
		char block[200] = { 0 };
		int fd = scratch("rlimits.tmp", false);

		must(setrlimit(RLIMIT_FSIZE, &l) == 0);
		must(write(fd, block, sizeof(block)) == 100);
		on_signal(SIGXFSZ, SIG_IGN, 0);
		must(write(fd, block, 1) == -1 && errno == EFBIG);
		on_signal(SIGXFSZ, SIG_DFL, 0);
		(void)!write(fd, block, 1);
		_exit(0);
	}
	say("signal %d", WTERMSIG(reap(pid)));
	l.rlim_cur = l.rlim_max = 1 << 26;
	must(prlimit(getpid(), RLIMIT_DATA, &l, NULL) == 0);
	fails(ENOMEM, (int)(intptr_t)mmap(NULL, 1 << 27, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	must(prlimit(0, RLIMIT_DATA, NULL, &now) == 0 && now.rlim_cur == 1 << 26);
	return 0;
}
