/* SPDX-License-Identifier: Apache-2.0 */
/* fcntl_locks.c - POSIX record locks: ranges, GETLK, release at close and exit, deadlock. */
#include "tests/guest/guest.h"

static int lock(int fd, int cmd, short type, off_t from, off_t len)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = len };

	return fcntl(fd, cmd, &fl);
}

int main(void)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = scratch("fcntl.tmp", true), ready[2], go[2];
	char c;
	pid_t pid;

	must(pipe(ready) == 0 && pipe(go) == 0);
	pid = fork_child();
	if (pid == 0) {
		int mine = open("fcntl.tmp", O_RDWR);

		must(lock(mine, F_SETLK, F_WRLCK, 10, 10) == 0);
		must(lock(mine, F_SETLK, F_RDLCK, 30, 10) == 0);
		must(write(ready[1], "r", 1) == 1 && read(go[0], &c, 1) == 1);
		must(lock(mine, F_SETLK, F_UNLCK, 14, 2) == 0);
		must(write(ready[1], "r", 1) == 1 && read(go[0], &c, 1) == 1);
		close(open("fcntl.tmp", O_RDWR)); /* any close drops them all */
		must(write(ready[1], "r", 1) == 1 && read(go[0], &c, 1) == 1);
		_exit(0);
	}
	must(read(ready[0], &c, 1) == 1);
	fails(EAGAIN, lock(fd, F_SETLK, F_RDLCK, 0, 0));
	must(lock(fd, F_SETLK, F_RDLCK, 32, 2) == 0 && lock(fd, F_SETLK, F_WRLCK, 0, 10) == 0);
	must(fcntl(fd, F_GETLK, &fl) == 0);
	say("blocked by %ld+%ld of the child %d", (long)fl.l_start, (long)fl.l_len,
	    fl.l_pid == pid);
	must(write(go[1], "g", 1) == 1 && read(ready[0], &c, 1) == 1);
	must(lock(fd, F_SETLK, F_WRLCK, 14, 2) == 0);
	fails(EAGAIN, lock(fd, F_SETLK, F_WRLCK, 16, 1));
	must(write(go[1], "g", 1) == 1 && read(ready[0], &c, 1) == 1);
	must(lock(fd, F_SETLK, F_WRLCK, 0, 0) == 0);
	say("dropped by a close");
	must(write(go[1], "g", 1) == 1 && reap(pid) == 0);

	must(lock(fd, F_SETLK, F_UNLCK, 0, 0) == 0 && lock(fd, F_SETLK, F_WRLCK, 0, 1) == 0);
	pid = fork_child();
	if (pid == 0) {
		must(lock(fd, F_SETLK, F_WRLCK, 1, 1) == 0);
		must(write(ready[1], "r", 1) == 1);
		_exit(lock(fd, F_SETLKW, F_WRLCK, 0, 1) == 0 ? 1 : errno == EDEADLK);
	}
	must(read(ready[0], &c, 1) == 1);
	wait_state(pid, "S");
	fails(EDEADLK, lock(fd, F_SETLKW, F_WRLCK, 1, 1));
	must(lock(fd, F_SETLK, F_UNLCK, 0, 0) == 0);
	say("the other got it: %s", status_text(reap(pid)));
	must(unlink("fcntl.tmp") == 0);
	return 0;
}
