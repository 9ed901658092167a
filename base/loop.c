/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/loop_priv.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* ---- timers: a binary heap, the index is kept in the timer ---- */

static void heap_put(struct loop *l, size_t i, struct loop_timer *t)
{
	l->heap[i] = t;
	t->heap_index = i;
}

static void heap_up(struct loop *l, size_t i, struct loop_timer *t)
{
	while (i > 1 && l->heap[i / 2]->due_ns > t->due_ns) {
		heap_put(l, i, l->heap[i / 2]);
		i /= 2;
	}
	heap_put(l, i, t);
}

static void heap_down(struct loop *l, size_t i, struct loop_timer *t)
{
	for (;;) {
		size_t kid = i * 2;

		if (kid > l->heap_len)
			break;
		if (kid < l->heap_len && l->heap[kid + 1]->due_ns < l->heap[kid]->due_ns)
			kid++;
		if (l->heap[kid]->due_ns >= t->due_ns)
			break;
		heap_put(l, i, l->heap[kid]);
		i = kid;
	}
	heap_put(l, i, t);
}

int loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t due_ns,
		   void (*cb)(struct loop_timer *t))
{
	loop_timer_clear(l, t);
	if (l->heap_len + 1 >= l->heap_cap) {
		size_t cap = MAX(l->heap_cap * 2, (size_t)32);
		struct loop_timer **heap = realloc(l->heap, cap * sizeof(heap[0]));

		if (!heap)
			return -ENOMEM;
		l->heap = heap;
		l->heap_cap = cap;
	}
	t->cb = cb;
	t->due_ns = due_ns;
	l->heap_len++;
	heap_up(l, l->heap_len, t);
	return 0;
}

void loop_timer_clear(struct loop *l, struct loop_timer *t)
{
	size_t i = t->heap_index;
	struct loop_timer *last;

	if (i == 0)
		return;
	CHECK(i <= l->heap_len && l->heap[i] == t);
	t->heap_index = 0;
	last = l->heap[l->heap_len--];
	if (last == t)
		return;
	if (i > 1 && l->heap[i / 2]->due_ns > last->due_ns)
		heap_up(l, i, last);
	else
		heap_down(l, i, last);
}

/*
 * Runs what was due when the turn began. A callback may set or clear any timer;
 * one that re-arms itself for a time already past could keep us here, so the
 * number of callbacks of one turn is bounded by the timers there were.
 */
static void run_timers(struct loop *l)
{
	size_t budget = l->heap_len;

	while (budget-- > 0 && l->heap_len > 0 && l->heap[1]->due_ns <= l->now_ns) {
		struct loop_timer *t = l->heap[1];

		loop_timer_clear(l, t);
		t->cb(t);
	}
}

/* ---- posts ---- */

void loop_post(struct loop *l, struct loop_post *p)
{
	uint64_t one = 1;
	bool first;

	CHECK(pthread_mutex_lock(&l->post_lock) == 0);
	first = list_empty(&l->posts);
	list_add_tail(&l->posts, &p->link);
	CHECK(pthread_mutex_unlock(&l->post_lock) == 0);
	/* EAGAIN would mean a counter of 2^64-2 unread wake-ups. */
	if (first)
		CHECK(write(l->wake_fd, &one, sizeof(one)) == sizeof(one));
}

