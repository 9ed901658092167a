/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod.h - the parts of pandod and what they ask of each other. One thread, one loop.
 *
 *	pod.c       start and end
 *	member.c    being a node of a machine: bootstrap, join, invitations
 *	leave.c     leaving
 *	life.c      this node's life and lease; announced deaths
 *	gossip.c    which nodes answer, and since when
 *	peers.c     connections to the other nodes, how loaded they are
 *	world.c     tenants' worlds on this node: start, adopt, lease, end
 *	quota.c     what they may use of it
 *	volume.c    their files
 *	meter.c     what they have used
 *	kern.c      the guest kernel of a world: its process and what it asks
 *	ask.c       requests to guest kernels on their way, or on other nodes
 *	session.c   sessions: start, end, status
 *	drain.c     emptying a node
 *	balance.c   moving programs off a node that is short of CPU
 *	agent.c     ssh agents of sessions' clients
 *	attach.c    sessions on terminals: which there are, their lines
 *	ssh.c       logins over ssh: sshd, who may, which key
 *	relay.c     connections between guest kernels of two nodes
 *	api*.c      the control API; api_inside.c: for tenants, over their guest kernels
 *	events.c    what happened, for who asks
 *
 * Errors: -errno. What a kernel or a peer says is checked where it comes in.
 */
#ifndef CMD_PANDOD_POD_H
#define CMD_PANDOD_POD_H

#include <limits.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/rand.h"
#include "cmd/pandod/args.h"
#include "cmd/ctl/ctl.h"
#include "kernel/kernel.h"
#include "cmd/tenant/tenant.h"
#include "naming/naming.h"
#include "quota/cgroup/cgroup.h"
#include "rpc/rpc.h"

#define POD_METHOD(n) ((uint32_t)'P' << 16 | (n))

enum pod_method {
	POD_JOIN = POD_METHOD(1),    /* JoinAsk -> JoinTicket; joiners only */
	POD_NAMING = POD_METHOD(2),  /* one-way: a message of naming */
	POD_LOAD = POD_METHOD(3),    /* one-way Load */
	POD_FORWARD = POD_METHOD(4), /* Forward -> Forwarded */
	POD_PEER = POD_METHOD(5),    /* PeerAsk -> PeerOffer */
	POD_STOP = POD_METHOD(6),    /* TenantStop -> Empty */
	POD_USE = POD_METHOD(7),     /* one-way Use */
	POD_USAGE = POD_METHOD(8),   /* UsageAsk -> Usage */
	POD_GOSSIP = POD_METHOD(9),  /* one-way: a message of naming/member */
	POD_LEASE = POD_METHOD(10),  /* one-way Lease */
	POD_SCHED = POD_METHOD(12),  /* (empty) -> Decisions */
};

enum {
	POD_PORT = 7300,
	POD_ASK_MS = 10000,  /* patience with another daemon */
	POD_LOAD_MS = 250,   /* between two Load messages */
	POD_SILENT_MS = 2500 /* a node that says nothing for so long gets nothing to do */
};

struct pod {
	const struct args *args;
	struct loop *loop;
	char run[PATH_MAX];  /* D/N/run */
	char data[PATH_MAX]; /* D/N/data */
	char group[CGROUP_PATH_MAX];
	char lib[PATH_MAX]; /* where our programs are */
	struct cgroup_host *cgroups;
	struct ctl_server *api;
	struct rpc *kernels; /* guest kernels of this node: local, each speaks for one tenant */
	struct naming *naming;
	struct rand rand;
	struct buf filter; /* the guests' seccomp program */
	struct list worlds;
	struct list sessions; /* session.c */
	struct pod_member *member;
	struct peers *peers;
	struct leave *leave;
	struct life *life;
	struct gossip *gossip; /* NULL: this node has no life yet */
	struct relay *relay;
	struct quota *quota;
	struct ssh *ssh;
	struct meter *meter;
	struct list ready_waiters; /* api_node.c */
	uint64_t api_requests;     /* since the start */
	struct events *events;
	struct balance *balance;
	unsigned losing; /* lost.c: tenants whose pids are just given up */
	bool left;       /* this node left the machine: end for good */
};

