/* SPDX-License-Identifier: Apache-2.0 */
/* rpc.c - the instance: limits, methods, kept replies, the work at the end of a turn. */
#include "rpc/rpc.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/log.h"
#include "rpc/aead.h"
#include "rpc/priv.h"
#include "rpc/seal.h"

#define SWEEP_NS (60 * NS_PER_S)

static void set_limits(struct rpc_limits *out, const struct rpc_limits *in)
{
	static const struct rpc_limits none;
	const struct rpc_limits *l = in ? in : &none;

	*out = (struct rpc_limits){
		.conns_max = l->conns_max ? l->conns_max : 1024,
		.calls_max = l->calls_max ? MIN(l->calls_max, 65536u) : 1024,
		.keys_max = l->keys_max ? l->keys_max : 1024,
		.kept_bytes_max = l->kept_bytes_max ? l->kept_bytes_max : (size_t)16 << 20,
		.streams_max = l->streams_max ? MIN(l->streams_max, 65536u) : 256,
		.stream_window = l->stream_window ? l->stream_window : 4u << 20,
		.queue_bytes_max = l->queue_bytes_max ? l->queue_bytes_max : (size_t)8 << 20,
	};
}

/* ---- kept replies ---- */

static bool same_peer(const struct rpc_peer *a, const struct rpc_peer *b)
{
	return a->role == b->role && a->node == b->node && a->tenant == b->tenant &&
	       memcmp(a->key, b->key, RPC_KEY_BYTES) == 0;
}

int rpc_scope_get(struct rpc *r, const struct rpc_peer *peer, struct rpc_scope_box **out)
{
	struct rpc_scope_box *b;

	list_for_each (b, &r->scopes, link) {
		if (peer && same_peer(&b->peer, peer)) {
			b->refs++;
			*out = b;
			return 0;
		}
	}
	b = calloc(1, sizeof(*b) + 16 + rpc_scope_size(r->lim.keys_max));
	if (!b)
		return -ENOMEM;
	list_init(&b->link);
	b->refs = 1;
	b->scope = rpc_scope_init((void *)ALIGN_UP((uintptr_t)(b + 1), (uintptr_t)16),
				  r->lim.keys_max, RPC_KEEP_NS);
	rpc_scope_set_bytes_max(b->scope, r->lim.kept_bytes_max);
	if (peer) {
		b->shared = true;
		b->peer = *peer;
		list_add(&r->scopes, &b->link);
	}
	*out = b;
	return 0;
}

static void scope_expire(struct rpc_scope_box *b, uint64_t now_ns)
{
	void *body;

	while (rpc_scope_expire(b->scope, now_ns, &body))
		free(body);
}

static void scope_free(struct rpc_scope_box *b)
{
	scope_expire(b, UINT64_MAX);
	list_del(&b->link);
	free(b);
}

/* A shared one stays for the peer's next connection or its successor; the sweep ends it. */
void rpc_scope_put(struct rpc_scope_box *b)
{
	CHECK(b->refs > 0);
	if (--b->refs == 0 && !b->shared)
		scope_free(b);
}

static void arm_sweep(struct rpc *r);

static void on_sweep(struct loop_timer *t)
{
	struct rpc *r = container_of(t, struct rpc, sweep);
	struct rpc_scope_box *b, *next;
	struct rpc_conn *c;

	list_for_each (c, &r->conns, link)
		if (c->in.len == 0)
			buf_fini(&c->in);
	list_for_each_safe (b, next, &r->scopes, link) {
		scope_expire(b, loop_now_ns(r->loop));
		if (b->refs == 0 && rpc_scope_used(b->scope) == 0)
			scope_free(b);
	}
	arm_sweep(r);
}

/* Without memory for a timer the old replies stay until the next request makes room. */
static void arm_sweep(struct rpc *r)
{
	if (loop_timer_set(r->loop, &r->sweep, loop_now_ns(r->loop) + SWEEP_NS, on_sweep) < 0)
		log_warn("rpc: no timer for kept replies");
}

/* ---- methods ---- */

static int method_cmp(const void *a, const void *b)
{
	uint32_t x = ((const struct rpc_method *)a)->method;
	uint32_t y = ((const struct rpc_method *)b)->method;

	return x < y ? -1 : x > y;
}

struct rpc_method *rpc_method_find(struct rpc *r, uint32_t method)
{
	struct rpc_method key = { .method = method };

	return r->method_count == 0
		       ? NULL
		       : bsearch(&key, r->methods, r->method_count, sizeof(key), method_cmp);
}

