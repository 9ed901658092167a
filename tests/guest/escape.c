/* SPDX-License-Identifier: Apache-2.0 */
/*
 * escape.c - a guest tries to leave the sandbox, once in each way that we know.
 *
 * Each attempt runs in a child and prints "name: ERRNO" (the wall answered), "name: signal N" (the
 * wall killed), or "name: ESCAPED". Exit 0: nothing escaped. tests/int/escape.sh runs it. It
 * expects a tenant's world: natively it must not run.
 */
#include "tests/guest/race.h"

#include <dirent.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>

#define STUB "/opt/pando/stub/pando-stub"

/* An attempt gives what the call gave: -1 with errno is a refusal, anything else an escape. */
#define CALL(name, ...)                                                                            \
	static long name(void)                                                                     \
	{                                                                                          \
		return syscall(__VA_ARGS__);                                                       \
	}
#define TRY(name, expression)                                                                      \
	static long name(void)                                                                     \
	{                                                                                          \
		return (long)(expression);                                                         \
	}

/* ---- mounts and namespaces ---- */
TRY(mount_tmpfs, mount("none", "/tmp", "tmpfs", 0, NULL))
TRY(mount_proc, mount("none", "/tmp", "proc", 0, NULL))
TRY(mount_bind, mount("/", "/tmp", NULL, MS_BIND | MS_REC, NULL))
TRY(mount_remount, mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL))
TRY(umount_proc, umount2("/proc", MNT_DETACH))
CALL(pivot, SYS_pivot_root, ".", ".")
TRY(chroot_dot, chroot("."))
TRY(unshare_user, unshare(CLONE_NEWUSER))
TRY(unshare_mount, unshare(CLONE_NEWNS))
TRY(unshare_net, unshare(CLONE_NEWNET))
TRY(unshare_time, unshare(0x80))
CALL(clone_user, SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)
CALL(clone_pid, SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0)
CALL(clone_hidden_bits, SYS_clone, 0x700000000 | CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0)
TRY(setns_own_user, setns(open("/proc/self/ns/user", O_RDONLY), 0))
TRY(setns_init, setns(open("/proc/1/ns/mnt", O_RDONLY), 0))
CALL(new_fs_context, SYS_fsopen, "tmpfs", 0)
CALL(clone_tree, SYS_open_tree, AT_FDCWD, "/", 1)
CALL(set_mount_attr, SYS_mount_setattr, AT_FDCWD, "/usr", 0, (uint64_t[4]){ 0 }, 32)

static long clone3_with(uint64_t flags)
{
	uint64_t args[8] = { flags, 0, 0, 0, SIGCHLD };
	long pid = syscall(SYS_clone3, args, sizeof(args));

	if (pid == 0)
		_exit(0);
	return pid;
}
TRY(clone3_user, clone3_with(CLONE_NEWUSER))
TRY(clone3_net, clone3_with(CLONE_NEWNET))
TRY(clone3_pid, clone3_with(CLONE_NEWPID))

static long clone3_set_tid(void)
{
	pid_t tid = 3000000;
	uint64_t args[11] = { [4] = SIGCHLD, [8] = (uintptr_t)&tid, [9] = 1 };
	long pid = syscall(SYS_clone3, args, sizeof(args));

	if (pid == 0)
		_exit(0);
	return pid;
}

