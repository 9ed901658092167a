/* SPDX-License-Identifier: Apache-2.0 */
/* clocks.c - clocks: monotonic, resolution, nanosleep sleeps long enough. */
#include "tests/guest/guest.h"

static int64_t now(clockid_t c)
{
	struct timespec t;

	must(clock_gettime(c, &t) == 0);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int main(void)
{
	static const clockid_t clocks[] = { CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW,
					    CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID };
	struct timespec res, abs;
	struct timeval tv;
	int64_t a, b;

	for (size_t c = 0; c < COUNT(clocks); c++) {
		b = now(clocks[c]);
		for (int i = 0; i < 100000; i++) {
			a = now(clocks[c]);
			must(a >= b);
			b = a;
		}
		must(clock_getres(clocks[c], &res) == 0 && res.tv_nsec > 0);
	}
	say("never backwards");
	a = now(CLOCK_MONOTONIC);
	pause_ms(20);
	say("slept long enough %d", now(CLOCK_MONOTONIC) - a >= 20000000);
	a = now(CLOCK_REALTIME) + 10000000;
	abs = (struct timespec){ a / 1000000000, a % 1000000000 };
	must(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &abs, NULL) == 0);
	say("until then %d", now(CLOCK_REALTIME) >= a);
	must(gettimeofday(&tv, NULL) == 0);
	say("same time %d", llabs(tv.tv_sec - time(NULL)) <= 1);
	must(now(CLOCK_BOOTTIME) >= 0);
	fails(EINVAL, clock_gettime(12345, &res));
	fails(EPERM, clock_settime(CLOCK_REALTIME, &abs));
	return 0;
}
