/* SPDX-License-Identifier: Apache-2.0 */
/* sim - run whole machines in virtual time, by seed. The options are the simulator's own. */
#include <stdio.h>
#include <string.h>

#include "cmd/pando/cmd.h"
#include "sim/sim.h"

static const char *value[SIM_OPTIONS];
static bool flag[SIM_OPTIONS];
static struct opt opts[SIM_OPTIONS + 1];

static int sim_run_verb(struct ctx *c, int argc, char **argv)
{
	static char words[SIM_OPTIONS][64];
	char *args[2 * SIM_OPTIONS + 2] = { (char *)(uintptr_t) "sim" };
	int n = 1;

	(void)argc;
	(void)argv;
	for (unsigned i = 0; sim_options[i].name; i++) {
		/* `--json` is every verb's. */
		if (strcmp(sim_options[i].name, "json") == 0)
			flag[i] = c->format == FORMAT_JSON;
		if (!value[i] && !flag[i])
			continue;
		(void)snprintf(words[i], sizeof(words[i]), "--%s", sim_options[i].name);
		args[n++] = words[i];
		if (value[i])
			args[n++] = (char *)(uintptr_t)value[i];
	}
	return sim_main(n, args);
}

const struct cmd cmd_sim = {
	.name = "sim",
	.usage = "sim [OPTIONS]",
	.help = "Run whole machines in virtual time, by seed: find bugs, answer capacity "
		"questions.",
	.opts = opts,
	.run = sim_run_verb,
};

/* One table of options, the simulator's: it also runs without this command, in tests. */
__attribute__((constructor)) static void sim_opts_fill(void)
{
	unsigned n = 0;

	for (unsigned i = 0; sim_options[i].name && i < SIM_OPTIONS; i++) {
		if (strcmp(sim_options[i].name, "json") != 0)
			opts[n++] = (struct opt){ .name = sim_options[i].name,
						  .arg = sim_options[i].arg,
						  .help = sim_options[i].help,
						  .value = sim_options[i].arg ? &value[i] : NULL,
						  .flag = sim_options[i].arg ? NULL : &flag[i] };
	}
}
