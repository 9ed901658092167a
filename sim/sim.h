/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - the simulated world, for `pando sim` and tests.
 *
 * Prints to standard output, errors to standard error. One thread. The same seed
 * and options give the same report, hash included, on any machine.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

/* `pando sim ...`: @argv[0] is "sim". Returns the exit code: 0 clean, 1 a violation, 2 usage. */
int sim_main(int argc, char **argv);

/* The options, for whoever prints help; ends with a NULL name. */
struct sim_option {
	const char *name;
	const char *arg; /* NULL: a flag */
	const char *help;
};
#define SIM_OPTIONS 32
extern const struct sim_option sim_options[SIM_OPTIONS];

struct sim_node {
	char name[32];
	bool alive;
	unsigned cpu_milli, load_milli;
	uint64_t mem_bytes;
};

/*
 * Prints what would become of @nodes: @what is "kill NAME", "add N nodes" or
 * "make -jN" (N compilers of ten seconds, started on the first live node).
 * Returns an exit code: 0, 2 not understood, 3 no such node.
 */
int sim_what_if(const struct sim_node *nodes, unsigned n, const char *what, bool json);

struct sim_result {
	uint64_t hash;
	uint64_t events;
	char violated[24]; /* name of the broken invariant, or "" */
	char text[200];
};

/* One run of @nodes for @minutes of virtual time, silently. */
struct sim_result sim_once(uint64_t seed, unsigned nodes, unsigned minutes);

#endif
