/* SPDX-License-Identifier: Apache-2.0 */
/* types.h - the few ids that the whole tree shares. Header only. */
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t node_id;   /* 1.. for ever unique in a machine; given by naming */
typedef uint32_t tenant_id; /* 1.. for ever unique in a machine; given by naming */
typedef int32_t gpid;       /* a pid as the tenant sees it, the same on every node */
typedef uint64_t epoch_t;   /* grows by one each time the thing it guards changes hands */

#define NODE_NONE   ((node_id)0)
#define TENANT_NONE ((tenant_id)0)

#define NODE_NAME_MAX   32 /* bytes with the final NUL; [a-z][a-z0-9-]* */
#define TENANT_NAME_MAX 32 /* bytes with the final NUL; [a-z_][a-z0-9_-]* */

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

#endif
