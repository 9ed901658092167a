/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - the format of naming's log and snapshots on disk. Pure: bytes in, bytes out.
 *
 * A log is a row of segments, files of equal size numbered upwards, written from
 * front to back. The unit of writing is a frame: a header and a run of records,
 * padded to LOG_BLOCK so that a new write never touches a block that holds an
 * older one. Frames are numbered; each holds the checksum of the one before, across
 * segments. Only one frame is being written at any time. Hence:
 *
 *   L1  what follows the last good frame is a torn write that nobody was told of,
 *       and is cut, unless
 *   L2  a good frame with a later number is found behind it: then a write that was
 *       reported durable is gone, and the log is damaged
 *   L3  the first frame of a segment repeats term and vote, so that older segments
 *       can be removed
 *
 * Records: term and vote; an entry (one at or below the last index replaces that one
 * and cuts those above); a reset (the log goes on behind an installed snapshot).
 *
 * Checksums are XXH3-64. Bytes read are a disk's: refused, never CHECKed.
 */
#ifndef NAMING_CORE_LOG_H
#define NAMING_CORE_LOG_H

#include "base/attr.h"
#include "base/types.h"

#define LOG_BLOCK        4096u
#define LOG_HEADER_BYTES 64u
#define LOG_RECORD_MAX   (16u << 20) /* bytes of data in one entry; more is no log of ours */

struct log_pos {
	uint64_t id;      /* random, of this log: a frame of another log is not ours */
	uint64_t seq;     /* of the next frame, from 1 */
	uint64_t chain;   /* checksum of the last frame */
	uint64_t segment; /* where the next frame goes, from 1 */
	uint64_t offset;
};

enum log_record_type {
	LOG_META = 1,
	LOG_ENTRY,
	LOG_RESET,
};

struct log_record {
	enum log_record_type type;
	uint64_t term;       /* META: current; ENTRY: its own; RESET: of the index */
	uint64_t vote;       /* META */
	uint64_t index;      /* ENTRY; RESET: last index of the snapshot */
	uint32_t kind;       /* ENTRY: raft's type */
	const uint8_t *data; /* ENTRY; borrowed */
	size_t len;
};

/* Bytes of a record in a frame. */
size_t log_record_bytes(const struct log_record *rec);
/* Bytes of a frame, padded, with @payload bytes of records. */
size_t log_frame_bytes(size_t payload);

/*
 * Builds a frame in two moves: records one after the other behind LOG_HEADER_BYTES
 * of @frame, then the header. The caller's memory holds log_frame_bytes().
 */
size_t log_record_put(uint8_t *at, const struct log_record *rec);
void log_frame_seal(uint8_t *frame, size_t payload, struct log_pos *pos);

enum log_verdict {
	LOG_GOOD = 0, /* the segment is good up to its end or to where nothing was written */
	LOG_TORN,     /* L1: something is behind the last good frame, to be cut */
	LOG_DAMAGED,  /* L2 */
};

/* Called for each record of good frames. A nonzero return ends the scan as LOG_DAMAGED. */
typedef int (*log_record_fn)(void *arg, const struct log_record *rec);

/*
 * Reads one segment whole. @pos is zero before the first (oldest) segment, and is
 * moved behind the last good frame; call for each segment in growing order.
 * Continuity of numbers and chains decides, so a segment may end early: the next
 * frame had no room in it, or was torn and is in the next one.
 */
enum log_verdict log_scan(struct log_pos *pos, uint64_t segment, const uint8_t *bytes, size_t len,
			  log_record_fn fn, void *arg);

/* ---- snapshots: one file each ---- */
struct log_snapshot {
	uint64_t index;
	uint64_t term;
	uint64_t conf_index;
	const uint8_t *conf;
	size_t conf_len;
	const uint8_t *data;
	size_t data_len;
};

size_t log_snapshot_bytes(const struct log_snapshot *s);
void log_snapshot_put(uint8_t *at, const struct log_snapshot *s);
/* Pointers of @s are into @bytes. Errors: -EBADMSG (half written, or not one). */
must_check int log_snapshot_get(const uint8_t *bytes, size_t len, struct log_snapshot *s);

#endif
