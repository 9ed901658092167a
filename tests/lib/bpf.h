/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpf.h - an interpreter of classic BPF as seccomp runs it, for tests.
 *
 * Written from linux/filter.h and seccomp(2), independent of the compiler that it
 * checks: the whole instruction set that seccomp accepts, with the host's own
 * checks of a program (every path ends in a return, no jump leaves it).
 */
#ifndef TESTS_LIB_BPF_H
#define TESTS_LIB_BPF_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bpf_run {
	uint32_t ret;       /* SECCOMP_RET_* */
	unsigned steps;     /* instructions executed */
	bool looks_at_args; /* loaded anything but nr and arch: the host cannot cache the answer */
};

/* Whether the host would accept the program: known instructions, jumps inside, a return at the end.
 */
bool bpf_valid(const struct sock_filter *prog, size_t len);

/* Runs a valid program. */
struct bpf_run bpf_eval(const struct sock_filter *prog, size_t len, const struct seccomp_data *d);

#endif
