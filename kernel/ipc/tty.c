/* SPDX-License-Identifier: Apache-2.0 */
/* tty.c - see tty.h. Facts: ioctl_tty(2), termios(3), pts(4), n_tty.c of Linux (EXTPROC). */
#include "kernel/ipc/tty.h"

#include <asm/termbits.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/host/mem.h"
#include "kernel/host/task.h"

#define TTY_GID         5
#define NUMBERS_MAX     1024 /* of a tenant's devpts (max= of its mount) */
#define POLLFDS_MAX     1024
#define SELECT_MAX      1024
#define NR_EPOLL_PWAIT2 441

_Static_assert(sizeof(struct tty_modes) == sizeof(struct termios), "as the kernel's");

/* ---- pairs ---- */
static int own(int master, uint32_t uid)
{
	int zero = 0, slave, r = 0;

	if (ioctl(master, TIOCSPTLCK, &zero) < 0)
		return -errno;
	slave = tty_open_peer(master, O_RDWR);
	if (slave < 0)
		return slave;
	if (fchown(slave, uid, TTY_GID) < 0)
		r = -errno;
	(void)close(slave);
	return r;
}

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		(void)close(fds[i]);
}

/* The host gives the lowest free number: those below @want are taken and given back. */
int tty_open_master(int root, unsigned want, uint32_t uid)
{
	int low[NUMBERS_MAX], fd = -1, r = 0;
	unsigned n = 0;

	while (n < NUMBERS_MAX) {
		fd = openat(root, "dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0) {
			r = -errno;
			break;
		}
		r = tty_number(fd);
		if (r < 0 || (unsigned)r >= want)
			break;
		low[n++] = fd;
		fd = -1;
	}
	if ((fd < 0 || r != (int)want) && n > 0) { /* taken: the lowest, then */
		if (fd >= 0)
			(void)close(fd);
		fd = low[0];
		r = 0;
		close_all(low + 1, n - 1);
	} else {
		close_all(low, n);
	}
	if (fd < 0)
		return r < 0 ? r : -ENOSPC;
	r = r < 0 ? r : own(fd, uid);
	if (r < 0)
		(void)close(fd);
	return r < 0 ? r : fd;
}

int tty_number(int master)
{
	unsigned n;

	return ioctl(master, TIOCGPTN, &n) < 0 ? -errno : (int)n;
}

int tty_open_peer(int master, int flags)
{
	/* With O_CLOEXEC it would be told of the description, and of each copy, for ever. */
	int fd = ioctl(master, TIOCGPTPEER, (flags & ~O_CLOEXEC) | O_NOCTTY);

	if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return fd;
}

int tty_open_slave(int root, unsigned number, int flags)
{
	char path[32];
	int fd;

	(void)snprintf(path, sizeof(path), "dev/pts/%u", number);
	fd = openat(root, path, flags | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- modes ---- */
int tty_modes_get(int fd, struct tty_modes *out)
{
	return ioctl(fd, TCGETS, out) < 0 ? -errno : 0;
}

bool tty_is_lines(const struct tty_modes *m)
{
	return (m->lflag & ICANON) != 0;
}

int tty_carry(int slave, const struct tty_modes *m)
{
	struct termios t;

	if (ioctl(slave, TCGETS, &t) < 0)
		return -errno;
	t.c_iflag = 0;
	t.c_oflag = 0;
	t.c_lflag = EXTPROC | (m->lflag & (ICANON | TOSTOP));
	memset(t.c_cc, 0, sizeof(t.c_cc));
	t.c_cc[VEOF] = TTY_EOF;
	t.c_cc[VMIN] = tty_is_lines(m) ? 1 : m->cc[VMIN];
	t.c_cc[VTIME] = tty_is_lines(m) ? 0 : m->cc[VTIME];
	return ioctl(slave, TCSETS, &t) < 0 ? -errno : 0;
}

static const struct {
	unsigned command;
	struct tty_call call;
} calls[] = {
	{ TCGETS, { sizeof(struct termios), false } },
	{ TCSETS, { sizeof(struct termios), true } },
	{ TCSETSW, { sizeof(struct termios), true } },
	{ TCSETSF, { sizeof(struct termios), true } },
	{ TCGETA, { sizeof(struct termio), false } },
	{ TCSETA, { sizeof(struct termio), true } },
	{ TCSETAW, { sizeof(struct termio), true } },
	{ TCSETAF, { sizeof(struct termio), true } },
	{ TCGETS2, { sizeof(struct termios2), false } },
	{ TCSETS2, { sizeof(struct termios2), true } },
	{ TCSETSW2, { sizeof(struct termios2), true } },
	{ TCSETSF2, { sizeof(struct termios2), true } },
	{ TIOCGWINSZ, { sizeof(struct winsize), false } },
	{ TIOCSWINSZ, { sizeof(struct winsize), true } },
	{ TCSBRK, { 0, true } },
	{ TCSBRKP, { 0, true } },
	{ TCXONC, { 0, true } },
	{ TCFLSH, { 0, true } },
};

bool tty_call_find(unsigned command, struct tty_call *out)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		if (calls[i].command != command)
			continue;
		*out = calls[i].call;
		return true;
	}
	return false;
}

