/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay_test.c - a pipe over two relays: order, capacity, ends, and the death of
 * the daemon between any two of its steps.
 *
 * Both ends run in one process and talk through a queue; "the daemon" is a forked
 * child that is killed at a fault point and started again on the same pipes and
 * records, as a successor finds them in the store.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/loop.h"
#include "base/rand.h"
#include "base/types.h"
#include "kernel/ipc/relay.h"

static int p[2], q[2], tomb[2], stage[2];
static struct relay_record *rec; /* [0] out, [1] in: shared with every successor */

/* ---- one life of the daemon ---- */
struct letter {
	struct list link;
	bool to_reader;
	enum relay_kind kind;
	uint64_t offset;
	size_t len;
	uint8_t bytes[];
};

static struct loop *l;
static struct relays *rs;
static struct relay_out out;
static struct relay_in in;
static struct list mail;
static bool out_done, in_done;
static bool copies; /* there is no /dev/null */
static bool units;  /* others write into the reader's pipe too */

static int post(bool to_reader, enum relay_kind kind, uint64_t offset, const void *bytes,
		size_t len)
{
	struct letter *m = malloc(sizeof(*m) + len);

	assert_non_null(m);
	m->to_reader = to_reader;
	m->kind = kind;
	m->offset = offset;
	m->len = len;
	if (len > 0)
		memcpy(m->bytes, bytes, len);
	list_add_tail(&mail, &m->link);
	return 0;
}

static int send_to_reader(void *arg, enum relay_kind kind, uint64_t offset, const void *bytes,
			  size_t len)
{
	return post(true, kind, offset, bytes, len);
}

static int send_to_writers(void *arg, enum relay_kind kind, uint64_t offset, const void *bytes,
			   size_t len)
{
	return post(false, kind, offset, bytes, len);
}

static void on_out_done(void *arg)
{
	out_done = true;
}

static void on_in_done(void *arg)
{
	in_done = true;
}

static const struct relay_ops out_ops = { send_to_reader, on_out_done };
static const struct relay_ops in_ops = { send_to_writers, on_in_done };

static void start(void)
{
	int null = copies ? -1 : open("/dev/null", O_WRONLY | O_CLOEXEC);

	list_init(&mail);
	out_done = in_done = false;
	assert_int_equal(loop_new(&l, LOOP_EPOLL), 0);
	assert_int_equal(relays_new(&rs, l, null), 0);
	assert_int_equal(relay_out_init(&out, rs, &rec[0], p[0], tomb, units, &out_ops, NULL), 0);
	assert_int_equal(relay_in_init(&in, rs, &rec[1], q[1], stage, units, &in_ops, NULL), 0);
	relay_in_resume(&in);
}

static void stop(void)
{
	relay_out_fini(&out);
	relay_in_fini(&in);
	while (!list_empty(&mail)) {
		struct letter *m = list_front(&mail, struct letter, link);

		list_del(&m->link);
		free(m);
	}
	relays_free(rs);
	loop_free(l);
}

static void turn(uint64_t wait_ns)
{
	while (!list_empty(&mail)) {
		struct letter *m = list_front(&mail, struct letter, link);
		int r;

		list_del(&m->link);
		r = m->to_reader ? relay_in_msg(&in, m->kind, m->offset, m->bytes, m->len)
				 : relay_out_msg(&out, m->kind, m->offset);
		assert_true(r == 0 || r == -EPIPE);
		free(m);
	}
	assert_int_equal(loop_turn(l, wait_ns), 0);
}

