/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate DIR STUB VICTIM [KILLS] - guest kernels die at every step of an
 * injection; the guest must not notice, the successor must find everything.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/log.h"
#include "tests/lib/guestnode.h"

struct victim {
	pid_t pid;
	pid_t ns_pid;
	int talk; /* a byte to it, a byte from it */
};

struct order {
	struct victim *v;
	const char *fault;
	bool exec;
};

#define DIE(...)                                                                                   \
	do {                                                                                       \
		(void)fprintf(stderr, __VA_ARGS__);                                                \
		(void)fputc('\n', stderr);                                                         \
		exit(1);                                                                           \
	} while (0)

static int fail(const char *what, int r)
{
	(void)fprintf(stderr, "gate: %s: %s\n", what, strerror(-r));
	return 1;
}

/* ---- what the guest kernel does ---- */

static int some_calls(struct gate *g, pid_t ns_pid)
{
	struct stub_call t[8];
	uint64_t at;
	int64_t ret = 0;
	int r = GATE_CALL(g, &ret, SYS_getpid, 0);

	if (r < 0 || ret != ns_pid)
		return fail("getpid", r);
	r = gate_hole(g->proc, g->pid, 65536, &at);
	if (r == 0)
		r = gate_area(g, at, 65536);
	if (r < 0)
		return fail("area", r);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++)
		t[i] = (struct stub_call){ .nr = i % 2 ? SYS_getpid : SYS_prctl,
					   .arg = { PR_GET_DUMPABLE } };
	r = gate_table(g, t, ARRAY_LEN(t), at + 4096);
	if (r < 0)
		return fail("table", r);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++)
		if (t[i].ret != (i % 2 ? ns_pid : 1))
			return fail("result in table", (int)t[i].ret);
	return 0;
}

static int visit(struct guestnode *n, void *arg)
{
	struct order *o = arg;
	struct tracee_set set;
	struct gate g;
	int r = tracee_seize_all(&set, n->proc, o->v->pid, 2000);

	if (r < 0)
		return fail("seize", r);
	if (o->fault && fault_arm(o->fault, 1, FAULT_KILL) < 0)
		return fail(o->fault, -ENOENT);
	r = gate_park(&g, &n->slots, n->proc, o->v->pid, &set.threads[0],
		      o->exec ? GATE_MOVE : GATE_CALL);
	if (r < 0)
		return fail("park", r);
	if (some_calls(&g, o->v->ns_pid) != 0)
		return 1;
	if (o->exec) {
		r = gate_exec(&g, &set, n->stub);
		tracee_release_all(&set);
		return r < 0 ? fail("exec", r) : 0;
	}
	r = gate_area_drop(&g);
	if (r == 0)
		r = gate_unpark(&g);
	tracee_release_all(&set);
	return r < 0 ? fail("unpark", r) : 0;
}

static void nudge(void *arg, pid_t tid)
{
	struct guestnode *n = arg;

	n->slots.magic->answer(n->slots.magic->arg, tid);
}

/* The successor: what was to be a stub becomes it, everything else runs on. */
static int succeed(struct guestnode *n, void *arg)
{
	struct order *o = arg;
	struct gate_slot *slot = gate_slot_find(&n->slots, o->v->pid);
	struct tracee_set set;
	struct gate g;
	uint64_t at;
	int r;

	if (!slot)
		return 0;
	r = tracee_seize_nudged(&set, n->proc, o->v->pid, 2000, nudge, n);
	if (r < 0)
		return fail("seize again", r);
	r = gate_recover(&g, &n->slots, n->proc, slot, &set.threads[0]);
	if (r == 0 && slot->role == GATE_MOVE) {
		if (slot->area == 0)
			r = gate_hole(n->proc, o->v->pid, 4096, &at);
		if (r == 0 && slot->area == 0)
			r = gate_area(&g, at, 4096);
		if (r == 0)
			r = gate_exec(&g, &set, n->stub);
	} else if (r == 0) {
		r = gate_area_drop(&g);
		if (r == 0)
			r = gate_unpark(&g);
	}
	tracee_release_all(&set);
	return r < 0 && r != -ENOENT ? fail("recover", r) : 0;
}

/* ---- the test ---- */

