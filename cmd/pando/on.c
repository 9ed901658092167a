/* SPDX-License-Identifier: Apache-2.0 */
/* on - inside a session: run a program on a node of choice. */
#include <errno.h>
#include <limits.h>
#include <paths.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/pando/cmd.h"
#include "kernel/kernel.h"

/* The wish is for one exec, and a failed one has used it up. */
static bool wish_again(const char *node)
{
	int err = errno;
	bool ok = syscall(KERNEL_SYS_ON, node) == 0;

	errno = ok ? err : errno;
	return ok;
}

/* As execvp(3) does: what is executable, but of no format, is a script of sh. */
static void exec_file(const char *node, const char *path, int argc, char **argv)
{
	char **sh;

	execv(path, argv);
	if (errno != ENOEXEC || !wish_again(node))
		return;
	sh = calloc((size_t)argc + 2, sizeof(*sh));
	if (!sh)
		return;
	sh[0] = argv[0];
	sh[1] = (char *)(uintptr_t)path;
	memcpy(sh + 2, argv + 1, (size_t)argc * sizeof(*argv));
	execv(_PATH_BSHELL, sh);
	free(sh);
}

static bool is_vain(int err)
{
	return err == ENOENT || err == ENOTDIR || err == EACCES;
}

/* execvp(3), whose each try begins on @node. Returns with errno. */
static void exec_along_path(const char *node, int argc, char **argv)
{
	const char *dir = getenv("PATH");
	char path[PATH_MAX];
	bool denied = false;
	size_t len;

	errno = ENOENT;
	if (argv[0][0] == '\0')
		return;
	for (dir = dir ? dir : _PATH_DEFPATH;; dir += len + 1) {
		len = strcspn(dir, ":");
		if (snprintf(path, sizeof(path), "%.*s%s%s", (int)MIN(len, PATH_MAX), dir,
			     len ? "/" : "", argv[0]) < PATH_MAX) {
			exec_file(node, path, argc, argv);
			denied |= errno == EACCES;
			if (!is_vain(errno) || !wish_again(node))
				return;
		}
		if (dir[len] == '\0')
			break;
	}
	errno = denied ? EACCES : ENOENT;
}

static int on_run(struct ctx *c, int argc, char **argv)
{
	if (syscall(KERNEL_SYS_ON, argv[0]) < 0) {
		if (errno == ENOSYS)
			return fail(c, CODE_SESSION_FAILED, "pando login TENANT",
				    "cannot run on %s: this is not inside a session", argv[0]);
		return fail(c, CODE_SESSION_FAILED, "pando nodes", "cannot run on %s: %s", argv[0],
			    errno == ENOENT      ? "there is no such node"
			    : errno == ESHUTDOWN ? "the node is draining"
						 : strerror(errno));
	}
	if (strchr(argv[1], '/'))
		exec_file(argv[0], argv[1], argc - 1, argv + 1);
	else
		exec_along_path(argv[0], argc - 1, argv + 1);
	return fail(c, errno == ENOENT ? CODE_NO_PROGRAM : CODE_CANNOT_EXEC, NULL,
		    "cannot run %s: %s", argv[1], strerror(errno));
}

const struct cmd cmd_on = {
	.name = "on",
	.usage = "on NODE CMD [ARG...]",
	.help = "Inside a session: run a program on the node of this name.",
	.more = "It is a child of the shell as any other: its pid, its terminal, pipes, files and "
		"signals\n"
		"are the machine's. The exit status is the program's; 127 when there is no such "
		"program,\n"
		"126 when it cannot be executed there, 125 when pando itself failed.",
	.args_min = 2,
	.args_max = 1u << 20,
	.stop_after = 2,
	.run = on_run,
};
