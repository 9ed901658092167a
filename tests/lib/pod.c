/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/pod.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "cmd/line/line.h"
#include "base/log.h"
#include "kernel/kernel.h"
#include "kernel/stub/stub.h"
#include "kernel/sys/sys.h"
#include "kernel/tenant/client.h"
#include "rpc/auth.h"

static struct pod *pods[8];

static void tear_down(struct pod *p)
{
	char why[TENANT_WHY_MAX];

	if (p->tenant) {
		if (tenant_stop(p->tenant, why) != 0)
			fprintf(stderr, "pod: %s\n", why);
		p->tenant = NULL;
	}
	if (p->kernel_pidfd >= 0) {
		siginfo_t si;

		(void)syscall(SYS_pidfd_send_signal, p->kernel_pidfd, SIGKILL, NULL, 0);
		(void)waitid(P_PIDFD, (id_t)p->kernel_pidfd, &si, WEXITED);
		(void)close(p->kernel_pidfd);
		p->kernel_pidfd = -1;
	}
	if (p->cgroups) {
		char *slash = strchr(p->cgroup, '/');

		if (slash)
			*slash = 0;
		if (cgroup_remove(p->cgroups, p->cgroup) != 0)
			fprintf(stderr, "pod: cannot remove group %s\n", p->cgroup);
		cgroup_host_free(p->cgroups);
		p->cgroups = NULL;
	}
}

void pod_fail(struct pod *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	for (size_t i = 0; i < ARRAY_LEN(pods); i++)
		if (pods[i])
			tear_down(pods[i]);
	exit(1);
}

static void tell_nodes(struct pod *p);
static void introduce(struct pod *p);

/* ---- what the kernel asks and tells ---- */
static void on_ready(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct pod *p = arg;
	Kernel__Ready *r = kernel__ready__unpack(NULL, m->len, m->body);

	POD_CHECK(p, r != NULL);
	p->ready++;
	tell_nodes(p);
	introduce(p);
	p->adopted += r->adopted;
	kernel__ready__free_unpacked(r, NULL);
}

static void on_pids(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct pod *p = arg;
	Kernel__PidsGranted g = KERNEL__PIDS_GRANTED__INIT;
	Kernel__PidBlock b = KERNEL__PID_BLOCK__INIT, *pb = &b;
	uint8_t body[64];
	struct rpc_msg out = { .body = body };

	b.first = p->next_block;
	b.count = 4096;
	g.n_blocks = 1;
	g.blocks = &pb;
	out.len = kernel__pids_granted__pack(&g, body);
	POD_CHECK(p, rpc_reply(call, 0, &out) == 0);
}

static void on_exit_told(void *arg, struct rpc_conn *c, struct rpc_call *call,
			 const struct rpc_msg *m)
{
	struct pod *p = arg;
	Kernel__SessionExit *e = kernel__session_exit__unpack(NULL, m->len, m->body);
	Kernel__SessionAck ack = KERNEL__SESSION_ACK__INIT;
	uint8_t body[16];
	struct rpc_msg out = { .method = KERNEL_SESSION_ACK, .body = body };

	POD_CHECK(p, e != NULL);
	for (unsigned i = 0; i < p->session_count; i++) {
		struct pod_session *s = &p->sessions[i];

		if (s->id != e->session)
			continue;
		POD_CHECK(p, s->pid == e->pid);
		s->ended = true;
		s->status = e->status;
	}
	ack.event = e->event;
	out.len = kernel__session_ack__pack(&ack, body);
	(void)!rpc_send(c, &out);
	kernel__session_exit__free_unpacked(e, NULL);
}

static void on_conn(void *arg, struct rpc_conn *c, int err)
{
	struct pod *p = arg;

	if (err != 0 && p->conn == c)
		p->conn = NULL;
}

