/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/ctl/core/cursor.h"

#include <errno.h>
#include <stddef.h>

/* Behind the digits, of which there is one at least; NULL: none, or too many. */
static const char *digits(const char *text, unsigned base, uint64_t *out)
{
	const char *at = text;

	*out = 0;
	for (;; at++) {
		unsigned d = *at >= '0' && *at <= '9'   ? (unsigned)(*at - '0')
			     : *at >= 'a' && *at <= 'f' ? (unsigned)(*at - 'a') + 10
							: base;

		if (d >= base)
			return at > text ? at : NULL;
		if (*out > (UINT64_MAX - d) / base)
			return NULL;
		*out = *out * base + d;
	}
}

int cursor_read(const char *text, uint64_t *life, uint64_t *number)
{
	const char *at = digits(text, 16, life);

	if (!at || *at != '-')
		return -EINVAL;
	at = digits(at + 1, 10, number);
	return at && *at == '\0' ? 0 : -EINVAL;
}

uint64_t cursor_oldest(const struct cursor_ring *r)
{
	return r->next > r->kept ? r->next - r->kept : 1;
}

int cursor_from(const struct cursor_ring *r, uint64_t life, uint64_t number, uint64_t *from)
{
	if (life != r->life)
		return -ESTALE;
	if (number >= r->next)
		return -EINVAL;
	if (number + 1 < cursor_oldest(r))
		return -ERANGE;
	*from = number + 1;
	return 0;
}
