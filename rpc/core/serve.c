/* SPDX-License-Identifier: Apache-2.0 */
/* serve.c - the peer's requests: executed at most once by key, replies kept. */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"
#include "rpc/core/core_priv.h"

/* ---- the scope ---- */

static unsigned heads_for(unsigned keys_max)
{
	unsigned n = 16;

	while (n < keys_max)
		n *= 2;
	return n;
}

size_t rpc_scope_size(unsigned keys_max)
{
	return ALIGN_UP(sizeof(struct rpc_scope), (size_t)16) +
	       heads_for(keys_max) * sizeof(struct list) + keys_max * sizeof(struct rpc_in);
}

struct rpc_scope *rpc_scope_init(void *mem, unsigned keys_max, uint64_t keep_ns)
{
	struct rpc_scope *s = mem;
	unsigned heads = heads_for(keys_max);

	memset(mem, 0, rpc_scope_size(keys_max));
	s->cap = keys_max;
	s->heads_mask = heads - 1;
	s->keep_ns = keep_ns;
	s->kept_bytes_max = UINT64_MAX;
	s->heads = (struct list *)((char *)mem + ALIGN_UP(sizeof(*s), (size_t)16));
	s->ins = (struct rpc_in *)(s->heads + heads);
	list_init(&s->free);
	list_init(&s->orphans);
	list_init(&s->kept);
	for (unsigned i = 0; i < heads; i++)
		list_init(&s->heads[i]);
	for (unsigned i = 0; i < keys_max; i++) {
		s->ins[i].scope = s;
		list_init(&s->ins[i].chain);
		list_add_tail(&s->free, &s->ins[i].link);
	}
	return s;
}

void rpc_scope_set_bytes_max(struct rpc_scope *s, uint64_t bytes_max)
{
	s->kept_bytes_max = bytes_max;
}

unsigned rpc_scope_used(const struct rpc_scope *s)
{
	return s->used;
}

static struct list *scope_head(struct rpc_scope *s, uint64_t key)
{
	return &s->heads[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & s->heads_mask];
}

static struct rpc_in *scope_find(struct rpc_scope *s, uint64_t key)
{
	struct list *head = scope_head(s, key);
	struct rpc_in *in;

	list_for_each (in, head, chain) {
		if (in->key == key)
			return in;
	}
	return NULL;
}

/* Returns the kept body, if any. */
static void *in_forget(struct rpc_in *in)
{
	struct rpc_scope *s = in->scope;
	void *body = in->body;

	if (in->state == IN_KEPT)
		s->kept_bytes -= in->len;
	in->state = IN_FREE;
	in->body = NULL;
	in->asker = NULL;
	list_del(&in->chain);
	list_del(&in->link);
	if (s) {
		s->used--;
		list_add(&s->free, &in->link);
	} else {
		list_add(&in->home->in_free, &in->link);
	}
	return body;
}

bool rpc_scope_expire(struct rpc_scope *s, uint64_t now_ns, void **release)
{
	struct rpc_in *in = list_first(&s->kept, struct rpc_in, link);

	if (!in || in->forget_ns > now_ns)
		return false;
	*release = in_forget(in);
	return true;
}

/* ---- requests ---- */

static void refuse(struct rpc_core *c, uint64_t id, int err)
{
	c->stats.refused++;
	core_send(c, RPC_FR_REFUSED, id)->err = err;
}

static void in_start(struct rpc_core *c, struct rpc_in *in, const struct rpc_frame *f)
{
	struct rpc_fx *fx = core_push(c, RPC_FX_DELIVER);

	list_del(&in->link);
	list_add_tail(&c->serving, &in->link);
	in->state = IN_RUNNING;
	in->asker = c;
	in->asker_id = f->id;
	in->key = f->key;
	in->deadline_ns = f->ttl_us ? c->now_ns + f->ttl_us * NS_PER_US : 0;
	fx->in = in;
	fx->frame = *f;
}

/* The peer, or its successor, asks again what is being executed or was executed. */
static void ask_again(struct rpc_core *c, struct rpc_in *in, const struct rpc_frame *f)
{
	struct rpc_frame *r;

	c->stats.duplicates++;
	if (in->state == IN_RUNNING) {
		/* One channel that asks twice at once under one key loses its first question. */
		if (in->asker == c && in->asker_id != f->id)
			refuse(c, in->asker_id, -EALREADY);
		in->asker = c;
		in->asker_id = f->id;
		list_del(&in->link);
		list_add_tail(&c->serving, &in->link);
		return;
	}
	r = core_send(c, RPC_FR_REPLY, f->id);
	r->err = in->err;
	r->body = in->body;
	r->len = in->len;
}

