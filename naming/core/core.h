/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.h - the replicated tables of a machine: apply(command) -> result.
 *
 * Pure: reads no clock, draws nothing, allocates nothing. The same commands in
 * the same order give the same tables, byte for byte, on every node; time comes
 * in with the batch that the leader stamped (milliseconds since 1970, and never
 * runs backwards here). A command that makes no sense is answered by an error
 * and changes nothing: the bytes it came from were a peer's.
 *
 * Memory: one block given by the caller, naming_core_bytes() of it; 300 bytes to
 * 1 KiB per row of `naming_sizes`. Sizes are part of the machine: all nodes use
 * the same, since a full table is a result (-ENOSPC) like any other.
 *
 * Ownership: rows returned by a lookup belong to the core and live until the
 * next apply or restore. Threading: one thread owns a core.
 *
 * Invariants. The cheap ones are checked after every command, all of them by
 * naming_core_recount():
 *   N1  no two tenants share a host id, now or ever
 *   N2  a pid block has exactly one authority, which is a node; its epoch grows
 *       by one when the authority changes, and over all leases of a tenant's block
 *   N3  names of nodes, of tenants, of volumes of one owner are unique
 *   N4  a node id, and a tenant id, is never given twice
 *   N5  a leased pid block is leased again only after its authority released it
 *   N6  a one-time token lets in as many nodes as it was made for, none after it expired
 *   N7  a command with one (client, sequence) takes effect once
 *   Q1  of no resource more is lent than its limit. A limit that is lowered below what is lent
 *       takes force as loans come back: until then nothing of it is lent (naming_tenant.over)
 *   Q2  a loan is one node's in its present life; who changes it knows its last change (serial)
 */
#ifndef NAMING_CORE_CORE_H
#define NAMING_CORE_CORE_H

#include "base/attr.h"
#include "base/types.h"

#define NAMING_KEY_BYTES     32 /* ed25519 public key, sha256 of a token or an ssh key */
#define NAMING_MACHINE_BYTES 16
#define NAMING_ADDR_MAX      64  /* "host:port" with the final NUL */
#define NAMING_PATH_MAX      256 /* with the final NUL */
#define NAMING_SSHKEY_MAX    800 /* one authorized_keys line, with the final NUL */

#define NAMING_HOST_IDS        65536u      /* host uids (and gids) of one tenant */
#define NAMING_HOST_ID_FIRST   0x10000000u /* base of the first tenant */
#define NAMING_HOST_ID_END     0x7fff0000u /* no base at or above it */
#define NAMING_BLOCK_PIDS      4096u       /* pids of one block */
#define NAMING_BLOCK_FIRST     1u          /* block 0 holds what a wrapped host allocator reaches */
#define NAMING_BLOCK_END       1024u       /* 4,194,304 pids: the kernel's largest pid_max */
#define NAMING_CLIENT_WINDOW   64u         /* commands one client may have unanswered */
#define NAMING_CLIENT_IDLE_MS  600000u     /* a client is forgotten no sooner */
#define NAMING_DEADLINE_MAX_MS 120000u     /* no command is retried longer; well below IDLE */
#define NAMING_GUEST_UID       1000u       /* who a tenant is, inside */

struct naming_sizes {
	uint32_t nodes_max;
	uint32_t tenants_max;
	uint32_t keys_max;
	uint32_t tokens_max;
	uint32_t blocks_max;
	uint32_t ports_max;
	uint32_t volumes_max;
	uint32_t clients_max;
	uint32_t loans_max;
};
extern const struct naming_sizes naming_sizes_default;

/* ---- rows ---- */
enum naming_kind {
	NAMING_MACHINE = 1,
	NAMING_NODE,
	NAMING_TENANT,
	NAMING_KEY,
	NAMING_TOKEN,
	NAMING_BLOCK,
	NAMING_PORT,
	NAMING_VOLUME,
	NAMING_LOAN,
	NAMING_KIND_COUNT,
};
#define naming_kind_bit(k) (1u << (k))
#define NAMING_KINDS_ALL   (naming_kind_bit(NAMING_KIND_COUNT) - 2)

struct naming_machine {
	uint8_t id[NAMING_MACHINE_BYTES]; /* all zero: the machine is not created yet */
	char name[NODE_NAME_MAX];
	epoch_t epoch; /* +1 whenever a node joins, leaves, or starts anew */
	uint64_t created_ms;
};

enum naming_node_state {
	NAMING_NODE_JOINED = 1,
	NAMING_NODE_LEAVING, /* gets nothing new; hands over what it has */
	NAMING_NODE_LEFT,    /* gone for good; the row goes when its place is needed */
};

/* What an operator wants of a node. It outlives the node's restarts, and ends when it is opened. */
enum naming_drain {
	NAMING_OPEN = 0,
	NAMING_DRAINING, /* nothing new is placed there; what runs there is to be moved away */
	NAMING_DRAINED,  /* and nothing was found to execute there */
};

