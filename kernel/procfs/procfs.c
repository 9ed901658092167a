/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procfs.c - the raw FUSE protocol, and the tree that procfs.h draws.
 *
 * A node id says everything, so that a successor needs no table:
 *	1            the root
 *	2            .host, for ever
 *	3            .stream
 *	16 + i       the i-th name of root_names
 *	pid << 8     the directory of pid
 *	pid << 8 | i the i-th name of pid_names in it (i > 0)
 *	1 << 62 | id a stream
 * Nothing is opened in the sense of state: a read makes its text anew.
 */
#include "kernel/procfs/procfs.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "kernel/procfs/priv.h"

#define ID_HOST      UINT64_C(2)
#define ID_STREAMS   UINT64_C(3)
#define ID_ROOT_NAME UINT64_C(16)
#define PID_SHIFT    8
#define FOREVER_S    (UINT64_C(1) << 40)
#define READ_MAX     (1u << 17)

enum name_kind {
	NAME_LINK = 1, /* to .host/NAME */
	NAME_TEXT,
	NAME_NODE,
};

struct name {
	const char *name;
	enum name_kind kind;
	int file; /* enum procfs_machine_file or procfs_pid_file */
};

static const struct name root_names[] = {
	{ "self", NAME_LINK, 0 },
	{ "thread-self", NAME_LINK, 0 },
	{ "stat", NAME_TEXT, PROCFS_STAT },
	{ "meminfo", NAME_TEXT, PROCFS_MEMINFO },
	{ "cpuinfo", NAME_TEXT, PROCFS_CPUINFO },
	{ "loadavg", NAME_TEXT, PROCFS_LOADAVG },
	{ "uptime", NAME_TEXT, PROCFS_UPTIME },
	{ "cmdline", NAME_LINK, 0 },
	{ "filesystems", NAME_LINK, 0 },
	{ "mounts", NAME_LINK, 0 },
	{ "net", NAME_LINK, 0 },
	{ "sys", NAME_LINK, 0 },
	{ "version", NAME_LINK, 0 },
	{ "vmstat", NAME_LINK, 0 },
	{ "swaps", NAME_LINK, 0 },
	{ "diskstats", NAME_LINK, 0 },
	{ "partitions", NAME_LINK, 0 },
	{ "devices", NAME_LINK, 0 },
	{ "misc", NAME_LINK, 0 },
	{ "crypto", NAME_LINK, 0 },
	{ "locks", NAME_LINK, 0 },
	{ "cgroups", NAME_LINK, 0 },
	{ "sysvipc", NAME_LINK, 0 },
	{ "pressure", NAME_LINK, 0 },
	{ "buddyinfo", NAME_LINK, 0 },
	{ "zoneinfo", NAME_LINK, 0 },
	{ "interrupts", NAME_LINK, 0 },
	{ "softirqs", NAME_LINK, 0 },
	{ "key-users", NAME_LINK, 0 },
	{ "keys", NAME_LINK, 0 },
};

