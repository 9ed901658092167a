/* SPDX-License-Identifier: Apache-2.0 */
/*
 * taken.c - a guest kernel that somebody has broken into: the real one, but before it serves it
 * tries to reach what is not its tenant's. Its log gets a line "taken: ATTEMPT: ERRNO" each, or
 * "taken: ATTEMPT: ESCAPED". Made by the Makefile out of pando-kernel's own objects, with
 * pod_open() renamed; started by tests/int/taken_over.sh.
 *
 * $PANDO_TAKEN: a port of the host's loopback, a path of a socket of the host, an abstract name,
 * and a pid of the node that belongs to another tenant.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "base/attr.h"
#include "cmd/ctl/routes.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/kernel.h"
#include "kernel/kernel.pb-c.h"
#include "kernel/tenant/init.h"

int real_pod_open(struct world *w, int fd);

static struct world *world;
static int host_port;
static char host_path[108], host_name[100];
static pid_t other_pid;

/* ---- nets ---- */
static long connect_inet(uint32_t addr, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(addr) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&a, sizeof(a));
}

static long loopback_of_host(void)
{
	return connect_inet(INADDR_LOOPBACK, host_port);
}

static long datagram(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0);
}

static long hypervisor(void)
{
	return socket(AF_VSOCK, SOCK_STREAM, 0);
}

static long netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static long packets(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static long connect_unix(const char *name, bool abstract)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t len = strlen(name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(a.sun_path + abstract, name, MIN(len, sizeof(a.sun_path) - 1));
	return fd < 0 ? -1
		      : connect(fd, (struct sockaddr *)&a,
				(socklen_t)(sizeof(sa_family_t) + len + 1));
}

static long socket_of_host(void)
{
	return connect_unix(host_path, false);
}

static long abstract_of_host(void)
{
	return connect_unix(host_name, true);
}

/* ---- files ---- */
static long open_at(int dir, const char *path, int flags)
{
	return openat(dir, path, flags | O_CLOEXEC);
}

static long file_of_host(void)
{
	return open_at(AT_FDCWD, "/etc/passwd", O_RDONLY);
}

static long programs_of_host(void)
{
	return open_at(AT_FDCWD, "/usr/bin/env", O_RDONLY);
}

static long above_root(void)
{
	return open_at(AT_FDCWD, "/../../../../etc", O_RDONLY);
}

static long above_procfs(void)
{
	return open_at(KERNEL_FD_PROC, "../etc/passwd", O_RDONLY);
}

static long root_of_first(void)
{
	return open_at(KERNEL_FD_PROC, "1/root/etc/passwd", O_RDONLY);
}

static long root_of_init(void)
{
	return open_at(KERNEL_FD_PROC, "self/root/etc/passwd", O_RDONLY);
}

static long make_device(void)
{
	return mknod("/disk", S_IFBLK | 0600, makedev(8, 0));
}

static long by_handle(void)
{
	return syscall(SYS_open_by_handle_at, KERNEL_FD_PROC, &(uint64_t[4]){ 8 }, O_RDONLY);
}

/* ---- the host's switches ---- */
static long core_pattern(void)
{
	return open_at(KERNEL_FD_PROC, "sys/kernel/core_pattern", O_WRONLY);
}

static long sysrq(void)
{
	return open_at(KERNEL_FD_PROC, "sysrq-trigger", O_WRONLY);
}

static long memory_of_host(void)
{
	return open_at(KERNEL_FD_PROC, "kcore", O_RDONLY);
}

static long log_of_host(void)
{
	return open_at(KERNEL_FD_PROC, "kmsg", O_RDONLY);
}

/* ---- processes ---- */
static long see(pid_t pid)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "%d/status", pid);
	return open_at(KERNEL_FD_PROC, path, O_RDONLY);
}

static long see_daemon(void)
{
	return see(1);
}

static long see_other(void)
{
	return see(other_pid);
}

static long kill_daemon(void)
{
	return kill(1, 0);
}

