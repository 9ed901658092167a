/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipes.c - what a process elsewhere reads and writes at home: one relay per description.
 *
 * Home has the guests' own object. A pipe goes into the relay as it is. For anything else (a
 * terminal, a file being written) a pump moves bytes between it and a pipe of ours that is in the
 * relay.
 *
 * A terminal that is carried to another node (ttys.h) has two relays, pumped on both sides, whose
 * pid is a tag below 0. What is typed goes into one only when pipes_feed() takes it.
 *
 * A relay is known to our successor: its record is kept (kept.h), its descriptors are in the store
 * under "pipe.INDEX.X". Bytes are never in our memory alone: a pump splices.
 */
#include "cmd/pando-kernel/files/pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/ipc/tty.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define SEND_AGAIN_NS (20 * NS_PER_MS)

static const char letters[FDS + 1] = "esop"; /* of the keys of their descriptors */

/* ---- descriptors and record ---- */
static void key_of(const struct pipe_relay *p, int which, char key[INIT_KEY_MAX])
{
	(void)snprintf(key, INIT_KEY_MAX, "pipe.%u.%c", (unsigned)(p->k - p->w->kept->pipes),
		       letters[which]);
}

/* Takes @fd; it is in the store when this returns 0. */
static int fd_keep(struct pipe_relay *p, int which, int fd)
{
	char key[INIT_KEY_MAX];
	int r;

	if (fd < 0)
		return fd;
	key_of(p, which, key);
	p->fd[which] = fd;
	r = pid1_put(p->w->pid1, key, fd);
	return MIN(r, 0);
}

void pipe_fd_close(struct pipe_relay *p, int which)
{
	char key[INIT_KEY_MAX];

	if (p->fd[which] < 0)
		return;
	key_of(p, which, key);
	/* Who waits here for an end may know that there is one when it is told of it. */
	if (p->k->home)
		(void)pid1_drop(p->w->pid1, key);
	else
		pid1_forget(p->w->pid1, key);
	(void)close(p->fd[which]);
	p->fd[which] = -1;
}

static struct kept_pipe *record_find_free(struct world *w)
{
	for (size_t i = 0; i < KEPT_PIPES; i++)
		if (w->kept->pipes[i].state == KEPT_FREE)
			return &w->kept->pipes[i];
	return NULL;
}

static struct pipe_relay *relay_of(struct world *w, struct kept_pipe *k)
{
	struct pipe_relay *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->w = w;
	p->k = k;
	for (int i = 0; i < FDS; i++)
		p->fd[i] = -1;
	list_init(&p->link);
	return p;
}

/* Its descriptors go out of the store before anybody may use the record again. */
static void relay_discard(struct pipe_relay *p)
{
	kept_state_set(&p->k->state, KEPT_CHANGING);
	FAULT("kernel.pipe.dropping");
	pid1_together(p->w->pid1);
	for (int i = 0; i < FDS; i++)
		pipe_fd_close(p, i);
	if (pid1_settle(p->w->pid1) != 0)
		log_debug("a relay's descriptors are not dropped");
	kept_state_set(&p->k->state, KEPT_FREE);
	free(p);
}

void pipe_free(struct pipe_relay *p)
{
	list_del(&p->link);
	if (p->k->is_out)
		relay_out_fini(&p->out);
	else
		relay_in_fini(&p->in);
	if (p->pumping)
		loop_fd_del(p->w->loop, &p->pump_watch);
	relay_discard(p);
}

/* ---- messages ---- */
static int send_to(struct rpc_conn *c, uint64_t id, bool home, enum relay_kind kind,
		   uint64_t offset, const void *bytes, size_t len)
{
	Peer__Relay q = PEER__RELAY__INIT;
	uint8_t head[64];
	struct rpc_msg m = { .method = PEER_RELAY, .body = head, .tail = bytes, .tail_len = len };

	q.relay = id;
	q.home = home;
	q.kind = kind;
	q.offset = offset;
	CHECK(peer__relay__get_packed_size(&q) < sizeof(head));
	head[0] = (uint8_t)peer__relay__pack(&q, head + 1);
	m.len = 1u + head[0];
	return rpc_send(c, &m);
}

