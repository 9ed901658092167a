/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leave.c - the source of a move: migrate/core/source.c on this kernel's loop.
 *
 * The process runs on until it is frozen by its mover; what it is, and its relatives, are described
 * then. When the record says that it executes elsewhere it becomes its stub in place: of its own
 * place if this node leased its pid, else of a relative (kin.c drops it if it is none).
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/move/move.h"
#include "cmd/pando-kernel/move/ship.h"
#include "kernel/proc/peer.h"

#define AGAIN_NS       (2 * NS_PER_MS)
#define FLUSH_NS       (2 * NS_PER_S) /* how long what it wrote may take to arrive, frozen */
#define RETRY_NS       (100 * NS_PER_MS)
#define KNOWN_NS       (5 * NS_PER_S) /* for all to know who keeps its record, and has it */
#define KNOWN_AGAIN_NS (20 * NS_PER_MS)

struct leave {
	struct list link;
	struct world *w;
	struct mig_source m;
	struct mover mover;
	struct carry carry;
	gpid pid;
	epoch_t life; /* of the target */
	bool bereft;  /* the target's death is known */

	/* What the last step wants done, in order; `at` stands still while a job is awaited. */
	struct mig_out out;
	uint32_t at;
	bool waiting;
	enum mover_job wanted; /* as soon as the mover is idle */
	struct loop_timer tick;
	struct loop_timer again;
	uint64_t known_end_ns, flush_end_ns;

	struct ship_out ship; /* the image */
	bool adopted;         /* of a predecessor */

	struct move_wish wish; /* its done is NULL: a predecessor's */
	struct image_hooks hooks;
	struct buf why;
	uint64_t frozen_ns, freeze_ns;
};

static struct list leaves = LIST_INIT(leaves);
static unsigned leaves_count;

static void step(struct leave *l, struct mig_ev ev);
static void leave_end(struct leave *l, int err);
static void run_effects(struct leave *l);
static void do_wanted(struct leave *l);

static struct leave *find(gpid pid)
{
	struct leave *l;

	list_for_each (l, &leaves, link)
		if (l->pid == pid)
			return l;
	return NULL;
}

bool leave_is_any(void)
{
	return leaves_count > 0;
}

bool leave_is_busy(const struct world *w, gpid pid)
{
	return find(pid) != NULL;
}

bool leave_is_between(const struct world *w, gpid pid)
{
	const struct leave *l = find(pid);

	return l && l->m.state < MIG_S_RELEASED;
}

bool leave_is_of(const struct world *w, pid_t tid)
{
	const struct leave *l;

	list_for_each (l, &leaves, link)
		if (l->mover.pid == tid)
			return true;
	return false;
}

bool leave_is_lost(const struct world *w, gpid pid)
{
	const struct leave *l = find(pid);

	return l && l->m.state >= MIG_S_DRAINING;
}

/* ---- the image on its way ---- */
static void on_ship_failed(struct ship_out *s, int err)
{
	step(container_of(s, struct leave, ship),
	     (struct mig_ev){ .kind = MIG_EV_IMAGE_FAILED, .err = err });
}

static int open_stream(struct leave *l)
{
	struct rpc_conn *c = peers_conn(l->w, l->m.target);
	Peer__Image q = PEER__IMAGE__INIT;
	struct rpc_msg m = { .method = PEER_IMAGE };
	cleanup_free uint8_t *body = NULL;
	int r = c ? kin_describe(l->w, l->pid, &q.kin, &q.n_kin) : -ENOTCONN;

	if (r != 0)
		return r;
	/* What ends from now on is told to the target by us, or by who has the child's place. */
	for (size_t i = 0; i < q.n_kin; i++)
		if (q.kin[i]->ppid == l->pid && !q.kin[i]->ended &&
		    home_of(l->w, q.kin[i]->pid) == l->w->node)
			(void)!site_guest_add(l->w, q.kin[i]->pid, l->m.target);
	q.pid = l->pid;
	q.move = l->m.move;
	if (home_is_over(l->w, l->pid))
		q.hearers = site_hearers(l->w, l->pid, &q.n_hearers);
	body = malloc(peer__image__get_packed_size(&q) + 1);
	if (body) {
		m.len = peer__image__pack(&q, body);
		m.body = body;
		r = ship_out_start(&l->ship, c, &m, &l->mover.pipe);
	}
	kin_free(q.kin, q.n_kin);
	free(q.hearers);
	return body ? r : -ENOMEM;
}

