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
#include "tests/lib/tenantworld.h"

static unsigned thread_count = 20000;

/* ---- inside ---- */

static void a_session_is_the_tenants_user_on_the_machine(void **state)
{
	struct tw_ran r =
		tw_sh("id -un; id -u; id -G; pwd; hostname; tty; echo $HOME; umask; touch ~/x; "
		      "stat -c %u ~/x; exit 7");

	assert_string_equal(r.out, "alice\n1000\n1000\n/home/alice\ngrove\nnot a tty\n/home/alice\n"
				   "0022\n1000\n");
	assert_int_equal(r.status, 7 << 8);
	assert_int_equal(r.pid, TW_BLOCK);
}

static void programs_work(void **state)
{
	struct tw_ran r =
		tw_sh("printf 'int main(){return 42;}' >a.c && gcc a.c -o a && ./a; echo $?; "
		      "/usr/bin/python3 -c 'import ssl, json; print(6*7)'; "
		      "printf 'all:\\n\\t@echo made\\n' >Makefile; make; "
		      "bash -c 'diff <(echo a) <(echo a) && echo same'; nproc >/dev/null && "
		      "ls -d /usr/lib/os-release /etc/localtime; awk 'BEGIN{print 1}'");

	assert_string_equal(r.out, "42\n42\nmade\nsame\n/etc/localtime\n/usr/lib/os-release\n1\n");
}

static void a_guest_has_no_rights(void **state)
{
	struct tw_ran r =
		tw_sh("grep -E '^(Cap(Inh|Prm|Eff|Amb)|Seccomp|NoNewPrivs):' /proc/self/status");

	assert_string_equal(r.out, "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
				   "CapEff:\t0000000000000000\nCapAmb:\t0000000000000000\n"
				   "NoNewPrivs:\t0\nSeccomp:\t2\n");
	/* Pid 1 and the spawner are out of reach, and so is everything that could be written. */
	r = tw_sh("kill -9 1 2; cat /proc/1/environ; ls /proc/1/fd /proc/1/root; "
		  "echo 5 >/proc/sys/kernel/ns_last_pid; unshare -Ur true; touch /x /usr/x /etc/x "
		  "/dev/x; "
		  "mount -t tmpfs x /tmp; ls /sys | wc -l; cat /proc/1/cmdline | tr '\\0' .");
	assert_null(strstr(r.out, "PATH"));
	assert_non_null(strstr(r.out, "Operation not permitted"));
	assert_non_null(strstr(r.out, "unshare failed: No space left"));
	assert_non_null(strstr(r.out, "touch: cannot touch '/x': Read-only"));
	assert_non_null(strstr(r.out, "touch: cannot touch '/usr/x': Read-only"));
	assert_non_null(strstr(r.out, "\n0\npando-init."));
	assert_int_equal(tw_ask(tw.t->control, INIT_CURSOR, "", 0, 0, 0), 0);
}

static void only_standard_descriptors_are_open(void **state)
{
	struct tw_ran r = tw_run((char *const[]){ "/bin/ls", "/proc/self/fd", NULL });

	assert_string_equal(r.out, "0\n1\n2\n3\n"); /* 3 is the directory that ls reads */
}

static void clocks_are_the_machines(void **state)
{
	struct tw_ran r = tw_sh("cut -d. -f1 /proc/uptime");
	struct timespec ts;

	assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &ts), 0);
	assert_true(labs(strtol(r.out, NULL, 10) - ts.tv_sec - 5000) <= 1);
}

static void guests_are_bound_by_their_limits(void **state)
{
	/* A hundred tasks, not one more; and the two daemons do not notice. */
	struct tw_ran r = tw_run((char *const[]){ TW_SELF, "--bomb", NULL });
	long n = strtol(r.out, NULL, 10);

	assert_in_range(n, 90, 100);
	r = tw_sh("echo still here");
	assert_string_equal(r.out, "still here\n");
}

static void the_stub_may_choose_pids_and_is_undumpable(void **state)
{
	struct tw_ran r = tw_run((char *const[]){ TENANT_STUB, "--stub", NULL });

	assert_string_equal(r.out, "0000010000000000 0\n");
	r = tw_sh("cat " TENANT_STUB " | wc -c; stat -c %a " TENANT_STUB);
	assert_non_null(strstr(r.out, "Permission denied"));
	assert_non_null(strstr(r.out, "0\n111\n"));
}

