/* SPDX-License-Identifier: Apache-2.0 */
/* sock.c - a pipe over a connected socket: unix (descriptors ride along) or TCP. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "rpc/priv.h"

#define READS_MAX 8   /* of one turn: others get their turn in between */
#define SCM_FDS   253 /* SCM_MAX_FD of the kernel: never truncated */

struct sock {
	struct rpc_pipe pipe;
	struct loop_fd watch;
	int fd;
	bool local;
	bool full; /* the kernel's buffer: POLLOUT is awaited */
	bool paused;
	bool *gone; /* set if we are freed while a callback runs */
};

static int set_events(struct sock *s)
{
	short ev = (short)((s->paused ? 0 : POLLIN) | (s->full ? POLLOUT : 0));

	return loop_fd_mod(s->pipe.conn->rpc->loop, &s->watch, ev);
}

static ssize_t sock_write(struct rpc_pipe *p, const void *bytes, size_t len, const int *fds,
			  unsigned fd_count)
{
	struct sock *s = container_of(p, struct sock, pipe);
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(RPC_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (s->full)
		return 0;
	if (fd_count > 0) {
		struct cmsghdr *cm;

		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		memset(control.space, 0, sizeof(control.space));
		cm = CMSG_FIRSTHDR(&msg);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, fd_count * sizeof(int));
	}
	do {
		n = fd_count > 0 ? sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT)
				 : send(s->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		return -errno;
	if (n < 0 || (size_t)n < len) {
		int err;

		s->full = true;
		err = set_events(s);
		if (err < 0)
			return err;
	}
	return n < 0 ? 0 : n;
}

/* Descriptors of one received message; -EPROTO if the kernel had to drop some. */
static int take_control(struct msghdr *msg, int *fds, unsigned *count)
{
	struct cmsghdr *cm;

	*count = 0;
	for (cm = CMSG_FIRSTHDR(msg); cm; cm = CMSG_NXTHDR(msg, cm)) {
		size_t n;

		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		CHECK(*count + n <= SCM_FDS);
		memcpy(fds + *count, CMSG_DATA(cm), n * sizeof(int));
		*count += (unsigned)n;
	}
	return msg->msg_flags & MSG_CTRUNC ? -EPROTO : 0;
}

static ssize_t receive(struct sock *s, int *fds, unsigned *fd_count)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(SCM_FDS * sizeof(int))];
	} control;
	uint8_t *buf = s->pipe.conn->rpc->read_buf;
	struct iovec iov = { .iov_base = buf, .iov_len = READ_BYTES };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	*fd_count = 0;
	if (!s->local) {
		n = recv(s->fd, buf, READ_BYTES, MSG_DONTWAIT);
		return n < 0 ? -errno : n;
	}
	msg.msg_control = control.space;
	msg.msg_controllen = sizeof(control.space);
	n = recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if (take_control(&msg, fds, fd_count) < 0) {
		while (*fd_count > 0)
			(void)close(fds[--*fd_count]);
		return -EPROTO;
	}
	return n;
}

static void read_some(struct sock *s)
{
	struct rpc_conn *c = s->pipe.conn;
	bool gone = false;

	s->gone = &gone;
	for (int i = 0; i < READS_MAX && !s->paused; i++) {
		int fds[SCM_FDS];
		unsigned fd_count;
		ssize_t n = receive(s, fds, &fd_count);

		if (n == -EAGAIN || n == -EINTR)
			break;
		if (n <= 0) {
			rpc_conn_lost(c, n < 0 ? (int)n : -ECONNRESET,
				      n < 0 ? NULL : "the peer closed");
			s->paused = true;
			(void)set_events(s);
			break;
		}
		rpc_pipe_bytes(c, c->rpc->read_buf, (size_t)n, fds, fd_count);
		if (gone)
			return;
		if (c->lost != 0)
			break;
		if ((size_t)n < READ_BYTES && !s->local)
			break; /* the rest, if any, is told by the next turn */
		if (s->local)
			break;
	}
	s->gone = NULL;
}

static void on_event(struct loop_fd *w, short revents)
{
	struct sock *s = container_of(w, struct sock, watch);
	struct rpc_conn *c = s->pipe.conn;
	int err;

	if (c->lost != 0) {
		loop_fd_del(c->rpc->loop, w); /* freed at the end of the turn */
		return;
	}
	if (s->full && (revents & (POLLOUT | POLLERR | POLLHUP))) {
		bool gone = false;

		s->full = false;
		s->gone = &gone;
		rpc_pipe_writable(c);
		if (gone)
			return;
		s->gone = NULL;
		err = set_events(s);
		if (err < 0)
			rpc_conn_lost(c, err, NULL);
	}
	if ((revents & (POLLIN | POLLERR | POLLHUP)) && c->lost == 0)
		read_some(s);
}

static void sock_pause(struct rpc_pipe *p, bool paused)
{
	struct sock *s = container_of(p, struct sock, pipe);
	int err;

	s->paused = paused;
	err = set_events(s);
	if (err < 0)
		rpc_conn_lost(p->conn, err, NULL);
}

static void sock_free(struct rpc_pipe *p)
{
	struct sock *s = container_of(p, struct sock, pipe);

	if (s->gone)
		*s->gone = true;
	loop_fd_del(p->conn->rpc->loop, &s->watch);
	(void)close(s->fd);
	free(s);
}

static const struct rpc_pipe_ops sock_ops = {
	.write = sock_write,
	.pause = sock_pause,
	.free = sock_free,
};

/* A peer whose machine vanished is noticed in a bounded time even if membership does not. */
static void tune_tcp(int fd)
{
	int one = 1, user_timeout_ms = 30000;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
			 sizeof(user_timeout_ms));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

int rpc_sock_new(struct rpc_pipe **out, struct rpc_conn *c, int fd, bool local)
{
	struct sock *s = calloc(1, sizeof(*s));
	int flags = fcntl(fd, F_GETFL), err;

	if (!s)
		return -ENOMEM;
	s->pipe = (struct rpc_pipe){ .ops = &sock_ops, .conn = c };
	s->fd = fd;
	s->local = local;
	err = flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
			      fcntl(fd, F_SETFD, FD_CLOEXEC) < 0
		      ? -errno
		      : 0;
	if (err == 0)
		err = loop_fd_add(c->rpc->loop, &s->watch, fd, POLLIN, on_event);
	if (err < 0) {
		free(s);
		return err;
	}
	if (!local)
		tune_tcp(fd);
	*out = &s->pipe;
	return 0;
}