static long kill_other(void)
{
	return kill(other_pid, 0);
}

/* The jail has no kill(2), but for these two. */
static long thread_signal(void)
{
	return syscall(SYS_tgkill, other_pid, other_pid, 0);
}

static long signal_by_pidfd(void)
{
	int fd = (int)syscall(SYS_pidfd_open, other_pid, 0);

	return fd < 0 ? -1 : syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0);
}

static long trace_other(void)
{
	return ptrace(PTRACE_SEIZE, other_pid, 0, 0);
}

static long trace_daemon(void)
{
	return ptrace(PTRACE_SEIZE, 1, 0, 0);
}

static long read_memory(pid_t pid)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)(uintptr_t)0x400000, 1 };

	return process_vm_readv(pid, &here, 1, &there, 1, 0);
}

static long memory_of_other(void)
{
	return read_memory(other_pid);
}

static long memory_of_daemon(void)
{
	return read_memory(1);
}

static long descriptor_of_other(void)
{
	int fd = (int)syscall(SYS_pidfd_open, other_pid, 0);

	return fd < 0 ? -1 : syscall(SYS_pidfd_getfd, fd, 0, 0);
}

static long limits_of_other(void)
{
	struct rlimit l;

	return prlimit(other_pid, RLIMIT_NOFILE, NULL, &l);
}

/* ---- itself: programs, namespaces, rights ---- */
static long execute(void)
{
	static char *const words[] = { (char *)(uintptr_t) "x", NULL };

	return execve("/proc/self/exe", words, words);
}

static long execute_memory(void)
{
	int fd = (int)syscall(SYS_memfd_create, "x", 0);

	return syscall(SYS_execveat, fd, "", NULL, NULL, AT_EMPTY_PATH);
}

static long new_process(void)
{
	long r = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (r == 0)
		_exit(0);
	return r;
}

static long new_process3(void)
{
	struct clone_args a = { .exit_signal = SIGCHLD };
	long r = syscall(SYS_clone3, &a, sizeof(a));

	if (r == 0)
		_exit(0);
	return r;
}

static long new_namespace(void)
{
	return unshare(CLONE_NEWNET);
}

static long join_first(void)
{
	return setns((int)open_at(KERNEL_FD_PROC, "1/ns/mnt", O_RDONLY), 0);
}

static long mount_something(void)
{
	return mount("none", "/", "tmpfs", 0, NULL);
}

static long new_mount(void)
{
	return syscall(SYS_fsopen, "tmpfs", 0);
}

static long another_root(void)
{
	return chroot("/");
}

static long program_kernel(void)
{
	return syscall(SYS_bpf, 0, &(uint64_t[8]){ 2ULL << 32 | 4 }, 64);
}

static long count_host(void)
{
	return syscall(SYS_perf_event_open, &(uint64_t[16]){ 112ULL << 32 | 1 }, 0, -1, -1, 0);
}

static long keys_of_host(void)
{
	return syscall(SYS_add_key, "user", "x", "y", 1, -3);
}

static long ring(void)
{
	return syscall(SYS_io_uring_setup, 4, &(uint64_t[16]){ 0 });
}

static long load_module(void)
{
	return syscall(SYS_finit_module, 0, "", 0);
}

static long ports_of_host(void)
{
	return syscall(SYS_iopl, 3);
}

static long clock_of_host(void)
{
	return syscall(SYS_settimeofday, &(struct timeval){ 1, 0 }, NULL);
}

static long real_time(void)
{
	return syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &(struct sched_param){ 1 });
}

static long set_user(void)
{
	return syscall(SYS_setuid, 0);
}

/* ---- control groups: its own delegated directory is a way up ---- */
static long group(const char *path, int flags)
{
	int run = pid1_get(world->pid1, INIT_KEY_RUN);

	return run < 0 ? (errno = -run, -1) : open_at(run, path, flags);
}

static long leave_group(void)
{
	return group("../../../../cgroup.procs", O_WRONLY);
}

