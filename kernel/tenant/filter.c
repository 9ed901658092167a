/* SPDX-License-Identifier: Apache-2.0 */
/* filter.c - the one place that installs the guests' filter; libc only. */
#include "kernel/tenant/filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

int tenant_filter_install(int memfd)
{
	struct stat st;
	struct sock_fprog prog;
	void *map;
	long r;

	if (fstat(memfd, &st) < 0)
		return -errno;
	if (st.st_size <= 0 || (size_t)st.st_size % sizeof(struct sock_filter) != 0 ||
	    (size_t)st.st_size / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return -EINVAL;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, memfd, 0);
	if (map == MAP_FAILED)
		return -errno;
	prog.len = (unsigned short)((size_t)st.st_size / sizeof(struct sock_filter));
	prog.filter = map;
	/* A received notification must not be aborted by a signal: the call would give an EINTR
	 * that it never gives. */
	r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		    SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
		    &prog);
	if (r < 0)
		r = -errno;
	(void)munmap(map, (size_t)st.st_size);
	return (int)r;
}
