/* SPDX-License-Identifier: Apache-2.0 */
/* fabric.c - the fabric of an rpc instance: its queues before the loop sleeps; listening, dialling.
 */
#include "rpc/fabric/fabric.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/trace.h"

#define DIAL_MIN_NS (50 * NS_PER_MS)
#define DIAL_MAX_NS (2 * NS_PER_S)

struct rpc_listener {
	struct list link;
	struct rpc *rpc;
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_eq *eq;
	struct fid_pep *pep;
	struct fab_wait wait;
	bool used; /* as fab_pipe.eq_used */
	rpc_conn_fn cb;
	void *arg;
};

static void on_connreq(struct rpc_listener *l);

/* ---- the instance's part ---- */

static void on_again(struct loop_timer *t)
{
	struct rpc_fabric *f = container_of(t, struct rpc_fabric, again);
	struct fab_pipe *p, *next;
	struct rpc_listener *l;

	list_for_each_safe (p, next, &f->pipes, link) {
		bool gone = false;

		p->gone = &gone;
		fab_pipe_on_cq(p);
		if (gone)
			return; /* the list may have changed: the next turn asks again */
		fab_pipe_on_eq(p);
		if (gone)
			return;
		p->gone = NULL;
	}
	list_for_each (l, &f->listeners, link)
		on_connreq(l);
}

/* Keeps *@used set if the queue has more than its descriptor shows. */
static bool may_sleep(struct fid_fabric *fabric, struct fid *fid, bool *used)
{
	if (*used)
		*used = fi_trywait(fabric, &fid, 1) == -FI_EAGAIN;
	return !*used;
}

/*
 * Before the loop sleeps: a queue that may not be slept on is read in the next turn, at once. Each
 * question is a system call or two, so only queues that were used since the last answer are asked.
 */
static void before_sleep(struct loop_hook *h)
{
	struct rpc_fabric *f = container_of(h, struct rpc_fabric, hook);
	struct fab_pipe *p;
	struct rpc_listener *l;
	bool ok = true;

	list_for_each (p, &f->pipes, link) {
		ok = may_sleep(p->fabric, &p->cq->fid, &p->cq_used) && ok;
		ok = may_sleep(p->fabric, &p->eq->fid, &p->eq_used) && ok;
	}
	list_for_each (l, &f->listeners, link)
		ok = may_sleep(l->fabric, &l->eq->fid, &l->used) && ok;
	if (!ok && loop_timer_set(f->rpc->loop, &f->again, 0, on_again) < 0)
		log_warn("rpc: no timer for the fabric");
}

static int fabric_get(struct rpc *r)
{
	struct rpc_fabric *f;

	if (r->fabric)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->rpc = r;
	list_init(&f->pipes);
	list_init(&f->listeners);
	loop_hook_add(r->loop, &f->hook, before_sleep);
	r->fabric = f;
	return 0;
}

static void listener_free(struct rpc_listener *l)
{
	fab_wait_del(l->rpc, &l->wait);
	FAB_CLOSE(l->pep);
	FAB_CLOSE(l->eq);
	FAB_CLOSE(l->fabric);
	fi_freeinfo(l->info);
	list_del(&l->link);
	free(l);
}

void rpc_fabric_free(struct rpc *r)
{
	struct rpc_fabric *f = r->fabric;

	if (!f)
		return;
	while (!list_empty(&f->listeners))
		listener_free(list_front(&f->listeners, struct rpc_listener, link));
	loop_hook_del(r->loop, &f->hook);
	loop_timer_clear(r->loop, &f->again);
}

void rpc_fabric_gone(struct rpc *r)
{
	if (r->fabric)
		CHECK(list_empty(&r->fabric->pipes));
	free(r->fabric);
	r->fabric = NULL;
}

/* ---- listening ---- */

static void accept_one(struct rpc_listener *l, struct fi_info *info)
{
	struct rpc_conn *c;
	struct fab_pipe *p;
	int err = rpc_conn_new(l->rpc, l->cb, l->arg, &c);

	if (err < 0) {
		(void)fi_reject(l->pep, info->handle, NULL, 0);
		fi_freeinfo(info);
		l->rpc->stats.refused_busy++;
		return;
	}
	c->accepted = true;
	err = rpc_seal_new(c, false, NULL);
	if (err == 0)
		err = fab_pipe_new(c, info, l->fabric, &p);
	else
		fi_freeinfo(info);
	if (err == 0)
		err = fi_accept(p->ep, NULL, 0);
	if (err == 0)
		err = rpc_delay_wrap(c);
	if (err < 0) {
		log_warn("rpc: cannot accept a connection: %s", strerror(-err));
		rpc_conn_close(c);
	}
}

static void on_connreq(struct rpc_listener *l)
{
	l->used = true;
	for (int i = 0; i < FAB_READS_MAX; i++) {
		struct fi_eq_cm_entry e;
		struct fi_eq_err_entry bad = { 0 };
		uint32_t event;
		ssize_t n = fi_eq_read(l->eq, &event, &e, sizeof(e), 0);

		if (n == -FI_EAVAIL)
			n = fi_eq_readerr(l->eq, &bad, 0);
		else if (n > 0 && event == FI_CONNREQ)
			accept_one(l, e.info);
		if (n <= 0)
			break;
	}
}

