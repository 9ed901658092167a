/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply.c - one function per command. Each checks first and changes then: an error
 * leaves the tables as they were.
 */
#include "base/check.h"
#include "base/mutant.h"
#include "naming/core/apply.h"

/* A node that may be given something: it is there and not on its way out. */
static int node_takes(struct naming_core *k, node_id id)
{
	const struct naming_node *n = naming_core_node(k, id);

	if (n == NULL)
		return -ENOENT;
	return n->state == NAMING_NODE_JOINED && !n->down ? 0 : -EINVAL;
}

/* The same, of what it would keep when its processes are gone. */
static int node_takes_for_long(struct naming_core *k, node_id id)
{
	int r = node_takes(k, id);

	return r == 0 && naming_core_node(k, id)->drain != NAMING_OPEN ? -EINVAL : r;
}

static int noop(struct apply *a)
{
	a->r->value = a->k->machine.epoch;
	return 0;
}

static int tenant_add(struct apply *a)
{
	struct naming_core *k = a->k;
	struct naming_tenant *t;

	if (!naming_name_ok(a->cmd->name, sizeof(t->name), true))
		return -EINVAL;
	if (naming_tenant_find_name(k, a->cmd->name) != NULL && !MUTANT("naming.tenant.name_twice"))
		return -EEXIST;
	if (a->cmd->limits.cpu_weight > 10000)
		return -EINVAL;
	if (k->next_host_id >= NAMING_HOST_ID_END || k->next_tenant == UINT32_MAX)
		return -ENOSPC;
	t = naming_table_add(&k->table[NAMING_TENANT]);
	if (t == NULL)
		return -ENOSPC;
	t->id = k->next_tenant++;
	memcpy(t->name, a->cmd->name, sizeof(t->name));
	/* Never used again: files of a tenant that is gone must not become another's. */
	t->host_id = k->next_host_id;
	k->next_host_id += MUTANT("naming.tenant.hosts_shared") ? 0 : NAMING_HOST_IDS;
	CHECK_INV(N1, t->host_id % NAMING_HOST_IDS == 0);
	t->uid = NAMING_GUEST_UID;
	t->limits = a->cmd->limits;
	t->next_block = NAMING_BLOCK_FIRST;
	t->created_ms = k->now_ms;
	a->r->id = t->id;
	a->r->value = t->host_id;
	apply_changed(a, NAMING_TENANT, t->id);
	return 0;
}

static int tenant_limits(struct apply *a)
{
	struct naming_tenant *t = naming_core_tenant(a->k, a->cmd->tenant);

	if (t == NULL)
		return -ENOENT;
	if (a->cmd->limits.cpu_weight > 10000)
		return -EINVAL;
	t->limits = a->cmd->limits;
	naming_loans_settle(a->k, t);
	apply_changed(a, NAMING_TENANT, t->id);
	apply_changed(a, NAMING_LOAN, 0);
	return 0;
}

static int tenant_flags(struct apply *a)
{
	struct naming_tenant *t = naming_core_tenant(a->k, a->cmd->tenant);

	if (t == NULL)
		return -ENOENT;
	if (((a->cmd->number | a->cmd->flags) & ~(uint32_t)NAMING_TENANT_FLAGS) != 0)
		return -EINVAL;
	t->flags = (t->flags & ~a->cmd->number) | (a->cmd->flags & a->cmd->number);
	apply_changed(a, NAMING_TENANT, t->id);
	return 0;
}

/* Takes out the rows of a tenant; each row type has its tenant where @offset says. */
static void drop_rows(struct apply *a, unsigned kind, size_t offset, tenant_id tenant)
{
	struct naming_table *t = &a->k->table[kind];

	for (uint32_t i = t->count; i-- > 0;) {
		uint8_t *row = table_at(t, i);
		tenant_id have;

		memcpy(&have, row + offset, sizeof(have));
		if (have == tenant) {
			naming_table_del(t, row);
			apply_changed(a, kind, 0);
		}
	}
}