static int start_image(struct leave *l)
{
	int r = open_stream(l);

	return r == 0 ? mover_do(&l->mover, MOVER_DUMP) : r;
}

/* ---- the mover's jobs ---- */
static void say_why(struct leave *l)
{
	if (l->why.len == 0 && l->mover.why.len > 0)
		(void)!buf_add(&l->why, l->mover.why.data, l->mover.why.len);
}

static void on_flush_again(struct loop_timer *t);

/*
 * At home of its pipes it gets them themselves: what it wrote must be in them. And what they are
 * told of where it is must not overtake what they have been told.
 */
static void frozen(struct leave *l)
{
	bool out = pipes_are_out(l->w, l->pid, l->m.target);

	if (out && pipes_are_told(l->w, l->pid)) {
		step(l, (struct mig_ev){ .kind = MIG_EV_FROZEN });
	} else if (loop_now_ns(l->w->loop) >= l->flush_end_ns) {
		if (out)
			(void)!buf_addf(&l->why, "the node of a pipe of it does not answer\n");
		else
			(void)!buf_addf(&l->why, "nobody reads what it has written to node %u\n",
					l->m.target);
		step(l, (struct mig_ev){ .kind = MIG_EV_FREEZE_FAILED, .err = -EAGAIN });
	} else if (loop_timer_set(l->w->loop, &l->again, loop_now_ns(l->w->loop) + AGAIN_NS,
				  on_flush_again) != 0) {
		step(l, (struct mig_ev){ .kind = MIG_EV_FREEZE_FAILED, .err = -ENOMEM });
	}
}

static void on_flush_again(struct loop_timer *t)
{
	frozen(container_of(t, struct leave, again));
}

/* Its place, or a relative of what is here. */
static int keep_stub(struct leave *l, bool home)
{
	struct world *w = l->w;
	char key[INIT_KEY_MAX];
	struct stub *s;
	int r;

	if (home)
		return remote_left(w, l->pid, l->m.target, l->life);
	/* If its home is over site_guest_left() tells them whom to ask. */
	if (!home_is_over(w, l->pid))
		site_guests_drop(w, l->pid);
	r = stubs_find(w->stubs, l->pid) ? 0 : stubs_add(w->stubs, l->pid, &s);
	if (r != 0)
		return r;
	s = stubs_find(w->stubs, l->pid);
	s->peer = l->m.target;
	kin_find_parents(w);
	(void)snprintf(key, sizeof(key), "kin.%d.%u", l->pid, s->peer);
	r = pid1_put(w->pid1, key, s->pidfd);
	return r == -EEXIST ? 0 : MIN(r, 0);
}

/* A process that was killed in the freeze has ended wherever it may be. */
static uint64_t became_stub(struct leave *l)
{
	struct world *w = l->w;
	int r = keep_stub(l, home_of(w, l->pid) == w->node);
	struct stub *s = stubs_find(w->stubs, l->pid);

	pipes_left(w, l->pid);
	/* Killed since a predecessor made it one: where its place is that is known (remote.c). */
	if ((r != 0 || !s) && l->adopted)
		return 0;
	if (r != 0 || !s) {
		log_info("pid %d was killed while it moved: %s", l->pid, strerror(-r));
		return UINT64_C(1) << (SIGKILL - 1);
	}
	if (home_is_over(w, l->pid)) {
		site_guest_left(w, l->pid);
		deaths_seek(w, l->pid, NULL, NULL);
	}
	s->swallow = l->mover.pending;
	site_reap_rest(w, s);
	site_look_again(w);
	/* The target may have died since: then it has ended there. */
	remotes_look_at_lives(w);
	return 0;
}