static struct victim victim_start(struct guestnode *n, char *path, char *mode)
{
	struct victim v;
	int s[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		DIE("socketpair");
	v.pid = guestnode_spawn(n, (char *[]){ path, mode, NULL }, (int[]){ s[1], s[1], 2 },
				&v.ns_pid);
	if (v.pid < 0)
		DIE("cannot start %s: %s", path, strerror(-v.pid));
	(void)close(s[1]);
	v.talk = s[0];
	return v;
}

static void victim_ask(struct victim *v, const char *when)
{
	char c = '?';

	if (write(v->talk, "x", 1) != 1 || read(v->talk, &c, 1) != 1 || c != '.')
		DIE("gate: after %s the guest says '%c'", when, c);
}

static void visit_killed_at(struct guestnode *n, struct victim *v, const char *point, int kills)
{
	for (int i = 0; i < kills; i++) {
		struct order o = { v, point, false };
		int status = guestnode_run(n, visit, &o);

		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			DIE("gate: %s: guest kernel ended with %#x", point, status);
		status = guestnode_run(n, succeed, &o);
		if (status != 0)
			DIE("gate: %s: successor ended with %#x", point, status);
		victim_ask(v, point);
	}
}

static void kills_at_each_step(struct guestnode *n, char *path, char *mode, int kills)
{
	struct victim v = victim_start(n, path, mode);
	struct order o = { &v, NULL, false };
	struct fault_point *p;
	size_t count;
	int points = 0;

	victim_ask(&v, "its start");
	for (int i = 0; i < 10; i++)
		if (guestnode_run(n, visit, &o) != 0)
			DIE("gate: %s: a visit without a fault failed", mode);
	victim_ask(&v, "ten visits");
	p = fault_points(&count);
	for (size_t i = 0; i < count; i++) {
		if (strncmp(p[i].name, "gate.", 5) != 0 || strstr(p[i].name, ".exec.") ||
		    strstr(p[i].name, ".recover."))
			continue;
		visit_killed_at(n, &v, p[i].name, kills);
		points++;
	}
	(void)close(v.talk);
	if (guestnode_reaped(n, v.ns_pid) != 0)
		DIE("gate: %s: the guest found something wrong", mode);
	(void)printf("%-8s %d points x %d kills: the guest noticed nothing\n", mode, points, kills);
}

static int ask_stub(struct guestnode *n, void *arg)
{
	struct order *o = arg;
	struct stub_call t[2] = { { .nr = SYS_getpid },
				  { .nr = SYS_wait4,
				    .arg = { (uint64_t)-1, STUB_SCRATCH, 0, 0 } } };
	int status = 0;
	int r = guestnode_stub_calls(n, o->v->pid, t, 2);

	if (r == 0)
		r = tracee_read(o->v->pid, STUB_SCRATCH, &status, sizeof(status));
	if (r < 0 || t[0].ret != o->v->ns_pid)
		return fail("getpid of the stub", r);
	if (t[1].ret <= 0 || status != SIGKILL)
		return fail("the stub's wait for the child", (int)t[1].ret);
	return 0;
}

static pid_t only_child(pid_t parent)
{
	char path[64], text[32] = "";
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
	f = fopen(path, "re");
	if (!f || !fgets(text, sizeof(text), f))
		DIE("gate: %d has no child", parent);
	(void)fclose(f);
	return (pid_t)strtol(text, NULL, 10);
}

/* A process with a live child becomes its stub, whoever dies on the way. */
static void becomes_stub(struct guestnode *n, char *path, const char *point)
{
	struct victim v = victim_start(n, path, "children");
	struct order o = { &v, point, true };
	pid_t child;
	int status;

	victim_ask(&v, "its start");
	child = only_child(v.pid);
	status = guestnode_run(n, visit, &o);
	if (point ? !WIFSIGNALED(status) : status != 0)
		DIE("gate: %s: guest kernel ended with %#x", point ? point : "exec", status);
	status = guestnode_run(n, succeed, &o);
	if (status != 0)
		DIE("gate: %s: successor ended with %#x", point ? point : "exec", status);
	if (only_child(v.pid) != child)
		DIE("gate: the stub lost its child");
	if (kill(child, SIGKILL) < 0)
		DIE("gate: the child is gone");
	status = guestnode_run(n, ask_stub, &o);
	if (status != 0)
		DIE("gate: %s: the stub does not do as told", point ? point : "exec");
	(void)kill(v.pid, SIGKILL);
	if (guestnode_reaped(n, v.ns_pid) != SIGKILL)
		DIE("gate: the stub's death is not its own");
	(void)close(v.talk);
}

int main(int argc, char **argv)
{
	static const char *const exec_points[] = { "gate.exec.set", "gate.exec.entered",
						   "gate.exec.done" };
	struct guestnode n;
	int kills, r;
	char dir[128];

	if (argc < 4)
		DIE("usage: gate DIR STUB VICTIM [KILLS]");
	log_init("gate");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	kills = argc > 4 ? atoi(argv[4]) : 12;
	(void)snprintf(dir, sizeof(dir), "%s/node", argv[1]);
	r = guestnode_up(&n, dir, argv[2]);
	if (r < 0)
		DIE("gate: no node: %s", strerror(-r));
	kills_at_each_step(&n, argv[3], "spin", kills);
	kills_at_each_step(&n, argv[3], "read", kills);
	kills_at_each_step(&n, argv[3], "sleep", kills);
	becomes_stub(&n, argv[3], NULL);
	for (unsigned i = 0; i < ARRAY_LEN(exec_points); i++)
		for (int k = 0; k < kills; k++)
			becomes_stub(&n, argv[3], exec_points[i]);
	(void)printf("exec     %zu points x %d kills: a stub, its child still its child\n",
		     ARRAY_LEN(exec_points), kills);
	guestnode_down(&n);
	return 0;
}
