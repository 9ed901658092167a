/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.c - an exec that runs on another node: the side it leaves.
 *
 *	guest           home                                        site
 *	execve -------> held; read arguments, descriptors, kin
 *	                Run ----------------------------------------> stubs of its kin, its own stub
 *	                <------------------------- Ran (its errno) -- execs in its stub
 *	errno <-------- if it failed; else the caller becomes a stub in place, by its gate
 *
 * From then on the stub stands for the process: what is raised in it goes to the site, how the
 *process changes at the site is done to the stub, and so the host's own wait, job control and
 *pidfds see it.
 *
 * K1: the caller is held from before Run is sent until it is a stub; if it cannot become one, the
 *process at the site is killed before the caller runs on.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/host/gate.h"
#include "kernel/host/mem.h"
#include "kernel/kernel.h"
#include "kernel/kernel.pb-c.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define WORDS_MAX 16384        /* arguments, and variables, that travel */
#define BYTES_MAX (512 * 1024) /* of all their bytes; a Run fits into one message */
#define FDS_MAX   48
#define RUN_NS    (15 * NS_PER_S)
#define STOP_MS   3000
#define RESTART   (-512) /* ERESTARTSYS: the call is made again when nobody stops it */

struct mark {
	struct list link;
	pid_t pid; /* node's, of the thread that asked */
	int pidfd;
	node_id node;
};

#define BUSY_PERCENT 90                /* of a node's capacity: above, execs look for another */
#define ASK_NS       (200 * NS_PER_MS) /* pandod's patience is ours: the caller is held */

/* One exec under way. */
struct placing {
	struct list link;
	struct world *w;
	struct init_slot *slot;
	pid_t pid; /* node's */
	gpid gpid;
	node_id site;
	Peer__Run run;
	struct buf bytes; /* what run's pointers into strings point to */
	Peer__Fd *fds[FDS_MAX];
	int sources[FDS_MAX]; /* our copies of relayed descriptions, -1: none */
	const char *why;
	bool asked_for; /* `on`: what cannot be is an error. Else it runs here. */

	/* of the worker that makes the stub */
	pthread_t thread;
	struct loop_post post;
	int result;
	int ended; /* its end was told before it was a stub: status + 1 */
};

/* ---- marks: pando_on() ---- */
bool place_wanted(const struct world *w)
{
	return __atomic_load_n(&w->marks_count, __ATOMIC_ACQUIRE) != 0 ||
	       __atomic_load_n(&w->busy, __ATOMIC_RELAXED);
}

/* A process that is becoming a stub, or a stub that is becoming a process. */
static bool turning_find(struct world *w, pid_t pid)
{
	struct placing *p;

	list_for_each (p, &w->placings, link)
		if (p->pid == pid)
			return true;
	return stubs_find_node_pid(w->stubs, pid) != NULL;
}

static void mark_free(struct world *w, struct mark *m)
{
	list_del(&m->link);
	(void)close(m->pidfd);
	free(m);
	__atomic_sub_fetch(&w->marks_count, 1, __ATOMIC_RELEASE);
}

static struct mark *mark_find(struct world *w, pid_t pid)
{
	struct mark *m, *tmp;

	list_for_each_safe (m, tmp, &w->marks, link) {
		/* Whoever ended without an exec has left its mark, and maybe its number to another.
		 */
		if (task_pidfd_pid(w->view.procfs, m->pidfd) <= 0)
			mark_free(w, m);
		else if (m->pid == pid)
			return m;
	}
	return NULL;
}

static int mark_add(struct world *w, pid_t pid, node_id node)
{
	struct mark *m = mark_find(w, pid);

	if (!m) {
		m = calloc(1, sizeof(*m));
		if (!m)
			return -ENOMEM;
		m->pidfd = task_pidfd(pid);
		if (m->pidfd < 0) {
			int r = m->pidfd;

			free(m);
			/* EINVAL: a thread that is not its process' first. */
			return r == -EINVAL ? -EOPNOTSUPP : r;
		}
		m->pid = pid;
		list_add_tail(&w->marks, &m->link);
		__atomic_add_fetch(&w->marks_count, 1, __ATOMIC_RELEASE);
	}
	m->node = node;
	return 0;
}

