/* SPDX-License-Identifier: Apache-2.0 */
/* gate_priv.h - between gate.c (in and out of a gate) and gate_call.c (what is done in it). */
#ifndef KERNEL_HOST_GATE_PRIV_H
#define KERNEL_HOST_GATE_PRIV_H

#include <signal.h>

#include "kernel/host/gate.h"

#define CALL_MS        10000 /* for one injected call; a big munmap takes long */
#define STOP_EVENT(st) ((unsigned)(st) >> 16)
#define SYSCALL_STOP   (SIGTRAP | 0x80)
#define GATE_BYTES     16 /* at the end of the vdso; 11 of code */
#define GATE_LOOP      2  /* where the loop starts in it */

extern const uint8_t gate_code[GATE_BYTES];

void gate_slot_free(struct gate_slots *s, struct gate_slot *slot);
/* Makes of a thread's registers those of one that goes on at @rip of its gate or area. */
void gate_regs_enter(struct user_regs_struct *r, uint64_t rip);
/* The code at the end of a vdso, and in the slot where it is. -ENOEXEC: there is no room. */
must_check int gate_put_code(struct gate *g, uint64_t vdso_end);
/* To a stop at which the kernel looks at signals and restarts before it goes back. */
must_check int gate_to_signal_stop(struct gate *g);

#endif
