/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sharers of shared memory: faults of programs in, changes of what the host maps out.
 *
 * A step works on a copy of the core's entry. What takes something away from programs is done
 * before the entry is noted in the store, what gives them something after: a kernel that dies in
 * between has taken away too much, which a new fault repairs, and never given too much.
 */
#include "sim/memory.h"

#include <errno.h>
#include <string.h>

#define TICK_NS (150 * NS_PER_MS)

static const char *const points[MEM_POINTS] = { "protect", "keep", "unmap",   "install",
						"note",    "map",  "send",    "store",
						"order",   "uffd", "register" };

const char *memory_point_name(enum mem_point p)
{
	return points[p];
}

bool memory_fault(struct sim *s, struct knode *n, enum mem_point at)
{
	if (n->die_mem == 0 || --n->die_mem > 0)
		return false;
	if (s->cov)
		s->cov->mem_death[at]++;
	kernel_die(s, n);
	return true;
}

void memory_post(struct sim *s, struct knode *n, node_id to, enum mem_kind kind, uint32_t region,
		 uint32_t page, const struct dsm_msg *m, uint64_t data)
{
	struct kmsg *k;

	if (to == NODE_NONE || to > s->conf.nodes)
		return;
	k = pod_msg(n, KM_DSM, 0, 0);
	k->to_epoch = to == n->id ? n->epoch : n->nodes[to].epoch;
	k->mem = kind;
	k->number = region;
	k->seq = page;
	k->version = data;
	if (m)
		k->d = *m;
	pod_post(s, n, to, k);
}

static node_id home_of(const struct knode *n, uint32_t region)
{
	return n->blocks[region].authority;
}

/* ---- programs ---- */

static void touch_again(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload);

/* A faulting thread of a program here goes on, and faults again if it must. */
static void wake(struct sim *s, struct knode *n, uint32_t region, uint32_t page)
{
	for (uint32_t i = 0; i < s->proc_count; i++) {
		const struct proc *p = &s->procs[i];

		if (p->alive && p->touching && p->touch_region == region && p->touch_page == page &&
		    p->touch_node == n->id)
			world_in(&s->w, 2000, touch_again, "wake", n->id, (uint64_t)p->pid, 0,
				 NULL);
	}
}

static void access_page(struct sim *s, struct knode *n, struct proc *p)
{
	struct mem_page *m = &n->mem->regions[p->touch_region].pages[p->touch_page];
	struct mem_truth *t = memory_truth(s, p->touch_region, p->touch_page);

	check_seen(s, n, p->touch_region, p->touch_page, m->copy);
	world_hash(&s->w, m->copy);
	s->stats.mem_reads++;
	p->touching = false;
	if (!p->touch_write)
		return;
	m->copy = t->written = ++t->next;
	s->stats.mem_writes++;
}

static void join(struct sim *s, struct knode *n, uint32_t region)
{
	n->mem->regions[region].joining = true;
	memory_post(s, n, home_of(n, region), MEM_JOIN, region, 0, NULL, 0);
	memory_tick_soon(s, n);
}

static void page_step(struct sim *s, struct knode *n, uint32_t region, uint32_t page,
		      const struct dsm_page_ev *ev, uint64_t data);

static void fault(struct sim *s, struct knode *n, const struct proc *p)
{
	struct mem_region *r = &n->mem->regions[p->touch_region];
	struct dsm_page_ev ev = { .kind = p->touch_write ? DSM_PAGE_FAULT_WRITE
							 : DSM_PAGE_FAULT_READ };

	s->stats.page_faults++;
	if (!n->kernel_up)
		return; /* its successor wakes us */
	if (!r->joined)
		join(s, n, p->touch_region);
	else
		page_step(s, n, p->touch_region, p->touch_page, &ev, 0);
}

static void touch(struct sim *s, struct knode *n, struct proc *p)
{
	struct mem_region *r = &n->mem->regions[p->touch_region];
	struct mem_page *m = &r->pages[p->touch_page];

	p->touch_node = n->id;
	if (r->joined && !r->uffd_kernel && !r->uffd_store && m->mapped == DSM_INVALID) {
		m->copy = 0;
		m->mapped = DSM_WRITE;
	}
	if (m->mapped >= (p->touch_write ? DSM_WRITE : DSM_READ))
		access_page(s, n, p);
	else
		fault(s, n, p);
}

static void touch_again(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct proc *p = sim_proc(s, (gpid)a);
	struct knode *n = NULL;

	(void)b;
	(void)payload;
	if (!p->alive || !p->touching || check_runners(s, p->pid, &n) != 1 || n->id != node)
		return;
	touch(s, n, p);
}