/* Index 0 is the directory itself. */
static const struct name pid_names[] = {
	{ "", 0, 0 },
	{ "node", NAME_NODE, 0 },
	{ "stat", NAME_TEXT, PROCFS_PID_STAT },
	{ "statm", NAME_TEXT, PROCFS_PID_STATM },
	{ "status", NAME_TEXT, PROCFS_PID_STATUS },
	{ "cmdline", NAME_TEXT, PROCFS_PID_CMDLINE },
	{ "comm", NAME_TEXT, PROCFS_PID_COMM },
	{ "attr", NAME_LINK, 0 },
	{ "autogroup", NAME_LINK, 0 },
	{ "auxv", NAME_LINK, 0 },
	{ "cgroup", NAME_LINK, 0 },
	{ "clear_refs", NAME_LINK, 0 },
	{ "coredump_filter", NAME_LINK, 0 },
	{ "cpuset", NAME_LINK, 0 },
	{ "cwd", NAME_LINK, 0 },
	{ "environ", NAME_LINK, 0 },
	{ "exe", NAME_LINK, 0 },
	{ "fd", NAME_LINK, 0 },
	{ "fdinfo", NAME_LINK, 0 },
	{ "gid_map", NAME_LINK, 0 },
	{ "io", NAME_LINK, 0 },
	{ "limits", NAME_LINK, 0 },
	{ "loginuid", NAME_LINK, 0 },
	{ "map_files", NAME_LINK, 0 },
	{ "maps", NAME_LINK, 0 },
	{ "mem", NAME_LINK, 0 },
	{ "mountinfo", NAME_LINK, 0 },
	{ "mounts", NAME_LINK, 0 },
	{ "mountstats", NAME_LINK, 0 },
	{ "net", NAME_LINK, 0 },
	{ "ns", NAME_LINK, 0 },
	{ "numa_maps", NAME_LINK, 0 },
	{ "oom_score", NAME_LINK, 0 },
	{ "oom_score_adj", NAME_LINK, 0 },
	{ "pagemap", NAME_LINK, 0 },
	{ "personality", NAME_LINK, 0 },
	{ "projid_map", NAME_LINK, 0 },
	{ "root", NAME_LINK, 0 },
	{ "sched", NAME_LINK, 0 },
	{ "schedstat", NAME_LINK, 0 },
	{ "sessionid", NAME_LINK, 0 },
	{ "setgroups", NAME_LINK, 0 },
	{ "smaps", NAME_LINK, 0 },
	{ "smaps_rollup", NAME_LINK, 0 },
	{ "stack", NAME_LINK, 0 },
	{ "syscall", NAME_LINK, 0 },
	{ "task", NAME_LINK, 0 },
	{ "timens_offsets", NAME_LINK, 0 },
	{ "timers", NAME_LINK, 0 },
	{ "timerslack_ns", NAME_LINK, 0 },
	{ "uid_map", NAME_LINK, 0 },
	{ "wchan", NAME_LINK, 0 },
};

_Static_assert(ARRAY_LEN(pid_names) < 1 << PID_SHIFT, "a name's index fits beside the pid");

/* ---- answers ---- */

bool answer(struct request *rq, int err, const void *bytes, size_t len)
{
	struct fuse_out_header out = { .len = (uint32_t)(sizeof(out) + (err ? 0 : len)),
				       .error = err,
				       .unique = rq->in->unique };
	struct iovec iov[2] = { { &out, sizeof(out) }, { (void *)bytes, err ? 0 : len } };
	bool waited;

	FAULT("procfs.answer");
	waited = writev(rq->p->fd, iov, 2) >= 0;
	if (!waited && errno != ENOENT && errno != EINTR)
		log_warn("/proc: answer to request %u: %s", rq->in->opcode, strerror(errno));
	FAULT("procfs.answered");
	((struct fuse_in_header *)rq->slot->bytes)->unique = 0;
	return waited;
}

static void answer_text(struct request *rq, const char *text)
{
	(void)answer(rq, 0, text, strlen(text));
}

/* ---- what a node id is ---- */

struct thing {
	uint64_t id;
	const struct name *name; /* NULL: a directory */
	struct procfs_pid pid;   /* .pid 0: not below a process */
};

/* What is behind @id now. Errors: -ENOENT, -ESRCH (the process is gone). */
static int thing_find(struct procfs *p, uint64_t id, struct thing *t)
{
	uint64_t pid = id >> PID_SHIFT, i = id & ((1 << PID_SHIFT) - 1);

	*t = (struct thing){ .id = id };
	if (id == FUSE_ROOT_ID || id == ID_HOST || id == ID_STREAMS)
		return 0;
	if (pid == 0) {
		if (i < ID_ROOT_NAME || i - ID_ROOT_NAME >= ARRAY_LEN(root_names))
			return -ENOENT;
		t->name = &root_names[i - ID_ROOT_NAME];
		return 0;
	}
	if (pid > INT32_MAX || i >= ARRAY_LEN(pid_names))
		return -ENOENT;
	if (p->ops->find(p->arg, (gpid)pid, &t->pid) < 0)
		return -ESRCH;
	if (i > 0)
		t->name = &pid_names[i];
	return 0;
}

