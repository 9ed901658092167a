/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pando-init - pid 1 of a tenant's pid namespace on one node (kernel/tenant/init.h).
 *
 *	pando-init lastpid=FD proc=FD [mountproc=FD] [freeze=FD] [enter=FD]... [store.NAME=FD]...
 *
 * Started by tenant/ inside namespaces that are complete; the numbers
 * name open descriptors. Ends only with the tenant's world on this node.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include "base/clock.h"
#include "cmd/pando-init/world.h"
#include "naming/member/core/lease.h"

static struct lease_conf lease_figures;
static struct lease_holder lease;
static bool frozen;

static struct given given = { INIT_FD_CONTROL, INIT_FD_LISTEN, INIT_FD_FILTER, -1, -1, { 0 }, 0 };

void die(const char *what, int error)
{
	(void)dprintf(2, "pando-init: cannot %s: %s\n", what, strerror(error));
	_exit(1);
}

/* ---- the lease: a node that nobody vouches for must not run guests that others restart ---- */

static void freeze(bool on)
{
	if (given.freeze >= 0 && pwrite(given.freeze, on ? "1" : "0", 1, 0) == 1)
		frozen = on;
	else if (on) /* what cannot be stopped must end */
		_exit(0);
}

int lease_renew(uint64_t sent_ns, uint64_t freeze_ms, uint64_t kill_ms)
{
	uint64_t now_ns = clock_boot_ns();

	if (freeze_ms == 0 || kill_ms <= freeze_ms || kill_ms > 86400 * 1000)
		return -EINVAL;
	lease_figures.freeze_ns = freeze_ms * NS_PER_MS;
	lease_figures.kill_ns = kill_ms * NS_PER_MS;
	lease_answered(&lease, sent_ns, now_ns);
	if (frozen && lease_look(&lease, now_ns) == LEASE_HELD)
		freeze(false);
	return 0;
}

/* Returns ms until the next step of it, or -1. */
static int64_t lease_tick(uint64_t now_ns)
{
	enum lease_state state = lease_look(&lease, now_ns);

	if (state == LEASE_NONE)
		return -1;
	if (state == LEASE_OVER)
		_exit(0); /* the kernel kills everything in the namespace, frozen or not */
	if (state == LEASE_FREEZE && !frozen)
		freeze(true);
	return (int64_t)((lease_due_ns(&lease, now_ns) - now_ns) / NS_PER_MS) + 1;
}

static void pids_crowded(struct steer *s, gpid left)
{
	conn_tell(&(struct init_msg){ .op = INIT_EV_PIDS, .arg = { (uint64_t)left } }, 0);
}

static const struct steer_ops pid_ops = { steer_host_cursor, steer_host_move, steer_host_in_use,
					  pids_crowded };
struct steer steer = { .ops = &pid_ops, .last_pid = -1 };

/* ---- start ---- */

static void mount_proc(int tree)
{
	if (move_mount(tree, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		die("mount /proc", errno);
	(void)close(tree);
}

static void take_argument(char *arg)
{
	char *eq = strchr(arg, '=');
	int fd = eq == NULL ? -1 : (int)strtol(eq + 1, NULL, 10);

	if (fd < INIT_FD_MORE || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		die("understand its arguments", EINVAL);
	*eq = 0;
	if (strcmp(arg, "lastpid") == 0)
		steer.last_pid = fd;
	else if (strcmp(arg, "proc") == 0)
		given.proc = fd;
	else if (strcmp(arg, "mountproc") == 0) /* from here on /proc may wait for a guest kernel */
		mount_proc(fd);
	else if (strcmp(arg, "freeze") == 0)
		given.freeze = fd;
	else if (strcmp(arg, "enter") == 0 && given.entrance_count < CGROUPS_MAX)
		given.entrances[given.entrance_count++] = fd;
	else if (strncmp(arg, "store.", 6) != 0 || store_put(arg + 6, fd) < 0)
		die("understand its arguments", EINVAL);
	memset(arg, 0, strlen(arg)); /* a guest's ps shows no numbers of ours */
	memset(eq + 1, 0, strlen(eq + 1));
}

static int signals_begin(void)
{
	sigset_t all;
	int fd;

	(void)sigfillset(&all);
	if (sigprocmask(SIG_SETMASK, &all, NULL) < 0)
		die("block signals", errno);
	(void)sigemptyset(&all);
	(void)sigaddset(&all, SIGCHLD);
	fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		die("wait for children", errno);
	return fd;
}

static void serve(int sig)
{
	static struct pollfd p[2 + CONNS_MAX + STARTS_MAX];
	struct signalfd_siginfo si[8];

	for (;;) {
		uint64_t now_ns = clock_boot_ns();
		int64_t look = steer_tick(&steer, (int64_t)(now_ns / NS_PER_MS));
		int64_t due = lease_tick(now_ns);
		size_t conns, n = 2;

		p[0] = (struct pollfd){ .fd = sig, .events = POLLIN };
		p[1] = (struct pollfd){ .fd = given.listen, .events = POLLIN };
		conns = conn_poll(p + n);
		n += conns;
		n += spawn_poll(p + n);
		if (due < 0 || (look >= 0 && look < due))
			due = look;
		if (poll(p, n, due < 0 ? -1 : (int)MIN(due, 1000)) <= 0)
			continue;
		if (p[0].revents != 0) {
			while (read(sig, si, sizeof(si)) > 0)
				;
			spawn_reap();
		}
		for (size_t i = 2; i < n; i++) {
			if (p[i].revents != 0 && i < 2 + conns)
				conn_ready(p[i].fd);
			else if (p[i].revents != 0)
				spawn_ready(p[i].fd);
		}
		if (p[1].revents != 0)
			conn_accept(given.listen);
	}
}

int main(int argc, char **argv)
{
	int r;

	if (getpid() != 1) {
		(void)dprintf(2, "pando-init: is not pid 1: pandod starts it; try: pando up\n");
		return 2;
	}
	/* Guests share neither an id nor a readable /proc entry with this process. */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		die("become undumpable", errno);
	for (int i = 1; i < argc; i++)
		take_argument(argv[i]);
	for (int fd = INIT_FD_CONTROL; fd <= INIT_FD_FILTER; fd++) {
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			die("find its descriptors", errno);
	}
	steer.ids_per_ms = steer_host_ids_per_ms();
	r = store_put_own();
	if (r < 0)
		die("make the slots", -r);
	lease_figures = lease_conf_default;
	lease_init(&lease, &lease_figures);
	spawn_begin(&given);
	conn_begin(given.proc);
	conn_add(given.control, INIT_ROLE_POD);
	serve(signals_begin());
}
