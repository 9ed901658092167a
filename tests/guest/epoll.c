/* SPDX-License-Identifier: Apache-2.0 */
/* epoll.c - epoll: level, edge, one-shot, changes by other processes, nesting. */
#include "tests/guest/guest.h"

#include <sys/epoll.h>

static int wait_one(int ep)
{
	struct epoll_event ev;
	int n = epoll_wait(ep, &ev, 1, 50);

	must(n >= 0);
	return n == 0 ? 0 : (int)ev.data.u32;
}

static void watch(int ep, int op, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u32 = 7 };

	must(epoll_ctl(ep, op, fd, &ev) == 0);
}

int main(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(0), fds[2];
	struct epoll_event ev = { .events = EPOLLIN };
	char c;
	pid_t pid;

	must(pipe(fds) == 0);
	watch(ep, EPOLL_CTL_ADD, fds[0], EPOLLIN);
	must(write(fds[1], "ab", 2) == 2);
	say("level: %d %d", wait_one(ep), wait_one(ep));
	watch(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLET);
	say("edge: %d %d", wait_one(ep), wait_one(ep));
	must(read(fds[0], &c, 1) == 1);
	say("edge after a part: %d", wait_one(ep));
	must(write(fds[1], "c", 1) == 1);
	say("edge after more: %d", wait_one(ep));
	watch(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLONESHOT);
	say("one-shot: %d %d", wait_one(ep), wait_one(ep));
	fails(EEXIST, epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &ev));
	fails(EPERM, epoll_ctl(ep, EPOLL_CTL_ADD, scratch("epoll.tmp", false), &ev));
	fails(EINVAL, epoll_ctl(ep, EPOLL_CTL_ADD, ep, &ev));
	watch(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN);
	watch(outer, EPOLL_CTL_ADD, ep, EPOLLIN);
	say("nested: %d", wait_one(outer));
	must(read(fds[0], &c, 1) == 1 && read(fds[0], &c, 1) == 1);
	say("nested, empty: %d", wait_one(outer));
	pid = fork_child();
	if (pid == 0) {
		close(fds[0]);
		must(write(fds[1], "d", 1) == 1);
		_exit(0);
	}
	must(epoll_wait(ep, &ev, 1, 10000) == 1);
	say("woken by a child");
	must(reap(pid) == 0);
	close(fds[0]);
	say("closed: %d", wait_one(ep));
	return 0;
}
