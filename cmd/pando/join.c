/* SPDX-License-Identifier: Apache-2.0 */
/* join - make this host a node of a machine that invited it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "cmd/pando/doctor.h"
#include "cmd/pando/nodehost.h"

static const char *name_text, *addr_text, *ssh_text;

static const struct opt opts[] = {
	{ "name", 0, "NAME", "this node's name; the host's name without it", &name_text, NULL },
	{ "addr", 0, "ADDR:PORT",
	  "where other nodes reach it; without it the address by which it\n"
	  "                               reaches the machine, port 7300",
	  &addr_text, NULL },
	{ "ssh", 's', "WHERE", "PORT or ADDR:PORT for ssh, or off", &ssh_text, NULL },
	{ 0 },
};

/* A host's name as a node's: the part before the dot, in small letters. */
static void default_name(char out[NODE_NAME_MAX])
{
	char host[65] = "node";

	(void)gethostname(host, sizeof(host) - 1);
	host[strcspn(host, ".")] = '\0';
	for (char *p = host; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p - 'A' + 'a');
	(void)snprintf(out, NODE_NAME_MAX, "%.31s", host);
}

static void end_node(const struct ctx *c, const char *name)
{
	int guard = nodehost_find_guard(c->dir, name, NULL);

	if (guard < 0)
		return;
	(void)pidfd_send_signal(guard, SIGTERM, NULL, 0);
	nodehost_await_end(guard);
}

/*
 * What a join that is refused has started ends with it, and what it has made (@fresh) goes. Not if
 * nobody knows whether the machine has taken the node in: its key is on the disk alone. Returns a
 * code.
 */
static int undo(struct ctx *c, const char *name, bool fresh, int code)
{
	char path[PATH_MAX];

	end_node(c, name);
	if (!fresh || code == CODE_UNREACHABLE)
		return code;
	(void)snprintf(path, sizeof(path), "%s/%s", c->dir, name);
	if (nodehost_remove_groups(c, name) == 0)
		(void)!nodehost_remove_tree(c, path);
	return code;
}

static int join_run(struct ctx *c, int argc, char **argv)
{
	char name[NODE_NAME_MAX], where[64];
	const char *said = c->said;
	struct nodehost l = { 0 };
	struct ssh_where ssh;
	bool started, fresh;
	json_t *body;
	int r, code = doctor_gate(c);

	if (code == 0)
		code = nodehost_dir(c, "join", true);
	if (code == 0)
		code = nodehost_lock(c, "join");
	if (code == 0)
		code = ssh_where(c, ssh_text, false, 1, &ssh);
	if (code != 0)
		return code;
	default_name(name);
	if (c->node != NULL)
		name_text = c->node;
	if (name_text != NULL)
		(void)snprintf(name, sizeof(name), "%.31s", name_text);
	l.dir = c->dir;
	l.node = name;
	l.ssh = ssh_where_text(&ssh, 1, where);
	code = ssh_check(c, &ssh, 1, name);
	if (code != 0)
		return code;
	fresh = !nodehost_exists(c->dir, name);
	r = nodehost_guard(&l);
	started = r > 0;
	if (r < 0 && r != -EALREADY)
		return fail(c, CODE_REFUSED, "pando doctor", "cannot join: cannot start pandod: %s",
			    strerror(-r));
	r = nodehost_wait(c, name, 10000);
	if (r < 0)
		return fail(c, CODE_UNREACHABLE, "pando doctor", "cannot join: pandod: %s",
			    strerror(-r));
	c->node = name;
	body = json_pack("{s:s, s:s, s:s*}", "addr", argv[0], "token", argv[1], "listen",
			 addr_text);
	c->said = NULL; /* what is to be tried is for the member that has invited */
	code = api_call(c, "join", "POST", body, NULL, "/v1/node/join");
	c->said = said;
	if (code != 0 && started && !nodehost_is_member(c, name))
		return undo(c, name, fresh, code);
	if (code == 0 && c->format == FORMAT_TABLE) {
		printf("node %s is a member", name);
		print_try(stdout, c, "pando nodes");
	}
	return code;
}

const struct cmd cmd_join = {
	.name = "join",
	.usage = "join ADDR TOKEN",
	.help = "Make this host a node of the machine that invited it.",
	.more = "ADDR and TOKEN are what `pando invite` on a member prints.",
	.opts = opts,
	.args_min = 2,
	.args_max = 2,
	.run = join_run,
};