static int tenant_remove(struct apply *a)
{
	struct naming_tenant *t = naming_core_tenant(a->k, a->cmd->tenant);
	const struct naming_block *b;
	tenant_id id = a->cmd->tenant;

	if (t == NULL)
		return -ENOENT;
	for (uint32_t i = 0; (b = naming_block_at(a->k, i)) != NULL; i++)
		if (b->tenant == id)
			return -EBUSY;
	drop_rows(a, NAMING_KEY, offsetof(struct naming_key, tenant), id);
	naming_keys_index(a->k);
	drop_rows(a, NAMING_PORT, offsetof(struct naming_port, tenant), id);
	drop_rows(a, NAMING_VOLUME, offsetof(struct naming_volume, tenant), id);
	drop_rows(a, NAMING_LOAN, offsetof(struct naming_loan, tenant), id);
	if (MUTANT("naming.tenant.hosts_of_gone") &&
	    t->host_id + NAMING_HOST_IDS == a->k->next_host_id)
		a->k->next_host_id = t->host_id;
	if (MUTANT("naming.tenant.id_of_gone") && id + 1 == a->k->next_tenant)
		a->k->next_tenant = id;
	naming_table_del(&a->k->table[NAMING_TENANT], t);
	apply_changed(a, NAMING_TENANT, id);
	return 0;
}

static int key_add(struct apply *a)
{
	const struct naming_cmd *cmd = a->cmd;
	struct naming_key *key;

	if (naming_core_tenant(a->k, cmd->tenant) == NULL)
		return -ENOENT;
	if (apply_zero(cmd->key, sizeof(cmd->key)) ||
	    !apply_terminated(cmd->text, sizeof(cmd->text)) || cmd->text[0] == '\0' ||
	    strchr(cmd->text, '\n') != NULL)
		return -EINVAL;
	/* One key logs in one tenant: the login's user name is not what decides. */
	if (naming_key_find(a->k, cmd->key) != NULL && !MUTANT("naming.key.twice"))
		return -EEXIST;
	key = naming_table_add(&a->k->table[NAMING_KEY]);
	if (key == NULL)
		return -ENOSPC;
	key->tenant = cmd->tenant;
	memcpy(key->fingerprint, cmd->key, sizeof(key->fingerprint));
	memcpy(key->line, cmd->text, strlen(cmd->text) + 1);
	naming_keys_note(a->k, a->k->table[NAMING_KEY].count - 1);
	apply_changed(a, NAMING_KEY, 0);
	return 0;
}

static int key_remove(struct apply *a)
{
	struct naming_key *key = (void *)naming_key_find(a->k, a->cmd->key);

	if (key == NULL || key->tenant != a->cmd->tenant)
		return -ENOENT;
	naming_table_del(&a->k->table[NAMING_KEY], key);
	naming_keys_index(a->k);
	apply_changed(a, NAMING_KEY, 0);
	return 0;
}

/* The next number from @from on, around, that no row of @t has; 0: all are leased. */
static uint32_t block_free_number(const struct naming_core *k, tenant_id t, uint32_t from)
{
	uint64_t used[(NAMING_BLOCK_END + 63) / 64] = { 0 };
	const uint32_t span = NAMING_BLOCK_END - NAMING_BLOCK_FIRST;
	const struct naming_block *b;

	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++)
		if (b->tenant == t)
			used[b->number / 64] |= UINT64_C(1) << (b->number % 64);
	for (uint32_t i = 0; i < span; i++) {
		uint32_t n = NAMING_BLOCK_FIRST + (from - NAMING_BLOCK_FIRST + i) % span;

		if ((used[n / 64] >> (n % 64) & 1) == 0)
			return n;
	}
	return 0;
}

