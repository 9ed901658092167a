/* SPDX-License-Identifier: Apache-2.0 */
/*
 * site.c - an exec that comes from another node: the side where it runs.
 *
 * Stubs of its relatives are made (kin.c), the last one is its own: that one sets up what an exec
 * keeps (descriptors, directory, masks, limits) and then executes the program itself, so that
 * search, permissions and errors are the host's.
 *
 * A record says how far it is. Before its stub has the exec (GUEST_GIVEN) a successor undoes
 * everything, and says so when home asks; from then on the stub makes the exec whatever happens to
 * us, and a successor waits for what becomes of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/exec/site.h"
#include "cmd/pando-kernel/files/streams.h"
#include "cmd/pando-kernel/move/move.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/host/mem.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define NUMBER_MAX 1000       /* descriptors of an arriving process have numbers below */
#define WORDS_AT   0x10000000 /* where an arriving stub has the strings of its exec */
#define WORDS_MAX  (1024 * 1024)
#define EXEC_CALLS 4 /* of the table that executes; the last is the exec */
#define FENCES     256

struct arrival {
	struct list link; /* in ending, while its stub dies */
	struct world *w;
	struct guest *guest;
	int err;
	Peer__Run *run; /* NULL: a predecessor's */
	struct rpc_call *call;
	struct rpc_call *asked; /* by home, that has lost its call */
	struct kin_making kin;
	const char *why;
	struct stub *stub;    /* its own, when it is there */
	unsigned top;         /* its descriptors' numbers end here; the last two are ours */
	int ends[NUMBER_MAX]; /* our copies of its pipe ends, until it has them */
	size_t n_ends;
	int alarm; /* read end of a pipe whose other end closes with its exec */
	int alarm_write;
	struct loop_fd watch;
	bool watching;
	uint64_t words, argv, env;
	uint8_t *image;
	size_t image_len;
};

static void reply_ran(struct rpc_call *call, int err, const char *why)
{
	Peer__Ran ran = PEER__RAN__INIT;
	uint8_t body[256];
	struct rpc_msg m = { .body = body };

	ran.err = err;
	ran.why = (char *)(uintptr_t)(why ? why : "");
	m.len = peer__ran__pack(&ran, body);
	answers_reply(call, 0, &m);
}

static void arrival_finish(struct arrival *a, int err)
{
	struct world *w = a->w;

	list_del(&a->link);
	w->arriving--;
	if (err != 0) {
		guest_free(a->guest);
		kin_tidy(w);
	}
	if (a->call)
		reply_ran(a->call, err, a->why);
	if (a->asked)
		reply_ran(a->asked, err == 0 ? 0 : -ENOENT, NULL);
	if (a->run)
		peer__run__free_unpacked(a->run, NULL);
	free(a->image);
	free(a);
}

/* On error its stub dies first: home may ask for the same pid again at once. */
static void arrival_end(struct arrival *a, int err)
{
	if (a->watching)
		loop_fd_del(a->w->loop, &a->watch);
	a->watching = false;
	if (a->alarm >= 0)
		(void)close(a->alarm);
	if (a->alarm_write >= 0)
		(void)close(a->alarm_write);
	for (size_t i = 0; i < a->n_ends; i++)
		(void)close(a->ends[i]);
	streams_taken(a->w, a->guest->k->pid);
	if (err == -ESRCH && !a->why)
		a->why = "its stub has died";
	if (err != 0) {
		a->guest->k->phase = GUEST_MAKING; /* a successor is to undo it too */
		pipes_drop(a->w, a->guest->k->pid, false);
	}
	if (err == 0 || !a->stub || arrival_goes_on(a->w, a->guest, a->stub)) {
		arrival_finish(a, err);
		return;
	}
	a->err = err;
	list_add_tail(&a->w->ending, &a->link);
	/* Its parent, if he comes here, is to wait until it is gone. */
	a->stub->leaving = true;
	if (task_pidfd_signal(a->stub->pidfd, SIGKILL) != 0)
		log_debug("stub %d is dead already", a->guest->k->pid);
}

void arrival_stub_died(struct world *w, struct stub *s)
{
	struct arrival *a, *tmp;

	list_for_each_safe (a, tmp, &w->ending, link) {
		if (a->stub == s) {
			a->stub = NULL;
			arrival_finish(a, a->err);
		}
	}
}

