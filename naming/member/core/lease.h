/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease.h - how long a node's guests may execute, and when the machine may say that they do not.
 *
 * The *holder* is a node: it asks the leader of naming again and again, and counts, by its own
 * clock, from when the question was *sent* that was answered last. Its guests are frozen after
 * freeze_ns without an answer and killed after kill_ns. The *book* is the leader's: it counts from
 * when a question was *heard*, by its own clock, kill_ns and what the two clocks may have drifted
 * apart by then. A question is heard after it was sent, so the book is always the later one
 * (Gray, Cheriton: "Leases", SOSP 1989, section 2).
 *
 * For overlap_ns two may lead, when the one that was deposed does not know yet. A new leader has
 * heard nobody: whom its book meets for the first time counts as heard just now, and overlap_ns
 * longer, as the other may have answered somebody. The same holds for a life of a node that it
 * has not met. And whoever leads waits that much longer before it says that somebody is over: its
 * successor may have answered. It may lead only when its tables hold all that was announced
 * before: an answer to a node that is announced dead would wake it (lease_book_lead() after a
 * barrier). A book that nobody has looked into for half of overlap_ns - its daemon was starved, or
 * stopped - leads no more until then: it may have been deposed long ago.
 *
 * Invariants (the first two over both ends, checked by the simulated world):
 *   G1  no node is fenced that can reach a majority; one that cannot fences itself in time; a death
 *       is announced only when the lease is over
 *   G2  the end of a lease never moves back
 *   G3  nobody is over in a book that does not lead
 *
 * Sans-io; no clock, no allocation: the caller gives the book's rows. One thread owns each.
 */
#ifndef NAMING_MEMBER_CORE_LEASE_H
#define NAMING_MEMBER_CORE_LEASE_H

#include "base/attr.h"
#include "base/types.h"

struct lease_conf {
	uint64_t ask_ns; /* between questions */
	uint64_t freeze_ns;
	uint64_t kill_ns;
	uint64_t overlap_ns;  /* how long a deposed leader may go on; above four elections */
	uint32_t drift_ppm;   /* of any clock against true time */
	uint64_t announce_ns; /* added for the work of killing */
};

/* 700 ms; 10 s, 30 s; 5 s; 500 ppm; 1 s. */
extern const struct lease_conf lease_conf_default;

/* ---- holder ---- */

enum lease_state {
	LEASE_NONE = 0, /* never had one: execute nothing */
	LEASE_HELD,
	LEASE_FREEZE, /* guests must be frozen */
	LEASE_OVER,   /* guests must be dead; it comes back with a new epoch only */
};

struct lease_holder {
	const struct lease_conf *conf; /* borrowed */
	uint64_t from_ns;              /* 0: none */
	bool over;                     /* was seen to be: stays so */
};

void lease_init(struct lease_holder *h, const struct lease_conf *conf);
/* The question of @sent_ns was answered, at @now_ns. Answers may come late, twice, in any order. */
void lease_answered(struct lease_holder *h, uint64_t sent_ns, uint64_t now_ns);
enum lease_state lease_look(struct lease_holder *h, uint64_t now_ns);
/* When it changes if nothing comes; UINT64_MAX: never. */
uint64_t lease_due_ns(const struct lease_holder *h, uint64_t now_ns);

/* ---- book ---- */

struct lease_row {
	node_id node;
	epoch_t epoch;
	uint64_t heard_ns; /* may be ahead, by overlap_ns */
};

struct lease_book {
	const struct lease_conf *conf; /* borrowed */
	struct lease_row *rows;        /* cap of them; the caller's */
	uint32_t count, cap;
	bool leads;         /* ends by itself, see above */
	uint64_t term;      /* of what it has heard */
	uint64_t looked_ns; /* when it was asked something last */
};

void lease_book_init(struct lease_book *b, const struct lease_conf *conf, struct lease_row *rows,
		     uint32_t cap);
/*
 * This node leads naming: a barrier that it asked for at @asked_ns, as leader of @term, which it
 * still is, was answered. What it heard in the same term it knows still: nobody else has led.
 */
void lease_book_lead(struct lease_book *b, uint64_t term, uint64_t asked_ns);
void lease_book_stop(struct lease_book *b);
/*
 * A question of that life of the node arrived. True: answer it. False: this node does not lead, or
 * knows a later life of that one. @epoch: its present one by the tables, @down: announced dead.
 * Errors of a peer: an epoch that is still to come is not answered.
 */
bool lease_book_ask(struct lease_book *b, node_id node, epoch_t asked, epoch_t epoch, bool down,
		    uint64_t now_ns);
/* The lease of that life of the node is certainly over: its death may be announced. Ask for every
 * node of the tables now and then: the first time begins the count. */
bool lease_book_over(struct lease_book *b, node_id node, epoch_t epoch, uint64_t now_ns);

#endif
