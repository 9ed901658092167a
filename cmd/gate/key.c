/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "cmd/gate/gate.h"

enum { BLOB_MAX = 600 };

/* The fields of a blob behind its type: how many, and the sizes that one of them may have. */
struct kind {
	const char *type;
	unsigned fields;
	unsigned sized; /* this field, counted from 0, is the key proper */
	uint32_t least, most;
	const char *first; /* what field 0 must be, or NULL */
};

static const struct kind kinds[] = {
	{ "ssh-ed25519", 1, 0, 32, 32, NULL },
	{ "ecdsa-sha2-nistp256", 2, 1, 65, 65, "nistp256" },
	{ "ecdsa-sha2-nistp384", 2, 1, 97, 97, "nistp384" },
	{ "ecdsa-sha2-nistp521", 2, 1, 133, 133, "nistp521" },
	/* exponent, modulus: 2048 to 4096 bits, with the sign's zero */
	{ "ssh-rsa", 2, 1, 257, 513, NULL },
	{ "sk-ssh-ed25519@openssh.com", 2, 0, 32, 32, NULL },
	{ "sk-ecdsa-sha2-nistp256@openssh.com", 3, 1, 65, 65, "nistp256" },
};

static const struct kind *find_kind(const char *word, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strlen(kinds[i].type) == len && memcmp(kinds[i].type, word, len) == 0)
			return &kinds[i];
	return NULL;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* One string of the blob: its length, or -1; @at moves behind it. */
static int64_t take_string(const uint8_t *blob, size_t len, size_t *at, const uint8_t **out)
{
	uint32_t n;

	if (len - *at < 4)
		return -1;
	n = be32(blob + *at);
	if (n > len - *at - 4)
		return -1;
	*out = blob + *at + 4;
	*at += 4 + (size_t)n;
	return n;
}

static bool is_text(const uint8_t *p, int64_t n, const char *text)
{
	return n == (int64_t)strlen(text) && memcmp(p, text, (size_t)n) == 0;
}

static const char *check_blob(const struct kind *k, const uint8_t *blob, size_t len)
{
	const uint8_t *p = NULL;
	size_t at = 0;
	int64_t n = take_string(blob, len, &at, &p);

	if (n < 0 || !is_text(p, n, k->type))
		return "the key is of another type than it says";
	for (unsigned i = 0; i < k->fields; i++) {
		n = take_string(blob, len, &at, &p);
		if (n < 0)
			return "the key is cut off";
		if (i == 0 && k->first != NULL && !is_text(p, n, k->first))
			return "the key is on another curve than it says";
		if (i == k->sized && (n < k->least || n > k->most))
			return strcmp(k->type, "ssh-rsa") == 0
				       ? "an RSA key must have 2048 to 4096 bits"
				       : "the key has a wrong size";
	}
	return at == len ? NULL : "something follows the key inside its text";
}

static size_t word_len(const char *s, size_t len)
{
	size_t n = 0;

	while (n < len && s[n] != ' ' && s[n] != '\t')
		n++;
	return n;
}

static size_t blank_len(const char *s, size_t len)
{
	size_t n = 0;

	while (n < len && (s[n] == ' ' || s[n] == '\t'))
		n++;
	return n;
}

/* The comment: shown to people and written into a line, so one line of printable ASCII. */
static const char *take_comment(const char *s, size_t len, char out[GATE_COMMENT_MAX])
{
	while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
		len--;
	if (len >= GATE_COMMENT_MAX)
		return "its comment is longer than 127 bytes";
	for (size_t i = 0; i < len; i++)
		if (s[i] < 0x20 || s[i] > 0x7e)
			return "its comment is not printable";
	memcpy(out, s, len);
	out[len] = '\0';
	return NULL;
}

