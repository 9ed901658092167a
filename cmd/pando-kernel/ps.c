/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ps.c - the list of this node's processes, for pandod and for the /proc of other nodes.
 *
 * What they are called with is in their memory, and the host's kernel makes who reads that wait for
 * a lock that a process has while it forks: for seconds, where a hundred of them share a core. So a
 * thread of its own reads it, of those that sleep first. What it has not got in time is left out of
 * the answer (ps then shows the name in its place).
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/kernel.h"
#include "kernel/kernel.pb-c.h"

#define ARGS_MAX    512  /* bytes of a command line */
#define LIST_MAX    4096 /* processes in one answer: RPC_BODY_MAX holds them at ARGS_MAX */
#define READERS_MAX 8    /* threads; those of answers that are gone included */
#define WAIT_NS     (100 * NS_PER_MS) /* who lists the /proc of all nodes waits twice as long */

struct row {
	Kernel__Process p;
	pid_t pid; /* the host's */
	char state[2];
	char comm[sizeof(((struct task_info *)0)->comm)];
	char args[ARGS_MAX];
};

struct listing {
	struct world *w;
	struct rpc_call *call; /* the loop's; NULL: it was answered */
	struct loop_timer due;
	struct loop_post read; /* by the thread, which does not touch it any more */
	size_t n;
	pthread_mutex_t lock;
	bool late; /* under the lock: the rows are not to be written any more */
	struct row rows[];
};

static unsigned readers; /* the loop's */

static uint64_t boot_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void fill_row(struct row *row, const struct world *w, const struct proc *p, uint64_t now_ns)
{
	Kernel__Process *q = &row->p;

	kernel__process__init(q);
	row->pid = p->t.pid;
	row->state[0] = p->t.state;
	row->state[1] = 0;
	row->args[0] = 0;
	(void)snprintf(row->comm, sizeof(row->comm), "%s", p->t.comm);
	q->pid = p->t.gpid;
	q->ppid = p->ppid == w->zygote ? 1 : p->ppid; /* as at home */
	q->pgid = p->t.pgid;
	q->sid = p->t.sid;
	q->uid = p->t.uid;
	q->state = row->state;
	q->comm = row->comm;
	q->args = row->args;
	q->cpu_ns = p->t.cpu_ns;
	q->rss_bytes = p->t.rss_bytes;
	q->start_ns = p->t.start_ns;
	q->age_ns = now_ns > p->t.start_ns ? now_ns - p->t.start_ns : 0;
	q->tty = p->t.tty;
	q->node = w->node;
	q->threads = p->t.threads;
	q->tpgid = p->tpgid;
}

/* ---- the answer ---- */
static int pack(const struct listing *x, struct rpc_msg *m, uint8_t **body)
{
	Kernel__ProcessList list = KERNEL__PROCESS_LIST__INIT;
	Kernel__Process **ptr = calloc(x->n + 1, sizeof(*ptr));

	for (size_t i = 0; ptr && i < x->n; i++)
		ptr[i] = (Kernel__Process *)(uintptr_t)&x->rows[i].p;
	list.n_processes = x->n;
	list.processes = ptr;
	*body = ptr ? malloc(kernel__process_list__get_packed_size(&list) + 1) : NULL;
	m->body = *body;
	if (*body)
		m->len = kernel__process_list__pack(&list, *body);
	free(ptr);
	return *body ? 0 : -ENOMEM;
}

static void answer(struct listing *x)
{
	struct rpc_msg m = { 0 };
	uint8_t *body = NULL;
	int r = pack(x, &m, &body);

	answers_reply(x->call, r, r == 0 ? &m : NULL);
	free(body);
	x->call = NULL;
	loop_timer_clear(x->w->loop, &x->due);
}

static void listing_free(struct listing *x)
{
	loop_timer_clear(x->w->loop, &x->due);
	(void)pthread_mutex_destroy(&x->lock);
	free(x);
}

/* ---- the reader ---- */
/* False: nobody waits for it any more. */
static bool read_row(struct listing *x, struct row *row)
{
	char args[ARGS_MAX] = "";
	bool late;

	(void)task_args(x->w->view.procfs, row->pid, args, sizeof(args));
	pthread_mutex_lock(&x->lock);
	late = x->late;
	if (!late)
		memcpy(row->args, args, sizeof(args));
	pthread_mutex_unlock(&x->lock);
	return !late;
}

