/* SPDX-License-Identifier: Apache-2.0 */
/* terminal.c - see terminal.h. */
#include "cmd/pando-kernel/tty/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/line/line.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "cmd/pando-kernel/world.h"

#define OUT_MAX    65536           /* frames that wait for the line */
#define TYPED_MAX  65536           /* input that waits for the terminal */
#define ADOPTED_NS (60 * NS_PER_S) /* a client whose kernel died comes back within that */
#define REST_MAX   131072
#define LOOK_NS    (200 * NS_PER_MS)
#define LOST_NS    (3 * NS_PER_S) /* or whose connection to another node broke */

/* Who is on the line: a socket, or a stream from another node's kernel. */
struct on_line {
	bool there;
	int fd; /* -1: a stream */
	struct loop_fd watch;
	struct rpc_stream *stream;
	struct buf in, out;
	uint64_t sent;  /* number of the next byte for him */
	uint64_t acked; /* input that he knows is in */
	bool told_end;
};

struct terminal {
	struct world *w;
	gpid pid;
	struct ring *ring;
	int master; /* -1: hung up */
	struct loop_fd watch;
	short watched; /* events */
	struct on_line line;
	struct buf typed; /* input that the terminal did not take yet */
	uint8_t last;     /* byte that it took */
	bool typing;      /* @typed is of who is on the line now */
	bool drained;     /* after the leader's end: nothing more comes */
	bool has_ended;
	size_t rest; /* taken since then */
	int status;
	void (*shown_all)(void *arg);
	void *arg;
	bool told_all;
	struct loop_timer work; /* what must not be done inside a callback of the line */
	struct loop_timer policy;
	struct loop_timer look;
	bool nobody; /* has the terminal open: @look looks again */
	bool line_broken;
};

static void work_soon(struct terminal *t);

static uint64_t wall_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void keys_of(const struct terminal *t, char pty[INIT_KEY_MAX], char ring[INIT_KEY_MAX])
{
	(void)snprintf(pty, INIT_KEY_MAX, "pty.%d", t->pid);
	(void)snprintf(ring, INIT_KEY_MAX, "ring.%d", t->pid);
}

/* ---- hanging up ---- */
static void unwatch_master(struct terminal *t)
{
	if (t->watched != 0)
		loop_fd_del(t->w->loop, &t->watch);
	t->watched = 0;
}

static void drop_master(struct terminal *t)
{
	unwatch_master(t);
	if (t->master >= 0)
		(void)close(t->master);
	t->master = -1;
	t->drained = true;
}

/* With its last descriptor the terminal goes, and the host tells the session as for a lost line. */
static void hang_up(struct terminal *t)
{
	char pty[INIT_KEY_MAX], ring[INIT_KEY_MAX];

	keys_of(t, pty, ring);
	drop_master(t);
	(void)pid1_drop(t->w->pid1, pty);
}

static void policy_due(struct loop_timer *tm)
{
	struct terminal *t = container_of(tm, struct terminal, policy);

	if (!t->line.there && !t->has_ended && t->w->hang_up_detached) {
		log_info("session %u of pid %d lost its line: it is hung up", t->ring->number,
			 t->pid);
		hang_up(t);
	}
}

static void decide_later(struct terminal *t, uint64_t ns)
{
	if (loop_timer_set(t->w->loop, &t->policy, loop_now_ns(t->w->loop) + ns, policy_due) != 0)
		log_error("a session without a line is kept: no memory to decide otherwise");
}

/* ---- the line ---- */
static void line_drop(struct terminal *t, int err)
{
	struct on_line *l = &t->line;

	if (!l->there)
		return;
	l->there = false;
	if (l->fd >= 0) {
		loop_fd_del(t->w->loop, &l->watch);
		(void)close(l->fd);
	} else if (l->stream) {
		rpc_stream_close(l->stream, err);
	}
	l->stream = NULL;
	buf_fini(&l->in);
	buf_fini(&l->out);
	t->line_broken = false;
	t->typing = false;
	t->ring->detached_ms = wall_ms();
	decide_later(t, LOST_NS);
}

