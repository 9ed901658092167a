/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sim/link.h"
#include "sim/memory.h"

#define QUIET_NS  (180 * NS_PER_S) /* longest fault, a lease, a boot, and every repetition */
#define SETTLE_NS (5 * NS_PER_S)

struct proc *sim_proc(struct sim *s, gpid pid)
{
	int32_t i;

	if (pid <= 1 || (uint32_t)pid >= SIM_BLOCKS_MAX * NAMING_BLOCK_PIDS)
		return NULL;
	i = s->proc_of[pid];
	return i < 0 ? NULL : &s->procs[i];
}

struct sim *sim_new(const struct sim_conf *conf, struct sim_cov *cov)
{
	struct sim *s = calloc(1, sizeof(*s));
	size_t pids = (size_t)SIM_BLOCKS_MAX * NAMING_BLOCK_PIDS;

	CHECK(s != NULL);
	s->conf = *conf;
	s->cov = cov;
	s->mig = mig_conf_default;
	s->lease = lease_conf_default;
	s->oracle = oracle_new();
	s->disks = disks_new();
	world_init(&s->w, conf->seed);
	s->w.user = s;
	s->w.loss_ppm = conf->faults ? 5000 : 0;
	s->w.repeat_ppm = conf->faults ? 10000 : 0;
	s->w.slow_ppm = conf->faults ? 3000 : 0;
	s->proc_of = malloc(pids * sizeof(*s->proc_of));
	CHECK(s->proc_of != NULL);
	memset(s->proc_of, 0xff, pids * sizeof(*s->proc_of));
	for (node_id id = 1; id <= conf->nodes; id++) {
		s->nodes[id].id = id;
		s->nodes[id].fault = -1;
		s->nodes[id].tombs = calloc(SIM_PROCS_MAX, sizeof(struct tomb));
		s->nodes[id].mem = calloc(1, sizeof(struct memory));
		CHECK(s->nodes[id].tombs != NULL && s->nodes[id].mem != NULL);
	}
	s->memory = calloc((MEM_REGIONS + 1) * MEM_PAGES, sizeof(*s->memory));
	CHECK(s->memory != NULL);
	s->links = links_new(s);
	s->calls = calls_new(s);
	fault_plan(s);
	return s;
}

static void run_until(struct sim *s, uint64_t until_ns)
{
	uint64_t next = s->w.stats.events + s->conf.recount_events;

	while (world_step(&s->w, until_ns)) {
		if (s->w.stats.events >= next) {
			next += s->conf.recount_events;
			check_recount(s);
		}
	}
}

void sim_begin(struct sim *s)
{
	for (node_id id = 1; id <= s->conf.nodes; id++)
		pod_boot(s, &s->nodes[id]);
	registry_start(s);
	registry_programs(s);
	people_start(s);
	load_start(s);
	fault_start(s);
}

void sim_run(struct sim *s)
{
	sim_begin(s);
	run_until(s, s->conf.run_ns);
	s->quiet = true;
	fault_heal(s);
	run_until(s, s->conf.run_ns + QUIET_NS - SETTLE_NS);
	s->settled = check_applied_first(s);
	run_until(s, s->conf.run_ns + QUIET_NS);
	if (!s->w.violation.name[0])
		check_end(s);
}

void sim_free(struct sim *s)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		struct knode *n = &s->nodes[id];

		host_fini(&n->host);
		name_stop(n);
		gossip_stop(n);
		for (uint32_t i = 0; i < ECHO_MAX; i++)
			world_put(n->echo.kept[i]);
		free(n->tombs);
		free(n->mem);
		for (uint32_t b = 0; b < SIM_BLOCKS_MAX; b++) {
			free(n->auth[b]);
			free(n->kept[b]);
		}
	}
	links_free(s);
	calls_free(s->calls);
	world_fini(&s->w);
	oracle_free(s->oracle);
	disks_free(s->disks);
	free(s->memory);
	free(s->proc_of);
	free(s);
}