static void on_retry(struct loop_timer *t)
{
	struct leave *l = container_of(t, struct leave, again);

	l->wanted = MOVER_LEAVE;
	do_wanted(l);
}

static void left(struct leave *l, int err)
{
	uint64_t sigs;

	if (err != 0 && err != -ESRCH) {
		log_error("pid %d cannot become its stub: %s", l->pid, strerror(-err));
		if (loop_timer_set(l->w->loop, &l->again, loop_now_ns(l->w->loop) + RETRY_NS,
				   on_retry) != 0)
			log_error("cannot wait: out of memory");
		return;
	}
	FAULT("kernel.leave.stub");
	sigs = became_stub(l);
	FAULT("kernel.leave.kept");
	turns_look(l->w);
	step(l, (struct mig_ev){ .kind = MIG_EV_RELEASED, .sigs = sigs });
}

/* Its stub here must hear how it ends, even if that is in no time. */
static void on_held(void *arg, int err)
{
	struct leave *l = arg;

	if (err == 0) {
		step(l, (struct mig_ev){ .kind = MIG_EV_START });
		return;
	}
	(void)!buf_addf(&l->why, "the node that keeps its record does not answer");
	leave_end(l, err);
}

static void allowed(struct leave *l, int err)
{
	struct buf *reasons = &l->mover.cost.reasons;

	if (err == 0)
		move_forbids(l->w, l->pid, reasons);
	if (err == 0 && reasons->len > 0)
		err = -EOPNOTSUPP;
	if (reasons->len > 0)
		(void)!buf_add(&l->why, reasons->data, reasons->len);
	if (err != 0)
		leave_end(l, err);
	else
		site_hold(l->w, l->pid, on_held, l);
}

static void on_job(struct mover *m, enum mover_job job, int result)
{
	struct leave *l = container_of(m, struct leave, mover);

	if (result != 0)
		say_why(l);
	/* Something else is wanted by now: what this job would have led to is over. */
	if (l->wanted != MOVER_NONE && job != MOVER_THAW) {
		do_wanted(l);
		return;
	}
	switch (job) {
	case MOVER_WHY:
		allowed(l, result);
		break;
	case MOVER_FREEZE:
		l->flush_end_ns = loop_now_ns(l->w->loop) + FLUSH_NS;
		if (result == 0)
			frozen(l);
		else
			step(l, (struct mig_ev){ .kind = MIG_EV_FREEZE_FAILED, .err = result });
		break;
	case MOVER_DUMP:
		if (result != 0)
			ship_out_fail(&l->ship, result);
		else
			ship_out_dumped(&l->ship);
		break;
	case MOVER_LEAVE:
		left(l, result);
		break;
	default: /* THAW */
		l->waiting = false;
		pipes_drop(l->w, l->pid, true);
		pipes_thaw(l->w, l->pid);
		run_effects(l);
	}
}

/* ---- steps ---- */
/* Reasons are lines; who is told gets one. */
static const char *one_line(struct buf *b)
{
	char *s = (char *)(uintptr_t)buf_str(b);

	for (char *at = s; at && *at; at++)
		if (*at == '\n')
			*at = at[1] ? ';' : '\0';
	return s;
}

static void leave_end(struct leave *l, int err)
{
	struct moved r = { .err = err,
			   .why = one_line(&l->why),
			   .freeze_ns = l->freeze_ns,
			   .bytes = l->mover.bytes };

	if (!r.why || !*r.why)
		r.why = err == -ETIMEDOUT   ? "the other node does not answer"
			: err == -EHOSTDOWN ? "the other node is gone"
			: err == -ESRCH     ? "it has ended"
					    : strerror(-err);
	r.try_next = err == -EOPNOTSUPP ? NULL : "pando nodes";
	turns_look(l->w);
	if (err == 0)
		quota_moved(l->w, l->mover.bytes);
	list_del(&l->link);
	leaves_count--;
	ship_out_fini(&l->ship);
	loop_timer_clear(l->w->loop, &l->tick);
	loop_timer_clear(l->w->loop, &l->again);
	mover_end(&l->mover);
	carry_end(&l->carry);
	if (l->wish.done && (err != -EAGAIN || !move_again(&l->wish)))
		l->wish.done(l->wish.arg, &r);
	site_look_again(l->w);
	kin_tidy(l->w);
	buf_fini(&l->why);
	free(l);
}

