/* SPDX-License-Identifier: Apache-2.0 */
/* shm_posix.c - shm_open shares memory by name. */
#include "tests/guest/guest.h"

int main(void)
{
	const char *name = "/pando-guest-shm";
	int fd;
	char *p;
	pid_t pid;

	shm_unlink(name);
	fails(ENOENT, shm_open(name, O_RDWR, 0600));
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	must(fd >= 0 && ftruncate(fd, 8192) == 0);
	fails(EEXIST, shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(p != MAP_FAILED);
	pid = fork_child();
	if (pid == 0) {
		int again = shm_open(name, O_RDWR, 0);
		char *q = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0);

		must(q != MAP_FAILED);
		strcpy(q + 5000, "by the child");
		_exit(0);
	}
	must(reap(pid) == 0);
	say("%s", p + 5000);
	must(shm_unlink(name) == 0);
	say("still mapped: %s", p + 5000);
	return 0;
}
