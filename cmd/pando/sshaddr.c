/* SPDX-License-Identifier: Apache-2.0 */
/* sshaddr.c - where a node's sshd listens: what --ssh said, or a port that goes with the directory.
 */
#include <errno.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
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

/* 0 if somebody could listen there, or why not. */
static int may_listen(const char *addr, long port)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
				  .ai_socktype = SOCK_STREAM };
	struct addrinfo *at = NULL;
	char service[24];
	int on = 1, fd, r = 0;

	(void)snprintf(service, sizeof(service), "%ld", port);
	if (getaddrinfo(addr, service, &hints, &at) != 0)
		return -EADDRNOTAVAIL;
	fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, at->ai_addr, at->ai_addrlen) < 0)
		r = -errno;
	if (fd >= 0)
		(void)close(fd);
	freeaddrinfo(at);
	return r;
}

/*
 * One of two clusters that begin at the same time has the block, until its sshd listen: a name that
 * goes with this process, on this host (unix(7), abstract).
 */
static bool is_ours(unsigned port)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int n = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "pando-ssh-%u", port);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&a, len) == 0)
		return true;
	if (fd >= 0)
		(void)close(fd);
	return false;
}

/* The directory's own block of ports, or the next one of which all that are needed are free. */
static unsigned default_port(const char *dir, unsigned count)
{
	unsigned block = hash_of(dir) % PORT_BLOCKS;

	for (unsigned i = 0; i < PORT_BLOCKS; i++) {
		unsigned port = PORT_FIRST + (block + i) % PORT_BLOCKS * PORT_BLOCK, k = 0;

		while (k < count && may_listen("127.0.0.1", port + k) == 0)
			k++;
		if (k == count && is_ours(port))
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
		out->chosen = local;
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

void ssh_where_of(const char *text, unsigned k, struct ssh_where *out)
{
	memset(out, 0, sizeof(*out));
	out->chosen = true;
	if (text == NULL || split(text, out->addr, &out->port) < 0 || out->port < (long)k)
		out->port = 0;
	else
		out->port -= (long)k - 1;
}

int ssh_check(struct ctx *c, const struct ssh_where *w, unsigned k, const char *node)
{
	int running = nodehost_find_guard(c->dir, node, NULL), r;
	long port = w->port + k - 1;
	char who[48];

	if (running >= 0)
		(void)close(running);
	if (running >= 0 || w->port == 0 || w->chosen)
		return 0;
	r = may_listen(w->addr, port);
	if (r == 0)
		return 0;
	(void)snprintf(who, sizeof(who), "ss -ltnp 'sport = :%ld'", port);
	return fail(c, CODE_REFUSED, who,
		    "cannot listen for ssh at %s:%ld: %s (--ssh takes another)", w->addr, port,
		    strerror(-r));
}

const char *ssh_where_text(const struct ssh_where *w, unsigned k, char out[64])
{
	if (w->port == 0)
		return NULL;
	(void)snprintf(out, 64, "%s:%u", w->addr, (unsigned)w->port + k - 1);
	return out;
}
