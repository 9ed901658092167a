/* SPDX-License-Identifier: Apache-2.0 */
/* mq_posix.c - POSIX message queues: priorities, notification; or a clear ENOSYS. */
#include "tests/guest/guest.h"

#include <mqueue.h>

int main(void)
{
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = 32 };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	char text[32] = "";
	unsigned prio;
	mqd_t q;
	pid_t pid;

	mq_unlink("/pando-guest-mq");
	q = mq_open("/pando-guest-mq", O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attr);
	must(q >= 0);
	fails(EAGAIN, (int)mq_receive(q, text, sizeof(text), &prio));
	block_signal(SIGUSR1);
	must(mq_notify(q, &ev) == 0);
	pid = fork_child();
	if (pid == 0) {
		mqd_t again = mq_open("/pando-guest-mq", O_WRONLY);

		must(mq_send(again, "low", 4, 1) == 0 && mq_send(again, "high", 5, 9) == 0);
		_exit(0);
	}
	must(reap(pid) == 0);
	for (int i = 0; i < 2; i++) {
		must(mq_receive(q, text, sizeof(text), &prio) > 0);
		say("%s %u", text, prio);
	}
	sigset_t pending;

	must(sigpending(&pending) == 0);
	say("notified %d", sigismember(&pending, SIGUSR1));
	must(mq_close(q) == 0 && mq_unlink("/pando-guest-mq") == 0);
	return 0;
}