/* ---- member.c ---- */
must_check int member_open(struct pod *p);
void member_close(struct pod *p);
/* Naming's callbacks. */
extern const struct naming_ops member_naming_ops;
const char *member_name(const struct pod *p); /* of this node */
/* This node has a leader, its own row and its lease: it may promise things. */
bool member_in_touch(const struct pod *p);
/* Starts to listen where the tables (or @addr) say. */
must_check int member_listen(struct pod *p, const char *addr);

typedef void (*member_done_fn)(void *arg, int err, const char *why);
void member_bootstrap(struct pod *p, const char *machine, const char *addr, const char *volumes,
		      bool mounted, member_done_fn done, void *arg);
/* @listen may be "": the address by which we reach @addr. */
void member_join(struct pod *p, const char *addr, const char *token, const char *listen,
		 member_done_fn done, void *arg);
/* A one-time token; @out of 160 bytes is filled before done comes with 0. */
void member_invite(struct pod *p, uint64_t ttl_s, unsigned uses, char *out, member_done_fn done,
		   void *arg);

/* ---- leave.c ---- */
must_check int leave_init(struct pod *p);
void leave_fini(struct pod *p);
/* Has the node leave, if nothing executes here. What has begun goes on, whatever @done is told. */
void leave_ask(struct pod *p, member_done_fn done, void *arg);
/* The tables of nodes changed. */
void leave_tables(struct pod *p);
/* It is being tried, or has begun: no new life of this node begins. */
bool leave_goes_on(const struct pod *p);
/* Why the last try did not end it; "". */
const char *leave_why(const struct pod *p);

/* ---- life.c ---- */
struct world;
must_check int life_init(struct pod *p);
/* Goes on with the life that an earlier pandod was in, and its worlds. */
void life_start(struct pod *p);
void life_fini(struct pod *p);
/* This daemon has just made the node a member. */
void life_joined(struct pod *p);
/*
 * Nothing executes here any more: this life is announced over, and its worlds end. Who was born
 * here and lives elsewhere goes on as after this node's death.
 */
void life_give_up(struct pod *p, member_done_fn done, void *arg);
/* The present life of this node; 0: it has none. */
epoch_t life_epoch(const struct pod *p);
/* It has, and the leader has confirmed it not long ago: worlds may start. */
bool life_is_held(const struct pod *p);
/* Since when (1970) no leader answers; 0: one does. */
uint64_t life_cut_since_ms(const struct pod *p);
/* Tells the world's pando-init what is left of the lease. */
void life_tell(struct world *w);
/* A world has begun: learns by which clock its pando-init counts. -errno. */
must_check int life_world_clock(struct world *w);
/* Naming's role or leader is another. */
void life_status(struct pod *p);
/* Something of the tenant runs on some node: every world has a row of the ledger as long as it is.
 */
struct naming_core;
struct naming_block;
bool life_runs_somewhere(const struct naming_core *k, tenant_id t);
/*
 * Who is to keep the records of @b instead of its authority: a node that is open and has a world of
 * its tenant; NODE_NONE: there is none.
 */
node_id life_heir(const struct naming_core *k, const struct naming_block *b);
/* To @heir, or, NODE_NONE, back to the machine. Errors: as naming_propose(). */
must_check int life_give_block(struct pod *p, const struct naming_block *b, node_id heir,
			       naming_done_fn done, void *arg);
/* Another node's Lease. */
void life_heard(struct pod *p, node_id from, const void *body, size_t len);

