/* SPDX-License-Identifier: Apache-2.0 */
/*
 * site.c - an exec that comes from another node: the side where it runs.
 *
 * Stubs of its relatives are made (kin.c), the last one is its own: that one sets up what an exec
 * keeps (descriptors, directory, masks, limits) and then executes the program itself, so that
 * search, permissions and errors are the host's.
 *
 * A process that ends is reaped by its parent's stub, whose wait tells the status; home is told
 * until it has answered.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/host/mem.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define NUMBER_MAX    1000       /* descriptors of an arriving process have numbers below */
#define WORDS_AT      0x10000000 /* where an arriving stub has the strings of its exec */
#define WORDS_MAX     (1024 * 1024)
#define TOLD_AGAIN_NS (300 * NS_PER_MS)
#define FLUSH_NS      (2 * NS_PER_MS)
#define WAITS         8 /* wait4 calls of one table */

/* A process whose home is another node, executing here. */
struct guest {
	struct list link;
	struct world *w;
	gpid pid;
	node_id home;
	int pidfd;
	bool starting; /* its exec is under way: home is not told yet */
	bool ended;
	int status; /* to be told */
	bool telling;
	struct loop_timer again;
};

struct arrival {
	struct list link; /* in ending, while its stub dies */
	struct world *w;
	int err;
	node_id home;
	Peer__Run *run;
	struct rpc_call *call;
	struct kin_making kin;
	const char *why;
	struct stub *stub;    /* its own, when it is there */
	struct guest *guest;  /* it, when its exec may have worked */
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

static void arrival_finish(struct arrival *a, int err)
{
	Peer__Ran ran = PEER__RAN__INIT;
	uint8_t body[256];
	struct rpc_msg m = { .body = body };

	list_del(&a->link);
	a->w->arriving--;
	if (err != 0)
		kin_tidy(a->w);
	ran.err = err;
	ran.why = (char *)(uintptr_t)(a->why ? a->why : "");
	m.len = peer__ran__pack(&ran, body);
	answers_reply(a->call, 0, &m);
	peer__run__free_unpacked(a->run, NULL);
	free(a->image);
	free(a);
}

/* On error its stub dies first: home may ask for the same pid again at once. */
static void arrival_end(struct arrival *a, int err)
{
	if (a->watching)
		loop_fd_del(a->w->loop, &a->watch);
	if (a->alarm >= 0)
		(void)close(a->alarm);
	if (a->alarm_write >= 0)
		(void)close(a->alarm_write);
	for (size_t i = 0; i < a->n_ends; i++)
		(void)close(a->ends[i]);
	if (err != 0)
		pipes_drop(a->w, a->run->pid, false);
	if (err == 0 || !a->stub) {
		arrival_finish(a, err);
		return;
	}
	a->err = err;
	list_add_tail(&a->w->ending, &a->link);
	if (task_pidfd_signal(a->stub->pidfd, SIGKILL) != 0)
		log_debug("stub %d is dead already", a->run->pid);
}

/* ---- the exec ---- */
static void guest_free(struct guest *g);
static void tell_home(struct guest *g);

static void on_exec_failed(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct arrival *a = arg;

	/* -ESRCH: it has ended, or is taken off the registry: on_alarm() goes on. */
	if (err != 0)
		return;
	guest_free(a->guest);
	arrival_end(a, (int)t->calls[t->n - 1].ret);
}

static struct guest *guest_new(struct arrival *a)
{
	struct guest *g = calloc(1, sizeof(*g));
	char key[INIT_KEY_MAX];

