/* SPDX-License-Identifier: Apache-2.0 */
/* on - inside a session: run a program on a node of choice. */
#include <errno.h>
#include <limits.h>
#include <paths.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "cmd/pando/cmd.h"
#include "kernel/kernel.h"

enum { REASON_MAX = 256, PATIENCE_S = 2 };

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

/* Of a process's notes the first that begins so: what follows that, or "". */
static const char *note_behind(const json_t *notes, const char *begin)
{
	const json_t *note;
	size_t i;

	json_array_foreach(notes, i, note)
	{
		const char *text = json_text(note, "text");

		if (strncmp(text, begin, strlen(begin)) == 0)
			return text + strlen(begin);
	}
	return "";
}

/*
 * What the guest kernel has noted of our exec that has just failed with @err: the reason, or "".
 * Silent, and not for long: who cannot say why says what.
 */
static void reason_of(struct ctx *c, const char *node, int err, char out[REASON_MAX])
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	struct ctl_answer a = { 0 };
	struct ctl_client *cl;
	char path[64], begin[96];

	out[0] = '\0';
	(void)snprintf(path, sizeof(path), "/v1/processes/%d/why", (int)getpid());
	(void)snprintf(begin, sizeof(begin), "exec on %.40s failed with %s: ", node,
		       strerrorname_np(err));
	if (api_dial(c, 0, &cl) < 0)
		return;
	(void)setsockopt(ctl_client_fd(cl), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (ctl_client_call(cl, "GET", path, NULL, &a) == 0 && a.status == 200)
		(void)snprintf(out, REASON_MAX, "%s",
			       note_behind(json_object_get(a.body, "notes"), begin));
	ctl_answer_fini(&a);
	ctl_client_free(cl);
}

/* An orphan goes where it likes once it has a session of its own. */
static const char *in_new_session(struct buf *b, const char *node, char **argv)
{
	int r = buf_addf(b, "setsid on ");

	for (r = r == 0 ? add_shell_word(b, node) : r; r == 0 && *argv != NULL; argv++) {
		r = buf_addf(b, " ");
		r = r == 0 ? add_shell_word(b, *argv) : r;
	}
	return r == 0 ? buf_str(b) : NULL;
}

static int not_run(struct ctx *c, const char *node, char **argv)
{
	cleanup_buf struct buf setsid = BUF_INIT;
	char reason[REASON_MAX] = "", try_next[48];
	const char *program = argv[0], *again;
	int err = errno;

	if (!is_vain(err))
		reason_of(c, node, err, reason);
	if (!reason[0])
		return fail(c, err == ENOENT ? CODE_NO_PROGRAM : CODE_CANNOT_EXEC, NULL,
			    "cannot run %s: %s", program, strerror(err));
	(void)snprintf(try_next, sizeof(try_next), "pando why %d", (int)getppid());
	/* An orphan has nobody who could be asked about later. */
	again = getppid() > 1 ? try_next : NULL;
	if (strstr(reason, "orphan in a session") != NULL)
		again = in_new_session(&setsid, node, argv);
	return fail(c, CODE_CANNOT_EXEC, again, "cannot run %s on %s: %s", program, node, reason);
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
	return not_run(c, argv[0], argv + 1);
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
