/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which (state, event) pairs the cores were driven through, and in which states of a move the
 * guest kernel died. The universe is what a core accepts (returns 0 for): listed here by hand.
 */
#include <stdio.h>

#include "sim/memory.h"
#include "sim/coverage.h"
#include "sim/run.h"

#define MSG(m)  (MIG_EV_COUNT + (m))
#define DMSG(m) (COV_DSM_MSG + (m))

static const struct cov_pair source_pairs[] = {
	{ MIG_S_IDLE, MIG_EV_START },           { MIG_S_ASKING, MSG(MIG_RECORD) },
	{ MIG_S_ASKING, MIG_EV_TICK },          { MIG_S_ASKING, MIG_EV_NODE_DEAD },
	{ MIG_S_ASKING, MIG_EV_AUTHORITY },     { MIG_S_ASKING, MIG_EV_EXIT },
	{ MIG_S_PREPARING, MSG(MIG_PREPARED) }, { MIG_S_PREPARING, MSG(MIG_DROPPED) },
	{ MIG_S_PREPARING, MIG_EV_TICK },       { MIG_S_PREPARING, MIG_EV_NODE_DEAD },
	{ MIG_S_PREPARING, MIG_EV_AUTHORITY },  { MIG_S_PREPARING, MIG_EV_EXIT },
	{ MIG_S_FREEZING, MIG_EV_FROZEN },      { MIG_S_FREEZING, MIG_EV_FREEZE_FAILED },
	{ MIG_S_FREEZING, MIG_EV_NODE_DEAD },   { MIG_S_FREEZING, MIG_EV_AUTHORITY },
	{ MIG_S_FREEZING, MIG_EV_EXIT },        { MIG_S_HANDED, MIG_EV_CANCEL },
	{ MIG_S_HANDED, MIG_EV_IMAGE_FAILED },  { MIG_S_HANDED, MIG_EV_TICK },
	{ MIG_S_HANDED, MSG(MIG_RESUMED) },     { MIG_S_HANDED, MSG(MIG_DROPPED) },
	{ MIG_S_HANDED, MSG(MIG_DRAINED) },     { MIG_S_HANDED, MIG_EV_NODE_DEAD },
	{ MIG_S_HANDED, MIG_EV_AUTHORITY },     { MIG_S_HANDED, MIG_EV_ELSEWHERE },
	{ MIG_S_CLAIMING, MIG_EV_ELSEWHERE },   { MIG_S_DRAINING, MIG_EV_ELSEWHERE },
	{ MIG_S_CLAIMING, MSG(MIG_RECORD) },    { MIG_S_CLAIMING, MSG(MIG_RESUMED) },
	{ MIG_S_CLAIMING, MSG(MIG_DRAINED) },   { MIG_S_CLAIMING, MIG_EV_TICK },
	{ MIG_S_CLAIMING, MIG_EV_NODE_DEAD },   { MIG_S_CLAIMING, MIG_EV_AUTHORITY },
	{ MIG_S_DRAINING, MSG(MIG_DRAINED) },   { MIG_S_DRAINING, MIG_EV_NODE_DEAD },
	{ MIG_S_RELEASING, MIG_EV_RELEASED },   { MIG_S_RELEASED, MSG(MIG_FORGET) },
	{ MIG_S_RELEASED, MSG(MIG_DRAINED) },   { MIG_S_RELEASED, MIG_EV_TICK },
	{ MIG_S_RELEASED, MIG_EV_NODE_DEAD },
};

