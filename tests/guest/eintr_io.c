/* SPDX-License-Identifier: Apache-2.0 */
/* eintr_io.c - interrupted reads, writes and opens. */
#include "tests/guest/eintr.h"

#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

static int read_pipe(int fd)
{
	int fds[2];
	char c;

	must(pipe(fds) == 0);
	return (int)read(fds[0], &c, 1);
}

static int write_pipe(int fd)
{
	static char full[65536];
	int fds[2];

	must(pipe(fds) == 0 && write(fds[1], full, sizeof(full)) == sizeof(full));
	return (int)write(fds[1], "x", 1);
}

static int readv_pipe(int fd)
{
	int fds[2];
	char c;
	struct iovec iov = { &c, 1 };

	must(pipe(fds) == 0);
	return (int)readv(fds[0], &iov, 1);
}

static int splice_pipe(int fd)
{
	int a[2], b[2];

	must(pipe(a) == 0 && pipe(b) == 0);
	return (int)splice(a[0], NULL, b[1], NULL, 10, 0);
}

static int read_eventfd(int fd)
{
	uint64_t v;

	return (int)read(eventfd(0, 0), &v, sizeof(v));
}

static int read_timerfd(int fd)
{
	uint64_t v;
	struct itimerspec t = { .it_value = { 1000, 0 } };

	fd = timerfd_create(CLOCK_MONOTONIC, 0);
	must(timerfd_settime(fd, 0, &t, NULL) == 0);
	return (int)read(fd, &v, sizeof(v));
}

static int open_fifo(int fd)
{
	must(mkfifo("eintr.fifo", 0600) == 0 || errno == EEXIST);
	return open("eintr.fifo", O_RDONLY);
}

static int read_pty(int fd)
{
	char c;

	fd = posix_openpt(O_RDWR | O_NOCTTY);
	must(fd >= 0 && grantpt(fd) == 0 && unlockpt(fd) == 0);
	return (int)read(open(ptsname(fd), O_RDWR | O_NOCTTY), &c, 1);
}

int main(void)
{
	static const struct eintr_call calls[] = {
		{ "read pipe", read_pipe, NULL },       { "write full pipe", write_pipe, NULL },
		{ "readv pipe", readv_pipe, NULL },     { "splice", splice_pipe, NULL },
		{ "read eventfd", read_eventfd, NULL }, { "read timerfd", read_timerfd, NULL },
		{ "open fifo", open_fifo, NULL },       { "read terminal", read_pty, NULL },
	};

	eintr_all(calls);
	must(unlink("eintr.fifo") == 0);
	return 0;
}
