/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tty.h - one terminal whose users are on several nodes.
 *
 * The terminal is at its *owner*, the node that made it: there its line discipline edits, echoes,
 * raises signals and holds what was typed. Each other node has a *carrier*: a pty pair of the same
 * number, whose slave the guests there have as their terminal. The carrier's line discipline does
 * nothing to bytes, so that everything happens once; but it is a real terminal, so that reads and
 * writes, /dev/tty, SIGTTIN, SIGTTOU, orphaned groups and the foreground group are that host's own.
 *
 *   T1  a byte typed is taken from the owner's terminal only for a reader who waits for it now, and
 *       not more of them than he reads: what he leaves is the next one's, wherever that one is
 *   T2  modes, size and flushes are the owner's: calls that ask for or change them are made there
 *   T3  what a carrier's guests write before such a call is written at the owner before it
 *
 * A carrier has EXTPROC, by which Linux leaves input alone (telnet's LINEMODE came from there):
 * with ICANON the character TTY_EOF alone makes a read return 0. TOSTOP, MIN and TIME are the
 * owner's.
 *
 * How a waiting reader is found: no call tells the master's side of one, so the tasks' system calls
 * are looked at in /proc, and only while something typed lies at the owner unread.
 *
 * Everything here is stateless and blocks nowhere. Descriptors are borrowed but for those returned,
 * which are close-on-exec. Errors: -errno of the call; -ESRCH the process is gone.
 */
#ifndef KERNEL_IPC_TTY_H
#define KERNEL_IPC_TTY_H

#include <sys/types.h>

#include "base/attr.h"
#include "base/types.h"

#define TTY_EOF      4 /* ctrl-D: VEOF of a carrier */
#define TTY_CALL_MAX 64

/* As TCGETS gives them. */
struct tty_modes {
	uint32_t iflag;
	uint32_t oflag;
	uint32_t cflag;
	uint32_t lflag;
	uint8_t line;
	uint8_t cc[19];
};

/*
 * A new pair of the devpts at dev/pts below @root (a directory), unlocked: its master, not
 * blocking. It gets the number @want if that is free, else the lowest free one. @uid owns the
 * slave.
 */
must_check int tty_open_master(int root, unsigned want, uint32_t uid);
must_check int tty_number(int master);
/* A slave, with O_* @flags: of @master, or by its number. */
must_check int tty_open_peer(int master, int flags);
must_check int tty_open_slave(int root, unsigned number, int flags);

must_check int tty_modes_get(int fd, struct tty_modes *out);
/* Makes @slave the carrier of a terminal with the modes @m. */
must_check int tty_carry(int slave, const struct tty_modes *m);
bool tty_is_lines(const struct tty_modes *m); /* ICANON */

/* An ioctl that is the owner's to make (T2). */
struct tty_call {
	unsigned len; /* bytes that the third argument points to; 0: it is a number */
	bool sets;    /* they are read, and the caller must be in front; else written */
};
/* False: @command is none. */
bool tty_call_find(unsigned command, struct tty_call *out);
/* @bytes: tty_call.len of them, in or out. */
must_check int tty_call_make(int fd, unsigned command, uint64_t arg, void *bytes);
/* What the call does to the bytes that lie in a carrier. */
void tty_call_flush(int slave, unsigned command, uint64_t arg);

/* The number of the terminal behind descriptor @fd of task @pid; -ENOTTY: none of a devpts. */
must_check int tty_find(int procfs, pid_t pid, int fd);

enum tty_want {
	TTY_OPEN = 1,  /* has it open for reading */
	TTY_WAITS = 2, /* a thread waits for it to be readable, or reads it */
	TTY_ASKS = 4,  /* reads it without waiting (O_NONBLOCK) */
};
/*
 * What process @pid wants of terminal @number: bits of enum tty_want; 0 also if it is stopped. With
 * TTY_WAITS, @bytes is how many it reads, or 0: it does not say (it polls).
 */
unsigned tty_wants(int procfs, pid_t pid, unsigned number, uint64_t *bytes);

#endif
