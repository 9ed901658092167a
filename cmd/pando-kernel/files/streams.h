/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streams.h - one description of a regular file, held by processes of several nodes.
 *
 * The real description stays with its *owner*, the node where it was opened; a *site* has a stream
 * file instead (kernel/procfs/procfs.h), whose reads and writes the owner makes on the one
 * description. So offset and O_APPEND are shared as after a fork, with local holders too.
 *
 *	leaving node                                   node of arrival
 *	streams_give() fills a Peer__Fd  ----------->  streams_take(): a path for it to open
 *	  and keeps the description                    its open asks the owner to keep it for us
 *	streams_given(): it is there, or not           streams_taken(): nobody else may open it
 *
 * An exec and a move use the same four. A stream that goes on to a third node stays its owner's;
 * one that comes back to its owner becomes the description again.
 *
 *   S1  a read or write is made once, whichever guest kernel dies when: the owner keeps intent and
 *       answer of each (stream_owner.c) by the asker's key, the asker asks until it has it
 *   S2  a description is kept while a process of any node has it: the owner keeps it once for each
 *       node in pando-init's store, and a node tells what it still has whenever it connects
 */
#ifndef PANDO_KERNEL_STREAMS_H
#define PANDO_KERNEL_STREAMS_H

#include <fcntl.h>

#include "cmd/pando-kernel/world.h"
#include "kernel/proc/peer.pb-c.h"
#include "kernel/procfs/procfs.h"

/*
 * A file of our own /proc, to which a descriptor with this path (its link in the native procfs)
 * leads. No copy of it may be taken, nor may it be looked at: each call but readlink on the
 * descriptor is a request to ourselves, even the close of a copy, and nobody would answer it.
 */
bool streams_are_ours(const char *path);

#define STREAM_PATH_MAX 64
#define STREAM_FLAGS    (O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC) /* that one is opened with */
#define STREAM_ID_BITS  40 /* the owner's number; above it in a procfs id: the owner */

/*
 * Says in @f how the regular file @fd of process @pid (node's) gets to another node: by its path if
 * nobody else can see the offset and the path names it everywhere, else, and if the description is
 * @locked (flock), as a stream. f->flags, path, offset are set by the caller. Borrows @fd, which is
 * -1 for what is ours. Errors: -ENOMEM, -EMFILE.
 */
must_check int streams_give(struct world *w, pid_t pid, int fd, bool locked, Peer__Fd *f);
/* The other node has it by now, or will never have it. Once for each streams_give(). */
void streams_given(struct world *w, const Peer__Fd *f);

/*
 * A description that comes as @f: where its process @pid opens it. Or, if it is our own, a copy of
 * it in @fd, which is -1 otherwise; the caller closes it. Errors: -EPROTO, -ENOENT, -ENOMEM.
 */
must_check int streams_take(struct world *w, const Peer__Fd *f, gpid pid,
			    char path[STREAM_PATH_MAX], int *fd);
/*
 * The same for a process that cannot open it by itself: a descriptor of ours, to be given to it,
 * opened with @flags; or -errno. @done owns it. No loop may wait for it, nor close it (see
 * streams_are_ours()): that is for a thread.
 */
typedef void (*streams_fn)(void *arg, int fd);
void streams_fetch(struct world *w, const Peer__Fd *f, unsigned flags, streams_fn done, void *arg);
/* All that @pid was to open is open, or will never be. */
void streams_taken(struct world *w, gpid pid);

must_check int streams_open(struct world *w);
/* A connection to @node is up. */
void streams_connected(struct world *w, node_id node);
/* The nodes have changed: descriptions kept for those that are gone are let go. */
void streams_look(struct world *w);

/* Descriptions of ours that other nodes hold. */
unsigned streams_owned(void);

/* ---- stream_site.c ---- */
must_check int stream_site_open(struct world *w);
void stream_site_connected(struct world *w, node_id node);
/* Process @pid, and nobody else, may open @id. */
must_check int stream_site_expect(gpid pid, uint64_t id);
void stream_site_expect_no_more(gpid pid);
void stream_site_expected(gpid pid, uint64_t id);
/* procfs_ops */
int stream_site_find(void *arg, const char *name, gpid caller, uint64_t *id);
int stream_site_begin(void *arg, const struct procfs_stream *rq);

/* ---- stream_owner.c ---- */
must_check int stream_owner_open(struct world *w);
void stream_owner_look(void);
/* The number of the description @fd, kept until stream_owner_let_go(). Borrows @fd. */
must_check int stream_owner_keep(int fd, uint64_t *number);
void stream_owner_let_go(uint64_t number);
/* The description itself, borrowed; -ENOENT. */
int stream_owner_fd(uint64_t number);
/* Is @fd the description of a stream? */
bool stream_owner_has(int fd);

#endif
