/* SPDX-License-Identifier: Apache-2.0 */
/* exec_thread.c - exec by a thread: the others are gone, the pid is the same. */
#include "tests/guest/guest.h"

#include <pthread.h>

static char **again;
static char pid_text[32];

static void *forever(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

static void *execs(void *arg)
{
	must((pid_t)syscall(SYS_gettid) != getpid());
	execv("/proc/self/exe", again);
	_exit(127);
}

int main(int argc, char **argv)
{
	char *args[] = { argv[0], pid_text, NULL };
	pthread_t t;
	pid_t pid;

	if (argc > 1) {
		say("same pid %d, leader %d", atoi(argv[1]) == getpid(),
		    (pid_t)syscall(SYS_gettid) == getpid());
		return 0;
	}
	for (int round = 0; round < 5; round++) {
		pid = fork_child();
		if (pid == 0) {
			snprintf(pid_text, sizeof(pid_text), "%d", getpid());
			again = args;
			for (int i = 0; i < 10; i++)
				must(pthread_create(&t, NULL, forever, NULL) == 0);
			must(pthread_create(&t, NULL, execs, NULL) == 0);
			forever(NULL);
		}
		say("%s", status_text(reap(pid)));
	}
	return 0;
}
