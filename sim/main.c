/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `pando sim`. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mutant.h"
#include "sim/run.h"
#include "sim/sim.h"

const char sim_usage[] =
	"usage: pando sim [--seed S | --seeds A-B] [--nodes N] [--minutes M] [--calm]\n"
	"                 [--trace FILE] [--shrink] [--coverage] [--json]\n"
	"                 [--faults N,N...|none] [--break NAME] [--breaks]\n";

static const struct option options[] = {
	{ "seed", required_argument, NULL, 's' },   { "seeds", required_argument, NULL, 'S' },
	{ "nodes", required_argument, NULL, 'n' },  { "minutes", required_argument, NULL, 'm' },
	{ "trace", required_argument, NULL, 't' },  { "break", required_argument, NULL, 'b' },
	{ "faults", required_argument, NULL, 'f' }, { "shrink", no_argument, NULL, 'r' },
	{ "coverage", no_argument, NULL, 'c' },     { "json", no_argument, NULL, 'j' },
	{ "breaks", no_argument, NULL, 'B' },       { "calm", no_argument, NULL, 'C' },
	{ "help", no_argument, NULL, 'h' },         { NULL, 0, NULL, 0 },
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

static int parse(int argc, char **argv, struct run_opts *o)
{
	uint64_t v;
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			if (!number(optarg, 0, UINT64_MAX, &o->first))
				return 2;
			break;
		case 'S':
			if (!seeds(optarg, o))
				return 2;
			break;
		case 'n':
			if (!number(optarg, 2, SIM_NODES_MAX, &v))
				return 2;
			o->nodes = (unsigned)v;
			break;
		case 'm':
			if (!number(optarg, 1, 100000, &o->minutes))
				return 2;
			break;
		case 't':
			o->trace = optarg;
			break;
		case 'b':
			o->broken = optarg;
			break;
		case 'f':
			if (!faults(optarg, o))
				return 2;
			break;
		case 'r':
			o->shrink = true;
			break;
		case 'c':
			o->coverage = true;
			break;
		case 'j':
			o->json = true;
			break;
		case 'C':
			o->calm = true;
			break;
		case 'B':
			print_breaks();
			return -1;
		case 'h':
			fputs(sim_usage, stdout);
			return -1;
		default:
			fputs(sim_usage, stderr);
			return 2;
		}
	}
	return 0;
}

int sim_main(int argc, char **argv)
{
	struct run_opts o = { .first = 7, .nodes = RUN_NODES, .minutes = RUN_MINUTES };
	int r = parse(argc, argv, &o);

	if (r != 0)
		return r < 0 ? 0 : r;
	return run_all(&o);
}
