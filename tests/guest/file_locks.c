/* SPDX-License-Identifier: Apache-2.0 */
/* file_locks.c - flock and open-file-description locks belong to descriptions. */
#include "tests/guest/guest.h"

#include <sys/file.h>

static int ofd(int fd, short type)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &fl);
}

int main(void)
{
	int a = scratch("file_locks.tmp", true), b = open("file_locks.tmp", O_RDWR), c;
	pid_t pid;

	must(flock(a, LOCK_EX) == 0);
	fails(EAGAIN, flock(b, LOCK_EX | LOCK_NB));
	c = dup(a);
	must(flock(c, LOCK_EX | LOCK_NB) == 0);
	close(c);
	pid = fork_child();
	if (pid == 0) {
		int r = flock(a, LOCK_EX | LOCK_NB) == 0; /* inherited */

		_exit(r && flock(b, LOCK_SH | LOCK_NB) == -1);
	}
	say("inherited: %s", status_text(reap(pid)));
	must(flock(a, LOCK_SH) == 0 && flock(b, LOCK_SH | LOCK_NB) == 0);
	say("shared by two");
	must(flock(a, LOCK_UN) == 0 && flock(b, LOCK_EX | LOCK_NB) == 0);
	must(flock(b, LOCK_UN) == 0);
	must(ofd(a, F_WRLCK) == 0);
	fails(EAGAIN, ofd(b, F_WRLCK));
	close(open("file_locks.tmp", O_RDWR));
	fails(EAGAIN, ofd(b, F_RDLCK));
	must(ofd(a, F_UNLCK) == 0 && ofd(b, F_WRLCK) == 0);
	must(unlink("file_locks.tmp") == 0);
	return 0;
}
