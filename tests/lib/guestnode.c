/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/guestnode.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"

#define HELD_MAX 64
#define IDS      65536
#define ID_BASE  1000000

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

/* A magic call that was received and not answered. */
struct held {
	_Atomic pid_t tid;
	uint64_t id;
};

/* What survives an incarnation, as a guest kernel's slots do. */
struct guestnode_shared {
	struct seccomp_notif inflight;
	struct held held[HELD_MAX];
	struct held answer_next[HELD_MAX]; /* tid: its next magic call is answered at once */
	struct held sleeper[HELD_MAX];     /* id: when its sleep began, ns */
};

/* ---- messages to init: one datagram, descriptors along ---- */
enum { CTL_SPAWN = 1, CTL_STUB, CTL_EXIT };
struct ctl {
	int op;
	pid_t pid;
	int status;
	char text[4000]; /* argv, each with its NUL, and one more */
};

static int ctl_send(int sock, const struct ctl *c, const int *fds, unsigned n, bool creds)
{
	union {
		char bytes[CMSG_SPACE(4 * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} u = { 0 };
	struct iovec v = { (void *)(uintptr_t)c, sizeof(*c) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (n > 0 || creds) {
		struct cmsghdr *h;

		m.msg_control = u.bytes;
		m.msg_controllen =
			creds ? CMSG_SPACE(sizeof(struct ucred)) : CMSG_SPACE(n * sizeof(int));
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		if (creds) {
			struct ucred me = { getpid(), getuid(), getgid() };

			h->cmsg_type = SCM_CREDENTIALS;
			h->cmsg_len = CMSG_LEN(sizeof(me));
			memcpy(CMSG_DATA(h), &me, sizeof(me));
		} else {
			h->cmsg_type = SCM_RIGHTS;
			h->cmsg_len = CMSG_LEN(n * sizeof(int));
			memcpy(CMSG_DATA(h), fds, n * sizeof(int));
		}
	}
	return sendmsg(sock, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int ctl_recv(int sock, struct ctl *c, int fds[4], pid_t *sender)
{
	union {
		char bytes[CMSG_SPACE(4 * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} u = { 0 };
	struct iovec v = { c, sizeof(*c) };
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = u.bytes, .msg_controllen = sizeof(u)
	};
	struct cmsghdr *h;
	ssize_t r = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);

	if (r <= 0)
		return r < 0 ? -errno : -EPIPE;
	for (int i = 0; i < 4; i++)
		fds[i] = -1;
	for (h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_type == SCM_RIGHTS)
			memcpy(fds, CMSG_DATA(h), MIN(h->cmsg_len - CMSG_LEN(0), 4 * sizeof(int)));
		if (h->cmsg_type == SCM_CREDENTIALS && sender) {
			struct ucred who;

			memcpy(&who, CMSG_DATA(h), sizeof(who));
			*sender = who.pid;
		}
	}
	return 0;
}

/* ---- init: pid 1 of the node ---- */

static int install_filter(void)
{
#define NOTIFY(nr)                                                                                 \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),                                             \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		NOTIFY(STUB_MAGIC),
		NOTIFY(SYS_clone3),
		NOTIFY(SYS_setitimer),
		NOTIFY(SYS_prctl),
		NOTIFY(SYS_nanosleep),
		NOTIFY(SYS_clock_nanosleep),
		NOTIFY(SYS_poll),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_LEN(code), code };

	return (int)syscall(
		SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &prog);
}

static void become_guest(void)
{
	if (setgroups(0, NULL) < 0 || setresgid(1000, 1000, 1000) < 0 ||
	    setresuid(1000, 1000, 1000) < 0)
		_exit(120);
}

static void exec_guest(struct ctl *c, const int fds[4])
{
	char *argv[64];
	unsigned n = 0;

	for (char *p = c->text; *p != '\0' && n < ARRAY_LEN(argv) - 1; p += strlen(p) + 1)
		argv[n++] = p;
	argv[n] = NULL;
	for (int i = 0; i < 3 && c->op != CTL_STUB; i++)
		if (fds[i] >= 0 && dup2(fds[i], i) < 0)
			_exit(121);
	become_guest();
	/* By the exec, not before: that is what guestnode_stub() waits for. */
	(void)syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);
	(void)execv(argv[0], argv);
	_exit(122);
}

static pid_t clone_with_pid(pid_t want)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
			set_tid, set_tid_size, cgroup;
	} a = { .exit_signal = SIGCHLD };

	if (want > 0) {
		a.set_tid = (uint64_t)(uintptr_t)&want;
		a.set_tid_size = 1;
	}
	return (pid_t)syscall(SYS_clone3, &a, sizeof(a));
}

