/* SPDX-License-Identifier: Apache-2.0 */
/* eintr_ipc.c - interrupted System V waits. */
#include "tests/guest/eintr.h"

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

static int sem, queue;

static int call_semop(int fd)
{
	struct sembuf op = { 0, -1, 0 };

	return semop(sem, &op, 1);
}

static int call_semtimedop(int fd)
{
	struct sembuf op = { 0, -1, 0 };
	struct timespec t = { 1000, 0 };

	return semtimedop(sem, &op, 1, &t);
}

static int call_msgrcv(int fd)
{
	struct {
		long type;
		char text[8];
	} m;

	return (int)msgrcv(queue, &m, sizeof(m.text), 0, 0);
}

int main(void)
{
	static const struct eintr_call calls[] = {
		{ "semop", call_semop, NULL },
		{ "semtimedop", call_semtimedop, NULL },
		{ "msgrcv", call_msgrcv, NULL },
	};

	sem = semget(IPC_PRIVATE, 1, 0600);
	queue = msgget(IPC_PRIVATE, 0600);
	must(sem >= 0 && queue >= 0);
	eintr_all(calls);
	must(semctl(sem, 0, IPC_RMID) == 0 && msgctl(queue, IPC_RMID, NULL) == 0);
	return 0;
}
