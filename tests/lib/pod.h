/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod.h - what a pandod does for one tenant on one node, for tests of the guest kernel: makes the
 * world, starts (and restarts) pando-kernel, lends pids, starts sessions, hears of their ends.
 *
 * A failure is printed and ends the program with status 1, after the world is torn down. Not
 * thread-safe; one loop turns everything.
 */
#ifndef TESTS_LIB_POD_H
#define TESTS_LIB_POD_H

#include "base/loop.h"
#include "kernel/kernel.pb-c.h"
#include "cmd/tenant/tenant.h"
#include "rpc/rpc.h"

#define POD_SESSIONS_MAX 256

struct pod_session {
	uint64_t id;
	gpid pid; /* 0: not started yet */
	int start_err;
	int line; /* of its terminal, our end; -1: none */
	int pidfd;
	bool ended;
	int status;
};

struct pod {
	struct loop *loop;
	struct rpc *rpc;
	struct rpc_conn *conn;
	struct cgroup_host *cgroups;
	struct tenant *tenant;
	char cgroup[64];
	char dir[128];
	node_id node;
	char node_name[16]; /* "n1" */
	int kernel_pidfd;
	unsigned kernels;  /* started so far */
	unsigned restarts; /* wanted: 0 leaves a dead one dead */
	unsigned ready;    /* Ready messages */
	uint64_t adopted;  /* sum over them */
	gpid next_block;
	int unreached; /* what a kernel that wants another node's is told; 0: it gets that */
	unsigned unreached_count;
	struct pod_session sessions[POD_SESSIONS_MAX];
	unsigned session_count;
	struct loop_child child;
};

/* $BIN and $PANDO_TEST_DIR tell where programs are and where to work. @blocks: first pid to lend.
 */
void pod_start(struct pod *p, struct loop *l, node_id node, gpid blocks);
void pod_stop(struct pod *p);

void pod_kernel_start(struct pod *p);
void pod_kernel_kill(struct pod *p); /* SIGKILL; the next one is started by the loop */
void pod_reconnect(struct pod *p);   /* as a new pandod does */

/* Descriptors are taken. Without @fds: a terminal. */
struct pod_session *pod_session(struct pod *p, const char *const argv[], const int fds[3]);
/* Types on the line of a session's terminal; and what that showed until the session's end. */
void pod_type(struct pod *p, struct pod_session *s, const char *text);
char *pod_shown(struct pod *p, struct pod_session *s, int *status);
/* `sh -c TEXT` with its output on the returned pipe. */
struct pod_session *pod_shell(struct pod *p, const char *text, int *out);

void pod_turn(struct pod *p); /* at most 10 ms */
#define POD_UNTIL(p, cond)                                                                         \
	for (uint64_t end_ = clock_mono_ns() + 40 * NS_PER_S; !(cond);) {                          \
		if (clock_mono_ns() > end_)                                                        \
			pod_fail(p, "%s:%d: never: %s", __FILE__, __LINE__, #cond);                \
		pod_turn(p);                                                                       \
	}
#define POD_CHECK(p, cond)                                                                         \
	do {                                                                                       \
		if (!(cond))                                                                       \
			pod_fail(p, "%s:%d: not so: %s", __FILE__, __LINE__, #cond);               \
	} while (0)
noreturn_fn void pod_fail(struct pod *p, const char *fmt, ...) printf_like(2, 3);

/* All that comes through @fd until its end; NUL-terminated, to be freed. Turns the loop meanwhile.
 */
char *pod_read_all(struct pod *p, int fd);

/* A request and its answer's body, which must be 0 or @err. */
struct pod_answer {
	bool done;
	int err;
	size_t len;
	uint8_t body[65536];
};
void pod_ask(struct pod *p, uint32_t method, const void *body, size_t len, struct pod_answer *a);
/* "name:nth" in the guest kernel. Returns its -errno. */
int pod_arm(struct pod *p, const char *text);

#endif
