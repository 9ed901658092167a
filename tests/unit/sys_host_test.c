/* SPDX-License-Identifier: Apache-2.0 */
/* sys_host_test.c - the host's kernel runs the compiled filter: what a guest then sees. */
#include "tests/unit/unit.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/filter.h>

#include "kernel/sys/sys.h"

struct seen {
	unsigned notified[512]; /* by system call number */
};

static void send_fd(int sock, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	if (sendmsg(sock, &msg, 0) != 1)
		_exit(110);
}

static int recv_fd(int sock)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	int fd;

	assert_int_equal(recvmsg(sock, &msg, MSG_CMSG_CLOEXEC), 1);
	assert_non_null(CMSG_FIRSTHDR(&msg));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return fd;
}

static void under_filter(int sock, void (*body)(void))
{
	static struct sock_filter prog[SYS_FILTER_MAX];
	int n = sys_filter_build(prog, SYS_FILTER_MAX), listener;
	struct sock_fprog fprog = { (unsigned short)n, prog };

	if (n <= 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		_exit(111);
	listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
				SECCOMP_FILTER_FLAG_NEW_LISTENER, &fprog);
	if (listener < 0)
		_exit(112);
	send_fd(sock, listener);
	close(listener);
	close(sock);
	body();
	_exit(0);
}

/* Lets the host run whatever is notified, and counts it, until all tasks below the filter ended. */
static void supervise(int listener, struct seen *seen)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };

	while (poll(&p, 1, 20000) == 1 && (p.revents & POLLIN)) {
		struct seccomp_notif req = { 0 };
		struct seccomp_notif_resp resp = { .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };

		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &req) != 0) {
			assert_int_equal(errno, ENOENT); /* the caller died meanwhile */
			continue;
		}
		if (req.data.nr < 512)
			seen->notified[req.data.nr]++;
		resp.id = req.id;
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp) != 0)
			assert_int_equal(errno, ENOENT);
	}
	assert_true(p.revents & POLLHUP);
}

/* Runs @body in a child under the filter. Returns its wait status. */
static int run(void (*body)(void), struct seen *seen)
{
	int pair[2], listener, status;
	pid_t pid;

	memset(seen, 0, sizeof(*seen));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(pair[0]);
		under_filter(pair[1], body);
	}
	close(pair[1]);
	listener = recv_fd(pair[0]);
	supervise(listener, seen);
	close(listener);
	close(pair[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void expect(long ret, int want, const char *what)
{
	int got = ret < 0 ? errno : 0;

	if (got != want) {
		fprintf(stderr, "%s: %s instead of %s\n", what, strerror(got), strerror(want));
		_exit(1);
	}
}
#define EXPECT(want, ...) expect(syscall(__VA_ARGS__), want, #__VA_ARGS__)

/* The arguments are such that the bare host would answer something else to root. */
static void denied_calls(void)
{
	EXPECT(EPERM, SYS_mount, 0, 0, 0, 0, 0);
	EXPECT(EPERM, SYS_unshare, CLONE_NEWUTS);
	EXPECT(0, SYS_unshare, CLONE_FS);
	EXPECT(EPERM, SYS_setns, -1, 0);
	EXPECT(EPERM, SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	EXPECT(EPERM, SYS_bpf, 0, 0, 0);
	EXPECT(ENOSYS, SYS_io_uring_setup, 1, 0);
	EXPECT(ENOSYS, SYS_keyctl, 0, 0, 0, 0, 0);
	EXPECT(ENOSYS, SYS_landlock_create_ruleset, 0, 0, 1);
	EXPECT(EPERM, SYS_userfaultfd, 0);
	EXPECT(EPERM, SYS_personality, 0x0400000);
	EXPECT(0, SYS_personality, 0xffffffff);
	EXPECT(EAFNOSUPPORT, SYS_socket, AF_VSOCK, SOCK_STREAM, 0);
	EXPECT(EAFNOSUPPORT, SYS_socket, AF_PACKET, SOCK_DGRAM, 0);
	EXPECT(EPERM, SYS_socket, AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP);
	EXPECT(EPROTONOSUPPORT, SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);
	EXPECT(0, SYS_close, syscall(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	EXPECT(EPERM, SYS_ioctl, 0, TIOCSTI, "x");
	EXPECT(EPERM, SYS_ioctl, 0, (uint64_t)TIOCSTI | UINT64_C(0x7700000000), "x");
	EXPECT(EINVAL, SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
	EXPECT(EBUSY, SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, 0);
	EXPECT(EPERM, SYS_mknodat, -100, "/tmp/dev", S_IFCHR | 0600, 0x103);
	EXPECT(ENOSYS, 400);
	EXPECT(ENOSYS, 100000);
	EXPECT(ENOSYS, 0x40000000 | SYS_getpid);
}

static void forbidden_calls_fail_as_the_table_says(void **state)
{
	struct seen seen;

	assert_int_equal(run(denied_calls, &seen), 0);
}

static void call_32bit(void)
{
	long ret = 20; /* getpid of i386 */

	__asm__ volatile("int $0x80" : "+a"(ret) : : "memory", "r8", "r9", "r10", "r11");
}

static void a_32bit_entry_kills(void **state)
{
	struct seen seen;
	int status = run(call_32bit, &seen);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void shell(void)
{
	execl("/bin/sh", "sh", "-c", "x=$(echo 1 2 3 | wc -w); (exit 3) || [ $x = 3 ] && exit 7",
	      NULL);
	_exit(99);
}

static void a_shell_runs_and_only_control_calls_are_notified(void **state)
{
	struct seen seen;
	int status = run(shell, &seen);
	unsigned total = 0;

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_int_equal(seen.notified[SYS_execve], 2);
	assert_int_equal(seen.notified[SYS_read] + seen.notified[SYS_clone], 0);
	for (int nr = 0; nr < 512; nr++)
		total += seen.notified[nr];
	print_message("a pipeline of a shell: %u notifications, 2 of them execve\n", total);
	assert_in_range(total, 2, 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forbidden_calls_fail_as_the_table_says),
		cmocka_unit_test(a_32bit_entry_kills),
		cmocka_unit_test(a_shell_runs_and_only_control_calls_are_notified),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
