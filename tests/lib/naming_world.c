/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/naming_world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/check.h"

static const struct naming_sizes sizes = { 16, 1200, 16, 16, 600, 16, 16, 64, 16 };

static void note(struct world *w, uint64_t a, uint64_t b)
{
	const uint64_t v[3] = { w->hash, a, b };

	w->hash = XXH3_64bits(v, sizeof(v));
}

/* ---- effects of a replica ---- */

static void on_send(void *arg, node_id to, const uint8_t *bytes, size_t len)
{
	struct world_node *n = arg;
	struct world *w = n->w;
	struct world_msg *m;
	bool cut = ((w->parted >> n->id) & 1) != ((w->parted >> to) & 1);

	CHECK(to != n->id && to != NODE_NONE);
	w->sent++;
	if (to >= WORLD_NODES || cut || rand_below(&w->rng, 1000) < w->loss_permille)
		return;
	m = malloc(sizeof(*m) + len);
	m->from = n->id;
	m->to = to;
	m->len = len;
	m->due_ms = w->now_ms + rand_below(&w->rng, w->delay_max_ms + 1);
	memcpy(m->bytes, bytes, len);
	list_add_tail(&w->net, &m->link);
}

static void on_write_log(void *arg, uint64_t segment, uint64_t offset, const uint8_t *bytes,
			 size_t len)
{
	struct world_node *n = arg;

	CHECK(n->disk.log_bytes == NULL && offset + len <= n->w->segment_bytes);
	n->disk.log_bytes = bytes;
	n->disk.log_len = len;
	n->disk.log_segment = segment;
	n->disk.log_offset = offset;
	n->disk.log_done_ms = n->w->now_ms + rand_below(&n->w->rng, 3) + n->disk.slow_ms;
}

static void on_write_snapshot(void *arg, uint64_t index, const uint8_t *bytes, size_t len)
{
	struct world_node *n = arg;

	CHECK(n->disk.snap_bytes == NULL);
	n->disk.snap_bytes = bytes;
	n->disk.snap_len = len;
	n->disk.snap_index = index;
	n->disk.snap_done_ms = n->w->now_ms + rand_below(&n->w->rng, 20) + n->disk.slow_ms;
}

static void file_del(struct world_file *files, size_t *count, uint64_t number)
{
	for (size_t i = 0; i < *count; i++) {
		if (files[i].number != number)
			continue;
		free(files[i].bytes);
		memmove(&files[i], &files[i + 1], (*count - i - 1) * sizeof(*files));
		(*count)--;
		return;
	}
}

static struct world_file *file_add(struct world_file *files, size_t *count, size_t max,
				   uint64_t number, size_t len)
{
	size_t at = *count;

	for (size_t i = 0; i < *count; i++)
		if (files[i].number == number)
			return &files[i];
	CHECK(*count < max);
	while (at > 0 && files[at - 1].number > number) {
		files[at] = files[at - 1];
		at--;
	}
	(*count)++;
	files[at] = (struct world_file){ number, calloc(1, len), len };
	return &files[at];
}

static void on_remove_segment(void *arg, uint64_t segment)
{
	struct world_node *n = arg;

	file_del(n->disk.segments, &n->disk.segment_count, segment);
}

static void on_remove_snapshot(void *arg, uint64_t index)
{
	struct world_node *n = arg;

	file_del(n->disk.snapshots, &n->disk.snapshot_count, index);
}

static void on_answer(void *arg, uint64_t token, int err, const struct naming_result *r)
{
	struct world_node *n = arg;
	struct world_answer *a = &n->w->answer[token];

	CHECK(token < WORLD_TOKENS && !a->got);
	a->got = true;
	a->err = err;
	if (r != NULL)
		a->r = *r;
	note(n->w, token, (uint64_t)err);
}

static void on_changed(void *arg, uint32_t kinds, uint32_t id)
{
	struct world_node *n = arg;

	note(n->w, kinds, id);
}

static void on_status(void *arg)
{
	(void)arg;
}

static const struct naming_replica_ops ops = {
	.send = on_send,
	.write_log = on_write_log,
	.write_snapshot = on_write_snapshot,
	.remove_segment = on_remove_segment,
	.remove_snapshot = on_remove_snapshot,
	.answer = on_answer,
	.changed = on_changed,
	.status = on_status,
};

/* ---- life and death ---- */

