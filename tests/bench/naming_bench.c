/* SPDX-License-Identifier: Apache-2.0 */
/*
 * naming_bench.c - commands and failover of naming, as ratios to a bare durable write.
 *
 * Three processes with real files over datagram sockets, on one disk and few cores:
 * three nodes' writes share what the bare write has alone. Each command is a barrier
 * from the leader or from a follower; every one is durable on two nodes.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/types.h"
#include "tests/bench/bench.h"
#include "tests/lib/naming_proc.h"

#define ELECTION_MS 200 /* of the nodes of naming_proc */

static struct proc p[4];
static char base[96];

static int rm(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st;
	(void)flag;
	(void)f;
	return remove(path);
}

/* ns of one durable 4 KiB write, blocking, into zeros that are there already: the median. */
static double bare_write(unsigned count)
{
	static char block[4096] __attribute__((aligned(4096)));
	double *ns = calloc(count, sizeof(*ns));
	char name[128];
	double median;
	int fd;

	snprintf(name, sizeof(name), "%s/bare", base);
	fd = open(name, O_RDWR | O_CREAT, 0600);
	CHECK(fd >= 0 && ns != NULL);
	for (unsigned i = 0; i < count; i++)
		CHECK(pwrite(fd, block, sizeof(block), i * 4096L) == (ssize_t)sizeof(block));
	CHECK(fsync(fd) == 0);
	close(fd);
	fd = open(name, O_RDWR | O_DSYNC);
	CHECK(fd >= 0);
	for (unsigned i = 0; i < count; i++) {
		uint64_t t0 = clock_mono_ns();

		CHECK(pwrite(fd, block, sizeof(block), i * 4096L) == (ssize_t)sizeof(block));
		ns[i] = (double)(clock_mono_ns() - t0);
	}
	close(fd);
	median = bench_median(ns, count);
	free(ns);
	return median;
}

static int leader(void)
{
	for (int i = 1; i <= 3; i++) {
		const char *s = p[i].pid == 0 ? NULL : proc_ask(&p[i], 5000, "status");

		if (s != NULL && atoi(s) == 4)
			return i;
	}
	return 0;
}

static void grow(void)
{
	static char ticket[1 << 16];
	const char *s;
	int voters = 0;

	proc_start(&p[1], base, 1);
	CHECK(strcmp(proc_ask(&p[1], 5000, "boot"), "0") == 0);
	for (int i = 2; i <= 3; i++) {
		s = proc_ask(&p[1], 20000, "invite n%d", i);
		CHECK(s != NULL && strlen(s) > 20);
		strcpy(ticket, s);
		proc_start(&p[i], base, i);
		CHECK(strcmp(proc_ask(&p[i], 5000, "join %s", ticket), "0") == 0);
	}
	while (voters != 3) {
		s = proc_ask(&p[3], 5000, "status");
		CHECK(s != NULL && sscanf(s, "%*d %*d %d", &voters) == 1);
		usleep(5000);
	}
}

static double run(int node, unsigned count, unsigned window)
{
	unsigned long ns = 0;
	unsigned failed = 0;
	const char *s = proc_ask(&p[node], 60000, "run %u %u", count, window);

	CHECK(s != NULL && sscanf(s, "%lu %u", &ns, &failed) == 2 && failed == 0);
	return (double)ns / count;
}

static void failover(unsigned rounds)
{
	double sum = 0;
	double worst = 0;

	for (unsigned i = 0; i < rounds; i++) {
		int dead = leader();
		int other = dead % 3 + 1;
		uint64_t t0;
		double ms;

		CHECK(dead != 0);
		CHECK(proc_ask(&p[other], 20000, "find x") != NULL);
		t0 = clock_mono_ns();
		proc_kill(&p[dead]);
		CHECK(proc_ask(&p[other], 20000, "find x") != NULL);
		ms = (double)(clock_mono_ns() - t0) / 1e6;
		sum += ms;
		worst = ms > worst ? ms : worst;
		proc_start(&p[dead], base, dead);
		CHECK(proc_ask(&p[dead], 20000, "find x") != NULL);
	}
	/* From the kill of the leader to the answer of the next command, against the timeout. */
	bench_row_max("naming_failover", "ms", sum / rounds, ELECTION_MS, 3);
	printf("naming: the slowest failover of %u took %.0f ms\n", rounds, worst);
}

int main(void)
{
	const char *dir = getenv("PANDO_TEST_DIR");
	double ns[4];
	double again;
	double bare;
	int l;

	snprintf(base, sizeof(base), "%s/nbXXXXXX", dir == NULL ? "/tmp" : dir);
	CHECK(mkdtemp(base) != NULL);
	bare = bare_write(1000);
	grow();
	l = leader();
	ns[0] = run(l, 1000, 1);
	ns[1] = run(l % 3 + 1, 1000, 1);
	ns[2] = run(l, 20000, 64);
	ns[3] = run(l, 20000, 2000);
	/* Other load only slows a write down: the better of before and after. */
	again = bare_write(1000);
	bare = MIN(bare, again);
	bench_row_max("naming_command_leader", "us", ns[0] / 1e3, bare / 1e3, 4);
	bench_row_max("naming_command_follower", "us", ns[1] / 1e3, bare / 1e3, 5);
	bench_row_max("naming_command_64_under_way", "us", ns[2] / 1e3, bare / 1e3, 0.25);
	bench_row_max("naming_command_2000_handed_in", "us", ns[3] / 1e3, bare / 1e3, 0.25);
	printf("naming: %.0f commands/s with 64 under way; reference: one durable 4 KiB write\n",
	       1e9 / ns[2]);
	failover(5);
	for (int i = 1; i <= 3; i++)
		proc_kill(&p[i]);
	return nftw(base, rm, 16, FTW_DEPTH | FTW_PHYS);
}
