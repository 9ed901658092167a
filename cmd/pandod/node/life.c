/* SPDX-License-Identifier: Apache-2.0 */
/*
 * life.c - the lives of nodes: this one's lease, and where it leads, when others' are over.
 *
 * A life of a node is an epoch of its row. It begins by a command of the node itself, once nothing
 * of an earlier one runs here any more (NODE_EPOCH), and goes on over deaths of pandod: RUN/life
 * says which it is and when its lease was last answered. It is over when its lease is
 * (naming/member/core/lease.h), when the machine has announced its death, or when its guard has
 * died.
 *
 *	(no life) --NODE_EPOCH--> asks for its lease --held--> worlds may start
 *	    ^                                                    |
 *	    +---- all worlds are ended <--- over, or announced --+
 *
 * pandos-init count by themselves, by the same core: each answer is passed on to them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/pandod/pod.h"
#include "cmd/pandod/pod.pb-c.h"
#include "kernel/tenant/client.h"
#include "naming/member/core/lease.h"

enum {
	TICK_MS = 100,
	DUTY_TICKS = 5, /* between two looks at the book */
	ROWS_MAX = 1024,
	DUTIES_MAX = 8, /* announcements under way */
};

/* RUN/life, mapped. All zero: no life. */
struct kept_life {
	uint64_t guard;   /* whose life this was written in */
	uint64_t epoch;   /* 0: none */
	uint64_t from_ns; /* CLOCK_BOOTTIME; 0: never held */
};

struct life {
	struct pod *pod;
	struct kept_life *kept;
	struct lease_conf conf;
	struct lease_holder holder;
	struct lease_book book;
	struct lease_row rows[ROWS_MAX];
	struct loop_timer tick;
	unsigned ticks;
	uint64_t asked_ns, answered_ns;
	uint64_t term; /* that we lead, or are about to; 0: none */
	bool leading;  /* its barrier is under way */
	unsigned duties;
	bool joined;  /* this daemon has made the node a member: its first life is the row's */
	bool cleared; /* nothing of an earlier life runs */
	bool asking;  /* for a new life */
};

static void begin(struct life *l, const struct naming_node *row);

static const struct naming_node *own_row(const struct pod *p)
{
	return naming_node_find(naming_tables(p->naming), naming_self(p->naming));
}

/* ---- what others ask ---- */
epoch_t life_epoch(const struct pod *p)
{
	return p->life->kept->epoch;
}

bool life_is_held(const struct pod *p)
{
	return p->life->kept->epoch != 0 &&
	       lease_look(&p->life->holder, clock_boot_ns()) == LEASE_HELD;
}

uint64_t life_cut_since_ms(const struct pod *p)
{
	const struct life *l = p->life;
	uint64_t age_ns = clock_boot_ns() - l->holder.from_ns;

	if (l->holder.from_ns == 0 || age_ns < 4 * l->conf.ask_ns)
		return 0;
	return (clock_wall_ns() - age_ns) / NS_PER_MS;
}

void life_joined(struct pod *p)
{
	p->life->joined = true;
}

/* ---- pandos-init ---- */
int life_world_clock(struct world *w)
{
	char path[64], line[128];
	long long s, ns;
	int r = -EPROTO;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/timens_offsets", (int)w->t->init_pid);
	f = fopen(path, "re");
	if (f == NULL)
		return -errno;
	while (r < 0 && fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "boottime %lld %lld", &s, &ns) == 2) {
			w->clock_offset_ns = s * (int64_t)NS_PER_S + ns;
			r = 0;
		}
	}
	(void)fclose(f);
	return r;
}

void life_tell(struct world *w)
{
	struct life *l = w->pod->life;
	struct init_msg m = { .op = INIT_LEASE };
	int r;

	if (w->t == NULL || l->holder.from_ns == 0)
		return;
	m.arg[0] = l->holder.from_ns + (uint64_t)w->clock_offset_ns;
	m.arg[1] = l->conf.freeze_ns / NS_PER_MS;
	m.arg[2] = l->conf.kill_ns / NS_PER_MS;
	r = init_send(w->t->control, &m, NULL, 0, NULL, 0);
	if (r < 0)
		log_warn("cannot renew the lease of %s: %s", w->name, strerror(-r));
}

