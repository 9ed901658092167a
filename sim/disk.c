/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks that naming's replicas write to: slow, full, failing, and torn by a power failure.
 *
 * A write that meets the death of its node reaches the disk in part: any of its sectors, or none.
 * A write that was reported done is there afterwards; a disk that loses one lies, and what must
 * happen then is checked aside:
 *	L2  a log of which a durable frame is gone is never taken for a shorter one
 *	P1  (here) after quiet a log is no longer than its snapshots let it be
 */
#include "sim/cluster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "naming/core/log.h"

#define SECTOR       64 /* less than a disk's: the frames of so small a machine are small too */
#define SEGMENTS_END 32

struct file {
	uint64_t number;
	uint8_t *bytes;
	size_t len;
};

struct files {
	struct file f[DISK_FILES];
	size_t count;
};

struct disk {
	struct files segments, snapshots;
	int full, fails, slow; /* how many faults say so */
	/* in flight; the bytes are the replica's */
	const uint8_t *log;
	size_t log_len;
	uint64_t log_segment, log_offset;
	uint64_t durable_segment, durable_offset; /* of the last frame that was reported done */
	struct disk_promise promise;              /* what the durable frames say */
	bool failed;                              /* the last write did */
	const uint8_t *snap;
	size_t snap_len;
	uint64_t snap_index;
};

struct disks {
	struct disk d[SIM_NODES_MAX + 1];
};

struct disks *disks_new(void)
{
	struct disks *k = calloc(1, sizeof(*k));

	CHECK(k != NULL);
	return k;
}

static void files_del(struct files *fs, uint64_t number)
{
	for (size_t i = 0; i < fs->count; i++) {
		if (fs->f[i].number != number)
			continue;
		free(fs->f[i].bytes);
		memmove(&fs->f[i], &fs->f[i + 1], (--fs->count - i) * sizeof(*fs->f));
		return;
	}
}

static struct file *files_add(struct files *fs, uint64_t number, size_t len)
{
	size_t at = fs->count;

	for (size_t i = 0; i < fs->count; i++) {
		if (fs->f[i].number == number)
			return &fs->f[i];
	}
	CHECK(fs->count < DISK_FILES);
	for (; at > 0 && fs->f[at - 1].number > number; at--)
		fs->f[at] = fs->f[at - 1];
	fs->count++;
	fs->f[at] = (struct file){ number, calloc(1, len), len };
	CHECK(fs->f[at].bytes != NULL);
	return &fs->f[at];
}

void disks_free(struct disks *k)
{
	for (node_id id = 0; k && id <= SIM_NODES_MAX; id++) {
		while (k->d[id].segments.count > 0)
			files_del(&k->d[id].segments, k->d[id].segments.f[0].number);
		while (k->d[id].snapshots.count > 0)
			files_del(&k->d[id].snapshots, k->d[id].snapshots.f[0].number);
	}
	free(k);
}

static uint64_t disk_delay_ns(struct sim *s, const struct disk *d)
{
	struct rand *r = &s->w.rng[RNG_DISK];
	uint64_t ns = 100 * NS_PER_US + rand_below(r, 200000);

	if (d->slow || rand_chance(r, 1, 100))
		ns += rand_below(r, 400) * NS_PER_MS;
	return ns;
}

static int disk_err(struct sim *s, const struct disk *d)
{
	if (d->full)
		return -ENOSPC;
	return d->fails && rand_chance(&s->w.rng[RNG_DISK], 1, 2) ? -EIO : 0;
}

/* ---- what is durable ---- */

static int promise_record(void *arg, const struct log_record *rec)
{
	struct disk_promise *p = arg;

	if (rec->type == LOG_META) {
		p->term = rec->term;
		p->vote = rec->vote;
	} else {
		p->last = rec->index;
	}
	return 0;
}

bool disks_promise(const struct sim *s, node_id node, struct disk_promise *out)
{
	const struct disk *d = &s->disks->d[node];

	*out = d->promise;
	for (size_t i = 0; i < d->snapshots.count; i++)
		out->last = MAX(out->last, d->snapshots.f[i].number);
	return d->log || d->failed;
}

