/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_live.c - one tenant, one node, the real pando-init and pando-kernel; this program is
 * pandod.
 *
 *	kernel_live sessions|crash|points
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

static struct pod pod;
static struct pod_answer answer;

static void expect(const char *what, const char *got, const char *want)
{
	if (strcmp(got, want) != 0)
		pod_fail(&pod, "%s: got \"%s\", want \"%s\"", what, got, want);
}

/* Runs @text in a session and compares its output and wait status. */
static void run_and_expect(const char *text, const char *want, int status)
{
	int out;
	struct pod_session *s = pod_shell(&pod, text, &out);
	char *got = pod_read_all(&pod, out);

	POD_UNTIL(&pod, s->ended || s->start_err);
	if (s->start_err != 0)
		pod_fail(&pod, "%s: not started: %s", text, strerror(-s->start_err));
	expect(text, got, want);
	if (s->status != status)
		pod_fail(&pod, "%s: status %#x, want %#x", text, s->status, status);
	free(got);
}

static const Kernel__ProcessList *ps(void)
{
	static Kernel__ProcessList *l;

	if (l)
		kernel__process_list__free_unpacked(l, NULL);
	pod_ask(&pod, KERNEL_PS, NULL, 0, &answer);
	POD_CHECK(&pod, answer.err == 0);
	l = kernel__process_list__unpack(NULL, answer.len, answer.body);
	POD_CHECK(&pod, l != NULL);
	return l;
}

static const Kernel__Process *find(const char *comm)
{
	const Kernel__ProcessList *l = ps();

	for (size_t i = 0; i < l->n_processes; i++)
		if (strcmp(l->processes[i]->comm, comm) == 0)
			return l->processes[i];
	return NULL;
}

static int send_signal(gpid pid, int signo)
{
	Kernel__Signal q = KERNEL__SIGNAL__INIT;
	uint8_t body[32];

	q.pid = pid;
	q.signo = signo;
	pod_ask(&pod, KERNEL_SIGNAL, body, kernel__signal__pack(&q, body), &answer);
	return answer.err;
}

static void list_and_signal(void)
{
	int out;
	struct pod_session *s =
		pod_shell(&pod, "exec 2>/dev/null; sleep 77 & wait $!; echo $?", &out);
	const Kernel__Process *p;
	gpid sleeper;

	POD_UNTIL(&pod, find("sleep") != NULL);
	p = find("sleep");
	sleeper = p->pid;
	POD_CHECK(&pod, p->ppid == s->pid && p->sid == s->pid && p->uid == TENANT_UID);
	POD_CHECK(&pod, p->node == pod.node && p->threads == 1 && p->pid >= pod.next_block &&
				p->pid < pod.next_block + 4096);
	POD_CHECK(&pod, strcmp(p->args, "sleep 77") == 0 && p->tty == -1);
	POD_CHECK(&pod, ps()->n_processes == 2);
	POD_CHECK(&pod, send_signal(sleeper + 1000, SIGTERM) == -ESRCH);
	POD_CHECK(&pod, send_signal(0, SIGTERM) == -EINVAL);
	POD_CHECK(&pod, send_signal(sleeper, SIGTERM) == 0);
	expect("wait for a killed child", pod_read_all(&pod, out), "143\n");
	POD_UNTIL(&pod, s->ended);
}

static void terminal(void)
{
	const char *argv[] = { "sh", "-c", "stty size; test -t 0 && tty; read x; echo got $x",
			       NULL };
	struct pod_session *s = pod_session(&pod, argv, NULL);
	char *got;
	int status = -1;

	POD_UNTIL(&pod, s->pid != 0);
	pod_type(&pod, s, "line\n");
	got = pod_shown(&pod, s, &status);
	POD_CHECK(&pod, status == 0 && strstr(got, "24 80") && strstr(got, "/dev/pts/") &&
				strstr(got, "got line"));
	POD_UNTIL(&pod, s->ended);
	POD_CHECK(&pod, s->status == 0);
	free(got);
}

static void refusals(void)
{
	const char *missing[] = { "/no/such/program", NULL };
	int fds[3] = { dup(0), dup(1), dup(2) };
	struct pod_session *s = pod_session(&pod, missing, fds);

	POD_UNTIL(&pod, s->start_err != 0);
	POD_CHECK(&pod, s->start_err == -ENOENT);
	POD_CHECK(&pod, pod_arm(&pod, "no.such.point") == -ENOENT);
}

static void sessions(void)
{
	run_and_expect("echo hello; exit 7", "hello\n", 7 << 8);
	run_and_expect("kill -9 $$", "", SIGKILL);
	run_and_expect("id -u; cat /proc/self/comm", "1000\ncat\n", 0);
	list_and_signal();
	terminal();
	refusals();
	pod_reconnect(&pod);
	POD_UNTIL(&pod, pod.ready == 2);
	run_and_expect("echo a new pandod", "a new pandod\n", 0);
	POD_CHECK(&pod, pod.kernels == 1);
}

/* What a guest kernel decides about, in a loop: fork, exec, kill, wait; any lost call changes a
 * line. */
