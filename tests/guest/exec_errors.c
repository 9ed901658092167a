/* SPDX-License-Identifier: Apache-2.0 */
/* exec_errors.c - ETXTBSY, ENOEXEC, EACCES, ENOENT, and an image without a right header. */
#include "tests/guest/guest.h"

extern char **environ;

static void put(const char *name, const char *text, mode_t mode)
{
	int fd = scratch(name, true);

	must(write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, mode) == 0);
	close(fd);
}

static void copy_self(const char *name)
{
	char block[65536];
	int in = open("/proc/self/exe", O_RDONLY), out = scratch(name, true);
	ssize_t n;

	while ((n = read(in, block, sizeof(block))) > 0)
		must(write(out, block, (size_t)n) == n);
	must(fchmod(out, 0700) == 0);
	close(in);
	close(out);
}

int main(int argc, char **argv)
{
	char *args[] = { argv[0], "again", NULL };
	int fd, ready[2];
	char c;
	pid_t pid;

	if (argc > 1) {
		must(write(20, "r", 1) == 1);
		pause();
	}
	copy_self("exec.copy");
	fd = open("exec.copy", O_WRONLY | O_CLOEXEC);
	fails(ETXTBSY, execve("./exec.copy", args, environ));
	close(fd);
	must(pipe2(ready, O_CLOEXEC) == 0);
	pid = fork_child();
	if (pid == 0) {
		must(dup2(ready[1], 20) == 20);
		execve("./exec.copy", args, environ);
		_exit(127);
	}
	must(read(ready[0], &c, 1) == 1);
	fails(ETXTBSY, open("exec.copy", O_WRONLY));
	must(kill(pid, SIGKILL) == 0);
	reap(pid);
	put("exec.text", "echo hello\n", 0700);
	fails(ENOEXEC, execve("./exec.text", args, environ));
	say("execvp falls back to the shell:");
	pid = fork_child();
	if (pid == 0) {
		execvp("./exec.text", args);
		_exit(127);
	}
	reap(pid);
	put("exec.text", "echo hello\n", 0600);
	fails(EACCES, execve("./exec.text", args, environ));
	put("exec.text", "", 0700);
	fails(ENOEXEC, execve("./exec.text", args, environ));
	put("exec.text", "\177ELF nonsense", 0700);
	fails(ENOEXEC, execve("./exec.text", args, environ));
	put("exec.text", "#!/nowhere/interpreter\n", 0700);
	fails(ENOENT, execve("./exec.text", args, environ));
	fails(ENOENT, execve("./exec.nothing", args, environ));
	fails(ENOTDIR, execve("./exec.text/x", args, environ));
	fails(EACCES, execve("/", args, environ));
	must(unlink("exec.text") == 0 && unlink("exec.copy") == 0);
	return 0;
}
