/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodes_crash.c - one tenant on two nodes whose guest kernels are killed, while processes of the
 * one run on the other: what they read, write, and how they end must be as if nothing had happened.
 *
 *	nodes_crash relays|load|usage|unreached|points [POINT]
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/rand.h"
#include "kernel/kernel.h"
#include "tests/lib/pod.h"

static struct pod n1, n2;
static struct rand r;
static char text[8192];

/* `on NODE CMD...` without our own program in the tree: python has system calls. */
#define ON                                                                                         \
	"on() { exec python3 -c 'import ctypes,os,sys\n"                                           \
	"libc=ctypes.CDLL(None,use_errno=True)\n"                                                  \
	"r=libc.syscall(0x5511,sys.argv[1].encode())\n"                                            \
	"if r: sys.exit(99)\n"                                                                     \
	"try: os.execvp(sys.argv[2],sys.argv[2:])\n"                                               \
	"except OSError as e: print(e.strerror,libc.syscall(0x5511,sys.argv[1].encode()))\n"       \
	"sys.exit(98)' \"$@\"; }\n"

static struct pod_session *shell(const char *script, int *out)
{
	(void)snprintf(text, sizeof(text), "%s%s", ON, script);
	return pod_shell(&n1, text, out);
}

static bool runs_on(struct pod *p, const char *comm)
{
	static struct pod_answer a;
	Kernel__ProcessList *l;
	bool found = false;

	pod_ask(p, KERNEL_PS, NULL, 0, &a);
	l = a.err == 0 ? kernel__process_list__unpack(NULL, a.len, a.body) : NULL;
	for (size_t i = 0; l && i < l->n_processes; i++)
		found |= strcmp(l->processes[i]->comm, comm) == 0;
	if (l)
		kernel__process_list__free_unpacked(l, NULL);
	return found;
}

static unsigned stubs_on(struct pod *p)
{
	static struct pod_answer a;
	Kernel__Status *st;
	unsigned n;

	pod_ask(p, KERNEL_STATUS, NULL, 0, &a);
	st = a.err == 0 ? kernel__status__unpack(NULL, a.len, a.body) : NULL;
	if (!st)
		return 999;
	n = st->stubs;
	kernel__status__free_unpacked(st, NULL);
	return n;
}

static void turn_for(uint64_t ns)
{
	uint64_t until = clock_mono_ns() + ns;

	while (clock_mono_ns() < until)
		pod_turn(&n1);
}

static void kill_one(struct pod *p)
{
	unsigned before = p->ready;

	pod_kernel_kill(p);
	POD_UNTIL(p, p->ready > before);
}

static void expect_end(struct pod_session *s, int out, const char *want, int status)
{
	char *got = pod_read_all(&n1, out);

	if (strcmp(got, want) != 0)
		pod_fail(&n1, "got \"%s\", want \"%s\"", got, want);
	POD_UNTIL(&n1, s->ended);
	if (s->status != status)
		pod_fail(&n1, "status %#x, want %#x", s->status, status);
	free(got);
}

/* Nothing stays but the zygote. */
static void expect_clean(void)
{
	uint64_t end = clock_mono_ns() + 20 * NS_PER_S;
	unsigned home, site;

	do {
		pod_turn(&n1);
		home = stubs_on(&n1);
		site = stubs_on(&n2);
		if (clock_mono_ns() > end)
			pod_fail(&n1, "%u stubs stay at home, %u at the site", home, site);
	} while (home != 0 || site != 0);
}

/* Processes that run already, and what flows: through the input of one, the output of another. */
static void relays(void)
{
	int out;
	struct pod_session *s = shell("exec 2>/dev/null; "
				      "a=$(seq 3000000 | (on n2 tr 0-4 5-9) | sha256sum); "
				      "b=$(seq 3000000 | tr 0-4 5-9 | sha256sum); "
				      "[ \"$a\" = \"$b\" ] && echo same || echo $a $b; exit 4",
				      &out);
	unsigned kills = 0;

	POD_UNTIL(&n1, runs_on(&n2, "tr"));
	while (kills < 20 && !s->ended) {
		turn_for(rand_below(&r, 100 * NS_PER_MS));
		kill_one(rand_chance(&r, 1, 2) ? &n1 : &n2);
		kills++;
	}
	expect_end(s, out, "same\n", 4 << 8);
	expect_clean();
	printf("relays: %u guest kernels killed\n", kills);
}

