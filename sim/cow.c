/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/cow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

int cow_init(struct cow_table *t, uint32_t rows)
{
	*t = (struct cow_table){ .rows = rows };
	t->base = calloc(rows, sizeof(*t->base));
	t->own = calloc(rows, sizeof(*t->own));
	t->dirty = calloc(rows, sizeof(*t->dirty));
	if (t->base && t->own && t->dirty)
		return 0;
	cow_fini(t);
	return -ENOMEM;
}

void cow_fini(struct cow_table *t)
{
	for (uint32_t i = 0; t->own && i < t->rows; i++)
		free(t->own[i].pages);
	free(t->base);
	free(t->own);
	free(t->dirty);
	*t = (struct cow_table){ 0 };
}

static struct cow_page *page_find(const struct cow_own *o, uint32_t number)
{
	for (uint32_t i = 0; i < o->count; i++) {
		if (o->pages[i].number == number)
			return &o->pages[i];
	}
	return NULL;
}

const struct sched_node *cow_row(const struct cow_table *t, uint32_t node, uint32_t row)
{
	const struct cow_page *p = page_find(&t->own[node], row / COW_PAGE_ROWS);

	return p ? &p->rows[row % COW_PAGE_ROWS] : &t->base[row];
}

static struct cow_page *page_copy(struct cow_table *t, uint32_t node, uint32_t number)
{
	struct cow_own *o = &t->own[node];
	uint32_t from = number * COW_PAGE_ROWS;
	struct cow_page *p;

	if (o->count == o->cap) {
		o->cap = o->cap ? 2 * o->cap : 1;
		o->pages = realloc(o->pages, o->cap * sizeof(*o->pages));
		CHECK(o->pages != NULL);
	}
	if (o->count == 0)
		t->dirty[t->dirty_count++] = node;
	p = &o->pages[o->count++];
	p->number = number;
	memcpy(p->rows, &t->base[from],
	       MIN(t->rows - from, (uint32_t)COW_PAGE_ROWS) * sizeof(*p->rows));
	t->pages_max = MAX(t->pages_max, ++t->pages);
	return p;
}

struct sched_node *cow_write(struct cow_table *t, uint32_t node, uint32_t row)
{
	struct cow_page *p = page_find(&t->own[node], row / COW_PAGE_ROWS);

	if (!p)
		p = page_copy(t, node, row / COW_PAGE_ROWS);
	return &p->rows[row % COW_PAGE_ROWS];
}

void cow_publish(struct cow_table *t)
{
	for (uint32_t i = 0; i < t->dirty_count; i++) {
		struct cow_own *o = &t->own[t->dirty[i]];

		t->pages -= o->count;
		free(o->pages);
		*o = (struct cow_own){ 0 };
	}
	t->dirty_count = 0;
}

static uint64_t bytes_of(const struct cow_table *t, uint64_t pages)
{
	return t->rows * (sizeof(*t->base) + sizeof(*t->own) + sizeof(*t->dirty)) +
	       pages * sizeof(struct cow_page);
}

uint64_t cow_bytes(const struct cow_table *t)
{
	return bytes_of(t, t->pages);
}

uint64_t cow_bytes_max(const struct cow_table *t)
{
	return bytes_of(t, t->pages_max);
}

uint64_t cow_bytes_alone(const struct cow_table *t)
{
	return (uint64_t)t->rows * t->rows * sizeof(*t->base);
}
