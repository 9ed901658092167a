/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkers. Incremental ones run at the change that could break them; check_recount() counts
 * everything again every few thousand events, and check_end() after all work has come to an end.
 *
 *	K1  at most one site executes a process, ever; never an old copy
 *	K2  a pid is given once
 *	K3  a node has its tasks and, as stubs, what they need: no less at any time, no more at the
 *	    end
 *	K4  a parent's wait returns once per child, with its true status
 *	A1  an epoch never gets smaller, and never changes hands without growing
 *	A2  a claim is granted only from the record's present epoch
 *	A3  a record is remembered before anybody is told
 *	A4  nothing is answered while rebuilding or after a newer FENCE
 *	M3  an original is not released while its pages are missing elsewhere
 *	M4  a signal reaches whoever executes next, unless the node that has it dies
 *	P1  at the end nothing is left over: no machine, note, message to tell, held copy
 */
#include "sim/cluster.h"
#include "sim/link.h"
#include "sim/memory.h"

uint32_t check_runners(struct sim *s, gpid pid, struct knode **where)
{
	uint32_t n = 0;

	for (node_id id = 1; id <= s->conf.nodes; id++) {
		struct task *t = host_find(&s->nodes[id].host, pid);

		if (!t || !task_runs(t))
			continue;
		n++;
		if (where)
			*where = &s->nodes[id];
	}
	return n;
}

void check_runs(struct sim *s, gpid pid)
{
	const struct proc *p = sim_proc(s, pid);
	struct knode *where = NULL;
	uint32_t n = check_runners(s, pid, &where);

	s->w.stats.checks++;
	if (n > 1)
		world_violate(&s->w, "K1", "%d executes at %u sites, n%u is one", pid, n,
			      where->id);
	if (n == 1 && p && !p->alive)
		world_violate(&s->w, "K1", "%d executes at n%u and is dead", pid, where->id);
	if (n == 1 && p && host_find(&where->host, pid)->version != p->version)
		world_violate(&s->w, "K1",
			      "n%u lets an old copy of %d execute: step %llu, not %llu", where->id,
			      pid, (unsigned long long)host_find(&where->host, pid)->version,
			      (unsigned long long)p->version);
}

void check_lost_pages(struct sim *s, struct knode *n, gpid pid)
{
	s->w.stats.checks++;
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		const struct task *t = host_find(&s->nodes[id].host, pid);

		if (t && t->kind == TASK_PROC && t->missing == n->id && s->nodes[id].up)
			world_violate(&s->w, "M3", "n%u releases %d, n%u still needs its pages",
				      n->id, pid, id);
	}
}

void check_dead(struct sim *s, gpid pid, const char *who)
{
	struct knode *where = NULL;

	s->w.stats.checks++;
	if (check_runners(s, pid, &where) > 0)
		world_violate(&s->w, "K1", "%s says that %d is dead; it executes at n%u", who, pid,
			      where->id);
}

/* No repetition takes longer than the longest fault and what follows it. */
void check_signals(struct sim *s, const struct proc *p)
{
	s->w.stats.checks++;
	if (p->sigs && !p->doubt && s->w.now_ns - p->sigs_ns > 150 * NS_PER_S)
		world_violate(&s->w, "M4", "signals %llx of %d were lost in a move",
			      (unsigned long long)p->sigs, p->pid);
}

/* K3, no less: parents, children and leaders of what executes here have a task here. */
static void recount_kin(struct sim *s, struct knode *n, const struct task *t)
{
	const struct proc *p = sim_proc(s, t->pid);
	const struct proc *parent = sim_proc(s, p->ppid);
	const struct proc *group = sim_proc(s, p->pgid), *session = sim_proc(s, p->sid);

	if (t->pgid != p->pgid || t->sid != p->sid)
		world_violate(&s->w, "K3", "n%u: %d is in group %d of session %d, not %d of %d",
			      n->id, t->pid, t->pgid, t->sid, p->pgid, p->sid);
	if (parent && parent->alive && t->ppid != p->ppid)
		world_violate(&s->w, "K3", "n%u: parent of %d is %d, not %d", n->id, t->pid,
			      t->ppid, p->ppid);
	if ((group && group->alive && !host_find(&n->host, p->pgid)) ||
	    (session && session->alive && !host_find(&n->host, p->sid)))
		world_violate(&s->w, "K3", "n%u: a leader of %d is missing", n->id, t->pid);
}

static void recount_children(struct sim *s)
{
	for (uint32_t i = 0; i < s->proc_count; i++) {
		const struct proc *c = &s->procs[i];
		struct knode *n = NULL;
		const struct task *t;

		if (c->ppid == 1 || c->reaped || !sim_proc(s, c->ppid)->alive)
			continue;
		if (check_runners(s, c->ppid, &n) != 1)
			continue;
		t = host_find(&n->host, c->pid);
		if (!t || t->ppid != c->ppid)
			world_violate(&s->w, "K3", "n%u: %d executes without its child %d", n->id,
				      c->ppid, c->pid);
	}
}

