/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.h - a ring of the last things that happened, for the moment of a crash.
 *
 * A record is a static string and three numbers: storing one costs a few
 * nanoseconds and never allocates. The ring is per process; records from
 * several threads interleave, none is torn. Dumped by CHECK and on request.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include <stdint.h>

#define TRACE_RECORDS 1024 /* power of two */

/* @what must be a string literal (it is kept by address). */
void trace(const char *what, uint64_t a, uint64_t b, uint64_t c);

/* Writes the newest @max records, oldest first, to @fd. Async-signal-safe. */
void trace_dump(int fd, unsigned max);

#endif
