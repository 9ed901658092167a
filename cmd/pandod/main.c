/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - pandod in one of its three modes (args.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/pandod/args.h"

static int usage(void)
{
	fputs("pandod: cannot start: usage is pandod guard|switch|node --dir DIR --node NODE; "
	      "try: pando up\n",
	      stderr);
	return 2;
}

static int parse_lease(const char *text, struct args *a)
{
	char rest;

	return sscanf(text, "%u:%u%c", &a->freeze_ms, &a->kill_ms, &rest) == 2 &&
			       a->freeze_ms >= 1000 && a->kill_ms > a->freeze_ms
		       ? 0
		       : -EINVAL;
}

static int parse(int argc, char **argv, struct args *a)
{
	for (int i = 2; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "--") == 0)
			break;
		if (strcmp(argv[i], "--local") == 0) {
			a->local = true;
			continue;
		}
		if (strcmp(argv[i], "--no-balance") == 0) {
			a->no_balance = true;
			continue;
		}
		if (value == NULL)
			return -EINVAL;
		if (strcmp(argv[i], "--dir") == 0)
			a->dir = value;
		else if (strcmp(argv[i], "--node") == 0)
			a->node = value;
		else if (strcmp(argv[i], "--cpu-milli") == 0)
			a->cpu_milli = (uint32_t)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--ssh") == 0)
			a->ssh = value;
		else if (strcmp(argv[i], "--ssh-net") == 0)
			a->ssh_net = (int)strtol(value, NULL, 10);
		else if (strcmp(argv[i], "--life") == 0)
			a->life = strtoull(value, NULL, 16);
		else if (strcmp(argv[i], "--lease") != 0 || parse_lease(value, a) < 0)
			return -EINVAL;
		i++;
	}
	return a->dir != NULL && a->dir[0] == '/' ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct args a = { .ssh_net = -1 };

	if (argc < 2 || parse(argc, argv, &a) < 0)
		return usage();
	if (strcmp(argv[1], "switch") == 0)
		return switch_main(&a);
	if (a.node == NULL)
		return usage();
	if (strcmp(argv[1], "guard") == 0)
		return guard_main(&a);
	if (strcmp(argv[1], "node") == 0)
		return node_main(&a);
	return usage();
}