/* The zygote is given work as soon as its exec has succeeded: the signal came before its first
 * call. */
static void a_deaf_one_is_killed_by_nothing_that_comes_too_early(void **state)
{
	char *const argv[] = { "/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", NULL };
	struct tw_ran r = tw_run_with(argv, INIT_SPAWN_DEAF);

	assert_int_equal(r.status, 0);
	assert_non_null(strstr(r.out, "SigBlk:\tffff"));
	r = tw_run_with(argv, 0);
	assert_non_null(strstr(r.out, "SigBlk:\t0000000000000000"));
}

static void a_terminal_is_the_controlling_one(void **state)
{
	static struct init_in in;
	char out[4096];
	int master, event, again;

	assert_int_equal(tw_ask(tw.t->control, INIT_WATCH, "", 0, 0, 0), 0);
	tw_spawn((char *const[]){ "-/bin/sh", "-c",
				  "tty; stty size; stat -c '%u %g %a' $(tty); ps -o tty= -p $$; "
				  "echo $0; exit 3",
				  NULL },
		 INIT_SPAWN_TTY, "/", NULL);
	tw_await(tw.t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, 0);
	assert_int_equal(in.nfds, 2);
	master = in.fds[1];
	in.fds[1] = -1;
	init_in_close(&in);
	tw_read_all(master, out, sizeof(out));
	assert_string_equal(out, "/dev/pts/0\r\n33 111\r\n1000 5 620\r\npts/0\r\n-sh\r\n");
	(void)close(master);
	tw_await(tw.t->control, INIT_EV_EXIT, &in);
	assert_int_equal(in.msg.arg[1], 3 << 8);
	event = (int)in.msg.arg[2];
	/* The store keeps the master, so that no pandod's death hangs up: until the exit is known.
	 */
	char key[32];
	(void)snprintf(key, sizeof(key), "pty.%d", (int)in.msg.arg[0]);
	again = tw_get(tw.t->control, key);
	(void)close(again);
	assert_int_equal(tw_ask(tw.t->control, INIT_ACK, "", (uint64_t)event, 0, 0), 0);
	assert_int_equal(tw_ask(tw.t->control, INIT_GET, key, 0, 0, 0), -ENOENT);
}

/* ---- from outside ---- */

static void host_read(pid_t pid, const char *file, char *out, size_t size)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	tw_read_all(fd, out, size);
	(void)close(fd);
}

static void the_host_sees_all_namespaces_apart(void **state)
{
	static const char *const ns[] = { "user", "pid", "mnt",    "net",
					  "ipc",  "uts", "cgroup", "time" };
	char status[8192], path[64], a[64], b[64], cg[2048];
	int pidfd;
	pid_t pid = tw_sleeper(&pidfd);

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
	(void)snprintf(a, sizeof(a), "\nUid:\t%u\t%u\t%u\t%u\n", TW_ID_BASE + 1000,
		       TW_ID_BASE + 1000, TW_ID_BASE + 1000, TW_ID_BASE + 1000);
	assert_non_null(strstr(status, a));
	assert_non_null(strstr(status, "\nCapEff:\t0000000000000000\n"));
	/* In every hierarchy it is under the guests' limits; pando-init is under none. */
	host_read(pid, "cgroup", cg, sizeof(cg));
	(void)snprintf(path, sizeof(path), "pids:/%.40s/guests/run\n", tw.group);
	assert_non_null(strstr(cg, "/guests/run\n"));
	assert_int_equal(sched_getscheduler(pid), SCHED_OTHER);
	assert_int_equal(sched_getscheduler(tw.t->init_pid), SCHED_RR | SCHED_RESET_ON_FORK);
	host_read(tw.t->init_pid, "cgroup", cg, sizeof(cg));
	assert_null(strstr(cg, "/guests"));
	assert_non_null(strstr(cg, "/init\n"));
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	(void)close(pidfd);
}

static void no_host_mount_is_left_inside(void **state)
{
	struct tw_ran r = tw_sh("cut -d' ' -f5 /proc/self/mountinfo; ls /root /home");
	char text[8192];

	assert_null(strstr(r.out, "/old"));
	assert_null(strstr(r.out, tw.dir));
	assert_null(strstr(r.out, "/sys/"));
	/* and nothing of it shows on the host */
	host_read(getpid(), "mountinfo", text, sizeof(text));
	assert_null(strstr(text, "/opt/test"));
}

