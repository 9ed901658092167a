/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify_test.c - a guest's suspended calls are answered exactly once, whoever dies in between.
 *
 * A guest under a small filter calls without a pause; supervisors over the same slots and listener
 * are killed at every named fault point.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "kernel/host/mem.h"
#include "kernel/host/notify.h"

#define NR_VALUE 0x5600 /* answered with its argument + 1 */
#define NR_LATER 0x5601 /* the same by way of the loop */
#define NR_ERROR 0x5602 /* answered with EXDEV */
#define NR_READ  0x5603 /* the length of the string it points to */
#define NR_FD    0x5604 /* gets a descriptor of /dev/null */
#define NR_RUN   SYS_getpgid
#define AT       77 /* where the guest wants the descriptor */

struct shared {
	volatile int stop;
	volatile unsigned rounds;
	volatile int wrong_line;
	volatile int wrong_errno;
};

static struct shared *sh;
static int slots_fd, listener_fd;

/* ---- the guest ---- */
#define EXPECT(cond)                                                                               \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			sh->wrong_errno = errno;                                                   \
			sh->wrong_line = __LINE__;                                                 \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static void on_alarm(int sig)
{
}

static int install_filter(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NR_RUN, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, NR_VALUE, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, NR_FD, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { ARRAY_LEN(f), f };

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return (int)syscall(
		SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &p);
}

static void guest(int sock)
{
	/* Before a call is received, the host lets a handler without SA_RESTART end it: limits.md.
	 */
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 700 }, { 0, 700 } };
	pid_t group = getpgid(0);
	char taken;
	int fd = install_filter();

	EXPECT(fd >= 0);
	EXPECT(write(sock, &fd, sizeof(fd)) == sizeof(fd));
	EXPECT(read(sock, &taken, 1) == 1); /* the test has taken it by pidfd_getfd */
	(void)close(fd);
	(void)sigaction(SIGALRM, &sa, NULL);
	(void)setitimer(ITIMER_REAL, &often, NULL);
	for (unsigned i = 1; !sh->stop; i++) {
		EXPECT(syscall(NR_VALUE, i) == (long)i + 1);
		EXPECT(syscall(NR_RUN, 0) == group);
		EXPECT(syscall(NR_LATER, i) == (long)i + 1);
		errno = 0;
		EXPECT(syscall(NR_ERROR) == -1 && errno == EXDEV);
		EXPECT(syscall(NR_READ, "four") == 4);
		EXPECT(syscall(NR_FD, AT) == AT);
		EXPECT(write(AT, "x", 1) == 1 && close(AT) == 0);
		sh->rounds = i;
	}
	_exit(0);
}

/* ---- the supervisor ---- */
static struct notify *sup;

static enum notify_verdict decide(void *arg, struct init_slot *s, bool again)
{
	const struct notify_call *c = notify_call(s);
	char text[16];
	ssize_t n;

	switch (c->nr) {
	case NR_VALUE:
		notify_set_value(s, (int64_t)c->args[0] + 1);
		break;
	case NR_LATER:
	case NR_FD:
		return NOTIFY_LATER;
	case NR_READ:
		n = mem_read_string((pid_t)c->pid, c->args[0], text, sizeof(text));
		notify_set_value(s, n);
		break;
	case NR_ERROR:
		notify_set_errno(s, -EXDEV);
		break;
	default:
		notify_set_run(s);
	}
	return NOTIFY_ANSWER;
}

static void postponed(void *arg, struct init_slot *s)
{
	if (notify_call(s)->nr == NR_FD) {
		unsigned at = (unsigned)notify_call(s)->args[0];
		int fd = open("/dev/null", O_WRONLY);
		int r = notify_add_fd(sup, s, fd, at, true);

		(void)close(fd);
		if (r == 0)
			notify_set_value(s, at);
		else
			notify_set_errno(s, r);
	} else {
		notify_set_value(s, (int64_t)notify_call(s)->args[0] + 1);
	}
	notify_answer(sup, s);
}

static pid_t supervise(const char *fault)
{
	pid_t pid = fork();
	struct loop *l;

	if (pid != 0)
		return pid;
	(void)signal(SIGSEGV, SIG_DFL);
	(void)signal(SIGABRT, SIG_DFL);
	if (loop_new(&l, LOOP_AUTO) != 0 ||
	    notify_new(&sup, l, dup(slots_fd), decide, postponed, NULL) != 0)
		_exit(2);
	if (fault && fault_arm_text(fault) != 0)
		_exit(3);
	if (notify_listen(sup, dup(listener_fd)) != 0)
		_exit(4);
	_exit(loop_run(l) != 0);
}

static void start_guest(pid_t *pid)
{
	int sock[2], theirs, pidfd;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sock), 0);
	*pid = fork();
	if (*pid == 0)
		guest(sock[1]);
	assert_int_equal(read(sock[0], &theirs, sizeof(theirs)), sizeof(theirs));
	pidfd = (int)syscall(SYS_pidfd_open, *pid, 0);
	listener_fd = (int)syscall(SYS_pidfd_getfd, pidfd, theirs, 0);
	assert_true(listener_fd >= 0);
	assert_int_equal(write(sock[0], "", 1), 1);
	close(pidfd);
	close(sock[0]);
	close(sock[1]);
}

