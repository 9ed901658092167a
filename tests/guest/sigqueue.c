/* SPDX-License-Identifier: Apache-2.0 */
/* sigqueue.c - queued signals: values, order, sender. */
#include "tests/guest/guest.h"

static int values[8], codes[8];
static pid_t pids[8];
static volatile sig_atomic_t n;

static void handler(int sig, siginfo_t *si, void *ctx)
{
	values[n] = si->si_value.sival_int;
	codes[n] = si->si_code;
	pids[n++] = si->si_pid;
}

int main(void)
{
	pid_t pid;

	on_siginfo(SIGRTMIN + 1, handler, 0);
	on_siginfo(SIGRTMIN + 2, handler, 0);
	on_siginfo(SIGUSR1, handler, 0);
	block_signal(SIGRTMIN + 1);
	block_signal(SIGRTMIN + 2);
	block_signal(SIGUSR1);
	pid = fork_child();
	if (pid == 0) {
		union sigval v;

		for (int i = 0; i < 3; i++) {
			v.sival_int = 10 + i;
			must(sigqueue(getppid(), SIGRTMIN + 2, v) == 0);
		}
		v.sival_int = 20;
		must(sigqueue(getppid(), SIGRTMIN + 1, v) == 0);
		v.sival_int = 30;
		must(sigqueue(getppid(), SIGUSR1, v) == 0);
		v.sival_int = 31; /* a plain signal is not queued twice */
		must(sigqueue(getppid(), SIGUSR1, v) == 0);
		_exit(0);
	}
	must(reap(pid) == 0);
	sigset_t none;

	sigemptyset(&none);
	must(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
	must(n == 5);
	/* handlers nest: the one that was set up last runs first */
	for (int i = 0; i < n; i++) {
		must(pids[i] == pid && codes[i] == SI_QUEUE);
		say("value %d", values[i]);
	}
	must(kill(getpid(), SIGUSR1) == 0);
	say("kill: SI_USER %d, from itself %d", codes[5] == SI_USER, pids[5] == getpid());
	raise(SIGUSR1);
	say("raise: SI_TKILL %d", codes[6] == SI_TKILL);
	return 0;
}
