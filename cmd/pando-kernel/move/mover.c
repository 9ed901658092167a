/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pando-kernel/move/mover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

/* ---- what the image asks of its caller ---- */
static int image_write(void *arg, const void *bytes, size_t len)
{
	struct mover *m = arg;
	const uint8_t *p = bytes;
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(m->pipe, p + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	m->bytes += len;
	return 0;
}

static int image_read(void *arg, void *bytes, size_t len)
{
	struct mover *m = arg;
	uint8_t *p = bytes;
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(m->pipe, p + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		done += (size_t)n;
	}
	m->bytes += len;
	return 0;
}

static struct image_env env_of(struct mover *m)
{
	return (struct image_env){ .proc = m->w->view.procfs,
				   .slots = &m->w->gates,
				   .stub_path = TENANT_STUB,
				   .filters = 1,
				   .hooks = m->hooks,
				   .arg = m->hooks_arg };
}

/* ---- the jobs ---- */
static int dump(struct mover *m)
{
	struct image_sink to = { image_write, m };
	int r;

	/* Before: what comes while it is copied is raised twice rather than lost. */
	m->pending = task_pending(m->w->view.procfs, m->pid);
	r = image_dump(m->frozen, &to, &m->why);
	(void)close(m->pipe);
	m->pipe = -1;
	return r;
}

static int recover(struct mover *m, enum image_fate fate)
{
	struct image_env env = env_of(m);

	return image_recover_role(&env, m->pid) == -ENOENT
		       ? 0
		       : image_recover(&env, m->pid, fate, &m->why);
}

static int build(struct mover *m)
{
	struct image_source from = { image_read, m };
	struct image_env env = env_of(m);
	int r = image_build(&env, m->pid, &from, &m->built, &m->why);

	(void)close(m->pipe);
	m->pipe = -1;
	return r;
}

static int leave(struct mover *m)
{
	struct image_frozen *f = m->frozen;

	m->frozen = NULL;
	return f ? image_leave(f, &m->why) : recover(m, IMAGE_FATE_STUB);
}

static int thaw(struct mover *m)
{
	struct image_frozen *f = m->frozen;

	m->frozen = NULL;
	if (!f)
		return recover(m, IMAGE_FATE_RUN);
	image_thaw(f);
	return 0;
}

static int go(struct mover *m)
{
	struct image_built *b = m->built;

	m->built = NULL;
	return b ? image_go(b) : recover(m, IMAGE_FATE_RUN);
}

static int unbuild(struct mover *m)
{
	struct image_built *b = m->built;

	m->built = NULL;
	return b ? image_unbuild(b, &m->why) : recover(m, IMAGE_FATE_STUB);
}

static int run_job(struct mover *m, enum mover_job job)
{
	struct image_env env = env_of(m);

	m->why.len = 0;
	switch (job) {
	case MOVER_WHY:
		image_why_fini(&m->cost);
		usage_let_go(m->pid);
		return image_why(&env, m->pid, &m->cost);
	case MOVER_FREEZE:
		usage_let_go(m->pid);
		return image_freeze(&env, m->pid, &m->frozen, &m->why);
	case MOVER_DUMP:
		return dump(m);
	case MOVER_LEAVE:
		return leave(m);
	case MOVER_THAW:
		return thaw(m);
	case MOVER_BUILD:
		return build(m);
	case MOVER_GO:
		return go(m);
	case MOVER_UNBUILD:
		return unbuild(m);
	default:
		return -EINVAL;
	}
}

/* ---- the thread ---- */
static void on_done(struct loop_post *post)
{
	struct mover *m = container_of(post, struct mover, post);
	enum mover_job job = m->job;

	m->job = MOVER_NONE;
	m->done(m, job, m->result);
}

static void *thread(void *arg)
{
	struct mover *m = arg;

	for (;;) {
		enum mover_job job;

		(void)pthread_mutex_lock(&m->lock);
		while (m->next == MOVER_NONE)
			(void)pthread_cond_wait(&m->changed, &m->lock);
		job = m->next;
		m->next = MOVER_NONE;
		(void)pthread_mutex_unlock(&m->lock);
		if (job == MOVER_QUIT)
			return NULL;
		m->result = run_job(m, job);
		loop_post(m->w->loop, &m->post);
	}
}

int mover_do(struct mover *m, enum mover_job job)
{
	int r = 0;

	if (m->job != MOVER_NONE)
		return -EBUSY;
	if (!m->started) {
		(void)pthread_mutex_init(&m->lock, NULL);
		(void)pthread_cond_init(&m->changed, NULL);
		list_init(&m->post.link);
		m->post.cb = on_done;
		r = -pthread_create(&m->thread, NULL, thread, m);
		m->started = r == 0;
	}
	if (r != 0)
		return r;
	(void)pthread_mutex_lock(&m->lock);
	m->job = m->next = job;
	(void)pthread_cond_signal(&m->changed);
	(void)pthread_mutex_unlock(&m->lock);
	return 0;
}

bool mover_is_busy(const struct mover *m)
{
	return m->job != MOVER_NONE;
}

void mover_end(struct mover *m)
{
	if (m->started && mover_do(m, MOVER_QUIT) == 0)
		(void)pthread_join(m->thread, NULL);
	m->started = false;
	m->job = MOVER_NONE;
	if (m->pipe >= 0)
		(void)close(m->pipe);
	m->pipe = -1;
	buf_fini(&m->why);
	image_why_fini(&m->cost);
}

/* ---- asking the loop ---- */
struct asked {
	struct loop_post post;
	struct mover *m;
	int (*fn)(void *arg);
	void *arg;
	int result;
	bool answered;
};

static void on_ask(struct loop_post *post)
{
	struct asked *q = container_of(post, struct asked, post);
	int r = q->fn(q->arg);

	(void)pthread_mutex_lock(&q->m->lock);
	q->result = r;
	q->answered = true;
	(void)pthread_cond_signal(&q->m->changed);
	(void)pthread_mutex_unlock(&q->m->lock);
}

int mover_ask(struct mover *m, int (*fn)(void *arg), void *arg)
{
	struct asked q = { .post.cb = on_ask, .m = m, .fn = fn, .arg = arg };

	list_init(&q.post.link);
	loop_post(m->w->loop, &q.post);
	(void)pthread_mutex_lock(&m->lock);
	while (!q.answered)
		(void)pthread_cond_wait(&m->changed, &m->lock);
	(void)pthread_mutex_unlock(&m->lock);
	return q.result;
}
