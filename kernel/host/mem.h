/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem.h - reads and writes the memory of a guest by its node pid.
 *
 * Addresses and lengths come from the guest: a bad one is -EFAULT, never ours. What was read may be
 * changed by another thread of the guest the moment after: copy once, check the copy, act on the
 * copy. The pid may have been given to somebody else while we read: the caller asks notify_valid()
 * after the read and before it believes what it got. Any thread.
 */
#ifndef KERNEL_HOST_MEM_H
#define KERNEL_HOST_MEM_H

#include <sys/types.h>

#include "base/attr.h"

/* All @len bytes. Errors: -EFAULT, -ESRCH gone, -EPERM not ours. */
must_check int mem_read(pid_t pid, uint64_t addr, void *buf, size_t len);
must_check int mem_write(pid_t pid, uint64_t addr, const void *buf, size_t len);

/*
 * A string with its NUL, at most @cap bytes with it. Returns its length without the NUL. Reads no
 * byte of a page that the string does not reach. Errors: as above; -ENAMETOOLONG no NUL in @cap.
 */
must_check ssize_t mem_read_string(pid_t pid, uint64_t addr, char *buf, size_t cap);

#endif
