/* SPDX-License-Identifier: Apache-2.0 */
/* priv.h - the inside of a replica, shared by the files of this folder. */
#ifndef NAMING_RAFT_PRIV_H
#define NAMING_RAFT_PRIV_H

#include <raft.h>

#include "base/buf.h"
#include "base/list.h"
#include "naming/core/log.h"
#include "naming/raft/replica.h"
#include "naming/wire.h"

#define CHANGE_SERVERS_MAX 16u /* in a configuration */
#define PROPOSALS_MAX      4096u
#define FEED_BYTES_MAX     (256u << 10)
#define FEED_ENTRIES_MAX   256u
#define FEED_ASK_MS        1000u
#define FEED_SILENT_MS     2500u
#define FEED_LEASE_MS      3500u
#define DISK_RETRY_MS      100u
#define PENDING_BYTES_MAX  (8u << 20)

/* One log entry as raft knows it; data is ours (malloc). */
struct entry {
	uint64_t term;
	uint32_t type;
	uint8_t *data;
	size_t len;
};

/* Records waiting to be written as one frame; room for the header in front. */
struct frame {
	struct list link;
	struct buf bytes;
	uint64_t number;
	bool has_meta;
	uint64_t last_index; /* of the last entry in it; 0: none */
};

struct outgoing {
	struct list link;
	node_id to;
	uint64_t after; /* frame that must be durable first; 0: none */
	struct buf bytes;
};

struct segment {
	uint64_t number;
	uint64_t index_max; /* largest entry index in it */
};

/* A command from this node, until it is applied or given up. */
struct proposal {
	struct list link;
	uint64_t token;
	struct wire_stamped st;
	uint64_t deadline_ms;
	uint64_t send_ms; /* when to send (again) */
	unsigned sent;
	unsigned refused;    /* so often it was sent, and told that it was not taken */
	uint64_t refused_ms; /* since when there is no room for it; 0: there may be */
};

/* Which commands of a client the leader has put into its log in this term. */
struct taken {
	uint64_t client;
	uint64_t highest;
	uint64_t mask; /* bit i: highest - i */
};

struct queued {
	node_id from;
	struct naming_stamp stamp;
};

/* The newest commit of which a follower was told in a message of its own. */
struct told {
	node_id node;
	uint64_t index;
};

struct listener {
	node_id node;
	uint64_t next;
	uint64_t until_ms;
};

struct naming_replica {
	struct naming_replica_config cfg;
	struct naming_sizes sizes;
	const struct naming_replica_ops *ops;
	void *arg;
	uint64_t now_ms;
	uint64_t wall_ms;

	struct raft raft;
	bool offered; /* a snapshot is being received: what raft sends answers it */
	bool started; /* RAFT_START was given */
	bool applying;
	unsigned short role_seen;
	node_id leader_seen;
	uint64_t leaderless_ms; /* since when no leader is known */
	uint64_t led_ms;        /* a leader's last word */

	void *core_mem;
	struct naming_core *core;
	uint64_t applied; /* in the tables */
	uint64_t applied_term;
	uint64_t raft_done; /* raft's commits followed up to here */
	uint64_t committed_seen;
	bool answers_lost; /* the tables came by snapshot: look for results in them */

	/* the log in memory: entries log_first .. log_first + log_count - 1 */
	struct entry *log;
	uint64_t log_first;
	size_t log_count;
	size_t log_cap;

	/* the log on disk */
	struct log_pos pos;
	uint64_t meta_term;
	uint64_t meta_vote;
	struct list frames; /* closed and open ones not yet written, oldest first */
	struct frame *open;
	struct frame *writing;
	uint64_t frame_next;
	uint64_t frame_done; /* number of the last durable one */
	uint64_t rewritten;  /* lowest index replaced since `writing` was sealed */
	size_t pending_bytes;
	uint64_t retry_ms; /* 0: nothing failed */
	int disk_err;
	unsigned short room;
	struct segment *segments;
	size_t segment_count;
	size_t segment_cap;

	/* snapshots */
	struct buf snap_file;     /* the newest durable one, as on disk */
	struct log_snapshot snap; /* pointers into it; index 0: none */
	struct buf snap_writing;
	bool snap_busy;
	bool snap_install; /* the one being written came from the leader */
	uint64_t snap_retry_ms;
	struct raft_snapshot_metadata snap_meta;
	bool install_waits;
	struct raft_snapshot_metadata install_meta;
	struct raft_buffer install_data;

	struct list outgoing;

	/* commands of this node */
	struct list proposals; /* in order of seq */
	size_t proposal_count;
	uint64_t client;
	uint64_t seq;
	uint64_t used_ms;
	bool known;    /* the tables have executed something of this client */
	bool given_up; /* something of it may never have reached them */

