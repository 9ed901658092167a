/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races.c - calls whose arguments in memory another thread changes meanwhile: what the call refuses
 * is never had. tests/guest/escape.c races for what is outside the tenant.
 *
 * One target of the signals asks for another node, by the call behind `on NODE CMD`. On a bare host
 * the call does not exist and it runs here; what is printed is the same.
 */
#include "tests/guest/place.h"
#include "tests/guest/race.h"

#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define TOLD   (SIGRTMIN + 1)
#define REPORT 20 /* the pipe of a target */

static struct race race;

/* ---- signals: who sends them may not say that the kernel, kill() or tgkill() did ---- */
struct target {
	pid_t pid;
	int pidfd, report;
	int call;
};

/* Says of each signal whether it came as it may come. */
static int target_main(void)
{
	siginfo_t si;
	sigset_t set;
	char c = 'r';

	sigemptyset(&set);
	sigaddset(&set, TOLD);
	for (;;) {
		must(write(REPORT, &c, 1) == 1);
		must(sigwaitinfo(&set, &si) == TOLD);
		c = si.si_code == SI_QUEUE ? 'g' : 'b';
	}
}

static struct target target_begin(const char *node)
{
	struct target t = { 0 };
	int fds[2];
	char c;

	must(pipe2(fds, O_CLOEXEC) == 0);
	t.pid = fork_child();
	if (t.pid == 0) {
		block_signal(TOLD);
		must(dup2(fds[1], REPORT) == REPORT);
		if (node)
			place_next(node);
		execl("/proc/self/exe", "races", "target", NULL);
		_exit(127);
	}
	close(fds[1]);
	t.report = fds[0];
	must(read(t.report, &c, 1) == 1 && c == 'r');
	t.pidfd = (int)syscall(SYS_pidfd_open, t.pid, 0);
	must(t.pidfd >= 0);
	return t;
}

static void target_end(struct target *t)
{
	must(kill(t->pid, SIGKILL) == 0);
	must(WIFSIGNALED(reap(t->pid)));
	close(t->report);
	close(t->pidfd);
}

static bool signal_turn(void *arg)
{
	struct target *t = arg;
	long r;
	char c;

	if (t->call == SYS_rt_sigqueueinfo)
		r = syscall(SYS_rt_sigqueueinfo, t->pid, TOLD, race.words);
	else if (t->call == SYS_rt_tgsigqueueinfo)
		r = syscall(SYS_rt_tgsigqueueinfo, t->pid, t->pid, TOLD, race.words);
	else
		r = syscall(SYS_pidfd_send_signal, t->pidfd, TOLD, race.words, 0);
	must(r == 0 || errno == EPERM);
	if (r == 0)
		must(read(t->report, &c, 1) == 1 && c == 'g');
	return r == 0;
}

static void signals(const char *node)
{
	static const int calls[] = { SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo,
				     SYS_pidfd_send_signal };
	static const int codes[] = { SI_USER, SI_KERNEL, SI_TKILL };
	struct target t = target_begin(node);

	for (size_t i = 0; i < COUNT(calls); i++) {
		siginfo_t si = { .si_signo = TOLD, .si_pid = 1 };

		memcpy(race.words, &si, sizeof(si));
		race.at = offsetof(siginfo_t, si_code) / 8;
		t.call = calls[i];
		race_run(&race, (uint32_t)SI_QUEUE, (uint32_t)codes[i], signal_turn, &t);
	}
	target_end(&t);
}

/* ---- ports: of one that nobody may have, or nobody listens at ---- */
static uint64_t address_word(int port)
{
	union {
		struct sockaddr_in in;
		uint64_t word;
	} a = { .in = { .sin_family = AF_INET } };

	a.in.sin_port = htons((uint16_t)port);
	a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a.word;
}

static int own_port(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	must(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	return ntohs(a.sin_port);
}

static int tcp(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0);
	return fd;
}

static int bound(void)
{
	uint64_t a[2] = { address_word(0), 0 };
	int fd = tcp();

	must(bind(fd, (struct sockaddr *)a, sizeof(a)) == 0);
	return fd;
}

struct ports {
	int listener, other; /* the second only has its port */
};

static bool connect_turn(void *arg)
{
	struct ports *p = arg;
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	int fd = tcp(), r = connect(fd, (struct sockaddr *)race.words, sizeof(a));

	must(r == 0 || errno == ECONNREFUSED);
	if (r == 0) {
		must(getpeername(fd, (struct sockaddr *)&a, &len) == 0);
		must(ntohs(a.sin_port) == own_port(p->listener));
		close(accept(p->listener, NULL, NULL));
	}
	close(fd);
	return r == 0;
}