static const struct cov_pair target_pairs[] = {
	{ MIG_T_IDLE, MIG_EV_START },
	{ MIG_T_BUILDING, MIG_EV_BUILT },
	{ MIG_T_BUILDING, MIG_EV_BUILD_FAILED },
	{ MIG_T_READY, MSG(MIG_PREPARE) },
	{ MIG_T_READY, MSG(MIG_ABORT) },
	{ MIG_T_READY, MIG_EV_LOADED },
	{ MIG_T_READY, MIG_EV_LOAD_FAILED },
	{ MIG_T_READY, MIG_EV_TICK },
	{ MIG_T_READY, MIG_EV_NODE_DEAD },
	{ MIG_T_READY, MIG_EV_AUTHORITY },
	{ MIG_T_CLAIMING, MSG(MIG_RECORD) },
	{ MIG_T_CLAIMING, MIG_EV_TICK },
	{ MIG_T_CLAIMING, MIG_EV_NODE_DEAD },
	{ MIG_T_CLAIMING, MIG_EV_AUTHORITY },
	{ MIG_T_CLAIMING, MIG_EV_ELSEWHERE },
	{ MIG_T_READY, MIG_EV_ELSEWHERE },
	{ MIG_T_BUILDING, MIG_EV_ELSEWHERE },
	{ MIG_T_BUILDING, MIG_EV_CANCEL },
	{ MIG_T_READY, MIG_EV_CANCEL },
	{ MIG_T_PULLING, MIG_EV_PULLED },
	{ MIG_T_PULLING, MIG_EV_EXIT },
	{ MIG_T_PULLING, MIG_EV_NODE_DEAD },
	{ MIG_T_PULLING, MIG_EV_AUTHORITY },
	{ MIG_T_DRAINED, MSG(MIG_RELEASED) },
	{ MIG_T_DRAINED, MIG_EV_TICK },
	{ MIG_T_DRAINED, MIG_EV_NODE_DEAD },
	{ MIG_T_DRAINED, MIG_EV_EXIT },
};

static const struct cov_pair auth_pairs[] = {
	{ MIG_A_SERVING, MIG_READ },     { MIG_A_SERVING, MIG_CLAIM },
	{ MIG_A_SERVING, MIG_GONE },     { MIG_A_SERVING, MIG_FENCE },
	{ MIG_A_REBUILDING, MIG_STAND }, { MIG_A_REBUILDING, MIG_FENCE },
};

/*
 * What the page's sharer accepts. Not here: faults on what is held (a successor maps it before
 * anybody can fault), SETTLED and TIMER for a writer (a grant settles what was kept).
 */
#define PAGE(hold, waits) ((hold)*2 + (waits))
static const struct cov_pair page_pairs[] = {
	{ PAGE(DSM_INVALID, 0), DSM_PAGE_FAULT_READ },
	{ PAGE(DSM_INVALID, 0), DSM_PAGE_FAULT_WRITE },
	{ PAGE(DSM_INVALID, 0), DMSG(DSM_INVAL) },
	{ PAGE(DSM_INVALID, 0), DMSG(DSM_DOWNGRADE) },
	{ PAGE(DSM_INVALID, 0), DMSG(DSM_SETTLED) },
	{ PAGE(DSM_INVALID, 0), DMSG(DSM_RECOVER) },
	{ PAGE(DSM_INVALID, 0), DSM_PAGE_TIMER },
	{ PAGE(DSM_INVALID, 1), DSM_PAGE_FAULT_READ },
	{ PAGE(DSM_INVALID, 1), DSM_PAGE_FAULT_WRITE },
	{ PAGE(DSM_INVALID, 1), DMSG(DSM_GRANT_READ) },
	{ PAGE(DSM_INVALID, 1), DMSG(DSM_GRANT_WRITE) },
	{ PAGE(DSM_INVALID, 1), DMSG(DSM_RETRY) },
	{ PAGE(DSM_INVALID, 1), DMSG(DSM_INVAL) },
	{ PAGE(DSM_INVALID, 1), DMSG(DSM_DOWNGRADE) },
	{ PAGE(DSM_INVALID, 1), DMSG(DSM_SETTLED) },
	{ PAGE(DSM_INVALID, 1), DMSG(DSM_RECOVER) },
	{ PAGE(DSM_INVALID, 1), DSM_PAGE_TIMER },
	{ PAGE(DSM_READ, 0), DSM_PAGE_FAULT_WRITE },
	{ PAGE(DSM_READ, 0), DMSG(DSM_INVAL) },
	{ PAGE(DSM_READ, 0), DMSG(DSM_DOWNGRADE) },
	{ PAGE(DSM_READ, 0), DMSG(DSM_SETTLED) },
	{ PAGE(DSM_READ, 0), DMSG(DSM_RECOVER) },
	{ PAGE(DSM_READ, 0), DSM_PAGE_TIMER },
	{ PAGE(DSM_READ, 1), DSM_PAGE_FAULT_WRITE },
	{ PAGE(DSM_READ, 1), DMSG(DSM_GRANT_WRITE) },
	{ PAGE(DSM_READ, 1), DMSG(DSM_RETRY) },
	{ PAGE(DSM_READ, 1), DMSG(DSM_INVAL) },
	{ PAGE(DSM_READ, 1), DMSG(DSM_DOWNGRADE) },
	{ PAGE(DSM_READ, 1), DMSG(DSM_SETTLED) },
	{ PAGE(DSM_READ, 1), DMSG(DSM_RECOVER) },
	{ PAGE(DSM_READ, 1), DSM_PAGE_TIMER },
	{ PAGE(DSM_WRITE, 0), DMSG(DSM_INVAL) },
	{ PAGE(DSM_WRITE, 0), DMSG(DSM_DOWNGRADE) },
	{ PAGE(DSM_WRITE, 0), DMSG(DSM_RECOVER) },
};

