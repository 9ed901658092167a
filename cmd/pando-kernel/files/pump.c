/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pump.c - bytes between a relay's pipe and what is no pipe: a terminal, a file that is written.
 * They are spliced, so that none is in our memory alone.
 */
#include "cmd/pando-kernel/files/pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/tty/ttys.h"

#define PUMP_BYTES 4096

/*
 * To a file that is appended to, which splice refuses: looked at, written, thrown away. What a
 * daemon that dies just then has written is written once more.
 */
static ssize_t append_piece(struct pipe_relay *p)
{
	uint8_t bytes[PUMP_BYTES];
	int scratch[2];
	ssize_t n, done = 0;

	if (pipe2(scratch, O_CLOEXEC | O_NONBLOCK) != 0)
		return -1;
	n = tee(p->fd[PUMP], scratch[1], sizeof(bytes), SPLICE_F_NONBLOCK);
	if (n > 0)
		n = read(scratch[0], bytes, (size_t)n);
	(void)close(scratch[0]);
	(void)close(scratch[1]);
	if (n > 0)
		done = write(p->fd[OBJECT], bytes, (size_t)n);
	if (n <= 0 || done <= 0)
		return n <= 0 ? n : -1;
	FAULT("kernel.pipe.appended");
	return read(p->fd[PUMP], bytes, (size_t)done);
}

/* A terminal that hung up, a full disk: lost, as on a host. */
static void pump_lose(struct pipe_relay *p)
{
	uint8_t bytes[PUMP_BYTES];

	while (read(p->fd[PUMP], bytes, sizeof(bytes)) > 0)
		;
}

bool pump_out(struct pipe_relay *p)
{
	int left = 0;
	ssize_t n;

	do {
		n = splice(p->fd[PUMP], NULL, p->fd[OBJECT], NULL, PUMP_BYTES, SPLICE_F_NONBLOCK);
		if (n < 0 && errno == EINVAL)
			n = append_piece(p);
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (n < 0 && errno != EAGAIN)
		pump_lose(p);
	return ioctl(p->fd[PUMP], FIONREAD, &left) != 0 || left == 0;
}

bool pump_is_fed(const struct pipe_relay *p)
{
	return p->k->pid < 0 && p->k->home && p->k->is_out;
}

/* Only while the process is in front may it have what is typed. */
static bool in_front(struct pipe_relay *p)
{
	struct task_info t;
	const struct stub *s = stubs_find(p->w->stubs, p->k->pid);

	if (p->k->pid < 0)
		return !pump_is_fed(p);
	if (!s || task_read(&t, p->w->view.procfs, s->pid) != 0)
		return false;
	return t.node_tpgid < 0 || t.node_tpgid == t.node_pgid;
}

static void move_out(struct pipe_relay *p)
{
	bool all = pump_out(p), ended = p->ended;

	if (all && ended) {
		pipe_free(p);
		return;
	}
	if (all == p->blocked || !p->pumping)
		pump_watch(p, all ? PUMP : OBJECT, all ? POLLIN : POLLOUT);
	/* One who types waits for each key. The relay may end by that. */
	if (p->k->pid < 0 && !ended)
		relay_in_look(&p->in);
}

static void move_in(struct pipe_relay *p)
{
	ssize_t n;

	if (!in_front(p)) {
		pump_watch(p, OBJECT, 0);
		p->w->pumps_paused = true;
		return;
	}
	n = splice(p->fd[OBJECT], NULL, p->fd[PUMP], NULL, PUMP_BYTES, SPLICE_F_NONBLOCK);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		loop_fd_del(p->w->loop, &p->pump_watch);
		p->pumping = false;
		pipe_fd_close(p, PUMP); /* EOF */
		if (p->k->pid < 0)
			carriers_unused(p->w, p->k->pid, p->k->id);
	} else if (n > 0 ? p->blocked : !p->blocked) {
		/* EAGAIN of a terminal that can be read: there is no room in the pipe. */
		pump_watch(p, n > 0 ? OBJECT : PUMP, n > 0 ? POLLIN : POLLOUT);
	}
}

static void on_pump(struct loop_fd *fd, short revents)
{
	struct pipe_relay *p = container_of(fd, struct pipe_relay, pump_watch);

	if (p->k->is_out)
		move_in(p);
	else
		move_out(p);
}

void pump_watch(struct pipe_relay *p, int which, short events)
{
	int r;

	if (p->pumping)
		loop_fd_del(p->w->loop, &p->pump_watch);
	r = loop_fd_add(p->w->loop, &p->pump_watch, p->fd[which], events, on_pump);
	p->pumping = r == 0;
	p->blocked = (events & POLLOUT) != 0;
	if (r != 0)
		log_warn("cannot watch a terminal or a file: %s", strerror(-r));
}

void pump_end(struct pipe_relay *p)
{
	p->ended = true;
	if (p->k->pid < 0 && !p->k->home)
		carriers_unused(p->w, p->k->pid, p->k->id);
	if (!p->k->is_out && p->k->pumped)
		move_out(p);
	else
		pipe_free(p);
}

int pipes_feed(struct world *w, uint64_t id, node_id peer, uint64_t max, bool lines)
{
	struct pipe_relay *p = pipe_find(w, id, peer, true);
	const char eof = TTY_EOF;
	int lies = 0;
	ssize_t n;

	if (!p || p->fd[PUMP] < 0)
		return -ENOENT;
	if (ioctl(p->fd[END], FIONREAD, &lies) != 0 || lies > 0)
		return -EAGAIN;
	n = splice(p->fd[OBJECT], NULL, p->fd[PUMP], NULL, MIN(max, (uint64_t)PUMP_BYTES),
		   SPLICE_F_NONBLOCK);
	if (n == 0 && lines) /* ctrl-D, which its reader's terminal will take for one */
		n = write(p->fd[PUMP], &eof, 1);
	return n > 0 ? (int)n : n == 0 ? -EAGAIN : -errno;
}

void pipes_look_again(struct world *w)
{
	struct pipe_relay *p;

	if (!w->pumps_paused)
		return;
	w->pumps_paused = false;
	list_for_each (p, &w->pipes, link)
		if (p->pumping && p->k->is_out && !p->blocked)
			pump_watch(p, OBJECT, POLLIN);
}
