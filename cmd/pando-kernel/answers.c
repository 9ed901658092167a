/* SPDX-License-Identifier: Apache-2.0 */
/* answers.c - what pandod may ask: signals, counters, fault points. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/files/streams.h"
#include "cmd/pando-kernel/move/notes.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/kernel.h"
#include "kernel/kernel.pb-c.h"

#define REASONS_MAX 64
#define NAMES_MAX   256 /* fault points in one answer */

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
	const struct list *relay;
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
	s.held = streams_owned();
	for (relay = w->pipes.next; relay != &w->pipes; relay = relay->next)
		s.held++;
	s.listening = notify_listening(w->notify);
	if (proc_scan(&l, &w->view) == 0) {
		s.stubs = stubs_count(w->stubs);
		s.processes = ps_executing(w, &l);
		/* It stands for nobody, and stays for who comes next. */
		s.stubs -= MIN(s.stubs, w->zygote != 0);
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
static void on_moved(void *arg, const struct moved *m)
{
	Kernel__Outcome o = KERNEL__OUTCOME__INIT;

	o.err = m->err;
	o.why = (char *)(uintptr_t)(m->err && m->why ? m->why : "");
	o.try_next = (char *)(uintptr_t)(m->err && m->try_next ? m->try_next : "");
	o.freeze_ns = m->freeze_ns;
	o.bytes = m->bytes;
	REPLY(arg, outcome, &o);
}

static void on_migrate(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	Kernel__Migrate *q = kernel__migrate__unpack(NULL, m->len, m->body);

	close_fds(m);
	if (!q || !call)
		answers_reply(call, -EPROTO, NULL);
	else
		move_start(arg, q->pid, q->node, false, on_moved, call);
	if (q)
		kernel__migrate__free_unpacked(q, NULL);
}

struct why {
	struct world *w;
	struct rpc_call *call;
	gpid pid;
};

static size_t pack_notes(struct world *w, gpid pid, Kernel__Note to[NOTES_EACH_MAX],
			 Kernel__Note *ptr[NOTES_EACH_MAX])
{
	const struct note *v[NOTES_EACH_MAX];
	size_t n = notes_of(w, pid, v);

	for (size_t i = 0; i < n; i++) {
		kernel__note__init(&to[i]);
		to[i].text = (char *)(uintptr_t)v[i]->text;
		to[i].age_ns = loop_now_ns(w->loop) - v[i]->at_ns;
		to[i].times = v[i]->times;
		ptr[i] = &to[i];
	}
	return n;
}

/* One line each. */
static void on_reasons(void *arg, int err, const char *reasons, uint64_t bytes, uint64_t freeze_ns)
{
	struct why *q = arg;
	Kernel__WhyAnswer a = KERNEL__WHY_ANSWER__INIT;
	cleanup_free char *text = strdup(reasons);
	char *lines[REASONS_MAX], *at, *save = NULL;
	Kernel__Note notes[NOTES_EACH_MAX], *ptr[NOTES_EACH_MAX];

	for (at = text ? strtok_r(text, "\n", &save) : NULL; at && a.n_reasons < REASONS_MAX;
	     at = strtok_r(NULL, "\n", &save))
		lines[a.n_reasons++] = at;
	a.reasons = lines;
	a.node = q->w->node;
	a.bytes = bytes;
	a.freeze_ns = freeze_ns;
	a.notes = ptr;
	a.n_notes = pack_notes(q->w, q->pid, notes, ptr);
	if (err == 0 && text)
		REPLY(q->call, why_answer, &a);
	else
		answers_reply(q->call, err ? err : -ENOMEM, NULL);
	free(q);
}

static void on_why(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	Kernel__Why *q = kernel__why__unpack(NULL, m->len, m->body);
	struct why *to = q && call ? malloc(sizeof(*to)) : NULL;

	close_fds(m);
	if (to) {
		*to = (struct why){ arg, call, q->pid };
		move_why(arg, q->pid, on_reasons, to);
	} else {
		answers_reply(call, q ? -ENOMEM : -EPROTO, NULL);
	}
	if (q)
		kernel__why__free_unpacked(q, NULL);
}

/* ---- the machine ---- */
static void take_blocks(struct world *w, const Kernel__Nodes *q)
{
	struct world_block *v = calloc(q->n_blocks + 1, sizeof(*v));

	if (!v)
		return; /* the old ones are better than none */
	for (size_t i = 0; i < q->n_blocks; i++)
		v[i] = (struct world_block){ .first = q->blocks[i]->first,
					     .count = q->blocks[i]->count,
					     .authority = q->blocks[i]->node,
					     .aterm = q->blocks[i]->aterm,
					     .home = q->blocks[i]->home };
	free(w->blocks);
	w->blocks = v;
	w->block_count = q->n_blocks;
}

static void on_nodes(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Kernel__Nodes *q = kernel__nodes__unpack(NULL, m->len, m->body);
	static struct world_node before[NODES_MAX];
	size_t count = w->node_count;

	close_fds(m);
	memcpy(before, w->nodes, count * sizeof(*before));
	w->hang_up_detached = q && q->hang_up_detached;
	w->node_count = 0;
	for (size_t i = 0; q && i < MIN(q->n_nodes, (size_t)NODES_MAX); i++) {
		const Kernel__Node *n = q->nodes[i];
		struct world_node *to = &w->nodes[w->node_count++];

		*to = (struct world_node){ .id = n->id,
					   .alive = n->alive,
					   .closed = n->closed,
					   .dead = n->dead,
					   .life = n->epoch,
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
	if (q)
		take_blocks(w, q);
	deaths_look(w, before, count);
	authority_look(w);
	follow_look(w);
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
	ps_serve(w);
	rpc_serve(w->pod_rpc, KERNEL_SIGNAL, on_signal, w);
	rpc_serve(w->pod_rpc, KERNEL_STATUS, on_status, w);
	rpc_serve(w->pod_rpc, KERNEL_FAULT_ARM, on_fault_arm, w);
	rpc_serve(w->pod_rpc, KERNEL_MIGRATE, on_migrate, w);
	rpc_serve(w->peer_rpc, KERNEL_MIGRATE, on_migrate, w);
	rpc_serve(w->pod_rpc, KERNEL_WHY, on_why, w);
	rpc_serve(w->pod_rpc, KERNEL_NODES, on_nodes, w);
	quota_serve(w);
	rpc_serve(w->pod_rpc, KERNEL_STOP, on_stop, w);
}