/* Tables are made at start; a daemon that has no memory then cannot start. */
static struct rpc_method *method_get(struct rpc *r, uint32_t method)
{
	struct rpc_method *m = rpc_method_find(r, method);

	if (m)
		return m;
	m = realloc(r->methods, (r->method_count + 1) * sizeof(*m));
	CHECK(m != NULL);
	r->methods = m;
	m[r->method_count++] =
		(struct rpc_method){ .method = method,
				     .roles = RPC_FROM(RPC_ROLE_LOCAL) | RPC_FROM(RPC_ROLE_NODE) |
					      RPC_FROM(RPC_ROLE_KERNEL) };
	qsort(m, r->method_count, sizeof(*m), method_cmp);
	return rpc_method_find(r, method);
}

void rpc_serve(struct rpc *r, uint32_t method, rpc_handler_fn fn, void *arg)
{
	struct rpc_method *m = method_get(r, method);

	m->fn = fn;
	m->arg = arg;
}

void rpc_serve_stream(struct rpc *r, uint32_t method, rpc_stream_fn fn, void *arg)
{
	struct rpc_method *m = method_get(r, method);

	m->stream_fn = fn;
	m->arg = arg;
}

void rpc_allow(struct rpc *r, uint32_t method, unsigned roles)
{
	method_get(r, method)->roles = roles;
}

/* ---- the instance ---- */

/*
 * Connections with work are found at the front: rpc_conn_dirty() moves them there. What callbacks
 * of this turn end make dirty again is done in the same pass or the next hook.
 */
static void on_turn_end(struct loop_hook *h)
{
	struct rpc *r = container_of(h, struct rpc, hook);

	while (!list_empty(&r->conns)) {
		struct rpc_conn *c = list_front(&r->conns, struct rpc_conn, link);

		if (!c->dirty)
			break;
		c->dirty = false;
		list_del(&c->link);
		list_add_tail(&r->conns, &c->link);
		rpc_conn_turn_end(c);
	}
	while (!list_empty(&r->graves))
		rpc_conn_destroy(list_front(&r->graves, struct rpc_conn, link));
}

int rpc_new(struct rpc **out, struct loop *l, const struct rpc_limits *limits)
{
	struct rpc *r = calloc(1, sizeof(*r));
	uint64_t seed[2];

	if (!r)
		return -ENOMEM;
	r->read_buf = malloc(READ_BYTES);
	r->plain_buf = malloc(RECORD_MAX);
	if (!r->read_buf || !r->plain_buf ||
	    getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
		int err = r->read_buf && r->plain_buf ? -ENXIO : -ENOMEM;

		free(r->read_buf);
		free(r->plain_buf);
		free(r);
		return err;
	}
	r->loop = l;
	r->life = seed[0] | 1;
	r->rekey_records = AEAD_REKEY_RECORDS;
	rand_seed(&r->rnd, seed[1]);
	set_limits(&r->lim, limits);
	list_init(&r->conns);
	list_init(&r->graves);
	list_init(&r->scopes);
	list_init(&r->calls);
	loop_hook_add(l, &r->hook, on_turn_end);
	arm_sweep(r);
	*out = r;
	return 0;
}

void rpc_free(struct rpc *r)
{
	if (!r)
		return;
	rpc_fabric_free(r);
	while (!list_empty(&r->conns))
		rpc_conn_close(list_front(&r->conns, struct rpc_conn, link));
	while (!list_empty(&r->graves))
		rpc_conn_destroy(list_front(&r->graves, struct rpc_conn, link));
	while (!list_empty(&r->calls))
		rpc_call_free(list_front(&r->calls, struct rpc_call, link));
	rpc_fabric_gone(r);
	while (!list_empty(&r->scopes))
		scope_free(list_front(&r->scopes, struct rpc_scope_box, link));
	loop_hook_del(r->loop, &r->hook);
	loop_timer_clear(r->loop, &r->sweep);
	free(r->read_buf);
	free(r->plain_buf);
	free(r->methods);
	free(r);
}

void rpc_get_stats(const struct rpc *r, struct rpc_stats *out)
{
	const struct rpc_conn *c;
	struct rpc_core_stats s;

	*out = r->stats;
	list_for_each (c, &r->conns, link) {
		rpc_core_get_stats(c->core, &s);
		out->duplicates += s.duplicates;
		out->refused_busy += s.refused;
	}
}

void rpc_set_identity(struct rpc *r, const struct rpc_identity *id, rpc_admit_fn admit, void *arg)
{
	r->id = id;
	r->admit = admit;
	r->admit_arg = arg;
}

void rpc_set_delay(struct rpc *r, uint64_t delay_ns)
{
	r->delay_ns = delay_ns;
}
