/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.c - the sessions of a tenant that have a terminal, on all nodes, and their lines.
 *
 * Nothing is kept here: who has what is asked of the guest kernels. A line to another node's
 * session goes over this node's guest kernel of the tenant, which talks to that node's.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/pandod/pod.h"
#include "kernel/kernel.pb-c.h"

/* A node that takes longer is not waited for: a login must not hang on one that is dying. */
enum { ROLL_MS = 500 };

/* How long a line may be waited for, and how long between two looks at who has the session. */
enum { PATIENCE_S = 60, LOOK_MS = 50 };

/* ---- the roll ---- */
struct roll {
	struct pod *pod;
	tenant_id tenant;
	unsigned left; /* questions without an answer, and one for the caller */
	bool complete;
	json_t *rows;
	roll_fn done; /* NULL: it was called */
	void *arg;
	struct loop_timer due;
};

struct roll_ask {
	struct roll *r;
	node_id node;
};

static void roll_tell(struct roll *r)
{
	roll_fn done = r->done;

	r->done = NULL;
	loop_timer_clear(r->pod->loop, &r->due);
	if (done != NULL)
		done(r->arg, r->rows, r->complete);
}

static void roll_put(struct roll *r)
{
	if (--r->left > 0)
		return;
	roll_tell(r);
	json_decref(r->rows);
	free(r);
}

static void roll_due(struct loop_timer *t)
{
	struct roll *r = container_of(t, struct roll, due);

	if (r->left > 1)
		r->complete = false;
	roll_tell(r);
	roll_put(r);
}

static void add_row(struct roll *r, node_id node, const Kernel__SessionInfo *x)
{
	const struct naming_node *n = naming_node_find(naming_tables(r->pod->naming), node);

	(void)json_array_append_new(r->rows, json_pack("{s:I, s:I, s:i, s:s, s:i, s:I, s:I}",
						       "session", (json_int_t)x->session, "number",
						       (json_int_t)x->number, "pid", x->pid, "node",
						       n ? n->name : "?", "node_id", (int)node,
						       "started_ms", (json_int_t)x->started_ms,
						       "detached_ms", (json_int_t)x->detached_ms));
}

static void roll_answered(void *arg, int err, const struct rpc_msg *m)
{
	struct roll_ask *q = arg;
	struct roll *r = q->r;
	Kernel__SessionList *l =
		err == 0 ? kernel__session_list__unpack(NULL, m->len, m->body) : NULL;

	for (size_t i = 0; l != NULL && r->done != NULL && i < l->n_sessions; i++) {
		/* A session's name is a JSON integer, which is signed. */
		if (l->sessions[i]->tty && l->sessions[i]->session <= INT64_MAX)
			add_row(r, q->node, l->sessions[i]);
	}
	/* -ESRCH: the tenant has no kernel there, so no session. */
	if (l == NULL && err != -ESRCH)
		r->complete = false;
	kernel__session_list__free_unpacked(l, NULL);
	free(q);
	/* The last one ends the wait. */
	if (r->left == 2 && r->done != NULL)
		CHECK(loop_timer_set(r->pod->loop, &r->due, 0, roll_due) == 0);
	roll_put(r);
}

static void roll_ask(struct roll *r, node_id node)
{
	struct roll_ask *q = malloc(sizeof(*q));
	int err;

	CHECK(q != NULL);
	*q = (struct roll_ask){ r, node };
	r->left++;
	err = kern_request_at(r->pod, node, r->tenant, KERNEL_SESSION_LIST, NULL, 0, roll_answered,
			      q);
	if (err < 0)
		roll_answered(q, err, NULL);
}

void roll_call(struct pod *p, tenant_id t, roll_fn done, void *arg)
{
	const struct naming_core *k = naming_tables(p->naming);
	struct roll *r = calloc(1, sizeof(*r));
	const struct naming_node *n;

	CHECK(r != NULL);
	*r = (struct roll){
		.pod = p, .tenant = t, .left = 2, .complete = true, .done = done, .arg = arg
	};
	r->rows = json_array();
	CHECK(loop_timer_set(p->loop, &r->due, clock_mono_ns() + ROLL_MS * NS_PER_MS, roll_due) ==
	      0);
	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++) {
		struct peer_load load;

		peers_load(p, n->id, &load);
		if (n->state != NAMING_NODE_LEFT && load.alive)
			roll_ask(r, n->id);
	}
	if (--r->left == 1)
		CHECK(loop_timer_set(p->loop, &r->due, 0, roll_due) == 0);
}

/* ---- the list ---- */
struct listing {
	struct ctl_req *req; /* NULL: the caller went away */
};

static void listing_gone(void *arg)
{
	struct listing *x = arg;

	x->req = NULL;
}

static void listed(void *arg, json_t *rows, bool complete)
{
	struct listing *x = arg;

	if (x->req != NULL)
		ctl_reply(x->req, 200,
			  json_pack("{s:O, s:b}", "sessions", rows, "complete", complete));
	free(x);
}

void attach_list(struct pod *p, struct ctl_req *r, const struct naming_tenant *t)
{
	struct listing *x = calloc(1, sizeof(*x));

	CHECK(x != NULL);
	x->req = r;
	ctl_req_on_gone(r, listing_gone, x);
	roll_call(p, t->id, listed, x);
}

/* ---- a line ---- */
struct attaching {
	struct pod *pod;
	tenant_id tenant;
	struct ctl_req *req; /* NULL: the caller went away */
	uint64_t id;
	node_id node;
	json_int_t number;
	char node_name[NODE_NAME_MAX];
	int ours, theirs; /* ends of the line */
	uint64_t until_ns;
	struct loop_timer again;
};

static void attaching_gone(void *arg)
{
	struct attaching *x = arg;

	x->req = NULL;
}

