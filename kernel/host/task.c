/* SPDX-License-Identifier: Apache-2.0 */
/* proc(5), pid_namespaces(7), pidfd_open(2). */
#include "kernel/host/task.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define TEXT_MAX     8192 /* a status with long lists of groups is cut; what we read comes first */
#define PTS_MAJOR_LO 136  /* devices.txt: Unix98 terminals have majors 136 to 143 */
#define PTS_MAJOR_HI 143

static uint64_t ticks_ns(unsigned long long ticks)
{
	return ticks * (NS_PER_S / 100); /* USER_HZ is 100 on x86-64, whatever the host's HZ */
}

static int pts_number(unsigned dev)
{
	unsigned maj = major(dev), min = minor(dev);

	if (maj < PTS_MAJOR_LO || maj > PTS_MAJOR_HI)
		return -1;
	return (int)((maj - PTS_MAJOR_LO) << 20 | min);
}

int task_parse_stat(struct task_info *t, const char *text)
{
	const char *open = strchr(text, '('), *end = strrchr(text, ')');
	unsigned long long utime, stime, start;
	unsigned tty, threads;
	int pid, ppid, pgrp, tpgid, nice;
	char state;
	long rss;
	size_t n;

	if (!open || !end || end < open || sscanf(text, "%d", &pid) != 1)
		return -EINVAL;
	if (sscanf(end + 1,
		   " %c %d %d %*d %u %d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %d %u %*d %llu "
		   "%*u "
		   "%ld",
		   &state, &ppid, &pgrp, &tty, &tpgid, &utime, &stime, &nice, &threads, &start,
		   &rss) != 11)
		return -EINVAL;
	n = MIN((size_t)(end - open - 1), sizeof(t->comm) - 1);
	memcpy(t->comm, open + 1, n);
	t->comm[n] = 0;
	t->pid = pid;
	t->node_ppid = ppid;
	t->node_pgid = pgrp;
	t->node_tpgid = tpgid;
	t->state = state;
	t->tty = pts_number(tty);
	t->nice = nice;
	t->threads = threads;
	t->cpu_ns = ticks_ns(utime) + ticks_ns(stime);
	t->start_ns = ticks_ns(start);
	t->rss_bytes = rss > 0 ? (uint64_t)rss * 4096 : 0;
	return 0;
}

/* The value behind "\nNAME:", or NULL. The name of a process is escaped in status: no false lines.
 */
static const char *line_of(const char *text, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = text; p; p = strchr(p, '\n')) {
		if (*p == '\n')
			p++;
		if (strncmp(p, name, n) == 0 && p[n] == ':')
			return p + n + 1;
		if (*p == 0)
			break;
	}
	return NULL;
}

/* The last number of a line of numbers, and how many there are: ids in the innermost namespace. */
static int last_id(const char *line, unsigned *count)
{
	int last = -1;
	unsigned n = 0;

	while (line && *line && *line != '\n') {
		char *end;
		long v = strtol(line, &end, 10);

		if (end == line)
			break;
		last = (int)v;
		n++;
		line = end;
		while (*line == ' ' || *line == '\t')
			line++;
	}
	if (count)
		*count = n;
	return last;
}

static long number_of(const char *text, const char *name, long missing)
{
	const char *l = line_of(text, name);

	return l ? strtol(l, NULL, 10) : missing;
}

/* Of signals. */
static uint64_t set_of(const char *text, const char *name)
{
	const char *l = line_of(text, name);

	return l ? strtoull(l, NULL, 16) : 0;
}

int task_parse_status(struct task_info *t, const char *text)
{
	const char *uids = line_of(text, "Uid"), *umask = line_of(text, "Umask");
	unsigned ruid, euid;

	t->gpid = last_id(line_of(text, "NStgid"), &t->depth);
	t->pgid = last_id(line_of(text, "NSpgid"), NULL);
	t->sid = last_id(line_of(text, "NSsid"), NULL);
	if (t->gpid < 0 || t->pgid < 0 || t->sid < 0 || !uids ||
	    sscanf(uids, "%u %u", &ruid, &euid) != 2)
		return -EINVAL;
	t->uid = euid;
	t->traced = number_of(text, "TracerPid", 0) != 0;
	t->no_new_privs = number_of(text, "NoNewPrivs", 0) != 0;
	t->filters = (unsigned)number_of(text, "Seccomp_filters", 0);
	t->ignored = set_of(text, "SigIgn");
	t->blocked = set_of(text, "SigBlk");
	t->umask = umask ? (uint32_t)strtoul(umask, NULL, 8) : 022;
	return 0;
}

