/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.c - tenants' worlds on this node.
 *
 * A world is started when somebody needs it and found again by the next pandod: its directory
 * RUN/t/NAME holds pando-init's socket and a file `id` that says whose it is. While this node has
 * its lease (life.c) each world is told; without that its guests freeze, and then end
 * (kernel/tenant/init.h).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pandod/pod.h"
#include "kernel/tenant/client.h"

enum { STORE_MS = 2000 };

struct waiter {
	struct list link;
	world_fn cb;
	void *arg;
};

struct world *world_find(const struct pod *p, tenant_id id)
{
	struct world *w;

	list_for_each (w, &p->worlds, link) {
		if (w->id == id && w->state != WORLD_ENDED)
			return w;
	}
	return NULL;
}

/* ---- waiters ---- */
static void world_free(struct world *w)
{
	struct loop *l = w->pod->loop;

	CHECK(list_empty(&w->waiters));
	loop_timer_clear(l, &w->settle);
	list_del(&w->link);
	free(w->told);
	free(w);
}

static void settle(struct loop_timer *t)
{
	struct world *w = container_of(t, struct world, settle);
	bool ended = w->state == WORLD_ENDED;
	bool refused = ended || w->refusing;

	w->refusing = false;
	while (!list_empty(&w->waiters) && (w->state == WORLD_READY || refused)) {
		struct waiter *x = list_front(&w->waiters, struct waiter, link);

		list_del(&x->link);
		x->cb(x->arg, refused ? NULL : w, refused ? w->end_err : 0, w->end_why);
		free(x);
	}
	if (ended)
		world_free(w);
}

static void settle_soon(struct world *w)
{
	/* A timer that cannot be armed would leave callers waiting for ever. */
	CHECK(loop_timer_set(w->pod->loop, &w->settle, 0, settle) == 0);
}

void world_ready(struct world *w)
{
	if (w->state == WORLD_STARTING)
		w->state = WORLD_READY;
	settle_soon(w);
}

void world_refuse(struct world *w, int err, const char *why)
{
	w->refusing = true;
	w->end_err = err;
	(void)snprintf(w->end_why, sizeof(w->end_why), "%s", why);
	settle_soon(w);
}

/* ---- the end ---- */
static void let_go(struct world *w)
{
	struct loop *l = w->pod->loop;

	kern_end(w);
	if (w->t != NULL) {
		loop_fd_del(l, &w->control);
		loop_child_del(l, &w->init_watch);
		tenant_free(w->t);
		w->t = NULL;
	}
}

void world_failed(struct world *w, int err, const char *why)
{
	if (w->state == WORLD_ENDED)
		return;
	log_warn("the world of %s ended: %s", w->name, why);
	w->state = WORLD_ENDED;
	w->end_err = err;
	(void)snprintf(w->end_why, sizeof(w->end_why), "%s", why);
	let_go(w);
	quota_close(w);
	session_world_ended(w);
	settle_soon(w);
}

static void control_ready(struct loop_fd *f, short revents);
static void init_ended(struct loop_child *c, const siginfo_t *si);

static int watch(struct world *w)
{
	struct loop *l = w->pod->loop;
	int r = loop_fd_add(l, &w->control, w->t->control, POLLIN, control_ready);

	return r < 0 ? r : loop_child_add(l, &w->init_watch, w->t->init_pidfd, init_ended);
}

/* Kills what is left of it and clears its groups away. */
static int clear_away(struct world *w, char why[TENANT_WHY_MAX])
{
	cleanup_close int kernel = -1;
	siginfo_t si;
	int r;

	if (w->t == NULL)
		return 0; /* it waits for its loan */
	kernel = w->kernel_pidfd >= 0 ? fcntl(w->kernel_pidfd, F_DUPFD_CLOEXEC, 3) : -1;
	kern_end(w);
	loop_fd_del(w->pod->loop, &w->control);
	loop_child_del(w->pod->loop, &w->init_watch);
	r = tenant_stop(w->t, why);
	if (r == 0)
		w->t = NULL; /* it was freed */
	/* Its group is empty, so it has ended. Our child, or the guard's, which reaps it. */
	if (kernel >= 0 && waitid(P_PIDFD, (id_t)kernel, &si, WEXITED | WNOHANG) < 0 &&
	    errno != ECHILD)
		log_warn("the guest kernel of %s stays a zombie", w->name);
	return r;
}

