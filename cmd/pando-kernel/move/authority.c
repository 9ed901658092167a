/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authority.c - the records of who executes the pids that this node has leased (migrate/core).
 *
 * A record comes to be when its process is moved for the first time. Until then the process
 * executes where it was born, or where the chain of exec placements (place.c) has brought it: that
 * one node, and no other, asks to move it, and is believed (K1 rests on the held caller up to
 * there). The pid has a place here, process or stub, as long as it lives: a record without one, or
 * one that the place contradicts, is of an earlier life and is ended.
 *
 * The heir of a node that has died has no place of its pids. It fences all nodes that have the
 * tenant (fence.c) and takes what executes there, as that stands then; nothing begins a record
 * after that, for nothing is born in such a block.
 *
 * Records are in a memfd that pando-init keeps, each twice: the copy that is not valid is written,
 * then the number that says which one is.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/move/move.h"
#include "migrate/core/authority.h"

#define BLOCK_PIDS     4096
#define FENCE_AGAIN_NS (200 * NS_PER_MS)
#define MOVE_NONE      1 /* what wrote a record that no move has written; theirs are random */

struct kept_rec {
	_Atomic uint32_t which;
	uint32_t reserved;
	struct mig_rec copy[2];
};

struct kept_block {
	_Atomic uint32_t rebuilding; /* what follows is not to be believed */
	uint32_t heir;               /* of another node's pids */
	uint64_t aterm;
	struct kept_rec rec[BLOCK_PIDS];
};

struct block {
	struct list link;
	struct world *w;
	struct mig_auth auth;
	struct mig_rec recs[BLOCK_PIDS];
	struct mig_asked asked[NODES_MAX];
	struct kept_block *kept;
	struct loop_timer tick; /* while rebuilding */
};

static struct list blocks = LIST_INIT(blocks);

static struct world_block *row_of(const struct world *w, gpid pid)
{
	for (size_t i = 0; i < w->block_count; i++) {
		struct world_block *b = &w->blocks[i];

		if (pid >= b->first && (uint32_t)(pid - b->first) < b->count)
			return b;
	}
	return NULL;
}

node_id authority_of(const struct world *w, gpid pid, uint64_t *aterm)
{
	const struct world_block *b = row_of(w, pid);

	if (aterm)
		*aterm = b ? b->aterm : 0;
	/* A newer one has fenced us, of which we are to be told yet. */
	if (b && b->aterm < fence_of(w, pid))
		return NODE_NONE;
	return b ? b->authority : NODE_NONE;
}

node_id home_of(const struct world *w, gpid pid)
{
	const struct world_block *b = row_of(w, pid);

	return b ? b->home : NODE_NONE;
}

bool home_is_over(const struct world *w, gpid pid)
{
	const struct world_block *b = row_of(w, pid);

	return b && b->home == NODE_NONE;
}

bool home_is_somewhere(const struct world *w, node_id node)
{
	for (size_t i = 0; i < w->block_count; i++)
		if (w->blocks[i].home == node)
			return true;
	return false;
}

/* ---- what is kept ---- */
static void keep(struct block *b, gpid pid)
{
	struct kept_rec *k = &b->kept->rec[pid - b->auth.first];
	uint32_t next = 1 - (atomic_load(&k->which) & 1);

	k->copy[next] = *migrate_auth_find(&b->auth, pid);
	FAULT("kernel.record.written");
	atomic_store(&k->which, next);
}

