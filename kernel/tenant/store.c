/* SPDX-License-Identifier: Apache-2.0 */
/* store.c - see store.h. */
#include "kernel/tenant/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/tenant/init.h"

static struct item {
	char key[INIT_KEY_MAX]; /* "": free */
	int fd;
} items[STORE_MAX];

static size_t used; /* all above are free */

static struct item *find(const char *key)
{
	for (size_t i = 0; i < used; i++) {
		if (strcmp(items[i].key, key) == 0)
			return &items[i];
	}
	return NULL;
}

int store_put(const char *key, int fd)
{
	struct item *it;

	if (key[0] == 0)
		return -EINVAL;
	if (find(key) != NULL)
		return -EEXIST;
	it = find("");
	if (it == NULL && used == STORE_MAX)
		return -ENOSPC;
	if (it == NULL)
		it = &items[used++];
	memcpy(it->key, key, strlen(key) + 1);
	it->fd = fd;
	return 0;
}

int store_get(const char *key)
{
	struct item *it = key[0] == 0 ? NULL : find(key);

	return it == NULL ? -ENOENT : it->fd;
}

int store_drop(const char *key)
{
	struct item *it = key[0] == 0 ? NULL : find(key);

	if (it == NULL)
		return -ENOENT;
	(void)close(it->fd);
	memset(it, 0, sizeof(*it));
	while (used > 0 && items[used - 1].key[0] == 0)
		used--;
	return 0;
}

int store_put_all(struct init_in *in)
{
	const char *keys[INIT_FDS_MAX];
	int n = init_keys(in, keys), first = 0;

	if (n < 0 || (size_t)n != in->nfds)
		return -EPROTO;
	for (int i = 0; i < n; i++) {
		int r;

		if (in->msg.arg[0] == INIT_PUT_REPLACES)
			(void)store_drop(keys[i]);
		r = store_put(keys[i], in->fds[i]);
		in->fds[i] = r == 0 ? -1 : in->fds[i];
		first = first != 0 ? first : r;
	}
	return first;
}

int store_drop_all(const struct init_in *in)
{
	const char *keys[INIT_FDS_MAX];
	int n = init_keys(in, keys), first = 0;

	for (int i = 0; i < n; i++) {
		int r = store_drop(keys[i]);

		first = first != 0 ? first : r;
	}
	return n < 0 ? n : first;
}

void store_finish(int sock)
{
	static struct init_in in;

	while (init_recv(sock, &in) == 1) {
		if (in.msg.op == INIT_PUT)
			(void)!store_put_all(&in);
		else if (in.msg.op == INIT_DROP)
			(void)!store_drop_all(&in);
		init_in_close(&in);
	}
}

size_t store_list(const char *prefix, char *out, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; i < used; i++) {
		size_t n = strlen(items[i].key) + 1;

		if (n == 1 || strncmp(items[i].key, prefix, strlen(prefix)) != 0 || n > size - at)
			continue;
		memcpy(out + at, items[i].key, n);
		at += n;
	}
	return at;
}

int store_put_own(void)
{
	size_t size = INIT_SLOTS * sizeof(struct init_slot);
	int slots = (int)syscall(SYS_memfd_create, "slots", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	int r;

	if (slots < 0 || self < 0 || ftruncate(slots, (off_t)size) < 0 ||
	    fcntl(slots, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	r = store_put(INIT_KEY_SLOTS, slots);
	return r < 0 ? r : store_put(INIT_KEY_INIT, self);
}
