/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttys.h - terminals across nodes (kernel/ipc/tty.h): terminals.c is the owner's side, carriers.c
 * the other nodes', ttys.c the guests' calls and what both share, groups.c groups, raises.c
 * signals. Private to pando-kernel.
 *
 * For who carries a process to another node: ttys_describe() tells what a descriptor is, and
 * ttys_take() makes it again where the process goes (also back at the owner: there it is the
 * terminal itself). ttys_describe_leader() and carriers_session() do the same for the terminal of a
 * session, which goes with its leader, be that a stub or the process.
 *
 * A terminal that is carried has two relays in pipes.c; their tag is -1 minus its number here.
 */
#ifndef PANDO_KERNEL_TTYS_H
#define PANDO_KERNEL_TTYS_H

#include "cmd/pando-kernel/world.h"
#include "kernel/ipc/tty.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

struct stub_table;

/* ---- ttys.c ---- */
must_check int ttys_open(struct world *w);
void ttys_look_again(struct world *w);
/* Guests' calls, of which somebody else's answer may come first. Any thread: is that possible? */
bool ttys_shared(const struct world *w);
void ttys_ioctl(struct world *w, struct init_slot *s);

/* Descriptor @number of the process of node pid @pid. False: no terminal. */
bool ttys_describe(struct world *w, pid_t pid, int number, Peer__Fd *out);
/* A descriptor for it on this node. Errors: -ENOENT, -EIO: the terminal is gone; -ENOSPC. */
must_check int ttys_take(struct world *w, const Peer__Fd *fd);
/*
 * Whose descriptor @number this is, is frozen and about to leave: calls @done, maybe at once, when
 * what it has written has arrived at the owner and nothing can be on its way to it any more.
 * -EAGAIN: something typed lies here for it; -EBUSY: the terminal takes nothing (ctrl-S); else the
 * owner's node does not answer.
 */
void ttys_settle(struct world *w, pid_t pid, int number, void (*done)(void *arg, int err),
		 void *arg);
/* @p leads a session: its terminal. out->tty_modes.data is the caller's to free. */
void ttys_describe_leader(struct world *w, const struct proc_list *l, const struct proc *p,
			  Peer__Task *out);

typedef void (*ttys_answer_fn)(void *arg, int err, const Peer__Tty *answer);
/* Says @q to @node. @done may be NULL. */
void ttys_say(struct world *w, node_id node, const Peer__Tty *q, ttys_answer_fn done, void *arg);
void ttys_answer(struct rpc_call *call, int err, const Peer__Tty *answer);
/* O_PATH of the root directory of the tenant. */
must_check int ttys_root(struct world *w);
void ttys_share(struct world *w, int more);

/*
 * Makes @pgid, or if there is no such group @instead, the foreground group of terminal @local of
 * this node, by a stub of its session. Takes @fd, a slave. -ENOENT: no group, or no stub that
 * could.
 * @done is called if this returns 0.
 */
must_check int ttys_set_front(struct world *w, unsigned local, int fd, gpid pgid, gpid instead,
			      void (*done)(void *arg, int err), void *arg);

/* ---- terminals.c ---- */
void terminals_open(struct world *w);
void terminals_hear(struct world *w, struct rpc_conn *c, struct rpc_call *call, const Peer__Tty *q);
void terminals_look_again(struct world *w);
/* Its modes may be set natively in a moment. */
void terminals_modes_changing(struct world *w, unsigned number);
/* Tells all carriers who is in front now. @done is called when they have heard of it, maybe at
 * once. */
void terminals_front(struct world *w, unsigned number, node_id but, gpid pgid,
		     void (*done)(void *arg), void *arg);
bool terminals_have(struct world *w, unsigned number);
/* The nodes that carry it. */
void terminals_users(struct world *w, unsigned number, void (*cb)(void *arg, node_id node),
		     void *arg);

/* Whom a signal of a terminal was raised in; full: and others. */
struct tty_had {
	bool full;
	unsigned count;
	gpid pids[64];
};