void pipe_connected(struct pipe_relay *p)
{
	if (!p->k->going || p->k->held || p->quiet)
		return;
	if (p->k->is_out)
		relay_out_resume(&p->out);
	else
		relay_in_resume(&p->in);
}

static void on_send_again(struct loop_timer *t)
{
	struct world *w = container_of(t, struct world, relays_again);
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link)
		if (peers_conn(w, p->k->peer))
			pipe_connected(p);
}

static int send_relay(void *arg, enum relay_kind kind, uint64_t offset, const void *bytes,
		      size_t len)
{
	struct pipe_relay *p = arg;
	struct rpc_conn *c = peers_conn(p->w, p->k->peer);
	int r;

	if (!c)
		return -EAGAIN;
	r = send_to(c, p->k->id, p->k->home, kind, offset, bytes, len);
	/* Of a long turn, so that more is on its way before it ends. */
	if (r == 0 && kind == RELAY_TAKEN && offset - p->flushed >= RELAY_CHUNK_MAX) {
		p->flushed = offset;
		rpc_conn_flush(c);
	}
	/* The connection stands, but has no room: nobody else would say when to go on. */
	if (r != 0 && loop_timer_set(p->w->loop, &p->w->relays_again,
				     loop_now_ns(p->w->loop) + SEND_AGAIN_NS, on_send_again) != 0)
		log_error("cannot wait: out of memory");
	return r == 0 ? 0 : -EAGAIN;
}

static void on_done(void *arg)
{
	pump_end(arg);
}

static const struct relay_ops ops = { .send = send_relay, .done = on_done };

struct pipe_relay *pipe_find(struct world *w, uint64_t id, node_id peer, bool home)
{
	struct pipe_relay *p;

	list_for_each (p, &w->pipes, link)
		if (p->k->id == id && p->k->peer == peer && p->k->home == home && !p->ended)
			return p;
	return NULL;
}

/* A carrier that speaks knows its relay: then we may. The relay may end by that. */
static struct pipe_relay *find_for(struct world *w, const Peer__Relay *q, node_id from)
{
	struct pipe_relay *p = pipe_find(w, q->relay, from, !q->home);

	if (!p || !p->quiet)
		return p;
	p->quiet = false;
	pipe_connected(p);
	return pipe_find(w, q->relay, from, !q->home);
}

/* The other end must not wait for one that is over: what it did not hear last is said again. */
static void answer_for_none(struct world *w, struct rpc_conn *c, const Peer__Relay *q)
{
	int r = 0;

	if (q->home && pipe_has_moved(w, q->relay, rpc_conn_peer(c)->node))
		return;
	if (q->kind == RELAY_HAVE)
		r = send_to(c, q->relay, !q->home, RELAY_EOF, q->offset, NULL, 0);
	else if (q->kind == RELAY_DATA || q->kind == RELAY_UNITS || q->kind == RELAY_EOF ||
		 q->kind == RELAY_ASK)
		r = send_to(c, q->relay, !q->home, RELAY_BROKEN, 0, NULL, 0);
	if (r != 0)
		log_debug("a relay that is over is asked for again");
}

static void on_message(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct world *w = arg;
	const uint8_t *body = m->body;
	size_t head = m->len > 0 ? 1u + body[0] : 1;
	Peer__Relay *q = head <= m->len ? peer__relay__unpack(NULL, head - 1, body + 1) : NULL;
	struct pipe_relay *p = q ? find_for(w, q, rpc_conn_peer(c)->node) : NULL;
	int r = 0;

	if (q && p && p->k->held)
		log_debug("pid %d is moving: its relay waits", p->k->pid);
	else if (q && !p)
		answer_for_none(w, c, q);
	else if (q && p->k->is_out)
		r = relay_out_msg(&p->out, q->kind, q->offset);
	else if (q)
		r = relay_in_msg(&p->in, q->kind, q->offset, body + head, m->len - head);
	if (r == -EPROTO) {
		log_warn("node %u breaks the rules of a relay of pid %d (message %u at %llu, we "
			 "are at "
			 "%llu): dropped",
			 p->k->peer, p->k->pid, q->kind, (unsigned long long)q->offset,
			 (unsigned long long)p->k->rec.offset);
		pipe_free(p);
	}
	if (q)
		peer__relay__free_unpacked(q, NULL);
	answers_reply(call, 0, NULL);
}