struct naming_node {
	node_id id;
	char name[NODE_NAME_MAX];
	char addr[NAMING_ADDR_MAX];
	uint8_t key[NAMING_KEY_BYTES];
	epoch_t epoch; /* 1 when it joined; +1 each time it starts empty */
	uint32_t state;
	uint32_t down;  /* 1: announced dead, and not come back yet */
	uint32_t drain; /* enum naming_drain */
	uint64_t joined_ms;
	uint64_t since_ms; /* of its epoch */
};

struct naming_limits {
	uint32_t cpu_milli; /* thousandths of a core; 0 in any field: no limit */
	uint32_t procs;
	uint64_t memory_bytes;
	uint64_t storage_bytes;
	uint32_t cpu_weight; /* of a busy machine, 1 .. 10000; 0: the default, 100 */
};

/* What is lent to nodes. Storage is not: the one host of a volume holds the whole limit. */
enum naming_resource {
	NAMING_CPU = 0, /* thousandths of a core */
	NAMING_PROCS,
	NAMING_MEMORY, /* bytes */
	NAMING_RESOURCES,
};
#define NAMING_ANY UINT64_MAX /* of a resource without a limit */

enum naming_tenant_flag {
	NAMING_TENANT_HANGUP = 1, /* a session whose connection is lost is hung up, not kept */
};
#define NAMING_TENANT_FLAGS NAMING_TENANT_HANGUP

struct naming_tenant {
	tenant_id id;
	char name[TENANT_NAME_MAX];
	uint32_t host_id; /* first of NAMING_HOST_IDS host ids, the same on all nodes */
	uint32_t uid;     /* the login's uid inside */
	uint32_t flags;   /* enum naming_tenant_flag */
	struct naming_limits limits;
	uint32_t next_block; /* where the search for a free block starts */
	uint32_t over;       /* bits of resources of which more is lent than the lowered limit */
	epoch_t block_epoch; /* the highest of any released block: a lease begins above it */
	uint64_t created_ms;
};

struct naming_key {
	tenant_id tenant;
	uint8_t fingerprint[NAMING_KEY_BYTES]; /* sha256 of the key blob */
	char line[NAMING_SSHKEY_MAX];
};

struct naming_token {
	uint8_t hash[NAMING_KEY_BYTES]; /* sha256 of the token: the token itself is nowhere */
	uint64_t expires_ms;
	uint32_t uses_left;
};

struct naming_block {
	tenant_id tenant;
	uint32_t number;   /* pids [number * 4096, (number + 1) * 4096) */
	node_id authority; /* keeps (pid -> site, epoch) for these pids */
	epoch_t epoch; /* of the authority: +1 at each handover; see naming_tenant.block_epoch */
	epoch_t life;  /* epoch of the node when it got it: another one now, and the records died;
			  0: they did before (BLOCK_LOST) */
	node_id home; /* who has leased it: pids are given out there only, while it is the authority
		       */
	epoch_t born; /* epoch of the home then: another one now, or 0, and it has no place of them
		       */
};

enum naming_port_kind {
	NAMING_PORT_TCP = 1,
	NAMING_PORT_UDP,
	NAMING_PORT_MESSAGE, /* a named message port; number is 0 */
};

struct naming_port {
	tenant_id tenant;
	uint32_t kind;
	uint32_t number;
	char name[NODE_NAME_MAX];
	node_id node; /* where its owner is */
	gpid owner;
};

enum naming_volume_kind {
	NAMING_VOLUME_DIR = 1, /* a directory of one host, the shortcut of a local cluster */
	NAMING_VOLUME_SERVED,  /* requests go to the owner node */
	NAMING_VOLUME_MOUNT,   /* a cluster file system that every node mounts */
};

struct naming_volume {
	tenant_id tenant; /* TENANT_NONE: of the machine */
	char name[NODE_NAME_MAX];
	uint32_t kind;
	node_id node; /* the owner of a served one */
	char path[NAMING_PATH_MAX];
};

/* A slice of a tenant's limits, lent to one node. */
struct naming_loan {
	tenant_id tenant;
	node_id node;
	epoch_t epoch;   /* the life of the node that it is lent to */
	uint64_t serial; /* another one at each change that the node asked for */
	uint64_t lent[NAMING_RESOURCES];
	uint64_t need[NAMING_RESOURCES]; /* more than lent: it gets the rest when some comes back */
};

