/* SPDX-License-Identifier: Apache-2.0 */
/*
 * terminal.h - the terminal of a session, and who is on its line (cmd/line/line.h).
 *
 * What the terminal shows is taken into a ring in shared memory that pando-init's store keeps, as
 * it keeps the terminal itself: a successor goes on where this kernel stopped. At most one is on
 * the line; while somebody is, nothing more is taken than he can take too, so that the program
 * waits as it would for a slow terminal. Without a line everything is taken, and the oldest goes.
 */
#ifndef PANDO_KERNEL_TERMINAL_H
#define PANDO_KERNEL_TERMINAL_H

#include "base/types.h"
#include "rpc/rpc.h"

struct world;
struct terminal;

/*
 * The terminal of session leader @pid, out of the store; its ring is made, or is a predecessor's.
 * @shown_all is called once the leader has ended (terminal_ended()) and whoever is on the line has
 * seen everything. Errors: -ENOENT: it has no terminal.
 */
must_check int terminal_open(struct world *w, gpid pid, uint32_t number,
			     void (*shown_all)(void *arg), void *arg, struct terminal **out);
/* Gives up the line; the ring goes if @forget. NULL is fine. */
void terminal_free(struct terminal *t, bool forget);

struct terminal_size {
	unsigned rows, cols; /* 0: as it is */
};
struct terminal_ask {
	uint64_t client;
	bool has_from; /* else as much as is there, and programs are told to draw again */
	uint64_t from;
	struct terminal_size size;
	uint32_t number; /* of a session that a dead kernel left without one; or 0 */
};
/* Puts @fd (taken) or @stream on the line. -ENOTTY: it was hung up. */
must_check int terminal_attach(struct terminal *t, int fd, struct rpc_stream *stream,
			       const struct terminal_ask *ask);
/* The leader has ended with this status. */
void terminal_ended(struct terminal *t, int status);
bool terminal_shown_all(const struct terminal *t);

uint32_t terminal_number(const struct terminal *t);
void terminal_times(const struct terminal *t, uint64_t *started_ms, uint64_t *detached_ms);
bool terminal_hung_up(const struct terminal *t);

/* ---- lines.c: a line to a session of another node ---- */
/* Carries @fd (taken) to the guest kernel on @node. Calls @done once; the line's later end is its
 * own affair. @body: a packed SessionAttach. */
void lines_carry(struct world *w, node_id node, int fd, const void *body, size_t len,
		 void (*done)(void *arg, int err), void *arg);

#endif
