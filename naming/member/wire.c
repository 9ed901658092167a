/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c - membership messages as protobuf; the wire structs end here. */
#include <errno.h>

#include "naming/member/member.h"
#include "naming/member/member.pb-c.h"

static void news_out(const struct member_news *n, Member__News *w, Member__Load *load)
{
	member__news__init(w);
	member__load__init(load);
	w->id = n->id;
	w->epoch = n->epoch;
	w->incarnation = n->incarnation;
	w->state = n->state;
	load->seq = n->load.seq;
	load->cpu_milli = n->load.cpu_milli;
	load->load_milli = n->load.load_milli;
	load->mem_bytes = n->load.mem_bytes;
	load->mem_free_bytes = n->load.mem_free_bytes;
	w->load = load;
}

int member_encode(const struct member_msg *msg, void *bytes, size_t cap)
{
	Member__Probe w = MEMBER__PROBE__INIT;
	Member__News news[MEMBER_NEWS_MAX];
	Member__Load load[MEMBER_NEWS_MAX];
	Member__News *list[MEMBER_NEWS_MAX];

	w.kind = msg->kind;
	w.seq = msg->seq;
	w.target = msg->target;
	w.n_news = msg->news_count;
	w.news = list;
	for (unsigned i = 0; i < msg->news_count; i++) {
		news_out(&msg->news[i], &news[i], &load[i]);
		list[i] = &news[i];
	}
	if (member__probe__get_packed_size(&w) > cap)
		return -ENOSPC;
	return (int)member__probe__pack(&w, bytes);
}

static int news_in(struct member_news *n, const Member__News *w)
{
	if (w->state < MEMBER_ALIVE || w->state > MEMBER_FAILED || w->id == NODE_NONE)
		return -EPROTO;
	*n = (struct member_news){ .id = w->id,
				   .epoch = w->epoch,
				   .incarnation = w->incarnation,
				   .state = (enum member_state)w->state };
	if (w->load)
		n->load = (struct member_load){ .seq = w->load->seq,
						.cpu_milli = w->load->cpu_milli,
						.load_milli = w->load->load_milli,
						.mem_bytes = w->load->mem_bytes,
						.mem_free_bytes = w->load->mem_free_bytes };
	return 0;
}

int member_decode(struct member_msg *out, const void *bytes, size_t len)
{
	Member__Probe *w = member__probe__unpack(NULL, len, bytes);
	int r = 0;

	if (!w)
		return -EPROTO;
	if (w->kind < MEMBER_PING || w->kind > MEMBER_PING_REQ || w->n_news > MEMBER_NEWS_MAX)
		r = -EPROTO;
	if (r == 0) {
		*out = (struct member_msg){ .kind = (enum member_kind)w->kind,
					    .seq = w->seq,
					    .target = w->target,
					    .news_count = (unsigned)w->n_news };
		for (unsigned i = 0; r == 0 && i < out->news_count; i++)
			r = news_in(&out->news[i], w->news[i]);
	}
	member__probe__free_unpacked(w, NULL);
	return r;
}
