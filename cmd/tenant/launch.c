/* SPDX-License-Identifier: Apache-2.0 */
/* launch.c - see launch.h. */
#include "cmd/tenant/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "cmd/tenant/root.h"

#define FDS_MAX 64

int launch_wait(int pipe_fd, struct launch_report *out)
{
	struct launch_report rep;
	ssize_t n;

	memset(out, 0, sizeof(*out));
	for (;;) {
		n = read(pipe_fd, &rep, sizeof(rep));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : out->error;
		if (n != (ssize_t)sizeof(rep))
			return -EIO;
		if (rep.pid > 0)
			out->pid = rep.pid;
		if (rep.error != 0) {
			out->error = rep.error;
			memcpy(out->why, rep.why, sizeof(out->why));
		}
	}
}

void launch_unkillable(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	/* Both need rights that a container may lack; `pando doctor` says so. */
	if (fd >= 0) {
		(void)!write(fd, "-1000", 5);
		(void)close(fd);
	}
	(void)setpriority(PRIO_PROCESS, 0, -20);
}

int launch_enter(const int *entrances, int count)
{
	for (int i = 0; i < count; i++) {
		if (write(entrances[i], "0", 1) < 0)
			return -1;
	}
	return 0;
}

int launch_become_root(int ns)
{
	if (setns(ns, CLONE_NEWUSER) < 0 || setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 ||
	    setresuid(0, 0, 0) < 0)
		return -1;
	return 0;
}

/* Above all that will be numbered, so that no number is overwritten before it was moved. */
static int lift(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, FDS_MAX * 2);
}

static void default_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < 65; sig++)
		(void)signal(sig,
			     SIG_DFL); /* KILL, STOP and glibc's own refuse: they are default */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

int launch_exec(int program, char *const argv[], char *const envp[], const int *fds, size_t count)
{
	int lifted[FDS_MAX];
	struct rlimit files;

	if (count > FDS_MAX)
		return -E2BIG;
	program = lift(program);
	for (size_t i = 0; i < count; i++) {
		lifted[i] = fds[i] >= 0 ? lift(fds[i]) : -1;
		if (fds[i] >= 0 && lifted[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < count; i++) {
		if (lifted[i] < 0 && i < 2)
			lifted[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (lifted[i] >= 0 && dup2(lifted[i], (int)i) < 0)
			return -errno;
		if (lifted[i] < 0 && i > 2)
			(void)close((int)i);
	}
	/* The rest stays until the exec succeeds: the report pipe is among it. */
	if (syscall(SYS_close_range, (unsigned)count, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return -errno;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	default_signals();
	(void)syscall(SYS_execveat, program, "", argv, envp, AT_EMPTY_PATH);
	return -errno;
}

static int write_map(pid_t pid, const char *file, uint32_t base)
{
	char path[48], text[48];
	cleanup_close int fd = -1;
	int n;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	n = snprintf(text, sizeof(text), "0 %u %u\n", base, TENANT_IDS);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, (size_t)n) == n ? 0 : -errno;
}

/* Enters a new user namespace only to be killed; also by its maker's death. */
static noreturn_fn void hold_namespace(pid_t maker)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == maker)
		(void)pause();
	_exit(0);
}

/* A user namespace is made by whoever enters it first. */
int userns_new(uint32_t base, char why[TENANT_WHY_MAX])
{
	pid_t maker = getpid();
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	char path[48];
	int fd, r;

	if (pid < 0)
		return root_fail(why, -errno, "cannot make a user namespace");
	if (pid == 0)
		hold_namespace(maker);
	FAULT("tenant.start.userns");
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : 0;
	if (r == 0)
		r = write_map(pid, "uid_map", base);
	if (r == 0)
		r = write_map(pid, "gid_map", base);
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r < 0 && fd >= 0)
		(void)close(fd);
	return r < 0 ? root_fail(why, r, "cannot map ids from %u", base) : fd;
}
