/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tenant_init_test.c - a tenant's pando-init: its protocol, what it keeps, starts and ends of
 * programs, its lease; and who answers guests before a guest kernel does.
 *
 * Needs root.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "kernel/procfs/procfs.h"
#include "tests/lib/tenantworld.h"

static void the_store_outlives_connections(void **state)
{
	static struct init_in in;
	struct init_msg m = { .op = INIT_LIST, .key = "t." };
	int p[2], k, fd;
	char c = 0;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	k = init_connect(tw.t->run_dir, INIT_ROLE_KERNEL, NULL);
	assert_true(k >= 0);
	assert_int_equal(tw_put(k, "t.one", p[0]), 0);
	assert_int_equal(tw_put(k, "t.one", p[1]), -EEXIST);
	assert_int_equal(tw_put(k, "", p[1]), -EINVAL);
	(void)close(p[0]);
	(void)close(k);
	k = init_connect(tw.t->run_dir, INIT_ROLE_KERNEL, NULL);
	fd = tw_get(k, "t.one");
	assert_int_equal(write(p[1], "x", 1), 1);
	assert_int_equal(read(fd, &c, 1), 1);
	assert_int_equal(c, 'x');
	(void)close(fd);
	assert_int_equal(init_call(k, &m, NULL, 0, NULL, 0, NULL, &in, 5000), 0);
	assert_int_equal(in.len, 6);
	assert_memory_equal(in.payload, "t.one", 6);
	assert_int_equal(tw_ask(k, INIT_DROP, "t.one", 0, 0, 0), 0);
	assert_int_equal(tw_ask(k, INIT_DROP, "t.one", 0, 0, 0), -ENOENT);
	/* The last reader is gone now. */
	(void)signal(SIGPIPE, SIG_IGN);
	assert_int_equal(write(p[1], "x", 1), -1);
	(void)close(p[1]);
	(void)close(k);
}

static void what_is_stored_is_announced(void **state)
{
	static struct init_in in;
	int k = init_connect(tw.t->run_dir, INIT_ROLE_KERNEL, NULL);

	assert_int_equal(tw_ask(k, INIT_WATCH, "", 0, 0, 0), 0);
	assert_int_equal(tw_put(tw.t->control, "pod", 0), 0);
	tw_await(k, INIT_EV_STORED, &in);
	assert_string_equal(in.msg.key, "pod");
	assert_int_equal(tw_ask(tw.t->control, INIT_DROP, "pod", 0, 0, 0), 0);
	(void)close(k);
}

static void a_role_is_for_good_and_has_its_rights(void **state)
{
	struct init_msg hello = { .op = INIT_HELLO, .arg = { INIT_ROLE_KERNEL } };
	struct stat st;
	char path[64];
	int k = init_connect(tw.t->run_dir, INIT_ROLE_KERNEL, NULL), k2;

	assert_int_equal(tw_ask(k, INIT_LEASE, "", 1, 0, 0), -EPERM);
	assert_int_equal(tw_ask(k, INIT_SHUTDOWN, "", 0, 0, 0), -EPERM);
	assert_int_equal(tw_ask(k, INIT_HELLO, "", INIT_ROLE_POD, 0, 0), -EPERM);
	assert_int_equal(tw_ask(k, INIT_HELLO, "", 9, 0, 0), -EINVAL);
	assert_int_equal(init_call(k, &hello, NULL, 0, NULL, 0, NULL, NULL, 5000), 0);
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)tw.t->init_pid);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(hello.arg[0], st.st_ino);
	/* A second kernel takes the place of the first. */
	k2 = init_connect(tw.t->run_dir, INIT_ROLE_KERNEL, NULL);
	assert_true(k2 >= 0);
	assert_int_equal(tw_ask(k2, INIT_CURSOR, "", 0, 0, 0), 0);
	assert_true(tw_ask(k, INIT_CURSOR, "", 0, 0, 0) < 0);
	(void)close(k);
	(void)close(k2);
}

