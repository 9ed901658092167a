/* SPDX-License-Identifier: Apache-2.0 */
/*
 * come.c - the target of a move: migrate/core/target.c on this kernel's loop.
 *
 * To build is to make the stubs of the relatives and children, and its own: a stub executes
 * nothing, whoever dies. The nodes that have leased the children are asked to tell here how they
 * end. When the image comes, with its relatives as they are now, the mover builds it in the stub,
 * parked in a gate. When the record says that it is ours it is let go.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/move/move.h"
#include "cmd/pando-kernel/exec/place.h"
#include "cmd/pando-kernel/move/ship.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/proc/peer.h"

#define RETRY_NS   (100 * NS_PER_MS)
#define TTY_NUMBER 0 /* stubs have no descriptors */

struct come {
	struct list link;
	struct world *w;
	struct mig_target m;
	struct mover mover;
	struct carry carry;
	gpid pid;
	node_id from;
	epoch_t life; /* of the source */
	bool bereft;  /* the source's death is known */

	struct mig_out out;
	uint32_t at;
	bool waiting;
	bool dropping;
	enum mover_job wanted;
	struct loop_timer tick;
	struct loop_timer again;
	struct buf why;

	/* Relatives: of the PREPARE, then of the image. */
	Peer__Move *prepare;
	Peer__Image *image;
	struct kin_making kin;
	bool making;
	bool settling;
	unsigned holds; /* answers that are missing */
	int hold_err;
	bool arriving; /* counted in the world */

	struct ship_in ship; /* the image */
	bool built;          /* all of it, and the source may still take it back */
	bool went;           /* it runs: the core is to be told */
};

static struct list comes = LIST_INIT(comes);
static unsigned comes_count;

static void step(struct come *c, struct mig_ev ev);
static void run_effects(struct come *c);
static void do_wanted(struct come *c);
static void drop(struct come *c);

static struct come *find(gpid pid)
{
	struct come *c;

	list_for_each (c, &comes, link)
		if (c->pid == pid)
			return c;
	return NULL;
}

bool come_is_any(void)
{
	return comes_count > 0;
}

bool come_is_busy(const struct world *w, gpid pid)
{
	return find(pid) != NULL;
}

bool come_is_between(const struct world *w, gpid pid, node_id to)
{
	const struct come *c = find(pid);

	return c && (c->m.state < MIG_T_DRAINED || to == c->from);
}

static void failed(struct come *c, enum mig_ev_kind kind, int err)
{
	step(c, (struct mig_ev){ .kind = kind, .err = err });
}

static int start_build(struct come *c)
{
	int r = ship_in_start(&c->ship, &c->mover.pipe);

	if (r != 0)
		return r;
	c->mover.pid = c->kin.stub->pid;
	c->wanted = MOVER_BUILD;
	do_wanted(c);
	return 0;
}

/* ---- relatives ---- */
/* What its stub has to do before it is the process again. */
struct settling {
	gpid pid; /* the machine may be over by then */
	uint64_t move;
};

static void on_settled(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct settling *x = arg;
	struct come *c = find(x->pid);

	if (c && c->m.move == x->move && c->settling) {
		c->settling = false;
		if (err == 0)
			err = start_build(c);
		if (err != 0)
			failed(c, MIG_EV_LOAD_FAILED, err);
	}
	free(x);
}

/* Before it is built: its stub makes no call any more from then on. */
static int settle(struct come *c)
{
	struct settling *x = malloc(sizeof(*x));
	struct stub_table *t = x ? stub_table_new() : NULL;
	int r = t ? kin_add_waits(&c->kin, t) : -ENOMEM;

	if (r == 0)
		carriers_arrive(c->w, c->kin.kin, c->kin.n_kin, c->pid, t, TTY_NUMBER);
	if (r == 0 && t->n > 0) {
		*x = (struct settling){ c->pid, c->m.move };
		c->settling = true;
		t->turns = true;
		r = stub_table_give(c->kin.stub, t, on_settled, x);
		if (r == 0)
			return 0;
		c->settling = false;
		t = NULL;
	}
	free(t); /* of no calls, so of no descriptors */
	free(x);
	return r == 0 ? start_build(c) : r;
}

