/* SPDX-License-Identifier: Apache-2.0 */
#include "naming/core/log.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "base/check.h"
#include "base/mutant.h"
#include "naming/core/bytes.h"

#define FRAME_MAGIC    0x474f4c50u /* "PLOG" */
#define SNAPSHOT_MAGIC 0x504e5350u /* "PSNP" */
#define FORMAT_VERSION 1u
#define SNAPSHOT_HEAD  64u

/*
 * A frame's header: magic u32, version u32, log id u64, seq u64, chain u64, payload u32,
 * zero u32, payload checksum u64, zero u64, header checksum u64.
 */
struct frame {
	uint64_t id;
	uint64_t seq;
	uint64_t chain;
	size_t payload;
	uint64_t sum;  /* of the payload */
	uint64_t hsum; /* of the header: what the next frame's chain is */
};

size_t log_record_bytes(const struct log_record *rec)
{
	switch (rec->type) {
	case LOG_META:
	case LOG_RESET:
		return 1 + 8 + 8;
	case LOG_ENTRY:
		return 1 + 8 + 8 + 4 + 4 + rec->len;
	}
	return 0;
}

size_t log_frame_bytes(size_t payload)
{
	return ALIGN_UP(LOG_HEADER_BYTES + payload, (size_t)LOG_BLOCK);
}

size_t log_record_put(uint8_t *at, const struct log_record *rec)
{
	struct bytes_out o = { .at = at, .cap = log_record_bytes(rec) };

	bytes_put_le(&o, rec->type, 1);
	bytes_put_le(&o, rec->term, 8);
	bytes_put_le(&o, rec->type == LOG_META ? rec->vote : rec->index, 8);
	if (rec->type == LOG_ENTRY) {
		bytes_put_le(&o, rec->kind, 4);
		bytes_put_le(&o, rec->len, 4);
		bytes_put(&o, rec->data, rec->len);
	}
	CHECK(!o.overrun && o.len == o.cap);
	return o.len;
}

void log_frame_seal(uint8_t *frame, size_t payload, struct log_pos *pos)
{
	struct bytes_out o = { .at = frame, .cap = LOG_HEADER_BYTES };
	size_t all = log_frame_bytes(payload);

	CHECK(payload > 0 && payload <= UINT32_MAX);
	memset(frame + LOG_HEADER_BYTES + payload, 0, all - LOG_HEADER_BYTES - payload);
	bytes_put_le(&o, FRAME_MAGIC, 4);
	bytes_put_le(&o, FORMAT_VERSION, 4);
	bytes_put_le(&o, pos->id, 8);
	bytes_put_le(&o, pos->seq, 8);
	bytes_put_le(&o, pos->chain, 8);
	bytes_put_le(&o, payload, 4);
	bytes_put_le(&o, 0, 4);
	bytes_put_le(&o, XXH3_64bits(frame + LOG_HEADER_BYTES, payload), 8);
	bytes_put_le(&o, 0, 8);
	pos->chain = XXH3_64bits(frame, o.len);
	bytes_put_le(&o, pos->chain, 8);
	CHECK(!o.overrun && o.len == LOG_HEADER_BYTES);
	pos->seq++;
	pos->offset += all;
}

/* Reads the frame at @at, of which @len bytes are there. False: there is none. */
static bool frame_get(const uint8_t *at, size_t len, struct frame *f)
{
	struct bytes_in in = { .at = at, .len = len };
	bool known;

	if (len < LOG_HEADER_BYTES)
		return false;
	known = bytes_get_le(&in, 4) == FRAME_MAGIC && bytes_get_le(&in, 4) == FORMAT_VERSION;
	if (!known)
		return false;
	f->id = bytes_get_le(&in, 8);
	f->seq = bytes_get_le(&in, 8);
	f->chain = bytes_get_le(&in, 8);
	f->payload = (size_t)bytes_get_le(&in, 4);
	(void)bytes_get_le(&in, 4);
	f->sum = bytes_get_le(&in, 8);
	(void)bytes_get_le(&in, 8);
	f->hsum = bytes_get_le(&in, 8);
	return f->hsum == XXH3_64bits(at, LOG_HEADER_BYTES - 8) && f->payload > 0 &&
	       f->payload <= len - LOG_HEADER_BYTES &&
	       (f->sum == XXH3_64bits(at + LOG_HEADER_BYTES, f->payload) ||
		MUTANT("naming.log.sum_unread"));
}

static bool record_get(struct bytes_in *in, struct log_record *rec)
{
	memset(rec, 0, sizeof(*rec));
	rec->type = (enum log_record_type)bytes_get_le(in, 1);
	rec->term = bytes_get_le(in, 8);
	switch (rec->type) {
	case LOG_META:
		rec->vote = bytes_get_le(in, 8);
		break;
	case LOG_RESET:
		rec->index = bytes_get_le(in, 8);
		break;
	case LOG_ENTRY:
		rec->index = bytes_get_le(in, 8);
		rec->kind = (uint32_t)bytes_get_le(in, 4);
		rec->len = (size_t)bytes_get_le(in, 4);
		rec->data = bytes_take(in, rec->len);
		break;
	default:
		return false;
	}
	return !in->overrun;
}

