/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits_test.c - docs/limits.md tells every system call that differs from a host.
 *
 * Its part between two marks is what table.def says, word for word. After a
 * change of the table: PANDO_UPDATE_DOCS=1 build/gcc/unit/limits_test
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "kernel/sys/sys.h"

#define FILE_NAME "docs/limits.md"
#define BEGIN     "<!-- from kernel/sys/table.def -->\n"
#define END       "<!-- end of kernel/sys/table.def -->\n"

static void add(struct buf *b, const char *text)
{
	assert_int_equal(buf_add(b, text, strlen(text)), 0);
}

static bool says_the_same(const struct sys_row *a, const struct sys_row *b)
{
	return a->level == b->level && a->verdict == b->verdict && strcmp(a->note, b->note) == 0;
}

/* Rows that say the same share a line, where the first of them stands. */
static void add_rows(struct buf *b, enum sys_level level)
{
	size_t count;
	const struct sys_row *rows = sys_rows(&count);

	for (size_t i = 0; i < count; i++) {
		size_t first = 0;

		while (!says_the_same(&rows[first], &rows[i]))
			first++;
		if (rows[i].level != level || first != i)
			continue;
		if (level == SYS_NONE)
			assert_int_equal(
				buf_addf(b, "| %s ",
					 strerrorname_np(SYS_VERDICT_ERRNO(rows[i].verdict))),
				0);
		for (size_t k = i; k < count; k++)
			if (says_the_same(&rows[k], &rows[i]))
				assert_int_equal(
					buf_addf(b, "%s`%s`", k > i ? ", " : "| ", rows[k].name),
					0);
		assert_int_equal(buf_addf(b, " | %s |\n", rows[i].note), 0);
	}
}

static void render(struct buf *b)
{
	add(b, BEGIN);
	add(b, "\nWhat differs from a host:\n\n| call | how |\n|---|---|\n");
	add_rows(b, SYS_PART);
	add(b, "\nWhat the machine does not offer:\n\n| errno | call | because |\n|---|---|---|\n");
	add_rows(b, SYS_NONE);
	add(b, "\nA system call that is in no row, and any x32 number, is ENOSYS. A 32-bit entry "
	       "(`int 0x80`, a 32-bit program) kills the\nprocess with SIGSYS.\n\n");
	add(b, END);
}

static void slurp(struct buf *b)
{
	FILE *f = fopen(FILE_NAME, "r");
	char block[4096];
	size_t n;

	if (f == NULL)
		fail_msg("cannot open " FILE_NAME ": run from the root of the tree");
	while ((n = fread(block, 1, sizeof(block), f)) > 0)
		assert_int_equal(buf_add(b, block, n), 0);
	fclose(f);
}

static void update(const char *old, const char *begin, const char *end, struct buf *fresh)
{
	FILE *f = fopen(FILE_NAME ".new", "w");

	assert_non_null(f);
	fprintf(f, "%.*s%s%s", (int)(begin - old), old, buf_str(fresh), end);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(FILE_NAME ".new", FILE_NAME), 0);
}

static void limits_tell_every_partial_and_missing_call(void **state)
{
	cleanup_buf struct buf doc = BUF_INIT, want = BUF_INIT;
	const char *text, *begin, *end;
	char *line, *save = NULL;

	slurp(&doc);
	render(&want);
	text = buf_str(&doc);
	begin = strstr(text, BEGIN);
	end = strstr(text, END);
	if (begin == NULL || end == NULL)
		fail_msg(FILE_NAME " lacks the marks of its system call section");
	end += strlen(END);
	if (getenv("PANDO_UPDATE_DOCS") != NULL) {
		update(text, begin, end, &want);
		return;
	}
	if ((size_t)(end - begin) == want.len && memcmp(begin, want.data, want.len) == 0)
		return;
	for (line = strtok_r((char *)buf_str(&want), "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save))
		if (strstr(text, line) == NULL)
			print_error("missing: %s\n", line);
	fail_msg(FILE_NAME " is not what the table says; try: PANDO_UPDATE_DOCS=1 %s",
		 program_invocation_name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_tell_every_partial_and_missing_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
