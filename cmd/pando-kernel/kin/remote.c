/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote.c - stubs of processes that execute elsewhere. What is raised in one goes to the site; how
 * the process changes at the site is done to the stub, and so the host's own wait, job control and
 * pidfds see it.
 *
 * A stub that has told of a signal is answered when the site has it; the site that has told of an
 * end when the stub has died. So whichever of us dies in between is told again.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/exec/place.h"

#define AGAIN_NS  (300 * NS_PER_MS)
#define KILLED_NS (100 * NS_PER_MS)

struct remote {
	struct list link;
	struct world *w;
	struct kept_place *k;
	struct stub *stub;       /* NULL: it was killed, and the process is being */
	struct rpc_call *ending; /* whoever told of the end waits */
	struct rpc_call *stopping;
	int status;     /* of that end */
	unsigned conts; /* SIGCONTs of ours that the stub will tell of */
};

/* A signal on its way to another node, until that has answered. */
struct raising {
	struct list link;
	struct world *w;
	node_id to;
	gpid pid;
	int signo;
	siginfo_t si;
	uint64_t key;
	struct stub *stub;       /* waits; NULL: none, or it has died */
	struct kept_place *kill; /* the record that ends with it */
	struct loop_timer again;
};

/* ---- records ---- */
static void place_key(const struct world *w, const struct kept_place *k, char key[INIT_KEY_MAX])
{
	(void)snprintf(key, INIT_KEY_MAX, "place.%u", (unsigned)(k - w->kept->places));
}

struct kept_place *place_keep(struct world *w, const struct kept_place *want, int pidfd)
{
	struct kept_place *k = NULL;
	char key[INIT_KEY_MAX];

	for (size_t i = 0; i < KEPT_PLACES && !k; i++)
		if (w->kept->places[i].state == KEPT_FREE)
			k = &w->kept->places[i];
	if (!k)
		return NULL;
	*k = *want;
	if (k->life == 0)
		k->life = peers_life(w, k->site);
	kept_state_set(&k->state, KEPT_CHANGING);
	place_key(w, k, key);
	if (pid1_put(w->pid1, key, pidfd) < 0) {
		kept_state_set(&k->state, KEPT_FREE);
		return NULL;
	}
	kept_state_set(&k->state, KEPT_THERE);
	FAULT("kernel.place.kept");
	return k;
}

void place_forget(struct world *w, struct kept_place *k)
{
	char key[INIT_KEY_MAX];

	kept_state_set(&k->state, KEPT_CHANGING);
	place_key(w, k, key);
	pid1_forget(w->pid1, key);
	kept_state_set(&k->state, KEPT_FREE);
}

bool place_has(const struct world *w, gpid pid)
{
	for (size_t i = 0; i < KEPT_PLACES; i++)
		if (w->kept->places[i].state == KEPT_THERE && w->kept->places[i].pid == pid)
			return true;
	return false;
}

bool remote_want(const struct world *w, node_id node)
{
	for (size_t i = 0; i < KEPT_PLACES; i++)
		if (w->kept->places[i].state == KEPT_THERE && w->kept->places[i].site == node)
			return true;
	return false;
}

static bool is_over(const struct world *w, const struct kept_place *k)
{
	return peers_over(w, k->site, k->life);
}

static struct remote *remote_find(struct world *w, gpid pid)
{
	struct remote *r;

	list_for_each (r, &w->remotes, link)
		if (r->k->pid == pid)
			return r;
	return NULL;
}

bool remote_is_well(struct world *w, gpid pid)
{
	const struct remote *r = remote_find(w, pid);

	return r && !is_over(w, r->k);
}

int remote_begin(struct world *w, struct kept_place *k)
{
	struct remote *r = calloc(1, sizeof(*r));
	int err = r ? stubs_add(w->stubs, k->pid, &r->stub) : -ENOMEM;

	if (err != 0) {
		free(r);
		return err;
	}
	r->w = w;
	r->k = k;
	r->stub->peer = k->site;
	r->stub->home = true;
	k->phase = PLACE_STUB;
	list_add_tail(&w->remotes, &r->link);
	return 0;
}

