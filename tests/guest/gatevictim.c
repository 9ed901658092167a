/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gatevictim spin|read|sleep|children - a process that notices when something
 * was done to it: a register, a vector register, its mask, a call that returned
 * what it never may. Each byte on stdin is answered by one on stdout: '.' or,
 * once anything was wrong, '!'. Ends with 0 at the end of stdin.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *wrong;

static void check_mask(void)
{
	sigset_t now;

	(void)sigprocmask(SIG_BLOCK, NULL, &now);
	for (int s = 1; s < 64; s++)
		if (s != 32 && s != 33 && sigismember(&now, s) != (s == SIGUSR2))
			wrong = "mask";
}

/* Keeps values in every register that it can, for a while; the sum tells. */
static void check_registers(void)
{
	double f[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, g = 6;

	for (int i = 0; i < 200000; i++) {
		a += b;
		b ^= c + (uint64_t)i;
		c += d;
		d ^= e;
		e += g;
		g ^= a;
		for (int k = 0; k < 8; k++)
			f[k] = f[k] * 0.5 + k;
	}
	static uint64_t first[6];
	static double ffirst[8];
	static int have;
	uint64_t now[6] = { a, b, c, d, e, g };

	if (!have) {
		memcpy(first, now, sizeof(now));
		memcpy(ffirst, f, sizeof(f));
		have = 1;
	}
	if (memcmp(first, now, sizeof(now)) != 0 || memcmp(ffirst, f, sizeof(f)) != 0)
		wrong = "registers";
}

static void check_sleep(void)
{
	struct timespec t = { 0, 20000000 }, a, b;
	uint32_t word = 0;
	long us;

	(void)clock_gettime(CLOCK_MONOTONIC, &a);
	/* Like nanosleep it goes on by a restart block, and no filter asks anybody about it. */
	if (syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &t) != -1 || errno != ETIMEDOUT)
		wrong = "a sleep was interrupted";
	(void)clock_gettime(CLOCK_MONOTONIC, &b);
	us = (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000;
	if (us < 20000)
		wrong = "a sleep was short";
}

static int answer(void)
{
	char c;
	ssize_t n = read(0, &c, 1);

	if (n == 0)
		return 0;
	if (n < 0 && errno == EAGAIN)
		return 1;
	if (n < 0) {
		wrong = "read failed";
		return 1;
	}
	check_mask();
	c = wrong ? '!' : '.';
	if (wrong)
		(void)dprintf(2, "gatevictim: %s\n", wrong);
	return write(1, &c, 1) == 1;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "spin";
	sigset_t s;

	(void)sigemptyset(&s);
	(void)sigaddset(&s, SIGUSR2);
	(void)sigprocmask(SIG_SETMASK, &s, NULL);
	if (strcmp(mode, "children") == 0) {
		pid_t child = fork();

		if (child == 0) {
			for (;;)
				(void)pause();
		}
	}
	/* Blocked in read() the whole time, or only looking at it between the checks. */
	if (strcmp(mode, "spin") == 0 || strcmp(mode, "sleep") == 0)
		(void)fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
	while (answer()) {
		if (strcmp(mode, "spin") == 0)
			check_registers();
		if (strcmp(mode, "sleep") == 0)
			check_sleep();
	}
	return wrong ? 1 : 0;
}
