/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move DIR STUB PROGRAM [ARG...] - runs PROGRAM on a node and unmoved; then again
 * while it is moved to a second node and back, several times, after every few
 * lines of its output. Both outputs and exit statuses must be the same.
 *
 * Environment: MOVES (default 4), EVERY (lines between moves, default 6),
 * FAULT_SOURCE, FAULT_TARGET (a point at which that side is killed once per move).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "migrate/image/image.h"
#include "tests/lib/guestnode.h"

#define DIE(...)                                                                                   \
	do {                                                                                       \
		(void)fprintf(stderr, "move: " __VA_ARGS__);                                       \
		(void)fputc('\n', stderr);                                                         \
		exit(1);                                                                           \
	} while (0)

/* One move: what both sides share. */
struct move {
	pid_t pid;   /* as the host sees it at the source */
	pid_t stub;  /* and at the target */
	int image;   /* a memfd */
	int fds[2];  /* descriptors that travel: source writes, target reads */
	int said[2]; /* source -> test */
	int told[2]; /* test -> source: 'l' leave, 't' thaw */
	const char *fault;
	uint64_t *times; /* shared: freeze, dumped, built, went */
};

/* ---- carrying what is not a file: the very descriptor, through a socket ---- */

static int send_fd(int sock, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = { 0 };
	char b = 'f';
	struct iovec v = { &b, 1 };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = u.bytes,
			    .msg_controllen = sizeof(u.bytes) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	return sendmsg(sock, &m, 0) == 1 ? 0 : -errno;
}

static int recv_fd(int sock)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	char b;
	struct iovec v = { &b, 1 };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = u.bytes,
			    .msg_controllen = sizeof(u.bytes) };
	struct cmsghdr *h;
	int fd = -EPIPE;

	if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC) != 1)
		return -errno;
	h = CMSG_FIRSTHDR(&m);
	if (h)
		memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	return fd;
}

struct side {
	struct guestnode *n;
	struct move *m;
};

static int take_fd_of(void *arg, pid_t pid, const struct image_fd *f, struct buf *cookie)
{
	struct side *s = arg;
	int pidfd, fd, r;

	if (f->kind != IMAGE_FD_PIPE && f->kind != IMAGE_FD_SOCKET)
		return -ENOTSUP;
	if (!s->m)
		return 0; /* asked only whether we would */
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, f->fd, 0);
	if (fd < 0)
		return -errno;
	r = send_fd(s->m->fds[0], fd);
	(void)close(fd);
	(void)close(pidfd);
	return r < 0 ? r : buf_add(cookie, "real", 4);
}

static int make_fd(void *arg, const struct image_fd *f, const void *cookie, size_t len)
{
	struct side *s = arg;

	(void)f;
	if (len != 4 || memcmp(cookie, "real", 4) != 0)
		return -EBADMSG;
	return recv_fd(s->m->fds[1]);
}

static int since(void *arg, pid_t tid, uint64_t *ns)
{
	return guestnode_sleep_since(((struct side *)arg)->n, tid, ns);
}

static void note(void *arg, pid_t tid, uint64_t ns)
{
	guestnode_sleep_note(((struct side *)arg)->n, tid, ns);
}

static const struct image_hooks hooks = {
	.fd_take = take_fd_of, .fd_make = make_fd, .sleep_since = since, .sleep_note = note
};

static struct image_env env_of(struct side *s)
{
	return (struct image_env){ .proc = s->n->proc,
				   .slots = &s->n->slots,
				   .stub_path = s->n->stub,
				   .filters = 1,
				   .hooks = &hooks,
				   .arg = s };
}

static int fail(const char *what, int r, struct buf *why)
{
	const char *s = buf_str(why);

	(void)fprintf(stderr, "move: %s: %s: %s", what, strerror(-r), s ? s : "\n");
	return 1;
}

/* ---- the two sides ---- */

static int file_write(void *arg, const void *bytes, size_t len)
{
	return write(*(int *)arg, bytes, len) == (ssize_t)len ? 0 : -EIO;
}

