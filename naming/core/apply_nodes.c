/* SPDX-License-Identifier: Apache-2.0 */
/* apply_nodes.c - the machine, the tokens that let nodes in, and the nodes. */
#include "base/check.h"
#include "base/mutant.h"
#include "naming/core/apply.h"

static bool node_used(const struct naming_core *k, node_id id)
{
	const struct naming_block *b;
	const struct naming_volume *v;

	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++)
		if (b->authority == id)
			return true;
	for (uint32_t i = 0; (v = naming_volume_at(k, i)) != NULL; i++)
		if (v->node == id)
			return true;
	return false;
}

/* Room for one more node, if need be by dropping one that has left and left nothing. */
static bool node_room(struct naming_core *k)
{
	struct naming_table *t = &k->table[NAMING_NODE];
	struct naming_node *n;

	if (t->count < t->max)
		return true;
	for (uint32_t i = 0; (n = table_at(t, i)) != NULL; i++) {
		if (n->state == NAMING_NODE_LEFT && !node_used(k, n->id)) {
			naming_table_del(t, n);
			return true;
		}
	}
	return false;
}

static int node_check(struct apply *a)
{
	const struct naming_cmd *cmd = a->cmd;

	if (!naming_name_ok(cmd->name, sizeof(cmd->name), false) ||
	    !apply_terminated(cmd->addr, sizeof(cmd->addr)) || cmd->addr[0] == '\0' ||
	    apply_zero(cmd->key, sizeof(cmd->key)))
		return -EINVAL;
	if (naming_node_find_name(a->k, cmd->name) != NULL)
		return -EEXIST;
	if (a->k->next_node == UINT32_MAX)
		return -ENOSPC;
	return 0;
}

static void node_add(struct apply *a)
{
	struct naming_node *n = naming_table_add(&a->k->table[NAMING_NODE]);

	CHECK(n != NULL);
	n->id = a->k->next_node;
	a->k->next_node += MUTANT("naming.node.id_again") ? 0 : 1;
	memcpy(n->name, a->cmd->name, sizeof(n->name));
	memcpy(n->addr, a->cmd->addr, sizeof(n->addr));
	memcpy(n->key, a->cmd->key, sizeof(n->key));
	n->epoch = 1;
	n->state = NAMING_NODE_JOINED;
	n->joined_ms = a->k->now_ms;
	n->since_ms = a->k->now_ms;
	a->k->machine.epoch++;
	a->r->id = n->id;
	a->r->epoch = n->epoch;
	apply_changed(a, NAMING_MACHINE, 0);
	apply_changed(a, NAMING_NODE, n->id);
}

int apply_create(struct apply *a)
{
	struct naming_machine *m = &a->k->machine;
	const struct naming_cmd *cmd = a->cmd;
	int r;

	if (apply_created(a->k))
		return -EPERM;
	if (apply_zero(cmd->machine_id, sizeof(cmd->machine_id)) ||
	    !naming_name_ok(cmd->text, sizeof(m->name), false))
		return -EINVAL;
	r = node_check(a);
	if (r != 0)
		return r;
	if (!node_room(a->k))
		return -ENOSPC;
	memcpy(m->id, cmd->machine_id, sizeof(m->id));
	memcpy(m->name, cmd->text, sizeof(m->name));
	m->created_ms = a->k->now_ms;
	node_add(a);
	return 0;
}

int apply_token_add(struct apply *a)
{
	const struct naming_cmd *cmd = a->cmd;
	struct naming_token *t;

	if (apply_zero(cmd->key, sizeof(cmd->key)) || cmd->number == 0 || cmd->ttl_ms == 0 ||
	    cmd->ttl_ms > UINT64_MAX - a->k->now_ms)
		return -EINVAL;
	if (naming_token_find(a->k, cmd->key) != NULL)
		return -EEXIST;
	t = naming_table_add(&a->k->table[NAMING_TOKEN]);
	/* Expired ones make room. */
	for (uint32_t i = 0; t == NULL && i < a->k->table[NAMING_TOKEN].count; i++) {
		struct naming_token *old = table_at(&a->k->table[NAMING_TOKEN], i);

		if (old->expires_ms <= a->k->now_ms) {
			naming_table_del(&a->k->table[NAMING_TOKEN], old);
			t = naming_table_add(&a->k->table[NAMING_TOKEN]);
		}
	}
	if (t == NULL)
		return -ENOSPC;
	memcpy(t->hash, cmd->key, sizeof(t->hash));
	t->expires_ms = a->k->now_ms + cmd->ttl_ms;
	t->uses_left = cmd->number;
	apply_changed(a, NAMING_TOKEN, 0);
	return 0;
}

int apply_token_remove(struct apply *a)
{
	void *t = (void *)naming_token_find(a->k, a->cmd->key);

	if (t == NULL)
		return -ENOENT;
	naming_table_del(&a->k->table[NAMING_TOKEN], t);
	apply_changed(a, NAMING_TOKEN, 0);
	return 0;
}

/*
 * Its key was admitted under this name before, and nothing shows that it has begun since: what it
 * was told then has not reached its disk.
 */
static struct naming_node *node_admitted(struct apply *a)
{
	struct naming_node *n = (void *)naming_node_find_name(a->k, a->cmd->name);

	if (n == NULL || n->state != NAMING_NODE_JOINED || n->epoch - n->down > 1 ||
	    memcmp(n->key, a->cmd->key, sizeof(n->key)) != 0 || node_used(a->k, n->id) ||
	    !apply_terminated(a->cmd->addr, sizeof(n->addr)) || a->cmd->addr[0] == '\0')
		return NULL;
	return n;
}

