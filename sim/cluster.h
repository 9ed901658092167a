/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster.h - one tenant's machine of a few nodes in a simulated world.
 *
 * Each node has a host (host.h); a pandod: its life and lease (pod.c, naming/member/core/lease.h),
 * its naming replica (name.c: naming/raft on the disks of disk.c), what it does with naming
 * (registry.c), gossip (gossip.c, naming/member/core/member.h); and a guest kernel (kernel.c;
 * moves.c, records.c, stubs.c, exits.c) that drives migrate/core. `truth` is what a guest's
 * programs know of themselves; the checkers (check*.c) hold the hosts against it.
 *
 * A node's memory is in four parts, and a fault takes one or more of them:
 *	kernel   dies with the guest kernel
 *	pod      dies with pandod
 *	store    pando-init's: outlives both, dies with the host
 *	host     tasks: run on when the daemons die, die with the host
 * Disks outlive them all.
 */
#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include "dsm/core/dsm.h"
#include "migrate/core/authority.h"
#include "migrate/core/kin.h"
#include "migrate/core/move.h"
#include "naming/core/core.h"
#include "naming/member/core/lease.h"
#include "naming/member/core/member.h"
#include "naming/raft/replica.h"
#include "rpc/core/core.h"
#include "quota/quota.h"
#include "sim/host.h"
#include "sim/world.h"

#define SIM_NODES_MAX     32
#define SIM_BLOCKS_MAX    256 /* pid blocks of one run */
#define SIM_BLOCK_USED    256 /* pids of a block that are given out: blocks change often */
#define SIM_MACHINES      96  /* moves at once on one node, each way */
#define SIM_KIN_MAX       160
#define SIM_EXITS_MAX     512
#define SIM_PROCS_MAX     8192
#define SIM_FAULTS_MAX    1024
#define SIM_STATUS_KILL   9 /* wait status: killed by SIGKILL */
#define SIM_SEGMENT_BYTES (64u << 10)
#define DISK_FILES        192 /* segments, and snapshots, of one disk */
#define NAME_ASKS         64  /* commands of one node under way */
#define ECHO_MAX          128

/* ---- truth ---- */
struct proc {
	gpid pid;
	gpid ppid;
	gpid pgid;
	gpid sid;
	bool alive;
	bool reaped;
	bool doubt;    /* its node died with it, or with its pages: may be found killed */
	bool vforking; /* cannot be stopped now */
	int status;
	uint64_t version; /* steps it has executed */
	uint64_t sigs;    /* raised in it and not yet taken */
	uint64_t sigs_ns; /* since when there are any */
	epoch_t told;     /* of its record, as any authority told it last */
	node_id told_site;
	uint64_t told_aterm;
	/* the access to shared memory that a thread of it is at */
	bool touching, touch_write;
	uint32_t touch_region, touch_page;
	node_id touch_node;
};

/* ---- a node ---- */
struct kin_entry {
	gpid pid, ppid, pgid, sid;
	bool zombie;
	int status;
};

struct note_slot {
	bool used;
	struct mig_note note;
	epoch_t peer_epoch; /* sources: life of the target's node */
};

struct exit_slot {
	bool used;
	bool reaped; /* tells of a reaping, not of a death */
	bool gone;   /* all know; the authority is being told */
	bool ours;   /* it died here: the record is ours to end */
	gpid pid;
	int status;
	epoch_t epoch;                  /* of the record, as last heard */
	epoch_t acked[WORLD_NODES_MAX]; /* epoch of the node that has acknowledged */
};

struct tomb {
	bool dead;
	bool reaped;
	int status;
};

struct block {
	bool used;
	struct mig_auth auth;
	struct mig_rec recs[SIM_BLOCK_USED];
	struct mig_asked asked[SIM_NODES_MAX];
};

struct src_slot {
	bool used;
	struct mig_source m;
	epoch_t peer_epoch;
};

struct dst_slot {
	bool used;
	struct mig_target m;
	uint32_t kin_count;
	struct kin_entry kin[SIM_KIN_MAX];
	uint32_t pages_left;
	uint32_t pull_no;
};

struct view_block {
	node_id authority;
	uint64_t aterm;
};

struct view_node {
	epoch_t epoch;
	bool alive;
};

struct name;
struct gossip;

/* loans.c */
struct loan {
	/* pandod's */
	struct quota_share share;
	uint64_t asked; /* number of the command whose answer counts */
	bool unsent;
	/* the host's */
	bool running;
	struct quota_amounts held, use;
};

