/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member.c - being a node of a machine.
 *
 * A node is its key (DATA/key). The first one makes the machine; another shows a one-time token to
 * a member, which writes it into the tables and gives it what it needs to start (naming_ticket).
 * From then on it proves its key, and others know it from their tables.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pandod/node/peers.h"
#include "cmd/pandod/pod.h"
#include "cmd/pandod/pod.pb-c.h"

const char *member_name(const struct pod *p)
{
	const struct naming_node *n =
		naming_node_find(naming_tables(p->naming), naming_self(p->naming));

	return n ? n->name : p->args->node;
}

bool member_in_touch(const struct pod *p)
{
	struct naming_status s;

	naming_status(p->naming, &s);
	return naming_self(p->naming) != NODE_NONE && s.leader != NODE_NONE && life_is_held(p);
}

/* ---- naming's side ---- */
static void on_send(void *arg, node_id to, const void *msg, size_t len)
{
	struct rpc_msg m = { .method = POD_NAMING, .body = msg, .len = len };

	/* Best effort is what naming asks for: it sends again. */
	peers_say(arg, to, &m);
}

static int hints_path(const struct pod *p, char out[PATH_MAX + 16])
{
	return snprintf(out, PATH_MAX + 16, "%s/peers", p->data);
}

/* Without them a machine whose nodes all restart at once could not meet again. */
static void hints_save(struct pod *p)
{
	const struct naming_core *k = naming_tables(p->naming);
	cleanup_buf struct buf text = BUF_INIT;
	char path[PATH_MAX + 16], hex[2 * NAMING_KEY_BYTES + 1];
	const struct naming_node *n;
	int r = 0;

	for (uint32_t i = 0; r == 0 && (n = naming_node_at(k, i)) != NULL; i++) {
		if (n->state == NAMING_NODE_LEFT)
			continue;
		for (size_t b = 0; b < NAMING_KEY_BYTES; b++)
			(void)snprintf(hex + 2 * b, 3, "%02x", n->key[b]);
		r = buf_addf(&text, "%u %s %s\n", n->id, n->addr, hex);
	}
	(void)hints_path(p, path);
	if (r == 0 && text.len > 0)
		r = file_put(path, buf_str(&text));
	if (r < 0)
		log_warn("cannot write %s: %s", path, strerror(-r));
}

static bool hint_parse(const char *line, struct hint *h)
{
	char hex[2 * NAMING_KEY_BYTES + 1], pair[3] = "";

	if (sscanf(line, "%u %63s %64s", &h->id, h->addr, hex) != 3 ||
	    strlen(hex) != 2 * NAMING_KEY_BYTES)
		return false;
	for (size_t b = 0; b < NAMING_KEY_BYTES; b++) {
		memcpy(pair, hex + 2 * b, 2);
		h->key[b] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return true;
}

static void hints_load(struct pod *p)
{
	struct pod_member *m = p->member;
	char path[PATH_MAX + 16], line[256];
	FILE *f;

	(void)hints_path(p, path);
	f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		struct hint *more = realloc(m->hints, (m->hint_count + 1) * sizeof(*more));

		if (more == NULL)
			break;
		m->hints = more;
		m->hint_count += hint_parse(line, &more[m->hint_count]);
	}
	if (f != NULL)
		(void)fclose(f);
}

int member_peer(const struct pod *p, node_id id, char addr[NAMING_ADDR_MAX],
		uint8_t key[NAMING_KEY_BYTES])
{
	const struct pod_member *m = p->member;

	if (naming_peer(p->naming, id, addr, key) == 0)
		return 0;
	for (size_t i = 0; i < m->hint_count; i++) {
		if (m->hints[i].id != id)
			continue;
		memcpy(addr, m->hints[i].addr, NAMING_ADDR_MAX);
		memcpy(key, m->hints[i].key, NAMING_KEY_BYTES);
		return 0;
	}
	return -ENOENT;
}