static void connreq_event(struct loop_fd *w, short revents)
{
	on_connreq(container_of(w, struct rpc_listener, wait.watch));
}

static int listener_open(struct rpc_listener *l)
{
	struct fi_eq_attr ea = { .wait_obj = FI_WAIT_FD };
	int err = fi_fabric(l->info->fabric_attr, &l->fabric, NULL);

	if (err == 0)
		err = fi_eq_open(l->fabric, &ea, &l->eq, NULL);
	if (err == 0)
		err = fi_passive_ep(l->fabric, l->info, &l->pep, NULL);
	if (err == 0)
		err = fi_pep_bind(l->pep, &l->eq->fid, 0);
	if (err == 0)
		err = fi_listen(l->pep);
	if (err == 0)
		err = fab_wait_add(l->rpc, &l->wait, &l->eq->fid, connreq_event);
	l->used = true;
	return err;
}

int rpc_listen(struct rpc *r, const char *provider, const char *addr, rpc_conn_fn cb, void *arg)
{
	struct rpc_listener *l;
	int err;

	if (!r->id)
		return -ENOKEY;
	err = fabric_get(r);
	if (err < 0)
		return err;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	list_init(&l->link);
	l->rpc = r;
	l->cb = cb;
	l->arg = arg;
	err = fab_provider_find(provider, addr, true, &l->info);
	if (err == 0)
		err = listener_open(l);
	if (err < 0) {
		listener_free(l);
		return err;
	}
	list_add_tail(&r->fabric->listeners, &l->link);
	return 0;
}

/* ---- dialling ---- */

struct rpc_dialer {
	struct rpc_conn *conn;
	char *provider; /* NULL: the best there is */
	char *addr;
	bool pinned;
	uint8_t key[RPC_KEY_BYTES];
	unsigned attempt; /* failed ones since it was up */
	struct loop_timer timer;
};

static int dial(struct rpc_conn *c)
{
	struct rpc_dialer *d = c->dialer;
	struct fi_info *info;
	struct fab_pipe *p;
	int err = fab_provider_find(d->provider, d->addr, false, &info);

	if (err < 0)
		return err;
	err = rpc_seal_new(c, true, d->pinned ? d->key : NULL);
	if (err < 0) {
		fi_freeinfo(info);
		return err;
	}
	err = fab_pipe_new(c, info, NULL, &p);
	if (err == 0)
		err = fi_connect(p->ep, p->info->dest_addr, NULL, 0);
	if (err == 0)
		err = rpc_delay_wrap(c);
	return err;
}

static void on_dial(struct loop_timer *t)
{
	struct rpc_dialer *d = container_of(t, struct rpc_dialer, timer);
	int err = dial(d->conn);

	d->conn->rpc->stats.redials++;
	if (err < 0)
		rpc_conn_lost(d->conn, err, NULL);
}

void rpc_dialer_up(struct rpc_conn *c)
{
	if (c->dialer)
		c->dialer->attempt = 0;
}

void rpc_dialer_again(struct rpc_conn *c)
{
	struct rpc_dialer *d = c->dialer;
	uint64_t wait_ns = rpc_backoff_ns(d->attempt++, DIAL_MIN_NS, DIAL_MAX_NS, &c->rpc->rnd);

	trace("rpc: dial again", (uintptr_t)c, d->attempt, wait_ns);
	if (loop_timer_set(c->rpc->loop, &d->timer, loop_now_ns(c->rpc->loop) + wait_ns, on_dial) <
	    0)
		log_warn("rpc: no timer to dial %s again", d->addr);
}

void rpc_dialer_free(struct rpc_conn *c)
{
	struct rpc_dialer *d = c->dialer;

	c->dialer = NULL;
	if (!d)
		return;
	loop_timer_clear(c->rpc->loop, &d->timer);
	free(d->provider);
	free(d->addr);
	free(d);
}

static int dialer_new(struct rpc_conn *c, const char *provider, const char *addr,
		      const uint8_t *peer_key)
{
	struct rpc_dialer *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	c->dialer = d;
	d->conn = c;
	d->addr = strdup(addr);
	d->provider = provider ? strdup(provider) : NULL;
	if (!d->addr || (provider && !d->provider))
		return -ENOMEM;
	d->pinned = peer_key != NULL;
	if (peer_key)
		memcpy(d->key, peer_key, sizeof(d->key));
	return 0;
}

int rpc_dial(struct rpc *r, const char *provider, const char *addr,
	     const uint8_t peer_key[RPC_KEY_BYTES], rpc_conn_fn cb, void *arg,
	     struct rpc_conn **out)
{
	struct rpc_conn *c;
	int err = r->id ? fabric_get(r) : -ENOKEY;

	if (err == 0)
		err = rpc_conn_new(r, cb, arg, &c);
	if (err < 0)
		return err;
	err = dialer_new(c, provider, addr, peer_key);
	if (err == 0)
		err = dial(c);
	if (err < 0) {
		rpc_conn_close(c);
		return err;
	}
	*out = c;
	return 0;
}
