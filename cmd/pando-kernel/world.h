/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.h - the parts of a guest kernel and how they are put together. Private to pando-kernel.
 *
 * Everything belongs to the loop's thread, but for what notify_decide_fn says (calls.c). Nothing
 * here is worth keeping: a successor makes it again from pando-init's store, the slots and /proc.
 */
#ifndef PANDO_KERNEL_WORLD_H
#define PANDO_KERNEL_WORLD_H

#include "base/loop.h"
#include "base/types.h"
#include "cmd/pando-kernel/kept.h"
#include "cmd/pando-kernel/pid1.h"
#include "kernel/host/notify.h"
#include "kernel/proc/proc.h"
#include "kernel/host/gate.h"
#include "kernel/ipc/relay.h"
#include "kernel/proc/stub.h"
#include "cmd/tenant/tenant.h"
#include "rpc/auth.h"
#include "rpc/rpc.h"

#define NODES_MAX 1024

struct world_node {
	node_id id;
	char name[NODE_NAME_MAX];
	bool alive;
	bool closed; /* it is draining: alive, but nothing new goes there */
	bool dead;   /* announced */
	epoch_t life;
	uint32_t cpu_milli;
	uint32_t load_milli;
	uint64_t memory_bytes;
	uint64_t free_bytes;
	bool has_key;
	uint8_t key[RPC_KEY_BYTES];
};

/* What pandod says of the tenant's limits; 0: none. */
struct world_quota {
	uint64_t cpu_milli;
	uint64_t memory_bytes;
	uint64_t memory_used_bytes; /* on all nodes */
	uint64_t memory_left_bytes; /* that guests here can still get */
	/* quota.c: what the guests' limits were last made from */
	uint64_t set_bytes, set_left_bytes, set_ns;
};

/* A block of the tenant's pids. */
struct world_block {
	gpid first;
	uint32_t count;
	node_id authority; /* NODE_NONE: nobody just now */
	uint64_t aterm;
	node_id home; /* who has leased it; NODE_NONE: that life of it is over */
};

struct world {
	tenant_id tenant;
	node_id node;
	char tenant_name[TENANT_NAME_MAX];
	char node_name[NODE_NAME_MAX];

	struct loop *loop;
	struct pid1 *pid1;
	struct notify *notify;
	struct procfs *procfs; /* NULL: this tenant's /proc is the native one */
	struct proc_view view;

	struct rpc *pod_rpc;
	struct rpc_conn *pod; /* NULL: pandod is away */

	bool has_pids; /* at least one block was given to pando-init */
	bool pids_low; /* one more is needed */
	bool pids_asked;
	uint32_t pid_blocks;  /* that pandod has told of */
	uint64_t pids_due_ns; /* not before */
	struct loop_timer pids_again;

	struct list sessions;
	struct list starts;    /* sessions that wait for a pid block */
	bool hang_up_detached; /* of the tenant: a session that lost its line is not kept */

	struct world_node nodes[NODES_MAX];
	size_t node_count;
	struct world_quota quota;
	struct world_block *blocks; /* all of the machine's, as pandod tells them */
	size_t block_count;

	/* peers.c */
	struct rpc *peer_rpc;
	struct rpc_identity identity;
	bool has_identity;
	struct list peers;
	struct loop_timer peers_again;
	uint64_t peers_look_ns;

	struct kept *kept; /* kept.h */

	/* pipes.h */
	struct relays *relays;
	struct list pipes;
	uint64_t last_relay;
	bool pumps_paused;
	struct loop_timer relays_again;
	struct loop_timer moved_again;

	/* terminals.c, carriers.c: terminals of this node, and of others */
	struct list terminals;
	struct list carriers;
	struct loop_timer carriers_again;
	uint64_t carriers_look_ns;
	unsigned ttys_shared; /* atomic: of both, the receiving thread looks at it */
	unsigned peers_up;    /* atomic, as is the one before: connections to other nodes */
	unsigned others;      /* atomic: other nodes that are alive */

