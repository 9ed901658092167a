/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks of the voters: naming's log format under torn and lost writes.
 *
 * Each of the first three nodes appends frames to a log (naming/core/log.h), one write at a time.
 * A write that a power failure meets is torn: any of its blocks may have reached the disk. After
 * the boot the log is scanned, and
 *	L1  everything that was reported durable is there, in order, and nothing invented
 */
#include "sim/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "naming/core/log.h"

#define DISKS         3
#define SEGMENT_BYTES (32u * LOG_BLOCK)
#define SEGMENTS      64

struct disk {
	uint8_t *bytes[SEGMENTS];
	struct log_pos pos;
	uint64_t next_index;    /* of the entry to be written next */
	uint64_t durable_index; /* last one reported */
	uint64_t scanned_index;
	uint8_t *flight; /* the frame being written */
	size_t flight_len;
	uint64_t flight_segment, flight_offset;
};

struct disks {
	struct disk d[DISKS];
};

static void disk_reset(struct disk *d, struct rand *r)
{
	for (int i = 0; i < SEGMENTS; i++)
		memset(d->bytes[i], 0, SEGMENT_BYTES);
	d->pos = (struct log_pos){ .id = rand_next(r), .seq = 1, .segment = 1 };
	d->next_index = 1;
	d->durable_index = 0;
}

struct disks *disks_new(struct sim *s)
{
	struct disks *k = calloc(1, sizeof(*k));

	CHECK(k != NULL);
	for (int i = 0; i < DISKS; i++) {
		for (int j = 0; j < SEGMENTS; j++) {
			k->d[i].bytes[j] = calloc(1, SEGMENT_BYTES);
			CHECK(k->d[i].bytes[j] != NULL);
		}
		disk_reset(&k->d[i], &s->w.rng[RNG_DISK]);
	}
	return k;
}

void disks_free(struct disks *k)
{
	if (!k)
		return;
	for (int i = 0; i < DISKS; i++) {
		for (int j = 0; j < SEGMENTS; j++)
			free(k->d[i].bytes[j]);
		free(k->d[i].flight);
	}
	free(k);
}

static uint8_t *disk_at(struct disk *d, uint64_t segment, uint64_t offset)
{
	return d->bytes[segment % SEGMENTS] + offset;
}

static int scan_record(void *arg, const struct log_record *rec)
{
	struct disk *d = arg;
	uint64_t v = 0;

	if (rec->type != LOG_ENTRY)
		return 0;
	if (rec->len >= sizeof(v))
		memcpy(&v, rec->data, sizeof(v));
	if (rec->index != d->scanned_index + 1 || v != rec->index * 7)
		return -1;
	d->scanned_index = rec->index;
	return 0;
}

/* What a booting voter finds. */
static void disk_scan(struct sim *s, node_id node, struct disk *d)
{
	struct log_pos pos = { 0 };
	enum log_verdict v = LOG_GOOD;

	d->scanned_index = 0;
	for (uint64_t seg = 1; seg <= d->pos.segment && v != LOG_DAMAGED; seg++) {
		enum log_verdict one =
			log_scan(&pos, seg, disk_at(d, seg, 0), SEGMENT_BYTES, scan_record, d);

		v = one == LOG_GOOD ? v : one;
	}
	s->w.stats.checks++;
	s->stats.log_restarts++;
	s->stats.log_torn += v == LOG_TORN;
	world_hash(&s->w, (uint64_t)v);
	world_hash(&s->w, d->scanned_index);
	if (v == LOG_DAMAGED)
		world_violate(&s->w, "L2", "n%u: a torn write is taken for a damaged log", node);
	if (d->scanned_index < d->durable_index || d->scanned_index >= d->next_index)
		world_violate(&s->w, "L1", "n%u: log has entries up to %llu, reported were %llu",
			      node, (unsigned long long)d->scanned_index,
			      (unsigned long long)d->durable_index);
	if (d->scanned_index > 0)
		d->pos = pos;
	else
		d->pos = (struct log_pos){ .id = d->pos.id, .seq = 1, .segment = 1 };
	d->next_index = d->scanned_index + 1;
	d->durable_index = d->scanned_index;
}