/* ---- the exec ---- */
static void on_exec_failed(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct arrival *a = arg;

	/* -ESRCH: it has ended, or is taken off the registry: on_alarm() goes on. */
	if (err != 0)
		return;
	arrival_end(a, (int)t->calls[t->n - 1].ret);
}

static bool has_children(const Peer__Run *run)
{
	for (size_t i = 0; i < run->n_kin; i++)
		if (run->kin[i]->ppid == run->pid)
			return true;
	return false;
}

/*
 * The other end is closed: the exec has worked, unless somebody has killed the stub just before it,
 * which to its parent is the same. It may have ended since.
 */
static void on_alarm(struct loop_fd *fd, short revents)
{
	struct arrival *a = container_of(fd, struct arrival, watch);
	struct guest *g = a->guest;
	struct stub *s = stubs_find(a->w->stubs, g->k->pid);

	FAULT("kernel.site.executed");
	if (s && s->home) {
		remote_drop(a->w, s);
	} else if (s) {
		char key[INIT_KEY_MAX];

		(void)snprintf(key, sizeof(key), "kin.%d.%u", s->gpid, s->peer);
		pid1_forget(a->w->pid1, key);
	}
	if (s) {
		g->parent = s->parent ? s->parent : g->parent;
		remote_forget_stub(a->w, s);
		(void)close(stubs_take(s));
	}
	a->stub = NULL;
	pipes_came_along(a->w, g->k->pid, g->k->home);
	pipes_go(a->w, g->k->pid);
	guest_runs(g);
	/* A parent has come: what is here already is its own to wait for. */
	if (a->run && has_children(a->run))
		site_look_again(a->w);
	arrival_end(a, 0);
}

static void on_exec_given(void *arg, struct stub *s)
{
	struct arrival *a = arg;

	a->guest->k->phase = GUEST_GIVEN;
	FAULT("kernel.site.given");
}

static int watch_alarm(struct arrival *a)
{
	int r = loop_fd_add(a->w->loop, &a->watch, a->alarm, POLLIN, on_alarm);

	a->watching = r == 0;
	return r;
}

static int give_exec(struct arrival *a)
{
	struct stub_table *t = stub_table_new();
	const uint64_t ign[4] = { (uint64_t)SIG_IGN }, dfl[4] = { 0 };
	bool ignored = (a->run->ignored >> (STUB_SIGNAL - 1)) & 1;
	uint64_t mask = a->run->blocked, at;
	int r = t ? watch_alarm(a) : -ENOMEM;

	if (r != 0) {
		free(t);
		return r;
	}
	/*
	 * Signals of ours that asked for tables which it took without: they would kill the process.
	 * To be ignored, even for a moment, is what throws away all that are pending (signal(7)).
	 */
	at = stub_table_bytes(t, ign, sizeof(ign));
	STUB_CALL(t, SYS_rt_sigaction, STUB_SIGNAL, at, 0, 8);
	at = stub_table_bytes(t, ignored ? ign : dfl, sizeof(dfl));
	STUB_CALL(t, SYS_rt_sigaction, STUB_SIGNAL, at, 0, 8);
	at = stub_table_bytes(t, &mask, sizeof(mask));
	STUB_CALL(t, SYS_rt_sigprocmask, SIG_SETMASK, at, 0, sizeof(mask));
	STUB_CALL(t, SYS_execve, a->words, a->argv, a->env);
	t->given = on_exec_given;
	t->turns = true;
	return stub_table_give(a->stub, t, on_exec_failed, a);
}

/*
 * Limits and priorities that cannot be raised stay as they are; who is in front may have changed,
 * and who is to be waited for have been.
 */
static bool may_fail(int64_t nr)
{
	return nr == SYS_prlimit64 || nr == SYS_setpriority || nr == SYS_ioctl || nr == SYS_close ||
	       nr == SYS_wait4;
}

static void on_words(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct arrival *a = arg;

	for (unsigned i = 0; err == 0 && i < t->n; i++) {
		int64_t ret = t->calls[i].ret;

		if (ret < 0 && !may_fail(t->calls[i].nr)) {
			a->why = "a descriptor or directory of it is not to be had here";
			err = (int)ret;
		}
	}
	FAULT("kernel.site.words");
	if (err == 0)
		err = a->err; /* home has given it up */
	if (err == 0)
		err = mem_write(s->pid, WORDS_AT, a->image, a->image_len);
	for (size_t i = 0; i < a->n_ends; i++)
		(void)close(a->ends[i]);
	a->n_ends = 0;
	(void)close(a->alarm_write);
	a->alarm_write = -1;
	if (err == 0)
		err = give_exec(a);
	if (err != 0)
		arrival_end(a, err);
}

