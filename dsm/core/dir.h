/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir.h - directory entry of one shared page, kept at the page's home.
 *
 * Sans-io: a step reads one event and fills @out. It never blocks, allocates,
 * logs, draws randomness or reads a clock. One thread owns an entry.
 *
 *            REQ, nobody in the way: grant
 *             .--.
 *             v  |   REQ, others hold it        last ACK: grant
 *        +---------+ ----------------> +------------+
 *        |  IDLE   |                   | COLLECTING |  (other REQ: RETRY; TIMER: orders again)
 *        +---------+ <---------------- +------------+
 *             ^ last REPORT       +------------+
 *             '-------------------| RECOVERING |  (REQ: RETRY; TIMER: RECOVER again)
 *                                 +------------+
 *
 * Invariants, CHECKed at the start and the end of every step:
 *   D1  a writer is the only holder
 *   D2  waiting_for is empty exactly when the entry is IDLE
 *   D3  who is waited for in COLLECTING is a holder
 */
#ifndef DSM_CORE_DIR_H
#define DSM_CORE_DIR_H

#include "dsm/core/dsm.h"

enum dsm_dir_state {
	DSM_DIR_IDLE = 0,
	DSM_DIR_COLLECTING,
	DSM_DIR_RECOVERING,
};

/* After dsm_dir_init(): a page that nobody holds and whose home copy (zeros, round 1) is good. */
struct dsm_dir {
	epoch_t epoch;       /* of this home; grows when a region's home changes */
	uint64_t ver;        /* last round */
	dsm_set holders;     /* sharers that may hold a valid copy */
	dsm_set waiting_for; /* whose ACK or REPORT is missing */
	enum dsm_dir_state state;
	dsm_sharer writer; /* or DSM_NOBODY */
	bool copy_good; /* the home's copy is the last written, but for the present writer's writes
			 */
	bool lost;      /* the last writer died with its writes */
	/* the request that COLLECTING serves; sharer is DSM_NOBODY when the requester died
	 * meanwhile */
	dsm_sharer pending;
	bool pending_write;
	bool pending_has_copy;
	bool fetching; /* the round orders DOWNGRADE, else INVAL */
	uint32_t pending_req;
	uint64_t copy_ver; /* round that brought the home's copy; keep it beside the bytes */
	uint64_t read_ver; /* RECOVERING: newest round that a reader tells of */
};

enum dsm_dir_ev_kind {
	DSM_DIR_MSG = 1, /* msg came from msg.sharer (which the caller has authenticated) */
	DSM_DIR_GONE,    /* msg.sharer died or left for ever */
	DSM_DIR_TIMER,   /* orders unanswered for too long */
};

struct dsm_dir_ev {
	enum dsm_dir_ev_kind kind;
	struct dsm_msg msg;
};

/* At most three messages; `to` is a set, each member gets its own copy with msg.sharer filled in.
 */
struct dsm_dir_out {
	unsigned count;
	struct {
		dsm_set to;
		struct dsm_msg msg;
	} send[3];
	bool store; /* before sending: the bytes that came with the event become the home's copy */
	bool set_timer; /* orders are out: call again with DSM_DIR_TIMER if nothing comes */
};

void dsm_dir_init(struct dsm_dir *d, epoch_t epoch);

/*
 * A new home takes over a page of which it knows nothing but its own copy: asks all of @live (if
 * that is empty the entry is ready at once). @epoch is greater than the old one's; @copy_ver is
 * that of the copy, or 0 for none.
 */
void dsm_dir_recover(struct dsm_dir *d, epoch_t epoch, dsm_set live, uint64_t copy_ver,
		     struct dsm_dir_out *out);

/*
 * Advance @d by @ev. Borrows all three; @out is overwritten, owns no memory.
 *
 * Returns 0; or -EPROTO: impossible in this state: drop it and count the peer as
 * faulty unless the network may repeat messages; or -ESTALE: of an older epoch,
 * drop it. On error @d is unchanged and @out is empty.
 */
must_check int dsm_dir_step(struct dsm_dir *d, const struct dsm_dir_ev *ev,
			    struct dsm_dir_out *out);

#endif