/* ---- gossip.c ---- */
void gossip_begin(struct pod *p, epoch_t epoch);
void gossip_fini(struct pod *p);
/* The tables of nodes changed. */
void gossip_tables(struct pod *p);
void gossip_heard(struct pod *p, node_id from, const void *body, size_t len);
enum gossip_state {
	GOSSIP_UNKNOWN = 0,
	GOSSIP_ALIVE,
	GOSSIP_SUSPECT,
	GOSSIP_SILENT, /* for so long that nobody who hears it can be about */
};
/* @since_ms: since 1970; 0: not known. */
enum gossip_state gossip_of(const struct pod *p, node_id id, uint64_t *since_ms);

/* ---- peers.c ---- */
must_check int peers_init(struct pod *p);
void peers_fini(struct pod *p);
/* The tables of nodes changed: dial who is new, drop who left. */
void peers_sync(struct pod *p);
/* One-way, best effort. */
void peers_say(struct pod *p, node_id to, const struct rpc_msg *m);

struct peer_load {
	bool alive;
	uint32_t cpu_milli, load_milli;
	uint64_t memory_bytes, free_bytes;
};
/* What is known of a node, ourselves included. */
void peers_load(const struct pod *p, node_id id, struct peer_load *out);
/* It has said nothing yet, and this daemon began less than POD_SILENT_MS ago: nothing is known. */
bool peers_unheard(const struct pod *p, node_id id);
/* Where one more program of a tenant should run. @why, if not NULL, is set to static words. */
node_id peers_place(struct pod *p, node_id here, const char **why);
/* What is known of all nodes, for kernel/sched: at most @max, and how many. */
struct sched_node;
unsigned peers_vector(const struct pod *p, struct sched_node *out, unsigned max);

typedef void (*peers_done_fn)(void *arg, int err, const struct rpc_msg *m);
/* A request to another node. Never calls @done from inside. -ENOTCONN, -ENOMEM, -EBUSY. */
must_check int peers_request(struct pod *p, node_id to, const struct rpc_msg *m, peers_done_fn done,
			     void *arg);

/* One-way, to every member that is connected. */
void peers_tell(struct pod *p, const struct rpc_msg *m);

/* ---- world.c ---- */
enum world_state {
	WORLD_NEW = 0,
	WORLD_STARTING, /* its init runs, the kernel is not ready */
	WORLD_READY,
	WORLD_ENDED, /* init is gone; freed when nobody waits */
};

struct world {
	struct list link;
	struct pod *pod;
	tenant_id id;
	char name[TENANT_NAME_MAX];
	enum world_state state;
	struct tenant *t;
	struct loop_fd control;
	struct loop_child init_watch;
	int64_t clock_offset_ns; /* its CLOCK_BOOTTIME minus ours */
	struct list waiters;
	struct loop_timer settle; /* calls the waiters */
	bool refusing;            /* they get end_err; the world goes on trying */
	int end_err;
	char end_why[TENANT_WHY_MAX];
	/* kern.c */
	struct rpc_conn *kernel;
	struct list asks; /* that it has not answered */
	int kernel_pidfd;
	int kernel_pid;
	bool kernel_watched;
	struct loop_child kernel_watch;
	struct loop_timer kernel_restart;
	unsigned kernel_backoff_ms;
	uint64_t kernel_started_ns;
	unsigned kernel_deaths;
	unsigned kernel_failures; /* deaths in a row without a word */
	uint8_t *told;            /* the last Nodes that this kernel was told; NULL: none */
	size_t told_len;
};

/* The running world of a tenant, or NULL. */
struct world *world_find(const struct pod *p, tenant_id id);
typedef void (*world_fn)(void *arg, struct world *w, int err, const char *why);
/*
 * Calls @cb when the tenant's kernel on this node answers; starts what is missing. Never from
 * inside. @w is NULL on error.
 */