/* Bytes out; true: all of them. */
static bool line_flush(struct terminal *t)
{
	struct on_line *l = &t->line;

	while (l->there && !t->line_broken && l->out.len > 0) {
		ssize_t n = l->fd >= 0 ? send(l->fd, l->out.data, l->out.len,
					      MSG_DONTWAIT | MSG_NOSIGNAL)
				       : rpc_stream_write(l->stream, l->out.data, l->out.len);

		if (n < 0 && l->fd >= 0 && errno == EINTR)
			continue;
		if (n < 0 && (l->fd < 0 || errno != EAGAIN))
			t->line_broken = true;
		if (n <= 0)
			break;
		buf_consume(&l->out, (size_t)n);
	}
	return l->out.len == 0;
}

static void line_add(struct terminal *t, enum line_kind kind, const void *body, size_t len)
{
	if (line_frame_add(&t->line.out, kind, body, len) != 0)
		t->line_broken = true;
}

static void line_say_hello(struct terminal *t)
{
	uint8_t body[16];

	line_put(body, 8, t->line.sent);
	line_put(body + 8, 8, t->ring->input);
	t->line.acked = t->ring->input;
	line_add(t, LINE_HELLO, body, sizeof(body));
}

/* Puts into frames what he has not got yet. */
static void line_fill(struct terminal *t)
{
	struct on_line *l = &t->line;
	uint8_t body[8];

	if (t->typing && l->acked != t->ring->input) {
		l->acked = t->ring->input;
		line_put(body, 8, l->acked);
		line_add(t, LINE_TAKEN_IN, body, 8);
	}
	while (l->sent < t->ring->shown && l->out.len < OUT_MAX && !t->line_broken) {
		size_t n;
		const void *p = ring_at(t->ring, l->sent, &n);

		n = MIN(n, (size_t)LINE_BODY_MAX);
		line_add(t, LINE_SHOWN, p, n);
		l->sent += n;
	}
	if (t->has_ended && t->drained && l->sent == t->ring->shown && !l->told_end) {
		line_put(body, 4, (uint32_t)t->status);
		line_add(t, LINE_EXIT, body, 4);
		l->told_end = true;
	}
}

/* ---- the terminal ---- */
static void look_due(struct loop_timer *tm)
{
	struct terminal *t = container_of(tm, struct terminal, look);

	t->nobody = false;
	work_soon(t);
}

/* EIO: no process has the terminal open. The host tells nobody when one opens it again. */
static void look_again(struct terminal *t)
{
	unwatch_master(t);
	t->nobody = loop_timer_set(t->w->loop, &t->look, loop_now_ns(t->w->loop) + LOOK_NS,
				   look_due) == 0;
}

static void take_shown(struct terminal *t)
{
	size_t n = RING_READ_MAX;
	void *p = ring_space(t->ring, &n);
	ssize_t got = read(t->master, p, n);
	int err = got < 0 ? errno : 0;

	FAULT("kernel.terminal.read");
	ring_taken(t->ring, got > 0 ? (size_t)got : 0);
	if (t->has_ended && got > 0)
		t->rest += (size_t)got;
	/* More than a terminal holds: somebody writes who outlived the leader. */
	if (t->has_ended && (got <= 0 ? err != EINTR : t->rest > REST_MAX))
		t->drained = true;
	else if (got <= 0 && err != EAGAIN && err != EINTR)
		look_again(t);
}

static bool wants_shown(const struct terminal *t)
{
	return !t->line.there || t->ring->shown - t->line.sent < RING_READ_MAX;
}

/*
 * What is typed together. A key that raises a signal, of which nobody would tell others, is typed
 * alone. Not one behind ^V, where the terminal edits lines.
 */