static void *read_all(void *arg)
{
	struct listing *x = arg;
	bool go_on = true;

	for (int sleeping = 1; sleeping >= 0; sleeping--) {
		for (size_t i = 0; go_on && i < x->n; i++) {
			if ((x->rows[i].state[0] == 'S') == sleeping)
				go_on = read_row(x, &x->rows[i]);
		}
	}
	loop_post(x->w->loop, &x->read);
	return NULL;
}

static void on_read(struct loop_post *post)
{
	struct listing *x = container_of(post, struct listing, read);

	readers--;
	if (x->call)
		answer(x);
	listing_free(x);
}

/* The thread goes on by itself, at most until it has the row at which it stands. */
static void on_due(struct loop_timer *t)
{
	struct listing *x = container_of(t, struct listing, due);

	pthread_mutex_lock(&x->lock);
	x->late = true;
	pthread_mutex_unlock(&x->lock);
	answer(x);
}

static bool start_reader(struct listing *x)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (readers == READERS_MAX || pthread_attr_init(&attr) != 0)
		return false;
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, read_all, x);
	(void)pthread_attr_destroy(&attr);
	readers += r == 0;
	return r == 0;
}

/* ---- the question ---- */
/* A stub executes nothing; who stands for it is listed where that is. */
static bool is_stub(struct world *w, gpid pid)
{
	return stubs_find(w->stubs, pid) || place_runs_there(w, pid) || leave_is_lost(w, pid);
}

unsigned ps_executing(struct world *w, const struct proc_list *l)
{
	unsigned n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += l->v[i].t.state != 'Z' && !is_stub(w, l->v[i].t.gpid);
	return n;
}

/*
 * A stub that is just born, or has just ended, is in no list of stubs: its pid is another node's,
 * and no guest of ours has it.
 */
static bool stands_for_another(struct world *w, const struct task_info *t)
{
	if (is_stub(w, t->gpid))
		return true;
	return (t->state == 'Z' || kin_is_making(t->gpid)) && !site_has_guest(w, t->gpid) &&
	       home_of(w, t->gpid) != w->node && home_of(w, t->gpid) != NODE_NONE;
}

static struct listing *listing_new(struct world *w, const struct proc_list *l, gpid only)
{
	struct listing *x = calloc(1, sizeof(*x) + l->n * sizeof(x->rows[0]));
	uint64_t now_ns = boot_ns();

	if (!x)
		return NULL;
	x->w = w;
	list_init(&x->read.link);
	x->read.cb = on_read;
	(void)pthread_mutex_init(&x->lock, NULL);
	for (size_t i = 0; i < l->n && x->n < LIST_MAX; i++) {
		if ((only == 0 || l->v[i].t.gpid == only) && !stands_for_another(w, &l->v[i].t))
			fill_row(&x->rows[x->n++], w, &l->v[i], now_ns);
	}
	return x;
}

static int list(struct world *w, struct rpc_call *call, gpid only)
{
	struct listing *x;
	struct proc_list l;
	int r = proc_scan(&l, &w->view);

	if (r != 0)
		return r;
	x = listing_new(w, &l, only);
	proc_list_fini(&l);
	if (!x)
		return -ENOMEM;
	if (only != 0 && x->n == 0) {
		listing_free(x);
		return move_is_busy(w, only) || place_is_busy(w, only) ? -EBUSY : -ESRCH;
	}
	x->call = call;
	if (x->n == 0 || !start_reader(x)) {
		answer(x);
		listing_free(x);
		return 0;
	}
	CHECK(loop_timer_set(w->loop, &x->due, clock_mono_ns() + WAIT_NS, on_due) == 0);
	return 0;
}

static void on_ps(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	Kernel__PsRequest *q = kernel__ps_request__unpack(NULL, m->len, m->body);
	int r;

	for (unsigned i = 0; i < m->fd_count; i++)
		(void)close(m->fds[i]);
	r = q ? list(arg, call, q->pid) : -EPROTO;
	if (r != 0)
		answers_reply(call, r, NULL);
	if (q)
		kernel__ps_request__free_unpacked(q, NULL);
}

void ps_serve(struct world *w)
{
	rpc_serve(w->pod_rpc, KERNEL_PS, on_ps, w);
	rpc_serve(w->peer_rpc, KERNEL_PS, on_ps, w); /* for their /proc */
}
