/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init.h - how pandod and the guest kernel talk to a tenant's pando-init.
 *
 * pando-init is pid 1 of the tenant's pid namespace on one node. It keeps what
 * must survive the death of a guest kernel: descriptors by name (the store) and
 * the request slots. It starts session leaders, steers pids, holds the lease.
 *
 * Transport: AF_UNIX SOCK_SEQPACKET; one datagram is one message, descriptors
 * ride along as SCM_RIGHTS. Both ends run the same build (a tenant is restarted
 * to upgrade), so the structs go over as they are; lengths are checked all the
 * same, and a wrong message is answered with -EPROTO and counted, never obeyed.
 *
 * Requests of one connection are answered in order, but INIT_SPAWN. Events
 * (INIT_EV_*) come in between on connections that said INIT_WATCH. A connection
 * that does not read what it is sent is closed; it may come back and WATCH again.
 */
#ifndef KERNEL_TENANT_INIT_H
#define KERNEL_TENANT_INIT_H

#include "base/types.h"

#define INIT_KEY_MAX 48    /* bytes with the NUL: "listener.0", "pty.7", "uffd.4711" */
#define INIT_MSG_MAX 65536 /* bytes of one message, header included */
#define INIT_FDS_MAX 16

/* Descriptors that pando-init and pando-kernel find open when they are exec'd. */
enum {
	INIT_FD_CONTROL = 3, /* pando-init: the connection of pandod, role POD from the start */
	INIT_FD_LISTEN = 4,  /* pando-init: listening socket for later connections */
	INIT_FD_FILTER = 5,  /* pando-init: memfd with the guests' struct sock_filter[] */
	INIT_FD_MORE = 6,    /* pando-init: what its arguments "NAME=FD" tell */

	KERNEL_FD_POD = 3,  /* pando-kernel: rpc connection to pandod (socketpair) */
	KERNEL_FD_INIT = 4, /* pando-kernel: connection to pando-init, HELLO is said already */
	KERNEL_FD_PROC = 5, /* pando-kernel: procfs of the node's pid namespace, only its own
			     * tenant's processes visible: openat(KERNEL_FD_PROC, "4711/maps") */
	KERNEL_FD_UFFD = 6, /* pando-kernel: /dev/userfaultfd; closed where the host has none */
};

enum init_op {
	INIT_HELLO = 1, /* arg0: enum init_role -> arg0: inode of the tenant's pid namespace, arg1:
			 * messages refused since the start, fd:
			 * pidfd of pando-init. First message of a connection; the role is for good
			 * (another one: -EPERM; the same again: the same answer). A new kernel's
			 * connection supersedes the old one's, which is closed; what that had put
			 * and dropped is done before. */
	INIT_PUT,       /* key + one fd: keep it. Payload: more keys, each with its NUL, one fd for
			 * each. -EEXIST: the key is taken, unless arg0 is INIT_PUT_REPLACES.
			 * -ENOSPC: full. The first error; the others are done. */
	INIT_GET,       /* key -> one fd (a duplicate; the store keeps its own). -ENOENT. */
	INIT_DROP,      /* key. Payload: more keys. -ENOENT: the first error; the others are done.
			 * Not answered if arg0 is INIT_DROP_QUIETLY. */
	INIT_LIST,      /* key: a prefix -> payload: matching keys, each with its NUL */
	INIT_SPAWN,     /* payload: struct init_spawn; fds: stdin, stdout, stderr (none with a tty).
			 * -> arg0: pid in the tenant, fds: pidfd[, pty master], once its exec has
			 * succeeded. Or -errno, arg0: enum init_step that failed. Not answered
			 * while no guest kernel runs; others overtake it, see tag. The master of
			 * a tty is in the store as well ("pty.PID") until the exit is acknowledged.
			 * key: its name, or "": the pidfd is in the store ("KEY.PID") before the
			 * answer; asked again by that name it is the same one, and without a name
			 * one that nobody waits for any more is killed.
			 * -ENOSPC: no pid block yet, or the store is full. -EBUSY: too many at once. */
	INIT_BLOCK,     /* arg0: first pid, arg1: count: steer pids into this block too. Fine if it
			 * is known already. -EINVAL, -ENOSPC. */
	INIT_UNBLOCK,   /* arg0: first pid: give out no more of this block. -ENOENT. */
	INIT_CURSOR,    /* -> arg0: last pid given out natively; arg1: pids in all blocks;
			 * arg2: pids found outside every block since the start (should stay 0) */
	INIT_LEASE,     /* POD only. arg0: when the question was sent that the machine has answered,
			 * CLOCK_BOOTTIME of pando-init's time namespace in ns. Guests are frozen arg1
			 * ms after that, and killed arg2 ms after it: pando-init exits. No limit
			 * until the first one. A later question thaws; an older one changes nothing.
			 * -EINVAL: arg1 is 0 or not less than arg2. */
	INIT_WATCH, /* events to this connection from now on; unacknowledged ones are told again */
	INIT_ACK,   /* arg0: event number: forget it. -ENOENT. */
	INIT_SHUTDOWN, /* POD only: pando-init exits, which kills all guests. No answer. */