int remote_left(struct world *w, gpid pid, node_id site, epoch_t life)
{
	const struct kept_place want = {
		.phase = PLACE_STUB, .pid = pid, .site = site, .life = life
	};
	struct remote *r = remote_find(w, pid);
	struct kept_place *k;
	struct task_info t;
	int fd, err;

	if (r) {
		remote_moved(w, pid, site);
		r->k->life = life;
		return 0;
	}
	fd = proc_open(&w->view, pid, &t);
	if (fd < 0)
		return fd;
	k = place_keep(w, &want, fd);
	(void)close(fd);
	err = k ? remote_begin(w, k) : -ENOSPC;
	if (err != 0 && k)
		place_forget(w, k);
	return err;
}

void remote_moved(struct world *w, gpid pid, node_id site)
{
	struct remote *r = remote_find(w, pid);

	if (!r)
		return;
	r->k->site = site;
	r->k->life = peers_life(w, site);
	r->stub->peer = site;
}

/* ---- signals ---- */
static void raise_begin(struct raising *x);
static node_id where_now(const struct raising *x);
static struct remote *remote_find(struct world *w, gpid pid);

static void raising_free(struct raising *x)
{
	struct stub *s = x->stub;

	loop_timer_clear(x->w->loop, &x->again);
	list_del(&x->link);
	if (x->kill)
		place_forget(x->w, x->kill);
	free(x);
	if (s)
		stubs_go_on(s);
}

/* A relative's stub asks where the place of its process is, which knows. */
static node_id where_now(const struct raising *x)
{
	const struct stub *s = stubs_find(x->w->stubs, x->pid);
	node_id home = home_of(x->w, x->pid);

	if (x->kill)
		return x->kill->site;
	if (s && s->peer != NODE_NONE && (s->home || home_is_over(x->w, x->pid)))
		return s->peer;
	return s && home != NODE_NONE && home != x->w->node ? home : x->to;
}

static void on_raise_again(struct loop_timer *t)
{
	raise_begin(container_of(t, struct raising, again));
}

/* It is there, or there is nobody: else the node is asked until it answers. */
static void on_raised(void *arg, int err, const struct rpc_msg *m)
{
	struct raising *x = arg;

	/* It has moved while this was on its way. */
	if (err == -ESRCH && where_now(x) != x->to) {
		raise_begin(x);
		return;
	}
	if (err == 0 || err == -ESRCH || err == -EINVAL || err == -EACCES || err == -EPERM ||
	    peers_gone(x->w, x->to) || (x->kill && is_over(x->w, x->kill))) {
		raising_free(x);
		return;
	}
	if (loop_timer_set(x->w->loop, &x->again, loop_now_ns(x->w->loop) + AGAIN_NS,
			   on_raise_again) != 0)
		log_error("cannot wait: out of memory");
}

static void on_peer_raise(void *arg, int err, struct rpc_conn *c)
{
	struct raising *x = arg;
	Peer__Raise q = PEER__RAISE__INIT;
	uint8_t body[64];
	struct rpc_msg m = { .method = PEER_RAISE, .body = body };
	struct rpc_opts o = { .key = x->key };

	q.pid = x->pid;
	q.signo = x->signo;
	q.code = x->si.si_code;
	q.sender = x->si.si_pid;
	q.uid = x->si.si_uid;
	q.value = (uint64_t)(uintptr_t)x->si.si_value.sival_ptr;
	m.len = peer__raise__pack(&q, body);
	if (err == 0)
		err = rpc_request(c, &m, &o, on_raised, x, NULL);
	if (err != 0)
		on_raised(x, err, NULL);
}

static void raise_begin(struct raising *x)
{
	x->to = where_now(x);
	peers_with(x->w, x->to, on_peer_raise, x);
}

static struct raising *raising_new(struct world *w, node_id to, gpid pid, int signo)
{
	struct raising *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->w = w;
	x->to = to;
	x->pid = pid;
	x->signo = signo;
	list_add_tail(&w->raisings, &x->link);
	return x;
}

/* The process at the site dies, however long that takes; then its record is dropped. */
void remote_kill(struct world *w, struct kept_place *k)
{
	struct raising *x = raising_new(w, k->site, k->pid, SIGKILL);

	k->phase = PLACE_KILL;
	pipes_drop(w, k->pid, true);
	if (!x)
		return; /* a successor does it */
	x->kill = k;
	raise_begin(x);
}

