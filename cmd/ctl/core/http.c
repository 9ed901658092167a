/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/ctl/core/http.h"

#include <errno.h>
#include <string.h>

struct span {
	const char *p;
	size_t len;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* tchar of RFC 9110, section 5.6.2 */
static bool is_token(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool span_is(struct span s, const char *word)
{
	return s.len == strlen(word) && memcmp(s.p, word, s.len) == 0;
}

static bool span_is_nocase(struct span s, const char *word)
{
	if (s.len != strlen(word))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (c != word[i])
			return false;
	}
	return true;
}

/* Length of the head at @bytes with its empty line, 0: not all there. Refuses bad line ends early.
 */
static int head_length(const char *bytes, size_t len)
{
	size_t scan = MIN(len, (size_t)HTTP_HEAD_MAX);

	for (size_t i = 0; i < scan; i++) {
		unsigned char c = (unsigned char)bytes[i];

		if (c == '\n' && (i == 0 || bytes[i - 1] != '\r'))
			return -EPROTO;
		if (c == '\r' && i + 1 < len && bytes[i + 1] != '\n')
			return -EPROTO;
		if ((c < 0x20 && c != '\r' && c != '\n' && c != '\t') || c == 0x7f)
			return -EPROTO;
		if (c == '\n' && i >= 3 && bytes[i - 2] == '\n')
			return (int)i + 1;
	}
	return len >= HTTP_HEAD_MAX ? -E2BIG : 0;
}

/* Cuts the next line off @rest; it is there, head_length() has seen to that. */
static struct span next_line(struct span *rest)
{
	const char *end = memchr(rest->p, '\r', rest->len);
	struct span line = { rest->p, (size_t)(end - rest->p) };

