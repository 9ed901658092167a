/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attr.h - attributes and scope helpers that every room uses. Header only.
 *
 * Errors: a function that can fail for an expected reason returns -errno and is
 * marked must_check; 0 or more is success. What the guest, a peer or a disk did
 * wrong is returned too. Only our own bugs go through CHECK (check.h).
 */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define must_check        __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))
#define noreturn_fn       __attribute__((noreturn))
#define maybe_unused      __attribute__((unused))

#define ARRAY_LEN(a)   (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)      ((a) < (b) ? (a) : (b))
#define MAX(a, b)      ((a) > (b) ? (a) : (b))
#define ALIGN_UP(x, a) (((x) + ((a)-1)) & ~((__typeof__(x))(a)-1))

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Closes *fd if it is one. For the cleanup attribute; keeps errno. */
static inline void base_close_cleanup(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static inline void base_free_cleanup(void *p)
{
	free(*(void **)p);
}

/* `cleanup_close int fd = -1;` closes at the end of the scope; take_fd() hands it on. */
#define cleanup_close __attribute__((cleanup(base_close_cleanup)))
#define cleanup_free  __attribute__((cleanup(base_free_cleanup)))

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#endif
