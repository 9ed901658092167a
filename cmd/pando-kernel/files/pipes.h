/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipes.h - one relay of pipes.c, for its parts: pipes.c makes and ends it and speaks with its
 * other end, pump.c moves bytes between it and a terminal or a file, pipe_moves.c gives its ends to
 * processes that move. Private to these three.
 */
#ifndef PANDO_KERNEL_PIPES_H
#define PANDO_KERNEL_PIPES_H

#include "cmd/pando-kernel/world.h"
#include "kernel/ipc/relay.h"

/* A relay's descriptors. */
enum { END, SPARE, OBJECT, PUMP, FDS };

struct pipe_relay {
	struct list link;
	struct world *w;
	struct kept_pipe *k;
	struct relay_out out;
	struct relay_in in;
	/*
	 * END: the guests' pipe, or ours to the pump. SPARE: tomb or stage, open for both.
	 * OBJECT: what is pumped, a terminal or a file; -1: a plain pipe. PUMP: our other end of
	 * the pipe to the pump; -1: the object has ended.
	 */
	int fd[FDS];
	struct loop_fd pump_watch;
	uint64_t flushed; /* TAKEN that did not wait for the end of a turn */
	bool pumping;
	bool blocked; /* the pump waits for room */
	bool asked;   /* home has been told that our end is here, and has not answered */
	bool ended;   /* the relay is done; the pump has bytes left */
	/* An owner's: its carrier has said nothing of it yet, so may not know it. What we said over
	 * one connection could overtake the answer by which it learns, over another. */
	bool quiet;
};

/* ---- pipes.c ---- */
struct pipe_relay *pipe_find(struct world *w, uint64_t id, node_id peer, bool home);
/* At once: nothing more is said or moved. */
void pipe_free(struct pipe_relay *p);
void pipe_fd_close(struct pipe_relay *p, int which);
/* There is a connection to its peer: bytes may flow, if they may at all. */
void pipe_connected(struct pipe_relay *p);
/* The same object with a description of our own: what we set on it is not seen by the guests. */
must_check int pipe_reopen(struct world *w, int fd, int flags);

/* ---- pump.c ---- */
/* Waits for bytes at its source (POLLIN), or for room where they go (POLLOUT). */
void pump_watch(struct pipe_relay *p, int which, short events);
/* Our pipe -> the terminal or file. False: that has no room. */
bool pump_out(struct pipe_relay *p);
/* What is typed at an owner's terminal waits for a reader. */
bool pump_is_fed(const struct pipe_relay *p);
/* The relay is done; what a pump still has to write is written before it goes. */
void pump_end(struct pipe_relay *p);

/* ---- pipe_moves.c ---- */
void pipe_moves_open(struct world *w);
/*
 * Our end of @home's relay is on another node by now, which tells @home so. Who asks us meanwhile
 * gets no answer: that we have it no more is not its end.
 */
bool pipe_has_moved(const struct world *w, uint64_t id, node_id home);
/* It is here (again). */
void pipe_moved_forget(struct world *w, uint64_t id, node_id home);

#endif