static int block_lease(struct apply *a)
{
	struct naming_tenant *t = naming_core_tenant(a->k, a->cmd->tenant);
	struct naming_block *b;
	uint32_t number;
	int r;

	if (t == NULL)
		return -ENOENT;
	r = node_takes(a->k, a->cmd->node);
	if (r != 0)
		return r;
	if (a->cmd->epoch != 0 && a->cmd->epoch != naming_core_node(a->k, a->cmd->node)->epoch)
		return -ESTALE;
	if (MUTANT("naming.block.leased_again") && a->k->table[NAMING_BLOCK].count > 6) {
		b = table_at(&a->k->table[NAMING_BLOCK], 1);
		b->authority = a->cmd->node;
		b->life = naming_core_node(a->k, b->authority)->epoch;
		a->r->epoch = ++b->epoch;
		a->r->value = b->number;
		apply_changed(a, NAMING_BLOCK, 0);
		return 0;
	}
	number = block_free_number(a->k, t->id, t->next_block);
	if (number == 0)
		return -ENOSPC;
	b = naming_table_add(&a->k->table[NAMING_BLOCK]);
	if (b == NULL)
		return -ENOSPC;
	b->tenant = t->id;
	b->number = number;
	b->authority = a->cmd->node;
	b->epoch = t->block_epoch + 1;
	b->life = naming_core_node(a->k, b->authority)->epoch;
	b->home = b->authority;
	b->born = b->life;
	/* Onwards and around, so that a released pid stays unused as long as can be. */
	t->next_block = number + 1 < NAMING_BLOCK_END ? number + 1 : NAMING_BLOCK_FIRST;
	CHECK_INV(N5, naming_block_find(a->k, t->id, number) == b);
	a->r->value = number;
	a->r->epoch = b->epoch;
	apply_changed(a, NAMING_BLOCK, 0);
	return 0;
}

/* The block a command means, if its node and epoch are the authority's. */
static int block_held(struct apply *a, struct naming_block **out)
{
	*out = (void *)naming_block_find(a->k, a->cmd->tenant, a->cmd->number);
	if (*out == NULL)
		return -ENOENT;
	if ((*out)->authority != a->cmd->node || (*out)->epoch != a->cmd->epoch)
		return -ESTALE;
	return 0;
}

static int block_release(struct apply *a)
{
	struct naming_tenant *t;
	struct naming_block *b;
	int r = block_held(a, &b);

	if (r != 0)
		return r;
	/* Whoever was fenced for a handover believes no older term, of the next lease either. */
	t = naming_core_tenant(a->k, b->tenant);
	t->block_epoch = MAX(t->block_epoch, b->epoch);
	naming_table_del(&a->k->table[NAMING_BLOCK], b);
	apply_changed(a, NAMING_BLOCK, 0);
	return 0;
}

static int block_move(struct apply *a)
{
	struct naming_block *b;
	int r = block_held(a, &b);

	if (r != 0)
		return r;
	r = node_takes_for_long(a->k, a->cmd->to);
	if (r != 0)
		return r;
	b->authority = a->cmd->to;
	if (!MUTANT("naming.block.life_of_before"))
		b->life = naming_core_node(a->k, b->authority)->epoch;
	if (!MUTANT("naming.block.same_term"))
		b->epoch++;
	a->r->epoch = b->epoch;
	a->r->value = b->number;
	CHECK_INV(N2, naming_core_node(a->k, b->authority) != NULL);
	apply_changed(a, NAMING_BLOCK, 0);
	return 0;
}

static int block_lost(struct apply *a)
{
	struct naming_block *b;
	int r = block_held(a, &b);

	if (r != 0)
		return r;
	b->life = 0;
	if (b->home == a->cmd->node)
		b->born = 0;
	apply_changed(a, NAMING_BLOCK, 0);
	return 0;
}

static int port_check(const struct naming_cmd *cmd)
{
	switch (cmd->subkind) {
	case NAMING_PORT_TCP:
	case NAMING_PORT_UDP:
		return cmd->number > 0 && cmd->number < 65536 && cmd->name[0] == '\0' ? 0 : -EINVAL;
	case NAMING_PORT_MESSAGE:
		return cmd->number == 0 && naming_name_ok(cmd->name, sizeof(cmd->name), true)
			       ? 0
			       : -EINVAL;
	default:
		return -EINVAL;
	}
}

static int port_bind(struct apply *a)
{
	const struct naming_cmd *cmd = a->cmd;
	const struct naming_port *have;
	struct naming_port *p;
	int r = port_check(cmd);

	if (r == 0 && naming_core_tenant(a->k, cmd->tenant) == NULL)
		r = -ENOENT;
	if (r == 0)
		r = node_takes(a->k, cmd->node);
	if (r != 0)
		return r;
	have = naming_port_find(a->k, cmd->tenant, cmd->subkind, cmd->number, cmd->name);
	if (have != NULL) {
		a->r->id = have->node;
		return -EEXIST;
	}
	p = naming_table_add(&a->k->table[NAMING_PORT]);
	if (p == NULL)
		return -ENOSPC;
	p->tenant = cmd->tenant;
	p->kind = cmd->subkind;
	p->number = cmd->number;
	memcpy(p->name, cmd->name, sizeof(p->name));
	p->node = cmd->node;
	p->owner = cmd->pid;
	apply_changed(a, NAMING_PORT, 0);
	return 0;
}