static int file_read(void *arg, void *bytes, size_t len)
{
	ssize_t n = read(*(int *)arg, bytes, len);

	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EBADMSG;
}

/* As placement does it: the exec itself is the host's, the fresh image moves. */
static int freeze_at_exec(const struct image_env *env, pid_t pid, struct image_frozen **f,
			  struct buf *why)
{
	struct tracee t = { .tid = pid };
	int st;

	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(long)PTRACE_O_TRACEEXEC) < 0)
		return -errno;
	st = tracee_wait(&t, 10000);
	if (st < 0)
		return st;
	if (st >> 16 != PTRACE_EVENT_EXEC)
		return -EPROTO;
	return image_freeze_adopt(env, pid, st, f, why);
}

static int source(struct guestnode *n, void *arg)
{
	struct side s = { n, arg };
	struct image_env env = env_of(&s);
	struct image_sink to = { file_write, &s.m->image };
	cleanup_buf struct buf why = BUF_INIT;
	struct image_frozen *f;
	char c;
	int r;

	if (s.m->fault && fault_arm(s.m->fault, 1, FAULT_KILL) < 0)
		return fail(s.m->fault, -ENOENT, &why);
	s.m->times[0] = clock_mono_ns();
	r = getenv("AT_EXEC") ? freeze_at_exec(&env, s.m->pid, &f, &why)
			      : image_freeze(&env, s.m->pid, &f, &why);
	if (r < 0)
		return fail("freeze", r, &why);
	r = image_dump(f, &to, &why);
	if (r < 0) {
		image_thaw(f);
		return fail("dump", r, &why);
	}
	s.m->times[1] = clock_mono_ns();
	if (write(s.m->said[1], "d", 1) != 1 || read(s.m->told[0], &c, 1) != 1)
		return 1;
	if (c == 't') {
		image_thaw(f);
		return 0;
	}
	r = image_leave(f, &why);
	return r < 0 ? fail("leave", r, &why) : 0;
}

static int target(struct guestnode *n, void *arg)
{
	struct side s = { n, arg };
	struct image_env env = env_of(&s);
	struct image_source from = { file_read, &s.m->image };
	cleanup_buf struct buf why = BUF_INIT;
	struct image_built *b;
	int r;

	if (s.m->fault && fault_arm(s.m->fault, 1, FAULT_KILL) < 0)
		return fail(s.m->fault, -ENOENT, &why);
	(void)lseek(s.m->image, 0, SEEK_SET);
	r = image_build(&env, s.m->stub, &from, &b, &why);
	if (r < 0)
		return fail("build", r, &why);
	s.m->times[2] = clock_mono_ns();
	r = image_go(b);
	s.m->times[3] = clock_mono_ns();
	return r < 0 ? fail("go", r, &why) : 0;
}

/* What a successor does with a process that its predecessor left in the slots. */
struct recovery {
	pid_t pid;
	enum image_fate fate;
};

static int recover(struct guestnode *n, void *arg)
{
	struct recovery *rec = arg;
	struct side s = { n, NULL };
	struct image_env env = env_of(&s);
	cleanup_buf struct buf why = BUF_INIT;
	int role = image_recover_role(&env, rec->pid);
	int r;

	if (role == -ENOENT)
		return 0;
	r = image_recover(&env, rec->pid, role == GATE_BUILD ? IMAGE_FATE_STUB : rec->fate, &why);
	return r < 0 ? fail("recover", r, &why) : 0;
}

static int print_why(struct guestnode *n, void *arg)
{
	struct side s = { n, NULL };
	struct image_env env = env_of(&s);
	struct image_why w;
	int r = image_why(&env, *(pid_t *)arg, &w);

	if (r < 0)
		return fail("why", r, &(struct buf)BUF_INIT);
	(void)printf("why: %u threads, %u mappings, %lu bytes, %lu us predicted%s%s\n", w.threads,
		     w.vmas, (unsigned long)w.bytes, (unsigned long)(w.freeze_ns / 1000),
		     w.reasons.len ? "; " : "", w.reasons.len ? buf_str(&w.reasons) : "");
	(void)fflush(stdout);
	image_why_fini(&w);
	return 0;
}