	rest->p += line.len + 2;
	rest->len -= line.len + 2;
	return line;
}

static int length_parse(struct span v, uint64_t *out)
{
	uint64_t n = 0;

	if (v.len == 0)
		return -EPROTO;
	if (v.len > 12)
		return -E2BIG;
	for (size_t i = 0; i < v.len; i++) {
		if (!is_digit(v.p[i]))
			return -EPROTO;
		n = n * 10 + (uint64_t)(v.p[i] - '0');
	}
	*out = n;
	return 0;
}

static int header_apply(struct span name, struct span value, bool request, struct http_head *out)
{
	if (span_is_nocase(name, "content-length")) {
		if (out->has_length)
			return -EPROTO;
		out->has_length = true;
		return length_parse(value, &out->length);
	}
	if (span_is_nocase(name, "transfer-encoding")) {
		if (request)
			return -EOPNOTSUPP;
		if (out->chunked || !span_is_nocase(value, "chunked"))
			return -EPROTO;
		out->chunked = true;
	} else if (span_is_nocase(name, "connection")) {
		out->close = out->close || span_is_nocase(value, "close");
	}
	return 0;
}

static int header_parse(struct span line, bool request, struct http_head *out)
{
	struct span name = { line.p, 0 }, value;

	while (name.len < line.len && is_token(line.p[name.len]))
		name.len++;
	if (name.len == 0 || name.len == line.len || line.p[name.len] != ':')
		return -EPROTO;
	value = (struct span){ line.p + name.len + 1, line.len - name.len - 1 };
	while (value.len > 0 && (value.p[0] == ' ' || value.p[0] == '\t'))
		value.p++, value.len--;
	while (value.len > 0 && (value.p[value.len - 1] == ' ' || value.p[value.len - 1] == '\t'))
		value.len--;
	return header_apply(name, value, request, out);
}

static int headers_parse(struct span rest, bool request, struct http_head *out)
{
	for (int n = 0;; n++) {
		struct span line = next_line(&rest);
		int r;

		if (line.len == 0)
			break;
		if (n == HTTP_HEADERS_MAX)
			return -E2BIG;
		r = header_parse(line, request, out);
		if (r < 0)
			return r;
	}
	if (out->chunked && out->has_length)
		return -EPROTO;
	return 0;
}

/* Decodes %XX of @in into @out with a NUL; returns the length. A decoded NUL or control is refused.
 */
static int percent_decode(struct span in, char *out, size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; i < in.len; i++) {
		char c = in.p[i];

		if (c == '%') {
			int hi = i + 2 < in.len ? hex_value(in.p[i + 1]) : -1;
			int lo = i + 2 < in.len ? hex_value(in.p[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return -EPROTO;
			c = (char)(hi * 16 + lo);
			i += 2;
		}
		if ((unsigned char)c < 0x20 || c == 0x7f)
			return -EPROTO;
		if (n + 1 >= cap)
			return -E2BIG;
		out[n++] = c;
	}
	out[n] = '\0';
	return (int)n;
}

/* Refuses "." and ".." segments. */
static bool path_is_plain(const char *path)
{
	for (const char *s = path; s != NULL; s = strchr(s + 1, '/')) {
		if (strcmp(s, "/.") == 0 || strcmp(s, "/..") == 0 || strncmp(s, "/./", 3) == 0 ||
		    strncmp(s, "/../", 4) == 0)
			return false;
	}
	return path[0] == '/';
}

static int target_parse(struct span target, struct http_head *out)
{
	const char *mark = memchr(target.p, '?', target.len);
	struct span path = { target.p, mark ? (size_t)(mark - target.p) : target.len };
	int r = percent_decode(path, out->path, sizeof(out->path));

	if (r < 0)
		return r;
	if (!path_is_plain(out->path))
		return -EPROTO;
	if (mark != NULL) {
		size_t len = target.len - path.len - 1;

		if (len >= sizeof(out->query))
			return -E2BIG;
		memcpy(out->query, mark + 1, len);
	}
	return 0;
}

/* METHOD SP TARGET SP HTTP/1.1 */
static int request_line(struct span line, struct http_head *out)
{
	const char *sp1 = memchr(line.p, ' ', line.len), *sp2;
	struct span version;

	if (sp1 == NULL || sp1 == line.p)
		return -EPROTO;
	if ((size_t)(sp1 - line.p) >= HTTP_METHOD_MAX)
		return -EOPNOTSUPP;
	for (const char *p = line.p; p < sp1; p++) {
		if (*p < 'A' || *p > 'Z')
			return -EPROTO;
		out->method[p - line.p] = *p;
	}
	sp1++;
	sp2 = memchr(sp1, ' ', line.len - (size_t)(sp1 - line.p));
	if (sp2 == NULL || sp2 == sp1)
		return -EPROTO;
	version = (struct span){ sp2 + 1, line.len - (size_t)(sp2 + 1 - line.p) };
	if (!span_is(version, "HTTP/1.1"))
		return version.len == 8 && memcmp(version.p, "HTTP/", 5) == 0 ? -EOPNOTSUPP
									      : -EPROTO;
	return target_parse((struct span){ sp1, (size_t)(sp2 - sp1) }, out);
}

/* HTTP/1.1 SP 3DIGIT SP reason */
static int status_line(struct span line, struct http_head *out)
{
	if (line.len < 13 || memcmp(line.p, "HTTP/1.1 ", 9) != 0 || line.p[12] != ' ')
		return -EPROTO;
	for (int i = 9; i < 12; i++) {
		if (!is_digit(line.p[i]))
			return -EPROTO;
		out->status = out->status * 10 + (line.p[i] - '0');
	}
	return out->status >= 100 && out->status <= 599 ? 0 : -EPROTO;
}

static int head_parse(const void *bytes, size_t len, bool request, struct http_head *out)
{
	struct span rest = { bytes, 0 };
	struct span line;
	int n = head_length(bytes, len), r;

	memset(out, 0, sizeof(*out));
	if (n <= 0)
		return n;
	rest.len = (size_t)n;
	line = next_line(&rest);
	r = request ? request_line(line, out) : status_line(line, out);
	if (r == 0)
		r = headers_parse(rest, request, out);
	return r < 0 ? r : n;
}

int http_request_head(const void *bytes, size_t len, struct http_head *out)
{
	int r = head_parse(bytes, len, true, out);

	if (r > 0 && out->length > HTTP_BODY_MAX)
		return -E2BIG;
	return r;
}

int http_response_head(const void *bytes, size_t len, struct http_head *out)
{
	return head_parse(bytes, len, false, out);
}

int http_query_get(const char *query, const char *key, char *out, size_t cap)
{
	size_t key_len = strlen(key);

	while (*query != '\0') {
		size_t len = strcspn(query, "&");

		if (len > key_len && query[key_len] == '=' && memcmp(query, key, key_len) == 0)
			return percent_decode(
				(struct span){ query + key_len + 1, len - key_len - 1 }, out, cap);
		query += len;
		if (*query == '&')
			query++;
	}
	return -ENOENT;
}

/* ---- chunks: size CRLF data CRLF ... 0 CRLF CRLF; no extensions, no trailers ---- */
enum {
	CH_SIZE = 0,
	CH_SIZE_LF,
	CH_DATA,
	CH_DATA_CR,
	CH_DATA_LF,
	CH_END_CR,
	CH_END_LF,
};

static int chunk_size_byte(struct http_chunks *c, char b)
{
	int v = hex_value(b);

	if (b == '\r' && c->digits > 0) {
		c->state = CH_SIZE_LF;
		return 0;
	}
	if (v < 0)
		return -EPROTO;
	if (++c->digits > HTTP_CHUNK_LINE_MAX / 2)
		return -E2BIG;
	c->left = c->left * 16 + (uint64_t)v;
	return 0;
}

static int chunk_byte(struct http_chunks *c, char b)
{
	switch (c->state) {
	case CH_SIZE:
		return chunk_size_byte(c, b);
	case CH_SIZE_LF:
		c->state = c->left > 0 ? CH_DATA : CH_END_CR;
		return b == '\n' ? 0 : -EPROTO;
	case CH_DATA_CR:
		c->state = CH_DATA_LF;
		return b == '\r' ? 0 : -EPROTO;
	case CH_DATA_LF:
		c->state = CH_SIZE;
		c->digits = 0;
		return b == '\n' ? 0 : -EPROTO;
	case CH_END_CR:
		c->state = CH_END_LF;
		return b == '\r' ? 0 : -EPROTO;
	case CH_END_LF:
		c->done = true;
		return b == '\n' ? 0 : -EPROTO;
	default:
		return -EPROTO;
	}
}

int http_chunks_step(struct http_chunks *c, const uint8_t *in, size_t len, size_t *used,
		     const uint8_t **data, size_t *data_len)
{
	size_t i = 0;

	*data = NULL;
	*data_len = 0;
	while (i < len && !c->done && c->state != CH_DATA) {
		int r = chunk_byte(c, (char)in[i++]);

		if (r < 0) {
			*used = i;
			return r;
		}
	}
	if (c->state == CH_DATA && i < len) {
		*data = in + i;
		*data_len = (size_t)MIN((uint64_t)(len - i), c->left);
		c->left -= *data_len;
		i += *data_len;
		if (c->left == 0)
			c->state = CH_DATA_CR;
	}
	*used = i;
	return 0;
}

int http_route_match(const char *pattern, const char *path, char args[HTTP_ARGS_MAX][HTTP_ARG_MAX])
{
	int n = 0;

	while (*pattern != '\0' && *path != '\0') {
		size_t len;

		if (*pattern != ':') {
			if (*pattern++ != *path++)
				return -ENOENT;
			continue;
		}
		len = strcspn(path, "/");
		if (len == 0 || len >= HTTP_ARG_MAX || n == HTTP_ARGS_MAX)
			return -ENOENT;
		memcpy(args[n], path, len);
		args[n++][len] = '\0';
		path += len;
		pattern += strcspn(pattern, "/");
	}
	return *pattern == '\0' && *path == '\0' ? n : -ENOENT;
}
