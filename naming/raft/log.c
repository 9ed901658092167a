/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - the entries that raft may still send, in memory. Mirrors raft's trail. */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "naming/raft/priv.h"

uint64_t replica_last(const struct naming_replica *r)
{
	return r->log_first + r->log_count - 1;
}

const struct entry *replica_entry(const struct naming_replica *r, uint64_t index)
{
	if (index < r->log_first || index - r->log_first >= r->log_count)
		return NULL;
	return &r->log[index - r->log_first];
}

void replica_log_cut(struct naming_replica *r, uint64_t from)
{
	while (r->log_count > 0 && replica_last(r) >= from)
		free(r->log[--r->log_count].data);
}

void replica_log_drop(struct naming_replica *r, uint64_t upto)
{
	size_t n = 0;

	while (n < r->log_count && r->log_first + n <= upto)
		free(r->log[n++].data);
	if (n == 0)
		return;
	memmove(r->log, r->log + n, (r->log_count - n) * sizeof(*r->log));
	r->log_first += n;
	r->log_count -= n;
}

void replica_log_reset(struct naming_replica *r, uint64_t first)
{
	replica_log_cut(r, 0);
	r->log_first = first;
}

int replica_log_append(struct naming_replica *r, uint64_t index, uint64_t term, uint32_t type,
		       const uint8_t *data, size_t len)
{
	struct entry *e;
	uint8_t *copy = malloc(len > 0 ? len : 1);

	CHECK(index == r->log_first + r->log_count);
	if (copy == NULL)
		return -ENOMEM;
	if (r->log_count == r->log_cap) {
		size_t cap = r->log_cap == 0 ? 256 : r->log_cap * 2;

		e = realloc(r->log, cap * sizeof(*e));
		if (e == NULL) {
			free(copy);
			return -ENOMEM;
		}
		r->log = e;
		r->log_cap = cap;
	}
	if (len > 0)
		memcpy(copy, data, len);
	r->log[r->log_count++] = (struct entry){ term, type, copy, len };
	return 0;
}
