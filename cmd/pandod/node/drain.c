/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain.c - a node is emptied: nothing new is placed there, and what runs there is moved away.
 *
 *	closed -> asked what executes there -> each process moved, one after the other -+
 *	             ^                                                                   |
 *	             +---- at once if one moved, else after a pause, until the deadline -+
 *
 * That it is closed stands in naming's tables (NODE_DRAIN): it outlives this daemon, the node and
 * the caller. The moving does not: it is the caller's, who asks again when he or we went away.
 * Empty is who was found so twice, a period of the nodes' news apart: what was on its way there
 * when it was closed has arrived by then.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "cmd/pandod/api/api.h"
#include "kernel/kernel.pb-c.h"

enum { DEADLINE_S = 60, DEADLINE_MAX_S = 3600, PAUSE_MS = POD_LOAD_MS, EMPTY_TIMES = 2 };

/* A process that executes on the node. */
struct runner {
	tenant_id tenant;
	int pid;
	char command[64];
	char why[256]; /* it did not move */
	char try_next[64];
};

struct drain {
	struct pod *pod;
	struct ctl_req *req; /* NULL: the caller went away */
	node_id node;
	char name[NODE_NAME_MAX];
	uint64_t until_ns;
	struct loop_timer pause;
	struct runner *found, *before; /* by this question, by the last one */
	size_t count, before_count, next;
	unsigned left;  /* questions without an answer */
	bool unsure;    /* one will get none */
	unsigned moved; /* since the start */
	bool progress;  /* since the last question */
	unsigned empty; /* times in a row */
	node_id to;     /* where found[next] is moving */
};

static void look(struct drain *d);

static void drain_free(struct drain *d)
{
	loop_timer_clear(d->pod->loop, &d->pause);
	free(d->found);
	free(d->before);
	free(d);
}

static void gone(void *arg)
{
	struct drain *d = arg;

	d->req = NULL;
}

/* ---- the end ---- */
static json_t *left_json(const struct drain *d)
{
	const struct naming_core *k = naming_tables(d->pod->naming);
	json_t *rows = json_array();

	for (size_t i = 0; i < d->count; i++) {
		const struct runner *x = &d->found[i];
		const struct naming_tenant *t = naming_tenant_find(k, x->tenant);
		json_t *row = json_pack(
			"{s:i, s:s, s:o, s:o}", "pid", x->pid, "tenant", t ? t->name : "?",
			"command", api_guest_text(x->command), "why",
			api_guest_text(*x->why ? x->why : "the deadline was there first"));

		if (*x->try_next != '\0')
			(void)json_object_set_new(row, "try", api_guest_text(x->try_next));
		(void)json_array_append_new(rows, row);
	}
	return rows;
}

/* @state: what the node is now. */
static void finish(struct drain *d, const char *state)
{
	if (d->req != NULL) {
		ctl_stream_line(d->req, json_pack("{s:s, s:s, s:i, s:b, s:o}", "node", d->name,
						  "state", state, "moved", (int)d->moved, "silent",
						  d->unsure, "left", left_json(d)));
		ctl_stream_end(d->req);
	}
	drain_free(d);
}

static void noted(void *arg, int err, const struct naming_result *r)
{
	struct drain *d = arg;

	/* -EINVAL: somebody has opened it meanwhile. Without a leader it is as empty, and closed.
	 */
	if (err == 0 && r->err != 0)
		finish(d, "alive");
	else
		finish(d, err == 0 ? "drained" : "draining");
}

static void note_drained(struct drain *d)
{
	struct naming_cmd cmd = { .kind = NAMING_CMD_NODE_DRAIN,
				  .node = d->node,
				  .flags = NAMING_DRAINED };

	if (api_propose(d->pod, &cmd, noted, d) < 0)
		finish(d, "draining");
}

/* ---- moving ---- */
static void look_again(struct loop_timer *t)
{
	struct drain *d = container_of(t, struct drain, pause);

	if (d->req == NULL)
		drain_free(d);
	else
		look(d);
}

static void wait_a_little(struct drain *d)
{
	uint64_t now = loop_now_ns(d->pod->loop);

	if (now >= d->until_ns)
		finish(d, "draining");
	else
		CHECK(loop_timer_set(d->pod->loop, &d->pause, now + PAUSE_MS * NS_PER_MS,
				     look_again) == 0);
}

static void refused(struct runner *x, const char *why, const char *try_next)
{
	(void)snprintf(x->why, sizeof(x->why), "%s", why);
	(void)snprintf(x->try_next, sizeof(x->try_next), "%s", try_next);
}

