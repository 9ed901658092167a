/* SPDX-License-Identifier: Apache-2.0 */
/* Torn and lost writes at every place where a disk can tear or lose them. */
#include <string.h>

#include "base/rand.h"
#include "naming/core/log.h"
#include "tests/unit/unit.h"

#define SEGMENT (16u * LOG_BLOCK)
#define FRAMES  20u

struct seen {
	unsigned records;
	uint64_t last;
};

static int count(void *arg, const struct log_record *rec)
{
	struct seen *s = arg;

	if (rec->type == LOG_ENTRY) {
		assert_int_equal(rec->index, s->last + 1);
		s->last = rec->index;
		for (size_t i = 0; i < rec->len; i++)
			assert_int_equal(rec->data[i], (uint8_t)(rec->index + i));
	}
	s->records++;
	return 0;
}

struct disk {
	uint8_t seg[3][SEGMENT];
	/* Where each frame went. */
	unsigned at_seg[FRAMES + 1];
	size_t at[FRAMES + 1];
	size_t bytes[FRAMES + 1];
	unsigned frames;
};

static size_t entry_len(uint64_t index)
{
	return index % 5 == 0 ? 9000 : 10 + index * 7;
}

/* Writes frame after frame, one entry each, into the next segment where one is full. */
static void write_log(struct disk *d)
{
	struct log_pos pos = { .id = 0xfeed, .seq = 1, .segment = 1 };
	static uint8_t data[9000];

	memset(d, 0, sizeof(*d));
	for (uint64_t i = 1; i <= FRAMES; i++) {
		struct log_record rec = { .type = LOG_ENTRY, .term = 1, .index = i, .kind = 1 };
		static uint8_t frame[SEGMENT];
		size_t payload;
		size_t all;

		for (size_t j = 0; j < entry_len(i); j++)
			data[j] = (uint8_t)(i + j);
		rec.data = data;
		rec.len = entry_len(i);
		payload = log_record_put(frame + LOG_HEADER_BYTES, &rec);
		assert_int_equal(payload, log_record_bytes(&rec));
		all = log_frame_bytes(payload);
		if (pos.offset + all > SEGMENT) {
			pos.segment++;
			pos.offset = 0;
		}
		d->at_seg[i] = (unsigned)pos.segment - 1;
		d->at[i] = pos.offset;
		d->bytes[i] = all;
		assert_true(pos.segment <= 3);
		log_frame_seal(frame, payload, &pos);
		memcpy(d->seg[d->at_seg[i]] + d->at[i], frame, all);
		d->frames++;
	}
}

static enum log_verdict scan(const struct disk *d, struct log_pos *pos, struct seen *s)
{
	enum log_verdict worst = LOG_GOOD;

	memset(pos, 0, sizeof(*pos));
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < 3 && worst != LOG_DAMAGED; i++) {
		enum log_verdict v = log_scan(pos, i + 1, d->seg[i], SEGMENT, count, s);

		if (v > worst)
			worst = v;
	}
	return worst;
}

static struct disk disk, whole;

static void a_whole_log_is_read_whole(void **state)
{
	struct log_pos pos;
	struct seen s;

	write_log(&whole);
	assert_true(whole.at_seg[FRAMES] > 0);
	assert_int_equal(scan(&whole, &pos, &s), LOG_GOOD);
	assert_int_equal(s.last, FRAMES);
	assert_int_equal(pos.seq, FRAMES + 1);
	assert_int_equal(pos.offset, whole.at[FRAMES] + whole.bytes[FRAMES]);
	assert_int_equal(pos.segment, whole.at_seg[FRAMES] + 1);
}

/* The last write stops at any byte: everything before is there, nothing of it is. */
static void a_torn_tail_is_cut_at_every_byte(void **state)
{
	size_t payload_end = LOG_HEADER_BYTES + 25 + entry_len(FRAMES);
	struct log_pos pos;
	struct seen s;

	write_log(&whole);
	for (size_t keep = 0; keep < whole.bytes[FRAMES]; keep++) {
		enum log_verdict v;

		disk = whole;
		memset(disk.seg[disk.at_seg[FRAMES]] + disk.at[FRAMES] + keep, 0,
		       disk.bytes[FRAMES] - keep);
		v = scan(&disk, &pos, &s);
		if (keep < payload_end - 1) {
			assert_int_equal(s.last, FRAMES - 1);
			assert_int_equal(v, keep == 0 ? LOG_GOOD : LOG_TORN);
			assert_int_equal(pos.seq, FRAMES);
		} else if (keep >= payload_end) {
			assert_int_equal(s.last, FRAMES);
		}
	}
}

/* Disks write blocks in any order: any subset of the last frame's blocks may be there. */
static void a_tail_torn_into_blocks_is_cut(void **state)
{
	struct log_pos pos;
	struct seen s;
	unsigned blocks;

	write_log(&whole);
	assert_true(FRAMES % 5 == 0);
	blocks = (unsigned)(whole.bytes[FRAMES] / LOG_BLOCK);
	assert_true(blocks >= 3);
	for (unsigned mask = 0; mask + 1 < 1u << blocks; mask++) {
		disk = whole;
		for (unsigned b = 0; b < blocks; b++)
			if ((mask >> b & 1) == 0)
				memset(disk.seg[disk.at_seg[FRAMES]] + disk.at[FRAMES] +
					       b * LOG_BLOCK,
				       0, LOG_BLOCK);
		assert_true(scan(&disk, &pos, &s) != LOG_DAMAGED);
		assert_int_equal(s.last, FRAMES - 1);
	}
}

