/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_site.c - stream files of this node's processes: their requests go to the owners.
 *
 * The id of a stream names its owner, and its key is the host's number of the request, so a
 * successor finds all it needs in the requests that lie in procfs' slots. What it could not find
 * out is which streams are open: that stands in memory that outlives us, a row for each open.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/files/streams.h"
#include "kernel/proc/peer.h"

#define KEY_ROWS "streams.rows"
#define ROWS_MAX 4096
#define ASK_NS   (10 * NS_PER_S)
#define AGAIN_NS (50 * NS_PER_MS)
#define GONE_NS  (45 * NS_PER_S) /* a silent node has lost its guests by then, and they it */

struct rows {
	uint64_t life; /* of this world, not 0: keys are unique in it */
	struct {
		uint64_t id; /* 0: free */
		uint64_t handle;
	} row[ROWS_MAX];
};

struct asking {
	struct list link;
	struct procfs_stream rq;
	bool waiting;       /* for a connection or an answer */
	uint64_t silent_ns; /* since when its owner is; 0: it is not */
	struct loop_timer again;
};

struct expected {
	struct list link;
	gpid pid;
	uint64_t id;
};

static struct site {
	struct world *w;
	struct rows *rows;
	struct list asking;
	struct list expected;
} site;

static node_id owner_of(uint64_t id)
{
	return (node_id)(id >> STREAM_ID_BITS);
}

static uint64_t number_of(uint64_t id)
{
	return id & ((UINT64_C(1) << STREAM_ID_BITS) - 1);
}

/* ---- who may open what ---- */
int stream_site_expect(gpid pid, uint64_t id)
{
	struct expected *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->pid = pid;
	e->id = id;
	list_add_tail(&site.expected, &e->link);
	return 0;
}

void stream_site_expect_no_more(gpid pid)
{
	struct expected *e, *tmp;

	list_for_each_safe (e, tmp, &site.expected, link) {
		if (e->pid != pid)
			continue;
		list_del(&e->link);
		free(e);
	}
}

void stream_site_expected(gpid pid, uint64_t id)
{
	struct expected *e;

	list_for_each (e, &site.expected, link) {
		if (e->pid != pid || e->id != id)
			continue;
		list_del(&e->link);
		free(e);
		return;
	}
}

int stream_site_find(void *arg, const char *name, gpid caller, uint64_t *id)
{
	unsigned long long number;
	struct expected *e;
	node_id node;
	char end;

	if (sscanf(name, "%u.%llu%c", &node, &number, &end) != 2)
		return -ENOENT;
	list_for_each (e, &site.expected, link) {
		if (e->pid != caller || owner_of(e->id) != node || number_of(e->id) != number)
			continue;
		*id = e->id;
		return 0;
	}
	return -ENOENT;
}

/* ---- what is open ---- */
static int row_add(uint64_t id, uint64_t handle)
{
	int at = -1;

	for (int i = 0; i < ROWS_MAX; i++) {
		if (site.rows->row[i].id == id && site.rows->row[i].handle == handle)
			return 0; /* by a predecessor, for the same request */
		if (at < 0 && site.rows->row[i].id == 0)
			at = i;
	}
	if (at < 0)
		return -ENFILE;
	site.rows->row[at].handle = handle;
	__atomic_store_n(&site.rows->row[at].id, id, __ATOMIC_SEQ_CST);
	return 0;
}

static void row_del(uint64_t id, uint64_t handle)
{
	for (int i = 0; i < ROWS_MAX; i++)
		if (site.rows->row[i].id == id && site.rows->row[i].handle == handle)
			__atomic_store_n(&site.rows->row[i].id, 0, __ATOMIC_SEQ_CST);
}

/* Open, or about to be. */
static bool has(uint64_t id)
{
	const struct asking *a;

	for (int i = 0; i < ROWS_MAX; i++)
		if (site.rows->row[i].id == id)
			return true;
	list_for_each (a, &site.asking, link)
		if (a->rq.id == id && a->rq.kind == PROCFS_STREAM_OPEN)
			return true;
	return false;
}

