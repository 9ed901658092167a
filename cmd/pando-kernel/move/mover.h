/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mover.h - the thread of one move: it stops a process, copies it, builds it, lets it go
 * (migrate/image), for these calls block and a tracee belongs to one thread.
 *
 * The loop gives it one job at a time and hears of its end by done(), in the loop's thread. What
 * a job needs of the loop meanwhile (descriptors) it asks by mover_ask(), and waits.
 */
#ifndef PANDO_KERNEL_MOVER_H
#define PANDO_KERNEL_MOVER_H

#include <pthread.h>

#include "cmd/pando-kernel/world.h"
#include "migrate/image/image.h"

enum mover_job {
	MOVER_NONE = 0,
	MOVER_WHY,     /* what forbids it: lines in why, and the cost */
	MOVER_FREEZE,  /* source */
	MOVER_DUMP,    /* writes the image to `pipe` and closes it */
	MOVER_LEAVE,   /* becomes the stub */
	MOVER_THAW,    /* runs on; also if it is not frozen, or a predecessor froze it */
	MOVER_BUILD,   /* target: reads the image from `pipe` */
	MOVER_GO,      /* runs; a predecessor's too */
	MOVER_UNBUILD, /* the stub again; a predecessor's too */
	MOVER_QUIT,
};

struct mover {
	struct world *w;
	pid_t pid; /* node's */
	const struct image_hooks *hooks;
	void *hooks_arg;
	void (*done)(struct mover *m, enum mover_job job, int result);
	int pipe;       /* this thread's end of the image, -1: none; taken */
	struct buf why; /* of the last job that failed */
	struct image_why cost;
	uint64_t bytes;   /* of the image, written or read */
	uint64_t pending; /* signals that the image holds: bit n-1 */

	/* Private. */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool started;
	enum mover_job job;  /* under way: the loop's */
	enum mover_job next; /* for the thread */
	int result;
	struct loop_post post;
	struct image_frozen *frozen;
	struct image_built *built;
};

/* Fill in w, pid, hooks, done. Starts the thread with the first job. Errors: -EAGAIN, -EBUSY. */
must_check int mover_do(struct mover *m, enum mover_job job);
/* Waits for its end; no job may be under way. Harmless if it never began. */
void mover_end(struct mover *m);
bool mover_is_busy(const struct mover *m);

/* From the thread: calls @fn in the loop's thread and gives its result. */
int mover_ask(struct mover *m, int (*fn)(void *arg), void *arg);

#endif
