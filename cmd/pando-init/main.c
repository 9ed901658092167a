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
#include <time.h>

#include "cmd/pando-init/world.h"

static struct lease {
	int64_t freeze_at, kill_at; /* 0: no limit */
	bool frozen;
} lease;

static struct given given = { INIT_FD_CONTROL, INIT_FD_LISTEN, INIT_FD_FILTER, -1, -1, { 0 }, 0 };

void die(const char *what, int error)
{
	(void)dprintf(2, "pando-init: cannot %s: %s\n", what, strerror(error));
	_exit(1);
}

int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- the lease: a node that nobody vouches for must not run guests that others restart ---- */

static void freeze(bool on)
{
	if (given.freeze >= 0 && pwrite(given.freeze, on ? "1" : "0", 1, 0) == 1)
		lease.frozen = on;
	else if (on) /* what cannot be stopped must end */
		_exit(0);
}

void lease_renew(uint64_t ms, uint64_t freeze_ms, uint64_t kill_ms)
{
	int64_t day = 86400 * 1000;
	int64_t end = now_ms() + (ms < (uint64_t)day ? (int64_t)ms : day);

	lease.freeze_at = end + (freeze_ms == 0 ? 10000 : (int64_t)(freeze_ms % (uint64_t)day));
	lease.kill_at = end + (kill_ms == 0 ? 30000 : (int64_t)(kill_ms % (uint64_t)day));
	if (lease.frozen)
		freeze(false);
}

/* Returns ms until the next step of it, or -1. */
static int64_t lease_tick(int64_t now)
{
	if (lease.kill_at == 0)
		return -1;
	if (now >= lease.kill_at)
		_exit(0); /* the kernel kills everything in the namespace, frozen or not */
	if (lease.frozen || now < lease.freeze_at)
		return (lease.frozen ? lease.kill_at : MIN(lease.freeze_at, lease.kill_at)) - now;
	freeze(true);
	return 0;
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
		int64_t now = now_ms(), look = steer_tick(&steer, now), due = lease_tick(now);
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
	spawn_begin(&given);
	conn_begin(given.proc);
	conn_add(given.control, INIT_ROLE_POD);
	serve(signals_begin());
}
