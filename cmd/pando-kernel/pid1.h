/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pid1.h - the guest kernel's connection to pando-init, on its loop.
 *
 * The store's calls wait for their answer: pando-init gives it within its turn. What comes in
 * between (events, answers to a spawn) is kept and told in the loop's next turn. A spawn is
 * asynchronous, for its exec is a call that we ourselves answer.
 *
 * Errors: what pando-init answers (init.h). When pando-init is gone, or has another guest kernel,
 * ops->gone is called or a call returns -EPIPE: the tenant's processes are not ours any more.
 */
#ifndef PANDO_KERNEL_PID1_H
#define PANDO_KERNEL_PID1_H

#include "base/loop.h"
#include "kernel/tenant/init.h"

struct pid1;

struct pid1_ops {
	void (*exited)(void *arg, gpid pid, int status, uint64_t event);
	void (*stored)(void *arg, const char *key);
	void (*pids_low)(void *arg);
	void (*gone)(void *arg);
};

/* Takes @sock, says HELLO and watches. */
must_check int pid1_open(struct pid1 **out, struct loop *l, int sock, const struct pid1_ops *ops,
			 void *arg);

/* Inode of the tenant's pid namespace. */
uint64_t pid1_namespace(const struct pid1 *p);
/* It is ending, and all of the namespace with it: a host closes its descriptors first. */
bool pid1_is_gone(const struct pid1 *p);

must_check int pid1_get(struct pid1 *p, const char *key);         /* a descriptor, or -errno */
must_check int pid1_put(struct pid1 *p, const char *key, int fd); /* borrows @fd */
int pid1_drop(struct pid1 *p, const char *key);
/*
 * The same soon, before anything that is said after it, and whatever becomes of us: not waited
 * for. For what no guest can see when it is closed, as a pidfd.
 */
void pid1_forget(struct pid1 *p, const char *key);
/*
 * What is put and dropped between the two holds when pid1_settle() returns, at the latest: it is
 * said in as few messages as it can be, each of which wakes pando-init. pid1_settle() gives the
 * first error of a put.
 */
void pid1_together(struct pid1 *p);
must_check int pid1_settle(struct pid1 *p);
/* Puts @fd (borrowed), whatever is there by that name. */
must_check int pid1_replace(struct pid1 *p, const char *key, int fd);
/* Calls @cb for each key that begins with @prefix. */
must_check int pid1_list(struct pid1 *p, const char *prefix, void (*cb)(void *arg, const char *key),
			 void *arg);
must_check int pid1_block(struct pid1 *p, gpid first, uint32_t count);
int pid1_ack(struct pid1 *p, uint64_t event);

/* @err 0: @pid is the leader; @fds are the callee's: pidfd[, pty master]. Else all are none. */
typedef void (*pid1_spawned_fn)(void *arg, int err, gpid pid, const int *fds, size_t nfds);

/* Borrows all. @key: it is in the store as KEY.PID, and asked for again it is the same one. */
must_check int pid1_spawn(struct pid1 *p, const char *key, const struct init_spawn *head,
			  char *const argv[], char *const envp[], const char *cwd, const int *fds,
			  size_t nfds, pid1_spawned_fn done, void *arg);

#endif