/* ---- asking and answering ---- */
static void say(struct life *l, node_id to, bool held, const Pod__Lease *of)
{
	Pod__Lease x = POD__LEASE__INIT;
	uint8_t body[64];
	struct rpc_msg m = { .method = POD_LEASE, .body = body };

	x.held = held;
	x.origin = of->origin;
	x.epoch = of->epoch;
	x.sent_ns = of->sent_ns;
	m.len = pod__lease__pack(&x, body);
	if (to == naming_self(l->pod->naming))
		life_heard(l->pod, to, body, m.len);
	else
		peers_say(l->pod, to, &m);
}

static node_id leader_of(const struct pod *p)
{
	struct naming_status s;

	naming_status(p->naming, &s);
	return s.leader;
}

static void on_asked(struct life *l, node_id from, const Pod__Lease *x)
{
	const struct naming_core *k = naming_tables(l->pod->naming);
	const struct naming_node *row = naming_node_find(k, x->origin);
	node_id leader = leader_of(l->pod), self = naming_self(l->pod->naming);

	if (row != NULL && row->state != NAMING_NODE_LEFT &&
	    lease_book_ask(&l->book, x->origin, x->epoch, row->epoch, row->down != 0,
			   clock_boot_ns()))
		say(l, from, true, x);
	else if (from == x->origin && leader != NODE_NONE && leader != self && leader != from)
		say(l, leader, false, x);
}

static void on_held(struct life *l, const Pod__Lease *x)
{
	struct pod *p = l->pod;
	uint64_t now_ns = clock_boot_ns();
	bool was_held = life_is_held(p);
	struct world *w;

	if (x->origin != naming_self(p->naming)) { /* it asked through us */
		say(l, x->origin, true, x);
		return;
	}
	if (l->kept->epoch == 0 || x->epoch != l->kept->epoch)
		return;
	l->answered_ns = now_ns;
	lease_answered(&l->holder, x->sent_ns, now_ns);
	l->kept->from_ns = l->holder.from_ns;
	list_for_each (w, &p->worlds, link)
		life_tell(w);
	if (!was_held)
		api_changed(p);
}

void life_heard(struct pod *p, node_id from, const void *body, size_t len)
{
	Pod__Lease *x = pod__lease__unpack(NULL, len, body);

	if (x != NULL && x->held)
		on_held(p->life, x);
	else if (x != NULL)
		on_asked(p->life, from, x);
	pod__lease__free_unpacked(x, NULL);
}

/* Asks the leader; all nodes, if it has not answered three questions. */
static void ask_lease(struct life *l, uint64_t now_ns)
{
	struct pod *p = l->pod;
	Pod__Lease x = POD__LEASE__INIT;
	node_id leader = leader_of(p);
	const struct naming_node *n;

	x.origin = naming_self(p->naming);
	x.epoch = l->kept->epoch;
	x.sent_ns = l->asked_ns = now_ns;
	if (leader != NODE_NONE && now_ns - l->answered_ns < 3 * l->conf.ask_ns) {
		say(l, leader, false, &x);
		return;
	}
	for (uint32_t i = 0; (n = naming_node_at(naming_tables(p->naming), i)) != NULL; i++)
		if (n->state != NAMING_NODE_LEFT)
			say(l, n->id, false, &x);
}

/* ---- this node's lives ---- */
static void admitted(struct life *l, epoch_t epoch)
{
	struct pod *p = l->pod;

	log_info("life %llu of this node begins", (unsigned long long)epoch);
	lease_init(&l->holder, &l->conf);
	*l->kept = (struct kept_life){ .guard = p->args->life, .epoch = epoch };
	l->answered_ns = 0;
	gossip_begin(p, epoch);
	ask_lease(l, clock_boot_ns());
}

