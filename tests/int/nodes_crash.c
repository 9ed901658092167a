/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodes_crash.c - one tenant on two nodes whose guest kernels are killed, while processes of the
 * one run on the other: what they read, write, and how they end must be as if nothing had happened.
 *
 *	nodes_crash relays
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
	"except OSError as e: print(e.strerror); sys.exit(98)' \"$@\"; }\n"

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
	POD_UNTIL(&n1, stubs_on(&n1) == 0 && stubs_on(&n2) == 1);
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
	else
		pod_fail(&n1, "usage: nodes_crash relays");
	pod_stop(&n2);
	pod_stop(&n1);
	loop_free(l);
	printf("%s: ok\n", what);
	return 0;
}
