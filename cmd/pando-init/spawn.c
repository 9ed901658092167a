/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - has the spawner (kernel/tenant/session.h) start session leaders, and
 * tells of their end. With no guest kernel a leader's clone and exec wait in their
 * notification; the loop here goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cmd/pando-init/world.h"
#include "kernel/tenant/session.h"

#define STRINGS_MAX   8192
#define SPAWN_KEY_MAX (INIT_KEY_MAX - 12) /* ".PID" comes behind it */

enum state { FREE = 0, STARTING, RUNNING, EXITED };

static struct leader {
	enum state state;
	pid_t pid;
	int pipe;      /* STARTING: its words */
	int pidfd;     /* from its first word to the reply */
	int master;    /* its terminal, until the reply; then in the store, or -1 */
	uint32_t conn; /* serial of who asked last */
	uint32_t tag;
	char key[SPAWN_KEY_MAX]; /* by which it is asked for again and stored; "" without one */
	bool ended;              /* reaped while it was STARTING */
	struct session_word failed;
	int status;
	uint64_t event;
} leaders[LEADERS_MAX];

static pid_t spawner;
static int spawner_sock = -1;
static uint64_t events;

void spawn_begin(const struct given *g)
{
	struct session_spawner s = { -1, g->filter, g->proc, g->entrances, g->entrance_count };
	int listener, r;

	r = session_spawner_start(&s, &spawner, &spawner_sock, &listener);
	if (r < 0)
		die("start the spawner", -r);
	if (store_put(INIT_KEY_LISTENER, listener) < 0)
		die("store the listener", ENOSPC);
}

/* A free entry, unless too many are starting. */
static struct leader *leader_new(void)
{
	struct leader *l = NULL;
	size_t starting = 0;

	for (size_t i = 0; i < LEADERS_MAX; i++) {
		starting += leaders[i].state == STARTING;
		if (l == NULL && leaders[i].state == FREE)
			l = &leaders[i];
	}
	return starting < STARTS_MAX ? l : NULL;
}

static void stored_key(const struct leader *l, char key[INIT_KEY_MAX])
{
	(void)snprintf(key, INIT_KEY_MAX, "%s.%d", l->key, (int)l->pid);
}

/* A guest kernel died, and the next one asks again: it gets the answer of the one leader. */
static bool asked_again(struct conn *c, const struct init_msg *m)
{
	struct init_msg reply = { .op = INIT_SPAWN, .tag = m->tag };
	char key[INIT_KEY_MAX];

	for (size_t i = 0; m->key[0] != 0 && i < LEADERS_MAX; i++) {
		struct leader *l = &leaders[i];
		int fd;

		if (l->state == FREE || strcmp(l->key, m->key) != 0)
			continue;
		if (l->state == STARTING) {
			l->conn = c->serial;
			l->tag = m->tag;
			return true;
		}
		stored_key(l, key);
		fd = store_get(key);
		if (fd < 0)
			continue; /* an older one, that is to be acknowledged */
		reply.arg[0] = (uint64_t)l->pid;
		conn_send(c, &reply, NULL, 0, &fd, 1);
		return true;
	}
	return false;
}

int spawn_request(struct conn *c, const struct init_in *in)
{
	static char *argv[STRINGS_MAX], *envp[STRINGS_MAX];
	struct leader *l;
	struct init_spawn h;
	char *cwd;
	int r = init_spawn_unpack(in->payload, in->len, &h, argv, envp, STRINGS_MAX, &cwd);

	if (r < 0)
		return r;
	if (strnlen(in->msg.key, INIT_KEY_MAX) >= SPAWN_KEY_MAX)
		return -EINVAL;
	if (asked_again(c, &in->msg))
		return 0;
	if (steer.count == 0)
		return -ENOSPC;
	l = leader_new();
	if (l == NULL)
		return -EBUSY;
	*l = (struct leader){
		.conn = c->serial, .tag = in->msg.tag, .pipe = -1, .pidfd = -1, .master = -1
	};
	memcpy(l->key, in->msg.key, sizeof(l->key));
	r = session_spawner_give(spawner_sock, in, &h, &l->pipe, &l->master);
	if (r == 0)
		l->state = STARTING;
	else if (l->master >= 0)
		(void)close(l->master);
	return r;
}

size_t spawn_poll(struct pollfd *p)
{
	size_t n = 0;

	for (size_t i = 0; i < LEADERS_MAX && n < STARTS_MAX; i++) {
		if (leaders[i].state == STARTING)
			p[n++] = (struct pollfd){ .fd = leaders[i].pipe, .events = POLLIN };
	}
	return n;
}

static void exit_event(const struct leader *l, struct init_msg *m)
{
	*m = (struct init_msg){ .op = INIT_EV_EXIT,
				.arg = { (uint64_t)l->pid, (uint64_t)l->status, l->event } };
}

