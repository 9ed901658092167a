/* SPDX-License-Identifier: Apache-2.0 */
/* place.h - the call behind `on NODE CMD`: a program asks where its next exec shall run. */
#ifndef TESTS_GUEST_PLACE_H
#define TESTS_GUEST_PLACE_H

#include "tests/guest/guest.h"

/*
 * A bare host has no such call and a small machine no such node: then all runs where it is, and
 * prints the same. Any other refusal is a failure; an exec that is refused afterwards fails itself.
 * Only calls: it may be a child of vfork, whose errno is its parent's.
 */
static inline void place_next(const char *node)
{
	must(syscall(0x5511, node) == 0 || errno == ENOSYS || errno == ENOENT);
}

#endif