/* ---- the host's kernel ---- */
CALL(bpf_map, SYS_bpf, 0, (uint64_t[8]){ 2ULL << 32 | 4 }, 64)
CALL(perf, SYS_perf_event_open, (uint64_t[16]){ 112ULL << 32 | 1 }, 0, -1, -1, 0)
CALL(uffd, SYS_userfaultfd, 0)
CALL(uffd_user_only, SYS_userfaultfd, 1)
CALL(uring, SYS_io_uring_setup, 4, (uint64_t[16]){ 0 })
CALL(key_session, SYS_keyctl, 1, "x", 0, 0, 0)
CALL(key_add, SYS_add_key, "user", "x", "y", 1, -3)
CALL(key_request, SYS_request_key, "user", "x", "y", -3)
CALL(kexec, SYS_kexec_load, 0, 0, 0, 0)
CALL(module, SYS_init_module, "x", 1, "")
CALL(module_fd, SYS_finit_module, 0, "", 0)
CALL(module_delete, SYS_delete_module, "dummy", 0)
CALL(io_level, SYS_iopl, 3)
CALL(io_ports, SYS_ioperm, 0x80, 1, 1)
CALL(restart, SYS_reboot, 0xfee1dead, 0x28121969, 0, 0) /* ctrl-alt-del off: harmless to hosts */
CALL(swap, SYS_swapon, "/tmp/x", 0)
CALL(accounting, SYS_acct, "/tmp/x")
CALL(quota, SYS_quotactl, 0x800001 << 8, "/", 0, 0)
CALL(kernel_log, SYS_syslog, 3, (char[64]){ 0 }, 64)
CALL(set_time, SYS_settimeofday, &(struct timeval){ 1, 0 }, 0)
CALL(set_clock, SYS_clock_settime, CLOCK_REALTIME, &(struct timespec){ 1, 0 })
CALL(adjust_clock, SYS_adjtimex, &(struct timex){ .modes = ADJ_TICK, .tick = 10000 })
CALL(host_name, SYS_sethostname, "x", 1)
CALL(notify_all, SYS_fanotify_init, 0, 0)
CALL(descriptor_table, SYS_modify_ldt, 1, (uint32_t[4]){ 0, 0, 0, 0x51 }, 16)
CALL(file_by_handle, SYS_open_by_handle_at, AT_FDCWD, (uint32_t[4]){ 8, 1, 2, 0 }, O_RDONLY)
CALL(hang_up, SYS_vhangup)
TRY(low_memory, mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0))
TRY(personality_exec, personality(READ_IMPLIES_EXEC))

static long x32_getpid(void)
{
	return syscall(0x40000000 | SYS_getpid);
}

static long int_0x80(void)
{
	long r = 20; /* getpid */

	__asm__ volatile("int $0x80" : "+a"(r) : : "memory", "r8", "r9", "r10", "r11");
	errno = r < 0 ? (int)-r : 0;
	return r < 0 ? -1 : r;
}

/* ---- sockets ---- */
TRY(socket_vsock, socket(AF_VSOCK, SOCK_STREAM, 0))
TRY(socket_packet, socket(AF_PACKET, SOCK_RAW, 0))
TRY(socket_packet_old, socket(AF_INET, SOCK_PACKET, htons(3)))
TRY(socket_raw, socket(AF_INET, SOCK_RAW, IPPROTO_TCP))
TRY(socket_raw6, socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6))
TRY(socket_alg, socket(38, SOCK_SEQPACKET, 0))
TRY(socket_xdp, socket(44, SOCK_RAW, 0))
TRY(socket_sctp, socket(AF_INET, SOCK_STREAM, 132))
TRY(socket_audit, socket(AF_NETLINK, SOCK_RAW, 9))
TRY(socket_uevent, socket(AF_NETLINK, SOCK_RAW, 15))
TRY(socket_netfilter, socket(AF_NETLINK, SOCK_RAW, 12))
TRY(socketpair_tipc, socketpair(30, SOCK_STREAM, 0, (int[2]){ 0 }))

/* Nothing of the host is behind any interface: loopback is the only one. */
static long interfaces(void)
{
	char line[256];
	int other = 0;
	FILE *f = fopen("/proc/net/dev", "r");

	if (f == NULL)
		return -1;
	for (int i = 0; fgets(line, sizeof(line), f) != NULL; i++)
		other += i >= 2 && strstr(line, " lo:") == NULL;
	fclose(f);
	errno = ENODEV;
	return other > 0 ? other : -1;
}

/* What the test left on the host: "PORT NAME", a TCP port on loopback and an abstract name. */
static bool host_listeners(int *port, char name[100])
{
	FILE *f = fopen("/home/alice/escape.args", "r");
	bool ok = f != NULL && fscanf(f, "%d %99s", port, name) == 2;

	if (f != NULL)
		fclose(f);
	return ok;
}

static long host_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char name[100];
	int port;

	if (!host_listeners(&port, name))
		return 0; /* not tried is not refused */
	a.sin_port = htons((uint16_t)port);
	return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof(a));
}

static long host_abstract(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char name[100];
	int port;

	if (!host_listeners(&port, name))
		return 0;
	memcpy(a.sun_path + 1, name, strlen(name));
	return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a,
		       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
}

/* ---- pid 1, and whoever else is not ours ---- */
TRY(init_kill, kill(1, SIGKILL))
TRY(init_term, kill(1, SIGTERM))
TRY(init_queue, sigqueue(1, SIGRTMIN, (union sigval){ 0 }))
TRY(init_attach, ptrace(PTRACE_ATTACH, 1, 0, 0))
TRY(init_seize, ptrace(PTRACE_SEIZE, 1, 0, PTRACE_O_SUSPEND_SECCOMP))
TRY(init_mem, open("/proc/1/mem", O_RDWR))
TRY(init_maps, open("/proc/1/maps", O_RDONLY) < 0
		       ? -1
		       : read(open("/proc/1/maps", O_RDONLY), (char[9]){ 0 }, 9))
