/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/core/kin.h"

#include <errno.h>

#include "base/check.h"
#include "base/mutant.h"

enum {
	MARK_NEEDED = 1,
	MARK_MAKE = 2,      /* missing, to be made by this plan */
	MARK_MADE = 4,      /* its MAKE is in the plan */
	MARK_SESSION = 8,   /* it has its final session */
	MARK_TRANSIENT = 16 /* a transient session leader bore it: it is in that one's group */
};

struct plan {
	struct kin_task *t;
	uint32_t n;
	struct kin_step *steps;
	uint32_t max;
	uint32_t count;
	gpid pid; /* who arrives: held by its builder, so it may bear */
	gpid *bad;
};

/* Heap sort: in place, no recursion, same order everywhere. */
static void kin_sift(struct kin_task *t, uint32_t root, uint32_t n)
{
	for (;;) {
		uint32_t child = 2 * root + 1;
		struct kin_task tmp;

		if (child >= n)
			return;
		if (child + 1 < n && t[child + 1].pid > t[child].pid)
			child++;
		if (t[root].pid >= t[child].pid)
			return;
		tmp = t[root];
		t[root] = t[child];
		t[child] = tmp;
		root = child;
	}
}

void kin_sort(struct kin_task *t, uint32_t n)
{
	for (uint32_t i = n / 2; i-- > 0;)
		kin_sift(t, i, n);
	for (uint32_t end = n; end > 1; end--) {
		struct kin_task tmp = t[0];

		t[0] = t[end - 1];
		t[end - 1] = tmp;
		kin_sift(t, 0, end - 1);
	}
}

