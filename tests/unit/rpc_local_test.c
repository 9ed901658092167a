/* SPDX-License-Identifier: Apache-2.0 */
/* rpc_local_test.c - requests, descriptors and streams between two instances over a unix socket. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "rpc/rpc.h"

enum { ECHO = 1, HOLD, WITH_FDS, NOTE, SINK, SOURCE, SECRET };

static struct loop *l;
static struct rpc *ra, *rb; /* we ask as a, b serves */
static struct rpc_conn *ca, *cb;
static int up_a, gone_a, done, done_err, executed, notes;
static struct rpc_msg got, with_fds;
static uint8_t got_body[RPC_BODY_MAX];
static struct rpc_call *held[4];
static int held_count;
static size_t sunk;
static int sink_closed;
static bool sink_slow;
static struct rpc_stream *sink_stream;

static void turns(int n)
{
	for (int i = 0; i < n; i++)
		assert_int_equal(loop_turn(l, NS_PER_MS), 0);
}

static void until(int *what, int value)
{
	for (int i = 0; i < 2000 && *what != value; i++)
		turns(1);
	assert_int_equal(*what, value);
}

static void on_conn_a(void *arg, struct rpc_conn *c, int err)
{
	if (err == 0)
		up_a++;
	else
		gone_a = err;
}

static void serve_echo(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct rpc_msg r = { .body = m->body, .len = m->len };

	executed++;
	assert_int_equal(rpc_reply(call, 0, &r), 0);
}

static void serve_hold(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	executed++;
	held[held_count++] = call;
}

static void serve_fds(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct rpc_msg r = { .fd_count = m->fd_count };

	memcpy(r.fds, m->fds, sizeof(r.fds));
	assert_int_equal(rpc_reply(call, 0, &r), 0);
}

static void serve_note(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	assert_null(call);
	notes++;
}

static void sink_data(void *arg, struct rpc_stream *s, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], (uint8_t)((sunk + i) * 7));
	sunk += len;
	if (!sink_slow)
		rpc_stream_consumed(s, len);
}

static void sink_end(void *arg, struct rpc_stream *s, int err)
{
	sink_closed = err == 0 ? 1 : err;
}

static const struct rpc_stream_ops sink_ops = { .data = sink_data, .closed = sink_end };

static void serve_sink(void *arg, struct rpc_conn *c, struct rpc_stream *s,
		       const struct rpc_msg *open)
{
	sink_stream = s;
	rpc_stream_set_ops(s, &sink_ops, NULL);
}

static void on_done(void *arg, int err, const struct rpc_msg *m)
{
	done++;
	done_err = err;
	assert_true((err == 0) == (m != NULL));
	if (m) {
		got = *m;
		if (m->fd_count > 0)
			with_fds = *m;
		memcpy(got_body, m->body ? m->body : "", m->len);
	}
}

