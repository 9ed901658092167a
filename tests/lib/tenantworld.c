/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "tests/lib/tenantworld.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"

struct tw tw;

static struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };

static struct tenant_volume volumes[] = {
	{ tw.home, "/home/alice", true, false },
	{ tw.self, TW_SELF, true, true },
};

struct tenant_cfg tw_config(void)
{
	return (struct tenant_cfg){
		.name = "alice",
		.hostname = "grove",
		.id_base = TW_ID_BASE,
		.run_dir = tw.run_dir,
		.cgroups = tw.cgroups,
		.cgroup = tw.group,
		.limits = { .pids_max = 100, .memory_max_bytes = 512u << 20 },
		.volumes = volumes,
		.volume_count = 2,
		.clock_offset_ns = 5000 * (int64_t)NS_PER_S,
		.init_path = tw.init,
		.stub_path = tw.self,
		.filter = allow,
		.filter_bytes = sizeof(allow),
	};
}

int tw_ask(int sock, uint32_t op, const char *key, uint64_t a, uint64_t b, uint64_t c)
{
	struct init_msg m = { .op = op, .arg = { a, b, c } };

	(void)snprintf(m.key, sizeof(m.key), "%s", key);
	return init_call(sock, &m, NULL, 0, NULL, 0, NULL, NULL, 5000);
}

int tw_get(int sock, const char *key)
{
	struct init_msg m = { .op = INIT_GET };
	int fd;

	(void)snprintf(m.key, sizeof(m.key), "%s", key);
	assert_int_equal(init_call(sock, &m, NULL, 0, NULL, 0, &fd, NULL, 5000), 0);
	return fd;
}

int tw_put(int sock, const char *key, int fd)
{
	struct init_msg m = { .op = INIT_PUT };

	(void)snprintf(m.key, sizeof(m.key), "%s", key);
	return init_call(sock, &m, NULL, 0, &fd, 1, NULL, NULL, 5000);
}

void tw_start(const struct tenant_cfg *cfg)
{
	int r = tenant_start(cfg, &tw.t, tw.why);

	if (r < 0)
		fail_msg("%s", tw.why);
	assert_int_equal(tw_ask(tw.t->control, INIT_BLOCK, "", TW_BLOCK, 4096, 0), 0);
}

void tw_stop(void)
{
	if (tenant_stop(tw.t, tw.why) < 0)
		fail_msg("%s", tw.why);
	tw.t = NULL;
}

const char *tw_spawn_key = "";

void tw_spawn(char *const argv[], uint32_t flags, const char *cwd, const int *fds)
{
	static char payload[60000];
	static char *const envp[] = { "PATH=" TENANT_PATH, "HOME=/home/alice", "TERM=dumb", NULL };
	struct init_spawn head = { .flags = flags, .uid = TENANT_UID, .rows = 33, .cols = 111 };
	struct init_msg m = { .op = INIT_SPAWN, .tag = 77 };
	int n = init_spawn_pack(payload, sizeof(payload), &head, argv, envp, cwd);

	(void)snprintf(m.key, sizeof(m.key), "%s", tw_spawn_key);
	assert_true(n > 0);
	assert_int_equal(init_send(tw.t->control, &m, payload, (size_t)n, fds, fds == NULL ? 0 : 3),
			 0);
}

void tw_await(int sock, uint32_t op, struct init_in *in)
{
	for (;;) {
		struct pollfd p = { .fd = sock, .events = POLLIN };

		assert_int_equal(poll(&p, 1, 30000), 1); /* a busy machine */
		assert_int_equal(init_recv(sock, in), 1);
		if (in->msg.op == op)
			return;
		init_in_close(in);
	}
}

void tw_read_all(int fd, char *out, size_t size)
{
	size_t n = 0;
	ssize_t got;

	while (n < size - 1 && (got = read(fd, out + n, size - 1 - n)) > 0)
		n += (size_t)got;
	out[n] = 0;
}

