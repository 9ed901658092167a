/* SPDX-License-Identifier: Apache-2.0 */
/* nodefiles.c - what nodes have on this host's disk and in its control groups. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/pando/nodehost.h"
#include "quota/cgroup/cgroup.h"

enum { GROUPS_MS = 5000 };

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path) == 0 || errno == ENOENT ? 0 : errno;
}

int nodehost_remove_tree(struct ctx *c, const char *path)
{
	int r = nftw(path, remove_entry, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);

	if (r == 0 || (r < 0 && errno == ENOENT))
		return 0;
	return fail(c, CODE_REFUSED, NULL, "cannot remove %s: %s", path,
		    strerror(r > 0 ? r : errno));
}

/* Groups empty a moment after their last process is reaped. */
int nodehost_remove_groups(struct ctx *c, const char *node)
{
	char top[CGROUP_PATH_MAX - NODE_NAME_MAX - 1], group[CGROUP_PATH_MAX];
	struct cgroup_host *h = NULL;
	int r = cgroup_cluster_name(c->dir, top, sizeof(top));

	if (r == 0)
		r = cgroup_host_new(&h, NULL);
	if (r < 0)
		return fail(c, CODE_REFUSED, "pando doctor", "cannot find the control groups: %s",
			    strerror(-r));
	(void)snprintf(group, sizeof(group), "%s%s%s", top, node ? "/" : "", node ? node : "");
	r = cgroup_wait_empty(h, group, GROUPS_MS);
	if (r == 0 || r == -ENOENT)
		r = cgroup_remove(h, group);
	cgroup_host_free(h);
	if (r < 0)
		return fail(c, CODE_REFUSED, NULL, "cannot remove control group %s: %s", group,
			    strerror(-r));
	return 0;
}

bool nodehost_exists(const char *dir, const char *node)
{
	char path[PATH_MAX];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, node);
	return lstat(path, &st) == 0;
}

static bool has_file(const char *dir, const char *node, const char *name)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s/data/%s", dir, node, name);
	return access(path, F_OK) == 0;
}

bool nodehost_has_left(const char *dir, const char *node)
{
	return has_file(dir, node, "left");
}

bool nodehost_has_joined(const char *dir, const char *node)
{
	/* What naming begins with when the node starts. */
	return has_file(dir, node, "naming/ticket") && !nodehost_has_left(dir, node);
}

/* All of a node's data but what says that it has left: who is broken off begins again. */
static int remove_data(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (ftw->level == 0 || (ftw->level == 1 && strcmp(path + ftw->base, "left") == 0))
		return 0;
	return remove_entry(path, st, type, ftw);
}

int nodehost_renew(const char *dir, const char *node)
{
	char path[PATH_MAX], left[PATH_MAX];
	int r;

	if (!nodehost_has_left(dir, node))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%s/data", dir, node);
	(void)snprintf(left, sizeof(left), "%s/%s/data/left", dir, node);
	r = nftw(path, remove_data, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	if (r == 0)
		r = unlink(left);
	return r > 0 ? -r : r == 0 ? 0 : -errno;
}

unsigned nodehost_number(const char *node)
{
	char plain[NODE_NAME_MAX];
	unsigned k;

	if (sscanf(node, "n%u", &k) != 1 || k < 1 || k > NODES_MAX)
		return 0;
	(void)snprintf(plain, sizeof(plain), "n%u", k);
	return strcmp(plain, node) == 0 ? k : 0;
}
