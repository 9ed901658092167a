/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h - what the files of the control API (api*.c) share. Private to pandod.
 *
 * A route is one row of the table in cmd/ctl/routes.h; its handler stands in api.c's.
 */
#ifndef CMD_PANDOD_API_H
#define CMD_PANDOD_API_H

#include "cmd/ctl/routes.h"
#include "cmd/pandod/pod.h"

typedef ctl_args args_t;

/* ---- a request that waits for something with one outcome ---- */
struct api_pending {
	struct pod *pod;
	struct ctl_req *req; /* NULL: the caller went away */
	const char *try_next;
	char text[192]; /* the token of an invitation, a tenant's name */
	tenant_id tenant;
	int step;
};
struct api_pending *api_pending(struct pod *p, struct ctl_req *r, const char *try_next);
/* member_done_fn: answers with 200 or the refusal, and frees. */
void api_done(void *arg, int err, const char *why);

void api_handle(void *arg, struct ctl_req *r);
/* A member of the body; "" or 0 when it is not there. */
const char *api_text(const struct ctl_req *r, const char *key);
uint64_t api_number(const struct ctl_req *r, const char *key);
/* Those that the body has; the others stay as they are. False: answered, one is no amount. */
bool api_take_limits(struct ctl_req *r, struct naming_limits *l);
/* A command of the tables with the API's patience. */
must_check int api_propose(struct pod *p, const struct naming_cmd *cmd, naming_done_fn done,
			   void *arg);

/*
 * Whom the query's tenant=NAME is about: a tenant's caller about itself, an operator's about all
 * (TENANT_NONE) where it names nobody. False: answered, or taken care of.
 */
must_check bool api_whom(struct pod *p, struct ctl_req *r, tenant_id *only);
/* Answers that there is no such node, and which one was meant. */
void api_no_node(struct pod *p, struct ctl_req *r, const char *name);
/* "?" if the tables do not know it. */
const char *api_node_name(const struct pod *p, node_id id);
const char *api_tenant_name(const struct pod *p, tenant_id id);
/* A new array of the same rows; @order as for qsort(), of json_t pointers. */
json_t *api_sorted(json_t *rows, int (*order)(const void *a, const void *b));

/* A guest chose these bytes: what is no UTF-8 becomes '?'. api_process.c. */
json_t *api_guest_text(const char *s);

/* ---- balance.c ---- */
void api_get_sched(struct pod *p, struct ctl_req *r, args_t a);

/* ---- drain.c ---- */
void api_post_drain(struct pod *p, struct ctl_req *r, args_t a);
void api_delete_drain(struct pod *p, struct ctl_req *r, args_t a);

/* ---- api_node.c ---- */
bool api_ready(const struct pod *p);
/* Answers @r, or handles it again (@redo), when so many nodes are alive. */
void api_wait_ready(struct pod *p, struct ctl_req *r, unsigned nodes, bool redo);
json_t *api_nodes_json(const struct pod *p);
void api_get_node(struct pod *p, struct ctl_req *r, args_t a);
void api_post_bootstrap(struct pod *p, struct ctl_req *r, args_t a);
void api_post_join(struct pod *p, struct ctl_req *r, args_t a);
void api_post_leave(struct pod *p, struct ctl_req *r, args_t a);
void api_post_invite(struct pod *p, struct ctl_req *r, args_t a);
void api_get_nodes(struct pod *p, struct ctl_req *r, args_t a);
void api_get_status(struct pod *p, struct ctl_req *r, args_t a);

/* ---- api_tenant.c ---- */
json_t *api_tenants_json(const struct pod *p);
void api_get_tenants(struct pod *p, struct ctl_req *r, args_t a);
void api_post_tenant(struct pod *p, struct ctl_req *r, args_t a);
void api_delete_tenant(struct pod *p, struct ctl_req *r, args_t a);

/* ---- api_quota.c ---- */
void api_post_limits(struct pod *p, struct ctl_req *r, args_t a);
void api_get_quota(struct pod *p, struct ctl_req *r, args_t a);
void api_get_usage(struct pod *p, struct ctl_req *r, args_t a);

/* ---- api_debug.c ---- */
void api_post_fault(struct pod *p, struct ctl_req *r, args_t a);
void api_get_points(struct pod *p, struct ctl_req *r, args_t a);

/* ---- metrics.c, events.c ---- */
void api_get_metrics(struct pod *p, struct ctl_req *r, args_t a);
void api_get_events(struct pod *p, struct ctl_req *r, args_t a);
#endif
