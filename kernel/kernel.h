/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.h - how pandod drives a guest kernel: command line, descriptors, methods.
 *
 * pandod starts `pando-kernel TENANT_ID TENANT_NAME NODE_ID NODE_NAME` as root of the tenant's user
 * namespace, in a mount namespace with nothing in it, outside the tenant's pid namespace, with the
 * descriptors KERNEL_FD_* of kernel/tenant/init.h open and nothing else but 0, 1, 2. It may be
 * killed at any instant: pandod then starts a successor the same way, which takes everything over
 * from pando-init's store and answers what was left open. A pandod that comes back gives the
 * running kernel a new connection: INIT_PUT "pod" to pando-init.
 *
 * Messages are kernel.proto's, packed by protobuf-c; a reply's message stands beside its method.
 * What a kernel says is said by a tenant: pandod treats it as untrusted and answers only for this
 * tenant.
 *
 * Errors of a reply: -EINVAL a field is out of range; -EPROTO the body does not parse; -ESRCH no
 * such pid; -EAGAIN no pid block yet, or the guests' kernel is still starting, ask again; -ENOENT,
 * -EACCES, ... of the program that a session was to start.
 */
#ifndef KERNEL_KERNEL_H
#define KERNEL_KERNEL_H

#include "base/types.h"

#define KERNEL_METHOD(n) ((uint32_t)'K' << 16 | (n))

enum kernel_method {
	/* pandod asks, the kernel answers */
	KERNEL_SESSION_START = KERNEL_METHOD(1), /* SessionStart -> SessionStarted + descriptors */
	KERNEL_SESSION_LIST = KERNEL_METHOD(2),  /* (empty) -> SessionList: those still running */
	KERNEL_SESSION_ACK = KERNEL_METHOD(3),   /* one-way SessionAck */
	KERNEL_PS = KERNEL_METHOD(4),            /* PsRequest -> ProcessList */
	KERNEL_SIGNAL = KERNEL_METHOD(5),        /* Signal -> (empty) */
	KERNEL_MIGRATE = KERNEL_METHOD(6),       /* Migrate -> Outcome */
	KERNEL_WHY = KERNEL_METHOD(7),           /* Why -> WhyAnswer */
	KERNEL_STATUS = KERNEL_METHOD(8),        /* (empty) -> Status */
	KERNEL_FAULT_ARM = KERNEL_METHOD(9),     /* FaultArm -> (empty); -ENOENT no such point */
	KERNEL_NODES = KERNEL_METHOD(10),        /* one-way Nodes */
	KERNEL_IDENTITY = KERNEL_METHOD(11),     /* Identity -> (empty) */
	KERNEL_PEER_IN = KERNEL_METHOD(12),      /* PeerIn + descriptor -> (empty) */
	KERNEL_QUOTA = KERNEL_METHOD(14),        /* one-way Quota */
	KERNEL_STOP = KERNEL_METHOD(13),         /* Stop -> (empty), then the kernel exits with 0 */
	/* SessionAttach + descriptor -> SessionInfo. Between kernels: a stream that it opens. */
	KERNEL_SESSION_ATTACH = KERNEL_METHOD(16),

	/* the kernel asks, pandod answers */
	KERNEL_READY = KERNEL_METHOD(32),        /* one-way Ready, first message of a connection */
	KERNEL_SESSION_EXIT = KERNEL_METHOD(33), /* one-way SessionExit, until acknowledged */
	KERNEL_PIDS_WANTED = KERNEL_METHOD(34),  /* PidsWanted -> PidsGranted */
	KERNEL_PEER_WANTED = KERNEL_METHOD(35),  /* PeerWanted -> (empty) + descriptor */
	KERNEL_PLACE = KERNEL_METHOD(36),        /* Place -> Placed */
	KERNEL_MOVED = KERNEL_METHOD(40),        /* one-way Moved */
	KERNEL_API = KERNEL_METHOD(41), /* ApiAsk -> ApiAnswer + descriptors; -EBUSY too many */
};

/*
 * The magic system call by which a program (`on NODE CMD`) says where its next exec shall run:
 * syscall(KERNEL_SYS_ON, "n2") -> 0, or an errno: -ENOENT no such node, -EHOSTDOWN it does not
 * answer for some seconds.
 */
#define KERNEL_SYS_ON 0x5511

#endif
