/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.h - a pipe whose reader and writers are on different nodes.
 *
 * A real pipe stands on each side, so that guests' reads and writes stay the
 * host's own. The near side (where the writers are) is a relay_out on the read
 * end of their pipe; the far side (where the reader is) a relay_in on the write
 * end of his. Between them go a few kinds of messages, in order, over any
 * connection that may break and come back.
 *
 *   R1  every byte arrives once and in order, whichever daemon dies when
 *   R2  a byte leaves the writers' pipe only when the reader has taken it from his, or, where
 *       several pipes end in one (relay_in.shared), when it lies in his
 *   R3  what was written at once and is no longer than PIPE_BUF stays in one piece, whoever else
 *       writes into the reader's pipe
 *   R4  a reader who takes nothing is behind what one pipe holds, 65,536 bytes. Behind one who
 * takes the bytes as they come, up to RELAY_WINDOW_MAX may be on their way: the writers' pipe is
 *       made so large, for R2 holds all the same
 *
 * Bytes that have come are sent at once, whatever is under way before them: what is not taken yet
 * is never more than that pipe holds. A receiver that lacks something says from where on.
 *
 * How R1 holds without a log: bytes are looked at with tee(2), which leaves them
 * in the pipe, and thrown away by splice(2) into a pipe of ours that survives us
 * (the store keeps it); what that holds after a death tells how far its owner
 * had come. The receiver stages bytes in such a pipe too, before it splices them
 * into the reader's. The record says which of these steps was under way.
 *
 * Ownership: descriptors are borrowed; the caller keeps them, and duplicates in
 * the store, until the relay is done. Records live in memory that survives the
 * daemon (a memfd of the store). One thread. Errors: -errno.
 */
#ifndef KERNEL_IPC_RELAY_H
#define KERNEL_IPC_RELAY_H

#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/list.h"
#include "base/loop.h"

#define RELAY_CHUNK_MAX  65536  /* bytes of one DATA: what a pipe holds */
#define RELAY_WINDOW_MAX 262144 /* bytes that may be on their way */
#define RELAY_UNITS_MAX  16     /* of one UNITS: a pipe's buffers */

enum relay_kind {
	RELAY_DATA = 1, /* to the reader: @len bytes at @offset of the stream */
	RELAY_EOF,      /* to the reader: the stream ends at @offset, no writer is left */
	RELAY_TAKEN,    /* to the writers: the reader has taken everything before @offset */
	RELAY_BROKEN,   /* to the writers: no reader is left */
	RELAY_HAVE,  /* to the writers: everything before @offset lies in the reader's pipe, go on
			from there. Said first over a connection, and when something is missing. */
	RELAY_UNITS, /* as DATA, in units that stay whole: before each its length, 16 bits,
			little-endian, at most PIPE_BUF */
	RELAY_ASK,   /* to the reader, over a new connection: say HAVE */
};

/* Outlives the daemon. All zero is a relay that has moved nothing. */
struct relay_record {
	uint32_t state; /* private */
	uint32_t len;
	uint64_t offset;
	uint64_t next; /* private: what offset will be after the step under way */
};

struct relay_ops {
	/* Sends one message. -EAGAIN: the connection is down; relay_*_resume() will follow. */
	int (*send)(void *arg, enum relay_kind kind, uint64_t offset, const void *bytes,
		    size_t len);
	/* out: EOF or BROKEN is settled on both sides; in: EOF was passed on, or BROKEN was sent.
	 * The caller closes its ends (that is what tells the guests) and frees the relay. */
	void (*done)(void *arg);
};

/* What the relays of a daemon share: one edge-triggered epoll beside the loop. */
struct relays;
/* @null: /dev/null, open for writing, taken; -1: what is thrown away is copied. */
must_check int relays_new(struct relays **out, struct loop *l, int null);
void relays_free(struct relays *rs);

/* ---- where the writers are ---- */
struct relay_out {
	struct relays *rs;
	struct relay_record *rec; /* offset: thrown away so far, so the next byte in the pipe */
	int pipe;                 /* read end of the writers' pipe */
	int tomb[2];              /* our own pipe; survives us */
	uint64_t sent;            /* offset of the first byte not sent over this connection */
	uint64_t have;            /* by the far side, as far as it has told */
	uint64_t taken;           /* by the reader */
	uint64_t began;           /* offset at the start of this life */
	bool units;
	bool grow_tried;
	bool grown; /* the writers' pipe was made larger */
	bool up;
	bool eof_sent;
	bool finished;
	const struct relay_ops *ops;
	void *arg;
	struct list link;
};

