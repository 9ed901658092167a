/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cursor.h - where in a ring of numbered events somebody goes on who names the last one he has.
 *
 * A cursor is "LIFE-NUMBER": the life of the daemon, in hexadecimal, and the event's number in it,
 * from 1 on. Sans-io. The numbers in a cursor are the caller's, and may be any.
 */
#ifndef CTL_CURSOR_H
#define CTL_CURSOR_H

#include "base/attr.h"
#include "base/types.h"

struct cursor_ring {
	uint64_t life; /* drawn by each daemon */
	uint64_t next; /* number of the next event; the first is 1 */
	uint64_t kept; /* so many of the newest are there */
};

/* Errors: -EINVAL. */
must_check int cursor_read(const char *text, uint64_t *life, uint64_t *number);
/* The first that is not forgotten; as great as next when there is none. */
uint64_t cursor_oldest(const struct cursor_ring *r);
/*
 * The first event behind number @number of @life.
 *
 * Errors: -ESTALE it is of another daemon; -ERANGE what follows it is forgotten in part or whole;
 * -EINVAL there is no such event yet.
 */
must_check int cursor_from(const struct cursor_ring *r, uint64_t life, uint64_t number,
			   uint64_t *from);

#endif
