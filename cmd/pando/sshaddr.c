/* SPDX-License-Identifier: Apache-2.0 */
/* sshaddr.c - where a node's sshd listens: what --ssh said, or a port that goes with the directory.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/pando/nodehost.h"

enum {
	PORT_HOST = 2222,   /* of a host that is a node */
	PORT_FIRST = 20000, /* of local clusters, below what hosts give to clients */
	PORT_BLOCKS = 190,
	PORT_BLOCK = NODES_MAX, /* one block per directory */
};

/* FNV-1a */
static uint32_t hash_of(const char *text)
{
	uint32_t h = 2166136261u;

	for (; *text != '\0'; text++)
		h = (h ^ (uint8_t)*text) * 16777619u;
	return h;
}

static bool is_free(unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	return fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	       bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

/* The directory's own block of ports, or the next one of which all that are needed are free. */
static unsigned default_port(const char *dir, unsigned count)
{
	unsigned block = hash_of(dir) % PORT_BLOCKS;

	for (unsigned i = 0; i < PORT_BLOCKS; i++) {
		unsigned port = PORT_FIRST + (block + i) % PORT_BLOCKS * PORT_BLOCK, k = 0;

		while (k < count && is_free(port + k))
			k++;
		if (k == count)
			return port;
	}
	return PORT_FIRST + block * PORT_BLOCK;
}

/* "PORT" or "ADDR:PORT" */
static int split(const char *text, char addr[48], long *port)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;

	if (n >= 48 || parse_count(colon ? colon + 1 : text, 1, 65535, port) < 0)
		return -EINVAL;
	if (colon == NULL)
		(void)snprintf(addr, 48, "127.0.0.1");
	else
		(void)snprintf(addr, 48, "%.*s", (int)n, text);
	/* It becomes a line of sshd's configuration. */
	return addr[strspn(addr, "0123456789abcdefABCDEF.:[]")] == '\0' && addr[0] ? 0 : -EINVAL;
}

int ssh_where(struct ctx *c, const char *text, bool local, unsigned count, struct ssh_where *out)
{
	memset(out, 0, sizeof(*out));
	(void)snprintf(out->addr, sizeof(out->addr), "127.0.0.1");
	if (text == NULL) {
		out->port = local ? default_port(c->dir, count) : PORT_HOST;
		return 0;
	}
	if (strcmp(text, "off") == 0)
		return 0;
	if (split(text, out->addr, &out->port) < 0 || out->port + (long)count - 1 > 65535)
		return fail(c, CODE_USAGE, "--ssh 2222",
			    "cannot listen for ssh at %s: it is no PORT or ADDR:PORT, nor off",
			    text);
	return 0;
}

const char *ssh_where_text(const struct ssh_where *w, unsigned k, char out[64])
{
	if (w->port == 0)
		return NULL;
	(void)snprintf(out, 64, "%s:%u", w->addr, (unsigned)w->port + k - 1);
	return out;
}
