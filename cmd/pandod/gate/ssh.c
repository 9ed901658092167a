/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssh.c - the gate of this node: our own instance of the stock sshd, kept running; who may log in,
 * by which key; and the socket on which a login asks for its session.
 *
 * sshd finds tenants in a passwd file of its own, in a root of its own (ssh_root.c), and a key by
 * asking us. It outlives us: the next pandod finds it by its pid file, and believes that only of a
 * process in the group that it was started in. What a connection carries never reaches this daemon.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/gate/gate.h"
#include "cmd/pandod/pod.h"
#include "cmd/pandod/gate/ssh_root.h"

enum {
	BACKOFF_MIN_MS = 20,
	BACKOFF_MAX_MS = 5000,
	OLD_MS = 5000,    /* an sshd that lived so long does not count as failing */
	CONNS_MAX = 8192, /* of logins, at the socket */
	PIDS_MAX = 16384, /* sshd, its connections, session programs and their threads */
};

struct ssh {
	struct pod *pod;
	char dir[PATH_MAX];  /* RUN/ssh */
	char keys[PATH_MAX]; /* DATA/ssh */
	char group[CGROUP_PATH_MAX];
	struct ctl_listener *gate;
	struct buf passwd; /* as it was written last */
	int pidfd;
	bool watched;
	struct loop_child watch;
	struct loop_timer restart;
	unsigned backoff_ms;
	uint64_t started_ns;
};

const char *ssh_addr(const struct pod *p)
{
	return p->ssh != NULL ? p->args->ssh : "";
}

/* ---- files ---- */
static int make_dir(const char *path, mode_t mode)
{
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return -errno;
	return chmod(path, mode) < 0 ? -errno : 0;
}

/* For everybody to read, and all at once. */
static int put(const struct ssh *s, const char *name, struct buf *text)
{
	char path[PATH_MAX + 64], tmp[PATH_MAX + 80];
	cleanup_close int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/etc/%s", s->dir, name);
	(void)snprintf(tmp, sizeof(tmp), "%s.new", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || fchmod(fd, 0644) < 0)
		return -errno;
	if (write(fd, text->data, text->len) != (ssize_t)text->len)
		return -EIO;
	return rename(tmp, path) < 0 ? -errno : 0;
}

static int put_text(const struct ssh *s, const char *name, const char *text)
{
	cleanup_buf struct buf b = BUF_INIT;
	int r = buf_addf(&b, "%s", text);

	return r < 0 ? r : put(s, name, &b);
}

static int put_fixed(const struct ssh *s)
{
	cleanup_buf struct buf config = BUF_INIT, group = BUF_INIT;
	int r = gate_sshd_config(&config, s->pod->args->ssh);

	if (r == 0)
		r = gate_group(&group);
	if (r == 0)
		r = put(s, "group", &group);
	if (r == 0)
		r = put(s, "ssh/sshd_config", &config);
	if (r == 0)
		r = put_text(s, "nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\n");
	return r;
}

static int passwd_text(const struct pod *p, struct buf *out)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_tenant *t;
	int r = gate_passwd_begin(out);

	for (uint32_t i = 0; r == 0 && (t = naming_tenant_at(k, i)) != NULL; i++)
		r = gate_passwd_add(out, t->name, t->host_id + t->uid);
	return r;
}

void ssh_changed(struct pod *p)
{
	struct buf text = BUF_INIT;
	struct ssh *s = p->ssh;
	int r;

	/* Tables that nobody has confirmed yet may lack tenants that could log in until now. */
	if (s == NULL || !member_in_touch(p))
		return;
	r = passwd_text(p, &text);
	if (r == 0 && text.len == s->passwd.len &&
	    memcmp(text.data, s->passwd.data, text.len) == 0) {
		buf_fini(&text);
		return;
	}
	if (r == 0)
		r = put(s, "passwd", &text);
	if (r < 0) {
		log_error("cannot write who may log in: %s", strerror(-r));
		buf_fini(&text);
		return;
	}
	buf_fini(&s->passwd);
	s->passwd = text;
}

