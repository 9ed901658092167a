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

/* ---- one stream: a file in memory that outlives the server, as an owner would keep it ---- */
#define FILE_MAX (1 << 20)

static struct owner {
	size_t size, at;
	uint64_t key; /* of the last read or write, and what came of it */
	size_t moved;
	uint64_t closed;
	uint8_t answer[PROCFS_STREAM_MAX];
	uint8_t bytes[FILE_MAX];
} * owner;

static struct procfs_stream asked[PROCFS_SLOTS];
static unsigned asked_count;

static int stream_find(void *arg, const char *name, gpid caller, uint64_t *id)
{
	*id = 4711;
	return strcmp(name, "one") == 0 && caller > 0 ? 0 : -ENOENT;
}

static int stream(void *arg, const struct procfs_stream *rq)
{
	if (rq->id != 4711)
		return -ENOENT;
	if (rq->kind == PROCFS_STREAM_CLOSE) {
		owner->closed = rq->handle;
		return 0;
	}
	asked[asked_count++] = *rq;
	return 0;
}

static void read_or_write(const struct procfs_stream *q)
{
	bool reads = q->kind == PROCFS_STREAM_READ;

	if (owner->key == q->key)
		return;
	owner->moved = MIN((size_t)q->len, (reads ? owner->size : (size_t)FILE_MAX) - owner->at);
	if (reads)
		memcpy(owner->answer, owner->bytes + owner->at, owner->moved);
	else
		memcpy(owner->bytes + owner->at, q->bytes, owner->moved);
	owner->at += owner->moved;
	owner->size = MAX(owner->size, owner->at);
	owner->key = q->key;
}

static void answer_streams(void)
{
	while (asked_count > 0) {
		const struct procfs_stream *q = &asked[--asked_count];
		struct procfs_stream_attr attr = {
			.ino = 99, .size = owner->size, .mode = 0640, .uid = 1000, .nlink = 1
		};

		if (q->kind == PROCFS_STREAM_TRUNCATE)
			attr.size = owner->size = (size_t)q->len;
		if (q->kind == PROCFS_STREAM_READ || q->kind == PROCFS_STREAM_WRITE)
			read_or_write(q);
		(void)procfs_stream_done(served, q->key, 0, owner->answer, owner->moved, &attr);
	}
}

static const struct procfs_ops ops = { .stream_find = stream_find,
				       .stream = stream,
				       .next = next,
				       .find = find,
				       .pid_text = pid_text,
				       .machine_text = machine_text,
				       .move = move };

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
	answer_streams();
	while (loop_turn(l, UINT64_MAX) == 0) {
		if (move_key != 0) {
			procfs_move_done(served, move_key, 0);
			move_key = 0;
		}
		answer_streams();
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

static int open_stream(int flags)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/.stream/one", dir);
	fd = open(path, flags);
	assert_true(fd >= 0);
	return fd;
}

static void a_stream_has_one_offset_for_all(void **state)
{
	int a = open_stream(O_RDWR), b = open_stream(O_RDWR);
	char text[32];
	struct stat st;

	memset(owner, 0, sizeof(*owner));
	assert_int_equal(write(a, "onetwo", 6), 6);
	assert_int_equal(write(b, "three", 5), 5);
	assert_memory_equal(owner->bytes, "onetwothree", 11);
	owner->at = 0;
	assert_int_equal(read(a, text, 3), 3);
	assert_int_equal(read(b, text, 3), 3);
	assert_memory_equal(text, "two", 3);
	assert_int_equal(read(a, text, sizeof(text)), 5);
	assert_int_equal(read(b, text, sizeof(text)), 0);
	assert_int_equal(fstat(a, &st), 0);
	assert_int_equal(st.st_size, 11);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(ftruncate(a, 4), 0);
	assert_int_equal(owner->size, 4);
	assert_int_equal(fsync(a), 0);
	close(a);
	close(b);
	/* The host tells the last close after close(2) has returned. */
	while (__atomic_load_n(&owner->closed, __ATOMIC_ACQUIRE) == 0)
		sched_yield();
}

static void a_stream_cannot_seek(void **state)
{
	int fd = open_stream(O_RDWR);
	char text[4];

	assert_int_equal(lseek(fd, 0, SEEK_CUR), -1);
	assert_int_equal(errno, ESPIPE);
	assert_int_equal(pread(fd, text, 1, 0), -1);
	assert_int_equal(errno, ESPIPE);
	assert_int_equal(pwrite(fd, text, 1, 0), -1);
	assert_int_equal(errno, ESPIPE);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(errno, ENODEV);
	close(fd);
}

static void streams_are_found_by_name_and_not_listed(void **state)
{
	char path[128];
	struct dirent *e;
	int names = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/.stream/two", dir);
	assert_int_equal(open(path, O_RDONLY), -1);
	assert_int_equal(errno, ENOENT);
	(void)snprintf(path, sizeof(path), "%s/.stream", dir);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		names++;
	closedir(d);
	assert_int_equal(names, 0);
}

/* A read of which the answer is lost with the server: its successor asks with the same key. */
static void a_streams_read_survives_the_servers_death(void **state)
{
	static const char *const points[] = { "procfs.received", "procfs.answer",
					      "procfs.answered" };
	int fd = open_stream(O_RDWR);

	for (size_t i = 0; i < ARRAY_LEN(points); i++) {
		pid_t reader;
		int status;

		memset(owner, 0, sizeof(*owner));
		memcpy(owner->bytes, "abcdefgh", 8);
		owner->size = 8;
		(void)kill(server, SIGKILL);
		assert_int_equal(waitpid(server, NULL, 0), server);
		start_server(points[i]);
		reader = fork();
		if (reader == 0) {
			char text[9] = "";

			for (int k = 0; k < 8; k++)
				if (read(fd, text + k, 1) != 1)
					_exit(1);
			_exit(strcmp(text, "abcdefgh") == 0 ? 0 : 2);
		}
		assert_int_equal(waitpid(server, &status, 0), server);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		start_server(NULL);
		assert_int_equal(waitpid(reader, &status, 0), reader);
		assert_int_equal(status, 0);
	}
	close(fd);
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
		cmocka_unit_test(a_stream_has_one_offset_for_all),
		cmocka_unit_test(a_stream_cannot_seek),
		cmocka_unit_test(streams_are_found_by_name_and_not_listed),
		cmocka_unit_test(a_streams_read_survives_the_servers_death),
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
	owner = mmap(NULL, sizeof(*owner), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (slots == MAP_FAILED || owner == MAP_FAILED)
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
