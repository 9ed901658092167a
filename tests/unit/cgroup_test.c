/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup_test.c - the same calls on this host's control groups, and on made-up trees of both
 * versions, where only what is written can be looked at.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "quota/cgroup/cgroup.h"

static char dir[128];
static char group[64];

/* ---- made-up trees ---- */

static void make_file(const char *path, const char *text)
{
	char full[512];
	int fd;

	(void)snprintf(full, sizeof(full), "%s/%s", dir, path);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	(void)close(fd);
}

static void make_dir(const char *path)
{
	char full[512];

	(void)snprintf(full, sizeof(full), "%s/%s", dir, path);
	assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
}

static const char *content(const char *path)
{
	static char text[256];
	char full[512];
	ssize_t n;
	int fd;

	(void)snprintf(full, sizeof(full), "%s/%s", dir, path);
	fd = open(full, O_RDONLY);
	assert_true(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	text[n < 0 ? 0 : n] = 0;
	return text;
}

static struct cgroup_host *fake(const char *lines)
{
	struct cgroup_host *h;
	char path[512];

	make_file("mountinfo", lines);
	(void)snprintf(path, sizeof(path), "%s/mountinfo", dir);
	assert_int_equal(cgroup_host_new(&h, path), 0);
	return h;
}

static void a_unified_host_is_driven_by_its_files(void **state)
{
	static const char *const files[] = { "cpu.max",     "cpu.weight",    "memory.max",
					     "pids.max",    "cgroup.freeze", "cgroup.kill",
					     "cgroup.procs" };
	const struct cgroup_limits l = { 250, 50, 1 << 20, 77 }, none = { 0 };
	struct cgroup_offers offers;
	struct cgroup_limits back;
	uint64_t bytes, spans;
	struct cgroup_stats st;
	struct cgroup_host *h;
	char line[512];

	make_dir("v2");
	make_dir("v2/a");
	make_dir("v2/a/b");
	make_file("v2/cgroup.controllers", "cpuset cpu io memory pids\n");
	make_file("v2/cgroup.subtree_control", "");
	make_file("v2/a/cgroup.subtree_control", "");
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		(void)snprintf(line, sizeof(line), "v2/a/b/%s", files[i]);
		make_file(line, "");
	}
	make_file("v2/a/b/cgroup.events", "populated 1\nfrozen 0\n");
	make_file("v2/a/b/cpu.stat",
		  "usage_usec 1234\nuser_usec 1\nnr_periods 9\nnr_throttled 7\n");
	make_file("v2/a/b/memory.current", "4096\n");
	make_file("v2/a/b/pids.current", "3\n");
	(void)snprintf(line, sizeof(line),
		       "30 1 0:26 / %s/v2 rw,nosuid shared:9 - cgroup2 none rw\n", dir);
	h = fake(line);
	cgroup_host_offers(h, &offers);
	assert_true(offers.cpu && offers.memory && offers.pids && offers.v2_controllers);
	assert_int_equal(cgroup_make(h, "a/b"), 0);
	assert_int_equal(strncmp(content("v2/a/cgroup.subtree_control"), "+pids", 5), 0);
	assert_int_equal(cgroup_limit(h, "a/b", &l), 0);
	assert_string_equal(content("v2/a/b/cpu.max"), "5000 20000");
	assert_string_equal(content("v2/a/b/cpu.weight"), "50");
	assert_string_equal(content("v2/a/b/memory.max"), "1048576");
	assert_string_equal(content("v2/a/b/pids.max"), "77");
	make_file("v2/a/b/cpu.max", "");
	make_file("v2/a/b/memory.max", "");
	assert_int_equal(cgroup_limit(h, "a/b", &none), 0);
	assert_string_equal(content("v2/a/b/cpu.max"), "max 20000");
	assert_string_equal(content("v2/a/b/memory.max"), "max");
	assert_int_equal(cgroup_enter(h, "a/b", 4711), 0);
	assert_string_equal(content("v2/a/b/cgroup.procs"), "4711");
	assert_int_equal(cgroup_freeze(h, "a/b", true), 0);
	assert_string_equal(content("v2/a/b/cgroup.freeze"), "1");
	assert_int_equal(cgroup_kill(h, "a/b"), 0);
	assert_int_equal(cgroup_frozen(h, "a/b"), 0);
	assert_int_equal(cgroup_empty(h, "a/b"), 0);
	assert_int_equal(cgroup_stats(h, "a/b", &st), 0);
	assert_int_equal(st.cpu_ns, 1234000);
	assert_int_equal(st.memory_bytes, 4096);
	assert_int_equal(st.pids, 3);
	assert_int_equal(cgroup_stops(h, "a/b", &spans), 0);
	assert_int_equal(spans, 7);
	make_file("v2/a/b/cpu.weight", "");
	assert_int_equal(cgroup_weigh(h, "a/b", 25), 0);
	assert_string_equal(content("v2/a/b/cpu.weight"), "25");
	make_file("v2/a/b/memory.stat", "anon 5\nactive_file 4096\ninactive_file 8192\n");
	assert_int_equal(cgroup_cached(h, "a/b", &bytes), 0);
	assert_int_equal(bytes, 12288);
	make_file("v2/a/b/memory.high", "");
	assert_int_equal(cgroup_memory_wait(h, "a/b", true, 160 << 20), 0);
	assert_string_equal(content("v2/a/b/memory.high"), "162529280");
	make_file("v2/a/b/memory.high", "");
	assert_int_equal(cgroup_memory_wait(h, "a/b", false, 160 << 20), 0);
	assert_string_equal(content("v2/a/b/memory.high"), "max");
	/* Who has to wait has asked for more (a 32nd of the limit ahead), or would wait for ever.
	 */
	for (uint64_t max = 1 << 20; max < UINT64_C(1) << 40; max += max / 3)
		assert_true(cgroup_memory_waits_at(h, max) >= max - max / 32);
	make_file("v2/a/b/cpu.max", "15000 20000\n");
	make_file("v2/a/b/memory.max", "max\n");
	make_file("v2/a/b/pids.max", "77\n");
	assert_int_equal(cgroup_limits_read(h, "a/b", &back), 0);
	assert_int_equal(back.cpu_milli, 750);
	assert_int_equal(back.memory_max_bytes, 0);
	assert_int_equal(back.pids_max, 77);
	cgroup_host_free(h);
}

