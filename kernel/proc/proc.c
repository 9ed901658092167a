/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/proc/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define SIGNO_MAX 64

/* ioctl_nsfs(2), Linux 6.11: from the namespace to the node, and back. */
#define PID_FROM_NS  _IOR(0xb7, 6, int)
#define TGID_FROM_NS _IOR(0xb7, 7, int)
#define TGID_IN_NS   _IOR(0xb7, 9, int)

static int list_add_task(struct proc_list *l, const struct task_info *t)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		struct proc *v = reallocarray(l->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = (struct proc){ .t = *t, .tpgid = -1 };
	return 0;
}

/* Node numbers are translated by who has them; a parent outside the namespace is 0, as getppid
 * says. */
static void translate(struct proc_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		struct proc *p = &l->v[i];

		for (size_t j = 0; j < l->n; j++) {
			const struct task_info *t = &l->v[j].t;

			if (t->pid == p->t.node_ppid)
				p->ppid = t->gpid;
			if (p->t.node_tpgid > 0 && t->node_pgid == p->t.node_tpgid)
				p->tpgid = t->pgid;
		}
	}
}

static void drop_ours(struct proc_list *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].t.uid != 0)
			l->v[n++] = l->v[i];
	l->n = n;
}

static int by_gpid(const void *a, const void *b)
{
	const struct proc *x = a, *y = b;

	return (x->t.gpid > y->t.gpid) - (x->t.gpid < y->t.gpid);
}

