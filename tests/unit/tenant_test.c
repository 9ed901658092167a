/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tenant_test.c - a tenant's world, seen from inside, from outside, and by its guest kernel.
 *
 * Needs root. The test is its own guest program, guest kernel and stub: main() looks at argv[1].
 * `tenant_test --threads N` repeats the steering test alone with N threads.
 */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"
#include "kernel/procfs/procfs.h"
#include "kernel/tenant/client.h"
#include "cmd/tenant/tenant.h"

#define ID_BASE (65536u * 30)
#define BLOCK   1200000
#define SELF    "/opt/test/self"

static char dir[128], run_dir[160], home[160], cluster[96], group[CGROUP_PATH_MAX];
static char self_path[512], init_path[512];
static struct cgroup_host *cgroups;
static struct tenant *t;
static char why[TENANT_WHY_MAX];
static unsigned thread_count = 20000;

/* ---- helpers ---- */

static struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };

static struct tenant_volume volumes[] = {
	{ home, "/home/alice", true, false },
	{ self_path, SELF, true, true },
};

static struct tenant_cfg config(void)
{
	return (struct tenant_cfg){
		.name = "alice",
		.hostname = "grove",
		.id_base = ID_BASE,
		.run_dir = run_dir,
		.cgroups = cgroups,
		.cgroup = group,
		.limits = { .pids_max = 100, .memory_max_bytes = 512u << 20 },
		.volumes = volumes,
		.volume_count = 2,
		.clock_offset_ns = 5000 * (int64_t)NS_PER_S,
		.init_path = init_path,
		.stub_path = self_path,
		.filter = allow,
		.filter_bytes = sizeof(allow),
	};
}

static int ask(int sock, uint32_t op, const char *key, uint64_t a, uint64_t b, uint64_t c)
{
	struct init_msg m = { .op = op, .arg = { a, b, c } };

	(void)snprintf(m.key, sizeof(m.key), "%s", key);
	return init_call(sock, &m, NULL, 0, NULL, 0, NULL, NULL, 5000);
}

static int get(int sock, const char *key)
{
	struct init_msg m = { .op = INIT_GET };
	int fd;

	(void)snprintf(m.key, sizeof(m.key), "%s", key);
	assert_int_equal(init_call(sock, &m, NULL, 0, NULL, 0, &fd, NULL, 5000), 0);
	return fd;
}

static int put(int sock, const char *key, int fd)
{
	struct init_msg m = { .op = INIT_PUT };

	(void)snprintf(m.key, sizeof(m.key), "%s", key);
	return init_call(sock, &m, NULL, 0, &fd, 1, NULL, NULL, 5000);
}

static void start(const struct tenant_cfg *cfg)
{
	int r = tenant_start(cfg, &t, why);

	if (r < 0)
		fail_msg("%s", why);
	assert_int_equal(ask(t->control, INIT_BLOCK, "", BLOCK, 4096, 0), 0);
}

static void stop(void)
{
	if (tenant_stop(t, why) < 0)
		fail_msg("%s", why);
	t = NULL;
}

static const char *spawn_key = "";

/* Sends a SPAWN without waiting for its answer. */
static void spawn_send(char *const argv[], uint32_t flags, const char *cwd, const int *fds)
{
	static char payload[60000];
	static char *const envp[] = { "PATH=" TENANT_PATH, "HOME=/home/alice", "TERM=dumb", NULL };
	struct init_spawn head = { .flags = flags, .uid = TENANT_UID, .rows = 33, .cols = 111 };
	struct init_msg m = { .op = INIT_SPAWN, .tag = 77 };
	int n = init_spawn_pack(payload, sizeof(payload), &head, argv, envp, cwd);

	(void)snprintf(m.key, sizeof(m.key), "%s", spawn_key);
	assert_true(n > 0);
	assert_int_equal(init_send(t->control, &m, payload, (size_t)n, fds, fds == NULL ? 0 : 3),
			 0);
}

/* Waits for the next message with @op. */
static void await(int sock, uint32_t op, struct init_in *in)
{
	for (;;) {
		struct pollfd p = { .fd = sock, .events = POLLIN };

		assert_int_equal(poll(&p, 1, 30000), 1); /* a busy machine */
		assert_int_equal(init_recv(sock, in), 1);
		if (in->msg.op == op)
			return;
		init_in_close(in);
	}
}

struct ran {
	char out[8192];
	int status;
	gpid pid;
};

/* Reads until the end, or EIO of a terminal whose last user is gone. */
static void read_all(int fd, char *out, size_t size)
{
	size_t n = 0;
	ssize_t got;

	while (n < size - 1 && (got = read(fd, out + n, size - 1 - n)) > 0)
		n += (size_t)got;
	out[n] = 0;
}

/* Runs a program in the tenant to its end and acknowledges it. */
static struct ran run_with(char *const argv[], uint32_t flags)
{
	static struct init_in in;
	struct ran ran = { .status = -1 };
	int p[2], nul = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(ask(t->control, INIT_WATCH, "", 0, 0, 0), 0);
	spawn_send(argv, flags, "/home/alice", (int[]){ nul, p[1], p[1] });
	(void)close(p[1]);
	(void)close(nul);
	await(t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, 0);
	assert_int_equal(in.msg.tag, 77);
	ran.pid = (gpid)in.msg.arg[0];
	init_in_close(&in);
	read_all(p[0], ran.out, sizeof(ran.out));
	(void)close(p[0]);
	do /* one that an earlier test killed may be told now */
		await(t->control, INIT_EV_EXIT, &in);
	while ((gpid)in.msg.arg[0] != ran.pid);
	ran.status = (int)in.msg.arg[1];
	assert_int_equal(ask(t->control, INIT_ACK, "", in.msg.arg[2], 0, 0), 0);
	return ran;
}

static struct ran run(char *const argv[])
{
	return run_with(argv, 0);
}

static struct ran sh(const char *script)
{
	return run((char *const[]){ "/bin/sh", "-c", (char *)(uintptr_t)script, NULL });
}

static int setup(void **state)
{
	struct tenant_cfg cfg = config();

	start(&cfg);
	return 0;
}

static int teardown(void **state)
{
	if (t != NULL)
		stop();
	return 0;
}

/* ---- inside ---- */

static void a_session_is_the_tenants_user_on_the_machine(void **state)
{
	struct ran r = sh("id -un; id -u; id -G; pwd; hostname; tty; echo $HOME; umask; touch ~/x; "
			  "stat -c %u ~/x; exit 7");

	assert_string_equal(r.out, "alice\n1000\n1000\n/home/alice\ngrove\nnot a tty\n/home/alice\n"
				   "0022\n1000\n");
	assert_int_equal(r.status, 7 << 8);
	assert_int_equal(r.pid, BLOCK);
}

