/* SPDX-License-Identifier: Apache-2.0 */
/* affinity.c - sched_yield, affinity, and that nproc, affinity and /proc agree. */
#include "tests/guest/guest.h"

static int cpus_of_proc(const char *path, const char *prefix)
{
	char line[4096];
	int n = 0;
	FILE *f = fopen(path, "r");

	must(f != NULL);
	while (fgets(line, sizeof(line), f) != NULL)
		n += strncmp(line, prefix, strlen(prefix)) == 0 &&
		     line[strlen(prefix)] >= (prefix[0] == 'c' ? '0' : 0);
	fclose(f);
	return n;
}

int main(void)
{
	cpu_set_t set, one;
	int first = -1;
	pid_t pid;

	sched_yield();
	must(sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) >= 1);
	say("nproc agrees %d", sysconf(_SC_NPROCESSORS_ONLN) >= CPU_COUNT(&set));
	say("/proc/cpuinfo agrees %d",
	    cpus_of_proc("/proc/cpuinfo", "processor") >= CPU_COUNT(&set));
	say("/proc/stat agrees %d", cpus_of_proc("/proc/stat", "cpu") >= CPU_COUNT(&set));
	for (int i = 0; i < CPU_SETSIZE && first < 0; i++)
		if (CPU_ISSET(i, &set))
			first = i;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	must(sched_setaffinity(0, sizeof(one), &one) == 0);
	pid = fork_child();
	if (pid == 0) {
		CPU_ZERO(&set);
		must(sched_getaffinity(0, sizeof(set), &set) == 0);
		_exit(CPU_EQUAL(&set, &one));
	}
	say("one, and inherited: %s", status_text(reap(pid)));
	CPU_ZERO(&one);
	fails(EINVAL, sched_setaffinity(0, sizeof(one), &one));
	fails(ESRCH, sched_setaffinity(0x3ffffff, sizeof(set), &set));
	return 0;
}
