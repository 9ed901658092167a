/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/core/dir.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"

static void dir_check(const struct dsm_dir *d)
{
	CHECK_INV(D1, d->writer == DSM_NOBODY || d->holders == dsm_bit(d->writer));
	CHECK_INV(D2, (d->waiting_for == 0) == (d->state == DSM_DIR_IDLE));
	CHECK_INV(D3, d->state != DSM_DIR_COLLECTING || (d->waiting_for & ~d->holders) == 0);
}

static struct dsm_msg *dir_send(struct dsm_dir *d, struct dsm_dir_out *out, dsm_set to,
				enum dsm_kind kind)
{
	struct dsm_msg *m;

	CHECK(out->count < ARRAY_LEN(out->send));
	out->send[out->count].to = to;
	m = &out->send[out->count++].msg;
	*m = (struct dsm_msg){ .kind = kind, .ver = d->ver, .epoch = d->epoch };
	return m;
}

static void dir_grant(struct dsm_dir *d, dsm_sharer to, bool write, uint32_t req, bool has_copy,
		      struct dsm_dir_out *out)
{
	bool data = !write || !(d->holders & dsm_bit(to)) || !has_copy;
	struct dsm_msg *m;

	if (write) {
		d->writer = to;
		d->holders = dsm_bit(to);
		d->ver++;
	} else {
		d->holders |= dsm_bit(to);
	}
	m = dir_send(d, out, dsm_bit(to), write ? DSM_GRANT_WRITE : DSM_GRANT_READ);
	m->req = req;
	m->has_data = data;
	m->lost = d->lost;
	if (write)
		d->lost = false; /* who writes the page has been told */
}

/* Sends the orders of the present round to whoever has not answered. */
static void dir_order(struct dsm_dir *d, struct dsm_dir_out *out)
{
	struct dsm_msg *m;

	if (d->state == DSM_DIR_RECOVERING) {
		(void)dir_send(d, out, d->waiting_for, DSM_RECOVER);
	} else {
		m = dir_send(d, out, d->waiting_for, d->fetching ? DSM_DOWNGRADE : DSM_INVAL);
		m->has_data = d->fetching;
	}
	out->set_timer = true;
}

static void dir_collect(struct dsm_dir *d, const struct dsm_msg *m, dsm_set from, bool fetching,
			struct dsm_dir_out *out)
{
	d->state = DSM_DIR_COLLECTING;
	d->pending = m->sharer;
	d->pending_write = m->kind == DSM_REQ_WRITE;
	d->pending_has_copy = m->has_copy;
	d->pending_req = m->req;
	d->fetching = fetching;
	d->waiting_for = from;
	d->ver++;
	dir_order(d, out);
}

/* The home has no good copy and nobody writes: one reader must send its bytes first. */
static dsm_set dir_any_holder(const struct dsm_dir *d)
{
	return d->holders & -d->holders;
}

static void dir_serve(struct dsm_dir *d, const struct dsm_msg *m, struct dsm_dir_out *out)
{
	dsm_set others = d->holders & ~dsm_bit(m->sharer);
	/*
	 * A writer that asks again never got its grant: had it written, it would not ask. (Or the
	 * request is an old one, repeated by the network; then the grant is ignored.)
	 */
	bool write = m->kind == DSM_REQ_WRITE || d->writer == m->sharer;

	if (!d->copy_good && d->writer == DSM_NOBODY) {
		if (d->holders != 0) {
			dir_collect(d, m, dir_any_holder(d), true, out);
			return;
		}
		d->lost = true; /* all that held it are dead */
		d->copy_good = true;
	}
	if (write && others != 0 && !MUTANT("dsm.write-beside-readers"))
		dir_collect(d, m, others, false, out);
	else if (!write && d->writer != DSM_NOBODY && !MUTANT("dsm.read-beside-writer"))
		dir_collect(d, m, dsm_bit(d->writer), true, out);
	else
		dir_grant(d, m->sharer, write, m->req, m->has_copy, out);
}