static void init_ended(struct loop_child *c, const siginfo_t *si)
{
	struct world *w = container_of(c, struct world, init_watch);
	char why[TENANT_WHY_MAX];

	(void)si;
	if (clear_away(w, why) < 0)
		log_warn("cannot clear the world of %s: %s", w->name, why);
	world_failed(w, -EPIPE, "its pando-init ended");
}

int world_stop(struct pod *p, tenant_id id, char why[TENANT_WHY_MAX])
{
	struct world *w = world_find(p, id);
	int r;

	why[0] = '\0';
	if (w == NULL)
		return 0;
	FAULT("pod.world.ends");
	r = clear_away(w, why);
	if (r < 0) {
		if (watch(w) < 0)
			log_error("cannot watch the world of %s", w->name);
		return r;
	}
	world_failed(w, -ECANCELED, "the tenant was stopped");
	return 0;
}

void world_drop_removed(struct pod *p)
{
	const struct naming_core *k = naming_tables(p->naming);
	char why[TENANT_WHY_MAX];
	struct world *w, *next;

	list_for_each_safe (w, next, &p->worlds, link) {
		if (w->state == WORLD_ENDED || naming_tenant_find(k, w->id) != NULL)
			continue;
		if (world_stop(p, w->id, why) < 0)
			log_warn("cannot end the removed tenant %s: %s", w->name, why);
	}
}

int world_stop_all(struct pod *p)
{
	char why[TENANT_WHY_MAX];
	struct world *w, *next;
	int err = 0, r;

	list_for_each_safe (w, next, &p->worlds, link) {
		if (w->state == WORLD_ENDED)
			continue;
		r = world_stop(p, w->id, why);
		if (r < 0)
			log_warn("cannot end the world of %s: %s", w->name, why);
		err = r < 0 ? r : err;
	}
	return err;
}

void world_fini_all(struct pod *p)
{
	struct world *w, *next;

	list_for_each_safe (w, next, &p->worlds, link) {
		while (!list_empty(&w->waiters)) {
			struct waiter *x = list_front(&w->waiters, struct waiter, link);

			list_del(&x->link);
			free(x);
		}
		let_go(w);
		world_free(w);
	}
}

/* Replies to what we sent without waiting. */
static void control_ready(struct loop_fd *f, short revents)
{
	struct world *w = container_of(f, struct world, control);
	cleanup_free struct init_in *in = malloc(sizeof(*in));
	int r = in ? init_recv(f->fd, in) : -ENOMEM;

	if (r == 1) {
		if (in->msg.result < 0 && in->msg.op < INIT_EV_EXIT)
			log_warn("pando-init of %s refuses request %u: %s", w->name, in->msg.op,
				 strerror(-in->msg.result));
		init_in_close(in);
	} else if (r != -EAGAIN && r != -ENOMEM) {
		/* The connection is gone; if pando-init is too, its pidfd tells. */
		if (loop_fd_mod(w->pod->loop, f, 0) < 0)
			loop_fd_del(w->pod->loop, f);
	}
	(void)revents;
}

/* ---- the start ---- */
struct places {
	char run[PATH_MAX], api[PATH_MAX], home[PATH_MAX], tmp[PATH_MAX], var_tmp[PATH_MAX];
	char home_inside[TENANT_NAME_MAX + 8];
	char group[CGROUP_PATH_MAX];
	char init[PATH_MAX + 16], stub[PATH_MAX + 16], pando[PATH_MAX + 16];
	struct tenant_volume volumes[4];
};

static int make_dir(const char *path, mode_t mode, uid_t uid)
{
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	/* Whose it is stays the tenant's business once it exists. */
	if (st.st_uid == 0 && uid != 0 && lchown(path, uid, uid) < 0)
		return -errno;
	if ((st.st_mode & 07777) == 0700 && mode != 0700 && chmod(path, mode) < 0)
		return -errno;
	return 0;
}

static int make_volumes(struct world *w, struct places *pl)
{
	const struct naming_volume *v =
		naming_volume_find(naming_tables(w->pod->naming), TENANT_NONE, "home");
	char top[PATH_MAX];
	int r;

	if (v == NULL)
		return -ENOENT;
	(void)snprintf(top, sizeof(top), "%s/%s", v->path, w->name);
	(void)snprintf(pl->home, PATH_MAX, "%.4000s/home", top);
	(void)snprintf(pl->tmp, PATH_MAX, "%.4000s/tmp", top);
	(void)snprintf(pl->var_tmp, PATH_MAX, "%.4000s/var-tmp", top);
	r = make_dir(top, 0700, 0);
	if (r == 0)
		r = make_dir(pl->home, 0750, NAMING_GUEST_UID);
	if (r == 0)
		r = make_dir(pl->tmp, 01777, 0);
	if (r == 0)
		r = make_dir(pl->var_tmp, 01777, 0);
	return r;
}

