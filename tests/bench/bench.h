/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h - what every bench prints: one row per path, ours against a reference measured in the
 * same run on the same machine. tests/bench.sh makes the table. Header only.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <stdio.h>
#include <stdlib.h>

#include "base/attr.h"

static inline int bench_cmp(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The median of @n values, which it sorts. */
static inline double bench_median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), bench_cmp);
	return v[n / 2];
}

/* Smaller is better (times): over when ours / reference > budget. No spaces in names and units. */
static inline void bench_row_max(const char *name, const char *unit, double ours, double reference,
				 double budget)
{
	double ratio = ours / reference;

	printf("row %s %s %.4g %.4g %.2f <=%.2f %s\n", name, unit, ours, reference, ratio, budget,
	       ratio <= budget ? "ok" : "over");
	(void)fflush(stdout);
}

/* Greater is better (rates): under budget when ours / reference < budget. */
static inline void bench_row_min(const char *name, const char *unit, double ours, double reference,
				 double budget)
{
	double ratio = ours / reference;

	printf("row %s %s %.4g %.4g %.2f >=%.2f %s\n", name, unit, ours, reference, ratio, budget,
	       ratio >= budget ? "ok" : "over");
	(void)fflush(stdout);
}

#endif
