/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodehost.h - starts and ends the daemons of this host: guards, and the switch of a local cluster.
 *
 * DIR/NODE/run/guard.pid and DIR/switch.pid hold pids; a pid is believed only while the process's
 * command line says that it is what the file promises, and is signalled by pidfd.
 * Errors: -errno.
 */
#ifndef CMD_PANDO_NODEHOST_H
#define CMD_PANDO_NODEHOST_H

#include <limits.h>

#include "base/attr.h"
#include "cmd/pando/cmd.h"

enum {
	NODES_MAX = 64, /* of one local cluster */
	NODEHOST_LINE_MAX = 4096,
};

struct nodehost {
	const char *dir;   /* absolute */
	const char *node;  /* "n1" */
	bool local;        /* namespaces of its own, else this host is the node */
	long cpu_milli;    /* 0: no limit */
	bool no_balance;   /* it moves no running program away by itself */
	const char *lease; /* "FREEZE:KILL" in ms; NULL: 10 s and 30 s */
	const char *ssh;   /* where its sshd listens, "127.0.0.1:2222"; NULL: nowhere */
};

/* sshaddr.c: where the nodes of a cluster listen for ssh; node k at port + k - 1. */
struct ssh_where {
	char addr[48];
	long port;   /* 0: nowhere */
	bool chosen; /* by us, out of those that are free */
};
/* @text: "off", "PORT", "ADDR:PORT" or NULL: the default. Prints and returns a code. */
must_check int ssh_where(struct ctx *c, const char *text, bool local, unsigned count,
			 struct ssh_where *out);
/* Of a cluster whose node @k listens at @text (NULL: nowhere). */
void ssh_where_of(const char *text, unsigned k, struct ssh_where *out);
/* That @node, the @k-th, unless it runs, can listen there. Prints and returns a code. */
must_check int ssh_check(struct ctx *c, const struct ssh_where *w, unsigned k, const char *node);
/* Of node @k; NULL: nowhere. */
const char *ssh_where_text(const struct ssh_where *w, unsigned k, char out[64]);

/* Absolute path of c->dir (made, 0700, when @make), kept in the ctx. Prints and returns a code. */
must_check int nodehost_dir(struct ctx *c, const char *what, bool make);
/*
 * One `up`, `join` or `down` of c->dir at a time: waits for others, and for what one that was
 * killed has begun (its helpers inherit the lock, its daemons do not). Prints and returns a code.
 */
must_check int nodehost_lock(struct ctx *c, const char *what);
void nodehost_unlock(void);
/* Path of one of our programs. */
must_check int nodehost_program(const char *name, char out[PATH_MAX]);

/* Starts a node's guard, as a new node's if it has left. Returns its pid, or -EALREADY if it runs.
 */
must_check int nodehost_guard(const struct nodehost *l);
/* The running guard, as a pidfd (*pid if not NULL), or -ESRCH. */
must_check int nodehost_find_guard(const char *dir, const char *node, int *pid);
/* What the running guard was started with; the texts of @out are in @line. -ESRCH: none runs. */
must_check int nodehost_running(const char *dir, const char *node, char line[NODEHOST_LINE_MAX],
				struct nodehost *out);

/* Waits for a guard or the switch that was told to end. Closes @pidfd. */
void nodehost_await_end(int pidfd);
/* What its daemon says; false if that does not answer. */
bool nodehost_is_member(const struct ctx *c, const char *node);

/* The switch: a network namespace with a bridge, and a process that holds it; what is missing of it
 * is made. Returns its pid. */
must_check int nodehost_switch(const char *dir);
must_check int nodehost_find_switch(const char *dir, int *pid);
/* Plugs node number @k, whose guard is @pid, into the switch and gives it its address. */
must_check int nodehost_plug(int switch_pid, int pid, unsigned k);
bool nodehost_is_plugged(int pid);
void nodehost_addr(unsigned k, char out[32]);

/* Names of the nodes under @dir, sorted by number; at most NODES_MAX. Returns their number. */
must_check int nodehost_nodes(const char *dir, char names[NODES_MAX][NODE_NAME_MAX]);

/* ---- nodefiles.c: what a node has on the disk and in control groups ---- */
/* It has a directory, whatever is in it. */
bool nodehost_exists(const char *dir, const char *node);
/* Its data are those of a node that has left its machine: it can only be a new one. */
bool nodehost_has_left(const char *dir, const char *node);
/* Then they go. -errno. */
must_check int nodehost_renew(const char *dir, const char *node);
/* Its data are those of a member. */
bool nodehost_has_joined(const char *dir, const char *node);
/* k of "nk", a node of a local cluster; 0: it is called otherwise. */
unsigned nodehost_number(const char *node);
/* Print and return a code. What is not there is fine; @node NULL: the groups of all nodes. */
must_check int nodehost_remove_tree(struct ctx *c, const char *path);
must_check int nodehost_remove_groups(struct ctx *c, const char *node);

/* Waits until the node's control socket answers. -ETIMEDOUT, or -ECHILD: its guard is gone. */
must_check int nodehost_wait(const struct ctx *c, const char *node, unsigned timeout_ms);

#endif