static int port_free(struct apply *a)
{
	const struct naming_cmd *cmd = a->cmd;
	struct naming_port *p;
	int r = port_check(cmd);

	if (r != 0)
		return r;
	p = (void *)naming_port_find(a->k, cmd->tenant, cmd->subkind, cmd->number, cmd->name);
	if (p == NULL)
		return -ENOENT;
	if (p->node != cmd->node)
		return -ESTALE;
	naming_table_del(&a->k->table[NAMING_PORT], p);
	apply_changed(a, NAMING_PORT, 0);
	return 0;
}

static int volume_add(struct apply *a)
{
	const struct naming_cmd *cmd = a->cmd;
	struct naming_volume *v;
	int r;

	if (!naming_name_ok(cmd->name, sizeof(cmd->name), true) || cmd->text[0] != '/' ||
	    !apply_terminated(cmd->text, sizeof(v->path)) || cmd->subkind < NAMING_VOLUME_DIR ||
	    cmd->subkind > NAMING_VOLUME_MOUNT)
		return -EINVAL;
	if (cmd->tenant != TENANT_NONE && naming_core_tenant(a->k, cmd->tenant) == NULL)
		return -ENOENT;
	r = cmd->subkind == NAMING_VOLUME_SERVED ? node_takes_for_long(a->k, cmd->node) : 0;
	if (r != 0)
		return r;
	if (naming_volume_find(a->k, cmd->tenant, cmd->name) != NULL)
		return -EEXIST;
	v = naming_table_add(&a->k->table[NAMING_VOLUME]);
	if (v == NULL)
		return -ENOSPC;
	v->tenant = cmd->tenant;
	memcpy(v->name, cmd->name, sizeof(v->name));
	v->kind = cmd->subkind;
	v->node = cmd->subkind == NAMING_VOLUME_SERVED ? cmd->node : NODE_NONE;
	memcpy(v->path, cmd->text, strlen(cmd->text) + 1);
	apply_changed(a, NAMING_VOLUME, 0);
	return 0;
}

static int volume_remove(struct apply *a)
{
	struct naming_volume *v = NULL;

	if (apply_terminated(a->cmd->name, sizeof(a->cmd->name)))
		v = (void *)naming_volume_find(a->k, a->cmd->tenant, a->cmd->name);
	if (v == NULL)
		return -ENOENT;
	naming_table_del(&a->k->table[NAMING_VOLUME], v);
	apply_changed(a, NAMING_VOLUME, 0);
	return 0;
}

static int loan(struct apply *a)
{
	return naming_loan_apply(a->k, a->cmd, a->r, &a->c->kinds);
}

static int (*const handlers[NAMING_CMD_COUNT])(struct apply *a) = {
	[NAMING_CMD_NOOP] = noop,
	[NAMING_CMD_CREATE] = apply_create,
	[NAMING_CMD_TOKEN_ADD] = apply_token_add,
	[NAMING_CMD_TOKEN_REMOVE] = apply_token_remove,
	[NAMING_CMD_NODE_JOIN] = apply_node_join,
	[NAMING_CMD_NODE_EPOCH] = apply_node_epoch,
	[NAMING_CMD_NODE_ADDR] = apply_node_addr,
	[NAMING_CMD_NODE_LEAVE] = apply_node_leave,
	[NAMING_CMD_NODE_LEFT] = apply_node_left,
	[NAMING_CMD_NODE_DRAIN] = apply_node_drain,
	[NAMING_CMD_TENANT_ADD] = tenant_add,
	[NAMING_CMD_TENANT_LIMITS] = tenant_limits,
	[NAMING_CMD_TENANT_FLAGS] = tenant_flags,
	[NAMING_CMD_TENANT_REMOVE] = tenant_remove,
	[NAMING_CMD_KEY_ADD] = key_add,
	[NAMING_CMD_KEY_REMOVE] = key_remove,
	[NAMING_CMD_BLOCK_LEASE] = block_lease,
	[NAMING_CMD_BLOCK_RELEASE] = block_release,
	[NAMING_CMD_BLOCK_MOVE] = block_move,
	[NAMING_CMD_BLOCK_LOST] = block_lost,
	[NAMING_CMD_PORT_BIND] = port_bind,
	[NAMING_CMD_PORT_FREE] = port_free,
	[NAMING_CMD_VOLUME_ADD] = volume_add,
	[NAMING_CMD_VOLUME_REMOVE] = volume_remove,
	[NAMING_CMD_LOAN] = loan,
};

