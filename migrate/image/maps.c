/* SPDX-License-Identifier: Apache-2.0 */
/* maps.c - the address map of a process: what can be carried, and as what. */
#include "migrate/image/priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct smaps_line {
	uint64_t start, end, offset, ino;
	unsigned major, minor;
	char perms[5];
	const char *path;
};

/* "7f00-7f01 r-xp 00002000 fe:01 131 /usr/lib/x.so": false for the lines of details. */
static bool parse_head(char *line, struct smaps_line *out)
{
	int path_at = 0;

	if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %n", &out->start, &out->end, out->perms,
		   &out->offset, &out->major, &out->minor, &out->ino, &path_at) < 7 ||
	    path_at == 0)
		return false;
	out->path = line + path_at;
	return true;
}

static int map_add(struct image_maps *m, const struct smaps_line *l)
{
	struct image_map *more;

	if (m->count >= IMAGE_VMAS_MAX)
		return -ENOTSUP;
	if (m->count % 64 == 0) {
		more = realloc(m->map, (m->count + 64) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		m->map = more;
	}
	m->map[m->count++] = (struct image_map){
		.start = l->start,
		.end = l->end,
		.offset = l->offset,
		.ino = l->ino,
		.dev = makedev(l->major, l->minor),
		.prot = (l->perms[0] == 'r' ? PROT_READ : 0u) |
			(l->perms[1] == 'w' ? PROT_WRITE : 0u) |
			(l->perms[2] == 'x' ? PROT_EXEC : 0u),
		.flags = l->perms[3] == 's' ? VMA_SHARED : 0u,
		.kind = MAP_KIND_ANON,
		.path = strdup(l->path),
	};
	return m->map[m->count - 1].path ? 0 : -ENOMEM;
}

static bool starts(const char *s, const char *with)
{
	return strncmp(s, with, strlen(with)) == 0;
}

static bool ends(const char *s, const char *with)
{
	size_t a = strlen(s), b = strlen(with);

	return a >= b && strcmp(s + a - b, with) == 0;
}

/* What the name says. Returns false for what is the same in every process. */
static bool classify(struct image_map *m, struct buf *why)
{
	if (strcmp(m->path, "[vsyscall]") == 0)
		return false;
	if (starts(m->path, "[vvar"))
		m->kind = MAP_KIND_VVAR;
	else if (strcmp(m->path, "[vdso]") == 0)
		m->kind = MAP_KIND_VDSO;
	else if (strcmp(m->path, "[uprobes]") == 0 || starts(m->path, "anon_inode:"))
		why_add(why, "%s is mapped at %lx: it belongs to this kernel", m->path, m->start);
	else if (m->ino != 0 || starts(m->path, "/"))
		m->kind = MAP_KIND_FILE;
	if (m->kind != MAP_KIND_FILE)
		return true;
	if (m->flags & VMA_SHARED)
		return true; /* needs the flags: is it writable? */
	if (ends(m->path, " (deleted)") || starts(m->path, "/memfd:")) {
		m->kind = MAP_KIND_ANON;
		m->whole = true;
	} else if (strcmp(m->path, "/dev/zero") == 0) {
		m->kind = MAP_KIND_ANON;
	} else if (starts(m->path, "/dev/")) {
		why_add(why, "the device %s is mapped at %lx", m->path, m->start);
	}
	return true;
}

static bool has_flag(const char *flags, const char *name)
{
	const char *p = strstr(flags, name);

	return p && p[-1] == ' ' && (p[2] == ' ' || p[2] == '\0' || p[2] == '\n');
}

static void take_flags(struct image_map *m, const char *line, struct buf *why)
{
	static const struct {
		char name[3];
		uint32_t flag;
	} kept[] = { { "gd", VMA_GROWSDOWN },  { "nr", VMA_NORESERVE }, { "dc", VMA_DONTFORK },
		     { "dd", VMA_DONTDUMP },   { "hg", VMA_HUGEPAGE },  { "nh", VMA_NOHUGEPAGE },
		     { "wf", VMA_WIPEONFORK }, { "mg", VMA_MERGEABLE } };
	static const struct {
		char name[3];
		const char *text;
	} refused[] = { { "lo", "memory is locked" },
			{ "ht", "huge pages of hugetlbfs are mapped" },
			{ "io", "a device's memory is mapped" },
			{ "pf", "a device's memory is mapped" },
			{ "um", "userfaultfd serves memory" },
			{ "uw", "userfaultfd watches memory" },
			{ "ui", "userfaultfd serves memory" },
			{ "ss", "a shadow stack is in use" } };

	if (m->kind == MAP_KIND_VDSO || m->kind == MAP_KIND_VVAR)
		return;
	for (unsigned i = 0; i < ARRAY_LEN(kept); i++)
		if (has_flag(line, kept[i].name))
			m->flags |= kept[i].flag;
	for (unsigned i = 0; i < ARRAY_LEN(refused); i++)
		if (has_flag(line, refused[i].name))
			why_add(why, "%s at %lx", refused[i].text, m->start);
	if (!(m->flags & VMA_SHARED))
		return;
	if (m->kind != MAP_KIND_FILE || starts(m->path, "/dev/") || starts(m->path, "/memfd:") ||
	    starts(m->path, "/SYSV") || ends(m->path, " (deleted)"))
		why_add(why, "memory at %lx is shared (%s)", m->start,
			m->path[0] ? m->path : "anonymous");
	else if (has_flag(line, "mw"))
		m->flags |= VMA_WRITES;
}

static int take_line(struct image_maps *m, char *line, bool *skip, struct buf *why)
{
	struct smaps_line head;
	int r;

	if (parse_head(line, &head)) {
		r = map_add(m, &head);
		if (r < 0)
			return r;
		*skip = !classify(&m->map[m->count - 1], why);
		if (*skip)
			free(m->map[--m->count].path);
		return 0;
	}
	if (!*skip && m->count > 0 && starts(line, "VmFlags:"))
		take_flags(&m->map[m->count - 1], line, why);
	return 0;
}

/* ---- who shares what is written ---- */
static bool writes_any(const struct image_maps *m)
{
	for (unsigned i = 0; i < m->count; i++)
		if (m->map[i].flags & VMA_WRITES)
			return true;
	return false;
}

static void line_shared(const struct image_maps *m, char *line, struct buf *why)
{
	struct smaps_line l;

	if (!parse_head(line, &l) || l.perms[3] != 's' || l.ino == 0)
		return;
	for (unsigned i = 0; i < m->count; i++)
		if ((m->map[i].flags & VMA_WRITES) && m->map[i].ino == l.ino &&
		    m->map[i].dev == makedev(l.major, l.minor))
			why_add(why, "memory at %lx is shared with another process (%s)",
				m->map[i].start, m->map[i].path);
}

static int one_shares(const struct image_env *env, pid_t pid, const struct image_maps *m,
		      struct buf *why)
{
	cleanup_buf struct buf b = BUF_INIT;
	size_t before = why->len;
	char *save = NULL;
	int r = tracee_proc_read(env->proc, pid, "maps", &b);

	/* It has ended; or, as every guest lets us look at it, is no guest. */
	if (r == -ENOENT || r == -ESRCH || r == -EACCES || r == -EPERM)
		return 0;
	if (r < 0 || !buf_str(&b))
		return r < 0 ? r : -ENOMEM;
	for (char *line = strtok_r((char *)b.data, "\n", &save); line && why->len == before;
	     line = strtok_r(NULL, "\n", &save))
		line_shared(m, line, why);
	return 0;
}

/* A file that one process alone has mapped is as good elsewhere; what two write to is theirs here.
 */
static int others_share(const struct image_env *env, pid_t pid, const struct image_maps *m,
			struct buf *why)
{
	int fd = openat(env->proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!d) {
		r = -errno;
		if (fd >= 0)
			(void)close(fd);
		return r;
	}
	while (r == 0 && (e = readdir(d))) {
		long other = strtol(e->d_name, NULL, 10);

		if (other > 0 && other != pid)
			r = one_shares(env, (pid_t)other, m, why);
	}
	(void)closedir(d);
	return r;
}

int image_maps_read(const struct image_env *env, pid_t pid, struct image_maps *out, struct buf *why)
{
	cleanup_buf struct buf b = BUF_INIT;
	bool skip = false;
	char *line, *next;
	int r = tracee_proc_read(env->proc, pid, "smaps", &b);

	*out = (struct image_maps){ NULL, 0 };
	if (r == 0 && !buf_str(&b))
		r = -ENOMEM;
	line = (char *)b.data;
	while (r == 0 && line && *line != '\0') {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		r = take_line(out, line, &skip, why);
		line = next;
	}
	if (r == 0 && writes_any(out))
		r = others_share(env, pid, out, why);
	if (r < 0)
		image_maps_fini(out);
	return r;
}

void image_maps_fini(struct image_maps *m)
{
	for (unsigned i = 0; i < m->count; i++)
		free(m->map[i].path);
	free(m->map);
	*m = (struct image_maps){ NULL, 0 };
}

/* ---- files ---- */

int file_id_read(const struct image_env *env, pid_t pid, const char *link, struct file_id *out)
{
	char at[96], path[4096];
	struct stat st;
	ssize_t n;
	int r;

	(void)snprintf(at, sizeof(at), "%d/%s", pid, link);
	n = readlinkat(env->proc, at, path, sizeof(path) - 1);
	r = n < 0 || fstatat(env->proc, at, &st, 0) < 0 ? -errno : 0;
	if (n < 0 || (r != 0 && r != -EIO))
		return r == -ENOENT ? -ESRCH : r;
	path[n] = '\0';
	pando__image__file_id__init(&out->msg);
	out->path = strdup(path);
	out->msg.path = out->path;
	if (r != 0 || !out->path)
		return r != 0 && out->path ? r : -ENOMEM;
	out->msg.ino = st.st_ino;
	out->msg.size = (uint64_t)st.st_size;
	out->msg.mtime_ns = st.st_mtim.tv_sec * (int64_t)NS_PER_S + st.st_mtim.tv_nsec;
	out->msg.mode = st.st_mode;
	return 0;
}

void file_id_fini(struct file_id *f)
{
	free(f->path);
	f->path = NULL;
}

/*
 * Nodes may have copies of one file system image: there the inode may differ,
 * size and time of change do not. What is written to must be the one file.
 */
bool file_id_same(const Pando__Image__FileId *id, const struct stat *st, bool writable)
{
	int64_t mtime_ns = st->st_mtim.tv_sec * (int64_t)NS_PER_S + st->st_mtim.tv_nsec;

	if ((st->st_mode & S_IFMT) != (id->mode & S_IFMT))
		return false;
	if (!S_ISREG(st->st_mode))
		return true;
	return (uint64_t)st->st_size == id->size && mtime_ns == id->mtime_ns &&
	       (!writable || st->st_ino == id->ino);
}

/* ---- dump ---- */
int image_maps_sync(struct image_frozen *f, struct buf *why)
{
	struct batch *t;
	int r = 0;

	if (!writes_any(&f->maps))
		return 0;
	t = batch_new(&f->gates[0], why);
	if (!t)
		return -ENOMEM;
	for (unsigned i = 0; r == 0 && i < f->maps.count; i++) {
		const struct image_map *m = &f->maps.map[i];

		if (!(m->flags & VMA_WRITES))
			continue;
		r = batch_room(t, 1, 0);
		if (r == 0)
			BATCH(t, m->path, NULL, SYS_msync, m->start, m->end - m->start, MS_SYNC);
	}
	if (r == 0)
		r = batch_run(t);
	free(t);
	return r;
}

/* The file behind a mapping, looked up where the process would find it. */
static int map_file(const struct image_env *env, pid_t pid, const struct image_map *m,
		    struct file_id *id, struct buf *why)
{
	char link[4200];
	struct stat st;

	(void)snprintf(link, sizeof(link), "%d/root%s", pid, m->path);
	if (fstatat(env->proc, link, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return why_err(why, errno == ENOENT ? -ENOTSUP : -errno, m->path);
	if (st.st_ino != m->ino) {
		why_add(why, "%s is not the file any more that is mapped at %lx", m->path,
			m->start);
		return -ENOTSUP;
	}
	pando__image__file_id__init(&id->msg);
	id->msg.path = m->path;
	id->msg.ino = st.st_ino;
	id->msg.size = (uint64_t)st.st_size;
	id->msg.mtime_ns = st.st_mtim.tv_sec * (int64_t)NS_PER_S + st.st_mtim.tv_nsec;
	id->msg.mode = st.st_mode;
	return 0;
}

int image_maps_dump(struct record_writer *w, const struct image_env *env, pid_t pid,
		    const struct image_maps *maps, struct buf *why)
{
	for (unsigned i = 0; i < maps->count; i++) {
		const struct image_map *m = &maps->map[i];
		Pando__Image__Vma v = PANDO__IMAGE__VMA__INIT;
		struct file_id id;
		int r = 0;

		if (m->kind == MAP_KIND_VDSO || m->kind == MAP_KIND_VVAR)
			continue;
		v.start = m->start;
		v.end = m->end;
		v.prot = m->prot;
		v.flags = m->flags;
		v.pages = m->pages;
		if (m->kind == MAP_KIND_FILE) {
			r = map_file(env, pid, m, &id, why);
			v.offset = m->offset;
			v.file = &id.msg;
		}
		if (r == 0)
			r = record_write_message(w, RECORD_VMA, &v.base);
		if (r < 0)
			return r;
	}
	return 0;
}
