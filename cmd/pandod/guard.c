/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.c - pandod's parent. Small, so that it does not die: it restarts pandod, reaps what a dead
 * pandod leaves, and ends everything when it is told to.
 *
 * In a local cluster it is the first process of the node's pid namespace, so nothing outlives it;
 * on a host it is a subreaper, and its children are what it ends.
 *
 *	SIGTERM, SIGINT  pandod gets SIGTERM; when it is gone, or after STOP_MS, all else is killed
 *	pandod exits 0   the node left the machine: the guard ends too
 *	pandod dies      a new one starts, after 20 ms, doubling up to 5 s while it dies young
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/pandod/args.h"
#include "quota/cgroup/cgroup.h"

enum { BACKOFF_MIN_MS = 20, BACKOFF_MAX_MS = 5000, OLD_MS = 10000, STOP_MS = 8000 };

struct guard {
	const struct args *args;
	char program[PATH_MAX];
	uint64_t life; /* ours; pandod compares it with what its predecessor left */
	int host_net;  /* a local node's sshd is reached from the host; -1: a host's own is */
	pid_t pandod;
	uint64_t started_ns;
	uint64_t restart_ns; /* 0: not due */
	uint64_t kill_ns;    /* stopping: patience ends here */
	unsigned backoff_ms;
	bool stopping;
};

static void start_pandod(struct guard *g)
{
	const struct args *a = g->args;
	char cpus[16], net[16], life[24], lease[32];
	char *argv[20] = { g->program, "node",          "--dir",       (char *)a->dir,
			   "--node",   (char *)a->node, "--cpu-milli", cpus };
	sigset_t none;
	int n = 8;

	(void)snprintf(cpus, sizeof(cpus), "%u", a->cpu_milli);
	(void)snprintf(net, sizeof(net), "%d", g->host_net);
	(void)snprintf(life, sizeof(life), "%llx", (unsigned long long)g->life);
	(void)snprintf(lease, sizeof(lease), "%u:%u", a->freeze_ms, a->kill_ms);
	argv[n++] = "--life";
	argv[n++] = life;
	if (a->freeze_ms != 0) {
		argv[n++] = "--lease";
		argv[n++] = lease;
	}
	if (a->ssh != NULL) {
		argv[n++] = "--ssh";
		argv[n++] = (char *)a->ssh;
	}
	if (a->ssh != NULL && g->host_net >= 0) {
		argv[n++] = "--ssh-net";
		argv[n++] = net;
	}
	if (a->no_balance)
		argv[n++] = "--no-balance";
	argv[n] = a->local ? "--local" : NULL;
	g->restart_ns = 0;
	g->started_ns = clock_mono_ns();
	g->pandod = fork();
	if (g->pandod == 0) {
		sigemptyset(&none);
		(void)sigprocmask(SIG_SETMASK, &none, NULL);
		execv(g->program, argv);
		log_error("cannot run %s: %s", g->program, strerror(errno));
		_exit(127);
	}
	if (g->pandod < 0) {
		log_error("cannot fork pandod: %s", strerror(errno));
		g->restart_ns = clock_mono_ns() + BACKOFF_MAX_MS * NS_PER_MS;
	}
}

/* True: nothing is left to guard. */
static bool pandod_ended(struct guard *g, int status)
{
	uint64_t now = clock_mono_ns();

	g->pandod = 0;
	if (g->stopping)
		return true;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		log_info("pandod is done: the node has left");
		return true;
	}
	if (now - g->started_ns > OLD_MS * NS_PER_MS || g->backoff_ms == 0)
		g->backoff_ms = BACKOFF_MIN_MS;
	else
		g->backoff_ms = MIN(g->backoff_ms * 2, (unsigned)BACKOFF_MAX_MS);
	g->restart_ns = now + g->backoff_ms * NS_PER_MS;
	log_warn("pandod died (%s %d), the next one starts in %u ms",
		 WIFEXITED(status) ? "status" : "signal",
		 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), g->backoff_ms);
	return false;
}

