/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operators at all nodes, who know nothing of each other: they add and remove the same tenants and
 * keys, and try tokens that are used up or have expired. What they are told must never contradict
 * what anybody was told before.
 *
 *	N1  no two tenants are told the same host ids, now or ever
 *	N4  no tenant id is given twice
 *	N6  no token lets in more nodes than it was made for, or later than it was good
 */
#include <errno.h>
#include <stdio.h>

#include "sim/cluster.h"

#define PATIENCE_MS  4000
#define PEOPLE       3 /* names of tenants, and keys */
#define TOKEN_TTL_MS 5000

enum wish {
	WISH_TENANT = 0,
	WISH_REMOVE,
	WISH_KEY,
	WISH_TOKEN,
	WISH_LATE, /* a join by a token that has expired */
	WISH_USED, /* a join by one that somebody has joined with */
	WISHES,
};

/* ---- answers ---- */
static void born(struct sim *s, struct people *p, uint32_t id, uint64_t host_id)
{
	s->w.stats.checks++;
	for (uint32_t i = 0; i < p->count; i++) {
		if (p->tenant[i].host_id == host_id)
			world_violate(&s->w, "N1", "tenants %u and %u were given host id %llu",
				      p->tenant[i].id, id, (unsigned long long)host_id);
		if (p->tenant[i].id == id)
			world_violate(&s->w, "N4", "tenant id %u was given twice", id);
	}
	if (p->count < PEOPLE_MAX)
		p->tenant[p->count++] = (struct person){ id, host_id };
}

static void answered(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
		     const struct naming_result *r)
{
	struct people *p = &s->people;

	(void)n;
	(void)b;
	if (err != 0)
		return;
	switch ((enum wish)a) {
	case WISH_TENANT:
		if (r->err == 0)
			born(s, p, r->id, r->value);
		return;
	case WISH_LATE:
	case WISH_USED:
		s->w.stats.checks++;
		if (r->err != -EACCES)
			world_violate(&s->w, "N6", "a token that %s is good for a node (%d)",
				      a == WISH_LATE ? "has expired" : "was used up", r->err);
		return;
	default:
		return;
	}
}

/* ---- wishes ---- */
/* One of theirs, in what @n knows; 0: none. */
static tenant_id somebody(const struct sim *s, const struct knode *n, uint64_t pick)
{
	const struct naming_tenant *t;
	tenant_id found = 0;

	for (uint32_t i = 0; (t = naming_tenant_at(name_tables(n), i)) != NULL; i++)
		if (t->id != s->tenant && t->id != s->reg && (found == 0 || pick-- % 2 == 0))
			found = t->id;
	return found;
}

/* The tables' time, which is their leaders' and only grows, was so late already in what @n knows.
 */
static uint64_t time_ms(const struct knode *n)
{
	const struct naming_tenant *t;
	uint64_t ms = 0;

	for (uint32_t i = 0; (t = naming_tenant_at(name_tables(n), i)) != NULL; i++)
		ms = MAX(ms, t->created_ms);
	return ms;
}

/* A token of theirs that has expired by then; false: none. */
static bool late_token(const struct sim *s, const struct knode *n, uint64_t pick, uint64_t *out)
{
	uint32_t count = s->people.tokens;

	for (uint32_t i = 0; i < count; i++) {
		uint8_t hash[NAMING_KEY_BYTES] = { 7 };
		const struct naming_token *t;

		*out = (pick + i) % count;
		hash[1] = (uint8_t)*out;
		t = naming_token_find(name_tables(n), hash);
		if (t && t->expires_ms <= time_ms(n))
			return true;
	}
	return false;
}

/* Into a name that is taken: who is let in all the same is told so, and no node is added. */
static void join(struct naming_cmd *c, uint8_t kind, uint8_t number)
{
	c->kind = NAMING_CMD_NODE_JOIN;
	c->key[0] = 5;
	c->key2[0] = kind;
	c->key2[1] = number;
	(void)snprintf(c->name, sizeof(c->name), "n1");
	(void)snprintf(c->addr, sizeof(c->addr), "10.0.0.99:7300");
}

/* False: there is nothing of that kind to ask for just now. */
static bool command(struct sim *s, const struct knode *n, enum wish wish, uint64_t pick,
		    struct naming_cmd *c, uint64_t *number)
{
	struct people *p = &s->people;

	switch (wish) {
	case WISH_TENANT:
		c->kind = NAMING_CMD_TENANT_ADD;
		(void)snprintf(c->name, sizeof(c->name), "p%u", (unsigned)(pick % PEOPLE));
		return true;
	case WISH_REMOVE:
		c->kind = NAMING_CMD_TENANT_REMOVE;
		c->tenant = somebody(s, n, pick);
		return c->tenant != 0;
	case WISH_KEY:
		c->kind = NAMING_CMD_KEY_ADD;
		c->tenant = somebody(s, n, pick);
		c->key[0] = 6;
		c->key[1] = (uint8_t)(pick % PEOPLE);
		(void)snprintf(c->text, sizeof(c->text), "ssh-ed25519 %u", (unsigned)c->key[1]);
		return c->tenant != 0;
	case WISH_TOKEN:
		if (p->tokens == TOKENS_MAX)
			return false;
		*number = p->tokens++;
		c->kind = NAMING_CMD_TOKEN_ADD;
		c->number = 1;
		c->ttl_ms = TOKEN_TTL_MS;
		c->key[0] = 7;
		c->key[1] = (uint8_t)*number;
		return true;
	case WISH_LATE:
		if (!late_token(s, n, pick, number))
			return false;
		join(c, 7, (uint8_t)*number);
		return true;
	case WISH_USED:
		if (s->members < 2)
			return false;
		join(c, 9, (uint8_t)(2 + pick % (s->members - 1)));
		return true;
	default:
		return false;
	}
}

static void on_wish(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct rand *r = &w->rng[RNG_PEOPLE];
	struct knode *n = &s->nodes[1 + rand_below(r, s->conf.nodes)];
	struct naming_cmd c = { .kind = NAMING_CMD_NOOP };
	enum wish wish = (enum wish)rand_below(r, WISHES);
	uint64_t pick = rand_below(r, 1 << 16), number = 0;

	(void)a;
	(void)b;
	(void)payload;
	if (s->quiet)
		return;
	world_in(w, (500 + rand_below(r, 3000)) * NS_PER_MS, on_wish, "wish", node, 0, 0, NULL);
	if (n->up && n->name && s->reg != 0 && command(s, n, wish, pick, &c, &number))
		(void)name_propose(s, n, &c, PATIENCE_MS, answered, wish, number);
}

void people_start(struct sim *s)
{
	world_in(&s->w, 4 * NS_PER_S, on_wish, "wish", 0, 0, 0, NULL);
}