void pipes_connected(struct world *w, node_id node)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link)
		if (p->k->peer == node)
			pipe_connected(p);
}

void pipes_disconnected(struct world *w, node_id node)
{
	struct pipe_relay *p;

	list_for_each (p, &w->pipes, link) {
		if (p->k->peer != node)
			continue;
		if (p->k->is_out)
			relay_out_pause(&p->out);
		else
			relay_in_pause(&p->in);
	}
}

/* A terminal's are its carrier's and its owner's business. One that is held travels, or is thawed.
 */
void pipes_look_at_lives(struct world *w)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link) {
		if (p->k->pid < 0 || p->k->held || p->ended ||
		    !peers_over(w, p->k->peer, p->k->life))
			continue;
		/* It has left there in time, and the end that it has now will be told. */
		if (p->k->home && remote_is_well(w, p->k->pid))
			continue;
		log_debug("a relay of pid %d ends with node %u", p->k->pid, p->k->peer);
		/* It may end, and be freed, by either. */
		if (p->k->is_out)
			(void)!relay_out_msg(&p->out, RELAY_BROKEN, 0);
		else
			relay_in_cut(&p->in);
	}
}

bool pipes_want(const struct world *w, node_id node)
{
	const struct pipe_relay *p;

	list_for_each (p, &w->pipes, link)
		if (p->k->peer == node && p->k->going)
			return true;
	return false;
}

