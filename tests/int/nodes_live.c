/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodes_live.c - one tenant on two nodes: two worlds with the real pando-init and pando-kernel,
 * which share nothing but a TCP connection; this program is both pandods.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "kernel/kernel.h"
#include "tests/lib/pod.h"

static struct pod n1, n2;
static char text[4096];

/* `on NODE CMD...` without our own program in the tree: python has system calls. */
#define ON                                                                                         \
	"on() { exec python3 -c 'import ctypes,os,sys\n"                                           \
	"libc=ctypes.CDLL(None,use_errno=True)\n"                                                  \
	"r=libc.syscall(0x5511,sys.argv[1].encode())\n"                                            \
	"if r: sys.exit(99)\n"                                                                     \
	"try: os.execvp(sys.argv[2],sys.argv[2:])\n"                                               \
	"except OSError as e: print(e.strerror); sys.exit(98)' \"$@\"; }\n"

static void run_and_expect(const char *script, const char *want, int status)
{
	int out;
	struct pod_session *s;
	char *got;

	(void)snprintf(text, sizeof(text), "%s%s", ON, script);
	s = pod_shell(&n1, text, &out);
	got = pod_read_all(&n1, out);
	POD_UNTIL(&n1, s->ended || s->start_err);
	if (strcmp(got, want) != 0)
		pod_fail(&n1, "%s: got \"%s\", want \"%s\"", script, got, want);
	if (s->start_err != 0 || s->status != status)
		pod_fail(&n1, "%s: status %#x, want %#x", script, s->status, status);
	printf("ok: %s\n", script);
	fflush(stdout);
	free(got);
}

static bool runs_on(struct pod *p, const char *comm)
{
	static struct pod_answer a;
	Kernel__ProcessList *l;
	bool found = false;

	pod_ask(p, KERNEL_PS, NULL, 0, &a);
	l = a.err == 0 ? kernel__process_list__unpack(NULL, a.len, a.body) : NULL;
	POD_CHECK(p, l != NULL);
	for (size_t i = 0; i < l->n_processes; i++)
		found |= strcmp(l->processes[i]->comm, comm) == 0;
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
	POD_CHECK(p, st != NULL);
	n = st->stubs;
	kernel__status__free_unpacked(st, NULL);
	return n;
}

/* Where it executes, and that nothing stays behind. */
static void where(void)
{
	int out;
	struct pod_session *s;

	(void)snprintf(text, sizeof(text), "%sexec 2>/dev/null; (on n2 sleep 61); echo $?", ON);
	s = pod_shell(&n1, text, &out);
	POD_UNTIL(&n1, runs_on(&n2, "sleep"));
	POD_UNTIL(&n1, !runs_on(&n1, "sleep") && stubs_on(&n1) == 1);
	/* The session's leader; what was before may still be on its way out. */
	POD_UNTIL(&n1, stubs_on(&n2) == 1);
	(void)snprintf(text, sizeof(text), "pkill sleep 2>/dev/null; kill -TERM -%d", s->pid);
	pod_shell(&n1, text, &(int){ 0 });
	POD_UNTIL(&n1, s->ended);
	POD_UNTIL(&n1, !runs_on(&n2, "sleep") && stubs_on(&n1) == 0);
	POD_UNTIL(&n1, stubs_on(&n2) == 0);
	printf("ok: it ran where it should, and left nothing behind\n");
}

int main(void)
{
	struct loop *l;

	if (loop_new(&l, LOOP_AUTO) != 0)
		return 1;
	pod_start(&n1, l, 1, 8192);
	pod_start(&n2, l, 2, 16384);
	POD_UNTIL(&n1, n1.ready == 1 && n2.ready == 1);
	run_and_expect("echo here", "here\n", 0);
	run_and_expect("/no/such/thing 2>/dev/null; echo $?", "127\n", 0);
	run_and_expect("(on n1 echo at home)", "at home\n", 0);
	run_and_expect("(on n9 echo nowhere); echo $?", "99\n", 0);
	run_and_expect("(on n2 echo far away); echo $?", "far away\n0\n", 0);
	run_and_expect("(on n2 sh -c 'exit 7'); echo $?", "7\n", 0);
	run_and_expect("exec 2>/dev/null; (on n2 sh -c 'kill -TERM $$'); echo $?", "143\n", 0);
	run_and_expect("(on n2 /no/such/thing); echo $?", "No such file or directory\n98\n", 0);
	run_and_expect("echo in | (on n2 cat) | tr a-z A-Z", "IN\n", 0);
	run_and_expect("x=$( (on n2 sh -c 'echo $$'); echo $!); (echo $x) | wc -w", "1\n", 0);
	run_and_expect(
		"exec 2>/dev/null; (on n2 sleep 60) & sleep 0.3; kill -TERM $!; wait $!; echo $?",
		"143\n", 0);
	run_and_expect(
		"exec 2>/dev/null; (on n2 sleep 60) & sleep 0.3; kill -KILL $!; wait $!; echo $?",
		"137\n", 0);
	run_and_expect("(echo a; (on n2 echo b); echo c) > f; cat f", "a\nb\nc\n", 0);
	run_and_expect("a=$(yes | head -c 3000000 | (on n2 md5sum)); "
		       "b=$(yes | head -c 3000000 | md5sum); [ \"$a\" = \"$b\" ] && echo same",
		       "same\n", 0);
	run_and_expect(
		"(on n2 yes) 2>/dev/null | head -c 5; echo; (on n2 cat f) | tail -1; (on n2 pwd)",
		"y\ny\ny\nc\n/home/alice\n", 0);
	/* Its own children are the site's; its pid, group and session are what they were. */
	run_and_expect("(on n2 sh -c '(exit 4); echo $?; x=$(echo sub); echo $x')", "4\nsub\n", 0);
	run_and_expect("set -- $( (on n2 sh -c 'ps -o pid=,ppid=,pgid=,sid= -p $$') ); "
		       "[ $3 = $$ ] && [ $4 = $$ ] && echo kin",
		       "kin\n", 0);
	where();
	pod_stop(&n2);
	pod_stop(&n1);
	loop_free(l);
	printf("two nodes: ok\n");
	return 0;
}
