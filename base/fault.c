/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/log.h"

/* The linker gives the bounds of a section whose name is a C identifier; weak: a program may have
 * no point. */
extern struct fault_point __start_pando_faults[] __attribute__((weak));
extern struct fault_point __stop_pando_faults[] __attribute__((weak));

unsigned fault_armed_count;

struct fault_point *fault_points(size_t *n)
{
	*n = __start_pando_faults ? (size_t)(__stop_pando_faults - __start_pando_faults) : 0;
	return __start_pando_faults;
}

int fault_pass(struct fault_point *p)
{
	enum fault_action action = p->action;

	p->passed++;
	if (p->fire_at == 0 || p->passed < p->fire_at)
		return 0;
	p->fire_at = 0;
	p->action = FAULT_NONE;
	fault_armed_count--;
	log_info("fault point %s fires", p->name);
	if (action == FAULT_KILL)
		(void)raise(SIGKILL);
	if (action == FAULT_STOP)
		(void)raise(SIGSTOP);
	return action == FAULT_FAIL ? -EIO : 0;
}

int fault_arm(const char *name, unsigned nth, enum fault_action action)
{
	struct fault_point *p;
	size_t n;
	int found = -ENOENT;

	if (nth == 0 || action == FAULT_NONE)
		return -EINVAL;
	p = fault_points(&n);
	/* One name may stand at several places (an inlined function): all are armed. */
	for (size_t i = 0; i < n; i++) {
		if (strcmp(p[i].name, name) != 0)
			continue;
		if (p[i].fire_at == 0)
			fault_armed_count++;
		p[i].passed = 0;
		p[i].fire_at = nth;
		p[i].action = action;
		found = 0;
	}
	return found;
}

static enum fault_action action_named(const char *text)
{
	if (strcmp(text, "kill") == 0)
		return FAULT_KILL;
	if (strcmp(text, "stop") == 0)
		return FAULT_STOP;
	if (strcmp(text, "fail") == 0)
		return FAULT_FAIL;
	return FAULT_NONE;
}

int fault_arm_text(const char *text)
{
	size_t n = strcspn(text, ":");
	char name[64], *end;
	unsigned long nth;

	if (n >= sizeof(name))
		return -ENOENT;
	memcpy(name, text, n);
	name[n] = '\0';
	if (text[n] == '\0')
		return fault_arm(name, 1, FAULT_KILL);
	nth = strtoul(text + n + 1, &end, 10);
	if (nth > 1000000000 || (*end != '\0' && *end != ':'))
		return -EINVAL;
	return fault_arm(name, (unsigned)nth, *end == ':' ? action_named(end + 1) : FAULT_KILL);
}