/* Any of the blocks in flight may have reached the disk, in any order. */
void disks_crash(struct sim *s, node_id node)
{
	struct disk *d;

	if (node > DISKS || !s->disks)
		return;
	d = &s->disks->d[node - 1];
	for (size_t at = 0; d->flight && at < d->flight_len; at += 512) {
		if (rand_chance(&s->w.rng[RNG_DISK], 1, 2))
			memcpy(disk_at(d, d->flight_segment, d->flight_offset + at), d->flight + at,
			       MIN((size_t)512, d->flight_len - at));
	}
	free(d->flight);
	d->flight = NULL;
}

static void disk_done(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct disk *d = &s->disks->d[node - 1];

	(void)b;
	if (!sim_guard_host(s, node, payload) || !d->flight)
		return;
	memcpy(disk_at(d, d->flight_segment, d->flight_offset), d->flight, d->flight_len);
	free(d->flight);
	d->flight = NULL;
	d->durable_index = a;
	s->stats.log_frames++;
	world_hash(w, a);
}

static void disk_frame(struct sim *s, struct disk *d)
{
	struct rand *r = &s->w.rng[RNG_DISK];
	uint8_t data[3000];
	struct log_record meta = { .type = LOG_META, .term = 1, .vote = 1 };
	struct log_record rec = { .type = LOG_ENTRY, .term = 1, .kind = 1, .data = data };
	uint64_t v = d->next_index * 7;
	size_t payload, at = LOG_HEADER_BYTES;

	memset(data, (int)d->next_index, sizeof(data));
	memcpy(data, &v, sizeof(v));
	rec.index = d->next_index++;
	rec.len = sizeof(v) + rand_below(r, sizeof(data) - sizeof(v));
	payload = log_record_bytes(&meta) + log_record_bytes(&rec);
	d->flight_len = log_frame_bytes(payload);
	if (d->pos.offset + d->flight_len > SEGMENT_BYTES) {
		d->pos.segment++;
		d->pos.offset = 0;
	}
	d->flight = calloc(1, d->flight_len);
	CHECK(d->flight != NULL);
	at += log_record_put(d->flight + at, &meta);
	log_record_put(d->flight + at, &rec);
	d->flight_segment = d->pos.segment;
	d->flight_offset = d->pos.offset;
	log_frame_seal(d->flight, payload, &d->pos);
}

static void disk_write(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct disk *d = &s->disks->d[node - 1];
	struct knode *n = &s->nodes[node];
	struct rand *r = &w->rng[RNG_DISK];
	uint64_t delay_ns;

	(void)b;
	(void)payload;
	if (s->quiet)
		return;
	if (n->up && n->boot != a) { /* booted since */
		if (d->next_index > 1)
			disk_scan(s, node, d);
		a = n->boot;
	}
	if (n->up && !d->flight && d->pos.segment + 1 < SEGMENTS) {
		disk_frame(s, d);
		delay_ns = 100 * NS_PER_US + rand_below(r, 200000);
		if (rand_chance(r, 1, 20))
			delay_ns += rand_below(r, 400) * NS_PER_MS; /* a slow disk */
		sim_later(s, n, delay_ns, disk_done, "disk", d->next_index - 1, 0);
	}
	world_in(w, (100 + rand_below(r, 1500)) * NS_PER_MS, disk_write, "append", node, a, 0,
		 NULL);
}

void disks_start(struct sim *s)
{
	for (node_id id = 1; id <= DISKS && id <= s->conf.nodes; id++)
		world_in(&s->w, NS_PER_S, disk_write, "append", id, 1, 0, NULL);
}
