/* SPDX-License-Identifier: Apache-2.0 */
/* Capacity questions: running, comparing, printing, plotting. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim/capacity.h"
#include "sim/run.h"

static uint64_t real_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / NS_PER_MS;
}

struct row {
	const char *name;
	uint64_t (*get)(const struct capacity_result *r);
	uint32_t div; /* printed with decimals: 10 or 8; 1: whole */
};

static uint64_t get_util(const struct capacity_result *r)
{
	return r->util;
}
static uint64_t get_wanting(const struct capacity_result *r)
{
	return r->wanting;
}
static uint64_t get_spread(const struct capacity_result *r)
{
	return r->spread;
}
static uint64_t get_arrived(const struct capacity_result *r)
{
	return r->arrived;
}
static uint64_t get_ended(const struct capacity_result *r)
{
	return r->ended;
}
static uint64_t get_live(const struct capacity_result *r)
{
	return r->live_max;
}
static uint64_t get_away(const struct capacity_result *r)
{
	return r->arrived ? r->placed_away * 1000 / r->arrived : 0;
}
static uint64_t get_moves(const struct capacity_result *r)
{
	return r->moves;
}
static uint64_t get_moved(const struct capacity_result *r)
{
	return r->moved_bytes >> 20;
}
static uint64_t get_p50(const struct capacity_result *r)
{
	return capacity_slowdown(r, 500);
}
static uint64_t get_p95(const struct capacity_result *r)
{
	return capacity_slowdown(r, 950);
}
static uint64_t get_p99(const struct capacity_result *r)
{
	return capacity_slowdown(r, 990);
}
static uint64_t get_deaths(const struct capacity_result *r)
{
	return r->deaths;
}
static uint64_t get_killed(const struct capacity_result *r)
{
	return r->killed;
}
static uint64_t get_raft(const struct capacity_result *r)
{
	return r->raft_commands;
}
static uint64_t get_gossip(const struct capacity_result *r)
{
	return r->gossip_messages;
}
static uint64_t get_authority(const struct capacity_result *r)
{
	return r->authority_messages;
}
static uint64_t get_bytes(const struct capacity_result *r)
{
	return r->bytes_node;
}
static uint64_t get_alone(const struct capacity_result *r)
{
	return r->bytes_node_alone;
}
static uint64_t get_events(const struct capacity_result *r)
{
	return r->events;
}

static const struct row rows[] = {
	{ "CPU in use, %", get_util, 10 },
	{ "CPU wanted, %", get_wanting, 10 },
	{ "spread between nodes, %", get_spread, 10 },
	{ "programs arrived", get_arrived, 1 },
	{ "programs ended", get_ended, 1 },
	{ "programs at once", get_live, 1 },
	{ "placed elsewhere, %", get_away, 10 },
	{ "moves", get_moves, 1 },
	{ "moved, MiB", get_moved, 1 },
	{ "slowdown, half below", get_p50, 8 },
	{ "slowdown, 95 % below", get_p95, 8 },
	{ "slowdown, 99 % below", get_p99, 8 },
	{ "nodes died", get_deaths, 1 },
	{ "programs died with them", get_killed, 1 },
	{ "raft commands", get_raft, 1 },
	{ "gossip messages", get_gossip, 1 },
	{ "authority messages", get_authority, 1 },
	{ "simulator bytes per node", get_bytes, 1 },
	{ "  without shared tables", get_alone, 1 },
	{ "events", get_events, 1 },
};

static void print_cell(uint64_t v, uint32_t div)
{
	if (div == 1)
		printf(" %16" PRIu64, v);
	else
		printf(" %13" PRIu64 ".%02" PRIu64, v / div, v % div * 100 / div);
}

