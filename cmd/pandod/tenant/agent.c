/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.c - where programs of a session find the ssh agent of who is on its line: a socket in the
 * directory of the world that is mounted at /run/pando, the tenant's own and nobody else's. Its
 * listening end goes to the client; what is said there is none of our business.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cmd/pandod/pod.h"

void agent_path(uint64_t session, char out[64])
{
	(void)snprintf(out, 64, "/run/pando/agent.%" PRIu64, session);
}

static int open_dir(const struct world *w)
{
	char path[PATH_MAX + 64];
	int fd;

	(void)snprintf(path, sizeof(path), "%.4000s/t/%s/api", w->pod->run, w->name);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int agent_listen(struct world *w, uint64_t session)
{
	const struct naming_tenant *t = naming_tenant_find(naming_tables(w->pod->naming), w->id);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cleanup_close int dir = open_dir(w);
	char name[32];
	uid_t uid;

	if (fd < 0 || dir < 0 || t == NULL)
		return t == NULL ? -ENOENT : dir < 0 ? dir : -EMFILE;
	uid = t->host_id + t->uid;
	/* A socket's path is short; the directory's may not be. */
	(void)snprintf(name, sizeof(name), "agent.%" PRIu64, session);
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", dir, name);
	if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return -errno;
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(a.sun_path, 0600) < 0 ||
	    fchownat(dir, name, uid, uid, AT_SYMLINK_NOFOLLOW) < 0 || listen(fd, 64) < 0)
		return -errno;
	return take_fd(&fd);
}

void agent_forget(struct world *w, uint64_t session)
{
	cleanup_close int dir = open_dir(w);
	char name[32];

	(void)snprintf(name, sizeof(name), "agent.%" PRIu64, session);
	if (dir >= 0)
		(void)unlinkat(dir, name, 0); /* most have none */
}
