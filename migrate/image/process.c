/* SPDX-License-Identifier: Apache-2.0 */
/* process.c - what a process has once: credentials, limits, directory, signal actions, timers. */
#include "migrate/image/priv.h"
#include "kernel/stub/stub.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include <linux/capability.h>

#define TIMERS_MAX 1024
#define SIGINFO    128

#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS     77
#define PR_TIMER_CREATE_RESTORE_IDS_OFF 0
#define PR_TIMER_CREATE_RESTORE_IDS_ON  1
#endif

/* ---- status: what forbids a move, and ids ---- */

/* The numbers behind "@name:", at most @max; returns how many. */
static unsigned status_numbers(const char *status, const char *name, int base, uint64_t *out,
			       unsigned max)
{
	char key[32];
	const char *p;
	unsigned n = 0;
	int len = snprintf(key, sizeof(key), "\n%s:", name);

	p = strstr(status, key);
	if (!p)
		return 0;
	p += len;
	while (n < max) {
		char *end;

		while (*p == ' ' || *p == '\t')
			p++;
		if (*p == '\n')
			break;
		out[n] = strtoull(p, &end, base);
		if (end == p)
			break;
		n++;
		p = end;
	}
	return n;
}

static uint64_t status_number(const char *status, const char *name, int base)
{
	uint64_t v = 0;

	(void)status_numbers(status, name, base, &v, 1);
	return v;
}

static void check_status_text(const struct image_env *env, const char *s, bool traced_by_us,
			      struct buf *why)
{
	uint64_t tracer = status_number(s, "TracerPid", 10);

	if (tracer != 0 && !traced_by_us)
		why_add(why, "it is traced");
	if (status_number(s, "NoNewPrivs", 10) != 0)
		why_add(why, "it has given up privileges for ever (no_new_privs)");
	if (status_number(s, "Seccomp", 10) == 1 ||
	    status_number(s, "Seccomp_filters", 10) > env->filters)
		why_add(why, "it has a seccomp filter of its own");
	if (status_number(s, "VmLck", 10) != 0)
		why_add(why, "it has locked memory");
	if (status_number(s, "HugetlbPages", 10) != 0)
		why_add(why, "it uses huge pages of hugetlbfs");
	if (status_number(s, "CapPrm", 16) != 0)
		why_add(why, "it has capabilities");
	if (strstr(s, "\nState:\tZ"))
		why_add(why, "its first thread has ended");
}

/* A parent that waits for a vfork child cannot be stopped: state D in one of three calls. */
static void check_vfork(const struct image_env *env, pid_t pid, const char *status, struct buf *why)
{
	cleanup_buf struct buf b = BUF_INIT;
	const char *s;
	long nr;

	if (!strstr(status, "\nState:\tD"))
		return;
	if (tracee_proc_read(env->proc, pid, "syscall", &b) < 0 || !(s = buf_str(&b)))
		return;
	nr = strtol(s, NULL, 10);
	if (nr == SYS_vfork || nr == SYS_clone || nr == SYS_clone3)
		why_add(why, "it waits for a vfork to end");
}

static void check_root(const struct image_env *env, pid_t pid, struct buf *why)
{
	char at[32], path[4096];
	ssize_t n;

	(void)snprintf(at, sizeof(at), "%d/root", pid);
	n = readlinkat(env->proc, at, path, sizeof(path));
	if (n < 0 || (n == 1 && path[0] == '/'))
		return;
	why_add(why, "it has a root directory of its own");
}

int image_status_check(const struct image_env *env, pid_t pid, bool traced_by_us, struct buf *why)
{
	cleanup_buf struct buf b = BUF_INIT;
	const char *s;
	int r = tracee_proc_read(env->proc, pid, "status", &b);

	s = r == 0 ? buf_str(&b) : NULL;
	if (!s)
		return r < 0 ? r : -ENOMEM;
	check_status_text(env, s, traced_by_us, why);
	check_vfork(env, pid, s, why);
	check_root(env, pid, why);
	return 0;
}

static void narrow(uint32_t *to, const uint64_t *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		to[i] = (uint32_t)from[i];
}

struct ids {
	uint32_t uid[4], gid[4], group[64];
	unsigned groups;
};