void check_recount(struct sim *s)
{
	s->stats.recounts++;
	check_loans(s);
	for (uint32_t i = 0; i < s->proc_count; i++) {
		if (s->procs[i].alive)
			check_runs(s, s->procs[i].pid);
	}
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		struct knode *n = &s->nodes[id];

		for (uint32_t i = 0; i < n->host.count; i++) {
			if (task_runs(&n->host.tasks[i])) {
				s->w.stats.checks++;
				recount_kin(s, n, &n->host.tasks[i]);
			}
		}
	}
	recount_children(s);
	check_memory_recount(s);
	check_fenced(s);
	check_tables(s);
	check_calls_recount(s);
}

void check_record(struct sim *s, struct knode *n, const struct mig_msg *m)
{
	uint32_t b = sim_block(m->pid);
	const struct block *live = n->auth[b], *kept = n->kept[b];
	uint32_t i = (uint32_t)(m->pid - live->auth.first);
	struct proc *p = sim_proc(s, m->pid);

	s->w.stats.checks++;
	if (live->auth.state != MIG_A_SERVING || m->aterm < n->fences[b])
		world_violate(&s->w, "A4", "n%u answers for %d, and does not serve", n->id, m->pid);
	if (!kept || kept->recs[i].epoch != live->recs[i].epoch ||
	    kept->recs[i].site != live->recs[i].site)
		world_violate(&s->w, "A3", "n%u tells of %d what it does not remember", n->id,
			      m->pid);
	if (!p || m->aterm < p->told_aterm)
		return; /* of one that is not fenced yet: nobody who is believes it */
	if (p->told != 0 &&
	    (m->epoch < p->told || (m->epoch == p->told && m->site != p->told_site)))
		world_violate(&s->w, "A1", "n%u: %d goes from epoch %llx at n%u to %llx at n%u",
			      n->id, m->pid, (unsigned long long)p->told, p->told_site,
			      (unsigned long long)m->epoch, m->site);
	p->told = m->epoch;
	p->told_site = m->site;
	p->told_aterm = m->aterm;
}

void check_claim(struct sim *s, const struct knode *n, const struct mig_msg *m,
		 const struct mig_rec *was)
{
	const struct mig_rec *is = migrate_auth_find(&n->auth[sim_block(m->pid)]->auth, m->pid);

	s->w.stats.checks++;
	if (is->epoch != was->epoch && m->epoch != was->epoch)
		world_violate(&s->w, "A2", "n%u: %d is granted from epoch %llx, its epoch is %llx",
			      n->id, m->pid, (unsigned long long)m->epoch,
			      (unsigned long long)was->epoch);
}

static void end_of_node(struct sim *s, struct knode *n)
{
	static struct kin_task t[4096];
	uint32_t count = 0;

	if (!kernel_ready(n))
		world_violate(&s->w, "P1", "n%u is not back", n->id);
	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (n->sources[i].used)
			world_violate(&s->w, "P1", "n%u: the move of %d is still %s", n->id,
				      n->sources[i].m.pid,
				      migrate_source_state_name(n->sources[i].m.state));
		if (n->targets[i].used)
			world_violate(&s->w, "P1", "n%u: the arrival of %d is still %s", n->id,
				      n->targets[i].m.pid,
				      migrate_target_state_name(n->targets[i].m.state));
		if (n->source_notes[i].used || n->target_notes[i].used)
			world_violate(&s->w, "P1", "n%u: a note is left over", n->id);
	}
	for (uint32_t i = 0; i < SIM_EXITS_MAX; i++) {
		if (n->exits[i].used)
			world_violate(&s->w, "P1", "n%u: the %s of %d is still to be told", n->id,
				      n->exits[i].reaped ? "waiting" : "end", n->exits[i].pid);
	}
	for (uint32_t i = 0; i < n->host.count && count < 4096; i++) {
		const struct task *k = &n->host.tasks[i];

		if (k->kind == TASK_BUILD || (k->kind == TASK_PROC && k->locks))
			world_violate(&s->w, "P1", "n%u: a copy of %d is still held", n->id,
				      k->pid);
		t[count++] =
			(struct kin_task){ .pid = k->pid,
					   .ppid = k->ppid,
					   .pgid = k->pgid,
					   .sid = k->sid,
					   .kind = k->kind == TASK_PROC ? KIN_HERE : KIN_STUB };
	}
	kin_mark_needed(t, count);
	for (uint32_t i = 0; i < count; i++) {
		s->w.stats.checks++;
		if (!t[i].mark)
			world_violate(&s->w, "K3", "n%u: stub %d is needed by nobody", n->id,
				      t[i].pid);
	}
}

void check_end(struct sim *s)
{
	check_recount(s);
	check_name_end(s);
	disks_check_end(s);
	gossip_check_end(s);
	check_loans_end(s);
	for (node_id id = 1; id <= s->conf.nodes; id++)
		end_of_node(s, &s->nodes[id]);
	check_memory_end(s);
	check_calls_end(s);
	for (uint32_t i = 0; i < s->proc_count; i++) {
		const struct proc *p = &s->procs[i];
		struct knode *where = NULL;

		if (!p->alive)
			continue;
		s->w.stats.checks++;
		if (check_runners(s, p->pid, &where) != 1 && !p->doubt)
			world_violate(&s->w, "P1", "%d lives and executes nowhere", p->pid);
		if (p->sigs && !p->doubt)
			world_violate(&s->w, "M4", "signals %llx of %d were never taken",
				      (unsigned long long)p->sigs, p->pid);
	}
}
