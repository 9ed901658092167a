/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/core/move.h"

#include "base/mutant.h"
#include "migrate/core/out.h"

const struct mig_conf mig_conf_default = {
	.prepare_ns = NS_PER_S,
	.ready_ns = 2 * NS_PER_S,
	.commit_ns = 500 * NS_PER_MS,
	.again_ns = 50 * NS_PER_MS,
};

static const char *const msg_names[MIG_MSG_COUNT] = {
	[MIG_READ] = "READ",         [MIG_CLAIM] = "CLAIM",       [MIG_RECORD] = "RECORD",
	[MIG_PREPARE] = "PREPARE",   [MIG_PREPARED] = "PREPARED", [MIG_ABORT] = "ABORT",
	[MIG_DROPPED] = "DROPPED",   [MIG_RESUMED] = "RESUMED",   [MIG_DRAINED] = "DRAINED",
	[MIG_RELEASED] = "RELEASED", [MIG_FORGET] = "FORGET",     [MIG_GONE] = "GONE",
	[MIG_FENCE] = "FENCE",       [MIG_STAND] = "STAND",
};

static const char *const ev_names[MIG_EV_COUNT] = {
	[MIG_EV_START] = "START",
	[MIG_EV_MSG] = "MSG",
	[MIG_EV_TICK] = "TICK",
	[MIG_EV_NODE_DEAD] = "NODE_DEAD",
	[MIG_EV_AUTHORITY] = "AUTHORITY",
	[MIG_EV_CANCEL] = "CANCEL",
	[MIG_EV_EXIT] = "EXIT",
	[MIG_EV_ELSEWHERE] = "ELSEWHERE",
	[MIG_EV_FROZEN] = "FROZEN",
	[MIG_EV_FREEZE_FAILED] = "FREEZE_FAILED",
	[MIG_EV_IMAGE_FAILED] = "IMAGE_FAILED",
	[MIG_EV_RELEASED] = "RELEASED",
	[MIG_EV_BUILT] = "BUILT",
	[MIG_EV_BUILD_FAILED] = "BUILD_FAILED",
	[MIG_EV_LOADED] = "LOADED",
	[MIG_EV_LOAD_FAILED] = "LOAD_FAILED",
	[MIG_EV_PULLED] = "PULLED",
	[MIG_EV_PULL_LOST] = "PULL_LOST",
};

const char *migrate_msg_name(uint32_t kind)
{
	return kind < MIG_MSG_COUNT && msg_names[kind] ? msg_names[kind] : "?";
}

const char *migrate_ev_name(uint32_t kind)
{
	return kind < MIG_EV_COUNT && ev_names[kind] ? ev_names[kind] : "?";
}

bool migrate_stray(const struct mig_msg *msg, struct mig_msg *reply)
{
	*reply = *msg;
	reply->err = 0;
	reply->sigs = 0;
	switch (msg->kind) {
	case MIG_PREPARED: /* we have given up: they may stop building */
		reply->kind = MIG_ABORT;
		return msg->err == 0;
	case MIG_DRAINED: /* we are long done, our answer was lost */
		reply->kind = MIG_RELEASED;
		return true;
	case MIG_RELEASED: /* the same, at the other end */
		reply->kind = MIG_FORGET;
		return !MUTANT("migrate.forget.dropped");
	default:
		return false;
	}
}

void migrate_stand_look(struct mig_stand *st, epoch_t life)
{
	if (st->peer != NODE_NONE && st->peer_epoch != 0 && life > st->peer_epoch)
		st->peer = NODE_NONE;
}

struct mig_msg migrate_refuse(const struct mig_msg *prepare, int err)
{
	struct mig_msg m = *prepare;

	m.kind = MIG_PREPARED;
	m.err = err;
	return m;
}