	/* place.c: processes at home here */
	struct stubs *stubs;
	struct gate_slots gates;
	struct list marks;
	struct list ons;      /* calls of `on` before the nodes are known */
	struct list placings; /* execs on their way */
	struct list remotes;  /* remote.c: processes elsewhere whose stubs are here */
	struct list raisings; /* signals on their way to other nodes */
	unsigned marks_count; /* atomic, as is busy: the receiving thread looks at them */
	bool busy;            /* more to do than this node can, and others have room */

	/* site.c: processes of other homes */
	struct list guests;
	struct list arrivals; /* kin_makings that wait for the zygote */
	unsigned arriving;    /* arrivals under way */
	struct list ending;   /* that failed, and whose stub is dying */
	gpid zygote;          /* 0: none */
	bool zygote_asked;
	struct loop_timer tidy;
};

/* NULL: the machine has no such node. */
static inline const struct world_node *world_node(const struct world *w, node_id id)
{
	for (size_t i = 0; i < w->node_count; i++)
		if (w->nodes[i].id == id)
			return &w->nodes[i];
	return NULL;
}

/* ---- calls.c: the guests' calls ---- */
must_check int calls_open(struct world *w);
/* Takes the listener out of the store, if there is one yet. */
void calls_listen(struct world *w);

/* ---- gates.c: threads that stand in a gate ---- */
must_check int gates_open(struct world *w);
/* The magic call of one that has a slot: held until its mover asks. */
void gates_hold(struct world *w, struct init_slot *s);

/* ---- machine.c: the tenant's /proc ---- */
must_check int machine_open(struct world *w);
unsigned machine_cpus(const struct world *w);
void machine_memory(const struct world *w, uint64_t *total, uint64_t *unused);
/* A process, a thread or a stub of this node; any thread may ask. */
bool machine_has_task(const struct world *w, gpid pid);
/* And it is no stub, by its name: a guest that gives itself that one is taken for one. */
bool machine_has_program(const struct world *w, gpid pid);
void machine_look(const struct world *w); /* the nodes have changed */
void machine_sysinfo(struct init_slot *s);
void machine_getaffinity(struct world *w, struct init_slot *s);
void machine_setaffinity(struct world *w, struct init_slot *s);

/* ---- quota.c: limits that guests feel ---- */
void quota_serve(struct world *w);
/* RLIMIT_DATA of a process that has @own_bytes of data; 0: it has no limit. */
uint64_t quota_data_max(const struct world *w, uint64_t own_bytes);
/* A process has left for another node. */
void quota_moved(struct world *w, uint64_t bytes);

/* ---- pod.c: the connection to pandod ---- */
must_check int pod_open(struct world *w, int fd);
/* A new pandod has put its connection into the store. */
void pod_replace(struct world *w);
/* Asks pandod for the blocks of pids, or for one more if they are low, unless that is under way. */
void pod_want_pids(struct world *w);

/* ---- session.c: session leaders ---- */
must_check int session_adopt(struct world *w);
/* Something was stored: a session that a predecessor has asked for? */
bool session_stored(struct world *w, const char *key);
void session_serve(struct world *w);
/* pandod is there (again): tell what it has not acknowledged. */
void session_tell_all(struct world *w);
void session_pids_came(struct world *w);
void session_exited(struct world *w, gpid pid, int status, uint64_t event);
unsigned session_count(const struct world *w);

/* ---- peers.c: guest kernels of other nodes ---- */
must_check int peers_open(struct world *w);
/* Calls @cb for each node that is connected. */
void peers_each(struct world *w, void (*cb)(void *arg, node_id node), void *arg);
/* The connection to the kernel on @node if it is up, else NULL. */
struct rpc_conn *peers_conn(struct world *w, node_id node);
/* Calls @fn once there is a connection, maybe at once. @err: -EHOSTDOWN there is none; -ENOMEM. */
typedef void (*peers_fn)(void *arg, int err, struct rpc_conn *c);
void peers_with(struct world *w, node_id node, peers_fn fn, void *arg);
/* Dials the nodes that somebody here has something for and that are not connected. */
void peers_look(struct world *w);
bool peers_alive(const struct world *w, node_id node);
/* For people; "?" if it is no node of the machine. */
const char *peers_name(const struct world *w, node_id node);
/*
 * Calls @cb for each node that is alive, has leased pids for this tenant, and is not connected:
 * what of the tenant executes is there, or where such a one is connected.
 */