static int read_ids(const struct image_env *env, pid_t pid, struct ids *out)
{
	cleanup_buf struct buf b = BUF_INIT;
	uint64_t v[64] = { 0 };
	const char *s;
	int r = tracee_proc_read(env->proc, pid, "status", &b);

	s = r == 0 ? buf_str(&b) : NULL;
	if (!s)
		return r < 0 ? r : -ENOMEM;
	if (status_numbers(s, "Uid", 10, v, 4) != 4)
		return -EPROTO;
	narrow(out->uid, v, 4);
	if (status_numbers(s, "Gid", 10, v, 4) != 4)
		return -EPROTO;
	narrow(out->gid, v, 4);
	out->groups = status_numbers(s, "Groups", 10, v, 64);
	narrow(out->group, v, out->groups);
	return 0;
}

int image_head_dump(struct record_writer *w, struct image_frozen *f, struct buf *why)
{
	Pando__Image__Head h = PANDO__IMAGE__HEAD__INIT;
	cleanup_buf struct buf xstate = BUF_INIT;
	uint32_t cpu[CPU_WORDS];
	struct vdso_info vdso;
	struct ids ids;
	int r = read_ids(&f->env, f->set.pid, &ids);

	if (r == 0)
		r = vdso_info_get(f->env.proc, &vdso);
	if (r == 0)
		r = tracee_get_xstate(&f->set.threads[0], &xstate);
	if (r < 0)
		return why_err(why, r, "read the process");
	cpu_features(cpu);
	h.version = IMAGE_VERSION;
	h.pid = f->set.ns_pid;
	h.threads = f->set.count;
	for (unsigned i = 0; i < f->maps.count; i++)
		h.vmas += f->maps.map[i].kind == MAP_KIND_ANON ||
			  f->maps.map[i].kind == MAP_KIND_FILE;
	h.n_cpu = CPU_WORDS;
	h.cpu = cpu;
	if (xstate.len >= 472)
		memcpy(&h.xcr0, xstate.data + 464, sizeof(h.xcr0));
	h.vdso_hash = vdso.hash;
	h.vvar_bytes = vdso.vvar_bytes;
	h.stopped = f->set.group_stopped;
	h.n_uid = h.n_gid = 4;
	h.uid = ids.uid;
	h.gid = ids.gid;
	h.n_groups = ids.groups;
	h.groups = ids.group;
	return record_write_message(w, RECORD_HEAD, &h.base);
}

/* ---- dump ---- */

struct process_facts {
	int64_t brk, personality, dumpable, thp_disable;
	uint64_t at_ints, at_actions, at_itimers;
};

static void ask_facts(struct batch *t, struct process_facts *p)
{
	p->at_ints = batch_data(t, NULL, 16);
	BATCH(t, "read brk", &p->brk, SYS_brk, 0);
	BATCH(t, "read personality", &p->personality, SYS_personality, 0xffffffff);
	BATCH(t, "read dumpable", &p->dumpable, SYS_prctl, PR_GET_DUMPABLE);
	BATCH(t, "read thp_disable", &p->thp_disable, SYS_prctl, PR_GET_THP_DISABLE);
	BATCH(t, "read pdeathsig", NULL, SYS_prctl, PR_GET_PDEATHSIG, p->at_ints);
	BATCH(t, "read subreaper", NULL, SYS_prctl, PR_GET_CHILD_SUBREAPER, p->at_ints + 8);
	p->at_actions = batch_data(t, NULL, SIGNALS * KERNEL_SIGACTION);
	for (unsigned s = 1; s <= SIGNALS; s++)
		BATCH(t, "read a signal's action", NULL, SYS_rt_sigaction, s, 0,
		      p->at_actions + (s - 1) * KERNEL_SIGACTION, 8);
	p->at_itimers = batch_data(t, NULL, 3 * sizeof(struct itimerval));
	for (unsigned i = 0; i < 3; i++)
		BATCH(t, "read a timer", NULL, SYS_getitimer, i,
		      p->at_itimers + i * sizeof(struct itimerval));
}

