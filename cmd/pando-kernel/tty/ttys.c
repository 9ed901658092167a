/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttys.c - guests' calls that act on a terminal of which others on other nodes are users too.
 *
 *	caller at a carrier      this kernel                     owner
 *	TCSETS ----------------> waits until what was written
 *	                         before has arrived (T3)
 *	                         CALL -------------------------> makes the call
 *	                         makes the carrier fit <-------- modes
 *	<----------------------- answer
 *
 * Who may not (in the background, without ignoring SIGTTOU) is left to the host's kernel: that
 * stops it, or not, and after a stop it comes again.
 */
#include "cmd/pando-kernel/tty/ttys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <termios.h>

#include "base/clock.h"
#include "base/log.h"
#include "kernel/host/mem.h"
#include "kernel/proc/stub.h"

#define SAY_NS    (3 * NS_PER_S)
#define FLUSH_NS  (1 * NS_PER_MS)
#define SETTLE_NS (2 * NS_PER_S) /* frozen */
#define FLUSHES_MAX                                                                                \
	300 /* a terminal that ctrl-S has stopped keeps nobody from setting its modes              \
	     */
#define CALLS_MAX 64

/* ---- messages ---- */
struct saying {
	struct world *w;
	ttys_answer_fn done;
	void *arg;
	size_t len;
	uint8_t body[];
};

static void on_answer(void *arg, int err, const struct rpc_msg *m)
{
	struct saying *x = arg;
	Peer__Tty *q = err == 0 ? peer__tty__unpack(NULL, m->len, m->body) : NULL;

	if (err == 0 && !q)
		err = -EPROTO;
	if (x->done)
		x->done(x->arg, err, q);
	else if (err != 0 && err != -ENOENT)
		log_debug("a terminal's word did not arrive: %s", strerror(-err));
	if (q)
		peer__tty__free_unpacked(q, NULL);
	free(x);
}

static void on_peer(void *arg, int err, struct rpc_conn *c)
{
	struct saying *x = arg;
	struct rpc_msg m = { .method = PEER_TTY, .body = x->body, .len = x->len };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(x->w->loop) + SAY_NS };

	if (err == 0)
		err = rpc_request(c, &m, &o, on_answer, x, NULL);
	if (err != 0)
		on_answer(x, err, NULL);
}

void ttys_say(struct world *w, node_id node, const Peer__Tty *q, ttys_answer_fn done, void *arg)
{
	size_t len = peer__tty__get_packed_size(q);
	struct saying *x = malloc(sizeof(*x) + len);

	if (!x) {
		if (done)
			done(arg, -ENOMEM, NULL);
		return;
	}
	*x = (struct saying){ .w = w, .done = done, .arg = arg, .len = len };
	(void)peer__tty__pack(q, x->body);
	peers_with(w, node, on_peer, x);
}

void ttys_answer(struct rpc_call *call, int err, const Peer__Tty *answer)
{
	uint8_t body[256];
	struct rpc_msg m = { .body = body };

	/* What we say back is modes, a number, or the bytes of one call. */
	if (answer && peer__tty__get_packed_size(answer) <= sizeof(body))
		m.len = peer__tty__pack(answer, body);
	answers_reply(call, err, &m);
}

static void on_message(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct world *w = arg;
	Peer__Tty *q = peer__tty__unpack(NULL, m->len, m->body);

	if (!q)
		answers_reply(call, -EPROTO, NULL);
	else if (q->word == PEER__TTY_WORD__TTY_RAISE) {
		groups_hear(w, rpc_conn_peer(c)->node, q);
		ttys_answer(call, 0, NULL);
	} else if (q->owner == w->node)
		terminals_hear(w, c, call, q);
	else
		carriers_hear(w, c, call, q);
	if (q)
		peer__tty__free_unpacked(q, NULL);
}

