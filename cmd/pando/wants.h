/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wants.h - what `up` is asked for, beside what runs in the directory already.
 *
 * Settings belong to a node's guard for as long as that lives. So what was said and differs from
 * what runs is refused, and a node that is started beside others gets their settings where nothing
 * was said.
 */
#ifndef CMD_PANDO_WANTS_H
#define CMD_PANDO_WANTS_H

#include "cmd/pando/nodehost.h"

struct wants {
	bool local;
	const char *name; /* of a host's node */
	long count;
	long cpu_milli; /* 0: no limit */
	bool no_balance;
	char lease[48]; /* in ms; "": as is */
	struct ssh_where ssh;
	/* What was said, as it was; NULL: nothing. */
	const char *count_text, *cpus_text, *lease_text, *ssh_text, *name_text;
};

/*
 * Asks the guards that run in c->dir, under its lock. Sets what of @w was not said, the place for
 * ssh included where a node runs (@runs). Prints and returns a code.
 */
must_check int wants_settle(struct ctx *c, struct wants *w, bool *runs);

#endif
