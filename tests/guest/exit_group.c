/* SPDX-License-Identifier: Apache-2.0 */
/* exit_group.c - a process ends as one, whichever thread ends it. */
#include "tests/guest/guest.h"

#include <pthread.h>

static void *forever(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

static void *ends_all(void *arg)
{
	_exit(12);
}

static void *crashes(void *arg)
{
	abort();
}

static void *finishes(void *arg)
{
	pause_ms(20);
	say("a thread outlives main's thread");
	exit(4);
}

static void process_with(void *(*last)(void *), bool leave)
{
	pthread_t t;
	pid_t pid = fork_child();

	if (pid == 0) {
		for (int i = 0; i < 5; i++)
			must(pthread_create(&t, NULL, forever, NULL) == 0);
		must(pthread_create(&t, NULL, last, NULL) == 0);
		if (leave)
			pthread_exit(NULL);
		forever(NULL);
	}
	say("%s", status_text(reap(pid) & ~0x80));
}

int main(void)
{
	process_with(ends_all, false);
	process_with(crashes, false);
	process_with(finishes, true);
	return 0;
}