/* Strings and the arrays of pointers to them, as they will lie at WORDS_AT. */
static int lay_out(struct arrival *a)
{
	const Peer__Run *q = a->run;
	size_t pointers = (q->n_argv + q->n_env + 2) * 8, len = pointers + q->path.len + 1;
	uint64_t *v;
	size_t at, n = 0;

	for (size_t i = 0; i < q->n_argv; i++)
		len += q->argv[i].len + 1;
	for (size_t i = 0; i < q->n_env; i++)
		len += q->env[i].len + 1;
	if (len > WORDS_MAX)
		return -E2BIG;
	a->image = calloc(1, len);
	if (!a->image)
		return -ENOMEM;
	a->image_len = len;
	v = (uint64_t *)(void *)a->image;
	at = pointers;
	a->argv = WORDS_AT;
	for (size_t i = 0; i < q->n_argv; i++) {
		memcpy(a->image + at, q->argv[i].data, q->argv[i].len);
		v[n++] = WORDS_AT + at;
		at += q->argv[i].len + 1;
	}
	n++;
	a->env = WORDS_AT + 8 * n;
	for (size_t i = 0; i < q->n_env; i++) {
		memcpy(a->image + at, q->env[i].data, q->env[i].len);
		v[n++] = WORDS_AT + at;
		at += q->env[i].len + 1;
	}
	a->words = WORDS_AT + at;
	memcpy(a->image + at, q->path.data, q->path.len);
	return 0;
}

static uint64_t put_string(struct stub_table *t, const void *bytes, size_t len)
{
	uint64_t at = stub_table_bytes(t, bytes, len);

	(void)stub_table_bytes(t, "", 1);
	return at;
}

/* A path gets the lowest free number: which one that is follows from what was opened before. */
static int open_path(struct stub_table *t, const Peer__Fd *f, const char *path,
		     bool used[NUMBER_MAX])
{
	unsigned low = 0, want = f->numbers[0];
	unsigned keep = f->kind == PEER__FD_KIND__FD_STREAM
				? STREAM_FLAGS
				: ~(unsigned)(O_CREAT | O_EXCL | O_TRUNC);
	uint64_t at = put_string(t, path, strlen(path));

	while (used[low])
		low++;
	STUB_CALL(t, SYS_openat, (uint64_t)AT_FDCWD, at, (f->flags & keep) | O_NOCTTY, 0);
	if (f->offset != 0 && f->kind == PEER__FD_KIND__FD_PATH)
		STUB_CALL(t, SYS_lseek, low, f->offset, SEEK_SET);
	if (low != want) {
		STUB_CALL(t, SYS_dup3, low, want, 0);
		STUB_CALL(t, SYS_close, low);
	}
	return 0;
}

static bool is_opened(const Peer__Fd *f)
{
	return f->kind == PEER__FD_KIND__FD_PATH || f->kind == PEER__FD_KIND__FD_STREAM;
}

/* A descriptor of ours, which the stub gets before it begins. Takes @fd. */
static int hand_in(struct arrival *a, struct stub_table *t, const Peer__Fd *f, int fd,
		   bool used[NUMBER_MAX])
{
	if (fd < 0)
		return fd;
	a->ends[a->n_ends++] = fd;
	if (t->nfds == ARRAY_LEN(t->fds))
		return -EMFILE;
	t->fds[t->nfds].fd = fd;
	t->fds[t->nfds++].at = f->numbers[0];
	used[f->numbers[0]] = true;
	return 0;
}

static int add_opened(struct arrival *a, struct stub_table *t, const Peer__Fd *f,
		      bool used[NUMBER_MAX])
{
	char stream[STREAM_PATH_MAX];
	const char *path = f->path;
	int fd = -1, r;

	if (f->kind == PEER__FD_KIND__FD_STREAM) {
		r = streams_take(a->w, f, a->run->pid, stream, &fd);
		if (r != 0)
			return r;
		path = stream;
	}
	if (fd >= 0)
		return hand_in(a, t, f, fd, used);
	(void)open_path(t, f, path, used);
	used[f->numbers[0]] = true;
	return 0;
}