static void programs_work(void **state)
{
	struct ran r = sh("printf 'int main(){return 42;}' >a.c && gcc a.c -o a && ./a; echo $?; "
			  "/usr/bin/python3 -c 'import ssl, json; print(6*7)'; "
			  "printf 'all:\\n\\t@echo made\\n' >Makefile; make; "
			  "bash -c 'diff <(echo a) <(echo a) && echo same'; nproc >/dev/null && "
			  "ls -d /usr/lib/os-release /etc/localtime; awk 'BEGIN{print 1}'");

	assert_string_equal(r.out, "42\n42\nmade\nsame\n/etc/localtime\n/usr/lib/os-release\n1\n");
}

static void a_guest_has_no_rights(void **state)
{
	struct ran r =
		sh("grep -E '^(Cap(Inh|Prm|Eff|Amb)|Seccomp|NoNewPrivs):' /proc/self/status");

	assert_string_equal(r.out, "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
				   "CapEff:\t0000000000000000\nCapAmb:\t0000000000000000\n"
				   "NoNewPrivs:\t0\nSeccomp:\t2\n");
	/* Pid 1 and the spawner are out of reach, and so is everything that could be written. */
	r = sh("kill -9 1 2; cat /proc/1/environ; ls /proc/1/fd /proc/1/root; "
	       "echo 5 >/proc/sys/kernel/ns_last_pid; unshare -Ur true; touch /x /usr/x /etc/x "
	       "/dev/x; "
	       "mount -t tmpfs x /tmp; ls /sys | wc -l; cat /proc/1/cmdline | tr '\\0' .");
	assert_null(strstr(r.out, "PATH"));
	assert_non_null(strstr(r.out, "Operation not permitted"));
	assert_non_null(strstr(r.out, "unshare failed: No space left"));
	assert_non_null(strstr(r.out, "touch: cannot touch '/x': Read-only"));
	assert_non_null(strstr(r.out, "touch: cannot touch '/usr/x': Read-only"));
	assert_non_null(strstr(r.out, "\n0\npando-init."));
	assert_int_equal(ask(t->control, INIT_CURSOR, "", 0, 0, 0), 0);
}

static void only_standard_descriptors_are_open(void **state)
{
	struct ran r = run((char *const[]){ "/bin/ls", "/proc/self/fd", NULL });

	assert_string_equal(r.out, "0\n1\n2\n3\n"); /* 3 is the directory that ls reads */
}

static void clocks_are_the_machines(void **state)
{
	struct ran r = sh("cut -d. -f1 /proc/uptime");
	struct timespec ts;

	assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &ts), 0);
	assert_true(labs(strtol(r.out, NULL, 10) - ts.tv_sec - 5000) <= 1);
}

static void guests_are_bound_by_their_limits(void **state)
{
	/* A hundred tasks, not one more; and the two daemons do not notice. */
	struct ran r = run((char *const[]){ SELF, "--bomb", NULL });
	long n = strtol(r.out, NULL, 10);

	assert_in_range(n, 90, 100);
	r = sh("echo still here");
	assert_string_equal(r.out, "still here\n");
}

static void the_stub_may_choose_pids_and_is_undumpable(void **state)
{
	struct ran r = run((char *const[]){ TENANT_STUB, "--stub", NULL });

	assert_string_equal(r.out, "0000010000000000 0\n");
	r = sh("cat " TENANT_STUB " | wc -c; stat -c %a " TENANT_STUB);
	assert_non_null(strstr(r.out, "Permission denied"));
	assert_non_null(strstr(r.out, "0\n111\n"));
}

/* The zygote is given work as soon as its exec has succeeded: the signal came before its first
 * call. */
static void a_deaf_one_is_killed_by_nothing_that_comes_too_early(void **state)
{
	char *const argv[] = { "/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", NULL };
	struct ran r = run_with(argv, INIT_SPAWN_DEAF);

	assert_int_equal(r.status, 0);
	assert_non_null(strstr(r.out, "SigBlk:\tffff"));
	r = run_with(argv, 0);
	assert_non_null(strstr(r.out, "SigBlk:\t0000000000000000"));
}

static void a_terminal_is_the_controlling_one(void **state)
{
	static struct init_in in;
	char out[4096];
	int master, event, again;

	assert_int_equal(ask(t->control, INIT_WATCH, "", 0, 0, 0), 0);
	spawn_send((char *const[]){ "-/bin/sh", "-c",
				    "tty; stty size; stat -c '%u %g %a' $(tty); ps -o tty= -p $$; "
				    "echo $0; exit 3",
				    NULL },
		   INIT_SPAWN_TTY, "/", NULL);
	await(t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, 0);
	assert_int_equal(in.nfds, 2);
	master = in.fds[1];
	in.fds[1] = -1;
	init_in_close(&in);
	read_all(master, out, sizeof(out));
	assert_string_equal(out, "/dev/pts/0\r\n33 111\r\n1000 5 620\r\npts/0\r\n-sh\r\n");
	(void)close(master);
	await(t->control, INIT_EV_EXIT, &in);
	assert_int_equal(in.msg.arg[1], 3 << 8);
	event = (int)in.msg.arg[2];
	/* The store keeps the master, so that no pandod's death hangs up: until the exit is known.
	 */
	char key[32];
	(void)snprintf(key, sizeof(key), "pty.%d", (int)in.msg.arg[0]);
	again = get(t->control, key);
	(void)close(again);
	assert_int_equal(ask(t->control, INIT_ACK, "", (uint64_t)event, 0, 0), 0);
	assert_int_equal(ask(t->control, INIT_GET, key, 0, 0, 0), -ENOENT);
}

/* ---- from outside ---- */

static pid_t host_pid(int pidfd)
{
	char path[64], text[512] = "";
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	fd = open(path, O_RDONLY);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	(void)close(fd);
	return (pid_t)strtol(strstr(text, "\nPid:") + 5, NULL, 10);
}

static pid_t sleeper(int *pidfd)
{
	static struct init_in in;
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC);

	spawn_send((char *const[]){ "/bin/sleep", "100", NULL }, 0, "/", (int[]){ nul, nul, nul });
	(void)close(nul);
	await(t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, 0);
	*pidfd = in.fds[0];
	in.fds[0] = -1;
	init_in_close(&in);
	return host_pid(*pidfd);
}