static void on_changed(void *arg, uint32_t kinds, uint32_t id)
{
	struct pod *p = arg;

	events_tables(p, kinds, id);
	if (kinds & naming_kind_bit(NAMING_NODE)) {
		peers_sync(p);
		gossip_tables(p);
		leave_tables(p);
		hints_save(p);
	}
	if (kinds & (naming_kind_bit(NAMING_NODE) | naming_kind_bit(NAMING_BLOCK)))
		kern_tell_nodes(p);
	if (kinds & naming_kind_bit(NAMING_TENANT)) {
		world_drop_removed(p);
		ssh_changed(p);
	}
	quota_tables(p, kinds);
	api_changed(p);
}

static void on_status(void *arg)
{
	events_leader(arg);
	life_status(arg);
	ssh_changed(arg);
	api_changed(arg);
}

const struct naming_ops member_naming_ops = {
	.send = on_send,
	.changed = on_changed,
	.status = on_status,
};

/* ---- our key ---- */
int member_open(struct pod *p)
{
	char path[PATH_MAX + 16];
	struct pod_member *m = calloc(1, sizeof(*m));
	int r;

	if (m == NULL)
		return -ENOMEM;
	(void)snprintf(path, sizeof(path), "%s/key", p->data);
	r = rpc_keys_load(&m->keys, path);
	if (r < 0) {
		free(m);
		return r;
	}
	list_init(&m->joins);
	p->member = m;
	hints_load(p);
	return 0;
}

void member_close(struct pod *p)
{
	if (p->member == NULL)
		return;
	rpc_keys_wipe(&p->member->keys);
	free(p->member->hints);
	free(p->member);
	p->member = NULL;
}

int member_listen(struct pod *p, const char *addr)
{
	int r;

	rpc_identity_node(&p->member->identity, naming_self(p->naming), &p->member->keys);
	r = peers_listen(p, addr);
	if (r == 0)
		r = relay_listen(p, addr);
	if (r == 0)
		peers_sync(p);
	return r;
}

/* ---- a command of the tables, with one answer ---- */
struct ask {
	struct pod *pod;
	member_done_fn done;
	void *arg;
	const char *what;
};

static struct ask *ask_new(struct pod *p, member_done_fn done, void *arg, const char *what)
{
	struct ask *a = malloc(sizeof(*a));

	CHECK(a != NULL);
	*a = (struct ask){ p, done, arg, what };
	return a;
}

static void ask_end(struct ask *a, int err, const char *why)
{
	a->done(a->arg, err, why);
	free(a);
}

static void proposed(void *arg, int err, const struct naming_result *r)
{
	struct ask *a = arg;

	if (err == 0)
		err = r->err;
	ask_end(a, err, err == 0 ? "" : err == -ETIMEDOUT ? "no leader answered" : a->what);
}

static void propose(struct ask *a, const struct naming_cmd *cmd)
{
	int r = naming_propose(a->pod->naming, cmd, clock_mono_ns() + POD_ASK_MS * NS_PER_MS,
			       proposed, a);

	if (r < 0)
		ask_end(a, r, "the machine's tables cannot be asked");
}

/* ---- the first node ---- */
static bool machine_name(const char *in, char out[NODE_NAME_MAX])
{
	size_t n = 0;

	/* From a directory's name: what does not fit a name becomes a dash. */
	for (; *in != '\0' && n < NODE_NAME_MAX - 1; in++) {
		char c = *in >= 'A' && *in <= 'Z' ? (char)(*in - 'A' + 'a') : *in;
		bool letter = c >= 'a' && c <= 'z', digit = c >= '0' && c <= '9';

		if (letter || (n > 0 && digit))
			out[n++] = c;
		else if (n > 0 && out[n - 1] != '-')
			out[n++] = '-';
	}
	out[n] = '\0';
	return naming_name_ok(out, NODE_NAME_MAX, false);
}

