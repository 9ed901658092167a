/* SPDX-License-Identifier: Apache-2.0 */
/*
 * terminals.c - this node's terminals that others carry: the owner's side. (A session's terminal
 * and its line are terminal.c's.)
 *
 * Something typed lies in the terminal. If a reader of this node waits for it, it is his. Else the
 * carriers are asked whether one waits there, at once and then ever more rarely, and the first that
 * says so gets what one read gives (T1). Nobody is asked while the foreground group is of this node
 * alone: then no stub of a process elsewhere is in it.
 *
 * Nothing is kept but the relays (pipes.c): a successor finds its terminals and carriers by them.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/tty/ttys.h"

#define LOOK_FIRST_NS (1 * NS_PER_MS)
#define LOOK_LAST_NS  (64 * NS_PER_MS)
#define EAGER_NS      (16 * NS_PER_MS) /* so long without a waiting reader, and who polls gets it */
#define MODES_LAST_NS (200 * NS_PER_MS)

struct tty_user {
	struct list link;
	node_id node;
	epoch_t life;
	uint64_t relay;
};

struct carried {
	struct list link;
	struct world *w;
	unsigned number;
	int fd;
	struct list users;
	struct loop_fd watch;
	struct loop_timer again;
	uint64_t wait_ns;
	unsigned asking; /* answers that are missing */
	bool given;
	gpid front; /* as was told last, here or by a carrier, whose group it may be; 0: never */
	struct tty_modes told;
	struct loop_timer modes_again;
	uint64_t modes_ns;
};

static gpid tag_of(unsigned number)
{
	return -1 - (gpid)number;
}

static struct carried *carried_find(struct world *w, unsigned number)
{
	struct carried *t;

	list_for_each (t, &w->terminals, link)
		if (t->number == number)
			return t;
	return NULL;
}

bool terminals_have(struct world *w, unsigned number)
{
	return carried_find(w, number) != NULL;
}

static void words_for(const struct carried *t, Peer__Tty *q, Peer__TtyWord word)
{
	peer__tty__init(q);
	q->word = word;
	q->owner = t->w->node;
	q->number = t->number;
}

/* ---- its life ---- */
static void carried_free(struct carried *t)
{
	loop_fd_del(t->w->loop, &t->watch);
	loop_timer_clear(t->w->loop, &t->again);
	loop_timer_clear(t->w->loop, &t->modes_again);
	list_del(&t->link);
	(void)close(t->fd);
	ttys_share(t->w, -1);
	free(t);
}

/* Answers that are missing find it by its number. */
static void user_free(struct carried *t, struct tty_user *u)
{
	pipes_drop_one(t->w, u->relay, u->node, true);
	list_del(&u->link);
	free(u);
}

static void hang_up(struct carried *t)
{
	Peer__Tty q;

	words_for(t, &q, PEER__TTY_WORD__TTY_HANGUP);
	while (!list_empty(&t->users)) {
		struct tty_user *u = list_front(&t->users, struct tty_user, link);

		ttys_say(t->w, u->node, &q, NULL, NULL);
		user_free(t, u);
	}
	pipes_drop(t->w, tag_of(t->number), true);
	carried_free(t);
}