TRY(init_environ, open("/proc/1/environ", O_RDONLY))
TRY(init_root, open("/proc/1/root/etc/passwd", O_RDONLY))
TRY(init_cwd, open("/proc/1/cwd", O_RDONLY | O_DIRECTORY))
TRY(init_fds, opendir("/proc/1/fd") == NULL ? -1 : 0)
TRY(init_fd_3, open("/proc/1/fd/3", O_RDWR))
TRY(init_exe, open("/proc/1/exe", O_RDONLY))
TRY(init_limits, prlimit(1, RLIMIT_NOFILE, &(struct rlimit){ 1, 1 }, NULL))
TRY(init_priority, setpriority(PRIO_PROCESS, 1, 19))
CALL(init_compare, SYS_kcmp, getpid(), 1, 2, 0, 0)

static long init_read_memory(void)
{
	char here[8];
	struct iovec l = { here, 8 }, r = { (void *)0x400000, 8 };

	return process_vm_readv(1, &l, 1, &r, 1, 0);
}

static long init_write_memory(void)
{
	char here[8] = { 0 };
	struct iovec l = { here, 8 }, r = { (void *)0x400000, 8 };

	return process_vm_writev(1, &l, 1, &r, 1, 0);
}

static long init_take_fd(void)
{
	int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);

	return pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, 3, 0);
}

/* ---- the stub ---- */
TRY(stub_read, open(STUB, O_RDONLY))
TRY(stub_write, open(STUB, O_WRONLY))
TRY(stub_replace, unlink(STUB))
CALL(stub_magic, 0x5510, 0, 0, 0)

static pid_t run_stub(void)
{
	int fds[2];
	char c;
	pid_t pid;

	must(pipe2(fds, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(STUB, "stub", NULL);
		_exit(127);
	}
	close(fds[1]);
	must(read(fds[0], &c, 1) == 0); /* closed by the exec */
	close(fds[0]);
	return pid;
}

static long with_stub(long (*fn)(pid_t))
{
	pid_t pid = run_stub();
	long r = fn(pid);
	int saved = errno;

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	errno = saved;
	return r;
}

static long seize(pid_t pid)
{
	return ptrace(PTRACE_SEIZE, pid, 0, 0);
}

static long open_mem(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	return open(path, O_RDWR);
}

static long write_table(pid_t pid)
{
	uint64_t call[8] = { SYS_getpid };
	struct iovec l = { call, sizeof(call) }, r = { (void *)0x12000, sizeof(call) };

	return process_vm_writev(pid, &l, 1, &r, 1, 0);
}
TRY(stub_seize, with_stub(seize))
TRY(stub_mem, with_stub(open_mem))
TRY(stub_table, with_stub(write_table))

/* ---- files and devices of the host ---- */
TRY(dev_mem, open("/dev/mem", O_RDONLY))
TRY(dev_kmsg, open("/dev/kmsg", O_RDONLY))
TRY(dev_kvm, open("/dev/kvm", O_RDWR))
TRY(dev_fuse, open("/dev/fuse", O_RDWR))
TRY(dev_tun, open("/dev/net/tun", O_RDWR))
TRY(dev_vsock, open("/dev/vsock", O_RDWR))
TRY(dev_uffd, open("/dev/userfaultfd", O_RDWR))
TRY(device_char, mknod("/tmp/escape.dev", S_IFCHR | 0600, makedev(1, 1)))
TRY(device_block, mknod("/tmp/escape.dev", S_IFBLK | 0600, makedev(254, 0)))
TRY(core_pattern, open("/proc/sys/kernel/core_pattern", O_WRONLY))
TRY(last_pid, open("/proc/sys/kernel/ns_last_pid", O_WRONLY))
TRY(pid_max, open("/proc/sys/kernel/pid_max", O_WRONLY))
TRY(user_namespaces, open("/proc/sys/user/max_user_namespaces", O_WRONLY))
TRY(sysrq, open("/proc/sysrq-trigger", O_WRONLY))
TRY(kcore, open("/proc/kcore", O_RDONLY))
TRY(uevent_helper, open("/sys/kernel/uevent_helper", O_WRONLY))
TRY(debugfs, open("/sys/kernel/debug/tracing", O_RDONLY))
TRY(cgroups, open("/sys/fs/cgroup/cgroup.procs", O_WRONLY))
TRY(cgroup_v1, open("/sys/fs/cgroup/memory/tasks", O_WRONLY))
TRY(above_root, open("/../../../../work", O_RDONLY))
TRY(root_home, open("/root/.ssh", O_RDONLY))
TRY(daemon_socket, unlink("/run/pando/control.sock"))
TRY(daemon_dir, open("/run/pando/escape", O_CREAT | O_WRONLY, 0600))
TRY(write_usr, open("/usr/escape", O_CREAT | O_WRONLY, 0600))
TRY(write_etc, open("/etc/escape", O_CREAT | O_WRONLY, 0600))
TRY(shadow, open("/etc/shadow", O_RDONLY))

/* Only 0, 1, 2: whatever else came along from our daemons is theirs. Counted first of all. */
static int fds_at_start;

static long inherited_fds(void)
{
	errno = EBADF;
	return fds_at_start > 0 ? fds_at_start : -1;
}

static void count_fds(void)
{
	for (int fd = 3; fd < 1024; fd++)
		fds_at_start += fcntl(fd, F_GETFD) >= 0;
}

/* A set-user-id file gives nothing anywhere but the stub's mount. */
static long setuid_mounts(void)
{
	char line[1024], point[512];
	struct statvfs v;
	int bad = 0;
	FILE *f = fopen("/proc/self/mountinfo", "r");

	if (f == NULL)
		return -1;
	while (fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "%*d %*d %*s %*s %511s", point) != 1)
			continue;
		if (strncmp(point, "/opt/pando/stub", 15) != 0 && statvfs(point, &v) == 0 &&
		    !(v.f_flag & ST_NOSUID)) {
			say("    not nosuid: %s", point);
			bad++;
		}
	}
	fclose(f);
	errno = EPERM;
	return bad > 0 ? bad : -1;
}