static void tell_moved(struct drain *d, const struct runner *x, const Kernel__Outcome *o)
{
	const struct naming_core *k = naming_tables(d->pod->naming);
	const struct naming_node *to = naming_node_find(k, d->to);
	const struct naming_tenant *t = naming_tenant_find(k, x->tenant);

	events_add(d->pod, "process.moved", x->tenant,
		   json_pack("{s:i, s:s, s:I}", "pid", x->pid, "to", to ? to->name : "?",
			     "freeze_ns", (json_int_t)o->freeze_ns));
	if (d->req != NULL)
		ctl_stream_line(d->req,
				json_pack("{s:i, s:s, s:o, s:s, s:I, s:I}", "pid", x->pid, "tenant",
					  t ? t->name : "?", "command", api_guest_text(x->command),
					  "to", to ? to->name : "?", "freeze_ns",
					  (json_int_t)o->freeze_ns, "bytes", (json_int_t)o->bytes));
}

static void move_rest(struct drain *d);

static void moved(void *arg, int err, const struct rpc_msg *m)
{
	struct drain *d = arg;
	struct runner *x = &d->found[d->next];
	Kernel__Outcome *o = err == 0 ? kernel__outcome__unpack(NULL, m->len, m->body) : NULL;

	if (o == NULL) {
		refused(x, "its guest kernel did not answer", "pando ps");
	} else if (o->err != 0) {
		refused(x, *o->why ? o->why : strerror(-o->err), o->try_next);
	} else {
		d->moved++;
		d->progress = true;
		tell_moved(d, x, o);
	}
	kernel__outcome__free_unpacked(o, NULL);
	d->next++;
	move_rest(d);
}

/* 0 if moved() will be called. */
static int move_one(struct drain *d)
{
	struct runner *x = &d->found[d->next];
	Kernel__Migrate mv = KERNEL__MIGRATE__INIT;
	uint8_t body[32];

	d->to = peers_place(d->pod, d->node, NULL);
	if (d->to == d->node) {
		refused(x, "no other node has room for it", "pando nodes");
		return -EHOSTDOWN;
	}
	mv.pid = x->pid;
	mv.node = d->to;
	if (kern_request_at(d->pod, d->node, x->tenant, KERNEL_MIGRATE, body,
			    kernel__migrate__pack(&mv, body), moved, d) == 0)
		return 0;
	refused(x, "its guest kernel cannot be asked", "pando status");
	return -ENOTCONN;
}

static void move_rest(struct drain *d)
{
	for (; d->req != NULL && d->next < d->count; d->next++) {
		if (loop_now_ns(d->pod->loop) >= d->until_ns) {
			finish(d, "draining");
			return;
		}
		if (move_one(d) == 0)
			return;
	}
	if (d->req == NULL)
		drain_free(d);
	else if (d->progress)
		look(d);
	else
		wait_a_little(d);
}

/* ---- what executes there ---- */
static void looked(struct drain *d)
{
	if (d->req == NULL) {
		drain_free(d);
		return;
	}
	if (d->count > 0) {
		d->empty = 0;
		d->next = 0;
		d->progress = false;
		move_rest(d);
		return;
	}
	d->empty = d->unsure ? 0 : d->empty + 1;
	if (d->empty >= EMPTY_TIMES)
		note_drained(d);
	else
		wait_a_little(d);
}

struct question {
	struct drain *d;
	tenant_id tenant;
};

static void found(struct drain *d, tenant_id t, const Kernel__Process *x)
{
	struct runner *more;

	/* What has ended waits for its parent only. */
	if (x->state != NULL && *x->state == 'Z')
		return;
	more = realloc(d->found, (d->count + 1) * sizeof(*more));
	CHECK(more != NULL);
	d->found = more;
	more = &more[d->count++];
	*more = (struct runner){ .tenant = t, .pid = x->pid };
	(void)snprintf(more->command, sizeof(more->command), "%s",
		       x->args && *x->args ? x->args
		       : x->comm           ? x->comm
					   : "");
	/* The reason of the last attempt, if there is no time for another. */
	for (size_t i = 0; i < d->before_count; i++)
		if (d->before[i].tenant == t && d->before[i].pid == x->pid)
			refused(more, d->before[i].why, d->before[i].try_next);
}

