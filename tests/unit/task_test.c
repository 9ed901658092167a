/* SPDX-License-Identifier: Apache-2.0 */
/* task_test.c - what is read from a node's procfs, and from the memory of another process. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "kernel/host/mem.h"
#include "kernel/host/task.h"
#include "kernel/proc/proc.h"

static void a_name_with_brackets_is_no_trap(void **state)
{
	struct task_info t;

	assert_int_equal(
		task_parse_stat(
			&t, "42 (a) R 1 (b) S 7 40 39 34820 38 4194304 1 0 0 0 150 50 0 0 20 -5 "
			    "3 0 12345 99999 25 18446744073709551615 1 1 0"),
		0);
	assert_string_equal(t.comm, "a) R 1 (b");
	assert_int_equal(t.state, 'S');
	assert_int_equal(t.node_ppid, 7);
	assert_int_equal(t.node_pgid, 40);
	assert_int_equal(t.node_tpgid, 38);
	assert_int_equal(t.tty, 4);
	assert_int_equal(t.nice, -5);
	assert_int_equal(t.threads, 3);
	assert_true(t.cpu_ns == 2 * NS_PER_S);
	assert_true(t.start_ns == 123450 * (NS_PER_S / 1000));
	assert_int_equal(t.rss_bytes, 25 * 4096);
}

static void ids_are_those_of_the_innermost_namespace(void **state)
{
	struct task_info t;

	assert_int_equal(task_parse_status(&t,
					   "Name:\tx\nUid:\t1000\t1001\t0\t0\nTracerPid:\t0\n"
					   "NStgid:\t70\t4097\nNSpid:\t70\t4097\n"
					   "NSpgid:\t60\t4096\nNSsid:\t1\t0\n"
					   "SigBlk:\t0000000000010000\nSigIgn:\t8000000000000001\n"
					   "NoNewPrivs:\t1\nSeccomp_filters:\t2\nUmask:\t0027\n"),
			 0);
	assert_true(t.blocked == 1 << 16);
	assert_true(t.ignored == (UINT64_C(1) << 63 | 1));
	assert_int_equal(t.umask, 027);
	assert_int_equal(t.gpid, 4097);
	assert_int_equal(t.pgid, 4096);
	assert_int_equal(t.sid, 0);
	assert_int_equal(t.depth, 2);
	assert_int_equal(t.uid, 1001);
	assert_true(t.no_new_privs);
	assert_false(t.traced);
	assert_int_equal(t.filters, 2);
}

static void other_bytes_are_refused(void **state)
{
	static const char *const stats[] = { "", "1", "1 (", "1 )(", "x (y) R", "1 (y) R 2 3" };
	static const char *const statuses[] = { "", "NSpid:", "NStgid:\t1\nNSpgid:\t1\n",
						"Uid:\n" };
	struct task_info t;

	for (size_t i = 0; i < ARRAY_LEN(stats); i++)
		assert_int_equal(task_parse_stat(&t, stats[i]), -EINVAL);
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
		assert_int_equal(task_parse_status(&t, statuses[i]), -EINVAL);
}

/* tmpfs and others remember no name that is not there. */
static bool remembers(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 &&
	       (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == OVERLAYFS_SUPER_MAGIC ||
		fs.f_type == XFS_SUPER_MAGIC || fs.f_type == BTRFS_SUPER_MAGIC);
}

static void what_a_search_did_not_find_is_lacking(void **state)
{
	int procfs = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char path[64];
	bool lacks = false;

	(void)snprintf(path, sizeof(path), "/usr/no-%d-%d", getpid(), getppid());
	/* The host may forget a name: a search along PATH asks again, too. */
	for (int i = 0; i < 50 && !lacks; i++) {
		assert_int_equal(access(path, X_OK), -1);
		lacks = task_lacks(procfs, getpid(), path);
	}
	assert_true(lacks || !remembers("/usr"));
	assert_false(task_lacks(procfs, getpid(), path + 1));
	assert_false(task_lacks(procfs, getpid(), ""));
	assert_false(task_lacks(procfs, getpid(), "/"));
	assert_false(task_lacks(procfs, getpid(), "/proc/self/exe"));
	assert_false(task_lacks(procfs, getpid(), "/proc/self/exe/.."));
	assert_int_equal(access("/bin/sh", X_OK), 0);
	assert_false(task_lacks(procfs, getpid(), "/bin/sh"));
	assert_false(task_lacks(procfs, 0x7ffffff0, path));
	(void)close(procfs);
}