static size_t next_part(const struct terminal *t, struct tty_key *key, bool *is_key)
{
	const uint8_t *p = (const uint8_t *)t->typed.data;
	struct tty_modes m;
	bool edits;

	*is_key = false;
	if (tty_modes_get(t->master, &m) != 0)
		return t->typed.len;
	edits = (m.lflag & ICANON) && (m.lflag & IEXTEN);
	for (size_t i = 0; i < t->typed.len; i++) {
		if ((edits && (i > 0 ? p[i - 1] : t->last) == m.cc[VLNEXT]) ||
		    !groups_key(t->w, t->master, &m, p[i], key))
			continue;
		*is_key = i == 0;
		return MAX(i, 1);
	}
	return t->typed.len;
}

static void type(struct terminal *t)
{
	while (t->master >= 0 && t->typed.len > 0) {
		struct tty_key key;
		bool is_key;
		size_t len = next_part(t, &key, &is_key);
		ssize_t n = write(t->master, t->typed.data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if (is_key)
			groups_pressed(t->w, &key);
		t->last = ((const uint8_t *)t->typed.data)[n - 1];
		buf_consume(&t->typed, (size_t)n);
		t->ring->input += (uint64_t)n;
	}
}

static void set_size(struct terminal *t, struct terminal_size z)
{
	struct winsize w = { .ws_row = (unsigned short)z.rows, .ws_col = (unsigned short)z.cols };

	if (z.rows > 0 && z.cols > 0 && t->master >= 0 && ioctl(t->master, TIOCSWINSZ, &w) < 0)
		log_debug("a terminal's size cannot be set: %s", strerror(errno));
}

/* ---- frames from who is on the line ---- */
static int on_frame(struct terminal *t, const struct line_frame *f)
{
	struct terminal_size z;

	switch (f->kind) {
	case LINE_INPUT:
		return buf_add(&t->typed, f->body, f->len);
	case LINE_SIZE:
		z.rows = (unsigned)line_get(f->body, 2);
		z.cols = (unsigned)line_get(f->body + 2, 2);
		set_size(t, z);
		return 0;
	default:
		return -EPROTO;
	}
}

static void take_frames(struct terminal *t)
{
	struct on_line *l = &t->line;
	struct line_frame f;

	while (!t->line_broken && t->typed.len < TYPED_MAX) {
		int n = line_frame_take(l->in.data, l->in.len, &f);

		if (n == 0)
			break;
		if (n < 0 || on_frame(t, &f) != 0) {
			t->line_broken = true;
			break;
		}
		buf_consume(&l->in, (size_t)n);
		if (l->stream)
			rpc_stream_consumed(l->stream, (size_t)n);
	}
}

/* ---- everything that may be possible now ---- */
static void watch_line(struct terminal *t)
{
	struct on_line *l = &t->line;
	short events =
		(short)((t->typed.len < TYPED_MAX ? POLLIN : 0) | (l->out.len > 0 ? POLLOUT : 0));

	if (l->there && l->fd >= 0 && loop_fd_mod(t->w->loop, &l->watch, events) != 0)
		t->line_broken = true;
}

static void on_master(struct loop_fd *f, short revents);

static void watch_master(struct terminal *t)
{
	short events = (short)((wants_shown(t) ? POLLIN : 0) | (t->typed.len > 0 ? POLLOUT : 0));
	int r = 0;

	if (t->master < 0 || t->drained || t->nobody || events == t->watched)
		return;
	if (t->watched == 0)
		r = loop_fd_add(t->w->loop, &t->watch, t->master, events, on_master);
	else if (events == 0)
		unwatch_master(t);
	else
		r = loop_fd_mod(t->w->loop, &t->watch, events);
	if (r == 0)
		t->watched = events;
	else
		log_error("a terminal cannot be watched: %s", strerror(-r));
}

static void work(struct terminal *t)
{
	if (t->line.there && !t->line_broken)
		take_frames(t);
	type(t);
	/* The leader has ended: what it wrote is all there. */
	while (t->has_ended && !t->drained && t->master >= 0 && wants_shown(t)) {
		take_shown(t);
		if (t->line.there)
			line_fill(t);
	}
	if (t->line.there) {
		line_fill(t);
		if (line_flush(t))
			line_fill(t);
		(void)line_flush(t);
	}
	if (t->line_broken)
		line_drop(t, -EPROTO);
	watch_line(t);
	watch_master(t);
	if (terminal_shown_all(t) && !t->told_all) {
		t->told_all = true;
		t->shown_all(t->arg);
	}
}

static void work_due(struct loop_timer *tm)
{
	work(container_of(tm, struct terminal, work));
}

static void work_soon(struct terminal *t)
{
	CHECK(loop_timer_set(t->w->loop, &t->work, 0, work_due) == 0);
}

static void on_master(struct loop_fd *f, short revents)
{
	struct terminal *t = container_of(f, struct terminal, watch);

	if ((revents & (POLLIN | POLLHUP | POLLERR)) && wants_shown(t))
		take_shown(t);
	work(t);
}

/* ---- a socket ---- */
static void on_socket(struct loop_fd *f, short revents)
{
	struct terminal *t = container_of(f, struct terminal, line.watch);
	struct on_line *l = &t->line;
	ssize_t n;

	if (revents & (POLLIN | POLLHUP | POLLERR)) {
		if (buf_reserve(&l->in, 16384) != 0) {
			t->line_broken = true;
			work(t);
			return;
		}
		n = recv(l->fd, l->in.data + l->in.len, l->in.cap - l->in.len, MSG_DONTWAIT);
		if (n > 0)
			l->in.len += (size_t)n;
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			t->line_broken = true;
	}
	work(t);
}

/* ---- a stream of another node's kernel ---- */
static void on_stream_data(void *arg, struct rpc_stream *s, const void *bytes, size_t len)
{
	struct terminal *t = arg;

	if (buf_add(&t->line.in, bytes, len) != 0)
		t->line_broken = true;
	work_soon(t);
}

static void on_stream_writable(void *arg, struct rpc_stream *s)
{
	work_soon(arg);
}

static void on_stream_closed(void *arg, struct rpc_stream *s, int err)
{
	struct terminal *t = arg;

	t->line.stream = NULL; /* it is gone after this call */
	t->line_broken = true;
	work_soon(t);
}

static const struct rpc_stream_ops stream_ops = { .data = on_stream_data,
						  .writable = on_stream_writable,
						  .closed = on_stream_closed };

/* ---- taking the line ---- */
static void say_taken(struct terminal *t)
{
	if (!t->line.there || t->line_broken)
		return;
	line_add(t, LINE_TAKEN, NULL, 0);
	/* He had everything up to here, or is too slow to be told. */
	(void)line_flush(t);
}

/* A program that draws the whole screen does so again when the size changes. */
static void draw_again(struct terminal *t, struct terminal_size z)
{
	struct winsize now;

	if (t->master >= 0 && ioctl(t->master, TIOCGWINSZ, &now) == 0 && now.ws_row == z.rows &&
	    now.ws_col == z.cols && z.rows > 1)
		set_size(t, (struct terminal_size){ z.rows - 1, z.cols });
	set_size(t, z);
}

static uint64_t first_wanted(const struct terminal *t, const struct terminal_ask *ask)
{
	if (!ask->has_from)
		return ring_first_line(t->ring);
	if (ask->from > t->ring->shown)
		return t->ring->shown;
	return MAX(ask->from, ring_oldest(t->ring));
}

int terminal_attach(struct terminal *t, int fd, struct rpc_stream *stream,
		    const struct terminal_ask *ask)
{
	struct on_line *l = &t->line;

	if (t->master < 0 && !t->has_ended) {
		if (fd >= 0)
			(void)close(fd);
		return -ENOTTY;
	}
	if (l->there && ask->client != t->ring->client)
		say_taken(t);
	line_drop(t, 0);
	*l = (struct on_line){ .there = true, .fd = fd, .stream = stream };
	l->sent = first_wanted(t, ask);
	if (ask->client != t->ring->client) {
		t->ring->input = 0;
		t->ring->client = ask->client;
	}
	/* What is not in, he sends again; another one's is lost with his line. */
	buf_consume(&t->typed, t->typed.len);
	t->line_broken = false;
	t->typing = true;
	t->ring->detached_ms = 0;
	if (t->ring->number == 0)
		t->ring->number = ask->number;
	loop_timer_clear(t->w->loop, &t->policy);
	if (ask->has_from)
		set_size(t, ask->size);
	else
		draw_again(t, ask->size);
	line_say_hello(t);
	if (stream)
		rpc_stream_set_ops(stream, &stream_ops, t);
	else if (loop_fd_add(t->w->loop, &l->watch, fd, POLLIN, on_socket) != 0)
		t->line_broken = true;
	work_soon(t);
	return 0;
}

/* ---- the rest of its life ---- */
void terminal_ended(struct terminal *t, int status)
{
	t->has_ended = true;
	t->status = status;
	if (t->master < 0)
		t->drained = true;
	work_soon(t);
}

bool terminal_shown_all(const struct terminal *t)
{
	const struct on_line *l = &t->line;

	return t->has_ended && t->drained && (!l->there || (l->told_end && l->out.len == 0));
}

uint32_t terminal_number(const struct terminal *t)
{
	return t->ring->number;
}

void terminal_times(const struct terminal *t, uint64_t *started_ms, uint64_t *detached_ms)
{
	*started_ms = t->ring->started_ms;
	*detached_ms = t->ring->detached_ms;
}

bool terminal_hung_up(const struct terminal *t)
{
	return t->master < 0;
}

static int map_ring(struct terminal *t, int fd)
{
	void *p = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	t->ring = p;
	return 0;
}

static int make_ring(struct terminal *t, const char *key, uint32_t number)
{
	cleanup_close int fd = memfd_create("ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0 || ftruncate(fd, RING_BYTES) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	r = map_ring(t, fd);
	if (r != 0)
		return r;
	ring_init(t->ring, number, wall_ms());
	r = pid1_put(t->w->pid1, key, fd);
	FAULT("kernel.terminal.ring_kept");
	return r;
}

static int adopt_ring(struct terminal *t, int fd)
{
	int r = map_ring(t, fd);

	(void)close(fd);
	if (r == 0)
		r = ring_recover(t->ring);
	if (r == 0 && t->ring->detached_ms == 0)
		t->ring->detached_ms = wall_ms();
	if (r == 0)
		decide_later(t, ADOPTED_NS);
	return r;
}

int terminal_open(struct world *w, gpid pid, uint32_t number, void (*shown_all)(void *arg),
		  void *arg, struct terminal **out)
{
	struct terminal *t = calloc(1, sizeof(*t));
	char pty[INIT_KEY_MAX], ring[INIT_KEY_MAX];
	int fd, r;

	if (!t)
		return -ENOMEM;
	*t = (struct terminal){ .w = w, .pid = pid, .shown_all = shown_all, .arg = arg };
	keys_of(t, pty, ring);
	t->master = pid1_get(w->pid1, pty);
	r = t->master < 0 ? t->master : 0;
	if (r == 0 && fcntl(t->master, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		r = -errno;
	fd = r == 0 ? pid1_get(w->pid1, ring) : -1;
	if (r == 0)
		r = fd >= 0 ? adopt_ring(t, fd) : make_ring(t, ring, number);
	if (r != 0) {
		terminal_free(t, false);
		return r;
	}
	*out = t;
	work_soon(t);
	return 0;
}

void terminal_free(struct terminal *t, bool forget)
{
	char pty[INIT_KEY_MAX], ring[INIT_KEY_MAX];

	if (!t)
		return;
	keys_of(t, pty, ring);
	if (t->ring) {
		line_drop(t, 0);
		(void)munmap(t->ring, RING_BYTES);
	}
	drop_master(t);
	loop_timer_clear(t->w->loop, &t->work);
	loop_timer_clear(t->w->loop, &t->policy);
	loop_timer_clear(t->w->loop, &t->look);
	buf_fini(&t->typed);
	if (forget)
		(void)pid1_drop(t->w->pid1, ring);
	free(t);
}
