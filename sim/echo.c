/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A raw network's worst: what it has brought to a guest kernel it brings once more, to its
 * successor, in the first moments of that one's life. So answers to what a predecessor had asked
 * come while the same is asked again.
 */
#include "sim/cluster.h"
#include "sim/link.h"

void echo_keep(struct sim *s, struct knode *n, void *msg)
{
	struct echo *e = &n->echo;
	uint64_t at;

	if (!link_raw(s) || !s->conf.faults)
		return;
	/* Each of a life's messages is as likely to be among the kept ones as any other. */
	at = e->heard++;
	if (at >= ECHO_MAX)
		at = rand_below(&s->w.rng[RNG_ECHO], e->heard);
	if (at >= ECHO_MAX)
		return;
	world_put(e->kept[at]);
	e->kept[at] = world_get(msg);
}

void echo_play(struct sim *s, struct knode *n)
{
	struct echo *e = &n->echo;
	bool play = !s->quiet && link_raw(s) && rand_chance(&s->w.rng[RNG_ECHO], 1, 2);

	for (uint32_t i = 0; i < ECHO_MAX; i++) {
		if (play && e->kept[i] && rand_chance(&s->w.rng[RNG_ECHO], 1, 2))
			pod_deliver_again(s, n, e->kept[i], world_delay_ns(&s->w, RNG_ECHO, 200));
		else
			world_put(e->kept[i]);
		e->kept[i] = NULL;
	}
	e->heard = 0;
}
