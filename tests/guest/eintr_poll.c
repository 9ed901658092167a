/* SPDX-License-Identifier: Apache-2.0 */
/* eintr_poll.c - interrupted poll, select, epoll_wait, futex. */
#include "tests/guest/eintr.h"

#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/select.h>

static int call_poll(int fd)
{
	return poll(NULL, 0, 1000000);
}

static int call_ppoll(int fd)
{
	return ppoll(NULL, 0, NULL, NULL);
}

static int call_select(int fd)
{
	struct timeval t = { 1000, 0 };

	return select(0, NULL, NULL, NULL, &t);
}

static int call_pselect(int fd)
{
	return pselect(0, NULL, NULL, NULL, NULL, NULL);
}

static int call_epoll(int fd)
{
	struct epoll_event ev;

	return epoll_wait(epoll_create1(0), &ev, 1, -1);
}

static int call_epoll_pwait(int fd)
{
	struct epoll_event ev;
	sigset_t none;

	sigemptyset(&none);
	return epoll_pwait(epoll_create1(0), &ev, 1, 1000000, &none);
}

static int call_futex(int fd)
{
	int word = 0;

	return (int)syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static int call_futex_timeout(int fd)
{
	int word = 0;
	struct timespec t = { 1000, 0 };

	return (int)syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, NULL, 0);
}

int main(void)
{
	static const struct eintr_call calls[] = {
		{ "poll", call_poll, NULL },
		{ "ppoll", call_ppoll, NULL },
		{ "select", call_select, NULL },
		{ "pselect", call_pselect, NULL },
		{ "epoll_wait", call_epoll, NULL },
		{ "epoll_pwait", call_epoll_pwait, NULL },
		{ "futex wait", call_futex, NULL },
		{ "futex wait with timeout", call_futex_timeout, NULL },
	};

	eintr_all(calls);
	return 0;
}
