/* SPDX-License-Identifier: Apache-2.0 */
/* sysv_shm.c - System V shared memory. */
#include "tests/guest/guest.h"

#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
	int id = shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600);
	struct shmid_ds ds;
	char *p;
	pid_t pid;

	must(id >= 0);
	p = shmat(id, NULL, 0);
	must(p != (void *)-1);
	pid = fork_child();
	if (pid == 0) {
		char *q = shmat(id, NULL, 0);

		must(q != (void *)-1);
		strcpy(q, "shared");
		_exit(0);
	}
	must(reap(pid) == 0);
	must(shmctl(id, IPC_STAT, &ds) == 0);
	say("%s, %zu bytes, attached %lu, creator is us %d, last is the child %d", p, ds.shm_segsz,
	    (unsigned long)ds.shm_nattch, ds.shm_cpid == getpid(), ds.shm_lpid == pid);
	must(shmctl(id, IPC_RMID, NULL) == 0);
	say("still there: %s", p);
	must(shmdt(p) == 0);
	fails(EINVAL, (int)(intptr_t)shmat(id, NULL, 0));
	return 0;
}