static void malformed_messages_are_refused(void **state)
{
	static struct init_in in;
	struct init_msg m = { .op = INIT_GET };
	uint8_t junk[64] = { 1, 2, 3 };
	char payload[64] = { 0 };

	assert_int_equal(send(tw.t->control, junk, sizeof(junk), 0), sizeof(junk));
	assert_int_equal(init_recv(tw.t->control, &in), 1);
	assert_int_equal(in.msg.result, -EPROTO);
	assert_int_equal(tw_ask(tw.t->control, 4711, "", 0, 0, 0), -EPROTO);
	assert_int_equal(tw_ask(tw.t->control, 0, "", 0, 0, 0), -EPROTO);
	memset(m.key, 'x', sizeof(m.key)); /* no end */
	assert_int_equal(init_call(tw.t->control, &m, NULL, 0, NULL, 0, NULL, NULL, 5000), -EPROTO);
	m = (struct init_msg){ .op = INIT_SPAWN };
	assert_int_equal(
		init_call(tw.t->control, &m, payload, sizeof(payload), NULL, 0, NULL, NULL, 5000),
		-EPROTO);
	m = (struct init_msg){ .op = INIT_PUT, .key = "two" };
	assert_int_equal(
		init_call(tw.t->control, &m, NULL, 0, (int[]){ 0, 1 }, 2, NULL, NULL, 5000),
		-EPROTO);
	assert_int_equal(tw_ask(tw.t->control, INIT_BLOCK, "", 5, 4096, 0), -EINVAL);
	assert_int_equal(tw_ask(tw.t->control, INIT_BLOCK, "", UINT64_MAX, 4096, 0), -EINVAL);
	assert_int_equal(tw_ask(tw.t->control, INIT_BLOCK, "", TW_BLOCK + 1, 4096, 0), -EINVAL);
	assert_int_equal(tw_ask(tw.t->control, INIT_UNBLOCK, "", 4711, 0, 0), -ENOENT);
	/* Before HELLO nothing is answered but -EPROTO. */
	int p[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p), 0);
	(void)close(p[0]);
	(void)close(p[1]);
}

static int several(enum init_op op, const char *key, const char *more, size_t len, int fd, size_t n)
{
	struct init_msg m = { .op = op };
	int fds[INIT_FDS_MAX];

	for (size_t i = 0; i < INIT_FDS_MAX; i++)
		fds[i] = fd;
	(void)snprintf(m.key, sizeof(m.key), "%s", key);
	return init_call(tw.t->control, &m, more, len, fds, n, NULL, NULL, 5000);
}

/* All that can be done is done, and the first error is told. */
static void several_are_kept_and_dropped_at_once(void **state)
{
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC);
	char most[2 * INIT_FDS_MAX], long_key[INIT_KEY_MAX + 1];
	struct init_msg m = { .op = INIT_LIST, .key = "s." };
	static struct init_in in;

	assert_int_equal(several(INIT_PUT, "s.a", "s.b\0s.c", 8, nul, 3), 0);
	assert_int_equal(several(INIT_PUT, "s.d", "s.b\0s.e", 8, nul, 3), -EEXIST);
	assert_int_equal(init_call(tw.t->control, &m, NULL, 0, NULL, 0, NULL, &in, 5000), 0);
	assert_int_equal(in.len, 20);
	assert_memory_equal(in.payload, "s.a\0s.b\0s.c\0s.d\0s.e", 20);
	assert_int_equal(several(INIT_DROP, "s.a", "s.x\0s.b", 8, nul, 0), -ENOENT);
	assert_int_equal(several(INIT_DROP, "s.c", "s.d\0s.e", 8, nul, 0), 0);
	assert_int_equal(init_call(tw.t->control, &m, NULL, 0, NULL, 0, NULL, &in, 5000), 0);
	assert_int_equal(in.len, 0);
	/* Nothing is done of what is no message. */
	assert_int_equal(several(INIT_PUT, "s.a", "s.b", 3, nul, 2), -EPROTO);
	assert_int_equal(several(INIT_PUT, "s.a", "s.b", 4, nul, 1), -EPROTO);
	assert_int_equal(several(INIT_PUT, "s.a", "s.b", 4, nul, 3), -EPROTO);
	assert_int_equal(several(INIT_DROP, "s.a", "s.b", 3, nul, 0), -EPROTO);
	memset(long_key, 'x', sizeof(long_key));
	long_key[INIT_KEY_MAX] = 0;
	assert_int_equal(several(INIT_PUT, "s.a", long_key, sizeof(long_key), nul, 2), -EPROTO);
	for (size_t i = 0; i < INIT_FDS_MAX; i++)
		memcpy(most + 2 * i, (const char[]){ (char)('A' + i), 0 }, 2);
	assert_int_equal(several(INIT_DROP, "s.a", most, sizeof(most), nul, 0), -EPROTO);
	assert_int_equal(several(INIT_PUT, "s.a", most, sizeof(most) - 2, nul, INIT_FDS_MAX), 0);
	assert_int_equal(several(INIT_DROP, "s.a", most, sizeof(most) - 2, nul, 0), 0);
	assert_int_equal(tw_ask(tw.t->control, INIT_DROP, "s.a", 0, 0, 0), -ENOENT);
	(void)close(nul);
}

