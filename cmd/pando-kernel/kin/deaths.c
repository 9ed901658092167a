/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deaths.c - what ends here when a node dies.
 *
 * A relative's stub hears of its process by the node that leased the pid. If that one has died the
 * process may have executed there, and has ended, or on another node, and goes on. So all others
 * are asked: who has it tells from then on how it ends; if nobody has, the stub dies of SIGKILL.
 * Who has it and sends it to another node passes on whom to tell, and has us look again (leave.c).
 */
#include "cmd/pando-kernel/kin/deaths.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/move/move.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define ASK_NS   (5 * NS_PER_S)
#define AGAIN_NS (300 * NS_PER_MS)
/* Who moves from one to another while both are asked is seen by neither, so nobody is asked once.
 */
#define ROUNDS 2
#define TRIES  3 /* of one that is on its way, when somebody waits for the answer */

struct search {
	struct list link;
	struct world *w;
	gpid pid;
	unsigned missing; /* answers */
	node_id found;
	bool again;
	unsigned rounds; /* that found nobody */
	unsigned tries;
	held_fn done; /* NULL: nobody waits */
	void *arg;
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

static void found_nobody(struct search *s, struct stub *stub)
{
	if (s->done)
		return;
	log_info("pid %d died with its node", s->pid);
	if (remote_end_kin(s->w, stub, SIGKILL) != 0)
		log_debug("stub %d is dead already", s->pid);
}

static void search_end(struct search *s, int err)
{
	if (s->done)
		s->done(s->arg, err);
	search_free(s);
}

/* False: it is not to be asked again. */
static bool ask_again(struct search *s)
{
	if (s->again)
		s->tries++;
	else
		s->rounds++;
	if (s->again ? s->done && s->tries >= TRIES : s->rounds >= ROUNDS)
		return false;
	return loop_timer_set(s->w->loop, &s->timer, loop_now_ns(s->w->loop) + AGAIN_NS,
			      on_again) == 0;
}

static void all_answered(struct search *s)
{
	struct stub *stub = stubs_find(s->w->stubs, s->pid);

	if (!stub || stub->leaving || stub->arriving || stub->home) {
		search_end(s, 0);
	} else if (s->found != NODE_NONE) {
		hear_from(s, stub);
		search_end(s, 0);
	} else if (!ask_again(s)) {
		/* Else it is looked for when the nodes change. */
		if (s->rounds >= ROUNDS)
			found_nobody(s, stub);
		search_end(s, s->again ? -EAGAIN : -ESRCH);
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
		if (w->nodes[i].id != w->node && !w->nodes[i].dead &&
		    home_is_somewhere(w, w->nodes[i].id))
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

static bool is_orphan(struct world *w, const struct stub *stub)
{
	return !stub->home && !stub->leaving && !stub->arriving && !stub->turning &&
	       stub->gpid != w->zygote && home_is_over(w, stub->gpid) &&
	       !move_is_busy(w, stub->gpid);
}

void deaths_seek(struct world *w, gpid pid, held_fn done, void *arg)
{
	struct search *s = !done && is_searched(pid) ? NULL : calloc(1, sizeof(*s));

	if (!s) {
		if (done)
			done(arg, -ENOMEM);
		return;
	}
	*s = (struct search){ .w = w, .pid = pid, .done = done, .arg = arg };
	list_add_tail(&searches, &s->link);
	ask_all(s);
}

/* Who has been found, and lives, tells. */
static void look_at_stub(void *arg, struct stub *stub)
{
	struct world *w = arg;

	if (is_orphan(w, stub) && (stub->told_in == 0 || peers_over(w, stub->peer, stub->told_in)))
		deaths_seek(w, stub->gpid, NULL, NULL);
}

struct look {
	struct world *w;
	node_id node;
};

static void look_anew(void *arg, struct stub *stub)
{
	const struct look *x = arg;

	if (is_orphan(x->w, stub) && (x->node == NODE_NONE || stub->peer == x->node))
		deaths_seek(x->w, stub->gpid, NULL, NULL);
}

void deaths_seek_all(struct world *w, node_id node)
{
	struct look x = { w, node };

	stubs_each(w->stubs, look_anew, &x);
}

static void on_seek(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Peer__Hold *q = peer__hold__unpack(NULL, m->len, m->body);
	struct stub *stub = q ? stubs_find(w->stubs, q->pid) : NULL;

	if (stub && is_orphan(w, stub))
		deaths_seek(w, q->pid, NULL, NULL);
	answers_reply(call, q ? 0 : -EPROTO, NULL);
	if (q)
		peer__hold__free_unpacked(q, NULL);
}

void deaths_open(struct world *w)
{
	rpc_serve(w->peer_rpc, PEER_SEEK, on_seek, w);
}

/* ---- worlds that are lost ---- */
static const struct world_block *block_at(const struct world *w, gpid first)
{
	for (size_t i = 0; i < w->block_count; i++)
		if (w->blocks[i].first == first)
			return &w->blocks[i];
	return NULL;
}

/* The newest, so that no word of a pandod that is behind is taken for the end of it. */
static const struct world_block *block_of(const struct world *w, node_id node)
{
	const struct world_block *found = NULL;

	for (size_t i = 0; i < w->block_count; i++)
		if (w->blocks[i].home == node && (!found || w->blocks[i].aterm > found->aterm))
			found = &w->blocks[i];
	return found;
}

static struct kept_world *kept_world_of(struct world *w, node_id node)
{
	struct kept_world *unused = NULL;

	for (size_t i = 0; i < KEPT_WORLDS; i++) {
		struct kept_world *k = &w->kept->worlds[i];

		if (k->node == node)
			return k;
		unused = !unused && k->node == NODE_NONE ? k : unused;
	}
	if (unused)
		*unused = (struct kept_world){ .node = node };
	return unused;
}

static void lost_told(void *arg, struct stub *s)
{
	const struct world_node *n = arg;

	if (s->peer == n->id && s->told_in == n->life)
		s->told_in = n->life - 1;
}

/* All that is kept of it is of the life before. Done again, by a successor, it changes nothing. */
static void world_lost(struct world *w, struct world_node *n)
{
	struct kept *k = w->kept;
	epoch_t over = n->life - 1;

	log_info("node %s has lost what it had of this tenant", n->name);
	for (size_t i = 0; i < KEPT_PLACES; i++)
		if (k->places[i].site == n->id)
			k->places[i].life = over;
	for (size_t i = 0; i < KEPT_GUESTS; i++)
		if (k->guests[i].home == n->id)
			k->guests[i].life = over;
	for (size_t i = 0; i < KEPT_PIPES; i++)
		if (k->pipes[i].peer == n->id)
			k->pipes[i].life = over;
	for (size_t i = 0; i < KEPT_NOTES; i++) {
		uint32_t valid = k->notes[i].valid;

		if ((valid == 1 || valid == 2) && k->notes[i].copy[valid - 1].peer == n->id)
			k->notes[i].life = over;
	}
	stubs_each(w->stubs, lost_told, n);
	peers_world_lost(w, n->id, over);
	carriers_world_lost(w, n->id, over);
	terminals_world_lost(w, n->id, over);
	leaves_world_lost(w, n->id, over);
	comes_world_lost(w, n->id, over);
}

/*
 * True: it has lost the world that it had, in the same life. A row that is missing says nothing:
 * tables may be old.
 */
static bool look_at_world(struct world *w, struct world_node *n)
{
	struct kept_world *k = kept_world_of(w, n->id);
	const struct world_block *b = k && k->block != 0 ? block_at(w, k->block) : NULL;
	bool same = k && k->life == n->life && !n->dead;
	bool lost = same && b && b->home == NODE_NONE && b->aterm >= k->aterm;

	if (!k || (same && !lost && k->block != 0))
		return false;
	if (lost)
		world_lost(w, n);
	FAULT("kernel.world.lost");
	b = block_of(w, n->id);
	k->block = 0; /* until what belongs to it is there */
	k->life = n->life;
	k->aterm = b ? b->aterm : 0;
	k->block = b ? b->first : 0;
	return lost;
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
	bool died = false;

	for (size_t i = 0; i < w->node_count; i++) {
		if (w->nodes[i].id == w->node || !look_at_world(w, &w->nodes[i]))
			continue;
		authority_node_died(w, w->nodes[i].id);
		died = true;
	}
	peers_look_at_lives(w);
	/* No claim of a dead node counts any more; then what executed there can be ended. */
	for (size_t i = 0; i < w->node_count; i++) {
		epoch_t life = life_before(before, count, w->nodes[i].id);

		if (life == 0 || w->nodes[i].life <= life || w->nodes[i].id == w->node)
			continue;
		/* As the node's people know it. */
		log_info("life %llu of node %s is over", (unsigned long long)life / 2,
			 w->nodes[i].name);
		authority_node_died(w, w->nodes[i].id);
		died = true;
	}
	for (size_t i = 0; i < count; i++) {
		if (before[i].id == w->node || !peers_gone(w, before[i].id) || before[i].dead)
			continue;
		/* It has left the machine. */
		authority_node_died(w, before[i].id);
		died = true;
	}
	leaves_look_at_lives(w);
	comes_look_at_lives(w);
	/* Of a predecessor, which was fenced. */
	leaves_fenced(w);
	comes_fenced(w);
	remotes_look_at_lives(w);
	carriers_look_at_lives(w);
	terminals_look_at_lives(w);
	pipes_look_at_lives(w);
	/* Whom we hear from may have passed its process on to the one that has died. */
	if (died)
		deaths_seek_all(w, NODE_NONE);
	stubs_each(w->stubs, look_at_stub, w);
}
