/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deaths.h - the death of a node, as its tenant's processes on the others see it. Private to
 * pando-kernel.
 *
 * pandod tells each node's life (KERNEL_NODES). What a kernel keeps of another node it keeps with
 * the life that it was in; when that is over, whoever keeps it ends it, as often as it is told:
 *
 *	a process that executed there   its stub dies of SIGKILL, as the process did (remote.c)
 *	an exec under way there         may have executed: the same (place.c)
 *	a relay to there                ends, after what has arrived (pipes.c)
 *	a terminal of there             hangs up (carriers.c)
 *	a move to or from there         migrate/core says (leave.c, come.c, authority.c)
 *	what began there and executes
 *	  here                          goes on; nobody there is told how it ends (guests.c)
 *	what began there and has a
 *	  stub here                     is looked for on all nodes (deaths.c)
 *
 * The same is done when a node lives on that has lost its world of this tenant: its pando-init was
 * killed. That is told by the blocks of pids that it had leased: they are nobody's. What is kept of
 * it is of the life before from then on; pandod tells even ones only, so no other life is that.
 */
#ifndef PANDO_KERNEL_DEATHS_H
#define PANDO_KERNEL_DEATHS_H

#include "cmd/pando-kernel/world.h"

/* The nodes, or who keeps which pids, have changed; @before are the nodes as they were. */
void deaths_look(struct world *w, const struct world_node *before, size_t count);

/*
 * @pid has a stub here and its home is over: who executes it is found, and tells from then on how
 * it ends. @done may be NULL, then the stub of who is nowhere dies; else -ESRCH says so, and
 * -EAGAIN that it was on its way all the time.
 */
void deaths_seek(struct world *w, gpid pid, held_fn done, void *arg);
/* All such stubs; of those that hear from @node, unless that is NODE_NONE. */
void deaths_seek_all(struct world *w, node_id node);
void deaths_open(struct world *w);

/* ---- whoever keeps something of a node outside of kept.h: its life there becomes this one ---- */
void peers_world_lost(struct world *w, node_id node, epoch_t life);
void carriers_world_lost(struct world *w, node_id node, epoch_t life);
void terminals_world_lost(struct world *w, node_id node, epoch_t life);
void leaves_world_lost(struct world *w, node_id node, epoch_t life);
void comes_world_lost(struct world *w, node_id node, epoch_t life);

/* ---- whoever keeps something of a node: what of it is of a life that is over? ---- */
void peers_look_at_lives(struct world *w);
void pipes_look_at_lives(struct world *w);
void carriers_look_at_lives(struct world *w);
void terminals_look_at_lives(struct world *w);
void remotes_look_at_lives(struct world *w);
void leaves_look_at_lives(struct world *w);
void comes_look_at_lives(struct world *w);
/* What executed at @node, whose death has just been announced, has ended: no claim of it counts. */
void authority_node_died(struct world *w, node_id node);

#endif
