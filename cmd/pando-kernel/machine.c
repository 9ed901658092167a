/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - what a guest sees of the machine: /proc, memory, processors (kernel/procfs/ speaks
 * the protocol).
 *
 * Processes elsewhere are known by the guest kernels of the nodes that we are connected with; these
 * are asked when somebody begins to list /proc, who waits for them a little. What they told serves
 * for a short while: a `ps` makes hundreds of look-ups.
 *
 * The native procfs of the tenant's pid namespace is at hand as a descriptor; a path below the
 * mount that we serve is never opened.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/pando-kernel/files/streams.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/host/mem.h"
#include "kernel/kernel.h"
#include "kernel/kernel.pb-c.h"
#include "kernel/procfs/procfs.h"

#define KEY_SLOTS "procfs.slots"
#define FAR_NS    (100 * NS_PER_MS) /* how long other nodes' answers are good */
#define MOVE_NS   (120 * NS_PER_S)
#define ANSWER_NS (200 * NS_PER_MS) /* how long a lister waits for them */

/* What one other node told last. */
struct far_node {
	struct list link;
	node_id node;
	Kernel__ProcessList *list;
	bool asked;
	bool dialing;
	bool awaited; /* its connection, by who lists, for a little */
	struct loop_timer patience;
};

static struct machine {
	struct world *w;
	struct procfs *procfs;
	int native; /* procfs of the tenant's pids */
	int run;    /* control group of the guests that run */
	gpid *pids; /* of the listing under way, ascending */
	size_t count, cap;
	struct list far;
	uint64_t far_ns;  /* when last asked; 0: never */
	bool asking;      /* nobody goes on before all are asked */
	unsigned missing; /* answers */
	cpu_set_t node_cpus;
	uint64_t load_ns;
	uint64_t load_micro[3]; /* decayed over 1, 5 and 15 minutes, in millionths of a program */
} machine = { .native = -1, .run = -1, .far = LIST_INIT(machine.far) };

/* ---- processes ---- */

static const Kernel__Process *far_find(gpid pid)
{
	struct far_node *f;

	list_for_each (f, &machine.far, link)
		for (size_t i = 0; f->list && i < f->list->n_processes; i++)
			if (f->list->processes[i]->pid == pid)
				return f->list->processes[i];
	return NULL;
}

/* Whose place is here is known better than by the others' lists. */
static node_id far_node(const struct world *w, gpid pid)
{
	const Kernel__Process *q = far_find(pid);
	const struct stub *s = stubs_find(w->stubs, pid);

	return s && (s->home || !q) ? s->peer : q ? q->node : NODE_NONE;
}

static int find_far(gpid pid, struct procfs_pid *out)
{
	const Kernel__Process *q = far_find(pid);
	node_id node = far_node(machine.w, pid);

	if (node == NODE_NONE || pid == machine.w->zygote)
		return -ESRCH;
	*out = (struct procfs_pid){ .pid = pid, .uid = q ? q->uid : TENANT_UID };
	(void)snprintf(out->node, sizeof(out->node), "%s", peers_name(machine.w, node));
	return 0;
}

