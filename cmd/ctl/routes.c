/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the control API. The examples work in the order of the rows (tests/int/api.sh). */
#include "cmd/ctl/routes.h"

#include <stdio.h>
#include <string.h>

static const struct ctl_route routes[] = {
	{ CTL_OPENAPI, "GET", "/v1/openapi.json", CTL_ANYBODY, false,
	  .summary = "This description, made from the table that dispatches.",
	  .curl = "http://pando/v1/openapi.json" },
	{ CTL_METRICS, "GET", "/metrics", CTL_OPERATOR, false,
	  .summary = "The node's figures as OpenMetrics text.", .curl = "http://pando/metrics",
	  .answer = CTL_TEXT },
	{ CTL_EVENTS, "GET", "/v1/events", CTL_ANYBODY, false,
	  .summary = "What happened, as this node saw it: one line each, from behind a cursor on.",
	  .curl = "'http://pando/v1/events'", .query = "since:string follow:boolean",
	  .answer = CTL_LINES },
	{ CTL_NODE, "GET", "/v1/node", CTL_OPERATOR, false,
	  .summary = "This node; with ready, when it sees a leader and so many nodes alive.",
	  .curl = "'http://pando/v1/node?ready=1'", .query = "ready:integer" },
	{ CTL_BOOTSTRAP, "POST", "/v1/node/bootstrap", CTL_OPERATOR, false,
	  .summary = "Makes a new machine with this node as its first.",
	  .curl = "-d "
		  "'{\"machine\":\"aspen\",\"addr\":\"10.0.0.1:7300\",\"volumes\":\"/srv/pando\"}' "
		  "http://pando/v1/node/bootstrap",
	  .body = "machine:string! addr:string! volumes:string! volume_kind:string" },
	{ CTL_JOIN, "POST", "/v1/node/join", CTL_OPERATOR, false,
	  .summary = "Makes this node one of the machine that gave the token.",
	  .curl = "-d '{\"addr\":\"10.0.0.1:7300\",\"token\":\"TOKEN\"}' http://pando/v1/node/join",
	  .body = "addr:string! token:string! listen:string" },
	{ CTL_LEAVE, "POST", "/v1/node/leave", CTL_OPERATOR, false,
	  .summary = "Leaves the machine for good; refused while tenants have processes here.",
	  .curl = "-X POST http://pando/v1/node/leave" },
	{ CTL_INVITE, "POST", "/v1/invites", CTL_OPERATOR, true,
	  .summary = "A token with which another host may join.",
	  .curl = "-d '{\"ttl_s\":600,\"uses\":1}' http://pando/v1/invites",
	  .body = "ttl_s:integer uses:integer" },
	{ CTL_STATUS, "GET", "/v1/status", CTL_OPERATOR, false,
	  .summary = "The machine: leader, nodes, tenants, and what separate hosts could not do.",
	  .curl = "http://pando/v1/status" },
	{ CTL_NODES, "GET", "/v1/nodes", CTL_ANYBODY, false,
	  .summary = "The nodes, whether they are alive, and how loaded.",
	  .curl = "http://pando/v1/nodes" },
	{ CTL_DRAIN, "POST", "/v1/nodes/:name/drain", CTL_OPERATOR, true,
	  .summary = "Closes a node for what is new and moves away what runs there: one line each.",
	  .curl = "-d '{\"deadline_s\":10}' http://pando/v1/nodes/n2/drain",
	  .body = "deadline_s:integer", .answer = CTL_LINES },
	{ CTL_DRAIN_UNDO, "DELETE", "/v1/nodes/:name/drain", CTL_OPERATOR, true,
	  .summary = "Opens a node again that was drained.",
	  .curl = "-X DELETE http://pando/v1/nodes/n2/drain" },
	{ CTL_TENANT_ADD, "POST", "/v1/tenants", CTL_OPERATOR, true, .summary = "A new account.",
	  .curl = "-d '{\"name\":\"carol\"}' http://pando/v1/tenants",
	  .body = "name:string! cpu_milli:integer memory_bytes:integer procs:integer "
		  "storage_bytes:integer",
	  .status = 201 },
	{ CTL_TENANTS, "GET", "/v1/tenants", CTL_OPERATOR, true, .summary = "The accounts.",
	  .curl = "http://pando/v1/tenants" },
	{ CTL_KEY_ADD, "POST", "/v1/tenants/:name/keys", CTL_OPERATOR, true,
	  .summary = "Lets an ssh key log in to an account.",
	  .curl = "-d '{\"key\":\"ssh-ed25519 "
		  "AAAAC3NzaC1lZDI1NTE5AAAAIE1WeArUPvCZ1ItRHqx3dbs9HOE5iE8dKhh4iE7vJX0q carol\"}' "
		  "http://pando/v1/tenants/carol/keys",
	  .body = "key:string!", .status = 201 },
	{ CTL_KEYS, "GET", "/v1/tenants/:name/keys", CTL_OPERATOR, true,
	  .summary = "The ssh keys of an account.", .curl = "http://pando/v1/tenants/carol/keys" },
	{ CTL_KEY, "GET", "/v1/tenants/:name/keys/:hash", CTL_OPERATOR | CTL_HELPER, true,
	  .summary = "The line of an ssh key, as sshd reads it, if it lets in this account.",
	  .curl = "http://pando/v1/tenants/carol/keys/$KEY" },
	{ CTL_KEY_REMOVE, "DELETE", "/v1/tenants/:name/keys/:hash", CTL_OPERATOR, true,
	  .summary = "Takes an ssh key away, by the sha256 of its blob in hexadecimal.",
	  .curl = "-X DELETE http://pando/v1/tenants/carol/keys/$KEY" },
	{ CTL_DETACHED, "POST", "/v1/tenants/:name/detached", CTL_OPERATOR, true,
	  .summary = "What becomes of an account's sessions when their connection is lost.",
	  .curl = "-d '{\"detached\":\"hangup\"}' http://pando/v1/tenants/carol/detached",
	  .body = "detached:string!" },
	{ CTL_LIMITS, "POST", "/v1/tenants/:name/limits", CTL_OPERATOR, true,
	  .summary = "Changes what an account may use; 0 is no limit, what is left out stays.",
	  .curl = "-d '{\"procs\":500,\"cpu_milli\":2000}' "
		  "http://pando/v1/tenants/carol/limits",
	  .body = "cpu_milli:integer memory_bytes:integer procs:integer storage_bytes:integer "
		  "cpu_weight:integer" },
	{ CTL_QUOTA, "GET", "/v1/quota", CTL_ANYBODY, true,
	  .summary = "Limits, what of them is used, and what is lent to which node.",
	  .curl = "'http://pando/v1/quota?tenant=carol'", .query = "tenant:string" },
	{ CTL_USAGE, "GET", "/v1/usage", CTL_ANYBODY, true,
	  .summary = "What accounts have used in the last so many seconds, on all nodes.",
	  .curl = "'http://pando/v1/usage?since=3600'", .query = "since:integer tenant:string" },
	{ CTL_SESSIONS, "GET", "/v1/tenants/:name/sessions", CTL_ANYBODY | CTL_LOGIN, true,
	  .summary =
		  "The sessions on terminals of an account, on all nodes; - is the caller's own.",
	  .curl = "http://pando/v1/tenants/carol/sessions" },
	{ CTL_SESSION_START, "POST", "/v1/tenants/:name/sessions", CTL_OPERATOR | CTL_LOGIN, true,
	  .summary =
		  "Starts a program in an account; the answer lasts until it ends, and says how.",
	  .curl = "-d '{\"session\":4711,\"argv\":[\"/bin/true\"]}' "
		  "http://pando/v1/tenants/carol/sessions",
	  .body = "session:integer! argv:array env:array cwd:string tty:boolean rows:integer "
		  "cols:integer agent:boolean",
	  .answer = CTL_LINES },
	{ CTL_SESSION_ATTACH, "POST", "/v1/tenants/:name/sessions/:id/attach",
	  CTL_ANYBODY | CTL_LOGIN, true,
	  .summary =
		  "Takes the line of a session on a terminal: a descriptor comes with the answer.",
	  .curl = "-d '{\"client\":1,\"rows\":24,\"cols\":80}' "
		  "http://pando/v1/tenants/carol/sessions/$SESSION/attach",
	  .body = "client:integer! from:integer rows:integer! cols:integer! agent:boolean",
	  .answer = CTL_LINES },
	{ CTL_SESSION_SIGNAL, "POST", "/v1/tenants/:name/sessions/:id/signal",
	  CTL_OPERATOR | CTL_LOGIN, true, .summary = "Raises a signal in the leader of a session.",
	  .curl = "-d '{\"signal\":15}' http://pando/v1/tenants/carol/sessions/$SESSION/signal",
	  .body = "signal:integer!" },
	{ CTL_SESSION_WAIT, "GET", "/v1/tenants/:name/sessions/:id", CTL_OPERATOR | CTL_LOGIN, true,
	  .summary = "Waits for a session that another daemon has started.",
	  .curl = "http://pando/v1/tenants/carol/sessions/$SESSION", .answer = CTL_LINES },
	{ CTL_PROCESSES, "GET", "/v1/processes", CTL_ANYBODY, true,
	  .summary = "The processes of all nodes, or of one account.",
	  .curl = "'http://pando/v1/processes?tenant=carol'", .query = "tenant:string" },
	{ CTL_WHY, "GET", "/v1/processes/:pid/why", CTL_ANYBODY, true,
	  .summary = "What forbids moving a process or what that would cost; "
		     "notes: which of its connections and execs elsewhere failed lately.",
	  .curl = "\"http://pando/v1/processes/$PID/why?tenant=carol\"", .query = "tenant:string" },
	{ CTL_SCHED, "GET", "/v1/sched", CTL_ANYBODY, true,
	  .summary = "What was decided lately about where programs run, on all nodes, and why.",
	  .curl = "http://pando/v1/sched" },
	{ CTL_MIGRATE, "POST", "/v1/processes/:pid/migrate", CTL_ANYBODY, true,
	  .summary = "Moves a running process.",
	  .curl = "-d '{\"node\":\"n1\",\"tenant\":\"carol\"}' "
		  "http://pando/v1/processes/$PID/migrate",
	  .body = "node:string! tenant:string" },
	{ CTL_TENANT_REMOVE, "DELETE", "/v1/tenants/:name", CTL_OPERATOR, true,
	  .summary = "Ends what an account runs, and removes it; its files stay.",
	  .curl = "-X DELETE http://pando/v1/tenants/carol" },
	{ CTL_FAULT_POINTS, "GET", "/v1/debug/points", CTL_OPERATOR, false,
	  .summary = "The fault points of this daemon, or of a tenant's guest kernel.",
	  .curl = "http://pando/v1/debug/points", .query = "tenant:string" },
	{ CTL_FAULT, "POST", "/v1/debug/fault", CTL_OPERATOR, false,
	  .summary = "Arms a fault point.",
	  .curl = "-d '{\"point\":\"pod.session.deliver:1000000\"}' http://pando/v1/debug/fault",
	  .body = "point:string! tenant:string" },
};

const struct ctl_route *ctl_route_find(const char *method, const char *path, ctl_args a)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (strcmp(routes[i].method, method) == 0 &&
		    http_route_match(routes[i].path, path, a) >= 0)
			return &routes[i];
	return NULL;
}

void ctl_no_route(struct ctl_req *r)
{
	const struct http_head *h = ctl_req_head(r);
	char allow[CTL_ALLOW_MAX] = "";
	ctl_args a;

	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		size_t n = strlen(allow);

		if (http_route_match(routes[i].path, h->path, a) >= 0)
			(void)snprintf(allow + n, sizeof(allow) - n, "%s%s", n > 0 ? ", " : "",
				       routes[i].method);
	}
	if (allow[0] != '\0')
		ctl_req_set_allow(r, allow);
	ctl_problem(r, allow[0] != '\0' ? 405 : 404, NULL, "there is no %s %.100s", h->method,
		    h->path);
}

const struct ctl_route *ctl_route_at(enum ctl_route_id id)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (routes[i].id == id)
			return &routes[i];
	return NULL;
}

const struct ctl_route *ctl_routes(size_t *n)
{
	*n = ARRAY_LEN(routes);
	return routes;
}
