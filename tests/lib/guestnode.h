/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guestnode.h - a small tenant on a small node, for tests of what stops, moves
 * and restores processes: a user namespace with 65,536 ids, pid and mount
 * namespaces, a filter with a listener, the stub on a tmpfs, guests as uid 1000.
 *
 * The test itself is host root and stays outside. What a guest kernel would do
 * runs in incarnations: processes that have joined the user namespace as its
 * root, with no right on the host, and may be killed at any instant.
 */
#ifndef TESTS_LIB_GUESTNODE_H
#define TESTS_LIB_GUESTNODE_H

#include <sys/types.h>

#include "kernel/host/gate.h"

struct guestnode_shared;

struct guestnode {
	pid_t init;    /* as we see it */
	pid_t holder;  /* its parent */
	int ctl;       /* to its init */
	int userns_fd; /* /proc/INIT/ns/user */
	int listener;
	int proc; /* /proc of the host: the node's */
	char stub[128];
	struct gate_slots slots;
	struct guestnode_shared *sh;
};

/* @dir must be reachable for others; the stub comes from @stub_binary. -errno. */
int guestnode_up(struct guestnode *n, const char *dir, const char *stub_binary);
void guestnode_down(struct guestnode *n);

/*
 * Starts a guest; @fds become its 0, 1, 2. Returns its pid as we see it (@ns_pid: as it does).
 * guestnode_serve() or an incarnation must be running for programs that make threads.
 */
pid_t guestnode_spawn(struct guestnode *n, char *const argv[], const int fds[3], pid_t *ns_pid);
/* Gives a stub as child of init with this pid in the tenant. */
pid_t guestnode_stub(struct guestnode *n, pid_t ns_pid);
/* Waits until init has reaped @pid (as we see it): its wait status. */
int guestnode_reaped(struct guestnode *n, pid_t ns_pid);

/* Runs @fn as a guest kernel; its return value is the exit status. Returns the pid. */
pid_t guestnode_kernel(struct guestnode *n, int (*fn)(struct guestnode *n, void *arg), void *arg);
/* Waits for it: wait status. */
int guestnode_kernel_wait(pid_t kernel);
/* guestnode_kernel and wait, for the impatient. */
int guestnode_run(struct guestnode *n, int (*fn)(struct guestnode *n, void *arg), void *arg);
/* A guest kernel that only answers. End it with guestnode_serve_end(). */
pid_t guestnode_serve(struct guestnode *n);
void guestnode_serve_end(pid_t kernel);

/* When @tid began to sleep, as an incarnation was told. */
int guestnode_sleep_since(struct guestnode *n, pid_t tid, uint64_t *since_ns);
void guestnode_sleep_note(struct guestnode *n, pid_t tid, uint64_t since_ns);

/* In an incarnation: has the stub @pid (as we see it) make calls. */
int guestnode_stub_calls(struct guestnode *n, pid_t pid, struct stub_call *calls, unsigned count);

#endif