/* A process's file: the host's own while it is here, the text of its node when it is not. */
static enum name_kind thing_kind(const struct thing *t)
{
	if (t->pid.pid != 0 && t->name->kind == NAME_TEXT && t->pid.here)
		return NAME_LINK;
	return t->name->kind;
}

/* What is only a link into .host does not exist for a process elsewhere. */
static bool thing_exists(const struct thing *t)
{
	return !t->name || t->pid.pid == 0 || t->pid.here || t->name->kind != NAME_LINK;
}

static void thing_attr(const struct thing *t, struct fuse_attr *a)
{
	*a = (struct fuse_attr){ .ino = t->id, .nlink = 1, .blksize = 4096 };
	a->uid = t->pid.uid;
	a->gid = t->pid.uid;
	if (!t->name) {
		a->mode = S_IFDIR | 0555;
		a->nlink = 2;
		return;
	}
	switch (thing_kind(t)) {
	case NAME_LINK:
		a->mode = S_IFLNK | 0777;
		break;
	case NAME_TEXT:
		a->mode = S_IFREG | 0444;
		break;
	case NAME_NODE:
		a->mode = S_IFREG | 0644;
		break;
	}
}

/* ---- requests ---- */

static void do_init(struct request *rq)
{
	const struct fuse_init_in *in = (const void *)rq->body;
	struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION,
				     .minor = FUSE_KERNEL_MINOR_VERSION,
				     .max_write = PROCFS_STREAM_MAX,
				     .max_background = 16,
				     .congestion_threshold = 12,
				     .time_gran = 1 };
	/* The answer is as long as the host's own version knows; all since 7.23 know this much. */
	size_t len = sizeof(out);

	if (rq->len < 16 || in->major != FUSE_KERNEL_VERSION || in->minor < 31) {
		(void)answer(rq, -EPROTO, NULL, 0);
		return;
	}
	out.minor = MIN(in->minor, (uint32_t)FUSE_KERNEL_MINOR_VERSION);
	out.max_readahead = in->max_readahead;
	out.flags = in->flags & (FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC | FUSE_PARALLEL_DIROPS);
	(void)answer(rq, 0, &out, len);
}

static int lookup_in(struct procfs *p, uint64_t parent, const char *name, struct thing *t)
{
	char *end;
	long pid;
	int r;

	if (parent == FUSE_ROOT_ID) {
		if (strcmp(name, ".host") == 0)
			return thing_find(p, ID_HOST, t);
		if (strcmp(name, ".stream") == 0)
			return thing_find(p, ID_STREAMS, t);
		for (size_t i = 0; i < ARRAY_LEN(root_names); i++)
			if (strcmp(name, root_names[i].name) == 0)
				return thing_find(p, ID_ROOT_NAME + i, t);
		if (name[0] < '1' || name[0] > '9')
			return -ENOENT;
		pid = strtol(name, &end, 10);
		if (*end != '\0' || pid > INT32_MAX)
			return -ENOENT;
		return thing_find(p, (uint64_t)pid << PID_SHIFT, t) < 0 ? -ENOENT : 0;
	}
	if (parent >> PID_SHIFT == 0 || (parent & ((1 << PID_SHIFT) - 1)) != 0)
		return -ENOTDIR;
	for (size_t i = 1; i < ARRAY_LEN(pid_names); i++) {
		if (strcmp(name, pid_names[i].name) != 0)
			continue;
		r = thing_find(p, parent | i, t);
		return r == 0 && !thing_exists(t) ? -ENOENT : r;
	}
	return -ENOENT;
}

/* False: the request is left in its slot until procfs_go_on(). */
static bool is_fresh(struct procfs *p)
{
	return !p->ops->fresh || p->going_on || p->ops->fresh(p->arg);
}