/* What starts, fails, writes, reads, is killed and ends on the other node. */
#define WORK                                                                                       \
	"exec 2>/dev/null; x=$( (on n2 sh -c \"echo far; exit 7\") ); echo $x $?; "                \
	"(on n2 /no/such/thing); echo $?; echo in | (on n2 cat) | tr a-z A-Z; "                    \
	"(on n2 sleep 60) & sleep 0.1; kill -TERM $!; wait $!; echo $?; "                          \
	"(on n2 sleep 60) & sleep 0.1; kill -KILL $!; wait $!; echo $?; (on n2 true); echo $?"
#define WORKED "far 7\nNo such file or directory 0\n98\nIN\n143\n137\n0\n"

static unsigned point_names(char names[][64], unsigned max)
{
	static const char *const ours[] = { "kernel.place.",  "kernel.site.",  "kernel.pipe.",
					    "kernel.remote.", "kernel.guest.", "gate.park.",
					    "gate.exec.",     "gate.unpark." };
	static struct pod_answer a;
	Kernel__Status *st;
	unsigned n = 0;

	pod_ask(&n1, KERNEL_STATUS, NULL, 0, &a);
	st = a.err == 0 ? kernel__status__unpack(NULL, a.len, a.body) : NULL;
	POD_CHECK(&n1, st != NULL);
	for (size_t i = 0; i < st->n_fault_points && n < max; i++)
		for (size_t j = 0; j < ARRAY_LEN(ours); j++)
			if (strncmp(st->fault_points[i], ours[j], strlen(ours[j])) == 0)
				(void)snprintf(names[n++], 64, "%s", st->fault_points[i]);
	kernel__status__free_unpacked(st, NULL);
	return n;
}

/* One death at @point of the kernel of @p, while @work is under way. True: it was reached. */
static bool at_point(struct pod *p, const char *point, unsigned nth, const char *work,
		     const char *worked)
{
	unsigned before = p->ready;
	struct pod_session *s;
	char arm[96];
	bool hit;
	int out;

	(void)snprintf(arm, sizeof(arm), "%s:%u", point, nth);
	s = shell(work, &out);
	/* What is told again of the work before may reach the point too, and a session that has not
	 * begun by then never does. */
	POD_UNTIL(&n1, s->pid != 0);
	/* It may be reached so soon that the answer dies with the kernel. */
	if (pod_arm(p, arm) != 0)
		POD_UNTIL(p, p->ready > before);
	expect_end(s, out, worked, 0);
	hit = p->ready > before;
	if (!hit) /* it is armed no more */
		kill_one(p);
	POD_UNTIL(p, p->ready > before);
	expect_clean();
	printf("%s:%u on n%u: %s\n", point, nth, p->node, hit ? "passed" : "not reached");
	fflush(stdout);
	return hit;
}

/* All of them, on the side where they lie; a pipe's are on both. */
static void points(const char *only)
{
	static char names[64][64];
	unsigned n = point_names(names, 64), hits = 0;

	POD_CHECK(&n1, n >= 20);
	for (unsigned i = 0; i < n; i++) {
		bool at_site = strncmp(names[i], "kernel.site.", 12) == 0 ||
			       strncmp(names[i], "kernel.guest.", 13) == 0;
		bool both = strncmp(names[i], "kernel.pipe.", 12) == 0;

		if (only && strcmp(only, names[i]) != 0)
			continue;
		if (!at_site || both)
			hits += at_point(&n1, names[i], 1, WORK, WORKED);
		if (at_site || both)
			hits += at_point(&n2, names[i], 1, WORK, WORKED);
		/* Once more, later on: what is under way then is something else. */
		if (only)
			hits += at_point(at_site ? &n2 : &n1, names[i], 2, WORK, WORKED);
	}
	printf("%u deaths at %u points\n", hits, n);
}

/* Waits that had begun before the death see what was used elsewhere, and so do sums. */
#define USAGE                                                                                      \
	"python3 -c 'import ctypes,os,resource\n"                                                  \
	"for ask in True,False:\n"                                                                 \
	"  p=os.fork()\n"                                                                          \
	"  if p==0:\n"                                                                             \
	"    ctypes.CDLL(None).syscall(0x5511,b\"n2\")\n"                                          \
	"    os.execvp(\"python3\",[\"python3\",\"-c\",\"sum(range(20000000))\"])\n"               \
	"  old=resource.getrusage(resource.RUSAGE_CHILDREN)\n"                                     \
	"  if ask: u=os.wait4(p,0)[2].ru_utime\n"                                                  \
	"  else:\n"                                                                                \
	"    os.waitpid(p,0)\n"                                                                    \
	"    u=resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime-old.ru_utime\n"               \
	"  print(u>0.05,flush=True)'"