static DIR *open_procfs(int procfs)
{
	int fd = openat(procfs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

	if (!d && fd >= 0)
		(void)close(fd);
	return d;
}

/* 0: no process. */
static pid_t pid_of(const struct dirent *e)
{
	char *end;
	long pid = strtol(e->d_name, &end, 10);

	return pid > 0 && *end == 0 ? (pid_t)pid : 0;
}

static int number_of(const struct proc_view *view, unsigned long how, int pid)
{
	int r = ioctl(view->ns, how, pid);

	return r > 0 ? r : r == 0 ? -ESRCH : -errno;
}

/* The host would count those of a namespace below too: guests can make none. */
static bool is_ours_as(const struct proc_view *view, pid_t pid, gpid *number)
{
	*number = number_of(view, TGID_IN_NS, pid);
	if (*number > 0 || *number == -ESRCH)
		return *number > 0;
	return task_pid_namespace(view->procfs, pid) == view->pidns;
}

static bool is_ours(const struct proc_view *view, pid_t pid)
{
	return is_ours_as(view, pid, &(gpid){ 0 });
}

int proc_node_tid(const struct proc_view *view, gpid tid)
{
	return number_of(view, PID_FROM_NS, tid);
}

/* The next process of the tenant, or 0 at the end. @number: its own there, if the host says. */
static pid_t next_pid(DIR *d, const struct proc_view *view, gpid *number)
{
	struct dirent *e;

	while ((e = readdir(d)) != NULL) {
		pid_t pid = pid_of(e);

		if (pid > 0 && is_ours_as(view, pid, number))
			return pid;
	}
	return 0;
}

/* Of pid 1 no more is asked than whose parent it is. */
static int read_task(struct task_info *t, const struct proc_view *view, pid_t pid, gpid number)
{
	if (number != 1)
		return task_read(t, view->procfs, pid);
	*t = (struct task_info){ .pid = pid, .gpid = 1 };
	return 0;
}

void proc_view_init(struct proc_view *view, int procfs, uint64_t pidns)
{
	DIR *d = open_procfs(procfs);
	char path[32];
	pid_t pid;
	gpid number;

	*view = (struct proc_view){ .procfs = procfs, .pidns = pidns, .ns = -1 };
	pid = d ? next_pid(d, view, &number) : 0;
	(void)snprintf(path, sizeof(path), "%d/ns/pid", pid);
	if (pid > 0)
		view->ns = openat(procfs, path, O_RDONLY | O_CLOEXEC);
	if (d)
		(void)closedir(d);
}

int proc_scan(struct proc_list *out, const struct proc_view *view)
{
	DIR *d = open_procfs(view->procfs);
	struct task_info t;
	gpid number;
	pid_t pid;
	int r = 0;

	memset(out, 0, sizeof(*out));
	if (!d)
		return -errno;
	while (r == 0 && (pid = next_pid(d, view, &number)) != 0)
		if (read_task(&t, view, pid, number) == 0)
			r = list_add_task(out, &t);
	(void)closedir(d);
	if (r != 0) {
		proc_list_fini(out);
		return r;
	}
	translate(out);
	drop_ours(out);
	if (out->n > 0)
		qsort(out->v, out->n, sizeof(*out->v), by_gpid);
	return 0;
}

void proc_list_fini(struct proc_list *l)
{
	free(l->v);
	memset(l, 0, sizeof(*l));
}

const struct proc *proc_list_find(const struct proc_list *l, gpid pid)
{
	struct proc key = { .t.gpid = pid };

	return l->n ? bsearch(&key, l->v, l->n, sizeof(*l->v), by_gpid) : NULL;
}

/* A pidfd of node pid @pid, if it is @want; what is read is its own if it has not been reaped then.
 */
static int open_task(const struct proc_view *view, pid_t pid, gpid want, struct task_info *out)
{
	int fd = task_pidfd(pid);

	if (fd < 0)
		return fd == -EINVAL ? -ESRCH : fd; /* it is a thread's by now */
	if (task_read(out, view->procfs, pid) != 0 || out->gpid != want || !is_ours(view, pid) ||
	    task_pidfd_signal(fd, 0) == -ESRCH) {
		(void)close(fd);
		return -ESRCH;
	}
	return fd;
}

/* The node's pids in the order of the directory; returns how many. */
static int list_pids(const struct proc_view *view, pid_t **out)
{
	DIR *d = open_procfs(view->procfs);
	size_t n = 0, cap = 0;
	struct dirent *e;
	pid_t *v = NULL;
	int r = d ? 0 : -errno;

	while (r == 0 && (e = readdir(d)) != NULL) {
		pid_t pid = pid_of(e);

		if (pid > 0 && n == cap) {
			pid_t *more = reallocarray(v, cap ? 2 * cap : 256, sizeof(*v));

			r = more ? 0 : -ENOMEM;
			v = more ? more : v;
			cap = cap ? 2 * cap : 256;
		}
		if (pid > 0 && r == 0)
			v[n++] = pid;
	}
	if (d)
		(void)closedir(d);
	if (r != 0)
		free(v);
	else
		*out = v;
	return r != 0 ? r : (int)n;
}

/* The last first: who is looked for has mostly just been born. */
static int search(const struct proc_view *view, gpid pid)
{
	pid_t *node_pids = NULL, found = 0;
	int n = list_pids(view, &node_pids);

	if (n < 0)
		return n;
	while (node_pids && found == 0 && n-- > 0)
		if (task_gpid(view->procfs, node_pids[n]) == pid && is_ours(view, node_pids[n]))
			found = node_pids[n];
	free(node_pids);
	return found > 0 ? found : -ESRCH;
}

int proc_open(const struct proc_view *view, gpid pid, struct task_info *out)
{
	int r = number_of(view, TGID_FROM_NS, pid);

	if (r < 0 && r != -ESRCH)
		r = search(view, pid);
	return r > 0 ? open_task(view, r, pid, out) : r;
}

int proc_signal(const struct proc_view *view, gpid target, int signo)
{
	struct proc_list l;
	int r, hit = 0;

	if (signo < 0 || signo > SIGNO_MAX)
		return -EINVAL;
	r = proc_scan(&l, view);
	if (r != 0)
		return r;
	for (size_t i = 0; i < l.n; i++) {
		const struct task_info *t = &l.v[i].t;
		struct task_info now;
		int fd;

		if (target > 0 ? t->gpid != target : target != -1 && t->pgid != -target)
			continue;
		fd = open_task(view, t->pid, t->gpid, &now);
		if (fd < 0)
			continue;
		if (now.start_ns == t->start_ns && task_pidfd_signal(fd, signo) == 0)
			hit++;
		(void)close(fd);
	}
	proc_list_fini(&l);
	return hit > 0 ? 0 : -ESRCH;
}
