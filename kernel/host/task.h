/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task.h - what the node's procfs says about a process of the tenant.
 *
 * Two numberings: a *node pid* is what the host's kernel tells us (notifications, directory names);
 * a gpid is the tenant's. A node pid may be given to another process between two reads; whoever
 * keeps one keeps a pidfd beside it, or checks the start time.
 *
 * The texts are the host's own, but a process writes its name and arguments into them: the parsers
 * take any bytes and answer -EINVAL for what is no such file.
 */
#ifndef KERNEL_HOST_TASK_H
#define KERNEL_HOST_TASK_H

#include <sys/types.h>

#include "base/types.h"
#include "base/attr.h"

#define TASK_COMM_MAX 64 /* kernel threads have longer names than 15 */

struct task_info {
	pid_t pid; /* node pid */
	pid_t node_ppid;
	pid_t node_pgid;
	pid_t node_tpgid; /* -1: no terminal */
	gpid gpid;
	gpid pgid; /* 0: the group's leader is outside the tenant's namespace */
	gpid sid;
	uint32_t uid;   /* effective, in our user namespace */
	unsigned depth; /* pid namespaces that it is in, the node's included */
	char state;
	int tty; /* N of /dev/pts/N, -1: none */
	int nice;
	uint32_t threads;
	uint64_t cpu_ns;
	uint64_t start_ns; /* CLOCK_BOOTTIME */
	uint64_t rss_bytes;
	bool traced;
	bool no_new_privs;
	uint64_t ignored; /* signals: bit n-1 */
	uint64_t blocked; /* of the process's first thread */
	uint32_t umask;
	unsigned filters; /* seccomp filters on it */
	char comm[TASK_COMM_MAX];
};

/* Fill their fields of @t from the text of /proc/PID/stat and /proc/PID/status. Error: -EINVAL. */
must_check int task_parse_stat(struct task_info *t, const char *text);
must_check int task_parse_status(struct task_info *t, const char *text);

/* Both files of @pid below the directory @procfs. Errors: -ESRCH gone; -EINVAL; -EIO. */
must_check int task_read(struct task_info *t, int procfs, pid_t pid);

/* Its number in the innermost namespace, -1: gone. Of all questions the cheapest. */
gpid task_gpid(int procfs, pid_t pid);

/* What is raised in its leader, or in all of it, and not taken yet: bit n-1. Gone: 0. */
uint64_t task_pending(int procfs, pid_t pid);

/* Inode of the process's pid namespace, 0 if we may not look (then it is not one of ours). */
uint64_t task_pid_namespace(int procfs, pid_t pid);

/* The command line with blanks for NULs, cut to @cap. Returns its length, 0 for a zombie. */
size_t task_args(int procfs, pid_t pid, char *buf, size_t cap);

/*
 * Is there certainly no file at @path, as @pid sees it? The host's memory of names alone is asked,
 * never a file system: what does not wait, knows some. A relative path, an old kernel: false.
 */
bool task_lacks(int procfs, pid_t pid, const char *path);

/* Reads the file @name of @pid whole, adds a NUL. Returns bytes without it (cut to cap - 1). */
must_check ssize_t task_file(int procfs, pid_t pid, const char *name, char *buf, size_t cap);

/* Descriptors. Errors: -ESRCH. */
must_check int task_pidfd(pid_t pid);
must_check int task_pidfd_signal(int pidfd, int signo);

/* The node pid behind a pidfd, -1: it is gone. */
pid_t task_pidfd_pid(int procfs, int pidfd);

#endif
