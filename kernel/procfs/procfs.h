/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procfs.h - the machine's /proc, served over raw FUSE above a hidden native procfs.
 *
 *	/proc/.host           the native procfs of the tenant's pid namespace on this node
 *	/proc/self            -> .host/self (thread-self, net, mounts, sys ... likewise)
 *	/proc/stat, meminfo, cpuinfo, loadavg, uptime     of the machine
 *	/proc/PID/node        where PID executes; writing a node's name moves it
 *	/proc/PID/...           here: links into .host/PID; elsewhere: what its node says
 *	/proc/.stream/NAME    a file whose description is at another node; not listed
 *
 * What the host serves costs nothing and is exact (/dev/fd, process substitution,
 * memfds, gdb); only names and the machine's figures come through us.
 *
 * Two rules that the host's kernel sets: .host keeps one node id for ever and its
 * entry never expires, for to invalidate a mountpoint is to unmount it, silently;
 * and nobody who serves may open a path below this mount.
 *
 * A request is read into a slot of memory that outlives the guest kernel; one
 * that its predecessor left unanswered is answered by the successor. Every request
 * but a write to `node` only reads, so answering twice is harmless (the host says
 * ENOENT to the second answer); a move has the request's unique number as its key,
 * and so has a request to a stream.
 *
 * A stream is one description for all who hold it, so it has no offset of its own here:
 * it is opened DIRECT_IO, STREAM, NONSEEKABLE, and each read or write is one or more
 * requests of up to PROCFS_STREAM_MAX bytes, answered when its owner has.
 *
 * Source: linux/fuse.h, Documentation/filesystems/fuse.rst, fuse(4). The protocol
 * is spoken from 7.31 on (Linux 5.x); unknown requests get ENOSYS.
 *
 * Threading: one thread. Errors: -errno.
 */
#ifndef KERNEL_PROCFS_PROCFS_H
#define KERNEL_PROCFS_PROCFS_H

#include "base/buf.h"
#include "base/loop.h"
#include "base/types.h"

#define PROCFS_SLOTS      64
#define PROCFS_STREAM_MAX 131072                     /* bytes of one read or write */
#define PROCFS_SLOT_BYTES (PROCFS_STREAM_MAX + 4096) /* a request: headers, names or a write */

/* In memory that outlives the daemon (a memfd of the store). All zero is valid. */
struct procfs_slot {
	uint8_t bytes[PROCFS_SLOT_BYTES]; /* unanswered while the unique number in it is not 0 */
};

enum procfs_machine_file {
	PROCFS_STAT = 1,
	PROCFS_MEMINFO,
	PROCFS_CPUINFO,
	PROCFS_LOADAVG,
	PROCFS_UPTIME,
};

enum procfs_pid_file {
	PROCFS_PID_STAT = 1,
	PROCFS_PID_STATM,
	PROCFS_PID_STATUS,
	PROCFS_PID_CMDLINE,
	PROCFS_PID_COMM,
};

struct procfs_pid {
	gpid pid;
	uint32_t uid; /* inside the tenant */
	bool here;    /* it has a task here and that is no stub */
	char node[NODE_NAME_MAX];
};

enum procfs_stream_kind {
	PROCFS_STREAM_OPEN = 1,
	PROCFS_STREAM_READ, /* at the description's offset */
	PROCFS_STREAM_WRITE,
	PROCFS_STREAM_ATTR,
	PROCFS_STREAM_TRUNCATE,
	PROCFS_STREAM_SYNC,
	PROCFS_STREAM_CLOSE, /* what was opened with @handle; always succeeds */
};

/* A request to a stream. */
struct procfs_stream {
	uint64_t id; /* as stream_find() gave it */
	enum procfs_stream_kind kind;
	uint64_t key;      /* the same when a successor asks again; an OPEN's is its handle */
	unsigned slot;     /* no two requests that wait have the same */
	uint64_t handle;   /* CLOSE */
	uint64_t len;      /* READ, WRITE, TRUNCATE */
	const void *bytes; /* WRITE: there until procfs_stream_done() */
};