static void on_wake(struct loop_fd *w, short revents)
{
	struct loop *l = container_of(w, struct loop, wake_watch);
	struct list taken = LIST_INIT(taken);
	uint64_t n;

	if (read(l->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		CHECK(!"eventfd read");
	CHECK(pthread_mutex_lock(&l->post_lock) == 0);
	while (!list_empty(&l->posts)) {
		struct list *item = l->posts.next;

		list_del(item);
		list_add_tail(&taken, item);
	}
	CHECK(pthread_mutex_unlock(&l->post_lock) == 0);
	while (!list_empty(&taken)) {
		struct loop_post *p = list_front(&taken, struct loop_post, link);

		list_del(&p->link);
		p->cb(p);
	}
}

/* ---- operations ---- */

struct loop_op *loop_op_new(struct loop *l, enum op_kind kind, void *owner)
{
	struct loop_op *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->kind = kind;
	op->owner = owner;
	op->loop = l;
	list_add_tail(&l->ops_live, &op->link);
	return op;
}

void loop_op_free(struct loop_op *op)
{
	list_del(&op->link);
	free(op);
}

/* ---- descriptors ---- */

int loop_fd_add(struct loop *l, struct loop_fd *w, int fd, short events,
		void (*cb)(struct loop_fd *w, short revents))
{
	struct loop_op *op = loop_op_new(l, OP_POLL, w);
	int r;

	if (!op)
		return -ENOMEM;
	*w = (struct loop_fd){ .cb = cb, .fd = fd, .events = events, .op = op };
	r = l->ops->fd_arm(l, w);
	if (r < 0) {
		loop_op_free(op);
		w->op = NULL;
	}
	return r;
}

int loop_fd_mod(struct loop *l, struct loop_fd *w, short events)
{
	CHECK(w->op != NULL);
	if (w->events == events)
		return 0;
	w->events = events;
	return l->ops->fd_arm(l, w);
}

void loop_fd_del(struct loop *l, struct loop_fd *w)
{
	struct loop_op *op = w->op;

	if (!op)
		return;
	w->op = NULL;
	op->owner = NULL;
	l->ops->fd_drop(l, op, w->fd);
}

void loop_dispatch_fd(struct loop_op *op, short revents)
{
	struct loop_fd *w = op->owner;

	if (w && (w->events != 0 || (revents & (POLLERR | POLLHUP))))
		w->cb(w, revents);
}

/* ---- files ---- */

int loop_io_start(struct loop *l, struct loop_io *io, enum loop_io_op what, int fd, void *buf,
		  size_t len, uint64_t offset, void (*cb)(struct loop_io *io, int result))
{
	struct loop_op *op = loop_op_new(l, OP_IO, io);
	int r;

	if (!op)
		return -ENOMEM;
	op->io_op = what;
	op->fd = fd;
	op->buf = buf;
	op->len = len;
	op->offset = offset;
	io->cb = cb;
	io->op = op;
	r = l->ops->io_start(l, op);
	if (r < 0) {
		io->op = NULL;
		loop_op_free(op);
	}
	return r;
}

void loop_dispatch_io(struct loop_op *op, int result)
{
	struct loop_io *io = op->owner;

	loop_op_free(op);
	io->op = NULL;
	io->cb(io, result);
}

/* ---- the end of a process ---- */

static void on_pidfd(struct loop_fd *w, short revents)
{
	struct loop_child *c = container_of(w, struct loop_child, watch);
	siginfo_t si = { 0 };

	/* Not our child: the pidfd still tells the end, only not the status. */
	if (waitid((idtype_t)P_PIDFD, (id_t)c->pidfd, &si, WEXITED | WNOHANG) < 0)
		si = (siginfo_t){ 0 };
	loop_fd_del(c->loop, w);
	c->cb(c, &si);
}

int loop_child_add(struct loop *l, struct loop_child *c, int pidfd,
		   void (*cb)(struct loop_child *c, const siginfo_t *si))
{
	*c = (struct loop_child){ .cb = cb, .loop = l, .pidfd = pidfd };
	return loop_fd_add(l, &c->watch, pidfd, POLLIN, on_pidfd);
}

void loop_child_del(struct loop *l, struct loop_child *c)
{
	loop_fd_del(l, &c->watch);
}

/* ---- the loop itself ---- */

static int loop_init(struct loop *l, const struct loop_backend_ops *ops)
{
	int r;

	l->ops = ops;
	l->now_ns = clock_mono_ns();
	list_init(&l->posts);
	list_init(&l->ops_live);
	list_init(&l->hooks);
	CHECK(pthread_mutex_init(&l->post_lock, NULL) == 0);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0)
		return -errno;
	r = ops->init(l);
	if (r < 0) {
		(void)close(l->wake_fd);
		return r;
	}
	r = loop_fd_add(l, &l->wake_watch, l->wake_fd, POLLIN, on_wake);
	if (r < 0) {
		ops->fini(l);
		(void)close(l->wake_fd);
	}
	return r;
}

int loop_new(struct loop **out, enum loop_backend backend)
{
	struct loop *l = calloc(1, sizeof(*l));
	int r = -ENOSYS;

	if (!l)
		return -ENOMEM;
	if (backend != LOOP_EPOLL)
		r = loop_init(l, &loop_uring_ops);
	if (backend == LOOP_EPOLL || (backend == LOOP_AUTO && r < 0))
		r = loop_init(l, &loop_epoll_ops);
	if (r < 0) {
		free(l);
		return r;
	}
	*out = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	loop_fd_del(l, &l->wake_watch);
	l->ops->fini(l);
	while (!list_empty(&l->ops_live)) /* cancelled, their completions never read */
		loop_op_free(list_front(&l->ops_live, struct loop_op, link));
	(void)close(l->wake_fd);
	CHECK(pthread_mutex_destroy(&l->post_lock) == 0);
	free(l->heap);
	free(l);
}

enum loop_backend loop_backend(const struct loop *l)
{
	return l->ops->id;
}

uint64_t loop_now_ns(const struct loop *l)
{
	return l->now_ns;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}

void loop_hook_add(struct loop *l, struct loop_hook *h, void (*cb)(struct loop_hook *h))
{
	h->cb = cb;
	list_add_tail(&l->hooks, &h->link);
}

void loop_hook_del(struct loop *l, struct loop_hook *h)
{
	list_del(&h->link);
}

static void run_hooks(struct loop *l)
{
	struct loop_hook *h, *next;

	list_for_each_safe (h, next, &l->hooks, link)
		h->cb(h);
}

int loop_turn(struct loop *l, uint64_t timeout_ns)
{
	uint64_t now;
	int r;

	run_hooks(l);
	now = clock_mono_ns();
	if (l->heap_len > 0) {
		uint64_t due = l->heap[1]->due_ns;

		timeout_ns = MIN(timeout_ns, due > now ? due - now : 0);
	}
	r = l->ops->wait(l, timeout_ns);
	if (r < 0)
		return r;
	run_timers(l);
	run_hooks(l);
	return 0;
}

int loop_run(struct loop *l)
{
	l->stop = false;
	while (!l->stop) {
		int r = loop_turn(l, UINT64_MAX);

		if (r < 0)
			return r;
	}
	return 0;
}
