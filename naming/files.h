/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files.h - the directory of a naming: log segments, snapshots, the ticket.
 *
 *	lock			held while a process uses the directory
 *	ticket			who this node is (wire_ticket)
 *	log-NUMBER		segments, zeroed before use so that a write changes no metadata
 *	snap-INDEX		snapshots; written aside, then renamed
 *
 * Log and snapshot writes go through the loop and never block it; one of each at a
 * time. The callbacks come from the loop. Private to naming/.
 */
#ifndef NAMING_FILES_H
#define NAMING_FILES_H

#include "base/buf.h"
#include "base/loop.h"
#include "naming/raft/replica.h"

struct files;

struct files_ops {
	void (*log_done)(void *arg, int err);
	void (*snapshot_done)(void *arg, int err);
};

/* Errors: -EBUSY another process uses @dir; -errno. */
must_check int files_open(struct files **out, struct loop *l, const char *dir,
			  uint32_t segment_bytes, const struct files_ops *ops, void *arg);
void files_close(struct files *f);

/* Everything in the directory, for naming_replica_new(); borrowed until files_unload(). */
must_check int files_load(struct files *f, struct naming_disk *disk);
void files_unload(struct files *f);

void files_write_log(struct files *f, uint64_t segment, uint64_t offset, const uint8_t *bytes,
		     size_t len);
void files_write_snapshot(struct files *f, uint64_t index, const uint8_t *bytes, size_t len);
void files_remove_segment(struct files *f, uint64_t segment);
void files_remove_snapshot(struct files *f, uint64_t index);
/* Bytes free for us, 0 if that cannot be found out. */
uint64_t files_room(const struct files *f);

/* Durable on return, whole or not at all. */
must_check int files_ticket_write(struct files *f, const struct buf *b);
/* Errors: -ENOENT: there is none. */
must_check int files_ticket_read(struct files *f, struct buf *b);

#endif