/*
 * The target has a stub of it, or gets one. With its home dead we tell how it ends, and it may end
 * while it is still asked whether it may go.
 */
static void let_target_hear(struct leave *l)
{
	int r = home_is_over(l->w, l->pid) ? site_guest_add(l->w, l->pid, l->m.target) : 0;

	if (r != 0)
		log_debug("node %u will not hear of pid %d: %s", l->m.target, l->pid, strerror(-r));
}

static void send_fx(struct leave *l, const struct mig_fx *fx)
{
	Peer__Task **kin = NULL;
	size_t n = 0;

	if (fx->msg.kind == MIG_PREPARE)
		let_target_hear(l);
	if (fx->msg.kind == MIG_PREPARE && kin_describe(l->w, l->pid, &kin, &n) != 0)
		return; /* said again */
	move_send_more(l->w, fx->to, &fx->msg, kin, n, NULL);
	kin_free(kin, n);
}

static void on_tick(struct loop_timer *t)
{
	step(container_of(t, struct leave, tick), (struct mig_ev){ .kind = MIG_EV_TICK });
}

/* One effect. False: the next has to wait. */
static bool effect(struct leave *l, const struct mig_fx *fx)
{
	switch (fx->kind) {
	case MIG_FX_SEND:
		send_fx(l, fx);
		return true;
	case MIG_FX_NOTE:
		move_note(l->w, MOVE_SOURCE, &fx->note);
		return true;
	case MIG_FX_UNNOTE:
		move_unnote(l->w, MOVE_SOURCE, l->pid);
		return true;
	case MIG_FX_FREEZE:
		l->carry.asking = false;
		l->frozen_ns = clock_mono_ns();
		l->wanted = MOVER_FREEZE;
		return true;
	case MIG_FX_IMAGE: {
		int r = start_image(l);

		if (r != 0)
			ship_out_fail(&l->ship, r);
		return true;
	}
	case MIG_FX_RELEASE:
		l->freeze_ns = l->frozen_ns ? clock_mono_ns() - l->frozen_ns : 0;
		ship_out_fini(&l->ship);
		l->wanted = MOVER_LEAVE;
		return true;
	case MIG_FX_THAW:
		ship_out_fini(&l->ship);
		loop_timer_clear(l->w->loop, &l->again);
		let_target_hear(l);
		l->wanted = MOVER_THAW;
		l->waiting = true;
		return false;
	default:
		CHECK(fx->kind == MIG_FX_DONE);
		leave_end(l, fx->err);
		return false;
	}
}

static void on_wanted(struct loop_timer *t)
{
	do_wanted(container_of(t, struct leave, again));
}

static void do_wanted(struct leave *l)
{
	enum mover_job job = l->wanted;
	int r;

	if (job == MOVER_NONE || mover_is_busy(&l->mover))
		return;
	r = mover_do(&l->mover, job);
	if (r == 0)
		l->wanted = MOVER_NONE;
	else if (loop_timer_set(l->w->loop, &l->again, loop_now_ns(l->w->loop) + RETRY_NS,
				on_wanted) != 0)
		log_error("a move waits for a thread: %s", strerror(-r));
}

static void run_effects(struct leave *l)
{
	while (!l->waiting && l->at < l->out.count) {
		const struct mig_fx *fx = &l->out.fx[l->at++];
		bool ends = fx->kind == MIG_FX_DONE;

		(void)effect(l, fx);
		if (ends)
			return;
	}
	do_wanted(l);
	if (l->waiting || l->m.wake_ns == 0)
		loop_timer_clear(l->w->loop, &l->tick);
	else if (loop_timer_set(l->w->loop, &l->tick, l->m.wake_ns, on_tick) != 0)
		log_error("cannot wait: out of memory");
}

