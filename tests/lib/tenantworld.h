/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tenantworld.h - one tenant's world without a cluster around it, for tests with cmocka: its start
 * and end, its pando-init's protocol, programs in it. What fails fails the test.
 *
 * Needs root. The test program itself is a volume of the world (TW_SELF) and its stub.
 */
#ifndef TESTS_LIB_TENANTWORLD_H
#define TESTS_LIB_TENANTWORLD_H

#include <sys/types.h>

#include "cmd/tenant/tenant.h"
#include "kernel/tenant/client.h"

#define TW_ID_BASE (65536u * 30)
#define TW_BLOCK   1200000
#define TW_SELF    "/opt/test/self"

struct tw {
	char dir[128], run_dir[160], home[160], cluster[96], group[CGROUP_PATH_MAX];
	char self[512], init[512];
	struct cgroup_host *cgroups;
	struct tenant *t; /* NULL: it is not there */
	char why[TENANT_WHY_MAX];
};
extern struct tw tw;

/* Directories and control groups; -1 and errno. Then the end of all that, 0: nothing is left. */
must_check int tw_begin(void);
must_check int tw_end(void);
/* The world as most tests want it: a hundred tasks, a filter that allows everything. */
struct tenant_cfg tw_config(void);
/* Starts it and gives it a block of pids, TW_BLOCK. */
void tw_start(const struct tenant_cfg *cfg);
void tw_stop(void);
/* For cmocka_run_group_tests(). */
int tw_setup(void **state);
int tw_teardown(void **state);

/* ---- the protocol: one question and its result ---- */
must_check int tw_ask(int sock, uint32_t op, const char *key, uint64_t a, uint64_t b, uint64_t c);
int tw_get(int sock, const char *key);
must_check int tw_put(int sock, const char *key, int fd);
/* Waits for the next message with @op. */
void tw_await(int sock, uint32_t op, struct init_in *in);
/* Sends a SPAWN without waiting for its answer; under the name tw_spawn_key, if that is not "". */
extern const char *tw_spawn_key;
void tw_spawn(char *const argv[], uint32_t flags, const char *cwd, const int *fds);

/* ---- programs ---- */
struct tw_ran {
	char out[8192];
	int status;
	gpid pid;
};

/* Runs a program in the tenant to its end and acknowledges it. */
struct tw_ran tw_run_with(char *const argv[], uint32_t flags);
struct tw_ran tw_run(char *const argv[]);
struct tw_ran tw_sh(const char *script);
/* One that sleeps; its pid on the host. */
pid_t tw_sleeper(int *pidfd);
/* Reads until the end, or EIO of a terminal whose last user is gone. */
void tw_read_all(int fd, char *out, size_t size);

#endif