static int dir_on_request(struct dsm_dir *d, const struct dsm_msg *m, struct dsm_dir_out *out)
{
	if (d->state == DSM_DIR_COLLECTING && d->pending == m->sharer && d->pending_req == m->req)
		return 0; /* repeated: it is being served */
	if (d->state != DSM_DIR_IDLE) {
		dir_send(d, out, dsm_bit(m->sharer), DSM_RETRY)->req = m->req;
		return 0;
	}
	dir_serve(d, m, out);
	return 0;
}

/* The round is complete: serve what waited for it. */
static void dir_finish(struct dsm_dir *d, struct dsm_dir_out *out)
{
	struct dsm_msg m = { .kind = d->pending_write ? DSM_REQ_WRITE : DSM_REQ_READ,
			     .sharer = d->pending,
			     .req = d->pending_req,
			     .has_copy = d->pending_has_copy };

	d->state = MUTANT("dsm.finish-unfinished") ? d->state : DSM_DIR_IDLE;
	d->pending = DSM_NOBODY;
	if (m.sharer != DSM_NOBODY)
		dir_serve(d, &m, out);
}

/* An answer that nobody waits for: repeated, or late. Its sender may still keep bytes for us. */
static int dir_on_late_ack(struct dsm_dir *d, const struct dsm_msg *m, struct dsm_dir_out *out)
{
	if (m->ver > d->ver)
		return -EPROTO;
	/* A repeated REPORT may carry the very bytes that this round waits for: keep them there.
	 * And whoever has not reported yet keeps everything: we may need what is old to others. */
	if ((m->ver == d->ver || d->state == DSM_DIR_RECOVERING) &&
	    (d->waiting_for & dsm_bit(m->sharer)))
		return 0;
	dir_send(d, out, dsm_bit(m->sharer), DSM_SETTLED)->ver = m->ver;
	return 0;
}

static int dir_on_ack(struct dsm_dir *d, const struct dsm_msg *m, struct dsm_dir_out *out)
{
	dsm_set from = dsm_bit(m->sharer);

	if (d->state != DSM_DIR_COLLECTING || m->ver != d->ver || !(d->waiting_for & from))
		return dir_on_late_ack(d, m, out);
	if (d->fetching && m->has_copy && !m->has_data && !d->copy_good)
		return -EPROTO; /* it was told to send what it reads */
	if (m->has_data && (d->writer == m->sharer || !d->copy_good)) {
		out->store = !MUTANT("dsm.data-dropped");
		d->copy_good = true;
		d->copy_ver = m->ver;
	}
	if (m->has_data)
		dir_send(d, out, from, DSM_SETTLED)->ver = m->ver;
	if (d->writer == m->sharer)
		d->writer = DSM_NOBODY;
	if (!d->fetching || !m->has_copy)
		d->holders &= ~from;
	if (!MUTANT("dsm.ack-half-taken"))
		d->waiting_for &= ~from;
	if (MUTANT("dsm.first-ack-is-enough")) {
		d->holders &= ~d->waiting_for;
		d->waiting_for = 0;
	}
	if (d->waiting_for == 0)
		dir_finish(d, out);
	return 0;
}

/*
 * A sharer tells a new home what it holds. Two writers, or a writer beside readers, cannot be:
 * a report that would make it so is a lie, and its sender is told to drop the page by the next
 * round.
 */
