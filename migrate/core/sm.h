/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sm.h - a state machine as a const table of legal moves. Header only.
 *
 * A row is a state: its name and the set of states it may turn into. An illegal
 * move is our own bug and CHECKed, never a peer's doing: what a peer sends is
 * looked at before the state changes. After dqlite's src/lib/sm.h.
 */
#ifndef MIGRATE_CORE_SM_H
#define MIGRATE_CORE_SM_H

#include "base/check.h"

#define SM_TO(state) (UINT32_C(1) << (state))

struct sm_row {
	const char *name;
	uint32_t next; /* SM_TO() of every state that may follow; 0: an end */
};

static inline void sm_move(const struct sm_row *table, uint32_t *state, uint32_t to)
{
	CHECK(table[*state].next & SM_TO(to));
	*state = to;
}

#endif
