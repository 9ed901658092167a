/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cow.h - the membership tables of thousands of nodes: one copy, and pages of their own for those
 * who know something else.
 *
 * All nodes see the same last reports, until one of them places something: that it knows alone.
 * Then the page with that row is copied for it, and dropped at the next report.
 */
#ifndef SIM_COW_H
#define SIM_COW_H

#include "base/attr.h"
#include "kernel/sched/sched.h"

#define COW_PAGE_ROWS 16

struct cow_page {
	uint32_t number;
	struct sched_node rows[COW_PAGE_ROWS];
};

struct cow_own {
	struct cow_page *pages;
	uint32_t count, cap;
};

struct cow_table {
	uint32_t rows;
	struct sched_node *base; /* rows of them: write these before anybody reads */
	struct cow_own *own;     /* by node */
	uint32_t *dirty;         /* nodes that have pages */
	uint32_t dirty_count;
	uint64_t pages, pages_max;
};

/* Errors: -ENOMEM. */
must_check int cow_init(struct cow_table *t, uint32_t rows);
void cow_fini(struct cow_table *t);

/* What @node (from 0) knows of @row. Borrowed until its next write. */
const struct sched_node *cow_row(const struct cow_table *t, uint32_t node, uint32_t row);
/* The same, for it alone to change. */
struct sched_node *cow_write(struct cow_table *t, uint32_t node, uint32_t row);
/* The base is new, and everybody has it. */
void cow_publish(struct cow_table *t);

/* Bytes of all tables now and at most, and without sharing. */
uint64_t cow_bytes(const struct cow_table *t);
uint64_t cow_bytes_max(const struct cow_table *t);
uint64_t cow_bytes_alone(const struct cow_table *t);

#endif