/* ---- making ---- */
int pipe_reopen(struct world *w, int fd, int flags)
{
	char path[32];
	int r;

	(void)snprintf(path, sizeof(path), "self/fd/%d", fd);
	r = openat(w->view.procfs, path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return r < 0 ? -errno : r;
}

/* A pipe of ours as one description, of the size that a piece needs. */
static int spare_pipe(struct world *w)
{
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
		return -errno;
	/* Who has many pipes gets small ones (pipe-user-pages-soft of pipe(7)). */
	if (fcntl(fds[0], F_GETPIPE_SZ) < RELAY_CHUNK_MAX &&
	    fcntl(fds[0], F_SETPIPE_SZ, RELAY_CHUNK_MAX) < 0)
		r = -errno;
	else
		r = pipe_reopen(w, fds[0], O_RDWR);
	(void)close(fds[0]);
	(void)close(fds[1]);
	return r;
}

static struct pipe_relay *relay_new(struct world *w, const struct kept_pipe *want)
{
	struct kept_pipe *k = record_find_free(w);
	struct pipe_relay *p = k ? relay_of(w, k) : NULL;
	int r;

	if (!p)
		return NULL;
	*k = *want;
	k->life = peers_life(w, k->peer);
	kept_state_set(&k->state, KEPT_CHANGING);
	r = fd_keep(p, SPARE, spare_pipe(w));
	if (r == 0)
		return p;
	log_warn("a relay cannot be made: %s", strerror(-r));
	relay_discard(p);
	return NULL;
}

static int relay_start(struct pipe_relay *p)
{
	const int spare[2] = { p->fd[SPARE], p->fd[SPARE] };
	/* At home others may write into the reader's pipe too. */
	bool shared = p->k->home;
	int r;

	r = p->k->is_out ? relay_out_init(&p->out, p->w->relays, &p->k->rec, p->fd[END], spare,
					  !p->k->home, &ops, p)
			 : relay_in_init(&p->in, p->w->relays, &p->k->rec, p->fd[END], spare,
					 shared, &ops, p);
	if (r != 0)
		return r;
	list_add_tail(&p->w->pipes, &p->link);
	if (p->fd[PUMP] >= 0 && !pump_is_fed(p))
		pump_watch(p, p->k->is_out ? OBJECT : PUMP, POLLIN);
	kept_state_set(&p->k->state, KEPT_THERE);
	FAULT("kernel.pipe.made");
	return 0;
}

/* A pipe of ours between relay and pump. */
static int pump_pipe(struct pipe_relay *p)
{
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
		return -errno;
	r = fd_keep(p, END, p->k->is_out ? fds[0] : fds[1]);
	if (r == 0)
		return fd_keep(p, PUMP, p->k->is_out ? fds[1] : fds[0]);
	(void)close(p->k->is_out ? fds[1] : fds[0]);
	return r;
}

static int take_pipe(struct pipe_relay *p, int fd)
{
	int end = pipe_reopen(p->w, fd, p->k->is_out ? O_RDONLY : O_WRONLY);

	/* A pipe that was made outside of the tenant is not ours to open: then as it is.
	 * The relay moves bytes by tee and splice with SPLICE_F_NONBLOCK. */
	if (end < 0)
		end = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return end < 0 ? -errno : fd_keep(p, END, end);
}

/* A regular file keeps the one description: its offset is shared with the shell. */
static int take_object(struct pipe_relay *p, int fd, bool regular)
{
	int own = regular ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : pipe_reopen(p->w, fd, O_RDWR);
	int r = own < 0 ? -EIO : fd_keep(p, OBJECT, own);

	p->k->pumped = true;
	return r == 0 ? pump_pipe(p) : r;
}

int pipes_home(struct world *w, uint64_t id, node_id site, gpid pid, int fd, bool process_writes)
{
	const struct kept_pipe want = {
		.peer = site, .pid = pid, .home = true, .is_out = !process_writes, .id = id
	};
	struct pipe_relay *p = relay_new(w, &want);
	struct stat st;
	int r = p ? 0 : -ENOSPC;

	if (r == 0 && fstat(fd, &st) != 0)
		r = -errno;
	if (r == 0)
		r = S_ISFIFO(st.st_mode) ? take_pipe(p, fd)
					 : take_object(p, fd, S_ISREG(st.st_mode));
	(void)close(fd);
	if (r == 0)
		r = relay_start(p);
	if (r != 0 && p)
		relay_discard(p);
	return r;
}

/* What the old end still held; all of it fits into a new pipe. */
static int fill(int fd, const struct pipes_end *e)
{
	ssize_t n = e->len > 0 ? write(fd, e->bytes, e->len) : 0;

	return n == (ssize_t)e->len ? 0 : n < 0 ? -errno : -ENOSPC;
}

int pipes_end_make(struct world *w, const struct pipes_end *e)
{
	const struct kept_pipe want = { .peer = e->home,
					.pid = e->pid,
					.home = false,
					.is_out = e->process_writes,
					.id = e->id,
					.rec.offset = e->start };
	bool process_writes = e->process_writes;
	struct pipe_relay *p = relay_new(w, &want);
	int fds[2], ours, its, r;

	if (!p)
		return -ENOSPC;
	pipe_moved_forget(w, e->id, e->home);
	r = pipe2(fds, O_CLOEXEC) == 0 ? 0 : -errno;
	if (r != 0) {
		relay_discard(p);
		return r;
	}
	ours = process_writes ? fds[0] : fds[1];
	its = process_writes ? fds[1] : fds[0];
	r = fd_keep(p, END, ours);
	if (r == 0 && fcntl(ours, F_SETFL, O_NONBLOCK) != 0)
		r = -errno;
	if (r == 0 && e->len > RELAY_CHUNK_MAX && fcntl(ours, F_SETPIPE_SZ, RELAY_WINDOW_MAX) < 0)
		r = -errno;
	if (r == 0)
		r = fill(its, e);
	if (r == 0)
		r = relay_start(p);
	if (r == 0)
		return its;
	(void)close(its);
	relay_discard(p);
	return r;
}

int pipes_site(struct world *w, uint64_t id, node_id home, gpid pid, bool process_writes)
{
	const struct pipes_end e = {
		.id = id, .home = home, .pid = pid, .process_writes = process_writes
	};

	return pipes_end_make(w, &e);
}

int pipes_terminal(struct world *w, uint64_t id, node_id peer, gpid tag, bool owner, bool is_out,
		   int fd)
{
	const struct kept_pipe want = {
		.peer = peer, .pid = tag, .home = owner, .is_out = is_out, .going = true, .id = id
	};
	struct pipe_relay *p = relay_new(w, &want);
	int r = p ? take_object(p, fd, true) : -ENOSPC;

	if (r == 0)
		r = relay_start(p);
	if (r == 0)
		p->quiet = owner;
	if (r != 0 && p)
		relay_discard(p);
	return r;
}

void pipes_resume(struct world *w, uint64_t id, node_id peer, bool owner)
{
	struct pipe_relay *p = pipe_find(w, id, peer, owner);

	if (p)
		p->quiet = false;
	if (p && peers_conn(w, peer))
		pipe_connected(p);
}

bool pipes_has(struct world *w, uint64_t id, node_id peer, bool owner)
{
	return pipe_find(w, id, peer, owner) != NULL;
}

void pipes_drop_one(struct world *w, uint64_t id, node_id peer, bool owner)
{
	struct pipe_relay *p = pipe_find(w, id, peer, owner);

	if (p)
		pipe_free(p);
}

void pipes_each_terminal(struct world *w, bool owner,
			 void (*cb)(struct world *w, gpid tag, node_id peer, uint64_t id))
{
	struct pipe_relay *p, *tmp;

	/* One of the two is enough to know of both: the one towards the reader. */
	list_for_each_safe (p, tmp, &w->pipes, link)
		if (p->k->pid < 0 && p->k->home == owner && p->k->is_out == owner)
			cb(w, p->k->pid, p->k->peer, p->k->id);
}

/* ---- lives ---- */
void pipes_go(struct world *w, gpid pid)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link) {
		/* The owner of one that came along has to know first where it is. */
		if (p->k->pid != pid || p->k->going || (p->k->came && !p->k->home))
			continue;
		p->k->going = true;
		/* Who writes waits for HAVE, which the other side says when it goes too. */
		if (!p->k->is_out && peers_conn(w, p->k->peer))
			relay_in_resume(&p->in);
	}
}

