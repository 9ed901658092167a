/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two guest kernels' peers.c, and pandods that we play: whoever dials whom in whatever order, there
 * is one connection, nobody who waits for it is let down, and what is said over it arrives in its
 * order.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/files/streams.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/kernel.pb-c.h"

#define SAY     KERNEL_METHOD(1000)
#define TENANT  7
#define WAIT_NS (10 * NS_PER_S)

/* A node: its kernel, and the pandod that we play. */
struct side {
	struct world *w;
	struct rpc *pod_rpc;
	struct rpc_conn *to_kernel;
	struct rpc_keys keys;
	struct rpc_call *wanted; /* it wants a connection */
	unsigned asked, told, told_err;
	uint32_t said, heard;
};

static struct loop *l;
static struct side a, b;

/* ---- the rest of a guest kernel ---- */
void pipes_connected(struct world *w, node_id node)
{
}
void pipes_disconnected(struct world *w, node_id node)
{
}
void carriers_connected(struct world *w, node_id node)
{
}
void streams_connected(struct world *w, node_id node)
{
}
void move_disconnected(struct world *w, node_id node)
{
}
bool pipes_want(const struct world *w, node_id node)
{
	return false;
}
bool remote_want(const struct world *w, node_id node)
{
	return false;
}
bool site_want(const struct world *w, node_id node)
{
	return false;
}
void deaths_seek_all(struct world *w, node_id node)
{
}
bool home_is_somewhere(const struct world *w, node_id node)
{
	return false;
}
void answers_reply(struct rpc_call *call, int err, const struct rpc_msg *m)
{
	assert_int_equal(rpc_reply(call, err, m), 0);
}

/* ---- the pandods ---- */
static void on_wanted(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct side *s = arg;

	assert_null(s->wanted);
	s->wanted = call;
}

static void answer(struct side *s, int fd)
{
	struct rpc_msg m = { .fds = { fd }, .fd_count = 1 };

	assert_non_null(s->wanted);
	assert_int_equal(rpc_reply(s->wanted, 0, &m), 0);
	s->wanted = NULL;
}

static void on_taken(void *arg, int err, const struct rpc_msg *m)
{
	assert_int_equal(err, 0);
}

static void offer(struct side *s, node_id from, int fd)
{
	Kernel__PeerIn q = KERNEL__PEER_IN__INIT;
	uint8_t body[16];
	struct rpc_msg m = { .method = KERNEL_PEER_IN, .body = body, .fds = { fd }, .fd_count = 1 };

	q.node = from;
	m.len = kernel__peer_in__pack(&q, body);
	assert_int_equal(rpc_request(s->to_kernel, &m, NULL, on_taken, NULL, NULL), 0);
}

static void introduce(struct side *s)
{
	Kernel__Identity q = KERNEL__IDENTITY__INIT;
	struct rpc_keys keys;
	struct rpc_cert cert = { .tenant = TENANT,
				 .node = s->w->node,
				 .epoch = s->w->node,
				 .expires_s = (uint64_t)time(NULL) + 3600 };
	uint8_t body[512];
	struct rpc_msg m = { .method = KERNEL_IDENTITY, .body = body };

	assert_int_equal(rpc_keys_new(&keys), 0);
	memcpy(cert.key, keys.public, sizeof(cert.key));
	rpc_cert_sign(&cert, &s->keys);
	q.secret.data = (uint8_t *)&keys;
	q.secret.len = sizeof(keys);
	q.certificate.data = (uint8_t *)&cert;
	q.certificate.len = sizeof(cert);
	assert_true(kernel__identity__get_packed_size(&q) <= sizeof(body));
	m.len = kernel__identity__pack(&q, body);
	assert_int_equal(rpc_request(s->to_kernel, &m, NULL, on_taken, NULL, NULL), 0);
}

/* ---- what the kernels say to each other ---- */
static void on_said(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct side *s = arg;
	uint32_t n;

	assert_int_equal(m->len, sizeof(n));
	memcpy(&n, m->body, sizeof(n));
	assert_true(n > s->heard);
	s->heard = n;
}

static void say_over(struct side *s, struct rpc_conn *c)
{
	struct rpc_msg m = { .method = SAY, .body = &s->said, .len = sizeof(s->said) };

	s->said++;
	assert_int_equal(rpc_send(c, &m), 0);
}

static void on_peer(void *arg, int err, struct rpc_conn *c)
{
	struct side *s = arg;

	s->told++;
	s->told_err += err != 0;
	if (err == 0)
		say_over(s, c);
}

