/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/proc/stub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "base/trace.h"
#include "kernel/host/mem.h"

struct stubs {
	struct loop *loop;
	const struct proc_view *view;
	struct notify *notify;
	const struct stubs_ops *ops;
	void *arg;
	struct list all;
};

int stubs_new(struct stubs **out, struct loop *l, const struct proc_view *view,
	      const struct stubs_ops *ops, void *arg)
{
	struct stubs *st = calloc(1, sizeof(*st));

	if (!st)
		return -ENOMEM;
	st->loop = l;
	st->view = view;
	st->ops = ops;
	st->arg = arg;
	list_init(&st->all);
	*out = st;
	return 0;
}

void stubs_set_notify(struct stubs *st, struct notify *n)
{
	st->notify = n;
}

struct stub *stubs_find(struct stubs *st, gpid pid)
{
	struct stub *s;

	list_for_each (s, &st->all, link)
		if (s->gpid == pid)
			return s;
	return NULL;
}

struct stub *stubs_find_node_pid(struct stubs *st, pid_t pid)
{
	struct stub *s;

	list_for_each (s, &st->all, link)
		if (s->pid == pid)
			return s;
	return NULL;
}

unsigned stubs_count(const struct stubs *st)
{
	const struct stub *s;
	unsigned n = 0;

	list_for_each (s, &st->all, link)
		n++;
	return n;
}

void stubs_each(struct stubs *st, void (*cb)(void *arg, struct stub *s), void *arg)
{
	struct stub *s, *tmp;

	list_for_each_safe (s, tmp, &st->all, link)
		cb(arg, s);
}

static void table_free(struct stub_table *t)
{
	for (unsigned i = 0; i < t->nfds; i++)
		if (t->fds[i].owned)
			(void)close(t->fds[i].fd);
	free(t);
}

static void table_end(struct stub *s, struct stub_table *t, int err)
{
	t->done(t->arg, s, err, t);
	table_free(t);
}

static void end_tables(struct stub *s)
{
	struct stub_table *t = s->running;

	s->running = NULL;
	if (t)
		table_end(s, t, -ESRCH);
	while (!list_empty(&s->tables)) {
		t = list_front(&s->tables, struct stub_table, link);
		list_del(&t->link);
		table_end(s, t, -ESRCH);
	}
}

/* Who asked is gone: the answer only frees the slot. */
static void drop_held(struct stub *s)
{
	if (!s->held)
		return;
	notify_set_errno(s->held, -ESRCH);
	notify_answer(s->owner->notify, s->held);
	s->held = NULL;
}

static void on_death(struct loop_child *c, const siginfo_t *si)
{
	struct stub *s = container_of(c, struct stub, child);
	struct stubs *st = s->owner;

	list_del(&s->link);
	drop_held(s);
	end_tables(s);
	st->ops->died(st->arg, s);
	(void)close(s->pidfd);
	free(s);
}

int stubs_add(struct stubs *st, gpid pid, struct stub **out)
{
	struct stub *s = calloc(1, sizeof(*s));
	struct task_info t;
	int r;

	if (!s)
		return -ENOMEM;
	/* Not its number alone: a dead one that the host hides is no stub, nor was it killed. */
	s->pidfd = proc_open(st->view, pid, &t);
	r = s->pidfd < 0 ? s->pidfd : 0;
	if (r == 0) {
		s->owner = st;
		s->gpid = pid;
		s->pid = t.pid;
		list_init(&s->tables);
		r = loop_child_add(st->loop, &s->child, s->pidfd, on_death);
		if (r != 0)
			(void)close(s->pidfd);
	}
	if (r != 0) {
		free(s);
		return r;
	}
	list_add_tail(&st->all, &s->link);
	*out = s;
	return 0;
}

int stubs_take(struct stub *s)
{
	int fd = s->pidfd;

	loop_child_del(s->owner->loop, &s->child);
	list_del(&s->link);
	drop_held(s);
	end_tables(s);
	free(s);
	return fd;
}

/* ---- tables ---- */
struct stub_table *stub_table_new(void)
{
	struct stub_table *t = calloc(1, sizeof(*t));

	if (t)
		list_init(&t->link);
	return t;
}

unsigned stub_table_add(struct stub_table *t, int64_t nr, const uint64_t arg[6])
{
	struct stub_call *c;

	if (t->n == STUB_CALLS_MAX) {
		t->full = true;
		return 0;
	}
	c = &t->calls[t->n];
	c->nr = nr;
	memcpy(c->arg, arg, sizeof(c->arg));
	return t->n++;
}

uint64_t stub_table_bytes(struct stub_table *t, const void *bytes, size_t len)
{
	size_t at = ALIGN_UP(t->used, 8);

	if (at > sizeof(t->scratch) || len > sizeof(t->scratch) - at) {
		t->full = true;
		return STUB_SCRATCH;
	}
	memcpy(t->scratch + at, bytes, len);
	t->used = at + len;
	return STUB_SCRATCH + at;
}

const void *stub_table_at(const struct stub_table *t, uint64_t addr)
{
	return t->scratch + (addr - STUB_SCRATCH);
}

