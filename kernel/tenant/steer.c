/* SPDX-License-Identifier: Apache-2.0 */
/* steer.c - see steer.h. */
#include "kernel/tenant/steer.h"

#include <errno.h>
#include <string.h>

#define BUSY_MS   4   /* between looks while the cursor moves */
#define IDLE_MS   20  /* and while it does not, at least */
#define CALM_MS   160 /* at most */
#define LATE_MS   100 /* how late a look may come on a busy machine */
#define PID_FIRST 300 /* the allocator never wraps below it */
#define PID_END   4194304
#define BLOCK_MIN 16

/* The block that @pid is in, or s->count. */
static size_t block_of(const struct steer *s, gpid pid)
{
	size_t i = 0;

	while (i < s->count &&
	       (pid < s->blocks[i].first || pid - s->blocks[i].first >= s->blocks[i].count))
		i++;
	return i;
}

/* Ids from @pid to the end of its block @i and of those that follow it without a gap. */
static gpid room_after(const struct steer *s, size_t i, gpid pid)
{
	gpid end = s->blocks[i].first + s->blocks[i].count;

	for (i++; i < s->count && s->blocks[i].first == end; i++)
		end += s->blocks[i].count;
	return end - 1 - pid;
}

/*
 * What is left unused at a block's end, because the next look may come late: what LATE_MS of the
 * greatest use would take, and never less than a quarter.
 */
static gpid slack_of(const struct steer *s, size_t i)
{
	gpid slack = MAX(s->blocks[i].count / 4, s->step_most * (LATE_MS / BUSY_MS));

	return MIN(slack, s->blocks[i].count / 2);
}

static gpid free_in(struct steer *s, size_t i)
{
	const struct steer_block *b = &s->blocks[i];
	gpid end = b->first + b->count - slack_of(s, i);
	gpid n = 0;

	for (gpid p = b->first; p < end; p++)
		n += !s->ops->in_use(s, p);
	return n;
}

/* Continues in the next block after @i that is half free, or in the one with most room. */
static int move_on(struct steer *s, size_t i)
{
	size_t best = 0;
	gpid most = -1, enough = 0;
	int r;

	for (size_t k = 0; k < s->count && (k == 0 || most < enough); k++) {
		size_t j = (i + 1 + k) % s->count;
		gpid n = free_in(s, j);

		if (n > most) {
			most = n;
			best = j;
			enough = s->blocks[j].count / 2 - slack_of(s, j);
		}
	}
	r = s->ops->move(s, s->blocks[best].first - 1);
	if (r == 0) {
		s->seen = s->blocks[best].first - 1;
		s->inside = true;
	}
	if (most < enough)
		s->ops->crowded(s, most);
	return r;
}

/*
 * While nothing is used: what is left must be enough for the fastest that the host can, until a
 * look that comes as late again as it is due.
 */
static int64_t calm_ms(const struct steer *s, size_t i, gpid pid)
{
	if (i == s->count || s->ids_per_ms <= 0)
		return IDLE_MS;
	return MAX(IDLE_MS, MIN(CALM_MS, room_after(s, i, pid) / 2 / s->ids_per_ms));
}

int64_t steer_tick(struct steer *s, int64_t now_ms)
{
	gpid pid, used;
	size_t i;

	if (s->count == 0)
		return -1;
	if (now_ms < s->due_ms)
		return s->due_ms - now_ms;
	pid = s->ops->cursor(s);
	i = block_of(s, pid);
	used = i < s->count && pid > s->seen ? pid - s->seen : 0;
	/* What came together in a calm time was not used within so few milliseconds. */
	if (s->calm && s->ids_per_ms > 0)
		used = MIN(used, s->ids_per_ms * BUSY_MS);
	s->step_most = MAX(used, s->step_most - s->step_most / 16);
	s->calm = pid == s->seen;
	s->due_ms = now_ms + (s->calm ? calm_ms(s, i, pid) : BUSY_MS);
	/* One before a block is where move_on() puts it: nothing was given out since. */
	if (i == s->count && block_of(s, pid + 1) == s->count) {
		s->strays += s->inside;
		s->inside = false;
		(void)move_on(s, s->count - 1); /* if it fails, the next look tries again */
	} else if (i < s->count && room_after(s, i, pid) < slack_of(s, i)) {
		(void)move_on(s, i);
	} else {
		s->seen = pid;
	}
	return s->due_ms - now_ms;
}

int steer_add(struct steer *s, uint64_t first, uint64_t count)
{
	struct steer_block *b = s->blocks;
	size_t at = 0;

	if (first < PID_FIRST || first > PID_END || count < BLOCK_MIN || count > PID_END - first)
		return -EINVAL;
	while (at < s->count && b[at].first < (gpid)first)
		at++;
	if (at < s->count && b[at].first == (gpid)first)
		return b[at].count == (gpid)count ? 0 : -EINVAL;
	if ((at > 0 && b[at - 1].first + b[at - 1].count > (gpid)first) ||
	    (at < s->count && (gpid)(first + count) > b[at].first))
		return -EINVAL;
	if (s->count == STEER_BLOCKS_MAX)
		return -ENOSPC;
	memmove(&b[at + 1], &b[at], (s->count - at) * sizeof(b[0]));
	b[at] = (struct steer_block){ (gpid)first, (gpid)count };
	s->count++;
	/* The first one counts from this instant on: who asked may start guests now. */
	return s->count == 1 ? move_on(s, 0) : 0;
}

int steer_remove(struct steer *s, uint64_t first)
{
	for (size_t i = 0; i < s->count; i++) {
		if ((uint64_t)s->blocks[i].first != first)
			continue;
		s->count--;
		memmove(&s->blocks[i], &s->blocks[i + 1], (s->count - i) * sizeof(s->blocks[0]));
		if (s->count > 0 && block_of(s, s->ops->cursor(s)) == s->count)
			return move_on(s, i > 0 ? i - 1 : s->count - 1);
		return 0;
	}
	return -ENOENT;
}

uint64_t steer_pids(const struct steer *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->count; i++)
		n += (uint64_t)s->blocks[i].count;
	return n;
}
