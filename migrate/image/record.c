/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/image/record.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

static const char magic[8] = { 'P', 'A', 'N', 'D', 'O', 'I', 'M', 'G' };

struct file_head {
	char magic[8];
	uint32_t version;
	uint32_t zero;
};

struct record_head {
	uint32_t type;
	uint32_t len;
	uint64_t sum;
};

static uint64_t record_sum(const struct record_head *h, uint64_t number, const void *payload)
{
	uint64_t key[2] = { (uint64_t)h->type << 32 | h->len, number };

	return XXH3_64bits(payload, h->len) ^ XXH3_64bits(key, sizeof(key));
}

int record_write_start(struct record_writer *w, const struct image_sink *to)
{
	struct file_head h = { .version = IMAGE_VERSION };

	*w = (struct record_writer){ .to = to };
	memcpy(h.magic, magic, sizeof(magic));
	return to->write(to->arg, &h, sizeof(h));
}

int record_write(struct record_writer *w, enum record_type type, const void *bytes, size_t len)
{
	struct record_head h = { .type = (uint32_t)type, .len = (uint32_t)len };
	int r;

	if (len > IMAGE_RECORD_MAX - sizeof(h))
		return -EMSGSIZE;
	h.sum = record_sum(&h, w->number++, bytes);
	w->bytes += sizeof(h) + len;
	r = w->to->write(w->to->arg, &h, sizeof(h));
	return r < 0 || len == 0 ? r : w->to->write(w->to->arg, bytes, len);
}

int record_write_message(struct record_writer *w, enum record_type type, const ProtobufCMessage *m)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	int r;

	w->buf.len = 0;
	r = buf_reserve(&w->buf, len + 1);
	if (r < 0)
		return r;
	(void)protobuf_c_message_pack(m, w->buf.data);
	return record_write(w, type, w->buf.data, len);
}

void record_write_fini(struct record_writer *w)
{
	buf_fini(&w->buf);
}

int record_read_start(struct record_reader *r, const struct image_source *from)
{
	struct file_head h;
	int err;

	*r = (struct record_reader){ .from = from };
	err = from->read(from->arg, &h, sizeof(h));
	if (err < 0)
		return err;
	return memcmp(h.magic, magic, sizeof(magic)) == 0 && h.version == IMAGE_VERSION &&
			       h.zero == 0
		       ? 0
		       : -EBADMSG;
}

int record_read(struct record_reader *r)
{
	struct record_head h;
	int err = r->from->read(r->from->arg, &h, sizeof(h));

	if (err < 0)
		return err;
	if (h.type < RECORD_HEAD || h.type > RECORD_END || h.len > IMAGE_RECORD_MAX - sizeof(h))
		return -EBADMSG;
	r->buf.len = 0;
	err = buf_reserve(&r->buf, h.len + 1);
	if (err == 0 && h.len > 0)
		err = r->from->read(r->from->arg, r->buf.data, h.len);
	if (err < 0)
		return err;
	r->buf.len = h.len;
	return record_sum(&h, r->number++, r->buf.data) == h.sum ? (int)h.type : -EBADMSG;
}

ProtobufCMessage *record_message(const struct record_reader *r, const ProtobufCMessageDescriptor *d)
{
	return protobuf_c_message_unpack(d, NULL, r->buf.len, r->buf.data);
}

void record_read_fini(struct record_reader *r)
{
	buf_fini(&r->buf);
}
