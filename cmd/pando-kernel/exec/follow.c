/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.c - a process that an exec has sent on from a node that had not leased its pid: its record
 * follows it, as if it had moved.
 *
 *	sender (its stub is a place)      site (it executes)       authority, home
 *	  | READ -------------------------------------------------> |
 *	  | <------------------------------------ RECORD(epoch e)   |
 *	  | Follow(e) -------------------> | tells the home how it   |
 *	  |                                | ends, from now on       |
 *	  |                                | CLAIM(e) -------------> | the place there follows the
 *	  |                                | <--- RECORD(e+1, site)  | record (authority.c)
 *	  | <--------------------- (empty) | may move                |
 *	  | Hold ------------------------------------------------->  | tells how it ends
 *	the stub is a relative's
 *
 * Nobody else can claim from e: the sender has a stub, which executes nothing, and the site starts
 * no move before it has claimed (site_was_sent_on). Whoever dies, the sender's record of the place
 * says that this is to be done, and every step may be done again; a record that names a third node
 * says that the site had it and has passed it on. Of several that have sent it on, each waits for
 * the one before it.
 *
 * A process whose output goes by the sender stays there (pipes_pass_on): its last words would come
 * after its end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/exec/place.h"
#include "cmd/pando-kernel/exec/site.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/move/move.h"

#define AGAIN_FIRST_NS (20 * NS_PER_MS)
#define AGAIN_LAST_NS  (2 * NS_PER_S)
#define CLAIM_NS       (2 * NS_PER_S)

/* At the sender. */
struct following {
	struct list link;
	struct world *w;
	gpid pid;
	uint64_t move; /* of its questions, until it asks anew */
	epoch_t epoch;
	uint64_t again_ns;
	struct loop_timer again;
};

/* At the site. */
struct claiming {
	struct list link;
	struct world *w;
	gpid pid;
	node_id from;
	uint64_t id; /* of the exec */
	uint64_t move;
	struct rpc_call *call;
	struct loop_timer limit;
};

/* What is asked of others outlives who asks. */
struct question {
	struct world *w;
	gpid pid;
	uint64_t move;
};

static struct list followings = LIST_INIT(followings);
static struct list claimings = LIST_INIT(claimings);

static void read_record(struct following *x);

static uint64_t random_move(void)
{
	uint64_t v = 0;

	if (getrandom(&v, sizeof(v), 0) != sizeof(v))
		v = clock_wall_ns();
	return v | 1;
}

/* ---- the sender ---- */
static struct following *find(gpid pid)
{
	struct following *x;

	list_for_each (x, &followings, link)
		if (x->pid == pid)
			return x;
	return NULL;
}

static struct following *asker_of(const struct question *q)
{
	struct following *x = find(q->pid);

	return x && x->move == q->move ? x : NULL;
}

static struct question *question_of(const struct following *x)
{
	struct question *q = malloc(sizeof(*q));

	if (q)
		*q = (struct question){ x->w, x->pid, x->move };
	return q;
}

/* The place of another home's process, which executes elsewhere. */
static const struct kept_place *chained(struct world *w, gpid pid)
{
	node_id home = home_of(w, pid);

	if (home == w->node || (home == NODE_NONE && !home_is_over(w, pid)))
		return NULL;
	return remote_place(w, pid);
}

static void following_end(struct following *x)
{
	loop_timer_clear(x->w->loop, &x->again);
	list_del(&x->link);
	free(x);
}

static void on_again(struct loop_timer *t)
{
	read_record(container_of(t, struct following, again));
}

static void later(struct following *x)
{
	x->again_ns = MIN(x->again_ns * 2, AGAIN_LAST_NS);
	if (loop_timer_set(x->w->loop, &x->again, loop_now_ns(x->w->loop) + x->again_ns,
			   on_again) != 0)
		log_error("cannot wait: out of memory");
}

/* Others hear of it from its home, and if that is over from who has it. */
static void let_go(struct following *x)
{
	struct world *w = x->w;
	gpid pid = x->pid;

	if (site_is_telling(w, pid)) {
		later(x);
		return;
	}
	/* First: to a successor who has a guest's record is no stub. */
	if (home_is_over(w, pid))
		site_guest_left(w, pid);
	else
		site_guests_drop(w, pid);
	FAULT("kernel.follow.let_go");
	if (remote_let_go(w, pid) != 0) {
		later(x);
		return;
	}
	following_end(x);
	if (home_is_over(w, pid))
		deaths_seek(w, pid, NULL, NULL);
	kin_tidy(w);
}