static int choose(struct world *w, pid_t pid, const char *name)
{
	struct mark *m = mark_find(w, pid);

	if (strcmp(name, w->node_name) == 0) {
		if (m)
			mark_free(w, m);
		return 0;
	}
	for (size_t i = 0; i < w->node_count; i++)
		if (strcmp(w->nodes[i].name, name) == 0)
			return w->nodes[i].alive ? mark_add(w, pid, w->nodes[i].id) : -EHOSTDOWN;
	return -ENOENT;
}

void place_on(struct world *w, struct init_slot *s)
{
	char name[NODE_NAME_MAX];
	pid_t pid = (pid_t)notify_call(s)->pid;
	ssize_t len = mem_read_string(pid, notify_call(s)->args[0], name, sizeof(name));
	int r;

	if (len < 0)
		r = len == -ENAMETOOLONG ? -ENOENT : -EFAULT;
	else
		r = notify_valid(w->notify, s) ? choose(w, pid, name) : -ESRCH;
	if (r < 0)
		notify_set_errno(s, r);
	else
		notify_set_value(s, 0);
	notify_answer(w->notify, s);
}

/* ---- what travels ---- */
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

static uint64_t status_mask(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 16) : 0;
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

static int add_state(struct placing *p)
{
	char text[8192];
	const char *at;
	ssize_t n = task_file(p->w->view.procfs, p->pid, "status", text, sizeof(text));

	if (n < 0)
		return (int)n;
	at = strstr(text, "\nUmask:");
	p->run.umask = at ? (uint32_t)strtoul(at + 7, NULL, 8) : 022;
	p->run.ignored = status_mask(text, "\nSigIgn:");
	p->run.blocked = status_mask(text, "\nSigBlk:");
	return add_limits(p);
}

/* ---- descriptors ---- */
struct fd_info {
	unsigned flags;
	uint64_t offset;
};

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
	return 0;
}

static bool same_description(int a, int b)
{
	return syscall(SYS_kcmp, getpid(), getpid(), 0 /* KCMP_FILE */, a, b) == 0;
}

/* One description for 0, 1 and 2, as a rule: input and output go through relays of their own. */
static bool is_terminal(int fd)
{
	struct termios t;

	return tcgetattr(fd, &t) == 0;
}

