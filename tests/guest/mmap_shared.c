/* SPDX-License-Identifier: Apache-2.0 */
/* mmap_shared.c - shared mappings: between parent and child, and with the file. */
#include "tests/guest/guest.h"

int main(void)
{
	volatile int *p =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = scratch("mmap_shared.tmp", false);
	char *f, text[8] = "";
	pid_t pid;

	must(p != MAP_FAILED);
	pid = fork_child();
	if (pid == 0) {
		while (__atomic_load_n(&p[0], __ATOMIC_ACQUIRE) != 1)
			sched_yield();
		p[1] = 17;
		__atomic_store_n(&p[0], 2, __ATOMIC_RELEASE);
		_exit(0);
	}
	__atomic_store_n(&p[0], 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&p[0], __ATOMIC_ACQUIRE) != 2)
		sched_yield();
	say("the child stored %d", p[1]);
	must(reap(pid) == 0);
	must(ftruncate(fd, 4096) == 0);
	f = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(f != MAP_FAILED);
	memcpy(f, "mapped", 6);
	must(msync(f, 4096, MS_SYNC) == 0 && pread(fd, text, 6, 0) == 6);
	say("read: %s", text);
	must(pwrite(fd, "wr", 2, 0) == 2);
	say("memory: %.6s", f);
	fails(EACCES, (int)(intptr_t)mmap(NULL, 4096, PROT_WRITE, MAP_SHARED,
					  open("/proc/self/exe", O_RDONLY), 0));
	return 0;
}