static ino_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static void what_is_there_is_replaced_if_that_is_asked_for(void **state)
{
	struct init_msg m = { .op = INIT_PUT, .arg = { INIT_PUT_REPLACES }, .key = "r.a" };
	int p[2], fds[2], fd;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(tw_put(tw.t->control, "r.a", 0), 0);
	fds[0] = fds[1] = p[0];
	assert_int_equal(init_call(tw.t->control, &m, "r.b", 4, fds, 2, NULL, NULL, 5000), 0);
	fd = tw_get(tw.t->control, "r.a");
	assert_int_equal(inode_of(fd), inode_of(p[0]));
	(void)close(fd);
	assert_int_equal(several(INIT_DROP, "r.a", "r.b", 4, -1, 0), 0);
	(void)close(p[0]);
	(void)close(p[1]);
}

static int connect_only(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/init.sock", tw.t->run_dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* All of it lies in the sockets when pando-init looks: the dead kernel's, and its successor's. */
static void what_a_kernel_dropped_before_it_died_is_gone(void **state)
{
	enum { KEYS = 8 };
	struct init_msg hello = { .op = INIT_HELLO, .arg = { INIT_ROLE_KERNEL } };
	struct init_msg drop = { .op = INIT_DROP, .arg = { INIT_DROP_QUIETLY } };
	struct init_msg list = { .op = INIT_LIST, .key = "q." };
	static struct init_in in;
	int k = init_connect(tw.t->run_dir, INIT_ROLE_KERNEL, NULL), next = connect_only();

	for (int i = 0; i < KEYS; i++) {
		(void)snprintf(drop.key, sizeof(drop.key), "q.%d", i);
		assert_int_equal(tw_put(k, drop.key, 0), 0);
	}
	assert_int_equal(kill(tw.t->init_pid, SIGSTOP), 0);
	for (int i = 0; i < KEYS; i++) {
		(void)snprintf(drop.key, sizeof(drop.key), "q.%d", i);
		assert_int_equal(init_send(k, &drop, NULL, 0, NULL, 0), 0);
	}
	assert_int_equal(init_send(next, &hello, NULL, 0, NULL, 0), 0);
	assert_int_equal(kill(tw.t->init_pid, SIGCONT), 0);
	tw_await(next, INIT_HELLO, &in);
	init_in_close(&in);
	assert_int_equal(init_call(next, &list, NULL, 0, NULL, 0, NULL, &in, 5000), 0);
	assert_int_equal(in.len, 0);
	/* Nothing of it was answered: the next answer is the next question's. */
	assert_int_equal(tw_put(next, "q.a", 0), 0);
	(void)snprintf(drop.key, sizeof(drop.key), "q.a");
	assert_int_equal(init_send(next, &drop, NULL, 0, NULL, 0), 0);
	assert_int_equal(init_send(next, &list, NULL, 0, NULL, 0), 0);
	assert_int_equal(poll(&(struct pollfd){ .fd = next, .events = POLLIN }, 1, 30000), 1);
	assert_int_equal(init_recv(next, &in), 1);
	assert_int_equal(in.msg.op, INIT_LIST);
	assert_int_equal(in.len, 0);
	(void)close(k);
	(void)close(next);
}

static void a_failed_start_says_which_step(void **state)
{
	static struct init_in in;
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC), fds[3] = { nul, nul, nul };

	tw_spawn((char *const[]){ "/bin/nothing", NULL }, 0, "/", fds);
	tw_await(tw.t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, -ENOENT);
	assert_int_equal(in.msg.arg[0], INIT_STEP_EXEC);
	tw_spawn((char *const[]){ "/bin/true", NULL }, 0, "/root", fds);
	tw_await(tw.t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, -EACCES);
	assert_int_equal(in.msg.arg[0], INIT_STEP_CHDIR);
	tw_spawn((char *const[]){ "true", NULL }, 0, "/", fds);
	tw_await(tw.t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, -EINVAL);
	assert_int_equal(in.msg.arg[0], INIT_STEP_REQUEST);
	(void)close(nul);
}