static void we_read_ourselves(void **state)
{
	int procfs = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC), pidfd = task_pidfd(getpid());
	struct task_info t;
	char args[256];

	assert_int_equal(prctl(PR_SET_NAME, "a\nUid: 7 (x)"), 0);
	assert_int_equal(task_read(&t, procfs, getpid()), 0);
	assert_int_equal(t.gpid, getpid());
	assert_int_equal(t.node_ppid, getppid());
	assert_int_equal(t.uid, geteuid());
	assert_string_equal(t.comm, "a\nUid: 7 (x)");
	assert_true(task_pid_namespace(procfs, getpid()) != 0);
	assert_true(task_args(procfs, getpid(), args, sizeof(args)) > 0);
	assert_non_null(strstr(args, "task_test"));
	assert_int_equal(task_pidfd_pid(procfs, pidfd), getpid());
	assert_int_equal(task_read(&t, procfs, 0x7ffffff0), -ESRCH);
	assert_int_equal(task_gpid(procfs, getpid()), getpid());
	assert_int_equal(task_gpid(procfs, 0x7ffffff0), -1);
	close(pidfd);
	close(procfs);
}

/* Raised in the thread, and in the process. */
static void what_is_blocked_is_pending(void **state)
{
	const struct timespec now = { 0 };
	int procfs = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	uint64_t two = UINT64_C(1) << (SIGUSR1 - 1) | UINT64_C(1) << (SIGUSR2 - 1);
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
	assert_int_equal(task_pending(procfs, getpid()) & two, 0);
	assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(kill(getpid(), SIGUSR2), 0);
	assert_int_equal(task_pending(procfs, getpid()) & two, two);
	assert_int_equal(sigtimedwait(&set, NULL, &now), SIGUSR1);
	assert_int_equal(sigtimedwait(&set, NULL, &now), SIGUSR2);
	assert_int_equal(task_pending(procfs, getpid()) & two, 0);
	assert_int_equal(task_pending(procfs, 0x7ffffff0), 0);
	close(procfs);
}

