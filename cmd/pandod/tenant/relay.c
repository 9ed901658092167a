/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.c - connections between the guest kernels of one tenant on two nodes.
 *
 *	kernel A --PEER_WANTED--> pandod A --PeerAsk--> pandod B starts the tenant's kernel there,
 *	makes a ticket, offers (address, ticket); pandod A connects there by TCP and sends the
 * ticket; pandod B hands the socket to its kernel (PEER_IN), pandod A to its own (the reply).
 *
 * What the kernels then say to each other is sealed between them by keys and certificates of their
 * nodes (KERNEL_IDENTITY): pandod sees none of it, and a stranger at this port has no ticket.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/pandod/node/peers.h"
#include "cmd/pandod/pod.pb-c.h"
#include "kernel/kernel.pb-c.h"

enum {
	TICKET_BYTES = 16,
	TICKETS_MAX = 256,
	STRANGERS_MAX = 64, /* connected, have not shown a ticket yet */
	TICKET_S = 10,
	CERT_S = 400 * 86400,
};

struct ticket {
	struct list link;
	uint8_t bytes[TICKET_BYTES];
	tenant_id tenant;
	node_id from;
	uint64_t until_ns;
};

struct stranger {
	struct list link;
	struct pod *pod;
	struct loop_fd fd;
	struct loop_timer patience;
	uint8_t bytes[TICKET_BYTES];
	size_t len;
};

struct relay {
	struct pod *pod;
	struct loop_fd listener;
	bool listening;
	char addr[NAMING_ADDR_MAX];
	struct list tickets;
	unsigned ticket_count;
	struct list strangers;
	unsigned stranger_count;
};

static void no_delay(int fd)
{
	int one = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* ---- who a kernel is ---- */
static void introduced(void *arg, int err, const struct rpc_msg *m)
{
	(void)arg;
	(void)m;
	if (err != 0)
		log_warn("a guest kernel does not take its identity: %s", strerror(-err));
}

void relay_introduce(struct world *w)
{
	struct pod *p = w->pod;
	Kernel__Identity id = KERNEL__IDENTITY__INIT;
	struct rpc_identity who;
	struct rpc_keys keys;
	struct rpc_cert cert = { .tenant = w->id, .node = naming_self(p->naming) };
	uint8_t body[sizeof(who) + sizeof(cert) + 64];

	if (rpc_keys_new(&keys) < 0)
		return;
	cert.expires_s = (uint64_t)time(NULL) + CERT_S;
	cert.epoch = lost_life(life_epoch(p));
	memcpy(cert.key, keys.public, sizeof(cert.key));
	rpc_cert_sign(&cert, &p->member->keys);
	id.secret.data = (uint8_t *)&keys;
	id.secret.len = sizeof(keys);
	id.certificate.data = (uint8_t *)&cert;
	id.certificate.len = sizeof(cert);
	if (kern_request(w, KERNEL_IDENTITY, body, kernel__identity__pack(&id, body), NULL, 0,
			 introduced, p) < 0)
		log_warn("the guest kernel of %s was not introduced", w->name);
	explicit_bzero(body, sizeof(body));
	rpc_keys_wipe(&keys);
}

/* ---- coming in ---- */
static struct ticket *take_ticket(struct relay *r, const uint8_t bytes[TICKET_BYTES])
{
	struct ticket *t, *next;
	uint64_t now = clock_mono_ns();

	list_for_each_safe (t, next, &r->tickets, link) {
		bool right = memcmp(t->bytes, bytes, TICKET_BYTES) == 0;

		if (!right && t->until_ns > now)
			continue;
		list_del(&t->link);
		r->ticket_count--;
		if (right && t->until_ns > now)
			return t;
		free(t);
	}
	return NULL;
}

static void stranger_free(struct stranger *s, bool keep_fd)
{
	struct loop *l = s->pod->loop;

	loop_fd_del(l, &s->fd);
	loop_timer_clear(l, &s->patience);
	if (!keep_fd)
		(void)close(s->fd.fd);
	list_del(&s->link);
	s->pod->relay->stranger_count--;
	free(s);
}

static void given(void *arg, int err, const struct rpc_msg *m)
{
	(void)arg;
	(void)m;
	if (err != 0)
		log_warn("a guest kernel does not take its peer: %s", strerror(-err));
}

static void hand_in(struct pod *p, struct ticket *t, int fd)
{
	struct world *w = world_find(p, t->tenant);
	Kernel__PeerIn in = KERNEL__PEER_IN__INIT;
	uint8_t body[16];

	in.node = t->from;
	if (w == NULL || kern_request(w, KERNEL_PEER_IN, body, kernel__peer_in__pack(&in, body),
				      &fd, 1, given, NULL) < 0)
		(void)close(fd);
}

static void stranger_speaks(struct loop_fd *f, short revents)
{
	struct stranger *s = container_of(f, struct stranger, fd);
	struct pod *p = s->pod;
	ssize_t n = recv(f->fd, s->bytes + s->len, TICKET_BYTES - s->len, MSG_DONTWAIT);
	struct ticket *t;
	int fd = f->fd;

	(void)revents;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		stranger_free(s, false);
		return;
	}
	s->len += (size_t)n;
	if (s->len < TICKET_BYTES)
		return;
	t = take_ticket(p->relay, s->bytes);
	stranger_free(s, t != NULL);
	if (t == NULL)
		return;
	/* The kernel's end is blocking, as a passed descriptor is expected to be. */
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	hand_in(p, t, fd);
	free(t);
}

