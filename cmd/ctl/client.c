/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/ctl/ctl.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/clock.h"

struct ctl_client {
	int fd;
	struct buf in;   /* bytes that were not looked at */
	struct buf body; /* of a stream: decoded, not yet cut into lines */
	struct http_chunks chunks;
	int fds[CTL_FDS_MAX];
	unsigned fd_count;
};

int ctl_client_new(struct ctl_client **out, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ctl_client *c;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->fd = take_fd(&fd);
	*out = c;
	return 0;
}

/* Only where it has to wait: to close one costs ten milliseconds and more (synchronize_srcu). */
static int socket_watch(const char *path)
{
	const char *slash = strrchr(path, '/');
	cleanup_close int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char folder[PATH_MAX];

	if (watch < 0)
		return -errno;
	(void)snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1,
		       slash ? path : ".");
	if (inotify_add_watch(watch, folder, IN_MOVED_TO) < 0)
		return -errno;
	return take_fd(&watch);
}

/* True: something has come to the folder, look again. */
static bool something_came(int watch, uint64_t until_ns)
{
	struct pollfd p = { .fd = watch, .events = POLLIN };
	uint64_t now_ns = clock_mono_ns();
	char events[4096];
	int n;

	if (now_ns >= until_ns)
		return false;
	n = poll(&p, 1, (int)((until_ns - now_ns) / NS_PER_MS) + 1);
	return (n < 0 && errno == EINTR) || (n > 0 && read(watch, events, sizeof(events)) > 0);
}

int ctl_client_new_soon(struct ctl_client **out, const char *path, uint64_t until_ns)
{
	int r = ctl_client_new(out, path);
	cleanup_close int watch = r == -ECONNREFUSED || r == -ENOENT ? socket_watch(path) : -1;

	if (watch < 0)
		return r;
	/* Asked again when the watch has begun: what comes in between is heard. */
	do
		r = ctl_client_new(out, path);
	while ((r == -ECONNREFUSED || r == -ENOENT) && something_came(watch, until_ns));
	return r;
}

void ctl_client_free(struct ctl_client *c)
{
	if (c == NULL)
		return;
	for (unsigned i = 0; i < c->fd_count; i++)
		(void)close(c->fds[i]);
	(void)close(c->fd);
	buf_fini(&c->in);
	buf_fini(&c->body);
	free(c);
}

int ctl_client_fd(const struct ctl_client *c)
{
	return c->fd;
}

/* Keeps what fits, closes the rest. */
static void take_descriptors(struct ctl_client *c, struct msghdr *m)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h != NULL; h = CMSG_NXTHDR(m, h)) {
		size_t n;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(fd));
			if (c->fd_count < CTL_FDS_MAX)
				c->fds[c->fd_count++] = fd;
			else
				(void)close(fd);
		}
	}
}

/* One read. Returns > 0, or -errno; -ECONNRESET at the end of the connection. */
static int read_more(struct ctl_client *c)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * CTL_FDS_MAX)];
	} control;
	struct iovec iov;
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes) };
	ssize_t n;
	int r = buf_reserve(&c->in, 16384);

	if (r < 0)
		return r;
	iov = (struct iovec){ c->in.data + c->in.len, c->in.cap - c->in.len };
	do
		n = recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	take_descriptors(c, &m);
	if (n == 0)
		return -ECONNRESET;
	c->in.len += (size_t)n;
	return 1;
}

static int send_all(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int send_request(struct ctl_client *c, const char *method, const char *path,
			const json_t *body)
{
	cleanup_buf struct buf out = BUF_INIT;
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	int r;

	if (body != NULL && text == NULL)
		return -ENOMEM;
	r = buf_addf(&out, "%s %s HTTP/1.1\r\nHost: pando\r\nContent-Length: %zu\r\n\r\n%s", method,
		     path, text ? strlen(text) : 0, text ? text : "");
	free(text);
	return r < 0 ? r : send_all(c->fd, out.data, out.len);
}

static int read_body(struct ctl_client *c, const struct http_head *h, struct ctl_answer *out)
{
	json_error_t why;

	if (h->length > 64u * HTTP_BODY_MAX)
		return -E2BIG;
	while (c->in.len < h->length) {
		int r = read_more(c);

		if (r < 0)
			return r;
	}
	if (h->length > 0) {
		out->body = json_loadb((const char *)c->in.data, h->length, JSON_DECODE_ANY, &why);
		if (out->body == NULL)
			return -EPROTO;
	}
	buf_consume(&c->in, h->length);
	return 0;
}

int ctl_client_call(struct ctl_client *c, const char *method, const char *path, const json_t *body,
		    struct ctl_answer *out)
{
	struct http_head h;
	int r = send_request(c, method, path, body), n;

	memset(out, 0, sizeof(*out));
	if (r < 0)
		return r;
	while ((n = http_response_head(c->in.data, c->in.len, &h)) == 0) {
		r = read_more(c);
		if (r < 0)
			return r;
	}
	if (n < 0)
		return n;
	buf_consume(&c->in, (size_t)n);
	out->status = h.status;
	out->stream = h.chunked;
	memset(&c->chunks, 0, sizeof(c->chunks));
	r = h.chunked ? 0 : read_body(c, &h, out);
	memcpy(out->fds, c->fds, sizeof(c->fds));
	out->fd_count = c->fd_count;
	c->fd_count = 0;
	return r;
}

/* Cuts one line off the decoded bytes: 1, or 0: none is whole, or -EPROTO. */
static int line_take(struct ctl_client *c, json_t **line)
{
	uint8_t *end = c->body.len ? memchr(c->body.data, '\n', c->body.len) : NULL;
	json_error_t why;

	if (end == NULL)
		return 0;
	*line = json_loadb((const char *)c->body.data, (size_t)(end - c->body.data),
			   JSON_DECODE_ANY, &why);
	buf_consume(&c->body, (size_t)(end - c->body.data) + 1);
	return *line ? 1 : -EPROTO;
}

int ctl_client_line_in(struct ctl_client *c, json_t **line)
{
	for (;;) {
		const uint8_t *data;
		size_t used, n;
		int r = line_take(c, line);

		if (r != 0 || c->chunks.done)
			return r;
		if (c->in.len == 0)
			return -EAGAIN;
		r = http_chunks_step(&c->chunks, c->in.data, c->in.len, &used, &data, &n);
		if (r == 0 && n > 0)
			r = buf_add(&c->body, data, n);
		buf_consume(&c->in, used);
		if (r < 0)
			return r;
	}
}

int ctl_client_line(struct ctl_client *c, json_t **line)
{
	int r;

	while ((r = ctl_client_line_in(c, line)) == -EAGAIN) {
		r = read_more(c);
		if (r < 0)
			return r;
	}
	return r;
}

void ctl_answer_fini(struct ctl_answer *a)
{
	for (unsigned i = 0; i < a->fd_count; i++)
		(void)close(a->fds[i]);
	json_decref(a->body);
	memset(a, 0, sizeof(*a));
}
