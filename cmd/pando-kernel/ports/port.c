/* SPDX-License-Identifier: Apache-2.0 */
/* port.c - names of sockets, and who holds them on this node, as its host tells (proc(5),
 * /proc/net). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cmd/pando-kernel/ports/ports.h"

#define TCP_LISTENING  0x0a    /* net/tcp_states.h */
#define UNIX_LISTENING 0x10000 /* __SO_ACCEPTCON in the host's table */
#define TABLE_MAX      (16 * 1024 * 1024)

static int net_dir = -1; /* /proc/net of the tenant; pando-init has it for ever */

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static void set_v4(uint8_t out[16], const void *addr)
{
	memcpy(out, mapped, sizeof(mapped));
	memcpy(out + sizeof(mapped), addr, 4);
}

static bool is_any(const uint8_t a[16])
{
	static const uint8_t zero[16];

	return memcmp(a, zero, 16) == 0 ||
	       (memcmp(a, mapped, sizeof(mapped)) == 0 && memcmp(a + 12, zero, 4) == 0);
}

static bool is_loopback(const uint8_t a[16])
{
	return memcmp(a, &in6addr_loopback, 16) == 0 ||
	       (memcmp(a, mapped, sizeof(mapped)) == 0 && a[12] == 127);
}

static int parse_unix(struct world *w, pid_t pid, const struct sockaddr_un *un, size_t len,
		      struct port *out)
{
	static const char *const volumes[] = { "/home/", "/tmp/", "/var/tmp/" };
	size_t n = len - offsetof(struct sockaddr_un, sun_path);
	char cwd[256] = "", link[32];
	bool shared = false;
	ssize_t at = 0;

	if (n == 0)
		return -EINVAL; /* without a name */
	if (un->sun_path[0] == '\0') {
		out->kind = PORT_ABSTRACT;
		out->name_len = n - 1;
		memcpy(out->name, un->sun_path + 1, n - 1);
		return n > 1 ? 0 : -EINVAL;
	}
	out->kind = PORT_PATH;
	n = strnlen(un->sun_path, n);
	if (un->sun_path[0] != '/') {
		(void)snprintf(link, sizeof(link), "%d/cwd", pid);
		at = readlinkat(w->view.procfs, link, cwd, sizeof(cwd) - 2);
		if (at < 0)
			return -errno;
		cwd[at++] = '/';
	}
	if ((size_t)at + n >= sizeof(out->name))
		return -EINVAL;
	memcpy(out->name, cwd, (size_t)at);
	memcpy(out->name + at, un->sun_path, n);
	out->name[(size_t)at + n] = '\0';
	out->name_len = (size_t)at + n;
	for (size_t i = 0; i < ARRAY_LEN(volumes); i++)
		shared |= strncmp(out->name, volumes[i], strlen(volumes[i])) == 0;
	return shared ? 0 : -EINVAL; /* a path of this node alone */
}

int port_parse(struct world *w, pid_t pid, const void *addr, size_t len, bool datagrams,
	       struct port *out)
{
	const struct sockaddr_in *in = addr;
	const struct sockaddr_in6 *in6 = addr;
	sa_family_t family;

	*out = (struct port){ .kind = datagrams ? PORT_UDP : PORT_TCP };
	if (len < sizeof(family))
		return -EINVAL;
	memcpy(&family, addr, sizeof(family));
	out->family = family;
	if (family == AF_UNIX && len <= sizeof(struct sockaddr_un))
		return parse_unix(w, pid, addr, len, out);
	if (family == AF_INET && len >= sizeof(*in)) {
		out->port = ntohs(in->sin_port);
		set_v4(out->addr, &in->sin_addr);
	} else if (family == AF_INET6 && len >= sizeof(*in6)) {
		out->port = ntohs(in6->sin6_port);
		memcpy(out->addr, &in6->sin6_addr, 16);
	} else {
		return -EINVAL;
	}
	return out->port != 0 && (is_any(out->addr) || is_loopback(out->addr)) ? 0 : -EINVAL;
}

void port_text(const struct port *p, char out[PORT_TEXT_MAX])
{
	char addr[INET6_ADDRSTRLEN] = "";

	if (p->family == AF_UNIX)
		(void)snprintf(out, PORT_TEXT_MAX, "%s%.*s", p->kind == PORT_ABSTRACT ? "@" : "",
			       (int)p->name_len, p->name);
	else if (p->family == AF_INET)
		(void)snprintf(out, PORT_TEXT_MAX, "%s:%u",
			       inet_ntop(AF_INET, p->addr + sizeof(mapped), addr, sizeof(addr)),
			       p->port);
	else
		(void)snprintf(out, PORT_TEXT_MAX, "[%s]:%u",
			       inet_ntop(AF_INET6, p->addr, addr, sizeof(addr)), p->port);
}

socklen_t port_sockaddr(const struct port *p, struct sockaddr_storage *out)
{
	struct sockaddr_in *in = (void *)out;
	struct sockaddr_in6 *in6 = (void *)out;
	struct sockaddr_un *un = (void *)out;
	size_t at = p->kind == PORT_ABSTRACT ? 1 : 0;

	memset(out, 0, sizeof(*out));
	out->ss_family = (sa_family_t)p->family;
	if (p->family == AF_UNIX) {
		memcpy(un->sun_path + at, p->name, MIN(p->name_len, sizeof(un->sun_path) - at));
		return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + at + p->name_len);
	}
	if (p->family == AF_INET) {
		in->sin_port = htons(p->port);
		memcpy(&in->sin_addr, p->addr + 12, 4);
		return sizeof(*in);
	}
	in6->sin6_port = htons(p->port);
	memcpy(&in6->sin6_addr, p->addr, 16);
	return sizeof(*in6);
}

