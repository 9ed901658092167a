/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_owner.c - descriptions that processes of other nodes hold: here they are.
 *
 * read(2) and write(2) on the one description keep its offset right with all its holders; a thread
 * of its own makes them, one after the other, for a disk may be slow. Each has a record that
 * outlives us:
 *
 *	FREE -> INTENT -> DONE -> (another one of the same asker's slot)
 *	        |         the answer stands in the record
 *	        was it made? The offset before, and the bytes themselves, tell a successor
 *
 * A read fills bytes that are all MARK before it; what is no MARK any more was read. A write has
 * been made if its bytes lie in the file between where it began and where the offset is now. Local
 * holders that move the offset in the moment of our death cannot be taken for us that way.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/files/streams.h"
#include "kernel/proc/peer.h"

#define KEY_DEEDS  "streams.deeds"
#define DEED_MAX   256
#define MARK       0xa7
#define LOST_NS    (60 * NS_PER_S)   /* a silent node's guests have been ended by its lease */
#define SEARCH_MAX (4 * 1024 * 1024) /* bytes that other holders may have written meanwhile */

enum deed_state {
	DEED_FREE = 0,
	DEED_INTENT,
	DEED_DONE,
};

struct deed {
	uint32_t state;
	uint32_t op; /* Peer__StreamOp: READ or WRITE */
	node_id site;
	uint32_t slot;
	uint64_t life;
	uint64_t key;
	uint64_t stream;
	uint64_t from; /* INTENT: where it begins */
	uint64_t age;  /* the smallest is the oldest */
	uint32_t len;
	int32_t result; /* DONE: bytes, or -errno */
};
#define HEADS_BYTES ALIGN_UP(DEED_MAX * sizeof(struct deed), 4096)

struct holder {
	struct list link;
	node_id site;
	uint64_t lost_ns; /* since when its node is silent; 0: it is not */
};

struct stream {
	struct list link;
	uint64_t number;
	int fd;
	struct list holders;
	unsigned uses; /* keeps and jobs */
};

struct job {
	struct list link;
	struct loop_post post;
	struct stream *s;
	struct deed *k; /* READ, WRITE */
	struct rpc_call *call;
	Peer__StreamOp op;
	uint64_t len;
	int err;
	struct stat st;
};

static struct owner {
	struct world *w;
	struct list streams;
	struct list jobs; /* all that are under way */
	struct deed
		*deeds; /* DEED_MAX of them, then their bytes: pages that nobody needs stay away */
	uint64_t last_number;
	uint64_t last_age;

	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* guards queue */
	pthread_cond_t more;
	struct list queue;
} owner = { .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER };

/* ---- descriptions and who holds them ---- */
static struct stream *stream_find(uint64_t number)
{
	struct stream *s;

	list_for_each (s, &owner.streams, link)
		if (s->number == number)
			return s;
	return NULL;
}

static struct stream *stream_new(uint64_t number, int fd)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->number = number;
	s->fd = fd;
	list_init(&s->holders);
	list_add_tail(&owner.streams, &s->link);
	return s;
}

static void stream_tidy(struct stream *s)
{
	if (s->uses > 0 || !list_empty(&s->holders))
		return;
	list_del(&s->link);
	(void)close(s->fd);
	free(s);
}

static bool same_description(int a, int b)
{
	return syscall(SYS_kcmp, getpid(), getpid(), 0 /* KCMP_FILE */, a, b) == 0;
}

static struct stream *stream_of(int fd)
{
	struct stream *s;

	list_for_each (s, &owner.streams, link)
		if (same_description(s->fd, fd))
			return s;
	return NULL;
}

unsigned streams_owned(void)
{
	const struct stream *s;
	unsigned n = 0;

	list_for_each (s, &owner.streams, link)
		n++;
	return n;
}

bool stream_owner_has(int fd)
{
	return stream_of(fd) != NULL;
}

int stream_owner_keep(int fd, uint64_t *number)
{
	struct stream *s = stream_of(fd);
	int copy;

	if (!s) {
		copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (copy < 0)
			return -errno;
		do
			owner.last_number =
				(owner.last_number + 1) & ((UINT64_C(1) << STREAM_ID_BITS) - 1);
		while (stream_find(owner.last_number));
		s = stream_new(owner.last_number, copy);
		if (!s) {
			(void)close(copy);
			return -ENOMEM;
		}
	}
	s->uses++;
	*number = s->number;
	return 0;
}

