/* SPDX-License-Identifier: Apache-2.0 */
/* rpc_fabric_test.c - listening and dialling on the fabric, losses and new dials. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "rpc/auth.h"
#include "rpc/rpc.h"

enum { ECHO = 1, HOLD, SINK };

static struct loop *l;
static struct rpc *ra, *rb;
static struct rpc_conn *ca, *cb;
static struct rpc_keys keys_a, keys_b;
static struct rpc_identity ida, idb;
static int up_a, up_b, lost_a, lost_b, done, done_err, executed, held_count, sink_closed;
static struct rpc_call *held[4];
static size_t sunk;
static char addr[64];
/* Another one than `tcp` where there is its device, at that device's address. */
static const char *provider = "tcp", *ip = "127.0.0.1";

static void on_a(void *arg, struct rpc_conn *c, int err)
{
	if (err == 0)
		up_a++;
	else
		lost_a++;
}

static void on_b(void *arg, struct rpc_conn *c, int err)
{
	if (err == 0) {
		up_b++;
		cb = c;
	} else {
		lost_b++;
		cb = NULL;
	}
}

static int admit(void *arg, const struct rpc_peer *p)
{
	const struct rpc_keys *k = p->node == 1 ? &keys_a : &keys_b;

	return memcmp(p->key, k->public, RPC_KEY_BYTES) == 0 ? 0 : -EACCES;
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

static void sink_data(void *arg, struct rpc_stream *s, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i += 997)
		assert_int_equal(p[i], (uint8_t)((sunk + i) * 7));
	sunk += len;
	rpc_stream_consumed(s, len);
}

static void sink_end(void *arg, struct rpc_stream *s, int err)
{
	sink_closed = err == 0 ? 1 : err;
}

static void serve_sink(void *arg, struct rpc_conn *c, struct rpc_stream *s,
		       const struct rpc_msg *open)
{
	static const struct rpc_stream_ops ops = { .data = sink_data, .closed = sink_end };

	rpc_stream_set_ops(s, &ops, NULL);
}

static void on_done(void *arg, int err, const struct rpc_msg *m)
{
	done++;
	done_err = err;
}

/* A port that is free now: the kernel's choice. */
static void choose_addr(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	close(fd);
	snprintf(addr, sizeof(addr), "%s:%d", ip, ntohs(sin.sin_port));
}

static void start_b(void)
{
	assert_int_equal(rpc_new(&rb, l, NULL), 0);
	rpc_set_identity(rb, &idb, admit, NULL);
	rpc_serve(rb, ECHO, serve_echo, NULL);
	rpc_serve(rb, HOLD, serve_hold, NULL);
	rpc_serve_stream(rb, SINK, serve_sink, NULL);
	assert_int_equal(rpc_listen(rb, provider, addr, on_b, NULL), 0);
}

static int setup(void **state)
{
	setenv("PANDO_LOG", "error", 1);
	up_a = up_b = lost_a = lost_b = done = done_err = executed = held_count = sink_closed = 0;
	sunk = 0;
	assert_int_equal(loop_new(&l, LOOP_AUTO), 0);
	assert_int_equal(rpc_keys_new(&keys_a), 0);
	assert_int_equal(rpc_keys_new(&keys_b), 0);
	rpc_identity_node(&ida, 1, &keys_a);
	rpc_identity_node(&idb, 2, &keys_b);
	choose_addr();
	assert_int_equal(rpc_new(&ra, l, NULL), 0);
	rpc_set_identity(ra, &ida, admit, NULL);
	start_b();
	return 0;
}

static int teardown(void **state)
{
	rpc_free(ra);
	rpc_free(rb);
	loop_free(l);
	return 0;
}

static void until(int *what, int value)
{
	uint64_t end = clock_mono_ns() + 60 * NS_PER_S;

	while (*what < value && clock_mono_ns() < end)
		assert_int_equal(loop_turn(l, 10 * NS_PER_MS), 0);
	assert_int_equal(*what, value);
}

static void dial(void)
{
	assert_int_equal(rpc_dial(ra, provider, addr, keys_b.public, on_a, NULL, &ca), 0);
}

static void ask(uint32_t method, const void *body, size_t len, uint64_t key)
{
	struct rpc_msg m = { .method = method, .body = body, .len = len };
	struct rpc_opts o = { .key = key };

	assert_int_equal(rpc_request(ca, &m, &o, on_done, NULL, NULL), 0);
}

static void a_dialled_node_answers(void **state)
{
	dial();
	ask(ECHO, "hi", 2, 0);
	until(&done, 1);
	assert_int_equal(done_err, 0);
	assert_int_equal(up_a, 1);
	assert_int_equal(up_b, 1);
	assert_int_equal(rpc_conn_peer(cb)->node, 1);
}

static void many_messages_of_every_size_pass(void **state)
{
	uint8_t *big = calloc(1, RPC_BODY_MAX);

	dial();
	until(&up_a, 1);
	for (int i = 0; i < 200; i++)
		ask(ECHO, big, (size_t)i * 300, 0);
	until(&done, 200);
	ask(ECHO, big, RPC_BODY_MAX, 0);
	until(&done, 201);
	assert_int_equal(done_err, 0);
	assert_int_equal(executed, 201);
	free(big);
}

static void bulk_done(void *arg, struct rpc_stream *s, int err)
{
	assert_int_equal(err, 0);
	rpc_stream_close(s, 0);
}

