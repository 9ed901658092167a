/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace - how fast this machine makes system calls, processes, threads and pipes. A plain Linux
 * program: tests/bench/kernel.sh runs it on the host and in a session and compares. No test.
 *
 *	pace [filter|listener] WHAT [N]
 *
 *	native N    ns of one getppid()             spawn N      us of fork, exec of itself, wait
 *	kernel N    ns of one getpgid(own pid)      threads N    us of creating and joining a thread
 *	value N     ns of one sysinfo()             many T MS    getpgid() per second by T threads
 *	pour MB     writes so much to stdout        drain        MB per second read from stdin
 *	on NODE N   us of fork, exec of itself on another node, wait
 *
 * `filter` puts a filter of one rule before it (what any sandbox costs), `listener` one that asks a
 * supervisor for getpgid, which it lets the host run, and for sysinfo, which it answers: the least
 * that any guest kernel of this kind costs.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>

#include "tests/guest/guest.h"

#define SYNC_WAKE_UP 1UL
#define SET_FLAGS    _IOW('!', 4, __u64)
#define SYS_ON       0x5511 /* kernel/kernel.h: KERNEL_SYS_ON */
#define CHUNK_BYTES  65536
#define THREADS_MAX  1024
#define BATCHES      20

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The median of batches: what interrupts the others does not count. */
static double each_ns(void (*once)(void), long n)
{
	double batch[BATCHES];
	long len = n / BATCHES > 0 ? n / BATCHES : 1;

	for (int i = 0; i < BATCHES; i++) {
		double t0 = now_ns();

		for (long j = 0; j < len; j++)
			once();
		batch[i] = (now_ns() - t0) / (double)len;
	}
	qsort(batch, BATCHES, sizeof(batch[0]), by_value);
	return batch[BATCHES / 2];
}

static pid_t self;
static const char *node;

static void once_native(void)
{
	(void)syscall(SYS_getppid);
}

static void once_kernel(void)
{
	(void)syscall(SYS_getpgid, self);
}

static void once_value(void)
{
	struct sysinfo si;

	must(sysinfo(&si) == 0);
}

static void once_spawn(void)
{
	static char *const argv[] = { (char *)"pace", (char *)"nothing", NULL };
	static char *const envp[] = { NULL };
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		if (node != NULL && syscall(SYS_ON, node) != 0)
			_exit(126);
		execve("/proc/self/exe", argv, envp);
		_exit(127);
	}
	must(reap(pid) == 0);
}

static void *thread_nothing(void *arg)
{
	return arg;
}

static void once_thread(void)
{
	pthread_t t;

	must(pthread_create(&t, NULL, thread_nothing, NULL) == 0);
	must(pthread_join(t, NULL) == 0);
}

static bool stop;

static void *thread_calls(void *count)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		once_kernel();
		++*(long *)count;
	}
	return NULL;
}

static double many_per_s(long threads, long ms)
{
	static pthread_t t[THREADS_MAX];
	static long count[THREADS_MAX][8];
	double t0 = now_ns(), sum = 0;

	must(threads > 0 && threads <= THREADS_MAX);
	for (long i = 0; i < threads; i++)
		must(pthread_create(&t[i], NULL, thread_calls, count[i]) == 0);
	pause_ms((int)ms);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (long i = 0; i < threads; i++) {
		must(pthread_join(t[i], NULL) == 0);
		sum += (double)count[i][0];
	}
	return sum / (now_ns() - t0) * 1e9;
}

static void pour(long mb)
{
	static char chunk[CHUNK_BYTES];

	for (long left = mb << 20; left > 0;) {
		ssize_t n = write(STDOUT_FILENO, chunk,
				  left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES);

		must(n > 0);
		left -= n;
	}
}

/* From the first byte on: who pours may start late. */
static double drain_mb_per_s(void)
{
	static char chunk[CHUNK_BYTES];
	double bytes = 0, t0 = 0;
	ssize_t n;

	while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) > 0) {
		if (t0 == 0)
			t0 = now_ns();
		bytes += (double)n;
	}
	must(n == 0);
	return bytes / (now_ns() - t0) * 1e3;
}

