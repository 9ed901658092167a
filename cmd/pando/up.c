/* SPDX-License-Identifier: Apache-2.0 */
/*
 * up - start a local cluster of N nodes, or this host's own node.
 *
 * A local node differs from a host in where its guard runs: in namespaces of its own behind a veth.
 * All else is what a user of separate hosts does: the first node bootstraps a machine, the others
 * join it by address and one-time token, over TCP.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/pando/doctor.h"
#include "cmd/pando/nodehost.h"
#include "cmd/pando/wants.h"
#include "quota/cgroup/cgroup.h"

enum { PORT = 7300, START_MS = 10000 };

static const char *count_text, *cpus_text, *addr_text, *name_text, *volumes_text, *ssh_text,
	*lease_text;
static bool foreground, host_mode, no_balance;

static const struct opt opts[] = {
	{ "nodes", 'n', "N", "nodes of the local cluster; without it as many as there were, else 1",
	  &count_text, NULL },
	{ "cpus", 'c', "X", "cores of each local node, 0.25 and up; no limit without it",
	  &cpus_text, NULL },
	{ "fg", 'f', NULL, "stay, and take the cluster down at SIGINT or SIGTERM", NULL,
	  &foreground },
	{ "ssh", 's', "WHERE", "PORT or ADDR:PORT for ssh, of each further node one more; or off",
	  &ssh_text, NULL },
	{ "lease", 0, "F:K",
	  "freeze a cut-off node's guests after F seconds and kill them after K; 10:30 without it",
	  &lease_text, NULL },
	{ "no-balance", 0, NULL, "running programs are moved by commands only", NULL, &no_balance },
	{ "host", 0, NULL, "no local cluster: this host is the first node", NULL, &host_mode },
	{ "addr", 0, "ADDR", "--host: where other nodes reach it", &addr_text, NULL },
	{ "name", 0, "NAME", "--host: the node's name, n1 without it", &name_text, NULL },
	{ "volumes", 0, "DIR", "--host: a directory that all nodes mount, for tenants' files",
	  &volumes_text, NULL },
	{ 0 },
};

struct up {
	struct ctx *c;
	struct wants w;
	int switch_pid;
	char member[NODE_NAME_MAX]; /* by whom others join; "": n1 makes the machine */
	long started;
	char volumes[PATH_MAX];
};

static int cannot(struct up *u, const char *node, const char *what, int r)
{
	char try_next[PATH_MAX + 32];

	(void)snprintf(try_next, sizeof(try_next), "tail %s/%s/log/pandod.log", u->c->dir, node);
	return fail(u->c, CODE_REFUSED, try_next, "cannot bring node %s up: %s: %s", node, what,
		    strerror(-r));
}

static int start_node(struct up *u, const char *node, unsigned k)
{
	char where[64];
	struct nodehost l = { .dir = u->c->dir,
			      .node = node,
			      .local = true,
			      .cpu_milli = u->w.cpu_milli,
			      .lease = u->w.lease[0] ? u->w.lease : NULL,
			      .no_balance = u->w.no_balance,
			      .ssh = ssh_where_text(&u->w.ssh, k, where) };
	int pid, r = ssh_check(u->c, &u->w.ssh, k, node);

	if (r != 0)
		return r;
	if (nodehost_has_left(u->c->dir, node) && u->c->format == FORMAT_TABLE)
		printf("node %s has left the machine: it joins as a new one\n", node);
	pid = nodehost_guard(&l);
	if (pid == -EALREADY) {
		r = nodehost_find_guard(u->c->dir, node, &pid);
		if (r < 0)
			return cannot(u, node, "find its guard", r);
		(void)close(r);
		/* Who started it may have been broken off before this. */
		if (nodehost_is_plugged(pid))
			return 0;
	}
	if (pid < 0)
		return cannot(u, node, "start its guard", pid);
	r = nodehost_plug(u->switch_pid, pid, k);
	return r < 0 ? cannot(u, node, "plug it into the switch", r) : 0;
}

/* Asks one node; prints and returns a code. */
static int ask_node(struct up *u, const char *node, const char *what, const char *method,
		    json_t *body, json_t **out, const char *path)
{
	struct ctx of_node = *u->c;

	of_node.node = node;
	return api_call(&of_node, what, method, body, out, "%s", path);
}