/* A process that is not here may be elsewhere, and may have moved since we heard of it. */
static bool is_elsewhere(const struct request *rq, const char *name)
{
	struct procfs_pid pid;
	long n = rq->in->nodeid == FUSE_ROOT_ID ? strtol(name, NULL, 10) : 0;

	return n > 0 && n <= INT32_MAX &&
	       (rq->p->ops->find(rq->p->arg, (gpid)n, &pid) < 0 || !pid.here);
}

static void do_lookup(struct request *rq)
{
	struct fuse_entry_out out = { .generation = 1 };
	struct thing t;
	int r;

	if (rq->len == 0 || rq->body[rq->len - 1] != '\0') {
		(void)answer(rq, -EPROTO, NULL, 0);
		return;
	}
	if (rq->in->nodeid == ID_STREAMS) {
		stream_lookup(rq);
		return;
	}
	if (is_elsewhere(rq, (const char *)rq->body) && !is_fresh(rq->p))
		return;
	r = lookup_in(rq->p, rq->in->nodeid, (const char *)rq->body, &t);
	if (r < 0) {
		(void)answer(rq, r, NULL, 0);
		return;
	}
	out.nodeid = t.id;
	thing_attr(&t, &out.attr);
	/* Names of the machine stay; a process may end or move between two calls. */
	if (t.pid.pid == 0) {
		out.entry_valid = FOREVER_S;
		out.attr_valid = FOREVER_S;
	}
	(void)answer(rq, 0, &out, sizeof(out));
}

static void do_getattr(struct request *rq)
{
	struct fuse_attr_out out = { 0 };
	struct thing t;
	int r = thing_find(rq->p, rq->in->nodeid, &t);

	if (r == 0) {
		thing_attr(&t, &out.attr);
		out.attr_valid = t.pid.pid == 0 ? FOREVER_S : 0;
	}
	(void)answer(rq, r, &out, sizeof(out));
}

static void do_readlink(struct request *rq)
{
	struct thing t;
	char to[128];
	int r = thing_find(rq->p, rq->in->nodeid, &t);

	if (r == 0 && (!t.name || thing_kind(&t) != NAME_LINK))
		r = -EINVAL;
	if (r < 0) {
		(void)answer(rq, r, NULL, 0);
		return;
	}
	if (t.pid.pid != 0)
		(void)snprintf(to, sizeof(to), "../.host/%d/%s", t.pid.pid, t.name->name);
	else
		(void)snprintf(to, sizeof(to), ".host/%s", t.name->name);
	answer_text(rq, to);
}

static void do_open(struct request *rq)
{
	struct fuse_open_out out = { .open_flags = FOPEN_DIRECT_IO };
	struct procfs *p = rq->p;
	struct thing t;

	if (rq->in->opcode == FUSE_OPENDIR && rq->in->nodeid == FUSE_ROOT_ID && !is_fresh(p))
		return;

	(void)answer(rq, thing_find(rq->p, rq->in->nodeid, &t), &out, sizeof(out));
}

static int thing_text(struct procfs *p, const struct thing *t, struct buf *b)
{
	if (!t->name)
		return -EISDIR;
	if (t->name->kind == NAME_NODE)
		return buf_addf(b, "%s\n", t->pid.node);
	if (thing_kind(t) != NAME_TEXT)
		return -EINVAL;
	if (t->pid.pid != 0)
		return p->ops->pid_text(p->arg, t->pid.pid, (enum procfs_pid_file)t->name->file, b);
	return p->ops->machine_text(p->arg, (enum procfs_machine_file)t->name->file, b);
}

static void do_read(struct request *rq)
{
	const struct fuse_read_in *in = (const void *)rq->body;
	struct procfs *p = rq->p;
	struct thing t;
	size_t n;
	int r;

	if (rq->len < sizeof(*in)) {
		(void)answer(rq, -EPROTO, NULL, 0);
		return;
	}
	p->text.len = 0;
	r = thing_find(p, rq->in->nodeid, &t);
	if (r == 0)
		r = thing_text(p, &t, &p->text);
	if (r < 0 || in->offset >= p->text.len) {
		(void)answer(rq, MIN(r, 0), NULL, 0);
		return;
	}
	n = MIN(p->text.len - (size_t)in->offset, (size_t)in->size);
	(void)answer(rq, 0, p->text.data + in->offset, n);
}

