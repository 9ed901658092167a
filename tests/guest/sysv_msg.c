/* SPDX-License-Identifier: Apache-2.0 */
/* sysv_msg.c - System V message queues: types, order, limits. */
#include "tests/guest/guest.h"

#include <sys/ipc.h>
#include <sys/msg.h>

struct message {
	long type;
	char text[32];
};

static void put(int id, long type, const char *text)
{
	struct message m = { .type = type };

	strcpy(m.text, text);
	must(msgsnd(id, &m, strlen(text) + 1, 0) == 0);
}

static void take(int id, long type)
{
	struct message m;
	ssize_t n = msgrcv(id, &m, sizeof(m.text), type, 0);

	must(n > 0);
	say("type %ld asked: %ld %s", type, m.type, m.text);
}

int main(void)
{
	int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	struct message m;
	pid_t pid;

	must(id >= 0);
	pid = fork_child();
	if (pid == 0) {
		put(id, 3, "third");
		put(id, 1, "first");
		put(id, 2, "second");
		_exit(0);
	}
	must(reap(pid) == 0);
	take(id, -2);
	take(id, 2);
	fails(E2BIG, (int)msgrcv(id, &m, 2, 0, 0));
	take(id, 0);
	fails(ENOMSG, (int)msgrcv(id, &m, 8, 0, IPC_NOWAIT));
	must(msgctl(id, IPC_RMID, NULL) == 0);
	fails(EINVAL, (int)msgrcv(id, &m, 8, 0, IPC_NOWAIT));
	return 0;
}
