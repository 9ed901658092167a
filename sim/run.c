/* SPDX-License-Identifier: Apache-2.0 */
/* Runs, reports, shrinking: the front of the simulator. */
#include "sim/run.h"

#include "sim/link.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mutant.h"
#include "sim/sim.h"

/* A CHECK of a core is a violation too: it aborts a daemon, but not the hunt for the next seed. */
static sigjmp_buf aborted;

static void on_abort(int sig)
{
	(void)sig;
	siglongjmp(aborted, 1);
}

void run_guarded(struct sim *s)
{
	struct sigaction sa = { .sa_handler = on_abort, .sa_flags = SA_NODEFER }, old;

	sigaction(SIGABRT, &sa, &old);
	if (sigsetjmp(aborted, 1) == 0)
		sim_run(s);
	else
		world_violate(&s->w, "CHECK", "a core's own check failed, see above");
	sigaction(SIGABRT, &old, NULL);
}

struct sim *run_new(const struct run_opts *o, uint64_t seed, struct sim_cov *cov)
{
	struct sim_conf conf = { .seed = seed,
				 .nodes = o->nodes,
				 .run_ns = o->minutes * 60 * NS_PER_S,
				 .faults = !o->calm,
				 .procs_max = 12 * o->nodes,
				 .recount_events = 2000 };
	struct sim *s = sim_new(&conf, cov);

	for (uint32_t i = 0; i < s->fault_count && o->only; i++)
		s->faults[i].off = !o->only[i];
	return s;
}

struct sim_result sim_once(uint64_t seed, unsigned nodes, unsigned minutes)
{
	struct run_opts o = { .nodes = nodes, .minutes = minutes };
	struct sim *s = run_new(&o, seed, NULL);
	struct sim_result r = { 0 };

	run_guarded(s);
	r.hash = s->w.hash;
	r.events = s->w.stats.events;
	snprintf(r.violated, sizeof(r.violated), "%s", s->w.violation.name);
	snprintf(r.text, sizeof(r.text), "%s", s->w.violation.text);
	sim_free(s);
	return r;
}

static uint64_t real_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void print_replay(const struct run_opts *o, const struct sim *s)
{
	const char *sep = " --faults ";

	printf("replay: pando sim --seed %" PRIu64, s->conf.seed);
	if (o->nodes != RUN_NODES)
		printf(" --nodes %u", o->nodes);
	if (o->minutes != RUN_MINUTES)
		printf(" --minutes %" PRIu64, o->minutes);
	if (o->broken)
		printf(" --break %s", o->broken);
	if (o->calm)
		printf(" --calm");
	if (!o->only) {
		printf("\n");
		return;
	}
	for (uint32_t i = 0; i < s->fault_count; i++) {
		if (!s->faults[i].off) {
			printf("%s%u", sep, i);
			sep = ",";
		}
	}
	printf("%s\n", *sep == ',' ? "" : " --faults none");
}

static void print_violation(const struct run_opts *o, const struct sim *s)
{
	const struct world *w = &s->w;

	printf("VIOLATED %s at %" PRIu64 ".%06" PRIu64 " s: %s\n", w->violation.name,
	       w->violation.at_ns / NS_PER_S, w->violation.at_ns % NS_PER_S / NS_PER_US,
	       w->violation.text);
	printf("last events:\n");
	for (uint32_t i = 0; i < WORLD_RECENT; i++) {
		const struct world_recent *e = &w->recent[(w->recent_at + i) % WORLD_RECENT];

		if (e->name)
			printf("  %12.6f  n%-2u %-12s %" PRIu64 " %" PRIx64 "\n",
			       (double)e->at_ns / 1e9, e->node, e->name, e->a, e->b);
	}
	print_replay(o, s);
}

