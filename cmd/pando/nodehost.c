/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pando/nodehost.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"

#define BRIDGE "pando0"

enum { PATIENCE_MS = 20000 };

int nodehost_dir(struct ctx *c, const char *what, bool make)
{
	char *full;

	if (c->dir == NULL)
		c->dir = "/var/lib/pando";
	if (make && mkdir(c->dir, 0700) < 0 && errno != EEXIST)
		return fail(c, errno == EACCES ? CODE_NOT_ALLOWED : CODE_REFUSED, NULL,
			    "cannot %s: cannot make %s: %s", what, c->dir, strerror(errno));
	full = realpath(c->dir, NULL);
	if (full == NULL)
		return fail(c, CODE_NOT_FOUND, "pando up", "cannot %s: %s: %s", what, c->dir,
			    strerror(errno));
	/* A control socket's path must fit into 108 bytes. */
	if (strlen(full) > 60) {
		free(full);
		return fail(c, CODE_USAGE, "pando up --dir /tmp/p",
			    "cannot %s: %s is too long (60)", what, c->dir);
	}
	if (make && chmod(full, 0700) < 0) {
		free(full);
		return fail(c, CODE_REFUSED, NULL, "cannot %s: chmod %s: %s", what, c->dir,
			    strerror(errno));
	}
	c->dir = full; /* lives as long as the process */
	return 0;
}

static int lock_fd = -1;

int nodehost_lock(struct ctx *c, const char *what)
{
	lock_fd = open(c->dir, O_RDONLY | O_DIRECTORY); /* helpers inherit it */
	if (lock_fd < 0 || flock(lock_fd, LOCK_EX) < 0)
		return fail(c, CODE_REFUSED, NULL, "cannot %s: cannot lock %s: %s", what, c->dir,
			    strerror(errno));
	return 0;
}

void nodehost_unlock(void)
{
	(void)close(lock_fd);
	lock_fd = -1;
}