int ttys_root(struct world *w)
{
	char path[32];
	struct proc_list l;
	int fd, r = proc_scan(&l, &w->view);

	if (r != 0)
		return r;
	fd = -ESRCH;
	for (size_t i = 0; i < l.n && fd < 0; i++) {
		(void)snprintf(path, sizeof(path), "%d/root", l.v[i].t.pid);
		fd = openat(w->view.procfs, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	}
	proc_list_fini(&l);
	return fd;
}

void ttys_share(struct world *w, int more)
{
	(void)__atomic_add_fetch(&w->ttys_shared, (unsigned)more, __ATOMIC_RELEASE);
}

bool ttys_shared(const struct world *w)
{
	return __atomic_load_n(&w->ttys_shared, __ATOMIC_ACQUIRE) != 0;
}

/* ---- what travels ---- */
static void describe(struct world *w, unsigned local, uint32_t *owner, uint32_t *number)
{
	const struct carrier *c = carriers_find(w, local);

	*owner = c ? c->owner : w->node;
	*number = c ? c->number : local;
}

bool ttys_describe(struct world *w, pid_t pid, int number, Peer__Fd *out)
{
	int local = tty_find(w->view.procfs, pid, number);

	if (local < 0)
		return false;
	out->kind = PEER__FD_KIND__FD_TTY;
	describe(w, (unsigned)local, &out->tty_owner, &out->tty_number);
	return true;
}

static int modes_of(struct world *w, unsigned local, struct tty_modes *out)
{
	const struct carrier *c = carriers_find(w, local);
	int root, fd, r;

	if (c) {
		*out = c->modes;
		return 0;
	}
	root = ttys_root(w);
	if (root < 0)
		return root;
	fd = tty_open_slave(root, local, O_RDWR | O_NONBLOCK);
	(void)close(root);
	r = fd < 0 ? fd : tty_modes_get(fd, out);
	if (fd >= 0)
		(void)close(fd);
	return r;
}

void ttys_describe_leader(struct world *w, const struct proc_list *l, const struct proc *p,
			  Peer__Task *out)
{
	struct tty_modes *m;

	if (p->t.tty < 0 || p->t.gpid != p->t.sid)
		return;
	describe(w, (unsigned)p->t.tty, &out->tty_owner, &out->tty_number);
	/* Who is in front is told to carriers that somebody has open; others may be behind. */
	if (carriers_know_front(w, (unsigned)p->t.tty))
		out->tty_front = p->tpgid;
	m = malloc(sizeof(*m));
	if (m && modes_of(w, (unsigned)p->t.tty, m) == 0)
		out->tty_modes.len = sizeof(*m);
	out->tty_modes.data = (uint8_t *)m;
}

int ttys_take(struct world *w, const Peer__Fd *fd)
{
	const unsigned keep = O_ACCMODE | O_NONBLOCK | O_APPEND;
	struct carrier *c;
	int r;

	if (fd->tty_owner == w->node) {
		int root = ttys_root(w);

		if (root < 0)
			return root;
		r = tty_open_slave(root, fd->tty_number, (int)(fd->flags & keep));
		(void)close(root);
		return r;
	}
	r = carriers_get(w, fd->tty_owner, fd->tty_number, &c);
	return r == 0 ? carriers_slave(c, (int)(fd->flags & keep)) : r;
}

/* ---- who leaves ---- */
struct settling {
	struct world *w;
	unsigned local;
	void (*done)(void *arg, int err);
	void *arg;
	uint64_t end_ns;
	struct loop_timer again;
};

static void settling_end(struct settling *x, int err)
{
	loop_timer_clear(x->w->loop, &x->again);
	x->done(x->arg, err);
	free(x);
}

/* The owner's answer comes behind whatever it gave us to read before. */
static void on_settled(void *arg, int err, const Peer__Tty *answer)
{
	struct settling *x = arg;
	struct carrier *c = carriers_find(x->w, x->local);

	/* One that is gone will have hung up where it goes, too. */
	if (err == -ENOENT || err == -EIO)
		err = 0;
	if (err == 0 && c && carriers_has_typed(c))
		err = -EAGAIN;
	settling_end(x, err);
}

static void settle(struct settling *x);

static void on_settle_again(struct loop_timer *t)
{
	settle(container_of(t, struct settling, again));
}

static void settle(struct settling *x)
{
	struct carrier *c = carriers_find(x->w, x->local);
	Peer__Tty q = PEER__TTY__INIT;
	uint64_t now_ns = loop_now_ns(x->w->loop);

	if (!c) {
		settling_end(x, 0);
		return;
	}
	if (!carriers_flushed(c)) {
		if (now_ns >= x->end_ns ||
		    loop_timer_set(x->w->loop, &x->again, now_ns + FLUSH_NS, on_settle_again) != 0)
			settling_end(x, -EBUSY);
		return;
	}
	q.word = PEER__TTY_WORD__TTY_CALL;
	q.owner = c->owner;
	q.number = c->number;
	q.command = TIOCGWINSZ;
	ttys_say(x->w, c->owner, &q, on_settled, x);
}

void ttys_settle(struct world *w, pid_t pid, int number, void (*done)(void *arg, int err),
		 void *arg)
{
	int local = tty_find(w->view.procfs, pid, number);
	struct settling *x = local >= 0 ? calloc(1, sizeof(*x)) : NULL;

	if (!x) {
		done(arg, local >= 0 ? -ENOMEM : 0);
		return;
	}
	*x = (struct settling){ .w = w,
				.local = (unsigned)local,
				.done = done,
				.arg = arg,
				.end_ns = loop_now_ns(w->loop) + SETTLE_NS };
	settle(x);
}

/* ---- the foreground group, set by a stub ---- */
struct fronting {
	void (*done)(void *arg, int err);
	void *arg;
};

static void on_fronted(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct fronting *x = arg;

	x->done(x->arg, err != 0 ? err : (int)t->calls[0].ret);
	free(x);
}

static struct stub *fronter(struct world *w, const struct proc_list *l, unsigned local)
{
	for (size_t i = 0; i < l->n; i++) {
		struct stub *s = stubs_find(w->stubs, l->v[i].t.gpid);

		if (s && !s->leaving && !s->turning && l->v[i].t.tty == (int)local &&
		    strchr("SRD", l->v[i].t.state))
			return s;
	}
	return NULL;
}

static bool has_group(const struct proc_list *l, unsigned local, gpid pgid)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].t.pgid == pgid && l->v[i].t.tty == (int)local)
			return true;
	return false;
}