/* Messages that the network may bring once more. */
/* What operators were told (people.c). */
#define PEOPLE_MAX 512 /* tenants, ever */
#define TOKENS_MAX 64
struct person {
	uint32_t id;
	uint64_t host_id;
};
struct people {
	struct person tenant[PEOPLE_MAX];
	uint32_t count;
	uint32_t tokens;
};

struct echo {
	void *kept[ECHO_MAX];
	uint64_t heard; /* in this life of the guest kernel */
};

/* In the middle of what a fault lets a node die, if that comes soon. */
enum fault_when {
	WHEN_WRITING, /* naming's log */
	WHEN_HANDED,  /* an image has just left for it */
	WHEN_WORKED,  /* it has just done what a new life of another guest kernel asked */
};

struct knode {
	node_id id;
	bool up;
	uint32_t boot; /* of the host */
	uint32_t life; /* of the guest kernel */
	bool kernel_up;
	uint32_t die_in;  /* effects until the guest kernel dies; 0: never */
	uint32_t die_mem; /* the same, of effects on shared memory */
	struct host host;

	/* pandod */
	uint32_t pod_life;
	uint64_t stalled_ns; /* starved until then */
	int32_t fault;       /* of which it dies soon; -1: none */
	enum fault_when fault_when;
	node_id fault_for; /* WHEN_WORKED */
	struct name *name; /* NULL: pandod is down */
	struct gossip *gossip;
	struct loan loan;
	struct echo echo;
	uint64_t name_checked; /* entries compared up to here */
	uint64_t answered_ns;  /* when a question for the lease was answered last */
	bool admitting, leasing, lead_asking;
	uint32_t duties;    /* commands of the leader's under way */
	uint64_t lead_term; /* of which it asked for a barrier last; 0: none */
	uint64_t lead_asked_ns;
	struct lease_book book;
	struct lease_row book_rows[SIM_NODES_MAX];

	/* truth, for the checkers */
	bool reach; /* it can reach a majority of the voters that reach each other */
	bool lost;  /* nobody whom a majority hears can hear it, not even through another */
	uint64_t reach_ns, lost_ns; /* since when */
	bool alone; /* a voter that hears no majority: whom it leads it leads until it finds out */
	uint64_t alone_ns;

	/* pando-init */
	epoch_t epoch; /* 0: not admitted yet */
	struct lease_holder lease;
	bool lease_frozen;
	bool started; /* has had its first lease */
	struct view_node nodes[WORLD_NODES_MAX];
	struct view_block blocks[SIM_BLOCKS_MAX];

	/* store */
	struct note_slot source_notes[SIM_MACHINES];
	struct note_slot target_notes[SIM_MACHINES];
	uint64_t fences[SIM_BLOCKS_MAX];
	struct block *kept[SIM_BLOCKS_MAX]; /* authority blocks, as remembered */
	struct exit_slot exits[SIM_EXITS_MAX];
	struct tomb *tombs; /* by proc index */
	struct memory *mem; /* memory.h says which parts of it die when */

	/* kernel */
	struct src_slot sources[SIM_MACHINES];
	struct dst_slot targets[SIM_MACHINES];
	struct block *auth[SIM_BLOCKS_MAX];
	uint32_t lease_block; /* where births come from; 0: none */
	uint64_t lease_aterm; /* term of the authority at its lease */
	bool want_block;
	uint32_t cursor;
	bool sweeping;
};

/* ---- messages ---- */
enum kmsg_kind {
	KM_MIG = 1,
	KM_IMAGE,
	KM_PAGE_REQ,
	KM_PAGE,
	KM_PAGE_GONE,
	KM_EXITED,
	KM_EXITED_ACK,
	KM_DSM,
	KM_BEAT, /* may I execute on? */
	KM_HELD, /* you may */
};

struct view {
	struct view_node nodes[WORLD_NODES_MAX];
	struct view_block blocks[SIM_BLOCKS_MAX];
};

struct kmsg {
	enum kmsg_kind kind;
	node_id from;
	epoch_t from_epoch;
	epoch_t to_epoch; /* DSM */
	struct mig_msg m;
	struct dsm_msg d;  /* DSM */
	uint32_t mem;      /* DSM: enum mem_kind */
	uint64_t version;  /* IMAGE; DSM: the bytes */
	uint32_t boot;     /* IMAGE, while it is loaded */
	uint32_t seq;      /* the same; PAGE: which pull; DSM: page */
	uint32_t number;   /* DSM: region */
	uint64_t sent_ns;  /* BEAT, HELD: when it was asked, by the clock of who asked */
	node_id origin;    /* BEAT, HELD: who asked */
	uint64_t heard_ns; /* HELD, for the checker: the world's time when the leader heard it */
	epoch_t origin_epoch;
	bool reaped;
	uint32_t kin_count;
	uint32_t stand_count;
	struct kin_entry *kin;    /* behind this struct */
	struct mig_stand *stands; /* the same */
};