/* ---- one move, seen from outside ---- */

struct guest {
	struct guestnode *node[2];
	pid_t pid[2]; /* process or stub on each node, as the host sees it; 0: none */
	pid_t ns_pid;
	int at;
	int in, out;
	pid_t serving;
};

static struct move move_new(struct guest *g, uint64_t *times)
{
	struct move m = { .pid = g->pid[g->at], .times = times };
	int to = 1 - g->at;

	if (g->pid[to] == 0) {
		pid_t serving =
			guestnode_serve(g->node[to]); /* clone3 of its init is notified too */

		g->pid[to] = guestnode_stub(g->node[to], g->ns_pid);
		guestnode_serve_end(serving);
	}
	if (g->pid[to] <= 0)
		DIE("no stub %d: %s", g->ns_pid, strerror(-g->pid[to]));
	m.stub = g->pid[to];
	m.image = memfd_create("image", MFD_CLOEXEC);
	if (m.image < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, m.fds) < 0 ||
	    pipe2(m.said, O_CLOEXEC) < 0 || pipe2(m.told, O_CLOEXEC) < 0)
		DIE("no descriptors");
	return m;
}

static void move_end(struct move *m)
{
	int fds[] = {
		m->image, m->fds[0], m->fds[1], m->said[0], m->said[1], m->told[0], m->told[1]
	};

	for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
		(void)close(fds[i]);
}

static void tell(pid_t kernel, struct move *m, char c)
{
	int status;

	if (write(m->told[1], &c, 1) != 1)
		DIE("cannot tell the source");
	status = guestnode_kernel_wait(kernel);
	if (status != 0 && !(m->fault && WIFSIGNALED(status)))
		DIE("source ended with %#x", status);
}

static void recover_at(struct guest *g, int node, enum image_fate fate)
{
	struct recovery rec = { g->pid[node], fate };
	int status = guestnode_run(g->node[node], recover, &rec);

	if (status != 0)
		DIE("recovery at node %d ended with %#x", node, status);
}

/* Returns whether it is at the other node now. */
static bool move_once(struct guest *g, const char *fault_source, const char *fault_target,
		      uint64_t *times)
{
	struct move m = move_new(g, times);
	struct pollfd p[2] = { { m.said[0], POLLIN, 0 } };
	int from = g->at, to = 1 - g->at, status;
	bool moved;
	pid_t kernel;
	char c;

	m.fault = fault_source;
	kernel = guestnode_kernel(g->node[from], source, &m);
	(void)close(m.said[1]);
	m.said[1] = -1;
	if (poll(p, 1, 20000) != 1 || read(m.said[0], &c, 1) != 1) {
		status = guestnode_kernel_wait(kernel);
		if (!fault_source || !WIFSIGNALED(status))
			DIE("source ended with %#x", status);
		recover_at(g, from, IMAGE_FATE_RUN);
		move_end(&m);
		return false;
	}
	m.fault = fault_target;
	status = guestnode_run(g->node[to], target, &m);
	m.fault = fault_source;
	if (fault_target && WIFSIGNALED(status)) {
		/* Committed or not is not the image's matter: here it is, if it was ready. */
		struct side s = { g->node[to], NULL };
		struct image_env env = env_of(&s);
		int role = image_recover_role(&env, g->pid[to]);

		moved = role != GATE_BUILD;
		recover_at(g, to, IMAGE_FATE_RUN);
	} else if (status != 0) {
		DIE("target ended with %#x", status);
	} else {
		moved = true;
	}
	tell(kernel, &m, moved ? 'l' : 't');
	if (fault_source)
		recover_at(g, from, moved ? IMAGE_FATE_STUB : IMAGE_FATE_RUN);
	if (moved)
		g->at = to;
	move_end(&m);
	return moved;
}

