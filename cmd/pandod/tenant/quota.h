/* SPDX-License-Identifier: Apache-2.0 */
/* quota.h - what quota.c and what tells of it (api_quota.c) share. Private to pandod. */
#ifndef CMD_PANDOD_QUOTA_H
#define CMD_PANDOD_QUOTA_H

#include "cmd/pandod/pod.h"
#include "quota/quota.h"

#define QUOTA_CALM_MAX 4 /* ticks that are left out where nothing happens */

/* A tenant of which this node has a world, or a loan. */
struct quota_tenant {
	struct list link;
	struct pod *pod;
	tenant_id id;
	char name[TENANT_NAME_MAX];
	struct quota_share share;
	struct quota_amounts hold; /* what its guests are held to, or will be from the start */
	struct quota_amounts use;
	struct world *world; /* NULL: none */
	bool started;        /* its groups are there */
	bool closing;        /* the loan goes back when the guests' group is empty */
	bool told;           /* world_lent() was called */
	int err;
	char why[TENANT_WHY_MAX];
	struct loop_timer late, tell;
	bool asking; /* naming will call back */
	bool unsent; /* naming took no command; the next tick tries again */
	uint64_t asked_ns;
	uint64_t full_since_ns; /* all of the memory that it is lent is in use; 0: not so */
	bool waits;             /* for memory, instead of being killed */
	uint64_t waits_at;      /* with this limit */
	int full_event;         /* counts how often that was hit; -1: the host does not tell */
	struct loop_fd full_watch;
	unsigned calm, left_out;    /* ticks without change; ticks since it was looked at */
	uint64_t cpu_ns, cpu_at_ns; /* of the guests, when last looked at */
	uint32_t part;  /* of its weight, that it has (quota/core/weight.h); 0: unknown */
	uint64_t stops; /* of its guests by their limit, when last looked at */
	bool stops_known;
	bool paused;       /* nothing ran when last looked at */
	bool was_short;    /* quota/core/weight.h */
	uint8_t said[128]; /* to its guest kernel, last */
	size_t said_len;
	uint64_t said_ns;
};

/* What a tenant uses on another node, as that told. */
struct quota_far {
	struct list link;
	node_id node;
	tenant_id tenant;
	uint64_t heard_ns;
	struct quota_amounts use;
};

struct quota {
	struct pod *pod;
	struct list tenants;
	struct list far;
	struct loop_timer tick;
	unsigned ticks;
	bool warned;
	uint32_t loans;   /* rows when last looked at */
	uint64_t asks;    /* commands since the start */
	uint64_t answers; /* of them, and how long they took in sum */
	uint64_t answer_ns;
};

struct quota_tenant *quota_find(const struct pod *p, tenant_id t);
/* What a tenant uses on a node; false: it does not run there, or nobody knows. */
bool quota_use(const struct pod *p, tenant_id t, node_id node, struct quota_amounts *out);
/* In a control group of the tenant's: @part "" or "/guests" ... */
void quota_group(const struct quota_tenant *q, const char *part, char out[CGROUP_PATH_MAX]);

/* Measures now what is used, and asks for what is missing. */
void quota_look(struct quota_tenant *q);
/* To all nodes, what each tenant uses here. */
void quota_tell_use(struct pod *p);

/* ---- memory.c ---- */
/* What this node has, and may yet get, and does not use. */
uint64_t quota_memory_left(const struct quota_tenant *q);
/* After its use was measured: are its guests to wait when they hit their limit? */
void quota_mind_memory(struct quota_tenant *q);
/* From when its groups are there, until they are empty. */
void quota_watch_memory(struct quota_tenant *q);
void quota_unwatch_memory(struct quota_tenant *q);

/* ---- weight.c ---- */
/* Its world has begun, or what the tables say of its weight may have changed. */
void quota_weigh(struct quota_tenant *q);
/* After its use was measured. */
void quota_reweigh(struct quota_tenant *q);

#endif
