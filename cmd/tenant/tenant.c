/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tenant.c - makes, finds and ends a tenant's world.
 *
 * Who does what, as rights are lost on the way: the caller (host root) makes the
 * user namespace, clones mounts, opens control groups. The builder, a child, joins
 * the groups and the user namespace, makes the other namespaces, and clones pid 1
 * as the caller's child. Pid 1 builds its root and execs pando-init in it.
 */
#include "cmd/tenant/tenant.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "base/fault.h"
#include "base/log.h"
#include "kernel/tenant/client.h"
#include "cmd/tenant/launch.h"
#include "cmd/tenant/root.h"

#define STOP_MS           10000
#define ANSWER_MS         10000
#define CONNECTION_PLACES "1024"

static int group_path(char out[CGROUP_PATH_MAX], const char *group, const char *below)
{
	int n = snprintf(out, CGROUP_PATH_MAX, "%s/%s", group, below);

	return n < 0 || n >= CGROUP_PATH_MAX ? -ENAMETOOLONG : 0;
}

/* ---- control groups ---- */

static int groups_make(const struct tenant_cfg *cfg, char why[TENANT_WHY_MAX])
{
	static const char *const below[] = { "init", "kernel", "guests/run", "guests/frozen" };
	char path[CGROUP_PATH_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(below); i++) {
		r = group_path(path, cfg->cgroup, below[i]);
		if (r == 0)
			r = cgroup_make(cfg->cgroups, path);
	}
	/* The guest kernel may move guests between run and frozen, and never out. */
	if (r == 0)
		r = group_path(path, cfg->cgroup, "guests");
	if (r == 0)
		r = cgroup_delegate(cfg->cgroups, path, cfg->id_base, false);
	if (r == 0)
		r = cgroup_limit(cfg->cgroups, path, &cfg->limits);
	if (r == 0)
		r = group_path(path, cfg->cgroup, "guests/run");
	if (r == 0)
		r = cgroup_delegate(cfg->cgroups, path, cfg->id_base, false);
	if (r == 0)
		r = group_path(path, cfg->cgroup, "guests/frozen");
	if (r == 0)
		r = cgroup_delegate(cfg->cgroups, path, cfg->id_base, true);
	return r < 0 ? root_fail(why, r, "cannot make control groups %s", cfg->cgroup) : 0;
}

/* Kills what is in the groups, waits until they are empty, removes them. */
static int groups_clear(struct cgroup_host *h, const char *group, char why[TENANT_WHY_MAX])
{
	int r = cgroup_kill(h, group);

	if (r == 0)
		r = cgroup_wait_empty(h, group, STOP_MS);
	if (r >= 0 || r == -ENOENT)
		r = cgroup_remove(h, group);
	return r < 0 ? root_fail(why, r, "cannot remove control groups %s", group) : 0;
}

/* ---- what pando-init is given ---- */

struct gift {
	const char *name; /* of the argument "NAME=FD" */
	int fd;
};

struct birth { /* all that the builder and pid 1 need; made before the fork */
	const struct tenant_cfg *cfg;
	int userns;
	struct root_plan plan;
	int into_run[CGROUP_FDS_MAX], run_count;
	int into_init[CGROUP_FDS_MAX], init_count;
	int freeze, run_dir_fd, frozen_dir_fd; /* of the groups */
	int program;                           /* pando-init */
	int sock[2];                           /* control connection: ours, its */
	int listen;
	int filter;
	int report[2]; /* pipe from the builder and pid 1 */
};

static void birth_fini(struct birth *b)
{
	int fds[] = { b->userns,  b->freeze,    b->run_dir_fd, b->frozen_dir_fd,
		      b->program, b->sock[0],   b->sock[1],    b->listen,
		      b->filter,  b->report[0], b->report[1] };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (fds[i] >= 0)
			(void)close(fds[i]);
	}
	for (int i = 0; i < b->run_count; i++)
		(void)close(b->into_run[i]);
	for (int i = 0; i < b->init_count; i++)
		(void)close(b->into_init[i]);
	root_plan_fini(&b->plan);
	free(b);
}

static struct birth *birth_new(const struct tenant_cfg *cfg)
{
	struct birth *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return NULL;
	b->cfg = cfg;
	b->userns = b->freeze = b->run_dir_fd = b->frozen_dir_fd = b->program = -1;
	b->sock[0] = b->sock[1] = b->listen = b->filter = b->report[0] = b->report[1] = -1;
	b->plan.stub = b->plan.fuse_dev = -1;
	return b;
}

