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

/* What the table on the terminal says, for a page. */
static void plot_table(FILE *f, const struct capacity_result *r, unsigned n,
		       const enum sched_policy *policy)
{
	fprintf(f, "<table>\n<tr><th></th>");
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "<th>%s</th>", capacity_policy_name(policy[i]));
	fprintf(f, "</tr>\n");
	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		fprintf(f, "<tr><td>%s</td>", rows[k].name);
		for (unsigned i = 0; i < n; i++) {
			uint64_t v = rows[k].get(&r[i]), div = rows[k].div;

			fprintf(f, "<td class=\"n\">%" PRIu64, v / div);
			if (div > 1)
				fprintf(f, ".%02" PRIu64, v % div * 100 / div);
			fprintf(f, "</td>");
		}
		fprintf(f, "</tr>\n");
	}
	fprintf(f, "</table>\n");
}

static int plot(const struct run_opts *o, const struct workload *w, const struct capacity_result *r,
		unsigned n, const enum sched_policy *policy)
{
	FILE *f = fopen(o->plot, "w");
	int err = f ? 0 : -errno;

	if (f) {
		fprintf(f,
			"<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
			"<title>pando sim</title>\n<style>body { font-family: sans-serif; margin: "
			"2em; color: #333 } h2 { font-size: 1em; margin: 1.5em 0 .3em } td, th { "
			"padding: .1em .8em .1em 0; text-align: left } .n { text-align: right; "
			"font-variant-numeric: tabular-nums }</style>\n"
			"<h1>%u nodes, %" PRIu64 " h of %s</h1>\n"
			"<p>A node has %u.%02u CPUs and %" PRIu64 " GiB. Seed %" PRIu64 ".</p>\n",
			o->nodes, o->hours, w->shipped ? w->name : "a workload of its own",
			w->cpu_milli / 1000, w->cpu_milli % 1000 / 10, w->mem_bytes >> 30,
			o->first);
		plot_charts(f, r, n, policy);
		plot_table(f, r, n, policy);
		fprintf(f, "</html>\n");
		err = ferror(f) ? -EIO : 0;
		if (fclose(f) != 0)
			err = -errno;
	}
	if (err < 0)
		fprintf(stderr, "pando: cannot write %s: %s; try: --plot /tmp/sim.html\n", o->plot,
			strerror(-err));
	return err < 0;
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
	enum sched_policy policy[2] = { SCHED_HERE_FIRST };
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
	/* Before the work, not after it. */
	if (o->plot && plot(o, &w, r, 0, policy) != 0) {
		free(r);
		return 1;
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
		code = plot(o, &w, r, n, policy);
	free(r);
	return code;
}

int plan_show(const char *name)
{
	const char *text = workload_text(name);

	if (!text) {
		fprintf(stderr,
			"pando: cannot show workload '%s': it is not timeshare, buildfarm or "
			"requests; try: pando sim --show timeshare\n",
			name);
		return 3;
	}
	printf("# node     CPU in thousandths of a core, memory\n"
	       "# shape    per cent of the arrivals, over equal parts of the run\n"
	       "# class    NAME RATE/h (per node) [burst N] life fixed T | uniform A B | exp MEAN "
	       "| "
	       "heavy MIN MAX\n"
	       "#          cpu THOUSANDTHS mem SIZE [stay PER CENT]; T is a number with ms, s or "
	       "m\n"
	       "%s",
	       text);
	return 0;
}
