/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage.c - accounts of what was used on other nodes; see usage.h.
 *
 * An account comes to be for a stub whose process has ended elsewhere, and for all above it that
 * are no stubs: whoever of them waits for it, and is waited for in turn, hands it up. That it has
 * been waited for shows when it has no task any more and whoever was its parent is one that waits.
 * Looked at when somebody asks: the host's own waits stay as they are.
 */
#include "cmd/pando-kernel/kin/usage.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "kernel/proc/peer.pb-c.h"

#define DEPTH_MAX 64

/* ---- sums ---- */
static void used_add(struct kept_used *to, const struct kept_used *u)
{
	to->user_us += u->user_us;
	to->system_us += u->system_us;
	to->maxrss_kib = MAX(to->maxrss_kib, u->maxrss_kib);
	to->minflt += u->minflt;
	to->majflt += u->majflt;
	to->inblock += u->inblock;
	to->oublock += u->oublock;
	to->nvcsw += u->nvcsw;
	to->nivcsw += u->nivcsw;
}

static const struct kept_used *kids_of(const struct kept_usage *u)
{
	return &u->kids[u->which & 1].used;
}

static struct kept_used total(const struct kept_usage *u)
{
	struct kept_used sum = u->own;

	used_add(&sum, kids_of(u));
	return sum;
}

/* ---- records ---- */
static struct kept_usage *record(const struct world *w, size_t i)
{
	struct kept_usage *u = &w->kept->usages[i];

	return u->state == KEPT_THERE ? u : NULL;
}

static size_t records(const struct world *w)
{
	return MIN(__atomic_load_n(&w->kept->usages_used, __ATOMIC_RELAXED), KEPT_USAGES);
}

bool usage_is_any(const struct world *w)
{
	return records(w) > 0;
}

static struct kept_usage *find(const struct world *w, gpid pid, uint64_t start_ns)
{
	for (size_t i = 0; i < records(w); i++) {
		struct kept_usage *u = record(w, i);

		if (u && u->pid == pid && (start_ns == 0 || u->start_ns == start_ns))
			return u;
	}
	return NULL;
}

static struct kept_usage *account_new(struct world *w, const struct kept_usage *want)
{
	size_t i = 0;

	while (i < records(w) && w->kept->usages[i].state == KEPT_THERE)
		i++;
	if (i == KEPT_USAGES)
		return NULL;
	w->kept->usages[i] = *want;
	kept_state_set(&w->kept->usages[i].state, KEPT_THERE);
	if (i == records(w))
		__atomic_store_n(&w->kept->usages_used, (uint32_t)i + 1, __ATOMIC_RELAXED);
	return &w->kept->usages[i];
}

static void account_free(struct world *w, struct kept_usage *u)
{
	uint32_t n = (uint32_t)records(w);

	kept_state_set(&u->state, KEPT_FREE);
	while (n > 0 && w->kept->usages[n - 1].state != KEPT_THERE)
		n--;
	__atomic_store_n(&w->kept->usages_used, n, __ATOMIC_RELAXED);
}

/* ---- who has waited for whom ---- */
static const struct proc *task_of(const struct proc_list *l, const struct kept_usage *u)
{
	const struct proc *p = proc_list_find(l, u->pid);

	return p && p->t.start_ns == u->start_ns ? p : NULL;
}

/* Who waits here for the children of @parent: a stub does not, its process is elsewhere. */
static bool waits_here(const struct world *w, gpid parent)
{
	return parent > 1 && parent != w->zygote && !stubs_find(w->stubs, parent);
}

static void look_at_parents(struct world *w, const struct proc_list *l)
{
	for (size_t i = 0; i < records(w); i++) {
		struct kept_usage *u = record(w, i);
		const struct proc *p = u ? task_of(l, u) : NULL, *parent;

		if (!p)
			continue;
		parent = waits_here(w, p->ppid) ? proc_list_find(l, p->ppid) : NULL;
		u->parent = parent ? p->ppid : 0;
		u->parent_start_ns = parent ? parent->t.start_ns : 0;
	}
}

/* Once, wherever we die: the sum counts its last child. */
static void hand_up(struct kept_usage *to, const struct kept_usage *child)
{
	const struct kept_kids *now = &to->kids[to->which & 1];
	struct kept_kids *next = &to->kids[!(to->which & 1)];
	const struct kept_used sum = total(child);

	if (now->last == child->pid && now->last_start_ns == child->start_ns)
		return;
	*next = *now;
	used_add(&next->used, &sum);
	next->last = child->pid;
	next->last_start_ns = child->start_ns;
	kept_state_set(&to->which, !(to->which & 1));
}

/* One that has no task any more, and of whose children this is true of none. */
static struct kept_usage *next_gone(const struct world *w, const struct proc_list *l,
				    const struct kept_usage *but)
{
	for (size_t i = 0; i < records(w); i++) {
		struct kept_usage *u = record(w, i);
		bool leaf = u && u != but && !task_of(l, u);

		for (size_t k = 0; leaf && k < records(w); k++) {
			const struct kept_usage *c = record(w, k);

			leaf = !c || c == u || c->parent != u->pid ||
			       c->parent_start_ns != u->start_ns || task_of(l, c);
		}
		if (leaf)
			return u;
	}
	return NULL;
}

static bool ignores_children(const struct task_info *t)
{
	return t->ignored >> (SIGCHLD - 1) & 1;
}

