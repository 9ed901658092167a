/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply.h - a command under way, and the ones that have a file of their own. Private to
 * naming/core.
 *
 * A command checks first and changes then: on an error (-errno) the tables are as they were.
 */
#ifndef NAMING_CORE_APPLY_H
#define NAMING_CORE_APPLY_H

#include <errno.h>
#include <string.h>

#include "base/attr.h"
#include "naming/core/tables.h"

struct apply {
	struct naming_core *k;
	const struct naming_cmd *cmd;
	struct naming_result *r;
	struct naming_change *c;
};

static inline void apply_changed(struct apply *a, unsigned kind, uint32_t id)
{
	a->c->kinds |= naming_kind_bit(kind);
	if (id != 0)
		a->c->id = id;
}

static inline bool apply_terminated(const char *s, size_t max)
{
	return memchr(s, '\0', max) != NULL;
}

static inline bool apply_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != 0)
			return false;
	return true;
}

/* There is a machine: the first command has made it. */
static inline bool apply_created(const struct naming_core *k)
{
	return !apply_zero(k->machine.id, sizeof(k->machine.id));
}

/* ---- apply_nodes.c: the machine, who may join it, its nodes ---- */
must_check int apply_create(struct apply *a);
must_check int apply_token_add(struct apply *a);
must_check int apply_token_remove(struct apply *a);
must_check int apply_node_join(struct apply *a);
must_check int apply_node_epoch(struct apply *a);
must_check int apply_node_addr(struct apply *a);
must_check int apply_node_drain(struct apply *a);
must_check int apply_node_leave(struct apply *a);
must_check int apply_node_left(struct apply *a);

#endif
