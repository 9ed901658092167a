/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.h - what `up` and `join` ask before they start anything. */
#ifndef CMD_PANDO_DOCTOR_H
#define CMD_PANDO_DOCTOR_H

#include "cmd/pando/cmd.h"

/* 0, or prints the first check that forbids to run here and returns a code. Warnings are silent. */
must_check int doctor_gate(struct ctx *c);

#endif