static int run_dir_make(struct world *w, struct places *pl)
{
	char path[PATH_MAX + 8], text[64];
	int r;

	(void)snprintf(path, sizeof(path), "%s/t", w->pod->run);
	r = make_dir(path, 0700, 0);
	if (r == 0)
		r = make_dir(pl->run, 0700, 0);
	if (r == 0)
		r = make_dir(pl->api, 0755, 0);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%.4000s/id", pl->run);
	(void)snprintf(text, sizeof(text), "%u\n", w->id);
	return file_put(path, text);
}

static void places_fill(struct world *w, struct places *pl)
{
	struct pod *p = w->pod;

	memset(pl, 0, sizeof(*pl));
	(void)snprintf(pl->run, PATH_MAX, "%.4000s/t/%s", p->run, w->name);
	(void)snprintf(pl->api, PATH_MAX, "%.4000s/t/%s/api", p->run, w->name);
	(void)snprintf(pl->group, sizeof(pl->group), "%.200s/%s", p->group, w->name);
	(void)snprintf(pl->home_inside, sizeof(pl->home_inside), "/home/%s", w->name);
	(void)snprintf(pl->init, sizeof(pl->init), "%s/pando-init", p->lib);
	(void)snprintf(pl->stub, sizeof(pl->stub), "%s/pando-stub", p->lib);
	(void)snprintf(pl->pando, sizeof(pl->pando), "%s/pando", p->lib);
	pl->volumes[0] = (struct tenant_volume){ pl->home, pl->home_inside, true, false };
	pl->volumes[1] = (struct tenant_volume){ pl->tmp, "/tmp", true, false };
	pl->volumes[2] = (struct tenant_volume){ pl->var_tmp, "/var/tmp", true, false };
	pl->volumes[3] = (struct tenant_volume){ pl->api, "/run/pando", false, true };
}

/* The machine's monotonic clock starts when the machine was made, so that deadlines can move. */
static int64_t clock_offset(const struct naming_machine *m)
{
	uint64_t age_ns = clock_wall_ns() - m->created_ms * NS_PER_MS;

	return m->created_ms == 0 ? 0 : (int64_t)age_ns - (int64_t)clock_mono_ns();
}

static void config_fill(struct world *w, const struct places *pl, const struct naming_tenant *row,
			struct tenant_cfg *cfg)
{
	struct pod *p = w->pod;
	const struct naming_machine *m = naming_machine(naming_tables(p->naming));

	*cfg = (struct tenant_cfg){
		.name = w->name,
		.run_dir = pl->run,
		.cgroups = p->cgroups,
		.cgroup = pl->group,
		.volumes = pl->volumes,
		.volume_count = ARRAY_LEN(pl->volumes),
		.home = pl->home_inside,
		.procfs = access("/dev/fuse", R_OK | W_OK) == 0,
		.init_path = pl->init,
		.stub_path = access(pl->stub, X_OK) == 0 ? pl->stub : NULL,
		.pando_path = access(pl->pando, X_OK) == 0 ? pl->pando : NULL,
		.filter = p->filter.data,
		.filter_bytes = p->filter.len,
	};
	if (row != NULL) {
		cfg->hostname = m->name;
		cfg->id_base = row->host_id;
		cfg->clock_offset_ns = clock_offset(m);
		quota_limits(w, &cfg->limits);
	}
}

/* The store has it: its socket outlives us and every guest kernel. */
static bool has_socket(struct world *w)
{
	struct init_msg get = { .op = INIT_GET, .key = INIT_KEY_API };
	int fd = -1, r = init_call(w->t->control, &get, NULL, 0, NULL, 0, &fd, NULL, STORE_MS);

	if (fd >= 0)
		(void)close(fd);
	return r >= 0;
}

