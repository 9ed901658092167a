/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc_fuzz.c - bytes from a peer that lies: frames with random fields, changed, cut and glued, and
 * handshakes of strangers. Nothing may break but the connection; files given as arguments are
 * inputs.
 *
 *	rpc_fuzz [SEED [ROUNDS]]      rpc_fuzz FILE...
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/log.h"
#include "rpc/auth.h"
#include "rpc/priv.h"
#include "rpc/wire.h"

enum { ECHO = 1, HOLD, SINK, LAST };

#define HELD 64

static struct loop *l;
static struct rpc *r;
static struct rpc_call *held[HELD];
static int held_count;
static struct rand rnd;
static struct rpc_keys keys;
static struct rpc_identity id;
static bool gone;
static struct rpc_stats total;

static void serve_echo(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct rpc_msg a = { .body = m->body, .len = m->len };

	if (call)
		CHECK(rpc_reply(call, 0, &a) == 0);
}

static void serve_hold(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	if (!call)
		return;
	if (held_count == HELD)
		CHECK(rpc_reply(call, -EBUSY, NULL) == 0);
	else
		held[held_count++] = call;
}

static void echo_data(void *arg, struct rpc_stream *s, const void *bytes, size_t len)
{
	rpc_stream_consumed(s, len);
	if (rpc_stream_write(s, bytes, len) == 0 && rand_chance(&rnd, 1, 8))
		rpc_stream_close(s, 0);
}

static void serve_sink(void *arg, struct rpc_conn *c, struct rpc_stream *s,
		       const struct rpc_msg *open)
{
	static const struct rpc_stream_ops ops = { .data = echo_data };

	rpc_stream_set_ops(s, &ops, NULL);
}

static void on_conn(void *arg, struct rpc_conn *c, int err)
{
	gone = err != 0;
}

static void on_done(void *arg, int err, const struct rpc_msg *m)
{
}

static void start(void)
{
	struct rpc_limits lim = {
		.calls_max = 8, .streams_max = 4, .keys_max = 8, .stream_window = 4096
	};

	gone = false;
	CHECK(rpc_new(&r, l, &lim) == 0);
	rpc_set_identity(r, &id, NULL, NULL);
	rpc_serve(r, ECHO, serve_echo, NULL);
	rpc_serve(r, HOLD, serve_hold, NULL);
	rpc_serve_stream(r, SINK, serve_sink, NULL);
}

static void stop(int peer)
{
	struct rpc_stats st;

	rpc_get_stats(r, &st);
	total.frames_in += st.frames_in;
	total.bad_bytes += st.bad_bytes;
	total.duplicates += st.duplicates;
	while (held_count > 0)
		CHECK(rpc_reply(held[--held_count], 0, NULL) == 0);
	rpc_free(r);
	(void)close(peer);
}

static struct rpc_conn *open_conn(bool sealed, int *peer)
{
	struct rpc_conn *c;
	int sv[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) == 0);
	*peer = sv[1];
	if (sealed)
		CHECK(rpc_conn_sealed(r, sv[0], false, NULL, on_conn, NULL, &c) == 0);
	else
		CHECK(rpc_conn_local(r, sv[0], on_conn, NULL, &c) == 0);
	return c;
}

