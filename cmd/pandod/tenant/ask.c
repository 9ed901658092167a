/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.c - requests to guest kernels that may be on their way, or on another node.
 *
 * A kernel that died is back within tens of milliseconds, and its guests did not notice: whoever
 * asks about them waits for it, rather than be told that they are not there.
 */
#include <errno.h>
#include <string.h>

#include "cmd/pandod/pod.h"
#include "cmd/pandod/pod.pb-c.h"
#include "kernel/kernel.pb-c.h"

/* ---- on its way ---- */
/* A request that waits until the kernel answers. */
struct patient_ask {
	struct pod *pod;
	tenant_id tenant;
	uint32_t method;
	bool again; /* once more if its kernel dies over it: it only asks */
	rpc_done_fn done;
	void *arg;
	size_t len;
	uint8_t body[];
};

static void patient_answered(void *arg, int err, const struct rpc_msg *m);

/*
 * 0, or -ESRCH: nothing of the tenant runs here. -EAGAIN: it does, but is not in our tables, which
 * are a moment behind after a restart; or it is just being removed.
 */
static int has_world(struct pod *p, tenant_id t)
{
	if (world_find(p, t) == NULL)
		return -ESRCH;
	return naming_tenant_find(naming_tables(p->naming), t) != NULL ? 0 : -EAGAIN;
}

static void kernel_is_there(void *arg, struct world *w, int err, const char *why)
{
	struct patient_ask *ask = arg;
	int r = w ? kern_request(w, ask->method, ask->body, ask->len, NULL, 0, patient_answered,
				 ask)
		: err < 0 ? err
			  : -ESRCH;

	(void)why;
	if (r == 0)
		return;
	ask->again = false;
	patient_answered(ask, r, NULL);
}

static void patient_answered(void *arg, int err, const struct rpc_msg *m)
{
	struct patient_ask *ask = arg;

	if (err == -ECONNRESET && ask->again && has_world(ask->pod, ask->tenant) == 0) {
		ask->again = false;
		world_get(ask->pod, ask->tenant, kernel_is_there, ask);
		return;
	}
	ask->done(ask->arg, err, m);
	free(ask);
}

int kern_request_here(struct pod *p, tenant_id t, uint32_t method, const void *body, size_t len,
		      rpc_done_fn done, void *arg)
{
	struct patient_ask *ask;
	int r = has_world(p, t);

	if (r != 0)
		return r;
	ask = malloc(sizeof(*ask) + len);
	if (ask == NULL)
		return -ENOMEM;
	*ask = (struct patient_ask){ .pod = p,
				     .tenant = t,
				     .method = method,
				     .again = method != KERNEL_MIGRATE && method != KERNEL_SIGNAL,
				     .done = done,
				     .arg = arg,
				     .len = len };
	if (len > 0)
		memcpy(ask->body, body, len);
	world_get(p, t, kernel_is_there, ask);
	return 0;
}

/* ---- on another node ---- */
struct far_ask {
	rpc_done_fn done;
	void *arg;
};

static void far_answered(void *arg, int err, const struct rpc_msg *m)
{
	struct far_ask *ask = arg;
	Pod__Forwarded *f = err == 0 ? pod__forwarded__unpack(NULL, m->len, m->body) : NULL;
	struct rpc_msg inner = { 0 };

	if (err == 0 && f == NULL)
		err = -EPROTO;
	if (f != NULL) {
		inner.body = f->body.data;
		inner.len = f->body.len;
	}
	ask->done(ask->arg, err, err == 0 ? &inner : NULL);
	pod__forwarded__free_unpacked(f, NULL);
	free(ask);
}

int kern_request_at(struct pod *p, node_id node, tenant_id t, uint32_t method, const void *body,
		    size_t len, rpc_done_fn done, void *arg)
{
	Pod__Forward f = POD__FORWARD__INIT;
	cleanup_free uint8_t *packed = NULL;
	struct rpc_msg m = { .method = POD_FORWARD };
	struct far_ask *ask;
	int r;

	if (node == naming_self(p->naming))
		return kern_request_here(p, t, method, body, len, done, arg);
	f.tenant = t;
	f.method = method;
	f.body.data = (uint8_t *)(uintptr_t)body;
	f.body.len = len;
	packed = malloc(pod__forward__get_packed_size(&f) + 1);
	ask = malloc(sizeof(*ask));
	if (packed == NULL || ask == NULL) {
		free(ask);
		return -ENOMEM;
	}
	*ask = (struct far_ask){ done, arg };
	m.body = packed;
	m.len = pod__forward__pack(&f, packed);
	r = peers_request(p, node, &m, far_answered, ask);
	if (r < 0)
		free(ask);
	return r;
}