	if (!g)
		return NULL;
	g->w = a->w;
	g->pid = a->run->pid;
	g->home = a->home;
	g->starting = true;
	g->pidfd = fcntl(a->stub->pidfd, F_DUPFD_CLOEXEC, 0);
	list_add_tail(&a->w->guests, &g->link);
	(void)snprintf(key, sizeof(key), "guest.%d.%u", g->pid, g->home);
	if (pid1_put(a->w->pid1, key, g->pidfd) < 0)
		log_warn("pid %d from node %u is not in the store", g->pid, g->home);
	return g;
}

/*
 * The other end is closed: the exec has worked, unless somebody has killed the stub just before it,
 * which to its parent is the same. It may have ended since.
 */
static void on_alarm(struct loop_fd *fd, short revents)
{
	struct arrival *a = container_of(fd, struct arrival, watch);
	struct stub *s = stubs_find(a->w->stubs, a->run->pid);
	struct guest *g = a->guest;

	FAULT("kernel.site.executed");
	if (s) {
		char key[INIT_KEY_MAX];

		(void)snprintf(key, sizeof(key), "kin.%d.%u", s->gpid, s->peer);
		(void)pid1_drop(a->w->pid1, key);
		(void)close(stubs_take(s));
	}
	a->stub = NULL;
	pipes_go(a->w, g->pid);
	arrival_end(a, 0);
	g->starting = false;
	if (g->ended)
		tell_home(g);
}

static void on_words(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct arrival *a = arg;
	struct stub_table *x;
	uint64_t mask = a->run->blocked, at;

	for (unsigned i = 0; err == 0 && i < t->n; i++) {
		int64_t ret = t->calls[i].ret;

		/* Limits that cannot be raised stay as they are. */
		if (ret < 0 && t->calls[i].nr != SYS_prlimit64) {
			a->why = "a descriptor or directory of it is not to be had here";
			err = (int)ret;
		}
	}
	if (err == 0)
		err = mem_write(s->pid, WORDS_AT, a->image, a->image_len);
	for (size_t i = 0; i < a->n_ends; i++)
		(void)close(a->ends[i]);
	a->n_ends = 0;
	(void)close(a->alarm_write);
	a->alarm_write = -1;
	x = err == 0 ? stub_table_new() : NULL;
	a->guest = x ? guest_new(a) : NULL;
	if (!a->guest) {
		free(x);
		arrival_end(a, err ? err : -ENOMEM);
		return;
	}
	err = loop_fd_add(a->w->loop, &a->watch, a->alarm, POLLIN, on_alarm);
	a->watching = err == 0;
	at = stub_table_bytes(x, &mask, sizeof(mask));
	STUB_CALL(x, SYS_rt_sigprocmask, SIG_SETMASK, at, 0, sizeof(mask));
	STUB_CALL(x, SYS_execve, a->words, a->argv, a->env);
	if (err == 0)
		err = stub_table_give(s, x, on_exec_failed, a);
	else
		free(x);
	if (err != 0) {
		guest_free(a->guest);
		arrival_end(a, err);
	}
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
static int open_path(struct stub_table *t, const Peer__Fd *f, bool used[NUMBER_MAX])
{
	unsigned low = 0, want = f->numbers[0];
	uint64_t at = put_string(t, f->path, strlen(f->path));

	while (used[low])
		low++;
	STUB_CALL(t, SYS_openat, (uint64_t)AT_FDCWD, at,
		  (f->flags & ~(unsigned)(O_CREAT | O_EXCL | O_TRUNC)) | O_NOCTTY, 0);
	if (f->offset != 0)
		STUB_CALL(t, SYS_lseek, low, f->offset, SEEK_SET);
	if (low != want) {
		STUB_CALL(t, SYS_dup3, low, want, 0);
		STUB_CALL(t, SYS_close, low);
	}
	return 0;
}

static int add_descriptors(struct arrival *a, struct stub_table *t)
{
	bool used[NUMBER_MAX] = { false };

	for (size_t i = 0; i < a->run->n_fds; i++) {
		const Peer__Fd *f = a->run->fds[i];
		int fd;

		for (size_t j = 0; j < f->n_numbers; j++)
			if (f->numbers[j] >= NUMBER_MAX - 1)
				return -EMFILE;
		if (f->n_numbers == 0 || f->kind == PEER__FD_KIND__FD_PATH)
			continue;
		fd = pipes_site(a->w, f->relay, a->home, a->run->pid,
				f->kind == PEER__FD_KIND__FD_OUTPUT);
		if (fd < 0)
			return fd;
		a->ends[a->n_ends++] = fd;
		if (t->nfds == ARRAY_LEN(t->fds))
			return -EMFILE;
		t->fds[t->nfds].fd = fd;
		t->fds[t->nfds++].at = f->numbers[0];
		used[f->numbers[0]] = true;
	}
	t->fds[t->nfds].fd = a->alarm_write;
	t->fds[t->nfds].cloexec = true;
	t->fds[t->nfds++].at = NUMBER_MAX - 1;
	for (size_t i = 0; i < a->run->n_fds; i++) {
		const Peer__Fd *f = a->run->fds[i];

		if (f->n_numbers > 0 && f->kind == PEER__FD_KIND__FD_PATH) {
			(void)open_path(t, f, used);
			used[f->numbers[0]] = true;
		}
	}
	for (size_t i = 0; i < a->run->n_fds; i++)
		for (size_t j = 1; j < a->run->fds[i]->n_numbers; j++)
			STUB_CALL(t, SYS_dup3, a->run->fds[i]->numbers[0],
				  a->run->fds[i]->numbers[j], 0);
	return 0;
}

static void add_state(struct arrival *a, struct stub_table *t)
{
	const Peer__Run *q = a->run;
	const uint64_t ignore[4] = { (uint64_t)(uintptr_t)SIG_IGN };
	uint64_t act = stub_table_bytes(t, ignore, sizeof(ignore));

	STUB_CALL(t, SYS_mmap, WORDS_AT, ALIGN_UP(a->image_len, 4096), PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~UINT64_C(0), 0);
	STUB_CALL(t, SYS_chdir, put_string(t, q->cwd.data, q->cwd.len));
	STUB_CALL(t, SYS_umask, q->umask);
	for (int signo = 1; signo <= 64; signo++)
		if ((q->ignored >> (signo - 1)) & 1)
			STUB_CALL(t, SYS_rt_sigaction, (uint64_t)signo, act, 0, 8);
	for (size_t i = 0; i < q->n_limits && q->limits[i]->resource < RLIM_NLIMITS; i++) {
		struct rlimit l = { q->limits[i]->soft, q->limits[i]->hard };

		STUB_CALL(t, SYS_prlimit64, 0, q->limits[i]->resource,
			  stub_table_bytes(t, &l, sizeof(l)), 0);
	}
}

static void turn(struct arrival *a)
{
	struct stub_table *t = stub_table_new();
	int fds[2], r = t ? lay_out(a) : -ENOMEM;

	if (r == 0 && pipe2(fds, O_CLOEXEC) != 0)
		r = -errno;
	if (r == 0) {
		a->alarm = fds[0];
		a->alarm_write = fds[1];
		r = add_descriptors(a, t);
	}
	if (r == 0) {
		add_state(a, t);
		r = stub_table_give(a->stub, t, on_words, a);
	} else {
		free(t);
	}
	if (r != 0)
		arrival_end(a, r);
}

static void on_kin(struct kin_making *k, int err)
{
	struct arrival *a = container_of(k, struct arrival, kin);

	a->why = k->why;
	a->stub = k->stub;
	if (err == 0)
		turn(a);
	else
		arrival_end(a, err);
}

static void on_run(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	struct arrival *a = call ? calloc(1, sizeof(*a)) : NULL;

	if (a)
		a->run = peer__run__unpack(NULL, m->len, m->body);
	if (!a || !a->run) {
		free(a);
		answers_reply(call, -EPROTO, NULL);
		return;
	}
	list_init(&a->link);
	w->arriving++;
	a->w = w;
	a->home = rpc_conn_peer(c)->node;
	a->call = call;
	a->alarm = a->alarm_write = -1;
	a->kin = (struct kin_making){ .w = w,
				      .pid = a->run->pid,
				      .from = a->home,
				      .kin = a->run->kin,
				      .n_kin = a->run->n_kin,
				      .done = on_kin };
	kin_make(&a->kin);
}

/* ---- their lives ---- */
static void guest_free(struct guest *g)
{
	struct world *w = g->w;
	char key[INIT_KEY_MAX];

	(void)snprintf(key, sizeof(key), "guest.%d.%u", g->pid, g->home);
	(void)pid1_drop(w->pid1, key);
	loop_timer_clear(w->loop, &g->again);
	list_del(&g->link);
	(void)close(g->pidfd);
	free(g);
	kin_tidy(w);
}

static void on_again(struct loop_timer *t)
{
	tell_home(container_of(t, struct guest, again));
}

static void wait_again(struct guest *g, uint64_t ns)
{
	if (loop_timer_set(g->w->loop, &g->again, loop_now_ns(g->w->loop) + ns, on_again) != 0)
		log_error("cannot wait: out of memory");
}

static void on_told(void *arg, int err, const struct rpc_msg *m)
{
	struct guest *g = arg;

	g->telling = false;
	if (err != 0)
		wait_again(g, TOLD_AGAIN_NS);
	else if (g->ended)
		guest_free(g);
}

static void on_home(void *arg, int err, struct rpc_conn *c)
{
	struct guest *g = arg;
	Peer__Changed q = PEER__CHANGED__INIT;
	uint8_t body[32];
	struct rpc_msg m = { .method = PEER_CHANGED, .body = body };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(g->w->loop) + 5 * NS_PER_S };

	q.pid = g->pid;
	q.status = g->status;
	m.len = peer__changed__pack(&q, body);
	if (err == 0)
		err = rpc_request(c, &m, &o, on_told, g, NULL);
	if (err != 0)
		on_told(g, err, NULL);
}

/* What it wrote comes first: its parent may look at that as soon as the wait is over. */
static void tell_home(struct guest *g)
{
	if (g->telling)
		return;
	if (g->ended && !pipes_flushed(g->w, g->pid)) {
		wait_again(g, FLUSH_NS);
		return;
	}
	g->telling = true;
	peers_with(g->w, g->home, on_home, g);
}

static struct guest *guest_find(struct world *w, gpid pid)
{
	struct guest *g;

