/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipes.c - what a process elsewhere reads and writes at home: one relay per description.
 *
 * Home has the guests' own object. A pipe goes into the relay as it is. For anything else (a
 * terminal, a file being written) a pump moves bytes between it and a pipe of ours that is in the
 * relay.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/ipc/relay.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define PUMP_BYTES 4096

struct pipe_relay {
	struct list link;
	struct world *w;
	uint64_t id;
	node_id peer;
	gpid pid;  /* whose it is */
	bool home; /* we are */
	bool is_out;
	bool going; /* in: bytes may come */
	struct relay_record rec;
	struct relay_out out;
	struct relay_in in;
	int end;      /* the guests' pipe, or ours to the pump */
	int spare[2]; /* tomb or stage */

	int object; /* pumped: terminal or file; -1: a plain pipe */
	int pump;   /* our other end of the pipe */
	struct loop_fd pump_watch;
	bool pumping;
	uint8_t kept[PUMP_BYTES]; /* read from one side, not yet written to the other */
	size_t kept_at, kept_len;
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void relay_free(struct pipe_relay *p)
{
	list_del(&p->link);
	if (p->is_out)
		relay_out_fini(&p->out);
	else
		relay_in_fini(&p->in);
	if (p->pumping)
		loop_fd_del(p->w->loop, &p->pump_watch);
	close_fd(&p->end);
	close_fd(&p->spare[0]);
	close_fd(&p->spare[1]);
	close_fd(&p->pump);
	close_fd(&p->object);
	free(p);
}

/* ---- messages ---- */
static int send_relay(void *arg, enum relay_kind kind, uint64_t offset, const void *bytes,
		      size_t len)
{
	struct pipe_relay *p = arg;
	struct rpc_conn *c = peers_conn(p->w, p->peer);
	Peer__Relay q = PEER__RELAY__INIT;
	uint8_t *body;
	struct rpc_msg m = { .method = PEER_RELAY };
	int r;

	if (!c)
		return -EAGAIN;
	q.relay = p->id;
	q.home = p->home;
	q.kind = kind;
	q.offset = offset;
	q.data.data = (uint8_t *)(uintptr_t)bytes;
	q.data.len = len;
	body = malloc(peer__relay__get_packed_size(&q) + 1);
	if (!body)
		return -EAGAIN;
	m.len = peer__relay__pack(&q, body);
	m.body = body;
	r = rpc_send(c, &m);
	free(body);
	return r == 0 ? 0 : -EAGAIN;
}

static void pump_out(struct pipe_relay *p);

static void on_done(void *arg)
{
	struct pipe_relay *p = arg;

	/* The relay's end says EOF to our pump, which has its last bytes still to write. */
	if (!p->is_out && p->object >= 0) {
		close_fd(&p->end);
		pump_out(p);
	}
	relay_free(p);
}

static const struct relay_ops ops = { .send = send_relay, .done = on_done };

static struct pipe_relay *find(struct world *w, uint64_t id, node_id peer, bool home)
{
	struct pipe_relay *p;

	list_for_each (p, &w->pipes, link)
		if (p->id == id && p->peer == peer && p->home == home)
			return p;
	return NULL;
}

static void on_message(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct world *w = arg;
	Peer__Relay *q = peer__relay__unpack(NULL, m->len, m->body);
	struct pipe_relay *p = q ? find(w, q->relay, rpc_conn_peer(c)->node, !q->home) : NULL;
	int r = 0;

	if (q && p && p->is_out)
		r = relay_out_msg(&p->out, q->kind, q->offset);
	else if (q && p)
		r = relay_in_msg(&p->in, q->kind, q->offset, q->data.data, q->data.len);
	if (r == -EPROTO) {
		log_warn("node %u breaks the rules of a relay: dropped", p->peer);
		relay_free(p);
	}
	if (q)
		peer__relay__free_unpacked(q, NULL);
	answers_reply(call, 0, NULL);
}

void pipes_connected(struct world *w, node_id node)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link) {
		if (p->peer == node && p->going)
			relay_in_resume(&p->in);
	}
}