static void on_kin_killed(struct loop_timer *t)
{
	struct raising *x = container_of(t, struct raising, again);

	if (x->w->zygote == 0)
		raising_free(x);
	else
		raise_begin(x);
}

/*
 * Somebody here has killed a relative's stub: he meant the process. A moment later, for where all
 * are killed, the zygote among them, it is the node that ends, not the process.
 */
void remote_kin_killed(struct world *w, const struct stub *s)
{
	node_id home = home_of(w, s->gpid);
	node_id to = home != NODE_NONE && home != w->node ? home : s->peer;
	struct raising *x = to == NODE_NONE ? NULL : raising_new(w, to, s->gpid, SIGKILL);

	if (x && loop_timer_set(w->loop, &x->again, loop_now_ns(w->loop) + KILLED_NS,
				on_kin_killed) != 0)
		raising_free(x);
}

bool remote_signal(struct world *w, struct stub *s, int signo, const siginfo_t *si, uint64_t key)
{
	struct remote *r = s->home ? remote_find(w, s->gpid) : NULL;
	struct raising *x;

	if (s->leaving || s->peer == NODE_NONE || s->gpid == w->zygote)
		return true;
	/* It was pending when its process left, which has it. */
	if (s->swallow & (UINT64_C(1) << (signo - 1))) {
		s->swallow &= ~(UINT64_C(1) << (signo - 1));
		return true;
	}
	if (signo == SIGCONT && r && r->conts > 0) {
		r->conts--;
		return true;
	}
	x = raising_new(w, s->peer, s->gpid, signo);
	if (!x) {
		log_warn("signal %d of pid %d is lost: out of memory", signo, s->gpid);
		return true;
	}
	x->si = *si;
	x->key = key;
	x->stub = s;
	raise_begin(x);
	return false;
}

int remote_pass(struct world *w, const struct stub *s, const Peer__Raise *q)
{
	struct raising *x = raising_new(w, s->peer, s->gpid, q->signo);

	if (!x)
		return -ENOMEM;
	x->si.si_code = q->code;
	x->si.si_pid = q->sender;
	x->si.si_uid = q->uid;
	x->si.si_value.sival_ptr = (void *)(uintptr_t)q->value;
	raise_begin(x);
	return 0;
}

/* ---- the stub's end ---- */
static void call_answer(struct rpc_call **call, int err)
{
	if (*call)
		answers_reply(*call, err, NULL);
	*call = NULL;
}

void remote_forget_stub(struct world *w, const struct stub *s)
{
	struct raising *x;

	list_for_each (x, &w->raisings, link)
		if (x->stub == s)
			x->stub = NULL;
}

void remote_stub_died(struct world *w, struct stub *s)
{
	struct remote *r = remote_find(w, s->gpid);

	remote_forget_stub(w, s);
	if (!s->home || !r)
		return;
	FAULT("kernel.remote.died");
	/*
	 * Somebody killed the stub: the process dies the same death. Where all ends it does not:
	 * its place goes with the store, and until then says that it goes on elsewhere (guests.c).
	 */
	if (pid1_is_gone(w->pid1))
		log_debug("pid %d goes on elsewhere", s->gpid);
	else if (s->leaving)
		place_forget(w, r->k);
	else
		remote_kill(w, r->k);
	call_answer(&r->ending, 0);
	call_answer(&r->stopping, 0);
	list_del(&r->link);
	free(r);
}

static void on_death_table(void *arg, struct stub *s, int err, struct stub_table *t)
{
	/* -ESRCH: it died, which is what was asked for. */
	if (err == 0)
		log_error("stub %d has not died", s->gpid);
}

static bool is_stopped(const struct world *w, const struct stub *s)
{
	struct task_info t;
	char text[1024];

	return task_file(w->view.procfs, s->pid, "stat", text, sizeof(text)) > 0 &&
	       task_parse_stat(&t, text) == 0 && t.state == 'T';
}

/*
 * Dumpable, for newer hosts hide from us the zombies of who was not: whoever moves with such a
 * child could not be told apart from one that has waited for it. No guest may trace a stub for all
 * that, which has a capability that guests have not.
 */
