/* SPDX-License-Identifier: Apache-2.0 */
/* file_modes.c - umask, chmod, stat, access, utimensat, chown of nothing. */
#include "tests/guest/guest.h"

int main(void)
{
	struct timespec times[2] = { { 1000000000, 123456789 }, { 2000000000, 0 } };
	struct stat st;
	struct statx sx;
	int fd;

	umask(027);
	fd = open("modes.tmp", O_RDWR | O_CREAT | O_EXCL, 0666);
	must(fd >= 0 && fstat(fd, &st) == 0);
	say("%o, owner %d, links %lu", st.st_mode, st.st_uid == geteuid(),
	    (unsigned long)st.st_nlink);
	say("umask was %o", umask(022));
	fails(EEXIST, open("modes.tmp", O_CREAT | O_EXCL, 0600));
	must(chmod("modes.tmp", 04711) == 0 && stat("modes.tmp", &st) == 0);
	say("%o", st.st_mode);
	must(write(fd, "x", 1) == 1 && fstat(fd, &st) == 0);
	say("a write drops set-user-id: %o", st.st_mode);
	must(fchmod(fd, 0400) == 0);
	say("writable %d readable %d", access("modes.tmp", W_OK) == 0,
	    access("modes.tmp", R_OK) == 0);
	fails(EACCES, open("modes.tmp", O_WRONLY));
	must(utimensat(AT_FDCWD, "modes.tmp", times, 0) == 0);
	must(statx(AT_FDCWD, "modes.tmp", 0, STATX_BASIC_STATS, &sx) == 0);
	say("%lld.%09u %lld", sx.stx_atime.tv_sec, sx.stx_atime.tv_nsec, sx.stx_mtime.tv_sec);
	must(chown("modes.tmp", (uid_t)-1, (gid_t)-1) == 0);
	fails(EPERM, chown("modes.tmp", 0, 0));
	fails(EPERM, mknod("modes.dev", S_IFCHR | 0600, 0x103));
	must(unlink("modes.tmp") == 0);
	fails(ENOENT, stat("modes.tmp", &st));
	return 0;
}
