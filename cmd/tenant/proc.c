/* SPDX-License-Identifier: Apache-2.0 */
/* proc.c - see proc.h. */
#include "cmd/tenant/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "kernel/procfs/procfs.h"

#define FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/*
 * A FUSE mount belongs to the user namespace of who opened the device, and the host's device is its
 * root's alone: so a node of the tenant's own, on a mount that nobody else sees.
 */
int proc_plan(struct root_plan *p, uint32_t id_base, char why[TENANT_WHY_MAX])
{
	cleanup_close int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	cleanup_close int mnt = -1;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return root_fail(why, -errno, "cannot make a file system for /dev/fuse");
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	if (mnt < 0 || mknodat(mnt, "fuse", S_IFCHR | 0600, makedev(10, 229)) < 0 ||
	    fchownat(mnt, "fuse", id_base, id_base, 0) < 0)
		return root_fail(why, -errno, "cannot make a /dev/fuse for the tenant");
	p->fuse_dev = take_fd(&mnt);
	return 0;
}

/* ---- who answers while .host is mounted: no guest kernel lives yet ---- */

static int no_process(void *arg, gpid pid, struct procfs_pid *out)
{
	return -ESRCH;
}

static int no_pid_text(void *arg, gpid pid, enum procfs_pid_file file, struct buf *out)
{
	return -ESRCH;
}

static int no_machine_text(void *arg, enum procfs_machine_file file, struct buf *out)
{
	return -EIO;
}

static int no_move(void *arg, gpid pid, const char *node, uint32_t caller_pid, uint64_t key)
{
	return -ENOENT;
}

struct mounter {
	struct loop_child child;
	struct loop *loop;
	int err;
};

static void on_mounter_ended(struct loop_child *c, const siginfo_t *si)
{
	struct mounter *m = container_of(c, struct mounter, child);

	m->err = si->si_code == CLD_EXITED ? -si->si_status : -ECHILD;
	loop_stop(m->loop);
}

/* Until @pid, a child, has ended: 0 if it has mounted. */
static int serve(int fuse, pid_t pid)
{
	static const struct procfs_ops ops = { .next = no_process,
					       .find = no_process,
					       .pid_text = no_pid_text,
					       .machine_text = no_machine_text,
					       .move = no_move };
	static struct procfs_slot slots[PROCFS_SLOTS];
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct mounter m = { .err = -ECHILD };
	struct procfs *served = NULL;
	int r = pidfd < 0 ? -errno : loop_new(&m.loop, LOOP_EPOLL);

	if (r == 0)
		r = procfs_new(&served, m.loop, fuse, slots, &ops, NULL);
	if (r == 0)
		r = loop_child_add(m.loop, &m.child, pidfd, on_mounter_ended);
	if (r == 0)
		r = loop_run(m.loop);
	procfs_free(served);
	if (m.loop)
		loop_free(m.loop);
	return r == 0 ? m.err : r;
}

static int mount_native(const char *path, char why[TENANT_WHY_MAX])
{
	if (mount("proc", path, "proc", FLAGS, NULL) < 0)
		return root_fail(why, -errno, "cannot mount procfs on /%s", path);
	return 0;
}

/*
 * The machine's /proc, and below it the native one, whose mountpoint is looked up through FUSE: by
 * a child, which has no copy of the connection. Whoever of the two dies, the other one's call ends.
 */
static int mount_both(const struct root_plan *p, struct root_proc *out, char why[TENANT_WHY_MAX])
{
	char options[96];
	pid_t mounter;
	int r;

	out->fuse = openat(p->fuse_dev, "fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (out->fuse < 0)
		return root_fail(why, -errno, "cannot open the tenant's /dev/fuse");
	(void)snprintf(options, sizeof(options),
		       "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", out->fuse);
	if (mount("proc", "proc", "fuse", FLAGS, options) < 0)
		return root_fail(why, -errno, "cannot mount FUSE on /proc");
	mounter = fork();
	if (mounter < 0)
		return root_fail(why, -errno, "cannot fork");
	if (mounter == 0) {
		(void)close(out->fuse);
		FAULT("proc.mounter");
		_exit(mount("proc", "proc/.host", "proc", FLAGS, NULL) < 0 ? errno : 0);
	}
	r = serve(out->fuse, mounter);
	if (r < 0) {
		(void)close(take_fd(&out->fuse)); /* who waits for an answer gets none */
		(void)waitpid(mounter, NULL, 0);
		return root_fail(why, r, "cannot mount procfs on /proc/.host");
	}
	return 0;
}

static int write_to(int dir, const char *path, const char *text)
{
	cleanup_close int fd = openat(dir, path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/*
 * No guest may make a namespace (a second wall behind the filter); after that /proc/sys is
 * read-only for everybody.
 */
static int lock_sysctls(const char *sys, struct root_proc *out, char why[TENANT_WHY_MAX])
{
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };
	int r = write_to(out->native, "sys/user/max_user_namespaces", "0");

	if (r < 0)
		return root_fail(why, r, "cannot forbid user namespaces inside");
	out->last_pid = openat(out->native, "sys/kernel/ns_last_pid", O_RDWR | O_CLOEXEC);
	if (out->last_pid < 0)
		return root_fail(why, -errno, "cannot open ns_last_pid");
	if (mount(sys, sys, NULL, MS_BIND, NULL) < 0 ||
	    mount_setattr(AT_FDCWD, sys, 0, &ro, sizeof(ro)) < 0)
		return root_fail(why, -errno, "cannot make /proc/sys read-only");
	return 0;
}

/*
 * Takes both off again: to exec is to start a libc, which may look into /proc (a static one does),
 * and nobody would answer it.
 */
static int put_aside(struct root_proc *out, char why[TENANT_WHY_MAX])
{
	out->tree = open_tree(AT_FDCWD, "proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (out->tree < 0 || umount2("proc", MNT_DETACH) < 0)
		return root_fail(why, -errno, "cannot clone /proc");
	return 0;
}

int proc_build(const struct root_plan *p, struct root_proc *out, char why[TENANT_WHY_MAX])
{
	bool fuse = p->fuse_dev >= 0;
	int r;

	*out = (struct root_proc){ -1, -1, -1, -1 };
	if (mkdir("proc", 0755) < 0)
		return root_fail(why, -errno, "cannot make /proc");
	r = fuse ? mount_both(p, out, why) : mount_native("proc", why);
	if (r < 0)
		return r;
	out->native = open(fuse ? "proc/.host" : "proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (out->native < 0)
		return root_fail(why, -errno, "cannot open procfs");
	r = lock_sysctls(fuse ? "proc/.host/sys" : "proc/sys", out, why);
	/* The next process is the spawner, pid 2, whoever was here before. */
	if (r == 0 && pwrite(out->last_pid, "1", 1, 0) != 1)
		r = root_fail(why, -errno, "cannot set ns_last_pid");
	if (r == 0 && fuse)
		r = put_aside(out, why);
	return r;
}
