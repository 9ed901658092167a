/* SPDX-License-Identifier: Apache-2.0 */
/* Real processes, real files, real kill -9; only the network is a datagram socket. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/types.h"
#include "tests/lib/naming_proc.h"
#include "tests/unit/unit.h"

struct cluster {
	char base[96];
	struct proc p[4];  /* 1 .. 3 */
	unsigned names;    /* tenants tried */
	unsigned id[2000]; /* of the tenant, where it was acknowledged */
};

static struct cluster c;

static int rm(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	return remove(path);
}

static bool settled(unsigned voters)
{
	int role, leader, n, disk;
	unsigned long applied;
	unsigned long first = 0;
	const char *s;

	for (int i = 1; i <= 3; i++) {
		if (c.p[i].pid == 0)
			continue;
		s = proc_ask(&c.p[i], 5000, "status");
		if (s == NULL ||
		    sscanf(s, "%d %d %d %lu %d", &role, &leader, &n, &applied, &disk) != 5)
			return false;
		if (leader == 0 || n != (int)voters || (first != 0 && applied != first))
			return false;
		first = applied;
	}
	return true;
}

static void wait_settled(unsigned voters)
{
	uint64_t until = clock_mono_ns() + 20 * NS_PER_S;

	while (!settled(voters)) {
		assert_true(clock_mono_ns() < until);
		usleep(10000);
	}
}

static void grow(void)
{
	const char *s;

	proc_start(&c.p[1], c.base, 1);
	s = proc_ask(&c.p[1], 5000, "boot");
	assert_string_equal(s, "0");
	for (int i = 2; i <= 3; i++) {
		static char ticket[1 << 16];

		s = proc_ask(&c.p[1], 20000, "invite n%d", i);
		assert_non_null(s);
		assert_true(strlen(s) > 20);
		strcpy(ticket, s);
		proc_start(&c.p[i], c.base, i);
		s = proc_ask(&c.p[i], 5000, "join %s", ticket);
		assert_string_equal(s, "0");
	}
	wait_settled(3);
}

static int setup(void **state)
{
	const char *dir = getenv("PANDO_TEST_DIR");

	memset(&c, 0, sizeof(c));
	snprintf(c.base, sizeof(c.base), "%s/nmXXXXXX", dir == NULL ? "/tmp" : dir);
	assert_non_null(mkdtemp(c.base));
	return 0;
}

static int teardown(void **state)
{
	char dir[112];

	for (int i = 1; i <= 3; i++)
		proc_kill(&c.p[i]);
	/* Where the disk was a small one. */
	snprintf(dir, sizeof(dir), "%s/n1", c.base);
	(void)umount2(dir, MNT_DETACH);
	return nftw(c.base, rm, 16, FTW_DEPTH | FTW_PHYS);
}

/* One command at @node. Returns err; an acknowledged tenant is remembered. */
static int tenant(int node, int ms)
{
	unsigned k = c.names++;
	const char *s = proc_ask(&c.p[node], ms, "tenant t%u", k);
	int err = -ETIMEDOUT;
	unsigned id = 0;

	if (s == NULL || sscanf(s, "%d %u", &err, &id) != 2)
		return -ECONNRESET;
	if (err == 0)
		c.id[k] = id;
	return err;
}

static void nothing_is_lost(int node)
{
	for (unsigned k = 0; k < c.names; k++) {
		int err = 0;
		unsigned id = 0;
		const char *s;

		if (c.id[k] == 0)
			continue;
		s = proc_ask(&c.p[node], 20000, "find t%u", k);
		assert_non_null(s);
		assert_int_equal(sscanf(s, "%d %u", &err, &id), 2);
		assert_int_equal(err, 0);
		assert_int_equal(id, c.id[k]);
	}
}

static void three_nodes_survive_the_death_of_any_one(void **state)
{
	grow();
	for (int round = 0; round < 3; round++) {
		int dead = round % 3 + 1;
		int other = dead % 3 + 1;

		for (int i = 0; i < 10; i++)
			assert_int_equal(tenant(i % 3 + 1, 20000), 0);
		/* With one of its commands on the way. */
		proc_send(&c.p[dead], "tenant x%d", round);
		proc_kill(&c.p[dead]);
		for (int i = 0; i < 5; i++)
			assert_int_equal(tenant(other, 20000), 0);
		proc_start(&c.p[dead], c.base, dead);
	}
	wait_settled(3);
	for (int i = 1; i <= 3; i++)
		nothing_is_lost(i);
}

