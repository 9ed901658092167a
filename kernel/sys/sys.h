/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys.h - the guests' system calls: the table, the verdict on a call, the filter.
 *
 * table.def is the one list. Everything here is derived from it: rows for the
 * dispatch and for messages, sys_eval() as its meaning, sys_filter_build() as
 * the same meaning in classic BPF, which the host's kernel runs at every call.
 * Needs nothing but libc. Constant data; any thread.
 */
#ifndef KERNEL_SYS_SYS_H
#define KERNEL_SYS_SYS_H

#include <stdbool.h>

#include "base/attr.h"

/* A verdict: one of these; SYS_DENY carries the errno in its lower 16 bits. */
enum {
	SYS_NATIVE = 1 << 16, /* the host's kernel runs it */
	SYS_KERNEL = 2 << 16, /* the guest kernel is notified */
	SYS_DENY = 3 << 16,   /* fails with an errno */
	SYS_KILL = 4 << 16,   /* the process dies of SIGSYS: not an x86-64 call */
};

#define SYS_VERDICT_KIND(v)  ((v) & ~0xffff)
#define SYS_VERDICT_ERRNO(v) ((v)&0xffff)

enum sys_level {
	SYS_FULL = 1, /* as on a host */
	SYS_PART,     /* the note says what differs */
	SYS_NONE,     /* not offered; the note says why */
};

/* What an argument is. Up to SYS_ARG_SIG the host takes the lower 32 bits only. */
enum sys_arg {
	SYS_ARG_FD = 1,
	SYS_ARG_INT,
	SYS_ARG_PID,
	SYS_ARG_SIG,
	SYS_ARG_LONG,
	SYS_ARG_SIZE,
	SYS_ARG_OFF,
	SYS_ARG_PTR,
	SYS_ARG_PATH, /* a string */
	SYS_ARG_IN,   /* memory that the call reads */
	SYS_ARG_OUT,  /* memory that the call fills */
};

enum sys_cond_op {
	SYS_COND_EQ = 1, /* (uint32_t)arg & mask == value */
	SYS_COND_ANY,    /* (uint32_t)arg & mask != 0 */
	SYS_COND_EQ64,   /* arg == value */
};

struct sys_cond {
	uint8_t op;  /* enum sys_cond_op; 0: none */
	uint8_t arg; /* 0..5 */
	uint32_t mask;
	uint64_t value;
};

/* An exception of a row: decides if all its conditions hold. */
struct sys_when {
	int nr;
	int verdict;
	struct sys_cond cond[2];
	const char *note;
};

struct sys_row {
	int nr;
	const char *name;
	uint8_t args_count;
	uint8_t args[6]; /* enum sys_arg */
	int verdict;     /* when no exception decides */
	enum sys_level level;
	const char *note;
	uint16_t when_first; /* its exceptions, in order: sys_whens()[when_first ...] */
	uint16_t when_count;
};

/* The rows in ascending order of nr, and the exceptions they point to. */
const struct sys_row *sys_rows(size_t *count);
const struct sys_when *sys_whens(size_t *count);

/* The row of @nr, or NULL: no such call. */
const struct sys_row *sys_find(int nr);

/* The row with this name ("openat"), or NULL. */
const struct sys_row *sys_find_name(const char *name);

/*
 * What shall become of a call: the table's meaning, evaluated in the plainest
 * way. @arch is an AUDIT_ARCH_* value.
 */
int sys_eval(int nr, uint32_t arch, const uint64_t args[6]);

struct sock_filter; /* <linux/filter.h> */

#define SYS_FILTER_MAX 4096 /* instructions that the host accepts */

/*
 * Compiles the table into a seccomp program of at most @max instructions.
 * Returns their number, or -ENOSPC.
 */
must_check int sys_filter_build(struct sock_filter *out, size_t max);

/* A verdict as the program returns it (SECCOMP_RET_*). */
uint32_t sys_filter_ret(int verdict);

#endif
