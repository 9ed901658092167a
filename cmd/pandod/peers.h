/* SPDX-License-Identifier: Apache-2.0 */
/* peers.h - what member.c and peers.c share: our key, our identity, the listener. */
#ifndef CMD_PANDOD_PEERS_H
#define CMD_PANDOD_PEERS_H

#include "cmd/pandod/pod.h"
#include "rpc/auth.h"

struct member {
	struct rpc_keys keys;
	struct rpc_identity identity; /* set once we are a member */
};

/* Listens for other nodes at "IP:PORT". -errno. */
must_check int peers_listen(struct pod *p, const char *addr);

#endif