static int bootstrap(struct up *u, const char *node, const char *addr, const char *kind)
{
	const char *slash = strrchr(u->c->dir, '/');
	char listen[64];
	json_t *body;

	if (nodehost_is_member(u->c, node))
		return 0;
	(void)snprintf(listen, sizeof(listen), strchr(addr, ':') ? "%s" : "%s:%d", addr, PORT);
	body = json_pack("{s:s, s:s, s:s, s:s}", "machine", slash && slash[1] ? slash + 1 : "pando",
			 "addr", listen, "volumes", u->volumes, "volume_kind", kind);
	return ask_node(u, node, "bootstrap the machine", "POST", body, NULL, "/v1/node/bootstrap");
}

/* A join that an `up` which was broken off has begun may come first: it is a member all the same.
 */
static int ask_join(struct up *u, const char *node, json_t *body)
{
	struct ctx of_node = *u->c;
	struct ctl_client *cl = NULL;
	struct ctl_answer a = { 0 };
	int code, r;

	of_node.node = node;
	code = api_open(&of_node, "join the machine", &cl);
	r = code == 0 ? ctl_client_call(cl, "POST", "/v1/node/join", body, &a) : 0;
	if (code == 0 && r < 0)
		code = cannot(u, node, "join the machine", r);
	else if (code == 0 && a.status >= 400 && !nodehost_is_member(u->c, node))
		code = api_refused(u->c, "join the machine", &a);
	ctl_answer_fini(&a);
	ctl_client_free(cl);
	json_decref(body);
	return code;
}

static int join(struct up *u, const char *node, unsigned k)
{
	char addr[32], listen[64];
	json_t *invite = NULL, *body;
	int code;

	if (nodehost_is_member(u->c, node))
		return 0;
	code = ask_node(u, u->member[0] ? u->member : "n1", "invite a node", "POST",
			json_pack("{s:i, s:i}", "ttl_s", 60, "uses", 1), &invite, "/v1/invites");
	if (code != 0)
		return code;
	nodehost_addr(k, addr);
	(void)snprintf(listen, sizeof(listen), "%s:%d", addr, PORT);
	body = json_pack("{s:s, s:s, s:s}", "addr", json_text(invite, "addr"), "token",
			 json_text(invite, "token"), "listen", listen);
	json_decref(invite);
	return ask_join(u, node, body);
}

/* n1 makes the machine, if there is none that it could join. */
static bool is_maker(const struct up *u, unsigned k)
{
	return k == 1 && (u->member[0] == '\0' || strcmp(u->member, "n1") == 0);
}

/* Waits for the node's daemon and makes it a member: the first one makes the machine. */
static int enter(struct up *u, unsigned k)
{
	char name[NODE_NAME_MAX], addr[32];
	int r;

	(void)snprintf(name, sizeof(name), "n%u", k);
	r = nodehost_wait(u->c, name, START_MS);
	if (r < 0)
		return cannot(u, name, "wait for its daemon", r);
	nodehost_addr(k, addr);
	return is_maker(u, k) ? bootstrap(u, name, addr, "dir") : join(u, name, k);
}

/* As enter() of the first node, beside us: its election takes as long as the others' start. */
static pid_t enter_first(struct up *u)
{
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(enter(u, 1));
	return pid;
}

static int await_first(struct up *u, pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return CODE_REFUSED;
	return WIFEXITED(status) ? WEXITSTATUS(status) : CODE_REFUSED;
}

/* Who has left comes back only if it is asked for. */
static bool is_wanted(const struct up *u, unsigned k, char name[NODE_NAME_MAX])
{
	(void)snprintf(name, NODE_NAME_MAX, "n%u", k);
	return u->w.count_text != NULL || u->member[0] == '\0' ||
	       !nodehost_has_left(u->c->dir, name);
}

/* A member out of those that are to run. Without n1's data it would make a second machine. */
static int find_member(struct up *u)
{
	char names[NODES_MAX][NODE_NAME_MAX], try_next[32];
	int n = nodehost_nodes(u->c->dir, names);

	for (int i = 0; i < n; i++) {
		unsigned k = nodehost_number(names[i]);

		if (k == 0 || !nodehost_has_joined(u->c->dir, names[i]))
			continue;
		(void)snprintf(try_next, sizeof(try_next), "pando up -n %u", k);
		if (k > u->w.count)
			return fail(u->c, CODE_REFUSED, try_next,
				    "cannot bring %ld node%s up: the machine's first node is %s",
				    u->w.count, u->w.count == 1 ? "" : "s", names[i]);
		(void)snprintf(u->member, sizeof(u->member), "%.31s", names[i]);
		return 0;
	}
	return 0;
}

