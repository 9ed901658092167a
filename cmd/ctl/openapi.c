/* SPDX-License-Identifier: Apache-2.0 */
/* openapi.c - the OpenAPI 3.1 description of the control API, made from the table of routes. */
#include <stdio.h>
#include <string.h>

#include "cmd/ctl/routes.h"

static void add_parameter(void *arg, const char *name, const char *type, bool required)
{
	(void)json_array_append_new(arg, json_pack("{s:s, s:s, s:b, s:{s:s}}", "name", name, "in",
						   "query", "required", required, "schema", "type",
						   type));
}

static void add_property(void *arg, const char *name, const char *type, bool required)
{
	json_t *schema = arg;

	json_t *property = json_pack("{s:s}", "type", type);

	if (strcmp(type, "integer") == 0)
		(void)json_object_set_new(property, "minimum", json_integer(0));
	(void)json_object_set_new(json_object_get(schema, "properties"), name, property);
	if (required)
		(void)json_array_append_new(json_object_get(schema, "required"), json_string(name));
}

/* "/v1/tenants/:name" -> "/v1/tenants/{name}", and the parameters in it. */
static void add_path_parameters(const char *pattern, char out[HTTP_PATH_MAX], json_t *parameters)
{
	size_t n = 0;

	while (*pattern != '\0' && n < HTTP_PATH_MAX - 3) {
		char name[64];
		size_t len = strcspn(pattern + 1, "/");

		if (*pattern != ':') {
			out[n++] = *pattern++;
			continue;
		}
		(void)snprintf(name, sizeof(name), "%.*s", (int)len, pattern + 1);
		n += (size_t)snprintf(out + n, HTTP_PATH_MAX - n, "{%s}", name);
		pattern += len + 1;
		(void)json_array_append_new(parameters,
					    json_pack("{s:s, s:s, s:b, s:{s:s}}", "name", name,
						      "in", "path", "required", true, "schema",
						      "type", "string"));
	}
	out[n] = '\0';
}

static const char *type_of(enum ctl_answer_kind a)
{
	return a == CTL_LINES  ? "application/jsonl"
	       : a == CTL_TEXT ? "application/openmetrics-text"
			       : "application/json";
}

static json_t *responses(const struct ctl_route *rt)
{
	char code[8];
	json_t *all = json_object();

	(void)snprintf(code, sizeof(code), "%d", rt->status ? rt->status : 200);
	(void)json_object_set_new(all, code,
				  json_pack("{s:s, s:{s:{}}}", "description", "done", "content",
					    type_of(rt->answer)));
	(void)json_object_set_new(all, "default",
				  json_pack("{s:s, s:{s:{s:{s:s}}}}", "description",
					    "refused, and why", "content",
					    "application/problem+json", "schema", "$ref",
					    "#/components/schemas/Problem"));
	return all;
}

static json_t *operation(const struct ctl_route *rt, json_t *parameters)
{
	json_t *op =
		json_pack("{s:s, s:s, s:s}", "summary", rt->summary, "x-curl", rt->curl, "x-caller",
			  (rt->who & CTL_INSIDE) ? "operator or tenant" : "operator");
	json_t *schema;

	ctl_fields(rt->query, add_parameter, parameters);
	if (json_array_size(parameters) > 0)
		(void)json_object_set(op, "parameters", parameters);
	(void)json_object_set_new(op, "responses", responses(rt));
	if (rt->body == NULL)
		return op;
	schema = json_pack("{s:s, s:{}, s:[], s:b}", "type", "object", "properties", "required",
			   "additionalProperties", false);
	ctl_fields(rt->body, add_property, schema);
	(void)json_object_set_new(
		op, "requestBody",
		json_pack("{s:{s:{s:o}}}", "content", "application/json", "schema", schema));
	return op;
}

static json_t *problem_schema(void)
{
	return json_pack("{s:s, s:{s:{s:s}, s:{s:s}, s:{s:s}, s:{s:s, s:s}}, s:[s, s, s]}", "type",
			 "object", "properties", "title", "type", "string", "status", "type",
			 "integer", "detail", "type", "string", "try", "type", "string",
			 "description", "a command that helps", "required", "title", "status",
			 "detail");
}

json_t *ctl_openapi(void)
{
	json_t *paths = json_object();
	const struct ctl_route *rt;
	size_t n;

	rt = ctl_routes(&n);
	for (size_t i = 0; i < n; i++) {
		char path[HTTP_PATH_MAX], method[HTTP_METHOD_MAX];
		json_t *parameters = json_array(), *item;
		size_t m = 0;

		for (; rt[i].method[m] != '\0'; m++)
			method[m] = (char)(rt[i].method[m] | 0x20);
		method[m] = '\0';
		add_path_parameters(rt[i].path, path, parameters);
		item = json_object_get(paths, path);
		if (item == NULL) {
			item = json_object();
			(void)json_object_set_new(paths, path, item);
		}
		(void)json_object_set_new(item, method, operation(&rt[i], parameters));
		json_decref(parameters);
	}
	return json_pack("{s:s, s:{s:s, s:s}, s:o, s:{s:{s:o}}}", "openapi", "3.1.0", "info",
			 "title", "Pando control API", "version", "1", "paths", paths, "components",
			 "schemas", "Problem", problem_schema());
}