/* Another number of a description that is there already? */
static bool add_alias(struct placing *p, int copy, unsigned number)
{
	for (size_t i = 0; i < p->run.n_fds; i++) {
		Peer__Fd *f = p->fds[i];
		uint32_t *more;

		if (p->sources[i] < 0 || is_terminal(p->sources[i]) ||
		    !same_description(p->sources[i], copy))
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

static void set_kind(struct placing *p, Peer__Fd *f, int copy, const char *path)
{
	struct stat st;
	unsigned acc = f->flags & O_ACCMODE;

	if (fstat(copy, &st) != 0)
		return;
	if (S_ISFIFO(st.st_mode))
		f->kind = acc == O_RDONLY   ? PEER__FD_KIND__FD_INPUT
			  : acc == O_WRONLY ? PEER__FD_KIND__FD_OUTPUT
					    : PEER__FD_KIND__FD_NONE;
	else if (S_ISCHR(st.st_mode) && is_terminal(copy))
		f->kind = f->numbers[0] == 0 ? PEER__FD_KIND__FD_INPUT : PEER__FD_KIND__FD_OUTPUT;
	else if (S_ISREG(st.st_mode) && acc != O_RDONLY)
		f->kind = acc == O_WRONLY ? PEER__FD_KIND__FD_OUTPUT : PEER__FD_KIND__FD_NONE;
	else if ((S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISCHR(st.st_mode)) &&
		 path[0] == '/')
		f->kind = PEER__FD_KIND__FD_PATH;
}

static int add_fd(struct placing *p, int pidfd, int number)
{
	struct fd_info info = { 0 };
	char name[32];
	int copy, r = read_fdinfo(p, number, &info);
	Peer__Fd *f;
	ProtobufCBinaryData path;

	if (r != 0 || (info.flags & O_CLOEXEC))
		return r;
	copy = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (copy < 0)
		return -errno;
	if (!is_terminal(copy) && add_alias(p, copy, (unsigned)number)) {
		(void)close(copy);
		return 0;
	}
	f = p->run.n_fds < FDS_MAX ? calloc(1, sizeof(*f)) : NULL;
	if (!f) {
		(void)close(copy);
		return -EMFILE;
	}
	peer__fd__init(f);
	p->sources[p->run.n_fds] = copy;
	p->fds[p->run.n_fds++] = f;
	f->numbers = malloc(sizeof(uint32_t));
	(void)snprintf(name, sizeof(name), "fd/%d", number);
	r = f->numbers ? add_link(p, name, &path) : -ENOMEM;
	if (r != 0)
		return r;
	f->numbers[f->n_numbers++] = (uint32_t)number;
	f->flags = info.flags;
	f->offset = info.offset;
	f->path = strdup((char *)p->bytes.data + (size_t)path.data);
	if (!f->path)
		return -ENOMEM;
	set_kind(p, f, copy, f->path);
	f->relay = ++p->w->last_relay;
	if (f->kind == PEER__FD_KIND__FD_NONE)
		p->why = "a descriptor is neither a pipe, a terminal nor a plain file";
	return f->kind == PEER__FD_KIND__FD_NONE ? -EOPNOTSUPP : 0;
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
static int add_kin_task(struct placing *p, const struct proc *t)
{
	Peer__Task *q, **more;

	for (size_t i = 0; i < p->run.n_kin; i++)
		if (p->run.kin[i]->pid == t->t.gpid)
			return 0;
	q = malloc(sizeof(*q));
	more = reallocarray(p->run.kin, p->run.n_kin + 1, sizeof(*more));
	if (more)
		p->run.kin = more;
	if (!q || !more) {
		free(q);
		return -ENOMEM;
	}
	peer__task__init(q);
	q->pid = t->t.gpid;
	q->ppid = t->ppid;
	q->pgid = t->t.pgid;
	q->sid = t->t.sid;
	p->run.kin[p->run.n_kin++] = q;
	return 0;
}

/* The process, its ancestors and leaders, and theirs; kin that is gone is not needed. */
static int add_kin(struct placing *p)
{
	struct proc_list l;
	int r = proc_scan(&l, &p->w->view);
	const struct proc *me = r == 0 ? proc_list_find(&l, p->gpid) : NULL;

	if (r != 0)
		return r;
	r = me ? add_kin_task(p, me) : -ESRCH;
	for (size_t i = 0; r == 0 && i < p->run.n_kin; i++) {
		const gpid want[] = { p->run.kin[i]->ppid, p->run.kin[i]->pgid,
				      p->run.kin[i]->sid };

		for (size_t j = 0; r == 0 && j < ARRAY_LEN(want); j++) {
			const struct proc *k = proc_list_find(&l, want[j]);

			r = k ? add_kin_task(p, k) : 0;
		}
	}
	for (size_t i = 0; r == 0 && i < l.n; i++) {
		if (l.v[i].ppid != p->gpid)
			continue;
		p->why = "it has children";
		r = -EOPNOTSUPP;
	}
	proc_list_fini(&l);
	return r;
}

/* ---- the way there ---- */
static void placing_free(struct placing *p)
{
	list_del(&p->link);
	for (size_t i = 0; i < p->run.n_fds; i++) {
		if (p->sources[i] >= 0)
			(void)close(p->sources[i]);
		free(p->fds[i]->numbers);
		if (p->fds[i]->path != protobuf_c_empty_string)
			free(p->fds[i]->path);
		free(p->fds[i]);
	}
	for (size_t i = 0; i < p->run.n_kin; i++)
		free(p->run.kin[i]);
	for (size_t i = 0; i < p->run.n_limits; i++)
		free(p->run.limits[i]);
	free(p->run.kin);
	free(p->run.limits);
	free(p->run.argv);
	free(p->run.env);
	buf_fini(&p->bytes);
	free(p);
}

static void refuse(struct placing *p, int err)
{
	if (p->why && p->asked_for)
		log_info("pid %d cannot run on node %u: %s", p->gpid, p->site, p->why);
	if (p->asked_for)
		notify_set_errno(p->slot, err);
	else
		notify_set_run(p->slot);
	notify_answer(p->w->notify, p->slot);
	placing_free(p);
}

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

static int gather(struct placing *p)
{
	const struct notify_call *c = notify_call(p->slot);
	struct task_info t;
	int r = task_read(&t, p->w->view.procfs, p->pid);

	if (r != 0)
		return r;
	p->gpid = t.gpid;
	p->run.pid = t.gpid;
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
		r = add_state(p);
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

/* ---- the caller becomes its stub ---- */
static void nudge(void *arg, pid_t tid)
{
	struct placing *p = arg;

	notify_set_errno(p->slot, RESTART);
	notify_answer(p->w->notify, p->slot);
	p->slot = NULL;
}

static int make_stub(struct placing *p)
{
	struct tracee_set set = TRACEE_SET_INIT;
	struct gate g;
	uint64_t at;
	int r = tracee_seize_nudged(&set, p->w->view.procfs, p->pid, STOP_MS, nudge, p);

	if (r != 0)
		return r;
	FAULT("kernel.place.stopped");
	r = gate_hole(p->w->view.procfs, p->pid, 8192, &at);
	if (r == 0)
		r = gate_park(&g, &p->w->gates, p->w->view.procfs, p->pid, &set.threads[0],
			      GATE_MOVE);
	if (r == 0) {
		r = gate_area(&g, at, 8192);
		if (r == 0)
			r = gate_exec(&g, &set, TENANT_STUB);
		if (r != 0)
			(void)!gate_unpark(&g);
	}
	FAULT("kernel.place.stub");
	tracee_release_all(&set);
	return r;
}

static void on_stub_made(struct loop_post *post);

static void *worker(void *arg)
{
	struct placing *p = arg;

	p->result = make_stub(p);
	loop_post(p->w->loop, &p->post);
	return NULL;
}

static void raise_there(struct world *w, node_id site, gpid pid, int signo);
static int end_the_same(struct world *w, struct stub *s, int status);

static void on_stub_made(struct loop_post *post)
{
	struct placing *p = container_of(post, struct placing, post);
	struct world *w = p->w;
	struct stub *s;
	char key[INIT_KEY_MAX];
	int r = p->result;

	(void)pthread_join(p->thread, NULL);
	if (r == 0)
		r = stubs_add(w->stubs, p->gpid, &s);
	if (r == 0) {
		s->peer = p->site;
		s->home = true;
		(void)snprintf(key, sizeof(key), "remote.%d.%u", p->gpid, p->site);
		if (pid1_put(w->pid1, key, s->pidfd) < 0)
			log_warn("pid %d on node %u is not in the store", p->gpid, p->site);
		if (p->ended && end_the_same(w, s, p->ended - 1) != 0)
			log_error("stub %d cannot die", p->gpid);
	} else {
		log_warn("pid %d has not become a stub: %s", p->gpid, strerror(-r));
		raise_there(w, p->site, p->gpid, SIGKILL);
		pipes_drop(w, p->gpid, true);
		if (p->slot) {
			notify_set_errno(p->slot, -EAGAIN);
			notify_answer(w->notify, p->slot);
		}
	}
	placing_free(p);
}

static void on_ran(void *arg, int err, const struct rpc_msg *msg)
{
	struct placing *p = arg;
	Peer__Ran *ran = err == 0 ? peer__ran__unpack(NULL, msg->len, msg->body) : NULL;
	struct mark *m;

	if (err == 0)
		err = ran ? ran->err : -EPROTO;
	if (ran && err != 0 && ran->why[0])
		log_info("pid %d does not run on node %u: %s", p->gpid, p->site, ran->why);
	if (ran)
		peer__ran__free_unpacked(ran, NULL);
	if (err != 0) {
		pipes_drop(p->w, p->gpid, true);
		refuse(p, err < 0 ? err : -EPROTO);
		return;
	}
	pipes_go(p->w, p->gpid);
	/* From here on an exec of it is the one that makes it the stub. */
	m = mark_find(p->w, p->pid);
	if (m)
		mark_free(p->w, m);
	list_init(&p->post.link);
	p->post.cb = on_stub_made;
	if (pthread_create(&p->thread, NULL, worker, p) != 0) {
		raise_there(p->w, p->site, p->gpid, SIGKILL);
		pipes_drop(p->w, p->gpid, true);
		refuse(p, -EAGAIN);
	}
}

static int start_relays(struct placing *p)
{
	for (size_t i = 0; i < p->run.n_fds; i++) {
		const Peer__Fd *f = p->fds[i];
		int r;

		if (f->kind == PEER__FD_KIND__FD_PATH)
			continue;
		r = pipes_home(p->w, f->relay, p->site, p->gpid, p->sources[i],
			       f->kind == PEER__FD_KIND__FD_OUTPUT);
		p->sources[i] = -1;
		if (r != 0)
			return r;
	}
	return 0;
}

static void on_peer(void *arg, int err, struct rpc_conn *c)
{
	struct placing *p = arg;
	struct rpc_msg m = { .method = PEER_RUN };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(p->w->loop) + RUN_NS };
	uint8_t *body;

	if (err != 0) {
		p->why = "its guest kernel is not reached";
		refuse(p, -EHOSTDOWN);
		return;
	}
	body = malloc(peer__run__get_packed_size(&p->run) + 1);
	err = body ? start_relays(p) : -ENOMEM;
	if (err == 0) {
		m.len = peer__run__pack(&p->run, body);
		m.body = body;
		err = rpc_request(c, &m, &o, on_ran, p, NULL);
	}
	free(body);
	if (err != 0) {
		pipes_drop(p->w, p->gpid, true);
		refuse(p, err);
	}
}

static struct placing *placing_new(struct world *w, struct init_slot *s, node_id site)
{
	struct placing *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	peer__run__init(&p->run);
	list_add_tail(&w->placings, &p->link);
	p->w = w;
	p->slot = s;
	p->pid = (pid_t)notify_call(s)->pid;
	p->site = site;
	return p;
}

static void go(struct placing *p)
{
	int r = gather(p);

	if (r != 0)
		refuse(p, r);
	else
		peers_with(p->w, p->site, on_peer, p);
}

static void on_advice(void *arg, int err, const struct rpc_msg *m)
{
	struct placing *p = arg;
	Kernel__Placed *q = err == 0 ? kernel__placed__unpack(NULL, m->len, m->body) : NULL;

	p->site = q ? q->node : p->w->node;
	if (q)
		kernel__placed__free_unpacked(q, NULL);
	if (p->site == p->w->node || p->site == NODE_NONE)
		refuse(p, -EAGAIN); /* stays */
	else
		go(p);
}

static int ask_advice(struct placing *p)
{
	Kernel__Place q = KERNEL__PLACE__INIT;
	struct task_info t;
	uint8_t body[128];
	struct rpc_msg m = { .method = KERNEL_PLACE, .body = body };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(p->w->loop) + ASK_NS };

	if (!p->w->pod || task_read(&t, p->w->view.procfs, p->pid) != 0)
		return -ENOTCONN;
	q.pid = t.gpid;
	q.comm = t.comm;
	q.near_node = p->w->node;
	m.len = kernel__place__pack(&q, body);
	return rpc_request(p->w->pod, &m, &o, on_advice, p, NULL);
}

void place_exec(struct world *w, struct init_slot *s)
{
	struct mark *m = mark_find(w, (pid_t)notify_call(s)->pid);
	bool busy = __atomic_load_n(&w->busy, __ATOMIC_RELAXED);
	/* A stub's exec is its turning into a process: never to be placed again. */
	bool ours = turning_find(w, (pid_t)notify_call(s)->pid);
	struct placing *p =
		!ours && (m || busy) ? placing_new(w, s, m ? m->node : NODE_NONE) : NULL;

	if (!p) {
		notify_set_run(s);
		notify_answer(w->notify, s);
		return;
	}
	p->asked_for = m != NULL;
	if (m)
		go(p);
	else if (ask_advice(p) != 0)
		refuse(p, -EAGAIN);
}

/* Small commands stay without anybody being asked, until there is more to do than this node can. */
void place_look(struct world *w)
{
	bool busy = false, room = false;

	for (size_t i = 0; i < w->node_count; i++) {
		const struct world_node *n = &w->nodes[i];
		bool full = (uint64_t)n->load_milli * 100 >= (uint64_t)n->cpu_milli * BUSY_PERCENT;

		if (n->id == w->node)
			busy = full;
		else
			room |= n->alive && n->has_key && !full;
	}
	__atomic_store_n(&w->busy, busy && room && w->has_identity, __ATOMIC_RELAXED);
}

/* ---- afterwards: stubs whose process is elsewhere ---- */
static void on_raised(void *arg, int err, const struct rpc_msg *m)
{
	if (err != 0 && err != -ESRCH)
		log_warn("a signal did not reach another node: %s", strerror(-err));
}

struct raising {
	gpid pid;
	int signo;
};

static void on_peer_raise(void *arg, int err, struct rpc_conn *c)
{
	struct raising *x = arg;
	Peer__Raise q = PEER__RAISE__INIT;
	uint8_t body[32];
	struct rpc_msg m = { .method = PEER_RAISE, .body = body };

	q.pid = x->pid;
	q.signo = x->signo;
	m.len = peer__raise__pack(&q, body);
	if (err == 0)
		err = rpc_request(c, &m, NULL, on_raised, NULL, NULL);
	if (err != 0)
		on_raised(NULL, err, NULL);
	free(x);
}

static void raise_there(struct world *w, node_id site, gpid pid, int signo)
{
	struct raising *x = malloc(sizeof(*x));

	if (!x)
		return;
	*x = (struct raising){ pid, signo };
	peers_with(w, site, on_peer_raise, x);
}

void place_signal(struct world *w, struct stub *s, int signo)
{
	raise_there(w, s->peer, s->gpid, signo);
}

void place_stub_died(struct world *w, struct stub *s)
{
	char key[INIT_KEY_MAX];

	(void)snprintf(key, sizeof(key), "remote.%d.%u", s->gpid, s->peer);
	(void)pid1_drop(w->pid1, key);
	/* Somebody killed the stub: the process dies the same death. */
	if (!s->leaving)
		raise_there(w, s->peer, s->gpid, SIGKILL);
}

static void on_death_table(void *arg, struct stub *s, int err, struct stub_table *t)
{
	/* -ESRCH: it died, which is what was asked for. */
	if (err == 0)
		log_error("stub %d has not died", s->gpid);
}

static int die_the_same(struct stub *s, int status)
{
	struct stub_table *t = stub_table_new();
	int signo = WTERMSIG(status); /* 0: it has exited */
	struct rlimit no_core = { 0, 0 };
	uint64_t mask, set = signo > 0 ? UINT64_C(1) << (signo - 1) : 0;

	if (!t)
		return -ENOMEM;
	if (WIFEXITED(status)) {
		STUB_CALL(t, SYS_exit_group, (uint64_t)WEXITSTATUS(status));
	} else {
		mask = stub_table_bytes(t, &no_core, sizeof(no_core));
		STUB_CALL(t, SYS_prlimit64, 0, RLIMIT_CORE, mask, 0);
		STUB_CALL(t, SYS_kill, (uint64_t)s->gpid, (uint64_t)signo);
		mask = stub_table_bytes(t, &set, sizeof(set));
		STUB_CALL(t, SYS_rt_sigprocmask, SIG_UNBLOCK, mask, 0, sizeof(set));
	}
	s->leaving = true;
	return stub_table_give(s, t, on_death_table, NULL);
}

static void on_stop_table(void *arg, struct stub *s, int err, struct stub_table *t)
{
}

/* Stops as the process did; SIGCONT wakes the stub, which is told to us and goes on to the site. */
static int stop_the_same(struct stub *s, int status)
{
	struct stub_table *t = stub_table_new();
	uint64_t set = UINT64_C(1) << (WSTOPSIG(status) - 1), at;

	if (!t)
		return -ENOMEM;
	at = stub_table_bytes(t, &set, sizeof(set));
	STUB_CALL(t, SYS_kill, (uint64_t)s->gpid, (uint64_t)WSTOPSIG(status));
	STUB_CALL(t, SYS_rt_sigprocmask, SIG_UNBLOCK, at, 0, sizeof(set));
	STUB_CALL(t, SYS_rt_sigprocmask, SIG_BLOCK, at, 0, sizeof(set));
	return stub_table_give(s, t, on_stop_table, NULL);
}

static int end_the_same(struct world *w, struct stub *s, int status)
{
	(void)pipes_flushed(w, s->gpid);
	return die_the_same(s, status);
}

static struct placing *placing_find(struct world *w, gpid pid)
{
	struct placing *p;

	list_for_each (p, &w->placings, link)
		if (p->gpid == pid)
			return p;
	return NULL;
}

static void on_changed(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct world *w = arg;
	Peer__Changed *q = peer__changed__unpack(NULL, m->len, m->body);
	struct stub *s = q ? stubs_find(w->stubs, q->pid) : NULL;
	struct placing *p = q && !s ? placing_find(w, q->pid) : NULL;
	int r = 0;

	/* Unknown: it was told before. Of another node: not its to tell. */
	if (!q)
		r = -EPROTO;
	else if (s && s->peer != rpc_conn_peer(c)->node)
		r = -EACCES;
	else if (s && WIFSTOPPED(q->status))
		r = stop_the_same(s, q->status);
	else if (s && (WIFEXITED(q->status) || WIFSIGNALED(q->status)))
		r = end_the_same(w, s, q->status);
	else if (p && p->site == rpc_conn_peer(c)->node && !WIFSTOPPED(q->status))
		p->ended = q->status + 1;
	answers_reply(call, r, NULL);
	if (q)
		peer__changed__free_unpacked(q, NULL);
}

static void adopt_one(void *arg, const char *key)
{
	struct world *w = arg;
	struct stub *s;
	unsigned site;
	gpid pid;

	if (sscanf(key, "remote.%d.%u", &pid, &site) != 2)
		return;
	if (stubs_add(w->stubs, pid, &s) == 0) {
		s->peer = site;
		s->home = true;
	} else {
		(void)pid1_drop(w->pid1, key);
	}
}

int place_open(struct world *w)
{
	int fd = pid1_get(w->pid1, "gates"), r;

	list_init(&w->marks);
	list_init(&w->placings);
	w->last_relay = clock_wall_ns();
	r = gate_slots_open(&w->gates, fd >= 0 ? fd : -1);
	if (r == 0 && fd < 0)
		r = pid1_put(w->pid1, "gates", w->gates.fd);
	if (r >= 0)
		r = pid1_list(w->pid1, "remote.", adopt_one, w);
	rpc_serve(w->peer_rpc, PEER_CHANGED, on_changed, w);
	return MIN(r, 0);
}
