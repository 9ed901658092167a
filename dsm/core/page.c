/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/core/page.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"

static void page_check(const struct dsm_page *p)
{
	CHECK_INV(D4, p->kept_ver <= p->seen);
	CHECK_INV(D5, p->outstanding == (p->want > p->hold));
}

static struct dsm_msg *page_send(struct dsm_page *p, struct dsm_page_out *out, enum dsm_kind kind)
{
	struct dsm_msg *m;

	CHECK(out->count < ARRAY_LEN(out->send));
	m = &out->send[out->count++];
	*m = (struct dsm_msg){ .kind = kind, .epoch = p->epoch, .state = p->hold };
	return m;
}

static void page_send_request(struct dsm_page *p, struct dsm_page_out *out)
{
	struct dsm_msg *m = page_send(p, out, p->want == DSM_WRITE ? DSM_REQ_WRITE : DSM_REQ_READ);

	m->req = p->req;
	m->has_copy = p->hold != DSM_INVALID;
	out->set_timer = true;
}

/* A new request if more is wanted than held; its number tells its grant from those of older ones.
 */
static void page_ask(struct dsm_page *p, struct dsm_page_out *out)
{
	p->outstanding = p->want > p->hold;
	if (!p->outstanding)
		return;
	p->req++;
	page_send_request(p, out);
}

static void page_send_ack(struct dsm_page *p, struct dsm_page_out *out, uint64_t ver, bool data)
{
	struct dsm_msg *m = page_send(p, out, DSM_ACK);

	m->ver = ver;
	m->has_data = data;
	m->has_copy = p->kept_ver == ver ? p->kept_copy : p->hold != DSM_INVALID;
	if (data)
		out->set_timer = true;
}

static int page_on_fault(struct dsm_page *p, enum dsm_hold want, struct dsm_page_out *out)
{
	if (p->hold >= want) {
		out->map_write = p->hold == DSM_WRITE;
		out->map_read = true;
		return 0;
	}
	if (p->want >= want && p->outstanding)
		return 0;
	p->want = MAX(p->want, want);
	/* A reading request on its way is not overtaken: its grant asks for the rest. */
	if (!p->outstanding && !MUTANT("dsm.fault-unasked"))
		page_ask(p, out);
	return 0;
}

static void page_settle(struct dsm_page *p, struct dsm_page_out *out)
{
	out->drop = p->kept_ver != 0;
	p->kept_ver = 0;
}

static int page_on_grant(struct dsm_page *p, const struct dsm_msg *m, struct dsm_page_out *out)
{
	bool write = m->kind == DSM_GRANT_WRITE;

	if (!p->outstanding || m->req != p->req)
		return -ESTALE;
	if (m->ver < p->seen && !MUTANT("dsm.stale-grant-taken")) {
		if (MUTANT("dsm.stale-grant-ends-asking"))
			p->outstanding = false;
		else
			page_ask(p, out); /* taken away again while it was on its way */
		return 0;
	}
	if (!m->has_data && p->hold == DSM_INVALID)
		return -EPROTO;
	page_settle(p, out);
	p->seen = m->ver;
	p->hold = write ? DSM_WRITE : DSM_READ;
	p->hold_ver = m->ver;
	out->install = m->has_data;
	out->lost = m->lost;
	out->map_read = true;
	out->map_write = write;
	page_ask(p, out);
	if (!p->outstanding)
		p->want = DSM_INVALID;
	return 0;
}

