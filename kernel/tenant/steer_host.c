/* SPDX-License-Identifier: Apache-2.0 */
/* steer_host.c - see steer.h: the host's allocator. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernel/tenant/steer.h"

#define IDS_PER_MS 10 /* that a processor can give out: threads, begun and ended in a loop */

gpid steer_host_cursor(struct steer *s)
{
	char text[16] = "";

	return pread(s->last_pid, text, sizeof(text) - 1, 0) > 0 ? (gpid)strtol(text, NULL, 10)
								 : -EIO;
}

int steer_host_move(struct steer *s, gpid last)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", last);

	return pwrite(s->last_pid, text, (size_t)n, 0) == n ? 0 : -errno;
}

/* Finds threads as well. */
bool steer_host_in_use(struct steer *s, gpid pid)
{
	return kill(pid, 0) == 0 || errno != ESRCH;
}

gpid steer_host_ids_per_ms(void)
{
	cpu_set_t set;

	return IDS_PER_MS *
	       (sched_getaffinity(0, sizeof(set), &set) < 0 ? CPU_SETSIZE : CPU_COUNT(&set));
}