int ttys_set_front(struct world *w, unsigned local, int fd, gpid pgid, gpid instead,
		   void (*done)(void *arg, int err), void *arg)
{
	struct proc_list l;
	struct stub *s = NULL;
	struct stub_table *t = NULL;
	struct fronting *x = malloc(sizeof(*x));
	int r = proc_scan(&l, &w->view);
	int32_t group;

	if (r == 0 && !has_group(&l, local, pgid))
		pgid = instead;
	if (r == 0 && has_group(&l, local, pgid))
		s = fronter(w, &l, local);
	if (r == 0)
		proc_list_fini(&l);
	if (s && x)
		t = stub_table_new();
	if (!t) {
		(void)close(fd);
		free(x);
		return -ENOENT;
	}
	*x = (struct fronting){ done, arg };
	group = pgid;
	t->fds[t->nfds].fd = fd;
	t->fds[t->nfds].owned = true;
	t->fds[t->nfds++].at = 0;
	STUB_CALL(t, SYS_ioctl, 0, TIOCSPGRP, stub_table_bytes(t, &group, sizeof(group)));
	STUB_CALL(t, SYS_close, 0);
	r = stub_table_give(s, t, on_fronted, x);
	if (r != 0)
		free(x);
	return r;
}

/* ---- a guest's call ---- */
struct tty_calling {
	struct world *w;
	struct init_slot *slot;
	pid_t pid;
	unsigned local;
	unsigned command;
	uint64_t arg;
	struct tty_call call;
	uint8_t data[TTY_CALL_MAX];
	unsigned flushes;
	struct loop_timer again;
};

static void answer_run(struct world *w, struct init_slot *s)
{
	notify_set_run(s);
	notify_answer(w->notify, s);
}

