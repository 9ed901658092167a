/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - commands, batches and messages between nodes as bytes (naming.proto).
 *
 * Private to naming/. The protobuf structs die in wire.c; what comes out here has
 * its strings bounded and its arrays counted, but means nothing yet: ranges are
 * the core's and raft's to check. Errors: -EBADMSG, -ENOMEM. Bytes may be hostile.
 */
#ifndef NAMING_WIRE_H
#define NAMING_WIRE_H

#include "base/buf.h"
#include "naming/core/core.h"

#define WIRE_ENTRIES_MAX  4096u
#define WIRE_COMMANDS_MAX 1024u
#define WIRE_VOTERS_MAX   16u
#define WIRE_PEERS_MAX    16u

struct wire_stamped {
	struct naming_stamp stamp;
	struct naming_cmd cmd;
};

/* Appends one packed Stamped to @out. */
must_check int wire_stamped_pack(const struct wire_stamped *s, struct buf *out);

/* A Batch out of already packed Stamped messages: @parts[i] has @lens[i] bytes. */
must_check int wire_batch_pack(uint64_t time_ms, const struct buf *parts, size_t n,
			       struct buf *out);
/* Calls @fn for each command in order; stops early when it returns nonzero. */
must_check int wire_batch_each(const uint8_t *bytes, size_t len,
			       int (*fn)(void *arg, uint64_t time_ms, const struct wire_stamped *s),
			       void *arg);

struct wire_entry {
	uint64_t term;
	uint32_t type;
	const uint8_t *data;
	size_t len;
};

enum wire_type {
	WIRE_RAFT = 1,
	WIRE_PROPOSE,
	WIRE_REFUSE,
	WIRE_FEED_ASK,
	WIRE_FEED,
};

struct wire_raft {
	uint32_t type;
	uint64_t term, index, index_term, commit, rejected, candidate;
	bool disrupt_leader, pre_vote, granted;
	uint32_t features, capacity;
	uint64_t conf_index;
	const uint8_t *conf;
	size_t conf_len;
	const uint8_t *data;
	size_t data_len;
};

struct wire_msg {
	enum wire_type type;
	node_id leader;
	struct wire_raft raft;
	struct wire_entry *entries; /* RAFT, FEED */
	size_t entry_count;
	/* PROPOSE */
	struct naming_stamp stamp; /* REFUSE too: client and seq */
	const uint8_t *stamped;    /* a packed Stamped, to go into a batch as it is */
	size_t stamped_len;
	int32_t err;
	/* FEED_ASK, FEED */
	uint64_t first; /* FEED_ASK: next */
	uint64_t index;
	uint64_t term;
	const uint8_t *snapshot;
	size_t snapshot_len;
	uint32_t voters[WIRE_VOTERS_MAX];
	size_t voter_count;
	void *held; /* what the pointers point into */
};

must_check int wire_msg_pack(const struct wire_msg *m, struct buf *out);
/* wire_msg_fini() after success. */
must_check int wire_msg_unpack(const uint8_t *bytes, size_t len, struct wire_msg *m);
void wire_msg_fini(struct wire_msg *m);

struct wire_piece {
	uint64_t id;
	uint32_t offset;
	uint32_t total;
	const uint8_t *data;
	size_t len;
	void *held;
};
must_check int wire_piece_pack(const struct wire_piece *p, struct buf *out);
must_check int wire_piece_unpack(const uint8_t *bytes, size_t len, struct wire_piece *p);
void wire_piece_fini(struct wire_piece *p);

struct wire_peer {
	node_id id;
	char addr[NAMING_ADDR_MAX];
	uint8_t key[NAMING_KEY_BYTES];
};

struct wire_ticket {
	uint8_t machine_id[NAMING_MACHINE_BYTES];
	char machine_name[NODE_NAME_MAX];
	node_id self;
	bool first;
	char name[NODE_NAME_MAX];
	char addr[NAMING_ADDR_MAX];
	uint8_t key[NAMING_KEY_BYTES];
	struct wire_peer peers[WIRE_PEERS_MAX];
	size_t peer_count;
};
must_check int wire_ticket_pack(const struct wire_ticket *t, struct buf *out);
must_check int wire_ticket_unpack(const uint8_t *bytes, size_t len, struct wire_ticket *t);

#endif
