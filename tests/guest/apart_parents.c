/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apart_parents.c - parents of many kinds whose children are on other nodes: one in vfork, one of
 * many threads, one that is traced, one that follows the leader of a session, and a sub-reaper
 * whose child is killed.
 *
 * Each asks for a node by the call behind `on NODE CMD`. On a bare host the call does not exist and
 * all run here; what they print is the same.
 */
#include "tests/guest/place.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#define THREADS 4
#define TURNS   5

static const char *const nodes[] = { "n2", "n3", "n1" };

/* Only calls: it may be a child of vfork. */
static void become(const char *node, const char *program, const char *role, const char *more)
{
	place_next(node);
	execl(program, "apart_parents", role, more, NULL);
}

static pid_t child(const char *node, const char *role, const char *more)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		become(node, "/proc/self/exe", role, more);
		_exit(127);
	}
	return pid;
}

static pid_t read_pid(int fd)
{
	pid_t pid;

	must(read(fd, &pid, sizeof(pid)) == sizeof(pid));
	return pid;
}

/* Its pipe is descriptor 20 of all below. */
static int open_pipe(void)
{
	int fds[2];

	must(pipe(fds) == 0 && dup2(fds[1], 20) == 20);
	close(fds[1]);
	return fds[0];
}

static void tell(pid_t pid)
{
	must(write(20, &pid, sizeof(pid)) == sizeof(pid));
}

/* ---- roles ---- */
static int role_main(const char *role, const char *more)
{
	pid_t me = getpid();

	if (strcmp(role, "exits") == 0)
		return atoi(more);
	if (strcmp(role, "waits") == 0) {
		tell(me);
		for (;;)
			pause();
	}
	if (strcmp(role, "middle") == 0) { /* is killed, its child is not */
		child(more, "waits", "");
		for (;;)
			pause();
	}
	if (strcmp(role, "follows") == 0) { /* the leader of a session was its child before */
		int status = reap(atoi(more));

		say("followed: %s", status_text(status));
		return 0;
	}
	return 99;
}

/* ---- scenarios ---- */
static volatile int reached, exec_err; /* written by who shares our memory */

static int vfork_once(const char *node, const char *program)
{
	int status;
	pid_t pid = vfork();

	if (pid == 0) {
		reached++;
		become(node, program, "exits", "7");
		exec_err = errno;
		_exit(4);
	}
	must(waitpid(pid, &status, 0) == pid);
	return status;
}

static void in_vfork(void)
{
	for (size_t i = 0; i < COUNT(nodes); i++) {
		int status = vfork_once(nodes[i], "/proc/self/exe");

		say("vfork: %s, memory was shared: %d", status_text(status), reached == (int)i + 1);
	}
	say("vfork: %s", status_text(vfork_once("n2", "/no/such/program")));
	say("its errno is ours: %s", strerrorname_np(exec_err));
}

static void *bears(void *arg)
{
	const char *what[] = { "11", "12", "13", "14", "15" };
	int n = *(int *)arg, status;

	for (int i = 0; i < TURNS; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			become(nodes[(n + i) % 3], "/proc/self/exe", "exits", what[i]);
			_exit(127);
		}
		must(pid > 0 && waitpid(pid, &status, __WNOTHREAD) == pid);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 11 + i)
			say("thread %d, child %d: %s", n, i, status_text(status));
	}
	return NULL;
}

static void in_threads(void)
{
	pthread_t t[THREADS];
	int n[THREADS];

	for (int i = 0; i < THREADS; i++) {
		n[i] = i;
		must(pthread_create(&t[i], NULL, bears, &n[i]) == 0);
	}
	for (int i = 0; i < THREADS; i++)
		must(pthread_join(t[i], NULL) == 0);
	say("threads: each has waited for its own");
}

/* As a debugger follows the parent: its child is let go at once. */
static void traced(void)
{
	unsigned forks = 0;
	int status;
	pid_t kid = 0, pid = fork_child();

	if (pid == 0) {
		must(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
		raise(SIGSTOP);
		kid = fork();
		if (kid == 0) {
			become("n2", "/proc/self/exe", "exits", "9");
			_exit(127);
		}
		must(waitpid(kid, &status, 0) == kid);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
	}
	must(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	must(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEFORK | PTRACE_O_EXITKILL) == 0);
	must(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
	for (;;) {
		pid_t got = waitpid(-1, &status, __WALL);
		int sig = WIFSTOPPED(status) ? WSTOPSIG(status) : 0;

		must(got > 0);
		if (got != pid) {
			must(ptrace(PTRACE_DETACH, got, NULL, NULL) == 0);
			continue;
		}
		if (!WIFSTOPPED(status))
			break;
		forks += status >> 16 == PTRACE_EVENT_FORK;
		must(ptrace(PTRACE_CONT, pid, NULL, (void *)(long)(sig == SIGTRAP ? 0 : sig)) == 0);
	}
	say("traced: %u, %s", forks, status_text(status));
}

static void lead(const char *node)
{
	pid_t member;

	must(setsid() == getpid());
	member = child(node, "waits", "");
	_exit(WTERMSIG(reap(member)) == SIGTERM ? 6 : 99);
}

/* Its child leads a session that has a member on the node where the parent goes then. */
static void follows(const char *node)
{
	int fd = open_pipe(), sig;
	pid_t pid, told[2], member;
	sigset_t set;

	block_signal(SIGUSR1);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pid = fork_child();
	if (pid == 0) {
		pid_t leader = fork_child();
		char text[16];

		if (leader == 0)
			lead(node);
		tell(leader);
		must(sigwait(&set, &sig) == 0);
		snprintf(text, sizeof(text), "%d", leader);
		become(node, "/proc/self/exe", "follows", text);
		_exit(127);
	}
	close(20);
	told[0] = read_pid(fd);
	told[1] = read_pid(fd);
	member = getsid(told[0]) == told[0] ? told[1] : told[0];
	must(kill(pid, SIGUSR1) == 0 && kill(member, SIGTERM) == 0);
	must(reap(pid) == 0);
	close(fd);
	must(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
}

/*
 * The middle one is killed here, and what it has left ends later elsewhere. It does not exec, or a
 * busy node would have it elsewhere too, and what SIGKILL meets here be a stub that bears nobody.
 */
static void sub_reaper(const char *below)
{
	int fd = open_pipe(), status;
	pid_t pid, grandchild;

	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	pid = fork_child();
	if (pid == 0)
		_exit(role_main("middle", below));
	grandchild = read_pid(fd);
	must(kill(pid, SIGKILL) == 0);
	must(waitpid(-1, &status, 0) == pid);
	say("the middle one: %s", status_text(status));
	must(kill(grandchild, SIGTERM) == 0);
	must(waitpid(-1, &status, 0) == grandchild);
	say("what it has left: %s", status_text(status));
	must(prctl(PR_SET_CHILD_SUBREAPER, 0) == 0);
	close(20);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc > 2)
		return role_main(argv[1], argv[2]);
	in_vfork();
	in_threads();
	traced();
	for (size_t i = 0; i < COUNT(nodes); i++)
		follows(nodes[i]);
	for (size_t i = 0; i < COUNT(nodes); i++)
		sub_reaper(nodes[i]);
	return 0;
}
