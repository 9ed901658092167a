/* SPDX-License-Identifier: Apache-2.0 */
/* A server in a child process, the client here: what goes in comes out. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "cmd/ctl/ctl.h"
#include "cmd/ctl/routes.h"

static char dir[] = "/tmp/ctlXXXXXX";
static char path[64];
static pid_t server_pid;

static void handle(void *arg, struct ctl_req *r)
{
	const char *p = ctl_req_head(r)->path;

	if (strcmp(p, "/echo") == 0) {
		ctl_reply(r, 200, json_deep_copy(ctl_req_body(r)));
	} else if (strcmp(p, "/stream") == 0) {
		int ends[2];

		if (pipe(ends) < 0)
			_exit(9);
		(void)!write(ends[1], "through", 7);
		(void)close(ends[1]);
		ctl_stream_begin(r, json_pack("{s:i}", "n", 1), ends, 1);
		ctl_stream_line(r, json_pack("{s:i}", "n", 2));
		ctl_stream_end(r);
	} else {
		ctl_problem(r, 404, "pando status", "there is no %s", p);
	}
}

static void serve(void)
{
	struct ctl_server *s;
	struct loop *l;
	int fd = ctl_socket_listen(path, 0600);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd < 0 || loop_new(&l, LOOP_AUTO) < 0 || ctl_server_new(&s, l, handle, NULL) < 0 ||
	    ctl_server_listen(s, fd, TENANT_NONE, NULL) < 0 || loop_run(l) < 0)
		_exit(9);
	_exit(0);
}

static int begin(void **state)
{
	struct ctl_client *c;

	if (mkdtemp(dir) == NULL)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	server_pid = fork();
	if (server_pid == 0)
		serve();
	while (ctl_client_new(&c, path) < 0)
		(void)usleep(1000);
	ctl_client_free(c);
	return 0;
}

static int finish(void **state)
{
	(void)kill(server_pid, SIGKILL);
	(void)waitpid(server_pid, NULL, 0);
	(void)unlink(path);
	return rmdir(dir);
}

static struct ctl_client *dial(void)
{
	struct ctl_client *c;

	assert_int_equal(ctl_client_new(&c, path), 0);
	return c;
}

static void a_body_comes_back_and_the_connection_goes_on(void **state)
{
	struct ctl_client *c = dial();
	json_t *body = json_pack("{s:s, s:I}", "who", "alice", "n", (json_int_t)1 << 60);

	for (int i = 0; i < 3; i++) {
		struct ctl_answer a;

		assert_int_equal(ctl_client_call(c, "POST", "/echo", body, &a), 0);
		assert_int_equal(a.status, 200);
		assert_true(json_equal(a.body, body));
		ctl_answer_fini(&a);
	}
	json_decref(body);
	ctl_client_free(c);
}

static void a_refusal_says_why_and_what_next(void **state)
{
	struct ctl_client *c = dial();
	struct ctl_answer a;

	assert_int_equal(ctl_client_call(c, "GET", "/nowhere", NULL, &a), 0);
	assert_int_equal(a.status, 404);
	assert_string_equal(json_string_value(json_object_get(a.body, "detail")),
			    "there is no /nowhere");
	assert_string_equal(json_string_value(json_object_get(a.body, "try")), "pando status");
	ctl_answer_fini(&a);
	ctl_client_free(c);
}

static void a_stream_carries_lines_and_descriptors(void **state)
{
	struct ctl_client *c = dial();
	struct ctl_answer a;
	json_t *line;
	char bytes[16];

	assert_int_equal(ctl_client_call(c, "GET", "/stream", NULL, &a), 0);
	assert_true(a.stream);
	assert_int_equal(a.fd_count, 1);
	assert_int_equal(read(a.fds[0], bytes, sizeof(bytes)), 7);
	for (int n = 1; n <= 2; n++) {
		assert_int_equal(ctl_client_line(c, &line), 1);
		assert_int_equal(json_integer_value(json_object_get(line, "n")), n);
		json_decref(line);
	}
	assert_int_equal(ctl_client_line(c, &line), 0);
	ctl_answer_fini(&a);
	ctl_client_free(c);
}

/* Two requests in one packet, and one that comes byte by byte. */
static void the_cut_of_the_bytes_does_not_matter(void **state)
{
	static const char two[] =
		"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\nConnection: close\r\n\r\n";
	char answer[2048];

	for (int step = 1; step < (int)sizeof(two); step += (int)sizeof(two) - 2) {
		struct sockaddr_un a = { .sun_family = AF_UNIX };
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		size_t len = 0;
		ssize_t n;

		(void)strcpy(a.sun_path, path);
		assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
		for (size_t at = 0; at < sizeof(two) - 1; at += (size_t)step)
			assert_true(send(fd, two + at, MIN((size_t)step, sizeof(two) - 1 - at),
					 MSG_NOSIGNAL) > 0);
		while ((n = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0)
			len += (size_t)n;
		answer[len] = '\0';
		assert_non_null(strstr(answer, "there is no /a"));
		assert_non_null(strstr(answer, "there is no /b"));
		(void)close(fd);
	}
}

static void garbage_is_refused_and_hung_up(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char answer[1024];
	size_t len = 0;
	ssize_t n;

	(void)strcpy(a.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(send(fd, "GET / HTTP/1.1\n\n", 16, MSG_NOSIGNAL), 16);
	while ((n = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0)
		len += (size_t)n;
	answer[len] = '\0';
	assert_non_null(strstr(answer, "400 Bad Request"));
	(void)close(fd);
}

/* Who waits for the name tries at once, and may be another user. */
static void a_socket_is_ready_when_it_gets_its_name(void **state)
{
	int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), fd;
	char other[80], events[1024];
	struct stat st;
	ssize_t n;

	(void)snprintf(other, sizeof(other), "%s/other", dir);
	assert_true(inotify_add_watch(watch, dir, IN_MOVED_TO | IN_ATTRIB) >= 0);
	fd = ctl_socket_listen(other, 0666);
	assert_true(fd >= 0);
	n = read(watch, events, sizeof(events));
	assert_true(n > 0);
	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *e = (const void *)(events + at);

		/* Nothing becomes of it any more. */
		assert_true(strcmp(e->name, "other") != 0 || (e->mask & IN_MOVED_TO));
		at += (ssize_t)(sizeof(*e) + e->len);
	}
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
	(void)close(fd);
	(void)close(watch);
	(void)unlink(other);
}

static bool taken(enum ctl_route_id id, const char *text)
{
	json_t *body = json_loads(text, 0, NULL);
	char why[128];
	bool ok = ctl_body_ok(ctl_route_at(id), body, why, sizeof(why));

	assert_true(ok == (*why == '\0'));
	json_decref(body);
	return ok;
}

static void a_body_is_what_its_row_says(void **state)
{
	assert_true(taken(CTL_LIMITS, "{}"));
	assert_true(taken(CTL_LIMITS, "{\"procs\":0,\"cpu_milli\":2000}"));
	assert_false(taken(CTL_LIMITS, "{\"procs\":\"0\"}"));
	assert_false(taken(CTL_LIMITS, "{\"procs\":-1}"));
	assert_false(taken(CTL_LIMITS, "{\"procs\":1.0}"));
	assert_false(taken(CTL_LIMITS, "{\"procs\":null}"));
	assert_false(taken(CTL_LIMITS, "{\"procs\":1,\"prox\":1}"));
	assert_false(taken(CTL_MIGRATE, "{\"tenant\":\"alice\"}"));
	assert_true(taken(CTL_MIGRATE, "{\"tenant\":\"alice\",\"node\":\"n1\"}"));
	assert_true(taken(CTL_SESSION_START, "{\"session\":1,\"argv\":[],\"tty\":true}"));
	assert_false(taken(CTL_SESSION_START, "{\"session\":1,\"argv\":{}}"));
	assert_false(taken(CTL_SESSION_START, "{\"session\":1,\"tty\":1}"));
	/* A row without a body takes an empty one. */
	assert_true(taken(CTL_LEAVE, "{}"));
	assert_false(taken(CTL_LEAVE, "{\"node\":\"n1\"}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_body_comes_back_and_the_connection_goes_on),
		cmocka_unit_test(a_refusal_says_why_and_what_next),
		cmocka_unit_test(a_stream_carries_lines_and_descriptors),
		cmocka_unit_test(the_cut_of_the_bytes_does_not_matter),
		cmocka_unit_test(garbage_is_refused_and_hung_up),
		cmocka_unit_test(a_socket_is_ready_when_it_gets_its_name),
		cmocka_unit_test(a_body_is_what_its_row_says),
	};

	return cmocka_run_group_tests(tests, begin, finish);
}
