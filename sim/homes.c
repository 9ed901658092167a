/* SPDX-License-Identifier: Apache-2.0 */
/* The homes of shared memory: directory entries, their copies, and how a home begins. */
#include "sim/memory.h"

#include <errno.h>
#include <string.h>

static uint64_t *cov_dir(struct sim *s, const struct dsm_dir *d, const struct dsm_dir_ev *ev)
{
	uint32_t event = ev->kind == DSM_DIR_MSG ? COV_DSM_MSG + ev->msg.kind : ev->kind;

	return s->cov ? &s->cov->dir[d->state][event] : NULL;
}

/* The copy and its round are one write; then the messages. */
static void home_effects(struct sim *s, struct knode *n, uint32_t region, uint32_t page,
			 const struct dsm_dir_out *out, uint64_t data)
{
	struct mem_home *h = &n->mem->regions[region].homes[page];

	if (out->store) {
		if (memory_fault(s, n, MEM_AT_STORE))
			return;
		h->copy = data;
		h->copy_ver = h->d.copy_ver;
	}
	for (unsigned i = 0; i < out->count; i++) {
		for (node_id to = 1; to <= s->conf.nodes; to++) {
			struct dsm_msg m = out->send[i].msg;

			m.sharer = (dsm_sharer)(to - 1);
			if (!(out->send[i].to & dsm_bit(m.sharer)))
				continue;
			if (memory_fault(s, n, MEM_AT_ORDER))
				return;
			memory_post(s, n, to, MEM_TO_SHARER, region, page, &m, h->copy);
		}
	}
	if (out->set_timer)
		memory_tick_soon(s, n);
}

static void home_step(struct sim *s, struct knode *n, uint32_t region, uint32_t page,
		      const struct dsm_dir_ev *ev, uint64_t data)
{
	struct dsm_dir *d = &n->mem->regions[region].homes[page].d;
	uint64_t *cov = cov_dir(s, d, ev);
	struct dsm_dir_out out;
	int err = dsm_dir_step(d, ev, &out);

	world_hash(&s->w, (uint64_t)(int64_t)err);
	s->stats.impossible += err == -EPROTO;
	if (err < 0)
		return;
	if (cov)
		++*cov;
	home_effects(s, n, region, page, &out, data);
}

void homes_on_msg(struct sim *s, struct knode *n, const struct kmsg *k)
{
	struct mem_region *r = &n->mem->regions[k->number];
	struct dsm_dir_ev ev = { .kind = DSM_DIR_MSG, .msg = k->d };

	if (!r->serving)
		return;
	if (k->mem == MEM_JOIN) {
		memory_post(s, n, k->from, MEM_JOINED, k->number, 0,
			    &(struct dsm_msg){ .epoch = r->epoch }, 0);
		return;
	}
	ev.msg.sharer = (dsm_sharer)(k->from - 1);
	home_step(s, n, k->number, k->seq, &ev, k->version);
}

bool homes_tick(struct sim *s, struct knode *n)
{
	struct dsm_dir_ev ev = { .kind = DSM_DIR_TIMER };
	bool more = false;

	for (uint32_t i = 1; i <= MEM_REGIONS; i++) {
		struct mem_region *r = &n->mem->regions[i];

		for (uint32_t j = 0; j < MEM_PAGES && r->serving; j++) {
			if (r->homes[j].d.state == DSM_DIR_IDLE)
				continue;
			more = true;
			home_step(s, n, i, j, &ev, 0);
		}
	}
	return more;
}

static dsm_set live_sharers(const struct sim *s, const struct knode *n)
{
	dsm_set live = 0;

	for (node_id id = 1; id <= s->conf.nodes; id++) {
		if (n->nodes[id].alive)
			live |= dsm_bit((dsm_sharer)(id - 1));
	}
	return live;
}

/* Our copies, if we were the home once, are as good as any: the reports tell. */
static void home_recover(struct sim *s, struct knode *n, uint32_t region, epoch_t epoch)
{
	struct mem_region *r = &n->mem->regions[region];
	uint32_t life = n->life;

	r->epoch = epoch;
	r->serving = true;
	s->stats.recoveries++;
	for (uint32_t i = 0; i < MEM_PAGES && n->kernel_up && n->life == life; i++) {
		struct mem_home *h = &r->homes[i];
		struct dsm_dir_out out;

		h->d.epoch = 0;
		dsm_dir_recover(&h->d, epoch, live_sharers(s, n), h->copy_ver, &out);
		home_effects(s, n, region, i, &out, 0);
	}
}

/* A block that has just been leased to us brings a region that nobody has ever seen. */
static void home_create(struct sim *s, struct knode *n, uint32_t region, epoch_t epoch)
{
	struct mem_region *r = &n->mem->regions[region];

	for (uint32_t i = 0; i < MEM_PAGES; i++) {
		memset(&r->homes[i], 0, sizeof(r->homes[i]));
		dsm_dir_init(&r->homes[i].d, epoch);
		r->homes[i].copy_ver = r->homes[i].d.copy_ver;
		memory_truth(s, region, i)->begun = true;
	}
	r->epoch = epoch;
	r->serving = true;
}

void memory_view_changed(struct sim *s, struct knode *n)
{
	for (uint32_t i = 1; i <= MEM_REGIONS && n->kernel_up; i++) {
		const struct view_block *v = &n->blocks[i];
		struct mem_region *r = &n->mem->regions[i];
		epoch_t epoch = v->aterm << 32 | n->epoch << 16 | n->mem->restarts;

		r->serving &= v->authority == n->id;
		if (v->authority != n->id || (r->serving && v->aterm == r->epoch >> 32))
			continue;
		if (r->epoch == 0 && v->aterm == 1) {
			if (i == n->lease_block) /* else we do not know yet that it is ours */
				home_create(s, n, i, epoch);
		} else if (epoch > r->epoch) {
			home_recover(s, n, i, epoch);
		}
	}
}

void memory_node_dead(struct sim *s, struct knode *n, node_id dead)
{
	struct dsm_dir_ev ev = { .kind = DSM_DIR_GONE,
				 .msg = { .sharer = (dsm_sharer)(dead - 1) } };
	uint32_t life = n->life;

	for (uint32_t i = 1; i <= MEM_REGIONS; i++) {
		for (uint32_t j = 0; j < MEM_PAGES && n->kernel_up && n->life == life; j++) {
			if (n->mem->regions[i].serving)
				home_step(s, n, i, j, &ev, 0);
		}
	}
}