/* ---- commands ---- */
enum naming_cmd_kind {
	NAMING_CMD_NOOP = 1,      /* a barrier: when it is answered, all before it is applied */
	NAMING_CMD_CREATE,        /* machine_id text=name; name addr key: the first node, id 1 */
	NAMING_CMD_TOKEN_ADD,     /* key=hash, number=uses, ttl_ms */
	NAMING_CMD_TOKEN_REMOVE,  /* key=hash */
	NAMING_CMD_NODE_JOIN,     /* text: none; key2=token hash; name addr key -> id, epoch. Again
				     by that key before it has begun: the same, for no token */
	NAMING_CMD_NODE_EPOCH,    /* node, epoch=present -> epoch: it starts empty; flags 1: it is
				     announced dead, its lease is over. Its loans and ports go. */
	NAMING_CMD_NODE_ADDR,     /* node, addr */
	NAMING_CMD_NODE_LEAVE,    /* node: joined -> leaving */
	NAMING_CMD_NODE_LEFT,     /* node: leaving -> left, -EBUSY while it is an authority;
				     flags 1: dead, so joined -> left, authorities stay to be moved */
	NAMING_CMD_TENANT_ADD,    /* name, limits -> id, value=host id base */
	NAMING_CMD_TENANT_LIMITS, /* tenant, limits */
	NAMING_CMD_TENANT_REMOVE, /* tenant; -EBUSY while it has leased blocks */
	NAMING_CMD_KEY_ADD,       /* tenant, key=fingerprint, text=line */
	NAMING_CMD_KEY_REMOVE,    /* tenant, key=fingerprint */
	NAMING_CMD_BLOCK_LEASE,   /* tenant, node, epoch=its present or 0 -> value=number, epoch */
	NAMING_CMD_BLOCK_RELEASE, /* tenant, node, number, epoch: no live pid is in it */
	NAMING_CMD_BLOCK_MOVE,    /* tenant, node=from, to, number, epoch=present -> epoch */
	NAMING_CMD_PORT_BIND,     /* tenant, subkind, number, name, node, pid */
	NAMING_CMD_PORT_FREE,     /* tenant, subkind, number, name, node */
	NAMING_CMD_VOLUME_ADD,    /* tenant or none, name, subkind, node, text=path */
	NAMING_CMD_VOLUME_REMOVE, /* tenant or none, name */
	/* tenant, node, epoch=its present, serial=of the loan or 0: none, like, need ->
	 * value=serial. Lent becomes like where that is less, else as much of it as there is. flags
	 * 1: all is given back, the row goes. */
	NAMING_CMD_LOAN,
	NAMING_CMD_TENANT_FLAGS, /* tenant, number=which flags, flags=their values */
	/* node, flags=enum naming_drain. Drained is only who was draining: -EINVAL when it was
	 * opened meanwhile. While it is closed it gets no authority and no volume; what runs there
	 * may still lease pids. */
	NAMING_CMD_NODE_DRAIN,
	/* tenant, node, number, epoch=present: the node lives on, and the world that it had of the
	 * tenant does not: the records are gone, and if it had leased the block the places too. */
	NAMING_CMD_BLOCK_LOST,
	NAMING_CMD_COUNT,
};

/* One shape for all: a kind reads the fields its comment names, the others are ignored. */
struct naming_cmd {
	enum naming_cmd_kind kind;
	uint32_t subkind;
	uint32_t flags;
	uint32_t number;
	node_id node;
	node_id to;
	tenant_id tenant;
	gpid pid;
	epoch_t epoch;
	uint64_t ttl_ms;
	uint8_t machine_id[NAMING_MACHINE_BYTES];
	uint8_t key[NAMING_KEY_BYTES];
	uint8_t key2[NAMING_KEY_BYTES];
	char name[NODE_NAME_MAX];
	char addr[NAMING_ADDR_MAX];
	char text[NAMING_SSHKEY_MAX];
	struct naming_limits limits;
	uint64_t serial;
	uint64_t like[NAMING_RESOURCES];
	uint64_t need[NAMING_RESOURCES];
};

/*
 * err: 0, or
 *   -EINVAL a field is out of its range      -ENOENT a row it names is not there
 *   -EEXIST the name or key is taken         -ENOSPC a table, or an id space, is full
 *   -ESTALE another epoch or serial is there -EBUSY  see the kind
 *   -EACCES token unknown, used up, expired  -EPERM  the machine is, or is not, created
 *   -EAGAIN too many clients at work         -ECONNRESET the client was forgotten
 */
struct naming_result {
	int32_t err;
	uint32_t id;
	uint64_t value;
	epoch_t epoch;
};

/* What a command changed: bits of naming_kind, and the row's id where it has one. */
struct naming_change {
	uint32_t kinds;
	uint32_t id;
};

/* Who sends a command, and which of its commands it is. */
struct naming_stamp {
	uint64_t client; /* random, one per life of a client; 0: a command that is never sent twice
			  */
	uint64_t seq;    /* 1, 2, ... */
	uint64_t acked;  /* every command up to this one was answered and may be forgotten */
};

struct naming_core;

