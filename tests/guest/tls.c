/* SPDX-License-Identifier: Apache-2.0 */
/* tls.c - thread-local storage: initial values, destructors, after fork. */
#include "tests/guest/guest.h"

#include <pthread.h>

static __thread int counter = 5;
static __thread char big[10000];
static pthread_key_t key;
static int destroyed;

static void destroy(void *p)
{
	__atomic_add_fetch(&destroyed, (int)(intptr_t)p, __ATOMIC_SEQ_CST);
}

static void *body(void *arg)
{
	int id = (int)(intptr_t)arg;

	must(counter == 5 && big[9999] == 0);
	counter += id;
	memset(big, id, sizeof(big));
	must(pthread_setspecific(key, arg) == 0);
	for (int i = 0; i < 100; i++)
		sched_yield();
	must(counter == 5 + id && big[9999] == id);
	return (void *)(intptr_t)counter;
}

int main(void)
{
	pthread_t t[10];
	void *r;
	pid_t pid;

	must(pthread_key_create(&key, destroy) == 0);
	for (int i = 0; i < 10; i++)
		must(pthread_create(&t[i], NULL, body, (void *)(intptr_t)(i + 1)) == 0);
	for (int i = 0; i < 10; i++) {
		must(pthread_join(t[i], &r) == 0);
		printf("%d ", (int)(intptr_t)r);
	}
	say("destroyed %d, ours %d", destroyed, counter);
	counter = 77;
	pid = fork_child();
	if (pid == 0)
		_exit(counter);
	say("after fork: %s", status_text(reap(pid)));
	return 0;
}
