/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.h - the commit protocol of a move: what source and target of a process do.
 *
 * Three parties, on up to three nodes: the source, where the process executes;
 * the target, where it shall; the authority (authority.h), which holds the
 * record (pid, site, epoch). Whoever holds a copy of the process and wants to
 * execute it *claims* the record: a compare-and-swap from the epoch the source
 * read at the start to the next one. The first claim wins, all others lose, and
 * that is the whole commit: the target claims when it has loaded everything,
 * the source claims back when it hears nothing. Nobody executes on a guess.
 *
 *	source                      target                    authority
 *	  | READ -------------------------------------------------> |
 *	  | <-------------------------------------- RECORD(epoch e)  |
 *	  | PREPARE ----------------> | build (frozen, held)          |
 *	  | <--------------- PREPARED |                               |
 *	  | freeze, both locks        |                               |
 *	  | image ==================> | load                          |
 *	  |                           | CLAIM(e) -------------------> |
 *	  |                           | <------- RECORD(e+1, target)  |
 *	  | <---------------- RESUMED | resume                        |
 *	  | serve pages =============>| pull                          |
 *	  | <---------------- DRAINED | last page here, unregistered  |
 *	  | release: stub, or gone    |                               |
 *	  | RELEASED(signals) ------> | raise them                    |
 *	  | <----------------- FORGET |                               |
 *
 * Invariants:
 *	K1  a machine lets its copy execute only before the freeze, or after a
 *	    RECORD that names this node and this move
 *	M0  what a successor needs is in a note before the effect that needs it
 *	M1  a source whose image may have left it thaws only by M2
 *	M2  "won" is: RECORD.site == self, RECORD.move == move, RECORD.epoch > e
 *	M3  a source is released only when the target has drained it, is dead, or
 *	    the process is
 *	M4  signals that arrived in the freeze reach whoever executes next, unless the node
 *	    that has them dies
 *
 * Sans-io: a step reads one event, fills @out with effects and sets wake_ns. It
 * never blocks, allocates, logs or reads a clock. One thread owns a machine.
 *
 * Rules for the caller (the guest kernel, or the simulator):
 *  - Effects are carried out in the order given. Its daemon may die between any
 *    two; the successor gives each note that it finds to *_adopt().
 *  - At most one machine per pid and node. A PREPARE for a pid that has one, or
 *    executes here, is refused with PREPARED and -EBUSY (migrate_refuse()).
 *  - A message for a move that has no machine here goes to migrate_stray().
 *  - Messages may be lost, repeated, delayed, reordered. Those of a node that
 *    was announced dead, or from before its restart, are dropped by the caller.
 *  - The image is no such message: IMAGE brings it once, whole or not at all, and
 *    what is left of it ends with its connection, so it never comes after the move.
 *    A target that was given PREPARE, image and RECORD of a move that is over would
 *    execute the process again: as long as it has not gone on, or its end been told,
 *    its record is what says that the claim was won (M2). No machine remembers moves
 *    that have ended.
 *  - What is built is born in the frozen group (the second lock) and held there;
 *    what a successor finds held without a note goes back to its stub (it must
 *    not die: its parent would see that). A freeze takes the second lock too.
 *  - PREPARE and the image carry the kin (kin.h) as they are at that moment; a
 *    child here that the image does not tell of was waited for at the source: it
 *    has ended. If it is still held here, its machine is told (MIG_EV_ELSEWHERE)
 *    before the parent runs, or the parent would wait for it twice.
 *  - The caller remembers per pid block the highest authority term it answered
 *    a FENCE for, and starts machines with it.
 */
#ifndef MIGRATE_CORE_MOVE_H
#define MIGRATE_CORE_MOVE_H

#include "base/attr.h"
#include "base/types.h"

