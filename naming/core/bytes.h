/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bytes.h - little-endian numbers into and out of caller's memory. Header only.
 *
 * A writer without memory (NULL) only counts, so that a size and the bytes come
 * from one function. Both go on after an overrun, harmlessly, and remember it.
 */
#ifndef NAMING_CORE_BYTES_H
#define NAMING_CORE_BYTES_H

#include <string.h>

#include "base/attr.h"
#include "base/types.h"

struct bytes_out {
	uint8_t *at; /* NULL: count only */
	size_t cap;
	size_t len;
	bool overrun;
};

struct bytes_in {
	const uint8_t *at;
	size_t len; /* bytes left */
	bool overrun;
};

static inline void bytes_put(struct bytes_out *o, const void *p, size_t n)
{
	if (o->at != NULL) {
		if (n > o->cap - o->len) {
			o->overrun = true;
			return;
		}
		if (n > 0)
			memcpy(o->at + o->len, p, n);
	}
	o->len += n;
}

static inline void bytes_put_le(struct bytes_out *o, uint64_t v, unsigned n)
{
	uint8_t b[8];

	for (unsigned i = 0; i < n; i++)
		b[i] = (uint8_t)(v >> (8 * i));
	bytes_put(o, b, n);
}

/* @n bytes, or NULL past the end. */
static inline const uint8_t *bytes_take(struct bytes_in *in, size_t n)
{
	const uint8_t *p = in->at;

	if (in->overrun || n > in->len) {
		in->overrun = true;
		return NULL;
	}
	in->at += n;
	in->len -= n;
	return p;
}

static inline uint64_t bytes_get_le(struct bytes_in *in, unsigned n)
{
	const uint8_t *p = bytes_take(in, n);
	uint64_t v = 0;

	for (unsigned i = 0; p != NULL && i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

#endif
