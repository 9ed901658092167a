/* SPDX-License-Identifier: Apache-2.0 */
/* tenant - add, list and remove tenants. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/guess.h"
#include "cmd/pando/cmd.h"

static const char *cpus_text, *memory_text, *procs_text, *storage_text;

static const struct opt opts[] = {
	{ "cpus", 'c', "N", "add: cores on the whole machine, 0.25 and up", &cpus_text, NULL },
	{ "memory", 'm', "BYTES", "add: memory on the whole machine, 512M, 4G", &memory_text,
	  NULL },
	{ "procs", 'p', "N", "add: processes and threads", &procs_text, NULL },
	{ "storage", 's', "BYTES", "add: bytes in volumes", &storage_text, NULL },
	{ 0 },
};

static const struct col cols[] = {
	{ "TENANT", "name", COL_TEXT },
	{ "ID", "id", COL_NUMBER },
	{ "HOSTIDS", "host_id", COL_NUMBER },
	{ "CPUS", "cpus", COL_NUMBER },
	{ "MEMORY", "memory_bytes", COL_BYTES },
	{ "PROCS", "procs", COL_NUMBER },
	{ "STORAGE", "storage_bytes", COL_BYTES },
	{ "RUNNING", "running", COL_TEXT },
};

static int bad_value(struct ctx *c, const char *opt, const char *text)
{
	return fail(c, CODE_USAGE, "pando tenant --help",
		    "cannot add tenant: --%s '%s' is no amount", opt, text);
}

static int add_limits(struct ctx *c, json_t *body)
{
	uint64_t bytes;
	long n;

	if (cpus_text != NULL) {
		if (parse_milli(cpus_text, &n) < 0)
			return bad_value(c, "cpus", cpus_text);
		(void)json_object_set_new(body, "cpu_milli", json_integer(n));
	}
	if (memory_text != NULL) {
		if (parse_bytes(memory_text, &bytes) < 0)
			return bad_value(c, "memory", memory_text);
		(void)json_object_set_new(body, "memory_bytes", json_integer((json_int_t)bytes));
	}
	if (storage_text != NULL) {
		if (parse_bytes(storage_text, &bytes) < 0)
			return bad_value(c, "storage", storage_text);
		(void)json_object_set_new(body, "storage_bytes", json_integer((json_int_t)bytes));
	}
	if (procs_text != NULL) {
		if (parse_count(procs_text, 1, 4000000, &n) < 0)
			return bad_value(c, "procs", procs_text);
		(void)json_object_set_new(body, "procs", json_integer(n));
	}
	return 0;
}

static int tenant_add(struct ctx *c, const char *name)
{
	json_t *body = json_pack("{s:s}", "name", name), *out;
	char what[96];
	int code = add_limits(c, body);

	if (code != 0) {
		json_decref(body);
		return code;
	}
	(void)snprintf(what, sizeof(what), "add tenant %s", name);
	code = api_call(c, what, "POST", body, &out, "/v1/tenants");
	if (code != 0)
		return code;
	if (c->format == FORMAT_JSON) {
		(void)print_json(out);
	} else {
		printf("tenant %s added", name);
		print_try(stdout, c, "pando login %s", name);
	}
	json_decref(out);
	return CODE_DONE;
}

static int tenant_ls(struct ctx *c)
{
	json_t *body;
	int code = api_call(c, "list tenants", "GET", NULL, &body, "/v1/tenants");

	if (code != 0)
		return code;
	code = print_rows(c, json_object_get(body, "tenants"), cols, ARRAY_LEN(cols));
	json_decref(body);
	return code;
}

static int tenant_rm(struct ctx *c, const char *name)
{
	char what[96];

	(void)snprintf(what, sizeof(what), "remove tenant %s", name);
	return api_call(c, what, "DELETE", NULL, NULL, "/v1/tenants/%s", name);
}

/* ---- set ---- */
enum amount { CORES = 1, BYTES, COUNT };

struct setting {
	const char *name, *member;
	enum amount amount;
	long min, max;
	const char *example;
};

static const struct setting settings[] = {
	{ "cpus", "cpu_milli", CORES, 0, 0, "cpus=2" },
	{ "mem", "memory_bytes", BYTES, 0, 0, "mem=1G" },
	{ "memory", "memory_bytes", BYTES, 0, 0, "memory=1G" },
	{ "procs", "procs", COUNT, 1, 4000000, "procs=200" },
	{ "disk", "storage_bytes", BYTES, 0, 0, "disk=10G" },
	{ "storage", "storage_bytes", BYTES, 0, 0, "storage=10G" },
	{ "weight", "cpu_weight", COUNT, 1, 10000, "weight=100" },
};

static int parse_amount(const struct setting *s, const char *text, uint64_t *out)
{
	long n = 0;
	int r;

	*out = 0;
	if (strcmp(text, "none") == 0)
		return 0;
	if (s->amount == BYTES)
		return parse_bytes(text, out);
	r = s->amount == CORES ? parse_milli(text, &n) : parse_count(text, s->min, s->max, &n);
	*out = (uint64_t)n;
	return r == 0 && n <= 0 ? -EINVAL : r;
}