/* After a life of which the last write may have come to the disk or not. */
static void promise_read(struct disk *d)
{
	struct log_pos pos = { 0 };

	d->promise = (struct disk_promise){ 0 };
	d->failed = false;
	for (size_t i = 0; i < d->segments.count; i++)
		(void)log_scan(&pos, d->segments.f[i].number, d->segments.f[i].bytes,
			       d->segments.f[i].len, promise_record, &d->promise);
}

/* ---- writes ---- */

static void log_done(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	struct disk *d = &s->disks->d[node];
	int err;

	if (pod_stalled(s, n, log_done, "disk", a, b, payload))
		return;
	if (!sim_guard_pod(s, node, payload) || !d->log)
		return;
	err = disk_err(s, d);
	d->failed = err != 0;
	if (err == 0) {
		struct file *f = files_add(&d->segments, d->log_segment, SIM_SEGMENT_BYTES);

		memcpy(f->bytes + d->log_offset, d->log, d->log_len);
		d->durable_segment = d->log_segment;
		d->durable_offset = d->log_offset;
		(void)log_scan(&(struct log_pos){ 0 }, d->log_segment, d->log, d->log_len,
			       promise_record, &d->promise);
		s->stats.log_frames++;
	}
	d->log = NULL;
	world_hash(w, (uint64_t)(int64_t)err);
	name_log_done(s, n, err);
}

void disks_write_log(struct sim *s, struct knode *n, uint64_t segment, uint64_t offset,
		     const uint8_t *bytes, size_t len)
{
	struct disk *d = &s->disks->d[n->id];
	uint64_t delay_ns;

	CHECK(!d->log && offset + len <= SIM_SEGMENT_BYTES);
	d->log = bytes;
	d->log_len = len;
	d->log_segment = segment;
	d->log_offset = offset;
	delay_ns = disk_delay_ns(s, d);
	pod_later(s, n, delay_ns, log_done, "disk", segment, offset);
	fault_writing(s, n, delay_ns);
}

static void snapshot_done(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	struct disk *d = &s->disks->d[node];
	int err;

	if (pod_stalled(s, n, snapshot_done, "snapshot", a, b, payload))
		return;
	if (!sim_guard_pod(s, node, payload) || !d->snap)
		return;
	err = disk_err(s, d);
	if (err == 0) {
		struct file *f;

		files_del(&d->snapshots, d->snap_index);
		f = files_add(&d->snapshots, d->snap_index, d->snap_len);
		memcpy(f->bytes, d->snap, d->snap_len);
		s->stats.log_snapshots++;
	}
	d->snap = NULL;
	world_hash(w, (uint64_t)(int64_t)err);
	name_snapshot_done(s, n, err);
}

void disks_write_snapshot(struct sim *s, struct knode *n, uint64_t index, const uint8_t *bytes,
			  size_t len)
{
	struct disk *d = &s->disks->d[n->id];

	CHECK(!d->snap);
	d->snap = bytes;
	d->snap_len = len;
	d->snap_index = index;
	pod_later(s, n, 10 * disk_delay_ns(s, d), snapshot_done, "snapshot", index, len);
}

void disks_remove_segment(struct sim *s, node_id node, uint64_t segment)
{
	files_del(&s->disks->d[node].segments, segment);
}

void disks_remove_snapshot(struct sim *s, node_id node, uint64_t index)
{
	files_del(&s->disks->d[node].snapshots, index);
}

/* ---- faults ---- */

void disks_fault(struct sim *s, node_id node, enum fault_kind kind, int by)
{
	struct disk *d = &s->disks->d[node];

	if (kind == FAULT_DISK_FULL)
		d->full += by;
	else if (kind == FAULT_DISK_FAILS)
		d->fails += by;
	else
		d->slow += by;
}

