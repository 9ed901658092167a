/* SPDX-License-Identifier: Apache-2.0 */
/* eintr_socket.c - interrupted socket calls. */
#include "tests/guest/eintr.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

static int listener(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	must(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 1) == 0);
	return fd;
}

static int with_timeout(int fd)
{
	struct timeval t = { 1000, 0 };

	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) == 0);
	return fd;
}

static int listener_timeout(void)
{
	return with_timeout(listener());
}

static int pair(void)
{
	int fds[2];

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	return fds[0];
}

static int pair_timeout(void)
{
	return with_timeout(pair());
}

static int pair_full(void)
{
	static char block[65536];
	int fd = pair();

	while (send(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
	return fd;
}

static int udp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	must(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	return fd;
}

static const struct sockaddr_un queue = { .sun_family = AF_UNIX, .sun_path = "eintr.sock" };

/* A unix listener whose queue is full: the next connect waits. */
static int full_queue(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), first = socket(AF_UNIX, SOCK_STREAM, 0);

	unlink(queue.sun_path);
	must(bind(fd, (const struct sockaddr *)&queue, sizeof(queue)) == 0 && listen(fd, 0) == 0);
	must(connect(first, (const struct sockaddr *)&queue, sizeof(queue)) == 0);
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static struct sockaddr_in tcp_queue;

/* The same with TCP, where who comes to a full queue asks again and again. */
static int full_tcp_queue(void)
{
	socklen_t len = sizeof(tcp_queue);
	int fd = listener(), other;

	must(getsockname(fd, (struct sockaddr *)&tcp_queue, &len) == 0 && listen(fd, 0) == 0);
	for (int i = 0; i < 3; i++) {
		struct pollfd p = { .events = POLLOUT };

		other = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		p.fd = other;
		if (connect(other, (const struct sockaddr *)&tcp_queue, len) != 0)
			must(errno == EINPROGRESS && poll(&p, 1, 100) >= 0);
	}
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int call_connect_tcp(int fd)
{
	return connect(fd, (const struct sockaddr *)&tcp_queue, sizeof(tcp_queue));
}

static int call_accept(int fd)
{
	return accept(fd, NULL, NULL);
}

static int call_recv(int fd)
{
	char c;

	return (int)recv(fd, &c, 1, 0);
}

static int call_recvmsg(int fd)
{
	struct msghdr msg = { 0 };

	return (int)recvmsg(fd, &msg, 0);
}

static int call_send(int fd)
{
	return (int)send(fd, "x", 1, 0);
}

static int call_connect(int fd)
{
	return connect(fd, (const struct sockaddr *)&queue, sizeof(queue));
}

int main(void)
{
	static const struct eintr_call calls[] = {
		{ "accept", call_accept, listener },
		{ "accept with SO_RCVTIMEO", call_accept, listener_timeout },
		{ "recv", call_recv, pair },
		{ "recv with SO_RCVTIMEO", call_recv, pair_timeout },
		{ "recvmsg udp", call_recvmsg, udp },
		{ "send to a full socket", call_send, pair_full },
		{ "connect to a full queue", call_connect, full_queue },
		{ "connect to a full tcp queue", call_connect_tcp, full_tcp_queue },
	};

	eintr_all(calls);
	must(unlink("eintr.sock") == 0);
	return 0;
}
