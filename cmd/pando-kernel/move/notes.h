/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notes.h - what was refused to a process lately because of where it runs, for `pando why`.
 *
 * Few and short: a guest may make as many as it likes. They are of this node and of this life of
 * its guest kernel: a move leaves them behind. The loop's thread.
 */
#ifndef PANDO_KERNEL_NOTES_H
#define PANDO_KERNEL_NOTES_H

#include "cmd/pando-kernel/world.h"

#define NOTE_TEXT_MAX  200 /* its NUL included; a longer one is cut */
#define NOTES_MAX      64  /* of all processes */
#define NOTES_EACH_MAX 4   /* of one */

struct note {
	char text[NOTE_TEXT_MAX]; /* printable */
	uint64_t at_ns;           /* the last time, by the loop's clock */
	uint32_t times;           /* that it was refused by these words */
};

/* Of the process @pid (the node's number of its leader). Nothing is kept of one that is gone. */
void notes_add(struct world *w, pid_t pid, const char *fmt, ...) printf_like(3, 4);

/* Those of @pid, the newest first; borrowed until the next notes_add(). Returns how many. */
size_t notes_of(struct world *w, gpid pid, const struct note *out[NOTES_EACH_MAX]);

#endif
