/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume.c - a tenant's files in a volume of kind `dir`, and how much they may be.
 *
 * Without a limit they are in a directory of the volume, TENANT/. With one they are in a file
 * system of just that size: an ext4 image, .TENANT.img beside it, which grows with what is in it,
 * mounted at TENANT/ through a loop device. So a full disk is full for its tenant alone (ENOSPC),
 * on any stock host; project quotas would be exact to change, but few hosts have a file system that
 * was made for them.
 *
 * All nodes that see the volume are on its one host. They share the loop device: two of them over
 * one image would be two caches of one file system. The image's lock decides who makes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#include "base/log.h"
#include "cmd/pandod/pod.h"

#define EXT4_RESIZE_FS _IOW('f', 16, uint64_t)
#define EXT4_MAGIC     0xef53
#define BLOCK          4096u
#define IMAGE_MIN      (UINT64_C(16) << 20) /* less holds no file system worth it */
#define LOOPS_MAX      256

static int home_path(const struct pod *p, const char *name, bool image, char out[PATH_MAX])
{
	const struct naming_volume *v =
		naming_volume_find(naming_tables(p->naming), TENANT_NONE, "home");

	if (v == NULL)
		return -ENOENT;
	(void)snprintf(out, PATH_MAX, image ? "%s/.%s.img" : "%s/%s", v->path, name);
	return v->kind == NAMING_VOLUME_DIR ? 0 : -EOPNOTSUPP;
}

/* ---- the image ---- */

/* A program of e2fsprogs, waited for. -ENOENT: it is not installed. */
static int run_tool(const char *tool, char *const argv[])
{
	static const char *const dirs[] = { "/usr/sbin", "/sbin" };
	char *envp[] = { "PATH=/usr/sbin:/sbin:/usr/bin:/bin", NULL };
	char path[64];
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
			(void)snprintf(path, sizeof(path), "%s/%s", dirs[i], tool);
			(void)execve(path, argv, envp);
		}
		_exit(127);
	}
	if (pid < 0)
		return -errno;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status == 0 ? 0 : WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOENT : -EIO;
}

static int run_mkfs(char *image)
{
	char options[] = "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0";
	char *argv[] = { "mkfs.ext4", "-q", "-F",    "-b",  "4096", "-m",
			 "0",         "-E", options, image, NULL };

	return run_tool(argv[0], argv);
}