/* Those that have ended and were not waited for end here too. */
static void end_zombies(struct come *c)
{
	for (size_t i = 0; i < c->kin.n_kin; i++) {
		const Peer__Task *q = c->kin.kin[i];
		struct stub *s = q->ended ? stubs_find(c->w->stubs, q->pid) : NULL;

		if (s && q->ppid == c->pid && remote_end_kin(c->w, s, q->status) != 0)
			log_warn("child %d of pid %d cannot end here", q->pid, c->pid);
	}
}

static void kin_ready(struct come *c, int err);

struct holding {
	gpid pid; /* the machine may be over when the answer comes */
	uint64_t move;
	bool child;
};

static void on_held(void *arg, int err)
{
	struct holding *h = arg;
	struct come *c = find(h->pid);

	if (c && c->m.move == h->move) {
		/*
		 * ESRCH: it has ended, which the source knows, or will: its parent is to be told
		 * there, for nobody would tell a stub that is here.
		 */
		if (err == -ESRCH && h->child && c->why.len == 0)
			(void)!buf_addf(&c->why, "a child of it has just ended\n");
		if (err != 0 && h->child)
			c->hold_err = err == -ESRCH ? -EAGAIN : err;
		if (--c->holds == 0)
			kin_ready(c, c->hold_err);
	}
	free(h);
}

static void hold(struct come *c, const Peer__Task *q)
{
	struct holding *h;

	if (q->pid == c->pid || !stubs_find(c->w->stubs, q->pid))
		return;
	/* May wait for us as we would for it; looked for when it has come. */
	if (q->ppid != c->pid && home_is_over(c->w, q->pid))
		return;
	h = malloc(sizeof(*h));
	if (!h) {
		c->hold_err = -ENOMEM;
		return;
	}
	*h = (struct holding){ c->pid, c->m.move, q->ppid == c->pid };
	c->holds++;
	site_hold(c->w, q->pid, on_held, h);
}

static void hold_all(struct come *c)
{
	c->hold_err = 0;
	c->holds = 1; /* answers may come at once */
	for (size_t i = 0; i < c->kin.n_kin; i++)
		if (!c->kin.kin[i]->ended)
			hold(c, c->kin.kin[i]);
	if (--c->holds == 0)
		kin_ready(c, c->hold_err);
}

static void on_kin(struct kin_making *k, int err)
{
	struct come *c = container_of(k, struct come, kin);

	if (k->why && err != 0 && c->why.len == 0)
		(void)!buf_addf(&c->why, "%s\n", k->why);
	c->making = false;
	if (err == 0)
		k->stub->arriving = true;
	if (c->dropping)
		drop(c);
	else if (err == 0)
		hold_all(c);
	else
		kin_ready(c, err);
}

static void kin_ready(struct come *c, int err)
{
	int r;

	if (c->dropping)
		return;
	if (!c->image) {
		if (err == 0)
			step(c, (struct mig_ev){ .kind = MIG_EV_BUILT });
		else
			failed(c, MIG_EV_BUILD_FAILED, err);
		return;
	}
	r = err;
	if (r == 0) {
		end_zombies(c);
		r = settle(c);
	}
	if (r != 0)
		failed(c, MIG_EV_LOAD_FAILED, r);
}

static void make_kin(struct come *c, Peer__Task **kin, size_t n)
{
	c->kin = (struct kin_making){
		.w = c->w, .pid = c->pid, .from = c->from, .kin = kin, .n_kin = n, .done = on_kin
	};
	c->making = true;
	kin_make(&c->kin);
}

