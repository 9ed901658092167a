/* SPDX-License-Identifier: Apache-2.0 */
/* scripts.c - #! scripts: arguments, interpreters that are scripts, execveat, a pipeline of a
 * shell. */
#include "tests/guest/guest.h"

extern char **environ;

static void put(const char *name, const char *text)
{
	int fd = scratch(name, true);

	must(write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, 0700) == 0);
	close(fd);
}

static void run(const char *path, char *const args[])
{
	pid_t pid = fork_child();

	if (pid == 0) {
		execve(path, args, environ);
		_exit(127);
	}
	say("%s", status_text(reap(pid)));
}

int main(void)
{
	char *args[] = { "given", "one", "two words", NULL };
	char cwd[256], text[512];
	int fd;
	pid_t pid;

	put("script.a", "#!/bin/sh -e\necho \"$0 $# <$1> <$2>\"\nfalse\necho not reached\n");
	run("./script.a", args);
	must(getcwd(cwd, sizeof(cwd)) != NULL);
	snprintf(text, sizeof(text), "#! %s/script.a first second\n", cwd);
	put("script.b", text);
	pid = fork_child();
	if (pid == 0) {
		/* prints its path: only the tail is the same everywhere */
		execl("/bin/sh", "sh", "-c", "./script.b x | sed 's,.*/script,script,'", NULL);
		_exit(127);
	}
	say("%s", status_text(reap(pid)));
	fd = open("script.a", O_RDONLY);
	pid = fork_child();
	if (pid == 0) {
		syscall(SYS_execveat, fd, "", args, environ, AT_EMPTY_PATH);
		_exit(127);
	}
	say("execveat: %s", status_text(reap(pid)));
	put("script.c",
	    "#!/bin/sh\ncat <<E | tr a-z A-Z | rev\nhere\nE\nx=$(echo sub; exit 4); echo $x $?\n"
	    "(exit 3) || echo failed $?\nset -- a b c; echo $#\nkill -TERM $$\n");
	run("./script.c", args);
	must(unlink("script.a") == 0 && unlink("script.b") == 0 && unlink("script.c") == 0);
	return 0;
}
