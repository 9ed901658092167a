/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept.h - what a guest kernel's successor must know and nobody else can tell it. Private to
 * pando-kernel.
 *
 * One memfd in pando-init's store, mapped by each guest kernel in turn. A record is CHANGING while
 * its descriptors go into the store or out of it: a successor that finds it so finishes its end.
 * What it says holds before the effect that needs it (M0).
 */
#ifndef PANDO_KERNEL_KEPT_H
#define PANDO_KERNEL_KEPT_H

#include "base/types.h"
#include "kernel/ipc/relay.h"

#define KEPT_KEY   "kept"
#define KEPT_PIPES 1024

enum kept_state {
	KEPT_FREE = 0,
	KEPT_CHANGING,
	KEPT_THERE,
};

/* A relay; its descriptors are in the store as "pipe.INDEX.X" (pipes.c). */
struct kept_pipe {
	uint32_t state; /* enum kept_state */
	node_id peer;
	gpid pid;
	bool home;   /* we are the home of @pid */
	bool is_out; /* the writers are here */
	bool going;  /* its process executes: bytes may flow */
	bool pumped; /* between the relay and a terminal or a file of the guests is a pump */
	uint64_t id;
	struct relay_record rec;
};

struct kept {
	struct kept_pipe pipes[KEPT_PIPES];
};

/* What was stored before is seen before, by whoever comes after us. */
void kept_state_set(uint32_t *state, enum kept_state to);

#endif