/* What a run takes, its history included; 0 where the allocator does not tell. */
static uint64_t heap_bytes(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static void print_json(const struct sim *s, uint64_t took_ns, uint64_t bytes)
{
	const struct sim_stats *t = &s->stats;

	printf("{\"seed\":%" PRIu64 ",\"nodes\":%u,\"hash\":\"%016" PRIx64 "\",\"events\":%" PRIu64
	       ",\"messages\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"repeated\":%" PRIu64
	       ",\"faults\":%" PRIu64 ",\"checks\":%" PRIu64 ",\"moves_asked\":%" PRIu64
	       ",\"moves_done\":%" PRIu64 ",\"births\":%" PRIu64 ",\"virtual_ns\":%" PRIu64
	       ",\"real_ns\":%" PRIu64 ",\"bytes_per_node\":%" PRIu64
	       ",\"violated\":\"%s\",\"text\":\"%s\"}\n",
	       s->conf.seed, s->conf.nodes, s->w.hash, s->w.stats.events, s->w.stats.messages,
	       s->w.stats.lost + s->w.stats.cut, s->w.stats.repeated, t->faults, s->w.stats.checks,
	       t->moves_asked, t->moves_done, t->births, s->w.now_ns, took_ns,
	       bytes / s->conf.nodes, s->w.violation.name, s->w.violation.text);
}

static void print_report(const struct sim *s, uint64_t took_ns)
{
	const struct sim_stats *t = &s->stats;
	const struct world_stats *w = &s->w.stats;

	printf("seed %" PRIu64 ": %u nodes, %" PRIu64 " virtual seconds in %" PRIu64 " ms\n",
	       s->conf.seed, s->conf.nodes, s->w.now_ns / NS_PER_S, took_ns / NS_PER_MS);
	printf("  events      %" PRIu64 " (%" PRIu64 " messages; %" PRIu64 " lost, %" PRIu64
	       " cut off, %" PRIu64 " repeated)\n",
	       w->events, w->messages, w->lost, w->cut, w->repeated);
	printf("  faults      %" PRIu64 ": %" PRIu64 " guest kernels, %" PRIu64
	       " pandods and %" PRIu64 " hosts died, %" PRIu64 " of the network, %" PRIu64
	       " of disks, %" PRIu64 " stalls, %" PRIu64 " handovers\n",
	       t->faults, t->kernel_deaths, t->pod_deaths, t->host_deaths, t->cuts, t->disk_faults,
	       t->stalls, t->handovers);
	printf("  leases      %" PRIu64 " nodes frozen, %" PRIu64 " ran out, %" PRIu64
	       " deaths announced, %" PRIu64 " fences, %" PRIu64 " blocks rebuilt\n",
	       t->frozen, t->lapsed, t->announced, t->fences, t->rebuilds);
	printf("  processes   %" PRIu64 " born, %" PRIu64 " ended, %" PRIu64 " waited for, %" PRIu64
	       " signals\n",
	       t->births, t->exits, t->waits, t->signals);
	printf("  moves       %" PRIu64 " asked, %" PRIu64 " done, %" PRIu64 " failed, %" PRIu64
	       " refused\n",
	       t->moves_asked, t->moves_done, t->moves_failed, t->moves_refused);
	printf("  memory      %" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64 " faults, %" PRIu64
	       " grants, %" PRIu64 " homes begun, %" PRIu64 " told lost\n",
	       t->mem_reads, t->mem_writes, t->page_faults, t->grants, t->recoveries, t->told_lost);
	printf("  channels    %s: %" PRIu64 " connections, %" PRIu64 " frames, %" PRIu64
	       " askings, %" PRIu64 " executed, %" PRIu64 " answered, %" PRIu64 " streams\n",
	       link_raw(s) ? "frames lost and reordered"
			   : "in order, and all daemons speak over them",
	       t->connections, t->frames, t->asked, t->executed, t->answered, t->streams);
	printf("  naming      %" PRIu64 " commands, %" PRIu64 " linearisable reads, %" PRIu64
	       " leaders; %" PRIu64 " frames and %" PRIu64 " snapshots on disk, %" PRIu64
	       " starts, %" PRIu64 " torn writes\n",
	       t->commands, t->reads, t->leaders, t->log_frames, t->log_snapshots, t->log_starts,
	       t->log_torn);
	printf("  gossip      %" PRIu64 " suspected, %" PRIu64 " called failed\n", t->suspected,
	       t->failed);
	printf("  loans       %" PRIu64 " asked or given back\n", t->loans);
	printf("  invariants  K1 K2 K3 K4 M0 M3 M4 A1-A4 C1-C4 G1 R1 R2 R4 L1 L2 N1-N7 Q1 S1-S6 D1 "
	       "D6 "
	       "D7 "
	       "P1: "
	       "%" PRIu64 " checks, %" PRIu64 " full recounts\n",
	       w->checks, t->recounts);
	printf("  hash        %016" PRIx64 "\n", s->w.hash);
}

static bool trace_failed(const struct run_opts *o, int err)
{
	if (err < 0)
		fprintf(stderr, "pando: cannot write %s: %s; try: --trace /tmp/sim.json\n",
			o->trace, strerror(-err));
	return err < 0;
}

static bool fails_alike(struct run_opts *o, uint64_t seed, const char *name)
{
	struct sim *s = run_new(o, seed, NULL);
	bool same;

	run_guarded(s);
	same = strcmp(s->w.violation.name, name) == 0;
	sim_free(s);
	return same;
}

/* Takes out runs of faults, halving them (delta debugging, Zeller 1999), as long as it fails. */
static void run_shrink(struct run_opts *o, uint64_t seed, const char *name, uint32_t count)
{
	static bool keep[SIM_FAULTS_MAX];
	uint32_t left = 0;

	for (uint32_t i = 0; i < count; i++)
		keep[i] = o->only ? o->only[i] : true;
	o->only = keep;
	for (uint32_t size = count / 2 ? count / 2 : 1; size > 0; size /= 2) {
		for (uint32_t at = 0; at < count; at += size) {
			bool was[SIM_FAULTS_MAX], any = false;

			memcpy(was, keep, sizeof(was));
			for (uint32_t i = at; i < at + size && i < count; i++) {
				any |= keep[i];
				keep[i] = false;
			}
			if (any && !fails_alike(o, seed, name))
				memcpy(keep, was, sizeof(was));
		}
	}
	for (uint32_t i = 0; i < count; i++)
		left += keep[i];
	printf("shrunk: %u of %u faults are enough\n", left, count);
}

static void print_faults(const struct sim *s)
{
	for (uint32_t i = 0; i < s->fault_count; i++) {
		const struct fault *f = &s->faults[i];

		if (!f->off)
			printf("  fault %-4u %10.3f s  %-8s n%u n%u, %" PRIu64 " ms, %u\n", i,
			       (double)f->at_ns / 1e9, fault_name(f->kind), f->node, f->other,
			       f->for_ns / NS_PER_MS, f->n);
	}
}

static int run_one(struct run_opts *o, uint64_t seed, struct sim_cov *cov)
{
	uint64_t t0 = real_ns(), heap = heap_bytes();
	struct sim *s = run_new(o, seed, cov);
	uint32_t count = s->fault_count;
	char name[24];
	int code;

	if (o->trace && trace_failed(o, world_timeline_open(&s->w, o->trace, s->conf.nodes))) {
		sim_free(s);
		return 1;
	}
	run_guarded(s);
	code = trace_failed(o, world_timeline_close(&s->w));
	if (o->json)
		print_json(s, real_ns() - t0, heap_bytes() - heap);
	else if (!o->terse)
		print_report(s, real_ns() - t0);
	if (s->w.violation.name[0] && !o->json && !o->terse)
		print_violation(o, s);
	snprintf(name, sizeof(name), "%s", s->w.violation.name);
	code |= name[0] != 0;
	if (name[0] && o->terse)
		printf("seed %" PRIu64 ": VIOLATED %s: %s\n", seed, name, s->w.violation.text);
	sim_free(s);
	if (name[0] && o->shrink) {
		run_shrink(o, seed, name, count);
		s = run_new(o, seed, NULL);
		run_guarded(s);
		print_faults(s);
		print_violation(o, s);
		sim_free(s);
	}
	return code;
}

int run_all(struct run_opts *o)
{
	struct sim_cov *cov = calloc(1, sizeof(*cov));
	int code;

	if (!cov)
		return 1;
	if (!mutant_select(o->broken)) {
		fprintf(stderr,
			"pando: cannot break %s: this build has no such broken variant; "
			"try: make MUTANTS=1 && build/gcc-mutants/bin/pando sim --breaks\n",
			o->broken);
		free(cov);
		return 2;
	}
	code = o->last ? run_seeds(o, cov) : run_one(o, o->first, cov);
	if (o->coverage)
		coverage_print(cov);
	free(cov);
	return code;
}
