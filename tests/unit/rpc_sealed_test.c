/* SPDX-License-Identifier: Apache-2.0 */
/* rpc_sealed_test.c - who may speak, and what a wire that lies can do: end the connection. */
#include "tests/unit/unit.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "rpc/auth.h"
#include "rpc/priv.h"

enum { ECHO = 1, JOIN, SINK, NOTE };

static struct loop *l;
static struct rpc *ra, *rb;
static struct rpc_conn *ca, *cb;
static struct rpc_keys keys_a, keys_b, keys_x, keys_k;
static struct rpc_identity ida, idb;
static int up_a, up_b, err_a, err_b, done, done_err, joins, executed;
static char reason_a[128];
static struct rpc_peer admitted;
static uint8_t token_hash[RPC_KEY_BYTES];
static int token_uses;
static size_t sunk;
static int sink_closed;
static int notes;

/* The wire: we sit between the two and may change what passes. */
struct way {
	int from, to;
	size_t passed;
	size_t flip_at; /* SIZE_MAX: nowhere */
	size_t cut_at;  /* ends there */
};
static struct way ab, ba;
static int wire_fds[2];

static bool b_greets; /* as soon as it may */
static int up_when_greeted;

static void on_done(void *arg, int err, const struct rpc_msg *m);

static void on_a(void *arg, struct rpc_conn *c, int err)
{
	if (err == 0) {
		up_a++;
		return;
	}
	err_a = err;
	snprintf(reason_a, sizeof(reason_a), "%s", rpc_conn_reason(c));
	ca = NULL;
}

static void on_b(void *arg, struct rpc_conn *c, int err)
{
	if (err == 0) {
		static const struct rpc_msg m = { .method = ECHO, .body = "first", .len = 5 };

		up_b++;
		if (b_greets)
			assert_int_equal(rpc_request(c, &m, NULL, on_done, NULL, NULL), 0);
		return;
	}
	err_b = err;
	cb = NULL;
}

static int admit(void *arg, const struct rpc_peer *p)
{
	admitted = *p;
	if (p->role == RPC_ROLE_JOINER) {
		if (token_uses > 0 || memcmp(p->token, token_hash, sizeof(token_hash)) != 0)
			return -EACCES;
		token_uses++;
		return 0;
	}
	return memcmp(p->key, keys_a.public, RPC_KEY_BYTES) == 0 ||
			       memcmp(p->key, keys_b.public, RPC_KEY_BYTES) == 0
		       ? 0
		       : -EACCES;
}

static void serve_echo(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct rpc_msg r = { .body = m->body, .len = m->len };

	executed++;
	assert_int_equal(rpc_reply(call, 0, &r), 0);
}

static void serve_join(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	joins++;
	assert_int_equal(rpc_reply(call, 0, NULL), 0);
}