static void controllers_of_version_1_may_share_a_tree(void **state)
{
	const struct cgroup_limits l = { .cpu_milli = 500, .cpu_weight = 200 };
	const struct cgroup_limits memory = { .memory_max_bytes = 1 << 20 };
	struct cgroup_host *h;
	uint64_t spans;
	char line[1024];

	make_dir("v1");
	make_dir("v1/a");
	make_dir("bare");
	make_dir("bare/a");
	make_file("v1/a/cpu.cfs_period_us", "");
	make_file("v1/a/cpu.cfs_quota_us", "");
	make_file("v1/a/cpu.shares", "");
	make_file("v1/a/cgroup.procs", "");
	make_file("bare/a/cgroup.procs", "");
	(void)snprintf(line, sizeof(line),
		       "30 1 0:26 / %s/v1 rw - cgroup cgroup rw,cpu,cpuacct\n"
		       "31 1 0:27 / /nowhere rw - cgroup cgroup rw,cpuset\n"
		       "32 1 0:28 / %s/bare rw - cgroup2 cgroup2 rw\n",
		       dir, dir);
	h = fake(line);
	assert_int_equal(cgroup_limit(h, "a", &l), 0);
	assert_string_equal(content("v1/a/cpu.cfs_period_us"), "20000");
	assert_string_equal(content("v1/a/cpu.cfs_quota_us"), "10000");
	assert_string_equal(content("v1/a/cpu.shares"), "2048");
	make_file("v1/a/cpu.shares", "");
	assert_int_equal(cgroup_weigh(h, "a", 25), 0);
	assert_string_equal(content("v1/a/cpu.shares"), "256");
	make_file("v1/a/cpu.stat", "nr_periods 5\nnr_throttled 3\nthrottled_time 60000000\n");
	assert_int_equal(cgroup_stops(h, "a", &spans), 0);
	assert_int_equal(spans, 3);
	/* What nobody enforces is not promised. */
	assert_int_equal(cgroup_limit(h, "a", &memory), -EOPNOTSUPP);
	assert_int_equal(cgroup_enter(h, "a", 7), 0);
	assert_string_equal(content("v1/a/cgroup.procs"), "7");
	assert_string_equal(content("bare/a/cgroup.procs"), "7");
	cgroup_host_free(h);
}

