/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - named places where a test may kill, stop or fail a daemon.
 *
 *	FAULT("kernel.notif.taken");                  dies there when armed to
 *	r = FAULT_ERR("naming.log.write", r);         r, or the armed errno
 *
 * Compiled into every build; while nothing is armed a point costs one load and
 * one predicted branch. A point is armed for its n-th passage and disarms
 * itself when it fires. All points of a program are found at start (they live
 * in a section of their own), so that a test can walk through every one.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include "base/attr.h"

enum fault_action {
	FAULT_NONE = 0,
	FAULT_KILL, /* SIGKILL to ourselves */
	FAULT_STOP, /* SIGSTOP to ourselves */
	FAULT_FAIL, /* FAULT_ERR gives -EIO */
};

struct fault_point {
	const char *name;
	unsigned passed;
	unsigned fire_at; /* fires when passed reaches this; 0: not armed */
	enum fault_action action;
} __attribute__((aligned(32))); /* a compiler aligns objects as it likes up to this: no gaps */

extern unsigned fault_armed_count;

/* Behind the macros. Returns 0, or -EIO if the point fires with FAULT_FAIL. */
int fault_pass(struct fault_point *p);

/*
 * Arms @name for its @nth next passage (1 is the next one).
 * Errors: -ENOENT no such point in this program; -EINVAL nth is 0.
 */
must_check int fault_arm(const char *name, unsigned nth, enum fault_action action);

/* Arms from text, "name[:nth[:kill|stop|fail]]". Errors as above. */
must_check int fault_arm_text(const char *text);

/* The points of this program, sorted as the linker laid them. @n is set to their number. */
struct fault_point *fault_points(size_t *n);

#define FAULT_POINT_(id, nm)                                                                       \
	static struct fault_point id                                                               \
		__attribute__((section("pando_faults"), used)) = { nm, 0, 0, FAULT_NONE }

#define FAULT(nm)                                                                                  \
	do {                                                                                       \
		FAULT_POINT_(fault_here_, nm);                                                     \
		if (__builtin_expect(fault_armed_count != 0, 0))                                   \
			(void)fault_pass(&fault_here_);                                            \
	} while (0)

#define FAULT_ERR(nm, r)                                                                           \
	({                                                                                         \
		FAULT_POINT_(fault_here_, nm);                                                     \
		int fault_r_ = __builtin_expect(fault_armed_count != 0, 0)                         \
				       ? fault_pass(&fault_here_)                                  \
				       : 0;                                                        \
		fault_r_ != 0 ? fault_r_ : (r);                                                    \
	})

#endif
