/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - descriptors that must outlive whoever uses them, by name; pando-init's.
 *
 * One store per process, of a fixed size; libc only; one thread.
 */
#ifndef KERNEL_TENANT_STORE_H
#define KERNEL_TENANT_STORE_H

#include "base/attr.h"
#include "kernel/tenant/client.h"

#define STORE_MAX 4096

/* Takes @fd if it returns 0. Errors: -EINVAL empty key; -EEXIST; -ENOSPC. */
must_check int store_put(const char *key, int fd);

/* The descriptor, still the store's; or -ENOENT. */
must_check int store_get(const char *key);

/* Closes it. -ENOENT. */
int store_drop(const char *key);

/*
 * The descriptors of @in, each that can be; what is taken is -1 there afterwards. -EPROTO: nothing
 * is done; else the first error.
 */
must_check int store_put_all(struct init_in *in);

/* All keys of @in. -EPROTO: nothing is done; else the first error. */
must_check int store_drop_all(const struct init_in *in);

/* What lies in @sock to be put and dropped, whose other end waits for no answer any more. */
void store_finish(int sock);

/* Keys that begin with @prefix, each with its NUL, as far as they fit. Returns the bytes used. */
size_t store_list(const char *prefix, char *out, size_t size);

/* Puts what pando-init itself keeps: the slots of requests, and its own pidfd. -errno: it cannot.
 */
must_check int store_put_own(void);

#endif
