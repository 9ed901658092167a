/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - what a login over ssh needs and no daemon runs for: key lines, and the files of our own
 * instance of the stock sshd.
 *
 * Pure text in, text out, but for gate_jail(). Errors: -errno. No threads, no state.
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

/* ---- sshd's own root: what it and the programs that it starts find there ---- */
#define GATE_ETC     "/etc" /* passwd, group, nsswitch.conf, host key; made by pandod */
#define GATE_BIN     "/pando/bin"
#define GATE_RUN     "/pando/run"
#define GATE_SOCKET  GATE_RUN "/gate.sock" /* the control API for logins and the helper */
#define GATE_SESSION GATE_BIN "/pando-session"
#define GATE_KEYS    GATE_BIN "/pando-keys"

/* Ids that are in no host's passwd by Debian's rules and below all of tenants'. */
enum { GATE_UID_SSHD = 65532, GATE_UID_HELPER = 65533 };

/* Whether accounts of this name are the system's own, in sshd's root or in every tenant's. */
bool gate_name_is_taken(const char *name);

/* passwd and group without a tenant; then one line of passwd for each. -ENOMEM. */
must_check int gate_passwd_begin(struct buf *out);
must_check int gate_passwd_add(struct buf *out, const char *name, uint32_t uid);
must_check int gate_group(struct buf *out);
/* sshd_config(5): keys only, tenants only, no way into the host's network. @addr: "IP:PORT". */
must_check int gate_sshd_config(struct buf *out, const char *addr);

/*
 * From here on this process has its descriptors, memory, threads and unix sockets, and nothing else
 * of the host: no file, no network, no other program. For good. -errno.
 */
must_check int gate_jail(void);

#endif
