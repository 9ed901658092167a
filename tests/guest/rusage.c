/* SPDX-License-Identifier: Apache-2.0 */
/* rusage.c - time used by itself and its children. */
#include "tests/guest/guest.h"

#include <sys/resource.h>
#include <sys/times.h>

static double spin(double seconds)
{
	struct timespec t;

	do {
		for (volatile int i = 0; i < 100000; i++)
			;
		must(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
	} while ((double)t.tv_sec + (double)t.tv_nsec / 1e9 < seconds);
	return seconds;
}

int main(void)
{
	struct rusage ru, before;
	struct tms tms;
	int status;
	pid_t pid;

	spin(0.05);
	must(getrusage(RUSAGE_SELF, &ru) == 0);
	say("itself: %d", ru.ru_utime.tv_sec + ru.ru_stime.tv_sec < 10 &&
				  ru.ru_utime.tv_usec + ru.ru_stime.tv_usec >= 20000);
	must(getrusage(RUSAGE_CHILDREN, &before) == 0);
	pid = fork_child();
	if (pid == 0) {
		spin(0.1);
		_exit(0);
	}
	must(wait4(pid, &status, 0, &ru) == pid && status == 0);
	say("wait4: %d", ru.ru_utime.tv_usec + ru.ru_stime.tv_usec >= 50000);
	must(getrusage(RUSAGE_CHILDREN, &ru) == 0);
	say("children: %d", ru.ru_utime.tv_usec + ru.ru_stime.tv_usec >= 50000);
	must(times(&tms) != (clock_t)-1);
	say("times: %d", tms.tms_cutime + tms.tms_cstime >= 5);
	fails(EINVAL, getrusage(77, &ru));
	return 0;
}
