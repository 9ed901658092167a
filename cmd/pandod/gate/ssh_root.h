/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssh_root.h - becoming sshd: its own root, in the child that will exec it. What it and the
 * programs that it starts can see of the host is /usr, read-only, and five devices.
 */
#ifndef CMD_PANDOD_SSH_ROOT_H
#define CMD_PANDOD_SSH_ROOT_H

struct ssh_root {
	const char *lib;  /* where pando-session and pando-keys are */
	const char *dir;  /* D/N/run/gate: has etc and run */
	const char *keys; /* D/N/data/ssh: has the host key */
	int net;          /* network namespace to listen in, or -1: this one */
	int log;          /* standard output and error */
};

/* Does not return: execs sshd, or says on @log why not and ends. */
void ssh_root_exec(const struct ssh_root *s) __attribute__((noreturn));

#endif