#define WORK                                                                                       \
	"exec 2>/dev/null; trap 'n=$((n+1))' USR1; n=0; i=0; while %s; do i=$((i+1)); "            \
	"/bin/true || echo true failed; (exit 3); [ $? = 3 ] || echo wrong status; "               \
	"/bin/sleep 60 & kill -TERM $!; wait $!; [ $? = 143 ] || echo wrong death $?; "            \
	"kill -USR1 $$; x=$(/bin/echo $i); [ \"$x\" = $i ] || echo wrong word; done; "             \
	"echo rounds $i signals $n"

static void crash(void)
{
	const char *seed = getenv("PANDO_SEED");
	struct pod_session *s[3];
	struct rand r;
	char text[1024], want[64];
	int out[3];

	rand_seed(&r, seed ? strtoull(seed, NULL, 0) : 1);
	(void)snprintf(text, sizeof(text), WORK, "[ $i -lt 150 ]");
	(void)snprintf(want, sizeof(want), "rounds %d signals %d\n", 150, 150);
	for (int i = 0; i < 3; i++)
		s[i] = pod_shell(&pod, text, &out[i]);
	POD_UNTIL(&pod, s[0]->pid && s[1]->pid && s[2]->pid);
	for (unsigned i = 0; i < 40; i++) {
		uint64_t until = clock_mono_ns() + rand_below(&r, 60 * NS_PER_MS);

		POD_UNTIL(&pod, pod.ready == i + 1);
		while (clock_mono_ns() < until)
			POD_CHECK(&pod,
				  loop_turn(pod.loop, until - MIN(until, clock_mono_ns())) == 0);
		pod_kernel_kill(&pod);
		POD_UNTIL(&pod, pod.kernels == i + 2);
	}
	for (int i = 0; i < 3; i++) {
		expect("work under 40 deaths", pod_read_all(&pod, out[i]), want);
		POD_UNTIL(&pod, s[i]->ended);
		POD_CHECK(&pod, s[i]->status == 0);
	}
	printf("40 guest kernels killed, %llu calls adopted\n", (unsigned long long)pod.adopted);
}

/* The last line of WORK, and none before it. */
static void worked(int out)
{
	char *got = pod_read_all(&pod, out);
	unsigned rounds = 0, signals = 0;
	char want[64];

	(void)sscanf(got, "rounds %u signals %u", &rounds, &signals);
	(void)snprintf(want, sizeof(want), "rounds %u signals %u\n", rounds, rounds);
	POD_CHECK(&pod, rounds > 0);
	expect("work under a death at each point", got, want);
}

/* One death at every named point between receiving a call and forgetting it. */
static void points(void)
{
	static char names[64][64];
	Kernel__Status *st;
	unsigned n = 0, before;
	char text[1024];
	struct pod_session *s;
	int out, err;

	pod_ask(&pod, KERNEL_STATUS, NULL, 0, &answer);
	st = kernel__status__unpack(NULL, answer.len, answer.body);
	POD_CHECK(&pod, answer.err == 0 && st && st->listening);
	for (size_t i = 0; i < st->n_fault_points && n < 64; i++)
		if (strncmp(st->fault_points[i], "kernel.notif.", 13) == 0)
			(void)snprintf(names[n++], 64, "%s", st->fault_points[i]);
	kernel__status__free_unpacked(st, NULL);
	POD_CHECK(&pod, n >= 6);
	(void)snprintf(text, sizeof(text), WORK, "[ ! -e /tmp/stop ]");
	s = pod_shell(&pod, text, &out);
	POD_UNTIL(&pod, s->pid != 0);
	for (unsigned i = 0; i < n; i++) {
		before = pod.ready;
		err = pod_arm(&pod, names[i]);
		/* With so much work the point may be passed before the answer is sent. */
		POD_CHECK(&pod, err == 0 || err == -ECONNRESET);
		POD_UNTIL(&pod, pod.ready > before);
	}
	/* However slow all this was, there was work until here: each point was passed. */
	run_and_expect("touch /tmp/stop; echo stopping", "stopping\n", 0);
	worked(out);
	POD_UNTIL(&pod, s->ended);
	/* A session's start and end, too. */
	before = pod.ready;
	s = pod_shell(&pod, "sleep 0.2; echo done; exit 5", &out);
	POD_UNTIL(&pod, s->pid != 0);
	POD_CHECK(&pod, pod_arm(&pod, "kernel.session.before_ack") == 0);
	expect("an end told twice", pod_read_all(&pod, out), "done\n");
	POD_UNTIL(&pod, pod.ready > before);
	POD_UNTIL(&pod, s->ended);
	POD_CHECK(&pod, s->status == 5 << 8);
	run_and_expect("echo alive", "alive\n", 0);
	printf("%u points passed\n", n + 1);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct loop *l;

	if (loop_new(&l, LOOP_AUTO) != 0)
		return 1;
	pod_start(&pod, l, 1, 8192);
	run_and_expect("echo first", "first\n", 0);
	if (strcmp(what, "sessions") == 0)
		sessions();
	else if (strcmp(what, "crash") == 0)
		crash();
	else if (strcmp(what, "points") == 0)
		points();
	else
		pod_fail(&pod, "usage: kernel_live sessions|crash|points");
	pod_stop(&pod);
	loop_free(l);
	printf("%s: ok\n", what);
	return 0;
}
