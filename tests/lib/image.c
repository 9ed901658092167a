/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/image.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/user.h>

#include "base/check.h"

static void add(struct test_image *t, int type, const ProtobufCMessage *m)
{
	CHECK(t->count < TEST_RECORDS_MAX);
	t->record[t->count++] = (struct test_record){ .type = type };
	if (m)
		test_image_pack(t, t->count - 1, m);
}

void test_image_pack(struct test_image *t, unsigned i, const ProtobufCMessage *m)
{
	struct buf *b = &t->record[i].payload;
	size_t len = protobuf_c_message_get_packed_size(m);

	b->len = 0;
	CHECK(buf_reserve(b, len + 1) == 0);
	b->len = protobuf_c_message_pack(m, b->data);
}

static void add_vma(struct test_image *t, uint64_t start, uint32_t flags,
		    Pando__Image__FileId *file)
{
	Pando__Image__Vma v = PANDO__IMAGE__VMA__INIT;

	v.start = start;
	v.end = start + 4 * PAGE;
	v.prot = PROT_READ;
	v.flags = flags;
	v.file = file;
	v.pages = flags & VMA_SHARED ? 0 : 1;
	add(t, RECORD_VMA, &v.base);
}

static void add_thread(struct test_image *t, int32_t tid)
{
	Pando__Image__Thread m = PANDO__IMAGE__THREAD__INIT;
	struct user_regs_struct regs = { .rip = 0x401000 };
	uint8_t xstate[576] = { 0 };

	m.tid = tid;
	m.regs = (ProtobufCBinaryData){ sizeof(regs), (uint8_t *)&regs };
	m.xstate = (ProtobufCBinaryData){ sizeof(xstate), xstate };
	m.comm = "test";
	add(t, RECORD_THREAD, &m.base);
}

static void add_fd(struct test_image *t, Pando__Image__FileId *file, bool carried, uint32_t number)
{
	Pando__Image__Fd m = PANDO__IMAGE__FD__INIT;

	m.kind = carried ? IMAGE_FD_PIPE : IMAGE_FD_FILE;
	m.file = file;
	m.carried = carried;
	m.n_number = 1;
	m.number = &number;
	add(t, RECORD_FD, &m.base);
}

static void add_process(struct test_image *t, Pando__Image__FileId *dir)
{
	Pando__Image__Limits limits = PANDO__IMAGE__LIMITS__INIT;
	Pando__Image__Fs fs = PANDO__IMAGE__FS__INIT;
	Pando__Image__Signals signals = PANDO__IMAGE__SIGNALS__INIT;
	Pando__Image__Timers timers = PANDO__IMAGE__TIMERS__INIT;
	Pando__Image__PosixTimer timer = PANDO__IMAGE__POSIX_TIMER__INIT;
	Pando__Image__PosixTimer *list[] = { &timer };
	uint64_t rlimit[2 * RLIM_NLIMITS] = { 0 };
	uint8_t actions[SIGNALS * KERNEL_SIGACTION] = { 0 };

	limits.n_rlimit = ARRAY_LEN(rlimit);
	limits.rlimit = rlimit;
	fs.cwd = dir;
	signals.actions = (ProtobufCBinaryData){ sizeof(actions), actions };
	timers.n_posix = 1;
	timers.posix = list;
	add(t, RECORD_LIMITS, &limits.base);
	add(t, RECORD_FS, &fs.base);
	add(t, RECORD_SIGNALS, &signals.base);
	add(t, RECORD_TIMERS, &timers.base);
}

void test_image_good(struct test_image *t)
{
	Pando__Image__Head head = PANDO__IMAGE__HEAD__INIT;
	Pando__Image__Mm mm = PANDO__IMAGE__MM__INIT;
	Pando__Image__FileId file = PANDO__IMAGE__FILE_ID__INIT;
	uint32_t ids[4] = { 1000, 1000, 1000, 1000 }, cpu[CPU_WORDS] = { 0 };
	static uint8_t page[sizeof(uint64_t) + PAGE];
	uint64_t at = 0x400000;

	memset(t, 0, sizeof(*t));
	file.path = "/usr/bin/true";
	head.version = IMAGE_VERSION;
	head.pid = 4711;
	head.threads = 2;
	head.vmas = 3;
	head.n_uid = head.n_gid = 4;
	head.uid = head.gid = ids;
	head.n_cpu = CPU_WORDS;
	head.cpu = cpu;
	mm.exe = &file;
	mm.vvar = 0x7fff0000;
	mm.vdso_end = 0x7fff8000;
	add(t, RECORD_HEAD, &head.base);
	add(t, RECORD_MM, &mm.base);
	add_vma(t, at, 0, NULL);
	add_vma(t, 0x500000, 0, &file);
	add_vma(t, 0x600000, VMA_SHARED, &file);
	add_process(t, &file);
	add_fd(t, &file, false, 0);
	add_fd(t, &file, true, 5 << 1 | 1);
	add_thread(t, 4711);
	add_thread(t, 4712);
	add(t, RECORD_PAGES, NULL);
	memcpy(page, &at, sizeof(at));
	CHECK(buf_add(&t->record[t->count - 1].payload, page, sizeof(page)) == 0);
	add(t, RECORD_END, NULL);
}

void test_image_fini(struct test_image *t)
{
	for (unsigned i = 0; i < t->count; i++)
		buf_fini(&t->record[i].payload);
	t->count = 0;
}

static int to_buf(void *arg, const void *bytes, size_t len)
{
	return buf_add(arg, bytes, len);
}

void test_image_write(const struct test_image *t, struct buf *out)
{
	struct image_sink sink = { to_buf, out };
	struct record_writer w;

	CHECK(record_write_start(&w, &sink) == 0);
	for (unsigned i = 0; i < t->count; i++)
		CHECK(record_write(&w, (enum record_type)t->record[i].type,
				   t->record[i].payload.data, t->record[i].payload.len) == 0);
	record_write_fini(&w);
}

struct bytes {
	const uint8_t *at;
	size_t left;
};

static int from_bytes(void *arg, void *to, size_t len)
{
	struct bytes *b = arg;

	if (len > b->left)
		return -EBADMSG;
	memcpy(to, b->at, len);
	b->at += len;
	b->left -= len;
	return 0;
}

int test_image_read(const void *bytes, size_t len)
{
	struct bytes b = { bytes, len };
	struct image_source from = { from_bytes, &b };
	cleanup_buf struct buf why = BUF_INIT;
	struct record_reader r = { .buf = BUF_INIT };
	struct image_built built = { .why = &why };
	int type = record_read_start(&r, &from);
	bool read = false;

	if (type == 0) {
		type = image_model_read(&r, &built.m, &why);
		read = type >= 0;
	}
	while (type == RECORD_PAGES) {
		type = image_pages_check(&built, &r);
		if (type == 0)
			type = record_read(&r);
	}
	if (read)
		image_model_fini(&built.m);
	record_read_fini(&r);
	return type == RECORD_END ? 0 : type < 0 ? type : -EBADMSG;
}
