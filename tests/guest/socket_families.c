/* SPDX-License-Identifier: Apache-2.0 */
/* socket_families.c - which kinds of sockets there are. */
#include "tests/guest/guest.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>

int main(void)
{
	struct ifaddrs *list, *i;
	int loopback = 0;

	must(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
	must(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) >= 0);
	must(socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP) >= 0);
	fails(EPERM, socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	fails(EAFNOSUPPORT, socket(12345, SOCK_STREAM, 0));
	must(getifaddrs(&list) == 0);
	for (i = list; i != NULL; i = i->ifa_next)
		if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET)
			loopback |= ((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr ==
				    htonl(INADDR_LOOPBACK);
	say("loopback interface: %d", loopback);
	freeifaddrs(list);
	return 0;
}