enum mig_msg_kind {
	MIG_READ = 1, /* source -> authority */
	MIG_CLAIM,    /* source or target -> authority: epoch, move */
	MIG_RECORD,   /* authority -> them: aterm, asked (the question's move), and the record:
			 epoch, site (0: dead), move */
	MIG_PREPARE,  /* source -> target: epoch; the process' description rides along */
	MIG_PREPARED, /* target -> source: err */
	MIG_ABORT,    /* source -> target: drop what you built, unless you have claimed */
	MIG_DROPPED,  /* target -> source: I shall not claim (any more). A hint. */
	MIG_RESUMED,  /* target -> source: I have won */
	MIG_DRAINED,  /* target -> source: I need nothing of you any more */
	MIG_RELEASED, /* source -> target: your original is gone; sigs: what it had pending */
	MIG_FORGET,   /* target -> source: the signals are raised, drop your note */
	MIG_GONE,     /* site -> authority: it has ended here. Answer: RECORD; if that still
			 names the site, say GONE again with its epoch */
	MIG_FENCE,    /* new authority -> node: aterm; from now on believe no older one */
	MIG_STAND,    /* node -> new authority: stands of its pids of the block */
	MIG_MSG_COUNT,
};

struct mig_stand;

struct mig_msg {
	enum mig_msg_kind kind;
	node_id from; /* proven by the transport, never by the body */
	gpid pid;     /* FENCE, STAND: the block's first pid */
	epoch_t epoch;
	uint64_t move;  /* chosen by the source, unique for ever (a random number) */
	uint64_t asked; /* RECORD: move of the question, so that an old answer is known as one */
	uint64_t aterm; /* READ, CLAIM, GONE, RECORD, FENCE, STAND: term of the authority */
	node_id site;
	int err;                        /* 0 or -errno */
	uint64_t sigs;                  /* bit n-1: signal n */
	const struct mig_stand *stands; /* STAND; borrowed */
	uint32_t stand_count;
};

/* How a node stands to a pid of a block whose authority moves; see authority.h. */
enum mig_stance {
	MIG_FREE = 0, /* no claim to it: say nothing */
	MIG_FROZEN,   /* source, image may have left for @peer, outcome unknown */
	MIG_LOST,     /* source that has read, or heard, that @peer won; @peer may not know yet */
	MIG_RUNS,     /* executes here, or nobody else can have it */
	MIG_ENDED,    /* won here and has ended: no older copy may run */
};

struct mig_stand {
	gpid pid;
	enum mig_stance stance;
	uint64_t move; /* 0: none */
	node_id peer;  /* FROZEN, LOST: the target */
	epoch_t epoch; /* of the record by which it executed here; 0: it has never moved */
	/*
	 * Life of the peer's node that it was handed to, the one whose PREPARED came; noted beside
	 * the move by who carries it out. Who gives a stand to an authority has it looked at
	 * (migrate_stand_look): a successor of that life answers a fence without knowing what it
	 * may have executed.
	 */
	epoch_t peer_epoch;
};

enum mig_phase {
	MIG_PHASE_FREEZING = 1, /* source: the image has not left */
	MIG_PHASE_HANDED,       /* source: it may have */
	MIG_PHASE_RELEASED,     /* source: original gone, signals not yet taken over */
	MIG_PHASE_LOADED,       /* target: may have claimed */
	MIG_PHASE_RUNNING,      /* target: has won; pages may still be missing */
};

/* What must outlive the daemon: kept in pando-init's store, one per machine, replaced whole. */
struct mig_note {
	uint32_t phase; /* enum mig_phase */
	gpid pid;
	epoch_t epoch;
	uint64_t move;
	uint64_t aterm;
	node_id peer; /* the other end */
	node_id authority;
	uint64_t sigs;
};

