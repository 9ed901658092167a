/* SPDX-License-Identifier: Apache-2.0 */
/* proc_self.c - what /proc/self tells: exe, cwd, fd, maps, cmdline, environ, comm, task. */
#include "tests/guest/guest.h"

#include <dirent.h>
#include <sys/prctl.h>

static int entries(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;

	must(d != NULL);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static ssize_t slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n, all = 0;

	must(fd >= 0);
	while ((n = read(fd, buf + all, size - 1 - (size_t)all)) > 0)
		all += n;
	close(fd);
	buf[all] = 0;
	return all;
}

int main(int argc, char **argv)
{
	static char buf[65536], other[4096];
	int a, b, fd = scratch("proc self.tmp", true);
	ssize_t n;

	must(readlink("/proc/self/exe", buf, sizeof(buf)) > 0 && strstr(buf, "/proc_self") != NULL);
	must(getcwd(other, sizeof(other)) != NULL);
	n = readlink("/proc/self/cwd", buf, sizeof(buf));
	say("cwd agrees %d", n == (ssize_t)strlen(other) && memcmp(buf, other, (size_t)n) == 0);
	a = entries("/proc/self/fd");
	must(dup(fd) >= 0);
	b = entries("/proc/self/fd");
	say("one more descriptor %d", b - a);
	snprintf(other, sizeof(other), "/proc/self/fd/%d", fd);
	n = readlink(other, buf, sizeof(buf) - 1);
	buf[n] = 0;
	say("it is %s", strrchr(buf, '/') + 1);
	must(unlink("proc self.tmp") == 0 && write(fd, "deleted", 7) == 7);
	n = readlink(other, buf, sizeof(buf) - 1);
	buf[n] = 0;
	say("now %s", strrchr(buf, '/') + 1);
	slurp(other, buf, sizeof(buf));
	say("still readable: %s", buf);
	n = slurp("/proc/self/cmdline", buf, sizeof(buf));
	say("cmdline agrees %d", n == (ssize_t)strlen(argv[0]) + 1 && strcmp(buf, argv[0]) == 0);
	must(prctl(PR_SET_NAME, "renamed") == 0);
	slurp("/proc/self/comm", buf, sizeof(buf));
	printf("comm %s", buf);
	slurp("/proc/self/maps", buf, sizeof(buf));
	say("maps: stack %d heap %d vdso %d libc %d", strstr(buf, "[stack]") != NULL,
	    strstr(buf, "[heap]") != NULL, strstr(buf, "[vdso]") != NULL,
	    strstr(buf, "libc") != NULL);
	say("threads %d", entries("/proc/self/task"));
	slurp("/proc/thread-self/comm", buf, sizeof(buf));
	printf("thread-self %s", buf);
	fd = open("/proc/self/mem", O_RDWR);
	a = 5;
	b = 6;
	must(fd >= 0 && pwrite(fd, &b, sizeof(b), (off_t)(intptr_t)&a) == sizeof(b));
	say("through /proc/self/mem: %d", *(volatile int *)&a);
	say("stat of /proc/self/fd/0 works %d",
	    fstatat(AT_FDCWD, "/proc/self/fd/0", &(struct stat){ 0 }, 0) == 0);
	return 0;
}
