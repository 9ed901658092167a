/* SPDX-License-Identifier: Apache-2.0 */
/* api.c - finding a daemon and asking it. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/guess.h"
#include "cmd/pando/cmd.h"

enum { RESTART_MS = 2000 };

/* Inside a session the tenant's own control socket stands here. */
#define SESSION_SOCKET "/run/pando/control.sock"
#define DIR_DEFAULT    "/var/lib/pando"

static int open_node(const struct ctx *c, const char *node, unsigned wait_ms,
		     struct ctl_client **out)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];

	if ((size_t)snprintf(path, sizeof(path), "%s/%s/run/control.sock", c->dir, node) >=
	    sizeof(path))
		return -ENAMETOOLONG;
	return wait_ms > 0 ? ctl_client_new_soon(out, path, clock_mono_ns() + wait_ms * NS_PER_MS)
			   : ctl_client_new(out, path);
}

int api_open_node(const struct ctx *c, const char *node, struct ctl_client **out)
{
	return open_node(c, node, 0, out);
}

static int is_node_dir(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

/*
 * The first node under the directory whose daemon answers, or with @wait_ms the first that does
 * within that time after a refusal.
 */
static int open_any(const struct ctx *c, unsigned wait_ms, struct ctl_client **out)
{
	struct dirent **names;
	int n = scandir(c->dir, &names, is_node_dir, alphasort), r = -ENOENT;

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		if (r < 0) {
			int got = api_open_node(c, names[i]->d_name, out);

			if (got == -ECONNREFUSED && wait_ms > 0)
				got = open_node(c, names[i]->d_name, wait_ms, out);
			if (got == 0 || (got != -ENOENT && got != -ENOTDIR))
				r = got;
		}
		free(names[i]);
	}
	free(names);
	return r;
}

bool api_is_inside(const struct ctx *c)
{
	return c->dir == NULL && access(SESSION_SOCKET, F_OK) == 0;
}

static int dial(struct ctx *c, unsigned wait_ms, struct ctl_client **out)
{
	if (api_is_inside(c))
		return ctl_client_new(out, SESSION_SOCKET);
	if (c->dir == NULL)
		c->dir = DIR_DEFAULT;
	return c->node ? open_node(c, c->node, wait_ms, out) : open_any(c, wait_ms, out);
}

int api_dial(struct ctx *c, uint64_t until_ns, struct ctl_client **out)
{
	int r = dial(c, 0, out);
	uint64_t now_ns = clock_mono_ns();

	/* Its guard is starting it anew: that takes a moment, longer if it keeps dying. */
	if ((r == -ECONNREFUSED || r == -ENOENT) && now_ns < until_ns)
		r = dial(c, (unsigned)((until_ns - now_ns) / NS_PER_MS) + 1, out);
	return r;
}

static int no_node(struct ctx *c, const char *what)
{
	char meant[GUESS_MAX + 24];
	struct dirent **names;
	struct guess g;
	int n = scandir(c->dir, &names, is_node_dir, versionsort);

	guess_init_name(&g, c->node);
	for (int i = 0; i < n; i++) {
		struct ctl_client *cl;

		/* Whatever else lies there is no node. */
		if (api_open_node(c, names[i]->d_name, &cl) == 0) {
			guess_offer(&g, names[i]->d_name);
			ctl_client_free(cl);
		}
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	return fail(c, CODE_NOT_FOUND, "pando nodes", "cannot %s: there is no node %s in %s%s",
		    what, c->node, c->dir, guess_text(&g, meant));
}

int api_open(struct ctx *c, const char *what, struct ctl_client **out)
{
	const char *reason;
	int r = dial(c, 0, out);

	if (r == -ECONNREFUSED)
		r = api_dial(c, clock_mono_ns() + RESTART_MS * NS_PER_MS, out);
	if (r == 0)
		return 0;
	if (r == -EACCES || r == -EPERM)
		return fail(c, CODE_NOT_ALLOWED, "sudo pando", "cannot %s: only root may", what);
	if (r == -ENOENT && c->node != NULL)
		return no_node(c, what);
	reason = r == -ENOENT || r == -ENOTDIR || r == -ECONNREFUSED ? "no node is running"
								     : strerror(-r);
	return fail(c, CODE_UNREACHABLE, "pando up -n 3", "cannot %s: %s in %s", what, reason,
		    c->dir ? c->dir : SESSION_SOCKET);
}

static int code_of(int status)
{
	switch (status) {
	case 400:
	case 405:
		return CODE_USAGE;
	case 403:
		return CODE_NOT_ALLOWED;
	case 404:
		return CODE_NOT_FOUND;
	case 429:
	case 507:
		return CODE_LIMIT;
	case 503:
	case 504:
		return CODE_UNREACHABLE;
	default:
		return CODE_REFUSED;
	}
}

int api_refused(struct ctx *c, const char *what, const struct ctl_answer *a)
{
	const char *detail = json_text(a->body, "detail");
	const char *try_next = json_string_value(json_object_get(a->body, "try"));

	if (*detail == '\0')
		detail = "the node gave no reason";
	/* What only an operator may, no other command makes possible. */
	if (try_next == NULL)
		try_next = c->try_else;
	return fail(c, code_of(a->status), try_next, "cannot %s: %s", what, detail);
}

int api_call(struct ctx *c, const char *what, const char *method, json_t *body, json_t **out,
	     const char *fmt, ...)
{
	struct ctl_client *cl = NULL;
	struct ctl_answer a = { 0 };
	char path[HTTP_PATH_MAX];
	va_list ap;
	int code = api_open(c, what, &cl), r;

	va_start(ap, fmt);
	r = vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	if (code == 0 && r >= (int)sizeof(path))
		code = fail(c, CODE_USAGE, NULL, "cannot %s: the name is too long", what);
	if (code == 0) {
		r = ctl_client_call(cl, method, path, body, &a);
		if (r < 0)
			code = fail(c, CODE_UNREACHABLE, "pando status",
				    "cannot %s: the daemon went away (%s)", what, strerror(-r));
		else if (a.status >= 400)
			code = api_refused(c, what, &a);
	}
	if (code == 0 && out != NULL) {
		*out = a.body;
		a.body = NULL;
	}
	ctl_answer_fini(&a);
	ctl_client_free(cl);
	json_decref(body);
	return code;
}
