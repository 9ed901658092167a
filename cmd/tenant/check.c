/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - what this host offers to tenants, by trying it.
 *
 * What changes the process is tried in a child; nothing is left behind. Each probe returns 0
 * or -errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cmd/tenant/launch.h"
#include "cmd/tenant/tenant.h"

struct probe {
	const char *check;
	int (*run)(void);
	enum tenant_verdict worst;
	const char *effect, *fix;
};

/* Runs @work in a child, which loses it all when it ends. */
static int apart(int (*work)(void))
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(-work() & 0xff);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

static int make_namespaces(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
		       CLONE_NEWPID | CLONE_NEWCGROUP) < 0
		       ? -errno
		       : 0;
}

static int probe_namespaces(void)
{
	return apart(make_namespaces);
}

static int make_time_namespace(void)
{
	return unshare(CLONE_NEWTIME) < 0 ? -errno : 0;
}

static int probe_time(void)
{
	return apart(make_time_namespace);
}

static int probe_notification(void)
{
	uint32_t action = SECCOMP_RET_USER_NOTIF;

	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 ? -errno : 0;
}

static int probe_killable(void)
{
	/* A flag that is known comes as far as the missing program. */
	(void)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		      SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
		      NULL);
	return errno == EFAULT ? 0 : -errno;
}

static int probe_last_pid(void)
{
	return access("/proc/sys/kernel/ns_last_pid", W_OK) < 0 ? -errno : 0;
}

/* A tenant's mount of the host's programs, as tenant_start() makes it. */
static int idmap_usr(void)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP };
	cleanup_close int tree =
		open_tree(AT_FDCWD, "/usr", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	char why[TENANT_WHY_MAX];
	cleanup_close int ns = userns_new(TENANT_IDS, why);

	if (tree < 0 || ns < 0)
		return tree < 0 ? -errno : ns;
	attr.userns_fd = (uint64_t)ns;
	return mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0
		       ? -errno
		       : 0;
}

static int probe_idmap(void)
{
	return apart(idmap_usr);
}

static int probe_hidepid(void)
{
	int fd = tenant_procfs_open();

	if (fd < 0)
		return fd;
	(void)close(fd);
	return 0;
}

static int probe_fuse(void)
{
	return access("/dev/fuse", R_OK | W_OK) < 0 ? -errno : 0;
}

static int lower_oom_score(void)
{
	cleanup_close int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, "-1000", 5) < 0 ? -errno : 0;
}

static int probe_oom(void)
{
	return apart(lower_oom_score);
}

static int schedule_first(void)
{
	struct sched_param p = { .sched_priority = 1 };

	return sched_setscheduler(0, SCHED_RR, &p) < 0 ? -errno : 0;
}

static int probe_realtime(void)
{
	return apart(schedule_first);
}

/* ---- control groups: one look for several lines ---- */

static struct cgroup_offers offers;

static int probe_cgroups(void)
{
	struct cgroup_host *h;
	char name[48];
	int r = cgroup_host_new(&h, NULL);

	memset(&offers, 0, sizeof(offers));
	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), "pando-check-%d", (int)getpid());
	r = cgroup_make(h, name);
	if (r == 0) {
		cgroup_host_offers(h, &offers);
		r = cgroup_freeze(h, name, true);
		if (r == 0)
			r = cgroup_kill(h, name);
		if (cgroup_remove(h, name) < 0 && r == 0)
			r = -EBUSY;
	}
	cgroup_host_free(h);
	return r;
}

static int probe_cpu(void)
{
	return offers.cpu ? 0 : -EOPNOTSUPP;
}

static int probe_memory(void)
{
	return offers.memory ? 0 : -EOPNOTSUPP;
}

static int probe_pids(void)
{
	return offers.pids ? 0 : -EOPNOTSUPP;
}

static const struct probe probes[] = {
	{ "make namespaces", probe_namespaces, TENANT_FAIL, "no tenant can be walled off",
	  "sysctl -w user.max_user_namespaces=65536" },
	{ "time namespace", probe_time, TENANT_FAIL, "clocks would jump when a process moves",
	  "boot a kernel with CONFIG_TIME_NS" },
	{ "seccomp notification", probe_notification, TENANT_FAIL,
	  "no guest kernel can answer system calls", "boot a kernel with CONFIG_SECCOMP_FILTER" },
	{ "killable notification", probe_killable, TENANT_FAIL,
	  "calls would return EINTR that never do", "boot Linux 6.1 or later" },
	{ "ns_last_pid", probe_last_pid, TENANT_FAIL, "pids cannot be unique in the machine",
	  "boot a kernel with CONFIG_CHECKPOINT_RESTORE" },
	{ "procfs with hidepid", probe_hidepid, TENANT_FAIL,
	  "a guest kernel would see other tenants", "boot Linux 6.1 or later" },
	{ "control groups", probe_cgroups, TENANT_FAIL, "guests cannot be frozen and killed",
	  "mount -t cgroup2 none /sys/fs/cgroup" },
	{ "cgroup cpu", probe_cpu, TENANT_WARN, "no cpu limit is enforced here",
	  "systemd.unified_cgroup_hierarchy=1 on the kernel command line" },
	{ "cgroup memory", probe_memory, TENANT_WARN, "no memory limit is enforced here",
	  "cgroup_enable=memory on the kernel command line" },
	{ "cgroup pids", probe_pids, TENANT_WARN, "a fork bomb reaches the whole host",
	  "systemd.unified_cgroup_hierarchy=1 on the kernel command line" },
	{ "idmapped /usr", probe_idmap, TENANT_WARN,
	  "the system's files show as nobody's; volumes on this file system cannot be idmapped",
	  "put / on ext4, xfs or btrfs" },
	{ "/dev/fuse", probe_fuse, TENANT_WARN, "/proc shows this node only", "modprobe fuse" },
	{ "real-time scheduling", probe_realtime, TENANT_WARN,
	  "on a busy node pids may leave the node's blocks", "give pandod CAP_SYS_NICE" },
	{ "oom_score_adj", probe_oom, TENANT_WARN,
	  "short of memory, the host may kill a tenant's daemons", "give pandod CAP_SYS_RESOURCE" },
};

size_t tenant_check(struct tenant_finding *out, size_t max)
{
	size_t n = MIN(max, ARRAY_LEN(probes));

	for (size_t i = 0; i < n; i++) {
		const struct probe *p = &probes[i];
		bool ok = p->run() == 0;

		out[i] = (struct tenant_finding){ p->check, ok ? TENANT_OK : p->worst,
						  ok ? "" : p->effect, ok ? "" : p->fix };
	}
	return n;
}
