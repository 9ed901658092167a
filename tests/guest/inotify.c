/* SPDX-License-Identifier: Apache-2.0 */
/* inotify.c - what a directory tells: create, write, close, rename, delete. */
#include "tests/guest/guest.h"

#include <sys/inotify.h>

int main(void)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} names[] = {
		{ IN_CREATE, "create" },    { IN_MODIFY, "modify" },   { IN_CLOSE_WRITE, "close" },
		{ IN_MOVED_FROM, "from" },  { IN_MOVED_TO, "to" },     { IN_DELETE, "delete" },
		{ IN_DELETE_SELF, "self" }, { IN_IGNORED, "ignored" },
	};
	char buf[4096] __attribute__((aligned(8)));
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), file;
	ssize_t n;

	must(mkdir("inotify.d", 0700) == 0);
	must(inotify_add_watch(fd, "inotify.d",
			       IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVE | IN_DELETE |
				       IN_DELETE_SELF) >= 0);
	file = scratch("inotify.d/a", true);
	must(write(file, "x", 1) == 1);
	close(file);
	must(rename("inotify.d/a", "inotify.d/b") == 0);
	must(unlink("inotify.d/b") == 0 && rmdir("inotify.d") == 0);
	n = read(fd, buf, sizeof(buf));
	must(n > 0);
	for (char *at = buf; at < buf + n;) {
		struct inotify_event *ev = (struct inotify_event *)at;

		for (size_t i = 0; i < COUNT(names); i++)
			if (ev->mask & names[i].bit)
				say("%s %s", names[i].name, ev->len ? ev->name : "");
		at += sizeof(*ev) + ev->len;
	}
	fails(EAGAIN, (int)read(fd, buf, sizeof(buf)));
	fails(ENOENT, inotify_add_watch(fd, "/nowhere", IN_CREATE));
	return 0;
}
