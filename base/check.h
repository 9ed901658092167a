/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - assertions about our own code, always compiled in.
 *
 * A failed CHECK prints the condition and the trace ring (trace.h) and aborts:
 * the daemons are built to be restarted under running guests. Never CHECK what
 * a guest, a peer or a disk could cause.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include "base/attr.h"

/* Prints "check failed" with the place and the last trace records; aborts. */
noreturn_fn void check_failed(const char *cond, const char *file, int line);

#define CHECK(cond)                                                                                \
	(__builtin_expect(!!(cond), 1) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))

/* A named invariant: CHECK_INV(D1, d->writer == 0 || ...). The name is what is printed first. */
#define CHECK_INV(name, cond)                                                                      \
	(__builtin_expect(!!(cond), 1) ? (void)0                                                   \
				       : check_failed(#name ": " #cond, __FILE__, __LINE__))

#endif