static void sink_data(void *arg, struct rpc_stream *s, const void *bytes, size_t len)
{
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

/* Note @n is so long that some are sealed together, some alone and some in several records. */
static size_t note_len(int n)
{
	static const size_t lens[] = { 9, 4000, 70000, 1, 4096, 30, 16384, 200000, 16348, 5 };

	return lens[(size_t)n % ARRAY_LEN(lens)];
}

static uint8_t note_byte(int n, size_t at)
{
	return (uint8_t)((size_t)n * 31 + at * 7 + at / 251);
}

static void serve_note(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	assert_null(call);
	assert_int_equal(m->len, note_len(notes));
	for (size_t i = 0; i < m->len; i++)
		if (((const uint8_t *)m->body)[i] != note_byte(notes, i))
			fail_msg("byte %zu of note %d", i, notes);
	notes++;
}

static void on_done(void *arg, int err, const struct rpc_msg *m)
{
	done++;
	done_err = err;
}

static void reset(void)
{
	up_a = up_b = err_a = err_b = done = done_err = executed = 0;
	reason_a[0] = '\0';
	notes = 0;
	sunk = 0;
	sink_closed = 0;
}

static int setup(void **state)
{
	setenv("PANDO_LOG", "error", 1);
	reset();
	joins = token_uses = 0;
	assert_int_equal(loop_new(&l, LOOP_AUTO), 0);
	assert_int_equal(rpc_new(&ra, l, NULL), 0);
	assert_int_equal(rpc_new(&rb, l, NULL), 0);
	assert_int_equal(rpc_keys_new(&keys_a), 0);
	assert_int_equal(rpc_keys_new(&keys_b), 0);
	assert_int_equal(rpc_keys_new(&keys_x), 0);
	assert_int_equal(rpc_keys_new(&keys_k), 0);
	rpc_identity_node(&ida, 1, &keys_a);
	rpc_identity_node(&idb, 2, &keys_b);
	rpc_set_identity(ra, &ida, admit, NULL);
	rpc_set_identity(rb, &idb, admit, NULL);
	rpc_serve(rb, ECHO, serve_echo, NULL);
	rpc_serve(rb, JOIN, serve_join, NULL);
	rpc_allow(rb, JOIN, RPC_FROM(RPC_ROLE_JOINER));
	rpc_serve(rb, NOTE, serve_note, NULL);
	rpc_serve_stream(rb, SINK, serve_sink, NULL);
	ab = ba = (struct way){ -1, -1, 0, SIZE_MAX, SIZE_MAX };
	return 0;
}

static int teardown(void **state)
{
	rpc_free(ra);
	rpc_free(rb);
	loop_free(l);
	return 0;
}

/* Passes what there is; true if something passed. */
static bool carry(struct way *w)
{
	uint8_t buf[65536];
	ssize_t n;
	size_t pass;

	if (w->from < 0)
		return false;
	n = recv(w->from, buf, sizeof(buf), MSG_DONTWAIT);
	if (n <= 0)
		return false;
	if (w->flip_at >= w->passed && w->flip_at < w->passed + (size_t)n)
		buf[w->flip_at - w->passed] ^= 0x41;
	pass = MIN((size_t)n, w->cut_at - MIN(w->cut_at, w->passed));
	w->passed += (size_t)n;
	if (pass > 0)
		assert_int_equal(send(w->to, buf, pass, MSG_NOSIGNAL | MSG_DONTWAIT), pass);
	if (pass < (size_t)n)
		shutdown(w->to, SHUT_WR);
	return true;
}

static void turns(int n)
{
	for (int i = 0; i < n; i++) {
		bool moved = carry(&ab);

		moved = carry(&ba) || moved;
		assert_int_equal(loop_turn(l, moved || n == 1 ? 0 : NS_PER_MS / 4), 0);
	}
}

static void until(int *what, int value)
{
	uint64_t end = clock_mono_ns() + 10 * NS_PER_S;

	while (*what != value && clock_mono_ns() < end) {
		bool moved = carry(&ab);

		moved = carry(&ba) || moved;
		assert_int_equal(loop_turn(l, moved ? 0 : NS_PER_MS / 10), 0);
	}
	assert_int_equal(*what, value);
}

static void connect_both(const uint8_t *a_expects, const uint8_t *b_expects)
{
	int left[2], right[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, left), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, right), 0);
	assert_int_equal(rpc_conn_sealed(ra, left[0], true, a_expects, on_a, NULL, &ca), 0);
	assert_int_equal(rpc_conn_sealed(rb, right[0], false, b_expects, on_b, NULL, &cb), 0);
	wire_fds[0] = left[1];
	wire_fds[1] = right[1];
	ab = (struct way){ left[1], right[1], 0, SIZE_MAX, SIZE_MAX };
	ba = (struct way){ right[1], left[1], 0, SIZE_MAX, SIZE_MAX };
}

static void disconnect(void)
{
	close(wire_fds[0]);
	close(wire_fds[1]);
	ab.from = ba.from = -1;
	if (ca)
		rpc_conn_close(ca);
	if (cb)
		rpc_conn_close(cb);
	turns(2);
}

static void ask(const void *body, size_t len)
{
	struct rpc_msg m = { .method = ECHO, .body = body, .len = len };

	assert_int_equal(rpc_request(ca, &m, NULL, on_done, NULL, NULL), 0);
}

static void two_nodes_prove_their_keys_and_talk(void **state)
{
	struct rpc_stats st;

	connect_both(keys_b.public, keys_a.public);
	ask("before the handshake", 20); /* waits for it */
	until(&done, 1);
	assert_int_equal(done_err, 0);
	assert_int_equal(up_a, 1);
	assert_int_equal(up_b, 1);
	assert_int_equal(rpc_conn_peer(ca)->role, RPC_ROLE_NODE);
	assert_int_equal(rpc_conn_peer(ca)->node, 2);
	assert_memory_equal(rpc_conn_peer(cb)->key, keys_a.public, RPC_KEY_BYTES);
	rpc_get_stats(rb, &st);
	assert_int_equal(st.handshakes_ok, 1);
	disconnect();
}