void world_get(struct pod *p, tenant_id id, world_fn cb, void *arg);
/* Finds the worlds that an earlier pandod left. */
void world_adopt_all(struct pod *p);
/* Ends those of an earlier life of this node. 0: none of them runs. */
must_check int world_clear_all(struct pod *p);
/* Ends all worlds. Errors: one cannot be ended, the last one's. */
must_check int world_stop_all(struct pod *p);
/* Ends a tenant's world. Blocks for tens of milliseconds. 0 if none runs. */
must_check int world_stop(struct pod *p, tenant_id id, char why[TENANT_WHY_MAX]);
/* Ends the worlds of tenants that are not in the tables any more. */
void world_drop_removed(struct pod *p);
void world_fini_all(struct pod *p);
/* For kern.c: the kernel answers, or the world cannot go on. */
void world_ready(struct world *w);
void world_failed(struct world *w, int err, const char *why);
/* Whoever waits is refused; the world stays, and what failed is tried again. */
void world_refuse(struct world *w, int err, const char *why);

/* One of @id that runs here without our knowing is adopted: 0. Errors: -ENOENT, none does. */
must_check int world_look_for(struct pod *p, tenant_id id);

/* ---- lost.c: worlds whose pando-init has died while the node lives on ---- */
/* Pids of @t are kept here, by a world of this life. */
bool lost_has(const struct pod *p, tenant_id t);
/* Such a world is no more, and its pids are not given up yet. */
bool lost_is_any(const struct pod *p);
/* The pids of @t, which has no world here, are given up; then @done. Errors: as naming_propose().
 */
must_check int lost_give_up(struct pod *p, tenant_id t, member_done_fn done, void *arg);
/* Those of all worlds that are no more. */
void lost_look(struct pod *p);
/*
 * A life of a node, as guest kernels know it: what was in a world that it has lost in this life is
 * of one less to them, so over (cmd/pando-kernel/kin/deaths.h).
 */
static inline epoch_t lost_life(epoch_t epoch)
{
	return 2 * epoch;
}

/* From quota.c, once after quota_open(): it may start, or why not. */
void world_lent(struct world *w, int err, const char *why);

/* ---- quota.c ---- */
must_check int quota_init(struct pod *p);
void quota_fini(struct pod *p);
/* A world is wanted: asks for its loan, then world_lent(). Never from inside. */
void quota_open(struct world *w);
/* A world was found: it is held to what it was, until the ledger says more. */
void quota_adopt(struct world *w);
/* To what it is to be held from its start. */
void quota_limits(const struct world *w, struct cgroup_limits *out);
void quota_started(struct world *w);
/* The world has ended. Its loan goes back when nothing of it runs any more. */
void quota_close(struct world *w);
/* Rows of the tables changed. */
void quota_tables(struct pod *p, uint32_t kinds);
/* Another node's Use. */
void quota_heard(struct pod *p, node_id from, const void *body, size_t len);
/* Tells a kernel that has just begun what its tenant may use. */
void quota_introduce(struct world *w);

/* ---- volume.c ---- */
/* Before a world starts: its files are where they are looked for. */
must_check int volume_prepare(struct pod *p, const struct naming_tenant *t,
			      char why[TENANT_WHY_MAX]);
/* Why a limit cannot be what was asked for, and what could be asked for instead. */
struct volume_no {
	char why[128];
	char try_next[128];
};
/*
 * Whether the limit of the account @name, which may be one to be, can become @bytes (0: none); done
 * here if a node of this host has it mounted. Else @no and -EBUSY, -EINVAL or -errno.
 */
must_check int volume_resize(struct pod *p, const char *name, uint64_t bytes, struct volume_no *no);
/* The limit that files of this name have already, be there such an account or not; 0: none. */
uint64_t volume_has(const struct pod *p, const char *name);
/* The limit may have been raised. */
void volume_follow(struct pod *p, const struct naming_tenant *t);
/* -ENOENT: nobody counts. */
must_check int volume_used(const struct pod *p, const char *name, uint64_t *bytes);
/* No world of the tenant is here any more. */
void volume_release(struct pod *p, const char *name);