/* ---- pids ---- */

static void tids_stay_in_the_blocks(void **state)
{
	static struct init_in in;
	struct init_msg m = { .op = INIT_CURSOR };
	char n[16];
	struct tw_ran r;

	assert_int_equal(tw_ask(tw.t->control, INIT_BLOCK, "", TW_BLOCK + 40960, 4096, 0), 0);
	(void)snprintf(n, sizeof(n), "%u", thread_count);
	r = tw_run((char *const[]){ TW_SELF, "--make-threads", n, NULL });
	if (r.status != 0)
		fail_msg("%s", r.out);
	assert_int_equal(init_call(tw.t->control, &m, NULL, 0, NULL, 0, NULL, &in, 5000), 0);
	assert_int_equal(m.arg[1], 8192);
	assert_int_equal(m.arg[2], 0);
	assert_int_equal(tw_ask(tw.t->control, INIT_UNBLOCK, "", TW_BLOCK + 40960, 0, 0), 0);
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
	pid_t pid = tw_sleeper(&pidfd);
	siginfo_t si;

	port[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(port[0], (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(port[0], 1), 0);
	assert_int_equal(getsockname(port[0], (struct sockaddr *)&a, &len), 0);
	(void)snprintf(ask_pid, sizeof(ask_pid), "%d:%d:%d", (int)pid, (int)getpid(),
		       ntohs(a.sin_port));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pod), 0);
	if (tenant_kernel_start(tw.t, (char *const[]){ tw.self, "--kernel", ask_pid, NULL }, pod[1],
				2, &kernel, tw.why) < 0)
		fail_msg("%s", tw.why);
	(void)close(pod[1]);
	tw_read_all(pod[0], out, sizeof(out));
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

	assert_int_equal(tenant_kernel_start(tw.t, (char *const[]){ "/nowhere", NULL }, 0, 2,
					     &kernel, tw.why),
			 -ENOENT);
	assert_non_null(strstr(tw.why, "/nowhere"));
	assert_int_equal(kernel, -1);
	assert_int_equal(tenant_kernel_start(tw.t, (char *const[]){ "/etc/passwd", NULL }, 0, 2,
					     &kernel, tw.why),
			 -EACCES);
}

/* ---- the end ---- */

static void nothing_is_left_behind(void **state)
{
	struct tenant_cfg cfg = tw_config();
	char path[256];
	int pidfd;
	struct pollfd p;

	tw_start(&cfg);
	(void)tw_sleeper(&pidfd);
	tw_stop();
	p = (struct pollfd){ .fd = pidfd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 0), 1);
	(void)close(pidfd);
	(void)snprintf(path, sizeof(path), "%s/init.sock", tw.run_dir);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(cgroup_empty(tw.cgroups, tw.group), -ENOENT);
	assert_int_equal(tenant_adopt(&cfg, &tw.t, tw.why), -ENOENT);
	tw.t = NULL;
}

/* What a pandod does with a tenant, from start to end; with @point armed it dies there. */
static void whole_life(const char *point)
{
	struct tenant_cfg cfg = tw_config();
	int kernel;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fault_arm(point, 1, FAULT_KILL) < 0 || tenant_start(&cfg, &tw.t, tw.why) < 0 ||
	    tenant_kernel_start(tw.t, (char *const[]){ "/bin/sleep", "100", NULL }, 0, 2, &kernel,
				tw.why) < 0 ||
	    tenant_stop(tw.t, tw.why) < 0)
		_exit(1);
	_exit(0);
}

static void pandod_may_die_at_every_step(void **state)
{
	size_t n, met = 0;
	struct fault_point *f = fault_points(&n);

	for (size_t i = 0; i < n; i++) {
		struct tenant_cfg cfg = tw_config();
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
		r = tenant_start(&cfg, &tw.t, tw.why);
		if (r == -EEXIST)
			r = tenant_adopt(&cfg, &tw.t, tw.why);
		if (r < 0)
			fail_msg("after %s: %s", f[i].name, tw.why);
		assert_int_equal(tw_ask(tw.t->control, INIT_BLOCK, "", TW_BLOCK, 4096, 0), 0);
		assert_string_equal(tw_sh("echo alive").out, "alive\n");
		tw_stop();
	}
	assert_int_equal(met, 8);
}

