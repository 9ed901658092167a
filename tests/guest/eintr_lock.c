/* SPDX-License-Identifier: Apache-2.0 */
/* eintr_lock.c - interrupted waits for locks. */
#include "tests/guest/eintr.h"

#include <sys/file.h>

/* A child holds the lock; it dies with its parent's pipe. */
static int held_file(void (*lock)(int fd))
{
	int fd = open("eintr.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600), ready[2];
	char c;
	pid_t me = getpid();

	must(fd >= 0 && pipe(ready) == 0);
	if (fork_child() == 0) {
		close(fd);
		fd = open("eintr.lock", O_RDWR | O_CLOEXEC);
		must(fd >= 0);
		lock(fd);
		must(write(ready[1], "l", 1) == 1);
		dies_with(me);
		pause();
		_exit(0);
	}
	must(read(ready[0], &c, 1) == 1);
	return fd;
}

static void by_flock(int fd)
{
	must(flock(fd, LOCK_EX) == 0);
}

static void by_fcntl(int fd)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	must(fcntl(fd, F_SETLK, &fl) == 0);
}

static int hold_flock(void)
{
	return held_file(by_flock);
}

static int hold_fcntl(void)
{
	return held_file(by_fcntl);
}

static int call_flock(int fd)
{
	return flock(fd, LOCK_EX);
}

static int call_fcntl(int fd)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_SETLKW, &fl);
}

static int call_ofd(int fd)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLKW, &fl);
}

int main(void)
{
	static const struct eintr_call calls[] = {
		{ "flock", call_flock, hold_flock },
		{ "fcntl F_SETLKW", call_fcntl, hold_fcntl },
		{ "fcntl F_OFD_SETLKW", call_ofd, hold_fcntl },
	};

	for (size_t i = 0; i < COUNT(calls); i++) {
		for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
			eintr_one(&calls[i], flags);
			must(unlink("eintr.lock") == 0); /* the holder keeps an inode of the past */
		}
	}
	return 0;
}
