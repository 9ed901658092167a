/* SPDX-License-Identifier: Apache-2.0 */
/*
 * errand.h - what only a process in the tenant's namespaces can do, the zygote does for the guest
 * kernel: sockets, and files of the tenant's tree.
 */
#ifndef PANDO_KERNEL_ERRAND_H
#define PANDO_KERNEL_ERRAND_H

#include "cmd/pando-kernel/world.h"

/* A table that begins with no descriptor open, so that the first that it makes is 0. NULL: out of
 * memory. */
struct stub_table *zygote_table(void);

/*
 * Makes the calls of @t, which it takes; the descriptors 0 to @count - 1 (of at most two) that are
 * open then come to @done, who owns them, and are closed there. The first call that fails is the
 * error; EINPROGRESS is none. @done may be called at once.
 */
typedef void (*zygote_fn)(void *arg, int err, const int fds[2]);
void zygote_ask(struct world *w, struct stub_table *t, int count, zygote_fn done, void *arg);

#endif