static int dump_limits(struct record_writer *w, struct image_frozen *f)
{
	Pando__Image__Limits m = PANDO__IMAGE__LIMITS__INIT;
	cleanup_buf struct buf adj = BUF_INIT;
	uint64_t v[2 * RLIM_NLIMITS];
	int r = tracee_proc_read(f->env.proc, f->set.pid, "oom_score_adj", &adj);

	if (r < 0)
		return r;
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit l;

		if (prlimit(f->set.pid, (enum __rlimit_resource)i, NULL, &l) < 0)
			return -errno;
		v[2 * i] = l.rlim_cur;
		v[2 * i + 1] = l.rlim_max;
	}
	m.n_rlimit = ARRAY_LEN(v);
	m.rlimit = v;
	m.oom_score_adj = buf_str(&adj) ? (int32_t)strtol((char *)adj.data, NULL, 10) : 0;
	m.dumpable = (uint32_t)f->dumpable;
	m.pdeathsig = (uint32_t)f->pdeathsig;
	m.subreaper = f->subreaper != 0;
	m.personality = (uint32_t)f->personality;
	m.thp_disable = f->thp_disable;
	return record_write_message(w, RECORD_LIMITS, &m.base);
}

static int dump_fs(struct record_writer *w, struct image_frozen *f, struct buf *why)
{
	Pando__Image__Fs m = PANDO__IMAGE__FS__INIT;
	cleanup_buf struct buf b = BUF_INIT;
	struct file_id cwd = { .path = NULL };
	int r = tracee_proc_read(f->env.proc, f->set.pid, "status", &b);

	if (r == 0)
		r = file_id_read(&f->env, f->set.pid, "cwd", &cwd);
	if (r < 0)
		return r;
	m.cwd = &cwd.msg;
	m.umask = buf_str(&b) ? (uint32_t)status_number((char *)b.data, "Umask", 8) : 022;
	if (cwd.path && strstr(cwd.path, " (deleted)")) {
		why_add(why, "its working directory %s", cwd.path);
		r = -ENOTSUP;
	}
	if (r == 0)
		r = record_write_message(w, RECORD_FS, &m.base);
	file_id_fini(&cwd);
	return r;
}

static int dump_signals(struct record_writer *w, struct image_frozen *f)
{
	Pando__Image__Signals m = PANDO__IMAGE__SIGNALS__INIT;
	cleanup_buf struct buf pending = BUF_INIT;
	int r = tracee_peek_signals(&f->set.threads[0], true, &pending);

	if (r < 0)
		return r;
	m.actions = (ProtobufCBinaryData){ SIGNALS * KERNEL_SIGACTION, f->actions };
	m.pending = (ProtobufCBinaryData){ pending.len, pending.data };
	return record_write_message(w, RECORD_SIGNALS, &m.base);
}

/* ---- posix timers: /proc/PID/timers lists them, timer_gettime tells what is left ---- */

struct posix_list {
	Pando__Image__PosixTimer t[TIMERS_MAX];
	Pando__Image__PosixTimer *p[TIMERS_MAX];
	uint64_t at[TIMERS_MAX];
	unsigned n;
};

static int ns_tid_of(const struct image_frozen *f, pid_t tid)
{
	for (unsigned i = 0; i < f->set.count; i++)
		if (f->set.threads[i].tid == tid)
			return f->set.threads[i].ns_tid;
	return 0;
}

static int parse_timers(struct image_frozen *f, const char *s, struct posix_list *l)
{
	while (s && (s = strstr(s, "ID:")) && l->n < TIMERS_MAX) {
		Pando__Image__PosixTimer *t = &l->t[l->n];
		char how[16] = "", whom[8] = "";
		int id, signo, pid, clock;
		unsigned long value;

		if (sscanf(s, "ID: %d signal: %d/%lx notify: %15[a-z]/%7[a-z].%d ClockID: %d", &id,
			   &signo, &value, how, whom, &pid, &clock) != 7)
			return -ENOTSUP;
		pando__image__posix_timer__init(t);
		t->id = id;
		t->signo = signo;
		t->value = value;
		t->clock = clock;
		t->notify = strcmp(how, "none") == 0 ? SIGEV_NONE : SIGEV_SIGNAL;
		if (strcmp(whom, "tid") == 0) {
			t->notify |= SIGEV_THREAD_ID;
			t->tid = ns_tid_of(f, pid);
		}
		l->p[l->n++] = t;
		s = strstr(s, "ClockID:") + strlen("ClockID:");
	}
	return s && l->n == TIMERS_MAX ? -ENOTSUP : 0;
}

