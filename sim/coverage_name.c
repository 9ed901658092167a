/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coverage of naming, leases and membership: which role met which event. The universe is what may
 * happen to a role; not here: a snapshot that is taken or comes while a node has no leader (it is
 * finished before the role changes, or refused).
 */
#include "sim/coverage.h"

#define RAFT(t)   (COV_NAME_RAFT + (t))
#define FED       NAMING_REPLICA_FED
#define FOLLOWER  NAMING_REPLICA_FOLLOWER
#define CANDIDATE NAMING_REPLICA_CANDIDATE
#define LEADER    NAMING_REPLICA_LEADER

/* As raft numbers its messages. */
enum {
	APPEND = 1,
	APPEND_RESULT,
	VOTE,
	VOTE_RESULT,
	SNAPSHOT,
	TIMEOUT_NOW,
};

static const struct cov_pair name_pairs[] = {
	{ FED, COV_NAME_WAKE },
	{ FED, COV_NAME_PROPOSED },
	{ FED, COV_NAME_LOG_DONE },
	{ FED, COV_NAME_LOG_FAILED },
	{ FED, COV_NAME_PROPOSE },
	{ FED, COV_NAME_REFUSE },
	{ FED, COV_NAME_FEED_ASK },
	{ FED, COV_NAME_FEED },
	{ FED, RAFT(APPEND) },
	{ FED, RAFT(VOTE) },
	{ FED, RAFT(VOTE_RESULT) },
	{ FOLLOWER, COV_NAME_WAKE },
	{ FOLLOWER, COV_NAME_PROPOSED },
	{ FOLLOWER, COV_NAME_LOG_DONE },
	{ FOLLOWER, COV_NAME_LOG_FAILED },
	{ FOLLOWER, COV_NAME_SNAPSHOT_DONE },
	{ FOLLOWER, COV_NAME_SNAPSHOT_FAILED },
	{ FOLLOWER, COV_NAME_PROPOSE },
	{ FOLLOWER, COV_NAME_REFUSE },
	{ FOLLOWER, COV_NAME_FEED_ASK },
	{ FOLLOWER, COV_NAME_FEED },
	{ FOLLOWER, RAFT(APPEND) },
	{ FOLLOWER, RAFT(APPEND_RESULT) },
	{ FOLLOWER, RAFT(VOTE) },
	{ FOLLOWER, RAFT(VOTE_RESULT) },
	{ FOLLOWER, RAFT(SNAPSHOT) },
	{ FOLLOWER, RAFT(TIMEOUT_NOW) },
	{ CANDIDATE, COV_NAME_WAKE },
	{ CANDIDATE, COV_NAME_PROPOSED },
	{ CANDIDATE, COV_NAME_LOG_DONE },
	{ CANDIDATE, COV_NAME_LOG_FAILED },
	{ CANDIDATE, COV_NAME_PROPOSE },
	{ CANDIDATE, COV_NAME_REFUSE },
	{ CANDIDATE, COV_NAME_FEED_ASK },
	{ CANDIDATE, COV_NAME_FEED },
	{ CANDIDATE, RAFT(APPEND) },
	{ CANDIDATE, RAFT(APPEND_RESULT) },
	{ CANDIDATE, RAFT(VOTE) },
	{ CANDIDATE, RAFT(VOTE_RESULT) },
	{ CANDIDATE, RAFT(TIMEOUT_NOW) },
	{ LEADER, COV_NAME_WAKE },
	{ LEADER, COV_NAME_PROPOSED },
	{ LEADER, COV_NAME_LOG_DONE },
	{ LEADER, COV_NAME_LOG_FAILED },
	{ LEADER, COV_NAME_SNAPSHOT_DONE },
	{ LEADER, COV_NAME_SNAPSHOT_FAILED },
	{ LEADER, COV_NAME_PROPOSE },
	{ LEADER, COV_NAME_REFUSE },
	{ LEADER, COV_NAME_FEED_ASK },
	{ LEADER, COV_NAME_FEED },
	{ LEADER, RAFT(APPEND) },
	{ LEADER, RAFT(APPEND_RESULT) },
	{ LEADER, RAFT(VOTE) },
	{ LEADER, RAFT(VOTE_RESULT) },
};

static const char *const role_names[COV_ROLES] = { "?", "fed", "follower", "candidate", "leader" };
static const char *const event_names[COV_NAME_EVENTS] = {
	[COV_NAME_WAKE] = "timer",
	[COV_NAME_PROPOSED] = "command",
	[COV_NAME_LOG_DONE] = "frame written",
	[COV_NAME_LOG_FAILED] = "frame not written",
	[COV_NAME_SNAPSHOT_DONE] = "snapshot written",
	[COV_NAME_SNAPSHOT_FAILED] = "snapshot not written",
	[COV_NAME_PROPOSE] = "PROPOSE",
	[COV_NAME_REFUSE] = "REFUSE",
	[COV_NAME_FEED_ASK] = "FEED_ASK",
	[COV_NAME_FEED] = "FEED",
	[RAFT(0)] = "?",
	[RAFT(APPEND)] = "AppendEntries",
	[RAFT(APPEND_RESULT)] = "its result",
	[RAFT(VOTE)] = "RequestVote",
	[RAFT(VOTE_RESULT)] = "its result",
	[RAFT(SNAPSHOT)] = "InstallSnapshot",
	[RAFT(TIMEOUT_NOW)] = "TimeoutNow",
};

static void tally_lease(struct cov_tally *t, const struct sim_cov *cov)
{
	static const char *const states[] = { "none", "held", "frozen", "over" };
	static const char *const events[] = { "answered", "looked at", "pandod died" };

	for (uint32_t i = LEASE_NONE; i <= LEASE_OVER; i++) {
		for (uint32_t e = 0; e < COV_LEASE_EVENTS; e++)
			cov_tally(t, cov->lease[i][e], "lease", states[i], events[e]);
	}
	for (uint32_t i = 0; i < 2; i++) {
		cov_tally(t, cov->book[i][0], "book", i ? "leads" : "stopped", "asked");
		cov_tally(t, cov->book[i][1], "book", i ? "leads" : "stopped", "looked at");
	}
}

static void tally_member(struct cov_tally *t, const struct sim_cov *cov)
{
	static const char *const states[] = { "?", "alive", "suspect", "failed" };

	for (uint32_t from = MEMBER_ALIVE; from <= MEMBER_FAILED; from++) {
		for (uint32_t to = MEMBER_ALIVE; to <= MEMBER_FAILED; to++) {
			if (from != to)
				cov_tally(t, cov->member[from][to], "member", states[from],
					  states[to]);
		}
	}
}

void coverage_name(const struct sim_cov *cov, struct cov_tally *t, struct cov_tally *deaths)
{
	for (size_t i = 0; i < ARRAY_LEN(name_pairs); i++)
		cov_tally(t, cov->name[name_pairs[i].state][name_pairs[i].event], "naming",
			  role_names[name_pairs[i].state], event_names[name_pairs[i].event]);
	tally_lease(t, cov);
	tally_member(t, cov);
	for (uint32_t i = FED; i <= LEADER; i++)
		cov_tally(deaths, cov->pod_death[i], "naming", role_names[i], "death of pandod");
}