int tty_call_make(int fd, unsigned command, uint64_t arg, void *bytes)
{
	struct tty_call c;

	if (!tty_call_find(command, &c))
		return -EINVAL;
	/* A break takes a quarter of a second of sleep on a line, and nothing on a pty. */
	if (command == TCSBRKP || (command == TCSBRK && arg == 0))
		return 0;
	return ioctl(fd, command, c.len ? bytes : (void *)arg) < 0 ? -errno : 0;
}

void tty_call_flush(int slave, unsigned command, uint64_t arg)
{
	if (command == TCSETSF || command == TCSETAF || command == TCSETSF2)
		arg = TCIFLUSH;
	else if (command != TCFLSH)
		return;
	(void)ioctl(slave, TCFLSH, arg);
}

/* ---- who wants to read ---- */
int tty_find(int procfs, pid_t pid, int fd)
{
	char name[48], text[64], *end;
	struct task_info t;
	unsigned long n;
	ssize_t len;

	(void)snprintf(name, sizeof(name), "%d/fd/%d", pid, fd);
	len = readlinkat(procfs, name, text, sizeof(text) - 1);
	if (len < 0)
		return errno == ENOENT ? -ENOTTY : -errno;
	text[len] = 0;
	if (strcmp(text, "/dev/tty") == 0) {
		int r = task_read(&t, procfs, pid);

		return r != 0 ? r : t.tty < 0 ? -ENOTTY : t.tty;
	}
	if (strncmp(text, "/dev/pts/", 9) != 0)
		return -ENOTTY;
	n = strtoul(text + 9, &end, 10);
	return end == text + 9 || *end != 0 ? -ENOTTY : (int)n;
}

struct want {
	int procfs;
	pid_t pid;
	unsigned number;
};

static bool is_it(const struct want *w, int fd)
{
	return tty_find(w->procfs, w->pid, fd) == (int)w->number;
}

static bool in_pollfds(const struct want *w, uint64_t addr, uint64_t n)
{
	struct pollfd p;

	for (uint64_t i = 0; i < MIN(n, (uint64_t)POLLFDS_MAX); i++) {
		if (mem_read(w->pid, addr + i * sizeof(p), &p, sizeof(p)) != 0)
			return false;
		if (p.fd >= 0 && (p.events & (POLLIN | POLLRDNORM)) && is_it(w, p.fd))
			return true;
	}
	return false;
}

static bool in_fdset(const struct want *w, uint64_t n, uint64_t addr)
{
	uint64_t bits[SELECT_MAX / 64];
	uint64_t max = MIN(n, (uint64_t)SELECT_MAX);

	if (addr == 0 || mem_read(w->pid, addr, bits, ALIGN_UP(max, 64) / 8) != 0)
		return false;
	for (uint64_t fd = 0; fd < max; fd++)
		if ((bits[fd / 64] >> (fd % 64) & 1) && is_it(w, (int)fd))
			return true;
	return false;
}