/* ---- the whole run ---- */

static unsigned env_number(const char *name, unsigned otherwise)
{
	const char *s = getenv(name);

	return s ? (unsigned)atoi(s) : otherwise;
}

static void start(struct guest *g, char *const argv[], const char *feed, bool end_input)
{
	int in[2], out[2];

	/* Room for one write: it is never further than that, however slow we are. */
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC | O_DIRECT) < 0 ||
	    fcntl(out[1], F_SETPIPE_SZ, 4096) < 0)
		DIE("no pipes");
	g->pid[0] = guestnode_spawn(g->node[0], argv, (int[]){ in[0], out[1], out[1] }, &g->ns_pid);
	if (g->pid[0] <= 0)
		DIE("cannot start %s: %s", argv[0], strerror(-g->pid[0]));
	g->pid[1] = 0;
	g->at = 0;
	g->in = in[1];
	g->out = out[0];
	(void)close(in[0]);
	(void)close(out[1]);
	if (feed && write(g->in, feed, strlen(feed)) < 0)
		DIE("cannot feed it");
	if (end_input)
		(void)close(g->in);
	/* Only now: it must not hold an end of the guest's pipes. */
	g->serving = guestnode_serve(g->node[0]);
}

/* Some bytes of its output; 0 at the end. */
static size_t more_output(struct guest *g, struct buf *text)
{
	struct pollfd p = { g->out, POLLIN, 0 };
	ssize_t n;

	if (buf_reserve(text, 4096) < 0)
		DIE("no memory");
	if (poll(&p, 1, 20000) != 1)
		DIE("no output of %d at node %d for 20 s, after:\n%s", g->pid[g->at], g->at,
		    buf_str(text));
	n = read(g->out, text->data + text->len, 4096);
	if (n < 0)
		DIE("its output: %s", strerror(errno));
	text->len += (size_t)n;
	return (size_t)n;
}

static unsigned lines(const struct buf *text)
{
	unsigned n = 0;

	for (size_t i = 0; i < text->len; i++)
		n += text->data[i] == '\n';
	return n;
}

static int run(struct guestnode nodes[2], char *const argv[], unsigned moves, struct buf *text,
	       uint64_t *times, uint64_t sums[3])
{
	struct guest g = { .node = { &nodes[0], &nodes[1] } };
	const char *fs = moves ? getenv("FAULT_SOURCE") : NULL;
	const char *ft = moves ? getenv("FAULT_TARGET") : NULL;
	unsigned every = env_number("EVERY", 6), done = 0, failed = 0, next = every;
	const char *feed = getenv("FEED");
	int status;

	start(&g, argv, moves ? NULL : feed, !feed || !moves);
	for (;;) {
		if (feed && moves && done < moves) {
			/* It is blocked in its read: that is when it is moved. */
		} else if (more_output(&g, text) == 0) {
			break;
		}
		if (done + failed >= 2 * moves || done >= moves || (!feed && lines(text) < next))
			continue;
		next = lines(text) + every;
		guestnode_serve_end(g.serving);
		/* One that prints nothing first may still be the stub, which nobody looks into. */
		for (int i = 0; done == 0; i++) {
			if (guestnode_run(g.node[g.at], print_why, &g.pid[g.at]) == 0)
				break;
			if (!feed || i == 2000)
				DIE("no prediction, after:\n%s", buf_str(text));
			(void)poll(NULL, 0, 1);
		}
		memset(times, 0, 4 * sizeof(*times));
		if (move_once(&g, fs, ft, times)) {
			done++;
			/* One that was killed has no end. */
			sums[0] += times[3] ? times[1] - times[0] : 0;
			sums[1] += times[3] ? times[2] - times[1] : 0;
			sums[2] += times[3] ? times[3] - times[0] : 0;
		} else {
			failed++;
			ft = fs = NULL; /* and then without */
		}
		if (feed && done <= strlen(feed) && write(g.in, feed + done - 1, 1) != 1)
			DIE("cannot feed it");
		if (feed && done == moves) {
			if (write(g.in, feed + done, strlen(feed + done)) < 0)
				DIE("cannot feed it");
			(void)close(g.in);
		}
		g.serving = guestnode_serve(g.node[g.at]);
	}
	status = guestnode_reaped(g.node[g.at], g.ns_pid);
	guestnode_serve_end(g.serving);
	if (g.pid[1 - g.at] > 0) {
		(void)kill(g.pid[1 - g.at], SIGKILL);
		(void)guestnode_reaped(g.node[1 - g.at], g.ns_pid);
	}
	(void)close(g.out);
	if (done < moves)
		DIE("only %u of %u moves: the program was too short", done, moves);
	return status;
}

