/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meter.h - what tenants have used: records of spans of time, and coarser ones made of them.
 *
 * A record is 48 bytes, little-endian, so a file of records that is cut anywhere loses one:
 *
 *	 0 check u32 (XXH32 of the rest)   4 level u8   5 version u8   6 span_s u16
 *	 8 tenant u32                     12 start_s u32 (since 1970)
 *	16 cpu_us u64                     24 memory_kib_s u64
 *	32 moves u32                      36 reserved u32              40 bytes u64
 *
 * A span of a level ends when the next begins: records of seconds add up to one of a minute, these
 * to one of an hour. A roll is fed with seconds and says when a coarser record is whole. After a
 * restart it is fed with what the files hold: what was made a coarser record of already is known
 * by the end of the last one, and left out.
 *
 * Sans-io, no allocation: rows are the caller's. Bytes of files may be anything.
 */
#ifndef QUOTA_CORE_METER_H
#define QUOTA_CORE_METER_H

#include "base/attr.h"
#include "base/types.h"

#define METER_BYTES 48u /* of a record */

enum meter_level {
	METER_SECONDS = 0,
	METER_MINUTES,
	METER_HOURS,
	METER_LEVELS,
};

struct meter_rec {
	enum meter_level level;
	tenant_id tenant;
	uint32_t start_s;
	uint16_t span_s; /* 1 .. 3600 */
	uint64_t cpu_us;
	uint64_t memory_kib_s; /* KiB times seconds */
	uint32_t moves;
	uint64_t bytes; /* that moves carried */
};

void meter_encode(const struct meter_rec *rec, uint8_t out[METER_BYTES]);
/* False: no record. */
must_check bool meter_decode(const uint8_t in[METER_BYTES], struct meter_rec *rec);

/* Calls @fn for each good record of a file's bytes; returns how many places hold none. */
size_t meter_each(const uint8_t *bytes, size_t len,
		  void (*fn)(void *arg, const struct meter_rec *rec), void *arg);

/* ---- coarser records ---- */
struct meter_row {
	tenant_id tenant; /* TENANT_NONE: free */
	bool open[METER_LEVELS];
	uint32_t done_s[METER_LEVELS]; /* up to where the level is recorded */
	struct meter_rec sum[METER_LEVELS];
};

struct meter_roll {
	struct meter_row *rows;
	size_t rows_max;
	uint64_t lost; /* records of tenants for whom there was no row */
	void (*whole)(void *arg, const struct meter_rec *rec);
	void *arg;
};

void meter_roll_init(struct meter_roll *r, struct meter_row *rows, size_t rows_max,
		     void (*whole)(void *arg, const struct meter_rec *rec), void *arg);
/* A record of the files from before, coarsest level first. Tells nothing; see meter_roll_add(). */
void meter_roll_recall(struct meter_roll *r, const struct meter_rec *rec);
/* A record of seconds (or of minutes, when files are read again). May call whole(). */
void meter_roll_add(struct meter_roll *r, const struct meter_rec *rec);
/* Time has passed: spans that are over are whole. */
void meter_roll_tick(struct meter_roll *r, uint32_t now_s);
/* What is not in a record of @level yet: adds it to @sum where it lies behind @since_s. */
void meter_roll_rest(const struct meter_roll *r, enum meter_level level, tenant_id t,
		     uint32_t since_s, struct meter_rec *sum);

/* Adds the part of @rec that lies in [since_s, until_s). */
void meter_add_part(struct meter_rec *sum, const struct meter_rec *rec, uint32_t since_s,
		    uint32_t until_s);

#endif
