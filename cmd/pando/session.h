/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - carries the bytes of a session between our own descriptors 0, 1, 2 and the ends that
 * the daemon gave us. The tenant never gets a descriptor of ours.
 *
 * A thread per direction, blocking: no direction waits for another, and no flag is set on
 * descriptors that we share with the caller's shell.
 */
#ifndef CMD_PANDO_SESSION_H
#define CMD_PANDO_SESSION_H

#include "base/attr.h"

struct session_io;

/* @master: the pty's; our terminal goes to raw mode until session_io_end(). Taken. -errno. */
must_check int session_io_tty(struct session_io **out, int master);
/* @in, @out_, @err: our ends of the program's three pipes. Taken. -errno. */
must_check int session_io_pipes(struct session_io **out, int in, int out_, int err);
/* Waits until all the program's output has been written to ours; restores the terminal. */
void session_io_end(struct session_io *s);
/* Copies our terminal's size to the session's. */
void session_io_resize(struct session_io *s);

#endif
