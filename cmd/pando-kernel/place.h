/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - execs of this node that run on others: marks.c says who wants to be where, gather.c
 * what travels, place.c how they leave, remote.c what becomes of them. Private to these.
 */
#ifndef PANDO_KERNEL_PLACE_H
#define PANDO_KERNEL_PLACE_H

#include <pthread.h>

#include "base/buf.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define PLACE_FDS_MAX 48

/* One exec under way. */
struct placing {
	struct list link;
	struct world *w;
	struct init_slot *slot;
	pid_t pid; /* node's */
	gpid gpid;
	node_id site;
	Peer__Run run;
	struct buf bytes; /* what run's pointers into strings point to */
	Peer__Fd *fds[PLACE_FDS_MAX];
	int sources[PLACE_FDS_MAX]; /* our copies of relayed descriptions, -1: none */
	const char *why;
	bool asked_for; /* `on`: what cannot be is an error. Else it runs here. */

	/* of the worker that makes the stub */
	pthread_t thread;
	struct loop_post post;
	int result;
	int ended; /* its end was told before it was a stub: status + 1 */
};

/* ---- marks.c ---- */
/* Where the process of node pid @pid wants its next exec to run; NODE_NONE: it has not said. */
node_id marks_find(struct world *w, pid_t pid);
void marks_drop(struct world *w, pid_t pid);

/* ---- gather.c ---- */
/* Fills p->run and what belongs to it. Errors: -errno, with p->why; gather_free() all the same. */
must_check int gather(struct placing *p);
void gather_free(struct placing *p);

/* ---- place.c ---- */
struct placing *placing_find(struct world *w, gpid pid);

/* ---- remote.c ---- */
must_check int remote_open(struct world *w);
/* @signo in the process @pid that executes on @site. */
void remote_raise(struct world *w, node_id site, gpid pid, int signo);
/* The stub dies as its process did. */
must_check int remote_end(struct world *w, struct stub *s, int status);

#endif