size_t naming_core_bytes(const struct naming_sizes *s);
/* @mem: naming_core_bytes(), aligned for uint64_t; borrowed until the core is dropped. */
struct naming_core *naming_core_init(void *mem, const struct naming_sizes *s);

/*
 * Executes one command at leader time @now_ms. Fills @r and @c always. A repeated
 * stamp gives the first result again and changes nothing (N7).
 */
void naming_core_apply(struct naming_core *k, uint64_t now_ms, const struct naming_stamp *st,
		       const struct naming_cmd *cmd, struct naming_result *r,
		       struct naming_change *c);

/* The result that a client's command came to; false: not executed, or forgotten. */
bool naming_core_result(const struct naming_core *k, uint64_t client, uint64_t seq,
			struct naming_result *r);

/* Bytes that naming_core_snapshot() will need now; then the snapshot itself, which
 * is the same on every node that applied the same commands. */
size_t naming_core_snapshot_bytes(const struct naming_core *k);
size_t naming_core_snapshot(const struct naming_core *k, uint8_t *out, size_t cap);
/*
 * Replaces everything by a snapshot. The bytes may be hostile.
 * Errors: -EBADMSG, or -ENOSPC when it was made with larger tables; the core is then empty.
 */
must_check int naming_core_restore(struct naming_core *k, const uint8_t *bytes, size_t len);

/* Counts everything again. Returns NULL, or the broken invariant: "N1 two tenants share host ids".
 */
const char *naming_core_recount(const struct naming_core *k);

/* ---- lookups ---- */
const struct naming_machine *naming_machine(const struct naming_core *k);
uint64_t naming_time_ms(const struct naming_core *k); /* latest leader time */

const struct naming_node *naming_node_find(const struct naming_core *k, node_id id);
const struct naming_node *naming_node_find_name(const struct naming_core *k, const char *name);
const struct naming_tenant *naming_tenant_find(const struct naming_core *k, tenant_id id);
const struct naming_tenant *naming_tenant_find_name(const struct naming_core *k, const char *name);
const struct naming_key *naming_key_find(const struct naming_core *k,
					 const uint8_t fingerprint[NAMING_KEY_BYTES]);
const struct naming_token *naming_token_find(const struct naming_core *k,
					     const uint8_t hash[NAMING_KEY_BYTES]);
const struct naming_block *naming_block_find(const struct naming_core *k, tenant_id t,
					     uint32_t number);
const struct naming_port *naming_port_find(const struct naming_core *k, tenant_id t, uint32_t kind,
					   uint32_t number, const char *name);
const struct naming_volume *naming_volume_find(const struct naming_core *k, tenant_id t,
					       const char *name);

const struct naming_loan *naming_loan_find(const struct naming_core *k, tenant_id t, node_id node);

/* The limit of a resource, NAMING_ANY: none; and what is lent of it in sum. */
uint64_t naming_limit(const struct naming_tenant *t, enum naming_resource r);
uint64_t naming_lent(const struct naming_core *k, tenant_id t, enum naming_resource r);
/* The least that a world on a node is started with: it is kept for nodes without a loan, an eighth
 * of the limit at most, so that whoever fills a node can still log in on another. */
uint64_t naming_least(const struct naming_tenant *t, enum naming_resource r);
/* What @node could have more than it has. */
uint64_t naming_unlent(const struct naming_core *k, const struct naming_tenant *t,
		       enum naming_resource r, node_id node);

/* for (i = 0; (n = naming_node_at(k, i)) != NULL; i++): rows in no promised order. */
const struct naming_node *naming_node_at(const struct naming_core *k, uint32_t i);
const struct naming_tenant *naming_tenant_at(const struct naming_core *k, uint32_t i);
const struct naming_key *naming_key_at(const struct naming_core *k, uint32_t i);
const struct naming_token *naming_token_at(const struct naming_core *k, uint32_t i);
const struct naming_block *naming_block_at(const struct naming_core *k, uint32_t i);
const struct naming_port *naming_port_at(const struct naming_core *k, uint32_t i);
const struct naming_volume *naming_volume_at(const struct naming_core *k, uint32_t i);
const struct naming_loan *naming_loan_at(const struct naming_core *k, uint32_t i);

/* Whether the records of @b live: they died with the life of the node that kept them. */
bool naming_block_kept(const struct naming_core *k, const struct naming_block *b);
/* Whether the life of the node that has leased @b goes on. */
bool naming_block_homed(const struct naming_core *k, const struct naming_block *b);

/* The block a pid belongs to. */
static inline uint32_t naming_block_of(gpid pid)
{
	return (uint32_t)pid / NAMING_BLOCK_PIDS;
}

/* 1 to max - 1 bytes, first [a-z] (or _ where @underscore), then [a-z0-9-] (and _). */
bool naming_name_ok(const char *name, size_t max, bool underscore);

#endif
