/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replica.h - one node's part of naming, without input or output.
 *
 * What the daemon (naming/naming.c) and the simulator both drive: raft by libraft's
 * raft_step, our log, the tables, forwarded commands, feeds for nodes without a
 * vote, and who has a vote. Events come in by the functions below; effects go out
 * through `naming_replica_ops`, which are called from inside of them and must not
 * call back. It allocates; it reads no clock and draws no randomness but cfg->seed.
 *
 * A turn is: naming_replica_time(), any number of events, naming_replica_flush().
 * Only flush writes and submits: the commands of one turn become one raft entry,
 * the records of one turn one frame on disk.
 *
 * Order, which safety hangs on: a message waits until a change of term or vote that
 * came before it is durable; entries are told raft as persisted when they are.
 * Entries leave for followers while the leader's own disk still writes them
 * (Ongaro, "Consensus: bridging theory and practice", 10.2.1).
 *
 * Invariants:
 *   R1  applied never goes back, and each index is applied once
 *   R2  nothing is answered that is not applied here, so not committed
 *   R3  a server changes voters only after an entry of its own term was applied
 *   R4  no message leaves before what it says for us - a term, a vote, up to where we have the
 *       log - is durable
 */
#ifndef NAMING_RAFT_REPLICA_H
#define NAMING_RAFT_REPLICA_H

#include "naming/core/core.h"

struct naming_replica;

struct naming_replica_config {
	node_id self;
	bool first;      /* makes the machine: starts as its only voter if the log is empty */
	uint64_t client; /* random and nonzero, new in each life */
	uint64_t log_id; /* random and nonzero, for a new log */
	uint32_t seed;   /* raft's election jitter */
	const struct naming_sizes *sizes;
	unsigned voters_max; /* 3 or 5 */
	unsigned election_ms;
	unsigned heartbeat_ms;
	unsigned snapshot_entries; /* applied entries between snapshots */
	unsigned trailing_entries; /* kept behind one for followers that lag */
	uint32_t segment_bytes;    /* multiple of LOG_BLOCK, at least 64 KiB */
	uint32_t room_kib_min;     /* below it a disk is full */
};

struct naming_replica_ops {
	void (*send)(void *arg, node_id to, const uint8_t *bytes, size_t len);
	/* One at a time, until naming_replica_log_done(). @bytes live until then. A segment that
	 * is not there is made, zeroed, of segment_bytes. */
	void (*write_log)(void *arg, uint64_t segment, uint64_t offset, const uint8_t *bytes,
			  size_t len);
	/* One at a time, until naming_replica_snapshot_done(): a file that is whole or not there.
	 */
	void (*write_snapshot)(void *arg, uint64_t index, const uint8_t *bytes, size_t len);
	void (*remove_segment)(void *arg, uint64_t segment);
	void (*remove_snapshot)(void *arg, uint64_t index);
	/* @err as naming_done_fn; @r may be NULL then. */
	void (*answer)(void *arg, uint64_t token, int err, const struct naming_result *r);
	void (*changed)(void *arg, uint32_t kinds, uint32_t id);
	void (*status)(void *arg);
};

struct naming_file {
	uint64_t number; /* of the segment; index of the snapshot */
	const uint8_t *bytes;
	size_t len;
};

/* What the disk holds, in growing order. Borrowed during naming_replica_new(). */
struct naming_disk {
	const struct naming_file *segments;
	size_t segment_count;
	const struct naming_file *snapshots;
	size_t snapshot_count;
};

/*
 * Errors: -EBADMSG the log is damaged or does not reach its snapshot, see @why;
 * -ENOSPC the tables are too small for the snapshot; -ENOMEM.
 */
must_check int naming_replica_new(struct naming_replica **out,
				  const struct naming_replica_config *cfg,
				  const struct naming_disk *disk, uint64_t now_ms,
				  const struct naming_replica_ops *ops, void *arg,
				  const char **why);
/* Answers nothing; the caller drops its tokens. */
void naming_replica_free(struct naming_replica *r);

/* @now_ms: monotonic; @wall_ms: since 1970, for the stamps of a leader. */
void naming_replica_time(struct naming_replica *r, uint64_t now_ms, uint64_t wall_ms);
void naming_replica_flush(struct naming_replica *r);
/* When to come again at the latest, in the time of now_ms. */
uint64_t naming_replica_due_ms(const struct naming_replica *r);

void naming_replica_receive(struct naming_replica *r, node_id from, const uint8_t *bytes,
			    size_t len);
/* @err: 0, or -errno: the same write is asked for again a little later. */
void naming_replica_log_done(struct naming_replica *r, int err);
void naming_replica_snapshot_done(struct naming_replica *r, int err);
void naming_replica_room(struct naming_replica *r, uint64_t free_bytes);
/* Nodes to ask while nothing else is known: those of the ticket. */
void naming_replica_seeds(struct naming_replica *r, const node_id *ids, size_t n);

/* @token comes back in ops->answer. Errors: -EBUSY; -ENOMEM. */
must_check int naming_replica_propose(struct naming_replica *r, const struct naming_cmd *cmd,
				      uint64_t deadline_ms, uint64_t token);

const struct naming_core *naming_replica_core(const struct naming_replica *r);

enum naming_replica_role {
	NAMING_REPLICA_FED = 1, /* raft knows nothing of us; a voter feeds us */
	NAMING_REPLICA_FOLLOWER,
	NAMING_REPLICA_CANDIDATE,
	NAMING_REPLICA_LEADER,
};

struct naming_replica_info {
	enum naming_replica_role role;
	node_id leader;
	uint64_t term;
	uint64_t applied;
	uint64_t committed;
	uint64_t last_index;
	uint64_t snapshot_index;
	unsigned voter_count;
	node_id voters[16];
	int disk_err;
	uint64_t refused; /* messages that made no sense */
	uint64_t frames;  /* written */
};
void naming_replica_info(const struct naming_replica *r, struct naming_replica_info *i);

/* For checkers: the term of an entry that raft committed here and still holds, or 0; its bytes. */
uint64_t naming_replica_entry(const struct naming_replica *r, uint64_t index, const uint8_t **bytes,
			      size_t *len);

#endif