static int pack(struct rpc_msg *m, const Peer__Stream *q)
{
	uint8_t *body = malloc(peer__stream__get_packed_size(q) + 1);

	if (!body)
		return -ENOMEM;
	m->method = PEER_STREAM;
	m->len = peer__stream__pack(q, body);
	m->body = body;
	return 0;
}

/* If this is lost, the next connection begins with all that we have. */
static void close_if_last(uint64_t id)
{
	struct rpc_conn *c = peers_conn(site.w, owner_of(id));
	Peer__Stream q = PEER__STREAM__INIT;
	struct rpc_msg m = { 0 };

	if (!c || has(id))
		return;
	q.stream = number_of(id);
	q.op = PEER__STREAM_OP__STREAM_CLOSE;
	if (pack(&m, &q) != 0)
		return;
	if (rpc_send(c, &m) != 0)
		log_debug("stream %llu is not let go yet", (unsigned long long)q.stream);
	free((void *)(uintptr_t)m.body);
}

void stream_site_connected(struct world *w, node_id node)
{
	struct rpc_conn *c = peers_conn(w, node);
	uint64_t *v = calloc(ROWS_MAX + PROCFS_SLOTS, sizeof(*v));
	Peer__StreamsHeld q = PEER__STREAMS_HELD__INIT;
	struct rpc_msg m = { .method = PEER_STREAMS_HELD };
	const struct asking *a;
	uint8_t *body = NULL;

	q.streams = v;
	for (int i = 0; v && i < ROWS_MAX; i++)
		if (site.rows->row[i].id != 0 && owner_of(site.rows->row[i].id) == node)
			v[q.n_streams++] = number_of(site.rows->row[i].id);
	list_for_each (a, &site.asking, link)
		if (v && owner_of(a->rq.id) == node && q.n_streams < ROWS_MAX + PROCFS_SLOTS)
			v[q.n_streams++] = number_of(a->rq.id);
	if (v && c)
		body = malloc(peer__streams_held__get_packed_size(&q) + 1);
	if (body) {
		m.len = peer__streams_held__pack(&q, body);
		m.body = body;
		if (rpc_send(c, &m) != 0)
			log_debug("node %u is not told what is open here", node);
	}
	free(body);
	free(v);
}

/* ---- requests ---- */
static void ask(struct asking *a);

static void asking_end(struct asking *a, int err, const Peer__Streamed *s)
{
	struct procfs_stream rq = a->rq;
	struct procfs_stream_attr attr, *has_attr = NULL;
	bool waited;

	list_del(&a->link);
	free(a);
	if (s && s->attr) {
		attr = (struct procfs_stream_attr){ s->attr->ino,      s->attr->size,
						    s->attr->blocks,   s->attr->atime_ns,
						    s->attr->mtime_ns, s->attr->ctime_ns,
						    s->attr->mode,     s->attr->uid,
						    s->attr->gid,      s->attr->nlink };
		has_attr = &attr;
	}
	/* S2: known before the process has it. */
	if (rq.kind == PROCFS_STREAM_OPEN && err == 0)
		err = row_add(rq.id, rq.key);
	FAULT("kernel.stream.answer");
	waited = procfs_stream_done(
		site.w->procfs, rq.key, err, s ? s->data.data : NULL,
		s ? (rq.kind == PROCFS_STREAM_READ ? s->data.len : (size_t)s->len) : 0, has_attr);
	if (rq.kind == PROCFS_STREAM_OPEN && (err != 0 || !waited)) {
		row_del(rq.id, rq.key);
		close_if_last(rq.id);
	}
}

static bool owner_is_gone(struct asking *a)
{
	uint64_t now_ns = loop_now_ns(site.w->loop);
	bool alive = false;

	for (size_t i = 0; i < site.w->node_count; i++)
		alive |= site.w->nodes[i].id == owner_of(a->rq.id) && site.w->nodes[i].alive;
	if (alive || site.w->node_count == 0)
		a->silent_ns = 0;
	else if (a->silent_ns == 0)
		a->silent_ns = now_ns;
	return peers_gone(site.w, owner_of(a->rq.id)) ||
	       (a->silent_ns != 0 && now_ns - a->silent_ns > GONE_NS);
}

