/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.h - what the guest programs share. They are plain Linux programs: nothing of ours is
 * linked.
 *
 * A program prints the same bytes at every run and on every machine: no pid, time, address or
 * user id. It exits with 0 when all went as on Linux; must() says where it did not.
 */
#ifndef TESTS_GUEST_GUEST_H
#define TESTS_GUEST_GUEST_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define must(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("%s:%d: %s (errno %s)\n", __FILE__, __LINE__, #cond,                \
			       strerrorname_np(errno));                                            \
			fflush(stdout);                                                            \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/*
 * For tests that do something to a program while it runs: GUEST_HOLD=PID:DIRECTORY holds the
 * process PID when it has said its first line and its fourth. It makes DIRECTORY/.held.N and waits
 * for DIRECTORY/.go.N.
 */
static inline void hold_here(const char *dir)
{
	static unsigned n = 1;
	struct timespec ts = { 0, 2000000 };
	char path[256];
	int saved = errno, fd;

	(void)snprintf(path, sizeof(path), "%s/.held.%u", dir, n);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (fd >= 0) { /* it may have no descriptor left */
		close(fd);
		(void)snprintf(path, sizeof(path), "%s/.go.%u", dir, n++);
		while (access(path, F_OK) != 0)
			(void)nanosleep(&ts, NULL);
	}
	errno = saved;
}

static inline void said(void)
{
	static unsigned lines;
	const char *v = getenv("GUEST_HOLD"), *dir = v ? strchr(v, ':') : NULL;

	if (!dir || atoi(v) != getpid())
		return;
	lines++;
	if (lines == 1 || lines == 4)
		hold_here(dir + 1);
}

/* The call fails with this errno. */
#define fails(want, call)                                                                          \
	do {                                                                                       \
		errno = 0;                                                                         \
		must((call) == -1 && errno == (want));                                             \
		printf("%s: %s\n", #call, #want);                                                  \
		said();                                                                            \
	} while (0)

/* Prints a line at once, so that lines of several processes keep their order. */
static inline __attribute__((format(printf, 1, 2))) void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	said();
}

static inline pid_t fork_child(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	must(pid >= 0);
	return pid;
}

/* "exit 3", "signal 9", "stopped 19", "continued"; static storage. */
static inline const char *status_text(int status)
{
	static char text[32];

	if (WIFEXITED(status))
		snprintf(text, sizeof(text), "exit %d", WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "signal %d", WTERMSIG(status));
	else if (WIFSTOPPED(status))
		snprintf(text, sizeof(text), "stopped %d", WSTOPSIG(status));
	else
		snprintf(text, sizeof(text), "continued");
	return text;
}

static inline int reap(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) == pid);
	return status;
}

static inline void pause_ms(int ms)
{
	struct timespec t = { ms / 1000, (ms % 1000) * 1000000L };

	while (nanosleep(&t, &t) != 0)
		;
}

/* One letter of /proc/PID/stat (R S D T t Z), or 0 when there is no such process. */
static inline char task_state(pid_t pid)
{
	char path[64], line[512], *paren;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f == NULL)
		return 0;
	paren = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	fclose(f);
	return paren != NULL ? paren[2] : 0;
}

/* Waits until the process sleeps (or stops, or died): at most ten seconds. */
static inline void wait_state(pid_t pid, const char *letters)
{
	for (int i = 0; i < 10000; i++) {
		char c = task_state(pid);

		if (c == 0 || strchr(letters, c) != NULL)
			return;
		pause_ms(1);
	}
	must(!"the process did not come to rest");
}

static inline void on_signal(int sig, void (*handler)(int), int flags)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = flags };

	must(sigaction(sig, &sa, NULL) == 0);
}

static inline void on_siginfo(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO };

	must(sigaction(sig, &sa, NULL) == 0);
}

static inline void block_signal(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	must(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
}

/* A file of this run in the working directory, removed at once if @keep is false. */
static inline int scratch(const char *name, bool keep)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0);
	if (!keep)
		must(unlink(name) == 0);
	return fd;
}

#endif