static void garbage_in_mountinfo_does_no_harm(void **state)
{
	struct cgroup_host *h = fake("x\n - \n1 2 3 4 - cgroup2 \n30 1 0:26 / /x rw - cgroup \n\n");

	/* Without any v2 mount there is a private one. */
	assert_int_equal(cgroup_empty(h, "pando-no-such-group"), -ENOENT);
	cgroup_host_free(h);
}

static void a_cluster_has_a_name_of_its_own(void **state)
{
	char a[64], b[64];

	assert_int_equal(cgroup_cluster_name("/x/tree", a, sizeof(a)), 0);
	assert_int_equal(cgroup_cluster_name("/y/tree", b, sizeof(b)), 0);
	assert_string_not_equal(a, b);
	assert_int_equal(strncmp(a, "pando-tree-", 11), 0);
	assert_int_equal(cgroup_cluster_name("/x/tree", a, 8), -ENAMETOOLONG);
}

/* ---- this host ---- */

static struct cgroup_host *h;

static int begin(void **state)
{
	int r = cgroup_host_new(&h, NULL);

	return r < 0 ? r : cgroup_make(h, group);
}

static int end(void **state)
{
	int r = cgroup_kill(h, group);

	if (r == 0)
		r = cgroup_wait_empty(h, group, 10000);
	if (r == 0)
		r = cgroup_remove(h, group);
	cgroup_host_free(h);
	return r;
}

/* Kills what is in the group, and waits until the last one is out of it. */
static void clear(void)
{
	assert_int_equal(cgroup_kill(h, group), 0);
	assert_int_equal(cgroup_wait_empty(h, group, 10000), 0);
}

/* A child inside the group that does what it is told. */
static pid_t child(void (*work)(int), int arg)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (cgroup_enter(h, group, 0) < 0)
			_exit(99);
		work(arg);
		_exit(0);
	}
	return pid;
}

static void sleeps(int arg)
{
	(void)pause();
}

static void spin(int arg)
{
	for (;;)
		;
}

static void forks(int arg)
{
	int n = 0;

	for (; n < 100; n++) {
		pid_t pid = fork();

		if (pid == 0) {
			(void)pause();
			_exit(0);
		}
		if (pid < 0)
			_exit(errno == EAGAIN ? n : 255);
	}
	_exit(n);
}

/* Where the host has the controllers: what was written is read back. */
static void limits_are_read_back(void **state)
{
	const struct cgroup_limits l = { .cpu_milli = 500,
					 .memory_max_bytes = 64 << 20,
					 .pids_max = 20 };
	struct cgroup_limits back;
	struct cgroup_offers offers;
	uint64_t bytes;

	(void)state;
	cgroup_host_offers(h, &offers);
	if (!offers.cpu || !offers.memory || !offers.pids)
		skip();
	assert_int_equal(cgroup_limits_read(h, group, &back), 0);
	assert_true(back.cpu_milli == 0 && back.memory_max_bytes == 0 && back.pids_max == 0);
	assert_int_equal(cgroup_limit(h, group, &l), 0);
	assert_int_equal(cgroup_limits_read(h, group, &back), 0);
	assert_int_equal(back.cpu_milli, 500);
	assert_int_equal(back.memory_max_bytes, 64 << 20);
	assert_int_equal(back.pids_max, 20);
	assert_int_equal(cgroup_cached(h, group, &bytes), 0);
	assert_int_equal(cgroup_memory_wait(h, group, true, 64 << 20), 0);
	assert_int_equal(cgroup_memory_wait(h, group, false, 64 << 20), 0);
}