struct tw_ran tw_run_with(char *const argv[], uint32_t flags)
{
	static struct init_in in;
	struct tw_ran ran = { .status = -1 };
	int p[2], nul = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(tw_ask(tw.t->control, INIT_WATCH, "", 0, 0, 0), 0);
	tw_spawn(argv, flags, "/home/alice", (int[]){ nul, p[1], p[1] });
	(void)close(p[1]);
	(void)close(nul);
	tw_await(tw.t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, 0);
	assert_int_equal(in.msg.tag, 77);
	ran.pid = (gpid)in.msg.arg[0];
	init_in_close(&in);
	tw_read_all(p[0], ran.out, sizeof(ran.out));
	(void)close(p[0]);
	do /* one that an earlier test killed may be told now */
		tw_await(tw.t->control, INIT_EV_EXIT, &in);
	while ((gpid)in.msg.arg[0] != ran.pid);
	ran.status = (int)in.msg.arg[1];
	assert_int_equal(tw_ask(tw.t->control, INIT_ACK, "", in.msg.arg[2], 0, 0), 0);
	return ran;
}

struct tw_ran tw_run(char *const argv[])
{
	return tw_run_with(argv, 0);
}

struct tw_ran tw_sh(const char *script)
{
	return tw_run((char *const[]){ "/bin/sh", "-c", (char *)(uintptr_t)script, NULL });
}

int tw_setup(void **state)
{
	struct tenant_cfg cfg = tw_config();

	tw_start(&cfg);
	return 0;
}

int tw_teardown(void **state)
{
	if (tw.t != NULL)
		tw_stop();
	return 0;
}

static pid_t host_pid(int pidfd)
{
	char path[64], text[512] = "";
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	fd = open(path, O_RDONLY);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	(void)close(fd);
	return (pid_t)strtol(strstr(text, "\nPid:") + 5, NULL, 10);
}

pid_t tw_sleeper(int *pidfd)
{
	static struct init_in in;
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC);

	tw_spawn((char *const[]){ "/bin/sleep", "100", NULL }, 0, "/", (int[]){ nul, nul, nul });
	(void)close(nul);
	tw_await(tw.t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, 0);
	*pidfd = in.fds[0];
	in.fds[0] = -1;
	init_in_close(&in);
	return host_pid(*pidfd);
}

int tw_begin(void)
{
	const char *base = getenv("PANDO_TEST_DIR"), *bin = getenv("BIN");
	static char made[] = "/tmp/ptXXXXXX";
	ssize_t n = readlink("/proc/self/exe", tw.self, sizeof(tw.self) - 1);

	if (n < 0)
		return -1;
	if (bin != NULL)
		(void)snprintf(tw.init, sizeof(tw.init), "%s/pando-init", bin);
	else
		(void)snprintf(tw.init, sizeof(tw.init), "%.*s/../bin/pando-init",
			       (int)(strrchr(tw.self, '/') - tw.self), tw.self);
	if (access(tw.init, X_OK) < 0) /* the sanitized build has no static programs */
		(void)snprintf(tw.init, sizeof(tw.init), "%.*s/../../gcc/bin/pando-init",
			       (int)(strrchr(tw.self, '/') - tw.self), tw.self);
	if (base == NULL)
		base = mkdtemp(made);
	(void)snprintf(tw.dir, sizeof(tw.dir), "%.100s", base);
	(void)snprintf(tw.run_dir, sizeof(tw.run_dir), "%s/run", tw.dir);
	(void)snprintf(tw.home, sizeof(tw.home), "%s/home", tw.dir);
	if (mkdir(tw.run_dir, 0700) < 0 || mkdir(tw.home, 0755) < 0 ||
	    chown(tw.home, TENANT_UID, TENANT_UID) < 0)
		return -1;
	if (cgroup_host_new(&tw.cgroups, NULL) < 0 ||
	    cgroup_cluster_name(tw.dir, tw.cluster, sizeof(tw.cluster)) < 0)
		return -1;
	(void)snprintf(tw.group, sizeof(tw.group), "%s/n1/alice", tw.cluster);
	return 0;
}

int tw_end(void)
{
	int r = cgroup_remove(tw.cgroups, tw.cluster);

	cgroup_host_free(tw.cgroups);
	if (getenv("PANDO_TEST_DIR") == NULL) {
		char cmd[256];

		(void)snprintf(cmd, sizeof(cmd), "rm -rf %s", tw.dir);
		r |= system(cmd);
	}
	return r;
}
