/* SPDX-License-Identifier: Apache-2.0 */
/* Present loads, one change, and a minute of the real placement and balancing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/capacity.h"
#include "sim/sim.h"

#define JOB_MS 10000
#define RUN_MS 120000

struct question {
	struct sched_node now[CAPACITY_WHAT_NODES];
	char name[CAPACITY_WHAT_NODES][32];
	uint32_t count;
	uint32_t present; /* of these, now */
	struct capacity_what what;
};

static int question_kill(struct question *q, const char *name)
{
	for (uint32_t i = 0; i < q->count; i++) {
		if (strcmp(q->name[i], name) == 0 && !q->now[i].closed) {
			q->what.kill = i + 1;
			return 0;
		}
	}
	fprintf(stderr,
		"pando: cannot kill %s, even in thought: no such live node; try: pando nodes\n",
		name);
	return 3;
}

/* New nodes are like the first. */
static int question_add(struct question *q, unsigned n)
{
	for (unsigned i = 0; i < n && q->count < CAPACITY_WHAT_NODES; i++) {
		struct sched_node *s = &q->now[q->count];

		*s = q->now[0];
		s->closed = false;
		s->load_milli = 0;
		s->mem_free_bytes = s->mem_bytes;
		snprintf(q->name[q->count], sizeof(q->name[0]), "new%u", i + 1);
		q->count++;
	}
	return 0;
}

static int question_parse(struct question *q, const char *text)
{
	char name[32];
	unsigned n;
	int end = 0;

	if (sscanf(text, "kill %31s %n", name, &end) == 1 && text[end] == 0)
		return question_kill(q, name);
	if ((sscanf(text, "add %u node%n", &n, &end) == 1 && end > 0) && n > 0 && n < 200)
		return question_add(q, n);
	end = 0;
	if (sscanf(text, "make -j%u%n", &n, &end) == 1 && text[end] == 0 && n > 0 && n <= 100000) {
		q->what.jobs = n;
		q->what.job_ms = JOB_MS;
		for (q->what.from = 1; q->now[q->what.from - 1].closed; q->what.from++) {
			if (q->what.from == q->count) {
				fprintf(stderr,
					"pando: cannot answer '%s': no node is alive; try: "
					"pando nodes\n",
					text);
				return 3;
			}
		}
		return 0;
	}
	fprintf(stderr,
		"pando: cannot answer '%s': not a question it knows; try: pando what-if 'kill n2', "
		"'add 2 nodes' or 'make -j64'\n",
		text);
	return 2;
}

static void answer_json(const struct question *q, const struct capacity_result *r, uint64_t took_ms)
{
	printf("{\"moves\":%" PRIu64 ",\"killed\":%" PRIu64 ",\"placed_away\":%" PRIu64
	       ",\"made_ms\":%" PRIu64 ",\"nodes\":[",
	       r->moves, r->killed, r->placed_away, took_ms);
	for (uint32_t i = 0; i < q->count; i++) {
		const struct sched_node *s = &q->now[i];

		printf("%s{\"name\":\"%s\",\"cpu_milli\":%u,\"load_milli\":%u,\"most_milli\":%u,"
		       "\"then_milli\":%u}",
		       i ? "," : "", q->name[i], s->cpu_milli, s->load_milli, r->node_most[i],
		       r->node_load[i]);
	}
	printf("]}\n");
}

static bool is_down(const struct question *q, uint32_t i, bool then)
{
	return q->now[i].closed || (then && q->what.kill == i + 1);
}

static void print_milli(uint64_t milli, int width)
{
	printf(" %*" PRIu64 ".%02" PRIu64, width - 3, milli / 1000, milli % 1000 / 10);
}