bool disks_good(const struct sim *s, node_id node)
{
	const struct disk *d = &s->disks->d[node];

	return !d->full && !d->fails && !d->slow;
}

uint64_t disks_free_bytes(const struct sim *s, node_id node)
{
	return s->disks->d[node].full ? 0 : UINT64_C(1) << 30;
}

static void tear_log(struct sim *s, struct disk *d)
{
	struct rand *r = &s->w.rng[RNG_DISK];
	bool prefix = rand_chance(r, 1, 2);
	size_t keep = rand_below(r, d->log_len / SECTOR + 1);
	struct file *f = files_add(&d->segments, d->log_segment, SIM_SEGMENT_BYTES);

	s->stats.log_torn++;
	for (size_t i = 0; i * SECTOR < d->log_len; i++) {
		if (prefix ? i < keep : rand_chance(r, 1, 2))
			memcpy(f->bytes + d->log_offset + i * SECTOR, d->log + i * SECTOR,
			       MIN((size_t)SECTOR, d->log_len - i * SECTOR));
	}
}

void disks_crash(struct sim *s, node_id node)
{
	struct rand *r = &s->w.rng[RNG_DISK];
	struct disk *d = &s->disks->d[node];

	if (d->log && !d->full)
		tear_log(s, d);
	/* A file that is whole or not there (written aside, synced, renamed), or an older one. */
	if (d->snap && !d->full && rand_chance(r, 1, 2)) {
		struct file *f = files_add(&d->snapshots, d->snap_index, d->snap_len);

		memcpy(f->bytes, d->snap, MIN(f->len, rand_below(r, d->snap_len + 1)));
	}
	d->log = NULL;
	d->snap = NULL;
}

/* ---- reading ---- */

static size_t files_list(const struct files *fs, struct naming_file *out)
{
	for (size_t i = 0; i < fs->count; i++)
		out[i] = (struct naming_file){ fs->f[i].number, fs->f[i].bytes, fs->f[i].len };
	return fs->count;
}

void disks_read(struct sim *s, node_id node, struct naming_file *segments,
		struct naming_file *snapshots, struct naming_disk *out)
{
	struct disk *d = &s->disks->d[node];

	promise_read(d);
	*out = (struct naming_disk){
		.segments = segments,
		.segment_count = files_list(&d->segments, segments),
		.snapshots = snapshots,
		.snapshot_count = files_list(&d->snapshots, snapshots),
	};
}

static int skip_record(void *arg, const struct log_record *rec)
{
	(void)arg;
	(void)rec;
	return 0;
}

/* L2: as if the disk had lied about one frame that has others behind it. */
void disks_check_lost(struct sim *s, node_id node)
{
	const struct disk *d = &s->disks->d[node];
	struct rand *r = &s->w.rng[RNG_DISK];
	const struct file *f = d->segments.count ? &d->segments.f[d->segments.count - 1] : NULL;
	uint8_t *copy;
	struct log_pos pos = { 0 };

	if (!f || d->durable_segment != f->number || d->durable_offset == 0)
		return;
	copy = malloc(f->len);
	CHECK(copy != NULL);
	memcpy(copy, f->bytes, f->len);
	/* Frames start at blocks; a part of one that is not the last is gone. */
	memset(copy + rand_below(r, d->durable_offset / LOG_BLOCK) * LOG_BLOCK, 0, LOG_BLOCK);
	s->w.stats.checks++;
	if (log_scan(&pos, f->number, copy, f->len, skip_record, NULL) != LOG_DAMAGED)
		world_violate(&s->w, "L2", "n%u: a log that lacks a durable frame is taken as good",
			      node);
	free(copy);
}

void disks_check_end(struct sim *s)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		const struct disk *d = &s->disks->d[id];

		s->w.stats.checks++;
		if (d->segments.count > SEGMENTS_END || d->snapshots.count > 2)
			world_violate(&s->w, "P1", "n%u: %zu segments and %zu snapshots are kept",
				      id, d->segments.count, d->snapshots.count);
	}
}