void member_bootstrap(struct pod *p, const char *machine, const char *addr, const char *volumes,
		      bool mounted, member_done_fn done, void *arg)
{
	struct ask *a = ask_new(p, done, arg, "the volume for homes is refused");
	struct naming_cmd home = { .kind = NAMING_CMD_VOLUME_ADD,
				   .subkind = mounted ? NAMING_VOLUME_MOUNT : NAMING_VOLUME_DIR,
				   .name = "home" };
	struct naming_self self = { .name = p->args->node, .addr = addr };
	char name[NODE_NAME_MAX];
	int r;

	memcpy(self.key, p->member->keys.public, sizeof(self.key));
	if (!machine_name(machine, name))
		(void)snprintf(name, sizeof(name), "pando");
	r = naming_bootstrap(p->naming, name, &self);
	if (r == 0)
		life_joined(p);
	if (r == 0)
		r = member_listen(p, addr);
	if (r < 0) {
		ask_end(a, r,
			r == -EEXIST   ? "this node is a member already"
			: r == -EINVAL ? "its name or address cannot be one"
				       : strerror(-r));
		return;
	}
	home.node = naming_self(p->naming);
	(void)snprintf(home.text, sizeof(home.text), "%s", volumes);
	propose(a, &home);
}

/* ---- invitations ---- */
void member_invite(struct pod *p, uint64_t ttl_s, unsigned uses, char *out, member_done_fn done,
		   void *arg)
{
	struct ask *a = ask_new(p, done, arg, "the token is refused");
	struct naming_cmd cmd = { .kind = NAMING_CMD_TOKEN_ADD,
				  .number = uses,
				  .ttl_ms = ttl_s * 1000 };
	struct rpc_token t;
	int r = rpc_token_new(&t, p->member->keys.public);

	if (r < 0) {
		ask_end(a, r, "there is no randomness");
		return;
	}
	rpc_token_text(out, &t);
	rpc_token_hash(cmd.key, t.secret);
	propose(a, &cmd);
}

/* ---- joining ---- */
/* One at a time: who asked may have gone (ctrl-C) and be back while the first still goes on. */
struct joining {
	struct pod *pod;
	struct list link; /* pod_member.joins */
	member_done_fn done;
	void *arg;
	struct rpc *rpc; /* with the joiner's identity */
	struct rpc_conn *conn;
	struct rpc_identity identity;
	struct rpc_token token;
	char addr[NAMING_ADDR_MAX]; /* of a member */
	char listen[NAMING_ADDR_MAX];
	struct loop_timer end; /* frees us from the loop, not from inside the rpc */
	struct loop_timer patience;
	int err;
	char why[160];
};

static void joining_start(struct joining *j);

static void joining_free(struct loop_timer *t)
{
	struct joining *j = container_of(t, struct joining, end);
	struct pod *p = j->pod;

	loop_timer_clear(p->loop, &j->patience);
	rpc_free(j->rpc);
	rpc_keys_wipe(&j->identity.keys);
	list_del(&j->link);
	j->done(j->arg, j->err, j->why);
	free(j);
	j = list_first(&p->member->joins, struct joining, link);
	if (j != NULL)
		joining_start(j);
}

static void joining_end(struct joining *j, int err, const char *why)
{
	j->err = err;
	(void)snprintf(j->why, sizeof(j->why), "%s", why);
	CHECK(loop_timer_set(j->pod->loop, &j->end, 0, joining_free) == 0);
}

static void joined(void *arg, int err, const struct rpc_msg *m)
{
	struct joining *j = arg;
	Pod__JoinTicket *t = err == 0 ? pod__join_ticket__unpack(NULL, m->len, m->body) : NULL;

	if (err == 0 && t == NULL)
		err = -EPROTO;
	FAULT("pod.join.admitted");
	if (err == 0)
		err = naming_join(j->pod->naming, t->ticket.data, t->ticket.len);
	if (err == 0)
		life_joined(j->pod);
	pod__join_ticket__free_unpacked(t, NULL);
	if (err == 0)
		err = member_listen(j->pod, j->listen);
	joining_end(j, err,
		    err == 0         ? ""
		    : err == -EACCES ? "the token is unknown, used up or expired"
		    : err == -EEXIST
			    ? "the machine has a node of this name, or this node is a member"
		    : err == -EADDRINUSE ? "the address is in use"
					 : strerror(-err));
}