static int dir_on_report(struct dsm_dir *d, const struct dsm_msg *m, struct dsm_dir_out *out)
{
	dsm_set from = dsm_bit(m->sharer);

	if (d->state != DSM_DIR_RECOVERING || !(d->waiting_for & from))
		return dir_on_late_ack(d, m, out);
	if (m->state == DSM_WRITE && (d->writer != DSM_NOBODY || d->holders != 0))
		return -EPROTO;
	if (m->state == DSM_READ && d->writer != DSM_NOBODY)
		return -EPROTO;
	if (m->state != DSM_INVALID)
		d->holders |= from;
	if (m->state == DSM_WRITE)
		d->writer = m->sharer;
	/* Bytes given up in a round whose answer the old home may never have seen. */
	if (m->has_data && m->ver > d->copy_ver) {
		out->store = true;
		d->copy_ver = m->ver;
	}
	if (m->has_data)
		dir_send(d, out, from, DSM_SETTLED)->ver = m->ver;
	/* Readers of a later round than our copy's read later bytes: one of them is asked for them,
	 * whatever the order of the reports.
	 */
	if (m->state == DSM_READ)
		d->read_ver = MAX(d->read_ver, m->ver);
	d->copy_good =
		d->copy_ver != 0 && (d->copy_ver >= d->read_ver || MUTANT("dsm.old-copy-taken"));
	d->ver = MAX(d->ver, MAX(m->ver, m->seen));
	d->waiting_for = MUTANT("dsm.recover-hasty") ? 0 : d->waiting_for & ~from;
	if (d->waiting_for == 0)
		d->state = DSM_DIR_IDLE;
	return 0;
}

static int dir_on_gone(struct dsm_dir *d, dsm_sharer who, struct dsm_dir_out *out)
{
	dsm_set bit = dsm_bit(who);

	if (d->writer == who) {
		d->writer = DSM_NOBODY;
		d->lost = true;
	}
	d->holders &= ~bit;
	if (d->pending == who)
		d->pending = DSM_NOBODY;
	if (!(d->waiting_for & bit) || MUTANT("dsm.dead-waited-for"))
		return 0;
	d->waiting_for &= ~bit;
	if (d->waiting_for != 0 || MUTANT("dsm.death-ends-nothing"))
		return 0;
	if (d->state == DSM_DIR_COLLECTING)
		dir_finish(d, out);
	else
		d->state = DSM_DIR_IDLE;
	return 0;
}

static int dir_on_msg(struct dsm_dir *d, const struct dsm_msg *m, struct dsm_dir_out *out)
{
	if (m->sharer >= DSM_SHARERS_MAX || m->state > DSM_WRITE)
		return -EPROTO;
	if (m->epoch != d->epoch && !MUTANT("dsm.old-epoch-obeyed"))
		return m->epoch < d->epoch ? -ESTALE : -EPROTO;
	switch (m->kind) {
	case DSM_REQ_READ:
	case DSM_REQ_WRITE:
		return dir_on_request(d, m, out);
	case DSM_ACK:
		return dir_on_ack(d, m, out);
	case DSM_REPORT:
		return dir_on_report(d, m, out);
	default:
		return -EPROTO;
	}
}

void dsm_dir_init(struct dsm_dir *d, epoch_t epoch)
{
	*d = (struct dsm_dir){ .epoch = epoch,
			       .ver = 1,
			       .writer = DSM_NOBODY,
			       .pending = DSM_NOBODY,
			       .copy_good = true,
			       .copy_ver = 1 };
}

void dsm_dir_recover(struct dsm_dir *d, epoch_t epoch, dsm_set live, uint64_t copy_ver,
		     struct dsm_dir_out *out)
{
	CHECK(epoch > d->epoch);
	memset(out, 0, sizeof(*out));
	dsm_dir_init(d, epoch);
	d->copy_good = copy_ver != 0;
	d->copy_ver = copy_ver;
	d->ver = copy_ver;
	if (live == 0)
		return;
	d->state = DSM_DIR_RECOVERING;
	d->waiting_for = live;
	dir_order(d, out);
}

int dsm_dir_step(struct dsm_dir *d, const struct dsm_dir_ev *ev, struct dsm_dir_out *out)
{
	int r = 0;

	memset(out, 0, sizeof(*out));
	dir_check(d);
	switch (ev->kind) {
	case DSM_DIR_MSG:
		r = dir_on_msg(d, &ev->msg, out);
		break;
	case DSM_DIR_GONE:
		if (ev->msg.sharer >= DSM_SHARERS_MAX)
			return -EPROTO;
		r = dir_on_gone(d, ev->msg.sharer, out);
		break;
	case DSM_DIR_TIMER:
		if (d->state != DSM_DIR_IDLE)
			dir_order(d, out);
		break;
	}
	if (r < 0)
		memset(out, 0, sizeof(*out));
	dir_check(d);
	return r;
}
