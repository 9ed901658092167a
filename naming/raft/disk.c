/* SPDX-License-Identifier: Apache-2.0 */
/* disk.c - frames, segments and snapshots: what is written when, and read at the start. */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "naming/raft/priv.h"

/* ---- writing the log ---- */

static int frame_add(struct frame *f, const struct log_record *rec)
{
	size_t n = log_record_bytes(rec);
	int rv = buf_reserve(&f->bytes, n);

	if (rv == 0)
		f->bytes.len += log_record_put(f->bytes.data + f->bytes.len, rec);
	return rv;
}

/* A frame begins with term and vote (L3): wherever a segment begins, they are there. */
static int frame_open(struct naming_replica *r)
{
	const struct log_record meta = {
		.type = LOG_META,
		.term = r->meta_term,
		.vote = r->meta_vote,
	};
	static const uint8_t head[LOG_HEADER_BYTES];
	struct frame *f = calloc(1, sizeof(*f));
	int rv = f == NULL ? -ENOMEM : buf_add(&f->bytes, head, sizeof(head));

	if (rv == 0)
		rv = frame_add(f, &meta);
	if (rv != 0) {
		if (f != NULL)
			buf_fini(&f->bytes);
		free(f);
		return rv;
	}
	f->number = ++r->frame_next;
	list_add_tail(&r->frames, &f->link);
	r->open = f;
	r->pending_bytes += f->bytes.len;
	return 0;
}

int replica_record(struct naming_replica *r, const struct log_record *rec)
{
	size_t n = log_record_bytes(rec);
	int rv = 0;

	if (r->open != NULL &&
	    log_frame_bytes(r->open->bytes.len - LOG_HEADER_BYTES + n) > r->cfg.segment_bytes)
		r->open = NULL; /* full: it stays in the queue */
	if (r->open == NULL)
		rv = frame_open(r);
	if (rv == 0)
		rv = frame_add(r->open, rec);
	if (rv != 0)
		return rv;
	r->pending_bytes += n;
	if (rec->type == LOG_ENTRY)
		r->open->last_index = rec->index;
	return 0;
}

int replica_record_meta(struct naming_replica *r, uint64_t term, uint64_t vote)
{
	const struct log_record rec = { .type = LOG_META, .term = term, .vote = vote };
	int rv;

	if (term == r->meta_term && vote == r->meta_vote)
		return 0;
	rv = replica_record(r, &rec);
	if (rv != 0)
		return rv;
	r->meta_term = term;
	r->meta_vote = vote;
	r->open->has_meta = true;
	return 0;
}

uint64_t replica_meta_frame(const struct naming_replica *r)
{
	const struct frame *f;
	uint64_t number = 0;

	if (r->writing != NULL && r->writing->has_meta)
		number = r->writing->number;
	list_for_each (f, &r->frames, link)
		if (f->has_meta)
			number = f->number;
	return number;
}

static int segment_note(struct naming_replica *r, uint64_t number, uint64_t index)
{
	struct segment *s = r->segment_count > 0 ? &r->segments[r->segment_count - 1] : NULL;

	if (s == NULL || s->number != number) {
		if (r->segment_count == r->segment_cap) {
			size_t cap = r->segment_cap == 0 ? 16 : 2 * r->segment_cap;

			s = realloc(r->segments, cap * sizeof(*s));
			if (s == NULL)
				return -ENOMEM;
			r->segments = s;
			r->segment_cap = cap;
		}
		s = &r->segments[r->segment_count++];
		*s = (struct segment){ .number = number };
	}
	s->index_max = MAX(s->index_max, index);
	return 0;
}

static void write_again(struct naming_replica *r)
{
	const struct frame *f = r->writing;

	r->retry_ms = 0;
	r->ops->write_log(r->arg, r->pos.segment, r->pos.offset - f->bytes.len, f->bytes.data,
			  f->bytes.len);
}

static void write_next(struct naming_replica *r)
{
	struct frame *f = list_front(&r->frames, struct frame, link);
	size_t payload = f->bytes.len - LOG_HEADER_BYTES;
	size_t all = log_frame_bytes(payload);

	/* Nothing was promised yet: with more memory it goes out in a later turn. */
	if (buf_reserve(&f->bytes, all - f->bytes.len) != 0)
		return;
	if (r->pos.offset + all > r->cfg.segment_bytes) {
		r->pos.segment++;
		r->pos.offset = 0;
	}
	if (segment_note(r, r->pos.segment, f->last_index) != 0)
		return;
	list_del(&f->link);
	if (r->open == f)
		r->open = NULL;
	log_frame_seal(f->bytes.data, payload, &r->pos);
	r->pending_bytes += all - f->bytes.len;
	f->bytes.len = all;
	r->writing = f;
	r->rewritten = UINT64_MAX;
	r->ops->write_log(r->arg, r->pos.segment, r->pos.offset - all, f->bytes.data, all);
}