/* ---- meter.c ---- */
struct meter_rec; /* quota/core/meter.h */
must_check int meter_init(struct pod *p);
void meter_fini(struct pod *p);
/* Once a second. */
void meter_tick(struct pod *p);
/* A process of the tenant was moved, and so many bytes with it. */
void meter_moved(struct pod *p, tenant_id t, uint64_t bytes);
/* What tenants have used here since then, in pieces that the caller adds up. */
typedef void (*meter_fn)(void *arg, const struct meter_rec *rec);
must_check int meter_usage(struct pod *p, uint32_t since_s, meter_fn fn, void *arg);
/* Another node's UsageAsk. */
void usage_answer(struct pod *p, struct rpc_call *call, const void *body, size_t len);

/* ---- kern.c ---- */
void kern_serve(struct pod *p);
/* Starts a kernel, or takes over the one that runs. */
must_check int kern_begin(struct world *w, bool adopted, char why[TENANT_WHY_MAX]);
void kern_end(struct world *w);
/* Tells all kernels what is known of the nodes. */
void kern_tell_nodes(struct pod *p);
/* One request to the world's kernel. @done as in rpc.h, never from inside. */
must_check int kern_request(struct world *w, uint32_t method, const void *body, size_t len,
			    const int *fds, unsigned fd_count, rpc_done_fn done, void *arg);

/* ---- ask.c ---- */
/*
 * kern_request() without descriptors, to a kernel that may just be on its way: the request waits
 * for it. One that only asks is repeated if the kernel dies over it. Errors at once: -ESRCH the
 * tenant has no world here, -EAGAIN it has one but our tables do not know it (yet, or any more),
 * -ENOMEM.
 */
must_check int kern_request_here(struct pod *p, tenant_id t, uint32_t method, const void *body,
				 size_t len, rpc_done_fn done, void *arg);
/* The same on the node where @node says. */
must_check int kern_request_at(struct pod *p, node_id node, tenant_id t, uint32_t method,
			       const void *body, size_t len, rpc_done_fn done, void *arg);

/* ---- session.c ---- */
void session_start(struct pod *p, struct ctl_req *r, const struct naming_tenant *t);
void session_wait(struct pod *p, const struct naming_tenant *t, uint64_t id, struct ctl_req *r);
void session_signal(struct pod *p, const struct naming_tenant *t, uint64_t id, struct ctl_req *r);
/* A kernel answers: learns of the sessions that an earlier pandod started. */
void session_adopt(struct world *w);
/* From kern.c: a kernel said that a session ended. */
void session_ended(struct world *w, uint64_t id, int pid, int status, uint64_t event, bool tty);
/* The world is gone: so are its sessions. */
void session_world_ended(struct world *w);

/* ---- drain.c ---- */
/* This node is closed for what is new: then @r, which asks for a session of @tenant, is refused. */
bool drain_refuses(struct pod *p, struct ctl_req *r, const char *tenant);
/* Ends the worlds on this node, if it is drained or leaves, in which nothing executes and of which
 * nobody has anything open; if some are still the place of processes elsewhere, with the node's
 * life. 0, or -EBUSY and why one is needed. Never from inside. */
void drain_clear(struct pod *p, member_done_fn done, void *arg);

/* ---- balance.c ---- */
must_check int balance_init(struct pod *p);
void balance_fini(struct pod *p);
/* A program was placed on another node at its exec. @command: a guest chose it. */
void balance_placed(struct pod *p, tenant_id t, int pid, const char *command, node_id to,
		    const char *why);
/* Another node's question. */
void balance_answer(struct pod *p, struct rpc_call *call);

/* ---- agent.c: where programs of a session find the ssh agent of its client ---- */
/* "/run/pando/agent.ID" as they see it. */
void agent_path(uint64_t session, char out[64]);
/* Makes the socket, in place of an older one. Returns the listening descriptor, or -errno. */
must_check int agent_listen(struct world *w, uint64_t session);
void agent_forget(struct world *w, uint64_t session);

