/* SPDX-License-Identifier: Apache-2.0 */
/* timerfd.c - timerfd: expirations, absolute, disarmed. */
#include "tests/guest/guest.h"

#include <sys/timerfd.h>

int main(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct itimerspec t = { { 0, 5000000 }, { 0, 5000000 } }, old;
	struct timespec now;
	uint64_t n;

	must(fd >= 0 && timerfd_settime(fd, 0, &t, NULL) == 0);
	must(read(fd, &n, 8) == 8 && n >= 1);
	say("fires");
	pause_ms(30);
	must(read(fd, &n, 8) == 8 && n >= 2);
	say("counts missed ones");
	t = (struct itimerspec){ 0 };
	must(timerfd_settime(fd, 0, &t, &old) == 0);
	say("was periodic: %ld ns", old.it_interval.tv_nsec);
	must(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
	t.it_value = now; /* past: at once */
	must(timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL) == 0);
	must(read(fd, &n, 8) == 8);
	say("absolute: %lu", n);
	must(timerfd_gettime(fd, &old) == 0 && old.it_value.tv_nsec == 0);
	return 0;
}
