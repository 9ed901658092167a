/* SPDX-License-Identifier: Apache-2.0 */
/* target.c - an image becomes a process inside a stub, or the stub stays one. */
#include "migrate/image/priv.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/fault.h"

#define STOP_MS 5000

static void built_free(struct image_built *b)
{
	image_model_fini(&b->m);
	tracee_set_fini(&b->set);
	free(b->batch);
	free(b->gates);
	free(b);
}

/* A stub waits in its magic call, which the loop's thread may hold: ask for it back. */
static void nudge(void *arg, pid_t tid)
{
	const struct gate_magic *m = ((const struct gate_slots *)arg)->magic;

	if (m)
		m->answer(m->arg, tid);
}

static int check_host(struct image_built *b)
{
	const Pando__Image__Head *h = b->m.head;
	cleanup_buf struct buf xstate = BUF_INIT;
	struct vdso_info vdso;
	uint64_t xcr0 = 0;
	int r = cpu_fits(h->cpu, h->n_cpu, b->why);

	if (r < 0)
		return r;
	r = vdso_info_get(b->env.proc, &vdso);
	if (r == 0)
		r = tracee_get_xstate(&b->set.threads[0], &xstate);
	if (r < 0)
		return why_err(b->why, r, "read the stub");
	if (xstate.len >= 472)
		memcpy(&xcr0, xstate.data + 464, sizeof(xcr0));
	for (unsigned i = 0; i < b->m.threads; i++)
		if (b->m.thread[i]->xstate.len != xstate.len || xcr0 != h->xcr0) {
			why_add(b->why,
				"the processor here keeps other extended state (%#lx, not "
				"%#lx)",
				(unsigned long)xcr0, (unsigned long)h->xcr0);
			return -ENOTSUP;
		}
	if (h->vdso_hash != vdso.hash || h->vvar_bytes != vdso.vvar_bytes) {
		why_add(b->why, "the kernel here has another vdso");
		return -ENOTSUP;
	}
	return 0;
}

/* Room for the area that is free in the stub and in the image. */
static int find_area(const struct image_built *b, uint64_t *at)
{
	uint64_t a = STUB_END;

	for (unsigned i = 0; i < b->m.vmas; i++) {
		if (a + BATCH_AREA <= b->m.vma[i]->start)
			break;
		a = MAX(a, b->m.vma[i]->end);
	}
	if (a < b->m.mm->vdso_end && a + BATCH_AREA > b->m.mm->vvar)
		a = b->m.mm->vdso_end;
	*at = a;
	return a + BATCH_AREA <= USER_END ? 0 : -ENOMEM;
}

static int take_stub(struct image_built *b, pid_t stub)
{
	struct tracee *room;
	int r = tracee_seize_nudged(&b->set, b->env.proc, stub, STOP_MS, nudge, b->env.slots);

	if (r < 0)
		return why_err(b->why, r, "stop the stub");
	if (b->set.count != 1 || b->set.ns_pid != b->m.head->pid) {
		why_add(b->why, "process %d is not the stub of %d", b->set.ns_pid, b->m.head->pid);
		return -EINVAL;
	}
	/* The gates keep pointers to the threads: there is room for all from the start. */
	room = realloc(b->set.threads, b->m.threads * sizeof(*room));
	b->gates = calloc(b->m.threads, sizeof(*b->gates));
	if (room)
		b->set.threads = room;
	return room && b->gates ? 0 : -ENOMEM;
}

static int park_stub(struct image_built *b)
{
	uint64_t at;
	int r = gate_park(&b->gates[0], b->env.slots, b->env.proc, b->set.pid, &b->set.threads[0],
			  GATE_BUILD);

	if (r < 0)
		return why_err(b->why, r, "hold the stub");
	b->parked = 1;
	r = find_area(b, &at);
	if (r == 0)
		r = gate_area(&b->gates[0], at, BATCH_AREA);
	if (r < 0)
		return why_err(b->why, r, "make room in the stub");
	b->batch = batch_new(&b->gates[0], b->why);
	return b->batch ? 0 : -ENOMEM;
}

static int build_in_stub(struct image_built *b, struct record_reader *r, int first)
{
	int err = image_clear_build(b);

	FAULT("image.build.cleared");
	if (err == 0)
		err = image_vmas_build(b);
	if (err == 0)
		err = image_pages_build(b, r, first);
	FAULT("image.build.pages");
	if (err == 0)
		err = image_mm_build(b);
	if (err == 0)
		err = image_process_build(b);
	if (err == 0)
		err = image_fds_build(b);
	FAULT("image.build.files");
	if (err == 0)
		err = image_threads_build(b);
	if (err == 0)
		err = image_timers_build(b);
	if (err == 0)
		err = image_limits_build(b);
	FAULT("image.build.limits");
	if (err == 0)
		err = image_threads_ready(b);
	FAULT("image.build.ready");
	return err;
}

/* The threads that are parked end in the exec; pid, children and the rest of the stub stay. */
static int back_to_stub(struct image_built *b)
{
	struct gate *g = &b->gates[0];
	uint64_t at;
	int r = 0;

	if (b->parked == 0 || !g->slot)
		return 0;
	/*
	 * A predecessor may have died when it had recorded an area and not mapped it, or unmapped
	 * it and not forgotten. It is there for sure where the gate stands in it.
	 */
	if (g->slot->gate != g->slot->area)
		r = gate_area_drop(g);
	if (r == 0 && g->slot->area == 0) {
		r = gate_hole(b->env.proc, b->set.pid, PAGE, &at);
		if (r == 0)
			r = gate_area(g, at, PAGE);
	}
	return r < 0 ? r : gate_exec(g, &b->set, b->env.stub_path);
}