static bool has_hung_up(const struct carried *t)
{
	struct pollfd p = { .fd = t->fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

static void on_typed(struct loop_fd *fd, short revents);

static int carried_get(struct world *w, unsigned number, struct carried **out)
{
	struct carried *t = carried_find(w, number);
	int root, r;

	/* Its number may be another one's by now. */
	if (t && has_hung_up(t)) {
		hang_up(t);
		t = NULL;
	}
	*out = t;
	if (t)
		return 0;
	root = ttys_root(w);
	if (root < 0)
		return root;
	t = calloc(1, sizeof(*t));
	r = t ? tty_open_slave(root, number, O_RDWR | O_NONBLOCK) : -ENOMEM;
	(void)close(root);
	if (r < 0) {
		free(t);
		return r == -EIO ? -ENOENT : r;
	}
	t->w = w;
	t->number = number;
	t->fd = r;
	list_init(&t->users);
	r = tty_modes_get(t->fd, &t->told);
	if (r == 0)
		r = loop_fd_add(w->loop, &t->watch, t->fd, POLLIN, on_typed);
	if (r != 0) {
		(void)close(t->fd);
		free(t);
		return r;
	}
	list_add_tail(&w->terminals, &t->link);
	ttys_share(w, 1);
	*out = t;
	return 0;
}

static struct tty_user *user_find(struct carried *t, node_id node)
{
	struct tty_user *u;

	list_for_each (u, &t->users, link)
		if (u->node == node)
			return u;
	return NULL;
}

static int user_add(struct carried *t, node_id node, uint64_t relay)
{
	struct tty_user *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->node = node;
	u->life = peers_life(t->w, node);
	u->relay = relay;
	list_add_tail(&t->users, &u->link);
	return 0;
}

/* ---- modes ---- */
/* They may have been changed by this node's own, natively. */
static void modes_look(struct carried *t, node_id but)
{
	struct tty_modes now;
	struct tty_user *u;
	Peer__Tty q;

	if (tty_modes_get(t->fd, &now) != 0 || memcmp(&now, &t->told, sizeof(now)) == 0)
		return;
	t->told = now;
	words_for(t, &q, PEER__TTY_WORD__TTY_MODES);
	q.modes.data = (uint8_t *)&t->told;
	q.modes.len = sizeof(t->told);
	list_for_each (u, &t->users, link)
		if (u->node != but)
			ttys_say(t->w, u->node, &q, NULL, NULL);
}

static void on_modes_again(struct loop_timer *timer)
{
	struct carried *t = container_of(timer, struct carried, modes_again);

	modes_look(t, NODE_NONE);
	t->modes_ns *= 4;
	if (t->modes_ns <= MODES_LAST_NS &&
	    loop_timer_set(t->w->loop, timer, loop_now_ns(t->w->loop) + t->modes_ns,
			   on_modes_again) != 0)
		log_error("cannot wait: out of memory");
}

void terminals_modes_changing(struct world *w, unsigned number)
{
	struct carried *t = carried_find(w, number);

	if (!t)
		return;
	t->modes_ns = LOOK_FIRST_NS;
	if (loop_timer_set(w->loop, &t->modes_again, loop_now_ns(w->loop) + t->modes_ns,
			   on_modes_again) != 0)
		log_error("cannot wait: out of memory");
}

/* ---- what is typed ---- */
static void watch(struct carried *t, short events)
{
	int r = loop_fd_mod(t->w->loop, &t->watch, events);

	if (r != 0)
		log_warn("cannot watch a terminal: %s", strerror(-r));
}

static void on_again(struct loop_timer *timer);

static void look_later(struct carried *t)
{
	t->wait_ns = MIN(MAX(t->wait_ns * 2, LOOK_FIRST_NS), LOOK_LAST_NS);
	if (loop_timer_set(t->w->loop, &t->again, loop_now_ns(t->w->loop) + t->wait_ns, on_again) !=
	    0)
		watch(t, POLLIN);
}

enum front {
	FRONT_HERE,  /* the foreground group is of this node alone */
	FRONT_AWAY,  /* some of it execute elsewhere */
	FRONT_READS, /* and one who is here waits to read */
};

static enum front front_look(struct carried *t, gpid *pgid)
{
	enum front f = FRONT_HERE;
	struct proc_list l;
	uint64_t bytes;

	*pgid = 0;
	if (proc_scan(&l, &t->w->view) != 0)
		return FRONT_HERE;
	for (size_t i = 0; i < l.n; i++) {
		const struct proc *p = &l.v[i];
		const struct stub *s = stubs_find(t->w->stubs, p->t.gpid);

		if (p->t.tty != (int)t->number || p->t.node_tpgid != p->t.node_pgid)
			continue;
		*pgid = p->t.pgid;
		if (s && s->home && f == FRONT_HERE)
			f = FRONT_AWAY;
	}
	for (size_t i = 0; i < l.n && f == FRONT_AWAY; i++) {
		const struct proc *p = &l.v[i];

		if (p->t.tty == (int)t->number && p->t.node_tpgid == p->t.node_pgid &&
		    !stubs_find(t->w->stubs, p->t.gpid) &&
		    (tty_wants(t->w->view.procfs, p->t.pid, t->number, &bytes) & TTY_WAITS))
			f = FRONT_READS;
	}
	proc_list_fini(&l);
	return f;
}

/* A question to one carrier; the terminal may be gone when the answer comes. */
struct asking {
	struct world *w;
	unsigned number;
	node_id node;
};

static void feed(struct carried *t, const struct tty_user *u, uint64_t bytes)
{
	modes_look(t, NODE_NONE);
	if (pipes_feed(t->w, u->relay, u->node, bytes, tty_is_lines(&t->told)) > 0) {
		t->given = true;
		t->wait_ns = 0;
	}
}

static void on_wanted(void *arg, int err, const Peer__Tty *answer)
{
	struct asking *x = arg;
	struct carried *t = carried_find(x->w, x->number);
	struct tty_user *u = t ? user_find(t, x->node) : NULL;

	free(x);
	if (!t || t->asking == 0)
		return;
	t->asking--;
	if (err == 0 && answer->value && u && !t->given)
		feed(t, u, answer->value);
	if (t->asking > 0)
		return;
	if (t->given)
		watch(t, POLLIN);
	else
		look_later(t);
}

static void ask(struct carried *t)
{
	struct tty_user *u, *tmp;
	Peer__Tty q;

	t->given = false;
	words_for(t, &q, PEER__TTY_WORD__TTY_ASK);
	q.value = t->wait_ns >= EAGER_NS;
	t->asking = 1; /* ours, so that nothing is over before all are asked */
	list_for_each_safe (u, tmp, &t->users, link) {
		struct asking *x = malloc(sizeof(*x));

		if (!x)
			continue;
		*x = (struct asking){ t->w, t->number, u->node };
		t->asking++;
		ttys_say(t->w, u->node, &q, on_wanted, x);
	}
	if (--t->asking == 0)
		look_later(t);
}

static void look(struct carried *t)
{
	struct pollfd p = { .fd = t->fd, .events = POLLIN };
	gpid pgid;

	if (t->asking > 0)
		return;
	if (poll(&p, 1, 0) == 1 && (p.revents & POLLHUP)) {
		hang_up(t);
		return;
	}
	if (!(p.revents & POLLIN)) {
		t->wait_ns = 0;
		watch(t, POLLIN);
		return;
	}
	watch(t, 0);
	switch (front_look(t, &pgid)) {
	case FRONT_HERE:
		break; /* until terminals_look_again() */
	case FRONT_READS:
		look_later(t);
		break;
	case FRONT_AWAY:
		ask(t);
	}
}

static void on_again(struct loop_timer *timer)
{
	look(container_of(timer, struct carried, again));
}

static void on_typed(struct loop_fd *fd, short revents)
{
	look(container_of(fd, struct carried, watch));
}

void terminals_look_again(struct world *w)
{
	struct carried *t, *tmp;

	list_for_each_safe (t, tmp, &w->terminals, link)
		look(t);
}

/* ---- who is in front ---- */
struct telling {
	unsigned missing;
	void (*done)(void *arg);
	void *arg;
};

static void telling_end(struct telling *x)
{
	if (--x->missing > 0)
		return;
	if (x->done)
		x->done(x->arg);
	free(x);
}

static void on_front_told(void *arg, int err, const Peer__Tty *answer)
{
	telling_end(arg);
}

void terminals_front(struct world *w, unsigned number, node_id but, gpid pgid,
		     void (*done)(void *arg), void *arg)
{
	struct carried *t = carried_find(w, number);
	struct telling *x = malloc(sizeof(*x));
	struct tty_user *u, *tmp;
	Peer__Tty q;

	if (!x || !t) {
		free(x);
		if (done)
			done(arg);
		return;
	}
	*x = (struct telling){ 1, done, arg };
	t->front = pgid;
	words_for(t, &q, PEER__TTY_WORD__TTY_FRONT);
	q.value = (uint64_t)pgid;
	list_for_each_safe (u, tmp, &t->users, link) {
		if (u->node == but)
			continue;
		x->missing++;
		ttys_say(w, u->node, &q, on_front_told, x);
	}
	telling_end(x);
}

void terminals_users(struct world *w, unsigned number, void (*cb)(void *arg, node_id node),
		     void *arg)
{
	const struct carried *t = carried_find(w, number);
	const struct tty_user *u, *tmp;

	if (!t)
		return;
	list_for_each_safe (u, tmp, &t->users, link)
		cb(arg, u->node);
}

/* A carrier's group comes to the front. */
struct fronting {
	struct world *w;
	struct rpc_call *call;
	unsigned number;
};

static void on_front_set(void *arg, int err)
{
	struct fronting *x = arg;

	ttys_answer(x->call, 0, NULL);
	terminals_look_again(x->w);
	free(x);
}

/* The group of who sets it stands here for one that this node does not have. */
static void hear_front(struct carried *t, node_id from, struct rpc_call *call, const Peer__Tty *q)
{
	struct fronting *x = malloc(sizeof(*x));
	gpid pgid = (gpid)q->value, now, instead = 0;
	struct proc_list l;
	int fd, r = -ENOENT;

	terminals_front(t->w, t->number, from, pgid, NULL, NULL);
	(void)front_look(t, &now);
	if (proc_scan(&l, &t->w->view) == 0) {
		const struct proc *p = proc_list_find(&l, q->pid);

		instead = p ? p->t.pgid : 0;
		proc_list_fini(&l);
	}
	fd = now != pgid ? fcntl(t->fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (x)
		*x = (struct fronting){ t->w, call, t->number };
	if (x && fd >= 0)
		r = ttys_set_front(t->w, t->number, fd, pgid, instead, on_front_set, x);
	else if (fd >= 0)
		(void)close(fd);
	if (r == 0)
		return;
	free(x);
	ttys_answer(call, 0, NULL);
}

/* ---- what carriers say ---- */
static void hear_attach(struct carried *t, node_id from, struct rpc_call *call, const Peer__Tty *q)
{
	struct tty_user *u = user_find(t, from);
	uint64_t id = q->value;
	Peer__Tty a;
	gpid front;
	int r = 0;

	if (u && (u->relay != id || !pipes_has(t->w, id, from, true) ||
		  !pipes_has(t->w, id + 1, from, true))) {
		uint64_t wrote = u->relay + 1;

		/* Its word of the end may be lost. What it wrote still comes, or its peer, which
		 * is asked, knows nothing of it. */
		user_free(t, u);
		pipes_resume(t->w, wrote, from, true);
		u = NULL;
	}
	/* Of a predecessor's, which was not found at the start. */
	if (!u && id != 0 && pipes_has(t->w, id, from, true) &&
	    pipes_has(t->w, id + 1, from, true) && user_add(t, from, id) == 0)
		u = user_find(t, from);
	if (!u) {
		id = t->w->last_relay + 1;
		t->w->last_relay += 2;
		r = pipes_terminal(t->w, id, from, tag_of(t->number), true, true, t->fd);
		if (r == 0)
			r = pipes_terminal(t->w, id + 1, from, tag_of(t->number), true, false,
					   t->fd);
		if (r == 0)
			r = user_add(t, from, id);
	}
	if (r != 0) {
		pipes_drop_one(t->w, id, from, true);
		pipes_drop_one(t->w, id + 1, from, true);
		ttys_answer(call, r, NULL);
		return;
	}
	modes_look(t, from);
	(void)front_look(t, &front);
	words_for(t, &a, PEER__TTY_WORD__TTY_ATTACH);
	a.value = id;
	a.pid = t->front != 0 ? t->front : front;
	a.modes.data = (uint8_t *)&t->told;
	a.modes.len = sizeof(t->told);
	ttys_answer(call, 0, &a);
	/* New ones wait for its word: it knows them when it has the answer. */
	if (id == q->value) {
		pipes_resume(t->w, id, from, true);
		pipes_resume(t->w, id + 1, from, true);
	}
	look(t);
}

static void hear_call(struct carried *t, node_id from, struct rpc_call *call, const Peer__Tty *q)
{
	struct tty_call c;
	uint8_t data[TTY_CALL_MAX];
	Peer__Tty a;
	int r = -EPROTO;

	if (tty_call_find(q->command, &c) && q->data.len == (c.sets ? c.len : 0)) {
		if (q->data.len > 0)
			memcpy(data, q->data.data, q->data.len);
		/* What was written before it is in our pipe, if not in the terminal (T3). */
		if (c.sets)
			(void)pipes_flushed(t->w, tag_of(t->number));
		r = tty_call_make(t->fd, q->command, q->value, data);
	}
	words_for(t, &a, PEER__TTY_WORD__TTY_CALL);
	if (r == 0) {
		modes_look(t, from);
		a.modes.data = (uint8_t *)&t->told;
		a.modes.len = sizeof(t->told);
		a.data.data = data;
		a.data.len = c.sets ? 0 : c.len;
	}
	ttys_answer(call, r, &a);
}

/* Terminals live while they are carried; one that was only asked something goes again. */
static void idle(struct carried *t)
{
	if (list_empty(&t->users))
		carried_free(t);
}

void terminals_hear(struct world *w, struct rpc_conn *c, struct rpc_call *call, const Peer__Tty *q)
{
	node_id from = rpc_conn_peer(c)->node;
	struct carried *t;
	struct tty_user *u;
	int r = carried_get(w, q->number, &t);

	if (r != 0) {
		ttys_answer(call, r, NULL);
		return;
	}
	u = user_find(t, from);
	switch (q->word) {
	case PEER__TTY_WORD__TTY_ATTACH:
		hear_attach(t, from, call, q);
		break;
	case PEER__TTY_WORD__TTY_DETACH:
		if (u && u->relay == q->value)
			user_free(t, u);
		ttys_answer(call, 0, NULL);
		break;
	case PEER__TTY_WORD__TTY_CALL:
		hear_call(t, from, call, q);
		break;
	case PEER__TTY_WORD__TTY_FRONT:
		hear_front(t, from, call, q);
		break;
	default:
		ttys_answer(call, -EPROTO, NULL);
	}
	t = carried_find(w, q->number);
	if (t)
		idle(t);
}

void terminals_world_lost(struct world *w, node_id node, epoch_t life)
{
	struct carried *t;
	struct tty_user *u;

	list_for_each (t, &w->terminals, link)
		list_for_each (u, &t->users, link)
			if (u->node == node)
				u->life = life;
}

/* Who carried it has died. */
void terminals_look_at_lives(struct world *w)
{
	struct carried *t, *next;
	struct tty_user *u, *tmp;

	list_for_each_safe (t, next, &w->terminals, link) {
		list_for_each_safe (u, tmp, &t->users, link) {
			if (!peers_over(w, u->node, u->life))
				continue;
			pipes_drop_one(w, u->relay + 1, u->node, true);
			user_free(t, u);
		}
		idle(t);
	}
}

/* ---- after a predecessor's death ---- */
static void adopt(struct world *w, gpid tag, node_id peer, uint64_t id)
{
	struct carried *t;
	int r = carried_get(w, (unsigned)(-1 - tag), &t);

	if (r == 0)
		r = user_add(t, peer, id);
	if (r != 0)
		log_warn("terminal %d is not found again: %s", -1 - tag, strerror(-r));
}

void terminals_open(struct world *w)
{
	list_init(&w->terminals);
	pipes_each_terminal(w, true, adopt);
}
