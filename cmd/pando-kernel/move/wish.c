/* SPDX-License-Identifier: Apache-2.0 */
/* wish.c - a move that is asked for: whether it can be tried at all, and when. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "cmd/pando-kernel/move/move.h"

#define AGAIN_NS (20 * NS_PER_MS)
#define BUSY_NS  (2 * NS_PER_S) /* for what only lasts a moment: a child that just ends */

/* Why it cannot even be tried. */
static const char *forbidden(struct world *w, gpid pid, node_id to, int *err, const char **try_next)
{
	const struct world_node *n = world_node(w, to);

	*try_next = "pando ps";
	*err = -ESRCH;
	if (stubs_find(w->stubs, pid))
		return "it executes on another node";
	*err = -EBUSY;
	if (move_is_busy(w, pid))
		return "it is moving already";
	if (place_is_busy(w, pid))
		return "it is executing a program elsewhere just now";
	*try_next = "pando nodes";
	*err = -EHOSTDOWN;
	if (!n || !n->alive || !n->has_key)
		return "the node is not there";
	if (n->closed)
		return "the node is draining";
	*err = -EAGAIN;
	if (leaves_are_full())
		return "too many move just now";
	return NULL;
}

/* ---- once more ---- */
struct again {
	struct loop_timer timer;
	struct move_wish wish;
};

static void start(const struct move_wish *x);

static void on_again(struct loop_timer *t)
{
	struct again *a = container_of(t, struct again, timer);

	start(&a->wish);
	free(a);
}

bool move_again(const struct move_wish *x)
{
	uint64_t now_ns = loop_now_ns(x->w->loop);
	struct again *a = now_ns < x->busy_end_ns ? calloc(1, sizeof(*a)) : NULL;

	if (!a)
		return false;
	a->wish = *x;
	if (loop_timer_set(x->w->loop, &a->timer, now_ns + AGAIN_NS, on_again) == 0)
		return true;
	free(a);
	return false;
}

/* ---- a first or another time ---- */
static void start(const struct move_wish *x)
{
	struct moved r = { .err = 0 };
	struct task_info t;
	int fd = proc_open(&x->w->view, x->pid, &t);

	if (fd >= 0)
		(void)close(fd);
	if (fd < 0 || t.state == 'Z') {
		r = (struct moved){ .err = -ESRCH,
				    .why = "there is no such process on this node",
				    .try_next = "pando ps" };
	} else if (x->to != x->w->node) {
		r.why = forbidden(x->w, x->pid, x->to, &r.err, &r.try_next);
		if (!r.why)
			r.err = leave_begin(x, t.pid);
		if (!r.why && r.err == 0)
			return;
	}
	/* One move after the other; it may run here already while its last one is put away. */
	if (r.err == -EBUSY && move_again(x))
		return;
	if (r.err == -ENOMEM)
		r.why = "there is no memory for it";
	x->done(x->arg, &r);
}

void move_start(struct world *w, gpid pid, node_id to, bool by_itself, moved_fn done, void *arg)
{
	const struct move_wish x = { .w = w,
				     .pid = pid,
				     .to = to,
				     .by_itself = by_itself,
				     .done = done,
				     .arg = arg,
				     .busy_end_ns = loop_now_ns(w->loop) + BUSY_NS };

	start(&x);
}
