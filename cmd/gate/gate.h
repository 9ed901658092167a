/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - what a login over ssh needs and no daemon runs for: key lines, and the files of our own
 * instance of the stock sshd.
 *
 * Pure text in, text out. Errors: -errno. No threads, no state.
 */
#ifndef CMD_GATE_GATE_H
#define CMD_GATE_GATE_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/types.h"

/* ---- public keys, sshd(8) "AUTHORIZED_KEYS FILE FORMAT" and RFC 4253 section 6.6 ---- */
#define GATE_KEY_MAX         800 /* a line, with its NUL */
#define GATE_FINGERPRINT_MAX 64  /* "SHA256:" and 43 letters, as ssh-keygen -l shows it */
#define GATE_COMMENT_MAX     128

struct gate_key {
	char type[48];           /* "ssh-ed25519" */
	char line[GATE_KEY_MAX]; /* type, blob, comment: as sshd reads it, without options */
	uint8_t hash[32];        /* sha256 of the blob */
	char fingerprint[GATE_FINGERPRINT_MAX];
	char comment[GATE_COMMENT_MAX]; /* printable; may be empty */
};

/*
 * Reads one line of @len bytes, its newline not included. Strict: a type that we know, canonical
 * base64, a blob of exactly that type and a size that is in use, a printable comment; no options.
 * Errors: -EINVAL, and *why says what is wrong with it: "it has options before the key".
 */
must_check int gate_key_parse(const char *line, size_t len, struct gate_key *out, const char **why);

/* "SHA256:..." -> hash. -EINVAL. */
must_check int gate_fingerprint_parse(const char *text, uint8_t hash[32]);
void gate_fingerprint_text(const uint8_t hash[32], char out[GATE_FINGERPRINT_MAX]);

#endif