struct world *world_new(uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));

	rand_seed(&w->rng, seed);
	list_init(&w->net);
	w->now_ms = 1000;
	w->delay_max_ms = 3;
	w->segment_bytes = 64 << 10;
	w->snapshot_entries = 40;
	w->answer = calloc(WORLD_TOKENS, sizeof(*w->answer));
	w->token_next = 1;
	for (node_id i = 1; i < WORLD_NODES; i++)
		w->node[i] = (struct world_node){ .w = w, .id = i };
	return w;
}

static void disk_fini(struct world_disk *d)
{
	while (d->segment_count > 0)
		free(d->segments[--d->segment_count].bytes);
	while (d->snapshot_count > 0)
		free(d->snapshots[--d->snapshot_count].bytes);
}

void world_free(struct world *w)
{
	for (node_id i = 1; i < WORLD_NODES; i++) {
		naming_replica_free(w->node[i].r);
		disk_fini(&w->node[i].disk);
	}
	while (!list_empty(&w->net)) {
		struct world_msg *m = list_front(&w->net, struct world_msg, link);

		list_del(&m->link);
		free(m);
	}
	free(w->history);
	free(w->answer);
	free(w);
}

void world_start(struct world *w, node_id id)
{
	struct world_node *n = &w->node[id];
	struct naming_file segs[64];
	struct naming_file snaps[8];
	const struct naming_disk disk = { segs, n->disk.segment_count, snaps,
					  n->disk.snapshot_count };
	const struct naming_replica_config cfg = {
		.self = id,
		.first = n->first,
		.client = rand_next(&w->rng) | 1,
		.log_id = rand_next(&w->rng) | 1,
		.seed = (uint32_t)rand_next(&w->rng),
		.sizes = &sizes,
		.voters_max = 3,
		.election_ms = 200,
		.heartbeat_ms = 20,
		.snapshot_entries = w->snapshot_entries,
		.trailing_entries = 10,
		.segment_bytes = w->segment_bytes,
		.room_kib_min = 64,
	};
	node_id seeds[WORLD_NODES];
	size_t k = 0;

	for (size_t i = 0; i < n->disk.segment_count; i++)
		segs[i] =
			(struct naming_file){ n->disk.segments[i].number, n->disk.segments[i].bytes,
					      n->disk.segments[i].len };
	for (size_t i = 0; i < n->disk.snapshot_count; i++)
		snaps[i] = (struct naming_file){ n->disk.snapshots[i].number,
						 n->disk.snapshots[i].bytes,
						 n->disk.snapshots[i].len };
	CHECK(n->r == NULL && n->member);
	if (naming_replica_new(&n->r, &cfg, &disk, w->now_ms, &ops, n, &n->why) != 0) {
		w->broken = n->why;
		return;
	}
	n->why = NULL;
	n->checked = 0;
	n->lives++;
	for (node_id i = 1; i < WORLD_NODES; i++)
		if (i != id && w->node[i].member)
			seeds[k++] = i;
	naming_replica_seeds(n->r, seeds, k);
}

/* The write in flight reaches the disk in part: any set of its sectors. */
static void tear(struct world_node *n)
{
	struct world_disk *d = &n->disk;
	struct rand *rng = &n->w->rng;
	bool prefix = rand_chance(rng, 1, 2);
	size_t keep = rand_below(rng, d->log_len / 512 + 1);

	if (d->log_bytes != NULL && !d->full) {
		struct world_file *f = file_add(d->segments, &d->segment_count, 64, d->log_segment,
						n->w->segment_bytes);

		for (size_t s = 0; s * 512 < d->log_len; s++)
			if (prefix ? s < keep : rand_chance(rng, 1, 2))
				memcpy(f->bytes + d->log_offset + s * 512, d->log_bytes + s * 512,
				       512);
	}
	if (d->snap_bytes != NULL && !d->full && rand_chance(rng, 1, 2)) {
		struct world_file *f =
			file_add(d->snapshots, &d->snapshot_count, 8, d->snap_index, d->snap_len);

		memcpy(f->bytes, d->snap_bytes, rand_below(rng, d->snap_len + 1));
	}
	d->log_bytes = NULL;
	d->snap_bytes = NULL;
}

void world_kill(struct world *w, node_id id)
{
	struct world_node *n = &w->node[id];

	if (n->r == NULL)
		return;
	tear(n);
	naming_replica_free(n->r);
	n->r = NULL;
	note(w, id, w->now_ms);
}

