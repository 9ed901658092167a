/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest_pod.c - runs guest programs in a tenant's world, under the real pando-init, pando-kernel
 * and filter, and keeps what each printed. For tests/guest/run.sh; this program is pandod.
 *
 *	guest_pod OUT PROGRAM...
 *
 * PROGRAM lies in $PANDO_TEST_DIR/home/bin. OUT/PROGRAM.out gets what it printed,
 *OUT/PROGRAM.status "exit N", "signal N" or "hangs".
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "tests/lib/pod.h"

#define LIMIT_S 60

static struct pod pod;

static void wait_for_end(struct pod_session *s)
{
	uint64_t end = clock_mono_ns() + LIMIT_S * NS_PER_S;

	while (!s->ended && s->start_err == 0 && clock_mono_ns() < end)
		pod_turn(&pod);
}

static void write_status(const char *out_dir, const char *name, const char *kind, int n)
{
	char path[512];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s.status", out_dir, name);
	f = fopen(path, "w");
	POD_CHECK(&pod, f != NULL);
	if (n >= 0)
		fprintf(f, "%s %d\n", kind, n);
	else
		fprintf(f, "%s\n", kind);
	POD_CHECK(&pod, fclose(f) == 0);
}

static void run(const char *out_dir, const char *name)
{
	char out[512], path[256];
	const char *argv[] = { path, NULL };
	struct pod_session *s;
	int fds[3];

	(void)snprintf(path, sizeof(path), "/home/alice/bin/%s", name);
	(void)snprintf(out, sizeof(out), "%s/%s.out", out_dir, name);
	fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	fds[1] = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	POD_CHECK(&pod, fds[0] >= 0 && fds[1] >= 0);
	fds[2] = dup(fds[1]);
	s = pod_session(&pod, argv, fds);
	wait_for_end(s);
	if (s->start_err != 0) {
		write_status(out_dir, name, "not started: errno", -s->start_err);
	} else if (!s->ended) {
		write_status(out_dir, name, "hangs", -1);
		(void)syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
		wait_for_end(s);
	} else if (WIFEXITED(s->status)) {
		write_status(out_dir, name, "exit", WEXITSTATUS(s->status));
	} else {
		write_status(out_dir, name, "signal", WTERMSIG(s->status));
	}
}

int main(int argc, char **argv)
{
	struct loop *l;

	if (argc < 3 || argc - 2 > POD_SESSIONS_MAX) {
		fprintf(stderr, "usage: guest_pod OUT PROGRAM...\n");
		return 2;
	}
	POD_CHECK(&pod, loop_new(&l, LOOP_AUTO) == 0);
	pod_start(&pod, l, 1, 4096);
	POD_UNTIL(&pod, pod.ready > 0);
	for (int i = 2; i < argc; i++)
		run(argv[1], argv[i]);
	pod_stop(&pod);
	loop_free(l);
	return 0;
}
