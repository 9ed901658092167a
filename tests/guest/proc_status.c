/* SPDX-License-Identifier: Apache-2.0 */
/* proc_status.c - what /proc/PID/status tells of itself and of a child. */
#include "tests/guest/guest.h"

static long field(pid_t pid, const char *name, int base)
{
	char path[64], line[256];
	long v = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	must(f != NULL);
	while (fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
			v = strtol(line + strlen(name) + 1, NULL, base);
	fclose(f);
	return v;
}

int main(void)
{
	pid_t pid;

	say("Pid %d PPid %d Tgid %d Threads %ld", field(getpid(), "Pid", 10) == getpid(),
	    field(getpid(), "PPid", 10) == getppid(), field(getpid(), "Tgid", 10) == getpid(),
	    field(getpid(), "Threads", 10));
	on_signal(SIGUSR1, SIG_IGN, 0);
	block_signal(SIGUSR2);
	raise(SIGUSR2);
	say("SigIgn %#lx SigBlk %#lx pending %#lx", field(getpid(), "SigIgn", 16) & 0xfff,
	    field(getpid(), "SigBlk", 16), field(getpid(), "SigPnd", 16));
	say("no effective capability: %ld", field(getpid(), "CapEff", 16));
	pid = fork_child();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	wait_state(pid, "S");
	say("child: PPid %d state %c", field(pid, "PPid", 10) == getpid(), task_state(pid));
	must(kill(pid, SIGSTOP) == 0 && waitpid(pid, NULL, WUNTRACED) == pid);
	say("child: state %c", task_state(pid));
	must(kill(pid, SIGKILL) == 0);
	wait_state(pid, "Z");
	say("child: state %c", task_state(pid));
	reap(pid);
	say("child: gone %d", task_state(pid) == 0);
	return 0;
}