/* ---- rights ---- */
TRY(become_root, setuid(0))
TRY(become_other, setresuid(1001, 1001, 1001))
TRY(root_group, setgid(0))
TRY(add_groups, setgroups(1, (gid_t[]){ 0 }))
TRY(give_away,
    open("/tmp/escape.f", O_CREAT | O_RDWR, 0600) < 0 ? -1 : chown("/tmp/escape.f", 0, 0))

static long raise_caps(void)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { ~0U, ~0U, ~0U }, { ~0U, ~0U, ~0U } };

	return syscall(SYS_capset, &h, d);
}
TRY(own_listener,
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
	    &(struct sock_fprog){ 1, &(struct sock_filter){ BPF_RET, 0, 0, SECCOMP_RET_ALLOW } }))
TRY(change_map, prctl(PR_SET_MM, PR_SET_MM_BRK, 0x1000, 0, 0))
TRY(user_dispatch, prctl(59, 1, 0, 0, 0))

static long terminal(unsigned long request)
{
	int m = posix_openpt(O_RDWR | O_NOCTTY), s;
	char c = 'x';

	if (m < 0 || grantpt(m) != 0 || unlockpt(m) != 0)
		return -1;
	s = open(ptsname(m), O_RDWR | O_NOCTTY);
	if (s < 0 || setsid() < 0 || ioctl(s, TIOCSCTTY, 0) != 0)
		return -1;
	return ioctl(s, request, &c);
}
TRY(type_into, terminal(TIOCSTI))
TRY(type_hidden_bits, terminal(TIOCSTI | 0x100000000))
TRY(console_select, terminal(TIOCLINUX))
TRY(line_discipline, terminal(TIOCSETD))

/* Two threads: one calls, the other changes what the call points to. */
static char raced[64];
static volatile int racing;

static int flip(void *arg)
{
	while (racing) {
		memcpy(raced, "/bin/true", 10);
		memcpy(raced, "/proc/1/exe", 12);
	}
	return 0;
}

static long race_exec(void)
{
	static char stack[16384] __attribute__((aligned(16)));
	volatile int refused = 0;

	racing = 1;
	must(clone(flip, stack + sizeof(stack),
		   CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
		   NULL) > 0);
	for (int i = 0; i < 300; i++) {
		pid_t pid = vfork();

		if (pid == 0) {
			execl(raced, "x", NULL);
			_exit(errno == EACCES || errno == ENOENT || errno == EPERM ? 100 : 101);
		}
		must(pid > 0);
		refused += WEXITSTATUS(reap(pid)) != 101;
	}
	racing = 0;
	errno = EACCES;
	return refused == 300 ? -1 : 0;
}

