/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay_priv.h - what the two sides of a relay share: relay_out.c (where the writers are),
 * relay_in.c (where the reader is), relay.c (steps and what a successor makes of each; events).
 */
#ifndef KERNEL_IPC_RELAY_PRIV_H
#define KERNEL_IPC_RELAY_PRIV_H

#include "base/types.h"
#include "kernel/ipc/relay.h"

enum relay_state {
	RELAY_IDLE = 0,
	RELAY_DISCARDING,
	RELAY_DRAINING,
	RELAY_STAGING,
	RELAY_STAGED,
};

#define UNIT_HEAD 2 /* bytes before each unit of RELAY_UNITS: its length, little-endian */

struct relays {
	struct loop *loop;
	int epfd;
	struct loop_fd watch;
	int null;       /* -1: what is thrown away is read */
	int scratch[2]; /* tee goes here; empty between calls, as the next two */
	int piece[2];   /* RELAY_CHUNK_MAX */
	int unit[2];    /* of one page: what is spliced into it is one of a pipe's buffers */
	uint8_t *bytes; /* RELAY_WINDOW_MAX */
	unsigned grown; /* writers' pipes that we made larger */
	struct list outs;
	struct list ins;
};

/* The record is read by a successor: what was stored before must be seen before. */
void relay_record_state(struct relay_record *rec, enum relay_state state);

/* Bytes in a pipe. */
size_t relay_pipe_holds(int fd);

/* Throws away the first @n bytes that @fd, a pipe of ours, holds. */
must_check int relay_pipe_drop(struct relays *rs, int fd, size_t n);

/* Reads @n bytes, which @fd, a pipe of ours, holds. */
void relay_pipe_read(int fd, uint8_t *bytes, size_t n);

/* Something happened to a pipe. @err: its other end is gone. */
void relay_out_event(struct relay_out *o);
void relay_in_event(struct relay_in *i, bool err);

#endif