static int open_groups(struct birth *b, char why[TENANT_WHY_MAX])
{
	struct cgroup_host *h = b->cfg->cgroups;
	char guests[CGROUP_PATH_MAX], run[CGROUP_PATH_MAX], frozen[CGROUP_PATH_MAX],
		init[CGROUP_PATH_MAX];
	int r = group_path(guests, b->cfg->cgroup, "guests");

	if (r == 0)
		r = group_path(run, b->cfg->cgroup, "guests/run");
	if (r == 0)
		r = group_path(frozen, b->cfg->cgroup, "guests/frozen");
	if (r == 0)
		r = group_path(init, b->cfg->cgroup, "init");
	if (r == 0)
		r = b->freeze = cgroup_open(h, guests, "", "cgroup.freeze", O_RDWR);
	if (r >= 0)
		r = b->run_dir_fd = cgroup_open(h, run, "", "", O_RDONLY | O_DIRECTORY);
	if (r >= 0)
		r = b->frozen_dir_fd = cgroup_open(h, frozen, "", "", O_RDONLY | O_DIRECTORY);
	if (r >= 0)
		r = b->run_count = cgroup_entrances(h, run, b->into_run);
	if (r >= 0)
		r = b->init_count = cgroup_entrances_rt(h, init, b->into_init);
	b->run_count = MAX(b->run_count, 0);
	b->init_count = MAX(b->init_count, 0);
	return r < 0 ? root_fail(why, r, "cannot open control groups %s", b->cfg->cgroup) : 0;
}

/* The path of a socket must be short; the one of its directory need not be. */
static int listen_in(int run_dir)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	cleanup_close int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (s < 0)
		return -errno;
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/init.sock", run_dir);
	if (unlinkat(run_dir, "init.sock", 0) < 0 && errno != ENOENT)
		return -errno;
	if (bind(s, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(s, 16) < 0)
		return -errno;
	return take_fd(&s);
}

static int filter_memfd(const struct tenant_cfg *cfg)
{
	cleanup_close int fd = memfd_create("filter", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (write(fd, cfg->filter, cfg->filter_bytes) != (ssize_t)cfg->filter_bytes)
		return -EIO;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return take_fd(&fd);
}

static int birth_prepare(struct birth *b, int run_dir, char why[TENANT_WHY_MAX])
{
	const struct tenant_cfg *cfg = b->cfg;
	int r;

	/* First, as what is open now is open in its holder too, for a moment after our death. */
	b->userns = userns_new(cfg->id_base, why);
	if (b->userns < 0)
		return b->userns;
	b->program = open(cfg->init_path, O_RDONLY | O_CLOEXEC);
	if (b->program < 0)
		return root_fail(why, -errno, "cannot open %s", cfg->init_path);
	b->filter = filter_memfd(cfg);
	if (b->filter < 0)
		return root_fail(why, b->filter, "cannot keep the filter");
	b->listen = listen_in(run_dir);
	if (b->listen < 0)
		return root_fail(why, b->listen, "cannot listen in %s", cfg->run_dir);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, b->sock) < 0 ||
	    pipe2(b->report, O_CLOEXEC) < 0)
		return root_fail(why, -errno, "cannot make the control connection");
	r = open_groups(b, why);
	if (r < 0)
		return r;
	return root_plan_tenant(&b->plan, cfg, b->userns, why);
}

/* ---- in the children ---- */

static void report_and_exit(const struct birth *b, int error, const char *why)
{
	struct launch_report rep = { .error = error };

	(void)snprintf(rep.why, sizeof(rep.why), "%s", why);
	(void)!write(b->report[1], &rep, sizeof(rep));
	_exit(1);
}

static void check_step(const struct birth *b, bool ok, const char *what)
{
	char why[TENANT_WHY_MAX];
	int r = -errno;

	if (!ok)
		report_and_exit(b, root_fail(why, r, "%s", what), why);
}

static int loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	cleanup_close int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return s < 0 ? -1 : ioctl(s, SIOCSIFFLAGS, &ifr);
}

