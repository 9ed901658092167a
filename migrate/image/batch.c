/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/image/priv.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

void why_add(struct buf *why, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = buf_vaddf(why, fmt, ap);
	va_end(ap);
	if (r == 0)
		r = buf_add(why, "\n", 1);
	/* Without memory for words the errno must do. */
	(void)r;
}

int why_err(struct buf *why, int err, const char *what)
{
	why_add(why, "cannot %s: %s", what, strerror(-err));
	return err;
}

static uint64_t table_at(const struct batch *b)
{
	return b->g->slot->area + PAGE;
}

static uint64_t scratch_at(const struct batch *b)
{
	return table_at(b) + BATCH_CALLS * sizeof(struct stub_call);
}

struct batch *batch_new(struct gate *g, struct buf *why)
{
	struct batch *b = malloc(sizeof(*b));

	if (b) {
		b->g = g;
		b->why = why;
		b->n = 0;
		b->used = 0;
	}
	return b;
}

int batch_room(struct batch *b, unsigned calls, size_t bytes)
{
	int r = 0;

	if (calls > BATCH_CALLS || bytes + 64 > BATCH_SCRATCH)
		return -EMSGSIZE;
	if (b->n + calls > BATCH_CALLS || b->used + bytes + 64 > BATCH_SCRATCH) {
		r = batch_run(b);
		b->used = 0;
	}
	return r;
}

uint64_t batch_data(struct batch *b, const void *bytes, size_t len)
{
	size_t at = ALIGN_UP(b->used, 16);

	CHECK(at + len <= BATCH_SCRATCH);
	if (bytes)
		memcpy(b->scratch + at, bytes, len);
	else
		memset(b->scratch + at, 0, len);
	b->used = at + len;
	return scratch_at(b) + at;
}

uint64_t batch_text(struct batch *b, const char *text)
{
	return batch_data(b, text, strlen(text) + 1);
}

void batch_call(struct batch *b, const char *what, int64_t *out, int64_t nr, const uint64_t arg[6])
{
	CHECK(b->n < BATCH_CALLS);
	b->call[b->n] = (struct stub_call){ .nr = nr };
	memcpy(b->call[b->n].arg, arg, sizeof(b->call[b->n].arg));
	b->what[b->n] = what;
	b->out[b->n] = out;
	b->n++;
}

const void *batch_at(const struct batch *b, uint64_t at)
{
	CHECK(at >= scratch_at(b) && at - scratch_at(b) < b->used);
	return b->scratch + (at - scratch_at(b));
}

int batch_run(struct batch *b)
{
	unsigned n = b->n;
	pid_t pid = b->g->t->tid;
	int r = 0;

	b->n = 0;
	if (n == 0)
		return 0;
	if (b->used > 0)
		r = tracee_write(pid, scratch_at(b), b->scratch, b->used);
	if (r == 0)
		r = gate_table(b->g, b->call, n, table_at(b));
	if (r == 0 && b->used > 0)
		r = tracee_read(pid, scratch_at(b), b->scratch, b->used);
	if (r < 0)
		return why_err(b->why, r, "make calls in the process");
	for (unsigned i = 0; i < n; i++) {
		if (b->out[i])
			*b->out[i] = b->call[i].ret;
		if (b->what[i] && b->call[i].ret < 0 && r == 0)
			r = why_err(b->why, (int)b->call[i].ret, b->what[i]);
	}
	return r;
}
