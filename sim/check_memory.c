/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkers of shared memory. They look at what hosts map and at what programs have written.
 *
 *	D1  who may write a page is the only one who may read it
 *	D6  a read sees the last write
 *	D7  bytes are not lost while somebody who has them lives; nobody is told so without a death
 */
#include "sim/link.h"
#include "sim/memory.h"

void check_mapped(struct sim *s, uint32_t region, uint32_t page)
{
	uint32_t writers = 0, readers = 0;

	s->w.stats.checks++;
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		enum dsm_hold h = s->nodes[id].mem->regions[region].pages[page].mapped;

		writers += h == DSM_WRITE;
		readers += h == DSM_READ;
	}
	if (writers > 1 || (writers == 1 && readers > 0))
		world_violate(&s->w, "D1", "page %u.%u has %u writers and %u readers", region, page,
			      writers, readers);
}

void check_seen(struct sim *s, const struct knode *n, uint32_t region, uint32_t page,
		uint64_t value)
{
	const struct mem_page *m = &n->mem->regions[region].pages[page];
	struct mem_truth *t = memory_truth(s, region, page);

	s->w.stats.checks++;
	if (t->doubt && value <= t->written && value >= t->floor) {
		/* What was mapped before may still be taken away by an order of the dead. */
		if (m->granted_ns > t->doubt_ns) {
			t->doubt = false;
			t->written = value;
		}
	} else if (t->doubt) {
		world_violate(&s->w, "D7", "n%u reads %llu from page %u.%u, of which %llu was left",
			      n->id, (unsigned long long)value, region, page,
			      (unsigned long long)t->floor);
	} else if (value != t->written) {
		world_violate(&s->w, "D6", "n%u reads %llu from page %u.%u, last written was %llu",
			      n->id, (unsigned long long)value, region, page,
			      (unsigned long long)t->written);
	}
}

/*
 * A region that went to another home before its first one had begun it looks to that one like a
 * region whose homes are all dead (nobody has a copy): so it says, until somebody has written.
 */
void check_told_lost(struct sim *s, const struct knode *n, uint32_t region, uint32_t page)
{
	const struct mem_truth *t = memory_truth(s, region, page);

	s->w.stats.checks++;
	s->stats.told_lost++;
	if (!t->shaken && (t->begun || t->next > 0))
		world_violate(&s->w, "D7", "n%u is told that page %u.%u is lost; nobody has died",
			      n->id, region, page);
}

/*
 * The newest bytes of a page that somebody who lives has; false: nobody has any. What sharers in
 * @but read or keep does not count: a dead home's word, by which they will drop it, is on its way.
 */
static bool newest(const struct sim *s, uint32_t region, uint32_t page, dsm_set but,
		   uint64_t *value)
{
	bool any = false;

	*value = 0;
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		const struct mem_region *r = &s->nodes[id].mem->regions[region];
		const struct mem_page *m = &r->pages[page];

		bool counts = !(but & dsm_bit((dsm_sharer)(id - 1)));

		if (m->p.hold == DSM_WRITE || (m->p.hold == DSM_READ && counts))
			*value = MAX(*value, m->copy);
		if (m->p.kept_ver != 0 && counts)
			*value = MAX(*value, m->kept);
		if (r->homes[page].copy_ver != 0)
			*value = MAX(*value, r->homes[page].copy);
		any |= m->p.hold != DSM_INVALID || m->p.kept_ver != 0 ||
		       r->homes[page].copy_ver != 0;
	}
	return any;
}

static dsm_set said(const struct kmsg *k, node_id dead, uint32_t region, uint32_t page)
{
	bool is = k && k->from == dead && k->kind == KM_DSM && k->mem == MEM_TO_SHARER &&
		  k->number == region && k->seq == page;

	return is ? dsm_bit(k->d.sharer) : 0;
}

/* To whom an order, a grant, a "settled" of @dead is still on its way. */
static dsm_set ordered(struct sim *s, node_id dead, uint32_t region, uint32_t page)
{
	const struct parcel *p;
	dsm_set set = 0;

	for (size_t i = 0; i < s->w.count; i++)
		set |= said(pod_carried(s->w.heap[i].fn, s->w.heap[i].payload), dead, region, page);
	for (node_id to = 1; to <= s->conf.nodes; to++) {
		for (uint32_t i = 0; to != dead && (p = link_on_wire(s, dead, to, i)); i++)
			set |= said(pod_carried(p->fn, p->payload), dead, region, page);
	}
	return set;
}

void check_memory_shaken(struct sim *s, node_id dead)
{
	for (uint32_t i = 1; i <= MEM_REGIONS; i++) {
		for (uint32_t j = 0; j < MEM_PAGES; j++) {
			struct mem_truth *t = memory_truth(s, i, j);
			uint64_t left;

			(void)newest(s, i, j, ordered(s, dead, i, j), &left);
			t->shaken = true;
			if (left >= t->written)
				continue;
			t->floor = t->doubt ? MIN(t->floor, left) : left;
			t->doubt = true;
			t->doubt_ns = s->w.now_ns;
		}
	}
}

static void recount_page(struct sim *s, uint32_t region, uint32_t page)
{
	const struct mem_truth *t = memory_truth(s, region, page);
	uint64_t left;

	check_mapped(s, region, page);
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		const struct mem_page *m = &s->nodes[id].mem->regions[region].pages[page];

		s->w.stats.checks++;
		if (m->mapped > m->p.hold)
			world_violate(&s->w, "D1", "n%u maps more of page %u.%u than it holds", id,
				      region, page);
		if (m->mapped != DSM_INVALID && !t->doubt && m->copy != t->written)
			world_violate(&s->w, "D6", "n%u maps %llu as page %u.%u, not %llu", id,
				      (unsigned long long)m->copy, region, page,
				      (unsigned long long)t->written);
	}
	if (!t->doubt && (!newest(s, region, page, 0, &left) ? t->written > 0 : left < t->written))
		world_violate(&s->w, "D7", "nobody has write %llu of page %u.%u any more",
			      (unsigned long long)t->written, region, page);
}

void check_memory_recount(struct sim *s)
{
	for (uint32_t i = 1; i <= MEM_REGIONS; i++) {
		for (uint32_t j = 0; j < MEM_PAGES; j++)
			recount_page(s, i, j);
	}
}

void check_memory_end(struct sim *s)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		for (uint32_t i = 1; i <= MEM_REGIONS; i++) {
			const struct mem_region *r = &s->nodes[id].mem->regions[i];

			for (uint32_t j = 0; j < MEM_PAGES; j++) {
				s->w.stats.checks++;
				if (r->pages[j].p.outstanding)
					world_violate(&s->w, "P1", "n%u still waits for page %u.%u",
						      id, i, j);
				if (r->pages[j].p.kept_ver)
					world_violate(&s->w, "P1", "n%u still keeps page %u.%u", id,
						      i, j);
				if (r->serving && r->homes[j].d.state != DSM_DIR_IDLE)
					world_violate(&s->w, "P1",
						      "page %u.%u is not at rest at n%u", i, j, id);
			}
		}
	}
}