/* ---- faults ---- */
enum fault_kind {
	FAULT_KERNEL = 1, /* the guest kernel dies at its n-th effect from now */
	FAULT_HOST,       /* the host loses power and comes back */
	FAULT_POD,        /* pandod dies */
	FAULT_STALL,      /* pandod gets no CPU for a while */
	FAULT_CUT,        /* two nodes do not hear each other */
	FAULT_ONE_WAY,
	FAULT_ISOLATE, /* a node hears nobody */
	FAULT_LOSS,
	FAULT_SLOW,
	FAULT_LINK,     /* all connections of a guest kernel break */
	FAULT_HANDOVER, /* a block's authority is moved to another node by an operator */
	FAULT_DISK_FULL,
	FAULT_DISK_FAILS, /* every other write is an error */
	FAULT_DISK_SLOW,
	FAULT_KINDS,
};

struct fault {
	enum fault_kind kind;
	bool off; /* taken out by --shrink or --faults */
	node_id node;
	node_id other;
	uint64_t at_ns;
	uint64_t for_ns;
	uint32_t n;
};

/* ---- the whole ---- */
struct sim_conf {
	uint64_t seed;
	uint32_t nodes;
	uint64_t run_ns;
	bool faults;
	uint32_t procs_max;
	uint32_t recount_events;
};

struct sim_stats {
	uint64_t births, exits, waits, signals;
	uint64_t moves_asked, moves_done, moves_failed, moves_refused;
	uint64_t kernel_deaths, host_deaths, cuts, handovers, rebuilds, fences;
	uint64_t announced, lapsed, recounts, faults;
	uint64_t mem_reads, mem_writes, page_faults, grants, recoveries, told_lost, impossible;
	uint64_t frames, connections, asked, answered, executed, streams;
	uint64_t log_frames, log_torn, log_starts, log_snapshots;
	uint64_t pod_deaths, stalls, disk_faults;
	uint64_t leaders, commands, reads, raft_entries, frozen;
	uint64_t suspected, failed;
	uint64_t loans;
};

#define COV_EVENTS     (MIG_EV_COUNT + MIG_MSG_COUNT)
#define COV_DSM_MSG    5 /* message kinds come after the other events */
#define COV_DSM_EVENTS (COV_DSM_MSG + DSM_RECOVER + 1)
/* How askings and streams came to an end. */
enum cov_end {
	COV_DONE = 0,
	COV_FAILED,
	COV_TIMED_OUT,
	COV_CANCELED,
	COV_RESET,
	COV_BUSY,
	COV_CLOSED_WHOLE,
	COV_CLOSED_RESET,
	COV_CLOSED_GAP,
	COV_CLOSED_BROKEN,
	COV_ENDS,
};

enum cov_name {
	COV_NAME_WAKE = 0,
	COV_NAME_PROPOSED,
	COV_NAME_LOG_DONE,
	COV_NAME_LOG_FAILED,
	COV_NAME_SNAPSHOT_DONE,
	COV_NAME_SNAPSHOT_FAILED,
	COV_NAME_PROPOSE, /* messages from here on */
	COV_NAME_REFUSE,
	COV_NAME_FEED_ASK,
	COV_NAME_FEED,
	COV_NAME_RAFT, /* + raft's type of message, 1 .. 6 */
	COV_NAME_EVENTS = COV_NAME_RAFT + 7,
};
enum cov_lease {
	COV_LEASE_ANSWERED = 0,
	COV_LEASE_LOOKED,
	COV_LEASE_POD_DIED,
	COV_LEASE_EVENTS,
};
#define COV_ROLES (NAMING_REPLICA_LEADER + 1)

