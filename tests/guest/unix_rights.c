/* SPDX-License-Identifier: Apache-2.0 */
/* unix_rights.c - descriptors travel over unix sockets. */
#include "tests/guest/guest.h"

#include <sys/socket.h>

static void send_fds(int sock, const int *fds, size_t n)
{
	char byte = 'f', control[CMSG_SPACE(4 * sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
	struct cmsghdr *c;

	msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
	c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	must(sendmsg(sock, &msg, 0) == 1);
}

static size_t recv_fds(int sock, int *fds)
{
	char byte, control[CMSG_SPACE(4 * sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	size_t n;

	must(recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) == 1 && byte == 'f');
	c = CMSG_FIRSTHDR(&msg);
	must(c != NULL && c->cmsg_type == SCM_RIGHTS);
	n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	return n;
}

int main(void)
{
	int pair[2], fds[2], got[4];
	char text[16] = "";
	pid_t pid;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	pid = fork_child();
	if (pid == 0) {
		int file = scratch("unix_rights.tmp", false);

		must(pipe(fds) == 0 && write(fds[1], "piped", 5) == 5);
		must(write(file, "filed", 5) == 5);
		must(lseek(file, 1, SEEK_SET) == 1);
		send_fds(pair[1], (int[]){ fds[0], file }, 2);
		_exit(0);
	}
	must(recv_fds(pair[0], got) == 2);
	must(reap(pid) == 0);
	must(fcntl(got[0], F_GETFD) == FD_CLOEXEC);
	must(read(got[0], text, sizeof(text)) == 5);
	say("%s", text);
	memset(text, 0, sizeof(text));
	must(read(got[1], text, sizeof(text)) == 4);
	say("%s", text);
	return 0;
}
