/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - shared memory of a simulated node: dsm/core between its host and the network.
 *
 * Region r is at home where the authority over pid block r is, so that naming/core moves it. Every
 * node may share: node n is sharer n - 1. A page's bytes are a number, which each write makes the
 * next one. What a guest kernel's successor finds:
 *	sharer   copy, kept bytes and the core's entry, in memory that pando-init holds; what the
 *	         host maps; a second descriptor of the userfaultfd
 *	home     its copy with the round that brought it, and its epoch; entries are rebuilt
 *
 * What is assumed of the host: a fault on a page that is not mapped waits while anybody holds the
 * userfaultfd; when nobody does, it gives a page of zeros.
 *
 * A former home answers RECOVER with its copy where its sharer has nothing newer: so a home may be
 * handed over while it lives. A message for an earlier life of a node is dropped.
 */
#ifndef SIM_MEMORY_H
#define SIM_MEMORY_H

#include "dsm/core/dir.h"
#include "dsm/core/page.h"
#include "sim/cluster.h"

#define MEM_REGIONS 8 /* numbered from 1 */
#define MEM_PAGES   4

struct mem_page {
	struct dsm_page p;
	uint64_t copy;
	uint64_t kept;
	enum dsm_hold mapped; /* what the host lets programs do */
	uint64_t granted_ns;  /* when it last got more */
};

struct mem_home {
	struct dsm_dir d; /* dies with the guest kernel */
	uint64_t copy;
	uint64_t copy_ver;
};

struct mem_region {
	epoch_t epoch; /* as home; 0: never was. The copies are those of this epoch. */
	bool serving;
	bool joined; /* we know an epoch and are registered */
	bool joining;
	bool uffd_kernel, uffd_store; /* who holds the userfaultfd */
	struct mem_page pages[MEM_PAGES];
	struct mem_home homes[MEM_PAGES];
};

struct memory {
	struct mem_region regions[MEM_REGIONS + 1];
	bool ticking;
	uint32_t restarts; /* of the guest kernel, in this life of the node */
};

/* What programs have written, held against what they read. */
struct mem_truth {
	uint64_t next;    /* last number given to a write */
	uint64_t written; /* what a read must see, unless in doubt */
	uint64_t floor;   /* in doubt: the newest that somebody who lives has */
	bool doubt;       /* the last write died with its host, or its home did with orders out */
	uint64_t doubt_ns;
	bool begun;  /* the region's first home has: before, no page of it has ever had bytes */
	bool shaken; /* a host has died: bytes may be said to be lost */
};

static inline struct mem_truth *memory_truth(struct sim *s, uint32_t region, uint32_t page)
{
	return &s->memory[region * MEM_PAGES + page];
}

enum mem_kind {
	MEM_TO_HOME = 1, /* msg */
	MEM_TO_SHARER,   /* msg */
	MEM_JOIN,
	MEM_JOINED, /* msg.epoch */
};

/* Places where a guest kernel may die in a grant, an order, a joining. */
enum mem_point {
	MEM_AT_PROTECT = 0,
	MEM_AT_KEEP,
	MEM_AT_UNMAP,
	MEM_AT_INSTALL,
	MEM_AT_NOTE,
	MEM_AT_MAP,
	MEM_AT_SEND,
	MEM_AT_STORE,
	MEM_AT_ORDER,
	MEM_AT_UFFD,
	MEM_AT_REGISTER,
	MEM_POINTS,
};
const char *memory_point_name(enum mem_point p);

/* The program @p executes at @n and touches its region, if it has one. */
void memory_touch(struct sim *s, struct knode *n, struct proc *p);
void memory_on_msg(struct sim *s, struct knode *n, const struct kmsg *k);
void memory_view_changed(struct sim *s, struct knode *n);
void memory_node_dead(struct sim *s, struct knode *n, node_id dead);
/* The guest kernel dies; a successor begins; the host dies. */
void memory_forget(struct knode *n);
void memory_adopt(struct sim *s, struct knode *n);
void memory_crash(struct sim *s, struct knode *n);

/* ---- between memory.c and homes.c ---- */
bool memory_fault(struct sim *s, struct knode *n, enum mem_point at);
void memory_post(struct sim *s, struct knode *n, node_id to, enum mem_kind kind, uint32_t region,
		 uint32_t page, const struct dsm_msg *m, uint64_t data);
void memory_tick_soon(struct sim *s, struct knode *n);
void homes_on_msg(struct sim *s, struct knode *n, const struct kmsg *k);
/* Timers of all entries; true: something is still unanswered. */
bool homes_tick(struct sim *s, struct knode *n);

/* ---- check_memory.c: D1, D6, D7 ---- */
void check_mapped(struct sim *s, uint32_t region, uint32_t page);
void check_seen(struct sim *s, const struct knode *n, uint32_t region, uint32_t page,
		uint64_t value);
void check_told_lost(struct sim *s, const struct knode *n, uint32_t region, uint32_t page);
/* A host has died: what of each page is left? */
void check_memory_shaken(struct sim *s, node_id dead);
void check_memory_recount(struct sim *s);
void check_memory_end(struct sim *s);

#endif
