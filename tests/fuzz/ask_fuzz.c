/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask_fuzz - a tenant's requests on their way through a guest kernel, both halves: mutated HTTP and
 * JSON that it reads, and whatever a broken-into one says to pandod instead. Without arguments:
 * seeded rounds; with: each argument is a file of one request. What is checked besides the
 * sanitizers: what was read means the same when it is written and read again, and what pandod makes
 * of any numbers is a request of a row for tenants and of nobody else.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/rand.h"
#include "cmd/ctl/ask.h"
#include "tests/lib/fuzz.h"

static const char *const seeds[] = {
	"GET /v1/nodes HTTP/1.1\r\n\r\n",
	"GET /v1/events?since=1f-7&follow=1 HTTP/1.1\r\n\r\n",
	"GET /v1/usage?since=3600 HTTP/1.1\r\n\r\n",
	"GET /v1/quota?tenant=alice HTTP/1.1\r\n\r\n",
	"GET /v1/processes/4711/why HTTP/1.1\r\n\r\n",
	"GET /v1/tenants/-/sessions HTTP/1.1\r\n\r\n",
	"POST /v1/processes/12/migrate HTTP/1.1\r\nContent-Length: 13\r\n\r\n{\"node\":\"n2\"}",
	"POST /v1/tenants/-/sessions/7/attach HTTP/1.1\r\n\r\n{\"rows\":2,\"cols\":8,\"client\":1}",
	"GET /v1/tenants HTTP/1.1\r\n\r\n",
};

static const char *const pieces[] = { "bob", "-1",      "99999999999999999999", "%2f",
				      "0",   "since=1", "\"n\\u0000\"",         "\xff",
				      "-",   "follow=", "\"rows\":1e9,",        "/" };

static bool same(const struct ctl_ask *a, const struct ctl_ask *b)
{
	return a->route == b->route && a->pid == b->pid && a->session == b->session &&
	       strcmp(a->node, b->node) == 0 && a->has_since == b->has_since &&
	       a->since_life == b->since_life && a->since == b->since && a->follow == b->follow &&
	       a->client == b->client && a->has_from == b->has_from && a->from == b->from &&
	       a->rows == b->rows && a->cols == b->cols && a->agent == b->agent;
}

/* Any numbers: refused, or a request that a row for tenants takes. */
static bool write_one(const struct ctl_ask *ask, struct ctl_ask *again)
{
	const struct ctl_route *row;
	struct http_head head;
	const char *why;
	ctl_args args;
	json_t *body;
	int r;

	if (ctl_ask_write(ask, &head, &body) < 0)
		return false;
	row = ctl_route_find(head.method, head.path, args);
	CHECK(row != NULL && row->id == ask->route && (row->who & CTL_INSIDE) != 0);
	CHECK(memchr(head.query, '\0', sizeof(head.query)) != NULL && json_is_object(body));
	r = ctl_ask_read(row, args, &head, body, "alice", again, &why);
	json_decref(body);
	return r == 0;
}

static void read_one(const uint8_t *in, size_t len)
{
	const struct ctl_route *row;
	struct http_head head;
	struct ctl_ask ask, again;
	const char *why = NULL;
	ctl_args args;
	json_t *body;
	int n = http_request_head(in, len, &head);

	row = n > 0 ? ctl_route_find(head.method, head.path, args) : NULL;
	if (row == NULL)
		return;
	body = json_loadb((const char *)in + n, len - (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(body)) {
		json_decref(body);
		body = json_object();
	}
	if (ctl_ask_read(row, args, &head, body, "alice", &ask, &why) == 0)
		CHECK(!write_one(&ask, &again) || same(&ask, &again));
	else
		CHECK(why != NULL);
	json_decref(body);
}

static void lie(struct rand *r)
{
	struct ctl_ask ask = { .route = (enum ctl_route_id)rand_below(r, CTL_ROUTE_END + 3) },
		       again;

	ask.pid = (int)(rand_below(r, 3) ? rand_below(r, 5000000) : rand_next(r));
	ask.session = rand_next(r);
	for (size_t i = 0; i < rand_below(r, sizeof(ask.node)); i++)
		ask.node[i] = (char)(rand_below(r, 8) ? 'a' + rand_below(r, 26) : rand_next(r));
	ask.has_since = rand_below(r, 2);
	ask.since_life = rand_next(r);
	ask.since = rand_next(r) >> rand_below(r, 64);
	ask.follow = rand_below(r, 2);
	ask.client = rand_next(r);
	ask.has_from = rand_below(r, 2);
	ask.from = rand_next(r);
	ask.rows = (uint32_t)(rand_next(r) >> rand_below(r, 64));
	ask.cols = (uint32_t)(rand_next(r) >> rand_below(r, 64));
	(void)write_one(&ask, &again);
}

static const struct fuzz_texts texts = { seeds, ARRAY_LEN(seeds), pieces, ARRAY_LEN(pieces), 3 };

static size_t make(struct rand *r, uint8_t *out, size_t cap)
{
	return fuzz_text(&texts, r, out, cap);
}

int main(int argc, char **argv)
{
	static const struct fuzz f = { .one = read_one,
				       .make = make,
				       .besides = lie,
				       .cap = 4096,
				       .seed = 11,
				       .rounds = 100000 };

	return fuzz_main(&f, argc, argv);
}