/* REFUSED=words: it must be refused in these words, before and in the freeze, and live on. */
static int ask_refusal(struct guestnode *n, void *arg)
{
	struct side s = { n, arg };
	struct image_env env = env_of(&s);
	struct image_sink to = { file_write, &s.m->image };
	cleanup_buf struct buf said = BUF_INIT;
	const char *words = getenv("REFUSED");
	struct image_frozen *f;
	struct image_why w;
	int r = image_why(&env, s.m->pid, &w);

	if (r < 0)
		return fail("why", r, &said);
	if (!w.reasons.len || !strstr(buf_str(&w.reasons), words)) {
		(void)fprintf(stderr, "move: why says '%s', not '%s'\n", buf_str(&w.reasons),
			      words);
		return 1;
	}
	image_why_fini(&w);
	r = image_freeze(&env, s.m->pid, &f, &said);
	if (r == 0) {
		r = image_dump(f, &to, &said);
		image_thaw(f);
	}
	if (r == -ENOTSUP && strstr(buf_str(&said), words))
		return 0;
	return fail("it was not refused", r, &said);
}

static void refusal(struct guestnode nodes[2], char *const argv[])
{
	struct guest g = { .node = { &nodes[0], &nodes[1] } };
	cleanup_buf struct buf text = BUF_INIT;
	uint64_t times[4];
	struct move m;

	start(&g, argv, NULL, false);
	(void)more_output(&g, &text);
	guestnode_serve_end(g.serving);
	m = move_new(&g, times);
	if (guestnode_run(&nodes[0], ask_refusal, &m) != 0)
		DIE("the refusal is not what it should be");
	move_end(&m);
	if (write(g.in, "x", 1) != 1)
		DIE("cannot feed it");
	(void)close(g.in);
	g.serving = guestnode_serve(&nodes[0]);
	while (more_output(&g, &text) > 0)
		;
	if (!strstr(buf_str(&text), "alive 120") || guestnode_reaped(&nodes[0], g.ns_pid) != 0)
		DIE("it did not survive that:\n%s", buf_str(&text));
	guestnode_serve_end(g.serving);
	(void)printf("refused, and lives on\n");
}

/* KILLED=freeze or build: the guest is killed there; nothing of it may be left behind. */
static int kill_in_freeze(struct guestnode *n, void *arg)
{
	struct side s = { n, arg };
	struct image_env env = env_of(&s);
	struct image_sink to = { file_write, &s.m->image };
	cleanup_buf struct buf why = BUF_INIT;
	bool late = strcmp(getenv("KILLED"), "build") == 0;
	struct image_frozen *f;
	int r = image_freeze(&env, s.m->pid, &f, &why);

	if (r < 0)
		return fail("freeze", r, &why);
	if (!late && kill(s.m->pid, SIGKILL) < 0)
		return 1;
	r = image_dump(f, &to, &why);
	if (late && r < 0)
		return fail("dump", r, &why);
	image_thaw(f);
	if (late && kill(s.m->pid, SIGKILL) < 0)
		return 1;
	return late || r < 0 ? 0 : fail("a dead process was dumped", 0, &why);
}