static void bulk_passes(void **state)
{
	size_t len = 20000000;
	uint8_t *mem = malloc(len);
	struct rpc_msg m = { .method = SINK };
	struct rpc_stream *s;

	for (size_t i = 0; i < len; i++)
		mem[i] = (uint8_t)(i * 7);
	dial();
	until(&up_a, 1);
	assert_int_equal(rpc_stream_open(ca, &m, NULL, NULL, &s), 0);
	assert_int_equal(rpc_bulk_send(s, mem, -1, 0, len, bulk_done, NULL), 0);
	until(&sink_closed, 1);
	assert_int_equal(sunk, len);
	free(mem);
}

static void a_lost_connection_is_dialled_again_and_a_key_is_executed_once(void **state)
{
	dial();
	ask(HOLD, NULL, 0, 77);
	until(&held_count, 1);
	rpc_conn_close(cb); /* under way */
	until(&up_a, 2);
	assert_int_equal(lost_a, 1);
	assert_int_equal(done, 0);
	assert_int_equal(rpc_reply(held[0], 0, NULL), 0);
	until(&done, 1);
	assert_int_equal(done_err, 0);
	assert_int_equal(executed, 1);
}

static void without_a_key_the_loss_is_told(void **state)
{
	dial();
	ask(HOLD, NULL, 0, 0);
	until(&held_count, 1);
	rpc_conn_close(cb);
	until(&done, 1);
	assert_int_equal(done_err, -ECONNRESET);
	until(&up_a, 2);
	assert_int_equal(rpc_reply(held[0], 0, NULL), 0);
	ask(ECHO, "x", 1, 0);
	until(&done, 2);
	assert_int_equal(done_err, 0);
}

static void a_peer_that_was_restarted_is_found_and_what_was_under_way_is_unsure(void **state)
{
	struct rpc_msg m = { .method = ECHO };
	struct rpc_opts o = { .key = 5 };

	dial();
	ask(HOLD, NULL, 0, 78);
	until(&held_count, 1);
	rpc_free(rb);
	until(&lost_a, 1);
	assert_int_equal(done, 0);
	assert_int_equal(rpc_request(ca, &m, NULL, on_done, NULL, NULL), -ENOTCONN);
	assert_int_equal(rpc_request(ca, &m, &o, on_done, NULL, NULL), 0); /* waits */
	start_b();
	until(&done, 2);
	assert_int_equal(up_a, 2);
	assert_int_equal(executed, 2); /* the held one before, the echo after */
}

static void nobody_there_is_told_and_tried_again(void **state)
{
	rpc_free(rb);
	dial();
	until(&lost_a, 2);
	assert_int_equal(up_a, 0);
	assert_true(rpc_conn_reason(ca)[0] != '\0');
	start_b();
	until(&up_a, 1);
}

static void a_stranger_does_not_come_up(void **state)
{
	struct rpc_stats st;

	rpc_identity_node(&ida, 2, &keys_a); /* claims to be node 2 */
	dial();
	until(&lost_a, 1);
	assert_int_equal(up_a, 0);
	assert_int_equal(up_b + lost_b, 0); /* the listener's owner never heard of it */
	assert_non_null(strstr(rpc_conn_reason(ca), "no member"));
	rpc_get_stats(rb, &st);
	assert_int_equal(st.handshakes_refused, 1);
}

static void bytes_of_a_stranger_are_counted(void **state)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd;

	if (strcmp(provider, "tcp") != 0)
		skip();
	fd = socket(AF_INET, SOCK_STREAM, 0);
	sin.sin_port = htons((uint16_t)atoi(strchr(addr, ':') + 1));
	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(l, NS_PER_MS), 0);
	close(fd);
	dial(); /* and the listener works on */
	until(&up_a, 1);
}

static void wrong_addresses_and_providers_say_so(void **state)
{
	assert_int_equal(rpc_dial(ra, "tcp", "nonsense", NULL, on_a, NULL, &ca), -EINVAL);
	assert_int_equal(rpc_dial(ra, "pigeon", addr, NULL, on_a, NULL, &ca), -ENODEV);
	assert_int_equal(rpc_dial(ra, "tcp", "a.name:80", NULL, on_a, NULL, &ca), -EINVAL);
	assert_int_equal(rpc_dial(ra, "tcp", "127.0.0.1:", NULL, on_a, NULL, &ca), -EINVAL);
	/* What libfabric says of an address in use is the provider's own word. */
	assert_true(rpc_listen(ra, provider, addr, on_b, NULL) < 0);
	if (strcmp(provider, "tcp") == 0)
		assert_int_equal(rpc_listen(ra, provider, addr, on_b, NULL), -EADDRINUSE);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_dialled_node_answers),
		T(many_messages_of_every_size_pass),
		T(bulk_passes),
		T(a_lost_connection_is_dialled_again_and_a_key_is_executed_once),
		T(without_a_key_the_loss_is_told),
		T(a_peer_that_was_restarted_is_found_and_what_was_under_way_is_unsure),
		T(nobody_there_is_told_and_tried_again),
		T(a_stranger_does_not_come_up),
		T(bytes_of_a_stranger_are_counted),
		T(wrong_addresses_and_providers_say_so),
	};

	if (getenv("PANDO_TEST_PROVIDER") != NULL) {
		provider = getenv("PANDO_TEST_PROVIDER");
		ip = getenv("PANDO_TEST_IP");
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
