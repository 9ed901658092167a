/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.c - steps of a relay, and what a successor makes of each.
 *
 *	out:  IDLE -> DISCARDING -> DRAINING -> IDLE
 *	      DISCARDING  bytes go from the writers' pipe to the tomb; what lies there has gone
 *	      DRAINING    `offset` counts them already; what lies in the tomb is rubbish
 *	in:   IDLE -> STAGING -> STAGED -> IDLE
 *	      STAGING     bytes are written to the stage: all of them lie there, or they come again
 *	      STAGED      they are spliced on; what lies in the stage has not gone
 *
 * Facts: tee(2), splice(2), pipe(7). A write of n bytes into an empty pipe of at
 * least n bytes is not interrupted half way unless the task dies in it, and a
 * task that dies in it leaves a prefix: hence `len` is compared, not assumed.
 * What is written at once and is no longer than PIPE_BUF lies in one of a pipe's
 * buffers, and splice(2) and tee(2) move whole buffers (fs/pipe.c, fs/splice.c):
 * so R3 holds if each buffer of the writers' pipe is one in ours.
 */
#include "kernel/ipc/relay_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "base/check.h"

#define EVENTS_PER_TURN 32

void relay_record_state(struct relay_record *rec, enum relay_state state)
{
	atomic_thread_fence(memory_order_seq_cst);
	*(volatile uint32_t *)&rec->state = state;
	atomic_thread_fence(memory_order_seq_cst);
}

size_t relay_pipe_holds(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) < 0 || n < 0 ? 0 : (size_t)n;
}

int relay_pipe_drop(struct relays *rs, int fd, size_t n)
{
	while (n > 0) {
		ssize_t k = rs->null >= 0 ? splice(fd, NULL, rs->null, NULL, n, 0)
					  : read(fd, rs->bytes, MIN(n, (size_t)RELAY_WINDOW_MAX));

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EIO;
		n -= (size_t)k;
	}
	return 0;
}

void relay_pipe_read(int fd, uint8_t *bytes, size_t n)
{
	while (n > 0) {
		ssize_t k = read(fd, bytes, n);

		if (k < 0 && errno == EINTR)
			continue;
		CHECK(k > 0);
		bytes += k;
		n -= (size_t)k;
	}
}

static void on_events(struct loop_fd *w, short revents)
{
	struct relays *rs = container_of(w, struct relays, watch);
	struct epoll_event ev[EVENTS_PER_TURN];
	int n = epoll_wait(rs->epfd, ev, EVENTS_PER_TURN, 0);

	for (int k = 0; k < n; k++) {
		uintptr_t p = (uintptr_t)ev[k].data.ptr;
		struct relay_out *o;
		struct relay_in *i;

		/* A callback may have ended a relay that is named later in this list. */
		if (p & 1) {
			list_for_each (i, &rs->ins, link)
				if ((uintptr_t)i == (p & ~(uintptr_t)1)) {
					relay_in_event(i, (ev[k].events & EPOLLERR) != 0);
					break;
				}
		} else {
			list_for_each (o, &rs->outs, link)
				if ((uintptr_t)o == p) {
					relay_out_event(o);
					break;
				}
		}
	}
}

/* A pipe of ours of @bytes; who has many pipes gets small ones (pipe-user-pages-soft of pipe(7)).
 */
static int own_pipe(int fds[2], int bytes)
{
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		fds[0] = fds[1] = -1;
		return -errno;
	}
	if (fcntl(fds[0], F_GETPIPE_SZ) != bytes && fcntl(fds[0], F_SETPIPE_SZ, bytes) < 0)
		return -errno;
	return 0;
}

static void own_pipe_close(const int fds[2])
{
	if (fds[0] >= 0) {
		(void)close(fds[0]);
		(void)close(fds[1]);
	}
}

static int relays_open(struct relays *rs)
{
	int r;

	rs->bytes = malloc(RELAY_WINDOW_MAX);
	rs->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (!rs->bytes || rs->epfd < 0)
		return rs->bytes ? -errno : -ENOMEM;
	r = own_pipe(rs->scratch, RELAY_WINDOW_MAX);
	if (r == 0)
		r = own_pipe(rs->piece, RELAY_CHUNK_MAX);
	if (r == 0)
		r = own_pipe(rs->unit, PIPE_BUF);
	return r < 0 ? r : loop_fd_add(rs->loop, &rs->watch, rs->epfd, POLLIN, on_events);
}

static void relays_close(struct relays *rs)
{
	if (rs->epfd >= 0)
		(void)close(rs->epfd);
	if (rs->null >= 0)
		(void)close(rs->null);
	own_pipe_close(rs->scratch);
	own_pipe_close(rs->piece);
	own_pipe_close(rs->unit);
	free(rs->bytes);
	free(rs);
}

int relays_new(struct relays **out, struct loop *l, int null)
{
	struct relays *rs = calloc(1, sizeof(*rs));
	int r;

	if (!rs)
		return -ENOMEM;
	*rs = (struct relays){ .loop = l,
			       .epfd = -1,
			       .null = null,
			       .scratch = { -1, -1 },
			       .piece = { -1, -1 },
			       .unit = { -1, -1 } };
	list_init(&rs->outs);
	list_init(&rs->ins);
	r = relays_open(rs);
	if (r < 0)
		relays_close(rs);
	else
		*out = rs;
	return r;
}

void relays_free(struct relays *rs)
{
	if (!rs)
		return;
	CHECK(list_empty(&rs->outs) && list_empty(&rs->ins));
	loop_fd_del(rs->loop, &rs->watch);
	relays_close(rs);
}