static void drop_ends(struct attaching *x)
{
	if (x->ours >= 0)
		(void)close(x->ours);
	if (x->theirs >= 0)
		(void)close(x->theirs);
	x->ours = x->theirs = -1;
}

static void attaching_free(struct attaching *x)
{
	loop_timer_clear(x->pod->loop, &x->again);
	drop_ends(x);
	free(x);
}

static void found(void *arg, json_t *rows, bool complete);

static void look(struct loop_timer *t)
{
	struct attaching *x = container_of(t, struct attaching, again);

	if (x->req == NULL)
		attaching_free(x);
	else
		roll_call(x->pod, x->tenant, found, x);
}

/* @passes: a daemon on the way is being started, or a node does not answer just now. */
static void cannot(struct attaching *x, bool passes, const char *why)
{
	struct loop *l = x->pod->loop;

	drop_ends(x);
	x->node = NODE_NONE;
	if (x->req != NULL && passes && loop_now_ns(l) < x->until_ns &&
	    loop_timer_set(l, &x->again, loop_now_ns(l) + LOOK_MS * NS_PER_MS, look) == 0)
		return;
	if (x->req != NULL)
		ctl_problem(x->req, passes ? 503 : 404, "attach -l", "%s", why);
	attaching_free(x);
}

/* The new client's agent takes the place of the old one's; only on the session's own node. */
static int take_agent(const struct attaching *x)
{
	struct world *w = world_find(x->pod, x->tenant);

	if (w == NULL || x->node != naming_self(x->pod->naming) ||
	    !json_is_true(json_object_get(ctl_req_body(x->req), "agent")))
		return -1;
	return agent_listen(w, x->id);
}

static void attached(void *arg, int err, const struct rpc_msg *m)
{
	struct attaching *x = arg;

	for (unsigned i = 0; m != NULL && i < m->fd_count; i++)
		(void)close(m->fds[i]);
	if (err != 0) {
		cannot(x, err != -ESRCH && err != -EINVAL && err != -EPROTO,
		       err == -ESRCH ? "the session has ended" : strerror(-err));
		return;
	}
	if (x->req != NULL) {
		int fds[2] = { x->ours, take_agent(x) };

		x->ours = -1;
		ctl_stream_begin(x->req,
				 json_pack("{s:I, s:I, s:s}", "session", (json_int_t)x->id,
					   "number", x->number, "node", x->node_name),
				 fds, fds[1] >= 0 ? 2 : 1);
		ctl_stream_end(x->req);
	}
	attaching_free(x);
}

static bool fill_attach(const struct attaching *x, Kernel__SessionAttach *a)
{
	const json_t *body = ctl_req_body(x->req);
	json_int_t rows = json_integer_value(json_object_get(body, "rows"));
	json_int_t cols = json_integer_value(json_object_get(body, "cols"));
	const json_t *from = json_object_get(body, "from");

	a->session = x->id;
	a->client = (uint64_t)json_integer_value(json_object_get(body, "client"));
	a->has_from = json_is_integer(from);
	a->from = (uint64_t)json_integer_value(from);
	a->rows = (uint32_t)rows;
	a->cols = (uint32_t)cols;
	a->node = x->node == naming_self(x->pod->naming) ? NODE_NONE : x->node;
	return rows > 0 && cols > 0 && rows <= 10000 && cols <= 10000;
}

static void world_is_up(void *arg, struct world *w, int err, const char *why)
{
	struct attaching *x = arg;
	Kernel__SessionAttach a = KERNEL__SESSION_ATTACH__INIT;
	uint8_t body[128];
	int ends[2];

	if (x->req == NULL || err != 0) {
		cannot(x, true, why);
		return;
	}
	if (!fill_attach(x, &a)) {
		ctl_problem(x->req, 400, NULL, "the size of the terminal is out of range");
		attaching_free(x);
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		cannot(x, true, strerror(errno));
		return;
	}
	x->ours = ends[0];
	x->theirs = ends[1];
	CHECK(kernel__session_attach__get_packed_size(&a) <= sizeof(body));
	err = kern_request(w, KERNEL_SESSION_ATTACH, body, kernel__session_attach__pack(&a, body),
			   &x->theirs, 1, attached, x);
	if (err < 0)
		cannot(x, true, "the guest kernel is being started");
	else
		x->theirs = -1; /* it went with the request */
}

static void found(void *arg, json_t *rows, bool complete)
{
	struct attaching *x = arg;
	const json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		if ((uint64_t)json_integer_value(json_object_get(row, "session")) != x->id)
			continue;
		x->node = (node_id)json_integer_value(json_object_get(row, "node_id"));
		x->number = json_integer_value(json_object_get(row, "number"));
		(void)snprintf(x->node_name, sizeof(x->node_name), "%.31s",
			       json_string_value(json_object_get(row, "node")));
	}
	if (x->req == NULL || x->node == NODE_NONE ||
	    naming_tenant_find(naming_tables(x->pod->naming), x->tenant) == NULL)
		cannot(x, !complete,
		       complete ? "there is no such session" : "a node does not answer");
	else
		world_get(x->pod, x->tenant, world_is_up, x);
}

void attach_session(struct pod *p, const struct naming_tenant *t, uint64_t id, struct ctl_req *r)
{
	struct attaching *x = calloc(1, sizeof(*x));

	CHECK(x != NULL);
	*x = (struct attaching){ .pod = p,
				 .tenant = t->id,
				 .req = r,
				 .id = id,
				 .ours = -1,
				 .theirs = -1,
				 .until_ns = loop_now_ns(p->loop) + PATIENCE_S * NS_PER_S };
	ctl_req_on_gone(r, attaching_gone, x);
	roll_call(p, t->id, found, x);
}
