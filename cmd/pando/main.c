/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - `pando VERB`: the table of verbs, options, help and the guess at a typo.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/guess.h"
#include "cmd/pando/cmd.h"

static const struct cmd *const cmds[] = {
	&cmd_up,     &cmd_down,   &cmd_status, &cmd_doctor, &cmd_tenant,  &cmd_login,
	&cmd_attach, &cmd_detach, &cmd_on,     &cmd_ps,     &cmd_why,     &cmd_migrate,
	&cmd_nodes,  &cmd_invite, &cmd_join,   &cmd_drain,  &cmd_leave,   &cmd_quota,
	&cmd_usage,  &cmd_events, &cmd_sched,  &cmd_sim,    &cmd_what_if, &cmd_debug,
};

/* Where a part of the list of verbs begins. */
static const struct part {
	const struct cmd *first;
	const char *title;
} parts[] = {
	{ &cmd_up, "the machine on this host" },
	{ &cmd_tenant, "tenants and their sessions" },
	{ &cmd_ps, "processes" },
	{ &cmd_nodes, "nodes, further hosts" },
	{ &cmd_quota, "limits and what happened" },
	{ &cmd_sim, "without a machine, and for tests" },
};

static const char *format_text;
static bool want_json, want_help;
static const char *dir_text, *node_text;

static const struct opt common[] = {
	{ "dir", 'd', "DIR", "directory of the cluster ($PANDO_DIR, else /var/lib/pando)",
	  &dir_text, NULL },
	{ "node", 'n', "NODE", "the node that is asked; login: where the session starts",
	  &node_text, NULL },
	{ "json", 0, NULL, "print JSON", NULL, &want_json },
	{ "output", 'o', "FORMAT", "table, json or csv", &format_text, NULL },
	{ "help", 'h', NULL, "this text", NULL, &want_help },
	{ 0 },
};

static const struct cmd *find_cmd(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(cmds); i++)
		if (strcmp(cmds[i]->name, name) == 0)
			return cmds[i];
	return NULL;
}

static void help_all(FILE *f)
{
	fputs("usage: pando VERB [ARGUMENTS]\n\n"
	      "A cluster of Linux hosts that behaves like one timeshare machine.\n\n",
	      f);
	for (size_t i = 0; i < ARRAY_LEN(cmds); i++) {
		for (size_t k = 0; k < ARRAY_LEN(parts); k++)
			if (parts[k].first == cmds[i])
				fprintf(f, "%s%s:\n", k > 0 ? "\n" : "", parts[k].title);
		fprintf(f, "  %-9s %s\n", cmds[i]->name, cmds[i]->help);
	}
	fputs("\nTo begin: pando up -n 3; pando tenant add alice; pando login alice\n"
	      "pando VERB --help tells more. Exit status: 0 done, 1 refused or failed, 2 usage,\n"
	      "3 named thing not found, 4 machine not reachable, 5 not allowed, 6 limit;\n"
	      "login and on give the program's own, 128+n for a signal.\n",
	      f);
}

static const struct opt *find_opt(const struct opt *o, const char *name, size_t len, char letter);

/* A letter that means something else to the verb (@own) is not shown. */
static void help_opts(const struct opt *o, const struct opt *own)
{
	for (; o != NULL && o->name != NULL; o++) {
		char left[48];

		(void)snprintf(left, sizeof(left), "--%s%s%s", o->name, o->arg ? " " : "",
			       o->arg ? o->arg : "");
		if (o->letter && (own == NULL || find_opt(own, NULL, 0, o->letter) == NULL))
			printf("  -%c, %-22s %s\n", o->letter, left, o->help);
		else
			printf("      %-22s %s\n", left, o->help);
	}
}

static void help_cmd(const struct cmd *cmd)
{
	printf("usage: pando %s\n\n%s\n", cmd->usage, cmd->help);
	if (cmd->more)
		printf("\n%s\n", cmd->more);
	printf("\n");
	help_opts(cmd->opts, NULL);
	help_opts(common, cmd->opts);
}

static const struct opt *find_opt(const struct opt *o, const char *name, size_t len, char letter)
{
	for (; o != NULL && o->name != NULL; o++) {
		if (letter != 0 ? o->letter == letter
				: strlen(o->name) == len && memcmp(o->name, name, len) == 0)
			return o;
	}
	return NULL;
}

/* @meant: behind it, or "". */
static int usage(struct ctx *c, const struct cmd *cmd, const char *what, const char *which,
		 const char *meant)
{
	char try_next[64];

	(void)snprintf(try_next, sizeof(try_next), "pando %s%s--help", cmd->name,
		       *cmd->name ? " " : "");
	return fail(c, CODE_USAGE, try_next, "cannot %s: %s '%s'%s",
		    *cmd->name ? cmd->name : "read the options", what, which, meant);
}

static void offer_opts(struct guess *g, const struct opt *o)
{
	char name[GUESS_MAX];

	for (; o != NULL && o->name != NULL; o++) {
		(void)snprintf(name, sizeof(name), "--%s", o->name);
		guess_offer(g, name);
	}
}

static int unknown_opt(struct ctx *c, const struct cmd *cmd, const char *word)
{
	char name[GUESS_MAX], meant[GUESS_MAX + 24];
	struct guess g;

	(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, "="), word);
	guess_init(&g, word[1] == '-' ? name : "");
	offer_opts(&g, cmd->opts);
	offer_opts(&g, common);
	return usage(c, cmd, "unknown option", word, guess_text(&g, meant));
}