enum mig_fx_kind {
	MIG_FX_SEND = 1, /* msg to node @to */
	MIG_FX_NOTE,     /* keep note; returns only when it is safe from the daemon's death */
	MIG_FX_UNNOTE,   /* drop it */
	MIG_FX_FREEZE,   /* source: stop all threads, second lock; answer FROZEN or FREEZE_FAILED */
	MIG_FX_THAW,     /* source: undo whatever of the freeze is there; also if there is none */
	MIG_FX_IMAGE,    /* source: stream the image; IMAGE_FAILED if its end mark was not sent */
	MIG_FX_RELEASE,  /* source: become the stub, or nothing; again is harmless. -> RELEASED */
	MIG_FX_BUILD,    /* target: build it, held; answer BUILT or BUILD_FAILED */
	MIG_FX_DROP,     /* target: undo what is built, back to the stub that was there */
	MIG_FX_RESUME,   /* target: let it run and pull; again is harmless. -> PULLED, LOST, EXIT */
	MIG_FX_KILL,     /* target: end it, it misses pages that are lost */
	MIG_FX_RAISE,    /* target: raise sigs in it */
	MIG_FX_DONE,     /* the machine has ended, err says how; free it */
};

struct mig_fx {
	enum mig_fx_kind kind;
	node_id to;
	int err;
	uint64_t sigs;
	struct mig_msg msg;
	struct mig_note note;
};

#define MIG_FX_MAX 6
struct mig_out {
	uint32_t count;
	struct mig_fx fx[MIG_FX_MAX];
};

enum mig_ev_kind {
	MIG_EV_START = 1, /* source: move it; target: msg is the PREPARE */
	MIG_EV_MSG,
	MIG_EV_TICK,      /* now_ns has reached wake_ns */
	MIG_EV_NODE_DEAD, /* node: announced dead, its lease is over */
	MIG_EV_AUTHORITY, /* node, aterm: the block's authority is now there */
	MIG_EV_CANCEL,    /* whoever wanted the move does not any more; err */
	MIG_EV_EXIT,      /* the process has ended here */
	MIG_EV_ELSEWHERE, /* its site has told that it ended there */
	MIG_EV_FROZEN,
	MIG_EV_FREEZE_FAILED, /* err */
	MIG_EV_IMAGE_FAILED,  /* err; the target cannot load what it has */
	MIG_EV_RELEASED,      /* sigs: pending when it was released */
	MIG_EV_BUILT,
	MIG_EV_BUILD_FAILED, /* err */
	MIG_EV_LOADED,
	MIG_EV_LOAD_FAILED, /* err */
	MIG_EV_PULLED,      /* all pages here, unregistered, nothing in flight */
	MIG_EV_PULL_LOST,   /* the source has lost pages that are missing here */
	MIG_EV_COUNT,
};

struct mig_ev {
	enum mig_ev_kind kind;
	uint64_t now_ns;
	const struct mig_msg *msg; /* borrowed */
	node_id node;
	uint64_t aterm;
	uint64_t sigs;
	int err;
};

struct mig_conf {
	uint64_t prepare_ns; /* patience for READ and PREPARE, each */
	uint64_t ready_ns;   /* target: how long it keeps a built process without an image */
	uint64_t commit_ns;  /* source: from image sent to claiming back */
	uint64_t again_ns;   /* first repetition of an unanswered message; doubles up to x 32 */
};

/* 1 s, 2 s, 0.5 s, 50 ms. */
extern const struct mig_conf mig_conf_default;

/* ---- source ---- */
enum mig_source_state {
	MIG_S_IDLE = 0,
	MIG_S_ASKING,    /* READ is out */
	MIG_S_PREPARING, /* PREPARE is out; the process runs */
	MIG_S_FREEZING,
	MIG_S_HANDED,    /* image on its way; outcome unknown */
	MIG_S_CLAIMING,  /* claims back; outcome unknown */
	MIG_S_DRAINING,  /* lost to the target; serves pages */
	MIG_S_RELEASING, /* RELEASE is being carried out */
	MIG_S_RELEASED,  /* waits for FORGET */
	MIG_S_DONE,
	MIG_S_COUNT,
};

