/* SPDX-License-Identifier: Apache-2.0 */
/* getcpu.c - getcpu gives a CPU; sysinfo and sysconf agree with /proc/meminfo. */
#include "tests/guest/guest.h"

#include <sys/sysinfo.h>

int main(void)
{
	unsigned cpu = ~0U, node = ~0U;
	struct sysinfo si;
	char line[128];
	long kb = 0;
	FILE *f = fopen("/proc/meminfo", "r");

	must(syscall(SYS_getcpu, &cpu, &node, NULL) == 0 && cpu < 4096);
	must(sched_getcpu() >= 0);
	must(f != NULL && fgets(line, sizeof(line), f) != NULL);
	must(sscanf(line, "MemTotal: %ld kB", &kb) == 1);
	must(sysinfo(&si) == 0);
	say("memory agrees %d", (long)(si.totalram * si.mem_unit / 1024) == kb);
	say("uptime is positive %d, processes %d", si.uptime > 0, si.procs > 0);
	say("pages %d", sysconf(_SC_PHYS_PAGES) == kb / 4);
	return 0;
}