void replica_disk_flush(struct naming_replica *r)
{
	if (r->writing != NULL && r->retry_ms != 0 && r->now_ms >= r->retry_ms)
		write_again(r);
	else if (r->writing == NULL && !list_empty(&r->frames))
		write_next(r);
}

/* Segments whose entries are all below what is kept; oldest first, never the current one. */
static void segments_drop(struct naming_replica *r)
{
	size_t n = 0;

	while (n + 1 < r->segment_count && r->segments[n].index_max < r->log_first &&
	       r->segments[n].index_max <= r->snap.index)
		r->ops->remove_segment(r->arg, r->segments[n++].number);
	if (n == 0)
		return;
	memmove(r->segments, r->segments + n, (r->segment_count - n) * sizeof(*r->segments));
	r->segment_count -= n;
}

/* ---- snapshots ---- */

static int snapshot_file(struct naming_replica *r, const struct raft_snapshot_metadata *meta,
			 const uint8_t *data, size_t len)
{
	struct raft_buffer conf;
	struct log_snapshot s;
	int rv;

	if (raft_configuration_encode(&meta->configuration, &conf) != 0)
		return -ENOMEM;
	s = (struct log_snapshot){
		meta->index, meta->term, meta->configuration_index, conf.base, conf.len, data, len,
	};
	r->snap_writing.len = 0;
	rv = buf_reserve(&r->snap_writing, log_snapshot_bytes(&s));
	if (rv == 0) {
		log_snapshot_put(r->snap_writing.data, &s);
		r->snap_writing.len = log_snapshot_bytes(&s);
	}
	raft_free(conf.base);
	return rv;
}

static int conf_copy(const struct raft_configuration *from, struct raft_configuration *to)
{
	raft_configuration_init(to);
	for (unsigned i = 0; i < from->n; i++) {
		const struct raft_server *s = &from->servers[i];

		if (raft_configuration_add(to, s->id, s->address, s->role) != 0) {
			raft_configuration_close(to);
			return -ENOMEM;
		}
	}
	return 0;
}

static void snapshot_write(struct naming_replica *r)
{
	r->snap_retry_ms = 0;
	r->ops->write_snapshot(r->arg, r->snap_meta.index, r->snap_writing.data,
			       r->snap_writing.len);
}

void replica_snapshot_maybe(struct naming_replica *r)
{
	const struct entry *e = replica_entry(r, r->applied);
	struct buf data = BUF_INIT;
	size_t n;

	if (r->snap_busy || r->raft.snapshot.installing || e == NULL ||
	    r->applied != r->raft_done || r->applied > r->raft.last_stored ||
	    r->applied - r->snap.index < r->cfg.snapshot_entries ||
	    r->raft.configuration_committed_index == 0)
		return;
	n = naming_core_snapshot_bytes(r->core);
	if (buf_reserve(&data, n) != 0)
		return;
	CHECK(naming_core_snapshot(r->core, data.data, n) == n);
	r->snap_meta = (struct raft_snapshot_metadata){
		.index = r->applied,
		.term = e->term,
		.configuration_index = r->raft.configuration_committed_index,
	};
	if (conf_copy(&r->raft.configuration_committed, &r->snap_meta.configuration) == 0) {
		if (snapshot_file(r, &r->snap_meta, data.data, n) == 0) {
			r->snap_busy = true;
			r->snap_install = false;
			snapshot_write(r);
		} else {
			raft_configuration_close(&r->snap_meta.configuration);
		}
	}
	buf_fini(&data);
}

static void install_write(struct naming_replica *r)
{
	r->install_waits = false;
	r->snap_meta = r->install_meta;
	r->snap_busy = true;
	r->snap_install = true;
	/* Raft waits for it: without memory this daemon must start anew from disk. */
	CHECK(snapshot_file(r, &r->snap_meta, r->install_data.base, r->install_data.len) == 0);
	raft_free(r->install_data.base);
	snapshot_write(r);
}

