/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - what the tenant's /proc says: its processes, and the machine's figures from all
 * nodes (kernel/procfs/ speaks the protocol).
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

#include "base/log.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/procfs/procfs.h"

#define KEY_SLOTS "procfs.slots"

static struct machine {
	struct procfs *procfs;
	int native; /* procfs of the tenant's pids */
	int run;    /* control group of the guests that run */
	gpid *pids; /* of the listing under way, ascending */
	size_t count, cap;
} machine = { .native = -1, .run = -1 };

/* ---- processes ---- */

static int find(void *arg, gpid pid, struct procfs_pid *out)
{
	struct world *w = arg;
	char name[16];
	struct stat st;

	(void)snprintf(name, sizeof(name), "%d", pid);
	/* pando-init and its spawner are of no concern to guests. */
	if (fstatat(machine.native, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_uid == 0)
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
	if (after == 0 && list() < 0)
		return -ESRCH;
	for (size_t i = 0; i < machine.count; i++) {
		if (machine.pids[i] > after && find(arg, machine.pids[i], out) == 0)
			return 0;
	}
	return -ESRCH;
}

static int pid_text(void *arg, gpid pid, enum procfs_pid_file file, struct buf *out)
{
	return -ESRCH; /* all that find() knows are here, and link to the host's own files */
}

static int move(void *arg, gpid pid, const char *node, uint32_t caller_pid, uint64_t key)
{
	struct world *w = arg;

	if (strcmp(node, w->node_name) == 0) {
		procfs_move_done(machine.procfs, key, 0);
		return 0;
	}
	for (size_t i = 0; i < w->node_count; i++) {
		if (strcmp(w->nodes[i].name, node) == 0)
			return w->nodes[i].alive ? -EOPNOTSUPP : -EHOSTDOWN;
	}
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

/* This host alone, as long as pandod has not told of the others. */
static void fill_host(struct procfs_machine *m)
{
	struct sysinfo si;
	cpu_set_t set;

	if (sysinfo(&si) == 0) {
		m->mem_total_bytes = (uint64_t)si.totalram * si.mem_unit;
		m->mem_free_bytes = (uint64_t)si.freeram * si.mem_unit;
		for (int i = 0; i < 3; i++)
			m->load_milli[i] = (uint32_t)(si.loads[i] * 1000 >> SI_LOAD_SHIFT);
	}
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		m->cpus = (unsigned)CPU_COUNT(&set);
}

static void fill_nodes(struct world *w, struct procfs_machine *m)
{
	uint64_t cpu_milli = 0, load_milli = 0;

	for (size_t i = 0; i < w->node_count; i++) {
		if (!w->nodes[i].alive)
			continue;
		cpu_milli += w->nodes[i].cpu_milli;
		load_milli += w->nodes[i].load_milli;
		m->mem_total_bytes += w->nodes[i].memory_bytes;
		m->mem_free_bytes += w->nodes[i].free_bytes;
	}
	m->cpus = (unsigned)((cpu_milli + 999) / 1000);
	for (int i = 0; i < 3; i++)
		m->load_milli[i] = (uint32_t)load_milli;
	if (cpu_milli == 0 || m->mem_total_bytes == 0)
		fill_host(m);
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
	static const struct procfs_ops ops = { next, find, pid_text, machine_text, move };
	int fuse = pid1_get(w->pid1, INIT_KEY_PROCFS);
	struct procfs_slot *slots;

	if (fuse == -ENOENT)
		return 0; /* this tenant's /proc is the native one */
	machine.native = pid1_get(w->pid1, INIT_KEY_NATIVE);
	machine.run = pid1_get(w->pid1, INIT_KEY_RUN);
	if (fuse < 0 || machine.native < 0 || machine.run < 0)
		return -EBADF;
	slots = open_slots(w);
	if (slots == NULL)
		return -ENOMEM;
	return procfs_new(&machine.procfs, w->loop, fuse, slots, &ops, w);
}
