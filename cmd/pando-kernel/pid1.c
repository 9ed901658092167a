/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pando-kernel/pid1.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "kernel/tenant/client.h"

#define ANSWER_NS (10 * NS_PER_S) /* pando-init answers within its turn; so long it is dead */
#define OWED_MAX  32              /* answers that its socket holds for sure */

/* A message that came while we waited for another. */
struct kept {
	struct list link;
	struct init_msg msg;
	size_t nfds;
	int fds[INIT_FDS_MAX];
};

struct spawn {
	struct list link;
	uint32_t tag;
	pid1_spawned_fn done;
	void *arg;
};

/* Of one kind, not said yet. */
struct batch {
	struct init_msg m; /* with the first key */
	unsigned n;
	size_t len; /* of the other keys */
	size_t nfds;
	int fds[INIT_FDS_MAX]; /* ours */
	char keys[INIT_FDS_MAX * INIT_KEY_MAX];
};

struct pid1 {
	struct loop *loop;
	int sock;
	struct loop_fd watch;
	const struct pid1_ops *ops;
	void *arg;
	uint64_t ns;
	uint32_t last_tag;
	bool together;
	struct batch batch;
	unsigned owed; /* answers of what is said together */
	int owed_err;  /* the first that was none */
	struct list spawns;
	struct list kept;
	struct loop_timer tell_kept;
	struct init_in in; /* of the message being looked at */
	uint8_t payload[INIT_MSG_MAX];
};

static void tell_event(struct pid1 *p, const struct init_msg *m)
{
	switch (m->op) {
	case INIT_EV_EXIT:
		p->ops->exited(p->arg, (gpid)m->arg[0], (int)m->arg[1], m->arg[2]);
		break;
	case INIT_EV_STORED:
		p->ops->stored(p->arg, m->key);
		break;
	case INIT_EV_PIDS:
		p->ops->pids_low(p->arg);
		break;
	default:
		log_warn("pando-init said something unasked: op %u", m->op);
	}
}

/* True: the descriptors are taken. */
static bool tell_spawn(struct pid1 *p, const struct init_msg *m, const int *fds, size_t nfds)
{
	struct spawn *s;

	list_for_each (s, &p->spawns, link) {
		bool ok = m->result >= 0 && nfds > 0;

		if (s->tag != m->tag)
			continue;
		list_del(&s->link);
		if (ok)
			s->done(s->arg, 0, (gpid)m->arg[0], fds, nfds);
		else
			s->done(s->arg, m->result < 0 ? m->result : -EPROTO, 0, NULL, 0);
		free(s);
		return ok;
	}
	return false;
}

static void tell(struct pid1 *p, const struct init_msg *m, const int *fds, size_t nfds)
{
	if (m->op == INIT_SPAWN && tell_spawn(p, m, fds, nfds))
		return;
	for (size_t i = 0; i < nfds; i++)
		(void)close(fds[i]);
	if (m->op != INIT_SPAWN)
		tell_event(p, m);
}

static void on_tell_kept(struct loop_timer *t)
{
	struct pid1 *p = container_of(t, struct pid1, tell_kept);

	while (!list_empty(&p->kept)) {
		struct kept *k = list_front(&p->kept, struct kept, link);

		list_del(&k->link);
		tell(p, &k->msg, k->fds, k->nfds);
		free(k);
	}
}

static void keep(struct pid1 *p)
{
	struct kept *k = calloc(1, sizeof(*k));

	CHECK(k); /* an exit that is not told would hang a login; a successor hears it again */
	k->msg = p->in.msg;
	k->nfds = p->in.nfds;
	memcpy(k->fds, p->in.fds, p->in.nfds * sizeof(int));
	list_add_tail(&p->kept, &k->link);
	CHECK(loop_timer_set(p->loop, &p->tell_kept, 0, on_tell_kept) == 0);
}

static int await(struct pid1 *p, short events, uint64_t end_ns)
{
	struct pollfd f = { .fd = p->sock, .events = events };
	uint64_t now = clock_mono_ns();

	if (now >= end_ns)
		return -ETIMEDOUT;
	if (poll(&f, 1, (int)((end_ns - now) / NS_PER_MS) + 1) < 0 && errno != EINTR)
		return -errno;
	return 0;
}

static int send_all(struct pid1 *p, const struct init_msg *m, const void *payload, size_t len,
		    const int *fds, size_t nfds)
{
	uint64_t end = clock_mono_ns() + ANSWER_NS;

	for (;;) {
		int r = init_send(p->sock, m, payload, len, fds, nfds);

		if (r == -EAGAIN)
			r = await(p, POLLOUT, end);
		else
			return r;
		if (r != 0)
			return r;
	}
}

/* An answer that pid1_settle() waits for? */
static bool take_owed(struct pid1 *p)
{
	const struct init_msg *m = &p->in.msg;

	if (p->owed == 0 || (m->op != INIT_PUT && m->op != INIT_DROP))
		return false;
	p->owed--;
	if (m->result < 0 && m->op == INIT_PUT && p->owed_err == 0)
		p->owed_err = m->result;
	return true;
}

