/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - an image as records: head, checksum, payload.
 *
 *	"PANDOIMG" u32 version u32 0
 *	then each: u32 type, u32 length of the payload, u64 XXH3 of type, length, number, payload
 *
 * Little endian. The number is the record's place in the stream, so that one that
 * is lost or repeated is noticed. The last record is RECORD_END, empty.
 */
#ifndef MIGRATE_IMAGE_RECORD_H
#define MIGRATE_IMAGE_RECORD_H

#include <protobuf-c/protobuf-c.h>

#include "migrate/image/image.h"

enum record_type {
	RECORD_HEAD = 1,
	RECORD_MM,
	RECORD_VMA,
	RECORD_LIMITS,
	RECORD_FS,
	RECORD_SIGNALS,
	RECORD_TIMERS,
	RECORD_FD,
	RECORD_THREAD,
	RECORD_PAGES, /* u64 address, then whole pages: no protobuf */
	RECORD_END,
};

struct record_writer {
	const struct image_sink *to;
	uint64_t number;
	uint64_t bytes;
	struct buf buf;
};

must_check int record_write_start(struct record_writer *w, const struct image_sink *to);
must_check int record_write(struct record_writer *w, enum record_type type, const void *bytes,
			    size_t len);
must_check int record_write_message(struct record_writer *w, enum record_type type,
				    const ProtobufCMessage *m);
void record_write_fini(struct record_writer *w);

struct record_reader {
	const struct image_source *from;
	uint64_t number;
	struct buf buf; /* payload of the record that was read last */
};

/* -EBADMSG, also for another version. */
must_check int record_read_start(struct record_reader *r, const struct image_source *from);
/* Returns the type; the payload is in r->buf until the next call. -EBADMSG. */
must_check int record_read(struct record_reader *r);
/* Unpacks the payload: NULL if it is not such a message. Free with free_unpacked. */
ProtobufCMessage *record_message(const struct record_reader *r,
				 const ProtobufCMessageDescriptor *d);
void record_read_fini(struct record_reader *r);

#endif