	/* commands for the next entry, at the leader: packed, and who sent them */
	struct buf *queue;
	struct queued *queue_from;
	size_t queue_count;
	size_t queue_cap;
	struct taken *taken;
	size_t taken_count;
	struct told told[CHANGE_SERVERS_MAX];
	size_t told_count;
	bool barrier_sent;
	uint64_t transfer_ms;

	/* voters, at the leader */
	node_id promoting;
	node_id promoted_last;
	uint64_t promote_index;
	uint64_t promote_until_ms;
	uint64_t shrink_index; /* what a voter has when it is there; 0: not asked yet */
	uint64_t voters_ms;

	/* feeds */
	struct listener *listeners;
	size_t listener_count;
	size_t listener_cap;
	node_id sources[CHANGE_SERVERS_MAX];
	size_t source_count;
	size_t source;
	uint64_t ask_ms;
	uint64_t heard_ms;
	uint64_t fed_ms;
	node_id hint; /* who leads, as those who feed us say */

	uint64_t refused;
	uint64_t frames_written;
};

/* replica.c */
/* One event through raft, and all that comes of it. Returns raft's code, or 0. */
int replica_step(struct naming_replica *r, struct raft_event *ev);
/* Follows raft's commit index: applies, and tells raft of configurations. */
void replica_apply_committed(struct naming_replica *r);
void replica_apply_entry(struct naming_replica *r, uint64_t index, uint64_t term, uint32_t type,
			 const uint8_t *data, size_t len);
/* Replaces the tables by a snapshot. Returns false if its bytes make no sense. */
bool replica_restore(struct naming_replica *r, uint64_t index, uint64_t term, const uint8_t *bytes,
		     size_t len);
bool replica_leading(const struct naming_replica *r);
/* Raft's configuration has us, in any role. */
bool replica_in_raft(const struct naming_replica *r);
/* Takes the tables from feeds: raft does not know us, or has been silent for long. */
bool replica_fed(const struct naming_replica *r);
node_id replica_leader(const struct naming_replica *r);
must_check int replica_submit(struct naming_replica *r, uint32_t type, const uint8_t *data,
			      size_t len);

/* log.c: entries in memory */
const struct entry *replica_entry(const struct naming_replica *r, uint64_t index);
uint64_t replica_last(const struct naming_replica *r);
must_check int replica_log_append(struct naming_replica *r, uint64_t index, uint64_t term,
				  uint32_t type, const uint8_t *data, size_t len);
void replica_log_cut(struct naming_replica *r, uint64_t from);  /* drops from and above */
void replica_log_drop(struct naming_replica *r, uint64_t upto); /* drops upto and below */
void replica_log_reset(struct naming_replica *r, uint64_t first);

/* disk.c */
must_check int replica_record(struct naming_replica *r, const struct log_record *rec);
must_check int replica_record_meta(struct naming_replica *r, uint64_t term, uint64_t vote);
/* The frame that a message must wait for: that of the newest unwritten term or vote. */
uint64_t replica_meta_frame(const struct naming_replica *r);
void replica_disk_flush(struct naming_replica *r);
must_check int replica_disk_load(struct naming_replica *r, const struct naming_disk *disk,
				 const char **why);
void replica_disk_fini(struct naming_replica *r);
void replica_snapshot_maybe(struct naming_replica *r);
void replica_snapshot_install(struct naming_replica *r, struct raft_snapshot_metadata *meta,
			      struct raft_buffer *data);
void replica_snapshot_flush(struct naming_replica *r);

/* message.c */
void replica_send(struct naming_replica *r, node_id to, const struct wire_msg *m, uint64_t after);
void replica_send_raft(struct naming_replica *r, const struct raft_message *m, uint64_t after);
void replica_send_flush(struct naming_replica *r);
bool replica_conf_ok(const uint8_t *bytes, size_t len);

/* client.c */
void replica_client_applied(struct naming_replica *r, const struct naming_stamp *st,
			    const struct naming_result *res);
void replica_client_flush(struct naming_replica *r);
void replica_client_refused(struct naming_replica *r, node_id from, const struct wire_msg *m);
void replica_client_hurry(struct naming_replica *r); /* the leader is another one now */
void replica_take(struct naming_replica *r, node_id from, const struct wire_msg *m);
void replica_queue_flush(struct naming_replica *r);
void replica_queue_drop(struct naming_replica *r);
uint64_t replica_client_due(const struct naming_replica *r);
void replica_client_fini(struct naming_replica *r);

/* commit.c */
void replica_commits_tell(struct naming_replica *r);

/* voters.c */
void replica_voters_flush(struct naming_replica *r);

/* feed.c */
void replica_feed_ask_in(struct naming_replica *r, node_id from, const struct wire_msg *m);
void replica_feed_in(struct naming_replica *r, node_id from, const struct wire_msg *m);
void replica_feed_flush(struct naming_replica *r);
uint64_t replica_feed_due(const struct naming_replica *r);

#endif
