/* SPDX-License-Identifier: Apache-2.0 */
/* seccomp_unotify(2); mechanisms: one thread in RECV, the slots outlive us. */
#include "kernel/host/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/trace.h"

/* Newer than the headers of Debian 12. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#define NOTIFY_FD_SYNC_WAKE_UP (1UL << 0)

_Static_assert(sizeof(struct seccomp_notif) == sizeof(struct notify_call), "one layout");
_Static_assert(offsetof(struct seccomp_notif, data.nr) == offsetof(struct notify_call, nr), "");
_Static_assert(offsetof(struct seccomp_notif, data.args) == offsetof(struct notify_call, args), "");
_Static_assert(sizeof(struct seccomp_notif) <= sizeof(((struct init_slot *)0)->notif), "fits");

struct postponed {
	struct loop_post post;
	struct notify *owner;
	bool held; /* the loop's side has the slot, until notify_answer() */
};

struct notify {
	struct loop *loop;
	notify_decide_fn decide;
	notify_postponed_fn postponed;
	void *arg;

	struct init_slot *slots; /* INIT_SLOTS of them, shared with our successor */
	struct postponed later[INIT_SLOTS];

	int listener; /* -1: none */
	pthread_t thread;
	bool started;
	atomic_bool listening;
	struct loop_fd hangup; /* an epoll of its own, so that only POLLHUP reaches the loop */

	pthread_mutex_t lock; /* guards free_slots, free_count */
	pthread_cond_t freed;
	uint16_t free_slots[INIT_SLOTS];
	unsigned free_count;

	/* Written by the receiving thread, and `answered`, `gone` by the loop's too. */
	_Atomic uint64_t received;
	_Atomic uint64_t answered;
	_Atomic uint64_t n_postponed;
	_Atomic uint64_t adopted;
	_Atomic uint64_t gone;
	_Atomic uint64_t full;
};

/* The state is what a successor goes by: it is written last, behind what it speaks of. */
static void slot_state(struct init_slot *s, uint32_t state)
{
	__atomic_store_n(&s->state, state, __ATOMIC_RELEASE);
}

static uint64_t slot_id(const struct init_slot *s)
{
	return notify_call(s)->id;
}

void notify_set_run(struct init_slot *s)
{
	s->error = 0;
	s->val = 0;
	s->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
}

void notify_set_value(struct init_slot *s, int64_t value)
{
	s->error = 0;
	s->val = value;
	s->flags = 0;
}

void notify_set_errno(struct init_slot *s, int err)
{
	CHECK(err < 0);
	s->error = err;
	s->val = 0;
	s->flags = 0;
}

/* Empties the slot: RECV wants zeros, and id 0 means free to a successor. */
static void slot_clear(struct init_slot *s)
{
	slot_state(s, INIT_SLOT_SENT);
	memset(s->notif, 0, sizeof(s->notif));
	s->step = 0;
	memset(s->note, 0, sizeof(s->note));
	slot_state(s, INIT_SLOT_TAKEN);
}

static struct init_slot *slot_get(struct notify *n)
{
	struct init_slot *s;

	pthread_mutex_lock(&n->lock);
	if (n->free_count == 0)
		n->full++;
	while (n->free_count == 0)
		pthread_cond_wait(&n->freed, &n->lock);
	s = &n->slots[n->free_slots[--n->free_count]];
	pthread_mutex_unlock(&n->lock);
	return s;
}

static void slot_put(struct notify *n, struct init_slot *s)
{
	pthread_mutex_lock(&n->lock);
	CHECK(n->free_count < INIT_SLOTS);
	n->free_slots[n->free_count++] = (uint16_t)(s - n->slots);
	pthread_cond_signal(&n->freed);
	pthread_mutex_unlock(&n->lock);
}

/* N1: from DONE the answer is sent until the host has it; ENOENT says that it has, or needs none.
 */