/* The same of what connect is told: our own listener is good, the host's is not to be had. */
static struct race race;

struct listener {
	int fd, family;
	struct sockaddr_storage at;
	socklen_t len;
};

static bool connect_turn(void *arg)
{
	struct listener *l = arg;
	struct sockaddr_storage peer = { 0 };
	socklen_t len = sizeof(peer);
	int fd = socket(l->family, SOCK_STREAM, 0);
	int r = connect(fd, (struct sockaddr *)race.words, l->len);

	must(r == 0 || errno == ECONNREFUSED);
	if (r == 0) {
		must(getpeername(fd, (struct sockaddr *)&peer, &len) == 0);
		if (len != l->len || memcmp(&peer, &l->at, len) != 0) {
			say("    connected with the host");
			_exit(0); /* without a word: see attempt() */
		}
		close(accept(l->fd, NULL, NULL));
	}
	close(fd);
	return r == 0;
}

static long race_connect(struct listener *l, const void *host)
{
	uint64_t good, bad;

	must(getsockname(l->fd, (struct sockaddr *)&l->at, &l->len) == 0 && listen(l->fd, 9) == 0);
	memcpy(race.words, &l->at, l->len);
	memcpy(&good, &l->at, sizeof(good));
	memcpy(&bad, host, sizeof(bad));
	race_run(&race, good, bad, connect_turn, l);
	errno = ECONNREFUSED;
	return -1;
}

