/* SPDX-License-Identifier: Apache-2.0 */
/* tgkill.c - a signal for one thread of several. */
#include "tests/guest/guest.h"

#include <pthread.h>

static __thread int me;
static pthread_barrier_t ready;
static volatile int hit;
static volatile sig_atomic_t done;

static void handler(int sig)
{
	hit = me;
	done = 1;
}

static void *body(void *arg)
{
	me = (int)(intptr_t)arg;
	pthread_barrier_wait(&ready);
	while (!done)
		pause_ms(1);
	return NULL;
}

int main(void)
{
	pthread_t t[3];

	on_signal(SIGUSR1, handler, 0);
	must(pthread_barrier_init(&ready, NULL, 4) == 0);
	for (int i = 0; i < 3; i++)
		must(pthread_create(&t[i], NULL, body, (void *)(intptr_t)(i + 1)) == 0);
	pthread_barrier_wait(&ready);
	must(pthread_kill(t[1], SIGUSR1) == 0);
	for (int i = 0; i < 3; i++)
		must(pthread_join(t[i], NULL) == 0);
	say("thread %d got it", hit);
	fails(ESRCH, syscall(SYS_tgkill, getpid(), 0x3ffffff, 0));
	fails(EINVAL, syscall(SYS_tgkill, getpid(), -1, 0));
	fails(EINVAL, syscall(SYS_tkill, 0, 0));
	must(syscall(SYS_tgkill, getpid(), getpid(), 0) == 0);
	return 0;
}