/* Adds one name; false when the reader's buffer is full. */
static bool dir_add(struct buf *b, size_t max, const char *name, uint64_t id, uint32_t mode,
		    uint64_t next)
{
	struct fuse_dirent d = {
		.ino = id, .off = next, .namelen = (uint32_t)strlen(name), .type = mode >> 12
	};
	static const uint8_t pad[8];
	size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + d.namelen);

	if (b->len + size > max || buf_reserve(b, size) < 0)
		return false;
	return buf_add(b, &d, FUSE_NAME_OFFSET) == 0 && buf_add(b, name, d.namelen) == 0 &&
	       buf_add(b, pad, size - FUSE_NAME_OFFSET - d.namelen) == 0;
}

/* Offsets of the root: 1, 2, the names, and from ROOT_PIDS on ROOT_PIDS + pid of the last one
 * given. */
#define ROOT_PIDS UINT64_C(0x10000)

static void list_root(struct procfs *p, uint64_t off, size_t max, struct buf *b)
{
	struct procfs_pid pid;
	struct thing t;
	char text[16];

	if (off == 0 && !dir_add(b, max, ".", FUSE_ROOT_ID, S_IFDIR, 1))
		return;
	if (off <= 1 && !dir_add(b, max, "..", FUSE_ROOT_ID, S_IFDIR, 2))
		return;
	for (uint64_t i = off < 2 ? 0 : off - 2; i < ARRAY_LEN(root_names); i++) {
		struct fuse_attr a;

		if (thing_find(p, ID_ROOT_NAME + i, &t) < 0)
			continue;
		thing_attr(&t, &a);
		if (!dir_add(b, max, root_names[i].name, t.id, a.mode, i + 3))
			return;
	}
	pid.pid = off > ROOT_PIDS ? (gpid)MIN(off - ROOT_PIDS, (uint64_t)INT32_MAX) : 0;
	while (p->ops->next(p->arg, pid.pid, &pid) == 0) {
		(void)snprintf(text, sizeof(text), "%d", pid.pid);
		if (!dir_add(b, max, text, (uint64_t)pid.pid << PID_SHIFT, S_IFDIR,
			     ROOT_PIDS + (uint64_t)pid.pid))
			return;
	}
}

static void list_pid(struct procfs *p, struct thing *dir, uint64_t off, size_t max, struct buf *b)
{
	struct fuse_attr a;

	if (off == 0 && !dir_add(b, max, ".", dir->id, S_IFDIR, 1))
		return;
	if (off <= 1 && !dir_add(b, max, "..", FUSE_ROOT_ID, S_IFDIR, 2))
		return;
	for (uint64_t i = off < 2 ? 1 : off - 1; i < ARRAY_LEN(pid_names); i++) {
		struct thing t = *dir;

		t.id |= i;
		t.name = &pid_names[i];
		if (!thing_exists(&t))
			continue;
		thing_attr(&t, &a);
		if (!dir_add(b, max, t.name->name, t.id, a.mode, i + 2))
			return;
	}
}

static void do_readdir(struct request *rq)
{
	const struct fuse_read_in *in = (const void *)rq->body;
	struct procfs *p = rq->p;
	struct thing t;
	int r;

	if (rq->len < sizeof(*in)) {
		(void)answer(rq, -EPROTO, NULL, 0);
		return;
	}
	p->text.len = 0;
	r = thing_find(p, rq->in->nodeid, &t);
	if (r == 0 && t.name)
		r = -ENOTDIR;
	if (r == 0 && t.id == FUSE_ROOT_ID)
		list_root(p, in->offset, MIN(in->size, READ_MAX), &p->text);
	else if (r == 0 && t.pid.pid != 0)
		list_pid(p, &t, in->offset, MIN(in->size, READ_MAX), &p->text);
	(void)answer(rq, r, p->text.data, p->text.len);
}