static bool frame_records(const uint8_t *at, const struct frame *f, log_record_fn fn, void *arg)
{
	struct bytes_in in = { .at = at + LOG_HEADER_BYTES, .len = f->payload };

	while (in.len > 0) {
		struct log_record rec;

		if (!record_get(&in, &rec) || fn(arg, &rec) != 0)
			return false;
	}
	return true;
}

/* L2: is there, from @at on, a frame that must have been written after @pos? */
static bool later_frame(const struct log_pos *pos, const uint8_t *bytes, size_t len, size_t at)
{
	struct frame f;

	for (; at + LOG_HEADER_BYTES <= len; at += LOG_BLOCK)
		if (frame_get(bytes + at, len - at, &f) && (pos->id == 0 || f.id == pos->id) &&
		    f.seq >= pos->seq)
			return !MUTANT("naming.log.one_number_only") || f.seq == pos->seq;
	return false;
}

static bool blank(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

enum log_verdict log_scan(struct log_pos *pos, uint64_t segment, const uint8_t *bytes, size_t len,
			  log_record_fn fn, void *arg)
{
	size_t at = 0;
	struct frame f;

	while (at < len && frame_get(bytes + at, len - at, &f)) {
		/* A good frame of a wrong number or chain: what should be between is gone. */
		if (pos->seq != 0 &&
		    (f.id != pos->id || f.seq != pos->seq || f.chain != pos->chain))
			break;
		if (!frame_records(bytes + at, &f, fn, arg))
			return LOG_DAMAGED;
		at += log_frame_bytes(f.payload);
		*pos = (struct log_pos){ f.id, f.seq + 1, f.hsum, segment, at };
	}
	if (at >= len)
		return LOG_GOOD;
	if (!MUTANT("naming.log.hole_is_end") && later_frame(pos, bytes, len, at))
		return LOG_DAMAGED;
	if (blank(bytes + at, MIN(len - at, (size_t)LOG_BLOCK)))
		return LOG_GOOD;
	return MUTANT("naming.log.torn_is_damage") ? LOG_DAMAGED : LOG_TORN;
}

size_t log_snapshot_bytes(const struct log_snapshot *s)
{
	return SNAPSHOT_HEAD + s->conf_len + s->data_len;
}

/* Of everything but its own place at the end of the head. */
static uint64_t snapshot_sum(const uint8_t *at, size_t len)
{
	return XXH3_64bits_withSeed(at + SNAPSHOT_HEAD, len - SNAPSHOT_HEAD,
				    XXH3_64bits(at, SNAPSHOT_HEAD - 8));
}

void log_snapshot_put(uint8_t *at, const struct log_snapshot *s)
{
	struct bytes_out o = { .at = at, .cap = log_snapshot_bytes(s) };

	bytes_put_le(&o, SNAPSHOT_MAGIC, 4);
	bytes_put_le(&o, FORMAT_VERSION, 4);
	bytes_put_le(&o, s->index, 8);
	bytes_put_le(&o, s->term, 8);
	bytes_put_le(&o, s->conf_index, 8);
	bytes_put_le(&o, s->conf_len, 8);
	bytes_put_le(&o, s->data_len, 8);
	bytes_put_le(&o, 0, 8);
	bytes_put_le(&o, 0, 8); /* the checksum's place */
	bytes_put(&o, s->conf, s->conf_len);
	bytes_put(&o, s->data, s->data_len);
	CHECK(!o.overrun && o.len == o.cap);
	o.len = SNAPSHOT_HEAD - 8;
	bytes_put_le(&o, snapshot_sum(at, o.cap), 8);
}

int log_snapshot_get(const uint8_t *bytes, size_t len, struct log_snapshot *s)
{
	struct bytes_in in = { .at = bytes, .len = len };
	uint64_t sum;

	if (len < SNAPSHOT_HEAD || bytes_get_le(&in, 4) != SNAPSHOT_MAGIC ||
	    bytes_get_le(&in, 4) != FORMAT_VERSION)
		return -EBADMSG;
	s->index = bytes_get_le(&in, 8);
	s->term = bytes_get_le(&in, 8);
	s->conf_index = bytes_get_le(&in, 8);
	s->conf_len = (size_t)bytes_get_le(&in, 8);
	s->data_len = (size_t)bytes_get_le(&in, 8);
	(void)bytes_get_le(&in, 8);
	sum = bytes_get_le(&in, 8);
	if (s->conf_len > in.len || s->data_len != in.len - s->conf_len || s->index == 0 ||
	    s->term == 0)
		return -EBADMSG;
	s->conf = bytes_take(&in, s->conf_len);
	s->data = bytes_take(&in, s->data_len);
	return snapshot_sum(bytes, len) == sum ? 0 : -EBADMSG;
}