static void host_read(pid_t pid, const char *file, char *out, size_t size)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	read_all(fd, out, size);
	(void)close(fd);
}

static void the_host_sees_all_namespaces_apart(void **state)
{
	static const char *const ns[] = { "user", "pid", "mnt",    "net",
					  "ipc",  "uts", "cgroup", "time" };
	char status[8192], path[64], a[64], b[64], cg[2048];
	int pidfd;
	pid_t pid = sleeper(&pidfd);

	for (size_t i = 0; i < ARRAY_LEN(ns); i++) {
		memset(a, 0, sizeof(a));
		memset(b, 0, sizeof(b));
		(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, ns[i]);
		assert_true(readlink(path, a, sizeof(a) - 1) > 0);
		(void)snprintf(path, sizeof(path), "/proc/self/ns/%s", ns[i]);
		assert_true(readlink(path, b, sizeof(b) - 1) > 0);
		assert_string_not_equal(a, b);
	}
	host_read(pid, "status", status, sizeof(status));
	(void)snprintf(a, sizeof(a), "\nUid:\t%u\t%u\t%u\t%u\n", ID_BASE + 1000, ID_BASE + 1000,
		       ID_BASE + 1000, ID_BASE + 1000);
	assert_non_null(strstr(status, a));
	assert_non_null(strstr(status, "\nCapEff:\t0000000000000000\n"));
	/* In every hierarchy it is under the guests' limits; pando-init is under none. */
	host_read(pid, "cgroup", cg, sizeof(cg));
	(void)snprintf(path, sizeof(path), "pids:/%.40s/guests/run\n", group);
	assert_non_null(strstr(cg, "/guests/run\n"));
	assert_int_equal(sched_getscheduler(pid), SCHED_OTHER);
	assert_int_equal(sched_getscheduler(t->init_pid), SCHED_RR | SCHED_RESET_ON_FORK);
	host_read(t->init_pid, "cgroup", cg, sizeof(cg));
	assert_null(strstr(cg, "/guests"));
	assert_non_null(strstr(cg, "/init\n"));
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	(void)close(pidfd);
}

static void no_host_mount_is_left_inside(void **state)
{
	struct ran r = sh("cut -d' ' -f5 /proc/self/mountinfo; ls /root /home");
	char text[8192];

	assert_null(strstr(r.out, "/old"));
	assert_null(strstr(r.out, dir));
	assert_null(strstr(r.out, "/sys/"));
	/* and nothing of it shows on the host */
	host_read(getpid(), "mountinfo", text, sizeof(text));
	assert_null(strstr(text, "/opt/test"));
}

/* ---- the protocol ---- */

static void the_store_outlives_connections(void **state)
{
	static struct init_in in;
	struct init_msg m = { .op = INIT_LIST, .key = "t." };
	int p[2], k, fd;
	char c = 0;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	k = init_connect(t->run_dir, INIT_ROLE_KERNEL, NULL);
	assert_true(k >= 0);
	assert_int_equal(put(k, "t.one", p[0]), 0);
	assert_int_equal(put(k, "t.one", p[1]), -EEXIST);
	assert_int_equal(put(k, "", p[1]), -EINVAL);
	(void)close(p[0]);
	(void)close(k);
	k = init_connect(t->run_dir, INIT_ROLE_KERNEL, NULL);
	fd = get(k, "t.one");
	assert_int_equal(write(p[1], "x", 1), 1);
	assert_int_equal(read(fd, &c, 1), 1);
	assert_int_equal(c, 'x');
	(void)close(fd);
	assert_int_equal(init_call(k, &m, NULL, 0, NULL, 0, NULL, &in, 5000), 0);
	assert_int_equal(in.len, 6);
	assert_memory_equal(in.payload, "t.one", 6);
	assert_int_equal(ask(k, INIT_DROP, "t.one", 0, 0, 0), 0);
	assert_int_equal(ask(k, INIT_DROP, "t.one", 0, 0, 0), -ENOENT);
	/* The last reader is gone now. */
	(void)signal(SIGPIPE, SIG_IGN);
	assert_int_equal(write(p[1], "x", 1), -1);
	(void)close(p[1]);
	(void)close(k);
}

static void what_is_stored_is_announced(void **state)
{
	static struct init_in in;
	int k = init_connect(t->run_dir, INIT_ROLE_KERNEL, NULL);

	assert_int_equal(ask(k, INIT_WATCH, "", 0, 0, 0), 0);
	assert_int_equal(put(t->control, "pod", 0), 0);
	await(k, INIT_EV_STORED, &in);
	assert_string_equal(in.msg.key, "pod");
	assert_int_equal(ask(t->control, INIT_DROP, "pod", 0, 0, 0), 0);
	(void)close(k);
}

static void a_role_is_for_good_and_has_its_rights(void **state)
{
	struct init_msg hello = { .op = INIT_HELLO, .arg = { INIT_ROLE_KERNEL } };
	struct stat st;
	char path[64];
	int k = init_connect(t->run_dir, INIT_ROLE_KERNEL, NULL), k2;

	assert_int_equal(ask(k, INIT_LEASE, "", 1, 0, 0), -EPERM);
	assert_int_equal(ask(k, INIT_SHUTDOWN, "", 0, 0, 0), -EPERM);
	assert_int_equal(ask(k, INIT_HELLO, "", INIT_ROLE_POD, 0, 0), -EPERM);
	assert_int_equal(ask(k, INIT_HELLO, "", 9, 0, 0), -EINVAL);
	assert_int_equal(init_call(k, &hello, NULL, 0, NULL, 0, NULL, NULL, 5000), 0);
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)t->init_pid);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(hello.arg[0], st.st_ino);
	/* A second kernel takes the place of the first. */
	k2 = init_connect(t->run_dir, INIT_ROLE_KERNEL, NULL);
	assert_true(k2 >= 0);
	assert_int_equal(ask(k2, INIT_CURSOR, "", 0, 0, 0), 0);
	assert_true(ask(k, INIT_CURSOR, "", 0, 0, 0) < 0);
	(void)close(k);
	(void)close(k2);
}