void peers_each_other(struct world *w, void (*cb)(void *arg, node_id node), void *arg);
/* It is certain that nothing executes there any more. */
bool peers_gone(const struct world *w, node_id node);
/* The present life of @node; 0: it is not known. */
epoch_t peers_life(const struct world *w, node_id node);
/* What was there in its life @life has ended. */
bool peers_over(const struct world *w, node_id node, epoch_t life);

/* ---- kept.c ---- */
must_check int kept_open(struct world *w);

/* ---- pipes.c, pump.c, pipe_moves.c: what a process elsewhere reads and writes ---- */
must_check int pipes_open(struct world *w);
void pipes_connected(struct world *w, node_id node);
void pipes_disconnected(struct world *w, node_id node);
/* At home: relays the description @fd (taken). */
must_check int pipes_home(struct world *w, uint64_t id, node_id site, gpid pid, int fd,
			  bool process_writes);
struct pipes_end {
	uint64_t id;
	node_id home;
	gpid pid;
	bool process_writes;
	/* Of a process that has moved: where in the stream its end begins, what it holds. */
	uint64_t start;
	const void *bytes;
	size_t len;
};
/* At the site: returns the end that the process gets, the caller's to close. */
must_check int pipes_site(struct world *w, uint64_t id, node_id home, gpid pid,
			  bool process_writes);
must_check int pipes_end_make(struct world *w, const struct pipes_end *e);
/* It executes: bytes may flow. Not before, for who fails to exec must not have taken any. */
void pipes_go(struct world *w, gpid pid);
/* Everything that @pid has written is where its readers look for it. */
bool pipes_flushed(struct world *w, gpid pid);
/* Those of an exec that has not worked, or of a terminal. */
void pipes_drop(struct world *w, gpid pid, bool home);
/* Drops what a dead predecessor had begun for an exec that nobody knows. */
void pipes_sweep(struct world *w);
/*
 * Moves. Source: is @fd the end of a relay from home? Its bytes are good until the next call.
 * Has everything that @pid wrote here arrived at @home?
 */
bool pipes_find_end(struct world *w, int fd, struct pipes_end *out);
/* The same, and it is @pid's from now on: nothing is said or heard until it stays, or has left. */
bool pipes_hold_end(struct world *w, int fd, gpid pid, struct pipes_end *out);
void pipes_thaw(struct world *w, gpid pid); /* those that are held: it stays */
void pipes_left(struct world *w, gpid pid); /* they are copies now */
bool pipes_are_out(struct world *w, gpid pid, node_id home);
/* No home of a relay of its is still to be told that it has come here. */
bool pipes_are_told(struct world *w, gpid pid);
/* Target that is home: a description of the guests' own object. */
must_check int pipes_object(struct world *w, const struct pipes_end *e);
void pipes_came_not(struct world *w, gpid pid); /* it keeps its end, where it is */
/*
 * An exec that goes on to the node where what it writes to is. There: that, of the relay @id. Where
 * it comes from: the offset behind what lies in the end of that relay now, if there is one; has
 * @home all before it?
 */
must_check int pipes_output(struct world *w, uint64_t id);
bool pipes_mark(struct world *w, uint64_t id, node_id home, uint64_t *upto);
bool pipes_is_out(struct world *w, uint64_t id, node_id home, uint64_t upto);
/* Target: @pid executes here from now on. */
void pipes_came(struct world *w, gpid pid);
/* The same after an exec that @from has sent: those that are not relays of @from's. */
void pipes_came_along(struct world *w, gpid pid, node_id from);
/* What @pid writes elsewhere goes by here, into a relay of another node. */
bool pipes_pass_on(struct world *w, gpid pid);
/* Somebody of this node but the node's @pid that has an end of this pipe; 0: nobody. Any thread. */
gpid pipes_other_user(const struct world *w, ino_t ino, pid_t pid);
/* A relay to @node has something to say. */
bool pipes_want(const struct world *w, node_id node);
/* Who is in front of its terminal may have changed. */
void pipes_look_again(struct world *w);
/*
 * One direction of a terminal (ttys.h) between here and @peer: bytes of its description @fd, which
 * does not block (borrowed). @tag is below 0 and takes a pid's place. At the @owner what is read
 * (@is_out) goes by pipes_feed() alone: one read of @max bytes, of which 0 is the end of input
 * where @lines are read. That returns bytes, -EAGAIN, or -ENOENT.
 */
