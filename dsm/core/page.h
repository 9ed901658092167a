/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page.h - a shared page as one of its sharers sees it.
 *
 * Sans-io, like dir.h. The caller turns faults of local programs into events,
 * carries out the effects on its copy of the page, and sends the messages to the
 * page's home.
 *
 *	INVALID --GRANT_READ--> READ --GRANT_WRITE--> WRITE
 *	   ^ ^----INVAL----------'  ^----DOWNGRADE-----' |
 *	   '---------------------INVAL-------------------'
 *
 * Invariants, CHECKed at the start and the end of every step:
 *	D4  what is kept for the home (given up, not SETTLED) belongs to a round already obeyed
 *	D5  a request is outstanding exactly when more is wanted than held
 */
#ifndef DSM_CORE_PAGE_H
#define DSM_CORE_PAGE_H

#include "dsm/core/dsm.h"

/* All zero plus dsm_page_init() is a page not held. */
struct dsm_page {
	epoch_t epoch; /* of the home we obey */
	enum dsm_hold hold;
	enum dsm_hold want; /* what local programs wait for */
	uint32_t req;       /* number of the outstanding request, or of the last one */
	bool outstanding;
	uint64_t seen;     /* newest round obeyed */
	uint64_t hold_ver; /* round of the grant that gave us what we hold */
	uint64_t kept_ver; /* 0, or the round whose bytes we keep until SETTLED */
	bool kept_copy;    /* the ACK of that round said has_copy */
};

enum dsm_page_ev_kind {
	DSM_PAGE_FAULT_READ = 1,
	DSM_PAGE_FAULT_WRITE,
	DSM_PAGE_MSG,   /* from the home, authenticated by the caller */
	DSM_PAGE_TIMER, /* something is unanswered for too long, or a RETRY pause is over */
};

struct dsm_page_ev {
	enum dsm_page_ev_kind kind;
	struct dsm_msg msg;
};

/* What to do with the local copy, in this order, before the messages leave. */
struct dsm_page_out {
	bool drop;      /* what was kept is safe at the home */
	bool protect;   /* no local program may write any more */
	bool keep;      /* take the bytes aside, to send them now and again until dropped */
	bool unmap;     /* no local program may read any more */
	bool install;   /* the bytes that came with the message become the local copy */
	bool map_read;  /* let programs read; wake who waits for that */
	bool map_write; /* let programs write; wake everybody */
	bool lost;      /* with map_*: the bytes are older than the last write, its writer died */

	unsigned count; /* messages to the home; data: the kept bytes, or else the local copy */
	struct dsm_msg send[2];
	bool set_timer;
};

void dsm_page_init(struct dsm_page *p, epoch_t epoch);

/* As dsm_dir_step(). -ESTALE: of an old home or an old round, dropped. */
must_check int dsm_page_step(struct dsm_page *p, const struct dsm_page_ev *ev,
			     struct dsm_page_out *out);

#endif
