/* SPDX-License-Identifier: Apache-2.0 */
/* seccomp_strict.c - strict mode: read, write, exit and nothing else. */
#include "tests/guest/guest.h"

#include <linux/seccomp.h>
#include <sys/prctl.h>

int main(void)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
		must(write(1, "strict\n", 7) == 7);
		syscall(SYS_getpid);
		_exit(0);
	}
	say("signal %d", WTERMSIG(reap(pid)));
	return 0;
}