int nodehost_program(const char *name, char out[PATH_MAX])
{
	static const char *const beside[] = { "", "../lib/pando/" };
	char self[PATH_MAX - 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n < 0)
		return -errno;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash == NULL)
		return -ENOENT;
	slash[1] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(beside); i++) {
		(void)snprintf(out, PATH_MAX, "%s%s%s", self, beside[i], name);
		if (access(out, X_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

/*
 * A pid that a file names and whose command line, which is put into @line with blanks between its
 * words, contains all of @words. Returns a pidfd.
 */
static int find_process(const char *file, const char *const *words, int *pid,
			char line[NODEHOST_LINE_MAX])
{
	cleanup_close int fd = open(file, O_RDONLY | O_CLOEXEC), pidfd = -1, cmd = -1;
	char text[16] = { 0 }, path[64];
	ssize_t n;
	long v;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? -ESRCH : -errno;
	if (read(fd, text, sizeof(text) - 1) <= 0 ||
	    parse_count(strtok(text, "\n"), 1, 1 << 22, &v))
		return -ESRCH;
	/* The descriptor first: what is checked after it is this process or nobody. */
	pidfd = pidfd_open((pid_t)v, 0);
	if (pidfd < 0)
		return -ESRCH;
	(void)snprintf(path, sizeof(path), "/proc/%ld/cmdline", v);
	cmd = open(path, O_RDONLY | O_CLOEXEC);
	n = cmd < 0 ? -1 : read(cmd, line, NODEHOST_LINE_MAX - 1);
	if (n <= 0)
		return -ESRCH;
	line[n] = '\0';
	for (ssize_t i = 0; i < n; i++)
		if (line[i] == '\0')
			line[i] = ' ';
	for (; *words != NULL; words++)
		if (strstr(line, *words) == NULL)
			return -ESRCH;
	if (pid != NULL)
		*pid = (int)v;
	return take_fd(&pidfd);
}

static int find_guard(const char *dir, const char *node, int *pid, char line[NODEHOST_LINE_MAX])
{
	char file[PATH_MAX], d[PATH_MAX], n[64];
	const char *const words[] = { "guard", d, n, NULL };

	(void)snprintf(file, sizeof(file), "%s/%s/run/guard.pid", dir, node);
	(void)snprintf(d, sizeof(d), "--dir %s ", dir);
	(void)snprintf(n, sizeof(n), "--node %s ", node);
	return find_process(file, words, pid, line);
}

int nodehost_find_guard(const char *dir, const char *node, int *pid)
{
	char line[NODEHOST_LINE_MAX];

	return find_guard(dir, node, pid, line);
}

int nodehost_running(const char *dir, const char *node, char line[NODEHOST_LINE_MAX],
		     struct nodehost *out)
{
	int fd = find_guard(dir, node, NULL, line);
	char first[64], *at, *save = NULL;
	const char *name;

	if (fd < 0)
		return fd;
	(void)close(fd);
	*out = (struct nodehost){ .dir = dir, .node = node };
	/* The directory, which may have blanks, is before it. */
	(void)snprintf(first, sizeof(first), "--node %s ", node);
	at = strstr(line, first);
	name = at ? strtok_r(at, " ", &save) : NULL;
	for (; name != NULL; name = strtok_r(NULL, " ", &save)) {
		if (strcmp(name, "--local") == 0)
			out->local = true;
		else if (strcmp(name, "--no-balance") == 0)
			out->no_balance = true;
		else if (strcmp(name, "--ssh") == 0)
			out->ssh = strtok_r(NULL, " ", &save);
		else if (strcmp(name, "--lease") == 0)
			out->lease = strtok_r(NULL, " ", &save);
		else if (strcmp(name, "--cpu-milli") == 0 && (name = strtok_r(NULL, " ", &save)))
			out->cpu_milli = strtol(name, NULL, 10);
	}
	return 0;
}

int nodehost_find_switch(const char *dir, int *pid)
{
	char file[PATH_MAX], d[PATH_MAX], line[NODEHOST_LINE_MAX];
	const char *const words[] = { "switch", d, NULL };

	(void)snprintf(file, sizeof(file), "%s/switch.pid", dir);
	(void)snprintf(d, sizeof(d), "--dir %s ", dir);
	return find_process(file, words, pid, line);
}

/* Runs a program to its end with @input as standard input, in network namespace @netns if >= 0. */
static int run_program(char *const argv[], const char *input, int netns)
{
	int in[2] = { -1, -1 }, status, r;
	sigset_t held, before;
	pid_t pid;

	if (pipe2(in, O_CLOEXEC) < 0)
		return -errno;
	/* A ctrl-C waits for its end: a daemon of which no file tells would never be found again.
	 */
	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &held, &before);
	pid = fork();
	if (pid == 0) {
		if ((netns >= 0 && setns(netns, CLONE_NEWNET) < 0) || dup2(in[0], 0) < 0)
			_exit(126);
		execvp(argv[0], argv);
		_exit(127);
	}
	(void)close(in[0]);
	/* A batch is shorter than a pipe: this does not wait for the program. */
	if (pid > 0 && input != NULL && write(in[1], input, strlen(input)) < 0) {
		/* its status tells */
	}
	(void)close(in[1]);
	if (pid > 0 && waitpid(pid, &status, 0) == pid)
		r = WIFEXITED(status) && WEXITSTATUS(status) == 0     ? 0
		    : WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOENT
								      : -EIO;
	else
		r = -errno;
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

static int ip_batch(int pid, const char *lines)
{
	char path[64];
	char *const argv[] = { "ip", "-batch", "-", NULL };
	cleanup_close int ns = -1;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	return ns < 0 ? -errno : run_program(argv, lines, ns);
}

/* Starts one of our daemons: it puts itself into the background once its pid file is written. */
static int start_daemon(char *const argv[])
{
	int r = run_program(argv, NULL, -1);

	return r == -EIO ? -ECHILD : r;
}

int nodehost_guard(const struct nodehost *l)
{
	char program[PATH_MAX], cpus[16];
	char *argv[20];
	int n = 0, fd, pid, r = nodehost_program("pandod", program);

	if (r < 0)
		return r;
	fd = nodehost_find_guard(l->dir, l->node, NULL);
	/* It ends by itself, a moment after its node has left. */
	if (fd >= 0 && nodehost_has_left(l->dir, l->node)) {
		nodehost_await_end(fd);
	} else if (fd >= 0) {
		(void)close(fd);
		return -EALREADY;
	}
	r = nodehost_renew(l->dir, l->node);
	if (r < 0)
		return r;
	(void)snprintf(cpus, sizeof(cpus), "%ld", l->cpu_milli);
	argv[n++] = program;
	argv[n++] = "guard";
	argv[n++] = "--dir";
	argv[n++] = (char *)l->dir;
	argv[n++] = "--node";
	argv[n++] = (char *)l->node;
	argv[n++] = "--cpu-milli";
	argv[n++] = cpus;
	if (l->ssh != NULL) {
		argv[n++] = "--ssh";
		argv[n++] = (char *)l->ssh;
	}
	if (l->lease != NULL) {
		argv[n++] = "--lease";
		argv[n++] = (char *)l->lease;
	}
	if (l->no_balance)
		argv[n++] = "--no-balance";
	if (l->local)
		argv[n++] = "--local";
	argv[n] = NULL;
	r = start_daemon(argv);
	if (r < 0)
		return r;
	fd = nodehost_find_guard(l->dir, l->node, &pid);
	if (fd < 0)
		return fd;
	(void)close(fd);
	return pid;
}

/* Whether a process's network has a line with @word in /proc/PID/net/@file. */
static bool net_has(int pid, const char *file, const char *word)
{
	char path[64], line[256] = " ";
	bool found = false;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/net/%s", pid, file);
	f = fopen(path, "re");
	while (f != NULL && !found && fgets(line + 1, sizeof(line) - 1, f) != NULL)
		found = strstr(line, word) != NULL;
	if (f != NULL)
		(void)fclose(f);
	return found;
}

/* Its bridge, or what is missing of it: who began may have been broken off. */
static int switch_equip(int pid)
{
	int r = net_has(pid, "dev", " " BRIDGE ":")
			? 0
			: ip_batch(pid, "link add name " BRIDGE " type bridge\n");

	return r < 0 ? r : ip_batch(pid, "link set lo up\nlink set " BRIDGE " up\n");
}

int nodehost_switch(const char *dir)
{
	char program[PATH_MAX];
	char *argv[] = { program, "switch", "--dir", (char *)dir, "--", NULL };
	int fd, pid, r = 0;

	fd = nodehost_find_switch(dir, &pid);
	if (fd < 0) {
		r = nodehost_program("pandod", program);
		if (r == 0)
			r = start_daemon(argv);
		fd = r < 0 ? r : nodehost_find_switch(dir, &pid);
	}
	if (fd < 0)
		return fd;
	(void)close(fd);
	r = switch_equip(pid);
	return r < 0 ? r : pid;
}

void nodehost_addr(unsigned k, char out[32])
{
	(void)snprintf(out, 32, "10.77.%u.%u", k / 250, k % 250 + 1);
}

/* The last step of a plug gives the route. */
bool nodehost_is_plugged(int pid)
{
	return net_has(pid, "route", " eth0\t");
}

int nodehost_plug(int switch_pid, int pid, unsigned k)
{
	char lines[512], addr[32], name[16];
	int r;

	/* The plug of a node that was killed goes a moment after it. */
	(void)snprintf(name, sizeof(name), " v%u:", k);
	if (net_has(switch_pid, "dev", name)) {
		(void)snprintf(lines, sizeof(lines), "link del v%u\n", k);
		/* It may have gone by itself just now; else the next step fails. */
		(void)!ip_batch(switch_pid, lines);
	}
	(void)snprintf(lines, sizeof(lines),
		       "link add name v%u type veth peer name eth0 netns %d\n"
		       "link set v%u master " BRIDGE "\n"
		       "link set v%u up\n",
		       k, pid, k, k);
	r = ip_batch(switch_pid, lines);
	if (r < 0)
		return r;
	nodehost_addr(k, addr);
	(void)snprintf(lines, sizeof(lines),
		       "link set lo up\n"
		       "addr add %s/16 dev eth0\n"
		       "link set eth0 up\n",
		       addr);
	return ip_batch(pid, lines);
}

static int is_visible(const struct dirent *e)
{
	return e->d_name[0] != '.' && strlen(e->d_name) < NODE_NAME_MAX;
}

/* A node's directory is what has a directory for its data. */
static bool is_node(const char *dir, const char *name)
{
	char path[PATH_MAX];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s/data", dir, name);
	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int nodehost_nodes(const char *dir, char names[NODES_MAX][NODE_NAME_MAX])
{
	struct dirent **list;
	int n = scandir(dir, &list, is_visible, versionsort), count = 0;

	if (n < 0)
		return errno == ENOENT ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		if (count < NODES_MAX && is_node(dir, list[i]->d_name))
			(void)snprintf(names[count++], NODE_NAME_MAX, "%.31s", list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return count;
}

int nodehost_wait(const struct ctx *c, const char *node, unsigned timeout_ms)
{
	uint64_t until = clock_mono_ns() + timeout_ms * NS_PER_MS;
	cleanup_close int guard = nodehost_find_guard(c->dir, node, NULL);
	struct ctl_client *cl;

	/* The guard ends when its daemon cannot start at all; else its socket appears. */
	while (clock_mono_ns() < until) {
		struct pollfd p = { guard, POLLIN, 0 };

		if (api_open_node(c, node, &cl) == 0) {
			ctl_client_free(cl);
			return 0;
		}
		if (guard < 0 || poll(&p, 1, 5) > 0)
			return -ECHILD;
	}
	return -ETIMEDOUT;
}

void nodehost_await_end(int pidfd)
{
	struct pollfd p = { pidfd, POLLIN, 0 };

	if (poll(&p, 1, PATIENCE_MS) == 0) {
		/* A guard that does not end is the first process of its namespace: all goes with
		 * it. */
		(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
		(void)poll(&p, 1, PATIENCE_MS);
	}
	(void)close(pidfd);
}

bool nodehost_is_member(const struct ctx *c, const char *node)
{
	struct ctl_client *cl;
	struct ctl_answer a = { 0 };
	bool member;

	if (api_open_node(c, node, &cl) < 0)
		return false;
	member = ctl_client_call(cl, "GET", "/v1/node", NULL, &a) == 0 && a.status == 200 &&
		 json_is_true(json_object_get(a.body, "member"));
	ctl_answer_fini(&a);
	ctl_client_free(cl);
	return member;
}
