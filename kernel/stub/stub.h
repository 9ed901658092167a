/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stub.h - how the guest kernel and the stub program talk. Header only.
 *
 * A stub is a process without a life of its own: it holds a pid's place on a
 * node where its relatives are while the process executes elsewhere. All its
 * signals are blocked; it waits for one, tells the guest kernel by the magic
 * call, and does what the answer says. The same program is the zygote: a stub
 * in which an image is built.
 *
 * The magic call is a system call number that no kernel has; the guests' filter
 * routes it to the guest kernel:
 *
 *	answer = syscall(STUB_MAGIC, signo, &siginfo, STUB_TABLE)
 *
 *   signo   the signal that came, or 0: the last table is done
 *   answer  0: wait for the next signal
 *           n, 1..STUB_CALLS_MAX: make the first n calls of the table, then ask again with signo 0
 *           else (nobody listens): as 0
 *
 * The guest kernel writes the table and its scratch bytes with
 * process_vm_writev() while the stub waits for the answer, and reads the results
 * with process_vm_readv(). Nothing else is shared; a stub has no descriptor.
 * To get a stub to ask: queue STUB_SIGNAL to it.
 *
 * A child that a table bears by clone3 does not go on with the table: it waits
 * for signals like any stub. In a stub a table may be made of any call that
 * keeps STUB_BASE..STUB_END mapped; what replaces the whole address map is a
 * matter for the gate (kernel/host/gate.h).
 *
 * The file is mode 0111 with cap_checkpoint_restore=ep, on a mount without
 * nosuid: set_tid asks for the capability of the caller, not of its tracer.
 */
#ifndef KERNEL_STUB_STUB_H
#define KERNEL_STUB_STUB_H

/* Plain numbers: the stub's assembler reads this file too. */
#define STUB_MAGIC       0x5510
#define STUB_BASE        0x10000 /* text; the lowest address that a host gives to anyone */
#define STUB_DATA        0x11000 /* siginfo */
#define STUB_TABLE       0x12000 /* struct stub_call[STUB_CALLS_MAX] */
#define STUB_CALLS_MAX   512
#define STUB_SCRATCH     0x1a000 /* bytes for what calls point to */
#define STUB_SCRATCH_LEN 0x6000
#define STUB_END         0x20000
#define STUB_SIGNAL      64 /* SIGRTMAX; queued by the guest kernel: "ask me" */

#define STUB_COMM       "pando-stub" /* of its file, and so what the host calls it */
#define STUB_CALL_BYTES 64

#ifndef __ASSEMBLER__

#include <stdint.h>

/* One system call of a table. */
struct stub_call {
	int64_t nr;
	uint64_t arg[6];
	int64_t ret; /* filled in: the result, or -errno */
};

_Static_assert(sizeof(struct stub_call) == STUB_CALL_BYTES, "the interpreter steps by this");
_Static_assert(STUB_TABLE + STUB_CALLS_MAX * STUB_CALL_BYTES == STUB_SCRATCH, "no hole");

#endif
#endif
