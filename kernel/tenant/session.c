/* SPDX-License-Identifier: Apache-2.0 */
/* session.c - see session.h. */
#include "kernel/tenant/session.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>

#include "kernel/tenant/client.h"
#include "kernel/tenant/filter.h"

#define STRINGS_MAX     8192
#define TTY_GID         5
#define KEPT_CAPABILITY 40 /* cap_checkpoint_restore: the stub's file capability must count */

static void say(int pipe_fd, int step, int error)
{
	struct session_word w = { (int32_t)getpid(), step, error };

	if (write(pipe_fd, &w, sizeof(w)) != sizeof(w) || step != 0)
		_exit(127);
}

static void drop_rights(int pipe_fd, uint32_t uid)
{
	gid_t gid = uid;

	for (int cap = 0; cap < 64; cap++) {
		if (cap != KEPT_CAPABILITY && prctl(PR_CAPBSET_READ, cap) == 1 &&
		    prctl(PR_CAPBSET_DROP, cap) < 0)
			say(pipe_fd, INIT_STEP_IDS, errno);
	}
	/* Leaving uid 0 clears every other set. */
	if (setgroups(1, &gid) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		say(pipe_fd, INIT_STEP_IDS, errno);
}

static void limits_of_a_guest(int pipe_fd, uint64_t data_max_bytes)
{
	struct rlimit files, data, none = { 0, 0 };

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		say(pipe_fd, INIT_STEP_IDS, errno);
	files.rlim_cur = files.rlim_max < 1024 ? files.rlim_max : 1024;
	if (getrlimit(RLIMIT_DATA, &data) < 0)
		say(pipe_fd, INIT_STEP_IDS, errno);
	if (data_max_bytes != 0 && data_max_bytes < data.rlim_max)
		data.rlim_cur = data_max_bytes;
	if (setrlimit(RLIMIT_DATA, &data) < 0 || setrlimit(RLIMIT_NOFILE, &files) < 0 ||
	    setrlimit(RLIMIT_CORE, &none) < 0 || setpriority(PRIO_PROCESS, 0, 0) < 0)
		say(pipe_fd, INIT_STEP_IDS, errno);
	(void)umask(022);
}

/* argv[0] "-/bin/sh" means: run /bin/sh and call it "-sh". */
static void exec_guest(char **argv, char **envp)
{
	static char path[4096];
	char *program, *base;

	if (strlen(argv[0]) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return;
	}
	program = argv[0] + (argv[0][0] == '-');
	memcpy(path, program, strlen(program) + 1);
	if (argv[0][0] == '-') {
		base = strrchr(argv[0], '/');
		*base = '-';
		argv[0] = base;
	}
	(void)execve(path, argv, envp);
}

/* The child: becomes a session leader of the tenant's user. @in->fds: 0, 1, 2, the pipe. */
static void become(struct init_in *in, const struct session_spawner *s, int adj)
{
	static char *argv[STRINGS_MAX], *envp[STRINGS_MAX];
	int pipe_fd = in->fds[3];
	struct init_spawn head;
	char *cwd;
	sigset_t mask;

	say(pipe_fd, 0, 0);
	if (init_spawn_unpack(in->payload, in->len, &head, argv, envp, STRINGS_MAX, &cwd) < 0)
		say(pipe_fd, INIT_STEP_REQUEST, EPROTO);
	for (int i = 0; i < s->entrance_count; i++) {
		if (write(s->entrances[i], "0", 1) < 0)
			say(pipe_fd, INIT_STEP_CGROUP, errno);
	}
	(void)sigemptyset(&mask);
	if ((head.flags & INIT_SPAWN_DEAF) != 0)
		(void)sigfillset(&mask);
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	if (setsid() < 0 ||
	    ((head.flags & INIT_SPAWN_TTY) != 0 && ioctl(in->fds[0], TIOCSCTTY, 0) < 0))
		say(pipe_fd, INIT_STEP_TTY, errno);
	for (int i = 0; i < 3; i++) {
		if (dup2(in->fds[i], i) < 0)
			say(pipe_fd, INIT_STEP_TTY, errno);
	}
	/* What pandod made unkillable is not its guests' to inherit. */
	if (adj >= 0 && write(adj, "0", 1) < 0)
		say(pipe_fd, INIT_STEP_IDS, errno);
	limits_of_a_guest(pipe_fd, head.data_max_bytes);
	drop_rights(pipe_fd, head.uid);
	if (chdir(cwd) < 0)
		say(pipe_fd, INIT_STEP_CHDIR, errno);
	exec_guest(argv, envp);
	say(pipe_fd, INIT_STEP_EXEC, errno);
}

/* The least of @s's own descriptors from @from on, or -1. */
static int next_kept(const struct session_spawner *s, int from)
{
	const int own[] = { s->sock, s->filter, s->proc };
	int least = -1;

	for (int i = 0; i < s->entrance_count + 3; i++) {
		int fd = i < 3 ? own[i] : s->entrances[i - 3];

		if (fd >= from && (least < 0 || fd < least))
			least = fd;
	}
	return least;
}

/* All but what it works with: a guest-to-be holds nothing of pando-init's. */
static void close_rest(const struct session_spawner *s)
{
	int from = 3, fd;

	for (; (fd = next_kept(s, from)) >= 0; from = fd + 1)
		if (fd > from && close_range((unsigned)from, (unsigned)fd - 1, 0) < 0)
			_exit(1);
	if (close_range((unsigned)from, ~0u, 0) < 0)
		_exit(1);
}

/* Until it has the listener only read and write are safe: no filter notifies these. */
static noreturn_fn void spawner_main(const struct session_spawner *s)
{
	static struct init_in in;
	int listener;
	char ok;

	close_rest(s);
	(void)prctl(PR_SET_NAME, "pando-spawn");
	listener = tenant_filter_install(s->filter);
	if (write(s->sock, &listener, sizeof(listener)) != sizeof(listener) || listener < 0 ||
	    read(s->sock, &ok, 1) != 1)
		_exit(1);
	(void)close(listener);
	while (init_recv(s->sock, &in) == 1) {
		long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

		if (pid == 0)
			become(&in, s, openat(s->proc, "self/oom_score_adj", O_WRONLY | O_CLOEXEC));
		if (pid < 0) {
			struct session_word w = { 0, INIT_STEP_CLONE, errno };

			(void)!write(in.fds[3], &w, sizeof(w));
		}
		init_in_close(&in);
	}
	_exit(0);
}

/* The listener's number comes through the socket; the listener itself is fetched. */
static int fetch_listener(int sock, pid_t pid)
{
	int number = -ECHILD, fd, r = 0;
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (read(sock, &number, sizeof(number)) != sizeof(number) || number < 0)
		return number < 0 ? number : -ECHILD;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (fd < 0 || write(sock, "", 1) != 1 || fcntl(sock, F_SETFL, O_NONBLOCK) < 0)
		r = -errno;
	return r < 0 ? r : fd;
}

int session_spawner_start(struct session_spawner *s, pid_t *pid, int *sock, int *listener)
{
	int sp[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sp) < 0)
		return -errno;
	*pid = fork();
	if (*pid < 0)
		return -errno;
	s->sock = sp[1];
	if (*pid == 0)
		spawner_main(s);
	(void)close(sp[1]);
	*sock = sp[0];
	*listener = fetch_listener(sp[0], *pid);
	return *listener < 0 ? *listener : 0;
}

