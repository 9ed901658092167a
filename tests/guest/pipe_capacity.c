/* SPDX-License-Identifier: Apache-2.0 */
/* pipe_capacity.c - a pipe holds 65,536 bytes; EAGAIN, partial writes, resizing. */
#include "tests/guest/guest.h"

static char block[65536];

int main(void)
{
	int fds[2];
	struct pollfd p = { .events = POLLOUT };

	must(pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0);
	p.fd = fds[1];
	say("size %d", fcntl(fds[1], F_GETPIPE_SZ));
	fails(EAGAIN, (int)read(fds[0], block, 1));
	say("wrote %zd", write(fds[1], block, sizeof(block)));
	fails(EAGAIN, (int)write(fds[1], block, 1));
	must(poll(&p, 1, 0) == 0);
	must(read(fds[0], block, 4096) == 4096);
	must(poll(&p, 1, 0) == 1);
	say("wrote %zd of 8192", write(fds[1], block, 8192));
	say("resized to %d", fcntl(fds[1], F_SETPIPE_SZ, 131072));
	say("wrote %zd", write(fds[1], block, sizeof(block)));
	fails(EBUSY, fcntl(fds[1], F_SETPIPE_SZ, 4096));
	return 0;
}