must_check int pipes_terminal(struct world *w, uint64_t id, node_id peer, gpid tag, bool owner,
			      bool is_out, int fd);
must_check int pipes_feed(struct world *w, uint64_t id, node_id peer, uint64_t max, bool lines);
bool pipes_has(struct world *w, uint64_t id, node_id peer, bool owner);
/*
 * The peer knows it now: bytes may flow. An owner's waits for this, or for the first word of its
 * carrier.
 */
void pipes_resume(struct world *w, uint64_t id, node_id peer, bool owner);
void pipes_drop_one(struct world *w, uint64_t id, node_id peer, bool owner);
/* For a successor: each terminal's relay towards the reader. */
void pipes_each_terminal(struct world *w, bool owner,
			 void (*cb)(struct world *w, gpid tag, node_id peer, uint64_t id));

/* ---- place.c: execs that leave ---- */
must_check int place_open(struct world *w);
bool place_wanted(const struct world *w); /* any thread */
void place_on(struct world *w, struct init_slot *s);
void place_exec(struct world *w, struct init_slot *s);
/* A magic call of one that is a stub already, which we are about to hear: answered then. */
bool place_hold(struct world *w, struct init_slot *s);
/* The nodes' loads have changed. */
void place_look(struct world *w);
/* A magic call of who is becoming a stub: true if it is kept until it is one. */
bool place_magic(struct world *w, struct init_slot *s);
/* An exec of @pid is on its way, or its process is elsewhere. */
bool place_has(const struct world *w, gpid pid);

/* An exec of a child of @parent is on its way from here. */
bool place_of_child(const struct world *w, gpid parent);
/* An exec of it is being placed: the node's pid of the caller; 0: none is. */
pid_t place_pid(const struct world *w, gpid pid);
/* What it executes runs elsewhere; the caller is just becoming its stub. */
bool place_runs_there(const struct world *w, gpid pid);
static inline bool place_is_busy(const struct world *w, gpid pid)
{
	return place_pid(w, pid) != 0;
}

/* ---- place_turns.c ---- */
void place_turns_look(struct world *w); /* by turns_look() */

/* ---- follow.c: the record of one that an exec has sent on from here ---- */
void follow_open(struct world *w);
/* There may be one. */
void follow_look(struct world *w);
struct mig_msg;
/* A RECORD. False: nobody here has asked for it. */
bool follow_record(struct world *w, const struct mig_msg *m);

/* ---- remote.c: stubs of processes elsewhere ---- */
/* As stubs_ops.signal, for a stub of either kind. */
must_check bool remote_signal(struct world *w, struct stub *s, int signo, const siginfo_t *si,
			      uint64_t key);
void remote_stub_died(struct world *w, struct stub *s);
/* Before stubs_take(): signals that it has told of go on without it. */
void remote_forget_stub(struct world *w, const struct stub *s);
/* The process is coming back into its stub: nobody is told of anything any more. */
void remote_drop(struct world *w, struct stub *s);
/* A process has left and has become its stub, whose place is here; @life of its site. Errors:
 * -ENOSPC, -ESRCH. */
must_check int remote_left(struct world *w, gpid pid, node_id site, epoch_t life);
/* Its record says that it executes there now. */
void remote_moved(struct world *w, gpid pid, node_id site);
/* Of a relative: the stub dies as its process did. */
must_check int remote_end_kin(struct world *w, struct stub *s, int status);
/* A signal from another node goes on to where the process is. */
struct Peer__Raise;
must_check int remote_pass(struct world *w, const struct stub *s, const struct Peer__Raise *q);
/* A relative's stub has died, and not because we told it to. */
void remote_kin_killed(struct world *w, const struct stub *s);
/* The stub becomes the process: its pidfd is the caller's. */
int remote_take(struct world *w, struct stub *s);
bool remote_want(const struct world *w, node_id node);
/* The stub of @pid is here, and the node where it executes lives. */
bool remote_is_well(struct world *w, gpid pid);

