/* SPDX-License-Identifier: Apache-2.0 */
/* why.c - what forbids a move, and what one would cost. */
#include "migrate/image/priv.h"

#include <string.h>

/* Measured on two shared cores; a prediction is to be right within a factor of two. */
#define FREEZE_NS        UINT64_C(2000000)
#define FREEZE_PAGE_NS   UINT64_C(4000)
#define FREEZE_THREAD_NS UINT64_C(300000)
#define FREEZE_VMA_NS    UINT64_C(20000)
#define STATE_BYTES      4096u
#define THREAD_BYTES     4096u
#define VMA_BYTES        96u

static unsigned count_threads(const struct image_env *env, pid_t pid)
{
	cleanup_buf struct buf b = BUF_INIT;
	const char *p;

	if (tracee_proc_read(env->proc, pid, "status", &b) < 0 || !buf_str(&b))
		return 0;
	p = strstr((const char *)b.data, "\nThreads:");
	return p ? (unsigned)strtoul(p + 9, NULL, 10) : 0;
}

int image_why(const struct image_env *env, pid_t pid, struct image_why *out)
{
	struct image_maps maps = { NULL, 0 };
	uint64_t pages = 0;
	int r;

	*out = (struct image_why){ .reasons = BUF_INIT };
	r = image_status_check(env, pid, false, &out->reasons);
	if (r == 0)
		r = image_maps_read(env, pid, &maps, &out->reasons);
	if (r == 0)
		r = image_pages_count(env, pid, &maps, &pages);
	if (r == 0)
		r = image_fds_check(env, pid, &out->reasons);
	if (r == -ENOTSUP)
		r = 0; /* it is said in the reasons */
	out->threads = count_threads(env, pid);
	out->vmas = maps.count;
	out->bytes =
		pages * PAGE + STATE_BYTES + out->threads * THREAD_BYTES + maps.count * VMA_BYTES;
	out->freeze_ns = FREEZE_NS + pages * FREEZE_PAGE_NS + out->threads * FREEZE_THREAD_NS +
			 maps.count * FREEZE_VMA_NS;
	image_maps_fini(&maps);
	if (r < 0)
		image_why_fini(out);
	return r;
}

void image_why_fini(struct image_why *w)
{
	buf_fini(&w->reasons);
}
