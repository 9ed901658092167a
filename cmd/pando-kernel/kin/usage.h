/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage.h - what processes of this node have used on others, and how their parents come to see it.
 *
 * A host's kernel fills wait4(2), waitid(2), times(2) and getrusage(2) from the tasks that it has:
 * a child that has executed elsewhere was a stub here, which has used nothing. The site tells with
 * an end what was used there (PEER_CHANGED). usage.c keeps it, and knows who has waited for whom as
 * the host would; waits.c puts right what such a call has answered, when it has and before its
 * caller goes on. Private to these.
 *
 * The caller is seized for that moment, by a thread of its own (a tracee belongs to one). No gate
 * is needed: if we die the caller goes on with the host's own answer.
 */
#ifndef PANDO_KERNEL_USAGE_H
#define PANDO_KERNEL_USAGE_H

#include "cmd/pando-kernel/world.h"

/* @pid may have children, or have had, that have used something elsewhere. */
bool usage_has_kids(const struct world *w, gpid pid);
/* What the children of @pid that it has waited for have used elsewhere. */
struct kept_used usage_of_kids(struct world *w, gpid pid);
/* The same for @pid, which has just been waited for (or is a zombie still), and for its children.
 */
struct kept_used usage_of(struct world *w, gpid pid);
/* There is anything to know. Any thread. */
bool usage_is_any(const struct world *w);

#endif
