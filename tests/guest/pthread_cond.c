/* SPDX-License-Identifier: Apache-2.0 */
/* pthread_cond.c - mutex, condition, barrier, once, cancel. */
#include "tests/guest/guest.h"

#include <pthread.h>

enum { THREADS = 8, ROUNDS = 1000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int turn, onces, sum;

static void only_once(void)
{
	onces++;
}

static void *body(void *arg)
{
	int me = (int)(intptr_t)arg;

	pthread_once(&once, only_once);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < ROUNDS / 10; i++) {
		pthread_mutex_lock(&lock);
		while (turn != me)
			pthread_cond_wait(&turn_changed, &lock);
		sum += me;
		turn = (turn + 1) % THREADS;
		pthread_cond_broadcast(&turn_changed);
		pthread_mutex_unlock(&lock);
	}
	return arg;
}

static void *sleeper(void *arg)
{
	pause();
	return NULL;
}

int main(void)
{
	pthread_t t[THREADS];
	void *r;
	long total = 0;

	must(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
	for (int i = 0; i < THREADS; i++)
		must(pthread_create(&t[i], NULL, body, (void *)(intptr_t)i) == 0);
	for (int i = 0; i < THREADS; i++) {
		must(pthread_join(t[i], &r) == 0);
		total += (intptr_t)r;
	}
	say("sum %d, returns %ld, once %d", sum, total, onces);
	must(pthread_create(&t[0], NULL, sleeper, NULL) == 0);
	must(pthread_cancel(t[0]) == 0 && pthread_join(t[0], &r) == 0);
	say("cancelled %d", r == PTHREAD_CANCELED);
	return 0;
}
