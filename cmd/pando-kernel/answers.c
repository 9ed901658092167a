/* SPDX-License-Identifier: Apache-2.0 */
/* answers.c - what pandod may ask: processes, signals, counters, fault points. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/streams.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/kernel.h"
#include "kernel/kernel.pb-c.h"

#define ARGS_MAX  512  /* bytes of a command line in a list of processes */
#define LIST_MAX  4096 /* processes in one answer: RPC_BODY_MAX holds them at ARGS_MAX */
#define NAMES_MAX 256  /* fault points in one answer */

/* Packs @msg by its own functions into a reply and sends it. */
#define REPLY(call, type, msg)                                                                     \
	do {                                                                                       \
		size_t len_ = kernel__##type##__get_packed_size(msg);                              \
		uint8_t *body_ = malloc(len_ + 1);                                                 \
		struct rpc_msg m_ = { .body = body_, .len = len_ };                                \
		if (body_)                                                                         \
			(void)kernel__##type##__pack(msg, body_);                                  \
		answers_reply(call, body_ ? 0 : -ENOMEM, body_ ? &m_ : NULL);                      \
		free(body_);                                                                       \
	} while (0)

void answers_reply(struct rpc_call *call, int err, const struct rpc_msg *m)
{
	int r = call ? rpc_reply(call, err, m) : 0;

	if (r != 0)
		log_warn("an answer to pandod is lost: %s", strerror(-r));
}

static void close_fds(const struct rpc_msg *m)
{
	for (unsigned i = 0; i < m->fd_count; i++)
		(void)close(m->fds[i]);
}

/* ---- processes ---- */
static uint64_t boot_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

struct row {
	Kernel__Process p;
	char state[2];
	char args[ARGS_MAX];
};