static void find_until_reaped(const struct proc_view *view)
{
	struct task_info t;
	struct proc_list l;
	pid_t child = fork();
	int fd;

	assert_true(child >= 0);
	if (child == 0) {
		(void)pause();
		_exit(0);
	}
	fd = proc_open(view, child, &t);
	assert_true(fd >= 0);
	assert_int_equal(t.gpid, child);
	assert_int_equal(t.node_ppid, getpid());
	assert_int_equal(task_pidfd_pid(view->procfs, fd), child);
	assert_int_equal(proc_scan(&l, view), 0);
	proc_list_fini(&l);
	assert_int_equal(task_pidfd_signal(fd, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(proc_open(view, child, &t), -ESRCH);
	close(fd);
}

/* By the host's own translation where it has one, and by looking at all where it has none. */
static void a_process_is_found_until_it_is_reaped(void **state)
{
	int procfs = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct proc_view view, slow, other;
	struct task_info t;

	proc_view_init(&view, procfs, task_pid_namespace(procfs, getpid()));
	assert_true(view.ns >= 0);
	slow = other = view;
	slow.ns = other.ns = -1;
	other.pidns++;
	find_until_reaped(&view);
	find_until_reaped(&slow);
	assert_int_equal(proc_open(&other, getpid(), &t), -ESRCH);
	proc_view_init(&other, procfs, other.pidns); /* nobody is in it */
	assert_int_equal(other.ns, -1);
	close(view.ns);
	close(procfs);
}

struct in_namespace {
	int go[2];
	pid_t native; /* what the child itself says */
};

static int say_pid(void *arg)
{
	const struct in_namespace *x = arg;
	pid_t pid = getpid();

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	return write(x->go[1], &pid, sizeof(pid)) == sizeof(pid) ? pause() : 1;
}

/* Its first process is 1 there: only a number of the namespace finds it, and none of ours does. */
static void a_namespace_has_numbers_of_its_own(void **state)
{
	static char stack[65536];
	int procfs = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd, r;
	struct in_namespace x;
	struct proc_view view, slow;
	struct task_info t;
	pid_t child;

	assert_int_equal(pipe2(x.go, O_CLOEXEC), 0);
	child = clone(say_pid, stack + sizeof(stack), CLONE_NEWPID | SIGCHLD, &x);
	if (child < 0 && errno == EPERM)
		skip();
	assert_true(child > 0);
	assert_int_equal(read(x.go[0], &x.native, sizeof(x.native)), sizeof(x.native));
	assert_int_equal(x.native, 1);
	proc_view_init(&view, procfs, task_pid_namespace(procfs, child));
	assert_true(view.ns >= 0);
	slow = view;
	slow.ns = -1;
	fd = proc_open(&view, 1, &t);
	assert_true(fd >= 0);
	assert_int_equal(t.pid, child);
	close(fd);
	fd = proc_open(&slow, 1, &t);
	assert_true(fd >= 0);
	assert_int_equal(t.pid, child);
	close(fd);
	assert_int_equal(proc_open(&view, getpid(), &t), -ESRCH);
	r = proc_node_tid(&view, 1);
	assert_true(r == child || r == -ENOTTY); /* before Linux 6.11 */
	assert_true(proc_node_tid(&slow, 1) < 0);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	r = proc_node_tid(&view, 1);
	assert_true(r == -ESRCH || r == -ENOTTY);
	assert_int_equal(proc_open(&view, 1, &t), -ESRCH);
	close(view.ns);
	close(procfs);
	close(x.go[0]);
	close(x.go[1]);
}

static void strings_stop_at_their_end_and_at_bad_pages(void **state)
{
	char *two = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char buf[64];
	uint64_t end = (uint64_t)(uintptr_t)two + 4096;

	assert_int_equal(munmap(two + 4096, 4096), 0);
	memcpy(two + 4092, "abc", 4);
	assert_int_equal(mem_read_string(getpid(), end - 4, buf, sizeof(buf)), 3);
	assert_string_equal(buf, "abc");
	memcpy(two + 4092, "abcd", 4);
	assert_int_equal(mem_read_string(getpid(), end - 4, buf, sizeof(buf)), -EFAULT);
	assert_int_equal(mem_read_string(getpid(), end - 4, buf, 3), -ENAMETOOLONG);
	assert_int_equal(mem_read_string(getpid(), UINT64_MAX - 2, buf, sizeof(buf)), -EFAULT);
	assert_int_equal(mem_write(getpid(), end - 4, "wxyz", 4), 0);
	assert_memory_equal(two + 4092, "wxyz", 4);
	assert_int_equal(mem_write(getpid(), end - 2, "wxyz", 4), -EFAULT);
	munmap(two, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_with_brackets_is_no_trap),
		cmocka_unit_test(ids_are_those_of_the_innermost_namespace),
		cmocka_unit_test(other_bytes_are_refused),
		cmocka_unit_test(what_a_search_did_not_find_is_lacking),
		cmocka_unit_test(we_read_ourselves),
		cmocka_unit_test(what_is_blocked_is_pending),
		cmocka_unit_test(a_process_is_found_until_it_is_reaped),
		cmocka_unit_test(a_namespace_has_numbers_of_its_own),
		cmocka_unit_test(strings_stop_at_their_end_and_at_bad_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