static void on_epoch(void *arg, int err, const struct naming_result *r)
{
	struct life *l = arg;

	if (err == -ECANCELED)
		return;
	l->asking = false;
	if (err == 0 && r->err == 0)
		admitted(l, r->epoch);
}

static void begin(struct life *l, const struct naming_node *row)
{
	struct pod *p = l->pod;
	struct naming_cmd cmd = { .kind = NAMING_CMD_NODE_EPOCH, .node = row->id };

	if (l->asking || row->state == NAMING_NODE_LEFT)
		return;
	l->cleared = l->cleared || world_clear_all(p) == 0;
	if (!l->cleared || leave_goes_on(p))
		return;
	if (l->joined && row->epoch == 1 && !row->down) {
		admitted(l, row->epoch);
		return;
	}
	cmd.epoch = row->epoch;
	l->asking = naming_propose(p->naming, &cmd, clock_mono_ns() + POD_ASK_MS * NS_PER_MS,
				   on_epoch, l) == 0;
}

/* pandos-init have ended their guests by now; what is left of worlds goes. */
static void end_life(struct life *l, const char *why)
{
	struct pod *p = l->pod;

	if (l->cleared || l->holder.from_ns != 0)
		log_warn("life %llu of this node is over: %s", (unsigned long long)l->kept->epoch,
			 why);
	l->cleared = false;
	if (world_stop_all(p) < 0)
		return;
	l->cleared = true;
	l->kept->epoch = 0;
	l->kept->from_ns = 0;
	l->joined = false;
	lease_init(&l->holder, &l->conf);
	api_changed(p);
}

struct giving_up {
	struct life *life;
	member_done_fn done;
	void *arg;
};

static void on_given_up(void *arg, int err, const struct naming_result *r)
{
	struct giving_up *x = arg;
	struct life *l = x->life;
	const char *why = "no leader answered";

	if (err == 0 && r->err != 0) {
		err = r->err;
		why = "its life is another by now";
	}
	/* on_tick() may have seen it first. */
	if (err == 0 && l->kept->epoch != 0 && l->kept->epoch < r->epoch)
		end_life(l, "it leaves the machine");
	x->done(x->arg, err, why);
	free(x);
}

void life_give_up(struct pod *p, member_done_fn done, void *arg)
{
	struct naming_cmd cmd = { .kind = NAMING_CMD_NODE_EPOCH,
				  .node = naming_self(p->naming),
				  .epoch = p->life->kept->epoch,
				  .flags = 1 };
	struct giving_up *x = malloc(sizeof(*x));
	int r;

	CHECK(x != NULL);
	*x = (struct giving_up){ p->life, done, arg };
	r = naming_propose(p->naming, &cmd, clock_mono_ns() + POD_ASK_MS * NS_PER_MS, on_given_up,
			   x);
	if (r < 0) {
		done(arg, r, "the machine's tables cannot be asked");
		free(x);
	}
}

static void mind_own(struct life *l, uint64_t now_ns)
{
	const struct naming_node *row = own_row(l->pod);
	bool held = lease_look(&l->holder, now_ns) == LEASE_HELD;

	if (row == NULL)
		return;
	if (l->kept->epoch != 0 && lease_look(&l->holder, now_ns) == LEASE_OVER)
		end_life(l, "no leader has renewed its lease");
	else if (l->kept->epoch != 0 && row->epoch > l->kept->epoch)
		end_life(l, "the machine has announced its death");
	if (l->kept->epoch == 0)
		begin(l, row);
	else if (!held || now_ns - l->asked_ns >= l->conf.ask_ns)
		ask_lease(l, now_ns);
}

/* ---- where this node leads ---- */
struct leading {
	struct life *life;
	uint64_t term, asked_ns;
};

