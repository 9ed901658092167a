/* SPDX-License-Identifier: Apache-2.0 */
/* tenant key - public keys that let a tenant in over ssh. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "cmd/gate/gate.h"
#include "cmd/pando/cmd.h"

static const struct col cols[] = {
	{ "FINGERPRINT", "fingerprint", COL_TEXT },
	{ "TYPE", "type", COL_TEXT },
	{ "COMMENT", "comment", COL_TEXT },
};

static void shown(const struct ctx *c, const char *verb, const json_t *k)
{
	const char *comment = json_text(k, "comment");

	if (c->format == FORMAT_JSON)
		(void)print_json(k);
	else
		printf("key %s%s%s%s %s\n", json_text(k, "fingerprint"), *comment ? " (" : "",
		       comment, *comment ? ")" : "", verb);
	(void)fflush(stdout); /* before what may be said of the next one */
}

/* One line of a file of keys: empty ones and remarks are passed over. */
static int add_line(struct ctx *c, struct ctl_client *cl, const char *name, const char *file,
		    unsigned number, const char *line)
{
	char what[256], path[HTTP_PATH_MAX], where[64] = "";
	struct ctl_answer a = { 0 };
	struct gate_key k;
	const char *why;
	json_t *body;
	int r, code = CODE_DONE;

	if (number > 1)
		(void)snprintf(where, sizeof(where), " line %u", number);
	(void)snprintf(what, sizeof(what), "add a key of %.32s from %.100s%s", name, file, where);
	if (gate_key_parse(line, strlen(line), &k, &why) < 0)
		return fail(c, CODE_USAGE, "ssh-keygen -y -f ~/.ssh/id_ed25519", "cannot %s: %s",
			    what, why);
	body = json_pack("{s:s}", "key", k.line);
	(void)snprintf(path, sizeof(path), "/v1/tenants/%.64s/keys", name);
	r = ctl_client_call(cl, "POST", path, body, &a);
	json_decref(body);
	if (r < 0)
		code = fail(c, CODE_UNREACHABLE, "pando status",
			    "cannot %s: the daemon went away (%s)", what, strerror(-r));
	else if (a.status >= 400)
		code = api_refused(c, what, &a);
	else
		shown(c, "added", a.body);
	ctl_answer_fini(&a);
	return code;
}

static bool is_empty(const char *line)
{
	line += strspn(line, " \t\r");
	return *line == '\0' || *line == '#';
}

static int add_all(struct ctx *c, const char *name, const char *file, FILE *f)
{
	struct ctl_client *cl;
	unsigned number = 0, keys = 0;
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	int code = api_open(c, "add a key", &cl);

	if (code != 0)
		return code;
	while (code == 0 && (n = getline(&line, &cap, f)) >= 0) {
		number++;
		if (n > 0 && line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (is_empty(line))
			continue;
		keys++;
		code = add_line(c, cl, name, file, number, line);
	}
	free(line);
	ctl_client_free(cl);
	if (code == 0 && keys == 0)
		code = fail(c, CODE_USAGE, "pando tenant key add TENANT ~/.ssh/id_ed25519.pub",
			    "cannot add a key of %s from %s: there is no key in it", name, file);
	return code;
}

static int key_add(struct ctx *c, const char *name, const char *file)
{
	FILE *f = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
	int code;

	if (f == NULL)
		return fail(c, CODE_NOT_FOUND, "ssh-keygen -t ed25519",
			    "cannot add a key of %s: %s: %s", name, file, strerror(errno));
	code = add_all(c, name, strcmp(file, "-") == 0 ? "standard input" : file, f);
	if (f != stdin)
		(void)fclose(f);
	return code;
}

static int fetch(struct ctx *c, const char *name, json_t **out)
{
	char what[64];

	(void)snprintf(what, sizeof(what), "list the keys of %.32s", name);
	return api_call(c, what, "GET", NULL, out, "/v1/tenants/%s/keys", name);
}

static int key_ls(struct ctx *c, const char *name)
{
	json_t *body;
	int code = fetch(c, name, &body);

	if (code != 0)
		return code;
	code = print_rows(c, json_object_get(body, "keys"), cols, ARRAY_LEN(cols));
	json_decref(body);
	return code;
}

/* The fingerprint itself or its beginning, with or without "SHA256:"; or the comment. */
static bool is_meant(const json_t *k, const char *which)
{
	const char *fp = json_text(k, "fingerprint");

	return strcmp(json_text(k, "comment"), which) == 0 ||
	       (strlen(which) >= 4 && (strncmp(fp, which, strlen(which)) == 0 ||
				       strncmp(fp + 7, which, strlen(which)) == 0));
}

static int key_rm(struct ctx *c, const char *name, const char *which)
{
	char what[256], hex[65], try_next[80];
	const json_t *row, *found = NULL;
	uint8_t hash[32];
	json_t *body, *gone;
	size_t i, n = 0;
	int code = fetch(c, name, &body);

	if (code != 0)
		return code;
	(void)snprintf(what, sizeof(what), "remove key %.100s of %.32s", which, name);
	(void)snprintf(try_next, sizeof(try_next), "pando tenant key ls %.40s", name);
	json_array_foreach(json_object_get(body, "keys"), i, row)
	{
		if (is_meant(row, which)) {
			found = row;
			n++;
		}
	}
	if (n != 1 || gate_fingerprint_parse(json_text(found, "fingerprint"), hash) < 0) {
		json_decref(body);
		return fail(c, n == 0 ? CODE_NOT_FOUND : CODE_USAGE, try_next, "cannot %s: %s",
			    what, n == 0 ? "there is no such key" : "several are meant by that");
	}
	(void)sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
	json_decref(body);
	code = api_call(c, what, "DELETE", NULL, &gone, "/v1/tenants/%s/keys/%s", name, hex);
	if (code != 0)
		return code;
	shown(c, "removed", gone);
	json_decref(gone);
	return CODE_DONE;
}

int tenant_key(struct ctx *c, int argc, char **argv)
{
	static const char *const verbs[] = { "add", "ls", "rm" };

	if (argc >= 2 && argc <= 3 && strcmp(argv[0], "add") == 0)
		return key_add(c, argv[1], argc == 3 ? argv[2] : "-");
	if (argc == 2 && strcmp(argv[0], "ls") == 0)
		return key_ls(c, argv[1]);
	if (argc == 3 && strcmp(argv[0], "rm") == 0)
		return key_rm(c, argv[1], argv[2]);
	return fail_word(c, "tenant key", argc > 0 ? argv[0] : "", verbs, ARRAY_LEN(verbs),
			 "tenant key add NAME [FILE|-], key ls NAME, key rm NAME KEY");
}
