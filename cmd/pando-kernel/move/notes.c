/* SPDX-License-Identifier: Apache-2.0 */
/* notes.c - what was refused to a process lately (notes.h). */
#include "cmd/pando-kernel/move/notes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct noted {
	struct note note; /* times 0: free */
	gpid pid;
	uint64_t start_ns; /* a number may be another's later */
} notes[NOTES_MAX];

static bool is_of(const struct noted *n, const struct task_info *t)
{
	return n->note.times > 0 && n->pid == t->gpid && n->start_ns == t->start_ns;
}

static bool is_older(const struct noted *a, const struct noted *b)
{
	return !b || a->note.at_ns < b->note.at_ns;
}

/* The one that says this already; or the one that has to go for it. */
static struct noted *place_for(const struct task_info *t, const char *text)
{
	struct noted *oldest = NULL, *own = NULL;
	unsigned have = 0;

	for (struct noted *n = notes; n < notes + NOTES_MAX; n++) {
		bool ours = is_of(n, t);

		if (ours && strcmp(n->note.text, text) == 0)
			return n;
		have += ours;
		if (ours && is_older(n, own))
			own = n;
		if (is_older(n, oldest))
			oldest = n;
	}
	return have == NOTES_EACH_MAX ? own : oldest;
}

void notes_add(struct world *w, pid_t pid, const char *fmt, ...)
{
	char text[NOTE_TEXT_MAX] = "";
	struct noted *n;
	struct task_info t;
	va_list ap;

	if (task_read(&t, w->view.procfs, pid) != 0)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* Names of sockets are a guest's. */
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
	n = place_for(&t, text);
	if (!is_of(n, &t) || strcmp(n->note.text, text) != 0)
		*n = (struct noted){ .pid = t.gpid, .start_ns = t.start_ns };
	memcpy(n->note.text, text, sizeof(text));
	n->note.at_ns = loop_now_ns(w->loop);
	n->note.times++;
}

size_t notes_of(struct world *w, gpid pid, const struct note *out[NOTES_EACH_MAX])
{
	struct task_info t = { 0 };
	int fd = proc_open(&w->view, pid, &t);
	size_t found = 0;

	if (fd < 0)
		return 0;
	(void)close(fd);
	for (const struct noted *n = notes; n < notes + NOTES_MAX; n++) {
		size_t at = found;

		if (!is_of(n, &t) || found == NOTES_EACH_MAX)
			continue;
		for (; at > 0 && out[at - 1]->at_ns < n->note.at_ns; at--)
			out[at] = out[at - 1];
		out[at] = &n->note;
		found++;
	}
	return found;
}
