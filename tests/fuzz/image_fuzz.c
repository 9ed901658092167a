/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_fuzz [FILE...] - the decoder of images against bytes that lie: random
 * bytes, broken streams, and records with right checksums and wrong contents.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/rand.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/image.h"

#define ROUNDS 100000

static void flip(struct rand *r, uint8_t *bytes, size_t len)
{
	unsigned n = 1 + (unsigned)(rand_next(r) % 4);

	while (len > 0 && n-- > 0)
		bytes[rand_next(r) % len] = (uint8_t)rand_next(r);
}

/* The stream is broken: no checksum fits, but by chance. */
static void broken_stream(struct rand *r, const struct buf *good)
{
	cleanup_buf struct buf b = BUF_INIT;

	CHECK(buf_add(&b, good->data, good->len) == 0);
	flip(r, b.data, b.len);
	if (rand_next(r) % 4 == 0)
		b.len = rand_next(r) % b.len;
	(void)test_image_read(b.data, b.len);
}

/* The peer lies: checksums are right. */
static void lying_peer(struct rand *r)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct test_image t;
	unsigned i;

	test_image_good(&t);
	i = (unsigned)(rand_next(r) % t.count);
	switch (rand_next(r) % 4) {
	case 0:
		t.record[i].type = 1 + (int)(rand_next(r) % RECORD_END);
		break;
	case 1: {
		struct test_record swap = t.record[i];
		unsigned k = (unsigned)(rand_next(r) % t.count);

		t.record[i] = t.record[k];
		t.record[k] = swap;
		break;
	}
	default:
		flip(r, t.record[i].payload.data, t.record[i].payload.len);
	}
	test_image_write(&t, &b);
	(void)test_image_read(b.data, b.len);
	test_image_fini(&t);
}

static void read_one(const uint8_t *bytes, size_t len)
{
	(void)printf("%d\n", test_image_read(bytes, len));
}

int main(int argc, char **argv)
{
	cleanup_buf struct buf good = BUF_INIT;
	struct test_image t;
	struct rand r;
	int failed = 0;

	for (int i = 1; i < argc; i++)
		failed |= fuzz_file(argv[i], read_one);
	if (argc > 1)
		return failed;
	test_image_good(&t);
	test_image_write(&t, &good);
	test_image_fini(&t);
	CHECK(test_image_read(good.data, good.len) == 0);
	rand_seed(&r, 1);
	for (int i = 0; i < ROUNDS; i++) {
		broken_stream(&r, &good);
		lying_peer(&r);
	}
	(void)printf("%d broken streams, %d lies\n", ROUNDS, ROUNDS);
	return 0;
}
