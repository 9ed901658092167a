/* SPDX-License-Identifier: Apache-2.0 */
/* tty_test.c - carriers: numbers, a line discipline that leaves bytes alone, who waits to read. */
#include "tests/unit/unit.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/ipc/tty.h"

static int root, proc;

static int pair(int *slave)
{
	struct tty_modes m;
	int master = tty_open_master(root, 0, getuid());

	assert_true(master >= 0);
	*slave = tty_open_peer(master, O_RDWR);
	assert_true(*slave >= 0);
	assert_int_equal(tty_modes_get(*slave, &m), 0);
	assert_true(tty_is_lines(&m));
	assert_int_equal(tty_carry(*slave, &m), 0);
	return master;
}

/* What comes from the master's side is in the slave's buffer once it was polled. */
static int lies(int slave)
{
	struct pollfd p = { .fd = slave, .events = POLLIN };
	int n = -1;

	assert_true(poll(&p, 1, 0) >= 0);
	assert_int_equal(ioctl(slave, FIONREAD, &n), 0);
	return n;
}

static void number_is_the_wanted_one_if_it_is_free(void **state)
{
	int a = tty_open_master(root, 0, getuid()), b, c, slave;
	unsigned n;

	assert_true(a >= 0);
	n = (unsigned)tty_number(a);
	b = tty_open_master(root, n + 3, getuid());
	assert_true(b >= 0);
	assert_true(tty_number(b) >= (int)n + 3);
	/* Taken now: any other, and none is left over. */
	c = tty_open_master(root, (unsigned)tty_number(b), getuid());
	assert_true(c >= 0);
	assert_int_not_equal(tty_number(c), tty_number(b));
	slave = tty_open_slave(root, (unsigned)tty_number(b), O_RDWR);
	assert_true(slave >= 0);
	(void)close(slave);
	(void)close(a);
	(void)close(b);
	(void)close(c);
	assert_int_equal(tty_open_slave(root, 4000, O_RDWR), -ENOENT);
}

