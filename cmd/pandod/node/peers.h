/* SPDX-License-Identifier: Apache-2.0 */
/* peers.h - what member.c and peers.c share: our key, our identity, the listener. */
#ifndef CMD_PANDOD_PEERS_H
#define CMD_PANDOD_PEERS_H

#include "cmd/pandod/pod.h"
#include "rpc/auth.h"

/* A node as the tables last showed it, kept in DATA/peers. */
struct hint {
	node_id id;
	char addr[NAMING_ADDR_MAX];
	uint8_t key[NAMING_KEY_BYTES];
};

struct pod_member {
	struct rpc_keys keys;
	struct rpc_identity identity; /* set once we are a member */
	struct hint *hints;
	size_t hint_count;
	struct list joins; /* of member.c, the first under way */
};

/*
 * How to reach a node and how it proves itself: from the tables, or while a restarted machine has
 * not elected anybody, and so has no tables, from what they last were. -ENOENT.
 */
must_check int member_peer(const struct pod *p, node_id id, char addr[NAMING_ADDR_MAX],
			   uint8_t key[NAMING_KEY_BYTES]);

/* Listens for other nodes at "IP:PORT". -errno. */
must_check int peers_listen(struct pod *p, const char *addr);

#endif