static void malformed_messages_are_refused(void **state)
{
	static struct init_in in;
	struct init_msg m = { .op = INIT_GET };
	uint8_t junk[64] = { 1, 2, 3 };
	char payload[64] = { 0 };

	assert_int_equal(send(t->control, junk, sizeof(junk), 0), sizeof(junk));
	assert_int_equal(init_recv(t->control, &in), 1);
	assert_int_equal(in.msg.result, -EPROTO);
	assert_int_equal(ask(t->control, 4711, "", 0, 0, 0), -EPROTO);
	assert_int_equal(ask(t->control, 0, "", 0, 0, 0), -EPROTO);
	memset(m.key, 'x', sizeof(m.key)); /* no end */
	assert_int_equal(init_call(t->control, &m, NULL, 0, NULL, 0, NULL, NULL, 5000), -EPROTO);
	m = (struct init_msg){ .op = INIT_SPAWN };
	assert_int_equal(
		init_call(t->control, &m, payload, sizeof(payload), NULL, 0, NULL, NULL, 5000),
		-EPROTO);
	m = (struct init_msg){ .op = INIT_PUT, .key = "two" };
	assert_int_equal(init_call(t->control, &m, NULL, 0, (int[]){ 0, 1 }, 2, NULL, NULL, 5000),
			 -EPROTO);
	assert_int_equal(ask(t->control, INIT_BLOCK, "", 5, 4096, 0), -EINVAL);
	assert_int_equal(ask(t->control, INIT_BLOCK, "", UINT64_MAX, 4096, 0), -EINVAL);
	assert_int_equal(ask(t->control, INIT_BLOCK, "", BLOCK + 1, 4096, 0), -EINVAL);
	assert_int_equal(ask(t->control, INIT_UNBLOCK, "", 4711, 0, 0), -ENOENT);
	/* Before HELLO nothing is answered but -EPROTO. */
	int p[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p), 0);
	(void)close(p[0]);
	(void)close(p[1]);
}

static void a_failed_start_says_which_step(void **state)
{
	static struct init_in in;
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC), fds[3] = { nul, nul, nul };

	spawn_send((char *const[]){ "/bin/nothing", NULL }, 0, "/", fds);
	await(t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, -ENOENT);
	assert_int_equal(in.msg.arg[0], INIT_STEP_EXEC);
	spawn_send((char *const[]){ "/bin/true", NULL }, 0, "/root", fds);
	await(t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, -EACCES);
	assert_int_equal(in.msg.arg[0], INIT_STEP_CHDIR);
	spawn_send((char *const[]){ "true", NULL }, 0, "/", fds);
	await(t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, -EINVAL);
	assert_int_equal(in.msg.arg[0], INIT_STEP_REQUEST);
	(void)close(nul);
}

/* A guest kernel may die after it has asked, and the next one asks again: a program must not run
 * twice. */
static void asked_for_again_by_its_name_it_is_the_same_one(void **state)
{
	static struct init_in in;
	char *const argv[] = { "/bin/sh", "-c", "echo once; exec sleep 100", NULL };
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC), p[2];
	char key[INIT_KEY_MAX], out[64];
	gpid pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	spawn_key = "session.9";
	for (int i = 0; i < 2; i++)
		spawn_send(argv, 0, "/", (int[]){ nul, p[1], p[1] });
	await(t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, 0);
	pid = (gpid)in.msg.arg[0];
	init_in_close(&in);
	(void)snprintf(key, sizeof(key), "session.9.%d", pid);
	assert_int_equal(ask(t->control, INIT_GET, key, 0, 0, 0), 0);
	spawn_send(argv, 0, "/", (int[]){ nul, p[1], p[1] });
	await(t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.arg[0], pid);
	assert_int_equal(in.nfds, 1);
	assert_int_equal(read(p[0], out, sizeof(out)), 5);
	assert_memory_equal(out, "once\n", 5);
	assert_int_equal(syscall(SYS_pidfd_send_signal, in.fds[0], SIGKILL, NULL, 0), 0);
	init_in_close(&in);
	(void)close(p[1]);
	(void)close(nul);
	read_all(p[0], out, sizeof(out));
	(void)close(p[0]);
	assert_string_equal(out, "");
	do
		await(t->control, INIT_EV_EXIT, &in);
	while (in.msg.arg[0] != (uint64_t)pid);
	assert_int_equal(ask(t->control, INIT_DROP, key, 0, 0, 0), 0);
	assert_int_equal(ask(t->control, INIT_ACK, "", in.msg.arg[2], 0, 0), 0);
	init_in_close(&in);
	spawn_key = "session.of-a-name-that-is-too-long-12345";
	spawn_send(argv, 0, "/", (int[]){ 0, 1, 2 });
	await(t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, -EINVAL);
	spawn_key = "";
}

static void exits_are_kept_until_acknowledged(void **state)
{
	static struct init_in in;
	struct tenant_cfg cfg = config();
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct tenant *again;
	struct pollfd p;
	int64_t pid, event;

	spawn_send((char *const[]){ "/bin/sh", "-c", "kill -SEGV $$", NULL }, 0, "/",
		   (int[]){ nul, nul, nul });
	(void)close(nul);
	await(t->control, INIT_SPAWN, &in);
	pid = (int64_t)in.msg.arg[0];
	p = (struct pollfd){ .fd = in.fds[0], .events = POLLIN };
	assert_int_equal(poll(&p, 1, 5000), 1);
	init_in_close(&in);
	/* pandod dies and comes back. */
	if (tenant_adopt(&cfg, &again, why) < 0)
		fail_msg("%s", why);
	assert_int_equal(again->init_pid, t->init_pid);
	assert_true(again->is_child);
	tenant_free(t);
	t = again;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ask(t->control, INIT_WATCH, "", 0, 0, 0), 0);
		do /* others of this world ended unacknowledged too */
			await(t->control, INIT_EV_EXIT, &in);
		while ((int64_t)in.msg.arg[0] != pid);
		assert_int_equal(in.msg.arg[1], SIGSEGV);
		event = (int64_t)in.msg.arg[2];
	}
	assert_int_equal(ask(t->control, INIT_ACK, "", (uint64_t)event, 0, 0), 0);
	assert_int_equal(ask(t->control, INIT_ACK, "", (uint64_t)event, 0, 0), -ENOENT);
	assert_int_equal(ask(t->control, INIT_WATCH, "", 0, 0, 0), 0);
	p = (struct pollfd){ .fd = t->control, .events = POLLIN };
	while (poll(&p, 1, 50) == 1) {
		assert_int_equal(init_recv(t->control, &in), 1);
		assert_int_not_equal(in.msg.arg[0], pid);
	}
}

static void a_running_tenant_is_not_started_twice(void **state)
{
	struct tenant_cfg cfg = config();
	struct tenant *second;

	assert_int_equal(tenant_start(&cfg, &second, why), -EEXIST);
	/* and its pandod is not disturbed */
	assert_int_equal(ask(t->control, INIT_CURSOR, "", 0, 0, 0), 0);
}

