/* SPDX-License-Identifier: Apache-2.0 */
/* eventfd.c - eventfd between processes; semaphore mode; overflow. */
#include "tests/guest/guest.h"

#include <sys/eventfd.h>

int main(void)
{
	int fd = eventfd(3, EFD_CLOEXEC | EFD_NONBLOCK), sem = eventfd(2, EFD_SEMAPHORE);
	uint64_t v = 5;
	pid_t pid;

	must(write(fd, &v, 8) == 8 && read(fd, &v, 8) == 8);
	say("sum %lu", v);
	fails(EAGAIN, (int)read(fd, &v, 8));
	fails(EINVAL, (int)read(fd, &v, 4));
	must(read(sem, &v, 8) == 8 && v == 1 && read(sem, &v, 8) == 8 && v == 1);
	pid = fork_child();
	if (pid == 0) {
		v = 1;
		must(write(sem, &v, 8) == 8);
		_exit(0);
	}
	must(read(sem, &v, 8) == 8);
	say("a child woke us");
	reap(pid);
	v = UINT64_MAX - 1;
	must(write(fd, &v, 8) == 8);
	v = 1;
	fails(EAGAIN, (int)write(fd, &v, 8));
	return 0;
}
