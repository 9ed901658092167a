/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - the spawner: the process under the guests' filter that all guests
 * descend from. Forked by pando-init before anything else; libc only.
 *
 * A session leader is cloned with CLONE_PARENT and so is pando-init's own child.
 * Its words come through a pipe: its pid, then the step that failed; the pipe's
 * end without one says that its exec has worked.
 */
#ifndef KERNEL_TENANT_SESSION_H
#define KERNEL_TENANT_SESSION_H

#include <sys/types.h>

#include "base/attr.h"
#include "kernel/tenant/client.h"

struct session_word {
	int32_t pid;   /* in the tenant; 0: it was not even cloned */
	int32_t step;  /* enum init_step that failed, or 0 */
	int32_t error; /* errno of it */
};

/* What the spawner needs of what pando-init was given. */
struct session_spawner {
	int sock;   /* filled in: its end of a SEQPACKET pair */
	int filter; /* memfd with struct sock_filter[] */
	int proc;   /* native procfs */
	const int *entrances;
	int entrance_count;
};

/*
 * Forks it. *sock takes messages of init.h with INIT_SPAWN, each with descriptors 0, 1, 2 and the
 * pipe; it does not block. *listener is the one of its filter: fetched from it by pidfd_getfd, as
 * nobody could answer a notification of its own yet. Errors: -errno, of installing the filter too.
 */
must_check int session_spawner_start(struct session_spawner *s, pid_t *pid, int *sock,
				     int *listener);

/*
 * Hands it a start: @in with its descriptors, or with a terminal of its own. *pipe_fd gets the
 * leader's words, *master the terminal's (to be closed also on error, unless it is -1 as before).
 * Errors: -errno; -EBUSY: it has too many already.
 */
must_check int session_spawner_give(int sock, const struct init_in *in, const struct init_spawn *h,
				    int *pipe_fd, int *master);

#endif
