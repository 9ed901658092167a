/* SPDX-License-Identifier: Apache-2.0 */
/* pthread_shared.c - a mutex and a condition shared by processes; a robust mutex whose owner dies.
 */
#include "tests/guest/guest.h"

#include <pthread.h>
#include <semaphore.h>

struct shared {
	pthread_mutex_t lock;
	pthread_mutex_t robust;
	pthread_cond_t cond;
	sem_t sem;
	int count;
};

int main(void)
{
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	pid_t pid;

	must(s != MAP_FAILED);
	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	must(pthread_mutex_init(&s->lock, &ma) == 0);
	pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST);
	must(pthread_mutex_init(&s->robust, &ma) == 0);
	pthread_condattr_init(&ca);
	pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
	must(pthread_cond_init(&s->cond, &ca) == 0 && sem_init(&s->sem, 1, 0) == 0);
	pid = fork_child();
	if (pid == 0) {
		for (int i = 0; i < 1000; i++) {
			pthread_mutex_lock(&s->lock);
			s->count++;
			pthread_cond_signal(&s->cond);
			pthread_mutex_unlock(&s->lock);
		}
		must(sem_post(&s->sem) == 0);
		must(pthread_mutex_lock(&s->robust) == 0);
		_exit(0);
	}
	pthread_mutex_lock(&s->lock);
	while (s->count < 1000)
		pthread_cond_wait(&s->cond, &s->lock);
	pthread_mutex_unlock(&s->lock);
	must(sem_wait(&s->sem) == 0);
	say("counted %d", s->count);
	must(reap(pid) == 0);
	must(pthread_mutex_lock(&s->robust) == EOWNERDEAD);
	must(pthread_mutex_consistent(&s->robust) == 0);
	must(pthread_mutex_unlock(&s->robust) == 0 && pthread_mutex_lock(&s->robust) == 0);
	say("the robust mutex of a dead owner was repaired");
	return 0;
}