/* ---- checks ---- */

static void check_history(struct world_node *n)
{
	struct world *w = n->w;
	struct naming_replica_info i;

	naming_replica_info(n->r, &i);
	for (; n->checked < i.applied; n->checked++) {
		uint64_t index = n->checked + 1;
		const uint8_t *bytes;
		size_t len;
		uint64_t term = naming_replica_entry(n->r, index, &bytes, &len);
		uint64_t sum;

		if (term == 0)
			continue; /* came by snapshot or feed, or is dropped */
		sum = XXH3_64bits_withSeed(bytes, len, term) | 1;
		if (index >= w->history_len) {
			size_t more = index * 2 + 64;

			w->history = realloc(w->history, more * sizeof(*w->history));
			memset(w->history + w->history_len, 0,
			       (more - w->history_len) * sizeof(*w->history));
			w->history_len = more;
		}
		if (w->history[index] != 0 && w->history[index] != sum)
			w->broken = "two nodes applied different entries at one index";
		w->history[index] = sum;
		note(w, index, sum);
	}
}

/* ---- time ---- */

static void disk_done(struct world_node *n)
{
	struct world_disk *d = &n->disk;
	struct world_file *f;

	if (d->log_bytes != NULL && d->log_done_ms <= n->w->now_ms) {
		const uint8_t *bytes = d->log_bytes;

		d->log_bytes = NULL;
		if (!d->full) {
			f = file_add(d->segments, &d->segment_count, 64, d->log_segment,
				     n->w->segment_bytes);
			memcpy(f->bytes + d->log_offset, bytes, d->log_len);
		}
		naming_replica_log_done(n->r, d->full ? -ENOSPC : 0);
	}
	if (d->snap_bytes != NULL && d->snap_done_ms <= n->w->now_ms) {
		const uint8_t *bytes = d->snap_bytes;

		d->snap_bytes = NULL;
		if (!d->full) {
			file_del(d->snapshots, &d->snapshot_count, d->snap_index);
			f = file_add(d->snapshots, &d->snapshot_count, 8, d->snap_index,
				     d->snap_len);
			memcpy(f->bytes, bytes, d->snap_len);
		}
		naming_replica_snapshot_done(n->r, d->full ? -ENOSPC : 0);
	}
}

static void deliver(struct world *w)
{
	struct world_msg *m;
	struct world_msg *tmp;

	list_for_each_safe (m, tmp, &w->net, link) {
		struct world_node *n = &w->node[m->to];

		if (m->due_ms > w->now_ms)
			continue;
		list_del(&m->link);
		if (n->r != NULL)
			naming_replica_receive(n->r, m->from, m->bytes, m->len);
		free(m);
	}
}

static void turn(struct world *w)
{
	for (node_id i = 1; i < WORLD_NODES; i++)
		if (w->node[i].r != NULL)
			naming_replica_time(w->node[i].r, w->now_ms, 1700000000000 + w->now_ms);
	deliver(w);
	for (node_id i = 1; i < WORLD_NODES; i++) {
		struct world_node *n = &w->node[i];

		if (n->r == NULL)
			continue;
		disk_done(n);
		naming_replica_room(n->r, n->disk.full ? 0 : UINT64_C(1) << 30);
		naming_replica_flush(n->r);
		check_history(n);
	}
}

void world_run(struct world *w, unsigned ms)
{
	for (unsigned i = 0; i < ms && w->broken == NULL; i++) {
		w->now_ms++;
		turn(w);
	}
}

bool world_until(struct world *w, unsigned ms, bool (*done)(struct world *w, uint64_t arg),
		 uint64_t arg)
{
	for (unsigned i = 0; i < ms && w->broken == NULL; i++) {
		if (done(w, arg))
			return true;
		world_run(w, 1);
	}
	return done(w, arg);
}

/* ---- commands ---- */

uint64_t world_propose(struct world *w, node_id id, const struct naming_cmd *cmd,
		       unsigned timeout_ms)
{
	uint64_t token = w->token_next++;

	CHECK(token < WORLD_TOKENS);
	if (w->node[id].r == NULL ||
	    naming_replica_propose(w->node[id].r, cmd, w->now_ms + timeout_ms, token) != 0)
		return 0;
	return token;
}