static int read_posix(struct image_frozen *f, struct batch *t, struct posix_list *l)
{
	cleanup_buf struct buf b = BUF_INIT;
	int r = tracee_proc_read(f->env.proc, f->set.pid, "timers", &b);

	if (r == 0 && !buf_str(&b))
		r = -ENOMEM;
	if (r == 0)
		r = parse_timers(f, (char *)b.data, l);
	for (unsigned i = 0; r == 0 && i < l->n; i++) {
		struct itimerspec now;
		uint64_t at;

		r = batch_room(t, 1, sizeof(now));
		if (r < 0)
			break;
		at = batch_data(t, NULL, sizeof(now));
		BATCH(t, "read a timer", NULL, SYS_timer_gettime, (uint64_t)l->t[i].id, at);
		r = batch_run(t);
		if (r < 0)
			break;
		memcpy(&now, batch_at(t, at), sizeof(now));
		l->t[i].interval_ns = (uint64_t)now.it_interval.tv_sec * NS_PER_S +
				      (uint64_t)now.it_interval.tv_nsec;
		l->t[i].left_ns =
			(uint64_t)now.it_value.tv_sec * NS_PER_S + (uint64_t)now.it_value.tv_nsec;
	}
	return r;
}

static int dump_timers(struct record_writer *w, struct image_frozen *f, struct buf *why)
{
	const struct itimerval *now = f->itimers;
	Pando__Image__Timers m = PANDO__IMAGE__TIMERS__INIT;
	Pando__Image__Itimer it[3], *p[3];
	struct posix_list *l = calloc(1, sizeof(*l));
	struct batch *t = batch_new(&f->gates[0], why);
	int r = l && t ? read_posix(f, t, l) : -ENOMEM;

	if (r == -ENOTSUP)
		why_add(why, "it has timers that cannot be read");
	for (unsigned i = 0; i < 3; i++) {
		pando__image__itimer__init(&it[i]);
		it[i].which = i;
		it[i].interval_us = (uint64_t)now[i].it_interval.tv_sec * 1000000 +
				    (uint64_t)now[i].it_interval.tv_usec;
		it[i].value_us = (uint64_t)now[i].it_value.tv_sec * 1000000 +
				 (uint64_t)now[i].it_value.tv_usec;
		if (it[i].value_us != 0 || it[i].interval_us != 0) {
			p[m.n_itimer++] = &it[i];
		}
	}
	m.itimer = p;
	if (r == 0) {
		m.n_posix = l->n;
		m.posix = l->p;
		r = record_write_message(w, RECORD_TIMERS, &m.base);
	}
	free(l);
	free(t);
	return r;
}

int image_process_ask(struct image_frozen *f, struct buf *why)
{
	struct batch *t = batch_new(&f->gates[0], why);
	struct process_facts p = { 0 };
	int r = t ? 0 : -ENOMEM;

	if (r == 0) {
		ask_facts(t, &p);
		r = batch_run(t);
	}
	if (r == 0) {
		memcpy(&f->pdeathsig, batch_at(t, p.at_ints), 4);
		memcpy(&f->subreaper, batch_at(t, p.at_ints + 8), 4);
		memcpy(f->actions, batch_at(t, p.at_actions), sizeof(f->actions));
		memcpy(f->itimers, batch_at(t, p.at_itimers), sizeof(f->itimers));
		f->brk = (uint64_t)p.brk;
		f->personality = (uint32_t)p.personality;
		f->dumpable = (uint32_t)p.dumpable;
		f->thp_disable = p.thp_disable == 1;
	}
	free(t);
	return r;
}

int image_process_dump(struct record_writer *w, struct image_frozen *f, struct buf *why)
{
	int r = dump_limits(w, f);

	if (r == 0)
		r = dump_fs(w, f, why);
	if (r == 0)
		r = dump_signals(w, f);
	if (r == 0)
		r = dump_timers(w, f, why);
	return r;
}

/* ---- build ---- */

static int same_ids(const struct image_built *b)
{
	const Pando__Image__Head *h = b->m.head;
	struct ids here;
	int r = read_ids(&b->env, b->set.pid, &here);

	if (r < 0)
		return r;
	if (h->n_uid != 4 || h->n_gid != 4 || h->n_groups != here.groups ||
	    memcmp(h->uid, here.uid, sizeof(here.uid)) != 0 ||
	    memcmp(h->gid, here.gid, sizeof(here.gid)) != 0 ||
	    (here.groups > 0 && memcmp(h->groups, here.group, here.groups * 4) != 0)) {
		why_add(b->why, "its user or groups are not those of its stub here");
		return -ENOTSUP;
	}
	return 0;
}