static void init_serve_one(int sock)
{
	int fds[4];
	struct ctl c;
	pid_t child;

	if (ctl_recv(sock, &c, fds, NULL) < 0)
		_exit(0);
	child = c.op == CTL_STUB ? clone_with_pid(c.pid) : fork();
	if (child == 0) {
		struct ctl hello = { .op = c.op, .pid = getpid() };

		(void)setsid();
		(void)ctl_send(sock, &hello, NULL, 0, true);
		exec_guest(&c, fds);
	}
	if (child < 0) {
		c.pid = -errno;
		(void)ctl_send(sock, &c, NULL, 0, true);
	}
	for (int i = 0; i < 4; i++)
		if (fds[i] >= 0)
			(void)close(fds[i]);
}

static void init_main(int sock)
{
	int listener;
	struct ctl c = { .op = 0 };

	if (mount("proc", "/proc", "proc", 0, NULL) < 0)
		_exit(110);
	listener = install_filter();
	if (listener < 0 || ctl_send(sock, &c, &listener, 1, false) < 0)
		_exit(111);
	(void)close(listener);
	for (;;) {
		struct pollfd p = { sock, POLLIN, 0 };
		struct ctl e = { .op = CTL_EXIT };

		/* ppoll: unlike poll it is not notified */
		(void)ppoll(&p, 1, &(struct timespec){ 0, 20000000 }, NULL);
		while ((e.pid = waitpid(-1, &e.status, WNOHANG)) > 0)
			(void)ctl_send(sock, &e, NULL, 0, false);
		if (p.revents)
			init_serve_one(sock);
	}
}

/* ---- bringing a node up ---- */

static int copy_file(int from, const char *to, mode_t mode)
{
	char buf[16384];
	ssize_t n;
	int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);

	if (fd < 0)
		return -errno;
	while ((n = read(from, buf, sizeof(buf))) > 0)
		if (write(fd, buf, (size_t)n) != n)
			return -EIO;
	if (n < 0 || fchmod(fd, mode) < 0)
		return -errno;
	return close(fd);
}

/* cap_checkpoint_restore=ep as a version 2 attribute; the kernel adds the namespace's root. */
static int give_capability(const char *path)
{
	const struct {
		uint32_t magic;
		uint32_t data[4];
	} cap = { 0x02000001, { 0, 0, 1u << (40 - 32), 0 } };

	return (int)syscall(SYS_setxattr, path, "security.capability", &cap, sizeof(cap), 0);
}

