/* SPDX-License-Identifier: Apache-2.0 */
#include "naming/member/member.h"

#include <errno.h>

#include "base/check.h"
#include "base/clock.h"

struct membership {
	struct loop *loop;
	struct loop_timer timer;
	const struct member_ops *ops;
	void *arg;
	struct member *storage;
	struct member_table table;
	uint64_t load_due_ns;
	uint64_t refused;
};

static const struct member_cfg default_cfg = { .period_ns = NS_PER_S,
					       .timeout_ns = 250 * NS_PER_MS,
					       .suspicion_periods = 2 };

static void on_timer(struct loop_timer *t);

static void carry_out(struct membership *m, const struct member_out *out)
{
	uint8_t bytes[MEMBER_MSG_MAX];

	/* Out of memory for a timer would silence us: the loop keeps a slot once it had one. */
	CHECK(loop_timer_set(m->loop, &m->timer, out->due_ns, on_timer) == 0);
	for (unsigned i = 0; i < out->send_count; i++) {
		int n = member_encode(&out->send[i].msg, bytes, sizeof(bytes));

		CHECK(n > 0); /* MEMBER_MSG_MAX holds the largest message */
		m->ops->send(m->arg, out->send[i].to, bytes, (size_t)n);
	}
	for (unsigned i = 0; i < out->change_count; i++) {
		const struct member *who = member_find(&m->table, out->change[i]);

		if (who)
			m->ops->changed(m->arg, who->news.id, who->news.state);
	}
}

static void on_timer(struct loop_timer *t)
{
	struct membership *m = container_of(t, struct membership, timer);
	struct member_ev ev = { .kind = MEMBER_EV_TICK, .now_ns = loop_now_ns(m->loop) };
	struct member_out out;

	if (ev.now_ns >= m->load_due_ns) {
		struct member_load load = { 0 };

		m->ops->load(m->arg, &load);
		member_set_load(&m->table, &load);
		m->load_due_ns = ev.now_ns + m->table.cfg.period_ns;
	}
	CHECK(member_step(&m->table, &ev, &out) == 0);
	carry_out(m, &out);
}

void membership_input(struct membership *m, node_id from, const void *msg, size_t len)
{
	struct member_out out; /* ours alone: ops.send may lead back here */
	struct member_msg in;
	struct member_ev ev = {
		.kind = MEMBER_EV_MSG, .now_ns = clock_mono_ns(), .from = from, .msg = &in
	};

	if (len > MEMBER_MSG_MAX || member_decode(&in, msg, len) < 0 ||
	    member_step(&m->table, &ev, &out) < 0) {
		m->refused++;
		return;
	}
	carry_out(m, &out);
}

int membership_new(struct membership **out, struct loop *l, const struct member_cfg *cfg,
		   unsigned nodes_max, node_id self, epoch_t epoch, const struct member_ops *ops,
		   void *arg)
{
	struct membership *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->storage = calloc(nodes_max, sizeof(m->storage[0]));
	if (!m->storage) {
		free(m);
		return -ENOMEM;
	}
	m->loop = l;
	m->ops = ops;
	m->arg = arg;
	member_init(&m->table, cfg ? cfg : &default_cfg, m->storage, nodes_max, self, epoch,
		    clock_wall_ns(), clock_mono_ns());
	r = loop_timer_set(l, &m->timer, clock_mono_ns(), on_timer);
	if (r < 0) {
		free(m->storage);
		free(m);
		return r;
	}
	*out = m;
	return 0;
}

void membership_free(struct membership *m)
{
	if (!m)
		return;
	loop_timer_clear(m->loop, &m->timer);
	free(m->storage);
	free(m);
}

int membership_add(struct membership *m, node_id id, epoch_t epoch)
{
	return member_add(&m->table, id, epoch);
}

void membership_remove(struct membership *m, node_id id)
{
	member_remove(&m->table, id);
}

const struct member *membership_find(const struct membership *m, node_id id)
{
	return member_find(&m->table, id);
}

uint64_t membership_refused(const struct membership *m)
{
	return m->refused;
}
