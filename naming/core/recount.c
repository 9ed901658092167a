/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recount.c - every invariant of core.h, counted anew from the rows. Also the gate
 * for snapshots, whose bytes come from a peer or a disk.
 */
#include <string.h>

#include "naming/core/tables.h"

static const char *recount_nodes(const struct naming_core *k)
{
	const struct naming_node *n;
	node_id last = NODE_NONE;

	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++) {
		if (n->id <= last || n->id >= k->next_node)
			return "N4 a node id is out of order or was never given";
		last = n->id;
		if (n->state < NAMING_NODE_JOINED || n->state > NAMING_NODE_LEFT || n->epoch == 0 ||
		    n->drain > NAMING_DRAINED || !naming_name_ok(n->name, sizeof(n->name), false) ||
		    n->addr[0] == '\0')
			return "N4 a node row makes no sense";
		if (n->state != NAMING_NODE_LEFT && naming_node_find_name(k, n->name) != n)
			return "N3 two nodes share a name";
	}
	return NULL;
}

static const char *recount_tenants(const struct naming_core *k)
{
	const struct naming_tenant *t;
	tenant_id last = TENANT_NONE;
	uint32_t last_host_id = 0;

	if (k->next_host_id < NAMING_HOST_ID_FIRST || k->next_host_id > NAMING_HOST_ID_END ||
	    k->next_host_id % NAMING_HOST_IDS != 0)
		return "N1 the next host id is not one";
	for (uint32_t i = 0; (t = naming_tenant_at(k, i)) != NULL; i++) {
		if (t->id <= last || t->id >= k->next_tenant)
			return "N4 a tenant id is out of order or was never given";
		last = t->id;
		/* Ids and host ids are given together, so both grow. */
		if (t->host_id <= last_host_id || t->host_id < NAMING_HOST_ID_FIRST ||
		    t->host_id >= k->next_host_id || t->host_id % NAMING_HOST_IDS != 0)
			return "N1 two tenants share host ids";
		last_host_id = t->host_id;
		if (!naming_name_ok(t->name, sizeof(t->name), true) ||
		    naming_tenant_find_name(k, t->name) != t)
			return "N3 two tenants share a name";
		if (t->next_block < NAMING_BLOCK_FIRST || t->next_block >= NAMING_BLOCK_END)
			return "N5 a tenant's next block is not one";
	}
	return NULL;
}

static const char *recount_blocks(const struct naming_core *k)
{
	const struct naming_block *b;
	const struct naming_tenant *t;

	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++) {
		if (naming_node_find(k, b->authority) == NULL || b->epoch == 0)
			return "N2 a pid block without an authority";
		if (b->life > naming_node_find(k, b->authority)->epoch)
			return "N2 a pid block of a life that is to come";
		if (b->home == NODE_NONE)
			return "N2 a pid block that nobody has leased";
		if (naming_tenant_find(k, b->tenant) == NULL || b->number < NAMING_BLOCK_FIRST ||
		    b->number >= NAMING_BLOCK_END)
			return "N2 a pid block of no tenant";
	}
	for (uint32_t j = 0; (t = naming_tenant_at(k, j)) != NULL; j++) {
		uint64_t seen[(NAMING_BLOCK_END + 63) / 64] = { 0 };

		for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++) {
			uint64_t bit = UINT64_C(1) << (b->number % 64);

			if (b->tenant != t->id)
				continue;
			if ((seen[b->number / 64] & bit) != 0)
				return "N2 a pid block has two authorities";
			seen[b->number / 64] |= bit;
		}
	}
	return NULL;
}

static const char *recount_small(const struct naming_core *k)
{
	const struct naming_key *key;
	const struct naming_token *tok;
	const struct naming_port *p;
	const struct naming_volume *v;

	for (uint32_t i = 0; (key = naming_key_at(k, i)) != NULL; i++)
		if (naming_tenant_find(k, key->tenant) == NULL ||
		    naming_key_find(k, key->fingerprint) != key)
			return "N3 an ssh key is in twice, or of no tenant";
	for (uint32_t i = 0; (tok = naming_token_at(k, i)) != NULL; i++)
		if (tok->uses_left == 0 || naming_token_find(k, tok->hash) != tok)
			return "N6 a token is in twice, or used up";
	for (uint32_t i = 0; (p = naming_port_at(k, i)) != NULL; i++)
		if (naming_tenant_find(k, p->tenant) == NULL ||
		    naming_node_find(k, p->node) == NULL ||
		    naming_port_find(k, p->tenant, p->kind, p->number, p->name) != p)
			return "N3 a port is bound twice, or by nobody";
	for (uint32_t i = 0; (v = naming_volume_at(k, i)) != NULL; i++)
		if ((v->tenant != TENANT_NONE && naming_tenant_find(k, v->tenant) == NULL) ||
		    naming_volume_find(k, v->tenant, v->name) != v)
			return "N3 two volumes share a name";
	return NULL;
}

static const char *recount_clients(const struct naming_core *k)
{
	const struct naming_table *t = &k->table[TABLE_CLIENTS];
	const struct naming_client *c;
	const struct naming_client *d;

	for (uint32_t i = 0; (c = table_at(t, i)) != NULL; i++) {
		if (c->id == 0 || c->used_ms > k->now_ms)
			return "N7 a client that never sent anything";
		for (uint32_t j = 0; j < i; j++) {
			d = table_at(t, j);
			if (d->id == c->id)
				return "N7 a client is in twice";
		}
		for (unsigned s = 0; s < NAMING_CLIENT_WINDOW; s++) {
			uint64_t seq = c->slot[s].seq;

			if (seq > c->acked && (seq - c->acked > NAMING_CLIENT_WINDOW ||
					       seq % NAMING_CLIENT_WINDOW != s))
				return "N7 a result outside its client's window";
		}
	}
	return NULL;
}

const char *naming_core_recount(const struct naming_core *k)
{
	const char *(*const part[])(const struct naming_core *) = {
		recount_nodes, recount_tenants, recount_blocks,
		recount_small, recount_clients, naming_loans_recount,
	};

	for (size_t i = 0; i < ARRAY_LEN(part); i++) {
		const char *broken = part[i](k);

		if (broken != NULL)
			return broken;
	}
	return NULL;
}