static void serve_greeting(void *arg, struct rpc_conn *c, struct rpc_call *call,
			   const struct rpc_msg *m)
{
	up_when_greeted = up_a;
	assert_int_equal(rpc_reply(call, 0, NULL), 0);
}

/* What the listener says at once comes in one read with its last word of the handshake. */
static void nothing_is_heard_before_the_connection_is_told_to_be_up(void **state)
{
	rpc_serve(ra, ECHO, serve_greeting, NULL);
	b_greets = true;
	connect_both(keys_b.public, keys_a.public);
	until(&done, 1);
	b_greets = false;
	assert_int_equal(done_err, 0);
	assert_int_equal(up_when_greeted, 1);
	disconnect();
}

static void what_passes_the_wire_cannot_be_read(void **state)
{
	static const char secret[] = "a secret that nobody on the way may read";
	uint8_t seen[65536];
	ssize_t n;

	connect_both(NULL, NULL);
	ask("x", 1);
	until(&done, 1);
	ask(secret, sizeof(secret));
	assert_int_equal(loop_turn(l, 0), 0);
	n = recv(ab.from, seen, sizeof(seen), MSG_DONTWAIT | MSG_PEEK);
	assert_true(n > (ssize_t)sizeof(secret));
	assert_null(memmem(seen, (size_t)n, "secret", 6));
	until(&done, 2);
	disconnect();
}

static void refused(int want_a, const char *word)
{
	for (int i = 0; i < 2000 && (err_a == 0 || err_b == 0); i++) {
		turns(1);
		if (err_a != 0 && cb == NULL)
			break;
		if (err_a != 0 && ca == NULL) {
			shutdown(wire_fds[1], SHUT_RDWR);
			shutdown(wire_fds[0], SHUT_RDWR);
		}
	}
	assert_int_equal(err_a, want_a);
	assert_non_null(strstr(reason_a, word));
	assert_int_equal(up_a + up_b, 0);
	disconnect();
}

static void a_stranger_is_refused_and_told_why(void **state)
{
	struct rpc_identity stranger;
	struct rpc_stats st;

	rpc_identity_node(&stranger, 1, &keys_x);
	rpc_set_identity(ra, &stranger, admit, NULL);
	connect_both(keys_b.public, NULL);
	refused(-EACCES, "no member");
	rpc_get_stats(rb, &st);
	assert_int_equal(st.handshakes_refused, 1);
	rpc_set_identity(ra, &ida, admit, NULL);
}

static void a_listener_with_another_key_is_not_spoken_to(void **state)
{
	connect_both(keys_x.public, NULL);
	refused(-EACCES, "another key");
}

static void a_claimed_key_without_its_secret_is_refused(void **state)
{
	struct rpc_identity thief;

	rpc_identity_node(&thief, 1, &keys_a);
	memcpy(thief.keys.secret, keys_x.secret, sizeof(thief.keys.secret));
	rpc_set_identity(ra, &thief, admit, NULL);
	connect_both(NULL, NULL);
	refused(-EACCES, "does not have the key");
	rpc_set_identity(ra, &ida, admit, NULL);
}

static struct rpc_cert cert_of(uint64_t expires_s)
{
	struct rpc_cert c = { .tenant = 7, .node = 1, .expires_s = expires_s, .epoch = 3 };

	memcpy(c.key, keys_k.public, RPC_KEY_BYTES);
	rpc_cert_sign(&c, &keys_a);
	return c;
}

static uint64_t now_s(void)
{
	return clock_wall_ns() / NS_PER_S;
}

static void a_guest_kernel_speaks_by_its_certificate(void **state)
{
	struct rpc_cert c = cert_of(now_s() + 60);
	struct rpc_identity id;

	rpc_identity_kernel(&id, &c, &keys_k);
	rpc_set_identity(ra, &id, admit, NULL);
	connect_both(keys_b.public, keys_a.public);
	until(&up_b, 1);
	until(&up_a, 1);
	assert_int_equal(rpc_conn_peer(cb)->role, RPC_ROLE_KERNEL);
	assert_int_equal(rpc_conn_peer(cb)->tenant, 7);
	assert_int_equal(rpc_conn_peer(cb)->epoch, 3);
	assert_memory_equal(rpc_conn_peer(cb)->key, keys_a.public, RPC_KEY_BYTES);
	disconnect();
	rpc_set_identity(ra, &ida, admit, NULL);
}

