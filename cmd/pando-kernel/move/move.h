/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.h - moves of running processes: the adapter of migrate/core to this kernel. Private to
 * pando-kernel.
 *
 *	leave.c      the source's machines      come.c   the target's
 *	move.c       messages and notes         carry.c  descriptors
 *	authority.c  records                    mover.c  the threads that copy
 *	ship.c       images on their way        fence.c  what a new authority is told
 *	wish.c       moves that are asked for
 */
#ifndef PANDO_KERNEL_MOVE_H
#define PANDO_KERNEL_MOVE_H

#include "cmd/pando-kernel/move/mover.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/proc/peer.pb-c.h"
#include "migrate/core/move.h"

/* Patience for a busy machine; what is lost by it is the time of a node's death. */
extern const struct mig_conf move_conf;

/* ---- move.c ---- */
/* One-way, also to ourselves; may be lost. Never calls back at once. */
void move_send(struct world *w, node_id to, const struct mig_msg *m);
void move_send_more(struct world *w, node_id to, const struct mig_msg *m, Peer__Task **kin,
		    size_t n_kin, const char *why);
enum move_side { MOVE_SOURCE, MOVE_TARGET };
/* Machines on a node, of each side: half of what can be noted. */
#define MOVES_MAX (KEPT_NOTES / 2)
/* Safe from our death when they return. */
void move_note(struct world *w, enum move_side side, const struct mig_note *note);
void move_unnote(struct world *w, enum move_side side, gpid pid);

/* ---- wish.c ---- */
struct move_wish {
	struct world *w;
	gpid pid;
	node_id to;
	bool by_itself;
	moved_fn done;
	void *arg;
	uint64_t busy_end_ns; /* until then it is tried again if what forbids it will not last */
};
/* In a moment, from its start. False: that was long enough. */
bool move_again(const struct move_wish *x);

/* ---- leave.c ---- */
/* @node_pid: the node's number of it. Its end is told to who wishes it. -ENOMEM. */
must_check int leave_begin(const struct move_wish *wish, pid_t node_pid);
bool leaves_are_full(void);
bool leave_is_any(void);
bool leave_is_busy(const struct world *w, gpid pid);
bool leave_is_between(const struct world *w, gpid pid);
/* False: no machine for it. */
bool leave_message(struct world *w, const struct mig_msg *m, const char *why);
void leave_disconnected(struct world *w, node_id node);
/* @life: of the other end, in which it was begun. */
void leave_adopt(struct world *w, const struct mig_note *note, epoch_t life);

/* Moves of pids that a newer authority has fenced are told of it. */
void leaves_fenced(struct world *w);
void comes_fenced(struct world *w);
/* How each stands to its pid, for a new authority. */
void leaves_stand(void (*cb)(void *arg, const struct mig_stand *st), void *arg);
void comes_stand(void (*cb)(void *arg, const struct mig_stand *st), void *arg);

/* ---- why.c ---- */
/* Adds a line for each reason that forbids a move of @pid besides what the process is. */
void move_forbids(struct world *w, gpid pid, struct buf *reasons);

/* ---- come.c ---- */
bool come_message(struct world *w, const struct mig_msg *m);
/* Its site has told that it ended there. */
void come_ended(struct world *w, gpid pid);
void come_disconnected(struct world *w, node_id node);
void come_prepare(struct world *w, const struct mig_msg *m, const Peer__Move *q);
void come_open(struct world *w);
void come_adopt(struct world *w, const struct mig_note *note, epoch_t life);
/* The host's @pid is of one that comes. */
bool come_has(pid_t pid);

/* ---- rest.c: what a predecessor held without a note; when those with one are adopted ---- */
void rest_adopt(struct world *w);

/* ---- carry.c: descriptors of a process that moves ---- */
struct carry {
	struct world *w;
	struct mover *mover;
	gpid pid;
	node_id source, target;
	bool asking;        /* only whether they could be carried */
	struct buf streams; /* uint64_t each: kept until the move has ended */
};
/* It has ended, one way or the other. */
void carry_end(struct carry *c);
extern const struct image_hooks carry_hooks;

#endif
