/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - one message of init.h out or in. Used at both ends.
 *
 * Blocking follows the descriptor, but for init_call(). Received descriptors are
 * close-on-exec and the caller's.
 */
#ifndef KERNEL_TENANT_CLIENT_H
#define KERNEL_TENANT_CLIENT_H

#include "base/attr.h"
#include "kernel/tenant/init.h"

/*
 * Sends @m with @len bytes of @payload and @nfds descriptors (which stay the
 * caller's). Errors: -EAGAIN full; -EPIPE, -ECONNRESET; -EMSGSIZE.
 */
must_check int init_send(int sock, const struct init_msg *m, const void *payload, size_t len,
			 const int *fds, size_t nfds);

struct init_in {
	struct init_msg msg;
	size_t len; /* bytes of payload */
	size_t nfds;
	int fds[INIT_FDS_MAX];
	uint8_t payload[INIT_MSG_MAX - sizeof(struct init_msg)];
};

/*
 * Receives one message. Returns 1; 0 at the end of the connection; -EAGAIN; -EPROTO: one came
 * that is no message (too short, too long, too many descriptors, key without an end): its
 * descriptors are closed, in->msg.op and tag are what could be read.
 */
must_check int init_recv(int sock, struct init_in *in);

/* Its own key and those of its payload, which stay there; returns how many. Error: -EPROTO. */
must_check int init_keys(const struct init_in *in, const char *keys[INIT_FDS_MAX]);

/* Closes what descriptors are still in @in; set those that you keep to -1. */
void init_in_close(struct init_in *in);

/*
 * Sends a request and waits, at most @timeout_ms, for the reply to it; events that come in between
 * are thrown away, so never on a connection that watches. *fd, if not NULL, is set to the reply's
 * first descriptor or -1; payload only by @in (NULL: not wanted).
 * Returns msg.result; or -ETIMEDOUT, -EPIPE, -EPROTO.
 */
must_check int init_call(int sock, struct init_msg *m, const void *payload, size_t len,
			 const int *fds, size_t nfds, int *fd, struct init_in *in, int timeout_ms);

/*
 * Writes the payload of INIT_SPAWN to @out. @head.argc and envc are set here.
 * Returns its length, or -E2BIG.
 */
must_check int init_spawn_pack(void *out, size_t size, const struct init_spawn *head,
			       char *const argv[], char *const envp[], const char *cwd);

/*
 * Checks a payload of INIT_SPAWN and finds its strings, which stay where they are: @argv and @envp
 * get room for @max pointers each, the NULL included.
 * Errors: -EPROTO not well-formed; -E2BIG; -EINVAL: uid 0, a relative program, no argument.
 */
must_check int init_spawn_unpack(const void *payload, size_t len, struct init_spawn *head,
				 char **argv, char **envp, size_t max, char **cwd);

/*
 * Connects to the socket init.sock in directory @run_dir and says HELLO; with role 0 it does not,
 * which tells whether somebody listens and disturbs nobody. Returns the connection.
 */
must_check int init_connect(int run_dir, enum init_role role, int *pidfd);

#endif
