/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsm.h - what the two sides of the page protocol say to each other.
 *
 * Every page of a region has a home, which keeps its directory entry (dir.h) and
 * a copy of its bytes; every sharer keeps a cache entry (page.h). Many sharers
 * may read or one may write, and a read sees the last write (sequentially
 * consistent; Li and Hudak, "Memory coherence in shared virtual memory systems",
 * TOCS 1989: the fixed distributed manager, with the owner's copy kept at home).
 *
 * The network may lose, repeat, delay and reorder any message. What makes that
 * harmless:
 *   - a request carries the requester's number `req`; a grant names the request it
 *     answers, and one that answers nothing outstanding is ignored;
 *   - every change of hands is a round with a version `ver` that only grows; an
 *     order or a grant of an older round than the last one obeyed is refused;
 *   - who gives up a written page keeps its bytes until the home says SETTLED;
 *   - the home keeps its own copy while somebody writes, so that a grant that never
 *     arrived loses nothing;
 *   - each side repeats what is unanswered when its timer fires.
 *
 * What comes of it, to whoever looks from outside (D1 to D5 are in the headers of the two sides):
 *   D6  a read sees the last write
 *   D7  bytes are not lost while a sharer or home that has them lives; one that is still to hear
 *       what a dead home has said (give it up, it is settled) counts as dead with it
 *
 * Sharers are numbered 0..63 within a region by its directory of sharers.
 */
#ifndef DSM_CORE_DSM_H
#define DSM_CORE_DSM_H

#include "base/attr.h"
#include "base/types.h"

#define DSM_SHARERS_MAX 64

typedef uint64_t page_no; /* index of a 4 KiB page within its region */
typedef uint8_t dsm_sharer;
typedef uint64_t dsm_set; /* bit i: sharer i */

#define DSM_NOBODY ((dsm_sharer)0xff)

static inline dsm_set dsm_bit(dsm_sharer s)
{
	return (dsm_set)1 << s;
}

enum dsm_kind {
	/* sharer to home */
	DSM_REQ_READ = 1, /* req, has_copy is 0 */
	DSM_REQ_WRITE,    /* req, has_copy: I hold a readable copy */
	DSM_ACK,          /* ver, has_copy: I still read; has_data: my writes come along */
	DSM_REPORT,       /* state, ver of what is held or kept, seen, has_data: answers RECOVER */
	/* home to sharer */
	DSM_GRANT_READ,  /* req, ver, has_data is 1; lost: the bytes are not the last written */
	DSM_GRANT_WRITE, /* req, ver, has_data: 0 if the sharer's own copy is good */
	DSM_RETRY,       /* req: busy, ask again later */
	DSM_INVAL,       /* ver: give it up */
	DSM_DOWNGRADE,   /* ver: write no more; has_data: send the bytes even if you only read */
	DSM_SETTLED,     /* ver: your bytes of that round are safe */
	DSM_RECOVER,     /* a new home asks what you hold; epoch is the new one */
};

/* State of a page at a sharer; the order matters: more is greater. */
enum dsm_hold {
	DSM_INVALID = 0,
	DSM_READ,
	DSM_WRITE,
};

/* One message. The bytes of the page, where has_data says so, travel beside it. */
struct dsm_msg {
	enum dsm_kind kind;
	dsm_sharer sharer; /* the sharer's side of the exchange, whichever way it goes */
	bool has_data;
	bool has_copy;
	bool lost;
	enum dsm_hold state;
	uint32_t req;
	uint64_t ver;
	uint64_t seen; /* REPORT: newest round the sharer has obeyed */
	epoch_t epoch; /* of the home */
};

#endif
