/* SPDX-License-Identifier: Apache-2.0 */
/* source.c - freeze, dump, and then either run on or become the stub. */
#include "migrate/image/priv.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "base/fault.h"

#define STOP_MS 2000

static void frozen_free(struct image_frozen *f)
{
	image_maps_fini(&f->maps);
	tracee_set_fini(&f->set);
	free(f->gates);
	free(f);
}

static void unpark_all(struct image_frozen *f)
{
	/* A thread that was killed meanwhile is no error: it has no need of its registers. */
	if (f->parked > 0 && gate_area_drop(&f->gates[0]) < 0)
		f->gates[0].slot->area = 0;
	for (unsigned i = 0; i < f->parked; i++)
		if (gate_unpark(&f->gates[i]) < 0)
			gate_forget(&f->gates[i]);
}

void image_thaw(struct image_frozen *f)
{
	unpark_all(f);
	tracee_release_all(&f->set);
	frozen_free(f);
}

static int park_all(struct image_frozen *f, struct buf *why)
{
	uint64_t at;
	int r = 0;

	f->gates = calloc(f->set.count, sizeof(*f->gates));
	if (!f->gates)
		return -ENOMEM;
	for (unsigned i = 0; r == 0 && i < f->set.count; i++) {
		r = gate_park(&f->gates[i], f->env.slots, f->env.proc, f->set.pid,
			      &f->set.threads[i], GATE_MOVE);
		if (r == 0)
			f->parked++;
		FAULT("image.freeze.parked");
	}
	if (r == -ENOEXEC)
		why_add(why, "it has no vdso");
	if (r == 0)
		r = gate_hole(f->env.proc, f->set.pid, BATCH_AREA, &at);
	if (r == 0)
		r = gate_area(&f->gates[0], at, BATCH_AREA);
	return r < 0 ? why_err(why, r, "hold its threads") : 0;
}

static int frozen_new(const struct image_env *env, pid_t pid, bool traced_by_us,
		      struct image_frozen **out, struct buf *why)
{
	size_t before = why->len;
	int r = image_status_check(env, pid, traced_by_us, why);

	if (r == 0 && why->len > before)
		r = -ENOTSUP;
	if (r < 0)
		return r;
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	(*out)->env = *env;
	return 0;
}

static int frozen_start(struct image_frozen *f, int stopped, struct buf *why,
			struct image_frozen **out)
{
	int r = stopped < 0 ? why_err(why, stopped, "stop its threads") : park_all(f, why);

	if (r == 0)
		r = image_process_ask(f, why);
	if (r < 0) {
		unpark_all(f);
		tracee_release_all(&f->set);
		frozen_free(f);
		return r;
	}
	*out = f;
	return 0;
}

static void stopping(void *arg, pid_t tid)
{
	const struct image_env *env = arg;

	if (env->hooks->stopping)
		env->hooks->stopping(env->arg, tid);
}

int image_freeze(const struct image_env *env, pid_t pid, struct image_frozen **out, struct buf *why)
{
	struct image_frozen *f;
	int r = frozen_new(env, pid, false, &f, why);

	if (r < 0)
		return r;
	r = tracee_seize_nudged(&f->set, env->proc, pid, STOP_MS, stopping, &f->env);
	return frozen_start(f, r, why, out);
}

int image_freeze_adopt(const struct image_env *env, pid_t pid, int stop, struct image_frozen **out,
		       struct buf *why)
{
	struct image_frozen *f;
	int r = frozen_new(env, pid, true, &f, why);

	if (r == 0)
		r = frozen_start(f, tracee_adopt(&f->set, env->proc, pid, stop), why, out);
	if (r < 0) /* ESRCH: it has been let go already */
		(void)ptrace(PTRACE_DETACH, pid, NULL, NULL);
	return r;
}

