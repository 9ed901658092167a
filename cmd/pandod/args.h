/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.h - what pandod is told on its command line; the same for guard, switch and daemon.
 *
 *	pandod guard  --dir D --node N [--cpu-milli M] [--ssh ADDR] [--lease F:K] [--no-balance]
 *	              [--local]
 *	pandod switch --dir D
 *	pandod node   --dir D --node N [--cpu-milli M] [--ssh ADDR [--ssh-net FD]] [--lease F:K]
 *	              --life L [--no-balance] [--local]
 *
 * D is absolute. D/N/run, D/N/data and D/N/log are the node's; D/vol is all nodes' of a local
 * cluster. The order of the words is fixed where `pando` looks for them (cmd/pando/nodehost.h).
 */
#ifndef CMD_PANDOD_ARGS_H
#define CMD_PANDOD_ARGS_H

#include <limits.h>

#include "base/attr.h"
#include "base/types.h"

struct args {
	const char *dir;
	const char *node;
	bool local;
	uint32_t cpu_milli;
	const char *ssh; /* where sshd listens, "127.0.0.1:2222"; NULL: nowhere */
	bool no_balance; /* running programs stay where they are */
	int ssh_net;     /* the network namespace of that address; -1: the node's own */
	/* Without a word of naming's leader guests are frozen and killed after so long; 0: 10 s, 30
	 * s. The same on all nodes of a machine. */
	uint32_t freeze_ms, kill_ms;
	uint64_t life; /* drawn by each guard: what an earlier one's daemons left is over */
};

#define CLUSTER_GROUP_MAX 128

/* One per mode; each returns an exit status. */
int guard_main(const struct args *a);
int switch_main(const struct args *a);
int node_main(const struct args *a);

/* Puts @text into @path at once (a new file, then renamed). -errno. */
must_check int file_put(const char *path, const char *text);
/* Closes what a daemon's starter had open above standard error, but @fd and @other (-1: nothing).
 */
void daemon_keeps(int fd, int other);
/* Makes D/N and its three directories, 0700. -errno. */
must_check int node_dirs_make(const struct args *a);

/*
 * The namespaces of a local node, from inside them: host name, and a mount tree in which nothing of
 * the host can be written but control groups, the node's own directory and the volumes, no other
 * node's directory can be seen, and /tmp, /run, /proc are its own. The programs are found under
 * LOCAL_LIB. -errno, and *what names the step.
 */
#define LOCAL_LIB "/run/pando/lib"
must_check int local_enter(const struct args *a, const char **what);

#endif
