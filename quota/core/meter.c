/* SPDX-License-Identifier: Apache-2.0 */
/* meter.c - see meter.h. */
#include "quota/core/meter.h"

#include <string.h>
#include <xxhash.h>

#include "base/check.h"

#define VERSION 1u

static const uint16_t span_max_s[METER_LEVELS] = { 60, 60, 3600 };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied");

static void put(uint8_t *out, uint64_t v, size_t n)
{
	memcpy(out, &v, n);
}

static uint64_t get(const uint8_t *in, size_t n)
{
	uint64_t v = 0;

	memcpy(&v, in, n);
	return v;
}

void meter_encode(const struct meter_rec *rec, uint8_t out[METER_BYTES])
{
	put(out + 4, rec->level, 1);
	put(out + 5, VERSION, 1);
	put(out + 6, rec->span_s, 2);
	put(out + 8, rec->tenant, 4);
	put(out + 12, rec->start_s, 4);
	put(out + 16, rec->cpu_us, 8);
	put(out + 24, rec->memory_kib_s, 8);
	put(out + 32, rec->moves, 4);
	put(out + 36, 0, 4);
	put(out + 40, rec->bytes, 8);
	put(out, XXH32(out + 4, METER_BYTES - 4, 0), 4);
}

bool meter_decode(const uint8_t in[METER_BYTES], struct meter_rec *rec)
{
	*rec = (struct meter_rec){
		.level = (enum meter_level)in[4],
		.span_s = (uint16_t)get(in + 6, 2),
		.tenant = (tenant_id)get(in + 8, 4),
		.start_s = (uint32_t)get(in + 12, 4),
		.cpu_us = get(in + 16, 8),
		.memory_kib_s = get(in + 24, 8),
		.moves = (uint32_t)get(in + 32, 4),
		.bytes = get(in + 40, 8),
	};
	return get(in, 4) == XXH32(in + 4, METER_BYTES - 4, 0) && in[4] < METER_LEVELS &&
	       in[5] == VERSION && rec->tenant != TENANT_NONE && rec->span_s > 0 &&
	       rec->span_s <= span_max_s[rec->level] && rec->start_s <= UINT32_MAX - rec->span_s;
}

size_t meter_each(const uint8_t *bytes, size_t len,
		  void (*fn)(void *arg, const struct meter_rec *rec), void *arg)
{
	struct meter_rec rec;
	size_t bad = 0;

	for (; len >= METER_BYTES; bytes += METER_BYTES, len -= METER_BYTES) {
		if (meter_decode(bytes, &rec))
			fn(arg, &rec);
		else
			bad++;
	}
	return bad + (len > 0);
}

/* ---- sums ---- */

static uint64_t part(uint64_t v, uint32_t of, uint32_t span)
{
	/* Without overflow for any bytes of a file. */
	return v / span * of + v % span * of / span;
}

static void saturate(uint64_t *sum, uint64_t v)
{
	*sum = *sum + v < v ? UINT64_MAX : *sum + v;
}

void meter_add_part(struct meter_rec *sum, const struct meter_rec *rec, uint32_t since_s,
		    uint32_t until_s)
{
	uint32_t from = MAX(rec->start_s, since_s), to = MIN(rec->start_s + rec->span_s, until_s);

	if (from >= to)
		return;
	saturate(&sum->cpu_us, part(rec->cpu_us, to - from, rec->span_s));
	saturate(&sum->memory_kib_s, part(rec->memory_kib_s, to - from, rec->span_s));
	saturate(&sum->bytes, part(rec->bytes, to - from, rec->span_s));
	/* A move happened or not: it counts with the end of its span. */
	if (to == rec->start_s + rec->span_s)
		sum->moves += rec->moves;
}

static void add_all(struct meter_rec *sum, const struct meter_rec *rec)
{
	meter_add_part(sum, rec, 0, UINT32_MAX);
}

/* ---- rolling up ---- */

