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
	/* A copy of the exact size, so that the sanitizer sees a read behind it. */
	uint8_t *copy = malloc(len + 1);
	struct http_head h;
	int n;

	CHECK(copy != NULL);
	memcpy(copy, in, len);
	n = fn(copy, len, &h);
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

static size_t mutate(struct rand *r, uint8_t *out, size_t cap)
{
	const char *seed = seeds[rand_below(r, ARRAY_LEN(seeds))];
	size_t len = strlen(seed);

	memcpy(out, seed, len);
	for (uint64_t n = rand_below(r, 6); n > 0; n--) {
		size_t at = rand_below(r, len + 1);
		const char *piece = pieces[rand_below(r, ARRAY_LEN(pieces))];

		switch (rand_below(r, 4)) {
		case 0:
			if (at < len)
				out[at] = (uint8_t)rand_next(r);
			break;
		case 1:
			if (len + strlen(piece) < cap) {
				memmove(out + at + strlen(piece), out + at, len - at);
				memcpy(out + at, piece, strlen(piece));
				len += strlen(piece);
			}
			break;
		case 2:
			if (at < len) {
				memmove(out + at, out + at + 1, len - at - 1);
				len--;
			}
			break;
		default:
			len = at;
		}
	}
	return len;
}

static int from_file(const char *path)
{
	static uint8_t bytes[1 << 16];
	FILE *f = fopen(path, "rb");

	if (f == NULL) {
		perror(path);
		return 1;
	}
	one(bytes, fread(bytes, 1, sizeof(bytes), f));
	return fclose(f) != 0;
}

int main(int argc, char **argv)
{
	static uint8_t in[4096];
	struct rand r;
	int bad = 0;

	for (int i = 1; i < argc; i++)
		bad |= from_file(argv[i]);
	if (argc > 1)
		return bad;
	rand_seed(&r, 7);
	for (int i = 0; i < 400000; i++)
		one(in, mutate(&r, in, sizeof(in)));
	return 0;
}
