/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_key.c - tenants' ssh keys and what becomes of their sessions when a connection is lost.
 *
 * A key is named by the sha256 of its blob: "SHA256:..." to people, hexadecimal in a path.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "cmd/gate/gate.h"
#include "cmd/pandod/pod.h"

struct key_change {
	struct ctl_req *req; /* NULL: the caller went away */
	char tenant[TENANT_NAME_MAX];
	char fingerprint[GATE_FINGERPRINT_MAX];
	char comment[GATE_COMMENT_MAX];
	char type[48];
	bool added;
};

static void change_gone(void *arg)
{
	struct key_change *x = arg;

	x->req = NULL;
}

static json_t *key_json(const char *fingerprint, const char *type, const char *comment)
{
	return json_pack("{s:s, s:s, s:s}", "fingerprint", fingerprint, "type", type, "comment",
			 comment);
}

static const char *why_not(int err)
{
	switch (err) {
	case -EEXIST:
		return "a tenant has this key already: one key logs in one tenant";
	case -ENOENT:
		return "there is no such key";
	case -ENOSPC:
		return "the machine has no room for another key";
	case -ETIMEDOUT:
		return "no leader answered";
	default:
		return strerror(-err);
	}
}

static void change_done(void *arg, int err, const struct naming_result *res)
{
	struct key_change *x = arg;
	char try_next[64];

	if (err == 0)
		err = res->err;
	(void)snprintf(try_next, sizeof(try_next), "pando tenant key ls %s", x->tenant);
	if (x->req != NULL && err == 0)
		ctl_reply(x->req, x->added ? 201 : 200,
			  key_json(x->fingerprint, x->type, x->comment));
	else if (x->req != NULL)
		api_refuse(x->req, err, err == -ETIMEDOUT ? "pando status" : try_next,
			   why_not(err));
	free(x);
}

static void propose(struct pod *p, struct ctl_req *r, const struct naming_tenant *t,
		    const struct gate_key *k, struct naming_cmd *cmd)
{
	struct key_change *x = calloc(1, sizeof(*x));
	int err;

	CHECK(x != NULL);
	cmd->tenant = t->id;
	memcpy(cmd->key, k->hash, sizeof(cmd->key));
	x->req = r;
	x->added = cmd->kind == NAMING_CMD_KEY_ADD;
	(void)snprintf(x->tenant, sizeof(x->tenant), "%s", t->name);
	(void)snprintf(x->fingerprint, sizeof(x->fingerprint), "%s", k->fingerprint);
	(void)snprintf(x->comment, sizeof(x->comment), "%s", k->comment);
	(void)snprintf(x->type, sizeof(x->type), "%s", k->type);
	ctl_req_on_gone(r, change_gone, x);
	err = naming_propose(p->naming, cmd, clock_mono_ns() + POD_ASK_MS * NS_PER_MS, change_done,
			     x);
	if (err < 0)
		change_done(x, err, NULL);
}

void api_key_add(struct pod *p, struct ctl_req *r, const struct naming_tenant *t)
{
	struct naming_cmd cmd = { .kind = NAMING_CMD_KEY_ADD };
	const char *line = json_string_value(json_object_get(ctl_req_body(r), "key")), *why;
	struct gate_key k;

	if (line == NULL || gate_key_parse(line, strlen(line), &k, &why) < 0) {
		ctl_problem(r, 400, "pando tenant key add TENANT ~/.ssh/id_ed25519.pub",
			    "the key is refused: %s", line ? why : "there is none");
		return;
	}
	(void)snprintf(cmd.text, sizeof(cmd.text), "%s", k.line);
	propose(p, r, t, &k, &cmd);
}

void api_key_list(struct pod *p, struct ctl_req *r, const struct naming_tenant *t)
{
	const struct naming_core *c = naming_tables(p->naming);
	const struct naming_key *row;
	json_t *rows = json_array();

	for (uint32_t i = 0; (row = naming_key_at(c, i)) != NULL; i++) {
		struct gate_key k;
		const char *why;

		if (row->tenant == t->id &&
		    gate_key_parse(row->line, strlen(row->line), &k, &why) == 0)
			(void)json_array_append_new(rows,
						    key_json(k.fingerprint, k.type, k.comment));
	}
	ctl_reply(r, 200, json_pack("{s:o}", "keys", rows));
}

/* The key that a path names by its hash, if it is this tenant's. */
static const struct naming_key *find_key(struct pod *p, const struct naming_tenant *t,
					 const char *hex)
{
	const struct naming_key *row;
	uint8_t hash[NAMING_KEY_BYTES];
	size_t n = 0;

	if (strlen(hex) != 2 * sizeof(hash) ||
	    sodium_hex2bin(hash, sizeof(hash), hex, strlen(hex), NULL, &n, NULL) != 0 ||
	    n != sizeof(hash))
		return NULL;
	row = naming_key_find(naming_tables(p->naming), hash);
	return row != NULL && row->tenant == t->id ? row : NULL;
}

void api_key_remove(struct pod *p, struct ctl_req *r, const struct naming_tenant *t,
		    const char *hex)
{
	const struct naming_key *row = find_key(p, t, hex);
	struct naming_cmd cmd = { .kind = NAMING_CMD_KEY_REMOVE };
	struct gate_key k;
	const char *why;

	if (row == NULL || gate_key_parse(row->line, strlen(row->line), &k, &why) < 0)
		ctl_problem(r, 404, "pando tenant key ls TENANT", "%s has no such key", t->name);
	else
		propose(p, r, t, &k, &cmd);
}

/* ---- detached=keep|hangup ---- */
static void flags_done(void *arg, int err, const struct naming_result *res)
{
	struct key_change *x = arg;

	if (err == 0)
		err = res->err;
	if (x->req != NULL && err == 0)
		ctl_reply(x->req, 200, NULL);
	else if (x->req != NULL)
		api_refuse(x->req, err, "pando status",
			   err == -ETIMEDOUT ? "no leader answered" : strerror(-err));
	free(x);
}

void api_tenant_detached(struct pod *p, struct ctl_req *r, const struct naming_tenant *t)
{
	const char *what = json_string_value(json_object_get(ctl_req_body(r), "detached"));
	struct naming_cmd cmd = { .kind = NAMING_CMD_TENANT_FLAGS,
				  .tenant = t->id,
				  .number = NAMING_TENANT_HANGUP };
	struct key_change *x;
	int err;

	if (what == NULL || (strcmp(what, "keep") != 0 && strcmp(what, "hangup") != 0)) {
		ctl_problem(r, 400, "pando tenant set TENANT detached=keep",
			    "detached is keep or hangup");
		return;
	}
	cmd.flags = strcmp(what, "hangup") == 0 ? NAMING_TENANT_HANGUP : 0;
	x = calloc(1, sizeof(*x));
	CHECK(x != NULL);
	x->req = r;
	ctl_req_on_gone(r, change_gone, x);
	err = naming_propose(p->naming, &cmd, clock_mono_ns() + POD_ASK_MS * NS_PER_MS, flags_done,
			     x);
	if (err < 0)
		flags_done(x, err, NULL);
}
