/* SPDX-License-Identifier: Apache-2.0 */
/* api_tenant.c - tenants over the control API: list, add, remove. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "cmd/gate/gate.h"
#include "cmd/pandod/api/api.h"
#include "cmd/pandod/pod.pb-c.h"

/* ---- tenants ---- */
void api_get_tenants(struct pod *p, struct ctl_req *r, args_t a)
{
	(void)a;
	ctl_reply(r, 200, json_pack("{s:o}", "tenants", api_tenants_json(p)));
}

static void tenant_added(void *arg, int err, const struct naming_result *res)
{
	struct api_pending *x = arg;

	if (err == 0)
		err = res->err;
	if (err == 0 && x->req != NULL)
		ctl_reply(x->req, 201,
			  json_pack("{s:s, s:I, s:I}", "name", x->text, "id", (json_int_t)res->id,
				    "host_id", (json_int_t)res->value));
	else if (x->req != NULL)
		api_refuse(x->req, err, err == -ETIMEDOUT ? "pando status" : "pando tenant ls",
			   err == -EEXIST   ? "there is such a tenant already"
			   : err == -EINVAL ? "the name must be [a-z_][a-z0-9_-]*, at most 31 bytes"
			   : err == -ENOSPC ? "the machine has no room for another tenant"
			   : err == -ETIMEDOUT ? "no leader answered"
					       : strerror(-err));
	free(x);
}

int api_propose(struct pod *p, const struct naming_cmd *cmd, naming_done_fn done, void *arg)
{
	return naming_propose(p->naming, cmd, clock_mono_ns() + POD_ASK_MS * NS_PER_MS, done, arg);
}

/* Files of this name may be there from an account that was removed: then the limit is theirs. */
static bool take_disk(struct pod *p, struct ctl_req *r, const char *name, struct naming_limits *l)
{
	struct volume_no no;
	int err;

	if (naming_tenant_find_name(naming_tables(p->naming), name) != NULL)
		return true; /* it is refused for that */
	if (l->storage_bytes == 0)
		l->storage_bytes = volume_has(p, name);
	err = volume_resize(p, name, l->storage_bytes, &no);
	if (err < 0)
		api_refuse(r, err, no.try_next, no.why);
	return err == 0;
}

void api_post_tenant(struct pod *p, struct ctl_req *r, args_t a)
{
	struct naming_cmd cmd = { .kind = NAMING_CMD_TENANT_ADD };
	const char *name = api_text(r, "name");
	struct api_pending *x;
	int err;

	(void)a;
	if (!naming_name_ok(name, TENANT_NAME_MAX, true)) {
		ctl_problem(r, 400, "pando tenant add alice",
			    "the name must be [a-z_][a-z0-9_-]*, at most 31 bytes");
		return;
	}
	if (gate_name_is_taken(name)) {
		ctl_problem(r, 400, "pando tenant add alice",
			    "an account of the system is called so");
		return;
	}
	(void)snprintf(cmd.name, sizeof(cmd.name), "%s", name);
	if (!api_take_limits(r, &cmd.limits))
		return;
	if (!take_disk(p, r, name, &cmd.limits))
		return;
	x = api_pending(p, r, NULL);
	(void)snprintf(x->text, sizeof(x->text), "%s", name);
	err = api_propose(p, &cmd, tenant_added, x);
	if (err < 0)
		api_done(x, err, "the machine's tables cannot be asked");
}

/*
 * Removing: its worlds end on all nodes, its blocks are released, the row goes. Each step is one
 * answer; asked again after a failure it goes on where it stopped.
 */
static void remove_step(struct api_pending *x);

static void removed(void *arg, int err, const struct naming_result *res)
{
	struct api_pending *x = arg;

	if (err == 0)
		err = res->err;
	/* A block that is released already, or has another keeper: looked at again. */
	if ((err == -ENOENT || err == -ESTALE) && x->step == 0)
		err = 0;
	if (err == 0 && x->step == 0) {
		remove_step(x);
		return;
	}
	api_done(x, err,
		 err == -EBUSY ? "another node still keeps pids of it"
		 : err == 0    ? ""
			       : "the machine's tables refuse it");
}

static void remove_step(struct api_pending *x)
{
	const struct naming_core *k = naming_tables(x->pod->naming);
	struct naming_cmd cmd = { .kind = NAMING_CMD_TENANT_REMOVE, .tenant = x->tenant };
	const struct naming_block *b;
	int err;

	x->step = 1;
	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++) {
		if (b->tenant != x->tenant)
			continue;
		cmd.kind = NAMING_CMD_BLOCK_RELEASE;
		cmd.node = b->authority;
		cmd.number = b->number;
		cmd.epoch = b->epoch;
		x->step = 0;
		break;
	}
	err = api_propose(x->pod, &cmd, removed, x);
	if (err < 0)
		api_done(x, err, "the machine's tables cannot be asked");
}

struct stopping {
	struct api_pending *x;
	unsigned left;
	int err;
};

static void stopped(void *arg, int err, const struct rpc_msg *m)
{
	struct stopping *s = arg;

	(void)m;
	if (err != 0 && err != -ECANCELED)
		s->err = err;
	if (--s->left > 0)
		return;
	if (s->err != 0)
		api_done(s->x, s->err, "a node that may run it did not end it");
	else
		remove_step(s->x);
	free(s);
}

void api_delete_tenant(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_tenant *t = api_tenant(p, r, a[0]);
	const struct naming_core *k = naming_tables(p->naming);
	Pod__TenantStop stop = POD__TENANT_STOP__INIT;
	char why[TENANT_WHY_MAX];
	struct rpc_msg m = { .method = POD_STOP };
	const struct naming_node *n;
	struct stopping *s;
	uint8_t body[16];
	int err;

	if (t == NULL)
		return;
	err = world_stop(p, t->id, why);
	if (err < 0) {
		api_refuse(r, err, "pando ps", why);
		return;
	}
	s = calloc(1, sizeof(*s));
	CHECK(s != NULL);
	s->x = api_pending(p, r, "pando nodes");
	s->x->tenant = t->id;
	s->left = 1;
	stop.tenant = t->id;
	m.body = body;
	m.len = pod__tenant_stop__pack(&stop, body);
	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++) {
		if (n->id == naming_self(p->naming) || n->state == NAMING_NODE_LEFT)
			continue;
		err = peers_request(p, n->id, &m, stopped, s);
		if (err == 0)
			s->left++;
		else
			s->err = err;
	}
	stopped(s, 0, NULL);
}
