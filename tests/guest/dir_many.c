/* SPDX-License-Identifier: Apache-2.0 */
/* dir_many.c - a directory with 5,000 entries: read, sought, emptied. */
#include "tests/guest/guest.h"

#include <dirent.h>

enum { ENTRIES = 5000 };

int main(void)
{
	static char seen[ENTRIES];
	char name[32];
	int n = 0, twice = 0, dir_fd;
	struct stat st;
	long middle = 0;
	struct dirent *e;
	DIR *d;

	must(mkdir("many.d", 0700) == 0);
	dir_fd = open("many.d", O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "entry-%05d", i);
		close(openat(dir_fd, name, O_CREAT | O_EXCL | O_CLOEXEC, 0600));
	}
	d = opendir("many.d");
	while ((e = readdir(d)) != NULL) {
		int i;

		if (sscanf(e->d_name, "entry-%d", &i) != 1)
			continue;
		twice += seen[i]++ != 0;
		if (++n == ENTRIES / 2)
			middle = telldir(d);
	}
	say("%d entries, twice %d", n, twice);
	seekdir(d, middle);
	for (n = 0; readdir(d) != NULL;)
		n++;
	say("second half within 3: %d", abs(n - ENTRIES / 2) <= 3);
	closedir(d);
	fails(ENOTEMPTY, rmdir("many.d"));
	for (int i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "entry-%05d", i);
		must(fstatat(dir_fd, name, &st, 0) == 0 && unlinkat(dir_fd, name, 0) == 0);
	}
	must(rmdir("many.d") == 0);
	return 0;
}