static void stranger_late(struct loop_timer *t)
{
	stranger_free(container_of(t, struct stranger, patience), false);
}

static void accepted(struct loop_fd *f, short revents)
{
	struct relay *r = container_of(f, struct relay, listener);
	struct pod *p = r->pod;
	int fd = accept4(f->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct stranger *s;

	(void)revents;
	if (fd < 0)
		return;
	s = r->stranger_count < STRANGERS_MAX ? calloc(1, sizeof(*s)) : NULL;
	if (s == NULL || loop_fd_add(p->loop, &s->fd, fd, POLLIN, stranger_speaks) < 0) {
		free(s);
		(void)close(fd);
		return;
	}
	no_delay(fd);
	s->pod = p;
	list_add_tail(&r->strangers, &s->link);
	r->stranger_count++;
	CHECK(loop_timer_set(p->loop, &s->patience, clock_mono_ns() + TICKET_S * NS_PER_S,
			     stranger_late) == 0);
}

/* ---- offering ---- */
struct offer {
	struct pod *pod;
	node_id from;
	tenant_id tenant;
	struct rpc_call *call;
};

static void reply(struct rpc_call *call, int err, const struct rpc_msg *m)
{
	if (rpc_reply(call, err, m) < 0)
		log_debug("a reply was lost");
}

static void offer_ready(void *arg, struct world *w, int err, const char *why)
{
	struct offer *o = arg;
	struct relay *r = o->pod->relay;
	Pod__PeerOffer offer = POD__PEER_OFFER__INIT;
	struct ticket *t = err == 0 ? calloc(1, sizeof(*t)) : NULL;
	uint8_t body[256];
	struct rpc_msg m = { .body = body };

	(void)w;
	if (err == 0 && (t == NULL || r->ticket_count >= TICKETS_MAX ||
			 getrandom(t->bytes, TICKET_BYTES, 0) != TICKET_BYTES))
		err = -EBUSY;
	if (err != 0) {
		if (*why)
			log_warn("a kernel of another node finds none here: %s", why);
		free(t);
		reply(o->call, err, NULL);
		free(o);
		return;
	}
	t->tenant = o->tenant;
	t->from = o->from;
	t->until_ns = clock_mono_ns() + TICKET_S * NS_PER_S;
	list_add_tail(&r->tickets, &t->link);
	r->ticket_count++;
	offer.addr = r->addr;
	offer.ticket.data = t->bytes;
	offer.ticket.len = TICKET_BYTES;
	m.len = pod__peer_offer__pack(&offer, body);
	reply(o->call, 0, &m);
	free(o);
}

void relay_offer(struct pod *p, node_id from, tenant_id t, struct rpc_call *call)
{
	struct offer *o = malloc(sizeof(*o));

	if (o == NULL) {
		reply(call, -ENOMEM, NULL);
		return;
	}
	*o = (struct offer){ p, from, t, call };
	world_get(p, t, offer_ready, o);
}

/* ---- going out ---- */
struct dialing {
	struct pod *pod;
	struct rpc_call *call;
	struct loop_fd fd;
	struct loop_timer patience;
	uint8_t ticket[TICKET_BYTES];
};

static void dial_end(struct dialing *d, int err)
{
	struct rpc_msg m = { .fd_count = 1 };
	int fd = d->fd.fd;

	loop_timer_clear(d->pod->loop, &d->patience);
	loop_fd_del(d->pod->loop, &d->fd);
	if (err == 0) {
		(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
		m.fds[0] = fd;
		reply(d->call, 0, &m);
	} else {
		(void)close(fd);
		reply(d->call, err, NULL);
	}
	free(d);
}

static void dial_ready(struct loop_fd *f, short revents)
{
	struct dialing *d = container_of(f, struct dialing, fd);
	int err = 0;
	socklen_t len = sizeof(err);

	(void)revents;
	if (getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	/* A fresh socket's buffer takes sixteen bytes. */
	if (err == 0 && send(f->fd, d->ticket, TICKET_BYTES, MSG_NOSIGNAL) != TICKET_BYTES)
		err = EPIPE;
	dial_end(d, -err);
}

static void dial_late(struct loop_timer *t)
{
	dial_end(container_of(t, struct dialing, patience), -ETIMEDOUT);
}

static int address_of(const char *text, struct addrinfo **ai)
{
	char host[NAMING_ADDR_MAX], *colon;
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				  .ai_socktype = SOCK_STREAM };

	(void)snprintf(host, sizeof(host), "%s", text);
	colon = strrchr(host, ':');
	if (colon == NULL)
		return -EINVAL;
	*colon = '\0';
	return getaddrinfo(host, colon + 1, &hints, ai) == 0 ? 0 : -EINVAL;
}

static int dial(struct dialing *d, const char *addr)
{
	struct addrinfo *ai = NULL;
	int fd, r = address_of(addr, &ai);

	if (r < 0)
		return r;
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) < 0 && errno != EINPROGRESS)
		r = -errno;
	freeaddrinfo(ai);
	if (fd < 0)
		return -errno;
	no_delay(fd);
	if (r == 0)
		r = loop_fd_add(d->pod->loop, &d->fd, fd, POLLOUT, dial_ready);
	if (r < 0) {
		(void)close(fd);
		return r;
	}
	CHECK(loop_timer_set(d->pod->loop, &d->patience, clock_mono_ns() + TICKET_S * NS_PER_S,
			     dial_late) == 0);
	return 0;
}