struct procfs_stream_attr {
	uint64_t ino, size, blocks;
	int64_t atime_ns, mtime_ns, ctime_ns;
	uint32_t mode, uid, gid, nlink; /* ids inside the tenant */
};

#define PROCFS_STREAM_BITS 61 /* of an id */

/* What the guest kernel knows. All answer at once, from what it has. */
struct procfs_ops {
	/* The smallest pid greater than @after that executes anywhere. 0, or -ESRCH: no more. */
	int (*next)(void *arg, gpid after, struct procfs_pid *out);
	int (*find)(void *arg, gpid pid, struct procfs_pid *out); /* 0 or -ESRCH */
	int (*pid_text)(void *arg, gpid pid, enum procfs_pid_file file, struct buf *out);
	int (*machine_text)(void *arg, enum procfs_machine_file file, struct buf *out);
	/*
	 * Moves @pid; the result goes to procfs_move_done(). @key is the same when asked again by a
	 * successor. Errors at once: -ENOENT no such node.
	 */
	int (*move)(void *arg, gpid pid, const char *node, uint32_t caller_pid, uint64_t key);
	/*
	 * Somebody begins to list the processes. True: what we know is fresh. False: it is being
	 * asked for; procfs_go_on() follows, and the lister waits for it. May be NULL.
	 */
	bool (*fresh)(void *arg);
	/* The stream of this name, for a look by thread @caller. 0 or -ENOENT. May be NULL. */
	int (*stream_find)(void *arg, const char *name, gpid caller, uint64_t *id);
	/* Begins what procfs_stream_done() ends, never at once. An error is the answer. */
	int (*stream)(void *arg, const struct procfs_stream *rq);
};

struct procfs;

/*
 * Serves the connection @fd (opened and mounted by pando-init; borrowed, O_NONBLOCK).
 * @slots: PROCFS_SLOTS of them. Answers what a predecessor left open.
 */
must_check int procfs_new(struct procfs **out, struct loop *l, int fd, struct procfs_slot *slots,
			  const struct procfs_ops *ops, void *arg);
void procfs_free(struct procfs *p);

/* What fresh() asked for has come, or will not. */
void procfs_go_on(struct procfs *p);

/* The end of a move that `move` accepted. @err: 0 or -errno, which the writer's write(2) gives. */
void procfs_move_done(struct procfs *p, uint64_t key, int err);

/*
 * The end of a request to a stream: @err, or @len bytes read (@bytes) or written, or its @attr
 * (ATTR, TRUNCATE). False: nobody waits for it.
 */
bool procfs_stream_done(struct procfs *p, uint64_t key, int err, const void *bytes, size_t len,
			const struct procfs_stream_attr *attr);

struct procfs_stats {
	uint64_t requests;
	uint64_t refused; /* not understood */
};
void procfs_get_stats(const struct procfs *p, struct procfs_stats *out);

/* ---- texts ---- */

/* The machine's figures, from all nodes. */
struct procfs_machine {
	unsigned cpus; /* whole ones, as nproc says */
	uint64_t mem_total_bytes;
	uint64_t mem_free_bytes;
	uint64_t cpu_user_ns; /* since boot, of all guests of this tenant */
	uint64_t cpu_system_ns;
	uint64_t uptime_ns;
	uint64_t boot_wall_s;
	uint32_t load_milli[3]; /* 1, 5, 15 minutes */
	unsigned running;
	unsigned processes;
	gpid last_pid;
	const char *cpuinfo_one; /* one processor's paragraph of the host's /proc/cpuinfo */
};

must_check int procfs_machine_text(const struct procfs_machine *m, enum procfs_machine_file file,
				   struct buf *out);

/* A process elsewhere, for the files that ps and top read. */
struct procfs_process {
	gpid pid, ppid, pgid, sid, tpgid;
	uint32_t uid;
	char state;
	int tty; /* N of /dev/pts/N, -1: none */
	uint32_t threads;
	uint64_t cpu_ns;
	uint64_t start_ns; /* since boot */
	uint64_t rss_bytes;
	const char *comm;
	const char *args; /* blanks between words */
};
must_check int procfs_process_text(const struct procfs_process *p, enum procfs_pid_file file,
				   struct buf *out);

#endif