static node_id other(const struct side *s)
{
	return s == &a ? b.w->node : a.w->node;
}

static void want(struct side *s)
{
	s->asked++;
	peers_with(s->w, other(s), on_peer, s);
}

/* ---- time ---- */
static void turns(unsigned n)
{
	while (n-- > 0) {
		struct side *both[] = { &a, &b };

		assert_int_equal(loop_turn(l, 1), 0);
		for (int i = 0; i < 2; i++)
			if (peers_conn(both[i]->w, other(both[i])))
				say_over(both[i], peers_conn(both[i]->w, other(both[i])));
	}
}

#define until(cond)                                                                                \
	do {                                                                                       \
		uint64_t end_ns_ = clock_mono_ns() + WAIT_NS;                                      \
		while (!(cond)) {                                                                  \
			if (clock_mono_ns() > end_ns_)                                             \
				fail_msg("never: %s", #cond);                                      \
			assert_int_equal(loop_turn(l, NS_PER_MS), 0);                              \
		}                                                                                  \
	} while (0)

static void on_kernel(void *arg, struct rpc_conn *c, int err)
{
}

static void side_start(struct side *s, node_id node)
{
	int fds[2];

	*s = (struct side){ .w = calloc(1, sizeof(*s->w)) };
	s->w->loop = l;
	s->w->node = node;
	s->w->tenant = TENANT;
	list_init(&s->w->peers);
	assert_int_equal(rpc_keys_new(&s->keys), 0);
	assert_int_equal(rpc_new(&s->pod_rpc, l, NULL), 0);
	assert_int_equal(rpc_new(&s->w->pod_rpc, l, NULL), 0);
	assert_int_equal(peers_open(s->w), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(rpc_conn_local(s->pod_rpc, fds[0], on_kernel, NULL, &s->to_kernel), 0);
	assert_int_equal(rpc_conn_local(s->w->pod_rpc, fds[1], on_kernel, NULL, &s->w->pod), 0);
	rpc_serve(s->pod_rpc, KERNEL_PEER_WANTED, on_wanted, s);
	rpc_serve(s->w->peer_rpc, SAY, on_said, s);
	introduce(s);
	until(s->w->has_identity);
}

static void know(struct side *s, const struct side *x)
{
	struct world_node *n = &s->w->nodes[s->w->node_count++];

	n->id = x->w->node;
	n->life = x->w->node; /* as its certificate says: introduce() */
	n->has_key = true;
	memcpy(n->key, x->keys.public, sizeof(n->key));
}

static void side_end(struct side *s)
{
	rpc_free(s->w->peer_rpc);
	rpc_free(s->w->pod_rpc);
	rpc_free(s->pod_rpc);
	while (!list_empty(&s->w->peers)) {
		struct list *first = s->w->peers.next;

		list_del(first);
		free(first); /* a peer's first member */
	}
	free(s->w);
}

static int setup(void **state)
{
	assert_int_equal(loop_new(&l, LOOP_EPOLL), 0);
	side_start(&a, 1);
	side_start(&b, 2);
	know(&a, &b);
	know(&b, &a);
	return 0;
}

static int teardown(void **state)
{
	side_end(&a);
	side_end(&b);
	loop_free(l);
	return 0;
}

/* ---- tests ---- */
static uint64_t handshakes(const struct side *s)
{
	struct rpc_stats st;

	rpc_get_stats(s->w->peer_rpc, &st);
	return st.handshakes_ok;
}

static void connect_to_a(struct side *s)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	answer(s, fds[0]);
	offer(&a, 2, fds[1]);
}

/* The four things that pandods do when both have been asked. */
enum { ANSWER_A, OFFER_B, ANSWER_B, OFFER_A, DEEDS };

static void do_deed(int deed, int fds[2][2])
{
	if (deed == ANSWER_A && a.wanted)
		answer(&a, fds[0][0]);
	else if (deed == OFFER_B)
		offer(&b, 1, fds[0][1]);
	else if (deed == ANSWER_B && b.wanted)
		answer(&b, fds[1][0]);
	else if (deed == OFFER_A)
		offer(&a, 2, fds[1][1]);
	else
		(void)close(deed == ANSWER_A ? fds[0][0] : fds[1][0]);
}

static void both_dial(const int order[DEEDS], unsigned between)
{
	int fds[2][2];

	(void)setup(NULL);
	for (int i = 0; i < 2; i++)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds[i]), 0);
	want(&a);
	want(&b);
	until(a.wanted && b.wanted);
	for (int i = 0; i < DEEDS; i++) {
		do_deed(order[i], fds);
		turns(between);
	}
	until(a.told == 1 && b.told == 1);
	turns(50);
	assert_int_equal(a.told_err + b.told_err, 0);
	assert_int_equal(handshakes(&a), 1);
	assert_int_equal(handshakes(&b), 1);
	/* What a refused dial has asked for once more is of no use, and does no harm. */
	if (b.wanted) {
		connect_to_a(&b);
		turns(50);
	}
	until(a.heard > 0 && b.heard > 0);
	turns(1);
	until(a.heard == b.said && b.heard == a.said);
	(void)teardown(NULL);
}

