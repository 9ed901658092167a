/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest.c - what a predecessor held in a gate and had noted nothing of: a process that it froze for
 * a moment goes on, what it had half built is a stub again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cmd/pando-kernel/move/move.h"

static void on_rest(struct mover *m, enum mover_job job, int result)
{
	struct world *w = m->w;
	struct stub *s = stubs_find_node_pid(w->stubs, m->pid);

	if (result != 0 && result != -ESRCH)
		log_error("task %d is held: %s", m->pid, strerror(-result));
	if (s) {
		s->arriving = s->turning = false;
		site_reap_rest(w, s);
		site_look_again(w);
	}
	w->arriving--;
	mover_end(m);
	free(m);
	kin_tidy(w);
}

static void adopt_held(struct world *w, pid_t pid, enum mover_job job)
{
	struct mover *m = calloc(1, sizeof(*m));
	struct stub *s = stubs_find_node_pid(w->stubs, pid);

	if (!m)
		return;
	*m = (struct mover){ .w = w, .pid = pid, .done = on_rest, .pipe = -1 };
	if (mover_do(m, job) != 0) {
		free(m);
		return;
	}
	w->arriving++;
	if (s)
		s->arriving = true;
}

void rest_adopt(struct world *w)
{
	pid_t done[64];
	unsigned n = 0;
	uint32_t high = MIN(w->gates.mem->high, (uint32_t)GATE_SLOTS);

	for (uint32_t i = 0; i < high && n < ARRAY_LEN(done); i++) {
		const struct gate_slot *slot = &w->gates.mem->slot[i];
		bool again = slot->tid <= 0 || come_has(slot->pid);

		for (unsigned j = 0; j < n; j++)
			again |= done[j] == slot->pid;
		/* GATE_MOVE has a note, GATE_PLACE is an exec's that leaves (place.c). */
		if (again || slot->role == GATE_MOVE || slot->role == GATE_PLACE)
			continue;
		done[n++] = slot->pid;
		adopt_held(w, slot->pid, slot->role == GATE_CALL ? MOVER_THAW : MOVER_UNBUILD);
	}
}
