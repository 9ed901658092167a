/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/pandod/args.h"

int file_put(const char *path, const char *text)
{
	char tmp[PATH_MAX];
	cleanup_close int fd = -1;
	ssize_t len = (ssize_t)strlen(text);

	if (snprintf(tmp, sizeof(tmp), "%s.new", path) >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, (size_t)len) != len)
		return errno ? -errno : -EIO;
	return rename(tmp, path) < 0 ? -errno : 0;
}

void daemon_keeps(int fd, int other)
{
	unsigned first = (unsigned)MAX(MIN(fd, other), 2), last = (unsigned)MAX(fd, other);

	if (first > 3)
		(void)close_range(3, first - 1, 0);
	if (last > first + 1)
		(void)close_range(first + 1, last - 1, 0);
	(void)close_range(last + 1, ~0U, 0);
}

static int make_dir(const char *path)
{
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int node_dirs_make(const struct args *a)
{
	static const char *const below[] = { "", "/run", "/data", "/log" };
	char path[PATH_MAX];
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(below) && r == 0; i++) {
		if (snprintf(path, sizeof(path), "%s/%s%s", a->dir, a->node, below[i]) >=
		    (int)sizeof(path))
			return -ENAMETOOLONG;
		r = make_dir(path);
	}
	return r;
}