static const struct cov_pair dir_pairs[] = {
	{ DSM_DIR_IDLE, DMSG(DSM_REQ_READ) },
	{ DSM_DIR_IDLE, DMSG(DSM_REQ_WRITE) },
	{ DSM_DIR_IDLE, DMSG(DSM_ACK) },
	{ DSM_DIR_IDLE, DMSG(DSM_REPORT) },
	{ DSM_DIR_IDLE, DSM_DIR_GONE },
	{ DSM_DIR_COLLECTING, DMSG(DSM_REQ_READ) },
	{ DSM_DIR_COLLECTING, DMSG(DSM_REQ_WRITE) },
	{ DSM_DIR_COLLECTING, DMSG(DSM_ACK) },
	{ DSM_DIR_COLLECTING, DMSG(DSM_REPORT) },
	{ DSM_DIR_COLLECTING, DSM_DIR_GONE },
	{ DSM_DIR_COLLECTING, DSM_DIR_TIMER },
	{ DSM_DIR_RECOVERING, DMSG(DSM_REQ_READ) },
	{ DSM_DIR_RECOVERING, DMSG(DSM_REQ_WRITE) },
	{ DSM_DIR_RECOVERING, DMSG(DSM_ACK) },
	{ DSM_DIR_RECOVERING, DMSG(DSM_REPORT) },
	{ DSM_DIR_RECOVERING, DSM_DIR_GONE },
	{ DSM_DIR_RECOVERING, DSM_DIR_TIMER },
};

static const char *dsm_event(bool page, uint32_t e)
{
	static const char *const msgs[] = { "?",      "req-read",   "req-write",   "ack",
					    "report", "grant-read", "grant-write", "retry",
					    "inval",  "downgrade",  "settled",     "recover" };
	static const char *const pages[] = { "?", "fault-read", "fault-write", "?", "timer" };
	static const char *const dirs[] = { "?", "?", "gone", "timer", "?" };

	return e >= COV_DSM_MSG ? msgs[e - COV_DSM_MSG] : page ? pages[e] : dirs[e];
}

static const char *event_name(uint32_t e)
{
	return e < MIG_EV_COUNT ? migrate_ev_name(e) : migrate_msg_name(e - MIG_EV_COUNT);
}

void cov_tally(struct cov_tally *t, uint64_t count, const char *core, const char *state,
	       const char *event)
{
	t->all++;
	t->hit += count > 0;
	if (count == 0)
		printf("  not reached: %s %s + %s\n", core, state, event);
}

static const struct cov_pair rpc_pairs[] = {
	{ RPC_AT_NONE, RPC_FR_HELLO },   { RPC_AT_OPEN, RPC_FR_HELLO },
	{ RPC_AT_NONE, RPC_FR_REQUEST }, { RPC_AT_RUNNING, RPC_FR_REQUEST },
	{ RPC_AT_KEPT, RPC_FR_REQUEST }, { RPC_AT_SENT, RPC_FR_REPLY },
	{ RPC_AT_NONE, RPC_FR_REPLY },   { RPC_AT_SENT, RPC_FR_REFUSED },
	{ RPC_AT_NONE, RPC_FR_REFUSED }, { RPC_AT_RUNNING, RPC_FR_CANCEL },
	{ RPC_AT_NONE, RPC_FR_CANCEL },  { RPC_AT_KEPT, RPC_FR_ACK },
	{ RPC_AT_NONE, RPC_FR_ACK },     { RPC_AT_NONE, RPC_FR_ONEWAY },
	{ RPC_AT_NONE, RPC_FR_OPEN },    { RPC_AT_OPEN, RPC_FR_OPEN },
	{ RPC_AT_OPEN, RPC_FR_DATA },    { RPC_AT_NONE, RPC_FR_DATA },
	{ RPC_AT_OPEN, RPC_FR_CREDIT },  { RPC_AT_NONE, RPC_FR_CREDIT },
	{ RPC_AT_OPEN, RPC_FR_CLOSE },   { RPC_AT_NONE, RPC_FR_CLOSE },
};