static void node_main(int sync, int sock, const char *dir, const char *stub, int stub_fd)
{
	char ok;
	pid_t init;

	if (unshare(CLONE_NEWUSER) < 0 || write(sync, "u", 1) != 1 || read(sync, &ok, 1) != 1)
		_exit(100);
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
	    unshare(CLONE_NEWNS | CLONE_NEWPID) < 0)
		_exit(101);
	/* A change of ids has cleared it. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	init = fork();
	if (init == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("stub", dir, "tmpfs", 0, "mode=755") < 0 ||
		    copy_file(stub_fd, stub, 0111) < 0 || give_capability(stub) < 0)
			_exit(102);
		init_main(sock);
	}
	if (write(sync, &init, sizeof(init)) != sizeof(init))
		_exit(103);
	(void)waitpid(init, NULL, 0);
	_exit(0);
}

static int write_map(pid_t pid, const char *which)
{
	char path[64], text[64];
	int fd, n;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, which);
	n = snprintf(text, sizeof(text), "0 %d %d\n", ID_BASE, IDS);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		return -errno;
	return close(fd);
}

static pid_t child_of(pid_t parent)
{
	char path[64], text[64] = "";
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	(void)close(fd);
	return (pid_t)strtol(text, NULL, 10);
}

int guestnode_up(struct guestnode *n, const char *dir, const char *stub_binary)
{
	int sync[2], sock[2], stub_fd, one = 1, fds[4], r;
	char path[128], b;
	struct ctl c;
	pid_t holder, inner;

	memset(n, 0, sizeof(*n));
	(void)snprintf(n->stub, sizeof(n->stub), "%s/pando-stub", dir);
	stub_fd = open(stub_binary, O_RDONLY | O_CLOEXEC);
	if (stub_fd < 0 || (mkdir(dir, 0755) < 0 && errno != EEXIST) || chmod(dir, 0755) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sync) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0 ||
	    setsockopt(sock[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0)
		return -errno;
	n->sh = mmap(NULL, sizeof(*n->sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (n->sh == MAP_FAILED)
		return -errno;
	r = gate_slots_open(&n->slots, -1);
	if (r < 0)
		return r;
	holder = fork();
	if (holder == 0) {
		(void)close(sync[0]);
		(void)close(sock[0]);
		node_main(sync[1], sock[1], dir, n->stub, stub_fd);
	}
	(void)close(sync[1]);
	(void)close(sock[1]);
	(void)close(stub_fd);
	n->holder = holder;
	n->ctl = sock[0];
	if (read(sync[0], &b, 1) != 1)
		return -ECHILD;
	r = write_map(holder, "uid_map");
	if (r == 0)
		r = write_map(holder, "gid_map");
	if (r < 0 || write(sync[0], "g", 1) != 1)
		return r < 0 ? r : -EPIPE;
	if (read(sync[0], &inner, sizeof(inner)) != sizeof(inner))
		return -ECHILD;
	(void)close(sync[0]);
	r = ctl_recv(n->ctl, &c, fds, NULL);
	if (r < 0)
		return r;
	n->listener = fds[0];
	n->init = child_of(holder);
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", n->init);
	n->userns_fd = open(path, O_RDONLY | O_CLOEXEC);
	n->proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return n->userns_fd < 0 || n->proc < 0 || n->listener < 0 ? -errno : 0;
}

void guestnode_down(struct guestnode *n)
{
	if (n->init > 0)
		(void)kill(n->init, SIGKILL);
	/* The holder ends when its init has. */
	(void)guestnode_kernel_wait(n->holder);
	(void)close(n->ctl);
	(void)close(n->listener);
	(void)close(n->userns_fd);
	(void)close(n->proc);
	gate_slots_close(&n->slots);
	(void)munmap(n->sh, sizeof(*n->sh));
}

static pid_t spawn(struct guestnode *n, struct ctl *c, const int *fds, unsigned count,
		   pid_t *ns_pid)
{
	pid_t sender = 0;
	int none[4];

	if (ctl_send(n->ctl, c, fds, count, false) < 0)
		return -EPIPE;
	for (;;) {
		struct ctl answer;
		int r = ctl_recv(n->ctl, &answer, none, &sender);

		if (r < 0)
			return r;
		if (answer.op == CTL_EXIT)
			continue; /* of somebody nobody waits for */
		if (ns_pid)
			*ns_pid = answer.pid;
		return answer.pid < 0 ? answer.pid : sender;
	}
}

pid_t guestnode_spawn(struct guestnode *n, char *const argv[], const int fds[3], pid_t *ns_pid)
{
	struct ctl c = { .op = CTL_SPAWN };
	size_t at = 0;

	for (unsigned i = 0; argv[i]; i++) {
		at += (size_t)snprintf(c.text + at, sizeof(c.text) - at, "%s", argv[i]) + 1;
		if (at >= sizeof(c.text))
			return -E2BIG;
	}
	return spawn(n, &c, fds, 3, ns_pid);
}

