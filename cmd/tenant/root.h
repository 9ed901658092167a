/* SPDX-License-Identifier: Apache-2.0 */
/*
 * root.h - the file tree of a tenant, and the bare one of its guest kernel.
 *
 * Made in two steps, as no one process may do both: root_plan_*() clones what the host
 * gives as detached mounts, with the host's rights; root_build() puts them together
 * as root of the tenant's user namespace, inside its mount and pid namespaces. Private to
 * tenant/.
 *
 * A plan owns its descriptors. Errors: -errno and a line in @why.
 */
#ifndef TENANT_ROOT_H
#define TENANT_ROOT_H

#include "base/attr.h"
#include "cmd/tenant/tenant.h"

#define ROOT_MOUNTS_MAX 96

struct root_mount {
	int fd;         /* detached */
	char path[512]; /* in the new root, relative */
	bool file;      /* a file, not a directory */
};

struct root_plan {
	struct root_mount mounts[ROOT_MOUNTS_MAX];
	size_t count;
	bool idmapped; /* the host's files show as the tenant's root's */
	int stub;      /* the stub program, or -1 */
	int fuse_dev;  /* a mount with the device node "fuse", the tenant's root's own, or -1 */
};

/* What a tenant sees. @userns has the tenant's id maps. */
must_check int root_plan_tenant(struct root_plan *p, const struct tenant_cfg *cfg, int userns,
				char why[TENANT_WHY_MAX]);
/* What pando-kernel sees until it seals itself: programs and libraries. */
must_check int root_plan_bare(struct root_plan *p, char why[TENANT_WHY_MAX]);
void root_plan_fini(struct root_plan *p);

/* Of the new procfs, for pando-init. */
struct root_proc {
	int native;   /* directory of the native procfs: answers also while no guest kernel lives */
	int last_pid; /* ns_last_pid, open for writing: /proc/sys is read-only from here on */
	int fuse;     /* the connection of the machine's /proc, or -1 */
	int tree;     /* the machine's /proc, for pando-init to mount, or -1: it is mounted */
};

/*
 * Makes the tree of a tenant the root of this process, which is alone in its mount namespace and
 * pid 1.
 */
must_check int root_build_tenant(const struct root_plan *p, const struct tenant_cfg *cfg,
				 struct root_proc *proc, char why[TENANT_WHY_MAX]);
must_check int root_build_bare(const struct root_plan *p, char why[TENANT_WHY_MAX]);

/* Formats @why and returns @error. */
int root_fail(char why[TENANT_WHY_MAX], int error, const char *fmt, ...) printf_like(3, 4);

/* A new empty tmpfs becomes the root; nothing else is left mounted. */
must_check int root_empty(void);

#endif