/* Takes the configuration and the data. Raft has already dropped its log. */
void replica_snapshot_install(struct naming_replica *r, struct raft_snapshot_metadata *meta,
			      struct raft_buffer *data)
{
	replica_log_reset(r, meta->index + 1);
	r->rewritten = 0;
	r->install_meta = *meta;
	r->install_data = *data;
	r->install_waits = true;
	if (!r->snap_busy)
		install_write(r);
}

/* The file just written is now the newest. */
static void snapshot_adopt(struct naming_replica *r)
{
	struct buf old = r->snap_file;
	uint64_t old_index = r->snap.index;

	r->snap_file = r->snap_writing;
	r->snap_writing = old;
	CHECK(log_snapshot_get(r->snap_file.data, r->snap_file.len, &r->snap) == 0);
	if (old_index != 0 && old_index != r->snap.index)
		r->ops->remove_snapshot(r->arg, old_index);
}

static void installed(struct naming_replica *r)
{
	struct raft_event ev = { .type = RAFT_PERSISTED_SNAPSHOT };
	const struct log_record reset = {
		.type = LOG_RESET,
		.term = r->snap_meta.term,
		.index = r->snap_meta.index,
	};

	snapshot_adopt(r);
	CHECK(replica_record(r, &reset) == 0);
	/* Checked when it came; the tables of a node that was fed may be ahead of it. */
	if (r->applied < r->snap.index)
		CHECK(replica_restore(r, r->snap.index, r->snap.term, r->snap.data,
				      r->snap.data_len));
	r->raft_done = r->snap.index;
	ev.persisted_snapshot.metadata = r->snap_meta; /* takes the configuration */
	ev.persisted_snapshot.last = true;
	(void)replica_step(r, &ev);
	segments_drop(r);
}

static void taken(struct naming_replica *r)
{
	struct raft_event ev = { .type = RAFT_SNAPSHOT };
	uint64_t index = r->snap_meta.index;

	/* A snapshot of the leader overtook it. */
	if (replica_entry(r, index) == NULL || index <= r->snap.index) {
		raft_configuration_close(&r->snap_meta.configuration);
		r->ops->remove_snapshot(r->arg, index);
		return;
	}
	snapshot_adopt(r);
	ev.snapshot.metadata = r->snap_meta; /* takes the configuration */
	ev.snapshot.trailing = r->cfg.trailing_entries;
	(void)replica_step(r, &ev);
	/* As raft does: all or nothing of the trailing ones. */
	if (index > r->cfg.trailing_entries &&
	    replica_entry(r, index - r->cfg.trailing_entries) != NULL)
		replica_log_drop(r, index - r->cfg.trailing_entries);
	segments_drop(r);
}

void naming_replica_snapshot_done(struct naming_replica *r, int err)
{
	CHECK(r->snap_busy);
	if (err != 0) {
		/* One of our own can wait for better days; the leader's is asked for again. */
		if (!r->snap_install && r->install_waits) {
			raft_configuration_close(&r->snap_meta.configuration);
			install_write(r);
			return;
		}
		r->snap_retry_ms = r->now_ms + 10 * DISK_RETRY_MS;
		return;
	}
	r->snap_busy = false;
	if (r->snap_install)
		installed(r);
	else
		taken(r);
	if (r->install_waits)
		install_write(r);
}

void replica_snapshot_flush(struct naming_replica *r)
{
	if (r->snap_busy && r->snap_retry_ms != 0 && r->now_ms >= r->snap_retry_ms)
		snapshot_write(r);
}

/* ---- reading at the start ---- */

struct loading {
	struct naming_replica *r;
	uint64_t segment;
	bool began; /* an entry or a reset was seen: indexes go on from there */
	const char *why;
};

static int load_entry(struct loading *l, const struct log_record *rec)
{
	struct naming_replica *r = l->r;

	if (rec->index == 0 || rec->term == 0 || rec->len > LOG_RECORD_MAX ||
	    rec->kind < RAFT_COMMAND || rec->kind > RAFT_CHANGE ||
	    (rec->kind == RAFT_CHANGE && !replica_conf_ok(rec->data, rec->len))) {
		l->why = "an entry makes no sense";
		return -EBADMSG;
	}
	/* Older segments are gone: the first entry found may be any, and one that replaces
	 * entries of those begins anew. No frame is missing in between: log_scan() saw to it. */
	if (!l->began || rec->index < r->log_first)
		replica_log_reset(r, rec->index);
	l->began = true;
	if (rec->index > r->log_first + r->log_count) {
		l->why = "entries are missing";
		return -EBADMSG;
	}
	replica_log_cut(r, rec->index);
	if (segment_note(r, l->segment, rec->index) != 0)
		return -ENOMEM;
	return replica_log_append(r, rec->index, rec->term, rec->kind, rec->data, rec->len);
}