static int start_all(struct up *u)
{
	char name[NODE_NAME_MAX];
	pid_t first = -1;
	int code = find_member(u), r;

	/* All guards first: they start while the network is being plugged. */
	for (unsigned k = 1; k <= u->w.count && code == 0; k++) {
		if (!is_wanted(u, k, name))
			continue;
		code = start_node(u, name, k);
		u->started++;
		if (is_maker(u, k) && code == 0)
			first = enter_first(u);
	}
	r = first > 0 ? await_first(u, first) : code;
	code = code == 0 ? r : code;
	for (unsigned k = first > 0 ? 2 : 1; k <= u->w.count && code == 0; k++)
		code = is_wanted(u, k, name) ? enter(u, k) : 0;
	return code;
}

/* Waits until every node sees a leader and all the others: what a command wants next. */
static int wait_ready(struct up *u)
{
	char name[NODE_NAME_MAX], path[64];
	int code = 0;

	for (unsigned k = 1; k <= u->w.count && code == 0; k++) {
		json_t *s = NULL;

		if (!is_wanted(u, k, name))
			continue;
		(void)snprintf(path, sizeof(path), "/v1/node?ready=%ld", u->started);
		code = ask_node(u, name, "wait for the machine", "GET", NULL, &s, path);
		json_decref(s);
	}
	return code;
}

static int stay(struct up *u)
{
	sigset_t set;
	int signo;

	nodehost_unlock();
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)sigwait(&set, &signo);
	return cmd_down.run(u->c, 0, NULL);
}

static int make_volumes(struct up *u)
{
	if (volumes_text != NULL)
		(void)snprintf(u->volumes, sizeof(u->volumes), "%s", volumes_text);
	else
		(void)snprintf(u->volumes, sizeof(u->volumes), "%s/vol", u->c->dir);
	if (mkdir(u->volumes, 0700) < 0 && errno != EEXIST)
		return fail(u->c, CODE_REFUSED, NULL, "cannot bring the cluster up: mkdir %s: %s",
			    u->volumes, strerror(errno));
	return 0;
}

static int up_local(struct up *u)
{
	uint64_t t0 = clock_mono_ns();
	char took[32];
	int code;

	u->switch_pid = nodehost_switch(u->c->dir);
	if (u->switch_pid < 0)
		return fail(u->c, CODE_REFUSED, "pando doctor",
			    "cannot bring the cluster up: cannot make its switch: %s",
			    strerror(-u->switch_pid));
	code = start_all(u);
	if (code == 0)
		code = wait_ready(u);
	if (code != 0)
		return code;
	text_ns(took, clock_mono_ns() - t0);
	if (u->c->format == FORMAT_TABLE) {
		printf("%ld node%s up in %s", u->started, u->started == 1 ? "" : "s", took);
		print_try(stdout, u->c, "pando --help, pando tenant add NAME");
	}
	(void)fflush(stdout);
	return foreground ? stay(u) : CODE_DONE;
}

static int up_host(struct up *u)
{
	const char *node = u->w.name;
	char where[64];
	struct nodehost l = { .dir = u->c->dir,
			      .node = node,
			      .cpu_milli = u->w.cpu_milli,
			      .no_balance = u->w.no_balance,
			      .ssh = ssh_where_text(&u->w.ssh, 1, where) };
	int r, code;

	if (addr_text == NULL)
		return fail(
			u->c, CODE_USAGE, "pando up --host --addr ADDR",
			"cannot bring this host up: --addr is missing: other nodes must reach it");
	if (nodehost_has_left(u->c->dir, node))
		return fail(u->c, CODE_REFUSED, "pando join ADDR TOKEN",
			    "cannot bring this host up: node %s has left its machine", node);
	code = ssh_check(u->c, &u->w.ssh, 1, node);
	if (code != 0)
		return code;
	r = nodehost_guard(&l);
	if (r < 0 && r != -EALREADY)
		return cannot(u, node, "start its guard", r);
	r = nodehost_wait(u->c, node, START_MS);
	if (r < 0)
		return cannot(u, node, "wait for its daemon", r);
	code = bootstrap(u, node, addr_text, volumes_text ? "mount" : "dir");
	if (code == 0 && u->c->format == FORMAT_TABLE) {
		printf("node %s is up", node);
		print_try(stdout, u->c, "pando invite");
	}
	(void)fflush(stdout);
	return code != 0 || !foreground ? code : stay(u);
}