static void touch(int bytes)
{
	char *m = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	if (m == MAP_FAILED)
		_exit(1);
	memset(m, 1, (size_t)bytes);
}

static bool has_memory(bool *v2)
{
	struct cgroup_offers offers;

	cgroup_host_offers(h, &offers);
	*v2 = cgroup_memory_waits_at(h, 1 << 20) < 1 << 20;
	return offers.memory;
}

/* Touches more than the limit, which is raised when that is told. How did it end? */
static int raised_when_told(void)
{
	struct cgroup_limits l = { .memory_max_bytes = 64 << 20 };
	struct pollfd f;
	int status;
	pid_t pid;

	assert_int_equal(cgroup_limit(h, group, &l), 0);
	assert_int_equal(cgroup_memory_wait(h, group, true, l.memory_max_bytes), 0);
	f.fd = cgroup_memory_full(h, group, &f.events);
	assert_true(f.fd >= 0);
	assert_int_equal(poll(&f, 1, 0), 0);
	pid = child(touch, 96 << 20);
	assert_int_equal(poll(&f, 1, 10000), 1);
	assert_int_equal(cgroup_memory_full_seen(f.fd), 0);
	l.memory_max_bytes = 160 << 20;
	assert_int_equal(cgroup_limit(h, group, &l), 0);
	assert_int_equal(cgroup_memory_wait(h, group, true, l.memory_max_bytes), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)close(f.fd);
	clear();
	return status;
}

static void who_hits_the_limit_of_memory_is_told_of_and_goes_on_with_a_higher_one(void **state)
{
	const struct cgroup_limits none = { 0 };
	int status = SIGKILL;
	bool v2;

	(void)state;
	if (!has_memory(&v2))
		skip();
	/* Version 2 has it wait for moments only: where we stand still for longer it is killed. */
	for (int i = 0; i < (v2 ? 20 : 1) && status == SIGKILL; i++)
		status = raised_when_told();
	assert_int_equal(status, 0);
	assert_int_equal(cgroup_memory_wait(h, group, false, 0), 0);
	assert_int_equal(cgroup_limit(h, group, &none), 0);
}

/* Nobody is killed below the limit, however long it takes; a daemon may look away meanwhile. */
static void who_comes_near_the_limit_of_memory_is_not_killed(void **state)
{
	const struct cgroup_limits l = { .memory_max_bytes = 64 << 20 }, none = { 0 };
	struct pollfd f;
	int status;
	bool v2;

	(void)state;
	if (!has_memory(&v2))
		skip();
	assert_int_equal(cgroup_limit(h, group, &l), 0);
	assert_int_equal(cgroup_memory_wait(h, group, true, l.memory_max_bytes), 0);
	f.fd = cgroup_memory_full(h, group, &f.events);
	assert_true(f.fd >= 0);
	assert_true(waitpid(child(touch, 63 << 20), &status, 0) > 0);
	assert_int_equal(status, 0);
	assert_int_equal(poll(&f, 1, 0), v2 ? 1 : 0);
	(void)close(f.fd);
	assert_int_equal(cgroup_memory_wait(h, group, false, 0), 0);
	assert_int_equal(cgroup_limit(h, group, &none), 0);
}

static void who_needs_more_memory_than_the_limit_is_killed_and_others_are_not(void **state)
{
	const struct cgroup_limits l = { .memory_max_bytes = 16 << 20 }, none = { 0 };
	struct cgroup_offers offers;
	int status;
	pid_t other;

	(void)state;
	cgroup_host_offers(h, &offers);
	if (!offers.memory)
		skip();
	assert_int_equal(cgroup_limit(h, group, &l), 0);
	other = child(sleeps, 0);
	assert_true(waitpid(child(touch, 64 << 20), &status, 0) > 0);
	assert_int_equal(status, SIGKILL);
	assert_int_equal(waitpid(other, &status, WNOHANG), 0);
	clear();
	assert_int_equal(waitpid(other, &status, 0), other);
	assert_int_equal(cgroup_limit(h, group, &none), 0);
}