/* ---- the mover's jobs ---- */
static void dropped(struct come *c)
{
	struct stub *s = stubs_find(c->w->stubs, c->pid);

	c->dropping = c->waiting = false;
	pipes_drop(c->w, c->pid, false);
	pipes_came_not(c->w, c->pid);
	if (s) {
		s->arriving = s->turning = false;
		site_reap_rest(c->w, s);
		site_look_again(c->w);
	}
	run_effects(c);
}

/* Undoes what there is, when nobody works on it any more. */
static void drop(struct come *c)
{
	ship_in_end(&c->ship, -ECANCELED); /* who builds finds no more of it */
	c->settling = c->built = false;
	if (c->making || mover_is_busy(&c->mover))
		return;
	c->wanted = MOVER_UNBUILD;
	do_wanted(c);
}

/* It is ours: from here on it is no stub, whoever dies. */
static void turn(struct come *c)
{
	struct world *w = c->w;
	struct stub *s = stubs_find(w->stubs, c->pid);
	node_id home = home_of(w, c->pid);

	if (home != NODE_NONE && home != w->node && site_guest_add(w, c->pid, home) != 0)
		log_warn("node %u will not hear of pid %d", home, c->pid);
	/* Nobody knows whom to tell but the source, which has told us. */
	if (home_is_over(w, c->pid)) {
		(void)!site_guest_add(w, c->pid, c->from);
		for (size_t i = 0; c->image && i < c->image->n_hearers; i++)
			(void)!site_guest_add(w, c->pid, c->image->hearers[i]);
	}
	FAULT("kernel.come.guest");
	if (s)
		(void)close(remote_take(w, s));
	FAULT("kernel.come.taken");
	pipes_came(w, c->pid);
	c->wanted = MOVER_GO;
}

static void built(struct come *c, int err)
{
	FAULT("kernel.come.built");
	/* K1: until its source has said that this was all it may let its own copy go on. */
	c->built = err == 0 && ship_in_is_open(&c->ship);
	if (c->built)
		return;
	if (err == 0 && !c->ship.whole)
		err = -EPIPE;
	if (err != 0 && c->why.len == 0 && c->mover.why.len > 0)
		(void)!buf_add(&c->why, c->mover.why.data, c->mover.why.len);
	ship_in_end(&c->ship, err);
	if (err == 0)
		step(c, (struct mig_ev){ .kind = MIG_EV_LOADED });
	else
		failed(c, MIG_EV_LOAD_FAILED, err);
}

static void on_ship_over(struct ship_in *s)
{
	struct come *c = container_of(s, struct come, ship);

	if (c->built && !c->dropping)
		built(c, 0);
}

static void went(struct come *c, int err)
{
	if (err != 0 && err != -ESRCH)
		log_error("pid %d came and does not run: %s", c->pid, strerror(-err));
	FAULT("kernel.come.went");
	site_look_again(c->w);
	c->waiting = false;
	c->went = true;
	turns_look(c->w); /* it runs when they do */
	run_effects(c);
}

static void on_wanted(struct loop_timer *t)
{
	do_wanted(container_of(t, struct come, again));
}

static void later(struct come *c, uint64_t ns, void (*cb)(struct loop_timer *t))
{
	if (loop_timer_set(c->w->loop, &c->again, loop_now_ns(c->w->loop) + ns, cb) != 0)
		log_error("cannot wait: out of memory");
}

static void unbuilt(struct come *c, int err)
{
	if (err == 0 || err == -ESRCH) {
		dropped(c);
		return;
	}
	/* For want of memory, say. Until it is a stub it takes no table, not even to end. */
	log_warn("pid %d cannot become its stub again: %s", c->pid, strerror(-err));
	c->wanted = MOVER_UNBUILD;
	later(c, RETRY_NS, on_wanted);
}

static void on_job(struct mover *m, enum mover_job job, int result)
{
	struct come *c = container_of(m, struct come, mover);

	if (c->dropping && job != MOVER_UNBUILD)
		drop(c);
	else if (job == MOVER_BUILD)
		built(c, result);
	else if (job == MOVER_GO)
		went(c, result);
	else
		unbuilt(c, result);
}