/* Pid 1 of the tenant, before it becomes pando-init. */
static void pid_one(struct birth *b)
{
	struct gift gifts[9 + CGROUP_FDS_MAX] = {
		{ "freeze", b->freeze },
		{ "store." INIT_KEY_RUN, b->run_dir_fd },
		{ "store." INIT_KEY_FROZEN, b->frozen_dir_fd },
	};
	char args[ARRAY_LEN(gifts)][48], *argv[ARRAY_LEN(gifts) + 2] = { "pando-init" };
	int fds[INIT_FD_MORE + ARRAY_LEN(gifts)] = { -1, -1, -1, b->sock[1], b->listen, b->filter };
	char why[TENANT_WHY_MAX] = "";
	struct root_proc proc;
	int n = 3, r;
	char *env[] = { NULL };

	check_step(b, sethostname(b->cfg->hostname, strlen(b->cfg->hostname)) == 0,
		   "cannot set the host name");
	check_step(b, loopback_up() == 0, "cannot bring up the loopback interface");
	r = root_build_tenant(&b->plan, b->cfg, &proc, why);
	if (r < 0)
		report_and_exit(b, r, why);
	gifts[n++] = (struct gift){ "lastpid", proc.last_pid };
	gifts[n++] = (struct gift){ "proc", proc.native };
	if (proc.fuse >= 0) {
		gifts[n++] = (struct gift){ "store." INIT_KEY_PROCFS, proc.fuse };
		gifts[n++] = (struct gift){ "store." INIT_KEY_NATIVE, proc.native };
		gifts[n++] = (struct gift){ "mountproc", proc.tree };
	}
	for (int i = 0; i < b->run_count; i++)
		gifts[n++] = (struct gift){ "enter", b->into_run[i] };
	for (int i = 0; i < n; i++) {
		(void)snprintf(args[i], sizeof(args[i]), "%s=%d", gifts[i].name, INIT_FD_MORE + i);
		argv[i + 1] = args[i];
		fds[INIT_FD_MORE + i] = gifts[i].fd;
	}
	argv[n + 1] = NULL;
	r = launch_exec(b->program, argv, env, fds, (size_t)INIT_FD_MORE + (size_t)n);
	report_and_exit(b, root_fail(why, r, "cannot exec %s", b->cfg->init_path), why);
}

/* CLOCK_MONOTONIC and BOOTTIME of the machine, for those who are born after this. */
static int offset_clocks(int fd, int64_t ns)
{
	char text[128];
	int64_t s = ns / 1000000000, rest = ns % 1000000000;
	int n;

	if (rest < 0) {
		rest += 1000000000;
		s--;
	}
	n = snprintf(text, sizeof(text), "monotonic %lld %lld\nboottime %lld %lld\n", (long long)s,
		     (long long)rest, (long long)s, (long long)rest);
	return write(fd, text, (size_t)n) != n ? -1 : 0;
}

/* Becomes the namespace's root; its makers' rights are gone with it. */
static void builder(struct birth *b)
{
	struct launch_report rep = { 0 };
	/* The file is root's; later this process is so only inside. */
	int clocks = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	long pid;

	launch_unkillable();
	/* The root of the cgroup namespace is where guests run: they find themselves in "/". */
	check_step(b, launch_enter(b->into_run, b->run_count) == 0, "cannot enter a control group");
	check_step(b, launch_become_root(b->userns) == 0, "cannot enter the user namespace");
	check_step(b,
		   unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
			   CLONE_NEWCGROUP | CLONE_NEWTIME) == 0,
		   "cannot make namespaces");
	check_step(b, launch_enter(b->into_init, b->init_count) == 0,
		   "cannot enter a control group");
	check_step(b,
		   b->cfg->clock_offset_ns == 0 ||
			   offset_clocks(clocks, b->cfg->clock_offset_ns) == 0,
		   "cannot set the clocks of the time namespace");
	pid = syscall(SYS_clone, CLONE_NEWPID | CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	check_step(b, pid >= 0, "cannot make a pid namespace");
	if (pid == 0)
		pid_one(b);
	rep.pid = (int32_t)pid;
	(void)!write(b->report[1], &rep, sizeof(rep));
	_exit(0);
}

/* ---- start ---- */

static struct tenant *tenant_new(const struct tenant_cfg *cfg)
{
	struct tenant *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	(void)snprintf(t->name, sizeof(t->name), "%s", cfg->name);
	(void)snprintf(t->cgroup, sizeof(t->cgroup), "%s", cfg->cgroup);
	t->cgroups = cfg->cgroups;
	t->id_base = cfg->id_base;
	t->init_pidfd = t->control = t->run_dir = -1;
	return t;
}

void tenant_free(struct tenant *t)
{
	int fds[] = { t->init_pidfd, t->control, t->run_dir };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (fds[i] >= 0)
			(void)close(fds[i]);
	}
	free(t);
}