static void all_nodes_die_and_nothing_is_lost(void **state)
{
	grow();
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 12; i++)
			assert_int_equal(tenant(i % 3 + 1, 20000), 0);
		for (int i = 1; i <= 3; i++)
			proc_send(&c.p[i], "tenant y%d%d", round, i);
		for (int i = 1; i <= 3; i++)
			proc_kill(&c.p[i]);
		for (int i = 1; i <= 3; i++)
			proc_start(&c.p[i], c.base, i);
	}
	assert_int_equal(tenant(1, 20000), 0);
	wait_settled(3);
	nothing_is_lost(2);
}

/* A node dies at each named point of writing; alone, so that only its own disk can know. */
static void every_fault_point_is_survived(void **state)
{
	static const char *const points[] = { "naming.log.write",     "naming.log.sync",
					      "naming.log.segment",   "naming.snapshot.write",
					      "naming.snapshot.sync", "naming.snapshot.rename" };

	proc_start(&c.p[1], c.base, 1);
	assert_string_equal(proc_ask(&c.p[1], 5000, "boot"), "0");
	for (unsigned k = 0; k < 2 * ARRAY_LEN(points); k++) {
		const char *how = k % 2 == 0 ? "kill" : "fail";
		bool died = false;

		assert_int_equal(tenant(1, 20000), 0);
		proc_ask(&c.p[1], 5000, "fault %s:1:%s", points[k / 2], how);
		/* 256 frames fill a segment, 200 entries make a snapshot. */
		for (unsigned i = 0; i < (k % 2 == 0 ? 20000 : 300) && !died; i++)
			died = proc_ask(&c.p[1], 20000, "find nobody") == NULL;
		if (died) {
			proc_kill(&c.p[1]);
			proc_start(&c.p[1], c.base, 1);
		}
		assert_true(died == (k % 2 == 0));
	}
	nothing_is_lost(1);
}

static void a_full_disk_says_so_and_works_again(void **state)
{
	char fill[128];
	char dir[112];
	static char block[4096];
	int err = 0;
	int fd;

	if (geteuid() != 0)
		skip();
	snprintf(dir, sizeof(dir), "%s/n1", c.base);
	assert_int_equal(mkdir(dir, 0700), 0);
	if (mount("tmpfs", dir, "tmpfs", 0, "size=8m") != 0)
		skip();
	proc_start(&c.p[1], c.base, 1);
	assert_string_equal(proc_ask(&c.p[1], 5000, "boot"), "0");
	for (int i = 0; i < 5; i++)
		assert_int_equal(tenant(1, 20000), 0);
	snprintf(fill, sizeof(fill), "%s/fill", dir);
	fd = open(fill, O_WRONLY | O_CREAT, 0600);
	while (write(fd, block, sizeof(block)) == (ssize_t)sizeof(block))
		;
	close(fd);
	for (int i = 0; i < 10 && err != -ENOSPC; i++) {
		const char *s = proc_ask(&c.p[1], 25000, "find nobody");

		assert_non_null(s);
		err = atoi(s);
	}
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(tenant(1, 25000), -ENOSPC);
	/* Killed while it is full: it comes back, and knows everything. */
	proc_kill(&c.p[1]);
	proc_start(&c.p[1], c.base, 1);
	assert_int_equal(tenant(1, 25000), -ENOSPC);
	assert_int_equal(unlink(fill), 0);
	err = -ENOSPC;
	for (int i = 0; i < 20 && err == -ENOSPC; i++)
		err = tenant(1, 20000);
	assert_int_equal(err, 0);
	nothing_is_lost(1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(three_nodes_survive_the_death_of_any_one, setup,
						teardown),
		cmocka_unit_test_setup_teardown(all_nodes_die_and_nothing_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(every_fault_point_is_survived, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_says_so_and_works_again, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