static void on_held(void *arg, int err)
{
	struct question *q = arg;
	struct following *x = asker_of(q);

	if (x && chained(x->w, x->pid)) {
		if (err == 0)
			let_go(x);
		else
			later(x);
	}
	free(q);
}

static void hold(struct following *x)
{
	struct question *q = home_is_over(x->w, x->pid) ? NULL : question_of(x);

	if (q)
		site_hold(x->w, x->pid, on_held, q);
	else if (home_is_over(x->w, x->pid))
		let_go(x);
	else
		later(x);
}

static void on_followed(void *arg, int err, const struct rpc_msg *m)
{
	struct question *q = arg;
	struct following *x = asker_of(q);

	FAULT("kernel.follow.answered");
	if (x && err == 0)
		hold(x);
	else if (x)
		later(x);
	free(q);
}

static void on_site(void *arg, int err, struct rpc_conn *c)
{
	struct question *q = arg;
	struct following *x = asker_of(q);
	const struct kept_place *k = x ? chained(x->w, x->pid) : NULL;
	Peer__Follow f = PEER__FOLLOW__INIT;
	struct rpc_opts o = { .deadline_ns = loop_now_ns(q->w->loop) + 2 * CLAIM_NS };
	cleanup_free uint8_t *body = NULL;
	struct rpc_msg m = { .method = PEER_FOLLOW };

	if (err == 0 && !k)
		err = -ECANCELED;
	if (err == 0) {
		f.pid = x->pid;
		f.id = k->id;
		f.epoch = x->epoch;
		if (home_is_over(x->w, x->pid))
			f.hearers = site_hearers(x->w, x->pid, &f.n_hearers);
		body = malloc(peer__follow__get_packed_size(&f) + 1);
		err = body ? 0 : -ENOMEM;
	}
	if (err == 0) {
		m.len = peer__follow__pack(&f, body);
		m.body = body;
		err = rpc_request(c, &m, &o, on_followed, q, NULL);
	}
	free(f.hearers);
	if (err != 0)
		on_followed(q, err, NULL);
}

static void ask_site(struct following *x, const struct kept_place *k)
{
	struct question *q = question_of(x);

	if (q)
		peers_with(x->w, k->site, on_site, q);
	else
		later(x);
}

static void read_record(struct following *x)
{
	const struct kept_place *k = chained(x->w, x->pid);
	struct mig_msg m = { .kind = MIG_READ, .from = x->w->node, .pid = x->pid };
	node_id authority;

	if (!k) {
		following_end(x);
		return;
	}
	x->move = random_move();
	x->epoch = 0;
	if (site_was_sent_on(x->w, x->pid) || pipes_pass_on(x->w, x->pid)) {
		later(x);
		return;
	}
	/* Back where it began: there the task itself is the truth. */
	if (k->site == home_of(x->w, x->pid)) {
		ask_site(x, k);
		return;
	}
	authority = authority_of(x->w, x->pid, &m.aterm);
	m.move = x->move;
	later(x);
	if (authority != NODE_NONE)
		move_send(x->w, authority, &m);
}

static void on_read(struct following *x, const struct mig_msg *m)
{
	const struct kept_place *k = chained(x->w, x->pid);

	if (!k || m->epoch == 0 || m->site == NODE_NONE || x->epoch != 0)
		return; /* asked again */
	loop_timer_clear(x->w->loop, &x->again);
	x->epoch = m->epoch;
	if (m->site == x->w->node || m->site == k->site)
		ask_site(x, k);
	else
		hold(x);
}

static void look_at(void *arg, struct stub *s)
{
	struct world *w = arg;
	struct following *x;

	if (!s->home || !chained(w, s->gpid) || find(s->gpid))
		return;
	x = calloc(1, sizeof(*x));
	if (!x)
		return;
	*x = (struct following){
		.w = w, .pid = s->gpid, .move = random_move(), .again_ns = AGAIN_FIRST_NS
	};
	list_add_tail(&followings, &x->link);
	if (loop_timer_set(w->loop, &x->again, 0, on_again) != 0)
		following_end(x);
}

void follow_look(struct world *w)
{
	stubs_each(w->stubs, look_at, w);
}

