/* SPDX-License-Identifier: Apache-2.0 */
/*
 * down - end a local cluster, or this host's node. Processes, mounts, namespaces, links and control
 * groups go; data stays unless --purge says otherwise.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "cmd/pando/nodehost.h"

static bool purge;

static const struct opt opts[] = {
	{ "purge", 0, NULL, "remove all data too: tenants, files, keys", NULL, &purge },
	{ 0 },
};

static int remove_files(struct ctx *c, char names[NODES_MAX][NODE_NAME_MAX], int n)
{
	char path[PATH_MAX];
	int code = 0;

	for (int i = 0; i < n && code == 0; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s%s", c->dir, names[i],
			       purge ? "" : "/run");
		code = nodehost_remove_tree(c, path);
	}
	(void)snprintf(path, sizeof(path), "%s/switch.pid", c->dir);
	if (unlink(path) < 0 && errno != ENOENT)
		code = fail(c, CODE_REFUSED, NULL, "cannot remove %s: %s", path, strerror(errno));
	if (code == 0 && purge) {
		(void)snprintf(path, sizeof(path), "%s/vol", c->dir);
		code = nodehost_remove_tree(c, path);
		/* The directory itself may be the user's and hold other things. */
		if (code == 0 && rmdir(c->dir) < 0 && errno != ENOTEMPTY && errno != ENOENT)
			code = fail(c, CODE_REFUSED, NULL, "cannot remove %s: %s", c->dir,
				    strerror(errno));
	}
	return code;
}

static int down_run(struct ctx *c, int argc, char **argv)
{
	char names[NODES_MAX][NODE_NAME_MAX];
	int guards[NODES_MAX], sw, n, running = 0;
	int code = nodehost_dir(c, "take the cluster down", false);

	if (code == 0)
		code = nodehost_lock(c, "take the cluster down");
	if (code != 0)
		return code;
	n = nodehost_nodes(c->dir, names);
	if (n < 0)
		return fail(c, CODE_REFUSED, NULL, "cannot read %s: %s", c->dir, strerror(-n));
	for (int i = 0; i < n; i++) {
		guards[i] = nodehost_find_guard(c->dir, names[i], NULL);
		if (guards[i] >= 0) {
			running++;
			(void)pidfd_send_signal(guards[i], SIGTERM, NULL, 0);
		}
	}
	for (int i = 0; i < n; i++)
		if (guards[i] >= 0)
			nodehost_await_end(guards[i]);
	sw = nodehost_find_switch(c->dir, NULL);
	if (sw >= 0) {
		(void)pidfd_send_signal(sw, SIGTERM, NULL, 0);
		nodehost_await_end(sw);
	}
	code = nodehost_remove_groups(c, NULL);
	if (code == 0)
		code = remove_files(c, names, n);
	if (code == 0 && c->format == FORMAT_TABLE)
		printf("%d node%s down%s\n", running, running == 1 ? "" : "s",
		       purge ? ", all data removed" : "");
	return code;
}

const struct cmd cmd_down = {
	.name = "down",
	.usage = "down [--purge]",
	.help = "End the cluster; its data stays unless --purge.",
	.more = "Ends all sessions and processes of all tenants. Data stays in DIR: `pando up` "
		"brings\n"
		"the same machine back. --purge removes it.",
	.opts = opts,
	.run = down_run,
};