static int give_death(struct stub *s, int status)
{
	struct stub_table *t = stub_table_new();
	int signo = WTERMSIG(status); /* 0: it has exited */
	struct rlimit no_core = { 0, 0 };
	uint64_t mask, set = signo > 0 ? UINT64_C(1) << (signo - 1) : 0;

	if (!t)
		return -ENOMEM;
	STUB_CALL(t, SYS_prctl, PR_SET_DUMPABLE, 1);
	if (WIFEXITED(status)) {
		STUB_CALL(t, SYS_exit_group, (uint64_t)WEXITSTATUS(status));
	} else {
		const uint64_t dfl[4] = { 0 };

		/* An ignored signal does not kill; the process had its own mind about it. */
		mask = stub_table_bytes(t, dfl, sizeof(dfl));
		STUB_CALL(t, SYS_rt_sigaction, (uint64_t)signo, mask, 0, 8);
		mask = stub_table_bytes(t, &no_core, sizeof(no_core));
		STUB_CALL(t, SYS_prlimit64, 0, RLIMIT_CORE, mask, 0);
		STUB_CALL(t, SYS_kill, (uint64_t)s->gpid, (uint64_t)signo);
		mask = stub_table_bytes(t, &set, sizeof(set));
		STUB_CALL(t, SYS_rt_sigprocmask, SIG_UNBLOCK, mask, 0, sizeof(set));
	}
	return stub_table_give(s, t, on_death_table, NULL);
}

static int stub_end(struct world *w, struct stub *s, int status)
{
	bool stopped = is_stopped(w, s);
	int err;

	s->ended = status + 1;
	if (stopped && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		s->leaving = true;
		return task_pidfd_signal(s->pidfd, SIGKILL);
	}
	err = give_death(s, status);
	if (err != 0)
		return err;
	s->leaving = true;
	stubs_go_on(s);
	return stopped ? task_pidfd_signal(s->pidfd, SIGCONT) : 0;
}

static int remote_end(struct remote *r, int status)
{
	if (r->stub->leaving)
		return 0;
	(void)pipes_flushed(r->w, r->stub->gpid);
	return stub_end(r->w, r->stub, status);
}

int remote_end_kin(struct world *w, struct stub *s, int status)
{
	return s->leaving ? 0 : stub_end(w, s, status);
}

/* Stops as the process did; SIGCONT wakes the stub, which is told to us and goes on to the site. */
static int give_stop(struct stub *s, int status, void (*given)(void *arg, struct stub *s),
		     void (*done)(void *arg, struct stub *s, int err, struct stub_table *t),
		     void *arg)
{
	struct stub_table *t = stub_table_new();
	uint64_t set = UINT64_C(1) << (WSTOPSIG(status) - 1), at;
	int err;

	if (!t)
		return -ENOMEM;
	t->given = given;
	at = stub_table_bytes(t, &set, sizeof(set));
	STUB_CALL(t, SYS_kill, (uint64_t)s->gpid, (uint64_t)WSTOPSIG(status));
	STUB_CALL(t, SYS_rt_sigprocmask, SIG_UNBLOCK, at, 0, sizeof(set));
	STUB_CALL(t, SYS_rt_sigprocmask, SIG_BLOCK, at, 0, sizeof(set));
	err = stub_table_give(s, t, done, arg);
	if (err == 0)
		stubs_go_on(s);
	return err;
}

static void on_stop_given(void *arg, struct stub *s)
{
	struct remote *r = arg; /* it lives as long as its stub is one */

	call_answer(&r->stopping, 0);
}

static void on_stop_table(void *arg, struct stub *s, int err, struct stub_table *t)
{
}

static int remote_stop(struct remote *r, int status)
{
	if (r->stub->leaving || is_stopped(r->w, r->stub)) {
		call_answer(&r->stopping, 0);
		return 0;
	}
	return give_stop(r->stub, status, on_stop_given, on_stop_table, r);
}

/* Continued where it executes, not by us. -EAGAIN: the stub is about to stop. */
static int remote_continue(struct remote *r)
{
	if (r->stub->leaving)
		return 0;
	if (!is_stopped(r->w, r->stub))
		return r->stub->running || !list_empty(&r->stub->tables) ? -EAGAIN : 0;
	r->conts++;
	return task_pidfd_signal(r->stub->pidfd, SIGCONT);
}

