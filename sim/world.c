/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/world.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct ref {
	uint64_t count;
	void (*fini)(void *);
};

void *world_alloc(size_t bytes)
{
	return world_alloc_owner(bytes, NULL);
}

void *world_alloc_owner(size_t bytes, void (*fini)(void *))
{
	struct ref *r = calloc(1, sizeof(*r) + bytes);

	CHECK(r != NULL);
	r->count = 1;
	r->fini = fini;
	return r + 1;
}

void *world_get(void *p)
{
	if (p)
		((struct ref *)p - 1)->count++;
	return p;
}

void world_put(void *p)
{
	struct ref *r = p ? (struct ref *)p - 1 : NULL;

	if (!r || --r->count > 0)
		return;
	if (r->fini)
		r->fini(p);
	free(r);
}

void world_hash(struct world *w, uint64_t v)
{
	/* FNV-1a over 64-bit words, with a rotation so that high bits take part. */
	w->hash = (w->hash ^ v) * UINT64_C(0x100000001b3);
	w->hash ^= w->hash >> 29;
}

void world_hash_bytes(struct world *w, const uint8_t *bytes, size_t len)
{
	uint64_t v;

	for (; len >= 8; bytes += 8, len -= 8) {
		v = 0;
		for (int i = 7; i >= 0; i--)
			v = v << 8 | bytes[i];
		world_hash(w, v);
	}
	v = 0;
	while (len > 0)
		v = v << 8 | bytes[--len];
	world_hash(w, v);
}

static void hash_text(struct world *w, const char *s)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
	world_hash(w, h);
}

void world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->hash = UINT64_C(0xcbf29ce484222325);
	for (uint64_t i = 0; i < RNG_COUNT; i++)
		rand_seed(&w->rng[i], seed * 1000003 + i);
	for (int i = 1; i < WORLD_NODES_MAX; i++) {
		w->clock[i].offset_ns = rand_below(&w->rng[RNG_CLOCK], 1000 * NS_PER_S);
		w->clock[i].drift_ppb = (int64_t)rand_below(&w->rng[RNG_CLOCK], 200001) - 100000;
	}
}

void world_fini(struct world *w)
{
	for (size_t i = 0; i < w->count; i++)
		world_put(w->heap[i].payload);
	free(w->heap);
	w->heap = NULL;
	w->count = w->cap = 0;
}

static bool earlier(const struct world_event *a, const struct world_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

void world_at(struct world *w, uint64_t at_ns, world_fn fn, const char *name, node_id node,
	      uint64_t a, uint64_t b, void *payload)
{
	struct world_event e = { at_ns, w->seq++, fn, name, node, a, b, payload };
	size_t i;

	CHECK(at_ns >= w->now_ns);
	if (w->count == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 1024;
		w->heap = realloc(w->heap, w->cap * sizeof(*w->heap));
		CHECK(w->heap != NULL);
	}
	for (i = w->count++; i > 0 && earlier(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = e;
}

static struct world_event heap_pop(struct world *w)
{
	struct world_event top = w->heap[0], last = w->heap[--w->count];
	size_t i = 0, c;

	while ((c = 2 * i + 1) < w->count) {
		if (c + 1 < w->count && earlier(&w->heap[c + 1], &w->heap[c]))
			c++;
		if (!earlier(&w->heap[c], &last))
			break;
		w->heap[i] = w->heap[c];
		i = c;
	}
	if (w->count > 0)
		w->heap[i] = last;
	return top;
}

bool world_step(struct world *w, uint64_t until_ns)
{
	struct world_event e;

	if (w->violation.name[0] || w->count == 0 || w->heap[0].at_ns > until_ns)
		return false;
	e = heap_pop(w);
	w->now_ns = e.at_ns;
	w->stats.events++;
	world_hash(w, e.at_ns);
	hash_text(w, e.name);
	world_hash(w, e.node);
	world_hash(w, e.a);
	world_hash(w, e.b);
	w->recent[w->recent_at++ % WORLD_RECENT] =
		(struct world_recent){ e.at_ns, e.name, e.node, e.a, e.b };
	e.fn(w, e.node, e.a, e.b, e.payload);
	return true;
}

/* One-way delays of a small cluster in microseconds; the tail is drawn apart. */
uint64_t world_delay_ns(struct world *w, enum world_rng rng, size_t bytes)
{
	static const uint32_t us[16] = { 60,  70,  80,  90,  100, 110, 120,  140,
					 160, 190, 230, 300, 400, 600, 1200, 4000 };
	struct rand *r = &w->rng[rng];
	uint64_t d = us[rand_below(r, 16)] * NS_PER_US + rand_below(r, 40000);

	d += bytes; /* a gigabyte per second */
	if (rand_chance(r, w->slow_ppm, 1000000))
		d += (50 + rand_below(r, 1500)) * NS_PER_MS;
	return d;
}

void world_send(struct world *w, node_id from, node_id to, size_t bytes, world_fn fn,
		const char *name, uint64_t a, void *payload)
{
	struct rand *r = &w->rng[RNG_NET];

	w->stats.messages++;
	if (from == to) {
		world_in(w, 2 * NS_PER_US, fn, name, to, a, from, payload);
		return;
	}
	if (w->cut[from][to] > 0) {
		w->stats.cut++;
		world_put(payload);
		return;
	}
	if (rand_chance(r, w->loss_ppm, 1000000)) {
		w->stats.lost++;
		world_put(payload);
		return;
	}
	if (rand_chance(r, w->repeat_ppm, 1000000)) {
		w->stats.repeated++;
		world_in(w, world_delay_ns(w, RNG_NET, bytes), fn, name, to, a, from,
			 world_get(payload));
	}
	world_in(w, world_delay_ns(w, RNG_NET, bytes), fn, name, to, a, from, payload);
}

static uint64_t local_at(const struct world *w, node_id node, uint64_t at_ns)
{
	const struct world_clock *c = &w->clock[node];
	int64_t drift = (int64_t)(at_ns / 1000) * c->drift_ppb / 1000000;

	return at_ns + c->offset_ns + (uint64_t)drift;
}

uint64_t world_local(const struct world *w, node_id node)
{
	return local_at(w, node, w->now_ns);
}

uint64_t world_when(const struct world *w, node_id node, uint64_t local_ns)
{
	uint64_t at_ns = w->now_ns, local = local_at(w, node, at_ns);

	/* Clocks differ by 100 ppm at most: each round falls short, by less than a thousandth. */
	while (local < local_ns) {
		at_ns += local_ns - local - (local_ns - local) / 5000;
		local = local_at(w, node, at_ns);
	}
	return at_ns;
}

void world_violate(struct world *w, const char *name, const char *fmt, ...)
{
	va_list ap;

	if (w->violation.name[0])
		return;
	snprintf(w->violation.name, sizeof(w->violation.name), "%s", name);
	va_start(ap, fmt);
	vsnprintf(w->violation.text, sizeof(w->violation.text), fmt, ap);
	va_end(ap);
	w->violation.at_ns = w->now_ns;
	world_trace(w, 'i', 0, name, 0);
}
