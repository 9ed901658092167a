/* SPDX-License-Identifier: Apache-2.0 */
/* dup_cloexec.c - dup, dup2, dup3, close-on-exec across exec, shared offsets, close_range. */
#include "tests/guest/guest.h"

int main(int argc, char **argv)
{
	char *again[] = { argv[0], "again", NULL };
	int fd, other;
	pid_t pid;

	if (argc > 1) {
		say("20 open %d, 21 open %d, offset %ld", fcntl(20, F_GETFD) >= 0,
		    fcntl(21, F_GETFD) >= 0, (long)lseek(20, 0, SEEK_CUR));
		return 0;
	}
	fd = scratch("dup.tmp", false);
	must(write(fd, "abcdef", 6) == 6);
	must(dup2(fd, 20) == 20 && dup3(fd, 21, O_CLOEXEC) == 21);
	fails(EINVAL, dup3(fd, fd, 0));
	fails(EBADF, dup2(999, 5));
	must(dup2(fd, fd) == fd && fcntl(fd, F_DUPFD_CLOEXEC, 30) >= 30);
	must(lseek(21, 2, SEEK_SET) == 2);
	pid = fork_child();
	if (pid == 0) {
		execv("/proc/self/exe", again);
		_exit(127);
	}
	must(reap(pid) == 0);
	pid = fork_child();
	if (pid == 0) {
		must(lseek(20, 5, SEEK_SET) == 5);
		_exit(0);
	}
	must(reap(pid) == 0);
	say("a child moved the offset: %ld", (long)lseek(21, 0, SEEK_CUR));
	other = open("/dev/null", O_RDWR);
	must(close_range((unsigned)other, ~0U, 0) == 0 && fcntl(other, F_GETFD) == -1);
	must(fcntl(20, F_GETFD) == -1 || other > 20);
	say("closed a range");
	return 0;
}