void meter_roll_init(struct meter_roll *r, struct meter_row *rows, size_t rows_max,
		     void (*whole)(void *arg, const struct meter_rec *rec), void *arg)
{
	*r = (struct meter_roll){ .rows = rows, .rows_max = rows_max, .whole = whole, .arg = arg };
	memset(rows, 0, rows_max * sizeof(*rows));
}

static struct meter_row *row_get(const struct meter_roll *r, tenant_id t, bool make)
{
	struct meter_row *spare = NULL;

	for (size_t i = 0; i < r->rows_max; i++) {
		if (r->rows[i].tenant == t)
			return &r->rows[i];
		if (spare == NULL && r->rows[i].tenant == TENANT_NONE)
			spare = &r->rows[i];
	}
	if (!make || spare == NULL)
		return NULL;
	memset(spare, 0, sizeof(*spare));
	spare->tenant = t;
	return spare;
}

static uint32_t period(enum meter_level level)
{
	return level == METER_HOURS ? 3600 : 60;
}

static void close_span(struct meter_roll *r, struct meter_row *row, enum meter_level level);

static void add_to(struct meter_roll *r, struct meter_row *row, enum meter_level level,
		   const struct meter_rec *rec)
{
	struct meter_rec *sum = &row->sum[level];
	uint32_t start = rec->start_s / period(level) * period(level);

	if (rec->start_s < row->done_s[level])
		return; /* it is in a record already */
	if (row->open[level] && sum->start_s != start)
		close_span(r, row, level);
	if (!row->open[level]) {
		*sum = (struct meter_rec){ .level = level,
					   .tenant = row->tenant,
					   .start_s = start,
					   .span_s = (uint16_t)period(level) };
		row->open[level] = true;
	}
	add_all(sum, rec);
}

static void close_span(struct meter_roll *r, struct meter_row *row, enum meter_level level)
{
	struct meter_rec rec = row->sum[level];

	row->open[level] = false;
	row->done_s[level] = rec.start_s + rec.span_s;
	if (r->whole != NULL)
		r->whole(r->arg, &rec);
	if (level + 1 < METER_LEVELS)
		add_to(r, row, level + 1, &rec);
}

void meter_roll_recall(struct meter_roll *r, const struct meter_rec *rec)
{
	struct meter_row *row = row_get(r, rec->tenant, true);

	if (row == NULL)
		r->lost++;
	else if (rec->level != METER_SECONDS)
		row->done_s[rec->level] = MAX(row->done_s[rec->level], rec->start_s + rec->span_s);
}

void meter_roll_add(struct meter_roll *r, const struct meter_rec *rec)
{
	struct meter_row *row = row_get(r, rec->tenant, true);

	if (row == NULL)
		r->lost++;
	else if (rec->level < METER_HOURS)
		add_to(r, row, rec->level + 1, rec);
}

void meter_roll_tick(struct meter_roll *r, uint32_t now_s)
{
	for (size_t i = 0; i < r->rows_max; i++) {
		struct meter_row *row = &r->rows[i];
		bool any = false;

		for (unsigned l = METER_MINUTES; row->tenant != TENANT_NONE && l < METER_LEVELS;
		     l++) {
			if (row->open[l] && row->sum[l].start_s + row->sum[l].span_s <= now_s)
				close_span(r, row, l);
			any = any || row->open[l];
		}
		/* A tenant that has used nothing for so long makes room; its records say what is
		 * done when they are read again. */
		if (!any && row->done_s[METER_HOURS] + 7200 < now_s)
			row->tenant = TENANT_NONE;
	}
}

void meter_roll_rest(const struct meter_roll *r, enum meter_level level, tenant_id t,
		     uint32_t since_s, struct meter_rec *sum)
{
	const struct meter_row *row = row_get(r, t, false);

	for (unsigned l = METER_MINUTES; row != NULL && l <= level; l++)
		if (row->open[l])
			meter_add_part(sum, &row->sum[l], since_s, UINT32_MAX);
}