static int take_end(struct arrival *a, const Peer__Fd *f)
{
	const struct pipes_end e = { .id = f->relay,
				     .home = f->owner,
				     .pid = a->run->pid,
				     .process_writes = true,
				     .start = f->start,
				     .bytes = f->data.data,
				     .len = f->data.len };

	if (f->kind == PEER__FD_KIND__FD_TTY)
		return ttys_take(a->w, f);
	if (f->kind == PEER__FD_KIND__FD_OUTPUT && f->owner == a->w->node)
		return pipes_output(a->w, f->relay);
	if (f->kind == PEER__FD_KIND__FD_OUTPUT && f->owner != NODE_NONE)
		return pipes_end_make(a->w, &e);
	return pipes_site(a->w, f->relay, a->guest->k->home, a->run->pid,
			  f->kind == PEER__FD_KIND__FD_OUTPUT);
}

static int add_descriptors(struct arrival *a, struct stub_table *t)
{
	bool used[NUMBER_MAX] = { false };

	for (size_t i = 0; i < a->run->n_fds; i++) {
		const Peer__Fd *f = a->run->fds[i];
		int fd, r;

		for (size_t j = 0; j < f->n_numbers; j++)
			if (f->numbers[j] >= a->top - 2)
				return -EMFILE;
		if (f->n_numbers == 0 || is_opened(f))
			continue;
		fd = take_end(a, f);
		r = hand_in(a, t, f, fd, used);
		if (r != 0)
			return r;
	}
	t->fds[t->nfds].fd = a->alarm_write;
	t->fds[t->nfds].cloexec = true;
	t->fds[t->nfds++].at = a->top - 1;
	for (size_t i = 0; i < a->run->n_fds; i++) {
		const Peer__Fd *f = a->run->fds[i];

		int r = f->n_numbers > 0 && is_opened(f) ? add_opened(a, t, f, used) : 0;

		if (r != 0)
			return r;
	}
	for (size_t i = 0; i < a->run->n_fds; i++)
		for (size_t j = 1; j < a->run->fds[i]->n_numbers; j++)
			STUB_CALL(t, SYS_dup3, a->run->fds[i]->numbers[0],
				  a->run->fds[i]->numbers[j], 0);
	return 0;
}

/* By birth, mostly: its relatives' stubs have them. */
static bool has_limit(const struct stub *s, unsigned resource, const struct rlimit *want)
{
	struct rlimit l;

	return prlimit(s->pid, resource, NULL, &l) == 0 && l.rlim_cur == want->rlim_cur &&
	       l.rlim_max == want->rlim_max;
}

static void add_state(struct arrival *a, struct stub_table *t)
{
	const Peer__Run *q = a->run;
	const uint64_t ignore[4] = { (uint64_t)(uintptr_t)SIG_IGN };
	bool reaper = false;
	uint64_t act = stub_table_bytes(t, ignore, sizeof(ignore));

	STUB_CALL(t, SYS_mmap, WORDS_AT, ALIGN_UP(a->image_len, 4096), PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~UINT64_C(0), 0);
	STUB_CALL(t, SYS_chdir, put_string(t, q->cwd.data, q->cwd.len));
	STUB_CALL(t, SYS_umask, q->umask);
	for (int signo = 1; signo <= 64; signo++)
		if ((q->ignored >> (signo - 1)) & 1)
			STUB_CALL(t, SYS_rt_sigaction, (uint64_t)signo, act, 0, 8);
	for (size_t i = 0; i < q->n_limits && q->limits[i]->resource < RLIM_NLIMITS; i++) {
		const struct rlimit l = { q->limits[i]->soft, q->limits[i]->hard };

		/* Each that is set is a notified call. */
		if (has_limit(a->stub, q->limits[i]->resource, &l))
			continue;
		STUB_CALL(t, SYS_prlimit64, 0, q->limits[i]->resource,
			  stub_table_bytes(t, &l, sizeof(l)), 0);
	}
	if (q->nice != 0)
		STUB_CALL(t, SYS_setpriority, PRIO_PROCESS, 0, (uint64_t)(int64_t)q->nice);
	if (q->pdeathsig != 0)
		STUB_CALL(t, SYS_prctl, PR_SET_PDEATHSIG, q->pdeathsig);
	for (size_t i = 0; i < q->n_kin; i++)
		reaper |= q->kin[i]->pid == q->pid && q->kin[i]->reaper;
	if (reaper || reapers_has(a->w, q->pid)) {
		reapers_set(a->w, q->pid, reaper);
		STUB_CALL(t, SYS_prctl, PR_SET_CHILD_SUBREAPER, reaper);
	}
}