/* ---- steps ---- */
static void come_end(struct come *c)
{
	struct stub *s = stubs_find(c->w->stubs, c->pid);

	if (s)
		s->arriving = s->turning = false;
	turns_look(c->w);
	list_del(&c->link);
	comes_count--;
	c->w->arriving -= c->arriving;
	ship_in_end(&c->ship, -ECANCELED);
	loop_timer_clear(c->w->loop, &c->tick);
	loop_timer_clear(c->w->loop, &c->again);
	mover_end(&c->mover);
	kin_tidy(c->w);
	deaths_seek_all(c->w, c->from);
	if (c->prepare)
		peer__move__free_unpacked(c->prepare, NULL);
	if (c->image)
		peer__image__free_unpacked(c->image, NULL);
	buf_fini(&c->why);
	free(c);
}

static void on_build(struct loop_timer *t)
{
	struct come *c = container_of(t, struct come, again);

	make_kin(c, c->prepare->kin, c->prepare->n_kin);
}

static void do_wanted(struct come *c)
{
	enum mover_job job = c->wanted;

	if (job == MOVER_NONE || mover_is_busy(&c->mover))
		return;
	if (mover_do(&c->mover, job) == 0)
		c->wanted = MOVER_NONE;
	else
		later(c, RETRY_NS, on_wanted);
}

static void on_tick(struct loop_timer *t)
{
	step(container_of(t, struct come, tick), (struct mig_ev){ .kind = MIG_EV_TICK });
}

static void raise_all(struct come *c, uint64_t sigs)
{
	struct task_info t;
	int fd = proc_open(&c->w->view, c->pid, &t);

	for (int signo = 1; fd >= 0 && signo <= 64; signo++)
		if ((sigs >> (signo - 1)) & 1 && task_pidfd_signal(fd, signo) != 0)
			log_debug("pid %d has ended", c->pid);
	if (fd >= 0)
		(void)close(fd);
}

static void effect(struct come *c, const struct mig_fx *fx)
{
	switch (fx->kind) {
	case MIG_FX_SEND:
		move_send_more(c->w, fx->to, &fx->msg, NULL, 0, buf_str(&c->why));
		break;
	case MIG_FX_NOTE:
		move_note(c->w, MOVE_TARGET, &fx->note);
		break;
	case MIG_FX_UNNOTE:
		move_unnote(c->w, MOVE_TARGET, c->pid);
		break;
	case MIG_FX_BUILD:
		later(c, 0, on_build);
		break;
	case MIG_FX_DROP:
		c->dropping = c->waiting = true;
		loop_timer_clear(c->w->loop, &c->again);
		drop(c);
		break;
	case MIG_FX_RESUME:
		c->waiting = true;
		turn(c);
		break;
	case MIG_FX_RAISE:
		raise_all(c, fx->sigs);
		break;
	default:
		/* KILL is for pages that are lost: none are fetched after the commit. */
		CHECK(fx->kind == MIG_FX_DONE);
		come_end(c);
	}
}

static void run_effects(struct come *c)
{
	while (!c->waiting && c->at < c->out.count) {
		const struct mig_fx *fx = &c->out.fx[c->at++];
		bool ends = fx->kind == MIG_FX_DONE;

		effect(c, fx);
		if (ends)
			return;
	}
	do_wanted(c);
	if (c->waiting || c->m.wake_ns == 0)
		loop_timer_clear(c->w->loop, &c->tick);
	else if (loop_timer_set(c->w->loop, &c->tick, c->m.wake_ns, on_tick) != 0)
		log_error("cannot wait: out of memory");
	/* All its pages came with the image. */
	if (c->went && !c->waiting) {
		c->went = false;
		step(c, (struct mig_ev){ .kind = MIG_EV_PULLED });
	}
}

