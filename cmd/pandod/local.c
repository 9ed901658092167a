/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "cmd/pandod/args.h"

/* Trees that keep their rights below the read-only root: cloned first, mounted last. */
struct trees {
	int node, volumes, groups, lib;
};

static int tree_clone(const char *path, bool deep)
{
	int fd = open_tree(AT_FDCWD, path,
			   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (deep ? AT_RECURSIVE : 0));

	return fd < 0 ? -errno : fd;
}

static int tree_mount(int fd, const char *path)
{
	return move_mount(fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static int make_path(const char *path)
{
	char part[PATH_MAX];

	(void)snprintf(part, sizeof(part), "%s", path);
	for (char *p = part + 1; *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return mkdir(part, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int own_tmpfs(const char *path, const char *options)
{
	return mount("pando", path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0 ? -errno : 0;
}

/* Places where programs of one host meet: each node gets its own. */
static int private_places(void)
{
	static const struct {
		const char *path, *options;
	} places[] = {
		{ "/tmp", "mode=1777" },
		{ "/var/tmp", "mode=1777" },
		{ "/dev/shm", "mode=1777" },
		{ "/run", "mode=755" },
	};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		struct stat st;
		int r;

		if (lstat(places[i].path, &st) < 0 || !S_ISDIR(st.st_mode))
			continue;
		r = own_tmpfs(places[i].path, places[i].options);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_only_root(void)
{
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };

	return mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &ro, sizeof(ro)) < 0 ? -errno : 0;
}

/* Covers the cluster's directory, so that the other nodes' are out of sight. */
static int cover_cluster(const struct args *a)
{
	if (access(a->dir, F_OK) == 0)
		return own_tmpfs(a->dir, "mode=700");
	return make_path(a->dir);
}

static int place(const struct args *a, const char *name, int fd)
{
	char path[PATH_MAX];
	int r;

	if (name[0] == '/')
		(void)snprintf(path, sizeof(path), "%s", name);
	else
		(void)snprintf(path, sizeof(path), "%s/%s", a->dir, name);
	r = strcmp(name, "/sys/fs/cgroup") == 0 ? 0 : make_path(path);
	return r < 0 ? r : tree_mount(fd, path);
}

static int clone_trees(const struct args *a, struct trees *t)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n < 0)
		return -errno;
	path[n] = '\0';
	*strrchr(path, '/') = '\0';
	t->lib = tree_clone(path, false);
	if (t->lib < 0)
		return t->lib;
	(void)snprintf(path, sizeof(path), "%s/%s", a->dir, a->node);
	t->node = tree_clone(path, false);
	if (t->node < 0)
		return t->node;
	(void)snprintf(path, sizeof(path), "%s/vol", a->dir);
	t->volumes = tree_clone(path, true);
	if (t->volumes < 0)
		return t->volumes;
	t->groups = tree_clone("/sys/fs/cgroup", true);
	return t->groups < 0 ? t->groups : 0;
}

#define STEP(name, call)                                                                           \
	do {                                                                                       \
		*what = name;                                                                      \
		r = call;                                                                          \
		if (r < 0)                                                                         \
			return r;                                                                  \
	} while (0)

int local_enter(const struct args *a, const char **what)
{
	struct trees t;
	int r;

	STEP("set the host name", sethostname(a->node, strlen(a->node)) < 0 ? -errno : 0);
	STEP("make mounts private",
	     mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0);
	STEP("clone the node's directories", clone_trees(a, &t));
	STEP("make the root read-only", read_only_root());
	STEP("mount its own /tmp and /run", private_places());
	STEP("hide the other nodes", cover_cluster(a));
	STEP("mount the node's directory", place(a, a->node, t.node));
	STEP("mount the volumes", place(a, "vol", t.volumes));
	STEP("mount the control groups", place(a, "/sys/fs/cgroup", t.groups));
	STEP("mount the programs", place(a, LOCAL_LIB, t.lib));
	STEP("mount /proc",
	     mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ? -errno
											: 0);
	return 0;
}