int apply_node_join(struct apply *a)
{
	struct naming_token *t = (void *)naming_token_find(a->k, a->cmd->key2);
	struct naming_node *again;
	int r;

	again = node_admitted(a);
	if (again != NULL) {
		memcpy(again->addr, a->cmd->addr, sizeof(again->addr));
		a->r->id = again->id;
		a->r->epoch = again->epoch;
		apply_changed(a, NAMING_NODE, again->id);
		return 0;
	}
	if (t == NULL || t->uses_left == 0 ||
	    (t->expires_ms <= a->k->now_ms && !MUTANT("naming.token.never_over")))
		return -EACCES;
	r = node_check(a);
	if (r != 0)
		return r;
	if (!node_room(a->k))
		return -ENOSPC;
	t->uses_left -= MUTANT("naming.token.used_again") ? 0 : 1;
	CHECK_INV(N6, t->uses_left < UINT32_MAX);
	if (t->uses_left == 0)
		naming_table_del(&a->k->table[NAMING_TOKEN], t);
	apply_changed(a, NAMING_TOKEN, 0);
	node_add(a);
	return 0;
}

static void loans_drop(struct apply *a, node_id node)
{
	if (naming_loans_drop(a->k, node))
		apply_changed(a, NAMING_LOAN, 0);
}

static void ports_drop(struct apply *a, node_id node)
{
	struct naming_table *ports = &a->k->table[NAMING_PORT];

	for (uint32_t i = ports->count; i-- > 0;) {
		struct naming_port *p = table_at(ports, i);

		if (p->node == node) {
			naming_table_del(ports, p);
			apply_changed(a, NAMING_PORT, 0);
		}
	}
}

int apply_node_epoch(struct apply *a)
{
	struct naming_node *n = naming_core_node(a->k, a->cmd->node);
	bool dead = (a->cmd->flags & 1) != 0;

	if (n == NULL)
		return -ENOENT;
	if (n->state == NAMING_NODE_LEFT)
		return -EINVAL;
	if (n->epoch != a->cmd->epoch)
		return -ESTALE;
	if (n->down && dead)
		return -EINVAL;
	n->down = dead;
	a->r->epoch = ++n->epoch;
	n->since_ms = a->k->now_ms;
	/* What it gave pids from is free to be leased: their processes may have moved away. */
	for (uint32_t i = MUTANT("naming.block.freed_by_death") ? a->k->table[NAMING_BLOCK].count
								: 0;
	     i-- > 0;) {
		struct naming_block *b = table_at(&a->k->table[NAMING_BLOCK], i);

		naming_core_tenant(a->k, b->tenant)->next_block = NAMING_BLOCK_FIRST;
		if (b->authority == n->id)
			naming_table_del(&a->k->table[NAMING_BLOCK], b);
	}
	a->r->id = n->id;
	a->k->machine.epoch++;
	/* It starts empty: nothing that it was lent is in use, nobody there listens. */
	loans_drop(a, n->id);
	ports_drop(a, n->id);
	apply_changed(a, NAMING_MACHINE, 0);
	apply_changed(a, NAMING_NODE, n->id);
	return 0;
}

int apply_node_addr(struct apply *a)
{
	struct naming_node *n = naming_core_node(a->k, a->cmd->node);

	if (n == NULL)
		return -ENOENT;
	if (!apply_terminated(a->cmd->addr, sizeof(n->addr)) || a->cmd->addr[0] == '\0')
		return -EINVAL;
	memcpy(n->addr, a->cmd->addr, sizeof(n->addr));
	apply_changed(a, NAMING_NODE, n->id);
	return 0;
}

int apply_node_drain(struct apply *a)
{
	struct naming_node *n = naming_core_node(a->k, a->cmd->node);
	uint32_t want = a->cmd->flags;

	if (n == NULL)
		return -ENOENT;
	if (n->state != NAMING_NODE_JOINED || want > NAMING_DRAINED ||
	    (want == NAMING_DRAINED && n->drain == NAMING_OPEN))
		return -EINVAL;
	if (n->drain == want)
		return 0;
	n->drain = want;
	apply_changed(a, NAMING_NODE, n->id);
	return 0;
}

int apply_node_leave(struct apply *a)
{
	struct naming_node *n = naming_core_node(a->k, a->cmd->node);

	if (n == NULL)
		return -ENOENT;
	if (n->state != NAMING_NODE_JOINED)
		return -EINVAL;
	n->state = NAMING_NODE_LEAVING;
	a->k->machine.epoch++;
	apply_changed(a, NAMING_MACHINE, 0);
	apply_changed(a, NAMING_NODE, n->id);
	return 0;
}

int apply_node_left(struct apply *a)
{
	struct naming_node *n = naming_core_node(a->k, a->cmd->node);
	bool dead = (a->cmd->flags & 1) != 0;

	if (n == NULL)
		return -ENOENT;
	if (n->state == NAMING_NODE_LEFT || (n->state == NAMING_NODE_JOINED && !dead))
		return -EINVAL;
	if (!dead && node_used(a->k, n->id))
		return -EBUSY;
	n->state = NAMING_NODE_LEFT;
	loans_drop(a, n->id);
	ports_drop(a, n->id);
	a->k->machine.epoch++;
	apply_changed(a, NAMING_MACHINE, 0);
	apply_changed(a, NAMING_NODE, n->id);
	return 0;
}