static int dirs_make(struct ssh *s)
{
	static const char *const below[] = { "", "/etc", "/etc/ssh", "/run" };
	char path[PATH_MAX + 16];
	int r = 0;

	(void)snprintf(s->dir, sizeof(s->dir), "%.4000s/ssh", s->pod->run);
	(void)snprintf(s->keys, sizeof(s->keys), "%.4000s/ssh", s->pod->data);
	(void)snprintf(s->group, sizeof(s->group), "%.200s/SSH", s->pod->group);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(below); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", s->dir, below[i]);
		r = make_dir(path, 0755);
	}
	if (r == 0)
		r = make_dir(s->keys, 0700);
	(void)snprintf(path, sizeof(path), "%.4000s/etc/passwd", s->dir);
	if (r == 0 && access(path, F_OK) < 0) {
		cleanup_buf struct buf text = BUF_INIT;

		r = gate_passwd_begin(&text);
		if (r == 0)
			r = put(s, "passwd", &text);
	}
	return r;
}

/* ---- who asks at the socket ---- */
static bool admit(void *arg, uint32_t uid, struct ctl_caller *out)
{
	struct pod *p = arg;
	const struct naming_tenant *t;

	if (uid == GATE_UID_HELPER) {
		*out = (struct ctl_caller){ .role = SSH_ROLE_HELPER };
		return true;
	}
	for (uint32_t i = 0; (t = naming_tenant_at(naming_tables(p->naming), i)) != NULL; i++) {
		if (t->host_id + t->uid != uid)
			continue;
		*out = (struct ctl_caller){ .tenant = t->id, .role = SSH_ROLE_LOGIN };
		return true;
	}
	return false;
}

static int serve_gate(struct ssh *s)
{
	char path[PATH_MAX + 16];
	int fd, r;

	(void)snprintf(path, sizeof(path), "%.4000s/run/gate.sock", s->dir);
	fd = ctl_socket_listen(path, 0666);
	if (fd < 0)
		return fd;
	r = ctl_server_listen_admit(s->pod->api, fd, CONNS_MAX, admit, s->pod, &s->gate);
	if (r < 0)
		(void)close(fd);
	return r;
}

void ssh_find_key(struct pod *p, struct ctl_req *r, const char *tenant, const char *hash)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_tenant *t = naming_tenant_find_name(k, tenant);
	uint8_t raw[NAMING_KEY_BYTES];
	const struct naming_key *row = NULL;
	size_t n = 0;

	if (sodium_hex2bin(raw, sizeof(raw), hash, strlen(hash), NULL, &n, NULL) == 0 &&
	    n == sizeof(raw))
		row = naming_key_find(k, raw);
	if (t == NULL || row == NULL || row->tenant != t->id)
		ctl_problem(r, 404, NULL, "there is no such key");
	else
		ctl_reply(r, 200, json_pack("{s:s}", "line", row->line));
}

/* ---- its process ---- */
static void arm_restart(struct ssh *s, unsigned ms);

static void forget(struct ssh *s)
{
	if (s->watched)
		loop_child_del(s->pod->loop, &s->watch);
	s->watched = false;
	if (s->pidfd >= 0)
		(void)close(s->pidfd);
	s->pidfd = -1;
}

static void ended(struct loop_child *c, const siginfo_t *si)
{
	struct ssh *s = container_of(c, struct ssh, watch);
	bool old = clock_mono_ns() - s->started_ns > OLD_MS * NS_PER_MS;

	s->watched = false;
	forget(s);
	s->backoff_ms = old || s->backoff_ms == 0
				? BACKOFF_MIN_MS
				: MIN(s->backoff_ms * 2, (unsigned)BACKOFF_MAX_MS);
	log_warn("sshd ended (%s %d), the next one starts in %u ms: see log/sshd.log",
		 si->si_code == CLD_EXITED ? "status" : "signal", si->si_status, s->backoff_ms);
	arm_restart(s, s->backoff_ms);
}

static int watch(struct ssh *s, int pidfd)
{
	int r = loop_child_add(s->pod->loop, &s->watch, pidfd, ended);

	s->pidfd = pidfd;
	s->watched = r == 0;
	s->started_ns = clock_mono_ns();
	return r;
}

