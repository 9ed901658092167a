/* SPDX-License-Identifier: Apache-2.0 */
/* A program that executes itself by /proc is the same program, also where that exec runs on another
 * node: the call that asks for that is unknown to a host, which runs it here. */
#include "tests/guest/guest.h"

#define SYS_ON 0x5511 /* kernel/kernel.h: KERNEL_SYS_ON */

static int execute(const char *path)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		char own[32];

		snprintf(own, sizeof(own), "/proc/%d/exe", getpid());
		(void)syscall(SYS_ON, "n2");
		execl(path != NULL ? path : own, "exec_self", "child", (char *)NULL);
		_exit(99);
	}
	return reap(pid);
}

int main(int argc, char **argv)
{
	char path[4096];
	ssize_t n;

	if (argc > 1) {
		n = readlink("/proc/self/exe", path, sizeof(path) - 1);
		must(n > 0);
		path[n] = 0;
		say("%s of %s", argv[1], strrchr(path, '/') + 1);
		return 7;
	}
	say("%s", status_text(execute("/proc/self/exe")));
	say("%s", status_text(execute("/proc/thread-self/exe")));
	say("%s", status_text(execute(NULL)));
	return 0;
}