static int keep_alarm(struct arrival *a)
{
	char key[INIT_KEY_MAX];

	(void)snprintf(key, sizeof(key), "alarm.%u", (unsigned)(a->guest->k - a->w->kept->guests));
	return pid1_replace(a->w->pid1, key, a->alarm);
}

/* Its stub begins nothing before all of them are in the store. */
static int keep_all(struct arrival *a, struct stub_table *t)
{
	int r, kept;

	pid1_together(a->w->pid1);
	r = guest_keep(a->guest, a->stub->pidfd);
	if (r == 0)
		r = keep_alarm(a);
	if (r == 0)
		r = add_descriptors(a, t);
	kept = pid1_settle(a->w->pid1);
	return r != 0 ? r : kept;
}

/* A stub that was the process, or its child, has a limit of its own. */
static unsigned numbers_of(const struct stub *s)
{
	struct rlimit l = { NUMBER_MAX, NUMBER_MAX };

	(void)prlimit(s->pid, RLIMIT_NOFILE, NULL, &l);
	return (unsigned)MAX(MIN(l.rlim_cur, (rlim_t)NUMBER_MAX), 3U);
}

static void turn(struct arrival *a)
{
	struct stub_table *t = stub_table_new();
	int fds[2], r = t ? lay_out(a) : -ENOMEM;

	a->top = numbers_of(a->stub);

	if (r == 0 && pipe2(fds, O_CLOEXEC) != 0)
		r = -errno;
	if (r == 0) {
		a->alarm = fds[0];
		a->alarm_write = fds[1];
		r = keep_all(a, t);
	}
	if (r == 0 && a->kin.has_rest)
		r = kin_add_waits(&a->kin, t);
	if (r == 0) {
		add_state(a, t);
		carriers_arrive(a->w, a->run->kin, a->run->n_kin, a->run->pid, t, a->top - 2);
		FAULT("kernel.site.turn");
		t->turns = true;
		r = stub_table_give(a->stub, t, on_words, a);
	} else {
		free(t);
	}
	if (r != 0)
		arrival_end(a, r);
}

static void on_heard(struct kin_making *k, int err)
{
	struct arrival *a = container_of(k, struct arrival, kin);

	a->why = k->why;
	if (stubs_find(a->w->stubs, k->pid) != a->stub) {
		a->stub = NULL; /* killed while it waited */
		err = -ESRCH;
	}
	if (err == 0)
		err = a->err; /* home has given it up */
	if (err == 0)
		turn(a);
	else
		arrival_end(a, err);
}

static void on_kin(struct kin_making *k, int err)
{
	struct arrival *a = container_of(k, struct arrival, kin);

	a->why = k->why;
	a->stub = k->stub;
	a->guest->k->reused |= k->was_there;
	if (err == 0)
		kin_hear(k, on_heard);
	else
		arrival_end(a, err);
}

/* ---- what home asks ---- */
/* Execs that home has given up before they came: they may still come, over an older connection. */
static struct {
	node_id home;
	uint64_t id;
} fences[FENCES];
static unsigned fence_next;

static bool is_fenced(node_id home, uint64_t id)
{
	for (size_t i = 0; i < FENCES; i++)
		if (fences[i].id == id && fences[i].home == home)
			return true;
	return false;
}

static void fence(node_id home, uint64_t id)
{
	fences[fence_next % FENCES].home = home;
	fences[fence_next++ % FENCES].id = id;
}

static struct arrival *arrival_new(struct world *w, struct guest *g)
{
	struct arrival *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	list_init(&a->link);
	w->arriving++;
	a->w = w;
	a->guest = g;
	g->arrival = a;
	a->alarm = a->alarm_write = -1;
	return a;
}

/*
 * What it has here is its stub, or what it goes on from at this moment: that becomes one (turns.c).
 * Any other that is still to be reaped has a number that is wanted again, by nobody who is well.
 */
static bool may_come(struct world *w, const Peer__Run *run, node_id home)
{
	return run->pid > 1 && !is_fenced(home, run->id) &&
	       (stubs_find(w->stubs, run->pid) || place_is_busy(w, run->pid) ||
		leave_is_between(w, run->pid) || !guest_find(w, run->pid));
}

