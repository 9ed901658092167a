/* SPDX-License-Identifier: Apache-2.0 */
/* errand.c - see errand.h. */
#include "cmd/pando-kernel/errand.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>

#define ZYGOTE_NS    (5 * NS_PER_MS)
#define ZYGOTE_TRIES 400

struct errand {
	struct world *w;
	struct stub_table *t;
	int count; /* descriptors that it makes: 0, and 1 */
	zygote_fn done;
	void *arg;
	unsigned tries;
	struct loop_timer again;
	int err;
	int fds[2];
};

static void errand_end(struct errand *e)
{
	e->done(e->arg, e->err, e->fds);
	free(e);
}

static void on_cleared(void *arg, struct stub *s, int err, struct stub_table *t)
{
	errand_end(arg);
}

struct stub_table *zygote_table(void)
{
	struct stub_table *t = stub_table_new();

	if (t)
		STUB_CALL(t, SYS_close_range, 0, ~0u, 0);
	return t;
}

/*
 * Before anything else is asked of it, for who it bears would have them too; and before we go on,
 * for a socket that we close is to be closed.
 */
static void clear(struct errand *e, struct stub *s)
{
	struct stub_table *t = zygote_table();

	if (!t || stub_table_give(s, t, on_cleared, e) != 0) {
		errand_end(e);
		return;
	}
	list_del(&t->link);
	list_add(&s->tables, &t->link);
}

static void on_errand(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct errand *e = arg;

	for (unsigned i = 0; err == 0 && i < t->n; i++)
		if (t->calls[i].ret < 0 && t->calls[i].ret != -EINPROGRESS)
			err = (int)t->calls[i].ret;
	for (int i = 0; err == 0 && i < e->count; i++) {
		e->fds[i] = (int)syscall(SYS_pidfd_getfd, s->pidfd, i, 0);
		err = e->fds[i] < 0 ? -errno : 0;
	}
	e->err = err;
	if (err == -ESRCH)
		errand_end(e);
	else
		clear(e, s);
}

static void errand_go(struct errand *e);

static void on_errand_again(struct loop_timer *t)
{
	errand_go(container_of(t, struct errand, again));
}

static void errand_go(struct errand *e)
{
	struct stub *z = e->w->zygote ? stubs_find(e->w->stubs, e->w->zygote) : NULL;
	int r;

	if (!z && e->tries++ < ZYGOTE_TRIES) {
		kin_zygote(e->w);
		r = loop_timer_set(e->w->loop, &e->again, loop_now_ns(e->w->loop) + ZYGOTE_NS,
				   on_errand_again);
		if (r == 0)
			return;
	}
	r = z ? stub_table_give(z, e->t, on_errand, e) : -EAGAIN;
	if (r == 0)
		return;
	if (!z)
		free(e->t);
	e->err = r;
	errand_end(e);
}

void zygote_ask(struct world *w, struct stub_table *t, int count, zygote_fn done, void *arg)
{
	struct errand *e = t ? calloc(1, sizeof(*e)) : NULL;
	const int none[2] = { -1, -1 };

	if (!e) {
		free(t);
		done(arg, -ENOMEM, none);
		return;
	}
	e->w = w;
	e->t = t;
	e->count = count;
	e->done = done;
	e->arg = arg;
	e->fds[0] = e->fds[1] = -1;
	errand_go(e);
}