static void answered(void *arg, int err, const struct rpc_msg *m)
{
	struct question *q = arg;
	struct drain *d = q->d;
	Kernel__ProcessList *l =
		err == 0 ? kernel__process_list__unpack(NULL, m->len, m->body) : NULL;

	for (size_t i = 0; l != NULL && i < l->n_processes; i++)
		found(d, q->tenant, l->processes[i]);
	/* -ESRCH: the tenant has no kernel there, so no process. */
	d->unsure |= l == NULL && err != -ESRCH;
	kernel__process_list__free_unpacked(l, NULL);
	free(q);
	if (--d->left == 0)
		looked(d);
}

static void ask(struct drain *d, tenant_id t)
{
	Kernel__PsRequest ps = KERNEL__PS_REQUEST__INIT;
	struct question *q = malloc(sizeof(*q));
	uint8_t body[32];
	int r;

	CHECK(q != NULL);
	*q = (struct question){ d, t };
	d->left++;
	r = kern_request_at(d->pod, d->node, t, KERNEL_PS, body,
			    kernel__ps_request__pack(&ps, body), answered, q);
	if (r < 0)
		answered(q, r, NULL);
}

static void look(struct drain *d)
{
	const struct naming_core *k = naming_tables(d->pod->naming);
	const struct naming_tenant *t;

	free(d->before);
	d->before = d->found;
	d->before_count = d->count;
	d->found = NULL;
	d->count = 0;
	d->unsure = false;
	d->left = 1;
	for (uint32_t i = 0; (t = naming_tenant_at(k, i)) != NULL; i++)
		ask(d, t->id);
	if (--d->left == 0)
		looked(d);
}

/* ---- the requests ---- */
static void closed(void *arg, int err, const struct naming_result *r)
{
	struct drain *d = arg;

	if (err == 0)
		err = r->err;
	if (d->req != NULL && err == 0) {
		ctl_stream_begin(d->req,
				 json_pack("{s:s, s:s}", "node", d->name, "state", "draining"),
				 NULL, 0);
		look(d);
		return;
	}
	if (d->req != NULL)
		api_refuse(d->req, err, "pando nodes",
			   err == -ETIMEDOUT ? "no leader answered" : "the node is leaving");
	drain_free(d);
}

/* A node other than @but that takes what is new, or NULL. */
static const struct naming_node *another_open(const struct pod *p, node_id but)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_node *n;

	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++) {
		struct peer_load l;

		peers_load(p, n->id, &l);
		if (n->id != but && l.alive && n->state == NAMING_NODE_JOINED &&
		    n->drain == NAMING_OPEN)
			break;
	}
	return n;
}

static const struct naming_node *node_of(struct pod *p, struct ctl_req *r, const char *name)
{
	const struct naming_node *n = naming_node_find_name(naming_tables(p->naming), name);

	if (n == NULL)
		api_no_node(p, r, name);
	return n;
}

void api_post_drain(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_node *n = node_of(p, r, a[0]);
	struct naming_cmd cmd = { .kind = NAMING_CMD_NODE_DRAIN, .flags = NAMING_DRAINING };
	uint64_t deadline_s = api_number(r, "deadline_s");
	struct drain *d;
	int err;

	if (n == NULL)
		return;
	if (deadline_s > DEADLINE_MAX_S) {
		ctl_problem(r, 400, NULL, "a deadline is %d s at most", DEADLINE_MAX_S);
		return;
	}
	if (another_open(p, n->id) == NULL) {
		ctl_problem(r, 409, "pando nodes",
			    "no other node is alive and open for what runs on %s", n->name);
		return;
	}
	d = calloc(1, sizeof(*d));
	CHECK(d != NULL);
	d->pod = p;
	d->req = r;
	d->node = cmd.node = n->id;
	(void)snprintf(d->name, sizeof(d->name), "%s", n->name);
	d->until_ns = loop_now_ns(p->loop) + (deadline_s ? deadline_s : DEADLINE_S) * NS_PER_S;
	ctl_req_on_gone(r, gone, d);
	err = api_propose(p, &cmd, closed, d);
	if (err < 0)
		closed(d, err, NULL);
}

static void opened(void *arg, int err, const struct naming_result *r)
{
	if (err == 0)
		err = r->err;
	api_done(arg, err,
		 err == -ETIMEDOUT ? "no leader answered"
		 : err == -EINVAL  ? "the node is leaving"
				   : "the machine's tables refuse it");
}