pid_t guestnode_stub(struct guestnode *n, pid_t ns_pid)
{
	struct ctl c = { .op = CTL_STUB, .pid = ns_pid };
	int executed[2];
	pid_t pid;
	char b;

	if (pipe2(executed, O_CLOEXEC) < 0)
		return -errno;
	(void)snprintf(c.text, sizeof(c.text), "%s", n->stub);
	pid = spawn(n, &c, &executed[1], 1, NULL);
	(void)close(executed[1]);
	/* Until it has executed it is of the host's user namespace, which nobody here may stop. */
	if (read(executed[0], &b, 1) != 0)
		pid = -EPROTO;
	(void)close(executed[0]);
	return pid;
}

int guestnode_reaped(struct guestnode *n, pid_t ns_pid)
{
	struct ctl c;
	int fds[4];

	do {
		int r = ctl_recv(n->ctl, &c, fds, NULL);

		if (r < 0)
			return r;
	} while (c.op != CTL_EXIT || c.pid != ns_pid);
	return c.status;
}

/* ---- incarnations ---- */

struct kernel {
	struct guestnode *n;
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

static struct kernel kernel = { .lock = PTHREAD_MUTEX_INITIALIZER,
				.changed = PTHREAD_COND_INITIALIZER };

static struct held *held_find(struct held *h, pid_t tid)
{
	for (unsigned i = 0; i < HELD_MAX; i++)
		if (atomic_load(&h[i].tid) == tid)
			return &h[i];
	return NULL;
}

static void answer(uint64_t id, int64_t val, int error, uint32_t flags)
{
	struct seccomp_notif_resp resp = { .id = id, .val = val, .error = error, .flags = flags };

	/* ENOENT: the caller was killed meanwhile. */
	if (ioctl(kernel.n->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp) < 0 && errno != ENOENT)
		abort();
}

static void take_magic(const struct seccomp_notif *q)
{
	struct guestnode_shared *sh = kernel.n->sh;
	struct held *h = held_find(sh->answer_next, (pid_t)q->pid);

	if (h) {
		atomic_store(&h->tid, 0);
		answer(q->id, 0, -ENOSYS, 0);
		return;
	}
	h = held_find(sh->held, (pid_t)q->pid);
	if (!h)
		h = held_find(sh->held, 0);
	if (!h)
		abort();
	h->id = q->id;
	atomic_store(&h->tid, (pid_t)q->pid);
	(void)pthread_cond_broadcast(&kernel.changed);
}

void guestnode_sleep_note(struct guestnode *n, pid_t tid, uint64_t since_ns)
{
	struct held *h = held_find(n->sh->sleeper, tid);

	if (!h)
		h = held_find(n->sh->sleeper, 0);
	if (!h)
		h = &n->sh->sleeper[(unsigned)tid % HELD_MAX];
	h->id = since_ns;
	atomic_store(&h->tid, tid);
}

int guestnode_sleep_since(struct guestnode *n, pid_t tid, uint64_t *since_ns)
{
	struct held *h = held_find(n->sh->sleeper, tid);

	if (!h)
		return -ENOENT;
	*since_ns = h->id;
	return 0;
}

static void handle(const struct seccomp_notif *q)
{
	if ((q->data.nr == SYS_nanosleep || q->data.nr == SYS_clock_nanosleep ||
	     q->data.nr == SYS_poll) &&
	    !gate_slot_find(&kernel.n->slots, (pid_t)q->pid))
		guestnode_sleep_note(kernel.n, (pid_t)q->pid, clock_mono_ns());
	(void)pthread_mutex_lock(&kernel.lock);
	if (q->data.nr == STUB_MAGIC)
		take_magic(q);
	else
		answer(q->id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
	(void)pthread_mutex_unlock(&kernel.lock);
}

static void *listener_main(void *arg)
{
	struct guestnode *n = arg;
	struct seccomp_notif *q = &n->sh->inflight;

	/* Our predecessor may have died with it, answered or not. */
	if (q->id != 0 && ioctl(n->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &q->id) == 0)
		handle(q);
	for (;;) {
		memset(q, 0, sizeof(*q));
		if (ioctl(n->listener, SECCOMP_IOCTL_NOTIF_RECV, q) < 0) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			return NULL;
		}
		handle(q);
	}
}

static void drop_stale(struct guestnode *n)
{
	for (unsigned i = 0; i < HELD_MAX; i++) {
		struct held *h = &n->sh->held[i];

		if (atomic_load(&h->tid) != 0 &&
		    ioctl(n->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &h->id) < 0)
			atomic_store(&h->tid, 0);
		atomic_store(&n->sh->answer_next[i].tid, 0);
	}
}

static int magic_await(void *arg, pid_t tid, unsigned timeout_ms)
{
	struct guestnode *n = arg;
	struct timespec end;
	int r = 0;

	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += timeout_ms / 1000;
	(void)pthread_mutex_lock(&kernel.lock);
	while (r == 0 && !held_find(n->sh->held, tid))
		r = -pthread_cond_timedwait(&kernel.changed, &kernel.lock, &end);
	(void)pthread_mutex_unlock(&kernel.lock);
	return r;
}

static int magic_addfd(void *arg, pid_t tid, int fd, int guest_fd, bool cloexec)
{
	struct guestnode *n = arg;
	struct held *h = held_find(n->sh->held, tid);
	struct seccomp_notif_addfd a = { .flags = SECCOMP_ADDFD_FLAG_SETFD,
					 .srcfd = (uint32_t)fd,
					 .newfd = (uint32_t)guest_fd,
					 .newfd_flags = cloexec ? O_CLOEXEC : 0 };

	if (!h)
		return -ENOENT;
	a.id = h->id;
	return ioctl(n->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a) < 0 ? -errno : 0;
}

static void magic_reply(struct guestnode *n, pid_t tid, int64_t val, int error)
{
	struct held *h;

	(void)pthread_mutex_lock(&kernel.lock);
	h = held_find(n->sh->held, tid);
	if (h) {
		uint64_t id = h->id;

		atomic_store(&h->tid, 0);
		answer(id, val, error, 0);
	} else {
		h = held_find(n->sh->answer_next, 0);
		if (h)
			atomic_store(&h->tid, tid);
	}
	(void)pthread_mutex_unlock(&kernel.lock);
}

static void magic_answer(void *arg, pid_t tid)
{
	magic_reply(arg, tid, 0, -ENOSYS);
}

int guestnode_stub_calls(struct guestnode *n, pid_t pid, struct stub_call *calls, unsigned count)
{
	size_t len = count * sizeof(*calls);
	int r = magic_await(n, pid, 5000);

	if (r == 0)
		r = tracee_write(pid, STUB_TABLE, calls, len);
	if (r < 0)
		return r;
	magic_reply(n, pid, (int64_t)count, 0);
	r = magic_await(n, pid, 5000);
	return r < 0 ? r : tracee_read(pid, STUB_TABLE, calls, len);
}

static void kernel_main(struct guestnode *n, int (*fn)(struct guestnode *, void *), void *arg)
{
	struct gate_magic magic = { magic_await, magic_addfd, magic_answer, n };
	pthread_t t;

	if (setns(n->userns_fd, CLONE_NEWUSER) < 0 || setresgid(0, 0, 0) < 0 ||
	    setresuid(0, 0, 0) < 0)
		_exit(99);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	kernel.n = n;
	n->slots.magic = &magic;
	drop_stale(n);
	if (pthread_create(&t, NULL, listener_main, n) != 0)
		_exit(98);
	exit(fn(n, arg));
}

pid_t guestnode_kernel(struct guestnode *n, int (*fn)(struct guestnode *n, void *arg), void *arg)
{
	pid_t pid = fork();

	if (pid == 0)
		kernel_main(n, fn, arg);
	return pid;
}

int guestnode_kernel_wait(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

int guestnode_run(struct guestnode *n, int (*fn)(struct guestnode *n, void *arg), void *arg)
{
	return guestnode_kernel_wait(guestnode_kernel(n, fn, arg));
}

static int serve(struct guestnode *n, void *arg)
{
	(void)n;
	(void)arg;
	for (;;)
		(void)pause();
	return 0;
}

pid_t guestnode_serve(struct guestnode *n)
{
	return guestnode_kernel(n, serve, NULL);
}

void guestnode_serve_end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	(void)guestnode_kernel_wait(pid);
}