static void wait_answer(struct rpc_call **where, struct rpc_call *call)
{
	call_answer(where, -EAGAIN);
	*where = call;
}

/* Whoever waits for it sees what it has used. */
static void on_may_end(struct world *w, gpid pid)
{
	struct remote *r = remote_find(w, pid);
	int err = r && r->ending ? remote_end(r, r->status) : 0;

	if (err != 0 && err != -ESRCH)
		call_answer(&r->ending, err);
}

static void change(struct remote *r, int status, struct rpc_call *call)
{
	int err;

	if (WIFCONTINUED(status)) {
		answers_reply(call, remote_continue(r), NULL);
	} else if (WIFSTOPPED(status)) {
		wait_answer(&r->stopping, call);
		err = remote_stop(r, status);
		if (err != 0)
			call_answer(&r->stopping, err);
	} else {
		wait_answer(&r->ending, call);
		r->status = status;
		usage_ready(r->w, r->stub, on_may_end);
	}
}

/* Its parent may be here, and waits for stops too. */
struct kin_stop {
	struct rpc_call *call;
};

static void on_kin_stop_given(void *arg, struct stub *s)
{
	struct kin_stop *x = arg;

	call_answer(&x->call, 0);
}

static void on_kin_stop_table(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct kin_stop *x = arg;

	call_answer(&x->call, -EAGAIN); /* it was not given */
	free(x);
}

static void kin_stop(struct stub *s, int status, struct rpc_call *call)
{
	struct kin_stop *x = malloc(sizeof(*x));

	if (x)
		x->call = call;
	if (!x || give_stop(s, status, on_kin_stop_given, on_kin_stop_table, x) != 0) {
		free(x);
		answers_reply(call, -EAGAIN, NULL);
	}
}

/* The SIGCONT that continues it is not its process's again. */
static int kin_continue(struct stub *s)
{
	s->swallow |= UINT64_C(1) << (SIGCONT - 1);
	return task_pidfd_signal(s->pidfd, SIGCONT);
}

/* A relative's stub dies too; whoever tells asks until it has. */
static int kin_end(struct world *w, gpid pid, int status)
{
	struct stub *s;

	come_ended(w, pid);
	s = stubs_find(w->stubs, pid);
	if (s && !s->arriving && remote_end_kin(w, s, status) == -ESRCH)
		return 0;
	return s ? -EAGAIN : 0;
}

/* A stop or going on that its stub has not made yet. */
static bool kin_lags(const struct world *w, const struct stub *s, int status)
{
	return !s->leaving && !s->arriving && is_stopped(w, s) != WIFSTOPPED(status);
}

static void kin_changed(struct world *w, gpid pid, int status, struct rpc_call *call)
{
	struct stub *s = stubs_find(w->stubs, pid);
	bool ends = !WIFSTOPPED(status) && !WIFCONTINUED(status);
	int err = 0;

	/* It has left, and is not its stub yet. */
	if (!s && (move_is_busy(w, pid) || (ends && kin_is_making(pid))))
		err = -EAGAIN;
	/* One that an exec makes its process: who sent it sees that it was killed. One that a move
	 * does: where it has ended it was, and stays. */
	if (s && !s->home && (!s->turning || s->arriving)) {
		if (ends) {
			err = kin_end(w, pid, status);
		} else if (kin_lags(w, s, status) && WIFSTOPPED(status)) {
			kin_stop(s, status, call);
			return;
		} else if (kin_lags(w, s, status)) {
			err = kin_continue(s);
		}
	}
	answers_reply(call, err, NULL);
}

/* Its orphans are there, or have none to bear them. */
static void changed(struct world *w, Peer__Changed *q, node_id from, struct rpc_call *call)
{
	struct remote *r = remote_find(w, q->pid);

	if (WIFEXITED(q->status) || WIFSIGNALED(q->status)) {
		usage_told(w, q);
		FAULT("kernel.remote.used");
	}
	/* On its way to being a stub: soon. Unknown: it was told before. */
	if (r)
		change(r, q->status, call);
	else if (!placing_changed(w, q->pid, from, q->status, call))
		kin_changed(w, q->pid, q->status, call);
	peer__changed__free_unpacked(q, NULL);
}