static void an_expired_or_changed_certificate_is_refused(void **state)
{
	struct rpc_cert c = cert_of(now_s() - 1);
	struct rpc_identity id;

	rpc_identity_kernel(&id, &c, &keys_k);
	rpc_set_identity(ra, &id, admit, NULL);
	connect_both(NULL, NULL);
	refused(-EACCES, "expired");
	c = cert_of(now_s() + 60);
	c.tenant = 8; /* another tenant's */
	rpc_identity_kernel(&id, &c, &keys_k);
	reset();
	connect_both(NULL, NULL);
	refused(-EACCES, "not signed");
	rpc_set_identity(ra, &ida, admit, NULL);
}

/* One in 32 did, and `pando join ADDR -Q...` was "unknown option". */
static void no_token_looks_like_an_option(void **state)
{
	struct rpc_token t;
	char text[RPC_TOKEN_TEXT];

	for (int i = 0; i < 2000; i++) {
		assert_int_equal(rpc_token_new(&t, keys_b.public), 0);
		rpc_token_text(text, &t);
		assert_true(isalnum((unsigned char)text[0]));
	}
}

static void a_token_lets_in_once_and_opens_only_what_is_marked(void **state)
{
	struct rpc_msg m = { .method = JOIN };
	struct rpc_token t, back;
	struct rpc_identity id;
	char text[RPC_TOKEN_TEXT];

	assert_int_equal(rpc_token_new(&t, keys_b.public), 0);
	rpc_token_hash(token_hash, t.secret);
	rpc_token_text(text, &t);
	assert_int_equal(rpc_token_parse(&back, text), 0);
	assert_memory_equal(&back, &t, sizeof(t));
	rpc_identity_joiner(&id, &back, &keys_x);
	rpc_set_identity(ra, &id, NULL, NULL);
	connect_both(NULL, NULL);
	ask("x", 1);
	until(&done, 1);
	assert_int_equal(done_err, -EACCES);
	assert_int_equal(rpc_request(ca, &m, NULL, on_done, NULL, NULL), 0);
	until(&done, 2);
	assert_int_equal(done_err, 0);
	assert_int_equal(joins, 1);
	assert_memory_equal(rpc_conn_peer(cb)->key, keys_x.public, RPC_KEY_BYTES);
	disconnect();
	reset();
	connect_both(NULL, NULL); /* the same token again */
	refused(-EACCES, "no member");
	rpc_set_identity(ra, &ida, admit, NULL);
}

static void a_joiner_does_not_show_its_token_to_a_false_machine(void **state)
{
	struct rpc_identity id, liar;
	struct rpc_token t;

	assert_int_equal(rpc_token_new(&t, keys_b.public), 0);
	rpc_token_hash(token_hash, t.secret);
	rpc_identity_joiner(&id, &t, &keys_x);
	rpc_set_identity(ra, &id, NULL, NULL);
	rpc_identity_node(&liar, 2, &keys_a);
	rpc_set_identity(rb, &liar, admit, NULL);
	connect_both(NULL, NULL);
	refused(-EACCES, "another key");
	assert_int_equal(token_uses, 0);
	rpc_set_identity(ra, &ida, admit, NULL);
	rpc_set_identity(rb, &idb, admit, NULL);
}