static void execute(struct apply *a)
{
	const struct naming_cmd *cmd = a->cmd;

	if (cmd->kind <= 0 || cmd->kind >= NAMING_CMD_COUNT ||
	    !apply_terminated(cmd->name, sizeof(cmd->name)) ||
	    !apply_terminated(cmd->text, sizeof(cmd->text)))
		a->r->err = -EINVAL;
	else if (!apply_created(a->k) && cmd->kind != NAMING_CMD_CREATE &&
		 cmd->kind != NAMING_CMD_NOOP)
		a->r->err = -EPERM;
	else
		a->r->err = handlers[cmd->kind](a);
}

/* ---- N7: a repeated command is answered, not executed ---- */

static struct naming_client *client_find(struct naming_core *k, uint64_t id)
{
	struct naming_client *c;

	for (uint32_t i = 0; (c = table_at(&k->table[TABLE_CLIENTS], i)) != NULL; i++)
		if (c->id == id)
			return c;
	return NULL;
}

static struct naming_client *client_add(struct naming_core *k, uint64_t id)
{
	struct naming_table *t = &k->table[TABLE_CLIENTS];
	struct naming_client *c = naming_table_add(t);
	struct naming_client *old = NULL;

	if (c == NULL) {
		for (uint32_t i = 0; (c = table_at(t, i)) != NULL; i++)
			if (old == NULL || c->used_ms < old->used_ms)
				old = c;
		if (old == NULL || k->now_ms - old->used_ms < NAMING_CLIENT_IDLE_MS)
			return NULL;
		naming_table_del(t, old);
		c = naming_table_add(t);
	}
	c->id = id;
	return c;
}

/* The place for this command's result; or NULL and @err. */
static struct naming_slot *client_slot(struct naming_core *k, const struct naming_stamp *st,
				       int32_t *err)
{
	struct naming_client *c = client_find(k, st->client);

	/* A client that had answers and is unknown was forgotten: what it sends now may be a
	 * repetition of what took effect. */
	*err = st->acked != 0 ? -ECONNRESET : -EAGAIN;
	if (c == NULL && st->acked == 0)
		c = client_add(k, st->client);
	if (c == NULL)
		return NULL;
	c->used_ms = k->now_ms;
	if (st->acked > c->acked && st->acked < st->seq)
		c->acked = st->acked;
	*err = -EINVAL;
	if (st->seq <= c->acked || st->seq - c->acked > NAMING_CLIENT_WINDOW)
		return NULL;
	return &c->slot[st->seq % NAMING_CLIENT_WINDOW];
}

bool naming_core_result(const struct naming_core *k, uint64_t client, uint64_t seq,
			struct naming_result *r)
{
	const struct naming_client *c = client_find((struct naming_core *)k, client);
	const struct naming_slot *s = c == NULL ? NULL : &c->slot[seq % NAMING_CLIENT_WINDOW];

	if (s == NULL || s->seq != seq)
		return false;
	*r = s->result;
	return true;
}

void naming_core_apply(struct naming_core *k, uint64_t now_ms, const struct naming_stamp *st,
		       const struct naming_cmd *cmd, struct naming_result *r,
		       struct naming_change *c)
{
	struct apply a = { .k = k, .cmd = cmd, .r = r, .c = c };
	struct naming_slot *slot;

	memset(r, 0, sizeof(*r));
	memset(c, 0, sizeof(*c));
	if (now_ms > k->now_ms)
		k->now_ms = now_ms;
	if (st->client == 0) {
		execute(&a);
		return;
	}
	slot = client_slot(k, st, &r->err);
	if (slot == NULL)
		return;
	r->err = 0;
	if (slot->seq == st->seq && !MUTANT("naming.command.twice")) {
		*r = slot->result;
		return;
	}
	CHECK_INV(N7, slot->seq < st->seq || MUTANT("naming.command.twice"));
	execute(&a);
	slot->seq = st->seq;
	slot->result = *r;
}
