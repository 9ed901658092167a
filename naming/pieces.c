/* SPDX-License-Identifier: Apache-2.0 */
#include "naming/pieces.h"

#include "base/buf.h"
#include "naming/naming.h"
#include "naming/wire.h"

#define PIECE_HEAD 64u /* at least what a piece has besides its data */

enum { FORM_WHOLE = 0, FORM_PIECE = 1 };

struct assembly {
	struct list link;
	node_id from;
	uint64_t id;
	uint32_t total;
	struct buf bytes;
};

void pieces_init(struct pieces *p)
{
	list_init(&p->assemblies);
	p->id = 0;
}

static void assembly_free(struct assembly *a)
{
	list_del(&a->link);
	buf_fini(&a->bytes);
	free(a);
}

void pieces_fini(struct pieces *p)
{
	while (!list_empty(&p->assemblies))
		assembly_free(list_front(&p->assemblies, struct assembly, link));
}

void pieces_out(struct pieces *p, const uint8_t *bytes, size_t len,
		void (*send)(void *arg, const void *msg, size_t len), void *arg)
{
	struct wire_piece piece = { .id = ++p->id, .total = (uint32_t)len };
	bool whole = len + 1 <= NAMING_MSG_MAX;
	const uint8_t form = whole ? FORM_WHOLE : FORM_PIECE;

	if (len > PIECES_TOTAL_MAX)
		return;
	for (size_t at = 0; at < len; at += piece.len) {
		struct buf b = BUF_INIT;
		int r = buf_add(&b, &form, 1);

		piece.offset = (uint32_t)at;
		piece.data = bytes + at;
		piece.len = whole ? len : MIN(len - at, (size_t)NAMING_MSG_MAX - PIECE_HEAD);
		if (r == 0)
			r = whole ? buf_add(&b, bytes, len) : wire_piece_pack(&piece, &b);
		/* Without memory it is lost, as by the network. */
		if (r == 0)
			send(arg, b.data, b.len);
		buf_fini(&b);
	}
}

static struct assembly *assembly_of(struct pieces *p, node_id from)
{
	struct assembly *a;

	list_for_each (a, &p->assemblies, link)
		if (a->from == from)
			return a;
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return NULL;
	a->from = from;
	list_add_tail(&p->assemblies, &a->link);
	return a;
}

/* The message that the piece completes, or NULL. What does not fit ends the message. */
static struct assembly *piece_add(struct pieces *p, node_id from, const struct wire_piece *piece)
{
	struct assembly *a = assembly_of(p, from);

	if (a == NULL)
		return NULL;
	if (piece->offset == 0) {
		a->id = piece->id;
		a->total = piece->total;
		a->bytes.len = 0;
	}
	if (piece->id != a->id || piece->total != a->total || piece->offset != a->bytes.len ||
	    piece->total > PIECES_TOTAL_MAX || piece->len == 0 ||
	    piece->len > piece->total - piece->offset ||
	    buf_add(&a->bytes, piece->data, piece->len) != 0) {
		assembly_free(a);
		return NULL;
	}
	return a->bytes.len == a->total ? a : NULL;
}

void pieces_in(struct pieces *p, node_id from, const uint8_t *msg, size_t len,
	       void (*whole)(void *arg, node_id from, const uint8_t *bytes, size_t len), void *arg)
{
	struct wire_piece piece;
	struct assembly *a;

	if (len < 2)
		return;
	if (msg[0] == FORM_WHOLE) {
		whole(arg, from, msg + 1, len - 1);
	} else if (msg[0] == FORM_PIECE && wire_piece_unpack(msg + 1, len - 1, &piece) == 0) {
		a = piece_add(p, from, &piece);
		wire_piece_fini(&piece);
		if (a != NULL) {
			whole(arg, from, a->bytes.data, a->bytes.len);
			assembly_free(a);
		}
	}
}