/* True: pandod ended for good. */
static bool reap(struct guard *g)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == g->pandod && pandod_ended(g, status))
			return true;
	return false;
}

static void stop(struct guard *g)
{
	g->stopping = true;
	g->kill_ns = clock_mono_ns() + STOP_MS * NS_PER_MS;
	if (g->pandod > 0)
		(void)kill(g->pandod, SIGTERM);
}

/* Nanoseconds until something is due; at most an hour. */
static uint64_t patience_ns(const struct guard *g)
{
	uint64_t now = clock_mono_ns(), due = now + 3600 * NS_PER_S;

	if (g->restart_ns != 0)
		due = MIN(due, g->restart_ns);
	if (g->stopping)
		due = MIN(due, g->kill_ns);
	return due > now ? due - now : 0;
}

static void guard_run(struct guard *g, const sigset_t *set)
{
	start_pandod(g);
	for (;;) {
		uint64_t wait = patience_ns(g);
		struct timespec ts = { (time_t)(wait / NS_PER_S), (long)(wait % NS_PER_S) };
		int signo = sigtimedwait(set, NULL, &ts);

		if (signo == SIGTERM || signo == SIGINT)
			stop(g);
		if (reap(g) || (g->stopping && g->pandod <= 0))
			return;
		if (g->stopping && clock_mono_ns() >= g->kill_ns) {
			log_warn("pandod does not stop, it is killed");
			return;
		}
		if (g->restart_ns != 0 && clock_mono_ns() >= g->restart_ns && !g->stopping)
			start_pandod(g);
	}
}

/* Kills our children, those that they leave to us included, until there is none. */
static void end_children(void)
{
	for (;;) {
		FILE *f = fopen("/proc/thread-self/children", "re");
		int pid, any = 0;

		while (f != NULL && fscanf(f, "%d", &pid) == 1) {
			(void)kill(pid, SIGKILL);
			any++;
		}
		if (f != NULL)
			(void)fclose(f);
		if (waitpid(-1, NULL, any ? 0 : WNOHANG) < 0 && errno == ECHILD)
			return;
	}
}

static void end_all(const struct guard *g)
{
	if (!g->args->local) {
		end_children();
		return;
	}
	/* As the first process of the namespace: everybody but us. */
	(void)kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		continue;
}

/*
 * All that runs in a cluster is one entry of the host's scheduler, which counts as one process: it
 * weighs what one busy process on each processor would.
 */
static void weigh_cluster(struct cgroup_host *h, const char *top)
{
	uint32_t weight = (uint32_t)MIN(sysconf(_SC_NPROCESSORS_ONLN) * 100, 10000);
	int r = cgroup_weigh(h, top, weight);

	if (r < 0 && r != -EOPNOTSUPP)
		log_warn("cannot weigh the control group %s: %s", top, strerror(-r));
}

/* The node's group, with its share of the host, and the group of its daemons in it. */
static int enter_group(const struct args *a)
{
	struct cgroup_limits l = { .cpu_milli = a->cpu_milli };
	char top[CLUSTER_GROUP_MAX], group[CGROUP_PATH_MAX];
	struct cgroup_host *h = NULL;
	int r = cgroup_cluster_name(a->dir, top, sizeof(top));

	if (r == 0)
		r = cgroup_host_new(&h, NULL);
	if (r < 0)
		return r;
	/* Tenants' groups stand beside it: a name that no tenant can have. */
	(void)snprintf(group, sizeof(group), "%s/%s/POD", top, a->node);
	r = cgroup_make(h, group);
	if (r == 0)
		weigh_cluster(h, top);
	if (r == 0)
		r = cgroup_enter(h, group, 0);
	if (r == 0) {
		/* pandod and raft have weight over guests, so that a busy node does not fence
		 * itself. */
		struct cgroup_limits weight = { .cpu_weight = 1000 };

		(void)!cgroup_limit(h, group, &weight);
		(void)snprintf(group, sizeof(group), "%s/%s", top, a->node);
		if (a->cpu_milli > 0)
			r = cgroup_limit(h, group, &l);
	}
	cgroup_host_free(h);
	return r;
}

