/* SPDX-License-Identifier: Apache-2.0 */
/* signalfd.c - signals as bytes of a descriptor. */
#include "tests/guest/guest.h"

#include <sys/signalfd.h>

int main(void)
{
	struct signalfd_siginfo si;
	struct pollfd p = { .events = POLLIN };
	sigset_t set;
	int fd;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	must(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	must(fd >= 0);
	fails(EAGAIN, (int)read(fd, &si, sizeof(si)));
	pid = fork_child();
	if (pid == 0) {
		must(kill(getppid(), SIGUSR1) == 0);
		_exit(6);
	}
	p.fd = fd;
	for (int i = 0; i < 2; i++) {
		must(poll(&p, 1, 10000) == 1);
		must(read(fd, &si, sizeof(si)) == sizeof(si));
		must(si.ssi_pid == (uint32_t)pid);
		say("signal %u code %d status %d", si.ssi_signo, si.ssi_code,
		    si.ssi_signo == SIGCHLD ? si.ssi_status : 0);
	}
	reap(pid);
	return 0;
}