/* Our own area is not the guest's. */
static void forget_area(struct image_frozen *f)
{
	const struct gate_slot *s = f->gates[0].slot;
	unsigned kept = 0;

	for (unsigned i = 0; i < f->maps.count; i++) {
		struct image_map *m = &f->maps.map[i];

		if (m->start == s->area && m->end == s->area + s->area_len)
			free(m->path);
		else
			f->maps.map[kept++] = *m;
	}
	f->maps.count = kept;
}

static int read_maps(struct image_frozen *f, struct buf *why)
{
	size_t before = why->len;
	uint64_t pages;
	int r;

	image_maps_fini(&f->maps);
	r = image_maps_read(&f->env, f->set.pid, &f->maps, why);
	if (r < 0)
		return r;
	forget_area(f);
	if (why->len > before)
		return -ENOTSUP;
	return image_pages_count(&f->env, f->set.pid, &f->maps, &pages);
}

int image_dump(struct image_frozen *f, const struct image_sink *to, struct buf *why)
{
	struct record_writer w;
	int r = read_maps(f, why);

	if (r < 0)
		return r;
	r = image_maps_sync(f, why);
	if (r < 0)
		return r;
	r = record_write_start(&w, to);
	if (r == 0)
		r = image_head_dump(&w, f, why);
	if (r == 0)
		r = image_mm_dump(&w, f, why);
	if (r == 0)
		r = image_maps_dump(&w, &f->env, f->set.pid, &f->maps, why);
	if (r == 0)
		r = image_process_dump(&w, f, why);
	if (r == 0)
		r = image_fds_dump(&w, f, why);
	if (r == 0)
		r = image_threads_dump(&w, f, why);
	FAULT("image.dump.state");
	if (r == 0)
		r = image_pages_dump(&w, &f->env, f->set.pid, &f->maps);
	if (r == 0)
		r = record_write(&w, RECORD_END, NULL, 0);
	record_write_fini(&w);
	if (r < 0 && why->len == 0)
		why_err(why, r, "copy it");
	return r;
}

int image_page_read(struct image_frozen *f, uint64_t addr, void *bytes, size_t len)
{
	return tracee_read(f->set.pid, addr, bytes, len);
}

/* Interval timers outlive an exec; the stub has no use for them. */
static int stop_itimers(struct image_frozen *f, struct buf *why)
{
	struct batch *t = batch_new(&f->gates[0], why);
	struct itimerval none = { { 0, 0 }, { 0, 0 } };
	uint64_t at;
	int r;

	if (!t)
		return -ENOMEM;
	at = batch_data(t, &none, sizeof(none));
	for (unsigned i = 0; i < 3; i++)
		BATCH(t, "stop a timer", NULL, SYS_setitimer, i, at, 0);
	r = batch_run(t);
	free(t);
	return r;
}

/* Exec of a program with a capability forgets PR_SET_PDEATHSIG; the stub needs it still. */
static int set_pdeathsig(struct image_frozen *f)
{
	int64_t ret = 0;
	struct gate g;
	int r;

	if (f->pdeathsig == 0)
		return 0;
	r = gate_park(&g, f->env.slots, f->env.proc, f->set.pid, &f->set.threads[0], GATE_CALL);
	if (r == 0)
		r = GATE_CALL(&g, &ret, SYS_prctl, PR_SET_PDEATHSIG, (uint64_t)f->pdeathsig);
	if (r == 0)
		r = gate_unpark(&g);
	return r < 0 ? r : (int)ret;
}

int image_leave(struct image_frozen *f, struct buf *why)
{
	int r = stop_itimers(f, why);

	FAULT("image.leave.timers");
	if (r == 0)
		r = gate_exec(&f->gates[0], &f->set, f->env.stub_path);
	FAULT("image.leave.exec");
	if (r == 0) {
		f->parked = 0; /* gate_exec has freed the slots */
		r = set_pdeathsig(f);
	}
	if (r < 0)
		(void)why_err(why, r, "make it its stub");
	if (r < 0)
		image_forget_dead(&f->env, f->set.pid, f->gates, f->parked);
	tracee_release_all(&f->set);
	frozen_free(f);
	return r;
}
