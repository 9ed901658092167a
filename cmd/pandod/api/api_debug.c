/* SPDX-License-Identifier: Apache-2.0 */
/* api_debug.c - fault points over the control API, for tests. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "cmd/pandod/api/api.h"
#include "kernel/kernel.pb-c.h"

/* ---- faults ---- */
static void fault_armed(void *arg, int err, const struct rpc_msg *m)
{
	(void)m;
	api_done(arg, err, "there is no such point in the guest kernel");
}

void api_post_fault(struct pod *p, struct ctl_req *r, args_t a)
{
	const char *tenant = api_text(r, "tenant"), *point = api_text(r, "point");
	Kernel__FaultArm arm = KERNEL__FAULT_ARM__INIT;
	const struct naming_tenant *t;
	struct api_pending *x;
	struct world *w;
	uint8_t body[256];
	int err;

	(void)a;
	if (*tenant == '\0') {
		if (fault_arm_text(point) < 0)
			ctl_problem(r, 404, "pando debug points NODE",
				    "pandod has no fault point %.60s", point);
		else
			ctl_reply(r, 200, NULL);
		return;
	}
	t = api_tenant(p, r, tenant);
	if (t == NULL)
		return;
	w = world_find(p, t->id);
	arm.text = (char *)(uintptr_t)point;
	if (w == NULL || kernel__fault_arm__get_packed_size(&arm) > sizeof(body)) {
		ctl_problem(r, 404, "pando login TENANT", "the tenant has no guest kernel here");
		return;
	}
	x = api_pending(p, r, "pando debug points NODE TENANT");
	err = kern_request(w, KERNEL_FAULT_ARM, body, kernel__fault_arm__pack(&arm, body), NULL, 0,
			   fault_armed, x);
	if (err < 0)
		api_done(x, err, "the guest kernel does not answer");
}

static void kernel_points(void *arg, int err, const struct rpc_msg *m)
{
	struct api_pending *x = arg;
	Kernel__Status *s = err == 0 ? kernel__status__unpack(NULL, m->len, m->body) : NULL;
	json_t *list = json_array();

	for (size_t i = 0; s != NULL && i < s->n_fault_points; i++)
		(void)json_array_append_new(list, json_string(s->fault_points[i]));
	if (x->req != NULL && s != NULL)
		ctl_reply(x->req, 200, json_pack("{s:O}", "points", list));
	else if (x->req != NULL)
		api_refuse(x->req, err ? err : -EPROTO, NULL, "the guest kernel does not answer");
	json_decref(list);
	kernel__status__free_unpacked(s, NULL);
	free(x);
}

void api_get_points(struct pod *p, struct ctl_req *r, args_t a)
{
	struct api_pending *x;
	struct fault_point *points;
	tenant_id only;
	json_t *list;
	struct world *w;
	size_t n;

	(void)a;
	if (!api_whom(p, r, &only))
		return;
	if (only != TENANT_NONE) {
		w = world_find(p, only);
		x = api_pending(p, r, NULL);
		if (w == NULL ||
		    kern_request(w, KERNEL_STATUS, NULL, 0, NULL, 0, kernel_points, x) < 0)
			api_done(x, -ENOENT, "the tenant has no guest kernel here");
		return;
	}
	points = fault_points(&n);
	list = json_array();
	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(list, json_string(points[i].name));
	ctl_reply(r, 200, json_pack("{s:o}", "points", list));
}