void api_delete_drain(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_node *n = node_of(p, r, a[0]);
	struct naming_cmd cmd = { .kind = NAMING_CMD_NODE_DRAIN, .flags = NAMING_OPEN };
	struct api_pending *x;
	int err;

	if (n == NULL)
		return;
	cmd.node = n->id;
	x = api_pending(p, r, "pando nodes");
	err = api_propose(p, &cmd, opened, x);
	if (err < 0)
		api_done(x, err, "the machine's tables cannot be asked");
}

bool drain_refuses(struct pod *p, struct ctl_req *r, const char *tenant)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_node *self = naming_node_find(k, naming_self(p->naming)), *n;
	char try_next[128] = "pando nodes";

	if (self == NULL || self->drain == NAMING_OPEN)
		return false;
	n = another_open(p, self->id);
	if (n != NULL)
		(void)snprintf(try_next, sizeof(try_next), "pando login --node %.32s %.64s",
			       n->name, tenant);
	ctl_problem(r, 409, try_next, "node %s is draining", self->name);
	return true;
}

/* ---- before it leaves ---- */
struct clearing {
	struct pod *pod;
	member_done_fn done;
	void *arg;
	unsigned left;
	int err;
	char why[160];
	bool places;           /* of processes elsewhere: they lose these with the node's life */
	struct loop_timer end; /* worlds are not ended inside an answer of their kernels */
	tenant_id *idle;
	size_t count;
};

struct clear_question {
	struct clearing *c;
	tenant_id tenant;
};

static void clear_end(struct loop_timer *t)
{
	struct clearing *c = container_of(t, struct clearing, end);
	char why[TENANT_WHY_MAX];
	bool all = c->places && c->err == 0;

	for (size_t i = 0; i < c->count && c->err == 0 && !all; i++) {
		c->err = world_stop(c->pod, c->idle[i], why);
		if (c->err < 0)
			(void)snprintf(c->why, sizeof(c->why), "%.150s", why);
	}
	if (all)
		life_give_up(c->pod, c->done, c->arg);
	else
		c->done(c->arg, c->err, c->why);
	free(c->idle);
	free(c);
}

static void clear_answered(void *arg, int err, const struct rpc_msg *m)
{
	struct clear_question *q = arg;
	struct clearing *c = q->c;
	Kernel__Status *s = err == 0 ? kernel__status__unpack(NULL, m->len, m->body) : NULL;
	const struct naming_tenant *t =
		naming_tenant_find(naming_tables(c->pod->naming), q->tenant);
	const char *name = t ? t->name : "?";

	if (s != NULL && s->processes == 0 && s->held == 0) {
		c->idle[c->count++] = q->tenant;
		c->places |= s->stubs > 0;
	} else if (c->err == 0) {
		c->err = -EBUSY;
		if (s == NULL)
			(void)snprintf(c->why, sizeof(c->why), "the guest kernel of %s is silent",
				       name);
		else
			(void)snprintf(
				c->why, sizeof(c->why),
				"%s has %u process%s here, and %u pipe%s or file%s here that "
				"processes elsewhere use",
				name, s->processes, s->processes == 1 ? "" : "es", s->held,
				s->held == 1 ? "" : "s", s->held == 1 ? "" : "s");
	}
	kernel__status__free_unpacked(s, NULL);
	free(q);
	if (--c->left == 0)
		CHECK(loop_timer_set(c->pod->loop, &c->end, 0, clear_end) == 0);
}

void drain_clear(struct pod *p, member_done_fn done, void *arg)
{
	const struct naming_node *self =
		naming_node_find(naming_tables(p->naming), naming_self(p->naming));
	struct clearing *c = calloc(1, sizeof(*c));
	struct clear_question *q;
	struct world *w;
	size_t n = 0;
	int r;

	list_for_each (w, &p->worlds, link)
		n++;
	CHECK(c != NULL);
	*c = (struct clearing){ .pod = p, .done = done, .arg = arg, .left = 1 };
	c->idle = calloc(n + 1, sizeof(*c->idle));
	CHECK(c->idle != NULL);
	list_for_each (w, &p->worlds, link) {
		if (w->state == WORLD_ENDED || self == NULL ||
		    (self->drain != NAMING_DRAINED && self->state == NAMING_NODE_JOINED))
			continue;
		q = malloc(sizeof(*q));
		CHECK(q != NULL);
		*q = (struct clear_question){ c, w->id };
		c->left++;
		r = kern_request(w, KERNEL_STATUS, NULL, 0, NULL, 0, clear_answered, q);
		if (r < 0)
			clear_answered(q, r, NULL);
	}
	if (--c->left == 0)
		CHECK(loop_timer_set(p->loop, &c->end, 0, clear_end) == 0);
}