void stream_owner_let_go(uint64_t number)
{
	struct stream *s = stream_find(number);

	if (!s || s->uses == 0)
		return;
	s->uses--;
	stream_tidy(s);
}

int stream_owner_fd(uint64_t number)
{
	struct stream *s = stream_find(number);

	return s ? s->fd : -ENOENT;
}

static void holder_key(char key[INIT_KEY_MAX], const struct stream *s, node_id site)
{
	(void)snprintf(key, INIT_KEY_MAX, "stream.%llu.%u", (unsigned long long)s->number, site);
}

static struct holder *holder_find(struct stream *s, node_id site)
{
	struct holder *h;

	list_for_each (h, &s->holders, link)
		if (h->site == site)
			return h;
	return NULL;
}

static int holder_add(struct stream *s, node_id site)
{
	struct holder *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->site = site;
	list_add_tail(&s->holders, &h->link);
	return 0;
}

/* S2: in the store before the site is told that it has it. */
static int hold(struct stream *s, node_id site)
{
	char key[INIT_KEY_MAX];
	int r;

	if (holder_find(s, site))
		return 0;
	holder_key(key, s, site);
	r = pid1_put(owner.w->pid1, key, s->fd);
	if (r < 0 && r != -EEXIST)
		return r;
	return holder_add(s, site);
}

static void unhold(struct stream *s, struct holder *h)
{
	char key[INIT_KEY_MAX];

	holder_key(key, s, h->site);
	(void)pid1_drop(owner.w->pid1, key);
	list_del(&h->link);
	free(h);
}

static void on_held(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	Peer__StreamsHeld *q = peer__streams_held__unpack(NULL, m->len, m->body);
	node_id site = rpc_conn_peer(c)->node;
	struct stream *s, *tmp;

	list_for_each_safe (s, tmp, &owner.streams, link) {
		struct holder *h = holder_find(s, site);
		bool has = false;

		for (size_t i = 0; q && i < q->n_streams; i++)
			has |= q->streams[i] == s->number;
		if (q && h && !has) {
			unhold(s, h);
			stream_tidy(s);
		}
	}
	answers_reply(call, 0, NULL);
	if (q)
		peer__streams_held__free_unpacked(q, NULL);
}

static bool holder_lost(struct holder *h, uint64_t now_ns)
{
	const struct world_node *n = world_node(owner.w, h->site);

	if (n && n->alive)
		h->lost_ns = 0;
	else if (h->lost_ns == 0)
		h->lost_ns = now_ns;
	return (n && n->dead) || (h->lost_ns != 0 && now_ns - h->lost_ns > LOST_NS);
}

void stream_owner_look(void)
{
	uint64_t now_ns = loop_now_ns(owner.w->loop);
	struct stream *s, *tmp;
	struct holder *h, *next;

	list_for_each_safe (s, tmp, &owner.streams, link) {
		bool lost = false;

		list_for_each_safe (h, next, &s->holders, link) {
			if (holder_lost(h, now_ns)) {
				unhold(s, h);
				lost = true;
			}
		}
		if (lost)
			stream_tidy(s);
	}
}

/* ---- records ---- */
/* What was stored before must be seen before. */
static void deed_state(struct deed *k, enum deed_state state)
{
	__atomic_store_n(&k->state, (uint32_t)state, __ATOMIC_SEQ_CST);
}

static uint8_t *deed_bytes(const struct deed *k)
{
	return (uint8_t *)owner.deeds + HEADS_BYTES + (size_t)(k - owner.deeds) * PROCFS_STREAM_MAX;
}

static bool in_work(const struct deed *k)
{
	const struct job *j;

	list_for_each (j, &owner.jobs, link)
		if (j->k == k)
			return true;
	return false;
}

static bool of_slot(const struct deed *k, node_id site, const Peer__Stream *q)
{
	return k->age != 0 && k->site == site && k->life == q->life && k->slot == q->slot;
}

/* The record of this very request, or one for it: of the same slot, a free one, or the oldest. */
static struct deed *deed_get(node_id site, const Peer__Stream *q, bool *known)
{
	struct deed *best = NULL;

	*known = false;
	for (size_t i = 0; i < DEED_MAX; i++) {
		struct deed *k = &owner.deeds[i];

		if (of_slot(k, site, q) && k->key == q->key) {
			*known = true;
			return k;
		}
	}
	for (size_t i = 0; i < DEED_MAX; i++) {
		struct deed *k = &owner.deeds[i];

		if (in_work(k))
			continue;
		if (of_slot(k, site, q))
			return k;
		if (!best || k->age < best->age)
			best = k;
	}
	return best;
}

