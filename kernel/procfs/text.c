/* SPDX-License-Identifier: Apache-2.0 */
/* text.c - the texts of proc(5), from figures. */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "kernel/procfs/procfs.h"

#define TICKS_PER_S 100 /* USER_HZ, for ever 100 on x86-64 */
#define NS_PER_TICK (NS_PER_S / TICKS_PER_S)
#define KIB         1024
#define PTS_MAJOR   136 /* Documentation/admin-guide/devices.txt */

static unsigned long long ticks(uint64_t ns)
{
	return ns / NS_PER_TICK;
}

static int machine_stat(const struct procfs_machine *m, struct buf *out)
{
	uint64_t total = m->uptime_ns * MAX(m->cpus, 1u);
	uint64_t busy = m->cpu_user_ns + m->cpu_system_ns;
	uint64_t idle = total > busy ? total - busy : 0;
	unsigned n = MAX(m->cpus, 1u);
	int r = buf_addf(out, "cpu  %llu 0 %llu %llu 0 0 0 0 0 0\n", ticks(m->cpu_user_ns),
			 ticks(m->cpu_system_ns), ticks(idle));

	for (unsigned i = 0; r == 0 && i < n; i++)
		r = buf_addf(out, "cpu%u %llu 0 %llu %llu 0 0 0 0 0 0\n", i,
			     ticks(m->cpu_user_ns / n), ticks(m->cpu_system_ns / n),
			     ticks(idle / n));
	if (r < 0)
		return r;
	return buf_addf(out,
			"intr 0\nctxt 0\nbtime %llu\nprocesses %u\nprocs_running %u\n"
			"procs_blocked 0\n",
			(unsigned long long)m->boot_wall_s, m->processes, MAX(m->running, 1u));
}

static int machine_meminfo(const struct procfs_machine *m, struct buf *out)
{
	static const char *const zero[] = { "Buffers",     "Cached",    "SwapCached", "Active",
					    "Inactive",    "SwapTotal", "SwapFree",   "Dirty",
					    "Writeback",   "Mapped",    "Shmem",      "Slab",
					    "SReclaimable" };
	unsigned long long total = m->mem_total_bytes / KIB, free = m->mem_free_bytes / KIB;
	int r = buf_addf(out,
			 "MemTotal:       %8llu kB\nMemFree:        %8llu kB\n"
			 "MemAvailable:   %8llu kB\n",
			 total, free, free);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(zero); i++)
		r = buf_addf(out, "%s:%*s%8d kB\n", zero[i], (int)(15 - strlen(zero[i])), "", 0);
	return r;
}

/* The host's paragraph, once per processor of the machine, with its number put right. */
static int machine_cpuinfo(const struct procfs_machine *m, struct buf *out)
{
	const char *rest = strchr(m->cpuinfo_one, '\n');
	int r = 0;

	for (unsigned i = 0; r == 0 && i < MAX(m->cpus, 1u); i++)
		r = buf_addf(out, "processor\t: %u%s\n", i, rest ? rest : "\n");
	return r;
}

static int machine_loadavg(const struct procfs_machine *m, struct buf *out)
{
	const uint32_t *l = m->load_milli;

	return buf_addf(out, "%u.%02u %u.%02u %u.%02u %u/%u %d\n", l[0] / 1000, l[0] % 1000 / 10,
			l[1] / 1000, l[1] % 1000 / 10, l[2] / 1000, l[2] % 1000 / 10, m->running,
			m->processes, m->last_pid);
}

static int machine_uptime(const struct procfs_machine *m, struct buf *out)
{
	uint64_t busy = m->cpu_user_ns + m->cpu_system_ns;
	uint64_t total = m->uptime_ns * MAX(m->cpus, 1u);
	uint64_t up = m->uptime_ns / (NS_PER_S / 100), idle = 0;

	if (total > busy)
		idle = (total - busy) / (NS_PER_S / 100);
	return buf_addf(out, "%llu.%02u %llu.%02u\n", (unsigned long long)(up / 100),
			(unsigned)(up % 100), (unsigned long long)(idle / 100),
			(unsigned)(idle % 100));
}