void memory_touch(struct sim *s, struct knode *n, struct proc *p)
{
	struct rand *r = &s->w.rng[RNG_MEMORY];
	uint32_t region = 1 + (uint32_t)(p - s->procs) % (2 * MEM_REGIONS);

	if (region > MEM_REGIONS || home_of(n, region) == NODE_NONE)
		return;
	if (!p->touching) {
		if (s->quiet)
			return;
		p->touching = true;
		p->touch_region = region;
		p->touch_page = (uint32_t)rand_below(r, MEM_PAGES);
		p->touch_write = rand_chance(r, 2, 5);
	}
	touch(s, n, p);
}

/* ---- steps ---- */

static uint64_t *cov_page(struct sim *s, const struct dsm_page *p, const struct dsm_page_ev *ev)
{
	uint32_t event = ev->kind == DSM_PAGE_MSG ? COV_DSM_MSG + ev->msg.kind : ev->kind;

	return s->cov ? &s->cov->page[p->hold * 2 + p->outstanding][event] : NULL;
}

/* False: the kernel has died on the way. */
static bool take_away(struct sim *s, struct knode *n, struct mem_page *m,
		      const struct dsm_page_out *out, uint64_t data)
{
	if (out->protect) {
		if (memory_fault(s, n, MEM_AT_PROTECT))
			return false;
		m->mapped = MIN(m->mapped, DSM_READ);
	}
	if (out->keep) {
		if (memory_fault(s, n, MEM_AT_KEEP))
			return false;
		m->kept = m->copy;
	}
	if (out->unmap) {
		if (memory_fault(s, n, MEM_AT_UNMAP))
			return false;
		m->mapped = DSM_INVALID;
	}
	if (out->install) {
		if (memory_fault(s, n, MEM_AT_INSTALL))
			return false;
		m->copy = data;
	}
	return !memory_fault(s, n, MEM_AT_NOTE);
}

static bool give(struct sim *s, struct knode *n, uint32_t region, uint32_t page,
		 const struct dsm_page_out *out)
{
	struct mem_page *m = &n->mem->regions[region].pages[page];

	if (!out->map_read && !out->map_write)
		return true;
	if (memory_fault(s, n, MEM_AT_MAP))
		return false;
	if (out->lost)
		check_told_lost(s, n, region, page);
	m->mapped = out->map_write ? DSM_WRITE : MAX(m->mapped, DSM_READ);
	m->granted_ns = s->w.now_ns;
	s->stats.grants++;
	check_mapped(s, region, page);
	wake(s, n, region, page);
	return true;
}

/* Where we were the home, and have nothing newer as a sharer: the new home needs our copy. */
static uint64_t report_copy(const struct mem_region *r, uint32_t page, struct dsm_msg *m,
			    uint64_t data)
{
	const struct mem_home *h = &r->homes[page];

	if (m->kind != DSM_REPORT || r->epoch == 0 || r->epoch >= m->epoch ||
	    m->state != DSM_INVALID || h->copy_ver == 0 || (m->has_data && m->ver >= h->copy_ver))
		return data;
	m->has_data = true;
	m->ver = h->copy_ver;
	return h->copy;
}

static void page_step(struct sim *s, struct knode *n, uint32_t region, uint32_t page,
		      const struct dsm_page_ev *ev, uint64_t data)
{
	struct mem_region *r = &n->mem->regions[region];
	struct mem_page *m = &r->pages[page];
	uint64_t *cov = cov_page(s, &m->p, ev);
	struct dsm_page next = m->p;
	struct dsm_page_out out;
	int err = dsm_page_step(&next, ev, &out);

	world_hash(&s->w, (uint64_t)(int64_t)err);
	if (err < 0) {
		s->stats.impossible += err == -EPROTO;
		return;
	}
	if (cov)
		++*cov;
	if (!take_away(s, n, m, &out, data))
		return;
	m->p = next;
	if (!give(s, n, region, page, &out))
		return;
	for (unsigned i = 0; i < out.count; i++) {
		struct dsm_msg msg = out.send[i];
		uint64_t bytes = next.kept_ver ? m->kept : m->copy;

		if (memory_fault(s, n, MEM_AT_SEND))
			return;
		bytes = report_copy(r, page, &msg, bytes);
		memory_post(s, n, home_of(n, region), MEM_TO_HOME, region, page, &msg, bytes);
	}
	if (out.set_timer)
		memory_tick_soon(s, n);
}