static void exited(struct leader *l, int status)
{
	struct init_msg m;

	l->state = EXITED;
	l->status = status;
	l->event = ++events;
	exit_event(l, &m);
	conn_tell(&m, 0);
}

/* Before who asked is told: so whoever lives knows of it, or finds it. 0 or -errno. */
static int keep_started(const struct leader *l)
{
	struct init_msg event = { .op = INIT_EV_STORED };
	int fd = fcntl(l->pidfd, F_DUPFD_CLOEXEC, 3), r;

	if (fd < 0)
		return -errno;
	stored_key(l, event.key);
	r = store_put(event.key, fd);
	if (r < 0)
		(void)close(fd);
	else
		conn_tell(&event, l->conn);
	return r;
}

/* Its pipe has ended. */
static void started(struct leader *l)
{
	struct init_msg reply = { .op = INIT_SPAWN, .tag = l->tag, .arg = { (uint64_t)l->pid } };
	struct conn *c;
	int fds[2] = { l->pidfd, l->master };
	bool ok = l->failed.step == 0 && l->pidfd >= 0;
	char key[INIT_KEY_MAX];
	int r;

	(void)close(l->pipe);
	r = ok && l->key[0] != 0 ? keep_started(l) : 0;
	if (r < 0) {
		(void)syscall(SYS_pidfd_send_signal, l->pidfd, SIGKILL, NULL, 0);
		l->failed.error = -r;
		ok = false;
	}
	if (!ok) {
		reply.result = l->failed.error > 0 ? -l->failed.error : -ECHILD;
		reply.arg[0] = (uint64_t)(l->failed.step > 0 ? l->failed.step : INIT_STEP_CLONE);
	}
	c = conn_find(l->conn);
	if (c != NULL)
		conn_send(c, &reply, NULL, 0, fds, !ok ? 0 : l->master >= 0 ? 2 : 1);
	else if (ok && l->key[0] == 0) /* nobody waits for it, or ever will */
		(void)syscall(SYS_pidfd_send_signal, l->pidfd, SIGKILL, NULL, 0);
	if (l->pidfd >= 0)
		(void)close(l->pidfd);
	(void)snprintf(key, sizeof(key), "pty.%d", (int)l->pid);
	if (l->master >= 0 && (!ok || store_put(key, l->master) < 0))
		(void)close(l->master);
	l->state = ok ? RUNNING : FREE;
	if (ok && l->ended)
		exited(l, l->status);
}

static void listen_to(struct leader *l)
{
	struct session_word w;
	ssize_t n;

	while ((n = read(l->pipe, &w, sizeof(w))) == sizeof(w)) {
		if (w.step != 0) {
			l->failed = w;
		} else if (l->pidfd < 0) {
			/* It is our child and not yet reaped: the number is still its own. */
			l->pid = w.pid;
			l->pidfd = (int)syscall(SYS_pidfd_open, w.pid, 0);
		}
	}
	if (n == 0)
		started(l);
}

void spawn_ready(int fd)
{
	for (size_t i = 0; i < LEADERS_MAX; i++) {
		if (leaders[i].state == STARTING && leaders[i].pipe == fd)
			listen_to(&leaders[i]);
	}
}

/* A leader whose first word is not read yet must not be reaped as a stranger. */
static void reaped(pid_t pid, int status)
{
	for (size_t i = 0; i < LEADERS_MAX; i++) {
		struct leader *l = &leaders[i];

		if (l->pid != pid || (l->state != STARTING && l->state != RUNNING))
			continue;
		if (l->state == RUNNING) {
			exited(l, status);
		} else {
			l->ended = true;
			l->status = status;
		}
		return;
	}
}

void spawn_reap(void)
{
	int status;
	siginfo_t si;

	for (;;) {
		si.si_pid = 0;
		if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 ||
		    si.si_pid == 0)
			return;
		for (size_t i = 0; i < LEADERS_MAX; i++) {
			if (leaders[i].state == STARTING)
				listen_to(&leaders[i]);
		}
		if (waitpid(si.si_pid, &status, __WALL) != si.si_pid)
			continue;
		if (si.si_pid == spawner)
			die("go on without the spawner", ECHILD);
		reaped(si.si_pid, status);
	}
}

void spawn_replay(struct conn *c)
{
	for (size_t i = 0; i < LEADERS_MAX && c->fd >= 0; i++) {
		struct init_msg m;

		if (leaders[i].state != EXITED)
			continue;
		exit_event(&leaders[i], &m);
		conn_send(c, &m, NULL, 0, NULL, 0);
	}
}

int spawn_ack(uint64_t event)
{
	for (size_t i = 0; i < LEADERS_MAX; i++) {
		struct leader *l = &leaders[i];
		char key[INIT_KEY_MAX];

		if (l->state != EXITED || l->event != event)
			continue;
		(void)snprintf(key, sizeof(key), "pty.%d", (int)l->pid);
		(void)store_drop(key); /* most have no terminal */
		l->state = FREE;
		return 0;
	}
	return -ENOENT;
}