static void print_table(const struct run_opts *o, const struct capacity_result *r, unsigned n,
			const enum sched_policy *policy)
{
	printf("%-26s", "");
	for (unsigned i = 0; i < n; i++)
		printf(" %16s", capacity_policy_name(policy[i]));
	printf("\n");
	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		printf("%-26s", rows[k].name);
		for (unsigned i = 0; i < n; i++)
			print_cell(rows[k].get(&r[i]), rows[k].div);
		printf("\n");
	}
	printf("%-26s", "hash");
	for (unsigned i = 0; i < n; i++)
		printf(" %016" PRIx64, r[i].hash);
	printf("\n");
	(void)o;
}

static void print_json(const struct run_opts *o, const struct capacity_result *r, unsigned n,
		       const enum sched_policy *policy)
{
	printf("{\"nodes\":%u,\"hours\":%" PRIu64 ",\"workload\":\"%s\",\"runs\":[", o->nodes,
	       o->hours, o->workload);
	for (unsigned i = 0; i < n; i++) {
		printf("%s{\"policy\":\"%s\",\"hash\":\"%016" PRIx64 "\"", i ? "," : "",
		       capacity_policy_name(policy[i]), r[i].hash);
		for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
			uint64_t v = rows[k].get(&r[i]);

			/* Thousandths, so that no number is rounded on the way. */
			printf(",\"%s%s\":%" PRIu64, rows[k].name + strspn(rows[k].name, " "),
			       rows[k].div == 1 ? "" : " (1/1000)",
			       rows[k].div == 1 ? v : v * 1000 / rows[k].div);
		}
		printf("}");
	}
	printf("]}\n");
}

#define PLOT_W 900
#define PLOT_H 260

