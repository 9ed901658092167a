/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member.h - membership as pandod uses it: the core (core/member.h) on a loop.
 *
 * Carries nothing itself: messages leave by ops.send and come in by
 * member_input(), over whatever connects the nodes, best effort. Who sent a
 * message must be proved; its bytes are checked here.
 *
 * Ownership: one loop. Errors: -errno. Callbacks come from the loop or from
 * member_input(), never from the other calls.
 */
#ifndef NAMING_MEMBER_MEMBER_H
#define NAMING_MEMBER_MEMBER_H

#include "base/loop.h"
#include "naming/member/core/member.h"

#define MEMBER_MSG_MAX 2048 /* bytes of one message */

struct membership;

struct member_ops {
	/* One message to another node; may be lost. */
	void (*send)(void *arg, node_id to, const void *msg, size_t len);
	/* @id answers, is suspected, or does not answer any more. */
	void (*changed)(void *arg, node_id id, enum member_state state);
	/* This node's load now; asked once a period. */
	void (*load)(void *arg, struct member_load *out);
};

/* @cfg may be NULL: periods of 1 s, 250 ms for an answer. */
must_check int membership_new(struct membership **out, struct loop *l, const struct member_cfg *cfg,
			      unsigned nodes_max, node_id self, epoch_t epoch,
			      const struct member_ops *ops, void *arg);
void membership_free(struct membership *m);

/* The nodes of the machine, from naming. Errors: -ENOSPC. */
must_check int membership_add(struct membership *m, node_id id, epoch_t epoch);
void membership_remove(struct membership *m, node_id id);

void membership_input(struct membership *m, node_id from, const void *msg, size_t len);

/* State and load of a node as known here; NULL: no member. */
const struct member *membership_find(const struct membership *m, node_id id);
/* Messages that made no sense. */
uint64_t membership_refused(const struct membership *m);

/* The wire form, for tests. -EPROTO; -ENOSPC. */
must_check int member_decode(struct member_msg *out, const void *bytes, size_t len);
must_check int member_encode(const struct member_msg *msg, void *bytes, size_t cap);

#endif
