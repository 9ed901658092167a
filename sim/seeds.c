/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seeds.c - many seeds, shared among processes.
 *
 * A seed's run knows nothing of another's, so worker k of n takes each n-th seed and writes its
 * results into a pipe, in order; the parent reads one from each in turn. What is printed, and the
 * hash, are thus those of a single process.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/attr.h"
#include "sim/run.h"

struct worker {
	pid_t pid; /* 0: none */
	FILE *from;
};

struct outcome {
	uint64_t hash;
	char name[sizeof(((struct sim *)0)->w.violation.name)];
	char text[sizeof(((struct sim *)0)->w.violation.text)];
};

_Static_assert(sizeof(struct sim_cov) % sizeof(uint64_t) == 0, "coverage is counters of 64 bits");

static uint64_t real_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / NS_PER_MS;
}

static struct outcome run_seed(const struct run_opts *o, uint64_t seed, struct sim_cov *cov)
{
	struct sim *s = run_new(o, seed, cov);
	struct outcome out = { 0 };

	run_guarded(s);
	out.hash = s->w.hash;
	memcpy(out.name, s->w.violation.name, sizeof(out.name));
	memcpy(out.text, s->w.violation.text, sizeof(out.text));
	sim_free(s);
	return out;
}

/* Never returns. */
static void work(const struct run_opts *o, uint64_t first, unsigned step, int fd)
{
	struct sim_cov *cov = calloc(1, sizeof(*cov));
	FILE *to = fdopen(fd, "w");

	if (!cov || !to)
		_exit(1);
	for (uint64_t seed = first; seed <= o->last; seed += step) {
		struct outcome out = run_seed(o, seed, cov);

		if (fwrite(&out, sizeof(out), 1, to) != 1 || fflush(to) != 0)
			_exit(1);
	}
	_exit(fwrite(cov, sizeof(*cov), 1, to) != 1 || fflush(to) != 0);
}

static int start(struct worker *w, const struct run_opts *o, unsigned k, unsigned jobs)
{
	int p[2], err;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	w->from = fdopen(p[0], "r");
	w->pid = w->from ? fork() : -1;
	if (w->pid == 0)
		work(o, o->first + k, jobs, p[1]);
	err = errno;
	(void)close(p[1]);
	if (w->pid > 0)
		return 0;
	w->pid = 0;
	return -err;
}

static void stop(struct worker *w)
{
	if (w->from)
		(void)fclose(w->from);
	if (w->pid > 0) {
		(void)kill(w->pid, SIGKILL);
		(void)waitpid(w->pid, NULL, 0);
	}
}

/* What became of a worker that has written less than it should. */
static void mourn(struct worker *w, uint64_t seed)
{
	int status = 0;

	(void)waitpid(w->pid, &status, 0);
	w->pid = 0;
	if (WIFSIGNALED(status))
		printf("seed %" PRIu64 ": DIED of signal %d\n", seed, WTERMSIG(status));
	else
		printf("seed %" PRIu64 ": DIED, exit status %d\n", seed, WEXITSTATUS(status));
}

static bool add_coverage(const struct worker *w, struct sim_cov *cov)
{
	struct sim_cov part;
	const uint64_t *from = (const uint64_t *)(const void *)&part;
	uint64_t *to = (uint64_t *)(void *)cov;

	if (fread(&part, sizeof(part), 1, w->from) != 1)
		return false;
	for (size_t i = 0; i < sizeof(part) / sizeof(*to); i++)
		to[i] += from[i];
	return true;
}

static int gather(struct worker *ws, unsigned jobs, const struct run_opts *o, struct sim_cov *cov)
{
	uint64_t t0 = real_ms(), hash = 0, bad = 0, n = 0;
	struct outcome out;

	for (uint64_t seed = o->first; seed <= o->last && !(bad && o->broken); seed++, n++) {
		struct worker *w = &ws[n % jobs];

		if (fread(&out, sizeof(out), 1, w->from) != 1) {
			mourn(w, seed);
			return 1;
		}
		hash = (hash ^ out.hash) * UINT64_C(0x100000001b3);
		if (!out.name[0])
			continue;
		bad++;
		printf("seed %" PRIu64 ": VIOLATED %s: %s\n", seed, out.name, out.text);
		(void)fflush(stdout);
	}
	for (unsigned k = 0; k < jobs && !(bad && o->broken); k++) {
		if (!add_coverage(&ws[k], cov)) {
			mourn(&ws[k], o->last);
			return 1;
		}
	}
	printf("%" PRIu64 " seeds, %" PRIu64 " violated, %" PRIu64 " ms, hash %016" PRIx64 "\n", n,
	       bad, real_ms() - t0, hash);
	return bad != 0;
}

/* As asked, or one for each processor; never more than there are seeds. */
static unsigned count_jobs(const struct run_opts *o)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t jobs = o->jobs ? o->jobs : (uint64_t)MAX(cpus, 1L);

	jobs = MIN(jobs, (uint64_t)RUN_JOBS_MAX);
	jobs = MIN(jobs, o->last - o->first + 1);
	return (unsigned)MAX(jobs, UINT64_C(1));
}

int run_seeds(const struct run_opts *o, struct sim_cov *cov)
{
	struct worker ws[RUN_JOBS_MAX] = { 0 };
	unsigned jobs = count_jobs(o);
	int r = 0, code = 1;

	(void)fflush(NULL);
	for (unsigned k = 0; k < jobs && r == 0; k++)
		r = start(&ws[k], o, k, jobs);
	if (r < 0)
		fprintf(stderr, "pando: cannot simulate in %u processes: %s; try: --jobs 1\n", jobs,
			strerror(-r));
	else
		code = gather(ws, jobs, o, cov);
	for (unsigned k = 0; k < jobs; k++)
		stop(&ws[k]);
	return code;
}
