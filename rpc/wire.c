/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/wire.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "rpc/rpc.h"

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

void rpc_wire_head(uint8_t out[RPC_WIRE_HEAD], const struct rpc_frame *f, unsigned fds)
{
	put32(out, f->len);
	out[4] = f->kind;
	out[5] = f->flags;
	out[6] = (uint8_t)fds;
	out[7] = 0;
	put64(out + 8, f->id);
	put64(out + 16, f->key);
	put32(out + 24, f->method);
	put32(out + 28, (uint32_t)f->err);
	put32(out + 32, f->ttl_us);
}

ssize_t rpc_wire_parse(const uint8_t *bytes, size_t n, struct rpc_frame *f, unsigned *fds)
{
	uint32_t len;

	if (n < RPC_WIRE_HEAD)
		return 0;
	len = get32(bytes);
	if (len > RPC_BODY_MAX || bytes[4] == 0 || bytes[4] >= RPC_FR_KINDS ||
	    (bytes[5] & ~(RPC_FL_OPENER | RPC_FL_AGAIN)) || bytes[6] > RPC_FDS_MAX || bytes[7])
		return -EPROTO;
	if (n - RPC_WIRE_HEAD < len)
		return 0;
	*f = (struct rpc_frame){ .kind = bytes[4],
				 .flags = bytes[5],
				 .method = get32(bytes + 24),
				 .err = (int32_t)get32(bytes + 28),
				 .ttl_us = get32(bytes + 32),
				 .id = get64(bytes + 8),
				 .key = get64(bytes + 16),
				 .len = len,
				 .body = len ? (void *)(bytes + RPC_WIRE_HEAD) : NULL };
	*fds = bytes[6];
	return (ssize_t)(RPC_WIRE_HEAD + len);
}

size_t rpc_wire_want(const uint8_t *bytes, size_t n)
{
	return n < RPC_WIRE_HEAD ? RPC_WIRE_HEAD : RPC_WIRE_HEAD + (size_t)get32(bytes);
}