static void serve_keyed(struct rpc_core *c, const struct rpc_frame *f)
{
	struct rpc_scope *s = c->scope;
	struct rpc_in *in = scope_find(s, f->key);
	void *body;
	int seen = core_seen(c, f->id);

	if (in) {
		ask_again(c, in, f);
		return;
	}
	/*
	 * C1: seen before, and either executed and acknowledged, or refused, or too old to know.
	 * Who still waits has acknowledged nothing, so it was refused and has not been told: it
	 * asks under a new id. Nobody else listens.
	 */
	if (seen != 1) {
		c->stats.duplicates += seen == 0;
		if (MUTANT("rpc.refused-once"))
			return;
		refuse(c, f->id, -EBUSY);
		return;
	}
	while (rpc_scope_expire(s, c->now_ns, &body)) {
		if (body)
			core_push(c, RPC_FX_RELEASE)->release = body;
		if (c->ring_len > RING / 2)
			break;
	}
	in = s->kept_bytes < s->kept_bytes_max ? list_first(&s->free, struct rpc_in, link) : NULL;
	if (!in) {
		refuse(c, f->id, -EBUSY);
		return;
	}
	in_start(c, in, f);
	s->used++;
	list_add_tail(scope_head(s, f->key), &in->chain);
}

void core_serve_request(struct rpc_core *c, const struct rpc_frame *f, uint64_t now_ns)
{
	struct rpc_in *in;

	if (f->key != 0) {
		serve_keyed(c, f);
		return;
	}
	if (core_seen(c, f->id) != 1) {
		c->stats.duplicates++;
		return;
	}
	in = list_first(&c->in_free, struct rpc_in, link);
	if (in)
		in_start(c, in, f);
	else
		refuse(c, f->id, -EBUSY);
}

/* Nobody waits any more; the execution goes on. */
static void in_orphan(struct rpc_in *in)
{
	in->asker = NULL;
	list_del(&in->link);
	if (in->scope)
		list_add_tail(&in->scope->orphans, &in->link);
}

void core_serve_cancel(struct rpc_core *c, uint64_t id)
{
	struct rpc_in *in;

	list_for_each (in, &c->serving, link) {
		if (in->asker_id == id) {
			in_orphan(in);
			return;
		}
	}
}

void core_serve_ack(struct rpc_core *c, uint64_t key)
{
	struct rpc_in *in = key != 0 ? scope_find(c->scope, key) : NULL;
	void *body;

	if (!in || in->state != IN_KEPT)
		return;
	body = in_forget(in);
	if (body)
		core_push(c, RPC_FX_RELEASE)->release = body;
}

void core_serve_down(struct rpc_core *c)
{
	while (!list_empty(&c->serving))
		in_orphan(list_front(&c->serving, struct rpc_in, link));
}

struct rpc_core *rpc_in_reply(struct rpc_in *in, int err, void *body, uint32_t len, uint64_t now_ns,
			      bool *kept)
{
	struct rpc_core *asker = in->asker;
	struct rpc_frame *f;

	CHECK_INV(C1, in->state == IN_RUNNING);
	if (asker && asker->up) {
		f = core_send(asker, RPC_FR_REPLY, in->asker_id);
		f->err = err;
		f->body = body;
		f->len = len;
	}
	*kept = in->scope != NULL && !MUTANT("rpc.reply-unkept");
	if (!*kept) {
		(void)in_forget(in);
		return asker;
	}
	in->state = IN_KEPT;
	in->scope->kept_bytes += len;
	in->err = err;
	in->body = body;
	in->len = len;
	in->forget_ns = now_ns + in->scope->keep_ns;
	in->asker = NULL;
	list_del(&in->link);
	list_add_tail(&in->scope->kept, &in->link);
	return asker;
}

bool rpc_in_is_void(const struct rpc_in *in)
{
	return in->asker == NULL;
}

bool rpc_in_has_key(const struct rpc_in *in)
{
	return in->scope != NULL;
}

uint64_t rpc_in_deadline_ns(const struct rpc_in *in)
{
	return in->deadline_ns;
}

enum rpc_at core_serve_at(struct rpc_core *c, const struct rpc_frame *f)
{
	struct rpc_in *in = f->key != 0 && c->scope ? scope_find(c->scope, f->key) : NULL;

	if (f->kind == RPC_FR_CANCEL) {
		list_for_each (in, &c->serving, link) {
			if (in->asker_id == f->id)
				return RPC_AT_RUNNING;
		}
		return RPC_AT_NONE;
	}
	return !in ? RPC_AT_NONE : in->state == IN_RUNNING ? RPC_AT_RUNNING : RPC_AT_KEPT;
}