void image_forget_dead(const struct image_env *env, pid_t pid, struct gate *gates, unsigned n)
{
	cleanup_buf struct buf b = BUF_INIT;
	int r = pid > 0 ? tracee_proc_read(env->proc, pid, "stat", &b) : -ESRCH;
	const char *p = r == 0 ? buf_str(&b) : NULL;

	p = p ? strrchr(p, ')') : NULL;
	if (r != -ESRCH && !(p && (p[2] == 'Z' || p[2] == 'X')))
		return;
	for (unsigned i = 0; i < n; i++)
		gate_forget(&gates[i]);
}

int image_unbuild(struct image_built *b, struct buf *why)
{
	int r = back_to_stub(b);

	if (r < 0)
		(void)why_err(why, r, "make it a stub again");
	else
		b->parked = 0; /* gate_exec has freed the slots */
	/* What we hold stopped is let go by SIGKILL alone: it may not be a zombie yet. */
	image_forget_dead(&b->env, r == -ESRCH ? 0 : b->set.pid, b->gates, b->parked);
	tracee_release_all(&b->set);
	built_free(b);
	return r;
}

int image_build(const struct image_env *env, pid_t stub, const struct image_source *from,
		struct image_built **out, struct buf *why)
{
	struct image_built *b = calloc(1, sizeof(*b));
	struct record_reader r = { .buf = BUF_INIT };
	int first, err;

	if (!b)
		return -ENOMEM;
	b->env = *env;
	b->why = why;
	err = record_read_start(&r, from);
	if (err < 0)
		(void)why_err(why, err, "read the image");
	first = err == 0 ? image_model_read(&r, &b->m, why) : err;
	err = first < 0 ? first : take_stub(b, stub);
	if (err == 0)
		err = check_host(b);
	if (err == 0)
		err = park_stub(b);
	if (err == 0)
		err = build_in_stub(b, &r, first);
	record_read_fini(&r);
	if (err == 0) {
		*out = b;
		return 0;
	}
	if (why->len == 0)
		(void)why_err(why, err, "build it");
	first = image_unbuild(b, why);
	return first == -ESRCH ? first : err;
}

int image_go(struct image_built *b)
{
	int r = 0;

	for (unsigned i = 0; i < b->parked; i++) {
		int one = gate_unpark(&b->gates[i]);

		/* Killed meanwhile: that is what it would have been without us. */
		if (one == -ESRCH)
			gate_forget(&b->gates[i]);
		else if (one < 0)
			r = one;
		FAULT("image.go.unparked");
	}
	if (b->m.head->stopped)
		b->set.threads[0].held_sig = SIGSTOP;
	tracee_release_all(&b->set);
	built_free(b);
	return r;
}

/* ---- a successor ---- */

static struct gate_slot *slot_of_process(const struct image_env *env, pid_t pid)
{
	uint32_t n = MIN(atomic_load(&env->slots->mem->high), GATE_SLOTS);

	for (uint32_t i = 0; i < n; i++) {
		struct gate_slot *s = &env->slots->mem->slot[i];

		if (atomic_load(&s->tid) > 0 && s->pid == pid)
			return s;
	}
	return NULL;
}

int image_recover_role(const struct image_env *env, pid_t pid)
{
	struct gate_slot *s = slot_of_process(env, pid);

	return s ? (int)atomic_load(&s->role) : -ENOENT;
}

static int recover_gates(struct image_built *b)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < b->set.count; i++) {
		struct tracee *t = &b->set.threads[i];
		struct gate_slot *s = gate_slot_find(b->env.slots, t->tid);

		if (!s)
			continue;
		r = gate_recover(&b->gates[b->parked], b->env.slots, b->env.proc, s, t);
		if (r == 0)
			b->parked++;
		if (r == -ENOENT)
			r = 0;
	}
	return r;
}

static int run_on(struct image_built *b)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < b->parked; i++) {
		r = gate_area_drop(&b->gates[i]);
		if (r == 0)
			r = gate_unpark(&b->gates[i]);
	}
	return r;
}

/* Without a parked leader it has been the stub already when its tracer died. */
static int stub_again(struct image_built *b)
{
	const struct tracee *first = b->parked > 0 ? b->gates[0].t : NULL;

	return first && first->tid == b->set.pid ? back_to_stub(b) : 0;
}

int image_recover(const struct image_env *env, pid_t pid, enum image_fate fate, struct buf *why)
{
	struct image_built *b = calloc(1, sizeof(*b));
	struct gate_slot *s;
	int r;

	if (!b)
		return -ENOMEM;
	b->env = *env;
	r = tracee_seize_nudged(&b->set, env->proc, pid, STOP_MS, nudge, env->slots);
	if (r == 0) {
		b->gates = calloc(b->set.count, sizeof(*b->gates));
		r = b->gates ? recover_gates(b) : -ENOMEM;
	}
	if (r == 0)
		r = fate == IMAGE_FATE_RUN ? run_on(b) : stub_again(b);
	if (r == 0 || r == -ESRCH)
		while ((s = slot_of_process(env, pid)))
			gate_forget(&(struct gate){ .slots = env->slots, .slot = s });
	if (r < 0)
		(void)why_err(why, r, "recover it");
	tracee_release_all(&b->set);
	built_free(b);
	return r;
}