static void leads(void *arg, int err, const struct naming_result *r)
{
	struct leading *x = arg;
	struct life *l = x->life;
	struct naming_status s;

	(void)r;
	if (err != -ECANCELED && l->term == x->term) {
		l->leading = false; /* if that was in vain it is asked again */
		naming_status(l->pod->naming, &s);
		if (err == 0 && s.role == NAMING_ROLE_LEADER && s.term == x->term)
			lease_book_lead(&l->book, x->term, x->asked_ns);
	}
	free(x);
}

void life_status(struct pod *p)
{
	struct life *l = p->life;
	struct naming_status s;
	struct leading *x;

	if (l == NULL)
		return;
	naming_status(p->naming, &s);
	if (s.role != NAMING_ROLE_LEADER) {
		lease_book_stop(&l->book);
		l->term = 0;
		return;
	}
	if (l->term == s.term && (l->book.leads || l->leading))
		return;
	lease_book_stop(&l->book);
	/* All that was committed before is applied when this is answered. */
	x = malloc(sizeof(*x));
	if (x == NULL)
		return;
	*x = (struct leading){ l, s.term, clock_boot_ns() };
	l->term = s.term;
	l->leading =
		naming_barrier(p->naming, clock_mono_ns() + POD_ASK_MS * NS_PER_MS, leads, x) == 0;
	if (!l->leading)
		free(x);
}

static void duty_done(void *arg, int err, const struct naming_result *r)
{
	struct life *l = arg;

	(void)r;
	if (err != -ECANCELED)
		l->duties--;
}

static void announce(struct life *l, const struct naming_node *row)
{
	struct naming_cmd cmd = {
		.kind = NAMING_CMD_NODE_EPOCH, .node = row->id, .epoch = row->epoch, .flags = 1
	};

	log_warn("the lease of node %s is over: it is announced dead", row->name);
	if (naming_propose(l->pod->naming, &cmd, clock_mono_ns() + POD_ASK_MS * NS_PER_MS,
			   duty_done, l) == 0)
		l->duties++;
}

bool life_runs_somewhere(const struct naming_core *k, tenant_id t)
{
	const struct naming_loan *loan;

	for (uint32_t i = 0; (loan = naming_loan_at(k, i)) != NULL; i++)
		if (loan->tenant == t)
			return true;
	return false;
}

node_id life_heir(const struct naming_core *k, const struct naming_block *b)
{
	const struct naming_loan *loan;
	uint32_t best = UINT32_MAX;
	node_id heir = NODE_NONE;

	for (uint32_t i = 0; (loan = naming_loan_at(k, i)) != NULL; i++) {
		const struct naming_node *n = naming_node_find(k, loan->node);
		/* By turns, so that what one node leaves is not one other's alone. */
		uint32_t turn = (loan->node + b->number) % 1024;

		if (loan->tenant != b->tenant || n == NULL || n->id == b->authority ||
		    n->state != NAMING_NODE_JOINED || n->down || n->drain != NAMING_OPEN ||
		    turn >= best)
			continue;
		best = turn;
		heir = n->id;
	}
	return heir;
}

int life_give_block(struct pod *p, const struct naming_block *b, node_id heir, naming_done_fn done,
		    void *arg)
{
	struct naming_cmd cmd = { .kind = heir != NODE_NONE ? NAMING_CMD_BLOCK_MOVE
							    : NAMING_CMD_BLOCK_RELEASE,
				  .node = b->authority,
				  .to = heir,
				  .tenant = b->tenant,
				  .number = b->number,
				  .epoch = b->epoch };

	return naming_propose(p->naming, &cmd, clock_mono_ns() + POD_ASK_MS * NS_PER_MS, done, arg);
}

static void propose_block(struct life *l, const struct naming_block *b, node_id heir)
{
	if (life_give_block(l->pod, b, heir, duty_done, l) == 0)
		l->duties++;
}

/*
 * Pids that a life which is over had leased: of tenants of whom nothing runs anywhere they are
 * free; of others, if nobody keeps their records, somebody is to.
 */
