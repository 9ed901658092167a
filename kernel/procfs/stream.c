/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - /proc/.stream: requests to files whose descriptions are at other nodes (procfs.h). */
#include <errno.h>
#include <sys/stat.h>

#include "kernel/procfs/priv.h"

static void stream_attr(uint64_t id, const struct procfs_stream_attr *from, struct fuse_attr *a)
{
	*a = (struct fuse_attr){ .ino = from->ino ? from->ino : id,
				 .size = from->size,
				 .blocks = from->blocks,
				 .mode = S_IFREG | (from->mode & 07777),
				 .nlink = from->nlink,
				 .uid = from->uid,
				 .gid = from->gid,
				 .blksize = 4096 };
	a->atime = (uint64_t)(from->atime_ns / (int64_t)NS_PER_S);
	a->atimensec = (uint32_t)(from->atime_ns % (int64_t)NS_PER_S);
	a->mtime = (uint64_t)(from->mtime_ns / (int64_t)NS_PER_S);
	a->mtimensec = (uint32_t)(from->mtime_ns % (int64_t)NS_PER_S);
	a->ctime = (uint64_t)(from->ctime_ns / (int64_t)NS_PER_S);
	a->ctimensec = (uint32_t)(from->ctime_ns % (int64_t)NS_PER_S);
}

/* A name is there for the process that gets the file, while it gets it: nothing is cached. */
void stream_lookup(struct request *rq)
{
	static const struct procfs_stream_attr unknown = { .mode = 0600, .nlink = 1 };
	const struct procfs_ops *ops = rq->p->ops;
	struct fuse_entry_out out = { .generation = 1 };
	uint64_t id = 0;
	int r = -ENOENT;

	if (ops->stream_find)
		r = ops->stream_find(rq->p->arg, (const char *)rq->body, (gpid)rq->in->pid, &id);
	out.nodeid = ID_STREAM | id;
	stream_attr(out.nodeid, &unknown, &out.attr);
	(void)answer(rq, r, &out, sizeof(out));
}

static int stream_read(const struct request *rq, struct procfs_stream *q)
{
	const struct fuse_read_in *in = (const void *)rq->body;

	if (rq->len < sizeof(*in) || in->size > PROCFS_STREAM_MAX)
		return -EPROTO;
	/* Not by read(2), which has an owner, but for the page cache (sendfile, a mapping): that
	 * asks for places in the file, and there are none. */
	if (!(in->read_flags & FUSE_READ_LOCKOWNER))
		return -EINVAL;
	q->kind = PROCFS_STREAM_READ;
	q->len = in->size;
	return 0;
}

static int stream_write(const struct request *rq, struct procfs_stream *q)
{
	const struct fuse_write_in *in = (const void *)rq->body;

	if (rq->len < sizeof(*in) || rq->len - sizeof(*in) < in->size)
		return -EPROTO;
	q->kind = PROCFS_STREAM_WRITE;
	q->len = in->size;
	q->bytes = in + 1;
	return 0;
}

static int stream_setattr(const struct request *rq, struct procfs_stream *q)
{
	const struct fuse_setattr_in *in = (const void *)rq->body;

	if (rq->len < sizeof(*in))
		return -EPROTO;
	if (!(in->valid & FATTR_SIZE) || (in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID)))
		return -EPERM;
	q->kind = PROCFS_STREAM_TRUNCATE;
	q->len = in->size;
	return 0;
}

static int stream_release(const struct request *rq, struct procfs_stream *q)
{
	const struct fuse_release_in *in = (const void *)rq->body;

	if (rq->len < sizeof(*in))
		return -EPROTO;
	q->kind = PROCFS_STREAM_CLOSE;
	q->handle = in->fh;
	return 0;
}

static int stream_parse(const struct request *rq, struct procfs_stream *q)
{
	switch (rq->in->opcode) {
	case FUSE_OPEN:
		q->kind = PROCFS_STREAM_OPEN;
		return 0;
	case FUSE_GETATTR:
		q->kind = PROCFS_STREAM_ATTR;
		return 0;
	case FUSE_FSYNC:
		q->kind = PROCFS_STREAM_SYNC;
		return 0;
	case FUSE_READ:
		return stream_read(rq, q);
	case FUSE_WRITE:
		return stream_write(rq, q);
	case FUSE_SETATTR:
		return stream_setattr(rq, q);
	case FUSE_RELEASE:
		return stream_release(rq, q);
	default:
		return -ENOSYS;
	}
}

void stream_serve(struct request *rq)
{
	struct procfs *p = rq->p;
	struct procfs_stream q = { .id = rq->in->nodeid & ~ID_STREAM,
				   .key = rq->in->unique,
				   .slot = (unsigned)(rq->slot - p->slots) };
	int r = stream_parse(rq, &q);

	if (r == 0)
		r = p->ops->stream ? p->ops->stream(p->arg, &q) : -ENOENT;
	if (r < 0 || q.kind == PROCFS_STREAM_CLOSE)
		(void)answer(rq, q.kind == PROCFS_STREAM_CLOSE ? 0 : r, NULL, 0);
}

static bool answer_stream(struct request *rq, const void *bytes, size_t len,
			  const struct procfs_stream_attr *attr)
{
	struct fuse_open_out opened = { .open_flags =
						FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NONSEEKABLE,
					.fh = rq->in->unique };
	struct fuse_write_out written = { .size = (uint32_t)len };
	struct fuse_attr_out out = { 0 };

	switch (rq->in->opcode) {
	case FUSE_OPEN:
		return answer(rq, 0, &opened, sizeof(opened));
	case FUSE_READ:
		return answer(rq, 0, bytes, len);
	case FUSE_WRITE:
		return answer(rq, 0, &written, sizeof(written));
	case FUSE_FSYNC:
		return answer(rq, 0, NULL, 0);
	default:
		if (!attr)
			return answer(rq, -EIO, NULL, 0);
		stream_attr(rq->in->nodeid, attr, &out.attr);
		return answer(rq, 0, &out, sizeof(out));
	}
}

bool procfs_stream_done(struct procfs *p, uint64_t key, int err, const void *bytes, size_t len,
			const struct procfs_stream_attr *attr)
{
	struct request rq;
	bool waited;

	if (!request_find(p, key, &rq) || !(rq.in->nodeid & ID_STREAM))
		return false;
	waited = err ? answer(&rq, err, NULL, 0) : answer_stream(&rq, bytes, len, attr);
	procfs_read_on(p);
	return waited;
}