static void set_actions(struct image_built *b, const uint8_t *actions)
{
	uint64_t at = batch_data(b->batch, actions, SIGNALS * KERNEL_SIGACTION);

	for (unsigned s = 1; s <= SIGNALS; s++)
		if (s != SIGKILL && s != SIGSTOP)
			BATCH(b->batch, "set a signal's action", NULL, SYS_rt_sigaction, s,
			      at + (s - 1) * KERNEL_SIGACTION, 0, 8);
}

int image_process_build(struct image_built *b)
{
	const Pando__Image__Limits *l = b->m.limits;
	struct batch *t = b->batch;
	int r = same_ids(b);

	if (r == 0)
		r = batch_room(t, SIGNALS + 8,
			       SIGNALS * KERNEL_SIGACTION + strlen(b->m.fs->cwd->path) + 64);
	if (r < 0)
		return r;
	BATCH(t, b->m.fs->cwd->path, NULL, SYS_chdir, batch_text(t, b->m.fs->cwd->path));
	BATCH(t, "set umask", NULL, SYS_umask, b->m.fs->umask);
	BATCH(t, "set personality", NULL, SYS_personality, l->personality);
	BATCH(t, "set pdeathsig", NULL, SYS_prctl, PR_SET_PDEATHSIG, l->pdeathsig);
	BATCH(t, "set subreaper", NULL, SYS_prctl, PR_SET_CHILD_SUBREAPER, l->subreaper);
	BATCH(t, "set thp_disable", NULL, SYS_prctl, PR_SET_THP_DISABLE, l->thp_disable);
	set_actions(b, b->m.signals->actions.data);
	return batch_run(t);
}

/* A timer gets its number back: the kernel can be asked to (6.15), or it counts up to it. */
static int build_posix(struct image_built *b, const Pando__Image__PosixTimer *p)
{
	struct batch *t = b->batch;
	struct itimerspec when = {
		.it_interval = { (time_t)(p->interval_ns / NS_PER_S),
				 (long)(p->interval_ns % NS_PER_S) },
		.it_value = { (time_t)(p->left_ns / NS_PER_S), (long)(p->left_ns % NS_PER_S) },
	};
	struct sigevent ev = { .sigev_signo = p->signo, .sigev_notify = (int)p->notify };
	int64_t by_id = -1;
	int32_t got = -1;
	int r = 0;

	ev.sigev_value.sival_ptr = (void *)(uintptr_t)p->value;
	ev._sigev_un._tid = p->tid;
	for (unsigned tries = 0; r == 0 && got != p->id; tries++) {
		uint64_t ev_at, id_at;

		if (tries > 4096 || got > p->id) {
			why_add(b->why, "timer %d cannot have its number here", p->id);
			return -ENOTSUP;
		}
		r = batch_room(t, 6, 256);
		if (r < 0)
			return r;
		ev_at = batch_data(t, &ev, sizeof(ev));
		id_at = batch_data(t, &p->id, sizeof(p->id));
		if (got >= 0)
			BATCH(t, NULL, NULL, SYS_timer_delete, (uint64_t)got);
		BATCH(t, NULL, &by_id, SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS,
		      PR_TIMER_CREATE_RESTORE_IDS_ON);
		BATCH(t, "make a timer", NULL, SYS_timer_create, (uint64_t)p->clock, ev_at, id_at);
		BATCH(t, NULL, NULL, SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS,
		      PR_TIMER_CREATE_RESTORE_IDS_OFF);
		r = batch_run(t);
		if (r == 0)
			memcpy(&got, batch_at(t, id_at), sizeof(got));
	}
	if (r == 0)
		r = batch_room(t, 1, sizeof(when));
	if (r < 0)
		return r;
	if (p->left_ns != 0)
		BATCH(t, "set a timer", NULL, SYS_timer_settime, (uint64_t)p->id, 0,
		      batch_data(t, &when, sizeof(when)), 0);
	return batch_run(t);
}