#define USED "True\nTrue\n"

static void usage(void)
{
	static const char *const where[] = { "kernel.remote.changed", "kernel.remote.used" };

	unsigned hits = 0;

	for (size_t i = 0; i < ARRAY_LEN(where); i++)
		for (unsigned nth = 1; nth <= 2; nth++)
			hits += at_point(&n1, where[i], nth, USAGE, USED);
	POD_CHECK(&n1, hits >= 2);
}

/* Both kernels die again and again while everything starts and ends. */
static void load(void)
{
	struct pod_session *s[3];
	char script[2048], want[2048] = "";
	unsigned kills = 0, ended = 0;
	int out[3];

	(void)snprintf(script, sizeof(script), "for i in 1 2 3 4 5; do %s; done", WORK);
	for (unsigned i = 0; i < 5; i++)
		(void)strcat(want, WORKED);
	for (unsigned i = 0; i < ARRAY_LEN(s); i++)
		s[i] = shell(script, &out[i]);
	POD_UNTIL(&n1, s[0]->pid && s[1]->pid && s[2]->pid);
	while (ended < ARRAY_LEN(s)) {
		turn_for(rand_below(&r, 150 * NS_PER_MS));
		if (kills < 40)
			kill_one(rand_chance(&r, 1, 2) ? &n1 : &n2);
		kills++;
		ended = 0;
		for (unsigned i = 0; i < ARRAY_LEN(s); i++)
			ended += s[i]->ended;
		if (kills > 400)
			pod_fail(&n1, "it does not end");
	}
	for (unsigned i = 0; i < ARRAY_LEN(s); i++)
		expect_end(s[i], out[i], want, 0);
	expect_clean();
	printf("load: %u guest kernels killed\n", MIN(kills, 40u));
}

/*
 * What is raised while the other kernel cannot be reached arrives when it can be, whatever a pandod
 * says of that: one that has just begun knows no tenant yet, which is not its kernel's answer.
 */
static void raised_unreached(const char *script, const char *typed, int err, const char *want)
{
	const char *argv[] = { "/bin/sh", "-c", text, NULL };
	struct pod_session *s;
	char *got;
	int status;

	(void)snprintf(text, sizeof(text), "%s%s", ON, script);
	s = pod_session(&n1, argv, NULL);
	POD_UNTIL(&n1, runs_on(&n2, "sleep"));
	n1.unreached = n2.unreached = err;
	kill_one(&n2);
	pod_type(&n1, s, typed);
	n1.unreached_count = 0;
	POD_UNTIL(&n1, n1.unreached_count >= 10);
	n1.unreached = n2.unreached = 0;
	got = pod_shown(&n1, s, &status);
	if (!strstr(got, want))
		pod_fail(&n1, "\"%s\" shows \"%s\", not \"%s\"", script, got, want);
	free(got);
	expect_clean();
}

static void unreached(void)
{
	const int errs[] = { -ENOENT, -EACCES };

	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		raised_unreached("trap : INT; (on n2 sleep 300); echo was $?", "\003", errs[i],
				 "was 130");
		raised_unreached("(on n2 sleep 300) & read x; kill -TERM $!; wait $!; echo was $?",
				 "\n", errs[i], "was 143");
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *seed = getenv("PANDO_SEED");
	struct loop *l;

	rand_seed(&r, seed ? strtoull(seed, NULL, 0) : 1);
	if (loop_new(&l, LOOP_AUTO) != 0)
		return 1;
	pod_start(&n1, l, 1, 8192);
	pod_start(&n2, l, 2, 16384);
	POD_UNTIL(&n1, n1.ready == 1 && n2.ready == 1);
	if (strcmp(what, "relays") == 0)
		relays();
	else if (strcmp(what, "load") == 0)
		load();
	else if (strcmp(what, "usage") == 0)
		usage();
	else if (strcmp(what, "unreached") == 0)
		unreached();
	else if (strcmp(what, "points") == 0)
		points(argc > 2 ? argv[2] : NULL);
	else
		pod_fail(&n1, "usage: nodes_crash relays|load|usage|unreached|points [POINT]");
	pod_stop(&n2);
	pod_stop(&n1);
	loop_free(l);
	printf("%s: ok\n", what);
	return 0;
}