/* Waits for the next message that is no event; 1: it is in p->in. */
static int next_answer(struct pid1 *p, uint64_t end_ns)
{
	for (;;) {
		int r = init_recv(p->sock, &p->in);

		if (r == 1 && p->in.msg.op != INIT_SPAWN && p->in.msg.op < INIT_EV_EXIT)
			return 1;
		if (r == 1)
			keep(p);
		p->in.nfds = 0;
		if (r == 0)
			return -EPIPE;
		r = r == -EAGAIN ? await(p, POLLIN, end_ns) : MIN(r, 0);
		if (r != 0)
			return r;
	}
}

/* ---- several at once ---- */
static int settle(struct pid1 *p)
{
	uint64_t end = clock_mono_ns() + ANSWER_NS;
	int r = 0;

	while (p->owed > 0 && r == 0) {
		r = next_answer(p, end);
		if (r == 1 && !take_owed(p))
			init_in_close(&p->in);
		r = MIN(r, 0);
	}
	if (r != 0)
		p->owed = 0; /* it is gone: everybody will see */
	return r;
}

static bool is_quiet(const struct init_msg *m)
{
	return m->op == INIT_DROP && m->arg[0] == INIT_DROP_QUIETLY;
}

/* What has been gathered is said; its answer is owed. */
static int flush(struct pid1 *p)
{
	struct batch *b = &p->batch;
	int r = b->n > 0 && p->owed == OWED_MAX ? settle(p) : 0;

	if (b->n > 0 && r == 0) {
		b->m.tag = ++p->last_tag;
		r = send_all(p, &b->m, b->keys, b->len, b->fds, b->nfds);
		p->owed += r == 0 && !is_quiet(&b->m);
	}
	for (size_t i = 0; i < b->nfds; i++)
		(void)close(b->fds[i]);
	b->n = 0;
	b->len = b->nfds = 0;
	return r;
}

static int batch_add(struct pid1 *p, const struct init_msg *m, int fd)
{
	struct batch *b = &p->batch;
	size_t len = strlen(m->key) + 1;
	bool is_other = b->n > 0 && (b->m.op != m->op || b->m.arg[0] != m->arg[0]);
	int r = b->n == INIT_FDS_MAX || is_other ? flush(p) : 0;

	if (r == 0 && fd >= 0) {
		b->fds[b->nfds] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		r = b->fds[b->nfds] < 0 ? -errno : 0;
		b->nfds += r == 0;
	}
	if (r != 0)
		return r;
	if (b->n++ == 0) {
		b->m = *m;
		return 0;
	}
	memcpy(b->keys + b->len, m->key, len);
	b->len += len;
	return 0;
}

/* ---- one ---- */
/* Sends @m; its answer is in p->in afterwards, with descriptors for the caller to close. */
static int call(struct pid1 *p, struct init_msg *m, int fd)
{
	uint64_t end = clock_mono_ns() + ANSWER_NS;
	int r = flush(p);

	m->tag = ++p->last_tag;
	p->in.nfds = 0;
	if (r == 0)
		r = send_all(p, m, NULL, 0, &fd, fd >= 0);
	while (r == 0) {
		r = next_answer(p, end);
		if (r == 1 && !take_owed(p)) {
			if (p->in.msg.op == m->op && p->in.msg.tag == m->tag)
				return p->in.msg.result;
			init_in_close(&p->in); /* it came too late */
		}
		r = MIN(r, 0);
	}
	return r;
}

static int call_simple(struct pid1 *p, struct init_msg *m, int fd)
{
	int r = call(p, m, fd);

	init_in_close(&p->in);
	return r;
}

void pid1_together(struct pid1 *p)
{
	p->together = true;
}

int pid1_settle(struct pid1 *p)
{
	int said = flush(p), r = settle(p);

	r = said != 0 ? said : r != 0 ? r : p->owed_err;
	p->together = false;
	p->owed_err = 0;
	return r;
}

/* The answer is waited for here, or by pid1_settle(). */
static int say(struct pid1 *p, struct init_msg *m, int fd)
{
	return p->together ? batch_add(p, m, fd) : call_simple(p, m, fd);
}

static void on_readable(struct loop_fd *w, short revents)
{
	struct pid1 *p = container_of(w, struct pid1, watch);
	int r;

	/* What was kept came earlier than what is read now. */
	on_tell_kept(&p->tell_kept);
	while ((r = init_recv(p->sock, &p->in)) == 1) {
		struct init_msg m = p->in.msg;
		int fds[INIT_FDS_MAX];
		size_t nfds = p->in.nfds;

		memcpy(fds, p->in.fds, sizeof(fds));
		tell(p, &m, fds, nfds); /* which may use p->in */
	}
	if (r != -EAGAIN && r != -EPROTO)
		p->ops->gone(p->arg);
}