static int pipes(void **state)
{
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(pipe2(q, O_CLOEXEC), 0);
	assert_int_equal(pipe2(tomb, O_CLOEXEC), 0);
	assert_int_equal(pipe2(stage, O_CLOEXEC), 0);
	assert_int_equal(fcntl(q[1], F_SETFL, O_NONBLOCK), 0);
	copies = units = false;
	rec = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(rec, MAP_FAILED);
	return 0;
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int unpipe(void **state)
{
	int *all[] = { p, q, tomb, stage };

	for (int i = 0; i < 4; i++) {
		shut(&all[i][0]);
		shut(&all[i][1]);
	}
	munmap(rec, 4096);
	return 0;
}

static void bytes_and_the_end_arrive(void **state)
{
	char back[32] = "";

	start();
	assert_int_equal(write(p[1], "hello ", 6), 6);
	turn(NS_PER_MS);
	assert_int_equal(write(p[1], "world", 5), 5);
	shut(&p[1]);
	for (int i = 0; i < 50 && in.rec->offset < 11; i++)
		turn(NS_PER_MS);
	assert_int_equal(read(q[0], back, sizeof(back)), 11);
	assert_string_equal(back, "hello world");
	for (int i = 0; i < 500 && !(in_done && out_done); i++)
		turn(NS_PER_MS);
	assert_true(in_done && out_done);
	stop();
	shut(&q[1]);
	assert_int_equal(read(q[0], back, sizeof(back)), 0);
}

static void a_pipe_over_nodes_holds_what_one_pipe_holds(void **state)
{
	char kib[1024] = "", all[65536];
	int n = 0;

	start();
	assert_int_equal(fcntl(p[1], F_SETFL, O_NONBLOCK), 0);
	for (int i = 0; i < 1000; i++) {
		n += write(p[1], kib, sizeof(kib)) == (ssize_t)sizeof(kib);
		turn(0);
	}
	assert_int_equal(n, 64);
	assert_int_equal(write(p[1], "x", 1), -1);
	assert_int_equal(errno, EAGAIN);
	n = 0;
	for (int i = 0; i < 100 && n < 65536; i++) {
		ssize_t k = read(q[0], all, sizeof(all));

		assert_true(k > 0);
		n += (int)k;
		for (int t = 0; t < 20; t++)
			turn(NS_PER_MS);
	}
	assert_int_equal(n, 65536);
	assert_int_equal(write(p[1], "x", 1), 1);
	stop();
}

static void writers_learn_that_the_reader_is_gone(void **state)
{
	start();
	assert_int_equal(write(p[1], "x", 1), 1);
	shut(&q[0]);
	for (int i = 0; i < 100 && !out_done; i++)
		turn(NS_PER_MS);
	assert_true(in_done && out_done);
	stop();
	shut(&p[0]);
	assert_int_equal(write(p[1], "x", 1), -1);
	assert_int_equal(errno, EPIPE);
}

static void impossible_offsets_are_refused(void **state)
{
	static char big[RELAY_CHUNK_MAX + 1];

	start();
	turn(0);
	assert_int_equal(relay_in_msg(&in, RELAY_DATA, 0, big, sizeof(big)), -EPROTO);
	assert_int_equal(relay_in_msg(&in, RELAY_DATA, 0, "x", 1), 0);
	assert_int_equal(relay_in_msg(&in, RELAY_EOF, 0, NULL, 0), -EPROTO);
	assert_int_equal(relay_in_msg(&in, RELAY_TAKEN, 0, NULL, 0), -EPROTO);
	assert_int_equal(relay_out_msg(&out, RELAY_TAKEN, RELAY_WINDOW_MAX + 1), -EPROTO);
	assert_int_equal(relay_out_msg(&out, RELAY_HAVE, RELAY_WINDOW_MAX + 1), -EPROTO);
	assert_int_equal(relay_out_msg(&out, RELAY_DATA, 0), -EPROTO);
	stop();
}

/* Two connections: what was said over the older one may come last. */
static void words_that_were_overtaken_are_ignored(void **state)
{
	char got[8] = "";

	start();
	assert_int_equal(write(p[1], "ab", 2), 2);
	for (int i = 0; i < 100 && in.rec->offset < 2; i++)
		turn(NS_PER_MS);
	assert_int_equal(read(q[0], got, 2), 2);
	for (int i = 0; i < 1000 && rec[0].offset < 2; i++)
		turn(NS_PER_MS);
	assert_int_equal(rec[0].offset, 2);
	assert_int_equal(relay_out_msg(&out, RELAY_HAVE, 0), 0);
	assert_int_equal(write(p[1], "cd", 2), 2);
	for (int i = 0; i < 100 && in.rec->offset < 4; i++)
		turn(NS_PER_MS);
	assert_int_equal(in.rec->offset, 4);
	/* Not taken yet: it must not make us wait for an answer that has come. */
	assert_int_equal(relay_out_msg(&out, RELAY_HAVE, 2), 0);
	assert_int_equal(write(p[1], "ef", 2), 2);
	for (int i = 0; i < 100 && in.rec->offset < 6; i++)
		turn(NS_PER_MS);
	assert_int_equal(read(q[0], got, sizeof(got)), 4);
	assert_memory_equal(got, "cdef", 4);
	stop();
}

static void what_the_last_reader_left_stays_with_the_writers(void **state)
{
	char back[16] = "";

	start();
	assert_int_equal(write(p[1], "0123456789", 10), 10);
	for (int i = 0; i < 50 && in.rec->offset < 10; i++)
		turn(NS_PER_MS);
	assert_int_equal(read(q[0], back, 4), 4);
	shut(&q[0]);
	for (int i = 0; i < 200 && !out_done; i++)
		turn(NS_PER_MS);
	assert_true(in_done && out_done);
	stop();
	assert_int_equal(read(p[0], back, sizeof(back)), 6);
	assert_memory_equal(back, "456789", 6);
}

/* Two connections, or one that was lost on one side only: what was sent over both comes twice. */
static void a_piece_that_comes_twice_is_taken_once(void **state)
{
	static char big[65536];
	char back[4];

	start();
	turn(0);
	assert_int_equal(relay_in_msg(&in, RELAY_DATA, 0, big, sizeof(big)), 0);
	assert_int_equal(relay_in_msg(&in, RELAY_DATA, 65536, "abcd", 4), 0); /* is staged */
	assert_int_equal(relay_in_msg(&in, RELAY_DATA, 65536, "abcdef", 6), 0);
	assert_int_equal(read(q[0], big, sizeof(big)), sizeof(big));
	relay_in_look(&in);
	assert_int_equal(read(q[0], back, sizeof(back)), 4);
	assert_memory_equal(back, "abcd", 4);
	assert_int_equal(read(q[0], back, sizeof(back)), 2);
	assert_memory_equal(back, "ef", 2);
	assert_int_equal(in.rec->offset, 65542);
	stop();
}

static struct letter *next_letter(void)
{
	struct letter *m = list_front(&mail, struct letter, link);

	list_del(&m->link);
	return m;
}

/* What is written while an answer is on its way goes after it at once. */
static void bytes_do_not_wait_for_an_answer_to_those_before(void **state)
{
	static char big[40000];
	uint64_t at = 0;

	start();
	turn(0);
	turn(0);
	assert_true(list_empty(&mail));
	assert_int_equal(write(p[1], big, sizeof(big)), sizeof(big));
	assert_int_equal(loop_turn(l, 0), 0);
	assert_int_equal(write(p[1], "more", 4), 4);
	assert_int_equal(loop_turn(l, 0), 0);
	while (at < sizeof(big) + 4) {
		struct letter *m = next_letter();

		assert_true(m->to_reader);
		assert_int_equal(m->kind, RELAY_DATA);
		assert_int_equal(m->offset, at);
		at += m->len;
		assert_int_equal(relay_in_msg(&in, RELAY_DATA, m->offset, m->bytes, m->len), 0);
		free(m);
	}
	assert_int_equal(in.rec->offset, sizeof(big) + 4);
	stop();
}

/* Two connections: the later piece comes first. It is not taken, and told so once. */
static void behind_a_gap_everything_comes_again(void **state)
{
	char got[8] = "";
	struct letter *first, *m;

	start();
	turn(0);
	turn(0);
	assert_int_equal(write(p[1], "ab", 2), 2);
	assert_int_equal(loop_turn(l, 0), 0);
	first = next_letter();
	assert_int_equal(write(p[1], "cd", 2), 2);
	assert_int_equal(loop_turn(l, 0), 0);
	m = next_letter();
	assert_int_equal(m->offset, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(relay_in_msg(&in, RELAY_DATA, m->offset, m->bytes, m->len), 0);
	free(m);
	m = next_letter();
	assert_int_equal(m->kind, RELAY_HAVE);
	assert_int_equal(m->offset, 0);
	assert_true(list_empty(&mail));
	/* The one that was late comes, and all of it again: each byte is taken once. */
	assert_int_equal(relay_in_msg(&in, RELAY_DATA, first->offset, first->bytes, first->len), 0);
	assert_int_equal(relay_out_msg(&out, m->kind, m->offset), 0);
	free(first);
	free(m);
	turn(0);
	turn(0);
	assert_int_equal(in.rec->offset, 4);
	assert_int_equal(read(q[0], got, sizeof(got)), 4);
	assert_memory_equal(got, "abcd", 4);
	stop();
}

/* What waited in memory for a full pipe is lost with the connection, and comes again. */
static void what_waits_behind_a_full_pipe_is_sent_again_over_the_next_connection(void **state)
{
	static char big[65536];
	char got[8] = "";

	start();
	turn(0);
	turn(0);
	assert_int_equal(fcntl(q[1], F_SETPIPE_SZ, 4096), 4096);
	assert_int_equal(write(p[1], big, 8192), 8192);
	turn(0);
	turn(0);
	assert_int_equal(write(p[1], "end", 3), 3);
	turn(0);
	turn(0);
	assert_int_equal(in.queued, 3);
	relay_in_pause(&in);
	relay_out_pause(&out);
	relay_in_resume(&in);
	relay_out_resume(&out);
	for (int left = 8192; left > 0; left -= 4096) {
		assert_int_equal(read(q[0], big, sizeof(big)), 4096);
		for (int i = 0; i < 20; i++)
			turn(NS_PER_MS);
	}
	assert_int_equal(read(q[0], got, sizeof(got)), 3);
	assert_memory_equal(got, "end", 3);
	stop();
}

/* ---- several writers, much on its way ---- */
#define RECORD 3000

/* Records of @who into a pipe until it is full; returns how many. */
static unsigned records_write(int fd, char who, unsigned most)
{
	char record[RECORD];
	unsigned n = 0;

	memset(record, who, sizeof(record));
	while (n < most && write(fd, record, sizeof(record)) == RECORD)
		n++;
	return n;
}

/* A writer of the reader's node gets in between wherever he can. */
static void records_of_several_writers_do_not_tear(void **state)
{
	static char got[200 * RECORD];
	size_t len = 0, ends;

	units = true;
	start();
	assert_int_equal(fcntl(p[1], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(fcntl(q[0], F_SETFL, O_NONBLOCK), 0);
	for (int i = 0; i < 2000 && len < 150 * RECORD; i++) {
		ssize_t n = read(q[0], got + len, 1 + (size_t)i * 701 % 9000);

		len += n > 0 ? (size_t)n : 0;
		(void)records_write(p[1], 'a', 1 + (unsigned)i % 20);
		(void)records_write(q[1], 'b', 1);
		turn(i % 3 ? 0 : NS_PER_MS);
	}
	assert_true(len >= 150 * RECORD);
	ends = len / RECORD * RECORD;
	for (size_t at = 0; at < ends; at += RECORD)
		for (size_t k = 1; k < RECORD; k++)
			assert_int_equal(got[at + k], got[at]);
	assert_non_null(memchr(got, 'a', ends));
	assert_non_null(memchr(got, 'b', ends));
	stop();
}

static void units_that_lie_are_refused(void **state)
{
	static uint8_t bytes[17 * 3 + 1];

	start();
	assert_int_equal(relay_in_msg(&in, RELAY_UNITS, 0, "\1\0a", 3),
			 -EPROTO); /* nobody else writes */
	stop();
	units = true;
	start();
	assert_int_equal(relay_in_msg(&in, RELAY_UNITS, 0, "\1", 1), -EPROTO);
	assert_int_equal(relay_in_msg(&in, RELAY_UNITS, 0, "\0\0", 2), -EPROTO);
	assert_int_equal(relay_in_msg(&in, RELAY_UNITS, 0, "\2\0a", 3), -EPROTO);
	assert_int_equal(relay_in_msg(&in, RELAY_UNITS, 0, "\1\20a", 3), -EPROTO);
	for (size_t i = 0; i < 17; i++)
		bytes[3 * i] = 1;
	assert_int_equal(relay_in_msg(&in, RELAY_UNITS, 0, bytes, sizeof(bytes) - 1), -EPROTO);
	assert_int_equal(in.rec->offset, 0);
	/* The first is known, and half of the second. */
	assert_int_equal(relay_in_msg(&in, RELAY_DATA, 0, "abc", 3), 0);
	assert_int_equal(relay_in_msg(&in, RELAY_UNITS, 0, "\2\0ab\2\0cd\1\0e", 11), 0);
	assert_int_equal(in.rec->offset, 5);
	assert_int_equal(read(q[0], bytes, sizeof(bytes)), 5);
	assert_memory_equal(bytes, "abcde", 5);
	stop();
}

static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)(at * 7 + at / 253);
}

/* Writes what the pipe takes, from @at of the stream on. */
static uint64_t pour(uint64_t at)
{
	static uint8_t bytes[65536];
	ssize_t n = 1;

	while (n > 0) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = byte_at(at + i);
		n = write(p[1], bytes, sizeof(bytes));
		at += n > 0 ? (uint64_t)n : 0;
	}
	return at;
}

/* Reads at most @most bytes, which must be those from @at of the stream on. */
static uint64_t drain(uint64_t at, size_t most)
{
	static uint8_t bytes[65536];
	ssize_t n = read(q[0], bytes, MIN(most, sizeof(bytes)));

	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(bytes[i], byte_at(at + (uint64_t)i));
	return at + (n > 0 ? (uint64_t)n : 0);
}

/* More is on its way then, and all of it stays the writers' until it is taken. */
static void a_reader_at_full_speed_is_not_waited_for(void **state)
{
	uint64_t in_at = 0, out_at = 0;

	start();
	assert_int_equal(fcntl(p[1], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(fcntl(q[0], F_SETFL, O_NONBLOCK), 0);
	for (int i = 0; i < 1000 && fcntl(p[0], F_GETPIPE_SZ) == RELAY_CHUNK_MAX; i++) {
		in_at = pour(in_at);
		turn(0);
		out_at = drain(out_at, 65536);
	}
	assert_int_equal(fcntl(p[0], F_GETPIPE_SZ), RELAY_WINDOW_MAX);
	assert_true(in_at > RELAY_WINDOW_MAX);
	for (int i = 0; i < 20; i++) {
		in_at = pour(in_at);
		turn(NS_PER_MS);
	}
	assert_in_range(in_at - out_at, RELAY_WINDOW_MAX - 65536, RELAY_WINDOW_MAX);
	assert_true(in.queued > 0); /* sent, and waits behind the reader's pipe */
	/* The connection is lost; what comes again comes once. */
	relay_in_pause(&in);
	relay_out_pause(&out);
	relay_in_resume(&in);
	relay_out_resume(&out);
	for (int i = 0; i < 5000 && out_at < in_at; i++) {
		turn(i % 4 ? 0 : NS_PER_MS / 4);
		out_at = drain(out_at, 1 + (size_t)i * 997 % 40000);
	}
	assert_int_equal(out_at, in_at);
	for (int i = 0; i < 1000 && rec[0].offset < in_at; i++)
		turn(NS_PER_MS);
	stop();
	assert_int_equal(fcntl(p[0], F_GETPIPE_SZ), RELAY_CHUNK_MAX); /* as it was */
}

/* The guests may make their pipe larger than all that may be on its way. */
static void the_end_comes_behind_the_last_byte_of_a_large_pipe(void **state)
{
	uint64_t in_at, out_at = 0;

	copies = true;
	assert_true(fcntl(p[1], F_SETPIPE_SZ, 1 << 20) >= 1 << 20);
	assert_int_equal(fcntl(p[1], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(fcntl(q[0], F_SETFL, O_NONBLOCK), 0);
	in_at = pour(0);
	assert_true(in_at >= 1 << 20);
	shut(&p[1]);
	start();
	for (int i = 0; i < 5000 && !(in_done && out_done); i++) {
		turn(NS_PER_MS / 4);
		out_at = drain(out_at, 65536);
	}
	assert_true(in_done && out_done);
	stop();
	assert_int_equal(drain(out_at, 65536), in_at);
}

static void who_asks_is_told_again_how_far_the_reader_is(void **state)
{
	start();
	turn(0);
	relay_out_resume(&out);
	turn(0);
	assert_int_equal(relay_in_msg(&in, RELAY_ASK, 0, NULL, 0), 0);
	assert_false(list_empty(&mail));
	assert_int_equal(list_front(&mail, struct letter, link)->kind, RELAY_HAVE);
	stop();
}

/* ---- the daemon dies ---- */
#define TOTAL (16u << 20)

static void stream_at(struct rand *r, uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)rand_next(r);
}

static pid_t start_writer(uint64_t seed)
{
	pid_t pid = fork();
	struct rand content, size;
	static uint8_t bytes[40000];
	size_t left = TOTAL;

	if (pid != 0)
		return pid;
	close(q[0]);
	close(q[1]);
	rand_seed(&content, seed);
	rand_seed(&size, seed + 1);
	while (left > 0) {
		size_t n = rand_chance(&size, 1, 2) ? 1 + rand_below(&size, 300)
						    : 1 + rand_below(&size, sizeof(bytes));
		n = MIN(n, left);
		stream_at(&content, bytes, n);
		for (size_t done = 0; done < n;) {
			ssize_t k = write(p[1], bytes + done, n - done);

			if (k <= 0)
				_exit(1);
			done += (size_t)k;
		}
		left -= n;
	}
	_exit(0);
}

static pid_t start_reader(uint64_t seed)
{
	pid_t pid = fork();
	struct rand content, size;
	static uint8_t bytes[70000], want[70000];
	size_t got = 0;

	if (pid != 0)
		return pid;
	close(p[0]);
	close(p[1]);
	close(q[1]);
	rand_seed(&content, seed);
	rand_seed(&size, seed + 2);
	for (;;) {
		ssize_t n = read(q[0], bytes, 1 + rand_below(&size, sizeof(bytes)));

		if (n < 0)
			_exit(2);
		if (n == 0)
			_exit(got == TOTAL ? 0 : 3);
		stream_at(&content, want, (size_t)n);
		if (memcmp(bytes, want, (size_t)n) != 0)
			_exit(4);
		got += (size_t)n;
	}
}

static pid_t start_daemon(const char *point, unsigned nth)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(p[1]);
	close(q[0]);
	(void)signal(SIGPIPE, SIG_IGN);
	start();
	if (point)
		assert_int_equal(fault_arm(point, nth, FAULT_KILL), 0);
	while (!in_done || !out_done)
		turn(100 * NS_PER_MS);
	_exit(0);
}

static void die_anywhere(void)
{
	struct rand r;
	size_t n, kills = 0;
	struct fault_point *points = fault_points(&n);
	pid_t writer, reader, daemon;
	int status, k = 0;

	assert_true(n >= 8);
	rand_seed(&r, 42);
	writer = start_writer(7);
	reader = start_reader(7);
	shut(&p[1]);
	shut(&q[0]);
	for (;; k++) {
		/* All points in turn, a few passages on; in the end it may finish. */
		bool kill = kills < 200;

		daemon = start_daemon(kill ? points[(size_t)k % n].name : NULL,
				      1 + (unsigned)rand_below(&r, 6));
		assert_int_equal(waitpid(daemon, &status, 0), daemon);
		if (WIFEXITED(status))
			break;
		assert_int_equal(WTERMSIG(status), SIGKILL);
		kills++;
	}
	assert_int_equal(WEXITSTATUS(status), 0);
	shut(&q[1]); /* the daemon closes it when it is done */
	assert_int_equal(waitpid(writer, &status, 0), writer);
	assert_int_equal(status, 0);
	assert_int_equal(waitpid(reader, &status, 0), reader);
	assert_int_equal(status, 0);
	assert_true(kills >= 40);
	print_message("killed %zu times at %zu points\n", kills, n);
}

static void no_byte_is_lost_or_doubled_when_the_daemon_dies_anywhere(void **state)
{
	die_anywhere();
}

static void nor_where_others_write_too(void **state)
{
	units = copies = true;
	die_anywhere();
}

#define T(f) cmocka_unit_test_setup_teardown(f, pipes, unpipe)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(bytes_and_the_end_arrive),
		T(a_pipe_over_nodes_holds_what_one_pipe_holds),
		T(writers_learn_that_the_reader_is_gone),
		T(impossible_offsets_are_refused),
		T(words_that_were_overtaken_are_ignored),
		T(what_the_last_reader_left_stays_with_the_writers),
		T(a_piece_that_comes_twice_is_taken_once),
		T(bytes_do_not_wait_for_an_answer_to_those_before),
		T(behind_a_gap_everything_comes_again),
		T(what_waits_behind_a_full_pipe_is_sent_again_over_the_next_connection),
		T(who_asks_is_told_again_how_far_the_reader_is),
		T(records_of_several_writers_do_not_tear),
		T(units_that_lie_are_refused),
		T(a_reader_at_full_speed_is_not_waited_for),
		T(the_end_comes_behind_the_last_byte_of_a_large_pipe),
		T(no_byte_is_lost_or_doubled_when_the_daemon_dies_anywhere),
		T(nor_where_others_write_too),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
