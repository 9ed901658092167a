/* SPDX-License-Identifier: Apache-2.0 */
/* zombie.c - a zombie keeps its pid, takes signals silently, and is reaped once. */
#include "tests/guest/guest.h"

int main(void)
{
	char path[64], text[64];
	int fd;
	pid_t pid = fork_child();

	if (pid == 0)
		_exit(3);
	wait_state(pid, "Z");
	must(kill(pid, 0) == 0 && kill(pid, SIGKILL) == 0 && getpgid(pid) == getpgrp());
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	fd = open(path, O_RDONLY);
	say("cmdline is empty: %zd", read(fd, text, sizeof(text)));
	close(fd);
	say("%s", status_text(reap(pid)));
	must(kill(pid, 0) == -1 && errno == ESRCH);
	must(open(path, O_RDONLY) == -1 && errno == ENOENT);
	say("gone");
	for (int i = 0; i < 200; i++) {
		pid = fork_child();
		if (pid == 0)
			_exit(i & 0x7f);
		must(WEXITSTATUS(reap(pid)) == (i & 0x7f));
	}
	say("200 children");
	return 0;
}