static void deed_begin(struct deed *k, node_id site, const Peer__Stream *q)
{
	deed_state(k, DEED_FREE);
	k->op = q->op;
	k->site = site;
	k->slot = q->slot;
	k->life = q->life;
	k->key = q->key;
	k->stream = q->stream;
	k->len = (uint32_t)q->len;
	k->result = 0;
	k->age = ++owner.last_age;
	if (q->op == PEER__STREAM_OP__STREAM_WRITE)
		memcpy(deed_bytes(k), q->data.data, q->data.len);
	else
		memset(deed_bytes(k), MARK, k->len);
}

/* Where a write will begin: at the end, if it appends. */
static uint64_t begins_at(int fd, const struct deed *k)
{
	struct stat st;
	off_t at = lseek(fd, 0, SEEK_CUR);

	if (k->op == PEER__STREAM_OP__STREAM_WRITE && (fcntl(fd, F_GETFL) & O_APPEND) &&
	    fstat(fd, &st) == 0)
		at = st.st_size;
	return at < 0 ? 0 : (uint64_t)at;
}

static void deed_work(struct deed *k, int fd)
{
	ssize_t n;

	k->from = begins_at(fd, k);
	FAULT("kernel.stream.before");
	deed_state(k, DEED_INTENT);
	FAULT("kernel.stream.intent");
	n = k->op == PEER__STREAM_OP__STREAM_READ ? read(fd, deed_bytes(k), k->len)
						  : write(fd, deed_bytes(k), k->len);
	k->result = n < 0 ? -errno : (int32_t)n;
	FAULT("kernel.stream.made");
	deed_state(k, DEED_DONE);
	FAULT("kernel.stream.done");
}

/* How much of what a dead predecessor wanted to read it has read: 0 may be read again. */
static int32_t was_read(struct deed *k, int fd)
{
	uint8_t *now = malloc(k->len + 1);
	off_t at = lseek(fd, 0, SEEK_CUR);
	uint64_t most = at > 0 && (uint64_t)at > k->from ? (uint64_t)at - k->from : 0;
	ssize_t there = now ? pread(fd, now, k->len, (off_t)k->from) : -1;
	uint32_t n = k->len;

	while (n > 0 && deed_bytes(k)[n - 1] == MARK)
		n--;
	/* Bytes of the file that are like the mark. */
	while (n < k->len && n < most && (ssize_t)n < there && now[n] == MARK)
		n++;
	free(now);
	return (int32_t)n;
}

/* A description for reading, of a file that is open for writing only. */
static int reopen(int fd)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "self/fd/%d", fd);
	return openat(owner.w->view.procfs, path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
}

/* How much of it lies in the file. What other holders have written meanwhile may lie there too. */
static int32_t was_written(const struct deed *k, int fd)
{
	off_t at = lseek(fd, 0, SEEK_CUR);
	uint64_t moved = at > 0 && (uint64_t)at > k->from ? (uint64_t)at - k->from : 0;
	size_t len = (size_t)MIN(moved, (uint64_t)SEARCH_MAX), part = MIN(len, (size_t)k->len);
	uint8_t *now = malloc(len + 1);
	cleanup_close int in = reopen(fd);
	ssize_t n = now && in >= 0 ? pread(in, now, len, (off_t)k->from) : -1;

	int32_t made = 0;

	if (n >= (ssize_t)k->len && memmem(now, (size_t)n, deed_bytes(k), k->len))
		made = (int32_t)k->len;
	else if (n == (ssize_t)part && memcmp(now, deed_bytes(k), part) == 0)
		made = (int32_t)part;
	free(now);
	return made;
}

static void deed_recover(struct deed *k)
{
	struct stream *s = stream_find(k->stream);

	owner.last_age = MAX(owner.last_age, k->age);
	if (k->len > PROCFS_STREAM_MAX || k->state != DEED_INTENT || !s) {
		if (k->state != DEED_DONE)
			k->age = 0;
		return;
	}
	if (k->op == PEER__STREAM_OP__STREAM_READ)
		k->result = was_read(k, s->fd);
	else
		k->result = was_written(k, s->fd);
	log_info("stream %llu: a predecessor's %s of %u bytes was %s",
		 (unsigned long long)k->stream,
		 k->op == PEER__STREAM_OP__STREAM_READ ? "read" : "write", k->len,
		 k->result > 0 ? "made" : "not made");
	if (k->result == 0)
		k->age = 0;
	deed_state(k, k->result == 0 ? DEED_FREE : DEED_DONE);
}

