/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pando/session.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <termios.h>

enum { PUMP_BYTES = 65536 };

struct pump {
	pthread_t thread;
	int from, to;
	int stop;      /* eventfd: the program has ended, drain and leave; -1: run until EOF */
	bool close_to; /* hand the end of input on */
	bool started;
};

struct session_io {
	struct pump in, out, err;
	int master;
	int ended; /* eventfd of the terminal's pump */
	struct termios saved;
	bool raw;
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

/* Waits for bytes. False: the program ended and nothing is left. */
static bool wait_bytes(const struct pump *p)
{
	struct pollfd fds[2] = { { p->from, POLLIN, 0 }, { p->stop, POLLIN, 0 } };

	while (poll(fds, p->stop >= 0 ? 2 : 1, -1) < 0 && errno == EINTR)
		continue;
	return fds[0].revents != 0;
}

static void *pump_run(void *arg)
{
	struct pump *p = arg;
	char *bytes = malloc(PUMP_BYTES);

	while (bytes != NULL && wait_bytes(p)) {
		ssize_t n = read(p->from, bytes, PUMP_BYTES);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
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

static int pump_start(struct pump *p, int from, int to, int stop, bool close_to)
{
	int r;

	*p = (struct pump){ .from = from, .to = to, .stop = stop, .close_to = close_to };
	r = pthread_create(&p->thread, NULL, pump_run, p);
	p->started = r == 0;
	return -r;
}

void session_io_resize(struct session_io *s)
{
	struct winsize w;

	if (s->master >= 0 && ioctl(0, TIOCGWINSZ, &w) == 0)
		(void)ioctl(s->master, TIOCSWINSZ, &w);
}

static int terminal_raw(struct session_io *s)
{
	struct termios t;

	if (tcgetattr(0, &s->saved) < 0)
		return errno == ENOTTY ? 0 : -errno;
	t = s->saved;
	cfmakeraw(&t);
	if (tcsetattr(0, TCSADRAIN, &t) < 0)
		return -errno;
	s->raw = true;
	return 0;
}

int session_io_tty(struct session_io **out, int master)
{
	struct session_io *s = calloc(1, sizeof(*s));
	int r = -ENOMEM, twin = -1;

	if (s == NULL)
		goto fail;
	s->master = master;
	s->ended = eventfd(0, EFD_CLOEXEC);
	twin = dup(master);
	if (s->ended < 0 || twin < 0) {
		r = -errno;
		goto fail;
	}
	session_io_resize(s);
	r = terminal_raw(s);
	if (r < 0)
		goto fail;
	/* The output pump owns the twin, the input pump borrows the master. */
	r = pump_start(&s->out, twin, 1, s->ended, false);
	if (r < 0)
		goto fail;
	twin = -1;
	r = pump_start(&s->in, 0, master, -1, false);
	if (r < 0) {
		session_io_end(s);
		return r;
	}
	*out = s;
	return 0;
fail:
	if (twin >= 0)
		(void)close(twin);
	if (s != NULL && s->raw)
		(void)tcsetattr(0, TCSADRAIN, &s->saved);
	(void)close(master);
	free(s);
	return r;
}

int session_io_pipes(struct session_io **out, int in, int out_, int err)
{
	struct session_io *s = calloc(1, sizeof(*s));
	int r = -ENOMEM;

	if (s != NULL) {
		s->master = -1;
		s->ended = -1;
		r = pump_start(&s->out, out_, 1, -1, false);
		if (r == 0)
			r = pump_start(&s->err, err, 2, -1, false);
		if (r == 0)
			r = pump_start(&s->in, 0, in, -1, true);
	}
	*out = s;
	return r;
}

void session_io_end(struct session_io *s)
{
	uint64_t one = 1;

	if (s == NULL)
		return;
	if (s->ended >= 0)
		(void)!write(s->ended, &one, sizeof(one));
	if (s->out.started)
		(void)pthread_join(s->out.thread, NULL);
	if (s->err.started)
		(void)pthread_join(s->err.thread, NULL);
	/* The input pump may sit in a read of our own input: it ends with the process. */
	if (s->raw)
		(void)tcsetattr(0, TCSADRAIN, &s->saved);
}
