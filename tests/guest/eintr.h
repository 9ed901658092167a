/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eintr.h - what a blocking call does when a handler runs meanwhile, with and without SA_RESTART.
 *
 * Each call runs in a child. When the child sleeps it gets SIGUSR1; its handler says so. Then
 * either the call ends (the child says how) or the child sleeps again: restarted.
 */
#ifndef TESTS_GUEST_EINTR_H
#define TESTS_GUEST_EINTR_H

#include <sys/prctl.h>

#include "tests/guest/guest.h"

struct eintr_call {
	const char *name;
	int (*call)(int fd);  /* 0 or more, or -1 with errno; a child of its own runs it */
	int (*prepare)(void); /* first, in the child; gives @fd; may sleep. NULL: nothing */
};

/* For helpers of a call: its child may be killed. */
static inline void dies_with(pid_t parent)
{
	must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	if (getppid() != parent)
		_exit(0); /* it was faster */
}

static int eintr_pipe[2];

static void eintr_handler(int sig)
{
	int saved = errno;

	must(write(eintr_pipe[1], "h", 1) == 1);
	errno = saved;
}

static void eintr_child(const struct eintr_call *c, int flags)
{
	int r, fd;

	close(eintr_pipe[0]);
	fd = c->prepare != NULL ? c->prepare() : -1;
	on_signal(SIGUSR1, eintr_handler, flags);
	must(write(eintr_pipe[1], "r", 1) == 1);
	r = c->call(fd);
	must(dprintf(eintr_pipe[1], "%s", r >= 0 ? "returned" : strerrorname_np(errno)) > 0);
	_exit(0);
}

/* After the handler: the call's end, or sleep again (seen thirty times in a row). */
static const char *eintr_outcome(pid_t pid, char *text, size_t size)
{
	struct pollfd p = { .fd = eintr_pipe[0], .events = POLLIN };
	int asleep = 0;
	ssize_t n;

	while (asleep < 30) {
		if (poll(&p, 1, 1) == 1) {
			n = read(eintr_pipe[0], text, size - 1);
			must(n > 0);
			text[n] = 0;
			return text;
		}
		asleep = task_state(pid) == 'S' ? asleep + 1 : 0;
	}
	return "restarted";
}

static void eintr_one(const struct eintr_call *c, int flags)
{
	char text[64], step;
	pid_t pid;

	must(pipe(eintr_pipe) == 0);
	pid = fork_child();
	if (pid == 0)
		eintr_child(c, flags);
	close(eintr_pipe[1]);
	must(read(eintr_pipe[0], &step, 1) == 1 && step == 'r');
	wait_state(pid, "S");
	pause_ms(2); /* "S" may have been on the way into the call */
	wait_state(pid, "S");
	must(kill(pid, SIGUSR1) == 0);
	must(read(eintr_pipe[0], &step, 1) == 1 && step == 'h');
	say("%s, %s: %s", c->name, flags ? "SA_RESTART" : "no flag",
	    eintr_outcome(pid, text, sizeof(text)));
	kill(pid, SIGKILL);
	reap(pid);
	close(eintr_pipe[0]);
}

#define eintr_all(calls)                                                                           \
	do {                                                                                       \
		for (size_t i_ = 0; i_ < COUNT(calls); i_++) {                                     \
			eintr_one(&(calls)[i_], 0);                                                \
			eintr_one(&(calls)[i_], SA_RESTART);                                       \
		}                                                                                  \
	} while (0)

#endif