/* A guest kernel may die after it has asked, and the next one asks again: a program must not run
 * twice. */
static void asked_for_again_by_its_name_it_is_the_same_one(void **state)
{
	static struct init_in in;
	char *const argv[] = { "/bin/sh", "-c", "echo once; exec sleep 100", NULL };
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC), p[2];
	char key[INIT_KEY_MAX], out[64];
	gpid pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(tw_ask(tw.t->control, INIT_WATCH, "", 0, 0, 0), 0);
	tw_spawn_key = "session.9";
	for (int i = 0; i < 2; i++)
		tw_spawn(argv, 0, "/", (int[]){ nul, p[1], p[1] });
	tw_await(tw.t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, 0);
	pid = (gpid)in.msg.arg[0];
	init_in_close(&in);
	(void)snprintf(key, sizeof(key), "session.9.%d", pid);
	assert_int_equal(tw_ask(tw.t->control, INIT_GET, key, 0, 0, 0), 0);
	tw_spawn(argv, 0, "/", (int[]){ nul, p[1], p[1] });
	tw_await(tw.t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.arg[0], pid);
	assert_int_equal(in.nfds, 1);
	assert_int_equal(read(p[0], out, sizeof(out)), 5);
	assert_memory_equal(out, "once\n", 5);
	assert_int_equal(syscall(SYS_pidfd_send_signal, in.fds[0], SIGKILL, NULL, 0), 0);
	init_in_close(&in);
	(void)close(p[1]);
	(void)close(nul);
	tw_read_all(p[0], out, sizeof(out));
	(void)close(p[0]);
	assert_string_equal(out, "");
	do
		tw_await(tw.t->control, INIT_EV_EXIT, &in);
	while (in.msg.arg[0] != (uint64_t)pid);
	assert_int_equal(tw_ask(tw.t->control, INIT_DROP, key, 0, 0, 0), 0);
	assert_int_equal(tw_ask(tw.t->control, INIT_ACK, "", in.msg.arg[2], 0, 0), 0);
	init_in_close(&in);
	tw_spawn_key = "session.of-a-name-that-is-too-long-12345";
	tw_spawn(argv, 0, "/", (int[]){ 0, 1, 2 });
	tw_await(tw.t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, -EINVAL);
	tw_spawn_key = "";
}