/* The child: in its group, with its log, never back. */
static void become_sshd(const struct ssh *s)
{
	const struct pod *p = s->pod;
	struct ssh_root root = {
		.lib = p->lib, .dir = s->dir, .keys = s->keys, .net = p->args->ssh_net
	};
	char path[PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s/%s/log/sshd.log", p->args->dir, p->args->node);
	root.log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (root.log < 0 || cgroup_enter(p->cgroups, s->group, 0) < 0)
		_exit(1);
	ssh_root_exec(&root);
}

static int start(struct ssh *s)
{
	/* Strangers make connections: so many that the host is not harmed. */
	const struct cgroup_limits limits = { .pids_max = PIDS_MAX };
	int r = cgroup_make(s->pod->cgroups, s->group), pidfd;
	pid_t pid;

	if (r < 0)
		return r;
	r = cgroup_limit(s->pod->cgroups, s->group, &limits);
	if (r < 0)
		log_warn("sshd's processes are not limited: %s", strerror(-r));
	pid = fork();
	if (pid == 0)
		become_sshd(s);
	if (pid < 0)
		return -errno;
	/* Our child and not yet waited for: the number is its own. */
	pidfd = pidfd_open(pid, 0);
	return pidfd < 0 ? -errno : watch(s, pidfd);
}

static void restart_due(struct loop_timer *t)
{
	struct ssh *s = container_of(t, struct ssh, restart);
	int r = start(s);

	if (r == 0)
		return;
	log_error("cannot start sshd: %s", strerror(-r));
	arm_restart(s, BACKOFF_MAX_MS);
}

static void arm_restart(struct ssh *s, unsigned ms)
{
	CHECK(loop_timer_set(s->pod->loop, &s->restart, clock_mono_ns() + ms * NS_PER_MS,
			     restart_due) == 0);
}

/* Is @pid in sshd's group? What the group says no tenant can forge. */
static bool in_group(const struct ssh *s, int pid)
{
	cleanup_close int fd =
		cgroup_open(s->pod->cgroups, s->group, "", "cgroup.procs", O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(dup(fd), "r");
	bool found = false;
	int one;

	while (f != NULL && !found && fscanf(f, "%d", &one) == 1)
		found = one == pid;
	if (f != NULL)
		(void)fclose(f);
	return found;
}

/* The sshd that an earlier pandod left. Returns a pidfd, or -errno. */
static int find_running(const struct ssh *s)
{
	char path[PATH_MAX + 16];
	int pid = 0, fd;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%.4000s/run/sshd.pid", s->dir);
	f = fopen(path, "re");
	if (f == NULL)
		return -errno;
	if (fscanf(f, "%d", &pid) != 1)
		pid = 0;
	(void)fclose(f);
	fd = pid > 0 ? pidfd_open(pid, 0) : -ESRCH;
	if (fd >= 0 && !in_group(s, pid)) {
		(void)close(fd);
		fd = -ESRCH;
	}
	return fd;
}

int ssh_init(struct pod *p)
{
	struct ssh *s;
	int r, fd;

	if (p->args->ssh == NULL)
		return 0;
	if (p->args->ssh_net >= 0 && fcntl(p->args->ssh_net, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->pod = p;
	s->pidfd = -1;
	r = access("/usr/sbin/sshd", X_OK) < 0 ? -ENOPKG : dirs_make(s);
	if (r == 0)
		r = put_fixed(s);
	if (r == 0)
		r = serve_gate(s);
	/* A node is a node without it. */
	if (r < 0) {
		log_error("no login over ssh: %s; try: pando doctor",
			  r == -ENOPKG ? "there is no sshd" : strerror(-r));
		free(s);
		return 0;
	}
	p->ssh = s;
	fd = find_running(s);
	if (fd >= 0)
		return watch(s, fd);
	arm_restart(s, 0);
	return 0;
}

void ssh_fini(struct pod *p)
{
	struct ssh *s = p->ssh;

	if (s == NULL)
		return;
	loop_timer_clear(p->loop, &s->restart);
	forget(s);
	buf_fini(&s->passwd);
	free(s);
	p->ssh = NULL;
}