/* ---- joining ---- */

/* The descriptor is in the store before a program can meet a page that is not there. */
static void on_joined(struct sim *s, struct knode *n, uint32_t region, epoch_t epoch)
{
	struct mem_region *r = &n->mem->regions[region];

	if (r->joined)
		return;
	if (memory_fault(s, n, MEM_AT_UFFD))
		return;
	r->uffd_kernel = true;
	if (memory_fault(s, n, MEM_AT_REGISTER))
		return;
	r->uffd_store = true;
	for (uint32_t i = 0; i < MEM_PAGES; i++) {
		if (r->pages[i].p.epoch < epoch)
			dsm_page_init(&r->pages[i].p, epoch);
	}
	r->joined = true;
	r->joining = false;
	for (uint32_t i = 0; i < MEM_PAGES; i++)
		wake(s, n, region, i);
}

/* ---- events ---- */

static void on_recover(struct sim *s, struct knode *n, const struct kmsg *k)
{
	struct mem_region *r = &n->mem->regions[k->number];

	if (k->d.epoch > r->epoch)
		r->serving = false; /* another home: we are none from here on */
	if (k->from != n->id && k->d.epoch >> 32 > n->blocks[k->number].aterm)
		n->blocks[k->number] = (struct view_block){ k->from, k->d.epoch >> 32 };
}

void memory_on_msg(struct sim *s, struct knode *n, const struct kmsg *k)
{
	struct dsm_page_ev ev = { .kind = DSM_PAGE_MSG, .msg = k->d };

	if (k->number == 0 || k->number > MEM_REGIONS || k->seq >= MEM_PAGES ||
	    k->to_epoch != n->epoch)
		return;
	switch (k->mem) {
	case MEM_TO_SHARER:
		if (k->d.kind == DSM_RECOVER)
			on_recover(s, n, k);
		page_step(s, n, k->number, k->seq, &ev, k->version);
		return;
	case MEM_JOINED:
		on_joined(s, n, k->number, k->d.epoch);
		return;
	case MEM_JOIN:
	case MEM_TO_HOME:
		homes_on_msg(s, n, k);
		return;
	}
}

static void on_tick(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	struct dsm_page_ev ev = { .kind = DSM_PAGE_TIMER };
	uint32_t life = n->life;
	bool more = false;

	(void)a;
	(void)b;
	if (!sim_guard_kernel(s, node, payload))
		return;
	n->mem->ticking = false;
	for (uint32_t i = 1; i <= MEM_REGIONS; i++) {
		struct mem_region *r = &n->mem->regions[i];

		if (r->joining && !r->joined)
			join(s, n, i);
		for (uint32_t j = 0; j < MEM_PAGES; j++) {
			if (!r->pages[j].p.outstanding && r->pages[j].p.kept_ver == 0)
				continue;
			more = true;
			page_step(s, n, i, j, &ev, 0);
			if (!n->kernel_up || n->life != life)
				return;
		}
	}
	more |= homes_tick(s, n);
	if (more && n->kernel_up && n->life == life)
		memory_tick_soon(s, n);
}

void memory_tick_soon(struct sim *s, struct knode *n)
{
	if (n->mem->ticking)
		return;
	n->mem->ticking = true;
	sim_later(s, n, TICK_NS, on_tick, "page-tick", 0, 0);
}

/* ---- lives ---- */

void memory_forget(struct knode *n)
{
	n->mem->ticking = false;
	for (uint32_t i = 1; i <= MEM_REGIONS; i++) {
		n->mem->regions[i].serving = false;
		n->mem->regions[i].uffd_kernel = false;
	}
}

/* What the entries say is mapped again, and everybody who waits for a page faults again. */
void memory_adopt(struct sim *s, struct knode *n)
{
	n->mem->restarts++;
	for (uint32_t i = 1; i <= MEM_REGIONS; i++) {
		struct mem_region *r = &n->mem->regions[i];

		r->uffd_kernel = r->uffd_store;
		r->joining = false;
		for (uint32_t j = 0; j < MEM_PAGES; j++) {
			if (r->joined)
				r->pages[j].mapped = r->pages[j].p.hold;
			check_mapped(s, i, j);
			wake(s, n, i, j);
		}
	}
	memory_tick_soon(s, n);
}

void memory_crash(struct sim *s, struct knode *n)
{
	memset(n->mem, 0, sizeof(*n->mem));
	check_memory_shaken(s, n->id);
}
