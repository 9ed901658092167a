/* SPDX-License-Identifier: Apache-2.0 */
/* pipe_eof.c - end of file, SIGPIPE, EPIPE, FIFOs. */
#include "tests/guest/guest.h"

static volatile sig_atomic_t pipes;

static void note(int sig)
{
	pipes++;
}

int main(void)
{
	int fds[2], rd, wr;
	char text[16] = "";
	struct pollfd p = { .events = POLLIN | POLLOUT };
	pid_t pid;

	must(pipe(fds) == 0);
	must(write(fds[1], "last", 4) == 4);
	close(fds[1]);
	must(read(fds[0], text, sizeof(text)) == 4);
	say("%s, then %zd", text, read(fds[0], text, sizeof(text)));
	p.fd = fds[0];
	must(poll(&p, 1, 0) == 1 && p.revents == POLLHUP);
	must(pipe(fds) == 0);
	close(fds[0]);
	pid = fork_child();
	if (pid == 0) {
		ssize_t n = write(fds[1], "x", 1);

		_exit(n == 1);
	}
	say("default: %s", status_text(reap(pid)));
	on_signal(SIGPIPE, note, 0);
	fails(EPIPE, (int)write(fds[1], "x", 1));
	say("handler ran %d", pipes);
	on_signal(SIGPIPE, SIG_IGN, 0);
	fails(EPIPE, (int)write(fds[1], "x", 1));
	p.fd = fds[1];
	must(poll(&p, 1, 0) == 1 && (p.revents & POLLERR));

	must(mkfifo("pipe_eof.fifo", 0600) == 0);
	fails(ENXIO, open("pipe_eof.fifo", O_WRONLY | O_NONBLOCK));
	pid = fork_child();
	if (pid == 0) {
		wr = open("pipe_eof.fifo", O_WRONLY);
		must(write(wr, "fifo", 4) == 4);
		_exit(0);
	}
	rd = open("pipe_eof.fifo", O_RDONLY);
	memset(text, 0, sizeof(text));
	must(read(rd, text, sizeof(text)) == 4);
	say("%s, then %zd", text, read(rd, text, sizeof(text)));
	must(reap(pid) == 0 && unlink("pipe_eof.fifo") == 0);
	return 0;
}
