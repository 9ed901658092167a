/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor - check this host: each line is a check, what does not work without it, and the exact fix.
 * Exit status 0 all well, 3 something is missing, 4 warnings only.
 */
#include "cmd/pando/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cmd/pando/nodehost.h"
#include "cmd/tenant/tenant.h"

enum verdict { OK = 0, WARN, FAIL };

struct finding {
	const char *check;
	enum verdict verdict;
	const char *effect;
	const char *fix;
};

enum { FINDINGS_MAX = 64, CODE_MISSING = 3, CODE_WARNINGS = 4 };

struct report {
	struct finding f[FINDINGS_MAX];
	size_t n;
};

static void add(struct report *r, const char *check, enum verdict v, const char *effect,
		const char *fix)
{
	if (r->n < FINDINGS_MAX)
		r->f[r->n++] =
			(struct finding){ check, v, v == OK ? "" : effect, v == OK ? "" : fix };
}

static void check_kernel(struct report *r)
{
	struct utsname u;
	int major = 0, minor = 0;

	if (uname(&u) < 0 || sscanf(u.release, "%d.%d", &major, &minor) != 2)
		major = 0;
	add(r, "Linux 6.1 or later", major > 6 || (major == 6 && minor >= 1) ? OK : FAIL,
	    "calls of guests cannot be answered safely",
	    "apt-get install linux-image-amd64; reboot");
	add(r, "x86-64", strcmp(u.machine, "x86_64") == 0 ? OK : FAIL,
	    "programs of other processors are not run", "use an x86-64 host");
}

static void check_pid_max(struct report *r)
{
	FILE *f = fopen("/proc/sys/kernel/pid_max", "re");
	struct utsname u;
	long v = 0;
	int major = 0, minor = 0;
	bool per_namespace;

	if (f == NULL || fscanf(f, "%ld", &v) != 1)
		v = 0;
	if (f != NULL)
		(void)fclose(f);
	if (uname(&u) < 0 || sscanf(u.release, "%d.%d", &major, &minor) != 2)
		major = 0;
	/* Since 6.14 each pid namespace has its own, at its maximum. */
	per_namespace = major > 6 || (major == 6 && minor >= 14);
	if (v >= 4194304)
		add(r, "kernel.pid_max", OK, "", "");
	else if (per_namespace)
		add(r, "kernel.pid_max", WARN,
		    "at most 32768 tasks on this host, all tenants together",
		    "sysctl -w kernel.pid_max=4194304");
	else
		add(r, "kernel.pid_max", FAIL, "pids of the machine do not fit",
		    "sysctl -w kernel.pid_max=4194304");
}

/* The start of a number in a file, or -1. */
static long file_number(const char *path)
{
	FILE *f = fopen(path, "re");
	long v = -1;

	if (f == NULL)
		return -1;
	if (fscanf(f, "%ld", &v) != 1)
		v = -1;
	(void)fclose(f);
	return v;
}

static void check_limits(struct report *r)
{
	add(r, "user namespaces", file_number("/proc/sys/user/max_user_namespaces") > 0 ? OK : FAIL,
	    "no tenant can be walled off", "sysctl -w user.max_user_namespaces=65536");
	add(r, "inotify instances",
	    file_number("/proc/sys/fs/inotify/max_user_instances") >= 128 ? OK : WARN,
	    "a tenant's programs run out of watches",
	    "sysctl -w fs.inotify.max_user_instances=1024");
	add(r, "/dev/userfaultfd", access("/dev/userfaultfd", R_OK | W_OK) == 0 ? OK : WARN,
	    "moves copy all memory first", "modprobe userfaultfd; mknod of /dev/userfaultfd");
	add(r, "io_uring", file_number("/proc/sys/kernel/io_uring_disabled") <= 0 ? OK : WARN,
	    "the daemons use epoll, which is slower", "sysctl -w kernel.io_uring_disabled=0");
}

static bool in_path(const char *name)
{
	static const char *const dirs[] = { "/usr/sbin", "/usr/bin", "/sbin", "/bin" };
	char path[64];

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dirs[i], name);
		if (access(path, X_OK) == 0)
			return true;
	}
	return false;
}

static void check_programs(struct report *r)
{
	static const char *const ours[] = { "pandod", "pando-init", "pando-kernel", "pando-stub" };
	char path[PATH_MAX];

	add(r, "program sshd", in_path("sshd") && in_path("ssh-keygen") ? OK : WARN,
	    "tenants log in by pando login only", "apt-get install openssh-server");
	add(r, "program ip", in_path("ip") ? OK : FAIL, "a local cluster has no network",
	    "apt-get install iproute2");
	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		add(r, ours[i], nodehost_program(ours[i], path) == 0 ? OK : FAIL,
		    "it is not beside pando", "make install");
}

static void check_tenants(struct report *r)
{
	struct tenant_finding f[24];
	size_t n = tenant_check(f, ARRAY_LEN(f));

	for (size_t i = 0; i < n; i++)
		add(r, f[i].check,
		    f[i].verdict == TENANT_OK     ? OK
		    : f[i].verdict == TENANT_WARN ? WARN
						  : FAIL,
		    f[i].effect, f[i].fix);
}

static void check_all(struct report *r)
{
	r->n = 0;
	add(r, "root", geteuid() == 0 ? OK : FAIL, "namespaces and groups cannot be made",
	    "sudo pando");
	check_kernel(r);
	check_pid_max(r);
	check_limits(r);
	check_programs(r);
	if (geteuid() == 0)
		check_tenants(r);
}

int doctor_gate(struct ctx *c)
{
	struct report r;

	check_all(&r);
	for (size_t i = 0; i < r.n; i++) {
		if (r.f[i].verdict == FAIL)
			return fail(c, geteuid() == 0 ? CODE_REFUSED : CODE_NOT_ALLOWED, r.f[i].fix,
				    "cannot run nodes here: %s: %s", r.f[i].check, r.f[i].effect);
	}
	return 0;
}

static int doctor_run(struct ctx *c, int argc, char **argv)
{
	static const struct col cols[] = {
		{ "CHECK", "check", COL_TEXT },
		{ "STATE", "state", COL_STATE },
		{ "EFFECT", "effect", COL_TEXT },
		{ "FIX", "fix", COL_TEXT },
	};
	static const char *const words[] = { "ok", "warning", "missing" };
	json_t *rows = json_array();
	enum verdict worst = OK;
	struct report r;

	check_all(&r);
	for (size_t i = 0; i < r.n; i++) {
		worst = MAX(worst, r.f[i].verdict);
		(void)json_array_append_new(rows,
					    json_pack("{s:s, s:s, s:s, s:s}", "check", r.f[i].check,
						      "state", words[r.f[i].verdict], "effect",
						      r.f[i].effect, "fix", r.f[i].fix));
	}
	(void)print_rows(c, rows, cols, ARRAY_LEN(cols));
	json_decref(rows);
	return worst == FAIL ? CODE_MISSING : worst == WARN ? CODE_WARNINGS : CODE_DONE;
}

const struct cmd cmd_doctor = {
	.name = "doctor",
	.usage = "doctor",
	.help = "Check this host: what is missing, what that means, the exact fix.",
	.more = "Exit status: 0 all well, 3 something is missing, 4 warnings only.",
	.run = doctor_run,
};
