/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c - what happened, as this node saw it, for who asks later or follows.
 *
 * A ring in memory: the newest EVENTS_MAX. An event's cursor is "LIFE-NUMBER": the life of this
 * daemon and the event's number in it. So a cursor that this node cannot go on from, because the
 * event behind it is forgotten or the daemon was another, is known as one and answered with 410:
 * who follows must look at the whole state again, and never misses anything without being told.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/check.h"
#include "cmd/ctl/core/cursor.h"
#include "cmd/pandod/api/api.h"

#define EVENTS_MAX    4096
#define FOLLOWERS_MAX 32         /* operators */
#define INSIDE_MAX    8          /* of each tenant: none takes another's place */
#define BACKLOG_MAX   (1u << 20) /* bytes that a follower may leave unread */

struct event {
	tenant_id tenant;
	json_t *body;
};

struct follower {
	struct list link;
	struct events *owner;
	struct ctl_req *req;
};

struct events {
	struct pod *pod;
	struct cursor_ring at;
	struct event ring[EVENTS_MAX];
	struct list followers;
	unsigned follower_count; /* all */
	node_id leader;
};

int events_init(struct pod *p)
{
	struct events *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return -ENOMEM;
	/* Of 53 bits: JSON readers keep numbers as doubles, and people compare texts. */
	if (getrandom(&e->at.life, sizeof(e->at.life), 0) != sizeof(e->at.life)) {
		free(e);
		return -EIO;
	}
	e->at.life >>= 11;
	e->pod = p;
	e->at.next = 1;
	e->at.kept = EVENTS_MAX;
	list_init(&e->followers);
	p->events = e;
	return 0;
}

void events_fini(struct pod *p)
{
	struct events *e = p->events;
	struct follower *f, *tmp;

	if (e == NULL)
		return;
	list_for_each_safe (f, tmp, &e->followers, link) {
		list_del(&f->link);
		free(f);
	}
	for (size_t i = 0; i < EVENTS_MAX; i++)
		json_decref(e->ring[i].body);
	free(e);
	p->events = NULL;
}

static bool may_see(const struct ctl_req *r, const struct event *ev)
{
	tenant_id t = ctl_req_tenant(r);

	return t == TENANT_NONE || ev->tenant == TENANT_NONE || ev->tenant == t;
}

static json_t *rfc3339(void)
{
	struct timespec ts;
	struct tm tm;
	char text[40];
	size_t n;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)gmtime_r(&ts.tv_sec, &tm);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(text + n, sizeof(text) - n, ".%03uZ",
		       (unsigned)(ts.tv_nsec / 1000000) % 1000);
	return json_string(text);
}

static void follower_end(struct follower *f)
{
	list_del(&f->link);
	f->owner->follower_count--;
	free(f);
}

static void follower_gone(void *arg)
{
	follower_end(arg);
}

/* Who does not read is told so and let go: he comes back with his last cursor. */
static void send_to(struct follower *f, const struct event *ev)
{
	struct ctl_req *r = f->req;

	if (ctl_stream_backlog(r) <= BACKLOG_MAX) {
		ctl_stream_line(r, json_incref(ev->body));
		return;
	}
	ctl_req_on_gone(r, NULL, NULL);
	follower_end(f);
	ctl_stream_end(r);
}

void events_add(struct pod *p, const char *kind, tenant_id tenant, json_t *facts)
{
	struct events *e = p->events;
	struct follower *f, *tmp;
	struct event *ev;
	char cursor[48];
	json_t *body;

	if (e == NULL) {
		json_decref(facts);
		return;
	}
	(void)snprintf(cursor, sizeof(cursor), "%" PRIx64 "-%" PRIu64, e->at.life, e->at.next);
	body = json_pack("{s:s, s:o, s:s, s:s}", "cursor", cursor, "time", rfc3339(), "kind", kind,
			 "seen_by", p->args->node);
	if (body != NULL && facts != NULL)
		(void)json_object_update(body, facts);
	json_decref(facts);
	if (body == NULL)
		return; /* no memory: the number is not used, so nobody waits for it */
	ev = &e->ring[e->at.next++ % EVENTS_MAX];
	json_decref(ev->body);
	*ev = (struct event){ tenant, body };
	list_for_each_safe (f, tmp, &e->followers, link)
		if (may_see(f->req, ev))
			send_to(f, ev);
}