static int new_conn(struct pod *p)
{
	int sv[2];

	if (p->conn)
		rpc_conn_close(p->conn);
	p->conn = NULL;
	POD_CHECK(p, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
	POD_CHECK(p, rpc_conn_local(p->rpc, sv[0], on_conn, p, &p->conn) == 0);
	return sv[1];
}

/* ---- the guest kernel's life ---- */
static void on_kernel_end(struct loop_child *c, const siginfo_t *si)
{
	struct pod *p = container_of(c, struct pod, child);

	(void)close(p->kernel_pidfd);
	p->kernel_pidfd = -1;
	if (si->si_code != CLD_KILLED || si->si_status != SIGKILL)
		pod_fail(p, "pando-kernel ended by itself: code %d status %d", si->si_code,
			 si->si_status);
	if (p->restarts > 0)
		pod_kernel_start(p);
}

void pod_kernel_start(struct pod *p)
{
	char program[256], node[16], why[TENANT_WHY_MAX];
	char *argv[] = { program, (char[]){ "1" }, p->tenant->name, node, p->node_name, NULL };
	int fd = new_conn(p), r;

	(void)snprintf(program, sizeof(program), "%s/pando-kernel", getenv("BIN"));
	(void)snprintf(node, sizeof(node), "%u", p->node);
	r = tenant_kernel_start(p->tenant, argv, fd, 2, &p->kernel_pidfd, why);
	(void)close(fd);
	if (r != 0)
		pod_fail(p, "%s: %s", why, strerror(-r));
	p->kernels++;
	POD_CHECK(p, loop_child_add(p->loop, &p->child, p->kernel_pidfd, on_kernel_end) == 0);
}

void pod_kernel_kill(struct pod *p)
{
	if (p->kernel_pidfd >= 0)
		(void)syscall(SYS_pidfd_send_signal, p->kernel_pidfd, SIGKILL, NULL, 0);
}

void pod_reconnect(struct pod *p)
{
	struct init_msg m = { .op = INIT_PUT, .tag = 7 };
	int fd = new_conn(p);

	(void)snprintf(m.key, sizeof(m.key), "%s", INIT_KEY_POD);
	POD_CHECK(p, init_call(p->tenant->control, &m, NULL, 0, &fd, 1, NULL, NULL, 5000) >= 0);
	(void)close(fd);
}

/* ---- the world ---- */
static struct sock_filter guest_filter[SYS_FILTER_MAX];

/* POD_FILTER=allow: only the calls without which nothing works; shows what the other walls stop. */
static int build_filter(void)
{
	static const struct sock_filter allow[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0 /* seccomp_data.nr */),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, STUB_MAGIC, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0x7fc00000 /* SECCOMP_RET_USER_NOTIF */),
		BPF_STMT(BPF_RET | BPF_K, 0x7fff0000 /* SECCOMP_RET_ALLOW */),
	};
	const char *which = getenv("POD_FILTER");

	if (!which || strcmp(which, "allow") != 0)
		return sys_filter_build(guest_filter, SYS_FILTER_MAX);
	memcpy(guest_filter, allow, sizeof(allow));
	return ARRAY_LEN(allow);
}

/* ---- other nodes: every pod of this program is one ---- */
static struct rpc_keys node_keys[ARRAY_LEN(pods)];

static unsigned index_of(const struct pod *p)
{
	unsigned i = 0;

	while (pods[i] != p)
		i++;
	return i;
}

#define POD_LIFE 1 /* of all played nodes */

static void introduce(struct pod *p)
{
	Kernel__Identity id = KERNEL__IDENTITY__INIT;
	struct rpc_keys keys;
	struct rpc_cert cert = { .tenant = 1, .node = p->node, .expires_s = UINT32_MAX };
	uint8_t body[1024];
	struct rpc_msg m = { .method = KERNEL_IDENTITY, .body = body };

	POD_CHECK(p, rpc_keys_new(&keys) == 0);
	cert.epoch = POD_LIFE;
	memcpy(cert.key, keys.public, sizeof(cert.key));
	rpc_cert_sign(&cert, &node_keys[index_of(p)]);
	id.secret.data = (uint8_t *)&keys;
	id.secret.len = sizeof(keys);
	id.certificate.data = (uint8_t *)&cert;
	id.certificate.len = sizeof(cert);
	m.len = kernel__identity__pack(&id, body);
	POD_CHECK(p, rpc_send(p->conn, &m) == 0);
}

static void tell_nodes(struct pod *p)
{
	Kernel__Node rows[ARRAY_LEN(pods)], *list[ARRAY_LEN(pods)];
	Kernel__Nodes all = KERNEL__NODES__INIT;
	uint8_t body[2048];
	struct rpc_msg m = { .method = KERNEL_NODES, .body = body };

	for (unsigned i = 0; i < ARRAY_LEN(pods); i++) {
		Kernel__Node *row = &rows[all.n_nodes];

		if (!pods[i])
			continue;
		kernel__node__init(row);
		row->id = pods[i]->node;
		row->name = pods[i]->node_name;
		row->alive = true;
		row->epoch = POD_LIFE;
		row->key.data = node_keys[i].public;
		row->key.len = RPC_KEY_BYTES;
		list[all.n_nodes++] = row;
	}
	all.nodes = list;
	m.len = kernel__nodes__pack(&all, body);
	if (p->conn)
		POD_CHECK(p, rpc_send(p->conn, &m) == 0);
}

