/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pandod/gate/ssh_root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/attr.h"
#include "cmd/gate/gate.h"

#define SSHD   "/usr/sbin/sshd"
#define KEYGEN "/usr/bin/ssh-keygen"
#define CONFIG "/etc/ssh/sshd_config"

static noreturn_fn void die(const char *what)
{
	(void)dprintf(2, "pandod: cannot start sshd: %s: %s\n", what, strerror(errno));
	_exit(1);
}

/* The node's host key stays the same for ever: clients remember it. */
static void make_host_key(const char *dir)
{
	char path[PATH_MAX], tmp[PATH_MAX + 8];
	int status;
	pid_t pid;

	(void)snprintf(path, sizeof(path), "%s/host_key", dir);
	(void)snprintf(tmp, sizeof(tmp), "%s.new", path);
	if (access(path, F_OK) == 0)
		return;
	(void)unlink(tmp);
	pid = fork();
	if (pid == 0) {
		(void)execl(KEYGEN, KEYGEN, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", tmp,
			    NULL);
		die("run " KEYGEN);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
		die("make a host key");
	if (rename(tmp, path) < 0)
		die("keep the host key");
}

static int tree(const char *path, unsigned long attrs, unsigned flags)
{
	struct mount_attr a = { .attr_set = attrs };
	int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);

	if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH | flags, &a, sizeof(a)) < 0)
		die(path);
	return fd;
}

static void attach(int fd, const char *path)
{
	if (move_mount(fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		die(path);
	(void)close(fd);
}

static void make(const char *path, mode_t mode)
{
	if (mkdir(path, 0755) < 0 || chmod(path, mode) < 0)
		die(path);
}

/* A copy that belongs to root, whoever owns the original: sshd looks at that. */
static void copy(const char *from, const char *to, mode_t mode)
{
	cleanup_close int in = open(from, O_RDONLY | O_CLOEXEC);
	cleanup_close int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char bytes[65536];
	ssize_t n;

	if (in < 0 || out < 0)
		die(from);
	while ((n = read(in, bytes, sizeof(bytes))) > 0) {
		if (write(out, bytes, (size_t)n) != n)
			die(to);
	}
	if (n < 0 || fchmod(out, mode) < 0)
		die(from);
}

static void copy_if_there(const char *from, const char *to)
{
	if (access(from, R_OK) == 0)
		copy(from, to, 0644);
}

/* /bin and its like, as they are on this host: links into /usr, or directories. */
static void link_top(void)
{
	static const char *const names[] = { "/bin", "/sbin", "/lib", "/lib64" };
	char to[PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		ssize_t n = readlink(names[i], to, sizeof(to) - 1);

		if (n >= 0) {
			to[n] = '\0';
			if (symlink(to, names[i] + 1) < 0)
				die(names[i]);
		} else if (access(names[i], F_OK) == 0) {
			int fd = tree(names[i], MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, AT_RECURSIVE);

			make(names[i] + 1, 0755);
			attach(fd, names[i] + 1);
		}
	}
}

static void make_devices(void)
{
	static const char *const names[] = { "null", "zero", "tty", "random", "urandom" };
	char from[32], to[32];

	make("dev", 0755);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		int fd;

		(void)snprintf(from, sizeof(from), "/dev/%s", names[i]);
		(void)snprintf(to, sizeof(to), "dev/%s", names[i]);
		fd = tree(from, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0);
		(void)close(open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		attach(fd, to);
	}
	make("dev/pts", 0755);
	/* Terminals of connections are no business of the host's. */
	if (mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		  "newinstance,ptmxmode=0666,mode=0620,gid=5,max=4096") < 0 ||
	    symlink("pts/ptmx", "dev/ptmx") < 0)
		die("make terminals");
}

static void fill_etc(const struct ssh_root *s, const char *etc)
{
	char path[PATH_MAX], key[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%.4000s/ssh", etc);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		die(path);
	(void)snprintf(path, sizeof(path), "%.4000s/ssh/host_key", etc);
	(void)snprintf(key, sizeof(key), "%.4000s/host_key", s->keys);
	copy(key, path, 0600);
	(void)snprintf(path, sizeof(path), "%.4000s/ld.so.cache", etc);
	copy_if_there("/etc/ld.so.cache", path);
	(void)snprintf(path, sizeof(path), "%.4000s/localtime", etc);
	copy_if_there("/etc/localtime", path);
}

static void copy_programs(const char *lib)
{
	static const char *const names[] = { "pando-session", "pando-keys" };
	char from[PATH_MAX + 16], to[64];

	make("pando", 0755);
	make("pando/bin", 0755);
	make("pando/run", 0755);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(from, sizeof(from), "%s/%s", lib, names[i]);
		(void)snprintf(to, sizeof(to), "pando/bin/%s", names[i]);
		copy(from, to, 0755);
	}
}

static void build_root(const struct ssh_root *s)
{
	char etc[PATH_MAX], run[PATH_MAX];
	int usr, etc_tree, run_tree;

	(void)snprintf(etc, sizeof(etc), "%s/etc", s->dir);
	(void)snprintf(run, sizeof(run), "%s/run", s->dir);
	fill_etc(s, etc);
	usr = tree("/usr", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, AT_RECURSIVE);
	etc_tree = tree(etc, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0);
	run_tree = tree(run, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0);
	if (mount("pando", s->dir, "tmpfs", MS_NOSUID, "mode=755,size=64m") < 0 ||
	    chdir(s->dir) < 0)
		die("make a root");
	make("usr", 0755);
	make("etc", 0755);
	make("run", 0755);
	make("run/sshd", 0755);
	make("tmp", 01777);
	attach(usr, "usr");
	attach(etc_tree, "etc");
	link_top();
	make_devices();
	copy_programs(s->lib);
	attach(run_tree, "pando/run");
}

static void enter_root(void)
{
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };
	struct mount_attr rw = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
	int tmp;

	/* Agents' sockets are made in /tmp. */
	tmp = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (tmp < 0 || fsconfig(tmp, FSCONFIG_SET_STRING, "mode", "1777", 0) < 0 ||
	    fsconfig(tmp, FSCONFIG_SET_STRING, "size", "16m", 0) < 0 ||
	    fsconfig(tmp, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		die("make /tmp");
	attach(fsmount(tmp, FSMOUNT_CLOEXEC, (unsigned)rw.attr_set), "tmp");
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
	    chdir("/") < 0 || mount_setattr(AT_FDCWD, "/", 0, &ro, sizeof(ro)) < 0)
		die("leave the host's root");
}

void ssh_root_exec(const struct ssh_root *s)
{
	static char *const argv[] = { SSHD, "-D", "-e", "-f", CONFIG, NULL };
	static char *const env[] = { "PATH=/usr/bin:/usr/sbin:/bin:/sbin", NULL };
	sigset_t none;
	int null = open("/dev/null", O_RDONLY);

	if (dup2(s->log, 1) < 0 || dup2(s->log, 2) < 0 || null < 0 || dup2(null, 0) < 0)
		_exit(1);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)setsid();
	(void)umask(022);
	make_host_key(s->keys);
	if (s->net >= 0 && setns(s->net, CLONE_NEWNET) < 0)
		die("enter the host's network");
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		die("make a mount namespace");
	build_root(s);
	enter_root();
	if (close_range(3, ~0u, 0) < 0)
		die("close what is not its own");
	(void)execve(SSHD, argv, env);
	die("run " SSHD);
}