static void step(struct leave *l, struct mig_ev ev)
{
	/* While it is undone, or has asked nobody yet, nothing else happens to it; whoever speaks
	 * says it again. */
	if (l->waiting || l->m.move == 0)
		return;
	CHECK(l->at == l->out.count);
	ev.now_ns = loop_now_ns(l->w->loop);
	l->at = 0;
	if (migrate_source_step(&l->m, &ev, &l->out) != 0)
		log_debug("pid %d: %s in state %s", l->pid, migrate_ev_name(ev.kind),
			  migrate_source_state_name(l->m.state));
	run_effects(l);
}

/* ---- messages ---- */
bool leave_message(struct world *w, const struct mig_msg *m, const char *why)
{
	struct leave *l = find(m->pid);

	if (!l || (m->kind != MIG_RECORD && m->move != l->m.move))
		return false;
	if (*why && l->why.len == 0)
		(void)!buf_add(&l->why, why, strlen(why));
	step(l, (struct mig_ev){ .kind = MIG_EV_MSG, .msg = m });
	return true;
}

void leave_disconnected(struct world *w, node_id node)
{
	struct leave *l, *tmp;

	/* Has it all of the image? The record says. Without, the stream has told. */
	list_for_each_safe (l, tmp, &leaves, link)
		if (l->m.target == node && l->ship.sent && l->m.state == MIG_S_HANDED)
			step(l, (struct mig_ev){ .kind = MIG_EV_CANCEL, .err = -EHOSTDOWN });
}

void leaves_fenced(struct world *w)
{
	struct leave *l, *tmp;

	list_for_each_safe (l, tmp, &leaves, link) {
		uint64_t aterm;
		node_id authority = authority_of(w, l->pid, &aterm);

		if (!l->waiting && authority != NODE_NONE && aterm > l->m.aterm &&
		    aterm == fence_of(w, l->pid))
			step(l, (struct mig_ev){ .kind = MIG_EV_AUTHORITY,
						 .node = authority,
						 .aterm = aterm });
	}
}

void leaves_stand(void (*cb)(void *arg, const struct mig_stand *st), void *arg)
{
	const struct leave *l;

	list_for_each (l, &leaves, link) {
		struct mig_stand st = migrate_source_stand(&l->m);

		st.pid = l->pid;
		st.peer_epoch = l->life;
		/* It is being let go on here. */
		if (l->waiting || l->m.state == MIG_S_IDLE)
			st.stance = MIG_RUNS;
		cb(arg, &st);
	}
}

void leaves_world_lost(struct world *w, node_id node, epoch_t life)
{
	struct leave *l;

	list_for_each (l, &leaves, link)
		if (l->life != 0 && l->carry.target == node)
			l->life = life;
}

void leaves_look_at_lives(struct world *w)
{
	struct leave *l, *tmp;

	list_for_each_safe (l, tmp, &leaves, link) {
		/* Later it is the target's, if not won back: then it is told of there. */
		if (l->m.state >= MIG_S_ASKING && l->m.state <= MIG_S_CLAIMING && !l->waiting)
			let_target_hear(l);
		if (l->bereft || l->life == 0 || l->m.state == MIG_S_IDLE || l->waiting ||
		    !peers_over(w, l->m.target, l->life))
			continue;
		l->bereft = true;
		step(l, (struct mig_ev){ .kind = MIG_EV_NODE_DEAD, .node = l->m.target });
	}
}

/* ---- starting ---- */
static void told_before(void *arg, const struct moved *m)
{
	if (m->err != 0)
		log_warn("pid %d, which has asked itself, does not move: %s", (gpid)(intptr_t)arg,
			 m->why && *m->why ? m->why : strerror(-m->err));
}

static int tell_itself(void *arg)
{
	const struct moved r = { .err = 0 };
	struct leave *l = arg;

	l->wish.done(l->wish.arg, &r);
	l->wish.done = told_before;
	l->wish.arg = (void *)(intptr_t)l->pid;
	l->wish.by_itself = false;
	return 0;
}

/* In the mover's thread. */
static void stopping(void *arg, pid_t tid)
{
	struct leave *l = container_of((struct carry *)arg, struct leave, carry);

	if (l->wish.by_itself) /* false of all but the first thread */
		(void)!mover_ask(&l->mover, tell_itself, l);
}