/* "3:9", seconds. */
static int parse_lease(struct up *u)
{
	char freeze[16], kill[16], rest;
	long freeze_ms, kill_ms;

	if (lease_text == NULL)
		return 0;
	if (host_mode)
		return fail(u->c, CODE_USAGE, "pando up --help",
			    "cannot bring this host up: --lease is of local clusters, where one "
			    "command starts all nodes");
	if (sscanf(lease_text, "%15[0-9.]:%15[0-9.]%c", freeze, kill, &rest) != 2 ||
	    parse_milli(freeze, &freeze_ms) < 0 || parse_milli(kill, &kill_ms) < 0 ||
	    freeze_ms < 1000 || kill_ms <= freeze_ms)
		return fail(u->c, CODE_USAGE, "pando up --lease 10:30",
			    "cannot bring the cluster up: --lease %s is not FREEZE:KILL, 1 s at "
			    "least and the second greater",
			    lease_text);
	(void)snprintf(u->w.lease, sizeof(u->w.lease), "%ld:%ld", freeze_ms, kill_ms);
	return 0;
}

/* What was said, as numbers. */
static int read_wants(struct up *u)
{
	u->w = (struct wants){ .local = !host_mode,
			       .name = name_text ? name_text : "n1",
			       .count = 1,
			       .no_balance = no_balance,
			       .count_text = count_text,
			       .cpus_text = cpus_text,
			       .lease_text = lease_text,
			       .ssh_text = ssh_text,
			       .name_text = name_text };
	if (count_text != NULL && parse_count(count_text, 1, NODES_MAX, &u->w.count) < 0)
		return fail(u->c, CODE_USAGE, "pando up -n 3",
			    "cannot bring %s nodes up: 1 to %d may be", count_text, NODES_MAX);
	if (cpus_text != NULL && parse_milli(cpus_text, &u->w.cpu_milli) < 0)
		return fail(u->c, CODE_USAGE, "pando up --cpus 0.25",
			    "cannot bring the cluster up: --cpus %s is no number of cores",
			    cpus_text);
	return parse_lease(u);
}

/* Takes the directory, and settles what is to run in it. */
static int begin(struct up *u)
{
	bool runs = false;
	int code = nodehost_dir(u->c, "bring the cluster up", true);

	if (code == 0)
		code = nodehost_lock(u->c, "bring the cluster up");
	if (code == 0 && ssh_text != NULL)
		code = ssh_where(u->c, ssh_text, !host_mode, (unsigned)u->w.count, &u->w.ssh);
	if (code == 0)
		code = wants_settle(u->c, &u->w, &runs);
	if (code == 0 && ssh_text == NULL && !runs)
		code = ssh_where(u->c, NULL, !host_mode, (unsigned)u->w.count, &u->w.ssh);
	return code == 0 ? make_volumes(u) : code;
}

static int up_run(struct ctx *c, int argc, char **argv)
{
	struct up u = { .c = c };
	int code;

	c->node = NULL;
	code = read_wants(&u);
	if (code == 0)
		code = doctor_gate(c);
	if (code == 0)
		code = begin(&u);
	if (code != 0)
		return code;
	return host_mode ? up_host(&u) : up_local(&u);
}

const struct cmd cmd_up = {
	.name = "up",
	.usage = "up [-n N] [--cpus X] [--lease F:K] [--fg]",
	.help = "Start a local cluster of N nodes on this host.",
	.more = "Each node has mount, pid, net, ipc and uts namespaces, a data directory and an "
		"address\n"
		"of its own. A cluster that was taken down comes back with its tenants and files.\n"
		"On one that runs, what is missing of it is started; other settings are refused.\n"
		"A node that has left comes back, as a new one, only where -n N counts it in.\n"
		"With --host this host itself becomes the first node of a machine; others join it "
		"by\n"
		"what `pando invite` prints.",
	.opts = opts,
	.run = up_run,
};
