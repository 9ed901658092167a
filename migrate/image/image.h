/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - a running process as a stream of bytes, and back.
 *
 * Source:  image_freeze -> image_dump -> image_thaw        (it runs on as if nothing had happened)
 *                                     or image_leave       (it has become its own stub)
 * Target:  image_build (into a stub)  -> image_go          (the stub is the process, and runs)
 *                                     or image_unbuild     (it is a stub again)
 * After a crash, for each process in the slots: image_recover.
 *
 * From image_freeze on every thread is parked in a gate (kernel/host/gate.h): the
 * process cannot run on, whatever dies here. Who moves commits between the two
 * halves (migrate/core); this room copies and knows nothing of epochs.
 *
 *   I1  until image_thaw, image_leave: no instruction of the source is executed
 *   I2  until image_go: no instruction of the target is executed
 *   I3  a child of the stub or of the process is its child before and after
 *
 * All calls block and belong to the thread that froze or built (a tracer is a
 * thread): a worker per move, never the loop. Besides, the loop's thread must
 * serve notifications meanwhile: CONTINUE for tasks in a gate, except magic calls.
 *
 * Errors are -errno; @why (BUF_INIT by the caller) then says in words what and
 * why, for people: "descriptor 5 is an epoll instance with ...". Images come from
 * peers and disks: -EBADMSG for what cannot be, never a CHECK.
 */
#ifndef MIGRATE_IMAGE_IMAGE_H
#define MIGRATE_IMAGE_IMAGE_H

#include "base/buf.h"
#include "base/types.h"
#include "kernel/host/gate.h"

#define IMAGE_VERSION     1
#define IMAGE_RECORD_MAX  (1u << 20) /* bytes of one record, its head included */
#define IMAGE_THREADS_MAX 4096
#define IMAGE_VMAS_MAX    65536
#define IMAGE_FDS_MAX     65536

/* Where an image goes to and comes from: a stream, a file, memory. All @len bytes or -errno. */
struct image_sink {
	int (*write)(void *arg, const void *bytes, size_t len);
	void *arg;
};
struct image_source {
	int (*read)(void *arg, void *bytes, size_t len); /* -EBADMSG: it ended too early */
	void *arg;
};

/* What a descriptor of the guest is. */
enum image_fd_kind {
	IMAGE_FD_FILE = 1, /* regular file, directory or /dev/null and its like: by path */
	IMAGE_FD_PIPE,     /* one end, or both with O_RDWR; named fifos too */
	IMAGE_FD_SOCKET,
	IMAGE_FD_TTY,
	IMAGE_FD_EPOLL,
	IMAGE_FD_EVENTFD,
	IMAGE_FD_TIMERFD,
	IMAGE_FD_SIGNALFD,
	IMAGE_FD_OTHER,
	IMAGE_FD_LOST, /* a file behind which nobody answers: in no image */
};

struct image_fd {
	int fd;         /* its number, the lowest if several share the description */
	uint32_t kind;  /* enum image_fd_kind */
	uint32_t flags; /* O_* of the description (F_GETFL) */
	uint64_t offset;
	uint64_t dev;
	uint64_t ino;
	const char *path; /* as readlink of /proc/PID/fd/N gives it: "pipe:[4711]" */
};

/*
 * What only the caller knows. Any of them may be NULL: then it is refused by name.
 * @arg is image_env.arg. Called in the worker thread.
 */
struct image_hooks {
	/*
	 * Dump: shall the caller carry this description? Asked for each, files too.
	 * 0: yes, @cookie travels in the image; -ENOTSUP: no; else the move fails with it,
	 * and who refuses may have said why where the job's reasons go.
	 */
	int (*fd_take)(void *arg, pid_t pid, const struct image_fd *fd, struct buf *cookie);
	/* Build: an open descriptor (of the caller's process) for what fd_take took there. */
	int (*fd_make)(void *arg, const struct image_fd *fd, const void *cookie, size_t len);
	/*
	 * Freeze: thread @tid has been told to stop, and is not yet waited for. What it waits for
	 * in a call that no signal breaks may be answered now. May be NULL.
	 */
	void (*stopping)(void *arg, pid_t tid);
	/*
	 * Dump: when (CLOCK_MONOTONIC, ns) did @tid begin the nanosleep, poll or futex call it is
	 * in? -ENOENT: unknown; then it may sleep longer than it wanted. Known to who is notified.
	 */
	int (*sleep_since)(void *arg, pid_t tid, uint64_t *since_ns);
	/* Build: the same of a thread @tid of the target, for its next move. May be NULL. */
	void (*sleep_note)(void *arg, pid_t tid, uint64_t since_ns);
};