static struct leave *leave_new(struct world *w, gpid pid, pid_t node_pid)
{
	struct leave *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->w = w;
	l->pid = pid;
	ship_out_init(&l->ship, w, on_ship_failed);
	l->carry = (struct carry){ .w = w, .mover = &l->mover, .pid = pid, .source = w->node };
	l->hooks = carry_hooks;
	l->hooks.stopping = stopping;
	l->mover = (struct mover){ .w = w,
				   .pid = node_pid,
				   .hooks = &l->hooks,
				   .hooks_arg = &l->carry,
				   .done = on_job,
				   .pipe = -1 };
	list_add_tail(&leaves, &l->link);
	leaves_count++;
	return l;
}

static void begin(struct leave *l);

static void on_connected(void *arg, int err, struct rpc_conn *c)
{
	struct leave *l = arg;

	if (err != 0) {
		(void)!buf_addf(&l->why, "the guest kernel there is not reached");
		leave_end(l, -EHOSTDOWN);
		return;
	}
	l->known_end_ns = loop_now_ns(l->w->loop) + KNOWN_NS;
	l->life = rpc_conn_peer(c)->epoch;
	begin(l);
}

static uint64_t random_move(void)
{
	uint64_t v = 0;

	if (getrandom(&v, sizeof(v), 0) != sizeof(v))
		v = clock_wall_ns();
	return v | 1;
}

static void on_begin_again(struct loop_timer *t)
{
	begin(container_of(t, struct leave, again));
}

/* A block of pids that was leased just now, or an exec that has sent it here, is not known to all
 * yet. */
static void begin(struct leave *l)
{
	struct world *w = l->w;
	uint64_t now_ns = loop_now_ns(w->loop), aterm;
	node_id authority = authority_of(w, l->pid, &aterm);

	bool waits = site_was_sent_on(w, l->pid) || place_of_child(w, l->pid);

	if (authority != NODE_NONE && (!waits || now_ns >= l->known_end_ns)) {
		migrate_source_init(&l->m, &move_conf, l->pid, w->node, l->carry.target, authority,
				    aterm, random_move());
		l->carry.asking = true;
		l->wanted = MOVER_WHY;
		do_wanted(l);
	} else if (now_ns >= l->known_end_ns ||
		   loop_timer_set(w->loop, &l->again, now_ns + KNOWN_AGAIN_NS, on_begin_again) !=
			   0) {
		(void)!buf_addf(&l->why, "the node that keeps its record is not known");
		leave_end(l, -EAGAIN);
	}
}

bool leaves_are_full(void)
{
	return leaves_count >= MOVES_MAX;
}

int leave_begin(const struct move_wish *wish, pid_t node_pid)
{
	struct leave *l;

	authority_check(wish->w, wish->pid);
	l = leave_new(wish->w, wish->pid, node_pid);
	if (!l)
		return -ENOMEM;
	l->wish = *wish;
	l->carry.target = wish->to;
	peers_with(wish->w, wish->to, on_connected, l);
	return 0;
}

void leave_adopt(struct world *w, const struct mig_note *note, epoch_t life)
{
	struct task_info t = { 0 };
	int fd = proc_open(&w->view, note->pid, &t);
	struct leave *l = leave_new(w, note->pid, fd >= 0 ? t.pid : 0);
	struct mig_note copy = *note; /* its place may be written over */

	if (fd >= 0)
		(void)close(fd);
	if (!l)
		return;
	log_info("pid %d was on its way to node %u", copy.pid, copy.peer);
	l->carry.target = copy.peer;
	l->life = life;
	l->adopted = true;
	l->ship.sent = true; /* what was not is known by no one: the record says */
	if (migrate_source_adopt(&l->m, &move_conf, w->node, &copy, loop_now_ns(w->loop),
				 &l->out) != 0) {
		log_error("the note of pid %d cannot be", copy.pid);
		move_unnote(w, MOVE_SOURCE, copy.pid);
		leave_end(l, -EINVAL);
		return;
	}
	run_effects(l);
}
