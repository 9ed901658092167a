/* SPDX-License-Identifier: Apache-2.0 */
/* root.c - see root.h; open_tree(2), mount_setattr(2), pivot_root(2). */
#include "cmd/tenant/root.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "cmd/tenant/etc.h"
#include "cmd/tenant/proc.h"

/* A directory that every host has and anybody may enter: where the new root is put together, in a
 * mount namespace of our own. */
#define STAGE "/usr"

#define HOST_ATTRS   (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define VOLUME_ATTRS (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

static const char *const top_dirs[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" };
static const char *const devices[] = { "null", "zero", "full", "random", "urandom", "tty" };

int root_fail(char why[TENANT_WHY_MAX], int error, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(why, TENANT_WHY_MAX, fmt, ap);
	va_end(ap);
	if (n >= 0 && n < TENANT_WHY_MAX - 3)
		(void)snprintf(why + n, (size_t)(TENANT_WHY_MAX - n), ": %s", strerror(-error));
	return error;
}

/* ---- the plan, with the host's rights ---- */

static struct root_mount *plan_add(struct root_plan *p, const char *path, bool file)
{
	struct root_mount *m = &p->mounts[p->count];

	if (p->count == ROOT_MOUNTS_MAX || strlen(path) >= sizeof(m->path))
		return NULL;
	p->count++;
	m->fd = -1;
	m->file = file;
	while (*path == '/')
		path++;
	(void)snprintf(m->path, sizeof(m->path), "%s", path);
	return m;
}

/*
 * Clones @host for @path in the new root. @userns -1: ids as they are. -EINVAL: its file system
 * cannot be idmapped.
 */
static int plan_bind(struct root_plan *p, const char *host, const char *path, uint64_t attrs,
		     int userns)
{
	struct mount_attr attr = { .attr_set = attrs };
	struct root_mount *m;
	struct stat st;

	if (stat(host, &st) < 0)
		return -errno;
	m = plan_add(p, path, !S_ISDIR(st.st_mode));
	if (m == NULL)
		return -ENOSPC;
	m->fd = open_tree(AT_FDCWD, host, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (m->fd < 0)
		return -errno;
	if (userns >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)userns;
	}
	if (mount_setattr(m->fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return -errno;
	return 0;
}

/*
 * A read-only part of the host. Where its file system cannot be idmapped the files show as
 * nobody's, which no program minds.
 */
static int plan_host(struct root_plan *p, const char *host, const char *path, int userns)
{
	int r = plan_bind(p, host, path, HOST_ATTRS, userns);

	if (r != -EINVAL || userns < 0)
		return r;
	(void)close(p->mounts[--p->count].fd);
	p->idmapped = false;
	return plan_bind(p, host, path, HOST_ATTRS, -1);
}

/* /usr, and what stands beside it where the host is not merged into /usr. */
static int plan_programs(struct root_plan *p, int userns, char why[TENANT_WHY_MAX])
{
	int r = plan_host(p, "/usr", "usr", userns);

	if (r < 0)
		return root_fail(why, r, "cannot clone the mount of /usr");
	for (size_t i = 0; i < ARRAY_LEN(top_dirs); i++) {
		char path[16];
		struct stat st;

		(void)snprintf(path, sizeof(path), "/%s", top_dirs[i]);
		if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
			continue; /* links are made when the root is built */
		r = plan_host(p, path, path, userns);
		if (r < 0)
			return root_fail(why, r, "cannot clone the mount of %s", path);
	}
	return 0;
}

static int plan_devices(struct root_plan *p, char why[TENANT_WHY_MAX])
{
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		char path[24];
		int r;

		(void)snprintf(path, sizeof(path), "/dev/%s", devices[i]);
		r = plan_bind(p, path, path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, -1);
		if (r < 0)
			return root_fail(why, r, "cannot clone %s", path);
	}
	return 0;
}

static int plan_etc(struct root_plan *p, int userns, char why[TENANT_WHY_MAX])
{
	for (size_t i = 0; etc_dirs[i] != NULL; i++) {
		glob_t g;
		int r = glob(etc_dirs[i], GLOB_ONLYDIR, NULL, &g);

		for (size_t k = 0; r == 0 && k < g.gl_pathc; k++)
			r = plan_host(p, g.gl_pathv[k], g.gl_pathv[k], userns);
		globfree(&g);
		if (r < 0)
			return root_fail(why, r, "cannot clone the mount of %s", etc_dirs[i]);
	}
	return 0;
}

static int plan_volumes(struct root_plan *p, const struct tenant_cfg *cfg, int userns,
			char why[TENANT_WHY_MAX])
{
	for (size_t i = 0; i < cfg->volume_count; i++) {
		const struct tenant_volume *v = &cfg->volumes[i];
		int r = plan_bind(p, v->host, v->path,
				  VOLUME_ATTRS | (v->read_only ? MOUNT_ATTR_RDONLY : 0),
				  v->idmapped ? userns : -1);

		if (r == -EINVAL && v->idmapped)
			return root_fail(why, r,
					 "cannot idmap volume %s: its file system does not take it",
					 v->host);
		if (r < 0)
			return root_fail(why, r, "cannot mount volume %s", v->host);
	}
	return 0;
}

int root_plan_tenant(struct root_plan *p, const struct tenant_cfg *cfg, int userns,
		     char why[TENANT_WHY_MAX])
{
	int r;

	p->count = 0;
	p->idmapped = true;
	p->stub = p->fuse_dev = -1;
	r = plan_programs(p, userns, why);
	if (r == 0)
		r = plan_devices(p, why);
	if (r == 0 && cfg->procfs)
		r = proc_plan(p, cfg->id_base, why);
	if (r == 0)
		r = plan_etc(p, userns, why);
	if (r == 0)
		r = plan_volumes(p, cfg, userns, why);
	if (r == 0 && cfg->pando_path != NULL) {
		r = plan_host(p, cfg->pando_path, "opt/pando/bin/pando", userns);
		if (r < 0)
			r = root_fail(why, r, "cannot clone %s", cfg->pando_path);
	}
	if (r == 0 && cfg->stub_path != NULL) {
		p->stub = open(cfg->stub_path, O_RDONLY | O_CLOEXEC);
		if (p->stub < 0)
			r = root_fail(why, -errno, "cannot open %s", cfg->stub_path);
	}
	if (r < 0)
		root_plan_fini(p);
	return r;
}

int root_plan_bare(struct root_plan *p, char why[TENANT_WHY_MAX])
{
	int r;

	p->count = 0;
	p->stub = p->fuse_dev = -1;
	r = plan_programs(p, -1, why);
	if (r == 0 && access("/etc/ld.so.cache", R_OK) == 0)
		r = plan_host(p, "/etc/ld.so.cache", "etc/ld.so.cache", -1);
	/* Some libraries of /usr/lib are links to there. */
	if (r == 0 && access("/etc/alternatives", R_OK) == 0)
		r = plan_host(p, "/etc/alternatives", "etc/alternatives", -1);
	if (r < 0)
		root_plan_fini(p);
	return r;
}

void root_plan_fini(struct root_plan *p)
{
	for (size_t i = 0; i < p->count; i++) {
		if (p->mounts[i].fd >= 0)
			(void)close(p->mounts[i].fd);
	}
	if (p->stub >= 0)
		(void)close(p->stub);
	if (p->fuse_dev >= 0)
		(void)close(p->fuse_dev);
	p->count = 0;
	p->stub = p->fuse_dev = -1;
}

/* ---- the building, as root of the tenant's user namespace ---- */

/* Makes what leads to @path, all relative; and @path itself when @whole. */
static int make_dirs(const char *path, bool whole)
{
	char part[512];

	(void)snprintf(part, sizeof(part), "%s", path);
	for (char *p = part; *p != 0; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (*part != 0 && mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	if (whole && mkdir(part, 0755) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

static int touch(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		return errno == EEXIST || errno == EROFS ? 0 : -errno;
	(void)close(fd);
	return 0;
}

static int attach(const struct root_mount *m)
{
	int r = make_dirs(m->path, !m->file);

	if (r == 0 && m->file)
		r = touch(m->path);
	if (r < 0)
		return r;
	return move_mount(m->fd, "", AT_FDCWD, m->path, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static bool is_planned(const struct root_plan *p, const char *path)
{
	for (size_t i = 0; i < p->count; i++) {
		if (strcmp(p->mounts[i].path, path) == 0)
			return true;
	}
	return false;
}

/* The new root, empty, as the working directory. */
static int stage(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("pando", STAGE, "tmpfs", MS_NOSUID | MS_NODEV,
		  "mode=755,size=64m,nr_inodes=32k") < 0 ||
	    chdir(STAGE) < 0)
		return -errno;
	return 0;
}

/* The working directory becomes the root, read-only; nothing of the host stays mounted. */
static int enter_stage(void)
{
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };

	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
	    chdir("/") < 0 || mount_setattr(AT_FDCWD, "/", 0, &ro, sizeof(ro)) < 0)
		return -errno;
	return 0;
}

int root_empty(void)
{
	int r = stage();

	return r < 0 ? r : enter_stage();
}

static int attach_all(const struct root_plan *p, const char *prefix, bool with,
		      char why[TENANT_WHY_MAX])
{
	for (size_t i = 0; i < p->count; i++) {
		int r;

		if ((strncmp(p->mounts[i].path, prefix, strlen(prefix)) == 0) != with)
			continue;
		r = attach(&p->mounts[i]);
		if (r < 0)
			return root_fail(why, r, "cannot mount /%s", p->mounts[i].path);
	}
	return 0;
}

static int link_top_dirs(char why[TENANT_WHY_MAX])
{
	for (size_t i = 0; i < ARRAY_LEN(top_dirs); i++) {
		char path[16], to[PATH_MAX];
		ssize_t n;

		(void)snprintf(path, sizeof(path), "/%s", top_dirs[i]);
		n = readlink(path, to, sizeof(to) - 1);
		if (n < 0)
			continue; /* not there, or a directory that is mounted */
		to[n] = 0;
		if (symlink(to, top_dirs[i]) < 0)
			return root_fail(why, -errno, "cannot link /%s", top_dirs[i]);
	}
	return 0;
}

struct own_mount {
	const char *path, *type, *options;
	unsigned long flags;
};

static int mount_own(const struct own_mount *m, char why[TENANT_WHY_MAX])
{
	int r = make_dirs(m->path, true);

	if (r == 0 && mount(m->type, m->path, m->type, m->flags, m->options) < 0)
		r = -errno;
	return r < 0 ? root_fail(why, r, "cannot mount %s on /%s", m->type, m->path) : 0;
}

static int build_dev(const struct root_plan *p, char why[TENANT_WHY_MAX])
{
	static const struct own_mount dev = { "dev", "tmpfs", "mode=755,size=64k",
					      MS_NOSUID | MS_NOEXEC };
	static const struct own_mount below[] = {
		{ "dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5,max=1024",
		  MS_NOSUID | MS_NOEXEC },
		{ "dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV },
		{ "dev/mqueue", "mqueue", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	};
	static const char *const links[][2] = {
		{ "/proc/self/fd", "dev/fd" },       { "/proc/self/fd/0", "dev/stdin" },
		{ "/proc/self/fd/1", "dev/stdout" }, { "/proc/self/fd/2", "dev/stderr" },
		{ "pts/ptmx", "dev/ptmx" },
	};
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };
	int r = mount_own(&dev, why);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(below); i++)
		r = mount_own(&below[i], why);
	if (r == 0)
		r = attach_all(p, "dev/", true, why);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(links); i++) {
		if (symlink(links[i][0], links[i][1]) < 0)
			r = root_fail(why, -errno, "cannot link /%s", links[i][1]);
	}
	if (r == 0 && mount_setattr(AT_FDCWD, "dev", 0, &ro, sizeof(ro)) < 0)
		r = root_fail(why, -errno, "cannot make /dev read-only");
	return r;
}

/* tmpfs where nothing of the machine is mounted. */
static int build_scratch(const struct root_plan *p, char why[TENANT_WHY_MAX])
{
	static const struct own_mount scratch[] = {
		{ "tmp", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV },
		{ "var/tmp", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV },
		{ "run", "tmpfs", "mode=755,size=64m", MS_NOSUID | MS_NODEV },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(scratch); i++) {
		if (!is_planned(p, scratch[i].path))
			r = mount_own(&scratch[i], why);
	}
	if (r == 0 && (mkdir("run/lock", 01777) < 0 || chmod("run/lock", 01777) < 0 ||
		       mkdir("run/user", 0755) < 0 || mkdir("run/user/1000", 0700) < 0 ||
		       chown("run/user/1000", TENANT_UID, TENANT_UID) < 0))
		r = root_fail(why, -errno, "cannot make /run");
	return r;
}

static int build_dirs(char why[TENANT_WHY_MAX])
{
	static const char *const dirs[] = { "home",      "root",      "mnt",      "sys",
					    "srv",       "var/cache", "var/lib",  "var/log",
					    "var/spool", "opt",       "etc/skel", "media" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(dirs); i++)
		r = make_dirs(dirs[i], true);
	if (r == 0 && (chmod("root", 0700) < 0 || symlink("/run", "var/run") < 0 ||
		       symlink("/run/lock", "var/lock") < 0))
		r = -errno;
	return r < 0 ? root_fail(why, r, "cannot make the directories of /") : 0;
}

static int copy_program(int from, int to)
{
	char bytes[65536];
	ssize_t n;

	while ((n = read(from, bytes, sizeof(bytes))) > 0) {
		if (write(to, bytes, (size_t)n) != n)
			return -EIO;
	}
	return n < 0 ? -errno : 0;
}

/*
 * The stub may choose pids (clone3 asks the calling task, not its tracer): a file capability that
 * only root of the tenant's user namespace can give, on the one mount where it counts.
 * Execute-only, so that it is born undumpable.
 */
static int build_stub(int stub, char why[TENANT_WHY_MAX])
{
	static const struct own_mount where = { "opt/pando/stub", "tmpfs", "mode=755,size=64m",
						MS_NODEV };
	/* struct vfs_cap_data, revision 2: effective flag, then permitted and inheritable */
	static const uint32_t cap[5] = { 0x02000001, 0, 0, 1u << (40 - 32), 0 };
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };
	const char *path = &TENANT_STUB[1];
	cleanup_close int fd = -1;
	int r;

	if (stub < 0)
		return 0;
	r = mount_own(&where, why);
	if (r < 0)
		return r;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	r = fd < 0 ? -errno : copy_program(stub, fd);
	if (r == 0 && fsetxattr(fd, "security.capability", cap, sizeof(cap), 0) < 0)
		r = -errno;
	if (r == 0 && fchmod(fd, 0111) < 0)
		r = -errno;
	if (r < 0)
		return root_fail(why, r, "cannot install the stub program");
	(void)close(take_fd(&fd)); /* a writer makes exec fail */
	if (mount_setattr(AT_FDCWD, where.path, 0, &ro, sizeof(ro)) < 0)
		return root_fail(why, -errno, "cannot make the stub's mount read-only");
	return 0;
}

static int build_commands(const struct root_plan *p, char why[TENANT_WHY_MAX])
{
	if (!is_planned(p, "opt/pando/bin/pando"))
		return 0;
	if (symlink("pando", "opt/pando/bin/on") < 0 ||
	    symlink("pando", "opt/pando/bin/migrate") < 0 ||
	    symlink("pando", "opt/pando/bin/attach") < 0 ||
	    symlink("pando", "opt/pando/bin/detach") < 0 ||
	    symlink("pando", "opt/pando/bin/quota") < 0)
		return root_fail(why, -errno, "cannot link the machine's commands");
	return 0;
}

int root_build_tenant(const struct root_plan *p, const struct tenant_cfg *cfg,
		      struct root_proc *proc, char why[TENANT_WHY_MAX])
{
	int r = stage();

	if (r < 0)
		return root_fail(why, r, "cannot make a root");
	(void)umask(022);
	r = build_dirs(why);
	if (r == 0)
		r = link_top_dirs(why);
	if (r == 0)
		r = build_dev(p, why);
	if (r == 0)
		r = proc_build(p, proc, why);
	if (r == 0)
		r = etc_build(cfg, why);
	if (r == 0)
		r = build_scratch(p, why);
	if (r == 0)
		r = attach_all(p, "dev/", false, why);
	if (r == 0)
		r = build_commands(p, why);
	if (r == 0)
		r = build_stub(p->stub, why);
	if (r == 0) {
		r = enter_stage();
		if (r < 0)
			r = root_fail(why, r, "cannot leave the host's root");
	}
	return r;
}

int root_build_bare(const struct root_plan *p, char why[TENANT_WHY_MAX])
{
	int r = stage();

	if (r == 0)
		r = link_top_dirs(why);
	if (r == 0)
		r = attach_all(p, "", true, why);
	if (r == 0)
		r = enter_stage();
	return r < 0 ? root_fail(why, r, "cannot make the guest kernel's root") : 0;
}
