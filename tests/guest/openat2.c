/* SPDX-License-Identifier: Apache-2.0 */
/* openat2.c - openat2: resolution that may not leave, or follow links. */
#include "tests/guest/guest.h"

#include <linux/openat2.h>

static int open2(int dir, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = resolve };

	return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

int main(void)
{
	int dir;

	must(mkdir("openat2.d", 0700) == 0 && mkdir("openat2.d/sub", 0700) == 0);
	close(scratch("openat2.d/file", true));
	must(symlink("file", "openat2.d/link") == 0 && symlink("/", "openat2.d/root") == 0);
	dir = open("openat2.d", O_PATH | O_DIRECTORY);
	must(open2(dir, "sub/../file", O_RDONLY, RESOLVE_BENEATH) >= 0);
	fails(EXDEV, open2(dir, "../openat2.d/file", O_RDONLY, RESOLVE_BENEATH));
	fails(EXDEV, open2(dir, "root", O_RDONLY, RESOLVE_BENEATH));
	fails(ELOOP, open2(dir, "link", O_RDONLY, RESOLVE_NO_SYMLINKS));
	must(open2(dir, "root/sub", O_RDONLY, RESOLVE_IN_ROOT) >= 0);
	fails(ELOOP, open2(AT_FDCWD, "/proc/self/exe", O_RDONLY, RESOLVE_NO_MAGICLINKS));
	fails(EINVAL, open2(dir, "file", O_RDONLY, 1 << 30));
	must(unlink("openat2.d/link") == 0 && unlink("openat2.d/root") == 0);
	must(unlink("openat2.d/file") == 0 && rmdir("openat2.d/sub") == 0 &&
	     rmdir("openat2.d") == 0);
	return 0;
}