static void on_changed(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct world *w = arg;
	Peer__Changed *q = peer__changed__unpack(NULL, m->len, m->body);
	struct remote *r = q ? remote_find(w, q->pid) : NULL;
	node_id from = rpc_conn_peer(c)->node;

	FAULT("kernel.remote.changed");
	/* Of another node: not its to tell. */
	if (!q)
		answers_reply(call, -EPROTO, NULL);
	else if ((r && r->k->site != from) || (q->n_orphans > 0 && place_is_busy(w, q->pid))) {
		/* Its record is not here yet, or the stub that is to bear its orphans. */
		answers_reply(call, -EAGAIN, NULL);
		peer__changed__free_unpacked(q, NULL);
	} else if (!reapers_bear(w, q, from, call, changed)) {
		changed(w, q, from, call);
	}
}

void remote_changed(struct world *w, gpid pid, int status, struct rpc_call *call)
{
	struct remote *r = remote_find(w, pid);

	if (r)
		change(r, status, call);
	else
		answers_reply(call, 0, NULL);
}

void remote_drop(struct world *w, struct stub *s)
{
	struct remote *r = remote_find(w, s->gpid);

	if (!r)
		return;
	call_answer(&r->ending, 0);
	call_answer(&r->stopping, 0);
	place_forget(w, r->k);
	list_del(&r->link);
	free(r);
}

const struct kept_place *remote_place(struct world *w, gpid pid)
{
	const struct remote *r = remote_find(w, pid);

	return r && !r->stub->leaving && !r->stub->arriving && !r->stub->turning ? r->k : NULL;
}

int remote_let_go(struct world *w, gpid pid)
{
	struct remote *r = remote_find(w, pid);
	struct stub *s = r ? r->stub : NULL;
	char key[INIT_KEY_MAX];
	int err;

	/* What it does just now it does for the place, and tells what it got as one. */
	if (!r || r->ending || r->stopping || r->conts > 0 || !stub_is_idle(s))
		return -EBUSY;
	(void)snprintf(key, sizeof(key), "kin.%d.%u", pid, s->peer);
	err = pid1_put(w->pid1, key, s->pidfd);
	if (err < 0 && err != -EEXIST)
		return err;
	FAULT("kernel.remote.both");
	place_forget(w, r->k);
	list_del(&r->link);
	free(r);
	s->home = false;
	s->heard = true;
	return 0;
}

int remote_take(struct world *w, struct stub *s)
{
	char key[INIT_KEY_MAX];

	if (s->home) {
		remote_drop(w, s);
	} else {
		(void)snprintf(key, sizeof(key), "kin.%d.%u", s->gpid, s->peer);
		pid1_forget(w->pid1, key);
	}
	remote_forget_stub(w, s);
	return stubs_take(s);
}

/* ---- the site's death ---- */
/* Nobody will tell how it ended: as whatever a host takes with it does. */
void remotes_look_at_lives(struct world *w)
{
	struct remote *r, *tmp;

	list_for_each_safe (r, tmp, &w->remotes, link) {
		if (!is_over(w, r->k) || r->stub->leaving || r->stub->arriving)
			continue;
		log_info("pid %d died with node %u", r->k->pid, r->k->site);
		if (remote_end(r, SIGKILL) != 0)
			log_debug("stub %d is dead already", r->k->pid);
	}
}

/* ---- after a predecessor's death ---- */
int remote_open(struct world *w)
{
	int err = 0;

	list_init(&w->remotes);
	list_init(&w->raisings);
	rpc_serve(w->peer_rpc, PEER_CHANGED, on_changed, w);
	for (size_t i = 0; i < KEPT_PLACES && err == 0; i++) {
		struct kept_place *k = &w->kept->places[i];

		if (k->state == KEPT_CHANGING)
			place_forget(w, k);
		if (k->state != KEPT_THERE)
			continue;
		if (k->phase == PLACE_STUB)
			err = remote_begin(w, k);
		if (err == -ESRCH || k->phase == PLACE_KILL) {
			remote_kill(w, k);
			err = 0;
		}
	}
	return err;
}
