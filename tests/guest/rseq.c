/* SPDX-License-Identifier: Apache-2.0 */
/* rseq.c - restartable sequences are there: the kernel keeps the CPU number. */
#include "tests/guest/guest.h"

#include <sys/rseq.h>

int main(void)
{
	struct rseq *rs = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	pid_t pid;

	must(__rseq_size >= 20);
	say("registered %d", (int32_t)rs->cpu_id >= 0);
	say("agrees %d", (int)rs->cpu_id == sched_getcpu() || (int)rs->cpu_id == sched_getcpu());
	fails(EINVAL, syscall(SYS_rseq, (char *)rs + 32, 32, 0, 0x53053053));
	pid = fork_child();
	if (pid == 0)
		_exit((int32_t)rs->cpu_id >= 0);
	say("in a child: %s", status_text(reap(pid)));
	return 0;
}
