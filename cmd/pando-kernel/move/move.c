/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.c - what source, target and authority say to each other, and what a successor must know.
 *
 * M0: notes are kept (kept.h), each twice, with the number that says which copy is valid.
 */
#include "cmd/pando-kernel/move/move.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "kernel/proc/peer.h"

const struct mig_conf move_conf = { .prepare_ns = 15 * NS_PER_S,
				    .ready_ns = 120 * NS_PER_S,
				    .commit_ns = 60 * NS_PER_S,
				    .again_ns = 100 * NS_PER_MS };

/* ---- notes ---- */
static const struct mig_note *note_of(const struct kept_note *k)
{
	uint32_t valid = atomic_load(&k->valid);

	return valid == 1 || valid == 2 ? &k->copy[valid - 1] : NULL;
}

static struct kept_note *note_find(struct world *w, enum move_side side, gpid pid)
{
	for (unsigned i = 0; i < KEPT_NOTES; i++) {
		struct kept_note *k = &w->kept->notes[i];
		const struct mig_note *note = note_of(k);

		if (note && k->side == side && note->pid == pid)
			return k;
	}
	return NULL;
}

static struct kept_note *note_new(struct world *w)
{
	for (unsigned i = 0; i < KEPT_NOTES; i++)
		if (!note_of(&w->kept->notes[i]))
			return &w->kept->notes[i];
	return NULL;
}

void move_note(struct world *w, enum move_side side, const struct mig_note *note)
{
	struct kept_note *k = note_find(w, side, note->pid);
	uint32_t next = k && atomic_load(&k->valid) == 1 ? 2 : 1;

	if (!k) {
		k = note_new(w);
		CHECK(k != NULL); /* MOVES_MAX */
		k->life = peers_life(w, note->peer);
	}
	k->side = side;
	k->copy[next - 1] = *note;
	FAULT("kernel.move.note");
	atomic_store(&k->valid, next);
	FAULT("kernel.move.noted");
}

void move_unnote(struct world *w, enum move_side side, gpid pid)
{
	struct kept_note *k = note_find(w, side, pid);

	FAULT("kernel.move.unnote");
	if (k)
		atomic_store(&k->valid, 0);
	FAULT("kernel.move.unnoted");
}

/* ---- sending ---- */
struct sending {
	struct loop_post post; /* to ourselves */
	struct world *w;
	size_t len;
	uint8_t body[];
};

static void receive(struct world *w, node_id from, const uint8_t *body, size_t len);

static void on_self(struct loop_post *post)
{
	struct sending *s = container_of(post, struct sending, post);

	receive(s->w, s->w->node, s->body, s->len);
	free(s);
}

static void on_peer(void *arg, int err, struct rpc_conn *c)
{
	struct sending *s = arg;
	struct rpc_msg m = { .method = PEER_MOVE, .body = s->body, .len = s->len };

	if (err == 0)
		err = rpc_send(c, &m);
	if (err != 0)
		log_debug("a message of a move is lost: %s", strerror(-err));
	free(s);
}

/* One block: the list, and behind it the rows. */
static int add_stands(Peer__Move *q, const struct mig_msg *m)
{
	Peer__Stand *rows;

	if (m->stand_count == 0)
		return 0;
	q->stands = calloc(m->stand_count, sizeof(*q->stands) + sizeof(*rows));
	if (!q->stands)
		return -ENOMEM;
	rows = (Peer__Stand *)(void *)(q->stands + m->stand_count);
	for (uint32_t i = 0; i < m->stand_count; i++) {
		const struct mig_stand *st = &m->stands[i];

		peer__stand__init(&rows[i]);
		rows[i].pid = st->pid;
		rows[i].stance = st->stance;
		rows[i].move = st->move;
		rows[i].peer = st->peer;
		rows[i].life = st->peer_epoch;
		rows[i].epoch = st->epoch;
		q->stands[i] = &rows[i];
	}
	q->n_stands = m->stand_count;
	return 0;
}

/* @out: as many as there are. False: no node would say that. */
static bool take_stands(const Peer__Move *q, struct mig_stand *out)
{
	for (size_t i = 0; i < q->n_stands; i++) {
		const Peer__Stand *st = q->stands[i];

		if (st->stance > MIG_ENDED)
			return false;
		out[i] = (struct mig_stand){ .pid = st->pid,
					     .stance = st->stance,
					     .move = st->move,
					     .peer = st->peer,
					     .peer_epoch = st->life,
					     .epoch = st->epoch };
	}
	return true;
}