void pipes_disconnected(struct world *w, node_id node)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link) {
		if (p->peer != node)
			continue;
		if (p->is_out)
			relay_out_pause(&p->out);
		else
			relay_in_pause(&p->in);
	}
}

/* ---- pumps ---- */
static bool write_kept(struct pipe_relay *p, int to)
{
	while (p->kept_len > 0) {
		ssize_t n = write(to, p->kept + p->kept_at, p->kept_len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0)
			n = (ssize_t)p->kept_len; /* a terminal that hung up, a full disk: lost, as
						     on a host */
		p->kept_at += (size_t)n;
		p->kept_len -= (size_t)n;
	}
	return true;
}

/* Our pipe -> the terminal or file, until the pipe is empty. */
static void pump_out(struct pipe_relay *p)
{
	ssize_t n;

	while (write_kept(p, p->object) && (n = read(p->pump, p->kept, sizeof(p->kept))) > 0) {
		p->kept_at = 0;
		p->kept_len = (size_t)n;
	}
}

static void on_pump_out(struct loop_fd *fd, short revents)
{
	pump_out(container_of(fd, struct pipe_relay, pump_watch));
}

/* Only while the process is in front may it have what is typed. */
static bool in_front(struct pipe_relay *p)
{
	struct task_info t;
	const struct stub *s = stubs_find(p->w->stubs, p->pid);

	if (!s || task_read(&t, p->w->view.procfs, s->pid) != 0)
		return false;
	return t.node_tpgid < 0 || t.node_tpgid == t.node_pgid;
}

static void pump_events(struct pipe_relay *p, short events)
{
	int r = loop_fd_mod(p->w->loop, &p->pump_watch, events);

	if (r != 0)
		log_warn("cannot watch a terminal: %s", strerror(-r));
}

static void on_pump_in(struct loop_fd *fd, short revents)
{
	struct pipe_relay *p = container_of(fd, struct pipe_relay, pump_watch);
	ssize_t n;

	if (!in_front(p) || !write_kept(p, p->pump)) {
		pump_events(p, 0);
		p->w->pumps_paused = true;
		return;
	}
	n = read(p->object, p->kept, sizeof(p->kept));
	if (n > 0) {
		p->kept_at = 0;
		p->kept_len = (size_t)n;
		(void)write_kept(p, p->pump);
	} else if (n == 0 || errno != EAGAIN) {
		loop_fd_del(p->w->loop, fd);
		p->pumping = false;
		close_fd(&p->pump); /* EOF */
	}
}

static int start_pump(struct pipe_relay *p)
{
	bool to_object = !p->is_out;
	int r = loop_fd_add(p->w->loop, &p->pump_watch, to_object ? p->pump : p->object, POLLIN,
			    to_object ? on_pump_out : on_pump_in);

	p->pumping = r == 0;
	return r;
}

/* ---- making ---- */
/* The same object with a description of our own: what we set on it is not seen by the guests. */
static int reopen(struct world *w, int fd, int flags)
{
	char path[32];
	int r;

	(void)snprintf(path, sizeof(path), "self/fd/%d", fd);
	r = openat(w->view.procfs, path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return r < 0 ? -errno : r;
}

static struct pipe_relay *relay_new(struct world *w, uint64_t id, node_id peer, gpid pid, bool home,
				    bool is_out)
{
	struct pipe_relay *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->w = w;
	p->id = id;
	p->peer = peer;
	p->pid = pid;
	p->home = home;
	p->is_out = is_out;
	p->end = p->object = p->pump = -1;
	p->spare[0] = p->spare[1] = -1;
	list_init(&p->link);
	if (pipe2(p->spare, O_CLOEXEC | O_NONBLOCK) != 0) {
		free(p);
		return NULL;
	}
	return p;
}

static int relay_start(struct pipe_relay *p)
{
	int r = p->is_out
			? relay_out_init(&p->out, p->w->relays, &p->rec, p->end, p->spare, &ops, p)
			: relay_in_init(&p->in, p->w->relays, &p->rec, p->end, p->spare, true, &ops,
					p);

	if (r != 0)
		return r;
	list_add_tail(&p->w->pipes, &p->link);
	if (p->object >= 0)
		r = start_pump(p);
	return r;
}

static void relay_discard(struct pipe_relay *p)
{
	close_fd(&p->end);
	close_fd(&p->spare[0]);
	close_fd(&p->spare[1]);
	close_fd(&p->pump);
	close_fd(&p->object);
	free(p);
}

/* A pipe of ours between relay and pump. */
static int pump_pipe(struct pipe_relay *p)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
		return -errno;
	p->end = p->is_out ? fds[0] : fds[1];
	p->pump = p->is_out ? fds[1] : fds[0];
	return 0;
}