static int load_record(void *arg, const struct log_record *rec)
{
	struct loading *l = arg;

	switch (rec->type) {
	case LOG_META:
		l->r->meta_term = rec->term;
		l->r->meta_vote = rec->vote;
		return 0;
	case LOG_RESET:
		l->began = true;
		replica_log_reset(l->r, rec->index + 1);
		return 0;
	case LOG_ENTRY:
		return load_entry(l, rec);
	}
	return -EBADMSG;
}

static int load_segments(struct naming_replica *r, const struct naming_disk *disk, const char **why)
{
	struct loading l = { .r = r, .why = "a write that was durable is gone" };
	struct log_pos pos = { 0 };

	for (size_t i = 0; i < disk->segment_count; i++) {
		const struct naming_file *f = &disk->segments[i];
		enum log_verdict v;

		l.segment = f->number;
		v = log_scan(&pos, f->number, f->bytes, f->len, load_record, &l);
		r->pos = pos;
		if (v == LOG_DAMAGED) {
			*why = l.why;
			return -EBADMSG;
		}
		if (pos.seq != 0 && segment_note(r, pos.segment, 0) != 0)
			return -ENOMEM;
	}
	if (pos.seq == 0) {
		r->pos = (struct log_pos){ .id = r->cfg.log_id, .seq = 1, .segment = 1 };
		if (disk->segment_count > 0)
			r->pos.segment = disk->segments[disk->segment_count - 1].number;
	}
	return 0;
}

/* The newest whole one. Half written ones, and older ones, go. */
static int load_snapshot(struct naming_replica *r, const struct naming_disk *disk, const char **why)
{
	for (size_t i = disk->snapshot_count; i-- > 0;) {
		const struct naming_file *f = &disk->snapshots[i];
		struct log_snapshot s;
		int rv;

		if (r->snap.index != 0 || log_snapshot_get(f->bytes, f->len, &s) != 0 ||
		    !replica_conf_ok(s.conf, s.conf_len)) {
			r->ops->remove_snapshot(r->arg, f->number);
			continue;
		}
		rv = naming_core_restore(r->core, s.data, s.data_len);
		if (rv != 0) {
			*why = rv == -ENOSPC ? "the snapshot was made with larger tables"
					     : "the snapshot makes no sense";
			return rv;
		}
		rv = buf_add(&r->snap_file, f->bytes, f->len);
		if (rv != 0)
			return rv;
		CHECK(log_snapshot_get(r->snap_file.data, r->snap_file.len, &r->snap) == 0);
		r->applied = r->raft_done = r->snap.index;
		r->applied_term = r->snap.term;
		r->committed_seen = r->snap.index;
	}
	return 0;
}

int replica_disk_load(struct naming_replica *r, const struct naming_disk *disk, const char **why)
{
	const struct entry *e;
	int rv = load_snapshot(r, disk, why);

	if (rv == 0)
		rv = load_segments(r, disk, why);
	if (rv != 0)
		return rv;
	*why = "the log does not reach back to its snapshot";
	if (r->log_count > 0 && r->log_first > r->snap.index + 1)
		return -EBADMSG;
	if (r->snap.index == 0)
		return 0;
	/* An installed snapshot ends the log before it, unless the log has its last entry. */
	e = replica_entry(r, r->snap.index);
	if (replica_last(r) < r->snap.index || r->log_count == 0 ||
	    (e != NULL && e->term != r->snap.term)) {
		const struct log_record reset = {
			.type = LOG_RESET,
			.term = r->snap.term,
			.index = r->snap.index,
		};

		replica_log_reset(r, r->snap.index + 1);
		return replica_record(r, &reset);
	}
	return 0;
}

static void frame_free(struct frame *f)
{
	if (f == NULL)
		return;
	buf_fini(&f->bytes);
	free(f);
}

void replica_disk_fini(struct naming_replica *r)
{
	while (!list_empty(&r->frames)) {
		struct frame *f = list_front(&r->frames, struct frame, link);

		list_del(&f->link);
		frame_free(f);
	}
	frame_free(r->writing);
	if (r->snap_busy)
		raft_configuration_close(&r->snap_meta.configuration);
	if (r->install_waits) {
		raft_configuration_close(&r->install_meta.configuration);
		raft_free(r->install_data.base);
	}
	buf_fini(&r->snap_file);
	buf_fini(&r->snap_writing);
	free(r->segments);
}