/* Whoever has ended and been waited for is its parent's; @but stays. */
static void settle(struct world *w, const struct proc_list *l, const struct kept_usage *but)
{
	struct kept_usage *u;

	look_at_parents(w, l);
	while ((u = next_gone(w, l, but)) != NULL) {
		struct kept_usage *to = u->parent ? find(w, u->parent, u->parent_start_ns) : NULL;
		const struct proc *p = to ? task_of(l, to) : NULL;

		/* One that does not want to know of its children gets no usage (wait(2)). */
		if (to && (!p || !ignores_children(&p->t)))
			hand_up(to, u);
		account_free(w, u);
	}
}

bool usage_has_kids(const struct world *w, gpid pid)
{
	for (size_t i = 0; i < records(w); i++) {
		const struct kept_usage *u = record(w, i);

		if (u && (u->parent == pid || (u->pid == pid && kids_of(u)->maxrss_kib > 0)))
			return true;
	}
	return false;
}

struct kept_used usage_of_kids(struct world *w, gpid pid)
{
	struct kept_used sum = { 0 };
	const struct kept_usage *u;
	struct proc_list l;

	if (proc_scan(&l, &w->view) != 0)
		return sum;
	settle(w, &l, NULL);
	u = find(w, pid, 0);
	if (u)
		sum = *kids_of(u);
	proc_list_fini(&l);
	return sum;
}

struct kept_used usage_of(struct world *w, gpid pid)
{
	struct kept_usage *u = find(w, pid, 0);
	struct kept_used sum = { 0 };
	struct proc_list l;

	if (!u || proc_scan(&l, &w->view) != 0)
		return sum;
	settle(w, &l, u);
	sum = total(u);
	proc_list_fini(&l);
	return sum;
}

void usage_add(struct world *w, gpid pid, struct rusage *to)
{
	const struct kept_used u = usage_of(w, pid);

	usage_put(&u, to);
}

static void time_add(struct timeval *t, uint64_t us)
{
	us += (uint64_t)t->tv_sec * 1000000 + (uint64_t)t->tv_usec;
	t->tv_sec = (time_t)(us / 1000000);
	t->tv_usec = (suseconds_t)(us % 1000000);
}

void usage_put(const struct kept_used *u, struct rusage *to)
{
	time_add(&to->ru_utime, u->user_us);
	time_add(&to->ru_stime, u->system_us);
	to->ru_maxrss = MAX(to->ru_maxrss, (long)u->maxrss_kib);
	to->ru_minflt += (long)u->minflt;
	to->ru_majflt += (long)u->majflt;
	to->ru_inblock += (long)u->inblock;
	to->ru_oublock += (long)u->oublock;
	to->ru_nvcsw += (long)u->nvcsw;
	to->ru_nivcsw += (long)u->nivcsw;
}

/* ---- ends that are told ---- */
/* A peer may say anything: what no process can have used would overflow sums. */
static uint64_t sane(uint64_t v)
{
	return MIN(v, UINT64_C(1) << 50);
}

static struct kept_used told_by(const Peer__Changed *q)
{
	return (struct kept_used){
		.user_us = sane(q->user_us),
		.system_us = sane(q->system_us),
		.maxrss_kib = sane(q->maxrss_kib),
		.minflt = sane(q->minflt),
		.majflt = sane(q->majflt),
		.inblock = sane(q->inblock),
		.oublock = sane(q->oublock),
		.nvcsw = sane(q->nvcsw),
		.nivcsw = sane(q->nivcsw),
	};
}

/* Who waits for task @t; gpid 0: nobody here. */
static void read_parent(const struct world *w, const struct task_info *t, struct task_info *parent)
{
	if (task_read(parent, w->view.procfs, t->node_ppid) != 0 || parent->uid == 0 ||
	    !waits_here(w, parent->gpid))
		memset(parent, 0, sizeof(*parent));
}

/* Of task @t, whom @parent waits for: an account, if there is none. */
static struct kept_usage *account_of(struct world *w, const struct task_info *t,
				     const struct task_info *parent)
{
	struct kept_usage want = { .pid = t->gpid, .start_ns = t->start_ns }, *u;

	want.parent = parent->gpid;
	want.parent_start_ns = parent->start_ns;
	u = find(w, t->gpid, t->start_ns);
	return u ? u : account_new(w, &want);
}

void usage_told(struct world *w, const struct Peer__Changed *q)
{
	const struct stub *s = stubs_find(w->stubs, q->pid);
	pid_t pid = s ? s->pid : place_pid(w, q->pid);
	const struct kept_used used = told_by(q);
	struct task_info t, parent;
	struct kept_usage *u;

	if (pid == 0 || task_read(&t, w->view.procfs, pid) != 0 || t.gpid != q->pid)
		return;
	/* It may not do so any more when we look. */
	read_parent(w, &t, &parent);
	if (ignores_children(&parent))
		return;
	u = account_of(w, &t, &parent);
	if (!u) {
		log_warn("what pid %d used is lost: too many have used something elsewhere",
			 q->pid);
		return;
	}
	u->own = used;
	/* Those above may end before anybody asks. */
	for (unsigned depth = 0; parent.gpid > 1 && depth < DEPTH_MAX; depth++) {
		t = parent;
		if (find(w, t.gpid, t.start_ns))
			break;
		read_parent(w, &t, &parent);
		if (!account_of(w, &t, &parent))
			break;
	}
}
