/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ship.h - an image on its way: from a mover's pipe into a stream at the source, and from the
 * stream into a mover's pipe at the target. Private to pando-kernel.
 *
 * The pipes block for the movers alone. The stream's credit is what slows a source down.
 */
#ifndef PANDO_KERNEL_SHIP_H
#define PANDO_KERNEL_SHIP_H

#include "base/buf.h"
#include "cmd/pando-kernel/world.h"

/* Private: between a mover on this node and the other node. */
struct ship_way {
	struct rpc_stream *stream;
	int pipe; /* our end; -1: none */
	struct loop_fd watch;
	bool watching;
};

/* ---- source ---- */
struct ship_out {
	/* Fill in. @failed is called once, in a turn of its own; what there was is ended by then.
	 */
	struct world *w;
	void (*failed)(struct ship_out *s, int err);

	bool sent; /* all of it: the target has it unless the connection is lost */

	/* Private. */
	struct ship_way way;
	uint8_t *piece;
	size_t piece_at, piece_len;
	bool dumped; /* all of it is in the pipe, or has been */
	struct loop_timer failing;
	int err;
};

void ship_out_init(struct ship_out *s, struct world *w,
		   void (*failed)(struct ship_out *s, int err));
/* Opens the stream by @m and gives the mover's end of the pipe. On error: ship_out_fini(). */
must_check int ship_out_start(struct ship_out *s, struct rpc_conn *c, const struct rpc_msg *m,
			      int *mover_end);
/* The mover has written all of it. */
void ship_out_dumped(struct ship_out *s);
/* As if it had failed by itself. */
void ship_out_fail(struct ship_out *s, int err);
/* Whatever is left of it ends now; failed() is not called any more. */
void ship_out_fini(struct ship_out *s);

/* ---- target ---- */
struct ship_in {
	struct world *w;
	/* The source has closed its stream, or it is lost; may be NULL. */
	void (*over)(struct ship_in *s);
	bool ended; /* nothing more will come */
	/*
	 * The source has said that it sent all: only then does it not take the process for its own
	 * again. All records may be here before that.
	 */
	bool whole;

	/* Private. */
	struct ship_way way;
	struct buf queue; /* came, and does not fit into the pipe yet: from `poured` on */
	size_t poured;
};

void ship_in_init(struct ship_in *s, struct world *w);
/* Takes the stream; what comes is kept until a mover reads. */
void ship_in_take(struct ship_in *s, struct rpc_stream *stream);
must_check int ship_in_start(struct ship_in *s, int *mover_end);
/* The source has not said yet that this was all. */
bool ship_in_is_open(const struct ship_in *s);
void ship_in_end(struct ship_in *s, int err);

#endif