int procfs_machine_text(const struct procfs_machine *m, enum procfs_machine_file file,
			struct buf *out)
{
	switch (file) {
	case PROCFS_STAT:
		return machine_stat(m, out);
	case PROCFS_MEMINFO:
		return machine_meminfo(m, out);
	case PROCFS_CPUINFO:
		return machine_cpuinfo(m, out);
	case PROCFS_LOADAVG:
		return machine_loadavg(m, out);
	case PROCFS_UPTIME:
		return machine_uptime(m, out);
	}
	return -EINVAL;
}

/* Fields of /proc/PID/stat in the order of proc_pid_stat(5); what another node does not tell is 0.
 */
static int process_stat(const struct procfs_process *p, struct buf *out)
{
	int tty = p->tty < 0 ? 0 : PTS_MAJOR << 8 | (p->tty & 0xff) | (p->tty & 0xfff00) << 12;
	int r = buf_addf(out,
			 "%d (%s) %c %d %d %d %d %d 0 0 0 0 0 %llu 0 0 0 20 0 %u 0 %llu %llu %llu",
			 p->pid, p->comm, p->state, p->ppid, p->pgid, p->sid, tty, p->tpgid,
			 ticks(p->cpu_ns), p->threads, ticks(p->start_ns),
			 (unsigned long long)p->rss_bytes, (unsigned long long)p->rss_bytes / 4096);

	/* rsslim .. exit_code: fields 25 to 52 */
	for (int field = 25; r == 0 && field <= 52; field++)
		r = buf_addf(out, " %s",
			     field == 25   ? "18446744073709551615"
			     : field == 38 ? "17"
					   : "0");
	return r < 0 ? r : buf_add(out, "\n", 1);
}

static const char *state_name(char s)
{
	switch (s) {
	case 'R':
		return "running";
	case 'S':
		return "sleeping";
	case 'D':
		return "disk sleep";
	case 'T':
		return "stopped";
	case 't':
		return "tracing stop";
	case 'Z':
		return "zombie";
	default:
		return "idle";
	}
}

static int process_status(const struct procfs_process *p, struct buf *out)
{
	unsigned long long kib = p->rss_bytes / KIB;

	return buf_addf(out,
			"Name:\t%s\nState:\t%c (%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\n"
			"TracerPid:\t0\nUid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\nFDSize:\t64\n"
			"Groups:\t%u \nNStgid:\t%d\nNSpid:\t%d\nNSpgid:\t%d\nNSsid:\t%d\n"
			"VmPeak:\t%8llu kB\nVmSize:\t%8llu kB\nVmHWM:\t%8llu kB\nVmRSS:\t%8llu kB\n"
			"Threads:\t%u\n",
			p->comm, p->state, state_name(p->state), p->pid, p->pid, p->ppid, p->uid,
			p->uid, p->uid, p->uid, p->uid, p->uid, p->uid, p->uid, p->uid, p->pid,
			p->pid, p->pgid, p->sid, kib, kib, kib, kib, p->threads);
}

static int process_cmdline(const struct procfs_process *p, struct buf *out)
{
	size_t at = out->len;
	int r;

	if (!*p->args)
		return 0; /* a zombie */
	r = buf_add(out, p->args, strlen(p->args) + 1);
	for (size_t i = at; r == 0 && i < out->len; i++)
		if (out->data[i] == ' ')
			out->data[i] = '\0';
	return r;
}

int procfs_process_text(const struct procfs_process *p, enum procfs_pid_file file, struct buf *out)
{
	unsigned long long pages = p->rss_bytes / 4096;

	switch (file) {
	case PROCFS_PID_STAT:
		return process_stat(p, out);
	case PROCFS_PID_STATM:
		return buf_addf(out, "%llu %llu 0 0 0 %llu 0\n", pages, pages, pages);
	case PROCFS_PID_STATUS:
		return process_status(p, out);
	case PROCFS_PID_CMDLINE:
		return process_cmdline(p, out);
	case PROCFS_PID_COMM:
		return buf_addf(out, "%s\n", p->comm);
	}
	return -EINVAL;
}