/* A limit goes into @body. 0, or the code of a refusal. */
static int set_limit(struct ctx *c, const char *name, const char *text, json_t *body)
{
	size_t len = strcspn(text, "=");
	char try_next[96], word[GUESS_MAX], meant[GUESS_MAX + 24];
	struct guess g;
	uint64_t v;

	if (strncmp(text, "network=", 8) == 0)
		return fail(c, CODE_REFUSED, "pando tenant set --help",
			    "cannot limit the network of tenant %s: not yet", name);
	(void)snprintf(word, sizeof(word), "%.*s", (int)len, text);
	guess_init(&g, word);
	guess_offer(&g, "detached");
	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		const struct setting *s = &settings[i];

		guess_offer(&g, s->name);
		if (strlen(s->name) != len || strncmp(text, s->name, len) != 0 || text[len] != '=')
			continue;
		(void)snprintf(try_next, sizeof(try_next), "pando tenant set %.32s %s", name,
			       s->example);
		if (parse_amount(s, text + len + 1, &v) < 0)
			return fail(c, CODE_USAGE, try_next,
				    "cannot set %s of tenant %s: '%s' is no amount", s->name, name,
				    text + len + 1);
		(void)json_object_set_new(body, s->member, json_integer((json_int_t)v));
		return 0;
	}
	return fail(c, CODE_USAGE, "pando tenant --help",
		    "cannot set '%s' of tenant %s: it is no setting%s", text, name,
		    strcmp(g.best, word) != 0 ? guess_text(&g, meant) : "");
}

static int set_detached(struct ctx *c, const char *name, const char *how)
{
	char what[96];

	(void)snprintf(what, sizeof(what), "set detached of tenant %.32s", name);
	return api_call(c, what, "POST", json_pack("{s:s}", "detached", how), NULL,
			"/v1/tenants/%s/detached", name);
}

/* SETTING=VALUE... All are looked at before the first takes effect. */
static int tenant_set(struct ctx *c, const char *name, int argc, char **argv)
{
	static const char *const detached = "detached=";
	json_t *body = json_object();
	const char *how = NULL;
	char what[96];
	int code = 0;

	for (int i = 0; code == 0 && i < argc; i++) {
		if (strncmp(argv[i], detached, strlen(detached)) == 0)
			how = argv[i] + strlen(detached);
		else
			code = set_limit(c, name, argv[i], body);
	}
	if (code == 0 && how != NULL)
		code = set_detached(c, name, how);
	if (code != 0 || json_object_size(body) == 0) {
		json_decref(body);
		return code;
	}
	(void)snprintf(what, sizeof(what), "set limits of tenant %.32s", name);
	return api_call(c, what, "POST", body, NULL, "/v1/tenants/%s/limits", name);
}

static int tenant_run(struct ctx *c, int argc, char **argv)
{
	static const char *const verbs[] = { "add", "ls", "rm", "set", "key" };

	if (strcmp(argv[0], "ls") == 0 && argc == 1)
		return tenant_ls(c);
	if (strcmp(argv[0], "add") == 0 && argc == 2)
		return tenant_add(c, argv[1]);
	if (strcmp(argv[0], "rm") == 0 && argc == 2)
		return tenant_rm(c, argv[1]);
	if (strcmp(argv[0], "set") == 0 && argc >= 3)
		return tenant_set(c, argv[1], argc - 2, argv + 2);
	if (strcmp(argv[0], "key") == 0)
		return tenant_key(c, argc - 1, argv + 1);
	return fail_word(c, "tenant", argv[0], verbs, ARRAY_LEN(verbs), cmd_tenant.usage);
}

const struct cmd cmd_tenant = {
	.name = "tenant",
	.usage = "tenant add NAME | ls | rm NAME | set NAME SETTING=VALUE... | key add|ls|rm NAME "
		 "...",
	.help = "Add, list, change or remove tenants and their ssh keys.",
	.more = "A limit that is not given is no limit. rm ends all processes of the tenant on "
		"all\n"
		"nodes; its files stay.\n"
		"\n"
		"set: cpus=2 mem=1G procs=200 disk=10G, of the whole machine, or none; weight=100, "
		"the\n"
		"part of a busy processor (1 to 10000). disk can be given before the first login, "
		"and\n"
		"then only grow. detached=keep (a session whose connection is lost goes on) or "
		"hangup.\n"
		"key add NAME [FILE|-]: public keys, one a line; key rm NAME takes a fingerprint "
		"or\n"
		"its beginning, or a comment. A key lets in one tenant; a removed one lets in "
		"nobody\n"
		"from the next second on.",
	.opts = opts,
	.args_min = 1,
	.args_max = 12,
	.run = tenant_run,
};
