/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deaths.c - what ends here when a node dies.
 *
 * A relative's stub hears of its process by the node that leased the pid. If that one has died the
 * process may have executed there, and has ended, or on another node, and goes on. So all others
 * are asked: who has it tells from then on how it ends; if nobody has, the stub dies of SIGKILL.
 * While nobody keeps its record it does not move, so that it cannot be missed.
 */
#include "cmd/pando-kernel/deaths.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define ASK_NS   (5 * NS_PER_S)
#define AGAIN_NS (300 * NS_PER_MS)

struct search {
	struct list link;
	struct world *w;
	gpid pid;
	unsigned missing; /* answers */
	node_id found;
	bool again;
	struct loop_timer timer;
};

static struct list searches = LIST_INIT(searches);

/* One node's answer. */
struct asked {
	struct search *s;
	node_id node;
};

static void ask_all(struct search *s);

static void search_free(struct search *s)
{
	loop_timer_clear(s->w->loop, &s->timer);
	list_del(&s->link);
	free(s);
}

static void on_again(struct loop_timer *t)
{
	ask_all(container_of(t, struct search, timer));
}

/* It executes at @s->found, which tells us how it ends. */
static void hear_from(struct search *s, struct stub *stub)
{
	char key[INIT_KEY_MAX];
	int r;

	(void)snprintf(key, sizeof(key), "kin.%d.%u", s->pid, s->found);
	r = pid1_put(s->w->pid1, key, stub->pidfd);
	if (r < 0 && r != -EEXIST)
		log_warn("stub %d may be taken for another after a death: %s", s->pid,
			 strerror(-r));
	if (stub->peer != s->found) {
		(void)snprintf(key, sizeof(key), "kin.%d.%u", s->pid, stub->peer);
		(void)pid1_drop(s->w->pid1, key);
	}
	stub->peer = s->found;
	stub->told_in = peers_life(s->w, s->found);
}

static void all_answered(struct search *s)
{
	struct stub *stub = stubs_find(s->w->stubs, s->pid);

	if (!stub || stub->leaving || stub->arriving || stub->home) {
		search_free(s);
	} else if (s->found != NODE_NONE) {
		hear_from(s, stub);
		search_free(s);
	} else if (s->again) {
		if (loop_timer_set(s->w->loop, &s->timer, loop_now_ns(s->w->loop) + AGAIN_NS,
				   on_again) != 0)
			search_free(s); /* looked for again when the nodes change */
	} else {
		log_info("pid %d died with its node", s->pid);
		if (remote_end_kin(s->w, stub, SIGKILL) != 0)
			log_debug("stub %d is dead already", s->pid);
		search_free(s);
	}
}

static void answered(struct asked *a, int err)
{
	struct search *s = a->s;

	if (err == 0)
		s->found = a->node;
	else if (err != -ESRCH && !peers_gone(s->w, a->node))
		s->again = true;
	free(a);
	if (--s->missing == 0)
		all_answered(s);
}

static void on_answer(void *arg, int err, const struct rpc_msg *m)
{
	answered(arg, err);
}

static void on_conn(void *arg, int err, struct rpc_conn *c)
{
	struct asked *a = arg;
	Peer__Hold q = PEER__HOLD__INIT;
	struct rpc_opts o = { .deadline_ns = loop_now_ns(a->s->w->loop) + ASK_NS };
	uint8_t body[16];
	struct rpc_msg m = { .method = PEER_HOLD, .body = body };

	q.pid = a->s->pid;
	q.executes = true;
	m.len = peer__hold__pack(&q, body);
	if (err == 0)
		err = rpc_request(c, &m, &o, on_answer, a, NULL);
	if (err != 0)
		answered(a, err == -ESRCH ? -EAGAIN : err);
}

static void ask_one(struct search *s, node_id node)
{
	struct asked *a = malloc(sizeof(*a));

	if (!a) {
		s->again = true;
		return;
	}
	*a = (struct asked){ s, node };
	s->missing++;
	peers_with(s->w, node, on_conn, a);
}

static void ask_all(struct search *s)
{
	struct world *w = s->w;

	s->again = false;
	s->found = NODE_NONE;
	s->missing = 1; /* answers may come at once */
	for (size_t i = 0; i < w->node_count; i++)
		if (w->nodes[i].id != w->node && !w->nodes[i].dead)
			ask_one(s, w->nodes[i].id);
	if (--s->missing == 0)
		all_answered(s);
}

static bool is_searched(gpid pid)
{
	const struct search *s;

	list_for_each (s, &searches, link)
		if (s->pid == pid)
			return true;
	return false;
}

/* A pid that was leased, and whose record nobody keeps. */
static bool is_orphaned(const struct world *w, gpid pid)
{
	for (size_t i = 0; i < w->block_count; i++) {
		const struct world_block *b = &w->blocks[i];

		if (pid >= b->first && (uint32_t)(pid - b->first) < b->count)
			return b->authority == NODE_NONE;
	}
	return false;
}

static void look_at_stub(void *arg, struct stub *stub)
{
	struct world *w = arg;
	struct search *s;

	if (stub->home || stub->leaving || stub->arriving || stub->turning ||
	    stub->gpid == w->zygote || !is_orphaned(w, stub->gpid) || move_is_busy(w, stub->gpid) ||
	    is_searched(stub->gpid))
		return;
	/* Who has been found, and lives, tells. */
	if (stub->told_in != 0 && !peers_over(w, stub->peer, stub->told_in))
		return;
	s = calloc(1, sizeof(*s));
	if (!s)
		return;
	s->w = w;
	s->pid = stub->gpid;
	list_add_tail(&searches, &s->link);
	ask_all(s);
}

static epoch_t life_before(const struct world_node *before, size_t count, node_id node)
{
	for (size_t i = 0; i < count; i++)
		if (before[i].id == node)
			return before[i].life;
	return 0;
}

void deaths_look(struct world *w, const struct world_node *before, size_t count)
{
	peers_look_at_lives(w);
	/* No claim of a dead node counts any more; then what executed there can be ended. */
	for (size_t i = 0; i < w->node_count; i++) {
		epoch_t life = life_before(before, count, w->nodes[i].id);

		if (life == 0 || w->nodes[i].life <= life || w->nodes[i].id == w->node)
			continue;
		log_info("life %llu of node %s is over", (unsigned long long)life,
			 w->nodes[i].name);
		authority_node_died(w, w->nodes[i].id);
	}
	leaves_look_at_lives(w);
	comes_look_at_lives(w);
	remotes_look_at_lives(w);
	carriers_look_at_lives(w);
	terminals_look_at_lives(w);
	pipes_look_at_lives(w);
	stubs_each(w->stubs, look_at_stub, w);
}