void move_send_more(struct world *w, node_id to, const struct mig_msg *m, Peer__Task **kin,
		    size_t n_kin, const char *why)
{
	Peer__Move q = PEER__MOVE__INIT;
	struct sending *s;

	q.kind = m->kind;
	q.pid = m->pid;
	q.epoch = m->epoch;
	q.move = m->move;
	q.asked = m->asked;
	q.aterm = m->aterm;
	q.site = m->site;
	q.err = m->err;
	q.sigs = m->sigs;
	q.kin = kin;
	q.n_kin = n_kin;
	q.why = (char *)(uintptr_t)(why ? why : "");
	if (add_stands(&q, m) != 0)
		return; /* lost: said again */
	s = malloc(sizeof(*s) + peer__move__get_packed_size(&q));
	if (!s) {
		free(q.stands);
		return;
	}
	s->w = w;
	s->len = peer__move__pack(&q, s->body);
	free(q.stands);
	list_init(&s->post.link);
	s->post.cb = on_self;
	FAULT("kernel.move.send");
	if (to == w->node)
		loop_post(w->loop, &s->post);
	else
		peers_with(w, to, on_peer, s);
}

void move_send(struct world *w, node_id to, const struct mig_msg *m)
{
	move_send_more(w, to, m, NULL, 0, NULL);
}

/* ---- receiving ---- */
static void dispatch(struct world *w, const struct mig_msg *m, const Peer__Move *q)
{
	log_debug("pid %d: %s from node %u", m->pid, migrate_msg_name(m->kind), m->from);
	struct mig_msg reply;

	switch (m->kind) {
	case MIG_READ:
	case MIG_CLAIM:
	case MIG_GONE:
		authority_message(w, m);
		return;
	case MIG_PREPARE:
		come_prepare(w, m, q);
		return;
	case MIG_FENCE:
		fence_message(w, m);
		return;
	case MIG_STAND:
		authority_stand(w, m);
		return;
	default:
		if (m->kind == MIG_RECORD && follow_record(w, m))
			return;
		if (leave_message(w, m, q->why) || come_message(w, m))
			return;
		if (m->kind != MIG_RECORD && migrate_stray(m, &reply))
			move_send(w, m->from, &reply);
	}
}

static void receive(struct world *w, node_id from, const uint8_t *body, size_t len)
{
	Peer__Move *q = peer__move__unpack(NULL, len, body);
	cleanup_free struct mig_stand *stands = NULL;
	struct mig_msg m;

	if (!q)
		return;
	stands = calloc(q->n_stands + 1, sizeof(*stands));
	m = (struct mig_msg){ .kind = q->kind,
			      .from = from,
			      .pid = q->pid,
			      .epoch = q->epoch,
			      .move = q->move,
			      .asked = q->asked,
			      .aterm = q->aterm,
			      .site = q->site,
			      .err = q->err,
			      .sigs = q->sigs,
			      .stands = stands,
			      .stand_count = (uint32_t)q->n_stands };
	if (m.kind >= MIG_READ && m.kind < MIG_MSG_COUNT && m.pid > 1 && stands &&
	    take_stands(q, stands))
		dispatch(w, &m, q);
	peer__move__free_unpacked(q, NULL);
}

static void on_move(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	receive(arg, rpc_conn_peer(c)->node, m->body, m->len);
	answers_reply(call, 0, NULL);
}

bool move_is_any(void)
{
	return leave_is_any() || come_is_any();
}

bool move_is_busy(const struct world *w, gpid pid)
{
	return leave_is_busy(w, pid) || come_is_busy(w, pid);
}

bool move_is_between(const struct world *w, gpid pid, node_id to)
{
	return leave_is_between(w, pid) || come_is_between(w, pid, to);
}

void move_disconnected(struct world *w, node_id node)
{
	leave_disconnected(w, node);
	come_disconnected(w, node);
}

int move_open(struct world *w)
{
	rpc_serve(w->peer_rpc, PEER_MOVE, on_move, w);
	come_open(w);
	for (unsigned i = 0; i < KEPT_NOTES; i++) {
		const struct mig_note *note = note_of(&w->kept->notes[i]);

		if (note && w->kept->notes[i].side == MOVE_SOURCE)
			leave_adopt(w, note, w->kept->notes[i].life);
		else if (note)
			come_adopt(w, note, w->kept->notes[i].life);
	}
	rest_adopt(w);
	pipes_sweep(w);
	return 0;
}
