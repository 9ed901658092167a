/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/core/kin.h"

#include <errno.h>

#include "base/check.h"
#include "base/mutant.h"

enum {
	MARK_NEEDED = 1,
	MARK_MAKE = 2,   /* missing, to be made by this plan */
	MARK_MADE = 4,   /* its MAKE is in the plan */
	MARK_SESSION = 8 /* it has its final session */
};

struct plan {
	struct kin_task *t;
	uint32_t n;
	struct kin_step *steps;
	uint32_t max;
	uint32_t count;
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

/* Where @k's session comes from, given that its parent is there. */
enum kin_birth {
	BIRTH_WAIT,      /* its parent must do something first */
	BIRTH_NOW,       /* from the parent as it is */
	BIRTH_TRANSIENT, /* from a dead session leader, made for it */
	BIRTH_NEVER,
};

static enum kin_birth plan_birth(const struct plan *p, const struct kin_task *k)
{
	const struct kin_task *parent = kin_find(p->t, p->n, k->ppid);

	if (!plan_parent_there(p, k))
		return BIRTH_WAIT;
	if (kin_is_leader(k))
		return BIRTH_NOW;
	if (!parent) {
		/* A child of pid 1 in a session whose leader is dead, or is no task here. */
		return kin_find(p->t, p->n, k->sid) ? BIRTH_NEVER : BIRTH_TRANSIENT;
	}
	if (parent->sid == k->sid)
		return parent->kind != KIN_ELSEWHERE || (parent->mark & MARK_SESSION) ? BIRTH_NOW
										      : BIRTH_WAIT;
	/* K3b: born before the parent's setsid. Only a parent that this plan makes can go back. */
	if (kin_is_leader(parent) && (parent->mark & MARK_MADE) && !(parent->mark & MARK_SESSION)) {
		const struct kin_task *grand = kin_find(p->t, p->n, parent->ppid);

		return grand && grand->sid == k->sid ? BIRTH_NOW : BIRTH_NEVER;
	}
	return kin_find(p->t, p->n, k->sid) ? BIRTH_NEVER : BIRTH_TRANSIENT;
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
	} else {
		r = plan_add(p, KIN_MAKE, k->pid, k->ppid);
	}
	k->mark |= MARK_MADE;
	if (!kin_is_leader(k))
		k->mark |= MARK_SESSION;
	return r;
}

/* One pass over the missing: makes who can be made. Returns steps added, or an error. */
static int plan_round(struct plan *p)
{
	uint32_t before = p->count;
	int r = 0;

	for (uint32_t i = 0; i < p->n && r == 0; i++) {
		struct kin_task *k = &p->t[i];
		enum kin_birth how;

		if (!(k->mark & MARK_MAKE) || (k->mark & MARK_SESSION))
			continue;
		if (k->mark & MARK_MADE) {
			if (plan_may_setsid(p, k)) {
				r = plan_add(p, KIN_SETSID, k->pid, 0);
				k->mark |= MARK_SESSION;
			}
			continue;
		}
		how = plan_birth(p, k);
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

static bool plan_group_exists(const struct plan *p, gpid pgid)
{
	for (uint32_t i = 0; i < p->n; i++) {
		if (p->t[i].kind != KIN_ELSEWHERE && p->t[i].pgid == pgid)
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
		if ((p->t[i].mark & MARK_MADE) && p->t[i].pgid == first->pgid)
			r = plan_add(p, KIN_SETPGID, p->t[i].pid, first->pgid);
	}
	return r < 0 ? r : plan_add(p, KIN_DROP, first->pgid, 0);
}

static bool plan_first_of_group(const struct plan *p, uint32_t at)
{
	for (uint32_t i = 0; i < at; i++) {
		if ((p->t[i].mark & MARK_MADE) && p->t[i].pgid == p->t[at].pgid)
			return false;
	}
	return true;
}

/* K3c: founders, then those who join the living, then the groups of dead leaders. */
static int plan_groups(struct plan *p)
{
	int r = 0;

	for (uint32_t i = 0; i < p->n && r == 0; i++) {
		const struct kin_task *k = &p->t[i];

		if ((k->mark & MARK_MADE) && k->pgid == k->pid && !kin_is_leader(k))
			r = plan_add(p, KIN_SETPGID, k->pid, k->pid);
	}
	for (uint32_t i = 0; i < p->n && r == 0; i++) {
		const struct kin_task *k = &p->t[i];

		if (!(k->mark & MARK_MADE) || k->pgid == k->pid || kin_is_leader(k))
			continue;
		if (kin_find(p->t, p->n, k->pgid) || plan_group_exists(p, k->pgid))
			r = plan_add(p, KIN_SETPGID, k->pid, k->pgid);
		else if (plan_first_of_group(p, i))
			r = plan_orphan_group(p, i);
	}
	return r;
}

int kin_plan_arrive(struct kin_task *t, uint32_t n, gpid pid, struct kin_step *steps, uint32_t max,
		    gpid *bad)
{
	struct plan p = { .t = t, .n = n, .steps = steps, .max = max, .bad = bad };
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

			if (k->kind != KIN_STUB || (k->mark & MARK_MADE))
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
