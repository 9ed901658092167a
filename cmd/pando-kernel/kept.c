/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pando-kernel/kept.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/log.h"
#include "cmd/pando-kernel/world.h"

void kept_state_set(uint32_t *state, enum kept_state to)
{
	atomic_thread_fence(memory_order_seq_cst);
	*(volatile uint32_t *)state = to;
	atomic_thread_fence(memory_order_seq_cst);
}

/* Full: a death of ours while it goes is taken for a kill of its process. */
void kept_leave(struct world *w, gpid pid)
{
	for (size_t i = 0; i < KEPT_LEAVING; i++) {
		if (w->kept->leaving[i] != 0)
			continue;
		__atomic_store_n(&w->kept->leaving[i], pid, __ATOMIC_SEQ_CST);
		return;
	}
	log_warn("more than %d stubs go at the same time", KEPT_LEAVING);
}

void kept_left(struct world *w, gpid pid)
{
	for (size_t i = 0; i < KEPT_LEAVING; i++)
		if (w->kept->leaving[i] == pid)
			w->kept->leaving[i] = 0;
}

int kept_open(struct world *w)
{
	size_t size = sizeof(struct kept);
	cleanup_close int fd = pid1_get(w->pid1, KEPT_KEY);
	struct stat st;
	void *map;
	int r;

	if (fd == -ENOENT) {
		fd = memfd_create(KEPT_KEY, MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
			return -errno;
		r = pid1_put(w->pid1, KEPT_KEY, fd);
		if (r < 0)
			return r;
	}
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || st.st_size != (off_t)size)
		return -EINVAL; /* a predecessor of another build */
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	w->kept = map;
	return 0;
}
