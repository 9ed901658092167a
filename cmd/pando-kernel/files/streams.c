/* SPDX-License-Identifier: Apache-2.0 */
/* streams.c - how the description of a regular file gets to another node (streams.h). */
#include "cmd/pando-kernel/files/streams.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "cmd/pando-kernel/errand.h"

#define STREAM_DIR "/proc/.stream/"

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* ---- who else has a description ---- */
/* Of the descriptors of @pid one with this path may be it. */
static bool has_description(struct world *w, pid_t pid, int fd, const char *path)
{
	char name[64], to[4096];
	struct dirent *e;
	bool found = false;
	int dir;
	DIR *d;

	(void)snprintf(name, sizeof(name), "%d/fd", pid);
	dir = openat(w->view.procfs, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = dir >= 0 ? fdopendir(dir) : NULL;
	if (!d && dir >= 0)
		(void)close(dir);
	while (d && !found && (e = readdir(d)) != NULL) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, to, sizeof(to) - 1);

		if (n < 0)
			continue;
		to[n] = 0;
		found = strcmp(to, path) == 0 && syscall(SYS_kcmp, getpid(), pid, 0 /* KCMP_FILE */,
							 fd, atoi(e->d_name)) == 0;
	}
	if (d)
		(void)closedir(d);
	return found;
}

/* One that is under way in a socket is not found: then an offset is not shared that could be. */
static bool is_shared(struct world *w, pid_t pid, int fd, const char *path)
{
	struct proc_list l;
	bool found = stream_owner_has(fd);

	if (found || proc_scan(&l, &w->view) != 0)
		return true;
	for (size_t i = 0; i < l.n && !found; i++)
		found = l.v[i].t.pid != pid && has_description(w, l.v[i].t.pid, fd, path);
	proc_list_fini(&l);
	return found;
}

/* ---- which paths name the same file everywhere ---- */
static bool is_everywhere(const char *path, bool writes)
{
	static const char *const volumes[] = { "/home/", "/tmp/", "/var/tmp/" };
	static const char *const same[] = { "/usr/", "/etc/", "/opt/", "/proc/" };

	for (size_t i = 0; i < ARRAY_LEN(volumes); i++)
		if (begins(path, volumes[i]))
			return true;
	for (size_t i = 0; !writes && i < ARRAY_LEN(same); i++)
		if (begins(path, same[i]))
			return true;
	return false;
}

/* Opened again by its path, would it be the same file with the same rights? */
static bool names_it(const Peer__Fd *f, const struct stat *st)
{
	unsigned acc = f->flags & O_ACCMODE;
	mode_t need = (acc != O_WRONLY ? S_IROTH : 0) | (acc != O_RDONLY ? S_IWOTH : 0);

	if (st->st_uid == TENANT_UID)
		need <<= 6;
	return st->st_nlink > 0 && is_everywhere(f->path, acc != O_RDONLY) &&
	       (st->st_mode & need) == need;
}

bool streams_are_ours(const char *path)
{
	return begins(path, "/proc/");
}

/* ---- the leaving node ---- */
/* A stream already: its owner stays who it is. */
static bool goes_on(Peer__Fd *f)
{
	unsigned long long number;
	char end;

	if (!begins(f->path, STREAM_DIR))
		return false;
	return sscanf(f->path + strlen(STREAM_DIR), "%u.%llu%c", &f->owner, &number, &end) == 2 &&
	       (f->relay = number) == number;
}

int streams_give(struct world *w, pid_t pid, int fd, bool locked, Peer__Fd *f)
{
	bool ours = streams_are_ours(f->path);
	struct stat st = { 0 };
	int r;

	f->kind = PEER__FD_KIND__FD_STREAM;
	if (goes_on(f))
		return 0;
	if (!ours && fstat(fd, &st) != 0)
		return -errno;
	if (ours || (!locked && names_it(f, &st) && !is_shared(w, pid, fd, f->path))) {
		f->kind = PEER__FD_KIND__FD_PATH;
		return 0;
	}
	r = stream_owner_keep(fd, &f->relay);
	f->owner = w->node;
	if (r != 0)
		f->kind = PEER__FD_KIND__FD_NONE;
	return r;
}

void streams_given(struct world *w, const Peer__Fd *f)
{
	if (f->kind == PEER__FD_KIND__FD_STREAM && f->owner == w->node)
		stream_owner_let_go(f->relay);
}

/* ---- the node of arrival ---- */
static uint64_t stream_id(const Peer__Fd *f)
{
	return (uint64_t)f->owner << STREAM_ID_BITS | f->relay;
}

int streams_take(struct world *w, const Peer__Fd *f, gpid pid, char path[STREAM_PATH_MAX], int *fd)
{
	int own;

	*fd = -1;
	if (f->relay >> STREAM_ID_BITS != 0 ||
	    (uint64_t)f->owner >> (PROCFS_STREAM_BITS - STREAM_ID_BITS) != 0)
		return -EPROTO;
	if (f->owner == w->node) {
		own = stream_owner_fd(f->relay);
		*fd = own < 0 ? own : fcntl(own, F_DUPFD_CLOEXEC, 0);
		return *fd >= 0 ? 0 : own < 0 ? own : -errno;
	}
	(void)snprintf(path, STREAM_PATH_MAX, STREAM_DIR "%u.%llu", f->owner,
		       (unsigned long long)f->relay);
	return stream_site_expect(pid, stream_id(f));
}

struct fetching {
	uint64_t id;
	gpid zygote;
	streams_fn done;
	void *arg;
};

static void on_fetched(void *arg, int err, const int fds[2])
{
	struct fetching *x = arg;

	stream_site_expected(x->zygote, x->id);
	x->done(x->arg, err == 0 ? fds[0] : err);
	free(x);
}

void streams_fetch(struct world *w, const Peer__Fd *f, unsigned flags, streams_fn done, void *arg)
{
	struct fetching *x = calloc(1, sizeof(*x));
	struct stub_table *t = zygote_table();
	char path[STREAM_PATH_MAX];
	int fd = -1, r = x && t ? streams_take(w, f, w->zygote, path, &fd) : -ENOMEM;

	if (r != 0 || fd >= 0) {
		free(x);
		free(t);
		done(arg, r != 0 ? r : fd);
		return;
	}
	*x = (struct fetching){ stream_id(f), w->zygote, done, arg };
	STUB_CALL(t, SYS_openat, (uint64_t)AT_FDCWD, stub_table_bytes(t, path, strlen(path) + 1),
		  (flags & STREAM_FLAGS) | O_CLOEXEC, 0);
	zygote_ask(w, t, 1, on_fetched, x);
}

void streams_taken(struct world *w, gpid pid)
{
	stream_site_expect_no_more(pid);
}

/* ---- the rest ---- */
void streams_connected(struct world *w, node_id node)
{
	stream_site_connected(w, node);
}

void streams_look(struct world *w)
{
	stream_owner_look();
}

int streams_open(struct world *w)
{
	int r = stream_site_open(w);

	return r == 0 ? stream_owner_open(w) : r;
}
