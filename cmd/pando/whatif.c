/* SPDX-License-Identifier: Apache-2.0 */
/* what-if - the machine's present loads in the simulator, with one change. */
#include <stdio.h>
#include <string.h>

#include "cmd/pando/cmd.h"
#include "sim/sim.h"

#define NODES_MAX 256

static int whatif_run(struct ctx *c, int argc, char **argv)
{
	static struct sim_node nodes[NODES_MAX];
	unsigned n = 0;
	json_t *body, *list, *row;
	size_t i;
	int code = api_call(c, "ask what if", "GET", NULL, &body, "/v1/nodes");

	(void)argc;
	if (code != 0)
		return code;
	list = json_object_get(body, "nodes");
	json_array_foreach(list, i, row)
	{
		struct sim_node *s = &nodes[n];

		if (n == NODES_MAX)
			break;
		(void)snprintf(s->name, sizeof(s->name), "%s", json_text(row, "name"));
		s->alive = strcmp(json_text(row, "state"), "alive") == 0;
		s->cpu_milli = (unsigned)(json_number_value(json_object_get(row, "cpus")) * 1000.0);
		s->load_milli =
			(unsigned)(json_number_value(json_object_get(row, "load")) * 1000.0);
		s->mem_bytes = (uint64_t)json_number(row, "memory_bytes");
		n++;
	}
	json_decref(body);
	return sim_what_if(nodes, n, argv[0], c->format == FORMAT_JSON);
}

const struct cmd cmd_what_if = {
	.name = "what-if",
	.usage = "what-if 'kill NODE' | 'add N nodes' | 'make -jN'",
	.help = "Simulate one change to the machine's present loads.",
	.args_min = 1,
	.args_max = 1,
	.run = whatif_run,
};
