/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/priv.h"
void rpc_fabric_free(struct rpc *r)
{
}
void rpc_dialer_free(struct rpc_conn *c)
{
}
void rpc_dialer_again(struct rpc_conn *c)
{
}