/* ---- what the tables say ---- */
void events_tables(struct pod *p, uint32_t kinds, uint32_t id)
{
	static const char *const states[] = { "", "joined", "leaving", "left" };
	static const char *const drains[] = { "joined", "draining", "drained" };
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_node *n;
	const struct naming_tenant *t;

	/* All rows at once: a copy that was fed anew, and no news. */
	if (id == 0)
		return;
	n = kinds & naming_kind_bit(NAMING_NODE) ? naming_node_find(k, id) : NULL;
	if (n != NULL && n->state < ARRAY_LEN(states))
		events_add(p, "node.changed", TENANT_NONE,
			   json_pack("{s:s, s:s, s:I, s:b}", "name", n->name, "state",
				     n->state == NAMING_NODE_JOINED ? drains[MIN(n->drain, 2u)]
								    : states[n->state],
				     "epoch", (json_int_t)n->epoch, "dead", n->down != 0));
	if (!(kinds & naming_kind_bit(NAMING_TENANT)))
		return;
	t = naming_tenant_find(k, id);
	events_add(p, t ? "tenant.changed" : "tenant.removed", id,
		   t ? json_pack("{s:s, s:I}", "tenant", t->name, "id", (json_int_t)id)
		     : json_pack("{s:I}", "id", (json_int_t)id));
}

void events_leader(struct pod *p)
{
	struct naming_status s;
	const struct naming_node *n;

	naming_status(p->naming, &s);
	if (p->events == NULL || s.leader == p->events->leader)
		return;
	p->events->leader = s.leader;
	n = naming_node_find(naming_tables(p->naming), s.leader);
	events_add(p, s.leader == NODE_NONE ? "leader.lost" : "leader.changed", TENANT_NONE,
		   json_pack("{s:s, s:I}", "name", n ? n->name : "", "term", (json_int_t)s.term));
}

void events_cursor(const struct pod *p, uint64_t *life, uint64_t *number)
{
	*life = p->events->at.life;
	*number = p->events->at.next - 1;
}

void events_figures(const struct pod *p, uint64_t *added, unsigned *followers)
{
	*added = p->events ? p->events->at.next - 1 : 0;
	*followers = p->events ? p->events->follower_count : 0;
}

/* ---- asking ---- */
/* The number behind a cursor. Answers @r and returns false if we cannot go on from it. */
static bool start_of(struct events *e, struct ctl_req *r, uint64_t *from)
{
	char text[64];
	uint64_t life, number;
	int n = http_query_get(ctl_req_head(r)->query, "since", text, sizeof(text)), err;

	*from = cursor_oldest(&e->at);
	if (n == -ENOENT)
		return true;
	err = n < 0 || cursor_read(text, &life, &number) < 0
		      ? -EPROTO
		      : cursor_from(&e->at, life, number, from);
	if (err == -EPROTO)
		ctl_problem(r, 400, "pando events", "the cursor is malformed");
	else if (err == -ESTALE)
		ctl_problem(
			r, 410, "pando events",
			"the cursor is of a daemon that has ended: look at the whole state again");
	else if (err == -ERANGE)
		ctl_problem(r, 410, "pando events",
			    "the cursor is too old: events %" PRIu64 " to %" PRIu64
			    " are forgotten",
			    number + 1, cursor_oldest(&e->at) - 1);
	else if (err < 0)
		ctl_problem(r, 400, "pando events", "the cursor is of no event yet");
	return err == 0;
}

static bool wants_to_follow(const struct ctl_req *r)
{
	char text[8];

	return http_query_get(ctl_req_head(r)->query, "follow", text, sizeof(text)) > 0 &&
	       (strcmp(text, "1") == 0 || strcmp(text, "true") == 0);
}

static bool too_many(const struct events *e, tenant_id t)
{
	const struct follower *f;
	unsigned n = 0;

	list_for_each (f, &e->followers, link)
		n += ctl_req_tenant(f->req) == t;
	return n >= (t == TENANT_NONE ? FOLLOWERS_MAX : INSIDE_MAX);
}

void api_get_events(struct pod *p, struct ctl_req *r, args_t a)
{
	struct events *e = p->events;
	bool follow = wants_to_follow(r);
	struct follower *f = NULL;
	uint64_t from;

	(void)a;
	if (!start_of(e, r, &from))
		return;
	if (follow && too_many(e, ctl_req_tenant(r))) {
		ctl_problem(r, 429, "pando events", "too many follow events already");
		return;
	}
	f = follow ? calloc(1, sizeof(*f)) : NULL;
	if (follow && f == NULL) {
		api_refuse(r, -ENOMEM, NULL, "the node is out of memory");
		return;
	}
	ctl_stream_begin(r, NULL, NULL, 0);
	for (; from < e->at.next; from++)
		if (may_see(r, &e->ring[from % EVENTS_MAX]))
			ctl_stream_line(r, json_incref(e->ring[from % EVENTS_MAX].body));
	if (!follow) {
		ctl_stream_end(r);
		return;
	}
	*f = (struct follower){ .owner = e, .req = r };
	list_add_tail(&e->followers, &f->link);
	e->follower_count++;
	ctl_req_on_gone(r, follower_gone, f);
}
