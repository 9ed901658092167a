/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gather.c - what of a process travels when its exec runs elsewhere: arguments, state, descriptors,
 * relatives. All of it is read while the caller is held.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "cmd/pando-kernel/exec/place.h"
#include "cmd/pando-kernel/files/streams.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/host/mem.h"

#define WORDS_MAX 16384        /* arguments, and variables, that travel */
#define BYTES_MAX (512 * 1024) /* of all their bytes; a Run fits into one message */

/* ---- words ---- */
static int add_string(struct placing *p, uint64_t addr, ProtobufCBinaryData *out)
{
	size_t room = BYTES_MAX - p->bytes.len;
	ssize_t n;
	int r = buf_reserve(&p->bytes, MIN(room, (size_t)131072));

	if (r != 0)
		return r;
	n = mem_read_string(p->pid, addr, (char *)p->bytes.data + p->bytes.len,
			    MIN(room, (size_t)131072));
	if (n < 0)
		return n == -ENAMETOOLONG ? -E2BIG : (int)n;
	/* Offsets first: the buffer moves while it grows. */
	out->data = (uint8_t *)p->bytes.len;
	out->len = (size_t)n;
	p->bytes.len += (size_t)n + 1;
	return 0;
}

static int add_words(struct placing *p, uint64_t addr, ProtobufCBinaryData **out, size_t *count)
{
	ProtobufCBinaryData *v = NULL;
	size_t n = 0, cap = 0;
	int r = 0;

	while (addr != 0) {
		uint64_t word;

		r = mem_read(p->pid, addr + 8 * n, &word, sizeof(word));
		if (r != 0 || word == 0)
			break;
		if (n == cap) {
			ProtobufCBinaryData *more;

			cap = cap ? 2 * cap : 64;
			more = cap <= WORDS_MAX ? reallocarray(v, cap, sizeof(*v)) : NULL;
			r = cap <= WORDS_MAX ? (more ? 0 : -ENOMEM) : -E2BIG;
			if (!more)
				break;
			v = more;
		}
		r = add_string(p, word, &v[n]);
		if (r != 0)
			break;
		n++;
	}
	*out = v;
	*count = n;
	return r;
}

static void resolve(struct placing *p, ProtobufCBinaryData *d, size_t n)
{
	for (size_t i = 0; i < n; i++)
		d[i].data = p->bytes.data + (size_t)d[i].data;
}

