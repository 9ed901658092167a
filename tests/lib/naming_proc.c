/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/naming_proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "naming/naming.h"

#define ASK_MS 20000

/* ---- the node, in its own process ---- */

struct node {
	struct loop *loop;
	struct naming *n;
	const char *base;
	int id;
	int sock;
	int ctl;
	struct loop_fd sock_watch;
	struct loop_fd ctl_watch;
	char in[1 << 17];
	size_t in_len;
};

struct run {
	struct node *node;
	unsigned left;
	unsigned under_way;
	unsigned failed;
	uint64_t began_ns;
};

struct ask {
	struct node *node;
	char name[64];
	bool find;
	bool invite;
};

static struct sockaddr_un address(const char *base, unsigned id)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	CHECK(snprintf(a.sun_path, sizeof(a.sun_path), "%s/s%u", base, id) <
	      (int)sizeof(a.sun_path));
	return a;
}

static void on_send(void *arg, node_id to, const void *msg, size_t len)
{
	struct node *s = arg;
	struct sockaddr_un a = address(s->base, to);

	/* Best effort: a node that is down, or slow, misses it. */
	(void)!sendto(s->sock, msg, len, MSG_DONTWAIT, (struct sockaddr *)&a, sizeof(a));
}

static const struct naming_ops ops = { .send = on_send };

static void reply(struct node *s, const char *fmt, ...) printf_like(2, 3);
static void reply(struct node *s, const char *fmt, ...)
{
	struct buf b = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	CHECK(buf_vaddf(&b, fmt, ap) == 0 && buf_add(&b, "\n", 1) == 0);
	va_end(ap);
	for (size_t at = 0; at < b.len;) {
		ssize_t n = write(s->ctl, b.data + at, b.len - at);

		if (n <= 0)
			_exit(1);
		at += (size_t)n;
	}
	buf_fini(&b);
}

static void sock_in(struct loop_fd *w, short revents)
{
	struct node *s = container_of(w, struct node, sock_watch);
	static uint8_t bytes[1 << 20];
	struct sockaddr_un a;
	socklen_t alen = sizeof(a);
	ssize_t n;

	(void)revents;
	memset(&a, 0, sizeof(a));
	n = recvfrom(s->sock, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&a, &alen);
	if (n > 0)
		naming_input(s->n, (node_id)atoi(strrchr(a.sun_path, '/') + 2), bytes, (size_t)n);
}

static void give_ticket(struct node *s, node_id id)
{
	static uint8_t ticket[NAMING_TICKET_MAX];
	struct buf b = BUF_INIT;
	ssize_t n = naming_ticket(s->n, id, ticket, sizeof(ticket));

	for (ssize_t i = 0; i < n; i++)
		CHECK(buf_addf(&b, "%02x", ticket[i]) == 0);
	reply(s, "%s", n < 0 ? "error" : buf_str(&b));
	buf_fini(&b);
}

static void answered(void *arg, int err, const struct naming_result *r)
{
	struct ask *a = arg;
	const struct naming_tenant *t;

	if (err == 0 && a->find) {
		t = naming_tenant_find_name(naming_tables(a->node->n), a->name);
		reply(a->node, "%d %u", t == NULL ? -ENOENT : 0, t == NULL ? 0 : t->id);
	} else if (err == 0 && a->invite && r->err == 0) {
		give_ticket(a->node, r->id);
	} else {
		reply(a->node, "%d %u", err != 0 ? err : r->err, err != 0 ? 0 : r->id);
	}
	free(a);
}

static void propose(struct node *s, const struct naming_cmd *cmd, const char *name, bool find,
		    bool invite)
{
	struct ask *a = calloc(1, sizeof(*a));
	int r;

	a->node = s;
	a->find = find;
	a->invite = invite;
	(void)snprintf(a->name, sizeof(a->name), "%s", name);
	r = naming_propose(s->n, cmd, clock_mono_ns() + ASK_MS * NS_PER_MS, answered, a);
	if (r != 0) {
		reply(s, "%d 0", r);
		free(a);
	}
}

static void boot(struct node *s)
{
	struct naming_self self = { .name = "n1", .addr = "unix:1" };
	int r;

	memset(self.key, 1, sizeof(self.key));
	r = naming_bootstrap(s->n, "grove", &self);
	reply(s, "%d", r);
}

