/* SPDX-License-Identifier: Apache-2.0 */
#include "naming/core/tables.h"

#include <string.h>

#include "base/check.h"

const struct naming_sizes naming_sizes_default = {
	.nodes_max = 1024,
	.tenants_max = 1024,
	.keys_max = 16384,
	.tokens_max = 256,
	.blocks_max = 8192,
	.ports_max = 4096,
	.volumes_max = 512,
	.clients_max = 1280,
	.loans_max = 8192,
};

static const uint32_t row_bytes[NAMING_KIND_COUNT] = {
	[TABLE_CLIENTS] = sizeof(struct naming_client),
	[NAMING_NODE] = sizeof(struct naming_node),
	[NAMING_TENANT] = sizeof(struct naming_tenant),
	[NAMING_KEY] = sizeof(struct naming_key),
	[NAMING_TOKEN] = sizeof(struct naming_token),
	[NAMING_BLOCK] = sizeof(struct naming_block),
	[NAMING_PORT] = sizeof(struct naming_port),
	[NAMING_VOLUME] = sizeof(struct naming_volume),
	[NAMING_LOAN] = sizeof(struct naming_loan),
};

static uint32_t rows_max(const struct naming_sizes *s, unsigned kind)
{
	const uint32_t max[NAMING_KIND_COUNT] = {
		[TABLE_CLIENTS] = s->clients_max, [NAMING_NODE] = s->nodes_max,
		[NAMING_TENANT] = s->tenants_max, [NAMING_KEY] = s->keys_max,
		[NAMING_TOKEN] = s->tokens_max,   [NAMING_BLOCK] = s->blocks_max,
		[NAMING_PORT] = s->ports_max,     [NAMING_VOLUME] = s->volumes_max,
		[NAMING_LOAN] = s->loans_max,
	};

	return max[kind];
}

static uint32_t key_slots_count(const struct naming_sizes *s)
{
	uint32_t n = 16;

	while (n < 2 * s->keys_max)
		n *= 2;
	return n;
}

size_t naming_core_bytes(const struct naming_sizes *s)
{
	size_t n = ALIGN_UP(sizeof(struct naming_core), 8);

	for (unsigned i = 1; i < NAMING_KIND_COUNT; i++)
		n += ALIGN_UP((size_t)rows_max(s, i) * row_bytes[i], 8);
	return n + key_slots_count(s) * sizeof(uint32_t);
}

void naming_core_clear(struct naming_core *k)
{
	k->now_ms = 0;
	memset(&k->machine, 0, sizeof(k->machine));
	k->next_node = 1;
	k->next_tenant = 1;
	k->next_host_id = NAMING_HOST_ID_FIRST;
	k->last_serial = 0;
	for (unsigned i = 1; i < NAMING_KIND_COUNT; i++)
		k->table[i].count = 0;
	naming_keys_index(k);
}

struct naming_core *naming_core_init(void *mem, const struct naming_sizes *s)
{
	struct naming_core *k = mem;
	uint8_t *at = (uint8_t *)mem + ALIGN_UP(sizeof(*k), 8);

	k->sizes = *s;
	for (unsigned i = 1; i < NAMING_KIND_COUNT; i++) {
		k->table[i].rows = at;
		k->table[i].row_bytes = row_bytes[i];
		k->table[i].max = rows_max(s, i);
		at += ALIGN_UP((size_t)k->table[i].max * row_bytes[i], 8);
	}
	k->key_slots = (uint32_t *)(void *)at;
	k->key_slots_count = key_slots_count(s);
	naming_core_clear(k);
	return k;
}

void *naming_table_add(struct naming_table *t)
{
	void *row;

	if (t->count == t->max)
		return NULL;
	row = t->rows + (size_t)t->count++ * t->row_bytes;
	memset(row, 0, t->row_bytes);
	return row;
}

void naming_table_del(struct naming_table *t, void *row)
{
	uint8_t *p = row;
	uint8_t *end = t->rows + (size_t)t->count * t->row_bytes;

	CHECK(p >= t->rows && p < end);
	memmove(p, p + t->row_bytes, (size_t)(end - p) - t->row_bytes);
	t->count--;
}

/* Row of a table whose rows start with a growing 32-bit id. */
static void *find_id(const struct naming_table *t, uint32_t id)
{
	uint32_t low = 0;
	uint32_t high = t->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		void *row = table_at(t, mid);
		uint32_t have;

		memcpy(&have, row, sizeof(have));
		if (have == id)
			return row;
		if (have < id)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

struct naming_node *naming_core_node(struct naming_core *k, node_id id)
{
	return find_id(&k->table[NAMING_NODE], id);
}

struct naming_tenant *naming_core_tenant(struct naming_core *k, tenant_id id)
{
	return find_id(&k->table[NAMING_TENANT], id);
}

const struct naming_machine *naming_machine(const struct naming_core *k)
{
	return &k->machine;
}

uint64_t naming_time_ms(const struct naming_core *k)
{
	return k->now_ms;
}

const struct naming_node *naming_node_find(const struct naming_core *k, node_id id)
{
	return find_id(&k->table[NAMING_NODE], id);
}

const struct naming_tenant *naming_tenant_find(const struct naming_core *k, tenant_id id)
{
	return find_id(&k->table[NAMING_TENANT], id);
}

/* A name is free again when its node has left. */
const struct naming_node *naming_node_find_name(const struct naming_core *k, const char *name)
{
	const struct naming_node *n;

	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++)
		if (n->state != NAMING_NODE_LEFT && strcmp(n->name, name) == 0)
			return n;
	return NULL;
}

