/* SPDX-License-Identifier: Apache-2.0 */
/* out.c - tables, JSON, CSV and error lines. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "cmd/pando/cmd.h"

int add_shell_word(struct buf *b, const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "/._-+=:,@%";
	int r;

	if (word[0] != '\0' && word[strspn(word, plain)] == '\0')
		return buf_addf(b, "%s", word);
	r = buf_addf(b, "'");
	for (; *word != '\0' && r == 0; word++)
		r = *word == '\'' ? buf_addf(b, "'\\''") : buf_add(b, word, 1);
	return r == 0 ? buf_addf(b, "'") : r;
}

/* @text with the --dir behind each "pando" that begins a command: what can be pasted. */
static int add_pasted(struct buf *b, const struct ctx *c, const char *text)
{
	static const char name[] = "pando ", next[] = ", pando ";
	int r = 0;

	while (r == 0 && *text != '\0') {
		size_t n = strncmp(text, name, sizeof(name) - 1) == 0 ? sizeof(name) - 1 : 0;
		const char *end = strstr(text, next);
		size_t rest = end ? (size_t)(end - text) + 2 : strlen(text);

		if (n > 0) {
			r = buf_addf(b, "%s--dir ", name);
			r = r == 0 ? add_shell_word(b, c->said) : r;
			r = r == 0 ? buf_addf(b, " ") : r;
		}
		r = r == 0 ? buf_add(b, text + n, rest - n) : r;
		text += rest;
	}
	return r;
}

/* As it is, where nothing has to be said with it or there is no memory. */
static const char *pasted(struct buf *b, const struct ctx *c, const char *text)
{
	if (text == NULL || c->said == NULL || strstr(text, " --dir ") != NULL)
		return text;
	return add_pasted(b, c, text) == 0 ? buf_str(b) : text;
}

void print_try(FILE *to, const struct ctx *c, const char *fmt, ...)
{
	cleanup_buf struct buf text = BUF_INIT, with = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	if (buf_vaddf(&text, fmt, ap) == 0)
		fprintf(to, "; try: %s\n", pasted(&with, c, buf_str(&text)));
	va_end(ap);
}

void tell_silent(const struct ctx *c, const json_t *body)
{
	const json_t *name;
	size_t i;

	json_array_foreach(json_object_get(body, "silent"), i, name)
	{
		fprintf(stderr, "pando: node %s did not answer",
			json_string_value(name) ? json_string_value(name) : "?");
		print_try(stderr, c, "pando nodes");
	}
}

int fail(struct ctx *c, int code, const char *try_next, const char *fmt, ...)
{
	cleanup_buf struct buf line = BUF_INIT, with = BUF_INIT;
	const char *text = NULL;
	va_list ap;

	try_next = pasted(&with, c, try_next);
	va_start(ap, fmt);
	if (buf_vaddf(&line, fmt, ap) == 0)
		text = buf_str(&line);
	va_end(ap);
	if (text == NULL)
		text = "cannot say what failed: out of memory";
	if (c->format == FORMAT_JSON) {
		json_t *j =
			json_pack("{s:s, s:i, s:s*}", "error", text, "code", code, "try", try_next);

		if (j != NULL)
			(void)json_dumpf(j, stderr, JSON_COMPACT);
		fputc('\n', stderr);
		json_decref(j);
	} else if (try_next != NULL) {
		fprintf(stderr, "pando: %s; try: %s\n", text, try_next);
	} else {
		fprintf(stderr, "pando: %s\n", text);
	}
	return code;
}

void text_bytes(char out[32], uint64_t bytes)
{
	static const char units[] = "BKMGTP";
	double v = (double)bytes;
	int u = 0;

	while (v >= 1024 && u < 5) {
		v /= 1024;
		u++;
	}
	if (u == 0)
		(void)snprintf(out, 32, "%" PRIu64, bytes);
	else
		(void)snprintf(out, 32, v < 10 ? "%.1f%c" : "%.0f%c", v, units[u]);
}

void text_ns(char out[32], uint64_t ns)
{
	double s = (double)ns / 1e9;

	if (s < 1)
		(void)snprintf(out, 32, "%.1fms", s * 1e3);
	else if (s < 60)
		(void)snprintf(out, 32, "%.1fs", s);
	else if (s < 3600)
		(void)snprintf(out, 32, "%d:%02d", (int)s / 60, (int)s % 60);
	else
		(void)snprintf(out, 32, "%dh%02dm", (int)(s / 3600), (int)(s / 60) % 60);
}

static void text_since(char out[32], uint64_t since_ms)
{
	uint64_t now_ms = clock_wall_ns() / NS_PER_MS;

	if (since_ms == 0)
		(void)snprintf(out, 32, "-");
	else
		text_ns(out, now_ms > since_ms ? (now_ms - since_ms) * NS_PER_MS : 0);
}

