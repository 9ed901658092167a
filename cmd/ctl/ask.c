/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/ctl/ask.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/ctl/core/cursor.h"

#define PID_MAX 4194304

/* ---- reading ---- */
static int number_of(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return *end == '\0' && errno == 0 && *out <= max ? 0 : -EINVAL;
}

static int read_path(const struct ctl_route *row, ctl_args args, const char *tenant,
		     struct ctl_ask *out, const char **why)
{
	unsigned n = 0;
	uint64_t v;

	for (const char *p = strchr(row->path, ':'); p != NULL; p = strchr(p + 1, ':')) {
		const char *arg = args[n++];

		if (strncmp(p, ":name", 5) == 0 && strcmp(arg, "-") != 0 &&
		    strcmp(arg, tenant) != 0) {
			*why = "only the machine's operator may";
			return -EACCES;
		}
		if (strncmp(p, ":pid", 4) == 0) {
			*why = "a pid is a number from 1 to 4194304";
			if (number_of(arg, PID_MAX, &v) < 0 || v == 0)
				return -EINVAL;
			out->pid = (int)v;
		} else if (strncmp(p, ":id", 3) == 0) {
			*why = "a session is a number";
			if (number_of(arg, INT64_MAX, &out->session) < 0)
				return -EINVAL;
		}
	}
	return 0;
}

/* Whom it is about: nobody else, be there such a tenant or not. */
static int read_tenant(const struct http_head *head, const json_t *body, const char *tenant,
		       const char **why)
{
	const char *named = json_string_value(json_object_get(body, "tenant"));
	char text[TENANT_NAME_MAX];
	int n = http_query_get(head->query, "tenant", text, sizeof(text));

	*why = "only the machine's operator may see other tenants";
	if (n != -ENOENT && (n < 0 || (n > 0 && strcmp(text, tenant) != 0)))
		return -EACCES;
	return named == NULL || *named == '\0' || strcmp(named, tenant) == 0 ? 0 : -EACCES;
}

static int read_query(const char *query, struct ctl_ask *out, const char **why)
{
	char text[64];
	int n = http_query_get(query, "since", text, sizeof(text));

	out->has_since = n != -ENOENT;
	if (out->has_since && out->route == CTL_EVENTS) {
		*why = "the cursor is malformed";
		if (n < 0 || cursor_read(text, &out->since_life, &out->since) < 0)
			return -EINVAL;
	} else if (out->has_since) {
		*why = "since is a number of seconds";
		if (n < 0 || number_of(text, INT64_MAX, &out->since) < 0)
			return -EINVAL;
	}
	out->follow = http_query_get(query, "follow", text, sizeof(text)) > 0 &&
		      (strcmp(text, "1") == 0 || strcmp(text, "true") == 0);
	return 0;
}

static int read_attach(const json_t *body, struct ctl_ask *out, const char **why)
{
	json_int_t rows = json_integer_value(json_object_get(body, "rows"));
	json_int_t cols = json_integer_value(json_object_get(body, "cols"));
	const json_t *from = json_object_get(body, "from");

	*why = "the size of the terminal is out of range";
	if (rows <= 0 || cols <= 0 || rows > 10000 || cols > 10000)
		return -EINVAL;
	out->client = (uint64_t)json_integer_value(json_object_get(body, "client"));
	out->has_from = json_is_integer(from);
	out->from = (uint64_t)json_integer_value(from);
	out->rows = (uint32_t)rows;
	out->cols = (uint32_t)cols;
	out->agent = json_is_true(json_object_get(body, "agent"));
	return 0;
}

