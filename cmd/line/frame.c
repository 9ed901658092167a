/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "cmd/line/line.h"

uint64_t line_get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes-- > 0)
		v = v << 8 | p[bytes];
	return v;
}

void line_put(uint8_t *p, unsigned bytes, uint64_t v)
{
	for (unsigned i = 0; i < bytes; i++, v >>= 8)
		p[i] = (uint8_t)v;
}

/* The length that a kind has; -1: any; -2: there is no such kind. */
static int length_of(unsigned kind)
{
	switch (kind) {
	case LINE_HELLO:
		return 16;
	case LINE_TAKEN_IN:
		return 8;
	case LINE_EXIT:
	case LINE_SIZE:
		return 4;
	case LINE_TAKEN:
		return 0;
	case LINE_SHOWN:
	case LINE_INPUT:
		return -1;
	default:
		return -2;
	}
}

int line_frame_take(const uint8_t *bytes, size_t len, struct line_frame *out)
{
	uint64_t n;
	int want;

	if (len == 0)
		return 0;
	want = length_of(bytes[0]);
	if (want == -2)
		return -EPROTO;
	if (len < LINE_HEAD)
		return 0;
	n = line_get(bytes + 1, 4);
	if (n > LINE_BODY_MAX || (want >= 0 && n != (uint64_t)want))
		return -EPROTO;
	if (len - LINE_HEAD < n)
		return 0;
	*out = (struct line_frame){ (enum line_kind)bytes[0], bytes + LINE_HEAD, (size_t)n };
	return (int)(LINE_HEAD + n);
}

int line_frame_add(struct buf *out, enum line_kind kind, const void *body, size_t len)
{
	uint8_t head[LINE_HEAD] = { (uint8_t)kind };
	int r;

	line_put(head + 1, 4, len);
	r = buf_add(out, head, sizeof(head));
	if (r == 0 && len > 0)
		r = buf_add(out, body, len);
	return r;
}
