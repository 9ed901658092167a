/* SPDX-License-Identifier: Apache-2.0 */
/*
 * site.h - processes of other homes on this node: site.c has their arrival, guests.c their lives,
 * holds.c what other nodes ask of them, reap.c the zombies of their relatives. Private to these.
 */
#ifndef PANDO_KERNEL_SITE_H
#define PANDO_KERNEL_SITE_H

#include <sys/resource.h>

#include "cmd/pando-kernel/world.h"

struct arrival;

struct guest {
	struct list link;
	struct world *w;
	struct kept_guest *k;
	struct arrival *arrival; /* NULL: it has arrived */
	int pidfd;               /* -1: not yet */
	gpid parent;             /* whose stub waits for it; 0: nobody's, its status is lost */
	gpid ppid;               /* its native parent, when that was last looked at */
	struct loop_child watch;
	bool watched;
	bool ended;
	bool dead;  /* it has ended; maybe we do not know how yet */
	int status; /* to be told; 0 while it runs: nothing */
	bool has_news;
	struct rusage usage;
	bool telling;
	bool left; /* with nobody's home to go by: whoever executes it now tells */
	unsigned flushes;
	struct loop_timer again;
};

/* ---- guests.c ---- */
/* A record for what arrives. NULL: full, or out of memory. */
struct guest *guest_new(struct world *w, gpid pid, node_id home, uint64_t id);
struct guest *guest_find(struct world *w, gpid pid);
/* The one of which @home hears. */
struct guest *guest_for(struct world *w, gpid pid, node_id home);
void guest_free(struct guest *g);
/* @pidfd (borrowed) is its stub's: in the store from now on. */
must_check int guest_keep(struct guest *g, int pidfd);
/* It executes: its end is told to its home. */
void guest_runs(struct guest *g);
must_check int guests_open(struct world *w);

/* ---- reap.c ---- */
void reap_stub(struct world *w, const struct stub *dead);
/* Who is born beside it is, too: pid 1's child, or the zygote's. */
bool reap_is_of_pid1(struct world *w, const struct stub *s);
/* The zygote's zombies of whom nobody is to be told: what was missed when they ended. */
void reap_zygotes(struct world *w, const struct proc_list *l);

/* ---- holds.c ---- */
void holds_open(struct world *w);

/* ---- renew.c ---- */
/* False: it is not needed as the stub that it was, so it is to die. */
must_check bool arrival_goes_on(struct world *w, const struct guest *g, struct stub *s);

/* ---- site.c ---- */
/* A guest of a predecessor, GUEST_MAKING or GUEST_GIVEN. */
must_check int arrival_adopt(struct guest *g);
/* A stub has died: whoever was to arrive in it does not. */
void arrival_stub_died(struct world *w, struct stub *s);

#endif
