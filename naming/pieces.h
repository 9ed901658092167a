/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pieces.h - naming's messages as messages of at most NAMING_MSG_MAX bytes.
 *
 * Short ones go as they are, behind one byte; long ones (snapshots) in pieces. One
 * message of each sender is put together at a time: pieces come in order or not at
 * all. Bytes may be hostile. Private to naming/.
 */
#ifndef NAMING_PIECES_H
#define NAMING_PIECES_H

#include "base/list.h"
#include "base/types.h"

#define PIECES_TOTAL_MAX (64u << 20) /* bytes of one message */

struct pieces {
	struct list assemblies;
	uint64_t id;
};

void pieces_init(struct pieces *p);
void pieces_fini(struct pieces *p);

/* Calls @send once for each message to be sent, in order. */
void pieces_out(struct pieces *p, const uint8_t *bytes, size_t len,
		void (*send)(void *arg, const void *msg, size_t len), void *arg);
/* Calls @whole when @msg is, or completes, a message. */
void pieces_in(struct pieces *p, node_id from, const uint8_t *msg, size_t len,
	       void (*whole)(void *arg, node_id from, const uint8_t *bytes, size_t len), void *arg);

#endif