bool pipes_flushed(struct world *w, gpid pid)
{
	struct pipe_relay *p, *tmp;
	bool all = true;
	int left;

	list_for_each_safe (p, tmp, &w->pipes, link) {
		if (p->k->pid != pid)
			continue;
		if (p->k->is_out && !p->k->home)
			all &= ioctl(p->fd[END], FIONREAD, &left) != 0 || left == 0;
		else if (!p->k->is_out && p->k->pumped)
			all &= pump_out(p);
		if (!p->k->is_out && !p->k->home)
			relay_in_look(&p->in);
	}
	return all;
}

void pipes_drop(struct world *w, gpid pid, bool home)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link)
		if (p->k->pid == pid && p->k->home == home && (pid < 0 || !p->k->going))
			pipe_free(p);
}

void pipes_sweep(struct world *w)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link)
		if (!p->k->going && !p->k->came && !move_is_busy(w, p->k->pid) &&
		    !(p->k->home ? place_has(w, p->k->pid) : site_has_guest(w, p->k->pid)))
			pipe_free(p);
}

/* ---- after a predecessor's death ---- */
/* A descriptor that is not there was never put, or is closed for good. */
static void fds_adopt(struct pipe_relay *p)
{
	for (int i = 0; i < FDS; i++) {
		char key[INIT_KEY_MAX];

		key_of(p, i, key);
		p->fd[i] = pid1_get(p->w->pid1, key);
	}
}

static int adopt(struct world *w, struct kept_pipe *k)
{
	struct pipe_relay *p = relay_of(w, k);
	int r = -EBADF;

	if (!p)
		return -ENOMEM;
	fds_adopt(p);
	p->quiet = k->pid < 0 && k->home;
	if (k->state == KEPT_THERE && p->fd[END] >= 0 && p->fd[SPARE] >= 0)
		r = relay_start(p);
	if (r == 0)
		return 0;
	if (k->state == KEPT_THERE)
		log_warn("a relay of pid %d is lost: %s", k->pid, strerror(-r));
	relay_discard(p);
	return 0;
}

/* There is no file here to open; what pandod gave us as standard input is /dev/null. */
static int null_open(struct world *w)
{
	struct stat st;

	if (fstat(STDIN_FILENO, &st) != 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return -1;
	return pipe_reopen(w, STDIN_FILENO, O_WRONLY);
}

int pipes_open(struct world *w)
{
	int r = relays_new(&w->relays, w->loop, null_open(w));

	list_init(&w->pipes);
	rpc_serve(w->peer_rpc, PEER_RELAY, on_message, w);
	for (size_t i = 0; r == 0 && i < KEPT_PIPES; i++)
		if (w->kept->pipes[i].state != KEPT_FREE)
			r = adopt(w, &w->kept->pipes[i]);
	pipe_moves_open(w);
	return r;
}