bool task_lacks(int procfs, pid_t pid, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_CACHED };
	char link[32];
	int root, fd, err;

	(void)snprintf(link, sizeof(link), "%d/root", pid);
	root = path[0] == '/' ? openat(procfs, link, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (root < 0)
		return false;
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	err = fd < 0 ? errno : 0;
	if (fd >= 0)
		(void)close(fd);
	(void)close(root);
	return err == ENOENT || err == ENOTDIR;
}

/* seq_file's single_open(): a read that is short has got all. */
static bool is_shown_at_once(const char *name)
{
	return strcmp(name, "stat") == 0 || strcmp(name, "status") == 0;
}

ssize_t task_file(int procfs, pid_t pid, const char *name, char *buf, size_t cap)
{
	char path[64];
	ssize_t n, have = 0;
	int fd;

	(void)snprintf(path, sizeof(path), "%d/%s", pid, name);
	fd = openat(procfs, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	while ((size_t)have < cap - 1) {
		n = read(fd, buf + have, cap - 1 - (size_t)have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have += n;
		if (is_shown_at_once(name))
			break;
	}
	(void)close(fd);
	buf[have] = 0;
	return have;
}

int task_read(struct task_info *t, int procfs, pid_t pid)
{
	char text[TEXT_MAX];
	ssize_t n;
	int r;

	memset(t, 0, sizeof(*t));
	n = task_file(procfs, pid, "stat", text, sizeof(text));
	if (n < 0)
		return (int)n;
	if (n == 0)
		return -ESRCH;
	r = task_parse_stat(t, text);
	if (r != 0)
		return r;
	n = task_file(procfs, pid, "status", text, sizeof(text));
	if (n < 0)
		return (int)n;
	if (n == 0)
		return -ESRCH;
	t->pid = pid;
	return task_parse_status(t, text);
}

gpid task_gpid(int procfs, pid_t pid)
{
	char text[TEXT_MAX];
	ssize_t n = task_file(procfs, pid, "status", text, sizeof(text));

	return n > 0 ? last_id(line_of(text, "NStgid"), NULL) : -1;
}

uint64_t task_pending(int procfs, pid_t pid)
{
	static const char *const names[] = { "SigPnd", "ShdPnd" };
	char text[TEXT_MAX];
	ssize_t n = task_file(procfs, pid, "status", text, sizeof(text));
	uint64_t set = 0;

	for (size_t i = 0; n > 0 && i < ARRAY_LEN(names); i++)
		set |= set_of(text, names[i]);
	return set;
}

uint64_t task_pid_namespace(int procfs, pid_t pid)
{
	char path[64], link[64];
	unsigned long long ino;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%d/ns/pid", pid);
	n = readlinkat(procfs, path, link, sizeof(link) - 1);
	if (n < 0)
		return 0;
	link[n] = 0;
	return sscanf(link, "pid:[%llu]", &ino) == 1 ? ino : 0;
}

size_t task_args(int procfs, pid_t pid, char *buf, size_t cap)
{
	ssize_t n = task_file(procfs, pid, "cmdline", buf, cap);

	if (n <= 0)
		return 0;
	while (n > 0 && buf[n - 1] == 0)
		n--;
	for (ssize_t i = 0; i < n; i++)
		if (buf[i] == 0)
			buf[i] = ' ';
	buf[n] = 0;
	return (size_t)n;
}

int task_pidfd(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

int task_pidfd_signal(int pidfd, int signo)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0) == 0 ? 0 : -errno;
}

pid_t task_pidfd_pid(int procfs, int pidfd)
{
	char path[64], text[512];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "self/fdinfo/%d", pidfd);
	fd = openat(procfs, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	text[n > 0 ? n : 0] = 0;
	return (pid_t)number_of(text, "Pid", -1);
}