static void a_mistyped_token_is_noticed_at_every_letter(void **state)
{
	struct rpc_token t, back;
	char text[RPC_TOKEN_TEXT];

	assert_int_equal(rpc_token_new(&t, keys_b.public), 0);
	rpc_token_text(text, &t);
	for (size_t i = 0; i < strlen(text); i++) {
		char was = text[i];

		text[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(rpc_token_parse(&back, text), -EINVAL);
		text[i] = was;
	}
	text[strlen(text) - 1] = '\0';
	assert_int_equal(rpc_token_parse(&back, text), -EINVAL);
	assert_int_equal(rpc_token_parse(&back, ""), -EINVAL);
}

/* How many bytes each side sends up to the first answer. */
static void measure(size_t *a_bytes, size_t *b_bytes)
{
	reset();
	connect_both(NULL, NULL);
	ask("hello", 5);
	until(&done, 1);
	*a_bytes = ab.passed;
	*b_bytes = ba.passed;
	disconnect();
}

/* With one byte changed the request is not answered, and nobody takes the change for a message. */
static void tamper(struct way *w, size_t at, bool cut)
{
	reset();
	connect_both(NULL, NULL);
	if (cut)
		w->cut_at = at;
	else
		w->flip_at = at;
	ask("hello", 5);
	for (int i = 0, quiet = 0; i < 200 && quiet < 6 && (ca || cb); i++) {
		bool moved = carry(&ab);

		moved = carry(&ba) || moved;
		quiet = moved ? 0 : quiet + 1;
		assert_int_equal(loop_turn(l, 0), 0);
	}
	assert_true(done == 0 || done_err != 0);
	disconnect();
}

static void a_changed_or_missing_byte_anywhere_ends_it(void **state)
{
	size_t a_bytes, b_bytes;

	measure(&a_bytes, &b_bytes);
	for (size_t i = 0; i < a_bytes; i++) {
		tamper(&ab, i, false);
		assert_int_equal(executed, 0);
	}
	for (size_t i = 0; i < b_bytes; i++)
		tamper(&ba, i, false);
	for (size_t i = 0; i < a_bytes; i++) {
		tamper(&ab, i, true);
		assert_int_equal(executed, 0);
	}
	for (size_t i = 0; i < b_bytes; i++)
		tamper(&ba, i, true);
	measure(&a_bytes, &b_bytes); /* and it still works */
}

static void a_repeated_record_is_refused(void **state)
{
	uint8_t record[4096];
	struct rpc_stats st;
	ssize_t n;

	connect_both(NULL, NULL);
	ask("x", 1);
	until(&done, 1);
	ask("pay once", 8);
	assert_int_equal(loop_turn(l, 0), 0);
	n = recv(ab.from, record, sizeof(record), MSG_DONTWAIT | MSG_PEEK);
	assert_true(n > 0);
	until(&done, 2);
	assert_int_equal(executed, 2);
	assert_int_equal(send(ab.to, record, (size_t)n, MSG_NOSIGNAL), n);
	until(&err_b, -EPROTO);
	assert_int_equal(executed, 2);
	rpc_get_stats(rb, &st);
	assert_int_equal(st.bad_bytes, 1);
	disconnect();
}

static void keys_are_replaced_under_way(void **state)
{
	ra->rekey_records = rb->rekey_records = 3;
	connect_both(NULL, NULL);
	for (int i = 1; i <= 50; i++) {
		ask(&i, sizeof(i));
		until(&done, i);
		assert_int_equal(done_err, 0);
	}
	disconnect();
}

static void bulk_done(void *arg, struct rpc_stream *s, int err)
{
	assert_int_equal(err, 0);
	rpc_stream_close(s, 0);
}

static void bulk_passes_sealed(void **state)
{
	size_t len = 5000000;
	uint8_t *mem = calloc(1, len);
	struct rpc_msg m = { .method = SINK };
	struct rpc_stream *s;

	connect_both(NULL, NULL);
	until(&up_a, 1);
	assert_int_equal(rpc_stream_open(ca, &m, NULL, NULL, &s), 0);
	assert_int_equal(rpc_bulk_send(s, mem, -1, 0, len, bulk_done, NULL), 0);
	until(&sink_closed, 1);
	assert_int_equal(sunk, len);
	disconnect();
	free(mem);
}

static void note_send(int n)
{
	static uint8_t bytes[200000];
	size_t len = note_len(n), body = len * (size_t)(n % 4) / 3; /* none, some, all of it */
	struct rpc_msg m = { .method = NOTE };

	for (size_t i = 0; i < len; i++)
		bytes[i] = note_byte(n, i);
	m.len = MIN(body, len);
	m.body = bytes;
	m.tail = bytes + m.len;
	m.tail_len = len - m.len;
	assert_int_equal(rpc_send(ca, &m), 0);
	memset(bytes, 0, len); /* they were borrowed, no longer */
}

static void long_messages_and_short_ones_keep_their_order(void **state)
{
	int sent = 0;

	connect_both(NULL, NULL);
	until(&up_a, 1);
	while (sent < 240) {
		for (int i = 0; i < 12; i++)
			note_send(sent++);
		until(&notes, sent);
	}
	ask("between them", 12);
	note_send(sent++);
	until(&notes, sent);
	until(&done, 1);
	disconnect();
}

static void only_what_is_said_one_way_has_a_tail(void **state)
{
	static uint8_t bytes[RPC_BODY_MAX];
	struct rpc_msg m = {
		.method = NOTE, .body = bytes, .len = 2, .tail = bytes, .tail_len = RPC_BODY_MAX - 1
	};

	connect_both(NULL, NULL);
	until(&up_a, 1);
	assert_int_equal(rpc_send(ca, &m), -EMSGSIZE);
	m.tail_len = 5;
	assert_int_equal(rpc_request(ca, &m, NULL, on_done, NULL, NULL), -EINVAL);
	disconnect();
}

static void descriptors_cannot_leave_the_machine(void **state)
{
	struct rpc_msg m = { .method = ECHO, .fd_count = 1 };

	connect_both(NULL, NULL);
	assert_int_equal(rpc_request(ca, &m, NULL, on_done, NULL, NULL), -EINVAL);
	disconnect();
}

static void without_an_identity_nothing_is_sealed(void **state)
{
	int sv[2];

	rpc_set_identity(ra, NULL, NULL, NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(rpc_conn_sealed(ra, sv[0], true, NULL, on_a, NULL, &ca), -ENOKEY);
	close(sv[0]);
	close(sv[1]);
}

static void emulated_latency_is_paid_each_way(void **state)
{
	uint64_t t0;

	rpc_set_delay(ra, 10 * NS_PER_MS);
	rpc_set_delay(rb, 10 * NS_PER_MS);
	connect_both(NULL, NULL);
	until(&up_a, 1);
	ask("x", 1);
	t0 = clock_mono_ns();
	until(&done, 1);
	assert_true(clock_mono_ns() - t0 >= 20 * NS_PER_MS);
	disconnect();
}

static void keys_are_kept_in_a_private_file(void **state)
{
	char dir[] = "/tmp/pando-keys-XXXXXX", path[64];
	struct rpc_keys a, b;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/key", dir);
	assert_int_equal(rpc_keys_load(&a, path), 0);
	assert_int_equal(rpc_keys_load(&b, path), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(rpc_keys_load(&b, path), -EPERM);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(truncate(path, 20), 0);
	assert_int_equal(rpc_keys_load(&b, path), -EINVAL);
	unlink(path);
	rmdir(dir);
}

static void strangers_who_only_wait_do_not_fill_the_table(void **state)
{
	struct rpc_conn *c;
	int sv[2], fds[64];

	for (int i = 0; i < 64; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
		assert_int_equal(rpc_conn_sealed(rb, sv[0], false, NULL, NULL, NULL, &c), 0);
		fds[i] = sv[1];
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(rpc_conn_sealed(rb, sv[0], false, NULL, NULL, NULL, &c), -EBUSY);
	close(fds[0]); /* one gives up: there is room for a member */
	turns(5);
	connect_both(NULL, NULL);
	until(&up_a, 1);
	disconnect();
	for (int i = 1; i < 64; i++)
		close(fds[i]);
	close(sv[0]);
	close(sv[1]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(two_nodes_prove_their_keys_and_talk),
		T(nothing_is_heard_before_the_connection_is_told_to_be_up),
		T(what_passes_the_wire_cannot_be_read),
		T(a_stranger_is_refused_and_told_why),
		T(a_listener_with_another_key_is_not_spoken_to),
		T(a_claimed_key_without_its_secret_is_refused),
		T(a_guest_kernel_speaks_by_its_certificate),
		T(an_expired_or_changed_certificate_is_refused),
		T(no_token_looks_like_an_option),
		T(a_token_lets_in_once_and_opens_only_what_is_marked),
		T(a_joiner_does_not_show_its_token_to_a_false_machine),
		T(a_mistyped_token_is_noticed_at_every_letter),
		T(a_changed_or_missing_byte_anywhere_ends_it),
		T(a_repeated_record_is_refused),
		T(keys_are_replaced_under_way),
		T(bulk_passes_sealed),
		T(long_messages_and_short_ones_keep_their_order),
		T(only_what_is_said_one_way_has_a_tail),
		T(descriptors_cannot_leave_the_machine),
		T(without_an_identity_nothing_is_sealed),
		T(emulated_latency_is_paid_each_way),
		T(keys_are_kept_in_a_private_file),
		T(strangers_who_only_wait_do_not_fill_the_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
