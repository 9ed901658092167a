/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carriers.c - terminals of other nodes whose guests are here.
 *
 *	(made) -> attaching -> attached -> (made) ... -> gone
 *
 * A carrier is made when a session's leader or a descriptor comes here that has the terminal, and
 * is attached while somebody has its slave open: the end of all of them is the end of what its
 * master gives, as for any terminal. It goes when the owner hangs up, or when for a while it was
 * open for nobody and no session here had it.
 *
 * Its master is in the store as "carrier.OWNER.NUMBER", its relays are kept (pipes.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <termios.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/proc/stub.h"

#define LOOK_FIRST_NS (20 * NS_PER_MS)
#define LOOK_LAST_NS  (300 * NS_PER_MS)
#define LEFT_NS       (1 * NS_PER_S)
#define IDLE_NS       (20 * NS_PER_S) /* the same terminal comes again, as a rule */

static gpid tag_of(unsigned local)
{
	return -1 - (gpid)local;
}

static void key_of(const struct carrier *c, char key[INIT_KEY_MAX])
{
	(void)snprintf(key, INIT_KEY_MAX, "carrier.%u.%u", c->owner, c->number);
}

struct carrier *carriers_find(struct world *w, unsigned local)
{
	struct carrier *c;

	list_for_each (c, &w->carriers, link)
		if (c->local == local)
			return c;
	return NULL;
}

static struct carrier *find(struct world *w, node_id owner, unsigned number)
{
	struct carrier *c;

	list_for_each (c, &w->carriers, link)
		if (c->owner == owner && c->number == number && !c->dead)
			return c;
	return NULL;
}

int carriers_slave(struct carrier *c, int flags)
{
	return tty_open_peer(c->master, flags);
}

void carriers_modes(struct carrier *c, const ProtobufCBinaryData *modes)
{
	int slave;

	if (modes->len != sizeof(c->modes) || memcmp(&c->modes, modes->data, sizeof(c->modes)) == 0)
		return;
	memcpy(&c->modes, modes->data, sizeof(c->modes));
	slave = carriers_slave(c, O_RDWR | O_NONBLOCK);
	if (slave < 0)
		return;
	if (tty_carry(slave, &c->modes) != 0)
		log_warn("terminal %u has not its modes", c->local);
	(void)close(slave);
}

/* ---- attached while it is open ---- */
static bool is_open(const struct carrier *c)
{
	struct pollfd p = { .fd = c->master, .events = POLLIN };

	return poll(&p, 1, 0) >= 0 && (!(p.revents & POLLHUP) || (p.revents & POLLIN));
}

static bool has_session(const struct carrier *c)
{
	pid_t sid;

	return ioctl(c->master, TIOCGSID, &sid) == 0;
}

static void look_soon(struct world *w);

static void carrier_free(struct carrier *c)
{
	list_del(&c->link);
	ttys_share(c->w, -1);
	free(c);
}

/* The last numbers that were hung up: whoever still has one open lets go of it in a moment. */
static struct left {
	unsigned local;
	uint64_t ns;
} left[16];
static unsigned left_next;

/* Whoever has it open sees what a hung up terminal gives. */
static void hang_up(struct carrier *c)
{
	char key[INIT_KEY_MAX];

	if (c->dead)
		return;
	c->dead = true;
	left[left_next] = (struct left){ c->local, loop_now_ns(c->w->loop) };
	left_next = (left_next + 1) % ARRAY_LEN(left);
	pipes_drop(c->w, tag_of(c->local), false);
	key_of(c, key);
	(void)pid1_drop(c->w->pid1, key);
	(void)close(c->master);
	if (!c->attaching)
		carrier_free(c);
}

static int relays_make(struct carrier *c, uint64_t id)
{
	gpid tag = tag_of(c->local);
	int r = 0;

	if (!pipes_has(c->w, id, c->owner, false))
		r = pipes_terminal(c->w, id, c->owner, tag, false, false, c->master);
	if (r == 0 && !pipes_has(c->w, id + 1, c->owner, false))
		r = pipes_terminal(c->w, id + 1, c->owner, tag, false, true, c->master);
	if (r != 0) {
		pipes_drop(c->w, tag, false);
		return r;
	}
	c->relay = id;
	pipes_resume(c->w, id, c->owner, false);
	pipes_resume(c->w, id + 1, c->owner, false);
	return 0;
}

static void on_fronted(void *arg, int err)
{
}

static void set_front(struct carrier *c, gpid pgid)
{
	int slave = carriers_slave(c, O_RDWR | O_NONBLOCK);

	if (slave >= 0)
		(void)!ttys_set_front(c->w, c->local, slave, pgid, 0, on_fronted, NULL);
}

static void attach(struct carrier *c);

static void on_attached(void *arg, int err, const Peer__Tty *a)
{
	struct carrier *c = arg;
	bool again = c->relay != 0;

	c->attaching = false;
	if (c->dead) {
		carrier_free(c);
		return;
	}
	FAULT("kernel.carrier.attached");
	if (again != (c->asked != 0)) { /* detached meanwhile */
		look_soon(c->w);
		return;
	}
	if (err == -ENOENT) {
		hang_up(c);
		return;
	}
	if (err == 0 && again && c->relay == a->value &&
	    pipes_has(c->w, a->value, c->owner, false) &&
	    pipes_has(c->w, a->value + 1, c->owner, false)) {
		carriers_modes(c, &a->modes);
		return;
	}
	/* One side has lost one of them: both begin anew, and what was under way is lost. */
	if (err == 0 && again) {
		pipes_drop(c->w, tag_of(c->local), false);
		again = c->relay == a->value;
		c->relay = 0;
		if (again) {
			attach(c);
			return;
		}
	}
	if (err == 0)
		err = relays_make(c, a->value);
	if (err == 0) {
		carriers_modes(c, &a->modes);
		if (a->pid > 0 && c->asked == 0)
			set_front(c, a->pid);
	} else {
		log_debug("terminal %u is not carried yet: %s", c->local, strerror(-err));
		look_soon(c->w);
	}
}

/* Also again, over a new connection: modes may have changed, and either side may have died. */
static void attach(struct carrier *c)
{
	Peer__Tty q = PEER__TTY__INIT;

	if (c->attaching || c->dead)
		return;
	c->attaching = true;
	q.word = PEER__TTY_WORD__TTY_ATTACH;
	q.owner = c->owner;
	q.number = c->number;
	q.value = c->asked = c->relay;
	ttys_say(c->w, c->owner, &q, on_attached, c);
}

static void detach(struct carrier *c)
{
	Peer__Tty q = PEER__TTY__INIT;

	q.word = PEER__TTY_WORD__TTY_DETACH;
	q.owner = c->owner;
	q.number = c->number;
	q.value = c->relay;
	pipes_drop_one(c->w, c->relay, c->owner, false);
	c->relay = 0;
	ttys_say(c->w, c->owner, &q, NULL, NULL);
}

static void on_look(struct loop_timer *t)
{
	struct world *w = container_of(t, struct world, carriers_again);
	struct carrier *c, *tmp;
	bool waits = false;

	list_for_each_safe (c, tmp, &w->carriers, link) {
		if (c->relay != 0 || c->attaching)
			continue;
		if (is_open(c)) {
			c->idle_since_ns = 0;
			attach(c);
		} else if (has_session(c)) {
			c->idle_since_ns = 0;
		} else if (c->idle_since_ns == 0) {
			c->idle_since_ns = loop_now_ns(w->loop);
		} else if (loop_now_ns(w->loop) - c->idle_since_ns > IDLE_NS) {
			hang_up(c);
			continue;
		}
		waits = true;
	}
	if (!waits)
		return;
	w->carriers_look_ns = MIN(w->carriers_look_ns * 2, LOOK_LAST_NS);
	if (loop_timer_set(w->loop, t, loop_now_ns(w->loop) + w->carriers_look_ns, on_look) != 0)
		log_error("cannot wait: out of memory");
}

static void look_soon(struct world *w)
{
	w->carriers_look_ns = LOOK_FIRST_NS;
	if (loop_timer_set(w->loop, &w->carriers_again, loop_now_ns(w->loop) + LOOK_FIRST_NS,
			   on_look) != 0)
		log_error("cannot wait: out of memory");
}

void carriers_world_lost(struct world *w, node_id node, epoch_t life)
{
	struct carrier *c;

	list_for_each (c, &w->carriers, link)
		if (c->owner == node)
			c->life = life;
}

/* Its owner has died, and the terminal with it. */
void carriers_look_at_lives(struct world *w)
{
	struct carrier *c, *tmp;

	list_for_each_safe (c, tmp, &w->carriers, link)
		if (!c->dead && peers_over(w, c->owner, c->life))
			hang_up(c);
}

void carriers_connected(struct world *w, node_id node)
{
	struct carrier *c, *tmp;

	list_for_each_safe (c, tmp, &w->carriers, link)
		if (c->owner == node && c->relay != 0)
			attach(c);
}

void carriers_unused(struct world *w, gpid tag, uint64_t relay)
{
	struct carrier *c = carriers_find(w, (unsigned)(-1 - tag));

	/* One of an earlier time may end late. */
	if (!c || c->dead || c->relay == 0 || (relay != c->relay && relay != c->relay + 1))
		return;
	/* The relay that ends is about to be freed: nothing of it is touched here but by its id. */
	detach(c);
	look_soon(w);
}

bool carriers_flushed(struct carrier *c)
{
	struct pollfd p = { .fd = c->master, .events = POLLIN };

	if (c->attaching && c->relay == 0)
		return false;
	if (poll(&p, 1, 0) == 1 && (p.revents & POLLIN))
		return false;
	return pipes_flushed(c->w, tag_of(c->local));
}

bool carriers_know_front(struct world *w, unsigned local)
{
	const struct carrier *c = carriers_find(w, local);

	return !c || (c->relay != 0 && !c->attaching) || is_open(c);
}

bool carriers_all_flushed(struct world *w)
{
	struct carrier *c;
	bool all = true;

	list_for_each (c, &w->carriers, link)
		all &= c->dead || carriers_flushed(c);
	return all;
}

bool carriers_settled(struct world *w)
{
	const struct carrier *c;

	list_for_each (c, &w->carriers, link)
		if (!c->dead &&
		    (c->attaching || !peers_conn(w, c->owner) || (c->relay == 0 && is_open(c))))
			return false;
	return true;
}

/* ---- making ---- */
static int make(struct world *w, node_id owner, unsigned number, struct carrier **out)
{
	struct carrier *c = calloc(1, sizeof(*c));
	int root = ttys_root(w), slave = -1, r = c ? root : -ENOMEM;
	char key[INIT_KEY_MAX];

	if (r >= 0)
		r = tty_open_master(root, number, TENANT_UID);
	if (root >= 0)
		(void)close(root);
	if (r < 0) {
		free(c);
		return r;
	}
	*c = (struct carrier){
		.w = w, .owner = owner, .life = peers_life(w, owner), .number = number, .master = r
	};
	r = tty_number(c->master);
	c->local = (unsigned)MAX(r, 0);
	if (r >= 0)
		slave = r = carriers_slave(c, O_RDWR | O_NONBLOCK);
	/* As a new terminal's, until the owner has told; but this line discipline does nothing. */
	if (r >= 0)
		r = tty_modes_get(slave, &c->modes);
	if (r >= 0)
		r = tty_carry(slave, &c->modes);
	if (slave >= 0)
		(void)close(slave);
	key_of(c, key);
	if (r >= 0)
		r = pid1_put(w->pid1, key, c->master);
	if (r < 0) {
		(void)close(c->master);
		free(c);
		return r;
	}
	if (c->local != number)
		log_info("terminal %u of node %u is %u here: that number was taken", number, owner,
			 c->local);
	list_add_tail(&w->carriers, &c->link);
	ttys_share(w, 1);
	*out = c;
	return 0;
}

int carriers_get(struct world *w, node_id owner, unsigned number, struct carrier **out)
{
	int r = 0;

	*out = find(w, owner, number);
	if (!*out)
		r = make(w, owner, number, out);
	/* Whoever it is for opens it in a moment. */
	if (r == 0 && (*out)->relay == 0)
		look_soon(w);
	return r;
}

/* ---- who arrives ---- */
/* The session of this carrier, if another than @sid's has it: its number is a new terminal's. */
static bool has_other_session(struct carrier *c, gpid sid)
{
	struct proc_list l;
	pid_t node_sid;
	bool other = true;

	if (ioctl(c->master, TIOCGSID, &node_sid) != 0 || proc_scan(&l, &c->w->view) != 0)
		return false;
	for (size_t i = 0; i < l.n; i++)
		if (l.v[i].t.tty == (int)c->local && l.v[i].t.sid == sid)
			other = false;
	proc_list_fini(&l);
	return other;
}

static bool was_left(struct world *w, unsigned number)
{
	for (size_t i = 0; i < ARRAY_LEN(left); i++)
		if (left[i].ns != 0 && left[i].local == number &&
		    loop_now_ns(w->loop) - left[i].ns < LEFT_NS)
			return true;
	return false;
}

static bool is_taken(struct world *w, unsigned number)
{
	int root = ttys_root(w), fd = root >= 0 ? tty_open_slave(root, number, O_PATH) : -1;

	if (root >= 0)
		(void)close(root);
	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

bool carriers_unsettled(struct world *w, Peer__Task *const *kin, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const Peer__Task *leader = kin[i];
		struct carrier *c;

		if (leader->tty_owner == NODE_NONE || leader->tty_owner == w->node)
			continue;
		c = find(w, leader->tty_owner, leader->tty_number);
		if (c && has_other_session(c, leader->pid)) {
			hang_up(c);
			c = NULL;
		}
		if (!c && was_left(w, leader->tty_number) && is_taken(w, leader->tty_number))
			return true;
	}
	return false;
}

void carriers_session(struct world *w, const Peer__Task *leader, struct stub_table *t)
{
	struct carrier *c;
	int r = 0, slave;

	if (leader->tty_owner == NODE_NONE)
		return;
	if (leader->tty_owner == w->node) {
		Peer__Fd fd = PEER__FD__INIT;

		fd.tty_owner = leader->tty_owner;
		fd.tty_number = leader->tty_number;
		fd.flags = O_RDWR;
		slave = ttys_take(w, &fd);
	} else {
		r = carriers_get(w, leader->tty_owner, leader->tty_number, &c);
		slave = r == 0 ? carriers_slave(c, O_RDWR) : r;
	}
	if (slave < 0) {
		log_warn("session %d has no terminal here: %s", leader->pid, strerror(-slave));
		return;
	}
	t->fds[t->nfds].fd = slave;
	t->fds[t->nfds].owned = true;
	t->fds[t->nfds++].at = 0;
	STUB_CALL(t, SYS_ioctl, 0, TIOCSCTTY, 0);
	STUB_CALL(t, SYS_close, 0);
}

static const Peer__Task *find_kin(Peer__Task *const *kin, size_t n, gpid pid)
{
	for (size_t i = 0; i < n; i++)
		if (kin[i]->pid == pid)
			return kin[i];
	return NULL;
}

/* A slave of the leader's terminal. @c: its carrier; NULL: it is this node's own. */
static int slave_of(struct world *w, const Peer__Task *leader, struct carrier *c)
{
	int root, fd;

	if (c)
		return carriers_slave(c, O_RDWR);
	root = ttys_root(w);
	fd = root < 0 ? root : tty_open_slave(root, leader->tty_number, O_RDWR);
	if (root >= 0)
		(void)close(root);
	return fd;
}

void carriers_arrive(struct world *w, Peer__Task *const *kin, size_t n, gpid pid,
		     struct stub_table *t, unsigned at)
{
	const Peer__Task *me = find_kin(kin, n, pid);
	const Peer__Task *leader = me ? find_kin(kin, n, me->sid) : NULL;
	bool ours = leader && leader->tty_owner == w->node;
	struct carrier *c = leader && !ours && leader->tty_owner != NODE_NONE
				    ? find(w, leader->tty_owner, leader->tty_number)
				    : NULL;
	int32_t group;
	int slave;

	/* Before it writes its first byte: TOSTOP is among them. */
	if (c)
		carriers_modes(c, &leader->tty_modes);
	if ((!c && !ours) || leader->tty_front != me->pgid || t->nfds == ARRAY_LEN(t->fds))
		return;
	slave = slave_of(w, leader, c);
	if (slave < 0)
		return;
	group = me->pgid;
	t->fds[t->nfds].fd = slave;
	t->fds[t->nfds].owned = true;
	t->fds[t->nfds++].at = at;
	STUB_CALL(t, SYS_ioctl, at, TIOCSPGRP, stub_table_bytes(t, &group, sizeof(group)));
	STUB_CALL(t, SYS_close, at);
}

/* ---- what the owner says ---- */
bool carriers_has_typed(struct carrier *c)
{
	struct pollfd p = { .events = POLLIN };
	int lies = 0, slave = carriers_slave(c, O_RDWR | O_NONBLOCK);

	if (slave < 0)
		return false;
	(void)pipes_flushed(c->w, tag_of(c->local));
	/* To poll brings in what is on its way from the master's side. */
	p.fd = slave;
	if (poll(&p, 1, 0) != 0 || ioctl(slave, FIONREAD, &lies) != 0)
		lies = 1;
	(void)close(slave);
	return lies > 0;
}

/* How many bytes; 0: nobody does. Of who polls a line is known, or else one key. */
static uint64_t somebody_wants(struct carrier *c, bool eager)
{
	struct proc_list l;
	pid_t front;
	uint64_t some = tty_is_lines(&c->modes) ? LINE_MAX : 1, wants = 0, bytes;

	if (c->relay == 0 || ioctl(c->master, TIOCGPGRP, &front) != 0)
		return 0;
	/* What it got before it has read. */
	if (carriers_has_typed(c) || proc_scan(&l, &c->w->view) != 0)
		return 0;
	for (size_t i = 0; i < l.n && wants == 0; i++) {
		unsigned want;

		/* Who is about to leave reads where it goes. */
		if (l.v[i].t.node_pgid != front || stubs_find(c->w->stubs, l.v[i].t.gpid) ||
		    move_is_busy(c->w, l.v[i].t.gpid))
			continue;
		want = tty_wants(c->w->view.procfs, l.v[i].t.pid, c->local, &bytes);
		if (want & TTY_WAITS)
			wants = bytes != 0 ? bytes : some;
		else if (eager &&
			 ((want & TTY_ASKS) || ((want & TTY_OPEN) && !tty_is_lines(&c->modes))))
			wants = some;
	}
	proc_list_fini(&l);
	return wants;
}

static void on_heard_front(void *arg, int err)
{
	ttys_answer(arg, 0, NULL);
}

/* A group that is not here: then nobody here is in front, but the session's leader's stub. */
static void hear_front(struct carrier *c, struct rpc_call *call, gpid pgid)
{
	int slave = carriers_slave(c, O_RDWR | O_NONBLOCK), r = -ENOENT;
	struct proc_list l;
	gpid instead = 0;

	if (proc_scan(&l, &c->w->view) == 0) {
		for (size_t i = 0; i < l.n; i++)
			if (l.v[i].t.tty == (int)c->local)
				instead = l.v[i].t.sid;
		proc_list_fini(&l);
	}
	if (slave >= 0)
		r = ttys_set_front(c->w, c->local, slave, pgid, instead, on_heard_front, call);
	if (r != 0)
		ttys_answer(call, 0, NULL);
}

/* It may have been this size when it was last told: then nobody would get SIGWINCH. */
static void set_size(struct carrier *c, const struct winsize *ws)
{
	struct winsize was;

	if (ioctl(c->master, TIOCGWINSZ, &was) == 0 && memcmp(&was, ws, sizeof(was)) == 0) {
		was.ws_row++;
		(void)ioctl(c->master, TIOCSWINSZ, &was);
	}
	(void)ioctl(c->master, TIOCSWINSZ, ws);
}

void carriers_hear(struct world *w, struct rpc_conn *conn, struct rpc_call *call,
		   const Peer__Tty *q)
{
	struct carrier *c = find(w, q->owner, q->number);
	struct winsize ws;
	Peer__Tty a = PEER__TTY__INIT;

	if (!c || rpc_conn_peer(conn)->node != q->owner) {
		/* A size goes on to where a stub's process is, which need not be its owner's word.
		 */
		if (!c || q->word != PEER__TTY_WORD__TTY_SIZE) {
			ttys_answer(call, -ENOENT, NULL);
			return;
		}
	}
	switch (q->word) {
	case PEER__TTY_WORD__TTY_ASK:
		a.value = somebody_wants(c, q->value != 0);
		ttys_answer(call, 0, &a);
		break;
	case PEER__TTY_WORD__TTY_MODES:
		carriers_modes(c, &q->modes);
		ttys_answer(call, 0, NULL);
		break;
	case PEER__TTY_WORD__TTY_SIZE:
		if (q->data.len == sizeof(ws)) {
			memcpy(&ws, q->data.data, sizeof(ws));
			set_size(c, &ws);
		}
		ttys_answer(call, 0, NULL);
		break;
	case PEER__TTY_WORD__TTY_FRONT:
		hear_front(c, call, (gpid)q->value);
		break;
	case PEER__TTY_WORD__TTY_HANGUP:
		ttys_answer(call, 0, NULL);
		hang_up(c);
		break;
	default:
		ttys_answer(call, -EPROTO, NULL);
	}
}

/* ---- after a predecessor's death ---- */
static void adopt_one(void *arg, const char *key)
{
	struct world *w = arg;
	struct carrier *c = calloc(1, sizeof(*c));
	int r;

	if (!c || sscanf(key, "carrier.%u.%u", &c->owner, &c->number) != 2) {
		free(c);
		return;
	}
	c->w = w;
	c->master = pid1_get(w->pid1, key);
	r = c->master < 0 ? c->master : tty_number(c->master);
	if (r < 0) {
		(void)pid1_drop(w->pid1, key);
		free(c);
		return;
	}
	c->local = (unsigned)r;
	list_add_tail(&w->carriers, &c->link);
	ttys_share(w, 1);
}

static void adopt_relay(struct world *w, gpid tag, node_id peer, uint64_t id)
{
	struct carrier *c = carriers_find(w, (unsigned)(-1 - tag));

	if (c && c->owner == peer)
		c->relay = id;
}

void carriers_open(struct world *w)
{
	int r;

	list_init(&w->carriers);
	r = pid1_list(w->pid1, "carrier.", adopt_one, w);
	if (r != 0)
		log_warn("terminals of other nodes are not found again: %s", strerror(-r));
	pipes_each_terminal(w, false, adopt_relay);
	if (!list_empty(&w->carriers))
		look_soon(w);
}
