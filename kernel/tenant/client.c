/* SPDX-License-Identifier: Apache-2.0 */
/* client.c - messages of init.h; libc only, as pando-init uses it too. */
#include "kernel/tenant/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

_Static_assert(sizeof(struct init_msg) == 88, "both ends agree on the header");

int init_send(int sock, const struct init_msg *m, const void *payload, size_t len, const int *fds,
	      size_t nfds)
{
	struct iovec iov[2] = {
		{ (void *)(uintptr_t)m, sizeof(*m) },
		{ (void *)(uintptr_t)payload, len },
	};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * INIT_FDS_MAX)];
	} control;
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = len > 0 ? 2 : 1 };

	if (len > INIT_MSG_MAX - sizeof(*m) || nfds > INIT_FDS_MAX)
		return -EMSGSIZE;
	if (nfds > 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	while (sendmsg(sock, &mh, MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Takes every descriptor that came, also those that are too many: else they would stay open. */
static bool take_fds(struct msghdr *mh, struct init_in *in)
{
	bool ok = (mh->msg_flags & MSG_CTRUNC) == 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (in->nfds < INIT_FDS_MAX) {
				in->fds[in->nfds++] = fd;
			} else {
				(void)close(fd);
				ok = false;
			}
		}
	}
	return ok;
}

void init_in_close(struct init_in *in)
{
	for (size_t i = 0; i < in->nfds; i++) {
		if (in->fds[i] >= 0)
			(void)close(in->fds[i]);
	}
	in->nfds = 0;
}

int init_keys(const struct init_in *in, const char *keys[INIT_FDS_MAX])
{
	int n = 0;

	keys[n++] = in->msg.key;
	for (size_t at = 0; at < in->len; n++) {
		const char *key = (const char *)in->payload + at;
		size_t len = strnlen(key, in->len - at);

		if (len == in->len - at || len >= INIT_KEY_MAX || n == INIT_FDS_MAX)
			return -EPROTO;
		keys[n] = key;
		at += len + 1;
	}
	return n;
}

int init_recv(int sock, struct init_in *in)
{
	struct iovec iov[2] = {
		{ &in->msg, sizeof(in->msg) },
		{ in->payload, sizeof(in->payload) },
	};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * INIT_FDS_MAX)];
	} control;
	struct msghdr mh = { .msg_iov = iov,
			     .msg_iovlen = 2,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes) };
	ssize_t n;
	bool ok;

	memset(&in->msg, 0, sizeof(in->msg));
	in->len = 0;
	in->nfds = 0;
	do {
		n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	ok = take_fds(&mh, in);
	if (n == 0 && in->nfds == 0)
		return 0;
	if (!ok || (mh.msg_flags & MSG_TRUNC) != 0 || (size_t)n < sizeof(in->msg) ||
	    memchr(in->msg.key, 0, sizeof(in->msg.key)) == NULL) {
		init_in_close(in);
		return -EPROTO;
	}
	in->len = (size_t)n - sizeof(in->msg);
	return 1;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits for the reply that carries @m's op and tag. */
static int await_reply(int sock, const struct init_msg *m, struct init_in *in, int timeout_ms)
{
	int64_t end = now_ms() + timeout_ms;

	for (;;) {
		struct pollfd p = { .fd = sock, .events = POLLIN };
		int64_t left = end - now_ms();
		int r = poll(&p, 1, left > 0 ? (int)left : 0);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return -ETIMEDOUT;
		r = init_recv(sock, in);
		if (r == 0)
			return -EPIPE;
		if (r == -EAGAIN)
			continue;
		if (r < 0)
			return r;
		if (in->msg.op == m->op && in->msg.tag == m->tag)
			return 0;
		init_in_close(in);
	}
}

int init_call(int sock, struct init_msg *m, const void *payload, size_t len, const int *fds,
	      size_t nfds, int *fd, struct init_in *in, int timeout_ms)
{
	cleanup_free struct init_in *own = NULL;
	int r;

	if (fd != NULL)
		*fd = -1;
	if (in == NULL) {
		own = malloc(sizeof(*own));
		if (own == NULL)
			return -ENOMEM;
		own->nfds = 0;
		in = own;
	}
	r = init_send(sock, m, payload, len, fds, nfds);
	if (r == 0)
		r = await_reply(sock, m, in, timeout_ms);
	if (r < 0)
		return r;
	*m = in->msg;
	if (fd != NULL && in->nfds > 0) {
		*fd = in->fds[0];
		in->fds[0] = -1;
	}
	if (own != NULL)
		init_in_close(in);
	return m->result;
}

/* Appends @s and its NUL at *at. */
static bool put_string(char *out, size_t size, size_t *at, const char *s)
{
	size_t n = strlen(s) + 1;

	if (n > size - *at)
		return false;
	memcpy(out + *at, s, n);
	*at += n;
	return true;
}

int init_spawn_pack(void *out, size_t size, const struct init_spawn *head, char *const argv[],
		    char *const envp[], const char *cwd)
{
	struct init_spawn h = *head;
	size_t at = sizeof(h);
	bool ok = size >= at;

	h.argc = 0;
	h.envc = 0;
	for (; ok && argv[h.argc] != NULL; h.argc++)
		ok = put_string(out, size, &at, argv[h.argc]);
	for (; ok && envp[h.envc] != NULL; h.envc++)
		ok = put_string(out, size, &at, envp[h.envc]);
	if (!ok || !put_string(out, size, &at, cwd))
		return -E2BIG;
	memcpy(out, &h, sizeof(h));
	return (int)at;
}

/* The next string of the payload, or NULL: it has no end in there. */
static char *next_string(char **at, char *end)
{
	char *s = *at;
	char *nul = memchr(s, 0, (size_t)(end - s));

	if (nul == NULL)
		return NULL;
	*at = nul + 1;
	return s;
}

int init_spawn_unpack(const void *payload, size_t len, struct init_spawn *head, char **argv,
		      char **envp, size_t max, char **cwd)
{
	char *at = (char *)(uintptr_t)payload + sizeof(*head);
	char *end = (char *)(uintptr_t)payload + len;

	if (len < sizeof(*head))
		return -EPROTO;
	memcpy(head, payload, sizeof(*head));
	if (head->argc >= max || head->envc >= max)
		return -E2BIG;
	for (uint32_t i = 0; i < head->argc; i++) {
		argv[i] = next_string(&at, end);
		if (argv[i] == NULL)
			return -EPROTO;
	}
	argv[head->argc] = NULL;
	for (uint32_t i = 0; i < head->envc; i++) {
		envp[i] = next_string(&at, end);
		if (envp[i] == NULL)
			return -EPROTO;
	}
	envp[head->envc] = NULL;
	*cwd = next_string(&at, end);
	if (*cwd == NULL || at != end)
		return -EPROTO;
	if (head->argc == 0 || head->uid == 0 || head->uid > 65533 ||
	    (head->flags & ~(uint32_t)(INIT_SPAWN_TTY | INIT_SPAWN_DEAF)) != 0 || **cwd != '/' ||
	    argv[0][argv[0][0] == '-' ? 1 : 0] != '/')
		return -EINVAL;
	return 0;
}

int init_connect(int run_dir, enum init_role role, int *pidfd)
{
	/* Through the descriptor, as a long path would not fit into a socket address. */
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct init_msg m = { .op = INIT_HELLO, .arg = { role } };
	cleanup_close int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int r = 0;

	if (s < 0)
		return -errno;
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/init.sock", run_dir);
	if (connect(s, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	if (role != 0)
		r = init_call(s, &m, NULL, 0, NULL, 0, pidfd, NULL, 5000);
	if (r < 0)
		return r;
	return take_fd(&s);
}