struct sim_cov {
	uint64_t source[MIG_S_COUNT][COV_EVENTS];
	uint64_t target[MIG_T_COUNT][COV_EVENTS];
	uint64_t auth[MIG_A_COUNT][MIG_MSG_COUNT];
	uint64_t source_death[MIG_S_COUNT]; /* guest kernel died while a source was there */
	uint64_t target_death[MIG_T_COUNT];
	uint64_t page[6][COV_DSM_EVENTS]; /* hold * 2 + outstanding */
	uint64_t dir[3][COV_DSM_EVENTS];
	uint64_t mem_death[16];
	uint64_t rpc[RPC_FR_KINDS][RPC_AT_COUNT];
	uint64_t rpc_end[COV_ENDS];
	uint64_t name[COV_ROLES][COV_NAME_EVENTS];
	uint64_t pod_death[COV_ROLES];
	uint64_t lease[LEASE_OVER + 1][COV_LEASE_EVENTS];
	uint64_t book[2][2];                                   /* leads x asked, looked at */
	uint64_t member[MEMBER_FAILED + 1][MEMBER_FAILED + 1]; /* from, to */
	uint64_t share[QUOTA_STATE_COUNT][QUOTA_EV_COUNT];
};

struct disks;
struct memory;
struct mem_truth;
struct oracle;
struct links;
struct calls;

struct sim {
	struct world w;
	struct sim_conf conf;
	struct mig_conf mig;
	struct knode nodes[SIM_NODES_MAX + 1]; /* 1..conf.nodes */
	struct lease_conf lease;
	struct disks *disks;
	struct mem_truth *memory;
	struct oracle *oracle;
	node_id members; /* nodes 1 .. members have joined */
	tenant_id tenant;
	tenant_id reg; /* the row that is written and read */
	uint64_t written;
	struct people people;
	uint64_t lent[QUOTA_RESOURCES]; /* of the tenant's limits, when last looked at */
	struct links *links;
	struct calls *calls;
	struct proc procs[SIM_PROCS_MAX];
	uint32_t proc_count;
	int32_t *proc_of; /* pid -> index, -1 */
	gpid moved[4];    /* the last ones */
	bool quiet;       /* no more births, moves or faults: wait for the end of all work */
	uint64_t settled; /* entry that all must have applied in the end */
	struct fault faults[SIM_FAULTS_MAX];
	uint32_t fault_count;
	struct sim_stats stats;
	struct sim_cov *cov; /* may be shared by many runs */
};

static inline struct sim *sim_of(struct world *w)
{
	return w->user;
}
struct proc *sim_proc(struct sim *s, gpid pid);
static inline uint32_t sim_block(gpid pid)
{
	return naming_block_of(pid);
}

/* An event of this life of the guest kernel (or of this boot of the host) only. */
struct guard {
	uint32_t boot;
	uint32_t life;
	uint32_t pod;
};
void sim_later(struct sim *s, struct knode *n, uint64_t delay_ns, world_fn fn, const char *name,
	       uint64_t a, uint64_t b);
/* Frees @payload. False: that life is over. */
bool sim_guard_kernel(struct sim *s, node_id node, void *payload);
bool sim_guard_host(struct sim *s, node_id node, void *payload);

/* ---- kernel.c ---- */
void kernel_start(struct sim *s, struct knode *n);
void kernel_die(struct sim *s, struct knode *n);
void kernel_on_msg(struct sim *s, struct knode *n, struct kmsg *k);
void kernel_send(struct sim *s, struct knode *n, node_id to, const struct mig_msg *m);
/* One effect is about to be carried out; true: the kernel has died before it. */
bool kernel_fault(struct sim *s, struct knode *n);
bool kernel_ready(const struct knode *n);

/* ---- moves.c ---- */
bool kernel_move(struct sim *s, struct knode *n, gpid pid, node_id to);
bool kernel_busy(const struct knode *n, gpid pid);
/* The process has ended here; its machines are told. */
void kernel_ended(struct sim *s, struct knode *n, gpid pid);
/* The image that was to be streamed has not left whole. */
void moves_image_failed(struct sim *s, struct knode *n, const struct kmsg *k);
/* The connection to the guest kernel there has broken. */
void moves_link_down(struct sim *s, struct knode *n, node_id peer);
/* It has ended elsewhere. False: the kernel has died of it. */
bool kernel_elsewhere(struct sim *s, struct knode *n, gpid pid);

/* ---- records.c ---- */
void kernel_node_dead(struct sim *s, struct knode *n, node_id dead);
void kernel_view_changed(struct sim *s, struct knode *n);
gpid kernel_birth(struct sim *s, struct knode *n);

/* ---- stubs.c ---- */
void kernel_sweep_soon(struct sim *s, struct knode *n);
/* A stub that stands for a process known to be dead dies too. */
void kernel_settle(struct sim *s, struct knode *n, gpid pid);