static int hello(struct pid1 *p)
{
	struct init_msg m = { .op = INIT_HELLO, .arg = { INIT_ROLE_KERNEL } };
	struct init_msg watch = { .op = INIT_WATCH };
	int r = call_simple(p, &m, -1);

	if (r < 0)
		return r;
	p->ns = p->in.msg.arg[0];
	return call_simple(p, &watch, -1);
}

int pid1_open(struct pid1 **out, struct loop *l, int sock, const struct pid1_ops *ops, void *arg)
{
	struct pid1 *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->loop = l;
	p->sock = sock;
	p->ops = ops;
	p->arg = arg;
	list_init(&p->spawns);
	list_init(&p->kept);
	r = fcntl(sock, F_SETFL, O_NONBLOCK) == 0 ? hello(p) : -errno;
	if (r >= 0)
		r = loop_fd_add(l, &p->watch, sock, POLLIN, on_readable);
	if (r < 0) {
		free(p);
		return r;
	}
	*out = p;
	return 0;
}

uint64_t pid1_namespace(const struct pid1 *p)
{
	return p->ns;
}

bool pid1_is_gone(const struct pid1 *p)
{
	struct pollfd f = { .fd = p->sock };

	return poll(&f, 1, 0) > 0 && (f.revents & POLLHUP) != 0;
}

static struct init_msg key_msg(enum init_op op, const char *key)
{
	struct init_msg m = { .op = op };

	CHECK(strlen(key) < sizeof(m.key));
	(void)snprintf(m.key, sizeof(m.key), "%s", key);
	return m;
}

int pid1_get(struct pid1 *p, const char *key)
{
	struct init_msg m = key_msg(INIT_GET, key);
	int r = call(p, &m, -1), fd = -EPROTO;

	if (p->in.nfds > 0 && r >= 0) {
		fd = p->in.fds[0];
		p->in.fds[0] = -1;
	}
	init_in_close(&p->in);
	return r < 0 ? r : fd;
}

int pid1_put(struct pid1 *p, const char *key, int fd)
{
	struct init_msg m = key_msg(INIT_PUT, key);

	return say(p, &m, fd);
}

int pid1_drop(struct pid1 *p, const char *key)
{
	struct init_msg m = key_msg(INIT_DROP, key);

	return say(p, &m, -1);
}

void pid1_forget(struct pid1 *p, const char *key)
{
	struct init_msg m = key_msg(INIT_DROP, key);
	int r;

	m.arg[0] = INIT_DROP_QUIETLY;
	r = p->together ? batch_add(p, &m, -1) : send_all(p, &m, NULL, 0, NULL, 0);
	if (r != 0)
		log_debug("%s is not dropped: %s", key, strerror(-r));
}

int pid1_replace(struct pid1 *p, const char *key, int fd)
{
	struct init_msg m = key_msg(INIT_PUT, key);

	m.arg[0] = INIT_PUT_REPLACES;
	return say(p, &m, fd);
}

int pid1_list(struct pid1 *p, const char *prefix, void (*cb)(void *arg, const char *key), void *arg)
{
	struct init_msg m = key_msg(INIT_LIST, prefix);
	int r = call_simple(p, &m, -1);
	size_t len = p->in.len, at = 0;

	if (r < 0)
		return r;
	/* @cb may use p->in. */
	memcpy(p->payload, p->in.payload, len);
	while (at < len && memchr(p->payload + at, 0, len - at)) {
		const char *key = (const char *)p->payload + at;

		at += strlen(key) + 1;
		cb(arg, key);
	}
	return 0;
}

int pid1_block(struct pid1 *p, gpid first, uint32_t count)
{
	struct init_msg m = { .op = INIT_BLOCK, .arg = { (uint64_t)first, count } };

	return call_simple(p, &m, -1);
}

int pid1_ack(struct pid1 *p, uint64_t event)
{
	struct init_msg m = { .op = INIT_ACK, .arg = { event } };

	return call_simple(p, &m, -1);
}

int pid1_spawn(struct pid1 *p, const char *key, const struct init_spawn *head, char *const argv[],
	       char *const envp[], const char *cwd, const int *fds, size_t nfds,
	       pid1_spawned_fn done, void *arg)
{
	struct init_msg m = { .op = INIT_SPAWN, .tag = ++p->last_tag };
	struct spawn *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	(void)snprintf(m.key, sizeof(m.key), "%s", key);
	r = init_spawn_pack(p->payload, sizeof(p->payload) - sizeof(m), head, argv, envp, cwd);
	if (r >= 0 && flush(p) != 0)
		r = -EPIPE;
	if (r >= 0)
		r = send_all(p, &m, p->payload, (size_t)r, fds, nfds);
	if (r != 0) {
		free(s);
		return r;
	}
	s->tag = m.tag;
	s->done = done;
	s->arg = arg;
	list_add_tail(&p->spawns, &s->link);
	return 0;
}