int stub_table_give(struct stub *s, struct stub_table *t,
		    void (*done)(void *arg, struct stub *s, int err, struct stub_table *t),
		    void *arg)
{
	int r = t->full || t->n == 0 ? -E2BIG : s->turning && !t->turns ? -EBUSY : 0;

	/* While it waits for our answer it looks at the list itself; the signal would stay pending,
	 * and kill whoever it turns into. */
	if (r == 0 && !s->asking)
		r = task_pidfd_signal(s->pidfd, STUB_SIGNAL);
	if (r != 0) {
		table_free(t);
		return r;
	}
	t->done = done;
	t->arg = arg;
	list_add_tail(&s->tables, &t->link);
	return 0;
}

void stub_table_resume(struct stub *s, struct stub_table *t, unsigned n,
		       void (*done)(void *arg, struct stub *s, int err, struct stub_table *t),
		       void *arg)
{
	t->n = n;
	t->resumed = true;
	t->done = done;
	t->arg = arg;
	s->running = t;
}

static int give_fds(struct stubs *st, struct init_slot *slot, struct stub_table *t)
{
	for (unsigned i = 0; i < t->nfds; i++) {
		int r = notify_add_fd(st->notify, slot, t->fds[i].fd, t->fds[i].at,
				      t->fds[i].cloexec);

		if (r != 0)
			return r;
	}
	return 0;
}

/* Writes the next table into the stub; returns how many calls it is to make. */
static unsigned next_table(struct stubs *st, struct stub *s, struct init_slot *slot)
{
	while (!list_empty(&s->tables)) {
		struct stub_table *t = list_front(&s->tables, struct stub_table, link);
		int r = give_fds(st, slot, t);

		list_del(&t->link);
		if (r == 0)
			r = mem_write(s->pid, STUB_TABLE, t->calls, t->n * sizeof(t->calls[0]));
		if (r == 0 && t->used > 0)
			r = mem_write(s->pid, STUB_SCRATCH, t->scratch, t->used);
		if (r == 0) {
			s->running = t;
			if (t->given)
				t->given(t->arg, s);
			return t->n;
		}
		log_warn("stub %d takes no table: %s", s->gpid, strerror(-r));
		table_end(s, t, r);
	}
	return 0;
}

static void take_results(struct stub *s)
{
	struct stub_table *t = s->running;
	int r = mem_read(s->pid, STUB_TABLE, t->calls, t->n * sizeof(t->calls[0]));

	if (r == 0 && t->used > 0)
		r = mem_read(s->pid, STUB_SCRATCH, t->scratch, t->used);
	s->running = NULL;
	table_end(s, t, r);
}

/* A predecessor has died before its answer: the calls are still to be made. */
static bool is_unmade(const struct stub *s)
{
	const struct stub_table *t = s->running;
	struct stub_call last;

	return t && t->resumed &&
	       mem_read(s->pid, STUB_TABLE + (t->n - 1) * sizeof(last), &last, sizeof(last)) == 0 &&
	       last.ret == 0;
}

static bool take_signal(struct stubs *st, struct stub *s, const struct notify_call *c, uint64_t key)
{
	siginfo_t si;

	memset(&si, 0, sizeof(si));
	if (mem_read(s->pid, c->args[1], &si, sizeof(si)) != 0)
		return true;
	trace("stub signal", (uint64_t)s->gpid, c->args[0], (uint64_t)si.si_code);
	return st->ops->signal(st->arg, s, (int)c->args[0], &si, key);
}

/* A callback may have taken the stub. */
static void answer_next(struct stubs *st, pid_t pid, struct init_slot *slot)
{
	struct stub *s = stubs_find_node_pid(st, pid);

	if (s)
		notify_set_value(slot, next_table(st, s, slot));
	else
		notify_set_errno(slot, -ENOSYS);
	s = stubs_find_node_pid(st, pid);
	if (s)
		s->asking = false;
	notify_answer(st->notify, slot);
}

void stubs_magic(struct stubs *st, struct init_slot *slot)
{
	const struct notify_call *c = notify_call(slot);
	pid_t pid = (pid_t)c->pid;
	struct stub *s = stubs_find_node_pid(st, pid);

	if (s)
		s->asking = true;
	if (s && is_unmade(s)) {
		notify_set_value(slot, s->running->n);
		s->asking = false;
		notify_answer(st->notify, slot);
		return;
	}
	if (s && c->args[0] == 0 && s->running) {
		take_results(s);
	} else if (s && c->args[0] != 0 && c->args[0] != STUB_SIGNAL &&
		   !take_signal(st, s, c, notify_call(slot)->id)) {
		s = stubs_find_node_pid(st, pid);
		if (s) {
			s->held = slot;
			return;
		}
	}
	answer_next(st, pid, slot);
}

void stubs_go_on(struct stub *s)
{
	struct init_slot *slot = s->held;

	s->held = NULL;
	if (slot)
		answer_next(s->owner, s->pid, slot);
}

/* proc(5), /proc/PID/syscall. In that order: who sleeps there has nothing that came in between. */
bool stub_is_idle(const struct stub *s)
{
	int procfs = s->owner->view->procfs;
	char text[256];

	return !s->held && !s->asking && !s->running && list_empty(&s->tables) &&
	       task_pending(procfs, s->pid) == 0 &&
	       task_file(procfs, s->pid, "syscall", text, sizeof(text)) > 0 &&
	       strtol(text, NULL, 10) == SYS_rt_sigtimedwait;
}