/* ---- exits.c ---- */
void exits_died(struct sim *s, struct knode *n, gpid pid, int status, bool ours);
void exits_reaped(struct sim *s, struct knode *n, gpid pid);
void exits_on_msg(struct sim *s, struct knode *n, struct kmsg *k);
void exits_on_record(struct sim *s, struct knode *n, const struct mig_msg *m);
void exits_tick(struct sim *s, struct knode *n);
bool exits_pending(const struct knode *n, gpid pid);
struct tomb *exits_tomb(struct sim *s, struct knode *n, gpid pid);

/* ---- pod.c ---- */
void pod_boot(struct sim *s, struct knode *n);
void pod_crash(struct sim *s, struct knode *n, uint64_t down_ns);
void pod_die(struct sim *s, struct knode *n);
void pod_joined(struct sim *s, struct knode *n);
void pod_admitted(struct sim *s, struct knode *n, epoch_t epoch);
void pod_heard(struct sim *s, struct knode *n, const struct kmsg *k);
/* The message that @fn is to deliver, or NULL. */
const struct kmsg *pod_carried(world_fn fn, const void *payload);
void pod_on_view(struct sim *s, struct knode *n, const struct view *v);
struct kmsg *pod_msg(const struct knode *n, enum kmsg_kind kind, size_t kin, size_t stands);
void pod_post(struct sim *s, struct knode *n, node_id to, struct kmsg *k);
/* Takes @msg, which comes to its guest kernel again. */
void pod_deliver_again(struct sim *s, struct knode *n, void *msg, uint64_t delay_ns);
/* An event of this life of pandod only; false: it is over, @payload is freed. */
void pod_later(struct sim *s, struct knode *n, uint64_t delay_ns, world_fn fn, const char *name,
	       uint64_t a, uint64_t b);
bool sim_guard_pod(struct sim *s, node_id node, void *payload);
/* True: pandod is starved, the event comes again when it is not; the payload goes with it. */
bool pod_stalled(struct sim *s, struct knode *n, world_fn fn, const char *name, uint64_t a,
		 uint64_t b, void *payload);

/* ---- name.c: naming/raft ---- */
extern const struct naming_sizes sim_naming_sizes;
/* @err as naming_done_fn. */
typedef void (*name_fn)(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
			const struct naming_result *r);
void name_start(struct sim *s, struct knode *n);
void name_stop(struct knode *n);
/* False: too many under way. Else @fn is called, unless pandod dies. */
bool name_propose(struct sim *s, struct knode *n, const struct naming_cmd *cmd,
		  uint64_t patience_ms, name_fn fn, uint64_t a, uint64_t b);
const struct naming_core *name_tables(const struct knode *n);
struct naming_replica_info name_info(const struct knode *n);
uint64_t name_entry(const struct knode *n, uint64_t index, const uint8_t **bytes, size_t *len);
void name_log_done(struct sim *s, struct knode *n, int err);
void name_snapshot_done(struct sim *s, struct knode *n, int err);

/* Role of this node's replica, for coverage. */
uint32_t name_role(const struct knode *n);

/* ---- registry.c ---- */
void registry_start(struct sim *s); /* makes the machine */
void registry_programs(struct sim *s);
void registry_pod_up(struct sim *s, struct knode *n);
void registry_tables(struct sim *s, struct knode *n); /* have changed */
void registry_status(struct sim *s, struct knode *n);
void registry_handover(struct sim *s, uint32_t pick);

/* ---- people.c: N1, N4, N6 as operators see them ---- */
void people_start(struct sim *s);

/* ---- gossip.c: naming/member/core ---- */
void gossip_start(struct sim *s, struct knode *n);
void gossip_stop(struct knode *n);
void gossip_tables(struct sim *s, struct knode *n);
void gossip_check_end(struct sim *s);

/* ---- loans.c: quota/core ---- */
void loans_start(struct sim *s);
void loans_pod_up(struct sim *s, struct knode *n);
void loans_tables(struct sim *s, struct knode *n);
void loans_crash(struct knode *n);
void check_loans(struct sim *s); /* Q1, after every command and every change of what is held */
void check_loans_end(struct sim *s);

/* ---- load.c ---- */
void load_start(struct sim *s);