static void invite(struct node *s, const char *name)
{
	struct naming_cmd c = { .kind = NAMING_CMD_TOKEN_ADD, .number = 1, .ttl_ms = 60000 };

	memset(c.key, 9, sizeof(c.key));
	CHECK(naming_propose(s->n, &c, clock_mono_ns() + ASK_MS * NS_PER_MS, NULL, NULL) == 0);
	c.kind = NAMING_CMD_NODE_JOIN;
	memset(c.key2, 9, sizeof(c.key2));
	(void)snprintf(c.name, sizeof(c.name), "%s", name);
	(void)snprintf(c.addr, sizeof(c.addr), "unix:%s", name);
	propose(s, &c, name, false, true);
}

static void join(struct node *s, const char *hex)
{
	static uint8_t ticket[NAMING_TICKET_MAX];
	size_t n = strlen(hex) / 2;

	for (size_t i = 0; i < n; i++) {
		unsigned v = 0;

		CHECK(sscanf(hex + 2 * i, "%2x", &v) == 1);
		ticket[i] = (uint8_t)v;
	}
	reply(s, "%d", naming_join(s->n, ticket, n));
}

static void run_next(void *arg, int err, const struct naming_result *r)
{
	struct run *run = arg;

	run->under_way--;
	run->failed += err != 0;
	if (run->left > 0) {
		run->left--;
		run->under_way++;
		CHECK(naming_barrier(run->node->n, clock_mono_ns() + ASK_MS * NS_PER_MS, run_next,
				     run) == 0);
	} else if (run->under_way == 0) {
		reply(run->node, "%lu %u", (unsigned long)(clock_mono_ns() - run->began_ns),
		      run->failed);
		free(run);
	}
}

static void run(struct node *s, const char *text)
{
	struct run *run = calloc(1, sizeof(*run));
	unsigned window = 1;

	run->node = s;
	CHECK(sscanf(text, "%u %u", &run->left, &window) == 2);
	run->began_ns = clock_mono_ns();
	for (unsigned i = 0; i < window; i++) {
		run->under_way++;
		run->left--;
		CHECK(naming_barrier(s->n, clock_mono_ns() + ASK_MS * NS_PER_MS, run_next, run) ==
		      0);
	}
}

static void status(struct node *s)
{
	struct naming_status st;

	naming_status(s->n, &st);
	reply(s, "%d %u %u %lu %d", (int)st.role, st.leader, st.voters, (unsigned long)st.applied,
	      st.disk_err);
}

static void line(struct node *s, char *text)
{
	struct naming_cmd c = { .kind = NAMING_CMD_TENANT_ADD };
	char *arg = strchr(text, ' ');

	if (arg != NULL)
		*arg++ = '\0';
	if (strcmp(text, "boot") == 0) {
		boot(s);
	} else if (strcmp(text, "invite") == 0 && arg != NULL) {
		invite(s, arg);
	} else if (strcmp(text, "join") == 0 && arg != NULL) {
		join(s, arg);
	} else if (strcmp(text, "tenant") == 0 && arg != NULL) {
		(void)snprintf(c.name, sizeof(c.name), "%s", arg);
		propose(s, &c, arg, false, false);
	} else if (strcmp(text, "find") == 0 && arg != NULL) {
		c.kind = NAMING_CMD_NOOP;
		propose(s, &c, arg, true, false);
	} else if (strcmp(text, "run") == 0 && arg != NULL) {
		run(s, arg);
	} else if (strcmp(text, "status") == 0) {
		status(s);
	} else if (strcmp(text, "fault") == 0 && arg != NULL) {
		reply(s, "%d", fault_arm_text(arg));
	} else {
		reply(s, "what?");
	}
}

static void ctl_in(struct loop_fd *w, short revents)
{
	struct node *s = container_of(w, struct node, ctl_watch);
	ssize_t n = read(s->ctl, s->in + s->in_len, sizeof(s->in) - s->in_len - 1);
	char *end;

	(void)revents;
	if (n <= 0) {
		loop_stop(s->loop);
		return;
	}
	s->in_len += (size_t)n;
	s->in[s->in_len] = '\0';
	while ((end = strchr(s->in, '\n')) != NULL) {
		size_t used = (size_t)(end - s->in) + 1;

		*end = '\0';
		line(s, s->in);
		memmove(s->in, s->in + used, s->in_len - used + 1);
		s->in_len -= used;
	}
}

