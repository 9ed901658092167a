/* SPDX-License-Identifier: Apache-2.0 */
/* pipe.c - a pipe (rpc/priv.h) over one FI_EP_MSG endpoint. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "rpc/fabric/fabric.h"

#define BUF_BYTES (64u << 10)

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
	fab_wait_del(pipe->conn->rpc, &p->cq_wait);
	fab_wait_del(pipe->conn->rpc, &p->eq_wait);
	if (p->ep && p->connected)
		(void)fi_shutdown(p->ep, 0);
	FAB_CLOSE(p->ep);
	FAB_CLOSE(p->mr);
	FAB_CLOSE(p->cq);
	FAB_CLOSE(p->eq);
	FAB_CLOSE(p->domain);
	if (p->own_fabric)
		FAB_CLOSE(p->fabric);
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
	size_t size = 2 * FAB_BUFFERS * (size_t)BUF_BYTES;

	if (posix_memalign((void **)&p->memory, 4096, size) != 0)
		return -ENOMEM;
	if (p->info->domain_attr->mr_mode & FI_MR_LOCAL) {
		int r = fi_mr_reg(p->domain, p->memory, size, FI_SEND | FI_RECV, 0, 0, 0, &p->mr,
				  NULL);

		if (r < 0)
			return r;
		p->desc = fi_mr_desc(p->mr);
	}
	for (int i = 0; i < 2 * FAB_BUFFERS; i++) {
		struct fab_buf *b = &p->bufs[i];

		b->bytes = p->memory + (size_t)i * BUF_BYTES;
		list_init(&b->link);
		b->receives = i < FAB_BUFFERS;
		if (!b->receives)
			list_add_tail(&p->tx_free, &b->link);
	}
	return 0;
}

static void cq_event(struct loop_fd *w, short revents)
{
	fab_pipe_on_cq(container_of(w, struct fab_pipe, cq_wait.watch));
}

static void eq_event(struct loop_fd *w, short revents)
{
	fab_pipe_on_eq(container_of(w, struct fab_pipe, eq_wait.watch));
}

static int open_queues(struct fab_pipe *p)
{
	struct fi_eq_attr ea = { .wait_obj = FI_WAIT_FD };
	struct fi_cq_attr ca = { .format = FI_CQ_FORMAT_MSG,
				 .wait_obj = FI_WAIT_FD,
				 .size = 4 * FAB_BUFFERS };
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
	for (int i = 0; i < FAB_BUFFERS && err == 0; i++)
		err = post(p, &p->bufs[i]);
	if (err == 0)
		err = fab_wait_add(r, &p->eq_wait, &p->eq->fid, eq_event);
	if (err == 0)
		err = fab_wait_add(r, &p->cq_wait, &p->cq->fid, cq_event);
	p->cq_used = p->eq_used = true;
	return err;
}

int fab_pipe_new(struct rpc_conn *c, struct fi_info *info, struct fid_fabric *fabric,
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

void fab_pipe_on_cq(struct fab_pipe *p)
{
	bool gone = false, *outer = p->gone;
	struct fi_cq_msg_entry e[FAB_READS_MAX];
	ssize_t n;

	p->gone = &gone;
	p->cq_used = true;
	n = fi_cq_read(p->cq, e, FAB_READS_MAX);
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

void fab_pipe_on_eq(struct fab_pipe *p)
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
		fab_pipe_on_cq(p); /* what came before it */
		if (!gone) {
			p->gone = outer;
			rpc_conn_lost(c, -ECONNRESET, "the peer closed");
		} else if (outer) {
			*outer = true;
		}
	}
}
