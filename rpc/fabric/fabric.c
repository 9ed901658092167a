/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fabric.c - pipes over libfabric FI_EP_MSG endpoints, listening and dialling.
 *
 * Each endpoint has a domain, a completion queue and an event queue of its own:
 * then nothing of a closed endpoint can come out of a queue. Both queues are
 * waited for by descriptor; fi_trywait(3) is asked before the loop sleeps, for
 * a queue may hold something that its descriptor does not show.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <stdio.h>
#include <string.h>

#undef container_of /* libfabric's; ours is the same */

#include "base/check.h"
#include "base/log.h"
#include "base/trace.h"
#include "rpc/fabric/verbs.h"
#include "rpc/priv.h"

#define API         FI_VERSION(1, 17)
#define BUFFERS     8 /* each way */
#define BUF_BYTES   (64u << 10)
#define DIAL_MIN_NS (50 * NS_PER_MS)
#define DIAL_MAX_NS (2 * NS_PER_S)
#define READS_MAX   16 /* completions of one reading: others get their turn in between */

struct fab_buf {
	void *ctx; /* our address is the operation's context */
	bool receives;
	bool busy; /* the provider has it */
	struct list link;
	uint8_t *bytes;
};

/* One queue and how the loop watches it. */
struct fab_wait {
	struct loop_fd watch;
	struct fid *fid;
};

struct fab_pipe {
	struct rpc_pipe pipe;
	struct list link; /* rpc_fabric.pipes */
	struct fi_info *info;
	struct fid_fabric *fabric; /* ours only if own_fabric */
	bool own_fabric;
	struct fid_domain *domain;
	struct fid_ep *ep;
	struct fid_eq *eq;
	struct fid_cq *cq;
	struct fid_mr *mr;
	void *desc;
	struct fab_wait eq_wait, cq_wait;
	bool connected;
	bool full; /* a write found no buffer */
	bool paused;
	bool *gone;            /* set if we are freed while a callback runs */
	bool cq_used, eq_used; /* since fi_trywait() last said that it may be slept on */
	struct list tx_free;
	struct list rx_held; /* received while paused: not given back yet */
	struct fab_buf bufs[2 * BUFFERS];
	uint8_t *memory;
};

struct rpc_listener {
	struct list link;
	struct rpc *rpc;
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_eq *eq;
	struct fid_pep *pep;
	struct fab_wait wait;
	bool used; /* as above */
	rpc_conn_fn cb;
	void *arg;
};

struct rpc_fabric {
	struct rpc *rpc;
	struct list pipes;
	struct list listeners;
	struct loop_hook hook;
	struct loop_timer again; /* a queue has more than its descriptor shows */
};

static void on_cq(struct fab_pipe *p);
static void on_eq(struct fab_pipe *p);
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
		on_cq(p);
		if (gone)
			return; /* the list may have changed: the next turn asks again */
		on_eq(p);
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

static void close_fid(struct fid *fid)
{
	if (fid)
		(void)fi_close(fid);
}

#define CLOSE_FID(x) close_fid((x) ? &(x)->fid : NULL)

static void wait_del(struct rpc *r, struct fab_wait *w)
{
	loop_fd_del(r->loop, &w->watch);
}

static int wait_add(struct rpc *r, struct fab_wait *w, struct fid *fid,
		    void (*cb)(struct loop_fd *w, short revents))
{
	int fd, err = fi_control(fid, FI_GETWAIT, &fd);

	w->fid = fid;
	return err < 0 ? err : loop_fd_add(r->loop, &w->watch, fd, POLLIN, cb);
}