/* As the pipe would: in pieces, each followed by a turn of the loop. */
static void feed(struct rpc_conn *c, const uint8_t *bytes, size_t len, int peer)
{
	static uint8_t piece[4096], sink[1 << 16];

	while (len > 0 && !gone) {
		size_t n = (size_t)rand_below(&rnd, 4096) + 1;

		n = MIN(n, len);
		memcpy(piece, bytes, n);
		rpc_pipe_bytes(c, piece, n, NULL, 0);
		bytes += n;
		len -= n;
		CHECK(loop_turn(l, 0) == 0);
		while (recv(peer, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
	}
}

static void add_frame(struct buf *b, uint8_t kind)
{
	static uint8_t zeros[8192];
	struct rpc_frame f = { .kind = kind,
			       .flags = (uint8_t)(rand_chance(&rnd, 3, 4) ? rand_below(&rnd, 2)
									  : rand_below(&rnd, 4)),
			       .method = (uint32_t)rand_below(&rnd, LAST + 1),
			       .err = rand_chance(&rnd, 1, 2) ? 0 : -(int)rand_below(&rnd, 40),
			       .ttl_us = (uint32_t)rand_below(&rnd, 3) * 1000,
			       .id = (rand_below(&rnd, 12) + 1) << 16 | rand_below(&rnd, 5),
			       .key = rand_below(&rnd, 12),
			       .len = (uint32_t)rand_below(&rnd,
							   rand_chance(&rnd, 1, 10) ? 8192 : 64) };
	uint8_t head[RPC_WIRE_HEAD];

	if (kind == RPC_FR_HELLO) {
		f.id = f.key = 7;
		f.method = (uint32_t)rand_below(&rnd, 100000);
		f.flags = 0;
	} else if ((kind == RPC_FR_DATA || kind == RPC_FR_CREDIT) && rand_chance(&rnd, 1, 2)) {
		f.key = rand_below(&rnd, 2) ? 0 : rand_next(&rnd);
	}
	if (kind == RPC_FR_OPEN && !rand_chance(&rnd, 1, 16))
		f.flags = RPC_FL_OPENER;
	if (kind == RPC_FR_REFUSED && !rand_chance(&rnd, 1, 16))
		f.err = rand_chance(&rnd, 1, 2) ? -EBUSY : -EALREADY;
	if (kind == RPC_FR_DATA && !rand_chance(&rnd, 1, 16)) {
		f.flags = RPC_FL_OPENER;
		f.key = 0;
		f.len = (uint32_t)rand_below(&rnd, 64) + 1;
	}
	rpc_wire_head(head, &f, rand_chance(&rnd, 1, 200) ? 1 : 0);
	CHECK(buf_add(b, head, sizeof(head)) == 0 && buf_add(b, zeros, f.len) == 0);
}

static void change(struct buf *b)
{
	for (uint64_t n = rand_below(&rnd, 4); n > 0 && b->len > 0; n--) {
		size_t at = rand_below(&rnd, b->len);

		if (rand_chance(&rnd, 1, 10))
			b->len = at;
		else
			b->data[at] ^= (uint8_t)(1u << rand_below(&rnd, 8));
	}
}

static void frames_round(void)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct rpc_conn *c;
	int peer;

	start();
	c = open_conn(false, &peer);
	for (int i = 0; i < 3; i++) { /* so that replies have something to hit */
		struct rpc_msg m = { .method = ECHO };
		struct rpc_opts o = { .key = (uint64_t)i };

		CHECK(rpc_request(c, &m, &o, on_done, NULL, NULL) == 0);
	}
	add_frame(&b, RPC_FR_HELLO);
	for (uint64_t n = rand_below(&rnd, 40) + 1; n > 0; n--)
		add_frame(&b, (uint8_t)(rand_below(&rnd, RPC_FR_KINDS - 1) + 1));
	if (rand_chance(&rnd, 1, 2))
		change(&b);
	feed(c, b.data, b.len, peer);
	stop(peer);
}

/* A true first message, changed, then noise in the place of the rest. */
static void handshake_round(void)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct rpc_conn *c, *dialler;
	uint8_t first[512];
	ssize_t n;
	int sv[2], peer;

	start();
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) == 0);
	CHECK(rpc_conn_sealed(r, sv[0], true, NULL, on_conn, NULL, &dialler) == 0);
	CHECK(loop_turn(l, 0) == 0);
	n = recv(sv[1], first, sizeof(first), MSG_DONTWAIT);
	CHECK(n > 0);
	c = open_conn(true, &peer);
	if (rand_chance(&rnd, 1, 4))
		n = (ssize_t)rand_below(&rnd, (uint64_t)n);
	CHECK(buf_add(&b, first, (size_t)n) == 0);
	if (rand_chance(&rnd, 1, 2))
		change(&b);
	for (uint64_t k = rand_below(&rnd, 300); k > 0; k--) {
		uint8_t x = (uint8_t)(k % 4 == 2 ? 0 : rand_below(&rnd, 256));

		CHECK(buf_add(&b, &x, 1) == 0);
	}
	feed(c, b.data, b.len, peer);
	/* The dialler, too, hears noise. */
	if (b.len > 0)
		(void)send(sv[1], b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	CHECK(loop_turn(l, 0) == 0 && loop_turn(l, 0) == 0);
	(void)close(sv[1]);
	stop(peer);
}

static void parse_round(void)
{
	uint8_t bytes[64];
	struct rpc_frame f;
	unsigned fds;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)rand_below(&rnd, rand_chance(&rnd, 1, 2) ? 256 : 2);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		ssize_t got = rpc_wire_parse(bytes, n, &f, &fds);

		CHECK(got <= (ssize_t)n);
		CHECK(got <= 0 || (f.kind > 0 && f.kind < RPC_FR_KINDS && fds <= RPC_FDS_MAX &&
				   f.len + RPC_WIRE_HEAD == (size_t)got));
	}
}

static void file_round(const char *path)
{
	static uint8_t bytes[1 << 20];
	int fd = open(path, O_RDONLY), peer;
	ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));

	if (n < 0) {
		fprintf(stderr, "rpc_fuzz: cannot read %s: %s\n", path, strerror(errno));
		exit(2);
	}
	(void)close(fd);
	for (int sealed = 0; sealed < 2; sealed++) {
		struct rpc_conn *c;

		start();
		c = open_conn(sealed, &peer);
		feed(c, bytes, (size_t)n, peer);
		stop(peer);
	}
}

int main(int argc, char **argv)
{
	char *end = NULL;
	uint64_t seed = argc > 1 ? strtoull(argv[1], &end, 0) : 1;
	uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : 10000;

	CHECK(setenv("PANDO_LOG", "error", 1) == 0);
	CHECK(loop_new(&l, LOOP_AUTO) == 0 && rpc_keys_new(&keys) == 0);
	rpc_identity_node(&id, 1, &keys);
	rand_seed(&rnd, seed);
	if (argc > 1 && *end != '\0') {
		for (int i = 1; i < argc; i++)
			file_round(argv[i]);
		rounds = 0;
	}
	for (uint64_t i = 0; i < rounds; i++) {
		frames_round();
		parse_round();
		if (i % 4 == 0)
			handshake_round();
	}
	loop_free(l);
	printf("%llu frames taken, %llu connections refused, %llu duplicates\n",
	       (unsigned long long)total.frames_in, (unsigned long long)total.bad_bytes,
	       (unsigned long long)total.duplicates);
	/* Else the inputs are all refused at once, and nothing behind the door is tried. */
	return rounds > 0 && total.frames_in < rounds * 5;
}