/*
 * Starts, or goes on after a predecessor: throws away what it had begun to. Nothing is sent before
 * the far side says HAVE. @tomb: a pipe of 65,536 bytes that only this relay uses. @units: others
 * write where this goes, which is `shared` (R3).
 */
must_check int relay_out_init(struct relay_out *o, struct relays *rs, struct relay_record *rec,
			      int pipe, const int tomb[2], bool units, const struct relay_ops *ops,
			      void *arg);
void relay_out_fini(struct relay_out *o);
/*
 * A connection is there. The far side says HAVE of its own accord if it knows of that; if it does
 * not, or has finished without our learning it, this asks.
 */
void relay_out_resume(struct relay_out *o);
/*
 * What the writers' pipe holds from rec->offset on, at most RELAY_WINDOW_MAX bytes; they stay
 * there.
 * *@bytes is good until the next call of any relay. For who moves the writers elsewhere.
 */
must_check ssize_t relay_out_look(struct relay_out *o, const uint8_t **bytes);
/* The connection is gone: nothing is sent until HAVE comes over the next one. */
void relay_out_pause(struct relay_out *o);
/*
 * HAVE, TAKEN or BROKEN came. One that a later one over a newer connection has overtaken is
 * ignored. Errors: -EPROTO: an offset that cannot be.
 */
must_check int relay_out_msg(struct relay_out *o, enum relay_kind kind, uint64_t offset);

/* ---- where the reader is ---- */
struct relay_in {
	struct relays *rs;
	struct relay_record *rec; /* offset: everything before it lies in the reader's pipe */
	int pipe;                 /* write end of the reader's pipe, O_NONBLOCK */
	int stage[2];             /* our own pipe; survives us */
	uint64_t told;            /* last TAKEN */
	uint64_t eof_at;          /* UINT64_MAX: not known */
	uint8_t *queue; /* RELAY_WINDOW_MAX bytes once needed: what comes behind the stage */
	size_t queue_at;
	size_t queued;
	uint16_t units[2 * RELAY_WINDOW_MAX / 4096 + 2]; /* of what is queued; none unless shared */
	size_t unit_count;
	bool say_have; /* as soon as nothing is staged */
	bool refused;  /* something was not taken, and nothing since */
	bool up;
	bool shared; /* other writers use the reader's pipe too */
	bool cut;    /* nothing more comes */
	bool finished;
	uint64_t look_ns; /* pause before the next look at an unmoving pipe */
	struct loop_timer look;
	const struct relay_ops *ops;
	void *arg;
	struct list link;
};

/* As relay_out_init(). @shared: see R2. */
must_check int relay_in_init(struct relay_in *i, struct relays *rs, struct relay_record *rec,
			     int pipe, const int stage[2], bool shared, const struct relay_ops *ops,
			     void *arg);
void relay_in_fini(struct relay_in *i);
/*
 * A connection is there: says HAVE as soon as nothing is staged. A far side that does not know the
 * relay (any more) answers BROKEN or EOF in its place; that is for the caller to arrange.
 */
void relay_in_resume(struct relay_in *i);
void relay_in_pause(struct relay_in *i);
/* The far side is gone for good: done() comes when what has arrived lies in the reader's pipe. */
void relay_in_cut(struct relay_in *i);
/* Says at once what the reader has taken, or that he is gone. */
void relay_in_look(struct relay_in *i);
/* How far the reader has come; exact if he stands still and `shared` is false. */
uint64_t relay_in_taken(const struct relay_in *i);
/*
 * DATA, EOF or ASK came. What is known already is skipped; behind a gap (another connection was
 * faster) nothing is taken: HAVE says from where on it is to come again.
 * Errors: -EPROTO too much, or an end that cannot be; -EPIPE the reader is gone.
 */
must_check int relay_in_msg(struct relay_in *i, enum relay_kind kind, uint64_t offset,
			    const void *bytes, size_t len);

#endif
