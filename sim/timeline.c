/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timeline of a run, for ui.perfetto.dev: "Trace Event Format", JSON array. A node is a
 * process; what happens at once is an instant of it, what lasts an asynchronous span. Every span
 * that is ended was begun, and every one that was begun is ended: by the end of the run at the
 * latest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sim/world.h"

struct span {
	const char *name;
	node_id node;
	uint64_t id;
};

struct timeline {
	FILE *f;
	struct span *open;
	size_t count, cap;
};

static struct span *span_find(struct timeline *t, const struct span *s)
{
	for (size_t i = 0; i < t->count; i++) {
		if (t->open[i].node == s->node && t->open[i].id == s->id &&
		    strcmp(t->open[i].name, s->name) == 0)
			return &t->open[i];
	}
	return NULL;
}

static void span_add(struct timeline *t, const struct span *s)
{
	if (t->count == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 64;
		t->open = realloc(t->open, t->cap * sizeof(*t->open));
		CHECK(t->open != NULL);
	}
	t->open[t->count++] = *s;
}

static void event_write(const struct world *w, char phase, const struct span *s)
{
	FILE *f = w->timeline->f;
	bool move = strcmp(s->name, "move") == 0 || strcmp(s->name, "frozen") == 0;

	fprintf(f, ",\n{\"name\":\"%s\",\"ph\":\"%c\",\"ts\":%llu.%03u,\"pid\":%u,\"tid\":0",
		s->name, phase, (unsigned long long)(w->now_ns / 1000),
		(unsigned)(w->now_ns % 1000), s->node);
	if (phase == 'i')
		fprintf(f, ",\"s\":\"p\",\"args\":{\"id\":%llu}}", (unsigned long long)s->id);
	else
		fprintf(f, ",\"cat\":\"%s\",\"id\":\"0x%llx\"}", move ? "move" : "fault",
			(unsigned long long)s->id);
}

void world_trace(struct world *w, char phase, node_id node, const char *name, uint64_t id)
{
	struct span s = { name, node, id }, *open;

	if (!w->timeline)
		return;
	open = phase == 'i' ? NULL : span_find(w->timeline, &s);
	if ((phase == 'b' && open) || (phase == 'e' && !open))
		return;
	event_write(w, phase, &s);
	if (phase == 'b')
		span_add(w->timeline, &s);
	else if (phase == 'e')
		*open = w->timeline->open[--w->timeline->count];
}

int world_timeline_open(struct world *w, const char *path, node_id nodes)
{
	struct timeline *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	t->f = fopen(path, "w");
	if (!t->f) {
		err = -errno;
		free(t);
		return err;
	}
	w->timeline = t;
	for (node_id id = 0; id <= nodes; id++) {
		fprintf(t->f,
			"%s{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%u,\"tid\":0,\"args\":{"
			"\"name\":\"",
			id ? ",\n" : "[", id);
		if (id)
			fprintf(t->f, "n%u", id);
		else
			fputs("the world", t->f);
		fprintf(t->f,
			"\"}},\n{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":%u,\"tid\":0,"
			"\"args\":{\"sort_index\":%u}}",
			id, id);
	}
	return 0;
}

int world_timeline_close(struct world *w)
{
	struct timeline *t = w->timeline;
	int err;

	if (!t)
		return 0;
	while (t->count > 0)
		event_write(w, 'e', &t->open[--t->count]);
	fputs("\n]\n", t->f);
	err = ferror(t->f) ? -EIO : 0;
	if (fclose(t->f) != 0)
		err = -errno;
	free(t->open);
	free(t);
	w->timeline = NULL;
	return err;
}
