/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place_told.c - what its site tells of a process whose caller is not its stub yet: kept, and done
 * when it is (place_end()).
 */
#include <errno.h>

#include "cmd/pando-kernel/exec/place.h"

bool placing_changed(struct world *w, gpid pid, node_id site, int status, struct rpc_call *call)
{
	struct placing *p;

	list_for_each (p, &w->placings, link) {
		if (p->gpid != pid || p->site != site || !p->k || p->k->phase == PLACE_OVER)
			continue;
		if (p->changed)
			answers_reply(p->changed, -EAGAIN, NULL);
		p->changed = call;
		p->status = status;
		return true;
	}
	return false;
}

bool placing_group(struct world *w, const struct kin_group *g, struct rpc_call *call)
{
	struct placing *p;

	list_for_each (p, &w->placings, link) {
		if (p->gpid != g->pid || !p->k || p->k->phase == PLACE_OVER || p->grouped)
			continue;
		p->grouped = call;
		p->group = *g;
		return true;
	}
	return false;
}
