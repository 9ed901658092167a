/* SPDX-License-Identifier: Apache-2.0 */
/*
 * naming_proc.h - real nodes of naming: each a process with a loop, a directory and
 * a datagram socket in it. The test talks to a node in lines over a socketpair.
 *
 *	boot			makes the machine
 *	invite NAME		-> the ticket of a new node in hex
 *	join HEX		becomes the node of the ticket
 *	tenant NAME		-> "ERR ID": proposes a tenant
 *	find NAME		-> after a barrier: "ERR ID"
 *	status			-> "ROLE LEADER VOTERS APPLIED DISK_ERR"
 *	run COUNT WINDOW	-> "NS FRAMES": COUNT barriers, WINDOW of them under way
 *	fault TEXT		arms a fault point (base/fault.h)
 */
#ifndef TESTS_LIB_NAMING_PROC_H
#define TESTS_LIB_NAMING_PROC_H

#include <stdbool.h>
#include <sys/types.h>

struct proc {
	pid_t pid; /* 0: not running */
	int fd;
	int id;
	char dir[128];
	char buf[1 << 17];
	size_t len;
};

/* Starts node @id with its directory below @base (made if it is not there). */
void proc_start(struct proc *p, const char *base, int id);
/* kill -9, and waits for the end. */
void proc_kill(struct proc *p);
/* True if the process has ended by itself; it is reaped then. */
bool proc_ended(struct proc *p);
void proc_send(struct proc *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The next line, without its end, or NULL after @ms or when the node died. */
const char *proc_line(struct proc *p, int ms);
/* proc_send() and proc_line(). */
const char *proc_ask(struct proc *p, int ms, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