/* INVAL and DOWNGRADE: obeyed once per round, answered as often as they are asked. */
static int page_on_order(struct dsm_page *p, const struct dsm_msg *m, struct dsm_page_out *out)
{
	bool fetch = m->kind == DSM_DOWNGRADE;
	enum dsm_hold had = p->hold;

	if (m->ver < p->seen)
		return -ESTALE;
	if (m->ver == p->seen) {
		page_send_ack(p, out, m->ver, p->kept_ver == m->ver);
		return 0;
	}
	if (!MUTANT("dsm.order-unseen"))
		p->seen = m->ver;
	page_settle(
		p, out); /* the home would not begin a round before it had what the last one gave */
	if (had == DSM_WRITE || (fetch && m->has_data && had == DSM_READ)) {
		out->protect = had == DSM_WRITE;
		out->keep = true;
		p->kept_ver = m->ver;
	}
	p->hold = fetch && had != DSM_INVALID ? DSM_READ : DSM_INVALID;
	p->kept_copy = p->hold != DSM_INVALID;
	out->unmap = p->hold == DSM_INVALID && had != DSM_INVALID;
	if (MUTANT("dsm.ack-before-unmap") && out->unmap) {
		out->unmap = false;
		p->hold = DSM_READ;
	}
	p->outstanding = p->want > p->hold;
	page_send_ack(p, out, m->ver, p->kept_ver == m->ver);
	if (MUTANT("dsm.kept-dropped"))
		page_settle(p, out);
	return 0;
}

static int page_on_recover(struct dsm_page *p, const struct dsm_msg *m, struct dsm_page_out *out)
{
	struct dsm_msg *r;

	if (m->epoch < p->epoch)
		return -ESTALE;
	p->epoch = m->epoch;
	if (MUTANT("dsm.recover-forgets"))
		p->seen = 0;
	r = page_send(p, out, DSM_REPORT);
	r->has_data = p->kept_ver != 0;
	r->ver = p->hold != DSM_INVALID ? p->hold_ver : p->kept_ver;
	r->seen = p->seen;
	if (p->hold != DSM_INVALID && p->kept_ver != 0)
		r->ver = p->kept_ver; /* still readable here: the kept bytes are what we read */
	if (p->outstanding)
		page_ask(p, out);
	return 0;
}

static int page_on_msg(struct dsm_page *p, const struct dsm_msg *m, struct dsm_page_out *out)
{
	if (m->kind == DSM_RECOVER)
		return page_on_recover(p, m, out);
	if (m->epoch != p->epoch)
		return m->epoch < p->epoch ? -ESTALE : -EPROTO;
	switch (m->kind) {
	case DSM_GRANT_READ:
	case DSM_GRANT_WRITE:
		return page_on_grant(p, m, out);
	case DSM_RETRY:
		out->set_timer = p->outstanding && m->req == p->req;
		return out->set_timer ? 0 : -ESTALE;
	case DSM_INVAL:
	case DSM_DOWNGRADE:
		return page_on_order(p, m, out);
	case DSM_SETTLED:
		if (m->ver != p->kept_ver || m->ver == 0)
			return -ESTALE;
		page_settle(p, out);
		return 0;
	default:
		return -EPROTO;
	}
}

static void page_on_timer(struct dsm_page *p, struct dsm_page_out *out)
{
	if (p->kept_ver != 0)
		page_send_ack(p, out, p->kept_ver, true);
	if (p->outstanding)
		page_send_request(p, out);
}

void dsm_page_init(struct dsm_page *p, epoch_t epoch)
{
	*p = (struct dsm_page){ .epoch = epoch };
}

int dsm_page_step(struct dsm_page *p, const struct dsm_page_ev *ev, struct dsm_page_out *out)
{
	int r = 0;

	memset(out, 0, sizeof(*out));
	page_check(p);
	switch (ev->kind) {
	case DSM_PAGE_FAULT_READ:
		r = page_on_fault(p, DSM_READ, out);
		break;
	case DSM_PAGE_FAULT_WRITE:
		r = page_on_fault(p, DSM_WRITE, out);
		break;
	case DSM_PAGE_MSG:
		r = page_on_msg(p, &ev->msg, out);
		break;
	case DSM_PAGE_TIMER:
		page_on_timer(p, out);
		break;
	}
	if (r < 0)
		memset(out, 0, sizeof(*out));
	page_check(p);
	return r;
}
