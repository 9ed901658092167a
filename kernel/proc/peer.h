/* SPDX-License-Identifier: Apache-2.0 */
/* peer.h - methods between the guest kernels of one tenant; messages are peer.proto's. */
#ifndef KERNEL_PROC_PEER_H
#define KERNEL_PROC_PEER_H

#include "kernel/kernel.h"

enum peer_method {
	PEER_RUN = KERNEL_METHOD(64),     /* Run -> Ran */
	PEER_CHANGED = KERNEL_METHOD(65), /* Changed -> (empty) */
	PEER_RAISE = KERNEL_METHOD(66),   /* Raise -> (empty) */
	PEER_RELAY = KERNEL_METHOD(67),   /* one-way: length of Relay, Relay, bytes */
	PEER_ASK = KERNEL_METHOD(68),     /* Ask -> Ran; -ENOENT: it does not, and never will */
	PEER_PORT = KERNEL_METHOD(82),    /* Port -> (empty): held here; -ENOENT: not */
	PEER_BRIDGE = KERNEL_METHOD(83),  /* a stream: Port, then frames (bridge.c) */
	PEER_STREAM = KERNEL_METHOD(80),  /* Stream -> Streamed */
	PEER_STREAMS_HELD = KERNEL_METHOD(81), /* one-way StreamsHeld */
	PEER_MOVE = KERNEL_METHOD(96),         /* one-way Move */
	PEER_IMAGE = KERNEL_METHOD(97),        /* a stream that Image opens */
	PEER_RELAY_MOVED = KERNEL_METHOD(98),  /* RelayMoved -> (empty); -ENOENT: no such relay */
	PEER_HOLD = KERNEL_METHOD(99),         /* Hold -> (empty); -ESRCH: it has ended */
	PEER_SEEK = KERNEL_METHOD(100),        /* one-way Hold: it has moved, ask who has it */
	PEER_FOLLOW = KERNEL_METHOD(101),      /* Follow -> (empty) */
	PEER_KILL = KERNEL_METHOD(91),         /* Kill -> (empty); -ESRCH: nobody here */
	PEER_GROUP = KERNEL_METHOD(92),        /* Group -> (empty) */
	PEER_LOOK = KERNEL_METHOD(93),         /* Look -> Looked */
	PEER_TTY = KERNEL_METHOD(90), /* Tty -> Tty; -ENOENT: no such terminal, or it hung up */
};

#endif