/* ---- pids ---- */

static void tids_stay_in_the_blocks(void **state)
{
	static struct init_in in;
	struct init_msg m = { .op = INIT_CURSOR };
	char n[16];
	struct ran r;

	assert_int_equal(ask(t->control, INIT_BLOCK, "", BLOCK + 40960, 4096, 0), 0);
	(void)snprintf(n, sizeof(n), "%u", thread_count);
	r = run((char *const[]){ SELF, "--make-threads", n, NULL });
	if (r.status != 0)
		fail_msg("%s", r.out);
	assert_int_equal(init_call(t->control, &m, NULL, 0, NULL, 0, NULL, &in, 5000), 0);
	assert_int_equal(m.arg[1], 8192);
	assert_int_equal(m.arg[2], 0);
	assert_int_equal(ask(t->control, INIT_UNBLOCK, "", BLOCK + 40960, 0, 0), 0);
}

static void nothing_starts_without_a_block(void **state)
{
	static struct init_in in;
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(ask(t->control, INIT_UNBLOCK, "", BLOCK, 0, 0), 0);
	spawn_send((char *const[]){ "/bin/true", NULL }, 0, "/", (int[]){ nul, nul, nul });
	await(t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, -ENOSPC);
	assert_int_equal(ask(t->control, INIT_BLOCK, "", BLOCK, 4096, 0), 0);
	(void)close(nul);
}

/* ---- a filter that asks, and nobody there to answer ---- */

/* Notifies execve; all else is allowed. */
static struct sock_filter ask_execve[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static void a_start_waits_for_a_guest_kernel_and_nothing_else_does(void **state)
{
	static struct init_in in;
	struct tenant_cfg cfg = config();
	struct seccomp_notif req;
	struct seccomp_notif_resp resp;
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC), listener;
	struct pollfd p;

	cfg.filter = ask_execve;
	cfg.filter_bytes = sizeof(ask_execve);
	start(&cfg);
	spawn_send((char *const[]){ "/bin/sh", "-c", "exit 5", NULL }, 0, "/",
		   (int[]){ nul, nul, nul });
	(void)close(nul);
	p = (struct pollfd){ .fd = t->control, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 100), 0);
	assert_int_equal(put(t->control, "meanwhile", 0), 0);
	/* A kernel comes, takes the listener from the store and lets the call go on. */
	listener = get(t->control, INIT_KEY_LISTENER);
	memset(&req, 0, sizeof(req));
	assert_int_equal(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &req), 0);
	assert_int_equal(req.data.nr, SYS_execve);
	resp = (struct seccomp_notif_resp){ .id = req.id,
					    .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
	assert_int_equal(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp), 0);
	await(t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, 0);
	init_in_close(&in);
	assert_int_equal(ask(t->control, INIT_WATCH, "", 0, 0, 0), 0);
	await(t->control, INIT_EV_EXIT, &in);
	assert_int_equal(in.msg.arg[1], 5 << 8);
	(void)close(listener);
	stop();
}

/* ---- the machine's /proc ---- */

static int one_process(void *arg, gpid after, struct procfs_pid *out)
{
	*out = (struct procfs_pid){ .pid = BLOCK, .uid = TENANT_UID, .here = true, .node = "n1" };
	return after < BLOCK ? 0 : -ESRCH;
}

static int find_process(void *arg, gpid pid, struct procfs_pid *out)
{
	*out = (struct procfs_pid){ .pid = pid, .uid = TENANT_UID, .here = true, .node = "n1" };
	return pid >= BLOCK ? 0 : -ESRCH;
}

static int no_text(void *arg, gpid pid, enum procfs_pid_file file, struct buf *out)
{
	return -ESRCH;
}

static int machine_text(void *arg, enum procfs_machine_file file, struct buf *out)
{
	return buf_addf(out, "of the machine\n");
}

static int no_move(void *arg, gpid pid, const char *node, uint32_t caller, uint64_t key)
{
	return -ENOENT;
}

/* What a guest kernel does with the connection in the store. */
static pid_t procfs_server(void)
{
	static const struct procfs_ops ops = { .next = one_process,
					       .find = find_process,
					       .pid_text = no_text,
					       .machine_text = machine_text,
					       .move = no_move };
	static struct procfs_slot slots[PROCFS_SLOTS];
	int fuse = get(t->control, INIT_KEY_PROCFS);
	pid_t pid = fork();
	struct procfs *p;
	struct loop *l;

	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (loop_new(&l, LOOP_AUTO) < 0 || procfs_new(&p, l, fuse, slots, &ops, NULL) < 0 ||
		    loop_run(l) < 0)
			_exit(1);
		_exit(0);
	}
	(void)close(fuse);
	return pid;
}

static void proc_is_the_machines_where_a_guest_kernel_serves_it(void **state)
{
	struct tenant_cfg cfg = config();
	pid_t server;
	struct ran r;

	cfg.procfs = true;
	start(&cfg);
	/* Without a server the native one still answers, and sessions start. */
	r = run((char *const[]){ "/bin/cat", "/proc/.host/self/comm", NULL });
	assert_string_equal(r.out, "cat\n");
	assert_int_equal(r.pid, BLOCK);
	server = procfs_server();
	r = sh("cat /proc/loadavg; readlink /proc/self; cat /proc/$$/node; echo x | cat "
	       "/dev/stdin; "
	       "bash -c 'diff <(echo a) <(echo a) && echo same'; readlink /proc/self/exe; "
	       "echo 1 >/proc/sys/kernel/ns_last_pid; ls -d /proc/1");
	assert_string_equal(r.out, "of the machine\n.host/self\nn1\nx\nsame\n/usr/bin/readlink\n"
				   "/bin/sh: 1: cannot create /proc/sys/kernel/ns_last_pid: "
				   "Read-only file system\n"
				   "ls: cannot access '/proc/1': No such file or directory\n");
	(void)kill(server, SIGKILL);
	assert_int_equal(waitpid(server, NULL, 0), server);
	stop();
}

/* ---- the lease ---- */

/* As pando-init sees it: config() sets its clocks on. */
static uint64_t boot_inside_ns(void)
{
	return clock_boot_ns() + 5000 * NS_PER_S;
}