static bool in_epoll(const struct want *w, int fd)
{
	char name[32], text[8192], *at;

	(void)snprintf(name, sizeof(name), "fdinfo/%d", fd);
	if (task_file(w->procfs, w->pid, name, text, sizeof(text)) < 0)
		return false;
	for (at = strstr(text, "tfd:"); at; at = strstr(at + 4, "tfd:")) {
		const char *events = strstr(at, "events:");

		if (events && (strtoul(events + 7, NULL, 16) & POLLIN) &&
		    is_it(w, (int)strtol(at + 4, NULL, 10)))
			return true;
	}
	return false;
}

/* @text: /proc/PID/task/TID/syscall: "0 0x0 0x7ff..." or "running". */
static bool call_waits(const struct want *w, const char *text, uint64_t *bytes)
{
	unsigned long long a[4];
	long nr;

	*bytes = 0;

	if (sscanf(text, "%ld %llx %llx %llx %llx", &nr, &a[0], &a[1], &a[2], &a[3]) != 5)
		return false;
	switch (nr) {
	case SYS_read:
		*bytes = a[2];
		return is_it(w, (int)a[0]);
	case SYS_readv:
	case SYS_preadv2:
	case SYS_splice:
		return is_it(w, (int)a[0]);
	case SYS_sendfile:
		return is_it(w, (int)a[1]);
	case SYS_poll:
	case SYS_ppoll:
	case SYS_restart_syscall: /* of poll after a stop; its arguments are still there */
		return in_pollfds(w, a[0], a[1]);
	case SYS_select:
	case SYS_pselect6:
		return in_fdset(w, a[0], a[1]);
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case NR_EPOLL_PWAIT2:
		return in_epoll(w, (int)a[0]);
	default:
		return false;
	}
}

static DIR *open_dir(const struct want *w, const char *name)
{
	char path[32];
	DIR *d;
	int fd;

	(void)snprintf(path, sizeof(path), "%d/%s", w->pid, name);
	fd = openat(w->procfs, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d && fd >= 0)
		(void)close(fd);
	return d;
}

/* Its descriptors of the terminal that can be read. */
static unsigned has_open(const struct want *w)
{
	DIR *d = open_dir(w, "fd");
	struct dirent *e;
	unsigned r = 0;

	while (d && (e = readdir(d)) != NULL) {
		char name[32], text[256], *at;
		unsigned flags;
		int fd = atoi(e->d_name);

		if (e->d_name[0] == '.' || !is_it(w, fd))
			continue;
		(void)snprintf(name, sizeof(name), "fdinfo/%d", fd);
		if (task_file(w->procfs, w->pid, name, text, sizeof(text)) < 0)
			continue;
		at = strstr(text, "flags:");
		flags = at ? (unsigned)strtoul(at + 6, NULL, 8) : O_WRONLY;
		if ((flags & O_ACCMODE) == O_WRONLY)
			continue;
		r |= TTY_OPEN | (flags & O_NONBLOCK ? TTY_ASKS : 0);
	}
	if (d)
		(void)closedir(d);
	return r;
}

unsigned tty_wants(int procfs, pid_t pid, unsigned number, uint64_t *bytes)
{
	struct want w = { procfs, pid, number };
	unsigned r = has_open(&w);
	struct task_info t;
	struct dirent *e;
	DIR *d;

	if (r == 0 || task_read(&t, procfs, pid) != 0 || strchr("TtZX", t.state))
		return 0;
	d = open_dir(&w, "task");
	while (d && !(r & TTY_WAITS) && (e = readdir(d)) != NULL) {
		char name[64], text[256];

		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(name, sizeof(name), "task/%.16s/syscall", e->d_name);
		if (task_file(procfs, pid, name, text, sizeof(text)) > 0 &&
		    call_waits(&w, text, bytes))
			r |= TTY_WAITS;
	}
	if (d)
		(void)closedir(d);
	return r;
}