int image_timers_build(struct image_built *b)
{
	const Pando__Image__Timers *m = b->m.timers;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < m->n_itimer; i++) {
		const Pando__Image__Itimer *it = m->itimer[i];
		struct itimerval v = {
			.it_interval = { (time_t)(it->interval_us / 1000000),
					 (suseconds_t)(it->interval_us % 1000000) },
			.it_value = { (time_t)(it->value_us / 1000000),
				      (suseconds_t)(it->value_us % 1000000) },
		};

		/* It stood still until its pending SIGALRM is taken: that travels by itself. */
		if (it->value_us == 0)
			v.it_value = v.it_interval;

		r = batch_room(b->batch, 1, sizeof(v));
		if (r == 0)
			BATCH(b->batch, "set a timer", NULL, SYS_setitimer, it->which,
			      batch_data(b->batch, &v, sizeof(v)), 0);
	}
	for (unsigned i = 0; r == 0 && i < m->n_posix; i++)
		r = build_posix(b, m->posix[i]);
	return r < 0 ? r : batch_run(b->batch);
}

static int write_oom_score(struct image_built *b)
{
	cleanup_close int fd = -1;
	char path[32], text[16];
	int n;

	if (b->m.limits->oom_score_adj == 0)
		return 0;
	(void)snprintf(path, sizeof(path), "%d/oom_score_adj", b->set.pid);
	n = snprintf(text, sizeof(text), "%d", b->m.limits->oom_score_adj);
	fd = openat(b->env.proc, path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, text, (size_t)n) != n ? -errno : 0;
}

/* A limit that is right already is not set: the hard one may need a privilege even so. */
static int set_limit(pid_t pid, enum __rlimit_resource which, const uint64_t soft_hard[2])
{
	struct rlimit now, want = { soft_hard[0], soft_hard[1] };

	if (prlimit(pid, which, NULL, &now) < 0)
		return -errno;
	if (memcmp(&now, &want, sizeof(now)) == 0)
		return 0;
	return prlimit(pid, which, &want, NULL) < 0 ? -errno : 0;
}

/* Last of the process: with its limits and without capabilities nothing more could be built. */
int image_limits_build(struct image_built *b)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };
	struct batch *t = b->batch;
	int r = batch_room(t, 3, 256);

	if (r < 0)
		return r;
	BATCH(t, "give up capabilities", NULL, SYS_capset, batch_data(t, &head, sizeof(head)),
	      batch_data(t, none, sizeof(none)));
	BATCH(t, "set dumpable", NULL, SYS_prctl, PR_SET_DUMPABLE, b->m.limits->dumpable & 1);
	r = batch_run(t);
	if (r == 0)
		r = write_oom_score(b);
	for (int i = 0; r == 0 && i < RLIM_NLIMITS; i++)
		r = set_limit(b->set.pid, (enum __rlimit_resource)i, &b->m.limits->rlimit[2 * i]);
	return r < 0 ? why_err(b->why, r, "set its limits") : 0;
}

/* What asked the stub for a table that it took without would kill the process that it becomes. */
static int drop_asks(struct gate *g, uint64_t at)
{
	const uint64_t words[] = { UINT64_C(1) << (STUB_SIGNAL - 1), 0, 0 }; /* set, timespec */
	int64_t ret = 0;
	int r = tracee_write(g->t->tid, at, words, sizeof(words));

	while (r == 0 && ret >= 0)
		r = GATE_CALL(g, &ret, SYS_rt_sigtimedwait, at, 0, at + 8, sizeof(words[0]));
	return r;
}

/*
 * A siginfo keeps its sender only when the process queues it to itself: the
 * kernel lets nobody else claim to be another.
 */
int image_pending_build(struct gate *g, const ProtobufCBinaryData *infos, pid_t tgid, pid_t tid,
			uint64_t at)
{
	int r = 0;

	if (infos->len % SIGINFO != 0)
		return -EBADMSG;
	if (tid <= 0)
		r = drop_asks(g, at);
	for (size_t i = 0; r == 0 && i < infos->len; i += SIGINFO) {
		int32_t signo;
		int64_t ret = 0;

		memcpy(&signo, infos->data + i, sizeof(signo));
		if (signo < 1 || signo > SIGNALS || signo == SIGKILL || signo == SIGSTOP)
			return -EBADMSG;
		r = tracee_write(g->t->tid, at, infos->data + i, SIGINFO);
		if (r == 0 && tid > 0)
			r = GATE_CALL(g, &ret, SYS_rt_tgsigqueueinfo, (uint64_t)tgid, (uint64_t)tid,
				      (uint64_t)signo, at);
		else if (r == 0)
			r = GATE_CALL(g, &ret, SYS_rt_sigqueueinfo, (uint64_t)tgid, (uint64_t)signo,
				      at);
		if (r == 0 && ret < 0)
			r = (int)ret;
	}
	return r;
}
