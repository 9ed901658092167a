/* SPDX-License-Identifier: Apache-2.0 */
/* invite, leave - let a host in; take a node out. */
#include <stdio.h>

#include "cmd/pando/cmd.h"

static const char *ttl_text, *uses_text;

static const struct opt opts[] = {
	{ "ttl", 0, "SECONDS", "how long the token is good, 3600 without it", &ttl_text, NULL },
	{ "uses", 0, "N", "how many hosts it lets in, 1 without it", &uses_text, NULL },
	{ 0 },
};

static int invite_run(struct ctx *c, int argc, char **argv)
{
	long ttl = 3600, uses = 1;
	json_t *out;
	int code;

	if (ttl_text != NULL && parse_count(ttl_text, 1, 30 * 86400, &ttl) < 0)
		return fail(c, CODE_USAGE, "pando invite --help",
			    "cannot invite: --ttl '%s' is not 1 to 2592000 seconds", ttl_text);
	if (uses_text != NULL && parse_count(uses_text, 1, 10000, &uses) < 0)
		return fail(c, CODE_USAGE, "pando invite --help",
			    "cannot invite: --uses '%s' is not 1 to 10000", uses_text);
	code = api_call(c, "invite", "POST",
			json_pack("{s:I, s:I}", "ttl_s", (json_int_t)ttl, "uses", (json_int_t)uses),
			&out, "/v1/invites");
	if (code != 0)
		return code;
	if (c->format == FORMAT_JSON)
		(void)print_json(out);
	else
		printf("pando join %s %s\n", json_text(out, "addr"), json_text(out, "token"));
	json_decref(out);
	return CODE_DONE;
}

static int leave_run(struct ctx *c, int argc, char **argv)
{
	return api_call(c, "leave", "POST", NULL, NULL, "/v1/node/leave");
}

const struct cmd cmd_invite = {
	.name = "invite",
	.usage = "invite",
	.help = "Print the command by which another host joins.",
	.opts = opts,
	.run = invite_run,
};

const struct cmd cmd_leave = {
	.name = "leave",
	.usage = "leave",
	.help = "Take this node out of the machine.",
	.more = "With --node it is that node of a local cluster. Its tenants' processes must have\n"
		"ended or moved; what it held for others is handed over first.",
	.run = leave_run,
};