/* The stub is killed after so many bytes of the image. */
static int read_and_kill(void *arg, void *bytes, size_t len)
{
	struct move *m = arg;

	if (lseek(m->image, 0, SEEK_CUR) > 20000)
		(void)kill(m->stub, SIGKILL);
	return file_read(&m->image, bytes, len);
}

static int kill_in_build(struct guestnode *n, void *arg)
{
	struct side s = { n, arg };
	struct image_env env = env_of(&s);
	struct image_source from = { read_and_kill, s.m };
	cleanup_buf struct buf why = BUF_INIT;
	struct image_built *b;
	int r;

	(void)lseek(s.m->image, 0, SEEK_SET);
	r = image_build(&env, s.m->stub, &from, &b, &why);
	return r < 0 ? 0 : fail("a dead stub was built in", r, &why);
}

static void killing(struct guestnode nodes[2], char *const argv[])
{
	struct guest g = { .node = { &nodes[0], &nodes[1] } };
	cleanup_buf struct buf text = BUF_INIT;
	uint64_t times[4];
	struct move m;

	start(&g, argv, NULL, true);
	(void)more_output(&g, &text);
	guestnode_serve_end(g.serving);
	m = move_new(&g, times);
	if (guestnode_run(&nodes[0], kill_in_freeze, &m) != 0)
		DIE("the freeze did not bear that its guest was killed");
	if (guestnode_reaped(&nodes[0], g.ns_pid) != SIGKILL)
		DIE("its parent does not see SIGKILL");
	if (strcmp(getenv("KILLED"), "build") == 0) {
		if (guestnode_run(&nodes[1], kill_in_build, &m) != 0)
			DIE("the build did not bear that its stub was killed");
		if (guestnode_reaped(&nodes[1], g.ns_pid) != SIGKILL)
			DIE("the stub's parent does not see SIGKILL");
	}
	move_end(&m);
	for (int i = 0; i < 2; i++)
		if (nodes[i].slots.mem->high != 0)
			DIE("slots of node %d are not free", i);
	(void)printf("killed, and nothing left of it\n");
}

int main(int argc, char **argv)
{
	cleanup_buf struct buf unmoved = BUF_INIT;
	cleanup_buf struct buf moved = BUF_INIT;
	unsigned moves = env_number("MOVES", 4);
	struct guestnode nodes[2];
	uint64_t sums[3] = { 0 };
	uint64_t *times =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char dir[128];
	int a, b;

	if (argc < 4 || times == MAP_FAILED)
		DIE("usage: move DIR STUB PROGRAM [ARG...]");
	log_init("move");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < 2; i++) {
		(void)snprintf(dir, sizeof(dir), "%s/stub", argv[1]);
		a = guestnode_up(&nodes[i], dir, argv[2]);
		if (a < 0)
			DIE("no node: %s", strerror(-a));
	}
	if (getenv("REFUSED")) {
		refusal(nodes, argv + 3);
		goto down;
	}
	if (getenv("KILLED")) {
		killing(nodes, argv + 3);
		goto down;
	}
	a = run(nodes, argv + 3, 0, &unmoved, times, sums);
	b = run(nodes, argv + 3, moves, &moved, times, sums);
	if (a != b || unmoved.len != moved.len ||
	    memcmp(unmoved.data, moved.data, moved.len) != 0) {
		(void)fprintf(stderr, "---- unmoved, status %#x\n%s---- moved, status %#x\n%s", a,
			      buf_str(&unmoved), b, buf_str(&moved));
		DIE("the outputs differ");
	}
	if (strstr(buf_str(&moved), "\nbad"))
		DIE("the program found something wrong:\n%s", buf_str(&moved));
	(void)printf("%u moves, %u lines: same as unmoved; dump %lu, build %lu, freeze %lu us\n",
		     moves, lines(&moved), (unsigned long)(sums[0] / moves / 1000),
		     (unsigned long)(sums[1] / moves / 1000),
		     (unsigned long)(sums[2] / moves / 1000));
down:
	guestnode_down(&nodes[0]);
	guestnode_down(&nodes[1]);
	return 0;
}
