/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threads_many.c - 200 threads at once, each with its own stack and tid.
 *
 * `threads_many N` makes N one after the other and prints the least and the greatest tid
 * (tests/int/tenant.sh).
 */
#include "tests/guest/guest.h"

#include <pthread.h>

enum { THREADS = 200 };

static pthread_barrier_t barrier;
static pid_t tids[THREADS];

static void *body(void *arg)
{
	size_t me = (size_t)arg;
	volatile char stack[20000];

	memset((void *)stack, (int)me, sizeof(stack));
	tids[me] = (pid_t)syscall(SYS_gettid);
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < sizeof(stack); i += 999)
		must(stack[i] == (char)me);
	return arg;
}

static void *forty_two(void *arg)
{
	return (void *)42;
}

static int by_value(const void *a, const void *b)
{
	return *(const pid_t *)a - *(const pid_t *)b;
}

static void *own_tid(void *arg)
{
	*(pid_t *)arg = (pid_t)syscall(SYS_gettid);
	return NULL;
}

static int in_a_loop(long n)
{
	pid_t tid, least = getpid(), greatest = least;
	pthread_t t;

	say("begun");
	for (long i = 0; i < n; i++) {
		must(pthread_create(&t, NULL, own_tid, &tid) == 0 && pthread_join(t, NULL) == 0);
		least = tid < least ? tid : least;
		greatest = tid > greatest ? tid : greatest;
	}
	say("%d %d", least, greatest);
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t t[THREADS];
	pthread_attr_t attr;
	size_t sum = 0;
	void *r;
	int doubles = 0;

	if (argc == 2)
		return in_a_loop(strtol(argv[1], NULL, 10));
	must(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
	must(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, 65536) == 0);
	for (size_t i = 0; i < THREADS; i++)
		must(pthread_create(&t[i], &attr, body, (void *)i) == 0);
	for (size_t i = 0; i < THREADS; i++) {
		must(pthread_join(t[i], &r) == 0);
		sum += (size_t)r;
	}
	qsort(tids, THREADS, sizeof(tids[0]), by_value);
	for (int i = 1; i < THREADS; i++)
		doubles += tids[i] == tids[i - 1];
	say("sum %zu, tids given twice %d", sum, doubles);
	for (int i = 0; i < 2000; i++) {
		must(pthread_create(&t[0], &attr, forty_two, NULL) == 0);
		must(pthread_join(t[0], &r) == 0 && r == (void *)42);
	}
	say("2000 one after the other");
	return 0;
}