/* ---- the site ---- */
static void claiming_end(struct claiming *x, int err)
{
	loop_timer_clear(x->w->loop, &x->limit);
	list_del(&x->link);
	answers_reply(x->call, err, NULL);
	free(x);
}

static void on_limit(struct loop_timer *t)
{
	claiming_end(container_of(t, struct claiming, limit), -EAGAIN);
}

static struct claiming *claiming_of(gpid pid)
{
	struct claiming *x;

	list_for_each (x, &claimings, link)
		if (x->pid == pid)
			return x;
	return NULL;
}

/* From here on this node has it; the sender hears how it ends until it has let go. */
static void settle(struct world *w, struct guest *g)
{
	g->k->id = 0;
	FAULT("kernel.follow.claimed");
	follow_look(w); /* it may have gone on already */
}

static void on_claimed(struct claiming *x, const struct mig_msg *m)
{
	struct guest *g = guest_for(x->w, x->pid, x->from);
	bool ours = m->site == x->w->node && g && g->k->id == x->id;
	struct world *w = x->w;

	claiming_end(x, ours ? 0 : -EAGAIN);
	if (ours)
		settle(w, g);
}

static int hear(struct world *w, const Peer__Follow *q)
{
	node_id home = home_of(w, q->pid);

	if (home != NODE_NONE)
		return site_guest_add(w, q->pid, home);
	for (size_t i = 0; i < q->n_hearers; i++)
		if (home_is_somewhere(w, q->hearers[i]))
			(void)!site_guest_add(w, q->pid, q->hearers[i]);
	return home_is_over(w, q->pid) ? 0 : -EAGAIN;
}

static int claim(struct world *w, const Peer__Follow *q, node_id from, struct rpc_call *call)
{
	struct mig_msg m = { .kind = MIG_CLAIM,
			     .from = w->node,
			     .pid = q->pid,
			     .epoch = q->epoch,
			     .move = random_move() };
	node_id authority = authority_of(w, q->pid, &m.aterm);
	struct claiming *x = claiming_of(q->pid);

	if (x)
		claiming_end(x, -EAGAIN);
	if (authority == NODE_NONE || q->epoch == 0)
		return -EAGAIN;
	x = calloc(1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	*x = (struct claiming){
		.w = w, .pid = q->pid, .from = from, .id = q->id, .move = m.move, .call = call
	};
	list_add_tail(&claimings, &x->link);
	if (loop_timer_set(w->loop, &x->limit, loop_now_ns(w->loop) + CLAIM_NS, on_limit) != 0) {
		list_del(&x->link);
		free(x);
		return -ENOMEM;
	}
	move_send(w, authority, &m);
	return 0;
}

/* 1: it is answered later. */
static int follow(struct world *w, const Peer__Follow *q, node_id from, struct rpc_call *call)
{
	struct guest *g = guest_for(w, q->pid, from);
	int r;

	if (!g || (g->k->id != 0 && g->k->id != q->id))
		return -ESRCH;
	if (g->k->id == 0)
		return 0;
	if (g->arrival || g->ended || g->k->phase != GUEST_RUNS)
		return -EAGAIN;
	/* Its record there, if there is one, names whoever had it before. */
	if (home_of(w, q->pid) == w->node) {
		authority_check(w, q->pid);
		settle(w, g);
		return 0;
	}
	r = hear(w, q);
	FAULT("kernel.follow.heard");
	if (r == 0)
		r = claim(w, q, from, call);
	return r == 0 ? 1 : r;
}

static void on_follow(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	Peer__Follow *q = call ? peer__follow__unpack(NULL, m->len, m->body) : NULL;
	int r = q ? follow(arg, q, rpc_conn_peer(c)->node, call) : -EPROTO;

	if (r <= 0)
		answers_reply(call, r, NULL);
	if (q)
		peer__follow__free_unpacked(q, NULL);
}

/* ---- both ---- */
bool follow_record(struct world *w, const struct mig_msg *m)
{
	struct following *f = find(m->pid);
	struct claiming *c = claiming_of(m->pid);
	uint64_t aterm;

	if ((f && f->move == m->asked) || (c && c->move == m->asked)) {
		if (m->from != authority_of(w, m->pid, &aterm))
			return true;
		if (c && c->move == m->asked)
			on_claimed(c, m);
		else
			on_read(f, m);
		return true;
	}
	return false;
}

void follow_open(struct world *w)
{
	rpc_serve(w->peer_rpc, PEER_FOLLOW, on_follow, w);
}
