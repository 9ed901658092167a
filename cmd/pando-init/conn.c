/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c - connections of pandod and the guest kernel, and what they may ask. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cmd/pando-init/world.h"

static struct conn conns[CONNS_MAX] = { [0 ... CONNS_MAX - 1] = { .fd = -1 } };
static uint32_t serials;
static uint64_t pid_namespace; /* its inode */
static uint64_t refused;       /* messages that were none, or not allowed */

void conn_begin(int proc)
{
	struct stat st;

	if (fstatat(proc, "self/ns/pid", &st, 0) < 0)
		die("find its pid namespace", errno);
	pid_namespace = st.st_ino;
}

void conn_add(int fd, uint32_t role)
{
	for (size_t i = 0; i < CONNS_MAX; i++) {
		if (conns[i].fd >= 0)
			continue;
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
		conns[i] = (struct conn){ .fd = fd, .serial = ++serials, .role = role };
		return;
	}
	(void)close(fd); /* they see the end of it at once */
}

void conn_accept(int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		conn_add(fd, 0);
}

size_t conn_poll(struct pollfd *p)
{
	size_t n = 0;

	for (size_t i = 0; i < CONNS_MAX; i++)
		if (conns[i].fd >= 0)
			p[n++] = (struct pollfd){ .fd = conns[i].fd, .events = POLLIN };
	return n;
}

struct conn *conn_find(uint32_t serial)
{
	for (size_t i = 0; i < CONNS_MAX; i++)
		if (conns[i].fd >= 0 && conns[i].serial == serial)
			return &conns[i];
	return NULL;
}

void conn_close(struct conn *c)
{
	(void)close(c->fd);
	*c = (struct conn){ .fd = -1 };
}

void conn_send(struct conn *c, const struct init_msg *m, const void *payload, size_t len,
	       const int *fds, size_t nfds)
{
	if (init_send(c->fd, m, payload, len, fds, nfds) < 0)
		conn_close(c);
}

void conn_tell(const struct init_msg *event, uint32_t except_serial)
{
	for (size_t i = 0; i < CONNS_MAX; i++)
		if (conns[i].fd >= 0 && conns[i].watch && conns[i].serial != except_serial)
			conn_send(&conns[i], event, NULL, 0, NULL, 0);
}

/* HELLO: the role is for good; a new holder of it takes the place of the old. */
static int hello(struct conn *c, struct init_msg *reply, int *fd)
{
	uint32_t role = (uint32_t)reply->arg[0];

	if (role != INIT_ROLE_POD && role != INIT_ROLE_KERNEL)
		return -EINVAL;
	if (c->role != 0 && c->role != role)
		return -EPERM;
	for (size_t i = 0; i < CONNS_MAX; i++) {
		if (conns[i].fd < 0 || conns[i].role != role || &conns[i] == c)
			continue;
		store_finish(conns[i].fd);
		conn_close(&conns[i]);
	}
	c->role = role;
	reply->arg[0] = pid_namespace;
	reply->arg[1] = refused;
	*fd = store_get(INIT_KEY_INIT);
	return 0;
}

static int put(struct conn *c, struct init_in *in)
{
	const char *keys[INIT_FDS_MAX];
	int n = init_keys(in, keys), r = store_put_all(in);

	for (int i = 0; r != -EPROTO && i < n; i++) {
		struct init_msg event = { .op = INIT_EV_STORED };

		(void)snprintf(event.key, sizeof(event.key), "%s", keys[i]);
		if (in->fds[i] < 0)
			conn_tell(&event, c->serial);
	}
	return r;
}

static void answer(struct conn *c, struct init_in *in)
{
	static char list[INIT_MSG_MAX - sizeof(struct init_msg)];
	struct init_msg reply = in->msg;
	size_t len = 0;
	int fd = -1;
	bool unanswered = false;
	int r = 0;

	switch (in->msg.op) {
	case INIT_HELLO:
		r = hello(c, &reply, &fd);
		break;
	case INIT_PUT:
		r = put(c, in);
		break;
	case INIT_GET:
		fd = store_get(in->msg.key);
		r = fd < 0 ? fd : 0;
		break;
	case INIT_DROP:
		r = store_drop_all(in);
		unanswered = in->msg.arg[0] == INIT_DROP_QUIETLY;
		break;
	case INIT_LIST:
		len = store_list(in->msg.key, list, sizeof(list));
		break;
	case INIT_SPAWN:
		r = spawn_request(c, in);
		unanswered = r == 0;
		reply.arg[0] = INIT_STEP_REQUEST;
		break;
	case INIT_BLOCK:
		r = steer_add(&steer, in->msg.arg[0], in->msg.arg[1]);
		break;
	case INIT_UNBLOCK:
		r = steer_remove(&steer, in->msg.arg[0]);
		break;
	case INIT_CURSOR:
		reply.arg[0] = (uint64_t)steer.ops->cursor(&steer);
		reply.arg[1] = steer_pids(&steer);
		reply.arg[2] = steer.strays;
		break;
	case INIT_LEASE:
		r = lease_renew(in->msg.arg[0], in->msg.arg[1], in->msg.arg[2]);
		break;
	case INIT_WATCH:
		c->watch = true;
		break;
	case INIT_ACK:
		r = spawn_ack(in->msg.arg[0]);
		break;
	case INIT_SHUTDOWN:
		_exit(0);
	default:
		r = -EPROTO;
		break;
	}
	reply.result = r;
	if (!unanswered)
		conn_send(c, &reply, list, len, &fd, fd >= 0 ? 1 : 0);
	if (in->msg.op == INIT_WATCH && c->fd >= 0)
		spawn_replay(c);
}

/* What the connection's role lets it ask. */
static int allowed(const struct conn *c, uint32_t op)
{
	if (op == INIT_HELLO)
		return 0;
	if (c->role == 0)
		return -EPROTO;
	if ((op == INIT_LEASE || op == INIT_SHUTDOWN) && c->role != INIT_ROLE_POD)
		return -EPERM;
	return 0;
}

void conn_ready(int fd)
{
	static struct init_in in;
	struct conn *c = NULL;
	int r;

	for (size_t i = 0; i < CONNS_MAX && c == NULL; i++)
		if (conns[i].fd == fd)
			c = &conns[i];
	if (c == NULL)
		return; /* closed by an earlier event of this turn */
	r = init_recv(fd, &in);
	if (r == -EAGAIN)
		return;
	if (r != 1 && r != -EPROTO) {
		conn_close(c);
		return;
	}
	if (r == 1)
		r = allowed(c, in.msg.op);
	if (r == 0) {
		answer(c, &in);
	} else {
		refused++;
		in.msg.result = r;
		conn_send(c, &in.msg, NULL, 0, NULL, 0);
	}
	init_in_close(&in);
}
