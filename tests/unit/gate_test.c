/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "cmd/gate/gate.h"
#include "tests/lib/sshkeys.h"
#include "tests/unit/unit.h"

static struct gate_key key;
static const char *why;

static int parse(const char *line)
{
	return gate_key_parse(line, strlen(line), &key, &why);
}

static void assert_refused(const char *line, const char *reason)
{
	assert_int_equal(parse(line), -EINVAL);
	if (strstr(why, reason) == NULL)
		fail_msg("%s: %s", line, why);
}

static void keys_are_shown_as_ssh_keygen_shows_them(void **state)
{
	assert_int_equal(parse("ssh-ed25519 " SSH_ED25519 " alice@home"), 0);
	assert_string_equal(key.fingerprint, SSH_ED25519_SHOWN);
	assert_string_equal(key.comment, "alice@home");
	assert_string_equal(key.line, "ssh-ed25519 " SSH_ED25519 " alice@home");
	assert_int_equal(parse("ecdsa-sha2-nistp256 " SSH_ECDSA), 0);
	assert_string_equal(key.fingerprint, SSH_ECDSA_SHOWN);
	assert_string_equal(key.comment, "");
	assert_int_equal(parse("ssh-rsa " SSH_RSA " two words \t"), 0);
	assert_string_equal(key.fingerprint, SSH_RSA_SHOWN);
	assert_string_equal(key.comment, "two words");
}

static void blanks_and_line_ends_of_others_are_taken(void **state)
{
	assert_int_equal(parse(" \tssh-ed25519 \t " SSH_ED25519 "\t me\r"), 0);
	assert_string_equal(key.line, "ssh-ed25519 " SSH_ED25519 " me");
}

static void what_is_no_key_is_refused_with_its_reason(void **state)
{
	char longer[GATE_KEY_MAX + 100];

	assert_refused("", "no key");
	assert_refused("# comment", "no key");
	assert_refused("ssh-ed25519", "missing");
	assert_refused("ssh-dss " SSH_ED25519, "type");
	assert_refused("-----BEGIN OPENSSH PRIVATE KEY-----", "private");
	assert_refused("command=\"sh\" ssh-ed25519 " SSH_ED25519, "options");
	assert_refused("ssh-ed25519 " SSH_ED25519 "A", "base64");
	assert_refused("ssh-ed25519 A" SSH_ED25519, "base64");
	assert_refused("ssh-ed25519 !!!!", "base64");
	assert_refused("ssh-ed25519 " SSH_ECDSA, "another type");
	assert_refused("ecdsa-sha2-nistp384 " SSH_ECDSA, "another type");
	assert_refused("ssh-rsa " SSH_RSA_1024, "2048");
	assert_refused("ssh-ed25519 " SSH_ED25519 " al\033ice", "printable");
	assert_refused("ssh-ed25519 " SSH_ED25519 " al\xffice", "printable");
	/* Type alone; and one byte after the key. */
	assert_refused("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "cut off");
	assert_refused("ssh-ed25519 " SSH_ED25519 "AA==", "follows");
	assert_int_equal(gate_key_parse("ssh-ed25519\n", 12, &key, &why), -EINVAL);
	assert_int_equal(gate_key_parse("a\0b", 3, &key, &why), -EINVAL);
	memset(longer, 'x', sizeof(longer));
	assert_int_equal(gate_key_parse(longer, sizeof(longer), &key, &why), -EINVAL);
	(void)snprintf(longer, sizeof(longer), "ssh-ed25519 " SSH_ED25519 " %0128d", 7);
	assert_refused(longer, "127");
}

static void a_fingerprint_has_one_text(void **state)
{
	char text[GATE_FINGERPRINT_MAX];
	uint8_t hash[32];

	assert_int_equal(gate_fingerprint_parse(SSH_RSA_SHOWN, hash), 0);
	gate_fingerprint_text(hash, text);
	assert_string_equal(text, SSH_RSA_SHOWN);
	assert_int_equal(gate_fingerprint_parse("SHA256:", hash), -EINVAL);
	assert_int_equal(gate_fingerprint_parse("MD5:16:27", hash), -EINVAL);
	/* The last letter carries two bits more than the hash has. */
	assert_int_equal(
		gate_fingerprint_parse("SHA256:YiNgNLY0PRy6IGn+TVVk+s3LHNr95FqiOor0UyzqsPB", hash),
		-EINVAL);
}

/* The child's exit status: 0, or which of what must not work did, or does not. */
static int in_jail(void)
{
	char *const argv[] = { (char *)"true", NULL };
	char byte = 'x';
	int p[2];

	if (pipe(p) < 0 || gate_jail() < 0)
		return 1;
	if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_VSOCK, SOCK_STREAM, 0) >= 0)
		return 2;
	if (open("/etc/passwd", O_RDONLY) >= 0 || openat(AT_FDCWD, "/", O_PATH) >= 0)
		return 3;
	(void)execv("/bin/true", argv);
	if (kill(getppid(), 0) == 0 || unlink("/tmp/nothing") == 0 || errno != ENOSYS)
		return 4;
	if (socket(AF_UNIX, SOCK_STREAM, 0) < 0 || write(p[1], &byte, 1) != 1 ||
	    read(p[0], &byte, 1) != 1)
		return 5;
	return 0;
}

static void the_session_program_has_its_descriptors_and_nothing_else(void **state)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(in_jail());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_shown_as_ssh_keygen_shows_them),
		cmocka_unit_test(blanks_and_line_ends_of_others_are_taken),
		cmocka_unit_test(what_is_no_key_is_refused_with_its_reason),
		cmocka_unit_test(a_fingerprint_has_one_text),
		cmocka_unit_test(the_session_program_has_its_descriptors_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
