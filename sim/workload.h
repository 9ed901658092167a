/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload.h - what programs arrive, for capacity questions. A small text format:
 *
 *	# comment
 *	node 8000 32G                     CPU (thousandths of a core) and memory of a node
 *	shape 20 60 100 100 80 60         per cent of the arrivals, over equal parts of the run
 *	class NAME 600/h burst 4 life exp 20s cpu 100 mem 50M stay 5
 *
 * A class arrives so often per node and hour, each time with `burst` programs at
 * once (1). Lifetimes, with a CPU of its own: `fixed T`, `uniform A B`, `exp MEAN`,
 * `heavy MIN MAX` (a bounded Pareto distribution of shape 1: most are short, the
 * sum is in the long ones). T is a number with ms, s or m. `cpu` is what it uses
 * while it lives, `mem` its memory, `stay` the per cent that must stay where they
 * were started (they share memory, or a terminal). Integers all the way.
 */
#ifndef SIM_WORKLOAD_H
#define SIM_WORKLOAD_H

#include "base/attr.h"
#include "base/rand.h"
#include "base/types.h"

#define WORKLOAD_CLASSES 8
#define WORKLOAD_SHAPE   48

enum life_kind {
	LIFE_FIXED = 1,
	LIFE_UNIFORM,
	LIFE_EXP,
	LIFE_HEAVY,
};

struct workload_class {
	char name[24];
	uint32_t per_hour; /* and node */
	uint32_t burst;
	enum life_kind life;
	uint64_t a_ms, b_ms;
	uint32_t cpu_milli;
	uint32_t stay; /* per cent */
	uint64_t mem_bytes;
};

struct workload {
	char name[32];
	bool shipped;
	uint32_t cpu_milli;
	uint64_t mem_bytes;
	uint32_t shape[WORKLOAD_SHAPE]; /* per cent */
	uint32_t shape_count;
	struct workload_class classes[WORKLOAD_CLASSES];
	uint32_t class_count;
};

/*
 * A file, or the name of a shipped one (timeshare, buildfarm, requests).
 * Errors: -errno; -EINVAL with a message on standard error that names the line.
 */
must_check int workload_load(struct workload *w, const char *name);

/* The text of a shipped one, or NULL. */
const char *workload_text(const char *name);

uint64_t workload_life_ms(const struct workload_class *c, struct rand *r);
/* Mean of -log(u) is 1024: a time between two events of a Poisson process. */
uint64_t workload_exp(uint64_t mean, struct rand *r);

#endif