/* Two who spin have, together, no more than the limit; what of it they get is not ours to say. */
static void a_limit_of_cpu_time_holds(void **state)
{
	const struct cgroup_limits l = { .cpu_milli = 200 }, none = { 0 };
	uint64_t began_ns, spans, spans_before;
	struct cgroup_stats a, b;
	struct cgroup_offers offers;
	pid_t pids[2];

	(void)state;
	cgroup_host_offers(h, &offers);
	if (!offers.cpu)
		skip();
	assert_int_equal(cgroup_limit(h, group, &l), 0);
	assert_int_equal(cgroup_stops(h, group, &spans_before), 0);
	began_ns = clock_mono_ns();
	assert_int_equal(cgroup_stats(h, group, &a), 0);
	pids[0] = child(spin, 0);
	pids[1] = child(spin, 0);
	do {
		(void)poll(NULL, 0, 100);
		assert_int_equal(cgroup_stats(h, group, &b), 0);
		assert_int_equal(cgroup_stops(h, group, &spans), 0);
	} while (b.cpu_ns - a.cpu_ns < 200 * NS_PER_MS || spans == spans_before);
	assert_true((b.cpu_ns - a.cpu_ns) * 10 < (clock_mono_ns() - began_ns) * 3);
	clear();
	for (int i = 0; i < 2; i++)
		assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
	assert_int_equal(cgroup_limit(h, group, &none), 0);
}

static void limits_of_tasks_hold(void **state)
{
	const struct cgroup_limits l = { .pids_max = 10 };
	struct cgroup_offers offers;
	int status;

	cgroup_host_offers(h, &offers);
	if (!offers.pids)
		skip();
	assert_int_equal(cgroup_limit(h, group, &l), 0);
	assert_int_equal(waitpid(child(forks, 0), &status, 0) > 0, 1);
	assert_int_equal(WEXITSTATUS(status), 9);
	clear();
}

static void a_frozen_group_uses_no_cpu_and_can_be_killed(void **state)
{
	struct cgroup_stats before, a, b;
	int status;
	pid_t pid;

	/* Other tests have used the group: it spins, and so is in all trees, when time is added. */
	assert_int_equal(cgroup_stats(h, group, &before), 0);
	pid = child(spin, 0);
	do {
		assert_int_equal(cgroup_stats(h, group, &a), 0);
		(void)poll(NULL, 0, 1);
	} while (a.cpu_ns < before.cpu_ns + 5 * NS_PER_MS);
	assert_int_equal(cgroup_freeze(h, group, true), 0);
	while (cgroup_frozen(h, group) == 0)
		(void)poll(NULL, 0, 1);
	assert_int_equal(cgroup_stats(h, group, &a), 0);
	(void)poll(NULL, 0, 50);
	assert_int_equal(cgroup_stats(h, group, &b), 0);
	assert_true(b.cpu_ns - a.cpu_ns < NS_PER_MS);
	assert_int_equal(cgroup_remove(h, group), -EBUSY);
	assert_int_equal(cgroup_kill(h, group), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_int_equal(cgroup_freeze(h, group, false), 0);
}

static void whoever_holds_the_entrances_may_enter(void **state)
{
	int fds[CGROUP_FDS_MAX], n = cgroup_entrances(h, group, fds), status;
	pid_t pid;

	assert_true(n > 0);
	pid = fork();
	if (pid == 0) {
		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(1);
		for (int i = 0; i < n; i++) {
			if (write(fds[i], "0", 1) < 0)
				_exit(2);
		}
		(void)pause();
		_exit(3);
	}
	while (cgroup_empty(h, group) == 1)
		(void)poll(NULL, 0, 1);
	assert_int_equal(cgroup_kill(h, group), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, SIGKILL);
	for (int i = 0; i < n; i++)
		(void)close(fds[i]);
}

static void the_entrance_to_where_turns_are_waited_for_is_the_last(void **state)
{
	int fds[CGROUP_FDS_MAX], n = cgroup_entrances(h, group, fds);
	char link[32], path[4096];

	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		ssize_t len;

		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fds[i]);
		len = readlink(link, path, sizeof(path) - 1);
		assert_true(len > 0);
		path[len] = '\0';
		if (i < n - 1)
			assert_false(strstr(path, "/cpu/") || strstr(path, "/cpu,"));
		(void)close(fds[i]);
	}
}

