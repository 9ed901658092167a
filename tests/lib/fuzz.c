/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

int fuzz_file(const char *path, fuzz_fn one)
{
	FILE *f = fopen(path, "rb");
	uint8_t *bytes = malloc(FUZZ_INPUT_MAX);
	size_t n;

	CHECK(bytes != NULL);
	if (f == NULL) {
		perror(path);
		free(bytes);
		return 1;
	}
	n = fread(bytes, 1, FUZZ_INPUT_MAX, f);
	(void)fclose(f);
	one(bytes, n);
	free(bytes);
	return 0;
}

int fuzz_main(const struct fuzz *f, int argc, char **argv)
{
	uint8_t *in;
	struct rand r;
	int bad = 0;

	for (int i = 1; i < argc; i++)
		bad |= fuzz_file(argv[i], f->one);
	if (argc > 1)
		return bad;
	in = malloc(f->cap);
	CHECK(in != NULL);
	rand_seed(&r, f->seed);
	for (unsigned i = 0; i < f->rounds; i++) {
		f->one(in, f->make(&r, in, f->cap));
		if (f->besides != NULL)
			f->besides(&r);
	}
	free(in);
	CHECK(f->taken == NULL || *f->taken >= f->taken_min);
	return 0;
}

void *fuzz_copy(const void *bytes, size_t len)
{
	void *copy = malloc(len > 0 ? len : 1);

	CHECK(copy != NULL);
	memcpy(copy, bytes, len);
	return copy;
}

size_t fuzz_spoil(struct rand *r, uint8_t *bytes, size_t len)
{
	for (uint64_t n = rand_below(r, 4); n > 0 && len > 0; n--)
		bytes[rand_below(r, len)] = (uint8_t)rand_next(r);
	return rand_chance(r, 1, 4) ? rand_below(r, len + 1) : len;
}

static size_t put_in(uint8_t *out, size_t len, size_t cap, size_t at, const char *piece)
{
	size_t more = strlen(piece);

	if (len + more >= cap)
		return len;
	memmove(out + at + more, out + at, len - at);
	memcpy(out + at, piece, more);
	return len + more;
}

size_t fuzz_text(const struct fuzz_texts *t, struct rand *r, uint8_t *out, size_t cap)
{
	const char *seed = t->seeds[rand_below(r, t->seed_count)];
	size_t len = strlen(seed);

	CHECK(len <= cap);
	memcpy(out, seed, len);
	for (uint64_t n = rand_below(r, t->steps_max + 1); n > 0; n--) {
		size_t at = rand_below(r, len + 1);
		const char *piece = t->pieces[rand_below(r, t->piece_count)];
		uint64_t what = rand_below(r, 13);

		if (what == 12) {
			len = at;
		} else if (what < 4) {
			len = put_in(out, len, cap, at, piece);
		} else if (at < len && what < 8) {
			out[at] = (uint8_t)rand_next(r);
		} else if (at < len) {
			memmove(out + at, out + at + 1, len - at - 1);
			len--;
		}
	}
	return len;
}