int port_pack(const struct port *p, uint8_t **body, size_t *len)
{
	Peer__Port q = PEER__PORT__INIT;

	q.kind = (uint32_t)p->kind;
	q.family = (uint32_t)p->family;
	q.port = p->port;
	q.addr.data = (uint8_t *)(uintptr_t)p->addr;
	q.addr.len = sizeof(p->addr);
	q.name.data = (uint8_t *)(uintptr_t)p->name;
	q.name.len = p->name_len;
	*body = malloc(peer__port__get_packed_size(&q) + 1);
	if (!*body)
		return -ENOMEM;
	*len = peer__port__pack(&q, *body);
	return 0;
}

int port_from(const Peer__Port *q, struct port *out)
{
	*out = (struct port){ .kind = (enum port_kind)q->kind,
			      .family = (int)q->family,
			      .port = (uint16_t)q->port };
	if (q->kind < PORT_TCP || q->kind > PORT_ABSTRACT || q->addr.len != sizeof(out->addr) ||
	    q->name.len >= sizeof(out->name))
		return -EPROTO;
	if ((q->kind == PORT_PATH || q->kind == PORT_ABSTRACT) != (q->family == AF_UNIX) ||
	    (q->family != AF_UNIX && q->family != AF_INET && q->family != AF_INET6))
		return -EPROTO;
	if (q->kind == PORT_ABSTRACT && q->name.len >= sizeof(out->name) - 1)
		return -EPROTO;
	memcpy(out->addr, q->addr.data, sizeof(out->addr));
	if (q->name.len > 0)
		memcpy(out->name, q->name.data, q->name.len);
	out->name_len = q->name.len;
	return 0;
}

/* ---- the host's tables ---- */
int port_open(struct world *w)
{
	cleanup_close int init = pid1_get(w->pid1, INIT_KEY_INIT);
	pid_t pid = init >= 0 ? task_pidfd_pid(w->view.procfs, init) : -1;
	char path[32];

	if (pid <= 0)
		return init < 0 ? init : -ESRCH;
	(void)snprintf(path, sizeof(path), "%d/net", pid);
	net_dir = openat(w->view.procfs, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return net_dir < 0 ? -errno : 0;
}

/* @name of the tenant's network namespace, whole, with a NUL. */
static int read_table(const char *name, struct buf *out)
{
	cleanup_close int fd = openat(net_dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	while (n > 0 && out->len < TABLE_MAX) {
		int r = buf_reserve(out, 65536);

		if (r != 0)
			return r;
		n = read(fd, out->data + out->len, 65535);
		out->len += n > 0 ? (size_t)n : 0;
	}
	out->data[out->len] = 0;
	return n < 0 ? -errno : 0;
}

/* One line of tcp, tcp6, udp, udp6: its own address, port and state. */
static bool parse_inet(const char *line, uint8_t addr[16], unsigned *port, unsigned *state)
{
	char hex[33];
	uint32_t word = 0;

	if (sscanf(line, " %*u: %32[0-9A-F]:%x %*[0-9A-F]:%*x %x", hex, port, state) != 3)
		return false;
	for (size_t i = 0; i < strlen(hex) / 8; i++) {
		char eight[9] = "";

		memcpy(eight, hex + 8 * i, 8);
		word = (uint32_t)strtoul(eight, NULL, 16);
		memcpy(addr + 4 * i, &word, 4);
	}
	if (strlen(hex) == 8)
		set_v4(addr, &word);
	return strlen(hex) == 8 || strlen(hex) == 32;
}

static bool line_holds(const char *line, const struct port *p)
{
	uint8_t addr[16] = { 0 };
	unsigned port, state;

	if (!parse_inet(line, addr, &port, &state) || port != p->port ||
	    (p->kind == PORT_TCP && state != TCP_LISTENING))
		return false;
	return memcmp(addr, p->addr, 16) == 0 || is_any(addr) || is_any(p->addr);
}

/* "Num RefCount Protocol Flags Type St Inode Path" */
static bool line_is(const char *line, const struct port *p)
{
	unsigned flags;
	int at = 0;
	const char *path;
	size_t len;

	if (sscanf(line, "%*[0-9a-fA-F]: %*x %*x %x %*x %*x %*u %n", &flags, &at) != 1 || at == 0 ||
	    !(flags & UNIX_LISTENING))
		return false;
	path = line + at;
	len = strlen(path);
	if (p->kind == PORT_ABSTRACT)
		return path[0] == '@' && len - 1 == p->name_len &&
		       memcmp(path + 1, p->name, len - 1) == 0;
	if (path[0] == '/')
		return strcmp(path, p->name) == 0;
	/* Bound by a path from where its process was: the last part decides. */
	return path[0] != '@' && path[0] != 0 && len < p->name_len &&
	       strcmp(p->name + p->name_len - len, path) == 0;
}

static bool table_holds(const char *name, const struct port *p)
{
	cleanup_buf struct buf b = { 0 };
	char *line, *rest;
	bool held = false;

	if (read_table(name, &b) != 0)
		return false;
	for (line = strtok_r((char *)b.data, "\n", &rest); line && !held;
	     line = strtok_r(NULL, "\n", &rest))
		held = p->family == AF_UNIX ? line_is(line, p) : line_holds(line, p);
	return held;
}

bool port_held(const struct port *p)
{
	if (p->family == AF_UNIX)
		return table_holds("unix", p);
	if (p->kind == PORT_UDP)
		return table_holds("udp", p) || table_holds("udp6", p);
	return table_holds("tcp", p) || table_holds("tcp6", p);
}