/* A write that was reported durable is gone, later ones are there: never cut, always told. */
static void every_lost_write_is_damage(void **state)
{
	struct log_pos pos;
	struct seen s;

	write_log(&whole);
	for (unsigned i = 1; i < FRAMES; i++) {
		disk = whole;
		memset(disk.seg[disk.at_seg[i]] + disk.at[i], 0, disk.bytes[i]);
		assert_int_equal(scan(&disk, &pos, &s), LOG_DAMAGED);
		disk = whole;
		memset(disk.seg[disk.at_seg[i]] + disk.at[i] + disk.bytes[i] - LOG_BLOCK, 0x55,
		       LOG_BLOCK / 2);
		assert_int_equal(scan(&disk, &pos, &s), LOG_DAMAGED);
	}
}

static void every_flipped_bit_is_found(void **state)
{
	struct rand rng;
	struct log_pos pos;
	struct seen s;

	write_log(&whole);
	rand_seed(&rng, 7);
	for (unsigned n = 0; n < 2000; n++) {
		unsigned i = 1 + (unsigned)rand_below(&rng, FRAMES);
		size_t used = LOG_HEADER_BYTES + 25 + entry_len(i);
		size_t byte = rand_below(&rng, used);
		enum log_verdict v;

		disk = whole;
		disk.seg[disk.at_seg[i]][disk.at[i] + byte] ^= (uint8_t)(1u << rand_below(&rng, 8));
		v = scan(&disk, &pos, &s);
		assert_int_equal(s.last, i - 1);
		assert_int_equal(v, i == FRAMES ? LOG_TORN : LOG_DAMAGED);
	}
}

/* After a torn write the next frame may not fit behind it and goes into the next segment. */
static void a_cut_tail_may_be_followed_by_a_segment(void **state)
{
	struct log_pos pos;
	struct seen s;
	unsigned last = 0;

	write_log(&whole);
	while (whole.at_seg[last + 1] == 0)
		last++;
	disk = whole;
	/* Behind the last frame of the first segment: what is left of a torn one. */
	memset(disk.seg[0] + disk.at[last] + disk.bytes[last], 0x77,
	       SEGMENT - disk.at[last] - disk.bytes[last]);
	assert_true(scan(&disk, &pos, &s) != LOG_DAMAGED);
	assert_int_equal(s.last, FRAMES);
}

/* Good frames that do not go on where the ones before ended are no log of ours. */
static void frames_of_another_log_are_not_ours(void **state)
{
	struct log_pos pos;
	struct log_pos other = { .id = 0xbeef, .seq = 1, .segment = 1 };
	struct log_record rec = { .type = LOG_META, .term = 9, .vote = 1 };
	struct seen s;
	size_t payload;

	write_log(&whole);
	disk = whole;
	memset(disk.seg[1], 0, 2 * SEGMENT);
	payload = log_record_put(disk.seg[1] + LOG_HEADER_BYTES, &rec);
	other.seq = 100;
	log_frame_seal(disk.seg[1], payload, &other);
	assert_int_equal(scan(&disk, &pos, &s), LOG_TORN);
	assert_true(s.last > 0 && s.last < FRAMES);
	assert_int_equal(s.records, s.last);
	assert_int_equal(pos.id, 0xfeed);
}

static void a_snapshot_is_whole_or_refused(void **state)
{
	const uint8_t conf[] = "conf";
	uint8_t data[300];
	uint8_t file[400];
	struct log_snapshot in = { 12, 3, 7, conf, sizeof(conf), data, sizeof(data) };
	struct log_snapshot out;
	size_t n = log_snapshot_bytes(&in);

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	assert_true(n <= sizeof(file));
	log_snapshot_put(file, &in);
	assert_int_equal(log_snapshot_get(file, n, &out), 0);
	assert_int_equal(out.index, 12);
	assert_int_equal(out.conf_index, 7);
	assert_memory_equal(out.data, data, sizeof(data));
	for (size_t i = 0; i < n; i++) {
		assert_true(log_snapshot_get(file, i, &out) < 0);
		file[i] ^= 0x10;
		assert_true(log_snapshot_get(file, n, &out) < 0);
		file[i] ^= 0x10;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_log_is_read_whole),
		cmocka_unit_test(a_torn_tail_is_cut_at_every_byte),
		cmocka_unit_test(a_tail_torn_into_blocks_is_cut),
		cmocka_unit_test(every_lost_write_is_damage),
		cmocka_unit_test(every_flipped_bit_is_found),
		cmocka_unit_test(a_cut_tail_may_be_followed_by_a_segment),
		cmocka_unit_test(frames_of_another_log_are_not_ours),
		cmocka_unit_test(a_snapshot_is_whole_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
