/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.h - what the parts of a simulated guest kernel show each other.
 *
 * Whatever carries out effects may find the kernel dead afterwards (kernel_fault): a caller that
 * goes on looks at n->kernel_up and n->life first.
 */
#ifndef SIM_KERNEL_H
#define SIM_KERNEL_H

#include "sim/cluster.h"

/* ---- moves.c: migrate/core's source and target ---- */
struct src_slot *moves_source(struct knode *n, gpid pid);
struct dst_slot *moves_target(struct knode *n, gpid pid);
void moves_step_source(struct sim *s, struct knode *n, struct src_slot *slot, struct mig_ev *ev);
void moves_step_target(struct sim *s, struct knode *n, struct dst_slot *slot, struct mig_ev *ev);
void moves_on_prepare(struct sim *s, struct knode *n, const struct kmsg *k);
void moves_on_image(struct sim *s, struct knode *n, struct kmsg *k);
void moves_on_page(struct sim *s, struct knode *n, const struct kmsg *k);
void moves_node_dead(struct sim *s, struct knode *n, node_id dead);
/* A held copy becomes a stub again. */
void moves_drop(struct sim *s, struct knode *n, gpid pid);
/* The kernel dies; its successor goes on from the notes. False: it has died on the way. */
void moves_forget(struct sim *s, struct knode *n);
bool moves_adopt(struct sim *s, struct knode *n);

/* ---- records.c: migrate/core's authority ---- */
void records_msg(struct sim *s, struct knode *n, const struct mig_msg *m);
void records_on_fence(struct sim *s, struct knode *n, const struct mig_msg *m);
void records_forget(struct knode *n);
void records_adopt(struct sim *s, struct knode *n);

/* ---- stubs.c: migrate/core's kin ---- */
/* What the target of a move must know: the closure of @pid with its children, as it is here. */
uint32_t stubs_list(struct knode *n, gpid pid, struct kin_entry *out, uint32_t max);
/*
 * Makes what @pid needs here and turns its stub into a held process; again with newer facts, which
 * change @list. Errors: of kin_plan_arrive(); -EINTR, the kernel has died on the way.
 */
must_check int stubs_arrive(struct sim *s, struct knode *n, gpid pid, struct kin_entry *list,
			    uint32_t list_n);
/* Children that the source does not tell of have been waited for there. */
void stubs_reconcile(struct sim *s, struct knode *n, gpid pid, const struct kin_entry *list,
		     uint32_t list_n);

#endif