/* Runs the builder, and waits until pando-init has been exec'd or something has failed. */
static int bear(struct birth *b, struct tenant *t, char why[TENANT_WHY_MAX])
{
	pid_t pid = fork();
	struct launch_report rep;
	int r;

	if (pid < 0)
		return root_fail(why, -errno, "cannot fork");
	if (pid == 0)
		builder(b);
	FAULT("tenant.start.forked");
	(void)close(b->report[1]);
	b->report[1] = -1;
	r = launch_wait(b->report[0], &rep);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (rep.pid > 0) {
		t->init_pid = rep.pid;
		t->init_pidfd = (int)syscall(SYS_pidfd_open, rep.pid, 0);
		t->is_child = true;
	}
	if (r < 0 && rep.why[0] != 0)
		(void)snprintf(why, TENANT_WHY_MAX, "%s", rep.why);
	else if (r < 0 || t->init_pidfd < 0)
		r = root_fail(why, r < 0 ? r : -ECHILD, "cannot start pando-init");
	return r;
}

static int check_cfg(const struct tenant_cfg *cfg, char why[TENANT_WHY_MAX])
{
	if (cfg->id_base == 0 || cfg->id_base % TENANT_IDS != 0)
		return root_fail(why, -EINVAL, "tenant %s has no host ids", cfg->name);
	if (cfg->filter_bytes == 0)
		return root_fail(why, -EINVAL, "tenant %s has no filter", cfg->name);
	if (strlen(cfg->cgroup) + 16 > CGROUP_PATH_MAX)
		return root_fail(why, -ENAMETOOLONG, "cannot use control group %s", cfg->cgroup);
	for (size_t i = 0; i < cfg->volume_count; i++) {
		if (cfg->volumes[i].path[0] != '/' || strstr(cfg->volumes[i].path, "..") != NULL)
			return root_fail(why, -EINVAL, "cannot mount a volume at %s",
					 cfg->volumes[i].path);
	}
	return 0;
}

static int open_run_dir(const struct tenant_cfg *cfg, char why[TENANT_WHY_MAX])
{
	int fd = open(cfg->run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? root_fail(why, -errno, "cannot open %s", cfg->run_dir) : fd;
}

/*
 * Pids are unique only while pando-init looks at the cursor in time, on the busiest machine too.
 * Its children are ordinary again. Where this is refused it is as nice as launch_unkillable() made
 * it.
 */
static void schedule_first(pid_t pid)
{
	struct sched_param p = { .sched_priority = 1 };

	(void)sched_setscheduler(pid, SCHED_RR | SCHED_RESET_ON_FORK, &p);
}

static int say_hello(struct tenant *t, char why[TENANT_WHY_MAX])
{
	struct init_msg m = { .op = INIT_HELLO, .arg = { INIT_ROLE_POD } };
	int r = init_call(t->control, &m, NULL, 0, NULL, 0, NULL, NULL, ANSWER_MS);

	return r < 0 ? root_fail(why, r, "pando-init of %s does not answer", t->name) : 0;
}

static bool nobody_there(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -EPIPE ||
	       error == -ECONNRESET;
}

/* A world that runs is not touched; what is left of a dead one is cleared away. */
static int make_way(struct tenant *t, char why[TENANT_WHY_MAX])
{
	int s = init_connect(t->run_dir, 0, NULL);

	if (s >= 0) {
		(void)close(s);
		return root_fail(why, -EEXIST, "cannot start %s: it runs", t->name);
	}
	if (!nobody_there(s))
		return root_fail(why, s, "cannot reach pando-init of %s", t->name);
	return groups_clear(t->cgroups, t->cgroup, why);
}

/* Everything from here on is taken back by tenant_stop(). */
static int start_world(struct tenant *t, struct birth *b, char why[TENANT_WHY_MAX])
{
	int r = groups_make(b->cfg, why);

	FAULT("tenant.start.groups");
	if (r == 0)
		r = birth_prepare(b, t->run_dir, why);
	FAULT("tenant.start.prepared");
	if (r == 0)
		r = bear(b, t, why);
	if (r == 0) {
		t->control = take_fd(&b->sock[0]);
		(void)close(take_fd(&b->sock[1])); /* its end must be pando-init's end */
		schedule_first(t->init_pid);
		r = say_hello(t, why);
	}
	FAULT("tenant.start.born");
	return r;
}

/*
 * Who reads /proc/net/tcp walks the whole table of connections, and by default that is the host's,
 * of hundreds of thousands of places: 40 ms. A network namespace gets one of its own, of the size
 * that the namespace of its maker says (Linux 6.1; before that it stays slow).
 */
static void size_connections(const char *places)
{
	cleanup_close int fd =
		open("/proc/sys/net/ipv4/tcp_child_ehash_entries", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, places, strlen(places)) < 0)
		log_debug("tenants share the host's table of connections: %s", strerror(errno));
}