static long tenant_group(void)
{
	return group("../../cgroup.procs", O_WRONLY);
}

static long lift_limits(void)
{
	long fd = group("../pids.max", O_WRONLY);

	return fd >= 0 ? fd : group("../cgroup.max.descendants", O_WRONLY);
}

static long kill_neighbours(void)
{
	return group("../../../cgroup.kill", O_WRONLY);
}

#define A(name)                                                                                    \
	{                                                                                          \
#name, name                                                                        \
	}

static const struct {
	const char *name;
	long (*fn)(void);
} attempts[] = {
	A(loopback_of_host),
	A(datagram),
	A(hypervisor),
	A(netlink),
	A(packets),
	A(socket_of_host),
	A(abstract_of_host),
	A(file_of_host),
	A(programs_of_host),
	A(above_root),
	A(above_procfs),
	A(root_of_first),
	A(root_of_init),
	A(make_device),
	A(by_handle),
	A(core_pattern),
	A(sysrq),
	A(memory_of_host),
	A(log_of_host),
	A(see_daemon),
	A(see_other),
	A(kill_daemon),
	A(kill_other),
	A(thread_signal),
	A(signal_by_pidfd),
	A(trace_other),
	A(trace_daemon),
	A(memory_of_other),
	A(memory_of_daemon),
	A(descriptor_of_other),
	A(limits_of_other),
	A(execute),
	A(execute_memory),
	A(new_process),
	A(new_process3),
	A(new_namespace),
	A(join_first),
	A(mount_something),
	A(new_mount),
	A(another_root),
	A(program_kernel),
	A(count_host),
	A(keys_of_host),
	A(ring),
	A(load_module),
	A(ports_of_host),
	A(clock_of_host),
	A(real_time),
	A(set_user),
	A(leave_group),
	A(tenant_group),
	A(lift_limits),
	A(kill_neighbours),
};

/* pidfd_open(2) tells which pids there are; one that our procfs does not show is not ours. */
static void find_other(void)
{
	for (pid_t pid = 3; pid < 32768; pid++) {
		int fd = (int)syscall(SYS_pidfd_open, pid, 0);
		char path[16];
		struct stat st;

		if (fd < 0)
			continue;
		(void)close(fd);
		(void)snprintf(path, sizeof(path), "%d", pid);
		if (fstatat(KERNEL_FD_PROC, path, &st, 0) != 0)
			other_pid = pid;
	}
	(void)fprintf(stderr, "taken: another's pid is %d\n", other_pid);
}

static void try_everything(void)
{
	for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
		errno = 0;
		if (attempts[i].fn() < 0)
			(void)fprintf(stderr, "taken: %s: %s\n", attempts[i].name,
				      strerrorname_np(errno));
		else
			(void)fprintf(stderr, "taken: %s: ESCAPED\n", attempts[i].name);
	}
	(void)fprintf(stderr, "taken: %zu attempts\n", ARRAY_LEN(attempts));
}

/* ---- what it says to pandod instead of what its tenant asked ---- */
enum { FOLLOWS = 100, FDS = 16 };

static unsigned asks_left;

struct lie {
	char name[48];
	bool may_answer; /* with what is its tenant's own */
};

static void lie_answered(void *arg, int err, const struct rpc_msg *m)
{
	struct lie *x = arg;
	Kernel__ApiAnswer *a = err == 0 ? kernel__api_answer__unpack(NULL, m->len, m->body) : NULL;
	bool theirs = a != NULL && memmem(a->body.data, a->body.len, "bob", 3) != NULL;

	for (unsigned i = 0; m != NULL && i < m->fd_count; i++)
		(void)close(m->fds[i]);
	if (err != 0)
		(void)fprintf(stderr, "taken: asked %s: %s\n", x->name, strerrorname_np(-err));
	else if (a != NULL && a->status >= 400)
		(void)fprintf(stderr, "taken: asked %s: E%u\n", x->name, a->status);
	else if (x->may_answer && !theirs)
		(void)fprintf(stderr, "taken: asked %s: only its own\n", x->name);
	else
		(void)fprintf(stderr, "taken: asked %s: ESCAPED\n", x->name);
	kernel__api_answer__free_unpacked(a, NULL);
	free(x);
	if (--asks_left == 0)
		(void)fprintf(stderr, "taken: asked everything\n");
}

