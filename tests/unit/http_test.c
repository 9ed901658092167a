/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "cmd/ctl/core/cursor.h"
#include "cmd/ctl/core/http.h"

static struct http_head h;

static int request(const char *text)
{
	return http_request_head(text, strlen(text), &h);
}

static int response(const char *text)
{
	return http_response_head(text, strlen(text), &h);
}

static void a_request_gives_its_parts(void **state)
{
	const char *text = "POST /v1/tenants/al%69ce?wait=1&x=a%20b HTTP/1.1\r\n"
			   "Host: pando\r\ncontent-LENGTH:  12 \r\nConnection: close\r\n\r\nbody";
	char v[16];

	assert_int_equal(request(text), (int)strlen(text) - 4);
	assert_string_equal(h.method, "POST");
	assert_string_equal(h.path, "/v1/tenants/alice");
	assert_int_equal(h.length, 12);
	assert_true(h.close);
	assert_int_equal(http_query_get(h.query, "x", v, sizeof(v)), 3);
	assert_string_equal(v, "a b");
	assert_int_equal(http_query_get(h.query, "y", v, sizeof(v)), -ENOENT);
}

/* Every proper prefix of a good head asks for more. */
static void a_part_of_a_head_waits_for_the_rest(void **state)
{
	const char *text = "GET /v1/nodes HTTP/1.1\r\nHost: a\r\n\r\n";

	for (size_t n = 0; n < strlen(text); n++)
		assert_int_equal(http_request_head(text, n, &h), 0);
	assert_int_equal(request(text), (int)strlen(text));
}

