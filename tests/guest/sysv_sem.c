/* SPDX-License-Identifier: Apache-2.0 */
/* sysv_sem.c - System V semaphores, with undo. */
#include "tests/guest/guest.h"

#include <sys/ipc.h>
#include <sys/sem.h>

int main(void)
{
	int id = semget(IPC_PRIVATE, 2, IPC_CREAT | 0600);
	struct sembuf both[] = { { 0, -1, 0 }, { 1, 1, 0 } }, up = { 0, 1, 0 };
	struct sembuf undo = { 1, 5, SEM_UNDO }, now = { 0, -1, IPC_NOWAIT };
	pid_t pid;

	must(id >= 0);
	fails(EAGAIN, semop(id, &now, 1));
	pid = fork_child();
	if (pid == 0) {
		must(semop(id, both, 2) == 0);
		_exit(0);
	}
	must(semop(id, &up, 1) == 0);
	say("waiter: %s", status_text(reap(pid)));
	say("values %d %d", semctl(id, 0, GETVAL), semctl(id, 1, GETVAL));
	pid = fork_child();
	if (pid == 0) {
		must(semop(id, &undo, 1) == 0);
		_exit(semctl(id, 1, GETVAL));
	}
	say("in the child: %s", status_text(reap(pid)));
	say("undone: %d, last was the child %d", semctl(id, 1, GETVAL),
	    semctl(id, 1, GETPID) == pid);
	must(semctl(id, 0, IPC_RMID) == 0);
	fails(EINVAL, semop(id, &up, 1));
	return 0;
}