/* What is wanted of what there is: now, and after it. */
static void print_sums(const struct question *q, const struct capacity_result *r)
{
	uint64_t load[2] = { 0 }, cpus[2] = { 0 };

	for (uint32_t i = 0; i < q->count; i++) {
		bool fresh = i >= q->present;

		load[0] += is_down(q, i, false) || fresh ? 0 : q->now[i].load_milli;
		cpus[0] += is_down(q, i, false) || fresh ? 0 : q->now[i].cpu_milli;
		load[1] += is_down(q, i, true) ? 0 : r->node_load[i];
		cpus[1] += is_down(q, i, true) ? 0 : q->now[i].cpu_milli;
	}
	printf("now");
	print_milli(load[0], 4);
	printf(" of");
	print_milli(cpus[0], 4);
	printf(" CPUs are wanted, then");
	print_milli(load[1], 4);
	printf(" of");
	print_milli(cpus[1], 4);
	printf("; %" PRIu64 " programs die, %" PRIu64 " are moved\n", r->killed, r->moves);
}

static void print_jobs(const struct question *q, const struct capacity_result *r, uint64_t took_ms)
{
	const struct sched_node *from = &q->now[q->what.from - 1];
	uint64_t alone_ms = (uint64_t)q->what.jobs * JOB_MS * 1000 / MAX(from->cpu_milli, 1u);

	alone_ms = MAX(alone_ms, (uint64_t)JOB_MS);
	printf("%u jobs of %u s started on %s, %" PRIu64 " of them placed elsewhere, take %" PRIu64
	       ".%" PRIu64 " s; on %s alone %" PRIu64 ".%" PRIu64 " s\n",
	       q->what.jobs, JOB_MS / 1000, q->name[q->what.from - 1], r->placed_away,
	       took_ms / 1000, took_ms % 1000 / 100, q->name[q->what.from - 1], alone_ms / 1000,
	       alone_ms % 1000 / 100);
}

static void answer_print(const struct question *q, const struct capacity_result *r, bool json)
{
	uint64_t took_ms = q->what.jobs && r->last_end_ns ? r->last_end_ns / NS_PER_MS - 1000 : 0;

	if (json) {
		answer_json(q, r, took_ms);
		return;
	}
	printf("%-16s %8s %8s %8s %8s\n", "NODE", "CPUS", "NOW", "AT MOST", "THEN");
	for (uint32_t i = 0; i < q->count; i++) {
		printf("%-16s", q->name[i]);
		print_milli(q->now[i].cpu_milli, 8);
		print_milli(q->now[i].load_milli, 8);
		print_milli(r->node_most[i], 8);
		print_milli(r->node_load[i], 8);
		printf("%s\n", is_down(q, i, true) ? "  (down)" : i >= q->present ? "  (new)" : "");
	}
	print_sums(q, r);
	if (q->what.jobs)
		print_jobs(q, r, took_ms);
}

int sim_what_if(const struct sim_node *nodes, unsigned n, const char *what, bool json)
{
	struct question *q = calloc(1, sizeof(*q));
	struct capacity_result *r = calloc(1, sizeof(*r));
	struct workload none = { .cpu_milli = 1000 };
	int code = 1;

	if (!q || !r || n == 0)
		goto out;
	for (unsigned i = 0; i < n && i < CAPACITY_WHAT_NODES; i++) {
		q->now[i] = (struct sched_node){ .id = i + 1,
						 .closed = !nodes[i].alive,
						 .cpu_milli = nodes[i].cpu_milli,
						 .load_milli = nodes[i].load_milli,
						 .mem_bytes = nodes[i].mem_bytes,
						 .mem_free_bytes = nodes[i].mem_bytes };
		snprintf(q->name[i], sizeof(q->name[i]), "%.31s", nodes[i].name);
		q->count++;
	}
	q->present = q->count;
	code = question_parse(q, what);
	if (code == 0) {
		struct capacity_conf conf = { .seed = 1,
					      .nodes = q->count,
					      .run_ms = RUN_MS,
					      .policy = SCHED_HERE_FIRST,
					      .load = &none,
					      .start = q->now,
					      .what = q->what };

		/* Long queues end later: look on until the jobs have. */
		conf.run_ms += (uint64_t)q->what.jobs * JOB_MS;
		code = capacity_run(&conf, r) < 0;
		if (code == 0)
			answer_print(q, r, json);
	}
out:
	free(q);
	free(r);
	return code;
}
