/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipe_moves.c - ends of relays that go along with a process that moves (carry.c): at the source
 * one is held and described, at the target it is made again for the same relay, whose home is then
 * told until it has answered. At home the process gets the object itself.
 */
#include "cmd/pando-kernel/files/pipes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define TELL_AGAIN_NS (200 * NS_PER_MS)

static bool same_pipe(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

static void pause_relay(struct pipe_relay *p)
{
	if (p->k->is_out)
		relay_out_pause(&p->out);
	else
		relay_in_pause(&p->in);
}

void pipes_thaw(struct world *w, gpid pid)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link) {
		if (p->k->pid != pid || !p->k->held)
			continue;
		p->k->held = false;
		if (peers_conn(w, p->k->peer))
			pipe_connected(p);
	}
	pipes_look_at_lives(w);
}

static struct pipe_relay *find_end(struct world *w, int fd)
{
	struct pipe_relay *p;

	list_for_each (p, &w->pipes, link)
		if (!p->k->home && !p->ended && same_pipe(p->fd[END], fd))
			return p;
	return NULL;
}

static void describe(struct pipe_relay *p, struct pipes_end *out)
{
	const uint8_t *bytes = NULL;
	ssize_t n = 0;

	*out = (struct pipes_end){
		.id = p->k->id, .home = p->k->peer, .pid = p->k->pid, .process_writes = p->k->is_out
	};
	if (p->k->is_out)
		n = relay_out_look(&p->out, &bytes);
	out->start = p->k->is_out ? p->k->rec.offset : relay_in_taken(&p->in);
	out->bytes = bytes;
	out->len = n > 0 ? (size_t)n : 0;
}

bool pipes_find_end(struct world *w, int fd, struct pipes_end *out)
{
	struct pipe_relay *p = find_end(w, fd);

	if (p)
		describe(p, out);
	return p != NULL;
}

bool pipes_hold_end(struct world *w, int fd, gpid pid, struct pipes_end *out)
{
	struct pipe_relay *p = find_end(w, fd);

	if (!p)
		return false;
	/* Who came with it may have left it to a child. */
	p->k->pid = pid;
	p->k->held = true;
	pause_relay(p);
	describe(p, out);
	return true;
}

static void moved_note(struct world *w, uint64_t id, node_id home)
{
	struct kept_moved *m = &w->kept->moved[w->kept->moved_next++ % KEPT_MOVED];

	m->home = NODE_NONE;
	m->id = id;
	m->home = home;
}

static struct kept_moved *moved_find(const struct world *w, uint64_t id, node_id home)
{
	struct kept_moved *m = w->kept->moved;

	for (size_t i = 0; i < KEPT_MOVED; i++)
		if (m[i].home == home && m[i].id == id)
			return &m[i];
	return NULL;
}

bool pipe_has_moved(const struct world *w, uint64_t id, node_id home)
{
	return moved_find(w, id, home) != NULL;
}

void pipe_moved_forget(struct world *w, uint64_t id, node_id home)
{
	struct kept_moved *m = moved_find(w, id, home);

	if (m)
		m->home = NODE_NONE;
}

/* Silently: the same relay has another end by now, of which its home hears. */
void pipes_left(struct world *w, gpid pid)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link)
		if (p->k->pid == pid && p->k->held) {
			moved_note(w, p->k->id, p->k->peer);
			pipe_free(p);
		}
}

bool pipes_are_told(struct world *w, gpid pid)
{
	const struct pipe_relay *p;

	list_for_each (p, &w->pipes, link)
		if (p->k->pid == pid && p->k->came && !p->k->home && !p->k->going)
			return false;
	return true;
}

bool pipes_are_out(struct world *w, gpid pid, node_id home)
{
	struct pipe_relay *p;
	int left;

	list_for_each (p, &w->pipes, link)
		if (p->k->pid == pid && p->k->peer == home && !p->k->home && p->k->is_out &&
		    ioctl(p->fd[END], FIONREAD, &left) == 0 && left > 0)
			return false;
	return true;
}

static struct pipe_relay *find_home(struct world *w, uint64_t id)
{
	struct pipe_relay *p;

	list_for_each (p, &w->pipes, link)
		if (p->k->id == id && p->k->home && !p->ended)
			return p;
	return NULL;
}