/* Canonical base64 only: one key has one text. */
static const char *take_blob(const char *word, size_t len, uint8_t *blob, size_t *blob_len)
{
	char again[BLOB_MAX * 4 / 3 + 8];
	const char *end;

	if (sodium_base642bin(blob, BLOB_MAX, word, len, NULL, blob_len, &end,
			      sodium_base64_VARIANT_ORIGINAL) != 0 ||
	    end != word + len)
		return "the key is no base64";
	(void)sodium_bin2base64(again, sizeof(again), blob, *blob_len,
				sodium_base64_VARIANT_ORIGINAL);
	return strlen(again) == len && memcmp(again, word, len) == 0 ? NULL
								     : "the key is no base64";
}

static const char *parse(const char *line, size_t len, struct gate_key *out)
{
	uint8_t blob[BLOB_MAX];
	size_t at = blank_len(line, len), n, blob_len = 0;
	const char *word, *why;
	const struct kind *k;

	if (memchr(line, '\n', len) != NULL)
		return "it is more than one line";
	if (at == len || line[at] == '#')
		return "there is no key in it";
	if (strncmp(line + at, "-----BEGIN", MIN(len - at, 10)) == 0)
		return "it is a private key, or no OpenSSH public key";
	n = word_len(line + at, len - at);
	k = find_kind(line + at, n);
	if (k == NULL)
		return memchr(line, '=', len) != NULL && strstr(line, " ssh-") != NULL
			       ? "it has options before the key"
			       : "its type is none that is accepted";
	(void)snprintf(out->type, sizeof(out->type), "%s", k->type);
	at += n;
	at += blank_len(line + at, len - at);
	word = line + at;
	n = word_len(word, len - at);
	if (n == 0)
		return "the key is missing behind its type";
	why = take_blob(word, n, blob, &blob_len);
	if (why == NULL)
		why = check_blob(k, blob, blob_len);
	if (why != NULL)
		return why;
	at += n;
	at += blank_len(line + at, len - at);
	why = take_comment(line + at, len - at, out->comment);
	if (why != NULL)
		return why;
	(void)crypto_hash_sha256(out->hash, blob, blob_len);
	gate_fingerprint_text(out->hash, out->fingerprint);
	if (snprintf(out->line, sizeof(out->line), "%s %.*s%s%s", k->type, (int)n, word,
		     out->comment[0] ? " " : "", out->comment) >= (int)sizeof(out->line))
		return "the key with its comment is longer than 799 bytes";
	return NULL;
}

int gate_key_parse(const char *line, size_t len, struct gate_key *out, const char **why)
{
	/* A NUL behind it: what is looked for in it must not run on. */
	char copy[GATE_KEY_MAX];

	memset(out, 0, sizeof(*out));
	if (len > 0 && line[len - 1] == '\r')
		len--;
	if (len >= sizeof(copy)) {
		*why = "it is longer than 799 bytes";
		return -EINVAL;
	}
	(void)snprintf(copy, sizeof(copy), "%.*s", (int)len, line);
	*why = strlen(copy) == len ? parse(copy, len, out) : "it is not text";
	return *why == NULL ? 0 : -EINVAL;
}

void gate_fingerprint_text(const uint8_t hash[32], char out[GATE_FINGERPRINT_MAX])
{
	(void)snprintf(out, GATE_FINGERPRINT_MAX, "SHA256:");
	(void)sodium_bin2base64(out + 7, GATE_FINGERPRINT_MAX - 7, hash, 32,
				sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}

int gate_fingerprint_parse(const char *text, uint8_t hash[32])
{
	char again[GATE_FINGERPRINT_MAX];
	size_t n = 0;

	if (strncmp(text, "SHA256:", 7) != 0 || strlen(text) != 7 + 43 ||
	    sodium_base642bin(hash, 32, text + 7, 43, NULL, &n, NULL,
			      sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0 ||
	    n != 32)
		return -EINVAL;
	gate_fingerprint_text(hash, again);
	return strcmp(again, text) == 0 ? 0 : -EINVAL;
}