/* A write to PID/node. Answered by procfs_move_done(); until then the slot stays taken. */
static void do_write(struct request *rq)
{
	const struct fuse_write_in *in = (const void *)rq->body;
	const char *text = (const char *)(in + 1);
	char node[NODE_NAME_MAX];
	struct thing t;
	size_t n;
	int r;

	if (rq->len < sizeof(*in) || rq->len - sizeof(*in) < in->size) {
		(void)answer(rq, -EPROTO, NULL, 0);
		return;
	}
	r = thing_find(rq->p, rq->in->nodeid, &t);
	if (r == 0 && (!t.name || t.name->kind != NAME_NODE))
		r = -EBADF;
	n = in->size;
	while (n > 0 && text[n - 1] == '\n')
		n--;
	if (r == 0 && (n == 0 || n > NODE_NAME_MAX - 1 || memchr(text, '\0', n)))
		r = -EINVAL;
	if (r == 0) {
		memcpy(node, text, n);
		node[n] = '\0';
		r = rq->p->ops->move(rq->p->arg, t.pid.pid, node, rq->in->pid, rq->in->unique);
	}
	if (r < 0)
		(void)answer(rq, r, NULL, 0);
}

static void do_statfs(struct request *rq)
{
	struct fuse_statfs_out out = { .st = { .bsize = 4096, .frsize = 4096, .namelen = 255 } };

	(void)answer(rq, 0, &out, sizeof(out));
}

static void do_nothing(struct request *rq)
{
	(void)answer(rq, 0, NULL, 0);
}

/* The file has no length to set; `echo n2 > node` may ask all the same. */
static void do_setattr(struct request *rq)
{
	const struct fuse_setattr_in *in = (const void *)rq->body;

	if (rq->len < sizeof(*in) || (in->valid & ~(FATTR_SIZE | FATTR_FH | FATTR_LOCKOWNER |
						    FATTR_MTIME | FATTR_MTIME_NOW | FATTR_CTIME)))
		(void)answer(rq, -EPERM, NULL, 0);
	else
		do_getattr(rq);
}

/* Wants no answer: the slot is free at once. */
static void do_silently(struct request *rq)
{
	((struct fuse_in_header *)rq->slot->bytes)->unique = 0;
}

static void serve(struct procfs *p, struct procfs_slot *slot)
{
	struct request rq = { .p = p, .slot = slot, .in = (const void *)slot->bytes };

	rq.body = slot->bytes + sizeof(*rq.in);
	rq.len = rq.in->len - sizeof(*rq.in);
	p->stats.requests++;
	if ((rq.in->nodeid & ID_STREAM) && rq.in->opcode != FUSE_FORGET &&
	    rq.in->opcode != FUSE_INTERRUPT) {
		stream_serve(&rq);
		return;
	}
	switch (rq.in->opcode) {
	case FUSE_INIT:
		do_init(&rq);
		break;
	case FUSE_LOOKUP:
		do_lookup(&rq);
		break;
	case FUSE_GETATTR:
		do_getattr(&rq);
		break;
	case FUSE_SETATTR:
		do_setattr(&rq);
		break;
	case FUSE_READLINK:
		do_readlink(&rq);
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		do_open(&rq);
		break;
	case FUSE_READ:
		do_read(&rq);
		break;
	case FUSE_READDIR:
		do_readdir(&rq);
		break;
	case FUSE_WRITE:
		do_write(&rq);
		break;
	case FUSE_STATFS:
		do_statfs(&rq);
		break;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_DESTROY:
		do_nothing(&rq);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		do_silently(&rq);
		break;
	case FUSE_FLUSH: /* said once, and the host asks at no close any more */
	default:
		p->stats.refused++;
		(void)answer(&rq, -ENOSYS, NULL, 0);
		break;
	}
}

/* ---- slots ---- */