	INIT_EV_EXIT = 100, /* arg0: pid of a session leader (INIT_SPAWN) that was reaped; arg1:
			     * its wait status; arg2: event number */
	INIT_EV_STORED,     /* key: what another connection stored (how a new pandod finds the guest
			     * kernel) */
	INIT_EV_PIDS, /* the blocks are more than half in use: arg0: ids that are still free in
		       * the best one */
};

enum {
	INIT_PUT_REPLACES = 1,
	INIT_DROP_QUIETLY = 1,
};

enum init_role {
	INIT_ROLE_POD = 1,
	INIT_ROLE_KERNEL,
};

/* Where a SPAWN failed. */
enum init_step {
	INIT_STEP_REQUEST = 1, /* refused before anything was started */
	INIT_STEP_CLONE,
	INIT_STEP_TTY,
	INIT_STEP_CGROUP,
	INIT_STEP_IDS,
	INIT_STEP_CHDIR,
	INIT_STEP_EXEC,
};

struct init_msg {
	uint32_t op;    /* enum init_op; a reply carries the request's */
	int32_t result; /* replies: 0 or more, or -errno */
	uint32_t tag;   /* chosen by the requester; a reply carries the request's */
	uint32_t reserved;
	uint64_t arg[3];
	char key[INIT_KEY_MAX];
	/* the payload follows, up to INIT_MSG_MAX in all */
};

enum {
	INIT_SPAWN_TTY = 1,  /* a new pty of the tenant's devpts as stdin, stdout, stderr and
				controlling terminal */
	INIT_SPAWN_DEAF = 2, /* with all signals blocked: who is signalled as soon as its exec has
				succeeded may not have made its first call yet */
};

/*
 * Payload of INIT_SPAWN: this, then argc + envc strings and the working directory, each with its
 * NUL. argv[0] is the program, an absolute path; a leading '-' in front of it is left out for
 * the exec ("-/bin/bash" is a login shell).
 */
struct init_spawn {
	uint32_t flags;
	uint32_t uid; /* inside the tenant, not 0; the group is the same */
	uint32_t argc;
	uint32_t envc;
	uint16_t rows;
	uint16_t cols;
	uint64_t data_max_bytes; /* soft RLIMIT_DATA; 0: as it is */
};

/*
 * Request slots, in the memfd that the store keeps under INIT_KEY_SLOTS; the
 * guest kernel maps it. A notification is received *into* a slot, so that it is
 * known before anybody could die: a slot whose id is not 0 and whose state is
 * not SENT is unfinished, and the successor redoes it or answers it. The id is
 * the idempotency key of whatever it causes on other nodes.
 */
#define INIT_KEY_SLOTS "slots"
/* The seccomp listener of all guests of this tenant on this node. */
#define INIT_KEY_LISTENER "listener"
/* The rpc connection to a new pandod, put there by it. */
#define INIT_KEY_POD "pod"
/* The tenant's control socket, listening: put there by pandod, served by the guest kernel. */
#define INIT_KEY_API "api"
/* A pidfd of pando-init: setns(fd, CLONE_NEWPID) joins the tenant's pids. */
#define INIT_KEY_INIT "init"
/* The FUSE connection of the tenant's /proc (kernel/procfs/), where tenant_cfg.procfs asked for it.
 */
#define INIT_KEY_PROCFS "procfs"
/* Directory of the native procfs of the tenant's pids: /proc/.host without a path to it. */
#define INIT_KEY_NATIVE "proc.native"
/* v2 directories, writable by the guest kernel: where guests run, and where it makes a group for
 * each guest on the move. */
#define INIT_KEY_RUN    "cgroup.run"
#define INIT_KEY_FROZEN "cgroup.frozen"
#define INIT_SLOTS      1024

enum init_slot_state {
	INIT_SLOT_TAKEN = 0, /* received, or free while id is 0 */
	INIT_SLOT_DONE = 1,  /* its effect is done, result holds the answer */
	INIT_SLOT_SENT = 2,  /* answered; may be used again */
};

struct init_slot {
	uint32_t state;
	int32_t error;    /* the answer: negative errno, or 0 */
	int64_t val;      /* the answer: return value */
	uint32_t flags;   /* the answer: SECCOMP_USER_NOTIF_FLAG_CONTINUE or 0 */
	uint32_t step;    /* free for the handler: how far a call of several steps has come */
	uint64_t note[4]; /* free for the handler: what its next step needs */
	uint8_t notif[80]
		__attribute__((aligned(8))); /* struct seccomp_notif; its id comes first */
};

#endif