static void step(struct come *c, struct mig_ev ev)
{
	if (c->waiting)
		return;
	CHECK(c->at == c->out.count);
	ev.now_ns = loop_now_ns(c->w->loop);
	c->at = 0;
	if (migrate_target_step(&c->m, &ev, &c->out) != 0)
		log_debug("pid %d: %s in state %s", c->pid, migrate_ev_name(ev.kind),
			  migrate_target_state_name(c->m.state));
	run_effects(c);
}

/* ---- messages ---- */
bool come_message(struct world *w, const struct mig_msg *m)
{
	struct come *c = find(m->pid);

	if (!c || (m->kind != MIG_RECORD && m->move != c->m.move))
		return false;
	step(c, (struct mig_ev){ .kind = MIG_EV_MSG, .msg = m });
	return true;
}

void come_ended(struct world *w, gpid pid)
{
	struct come *c = find(pid);

	if (c)
		step(c, (struct mig_ev){ .kind = MIG_EV_ELSEWHERE });
}

/* Nothing that is not whole is worth waiting for. */
static void cancel(struct come *c, int err)
{
	if (c->m.state == MIG_T_BUILDING || (c->m.state == MIG_T_READY && !c->ship.ended))
		step(c, (struct mig_ev){ .kind = MIG_EV_CANCEL, .err = err });
}

void come_disconnected(struct world *w, node_id node)
{
	struct come *c, *tmp;

	list_for_each_safe (c, tmp, &comes, link)
		if (c->from == node)
			cancel(c, -EHOSTDOWN);
}

void comes_fenced(struct world *w)
{
	struct come *c, *tmp;

	list_for_each_safe (c, tmp, &comes, link) {
		uint64_t aterm;
		node_id authority = authority_of(w, c->pid, &aterm);

		if (!c->waiting && authority != NODE_NONE && aterm > c->m.aterm &&
		    aterm == fence_of(w, c->pid))
			step(c, (struct mig_ev){ .kind = MIG_EV_AUTHORITY,
						 .node = authority,
						 .aterm = aterm });
	}
}

void comes_stand(void (*cb)(void *arg, const struct mig_stand *st), void *arg)
{
	const struct come *c;

	list_for_each (c, &comes, link) {
		struct mig_stand st = migrate_target_stand(&c->m);

		cb(arg, &st);
	}
}

void comes_world_lost(struct world *w, node_id node, epoch_t life)
{
	struct come *c;

	list_for_each (c, &comes, link)
		if (c->from == node)
			c->life = life;
}

void comes_look_at_lives(struct world *w)
{
	struct come *c, *tmp;

	list_for_each_safe (c, tmp, &comes, link) {
		if (c->bereft || c->waiting || !peers_over(w, c->from, c->life))
			continue;
		c->bereft = true;
		step(c, (struct mig_ev){ .kind = MIG_EV_NODE_DEAD, .node = c->from });
	}
}

static struct come *come_new(struct world *w, gpid pid, node_id from)
{
	struct come *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->w = w;
	c->pid = pid;
	c->from = from;
	c->life = peers_life(w, from);
	ship_in_init(&c->ship, w);
	c->ship.over = on_ship_over;
	c->carry = (struct carry){
		.w = w, .mover = &c->mover, .pid = pid, .source = from, .target = w->node
	};
	c->mover = (struct mover){
		.w = w, .hooks = &carry_hooks, .hooks_arg = &c->carry, .done = on_job, .pipe = -1
	};
	list_init(&c->kin.link);
	list_add_tail(&comes, &c->link);
	comes_count++;
	return c;
}

/* 0: there is no such process here. */
static pid_t node_pid_of(struct world *w, gpid pid)
{
	struct task_info t = { 0 };
	int fd = proc_open(&w->view, pid, &t);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0 ? t.pid : 0;
}

static const char *forbidden(struct world *w, gpid pid)
{
	const struct stub *s = stubs_find(w->stubs, pid);

	if (leave_is_busy(w, pid) || place_is_busy(w, pid) || comes_count >= MOVES_MAX)
		return "the node is busy with it";
	return !s && node_pid_of(w, pid) != 0 ? "its pid is in use there" : NULL;
}