static int setup(void **state)
{
	struct rpc_limits lim = { .stream_window = 1 << 16, .calls_max = 64 };
	int sv[2];

	up_a = gone_a = done = done_err = executed = notes = held_count = sink_closed = 0;
	sunk = 0;
	sink_slow = false;
	assert_int_equal(loop_new(&l, LOOP_AUTO), 0);
	assert_int_equal(rpc_new(&ra, l, &lim), 0);
	assert_int_equal(rpc_new(&rb, l, &lim), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(rpc_conn_local(ra, sv[0], on_conn_a, NULL, &ca), 0);
	assert_int_equal(rpc_conn_local(rb, sv[1], NULL, NULL, &cb), 0);
	rpc_serve(rb, ECHO, serve_echo, NULL);
	rpc_serve(rb, HOLD, serve_hold, NULL);
	rpc_serve(rb, WITH_FDS, serve_fds, NULL);
	rpc_serve(rb, NOTE, serve_note, NULL);
	rpc_serve(rb, SECRET, serve_note, NULL);
	rpc_allow(rb, SECRET, RPC_FROM(RPC_ROLE_NODE));
	rpc_serve_stream(rb, SINK, serve_sink, NULL);
	return 0;
}

static int teardown(void **state)
{
	rpc_free(ra);
	rpc_free(rb);
	loop_free(l);
	return 0;
}

static void ask(uint32_t method, const void *body, size_t len, const struct rpc_opts *o,
		uint64_t *id)
{
	struct rpc_msg m = { .method = method, .body = body, .len = len };

	assert_int_equal(rpc_request(ca, &m, o, on_done, NULL, id), 0);
}

static void a_request_is_answered(void **state)
{
	ask(ECHO, "hello", 5, NULL, NULL);
	assert_int_equal(done, 0); /* never from inside the call */
	until(&done, 1);
	assert_int_equal(done_err, 0);
	assert_int_equal(got.len, 5);
	assert_memory_equal(got_body, "hello", 5);
	assert_int_equal(up_a, 1);
}

static void many_requests_are_answered_in_one_go(void **state)
{
	for (int i = 0; i < 64; i++)
		ask(ECHO, &i, sizeof(i), NULL, NULL);
	until(&done, 64);
	assert_int_equal(executed, 64);
}

static void one_more_than_calls_max_is_busy(void **state)
{
	struct rpc_msg m = { .method = ECHO };

	for (int i = 0; i < 64; i++)
		ask(ECHO, NULL, 0, NULL, NULL);
	assert_int_equal(rpc_request(ca, &m, NULL, on_done, NULL, NULL), -EBUSY);
	until(&done, 64);
	assert_int_equal(rpc_request(ca, &m, NULL, on_done, NULL, NULL), 0);
	until(&done, 65);
}

static void the_biggest_body_passes_and_one_byte_more_is_refused(void **state)
{
	uint8_t *big = malloc(RPC_BODY_MAX + 1);
	struct rpc_msg m = { .method = ECHO, .body = big, .len = RPC_BODY_MAX + 1 };

	for (size_t i = 0; i < RPC_BODY_MAX; i++)
		big[i] = (uint8_t)(i * 31 >> 3);
	assert_int_equal(rpc_request(ca, &m, NULL, on_done, NULL, NULL), -EMSGSIZE);
	ask(ECHO, big, RPC_BODY_MAX, NULL, NULL);
	until(&done, 1);
	assert_int_equal(got.len, RPC_BODY_MAX);
	assert_memory_equal(got_body, big, RPC_BODY_MAX);
	free(big);
}

static void an_unknown_method_and_a_forbidden_one_say_so(void **state)
{
	ask(99, NULL, 0, NULL, NULL);
	until(&done, 1);
	assert_int_equal(done_err, -ENOSYS);
	ask(SECRET, NULL, 0, NULL, NULL);
	until(&done, 2);
	assert_int_equal(done_err, -EACCES);
}

static void descriptors_ride_along_both_ways(void **state)
{
	struct rpc_msg m = { .method = WITH_FDS, .fd_count = 2 };
	struct stat before, after;
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(fstat(p[0], &before), 0);
	ask(ECHO, "x", 1, NULL, NULL);
	m.fds[0] = p[0];
	m.fds[1] = p[1];
	assert_int_equal(rpc_request(ca, &m, NULL, on_done, NULL, NULL), 0);
	ask(ECHO, "y", 1, NULL, NULL);
	until(&done, 3);
	assert_int_equal(got.fd_count, 0);
	assert_int_equal(with_fds.fd_count, 2);
	assert_int_equal(fstat(with_fds.fds[0], &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	close(with_fds.fds[0]);
	close(with_fds.fds[1]);
}

static void a_deadline_ends_a_request_that_hangs(void **state)
{
	struct rpc_opts o = { .deadline_ns = clock_mono_ns() + 200 * NS_PER_MS };

	ask(HOLD, NULL, 0, &o, NULL);
	until(&done, 1);
	assert_int_equal(done_err, -ETIMEDOUT);
	turns(3);
	assert_int_equal(held_count, 1);
	assert_true(rpc_call_is_void(held[0]));
	assert_true(rpc_call_deadline_ns(held[0]) != 0);
	assert_int_equal(rpc_reply(held[0], 0, NULL), 0);
	turns(3);
	assert_int_equal(done, 1);
}

static void a_cancelled_request_completes_once(void **state)
{
	uint64_t id;

	ask(HOLD, NULL, 0, NULL, &id);
	while (held_count == 0)
		turns(1);
	rpc_cancel(ca, id);
	rpc_cancel(ca, id);
	assert_int_equal(done, 0);
	until(&done, 1);
	assert_int_equal(done_err, -ECANCELED);
	turns(3);
	assert_int_equal(rpc_reply(held[0], 0, NULL), 0);
	turns(3);
	assert_int_equal(done, 1);
}

static void a_peer_that_goes_ends_what_is_under_way(void **state)
{
	ask(HOLD, NULL, 0, NULL, NULL);
	while (held_count == 0)
		turns(1);
	rpc_conn_close(cb);
	until(&gone_a, -ECONNRESET);
	assert_int_equal(done, 1);
	assert_int_equal(done_err, -ECONNRESET);
	turns(2);
	assert_true(rpc_call_is_void(held[0]));
	assert_int_equal(rpc_reply(held[0], 0, NULL), 0);
}

static void bytes_that_are_no_frame_end_the_connection_and_are_counted(void **state)
{
	struct rpc_stats st;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(rpc_conn_local(ra, sv[0], on_conn_a, NULL, &ca), 0);
	assert_int_equal(write(sv[1], "\xff\xff\xff\xff this is not a frame of ours at all", 40),
			 40);
	until(&gone_a, -EPROTO);
	rpc_get_stats(ra, &st);
	assert_int_equal(st.bad_bytes, 1);
	close(sv[1]);
}

static void a_repeated_key_is_executed_once_and_answered_again(void **state)
{
	struct rpc_peer who = { .role = RPC_ROLE_KERNEL, .node = 1, .tenant = 7 };
	struct rpc_opts o = { .key = 4711 };
	int sv[2];

	rpc_conn_set_peer(cb, &who);
	ask(HOLD, NULL, 0, &o, NULL);
	while (held_count == 0)
		turns(1);
	rpc_conn_close(ca); /* dies before the answer; its successor asks again */
	turns(3);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(rpc_conn_local(ra, sv[0], on_conn_a, NULL, &ca), 0);
	assert_int_equal(rpc_conn_local(rb, sv[1], NULL, NULL, &cb), 0);
	rpc_conn_set_peer(cb, &who);
	ask(HOLD, NULL, 0, &o, NULL);
	turns(5);
	assert_int_equal(executed, 1);
	assert_int_equal(rpc_reply(held[0], 0, &(struct rpc_msg){ .body = "once", .len = 4 }), 0);
	until(&done, 1);
	assert_memory_equal(got_body, "once", 4);
}

static void one_way_messages_arrive(void **state)
{
	struct rpc_msg m = { .method = NOTE };

	for (int i = 0; i < 100; i++)
		assert_int_equal(rpc_send(ca, &m), 0);
	until(&notes, 100);
}

static size_t fed;

static void feed(void *arg, struct rpc_stream *s)
{
	static uint8_t chunk[5000];

	while (fed < 3000000) {
		size_t n = MIN(sizeof(chunk), 3000000 - fed);
		ssize_t r;

		for (size_t i = 0; i < n; i++)
			chunk[i] = (uint8_t)((fed + i) * 7);
		r = rpc_stream_write(s, chunk, n);
		assert_true(r >= 0);
		fed += (size_t)r;
		if ((size_t)r < n)
			return;
	}
	rpc_stream_close(s, 0);
}

static void a_stream_delivers_every_byte_in_order(void **state)
{
	static const struct rpc_stream_ops ops = { .writable = feed };
	struct rpc_msg m = { .method = SINK };
	struct rpc_stream *s;

	fed = 0;
	assert_int_equal(rpc_stream_open(ca, &m, &ops, NULL, &s), 0);
	feed(NULL, s);
	until(&sink_closed, 1);
	assert_int_equal(sunk, 3000000);
}

static void a_reader_that_does_not_read_stops_the_writer(void **state)
{
	static const struct rpc_stream_ops ops = { .writable = feed };
	struct rpc_msg m = { .method = SINK };
	struct rpc_stream *s;

	fed = 0;
	sink_slow = true;
	assert_int_equal(rpc_stream_open(ca, &m, &ops, NULL, &s), 0);
	feed(NULL, s);
	turns(20);
	assert_int_equal(fed, 1 << 16);
	assert_int_equal(sunk, 1 << 16);
	sink_slow = false;
	rpc_stream_consumed(sink_stream, sunk);
	until(&sink_closed, 1);
	assert_int_equal(sunk, 3000000);
}

static void bulk_done(void *arg, struct rpc_stream *s, int err)
{
	assert_int_equal(err, 0);
	rpc_stream_close(s, 0);
}

static void a_file_and_memory_go_as_bulk(void **state)
{
	struct rpc_msg m = { .method = SINK };
	char name[] = "/tmp/pando-rpc-XXXXXX";
	size_t len = 1500000;
	uint8_t *mem = malloc(len);
	struct rpc_stream *s;
	int fd = mkstemp(name);

	assert_true(fd >= 0);
	unlink(name);
	for (size_t i = 0; i < len; i++)
		mem[i] = (uint8_t)(i * 7);
	assert_int_equal(write(fd, "skip", 4), 4);
	assert_int_equal(write(fd, mem, len), (ssize_t)len);
	assert_int_equal(rpc_stream_open(ca, &m, NULL, NULL, &s), 0);
	assert_int_equal(rpc_bulk_send(s, NULL, fd, 4, len, bulk_done, NULL), 0);
	until(&sink_closed, 1);
	assert_int_equal(sunk, len);
	sunk = 0;
	sink_closed = 0;
	assert_int_equal(rpc_stream_open(ca, &m, NULL, NULL, &s), 0);
	assert_int_equal(rpc_bulk_send(s, mem, -1, 0, len, bulk_done, NULL), 0);
	until(&sink_closed, 1);
	assert_int_equal(sunk, len);
	close(fd);
	free(mem);
}

static void a_stream_nobody_serves_is_closed_with_the_reason(void **state)
{
	static const struct rpc_stream_ops ops = { .closed = sink_end };
	struct rpc_msg m = { .method = 98 };
	struct rpc_stream *s;

	assert_int_equal(rpc_stream_open(ca, &m, &ops, NULL, &s), 0);
	until(&sink_closed, -ENOSYS);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_request_is_answered),
		T(many_requests_are_answered_in_one_go),
		T(one_more_than_calls_max_is_busy),
		T(the_biggest_body_passes_and_one_byte_more_is_refused),
		T(an_unknown_method_and_a_forbidden_one_say_so),
		T(descriptors_ride_along_both_ways),
		T(a_deadline_ends_a_request_that_hangs),
		T(a_cancelled_request_completes_once),
		T(a_peer_that_goes_ends_what_is_under_way),
		T(bytes_that_are_no_frame_end_the_connection_and_are_counted),
		T(a_repeated_key_is_executed_once_and_answered_again),
		T(one_way_messages_arrive),
		T(a_stream_delivers_every_byte_in_order),
		T(a_reader_that_does_not_read_stops_the_writer),
		T(a_file_and_memory_go_as_bulk),
		T(a_stream_nobody_serves_is_closed_with_the_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
