/* SPDX-License-Identifier: Apache-2.0 */
/* seal.c - records: what leaves this machine is sealed. */
#include "rpc/seal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/check.h"

#define BATCH (16 * RECORD_MAX) /* sealed before the pipe is asked again */

static int seal_parts(struct rpc_seal *s, const struct iovec *parts, size_t count, size_t len)
{
	struct buf *w = &s->conn->wire;
	uint32_t head = htole32((uint32_t)len);
	int err = buf_reserve(w, LEN_BYTES + len + AEAD_TAG_BYTES);

	CHECK(len <= RECORD_MAX);
	if (err < 0)
		return err;
	memcpy(w->data + w->len, &head, LEN_BYTES);
	aead_seal_parts(&s->tx, w->data + w->len + LEN_BYTES, parts, count, &head, LEN_BYTES);
	w->len += LEN_BYTES + len + AEAD_TAG_BYTES;
	return 0;
}

int seal_record(struct rpc_seal *s, const void *plain, size_t len)
{
	const struct iovec all = { (void *)(uintptr_t)plain, len };

	return seal_parts(s, &all, 1, len);
}

int rpc_seal_records(struct rpc_conn *c)
{
	size_t batch = 0;

	if (!c->seal || c->seal->state != SEAL_OPEN)
		return 0;
	while (c->out_pos < c->out.len && batch < BATCH) {
		size_t n = MIN(c->out.len - c->out_pos, (size_t)RECORD_MAX);
		int err = seal_record(c->seal, c->out.data + c->out_pos, n);

		if (err < 0)
			return err;
		c->out_pos += n;
		batch += n;
	}
	/* Moving what is left costs less than what was sealed since the last time. */
	if (c->out_pos >= c->out.len - c->out_pos) {
		buf_consume(&c->out, c->out_pos);
		c->out_pos = 0;
	}
	return 1;
}

/* Takes the first @want bytes off @parts into @out; returns how many runs they are. */
static size_t parts_take(struct iovec *parts, size_t count, struct iovec *out, size_t want)
{
	size_t n = 0;

	for (size_t i = 0; i < count && want > 0; i++) {
		size_t len = MIN(parts[i].iov_len, want);

		if (len == 0)
			continue;
		out[n++] = (struct iovec){ parts[i].iov_base, len };
		parts[i].iov_base = (uint8_t *)parts[i].iov_base + len;
		parts[i].iov_len -= len;
		want -= len;
	}
	return n;
}

/* What waits in c->out goes first: frames leave in their order. */
int rpc_seal_frame(struct rpc_conn *c, struct iovec *parts, size_t count)
{
	struct iovec out[RPC_FRAME_PARTS];
	size_t left = 0;
	int err = 1;

	CHECK(count <= ARRAY_LEN(out));
	while (err > 0 && c->out_pos < c->out.len)
		err = rpc_seal_records(c);
	for (size_t i = 0; i < count; i++)
		left += parts[i].iov_len;
	if (err >= 0)
		err = buf_reserve(&c->wire, left + ALIGN_UP(left, (size_t)RECORD_MAX) / RECORD_MAX *
							    (LEN_BYTES + AEAD_TAG_BYTES));
	while (err >= 0 && left > 0) {
		size_t len = MIN(left, (size_t)RECORD_MAX);

		err = seal_parts(c->seal, out, parts_take(parts, count, out, len), len);
		left -= len;
	}
	return MIN(err, 0);
}

bool rpc_seal_can_frame(const struct rpc_conn *c)
{
	return c->seal && c->seal->state == SEAL_OPEN && c->wire.len < BATCH;
}

/* ---- in ---- */

/* How long the packet at @p is in all; 0: not known yet; -EPROTO. */
static ssize_t packet_len(const struct rpc_seal *s, const uint8_t *p, size_t have)
{
	bool record = s->state == SEAL_OPEN || s->state == SEAL_WAIT_VERDICT;
	uint32_t len;

	if (have < LEN_BYTES)
		return 0;
	memcpy(&len, p, LEN_BYTES);
	len = le32toh(len);
	if (len == 0 || len > (record ? RECORD_MAX : HANDSHAKE_MAX))
		return -EPROTO;
	return (ssize_t)(LEN_BYTES + len + (record ? AEAD_TAG_BYTES : 0));
}

/* Opened to where its frame is put together: not one byte is copied. */
static int on_record(struct rpc_seal *s, const uint8_t *p, size_t n)
{
	struct buf *in = &s->conn->in;
	int err = buf_reserve(in, n);

	if (err < 0)
		return err;
	if (aead_open(&s->rx, in->data + in->len, p + LEN_BYTES, n, p, LEN_BYTES) < 0)
		return -EPROTO;
	in->len += n;
	return 0;
}

/* @p: a whole packet. */
static int on_packet(struct rpc_seal *s, const uint8_t *p, size_t len)
{
	uint8_t *out = s->conn->rpc->plain_buf;
	size_t n = len - LEN_BYTES;

	if (s->state == SEAL_OPEN)
		return on_record(s, p, n - AEAD_TAG_BYTES);
	if (s->state != SEAL_WAIT_VERDICT)
		return handshake_packet(s, p + LEN_BYTES, n);
	n -= AEAD_TAG_BYTES;
	if (aead_open(&s->rx, out, p + LEN_BYTES, n, p, LEN_BYTES) < 0)
		return -EPROTO;
	return handshake_packet(s, out, n);
}

/* More of the unfinished packet; returns the bytes used. */
static ssize_t fill_packet(struct rpc_seal *s, const uint8_t *bytes, size_t len)
{
	size_t used = 0;

	while (used < len) {
		ssize_t whole = packet_len(s, s->packet, s->have);
		size_t want = whole > 0 ? (size_t)whole : LEN_BYTES;
		size_t n;

		if (whole < 0)
			return whole;
		n = MIN(want - s->have, len - used);
		memcpy(s->packet + s->have, bytes + used, n);
		s->have += n;
		used += n;
		if (whole > 0 && s->have == want) {
			int err;

			s->have = 0;
			err = on_packet(s, s->packet, want);
			return err < 0 ? err : (ssize_t)used;
		}
	}
	return (ssize_t)used;
}

int rpc_seal_bytes(struct rpc_conn *c, const uint8_t *bytes, size_t len)
{
	/* A callback may close the connection; then c->seal is gone. */
	while (len > 0 && !c->dead && c->lost == 0) {
		struct rpc_seal *s = c->seal;
		ssize_t n = s->have == 0 ? packet_len(s, bytes, len) : 0;

		if (n > 0 && (size_t)n <= len) {
			int err = on_packet(s, bytes, (size_t)n);

			if (err < 0)
				return err;
		} else if (n >= 0) {
			n = fill_packet(s, bytes, len);
		}
		if (n < 0)
			return (int)n;
		bytes += n;
		len -= (size_t)n;
	}
	return c->dead || c->lost != 0 ? 0 : rpc_conn_frames(c);
}