static int make_socket(struct world *w, const struct places *pl)
{
	struct init_msg put = { .op = INIT_PUT, .key = INIT_KEY_API };
	char path[PATH_MAX + 16];
	cleanup_close int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/control.sock", pl->api);
	fd = ctl_socket_listen(path, 0666);
	if (fd < 0)
		return fd;
	FAULT("pod.world.socket");
	return init_call(w->t->control, &put, NULL, 0, &fd, 1, NULL, NULL, STORE_MS);
}

/*
 * The socket of `pando` inside sessions, which the guest kernel serves (control.c there): we never
 * accept on it. Without it a session works, but has no commands.
 */
static void give_socket(struct world *w, const struct places *pl)
{
	int r = has_socket(w) ? 0 : make_socket(w, pl);

	if (r < 0)
		log_warn("tenant %s has no control socket inside: %s", w->name, strerror(-r));
}

/* Init runs: watch it, lease it, give it a kernel. */
static int world_begin(struct world *w, const struct places *pl, bool adopted,
		       char why[TENANT_WHY_MAX])
{
	int r;

	w->state = WORLD_STARTING;
	(void)fcntl(w->t->control, F_SETFL, fcntl(w->t->control, F_GETFL) | O_NONBLOCK);
	r = watch(w);
	if (r == 0)
		r = life_world_clock(w);
	if (r < 0) {
		(void)snprintf(why, TENANT_WHY_MAX, "cannot watch its pando-init: %s",
			       strerror(-r));
		return r;
	}
	life_tell(w);
	give_socket(w, pl);
	FAULT("pod.world.begun");
	return kern_begin(w, adopted, why);
}

static struct world *world_new(struct pod *p, tenant_id id, const char *name)
{
	struct world *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->pod = p;
	w->id = id;
	w->kernel_pidfd = -1;
	list_init(&w->waiters);
	list_init(&w->asks);
	list_add_tail(&p->worlds, &w->link);
	(void)snprintf(w->name, sizeof(w->name), "%s", name);
	return w;
}

static void world_start(struct world *w, const struct naming_tenant *row)
{
	char why[TENANT_WHY_MAX] = "";
	struct places pl;
	struct tenant_cfg cfg;
	int r;

	places_fill(w, &pl);
	r = volume_prepare(w->pod, row, why);
	if (r < 0) {
		world_failed(w, r, why);
		return;
	}
	r = make_volumes(w, &pl);
	if (r < 0) {
		world_failed(w, r, "its volume cannot be made");
		return;
	}
	r = run_dir_make(w, &pl);
	if (r < 0) {
		world_failed(w, r, "its run directory cannot be made");
		return;
	}
	config_fill(w, &pl, row, &cfg);
	r = tenant_start(&cfg, &w->t, why);
	FAULT("pod.world.started");
	if (r == -EEXIST)
		r = tenant_adopt(&cfg, &w->t, why);
	if (r == 0)
		quota_started(w);
	if (r == 0)
		r = world_begin(w, &pl, false, why);
	if (r < 0)
		world_failed(w, r, why);
}

/* -ENOENT: a dead one has left nothing that lives. */
static int look_for_init(struct world *w)
{
	char why[TENANT_WHY_MAX] = "";
	struct tenant_cfg cfg;
	struct places pl;
	struct tenant *t;
	int r;

	places_fill(w, &pl);
	config_fill(w, &pl, NULL, &cfg);
	r = tenant_adopt(&cfg, &t, why);
	if (r == 0)
		tenant_free(t);
	return r;
}

struct putting_away {
	struct pod *pod;
	tenant_id tenant;
};

static void put_away(void *arg, int err, const char *why)
{
	struct putting_away *x = arg;
	struct world *w = world_find(x->pod, x->tenant);

	if (w != NULL && w->state == WORLD_NEW)
		world_lent(w, err, why);
	free(x);
}

/* K2: pids that an earlier one has given, and that may live elsewhere, are not given again. */
static int put_earlier_away(struct world *w)
{
	struct putting_away *x = malloc(sizeof(*x));
	int r;

	CHECK(x != NULL);
	*x = (struct putting_away){ w->pod, w->id };
	r = lost_give_up(w->pod, w->id, put_away, x);
	if (r < 0)
		free(x);
	return r;
}

