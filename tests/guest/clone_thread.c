/* SPDX-License-Identifier: Apache-2.0 */
/* clone_thread.c - a thread by bare clone: shared memory, tid cleared and woken at its end. */
#include "tests/guest/guest.h"

#include <linux/futex.h>

static char stack[65536] __attribute__((aligned(16)));
static volatile int tid = -1, shared;

static int body(void *arg)
{
	must(getpid() != (pid_t)syscall(SYS_gettid));
	shared = *(int *)arg;
	syscall(SYS_exit, 0); /* of this thread only */
	return 0;
}

int main(void)
{
	int value = 42, made, now;

	made = clone(body, stack + sizeof(stack),
		     CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			     CLONE_SYSVSEM | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID,
		     &value, (pid_t *)&tid, NULL, (pid_t *)&tid);
	must(made > 0);
	while ((now = tid) != 0)
		syscall(SYS_futex, &tid, FUTEX_WAIT, now, NULL, NULL, 0);
	say("shared %d, tid cleared", shared);
	fails(EINVAL, clone(body, stack + sizeof(stack), CLONE_THREAD, &value));
	return 0;
}