static void on_run(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Peer__Run *run = call ? peer__run__unpack(NULL, m->len, m->body) : NULL;
	node_id home = rpc_conn_peer(c)->node;
	struct guest *g = NULL;
	struct arrival *a = NULL;

	FAULT("kernel.site.run");
	if (run && may_come(w, run, home))
		g = guest_new(w, run->pid, home, run->id);
	if (g)
		a = arrival_new(w, g);
	if (!a) {
		if (g)
			guest_free(g);
		if (run)
			peer__run__free_unpacked(run, NULL);
		reply_ran(call, run ? -EAGAIN : -EPROTO, "it is refused");
		return;
	}
	a->run = run;
	a->call = call;
	a->kin = (struct kin_making){ .w = w,
				      .pid = run->pid,
				      .from = home,
				      .kin = run->kin,
				      .n_kin = run->n_kin,
				      .done = on_kin };
	kin_make(&a->kin);
}

/* It goes on if it has begun to execute, else it never will. */
static void answer_asked(struct world *w, node_id home, const Peer__Ask *q, struct rpc_call *call)
{
	struct guest *g = guest_find(w, q->pid); /* the newest */
	struct arrival *a;

	if (!g || g->k->home != home || g->k->id != q->id) {
		fence(home, q->id);
		reply_ran(call, -ENOENT, NULL);
		return;
	}
	a = g->arrival;
	if (!a) {
		reply_ran(call, 0, NULL);
		return;
	}
	if (a->asked)
		reply_ran(a->asked, -EAGAIN, NULL);
	a->asked = call;
	if (g->k->phase == GUEST_MAKING)
		a->err = -ECANCELED; /* seen before its next step */
}

static void on_ask(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	Peer__Ask *q = call ? peer__ask__unpack(NULL, m->len, m->body) : NULL;

	FAULT("kernel.site.asked");
	if (q)
		answer_asked(arg, rpc_conn_peer(c)->node, q, call);
	else
		answers_reply(call, -EPROTO, NULL);
	if (q)
		peer__ask__free_unpacked(q, NULL);
}

/* ---- after a predecessor's death ---- */
static void kill_begun(struct world *w, struct guest *g)
{
	struct stub *s = stubs_find(w->stubs, g->k->pid);

	if (s && !arrival_goes_on(w, g, s)) {
		kept_leave(w, s->gpid);
		s->leaving = true;
		if (task_pidfd_signal(s->pidfd, SIGKILL) != 0)
			log_debug("stub %d is dead already", s->gpid);
	}
	guest_free(g);
}

int arrival_adopt(struct guest *g)
{
	struct world *w = g->w;
	struct stub *s = stubs_find(w->stubs, g->k->pid);
	struct stub_table *t;
	struct arrival *a;
	char key[INIT_KEY_MAX];

	if (g->k->phase == GUEST_MAKING) {
		kill_begun(w, g);
		return 0;
	}
	a = arrival_new(w, g);
	t = a && s ? stub_table_new() : NULL;
	if (!a || (s && !t)) {
		free(a);
		return -ENOMEM;
	}
	(void)snprintf(key, sizeof(key), "alarm.%u", (unsigned)(g->k - w->kept->guests));
	a->alarm = pid1_get(w->pid1, key);
	a->stub = s;
	if (s) {
		s->turning = true; /* a signal for a table would kill the program */
		stub_table_resume(s, t, EXEC_CALLS, on_exec_failed, a);
	}
	return a->alarm < 0 ? a->alarm : watch_alarm(a);
}

static void reap_rest(void *arg, struct stub *s)
{
	site_reap_rest(arg, s);
}

/* A predecessor may have died before it could reap and drop what nobody needs. */
static void on_tidy(struct loop_timer *t)
{
	struct world *w = container_of(t, struct world, tidy);

	stubs_each(w->stubs, reap_rest, w);
	kin_tidy(w);
}

int site_open(struct world *w)
{
	int r;

	list_init(&w->guests);
	list_init(&w->ending);
	rpc_serve(w->peer_rpc, PEER_RUN, on_run, w);
	rpc_serve(w->peer_rpc, PEER_ASK, on_ask, w);
	r = kin_adopted(w);
	if (r == 0)
		r = guests_open(w);
	return r == 0 ? loop_timer_set(w->loop, &w->tidy, 0, on_tidy) : r;
}
