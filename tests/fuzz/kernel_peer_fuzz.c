/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_peer_fuzz.c - whatever another guest kernel of the tenant may say, to a guest kernel's own
 * handlers: each method of peer.h with messages that are right but for their meaning (any value in
 * any field, made by their descriptors), and with bytes changed. It may answer what it likes; it
 * may not fall, and must answer.
 *
 * pando-init is played here: what is put into the store is gone at once. There is no process and no
 * pandod.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/rand.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/ports/ports.h"
#include "cmd/pando-kernel/files/streams.h"
#include "cmd/pando-kernel/tty/ttys.h"

#define SELF   1
#define OTHER  2
#define ROUNDS 6000
#define RELAYS 8

/* ---- pando-init ---- */
struct pid1 {
	int none;
};
static struct pid1 pid1;

int pid1_open(struct pid1 **out, struct loop *l, int sock, const struct pid1_ops *ops, void *arg)
{
	*out = &pid1;
	return 0;
}
bool pid1_is_gone(const struct pid1 *p)
{
	return false;
}

uint64_t pid1_namespace(const struct pid1 *p)
{
	return 1;
}
int pid1_get(struct pid1 *p, const char *key)
{
	return -ENOENT;
}
int pid1_put(struct pid1 *p, const char *key, int fd)
{
	return 0;
}
void pid1_forget(struct pid1 *p, const char *key)
{
	(void)p;
	(void)key;
}

int pid1_drop(struct pid1 *p, const char *key)
{
	return 0;
}
void pid1_together(struct pid1 *p)
{
}
int pid1_settle(struct pid1 *p)
{
	return 0;
}
int pid1_replace(struct pid1 *p, const char *key, int fd)
{
	return 0;
}
int pid1_list(struct pid1 *p, const char *prefix, void (*cb)(void *arg, const char *key), void *arg)
{
	return 0;
}
int pid1_block(struct pid1 *p, gpid first, uint32_t count)
{
	return 0;
}
int pid1_ack(struct pid1 *p, uint64_t event)
{
	return 0;
}
int pid1_spawn(struct pid1 *p, const char *key, const struct init_spawn *head, char *const argv[],
	       char *const envp[], const char *cwd, const int *fds, size_t nfds,
	       pid1_spawned_fn done, void *arg)
{
	return -EAGAIN;
}

/* ---- messages ---- */
static const struct {
	uint32_t method;
	const ProtobufCMessageDescriptor *of;
	bool stream;
} methods[] = {
	{ PEER_RUN, &peer__run__descriptor, false },
	{ PEER_CHANGED, &peer__changed__descriptor, false },
	{ PEER_RAISE, &peer__raise__descriptor, false },
	{ PEER_RELAY, &peer__relay__descriptor, false },
	{ PEER_ASK, &peer__ask__descriptor, false },
	{ PEER_PORT, &peer__port__descriptor, false },
	{ PEER_BRIDGE, &peer__port__descriptor, true },
	{ PEER_STREAM, &peer__stream__descriptor, false },
	{ PEER_STREAMS_HELD, &peer__streams_held__descriptor, false },
	{ PEER_MOVE, &peer__move__descriptor, false },
	{ PEER_IMAGE, &peer__image__descriptor, true },
	{ PEER_RELAY_MOVED, &peer__relay_moved__descriptor, false },
	{ PEER_HOLD, &peer__hold__descriptor, false },
	{ PEER_SEEK, &peer__hold__descriptor, false },
	{ PEER_FOLLOW, &peer__follow__descriptor, false },
	{ PEER_KILL, &peer__kill__descriptor, false },
	{ PEER_GROUP, &peer__group__descriptor, false },
	{ PEER_TTY, &peer__tty__descriptor, false },
};

/* Small numbers, for they mean something here, and any. */
static uint64_t number(struct rand *r)
{
	static const uint64_t some[] = { 0, 1, 2, 3, 9, 17, 64, 4096, 4097, 8192, 8193, 65536 };

	switch (rand_below(r, 4)) {
	case 0:
		return rand_next(r);
	case 1:
		return some[rand_below(r, ARRAY_LEN(some))];
	case 2:
		return (uint64_t)0 - rand_below(r, 70);
	default:
		return rand_below(r, 20);
	}
}

static void put_varint(struct buf *b, uint64_t v)
{
	uint8_t byte;

	do {
		byte = (uint8_t)(v & 0x7f);
		v >>= 7;
		byte |= v ? 0x80 : 0;
		CHECK(buf_add(b, &byte, 1) == 0);
	} while (v);
}