static void without_a_lease_guests_are_frozen_then_killed(void **state)
{
	struct tenant_cfg cfg = config();
	char guests[CGROUP_PATH_MAX];
	struct pollfd p;
	int pidfd;

	start(&cfg);
	(void)snprintf(guests, sizeof(guests), "%.200s/guests", group);
	(void)sleeper(&pidfd);
	assert_int_equal(cgroup_frozen(cgroups, guests), 0);
	assert_int_equal(ask(t->control, INIT_LEASE, "", boot_inside_ns(), 40, 60000), 0);
	for (int i = 0; i < 200 && cgroup_frozen(cgroups, guests) == 0; i++)
		(void)poll(NULL, 0, 10);
	assert_int_equal(cgroup_frozen(cgroups, guests), 1);
	/* pandod is back in time: they run on. */
	assert_int_equal(ask(t->control, INIT_LEASE, "", boot_inside_ns(), 30000, 60000), 0);
	assert_int_equal(cgroup_frozen(cgroups, guests), 0);
	/* An answer that comes late, one from the future, figures that make no sense. */
	assert_int_equal(ask(t->control, INIT_LEASE, "", 1, 30000, 60000), 0);
	assert_int_equal(ask(t->control, INIT_LEASE, "", UINT64_MAX, 30000, 60000), 0);
	assert_int_equal(ask(t->control, INIT_LEASE, "", boot_inside_ns(), 100, 100), -EINVAL);
	assert_int_equal(cgroup_frozen(cgroups, guests), 0);
	/* and this time it is not */
	assert_int_equal(ask(t->control, INIT_LEASE, "", boot_inside_ns(), 20, 120), 0);
	p = (struct pollfd){ .fd = t->init_pidfd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 30000), 1); /* a busy machine */
	p.fd = pidfd;
	assert_int_equal(poll(&p, 1, 0), 1);
	(void)close(pidfd);
	stop();
}

/* ---- the guest kernel ---- */

/* Asks the test program, as guest kernel, about guest @pid; its answer has a line per finding. */
static void the_guest_kernel_reaches_its_guests_and_nothing_else(void **state)
{
#ifdef __SANITIZE_ADDRESS__
	skip(); /* the sanitizer wants a /proc, which a guest kernel has not */
#endif
	char ask_pid[32], out[4096];
	int pidfd, kernel, pod[2], port[2];
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	pid_t pid = sleeper(&pidfd);
	siginfo_t si;

	port[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(port[0], (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(port[0], 1), 0);
	assert_int_equal(getsockname(port[0], (struct sockaddr *)&a, &len), 0);
	(void)snprintf(ask_pid, sizeof(ask_pid), "%d:%d:%d", (int)pid, (int)getpid(),
		       ntohs(a.sin_port));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pod), 0);
	if (tenant_kernel_start(t, (char *const[]){ self_path, "--kernel", ask_pid, NULL }, pod[1],
				2, &kernel, why) < 0)
		fail_msg("%s", why);
	(void)close(pod[1]);
	read_all(pod[0], out, sizeof(out));
	assert_string_equal(out, "uid 0, no_new_privs 1, descriptors 0123456\n"
				 "root before: usr\n"
				 "root after:\n"
				 "host pid: No such file or directory\n"
				 "host port: Network is unreachable\n"
				 "guest: sleep\n"
				 "memory: ok\n"
				 "trace: ok\n"
				 "frozen: ok\n"
				 "pid in the tenant: ok\n"
				 "reboot: Operation not permitted\n");
	assert_int_equal(waitid(P_PIDFD, (id_t)kernel, &si, WEXITED), 0);
	assert_int_equal(si.si_code, CLD_EXITED);
	assert_int_equal(si.si_status, 0);
	(void)close(kernel);
	(void)close(pod[0]);
	(void)close(port[0]);
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	(void)close(pidfd);
}

static void a_kernel_that_cannot_start_says_why(void **state)
{
	int kernel;

	assert_int_equal(
		tenant_kernel_start(t, (char *const[]){ "/nowhere", NULL }, 0, 2, &kernel, why),
		-ENOENT);
	assert_non_null(strstr(why, "/nowhere"));
	assert_int_equal(kernel, -1);
	assert_int_equal(
		tenant_kernel_start(t, (char *const[]){ "/etc/passwd", NULL }, 0, 2, &kernel, why),
		-EACCES);
}

/* ---- the end ---- */

static void nothing_is_left_behind(void **state)
{
	struct tenant_cfg cfg = config();
	char path[256];
	int pidfd;
	struct pollfd p;

	start(&cfg);
	(void)sleeper(&pidfd);
	stop();
	p = (struct pollfd){ .fd = pidfd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 0), 1);
	(void)close(pidfd);
	(void)snprintf(path, sizeof(path), "%s/init.sock", run_dir);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(cgroup_empty(cgroups, group), -ENOENT);
	assert_int_equal(tenant_adopt(&cfg, &t, why), -ENOENT);
	t = NULL;
}

/* What a pandod does with a tenant, from start to end; with @point armed it dies there. */
static void whole_life(const char *point)
{
	struct tenant_cfg cfg = config();
	int kernel;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fault_arm(point, 1, FAULT_KILL) < 0 || tenant_start(&cfg, &t, why) < 0 ||
	    tenant_kernel_start(t, (char *const[]){ "/bin/sleep", "100", NULL }, 0, 2, &kernel,
				why) < 0 ||
	    tenant_stop(t, why) < 0)
		_exit(1);
	_exit(0);
}

static void pandod_may_die_at_every_step(void **state)
{
	size_t n, met = 0;
	struct fault_point *f = fault_points(&n);

	for (size_t i = 0; i < n; i++) {
		struct tenant_cfg cfg = config();
		int status, r;
		pid_t child;

		if (strncmp(f[i].name, "tenant.", 7) != 0)
			continue;
		met++;
		child = fork();
		if (child == 0)
			whole_life(f[i].name);
		assert_int_equal(waitpid(child, &status, 0), child);
		if (status != SIGKILL)
			fail_msg("at %s: status %x", f[i].name, status);
		/* The next one finds the world running, or nothing in its way. */
		r = tenant_start(&cfg, &t, why);
		if (r == -EEXIST)
			r = tenant_adopt(&cfg, &t, why);
		if (r < 0)
			fail_msg("after %s: %s", f[i].name, why);
		assert_int_equal(ask(t->control, INIT_BLOCK, "", BLOCK, 4096, 0), 0);
		assert_string_equal(sh("echo alive").out, "alive\n");
		stop();
	}
	assert_int_equal(met, 8);
}