/* Applies the option at argv[*i]; 0 or a code. */
static int take_opt(struct ctx *c, const struct cmd *cmd, int argc, char **argv, int *i)
{
	const char *word = argv[*i], *name = word + 2, *eq = NULL;
	const struct opt *o;
	char letter = 0;

	if (word[1] == '-') {
		eq = strchr(name, '=');
	} else {
		letter = word[1];
		if (word[2] != '\0')
			eq = word + 1; /* -ojson: the value follows at once */
	}
	size_t len = eq && !letter ? (size_t)(eq - name) : strlen(name);

	o = find_opt(cmd->opts, name, len, letter);
	if (o == NULL)
		o = find_opt(common, name, len, letter);
	if (o == NULL)
		return unknown_opt(c, cmd, word);
	if (o->flag != NULL && eq != NULL)
		return usage(c, cmd, "no value goes with", word, "");
	if (o->flag != NULL) {
		*o->flag = true;
		return 0;
	}
	if (eq != NULL)
		*o->value = eq + 1;
	else if (++*i < argc)
		*o->value = argv[*i];
	else
		return usage(c, cmd, "no value for", word, "");
	return 0;
}

/* Splits options from arguments in place; the number of arguments, or minus a code. */
static int split(struct ctx *c, const struct cmd *cmd, int argc, char **argv)
{
	int n = 0, i;

	for (i = 0; i < argc; i++) {
		int code;

		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		if (argv[i][0] != '-' || argv[i][1] == '\0') {
			argv[n++] = argv[i];
			if (cmd->stop_after > 0 && (unsigned)n >= cmd->stop_after) {
				i++;
				break;
			}
			continue;
		}
		code = take_opt(c, cmd, argc, argv, &i);
		if (code != 0)
			return -code;
	}
	while (i < argc)
		argv[n++] = argv[i++];
	argv[n] = NULL;
	return n;
}

static int read_format(struct ctx *c, const struct cmd *cmd)
{
	if (want_json)
		c->format = FORMAT_JSON;
	if (format_text == NULL || strcmp(format_text, "table") == 0)
		return 0;
	if (strcmp(format_text, "json") == 0)
		c->format = FORMAT_JSON;
	else if (strcmp(format_text, "csv") == 0)
		c->format = FORMAT_CSV;
	else
		return usage(c, cmd, "unknown format", format_text, "");
	return 0;
}

/* What was said so far: also what is to be said again with a command that is proposed. */
static void take_dir(struct ctx *c)
{
	if (dir_text == NULL)
		return;
	c->said = c->dir == NULL || strcmp(c->dir, dir_text) != 0 ? dir_text : NULL;
	c->dir = dir_text;
}

static int run(struct ctx *c, const struct cmd *cmd, int argc, char **argv)
{
	int n = split(c, cmd, argc, argv), code;

	take_dir(c);
	if (n < 0)
		return -n;
	if (want_help) {
		help_cmd(cmd);
		return CODE_DONE;
	}
	code = read_format(c, cmd);
	if (code != 0)
		return code;
	if ((unsigned)n < cmd->args_min || (unsigned)n > cmd->args_max) {
		char try_next[64];

		(void)snprintf(try_next, sizeof(try_next), "pando %s --help", cmd->name);
		return fail(c, CODE_USAGE, try_next, "cannot %s: usage is pando %s", cmd->name,
			    cmd->usage);
	}
	c->node = node_text;
	return cmd->run(c, n, argv);
}

static int unknown(struct ctx *c, const char *name)
{
	char try_next[64] = "pando help";
	struct guess g;

	guess_init(&g, name);
	for (size_t i = 0; i < ARRAY_LEN(cmds); i++)
		guess_offer(&g, cmds[i]->name);
	if (g.best[0] != '\0')
		(void)snprintf(try_next, sizeof(try_next), "pando %s", g.best);
	return fail(c, CODE_USAGE, try_next, "cannot %s: there is no such verb", name);
}

static int help(struct ctx *c, int argc, char **argv)
{
	const struct cmd *cmd = argc > 0 ? find_cmd(argv[0]) : NULL;

	if (argc > 0 && cmd == NULL)
		return unknown(c, argv[0]);
	if (cmd != NULL)
		help_cmd(cmd);
	else
		help_all(stdout);
	return CODE_DONE;
}

/* Common options may stand in front of the verb: `pando --dir D status`. Index of the verb, or
 * -code. */
static int leading(struct ctx *c, int argc, char **argv)
{
	static const struct cmd pando = { .name = "" };
	int i = 1, code;

	for (; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
		code = take_opt(c, &pando, argc, argv, &i);
		if (code != 0)
			return -code;
	}
	return i;
}

int main(int argc, char **argv)
{
	struct ctx c = { .dir = getenv("PANDO_DIR"), .colour = isatty(1) == 1 };
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *self = slash ? slash + 1 : argc > 0 ? argv[0] : "pando";
	const struct cmd *cmd;
	int at;

	/* Inside a session `on`, `migrate`, `attach`, `detach` and `quota` are links to this
	 * program. */
	if (strcmp(self, "pando") != 0 && (cmd = find_cmd(self)) != NULL)
		return run(&c, cmd, argc - 1, argv + 1);
	at = leading(&c, argc, argv);
	if (at < 0)
		return -at;
	if (at >= argc && !want_help) {
		help_all(stderr);
		return CODE_USAGE;
	}
	if (at >= argc || strcmp(argv[at], "help") == 0)
		return help(&c, argc - at - 1, argv + at + 1);
	cmd = find_cmd(argv[at]);
	if (cmd == NULL) {
		take_dir(&c);
		return unknown(&c, argv[at]);
	}
	return run(&c, cmd, argc - at - 1, argv + at + 1);
}