static void put_message(struct buf *b, const ProtobufCMessageDescriptor *d, struct rand *r,
			unsigned depth);

static void put_bytes(struct buf *b, struct rand *r)
{
	uint8_t bytes[256];
	size_t n = rand_below(r, 3) == 0 ? rand_below(r, sizeof(bytes)) : rand_below(r, 5);

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(rand_chance(r, 1, 2) ? '/' : rand_next(r));
	put_varint(b, n);
	CHECK(buf_add(b, bytes, n) == 0);
}

static void put_field(struct buf *b, const ProtobufCFieldDescriptor *f, struct rand *r,
		      unsigned depth)
{
	struct buf in = BUF_INIT;
	bool whole = f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_BYTES ||
		     f->type == PROTOBUF_C_TYPE_MESSAGE;

	put_varint(b, (uint64_t)f->id << 3 | (whole ? 2 : 0));
	if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
		if (depth < 3)
			put_message(&in, f->descriptor, r, depth + 1);
		put_varint(b, in.len);
		CHECK(buf_add(b, in.data, in.len) == 0);
		buf_fini(&in);
	} else if (whole) {
		put_bytes(b, r);
	} else {
		put_varint(b, number(r));
	}
}

/* On the wire's own terms: all types of peer.proto are numbers or have a length. */
static void put_message(struct buf *b, const ProtobufCMessageDescriptor *d, struct rand *r,
			unsigned depth)
{
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		uint64_t n = f->label == PROTOBUF_C_LABEL_REPEATED ? rand_below(r, 4)
								   : rand_below(r, 8) != 0;

		while (n-- > 0)
			put_field(b, f, r, depth);
	}
}

/* ---- the kernel ---- */
static struct world world;
static unsigned asked, answered;

/* A procfs without processes, in which only who looks finds itself. */
static int procfs_make(void)
{
	char dir[] = "/tmp/peerfuzzXXXXXX";
	int fd;

	CHECK(mkdtemp(dir) != NULL);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0 && symlinkat("/proc/self", fd, "self") == 0);
	return fd;
}