/* ---- attach.c: sessions on terminals, wherever they are ---- */
/* @rows: {session, number, pid, node, node_id, started_ms, detached_ms}, borrowed. @complete: every
 * node that is alive has answered. */
typedef void (*roll_fn)(void *arg, json_t *rows, bool complete);
/* Asks all nodes for the tenant's sessions on terminals. Calls @done once, never from inside. */
void roll_call(struct pod *p, tenant_id t, roll_fn done, void *arg);
void attach_list(struct pod *p, struct ctl_req *r, const struct naming_tenant *t);
/* Gives the caller the line of a session, wherever it is. */
void attach_session(struct pod *p, const struct naming_tenant *t, uint64_t id, struct ctl_req *r);

/* ---- ssh.c: our own instance of the stock sshd ---- */
enum ssh_role { SSH_ROLE_LOGIN = 1, SSH_ROLE_HELPER };
must_check int ssh_init(struct pod *p);
void ssh_fini(struct pod *p);
/* The tables of tenants changed: so does who may log in. */
void ssh_changed(struct pod *p);
/* Where it listens, "127.0.0.1:2222"; "": nowhere. */
const char *ssh_addr(const struct pod *p);
/* A key of @tenant by the hash of its blob, hexadecimal: answers @r. */
void ssh_find_key(struct pod *p, struct ctl_req *r, const char *tenant, const char *hash);

/* ---- relay.c ---- */
must_check int relay_init(struct pod *p);
void relay_fini(struct pod *p);
must_check int relay_listen(struct pod *p, const char *node_addr);
/* A kernel asks for a connection to its tenant's kernel on @node: answers @call. */
void relay_open(struct world *w, node_id node, struct rpc_call *call);
/* Tells a kernel that has just begun who it is to kernels of other nodes. */
void relay_introduce(struct world *w);
/* Another node's pandod asks for the same towards us: answers @call. */
void relay_offer(struct pod *p, node_id from, tenant_id t, struct rpc_call *call);

/* ---- events.c ---- */
must_check int events_init(struct pod *p);
void events_fini(struct pod *p);
/* Takes @facts: an object, or NULL. @tenant: who may see it besides the operator; TENANT_NONE: all.
 */
void events_add(struct pod *p, const char *kind, tenant_id tenant, json_t *facts);
/* Rows of the tables changed, as naming_ops.changed says. */
void events_tables(struct pod *p, uint32_t kinds, uint32_t id);
/* Our leader may be another. */
void events_leader(struct pod *p);
/* The newest event: what is asked for behind it is yet to happen. */
void events_cursor(const struct pod *p, uint64_t *life, uint64_t *number);
/* How many there were since the start, and how many follow. */
void events_figures(const struct pod *p, uint64_t *added, unsigned *followers);

/* ---- api.c ---- */
must_check int api_init(struct pod *p);
/* The tables or our role changed: somebody may be waiting for it. */
void api_changed(struct pod *p);
/* "cannot start ...": a refusal with the status that stands for @err. */
void api_refuse(struct ctl_req *r, int err, const char *try_next, const char *why);
/* The tenant of that name; else NULL, and the request is answered, or will be handled again. */
const struct naming_tenant *api_tenant(struct pod *p, struct ctl_req *r, const char *name);
/* api_inside.c: ApiAsk of a guest kernel; its connection is gone. */
void api_inside(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m);
void api_inside_gone(const struct world *w);
void api_processes(struct pod *p, struct ctl_req *r);
void api_migrate(struct pod *p, struct ctl_req *r, int pid);
void api_why(struct pod *p, struct ctl_req *r, int pid);
/* api_key.c */
void api_key_add(struct pod *p, struct ctl_req *r, const struct naming_tenant *t);
void api_key_list(struct pod *p, struct ctl_req *r, const struct naming_tenant *t);
void api_key_remove(struct pod *p, struct ctl_req *r, const struct naming_tenant *t,
		    const char *hex);
void api_tenant_detached(struct pod *p, struct ctl_req *r, const struct naming_tenant *t);

#endif