static void exits_are_kept_until_acknowledged(void **state)
{
	static struct init_in in;
	struct tenant_cfg cfg = tw_config();
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct tenant *again;
	struct pollfd p;
	int64_t pid, event;

	tw_spawn((char *const[]){ "/bin/sh", "-c", "kill -SEGV $$", NULL }, 0, "/",
		 (int[]){ nul, nul, nul });
	(void)close(nul);
	tw_await(tw.t->control, INIT_SPAWN, &in);
	pid = (int64_t)in.msg.arg[0];
	p = (struct pollfd){ .fd = in.fds[0], .events = POLLIN };
	assert_int_equal(poll(&p, 1, 5000), 1);
	init_in_close(&in);
	/* pandod dies and comes back. */
	if (tenant_adopt(&cfg, &again, tw.why) < 0)
		fail_msg("%s", tw.why);
	assert_int_equal(again->init_pid, tw.t->init_pid);
	assert_true(again->is_child);
	tenant_free(tw.t);
	tw.t = again;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(tw_ask(tw.t->control, INIT_WATCH, "", 0, 0, 0), 0);
		do /* others of this world ended unacknowledged too */
			tw_await(tw.t->control, INIT_EV_EXIT, &in);
		while ((int64_t)in.msg.arg[0] != pid);
		assert_int_equal(in.msg.arg[1], SIGSEGV);
		event = (int64_t)in.msg.arg[2];
	}
	assert_int_equal(tw_ask(tw.t->control, INIT_ACK, "", (uint64_t)event, 0, 0), 0);
	assert_int_equal(tw_ask(tw.t->control, INIT_ACK, "", (uint64_t)event, 0, 0), -ENOENT);
	assert_int_equal(tw_ask(tw.t->control, INIT_WATCH, "", 0, 0, 0), 0);
	p = (struct pollfd){ .fd = tw.t->control, .events = POLLIN };
	while (poll(&p, 1, 50) == 1) {
		assert_int_equal(init_recv(tw.t->control, &in), 1);
		assert_int_not_equal(in.msg.arg[0], pid);
	}
}

static void a_running_tenant_is_not_started_twice(void **state)
{
	struct tenant_cfg cfg = tw_config();
	struct tenant *second;

	assert_int_equal(tenant_start(&cfg, &second, tw.why), -EEXIST);
	/* and its pandod is not disturbed */
	assert_int_equal(tw_ask(tw.t->control, INIT_CURSOR, "", 0, 0, 0), 0);
}

static void nothing_starts_without_a_block(void **state)
{
	static struct init_in in;
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(tw_ask(tw.t->control, INIT_UNBLOCK, "", TW_BLOCK, 0, 0), 0);
	tw_spawn((char *const[]){ "/bin/true", NULL }, 0, "/", (int[]){ nul, nul, nul });
	tw_await(tw.t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, -ENOSPC);
	assert_int_equal(tw_ask(tw.t->control, INIT_BLOCK, "", TW_BLOCK, 4096, 0), 0);
	(void)close(nul);
}

/* A hundred at once, more than fit, and none waited for: each gets an answer. */
static void many_starts_at_once_are_all_answered(void **state)
{
	static struct init_in in;
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC), ok = 0, busy = 0, exits = 0;
	struct tenant_cfg cfg = tw_config();

	tw_start(&cfg);
	for (int i = 0; i < 100; i++)
		tw_spawn((char *const[]){ "/bin/true", NULL }, 0, "/", (int[]){ nul, nul, nul });
	(void)close(nul);
	for (int i = 0; i < 100; i++) {
		tw_await(tw.t->control, INIT_SPAWN, &in);
		ok += in.msg.result == 0;
		busy += in.msg.result == -EBUSY;
		init_in_close(&in);
	}
	assert_int_equal(ok + busy, 100);
	assert_true(ok >= 30);
	assert_int_equal(tw_ask(tw.t->control, INIT_WATCH, "", 0, 0, 0), 0);
	for (; exits < ok; exits++)
		tw_await(tw.t->control, INIT_EV_EXIT, &in);
	tw_stop();
}

/* ---- a filter that asks, and nobody there to answer ---- */

