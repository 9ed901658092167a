/* SPDX-License-Identifier: Apache-2.0 */
/*
 * line.h - the line between a person's terminal and a session: what travels on it, what is kept of
 * it, and the client's end.
 *
 * A session on a terminal goes on when its line is lost. Its guest kernel takes what the terminal
 * shows into a ring in shared memory that outlives it, numbers the bytes, and sends them as frames
 * over one stream (a socket, or a stream of rpc/); a client that lost the stream asks again from
 * the number it has. Input is numbered too, by the client, and acknowledged when the terminal has
 * it.
 *
 * Errors: -errno. The frames and the ring are pure; the client blocks and belongs to one thread.
 */
#ifndef CMD_LINE_LINE_H
#define CMD_LINE_LINE_H

#include <jansson.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/types.h"

/* ---- frames: kind u8, length u32, body; numbers little-endian ---- */
enum line_kind {
	/* to the client */
	LINE_HELLO = 1, /* u64 number of the next byte shown; u64 input of this client that is in */
	LINE_SHOWN,     /* bytes of the terminal */
	LINE_TAKEN_IN,  /* u64 input that is in */
	LINE_EXIT,      /* u32 wait status: everything was shown */
	LINE_TAKEN,     /* empty: somebody else is on the line now */
	/* from the client */
	LINE_INPUT = 16, /* bytes */
	LINE_SIZE,       /* u16 rows, u16 columns */
};
enum { LINE_HEAD = 5, LINE_BODY_MAX = 16384 };

struct line_frame {
	enum line_kind kind;
	const uint8_t *body; /* in the bytes that were given */
	size_t len;
};

/*
 * Reads one frame. Returns the bytes it is long; 0: more bytes are needed; -EPROTO: these are no
 * frames (an unknown kind, too long, or of a wrong length for its kind).
 */
must_check int line_frame_take(const uint8_t *bytes, size_t len, struct line_frame *out);
/* Appends one. -ENOMEM. */
must_check int line_frame_add(struct buf *out, enum line_kind kind, const void *body, size_t len);
uint64_t line_get(const uint8_t *p, unsigned bytes);
void line_put(uint8_t *p, unsigned bytes, uint64_t v);

/* ---- the ring: what a terminal showed, in memory of a fixed size ---- */
enum {
	RING_READ_MAX = 4096,            /* of one take */
	RING_DATA = 4096,                /* where the bytes begin */
	RING_BYTES = RING_DATA + 262144, /* of the memory */
};

struct ring {
	uint64_t magic;
	uint64_t shown;   /* bytes ever taken in */
	uint64_t pending; /* a take of at most so many is under way, if @pending_at is @shown */
	uint64_t pending_at;
	uint64_t client;                  /* whose input was last taken */
	uint64_t input;                   /* so much of it is in */
	uint64_t started_ms, detached_ms; /* since 1970; 0: attached */
	uint32_t number;
	uint32_t reserved;
};

void ring_init(struct ring *r, uint32_t number, uint64_t now_ms);
/* Memory that a predecessor left: ends its take. -EPROTO: it is no ring. */
must_check int ring_recover(struct ring *r);
/* Where the next bytes go, at most *n of them; ring_taken() must follow, with 0 if none came. */
void *ring_space(struct ring *r, size_t *n);
void ring_taken(struct ring *r, size_t n);
/* Number of the oldest byte that is still there. */
uint64_t ring_oldest(const struct ring *r);
/* The bytes from number @from on, *n in one piece; @from must not be older than the oldest. */
const void *ring_at(const struct ring *r, uint64_t from, size_t *n);
/* Where a person wants to begin to read: behind the first line's end, if the start is cut off. */
uint64_t ring_first_line(const struct ring *r);

/* ---- the client ---- */
struct ctl_client;
struct ctl_answer;

struct line_ops {
	/*
	 * A connection to the daemon to ask: any, or the one of line_ops.node()'s node. One that is
	 * being started anew is waited for until then (clock_mono_ns; 0: not at all). -errno.
	 */
	int (*dial)(void *arg, uint64_t until_ns, struct ctl_client **out);
	void (*node)(void *arg, const char *name);
	/* Says why not; returns the exit status. */
	int (*refused)(void *arg, const struct ctl_answer *a);
	int (*failed)(void *arg, const char *why);
	/* The session has begun; @first as the daemon said it. May be NULL. */
	void (*begun)(void *arg, const json_t *first);
};

struct line {
	const struct line_ops *ops;
	void *arg;
	const char *base;      /* path of the sessions: "/v1/tenants/alice/sessions" */
	bool tty;              /* we have a terminal at 0 and 1, and the session gets one */
	unsigned patience_s;   /* how long a daemon may be away */
	bool ends_with_output; /* without a terminal: hang up when nobody reads our output any more
				*/
	const char *agent;     /* path of an ssh agent that the session may use, or NULL */
};

/*
 * Starts a session with the members of @body (taken; argv, env, cwd) and carries its bytes to its
 * end. Returns the program's exit status, 128+n for a signal, or what ops said. May leave a thread
 * in a read of standard input: the caller exits next.
 */
int line_start(const struct line *l, json_t *body);
/* The same for a session that runs: @id is its name in the API. */
int line_attach(const struct line *l, const char *id);

#endif