/* ---- carriers.c ---- */
struct carrier {
	struct list link;
	struct world *w;
	node_id owner;
	epoch_t life;    /* of the owner's node; 0: a predecessor's */
	unsigned number; /* of the owner's */
	unsigned local;  /* ours: the same, unless that was taken */
	int master;
	uint64_t relay; /* 0: not attached */
	bool attaching;
	uint64_t asked;         /* with this relay */
	bool dead;              /* hung up while it was attaching */
	uint64_t idle_since_ns; /* 0: not idle */
	struct tty_modes modes;
	uint32_t event[32]; /* by signal: the last that was raised */
	int had_signo;      /* of the last of all */
	struct tty_had had;
};

void carriers_open(struct world *w);
void carriers_hear(struct world *w, struct rpc_conn *c, struct rpc_call *call, const Peer__Tty *q);
struct carrier *carriers_find(struct world *w, unsigned local);
/* Finds it or makes it. */
must_check int carriers_get(struct world *w, node_id owner, unsigned number, struct carrier **out);
must_check int carriers_slave(struct carrier *c, int flags);
void carriers_connected(struct world *w, node_id node);
void carriers_modes(struct carrier *c, const ProtobufCBinaryData *modes);
/* What was written to it is on its way to the owner, and has arrived. */
bool carriers_flushed(struct carrier *c);
/* Something typed lies here that nobody has read. */
bool carriers_has_typed(struct carrier *c);
/* The foreground group of terminal @local of this node is what it is at its owner. */
bool carriers_know_front(struct world *w, unsigned local);
/* The end of @relay, one of a carrier's two: nobody has the slave open any more. */
void carriers_unused(struct world *w, gpid tag, uint64_t relay);
/* All of them, as far as that goes. */
bool carriers_all_flushed(struct world *w);
/* None of them waits for its owner or its connection. */
bool carriers_settled(struct world *w);
/* A terminal of theirs has a number that is free here in a moment. */
bool carriers_unsettled(struct world *w, Peer__Task *const *kin, size_t n);
/* The stub of session @leader has become one: gives it its terminal by table @t. */
void carriers_session(struct world *w, const Peer__Task *leader, struct stub_table *t);
/* What a process that arrives in front of its terminal, here or carried, has to do first. */
void carriers_arrive(struct world *w, Peer__Task *const *kin, size_t n, gpid pid,
		     struct stub_table *t, unsigned at);

/* ---- raises.c ---- */
/*
 * A stub got @signo from the host's kernel itself: raised where the group's members are. True: that
 * was so; *done as stubs_ops.signal returns it.
 */
bool groups_raised(struct world *w, struct stub *s, int signo, const siginfo_t *si, uint64_t key,
		   bool *done);
/* How many such events were told of here. */
unsigned groups_spoken(void);
/* @s is a stub from now on; since there had been @since of them its process was held still. */
void groups_held(struct world *w, struct stub *s, unsigned since);
/* A key that raises a signal. */
struct tty_key {
	unsigned number;
	int signo;
	gpid pgid;
	struct tty_had had;
};
/*
 * @key is about to be typed at @master, of a terminal with the modes @m. True: it raises a signal
 * of which no stub would tell, for all that the group in front has here are processes; others carry
 * the terminal: when it is typed they are told by groups_pressed().
 */
bool groups_key(struct world *w, int master, const struct tty_modes *m, uint8_t key,
		struct tty_key *out);
void groups_pressed(struct world *w, const struct tty_key *k);
/* From another node. */
void groups_hear(struct world *w, node_id from, const Peer__Tty *q);

/* ---- groups.c ---- */
void groups_open(struct world *w);
/* Any thread: must others be asked, or told? */
bool groups_concern(const struct world *w, const struct init_slot *s);
/* kill, setpgid and setsid. */
void groups_call(struct world *w, struct init_slot *s);

#endif