struct image_env {
	int proc;                 /* directory descriptor of the node's procfs */
	struct gate_slots *slots; /* of this guest kernel */
	const char *stub_path;    /* the stub as the guest sees it */
	unsigned filters;         /* seccomp filters every guest has; more are its own */
	const struct image_hooks *hooks;
	void *arg;
};

/* ---- what forbids a move, and what it would cost ---- */
struct image_why {
	struct buf reasons; /* lines; empty: it can move */
	unsigned threads;
	unsigned vmas;
	uint64_t bytes;     /* that would travel */
	uint64_t freeze_ns; /* predicted, full copy */
};
/* Only reads /proc: the process does not notice. The answer may be stale when it comes. */
must_check int image_why(const struct image_env *env, pid_t pid, struct image_why *out);
void image_why_fini(struct image_why *w);

/* ---- source ---- */
struct image_frozen;

/*
 * Stops and parks every thread. On error it runs on, @why says why.
 * Errors: -EPERM traced by another; -EBUSY in a vfork; -ENOTSUP something refused; -ESRCH.
 */
must_check int image_freeze(const struct image_env *env, pid_t pid, struct image_frozen **out,
			    struct buf *why);
/*
 * The same for a single-threaded process that this thread has seized and that
 * stands at its PTRACE_EVENT_EXEC (@stop: the wait status). On error it is
 * detached and runs on.
 */
must_check int image_freeze_adopt(const struct image_env *env, pid_t pid, int stop,
				  struct image_frozen **out, struct buf *why);

/* Writes the image. Reads only; may be called again. -ENOTSUP: something is refused, see @why. */
must_check int image_dump(struct image_frozen *f, const struct image_sink *to, struct buf *why);

/* Memory of the frozen process, for who serves pages after the commit. */
must_check int image_page_read(struct image_frozen *f, uint64_t addr, void *bytes, size_t len);

/* Gives every thread back what it had and lets it run. Frees @f. */
void image_thaw(struct image_frozen *f);

/*
 * Becomes the stub, in place: same pid, same children, pending signals kept. Frees @f.
 * It runs, waiting in its magic call. Errors: of the exec; then it is parked still, for
 * image_recover.
 */
must_check int image_leave(struct image_frozen *f, struct buf *why);

/* ---- target ---- */
struct image_built;

/*
 * Reads an image into the stub @stub (the node's pid; the tenant's pid must be the image's).
 * On error it is a stub again. Errors: -EBADMSG bad image; -ENOTSUP this node cannot hold it
 * (CPU features, vdso, a file that differs); -EEXIST a tid is taken; -ENOENT a file is missing.
 */
must_check int image_build(const struct image_env *env, pid_t stub, const struct image_source *from,
			   struct image_built **out, struct buf *why);
/* Commit: from here on it is the process, also when this daemon dies right after. Frees @b. */
must_check int image_go(struct image_built *b);
/* Makes it a stub again. Frees @b. */
must_check int image_unbuild(struct image_built *b, struct buf *why);

/* ---- after a crash of the guest kernel ---- */
enum image_fate {
	IMAGE_FATE_RUN = 1, /* it executes here: give back registers and go */
	IMAGE_FATE_STUB,    /* it executes elsewhere, or was never committed here: the stub */
};
/*
 * What the slots say of process @pid: its role (GATE_CALL..GATE_READY), or -ENOENT. A process in
 * GATE_CALL always runs on, one in GATE_BUILD always becomes the stub; for the other two the
 * caller asks the authority.
 */
must_check int image_recover_role(const struct image_env *env, pid_t pid);
must_check int image_recover(const struct image_env *env, pid_t pid, enum image_fate fate,
			     struct buf *why);

#endif