static void of_two_dials_one_counts(void **state)
{
	for (int n = 0; n < DEEDS * DEEDS * DEEDS * DEEDS; n++) {
		int order[DEEDS] = { n % 4, n / 4 % 4, n / 16 % 4, n / 64 % 4 };
		unsigned seen = 0;

		for (int i = 0; i < DEEDS; i++)
			seen |= 1u << order[i];
		if (seen != 15)
			continue;
		both_dial(order, 0);
		both_dial(order, 3);
		both_dial(order, 60);
	}
}

/* The smaller node's dial fails after it has refused the other's: that one dials again. */
static void a_refused_dial_is_made_again(void **state)
{
	want(&a);
	want(&b);
	until(a.wanted && b.wanted);
	connect_to_a(&b);
	turns(20);
	assert_int_equal(rpc_reply(a.wanted, -EHOSTUNREACH, NULL), 0);
	until(a.told == 1);
	assert_int_equal(a.told_err, 1);
	until(b.wanted);
	connect_to_a(&b);
	until(b.told == 1 && peers_conn(a.w, 2));
	assert_int_equal(b.told_err, 0);
	want(&a);
	assert_int_equal(a.told, 2);
}

/*
 * Who makes one has lost the others: what still comes over them is older than what it says now.
 * Here it goes on saying that, as a network might that has kept it.
 */
static void an_older_connection_is_not_heard_any_more(void **state)
{
	struct side c;

	want(&b);
	until(b.wanted);
	connect_to_a(&b);
	until(b.told == 1 && a.heard == b.said);
	side_start(&c, 2);
	c.keys = b.keys;
	introduce(&c);
	know(&c, &a);
	c.said = 1000000;
	c.asked++;
	peers_with(c.w, 1, on_peer, &c);
	until(c.wanted);
	connect_to_a(&c);
	for (int i = 0; i < 1000 && c.told == 0; i++)
		turns(1);
	turns(20);
	until(a.heard == c.said);
	assert_int_equal(handshakes(&a), 2);
	assert_null(peers_conn(b.w, 1));
	side_end(&c);
}

/* What a node says in a life that is over, or that we do not know of yet, must not be begun. */
static void only_the_life_that_is_known_is_spoken_with(void **state)
{
	struct rpc_stats st;

	want(&b);
	until(b.wanted);
	connect_to_a(&b);
	until(b.told == 1 && peers_conn(a.w, 2));
	assert_false(peers_over(a.w, 2, 2));
	/* It is in life 2: first that is over, then it is not known of yet. */
	a.w->nodes[0].life = 3;
	assert_true(peers_over(a.w, 2, 2));
	peers_look_at_lives(a.w);
	until(!peers_conn(a.w, 2) && !peers_conn(b.w, 1));
	want(&b);
	for (uint64_t refused = 1; refused <= 2; refused++) {
		until(b.wanted);
		connect_to_a(&b);
		until((rpc_get_stats(a.w->peer_rpc, &st), st.handshakes_refused == refused));
		a.w->nodes[0].life = 1;
	}
	assert_null(peers_conn(a.w, 2));
	a.w->nodes[0].life = 2;
	until(b.wanted);
	connect_to_a(&b);
	until(b.told == 2 && peers_conn(a.w, 2));
	assert_int_equal(b.told_err, 0);
	a.w->nodes[0].dead = true;
	assert_true(peers_over(a.w, 2, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_two_dials_one_counts),
		cmocka_unit_test_setup_teardown(a_refused_dial_is_made_again, setup, teardown),
		cmocka_unit_test_setup_teardown(an_older_connection_is_not_heard_any_more, setup,
						teardown),
		cmocka_unit_test_setup_teardown(only_the_life_that_is_known_is_spoken_with, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