static int setup(void **state)
{
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	slots_fd = memfd_create("slots", MFD_CLOEXEC);
	return sh == MAP_FAILED || ftruncate(slots_fd, INIT_SLOTS * sizeof(struct init_slot)) != 0;
}

static int teardown(void **state)
{
	close(slots_fd);
	close(listener_fd);
	munmap(sh, sizeof(*sh));
	return 0;
}

/* Waits until the guest has made @n more rounds, or has ended. */
static void wait_rounds(pid_t guest_pid, unsigned n)
{
	unsigned from = sh->rounds;

	while (sh->rounds < from + n &&
	       waitid(P_PID, (id_t)guest_pid, NULL, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       sh->wrong_line == 0)
		usleep(200);
}

static void end(pid_t guest_pid, pid_t supervisor)
{
	int st;

	wait_rounds(guest_pid, 20);
	sh->stop = 1;
	assert_int_equal(waitpid(guest_pid, &st, 0), guest_pid);
	if (st != 0)
		fail_msg("guest: line %d, errno %d, round %u", sh->wrong_line, sh->wrong_errno,
			 sh->rounds);
	kill(supervisor, SIGKILL);
	assert_int_equal(waitpid(supervisor, &st, 0), supervisor);
	assert_true(WIFSIGNALED(st));
}

static void death_at_every_point_loses_no_call(void **state)
{
	struct fault_point *p;
	char text[96];
	unsigned tried = 0;
	pid_t guest_pid;
	size_t n;
	int st;

	start_guest(&guest_pid);
	p = fault_points(&n);
	for (size_t i = 0; i < n; i++) {
		if (strncmp(p[i].name, "kernel.notif.", 13) != 0)
			continue;
		/* Seven consecutive passages hit every kind of call that the guest makes. */
		for (unsigned nth = 20; nth < 27; nth++) {
			pid_t pid;

			(void)snprintf(text, sizeof(text), "%s:%u", p[i].name, nth);
			pid = supervise(text);
			assert_int_equal(waitpid(pid, &st, 0), pid);
			assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
			tried++;
		}
	}
	assert_true(tried >= 6 * 7);
	end(guest_pid, supervise(NULL));
}

static void death_at_any_time_loses_no_call(void **state)
{
	pid_t guest_pid;
	int st;

	sh->stop = 0;
	sh->rounds = 0;
	start_guest(&guest_pid);
	for (int i = 0; i < 30; i++) {
		pid_t pid = supervise(NULL);

		wait_rounds(guest_pid, 1 + (unsigned)i % 5);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &st, 0), pid);
	}
	end(guest_pid, supervise(NULL));
}

static void wait_deaf(struct loop *l)
{
	for (int i = 0; notify_listening(sup) && i < 5000; i++)
		assert_int_equal(loop_turn(l, NS_PER_MS), 0);
	assert_false(notify_listening(sup));
}

/* All guests gone: a new listener may take the place of the old. */
static void listener_without_guests_is_noticed_and_replaced(void **state)
{
	pid_t guest_pid;
	struct loop *l;
	int st;

	sh->stop = 0;
	start_guest(&guest_pid);
	assert_int_equal(loop_new(&l, LOOP_AUTO), 0);
	assert_int_equal(notify_new(&sup, l, dup(slots_fd), decide, postponed, NULL), 0);
	assert_int_equal(notify_listen(sup, listener_fd), 0);
	assert_int_equal(notify_listen(sup, listener_fd), -EBUSY);
	assert_int_equal(kill(guest_pid, SIGKILL), 0);
	assert_int_equal(waitpid(guest_pid, &st, 0), guest_pid);
	wait_deaf(l);
	start_guest(&guest_pid);
	assert_int_equal(notify_listen(sup, listener_fd), 0);
	sh->rounds = 0;
	while (sh->rounds < 20)
		assert_int_equal(loop_turn(l, NS_PER_MS), 0);
	sh->stop = 1;
	while (waitpid(guest_pid, &st, WNOHANG) == 0)
		assert_int_equal(loop_turn(l, NS_PER_MS), 0);
	assert_int_equal(st, 0);
	assert_int_equal(notify_counts(sup).full, 0);
	wait_deaf(l);
	notify_free(sup);
	listener_fd = -1;
	loop_free(l);
}

static void slots_of_a_wrong_size_are_refused(void **state)
{
	int fd = memfd_create("small", 0);

	assert_int_equal(notify_new(&sup, NULL, fd, decide, postponed, NULL), -EINVAL);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(death_at_every_point_loses_no_call),
		cmocka_unit_test(death_at_any_time_loses_no_call),
		cmocka_unit_test(listener_without_guests_is_noticed_and_replaced),
		cmocka_unit_test(slots_of_a_wrong_size_are_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