int pipes_home(struct world *w, uint64_t id, node_id site, gpid pid, int fd, bool process_writes)
{
	struct pipe_relay *p = relay_new(w, id, site, pid, true, !process_writes);
	struct stat st;
	int r = p ? 0 : -ENOMEM;

	if (r == 0 && fstat(fd, &st) != 0)
		r = -errno;
	if (r == 0 && S_ISFIFO(st.st_mode)) {
		p->end = reopen(w, fd, process_writes ? O_WRONLY : O_RDONLY);
		/* A pipe that was made outside of the tenant is not ours to open: then as it is.
		 * The relay moves bytes by tee and splice with SPLICE_F_NONBLOCK. */
		if (p->end < 0)
			p->end = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		r = p->end < 0 ? -errno : 0;
	} else if (r == 0) {
		/* A regular file keeps the one description: its offset is shared with the shell. */
		p->object =
			S_ISREG(st.st_mode) ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : reopen(w, fd, O_RDWR);
		r = p->object < 0 ? -EIO : pump_pipe(p);
	}
	(void)close(fd);
	if (r == 0)
		r = relay_start(p);
	if (r != 0 && p)
		relay_discard(p);
	return r;
}

int pipes_site(struct world *w, uint64_t id, node_id home, gpid pid, bool process_writes)
{
	struct pipe_relay *p = relay_new(w, id, home, pid, false, process_writes);
	int fds[2], r;

	if (!p)
		return -ENOMEM;
	if (pipe2(fds, O_CLOEXEC) != 0) {
		r = -errno;
		relay_discard(p);
		return r;
	}
	p->end = process_writes ? fds[0] : fds[1];
	r = fcntl(p->end, F_SETFL, O_NONBLOCK) == 0 ? relay_start(p) : -errno;
	if (r != 0) {
		relay_discard(p);
		(void)close(process_writes ? fds[1] : fds[0]);
		return r;
	}
	return process_writes ? fds[1] : fds[0];
}

void pipes_go(struct world *w, gpid pid)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link) {
		if (p->pid != pid || p->is_out || p->going)
			continue;
		p->going = true;
		if (peers_conn(w, p->peer))
			relay_in_resume(&p->in);
	}
}

bool pipes_flushed(struct world *w, gpid pid)
{
	struct pipe_relay *p;
	int left;

	list_for_each (p, &w->pipes, link) {
		if (p->pid != pid)
			continue;
		if (p->home && !p->is_out && p->object >= 0)
			pump_out(p);
		if (!p->home && p->is_out && ioctl(p->end, FIONREAD, &left) == 0 && left > 0)
			return false;
	}
	return true;
}

void pipes_drop(struct world *w, gpid pid, bool home)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link)
		if (p->pid == pid && p->home == home)
			relay_free(p);
}

void pipes_drop_inputs(struct world *w, gpid pid)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link)
		if (p->pid == pid && p->home && p->is_out)
			relay_free(p);
}

void pipes_look_again(struct world *w)
{
	struct pipe_relay *p;

	if (!w->pumps_paused)
		return;
	w->pumps_paused = false;
	list_for_each (p, &w->pipes, link)
		if (p->pumping && p->is_out)
			pump_events(p, POLLIN);
}

int pipes_open(struct world *w)
{
	list_init(&w->pipes);
	rpc_serve(w->peer_rpc, PEER_RELAY, on_message, w);
	return relays_new(&w->relays, w->loop);
}