static int node_main(const char *base, const char *dir, int id, int ctl)
{
	static struct node s;
	struct naming_config cfg = {
		.dir = dir,
		.election_ms = 200,
		.heartbeat_ms = 20,
		.snapshot_entries = 200,
	};
	struct sockaddr_un a = address(base, (unsigned)id);
	char name[16];
	int r;

	(void)snprintf(name, sizeof(name), "n%d", id);
	log_init(name);
	s.base = base;
	s.id = id;
	s.ctl = ctl;
	(void)unlink(a.sun_path);
	s.sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(bind(s.sock, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(loop_new(&s.loop, LOOP_AUTO) == 0);
	r = naming_new(&s.n, s.loop, &cfg, &ops, &s);
	if (r != 0)
		return -r;
	CHECK(loop_fd_add(s.loop, &s.sock_watch, s.sock, POLLIN, sock_in) == 0);
	CHECK(loop_fd_add(s.loop, &s.ctl_watch, s.ctl, POLLIN, ctl_in) == 0);
	r = loop_run(s.loop);
	loop_fd_del(s.loop, &s.sock_watch);
	loop_fd_del(s.loop, &s.ctl_watch);
	naming_free(s.n);
	loop_free(s.loop);
	close(s.sock);
	close(s.ctl);
	return r;
}

/* ---- the test's side ---- */

void proc_start(struct proc *p, const char *base, int id)
{
	int pair[2];

	CHECK(snprintf(p->dir, sizeof(p->dir), "%s/n%d", base, id) < (int)sizeof(p->dir));
	(void)mkdir(p->dir, 0700);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	p->id = id;
	p->len = 0;
	p->pid = fork();
	CHECK(p->pid >= 0);
	if (p->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		_exit(node_main(base, p->dir, id, pair[1]));
	}
	close(pair[1]);
	p->fd = pair[0];
}

void proc_kill(struct proc *p)
{
	if (p->pid == 0)
		return;
	(void)kill(p->pid, SIGKILL);
	CHECK(waitpid(p->pid, NULL, 0) == p->pid);
	close(p->fd);
	p->pid = 0;
}

bool proc_ended(struct proc *p)
{
	if (p->pid == 0)
		return true;
	if (waitpid(p->pid, NULL, WNOHANG) != p->pid)
		return false;
	close(p->fd);
	p->pid = 0;
	return true;
}

static void vsend(struct proc *p, const char *fmt, va_list ap)
{
	struct buf b = BUF_INIT;

	CHECK(buf_vaddf(&b, fmt, ap) == 0 && buf_add(&b, "\n", 1) == 0);
	/* A dead node does not read: that is seen when no answer comes. */
	(void)!send(p->fd, b.data, b.len, MSG_NOSIGNAL);
	buf_fini(&b);
}

void proc_send(struct proc *p, const char *fmt, ...)
{
	va_list ap;

	if (p->pid == 0)
		return;
	va_start(ap, fmt);
	vsend(p, fmt, ap);
	va_end(ap);
}

const char *proc_line(struct proc *p, int ms)
{
	static char out[sizeof(p->buf)];
	uint64_t until = clock_mono_ns() + (uint64_t)ms * NS_PER_MS;
	char *end;

	if (p->pid == 0)
		return NULL;
	while ((end = memchr(p->buf, '\n', p->len)) == NULL) {
		struct pollfd pf = { .fd = p->fd, .events = POLLIN };
		uint64_t now = clock_mono_ns();
		ssize_t n;

		if (now >= until || poll(&pf, 1, (int)((until - now) / NS_PER_MS) + 1) <= 0)
			return NULL;
		n = read(p->fd, p->buf + p->len, sizeof(p->buf) - p->len);
		if (n <= 0)
			return NULL;
		p->len += (size_t)n;
	}
	*end = '\0';
	memcpy(out, p->buf, (size_t)(end - p->buf) + 1);
	p->len -= (size_t)(end - p->buf) + 1;
	memmove(p->buf, end + 1, p->len);
	return out;
}

const char *proc_ask(struct proc *p, int ms, const char *fmt, ...)
{
	va_list ap;

	if (p->pid == 0)
		return NULL;
	va_start(ap, fmt);
	vsend(p, fmt, ap);
	va_end(ap);
	return proc_line(p, ms);
}