/* What `pando down` and a tenant's end wait for: the last exit, also of one further below. */
static void an_empty_group_is_waited_for(void **state)
{
	int status, fds[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = child(sleeps, 0);
	while (cgroup_empty(h, group) == 1)
		(void)poll(NULL, 0, 1);
	assert_int_equal(cgroup_wait_empty(h, group, 20), -ETIMEDOUT);
	/* Somebody ends it while we wait. */
	if (fork() == 0) {
		(void)!read(fds[0], &byte, 1);
		(void)kill(pid, SIGKILL);
		_exit(0);
	}
	assert_int_equal(write(fds[1], "", 1), 1);
	assert_int_equal(cgroup_wait_empty(h, group, 10000), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(wait(&status) > 0);
	assert_int_equal(cgroup_wait_empty(h, group, 0), 0);
	assert_int_equal(cgroup_wait_empty(h, "pando-no-such-group", 0), -ENOENT);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void removing_what_is_gone_is_fine(void **state)
{
	char below[CGROUP_PATH_MAX];

	(void)snprintf(below, sizeof(below), "%s/x/y/z", group);
	assert_int_equal(cgroup_make(h, below), 0);
	(void)snprintf(below, sizeof(below), "%s/x", group);
	assert_int_equal(cgroup_remove(h, below), 0);
	assert_int_equal(cgroup_remove(h, below), 0);
	assert_int_equal(cgroup_empty(h, below), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest made_up[] = {
		cmocka_unit_test(a_unified_host_is_driven_by_its_files),
		cmocka_unit_test(controllers_of_version_1_may_share_a_tree),
		cmocka_unit_test(garbage_in_mountinfo_does_no_harm),
		cmocka_unit_test(a_cluster_has_a_name_of_its_own),
	};
	const struct CMUnitTest host[] = {
		cmocka_unit_test(limits_are_read_back),
		cmocka_unit_test(
			who_hits_the_limit_of_memory_is_told_of_and_goes_on_with_a_higher_one),
		cmocka_unit_test(who_comes_near_the_limit_of_memory_is_not_killed),
		cmocka_unit_test(who_needs_more_memory_than_the_limit_is_killed_and_others_are_not),
		cmocka_unit_test(a_limit_of_cpu_time_holds),
		cmocka_unit_test(limits_of_tasks_hold),
		cmocka_unit_test(a_frozen_group_uses_no_cpu_and_can_be_killed),
		cmocka_unit_test(whoever_holds_the_entrances_may_enter),
		cmocka_unit_test(the_entrance_to_where_turns_are_waited_for_is_the_last),
		cmocka_unit_test(an_empty_group_is_waited_for),
		cmocka_unit_test(removing_what_is_gone_is_fine),
	};
	const char *base = getenv("PANDO_TEST_DIR");
	char made[] = "/tmp/ptXXXXXX", cmd[256];
	int r;

	if (geteuid() != 0) {
		printf("needs root\n");
		return 77;
	}
	if (base == NULL)
		base = mkdtemp(made);
	(void)snprintf(dir, sizeof(dir), "%.100s", base);
	if (cgroup_cluster_name(dir, group, sizeof(group)) < 0)
		return 1;
	r = cmocka_run_group_tests(made_up, NULL, NULL);
	r += cmocka_run_group_tests(host, begin, end);
	(void)snprintf(cmd, sizeof(cmd), "rm -rf %s/*", dir);
	r += system(cmd);
	if (getenv("PANDO_TEST_DIR") == NULL)
		r += rmdir(dir);
	return r != 0;
}