/* The other end of it is gone. */
static int broken_pipe(bool process_writes)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0)
		return -errno;
	(void)close(fds[process_writes ? 0 : 1]);
	return fds[process_writes ? 1 : 0];
}

static int object_of(struct pipe_relay *p, bool process_writes)
{
	int object = p->k->pumped ? p->fd[OBJECT] : p->fd[END];
	int fd = pipe_reopen(p->w, object, process_writes ? O_WRONLY : O_RDONLY);

	if (fd == -ENXIO)
		return broken_pipe(process_writes);
	/* Made outside of the tenant: the one description. */
	if (fd < 0)
		fd = fcntl(object, F_DUPFD_CLOEXEC, 0);
	else if (fcntl(fd, F_SETFL, 0) != 0)
		log_warn("a pipe of pid %d does not block: %s", p->k->pid, strerror(errno));
	return fd < 0 ? -errno : fd;
}

int pipes_object(struct world *w, const struct pipes_end *e)
{
	struct pipe_relay *p = find_home(w, e->id);

	if (!p)
		return broken_pipe(e->process_writes);
	p->k->came_at = e->start;
	p->k->pid = e->pid;
	p->k->back = true;
	return object_of(p, e->process_writes);
}

int pipes_output(struct world *w, uint64_t id)
{
	struct pipe_relay *p = find_home(w, id);

	return p ? object_of(p, true) : broken_pipe(true);
}

bool pipes_mark(struct world *w, uint64_t id, node_id home, uint64_t *upto)
{
	const struct pipe_relay *p = pipe_find(w, id, home, false);
	int left = 0;

	if (!p || ioctl(p->fd[END], FIONREAD, &left) != 0)
		return false;
	*upto = p->k->rec.offset + (uint64_t)left;
	return true;
}

bool pipes_is_out(struct world *w, uint64_t id, node_id home, uint64_t upto)
{
	const struct pipe_relay *p = pipe_find(w, id, home, false);

	return p && p->k->rec.offset >= upto;
}

void pipes_came_not(struct world *w, gpid pid)
{
	struct pipe_relay *p;

	list_for_each (p, &w->pipes, link)
		if (p->k->pid == pid)
			p->k->back = false;
}

/* The process has the object itself again. What it has taken elsewhere is thrown away here first.
 */
static void retire(struct pipe_relay *p)
{
	int r = p->k->is_out ? relay_out_msg(&p->out, RELAY_TAKEN, p->k->came_at) : 0;

	if (r != 0)
		log_warn("the input of pid %d may repeat: %s", p->k->pid, strerror(-r));
	pump_end(p);
}

static void on_tell_again(struct loop_timer *t);

static void tell_later(struct world *w)
{
	if (loop_timer_set(w->loop, &w->moved_again, loop_now_ns(w->loop) + TELL_AGAIN_NS,
			   on_tell_again) != 0)
		log_error("cannot wait: out of memory");
}

struct telling {
	struct world *w;
	uint64_t id;
	node_id home;
};

static void on_told(void *arg, int err, const struct rpc_msg *m)
{
	struct telling *t = arg;
	struct pipe_relay *p = pipe_find(t->w, t->id, t->home, false);

	if (p)
		p->asked = false;
	if (p && err == -ENOENT) {
		pipe_free(p); /* the process sees the end of it */
	} else if (p && err == 0) {
		p->k->going = true;
		pipe_connected(p);
	} else if (p) {
		tell_later(t->w);
	}
	free(t);
}

static void on_tell_peer(void *arg, int err, struct rpc_conn *c)
{
	struct telling *t = arg;
	struct pipe_relay *p = pipe_find(t->w, t->id, t->home, false);
	Peer__RelayMoved q = PEER__RELAY_MOVED__INIT;
	struct rpc_opts o = { .deadline_ns = loop_now_ns(t->w->loop) + 5 * NS_PER_S };
	uint8_t body[32];
	struct rpc_msg m = { .method = PEER_RELAY_MOVED, .body = body };

	q.relay = t->id;
	q.pid = p ? p->k->pid : 0;
	m.len = peer__relay_moved__pack(&q, body);
	if (err == 0)
		err = rpc_request(c, &m, &o, on_told, t, NULL);
	if (err != 0)
		on_told(t, err == -ENOENT ? -EAGAIN : err, NULL);
}

