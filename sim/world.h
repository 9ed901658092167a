/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.h - virtual time, randomness and a network that misbehaves.
 *
 * One thread runs everything. Events are taken in order of (time, sequence), so
 * that a tie is broken by who asked first and never by an address. Each subsystem
 * draws from a generator of its own: one more draw in one does not reshuffle the
 * others. Time is in nanoseconds; nothing here is a floating-point number.
 *
 * The hash covers, in order, every event that was delivered: its time, its name,
 * its node and its two numbers; who delivers a message, a timer or a disk result
 * adds what it says by world_hash(). Same seed and source: same hash, whatever
 * the machine, the compiler and its options.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdio.h>

#include "base/attr.h"
#include "base/rand.h"
#include "base/types.h"

#define WORLD_NODES_MAX 33 /* hosts 1..32, and 0 for what is nobody's */
#define WORLD_RECENT    24 /* events shown with a violation */

enum world_rng {
	RNG_NET = 0,
	RNG_DISK,
	RNG_CLOCK,
	RNG_FAULT,
	RNG_LOAD,
	RNG_HOST,
	RNG_CORE,
	RNG_MEMORY,
	RNG_NAME,
	RNG_LINK,
	RNG_CALLS,
	RNG_LOAN,
	RNG_ECHO,
	RNG_PEOPLE,
	RNG_COUNT,
};

struct world;
struct timeline;

/* @payload is the event's, who must free it by world_put() if it came from world_alloc(). */
typedef void (*world_fn)(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload);

struct world_event {
	uint64_t at_ns;
	uint64_t seq;
	world_fn fn;
	const char *name; /* static */
	node_id node;
	uint64_t a, b;
	void *payload;
};

struct world_recent {
	uint64_t at_ns;
	const char *name;
	node_id node;
	uint64_t a, b;
};

struct world_clock {
	uint64_t offset_ns;
	int64_t drift_ppb;
};

struct world_violation {
	char name[24]; /* "" : none so far */
	char text[200];
	uint64_t at_ns;
};

struct world_stats {
	uint64_t events;
	uint64_t messages;
	uint64_t lost;
	uint64_t repeated;
	uint64_t cut;
	uint64_t checks;
};

struct world {
	void *user; /* the simulation that runs in this world */
	uint64_t now_ns;
	uint64_t seq;
	uint64_t hash;
	struct world_event *heap;
	size_t count, cap;
	struct rand rng[RNG_COUNT];
	struct world_clock clock[WORLD_NODES_MAX];
	/* > 0: messages from the first to the second are lost; when that changed last */
	uint8_t cut[WORLD_NODES_MAX][WORLD_NODES_MAX];
	uint64_t cut_ns[WORLD_NODES_MAX][WORLD_NODES_MAX];
	uint32_t loss_ppm;
	uint32_t repeat_ppm;
	uint32_t slow_ppm; /* messages that take hundreds of milliseconds */
	struct world_stats stats;
	struct world_violation violation;
	struct world_recent recent[WORLD_RECENT];
	uint32_t recent_at;
	struct timeline *timeline; /* or NULL */
	bool verbose;
};

void world_init(struct world *w, uint64_t seed);
void world_fini(struct world *w);

/*
 * Reference-counted memory for payloads, zeroed; the process ends if there is none. @fini, if any,
 * is called with the last reference.
 */
void *world_alloc(size_t bytes);
void *world_alloc_owner(size_t bytes, void (*fini)(void *));
void *world_get(void *p);
void world_put(void *p);

/* Calls @fn at @at_ns (not before now). Takes one reference of @payload. */
void world_at(struct world *w, uint64_t at_ns, world_fn fn, const char *name, node_id node,
	      uint64_t a, uint64_t b, void *payload);
static inline void world_in(struct world *w, uint64_t delay_ns, world_fn fn, const char *name,
			    node_id node, uint64_t a, uint64_t b, void *payload)
{
	world_at(w, w->now_ns + delay_ns, fn, name, node, a, b, payload);
}

/* Delivers one event; false: none left, or a violation was found, or it is after @until_ns. */
bool world_step(struct world *w, uint64_t until_ns);

/* What a message takes one way, drawn from @rng. */
uint64_t world_delay_ns(struct world *w, enum world_rng rng, size_t bytes);

/* A message: lost, repeated, delayed (and so reordered) as the network pleases. Takes @payload. */
void world_send(struct world *w, node_id from, node_id to, size_t bytes, world_fn fn,
		const char *name, uint64_t a, void *payload);

/* The node's own clock, and the world's time when that clock shows @local_ns. */
uint64_t world_local(const struct world *w, node_id node);
uint64_t world_when(const struct world *w, node_id node, uint64_t local_ns);

void world_hash(struct world *w, uint64_t v);
void world_hash_bytes(struct world *w, const uint8_t *bytes, size_t len);

/* The first one stands; the run ends with it. */
void world_violate(struct world *w, const char *name, const char *fmt, ...) printf_like(3, 4);

/*
 * timeline.c: a span that begins ('b') or ends ('e') on a node, or an instant ('i'). @name is
 * static. Nothing without a timeline.
 */
void world_trace(struct world *w, char phase, node_id node, const char *name, uint64_t id);
/* -errno. */
must_check int world_timeline_open(struct world *w, const char *path, node_id nodes);
must_check int world_timeline_close(struct world *w);

#endif