static Peer__Move *copy_of(const Peer__Move *q)
{
	size_t len = peer__move__get_packed_size(q);
	cleanup_free uint8_t *body = malloc(len + 1);

	if (!body)
		return NULL;
	(void)peer__move__pack(q, body);
	return peer__move__unpack(NULL, len, body);
}

void come_prepare(struct world *w, const struct mig_msg *m, const Peer__Move *q)
{
	struct stub *s = stubs_find(w->stubs, m->pid);
	struct come *c = find(m->pid);
	const char *why = c ? NULL : forbidden(w, m->pid);
	struct mig_msg refusal = migrate_refuse(m, -EBUSY);
	uint64_t aterm;
	node_id authority = authority_of(w, m->pid, &aterm);

	if (c && c->m.move == m->move) {
		step(c, (struct mig_ev){ .kind = MIG_EV_MSG, .msg = m });
		return;
	}
	/* A source has one machine for it: the other move is over. It asks again. */
	if (c && c->from == m->from) {
		cancel(c, -ECANCELED);
		return;
	}
	/* What stood for it here until now dies in a moment, unless it has stopped since it was
	 * told to. */
	if (!c && s && s->leaving) {
		kin_wake(w, s);
		return;
	}
	if (authority == NODE_NONE) /* not told yet */
		return;
	if (c || why) {
		move_send_more(w, m->from, &refusal, NULL, 0,
			       c ? "it is coming from elsewhere" : why);
		return;
	}
	c = come_new(w, m->pid, m->from);
	if (!c)
		return;
	c->prepare = copy_of(q);
	if (!c->prepare ||
	    migrate_target_init(&c->m, &move_conf, w->node, authority, aterm, m) != 0) {
		come_end(c);
		return;
	}
	c->arriving = true;
	w->arriving++;
	step(c, (struct mig_ev){ .kind = MIG_EV_START });
}

static void on_image(void *arg, struct rpc_conn *conn, struct rpc_stream *s,
		     const struct rpc_msg *m)
{
	Peer__Image *q = peer__image__unpack(NULL, m->len, m->body);
	struct come *c = q ? find(q->pid) : NULL;

	if (!c || c->m.move != q->move || c->from != rpc_conn_peer(conn)->node ||
	    c->m.state != MIG_T_READY || c->image || c->waiting) {
		rpc_stream_close(s, -ESTALE);
		if (q)
			peer__image__free_unpacked(q, NULL);
		return;
	}
	FAULT("kernel.come.image");
	c->image = q;
	ship_in_take(&c->ship, s);
	make_kin(c, q->kin, q->n_kin);
}

void come_open(struct world *w)
{
	rpc_serve_stream(w->peer_rpc, PEER_IMAGE, on_image, w);
}

/* ---- after a predecessor's death ---- */
void come_adopt(struct world *w, const struct mig_note *note, epoch_t life)
{
	struct mig_note copy = *note;
	struct come *c = come_new(w, copy.pid, copy.peer);
	struct stub *s = stubs_find(w->stubs, copy.pid);

	if (!c)
		return;
	log_info("pid %d was on its way from node %u", copy.pid, copy.peer);
	c->life = life;
	c->mover.pid = node_pid_of(w, copy.pid);
	c->ship.ended = true;
	c->arriving = true;
	w->arriving++;
	if (s)
		s->arriving = true;
	if (migrate_target_adopt(&c->m, &move_conf, w->node, &copy, loop_now_ns(w->loop),
				 &c->out) != 0) {
		log_error("the note of pid %d cannot be", copy.pid);
		move_unnote(w, MOVE_TARGET, copy.pid);
		come_end(c);
		return;
	}
	run_effects(c);
}

bool come_has(pid_t pid)
{
	const struct come *c;

	list_for_each (c, &comes, link)
		if (c->mover.pid == pid)
			return true;
	return false;
}
