/* SPDX-License-Identifier: Apache-2.0 */
/*
 * naming_world.h - several naming replicas in one process: virtual time, a network
 * that loses, delays and parts, disks that tear the write in flight when their node
 * dies. Same seed, same history. Checks while it runs that all nodes apply the
 * same entry at the same index, and that tables at the same index are equal.
 */
#ifndef TESTS_LIB_NAMING_WORLD_H
#define TESTS_LIB_NAMING_WORLD_H

#include "base/list.h"
#include "base/rand.h"
#include "naming/raft/replica.h"

#define WORLD_NODES 6 /* ids 1 .. 5 */

struct world_file {
	uint64_t number;
	uint8_t *bytes;
	size_t len;
};

struct world_disk {
	struct world_file segments[64];
	size_t segment_count;
	struct world_file snapshots[8];
	size_t snapshot_count;
	bool full;
	unsigned slow_ms; /* added to each write */
	/* in flight */
	const uint8_t *log_bytes;
	size_t log_len;
	uint64_t log_segment, log_offset, log_done_ms;
	const uint8_t *snap_bytes;
	size_t snap_len;
	uint64_t snap_index, snap_done_ms;
};

struct world;
struct world_node {
	struct world *w;
	node_id id;
	bool first;
	bool member; /* has joined: may be started */
	struct naming_replica *r;
	struct world_disk disk;
	uint64_t checked; /* entries compared up to here */
	unsigned lives;
	const char *why; /* it could not start */
};

struct world_msg {
	struct list link;
	uint64_t due_ms;
	node_id from, to;
	size_t len;
	uint8_t bytes[];
};

#define WORLD_TOKENS 8192
struct world_answer {
	bool got;
	int err;
	struct naming_result r;
};

struct world {
	struct rand rng;
	uint64_t now_ms;
	struct world_node node[WORLD_NODES];
	struct list net;
	unsigned loss_permille;
	unsigned delay_max_ms;
	unsigned parted;   /* bit per node id: these hear only each other */
	uint64_t *history; /* checksum of the entry applied at each index */
	size_t history_len;
	struct world_answer *answer; /* by token */
	uint64_t token_next;
	uint32_t segment_bytes;
	unsigned snapshot_entries;
	uint64_t hash; /* of everything that happened, for replay */
	unsigned long sent;
	const char *broken; /* what a check found */
};

struct world *world_new(uint64_t seed);
void world_free(struct world *w);

void world_start(struct world *w, node_id id);
/* kill -9: the write in flight may be torn into any set of sectors. */
void world_kill(struct world *w, node_id id);
/* Lets @ms pass. */
void world_run(struct world *w, unsigned ms);
/* Runs until @done or @ms passed; returns whether it was done. */
bool world_until(struct world *w, unsigned ms, bool (*done)(struct world *w, uint64_t arg),
		 uint64_t arg);

/* Proposes at node @id; returns the token, 0: refused at once. */
uint64_t world_propose(struct world *w, node_id id, const struct naming_cmd *cmd,
		       unsigned timeout_ms);
bool world_answered(struct world *w, uint64_t token);
/* Proposes and waits. Returns err of the answer or of the result. */
int world_do(struct world *w, node_id id, const struct naming_cmd *cmd, struct naming_result *r);

/* Machine of @n nodes, all running. */
void world_grow(struct world *w, unsigned n);
node_id world_leader(const struct world *w);
/* All running nodes have applied the same index and have equal tables. */
bool world_same(struct world *w, uint64_t unused);
struct naming_cmd world_cmd(enum naming_cmd_kind kind, const char *name);
const char *world_name(const char *prefix, unsigned n);

#endif
