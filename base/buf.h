/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - a growable run of bytes. All zero is a valid empty buffer.
 *
 * The buffer owns its memory; buf_fini() gives it back and empties it. Growing
 * may move the bytes: pointers into a buffer live until the next buf_* call.
 * Errors: -ENOMEM, and then the buffer is unchanged. One thread owns a buffer.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>

#include "base/attr.h"

struct buf {
	uint8_t *data;
	size_t len; /* bytes in use */
	size_t cap; /* bytes allocated */
};

#define BUF_INIT                                                                                   \
	{                                                                                          \
		NULL, 0, 0                                                                         \
	}

void buf_fini(struct buf *b);

/* Room for @extra more bytes behind len. */
must_check int buf_reserve(struct buf *b, size_t extra);

must_check int buf_add(struct buf *b, const void *bytes, size_t n);
must_check int buf_addf(struct buf *b, const char *fmt, ...) printf_like(2, 3);
must_check int buf_vaddf(struct buf *b, const char *fmt, va_list ap) printf_like(2, 0);

/* Drops the first @n bytes; n <= len. */
void buf_consume(struct buf *b, size_t n);

/* The bytes with a NUL behind them (not counted in len), or NULL on ENOMEM. Still owned by @b. */
const char *buf_str(struct buf *b);

#define cleanup_buf __attribute__((cleanup(buf_fini)))

#endif
