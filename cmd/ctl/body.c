/* SPDX-License-Identifier: Apache-2.0 */
/* body.c - whether a request's body is what the table says of it: a typo asks for nothing else. */
#include <stdio.h>
#include <string.h>

#include "cmd/ctl/routes.h"

void ctl_fields(const char *text, ctl_field_fn cb, void *arg)
{
	char copy[512], *save, *word;

	(void)snprintf(copy, sizeof(copy), "%s", text ? text : "");
	for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *type = strchr(word, ':');
		size_t n = strlen(word);
		bool required = word[n - 1] == '!';

		if (type == NULL)
			continue;
		*type++ = '\0';
		if (required)
			word[n - 1] = '\0';
		cb(arg, word, type, required);
	}
}

struct check {
	const json_t *body;
	size_t known; /* members that the table has, and the body too */
	char *why;
	size_t size;
	const char *name; /* of the member that is looked for in the table */
	bool found;
};

static bool is_of(const json_t *v, const char *type)
{
	if (strcmp(type, "integer") == 0)
		return json_is_integer(v) && json_integer_value(v) >= 0;
	if (strcmp(type, "boolean") == 0)
		return json_is_boolean(v);
	if (strcmp(type, "array") == 0)
		return json_is_array(v);
	return json_is_string(v);
}

static void check_field(void *arg, const char *name, const char *type, bool required)
{
	struct check *c = arg;
	const json_t *v = json_object_get(c->body, name);

	c->known += v != NULL;
	if (*c->why != '\0')
		return;
	if (v == NULL && required)
		(void)snprintf(c->why, c->size, "the body has no member '%s'", name);
	else if (v != NULL && !is_of(v, type))
		(void)snprintf(c->why, c->size, "'%s' is no %s%s", name, type,
			       json_is_integer(v) ? " from 0 on" : "");
}

static void find_field(void *arg, const char *name, const char *type, bool required)
{
	struct check *c = arg;

	(void)type;
	(void)required;
	c->found |= strcmp(name, c->name) == 0;
}

bool ctl_body_ok(const struct ctl_route *row, const json_t *body, char *why, size_t size)
{
	struct check c = { .body = body, .why = why, .size = size };
	const json_t *v;

	*why = '\0';
	ctl_fields(row->body, check_field, &c);
	if (*why != '\0' || c.known == json_object_size(body))
		return *why == '\0';
	json_object_foreach((json_t *)(uintptr_t)body, c.name, v)
	{
		c.found = false;
		ctl_fields(row->body, find_field, &c);
		if (!c.found)
			break;
	}
	(void)snprintf(why, size, "the body has a member '%.60s', which means nothing here",
		       c.name);
	return false;
}
