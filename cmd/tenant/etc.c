/* SPDX-License-Identifier: Apache-2.0 */
/* etc.c - see etc.h. */
#include "cmd/tenant/etc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/tenant/root.h"

const char *const etc_dirs[] = {
	"/etc/alternatives", "/etc/ld.so.conf.d", "/etc/ssl/certs",
	"/etc/python3*",     "/etc/perl",         "/etc/java-*",
	"/etc/terminfo",     "/etc/fonts",        "/etc/vim",
	"/etc/profile.d",    "/etc/gdb",          "/etc/zsh",
	"/etc/emacs",        "/etc/xdg",          NULL,
};

/* Copied, or linked where the host has a link. */
static const char *const files[] = {
	"ld.so.cache",     "ld.so.conf",  "localtime",      "timezone",     "os-release",
	"debian_version",  "profile",     "bash.bashrc",    "inputrc",      "services",
	"protocols",       "rpc",         "networks",       "ethertypes",   "host.conf",
	"gai.conf",        "mime.types",  "magic",          "locale.alias", "locale.conf",
	"login.defs",      "shells",      "environment",    "gitconfig",    "wgetrc",
	"nanorc",          "screenrc",    "manpath.config", "mailcap",      "issue",
	"ssl/openssl.cnf", "lsb-release", "redhat-release",
};

#define COPY_MAX (4 << 20)

static int copy_bytes(int from, int to)
{
	char bytes[16384];
	ssize_t n;
	size_t sum = 0;

	while ((n = read(from, bytes, sizeof(bytes))) > 0) {
		sum += (size_t)n;
		if (sum > COPY_MAX)
			return -EFBIG;
		if (write(to, bytes, (size_t)n) != n)
			return -EIO;
	}
	return n < 0 ? -errno : 0;
}

static int copy_one(const char *name)
{
	char host[64], own[64], to[PATH_MAX];
	cleanup_close int in = -1, out = -1;
	ssize_t n;

	(void)snprintf(host, sizeof(host), "/etc/%s", name);
	(void)snprintf(own, sizeof(own), "etc/%s", name);
	n = readlink(host, to, sizeof(to) - 1);
	if (n >= 0) {
		to[n] = 0;
		return symlink(to, own) < 0 ? -errno : 0;
	}
	in = open(host, O_RDONLY | O_CLOEXEC);
	if (in < 0) /* not on this host, or not for everybody's eyes */
		return errno == ENOENT || errno == EACCES ? 0 : -errno;
	out = open(own, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return out < 0 ? -errno : copy_bytes(in, out);
}

static int write_new(const char *name, const char *text)
{
	char path[64];
	cleanup_close int fd = -1;

	(void)snprintf(path, sizeof(path), "etc/%s", name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -EIO;
}

/* Users are two: the namespace's root, who runs pando-init, and the tenant. */
/* The host's profile sets PATH anew, and knows nothing of the machine's commands. */
static int add_to_profile(void)
{
	static const char line[] = "\nPATH=/opt/pando/bin:$PATH\n";
	cleanup_close int fd =
		open("etc/profile", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0) /* a link of this host's: what it leads to is not ours to change */
		return errno == ELOOP ? 0 : -errno;
	return write(fd, line, strlen(line)) == (ssize_t)strlen(line) ? 0 : -EIO;
}

static int write_users(const struct tenant_cfg *cfg)
{
	char text[1024], home[256];
	int r;

	(void)snprintf(home, sizeof(home), "/home/%s", cfg->name);
	(void)snprintf(text, sizeof(text),
		       "root:x:0:0:root:/root:/usr/sbin/nologin\n"
		       "%s:x:%u:%u::%s:/bin/bash\n"
		       "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		       cfg->name, TENANT_UID, TENANT_UID, cfg->home != NULL ? cfg->home : home);
	r = write_new("passwd", text);
	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text), "root:x:0:\ntty:x:5:\n%s:x:%u:\nnogroup:x:65534:\n",
		       cfg->name, TENANT_UID);
	return write_new("group", text);
}

static int write_names(const struct tenant_cfg *cfg)
{
	char text[512];
	int r;

	(void)snprintf(text, sizeof(text), "%s\n", cfg->hostname);
	r = write_new("hostname", text);
	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text),
		       "127.0.0.1\tlocalhost\n127.0.1.1\t%s\n::1\tlocalhost ip6-localhost\n",
		       cfg->hostname);
	return write_new("hosts", text);
}

int etc_build(const struct tenant_cfg *cfg, char why[TENANT_WHY_MAX])
{
	int r = 0;

	if ((mkdir("etc", 0755) < 0 && errno != EEXIST) ||
	    (mkdir("etc/ssl", 0755) < 0 && errno != EEXIST))
		return root_fail(why, -errno, "cannot make /etc");
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(files); i++) {
		r = copy_one(files[i]);
		if (r < 0)
			return root_fail(why, r, "cannot copy /etc/%s", files[i]);
	}
	r = add_to_profile();
	if (r == 0)
		r = write_users(cfg);
	if (r == 0)
		r = write_names(cfg);
	if (r == 0)
		r = write_new("resolv.conf", "");
	if (r == 0)
		r = write_new("nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\n"
					       "hosts: files dns\nservices: files\n"
					       "protocols: files\nrpc: files\n");
	if (r == 0 && symlink("/proc/self/mounts", "etc/mtab") < 0)
		r = -errno;
	return r < 0 ? root_fail(why, r, "cannot write /etc") : 0;
}
