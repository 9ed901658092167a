/* SPDX-License-Identifier: Apache-2.0 */
/* process_vm_readv(2), process_vm_writev(2). */
#include "kernel/host/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#define PAGE 4096

/* The host takes the address of a 64-bit process as a pointer: no arithmetic is done on it here. */
static struct iovec remote_iov(uint64_t addr, size_t len)
{
	return (struct iovec){ .iov_base = (void *)(uintptr_t)addr, .iov_len = len };
}

int mem_read(pid_t pid, uint64_t addr, void *buf, size_t len)
{
	struct iovec here = { .iov_base = buf, .iov_len = len };
	struct iovec there = remote_iov(addr, len);
	ssize_t n = process_vm_readv(pid, &here, 1, &there, 1, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EFAULT;
}

int mem_write(pid_t pid, uint64_t addr, const void *buf, size_t len)
{
	struct iovec here = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	struct iovec there = remote_iov(addr, len);
	ssize_t n = process_vm_writev(pid, &here, 1, &there, 1, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EFAULT;
}

ssize_t mem_read_string(pid_t pid, uint64_t addr, char *buf, size_t cap)
{
	size_t have = 0;

	while (have < cap) {
		size_t n = MIN(cap - have, PAGE - (size_t)((addr + have) % PAGE));
		int r = mem_read(pid, addr + have, buf + have, n);
		char *end;

		if (r != 0)
			return r;
		end = memchr(buf + have, 0, n);
		if (end)
			return end - buf;
		have += n;
	}
	return -ENAMETOOLONG;
}
