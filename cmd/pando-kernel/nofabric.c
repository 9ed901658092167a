/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nofabric.c - a guest kernel has no fabric of its own: connections to other nodes are passed to
 * it. These stand in for rpc/fabric, so that libfabric (its providers read files and open devices
 * that are out of our reach, and their bytes are none of a tenant's business) is not even linked.
 */
#include <errno.h>

#include "base/check.h"
#include "rpc/priv.h"

int rpc_listen(struct rpc *r, const char *provider, const char *addr, rpc_conn_fn cb, void *arg)
{
	return -ENODEV;
}

int rpc_dial(struct rpc *r, const char *provider, const char *addr,
	     const uint8_t peer_key[RPC_KEY_BYTES], rpc_conn_fn cb, void *arg,
	     struct rpc_conn **out)
{
	return -ENODEV;
}

void rpc_fabric_free(struct rpc *r)
{
}

/* No connection of ours was dialled on a fabric: there is nothing to do for one. */
void rpc_fabric_gone(struct rpc *r)
{
}

void rpc_dialer_free(struct rpc_conn *c)
{
}

void rpc_dialer_up(struct rpc_conn *c)
{
}

void rpc_dialer_again(struct rpc_conn *c)
{
}
