/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - a strict reader of HTTP/1.1 heads and chunks (RFC 9112), as much as the control API
 * uses.
 *
 * Pure: bytes in, facts out; no allocation. Strict on purpose, since two readers that disagree
 * about where a message ends are the classic hole: lines end with CRLF only, no folded headers, no
 * space before a colon, one Content-Length at most and of digits only, never beside
 * Transfer-Encoding, "chunked" is the only transfer coding and in responses only, no control byte
 * anywhere, a path is absolute and free of NUL, "." and ".." segments after decoding.
 *
 * Errors of all readers: -EPROTO malformed; -E2BIG longer than the limits below; -EOPNOTSUPP well
 * formed but not of what we speak (another version, a chunked request).
 */
#ifndef CTL_CORE_HTTP_H
#define CTL_CORE_HTTP_H

#include <stdbool.h>

#include "base/attr.h"

enum {
	HTTP_HEAD_MAX = 8192,  /* bytes of start line and headers */
	HTTP_HEADERS_MAX = 64, /* header lines */
	HTTP_METHOD_MAX = 8,   /* bytes with the NUL */
	HTTP_PATH_MAX = 512,   /* bytes with the NUL */
	HTTP_BODY_MAX = 1 << 20,
	HTTP_CHUNK_LINE_MAX = 16, /* hexadecimal digits of a chunk's size */
};

struct http_head {
	char method[HTTP_METHOD_MAX]; /* requests */
	char path[HTTP_PATH_MAX];     /* requests: decoded, begins with '/', without the query */
	char query[HTTP_PATH_MAX];    /* requests: as it came, without '?' */
	int status;                   /* responses: 100..599 */
	uint64_t length;              /* Content-Length, or 0 */
	bool has_length;
	bool chunked; /* responses */
	bool close;   /* Connection: close */
};

/*
 * Reads the head at the start of @bytes. Returns its length, the empty line included; 0: more bytes
 * are needed; or an error.
 */
must_check int http_request_head(const void *bytes, size_t len, struct http_head *out);
must_check int http_response_head(const void *bytes, size_t len, struct http_head *out);

/* The value of @key in a query "a=b&c=d", decoded. Returns its length, -ENOENT, -EPROTO or -E2BIG.
 */
must_check int http_query_get(const char *query, const char *key, char *out, size_t cap);

/* A chunked body. All zero is its start. */
struct http_chunks {
	unsigned state;
	unsigned digits;
	uint64_t left;
	bool done;
};

/*
 * Eats from @in. @used is what was eaten; @data, @data_len are the body bytes in it (at most one
 * run per call). Returns 0, call again while bytes are left and @c->done is false; or -EPROTO,
 * -E2BIG.
 */
must_check int http_chunks_step(struct http_chunks *c, const uint8_t *in, size_t len, size_t *used,
				const uint8_t **data, size_t *data_len);

/*
 * Does @path match @pattern ("/v1/tenants/:name/sessions")? A ':' segment matches any one segment
 * that is not empty, copied to @args[i] in order. Returns the number of arguments, or -ENOENT.
 */
#define HTTP_ARGS_MAX 4
#define HTTP_ARG_MAX  128
must_check int http_route_match(const char *pattern, const char *path,
				char args[HTTP_ARGS_MAX][HTTP_ARG_MAX]);

#endif