static void offered(void *arg, int err, const struct rpc_msg *m)
{
	struct dialing *d = arg;
	Pod__PeerOffer *o = err == 0 ? pod__peer_offer__unpack(NULL, m->len, m->body) : NULL;

	if (err == 0 && (o == NULL || o->ticket.len != TICKET_BYTES))
		err = -EPROTO;
	if (err == 0) {
		memcpy(d->ticket, o->ticket.data, TICKET_BYTES);
		err = dial(d, o->addr);
	}
	pod__peer_offer__free_unpacked(o, NULL);
	if (err < 0) {
		reply(d->call, err, NULL);
		free(d);
	}
}

void relay_open(struct world *w, node_id node, struct rpc_call *call)
{
	struct dialing *d = calloc(1, sizeof(*d));
	Pod__PeerAsk ask = POD__PEER_ASK__INIT;
	uint8_t body[16];
	struct rpc_msg m = { .method = POD_PEER, .body = body };
	int r = -ENOMEM;

	if (d != NULL) {
		d->pod = w->pod;
		d->call = call;
		ask.tenant = w->id;
		m.len = pod__peer_ask__pack(&ask, body);
		r = node == naming_self(w->pod->naming)
			    ? -EINVAL
			    : peers_request(w->pod, node, &m, offered, d);
	}
	if (r < 0) {
		free(d);
		reply(call, r == -ENOTCONN ? -EHOSTDOWN : r, NULL);
	}
}

/* ---- start and end ---- */
int relay_init(struct pod *p)
{
	struct relay *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	list_init(&r->tickets);
	list_init(&r->strangers);
	r->pod = p;
	p->relay = r;
	return 0;
}

/* The port behind the node's own. */
int relay_listen(struct pod *p, const char *node_addr)
{
	struct relay *r = p->relay;
	const char *colon = strrchr(node_addr, ':');
	struct addrinfo *ai = NULL;
	int fd, one = 1, e;

	if (colon == NULL)
		return -EINVAL;
	if (r->listening)
		return 0;
	(void)snprintf(r->addr, sizeof(r->addr), "%.*s:%ld", (int)(colon - node_addr), node_addr,
		       strtol(colon + 1, NULL, 10) + 1);
	e = address_of(r->addr, &ai);
	if (e < 0)
		return e;
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, 64) < 0)
		e = -errno;
	freeaddrinfo(ai);
	if (e == 0)
		e = loop_fd_add(p->loop, &r->listener, fd, POLLIN, accepted);
	if (e < 0 && fd >= 0)
		(void)close(fd);
	r->listening = e == 0;
	return e;
}

void relay_fini(struct pod *p)
{
	struct relay *r = p->relay;
	struct stranger *s, *next;
	struct ticket *t, *tnext;

	if (r == NULL)
		return;
	list_for_each_safe (s, next, &r->strangers, link)
		stranger_free(s, false);
	list_for_each_safe (t, tnext, &r->tickets, link)
		free(t);
	if (r->listening) {
		loop_fd_del(p->loop, &r->listener);
		(void)close(r->listener.fd);
	}
	free(r);
	p->relay = NULL;
}
