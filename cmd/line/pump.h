/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pump.h - carries the bytes of a session without a terminal between our own descriptors 0, 1, 2
 * and the ends that the daemon gave us. The tenant never gets a descriptor of ours.
 *
 * A thread per direction, blocking: no direction waits for another, and no flag is set on
 * descriptors that we share with the caller's shell.
 */
#ifndef CMD_LINE_PUMP_H
#define CMD_LINE_PUMP_H

#include "base/attr.h"

struct session_io;

/* @in, @out_, @err: our ends of the program's three pipes. Taken. -errno. */
must_check int session_io_pipes(struct session_io **out, int in, int out_, int err);
/* Waits until all the program's output has been written to ours. */
void session_io_end(struct session_io *s);

#endif