static void carrier_leaves_bytes_alone(void **state)
{
	static const char in[] = "a\003b\x7f\r\n\032\021";
	char got[64];
	int slave, master = pair(&slave);

	assert_int_equal(write(master, in, sizeof(in)), sizeof(in));
	assert_int_equal(lies(slave), sizeof(in));
	assert_int_equal(read(slave, got, sizeof(got)), sizeof(in));
	assert_memory_equal(got, in, sizeof(in));
	/* No echo, and what is written is not processed either. */
	assert_int_equal(read(master, got, sizeof(got)), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(write(slave, "x\n\ty", 4), 4);
	assert_int_equal(lies(slave), 0);
	assert_int_equal(read(master, got, sizeof(got)), 4);
	assert_memory_equal(got, "x\n\ty", 4);
	(void)close(slave);
	(void)close(master);
}

static void end_of_input_alone_reads_as_nothing(void **state)
{
	const char eof = TTY_EOF;
	char got[8];
	int slave, master = pair(&slave);

	assert_int_equal(write(master, &eof, 1), 1);
	assert_int_equal(lies(slave), 1);
	assert_int_equal(read(slave, got, sizeof(got)), 0);
	assert_int_equal(lies(slave), 0);
	(void)close(slave);
	(void)close(master);
}

static void modes_that_matter_here_are_the_owners(void **state)
{
	struct tty_modes m, now;
	int slave, master = pair(&slave);

	assert_int_equal(tty_modes_get(slave, &m), 0);
	m.lflag = TOSTOP | ECHO | ISIG;
	m.oflag = OPOST;
	m.cc[VMIN] = 3;
	m.cc[VTIME] = 7;
	assert_int_equal(tty_carry(slave, &m), 0);
	assert_int_equal(tty_modes_get(slave, &now), 0);
	assert_int_equal(now.lflag & (TOSTOP | ICANON | ECHO | ISIG), TOSTOP);
	assert_int_equal(now.oflag & OPOST, 0);
	assert_int_equal(now.cc[VMIN], 3);
	assert_int_equal(now.cc[VTIME], 7);
	m.lflag |= ICANON;
	assert_int_equal(tty_carry(slave, &m), 0);
	assert_int_equal(tty_modes_get(slave, &now), 0);
	assert_int_equal(now.cc[VMIN], 1);
	assert_int_equal(now.cc[VEOF], TTY_EOF);
	(void)close(slave);
	(void)close(master);
}

static void calls_of_the_owner_are_known(void **state)
{
	struct winsize ws = { .ws_row = 5, .ws_col = 6 }, got = { 0 };
	struct tty_call c;
	int slave, master = pair(&slave);

	assert_false(tty_call_find(TIOCSPGRP, &c));
	assert_true(tty_call_find(TCSETSW, &c));
	assert_true(c.sets && c.len == sizeof(struct tty_modes));
	assert_true(tty_call_find(TIOCGWINSZ, &c) && !c.sets);
	assert_int_equal(tty_call_make(slave, TIOCSWINSZ, 0, &ws), 0);
	assert_int_equal(tty_call_make(slave, TIOCGWINSZ, 0, &got), 0);
	assert_memory_equal(&ws, &got, sizeof(ws));
	assert_int_equal(tty_call_make(slave, TIOCSPGRP, 0, &ws), -EINVAL);
	assert_int_equal(tty_call_make(slave, TCFLSH, 99, NULL), -EINVAL);
	assert_int_equal(write(master, "old", 3), 3);
	assert_int_equal(lies(slave), 3);
	tty_call_flush(slave, TCSETS, 0);
	assert_int_equal(lies(slave), 3);
	tty_call_flush(slave, TCSETSF, 0);
	assert_int_equal(lies(slave), 0);
	(void)close(slave);
	(void)close(master);
}

/* ---- who waits ---- */
enum how { READS, POLLS, SELECTS, EPOLLS, SLEEPS, WRITES_ONLY, THREAD_READS };

static void *read_thread(void *arg)
{
	char c;

	(void)!read(*(int *)arg, &c, 1);
	return NULL;
}

static void wait_so(enum how how, int slave)
{
	struct pollfd p[2] = { { .fd = 0, .events = 0 }, { .fd = slave, .events = POLLIN } };
	struct epoll_event ev = { .events = EPOLLIN };
	pthread_t t;
	fd_set set;
	char c[100];
	int fd;

	FD_ZERO(&set);
	FD_SET(slave, &set);
	switch (how) {
	case READS:
		(void)!read(slave, c, sizeof(c));
		break;
	case POLLS:
		(void)poll(p, 2, -1);
		break;
	case SELECTS:
		(void)select(slave + 1, &set, NULL, NULL, NULL);
		break;
	case EPOLLS:
		fd = epoll_create1(0);
		(void)epoll_ctl(fd, EPOLL_CTL_ADD, slave, &ev);
		(void)epoll_wait(fd, &ev, 1, -1);
		break;
	case THREAD_READS:
		(void)pthread_create(&t, NULL, read_thread, &slave);
		(void)pthread_join(t, NULL);
		break;
	default:
		pause();
	}
}

/* What is seen of one who waits in this way, once it sleeps. */
static unsigned seen(enum how how, uint64_t *bytes, bool stopped)
{
	int slave, master = pair(&slave), number = tty_number(master), status;
	unsigned want = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (how == WRITES_ONLY) {
			int only = tty_open_peer(master, O_WRONLY);

			(void)close(slave);
			slave = only;
		}
		(void)close(master);
		wait_so(how, slave);
		_exit(0);
	}
	assert_int_equal(tty_find(proc, pid, slave), number);
	/* Until it waits; who never does is looked at for a while. */
	for (int i = 0; i < (how == SLEEPS || how == WRITES_ONLY ? 50 : 5000); i++) {
		want = tty_wants(proc, pid, (unsigned)number, bytes);
		if (want & TTY_WAITS)
			break;
		(void)poll(NULL, 0, 2);
	}
	if (stopped) {
		assert_int_equal(kill(pid, SIGSTOP), 0);
		assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
		want = tty_wants(proc, pid, (unsigned)number, bytes);
	}
	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)close(slave);
	(void)close(master);
	return want;
}

static void whoever_waits_to_read_is_found(void **state)
{
	uint64_t bytes = 0;

	assert_int_equal(seen(READS, &bytes, false), TTY_OPEN | TTY_WAITS);
	assert_int_equal(bytes, 100);
	for (enum how how = POLLS; how <= EPOLLS; how++) {
		assert_int_equal(seen(how, &bytes, false), TTY_OPEN | TTY_WAITS);
		assert_int_equal(bytes, 0);
	}
	assert_int_equal(seen(THREAD_READS, &bytes, false), TTY_OPEN | TTY_WAITS);
	assert_int_equal(bytes, 1);
	assert_int_equal(seen(SLEEPS, &bytes, false), TTY_OPEN);
	assert_int_equal(seen(WRITES_ONLY, &bytes, false), 0);
	assert_int_equal(seen(READS, &bytes, true), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(number_is_the_wanted_one_if_it_is_free),
		cmocka_unit_test(carrier_leaves_bytes_alone),
		cmocka_unit_test(end_of_input_alone_reads_as_nothing),
		cmocka_unit_test(modes_that_matter_here_are_the_owners),
		cmocka_unit_test(calls_of_the_owner_are_known),
		cmocka_unit_test(whoever_waits_to_read_is_found),
	};

	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