static bool slot_open(const struct procfs_slot *s)
{
	const struct fuse_in_header *in = (const void *)s->bytes;

	return in->unique != 0 && in->len >= sizeof(*in) && in->len <= sizeof(s->bytes);
}

static struct procfs_slot *slot_free(struct procfs *p)
{
	for (size_t i = 0; i < PROCFS_SLOTS; i++) {
		struct fuse_in_header *in = (void *)p->slots[i].bytes;

		if (in->unique == 0)
			return &p->slots[i];
	}
	return NULL;
}

static void on_request(struct loop_fd *w, short revents)
{
	struct procfs *p = container_of(w, struct procfs, watch);

	/* One request a call of read(2); a handful a turn, so that /proc starves nobody. */
	for (int i = 0; i < 8; i++) {
		struct procfs_slot *slot = slot_free(p);
		ssize_t n;

		if (!slot) {
			/* All wait for moves: others wait with them until one ends. */
			(void)!loop_fd_mod(p->loop, &p->watch, 0);
			return;
		}
		n = read(p->fd, slot->bytes, sizeof(slot->bytes));
		if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOENT))
			return;
		if (n <= 0) {
			p->dead = true; /* ENODEV: unmounted */
			loop_fd_del(p->loop, &p->watch);
			return;
		}
		FAULT("procfs.received");
		if (!slot_open(slot) || ((struct fuse_in_header *)slot->bytes)->len != (size_t)n) {
			p->stats.refused++;
			((struct fuse_in_header *)slot->bytes)->unique = 0;
			continue;
		}
		serve(p, slot);
	}
}

bool request_find(struct procfs *p, uint64_t key, struct request *rq)
{
	for (size_t i = 0; i < PROCFS_SLOTS; i++) {
		*rq = (struct request){ .p = p,
					.slot = &p->slots[i],
					.in = (const void *)p->slots[i].bytes };
		if (slot_open(rq->slot) && rq->in->unique == key)
			return true;
	}
	return false;
}

void procfs_read_on(struct procfs *p)
{
	if (!p->dead)
		(void)!loop_fd_mod(p->loop, &p->watch, POLLIN);
}

void procfs_go_on(struct procfs *p)
{
	p->going_on = true;
	for (size_t i = 0; i < PROCFS_SLOTS; i++) {
		const struct fuse_in_header *in = (const void *)p->slots[i].bytes;

		if (slot_open(&p->slots[i]) &&
		    (in->opcode == FUSE_OPENDIR || in->opcode == FUSE_LOOKUP))
			serve(p, &p->slots[i]);
	}
	p->going_on = false;
	procfs_read_on(p);
}

void procfs_move_done(struct procfs *p, uint64_t key, int err)
{
	const struct fuse_write_in *in;
	struct fuse_write_out out;
	struct request rq;

	if (!request_find(p, key, &rq) || rq.in->opcode != FUSE_WRITE)
		return;
	in = (const void *)(rq.slot->bytes + sizeof(*rq.in));
	out = (struct fuse_write_out){ .size = in->size };
	(void)answer(&rq, err, &out, sizeof(out));
	procfs_read_on(p);
}

int procfs_new(struct procfs **out, struct loop *l, int fd, struct procfs_slot *slots,
	       const struct procfs_ops *ops, void *arg)
{
	struct procfs *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	*p = (struct procfs){ .loop = l, .fd = fd, .slots = slots, .ops = ops, .arg = arg };
	r = loop_fd_add(l, &p->watch, fd, POLLIN, on_request);
	if (r < 0) {
		free(p);
		return r;
	}
	for (size_t i = 0; i < PROCFS_SLOTS; i++)
		if (slot_open(&slots[i]))
			serve(p, &slots[i]);
	*out = p;
	return 0;
}

void procfs_free(struct procfs *p)
{
	if (!p)
		return;
	if (!p->dead)
		loop_fd_del(p->loop, &p->watch);
	buf_fini(&p->text);
	free(p);
}

void procfs_get_stats(const struct procfs *p, struct procfs_stats *out)
{
	*out = p->stats;
}