static void tell_moved(struct pipe_relay *p)
{
	struct telling *t = malloc(sizeof(*t));

	if (!t) {
		tell_later(p->w);
		return;
	}
	*t = (struct telling){ p->w, p->k->id, p->k->peer };
	p->asked = true;
	peers_with(p->w, p->k->peer, on_tell_peer, t);
}

static void tell_all(struct world *w)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link)
		if (p->k->came && !p->k->home && !p->k->going && !p->asked)
			tell_moved(p);
}

static void on_tell_again(struct loop_timer *t)
{
	tell_all(container_of(t, struct world, moved_again));
}

void pipes_came(struct world *w, gpid pid)
{
	struct pipe_relay *p, *tmp;

	list_for_each_safe (p, tmp, &w->pipes, link) {
		/* Not those that it has left to others, or that an old life left behind. */
		if (p->k->pid != pid || (p->k->home ? !p->k->back : p->k->going))
			continue;
		p->k->came = true;
		FAULT("kernel.pipe.came");
		if (p->k->home)
			retire(p);
	}
	tell_all(w);
}

void pipes_came_along(struct world *w, gpid pid, node_id from)
{
	struct pipe_relay *p;

	list_for_each (p, &w->pipes, link)
		if (p->k->pid == pid && !p->k->home && !p->k->going && p->k->peer != from)
			p->k->came = true;
	tell_all(w);
}

bool pipes_pass_on(struct world *w, gpid pid)
{
	const struct pipe_relay *p;

	list_for_each (p, &w->pipes, link)
		if (p->k->pid == pid && p->k->home && !p->k->is_out && !p->ended &&
		    find_end(w, p->fd[END]))
			return true;
	return false;
}

/* ---- who else has an end ---- */
/*
 * By the text of its links (proc(5)) alone: to stat what such a link leads to is a request to
 * ourselves where that is a file of our /proc, and nobody would answer it.
 */
static bool has_pipe(const struct world *w, pid_t pid, ino_t ino)
{
	char path[64], want[64], text[64];
	struct dirent *e;
	bool found = false;
	ssize_t n;
	int dir;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%d/fd", pid);
	(void)snprintf(want, sizeof(want), "pipe:[%llu]", (unsigned long long)ino);
	dir = openat(w->view.procfs, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = dir < 0 ? NULL : fdopendir(dir);
	if (!d) {
		if (dir >= 0)
			(void)close(dir);
		return false;
	}
	while (!found && (e = readdir(d)) != NULL) {
		n = readlinkat(dir, e->d_name, text, sizeof(text));
		found = n == (ssize_t)strlen(want) && memcmp(text, want, (size_t)n) == 0;
	}
	(void)closedir(d);
	return found;
}

gpid pipes_other_user(const struct world *w, ino_t ino, pid_t pid)
{
	struct proc_list l;
	gpid found = 0;

	if (proc_scan(&l, &w->view) != 0)
		return 0;
	for (size_t i = 0; i < l.n && found == 0; i++)
		if (l.v[i].t.pid != pid && has_pipe(w, l.v[i].t.pid, ino))
			found = l.v[i].t.gpid;
	proc_list_fini(&l);
	return found;
}

static void on_moved(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Peer__RelayMoved *q = peer__relay_moved__unpack(NULL, m->len, m->body);
	struct pipe_relay *p = q ? find_home(w, q->relay) : NULL;
	int r = !q ? -EPROTO : !p || p->k->pid < 0 || q->pid <= 1 ? -ENOENT : 0;

	if (r == 0) {
		p->k->pid = q->pid;
		p->k->back = false;
		p->k->peer = rpc_conn_peer(c)->node;
		p->k->life = peers_life(w, p->k->peer);
		p->k->going = true;
		pause_relay(p); /* until it says what it has */
	}
	answers_reply(call, r, NULL);
	if (r == 0)
		pipe_connected(p);
	if (q)
		peer__relay_moved__free_unpacked(q, NULL);
}

void pipe_moves_open(struct world *w)
{
	rpc_serve(w->peer_rpc, PEER_RELAY_MOVED, on_moved, w);
	tell_later(w);
}