/* Notifies execve; all else is allowed. */
static struct sock_filter ask_execve[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static void a_start_waits_for_a_guest_kernel_and_nothing_else_does(void **state)
{
	static struct init_in in;
	struct tenant_cfg cfg = tw_config();
	struct seccomp_notif req;
	struct seccomp_notif_resp resp;
	int nul = open("/dev/null", O_RDWR | O_CLOEXEC), listener;
	struct pollfd p;

	cfg.filter = ask_execve;
	cfg.filter_bytes = sizeof(ask_execve);
	tw_start(&cfg);
	tw_spawn((char *const[]){ "/bin/sh", "-c", "exit 5", NULL }, 0, "/",
		 (int[]){ nul, nul, nul });
	(void)close(nul);
	p = (struct pollfd){ .fd = tw.t->control, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 100), 0);
	assert_int_equal(tw_put(tw.t->control, "meanwhile", 0), 0);
	/* A kernel comes, takes the listener from the store and lets the call go on. */
	listener = tw_get(tw.t->control, INIT_KEY_LISTENER);
	memset(&req, 0, sizeof(req));
	assert_int_equal(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &req), 0);
	assert_int_equal(req.data.nr, SYS_execve);
	resp = (struct seccomp_notif_resp){ .id = req.id,
					    .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
	assert_int_equal(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp), 0);
	tw_await(tw.t->control, INIT_SPAWN, &in);
	assert_int_equal(in.msg.result, 0);
	init_in_close(&in);
	assert_int_equal(tw_ask(tw.t->control, INIT_WATCH, "", 0, 0, 0), 0);
	tw_await(tw.t->control, INIT_EV_EXIT, &in);
	assert_int_equal(in.msg.arg[1], 5 << 8);
	(void)close(listener);
	tw_stop();
}

/* ---- the machine's /proc ---- */

static int one_process(void *arg, gpid after, struct procfs_pid *out)
{
	*out = (struct procfs_pid){
		.pid = TW_BLOCK, .uid = TENANT_UID, .here = true, .node = "n1"
	};
	return after < TW_BLOCK ? 0 : -ESRCH;
}

static int find_process(void *arg, gpid pid, struct procfs_pid *out)
{
	*out = (struct procfs_pid){ .pid = pid, .uid = TENANT_UID, .here = true, .node = "n1" };
	return pid >= TW_BLOCK ? 0 : -ESRCH;
}

static int no_text(void *arg, gpid pid, enum procfs_pid_file file, struct buf *out)
{
	return -ESRCH;
}

static int machine_text(void *arg, enum procfs_machine_file file, struct buf *out)
{
	return buf_addf(out, "of the machine\n");
}

static int no_move(void *arg, gpid pid, const char *node, uint32_t caller, uint64_t key)
{
	return -ENOENT;
}

/* What a guest kernel does with the connection in the store. */
static pid_t procfs_server(void)
{
	static const struct procfs_ops ops = { .next = one_process,
					       .find = find_process,
					       .pid_text = no_text,
					       .machine_text = machine_text,
					       .move = no_move };
	static struct procfs_slot slots[PROCFS_SLOTS];
	int fuse = tw_get(tw.t->control, INIT_KEY_PROCFS);
	pid_t pid = fork();
	struct procfs *p;
	struct loop *l;

	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (loop_new(&l, LOOP_AUTO) < 0 || procfs_new(&p, l, fuse, slots, &ops, NULL) < 0 ||
		    loop_run(l) < 0)
			_exit(1);
		_exit(0);
	}
	(void)close(fuse);
	return pid;
}

static void proc_is_the_machines_where_a_guest_kernel_serves_it(void **state)
{
	struct tenant_cfg cfg = tw_config();
	pid_t server;
	struct tw_ran r;

	cfg.procfs = true;
	tw_start(&cfg);
	/* Without a server the native one still answers, and sessions start. */
	r = tw_run((char *const[]){ "/bin/cat", "/proc/.host/self/comm", NULL });
	assert_string_equal(r.out, "cat\n");
	assert_int_equal(r.pid, TW_BLOCK);
	server = procfs_server();
	r = tw_sh("cat /proc/loadavg; readlink /proc/self; cat /proc/$$/node; echo x | cat "
		  "/dev/stdin; "
		  "bash -c 'diff <(echo a) <(echo a) && echo same'; readlink /proc/self/exe; "
		  "echo 1 >/proc/sys/kernel/ns_last_pid; ls -d /proc/1");
	assert_string_equal(r.out, "of the machine\n.host/self\nn1\nx\nsame\n/usr/bin/readlink\n"
				   "/bin/sh: 1: cannot create /proc/sys/kernel/ns_last_pid: "
				   "Read-only file system\n"
				   "ls: cannot access '/proc/1': No such file or directory\n");
	(void)kill(server, SIGKILL);
	assert_int_equal(waitpid(server, NULL, 0), server);
	tw_stop();
}

