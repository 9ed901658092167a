/* SPDX-License-Identifier: Apache-2.0 */
/* on - inside a session: run a program on a node of choice. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cmd/pando/cmd.h"
#include "kernel/kernel.h"

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
	execvp(argv[1], argv + 1);
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
