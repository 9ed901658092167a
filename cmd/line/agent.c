/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/line/agent.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONNS_MAX = 64 };

struct server {
	int listener;
	const char *path;
	int conns; /* atomic */
};

struct conn {
	struct server *s;
	int guest, agent;
};

static int dial(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(a.sun_path))
		return -1;
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	return connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? take_fd(&fd) : -1;
}

/* One portion; false: no more from there. */
static bool copy_some(int from, int to)
{
	char bytes[16384];
	ssize_t n = read(from, bytes, sizeof(bytes));

	for (ssize_t at = 0; at < n;) {
		ssize_t k = send(to, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);

		if (k <= 0)
			return false;
		at += k;
	}
	return n > 0;
}

static void *conn_run(void *arg)
{
	struct conn *c = arg;
	struct pollfd p[2] = { { c->guest, POLLIN, 0 }, { -1, POLLIN, 0 } };
	bool open = true;

	c->agent = dial(c->s->path);
	p[1].fd = c->agent;
	while (open && c->agent >= 0) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[0].revents != 0)
			open = copy_some(c->guest, c->agent);
		if (open && p[1].revents != 0)
			open = copy_some(c->agent, c->guest);
	}
	(void)close(c->guest);
	if (c->agent >= 0)
		(void)close(c->agent);
	(void)__atomic_sub_fetch(&c->s->conns, 1, __ATOMIC_RELAXED);
	free(c);
	return NULL;
}

static int start_thread(void *(*fn)(void *arg), void *arg)
{
	pthread_attr_t attr;
	pthread_t t;
	int r = pthread_attr_init(&attr);

	if (r == 0)
		r = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (r == 0)
		r = pthread_create(&t, &attr, fn, arg);
	return -r;
}

static void serve_one(struct server *s, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (c != NULL)
		*c = (struct conn){ s, fd, -1 };
	if (c == NULL || __atomic_add_fetch(&s->conns, 1, __ATOMIC_RELAXED) > CONNS_MAX ||
	    start_thread(conn_run, c) < 0) {
		if (c != NULL)
			(void)__atomic_sub_fetch(&s->conns, 1, __ATOMIC_RELAXED);
		(void)close(fd);
		free(c);
	}
}

static void *server_run(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0 || errno == EINTR ||
	       errno == ECONNABORTED) {
		if (fd >= 0)
			serve_one(s, fd);
	}
	(void)close(s->listener);
	return NULL;
}

int agent_serve(int listener, const char *path)
{
	struct server *s = calloc(1, sizeof(*s));
	int r = -ENOMEM;

	if (s != NULL) {
		*s = (struct server){ listener, path, 0 };
		r = start_thread(server_run, s);
	}
	if (r < 0) {
		(void)close(listener);
		free(s);
	}
	return r;
}
