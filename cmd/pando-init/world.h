/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.h - what the files of pando-init share. One thread, one poll loop, no
 * allocation after the start: every table has a fixed size, and a full one is
 * an error for who asked, never for the tenant.
 *
 *	main.c    start, the loop, the lease, the pid allocator
 *	conn.c    connections and their requests
 *	spawn.c   the spawner, session leaders, exits
 */
#ifndef CMD_PANDO_INIT_WORLD_H
#define CMD_PANDO_INIT_WORLD_H

#include <poll.h>
#include <sys/types.h>

#include "kernel/tenant/client.h"
#include "kernel/tenant/steer.h"
#include "kernel/tenant/store.h"

#define CONNS_MAX   16
#define LEADERS_MAX 1024 /* session leaders, starting, running or exited and not acknowledged */
#define STARTS_MAX  64   /* of these, starting */
#define CGROUPS_MAX 8

/* What main was given. */
struct given {
	int control, listen, filter;
	int proc;                   /* native procfs: /proc itself may wait for a guest kernel */
	int freeze;                 /* cgroup.freeze of the guests, or -1 */
	int entrances[CGROUPS_MAX]; /* cgroup.procs files of the guests' groups */
	int entrance_count;
};

struct conn {
	int fd; /* -1: free */
	uint32_t serial;
	uint32_t role; /* enum init_role, or 0 before HELLO */
	bool watch;
};

/* ---- conn.c ---- */
void conn_begin(int proc);
void conn_add(int fd, uint32_t role);
void conn_accept(int listen_fd);
size_t conn_poll(struct pollfd *p); /* fills in at most CONNS_MAX entries */
void conn_ready(int fd);
struct conn *conn_find(uint32_t serial);
void conn_close(struct conn *c);
/* A connection that does not take what it is sent is closed. */
void conn_send(struct conn *c, const struct init_msg *m, const void *payload, size_t len,
	       const int *fds, size_t nfds);
void conn_tell(const struct init_msg *event, uint32_t except_serial); /* all who watch */

/* ---- spawn.c ---- */
void spawn_begin(
	const struct given *g); /* forks the spawner; the listener is in the store after it */
int spawn_request(struct conn *c, const struct init_in *in); /* 0: answered later */
size_t spawn_poll(struct pollfd *p); /* fills in at most STARTS_MAX entries */
void spawn_ready(int fd);
void spawn_reap(void);
void spawn_replay(struct conn *c); /* tells what is not acknowledged */
int spawn_ack(uint64_t event);

/* ---- main.c ---- */
extern struct steer steer;
int lease_renew(uint64_t sent_ns, uint64_t freeze_ms, uint64_t kill_ms);
void die(const char *what, int error) __attribute__((noreturn));

#endif