static void join_ask(struct joining *j)
{
	Pod__JoinAsk ask = POD__JOIN_ASK__INIT;
	uint8_t hash[RPC_KEY_BYTES], body[512];
	struct rpc_msg m = { .method = POD_JOIN, .body = body };
	struct rpc_opts o = { .deadline_ns = clock_mono_ns() + POD_ASK_MS * NS_PER_MS };
	int r;

	rpc_token_hash(hash, j->token.secret);
	ask.name = (char *)(uintptr_t)j->pod->args->node;
	ask.addr = j->listen;
	ask.key.data = j->pod->member->keys.public;
	ask.key.len = RPC_KEY_BYTES;
	ask.token.data = hash;
	ask.token.len = sizeof(hash);
	CHECK(pod__join_ask__get_packed_size(&ask) <= sizeof(body));
	m.len = pod__join_ask__pack(&ask, body);
	r = rpc_request(j->conn, &m, &o, joined, j, NULL);
	if (r < 0)
		joining_end(j, r, strerror(-r));
}

static void join_conn(void *arg, struct rpc_conn *c, int err)
{
	struct joining *j = arg;

	if (err == 0)
		join_ask(j);
	else if (err != -EAGAIN)
		joining_end(j, err, *rpc_conn_reason(c) ? rpc_conn_reason(c) : strerror(-err));
}

static void join_patience(struct loop_timer *t)
{
	struct joining *j = container_of(t, struct joining, patience);

	joining_end(j, -ETIMEDOUT, "the machine does not answer at that address");
}

/* The address by which this host reaches @addr, with our port. */
static int own_address(const char *addr, char out[NAMING_ADDR_MAX])
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	socklen_t len = sizeof(sa);
	char host[NAMING_ADDR_MAX], *colon;
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_DGRAM }, *ai = NULL;
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r;

	(void)snprintf(host, sizeof(host), "%s", addr);
	colon = strrchr(host, ':');
	if (colon != NULL)
		*colon = '\0';
	hints.ai_flags = AI_NUMERICHOST;
	if (fd < 0 || getaddrinfo(host, "7300", &hints, &ai) != 0)
		return -EINVAL;
	r = connect(fd, ai->ai_addr, ai->ai_addrlen) < 0 ||
			    getsockname(fd, (struct sockaddr *)&sa, &len) < 0
		    ? -errno
		    : 0;
	freeaddrinfo(ai);
	if (r == 0 && getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), NULL, 0,
				  NI_NUMERICHOST) != 0)
		r = -EINVAL;
	if (r == 0)
		(void)snprintf(out, NAMING_ADDR_MAX, "%.50s:%d", host, POD_PORT);
	return r;
}

static int admit_inviter(void *arg, const struct rpc_peer *peer)
{
	(void)arg;
	return peer->role == RPC_ROLE_NODE ? 0 : -EACCES;
}

static void joining_start(struct joining *j)
{
	struct pod *p = j->pod;
	int r;

	if (j->err < 0) {
		joining_end(j, j->err, "the token is mistyped");
		return;
	}
	if (naming_self(p->naming) != NODE_NONE) {
		joining_end(j, -EEXIST, "this node is a member already");
		return;
	}
	r = *j->listen ? 0 : own_address(j->addr, j->listen);
	if (r < 0) {
		joining_end(j, r, "the address is not IP:PORT, or cannot be reached");
		return;
	}
	rpc_identity_joiner(&j->identity, &j->token, &p->member->keys);
	r = rpc_new(&j->rpc, p->loop, NULL);
	if (r == 0) {
		rpc_set_identity(j->rpc, &j->identity, admit_inviter, j);
		r = rpc_dial(j->rpc, "tcp", j->addr, j->token.node_key, join_conn, j, &j->conn);
	}
	if (r == 0)
		r = loop_timer_set(p->loop, &j->patience, clock_mono_ns() + POD_ASK_MS * NS_PER_MS,
				   join_patience);
	if (r < 0)
		joining_end(j, r, strerror(-r));
}

void member_join(struct pod *p, const char *addr, const char *token, const char *listen,
		 member_done_fn done, void *arg)
{
	struct joining *j = calloc(1, sizeof(*j));
	bool first = list_empty(&p->member->joins);

	CHECK(j != NULL);
	j->pod = p;
	j->done = done;
	j->arg = arg;
	(void)snprintf(j->addr, sizeof(j->addr), "%s", addr);
	(void)snprintf(j->listen, sizeof(j->listen), "%s", listen);
	j->err = rpc_token_parse(&j->token, token);
	list_add_tail(&p->member->joins, &j->link);
	if (first)
		joining_start(j);
}
