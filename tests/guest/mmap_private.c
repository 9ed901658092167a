/* SPDX-License-Identifier: Apache-2.0 */
/* mmap_private.c - private mappings: zeros, copy on write, file contents, MAP_FIXED_NOREPLACE. */
#include "tests/guest/guest.h"

int main(void)
{
	size_t size = 1 << 20;
	int fd = scratch("mmap_private.tmp", false), sum = 0;
	unsigned char *p, *q;
	char back[5] = "";
	pid_t pid;

	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p != MAP_FAILED);
	for (size_t i = 0; i < size; i++)
		sum += p[i];
	say("fresh memory sums to %d", sum);
	memset(p, 1, size);
	pid = fork_child();
	if (pid == 0) {
		memset(p, 2, size);
		_exit(p[size - 1]);
	}
	say("child wrote its copy: %s, ours is %d", status_text(reap(pid)), p[size - 1]);
	must(pwrite(fd, "file", 4, 0) == 4);
	q = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	must(q != MAP_FAILED && memcmp(q, "file", 5) == 0);
	q[0] = 'F';
	must(pread(fd, back, 4, 0) == 4);
	say("memory %s, file %s", (char *)q, back);
	must(madvise(q, 4096, MADV_DONTNEED) == 0);
	say("after DONTNEED %s", (char *)q);
	fails(EEXIST,
	      (int)(intptr_t)mmap(p, 4096, PROT_READ,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	must(munmap(p + 4096, 4096) == 0); /* a hole */
	p[8192] = 3;
	must(munmap(p, size) == 0);
	fails(EINVAL, munmap(p + 1, 4096));
	fails(ENOMEM, (int)(intptr_t)mmap(NULL, SIZE_MAX / 2, PROT_READ,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	return 0;
}