/* ---- fault.c ---- */
void fault_plan(struct sim *s);
void fault_start(struct sim *s);
void fault_heal(struct sim *s);
/* Its disk is writing: it may die of it. */
void fault_writing(struct sim *s, struct knode *n, uint64_t delay_ns);
/* An image has left for it; it has done work for @peer: the same. */
void fault_handed(struct sim *s, struct knode *n);
void fault_worked(struct sim *s, struct knode *n, node_id peer);
const char *fault_name(enum fault_kind kind);

/* ---- echo.c ---- */
/* @msg, borrowed, has come to the guest kernel of @n. */
void echo_keep(struct sim *s, struct knode *n, void *msg);
/* Another life of it begins. */
void echo_play(struct sim *s, struct knode *n);

/* ---- disk.c ---- */
/* What a node cannot forget any more. */
struct disk_promise {
	uint64_t term, vote;
	uint64_t last; /* index of the last entry; it may be replaced */
};
/* False: nothing is being written, so all that its replica has ever said is there. */
bool disks_promise(const struct sim *s, node_id node, struct disk_promise *out);
struct disks *disks_new(void);
void disks_free(struct disks *d);
void disks_write_log(struct sim *s, struct knode *n, uint64_t segment, uint64_t offset,
		     const uint8_t *bytes, size_t len);
void disks_write_snapshot(struct sim *s, struct knode *n, uint64_t index, const uint8_t *bytes,
			  size_t len);
void disks_remove_segment(struct sim *s, node_id node, uint64_t segment);
void disks_remove_snapshot(struct sim *s, node_id node, uint64_t index);
/* DISK_FILES of each; borrowed until the next write. */
void disks_read(struct sim *s, node_id node, struct naming_file *segments,
		struct naming_file *snapshots, struct naming_disk *out);
/* What is in flight reaches the disk in part. */
void disks_crash(struct sim *s, node_id node);
void disks_fault(struct sim *s, node_id node, enum fault_kind kind, int by);
bool disks_good(const struct sim *s, node_id node);
uint64_t disks_free_bytes(const struct sim *s, node_id node);
void disks_check_lost(struct sim *s, node_id node); /* L2 */
void disks_check_end(struct sim *s);                /* P1 */

/* ---- check.c ---- */
void check_runs(struct sim *s, gpid pid); /* K1, after every change of a lock or kind */
void check_lost_pages(struct sim *s, struct knode *n, gpid pid); /* M3, before a release */
void check_dead(struct sim *s, gpid pid, const char *who);       /* K1, before a death is told */
void check_signals(struct sim *s, const struct proc *p);         /* M4, at every step */
void check_recount(struct sim *s);
void check_end(struct sim *s);
/* A3, A4, A1: the authority is about to answer; A2: it has carried out a claim. */
void check_record(struct sim *s, struct knode *n, const struct mig_msg *m);
void check_claim(struct sim *s, const struct knode *n, const struct mig_msg *m,
		 const struct mig_rec *was);
uint32_t check_runners(struct sim *s, gpid pid, struct knode **where);

/* ---- check_lease.c ---- */
void check_reach(struct sim *s); /* who can reach a majority, or who leads, has changed */
void check_lease(struct sim *s, struct knode *n, enum lease_state state);
void check_fenced(struct sim *s);
/* A question that was heard at @heard_ns has moved the lease. */
void check_counted(struct sim *s, const struct knode *n, uint64_t heard_ns);
void check_announced(struct sim *s, node_id node, epoch_t epoch);

/* ---- check_name.c ---- */
struct oracle *oracle_new(void);
void oracle_free(struct oracle *o);
const struct naming_core *oracle_tables(const struct oracle *o);
void check_applied(struct sim *s, struct knode *n); /* R2, after every turn */
void check_tables(struct sim *s);
/* R4, when a message leaves. */
void check_promised(struct sim *s, const struct knode *n, node_id to, const uint8_t *bytes,
		    size_t len);
uint64_t check_applied_first(const struct sim *s); /* the last entry that anybody has applied */
/* P1: nobody is left behind, no block is orphaned. */
void check_name_end(struct sim *s);
/* R1: @written was answered; a read that began when check_read_begins() was @begun gives @value. */
void check_wrote(struct sim *s, struct knode *n, uint64_t written, const struct naming_result *r);
uint64_t check_read_begins(const struct sim *s);
void check_read(struct sim *s, struct knode *n, uint64_t begun, uint64_t value);

/* ---- cluster.c ---- */
struct sim *sim_new(const struct sim_conf *conf, struct sim_cov *cov);
void sim_begin(struct sim *s); /* all that is to happen is under way: world_step() */
void sim_run(struct sim *s);
void sim_free(struct sim *s);

#endif
