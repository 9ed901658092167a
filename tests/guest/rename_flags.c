/* SPDX-License-Identifier: Apache-2.0 */
/* rename_flags.c - rename over, NOREPLACE, EXCHANGE, directories. */
#include "tests/guest/guest.h"

static void put(const char *name, const char *text)
{
	int fd = scratch(name, true);

	must(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static const char *get(const char *name)
{
	static char text[16];
	int fd = open(name, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	must(n >= 0);
	text[n] = 0;
	close(fd);
	return text;
}

int main(void)
{
	must(mkdir("rename.d", 0700) == 0 && chdir("rename.d") == 0);
	put("a", "A");
	put("b", "B");
	fails(EEXIST, renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
	must(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE) == 0);
	say("a holds %s", get("a"));
	must(rename("a", "b") == 0);
	say("b holds %s", get("b"));
	fails(ENOENT, rename("a", "c"));
	must(mkdir("d", 0700) == 0 && mkdir("d/e", 0700) == 0);
	fails(EINVAL, rename("d", "d/e/f"));
	fails(EISDIR, rename("b", "d"));
	fails(ENOTDIR, rename("d", "b"));
	fails(ENOTEMPTY, rmdir("d"));
	must(link("b", "hard") == 0 && rename("b", "hard") == 0);
	say("two names of one file stay two: %d", access("b", F_OK) == 0);
	must(unlink("b") == 0 && unlink("hard") == 0 && rmdir("d/e") == 0 && rmdir("d") == 0);
	must(chdir("..") == 0 && rmdir("rename.d") == 0);
	return 0;
}