/*
 * Who answers in its /proc while that is made waits for nobody who has died, nor does who mounts
 * there. The first is pid 1, whom a fault point of its own does not kill.
 */
static void nobody_waits_for_a_proc_that_is_broken_off(void **state)
{
	static const char *const points[] = { "procfs.answered", "proc.mounter" };

	for (size_t i = 0; i < ARRAY_LEN(points); i++) {
		struct tenant_cfg cfg = tw_config();
		pid_t child = fork();
		int status;

		if (child == 0) {
			(void)alarm(20);
			cfg.procfs = true;
			if (fault_arm(points[i], 1, FAULT_KILL) != 0)
				_exit(1);
			if (tenant_start(&cfg, &tw.t, tw.why) == 0)
				_exit(i == 1 || tenant_stop(tw.t, tw.why) != 0);
			_exit(i == 0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		if (status != 0)
			fail_msg("at %s: status %x", points[i], status);
		if (tenant_start(&cfg, &tw.t, tw.why) < 0)
			fail_msg("after %s: %s", points[i], tw.why);
		assert_int_equal(tw_ask(tw.t->control, INIT_BLOCK, "", TW_BLOCK, 4096, 0), 0);
		assert_string_equal(tw_sh("echo alive").out, "alive\n");
		tw_stop();
	}
}

static void a_bad_configuration_is_refused(void **state)
{
	struct tenant_cfg cfg = tw_config();

	cfg.id_base = 0;
	assert_int_equal(tenant_start(&cfg, &tw.t, tw.why), -EINVAL);
	cfg = tw_config();
	cfg.init_path = "/nowhere";
	assert_int_equal(tenant_start(&cfg, &tw.t, tw.why), -ENOENT);
	assert_string_equal(tw.why, "cannot open /nowhere: No such file or directory");
	cfg = tw_config();
	cfg.filter_bytes = 3;
	assert_true(tenant_start(&cfg, &tw.t, tw.why) < 0);
	cfg = tw_config();
	cfg.volumes = (struct tenant_volume[]){ { "/nowhere", "/x", true, false } };
	cfg.volume_count = 1;
	assert_int_equal(tenant_start(&cfg, &tw.t, tw.why), -ENOENT);
	tw.t = NULL;
	assert_int_equal(cgroup_empty(tw.cgroups, tw.group), -ENOENT);
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

	*(long *)arg = (tid >= TW_BLOCK && tid < TW_BLOCK + 4096) ||
				       (tid >= TW_BLOCK + 40960 && tid < TW_BLOCK + 45056)
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
	tw_read_all(fd, out, size);
	(void)close(fd);
}

/* Puts the guest into a frozen group of its own and takes it out again, as a move does. */
static long freeze_one(int pid)
{
	int frozen = tw_get(KERNEL_FD_INIT, INIT_KEY_FROZEN),
	    back = tw_get(KERNEL_FD_INIT, INIT_KEY_RUN), fd;
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
	int init = tw_get(KERNEL_FD_INIT, INIT_KEY_INIT), status = -1;
	pid_t pid;

	if (setns(init, CLONE_NEWPID) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		_exit(getpid() >= TW_BLOCK ? 0 : 1);
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
		cmocka_unit_test(tids_stay_in_the_blocks),
		cmocka_unit_test(the_guest_kernel_reaches_its_guests_and_nothing_else),
		cmocka_unit_test(a_kernel_that_cannot_start_says_why),
	};
	const struct CMUnitTest own_worlds[] = {
		cmocka_unit_test(nothing_is_left_behind),
		cmocka_unit_test(pandod_may_die_at_every_step),
		cmocka_unit_test(nobody_waits_for_a_proc_that_is_broken_off),
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
	if (tw_begin() < 0) {
		perror("tenant_test");
		return 1;
	}
	if (strcmp(mode, "--threads") == 0) {
		thread_count = (unsigned)strtoul(argv[2], NULL, 10);
		r = cmocka_run_group_tests(steering, tw_setup, tw_teardown);
	} else {
		r = cmocka_run_group_tests(one_world, tw_setup, tw_teardown);
		r += cmocka_run_group_tests(own_worlds, NULL, tw_teardown);
	}
	return tw_end() != 0 || r != 0;
}