static void say(const void *body, size_t len, bool may_answer, bool with_fds, const char *name)
{
	struct rpc_msg m = { .method = KERNEL_API, .body = body, .len = len };
	struct lie *x = calloc(1, sizeof(*x));
	int r = -ENOMEM;

	for (unsigned i = 0; with_fds && i < FDS; i++)
		m.fds[m.fd_count++] = open_at(KERNEL_FD_PROC, "self/stat", O_RDONLY);
	asks_left++;
	if (x != NULL) {
		x->may_answer = may_answer;
		(void)snprintf(x->name, sizeof(x->name), "%s", name);
		r = rpc_request(world->pod, &m, NULL, lie_answered, x, NULL);
	}
	if (r != 0)
		(void)fprintf(stderr, "taken: cannot ask: %d\n", r);
}

static void lie(const Kernel__ApiAsk *q, bool may_answer, const char *name)
{
	uint8_t body[1024];

	say(body, kernel__api_ask__pack(q, body), may_answer, false, name);
}

static void lie_about_routes(void)
{
	for (unsigned id = 0; id < CTL_ROUTE_END + 2; id++) {
		const struct ctl_route *row = ctl_route_at((enum ctl_route_id)id);
		Kernel__ApiAsk q = KERNEL__API_ASK__INIT;
		char name[48];

		(void)snprintf(name, sizeof(name), "route %u", id);
		q.route = id;
		q.pid = other_pid;
		q.session = 1;
		q.rows = q.cols = 10;
		q.node = (char *)"n1";
		lie(&q, row != NULL && (row->who & CTL_INSIDE) != 0, name);
	}
}

static void lie_about_numbers(void)
{
	static const int pids[] = { 0, -1, INT32_MIN, 4194305 };
	static char long_name[500];
	static char *const names[] = { long_name, (char *)"../../etc", (char *)"n1\"}",
				       (char *)"\xff" };
	static const uint8_t garbage[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1
	};
	Kernel__ApiAsk q = KERNEL__API_ASK__INIT;

	memset(long_name, 'n', sizeof(long_name) - 1);
	q.route = CTL_WHY;
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		q.pid = pids[i];
		lie(&q, false, "a pid that is none");
	}
	q.route = CTL_MIGRATE;
	q.pid = 1;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		q.node = names[i];
		lie(&q, false, "a node's name that is none");
	}
	say(garbage, sizeof(garbage), false, false, "no message");
	say(NULL, 0, false, false, "nothing");
	for (int i = 0; i < 20; i++)
		say(garbage, sizeof(garbage), false, true, "with descriptors");
}

/* More than a tenant may have open; the others are answered when something happens. */
static void lie_in_masses(void)
{
	Kernel__ApiAsk q = KERNEL__API_ASK__INIT;

	q.route = CTL_EVENTS;
	q.follow = true;
	for (unsigned i = 0; i < FOLLOWS; i++)
		lie(&q, true, "to follow");
}

/* In the place of pod_open(), the last step of the start. */
int taken_pod_open(struct world *w, int fd);

int taken_pod_open(struct world *w, int fd)
{
	const char *facts = getenv("PANDO_TAKEN");
	bool asks = false;
	int r;

	world = w;
	if (facts != NULL &&
	    sscanf(facts, "%d %107s %99s", &host_port, host_path, host_name) == 3) {
		find_other();
		try_everything();
		asks = true;
	}
	r = real_pod_open(w, fd);
	if (r == 0 && asks) {
		lie_about_routes();
		lie_about_numbers();
		lie_in_masses();
	}
	return r;
}