/* ---- site.c: execs that come ---- */
must_check int site_open(struct world *w);
/* @node has a stub of @pid, which has a task here: it is told how that ends. Errors: -ESRCH. */
must_check int site_guest_add(struct world *w, gpid pid, node_id node);
void site_guest_drop(struct world *w, gpid pid, node_id node);
/* The nodes that are told how @pid ends: on the heap, or NULL; *n of them. */
uint32_t *site_hearers(struct world *w, gpid pid, size_t *n);
/* It has left, and its home is over: who heard of it from us looks for it again. */
void site_guest_left(struct world *w, gpid pid);
/* The same for one that is known to be there. */
struct proc;
must_check int site_guest_seen(struct world *w, const struct proc *p, node_id node);
/* @node is still to be told how @pid ends. */
bool site_hears(struct world *w, gpid pid, node_id node);
/* Has the node that leased @pid tell us how it ends. @err -ESRCH: it has. May call at once. */
typedef void (*held_fn)(void *arg, int err);
void site_hold(struct world *w, gpid pid, held_fn done, void *arg);
/* A parent has come, left, or stayed: who waits for its children? */
void site_look_again(struct world *w);
/* The children of the stub that have ended and that nobody is told of. */
void site_reap_rest(struct world *w, struct stub *s);
/*
 * @pid, if it is a zombie that is nobody's business. Newer hosts hide the zombies of stubs (which
 * are undumpable) from us: /proc does not tell.
 */
void site_reap_one(struct world *w, struct stub *s, gpid pid);
/* A process of another home that is here, or whose end is not told yet. */
bool site_has_guest(struct world *w, gpid pid);
/* An exec has sent it here from a node that had not leased its pid, and its record is still there.
 */
bool site_was_sent_on(struct world *w, gpid pid);
/* Somebody is being told how it ends or stops, or is to be. */
bool site_is_telling(struct world *w, gpid pid);
/* It has left for good: nobody hears of it from us any more. */
void site_guests_drop(struct world *w, gpid pid);
bool site_want(const struct world *w, node_id node);
/* A child of the stub has changed. */
void site_reap(struct world *w, struct stub *s);
void site_stub_died(struct world *w, struct stub *s);

/* ---- kin.c: stubs of the relatives of who arrives ---- */
struct kin_plan;
struct Peer__Task;
struct kin_making {
	struct list link; /* in arrivals, or of who waits for its turn */
	struct world *w;
	gpid pid; /* who arrives */
	node_id from;
	struct Peer__Task *const *kin; /* borrowed until done; itself, its relatives and theirs */
	size_t n_kin;
	/* @err 0: all are there, `stub` is its own; else `why` may say why. */
	void (*done)(struct kin_making *k, int err);
	const char *why;
	struct stub *stub;
	bool was_there; /* it was not made for this */
	bool has_rest;  /* its stub may have children that its process has not */
	unsigned retries;
	void (*turn)(struct kin_making *k); /* turns.c */
	uint64_t turn_until_ns;
	struct loop_timer again;
	struct kin_plan *plan;
	/* hear.c */
	unsigned hears; /* answers that are missing */
	int hear_err;
	void (*heard)(struct kin_making *k, int err);
};
/* Fill in the upper half. done() may be called at once. */
void kin_make(struct kin_making *k);
/*
 * When all are there: its stub is to wait for its children that its process does not have, for that
 * has waited for them, or they stood for a leader that has ended. Errors: of reading /proc.
 */
must_check int kin_add_waits(const struct kin_making *k, struct stub_table *t);
/* Starts the zygote, unless it is there. */
void kin_zygote(struct world *w);
/*
 * Relatives of who arrives here by exec: those of other homes than the sender's are asked to tell.
 * @heard is called, maybe at once, when its children are known to be heard of; -EAGAIN: one has
 * ended, and its node is telling that where it comes from.
 */
