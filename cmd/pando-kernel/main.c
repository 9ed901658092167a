/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pando-kernel - the guest kernel of one tenant on one node. Started by pandod (kernel/kernel.h);
 * may be killed at any instant.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/ports/ports.h"
#include "cmd/pando-kernel/exec/site.h"
#include "cmd/pando-kernel/files/streams.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/host/jail.h"
#include "cmd/tenant/tenant.h"

static struct world world;

static void on_exited(void *arg, gpid pid, int status, uint64_t event)
{
	session_exited(arg, pid, status, event);
}

static void on_stored(void *arg, const char *key)
{
	if (strcmp(key, INIT_KEY_POD) == 0)
		pod_replace(arg);
	else if (strcmp(key, INIT_KEY_LISTENER) == 0)
		calls_listen(arg);
	else if (strcmp(key, INIT_KEY_API) == 0)
		control_listen(arg);
	else if (session_stored(arg, key) || kin_stored(arg, key))
		log_info("%s had been asked for by a predecessor", key);
}

static void on_pids_low(void *arg)
{
	struct world *w = arg;

	w->pids_low = true;
	pod_want_pids(w);
}

/* The tenant's processes are gone with it, or are another guest kernel's. */
static void on_gone(void *arg)
{
	struct world *w = arg;

	log_info("pando-init has closed the connection");
	loop_stop(w->loop);
}

static bool on_stub_signal(void *arg, struct stub *s, int signo, const siginfo_t *si, uint64_t key)
{
	struct world *w = arg;
	bool done = true;

	/* A child of it has changed, not somebody who sends the signal himself. */
	if (signo == SIGCHLD && si->si_code > 0) {
		site_reap(w, s);
		if (s->gpid == w->zygote)
			kin_tidy_soon(w);
	} else if (!groups_raised(w, s, signo, si, key, &done)) {
		done = remote_signal(w, s, signo, si, key);
	}
	ttys_look_again(w);
	return done;
}

static void on_stub_died(void *arg, struct stub *s)
{
	remote_stub_died(arg, s);
	if (s->home)
		arrival_stub_died(arg, s);
	else
		site_stub_died(arg, s);
}

static const struct stubs_ops stubs_ops = { .signal = on_stub_signal, .died = on_stub_died };

static const struct pid1_ops pid1_ops = {
	.exited = on_exited,
	.stored = on_stored,
	.pids_low = on_pids_low,
	.gone = on_gone,
};

static bool number(const char *text, uint32_t *out)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	*out = (uint32_t)v;
	return *text != 0 && *end == 0 && v > 0 && v <= UINT32_MAX;
}

static int parse_arguments(struct world *w, int argc, char **argv)
{
	if (argc != 5 || !number(argv[1], &w->tenant) || !number(argv[3], &w->node) ||
	    strlen(argv[2]) >= sizeof(w->tenant_name) || strlen(argv[4]) >= sizeof(w->node_name))
		return -EINVAL;
	(void)snprintf(w->tenant_name, sizeof(w->tenant_name), "%s", argv[2]);
	(void)snprintf(w->node_name, sizeof(w->node_name), "%s", argv[4]);
	return 0;
}

static void name_log(const struct world *w)
{
	char text[sizeof(w->tenant_name) + sizeof(w->node_name) + 16];

	(void)snprintf(text, sizeof(text), "kernel %s@%s", w->tenant_name, w->node_name);
	log_init(text);
}

/* What exec'd us may have left open what a guest kernel must not have. */
static int check_descriptors(void)
{
	static const int wanted[] = { KERNEL_FD_POD, KERNEL_FD_INIT, KERNEL_FD_PROC };

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		if (fcntl(wanted[i], F_SETFD, FD_CLOEXEC) != 0)
			return -errno;
	return close_range(KERNEL_FD_UFFD + 1, ~0u, 0) == 0 ? 0 : -errno;
}

static int start(struct world *w)
{
	int r = check_descriptors();

	if (r == 0)
		r = tenant_kernel_seal();
	if (r == 0)
		r = jail_enter();
	/* Not io_uring: what it does passes by our own filter. */
	if (r == 0)
		r = loop_new(&w->loop, LOOP_EPOLL);
	if (r == 0)
		r = pid1_open(&w->pid1, w->loop, KERNEL_FD_INIT, &pid1_ops, w);
	if (r != 0)
		return r;
	list_init(&w->sessions);
	list_init(&w->starts);
	proc_view_init(&w->view, KERNEL_FD_PROC, pid1_namespace(w->pid1));
	list_init(&w->peers);
	list_init(&w->arrivals);
	r = rpc_new(&w->pod_rpc, w->loop, NULL);
	if (r == 0)
		r = peers_open(w);
	if (r == 0)
		deaths_open(w);
	if (r == 0)
		r = kept_open(w);
	if (r == 0)
		r = pipes_open(w);
	if (r == 0)
		r = streams_open(w);
	if (r == 0)
		r = ports_open(w);
	if (r == 0)
		r = stubs_new(&w->stubs, w->loop, &w->view, &stubs_ops, w);
	if (r == 0)
		r = gates_open(w);
	if (r == 0)
		r = authority_open(w);
	if (r == 0)
		r = reapers_open(w);
	if (r == 0)
		r = usage_open();
	if (r == 0)
		r = place_open(w);
	if (r == 0)
		r = site_open(w);
	if (r == 0)
		r = ttys_open(w);
	/* From here on the guests go on; nobody needs pandod for that. */
	if (r == 0)
		r = calls_open(w);
	if (r == 0)
		r = machine_open(w);
	if (r == 0)
		r = move_open(w);
	if (r == 0)
		r = session_adopt(w);
	if (r == 0)
		r = control_open(w);
	if (r == 0)
		r = pod_open(w, KERNEL_FD_POD);
	return r;
}

int main(int argc, char **argv)
{
	struct world *w = &world;
	int r;

	log_init("pando-kernel");
	(void)signal(SIGPIPE, SIG_IGN);
	if (parse_arguments(w, argc, argv) != 0) {
		log_error("usage: pando-kernel TENANT_ID TENANT NODE_ID NODE (started by pandod)");
		return 2;
	}
	name_log(w);
	r = start(w);
	if (r == 0)
		r = loop_run(w->loop);
	if (r != 0)
		log_error("cannot go on: %s", strerror(-r));
	return r == 0 ? 0 : 1;
}