bool machine_has_task(const struct world *w, gpid pid)
{
	int r = proc_node_tid(&w->view, pid);
	char name[16];
	struct stat st;

	if (r > 0 || r == -ESRCH)
		return r > 0;
	(void)snprintf(name, sizeof(name), "%d", pid);
	return fstatat(machine.native, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

bool machine_has_program(const struct world *w, gpid pid)
{
	char name[32], comm[32] = "";
	cleanup_close int fd = -1;

	if (!machine_has_task(w, pid))
		return false;
	(void)snprintf(name, sizeof(name), "%d/comm", pid);
	fd = openat(machine.native, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, comm, sizeof(comm) - 1) < 0)
		return false;
	return strcmp(comm, STUB_COMM "\n") != 0;
}

static int find(void *arg, gpid pid, struct procfs_pid *out)
{
	struct world *w = arg;
	char name[16];
	struct stat st;

	(void)snprintf(name, sizeof(name), "%d", pid);
	/* pando-init and its spawner are of no concern to guests; a stub executes nothing. */
	if (fstatat(machine.native, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    stubs_find(w->stubs, pid))
		return find_far(pid, out);
	if (st.st_uid == 0)
		return -ESRCH;
	*out = (struct procfs_pid){ .pid = pid, .uid = st.st_uid, .here = true };
	(void)snprintf(out->node, sizeof(out->node), "%s", w->node_name);
	return 0;
}

static int keep(gpid pid)
{
	if (machine.count == machine.cap) {
		size_t cap = machine.cap == 0 ? 256 : machine.cap * 2;
		gpid *v = realloc(machine.pids, cap * sizeof(*v));

		if (v == NULL)
			return -ENOMEM;
		machine.pids = v;
		machine.cap = cap;
	}
	machine.pids[machine.count++] = pid;
	return 0;
}

/* The host lists them in ascending order. */
static int list(void)
{
	int fd = openat(machine.native, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	machine.count = 0;
	if (d == NULL) {
		if (fd >= 0)
			(void)close(fd);
		return -EIO;
	}
	while (r == 0 && (e = readdir(d)) != NULL) {
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			r = keep((gpid)strtol(e->d_name, NULL, 10));
	}
	(void)closedir(d);
	return r;
}

static int next(void *arg, gpid after, struct procfs_pid *out)
{
	struct far_node *f;
	struct procfs_pid p;
	gpid best = 0;

	if (after == 0 && list() < 0)
		return -ESRCH;
	for (size_t i = 0; i < machine.count && best == 0; i++)
		if (machine.pids[i] > after && find(arg, machine.pids[i], out) == 0)
			best = machine.pids[i];
	list_for_each (f, &machine.far, link)
		for (size_t i = 0; f->list && i < f->list->n_processes; i++) {
			gpid pid = f->list->processes[i]->pid;

			if (pid > after && (best == 0 || pid < best) && find(arg, pid, &p) == 0) {
				best = pid;
				*out = p;
			}
		}
	return best == 0 ? -ESRCH : 0;
}

/* ---- asking other nodes ---- */

static void all_answered(void)
{
	if (machine.missing == 0 && !machine.asking)
		procfs_go_on(machine.procfs);
}

static void on_far(void *arg, int err, const struct rpc_msg *msg)
{
	struct far_node *f = arg;
	Kernel__ProcessList *l = NULL;

	f->asked = false;
	machine.missing--;
	if (err == 0 && msg->len <= RPC_BODY_MAX)
		l = kernel__process_list__unpack(NULL, msg->len, msg->body);
	/* Who does not answer is not listed: its processes may have ended with it. */
	if (f->list)
		kernel__process_list__free_unpacked(f->list, NULL);
	f->list = l;
	all_answered();
}

static struct far_node *far_get(node_id node)
{
	struct far_node *f;

	list_for_each (f, &machine.far, link)
		if (f->node == node)
			return f;
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->node = node;
	list_add_tail(&machine.far, &f->link);
	return f;
}

static void forget(struct far_node *f)
{
	if (f->list)
		kernel__process_list__free_unpacked(f->list, NULL);
	f->list = NULL;
}

static bool ask(struct far_node *f, struct rpc_conn *c)
{
	struct rpc_msg q = { .method = KERNEL_PS };
	struct rpc_opts o = { .deadline_ns = clock_mono_ns() + ANSWER_NS };

	if (f->asked)
		return true;
	f->asked = rpc_request(c, &q, &o, on_far, f, NULL) == 0;
	machine.missing += f->asked;
	return f->asked;
}

static void await_no_more(struct far_node *f)
{
	loop_timer_clear(machine.w->loop, &f->patience);
	if (f->awaited)
		machine.missing--;
	f->awaited = false;
	all_answered();
}

static void on_patience(struct loop_timer *t)
{
	await_no_more(container_of(t, struct far_node, patience));
}

static void on_dialed(void *arg, int err, struct rpc_conn *c)
{
	struct far_node *f = arg;

	f->dialing = false;
	if (err == 0)
		(void)ask(f, c);
	await_no_more(f);
}

/* It has leased pids for the tenant: some of its processes may be known there only. */
static void dial(void *arg, node_id node)
{
	struct world *w = arg;
	struct far_node *f = far_get(node);

	if (!f || f->dialing)
		return;
	f->dialing = true;
	f->awaited = loop_timer_set(w->loop, &f->patience, loop_now_ns(w->loop) + ANSWER_NS,
				    on_patience) == 0;
	machine.missing += f->awaited;
	peers_with(w, node, on_dialed, f);
}

static bool fresh(void *arg)
{
	struct world *w = arg;
	uint64_t now = clock_mono_ns();
	struct far_node *left;

	if (machine.far_ns != 0 && now - machine.far_ns < FAR_NS)
		return machine.missing == 0;
	machine.far_ns = now;
	machine.asking = true;
	list_for_each (left, &machine.far, link)
		if (!world_node(w, left->node))
			forget(left);
	for (size_t i = 0; i < w->node_count; i++) {
		node_id id = w->nodes[i].id;
		struct rpc_conn *c = id == w->node ? NULL : peers_conn(w, id);
		struct far_node *f = id == w->node ? NULL : far_get(id);

		if (f && (!c || !ask(f, c)))
			forget(f);
	}
	peers_each_other(w, dial, w);
	machine.asking = false;
	return machine.missing == 0;
}

static int pid_text(void *arg, gpid pid, enum procfs_pid_file file, struct buf *out)
{
	const Kernel__Process *q = far_find(pid);
	struct procfs_process p;

	if (!q)
		return -ESRCH;
	p = (struct procfs_process){ .pid = q->pid,
				     .ppid = q->ppid,
				     .pgid = q->pgid,
				     .sid = q->sid,
				     .tpgid = q->tpgid,
				     .uid = q->uid,
				     .state = q->state && *q->state ? *q->state : 'S',
				     .tty = q->tty,
				     .threads = q->threads,
				     .cpu_ns = q->cpu_ns,
				     .start_ns = q->start_ns,
				     .rss_bytes = q->rss_bytes,
				     .comm = q->comm ? q->comm : "",
				     .args = q->args ? q->args : "" };
	return procfs_process_text(&p, file, out);
}

struct moving {
	uint64_t key;
	gpid pid;
	node_id to;
};

static void moving_end(struct moving *q, int err, const char *why)
{
	if (err != 0)
		log_info("pid %d does not move: %s", q->pid, why && *why ? why : strerror(-err));
	procfs_move_done(machine.procfs, q->key, err);
	free(q);
}

static void on_moved(void *arg, const struct moved *m)
{
	moving_end(arg, m->err, m->why);
}

static void on_far_moved(void *arg, int err, const struct rpc_msg *m)
{
	Kernel__Outcome *o = err == 0 ? kernel__outcome__unpack(NULL, m->len, m->body) : NULL;

	moving_end(arg, o ? o->err : err ? err : -EPROTO, o ? o->why : NULL);
	if (o)
		kernel__outcome__free_unpacked(o, NULL);
}

/* It executes there: that kernel moves it. */
static void on_its_kernel(void *arg, int err, struct rpc_conn *c)
{
	struct moving *q = arg;
	Kernel__Migrate mv = KERNEL__MIGRATE__INIT;
	struct rpc_opts o = { .deadline_ns = clock_mono_ns() + MOVE_NS };
	uint8_t body[32];
	struct rpc_msg m = { .method = KERNEL_MIGRATE, .body = body };

	mv.pid = q->pid;
	mv.node = q->to;
	m.len = kernel__migrate__pack(&mv, body);
	if (err == 0)
		err = rpc_request(c, &m, &o, on_far_moved, q, NULL);
	if (err != 0)
		on_far_moved(q, err, NULL);
}

/* False too where a host before Linux 6.11 does not say whose a thread is that is no leader. */
static bool is_thread_of(struct world *w, gpid tid, gpid pid)
{
	struct task_info t;
	char path[48];
	int fd, n;

	if (tid == pid)
		return true;
	n = proc_node_tid(&w->view, tid);
	fd = n < 0 ? n : proc_open(&w->view, pid, &t);
	if (fd < 0)
		return false;
	(void)close(fd);
	(void)snprintf(path, sizeof(path), "%d/task/%d", t.pid, n);
	return faccessat(w->view.procfs, path, F_OK, 0) == 0;
}

static int move_to(struct world *w, gpid pid, const struct world_node *to, gpid caller,
		   uint64_t key)
{
	struct moving *q = malloc(sizeof(*q));
	struct procfs_pid p;

	if (!q)
		return -ENOMEM;
	*q = (struct moving){ key, pid, to->id };
	if (find(w, pid, &p) == 0 && !p.here)
		peers_with(w, far_node(w, pid), on_its_kernel, q);
	else
		move_start(w, pid, to->id, is_thread_of(w, caller, pid), on_moved, q);
	return 0;
}

static int move(void *arg, gpid pid, const char *node, uint32_t caller_pid, uint64_t key)
{
	struct world *w = arg;

	for (size_t i = 0; i < w->node_count; i++)
		if (strcmp(w->nodes[i].name, node) == 0)
			return move_to(w, pid, &w->nodes[i], (gpid)caller_pid, key);
	return -ENOENT;
}

/* ---- the machine ---- */

static int read_at(int dir, const char *path, char *out, size_t size)
{
	cleanup_close int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	out[n < 0 ? 0 : n] = 0;
	return n < 0 ? -errno : 0;
}

static uint64_t usage_ns(const char *text, const char *key)
{
	const char *p = strstr(text, key);

	return p == NULL ? 0 : strtoull(p + strlen(key), NULL, 10) * NS_PER_US;
}

/* Processor time of the tenant's guests on this node since its world was made. */
static void fill_cpu(struct procfs_machine *m)
{
	char text[1024];

	if (read_at(machine.run, "../cpu.stat", text, sizeof(text)) < 0)
		return;
	m->cpu_user_ns = usage_ns(text, "user_usec ");
	m->cpu_system_ns = usage_ns(text, "system_usec ");
}

static void fill_time(struct procfs_machine *m)
{
	struct timespec up, wall;

	(void)clock_gettime(CLOCK_BOOTTIME, &up);
	(void)clock_gettime(CLOCK_REALTIME, &wall);
	m->uptime_ns = (uint64_t)up.tv_sec * NS_PER_S + (uint64_t)up.tv_nsec;
	m->boot_wall_s = (uint64_t)(wall.tv_sec - up.tv_sec);
}

unsigned machine_cpus(const struct world *w)
{
	uint64_t milli = 0;

	for (size_t i = 0; i < w->node_count; i++)
		if (w->nodes[i].alive)
			milli += w->nodes[i].cpu_milli;
	if (w->quota.cpu_milli != 0)
		milli = MIN(milli, w->quota.cpu_milli);
	if (milli == 0)
		return (unsigned)CPU_COUNT(&machine.node_cpus);
	return (unsigned)MIN(MAX((milli + 999) / 1000, UINT64_C(1)), (uint64_t)CPU_SETSIZE);
}

/* exp(-dt/T) to the first order, which is what a sampler of many periods in T needs. */
static void decay_load(const struct world *w)
{
	static const uint64_t over_ns[3] = { 60 * NS_PER_S, 300 * NS_PER_S, 900 * NS_PER_S };
	uint64_t now = clock_mono_ns(), dt = now - machine.load_ns, load = 0;

	for (size_t i = 0; i < w->node_count; i++)
		if (w->nodes[i].alive)
			load += (uint64_t)w->nodes[i].load_milli * 1000;
	for (int i = 0; i < 3; i++) {
		uint64_t whole_ms = over_ns[i] / NS_PER_MS;
		uint64_t part_ms = MIN(dt, over_ns[i]) / NS_PER_MS;
		uint64_t *l = &machine.load_micro[i];

		*l = (*l * (whole_ms - part_ms) + load * part_ms) / whole_ms;
	}
	machine.load_ns = now;
}

static void fill_nodes(struct world *w, struct procfs_machine *m)
{
	machine_memory(w, &m->mem_total_bytes, &m->mem_free_bytes);
	m->cpus = machine_cpus(w);
	decay_load(w);
	for (int i = 0; i < 3; i++)
		m->load_milli[i] = (uint32_t)(machine.load_micro[i] / 1000);
}

static int machine_text(void *arg, enum procfs_machine_file file, struct buf *out)
{
	struct procfs_machine m = { 0 };
	struct procfs_pid p = { 0 };
	char cpuinfo[8192];
	char *end;

	fill_nodes(arg, &m);
	fill_time(&m);
	fill_cpu(&m);
	while (file == PROCFS_LOADAVG && next(arg, p.pid, &p) == 0) {
		m.processes++;
		m.last_pid = p.pid;
	}
	m.running = MIN(m.processes, (m.load_milli[0] + 999) / 1000);
	if (file == PROCFS_CPUINFO &&
	    read_at(KERNEL_FD_PROC, "cpuinfo", cpuinfo, sizeof(cpuinfo)) < 0)
		return -EIO;
	end = file == PROCFS_CPUINFO ? strstr(cpuinfo, "\n\n") : NULL;
	if (end != NULL)
		end[1] = 0;
	m.cpuinfo_one = cpuinfo;
	return procfs_machine_text(&m, file, out);
}

/* ---- memory and processors by system call ---- */

void machine_memory(const struct world *w, uint64_t *total, uint64_t *unused)
{
	struct sysinfo si;

	*total = *unused = 0;
	for (size_t i = 0; i < w->node_count; i++) {
		if (!w->nodes[i].alive)
			continue;
		*total += w->nodes[i].memory_bytes;
		*unused += w->nodes[i].free_bytes;
	}
	/* pandod has told nothing yet: this node's */
	if (*total == 0 && sysinfo(&si) == 0) {
		*total = (uint64_t)si.totalram * si.mem_unit;
		*unused = (uint64_t)si.freeram * si.mem_unit;
	}
	if (w->quota.memory_bytes != 0 && w->quota.memory_bytes < *total) {
		uint64_t used = MIN(w->quota.memory_used_bytes, w->quota.memory_bytes);

		*total = w->quota.memory_bytes;
		*unused = MIN(*unused, *total - used);
	}
}

/* What sysinfo answers, for any thread. */
static _Atomic uint64_t seen_total_bytes, seen_unused_bytes;

void machine_look(const struct world *w)
{
	uint64_t total, unused;

	machine_memory(w, &total, &unused);
	seen_total_bytes = total;
	seen_unused_bytes = unused;
}

/* The machine as a guest may see it: the sum of its nodes. Any thread. */
void machine_sysinfo(struct init_slot *s)
{
	struct sysinfo si;

	(void)sysinfo(&si);
	si.mem_unit = 4096;
	si.totalram = seen_total_bytes / 4096;
	si.freeram = seen_unused_bytes / 4096;
	si.sharedram = si.bufferram = si.totalswap = si.freeswap = 0;
	if (mem_write((pid_t)notify_call(s)->pid, notify_call(s)->args[0], &si, sizeof(si)) != 0)
		notify_set_errno(s, -EFAULT);
	else
		notify_set_value(s, 0);
}

/* The node pid that a pid argument of @s names; 0: the host shall say what is wrong with it. */
static pid_t named(struct world *w, const struct init_slot *s)
{
	gpid pid = (gpid)notify_call(s)->args[0];
	struct task_info t;
	int fd;

	if (pid == 0)
		return (pid_t)notify_call(s)->pid;
	fd = pid < 0 ? -ESRCH : proc_open(&w->view, pid, &t);
	if (fd < 0)
		return 0;
	(void)close(fd);
	return t.pid;
}

/* Who may use all of this node's processors may use all of the machine's. */
void machine_getaffinity(struct world *w, struct init_slot *s)
{
	uint64_t len = notify_call(s)->args[1];
	unsigned cpus = machine_cpus(w);
	size_t bytes = ALIGN_UP((size_t)MAX(cpus, (unsigned)CPU_COUNT(&machine.node_cpus)), 64) / 8;
	pid_t pid = named(w, s);
	cpu_set_t set;

	CPU_ZERO(&set);
	if (pid == 0 || sched_getaffinity(pid, sizeof(set), &set) < 0 ||
	    !CPU_EQUAL(&set, &machine.node_cpus) || len < bytes || len % 8 != 0) {
		notify_set_run(s);
		notify_answer(w->notify, s);
		return;
	}
	CPU_ZERO(&set);
	for (unsigned i = 0; i < cpus; i++)
		CPU_SET(i, &set);
	if (mem_write((pid_t)notify_call(s)->pid, notify_call(s)->args[2], &set, bytes) < 0)
		notify_set_errno(s, -EFAULT);
	else
		notify_set_value(s, (int64_t)bytes);
	notify_answer(w->notify, s);
}

/* A processor of another node cannot be chosen from here: such a wish is granted and forgotten. */
void machine_setaffinity(struct world *w, struct init_slot *s)
{
	size_t len = MIN((size_t)notify_call(s)->args[1], sizeof(cpu_set_t));
	unsigned cpus = machine_cpus(w);
	cpu_set_t set, both;

	CPU_ZERO(&set);
	if (named(w, s) == 0 ||
	    mem_read((pid_t)notify_call(s)->pid, notify_call(s)->args[2], &set, len) < 0) {
		notify_set_run(s);
		notify_answer(w->notify, s);
		return;
	}
	CPU_AND(&both, &set, &machine.node_cpus);
	notify_set_run(s);
	for (unsigned i = 0; CPU_COUNT(&both) == 0 && i < cpus; i++)
		if (CPU_ISSET(i, &set))
			notify_set_value(s, 0);
	notify_answer(w->notify, s);
}

/* ---- start ---- */

/* Requests lie where a successor finds them. */
static struct procfs_slot *open_slots(struct world *w)
{
	size_t size = PROCFS_SLOTS * sizeof(struct procfs_slot);
	cleanup_close int fd = pid1_get(w->pid1, KEY_SLOTS);
	void *map;

	if (fd == -ENOENT) {
		fd = memfd_create(KEY_SLOTS, MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
		    pid1_put(w->pid1, KEY_SLOTS, fd) < 0)
			return NULL;
	}
	map = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return map == MAP_FAILED ? NULL : map;
}

int machine_open(struct world *w)
{
	static const struct procfs_ops ops = { .next = next,
					       .find = find,
					       .pid_text = pid_text,
					       .machine_text = machine_text,
					       .move = move,
					       .fresh = fresh,
					       .stream_find = stream_site_find,
					       .stream = stream_site_begin };
	int fuse = pid1_get(w->pid1, INIT_KEY_PROCFS);
	struct procfs_slot *slots;
	int r;

	machine.w = w;
	machine.load_ns = clock_mono_ns();
	if (sched_getaffinity(0, sizeof(machine.node_cpus), &machine.node_cpus) < 0)
		return -errno;
	if (fuse == -ENOENT)
		return 0; /* this tenant's /proc is the native one */
	machine.native = pid1_get(w->pid1, INIT_KEY_NATIVE);
	machine.run = pid1_get(w->pid1, INIT_KEY_RUN);
	if (fuse < 0 || machine.native < 0 || machine.run < 0)
		return -EBADF;
	slots = open_slots(w);
	if (slots == NULL)
		return -ENOMEM;
	r = procfs_new(&machine.procfs, w->loop, fuse, slots, &ops, w);
	w->procfs = machine.procfs;
	return r;
}
