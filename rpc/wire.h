/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - frames as bytes: a header of 36 bytes, little-endian, and the body.
 *
 *	 0 u32 body bytes    4 u8 kind   5 u8 flags   6 u8 descriptors   7 u8 zero
 *	 8 u64 id           16 u64 key  24 u32 method 28 i32 err        32 u32 ttl_us
 *
 * The decoder believes nothing: what it returns has a known kind, a body of at
 * most RPC_BODY_MAX bytes, and flags and counts in range.
 */
#ifndef RPC_WIRE_H
#define RPC_WIRE_H

#include "rpc/core/core.h"

#define RPC_WIRE_HEAD 36

/* Writes the header of @f, whose body follows it. */
void rpc_wire_head(uint8_t out[RPC_WIRE_HEAD], const struct rpc_frame *f, unsigned fds);

/*
 * Reads one frame from the first @n bytes. Returns its whole length; 0: there is not all of it yet;
 * -EPROTO. f->body points into @bytes, or is NULL without a body.
 */
must_check ssize_t rpc_wire_parse(const uint8_t *bytes, size_t n, struct rpc_frame *f,
				  unsigned *fds);

/* How many bytes the frame at @bytes has in all, if the header is there; else the header. */
size_t rpc_wire_want(const uint8_t *bytes, size_t n);

#endif
