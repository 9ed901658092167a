/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `pando sim`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mutant.h"
#include "sim/run.h"
#include "sim/sim.h"

const struct sim_option sim_options[SIM_OPTIONS] = {
	{ "seed", "S", "one run, with a report (7)" },
	{ "seeds", "A-B", "a run for each seed, one line for each violation" },
	{ "jobs", "N", "processes that share the seeds (one for each processor)" },
	{ "nodes", "N", "nodes (5); with --workload as many as you like" },
	{ "minutes", "M", "virtual minutes of a run (10)" },
	{ "calm", NULL, "no faults, a perfect network" },
	{ "faults", "LIST", "only these faults of the plan (numbers, commas), or none" },
	{ "shrink", NULL, "after a violation: find a smaller fault plan that still fails" },
	{ "trace", "FILE", "write a timeline for ui.perfetto.dev" },
	{ "coverage", NULL, "which states and events the cores were driven through" },
	{ "break", "NAME", "with a broken variant of a core (build with MUTANTS=1)" },
	{ "breaks", NULL, "list the broken variants of this build" },
	{ "workload", "FILE", "capacity: a workload file, or timeshare, buildfarm, requests" },
	{ "show", "NAME", "print one of these, to write another from: # says what a line means" },
	{ "hours", "H", "capacity: virtual hours (1)" },
	{ "compare", "P,P", "capacity: two of here-first local least-loaded two-choices random" },
	{ "plot", "FILE", "capacity: charts as an HTML file" },
	{ "json", NULL, "print JSON" },
	{ 0 },
};

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	char *end;

	*out = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && *end == 0 && *out >= min && *out <= max)
		return true;
	fprintf(stderr,
		"pando: cannot simulate with '%s': not a number from %llu to %llu; try: "
		"pando sim --help\n",
		text, (unsigned long long)min, (unsigned long long)max);
	return false;
}

static bool seeds(char *text, struct run_opts *o)
{
	char *dash = strchr(text, '-');

	if (!dash) {
		fprintf(stderr, "pando: cannot simulate seeds '%s': want A-B; try: --seeds 1-200\n",
			text);
		return false;
	}
	*dash = 0;
	return number(text, 1, UINT32_MAX, &o->first) &&
	       number(dash + 1, o->first, UINT32_MAX, &o->last);
}

static bool faults(char *text, struct run_opts *o)
{
	static bool keep[SIM_FAULTS_MAX];
	uint64_t i;

	memset(keep, 0, sizeof(keep));
	o->only = keep;
	if (strcmp(text, "none") == 0)
		return true;
	for (char *t = strtok(text, ","); t; t = strtok(NULL, ",")) {
		if (!number(t, 0, SIM_FAULTS_MAX - 1, &i))
			return false;
		keep[i] = true;
	}
	return true;
}

static void print_breaks(void)
{
	const char *last = "";

	for (size_t i = 0; mutant_name(i); i++) {
		if (strcmp(mutant_name(i), last) != 0)
			printf("%s\n", mutant_name(i));
		last = mutant_name(i);
	}
}

static int usage(const char *word)
{
	fprintf(stderr, "pando: cannot simulate: unknown option '%s'; try: pando sim --help\n",
		word);
	return 2;
}

static bool apply_value(struct run_opts *o, const char *name, char *value)
{
	uint64_t v;

	if (strcmp(name, "seed") == 0)
		return number(value, 0, UINT64_MAX, &o->first);
	if (strcmp(name, "seeds") == 0)
		return seeds(value, o);
	if (strcmp(name, "minutes") == 0)
		return number(value, 1, 100000, &o->minutes);
	if (strcmp(name, "faults") == 0)
		return faults(value, o);
	if (strcmp(name, "nodes") == 0) {
		if (!number(value, 2, 1000000, &v))
			return false;
		o->nodes = (unsigned)v;
	} else if (strcmp(name, "jobs") == 0) {
		if (!number(value, 1, RUN_JOBS_MAX, &v))
			return false;
		o->jobs = (unsigned)v;
	} else if (strcmp(name, "hours") == 0) {
		return number(value, 1, 10000, &o->hours);
	} else if (strcmp(name, "workload") == 0) {
		o->workload = value;
	} else if (strcmp(name, "compare") == 0) {
		o->compare = value;
	} else if (strcmp(name, "show") == 0) {
		o->show = value;
	} else if (strcmp(name, "plot") == 0) {
		o->plot = value;
	} else if (strcmp(name, "trace") == 0) {
		o->trace = value;
	} else if (strcmp(name, "break") == 0) {
		o->broken = value;
	}
	return true;
}

static void apply_flag(struct run_opts *o, const char *name)
{
	o->shrink |= strcmp(name, "shrink") == 0;
	o->coverage |= strcmp(name, "coverage") == 0;
	o->json |= strcmp(name, "json") == 0;
	o->calm |= strcmp(name, "calm") == 0;
	o->list_breaks |= strcmp(name, "breaks") == 0;
}

static const struct sim_option *option_find(const char *word)
{
	for (const struct sim_option *s = sim_options; s->name; s++) {
		if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, s->name) == 0)
			return s;
	}
	return NULL;
}

static int parse(int argc, char **argv, struct run_opts *o)
{
	for (int i = 1; i < argc; i++) {
		const struct sim_option *opt = option_find(argv[i]);

		if (!opt || (opt->arg && i + 1 == argc))
			return usage(argv[i]);
		if (!opt->arg)
			apply_flag(o, opt->name);
		else if (!apply_value(o, opt->name, argv[++i]))
			return 2;
	}
	return 0;
}

int sim_main(int argc, char **argv)
{
	struct run_opts o = { .first = 7, .nodes = RUN_NODES, .minutes = RUN_MINUTES, .hours = 1 };
	int r = parse(argc, argv, &o);

	if (r != 0)
		return r;
	if (o.list_breaks) {
		print_breaks();
		return 0;
	}
	if (o.show)
		return plan_show(o.show);
	if (!o.workload && (o.compare || o.plot))
		o.workload = "timeshare";
	if (o.workload)
		return plan_all(&o);
	if (o.nodes > SIM_NODES_MAX) {
		fprintf(stderr,
			"pando: cannot simulate the protocols of %u nodes: at most %u; "
			"try: pando sim --nodes %u --workload timeshare\n",
			o.nodes, SIM_NODES_MAX, o.nodes);
		return 2;
	}
	return run_all(&o);
}
