/* SPDX-License-Identifier: Apache-2.0 */
/* tcp.c - a TCP server and its client: echo, half close, refused, EADDRINUSE, non-blocking connect.
 */
#include "tests/guest/guest.h"

#include <netinet/in.h>
#include <sys/socket.h>

static struct sockaddr_in addr = { .sin_family = AF_INET };

static void client(void)
{
	char text[32] = "", block[4096];
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	long sum = 0;

	must(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	must(send(fd, "hello", 5, 0) == 5);
	must(recv(fd, text, 5, MSG_WAITALL) == 5);
	say("client got %s", text);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (char)(i * 7);
	for (int i = 0; i < 256; i++)
		must(send(fd, block, sizeof(block), 0) == sizeof(block));
	must(shutdown(fd, SHUT_WR) == 0);
	must(recv(fd, &sum, sizeof(sum), MSG_WAITALL) == sizeof(sum));
	say("after half close: %ld", sum);
	must(recv(fd, text, 1, 0) == 0);
	_exit(0);
}

static void serve(int fd)
{
	char text[8], block[10000];
	long sum = 0;
	ssize_t n;

	must(recv(fd, text, 5, MSG_WAITALL) == 5 && send(fd, text, 5, 0) == 5);
	while ((n = recv(fd, block, sizeof(block), 0)) > 0)
		for (ssize_t i = 0; i < n; i++)
			sum += (unsigned char)block[i];
	must(n == 0 && send(fd, &sum, sizeof(sum), 0) == sizeof(sum));
	close(fd);
}

int main(void)
{
	int srv = socket(AF_INET, SOCK_STREAM, 0), con, err = -1;
	struct sockaddr_in peer;
	struct pollfd p = { .events = POLLOUT };
	socklen_t len = sizeof(addr), err_len = sizeof(err);
	pid_t pid;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(srv >= 0 && bind(srv, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	must(listen(srv, 8) == 0);
	must(getsockname(srv, (struct sockaddr *)&addr, &len) == 0 && addr.sin_port != 0);
	fails(EADDRINUSE,
	      bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&addr, sizeof(addr)));
	pid = fork_child();
	if (pid == 0)
		client();
	len = sizeof(peer);
	con = accept4(srv, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
	must(con >= 0 && peer.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	serve(con);
	say("client: %s", status_text(reap(pid)));

	con = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	must(connect(con, (struct sockaddr *)&addr, sizeof(addr)) == 0 || errno == EINPROGRESS);
	p.fd = con;
	must(poll(&p, 1, 10000) == 1);
	must(getsockopt(con, SOL_SOCKET, SO_ERROR, &err, &err_len) == 0 && err == 0);
	len = sizeof(peer);
	must(getpeername(con, (struct sockaddr *)&peer, &len) == 0);
	say("right peer: %d", peer.sin_port == addr.sin_port);
	close(srv);
	close(con);
	fails(ECONNREFUSED,
	      connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&addr, sizeof(addr)));
	return 0;
}