/* A hundred at once, more than fit, and none waited for: each gets an answer. */
static void many_starts_at_once_are_all_answered(void **state)
{
	static struct init_in in;
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC), ok = 0, busy = 0, exits = 0;
	struct tenant_cfg cfg = config();

	start(&cfg);
	for (int i = 0; i < 100; i++)
		spawn_send((char *const[]){ "/bin/true", NULL }, 0, "/", (int[]){ nul, nul, nul });
	(void)close(nul);
	for (int i = 0; i < 100; i++) {
		await(t->control, INIT_SPAWN, &in);
		ok += in.msg.result == 0;
		busy += in.msg.result == -EBUSY;
		init_in_close(&in);
	}
	assert_int_equal(ok + busy, 100);
	assert_true(ok >= 30);
	assert_int_equal(ask(t->control, INIT_WATCH, "", 0, 0, 0), 0);
	for (; exits < ok; exits++)
		await(t->control, INIT_EV_EXIT, &in);
	stop();
}

static void a_bad_configuration_is_refused(void **state)
{
	struct tenant_cfg cfg = config();

	cfg.id_base = 0;
	assert_int_equal(tenant_start(&cfg, &t, why), -EINVAL);
	cfg = config();
	cfg.init_path = "/nowhere";
	assert_int_equal(tenant_start(&cfg, &t, why), -ENOENT);
	assert_string_equal(why, "cannot open /nowhere: No such file or directory");
	cfg = config();
	cfg.filter_bytes = 3;
	assert_true(tenant_start(&cfg, &t, why) < 0);
	cfg = config();
	cfg.volumes = (struct tenant_volume[]){ { "/nowhere", "/x", true, false } };
	cfg.volume_count = 1;
	assert_int_equal(tenant_start(&cfg, &t, why), -ENOENT);
	t = NULL;
	assert_int_equal(cgroup_empty(cgroups, group), -ENOENT);
}

static void the_doctor_finds_this_host_fit(void **state)
{
	struct tenant_finding f[32];
	size_t n = tenant_check(f, 32);

	assert_in_range(n, 10, 32);
	for (size_t i = 0; i < n; i++) {
		if (f[i].verdict == TENANT_FAIL)
			fail_msg("%s: %s", f[i].check, f[i].effect);
		assert_int_equal(f[i].verdict == TENANT_OK, f[i].fix[0] == 0);
	}
	assert_int_equal(tenant_check(f, 1), 1);
}

/* ---- this program as guest, stub and guest kernel ---- */

static void *tid_in_block(void *arg)
{
	long tid = syscall(SYS_gettid);

	*(long *)arg = (tid >= BLOCK && tid < BLOCK + 4096) ||
				       (tid >= BLOCK + 40960 && tid < BLOCK + 45056)
			       ? 0
			       : tid;
	return NULL;
}

static int make_threads(long n)
{
	for (long i = 0; i < n; i++) {
		pthread_t th;
		long bad;

		if (pthread_create(&th, NULL, tid_in_block, &bad) != 0)
			return 2;
		(void)pthread_join(th, NULL);
		if (bad != 0) {
			printf("thread %ld got %ld\n", i, bad);
			return 1;
		}
	}
	return 0;
}

static int bomb(void)
{
	int n = 1;

	for (; n < 1000; n++) {
		pid_t pid = fork();

		if (pid < 0)
			break;
		if (pid == 0)
			(void)pause();
	}
	(void)signal(SIGTERM, SIG_IGN);
	(void)kill(0, SIGTERM);
	printf("%d\n", n);
	(void)fflush(stdout);
	_exit(0); /* a sanitizer's last look wants a task more */
}

static int stub(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256], eff[64] = "unreadable";

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		(void)sscanf(line, "CapEff: %63s", eff);
	printf("%s %d\n", eff, prctl(PR_GET_DUMPABLE));
	return 0;
}

static const char *result(long r)
{
	return r < 0 ? strerror(errno) : "ok";
}

static void list(FILE *out, const char *title)
{
	DIR *d = opendir("/");
	struct dirent *e;

	fprintf(out, "%s:", title);
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] != '.' && e->d_type == DT_DIR && strcmp(e->d_name, "etc") != 0)
			fprintf(out, " %s", e->d_name);
	}
	fprintf(out, "\n");
	(void)closedir(d);
}

static void proc_read(int pid, const char *file, char *out, size_t size)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "%d/%s", pid, file);
	fd = openat(KERNEL_FD_PROC, path, O_RDONLY);
	if (fd < 0) {
		(void)snprintf(out, size, "%s\n", strerror(errno));
		return;
	}
	read_all(fd, out, size);
	(void)close(fd);
}

/* Puts the guest into a frozen group of its own and takes it out again, as a move does. */
static long freeze_one(int pid)
{
	int frozen = get(KERNEL_FD_INIT, INIT_KEY_FROZEN), back = get(KERNEL_FD_INIT, INIT_KEY_RUN),
	    fd;
	char text[16];
	size_t n = (size_t)snprintf(text, sizeof(text), "%d", pid);

	if (mkdirat(frozen, "p1", 0755) < 0)
		return -1;
	fd = openat(frozen, "p1/cgroup.procs", O_WRONLY);
	if (fd < 0 || write(fd, text, n) < 0)
		return -1;
	fd = openat(frozen, "p1/cgroup.freeze", O_WRONLY);
	if (fd < 0 || write(fd, "1", 1) < 0 || pwrite(fd, "0", 1, 0) < 0)
		return -1;
	fd = openat(back, "cgroup.procs", O_WRONLY);
	if (fd < 0 || write(fd, text, n) < 0)
		return -1;
	return unlinkat(frozen, "p1", AT_REMOVEDIR);
}

