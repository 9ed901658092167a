/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.c - the tables as bytes and back.
 *
 *	magic u32, version u32, scalars, then per table: kind u8, count u32, rows
 *
 * A row is its fields in the order of the tables below: numbers little-endian,
 * strings as length u16 and bytes. Rows keep their order, so a restored core goes
 * on exactly as the one it was taken from.
 */
#include <errno.h>
#include <string.h>

#include "base/mutant.h"
#include "naming/core/bytes.h"
#include "naming/core/tables.h"

#define SNAPSHOT_MAGIC   0x4e444e50u /* "PNDN" */
#define SNAPSHOT_VERSION 7u

enum field_type {
	F_NUMBER = 1, /* unsigned, of its size */
	F_BYTES,
	F_STRING, /* NUL-terminated in its place */
};

struct field {
	uint16_t offset;
	uint16_t bytes;
	enum field_type type;
};

#define FIELD(row, member, kind)                                                                   \
	{                                                                                          \
		offsetof(struct naming_##row, member), sizeof(((struct naming_##row *)0)->member), \
			kind                                                                       \
	}
#define END                                                                                        \
	{                                                                                          \
		0, 0, 0                                                                            \
	}

static const struct field machine_fields[] = {
	FIELD(machine, id, F_BYTES),
	FIELD(machine, name, F_STRING),
	FIELD(machine, epoch, F_NUMBER),
	FIELD(machine, created_ms, F_NUMBER),
	END,
};

static const struct field node_fields[] = {
	FIELD(node, id, F_NUMBER),
	FIELD(node, name, F_STRING),
	FIELD(node, addr, F_STRING),
	FIELD(node, key, F_BYTES),
	FIELD(node, epoch, F_NUMBER),
	FIELD(node, state, F_NUMBER),
	FIELD(node, down, F_NUMBER),
	FIELD(node, drain, F_NUMBER),
	FIELD(node, joined_ms, F_NUMBER),
	FIELD(node, since_ms, F_NUMBER),
	END,
};

static const struct field tenant_fields[] = {
	FIELD(tenant, id, F_NUMBER),
	FIELD(tenant, name, F_STRING),
	FIELD(tenant, host_id, F_NUMBER),
	FIELD(tenant, uid, F_NUMBER),
	FIELD(tenant, flags, F_NUMBER),
	FIELD(tenant, limits.cpu_milli, F_NUMBER),
	FIELD(tenant, limits.procs, F_NUMBER),
	FIELD(tenant, limits.memory_bytes, F_NUMBER),
	FIELD(tenant, limits.storage_bytes, F_NUMBER),
	FIELD(tenant, limits.cpu_weight, F_NUMBER),
	FIELD(tenant, next_block, F_NUMBER),
	FIELD(tenant, over, F_NUMBER),
	FIELD(tenant, block_epoch, F_NUMBER),
	FIELD(tenant, created_ms, F_NUMBER),
	END,
};

static const struct field key_fields[] = {
	FIELD(key, tenant, F_NUMBER),
	FIELD(key, fingerprint, F_BYTES),
	FIELD(key, line, F_STRING),
	END,
};

static const struct field token_fields[] = {
	FIELD(token, hash, F_BYTES),
	FIELD(token, expires_ms, F_NUMBER),
	FIELD(token, uses_left, F_NUMBER),
	END,
};

static const struct field block_fields[] = {
	FIELD(block, tenant, F_NUMBER),    FIELD(block, number, F_NUMBER),
	FIELD(block, authority, F_NUMBER), FIELD(block, epoch, F_NUMBER),
	FIELD(block, life, F_NUMBER),      FIELD(block, home, F_NUMBER),
	FIELD(block, born, F_NUMBER),      END,
};

static const struct field port_fields[] = {
	FIELD(port, tenant, F_NUMBER),
	FIELD(port, kind, F_NUMBER),
	FIELD(port, number, F_NUMBER),
	FIELD(port, name, F_STRING),
	FIELD(port, node, F_NUMBER),
	FIELD(port, owner, F_NUMBER),
	END,
};

static const struct field volume_fields[] = {
	FIELD(volume, tenant, F_NUMBER), FIELD(volume, name, F_STRING),
	FIELD(volume, kind, F_NUMBER),   FIELD(volume, node, F_NUMBER),
	FIELD(volume, path, F_STRING),   END,
};

static const struct field loan_fields[] = {
	FIELD(loan, tenant, F_NUMBER),
	FIELD(loan, node, F_NUMBER),
	FIELD(loan, epoch, F_NUMBER),
	FIELD(loan, serial, F_NUMBER),
	FIELD(loan, lent[0], F_NUMBER),
	FIELD(loan, lent[1], F_NUMBER),
	FIELD(loan, lent[2], F_NUMBER),
	FIELD(loan, need[0], F_NUMBER),
	FIELD(loan, need[1], F_NUMBER),
	FIELD(loan, need[2], F_NUMBER),
	END,
};

static const struct field *const row_fields[NAMING_KIND_COUNT] = {
	[NAMING_NODE] = node_fields,     [NAMING_TENANT] = tenant_fields,
	[NAMING_KEY] = key_fields,       [NAMING_TOKEN] = token_fields,
	[NAMING_BLOCK] = block_fields,   [NAMING_PORT] = port_fields,
	[NAMING_VOLUME] = volume_fields, [NAMING_LOAN] = loan_fields,
};

static void put_row(struct bytes_out *o, const struct field *f, const uint8_t *row)
{
	for (; f->type != 0; f++) {
		const uint8_t *at = row + f->offset;
		size_t n;
		uint64_t v = 0;

		switch (f->type) {
		case F_NUMBER:
			/* Rows are ours, and this is a little-endian machine or the build fails. */
			memcpy(&v, at, f->bytes);
			bytes_put_le(o, v, f->bytes);
			break;
		case F_BYTES:
			bytes_put(o, at, f->bytes);
			break;
		case F_STRING:
			n = strlen((const char *)at);
			bytes_put_le(o, n, 2);
			bytes_put(o, at, n);
			break;
		}
	}
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "put_row and get_row copy numbers");

static bool get_row(struct bytes_in *in, const struct field *f, uint8_t *row)
{
	for (; f->type != 0; f++) {
		size_t n = f->type == F_STRING ? bytes_get_le(in, 2) : f->bytes;
		const uint8_t *p;

		if (f->type == F_STRING && n >= f->bytes)
			return false;
		p = bytes_take(in, n);
		if (p == NULL)
			return false;
		if (f->type == F_STRING && memchr(p, '\0', n) != NULL)
			return false;
		memcpy(row + f->offset, p, n);
	}
	return true;
}

static void put_client(struct bytes_out *o, const struct naming_client *c)
{
	unsigned used = 0;

	for (unsigned i = 0; i < NAMING_CLIENT_WINDOW; i++)
		used += c->slot[i].seq > c->acked;
	bytes_put_le(o, c->id, 8);
	bytes_put_le(o, c->acked, 8);
	bytes_put_le(o, c->used_ms, 8);
	bytes_put_le(o, used, 1);
	for (unsigned i = 0; i < NAMING_CLIENT_WINDOW; i++) {
		const struct naming_slot *s = &c->slot[i];

		if (s->seq <= c->acked)
			continue;
		bytes_put_le(o, s->seq, 8);
		bytes_put_le(o, (uint32_t)s->result.err, 4);
		bytes_put_le(o, s->result.id, 4);
		bytes_put_le(o, s->result.value, 8);
		bytes_put_le(o, s->result.epoch, 8);
	}
}

static bool get_client(struct bytes_in *in, struct naming_client *c)
{
	unsigned used;

	c->id = bytes_get_le(in, 8);
	c->acked = bytes_get_le(in, 8);
	c->used_ms = bytes_get_le(in, 8);
	used = (unsigned)bytes_get_le(in, 1);
	for (unsigned i = 0; i < used; i++) {
		uint64_t seq = bytes_get_le(in, 8);
		struct naming_slot *s = &c->slot[seq % NAMING_CLIENT_WINDOW];

		if (in->overrun || s->seq != 0)
			return false;
		s->seq = seq;
		s->result.err = (int32_t)bytes_get_le(in, 4);
		s->result.id = (uint32_t)bytes_get_le(in, 4);
		s->result.value = bytes_get_le(in, 8);
		s->result.epoch = bytes_get_le(in, 8);
	}
	return !in->overrun;
}

static void put_all(struct bytes_out *o, const struct naming_core *k)
{
	bytes_put_le(o, SNAPSHOT_MAGIC, 4);
	bytes_put_le(o, SNAPSHOT_VERSION, 4);
	bytes_put_le(o, k->now_ms, 8);
	bytes_put_le(o, k->next_node, 4);
	bytes_put_le(o, k->next_tenant, 4);
	bytes_put_le(o, k->next_host_id, 4);
	bytes_put_le(o, k->last_serial, 8);
	put_row(o, machine_fields, (const uint8_t *)&k->machine);
	for (unsigned kind = 1; kind < NAMING_KIND_COUNT; kind++) {
		const struct naming_table *t = &k->table[kind];

		bytes_put_le(o, kind, 1);
		bytes_put_le(o, t->count, 4);
		for (uint32_t i = 0; i < t->count; i++) {
			if (kind == TABLE_CLIENTS)
				put_client(o, table_at(t, i));
			else
				put_row(o, row_fields[kind], table_at(t, i));
		}
	}
}

size_t naming_core_snapshot_bytes(const struct naming_core *k)
{
	struct bytes_out o = { 0 };

	put_all(&o, k);
	return o.len;
}

size_t naming_core_snapshot(const struct naming_core *k, uint8_t *out, size_t cap)
{
	struct bytes_out o = { .at = out, .cap = cap };

	put_all(&o, k);
	return o.overrun ? 0 : o.len;
}

static int get_table(struct naming_core *k, struct bytes_in *in, unsigned kind)
{
	struct naming_table *t = &k->table[kind];
	uint32_t count;

	if (bytes_get_le(in, 1) != kind)
		return -EBADMSG;
	count = (uint32_t)bytes_get_le(in, 4);
	if (count > t->max)
		return -ENOSPC;
	while (t->count < count) {
		void *row = naming_table_add(t);
		bool good = kind == TABLE_CLIENTS ? get_client(in, row)
						  : get_row(in, row_fields[kind], row);

		if (!good)
			return -EBADMSG;
	}
	return 0;
}

static int get_all(struct naming_core *k, struct bytes_in *in)
{
	int r = 0;

	if (bytes_get_le(in, 4) != SNAPSHOT_MAGIC || bytes_get_le(in, 4) != SNAPSHOT_VERSION)
		return -EBADMSG;
	k->now_ms = bytes_get_le(in, 8);
	k->next_node = (node_id)bytes_get_le(in, 4);
	k->next_tenant = (tenant_id)bytes_get_le(in, 4);
	k->next_host_id = (uint32_t)bytes_get_le(in, 4);
	k->last_serial = bytes_get_le(in, 8);
	memset(&k->machine, 0, sizeof(k->machine));
	if (!get_row(in, machine_fields, (uint8_t *)&k->machine))
		return -EBADMSG;
	for (unsigned kind = 1; r == 0 && kind < NAMING_KIND_COUNT; kind++)
		r = get_table(k, in, kind);
	if (r == 0 && (in->overrun || in->len != 0))
		r = -EBADMSG;
	if (MUTANT("naming.restore.forgets_answers"))
		k->table[TABLE_CLIENTS].count = 0;
	return r;
}

int naming_core_restore(struct naming_core *k, const uint8_t *bytes, size_t len)
{
	struct bytes_in in = { .at = bytes, .len = len };
	int r;

	naming_core_clear(k);
	r = get_all(k, &in);
	naming_keys_index(k);
	/* Whoever made these bytes did not keep the invariants if this finds one broken. */
	if (r == 0 && naming_core_recount(k) != NULL)
		r = -EBADMSG;
	if (r != 0)
		naming_core_clear(k);
	return r;
}