int ctl_ask_read(const struct ctl_route *row, ctl_args args, const struct http_head *head,
		 const json_t *body, const char *tenant, struct ctl_ask *out, const char **why)
{
	const char *node = json_string_value(json_object_get(body, "node"));
	char text[128];
	int r;

	*out = (struct ctl_ask){ .route = row->id };
	*why = "only the machine's operator may";
	if ((row->who & CTL_INSIDE) == 0)
		return -EACCES;
	*why = "the body is not what /v1/openapi.json says";
	if (!ctl_body_ok(row, body, text, sizeof(text)))
		return -EINVAL;
	r = read_path(row, args, tenant, out, why);
	if (r == 0)
		r = read_tenant(head, body, tenant, why);
	if (r == 0 && (row->id == CTL_EVENTS || row->id == CTL_USAGE))
		r = read_query(head->query, out, why);
	if (r == 0 && row->id == CTL_SESSION_ATTACH)
		r = read_attach(body, out, why);
	if (r < 0 || row->id != CTL_MIGRATE)
		return r;
	*why = "the body names no node";
	if (node == NULL || *node == '\0' || strlen(node) >= sizeof(out->node))
		return -EINVAL;
	(void)snprintf(out->node, sizeof(out->node), "%s", node);
	return 0;
}

/* ---- writing ---- */
static bool plain(const char *name)
{
	return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
	       strlen(name);
}

/* The row's path, with what the request says in place of its ':' segments. */
static int write_path(const struct ctl_route *row, const struct ctl_ask *ask,
		      char out[HTTP_PATH_MAX])
{
	size_t n = 0;

	for (const char *p = row->path; *p != '\0' && n < HTTP_PATH_MAX - 32;) {
		if (*p != ':') {
			out[n++] = *p++;
			continue;
		}
		if (strncmp(p, ":pid", 4) == 0 && (ask->pid < 1 || ask->pid > PID_MAX))
			return -EINVAL;
		if (strncmp(p, ":pid", 4) == 0)
			n += (size_t)sprintf(out + n, "%d", ask->pid);
		else if (strncmp(p, ":id", 3) == 0)
			n += (size_t)sprintf(out + n, "%" PRIu64, ask->session);
		else
			out[n++] = '-';
		p += strcspn(p, "/");
	}
	out[n] = '\0';
	return 0;
}

static void write_query(const struct ctl_ask *ask, char out[HTTP_PATH_MAX])
{
	if (ask->route == CTL_EVENTS && ask->has_since)
		(void)snprintf(out, HTTP_PATH_MAX, "follow=%d&since=%" PRIx64 "-%" PRIu64,
			       ask->follow, ask->since_life, ask->since);
	else if (ask->route == CTL_EVENTS)
		(void)snprintf(out, HTTP_PATH_MAX, "follow=%d", ask->follow);
	else if (ask->route == CTL_USAGE && ask->has_since)
		(void)snprintf(out, HTTP_PATH_MAX, "since=%" PRIu64, ask->since);
}

static json_t *write_body(const struct ctl_ask *ask)
{
	json_t *body;

	if (ask->route == CTL_MIGRATE)
		return json_pack("{s:s}", "node", ask->node);
	if (ask->route != CTL_SESSION_ATTACH)
		return json_object();
	body = json_pack("{s:I, s:I, s:I, s:b}", "client", (json_int_t)ask->client, "rows",
			 (json_int_t)ask->rows, "cols", (json_int_t)ask->cols, "agent", ask->agent);
	if (body != NULL && ask->has_from)
		(void)json_object_set_new(body, "from", json_integer((json_int_t)ask->from));
	return body;
}

int ctl_ask_write(const struct ctl_ask *ask, struct http_head *head, json_t **body)
{
	const struct ctl_route *row = ctl_route_at(ask->route);

	*body = NULL;
	memset(head, 0, sizeof(*head));
	if (row == NULL)
		return -EINVAL;
	if ((row->who & CTL_INSIDE) == 0)
		return -EACCES;
	if (memchr(ask->node, '\0', sizeof(ask->node)) == NULL || !plain(ask->node) ||
	    write_path(row, ask, head->path) < 0)
		return -EINVAL;
	(void)snprintf(head->method, sizeof(head->method), "%s", row->method);
	write_query(ask, head->query);
	*body = write_body(ask);
	return *body != NULL ? 0 : -ENOMEM;
}
