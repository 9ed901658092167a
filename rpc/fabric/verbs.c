/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.c - is there an RDMA port that works? */
#include "rpc/fabric/verbs.h"

#include <infiniband/verbs.h>

static bool device_has_port(struct ibv_device *dev)
{
	struct ibv_context *ctx = ibv_open_device(dev);
	struct ibv_device_attr attr;
	bool found = false;

	if (!ctx)
		return false;
	if (ibv_query_device(ctx, &attr) == 0) {
		for (int p = 1; p <= attr.phys_port_cnt && !found; p++) {
			struct ibv_port_attr port;

			found = ibv_query_port(ctx, (uint8_t)p, &port) == 0 &&
				port.state == IBV_PORT_ACTIVE;
		}
	}
	(void)ibv_close_device(ctx);
	return found;
}

bool rpc_verbs_port_active(void)
{
	int n = 0;
	struct ibv_device **list = ibv_get_device_list(&n);
	bool found = false;

	for (int i = 0; list && i < n && !found; i++)
		found = device_has_port(list[i]);
	if (list)
		ibv_free_device_list(list);
	return found;
}