static struct kept_block *map_kept(int fd)
{
	void *p = mmap(NULL, sizeof(struct kept_block), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static struct block *block_new(struct world *w, gpid first, uint64_t aterm, struct kept_block *kept)
{
	struct block *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	migrate_auth_init(&b->auth, w->node, first, BLOCK_PIDS, aterm, b->recs, b->asked,
			  ARRAY_LEN(b->asked));
	b->w = w;
	b->kept = kept;
	list_add_tail(&blocks, &b->link);
	return b;
}

static struct block *block_find(gpid pid)
{
	struct block *b;

	list_for_each (b, &blocks, link)
		if (migrate_auth_find(&b->auth, pid))
			return b;
	return NULL;
}

static struct block *block_make(struct world *w, const struct world_block *row)
{
	char key[INIT_KEY_MAX];
	struct kept_block *kept = NULL;
	struct block *b = NULL;
	int fd = memfd_create("records", MFD_CLOEXEC);

	(void)snprintf(key, sizeof(key), "records.%d", row->first);
	if (fd >= 0 && ftruncate(fd, sizeof(*kept)) == 0)
		kept = map_kept(fd);
	if (kept) {
		kept->aterm = row->aterm;
		kept->heir = row->home != w->node;
		atomic_store(&kept->rebuilding, kept->heir);
	}
	if (kept && pid1_put(w->pid1, key, fd) >= 0)
		b = block_new(w, row->first, row->aterm, kept);
	if (!b && kept)
		(void)munmap(kept, sizeof(*kept));
	if (fd >= 0)
		(void)close(fd);
	return b;
}

static void adopt(void *arg, const char *key)
{
	struct world *w = arg;
	struct kept_block *kept = NULL;
	struct block *b;
	struct stat st;
	gpid first;
	int fd;

	if (sscanf(key, "records.%d", &first) != 1)
		return;
	fd = pid1_get(w->pid1, key);
	if (fd >= 0 && fstat(fd, &st) == 0 && (size_t)st.st_size >= sizeof(*kept))
		kept = map_kept(fd);
	if (fd >= 0)
		(void)close(fd);
	b = kept ? block_new(w, first, kept->aterm, kept) : NULL;
	for (unsigned i = 0; b && i < BLOCK_PIDS; i++) {
		const struct kept_rec *k = &kept->rec[i];

		b->recs[i] = k->copy[atomic_load(&k->which) & 1];
	}
	if (b)
		migrate_auth_adopt(&b->auth, fence_of(w, first));
	else
		log_error("the records of pids from %d on are lost", first);
	/* authority_look() begins anew, if it is still ours to do. */
	if (b && atomic_load(&kept->rebuilding))
		b->auth.state = MIG_A_RETIRED;
}

static void keep_all(struct block *b)
{
	/* Retired: that it is fenced is kept by fence.c. */
	if (b->auth.state != MIG_A_SERVING)
		return;
	for (gpid i = 0; i < BLOCK_PIDS; i++)
		keep(b, b->auth.first + i);
	FAULT("kernel.records.rebuilt");
	atomic_store(&b->kept->rebuilding, 0);
	log_info("the records of pids from %d on are here now", b->auth.first);
}

/* ---- steps ---- */
static void effects(struct world *w, struct block *b, const struct mig_auth_out *out)
{
	for (uint32_t i = 0; i < out->count; i++) {
		const struct mig_auth_fx *fx = &out->fx[i];

		if (fx->kind == MIG_AUTH_FX_REMEMBER) {
			keep(b, fx->pid);
			FAULT("kernel.record.kept");
		} else if (fx->kind == MIG_AUTH_FX_REMEMBER_ALL) {
			keep_all(b);
		} else if (fx->kind == MIG_AUTH_FX_SEND) {
			move_send(w, fx->to, &fx->msg);
		}
	}
}

static void step(struct world *w, struct block *b, const struct mig_msg *m, bool answer)
{
	struct mig_auth_out out = { 0 };

	if (migrate_auth_step(&b->auth, m, &out) != 0)
		return;
	if (!answer) {
		for (uint32_t i = 0; i < out.count; i++)
			if (out.fx[i].kind == MIG_AUTH_FX_SEND)
				out.count = i; /* the answer is the last */
	}
	effects(w, b, &out);
}

static void end_record(struct world *w, struct block *b, gpid pid)
{
	const struct mig_rec *rec = migrate_auth_find(&b->auth, pid);
	struct mig_msg gone = {
		.kind = MIG_GONE, .from = rec->site, .pid = pid, .epoch = rec->epoch
	};

	if (rec->site != NODE_NONE)
		step(w, b, &gone, false);
}

/* What has the pid's place here. */
enum holder { HOLDER_NONE, HOLDER_PROCESS, HOLDER_STUB, HOLDER_BUSY };

static enum holder holder_of(struct world *w, gpid pid)
{
	const struct stub *s = stubs_find(w->stubs, pid);
	struct task_info t;
	int fd;

	if (move_is_busy(w, pid) || place_is_busy(w, pid))
		return HOLDER_BUSY;
	if (s)
		return s->leaving ? HOLDER_NONE : HOLDER_STUB;
	fd = proc_open(&w->view, pid, &t);
	if (fd >= 0)
		(void)close(fd);
	return fd >= 0 && t.state != 'Z' ? HOLDER_PROCESS : HOLDER_NONE;
}

static void end_old_life(struct world *w, struct block *b, gpid pid)
{
	const struct mig_rec *rec = migrate_auth_find(&b->auth, pid);
	enum holder p = holder_of(w, pid);

	if (rec->site == NODE_NONE || p == HOLDER_BUSY)
		return;
	if (p == HOLDER_NONE || (p == HOLDER_PROCESS) != (rec->site == w->node))
		end_record(w, b, pid);
}

/* The first that asks to move it is where it executes, if its place here allows that. */
static void begin_record(struct world *w, struct block *b, const struct mig_msg *m)
{
	const struct mig_rec *rec = migrate_auth_find(&b->auth, m->pid);
	struct mig_msg claim = {
		.kind = MIG_CLAIM, .from = m->from, .pid = m->pid, .move = MOVE_NONE
	};
	enum holder p = holder_of(w, m->pid);
	struct mig_auth_out out;

	if (rec->site != NODE_NONE)
		return;
	if (m->from != w->node && p != HOLDER_STUB)
		return;
	/* From here it asks only for what it executes (departure_start). */
	claim.epoch = migrate_auth_born(&b->auth, m->pid, &out);
	effects(w, b, &out);
	if (m->from != w->node)
		step(w, b, &claim, false);
}

void authority_message(struct world *w, const struct mig_msg *m)
{
	const struct world_block *row = row_of(w, m->pid);
	struct block *b = block_find(m->pid);
	const struct mig_rec *rec;

	if (!b && row && row->authority == w->node && row->home == w->node && m->kind == MIG_READ)
		b = block_make(w, row);
	if (!b)
		return; /* they ask again */
	if (m->kind == MIG_READ && !b->kept->heir) {
		end_old_life(w, b, m->pid);
		begin_record(w, b, m);
	}
	rec = migrate_auth_find(&b->auth, m->pid);
	/* No answer: who executes it is not known just now. */
	if (m->kind == MIG_READ && rec->site == NODE_NONE && !b->kept->heir)
		return;
	step(w, b, m, true);
	/* A predecessor may have died between the two: the claim comes again. */
	if (m->kind == MIG_CLAIM && rec->site == m->from && rec->site != w->node)
		remote_moved(w, m->pid, rec->site);
}

node_id authority_site(const struct world *w, gpid pid)
{
	const struct block *b = block_find(pid);

	return b ? migrate_auth_find(&b->auth, pid)->site : NODE_NONE;
}

void authority_check(struct world *w, gpid pid)
{
	struct block *b = block_find(pid);

	if (b && !b->kept->heir)
		end_old_life(w, b, pid);
}

/* ---- the heir of a node that has died ---- */
static void on_tick(struct loop_timer *t)
{
	struct block *b = container_of(t, struct block, tick);
	struct mig_auth_out out;
	uint32_t cursor = 0;

	do {
		migrate_auth_tick(&b->auth, loop_now_ns(b->w->loop), &cursor, &out);
		effects(b->w, b, &out);
	} while (out.count > 0);
	if (b->auth.wake_ns != 0 && loop_timer_set(b->w->loop, t, b->auth.wake_ns, on_tick) != 0)
		log_error("cannot wait: out of memory");
}

/* All that may execute something of the tenant: who does has leased pids of its own before. */
static uint32_t whom_to_fence(const struct world *w, node_id nodes[NODES_MAX])
{
	uint32_t n = 0;

	for (size_t i = 0; i < w->node_count; i++)
		if (!w->nodes[i].dead &&
		    (w->nodes[i].id == w->node || home_is_somewhere(w, w->nodes[i].id)))
			nodes[n++] = w->nodes[i].id;
	return n;
}

static void take_over(struct world *w, struct block *b, const struct world_block *row)
{
	static node_id nodes[NODES_MAX];
	uint32_t n = whom_to_fence(w, nodes);

	atomic_store(&b->kept->rebuilding, 1);
	b->kept->heir = 1;
	b->kept->aterm = row->aterm;
	FAULT("kernel.records.inherited");
	if (migrate_auth_takeover(&b->auth, row->aterm, nodes, n, FENCE_AGAIN_NS,
				  loop_now_ns(w->loop)) != 0) {
		log_error("there are more nodes than can be asked for their processes");
		return;
	}
	log_info("the records of pids from %d on are to be here: %u nodes are asked", row->first,
		 n);
	on_tick(&b->tick);
}

void authority_look(struct world *w)
{
	for (size_t i = 0; i < w->block_count; i++) {
		const struct world_block *row = &w->blocks[i];
		struct block *b = block_find(row->first);

		if (row->authority != w->node || row->aterm < fence_of(w, row->first) ||
		    (!b && row->home == w->node))
			continue;
		if (b && b->auth.aterm == row->aterm && !atomic_load(&b->kept->rebuilding))
			continue;
		if (b && b->auth.aterm == row->aterm && b->auth.state == MIG_A_REBUILDING)
			continue;
		b = b ? b : block_make(w, row);
		if (b)
			take_over(w, b, row);
	}
}

void authority_stand(struct world *w, const struct mig_msg *m)
{
	struct block *b = block_find(m->pid);
	struct mig_msg looked = *m;
	struct mig_stand *stands;
	struct mig_auth_out out = { 0 };

	stands = b ? calloc(m->stand_count + 1, sizeof(*stands)) : NULL;
	if (!stands)
		return; /* it is asked again */
	for (uint32_t i = 0; i < m->stand_count; i++) {
		stands[i] = m->stands[i];
		migrate_stand_look(&stands[i], peers_life(w, stands[i].peer));
	}
	looked.stands = stands;
	if (migrate_auth_step(&b->auth, &looked, &out) == 0)
		effects(w, b, &out);
	free(stands);
}

void authority_fenced(struct world *w, const struct mig_msg *m)
{
	struct world_block *row = row_of(w, m->pid);
	struct block *b = block_find(m->pid);
	struct mig_auth_out out = { 0 };

	if (row && m->aterm > row->aterm) {
		row->authority = m->from;
		row->aterm = m->aterm;
	}
	if (b && migrate_auth_step(&b->auth, m, &out) == 0)
		effects(w, b, &out);
}

/* Its stub's end, where there is one, is remote.c's. */
void authority_node_died(struct world *w, node_id node)
{
	struct block *b;

	list_for_each (b, &blocks, link) {
		struct mig_auth_out out = { 0 };
		uint32_t cursor = 0;
		bool more;

		/* The last says no more, and may be that all others had answered. */
		do {
			more = migrate_auth_node_dead(&b->auth, node, &cursor, &out);
			effects(w, b, &out);
		} while (more);
	}
}

int authority_open(struct world *w)
{
	return pid1_list(w->pid1, "records.", adopt, w);
}
