/* SPDX-License-Identifier: Apache-2.0 */
/*
 * routes.h - what the control API can be asked: one table.
 *
 * The dispatch of every daemon that serves it, the OpenAPI description (GET /v1/openapi.json) and
 * the tests of the examples (tests/int/api.sh) are made from the table. pandod serves all rows;
 * a guest kernel reads the requests of its tenant and has pandod answer them (ask.h).
 */
#ifndef CTL_ROUTES_H
#define CTL_ROUTES_H

#include <jansson.h>

#include "base/attr.h"
#include "cmd/ctl/core/http.h"
#include "cmd/ctl/ctl.h"

/* Numbers travel between a guest kernel and its pandod, which are of one build. */
enum ctl_route_id {
	CTL_OPENAPI = 1,
	CTL_METRICS,
	CTL_EVENTS,
	CTL_NODE,
	CTL_BOOTSTRAP,
	CTL_JOIN,
	CTL_LEAVE,
	CTL_INVITE,
	CTL_STATUS,
	CTL_NODES,
	CTL_DRAIN,
	CTL_DRAIN_UNDO,
	CTL_TENANT_ADD,
	CTL_TENANTS,
	CTL_TENANT_REMOVE,
	CTL_KEY_ADD,
	CTL_KEYS,
	CTL_KEY,
	CTL_KEY_REMOVE,
	CTL_DETACHED,
	CTL_LIMITS,
	CTL_QUOTA,
	CTL_USAGE,
	CTL_SESSIONS,
	CTL_SESSION_START,
	CTL_SESSION_ATTACH,
	CTL_SESSION_SIGNAL,
	CTL_SESSION_WAIT,
	CTL_PROCESSES,
	CTL_WHY,
	CTL_SCHED,
	CTL_MIGRATE,
	CTL_FAULT_POINTS,
	CTL_FAULT,
	CTL_ROUTE_END,
};

/* LOGIN: pando-session, on the gate's socket; HELPER: pando-keys there. */
enum ctl_who {
	CTL_OPERATOR = 1,
	CTL_INSIDE = 2, /* a tenant, from its own sessions */
	CTL_LOGIN = 4,
	CTL_HELPER = 8,
	CTL_ANYBODY = CTL_OPERATOR | CTL_INSIDE
};

enum ctl_answer_kind { CTL_JSON = 0, CTL_LINES, CTL_TEXT };

struct ctl_route {
	enum ctl_route_id id;
	const char *method;
	const char *path;
	unsigned who;        /* enum ctl_who, added up */
	bool needs_tables;   /* waits until this node has a leader */
	const char *summary; /* one sentence */
	const char *curl;    /* what follows `curl --unix-socket SOCKET` in an example */
	const char *query;   /* "name:type ...", or NULL; types are JSON's */
	const char *body;    /* the same of a request's body; '!' behind a type: required */
	int status;          /* of success; 0: 200 */
	enum ctl_answer_kind answer;
};

typedef char ctl_args[HTTP_ARGS_MAX][HTTP_ARG_MAX];

/* The row for a request and the arguments in its path, or NULL. */
const struct ctl_route *ctl_route_find(const char *method, const char *path, ctl_args a);
/* Answers a request that no row is for: 405 and the methods that its path has, or 404. */
void ctl_no_route(struct ctl_req *r);
/* NULL: there is none. */
const struct ctl_route *ctl_route_at(enum ctl_route_id id);
/* All rows, and how many. */
const struct ctl_route *ctl_routes(size_t *n);

/* Calls @cb for each "name:type" or "name:type!" of a row's query or body. */
typedef void (*ctl_field_fn)(void *arg, const char *name, const char *type, bool required);
void ctl_fields(const char *text, ctl_field_fn cb, void *arg);

/*
 * Whether @body, an object, has the members that the row needs, each of its type, integers from 0
 * on, and no others. If not, @why says it in words.
 */
bool ctl_body_ok(const struct ctl_route *row, const json_t *body, char *why, size_t size);

/* The OpenAPI 3.1 description of the table, the caller's. */
json_t *ctl_openapi(void);

#endif
