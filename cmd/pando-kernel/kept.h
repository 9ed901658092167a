/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept.h - what a guest kernel's successor must know and nobody else can tell it. Private to
 * pando-kernel.
 *
 * One memfd in pando-init's store, mapped by each guest kernel in turn. A record is CHANGING while
 * its descriptors go into the store or out of it: a successor that finds it so finishes its end.
 * What it says holds before the effect that needs it (M0).
 */
#ifndef PANDO_KERNEL_KEPT_H
#define PANDO_KERNEL_KEPT_H

#include "base/types.h"
#include "kernel/ipc/relay.h"
#include "migrate/core/move.h"

#define KEPT_KEY     "kept"
#define KEPT_PIPES   1024
#define KEPT_PLACES  1024
#define KEPT_GUESTS  1024
#define KEPT_NOTES   512
#define KEPT_USAGES  1024
#define KEPT_LEAVING 1024
#define KEPT_MOVED   1024

enum kept_state {
	KEPT_FREE = 0,
	KEPT_CHANGING,
	KEPT_THERE,
};

/* A relay; its descriptors are in the store as "pipe.INDEX.X" (pipes.c). */
struct kept_pipe {
	uint32_t state; /* enum kept_state */
	node_id peer;
	epoch_t life; /* of the peer */
	gpid pid;
	bool home;   /* we are the home of @pid */
	bool is_out; /* the writers are here */
	bool going;  /* its process executes: bytes may flow */
	bool pumped; /* between the relay and a terminal or a file of the guests is a pump */
	bool held;   /* its process is frozen and may be elsewhere: nothing is said or heard */
	bool came;   /* its process has moved: here (our end is a copy), or home (so we are over) */
	bool back;   /* home: its process is given the object, and may not have it in the end */
	uint64_t id;
	uint64_t came_at; /* home: what the process has taken elsewhere */
	struct relay_record rec;
};

/* A relay whose end was here and is on a third node by now. */
struct kept_moved {
	uint64_t id;
	node_id home; /* of the relay; NODE_NONE: free */
};

enum place_phase {
	PLACE_ASKED = 1, /* Run may have reached the site; the caller stands in its gate (K1) */
	PLACE_RUNS,      /* it executes there: the caller is to become its stub, whatever happens */
	PLACE_OVER,      /* it does not and never will: the caller is to run on */
	PLACE_STUB,      /* the stub stands for it */
	PLACE_KILL,      /* the stub was killed: so must be what executes there */
};

/* A process that had been here and executes elsewhere; its pidfd is in the store as "place.INDEX".
 */
struct kept_place {
	uint32_t state;
	uint32_t phase; /* enum place_phase */
	gpid pid;
	node_id site;
	epoch_t life; /* of the site */
	uint64_t id;  /* of the exec: what home and site both call it by */
};

enum guest_phase {
	GUEST_MAKING = 1, /* its stub is being made or set up: nothing of it has been executed */
	GUEST_GIVEN,      /* its stub has the exec, and makes it whoever of us dies */
	GUEST_RUNS,       /* it executes, or has, and its home does not know its end yet */
};

/*
 * A process that executes here and whose parent's wait is on another node; its pidfd is in the
 * store as "guest.INDEX", and while it is GIVEN what tells its exec as "alarm.INDEX".
 */
struct kept_guest {
	uint32_t state;
	uint32_t phase; /* enum guest_phase */
	gpid pid;
	node_id home;
	epoch_t life; /* of home */
	uint64_t id;
	bool reused; /* the stub was there before, as somebody's relative */
};

/* A machine of a move (move.c): the copy that is not valid is written, then made valid. */
struct kept_note {
	_Atomic uint32_t valid; /* 0: none; else copy[valid - 1] */
	uint32_t side;          /* enum move_side */
	epoch_t life;           /* of the other end: what it may have executed it did in this one */
	struct mig_note copy[2];
};

/* getrusage(2), as far as it is kept. */
struct kept_used {
	uint64_t user_us;
	uint64_t system_us;
	uint64_t maxrss_kib;
	uint64_t minflt;
	uint64_t majflt;
	uint64_t inblock;
	uint64_t oublock;
	uint64_t nvcsw;
	uint64_t nivcsw;
};

/*
 * What a process, or a stub, of this node has used on others (usage.c). A pid may be given again:
 * it is known by its start.
 */
struct kept_usage {
	uint32_t state;
	gpid pid;
	gpid parent; /* who waits for it here; 0: nobody */
	uint64_t start_ns;
	uint64_t parent_start_ns;
	struct kept_used own; /* of a stub whose process has ended: that and its children there */
	/* Of children that it has waited for. kids[which] is valid, and counts the child `last`. */
	uint32_t which;
	struct kept_kids {
		struct kept_used used;
		gpid last;
		uint64_t last_start_ns;
	} kids[2];
};

#define KEPT_BLOCKS 1024 /* of pids: all that there are */
#define KEPT_WORLDS 1024 /* other nodes */

/* The tenant's world on another node, by a block of pids that it has leased. */
struct kept_world {
	node_id node; /* NODE_NONE: free */
	gpid block;   /* the first pid of it; 0: it has none */
	uint64_t aterm;
	epoch_t life; /* of the node */
};

struct kept {
	/* By block: the highest term of a FENCE that was answered (fence.c). */
	_Atomic uint64_t fences[KEPT_BLOCKS];
	struct kept_pipe pipes[KEPT_PIPES];
	struct kept_place places[KEPT_PLACES];
	struct kept_guest guests[KEPT_GUESTS];
	struct kept_note notes[KEPT_NOTES];
	struct kept_usage usages[KEPT_USAGES];
	uint32_t usages_used;   /* records beyond have never been used */
	uint32_t usage_waiters; /* some process has asked a wait for usage: others may be in one */
	gpid leaving[KEPT_LEAVING]; /* 0: free */
	struct kept_world worlds[KEPT_WORLDS];
	struct kept_moved moved[KEPT_MOVED]; /* the newest; the oldest is written over */
	uint32_t moved_next;
};

struct world;
/*
 * A relative's stub is about to be told to go, for nothing here needs it: its death is no kill of
 * the process, whoever of us sees it. Until kept_left().
 */
void kept_leave(struct world *w, gpid pid);
void kept_left(struct world *w, gpid pid);

/* What was stored before is seen before, by whoever comes after us. */
void kept_state_set(uint32_t *state, enum kept_state to);

#endif
