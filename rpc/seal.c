/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include "rpc/priv.h"
void rpc_seal_free(struct rpc_seal *s)
{
}
int rpc_seal_records(struct rpc_conn *c)
{
	return -ENOSYS;
}
int rpc_seal_bytes(struct rpc_conn *c, const uint8_t *bytes, size_t len)
{
	return -ENOSYS;
}
void rpc_fabric_free(struct rpc *r)
{
}
void rpc_dialer_free(struct rpc_conn *c)
{
}
void rpc_dialer_again(struct rpc_conn *c)
{
}
