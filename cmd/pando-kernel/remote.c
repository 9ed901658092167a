/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote.c - stubs of processes that execute elsewhere. What is raised in one goes to the site; how
 * the process changes at the site is done to the stub, and so the host's own wait, job control and
 * pidfds see it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/log.h"
#include "cmd/pando-kernel/place.h"

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

void remote_raise(struct world *w, node_id site, gpid pid, int signo)
{
	struct raising *x = malloc(sizeof(*x));

	if (!x)
		return;
	*x = (struct raising){ pid, signo };
	peers_with(w, site, on_peer_raise, x);
}

void place_signal(struct world *w, struct stub *s, int signo)
{
	remote_raise(w, s->peer, s->gpid, signo);
}

void place_stub_died(struct world *w, struct stub *s)
{
	char key[INIT_KEY_MAX];

	(void)snprintf(key, sizeof(key), "remote.%d.%u", s->gpid, s->peer);
	(void)pid1_drop(w->pid1, key);
	/* Somebody killed the stub: the process dies the same death. */
	if (!s->leaving)
		remote_raise(w, s->peer, s->gpid, SIGKILL);
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

int remote_end(struct world *w, struct stub *s, int status)
{
	(void)pipes_flushed(w, s->gpid);
	return die_the_same(s, status);
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
		r = remote_end(w, s, q->status);
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

int remote_open(struct world *w)
{
	rpc_serve(w->peer_rpc, PEER_CHANGED, on_changed, w);
	return pid1_list(w->pid1, "remote.", adopt_one, w);
}
