/* SPDX-License-Identifier: Apache-2.0 */
/* sparse.c - holes: lseek, fallocate, punching; truncation; O_APPEND. */
#include "tests/guest/guest.h"

int main(void)
{
	int fd = scratch("sparse.tmp", true), app;
	struct stat st;
	char c = 'x';

	must(pwrite(fd, "end", 3, 1 << 20) == 3);
	must(fstat(fd, &st) == 0);
	say("size %ld, sparse %d", (long)st.st_size, st.st_blocks * 512 < st.st_size);
	must(pread(fd, &c, 1, 5000) == 1);
	say("a hole reads %d", c);
	say("data at %ld", (long)lseek(fd, 0, SEEK_DATA));
	say("hole at %ld", (long)lseek(fd, 0, SEEK_HOLE));
	fails(ENXIO, (int)lseek(fd, 1 << 21, SEEK_DATA));
	must(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 65536) == 0);
	must(pwrite(fd, "abc", 3, 0) == 3);
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536) == 0);
	must(pread(fd, &c, 1, 0) == 1);
	say("punched: %d", c);
	must(ftruncate(fd, 4) == 0 && ftruncate(fd, 8) == 0 && lseek(fd, 0, SEEK_END) == 8);
	app = open("sparse.tmp", O_WRONLY | O_APPEND);
	must(lseek(app, 0, SEEK_SET) == 0 && write(app, "++", 2) == 2);
	say("append goes to the end: %ld", (long)lseek(fd, 0, SEEK_END));
	fails(EINVAL, (int)lseek(fd, -1, SEEK_SET));
	must(unlink("sparse.tmp") == 0);
	return 0;
}