static void procfs_remove(int fd)
{
	char link[32], path[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	CHECK(n > 0);
	path[n] = 0;
	CHECK(unlinkat(fd, "self", 0) == 0 && rmdir(path) == 0);
}

static void world_open(struct world *w)
{
	w->tenant = 7;
	w->node = SELF;
	CHECK(loop_new(&w->loop, LOOP_EPOLL) == 0);
	CHECK(pid1_open(&w->pid1, w->loop, -1, NULL, w) == 0);
	list_init(&w->sessions);
	list_init(&w->starts);
	list_init(&w->peers);
	list_init(&w->arrivals);
	w->view.procfs = procfs_make();
	w->view.pidns = pid1_namespace(w->pid1);
	CHECK(rpc_new(&w->pod_rpc, w->loop, NULL) == 0);
}

static const struct stubs_ops stubs_ops = { .signal = NULL };

static void parts_open(struct world *w)
{
	w->blocks = calloc(3, sizeof(*w->blocks));
	CHECK(w->blocks != NULL);
	w->blocks[w->block_count++] = (struct world_block){ 4096, 4096, SELF, 1, SELF };
	w->blocks[w->block_count++] = (struct world_block){ 8192, 4096, OTHER, 1, OTHER };
	/* Of a node that has died, whose heir we are. */
	w->blocks[w->block_count++] = (struct world_block){ 12288, 4096, SELF, 2, NODE_NONE };
	CHECK(peers_open(w) == 0 && kept_open(w) == 0 && pipes_open(w) == 0);
	CHECK(streams_open(w) == 0 && ports_open(w) == 0);
	deaths_open(w);
	CHECK(stubs_new(&w->stubs, w->loop, &w->view, &stubs_ops, w) == 0);
	CHECK(gates_open(w) == 0 && authority_open(w) == 0 && reapers_open(w) == 0);
	CHECK(place_open(w) == 0 && site_open(w) == 0 && ttys_open(w) == 0 && move_open(w) == 0);
	w->nodes[w->node_count++] = (struct world_node){ .id = SELF, .alive = true, .life = 1 };
	w->nodes[w->node_count++] = (struct world_node){ .id = OTHER, .alive = true, .life = 1 };
	authority_look(w);
}

/* Relays that the other kernel may speak of: of each direction, at home and at the site. */
static void relays_make(struct world *w)
{
	for (uint64_t id = 1; id <= RELAYS; id++) {
		int fds[2];

		if (id % 2) {
			CHECK(pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
			CHECK(pipes_home(w, id, OTHER, 4100, fds[id % 4 == 1], id % 4 == 1) == 0);
			(void)write(fds[1], "bytes that wait", 15);
		} else {
			CHECK(pipes_site(w, id, OTHER, 8200, id % 4 == 0) >= 0);
		}
	}
	pipes_go(w, 4100);
	pipes_go(w, 8200);
}

static void on_conn(void *arg, struct rpc_conn *c, int err)
{
}

static void on_answer(void *arg, int err, const struct rpc_msg *m)
{
	answered++;
}

static void on_closed(void *arg, struct rpc_stream *s, int err)
{
	*(bool *)arg = true;
}

static void on_data(void *arg, struct rpc_stream *s, const void *bytes, size_t len)
{
	rpc_stream_consumed(s, len);
}

static const struct rpc_stream_ops stream_ops = { .data = on_data, .closed = on_closed };

static void turns(unsigned n)
{
	while (n-- > 0)
		CHECK(loop_turn(world.loop, 1) == 0);
}

static void speak_stream(struct rpc_conn *c, const struct rpc_msg *m, struct rand *r)
{
	static bool closed;
	struct rpc_stream *s;
	uint8_t bytes[64];

	closed = false;
	if (rpc_stream_open(c, m, &stream_ops, &closed, &s) != 0)
		return;
	turns(2);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)rand_next(r);
	if (!closed)
		(void)!rpc_stream_write(s, bytes, rand_below(r, sizeof(bytes)));
	turns(2);
	if (!closed)
		rpc_stream_close(s, rand_chance(r, 1, 2) ? 0 : -ECANCELED);
}

/* The length before a relay's head, sometimes wrong, and what lies behind it: units, or anything.
 */
static void put_around(struct buf *b, struct rand *r)
{
	struct buf all = BUF_INIT;
	uint8_t byte = (uint8_t)(rand_chance(r, 1, 8) ? rand_next(r) : b->len);

	CHECK(buf_add(&all, &byte, 1) == 0 && buf_add(&all, b->data, b->len) == 0);
	for (uint64_t k = rand_below(r, 20); k > 0; k--) {
		uint8_t unit[2 + 300] = { (uint8_t)rand_below(r, 256), (uint8_t)rand_below(r, 2) };
		size_t len = 2 + unit[0] + (rand_chance(r, 1, 8) ? rand_below(r, 40) : 0);

		CHECK(buf_add(&all, unit, len) == 0);
	}
	buf_fini(b);
	*b = all;
}

static void speak(struct rpc_conn *c, struct rand *r)
{
	size_t i = rand_below(r, ARRAY_LEN(methods));
	struct buf b = BUF_INIT;
	struct rpc_msg m = { .method = methods[i].method };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(world.loop) + NS_PER_S };

	put_message(&b, methods[i].of, r, 0);
	if (m.method == PEER_RELAY)
		put_around(&b, r);
	for (uint64_t k = rand_chance(r, 1, 4) ? rand_below(r, 4) : 0; k > 0 && b.len > 0; k--)
		b.data[rand_below(r, b.len)] = (uint8_t)rand_next(r);
	m.body = b.data;
	m.len = b.len;
	if (methods[i].stream)
		speak_stream(c, &m, r);
	else if (rand_chance(r, 1, 3))
		(void)!rpc_send(c, &m);
	else if (rpc_request(c, &m, &o, on_answer, NULL, NULL) == 0)
		asked++;
	buf_fini(&b);
	turns(1);
}

int main(int argc, char **argv)
{
	const struct rpc_peer who = { .role = RPC_ROLE_KERNEL, .node = OTHER, .tenant = 7 };
	struct rpc_conn *ours, *theirs;
	struct rpc *other;
	struct rand r;
	int fds[2];

	(void)signal(SIGPIPE, SIG_IGN);
	(void)setenv("PANDO_LOG", "error", 0);
	log_init("fuzz");
	world_open(&world);
	parts_open(&world);
	relays_make(&world);
	CHECK(rpc_new(&other, world.loop, NULL) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	CHECK(rpc_conn_local(world.peer_rpc, fds[0], on_conn, NULL, &ours) == 0);
	rpc_conn_set_peer(ours, &who);
	CHECK(rpc_conn_local(other, fds[1], on_conn, NULL, &theirs) == 0);
	rand_seed(&r, argc > 1 ? strtoull(argv[1], NULL, 10) : 1);
	for (int i = 0; i < ROUNDS; i++)
		speak(theirs, &r);
	turns(200);
	CHECK(asked > ROUNDS / 4 && answered > asked / 4);
	procfs_remove(world.view.procfs);
	printf("%u asked, %u answered\n", asked, answered);
	return 0;
}