/* A TCP connection through loopback, one end for each kernel: what two pandods do together. */
static void connect_pair(struct pod *p, int out[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	POD_CHECK(p, l >= 0 && bind(l, (struct sockaddr *)&a, sizeof(a)) == 0 &&
			     listen(l, 1) == 0 && getsockname(l, (struct sockaddr *)&a, &len) == 0);
	out[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	POD_CHECK(p, connect(out[0], (struct sockaddr *)&a, len) == 0);
	out[1] = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	POD_CHECK(p, out[1] >= 0);
	(void)close(l);
	for (int i = 0; i < 2; i++)
		(void)setsockopt(out[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void on_peer_taken(void *arg, int err, const struct rpc_msg *m)
{
	if (err != 0)
		fprintf(stderr, "pod: a kernel does not take a connection: %s\n", strerror(-err));
}

static void on_peer_wanted(void *arg, struct rpc_conn *c, struct rpc_call *call,
			   const struct rpc_msg *m)
{
	struct pod *p = arg, *to = NULL;
	Kernel__PeerWanted *q = kernel__peer_wanted__unpack(NULL, m->len, m->body);
	Kernel__PeerIn in = KERNEL__PEER_IN__INIT;
	uint8_t body[16];
	struct rpc_msg give = { .method = KERNEL_PEER_IN, .body = body, .fd_count = 1 };
	struct rpc_msg reply = { .fd_count = 1 };
	int pair[2];

	for (unsigned i = 0; i < ARRAY_LEN(pods); i++)
		if (pods[i] && pods[i]->node == q->node)
			to = pods[i];
	kernel__peer_wanted__free_unpacked(q, NULL);
	if (p->unreached != 0) {
		p->unreached_count++;
		POD_CHECK(p, rpc_reply(call, p->unreached, NULL) == 0);
		return;
	}
	if (!to || !to->conn) {
		POD_CHECK(p, rpc_reply(call, -EHOSTDOWN, NULL) == 0);
		return;
	}
	connect_pair(p, pair);
	in.node = p->node;
	give.len = kernel__peer_in__pack(&in, body);
	give.fds[0] = pair[1];
	reply.fds[0] = pair[0];
	/* Either may have died just now. */
	if (rpc_request(to->conn, &give, NULL, on_peer_taken, NULL, NULL) != 0) {
		(void)close(pair[0]);
		(void)close(pair[1]);
		POD_CHECK(p, rpc_reply(call, -EHOSTDOWN, NULL) == 0);
		return;
	}
	POD_CHECK(p, rpc_reply(call, 0, &reply) == 0);
}

void pod_start(struct pod *p, struct loop *l, node_id node, gpid blocks)
{
	const char *dir = getenv("PANDO_TEST_DIR"), *bin = getenv("BIN");
	char home[160], init_path[256], stub_path[256], why[TENANT_WHY_MAX];
	struct tenant_volume volume = { .host = home, .path = "/home/alice", .idmapped = true };
	struct tenant_cfg cfg = { .name = "alice",
				  .procfs = true,
				  .hostname = "pando",
				  .id_base = TENANT_IDS * (64 + (uint32_t)getpid() % 16384),
				  .run_dir = p->dir,
				  .volumes = &volume,
				  .volume_count = 1,
				  .init_path = init_path,
				  .stub_path = stub_path,
				  .filter = guest_filter };
	int r;

	memset(p, 0, sizeof(*p));
	r = build_filter();
	POD_CHECK(p, r > 0);
	cfg.filter_bytes = (size_t)r * sizeof(guest_filter[0]);
	for (size_t i = 0; i < ARRAY_LEN(pods); i++) {
		if (pods[i])
			continue;
		pods[i] = p;
		break;
	}
	POD_CHECK(p, rpc_keys_new(&node_keys[index_of(p)]) == 0);
	p->kernel_pidfd = -1;
	p->loop = l;
	p->node = node;
	p->next_block = blocks;
	if (!dir || !bin)
		pod_fail(p, "PANDO_TEST_DIR and BIN must be set");
	(void)snprintf(p->node_name, sizeof(p->node_name), "n%u", node);
	(void)snprintf(p->dir, sizeof(p->dir), "%s/%s", dir, p->node_name);
	(void)snprintf(home, sizeof(home), "%s/home", dir);
	(void)snprintf(init_path, sizeof(init_path), "%s/pando-init", bin);
	(void)snprintf(stub_path, sizeof(stub_path), "%s/pando-stub", bin);
	(void)snprintf(p->cgroup, sizeof(p->cgroup), "pando%s-%s/alice", strrchr(dir, '/') + 1,
		       p->node_name);
	cfg.cgroup = p->cgroup;
	(void)chmod(dir, 0700);
	(void)mkdir(p->dir, 0700);
	(void)mkdir(home, 0755);
	POD_CHECK(p, chown(home, 1000, 1000) == 0);
	POD_CHECK(p, cgroup_host_new(&p->cgroups, NULL) == 0);
	cfg.cgroups = p->cgroups;
	r = tenant_start(&cfg, &p->tenant, why);
	if (r != 0)
		pod_fail(p, "%s: %s", why, strerror(-r));
	POD_CHECK(p, rpc_new(&p->rpc, l, NULL) == 0);
	rpc_serve(p->rpc, KERNEL_READY, on_ready, p);
	rpc_serve(p->rpc, KERNEL_PIDS_WANTED, on_pids, p);
	rpc_serve(p->rpc, KERNEL_SESSION_EXIT, on_exit_told, p);
	rpc_serve(p->rpc, KERNEL_PEER_WANTED, on_peer_wanted, p);
	p->restarts = 1;
	pod_kernel_start(p);
	for (size_t i = 0; i < ARRAY_LEN(pods); i++)
		if (pods[i])
			tell_nodes(pods[i]);
}

void pod_stop(struct pod *p)
{
	p->restarts = 0;
	if (p->kernel_pidfd >= 0)
		loop_child_del(p->loop, &p->child);
	tear_down(p);
	rpc_free(p->rpc);
	for (size_t i = 0; i < ARRAY_LEN(pods); i++)
		if (pods[i] == p)
			pods[i] = NULL;
}

void pod_turn(struct pod *p)
{
	POD_CHECK(p, loop_turn(p->loop, 10 * NS_PER_MS) == 0);
}

/* ---- sessions ---- */
struct start {
	struct pod *p;
	unsigned index;
};

static void on_started(void *arg, int err, const struct rpc_msg *m)
{
	struct start *st = arg;
	struct pod_session *s = &st->p->sessions[st->index];

	s->start_err = err;
	if (err == 0) {
		Kernel__SessionStarted *r = kernel__session_started__unpack(NULL, m->len, m->body);

		POD_CHECK(st->p, r && r->pid > 0 && m->fd_count == 1);
		s->pid = r->pid;
		s->pidfd = m->fds[0];
		kernel__session_started__free_unpacked(r, NULL);
	}
	free(st);
}

struct pod_session *pod_session(struct pod *p, const char *const argv[], const int fds[3])
{
	Kernel__SessionStart q = KERNEL__SESSION_START__INIT;
	char *env[] = { (char *)"PATH=" TENANT_PATH, (char *)"HOME=/home/alice",
			(char *)"TERM=dumb" };
	struct pod_session *s = &p->sessions[p->session_count];
	struct start *st = malloc(sizeof(*st));
	uint8_t body[8192];
	struct rpc_msg m = { .method = KERNEL_SESSION_START, .body = body };

	POD_CHECK(p, p->session_count < POD_SESSIONS_MAX && st);
	*s = (struct pod_session){ .id = p->session_count + 1, .line = -1, .pidfd = -1 };
	*st = (struct start){ p, p->session_count++ };
	q.session = s->id;
	while (argv[q.n_argv])
		q.n_argv++;
	q.argv = (char **)(uintptr_t)argv;
	q.n_env = ARRAY_LEN(env);
	q.env = env;
	q.cwd = (char *)"/home/alice";
	q.uid = TENANT_UID;
	q.tty = !fds;
	q.rows = 24;
	q.cols = 80;
	m.len = kernel__session_start__pack(&q, body);
	for (int i = 0; fds && i < 3; i++)
		m.fds[m.fd_count++] = fds[i];
	if (!fds) {
		int ends[2];

		POD_CHECK(p, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
		m.fds[m.fd_count++] = ends[0];
		s->line = ends[1];
	}
	POD_CHECK(p, rpc_request(p->conn, &m, NULL, on_started, st, NULL) == 0);
	return s;
}

void pod_type(struct pod *p, struct pod_session *s, const char *text)
{
	cleanup_buf struct buf out = BUF_INIT;

	POD_CHECK(p, line_frame_add(&out, LINE_INPUT, text, strlen(text)) == 0);
	POD_CHECK(p, write(s->line, out.data, out.len) == (ssize_t)out.len);
}

static bool take_shown(struct pod *p, struct buf *in, struct buf *shown, int *status)
{
	struct line_frame f;
	int n;

	while ((n = line_frame_take(in->data, in->len, &f)) > 0) {
		if (f.kind == LINE_SHOWN)
			POD_CHECK(p, buf_add(shown, f.body, f.len) == 0);
		if (f.kind == LINE_EXIT)
			*status = (int)line_get(f.body, 4);
		buf_consume(in, (size_t)n);
		if (f.kind == LINE_EXIT)
			return true;
	}
	POD_CHECK(p, n == 0);
	return false;
}

char *pod_shown(struct pod *p, struct pod_session *s, int *status)
{
	uint64_t end = clock_mono_ns() + 60 * NS_PER_S;
	cleanup_buf struct buf in = BUF_INIT;
	struct buf shown = BUF_INIT;

	do {
		ssize_t n;

		POD_CHECK(p, buf_reserve(&in, 65536) == 0);
		n = recv(s->line, in.data + in.len, in.cap - in.len, MSG_DONTWAIT);
		if (n > 0)
			in.len += (size_t)n;
		if (n == 0 || clock_mono_ns() > end)
			pod_fail(p, "the line ended, or did not, after: %s", buf_str(&shown));
		pod_turn(p);
	} while (!take_shown(p, &in, &shown, status));
	(void)close(s->line);
	s->line = -1;
	POD_CHECK(p, buf_add(&shown, "", 1) == 0);
	return (char *)shown.data;
}

struct pod_session *pod_shell(struct pod *p, const char *text, int *out)
{
	const char *argv[] = { "/bin/sh", "-c", text, NULL };
	int pipefd[2], fds[3];

	POD_CHECK(p, pipe2(pipefd, O_CLOEXEC) == 0);
	fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	fds[1] = pipefd[1];
	fds[2] = dup(pipefd[1]);
	*out = pipefd[0];
	return pod_session(p, argv, fds);
}

char *pod_read_all(struct pod *p, int fd)
{
	size_t len = 0, cap = 1 << 16;
	char *v = malloc(cap);
	uint64_t end = clock_mono_ns() + 60 * NS_PER_S;

	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	for (;;) {
		ssize_t n = read(fd, v + len, cap - len - 1);

		if (n > 0)
			len += (size_t)n;
		if (len + 1 >= cap) {
			cap *= 2;
			v = realloc(v, cap);
		}
		POD_CHECK(p, v != NULL);
		if (n == 0 || (n < 0 && errno == EIO))
			break;
		if (n > 0)
			continue;
		v[len] = 0;
		if (clock_mono_ns() > end)
			pod_fail(p, "no end of output after: %s", v);
		pod_turn(p);
	}
	v[len] = 0;
	(void)close(fd);
	return v;
}

/* ---- requests ---- */
static void on_answer(void *arg, int err, const struct rpc_msg *m)
{
	struct pod_answer *a = arg;

	a->done = true;
	a->err = err;
	a->len = m ? MIN(m->len, sizeof(a->body)) : 0;
	if (m)
		memcpy(a->body, m->body, a->len);
}

void pod_ask(struct pod *p, uint32_t method, const void *body, size_t len, struct pod_answer *a)
{
	struct rpc_msg m = { .method = method, .body = body, .len = len };

	a->done = false;
	POD_CHECK(p, p->conn && rpc_request(p->conn, &m, NULL, on_answer, a, NULL) == 0);
	POD_UNTIL(p, a->done);
}

int pod_arm(struct pod *p, const char *text)
{
	Kernel__FaultArm q = KERNEL__FAULT_ARM__INIT;
	static struct pod_answer a;
	uint8_t body[128];

	q.text = (char *)(uintptr_t)text;
	pod_ask(p, KERNEL_FAULT_ARM, body, kernel__fault_arm__pack(&q, body), &a);
	return a.err;
}