static void a_head_of_two_meanings_is_refused(void **state)
{
	static const char *const bad[] = {
		"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length:\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n",
		"GET / HTTP/1.1\r\nHost: a\n\r\n",
		"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
		"GET / HTTP/1.1\r\n folded: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
		"GET  / HTTP/1.1\r\n\r\n",
		"get / HTTP/1.1\r\n\r\n",
		"GET relative HTTP/1.1\r\n\r\n",
		"GET /a/../b HTTP/1.1\r\n\r\n",
		"GET /a/%2e%2e HTTP/1.1\r\n\r\n",
		"GET /%00 HTTP/1.1\r\n\r\n",
		"GET /%4 HTTP/1.1\r\n\r\n",
		"GET /\r\n\r\n",
		"\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(request(bad[i]), -EPROTO);
	assert_int_equal(response("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"
				  "Transfer-Encoding: chunked\r\n\r\n"),
			 -EPROTO);
}

static void what_we_do_not_speak_is_named_so(void **state)
{
	assert_int_equal(request("GET / HTTP/1.0\r\n\r\n"), -EOPNOTSUPP);
	assert_int_equal(request("PROPPATCH / HTTP/1.1\r\n\r\n"), -EOPNOTSUPP);
	assert_int_equal(request("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
			 -EOPNOTSUPP);
}

static void limits_hold(void **state)
{
	static char big[HTTP_HEAD_MAX + 64];

	memset(big, 'a', sizeof(big));
	memcpy(big, "GET /", 5);
	assert_int_equal(http_request_head(big, sizeof(big), &h), -E2BIG);
	assert_int_equal(request("POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n"), -E2BIG);
	assert_int_equal(request("POST / HTTP/1.1\r\nContent-Length: 9999999999999\r\n\r\n"),
			 -E2BIG);
}

/* However the bytes are cut, the same body comes out. */
static void chunks_give_the_body_in_any_cut(void **state)
{
	const char *in = "5\r\nhello\r\n1\r\n,\r\nA\r\n0123456789\r\n0\r\n\r\n";

	for (size_t cut = 1; cut <= strlen(in); cut++) {
		struct http_chunks c = { 0 };
		char body[64];
		size_t len = 0, at = 0;

		while (!c.done) {
			const uint8_t *data;
			size_t used, n;

			assert_true(at < strlen(in));
			assert_int_equal(http_chunks_step(&c, (const uint8_t *)in + at,
							  MIN(cut, strlen(in) - at), &used, &data,
							  &n),
					 0);
			memcpy(body + len, data ? data : (const uint8_t *)"", n);
			len += n;
			at += used;
		}
		body[len] = '\0';
		assert_string_equal(body, "hello,0123456789");
		assert_int_equal(at, strlen(in));
	}
}

static void bad_chunks_are_refused(void **state)
{
	static const char *const bad[] = { "\r\n",    "g\r\n",     "5;x=1\r\n",
					   "1\r\nab", "0\r\nX: 1", "5\nhello" };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct http_chunks c = { 0 };
		size_t at = 0;
		int r = 0;

		while (r == 0 && at < strlen(bad[i])) {
			const uint8_t *data;
			size_t used, n;

			r = http_chunks_step(&c, (const uint8_t *)bad[i] + at, strlen(bad[i]) - at,
					     &used, &data, &n);
			at += used;
		}
		assert_int_equal(r, -EPROTO);
	}
}

static void routes_match_by_segments(void **state)
{
	char args[HTTP_ARGS_MAX][HTTP_ARG_MAX];

	assert_int_equal(http_route_match("/v1/tenants", "/v1/tenants", args), 0);
	assert_int_equal(http_route_match("/v1/tenants/:name", "/v1/tenants/bob", args), 1);
	assert_string_equal(args[0], "bob");
	assert_int_equal(http_route_match("/v1/t/:name/p/:pid", "/v1/t/bob/p/17", args), 2);
	assert_string_equal(args[1], "17");
	assert_int_equal(http_route_match("/v1/tenants/:name", "/v1/tenants/", args), -ENOENT);
	assert_int_equal(http_route_match("/v1/tenants/:name", "/v1/tenants", args), -ENOENT);
	assert_int_equal(http_route_match("/v1/tenants", "/v1/tenants/x", args), -ENOENT);
}

static int from(uint64_t next, uint64_t life, uint64_t number, uint64_t *first)
{
	const struct cursor_ring r = { .life = 0x1f, .next = next, .kept = 4096 };

	return cursor_from(&r, life, number, first);
}

/* Who follows goes on exactly behind what he has, or is told that he has missed something. */
static void a_cursor_goes_on_or_is_told_too_old(void **state)
{
	const struct cursor_ring young = { .life = 1, .next = 4097, .kept = 4096 },
				 old = { .life = 1, .next = 5000, .kept = 4096 };
	uint64_t first = 0;

	assert_int_equal(cursor_oldest(&young), 1);
	assert_int_equal(cursor_oldest(&old), 904);
	/* Nothing is forgotten yet. */
	assert_int_equal(from(4097, 0x1f, 0, &first), 0);
	assert_int_equal(first, 1);
	/* The first one is. */
	assert_int_equal(from(4098, 0x1f, 0, &first), -ERANGE);
	assert_int_equal(from(4098, 0x1f, 1, &first), 0);
	assert_int_equal(first, 2);
	/* Many rounds later: 96000 is the oldest of 4,096 before 100096. */
	assert_int_equal(from(100096, 0x1f, 95998, &first), -ERANGE);
	assert_int_equal(from(100096, 0x1f, 95999, &first), 0);
	assert_int_equal(first, 96000);
	/* The newest: nothing is behind it. */
	assert_int_equal(from(100096, 0x1f, 100095, &first), 0);
	assert_int_equal(first, 100096);
	assert_int_equal(from(100096, 0x1f, 100096, &first), -EINVAL);
	assert_int_equal(from(100096, 0x1f, UINT64_MAX, &first), -EINVAL);
	assert_int_equal(from(100096, 0x20, 100095, &first), -ESTALE);
}

static void a_cursor_is_read_strictly(void **state)
{
	static const char *const bad[] = { "",
					   "-",
					   "1f",
					   "1f-",
					   "-7",
					   "1f-7x",
					   "1F-7",
					   "1f 7",
					   "1f-7-",
					   "1f-18446744073709551616",
					   "10000000000000000-1" };
	uint64_t life, number;

	assert_int_equal(cursor_read("1f-7", &life, &number), 0);
	assert_true(life == 0x1f && number == 7);
	assert_int_equal(cursor_read("ffffffffffffffff-18446744073709551615", &life, &number), 0);
	assert_true(life == UINT64_MAX && number == UINT64_MAX);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(cursor_read(bad[i], &life, &number), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_gives_its_parts),
		cmocka_unit_test(a_part_of_a_head_waits_for_the_rest),
		cmocka_unit_test(a_head_of_two_meanings_is_refused),
		cmocka_unit_test(what_we_do_not_speak_is_named_so),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(chunks_give_the_body_in_any_cut),
		cmocka_unit_test(bad_chunks_are_refused),
		cmocka_unit_test(routes_match_by_segments),
		cmocka_unit_test(a_cursor_goes_on_or_is_told_too_old),
		cmocka_unit_test(a_cursor_is_read_strictly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
