/* SPDX-License-Identifier: Apache-2.0 */
#include "naming/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "naming/core/log.h"

#define NAME_MAX_BYTES 40u
#define FILE_MAX_BYTES (256u << 20) /* a file in there that is larger is not ours */

/* One write through the loop: all of it, then done. */
struct job {
	struct loop_io io;
	struct files *f;
	int fd;
	enum loop_io_op op;
	const uint8_t *bytes;
	size_t len;
	size_t done;
	uint64_t offset;
	void (*cb)(struct job *j, int err);
};

struct files {
	struct loop *loop;
	const struct files_ops *ops;
	void *arg;
	int dir;
	int lock;
	uint32_t segment_bytes;

	/* the log */
	int seg_fd;
	uint64_t segment; /* of seg_fd */
	struct job log;
	bool log_busy;
	int log_err; /* to be told from the loop */
	struct loop_timer log_failed;

	/* the segment after it, made ready ahead */
	int spare_fd;
	uint64_t spare; /* its number */
	bool spare_ready;
	bool spare_busy;
	struct job zero;
	uint8_t *zeros;

	/* snapshots */
	struct job snap;
	bool snap_busy;
	uint64_t snap_index;
	int snap_err;
	struct loop_timer snap_failed;

	struct naming_file *loaded;
	size_t loaded_count;
	size_t loaded_segments;
	bool closing;
};

static void name_of(char *out, const char *kind, uint64_t number)
{
	(void)snprintf(out, NAME_MAX_BYTES, "%s-%016" PRIx64, kind, number);
}

/* ---- jobs ---- */

static void job_step(struct loop_io *io, int result);

static int job_go(struct job *j)
{
	return loop_io_start(j->f->loop, &j->io, j->op, j->fd,
			     (void *)(uintptr_t)(j->bytes == NULL ? NULL : j->bytes + j->done),
			     j->len - j->done, j->offset + j->done, job_step);
}

static void job_step(struct loop_io *io, int result)
{
	struct job *j = container_of(io, struct job, io);

	if (result < 0) {
		j->cb(j, result);
		return;
	}
	j->done += (size_t)result;
	if (j->done >= j->len || j->op == LOOP_IO_FDATASYNC) {
		j->cb(j, 0);
		return;
	}
	/* Short: the rest, or the reason. */
	result = result == 0 ? -ENOSPC : job_go(j);
	if (result < 0)
		j->cb(j, result);
}

/* ---- the directory ---- */

static int dir_sync(const struct files *f)
{
	return fsync(f->dir) == 0 ? 0 : -errno;
}

