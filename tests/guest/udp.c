/* SPDX-License-Identifier: Apache-2.0 */
/* udp.c - datagrams: sendto, recvfrom, connected, boundaries, truncation. */
#include "tests/guest/guest.h"

#include <netinet/in.h>
#include <sys/socket.h>

int main(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in b, from;
	socklen_t len = sizeof(a);
	char text[64] = "";
	int fd = socket(AF_INET, SOCK_DGRAM, 0), other;
	pid_t pid;

	must(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	must(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	pid = fork_child();
	if (pid == 0) {
		other = socket(AF_INET, SOCK_DGRAM, 0);
		must(connect(other, (struct sockaddr *)&a, sizeof(a)) == 0);
		must(send(other, "one", 3, 0) == 3 && send(other, "", 0, 0) == 0);
		must(send(other, "longer than asked", 17, 0) == 17);
		must(recv(other, text, sizeof(text), 0) == 5);
		say("child got %s", text);
		_exit(0);
	}
	len = sizeof(from);
	must(recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&from, &len) == 3);
	say("%s", text);
	must(recv(fd, text, sizeof(text), 0) == 0);
	say("real length %zd", recv(fd, text, 6, MSG_TRUNC));
	b = from;
	must(sendto(fd, "reply", 5, 0, (struct sockaddr *)&b, sizeof(b)) == 5);
	must(reap(pid) == 0);
	fails(EAGAIN, (int)recv(fd, text, sizeof(text), MSG_DONTWAIT));
	return 0;
}
