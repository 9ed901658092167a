/* SPDX-License-Identifier: Apache-2.0 */
/* otmpfile.c - O_TMPFILE, given a name through /proc/self/fd. */
#include "tests/guest/guest.h"

int main(void)
{
	int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), again;
	char path[64], text[16] = "";
	struct stat st;

	must(fd >= 0 && write(fd, "unnamed", 7) == 7);
	must(fstat(fd, &st) == 0);
	say("links %lu", (unsigned long)st.st_nlink);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	unlink("otmpfile.named");
	must(linkat(AT_FDCWD, path, AT_FDCWD, "otmpfile.named", AT_SYMLINK_FOLLOW) == 0);
	must(fstat(fd, &st) == 0);
	say("links %lu", (unsigned long)st.st_nlink);
	again = open("otmpfile.named", O_RDONLY);
	must(read(again, text, sizeof(text)) == 7);
	say("%s", text);
	fails(EEXIST, linkat(AT_FDCWD, path, AT_FDCWD, "otmpfile.named", AT_SYMLINK_FOLLOW));
	must(unlink("otmpfile.named") == 0);
	return 0;
}