static void listener_free(struct rpc_listener *l)
{
	wait_del(l->rpc, &l->wait);
	CLOSE_FID(l->pep);
	CLOSE_FID(l->eq);
	CLOSE_FID(l->fabric);
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

/* ---- providers and addresses ---- */

/* "10.0.0.1:7300" or "[fe80::1]:7300". */
static int split_addr(const char *addr, char *host, size_t cap, const char **port)
{
	const char *colon = strrchr(addr, ':');
	uint8_t ip[16];
	size_t n;

	if (!colon || colon == addr || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
	    atoi(colon + 1) < 1 || atoi(colon + 1) > 65535)
		return -EINVAL;
	n = (size_t)(colon - addr);
	if (addr[0] == '[' && colon[-1] == ']') {
		addr++;
		n -= 2;
	}
	if (n == 0 || n >= cap)
		return -EINVAL;
	memcpy(host, addr, n);
	host[n] = '\0';
	*port = colon + 1;
	return inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1 ? 0
										       : -EINVAL;
}

/*
 * Before the first fi_ call: libfabric would load every provider, and those for hardware that is
 * not there read the kernel's whole symbol table (0.2 s here). An operator's own choice stands.
 */
static bool choose_providers(void)
{
	static int verbs = -1;

	if (verbs < 0) {
		verbs = rpc_verbs_port_active();
		if (setenv("FI_PROVIDER", verbs ? "tcp,verbs" : "tcp", 0) < 0)
			log_warn("rpc: no memory to choose libfabric's providers");
	}
	return verbs;
}

static int ask_provider(const char *provider, const char *host, const char *port, bool listens,
			struct fi_info **out)
{
	struct fi_info *h = fi_allocinfo();
	int r;

	if (!h)
		return -ENOMEM;
	h->ep_attr->type = FI_EP_MSG;
	h->caps = FI_MSG;
	h->mode = 0;
	h->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_VIRT_ADDR;
	h->domain_attr->threading = FI_THREAD_DOMAIN;
	h->fabric_attr->prov_name = strdup(provider);
	r = h->fabric_attr->prov_name
		    ? fi_getinfo(API, host, port, FI_NUMERICHOST | (listens ? FI_SOURCE : 0), h,
				 out)
		    : -ENOMEM;
	fi_freeinfo(h);
	return r;
}

static int find_provider(const char *provider, const char *addr, bool listens, struct fi_info **out)
{
	static const char *const in_order[] = { "verbs", "tcp" };
	char host[256];
	const char *port;
	bool verbs;
	int r = split_addr(addr, host, sizeof(host), &port);

	if (r < 0)
		return r;
	if (provider && strcmp(provider, "tcp") != 0 && strcmp(provider, "verbs") != 0)
		return -ENODEV;
	verbs = choose_providers();
	for (size_t i = verbs ? 0 : 1; i < ARRAY_LEN(in_order); i++) {
		if (provider && strcmp(provider, in_order[i]) != 0)
			continue;
		r = ask_provider(in_order[i], host, port, listens, out);
		if (r == 0)
			return 0;
	}
	if (r == 0 || r == -FI_ENODATA || r == -FI_ENOSYS)
		return -ENODEV;
	return r == -FI_EINVAL ? -EINVAL : r;
}

/* ---- a pipe ---- */

static int post(struct fab_pipe *p, struct fab_buf *b)
{
	ssize_t r = fi_recv(p->ep, b->bytes, BUF_BYTES, p->desc, 0, &b->ctx);

	b->busy = r == 0;
	return (int)r;
}

/* -FI_EAGAIN cannot last: we never post more than the queue holds. */
static ssize_t fab_write(struct rpc_pipe *pipe, const void *bytes, size_t len, const int *fds,
			 unsigned fd_count)
{
	struct fab_pipe *p = container_of(pipe, struct fab_pipe, pipe);
	struct fab_buf *b = list_first(&p->tx_free, struct fab_buf, link);
	size_t n = MIN(len, (size_t)BUF_BYTES);
	ssize_t r;

	if (!p->connected || !b) {
		p->full = true;
		return 0;
	}
	p->cq_used = true;
	if (n <= p->info->tx_attr->inject_size) {
		r = fi_inject(p->ep, bytes, n, 0); /* copied, and no completion to be read */
		if (r == -FI_EAGAIN)
			p->full = true;
		return r == -FI_EAGAIN ? 0 : r < 0 ? r : (ssize_t)n;
	}
	memcpy(b->bytes, bytes, n);
	r = fi_send(p->ep, b->bytes, n, p->desc, 0, &b->ctx);
	if (r == -FI_EAGAIN) {
		p->full = true;
		return 0;
	}
	if (r < 0)
		return r;
	b->busy = true;
	list_del(&b->link);
	return (ssize_t)n;
}

static void fab_pause(struct rpc_pipe *pipe, bool paused)
{
	struct fab_pipe *p = container_of(pipe, struct fab_pipe, pipe);

	p->paused = paused;
	while (!paused && !list_empty(&p->rx_held)) {
		struct fab_buf *b = list_front(&p->rx_held, struct fab_buf, link);
		int r;

		list_del(&b->link);
		r = post(p, b);
		if (r < 0)
			rpc_conn_lost(p->pipe.conn, r, NULL);
	}
}

static void fab_free(struct rpc_pipe *pipe)
{
	struct fab_pipe *p = container_of(pipe, struct fab_pipe, pipe);

	if (p->gone)
		*p->gone = true;
	wait_del(pipe->conn->rpc, &p->cq_wait);
	wait_del(pipe->conn->rpc, &p->eq_wait);
	if (p->ep && p->connected)
		(void)fi_shutdown(p->ep, 0);
	CLOSE_FID(p->ep);
	CLOSE_FID(p->mr);
	CLOSE_FID(p->cq);
	CLOSE_FID(p->eq);
	CLOSE_FID(p->domain);
	if (p->own_fabric)
		CLOSE_FID(p->fabric);
	fi_freeinfo(p->info);
	list_del(&p->link);
	free(p->memory);
	free(p);
}

static const struct rpc_pipe_ops fab_ops = {
	.write = fab_write,
	.pause = fab_pause,
	.free = fab_free,
};

static int make_buffers(struct fab_pipe *p)
{
	size_t size = 2 * BUFFERS * (size_t)BUF_BYTES;

	if (posix_memalign((void **)&p->memory, 4096, size) != 0)
		return -ENOMEM;
	if (p->info->domain_attr->mr_mode & FI_MR_LOCAL) {
		int r = fi_mr_reg(p->domain, p->memory, size, FI_SEND | FI_RECV, 0, 0, 0, &p->mr,
				  NULL);

		if (r < 0)
			return r;
		p->desc = fi_mr_desc(p->mr);
	}
	for (int i = 0; i < 2 * BUFFERS; i++) {
		struct fab_buf *b = &p->bufs[i];

		b->bytes = p->memory + (size_t)i * BUF_BYTES;
		list_init(&b->link);
		b->receives = i < BUFFERS;
		if (!b->receives)
			list_add_tail(&p->tx_free, &b->link);
	}
	return 0;
}

static void cq_event(struct loop_fd *w, short revents)
{
	on_cq(container_of(w, struct fab_pipe, cq_wait.watch));
}

static void eq_event(struct loop_fd *w, short revents)
{
	on_eq(container_of(w, struct fab_pipe, eq_wait.watch));
}

static int open_queues(struct fab_pipe *p)
{
	struct fi_eq_attr ea = { .wait_obj = FI_WAIT_FD };
	struct fi_cq_attr ca = { .format = FI_CQ_FORMAT_MSG,
				 .wait_obj = FI_WAIT_FD,
				 .size = 4 * BUFFERS };
	struct rpc *r = p->pipe.conn->rpc;
	int err = fi_domain(p->fabric, p->info, &p->domain, NULL);

	if (err == 0)
		err = fi_eq_open(p->fabric, &ea, &p->eq, NULL);
	if (err == 0)
		err = fi_cq_open(p->domain, &ca, &p->cq, NULL);
	if (err == 0)
		err = fi_endpoint(p->domain, p->info, &p->ep, NULL);
	if (err == 0)
		err = fi_ep_bind(p->ep, &p->eq->fid, 0);
	if (err == 0)
		err = fi_ep_bind(p->ep, &p->cq->fid, FI_SEND | FI_RECV);
	if (err == 0)
		err = fi_enable(p->ep);
	if (err == 0)
		err = make_buffers(p);
	for (int i = 0; i < BUFFERS && err == 0; i++)
		err = post(p, &p->bufs[i]);
	if (err == 0)
		err = wait_add(r, &p->eq_wait, &p->eq->fid, eq_event);
	if (err == 0)
		err = wait_add(r, &p->cq_wait, &p->cq->fid, cq_event);
	p->cq_used = p->eq_used = true;
	return err;
}

/* Takes @info, also on failure. @fabric NULL: opens one. The pipe is c->pipe from then on. */
static int pipe_new(struct rpc_conn *c, struct fi_info *info, struct fid_fabric *fabric,
		    struct fab_pipe **out)
{
	struct fab_pipe *p = calloc(1, sizeof(*p));
	int err = 0;

	if (!p) {
		fi_freeinfo(info);
		return -ENOMEM;
	}
	p->pipe = (struct rpc_pipe){ .ops = &fab_ops, .conn = c };
	p->info = info;
	list_init(&p->tx_free);
	list_init(&p->rx_held);
	list_add_tail(&c->rpc->fabric->pipes, &p->link);
	p->fabric = fabric;
	if (!fabric) {
		p->own_fabric = true;
		err = fi_fabric(info->fabric_attr, &p->fabric, NULL);
	}
	if (err == 0)
		err = open_queues(p);
	if (err < 0) {
		fab_free(&p->pipe);
		return err;
	}
	c->pipe = &p->pipe;
	*out = p;
	return 0;
}

/* ---- events ---- */

static void received(struct fab_pipe *p, struct fab_buf *b, size_t len)
{
	bool gone = false, *outer = p->gone;
	int r;

	p->gone = &gone;
	rpc_pipe_bytes(p->pipe.conn, b->bytes, len, NULL, 0);
	if (gone) {
		if (outer)
			*outer = true;
		return;
	}
	p->gone = outer;
	if (p->paused) {
		list_add_tail(&p->rx_held, &b->link);
		return;
	}
	r = post(p, b);
	if (r < 0)
		rpc_conn_lost(p->pipe.conn, r, NULL);
}

/* False: @p is gone. */
static bool sent(struct fab_pipe *p, struct fab_buf *b)
{
	bool gone = false, *outer = p->gone;

	list_add_tail(&p->tx_free, &b->link);
	if (!p->full)
		return true;
	p->full = false;
	p->gone = &gone;
	rpc_pipe_writable(p->pipe.conn);
	if (gone) {
		if (outer)
			*outer = true;
		return false;
	}
	p->gone = outer;
	return true;
}

static void cq_broken(struct fab_pipe *p)
{
	struct fi_cq_err_entry e = { 0 };

	if (fi_cq_readerr(p->cq, &e, 0) > 0 && e.err == FI_ECANCELED)
		return; /* a posted buffer of an endpoint that shuts down: its EQ says why */
	rpc_conn_lost(p->pipe.conn, e.err > 0 ? -e.err : -ECONNRESET, NULL);
}

static void on_cq(struct fab_pipe *p)
{
	bool gone = false, *outer = p->gone;
	struct fi_cq_msg_entry e[READS_MAX];
	ssize_t n;

	p->gone = &gone;
	p->cq_used = true;
	n = fi_cq_read(p->cq, e, READS_MAX);
	if (n == -FI_EAVAIL)
		cq_broken(p);
	for (ssize_t i = 0; i < n; i++) {
		struct fab_buf *b = container_of(e[i].op_context, struct fab_buf, ctx);

		b->busy = false;
		if (b->receives)
			received(p, b, e[i].len);
		else
			(void)sent(p, b);
		if (gone) {
			if (outer)
				*outer = true;
			return;
		}
	}
	p->gone = outer;
}

static void eq_broken(struct fab_pipe *p)
{
	struct fi_eq_err_entry e = { 0 };
	int err = -ECONNRESET;

	if (fi_eq_readerr(p->eq, &e, 0) > 0 && e.err > 0)
		err = -e.err;
	rpc_conn_lost(p->pipe.conn, err, p->connected ? NULL : strerror(-err));
}

static void on_eq(struct fab_pipe *p)
{
	struct rpc_conn *c = p->pipe.conn;
	struct fi_eq_cm_entry e;
	uint32_t event;
	ssize_t n;

	if (c->lost != 0)
		return;
	p->eq_used = true;
	n = fi_eq_read(p->eq, &event, &e, sizeof(e), 0);
	if (n == -FI_EAVAIL) {
		eq_broken(p);
	} else if (n > 0 && event == FI_CONNECTED) {
		p->connected = true;
		p->full = false;
		rpc_pipe_writable(c);
	} else if (n > 0 && event == FI_SHUTDOWN) {
		bool gone = false, *outer = p->gone;

		p->gone = &gone;
		on_cq(p); /* what came before it */
		if (!gone) {
			p->gone = outer;
			rpc_conn_lost(c, -ECONNRESET, "the peer closed");
		} else if (outer) {
			*outer = true;
		}
	}
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
		err = pipe_new(c, info, l->fabric, &p);
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
	for (int i = 0; i < READS_MAX; i++) {
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
		err = wait_add(l->rpc, &l->wait, &l->eq->fid, connreq_event);
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
	err = find_provider(provider, addr, true, &l->info);
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
	int err = find_provider(d->provider, d->addr, false, &info);

	if (err < 0)
		return err;
	err = rpc_seal_new(c, true, d->pinned ? d->key : NULL);
	if (err < 0) {
		fi_freeinfo(info);
		return err;
	}
	err = pipe_new(c, info, NULL, &p);
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
