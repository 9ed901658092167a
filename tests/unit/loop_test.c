/* SPDX-License-Identifier: Apache-2.0 */
/* loop_test.c - both backends of the event loop give the same answers. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/types.h"

static struct loop *l;
static int calls;
static int order[8];

static int start(void **state, enum loop_backend b)
{
	calls = 0;
	return loop_new(&l, b);
}

static int with_uring(void **state)
{
	int r = start(state, LOOP_URING);

	/* Where io_uring is forbidden the epoll half of this file is the test. */
	return r == -ENOSYS || r == -EPERM ? start(state, LOOP_EPOLL) : r;
}

static int with_epoll(void **state)
{
	return start(state, LOOP_EPOLL);
}

static int stop(void **state)
{
	loop_free(l);
	return 0;
}

static void turns(int n)
{
	for (int i = 0; i < n; i++)
		assert_int_equal(loop_turn(l, 20 * NS_PER_MS), 0);
}

static void count_readable(struct loop_fd *w, short revents)
{
	calls++;
	assert_true(revents & POLLIN);
}

static void readable_descriptor_is_level_triggered(void **state)
{
	struct loop_fd w;
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(loop_fd_add(l, &w, p[0], POLLIN, count_readable), 0);
	turns(1);
	assert_int_equal(calls, 0);
	assert_int_equal(write(p[1], "x", 1), 1);
	turns(3);
	assert_true(calls >= 2); /* nobody read: it is told again */
	assert_int_equal(loop_fd_mod(l, &w, 0), 0);
	turns(2);
	calls = 0;
	turns(2);
	assert_int_equal(calls, 0);
	assert_int_equal(loop_fd_mod(l, &w, POLLIN), 0);
	turns(2);
	assert_true(calls >= 1);
	loop_fd_del(l, &w);
	close(p[0]);
	close(p[1]);
}

struct heap_watch {
	struct loop_fd w;
	int *freed;
};

static void delete_and_free(struct loop_fd *w, short revents)
{
	struct heap_watch *h = container_of(w, struct heap_watch, w);

	loop_fd_del(l, w);
	(*h->freed)++;
	free(h);
}

static void a_watch_may_be_freed_in_its_callback(void **state)
{
	int p[2], freed = 0;

	assert_int_equal(pipe(p), 0);
	assert_int_equal(write(p[1], "x", 1), 1);
	for (int i = 0; i < 10; i++) {
		struct heap_watch *h = calloc(1, sizeof(*h));

		h->freed = &freed;
		/* epoll allows one watch per descriptor, so each has its own */
		assert_int_equal(loop_fd_add(l, &h->w, dup(p[0]), POLLIN, delete_and_free), 0);
	}
	turns(3);
	assert_int_equal(freed, 10);
	close(p[0]);
	close(p[1]);
	close_range(p[1] + 1, p[1] + 12, 0);
}

static struct loop_timer timers[3];

static void note_timer(struct loop_timer *t)
{
	order[calls++] = (int)(t - timers);
}

static void timers_fire_in_order_and_can_be_cleared(void **state)
{
	uint64_t now = clock_mono_ns();

	memset(timers, 0, sizeof(timers));
	assert_int_equal(loop_timer_set(l, &timers[0], now + 6 * NS_PER_MS, note_timer), 0);
	assert_int_equal(loop_timer_set(l, &timers[1], now + 2 * NS_PER_MS, note_timer), 0);
	assert_int_equal(loop_timer_set(l, &timers[2], now + 4 * NS_PER_MS, note_timer), 0);
	loop_timer_clear(l, &timers[2]);
	while (calls < 2)
		turns(1);
	assert_int_equal(order[0], 1);
	assert_int_equal(order[1], 0);
}

static siginfo_t seen;

static void note_exit(struct loop_child *c, const siginfo_t *si)
{
	seen = *si;
	calls++;
}

static void the_end_of_a_child_is_reported_and_reaped(void **state)
{
	struct loop_child c;
	int pidfd;
	pid_t pid = fork();

	if (pid == 0)
		_exit(7);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_true(pidfd >= 0);
	assert_int_equal(loop_child_add(l, &c, pidfd, note_exit), 0);
	for (int i = 0; i < 100 && calls == 0; i++)
		turns(1);
	assert_int_equal(calls, 1);
	assert_int_equal(seen.si_code, CLD_EXITED);
	assert_int_equal(seen.si_status, 7);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
	close(pidfd);
}

static struct loop_post posts[100];

static void note_post(struct loop_post *p)
{
	calls++;
}

static void *post_all(void *arg)
{
	for (int i = 0; i < 100; i++) {
		posts[i].cb = note_post;
		loop_post(l, &posts[i]);
	}
	return NULL;
}

static void posts_from_another_thread_all_arrive(void **state)
{
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, post_all, NULL), 0);
	for (int i = 0; i < 200 && calls < 100; i++)
		turns(1);
	assert_int_equal(pthread_join(t, NULL), 0);
	turns(1);
	assert_int_equal(calls, 100);
}

static int io_result;

static void note_io(struct loop_io *io, int result)
{
	io_result = result;
	calls++;
}

static void a_durable_write_can_be_read_back(void **state)
{
	char name[] = "/tmp/pando-loop-XXXXXX", back[8] = "";
	int fd = mkstemp(name);
	struct loop_io io;

	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(loop_io_start(l, &io, LOOP_IO_WRITE_DSYNC, fd, "durable", 7, 3, note_io),
			 0);
	for (int i = 0; i < 200 && calls == 0; i++)
		turns(1);
	assert_int_equal(io_result, 7);
	assert_int_equal(loop_io_start(l, &io, LOOP_IO_READ, fd, back, 7, 3, note_io), 0);
	for (int i = 0; i < 200 && calls == 1; i++)
		turns(1);
	assert_int_equal(io_result, 7);
	assert_string_equal(back, "durable");
	assert_int_equal(loop_io_start(l, &io, LOOP_IO_WRITE, -1, back, 7, 0, note_io), 0);
	for (int i = 0; i < 200 && calls == 2; i++)
		turns(1);
	assert_int_equal(io_result, -EBADF);
	close(fd);
}

static void count_hook(struct loop_hook *h)
{
	calls++;
}

static void leave_hook(struct loop_hook *h)
{
	calls++;
	loop_hook_del(l, h);
}

static void hooks_run_every_turn_until_they_leave(void **state)
{
	struct loop_hook stays, leaves;
	int before;

	loop_hook_add(l, &leaves, leave_hook);
	loop_hook_add(l, &stays, count_hook);
	assert_int_equal(loop_turn(l, 0), 0);
	assert_true(calls >= 2);
	before = calls;
	assert_int_equal(loop_turn(l, 0), 0);
	assert_true(calls > before);
	loop_hook_del(l, &stays);
	before = calls;
	assert_int_equal(loop_turn(l, 0), 0);
	assert_int_equal(calls, before);
}

#define BOTH(f)                                                                                    \
	{ #f " (io_uring)", f, with_uring, stop, NULL },                                           \
	{                                                                                          \
#f " (epoll)", f, with_epoll, stop, NULL                                           \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(readable_descriptor_is_level_triggered),
		BOTH(a_watch_may_be_freed_in_its_callback),
		BOTH(timers_fire_in_order_and_can_be_cleared),
		BOTH(the_end_of_a_child_is_reported_and_reaped),
		BOTH(posts_from_another_thread_all_arrive),
		BOTH(a_durable_write_can_be_read_back),
		BOTH(hooks_run_every_turn_until_they_leave),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