/* ---- the lease ---- */

/* As pando-init sees it: config() sets its clocks on. */
static uint64_t boot_inside_ns(void)
{
	return clock_boot_ns() + 5000 * NS_PER_S;
}

static void without_a_lease_guests_are_frozen_then_killed(void **state)
{
	struct tenant_cfg cfg = tw_config();
	char guests[CGROUP_PATH_MAX];
	struct pollfd p;
	int pidfd;

	tw_start(&cfg);
	(void)snprintf(guests, sizeof(guests), "%.200s/guests", tw.group);
	(void)tw_sleeper(&pidfd);
	assert_int_equal(cgroup_frozen(tw.cgroups, guests), 0);
	assert_int_equal(tw_ask(tw.t->control, INIT_LEASE, "", boot_inside_ns(), 40, 60000), 0);
	for (int i = 0; i < 200 && cgroup_frozen(tw.cgroups, guests) == 0; i++)
		(void)poll(NULL, 0, 10);
	assert_int_equal(cgroup_frozen(tw.cgroups, guests), 1);
	/* pandod is back in time: they run on. */
	assert_int_equal(tw_ask(tw.t->control, INIT_LEASE, "", boot_inside_ns(), 30000, 60000), 0);
	assert_int_equal(cgroup_frozen(tw.cgroups, guests), 0);
	/* An answer that comes late, one from the future, figures that make no sense. */
	assert_int_equal(tw_ask(tw.t->control, INIT_LEASE, "", 1, 30000, 60000), 0);
	assert_int_equal(tw_ask(tw.t->control, INIT_LEASE, "", UINT64_MAX, 30000, 60000), 0);
	assert_int_equal(tw_ask(tw.t->control, INIT_LEASE, "", boot_inside_ns(), 100, 100),
			 -EINVAL);
	assert_int_equal(cgroup_frozen(tw.cgroups, guests), 0);
	/* and this time it is not */
	assert_int_equal(tw_ask(tw.t->control, INIT_LEASE, "", boot_inside_ns(), 20, 120), 0);
	p = (struct pollfd){ .fd = tw.t->init_pidfd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 30000), 1); /* a busy machine */
	p.fd = pidfd;
	assert_int_equal(poll(&p, 1, 0), 1);
	(void)close(pidfd);
	tw_stop();
}

int main(void)
{
	const struct CMUnitTest one_world[] = {
		cmocka_unit_test(the_store_outlives_connections),
		cmocka_unit_test(what_is_stored_is_announced),
		cmocka_unit_test(a_role_is_for_good_and_has_its_rights),
		cmocka_unit_test(malformed_messages_are_refused),
		cmocka_unit_test(several_are_kept_and_dropped_at_once),
		cmocka_unit_test(what_is_there_is_replaced_if_that_is_asked_for),
		cmocka_unit_test(what_a_kernel_dropped_before_it_died_is_gone),
		cmocka_unit_test(a_failed_start_says_which_step),
		cmocka_unit_test(asked_for_again_by_its_name_it_is_the_same_one),
		cmocka_unit_test(exits_are_kept_until_acknowledged),
		cmocka_unit_test(a_running_tenant_is_not_started_twice),
		cmocka_unit_test(nothing_starts_without_a_block),
	};
	const struct CMUnitTest own_worlds[] = {
		cmocka_unit_test(a_start_waits_for_a_guest_kernel_and_nothing_else_does),
		cmocka_unit_test(proc_is_the_machines_where_a_guest_kernel_serves_it),
		cmocka_unit_test(without_a_lease_guests_are_frozen_then_killed),
		cmocka_unit_test(many_starts_at_once_are_all_answered),
	};
	int r;

	if (geteuid() != 0) {
		printf("needs root\n");
		return 77;
	}
	if (tw_begin() < 0) {
		perror("tenant_init_test");
		return 1;
	}
	r = cmocka_run_group_tests(one_world, tw_setup, tw_teardown);
	r += cmocka_run_group_tests(own_worlds, NULL, tw_teardown);
	return tw_end() != 0 || r != 0;
}
