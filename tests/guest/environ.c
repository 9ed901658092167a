/* SPDX-License-Identifier: Apache-2.0 */
/* environ.c - a large environment and argument list across exec; E2BIG. */
#include "tests/guest/guest.h"

enum { VARS = 1000, ARGS = 2000 };

int main(int argc, char **argv)
{
	static char *env[VARS + 1], *args[ARGS + 1];
	char *huge;
	unsigned long sum = 0;
	pid_t pid;

	if (argc > 1) {
		for (int i = 1; i < argc; i++)
			sum = sum * 31 + strlen(argv[i]) + (unsigned char)argv[i][0];
		say("%d arguments, hash %lu, V999 has %zu", argc, sum, strlen(getenv("V999")));
		return 0;
	}
	for (int i = 0; i < VARS; i++) {
		env[i] = malloc(200);
		memset(env[i], 'v', 199);
		env[i][199] = 0;
		memcpy(env[i] + sprintf(env[i], "V%d", i), "=", 1);
	}
	args[0] = argv[0];
	for (int i = 1; i < ARGS; i++) {
		args[i] = malloc(100);
		memset(args[i], 'a' + i % 26, (size_t)i % 100);
		args[i][i % 100] = 0;
	}
	pid = fork_child();
	if (pid == 0) {
		execve("/proc/self/exe", args, env);
		_exit(127);
	}
	say("%s", status_text(reap(pid)));
	huge = malloc(200000); /* one string may have 128 KiB */
	memset(huge, 'x', 199999);
	huge[199999] = 0;
	args[1] = huge;
	fails(E2BIG, execve("/proc/self/exe", args, env));
	fails(EFAULT, (int)syscall(SYS_execve, "/proc/self/exe", 8, env));
	return 0;
}