int files_open(struct files **out, struct loop *l, const char *dir, uint32_t segment_bytes,
	       const struct files_ops *ops, void *arg)
{
	struct files *f = calloc(1, sizeof(*f));
	int r;

	if (f == NULL)
		return -ENOMEM;
	f->loop = l;
	f->ops = ops;
	f->arg = arg;
	f->segment_bytes = segment_bytes;
	f->seg_fd = f->spare_fd = f->snap.fd = f->lock = -1;
	f->zeros = calloc(1, segment_bytes);
	f->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = f->zeros == NULL ? -ENOMEM : 0;
	if (f->dir < 0)
		r = -errno;
	if (r == 0) {
		f->lock = openat(f->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (f->lock < 0)
			r = -errno;
		else if (flock(f->lock, LOCK_EX | LOCK_NB) != 0)
			r = errno == EWOULDBLOCK ? -EBUSY : -errno;
	}
	if (r != 0) {
		files_close(f);
		return r;
	}
	*out = f;
	return 0;
}

/* What is in flight still reads the buffers: the loop has to bring it back first. */
static void drain(struct files *f)
{
	f->closing = true;
	while (f->log.io.op != NULL || f->zero.io.op != NULL || f->snap.io.op != NULL)
		if (loop_turn(f->loop, NS_PER_S) < 0)
			break;
}

void files_close(struct files *f)
{
	if (f == NULL)
		return;
	drain(f);
	loop_timer_clear(f->loop, &f->log_failed);
	loop_timer_clear(f->loop, &f->snap_failed);
	files_unload(f);
	base_close_cleanup(&f->seg_fd);
	base_close_cleanup(&f->spare_fd);
	base_close_cleanup(&f->snap.fd);
	base_close_cleanup(&f->lock);
	base_close_cleanup(&f->dir);
	free(f->zeros);
	free(f);
}

/* ---- reading ---- */

static int read_whole(int dir, const char *name, uint8_t **bytes, size_t *len)
{
	cleanup_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t done = 0;

	if (fd < 0 || fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES)
		return -EBADMSG;
	*len = (size_t)st.st_size;
	*bytes = malloc(*len + 1);
	if (*bytes == NULL)
		return -ENOMEM;
	while (done < *len) {
		ssize_t n = pread(fd, *bytes + done, *len - done, (off_t)done);

		if (n <= 0) {
			int r = n < 0 ? -errno : -EIO;

			free(*bytes);
			*bytes = NULL;
			return r;
		}
		done += (size_t)n;
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = ((const struct naming_file *)a)->number;
	uint64_t y = ((const struct naming_file *)b)->number;

	return (x > y) - (x < y);
}

static bool parse(const char *name, const char *kind, uint64_t *number)
{
	size_t n = strlen(kind);
	char *end;

	if (strncmp(name, kind, n) != 0 || name[n] != '-' || strlen(name) != n + 17)
		return false;
	*number = strtoull(name + n + 1, &end, 16);
	return *end == '\0';
}

static int load_kind(struct files *f, const char *kind)
{
	int fd = openat(f->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t from = f->loaded_count;
	struct dirent *e;
	int r = 0;

	if (d == NULL) {
		r = -errno;
		base_close_cleanup(&fd);
		return r;
	}
	while (r == 0 && (e = readdir(d)) != NULL) {
		struct naming_file *more;
		uint64_t number;
		uint8_t *bytes = NULL;
		size_t len = 0;

		if (!parse(e->d_name, kind, &number))
			continue;
		more = realloc(f->loaded, (f->loaded_count + 1) * sizeof(*more));
		r = more == NULL ? -ENOMEM : read_whole(f->dir, e->d_name, &bytes, &len);
		if (more != NULL)
			f->loaded = more;
		if (r == 0)
			f->loaded[f->loaded_count++] = (struct naming_file){ number, bytes, len };
	}
	(void)closedir(d);
	if (f->loaded_count > from)
		qsort(f->loaded + from, f->loaded_count - from, sizeof(*f->loaded), by_number);
	return r;
}

int files_load(struct files *f, struct naming_disk *disk)
{
	int r = load_kind(f, "log");

	f->loaded_segments = f->loaded_count;
	if (r == 0)
		r = load_kind(f, "snap");
	*disk = (struct naming_disk){
		.segments = f->loaded,
		.segment_count = f->loaded_segments,
		.snapshots = f->loaded + f->loaded_segments,
		.snapshot_count = f->loaded_count - f->loaded_segments,
	};
	return r;
}

void files_unload(struct files *f)
{
	for (size_t i = 0; i < f->loaded_count; i++)
		free((void *)(uintptr_t)f->loaded[i].bytes);
	free(f->loaded);
	f->loaded = NULL;
	f->loaded_count = f->loaded_segments = 0;
}

/* ---- the log ---- */

static void log_failed(struct loop_timer *t)
{
	struct files *f = container_of(t, struct files, log_failed);

	f->log_busy = false;
	f->ops->log_done(f->arg, f->log_err);
}

/* From inside of the replica: it hears of it in the next turn. */
static void log_fail(struct files *f, int err)
{
	f->log_err = err;
	if (loop_timer_set(f->loop, &f->log_failed, 0, log_failed) != 0)
		CHECK(!"a timer that cannot be armed");
}

static void spare_done(struct job *j, int err)
{
	struct files *f = j->f;

	if (err == 0 && j->op == LOOP_IO_WRITE && !f->closing) {
		j->op = LOOP_IO_FDATASYNC;
		j->done = 0;
		err = job_go(j);
		if (err == 0)
			return;
	}
	f->spare_busy = false;
	f->spare_ready = err == 0 && j->op == LOOP_IO_FDATASYNC;
	if (!f->spare_ready)
		base_close_cleanup(&f->spare_fd);
	if (!f->spare_ready)
		f->spare_fd = -1;
}

/* Makes the next segment ready, aside: zeros, durable. If it fails, segment_open() says why. */
static void spare_start(struct files *f, uint64_t number)
{
	int r;

	if (f->spare_busy || f->spare_ready || f->closing)
		return;
	f->spare_fd = openat(f->dir, "next", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (f->spare_fd < 0)
		return;
	f->spare = number;
	f->spare_busy = true;
	f->zero = (struct job){
		.f = f,
		.fd = f->spare_fd,
		.op = LOOP_IO_WRITE,
		.bytes = f->zeros,
		.len = f->segment_bytes,
		.cb = spare_done,
	};
	r = job_go(&f->zero);
	if (r < 0)
		spare_done(&f->zero, r);
}

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, bytes + done, len - done, (off_t)done);

		if (n <= 0)
			return n < 0 ? -errno : -ENOSPC;
		done += (size_t)n;
	}
	return 0;
}

/* A new segment at once, when the one made ahead is not there yet. */
static int segment_make(struct files *f, const char *name)
{
	cleanup_close int fd = openat(f->dir, "now", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = write_all(fd, f->zeros, f->segment_bytes);
	if (r == 0 && fdatasync(fd) != 0)
		r = -errno;
	if (r == 0 && renameat(f->dir, "now", f->dir, name) != 0)
		r = -errno;
	if (r != 0) {
		(void)unlinkat(f->dir, "now", 0);
		return r;
	}
	f->seg_fd = take_fd(&fd);
	return 0;
}

static int segment_open(struct files *f, uint64_t number)
{
	char name[NAME_MAX_BYTES];
	struct stat st;
	int r = FAULT_ERR("naming.log.segment", 0);

	if (r != 0)
		return r;
	base_close_cleanup(&f->seg_fd);
	f->seg_fd = -1;
	name_of(name, "log", number);
	f->seg_fd = openat(f->dir, name, O_RDWR | O_CLOEXEC);
	if (f->seg_fd >= 0 && fstat(f->seg_fd, &st) == 0 && st.st_size == f->segment_bytes) {
		f->segment = number;
		spare_start(f, number + 1);
		return 0;
	}
	base_close_cleanup(&f->seg_fd);
	f->seg_fd = -1;
	if (f->spare_ready && renameat(f->dir, "next", f->dir, name) == 0) {
		f->seg_fd = take_fd(&f->spare_fd);
		f->spare_ready = false;
	} else {
		r = segment_make(f, name);
	}
	if (r == 0)
		r = dir_sync(f);
	if (r != 0)
		return r;
	f->segment = number;
	spare_start(f, number + 1);
	return 0;
}

static void log_written(struct job *j, int err)
{
	struct files *f = j->f;

	err = FAULT_ERR("naming.log.sync", err);
	f->log_busy = false;
	if (!f->closing)
		f->ops->log_done(f->arg, err);
}

void files_write_log(struct files *f, uint64_t segment, uint64_t offset, const uint8_t *bytes,
		     size_t len)
{
	int r = FAULT_ERR("naming.log.write", 0);

	CHECK(!f->log_busy);
	f->log_busy = true;
	if (r == 0 && (f->seg_fd < 0 || f->segment != segment))
		r = segment_open(f, segment);
	f->log = (struct job){
		.f = f,
		.fd = f->seg_fd,
		.op = LOOP_IO_WRITE_DSYNC,
		.bytes = bytes,
		.len = len,
		.offset = offset,
		.cb = log_written,
	};
	if (r == 0)
		r = job_go(&f->log);
	if (r < 0)
		log_fail(f, r);
}

void files_remove_segment(struct files *f, uint64_t segment)
{
	char name[NAME_MAX_BYTES];

	name_of(name, "log", segment);
	if (unlinkat(f->dir, name, 0) != 0 && errno != ENOENT)
		log_warn("naming: cannot remove %s: %s", name, strerror(errno));
}

/* ---- snapshots ---- */

static void snap_failed(struct loop_timer *t)
{
	struct files *f = container_of(t, struct files, snap_failed);

	f->snap_busy = false;
	f->ops->snapshot_done(f->arg, f->snap_err);
}

static void snap_fail(struct files *f, int err)
{
	base_close_cleanup(&f->snap.fd);
	f->snap.fd = -1;
	f->snap_err = err;
	if (loop_timer_set(f->loop, &f->snap_failed, 0, snap_failed) != 0)
		CHECK(!"a timer that cannot be armed");
}

static int snap_rename(struct files *f)
{
	char name[NAME_MAX_BYTES];
	int r = FAULT_ERR("naming.snapshot.rename", 0);

	name_of(name, "snap", f->snap_index);
	if (r == 0 && renameat(f->dir, "snap", f->dir, name) != 0)
		r = -errno;
	return r == 0 ? dir_sync(f) : r;
}

static void snap_step(struct job *j, int err)
{
	struct files *f = j->f;

	if (f->closing)
		return;
	if (err == 0 && j->op == LOOP_IO_WRITE) {
		j->op = LOOP_IO_FDATASYNC;
		j->done = 0;
		err = FAULT_ERR("naming.snapshot.sync", job_go(j));
		if (err == 0)
			return;
	}
	if (err == 0)
		err = snap_rename(f);
	base_close_cleanup(&f->snap.fd);
	f->snap.fd = -1;
	f->snap_busy = false;
	f->ops->snapshot_done(f->arg, err);
}

void files_write_snapshot(struct files *f, uint64_t index, const uint8_t *bytes, size_t len)
{
	int r = FAULT_ERR("naming.snapshot.write", 0);

	CHECK(!f->snap_busy);
	f->snap_busy = true;
	f->snap_index = index;
	f->snap = (struct job){
		.f = f,
		.fd = openat(f->dir, "snap", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
		.op = LOOP_IO_WRITE,
		.bytes = bytes,
		.len = len,
		.cb = snap_step,
	};
	if (r == 0 && f->snap.fd < 0)
		r = -errno;
	if (r == 0)
		r = job_go(&f->snap);
	if (r < 0)
		snap_fail(f, r);
}

void files_remove_snapshot(struct files *f, uint64_t index)
{
	char name[NAME_MAX_BYTES];

	name_of(name, "snap", index);
	if (unlinkat(f->dir, name, 0) != 0 && errno != ENOENT)
		log_warn("naming: cannot remove %s: %s", name, strerror(errno));
}

uint64_t files_room(const struct files *f)
{
	struct statvfs st;

	return fstatvfs(f->dir, &st) == 0 ? (uint64_t)st.f_bavail * st.f_frsize : 0;
}

/* ---- the ticket ---- */

int files_ticket_write(struct files *f, const struct buf *b)
{
	cleanup_close int fd =
		openat(f->dir, "ticket.new", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int r = FAULT_ERR("naming.ticket.write", 0);

	if (fd < 0)
		return -errno;
	if (r == 0)
		r = write_all(fd, b->data, b->len);
	if (r == 0 && fdatasync(fd) != 0)
		r = -errno;
	if (r == 0 && renameat(f->dir, "ticket.new", f->dir, "ticket") != 0)
		r = -errno;
	return r == 0 ? dir_sync(f) : r;
}

int files_ticket_read(struct files *f, struct buf *b)
{
	uint8_t *bytes = NULL;
	size_t len = 0;
	int r = read_whole(f->dir, "ticket", &bytes, &len);

	if (r != 0)
		return r;
	r = buf_add(b, bytes, len);
	free(bytes);
	return r;
}
