/* SPDX-License-Identifier: Apache-2.0 */
/* Charts of a capacity run: SVG inside HTML, a line for each policy. Integers all the way. */
#include <inttypes.h>

#include "sim/capacity.h"
#include "sim/run.h"

#define LEFT   70
#define TOP    30
#define WIDTH  860
#define HEIGHT 220
#define LINES  4 /* of the grid, across */
#define TICKS  6

struct chart {
	const char *title;
	uint32_t (*get)(const struct capacity_minute *m);
	uint32_t div;   /* shown is the value divided by it */
	uint32_t fixed; /* the top; 0: as the values want it */
};

static uint32_t of_util(const struct capacity_minute *m)
{
	return m->util;
}
static uint32_t of_wanting(const struct capacity_minute *m)
{
	return m->wanting;
}
static uint32_t of_live(const struct capacity_minute *m)
{
	return m->live;
}
static uint32_t of_moves(const struct capacity_minute *m)
{
	return m->moves;
}
static uint32_t of_slow(const struct capacity_minute *m)
{
	return m->slow;
}

static const struct chart charts[] = {
	{ "CPU in use, % of the machine", of_util, 10, 1000 },
	{ "CPU wanted, % of the machine", of_wanting, 10, 0 },
	{ "Programs at once", of_live, 1, 0 },
	{ "Moves per minute", of_moves, 1, 0 },
	{ "Programs per minute that took 1.5 times their time or more", of_slow, 1, 0 },
};
static const char *const colours[2] = { "#1f6feb", "#d1242f" };

/* The next of 4, 8, 20, 40, 80, 200 ...: a quarter of it is a whole number. */
static uint32_t round_up(uint32_t v)
{
	static const uint32_t steps[3] = { 4, 8, 20 };

	for (uint64_t ten = 1;; ten *= 10) {
		for (unsigned i = 0; i < 3; i++) {
			if (steps[i] * ten >= v)
				return (uint32_t)MIN(steps[i] * ten, (uint64_t)UINT32_MAX);
		}
	}
}

static uint32_t chart_top(const struct chart *c, const struct capacity_result *r, unsigned n)
{
	uint32_t max = c->div;

	for (unsigned k = 0; k < n; k++) {
		for (uint32_t i = 0; i < r[k].minutes; i++)
			max = MAX(max, c->get(&r[k].minute[i]));
	}
	return c->fixed ? c->fixed : c->div * round_up((max + c->div - 1) / c->div);
}

/* At most one point for each of the width's pixels: the mean of what falls there. */
static void chart_line(FILE *f, const struct chart *c, const struct capacity_result *r,
		       unsigned which, uint32_t top)
{
	uint32_t each = MAX((r->minutes + WIDTH - 1) / WIDTH, 1u);

	fprintf(f,
		"<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\" "
		"stroke-linejoin=\"round\" stroke-dasharray=\"%s\" points=\"",
		colours[which], which ? "7 3" : "none");
	for (uint32_t i = 0; i < r->minutes; i += each) {
		uint64_t sum = 0, count = MIN(each, r->minutes - i);

		for (uint32_t j = 0; j < count; j++)
			sum += c->get(&r->minute[i + j]);
		fprintf(f, "%" PRIu64 ",%" PRIu64 " ",
			LEFT + (i + count / 2) * (uint64_t)WIDTH / MAX(r->minutes - 1, 1u),
			TOP + HEIGHT - MIN(sum / count, (uint64_t)top) * HEIGHT / top);
	}
	fprintf(f, "\"/>\n");
}

static void chart_grid(FILE *f, const struct chart *c, uint32_t top, uint32_t minutes)
{
	bool hours = minutes > 240;

	for (uint32_t i = 0; i <= LINES; i++) {
		uint32_t y = TOP + HEIGHT - i * HEIGHT / LINES;

		fprintf(f,
			"<line x1=\"%d\" y1=\"%u\" x2=\"%d\" y2=\"%u\" stroke=\"%s\"/>"
			"<text x=\"%d\" y=\"%u\" text-anchor=\"end\">%" PRIu64 "</text>\n",
			LEFT, y, LEFT + WIDTH, y, i ? "#ddd" : "#888", LEFT - 8, y + 4,
			(uint64_t)top * i / LINES / c->div);
	}
	for (uint32_t i = 0; i <= TICKS; i++) {
		uint64_t at = (uint64_t)minutes * i / TICKS;

		fprintf(f, "<text x=\"%u\" y=\"%d\" text-anchor=\"middle\">%" PRIu64 " %s</text>\n",
			LEFT + i * WIDTH / TICKS, TOP + HEIGHT + 20, hours ? at / 60 : at,
			hours ? "h" : "min");
	}
}

static void chart_print(FILE *f, const struct chart *c, const struct capacity_result *r, unsigned n,
			const enum sched_policy *policy)
{
	uint32_t top = MAX(chart_top(c, r, n), 1u);

	fprintf(f,
		"<h2>%s</h2>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
		"height=\"%d\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
		c->title, LEFT + WIDTH + 40, TOP + HEIGHT + 30);
	chart_grid(f, c, top, r[0].minutes);
	for (unsigned k = 0; k < n && k < ARRAY_LEN(colours); k++) {
		chart_line(f, c, &r[k], k, top);
		fprintf(f,
			"<rect x=\"%u\" y=\"9\" width=\"18\" height=\"4\" fill=\"%s\"/>"
			"<text x=\"%u\" y=\"15\">%s</text>\n",
			LEFT + k * 150, colours[k], LEFT + k * 150 + 24,
			capacity_policy_name(policy[k]));
	}
	fprintf(f, "</svg>\n");
}

void plot_charts(FILE *f, const struct capacity_result *r, unsigned n,
		 const enum sched_policy *policy)
{
	for (size_t i = 0; i < ARRAY_LEN(charts); i++)
		chart_print(f, &charts[i], r, n, policy);
}
