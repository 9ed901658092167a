/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.c - starts a tenant's guest kernel, and shuts the door behind it. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "kernel/tenant/client.h"
#include "cmd/tenant/launch.h"
#include "cmd/tenant/root.h"
#include "cmd/tenant/tenant.h"

extern char **environ;

#define KERNEL_FDS 7
#define ENV_MAX    32

struct kernel_birth {
	int init_pidfd;
	int entrances[CGROUP_FDS_MAX], entrance_count;
	struct root_plan plan;
	int program;
	int fds[KERNEL_FDS]; /* borrowed but for KERNEL_FD_INIT, PROC, UFFD */
	int report[2];
	char *env[ENV_MAX];
};

int tenant_procfs_open(void)
{
	cleanup_close int fs = fsopen("proc", FSOPEN_CLOEXEC);
	cleanup_close int mnt = -1;
	int fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "hidepid", "ptraceable", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	mnt = fsmount(fs, FSMOUNT_CLOEXEC,
		      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (mnt < 0)
		return -errno;
	fd = openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void kernel_birth_fini(struct kernel_birth *b)
{
	int fds[] = { b->fds[KERNEL_FD_INIT], b->fds[KERNEL_FD_PROC],
		      b->fds[KERNEL_FD_UFFD], b->program,
		      b->report[0],           b->report[1] };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (fds[i] >= 0)
			(void)close(fds[i]);
	}
	for (int i = 0; i < b->entrance_count; i++)
		(void)close(b->entrances[i]);
	root_plan_fini(&b->plan);
	free(b);
}

/* Of pandod's environment only what is meant for Pando's programs. */
static void take_env(struct kernel_birth *b)
{
	static char path[] = "PATH=/usr/bin:/bin";
	size_t n = 0;

	b->env[n++] = path;
	for (char **e = environ; *e != NULL && n < ENV_MAX - 1; e++) {
		if (strncmp(*e, "PANDO_", 6) == 0)
			b->env[n++] = *e;
	}
	b->env[n] = NULL;
}

static int kernel_prepare(struct kernel_birth *b, struct tenant *t, const char *program,
			  char why[TENANT_WHY_MAX])
{
	char group[CGROUP_PATH_MAX];
	int r;

	b->program = open(program, O_RDONLY | O_CLOEXEC);
	if (b->program < 0)
		return root_fail(why, -errno, "cannot open %s", program);
	(void)snprintf(group, sizeof(group), "%.*s/kernel", CGROUP_PATH_MAX - 8, t->cgroup);
	r = cgroup_entrances(t->cgroups, group, b->entrances);
	if (r < 0)
		return root_fail(why, r, "cannot open control group %s", group);
	b->entrance_count = r;
	r = root_plan_bare(&b->plan, why);
	if (r < 0)
		return r;
	b->fds[KERNEL_FD_PROC] = tenant_procfs_open();
	if (b->fds[KERNEL_FD_PROC] < 0)
		return root_fail(why, b->fds[KERNEL_FD_PROC], "cannot open a procfs with hidepid");
	b->fds[KERNEL_FD_UFFD] = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	b->fds[KERNEL_FD_INIT] = init_connect(t->run_dir, INIT_ROLE_KERNEL, NULL);
	if (b->fds[KERNEL_FD_INIT] < 0)
		return root_fail(why, b->fds[KERNEL_FD_INIT], "cannot reach pando-init of %s",
				 t->name);
	if (pipe2(b->report, O_CLOEXEC) < 0)
		return root_fail(why, -errno, "cannot make a pipe");
	return 0;
}

/* The child: gives up every right of the host on the way. */
static void become_kernel(struct kernel_birth *b, char *const argv[])
{
	struct launch_report rep = { 0 };
	struct rlimit none = { 0, 0 };
	int r = 0;

	launch_unkillable();
	if (launch_enter(b->entrances, b->entrance_count) < 0)
		r = root_fail(rep.why, -errno, "cannot enter its control group");
	else if (launch_become_root(b->init_pidfd) < 0)
		r = root_fail(rep.why, -errno, "cannot enter the tenant's user namespace");
	else if (setns(b->init_pidfd, CLONE_NEWTIME) < 0)
		r = root_fail(rep.why, -errno, "cannot enter the tenant's time namespace");
	else if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
			 CLONE_NEWCGROUP) < 0)
		r = root_fail(rep.why, -errno, "cannot make namespaces");
	if (r == 0)
		r = root_build_bare(&b->plan, rep.why);
	if (r == 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		       setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_PDEATHSIG, 0) < 0))
		r = root_fail(rep.why, -errno, "cannot give up rights");
	if (r == 0) {
		r = launch_exec(b->program, argv, b->env, b->fds, KERNEL_FDS);
		r = root_fail(rep.why, r, "cannot exec");
	}
	rep.error = r;
	(void)!write(b->report[1], &rep, sizeof(rep));
	_exit(1);
}

static int kernel_bear(struct kernel_birth *b, char *const argv[], int *pidfd,
		       char why[TENANT_WHY_MAX])
{
	struct launch_report rep;
	pid_t pid = fork();
	int r;

	if (pid < 0)
		return root_fail(why, -errno, "cannot fork");
	if (pid == 0)
		become_kernel(b, argv);
	FAULT("tenant.kernel.forked");
	*pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	(void)close(take_fd(&b->report[1]));
	r = launch_wait(b->report[0], &rep);
	if (r == 0 && *pidfd >= 0)
		return 0;
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (*pidfd >= 0)
		(void)close(take_fd(pidfd));
	return root_fail(why, r < 0 ? r : -EMFILE, "cannot start %s: %.128s", argv[0], rep.why);
}

int tenant_kernel_start(struct tenant *t, char *const argv[], int pod_fd, int log_fd, int *pidfd,
			char why[TENANT_WHY_MAX])
{
	struct kernel_birth *b = calloc(1, sizeof(*b));
	int r;

	why[0] = 0;
	*pidfd = -1;
	if (b == NULL)
		return root_fail(why, -ENOMEM, "cannot start %s", argv[0]);
	b->plan.stub = b->plan.fuse_dev = b->program = b->report[0] = b->report[1] = -1;
	b->init_pidfd = t->init_pidfd;
	for (size_t i = 0; i < KERNEL_FDS; i++)
		b->fds[i] = -1;
	b->fds[1] = b->fds[2] = log_fd;
	b->fds[KERNEL_FD_POD] = pod_fd;
	take_env(b);
	r = kernel_prepare(b, t, argv[0], why);
	if (r == 0)
		r = kernel_bear(b, argv, pidfd, why);
	kernel_birth_fini(b);
	return r;
}

int tenant_kernel_seal(void)
{
	int r = root_empty();

	if (r < 0)
		return r;
	return prctl(PR_SET_DUMPABLE, 0) < 0 ? -errno : 0;
}