static bool bind_turn(void *arg)
{
	struct ports *p = arg;
	int fd = tcp(), r = bind(fd, (struct sockaddr *)race.words, sizeof(struct sockaddr_in));

	must(r == 0 || errno == EADDRINUSE);
	if (r == 0)
		must(own_port(fd) != own_port(p->other));
	close(fd);
	return r == 0;
}

static void ports(void)
{
	struct ports p = { bound(), bound() };
	uint64_t bad = address_word(own_port(p.other));

	must(listen(p.listener, 128) == 0);
	memset(race.words, 0, sizeof(race.words));
	race.at = 0;
	race_run(&race, address_word(own_port(p.listener)), bad, connect_turn, &p);
	race_run(&race, address_word(0), bad, bind_turn, &p);
	close(p.listener);
	close(p.other);
}

/* ---- the group in front: of the terminal's own session alone ---- */
static bool front_turn(void *arg)
{
	int tty = *(int *)arg, r = ioctl(tty, TIOCSPGRP, race.words);

	must(r == 0 || errno == EPERM);
	must(tcgetpgrp(tty) == getpgrp());
	return r == 0;
}

static void lead(int tty, pid_t outside)
{
	must(setsid() == getpid() && ioctl(tty, TIOCSCTTY, 0) == 0);
	on_signal(SIGTTOU, SIG_IGN, 0);
	race.at = 0;
	race_run(&race, (uint64_t)getpgrp(), (uint64_t)outside, front_turn, &tty);
}

static void terminal(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), tty;
	pid_t pid;

	must(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	tty = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	must(tty >= 0);
	pid = fork_child();
	if (pid == 0) {
		lead(tty, getpgid(getppid()));
		_exit(0);
	}
	must(reap(pid) == 0);
	close(tty);
	close(master);
}

/* ---- limits of another: the hard one is not raised ---- */
static bool limit_turn(void *arg)
{
	pid_t pid = *(pid_t *)arg;
	struct rlimit l;
	int r = (int)syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, race.words, NULL);

	must(r == 0 || errno == EPERM);
	must(prlimit(pid, RLIMIT_NOFILE, NULL, &l) == 0 && l.rlim_max == 64);
	return r == 0;
}

/* ---- memory of another: what is not mapped is not read, what is read-only not written ---- */
static uint64_t value = 4711;
static const uint64_t *constant; /* a page that nobody may write */

static bool read_turn(void *arg)
{
	uint64_t got = 0;
	struct iovec l = { &got, sizeof(got) };
	ssize_t n = process_vm_readv(*(pid_t *)arg, &l, 1, (struct iovec *)race.words, 1, 0);

	must(n == sizeof(got) ? got == 4711 : n == -1 && errno == EFAULT && got == 0);
	return n > 0;
}

static bool write_turn(void *arg)
{
	uint64_t seen = 1, put = 5;
	struct iovec l = { &seen, sizeof(seen) }, other = { (void *)constant, sizeof(seen) };
	struct iovec from = { &put, sizeof(put) };
	pid_t pid = *(pid_t *)arg;
	ssize_t n = process_vm_writev(pid, &from, 1, (struct iovec *)race.words, 1, 0);

	must(n == sizeof(put) || (n == -1 && errno == EFAULT));
	must(process_vm_readv(pid, &l, 1, &other, 1, 0) == sizeof(seen) && seen == 0);
	return n > 0;
}

static void of_another(void)
{
	struct rlimit low = { 64, 64 };
	pid_t pid;

	constant = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(constant != MAP_FAILED);
	pid = fork_child();
	if (pid == 0)
		for (;;)
			pause();
	must(prlimit(pid, RLIMIT_NOFILE, &low, NULL) == 0);
	race.words[0] = 64;
	race.at = 1;
	race_run(&race, 64, 65, limit_turn, &pid);
	race.words[1] = sizeof(value);
	race.at = 0;
	race_run(&race, (uintptr_t)&value, 8, read_turn, &pid);
	race_run(&race, (uintptr_t)&value, (uintptr_t)constant, write_turn, &pid);
	must(kill(pid, SIGKILL) == 0);
	must(WIFSIGNALED(reap(pid)));
}

/* ---- processors: never none ---- */
static bool affinity_turn(void *arg)
{
	cpu_set_t set;
	int r = (int)syscall(SYS_sched_setaffinity, 0, sizeof(race.words), race.words);

	must(r == 0 || errno == EINVAL);
	must(sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0);
	return r == 0;
}

static void affinity(void)
{
	memset(race.words, 0, sizeof(race.words));
	race.at = 0;
	race_run(&race, UINT64_MAX, 0, affinity_turn, NULL);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return target_main();
	signals(NULL);
	say("signals");
	signals("n2");
	signals("n3");
	say("signals to other nodes");
	ports();
	say("ports");
	terminal();
	say("terminal");
	of_another();
	say("limits and memory of another");
	affinity();
	say("processors");
	return 0;
}