struct kin_task *kin_find(struct kin_task *t, uint32_t n, gpid pid)
{
	uint32_t lo = 0, hi = n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (t[mid].pid == pid)
			return &t[mid];
		if (t[mid].pid < pid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static bool kin_mark(struct kin_task *t, uint32_t n, gpid pid)
{
	struct kin_task *k = kin_find(t, n, pid);

	if (!k || (k->mark & MARK_NEEDED))
		return false;
	k->mark |= MARK_NEEDED;
	return true;
}

void kin_mark_needed(struct kin_task *t, uint32_t n)
{
	bool more = true;

	for (uint32_t i = 0; i < n; i++)
		t[i].mark = t[i].kind == KIN_HERE ? MARK_NEEDED : 0;
	for (uint32_t i = 0; i < n; i++) {
		struct kin_task *parent = kin_find(t, n, t[i].ppid);

		if (parent && parent->kind == KIN_HERE)
			t[i].mark |= MARK_NEEDED;
	}
	/* A line is as long as its processes nest: a handful of rounds. */
	while (more) {
		more = false;
		for (uint32_t i = 0; i < n; i++) {
			if (!(t[i].mark & MARK_NEEDED))
				continue;
			more |= kin_mark(t, n, t[i].ppid);
			more |= kin_mark(t, n, t[i].pgid);
			more |= kin_mark(t, n, t[i].sid);
		}
	}
}

static int plan_add(struct plan *p, enum kin_step_kind kind, gpid pid, gpid by)
{
	if (p->count == p->max)
		return -ENOSPC;
	p->steps[p->count++] = (struct kin_step){ kind, pid, by };
	return 0;
}

static bool kin_exists(const struct kin_task *k)
{
	return k->kind != KIN_ELSEWHERE || (k->mark & MARK_MADE);
}

/* Its parent is there, or is nobody's business here (pid 1, or an unknown reaper). */
static bool plan_parent_there(const struct plan *p, const struct kin_task *k)
{
	const struct kin_task *parent = kin_find(p->t, p->n, k->ppid);

	return !parent || kin_exists(parent);
}

static bool kin_is_leader(const struct kin_task *k)
{
	return k->sid == k->pid;
}

static gpid kin_sid_now(const struct kin_task *k)
{
	return k->sid_now ? k->sid_now : k->sid;
}

static gpid kin_pgid_now(const struct kin_task *k)
{
	return k->pgid_now ? k->pgid_now : k->pgid;
}

/* It is there, and in its session. */
static bool kin_in_session(const struct kin_task *k)
{
	if (k->mark & MARK_SESSION)
		return true;
	return k->kind != KIN_ELSEWHERE && kin_sid_now(k) == k->sid;
}

/* It is pid 1's, or an unknown reaper's. */
static bool plan_is_orphan(const struct plan *p, const struct kin_task *k)
{
	return kin_find(p->t, p->n, k->ppid) == NULL;
}

/*
 * A stub here that is in session @sid and can bear, best one that is pid 1's child itself; *@any:
 * whether anything here is.
 */
static gpid plan_session_stub(const struct plan *p, gpid sid, bool *any)
{
	const struct kin_task *stub = NULL;

	*any = false;
	for (uint32_t i = 0; i < p->n; i++) {
		const struct kin_task *k = &p->t[i];

		if (k->sid != sid || !kin_in_session(k))
			continue;
		*any = true;
		if (k->kind == KIN_HERE || k->kind == KIN_ZOMBIE)
			continue;
		if (!stub || (!plan_is_orphan(p, stub) && plan_is_orphan(p, k)))
			stub = k;
	}
	return stub ? stub->pid : 0;
}

/* Where @k's session comes from. */
enum kin_birth {
	BIRTH_WAIT,      /* its parent must do something first */
	BIRTH_NOW,       /* from the parent as it is */
	BIRTH_TRANSIENT, /* from a dead session leader, made for it */
	BIRTH_ORPHAN,    /* from a stub of the session, as pid 1's child */
	BIRTH_NEVER,
};

/* Its parent is pid 1. A session outlives its leader, but its number cannot be given again. */
static enum kin_birth plan_orphan_birth(const struct plan *p, const struct kin_task *k)
{
	bool any;
	gpid stub = plan_session_stub(p, k->sid, &any);

	if (!any)
		return kin_find(p->t, p->n, k->sid) ? BIRTH_WAIT : BIRTH_TRANSIENT;
	return stub ? BIRTH_ORPHAN : BIRTH_NEVER;
}

static enum kin_birth plan_birth(const struct plan *p, const struct kin_task *k)
{
	const struct kin_task *parent = kin_find(p->t, p->n, k->ppid);

	if (!plan_parent_there(p, k))
		return BIRTH_WAIT;
	/* A guest is not injected; one that is about to be a stub here may bear later. */
	if (parent &&
	    ((parent->kind == KIN_HERE && parent->pid != p->pid) || parent->kind == KIN_ZOMBIE))
		return BIRTH_NEVER;
	if (kin_is_leader(k))
		return BIRTH_NOW;
	if (!parent)
		return plan_orphan_birth(p, k);
	if (parent->sid == k->sid)
		return kin_in_session(parent) ? BIRTH_NOW : BIRTH_WAIT;
	/* K3b: born before the parent's setsid. Only a parent that this plan makes can go back. */
	if (kin_is_leader(parent) && !kin_in_session(parent)) {
		const struct kin_task *grand = kin_find(p->t, p->n, parent->ppid);

		return grand && grand->sid == k->sid ? BIRTH_NOW : BIRTH_NEVER;
	}
	return BIRTH_NEVER;
}

/* May @k call setsid now? Not while a child that was born before it is missing. */
static bool plan_may_setsid(const struct plan *p, const struct kin_task *k)
{
	for (uint32_t i = 0; i < p->n; i++) {
		const struct kin_task *c = &p->t[i];

		if (c->ppid == k->pid && (c->mark & MARK_MAKE) && !(c->mark & MARK_MADE) &&
		    c->sid != k->sid && !kin_is_leader(c))
			return false;
	}
	return true;
}

static int plan_make(struct plan *p, struct kin_task *k, enum kin_birth how)
{
	int r = 0;

	if (how == BIRTH_TRANSIENT) {
		r = plan_add(p, KIN_MAKE, k->sid, k->ppid);
		r = r < 0 ? r : plan_add(p, KIN_SETSID, k->sid, 0);
		r = r < 0 ? r : plan_add(p, KIN_MAKE, k->pid, k->sid);
		r = r < 0 ? r : plan_add(p, KIN_DROP, k->sid, 0);
		k->mark |= MARK_TRANSIENT;
	} else if (how == BIRTH_ORPHAN) {
		bool any;

		r = plan_add(p, KIN_MAKE_ORPHAN, k->pid, plan_session_stub(p, k->sid, &any));
	} else {
		r = plan_add(p, KIN_MAKE, k->pid, k->ppid);
	}
	k->mark |= MARK_MADE;
	if (!kin_is_leader(k))
		k->mark |= MARK_SESSION;
	return r;
}

/* A dead leader's number is not given again while its group or session is here. */
static bool plan_number_taken(const struct plan *p, gpid pid)
{
	for (uint32_t i = 0; i < p->n; i++) {
		const struct kin_task *k = &p->t[i];

		if (k->kind != KIN_ELSEWHERE && (kin_pgid_now(k) == pid || kin_sid_now(k) == pid))
			return true;
	}
	return false;
}

/* One pass over the missing: makes who can be made. Returns steps added, or an error. */
static int plan_round(struct plan *p)
{
	uint32_t before = p->count;
	int r = 0;

	for (uint32_t i = 0; i < p->n && r == 0; i++) {
		struct kin_task *k = &p->t[i];
		enum kin_birth how;

		if (kin_in_session(k) || !((k->mark & MARK_MAKE) || k->kind == KIN_STUB))
			continue;
		if (kin_exists(k)) {
			if (!kin_is_leader(k)) {
				*p->bad = k->pid;
				return -EXDEV;
			}
			if (plan_may_setsid(p, k)) {
				r = plan_add(p, KIN_SETSID, k->pid, 0);
				k->mark |= MARK_SESSION;
			}
			continue;
		}
		how = plan_number_taken(p, k->pid) ? BIRTH_NEVER : plan_birth(p, k);
		if (how == BIRTH_NEVER) {
			*p->bad = k->pid;
			return -EXDEV;
		}
		if (how != BIRTH_WAIT)
			r = plan_make(p, k, how);
	}
	return r < 0 ? r : (int)(p->count - before);
}

static int plan_make_all(struct plan *p)
{
	int r;

	do {
		r = plan_round(p);
	} while (r > 0);
	for (uint32_t i = 0; i < p->n && r == 0; i++) {
		if ((p->t[i].mark & MARK_MAKE) && !(p->t[i].mark & MARK_SESSION)) {
			*p->bad = p->t[i].pid;
			r = -EINVAL;
		}
	}
	return r;
}

/* Who needs a join, which is nobody who leads a session. */
static bool plan_joins(const struct kin_task *k)
{
	if (k->kind == KIN_STUB && kin_pgid_now(k) != k->pgid)
		return !kin_is_leader(k);
	return (k->mark & MARK_MADE) && !kin_is_leader(k);
}

static bool plan_group_exists(const struct plan *p, gpid pgid)
{
	for (uint32_t i = 0; i < p->n; i++) {
		if (p->t[i].kind != KIN_ELSEWHERE && kin_pgid_now(&p->t[i]) == pgid)
			return true;
	}
	return false;
}

/* A group whose leader is dead: founded by a transient stub, joined by all, and left to itself. */
static int plan_orphan_group(struct plan *p, uint32_t at)
{
	const struct kin_task *first = &p->t[at];
	int r = plan_add(p, KIN_MAKE, first->pgid, first->pid);

	r = r < 0 ? r : plan_add(p, KIN_SETPGID, first->pgid, first->pgid);
	for (uint32_t i = at; i < p->n && r == 0; i++) {
		if (plan_joins(&p->t[i]) && p->t[i].pgid == first->pgid)
			r = plan_add(p, KIN_SETPGID, p->t[i].pid, first->pgid);
	}
	return r < 0 ? r : plan_add(p, KIN_DROP, first->pgid, 0);
}

/* The group of a session whose leader is dead is there if the leader was made in this plan. */
static bool plan_session_made(const struct plan *p, gpid sid)
{
	for (uint32_t i = 0; i < p->n; i++) {
		if ((p->t[i].mark & MARK_TRANSIENT) && p->t[i].sid == sid)
			return true;
	}
	return false;
}

static bool plan_first_of_group(const struct plan *p, uint32_t at)
{
	for (uint32_t i = 0; i < at; i++) {
		if (plan_joins(&p->t[i]) && p->t[i].pgid == p->t[at].pgid)
			return false;
	}
	return true;
}

/* Leads its group when the founders have had their turn. */
static bool plan_founds(const struct kin_task *k)
{
	return k->pgid == k->pid && (k->mark & MARK_SESSION || plan_joins(k));
}

static int plan_join(struct plan *p, uint32_t at)
{
	const struct kin_task *k = &p->t[at];
	const struct kin_task *leader = kin_find(p->t, p->n, k->pgid);

	if ((leader && plan_founds(leader)) || plan_group_exists(p, k->pgid) ||
	    (k->pgid == k->sid && plan_session_made(p, k->sid)))
		return plan_add(p, KIN_SETPGID, k->pid, k->pgid);
	/* A number in use, as a session or by a zombie, cannot be given again to lead a group. */
	if (k->pgid == k->sid || leader) {
		*p->bad = k->pid;
		return -EXDEV;
	}
	return plan_first_of_group(p, at) ? plan_orphan_group(p, at) : 0;
}

/*
 * K3c: who stays in the session's own group, before those who bore it there leave it; then
 * founders; then those who join the living, and the groups of dead leaders.
 */
static int plan_groups(struct plan *p)
{
	int r = 0;

	for (uint32_t i = 0; i < p->n && r == 0; i++) {
		if (plan_joins(&p->t[i]) && p->t[i].pgid == p->t[i].sid)
			r = plan_join(p, i);
	}
	for (uint32_t i = 0; i < p->n && r == 0; i++) {
		if (plan_joins(&p->t[i]) && p->t[i].pgid == p->t[i].pid)
			r = plan_add(p, KIN_SETPGID, p->t[i].pid, p->t[i].pid);
	}
	for (uint32_t i = 0; i < p->n && r == 0; i++) {
		const struct kin_task *k = &p->t[i];

		if (plan_joins(k) && k->pgid != k->pid && k->pgid != k->sid)
			r = plan_join(p, i);
	}
	return r;
}

int kin_plan_arrive(struct kin_task *t, uint32_t n, gpid pid, struct kin_step *steps, uint32_t max,
		    gpid *bad)
{
	struct plan p = { .t = t, .n = n, .steps = steps, .max = max, .pid = pid, .bad = bad };
	struct kin_task *me = kin_find(t, n, pid);
	uint32_t was;
	int r;

	*bad = pid;
	if (!me)
		return -ENOENT;
	was = me->kind;
	me->kind = KIN_HERE;
	kin_mark_needed(t, n);
	me->kind = was;
	for (uint32_t i = 0; i < n; i++) {
		bool make = (t[i].mark & MARK_NEEDED) && t[i].kind == KIN_ELSEWHERE;

		if (MUTANT("kin.turn.early") && t[i].ppid == pid)
			make = false;
		if (make)
			t[i].mark |= MARK_MAKE;
	}
	if (MUTANT("kin.make.beside") && was == KIN_STUB) {
		r = plan_add(&p, KIN_MAKE, pid, me->ppid);
		if (r < 0)
			return r;
	}
	r = plan_make_all(&p);
	r = r < 0 ? r : plan_groups(&p);
	r = r < 0 ? r : plan_add(&p, KIN_TURN, pid, 0);
	return r < 0 ? r : (int)p.count;
}

static bool drop_has_child(const struct kin_task *t, uint32_t n, gpid pid)
{
	for (uint32_t i = 0; i < n; i++) {
		if (t[i].ppid == pid && t[i].kind != KIN_ELSEWHERE && !(t[i].mark & MARK_MADE))
			return true;
	}
	return false;
}

int kin_plan_drop(struct kin_task *t, uint32_t n, struct kin_step *steps, uint32_t max)
{
	struct plan p = { .t = t, .n = n, .steps = steps, .max = max };
	bool more = true;

	if (MUTANT("kin.drop.never"))
		return 0;
	kin_mark_needed(t, n);
	/* MARK_MADE here: its DROP is in the plan. */
	while (more) {
		more = false;
		for (uint32_t i = 0; i < n; i++) {
			struct kin_task *k = &t[i];
			bool needed = k->mark & MARK_NEEDED;

			if ((k->kind != KIN_STUB && k->kind != KIN_ZOMBIE) || (k->mark & MARK_MADE))
				continue;
			if (MUTANT("kin.drop.line")) {
				const struct kin_task *parent = kin_find(t, n, k->ppid);

				needed = parent && parent->kind == KIN_HERE;
			} else if (drop_has_child(t, n, k->pid)) {
				needed = true;
			}
			if (needed)
				continue;
			if (plan_add(&p, KIN_DROP, k->pid, 0) < 0)
				return -ENOSPC;
			k->mark |= MARK_MADE;
			more = true;
		}
	}
	return (int)p.count;
}
