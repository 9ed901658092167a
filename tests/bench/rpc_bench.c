/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc_bench.c - sealed rpc against raw TCP on loopback, and against the AEAD itself.
 *
 * Two processes; for round trips both on one CPU, for bulk on two where there are two. Ours and the
 * reference take turns, and the median counts: the machine may be busy.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/check.h"
#include "base/clock.h"
#include "rpc/aead.h"
#include "rpc/auth.h"
#include "rpc/rpc.h"
#include "tests/bench/bench.h"

enum { ECHO = 1, SINK };

#define ROUNDS     7
#define TRIPS      4000
#define MSGS       40000
#define WINDOW     64
#define MSG_BYTES  64
#define BULK_BYTES ((size_t)128 << 20)

static struct rpc_keys keys[2];
static struct rpc_identity ids[2];

static void pin(int cpu)
{
	cpu_set_t set;
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	CPU_ZERO(&set);
	CPU_SET((size_t)(cpu % (int)n), &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

static void tcp_pair(int out[2])
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int one = 1, l = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(l >= 0 && bind(l, (struct sockaddr *)&sin, len) == 0 && listen(l, 1) == 0);
	CHECK(getsockname(l, (struct sockaddr *)&sin, &len) == 0);
	out[0] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(connect(out[0], (struct sockaddr *)&sin, len) == 0);
	out[1] = accept(l, NULL, NULL);
	close(l);
	for (int i = 0; i < 2; i++)
		(void)setsockopt(out[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* ---- raw TCP ---- */

static void read_all(int fd, uint8_t *buf, size_t n)
{
	while (n > 0) {
		ssize_t r = read(fd, buf, n);

		CHECK(r > 0);
		buf += r;
		n -= (size_t)r;
	}
}

/* Echoes, or only swallows, until the peer closes. */
static void raw_server(int fd, bool echo)
{
	static uint8_t buf[1 << 17];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		if (!echo)
			continue;
		/* What came together goes back together: the best that a simple server can do. */
		for (ssize_t at = 0; at < n;) {
			ssize_t w = write(fd, buf + at, (size_t)(n - at));

			CHECK(w > 0);
			at += w;
		}
	}
	_exit(0);
}

static double raw_trips(int fd)
{
	uint8_t m[MSG_BYTES] = { 0 };
	uint64_t t0 = clock_mono_ns();

	for (int i = 0; i < TRIPS; i++) {
		CHECK(write(fd, m, sizeof(m)) == sizeof(m));
		read_all(fd, m, sizeof(m));
	}
	return (double)(clock_mono_ns() - t0) / TRIPS / 1e3;
}

static double raw_window(int fd)
{
	uint8_t m[MSG_BYTES] = { 0 }, buf[WINDOW * MSG_BYTES];
	uint64_t t0 = clock_mono_ns();
	int sent = 0, back = 0;
	size_t part = 0;

	for (; sent < WINDOW; sent++)
		CHECK(write(fd, m, sizeof(m)) == sizeof(m));
	while (back < MSGS) {
		ssize_t n = read(fd, buf, sizeof(buf));

		CHECK(n > 0);
		part += (size_t)n;
		for (; part >= MSG_BYTES; part -= MSG_BYTES, back++) {
			if (sent < MSGS) {
				CHECK(write(fd, m, sizeof(m)) == sizeof(m));
				sent++;
			}
		}
	}
	return MSGS / ((double)(clock_mono_ns() - t0) / 1e9);
}

static double raw_bulk(int fd, const uint8_t *mem)
{
	uint64_t t0 = clock_mono_ns();

	for (size_t at = 0; at < BULK_BYTES;) {
		ssize_t n = write(fd, mem + at, MIN(BULK_BYTES - at, (size_t)1 << 18));

		CHECK(n > 0);
		at += (size_t)n;
	}
	return (double)BULK_BYTES / (double)(clock_mono_ns() - t0);
}

/* ---- ours ---- */

struct side {
	struct loop *l;
	struct rpc *r;
	struct rpc_conn *c;
	bool up;
	int back, sent, total;
};

static int admit_all(void *arg, const struct rpc_peer *p)
{
	return 0;
}

static void on_conn(void *arg, struct rpc_conn *c, int err)
{
	struct side *s = arg;

	s->up = err == 0;
	s->c = err == 0 ? c : NULL;
	if (err != 0 && err != -EAGAIN)
		loop_stop(s->l);
}

static void serve_echo(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct rpc_msg r = { .body = m->body, .len = m->len };

	CHECK(rpc_reply(call, 0, &r) == 0);
}

static void sink_data(void *arg, struct rpc_stream *s, const void *bytes, size_t len)
{
	rpc_stream_consumed(s, len);
}

static void serve_sink(void *arg, struct rpc_conn *c, struct rpc_stream *s,
		       const struct rpc_msg *open)
{
	static const struct rpc_stream_ops ops = { .data = sink_data };

	rpc_stream_set_ops(s, &ops, NULL);
}

static void side_init(struct side *s, int who)
{
	*s = (struct side){ 0 };
	CHECK(loop_new(&s->l, LOOP_AUTO) == 0);
	CHECK(rpc_new(&s->r, s->l, NULL) == 0);
	rpc_set_identity(s->r, &ids[who], admit_all, NULL);
	rpc_serve(s->r, ECHO, serve_echo, NULL);
	rpc_serve_stream(s->r, SINK, serve_sink, NULL);
}

static void rpc_server(int fd)
{
	struct side s;

	side_init(&s, 1);
	CHECK(rpc_conn_sealed(s.r, fd, false, keys[0].public, on_conn, &s, &s.c) == 0);
	CHECK(loop_run(s.l) == 0);
	_exit(0);
}

static void fabric_server(const char *addr, int ready)
{
	struct side s;

	side_init(&s, 1);
	CHECK(rpc_listen(s.r, "tcp", addr, on_conn, &s) == 0);
	CHECK(write(ready, "x", 1) == 1);
	CHECK(loop_run(s.l) == 0);
	_exit(0);
}

static void wait_up(struct side *s)
{
	while (!s->up)
		CHECK(loop_turn(s->l, UINT64_MAX) == 0);
}

static void send_one(struct side *s);

static void on_back(void *arg, int err, const struct rpc_msg *m)
{
	struct side *s = arg;

	CHECK(err == 0);
	s->back++;
	if (s->sent < s->total)
		send_one(s);
}

static void send_one(struct side *s)
{
	uint8_t body[MSG_BYTES] = { 0 };
	struct rpc_msg m = { .method = ECHO, .body = body, .len = sizeof(body) };

	CHECK(rpc_request(s->c, &m, NULL, on_back, s, NULL) == 0);
	s->sent++;
}

/* Seconds for @total requests, @window of them in flight. */
static double ours_run(struct side *s, int total, int window)
{
	uint64_t t0 = clock_mono_ns();

	s->back = s->sent = 0;
	s->total = total;
	while (s->sent < window)
		send_one(s);
	while (s->back < total)
		CHECK(loop_turn(s->l, UINT64_MAX) == 0);
	return (double)(clock_mono_ns() - t0) / 1e9;
}

static void bulk_done(void *arg, struct rpc_stream *s, int err)
{
	CHECK(err == 0);
	*(bool *)arg = true;
	rpc_stream_close(s, 0);
}

static double ours_bulk(struct side *s, const uint8_t *mem)
{
	struct rpc_msg m = { .method = SINK };
	struct rpc_stream *str;
	bool done = false;
	uint64_t t0 = clock_mono_ns();

	CHECK(rpc_stream_open(s->c, &m, NULL, NULL, &str) == 0);
	CHECK(rpc_bulk_send(str, mem, -1, 0, BULK_BYTES, bulk_done, &done) == 0);
	while (!done)
		CHECK(loop_turn(s->l, UINT64_MAX) == 0);
	return (double)BULK_BYTES / (double)(clock_mono_ns() - t0);
}

/* ---- the AEAD alone, one core, sealing records of 16 KiB; GB/s ---- */
static double aead_speed(const uint8_t *mem)
{
	uint8_t secret[AEAD_SECRET_BYTES] = { 1 }, *out = malloc(16384 + AEAD_TAG_BYTES);
	struct aead a;
	uint64_t t0;

	CHECK(out && aead_init(&a, aead_choose(aead_suites()), true, secret, UINT64_MAX) == 0);
	t0 = clock_mono_ns();
	for (size_t at = 0; at < BULK_BYTES; at += 16384)
		aead_seal(&a, out, mem + at, 16384, "adad", 4);
	t0 = clock_mono_ns() - t0;
	aead_fini(&a);
	free(out);
	return (double)BULK_BYTES / (double)t0;
}

static pid_t child(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0)
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static pid_t raw_start(int *fd, bool echo, int cpu)
{
	int sv[2];
	pid_t pid;

	tcp_pair(sv);
	pid = child();
	if (pid == 0) {
		close(sv[0]);
		pin(cpu);
		raw_server(sv[1], echo);
	}
	close(sv[1]);
	*fd = sv[0];
	return pid;
}

static pid_t ours_start(struct side *s, int cpu)
{
	int sv[2];
	pid_t pid;

	tcp_pair(sv);
	pid = child();
	if (pid == 0) {
		close(sv[0]);
		pin(cpu);
		rpc_server(sv[1]);
	}
	close(sv[1]);
	side_init(s, 0);
	CHECK(rpc_conn_sealed(s->r, sv[0], true, keys[1].public, on_conn, s, &s->c) == 0);
	wait_up(s);
	return pid;
}

static pid_t fabric_start(struct side *s, int cpu)
{
	char addr[64], x;
	int p[2], sv[2];
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	pid_t pid;

	tcp_pair(sv); /* its ephemeral port is free for listening once it is closed */
	CHECK(getsockname(sv[0], (struct sockaddr *)&sin, &len) == 0);
	snprintf(addr, sizeof(addr), "127.0.0.1:%d", ntohs(sin.sin_port) - 1);
	close(sv[0]);
	close(sv[1]);
	CHECK(pipe(p) == 0);
	pid = child();
	if (pid == 0) {
		pin(cpu);
		fabric_server(addr, p[1]);
	}
	close(p[1]);
	CHECK(read(p[0], &x, 1) == 1);
	close(p[0]);
	side_init(s, 0);
	CHECK(rpc_dial(s->r, "tcp", addr, keys[1].public, on_conn, s, &s->c) == 0);
	wait_up(s);
	return pid;
}

static void end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

static void side_fini(struct side *s)
{
	rpc_free(s->r);
	loop_free(s->l);
}

static void one_cpu(void)
{
	double raw[ROUNDS], ours[ROUNDS], fab[ROUNDS], raw_w[ROUNDS], ours_w[ROUNDS], fab_w[ROUNDS];
	struct side s, f;
	int fd;
	pid_t a, b, c;

	pin(0);
	a = raw_start(&fd, true, 0);
	b = ours_start(&s, 0);
	c = fabric_start(&f, 0);
	for (int i = 0; i < ROUNDS; i++) {
		raw[i] = raw_trips(fd);
		ours[i] = ours_run(&s, TRIPS, 1) / TRIPS * 1e6;
		fab[i] = ours_run(&f, TRIPS, 1) / TRIPS * 1e6;
		raw_w[i] = raw_window(fd) / 1e3;
		ours_w[i] = MSGS / ours_run(&s, MSGS, WINDOW) / 1e3;
		fab_w[i] = MSGS / ours_run(&f, MSGS, WINDOW) / 1e3;
	}
	bench_median(raw, ROUNDS);
	bench_median(raw_w, ROUNDS);
	bench_row_max("rpc_null_sealed_one_cpu", "us", bench_median(ours, ROUNDS), raw[ROUNDS / 2],
		      1.3);
	bench_row_max("rpc_null_sealed_one_cpu_fabric_tcp", "us", bench_median(fab, ROUNDS),
		      raw[ROUNDS / 2], 1.3);
	bench_row_min("rpc_64_in_flight", "k/s", bench_median(ours_w, ROUNDS), raw_w[ROUNDS / 2],
		      1.0);
	bench_row_min("rpc_64_in_flight_fabric_tcp", "k/s", bench_median(fab_w, ROUNDS),
		      raw_w[ROUNDS / 2], 1.0);
	close(fd);
	side_fini(&s);
	side_fini(&f);
	end(a);
	end(b);
	end(c);
}

static void two_cpus(void)
{
	double raw[ROUNDS], ours[ROUNDS], fab[ROUNDS], seal[ROUNDS];
	uint8_t *mem = malloc(BULK_BYTES);
	struct side s, f;
	int fd;
	pid_t a, b, c;

	CHECK(mem != NULL);
	memset(mem, 7, BULK_BYTES);
	pin(0);
	a = raw_start(&fd, false, 1);
	b = ours_start(&s, 1);
	c = fabric_start(&f, 1);
	for (int i = 0; i < ROUNDS; i++) {
		raw[i] = raw_bulk(fd, mem);
		ours[i] = ours_bulk(&s, mem);
		fab[i] = ours_bulk(&f, mem);
		seal[i] = aead_speed(mem);
	}
	bench_median(raw, ROUNDS);
	bench_median(seal, ROUNDS);
	bench_median(ours, ROUNDS);
	bench_row_min("rpc_bulk_sealed", "GB/s", ours[ROUNDS / 2], seal[ROUNDS / 2], 0.8);
	bench_row_min("rpc_bulk_sealed_fabric_tcp", "GB/s", bench_median(fab, ROUNDS),
		      seal[ROUNDS / 2], 0.8);
	printf("rpc_bulk_sealed is %.2f of raw TCP's %.2f GB/s\n",
	       ours[ROUNDS / 2] / raw[ROUNDS / 2], raw[ROUNDS / 2]);
	close(fd);
	side_fini(&s);
	side_fini(&f);
	end(a);
	end(b);
	end(c);
	free(mem);
}

int main(void)
{
	for (int i = 0; i < 2; i++) {
		CHECK(rpc_keys_new(&keys[i]) == 0);
		rpc_identity_node(&ids[i], (node_id)(i + 1), &keys[i]);
	}
	one_cpu();
	two_cpus();
	return 0;
}