struct mig_source {
	const struct mig_conf *conf; /* borrowed */
	uint32_t state;
	gpid pid;
	node_id self;
	node_id target;
	node_id authority;
	epoch_t epoch; /* as read; what is claimed from */
	uint64_t move;
	uint64_t aterm;   /* no RECORD of an older authority is believed */
	uint64_t wake_ns; /* give MIG_EV_TICK then; 0: never */
	uint64_t give_up_ns;
	uint64_t again_ns; /* present repetition interval */
	uint64_t sigs;
	bool target_dead;
	bool claimed;
};

void migrate_source_init(struct mig_source *s, const struct mig_conf *conf, gpid pid, node_id self,
			 node_id target, node_id authority, uint64_t aterm, uint64_t move);

/*
 * Errors: -EPROTO: impossible from this peer in this state; -ESTALE: of another
 * move, epoch or term, or repeated. Both: nothing changed, @out is empty, count it.
 */
must_check int migrate_source_step(struct mig_source *s, const struct mig_ev *ev,
				   struct mig_out *out);

/* A successor goes on from what its predecessor noted. Errors: -EINVAL, not a source's note. */
must_check int migrate_source_adopt(struct mig_source *s, const struct mig_conf *conf, node_id self,
				    const struct mig_note *note, uint64_t now_ns,
				    struct mig_out *out);

/* How this machine's node stands to the pid; for the answer to a FENCE. */
struct mig_stand migrate_source_stand(const struct mig_source *s);

/* ---- target ---- */
enum mig_target_state {
	MIG_T_IDLE = 0,
	MIG_T_BUILDING,
	MIG_T_READY,    /* built, waits for the image */
	MIG_T_CLAIMING, /* loaded; outcome unknown */
	MIG_T_PULLING,  /* won: it executes here, pages come after it */
	MIG_T_DRAINED,  /* waits for RELEASED */
	MIG_T_DONE,
	MIG_T_COUNT,
};

struct mig_target {
	const struct mig_conf *conf; /* borrowed */
	uint32_t state;
	gpid pid;
	node_id self;
	node_id source;
	node_id authority;
	epoch_t epoch;
	uint64_t move;
	uint64_t aterm;
	uint64_t wake_ns;
	uint64_t again_ns;
	bool ended; /* the process has ended here after it had won */
};

/*
 * Then step with MIG_EV_START. Errors: -EPROTO, no PREPARE that a source would send;
 * -EAGAIN, its source has read the record of a newer authority than this node knows of.
 */
must_check int migrate_target_init(struct mig_target *t, const struct mig_conf *conf, node_id self,
				   node_id authority, uint64_t aterm,
				   const struct mig_msg *prepare);
/* Errors: as migrate_source_step(). */
must_check int migrate_target_step(struct mig_target *t, const struct mig_ev *ev,
				   struct mig_out *out);
must_check int migrate_target_adopt(struct mig_target *t, const struct mig_conf *conf, node_id self,
				    const struct mig_note *note, uint64_t now_ns,
				    struct mig_out *out);
struct mig_stand migrate_target_stand(const struct mig_target *t);

/*
 * Before @st is given to an authority: if it was handed to a life of the peer's node that is over,
 * its peer is NODE_NONE. @life: the present one as known here; 0: not known.
 */
void migrate_stand_look(struct mig_stand *st, epoch_t life);

/* ---- messages without a machine ---- */

/* The answer to @msg, for a move that this node has no machine for; false: none is due. */
bool migrate_stray(const struct mig_msg *msg, struct mig_msg *reply);

/* PREPARED with @err, for a PREPARE that gets no machine. */
struct mig_msg migrate_refuse(const struct mig_msg *prepare, int err);

const char *migrate_source_state_name(uint32_t state);
const char *migrate_target_state_name(uint32_t state);
const char *migrate_ev_name(uint32_t kind);
const char *migrate_msg_name(uint32_t kind);

#endif
