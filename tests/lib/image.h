/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - images without a process, for tests of the decoder: a good one as a
 * list of records, which a test may change before it is written out.
 */
#ifndef TESTS_LIB_IMAGE_H
#define TESTS_LIB_IMAGE_H

#include "migrate/image/priv.h"

struct test_record {
	int type;
	struct buf payload;
};

#define TEST_RECORDS_MAX 64

struct test_image {
	struct test_record record[TEST_RECORDS_MAX];
	unsigned count;
};

/* A process of two threads, three mappings, two descriptions, one page. */
void test_image_good(struct test_image *t);
/* Replaces the payload of record @i. */
void test_image_pack(struct test_image *t, unsigned i, const ProtobufCMessage *m);
void test_image_fini(struct test_image *t);
/* As a stream with right checksums. */
void test_image_write(const struct test_image *t, struct buf *out);

/* Reads @bytes as far as the pages, and the records of pages after that. 0, or -errno. */
int test_image_read(const void *bytes, size_t len);

#endif
