/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_fuzz - the control API's readers on mutated heads and chunks. Without arguments: seeded
 * rounds; with: each argument is a file of one input. What is checked besides the sanitizers: a
 * head that was accepted lies inside its input, is accepted again with other bytes behind it, and
 * no proper prefix of it is accepted.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/rand.h"
#include "cmd/ctl/core/http.h"
#include "tests/lib/fuzz.h"

static const char *const seeds[] = {
	"GET /v1/nodes HTTP/1.1\r\nHost: pando\r\n\r\n",
	"POST /v1/tenants/alice/sessions?wait=1 HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789",
	"DELETE /v1/tenants/%61 HTTP/1.1\r\nConnection: close\r\nX-a:\tb \r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
	"1f\r\n0123456789012345678901234567890\r\n0\r\n\r\n",
};

static const char *const pieces[] = { "\r\n", "\n",  "\r",    "\r\n\r\n",         "%2e%2e",
				      " ",    ":",   "0\r\n", "Content-Length: ", "chunked",
				      "\t",   "%00", "/../",  "HTTP/1.1",         "ffffffff\r\n" };

static void chunks(const uint8_t *in, size_t len)
{
	struct http_chunks c = { 0 };
	size_t at = 0;

	while (at < len && !c.done) {
		const uint8_t *data;
		size_t used = 0, n;

		if (http_chunks_step(&c, in + at, len - at, &used, &data, &n) < 0)
			return;
		CHECK(used > 0 && used <= len - at && n <= used);
		at += used;
	}
}

typedef int (*head_fn)(const void *bytes, size_t len, struct http_head *out);

static void head(head_fn fn, const uint8_t *in, size_t len)
{
	uint8_t *copy = fuzz_copy(in, len);
	struct http_head h;
	int n = fn(copy, len, &h);

	if (n > 0) {
		CHECK((size_t)n <= len && memchr(h.path, '\0', sizeof(h.path)) != NULL);
		CHECK(fn(copy, (size_t)n, &h) == n);
		CHECK(fn(copy, (size_t)n - 1, &h) <= 0);
	}
	free(copy);
}

static void one(const uint8_t *in, size_t len)
{
	char args[HTTP_ARGS_MAX][HTTP_ARG_MAX];
	char value[32];
	struct http_head h;

	head(http_request_head, in, len);
	head(http_response_head, in, len);
	chunks(in, len);
	if (http_request_head(in, len, &h) > 0) {
		(void)!http_query_get(h.query, "wait", value, sizeof(value));
		(void)!http_route_match("/v1/tenants/:name/sessions/:pid", h.path, args);
	}
}

static const struct fuzz_texts texts = { seeds, ARRAY_LEN(seeds), pieces, ARRAY_LEN(pieces), 5 };

static size_t make(struct rand *r, uint8_t *out, size_t cap)
{
	return fuzz_text(&texts, r, out, cap);
}

int main(int argc, char **argv)
{
	static const struct fuzz f = {
		.one = one, .make = make, .cap = 4096, .seed = 7, .rounds = 400000
	};

	return fuzz_main(&f, argc, argv);
}