void world_lent(struct world *w, int err, const char *why)
{
	bool earlier = err == 0 && lost_has(w->pod, w->id) && look_for_init(w) == -ENOENT;
	const struct naming_tenant *row = naming_tenant_find(naming_tables(w->pod->naming), w->id);

	if (err == 0 && row == NULL)
		err = -ENOENT;
	else if (err == 0 && !life_is_held(w->pod)) {
		err = -EAGAIN;
		why = "this node has no lease of the machine just now";
	} else if (earlier) {
		err = put_earlier_away(w);
		why = "the machine's tables cannot be asked";
		if (err == 0)
			return;
	}
	if (err < 0)
		world_failed(w, err, *why ? why : "the tenant was removed");
	else
		world_start(w, row);
}

void world_get(struct pod *p, tenant_id id, world_fn cb, void *arg)
{
	struct world *w = world_find(p, id);
	struct waiter *x = calloc(1, sizeof(*x));
	const struct naming_tenant *row = naming_tenant_find(naming_tables(p->naming), id);
	bool start = w == NULL;

	CHECK(row != NULL);
	if (start)
		w = world_new(p, id, row->name);
	/* Out of memory for some bytes: the caller cannot even be told later. */
	CHECK(x != NULL && w != NULL);
	*x = (struct waiter){ .cb = cb, .arg = arg };
	list_add_tail(&w->waiters, &x->link);
	if (start)
		quota_open(w);
	else
		settle_soon(w);
}

/* ---- adoption ---- */
static tenant_id read_id(const char *dir)
{
	char path[PATH_MAX + 8];
	unsigned id = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/id", dir);
	f = fopen(path, "re");
	if (f == NULL)
		return TENANT_NONE;
	if (fscanf(f, "%u", &id) != 1)
		id = 0;
	(void)fclose(f);
	return id;
}

/* One that an earlier pandod has left, and what is needed to take it over. */
static struct world *world_of_before(struct pod *p, const char *name, struct places *pl,
				     struct tenant_cfg *cfg)
{
	struct world *w = world_new(p, TENANT_NONE, name);

	CHECK(w != NULL);
	places_fill(w, pl);
	config_fill(w, pl, NULL, cfg);
	return w;
}

static int adopt_one(struct pod *p, const char *name)
{
	char why[TENANT_WHY_MAX] = "";
	struct tenant_cfg cfg;
	struct places pl;
	struct world *w = world_of_before(p, name, &pl, &cfg);
	int r;

	w->id = read_id(pl.run);
	r = w->id == TENANT_NONE ? -ENOENT : tenant_adopt(&cfg, &w->t, why);
	if (r < 0) {
		if (r != -ENOENT)
			log_warn("cannot adopt the world of %s: %s", name, why);
		world_free(w);
		return r;
	}
	log_info("adopted the world of %s", name);
	quota_adopt(w);
	r = world_begin(w, &pl, true, why);
	if (r < 0)
		world_failed(w, r, why);
	return 0;
}

int world_look_for(struct pod *p, tenant_id id)
{
	const struct naming_tenant *row = naming_tenant_find(naming_tables(p->naming), id);
	int r = row == NULL ? -ENOENT : adopt_one(p, row->name);

	return r == 0 && world_find(p, id) == NULL ? -EAGAIN : r;
}

static int clear_one(struct pod *p, const char *name)
{
	char why[TENANT_WHY_MAX] = "";
	struct tenant_cfg cfg;
	struct places pl;
	struct world *w = world_of_before(p, name, &pl, &cfg);
	int r = tenant_adopt(&cfg, &w->t, why);

	if (r == 0) {
		log_warn("the world of %s is of an earlier life: it is ended", name);
		r = tenant_stop(w->t, why);
	}
	if (r < 0 && r != -ENOENT)
		log_warn("cannot end the world of %s: %s", name, why);
	world_free(w);
	return r == -ENOENT ? 0 : r;
}

/* The last error of @fn, of all names of worlds that have a directory here. */
static int each_world_dir(struct pod *p, int (*fn)(struct pod *p, const char *name))
{
	char path[PATH_MAX + 8];
	struct dirent *e;
	int err = 0, r;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/t", p->run);
	d = opendir(path);
	while (d != NULL && (e = readdir(d)) != NULL) {
		r = naming_name_ok(e->d_name, TENANT_NAME_MAX, true) ? fn(p, e->d_name) : 0;
		err = r < 0 ? r : err;
	}
	if (d != NULL)
		(void)closedir(d);
	return err;
}

void world_adopt_all(struct pod *p)
{
	(void)each_world_dir(p, adopt_one);
}

int world_clear_all(struct pod *p)
{
	return each_world_dir(p, clear_one);
}
