/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod.c - the node daemon: makes its parts, runs the loop, takes them down again.
 *
 * It may be killed at any instant. What runs is found again: worlds by their directories, kernels
 * by their groups, sessions by asking the kernels; what was promised is in naming's log.
 */
#include <errno.h>
#include <linux/filter.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pandod/node/peers.h"
#include "cmd/pandod/pod.h"
#include "kernel/sys/sys.h"

enum { STATUS_LEFT = 0, STATUS_FAILED = 1, STATUS_STOPPED = 3 };

static int places_init(struct pod *p)
{
	char top[CLUSTER_GROUP_MAX];
	const struct args *a = p->args;
	ssize_t n;
	int r;

	if (snprintf(p->run, PATH_MAX, "%s/%s/run", a->dir, a->node) >= PATH_MAX - 64 ||
	    snprintf(p->data, PATH_MAX, "%s/%s/data", a->dir, a->node) >= PATH_MAX - 64)
		return -ENAMETOOLONG;
	n = readlink("/proc/self/exe", p->lib, sizeof(p->lib) - 1);
	if (n < 0)
		return -errno;
	p->lib[n] = '\0';
	*strrchr(p->lib, '/') = '\0';
	r = node_dirs_make(a);
	if (r == 0)
		r = cgroup_host_new(&p->cgroups, NULL);
	if (r == 0)
		r = cgroup_cluster_name(a->dir, top, sizeof(top));
	if (r == 0)
		(void)snprintf(p->group, sizeof(p->group), "%s/%s", top, a->node);
	return r;
}

/* Faults armed from outside: tests that must catch the first passage of a point. */
static void arm_from_environment(void)
{
	const char *text = getenv("PANDO_FAULT_POD");

	if (text != NULL && fault_arm_text(text) < 0)
		log_warn("there is no fault point %s", text);
}

static int naming_init(struct pod *p)
{
	char dir[PATH_MAX + 16];
	struct naming_config cfg = { .dir = dir };
	int r;

	(void)snprintf(dir, sizeof(dir), "%s/naming", p->data);
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	r = naming_new(&p->naming, p->loop, &cfg, &member_naming_ops, p);
	if (r < 0)
		log_error("cannot open the tables in %s: %s", dir, strerror(-r));
	return r;
}

/* Some ten descriptors a tenant and one a login: more than what hosts give by default. */
static void raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

struct step {
	const char *what;
	int (*init)(struct pod *p);
};

static int kernels_init(struct pod *p)
{
	int r = rpc_new(&p->kernels, p->loop, NULL);

	if (r == 0)
		kern_serve(p);
	return r;
}

static int filter_init(struct pod *p)
{
	int r = buf_reserve(&p->filter, SYS_FILTER_MAX * sizeof(struct sock_filter));

	if (r == 0)
		r = sys_filter_build((struct sock_filter *)(void *)p->filter.data, SYS_FILTER_MAX);
	if (r < 0)
		return r;
	p->filter.len = (size_t)r * sizeof(struct sock_filter);
	return 0;
}

static const struct step steps[] = {
	{ "remember what happens", events_init },
	{ "make its directories", places_init },
	{ "compile the guests' filter", filter_init },
	{ "serve guest kernels", kernels_init },
	{ "read its keys", member_open },
	{ "talk to other nodes", peers_init },
	{ "remember its life", life_init },
	{ "watch whether it leaves", leave_init },
	{ "connect guest kernels", relay_init },
	{ "lend what tenants may use", quota_init },
	{ "open the log of use", meter_init },
	{ "balance", balance_init },
	{ "open the machine's tables", naming_init },
	{ "serve the control API", api_init },
	{ "let tenants log in over ssh", ssh_init },
};

static int pod_init(struct pod *p)
{
	uint64_t now = clock_mono_ns();
	int r = loop_new(&p->loop, LOOP_AUTO);

	rand_seed(&p->rand, now ^ (uint64_t)getpid() << 32);
	list_init(&p->worlds);
	list_init(&p->sessions);
	list_init(&p->ready_waiters);
	if (r < 0)
		log_error("cannot make the event loop: %s", strerror(-r));
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(steps); i++) {
		r = steps[i].init(p);
		if (r < 0)
			log_error("cannot %s: %s", steps[i].what, strerror(-r));
	}
	return r;
}

struct stop_watch {
	struct loop_fd fd;
	struct pod *pod;
};

static void told_to_stop(struct loop_fd *w, short revents)
{
	struct stop_watch *s = container_of(w, struct stop_watch, fd);

	(void)revents;
	log_info("told to stop");
	loop_stop(s->pod->loop);
}

static int watch_signals(struct pod *p, struct stop_watch *s)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	s->pod = p;
	return loop_fd_add(p->loop, &s->fd, fd, POLLIN, told_to_stop);
}

/* What runs on must not be touched: everything here only forgets. */
static void pod_fini(struct pod *p)
{
	world_fini_all(p);
	balance_fini(p);
	ssh_fini(p);
	relay_fini(p);
	gossip_fini(p);
	life_fini(p);
	peers_fini(p);
	ctl_server_free(p->api);
	events_fini(p);
	naming_free(p->naming);
	leave_fini(p);
	quota_fini(p);
	meter_fini(p);
	rpc_free(p->kernels);
	member_close(p);
	cgroup_host_free(p->cgroups);
	buf_fini(&p->filter);
}

int node_main(const struct args *a)
{
	static struct pod pod;
	struct stop_watch stop = { 0 };
	char name[64], addr[NAMING_ADDR_MAX];
	uint8_t key[NAMING_KEY_BYTES];
	int r;

	(void)snprintf(name, sizeof(name), "pandod %s", a->node);
	log_init(name);
	arm_from_environment();
	raise_limits();
	pod.args = a;
	r = pod_init(&pod);
	if (r == 0)
		r = watch_signals(&pod, &stop);
	if (r < 0)
		return STATUS_FAILED;
	if (naming_self(pod.naming) != NODE_NONE &&
	    member_peer(&pod, naming_self(pod.naming), addr, key) == 0) {
		r = member_listen(&pod, addr);
		if (r < 0)
			log_error("cannot listen at %s: %s", addr, strerror(-r));
	}
	life_start(&pod);
	log_info("up, pid %d", (int)getpid());
	r = loop_run(pod.loop);
	if (r < 0)
		log_error("the event loop failed: %s", strerror(-r));
	pod_fini(&pod);
	return pod.left ? STATUS_LEFT : r < 0 ? STATUS_FAILED : STATUS_STOPPED;
}
