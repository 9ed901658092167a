/* SPDX-License-Identifier: Apache-2.0 */
/* wait_pidfd.c - pidfd_open, poll, pidfd_send_signal, P_PIDFD. */
#include "tests/guest/guest.h"

int main(void)
{
	struct pollfd p = { .events = POLLIN };
	siginfo_t si = { 0 };
	int fd;
	pid_t pid = fork_child();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	must(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	p.fd = fd;
	must(poll(&p, 1, 0) == 0);
	must(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0);
	must(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) == 0);
	must(poll(&p, 1, 10000) == 1 && (p.revents & POLLIN));
	say("readable at death");
	must(waitid(P_PIDFD, (id_t)fd, &si, WEXITED) == 0 && si.si_pid == pid);
	say("code %d status %d", si.si_code, si.si_status);
	fails(ESRCH, syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
	fails(ECHILD, waitid(P_PIDFD, (id_t)fd, &si, WEXITED));
	fails(EINVAL, syscall(SYS_pidfd_open, -1, 0));
	return 0;
}
