/* SPDX-License-Identifier: Apache-2.0 */
/* splice_tee.c - splice, tee, vmsplice, sendfile, copy_file_range. */
#include "tests/guest/guest.h"

#include <sys/sendfile.h>
#include <sys/uio.h>

static void drain(const char *what, int fd)
{
	char text[64] = "";
	ssize_t n = read(fd, text, sizeof(text) - 1);

	say("%s: %.*s", what, (int)n, text);
}

int main(void)
{
	int a[2], b[2], in = scratch("splice.in", false), out = scratch("splice.out", false);
	char user[] = "from memory";
	struct iovec iov = { user, 11 };
	off_t off = 3;

	must(pipe(a) == 0 && pipe(b) == 0);
	must(pwrite(in, "0123456789", 10, 0) == 10);
	must(splice(in, &off, a[1], NULL, 4, 0) == 4 && off == 7);
	must(tee(a[0], b[1], 100, 0) == 4);
	drain("copy", b[0]);
	drain("original", a[0]);
	must(vmsplice(a[1], &iov, 1, 0) == 11);
	must(splice(a[0], NULL, out, NULL, 11, 0) == 11);
	must(lseek(out, 0, SEEK_SET) == 0);
	drain("file", out);
	off = 0;
	must(sendfile(a[1], in, &off, 5) == 5);
	drain("sendfile", a[0]);
	off = 8;
	must(copy_file_range(in, &off, out, NULL, 10, 0) == 2);
	must(lseek(out, 0, SEEK_SET) == 0);
	drain("file", out);
	fails(EINVAL, (int)splice(in, NULL, out, NULL, 1, 0));
	return 0;
}