/* The host's kernel will stop it or refuse it; SIGTTOU of one that cares not stops nobody. */
static bool in_back(struct world *w, const struct task_info *t, unsigned local)
{
	char text[8192];
	const char *blocked, *ignored;
	uint64_t bit = UINT64_C(1) << (SIGTTOU - 1);

	if (t->tty != (int)local || t->node_tpgid <= 0 || t->node_tpgid == t->node_pgid)
		return false;
	if (task_file(w->view.procfs, t->pid, "status", text, sizeof(text)) < 0)
		return true;
	blocked = strstr(text, "\nSigBlk:");
	ignored = strstr(text, "\nSigIgn:");
	return !((blocked && (strtoull(blocked + 8, NULL, 16) & bit)) ||
		 (ignored && (strtoull(ignored + 8, NULL, 16) & bit)));
}

/* The owner cannot be asked: what was so when it last could. */
static int answer_from_memory(struct tty_calling *x, const struct carrier *c)
{
	struct winsize ws;

	if (x->call.sets || !c)
		return -EIO;
	if (x->command == TIOCGWINSZ) {
		if (ioctl(c->master, TIOCGWINSZ, &ws) < 0)
			return -errno;
		memcpy(x->data, &ws, sizeof(ws));
		return 0;
	}
	if (x->call.len < sizeof(c->modes)) /* TCGETA, which nobody uses */
		return -EIO;
	memset(x->data, 0, x->call.len);
	memcpy(x->data, &c->modes, sizeof(c->modes));
	return 0;
}

static void call_end(struct tty_calling *x, int err)
{
	if (err == 0 && !x->call.sets && mem_write(x->pid, x->arg, x->data, x->call.len) != 0)
		err = -EFAULT;
	if (err < 0)
		notify_set_errno(x->slot, err);
	else
		notify_set_value(x->slot, 0);
	notify_answer(x->w->notify, x->slot);
	loop_timer_clear(x->w->loop, &x->again);
	free(x);
}

static void on_called(void *arg, int err, const Peer__Tty *answer)
{
	struct tty_calling *x = arg;
	struct carrier *c = carriers_find(x->w, x->local);

	if (err == 0 && !x->call.sets && answer->data.len != x->call.len)
		err = -EPROTO;
	if (err == 0 && c)
		carriers_modes(c, &answer->modes);
	if (err == 0 && c && x->call.sets) {
		int slave = carriers_slave(c, O_RDWR | O_NONBLOCK);

		if (slave >= 0) {
			tty_call_flush(slave, x->command, x->arg);
			(void)close(slave);
		}
	}
	if (err == 0 && !x->call.sets)
		memcpy(x->data, answer->data.data, x->call.len);
	else if (err == -ETIMEDOUT || err == -ECONNRESET || err == -ENOTCONN || err == -EPROTO ||
		 err == -EHOSTDOWN || err == -EBUSY)
		err = answer_from_memory(x, c);
	call_end(x, err);
}

static void on_flush_again(struct loop_timer *t);

static void call_go(struct tty_calling *x)
{
	struct carrier *c = carriers_find(x->w, x->local);
	Peer__Tty q = PEER__TTY__INIT;

	if (!c) {
		call_end(x, -EIO);
		return;
	}
	if (x->call.sets && !carriers_flushed(c) && x->flushes++ < FLUSHES_MAX &&
	    loop_timer_set(x->w->loop, &x->again, loop_now_ns(x->w->loop) + FLUSH_NS,
			   on_flush_again) == 0)
		return;
	q.word = PEER__TTY_WORD__TTY_CALL;
	q.owner = c->owner;
	q.number = c->number;
	q.command = x->command;
	q.value = x->arg;
	q.data.data = x->data;
	q.data.len = x->call.sets ? x->call.len : 0;
	ttys_say(x->w, c->owner, &q, on_called, x);
}

static void on_flush_again(struct loop_timer *t)
{
	call_go(container_of(t, struct tty_calling, again));
}

static struct tty_calling *calling_new(struct world *w, struct init_slot *s, unsigned local)
{
	const struct notify_call *n = notify_call(s);
	struct tty_calling *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->w = w;
	x->slot = s;
	x->pid = (pid_t)n->pid;
	x->local = local;
	x->command = (unsigned)n->args[1];
	x->arg = n->args[2];
	return x;
}

