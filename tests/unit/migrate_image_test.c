/* SPDX-License-Identifier: Apache-2.0 */
/* What an image may not say, each refused although its checksums are right. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>
#include <sys/user.h>

#include "tests/lib/image.h"

/* Where records stand in the good image (tests/lib/image.c). */
enum {
	HEAD,
	MM,
	ANON,
	FILE_MAP,
	SHARED_MAP,
	LIMITS,
	FS,
	SIGS,
	TIMERS,
	FILE_FD,
	PIPE_FD,
	LEADER,
	SECOND,
	PAGES,
	END
};

static int read_image(const struct test_image *t)
{
	cleanup_buf struct buf b = BUF_INIT;

	test_image_write(t, &b);
	return test_image_read(b.data, b.len);
}

static void good_image_is_read(void **state)
{
	struct test_image t;

	test_image_good(&t);
	assert_int_equal(t.count, END + 1);
	assert_int_equal(read_image(&t), 0);
	test_image_fini(&t);
}

/* Unpacks record @i as TYPE into m, runs @change, packs it again and reads the image. */
#define REFUSED(TYPE, type, i, change)                                                             \
	do {                                                                                       \
		struct test_image t;                                                               \
		Pando__Image__##TYPE *m;                                                           \
		test_image_good(&t);                                                               \
		m = pando__image__##type##__unpack(NULL, t.record[i].payload.len,                  \
						   t.record[i].payload.data);                      \
		assert_non_null(m);                                                                \
		change;                                                                            \
		test_image_pack(&t, i, &m->base);                                                  \
		pando__image__##type##__free_unpacked(m, NULL);                                    \
		assert_int_equal(read_image(&t), -EBADMSG);                                        \
		test_image_fini(&t);                                                               \
	} while (0)

static void head_must_fit_the_rest(void **state)
{
	REFUSED(Head, head, HEAD, m->pid = 0);
	REFUSED(Head, head, HEAD, m->version++);
	REFUSED(Head, head, HEAD, m->threads = 3);
	REFUSED(Head, head, HEAD, m->threads = 1);
	REFUSED(Head, head, HEAD, m->threads = 1u << 31);
	REFUSED(Head, head, HEAD, m->vmas = 2);
	REFUSED(Head, head, HEAD, m->vmas = UINT32_MAX);
}

static void mappings_stay_in_their_place(void **state)
{
	REFUSED(Vma, vma, ANON, m->start += 1);
	REFUSED(Vma, vma, ANON, m->end = m->start);
	REFUSED(Vma, vma, ANON, m->end = 0x501000); /* into the next */
	REFUSED(Vma, vma, ANON, m->start = 0x1000); /* below what a host gives */
	REFUSED(Vma, vma, SHARED_MAP, m->end = UINT64_C(0x800000000000));
	REFUSED(Vma, vma, SHARED_MAP, m->end = 0x7fff1000); /* over the vdso */
	REFUSED(Vma, vma, ANON, m->pages = 5);
	REFUSED(Vma, vma, ANON, m->prot = 8);
	REFUSED(Vma, vma, ANON, m->flags = 1u << 20);
	REFUSED(Vma, vma, ANON, m->flags = VMA_SHARED);
	REFUSED(Vma, vma, SHARED_MAP, m->prot = 3);
	REFUSED(Mm, mm, MM, m->vdso_end = m->vvar);
	REFUSED(Mm, mm, MM, m->vvar = 0);
}

static void descriptors_are_distinct_and_small(void **state)
{
	REFUSED(Fd, fd, PIPE_FD, m->number[0] = 0); /* taken by the file */
	REFUSED(Fd, fd, PIPE_FD, m->number[0] = UINT32_MAX);
	REFUSED(Fd, fd, PIPE_FD, m->carried = false);
	REFUSED(Fd, fd, PIPE_FD, m->kind = 99);
	REFUSED(Fd, fd, FILE_FD, m->n_number = 0);
}

static void threads_are_distinct_and_whole(void **state)
{
	REFUSED(Thread, thread, SECOND, m->tid = 4711);
	REFUSED(Thread, thread, SECOND, m->tid = -1);
	REFUSED(Thread, thread, LEADER, m->tid = 4713); /* the first is the process */
	REFUSED(Thread, thread, LEADER, m->regs.len--);
	REFUSED(Signals, signals, SIGS, m->actions.len -= 32);
	REFUSED(Limits, limits, LIMITS, m->n_rlimit -= 2);
	REFUSED(Timers, timers, TIMERS, m->posix[0]->id = -1);
}

static void pages_belong_to_a_mapping_that_has_some(void **state)
{
	static const uint64_t places[] = { 0,        0x400001, 0x3ff000,
					   0x404000, 0x600000, UINT64_MAX - 4095 };

	for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
		struct test_image t;

		test_image_good(&t);
		memcpy(t.record[PAGES].payload.data, &places[i], sizeof(places[i]));
		assert_int_equal(read_image(&t), -EBADMSG);
		test_image_fini(&t);
	}
}

/* A record that is repeated or left out has a right checksum, for another place. */
static void order_is_part_of_the_checksum(void **state)
{
	cleanup_buf struct buf whole = BUF_INIT;
	cleanup_buf struct buf cut = BUF_INIT;
	struct test_image t;
	size_t second;

	test_image_good(&t);
	test_image_write(&t, &whole);
	second = 16 + 16 + t.record[HEAD].payload.len;
	assert_int_equal(buf_add(&cut, whole.data, 16), 0);
	assert_int_equal(buf_add(&cut, whole.data + second, whole.len - second), 0);
	assert_int_equal(test_image_read(cut.data, cut.len), -EBADMSG);
	assert_int_equal(test_image_read(whole.data, whole.len - 1), -EBADMSG);
	whole.data[40] ^= 1;
	assert_int_equal(test_image_read(whole.data, whole.len), -EBADMSG);
	test_image_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_image_is_read),
		cmocka_unit_test(head_must_fit_the_rest),
		cmocka_unit_test(mappings_stay_in_their_place),
		cmocka_unit_test(descriptors_are_distinct_and_small),
		cmocka_unit_test(threads_are_distinct_and_whole),
		cmocka_unit_test(pages_belong_to_a_mapping_that_has_some),
		cmocka_unit_test(order_is_part_of_the_checksum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