/* Standard streams: nothing in, the log out. */
static int redirect(const struct args *a)
{
	char path[PATH_MAX];
	cleanup_close int log = -1, null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)snprintf(path, sizeof(path), "%s/%s/log/pandod.log", a->dir, a->node);
	log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log < 0 || null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
		return -errno;
	return 0;
}

static int program_path(const struct args *a, char out[PATH_MAX])
{
	ssize_t n;

	if (a->local) {
		(void)snprintf(out, PATH_MAX, "%s/pandod", LOCAL_LIB);
		return 0;
	}
	n = readlink("/proc/self/exe", out, PATH_MAX - 1);
	if (n < 0)
		return -errno;
	out[n] = '\0';
	return 0;
}

/* The guard itself, in its own session and, locally, namespaces. Tells @ready, then guards. */
static int guard_child(const struct args *a, int ready, int host_net)
{
	struct guard g = { .args = a, .host_net = host_net };
	const char *what = "redirect its output";
	sigset_t set;
	int r;

	(void)setsid();
	(void)chdir("/");
	daemon_keeps(ready, host_net);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_SETMASK, &set, NULL);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGPIPE, SIG_DFL);
	r = program_path(a, g.program);
	if (r == 0 && a->local)
		r = local_enter(a, &what);
	else if (r == 0)
		r = prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? -errno : 0;
	if (r < 0) {
		fprintf(stderr, "pandod: cannot %s: %s; try: pando doctor\n", what, strerror(-r));
		return 1;
	}
	if (getrandom(&g.life, sizeof(g.life), 0) != sizeof(g.life))
		g.life = clock_wall_ns();
	g.life |= 1;
	r = redirect(a);
	if (r < 0 || write(ready, "", 1) != 1)
		return 1;
	(void)close(ready);
	guard_run(&g, &set);
	end_all(&g);
	log_info("ended");
	return 0;
}

static pid_t spawn_guard(const struct args *a, const int ready[2])
{
	/* Not close-on-exec: pandod hands it to sshd. */
	int host_net = a->local && a->ssh != NULL ? open("/proc/self/ns/net", O_RDONLY) : -1;
	unsigned long flags = SIGCHLD;
	pid_t pid;

	if (a->local)
		flags |= CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	pid = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
	if (pid == 0) {
		(void)close(ready[0]);
		_exit(guard_child(a, ready[1], host_net));
	}
	return pid;
}

static int cannot(const char *what, int r)
{
	fprintf(stderr, "pandod: cannot %s: %s; try: pando doctor\n", what, strerror(-r));
	return 1;
}

int guard_main(const struct args *a)
{
	char path[PATH_MAX], text[16], name[48], byte;
	int ready[2], r = node_dirs_make(a);
	pid_t pid;

	(void)snprintf(name, sizeof(name), "guard %s", a->node);
	log_init(name);
	if (r < 0)
		return cannot("make the node's directories", r);
	r = enter_group(a);
	if (r < 0)
		return cannot("make the node's control group", r);
	if (pipe2(ready, O_CLOEXEC) < 0)
		return cannot("make a pipe", -errno);
	pid = spawn_guard(a, ready);
	if (pid < 0)
		return cannot("make the node's namespaces", -errno);
	(void)close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		return 1; /* it said why */
	(void)snprintf(path, sizeof(path), "%s/%s/run/guard.pid", a->dir, a->node);
	(void)snprintf(text, sizeof(text), "%d\n", (int)pid);
	r = file_put(path, text);
	if (r < 0) {
		(void)kill(pid, SIGKILL);
		return cannot("write the guard's pid file", r);
	}
	return 0;
}
