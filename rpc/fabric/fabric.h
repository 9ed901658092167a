/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fabric.h - the parts of rpc/fabric: providers and addresses (provider.c), pipes over endpoints
 * (pipe.c), listening and dialling (fabric.c). Private to the folder.
 *
 * Each endpoint has a domain, a completion queue and an event queue of its own: then nothing of a
 * closed endpoint can come out of a queue. Both queues are waited for by descriptor; fi_trywait(3)
 * is asked before the loop sleeps, for a queue may hold something that its descriptor does not
 * show.
 *
 * Errors: -errno, as libfabric's own are.
 */
#ifndef RPC_FABRIC_FABRIC_H
#define RPC_FABRIC_FABRIC_H

#include <poll.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>

#undef container_of /* libfabric's; ours is the same */

#include "rpc/priv.h"

#define FAB_BUFFERS   8  /* each way */
#define FAB_READS_MAX 16 /* completions of one reading: others get their turn in between */

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
	struct fab_buf bufs[2 * FAB_BUFFERS];
	uint8_t *memory;
};

struct rpc_fabric {
	struct rpc *rpc;
	struct list pipes;
	struct list listeners;
	struct loop_hook hook;
	struct loop_timer again; /* a queue has more than its descriptor shows */
};

/* ---- provider.c ---- */
/*
 * What libfabric knows of @addr ("10.0.0.1:7300" or "[fe80::1]:7300") by @provider (NULL: the best
 * there is); the caller's. -EINVAL: it is no address; -ENODEV: no provider reaches it.
 */
must_check int fab_provider_find(const char *provider, const char *addr, bool listens,
				 struct fi_info **out);

/* ---- pipe.c ---- */
/* Takes @info, also on failure. @fabric NULL: opens one. The pipe is c->pipe from then on. */
must_check int fab_pipe_new(struct rpc_conn *c, struct fi_info *info, struct fid_fabric *fabric,
			    struct fab_pipe **out);
/* Read a queue; the pipe may be gone behind it (fab_pipe.gone tells). */
void fab_pipe_on_cq(struct fab_pipe *p);
void fab_pipe_on_eq(struct fab_pipe *p);

/* ---- both ---- */
static inline void fab_close(struct fid *fid)
{
	if (fid)
		(void)fi_close(fid);
}

#define FAB_CLOSE(x) fab_close((x) ? &(x)->fid : NULL)

static inline void fab_wait_del(struct rpc *r, struct fab_wait *w)
{
	loop_fd_del(r->loop, &w->watch);
}

must_check static inline int fab_wait_add(struct rpc *r, struct fab_wait *w, struct fid *fid,
					  void (*cb)(struct loop_fd *w, short revents))
{
	int fd, err = fi_control(fid, FI_GETWAIT, &fd);

	w->fid = fid;
	return err < 0 ? err : loop_fd_add(r->loop, &w->watch, fd, POLLIN, cb);
}

#endif