static int tty_prepare(int slave, const struct init_spawn *h)
{
	struct winsize ws = { .ws_row = h->rows, .ws_col = h->cols };

	if (ioctl(slave, TIOCSWINSZ, &ws) < 0 || fchown(slave, h->uid, TTY_GID) < 0)
		return -errno;
	return 0;
}

/* A new terminal of the tenant's devpts, owned by @h's user: the slave. *master also on error. */
static int tty_open(const struct init_spawn *h, int *master)
{
	int m = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	int zero = 0, slave, r;

	*master = m;
	if (m < 0 || ioctl(m, TIOCSPTLCK, &zero) < 0)
		return -errno;
	/* Not O_CLOEXEC, of which the host tells for each copy of the description. */
	slave = ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	if (slave < 0 || fcntl(slave, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	r = tty_prepare(slave, h);
	if (r < 0)
		(void)close(slave);
	return r < 0 ? r : slave;
}

int session_spawner_give(int sock, const struct init_in *in, const struct init_spawn *h,
			 int *pipe_fd, int *master)
{
	int fds[4], p[2], slave = -1, r;

	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	if ((h->flags & INIT_SPAWN_TTY) != 0) {
		slave = tty_open(h, master);
		r = slave < 0 ? slave : 0;
		fds[0] = fds[1] = fds[2] = slave;
	} else {
		r = in->nfds == 3 ? 0 : -EINVAL;
		memcpy(fds, in->fds, 3 * sizeof(int));
	}
	fds[3] = p[1];
	if (r == 0)
		r = init_send(sock, &in->msg, in->payload, in->len, fds, 4);
	(void)close(p[1]);
	if (slave >= 0)
		(void)close(slave);
	if (r < 0)
		(void)close(p[0]);
	else
		*pipe_fd = p[0];
	return r == -EAGAIN ? -EBUSY : r;
}