static int set_filter(unsigned action, unsigned flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sysinfo, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, action),
	};
	struct sock_fprog prog = { COUNT(code), code };
	long r;

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	must(r >= 0);
	return (int)r;
}

/* Answered with bytes: the least is to find them, write them into the caller and say so. */
static void answer_sysinfo(const struct seccomp_notif *req, struct seccomp_notif_resp *resp)
{
	struct sysinfo si;
	struct iovec here = { &si, sizeof(si) };
	struct iovec there = { (void *)(uintptr_t)req->data.args[0], sizeof(si) };

	if (sysinfo(&si) != 0 ||
	    process_vm_writev((pid_t)req->pid, &here, 1, &there, 1, 0) != sizeof(si))
		resp->error = -EFAULT;
}

static void supervise(int listener)
{
	struct seccomp_notif req;
	struct seccomp_notif_resp resp;

	/* Kernels before 6.6 have no synchronous wake-up, and then ours has none either. */
	(void)ioctl(listener, SET_FLAGS, SYNC_WAKE_UP);
	for (;;) {
		memset(&req, 0, sizeof(req));
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &req) != 0)
			_exit(errno == ENOENT ? 0 : 1);
		memset(&resp, 0, sizeof(resp));
		resp.id = req.id;
		if (req.data.nr == SYS_sysinfo)
			answer_sysinfo(&req, &resp);
		else
			resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp);
	}
}

static int receive_fd(int sock)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	int fd;

	must(recvmsg(sock, &m, 0) == 1 && CMSG_FIRSTHDR(&m) != NULL);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static void send_fd(int sock, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	must(sendmsg(sock, &m, 0) == 1);
}

static void set_listener(void)
{
	int sock[2], fd;
	pid_t pid;

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) == 0);
	pid = fork_child();
	if (pid == 0) {
		must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
		supervise(receive_fd(sock[1]));
	}
	fd = set_filter(SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
	send_fd(sock[0], fd);
	must(close(fd) == 0);
}

static long number(const char *text, long otherwise)
{
	return text != NULL ? strtol(text, NULL, 10) : otherwise;
}

static int usage(void)
{
	fputs("pace [filter|listener] native|kernel|value|spawn|threads N | many T MS | pour MB | "
	      "drain | on NODE N\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	const char *what, *arg, *more;

	self = getpid();
	if (argc > 1 && strcmp(argv[1], "filter") == 0)
		(void)set_filter(SECCOMP_RET_ALLOW, 0);
	else if (argc > 1 && strcmp(argv[1], "listener") == 0)
		set_listener();
	else
		argv--, argc++;
	if (argc < 3)
		return usage();
	what = argv[2];
	arg = argc > 3 ? argv[3] : NULL;
	more = argc > 4 ? argv[4] : NULL;
	if (strcmp(what, "nothing") == 0)
		return 0;
	if (strcmp(what, "native") == 0)
		printf("%.1f\n", each_ns(once_native, number(arg, 2000000)));
	else if (strcmp(what, "kernel") == 0)
		printf("%.1f\n", each_ns(once_kernel, number(arg, 40000)));
	else if (strcmp(what, "value") == 0)
		printf("%.1f\n", each_ns(once_value, number(arg, 20000)));
	else if (strcmp(what, "spawn") == 0)
		printf("%.2f\n", each_ns(once_spawn, number(arg, 400)) / 1e3);
	else if (strcmp(what, "threads") == 0)
		printf("%.2f\n", each_ns(once_thread, number(arg, 4000)) / 1e3);
	else if (strcmp(what, "many") == 0)
		printf("%.0f\n", many_per_s(number(arg, 200), number(more, 1000)));
	else if (strcmp(what, "pour") == 0)
		pour(number(arg, 200));
	else if (strcmp(what, "drain") == 0)
		printf("%.1f\n", drain_mb_per_s());
	else if (strcmp(what, "on") == 0 && arg != NULL)
		node = arg, printf("%.2f\n", each_ns(once_spawn, number(more, 60)) / 1e3);
	else
		return usage();
	return 0;
}
