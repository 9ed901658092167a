/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tables.h - the inside of a core: arrays of rows in the caller's memory.
 *
 * Rows keep their order; taking one out moves the later ones down. Ids are given
 * in growing order, so nodes and tenants are sorted by id and found by halving.
 */
#ifndef NAMING_CORE_TABLES_H
#define NAMING_CORE_TABLES_H

#include "naming/core/core.h"

struct naming_table {
	uint8_t *rows;
	uint32_t row_bytes;
	uint32_t count;
	uint32_t max;
};

struct naming_slot {
	uint64_t seq; /* 0: empty */
	struct naming_result result;
};

/* What one client's commands came to, so that a repeated one takes effect once. */
struct naming_client {
	uint64_t id;
	uint64_t acked;
	uint64_t used_ms;
	struct naming_slot slot[NAMING_CLIENT_WINDOW]; /* by seq modulo the window */
};

/* Tables by naming_kind; the machine's place is taken by the clients. */
#define TABLE_CLIENTS NAMING_MACHINE

struct naming_core {
	struct naming_sizes sizes;
	uint64_t now_ms;
	struct naming_machine machine;
	node_id next_node;
	tenant_id next_tenant;
	uint32_t next_host_id;
	uint64_t last_serial; /* of loans */
	struct naming_table table[NAMING_KIND_COUNT];
	/* Keys by fingerprint, open addressing: a row's number + 1, or 0. Made from the rows. */
	uint32_t *key_slots;
	uint32_t key_slots_count; /* a power of two, twice the rows at least */
};

static inline void *table_at(const struct naming_table *t, uint32_t i)
{
	return i < t->count ? t->rows + (size_t)i * t->row_bytes : NULL;
}

/* A zeroed row at the end, or NULL: full. */
void *naming_table_add(struct naming_table *t);
void naming_table_del(struct naming_table *t, void *row);
void naming_core_clear(struct naming_core *k);
/* The key at row @i was added; rows of keys were taken out or replaced. */
void naming_keys_note(struct naming_core *k, uint32_t i);
void naming_keys_index(struct naming_core *k);

struct naming_node *naming_core_node(struct naming_core *k, node_id id);
struct naming_tenant *naming_core_tenant(struct naming_core *k, tenant_id id);

/* ---- loans.c ---- */
/* The command, checked against the tables; tells the kinds that changed. */
int naming_loan_apply(struct naming_core *k, const struct naming_cmd *cmd, struct naming_result *r,
		      uint32_t *kinds);
/* The limits have changed: says what is lent too much, and gives to who waits. */
void naming_loans_settle(struct naming_core *k, struct naming_tenant *t);
/* A life of the node is over: so are its loans. True if it had any. */
bool naming_loans_drop(struct naming_core *k, node_id node);
const char *naming_loans_recount(const struct naming_core *k);

#endif
