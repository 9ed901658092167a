/* SPDX-License-Identifier: Apache-2.0 */
/* An image on its way from a mover's pipe into a stream, and what happens when the stream is lost.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "cmd/pando-kernel/move/ship.h"

#define IMAGE 1

static struct loop *l;
static struct rpc *source, *target;
static struct rpc_conn *to_target, *to_source;
static struct rpc_stream *arrived;
static size_t came;
static int over, failures, failed_by;
static struct world w;

static void on_data(void *arg, struct rpc_stream *s, const void *bytes, size_t len)
{
	came += len;
	rpc_stream_consumed(s, len);
}

static void on_closed(void *arg, struct rpc_stream *s, int err)
{
	arrived = NULL;
	over = err == 0 ? 1 : err;
}

static const struct rpc_stream_ops ops = { .data = on_data, .closed = on_closed };

static void on_image(void *arg, struct rpc_conn *c, struct rpc_stream *s, const struct rpc_msg *m)
{
	arrived = s;
	rpc_stream_set_ops(s, &ops, NULL);
}

static void on_failed(struct ship_out *s, int err)
{
	failures++;
	failed_by = err;
}

static int setup(void **state)
{
	int ends[2];

	came = 0;
	over = failures = failed_by = 0;
	arrived = NULL;
	assert_int_equal(loop_new(&l, LOOP_EPOLL), 0);
	assert_int_equal(rpc_new(&source, l, NULL), 0);
	assert_int_equal(rpc_new(&target, l, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(rpc_conn_local(source, ends[0], NULL, NULL, &to_target), 0);
	assert_int_equal(rpc_conn_local(target, ends[1], NULL, NULL, &to_source), 0);
	rpc_serve_stream(target, IMAGE, on_image, NULL);
	w.loop = l;
	return 0;
}

static int teardown(void **state)
{
	rpc_free(source);
	rpc_free(target);
	loop_free(l);
	return 0;
}

static void turn(void)
{
	assert_int_equal(loop_turn(l, NS_PER_MS), 0);
}

static void start(struct ship_out *s, int *mover)
{
	const struct rpc_msg m = { .method = IMAGE };

	ship_out_init(s, &w, on_failed);
	assert_int_equal(ship_out_start(s, to_target, &m, mover), 0);
	for (int i = 0; i < 1000 && !arrived; i++)
		turn();
	assert_non_null(arrived);
}

static void put(int mover, size_t n)
{
	static const char bytes[4096];

	assert_int_equal(write(mover, bytes, n), n);
}

static void all_that_a_mover_writes_arrives(void **state)
{
	struct ship_out s;
	int mover;

	start(&s, &mover);
	put(mover, 4096);
	put(mover, 100);
	(void)close(mover);
	ship_out_dumped(&s);
	for (int i = 0; i < 1000 && over == 0; i++)
		turn();
	assert_int_equal(over, 1);
	assert_int_equal(came, 4196);
	assert_true(s.sent);
	assert_int_equal(failures, 0);
	ship_out_fini(&s);
}

/* What the mover has written meanwhile is ready to be read in the very turn that the stream ends
 * in. */
static void the_end_of_a_target_is_told_once(void **state)
{
	struct ship_out s;
	int mover;

	start(&s, &mover);
	rpc_stream_close(arrived, -EIO);
	put(mover, 4096);
	for (int i = 0; i < 1000 && failures == 0; i++)
		turn();
	assert_int_equal(failures, 1);
	assert_int_equal(failed_by, -EIO);
	assert_false(s.sent);
	for (int i = 0; i < 5; i++)
		turn();
	assert_int_equal(failures, 1);
	(void)close(mover);
	ship_out_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_that_a_mover_writes_arrives, setup, teardown),
		cmocka_unit_test_setup_teardown(the_end_of_a_target_is_told_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
