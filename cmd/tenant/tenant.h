/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tenant.h - a tenant's world on this node: namespaces, root, control groups,
 * pando-init, and the guest kernel in it. What pandod calls.
 *
 * A world is: user, pid, mount, network, ipc, uts, cgroup and time namespaces
 * owned by the tenant's user namespace; a root on tmpfs with the host's /usr
 * read-only; control groups
 *
 *	CGROUP/init            pando-init and the spawner of sessions: no limits
 *	CGROUP/kernel          pando-kernel: no limits, charged to the tenant
 *	CGROUP/guests          the limits; holds
 *	CGROUP/guests/run      where guests run
 *	CGROUP/guests/frozen   one group per guest that is being moved, made by the guest kernel
 *
 * Everything of it but RUN_DIR/init.sock ends with pando-init.
 *
 * Ownership: a cfg is borrowed for the call. Descriptors in struct tenant are
 * the tenant's; tenant_free() closes them and leaves the world running.
 * Errors: -errno, and one line in @why that names object and reason.
 * Threading: call from one thread. tenant_start and tenant_stop block for tens of
 * milliseconds; they fork, so no other thread may hold locks across them.
 */
#ifndef TENANT_TENANT_H
#define TENANT_TENANT_H

#include <sys/types.h>

#include "base/attr.h"
#include "base/types.h"
#include "kernel/tenant/init.h"
#include "quota/cgroup/cgroup.h"

#define TENANT_IDS  65536u /* host uids and gids of a tenant */
#define TENANT_UID  1000u  /* the tenant's user, as its processes see it; the group is the same */
#define TENANT_PATH "/opt/pando/bin:/usr/local/bin:/usr/bin:/bin" /* PATH of a session */
#define TENANT_STUB "/opt/pando/stub/pando-stub" /* kin stub and zygote, as the tenant sees it */

#define TENANT_WHY_MAX 256

/* A host directory (or file) that the tenant sees. */
struct tenant_volume {
	const char
		*host; /* absolute path on the host; its parent must be closed to others (0700) */
	const char *path; /* where the tenant sees it: absolute, made as needed */
	bool idmapped;    /* ids on disk are the tenant's own (0 .. 65535), not host ids */
	bool read_only;
};

struct tenant_cfg {
	const char *name;     /* the tenant, and its user's login name */
	const char *hostname; /* the machine's name */
	uint32_t id_base;     /* first of TENANT_IDS host ids, from naming; never 0 */
	const char *run_dir;  /* host directory for init.sock: ours alone, 0700 */

	struct cgroup_host *cgroups;
	const char *cgroup; /* the tenant's group: CLUSTER/NODE/NAME */
	struct cgroup_limits limits;

	/* Usually /home/NAME, /tmp, /var/tmp. Without one for /tmp or /var/tmp these are tmpfs. */
	const struct tenant_volume *volumes;
	size_t volume_count;
	const char *home; /* the user's home directory inside; NULL: /home/NAME */

	/*
	 * /proc is the machine's (kernel/procfs/), served by the guest kernel on INIT_KEY_PROCFS;
	 * the native one is /proc/.host. Without it /proc is the native one, of this node alone.
	 */
	bool procfs;

	int64_t clock_offset_ns; /* the machine's CLOCK_MONOTONIC minus this host's */

	const char *init_path;  /* the program pando-init */
	const char *stub_path;  /* the program pando-stub; NULL: none */
	const char *pando_path; /* the program pando, seen as pando, on and migrate; NULL: none */

	const void *filter; /* the guests' seccomp program: struct sock_filter[] */
	size_t filter_bytes;
};

struct tenant {
	char name[TENANT_NAME_MAX];
	pid_t init_pid; /* in pandod's pid namespace */
	int init_pidfd; /* readable when the world has ended */
	int control;    /* connection to pando-init with role POD: speak init.h on it */
	int run_dir;    /* directory descriptor */
	uint32_t id_base;
	struct cgroup_host *cgroups; /* borrowed */
	char cgroup[CGROUP_PATH_MAX];
	bool is_child; /* pando-init is ours to reap */
};

/*
 * Makes the world and starts pando-init in it. The calling process becomes its
 * parent. On error nothing is left.
 * Errors: -EEXIST a tenant runs in this run_dir (adopt it); -EPERM, -ENOSYS, -EINVAL the host lacks
 * something (see tenant_check); -ENOENT a program or volume is missing; -ENOMEM.
 */
must_check int tenant_start(const struct tenant_cfg *cfg, struct tenant **out,
			    char why[TENANT_WHY_MAX]);

/*
 * Finds the running world of an earlier pandod. Reads name, id_base, run_dir and cgroups of @cfg.
 * Errors: -ENOENT none runs (what is left of a dead one is cleared away).
 */
must_check int tenant_adopt(const struct tenant_cfg *cfg, struct tenant **out,
			    char why[TENANT_WHY_MAX]);

/* Ends the world: processes, groups, socket. Waits for it, at most 10 s (-ETIMEDOUT: call again).
 */
must_check int tenant_stop(struct tenant *t, char why[TENANT_WHY_MAX]);

/* Forgets @t; the world runs on. */
void tenant_free(struct tenant *t);

/*
 * Starts pando-kernel (@argv[0] is its path on the host): uid 0 of the tenant's user namespace, all
 * other namespaces its own and empty but the time namespace, no_new_privs, group CGROUP/kernel,
 * descriptors KERNEL_FD_* (init.h) and @log_fd as standard error, nothing else. It sees the host's
 * libraries read-only until it calls tenant_kernel_seal(). @pod_fd stays the caller's; a connection
 * to pando-init with role KERNEL is made for it, which ends the one of an earlier kernel. *pidfd:
 * the caller's, also to reap by.
 */
must_check int tenant_kernel_start(struct tenant *t, char *const argv[], int pod_fd, int log_fd,
				   int *pidfd, char why[TENANT_WHY_MAX]);

/*
 * For pando-kernel, first thing when its libraries are loaded: leaves it an empty read-only root
 * and makes it undumpable. After it no path leads anywhere; KERNEL_FD_PROC still does.
 */
must_check int tenant_kernel_seal(void);

/* One line of `pando doctor`. */
enum tenant_verdict {
	TENANT_OK = 0,
	TENANT_WARN, /* works, but worse: effect says how */
	TENANT_FAIL, /* no tenant can run */
};
struct tenant_finding {
	const char *check; /* what was tried, a few words */
	enum tenant_verdict verdict;
	const char *effect; /* what does not work; "" if ok */
	const char *fix;    /* an exact command; "" if ok */
};

/* Probes this host; fills at most @max findings and returns their number. Static strings. */
size_t tenant_check(struct tenant_finding *out, size_t max);

#endif