/* ---- answers ---- */
static void reply(struct rpc_call *call, Peer__Streamed *a)
{
	size_t len = peer__streamed__get_packed_size(a);
	uint8_t *body = malloc(len + 1);
	struct rpc_msg m = { .body = body, .len = len };

	if (body)
		(void)peer__streamed__pack(a, body);
	answers_reply(call, body ? 0 : -ENOMEM, body ? &m : NULL);
	free(body);
}

static void reply_err(struct rpc_call *call, int err)
{
	Peer__Streamed a = PEER__STREAMED__INIT;

	a.err = err;
	reply(call, &a);
}

static void reply_deed(struct rpc_call *call, struct deed *k)
{
	Peer__Streamed a = PEER__STREAMED__INIT;

	a.err = MIN(k->result, 0);
	a.len = (uint64_t)MAX(k->result, 0);
	if (k->op == PEER__STREAM_OP__STREAM_READ && k->result > 0) {
		a.data.data = deed_bytes(k);
		a.data.len = (size_t)MIN(k->result, PROCFS_STREAM_MAX);
	}
	reply(call, &a);
}

static int64_t to_ns(const struct timespec *t)
{
	return t->tv_sec * (int64_t)NS_PER_S + t->tv_nsec;
}

static void reply_stat(struct rpc_call *call, const struct stat *st)
{
	Peer__Streamed a = PEER__STREAMED__INIT;
	Peer__StreamAttr attr = PEER__STREAM_ATTR__INIT;

	attr.ino = st->st_ino;
	attr.size = (uint64_t)st->st_size;
	attr.blocks = (uint64_t)st->st_blocks;
	attr.atime_ns = to_ns(&st->st_atim);
	attr.mtime_ns = to_ns(&st->st_mtim);
	attr.ctime_ns = to_ns(&st->st_ctim);
	attr.mode = st->st_mode & 07777;
	attr.uid = st->st_uid;
	attr.gid = st->st_gid;
	attr.nlink = (uint32_t)st->st_nlink;
	a.attr = &attr;
	reply(call, &a);
}

/* ---- the thread ---- */
static void job_work(struct job *j)
{
	int fd = j->s->fd;

	if (j->k)
		deed_work(j->k, fd);
	else if (j->op == PEER__STREAM_OP__STREAM_SYNC)
		j->err = fsync(fd) == 0 ? 0 : -errno;
	else if (j->op == PEER__STREAM_OP__STREAM_TRUNCATE && ftruncate(fd, (off_t)j->len) != 0)
		j->err = -errno;
	else
		j->err = fstat(fd, &j->st) == 0 ? 0 : -errno;
}

static void *work(void *arg)
{
	for (;;) {
		struct job *j;

		pthread_mutex_lock(&owner.lock);
		while (list_empty(&owner.queue))
			pthread_cond_wait(&owner.more, &owner.lock);
		j = list_front(&owner.queue, struct job, post.link);
		list_del(&j->post.link);
		pthread_mutex_unlock(&owner.lock);
		job_work(j);
		list_init(&j->post.link);
		loop_post(owner.w->loop, &j->post);
	}
	return NULL;
}

static void on_worked(struct loop_post *post)
{
	struct job *j = container_of(post, struct job, post);

	list_del(&j->link);
	if (j->k)
		reply_deed(j->call, j->k);
	else if (j->err != 0 || j->op == PEER__STREAM_OP__STREAM_SYNC)
		reply_err(j->call, j->err);
	else
		reply_stat(j->call, &j->st);
	j->s->uses--;
	stream_tidy(j->s);
	free(j);
}

static int start_thread(void)
{
	int r = owner.started ? 0 : -pthread_create(&owner.thread, NULL, work, NULL);

	owner.started = r == 0;
	return r;
}

static void begin(struct stream *s, struct rpc_call *call, const Peer__Stream *q, struct deed *k)
{
	struct job *j = calloc(1, sizeof(*j));
	int r = j ? start_thread() : -ENOMEM;

	if (r != 0) {
		free(j);
		answers_reply(call, -EBUSY, NULL); /* asked again */
		return;
	}
	j->s = s;
	j->k = k;
	j->call = call;
	j->op = q->op;
	j->len = q->len;
	j->post.cb = on_worked;
	s->uses++;
	list_add_tail(&owner.jobs, &j->link);
	pthread_mutex_lock(&owner.lock);
	list_add_tail(&owner.queue, &j->post.link);
	pthread_cond_signal(&owner.more);
	pthread_mutex_unlock(&owner.lock);
}

