/* SPDX-License-Identifier: Apache-2.0 */
/* priv.h - what procfs.c and stream.c share. */
#ifndef KERNEL_PROCFS_PRIV_H
#define KERNEL_PROCFS_PRIV_H

#include <linux/fuse.h>

#include "kernel/procfs/procfs.h"

#define ID_STREAM (UINT64_C(1) << 62) /* in the node id of a stream */

struct procfs {
	struct loop *loop;
	struct loop_fd watch;
	int fd;
	struct procfs_slot *slots;
	const struct procfs_ops *ops;
	void *arg;
	struct buf text; /* of the request being answered */
	struct procfs_stats stats;
	bool dead;     /* unmounted */
	bool going_on; /* listers that waited are served with what there is */
};

/* A request being answered: its slot, its parts. */
struct request {
	struct procfs *p;
	struct procfs_slot *slot;
	const struct fuse_in_header *in;
	const uint8_t *body;
	size_t len; /* of the body */
};

/* False: nobody waited for it (any more). The slot is free again. */
bool answer(struct request *rq, int err, const void *bytes, size_t len);
/* The request that waits for an answer with @key. */
bool request_find(struct procfs *p, uint64_t key, struct request *rq);
/* A slot is free again. */
void procfs_read_on(struct procfs *p);

/* ---- stream.c ---- */
void stream_lookup(struct request *rq);
void stream_serve(struct request *rq);

#endif
