/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steer.h - keeps the host's pid allocator inside the blocks that this node was
 * lent, so that a native pid or tid is unique in the machine.
 *
 * The allocator counts upwards from ns_last_pid and skips what is in use; nothing
 * stops it at a block's end (pid_max would, but then clone3(set_tid) refuses the
 * pids of other nodes). So the cursor is read often, and moved to another block,
 * or to the start of this one, while there is still room for what can happen
 * until the next look: 20,000 ids a second were seen on two cores. A world that is calm is looked
 * at the less often the more room there is: of hundreds of worlds most are.
 *
 * Invariant K2: no pid outside the blocks; a cursor found there is counted.
 * Libc only, no allocation; one thread.
 */
#ifndef KERNEL_TENANT_STEER_H
#define KERNEL_TENANT_STEER_H

#include "base/attr.h"
#include "base/types.h"

#define STEER_BLOCKS_MAX 64

struct steer;

/* The allocator; tests have their own. */
struct steer_ops {
	gpid (*cursor)(struct steer *s);             /* last pid given out, or -errno */
	int (*move)(struct steer *s, gpid last);     /* the next one is last + 1 */
	bool (*in_use)(struct steer *s, gpid pid);   /* by a process or a thread */
	void (*crowded)(struct steer *s, gpid free); /* the best block has only this many left */
};

struct steer {
	const struct steer_ops *ops;
	int last_pid; /* steer_host_*: ns_last_pid of the namespace */
	struct steer_block {
		gpid first, count;
	} blocks[STEER_BLOCKS_MAX]; /* sorted, apart */
	size_t count;
	gpid ids_per_ms; /* the most that this host can give out; 0: not known */
	gpid seen;       /* the cursor at the last look */
	gpid step_most;  /* most ids used between two looks, fading */
	bool inside;     /* the last look found it in a block */
	bool calm;       /* nothing was used between the last two looks */
	int64_t due_ms;  /* of the next look */
	uint64_t strays; /* looks that found it newly outside */
};

/*
 * From now on also pids of this block; the first one moves the cursor at once. Adding one again is
 * fine. Errors: -EINVAL: below 300, above 4,194,304, fewer than 16, or overlapping; -ENOSPC; of
 * move().
 */
must_check int steer_add(struct steer *s, uint64_t first, uint64_t count);

/* Errors: -ENOENT. */
must_check int steer_remove(struct steer *s, uint64_t first);

/* Pids in all blocks. */
uint64_t steer_pids(const struct steer *s);

/* Looks, if it is time to. Returns ms from @now_ms until the next look, or -1: there is no block.
 */
int64_t steer_tick(struct steer *s, int64_t now_ms);

/* ---- steer_host.c: the allocator of the caller's own pid namespace ---- */
gpid steer_host_cursor(struct steer *s);
int steer_host_move(struct steer *s, gpid last);
bool steer_host_in_use(struct steer *s, gpid pid);
/* By what processors the caller may use. */
gpid steer_host_ids_per_ms(void);

#endif