static void slot_send(struct notify *n, struct init_slot *s)
{
	struct seccomp_notif_resp resp = {
		.id = slot_id(s), .val = s->val, .error = s->error, .flags = s->flags
	};

	FAULT("kernel.notif.before_done");
	slot_state(s, INIT_SLOT_DONE);
	FAULT("kernel.notif.done");
	while (ioctl(n->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp) != 0) {
		if (errno == EINTR)
			continue;
		/* Anything but a caller that is gone would leave it suspended for ever. */
		CHECK(errno == ENOENT);
		n->gone++;
		break;
	}
	FAULT("kernel.notif.sent");
	slot_clear(s);
	n->answered++;
	FAULT("kernel.notif.freed");
}

void notify_answer(struct notify *n, struct init_slot *s)
{
	n->later[s - n->slots].held = false;
	slot_send(n, s);
	slot_put(n, s);
}

bool notify_valid(const struct notify *n, const struct init_slot *s)
{
	uint64_t id = slot_id(s);

	return ioctl(n->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

int notify_add_fd(struct notify *n, struct init_slot *s, int fd, unsigned at, bool cloexec)
{
	struct seccomp_notif_addfd a = {
		.id = slot_id(s),
		.srcfd = (uint32_t)fd,
		.newfd = at,
		.newfd_flags = cloexec ? O_CLOEXEC : 0,
		.flags = SECCOMP_ADDFD_FLAG_SETFD,
	};
	int r;

	do
		r = ioctl(n->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static void run_postponed(struct loop_post *p)
{
	struct postponed *l = container_of(p, struct postponed, post);
	struct notify *n = l->owner;

	n->postponed(n->arg, &n->slots[l - n->later]);
}

static void postpone(struct notify *n, struct init_slot *s)
{
	struct postponed *l = &n->later[s - n->slots];

	n->n_postponed++;
	l->owner = n;
	l->held = true;
	list_init(&l->post.link);
	l->post.cb = run_postponed;
	loop_post(n->loop, &l->post);
}

/* Returns true when the slot may be used for the next call at once. */
static bool slot_decide(struct notify *n, struct init_slot *s, bool again)
{
	enum notify_verdict v;

	FAULT("kernel.notif.taken");
	v = n->decide(n->arg, s, again);
	FAULT("kernel.notif.decided");
	if (v == NOTIFY_LATER) {
		postpone(n, s);
		return false;
	}
	CHECK(v == NOTIFY_ANSWER);
	slot_send(n, s);
	return true;
}

/* True: there may be more calls. False: no guest is left below this listener. */
static bool listener_alive(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) < 0 || !(p.revents & (POLLHUP | POLLERR | POLLNVAL));
}

static void *receive(void *arg)
{
	struct notify *n = arg;
	struct init_slot *s = slot_get(n);

	for (;;) {
		if (ioctl(n->listener, SECCOMP_IOCTL_NOTIF_RECV, s->notif) == 0) {
			n->received++;
			if (!slot_decide(n, s, false))
				s = slot_get(n);
			continue;
		}
		/* ENOENT: the caller was killed meanwhile, or (Linux 6.11) all guests are gone;
		 * EINTR: on_hangup. */
		CHECK(errno == EINTR || errno == ENOENT);
		if (!listener_alive(n->listener))
			break;
	}
	slot_put(n, s);
	atomic_store(&n->listening, false);
	trace("notify: no guest is left", 0, 0, 0);
	return NULL;
}

/* What a predecessor left: free slots, and calls that are open at one of three stages. */
static void adopt(struct notify *n)
{
	n->free_count = 0;
	for (unsigned i = INIT_SLOTS; i-- > 0;) {
		struct init_slot *s = &n->slots[i];
		uint32_t state = __atomic_load_n(&s->state, __ATOMIC_ACQUIRE);

		/* Its caller died with the last listener; whoever handles the call answers it yet.
		 */
		if (n->later[i].held)
			continue;
		if (slot_id(s) == 0 || state == INIT_SLOT_SENT || !notify_valid(n, s)) {
			n->gone += slot_id(s) != 0;
			slot_clear(s);
			n->free_slots[n->free_count++] = (uint16_t)i;
			continue;
		}
		n->adopted++;
		trace("notify: adopt", (uint64_t)notify_call(s)->nr, state, s->step);
		if (state == INIT_SLOT_DONE)
			slot_send(n, s);
		else if (!slot_decide(n, s, true))
			continue;
		n->free_slots[n->free_count++] = (uint16_t)i;
	}
}

static void nothing(int sig)
{
}

/* Before Linux 6.11 a blocked RECV does not end with the last guest: interrupt it. */
static void on_hangup(struct loop_fd *w, short revents)
{
	struct notify *n = container_of(w, struct notify, hangup);
	int epfd = w->fd;

	loop_fd_del(n->loop, w);
	(void)close(epfd);
	n->hangup.fd = -1;
	(void)pthread_kill(n->thread, SIGURG);
}

static int watch_hangup(struct notify *n)
{
	struct sigaction sa = { .sa_handler = nothing }; /* no SA_RESTART */
	struct epoll_event ev = { .events = 0 };         /* EPOLLHUP comes unasked */
	int fd = epoll_create1(EPOLL_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	if (epoll_ctl(fd, EPOLL_CTL_ADD, n->listener, &ev) != 0 ||
	    sigaction(SIGURG, &sa, NULL) != 0)
		r = -errno;
	else
		r = loop_fd_add(n->loop, &n->hangup, fd, POLLIN, on_hangup);
	if (r != 0)
		(void)close(fd);
	return r;
}

/* The thread has ended or is about to: there are no guests. */
static void stop_listening(struct notify *n)
{
	if (n->hangup.fd >= 0) {
		int epfd = n->hangup.fd;

		loop_fd_del(n->loop, &n->hangup);
		(void)close(epfd);
		n->hangup.fd = -1;
	}
	(void)pthread_join(n->thread, NULL);
	n->started = false;
	(void)close(n->listener);
	n->listener = -1;
}

int notify_listen(struct notify *n, int listener)
{
	int r;

	if (n->started) {
		if (atomic_load(&n->listening))
			return -EBUSY;
		stop_listening(n);
	}
	n->listener = listener;
	r = watch_hangup(n);
	if (r != 0) {
		n->listener = -1;
		return r;
	}
	/* Not offered before 6.6: then a wake-up may cross CPUs and costs more, nothing else. */
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, NOTIFY_FD_SYNC_WAKE_UP);
	adopt(n);
	atomic_store(&n->listening, true);
	r = -pthread_create(&n->thread, NULL, receive, n);
	n->started = r == 0;
	atomic_store(&n->listening, n->started);
	return r;
}

bool notify_listening(const struct notify *n)
{
	return atomic_load(&n->listening);
}

static int map_slots(struct notify *n, int fd)
{
	const size_t size = INIT_SLOTS * sizeof(struct init_slot);
	struct stat st;
	void *p;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (st.st_size < (off_t)size)
		return -EINVAL;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	n->slots = p;
	return 0;
}

static int check_sizes(void)
{
	struct seccomp_notif_sizes z;

	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &z) != 0)
		return -errno;
	if (z.seccomp_notif > sizeof(((struct init_slot *)0)->notif))
		return -ENOTSUP;
	return 0;
}

int notify_new(struct notify **out, struct loop *l, int slots_fd, notify_decide_fn decide,
	       notify_postponed_fn postponed, void *arg)
{
	struct notify *n = calloc(1, sizeof(*n));
	int r = n ? check_sizes() : -ENOMEM;

	if (r == 0)
		r = map_slots(n, slots_fd);
	if (r != 0) {
		free(n);
		return r;
	}
	(void)close(slots_fd);
	n->loop = l;
	n->decide = decide;
	n->postponed = postponed;
	n->arg = arg;
	n->listener = -1;
	n->hangup.fd = -1;
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->freed, NULL);
	*out = n;
	return 0;
}

struct notify_counts notify_counts(const struct notify *n)
{
	return (struct notify_counts){
		.received = n->received,
		.answered = n->answered,
		.postponed = n->n_postponed,
		.adopted = n->adopted,
		.gone = n->gone,
		.full = n->full,
	};
}

void notify_free(struct notify *n)
{
	if (n->started)
		stop_listening(n);
	(void)munmap(n->slots, INIT_SLOTS * sizeof(struct init_slot));
	pthread_mutex_destroy(&n->lock);
	pthread_cond_destroy(&n->freed);
	free(n);
}
