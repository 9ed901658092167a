/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sshkey_fuzz - the reader of public keys on mutated lines. Without arguments: seeded rounds; with:
 * each argument is a file of one line. What is checked besides the sanitizers: a line that was
 * accepted gives a line that is accepted again as the same key, and that is one line.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/rand.h"
#include "cmd/gate/gate.h"
#include "tests/lib/sshkeys.h"

static const char *const seeds[] = {
	"ssh-ed25519 " SSH_ED25519 " alice@home",
	("ecdsa-sha2-nistp256 " SSH_ECDSA " bob"),
	("ssh-rsa " SSH_RSA),
	("from=\"10.0.0.1\" ssh-ed25519 " SSH_ED25519),
};

static const char *const pieces[] = { " ",       "\n", "\t", "AAAA", "=",
				      "ssh-rsa", "\"", "A",  "/",    "restrict," };

static unsigned accepted;

static void one(const char *in, size_t len)
{
	/* A copy of the exact size, so that the sanitizer sees a read behind it. */
	char *copy = malloc(len + 1);
	struct gate_key k, again;
	const char *why = NULL;
	uint8_t hash[32];
	int r;

	CHECK(copy != NULL);
	memcpy(copy, in, len);
	r = gate_key_parse(copy, len, &k, &why);
	CHECK((r == 0) == (why == NULL));
	if (r == 0) {
		accepted++;
		CHECK(strchr(k.line, '\n') == NULL &&
		      strchr(k.line, '\0') < k.line + sizeof(k.line));
		CHECK(gate_key_parse(k.line, strlen(k.line), &again, &why) == 0);
		CHECK(memcmp(&k, &again, sizeof(k)) == 0);
		CHECK(gate_fingerprint_parse(k.fingerprint, hash) == 0);
		CHECK(memcmp(hash, k.hash, sizeof(hash)) == 0);
	}
	free(copy);
}

static size_t mutate(struct rand *r, char *out, size_t cap)
{
	const char *seed = seeds[rand_below(r, ARRAY_LEN(seeds))];
	size_t len = strlen(seed);

	memcpy(out, seed, len);
	for (uint64_t n = rand_below(r, 4); n > 0; n--) {
		size_t at = rand_below(r, len + 1);
		const char *piece = pieces[rand_below(r, ARRAY_LEN(pieces))];

		switch (rand_below(r, 4)) {
		case 0:
			if (at < len)
				out[at] = (char)rand_next(r);
			break;
		case 1:
			if (len + strlen(piece) < cap) {
				memmove(out + at + strlen(piece), out + at, len - at);
				memcpy(out + at, piece, strlen(piece));
				len += strlen(piece);
			}
			break;
		case 2:
			if (at < len) {
				memmove(out + at, out + at + 1, len - at - 1);
				len--;
			}
			break;
		default:
			if (rand_below(r, 4) == 0)
				len = at;
		}
	}
	return len;
}

static int from_file(const char *path)
{
	static char bytes[1 << 16];
	FILE *f = fopen(path, "rb");

	if (f == NULL) {
		perror(path);
		return 1;
	}
	one(bytes, fread(bytes, 1, sizeof(bytes), f));
	return fclose(f) != 0;
}

int main(int argc, char **argv)
{
	static char in[4096];
	struct rand r;
	int bad = 0;

	for (int i = 1; i < argc; i++)
		bad |= from_file(argv[i]);
	if (argc > 1)
		return bad;
	rand_seed(&r, 7);
	for (int i = 0; i < 200000; i++)
		one(in, mutate(&r, in, sizeof(in)));
	/* Enough of them must get through, or nothing was tested. */
	CHECK(accepted > 20000);
	return 0;
}