/* ---- requests ---- */
/* Asked again while it is being made: the answer goes to who asked last. */
static void hand_over(struct deed *k, struct rpc_call *call)
{
	struct job *j;

	list_for_each (j, &owner.jobs, link) {
		if (j->k != k)
			continue;
		answers_reply(j->call, -ECANCELED, NULL);
		j->call = call;
	}
}

static void once(struct stream *s, node_id site, struct rpc_call *call, const Peer__Stream *q)
{
	bool known;
	struct deed *k = deed_get(site, q, &known);

	if (!k) {
		answers_reply(call, -EBUSY, NULL);
		return;
	}
	if (known && in_work(k)) {
		hand_over(k, call);
	} else if (known && k->state == DEED_DONE) {
		reply_deed(call, k);
	} else {
		deed_begin(k, site, q);
		begin(s, call, q, k);
	}
}

static void let_go(struct stream *s, node_id site)
{
	struct holder *h = s ? holder_find(s, site) : NULL;

	if (!h)
		return;
	unhold(s, h);
	stream_tidy(s);
}

static void answer(struct rpc_call *call, node_id site, const Peer__Stream *q)
{
	struct stream *s = stream_find(q->stream);
	bool moves =
		q->op == PEER__STREAM_OP__STREAM_READ || q->op == PEER__STREAM_OP__STREAM_WRITE;

	if (q->op == PEER__STREAM_OP__STREAM_CLOSE) {
		let_go(s, site);
		answers_reply(call, 0, NULL);
	} else if (!call) {
		log_debug("node %u does not wait for an answer", site);
	} else if (!s || (moves && (q->len > PROCFS_STREAM_MAX || q->key == 0)) ||
		   (q->op == PEER__STREAM_OP__STREAM_WRITE && q->data.len != q->len)) {
		reply_err(call, -EIO);
	} else if (q->op == PEER__STREAM_OP__STREAM_OPEN) {
		reply_err(call, hold(s, site));
	} else if (moves) {
		once(s, site, call, q);
	} else {
		begin(s, call, q, NULL);
	}
}

static void on_stream(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	Peer__Stream *q = peer__stream__unpack(NULL, m->len, m->body);

	if (!q) {
		answers_reply(call, -EPROTO, NULL);
		return;
	}
	answer(call, rpc_conn_peer(c)->node, q);
	peer__stream__free_unpacked(q, NULL);
}

/* ---- start ---- */
static void adopt(void *arg, const char *key)
{
	unsigned long long number;
	node_id site;
	struct stream *s;
	int fd;

	if (sscanf(key, "stream.%llu.%u", &number, &site) != 2)
		return;
	s = stream_find(number);
	fd = s ? -1 : pid1_get(owner.w->pid1, key);
	if (!s && fd >= 0)
		s = stream_new(number, fd);
	if (!s || holder_add(s, site) != 0)
		log_error("a description of node %u's processes is lost", site);
}

static int open_deeds(void)
{
	const size_t size = HEADS_BYTES + (size_t)DEED_MAX * PROCFS_STREAM_MAX;
	cleanup_close int fd = pid1_get(owner.w->pid1, KEY_DEEDS);
	void *map;
	int r;

	if (fd == -ENOENT) {
		fd = memfd_create(KEY_DEEDS, MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
			return -errno;
		r = pid1_put(owner.w->pid1, KEY_DEEDS, fd);
		if (r < 0)
			return r;
	}
	if (fd < 0)
		return fd;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	owner.deeds = map;
	return 0;
}

int stream_owner_open(struct world *w)
{
	int r;

	owner.w = w;
	owner.last_number = clock_wall_ns() / NS_PER_MS;
	list_init(&owner.streams);
	list_init(&owner.jobs);
	list_init(&owner.queue);
	r = open_deeds();
	if (r == 0)
		r = pid1_list(w->pid1, "stream.", adopt, NULL);
	if (r != 0)
		return r;
	for (size_t i = 0; i < DEED_MAX; i++)
		deed_recover(&owner.deeds[i]);
	rpc_serve(w->peer_rpc, PEER_STREAM, on_stream, w);
	rpc_serve(w->peer_rpc, PEER_STREAMS_HELD, on_held, w);
	return 0;
}