static void call_begin(struct world *w, struct init_slot *s, unsigned local,
		       const struct tty_call *call)
{
	struct tty_calling *x = calling_new(w, s, local);
	int r = x ? 0 : -ENOMEM;

	if (r == 0) {
		x->call = *call;
		if (call->sets && call->len > 0)
			r = mem_read(x->pid, x->arg, x->data, call->len);
	}
	if (r == 0 && !notify_valid(w->notify, s))
		r = -ESRCH;
	if (r == 0) {
		call_go(x);
		return;
	}
	free(x);
	notify_set_errno(s, r == -ENOMEM ? r : -EFAULT);
	notify_answer(w->notify, s);
}

/* ---- tcsetpgrp: the others first, then the host's own ---- */
static void front_end(void *arg)
{
	struct tty_calling *x = arg;
	struct world *w = x->w;

	answer_run(w, x->slot);
	free(x);
	terminals_look_again(w);
}

static void on_front_heard(void *arg, int err, const Peer__Tty *answer)
{
	front_end(arg);
}

static bool group_is_here(struct world *w, unsigned local, gpid pgid)
{
	struct proc_list l;
	bool here;

	if (proc_scan(&l, &w->view) != 0)
		return false;
	here = has_group(&l, local, pgid);
	proc_list_fini(&l);
	return here;
}

static void front_begin(struct world *w, struct init_slot *s, unsigned local,
			const struct task_info *t)
{
	struct carrier *c = carriers_find(w, local);
	struct tty_calling *x = NULL;
	Peer__Tty q = PEER__TTY__INIT;
	int32_t pgid;

	/* What the host will refuse is not told to anybody. */
	if (mem_read(t->pid, notify_call(s)->args[2], &pgid, sizeof(pgid)) == 0 &&
	    notify_valid(w->notify, s) && group_is_here(w, local, pgid))
		x = calling_new(w, s, local);
	if (!x) {
		answer_run(w, s);
		return;
	}
	if (!c) {
		terminals_front(w, local, NODE_NONE, pgid, front_end, x);
		return;
	}
	q.word = PEER__TTY_WORD__TTY_FRONT;
	q.owner = c->owner;
	q.number = c->number;
	q.value = (uint64_t)pgid;
	q.pid = t->gpid;
	ttys_say(w, c->owner, &q, on_front_heard, x);
}

void ttys_ioctl(struct world *w, struct init_slot *s)
{
	const struct notify_call *n = notify_call(s);
	unsigned command = (unsigned)n->args[1];
	int local = tty_find(w->view.procfs, (pid_t)n->pid, (int)n->args[0]);
	bool ours = local >= 0 && terminals_have(w, (unsigned)local);
	bool carried = local >= 0 && !ours && carriers_find(w, (unsigned)local);
	struct tty_call call = { 0 };
	struct task_info t;
	bool back;

	/* What a stub does is what others were told of already. */
	if ((!ours && !carried) || stubs_find_node_pid(w->stubs, (pid_t)n->pid) ||
	    task_read(&t, w->view.procfs, (pid_t)n->pid) != 0 ||
	    (command != TIOCSPGRP && !tty_call_find(command, &call))) {
		answer_run(w, s);
		return;
	}
	back = in_back(w, &t, (unsigned)local);
	if (command == TIOCSPGRP && !back) {
		front_begin(w, s, (unsigned)local, &t);
	} else if (command != TIOCSPGRP && carried &&
		   (!back || !call.sets || command == TIOCSWINSZ)) {
		call_begin(w, s, (unsigned)local, &call);
	} else {
		answer_run(w, s);
		if (ours)
			terminals_modes_changing(w, (unsigned)local);
	}
}

void ttys_look_again(struct world *w)
{
	pipes_look_again(w);
	terminals_look_again(w);
}

int ttys_open(struct world *w)
{
	rpc_serve(w->peer_rpc, PEER_TTY, on_message, w);
	terminals_open(w);
	carriers_open(w);
	groups_open(w);
	return 0;
}
