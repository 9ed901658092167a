/* SPDX-License-Identifier: Apache-2.0 */
/* mremap.c - mremap: growing, moving, shrinking; brk. */
#include "tests/guest/guest.h"

int main(void)
{
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *q;
	char *brk0;

	must(p != MAP_FAILED);
	strcpy(p, "kept");
	p[8191] = 'e';
	q = mremap(p, 8192, 1 << 22, MREMAP_MAYMOVE);
	must(q != MAP_FAILED && q[8191] == 'e' && q[(1 << 22) - 1] == 0);
	say("grown: %s", q);
	q = mremap(q, 1 << 22, 4096, 0);
	must(q != MAP_FAILED);
	p = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(mremap(q, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, p) == p);
	say("moved: %s", p);
	fails(EFAULT, (int)(intptr_t)mremap(q, 4096, 8192, MREMAP_MAYMOVE));
	brk0 = sbrk(0); /* nothing is printed until it is back: printing allocates */
	must(sbrk(65536) == brk0 && (char *)sbrk(0) == brk0 + 65536);
	brk0[65535] = 1;
	must(brk(brk0) == 0);
	say("brk up and down");
	return 0;
}
