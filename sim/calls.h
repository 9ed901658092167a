/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.h - what is asked over the channels, and the truth about it. Private to calls.c and its
 * checker. Every body is a number that names its record here.
 */
#ifndef SIM_CALLS_H
#define SIM_CALLS_H

#include "sim/link.h"

/* A piece of work that one node wants another to do. */
struct op {
	uint64_t key; /* 0: asked once, by nobody's successor */
	node_id from, to;
	bool pending;      /* in the store of `from`: a successor asks again, */
	uint64_t asked_ns; /* but not long after this */
	uint32_t attempts; /* times that it was asked */
	uint32_t executed; /* times, in all lives of `to` */
	uint64_t exec_life;
	uint32_t exec_attempt; /* for which it was done last */
	int err;               /* what the last execution gave */
};

/* One asking; the cookie of the core is its number. */
struct attempt {
	uint32_t op;
	uint32_t number; /* of the op */
	uint64_t life;   /* of the asker's end */
	uint64_t id;
	uint64_t asked_ns;
	uint64_t limit_ns; /* world's time by which it must be over; 0: none */
	bool done;
};

/* A stream: both ends look at the same record. */
struct flow {
	uint32_t no;
	node_id from, to;
	uint64_t tx_life, rx_life;
	struct rpc_str *tx, *rx; /* NULL: closed there */
	uint64_t stream_id;      /* once the receiver knows it */
	uint64_t total, written, delivered, consumed;
	bool finished; /* the sender has closed it after the last byte */
	struct parcel *parcel;
};

/* Every execution, for the recount. */
struct execution {
	uint32_t op;
	uint64_t life;
};

struct calls {
	struct op *ops;
	uint32_t op_count, op_cap;
	struct attempt *attempts;
	uint32_t attempt_count, attempt_cap;
	struct flow **flows;
	uint32_t flow_count, flow_cap;
	struct execution *log;
	uint32_t log_count, log_cap;
};

/* ---- check_calls.c ---- */
/* C1, when work is to be done in life @life of its server. */
void check_executed(struct sim *s, const struct op *o, uint32_t no, uint32_t attempt,
		    uint64_t life);
/* C1, C2, when asking number @a ends. */
void check_answered(struct sim *s, const struct attempt *a, int err, const void *body);
/* C3, before @len bytes are written. */
void check_credit(struct sim *s, const struct flow *f, uint32_t len);
/* C4, when bytes arrive and when a stream is said to be whole. */
void check_bytes(struct sim *s, const struct flow *f, const struct rpc_frame *frame);
void check_whole(struct sim *s, const struct flow *f);

#endif