static void fill_row(struct row *row, const struct world *w, const struct proc *p, uint64_t now_ns)
{
	Kernel__Process *q = &row->p;

	kernel__process__init(q);
	row->state[0] = p->t.state;
	row->state[1] = 0;
	row->args[0] = 0;
	(void)task_args(w->view.procfs, p->t.pid, row->args, sizeof(row->args));
	q->pid = p->t.gpid;
	q->ppid = p->ppid;
	q->pgid = p->t.pgid;
	q->sid = p->t.sid;
	q->uid = p->t.uid;
	q->state = row->state;
	q->comm = (char *)(uintptr_t)p->t.comm;
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

static void reply_list(struct world *w, struct rpc_call *call, const struct proc_list *l, gpid only)
{
	Kernel__ProcessList list = KERNEL__PROCESS_LIST__INIT;
	struct row *rows = calloc(l->n + 1, sizeof(*rows));
	Kernel__Process **ptr = calloc(l->n + 1, sizeof(*ptr));
	uint64_t now_ns = boot_ns();

	for (size_t i = 0; rows && ptr && i < l->n && list.n_processes < LIST_MAX; i++) {
		/* A stub executes nothing; who stands for it is listed where that is. */
		if ((only != 0 && l->v[i].t.gpid != only) || stubs_find(w->stubs, l->v[i].t.gpid))
			continue;
		fill_row(&rows[i], w, &l->v[i], now_ns);
		ptr[list.n_processes++] = &rows[i].p;
	}
	list.processes = ptr;
	if (!rows || !ptr)
		answers_reply(call, -ENOMEM, NULL);
	else if (only != 0 && list.n_processes == 0)
		answers_reply(call, -ESRCH, NULL);
	else
		REPLY(call, process_list, &list);
	free(rows);
	free(ptr);
}

static void on_ps(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Kernel__PsRequest *q = kernel__ps_request__unpack(NULL, m->len, m->body);
	struct proc_list l;
	int r = q ? proc_scan(&l, &w->view) : -EPROTO;

	close_fds(m);
	if (r == 0) {
		reply_list(w, call, &l, q->pid);
		proc_list_fini(&l);
	} else {
		answers_reply(call, r, NULL);
	}
	if (q)
		kernel__ps_request__free_unpacked(q, NULL);
}

static void on_signal(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Kernel__Signal *q = kernel__signal__unpack(NULL, m->len, m->body);
	int r = -EPROTO;

	close_fds(m);
	/* 0 would be our own group. */
	if (q)
		r = q->pid == 0 ? -EINVAL : proc_signal(&w->view, q->pid, q->signo);
	answers_reply(call, r, NULL);
	if (q)
		kernel__signal__free_unpacked(q, NULL);
}

/* ---- counters and fault points ---- */
#define COUNTERS 6

static void on_status(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	struct notify_counts n = notify_counts(w->notify);
	const struct {
		const char *name;
		uint64_t value;
	} v[COUNTERS] = {
		{ "notif.received", n.received },   { "notif.answered", n.answered },
		{ "notif.postponed", n.postponed }, { "notif.adopted", n.adopted },
		{ "notif.gone", n.gone },           { "notif.full", n.full },
	};
	Kernel__Counter counter[COUNTERS], *ptr[COUNTERS];
	Kernel__Status s = KERNEL__STATUS__INIT;
	char *names[NAMES_MAX];
	size_t points;
	struct fault_point *f = fault_points(&points);
	struct proc_list l;

	close_fds(m);
	for (size_t i = 0; i < COUNTERS; i++) {
		kernel__counter__init(&counter[i]);
		counter[i].name = (char *)(uintptr_t)v[i].name;
		counter[i].value = v[i].value;
		ptr[i] = &counter[i];
	}
	s.n_counters = COUNTERS;
	s.counters = ptr;
	for (size_t i = 0; i < points && s.n_fault_points < NAMES_MAX; i++)
		names[s.n_fault_points++] = (char *)(uintptr_t)f[i].name;
	s.fault_points = names;
	s.node = w->node;
	s.tenant = w->tenant;
	s.listening = notify_listening(w->notify);
	if (proc_scan(&l, &w->view) == 0) {
		s.stubs = stubs_count(w->stubs);
		s.processes = (uint32_t)l.n - MIN((uint32_t)l.n, s.stubs);
		proc_list_fini(&l);
	}
	REPLY(call, status, &s);
}

static void on_fault_arm(void *arg, struct rpc_conn *c, struct rpc_call *call,
			 const struct rpc_msg *m)
{
	Kernel__FaultArm *q = kernel__fault_arm__unpack(NULL, m->len, m->body);

	close_fds(m);
	answers_reply(call, q ? fault_arm_text(q->text) : -EPROTO, NULL);
	if (q)
		kernel__fault_arm__free_unpacked(q, NULL);
}

/* ---- moves ---- */
static void reply_outcome(struct rpc_call *call, int err, const char *why, const char *try_next)
{
	Kernel__Outcome o = KERNEL__OUTCOME__INIT;

	o.err = err;
	o.why = (char *)(uintptr_t)why;
	o.try_next = (char *)(uintptr_t)try_next;
	REPLY(call, outcome, &o);
}

static const struct world_node *find_node(const struct world *w, node_id id)
{
	for (size_t i = 0; i < w->node_count; i++)
		if (w->nodes[i].id == id)
			return &w->nodes[i];
	return NULL;
}

static void on_migrate(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct world *w = arg;
	Kernel__Migrate *q = kernel__migrate__unpack(NULL, m->len, m->body);
	struct task_info t;
	int fd = q ? proc_open(&w->view, q->pid, &t) : -EPROTO;

	close_fds(m);
	if (fd >= 0)
		(void)close(fd);
	if (!q)
		answers_reply(call, -EPROTO, NULL);
	else if (fd < 0)
		reply_outcome(call, fd, "there is no such process on this node", "pando ps");
	else if (q->node == w->node)
		reply_outcome(call, 0, "", "");
	else if (!find_node(w, q->node) || !find_node(w, q->node)->alive)
		reply_outcome(call, -EHOSTDOWN, "the node is not there", "pando nodes");
	else
		reply_outcome(call, -EOPNOTSUPP, "this guest kernel moves no running process",
			      "on NODE COMMAND");
	if (q)
		kernel__migrate__free_unpacked(q, NULL);
}

static void on_why(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Kernel__Why *q = kernel__why__unpack(NULL, m->len, m->body);
	Kernel__WhyAnswer a = KERNEL__WHY_ANSWER__INIT;
	char *reasons[8];
	struct task_info t;
	int fd = q ? proc_open(&w->view, q->pid, &t) : -EPROTO;

	close_fds(m);
	if (fd < 0) {
		answers_reply(call, fd, NULL);
	} else {
		(void)close(fd);
		if (t.no_new_privs)
			reasons[a.n_reasons++] = "it has given up new privileges (no_new_privs)";
		if (t.filters > 1)
			reasons[a.n_reasons++] = "it has a system call filter of its own";
		if (t.traced)
			reasons[a.n_reasons++] = "it is being traced";
		reasons[a.n_reasons++] = "this guest kernel moves no running process";
		a.reasons = reasons;
		a.node = w->node;
		a.bytes = t.rss_bytes;
		REPLY(call, why_answer, &a);
	}
	if (q)
		kernel__why__free_unpacked(q, NULL);
}

/* ---- the machine ---- */
static void on_nodes(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Kernel__Nodes *q = kernel__nodes__unpack(NULL, m->len, m->body);

	close_fds(m);
	w->hang_up_detached = q && q->hang_up_detached;
	w->node_count = 0;
	for (size_t i = 0; q && i < MIN(q->n_nodes, (size_t)NODES_MAX); i++) {
		const Kernel__Node *n = q->nodes[i];
		struct world_node *to = &w->nodes[w->node_count++];

		*to = (struct world_node){ .id = n->id,
					   .alive = n->alive,
					   .cpu_milli = n->cpu_milli,
					   .load_milli = n->load_milli,
					   .memory_bytes = n->memory_bytes,
					   .free_bytes = n->free_bytes };
		(void)snprintf(to->name, sizeof(to->name), "%s", n->name);
		to->has_key = n->key.len == sizeof(to->key);
		if (to->has_key)
			memcpy(to->key, n->key.data, sizeof(to->key));
	}
	machine_look(w);
	place_look(w);
	peers_look(w);
	streams_look(w);
	answers_reply(call, q ? 0 : -EPROTO, NULL);
	if (q)
		kernel__nodes__free_unpacked(q, NULL);
}

static void on_stop(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;

	close_fds(m);
	answers_reply(call, 0, NULL);
	loop_stop(w->loop);
}

void answers_serve(struct world *w)
{
	rpc_serve(w->pod_rpc, KERNEL_PS, on_ps, w);
	rpc_serve(w->peer_rpc, KERNEL_PS, on_ps, w); /* for their /proc */
	rpc_serve(w->pod_rpc, KERNEL_SIGNAL, on_signal, w);
	rpc_serve(w->pod_rpc, KERNEL_STATUS, on_status, w);
	rpc_serve(w->pod_rpc, KERNEL_FAULT_ARM, on_fault_arm, w);
	rpc_serve(w->pod_rpc, KERNEL_MIGRATE, on_migrate, w);
	rpc_serve(w->pod_rpc, KERNEL_WHY, on_why, w);
	rpc_serve(w->pod_rpc, KERNEL_NODES, on_nodes, w);
	quota_serve(w);
	rpc_serve(w->pod_rpc, KERNEL_STOP, on_stop, w);
}
