/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procfs_test.c - a real mount of the machine's /proc in namespaces of its own: one
 * process here (ourselves), one elsewhere, and a server that is killed on the way.
 */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "kernel/procfs/procfs.h"

#define REMOTE 4711

static char dir[64];
static struct procfs_slot *slots; /* shared with every successor */
static int fuse_fd;
static pid_t server;

/* ---- the server: knows pid 1 and 2 here and REMOTE on n2 ---- */
static struct procfs *served;
static uint64_t move_key;

static int find(void *arg, gpid pid, struct procfs_pid *out)
{
	*out = (struct procfs_pid){ .pid = pid, .uid = 1000, .here = pid != REMOTE };
	(void)snprintf(out->node, sizeof(out->node), "%s", pid == REMOTE ? "n2" : "n1");
	return pid == 1 || pid == 2 || pid == REMOTE ? 0 : -ESRCH;
}

static int next(void *arg, gpid after, struct procfs_pid *out)
{
	return find(arg, after < 1 ? 1 : after < 2 ? 2 : after < REMOTE ? REMOTE : 0, out);
}

static int pid_text(void *arg, gpid pid, enum procfs_pid_file file, struct buf *out)
{
	const struct procfs_process p = { .pid = pid,
					  .ppid = 1,
					  .pgid = pid,
					  .sid = pid,
					  .tpgid = -1,
					  .tty = -1,
					  .uid = 1000,
					  .state = 'R',
					  .threads = 3,
					  .cpu_ns = 1500000000,
					  .rss_bytes = 8192,
					  .comm = "far away",
					  .args = "far away --really" };

	return procfs_process_text(&p, file, out);
}

static int machine_text(void *arg, enum procfs_machine_file file, struct buf *out)
{
	const struct procfs_machine m = { .cpus = 7,
					  .mem_total_bytes = UINT64_C(12) << 30,
					  .mem_free_bytes = UINT64_C(5) << 30,
					  .uptime_ns = UINT64_C(3600) * 1000000000,
					  .load_milli = { 1500, 250, 10 },
					  .running = 2,
					  .processes = 3,
					  .cpuinfo_one = "processor\t: 0\nmodel name\t: any\n\n" };

	return procfs_machine_text(&m, file, out);
}

static int move(void *arg, gpid pid, const char *node, uint32_t caller, uint64_t key)
{
	if (strcmp(node, "n1") != 0 && strcmp(node, "n2") != 0)
		return -ENOENT;
	move_key = key;
	return 0;
}

static const struct procfs_ops ops = { next, find, pid_text, machine_text, move, NULL };

static void start_server(const char *point)
{
	struct loop *l;

	server = fork();
	if (server != 0)
		return;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (loop_new(&l, LOOP_AUTO) < 0 || procfs_new(&served, l, fuse_fd, slots, &ops, NULL) < 0)
		_exit(1);
	if (point && fault_arm(point, 3, FAULT_KILL) < 0)
		_exit(2);
	while (loop_turn(l, UINT64_MAX) == 0)
		if (move_key != 0) {
			procfs_move_done(served, move_key, 0);
			move_key = 0;
		}
	_exit(3);
}

/* ---- the tests, outside of the server ---- */
static const char *slurp(const char *name)
{
	static char text[65536];
	char path[128];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return NULL;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static int count_pids(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] >= '0' && e->d_name[0] <= '9';
	closedir(d);
	return n;
}

static void the_machine_is_described(void **state)
{
	assert_non_null(strstr(slurp("meminfo"), "MemTotal:       12582912 kB"));
	assert_non_null(strstr(slurp("cpuinfo"), "processor\t: 6\nmodel name"));
	assert_null(strstr(slurp("cpuinfo"), "processor\t: 7"));
	assert_string_equal(slurp("loadavg"), "1.50 0.25 0.01 2/3 0\n");
	assert_non_null(strstr(slurp("uptime"), "3600.00 "));
	assert_non_null(strstr(slurp("stat"), "cpu6 "));
}