static int add_link(struct placing *p, const char *name, ProtobufCBinaryData *out)
{
	char path[64], text[4096];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%d/%s", p->pid, name);
	n = readlinkat(p->w->view.procfs, path, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = 0;
	out->data = (uint8_t *)p->bytes.len;
	out->len = (size_t)n;
	return buf_add(&p->bytes, text, (size_t)n + 1);
}

static int add_limits(struct placing *p)
{
	p->run.limits = calloc(RLIM_NLIMITS, sizeof(*p->run.limits));
	for (unsigned i = 0; p->run.limits && i < RLIM_NLIMITS; i++) {
		struct rlimit l;
		Peer__Limit *q;

		if (prlimit(p->pid, i, NULL, &l) != 0)
			continue;
		q = malloc(sizeof(*q));
		if (!q)
			return -ENOMEM;
		peer__limit__init(q);
		q->resource = i;
		q->soft = l.rlim_cur;
		q->hard = l.rlim_max;
		p->run.limits[p->run.n_limits++] = q;
	}
	return p->run.limits ? 0 : -ENOMEM;
}

/* ---- descriptors ---- */
struct fd_info {
	unsigned flags;
	uint64_t offset;
	bool locked;      /* the description holds a lock (flock): whoever has it keeps that */
	bool locks_go_by; /* the process holds one, and it is gone where the process is not */
};

static void read_locks(const char *text, bool cut, struct fd_info *out)
{
	const char *at = strstr(text, "\nlock:");

	out->locked = at != NULL;
	out->locks_go_by = at && (cut || strstr(at, "POSIX") || strstr(at, "LEASE"));
}

static int read_fdinfo(struct placing *p, int fd, struct fd_info *out)
{
	char name[32], text[1024];
	const char *at;
	ssize_t n;

	(void)snprintf(name, sizeof(name), "fdinfo/%d", fd);
	n = task_file(p->w->view.procfs, p->pid, name, text, sizeof(text));
	if (n < 0)
		return (int)n;
	at = strstr(text, "flags:");
	out->flags = at ? (unsigned)strtoul(at + 6, NULL, 8) : 0;
	at = strstr(text, "pos:");
	out->offset = at ? strtoull(at + 4, NULL, 10) : 0;
	read_locks(text, n == sizeof(text) - 1, out);
	return 0;
}

static bool same_description(int a, int b)
{
	return syscall(SYS_kcmp, getpid(), getpid(), 0 /* KCMP_FILE */, a, b) == 0;
}

/* Another number of a description that is there already? */
static bool add_alias(struct placing *p, int copy, unsigned number)
{
	for (size_t i = 0; i < p->run.n_fds; i++) {
		Peer__Fd *f = p->fds[i];
		uint32_t *more;

		if (p->sources[i] < 0 || !same_description(p->sources[i], copy))
			continue;
		more = reallocarray(f->numbers, f->n_numbers + 1, sizeof(*more));
		if (!more)
			return false;
		f->numbers = more;
		f->numbers[f->n_numbers++] = number;
		return true;
	}
	return false;
}

/* A stream cannot seek: who was not told to go there may want to. */
static int set_file(struct placing *p, Peer__Fd *f, int copy, const struct fd_info *info)
{
	int r = streams_give(p->w, p->pid, copy, info->locked, f);

	if (r != 0 || f->kind != PEER__FD_KIND__FD_STREAM || p->asked_for ||
	    (f->flags & O_ACCMODE) == O_WRONLY)
		return r;
	p->why = "it shares an input that can seek";
	return -EOPNOTSUPP;
}

static int set_kind(struct placing *p, Peer__Fd *f, int copy, const struct fd_info *info)
{
	const char *path = f->path;
	struct stat st;

	if (fstat(copy, &st) != 0)
		return -errno;
	if (S_ISREG(st.st_mode))
		return set_file(p, f, copy, info);
	if (S_ISFIFO(st.st_mode))
		place_end_describe(p, f, copy);
	else if (S_ISCHR(st.st_mode) && ttys_describe(p->w, p->pid, (int)f->numbers[0], f))
		return 0;
	else if ((S_ISDIR(st.st_mode) || S_ISCHR(st.st_mode)) && path[0] == '/')
		f->kind = PEER__FD_KIND__FD_PATH;
	return 0;
}

static Peer__Fd *new_fd(struct placing *p, int number, const struct fd_info *info, const char *path)
{
	Peer__Fd *f = p->run.n_fds < PLACE_FDS_MAX ? calloc(1, sizeof(*f)) : NULL;

	if (!f)
		return NULL;
	peer__fd__init(f);
	p->sources[p->run.n_fds] = -1;
	p->fds[p->run.n_fds++] = f;
	f->numbers = malloc(sizeof(uint32_t));
	f->path = strdup(path);
	if (!f->numbers || !f->path)
		return NULL;
	f->numbers[f->n_numbers++] = (uint32_t)number;
	f->flags = info->flags;
	f->offset = info->offset;
	f->relay = ++p->w->last_relay;
	return f;
}

static int add_copy(struct placing *p, int copy, int number, const struct fd_info *info,
		    const char *path)
{
	Peer__Fd *f;
	int r;

	if (add_alias(p, copy, (unsigned)number)) {
		(void)close(copy);
		return 0;
	}
	f = new_fd(p, number, info, path);
	if (!f) {
		(void)close(copy);
		return -EMFILE;
	}
	p->sources[p->run.n_fds - 1] = copy;
	r = set_kind(p, f, copy, info);
	if (r == 0 && f->kind == PEER__FD_KIND__FD_NONE) {
		p->why = "a descriptor is neither a pipe, a terminal nor a plain file";
		r = -EOPNOTSUPP;
	}
	return r;
}

static int add_fd(struct placing *p, int pidfd, int number)
{
	struct fd_info info = { 0 };
	char name[32], path[4096];
	int copy, r = read_fdinfo(p, number, &info);
	ssize_t n;
	Peer__Fd *f;

	if (r != 0 || (info.flags & O_CLOEXEC))
		return r;
	(void)snprintf(name, sizeof(name), "%d/fd/%d", p->pid, number);
	n = readlinkat(p->w->view.procfs, name, path, sizeof(path) - 1);
	if (n < 0)
		return -errno;
	path[n] = 0;
	/* A lock on a stream is its node's. */
	if (info.locks_go_by || (info.locked && streams_are_ours(path))) {
		p->why = "it holds a lock of a file";
		return -EOPNOTSUPP;
	}
	if (streams_are_ours(path)) {
		f = new_fd(p, number, &info, path);
		return f ? set_file(p, f, -1, &info) : -EMFILE;
	}
	copy = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	return copy < 0 ? -errno : add_copy(p, copy, number, &info, path);
}

static int add_fds(struct placing *p)
{
	char path[32];
	struct dirent *e;
	int dir, r = 0, pidfd = task_pidfd(p->pid);
	DIR *d;

	if (pidfd < 0)
		return pidfd;
	(void)snprintf(path, sizeof(path), "%d/fd", p->pid);
	dir = openat(p->w->view.procfs, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = dir >= 0 ? fdopendir(dir) : NULL;
	if (!d) {
		r = -errno;
		if (dir >= 0)
			(void)close(dir);
	}
	while (d && r == 0 && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			r = add_fd(p, pidfd, atoi(e->d_name));
	if (d)
		(void)closedir(d);
	(void)close(pidfd);
	p->run.fds = p->fds;
	return r;
}

/* ---- kin ---- */
/* Whose home is here: the site, which will have its stub, is told how it ends. */
static bool hears(struct placing *p, const struct proc *k)
{
	node_id home = home_of(p->w, k->t.gpid);

	if (home != p->w->node && (home != NODE_NONE || stubs_find(p->w->stubs, k->t.gpid)))
		return true;
	return site_guest_seen(p->w, k, p->site) != -ENOSPC;
}

/* The process, its relatives and children, and theirs; kin that is gone is not needed. */
static int add_kin(struct placing *p)
{
	struct proc_list l;
	int r = proc_scan(&l, &p->w->view);

	if (r != 0)
		return r;
	r = proc_list_find(&l, p->gpid) ? 0 : -ESRCH;
	if (r == 0)
		r = kin_describe_in(p->w, &l, p->gpid, &p->run.kin, &p->run.n_kin);
	for (size_t i = 0; r == 0 && i < p->run.n_kin; i++) {
		const Peer__Task *q = p->run.kin[i];
		const struct proc *k = proc_list_find(&l, q->pid);

		if (k && q->pid != p->gpid && !q->ended && !hears(p, k))
			r = -ENOSPC;
	}
	proc_list_fini(&l);
	return r;
}

/* ---- all of it ---- */
/*
 * /proc/self is whoever looks, which at the site is the stub: the program's own file goes by the
 * name it has, and what else lies in /proc or /dev/fd is not there.
 */
static int add_program(struct placing *p, uint64_t addr)
{
	static const char *const own[] = { "/proc/self/exe", "/proc/thread-self/exe" };
	char numbered[32];
	const char *path, *file;
	int r = add_string(p, addr, &p->run.path);
	bool exe;

	if (r != 0)
		return r;
	path = (const char *)p->bytes.data + (size_t)p->run.path.data;
	(void)snprintf(numbered, sizeof(numbered), "/proc/%d/exe", p->gpid);
	exe = strcmp(path, own[0]) == 0 || strcmp(path, own[1]) == 0 || strcmp(path, numbered) == 0;
	if (!exe && strncmp(path, "/proc/", 6) != 0 && strncmp(path, "/dev/fd/", 8) != 0)
		return 0;
	r = exe ? add_link(p, "exe", &p->run.path) : -EOPNOTSUPP;
	file = (const char *)p->bytes.data + (size_t)p->run.path.data;
	if (r == 0 && (file[0] != '/' || strstr(file, " (deleted)")))
		r = -EOPNOTSUPP;
	if (r == -EOPNOTSUPP)
		p->why = "it executes a file that has no name on other nodes";
	return r;
}

int gather(struct placing *p)
{
	const struct notify_call *c = notify_call(p->slot);
	struct task_info t;
	int r = task_read(&t, p->w->view.procfs, p->pid);

	if (r != 0)
		return r;
	p->gpid = t.gpid;
	p->run.pid = t.gpid;
	p->run.nice = t.nice;
	p->run.umask = t.umask;
	p->run.ignored = t.ignored;
	p->run.blocked = t.blocked;
	p->why = t.threads != 1        ? "it has several threads"
		 : t.no_new_privs      ? "it has given up new privileges (no_new_privs)"
		 : t.filters > 1       ? "it has a system call filter of its own"
		 : t.traced            ? "it is being traced"
		 : c->nr != SYS_execve ? "it executes a descriptor"
				       : NULL;
	if (p->why)
		return -EOPNOTSUPP;
	r = add_program(p, c->args[0]);
	if (r == 0)
		r = add_words(p, c->args[1], &p->run.argv, &p->run.n_argv);
	if (r == 0)
		r = add_words(p, c->args[2], &p->run.env, &p->run.n_env);
	if (r != 0) {
		p->why = p->why ? p->why : "its arguments cannot be read";
		return r;
	}
	r = add_link(p, "cwd", &p->run.cwd);
	if (r == 0)
		r = add_limits(p);
	if (r != 0) {
		p->why = "its directory, masks or limits cannot be read";
		return r;
	}
	r = add_kin(p);
	if (r == 0)
		r = add_fds(p);
	if (r != 0) {
		p->why = p->why ? p->why : "its relatives or descriptors cannot be read";
		return r;
	}
	/* Still the same caller? What was read could be another's. */
	if (!notify_valid(p->w->notify, p->slot))
		return -ESRCH;
	resolve(p, &p->run.path, 1);
	resolve(p, &p->run.cwd, 1);
	resolve(p, p->run.argv, p->run.n_argv);
	resolve(p, p->run.env, p->run.n_env);
	return 0;
}

void gather_free(struct placing *p)
{
	for (size_t i = 0; i < p->run.n_fds; i++) {
		if (p->sources[i] >= 0)
			(void)close(p->sources[i]);
		streams_given(p->w, p->fds[i]);
		free(p->fds[i]->numbers);
		free(p->fds[i]->data.data);
		if (p->fds[i]->path != protobuf_c_empty_string)
			free(p->fds[i]->path);
		free(p->fds[i]);
	}
	for (size_t i = 0; i < p->run.n_kin; i++) {
		free(p->run.kin[i]->tty_modes.data);
		free(p->run.kin[i]);
	}
	for (size_t i = 0; i < p->run.n_limits; i++)
		free(p->run.limits[i]);
	free(p->run.kin);
	free(p->run.limits);
	free(p->run.argv);
	free(p->run.env);
	buf_fini(&p->bytes);
}