static long race_host_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct listener l = { socket(AF_INET, SOCK_STREAM, 0), AF_INET, { 0 }, sizeof(a) };
	char name[100];
	int port;

	if (!host_listeners(&port, name))
		return 0;
	must(bind(l.fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	a.sin_port = htons((uint16_t)port);
	return race_connect(&l, &a);
}

/* The names differ in their first letter alone. */
static long race_host_abstract(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct listener l = { socket(AF_UNIX, SOCK_STREAM, 0), AF_UNIX, { 0 }, 0 };
	char name[100];
	int port;

	if (!host_listeners(&port, name))
		return 0;
	memcpy(a.sun_path + 1, name, strlen(name));
	a.sun_path[1]++;
	l.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
	must(bind(l.fd, (struct sockaddr *)&a, l.len) == 0);
	a.sun_path[1]--;
	return race_connect(&l, &a);
}

/* What pid 1 refuses it refuses whatever the argument becomes. */
static long race_init(uint64_t good, uint64_t bad, size_t at, bool (*turn)(void))
{
	bool granted = false;

	race.at = at;
	race_begin(&race, good, bad);
	for (int i = 0; i < 300 && !granted; i++)
		granted = turn();
	race_end(&race);
	errno = EPERM;
	return granted ? 0 : -1;
}

static bool queue_turn(void)
{
	return syscall(SYS_rt_sigqueueinfo, 1, SIGRTMIN, race.words) == 0;
}

static bool read_turn(void)
{
	struct iovec l = { (char[8]){ 0 }, 8 };

	race.words[1] = 8;
	return process_vm_readv(1, &l, 1, (struct iovec *)race.words, 1, 0) >= 0;
}

static bool write_turn(void)
{
	struct iovec l = { (char[8]){ 0 }, 8 };

	race.words[1] = 8;
	return process_vm_writev(1, &l, 1, (struct iovec *)race.words, 1, 0) >= 0;
}
TRY(race_init_queue, race_init((uint32_t)SI_QUEUE, SI_USER, 1, queue_turn))
TRY(race_init_read, race_init((uintptr_t)raced, 0x400000, 0, read_turn))
TRY(race_init_write, race_init((uintptr_t)raced, 0x400000, 0, write_turn))

#define A(name)                                                                                    \
	{                                                                                          \
#name, name                                                                        \
	}
static const struct {
	const char *name;
	long (*fn)(void);
} attempts[] = {
	A(mount_tmpfs),
	A(mount_proc),
	A(mount_bind),
	A(mount_remount),
	A(umount_proc),
	A(pivot),
	A(chroot_dot),
	A(unshare_user),
	A(unshare_mount),
	A(unshare_net),
	A(unshare_time),
	A(clone_user),
	A(clone_pid),
	A(clone_hidden_bits),
	A(setns_own_user),
	A(setns_init),
	A(new_fs_context),
	A(clone_tree),
	A(set_mount_attr),
	A(clone3_user),
	A(clone3_net),
	A(clone3_pid),
	A(clone3_set_tid),
	A(bpf_map),
	A(perf),
	A(uffd),
	A(uffd_user_only),
	A(uring),
	A(key_session),
	A(key_add),
	A(key_request),
	A(kexec),
	A(module),
	A(module_fd),
	A(module_delete),
	A(io_level),
	A(io_ports),
	A(restart),
	A(swap),
	A(accounting),
	A(quota),
	A(kernel_log),
	A(set_time),
	A(set_clock),
	A(adjust_clock),
	A(host_name),
	A(notify_all),
	A(descriptor_table),
	A(file_by_handle),
	A(hang_up),
	A(low_memory),
	A(personality_exec),
	A(x32_getpid),
	A(int_0x80),
	A(socket_vsock),
	A(socket_packet),
	A(socket_packet_old),
	A(socket_raw),
	A(socket_raw6),
	A(socket_alg),
	A(socket_xdp),
	A(socket_sctp),
	A(socket_audit),
	A(socket_uevent),
	A(socket_netfilter),
	A(socketpair_tipc),
	A(interfaces),
	A(host_port),
	A(host_abstract),
	A(init_kill),
	A(init_term),
	A(init_queue),
	A(init_attach),
	A(init_seize),
	A(init_mem),
	A(init_maps),
	A(init_environ),
	A(init_root),
	A(init_cwd),
	A(init_fds),
	A(init_fd_3),
	A(init_exe),
	A(init_limits),
	A(init_priority),
	A(init_compare),
	A(init_read_memory),
	A(init_write_memory),
	A(init_take_fd),
	A(stub_read),
	A(stub_write),
	A(stub_replace),
	A(stub_magic),
	A(stub_seize),
	A(stub_mem),
	A(stub_table),
	A(dev_mem),
	A(dev_kmsg),
	A(dev_kvm),
	A(dev_fuse),
	A(dev_tun),
	A(dev_vsock),
	A(dev_uffd),
	A(device_char),
	A(device_block),
	A(core_pattern),
	A(last_pid),
	A(pid_max),
	A(user_namespaces),
	A(sysrq),
	A(kcore),
	A(uevent_helper),
	A(debugfs),
	A(cgroups),
	A(cgroup_v1),
	A(above_root),
	A(root_home),
	A(daemon_socket),
	A(daemon_dir),
	A(write_usr),
	A(write_etc),
	A(shadow),
	A(inherited_fds),
	A(setuid_mounts),
	A(become_root),
	A(become_other),
	A(root_group),
	A(add_groups),
	A(give_away),
	A(raise_caps),
	A(own_listener),
	A(change_map),
	A(user_dispatch),
	A(type_into),
	A(type_hidden_bits),
	A(console_select),
	A(line_discipline),
	A(race_exec),
	A(race_host_port),
	A(race_host_abstract),
	A(race_init_queue),
	A(race_init_read),
	A(race_init_write),
};

static bool attempt(size_t i)
{
	int fds[2], err = 0, status;
	pid_t pid;

	must(pipe2(fds, O_CLOEXEC) == 0);
	pid = fork_child();
	if (pid == 0) {
		long r;

		close(fds[0]);
		alarm(10);
		errno = 0;
		r = attempts[i].fn();
		err = r == -1 ? errno : 0;
		must(write(fds[1], &err, sizeof(err)) == sizeof(err));
		_exit(0);
	}
	close(fds[1]);
	if (read(fds[0], &err, sizeof(err)) != sizeof(err))
		err = -1;
	close(fds[0]);
	status = reap(pid);
	if (err > 0)
		say("%s: %s", attempts[i].name, strerrorname_np(err));
	else if (err < 0 && WIFSIGNALED(status))
		say("%s: %s", attempts[i].name, status_text(status));
	else
		say("%s: ESCAPED", attempts[i].name);
	return err > 0 || (err < 0 && WIFSIGNALED(status));
}

int main(int argc, char **argv)
{
	int escaped = 0;

	if (argc != 1) {
		printf("%zu\n", COUNT(attempts));
		return 0;
	}
	count_fds();
	must(getuid() == 1000 && access(STUB, X_OK) == 0); /* a tenant's world, not a bare host */
	for (size_t i = 0; i < COUNT(attempts); i++)
		escaped += !attempt(i);
	unlink("/tmp/escape.f");
	say("%zu attempts, %d escaped", COUNT(attempts), escaped);
	return escaped != 0;
}