static void tally_rpc(struct cov_tally *t, const struct sim_cov *cov)
{
	static const char *const ats[] = {
		"nothing", "waiting", "sent", "running", "kept", "open"
	};
	static const char *const frames[] = { "?",       "hello",  "request", "reply",
					      "refused", "cancel", "ack",     "oneway",
					      "open",    "data",   "credit",  "close" };
	static const char *const ends[] = {
		"done", "failed",       "timed out",    "cancelled",     "reset",
		"busy", "closed whole", "closed reset", "closed: a gap", "closed: broken off"
	};

	for (size_t i = 0; i < ARRAY_LEN(rpc_pairs); i++)
		cov_tally(t, cov->rpc[rpc_pairs[i].event][rpc_pairs[i].state], "channel",
			  ats[rpc_pairs[i].state], frames[rpc_pairs[i].event]);
	for (uint32_t i = 0; i < COV_ENDS; i++)
		cov_tally(t, cov->rpc_end[i], "channel", "asking or stream", ends[i]);
}

static void tally_memory(struct cov_tally *t, struct cov_tally *deaths, const struct sim_cov *cov)
{
	static const char *const pages[] = { "not held",    "not held, waits", "read",
					     "read, waits", "written",         "?" };
	static const char *const dirs[] = { "idle", "collecting", "recovering" };

	for (size_t i = 0; i < ARRAY_LEN(page_pairs); i++)
		cov_tally(t, cov->page[page_pairs[i].state][page_pairs[i].event], "page",
			  pages[page_pairs[i].state], dsm_event(true, page_pairs[i].event));
	for (size_t i = 0; i < ARRAY_LEN(dir_pairs); i++)
		cov_tally(t, cov->dir[dir_pairs[i].state][dir_pairs[i].event], "directory",
			  dirs[dir_pairs[i].state], dsm_event(false, dir_pairs[i].event));
	for (uint32_t i = 0; i < MEM_POINTS; i++)
		cov_tally(deaths, cov->mem_death[i], "memory", memory_point_name(i),
			  "death of the guest kernel");
}

void coverage_print(const struct sim_cov *cov)
{
	struct cov_tally t = { 0, 0 }, deaths = { 0, 0 }, grants = { 0, 0 }, pods = { 0, 0 };

	printf("coverage of (state, event) pairs:\n");
	for (size_t i = 0; i < ARRAY_LEN(source_pairs); i++)
		cov_tally(&t, cov->source[source_pairs[i].state][source_pairs[i].event], "source",
			  migrate_source_state_name(source_pairs[i].state),
			  event_name(source_pairs[i].event));
	for (size_t i = 0; i < ARRAY_LEN(target_pairs); i++)
		cov_tally(&t, cov->target[target_pairs[i].state][target_pairs[i].event], "target",
			  migrate_target_state_name(target_pairs[i].state),
			  event_name(target_pairs[i].event));
	for (size_t i = 0; i < ARRAY_LEN(auth_pairs); i++)
		cov_tally(&t, cov->auth[auth_pairs[i].state][auth_pairs[i].event], "authority",
			  auth_pairs[i].state == MIG_A_SERVING ? "serving" : "rebuilding",
			  migrate_msg_name(auth_pairs[i].event));
	for (uint32_t i = MIG_S_ASKING; i < MIG_S_DONE; i++)
		cov_tally(&deaths, cov->source_death[i], "source", migrate_source_state_name(i),
			  "death of the guest kernel");
	for (uint32_t i = MIG_T_BUILDING; i < MIG_T_DONE; i++)
		cov_tally(&deaths, cov->target_death[i], "target", migrate_target_state_name(i),
			  "death of the guest kernel");
	tally_memory(&t, &grants, cov);
	tally_rpc(&t, cov);
	coverage_name(cov, &t, &pods);
	coverage_loans(cov, &t);
	printf("  pairs   %u of %u (%u %%)\n", t.hit, t.all, t.hit * 100 / t.all);
	printf("  deaths  %u of %u states of a move\n", deaths.hit, deaths.all);
	printf("  deaths  %u of %u points of a grant\n", grants.hit, grants.all);
	printf("  deaths  %u of %u roles in naming\n", pods.hit, pods.all);
}
