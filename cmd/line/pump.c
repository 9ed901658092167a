/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/line/pump.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { PUMP_BYTES = 65536 };

struct pump {
	pthread_t thread;
	int from, to;
	bool close_to; /* hand the end of input on */
	bool started;
};

struct session_io {
	struct pump in, out, err;
};

static int write_all(int fd, const char *p, ssize_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, (size_t)len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			/* The other side of our terminal made it non-blocking. */
			struct pollfd p_out = { fd, POLLOUT, 0 };

			(void)poll(&p_out, 1, -1);
			continue;
		}
		if (n < 0)
			return -errno;
		p += n;
		len -= n;
	}
	return 0;
}

static void *pump_run(void *arg)
{
	struct pump *p = arg;
	char *bytes = malloc(PUMP_BYTES);

	while (bytes != NULL) {
		ssize_t n = read(p->from, bytes, PUMP_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			struct pollfd ready = { p->from, POLLIN, 0 };

			(void)poll(&ready, 1, -1);
			continue;
		}
		if (n <= 0 || write_all(p->to, bytes, n) < 0)
			break;
	}
	free(bytes);
	/* A writer whose reader is gone learns it, as on one host. */
	if (p->close_to) {
		(void)close(p->to);
		p->to = -1;
	} else {
		(void)close(p->from);
		p->from = -1;
	}
	return NULL;
}

static int pump_start(struct pump *p, int from, int to, bool close_to)
{
	int r;

	*p = (struct pump){ .from = from, .to = to, .close_to = close_to };
	r = pthread_create(&p->thread, NULL, pump_run, p);
	p->started = r == 0;
	return -r;
}

int session_io_pipes(struct session_io **out, int in, int out_, int err)
{
	struct session_io *s = calloc(1, sizeof(*s));
	int r = -ENOMEM;

	if (s != NULL) {
		r = pump_start(&s->out, out_, 1, false);
		if (r == 0)
			r = pump_start(&s->err, err, 2, false);
		if (r == 0)
			r = pump_start(&s->in, 0, in, true);
	}
	*out = s;
	return r;
}

void session_io_end(struct session_io *s)
{
	if (s == NULL)
		return;
	if (s->out.started)
		(void)pthread_join(s->out.thread, NULL);
	if (s->err.started)
		(void)pthread_join(s->err.thread, NULL);
	/* The input pump may sit in a read of our own input: it ends with the process. */
}