static void on_again(struct loop_timer *t)
{
	ask(container_of(t, struct asking, again));
}

static void ask_later(struct asking *a)
{
	if (owner_is_gone(a) || loop_timer_set(site.w->loop, &a->again,
					       loop_now_ns(site.w->loop) + AGAIN_NS, on_again) != 0)
		asking_end(a, -EIO, NULL);
}

static bool plausible(const struct asking *a, const Peer__Streamed *s)
{
	switch (a->rq.kind) {
	case PROCFS_STREAM_READ:
		return s->data.len <= a->rq.len;
	case PROCFS_STREAM_WRITE:
		return s->len <= a->rq.len;
	default:
		return true;
	}
}

static void on_answer(void *arg, int err, const struct rpc_msg *m)
{
	struct asking *a = arg;
	Peer__Streamed *s = err == 0 ? peer__streamed__unpack(NULL, m->len, m->body) : NULL;

	FAULT("kernel.stream.answered");
	if (err != 0)
		ask_later(a);
	else if (!s || s->err > 0 || s->err < -4095 || !plausible(a, s))
		asking_end(a, -EIO, NULL);
	else
		asking_end(a, s->err, s);
	if (s)
		peer__streamed__free_unpacked(s, NULL);
}

static void on_owner(void *arg, int err, struct rpc_conn *c)
{
	struct asking *a = arg;
	Peer__Stream q = PEER__STREAM__INIT;
	struct rpc_opts o = { .deadline_ns = loop_now_ns(site.w->loop) + ASK_NS };
	struct rpc_msg m = { 0 };

	q.stream = number_of(a->rq.id);
	q.op = (Peer__StreamOp)a->rq.kind;
	q.len = a->rq.len;
	if (a->rq.bytes) {
		q.data.data = (uint8_t *)(uintptr_t)a->rq.bytes;
		q.data.len = (size_t)a->rq.len;
	}
	q.life = site.rows->life;
	q.key = a->rq.key;
	q.slot = a->rq.slot;
	if (err == 0)
		err = pack(&m, &q);
	if (err == 0)
		err = rpc_request(c, &m, &o, on_answer, a, NULL);
	free((void *)(uintptr_t)m.body);
	if (err != 0)
		ask_later(a);
}

static void ask(struct asking *a)
{
	peers_with(site.w, owner_of(a->rq.id), on_owner, a);
}

static void on_first(struct loop_timer *t)
{
	ask(container_of(t, struct asking, again));
}

int stream_site_begin(void *arg, const struct procfs_stream *rq)
{
	struct asking *a;

	if (rq->kind == PROCFS_STREAM_CLOSE) {
		row_del(rq->id, rq->handle);
		close_if_last(rq->id);
		return 0;
	}
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->rq = *rq;
	list_add_tail(&site.asking, &a->link);
	FAULT("kernel.stream.asked");
	/* The answer never comes from inside of this call. */
	if (peers_conn(site.w, owner_of(rq->id)))
		on_owner(a, 0, peers_conn(site.w, owner_of(rq->id)));
	else if (loop_timer_set(site.w->loop, &a->again, loop_now_ns(site.w->loop), on_first) !=
		 0) {
		list_del(&a->link);
		free(a);
		return -ENOMEM;
	}
	return 0;
}

int stream_site_open(struct world *w)
{
	cleanup_close int fd = pid1_get(w->pid1, KEY_ROWS);
	void *map;
	int r;

	site.w = w;
	list_init(&site.asking);
	list_init(&site.expected);
	if (fd == -ENOENT) {
		fd = memfd_create(KEY_ROWS, MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, sizeof(struct rows)) != 0)
			return -errno;
		r = pid1_put(w->pid1, KEY_ROWS, fd);
		if (r < 0)
			return r;
	}
	if (fd < 0)
		return fd;
	map = mmap(NULL, sizeof(struct rows), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	site.rows = map;
	while (site.rows->life == 0)
		if (getrandom(&site.rows->life, sizeof(site.rows->life), 0) < 0)
			return -errno;
	return 0;
}