void kin_hear(struct kin_making *k, void (*heard)(struct kin_making *k, int err));
/* One such stub, which is there. */
void kin_hear_one(struct world *w, gpid pid, node_id from);
/* Who arrives has @pid for a relative, whose stub may be made in a moment. */
bool kin_is_making(gpid pid);
/* Whose children the stubs here are: who waits for one that has ended. */
void kin_find_parents(struct world *w);
/* Something was stored: the zygote that a predecessor has asked for? */
bool kin_stored(struct world *w, const char *key);
/* After a predecessor's death: finds its stubs. */
must_check int kin_adopted(struct world *w);
/* Drops the stubs that nobody here needs. */
void kin_tidy(struct world *w);
/* A stub that has stopped as its process did makes no calls: it goes on, for good. */
void kin_wake(struct world *w, struct stub *s);
/* In a moment: who comes next may need the same. */
void kin_tidy_soon(struct world *w);

/* ---- turns.c ---- */
/* True: its relatives are on their way here or from here; @again is called when that is over. */
bool turns_await(struct kin_making *k, void (*again)(struct kin_making *k));
/* A move, an exec that leaves or a stub's new beginning is over: who waits for it looks again. */
void turns_look(struct world *w);

/* ---- tell.c ---- */
/* A process, its relatives and children, and theirs. On the heap; free with kin_free(). */
must_check int kin_describe(struct world *w, gpid pid, struct Peer__Task ***out, size_t *n);
/* The same of a list that is there. */
must_check int kin_describe_in(struct world *w, const struct proc_list *l, gpid pid,
			       struct Peer__Task ***out, size_t *n);
void kin_free(struct Peer__Task **v, size_t n);
/* How a zombie (the node's pid) has ended, as wait(2) gives it. */
int kin_zombie_status(const struct world *w, pid_t pid);

/* ---- far.c: calls that look at a process of another node ---- */
void far_open(struct world *w);
bool far_concerns(const struct world *w, const struct init_slot *s); /* any thread */
/* getpgid, getsid and getpriority. */
void far_call(struct world *w, struct init_slot *s);

/* ---- reapers.c: sub-reapers (PR_SET_CHILD_SUBREAPER), and what they get from other nodes ---- */
must_check int reapers_open(struct world *w);
/* @pid, a process or a stub of this node, is one, or none any more. */
void reapers_set(struct world *w, gpid pid, bool on);
bool reapers_has(const struct world *w, gpid pid);
/*
 * @dead was a child of @parent: what the sub-reaper above has got, as far as that executes on
 * another node. @to is told how they end. Free with kin_free().
 */
void reapers_orphans(struct world *w, gpid dead, gpid parent, node_id to, struct Peer__Task ***out,
		     size_t *n);
struct Peer__Changed;
/*
 * The stub of who has ended bears those of its orphans that have no task here. Then @done, which
 * takes @q, as does this if it returns true. False: there are none.
 */
typedef void (*reapers_fn)(struct world *w, struct Peer__Changed *q, node_id from,
			   struct rpc_call *call);
must_check bool reapers_bear(struct world *w, struct Peer__Changed *q, node_id from,
			     struct rpc_call *call, reapers_fn done);

/* ---- usage.c, waits.c: what was used on other nodes ---- */
struct rusage;
must_check int usage_open(void);
/* The call may have to be answered with it. Any thread. */
bool usage_concerns(const struct world *w, const struct init_slot *s);
/* wait4, waitid, getrusage and times. */
void usage_call(struct world *w, struct init_slot *s);
/* A process has ended elsewhere: before that is told to its stub. */
void usage_told(struct world *w, const struct Peer__Changed *q);
/*
 * @fn is called when no wait that is under way above @s will miss what that has used: maybe at
 * once.
 */
typedef void (*usage_fn)(struct world *w, gpid pid);
void usage_ready(struct world *w, const struct stub *s, usage_fn fn);
/* Adds what @pid and its children have used elsewhere. */
void usage_add(struct world *w, gpid pid, struct rusage *to);
void usage_put(const struct kept_used *u, struct rusage *to);
/* No thread of it (the node's pid) is seized by us when this returns. Not the loop's thread. */
void usage_let_go(pid_t pid);

