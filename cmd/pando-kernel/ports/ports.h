/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ports.h - one port space for the processes of all nodes: bind, listen and connect.
 *
 * What is bound where, each node's host knows best: its tables (/proc/net) are the truth, and no
 * copy of them is kept. bind and listen ask the other nodes first (EADDRINUSE); a connect to what
 * nobody holds here asks them too, and goes through a *bridge* to the one that does:
 *
 *	client -- a socket of this node -- guest kernel == stream == guest kernel -- server's node
 *
 * TCP: for the moment of the connect a stand-in listens at the server's address on the client's
 * node, so the client's own socket connects natively and its names are right. Unix: the client's
 * descriptor is replaced by one end of a socket pair. What connects to the server, and makes the
 * pair, is the zygote: SO_PEERCRED names a guest's uid.
 */
#ifndef PANDO_KERNEL_PORTS_H
#define PANDO_KERNEL_PORTS_H

#include <sys/socket.h>
#include <sys/un.h>

#include "cmd/pando-kernel/world.h"
#include "kernel/proc/peer.pb-c.h"

enum port_kind {
	PORT_TCP = 1,
	PORT_UDP,
	PORT_PATH,     /* a unix socket by its path */
	PORT_ABSTRACT, /* by its name in the network namespace */
};

struct port {
	enum port_kind kind;
	int family;       /* of the address as it was given */
	uint16_t port;    /* TCP, UDP */
	uint8_t addr[16]; /* TCP, UDP: IPv6, or IPv4 mapped into it */
	char name[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
	size_t name_len; /* PATH, ABSTRACT (without its first NUL) */
};

must_check int ports_open(struct world *w);
/* In the receiving thread: is there anything to ask the loop? */
bool ports_concern(struct world *w, const struct init_slot *s);
/* bind, listen or connect, in the loop. Answers it. */
void ports_call(struct world *w, struct init_slot *s);

/* Does a process of this node hold it? A stand-in does not count. */
bool ports_serve(struct world *w, const struct port *p);

/* ---- port.c ---- */
/* Errors: -EINVAL: nothing that other nodes could hold. @pid: the caller, for its directory. */
must_check int port_parse(struct world *w, pid_t pid, const void *addr, size_t len, bool datagrams,
			  struct port *out);
/* For people: "127.0.0.1:8080", "[::1]:8080", "/tmp/x", "@name". */
#define PORT_TEXT_MAX 128
void port_text(const struct port *p, char out[PORT_TEXT_MAX]);
/* As a socket address; returns its length. */
socklen_t port_sockaddr(const struct port *p, struct sockaddr_storage *out);
/* Is it bound (TCP and connections of unix: listening) on this node? Any thread. */
bool port_held(const struct port *p);
must_check int port_open(struct world *w);

/* As peers say it. Error: -EPROTO. */
must_check int port_from(const Peer__Port *q, struct port *out);
must_check int port_pack(const struct port *p, uint8_t **body, size_t *len);

/* ---- bridge.c ---- */
struct bridge;
typedef void (*bridge_fn)(void *arg, int err);
/* Has the node @c connect to @p; @done says how that went, not before this returns. */
must_check int bridge_dial(struct world *w, struct rpc_conn *c, const struct port *p,
			   bridge_fn done, void *arg, struct bridge **out);
/* Bytes flow between the far end and the socket @fd, which it takes, until both are at their end.
 */
void bridge_join(struct bridge *b, int fd);
void bridge_drop(struct bridge *b);
must_check int bridge_open(struct world *w);

#endif
