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
#include "tests/lib/fuzz.h"
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

static void one(const uint8_t *in, size_t len)
{
	char *copy = fuzz_copy(in, len);
	struct gate_key k, again;
	const char *why = NULL;
	uint8_t hash[32];
	int r;

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

static const struct fuzz_texts texts = { seeds, ARRAY_LEN(seeds), pieces, ARRAY_LEN(pieces), 3 };

static size_t make(struct rand *r, uint8_t *out, size_t cap)
{
	return fuzz_text(&texts, r, out, cap);
}

int main(int argc, char **argv)
{
	static const struct fuzz f = { .one = one,
				       .make = make,
				       .cap = 4096,
				       .seed = 7,
				       .rounds = 200000,
				       .taken = &accepted,
				       .taken_min = 20000 };

	return fuzz_main(&f, argc, argv);
}