static void plot_line(FILE *f, const struct capacity_result *r, const char *colour, uint32_t max,
		      uint32_t (*get)(const struct capacity_minute *m))
{
	uint32_t n = r->minutes ? r->minutes : 1;

	fprintf(f, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", colour);
	for (uint32_t i = 0; i < r->minutes; i++)
		fprintf(f, "%u,%u ", 60 + i * PLOT_W / n,
			20 + PLOT_H - MIN(get(&r->minute[i]), max) * PLOT_H / MAX(max, 1u));
	fprintf(f, "\"/>\n");
}

static uint32_t of_util(const struct capacity_minute *m)
{
	return m->util;
}
static uint32_t of_wanting(const struct capacity_minute *m)
{
	return m->wanting;
}
static uint32_t of_moves(const struct capacity_minute *m)
{
	return m->moves;
}
static uint32_t of_slow(const struct capacity_minute *m)
{
	return m->slow;
}

static uint32_t most(const struct capacity_result *r, unsigned n,
		     uint32_t (*get)(const struct capacity_minute *m))
{
	uint32_t max = 1;

	for (unsigned k = 0; k < n; k++) {
		for (uint32_t i = 0; i < r[k].minutes; i++)
			max = MAX(max, get(&r[k].minute[i]));
	}
	return max;
}

static void plot_chart(FILE *f, const char *title, const struct capacity_result *r, unsigned n,
		       const enum sched_policy *policy,
		       uint32_t (*get)(const struct capacity_minute *m), uint32_t max)
{
	static const char *const colours[2] = { "#1f6feb", "#d1242f" };

	fprintf(f,
		"<h2>%s</h2>\n<svg width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
		"font-size=\"12\">\n<rect x=\"60\" y=\"20\" width=\"%d\" height=\"%d\" "
		"fill=\"none\" "
		"stroke=\"#888\"/>\n<text x=\"5\" y=\"28\">%u</text><text x=\"5\" "
		"y=\"%d\">0</text>\n",
		title, PLOT_W + 80, PLOT_H + 50, PLOT_W, PLOT_H, max, PLOT_H + 20);
	for (unsigned k = 0; k < n; k++) {
		fprintf(f, "<text x=\"%u\" y=\"14\" fill=\"%s\">%s</text>\n", 70 + k * 130,
			colours[k], capacity_policy_name(policy[k]));
		plot_line(f, &r[k], colours[k], max, get);
	}
	fprintf(f,
		"<text x=\"60\" y=\"%d\">0</text><text x=\"%d\" y=\"%d\">%u min</text>\n</svg>\n",
		PLOT_H + 38, PLOT_W, PLOT_H + 38, r[0].minutes);
}

static int plot(const struct run_opts *o, const struct capacity_result *r, unsigned n,
		const enum sched_policy *policy)
{
	FILE *f = fopen(o->plot, "w");

	if (!f) {
		fprintf(stderr, "pando: cannot write %s: %s; try: --plot /tmp/sim.html\n", o->plot,
			strerror(errno));
		return 1;
	}
	fprintf(f,
		"<!doctype html>\n<title>pando sim</title>\n<h1>%u nodes, %" PRIu64
		" hours, workload %s</h1>\n",
		o->nodes, o->hours, o->workload);
	plot_chart(f, "CPU in use, per mille", r, n, policy, of_util, 1000);
	plot_chart(f, "CPU wanted, per mille", r, n, policy, of_wanting, most(r, n, of_wanting));
	plot_chart(f, "Moves per minute", r, n, policy, of_moves, most(r, n, of_moves));
	plot_chart(f, "Programs per minute that took 1.5 times their time or more", r, n, policy,
		   of_slow, most(r, n, of_slow));
	return fclose(f) == 0 ? 0 : 1;
}

static bool policies(const struct run_opts *o, enum sched_policy *policy, unsigned *n)
{
	char text[128], *save = NULL;

	*n = 0;
	snprintf(text, sizeof(text), "%s", o->compare ? o->compare : "here-first");
	for (char *t = strtok_r(text, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		int p = capacity_policy(t);

		if (p < 0 || *n == 2)
			return false;
		policy[(*n)++] = (enum sched_policy)p;
	}
	return *n == (o->compare ? 2u : 1u);
}

static int refuse_policies(const struct run_opts *o)
{
	fprintf(stderr, "pando: cannot compare '%s': want two of", o->compare);
	for (int p = 0; p < SCHED_POLICIES; p++)
		fprintf(stderr, " %s", capacity_policy_name((enum sched_policy)p));
	fprintf(stderr, "; try: pando sim --compare here-first,two-choices\n");
	return 2;
}

int plan_all(struct run_opts *o)
{
	struct workload w;
	enum sched_policy policy[2];
	struct capacity_result *r = calloc(2, sizeof(*r));
	uint64_t t0 = real_ms();
	unsigned n = 0;
	int err = workload_load(&w, o->workload), code = 0;

	if (err < 0 && err != -EINVAL)
		fprintf(stderr,
			"pando: cannot read workload %s: %s; try: pando sim --workload "
			"timeshare\n",
			o->workload, strerror(-err));
	if (err < 0 || !r) {
		free(r);
		return err < 0 && err != -EINVAL ? 3 : 2;
	}
	if (!policies(o, policy, &n)) {
		free(r);
		return refuse_policies(o);
	}
	for (unsigned i = 0; i < n && err == 0; i++) {
		struct capacity_conf conf = { .seed = o->first,
					      .nodes = o->nodes,
					      .run_ms = o->hours * 3600000,
					      .die_per_mille = o->calm ? 0 : 10,
					      .policy = policy[i],
					      .load = &w };

		err = capacity_run(&conf, &r[i]);
	}
	if (err < 0) {
		fprintf(stderr, "pando: cannot simulate %u nodes: out of memory; try: --nodes %u\n",
			o->nodes, o->nodes / 2);
		free(r);
		return 1;
	}
	if (o->json) {
		print_json(o, r, n, policy);
	} else {
		printf("%u nodes, %" PRIu64 " h of %s, seed %" PRIu64 "; took %" PRIu64
		       " ms, %" PRIu64 " times faster than real time\n",
		       o->nodes, o->hours, o->workload, o->first, real_ms() - t0,
		       o->hours * 3600000 * n / MAX(real_ms() - t0, UINT64_C(1)));
		print_table(o, r, n, policy);
	}
	if (o->plot)
		code = plot(o, r, n, policy);
	free(r);
	return code;
}
