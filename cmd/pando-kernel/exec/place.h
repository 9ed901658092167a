/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - execs of this node that run on others: marks.c says who wants to be where, gather.c
 * what travels, place.c how they leave, remote.c what becomes of them, follow.c how the record of
 * one that goes on from here follows it. Private to these.
 */
#ifndef PANDO_KERNEL_PLACE_H
#define PANDO_KERNEL_PLACE_H

#include <pthread.h>

#include "base/buf.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define PLACE_FDS_MAX 48

enum verdict {
	VERDICT_NONE = 0,
	VERDICT_STUB,   /* it executes elsewhere: the caller becomes its stub */
	VERDICT_RETURN, /* execve returns an error */
	VERDICT_AGAIN,  /* execve is made again */
};

/* A process has entered a group (0: has begun a session), or is a sub-reaper (1) or none (2). */
struct kin_group {
	gpid pid;
	gpid pgid;
	unsigned reaper; /* 0: it is about the group */
};

struct placing;
typedef void (*place_ends_fn)(struct placing *p, int err);

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
	int sources[PLACE_FDS_MAX];   /* our copies of relayed descriptions, -1: none */
	uint64_t upto[PLACE_FDS_MAX]; /* place_ends.c: what must have arrived at the site */
	uint64_t ends_until_ns;
	place_ends_fn ends_ready;
	const char *why;
	bool site_is_why; /* the site could not take it: not what execve says */
	char site_why[160];
	bool adopted;   /* a predecessor's */
	bool asked_for; /* `on`: what cannot be is an error. Else it runs here. */

	struct kept_place *k; /* from before Run is sent */
	unsigned since;       /* groups_spoken() when it was held */
	int pidfd;            /* -1: not yet */
	struct loop_timer again;
	uint64_t reach_until_ns;
	void (*turn)(struct placing *p); /* place_turns.c */
	uint64_t turn_until_ns;
	bool awaits; /* its turn */

	/* Its end or stop was told before it was a stub: told on then. */
	struct rpc_call *changed;
	int status;
	/* The same of its group. */
	struct rpc_call *grouped;
	struct kin_group group;
	struct init_slot *magic; /* the stub's first questions, before it is registered */
	struct init_slot *next;  /* its next exec, made before we have let go of it altogether */

	/* The worker parks the caller, waits for the verdict, carries it out. */
	pthread_t thread;
	struct loop_post parked;
	struct loop_post done;
	int result;
	pthread_mutex_t lock;
	pthread_cond_t decided;
	enum verdict verdict;
	int err; /* VERDICT_RETURN: what execve gives */
};

/* ---- marks.c ---- */
must_check int marks_open(struct world *w);
/* Where the process of node pid @pid wants its next exec to run; NODE_NONE: it has not said. */
node_id marks_find(struct world *w, pid_t pid);
void marks_drop(struct world *w, pid_t pid);
/* Its node could not have it just now: may it ask once more? */
bool marks_try_again(struct world *w, pid_t pid);
/* Its next exec runs here. */
void marks_stay(struct world *w, pid_t pid);

/* ---- gather.c ---- */
/* Fills p->run and what belongs to it. Errors: -errno, with p->why; gather_free() all the same. */
must_check int gather(struct placing *p);
void gather_free(struct placing *p);

/* ---- place_refused.c ---- */
/* Of one that was asked for: for the log and `pando why`. Returns what the caller gets for @err. */
int place_refused(struct placing *p, int err);

/* ---- place_here.c ---- */
/* Nobody has said where the exec of @s is to run: is it one of here, so that nobody is asked? */
bool place_is_of_here(const struct world *w, struct init_slot *s);

/* ---- place_turns.c ---- */
/* True: its parent moves just now; @again is called when it is over. */
bool place_awaits_parent(struct placing *p, void (*again)(struct placing *p));

/* ---- place_ends.c: its pipes ---- */
/* A pipe that it goes on with, of our @copy. */
void place_end_describe(struct placing *p, Peer__Fd *f, int copy);
must_check int place_ends_start(struct placing *p);
/* The caller is parked. Then @ready, maybe at once. */
void place_ends_settle(struct placing *p, place_ends_fn ready);

/* ---- place_told.c ---- */
/* True: @pid is on its way to @site, and @call is answered when it is a stub. */
bool placing_changed(struct world *w, gpid pid, node_id site, int status, struct rpc_call *call);

/* True: as before, for its group. */
bool placing_group(struct world *w, const struct kin_group *g, struct rpc_call *call);

/* ---- groups.c ---- */
/* What is told of a process is done to its stub, and @call answered. */
void groups_enter(struct world *w, const struct kin_group *g, struct rpc_call *call);

/* ---- remote.c ---- */
must_check int remote_open(struct world *w);
/* A record for @want (phase, pid, site, id), with @pidfd (borrowed) in the store. NULL: full. */
struct kept_place *place_keep(struct world *w, const struct kept_place *want, int pidfd);
void place_forget(struct world *w, struct kept_place *k);
/* The stub of @k is there. Errors: -ESRCH it has died; -ENOMEM. */
must_check int remote_begin(struct world *w, struct kept_place *k);
/* What executes at its site is killed, until that is certain; takes the record. */
void remote_kill(struct world *w, struct kept_place *k);
/* The record of @pid, whose stub is here and well, if that stands for a place; else NULL. */
const struct kept_place *remote_place(struct world *w, gpid pid);
/*
 * Another node has the place of @pid by now: the stub is a relative's from here on. Errors: -EBUSY,
 * it has something to do first; those of the store.
 */
must_check int remote_let_go(struct world *w, gpid pid);
/* As if its site had told it. */
void remote_changed(struct world *w, gpid pid, int status, struct rpc_call *call);

#endif
