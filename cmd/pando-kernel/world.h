/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.h - the parts of a guest kernel and how they are put together. Private to pando-kernel.
 *
 * Everything belongs to the loop's thread, but for what notify_decide_fn says (calls.c). Nothing
 * here is worth keeping: a successor makes it again from pando-init's store, the slots and /proc.
 */
#ifndef PANDO_KERNEL_WORLD_H
#define PANDO_KERNEL_WORLD_H

#include "base/loop.h"
#include "base/types.h"
#include "cmd/pando-kernel/pid1.h"
#include "kernel/host/notify.h"
#include "kernel/proc/proc.h"
#include "rpc/rpc.h"

#define NODES_MAX 1024

struct world_node {
	node_id id;
	char name[NODE_NAME_MAX];
	bool alive;
	uint32_t cpu_milli;
	uint32_t load_milli;
	uint64_t memory_bytes;
	uint64_t free_bytes;
};

struct world {
	tenant_id tenant;
	node_id node;
	char tenant_name[TENANT_NAME_MAX];
	char node_name[NODE_NAME_MAX];

	struct loop *loop;
	struct pid1 *pid1;
	struct notify *notify;
	struct proc_view view;

	struct rpc *pod_rpc;
	struct rpc_conn *pod; /* NULL: pandod is away */

	bool has_pids; /* at least one block was given to pando-init */
	bool pids_asked;
	uint64_t pids_due_ns; /* not before */
	struct loop_timer pids_again;

	struct list sessions;
	struct list starts; /* sessions that wait for a pid block */

	struct world_node nodes[NODES_MAX];
	size_t node_count;
};

/* ---- calls.c: the guests' calls ---- */
must_check int calls_open(struct world *w);
/* Takes the listener out of the store, if there is one yet. */
void calls_listen(struct world *w);

/* ---- pod.c: the connection to pandod ---- */
must_check int pod_open(struct world *w, int fd);
/* A new pandod has put its connection into the store. */
void pod_replace(struct world *w);
/* Asks pandod for a block of pids, unless that is under way. */
void pod_want_pids(struct world *w);

/* ---- session.c: session leaders ---- */
must_check int session_adopt(struct world *w);
void session_serve(struct world *w);
/* pandod is there (again): tell what it has not acknowledged. */
void session_tell_all(struct world *w);
void session_pids_came(struct world *w);
void session_exited(struct world *w, gpid pid, int status, uint64_t event);
unsigned session_count(const struct world *w);

/* ---- answers.c: what pandod may ask ---- */
void answers_serve(struct world *w);
/* rpc_reply() that logs what goes wrong; @call may be NULL (a one-way message). */
void answers_reply(struct rpc_call *call, int err, const struct rpc_msg *m);

#endif
