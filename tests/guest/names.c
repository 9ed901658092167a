/* SPDX-License-Identifier: Apache-2.0 */
/* names.c - UTF-8, spaces, newlines, 255 bytes; symbolic links and their loops. */
#include "tests/guest/guest.h"

#include <dirent.h>

int main(void)
{
	static const char *const list[] = { "grün", "日本語", "two words", "new\nline", "-n", "…" };
	char longest[257], target[64] = "";
	struct dirent **found;
	int n;

	must(mkdir("names.d", 0700) == 0 && chdir("names.d") == 0);
	memset(longest, 'l', 256);
	longest[256] = 0;
	fails(ENAMETOOLONG, open(longest, O_CREAT, 0600));
	longest[255] = 0;
	close(scratch(longest, false));
	for (size_t i = 0; i < COUNT(list); i++)
		close(scratch(list[i], true));
	n = scandir(".", &found, NULL, NULL);
	say("%d entries", n - 2);
	for (size_t i = 0; i < COUNT(list); i++)
		must(unlink(list[i]) == 0);
	must(symlink("b", "a") == 0 && symlink("a", "b") == 0);
	fails(ELOOP, open("a", O_RDONLY));
	fails(ELOOP, open("a", O_RDONLY | O_NOFOLLOW));
	must(readlink("a", target, sizeof(target)) == 1);
	say("a -> %s", target);
	must(unlink("b") == 0);
	fails(ENOENT, open("a", O_RDONLY));
	fails(EINVAL, (int)readlink(".", target, sizeof(target)));
	must(unlink("a") == 0 && chdir("..") == 0 && rmdir("names.d") == 0);
	fails(ENOENT, open("", O_RDONLY));
	return 0;
}
