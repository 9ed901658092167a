/* SPDX-License-Identifier: Apache-2.0 */
/* exit_status.c - every exit code and fatal signal as the parent sees it; no core. */
#include "tests/guest/guest.h"

#include <sys/resource.h>

int main(void)
{
	static const int fatal[] = { SIGHUP,  SIGINT,    SIGQUIT, SIGILL,  SIGTRAP,
				     SIGABRT, SIGBUS,    SIGFPE,  SIGKILL, SIGUSR1,
				     SIGSEGV, SIGPIPE,   SIGALRM, SIGTERM, SIGXCPU,
				     SIGSYS,  SIGSTKFLT, 34,      64 };
	static const int codes[] = { 0, 1, 127, 128, 255 };
	struct rlimit none = { 0, 0 };
	int status;
	pid_t pid;

	must(setrlimit(RLIMIT_CORE, &none) == 0);
	for (size_t i = 0; i < COUNT(codes); i++) {
		pid = fork_child();
		if (pid == 0)
			_exit(codes[i]);
		say("%s", status_text(reap(pid)));
	}
	for (size_t i = 0; i < COUNT(fatal); i++) {
		pid = fork_child();
		if (pid == 0) {
			on_signal(fatal[i] == SIGKILL ? SIGTERM : fatal[i], SIG_DFL, 0);
			kill(getpid(), fatal[i]);
			_exit(0);
		}
		status = reap(pid);
		say("%s core %d", status_text(status), WCOREDUMP(status) != 0);
	}
	return 0;
}