int tenant_start(const struct tenant_cfg *cfg, struct tenant **out, char why[TENANT_WHY_MAX])
{
	struct tenant *t;
	struct birth *b;
	char ignored[TENANT_WHY_MAX];
	int r;

	why[0] = 0;
	r = check_cfg(cfg, why);
	if (r < 0)
		return r;
	t = tenant_new(cfg);
	if (t == NULL)
		return root_fail(why, -ENOMEM, "cannot start %s", cfg->name);
	r = t->run_dir = open_run_dir(cfg, why);
	if (r >= 0)
		r = make_way(t, why);
	b = r < 0 ? NULL : birth_new(cfg);
	if (b == NULL) {
		tenant_free(t);
		return r < 0 ? r : root_fail(why, -ENOMEM, "cannot start %s", cfg->name);
	}
	size_connections(CONNECTION_PLACES);
	r = start_world(t, b, why);
	size_connections("0"); /* the host's own default */
	birth_fini(b);
	if (r == 0)
		*out = t;
	else if (tenant_stop(t, ignored) < 0)
		tenant_free(t); /* the next start clears it */
	return r;
}

/* ---- adopt, stop ---- */

static pid_t pid_of(int pidfd)
{
	char path[48], text[512] = "";
	const char *p;
	cleanup_close int fd = -1;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return -1;
	p = strstr(text, "\nPid:");
	return p == NULL ? -1 : (pid_t)strtol(p + 5, NULL, 10);
}

int tenant_adopt(const struct tenant_cfg *cfg, struct tenant **out, char why[TENANT_WHY_MAX])
{
	struct tenant *t = tenant_new(cfg);
	siginfo_t si;
	int r;

	why[0] = 0;
	if (t == NULL)
		return root_fail(why, -ENOMEM, "cannot adopt %s", cfg->name);
	r = t->run_dir = open_run_dir(cfg, why);
	if (r >= 0) {
		t->control = init_connect(t->run_dir, INIT_ROLE_POD, &t->init_pidfd);
		r = t->control < 0 ? t->control : 0;
	}
	if (r == 0) {
		t->init_pid = pid_of(t->init_pidfd);
		t->is_child =
			waitid(P_PIDFD, (id_t)t->init_pidfd, &si, WEXITED | WNOHANG | WNOWAIT) == 0;
		*out = t;
		return 0;
	}
	if (nobody_there(r)) {
		/* Nobody is there: what a dead one left must not be in the way of the next. */
		r = t->run_dir < 0 ? r : groups_clear(t->cgroups, t->cgroup, why);
		if (r == 0)
			r = root_fail(why, -ENOENT, "tenant %s does not run", cfg->name);
	} else if (why[0] == 0) {
		(void)root_fail(why, r, "cannot reach pando-init of %s", cfg->name);
	}
	tenant_free(t);
	return r;
}

int tenant_stop(struct tenant *t, char why[TENANT_WHY_MAX])
{
	int r;

	why[0] = 0;
	if (t->init_pidfd >= 0) {
		struct pollfd p = { .fd = t->init_pidfd, .events = POLLIN };

		/* With pid 1 everything in the namespace dies, frozen or not. */
		if (syscall(SYS_pidfd_send_signal, t->init_pidfd, SIGKILL, NULL, 0) < 0 &&
		    errno != ESRCH)
			return root_fail(why, -errno, "cannot kill pando-init of %s", t->name);
		if (poll(&p, 1, STOP_MS) == 0)
			return root_fail(why, -ETIMEDOUT, "tenant %s does not end", t->name);
		if (t->is_child) {
			siginfo_t si;

			(void)waitid(P_PIDFD, (id_t)t->init_pidfd, &si, WEXITED);
		}
	}
	FAULT("tenant.stop.killed");
	r = groups_clear(t->cgroups, t->cgroup, why);
	if (r < 0)
		return r;
	FAULT("tenant.stop.cleared");
	if (unlinkat(t->run_dir, "init.sock", 0) < 0 && errno != ENOENT)
		return root_fail(why, -errno, "cannot remove init.sock of %s", t->name);
	tenant_free(t);
	return 0;
}
