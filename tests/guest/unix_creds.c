/* SPDX-License-Identifier: Apache-2.0 */
/* unix_creds.c - credentials over unix sockets; names, datagrams, seqpackets. */
#include "tests/guest/guest.h"

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static void peer_of_a_server(struct sockaddr_un *a, socklen_t len, const char *what)
{
	int srv = socket(AF_UNIX, SOCK_STREAM, 0), con;
	struct ucred cred;
	socklen_t cred_len = sizeof(cred);
	pid_t pid;

	must(bind(srv, (struct sockaddr *)a, len) == 0 && listen(srv, 4) == 0);
	pid = fork_child();
	if (pid == 0) {
		int c = socket(AF_UNIX, SOCK_STREAM, 0);
		char byte;

		must(connect(c, (struct sockaddr *)a, len) == 0);
		must(getsockopt(c, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) == 0);
		must(cred.pid == getppid());
		must(read(c, &byte, 1) == 0);
		_exit(0);
	}
	con = accept(srv, NULL, NULL);
	must(con >= 0);
	must(getsockopt(con, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) == 0);
	say("%s: peer is the child %d, same user %d", what, cred.pid == pid, cred.uid == getuid());
	close(con);
	must(reap(pid) == 0);
	close(srv);
}

int main(void)
{
	struct sockaddr_un named = { .sun_family = AF_UNIX, .sun_path = "unix_creds.sock" };
	struct sockaddr_un hidden = { .sun_family = AF_UNIX, .sun_path = "\0pando.unix_creds" };
	char byte = 'c', control[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct ucred cred;
	int pair[2], on = 1;
	pid_t pid;

	unlink(named.sun_path);
	peer_of_a_server(&named, sizeof(named), "path");
	fails(ECONNREFUSED,
	      connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&named, sizeof(named)));
	must(unlink(named.sun_path) == 0);
	fails(ENOENT,
	      connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&named, sizeof(named)));
	peer_of_a_server(&hidden, offsetof(struct sockaddr_un, sun_path) + 17, "abstract");

	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	must(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
	pid = fork_child();
	if (pid == 0) {
		must(send(pair[1], "x", 1, 0) == 1);
		_exit(0);
	}
	must(recvmsg(pair[0], &msg, 0) == 1 && CMSG_FIRSTHDR(&msg) != NULL);
	memcpy(&cred, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(cred));
	say("SCM_CREDENTIALS: from the child %d", cred.pid == pid);
	must(reap(pid) == 0);
	return 0;
}
