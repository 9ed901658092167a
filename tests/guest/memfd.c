/* SPDX-License-Identifier: Apache-2.0 */
/* memfd.c - memfd_create: sealing, and fexecve of a copy of itself. */
#include "tests/guest/guest.h"

extern char **environ;

static int copy_of_self(void)
{
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), out;
	char block[65536];
	ssize_t n;

	out = memfd_create("program", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	must(in >= 0 && out >= 0);
	while ((n = read(in, block, sizeof(block))) > 0)
		must(write(out, block, (size_t)n) == n);
	close(in);
	return out;
}

int main(int argc, char **argv)
{
	char *again[] = { argv[0], "again", NULL }, exe[64] = "";
	int fd;
	pid_t pid;

	if (argc > 1) {
		must(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
		say("runs from %s", exe);
		return 5;
	}
	fd = copy_of_self();
	must(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) == 0);
	say("seals %#x", (unsigned)fcntl(fd, F_GET_SEALS));
	fails(EPERM, (int)write(fd, "x", 1));
	fails(EPERM, ftruncate(fd, 1));
	fails(EPERM, (int)(intptr_t)mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0));
	pid = fork_child();
	if (pid == 0) {
		fexecve(fd, again, environ);
		_exit(127);
	}
	say("%s", status_text(reap(pid)));
	return 0;
}