/* ---- authority.c: records of who executes what ---- */
struct mig_msg;
must_check int authority_open(struct world *w);
/* The node that keeps the record of @pid; NODE_NONE: not known yet. */
node_id authority_of(const struct world *w, gpid pid, uint64_t *aterm);
/*
 * The node that has leased @pid, and has a task of it as long as it lives. NODE_NONE: not known
 * yet, or that node has died: then home_is_over(), and whoever executes it tells how it ends.
 */
node_id home_of(const struct world *w, gpid pid);
bool home_is_over(const struct world *w, gpid pid);
/* Whether @node has leased pids, as it does before it executes anything of the tenant. */
bool home_is_somewhere(const struct world *w, node_id node);
/* Who keeps which pids has changed: are we somebody's heir? */
void authority_look(struct world *w);
void authority_message(struct world *w, const struct mig_msg *m);
/* STAND; a FENCE that was accepted (fence.c). */
void authority_stand(struct world *w, const struct mig_msg *m);
void authority_fenced(struct world *w, const struct mig_msg *m);
/* What a record that is kept here says; NODE_NONE: there is none. */
node_id authority_site(const struct world *w, gpid pid);
/* Before a process of this node asks for its own: is its record of an earlier life? */
void authority_check(struct world *w, gpid pid);

/* ---- fence.c: what executes here, told to a new authority ---- */
/* The highest term of an authority of @pid that has fenced us. */
uint64_t fence_of(const struct world *w, gpid pid);
void fence_message(struct world *w, const struct mig_msg *m);

/* ---- move.c, leave.c, come.c, why.c: moves of running processes ---- */
struct moved {
	int err;
	const char *why; /* completes "cannot move it: " */
	const char *try_next;
	uint64_t freeze_ns;
	uint64_t bytes;
};
typedef void (*moved_fn)(void *arg, const struct moved *m);
must_check int move_open(struct world *w);
/*
 * Calls @done, maybe at once. @by_itself: a thread of @pid has asked, and waits for the answer in a
 * call that no stop breaks. So it is told 0 when it stops; if it does not move after all, the log
 * says why.
 */
void move_start(struct world *w, gpid pid, node_id to, bool by_itself, moved_fn done, void *arg);
/* Somebody, or @pid, is on the way from here or to here. */
bool move_is_any(void);
bool move_is_busy(const struct world *w, gpid pid);
/*
 * It is neither here nor there yet: the process here may still go on, or does not run here yet. For
 * what goes @to the node that it has left (NODE_NONE: to none) also until it is a stub there.
 */
bool move_is_between(const struct world *w, gpid pid, node_id to);
bool come_is_between(const struct world *w, gpid pid, node_id to);
/* The copy here is void: it executes elsewhere, or soon will. */
/* The site of a process that is coming here has told that it ended there. */
void come_ended(struct world *w, gpid pid);
bool come_is_any(void);
bool come_is_busy(const struct world *w, gpid pid);
bool leave_is_lost(const struct world *w, gpid pid);
/* A thread of a process that is leaving. */
bool leave_is_of(const struct world *w, pid_t tid);
/* The connection to @node is lost. */
void move_disconnected(struct world *w, node_id node);
/* What forbids a move, and what it would cost. */
typedef void (*why_fn)(void *arg, int err, const char *reasons, uint64_t bytes, uint64_t freeze_ns);
void move_why(struct world *w, gpid pid, why_fn done, void *arg);

/* ---- control.c: the tenant's control socket ---- */
must_check int control_open(struct world *w);
/* Takes the socket out of the store, if it is there. */
void control_listen(struct world *w);
/* A connection to pandod is up: what waited for one is asked. */
void control_pod_came(struct world *w);

/* ---- ps.c: the list of processes ---- */
void ps_serve(struct world *w);
/* How many of @l execute here. What has ended does not: it waits for its parent only. */
unsigned ps_executing(struct world *w, const struct proc_list *l);

/* ---- answers.c: what pandod may ask ---- */
void answers_serve(struct world *w);
/* rpc_reply() that logs what goes wrong; @call may be NULL (a one-way message). */
void answers_reply(struct rpc_call *call, int err, const struct rpc_msg *m);

#endif
