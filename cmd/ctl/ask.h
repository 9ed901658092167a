/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.h - a request of a tenant as numbers and names: what a guest kernel has made of HTTP and JSON
 * (ctl_ask_read), and what pandod makes of that again (ctl_ask_write). So the daemon with the
 * host's rights never reads what a tenant has written.
 *
 * Only rows for CTL_INSIDE have this form. Nothing here says who asks: that is a property of the
 * socket, and of the connection to the guest kernel. Who names another tenant (?tenant=) is refused
 * in the same words whether there is such a one or not.
 */
#ifndef CTL_ASK_H
#define CTL_ASK_H

#include "base/types.h"
#include "cmd/ctl/routes.h"

struct ctl_ask {
	enum ctl_route_id route;
	int pid;
	uint64_t session;
	char node[NODE_NAME_MAX];
	bool has_since;
	uint64_t since_life, since; /* events: both; usage: seconds */
	bool follow;
	/* the line of a terminal */
	uint64_t client;
	bool has_from;
	uint64_t from;
	uint32_t rows, cols;
	bool agent;
};

/*
 * @args are those of the row's path. @tenant: the name of who asks.
 * Errors: -EINVAL, -EACCES; *why says it in words and stays valid.
 */
must_check int ctl_ask_read(const struct ctl_route *row, ctl_args args,
			    const struct http_head *head, const json_t *body, const char *tenant,
			    struct ctl_ask *out, const char **why);

/*
 * The request as pandod's handlers know it; @body is the caller's. Believes nothing.
 * Errors: -EINVAL a field is out of range; -EACCES no row for tenants; -ENOMEM.
 */
must_check int ctl_ask_write(const struct ctl_ask *ask, struct http_head *head, json_t **body);

#endif
