/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pando-keys - sshd's AuthorizedKeysCommand: prints the key of this fingerprint if it lets this
 * tenant in, else nothing.
 *
 *	pando-keys TENANT SHA256:FINGERPRINT
 *
 * Asks the node's daemon each time: a key that was removed is not there any more.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/ctl/ctl.h"
#include "cmd/gate/gate.h"

enum { TRIES = 400 }; /* of 50 ms: the daemon may be being restarted; sshd waits 30 s */

static int ask(const char *path)
{
	struct ctl_client *c;
	struct ctl_answer a;
	const char *line;
	int r = ctl_client_new(&c, GATE_SOCKET);

	if (r < 0)
		return r;
	r = ctl_client_call(c, "GET", path, NULL, &a);
	line = r == 0 && a.status == 200 ? json_string_value(json_object_get(a.body, "line"))
					 : NULL;
	if (line != NULL)
		(void)puts(line);
	if (r == 0)
		ctl_answer_fini(&a);
	ctl_client_free(c);
	return r;
}

int main(int argc, char **argv)
{
	const struct timespec pause = { 0, 50000000 };
	char path[HTTP_PATH_MAX], hex[65];
	uint8_t hash[32];
	int r = -EAGAIN;

	if (argc != 3 || gate_fingerprint_parse(argv[2], hash) < 0)
		return 0; /* a kind of key that cannot have been added */
	(void)sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
	if (strchr(argv[1], '/') != NULL || strlen(argv[1]) > 64)
		return 0;
	(void)snprintf(path, sizeof(path), "/v1/tenants/%s/keys/%s", argv[1], hex);
	for (int i = 0; r < 0 && i < TRIES; i++) {
		r = ask(path);
		if (r < 0)
			(void)nanosleep(&pause, NULL);
	}
	if (r < 0)
		(void)fprintf(stderr, "pando-keys: cannot ask for a key: %s\n", strerror(-r));
	return r < 0 || fflush(stdout) != 0;
}