static void mind_orphans(struct life *l)
{
	const struct naming_core *k = naming_tables(l->pod->naming);
	const struct naming_block *b;

	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL && l->duties < DUTIES_MAX; i++) {
		node_id heir;

		if (naming_block_homed(k, b))
			continue;
		if (!life_runs_somewhere(k, b->tenant)) {
			propose_block(l, b, NODE_NONE);
			continue;
		}
		heir = naming_block_kept(k, b) ? NODE_NONE : life_heir(k, b);
		if (heir != NODE_NONE)
			propose_block(l, b, heir);
	}
}

static void lead(struct life *l, uint64_t now_ns)
{
	const struct naming_core *k = naming_tables(l->pod->naming);
	const struct naming_node *row;

	/* One round after the other: what is under way would be asked for again. */
	if (!l->book.leads || l->duties > 0)
		return;
	for (uint32_t i = 0; (row = naming_node_at(k, i)) != NULL && l->duties < DUTIES_MAX; i++)
		if (row->state != NAMING_NODE_LEFT && !row->down &&
		    lease_book_over(&l->book, row->id, row->epoch, now_ns))
			announce(l, row);
	mind_orphans(l);
}

/* ---- start and end ---- */
static void on_tick(struct loop_timer *t)
{
	struct life *l = container_of(t, struct life, tick);
	uint64_t now_ns = clock_boot_ns();

	life_status(l->pod);
	mind_own(l, now_ns);
	if (++l->ticks % DUTY_TICKS == 0) {
		lead(l, now_ns);
		/* Not before the worlds of an earlier daemon are found. */
		if (l->cleared)
			lost_look(l->pod);
	}
	CHECK(loop_timer_set(l->pod->loop, t, clock_mono_ns() + TICK_MS * NS_PER_MS, on_tick) == 0);
}

static void conf_of(const struct args *a, struct lease_conf *c)
{
	*c = lease_conf_default;
	if (a->freeze_ms == 0)
		return;
	c->freeze_ns = a->freeze_ms * NS_PER_MS;
	c->kill_ns = a->kill_ms * NS_PER_MS;
	c->ask_ns = MIN(c->ask_ns, c->freeze_ns / 8);
	/* Above two elections still: a leader that hears no majority goes in half a second. */
	c->overlap_ns = MIN(c->overlap_ns, c->kill_ns / 4);
}

static int map_kept(struct pod *p, struct kept_life **out)
{
	char path[PATH_MAX + 8];
	cleanup_close int fd = -1;
	void *at;

	(void)snprintf(path, sizeof(path), "%s/life", p->run);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(**out)) < 0)
		return -errno;
	at = mmap(NULL, sizeof(**out), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*out = at;
	return 0;
}

int life_init(struct pod *p)
{
	struct life *l = calloc(1, sizeof(*l));
	struct kept_life *kept = NULL;
	int r;

	if (l == NULL)
		return -ENOMEM;
	l->pod = p;
	conf_of(p->args, &l->conf);
	r = map_kept(p, &kept);
	if (r < 0 || kept == NULL) {
		free(l);
		return r;
	}
	l->kept = kept;
	p->life = l;
	/* What an earlier guard's daemons left is of an earlier life. */
	if (l->kept->guard != p->args->life)
		*l->kept = (struct kept_life){ .guard = p->args->life };
	lease_init(&l->holder, &l->conf);
	l->holder.from_ns = l->kept->from_ns;
	lease_book_init(&l->book, &l->conf, l->rows, ROWS_MAX);
	return loop_timer_set(p->loop, &l->tick, 0, on_tick);
}

void life_start(struct pod *p)
{
	struct life *l = p->life;

	if (l->kept->epoch == 0)
		return;
	l->cleared = true;
	gossip_begin(p, l->kept->epoch);
	world_adopt_all(p);
}

void life_fini(struct pod *p)
{
	struct life *l = p->life;

	if (l == NULL)
		return;
	loop_timer_clear(p->loop, &l->tick);
	(void)munmap(l->kept, sizeof(*l->kept));
	free(l);
	p->life = NULL;
}