static void local_files_are_the_hosts_own(void **state)
{
	char path[128], to[128] = "";
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/self", dir);
	n = readlink(path, to, sizeof(to) - 1);
	assert_int_equal(n, (ssize_t)strlen(".host/self"));
	assert_non_null(strstr(slurp("self/status"), "Name:"));
	/* an unlinked file is reached through its magic link */
	assert_non_null(strstr(slurp("1/status"), "Pid:\t1\n"));
	assert_string_equal(slurp("1/node"), "n1\n");
}

static void remote_processes_are_listed_and_read(void **state)
{
	assert_int_equal(count_pids(), 3);
	assert_string_equal(slurp("4711/node"), "n2\n");
	assert_non_null(strstr(slurp("4711/stat"), "4711 (far away) R 1 4711 4711 0 -1 "));
	assert_non_null(strstr(slurp("4711/status"), "Threads:\t3\n"));
	assert_int_equal(memcmp(slurp("4711/cmdline"), "far\0away\0--really", 18), 0);
	assert_null(slurp("4711/maps"));
	assert_int_equal(errno, ENOENT);
	assert_null(slurp("4712/stat"));
	assert_int_equal(errno, ENOENT);
}

static void writing_a_node_moves(void **state)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/4711/node", dir);
	fd = open(path, O_WRONLY | O_TRUNC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "n1\n", 3), 3);
	assert_int_equal(write(fd, "nowhere\n", 8), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(write(fd, "\n", 1), -1);
	assert_int_equal(errno, EINVAL);
	close(fd);
}

/* The mountpoint must survive: it is invalidated by nobody, ever. */
static void a_request_in_flight_survives_the_servers_death(void **state)
{
	size_t n;
	struct fault_point *points = fault_points(&n);
	int deaths = 0, status;

	for (size_t i = 0; i < n; i++) {
		pid_t reader;

		if (strncmp(points[i].name, "procfs.", 7) != 0)
			continue;
		(void)kill(server, SIGKILL);
		assert_int_equal(waitpid(server, NULL, 0), server);
		start_server(points[i].name);
		reader = fork();
		if (reader == 0)
			_exit(count_pids() == 3 && strstr(slurp("meminfo"), "MemTotal") ? 0 : 1);
		assert_int_equal(waitpid(server, &status, 0), server);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		deaths++;
		start_server(NULL);
		assert_int_equal(waitpid(reader, &status, 0), reader);
		assert_int_equal(status, 0);
		assert_non_null(strstr(slurp("1/status"), "Pid:\t1\n"));
	}
	assert_true(deaths >= 3);
}

static int world(void)
{
	char opts[96], host[96];
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_machine_is_described),
		cmocka_unit_test(local_files_are_the_hosts_own),
		cmocka_unit_test(remote_processes_are_listed_and_read),
		cmocka_unit_test(writing_a_node_moves),
		cmocka_unit_test(a_request_in_flight_survives_the_servers_death),
	};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 10;
	fuse_fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fuse_fd < 0)
		return 11;
	(void)snprintf(opts, sizeof(opts), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other",
		       fuse_fd);
	if (mount("proc", dir, "fuse", MS_NOSUID | MS_NODEV | MS_NOEXEC, opts) < 0)
		return 12;
	start_server(NULL);
	(void)snprintf(host, sizeof(host), "%s/.host", dir);
	if (mount("proc", host, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return 13;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	pid_t pid;
	int status;

	(void)snprintf(dir, sizeof(dir), "/tmp/pando-procfs-XXXXXX");
	if (geteuid() != 0 || !mkdtemp(dir)) {
		puts("needs root to mount");
		return 77;
	}
	slots = mmap(NULL, PROCFS_SLOTS * sizeof(*slots), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (slots == MAP_FAILED)
		return 1;
	/* Not ourselves: a sanitizer's leak check at the exit wants the pids that it started with.
	 */
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNS | CLONE_NEWPID) < 0)
			_exit(2);
		pid = fork();
		if (pid == 0)
			_exit(world());
		_exit(waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status)
									   : 3);
	}
	if (waitpid(pid, &status, 0) != pid)
		return 1;
	(void)rmdir(dir);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
