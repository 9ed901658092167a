/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - one interface to control groups, whether the host has the unified
 * hierarchy (v2), one hierarchy per controller (v1), or v1 controllers beside a
 * v2 tree without any.
 *
 * A group is a relative path ("pando-x-1f2e/n1/alice/guests") that exists in
 * every hierarchy in use: v1 ones of cpu, cpuacct, memory, pids, and the v2 tree.
 * Freezing and killing are always v2 (cgroup.freeze, cgroup.kill): a host that
 * mounts no v2 tree gets a private mount of it, which every kernel that we run on
 * offers beside v1.
 *
 * Errors: -errno of the file that refused. Blocking file writes, a few
 * microseconds each. No locks: use one handle per thread, or one thread.
 */
#ifndef QUOTA_CGROUP_CGROUP_H
#define QUOTA_CGROUP_CGROUP_H

#include <sys/types.h>

#include "base/attr.h"
#include "base/types.h"

struct cgroup_host;

#define CGROUP_PATH_MAX 256
#define CGROUP_FDS_MAX  8

/*
 * Finds the hierarchies that @mountinfo tells (NULL: /proc/self/mountinfo). Where
 * no v2 tree is mounted, one is opened that only this handle knows.
 * Errors: -ENOENT neither v2 nor v1 is there; -EPERM; -ENOMEM.
 */
must_check int cgroup_host_new(struct cgroup_host **out, const char *mountinfo);
void cgroup_host_free(struct cgroup_host *h);

/* What the hierarchies offer; for `pando doctor`. */
struct cgroup_offers {
	bool cpu, memory, pids; /* limits of these are enforced */
	bool freeze, kill;
	bool v2_controllers; /* the controllers above come from the unified hierarchy */
};
void cgroup_host_offers(const struct cgroup_host *h, struct cgroup_offers *out);

/*
 * The top group of a cluster whose directory is @dir: "pando-" + its base name + "-" + a hash of
 * the whole path, so that two clusters never meet and a leftover tells whose it is.
 * Returns 0, or -ENAMETOOLONG.
 */
must_check int cgroup_cluster_name(const char *dir, char *out, size_t size);

/* Makes the group and its parents; fine if they exist. */
must_check int cgroup_make(struct cgroup_host *h, const char *path);

/* Removes the group and all below it. -EBUSY: a process is inside. Gone already is 0. */
must_check int cgroup_remove(struct cgroup_host *h, const char *path);

/* Moves process @pid (0: the caller) into the group. -ESRCH: it is gone. */
must_check int cgroup_enter(struct cgroup_host *h, const char *path, pid_t pid);

/* A member that is 0 means no limit (cpu_weight: the default, 100). */
struct cgroup_limits {
	uint32_t cpu_milli;  /* thousandths of a core, enforced per 20 ms */
	uint32_t cpu_weight; /* 1 .. 10000 */
	uint64_t memory_max_bytes;
	uint32_t pids_max; /* tasks, threads included */
};

/* Sets all of @l. A limit whose controller the host lacks is -EOPNOTSUPP, after the others are set.
 */
must_check int cgroup_limit(struct cgroup_host *h, const char *path, const struct cgroup_limits *l);

/* Sets the weight alone, as cgroup_limit() does. -EOPNOTSUPP: no controller of CPU time. */
must_check int cgroup_weigh(struct cgroup_host *h, const char *path, uint32_t cpu_weight);

/*
 * With @wait what needs more memory than the limit waits for it to be raised, instead of being
 * killed at once: v1 for as long as need be; v2 ever longer moments from a little below the limit
 * on, some tenths of a second in all until it is there. Needs a limit of memory.
 */
must_check int cgroup_memory_wait(struct cgroup_host *h, const char *path, bool wait,
				  uint64_t memory_max_bytes);

/* With how much in use that begins. */
uint64_t cgroup_memory_waits_at(const struct cgroup_host *h, uint64_t memory_max_bytes);

/*
 * A descriptor, the caller's, which poll(2) finds ready for @events when something had to wait for
 * memory, or was killed for it, and when the group is removed. -EOPNOTSUPP: no controller.
 * An eventfd with v1 (cgroup-v1/memory.rst, 10), memory.events with v2 (cgroup-v2.rst).
 */
must_check int cgroup_memory_full(struct cgroup_host *h, const char *path, short *events);

/* It is ready again with the next time. -ENODEV: the group is gone, and it stays ready. */
must_check int cgroup_memory_full_seen(int fd);

/* What the group is limited to, by itself; a weight is not told (0). */
must_check int cgroup_limits_read(struct cgroup_host *h, const char *path,
				  struct cgroup_limits *out);

/* Freezes or thaws the group and all below; returns at once, guests stop within microseconds. */
must_check int cgroup_freeze(struct cgroup_host *h, const char *path, bool frozen);
/* 1: everything in it has stopped; 0: not yet. */
must_check int cgroup_frozen(struct cgroup_host *h, const char *path);

/* SIGKILL to everything in the group and below, frozen or not. Does not wait. */
must_check int cgroup_kill(struct cgroup_host *h, const char *path);

/* 1: no process in it or below. */
must_check int cgroup_empty(struct cgroup_host *h, const char *path);
/* Waits until no process is in it or below. -ETIMEDOUT: some still are; -ENOENT: no such group. */
must_check int cgroup_wait_empty(struct cgroup_host *h, const char *path, unsigned timeout_ms);

struct cgroup_stats {
	uint64_t cpu_ns;       /* used since the group was made */
	uint64_t memory_bytes; /* now, with what of files is cached */
	uint32_t pids;         /* tasks now */
};

/* What no controller tells is 0. */
must_check int cgroup_stats(struct cgroup_host *h, const char *path, struct cgroup_stats *out);

/* In how many spans of 20 ms the group's limit of CPU time has stopped it, ever. 0 if nothing
 * tells. */
must_check int cgroup_stops(struct cgroup_host *h, const char *path, uint64_t *spans);

/* Of the memory in use, what the host can take back at will: cached files. 0 if nothing tells. */
must_check int cgroup_cached(struct cgroup_host *h, const char *path, uint64_t *bytes);

/*
 * Descriptors through which their holder moves *itself* into the group by writing "0", one per
 * hierarchy: permission is checked against who opened them, so an unprivileged holder may. The one
 * of CPU time is the last: who has entered that waits there for his turn at each further step.
 * Returns their number (at most CGROUP_FDS_MAX; the caller closes them), or -errno with none open.
 */
must_check int cgroup_entrances(struct cgroup_host *h, const char *path, int fds[CGROUP_FDS_MAX]);

/*
 * The same, but for the v1 cpu hierarchy, whose root it leads to: in a group there the kernel
 * allows no real-time scheduling (CONFIG_RT_GROUP_SCHED), which a tenant's pid 1 wants.
 */
must_check int cgroup_entrances_rt(struct cgroup_host *h, const char *path,
				   int fds[CGROUP_FDS_MAX]);

/* A file of the group, opened with @flags: @controller "" is the v2 tree. -EOPNOTSUPP: none has it.
 */
must_check int cgroup_open(struct cgroup_host *h, const char *path, const char *controller,
			   const char *file, int flags);

/* Lets @uid move processes into the group in the v2 tree; with @make also make groups below it. */
must_check int cgroup_delegate(struct cgroup_host *h, const char *path, uid_t uid, bool make);

#endif
