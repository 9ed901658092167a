/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gossip.c - who answers: naming/member over the connections between pandods, and since when.
 *
 * What it says is for people and for placement. That a node is dead says naming (life.c).
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/pandod/pod.h"
#include "naming/member/member.h"

enum { NODES_MAX = 1024 };

struct seen {
	node_id id;
	enum member_state state;
	uint64_t since_ms; /* since 1970 */
};

struct gossip {
	struct pod *pod;
	struct membership *m;
	struct seen seen[NODES_MAX];
	unsigned seen_count;
};

static struct seen *seen_get(struct gossip *g, node_id id)
{
	for (unsigned i = 0; i < g->seen_count; i++)
		if (g->seen[i].id == id)
			return &g->seen[i];
	if (g->seen_count == NODES_MAX)
		return NULL;
	g->seen[g->seen_count] = (struct seen){ id, MEMBER_ALIVE, clock_wall_ns() / NS_PER_MS };
	return &g->seen[g->seen_count++];
}

static void on_send(void *arg, node_id to, const void *msg, size_t len)
{
	struct gossip *g = arg;
	struct rpc_msg m = { .method = POD_GOSSIP, .body = msg, .len = len };

	peers_say(g->pod, to, &m);
}

static const char *event_of(enum member_state state)
{
	return state == MEMBER_ALIVE     ? "node.alive"
	       : state == MEMBER_SUSPECT ? "node.suspect"
					 : "node.silent";
}

static void on_changed(void *arg, node_id id, enum member_state state)
{
	struct gossip *g = arg;
	const struct naming_node *n = naming_node_find(naming_tables(g->pod->naming), id);
	struct seen *s = seen_get(g, id);

	if (s == NULL || s->state == state)
		return;
	s->state = state;
	s->since_ms = clock_wall_ns() / NS_PER_MS;
	if (n != NULL)
		events_add(g->pod, event_of(state), TENANT_NONE,
			   json_pack("{s:s}", "name", n->name));
	api_changed(g->pod);
}

static void on_load(void *arg, struct member_load *out)
{
	struct gossip *g = arg;
	struct peer_load l;

	peers_load(g->pod, naming_self(g->pod->naming), &l);
	out->cpu_milli = l.cpu_milli;
	out->load_milli = l.load_milli;
	out->mem_bytes = l.memory_bytes;
	out->mem_free_bytes = l.free_bytes;
}

static const struct member_ops ops = { .send = on_send, .changed = on_changed, .load = on_load };

void gossip_tables(struct pod *p)
{
	struct gossip *g = p->gossip;
	const struct naming_node *n;
	node_id self = naming_self(p->naming);
	struct seen *s;

	if (g == NULL)
		return;
	for (uint32_t i = 0; (n = naming_node_at(naming_tables(p->naming), i)) != NULL; i++) {
		const struct member *m = membership_find(g->m, n->id);

		if (n->id == self)
			continue;
		if (n->state == NAMING_NODE_LEFT) {
			membership_remove(g->m, n->id);
			continue;
		}
		if (m != NULL && m->news.epoch >= n->epoch)
			continue;
		if (membership_add(g->m, n->id, n->epoch) < 0)
			log_warn("node %u is one too many to be looked at", n->id);
		/* A new life answers until it does not. */
		s = seen_get(g, n->id);
		if (s != NULL)
			*s = (struct seen){ n->id, MEMBER_ALIVE, clock_wall_ns() / NS_PER_MS };
	}
}

void gossip_begin(struct pod *p, epoch_t epoch)
{
	struct gossip *g = p->gossip;
	int r;

	if (g == NULL) {
		g = p->gossip = calloc(1, sizeof(*g));
		CHECK(g != NULL);
		g->pod = p;
	}
	membership_free(g->m);
	r = membership_new(&g->m, p->loop, NULL, NODES_MAX, naming_self(p->naming), epoch, &ops, g);
	CHECK(r == 0);
	gossip_tables(p);
}

void gossip_fini(struct pod *p)
{
	if (p->gossip == NULL)
		return;
	membership_free(p->gossip->m);
	free(p->gossip);
	p->gossip = NULL;
}

void gossip_heard(struct pod *p, node_id from, const void *body, size_t len)
{
	if (p->gossip != NULL)
		membership_input(p->gossip->m, from, body, len);
}

enum gossip_state gossip_of(const struct pod *p, node_id id, uint64_t *since_ms)
{
	const struct gossip *g = p->gossip;
	const struct member *m = g ? membership_find(g->m, id) : NULL;

	*since_ms = 0;
	for (unsigned i = 0; g != NULL && i < g->seen_count; i++)
		if (g->seen[i].id == id)
			*since_ms = g->seen[i].since_ms;
	if (m == NULL)
		return GOSSIP_UNKNOWN;
	return m->news.state == MEMBER_ALIVE     ? GOSSIP_ALIVE
	       : m->news.state == MEMBER_SUSPECT ? GOSSIP_SUSPECT
						 : GOSSIP_SILENT;
}
