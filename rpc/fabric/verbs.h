/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.h - whether libibverbs finds an active port. Opens the devices: ask once. */
#ifndef RPC_FABRIC_VERBS_H
#define RPC_FABRIC_VERBS_H

#include <stdbool.h>

bool rpc_verbs_port_active(void);

#endif