/* What a cell shows; @out is its storage where needed. */
static const char *cell(const json_t *row, const struct col *col, bool raw, char out[32])
{
	const json_t *v = json_object_get(row, col->key);

	if (json_is_string(v))
		return json_string_value(v);
	if (json_is_boolean(v))
		return json_is_true(v) ? "yes" : "no";
	if (!json_is_number(v))
		return raw ? "" : "-";
	if (json_is_real(v))
		(void)snprintf(out, 32, "%.2f", json_real_value(v));
	else if (!raw && col->kind == COL_BYTES)
		text_bytes(out, (uint64_t)json_integer_value(v));
	else if (!raw && col->kind == COL_NS)
		text_ns(out, (uint64_t)json_integer_value(v));
	else if (!raw && col->kind == COL_SINCE)
		text_since(out, (uint64_t)json_integer_value(v));
	else
		(void)snprintf(out, 32, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	return out;
}

/* RFC 4180: quotes where a comma, quote or line end is inside. */
static void print_csv_cell(const char *text)
{
	if (strpbrk(text, ",\"\r\n") == NULL) {
		fputs(text, stdout);
		return;
	}
	putchar('"');
	for (; *text; text++) {
		if (*text == '"')
			putchar('"');
		putchar(*text);
	}
	putchar('"');
}

static void print_csv(const json_t *rows, const struct col *cols, size_t n)
{
	size_t i;
	json_t *row;

	for (size_t k = 0; k < n; k++)
		printf("%s%s", k ? "," : "", cols[k].key);
	putchar('\n');
	json_array_foreach(rows, i, row)
	{
		for (size_t k = 0; k < n; k++) {
			char out[32];

			if (k)
				putchar(',');
			print_csv_cell(cell(row, &cols[k], true, out));
		}
		putchar('\n');
	}
}

int print_plain(const char *text)
{
	int n = 0;

	for (; *text; text++, n++)
		putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
	return n;
}

static void print_table_cell(struct ctx *c, const struct col *col, const char *text, int width,
			     bool last)
{
	const char *colour = NULL;
	bool right = col->kind == COL_NUMBER || col->kind == COL_BYTES || col->kind == COL_NS ||
		     col->kind == COL_SINCE;
	int len = (int)strlen(text);

	if (c->colour && col->kind == COL_STATE)
		colour = strcmp(text, "alive") == 0 || strcmp(text, "ok") == 0 ? "\033[32m"
									       : "\033[31m";
	if (right)
		printf("%*s", width - len, "");
	if (colour)
		fputs(colour, stdout);
	len = print_plain(text);
	if (colour)
		fputs("\033[0m", stdout);
	if (!last)
		printf("%*s", (right ? 0 : width - len) + 2, "");
}

static void print_table(struct ctx *c, const json_t *rows, const struct col *cols, size_t n)
{
	int width[16];
	char out[32];
	json_t *row;
	size_t i;

	n = MIN(n, ARRAY_LEN(width));
	for (size_t k = 0; k < n; k++) {
		width[k] = (int)strlen(cols[k].title);
		json_array_foreach(rows, i, row)
		{
			int len = (int)strlen(cell(row, &cols[k], false, out));

			width[k] = MAX(width[k], len);
		}
	}
	if (c->colour)
		fputs("\033[1m", stdout);
	for (size_t k = 0; k < n; k++) {
		struct col head = { .kind = cols[k].kind == COL_STATE ? COL_TEXT : cols[k].kind };

		print_table_cell(c, &head, cols[k].title, width[k], k + 1 == n);
	}
	fputs(c->colour ? "\033[0m\n" : "\n", stdout);
	json_array_foreach(rows, i, row)
	{
		for (size_t k = 0; k < n; k++)
			print_table_cell(c, &cols[k], cell(row, &cols[k], false, out), width[k],
					 k + 1 == n);
		putchar('\n');
	}
}

int print_rows(struct ctx *c, const json_t *rows, const struct col *cols, size_t n)
{
	switch (c->format) {
	case FORMAT_JSON:
		return print_json(rows);
	case FORMAT_CSV:
		print_csv(rows, cols, n);
		break;
	default:
		print_table(c, rows, cols, n);
	}
	return CODE_DONE;
}

int print_json(const json_t *j)
{
	(void)json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
	return CODE_DONE;
}

const char *json_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

int64_t json_number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

int parse_milli(const char *text, long *milli)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end != '\0' || !(v >= 0.001) || v > 4096)
		return -EINVAL;
	*milli = (long)(v * 1000 + 0.5);
	return 0;
}

int parse_bytes(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	const char *u;
	char *end;
	double v = strtod(text, &end);
	double scale = 1;

	if (end == text || !(v > 0))
		return -EINVAL;
	if (*end != '\0') {
		u = strchr(units, *end);
		if (u == NULL || end[1] != '\0')
			return -EINVAL;
		for (const char *p = units; p <= u; p++)
			scale *= 1024;
	}
	if (v * scale > 1e18)
		return -EINVAL;
	*bytes = (uint64_t)(v * scale);
	return 0;
}

int parse_count(const char *text, long min, long max, long *out)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0 || v < min || v > max)
		return -EINVAL;
	*out = v;
	return 0;
}