const struct naming_tenant *naming_tenant_find_name(const struct naming_core *k, const char *name)
{
	const struct naming_tenant *t;

	for (uint32_t i = 0; (t = naming_tenant_at(k, i)) != NULL; i++)
		if (strcmp(t->name, name) == 0)
			return t;
	return NULL;
}

/* A fingerprint is a hash already. */
static uint32_t key_hash(const struct naming_core *k, const uint8_t *fingerprint)
{
	uint32_t h;

	memcpy(&h, fingerprint, sizeof(h));
	return h & (k->key_slots_count - 1);
}

const struct naming_key *naming_key_find(const struct naming_core *k,
					 const uint8_t fingerprint[NAMING_KEY_BYTES])
{
	uint32_t at = key_hash(k, fingerprint);

	for (; k->key_slots[at] != 0; at = (at + 1) & (k->key_slots_count - 1)) {
		const struct naming_key *key = naming_key_at(k, k->key_slots[at] - 1);

		if (key != NULL && memcmp(key->fingerprint, fingerprint, NAMING_KEY_BYTES) == 0)
			return key;
	}
	return NULL;
}

void naming_keys_note(struct naming_core *k, uint32_t i)
{
	uint32_t at = key_hash(k, naming_key_at(k, i)->fingerprint);

	while (k->key_slots[at] != 0)
		at = (at + 1) & (k->key_slots_count - 1);
	k->key_slots[at] = i + 1;
}

void naming_keys_index(struct naming_core *k)
{
	memset(k->key_slots, 0, k->key_slots_count * sizeof(k->key_slots[0]));
	for (uint32_t i = 0; i < k->table[NAMING_KEY].count; i++)
		naming_keys_note(k, i);
}

const struct naming_token *naming_token_find(const struct naming_core *k,
					     const uint8_t hash[NAMING_KEY_BYTES])
{
	const struct naming_token *t;

	for (uint32_t i = 0; (t = naming_token_at(k, i)) != NULL; i++)
		if (memcmp(t->hash, hash, NAMING_KEY_BYTES) == 0)
			return t;
	return NULL;
}

const struct naming_block *naming_block_find(const struct naming_core *k, tenant_id t,
					     uint32_t number)
{
	const struct naming_block *b;

	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++)
		if (b->tenant == t && b->number == number)
			return b;
	return NULL;
}

static bool lives(const struct naming_core *k, node_id id, epoch_t life)
{
	const struct naming_node *n = naming_node_find(k, id);

	return n != NULL && n->state != NAMING_NODE_LEFT && n->epoch == life;
}

bool naming_block_kept(const struct naming_core *k, const struct naming_block *b)
{
	return lives(k, b->authority, b->life);
}

bool naming_block_homed(const struct naming_core *k, const struct naming_block *b)
{
	return lives(k, b->home, b->born);
}

const struct naming_port *naming_port_find(const struct naming_core *k, tenant_id t, uint32_t kind,
					   uint32_t number, const char *name)
{
	const struct naming_port *p;

	for (uint32_t i = 0; (p = naming_port_at(k, i)) != NULL; i++)
		if (p->tenant == t && p->kind == kind && p->number == number &&
		    strcmp(p->name, name) == 0)
			return p;
	return NULL;
}

const struct naming_volume *naming_volume_find(const struct naming_core *k, tenant_id t,
					       const char *name)
{
	const struct naming_volume *v;

	for (uint32_t i = 0; (v = naming_volume_at(k, i)) != NULL; i++)
		if (v->tenant == t && strcmp(v->name, name) == 0)
			return v;
	return NULL;
}

const struct naming_loan *naming_loan_find(const struct naming_core *k, tenant_id t, node_id node)
{
	const struct naming_loan *l;

	for (uint32_t i = 0; (l = naming_loan_at(k, i)) != NULL; i++)
		if (l->tenant == t && l->node == node)
			return l;
	return NULL;
}

const struct naming_node *naming_node_at(const struct naming_core *k, uint32_t i)
{
	return table_at(&k->table[NAMING_NODE], i);
}

const struct naming_tenant *naming_tenant_at(const struct naming_core *k, uint32_t i)
{
	return table_at(&k->table[NAMING_TENANT], i);
}

const struct naming_key *naming_key_at(const struct naming_core *k, uint32_t i)
{
	return table_at(&k->table[NAMING_KEY], i);
}

const struct naming_token *naming_token_at(const struct naming_core *k, uint32_t i)
{
	return table_at(&k->table[NAMING_TOKEN], i);
}

const struct naming_block *naming_block_at(const struct naming_core *k, uint32_t i)
{
	return table_at(&k->table[NAMING_BLOCK], i);
}

const struct naming_port *naming_port_at(const struct naming_core *k, uint32_t i)
{
	return table_at(&k->table[NAMING_PORT], i);
}

const struct naming_volume *naming_volume_at(const struct naming_core *k, uint32_t i)
{
	return table_at(&k->table[NAMING_VOLUME], i);
}

const struct naming_loan *naming_loan_at(const struct naming_core *k, uint32_t i)
{
	return table_at(&k->table[NAMING_LOAN], i);
}

bool naming_name_ok(const char *name, size_t max, bool underscore)
{
	size_t i;

	for (i = 0; i < max && name[i] != '\0'; i++) {
		char c = name[i];
		bool letter = (c >= 'a' && c <= 'z') || (underscore && c == '_');
		bool later = (c >= '0' && c <= '9') || c == '-';

		if (!letter && !(i > 0 && later))
			return false;
	}
	return i > 0 && i < max;
}