static bool answered(struct world *w, uint64_t token)
{
	return w->answer[token].got;
}

bool world_answered(struct world *w, uint64_t token)
{
	return answered(w, token);
}

int world_do(struct world *w, node_id id, const struct naming_cmd *cmd, struct naming_result *r)
{
	uint64_t token = world_propose(w, id, cmd, 20000);

	if (token == 0)
		return -EBUSY;
	if (!world_until(w, 25000, answered, token))
		return -EIO;
	if (r != NULL)
		*r = w->answer[token].r;
	return w->answer[token].err != 0 ? w->answer[token].err : w->answer[token].r.err;
}

struct naming_cmd world_cmd(enum naming_cmd_kind kind, const char *name)
{
	struct naming_cmd c = { .kind = kind };

	if (name != NULL)
		memcpy(c.name, name, strlen(name));
	memcpy(c.addr, "h:1", 4);
	memset(c.key, 7, sizeof(c.key));
	memset(c.key2, 7, sizeof(c.key2));
	memset(c.machine_id, 7, sizeof(c.machine_id));
	memcpy(c.text, "grove", 6);
	c.number = 1;
	c.ttl_ms = 600000;
	return c;
}

const char *world_name(const char *prefix, unsigned n)
{
	static char name[32];

	snprintf(name, sizeof(name), "%s%u", prefix, n);
	return name;
}

/* Every voter has heard that it is one. */
static bool grown(struct world *w, uint64_t n)
{
	for (node_id id = 1; id <= MIN(n, 3); id++) {
		struct naming_replica_info i;

		naming_replica_info(w->node[id].r, &i);
		if (i.voter_count != (n >= 3 ? 3 : 1) || i.committed < i.last_index)
			return false;
	}
	return world_leader(w) != NODE_NONE;
}

void world_grow(struct world *w, unsigned n)
{
	struct naming_cmd c = world_cmd(NAMING_CMD_CREATE, "n1");

	w->node[1].first = true;
	w->node[1].member = true;
	world_start(w, 1);
	CHECK(world_do(w, 1, &c, NULL) == 0);
	for (node_id i = 2; i <= n; i++) {
		c = world_cmd(NAMING_CMD_TOKEN_ADD, NULL);
		CHECK(world_do(w, 1, &c, NULL) == 0);
		c = world_cmd(NAMING_CMD_NODE_JOIN, world_name("n", i));
		CHECK(world_do(w, 1, &c, NULL) == 0);
		w->node[i].member = true;
		world_start(w, i);
	}
	CHECK(world_until(w, 20000, grown, n));
}

node_id world_leader(const struct world *w)
{
	node_id best = NODE_NONE;
	uint64_t term = 0;

	for (node_id i = 1; i < WORLD_NODES; i++) {
		struct naming_replica_info info;

		if (w->node[i].r == NULL)
			continue;
		naming_replica_info(w->node[i].r, &info);
		if (info.role == NAMING_REPLICA_LEADER && info.term >= term) {
			best = i;
			term = info.term;
		}
	}
	return best;
}

static uint64_t tables_sum(struct world_node *n)
{
	const struct naming_core *k = naming_replica_core(n->r);
	size_t len = naming_core_snapshot_bytes(k);
	uint8_t *bytes = malloc(len);
	uint64_t sum;

	CHECK(naming_core_snapshot(k, bytes, len) == len);
	sum = XXH3_64bits(bytes, len);
	free(bytes);
	return sum;
}

bool world_same(struct world *w, uint64_t unused)
{
	uint64_t applied = 0;
	uint64_t sum = 0;
	struct naming_replica_info info;

	(void)unused;
	for (node_id i = 1; i < WORLD_NODES; i++) {
		if (w->node[i].r == NULL)
			continue;
		naming_replica_info(w->node[i].r, &info);
		if (applied != 0 && info.applied != applied)
			return false;
		applied = info.applied;
	}
	for (node_id i = 1; i < WORLD_NODES; i++) {
		uint64_t s;

		if (w->node[i].r == NULL)
			continue;
		s = tables_sum(&w->node[i]);
		if (sum != 0 && s != sum)
			w->broken = "equal indexes, different tables";
		sum = s;
		if (naming_core_recount(naming_replica_core(w->node[i].r)) != NULL)
			w->broken = naming_core_recount(naming_replica_core(w->node[i].r));
	}
	return applied != 0 && w->broken == NULL;
}