	list_for_each (g, &w->guests, link)
		if (g->pid == pid)
			return g;
	return NULL;
}

bool site_has_guest(struct world *w, gpid pid)
{
	return guest_find(w, pid) != NULL;
}

static void guest_changed(struct world *w, gpid pid, int status)
{
	struct guest *g = guest_find(w, pid);

	if (!g || g->ended)
		return;
	g->status = status;
	g->ended = WIFEXITED(status) || WIFSIGNALED(status);
	if (!g->starting && (g->ended || WIFSTOPPED(status)))
		tell_home(g);
}

static void on_reaped(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct world *w = arg;
	bool more = err == 0;

	for (unsigned i = 0; err == 0 && i < t->n; i++) {
		int status;

		more = more && t->calls[i].ret > 0;
		if (t->calls[i].ret <= 0)
			continue;
		memcpy(&status, stub_table_at(t, t->calls[i].arg[1]), sizeof(status));
		guest_changed(w, (gpid)t->calls[i].ret, status);
	}
	if (more)
		site_reap(w, s);
}

void site_reap(struct world *w, struct stub *s)
{
	struct stub_table *t = stub_table_new();
	const int none = 0;

	if (!t)
		return;
	for (int i = 0; i < WAITS; i++)
		STUB_CALL(t, SYS_wait4, ~UINT64_C(0), stub_table_bytes(t, &none, sizeof(none)),
			  WNOHANG | WUNTRACED | WCONTINUED, 0);
	if (stub_table_give(s, t, on_reaped, w) != 0)
		log_warn("stub %d does not wait for its children", s->gpid);
}

static void on_raise(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Peer__Raise *q = peer__raise__unpack(NULL, m->len, m->body);
	struct guest *g = q ? guest_find(w, q->pid) : NULL;
	int r = q ? -ESRCH : -EPROTO;

	if (g && g->home != rpc_conn_peer(c)->node)
		r = -EACCES;
	else if (g && !g->ended)
		r = q->signo >= 1 && q->signo <= 64 ? task_pidfd_signal(g->pidfd, q->signo)
						    : -EINVAL;
	answers_reply(call, r, NULL);
	if (q)
		peer__raise__free_unpacked(q, NULL);
}

void site_stub_died(struct world *w, struct stub *s)
{
	struct arrival *a, *tmp;
	char key[INIT_KEY_MAX];

	if (s->gpid == w->zygote) {
		w->zygote = 0;
		(void)snprintf(key, sizeof(key), "zygote.%d", s->gpid);
	} else {
		(void)snprintf(key, sizeof(key), "kin.%d.%u", s->gpid, s->peer);
	}
	(void)pid1_drop(w->pid1, key);
	list_for_each_safe (a, tmp, &w->ending, link)
		if (a->stub == s)
			arrival_finish(a, a->err);
}

static void adopt_kin(void *arg, const char *key)
{
	struct world *w = arg;
	struct stub *s;
	unsigned node = 0;
	gpid pid;

	if (sscanf(key, "zygote.%d", &pid) == 1) {
		if (stubs_add(w->stubs, pid, &s) == 0)
			w->zygote = pid;
	} else if (sscanf(key, "kin.%d.%u", &pid, &node) == 2) {
		if (!guest_find(w, pid) && stubs_add(w->stubs, pid, &s) == 0)
			s->peer = node;
		else
			(void)pid1_drop(w->pid1, key);
	} else if (sscanf(key, "guest.%d.%u", &pid, &node) == 2) {
		struct guest *g = calloc(1, sizeof(*g));

		if (!g)
			return;
		g->w = w;
		g->pid = pid;
		g->home = node;
		g->pidfd = pid1_get(w->pid1, key);
		list_add_tail(&w->guests, &g->link);
	}
}

int site_open(struct world *w)
{
	int r;

	list_init(&w->guests);
	list_init(&w->arrivals);
	list_init(&w->ending);
	rpc_serve(w->peer_rpc, PEER_RUN, on_run, w);
	rpc_serve(w->peer_rpc, PEER_RAISE, on_raise, w);
	/* Guests first: what has become one is no stub any more. */
	r = pid1_list(w->pid1, "guest.", adopt_kin, w);
	if (r == 0)
		r = pid1_list(w->pid1, "kin.", adopt_kin, w);
	if (r == 0)
		r = pid1_list(w->pid1, "zygote.", adopt_kin, w);
	return r;
}