/* Made beside its name: an image that has its name is whole. */
static int image_make(const char *path, uint64_t bytes)
{
	char fresh[PATH_MAX + 8];
	int fd, r;

	(void)snprintf(fresh, sizeof(fresh), "%s.new", path);
	fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = ftruncate(fd, (off_t)bytes) < 0 ? -errno : 0;
	(void)close(fd);
	if (r == 0)
		r = run_mkfs(fresh);
	if (r == 0 && rename(fresh, path) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(fresh);
	return r;
}

/* ---- the loop device ---- */

/* The one over the image that another node, or an earlier daemon, has made; or -ENOENT. */
static int loop_find(const struct stat *image, char name[32])
{
	for (int i = 0; i < LOOPS_MAX; i++) {
		struct loop_info64 info;
		int fd;

		(void)snprintf(name, 32, "/dev/loop%d", i);
		fd = open(name, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (ioctl(fd, LOOP_GET_STATUS64, &info) == 0 && info.lo_inode == image->st_ino &&
		    info.lo_device == image->st_dev)
			return fd;
		(void)close(fd);
	}
	return -ENOENT;
}

/* It goes with its last mount. */
static int loop_make(int image, char name[32])
{
	struct loop_config conf = { .fd = (uint32_t)image,
				    .info = { .lo_flags = LO_FLAGS_AUTOCLEAR } };
	cleanup_close int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	for (int tries = 0; control >= 0 && tries < 16; tries++) {
		int n = ioctl(control, LOOP_CTL_GET_FREE), fd;

		if (n < 0)
			return -errno;
		(void)snprintf(name, 32, "/dev/loop%d", n);
		fd = open(name, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (ioctl(fd, LOOP_CONFIGURE, &conf) == 0)
			return fd;
		(void)close(fd);
		if (errno != EBUSY)
			return -errno;
	}
	return control < 0 ? -errno : -EBUSY;
}

static bool is_mounted(const char *path)
{
	struct stat here, above;
	char up[PATH_MAX + 4];

	(void)snprintf(up, sizeof(up), "%s/..", path);
	return stat(path, &here) == 0 && stat(up, &above) == 0 && here.st_dev != above.st_dev;
}

static int image_mount(const char *image_path, const char *path)
{
	cleanup_close int image = open(image_path, O_RDWR | O_CLOEXEC), dev = -1;
	char name[32];
	struct stat st;

	if (image < 0 || flock(image, LOCK_EX) < 0 || fstat(image, &st) < 0)
		return -errno;
	dev = loop_find(&st, name);
	if (dev == -ENOENT)
		dev = loop_make(image, name);
	/* The device keeps the description, and with it the lock. */
	(void)flock(image, LOCK_UN);
	if (dev < 0)
		return dev;
	return mount(name, path, "ext4", MS_NOSUID | MS_NODEV, NULL) < 0 ? -errno : 0;
}

/* While nobody has it mounted. */
static int image_grow_idle(char *image_path, uint64_t bytes)
{
	char *argv[] = { "resize2fs", "-f", image_path, NULL };
	cleanup_close int image = open(image_path, O_RDWR | O_CLOEXEC), dev = -1;
	char name[32];
	struct stat st;

	if (image < 0 || fstat(image, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size >= bytes)
		return 0;
	dev = loop_find(&st, name);
	if (dev >= 0)
		return 0; /* another node has it */
	if (ftruncate(image, (off_t)bytes) < 0)
		return -errno;
	return run_tool(argv[0], argv);
}

/* The file first, then the device, then the file system: each may lag behind after a death. */
static int image_grow(const char *image_path, const char *path, uint64_t bytes)
{
	cleanup_close int image = open(image_path, O_RDWR | O_CLOEXEC), dev = -1, top = -1;
	uint64_t blocks = bytes / BLOCK;
	char name[32];
	struct stat st;
	int r;

	if (image < 0 || flock(image, LOCK_EX) < 0 || fstat(image, &st) < 0)
		return -errno;
	dev = loop_find(&st, name);
	top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dev < 0 || top < 0)
		return dev < 0 ? dev : -errno;
	if ((uint64_t)st.st_size < bytes && ftruncate(image, (off_t)bytes) < 0)
		return -errno;
	if (ioctl(dev, LOOP_SET_CAPACITY, 0) == 0 && ioctl(top, EXT4_RESIZE_FS, &blocks) == 0)
		return 0;
	r = -errno;
	/* A file that is longer than its file system would pass for one that has grown. */
	if (r == -EPERM && ftruncate(image, st.st_size) == 0 &&
	    ioctl(dev, LOOP_SET_CAPACITY, 0) < 0)
		log_debug("a loop device stays longer than its file system");
	return r;
}

/* ---- what pandod asks ---- */

/* Two nodes that begin with a tenant at once must not make two images. Until it is closed. */
static int lock_volume(const struct pod *p)
{
	const struct naming_volume *v =
		naming_volume_find(naming_tables(p->naming), TENANT_NONE, "home");
	int fd = v ? open(v->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd < 0)
		return v ? -errno : -ENOENT;
	if (flock(fd, LOCK_EX) < 0) {
		(void)close(fd);
		return -errno;
	}
	return fd;
}

int volume_prepare(struct pod *p, const struct naming_tenant *t, char why[TENANT_WHY_MAX])
{
	char image[PATH_MAX], path[PATH_MAX];
	uint64_t limit = t->limits.storage_bytes / BLOCK * BLOCK;
	cleanup_close int top = -1;
	struct stat st;
	int r = home_path(p, t->name, true, image);

	if (r == 0)
		r = home_path(p, t->name, false, path);
	if (r < 0)
		return r == -EOPNOTSUPP ? 0 : r; /* a cluster file system has quotas of its own */
	if (is_mounted(path))
		return 0;
	top = lock_volume(p);
	if (top < 0)
		return top;
	if (stat(image, &st) < 0) {
		if (limit == 0 || access(path, F_OK) == 0)
			return 0;
		r = image_make(image, MAX(limit, IMAGE_MIN));
		if (r < 0) {
			(void)snprintf(
				why, TENANT_WHY_MAX, "cannot make its file system: %s",
				r == -ENOENT
					? "mkfs.ext4 is missing; try: apt-get install e2fsprogs"
					: strerror(-r));
			return r;
		}
	}
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	r = image_grow_idle(image, limit);
	if (r < 0)
		log_warn("the file system of %s does not grow: %s", t->name, strerror(-r));
	r = image_mount(image, path);
	if (r < 0)
		(void)snprintf(why, TENANT_WHY_MAX, "cannot mount its file system: %s",
			       strerror(-r));
	return r;
}

int volume_used(const struct pod *p, const char *name, uint64_t *bytes)
{
	char path[PATH_MAX];
	struct statfs fs;
	int r = home_path(p, name, false, path);

	if (r < 0)
		return r;
	if (!is_mounted(path) || statfs(path, &fs) < 0 || fs.f_type != EXT4_MAGIC)
		return -ENOENT;
	*bytes = (uint64_t)(fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize;
	return 0;
}

uint64_t volume_has(const struct pod *p, const char *name)
{
	char image[PATH_MAX];
	struct stat st;

	return home_path(p, name, true, image) == 0 && stat(image, &st) == 0 ? (uint64_t)st.st_size
									     : 0;
}

static int refuse(struct volume_no *no, int err, const char *fmt, ...) printf_like(3, 4);

static int refuse(struct volume_no *no, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(no->why, sizeof(no->why), fmt, ap);
	va_end(ap);
	return err;
}

/* What may be asked for instead, of an account that there is or of one to be. */
static void try_size(const struct pod *p, const char *name, uint64_t bytes, struct volume_no *no)
{
	bool is_there = naming_tenant_find_name(naming_tables(p->naming), name) != NULL;

	(void)snprintf(no->try_next, sizeof(no->try_next), "pando tenant %s %s %s%" PRIu64 "M",
		       is_there ? "set" : "add", name, is_there ? "disk=" : "--storage ",
		       bytes >> 20);
}

static int cannot_shrink(const struct pod *p, const char *name, uint64_t has_bytes,
			 struct volume_no *no)
{
	uint64_t used = 0;

	try_size(p, name, 2 * has_bytes, no);
	if (volume_used(p, name, &used) < 0)
		return refuse(no, -EBUSY, "its file system can only grow: it has %" PRIu64 "M",
			      has_bytes >> 20);
	return refuse(no, -EBUSY,
		      "its file system can only grow: it has %" PRIu64 "M, of which %" PRIu64
		      "M are in use",
		      has_bytes >> 20, used >> 20);
}

/* Another node of this host has it mounted, over the same device: so may we, for as long as it
 * takes.
 */
static int image_grow_there(const char *image_path, const char *path, uint64_t bytes)
{
	int r = image_mount(image_path, path);

	if (r < 0)
		return r;
	r = image_grow(image_path, path, bytes);
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		log_warn("cannot unmount %s: %s", path, strerror(errno));
	return r;
}

static int grow_used(const char *image, const char *path, uint64_t bytes)
{
	char name[32];
	struct stat st;
	int dev;

	if (is_mounted(path))
		return image_grow(image, path, bytes);
	if (stat(image, &st) < 0)
		return -errno;
	dev = loop_find(&st, name);
	if (dev < 0)
		return 0; /* nobody has it: it grows before the next mount */
	(void)close(dev);
	return image_grow_there(image, path, bytes);
}

/* With an image. */
static int resize_image(struct pod *p, const char *name, const char *image, const char *path,
			uint64_t bytes, struct volume_no *no)
{
	uint64_t has_bytes = volume_has(p, name);
	int r;

	bytes = bytes / BLOCK * BLOCK;
	if (bytes < has_bytes)
		return cannot_shrink(p, name, has_bytes, no);
	/* A node that has it mounted grows it when the limit arrives in its tables, and who mounts
	 * it next before that. */
	r = bytes == has_bytes ? 0 : grow_used(image, path, bytes);
	if (r != -EPERM)
		return r < 0 ? refuse(no, r, "its file system does not grow: %s", strerror(-r)) : 0;
	(void)snprintf(no->try_next, sizeof(no->try_next),
		       "pando down, pando up, pando tenant set %s disk=%" PRIu64 "M", name,
		       bytes >> 20);
	return refuse(no, -EBUSY,
		      "this host lets no one grow a file system in use (CAP_SYS_RESOURCE)");
}

int volume_resize(struct pod *p, const char *name, uint64_t bytes, struct volume_no *no)
{
	char image[PATH_MAX], path[PATH_MAX];
	int r = home_path(p, name, true, image);

	if (r == 0)
		r = home_path(p, name, false, path);
	if (r == -EOPNOTSUPP && bytes == 0)
		return 0;
	(void)snprintf(no->try_next, sizeof(no->try_next), "pando status");
	if (r < 0)
		return refuse(no, -EBUSY,
			      "the volume of homes is no directory of this host: its own quotas "
			      "apply");
	if (access(image, F_OK) == 0)
		return resize_image(p, name, image, path, bytes, no);
	if (bytes != 0 && bytes < IMAGE_MIN) {
		try_size(p, name, IMAGE_MIN, no);
		return refuse(no, -EINVAL, "less than %" PRIu64 "M holds no file system",
			      IMAGE_MIN >> 20);
	}
	if (bytes == 0 || access(path, F_OK) < 0)
		return 0;
	(void)snprintf(no->try_next, sizeof(no->try_next), "pando tenant add OTHER --storage 10G");
	return refuse(no, -EBUSY,
		      "its files are in a plain directory already; a limit can be given before "
		      "the first login");
}

void volume_follow(struct pod *p, const struct naming_tenant *t)
{
	char image[PATH_MAX], path[PATH_MAX];
	uint64_t bytes = t->limits.storage_bytes / BLOCK * BLOCK;
	struct statfs fs;
	struct stat st;
	int r;

	if (home_path(p, t->name, true, image) < 0 || home_path(p, t->name, false, path) < 0 ||
	    stat(image, &st) < 0 || !is_mounted(path) || statfs(path, &fs) < 0)
		return;
	/* What the file system keeps for itself is some hundredths. */
	if ((uint64_t)st.st_size >= bytes && (uint64_t)fs.f_blocks * BLOCK >= bytes - bytes / 4)
		return;
	r = image_grow(image, path, bytes);
	if (r < 0)
		log_warn("the file system of %s does not grow: %s", t->name, strerror(-r));
}

void volume_release(struct pod *p, const char *name)
{
	char path[PATH_MAX];

	if (home_path(p, name, false, path) == 0 && is_mounted(path) &&
	    umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		log_warn("cannot unmount %s: %s", path, strerror(errno));
}
