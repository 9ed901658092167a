/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c - eventfd, signalfd, timerfd and epoll: made anew from what fdinfo
 * tells of them (Documentation/filesystems/proc.rst, 3.8). Whether another
 * process shares one is for the caller to know, who is asked first.
 */
#include "migrate/image/priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

#define TFD_SET_TICKS _IOW('T', 0, uint64_t)

bool image_event_kind(uint32_t kind)
{
	return kind == IMAGE_FD_EVENTFD || kind == IMAGE_FD_SIGNALFD || kind == IMAGE_FD_TIMERFD ||
	       kind == IMAGE_FD_EPOLL;
}

/* ---- dump ---- */

static const char *after(const char *text, const char *key)
{
	const char *p = strstr(text, key);

	return p ? p + strlen(key) : NULL;
}

static int dump_eventfd(const char *s, int fd, Pando__Image__Fd *m, struct buf *why)
{
	const char *count = after(s, "eventfd-count:"), *sem = after(s, "eventfd-semaphore:");

	m->value = count ? strtoull(count, NULL, 16) : 0;
	m->semaphore = sem && strtol(sem, NULL, 10) != 0;
	if (count && sem && m->value <= UINT32_MAX)
		return 0;
	why_add(why, "descriptor %d is an eventfd whose state this kernel does not tell", fd);
	return -ENOTSUP;
}

static int dump_timerfd(const char *s, int fd, Pando__Image__Fd *m, struct buf *why)
{
	const char *at = after(s, "clockid:");
	unsigned long ticks, vs, vn, is, in;
	unsigned flags;
	int clock;

	if (!at ||
	    sscanf(at,
		   "%d ticks: %lu settime flags: %o it_value: (%lu, %lu) it_interval: (%lu, %lu)",
		   &clock, &ticks, &flags, &vs, &vn, &is, &in) != 7 ||
	    (flags & TFD_TIMER_CANCEL_ON_SET)) {
		why_add(why, "descriptor %d is a timerfd that watches for clock changes", fd);
		return -ENOTSUP;
	}
	m->timer = malloc(sizeof(*m->timer));
	if (!m->timer)
		return -ENOMEM;
	pando__image__posix_timer__init(m->timer);
	m->timer->clock = clock;
	m->timer->left_ns = vs * NS_PER_S + vn;
	m->timer->interval_ns = is * NS_PER_S + in;
	m->value = ticks;
	return 0;
}

static int add_watch(Pando__Image__Fd *m, unsigned fd, unsigned events, uint64_t data)
{
	Pando__Image__Watch **more = realloc(m->watch, (m->n_watch + 1) * sizeof(*more));
	Pando__Image__Watch *w = malloc(sizeof(*w));

	if (more)
		m->watch = more;
	if (!more || !w) {
		free(w);
		return -ENOMEM;
	}
	pando__image__watch__init(w);
	w->fd = fd;
	w->events = events;
	w->data = data;
	m->watch[m->n_watch++] = w;
	return 0;
}

static int dump_epoll(const char *s, Pando__Image__Fd *m)
{
	int r = 0;

	while (r == 0 && (s = after(s, "tfd:"))) {
		unsigned fd, events;
		unsigned long data;

		if (sscanf(s, "%u events: %x data: %lx", &fd, &events, &data) != 3)
			return -EPROTO;
		r = add_watch(m, fd, events, data);
	}
	return r;
}

int image_event_dump(const char *s, int fd, Pando__Image__Fd *m, struct buf *why)
{
	const char *mask = after(s, "sigmask:");

	if (strstr(s, "eventfd-count:"))
		return dump_eventfd(s, fd, m, why);
	if (strstr(s, "settime flags:"))
		return dump_timerfd(s, fd, m, why);
	if (mask) {
		m->value = strtoull(mask, NULL, 16);
		return 0;
	}
	return dump_epoll(s, m); /* one that waits for nothing has no line at all */
}

void image_event_fini(Pando__Image__Fd *m)
{
	for (size_t i = 0; i < m->n_watch; i++)
		free(m->watch[i]);
	free(m->watch);
	free(m->timer);
	m->watch = NULL;
	m->n_watch = 0;
	m->timer = NULL;
}

/* ---- build ---- */

static void make_timerfd(struct image_built *b, const Pando__Image__Fd *m, uint64_t flags,
			 unsigned n, int64_t *got)
{
	const Pando__Image__PosixTimer *p = m->timer;
	struct itimerspec when = {
		.it_interval = { (time_t)(p->interval_ns / NS_PER_S),
				 (long)(p->interval_ns % NS_PER_S) },
		.it_value = { (time_t)(p->left_ns / NS_PER_S), (long)(p->left_ns % NS_PER_S) },
	};
	struct batch *t = b->batch;

	/* One that has expired stands still until it is read; its ticks say so. */
	if (p->left_ns == 0 && m->value != 0)
		when.it_value = when.it_interval;
	BATCH(t, "make a timerfd", got, SYS_timerfd_create, (uint64_t)p->clock, flags);
	if (when.it_value.tv_sec != 0 || when.it_value.tv_nsec != 0)
		BATCH(t, "set a timerfd", NULL, SYS_timerfd_settime, n, 0,
		      batch_data(t, &when, sizeof(when)), 0);
	if (m->value != 0)
		BATCH(t, "set a timerfd's ticks", NULL, SYS_ioctl, n, TFD_SET_TICKS,
		      batch_data(t, &m->value, sizeof(m->value)));
}

int image_event_build(struct image_built *b, const Pando__Image__Fd *m, unsigned n)
{
	uint64_t flags = m->flags & O_NONBLOCK;
	struct batch *t = b->batch;
	int64_t got = -1;
	int r = batch_room(t, 4, 256);

	if (r < 0)
		return r;
	if (m->kind == IMAGE_FD_EVENTFD)
		BATCH(t, "make an eventfd", &got, SYS_eventfd2, m->value,
		      flags | (m->semaphore ? EFD_SEMAPHORE : 0));
	else if (m->kind == IMAGE_FD_SIGNALFD)
		BATCH(t, "make a signalfd", &got, SYS_signalfd4, (uint64_t)-1,
		      batch_data(t, &m->value, sizeof(m->value)), sizeof(m->value), flags);
	else if (m->kind == IMAGE_FD_TIMERFD)
		make_timerfd(b, m, flags, n, &got);
	else
		BATCH(t, "make an epoll instance", &got, SYS_epoll_create1, 0);
	r = batch_run(t);
	return r < 0 ? r : got == (int64_t)n ? 0 : -EPROTO;
}

static int build_watches(struct image_built *b, const Pando__Image__Fd *m)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->n_watch; i++) {
		struct epoll_event e = { .events = m->watch[i]->events,
					 .data.u64 = m->watch[i]->data };

		r = batch_room(b->batch, 1, sizeof(e));
		if (r == 0)
			BATCH(b->batch, "watch a descriptor", NULL, SYS_epoll_ctl,
			      m->number[0] >> 1, EPOLL_CTL_ADD, m->watch[i]->fd,
			      batch_data(b->batch, &e, sizeof(e)));
	}
	return r < 0 ? r : batch_run(b->batch);
}

int image_watches_build(struct image_built *b)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < b->m.fds; i++)
		if (!b->m.fd[i]->carried && b->m.fd[i]->kind == IMAGE_FD_EPOLL)
			r = build_watches(b, b->m.fd[i]);
	return r;
}