static long clone_inside(void)
{
	int init = get(KERNEL_FD_INIT, INIT_KEY_INIT), status = -1;
	pid_t pid;

	if (setns(init, CLONE_NEWPID) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		_exit(getpid() >= BLOCK ? 0 : 1);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	errno = ERANGE;
	return status == 0 ? 0 : -1;
}

static int kernel(char *arg)
{
	FILE *out = fdopen(dup(KERNEL_FD_POD), "w");
	int guest = (int)strtol(strtok(arg, ":"), NULL, 10);
	int stranger = (int)strtol(strtok(NULL, ":"), NULL, 10);
	int port = (int)strtol(strtok(NULL, ":"), NULL, 10);
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)port) };
	char text[4096], word[64] = "";
	uint64_t address = 0;
	struct iovec to = { word, 8 }, from;

	fprintf(out, "uid %d, no_new_privs %d, descriptors ", (int)getuid(),
		prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	for (int fd = 0; fd < 64; fd++) {
		if (fcntl(fd, F_GETFD) >= 0 && fd != fileno(out))
			fprintf(out, "%d", fd);
	}
	fprintf(out, "\n");
	list(out, "root before");
	if (tenant_kernel_seal() < 0)
		fprintf(out, "seal: %s\n", strerror(errno));
	list(out, "root after");
	proc_read(stranger, "status", text, sizeof(text));
	fprintf(out, "host pid: %s", text);
	fprintf(out, "host port: %s\n",
		result(connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof(a))));
	proc_read(guest, "comm", text, sizeof(text));
	fprintf(out, "guest: %s", text);
	proc_read(guest, "maps", text, sizeof(text));
	address = strtoull(text, NULL, 16);
	from = (struct iovec){ (void *)(uintptr_t)address, 4 };
	fprintf(out, "memory: %s\n", result(process_vm_readv(guest, &to, 1, &from, 1, 0)));
	fprintf(out, "trace: %s\n", result(ptrace(PTRACE_SEIZE, guest, NULL, NULL)));
	fprintf(out, "frozen: %s\n", result(freeze_one(guest)));
	fprintf(out, "pid in the tenant: %s\n", result(clone_inside()));
	fprintf(out, "reboot: %s\n", result(syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL)));
	(void)fflush(out);
	_exit(0);
}

/* ---- */

static int fixture_begin(void)
{
	const char *base = getenv("PANDO_TEST_DIR"), *bin = getenv("BIN");
	static char made[] = "/tmp/ptXXXXXX";
	ssize_t n = readlink("/proc/self/exe", self_path, sizeof(self_path) - 1);

	if (n < 0)
		return -1;
	if (bin != NULL)
		(void)snprintf(init_path, sizeof(init_path), "%s/pando-init", bin);
	else
		(void)snprintf(init_path, sizeof(init_path), "%.*s/../bin/pando-init",
			       (int)(strrchr(self_path, '/') - self_path), self_path);
	if (access(init_path, X_OK) < 0) /* the sanitized build has no static programs */
		(void)snprintf(init_path, sizeof(init_path), "%.*s/../../gcc/bin/pando-init",
			       (int)(strrchr(self_path, '/') - self_path), self_path);
	if (base == NULL)
		base = mkdtemp(made);
	(void)snprintf(dir, sizeof(dir), "%.100s", base);
	(void)snprintf(run_dir, sizeof(run_dir), "%s/run", dir);
	(void)snprintf(home, sizeof(home), "%s/home", dir);
	if (mkdir(run_dir, 0700) < 0 || mkdir(home, 0755) < 0 ||
	    chown(home, TENANT_UID, TENANT_UID) < 0)
		return -1;
	if (cgroup_host_new(&cgroups, NULL) < 0 ||
	    cgroup_cluster_name(dir, cluster, sizeof(cluster)) < 0)
		return -1;
	(void)snprintf(group, sizeof(group), "%s/n1/alice", cluster);
	return 0;
}

static int fixture_end(void)
{
	int r = cgroup_remove(cgroups, cluster);

	cgroup_host_free(cgroups);
	if (getenv("PANDO_TEST_DIR") == NULL) {
		char cmd[256];

		(void)snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
		r |= system(cmd);
	}
	return r;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest one_world[] = {
		cmocka_unit_test(a_session_is_the_tenants_user_on_the_machine),
		cmocka_unit_test(programs_work),
		cmocka_unit_test(a_guest_has_no_rights),
		cmocka_unit_test(only_standard_descriptors_are_open),
		cmocka_unit_test(clocks_are_the_machines),
		cmocka_unit_test(guests_are_bound_by_their_limits),
		cmocka_unit_test(the_stub_may_choose_pids_and_is_undumpable),
		cmocka_unit_test(a_deaf_one_is_killed_by_nothing_that_comes_too_early),
		cmocka_unit_test(a_terminal_is_the_controlling_one),
		cmocka_unit_test(the_host_sees_all_namespaces_apart),
		cmocka_unit_test(no_host_mount_is_left_inside),
		cmocka_unit_test(the_store_outlives_connections),
		cmocka_unit_test(what_is_stored_is_announced),
		cmocka_unit_test(a_role_is_for_good_and_has_its_rights),
		cmocka_unit_test(malformed_messages_are_refused),
		cmocka_unit_test(a_failed_start_says_which_step),
		cmocka_unit_test(asked_for_again_by_its_name_it_is_the_same_one),
		cmocka_unit_test(exits_are_kept_until_acknowledged),
		cmocka_unit_test(a_running_tenant_is_not_started_twice),
		cmocka_unit_test(tids_stay_in_the_blocks),
		cmocka_unit_test(nothing_starts_without_a_block),
		cmocka_unit_test(the_guest_kernel_reaches_its_guests_and_nothing_else),
		cmocka_unit_test(a_kernel_that_cannot_start_says_why),
	};
	const struct CMUnitTest own_worlds[] = {
		cmocka_unit_test(a_start_waits_for_a_guest_kernel_and_nothing_else_does),
		cmocka_unit_test(proc_is_the_machines_where_a_guest_kernel_serves_it),
		cmocka_unit_test(without_a_lease_guests_are_frozen_then_killed),
		cmocka_unit_test(nothing_is_left_behind),
		cmocka_unit_test(pandod_may_die_at_every_step),
		cmocka_unit_test(many_starts_at_once_are_all_answered),
		cmocka_unit_test(a_bad_configuration_is_refused),
		cmocka_unit_test(the_doctor_finds_this_host_fit),
	};
	const struct CMUnitTest steering[] = { cmocka_unit_test(tids_stay_in_the_blocks) };
	const char *mode = argc > 1 ? argv[1] : "";
	int r;

	if (strcmp(mode, "--make-threads") == 0)
		return make_threads(strtol(argv[2], NULL, 10));
	if (strcmp(mode, "--bomb") == 0)
		return bomb();
	if (strcmp(mode, "--stub") == 0)
		return stub();
	if (strcmp(mode, "--kernel") == 0)
		return kernel(argv[2]);
	if (geteuid() != 0) {
		printf("needs root\n");
		return 77;
	}
	if (fixture_begin() < 0) {
		perror("tenant_test");
		return 1;
	}
	if (strcmp(mode, "--threads") == 0) {
		thread_count = (unsigned)strtoul(argv[2], NULL, 10);
		r = cmocka_run_group_tests(steering, setup, teardown);
	} else {
		r = cmocka_run_group_tests(one_world, setup, teardown);
		r += cmocka_run_group_tests(own_worlds, NULL, teardown);
	}
	return fixture_end() != 0 || r != 0;
}
